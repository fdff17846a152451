package posix

import (
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// copyRange copies n bytes with copy_file_range, however many calls that takes, and returns how many it could.
func copyRange(t *testing.T, from *expect.File, fromOff int64, to *expect.File, toOff int64, n int) int {
	t.Helper()
	done := 0
	for done < n {
		m, err := unix.CopyFileRange(from.Fd, &fromOff, to.Fd, &toOff, n-done, 0)
		expect.OK(t, err, "copy_file_range")
		if m == 0 {
			break
		}
		done += m
	}
	return done
}

func TestCopyFileRange(t *testing.T) {
	d, dir := bucket(t)
	data := expect.Random(1, 3<<20)
	expect.Write(t, filepath.Join(dir, "from"), data)
	from := expect.Open(t, filepath.Join(dir, "from"), unix.O_RDWR, 0)
	to := expect.Create(t, filepath.Join(dir, "to"))
	expect.Equal(t, copyRange(t, from, 0, to, 0, len(data)), len(data), "bytes of a whole copy")
	expect.Contents(t, filepath.Join(dir, "to"), data)
	// Unaligned, over existing data, from data that is still dirty.
	patch := expect.Random(2, 50_000)
	from.Pwrite(patch, 1000)
	expect.Equal(t, copyRange(t, from, 1500, to, 777, 40_000), 40_000, "bytes of a part")
	want := append([]byte(nil), data...)
	copy(want[777:], patch[500:40_500])
	expect.Contents(t, filepath.Join(dir, "to"), want)
	// Up to the end of the source and no further.
	expect.Equal(t, copyRange(t, from, int64(len(data))-10, to, 0, 100), 10, "bytes before the end")
	copy(want, data[len(data)-10:])
	// Behind the end of the target.
	expect.Equal(t, copyRange(t, from, 0, to, int64(len(want))+5000, 10), 10, "bytes copied behind the end")
	want = append(want, make([]byte, 5010)...)
	copy(want[len(want)-10:], data[:10])
	expect.Contents(t, filepath.Join(dir, "to"), want)
	// Within a file, if the ranges do not overlap.
	off, off2 := int64(0), int64(100)
	_, err := unix.CopyFileRange(to.Fd, &off, to.Fd, &off2, 1000, 0)
	expect.Errno(t, err, unix.EINVAL, "copy onto itself")
	expect.Equal(t, copyRange(t, to, 0, to, 1<<20, 5000), 5000, "bytes copied within a file")
	copy(want[1<<20:], want[:5000])
	from.Close()
	to.Close()
	d.Remount()
	expect.Contents(t, filepath.Join(dir, "to"), want)
}

// TestCopyAcrossBuckets: the kernel or the daemon copies plain bytes, encrypted anew for the other bucket.
func TestCopyAcrossBuckets(t *testing.T) {
	d := drive.New(t, drive.Options{})
	policies := map[string]string{"aes": "AES256", "kms": "KMS", "clear": "none"}
	data := expect.Random(1, 2<<20+77)
	for name, policy := range policies {
		b := d.Bucket(name)
		expect.SetXattr(t, b, "user.sse.policy", policy)
		expect.Write(t, filepath.Join(b, "from"), data)
	}
	for a := range policies {
		for b, policy := range policies {
			p := d.Path(b, "from-"+a)
			from, to := expect.Open(t, d.Path(a, "from"), unix.O_RDONLY, 0), expect.Create(t, p)
			expect.Equal(t, copyRange(t, from, 0, to, 0, len(data)), len(data), "bytes copied from %s to %s", a, b)
			expect.Contents(t, p, data)
			expect.Equal(t, expect.Xattr(t, p, "user.sse.algorithm"), policy, "algorithm of the copy")
			from.Close()
			to.Close()
			drive.Must(t, "cp", "-a", d.Path(a, "from"), p+"-by-cp")
			expect.Contents(t, p+"-by-cp", data)
			expect.Equal(t, expect.Xattr(t, p+"-by-cp", "user.sse.algorithm"), policy, "algorithm of the copy by cp")
		}
	}
	d.Remount()
	for a := range policies {
		for b := range policies {
			expect.Contents(t, d.Path(b, "from-"+a), data)
		}
	}
}
