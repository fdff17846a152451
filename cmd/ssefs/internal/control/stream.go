package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"ssefs/cmd/ssefs/internal/exit"
)

// outcome is the HTTP trailer that says how an operation ended whose reply is a stream: an answer. A stream
// without one was cut off.
const outcome = "Ssefs-Outcome"

// stream carries out an operation that replies with a stream.
func (e *endpoint) stream(w http.ResponseWriter, r *http.Request) {
	peer, body, ok := e.accept(w, r)
	if !ok {
		return
	}
	w.Header().Set("Trailer", outcome)
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &streamWriter{w: w, control: http.NewResponseController(w)}
	err := e.handler.Stream(r.Context(), peer, r.PathValue("operation"), body, out)
	clear(body)
	if err != nil && !out.begun {
		w.Header().Del("Trailer")
		e.reply(w, http.StatusUnprocessableEntity, nil, err)
		return
	}
	var a answer
	if err != nil {
		e.logger.Debug("control stream ended early", "err", err)
		a.Error = &failure{Code: exit.Of(err), Message: err.Error()}
	}
	text, err := json.Marshal(a)
	if err != nil {
		e.logger.Debug("control stream", "err", err)
		return
	}
	w.Header().Set(outcome, string(text))
}

// streamWriter is the body of a reply.
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool

	mu      sync.Mutex // guards aborted
	aborted bool
}

// errAborted ends writes after Abort.
var errAborted = errors.New("the reply was cut off")

// Write implements io.Writer.
func (s *streamWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	aborted := s.aborted
	s.mu.Unlock()
	if aborted {
		return 0, errAborted
	}
	s.begun = true
	return s.w.Write(b)
}

// Abort implements StreamWriter. What is in the connection's buffer is lost, with the reason for the end: whoever reads
// so slowly learns from the missing outcome.
func (s *streamWriter) Abort() {
	s.mu.Lock()
	s.aborted = true
	s.mu.Unlock()
	_ = s.control.SetWriteDeadline(time.Now()) // without a connection nobody waits
}

// Open carries out an operation that replies with a stream, which the caller reads and closes. An error of the operation
// comes from Open, or from Read in place of io.EOF.
func (c *Client) Open(ctx context.Context, operation string, request any) (io.ReadCloser, error) {
	resp, err := c.post(ctx, streamPrefix+operation, request)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return &stream{resp: resp}, nil
	case http.StatusNotFound: // a daemon of a version without streams
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w %q: the mount daemon is of another version than this command", ErrUnknownOperation, operation)
	}
	if _, err = readAnswer(resp); err == nil {
		err = fmt.Errorf("%w: unexpected reply %s", ErrGone, resp.Status)
	}
	return nil, err
}

// stream is the reply that a Client reads.
type stream struct{ resp *http.Response }

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.resp.Body.Read(b)
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return n, err
	case !errors.Is(err, io.EOF): // not wrapped: how HTTP noticed is no concern of whoever reads
		return n, fmt.Errorf("%w: its reply was cut off (%v)", ErrGone, err)
	}
	var a answer
	if err := json.Unmarshal([]byte(s.resp.Trailer.Get(outcome)), &a); err != nil {
		return n, fmt.Errorf("%w: its reply was cut off", ErrGone)
	}
	if a.Error != nil {
		return n, exit.With(a.Error.Code, errors.New(a.Error.Message))
	}
	return n, io.EOF
}

// Close ends the reply, whether all of it was read or not.
func (s *stream) Close() error { return s.resp.Body.Close() }
