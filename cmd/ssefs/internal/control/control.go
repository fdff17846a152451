// Package control is the private connection between the command line and a mount daemon: HTTP and JSON
// over a Unix socket.
//
// Only root and the daemon's own user are served; the kernel tells who is at the other end (SO_PEERCRED),
// and the check comes before a request is read. The socket itself is 0600 in a 0700 directory, so this is the
// second lock on the same door. The package carries operations and knows none of them: a call is a name, a
// JSON request and a JSON reply, or a stream of bytes.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"ssefs/cmd/ssefs/internal/exit"
)

// ErrDenied is wrapped when the daemon does not serve this user.
var ErrDenied = errors.New("permission denied")

// ErrUnknownOperation is wrapped by a Handler that does not know the operation.
var ErrUnknownOperation = errors.New("unknown operation")

// Peer is who is at the other end of a connection, as the kernel says.
type Peer struct {
	UID, GID uint32
	PID      int32
}

// Handler carries out operations. It is called concurrently; ctx ends when the caller hangs up.
type Handler interface {
	Handle(ctx context.Context, peer Peer, operation string, request json.RawMessage) (reply any, err error)
	// Stream carries out an operation whose reply is as long as it likes.
	Stream(ctx context.Context, peer Peer, operation string, request json.RawMessage, w StreamWriter) error
}

// StreamWriter takes the reply of Handler.Stream.
type StreamWriter interface {
	io.Writer
	// Abort ends a Write that waits for a slow reader, and all later ones.
	Abort()
}

// failure is how an error travels: its text, and the exit code that the command ends with.
type failure struct {
	Code    exit.Code `json:"code"`
	Message string    `json:"message"`
}

// answer is the body of every reply.
type answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  *failure        `json:"error,omitempty"`
}

// authorize refuses every peer but root and the user that the daemon runs as.
func authorize(peer Peer, daemonUID uint32) error {
	if peer.UID == 0 || peer.UID == daemonUID {
		return nil
	}
	return fmt.Errorf("%w: this drive answers to root and uid %d only, not to uid %d", ErrDenied, daemonUID, peer.UID)
}
