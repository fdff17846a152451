package exit

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Code
	}{
		{nil, OK},
		{errors.New("anything"), Failure},
		{fs.ErrPermission, Failure},
		{Errorf(Busy, "busy"), Busy},
		{fmt.Errorf("outer: %w", Errorf(MountPoint, "inner")), MountPoint},
		{fmt.Errorf("unlock: %w", crypto.ErrWrongSecret), WrongSecret},
		{crypto.ErrBadSecret, WrongSecret},
		{&store.InUseError{Path: "/s", OwnerInfo: store.OwnerInfo{PID: 7}}, InUse},
		{store.ErrMissing, NoStore},
		{store.ErrNotStore, NoStore},
		{store.ErrNotEmpty, NoStore},
		{crypto.ErrVersion, Unsupported},
		{crypto.ErrFeature, Unsupported},
		{crypto.ErrHeaderDamaged, Damaged},
		{store.ErrDamaged, Damaged},
		{volume.ErrDamaged, Damaged},
		{volume.ErrRollback, Damaged},
		{kms.ErrKeystoreDamaged, Damaged},
		{kms.ErrRollback, Damaged},
		{crypto.ErrAuth, Damaged},
		{kms.ErrAudit, Damaged},
		{crypto.ErrPolicy, Usage},
		{kms.ErrArgument, Usage},
		// The code that is said counts more than what is wrapped.
		{With(Usage, store.ErrMissing), Usage},
	} {
		if got := Of(tt.err); got != tt.want {
			t.Errorf("Of(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestWithKeepsNilAndText(t *testing.T) {
	if With(Busy, nil) != nil {
		t.Error("With made an error of nil")
	}
	err := With(Busy, store.ErrMissing)
	if err.Error() != store.ErrMissing.Error() || !errors.Is(err, store.ErrMissing) {
		t.Errorf("With changed the error: %v", err)
	}
}

// TestTables: the codes are an interface; a change here breaks somebody's script.
func TestTables(t *testing.T) {
	for i, r := range table() {
		if int(r.Code) != i || r.Meaning == "" {
			t.Errorf("row %d of the table is %+v", i, r)
		}
	}
	if len(table()) != 10 {
		t.Errorf("the table has %d rows", len(table()))
	}
	var fsck []Code
	for _, r := range fsckTable() {
		fsck = append(fsck, r.Code)
	}
	if fmt.Sprint(fsck) != "[0 1 4 8 16 32]" {
		t.Errorf("the codes of fsck are %v", fsck)
	}
	var text strings.Builder
	if err := WriteTables(&text); err != nil {
		t.Fatal(err)
	}
	for _, r := range append(table(), fsckTable()...) {
		if !strings.Contains(text.String(), fmt.Sprintf("%2d  %s\n", r.Code, r.Meaning)) {
			t.Errorf("the text lacks code %d", r.Code)
		}
	}
}
