package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// tree makes files with attributes of every kind that a copy has to keep.
func tree(t *testing.T, dir string) {
	t.Helper()
	sub := expect.Mkdir(t, filepath.Join(dir, "sub"))
	expect.Write(t, filepath.Join(dir, "file"), expect.Random(1, 50_000))
	expect.Write(t, filepath.Join(sub, "mode"), []byte("x"))
	expect.OK(t, unix.Chmod(filepath.Join(sub, "mode"), 0o4751), "chmod")
	expect.OK(t, unix.Chown(filepath.Join(sub, "mode"), 1001, 1002), "chown")
	expect.OK(t, unix.Chmod(filepath.Join(sub, "mode"), 0o4751), "chmod")
	expect.OK(t, os.Symlink("nowhere", filepath.Join(sub, "link")), "symlink")
	expect.OK(t, unix.Link(filepath.Join(dir, "file"), filepath.Join(sub, "hard")), "link")
	expect.OK(t, unix.Mkfifo(filepath.Join(sub, "fifo"), 0o600), "mkfifo")
	expect.SetXattr(t, filepath.Join(dir, "file"), "user.note", "a note")
	expect.SetXattr(t, sub, "user.note", "of a directory")
	expect.SetXattr(t, filepath.Join(sub, "link"), "trusted.note", "of a link")
	drive.Must(t, "setfacl", "-m", "u:1003:r", filepath.Join(sub, "mode"))
	drive.Must(t, "setfacl", "-d", "-m", "u:1003:rwx", sub)
	f := expect.Create(t, filepath.Join(dir, "sparse"))
	f.Truncate(1 << 20)
	f.Pwrite([]byte("end"), 1<<20-3)
	f.Close()
	old := []unix.Timespec{{Sec: 1_000_000_000, Nsec: 123_456_789}, {Sec: 1_100_000_000, Nsec: 987_654_321}}
	expect.OK(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, "file"), old, 0), "utimensat")
}

// same compares two trees with rsync, which tells nothing when they do not differ.
func same(t *testing.T, a, b string) {
	t.Helper()
	out := drive.Must(t, "rsync", "-aHAX", "--checksum", "--delete", "--dry-run", "--itemize-changes", a+"/", b+"/")
	// The directories themselves were made by different means.
	out = strings.Join(slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool {
		return line == "" || strings.HasSuffix(line, " ./")
	}), "\n")
	expect.Equal(t, out, "", "differences of %s and %s", a, b)
}

// TestCopiesKeepThePolicy: cp -a, rsync -X and tar --xattrs copy everything without an error, into a bucket of another
// policy, onto an ordinary file system and back, and no bucket or file is encrypted otherwise than its bucket says.
func TestCopiesKeepThePolicy(t *testing.T) {
	d := drive.New(t, drive.Options{})
	source, outside := d.Bucket("source"), drive.Dir(t)
	expect.SetXattr(t, source, policyAttr, "none")
	tree(t, source)
	key := createKey(t, d)
	tools := map[string]func(from, to string){
		"cp":    func(from, to string) { drive.Must(t, "cp", "-a", from+"/.", to+"/") },
		"rsync": func(from, to string) { drive.Must(t, "rsync", "-aHAX", from+"/", to+"/") },
		"tar": func(from, to string) {
			archive := filepath.Join(outside, "archive.tar")
			drive.Must(t, "tar", "--xattrs", "--xattrs-include=*", "--acls", "-C", from, "-cf", archive, ".")
			drive.Must(t, "tar", "--xattrs", "--xattrs-include=*", "--acls", "-C", to, "-xpf", archive)
		},
	}
	for tool, copyTree := range tools {
		target := d.Bucket("by-" + tool)
		expect.SetXattr(t, target, policyAttr, "KMS:"+key)
		copyTree(source, target)
		expect.Equal(t, expect.Xattr(t, target, policyAttr), "KMS:"+key, "policy after %s", tool)
		for _, p := range []string{"file", "sub/mode", "sub/hard", "sparse"} {
			expect.Equal(t, expect.Xattr(t, filepath.Join(target, p), keyAttr), key, "key of %s after %s", p, tool)
			expect.Bytes(t, expect.Read(t, filepath.Join(target, p)), expect.Read(t, filepath.Join(source, p)), "%s by %s", p, tool)
		}
		same(t, source, target)
		away := filepath.Join(outside, tool)
		expect.OK(t, os.Mkdir(away, 0o755), "mkdir")
		copyTree(target, away)
		names, err := expect.ListXattrs(filepath.Join(away, "file"))
		expect.OK(t, err, "list")
		expect.Equal(t, strings.Join(names, " "), "user.note", "xattrs that reached the other file system")
		back := d.Bucket("back-by-" + tool)
		copyTree(away, back)
		same(t, source, back)
		expect.Equal(t, expect.Xattr(t, back, policyAttr), "AES256", "policy of the bucket that it was copied back to")
		expect.Equal(t, expect.Xattr(t, filepath.Join(back, "file"), algorithmAttr), "AES256", "algorithm of the copy")
	}
	// A whole bucket copied beside itself is a new bucket under the default policy.
	drive.Must(t, "cp", "-a", source, d.Path("copy"))
	expect.Equal(t, expect.Xattr(t, d.Path("copy"), policyAttr), "AES256", "policy of a bucket made by cp -a")
	same(t, source, d.Path("copy"))
	d.Remount()
	for tool := range tools {
		same(t, source, d.Path("by-"+tool))
		same(t, source, d.Path("back-by-"+tool))
	}
}
