package store

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

// TestDamageInNewestValueLog: a flipped bit costs the value it is in and none
// behind it, and putting it back brings that one back too.
func TestDamageInNewestValueLog(t *testing.T) {
	d := newStore(t)
	db := openDB(t, d, testOptions())
	value := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, DefaultInlineValue) }
	for i := range 4 {
		b := &Batch{}
		b.Put(fmt.Appendf(nil, "key%d", i), value(i))
		mustCommit(t, db, b)
	}
	file := db.valueLogPath(db.vlog.fid)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(content, value(1)[:100])
	if at < 0 {
		t.Fatal("the value is not in the newest value log file")
	}
	flip := func() {
		t.Helper()
		content[at+50] ^= 1
		if err := os.WriteFile(file, content, filePerm); err != nil {
			t.Fatal(err)
		}
	}
	check := func(damaged int) {
		t.Helper()
		db := openDB(t, d, testOptions())
		v := db.View()
		for i := range 4 {
			got, err := get(v, fmt.Sprintf("key%d", i))
			if same := err == nil && bytes.Equal(got, value(i)); same != (i != damaged) {
				t.Errorf("value %d: %v, right: %v", i, err, same)
			}
		}
		v.Release()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	check(1)
	flip()
	check(-1)
}

func TestCutZeros(t *testing.T) {
	path := t.TempDir() + "/log"
	for _, c := range []struct{ data, zeros, want int64 }{
		{0, 5000, 5000}, {100, 10, 110}, {100, 1 << 22, 100 + tailSlack}, {3 << 20, 5 << 20, 3<<20 + tailSlack},
	} {
		if err := os.WriteFile(path, append(bytes.Repeat([]byte{1}, int(c.data)), make([]byte, c.zeros)...), filePerm); err != nil {
			t.Fatal(err)
		}
		if err := cutZeros(path); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != c.want {
			t.Errorf("%d bytes and %d zeros: left %d, want %d", c.data, c.zeros, info.Size(), c.want)
		}
	}
}
