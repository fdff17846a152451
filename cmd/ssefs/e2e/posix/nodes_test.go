package posix

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestFifo(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "fifo")
	expect.OK(t, unix.Mkfifo(p, 0o640), "mkfifo")
	d.Remount()
	st := expect.Lstat(t, p)
	expect.Equal(t, st.Mode, unix.S_IFIFO|0o640, "mode")
	_, err := unix.Open(p, unix.O_WRONLY|unix.O_NONBLOCK, 0)
	expect.Errno(t, err, unix.ENXIO, "open for writing without a reader")
	sent := make(chan error, 1)
	go func() { sent <- os.WriteFile(p, []byte("through"), 0) }()
	r, err := os.Open(p)
	expect.OK(t, err, "open for reading")
	got, err := io.ReadAll(r)
	expect.OK(t, err, "read")
	expect.OK(t, r.Close(), "close")
	expect.OK(t, <-sent, "write")
	expect.Equal(t, string(got), "through", "what came through")
}

func TestSocket(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir := d.Bucket("b")
	// Socket paths end at 108 bytes: go there by a short name.
	short, err := os.MkdirTemp("", "s")
	expect.OK(t, err, "make a short directory")
	t.Cleanup(func() {
		if err := os.RemoveAll(short); err != nil {
			t.Errorf("remove the short directory: %v", err)
		}
	})
	p := filepath.Join(short, "d", "socket")
	expect.OK(t, unix.Symlink(dir, filepath.Join(short, "d")), "symlink")
	l, err := net.Listen("unix", p)
	expect.OK(t, err, "bind")
	expect.Equal(t, expect.Lstat(t, filepath.Join(dir, "socket")).Mode&unix.S_IFMT, unix.S_IFSOCK, "type")
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte("hello")) // a failure shows in what the other side reads
			_ = c.Close()
		}
	}()
	c, err := net.Dial("unix", p)
	expect.OK(t, err, "connect")
	got, err := io.ReadAll(c)
	expect.OK(t, err, "read")
	expect.Equal(t, string(got), "hello", "what came through")
	expect.OK(t, c.Close(), "close")
	expect.OK(t, l.Close(), "close the listener")
	expect.Missing(t, filepath.Join(dir, "socket"))
}

func TestDeviceNodes(t *testing.T) {
	d := drive.New(t, drive.Options{Mount: []string{"-o", "dev"}})
	dir := d.Bucket("bucket")
	nodes := []struct {
		name string
		mode uint32
		dev  uint64
	}{
		{"null", unix.S_IFCHR | 0o666, unix.Mkdev(1, 3)},
		{"zero", unix.S_IFCHR | 0o600, unix.Mkdev(1, 5)},
		{"large", unix.S_IFCHR | 0o600, unix.Mkdev(4095, 1048575)},
		{"block", unix.S_IFBLK | 0o600, unix.Mkdev(7, 200)},
		{"socket", unix.S_IFSOCK | 0o600, 0},
		{"plain", unix.S_IFREG | 0o644, 0},
	}
	for _, n := range nodes {
		p := filepath.Join(dir, n.name)
		expect.OK(t, unix.Mknod(p, n.mode, int(n.dev)), "mknod %s", n.name)
		expect.Errno(t, unix.Mknod(p, n.mode, int(n.dev)), unix.EEXIST, "mknod %s again", n.name)
	}
	d.Remount()
	for _, n := range nodes {
		st := expect.Lstat(t, filepath.Join(dir, n.name))
		expect.Equal(t, st.Mode, n.mode&^0o022, "mode of %s", n.name)
		expect.Equal(t, uint64(st.Rdev), n.dev, "device of %s", n.name)
	}
	f := expect.Open(t, filepath.Join(dir, "zero"), unix.O_RDONLY, 0)
	expect.Bytes(t, f.Pread(10, 0), make([]byte, 10), "read of a zero device")
	f.Close()
	expect.OK(t, os.WriteFile(filepath.Join(dir, "null"), []byte("gone"), 0), "write to a null device")
	err := drive.As(t, drive.User(1001), func() error {
		return unix.Mknod(filepath.Join(dir, "users"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	})
	expect.Errno(t, err, unix.EPERM, "mknod of a device by a user")
}
