package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The crash tests run a child that commits without end, tell by its output what
// it was told is durable, kill it, and look at what is there.

// window is how many records a crash child keeps.
const window = 40

func crashOptions() Options {
	return Options{MemTableSize: 1 << 20, ValueLogFileSize: 2 << 20}
}

func crashKey(version uint64) []byte { return binary.BigEndian.AppendUint64([]byte("r"), version) }

// crashValue is a value that tells its version and is of varied size.
func crashValue(version uint64) []byte {
	sizes := []int{0, 100, 4096, 8191, 8192, 60_000, 200_000}
	v := binary.BigEndian.AppendUint64(nil, version)
	return append(v, bytes.Repeat([]byte{byte(version)}, sizes[version%uint64(len(sizes))])...)
}

func commitNext(db *DB) (uint64, error) {
	version := db.NextVersion()
	var b Batch
	b.Put(crashKey(version), crashValue(version))
	b.Put([]byte("head"), binary.BigEndian.AppendUint64(nil, version))
	if version > window {
		b.Delete(crashKey(version - window))
	}
	got, err := db.Commit(&b)
	if err == nil && got != version {
		err = fmt.Errorf("commit %d came out as %d", version, got)
	}
	return got, err
}

func childCommitForever(path string) error {
	_, db, err := create(path, crashOptions())
	if err != nil {
		return err
	}
	for {
		version, err := commitNext(db)
		if err != nil {
			return err
		}
		fmt.Println(version)
	}
}

// childChurnForever reclaims all the time besides, and iterates, so that files
// are removed late.
func childChurnForever(path string) error {
	_, db, err := create(path, crashOptions())
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() {
		for {
			if err := db.Reclaim(context.Background(), nil); err != nil {
				failed <- err
				return
			}
		}
	}()
	go func() {
		for {
			v := db.View()
			if err := checkWindow(v); err != nil {
				failed <- err
				return
			}
			v.Release()
		}
	}()
	for {
		select {
		case err := <-failed:
			return err
		default:
		}
		version, err := commitNext(db)
		if err != nil {
			return err
		}
		fmt.Println(version)
	}
}

// checkWindow checks that a View holds exactly what the crash child had committed
// by then.
func checkWindow(v *View) error {
	want := uint64(1)
	if v.Version() > window {
		want = v.Version() - window + 1
	}
	err := v.Iterate([]byte("r"), nil, func(key, value []byte) error {
		if !bytes.Equal(key, crashKey(want)) {
			return fmt.Errorf("at version %d: found %x in place of record %d", v.Version(), key, want)
		}
		if !bytes.Equal(value, crashValue(want)) {
			return fmt.Errorf("at version %d: record %d has a wrong value of %d bytes", v.Version(), want, len(value))
		}
		want++
		return nil
	})
	if err != nil {
		return err
	}
	if want != v.Version()+1 {
		return fmt.Errorf("at version %d: records end before %d", v.Version(), want)
	}
	head, err := get(v, "head")
	if v.Version() == 0 && errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if got := binary.BigEndian.Uint64(head); got != v.Version() {
		return fmt.Errorf("at version %d: head is %d", v.Version(), got)
	}
	return nil
}

// killAfter runs a child and kills it d after it has printed the number first, 0
// for its start. It returns the last number it printed.
func killAfter(t *testing.T, name, path string, first uint64, d time.Duration) uint64 {
	t.Helper()
	cmd := child(t, name, path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	last := uint64(0)
	for lines := bufio.NewScanner(out); ; {
		if timer == nil && last >= first {
			timer = time.AfterFunc(d, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
		}
		if !lines.Scan() {
			break
		}
		if n, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
			last = n
		}
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the child ended by itself: %v\n%s", err, stderr.String())
	}
	return last
}

func TestKilledInCommits(t *testing.T) {
	for _, name := range []string{"commitForever", "churnForever"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			acknowledged := uint64(0)
			for round := range 10 {
				// At least five commits: on a busy machine a child needs a while for these.
				d := rand.N(400 * time.Millisecond)
				acknowledged = max(acknowledged, killAfter(t, name, path, acknowledged+5, d))
				dir, err := CreateDir(path)
				if err != nil {
					t.Fatal(err)
				}
				db, err := dir.OpenDB(crashOptions())
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if db.Committed() < acknowledged {
					t.Errorf("round %d: %d was acknowledged, but only %d is there", round, acknowledged, db.Committed())
				}
				v := db.View()
				if err := checkWindow(v); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
				v.Release()
				if err := closeBoth(dir, db); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// childCreate creates one store after the other.
func childCreate(path string) error {
	for i := 1; ; i++ {
		d, db, err := create(filepath.Join(path, strconv.Itoa(i)), crashOptions())
		if err != nil {
			return err
		}
		fmt.Println(i)
		if err := closeBoth(d, db); err != nil {
			return err
		}
	}
}

func TestKilledInCreation(t *testing.T) {
	finished, unfinished := 0, 0
	for range 25 {
		dir := t.TempDir()
		n := killAfter(t, "create", dir, 0, 10*time.Millisecond+rand.N(30*time.Millisecond))
		path := filepath.Join(dir, strconv.FormatUint(n+1, 10))
		d, err := OpenDir(path)
		switch {
		case err == nil:
			finished++
			db, err := d.OpenDB(crashOptions())
			if err != nil {
				t.Fatalf("opening the database of a finished store: %v", err)
			}
			if err := closeBoth(d, db); err != nil {
				t.Fatal(err)
			}
			continue
		case errors.Is(err, ErrMissing), errors.Is(err, ErrNotStore):
			unfinished++
		default:
			t.Fatalf("opening what a killed creation left: %v", err)
		}
		var db *DB
		if d, db, err = create(path, crashOptions()); err != nil {
			t.Fatalf("creating over what a killed creation left: %v", err)
		}
		if _, err := commitNext(db); err != nil {
			t.Fatal(err)
		}
		if err := closeBoth(d, db); err != nil {
			t.Fatal(err)
		}
		if d, err = OpenDir(path); err != nil {
			t.Fatalf("opening what was created anew: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d were finished when killed, %d not", finished, unfinished)
}
