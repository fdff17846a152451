package frozen

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/e2e/expect"
)

// TestFrozen reads all of each frozen volume, then changes it and reads what was left alone again.
func TestFrozen(t *testing.T) {
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			v, want := unpack(t, name), listed(t, name)
			if r := v.fsck(); (r["pending"] > 0 && r["orphan"] > 0) != (name == "v1-crashed") {
				t.Errorf("%d pending and %d orphan records", r["pending"], r["orphan"])
			}
			v.mount(v.keyFile, "-o", "ro")
			sameTree(t, v.walk(), want)
			v.unmount()
			v.mount(v.passphraseArg)
			v.administration()
			changes := v.change()
			v.must(nil, "gc") // which ends what is being deleted
			v.unmount()
			if r := v.fsck(); r["pending"]+r["orphan"] > 0 {
				t.Errorf("%d pending and %d orphan records are left", r["pending"], r["orphan"])
			}
			v.mount(v.keyFile, "-o", "ro")
			changes.verify(t, v)
			left := maps.Clone(want)
			found := v.walk()
			for path := range changes.touched {
				delete(left, path)
				delete(found, path)
			}
			for path, e := range found { // a mount for writing may change times of access
				e.Atime = left[path].Atime
				found[path] = e
			}
			sameTree(t, found, left)
			v.unmount()
		})
	}
}

// sameTree compares all objects with those that are listed.
func sameTree(t *testing.T, got, want map[string]entry) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if e, ok := got[path]; ok {
			compare(t, e, want[path])
		} else {
			t.Errorf("%q is missing", path)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%q should not be there", path)
		}
	}
}

// administration checks what the volume holds beside files.
func (v *volume) administration() {
	v.t.Helper()
	for bucket, policy := range map[string]string{"none": "none", "aes": "AES256", "kms": "KMS:alias/frozen"} {
		var got struct{ Policy string }
		v.decode(&got, "bucket", "show", bucket)
		expect.Equal(v.t, got.Policy, policy, "policy of bucket %s", bucket)
	}
	var slots []struct{ Slot int }
	v.decode(&slots, "key", "list")
	if len(slots) != 2 || slots[0].Slot != 1 || slots[1].Slot != 2 {
		v.t.Errorf("unlock slots %+v, want 1 and 2", slots)
	}
	var key struct{ Description, Region, State string }
	v.decode(&key, "kms", "describe", "alias/frozen")
	if key.Description != "the frozen one" || key.Region != "frozen-1" || key.State != "Enabled" {
		v.t.Errorf("the key is %+v", key)
	}
	for path, algorithm := range map[string]string{"none/of 100": "none", "aes/of 100": "AES256", "kms/of 100": "KMS"} {
		var file struct{ Algorithm string }
		v.decode(&file, "stat", v.path(path))
		expect.Equal(v.t, file.Algorithm, algorithm, "algorithm of %s", path)
	}
}

// decode runs a command with --json and takes what it prints apart.
func (v *volume) decode(into any, args ...string) {
	v.t.Helper()
	out := v.must(nil, append(args, "--json")...)
	expect.OK(v.t, json.Unmarshal([]byte(out), into), "parse what ssefs %q printed: %s", args, out)
}

// changes are what was done to a volume.
type changes struct {
	touched map[string]bool   // paths whose attributes or contents changed, or which came or went
	files   map[string][]byte // new contents
	gone    []string
}

// change makes changes of many kinds in every bucket.
func (v *volume) change() changes {
	v.t.Helper()
	c := changes{touched: map[string]bool{".": true}, files: map[string][]byte{}}
	v.must(nil, "bucket", "create", "new", "--sse", "KMS")
	expect.Write(v.t, v.path("new/file"), expect.Random(1, 70_000))
	c.files["new/file"] = expect.Random(1, 70_000)
	c.touched["new"] = true
	for i, bucket := range []string{"none", "aes", "kms"} {
		in := func(name string) string { return v.path(bucket, name) }
		edit := func(name string, size int, parts map[int][]byte) {
			old := expect.Read(v.t, in(name))
			fresh := make([]byte, size)
			copy(fresh, old)
			f := expect.Open(v.t, in(name), unix.O_RDWR, 0)
			if size < len(old) {
				f.Truncate(int64(size))
			}
			for at, b := range parts {
				f.Pwrite(b, int64(at))
				copy(fresh[at:], b)
			}
			f.Close()
			c.files[bucket+"/"+name] = fresh
		}
		seed := uint64(10 * i)
		expect.Write(v.t, in("added"), expect.Random(seed+1, 3<<20+1))
		c.files[bucket+"/added"] = expect.Random(seed+1, 3<<20+1)
		edit("of 20000", 30_000, map[int][]byte{5_000: expect.Random(seed+2, 4_000), 28_000: expect.Random(seed+3, 2_000)})
		edit("fragmented", 47*4096, map[int][]byte{4096: expect.Random(seed+4, 4096), 10*4096 + 7: expect.Random(seed+5, 8192)})
		edit("scattered", 5<<20+1, map[int][]byte{3<<20 + 20_000: expect.Random(seed+6, 6_000)})
		edit("of 4097", 4095, nil)
		expect.OK(v.t, os.Remove(in("of 1")), "remove")
		expect.OK(v.t, os.Rename(in("of 100"), in("dir/renamed")), "rename")
		expect.OK(v.t, os.Rename(in("dir/deeper"), in("group/moved")), "rename a directory")
		expect.SetXattr(v.t, in("empty"), "user.new", "value")
		c.gone = append(c.gone, in("of 1"), in("of 100"), in("dir/deeper"))
		for _, name := range []string{"", "/of 1", "/of 100", "/of 4095", "/of 4097", "/dir", "/dir/linked", "/dir/renamed", "/dir/deeper", "/dir/deeper/empty",
			"/dir/deeper/linked too", "/group", "/group/moved", "/group/moved/empty", "/group/moved/linked too", "/empty"} {
			c.touched[bucket+name] = true
		}
		expect.OK(v.t, os.Chown(in("of 4095"), 9, 9), "chown")
	}
	for path := range c.files {
		c.touched[path] = true
	}
	return c
}

// verify reads back what change wrote.
func (c changes) verify(t *testing.T, v *volume) {
	t.Helper()
	for path, want := range c.files {
		expect.Contents(t, v.path(path), want)
	}
	for _, path := range c.gone {
		expect.Missing(t, path)
	}
	for _, bucket := range []string{"none", "aes", "kms"} {
		expect.Equal(t, len(expect.Read(t, v.path(bucket, "dir/renamed"))), 100, "size of the renamed file in %s", bucket)
		expect.Contents(t, v.path(bucket, "group/moved/linked too"), c.files[bucket+"/of 4097"])
		expect.Equal(t, expect.Xattr(t, v.path(bucket, "empty"), "user.new"), "value", "new attribute in %s", bucket)
		expect.Equal(t, expect.Stat(t, v.path(bucket, "of 4095")).Uid, 9, "new owner in %s", bucket)
	}
}
