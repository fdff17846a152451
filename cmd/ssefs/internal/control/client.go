package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"

	"ssefs/cmd/ssefs/internal/exit"
)

// ErrGone is wrapped when nobody listens on the socket, or the daemon ends during a call.
var ErrGone = errors.New("the mount daemon is gone")

// Client calls a daemon. It is safe for concurrent use.
type Client struct {
	http *http.Client
	path string
}

// Dial returns a client for the socket at path. The first call connects.
func Dial(path string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}
	return &Client{http: &http.Client{Transport: transport}, path: path}
}

// Call carries out one operation and decodes its reply into reply, which may be nil. An error of the
// operation comes back with the daemon's message and exit code.
func (c *Client) Call(ctx context.Context, operation string, request, reply any) error {
	resp, err := c.post(ctx, prefix+operation, request)
	if err != nil {
		return err
	}
	result, err := readAnswer(resp)
	if err != nil || reply == nil {
		return err
	}
	return json.Unmarshal(result, reply)
}

// post sends a request.
func (c *Client) post(ctx context.Context, path string, request any) (*http.Response, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	defer clear(body) // it may hold a secret
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ssefs"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	return resp, nil
}

// readAnswer reads a reply and returns the result in it.
func readAnswer(resp *http.Response) (json.RawMessage, error) {
	var a answer
	err := json.NewDecoder(resp.Body).Decode(&a)
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	case a.Error != nil && resp.StatusCode == http.StatusForbidden:
		return nil, denied(a.Error.Message)
	case a.Error != nil:
		return nil, exit.With(a.Error.Code, errors.New(a.Error.Message))
	}
	return a.Result, nil
}

// Close drops the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: the control socket %s is another user's", ErrDenied, c.path)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody listens on %s", ErrGone, c.path)
	}
	return fmt.Errorf("%w: %w", ErrGone, err)
}

// denied is a refusal in the daemon's own words.
type denied string

func (d denied) Error() string { return string(d) }

func (d denied) Is(target error) bool { return target == ErrDenied }
