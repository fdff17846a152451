package durability

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// buckets makes one of each mode.
func buckets(t *testing.T, d *drive.Drive) []string {
	t.Helper()
	var dirs []string
	for _, policy := range []string{"AES256", "KMS", "none"} {
		b := d.Bucket("in-" + policy)
		expect.SetXattr(t, b, "user.sse.policy", policy)
		dirs = append(dirs, b)
	}
	return dirs
}

// TestFsyncOfFiles: after fsync or fdatasync the file is there, with its name and all its data, whatever its size.
func TestFsyncOfFiles(t *testing.T) {
	d := drive.New(t, drive.Options{})
	type file struct {
		path string
		data []byte
	}
	var want []file
	for i, b := range buckets(t, d) {
		for j, size := range []int{0, 1, 4096, 5000, 300_000, 9 << 20} {
			p := filepath.Join(b, fmt.Sprint(size))
			f := expect.Create(t, p)
			data := expect.Random(uint64(i*10+j), size)
			f.Pwrite(data, 0)
			if j%2 == 0 {
				f.Sync()
			} else {
				expect.OK(t, unix.Fdatasync(f.Fd), "fdatasync")
			}
			want = append(want, file{p, data})
			f.Drop() // after the kill below it would fail; before it, it would flush
		}
	}
	crash(d)
	for _, w := range want {
		expect.Contents(t, w.path, w.data)
	}
}

// TestSyncedChanges: each way in which a change can be acknowledged, each followed by a kill.
func TestSyncedChanges(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	p := func(name string) string { return filepath.Join(b, name) }
	data := expect.Random(1, 100_000)
	expect.Write(t, p("base"), data)
	syncDir := func() {
		t.Helper()
		f := expect.Open(t, b, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		f.Sync()
		f.Close()
	}
	drive.Must(t, drive.Binary(t), "sync", b)
	for _, c := range []struct {
		what   string
		change func() *expect.File
		check  func()
	}{
		{"O_SYNC", func() *expect.File {
			f := expect.Open(t, p("osync"), unix.O_CREAT|unix.O_WRONLY|unix.O_SYNC, 0o644)
			f.Pwrite(data, 0)
			return f
		}, func() { expect.Contents(t, p("osync"), data) }},
		{"O_DSYNC, extending", func() *expect.File {
			f := expect.Open(t, p("osync"), unix.O_WRONLY|unix.O_DSYNC|unix.O_APPEND, 0)
			f.Write([]byte("tail"))
			return f
		}, func() { expect.Contents(t, p("osync"), append(data[:len(data):len(data)], "tail"...)) }},
		{"O_DIRECT and O_SYNC", func() *expect.File {
			f := expect.Open(t, p("direct"), unix.O_CREAT|unix.O_WRONLY|unix.O_SYNC|unix.O_DIRECT, 0o644)
			m, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			expect.OK(t, err, "map memory")
			copy(m, data)
			f.Pwrite(m, 0)
			expect.OK(t, unix.Munmap(m), "unmap memory")
			return f
		}, func() { expect.Contents(t, p("direct"), data[:8192]) }},
		{"msync", func() *expect.File {
			f := expect.Open(t, p("base"), unix.O_RDWR, 0)
			m, err := unix.Mmap(f.Fd, 0, len(data), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			expect.OK(t, err, "mmap")
			copy(m[50_000:], "mapped")
			copy(data[50_000:], "mapped")
			expect.OK(t, unix.Msync(m, unix.MS_SYNC), "msync")
			expect.OK(t, unix.Munmap(m), "munmap")
			return f
		}, func() { expect.Contents(t, p("base"), data) }},
		{"truncate and fsync", func() *expect.File {
			f := expect.Open(t, p("base"), unix.O_RDWR, 0)
			f.Truncate(10_000)
			f.Truncate(20_000)
			f.Sync()
			return f
		}, func() { expect.Contents(t, p("base"), append(data[:10_000:10_000], make([]byte, 10_000)...)) }},
		{"fallocate and fsync", func() *expect.File {
			f := expect.Open(t, p("base"), unix.O_RDWR, 0)
			expect.OK(t, unix.Fallocate(f.Fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 5000), "punch")
			f.Sync()
			return f
		}, func() {
			want := make([]byte, 20_000)
			copy(want[5000:], data[5000:10_000])
			expect.Contents(t, p("base"), want)
		}},
		{"fsync of the directory after create, mkdir, symlink, link and mknod", func() *expect.File {
			expect.OK(t, unix.Mknod(p("node"), unix.S_IFREG|0o640, 0), "mknod")
			expect.OK(t, unix.Mkdir(p("dir"), 0o750), "mkdir")
			expect.OK(t, os.Symlink("target", p("link")), "symlink")
			expect.OK(t, unix.Link(p("osync"), p("hard")), "link")
			syncDir()
			return nil
		}, func() {
			expect.Mode(t, expect.Stat(t, p("node")), 0o640, "node")
			expect.Mode(t, expect.Stat(t, p("dir")), 0o750, "directory")
			target, err := os.Readlink(p("link"))
			expect.OK(t, err, "readlink")
			expect.Equal(t, target, "target", "target")
			expect.Equal(t, expect.Stat(t, p("hard")).Nlink, 2, "nlink")
		}},
		{"fsync of the directory after rename, unlink and rmdir", func() *expect.File {
			expect.OK(t, unix.Rename(p("hard"), p("dir/moved")), "rename")
			expect.OK(t, unix.Unlink(p("link")), "unlink")
			expect.OK(t, unix.Unlink(p("node")), "unlink")
			expect.OK(t, unix.Mkdir(p("dir2"), 0o755), "mkdir")
			expect.OK(t, unix.Rmdir(p("dir2")), "rmdir")
			syncDir()
			return nil
		}, func() {
			for _, name := range []string{"hard", "link", "node", "dir2"} {
				expect.Missing(t, p(name))
			}
			expect.Equal(t, expect.Stat(t, p("dir/moved")).Ino, expect.Stat(t, p("osync")).Ino, "inode of the moved name")
		}},
		{"fsync of a file after changes of its attributes", func() *expect.File {
			f := expect.Open(t, p("osync"), unix.O_RDONLY, 0)
			expect.OK(t, unix.Fchmod(f.Fd, 0o4711), "fchmod")
			expect.OK(t, unix.Fchown(f.Fd, 12, 34), "fchown")
			expect.OK(t, unix.Fchmod(f.Fd, 0o4711), "fchmod")
			expect.OK(t, unix.Fsetxattr(f.Fd, "user.note", data[:3000], 0), "fsetxattr")
			drive.Must(t, "setfacl", "-m", "u:1001:r", p("osync"))
			times := []unix.Timespec{{Sec: 5, Nsec: 6}, {Sec: 7, Nsec: 8}}
			expect.OK(t, unix.UtimesNanoAt(unix.AT_FDCWD, p("osync"), times, 0), "utimensat")
			f.Sync()
			return f
		}, func() {
			st := expect.Stat(t, p("osync"))
			expect.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{12, 34}, "owner")
			expect.Equal(t, st.Mtim, unix.Timespec{Sec: 7, Nsec: 8}, "mtime")
			expect.Bytes(t, []byte(expect.Xattr(t, p("osync"), "user.note")), data[:3000], "xattr")
			expect.Mode(t, st, 0o4751, "file") // the group bits show the mask of the ACL
		}},
		{"ssefs sync", func() *expect.File {
			f := expect.Create(t, p("unsynced"))
			f.Pwrite(data, 0)
			expect.OK(t, unix.Mkdir(p("unsynced.dir"), 0o755), "mkdir")
			r := drive.CLI(t, "sync", d.Mountpoint())
			expect.Equal(t, r.Code, 0, "exit of ssefs sync: %s", r.Stderr)
			return f
		}, func() {
			expect.Contents(t, p("unsynced"), data)
			expect.Stat(t, p("unsynced.dir"))
		}},
		{"new bucket and policy, ssefs sync", func() *expect.File {
			expect.SetXattr(t, d.Bucket("new"), "user.sse.policy", "none")
			drive.Must(t, drive.Binary(t), "sync", b)
			return nil
		}, func() { expect.Equal(t, expect.Xattr(t, d.Path("new"), "user.sse.policy"), "none", "policy") }},
	} {
		f := c.change()
		d.Kill()
		if f != nil {
			f.Drop()
		}
		d.Fsck()
		d.Mount()
		c.check()
		if t.Failed() {
			t.Fatalf("after %s and a kill", c.what)
		}
	}
}

// TestKeysSurvive: what the key commands and a first use of KMS did is durable when they return.
func TestKeysSurvive(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	d.MustCLI("kms", "create", "--description", "survivor")
	d.Kill()
	d.Mount()
	list := d.MustCLI("kms", "list")
	expect.Equal(t, len(list) > 0, true, "keys listed")
	expect.SetXattr(t, b, "user.sse.policy", "KMS")
	p := filepath.Join(b, "file")
	f := expect.Create(t, p)
	f.Write([]byte("under the default key"))
	f.Sync()
	d.Kill()
	f.Drop()
	d.Fsck()
	d.Mount()
	expect.Contents(t, p, []byte("under the default key"))
	d.MustCLI("kms", "disable", "alias/acs/oss", "--managed")
	crash(d)
	_, err := unix.Open(p, unix.O_RDONLY, 0)
	expect.Errno(t, err, unix.EKEYREVOKED, "open with a key that was disabled before the crash")
	d.MustCLI("kms", "enable", "alias/acs/oss", "--managed")
	crash(d)
	expect.Contents(t, p, []byte("under the default key"))
}
