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
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/internal/exit"
)

// handlerFunc lets a test be a Handler.
type handlerFunc func(ctx context.Context, peer Peer, operation string, request json.RawMessage) (any, error)

func (f handlerFunc) Handle(ctx context.Context, peer Peer, operation string, request json.RawMessage) (any, error) {
	return f(ctx, peer, operation, request)
}

func (f handlerFunc) Stream(ctx context.Context, peer Peer, operation string, request json.RawMessage, _ StreamWriter) error {
	_, err := f(ctx, peer, operation, request)
	return err
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// listen serves h until the test ends.
func listen(t *testing.T, h Handler) (*Server, *Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.sock")
	s, err := Listen(path, h, quiet())
	if err != nil {
		t.Fatal(err)
	}
	c := Dial(path)
	t.Cleanup(func() {
		c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

func TestCall(t *testing.T) {
	type text struct{ Text string }
	_, c := listen(t, handlerFunc(func(_ context.Context, peer Peer, operation string, request json.RawMessage) (any, error) {
		if int(peer.UID) != os.Getuid() || int(peer.PID) != os.Getpid() {
			return nil, fmt.Errorf("peer is %+v", peer)
		}
		var in text
		if err := json.Unmarshal(request, &in); err != nil {
			return nil, err
		}
		switch operation {
		case "echo":
			return text{in.Text + in.Text}, nil
		case "fail":
			return nil, exit.Errorf(exit.Busy, "no: %s", in.Text)
		}
		return nil, fmt.Errorf("%w %s", ErrUnknownOperation, operation)
	}))
	ctx := context.Background()
	var out text
	if err := c.Call(ctx, "echo", text{"ab"}, &out); err != nil || out.Text != "abab" {
		t.Errorf("echo: %q, %v", out.Text, err)
	}
	if err := c.Call(ctx, "echo", text{"ab"}, nil); err != nil {
		t.Errorf("echo without a reply: %v", err)
	}
	if err := c.Call(ctx, "fail", text{"x"}, nil); err == nil || err.Error() != "no: x" || exit.Of(err) != exit.Busy {
		t.Errorf("fail: %v with code %d", err, exit.Of(err))
	}
	if err := c.Call(ctx, "other", text{}, nil); err == nil || !strings.Contains(err.Error(), "unknown operation other") {
		t.Errorf("other: %v", err)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	s, _ := listen(t, nil)
	st, err := os.Stat(s.path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestAuthorize(t *testing.T) {
	for _, tt := range []struct {
		peer, daemon uint32
		ok           bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, false}, {1001, 1000, false}} {
		err := authorize(Peer{UID: tt.peer}, tt.daemon)
		if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrDenied)) {
			t.Errorf("uid %d at a daemon of uid %d: %v", tt.peer, tt.daemon, err)
		}
	}
}

// TestStrangerIsRefused puts a stranger's credentials on the request, as withPeer would.
func TestStrangerIsRefused(t *testing.T) {
	called := false
	e := &endpoint{uid: 1000, logger: quiet(), handler: handlerFunc(func(context.Context, Peer, string, json.RawMessage) (any, error) {
		called = true
		return nil, nil
	})}
	for name, result := range map[string]any{
		"another user":   peerResult{peer: Peer{UID: 1001}},
		"no credentials": peerResult{err: errors.New("none")},
		"no lookup":      nil,
	} {
		r := httptest.NewRequest(http.MethodPost, prefix+"echo", strings.NewReader("{}"))
		r = r.WithContext(context.WithValue(r.Context(), peerKey{}, result))
		w := httptest.NewRecorder()
		e.serve(w, r)
		if w.Code != http.StatusForbidden || called {
			t.Errorf("%s: status %d, handler called: %v", name, w.Code, called)
		}
	}
}

func TestGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	if err := Dial(path).Call(context.Background(), "x", nil, nil); !errors.Is(err, ErrGone) {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Dial(path).Call(context.Background(), "x", nil, nil); !errors.Is(err, ErrGone) {
		t.Errorf("a dead socket: %v", err)
	}
	s, err := Listen(path, handlerFunc(func(context.Context, Peer, string, json.RawMessage) (any, error) { return 1, nil }), quiet())
	if err != nil {
		t.Fatalf("a dead socket is not replaced: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestSuccessor: a server that ends late leaves the socket of the next one alone.
func TestSuccessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	var servers []*Server
	for n := range 2 {
		s, err := Listen(path, handlerFunc(func(context.Context, Peer, string, json.RawMessage) (any, error) { return n, nil }), quiet())
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, s)
	}
	if err := servers[0].Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := Dial(path)
	var got int
	if err := c.Call(context.Background(), "who", nil, &got); err != nil || got != 1 {
		t.Errorf("the second server: %d, %v", got, err)
	}
	c.Close()
	if err := servers[1].Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestCloseDeliversReplies: umount waits in a call for the news that the store is closed, and the daemon
// gives it while it shuts the server down.
func TestCloseDeliversReplies(t *testing.T) {
	closed := make(chan struct{})
	started := make(chan struct{})
	path := filepath.Join(t.TempDir(), "c.sock")
	s, err := Listen(path, handlerFunc(func(context.Context, Peer, string, json.RawMessage) (any, error) {
		close(started)
		<-closed
		return "closed", nil
	}), quiet())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		var reply string
		err := Dial(path).Call(context.Background(), "wait", nil, &reply)
		if err == nil && reply != "closed" {
			err = fmt.Errorf("reply %q", reply)
		}
		got <- err
	}()
	<-started
	close(closed)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}
