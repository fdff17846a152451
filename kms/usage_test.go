package kms

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ssefs/crypto"
)

func TestUsage(t *testing.T) {
	st := newStore(t)
	st.logs = &st.memFiles
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	if err := s.Grant(ctx, root, id, Grant{GrantUser, bob.UID, opAll}); err != nil {
		t.Fatal(err)
	}
	_, e := makeFile(t, s, kmsPolicy(id), st.file(1), alice)
	use := func(c Caller) {
		t.Helper()
		k, err := s.OpenEnvelope(ctx, e, st.file(1), c)
		if err != nil {
			t.Fatal(err)
		}
		k.Wipe()
	}
	use(bob)
	use(bob)
	use(Drive())
	// Refused uses and other modes are not counted.
	_, err := s.OpenEnvelope(ctx, e, st.file(1), Caller{})
	wantErr(t, "root", err, ErrDenied)
	makeFile(t, s, crypto.Policy{Algorithm: crypto.AlgorithmAES256}, st.file(2), alice)
	wantErr(t, "checked only", s.Allowed(e, st.file(1), OpDecrypt, bob), nil)
	s.Close()
	s = st.open(t)
	st.clock.advance(dayLong)
	use(bob)
	day1 := epoch.Truncate(dayLong)
	day2 := day1.Add(dayLong)
	want := []Usage{
		{day1, id, 7, 1000, OpGenerate, 1, 1},
		{day1, id, 7, 1001, OpDecrypt, 2, 0},
		{day1, id, 7, DriveUID, OpDecrypt, 1, 0},
		{day2, id, 7, 1001, OpDecrypt, 1, 1},
	}
	for _, c := range []struct {
		since time.Time
		want  []Usage
	}{{time.Time{}, want}, {epoch, want}, {epoch.Add(dayLong), want[3:]}, {epoch.Add(2 * dayLong), want[:0]}} {
		got, err := s.Usage(ctx, c.since)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("since %v: %+v, %v; want %+v", c.since, got, err, c.want)
		}
	}
	// Maintain saves; a process that dies afterwards loses nothing.
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := st.open(t).Usage(ctx, time.Time{}); err != nil || !slices.Equal(got, want) {
		t.Errorf("saved: %+v, %v", got, err)
	}
	writes := st.writes
	if err := s.Maintain(ctx); err != nil || st.writes != writes {
		t.Errorf("Maintain without news: %v, %d writes", err, st.writes-writes)
	}
	for _, b := range st.files {
		if bytes.Contains(b, []byte(id)) {
			t.Error("a key ID is on disk in the clear")
		}
	}
}

func TestUsageFileDamaged(t *testing.T) {
	for name, how := range damages {
		st := newStore(t)
		st.logs = &st.memFiles
		s := st.create(t)
		makeFile(t, s, kmsPolicy(""), st.file(1), alice)
		s.Close()
		st.damage(FileUsage, how)
		s = st.open(t)
		if got, err := s.Usage(ctx, time.Time{}); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if loud := strings.Contains(st.log.String(), "level=ERROR"); loud != (name != "missing") {
			t.Errorf("%s: log %s", name, st.log)
		}
	}
}

// TestUsageUnsaved checks that counts are kept when saving fails.
func TestUsageUnsaved(t *testing.T) {
	st := newStore(t)
	st.logs = &st.memFiles
	s := st.create(t)
	makeFile(t, s, kmsPolicy(""), st.file(1), alice)
	st.broken = true
	if err := s.Maintain(ctx); !errors.Is(err, errWrite) {
		t.Errorf("Maintain: %v", err)
	}
	st.broken = false
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := st.open(t).Usage(ctx, time.Time{}); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestUsageIsBounded(t *testing.T) {
	st := newStore(t)
	m := newMeter(st.clock.Now)
	aead, err := crypto.NewAEAD(st.key)
	if err != nil {
		t.Fatal(err)
	}
	rows := m.rows
	key := newID()
	total := uint64(0)
	today := m.today()
	for day := today - 1000; day <= today; day += 20 {
		for uid := range uint32(2000) {
			count(rows, usageRow{day, key, 1, uid, OpDecrypt}, usageCount{1, 1})
			total++
		}
		if len(rows) > maxUsageRows+2 {
			t.Fatalf("%d rows", len(rows))
		}
		// As if each day the counts were saved.
		m.dirty, m.folded = true, day
		if err := m.save(&st.memFiles, aead, st.volume); err != nil {
			t.Fatal(err)
		}
	}
	if len(rows) > maxUsageRows/2 || rows[usageRow{today, key, 1, 1, OpDecrypt}] == nil {
		t.Errorf("%d rows after folding", len(rows))
	}
	for uid := range uint32(maxUsageRows) {
		count(rows, usageRow{today, key, 2, uid, OpDecrypt}, usageCount{1, 1})
		total++
	}
	if len(rows) > maxUsageRows+2 {
		t.Fatalf("%d rows", len(rows))
	}
	sum := usageCount{}
	for _, n := range rows {
		sum.add(*n)
	}
	if sum.uses != total || sum.calls != total {
		t.Errorf("%+v uses of %d", sum, total)
	}
	again, err := decodeUsage(m.encode())
	if err != nil || len(again) != len(rows) {
		t.Errorf("%d rows, %v", len(again), err)
	}
}

func FuzzDecodeUsage(f *testing.F) {
	m := newMeter(func() time.Time { return epoch })
	m.use(newID(), 1, &alice, OpDecrypt, true)
	m.use(newID(), 2, &bob, OpGenerate, false)
	f.Add(m.encode())
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := decodeUsage(b)
		if err != nil {
			if !errors.Is(err, crypto.ErrFormat) {
				t.Error(err)
			}
			return
		}
		again := newMeter(nil)
		again.rows = rows
		if !bytes.Equal(again.encode(), b) {
			t.Errorf("%x", b)
		}
	})
}
