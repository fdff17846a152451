package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestViewsAreIsolated(t *testing.T) {
	db := newDB(t)
	big := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 30_000) }
	var views []*View
	for i := range 60 {
		var b Batch
		b.Put([]byte("same"), big(i))
		b.Put(fmt.Appendf(nil, "k%02d", i), []byte("x"))
		if i > 0 {
			b.Delete(fmt.Appendf(nil, "k%02d", i-1))
		}
		mustCommit(t, db, &b)
		if i%10 == 0 {
			views = append(views, db.View())
		}
	}
	if err := db.Reclaim(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	for n, v := range views {
		i := n * 10
		if v.Version() != uint64(i+1) {
			t.Errorf("view %d is at %d", n, v.Version())
		}
		if got, err := get(v, "same"); err != nil || !bytes.Equal(got, big(i)) {
			t.Errorf("view %d reads %d bytes, %v", n, len(got), err)
		}
		var keys []string
		if err := v.IterateKeys([]byte("k"), nil, func(key []byte, _ int64) error {
			keys = append(keys, string(key))
			return nil
		}); err != nil || !slices.Equal(keys, []string{fmt.Sprintf("k%02d", i)}) {
			t.Errorf("view %d holds %v, %v", n, keys, err)
		}
	}
	// Released in no order, and more than once.
	for _, n := range []int{2, 0, 5, 1, 4, 3, 3, 0} {
		views[n].Release()
	}
	if _, err := get(views[0], "same"); !errors.Is(err, ErrClosed) {
		t.Errorf("reading a released view: %v", err)
	}
	db.views.mu.Lock()
	live := len(db.views.live)
	db.views.mu.Unlock()
	if live != 1 {
		t.Errorf("%d versions are still pinned", live)
	}
	put(t, db, "same", nil)
	if err := db.Reclaim(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if _, vlog := db.Size(); vlog > 3<<20 {
		t.Errorf("the value log still takes %d bytes", vlog)
	}
}

func TestConcurrentReadersCommitsAndReclaim(t *testing.T) {
	d := newStore(t)
	db := openDB(t, d, crashOptions())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	running := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	for range 3 {
		wg.Go(func() {
			for running() {
				v := db.View()
				if err := checkWindow(v); err != nil {
					t.Error(err)
				}
				for i := v.Version(); i > 0 && i+5 > v.Version(); i-- {
					if err := v.Get(crashKey(i), func([]byte) error { return nil }); err != nil {
						t.Errorf("record %d at version %d: %v", i, v.Version(), err)
					}
				}
				v.Release()
			}
		})
	}
	wg.Go(func() {
		for running() {
			if err := db.Reclaim(context.Background(), nil); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for running() {
			if _, err := db.Space(); err != nil {
				t.Error(err)
			}
			db.MaxVersion()
			db.Size()
		}
	})
	commits := 0
	for start := time.Now(); time.Since(start) < 2*time.Second || commits < 20; commits++ {
		if _, err := commitNext(db); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}

func TestReadsDoNotWaitForCommits(t *testing.T) {
	db := newDB(t)
	put(t, db, "a", []byte("1"))
	inCommit, goOn := make(chan struct{}), make(chan struct{})
	db.commitFault = func(commit func() error) error {
		close(inCommit)
		<-goOn
		return commit()
	}
	done := make(chan error, 1)
	go func() {
		var b Batch
		b.Put([]byte("a"), []byte("2"))
		_, err := db.Commit(&b)
		done <- err
	}()
	<-inCommit
	v := db.View()
	got, err := get(v, "a")
	if err != nil || string(got) != "1" {
		t.Errorf("during the commit: %q, %v", got, err)
	}
	if _, err := db.Space(); err != nil {
		t.Error(err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got, err := get(v, "a"); err != nil || string(got) != "1" {
		t.Errorf("after the commit, at the older version: %q, %v", got, err)
	}
	v.Release()
	v = db.View()
	defer v.Release()
	if got, err := get(v, "a"); err != nil || string(got) != "2" {
		t.Errorf("after the commit: %q, %v", got, err)
	}
}
