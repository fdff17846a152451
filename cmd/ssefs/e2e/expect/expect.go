// Package expect holds the checks and checked system calls that the end-to-end tests are written in. A call that has
// to succeed ends its test when it does not; a comparison marks the test failed and lets it go on.
package expect

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// OK ends the test if err is an error. What was tried is a format and its arguments.
func OK(t testing.TB, err error, format string, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), Describe(err))
	}
}

// Errno marks the test failed unless err is want.
func Errno(t testing.TB, err error, want unix.Errno, format string, args ...any) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %s, want %s", fmt.Sprintf(format, args...), Describe(err), unix.ErrnoName(want))
	}
}

// Describe returns err with the name of its errno.
func Describe(err error) string {
	var errno unix.Errno
	if err == nil {
		return "success"
	}
	if errors.As(err, &errno) {
		return fmt.Sprintf("%s (%v)", unix.ErrnoName(errno), err)
	}
	return err.Error()
}

// Equal marks the test failed unless got is want.
func Equal[T comparable](t testing.TB, got, want T, format string, args ...any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", fmt.Sprintf(format, args...), got, want)
	}
}

// Mode marks the test failed unless the permission bits of st, with setuid, setgid and sticky, are want.
func Mode(t testing.TB, st unix.Stat_t, want uint32, format string, args ...any) {
	t.Helper()
	if got := st.Mode & 0o7777; got != want {
		t.Errorf("%s: mode is %04o, want %04o", fmt.Sprintf(format, args...), got, want)
	}
}

// Bytes marks the test failed unless got is want; it names the first difference.
func Bytes(t testing.TB, got, want []byte, format string, args ...any) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	what := fmt.Sprintf(format, args...)
	n := min(len(got), len(want))
	for i := range n {
		if got[i] != want[i] {
			t.Errorf("%s: differs from byte %d on (%d and %d bytes): got %q, want %q", what, i, len(got), len(want),
				got[i:min(i+16, len(got))], want[i:min(i+16, len(want))])
			return
		}
	}
	t.Errorf("%s: got %d bytes, want %d, the same up to there", what, len(got), len(want))
}
