package expect

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// xattrLimit is the largest value and list there is.
const xattrLimit = 1 << 16

// GetXattr returns an extended attribute of path itself.
func GetXattr(path, name string) (string, error) {
	b := make([]byte, xattrLimit)
	n, err := unix.Lgetxattr(path, name, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// Xattr returns an extended attribute of path itself, which has to be there.
func Xattr(t testing.TB, path, name string) string {
	t.Helper()
	v, err := GetXattr(path, name)
	OK(t, err, "get %s of %s", name, path)
	return v
}

// SetXattr sets an extended attribute of path itself.
func SetXattr(t testing.TB, path, name, value string) {
	t.Helper()
	OK(t, unix.Lsetxattr(path, name, []byte(value), 0), "set %s of %s to %q", name, path, value)
}

// ListXattrs returns the names of the extended attributes of path itself, sorted.
func ListXattrs(path string) ([]string, error) {
	b := make([]byte, xattrLimit)
	n, err := unix.Llistxattr(path, b)
	if err != nil || n == 0 {
		return nil, err
	}
	names := strings.Split(strings.TrimSuffix(string(b[:n]), "\x00"), "\x00")
	slices.Sort(names)
	return names, nil
}
