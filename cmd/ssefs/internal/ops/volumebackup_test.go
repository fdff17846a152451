package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/crypto"
	"ssefs/fs/archive"
	"ssefs/fs/backup"
	"ssefs/fs/volume"
	"ssefs/kms"
)

func keyFile(letter byte) crypto.Secret {
	return crypto.KeyFileSecret(bytes.Repeat([]byte{letter}, crypto.MinKeyFileSize))
}

func newSession(t *testing.T, path string) *session.Session {
	t.Helper()
	s, err := session.OpenOrCreate(t.Context(), path, keyFile(1), session.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// makeBackup makes a backup of an open volume.
func makeBackup(t *testing.T, s *session.Session, base []byte) ([]byte, error) {
	t.Helper()
	var req VolumeBackupRequest
	if base != nil {
		l, err := archive.OpenListing(bytes.NewReader(base), int64(len(base)))
		if err != nil {
			t.Fatal(err)
		}
		req.Base = l.Marshal()
	}
	r, err := NewLocal(s, control.Peer{}).Open(t.Context(), VolumeBackup, req)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// restoreTo makes a store of backups and checks it.
func restoreTo(t *testing.T, path string, secret crypto.Secret, chain ...[]byte) error {
	t.Helper()
	var sources []session.Source
	for i, b := range chain {
		r, err := archive.NewReader(bytes.NewReader(b))
		if err != nil {
			return err
		}
		sources = append(sources, session.Source{Name: fmt.Sprint("backup ", i), Reader: r})
	}
	r, err := session.Restore(t.Context(), path, sources, secret, session.Options{Logger: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		return err
	}
	i := r.Inspect()
	result, err := RunCheck(t.Context(), i.Material(), CheckRequest{Contents: true}, CheckOptions{KeystoreError: i.KeystoreError, HeaderError: i.HeaderError})
	if err != nil {
		return errors.Join(err, r.Abandon())
	}
	if len(result.Problems) > 0 {
		t.Errorf("restored with %q", result.Problems)
	}
	return r.Finish(session.Sound)
}

// TestBackupWhileEverythingChanges: keys, unlock slots, buckets and files change all the time; each backup, full and
// incremental in turn, is of one moment of all of them.
func TestBackupWhileEverythingChanges(t *testing.T) {
	dir := t.TempDir()
	s := newSession(t, filepath.Join(dir, "store"))
	ctx, stop := context.WithCancel(t.Context())
	var changers sync.WaitGroup
	for _, change := range []func(n int) error{
		func(n int) error {
			info, err := s.KMS().CreateKey(ctx, kms.By{}, kms.CreateOptions{Description: fmt.Sprint(n)})
			if err == nil && n%3 == 0 {
				err = s.KMS().Disable(ctx, kms.By{}, info.ID)
			}
			return err
		},
		func(n int) error {
			info, err := s.AddSlot(keyFile(byte(2+n%200)), "")
			if err == nil {
				err = s.RemoveSlot(info.ID)
			}
			return err
		},
		func(n int) error {
			b, err := s.Volume().Create(ctx, volume.RootInode, fmt.Sprint("bucket", n), volume.NewNode{Mode: unix.S_IFDIR | 0o755})
			if err != nil {
				return err
			}
			s.Volume().Unpin(b)
			return s.Volume().Sync()
		},
	} {
		changers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := change(n); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var chain [][]byte
	for n := range 8 {
		var base []byte
		if len(chain) > 0 {
			base = chain[len(chain)-1]
		}
		b, err := makeBackup(t, s, base)
		if err != nil {
			t.Fatal(err)
		}
		if chain = append(chain, b); n == 3 {
			chain = nil
			continue
		}
		path := filepath.Join(dir, fmt.Sprint("restored", n))
		if err := restoreTo(t, path, keyFile(1), chain...); err != nil {
			t.Fatal(err)
		}
		again := newSession(t, path)
		if again.ID() != s.ID() {
			t.Error("it is another volume")
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	stop()
	changers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreRefusals: nothing is left of what is refused before anything was made, and no store of what is refused later.
func TestRestoreRefusals(t *testing.T) {
	dir := t.TempDir()
	s := newSession(t, filepath.Join(dir, "store"))
	full, err := makeBackup(t, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	one, err := makeBackup(t, s, full)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(full)
	forged[len(forged)-6] ^= 1 // within the tag
	if _, err := makeBackup(t, s, forgedTag(full)); exit.Of(err) != exit.Damaged || !errors.Is(err, crypto.ErrAuth) {
		t.Errorf("based on a backup that was tampered with: %v", err)
	}
	other := newSession(t, filepath.Join(dir, "other"))
	foreign, err := makeBackup(t, other, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := makeBackup(t, s, foreign); !errors.Is(err, backup.ErrBase) {
		t.Errorf("based on a backup of another volume: %v", err)
	}
	for name, test := range map[string]struct {
		chain  [][]byte
		secret crypto.Secret
		want   error
	}{
		"another key":            {[][]byte{full}, keyFile(9), crypto.ErrWrongSecret},
		"the wrong order":        {[][]byte{one, full}, keyFile(1), backup.ErrBase},
		"without the full one":   {[][]byte{one}, keyFile(1), backup.ErrBase},
		"a full one twice":       {[][]byte{full, full}, keyFile(1), backup.ErrBase},
		"of another volume":      {[][]byte{full, foreign}, keyFile(1), backup.ErrBase},
		"cut off":                {[][]byte{full[:len(full)-1]}, keyFile(1), archive.ErrTruncated},
		"cut off, incremental":   {[][]byte{full, one[:len(one)/2]}, keyFile(1), archive.ErrTruncated},
		"a flipped bit":          {[][]byte{forged}, keyFile(1), archive.ErrDamaged},
		"a tag that was made up": {[][]byte{forgedTag(full)}, keyFile(1), archive.ErrDamaged},
	} {
		path := filepath.Join(dir, "refused")
		if err := restoreTo(t, path, test.secret, test.chain...); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := session.Open(t.Context(), path, keyFile(1), session.Options{}); exit.Of(err) != exit.NoStore {
			t.Errorf("%s: what is there now: %v", name, err)
		}
	}
	if err := restoreTo(t, filepath.Join(dir, "refused"), keyFile(1), full, one); err != nil {
		t.Errorf("started over: %v", err)
	}
	if err := restoreTo(t, filepath.Join(dir, "refused"), keyFile(1), full); exit.Of(err) != exit.NoStore {
		t.Errorf("over a store: %v", err)
	}
	if err := restoreTo(t, filepath.Join(dir, "store"), keyFile(1), full); exit.Of(err) != exit.InUse {
		t.Errorf("over a store in use: %v", err)
	}
	if err := errors.Join(s.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
}

// forgedTag changes the tag of a backup, and nothing else that a reader without the key could see.
func forgedTag(b []byte) []byte {
	var out bytes.Buffer
	r, err := archive.NewReader(bytes.NewReader(b))
	if err != nil {
		panic(err) // it was made a moment ago
	}
	key, err := crypto.NewKey()
	if err != nil {
		panic(err)
	}
	defer key.Wipe()
	w, err := archive.NewWriter(&out, r.Begin())
	if err != nil {
		panic(err)
	}
	err = r.Files(func(f archive.File) error { return w.File(f.Name, f.Contents) })
	if err == nil {
		_, err = r.Read(copier{w})
	}
	if err == nil {
		_, err = w.End(key)
	}
	if err != nil {
		panic(err)
	}
	return out.Bytes()
}

// copier is a Visitor that writes what it gets.
type copier struct{ *archive.Writer }

func (c copier) Listed(e archive.Entry) error { return c.List(e) }

func (copier) ListingEnds() error { return nil }

func (c copier) Record(e archive.Entry, value []byte) error {
	return c.Writer.Record(e.Key, e.Version, value)
}

// TestStopEndsBackups: a backup that nobody reads does not keep the volume open.
func TestStopEndsBackups(t *testing.T) {
	s := newSession(t, filepath.Join(t.TempDir(), "store"))
	o := New(s, Mount{})
	w := &stuck{began: make(chan struct{}), aborted: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		ended <- o.Stream(t.Context(), control.Peer{}, VolumeBackup, json.RawMessage("{}"), w)
	}()
	<-w.began
	o.Stop() // returns once the backup has ended
	if err := <-ended; !errors.Is(err, ErrClosing) {
		t.Errorf("the backup ended with %v", err)
	}
	if err := o.Stream(t.Context(), control.Peer{}, VolumeBackup, json.RawMessage("{}"), w); !errors.Is(err, ErrClosing) {
		t.Errorf("a backup after Stop: %v", err)
	}
	if err := o.Stream(t.Context(), control.Peer{}, Status, nil, w); !errors.Is(err, control.ErrUnknownOperation) {
		t.Errorf("a stream of something else: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// stuck is a StreamWriter that waits for Abort.
type stuck struct {
	once           sync.Once
	began, aborted chan struct{}
}

func (s *stuck) Write([]byte) (int, error) {
	s.once.Do(func() { close(s.began) })
	select {
	case <-s.aborted:
		return 0, errors.New("aborted")
	case <-time.After(time.Minute):
		return 0, errors.New("nobody ends this")
	}
}

func (s *stuck) Abort() { close(s.aborted) }
