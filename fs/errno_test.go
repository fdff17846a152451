package fs

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

func testDrive() *drive {
	return &drive{v: &volume.Volume{}, reports: reports{table: errnoTable()}, log: slog.New(slog.DiscardHandler)}
}

// TestErrnos: the error numbers that users are promised, for errors that come
// wrapped.
func TestErrnos(t *testing.T) {
	d := testDrive()
	for err, want := range map[error]syscall.Errno{
		crypto.ErrPolicy:       syscall.EINVAL,
		kms.ErrRegion:          syscall.EINVAL,
		kms.ErrNoKey:           syscall.ENOKEY,
		kms.ErrKeyRevoked:      syscall.EKEYREVOKED,
		kms.ErrKeyExpired:      syscall.EKEYEXPIRED,
		kms.ErrDenied:          syscall.EACCES,
		kms.ErrKMSOff:          syscall.EOPNOTSUPP,
		kms.ErrUnavailable:     syscall.ETIMEDOUT,
		volume.ErrDamaged:      syscall.EIO,
		volume.ErrNoSpace:      syscall.ENOSPC,
		store.ErrFull:          syscall.ENOSPC,
		volume.ErrCrossBucket:  syscall.EXDEV,
		volume.ErrRootFile:     syscall.EPERM,
		volume.ErrNotOwner:     syscall.EPERM,
		volume.ErrNotBucket:    syscall.EOPNOTSUPP,
		volume.ErrKeyGone:      syscall.EKEYREVOKED,
		errReadOnlyXattr:       syscall.EPERM,
		volume.ErrNotExist:     syscall.ENOENT,
		volume.ErrReadOnly:     syscall.EROFS,
		errors.New("whatever"): syscall.EIO,
	} {
		if got := d.status(fmt.Errorf("wrapped: %w", err), nil); got != gofuse.Status(want) {
			t.Errorf("%v is %v, want %v", err, syscall.Errno(got), want)
		}
	}
	damage := &volume.DamageError{Kind: record.KindData, Inode: 3, Cause: crypto.ErrAuth}
	if got := d.status(damage, nil); got != gofuse.EIO {
		t.Errorf("damage is %v", got)
	}
	missing := &volume.DamageError{Kind: record.KindData, Inode: 3, Cause: store.ErrNotFound}
	if got := d.status(missing, nil); got != gofuse.EIO {
		t.Errorf("a missing record is %v", got)
	}
	failed := &volume.FailedError{Cause: store.ErrFull}
	if got := d.status(fmt.Errorf("wrapped: %w", failed), nil); got != gofuse.EROFS {
		t.Errorf("a failed drive is %v", got)
	}
	if got := d.status(nil, nil); got != gofuse.OK {
		t.Errorf("no error is %v", got)
	}
}

// TestNoENOSYS: the kernel would take it for success from then on.
func TestNoENOSYS(t *testing.T) {
	for _, row := range errnoTable() {
		if row.errno == syscall.ENOSYS || row.errno == 0 {
			t.Errorf("%v is %v", row.err, row.errno)
		}
	}
}

// TestEverySentinelHasARow: an error that is added to one of the packages below
// must be given an error number here, or a reason why it is EIO or never comes.
func TestEverySentinelHasARow(t *testing.T) {
	reasons := map[string]string{
		"volume.ErrRollback": "mounting only",

		"store.ErrMissing": "opening only", "store.ErrUnfinished": "opening only", "store.ErrNotStore": "opening only",
		"store.ErrNotEmpty": "opening only", "store.ErrInUse": "opening only", "store.ErrNoOwner": "commands only",
		"store.ErrNotFound": "the volume says what is missing", "store.ErrInvalidKey": "a fault of the program: EIO",
		"store.ErrTooBig": "a fault of the program: EIO", "store.ErrReadOnly": "the volume refuses first",
		"store.ErrClosed": "unmounting: EIO", "store.ErrNotNew": "restoring only", "store.ErrIO": "EIO, as what is not in the table",
		"store.ErrBusy": "unmounting only", "store.ErrStop": "never leaves the store",

		"kms.ErrAliasExists": "commands only", "kms.ErrArgument": "commands only", "kms.ErrState": "commands only",
		"kms.ErrManaged": "commands only", "kms.ErrProtected": "commands only", "kms.ErrImport": "commands only",
		"kms.ErrNoGrant": "commands only", "kms.ErrClosed": "unmounting: EIO", "kms.ErrAudit": "commands only",
		"kms.ErrKeystoreDamaged": "mounting only", "kms.ErrRollback": "mounting only", "kms.ErrKeystoreExists": "creation only",
		"kms.ErrOneCopy": "commands only", "kms.ErrBackup": "commands only",

		"crypto.ErrAuth": "the volume says what is damaged", "crypto.ErrFormat": "the volume says what is damaged",
		"crypto.ErrVersion": "mounting only", "crypto.ErrFeature": "mounting only", "crypto.ErrWrongSecret": "mounting only",
		"crypto.ErrHeaderDamaged": "mounting only", "crypto.ErrBadSecret": "mounting only", "crypto.ErrNoSlot": "commands only",
		"crypto.ErrLastSlot": "commands only", "crypto.ErrTooManySlots": "commands only",
		"crypto.ErrWiped": "a fault of the program: EIO",
	}
	inTable := tableNames(t)
	found := 0
	for _, pkg := range []struct{ name, dir string }{
		{"volume", "volume"}, {"store", "../store"}, {"kms", "../kms"}, {"crypto", "../crypto"},
	} {
		for _, name := range sentinels(t, pkg.dir) {
			found++
			full := pkg.name + "." + name
			_, excused := reasons[full]
			if inTable[full] == excused {
				t.Errorf("%s: in the table %v, with a reason not to be %v", full, inTable[full], excused)
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d sentinels were found", found)
	}
}

// sentinels returns the exported error variables that a package declares.
func sentinels(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				for _, n := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(n.Name, "Err") {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// tableNames returns what errnoTable names, by its source.
func tableNames(t *testing.T) map[string]bool {
	t.Helper()
	src, err := os.ReadFile("errno.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for line := range strings.Lines(string(src)) {
		row, ok := strings.CutPrefix(strings.TrimSpace(line), "{")
		if name, _, isRow := strings.Cut(row, ", syscall."); ok && isRow {
			names[name] = true
		}
	}
	return names
}

// TestReports: an error of one file is logged once in a while, whatever number
// of times it is met, and the memory of it is bounded.
func TestReports(t *testing.T) {
	d := testDrive()
	var log countingHandler
	d.log = slog.New(&log)
	for range 100 {
		d.status(kms.ErrDenied, nil)
	}
	if log.n != 1 {
		t.Errorf("logged %d times, want once", log.n)
	}
	d.status(kms.ErrKeyRevoked, nil)
	if log.n != 2 {
		t.Errorf("another error was not logged")
	}
	d.status(volume.ErrNotExist, nil)
	if log.n != 2 {
		t.Errorf("an everyday error was logged")
	}
	if len(d.reports.seen) > maxReports {
		t.Errorf("%d reports are remembered", len(d.reports.seen))
	}
}
