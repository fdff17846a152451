package drive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// binaryVariable names the binary to test.
const binaryVariable = "SSEFS_BIN"

// Binary returns the path of the ssefs binary to test, which [Main] has found or built.
func Binary(t testing.TB) string {
	t.Helper()
	bin := os.Getenv(binaryVariable)
	if bin == "" {
		t.Fatalf("%s is not set: TestMain has to call drive.Main", binaryVariable)
	}
	return bin
}

// prepare sets SSEFS_BIN, if it is not set, to a binary built now, and returns what takes that away again. The packages
// of one `go test` run in processes side by side: a lock lets one of them build, and the go command then finds the
// others' request up to date. Each takes a copy, so that one binary serves all of its tests whatever is edited
// meanwhile.
func prepare() (remove func(), err error) {
	if bin := os.Getenv(binaryVariable); bin != "" {
		_, err := os.Stat(bin)
		return func() {}, err
	}
	if os.Getenv(nativeVariable) != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "ssefs-e2e-bin-")
	if err != nil {
		return nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) } // at the end of the process nobody is left to tell
	bin := filepath.Join(dir, "ssefs")
	if err := errors.Join(os.Chmod(dir, 0o755), build(bin), os.Setenv(binaryVariable, bin)); err != nil {
		remove()
		return nil, err
	}
	return remove, nil
}

// build compiles ssefs in a directory of this work tree's own and copies it to bin, which all users may run since some
// tests mount as another one.
func build(bin string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(root))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("ssefs-e2e-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6])))
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	// The name can be guessed: do not run what another user put there.
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Getuid()) || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s is not a directory of ours alone", dir)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	// Closing ends the lock; nothing is written to the file.
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	built, args := filepath.Join(dir, "ssefs"), []string{"build"}
	if os.Getenv(raceVariable) != "" {
		built, args = built+"-race", append(args, "-race")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", built, "./cmd/ssefs")...)
	cmd.Dir = root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	program, err := os.ReadFile(built)
	if err != nil {
		return err
	}
	// Not masked by the umask.
	return errors.Join(os.WriteFile(bin, program, 0o755), os.Chmod(bin, 0o755))
}

// moduleRoot finds the directory of go.mod above the test's working directory, which is its package's.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = parent
	}
}
