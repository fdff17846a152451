package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// liveBytes sums up what the records take.
func liveBytes(t *testing.T, db *DB) int64 {
	t.Helper()
	v := db.View()
	defer v.Release()
	var sum int64
	if err := v.IterateKeys(nil, nil, func(key []byte, size int64) error {
		sum += int64(len(key)) + size
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestSpaceComesBack(t *testing.T) {
	for name, size := range map[string]int{"value log": 40_000, "tables": 4_000} {
		t.Run(name, func(t *testing.T) {
			db := newDB(t)
			n := 32 << 20 / size
			commitEach(t, db, n, func(b *Batch, i int) {
				b.Put(fmt.Appendf(nil, "k%06d", i), bytes.Repeat([]byte{byte(i)}, size))
			})
			// Of each ten, six are deleted and one is overwritten.
			commitEach(t, db, n, func(b *Batch, i int) {
				key := fmt.Appendf(nil, "k%06d", i)
				switch {
				case i%10 < 6:
					b.Delete(key)
				case i%10 == 6:
					b.Put(key, bytes.Repeat([]byte{byte(i)}, size))
				}
			})
			live := liveBytes(t, db)
			lsm0, vlog0 := db.Size()
			if err := db.Reclaim(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			lsm, vlog := db.Size()
			t.Logf("live %d, before %d+%d, after %d+%d", live, lsm0, vlog0, lsm, vlog)
			// A memtable with the log made beforehand, and the current value log file.
			slack := db.opt.MemTableSize*3/2 + db.opt.ValueLogFileSize
			if lsm+vlog > live+live/10+slack {
				t.Errorf("%d bytes are taken for %d live ones", lsm+vlog, live)
			}
			v := db.View()
			defer v.Release()
			for i := range n {
				got, err := get(v, fmt.Sprintf("k%06d", i))
				if deleted := i%10 < 6; deleted != (err != nil) || !deleted && !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, size)) {
					t.Fatalf("record %d: %d bytes, %v", i, len(got), err)
				}
			}
		})
	}
}

// TestCurrentFileHasMostDead: Badger would refuse to collect anything while the
// file being written leads its statistics (issue 2334).
func TestCurrentFileHasMostDead(t *testing.T) {
	db := newDB(t)
	value := make([]byte, 50_000)
	// Several files, of which two thirds die.
	commitEach(t, db, 400, func(b *Batch, i int) { b.Put(fmt.Appendf(nil, "k%06d", i), value) })
	current := db.vlog.fid
	commitEach(t, db, 400, func(b *Batch, i int) {
		if i%3 != 0 {
			b.Delete(fmt.Appendf(nil, "k%06d", i))
		}
	})
	for i := 0; db.vlog.fid == current; i++ { // to the start of a file
		put(t, db, "fill", value)
	}
	for range 75 { // which then is nearly full, and nearly all dead
		put(t, db, "same", value)
	}
	if err := db.compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	dead, err := db.discard.read()
	if err != nil {
		t.Fatal(err)
	}
	for fid, n := range dead {
		if n > dead[db.vlog.fid] {
			t.Fatalf("file %d leads with %d: %v", fid, n, dead)
		}
	}
	if err := db.bdb.RunValueLogGC(0.5); err == nil {
		t.Log("Badger collects without help now")
	}
	if err := db.Reclaim(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(db.path(), "*"+extValueLog))
	if err != nil || len(left) > 4 {
		t.Errorf("left are %v, %v", left, err)
	}
	if got := liveBytes(t, db); got < 134*50_000 {
		t.Errorf("%d bytes are live", got)
	}
}

// TestBackgroundReclaim drives the background work by hand.
func TestBackgroundReclaim(t *testing.T) {
	db := newDB(t)
	db.stop() // the real one
	db.background.Wait()
	value := make([]byte, 60_000)
	commitEach(t, db, 2000, func(b *Batch, i int) { b.Put(fmt.Appendf(nil, "k%06d", i), value) })
	commitEach(t, db, 1990, func(b *Batch, i int) { b.Delete(fmt.Appendf(nil, "k%06d", i)) })
	_, before := db.Size()
	// 1,990 records, of which one in 16 is looked at: within six standard deviations.
	if all := int64(1990 * len(value)); db.activity.dead.values < all/2 || db.activity.dead.values > all*3/2 {
		t.Errorf("%d bytes are estimated dead", db.activity.dead.values)
	}
	var k housekeeper
	start := time.Now()
	for i := range 10 {
		if err := db.tidy(context.Background(), start.Add(time.Duration(i)*time.Minute), &k); err != nil {
			t.Fatal(err)
		}
	}
	if _, after := db.Size(); after > 2*db.opt.ValueLogFileSize {
		t.Errorf("of %d bytes %d are left", before, after)
	}
	// With nothing new there is nothing to do.
	k.pause = time.Time{}
	entries, err := os.ReadDir(db.path())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.tidy(context.Background(), start.Add(time.Hour), &k); err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadDir(db.path())
	if err != nil || len(again) != len(entries) {
		t.Errorf("%d files became %d, %v", len(entries), len(again), err)
	}
}

func TestReclaimEnds(t *testing.T) {
	db := newDB(t)
	put(t, db, "a", nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := db.Reclaim(ctx, nil); err == nil {
		t.Error("a canceled reclaim went through")
	}
	put(t, db, "a", nil)
}

// TestSpaceIsKept commits exactly what Space promises.
func TestSpaceIsKept(t *testing.T) {
	dir := mountTmpfs(t, 128<<20)
	d, db, err := create(filepath.Join(dir, "store"), fillOptions())
	if err != nil {
		t.Fatal(err)
	}
	space, err := db.Space()
	if err != nil {
		t.Fatal(err)
	}
	if space.Free < 32<<20 || space.Total != 128<<20 {
		t.Fatalf("%+v", space)
	}
	for i := int64(0); i < space.Free; i += 50_100 {
		put(t, db, fmt.Sprint("k", i), make([]byte, 50_000))
	}
	after, err := db.Space()
	if err != nil || after.Free > space.Free/10 {
		t.Errorf("%+v, %v", after, err)
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}

// TestTornValueLogIsCollected: what a crash leaves of a commit at the end of a
// value log file is no damage.
func TestTornValueLogIsCollected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := create(path, crashOptions())
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 50_000)
	commitEach(t, db, 10, func(b *Batch, i int) { b.Put(fmt.Appendf(nil, "k%06d", i), value) })
	torn := db.valueLogPath(db.vlog.fid)
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	edit(t, torn, func(data []byte) []byte {
		entry := 7 + 15 + 50_000 + 4 // header, key with version, value, checksum
		tail := bytes.Clone(data[len(data)-entry:])
		tail[7+14]--                                              // the next version
		copy(tail[100:], bytes.Repeat([]byte{1, 2, 3, 0}, 5_000)) // and half of it is missing
		return append(append(data, tail...), make([]byte, 1<<20)...)
	})
	if d, err = OpenDir(path); err != nil {
		t.Fatal(err)
	}
	if db, err = d.OpenDB(crashOptions()); err != nil {
		t.Fatal(err)
	}
	commitEach(t, db, 9, func(b *Batch, i int) { b.Delete(fmt.Appendf(nil, "k%06d", i)) })
	if err := db.Reclaim(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(torn); !os.IsNotExist(err) {
		t.Errorf("the torn file was not collected: %v", err)
	}
	v := db.View()
	if got, err := get(v, "k000009"); err != nil || len(got) != len(value) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	v.Release()
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}
