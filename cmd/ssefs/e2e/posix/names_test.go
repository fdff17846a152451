package posix

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestNames: a name is any bytes but slash and zero, up to 255 of them.
func TestNames(t *testing.T) {
	d, dir := bucket(t)
	names := []string{"plain", " ", "...", "-rf", "trailing.", "new\nline", "tab\t", "\\back", "quote'\"", "ümläut", "u\u0308", "日本語",
		"\xff\xfe not UTF-8", "CASE", "case", strings.Repeat("n", 255), strings.Repeat("ü", 127) + "x", ".hidden", "*", "%s"}
	var all []byte
	for b := 1; b < 256; b++ {
		if b != '/' {
			all = append(all, byte(b))
		}
	}
	names = append(names, string(all[:127]), string(all[127:]))
	for _, name := range names {
		expect.Write(t, filepath.Join(dir, "x")[:len(dir)+1]+name, []byte(name))
	}
	check := func() {
		t.Helper()
		got := expect.Names(t, dir)
		slices.Sort(got)
		want := slices.Clone(names)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("names: got %q, want %q", got, want)
		}
		for _, name := range names {
			expect.Contents(t, dir+"/"+name, []byte(name))
		}
	}
	check()
	d.Remount()
	check()
}

func TestNameTooLong(t *testing.T) {
	dir := place(t)
	long, file := dir+"/"+strings.Repeat("n", 256), filepath.Join(dir, "file")
	expect.Write(t, file, nil)
	var st unix.Stat_t
	at := unix.AT_FDCWD
	for what, err := range map[string]error{
		"stat":     unix.Stat(long, &st),
		"mkdir":    unix.Mkdir(long, 0o755),
		"rmdir":    unix.Rmdir(long),
		"unlink":   unix.Unlink(long),
		"mknod":    unix.Mknod(long, unix.S_IFREG, 0),
		"symlink":  unix.Symlink("x", long),
		"link":     unix.Link(file, long),
		"rename":   unix.Rename(file, long),
		"rename2":  unix.Rename(long, file),
		"exchange": unix.Renameat2(at, file, at, long, unix.RENAME_EXCHANGE),
	} {
		expect.Errno(t, err, unix.ENAMETOOLONG, "%s of a name of 256 bytes", what)
	}
	_, err := os.Create(long)
	expect.Errno(t, err, unix.ENAMETOOLONG, "create of a name of 256 bytes")
	_, err = os.Open(long)
	expect.Errno(t, err, unix.ENAMETOOLONG, "open of a name of 256 bytes")
	_, err = os.Open(dir + strings.Repeat("/.", 2048))
	expect.Errno(t, err, unix.ENAMETOOLONG, "a path of more than 4096 bytes")
}
