// Package runtimedir names the directory where a user's mount daemons keep their control sockets and logs.
//
// The directory is private to its user (0700, owner checked), because whoever can put a socket there can
// pose as a daemon. It lies outside of the stores: logs name files, and a store must not hold a name in clear.
package runtimedir

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrUnsafe is wrapped when the directory belongs to somebody else or is open to others.
var ErrUnsafe = errors.New("unsafe runtime directory")

// maxSocketPath is what sockaddr_un holds, less the closing zero byte.
const maxSocketPath = 107

// Own returns the directory of the calling user; it need not exist yet. getenv is os.Getenv.
func Own(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/run/ssefs"
	}
	if base := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(base) {
		dir := filepath.Join(base, "ssefs")
		if _, err := os.Stat(base); err == nil && len(socket(dir, "")) <= maxSocketPath {
			return dir
		}
	}
	return fallback(uid)
}

// Of returns the directories where another user's daemons may be found, without that user's environment.
func Of(uid int) []string {
	if uid == 0 {
		return []string{"/run/ssefs"}
	}
	return []string{filepath.Join("/run/user", strconv.Itoa(uid), "ssefs"), fallback(uid)}
}

func fallback(uid int) string { return filepath.Join("/tmp", "ssefs-"+strconv.Itoa(uid)) }

// Ensure makes dir if it is missing and refuses it unless it is a directory of uid with mode 0700.
func Ensure(dir string, uid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("runtime directory: %w", err)
	}
	return check(dir, uid)
}

// check refuses dir unless it is a directory of uid with mode 0700.
func check(dir string, uid int) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !st.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrUnsafe, dir)
	case int(sys.Uid) != uid:
		return fmt.Errorf("%w: %s belongs to uid %d, not %d", ErrUnsafe, dir, sys.Uid, uid)
	case st.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%w: %s is open to others: chmod 700 it", ErrUnsafe, dir)
	}
	return nil
}

// Socket returns the path of the control socket for the store at storePath, canonical.
func Socket(dir, storePath string) string { return socket(dir, storePath) }

// Log returns the path of the log that the daemon of the store at storePath writes by default.
func Log(dir, storePath string) string { return filepath.Join(dir, id(storePath)+".log") }

// Sockets lists the control sockets in dir, also those that nobody listens on any more. A directory that is not
// uid's alone is refused: a socket in it may be anybody's. A missing one holds none.
func Sockets(dir string, uid int) ([]string, error) {
	err := check(dir, uid)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if e.Type() == os.ModeSocket && strings.HasSuffix(e.Name(), ".sock") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

func socket(dir, storePath string) string { return filepath.Join(dir, id(storePath)+".sock") }

// id is short and of fixed length, as socket paths are limited.
func id(storePath string) string {
	sum := sha256.Sum256([]byte(storePath))
	return hex.EncodeToString(sum[:8])
}

// All returns the runtime directories of all users that have one, with their users.
func All() map[string]int {
	dirs := map[string]int{}
	for _, pattern := range []string{"/run/user/*/ssefs", "/tmp/ssefs-*"} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		for _, dir := range found {
			if st, err := os.Lstat(dir); err == nil {
				if sys, ok := st.Sys().(*syscall.Stat_t); ok {
					dirs[dir] = int(sys.Uid)
				}
			}
		}
	}
	return dirs
}
