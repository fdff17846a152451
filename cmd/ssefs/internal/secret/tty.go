package secret

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// TTY is the process's controlling terminal, whatever standard input is.
type TTY struct{}

// Ask implements Terminal. When ctx ends it gives up and leaves the terminal as it was.
func (TTY) Ask(ctx context.Context, prompt string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, ErrNone
	}
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		_ = tty.Close()
		return nil, ErrNone
	}
	if _, err := io.WriteString(tty, prompt); err != nil {
		_ = tty.Close()
		return nil, ErrNone
	}
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		_, _ = io.WriteString(tty, "\n")
		_ = tty.Close()
		if l.err != nil {
			clear(l.text)
			return nil, fmt.Errorf("%w: %w", ErrUnusable, l.err)
		}
		return l.text, nil
	case <-ctx.Done():
		// The reader still waits on the open terminal; the program is about to end.
		_ = term.Restore(fd, before)
		_, _ = io.WriteString(tty, "\n")
		return nil, ctx.Err()
	}
}

// Confirm shows a question on the terminal and tells whether the answer is yes; ErrNone without a terminal. When ctx ends
// it gives up.
func (TTY) Confirm(ctx context.Context, question string) (bool, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false, ErrNone
	}
	if _, err := io.WriteString(tty, question); err != nil {
		_ = tty.Close()
		return false, ErrNone
	}
	typed := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(tty).ReadString('\n') // a line that was not ended is no yes
		_ = tty.Close()
		typed <- line
	}()
	select {
	case line := <-typed:
		return line == "yes\n", nil
	case <-ctx.Done(): // the reader waits on; the program is about to end
		return false, ctx.Err()
	}
}
