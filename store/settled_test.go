package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// checkSize fails the test unless the store takes up little more than what is
// alive, a memtable and the current value log file.
func checkSize(t *testing.T, db *DB) {
	t.Helper()
	live := liveBytes(t, db)
	tables, values := db.Size()
	slack := db.opt.MemTableSize*3/2 + db.opt.ValueLogFileSize
	t.Logf("live %d, tables %d, values %d", live, tables, values)
	if tables+values > live+live/10+slack {
		t.Errorf("%d bytes are taken for %d live ones", tables+values, live)
	}
}

// quietDB returns a database whose background work the test does by hand.
func quietDB(t *testing.T) *DB {
	t.Helper()
	db := newDB(t)
	db.stop()
	db.background.Wait()
	return db
}

// TestSettledReclaim: files of which a third is dead are left alone as long as
// something goes on, and not for ever; and records in the tables count, too.
func TestSettledReclaim(t *testing.T) {
	for name, size := range map[string]int{"value log": 60_000, "tables": 4_000} {
		t.Run(name, func(t *testing.T) {
			db := quietDB(t)
			n := 24 << 20 / size
			commitEach(t, db, n, func(b *Batch, i int) { b.Put(fmt.Appendf(nil, "k%06d", i), bytes.Repeat([]byte{byte(i)}, size)) })
			commitEach(t, db, n, func(b *Batch, i int) {
				if i%3 == 0 {
					b.Delete(fmt.Appendf(nil, "k%06d", i))
				}
			})
			var k housekeeper
			if err := db.tidy(context.Background(), time.Now().Add(settledAfter), &k); err != nil {
				t.Fatal(err)
			}
			checkSize(t, db)
			v := db.View()
			defer v.Release()
			for i := range n {
				got, err := get(v, fmt.Sprintf("k%06d", i))
				if gone := i%3 == 0; gone != (err != nil) || !gone && !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, size)) {
					t.Fatalf("record %d: %d bytes, %v", i, len(got), err)
				}
			}
		})
	}
}

// TestDeadOfEarlierMounts: what was deleted just before the store was closed is
// noticed by what is alive.
func TestDeadOfEarlierMounts(t *testing.T) {
	d := newStore(t)
	db := openDB(t, d, testOptions())
	db.stop()
	db.background.Wait()
	const size = 60_000
	value := make([]byte, size)
	commitEach(t, db, 800, func(b *Batch, i int) { b.Put(fmt.Appendf(nil, "k%06d", i), value) })
	commitEach(t, db, 800, func(b *Batch, i int) {
		if i >= 100 {
			b.Delete(fmt.Appendf(nil, "k%06d", i))
		}
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, d, testOptions())
	db.stop()
	db.background.Wait()
	db.SetLive(func() int64 { return 100 * size })
	var k housekeeper
	if err := db.tidy(context.Background(), time.Now().Add(settledAfter), &k); err != nil {
		t.Fatal(err)
	}
	checkSize(t, db)
	// Nothing has changed: there is nothing to do.
	if err := db.tidy(context.Background(), k.pause.Add(time.Hour), &k); err != nil {
		t.Fatal(err)
	}
	if k.settled != db.activity.commits+1 {
		t.Errorf("after %d commits the work is done for %d", db.activity.commits, k.settled)
	}
}

// TestSettledReclaimIsDisturbed: a commit ends the thorough work, which is taken
// up again later.
func TestSettledReclaimIsDisturbed(t *testing.T) {
	db := quietDB(t)
	rest := db.restUndisturbed(db.activity.commits)
	if err := rest(context.Background(), 0); err != nil {
		t.Errorf("nothing was committed: %v", err)
	}
	put(t, db, "a", nil)
	if err := rest(context.Background(), 0); !errors.Is(err, errDisturbed) {
		t.Errorf("after a commit: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := rest(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// TestLostDiscards: Badger's figures of dead values are not synced, and without
// them nothing would ever be collected.
func TestLostDiscards(t *testing.T) {
	d := newStore(t)
	db := openDB(t, d, testOptions())
	value := make([]byte, 60_000)
	commitEach(t, db, 1000, func(b *Batch, i int) { b.Put(fmt.Appendf(nil, "k%06d", i), value) })
	commitEach(t, db, 1000, func(b *Batch, i int) {
		if i%2 == 0 {
			b.Delete(fmt.Appendf(nil, "k%06d", i))
		}
	})
	if err := db.compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	discards := filepath.Join(d.path, nameDB, fileDiscard)
	info, err := os.Stat(discards)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(discards, make([]byte, info.Size()), filePerm); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, d, testOptions())
	if err := db.Reclaim(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	checkSize(t, db)
}
