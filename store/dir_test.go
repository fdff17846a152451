package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCreationPrefixes goes through what is in the directory after each step of a
// creation, and what an interrupted restart of one may leave.
func TestCreationPrefixes(t *testing.T) {
	lastStep := []string{"lock", "creating", "db/MANIFEST", "db/00001.mem", "db/000001.vlog", "keystore.a", "keystore.b"}
	for name, c := range map[string]struct {
		files []string
		open  error // what OpenDir reports
	}{
		"nothing":         {nil, ErrNotStore},
		"lock":            {lastStep[:1], ErrUnfinished},
		"lock and log":    {[]string{"lock", "log"}, ErrUnfinished},
		"marker":          {lastStep[:2], ErrUnfinished},
		"manifest":        {lastStep[:3], ErrUnfinished},
		"database":        {lastStep[:5], ErrUnfinished},
		"half a key file": {append([]string{"keystore.a.tmp"}, lastStep[:5]...), ErrUnfinished},
		"one key file":    {lastStep[:6], ErrUnfinished},
		"two key files":   {lastStep, ErrUnfinished},
		"ballast":         {append([]string{"ballast"}, lastStep...), ErrUnfinished},
		"half a header":   {append([]string{"volume.json.tmp"}, lastStep...), ErrUnfinished},
		"restart cleared the database": {
			[]string{"lock", "creating", "keystore.a", "keystore.b", "volume.json.tmp"}, ErrUnfinished,
		},
		"restart cleared half of the database": {[]string{"lock", "creating", "db/000001.vlog"}, ErrUnfinished},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			if err := os.MkdirAll(filepath.Join(path, "db"), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, f := range c.files {
				touch(t, filepath.Join(path, f))
			}
			if !strings.Contains(strings.Join(c.files, " "), "db/") {
				if err := os.Remove(filepath.Join(path, "db")); err != nil {
					t.Fatal(err)
				}
			}
			if d, err := OpenDir(path); !errors.Is(err, c.open) {
				t.Fatalf("opening: %v, %v", d, err)
			}
			d, db, err := create(path, testOptions())
			if err != nil {
				t.Fatalf("creating: %v", err)
			}
			if db.Committed() != 0 || !d.IsNew() {
				t.Errorf("committed %d, new %v", db.Committed(), d.IsNew())
			}
			if err := closeBoth(d, db); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{"creating", "volume.json.tmp", "keystore.a", "keystore.a.tmp"} {
				if _, err := os.Lstat(filepath.Join(path, f)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is left: %v", f, err)
				}
			}
			if d, err = OpenDir(path); err != nil {
				t.Fatalf("opening the finished store: %v", err)
			}
			if d.IsNew() {
				t.Error("a finished store is new")
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestMarkerBesideHeaderIsRemoved(t *testing.T) {
	for name, open := range map[string]func(string) (*Dir, error){"open": OpenDir, "create": CreateDir} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			d, db, err := create(path, testOptions())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := commitNext(db); err != nil {
				t.Fatal(err)
			}
			if err := closeBoth(d, db); err != nil {
				t.Fatal(err)
			}
			touch(t, filepath.Join(path, "creating"))
			touch(t, filepath.Join(path, "head.tmp"))
			if d, err = open(path); err != nil {
				t.Fatal(err)
			}
			if d.IsNew() {
				t.Error("taken for new")
			}
			db = openDB(t, d, testOptions())
			if db.Committed() != 1 {
				t.Errorf("committed %d", db.Committed())
			}
			if err := closeBoth(d, db); err != nil {
				t.Fatal(err)
			}
			c, err := survey(path)
			if err != nil || c.has["creating"] || c.has["head.tmp"] {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
}

func TestForeignDirectories(t *testing.T) {
	for name, c := range map[string]struct {
		files        []string
		create, open error
	}{
		"somebody's":            {[]string{"letter.txt"}, ErrNotEmpty, ErrNotStore},
		"with a lock":           {[]string{"lock", "letter.txt"}, ErrNotEmpty, ErrNotStore},
		"unfinished, not alone": {[]string{"lock", "creating", "letter.txt"}, ErrNotEmpty, ErrNotStore},
		"header lost":           {[]string{"lock", "db/MANIFEST", "keystore.a"}, ErrDamaged, ErrDamaged},
		"not Badger's":          {[]string{"lock", "creating", "db/letter.txt"}, ErrNotEmpty, ErrUnfinished},
		"marker without a lock": {[]string{"creating"}, ErrNotEmpty, ErrNotStore},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for _, f := range c.files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(path, f)), 0o700); err != nil {
					t.Fatal(err)
				}
				touch(t, filepath.Join(path, f))
			}
			if d, err := OpenDir(path); !errors.Is(err, c.open) {
				t.Errorf("opening: %v, %v", d, err)
			}
			if d, err := CreateDir(path); !errors.Is(err, c.create) {
				t.Errorf("creating: %v, %v", d, err)
			}
			for _, f := range c.files {
				if _, err := os.Lstat(filepath.Join(path, f)); err != nil {
					t.Errorf("%s is gone: %v", f, err)
				}
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	touch(t, file)
	if _, err := OpenDir(file); !errors.Is(err, ErrNotStore) {
		t.Errorf("opening a file: %v", err)
	}
	if _, err := CreateDir(file); !errors.Is(err, ErrNotStore) {
		t.Errorf("creating at a file: %v", err)
	}
	if _, err := OpenDir(file + "-not"); !errors.Is(err, ErrMissing) || errors.Is(err, ErrUnfinished) {
		t.Errorf("opening nothing: %v", err)
	}
	if _, err := CreateDir(filepath.Join(file+"-not", "store")); err == nil {
		t.Error("created a store without a parent directory")
	}
}

func TestFiles(t *testing.T) {
	d := newStore(t)
	if _, err := d.ReadFile(HeadFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a missing file: %v", err)
	}
	for _, data := range []string{"one", "", "three"} {
		if err := d.WriteFile(HeadFile, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.ReadFile(HeadFile); err != nil || string(got) != data {
			t.Errorf("read %q, %v", got, err)
		}
	}
	info, err := os.Stat(filepath.Join(d.Path(), HeadFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(d.Path()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := d.RemoveFile(HeadFile); err != nil {
		t.Error(err)
	}
	if err := d.RemoveFile(HeadFile); err != nil {
		t.Errorf("removing a missing file: %v", err)
	}
	for _, name := range []string{KeyUsageFile, AuditKeysLog + ".000", AuditUseLog + ".063"} {
		if err := d.WriteFile(name, []byte("x")); err != nil {
			t.Errorf("write %q: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(d.Path(), name+tempSuffix), nil, 0o600); err != nil || !isTemp(name+tempSuffix) {
			t.Errorf("%q left by a crash is not known: %v", name+tempSuffix, err)
		}
	}
	for _, name := range []string{"lock", "db", "../x", "", "head.tmp", "audit-keys", "audit-keys.1", "audit-keys.00x", "audit-keys.0/0", "audit-use.0000", "audit-other.000"} {
		if err := d.WriteFile(name, nil); err == nil {
			t.Errorf("wrote %q", name)
		}
	}
	if err := d.RemoveFile(HeaderFile); err == nil {
		t.Error("removed the header")
	}
	if err := d.FinishCreate(); err == nil {
		t.Error("finished a creation without a header")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := create(path, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); !errors.Is(err, ErrBusy) {
		t.Errorf("closing with the database open: %v", err)
	}
	if err := d.SetOwner(OwnerInfo{Socket: "/run/x", Mountpoint: "/mnt/x"}); err != nil {
		t.Fatal(err)
	}
	want := OwnerInfo{PID: os.Getpid(), Socket: "/run/x", Mountpoint: "/mnt/x"}
	for name, open := range map[string]func(string) (*Dir, error){"open": OpenDir, "create": CreateDir} {
		_, err := open(path)
		var inUse *InUseError
		if !errors.As(err, &inUse) || !errors.Is(err, ErrInUse) || inUse.OwnerInfo != want {
			t.Errorf("%s: %v", name, err)
		} else if !strings.Contains(err.Error(), "/mnt/x") {
			t.Errorf("%s: the message does not name the mount point: %v", name, err)
		}
	}
	if info, err := ReadOwner(path); err != nil || info != want {
		t.Errorf("owner %+v, %v", info, err)
	}
	// One that is not closing is not waited for: this would wait for ever.
	if _, err := OpenDirWait(context.Background(), path); !errors.Is(err, ErrInUse) {
		t.Errorf("waiting for a store in use: %v", err)
	}
	// One that is closing is.
	if err := d.SetOwner(OwnerInfo{Closing: true}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := OpenDirWait(ctx, path); !errors.Is(err, ErrInUse) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting in vain: %v", err)
	}
	closed := make(chan error, 1)
	go func() {
		time.Sleep(100 * time.Millisecond)
		closed <- closeBoth(d, db)
	}()
	d2, err := CreateDirWait(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if info, err := ReadOwner(path); err != nil || info.Closing || info.PID != os.Getpid() {
		t.Errorf("the next owner is %+v, %v", info, err)
	}
	// A child does not inherit the lock.
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	if err := d2.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadOwner(path); !errors.Is(err, ErrNoOwner) {
		t.Errorf("owner of a closed store: %v", err)
	}
	if _, err := ReadOwner(t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("owner of nothing: %v", err)
	}
	if err := d2.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closing twice: %v", err)
	}
	if err := d2.WriteFile(HeadFile, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("writing to a closed store: %v", err)
	}
}

// TestReadOwnerDoesNotDisturb looks at the owner all the time while the store is
// opened: a look takes the lock for an instant, and that must not show.
func TestReadOwnerDoesNotDisturb(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := create(path, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			case <-time.After(100 * time.Microsecond):
			}
			if _, err := ReadOwner(path); err != nil && !errors.Is(err, ErrNoOwner) {
				done <- err
				return
			}
		}
	}()
	for range 200 {
		d, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// tornFile is a lock file that is half written the first time it is read.
type tornFile struct{ reads int }

func (f *tornFile) ReadAt(b []byte, off int64) (int, error) {
	content := `{"pid":7,"mountpoint":"/m"}`
	if f.reads++; f.reads == 1 {
		content = content[:9]
	}
	return strings.NewReader(content).ReadAt(b, off)
}

// TestTornLockFile: its owner writes it in place, and whoever reads what is half
// written reads it again.
func TestTornLockFile(t *testing.T) {
	info, err := readOwnerInfo(&tornFile{})
	if err != nil || info.PID != 7 || info.Mountpoint != "/m" {
		t.Errorf("%+v, %v", info, err)
	}
}
