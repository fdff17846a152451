package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/internal/exit"
)

// streamFunc lets a test be a Handler that replies with streams.
type streamFunc func(ctx context.Context, peer Peer, operation string, request json.RawMessage, w StreamWriter) error

func (f streamFunc) Stream(ctx context.Context, peer Peer, operation string, request json.RawMessage, w StreamWriter) error {
	return f(ctx, peer, operation, request, w)
}

func (streamFunc) Handle(context.Context, Peer, string, json.RawMessage) (any, error) {
	return nil, ErrUnknownOperation
}

func TestStream(t *testing.T) {
	part := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	_, c := listen(t, streamFunc(func(_ context.Context, _ Peer, operation string, request json.RawMessage, w StreamWriter) error {
		var parts int
		if err := json.Unmarshal(request, &parts); err != nil {
			return err
		}
		for range parts {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		switch operation {
		case "fail":
			return exit.Errorf(exit.Busy, "no more: %d", parts)
		case "crash":
			panic(http.ErrAbortHandler)
		}
		return nil
	}))
	open := func(operation string, parts int) ([]byte, error) {
		t.Helper()
		r, err := c.Open(t.Context(), operation, parts)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		return b, errors.Join(err, r.Close())
	}
	for _, parts := range []int{0, 1, 40} {
		want := bytes.Repeat(part, parts)
		if b, err := open("stream", parts); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%d parts: %d bytes, %v", parts, len(b), err)
		}
		b, err := open("fail", parts)
		if err == nil || exit.Of(err) != exit.Busy || !strings.Contains(err.Error(), "no more") || !bytes.Equal(b, want) {
			t.Errorf("a failure after %d parts: %d bytes, %v with code %d", parts, len(b), err, exit.Of(err))
		}
		if _, err := open("crash", parts); !errors.Is(err, ErrGone) {
			t.Errorf("cut off after %d parts: %v", parts, err)
		}
	}
}

// TestSlowReader: a reply whose reader takes nothing ends when it is told to, and when the reader leaves.
func TestSlowReader(t *testing.T) {
	ended := make(chan error, 1)
	abort := make(chan StreamWriter, 1)
	_, c := listen(t, streamFunc(func(ctx context.Context, _ Peer, _ string, _ json.RawMessage, w StreamWriter) error {
		abort <- w
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return err
			}
		}
	}))
	wait := func(what string) {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatalf("%s: the reply did not end", what)
		}
	}
	r, err := c.Open(t.Context(), "endless", nil)
	if err != nil {
		t.Fatal(err)
	}
	(<-abort).Abort()
	wait("aborted")
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, ErrGone) {
		t.Errorf("the reader was told %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if r, err = c.Open(ctx, "endless", nil); err != nil {
		t.Fatal(err)
	}
	<-abort
	cancel()
	wait("left")
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("who left was told %v", err)
	}
	_ = r.Close()
}

// TestStreamRefusals: strangers get no stream, and a daemon without streams is told from one that is gone.
func TestStreamRefusals(t *testing.T) {
	called := false
	e := &endpoint{uid: 1000, logger: quiet(), handler: streamFunc(func(context.Context, Peer, string, json.RawMessage, StreamWriter) error {
		called = true
		return nil
	})}
	r := httptest.NewRequest(http.MethodPost, streamPrefix+"x", strings.NewReader("{}"))
	r = r.WithContext(context.WithValue(r.Context(), peerKey{}, peerResult{peer: Peer{UID: 1001}}))
	w := httptest.NewRecorder()
	e.stream(w, r)
	if w.Code != http.StatusForbidden || called {
		t.Errorf("a stranger: status %d, handler called: %v", w.Code, called)
	}
	if _, err := Dial(filepath.Join(t.TempDir(), "none")).Open(t.Context(), "x", nil); !errors.Is(err, ErrGone) {
		t.Errorf("no socket: %v", err)
	}
}
