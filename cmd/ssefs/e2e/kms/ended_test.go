package kms

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// pages is the size of the files here.
const pages = 8

// ending is a way in which a key stops being usable, and what brings it back.
type ending struct {
	name  string
	make  func(t *testing.T, d *drive.Drive) (key string)
	end   func(t *testing.T, d *drive.Drive, key string)
	again func(t *testing.T, d *drive.Drive, key string)
	errno unix.Errno
}

func endings() []ending {
	internal := func(t *testing.T, d *drive.Drive) string { return createKey(t, d) }
	var material string // of the external key, encrypted, with its token beside it
	external := func(t *testing.T, d *drive.Drive) string {
		key := createKey(t, d, "--origin", "EXTERNAL")
		material = prepareImport(t, d, key)
		importMaterial(d, key, material)
		return key
	}
	imported := func(_ *testing.T, d *drive.Drive, key string) { importMaterial(d, key, material) }
	return []ending{
		{
			"disabled", internal,
			func(_ *testing.T, d *drive.Drive, key string) { d.MustCLI("kms", "disable", key) },
			func(_ *testing.T, d *drive.Drive, key string) { d.MustCLI("kms", "enable", key) }, unix.EKEYREVOKED,
		},
		{
			"to be deleted", internal,
			func(_ *testing.T, d *drive.Drive, key string) { d.MustCLI("kms", "schedule-deletion", key, "--yes") },
			func(_ *testing.T, d *drive.Drive, key string) { d.MustCLI("kms", "cancel-deletion", key) }, unix.EKEYREVOKED,
		},
		{
			"material deleted", external,
			func(_ *testing.T, d *drive.Drive, key string) { d.MustCLI("kms", "delete-material", key, "--yes") },
			imported, unix.ENOKEY,
		},
		{
			"material expired", external,
			func(t *testing.T, d *drive.Drive, key string) {
				// Importing the same material again sets when it expires; the daemon ends it by itself.
				importMaterial(d, key, material, "--expires", "8s")
				for begin := time.Now(); !strings.Contains(d.Log(), "taking its files out of memory"); time.Sleep(100 * time.Millisecond) {
					if time.Since(begin) > 2*time.Minute {
						t.Fatalf("the material does not expire")
					}
				}
				expect.Equal(t, decode[keyInfo](t, d.MustCLI("kms", "describe", key, "--json")).State, "PendingImport", "state")
				// Keys end one after the other: when another has, this one's files are out of memory.
				d.MustCLI("kms", "disable", createKey(t, d))
			},
			imported, unix.EKEYEXPIRED,
		},
	}
}

// TestKeysEndInUse: for each way in which a key ends, files under it that are closed, open, cached, mapped, just written
// and just made are cut off at once with that way's errno; nothing is lost when the key is back.
func TestKeysEndInUse(t *testing.T) {
	for _, how := range endings() {
		t.Run(how.name, func(t *testing.T) {
			d := drive.New(t, drive.Options{})
			key := how.make(t, d)
			dir := d.Bucket("b")
			expect.SetXattr(t, dir, policyAttr, "KMS:"+key)
			p := func(name string) string { return filepath.Join(dir, name) }
			names := []string{"closed", "open", "cached", "mapped"}
			want := map[string][]byte{}
			for i, name := range names {
				want[name] = expect.Random(uint64(i), pages<<12)
				expect.Write(t, p(name), want[name])
			}
			d.Remount()
			open := expect.Open(t, p("open"), unix.O_RDWR, 0)
			open.Pread(100, 0)
			expect.Contents(t, p("cached"), want["cached"])
			mapping := drive.Start(t, "mapping", p("mapped"))
			mapping.Expect("mapped")
			mapping.Say("3")
			mapping.Expect(fmt.Sprint(want["mapped"][3<<12]))
			open.Pwrite([]byte("not synced"), 5000)
			copy(want["open"][5000:], "not synced")
			fresh := expect.Create(t, p("fresh"))
			want["fresh"] = expect.Random(9, 3000)
			fresh.Pwrite(want["fresh"], 0)
			names = append(names, "fresh")

			how.end(t, d, key)
			for _, name := range names {
				for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR | unix.O_TRUNC} {
					_, err := unix.Open(p(name), flags, 0)
					expect.Errno(t, err, how.errno, "open %s with flags %#o", name, flags)
				}
				expect.Errno(t, unix.Truncate(p(name), 1), how.errno, "truncate %s", name)
				expect.Equal(t, expect.Stat(t, p(name)).Size, int64(len(want[name])), "size of %s", name)
			}
			_, err := unix.Open(p("new"), unix.O_CREAT|unix.O_WRONLY, 0o644)
			expect.Errno(t, err, how.errno, "create")
			_, err = unix.Pread(open.Fd, make([]byte, 100), 0)
			expect.Errno(t, err, how.errno, "read of an open file")
			_, err = unix.Pread(fresh.Fd, make([]byte, 100), 0)
			expect.Errno(t, err, how.errno, "read of a file just made")
			for _, page := range []string{"3", "5"} {
				mapping.Say(page)
				mapping.Expect("SIGBUS")
			}

			how.again(t, d, key)
			for _, name := range names {
				expect.Contents(t, p(name), want[name])
			}
			expect.Bytes(t, open.Pread(pages<<12, 0), want["open"], "the open file, through its old descriptor")
			mapping.Say("3")
			mapping.Expect(fmt.Sprint(want["mapped"][3<<12]))
			mapping.Wait()
			open.Close()
			fresh.Close()
			d.Remount()
			for _, name := range names {
				expect.Contents(t, p(name), want[name])
			}
		})
	}
}
