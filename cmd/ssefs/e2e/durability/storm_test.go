package durability

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

const (
	stormFiles = 12
	stormDirs  = 4
)

// moveAround is the helper that moves files from directory to directory under ever new names, and exchanges two of
// them now and then, until the drive fails.
func moveAround(p *drive.Peer) error {
	base := p.Args[0]
	var at [stormFiles]string
	for i := range at {
		at[i] = filepath.Join(base, "0", fmt.Sprint(i, "-start"))
	}
	for round := 0; ; round++ {
		for i := range at {
			next := filepath.Join(base, fmt.Sprint((i+round)%stormDirs), fmt.Sprint(i, "-", round))
			if unix.Rename(at[i], next) != nil {
				return nil
			}
			at[i] = next
		}
		a, b := round%stormFiles, (round+1)%stormFiles
		if unix.Renameat2(unix.AT_FDCWD, at[a], unix.AT_FDCWD, at[b], unix.RENAME_EXCHANGE) != nil {
			return nil
		}
		// What a name says is then another file's: put that right, so that the names tell the files apart.
		if unix.Renameat2(unix.AT_FDCWD, at[a], unix.AT_FDCWD, at[b], unix.RENAME_EXCHANGE) != nil {
			return nil
		}
		if round == 3 {
			if err := p.Say("at work"); err != nil {
				return err
			}
		}
	}
}

// TestRenameStorm: a crash in the middle of many renames leaves every file in exactly one place, whole.
func TestRenameStorm(t *testing.T) {
	d := drive.New(t, drive.Options{})
	for round := range 3 {
		b := d.Bucket(fmt.Sprint("round", round))
		for i := range stormDirs {
			expect.Mkdir(t, filepath.Join(b, fmt.Sprint(i)))
		}
		for i := range stormFiles {
			expect.Write(t, filepath.Join(b, "0", fmt.Sprint(i, "-start")), contentsOf(i))
		}
		drive.Must(t, drive.Binary(t), "sync", b)
		h := drive.Start(t, "storm", b)
		h.Expect("at work")
		time.Sleep(time.Duration(100+round*600) * time.Millisecond)
		d.Kill()
		h.Wait()
		d.Fsck()
		d.Mount()
		found := map[string]int{}
		exchanged := 0
		for i := range stormDirs {
			dir := filepath.Join(b, fmt.Sprint(i))
			for _, name := range expect.Names(t, dir) {
				number, _, _ := strings.Cut(name, "-")
				found[number]++
				if !isFile(expect.Read(t, filepath.Join(dir, name)), number) {
					exchanged++
				}
			}
		}
		for i := range stormFiles {
			expect.Equal(t, found[fmt.Sprint(i)], 1, "round %d: places of file %d", round, i)
		}
		// Between the two exchanges a pair is the wrong way round; never is one of them alone.
		if exchanged != 0 && exchanged != 2 {
			t.Errorf("round %d: %d files have contents that are not theirs", round, exchanged)
		}
	}
}

// isFile reports whether b is the contents of the file of that number.
func isFile(b []byte, number string) bool {
	var i int
	if _, err := fmt.Sscan(number, &i); err != nil {
		return false
	}
	return string(b) == string(contentsOf(i))
}
