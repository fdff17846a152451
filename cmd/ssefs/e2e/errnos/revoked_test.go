package errnos

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// refused marks the test failed unless everything that needs a file's key is refused with want, and everything that
// does not still works.
func refused(t *testing.T, dir string, want unix.Errno, names ...string) {
	t.Helper()
	for _, name := range names {
		p := filepath.Join(dir, name)
		for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR | unix.O_TRUNC, unix.O_WRONLY | unix.O_APPEND} {
			fd, err := unix.Open(p, flags, 0)
			if err == nil {
				expect.OK(t, unix.Close(fd), "close")
			}
			expect.Errno(t, err, want, "open %s with flags %#o", name, flags)
		}
		expect.Errno(t, unix.Truncate(p, 1), want, "truncate %s", name)
		expect.Equal(t, expect.Stat(t, p).Size > 1, true, "size of %s is still told", name)
		expect.Equal(t, expect.Xattr(t, p, "user.sse.algorithm"), "KMS", "algorithm of %s is still told", name)
		expect.OK(t, unix.Rename(p, p+".moved"), "rename %s", name)
		expect.OK(t, unix.Rename(p+".moved", p), "rename %s back", name)
		expect.OK(t, unix.Chmod(p, 0o644), "chmod %s", name)
		expect.OK(t, unix.Setxattr(p, "user.note", []byte("x"), 0), "set an xattr of %s", name)
	}
	fd, err := unix.Open(filepath.Join(dir, "new"), unix.O_CREAT|unix.O_WRONLY, 0o644)
	if err == nil {
		expect.OK(t, unix.Close(fd), "close")
	}
	expect.Errno(t, err, want, "create a file")
	expect.Errno(t, unix.Mknod(filepath.Join(dir, "new"), unix.S_IFREG|0o644, 0), want, "mknod of a file")
	expect.Missing(t, filepath.Join(dir, "new"))
	_, err = unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o644)
	expect.Errno(t, err, want, "O_TMPFILE")
	// What needs no key of a file.
	expect.OK(t, unix.Mkdir(filepath.Join(dir, "new"), 0o755), "mkdir")
	expect.OK(t, unix.Symlink("x", filepath.Join(dir, "new", "link")), "symlink")
	expect.OK(t, unix.Mkfifo(filepath.Join(dir, "new", "fifo"), 0o644), "mkfifo")
	drive.Must(t, "rm", "-r", filepath.Join(dir, "new"))
	drive.Must(t, "ls", "-l", dir)
}

// TestDisabledKey goes through all that a disabled key refuses and takes away, and finds everything again, down to the
// last byte that was written before, once it is enabled.
func TestDisabledKey(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	p := func(name string) string { return filepath.Join(dir, name) }
	want := map[string][]byte{}
	for i, name := range []string{"closed", "open", "cached", "mapped"} {
		want[name] = expect.Random(uint64(i), 16<<12)
		expect.Write(t, p(name), want[name])
	}
	expect.Contents(t, p("cached"), want["cached"])
	open := expect.Open(t, p("open"), unix.O_RDWR, 0)
	mapping := drive.Start(t, "mapping", p("mapped"))
	mapping.Expect("mapped")
	mapping.Say("3")
	mapping.Expect(fmt.Sprint(want["mapped"][3<<12]))
	// Changes that nobody has synced: a write, a mapped write, a file just made.
	open.Pwrite([]byte("unsynced"), 5000)
	copy(want["open"][5000:], "unsynced")
	mapping.Say("7 42")
	mapping.Expect("42")
	want["mapped"][7<<12] = 42
	want["new"] = expect.Random(9, 30_000)
	made := expect.Create(t, p("fresh"))
	made.Pwrite(want["new"], 0)
	want["fresh"] = want["new"]
	delete(want, "new")

	disabled := time.Now()
	d.MustCLI("kms", "disable", key)
	names := []string{"closed", "open", "cached", "mapped", "fresh"}
	refused(t, dir, unix.EKEYREVOKED, names...)
	for what, f := range map[string]*expect.File{"open": open, "fresh": made} {
		_, err := unix.Pread(f.Fd, make([]byte, 100), 0)
		expect.Errno(t, err, unix.EKEYREVOKED, "read through a descriptor that was open: %s", what)
	}
	mapping.Say("3")
	mapping.Expect("SIGBUS")
	mapping.Say("7")
	mapping.Expect("SIGBUS")
	// A file of another key, and one of none, go on.
	other, _ := kmsBucket(t, d, "other")
	expect.Write(t, filepath.Join(other, "file"), []byte("x"))
	expect.Contents(t, filepath.Join(other, "file"), []byte("x"))

	// The log says which, why, and what to do, once for each, and again after half a minute.
	log := d.Log()
	if !strings.Contains(log, key) || !strings.Contains(log, "enable") {
		t.Errorf("the log does not name the key and the remedy")
	}
	most := 1 + int(time.Since(disabled)/(30*time.Second))
	if n := strings.Count(log, "closed"); n < 1 || n > most {
		t.Errorf("the log names the file %d times, want 1 to %d", n, most)
	}

	d.MustCLI("kms", "enable", key)
	check := func(when string) {
		t.Helper()
		for name, contents := range want {
			expect.Bytes(t, expect.Read(t, p(name)), contents, "%s %s", name, when)
		}
	}
	check("after enable")
	expect.Bytes(t, open.Pread(16<<12, 0), want["open"], "the open file through its old descriptor")
	mapping.Say("3")
	mapping.Expect(fmt.Sprint(want["mapped"][3<<12]))
	mapping.Say("7")
	mapping.Expect("42")
	mapping.Wait()
	open.Pwrite([]byte("again"), 0)
	copy(want["open"], "again")
	open.Close()
	made.Close()
	expect.Write(t, p("later"), []byte("later"))
	d.Remount()
	check("after remount")
	expect.Contents(t, p("later"), []byte("later"))
}

// TestDisabledKeyOverRemount: the key stays disabled, and its files can be removed.
func TestDisabledKeyOverRemount(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	data := expect.Random(1, 100_000)
	expect.Write(t, filepath.Join(dir, "a"), data)
	expect.Write(t, filepath.Join(dir, "b"), data)
	d.MustCLI("kms", "disable", key)
	d.Remount()
	refused(t, dir, unix.EKEYREVOKED, "a", "b")
	expect.OK(t, unix.Unlink(filepath.Join(dir, "b")), "unlink")
	// The policy itself can be changed: new files are then under another key.
	expect.SetXattr(t, dir, policyAttr, "AES256")
	expect.Write(t, filepath.Join(dir, "c"), []byte("c"))
	d.Unmount()
	d.MustCLI("kms", "enable", key, "--key-file", d.KeyFile())
	d.Mount()
	expect.Contents(t, filepath.Join(dir, "a"), data)
	expect.Missing(t, filepath.Join(dir, "b"))
	expect.Contents(t, filepath.Join(dir, "c"), []byte("c"))
}

// TestWritesAfterDisable: what is written through an old descriptor after the key was disabled is refused by the write
// or by fsync. It never counts as stored.
func TestWritesAfterDisable(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	p := filepath.Join(dir, "file")
	data := expect.Random(1, 64<<10)
	expect.Write(t, p, data)
	f := expect.Open(t, p, unix.O_RDWR, 0)
	d.MustCLI("kms", "disable", key)
	_, err := unix.Pwrite(f.Fd, make([]byte, 4096), 8192)
	if err == nil {
		err = unix.Fsync(f.Fd)
	}
	expect.Errno(t, err, unix.EKEYREVOKED, "write and fsync after the key was disabled")
	expect.Errno(t, unix.Ftruncate(f.Fd, 0), unix.EKEYREVOKED, "ftruncate after the key was disabled")
	_ = unix.Fsync(f.Fd) // takes the error of the write off the descriptor, if it still holds one
	d.MustCLI("kms", "enable", key)
	got := expect.Read(t, p)
	if err := sameButOneBlock(got, data, 8192); err != nil {
		t.Error(err)
	}
}

// sameButOneBlock allows for one block to be zeros: whether a refused write is dropped or done later is open.
func sameButOneBlock(got, want []byte, at int) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d bytes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] && (i < at || i >= at+4096 || got[i] != 0) {
			return fmt.Errorf("byte %d is another", i)
		}
	}
	return nil
}

// TestDisabledDefaultKey: the managed key is guarded by a flag, and disabling it works like any.
func TestDisabledDefaultKey(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir := d.Bucket("b")
	expect.SetXattr(t, dir, policyAttr, "KMS")
	expect.Write(t, filepath.Join(dir, "file"), []byte("contents"))
	if r := d.CLI("kms", "disable", "alias/acs/oss"); r.Code == 0 {
		t.Errorf("the default key was disabled without a flag that says so")
	}
	expect.Contents(t, filepath.Join(dir, "file"), []byte("contents"))
	d.MustCLI("kms", "disable", "alias/acs/oss", "--managed")
	refused(t, dir, unix.EKEYREVOKED, "file")
	d.MustCLI("kms", "enable", "alias/acs/oss", "--managed")
	expect.Contents(t, filepath.Join(dir, "file"), []byte("contents"))
}

// TestDisableUnderLoad: writers are at work while the key is disabled and enabled again and again. They get the key's
// errno or are served; what they wrote and synced is there at the end.
func TestDisableUnderLoad(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	const workers, rounds = 4, 6
	p := func(w int) string { return filepath.Join(dir, fmt.Sprint("file", w)) }
	stop := make(chan struct{})
	type result struct {
		worker int
		synced []int // the records that fsync acknowledged
		err    error
	}
	results := make(chan result, workers)
	for w := range workers {
		go func() {
			r := result{worker: w}
			for i := 0; r.err == nil; i++ {
				select {
				case <-stop:
					// The key is enabled by now. Before, on a busy disk, it may never have been for long enough.
					if len(r.synced) > 0 {
						results <- r
						return
					}
				default:
				}
				err := writeRecord(p(w), w, i)
				if err == nil {
					r.synced = append(r.synced, i)
				} else if !errors.Is(err, unix.EKEYREVOKED) {
					r.err = err
				}
			}
			results <- r
		}()
	}
	for range rounds {
		d.MustCLI("kms", "disable", key)
		d.MustCLI("kms", "enable", key)
	}
	close(stop)
	for range workers {
		r := <-results
		expect.OK(t, r.err, "work while the key goes and comes")
		b := expect.Read(t, p(r.worker))
		record := expect.Random(uint64(r.worker), recordSize)
		for _, i := range r.synced {
			if len(b) < (i+1)*recordSize {
				t.Fatalf("record %d of worker %d was synced and is missing", i, r.worker)
			}
			expect.Bytes(t, b[i*recordSize:(i+1)*recordSize], record, "record %d of worker %d", i, r.worker)
		}
	}
}

const recordSize = 5000

// writeRecord writes record i of a file and makes it durable.
func writeRecord(p string, worker, i int) error {
	fd, err := unix.Open(p, unix.O_CREAT|unix.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = unix.Pwrite(fd, expect.Random(uint64(worker), recordSize), int64(i)*recordSize)
	if err == nil {
		err = unix.Fsync(fd)
	}
	return errors.Join(err, unix.Close(fd))
}
