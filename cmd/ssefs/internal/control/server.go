package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/exit"
)

// maxRequest bounds the body of a request in bytes: the largest carries a key.
const maxRequest = 1 << 20

// prefix of the URL path of every operation; it holds the version of the protocol.
const prefix = "/v1/"

// streamPrefix is that of operations that reply with a stream.
const streamPrefix = "/v1/stream/"

// Server serves a daemon's control socket.
type Server struct {
	http     *http.Server
	listener net.Listener
	path     string
	done     chan struct{}
}

// Listen makes the socket at path, mode 0600, in place of a dead one, and serves handler on it until Close.
// The caller holds the store's lock, so no living daemon can own the path, and removes the socket while it still does.
func Listen(path string, handler Handler, logger *slog.Logger) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if l, ok := listener.(*net.UnixListener); ok {
		l.SetUnlinkOnClose(false) // it may be another daemon's by then
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{listener: listener, path: path, done: make(chan struct{})}
	e := &endpoint{handler: handler, logger: logger, uid: uint32(os.Getuid())}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+prefix+"{operation}", e.serve)
	mux.HandleFunc("POST "+streamPrefix+"{operation}", e.stream)
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("control socket failed", "err", err)
		}
	}()
	return s, nil
}

// Close takes no more calls, lets calls that are being answered end within the time of ctx, and then cuts the rest off.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}

type peerKey struct{}

// peerResult keeps the failure of a lookup too: without credentials nobody is served.
type peerResult struct {
	peer Peer
	err  error
}

// withPeer asks the kernel once per connection who connected.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	peer, err := credentials(c)
	return context.WithValue(ctx, peerKey{}, peerResult{peer, err})
}

func credentials(c net.Conn) (Peer, error) {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("not a Unix socket: %T", c)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Peer{}, err
	}
	if credErr != nil {
		return Peer{}, fmt.Errorf("peer credentials: %w", credErr)
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}

// endpoint answers requests.
type endpoint struct {
	handler Handler
	logger  *slog.Logger
	uid     uint32
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	peer, body, ok := e.accept(w, r)
	if !ok {
		return
	}
	reply, err := e.handler.Handle(r.Context(), peer, r.PathValue("operation"), body)
	clear(body) // it may hold a secret
	status := http.StatusOK
	if err != nil {
		status = http.StatusUnprocessableEntity
	}
	e.reply(w, status, reply, err)
}

// accept reads the request of a peer that is served. If it returns false the request was answered.
func (e *endpoint) accept(w http.ResponseWriter, r *http.Request) (Peer, []byte, bool) {
	result, ok := r.Context().Value(peerKey{}).(peerResult)
	if !ok {
		result.err = errors.New("no peer credentials")
	}
	if result.err != nil {
		e.refuse(w, fmt.Errorf("%w: %w", ErrDenied, result.err))
		return Peer{}, nil, false
	}
	if err := authorize(result.peer, e.uid); err != nil {
		e.refuse(w, err)
		return Peer{}, nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		e.reply(w, http.StatusBadRequest, nil, err)
		return Peer{}, nil, false
	}
	return result.peer, body, true
}

func (e *endpoint) refuse(w http.ResponseWriter, err error) {
	e.logger.Warn("control request refused", "err", err)
	e.reply(w, http.StatusForbidden, nil, err)
}

func (e *endpoint) reply(w http.ResponseWriter, status int, result any, err error) {
	var a answer
	if err != nil {
		a.Error = &failure{Code: exit.Of(err), Message: err.Error()}
	} else if a.Result, err = json.Marshal(result); err != nil {
		status, a = http.StatusInternalServerError, answer{Error: &failure{Code: exit.Failure, Message: err.Error()}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(a); err != nil {
		e.logger.Debug("control reply not delivered", "err", err)
	}
}
