package kms

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ssefs/crypto"
)

// audit returns the records of a chain, and what Audit says of it.
func audit(s *Service, chain string) ([]AuditRecord, error) {
	var all []AuditRecord
	err := s.Audit(ctx, chain, func(r AuditRecord) error { all = append(all, r); return nil })
	return all, err
}

func auditLines(t testing.TB, s *Service, chain string) []string {
	t.Helper()
	all, err := audit(s, chain)
	if err != nil {
		t.Errorf("audit chain %s: %v", chain, err)
	}
	var lines []string
	for i, r := range all {
		if r.Time.IsZero() || i > 0 && r.Seq != all[i-1].Seq+1 {
			t.Errorf("record %+v", r)
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %d %s", r.Event, int32(r.UID), r.Detail)))
	}
	return lines
}

func TestAuditOfKeys(t *testing.T) {
	st := newStore(t)
	st.logs = &st.memFiles
	s := st.create(t)
	by := By{UID: 42, Managed: true}
	id := createKey(t, s, by, CreateOptions{}).ID
	ext := createKey(t, s, by, CreateOptions{Origin: OriginExternal}).ID
	p, err := s.GetImportParameters(ctx, by, ext)
	if err != nil {
		t.Fatal(err)
	}
	for i, do := range []func() error{
		func() error { return s.Disable(ctx, by, id) },
		func() error { return s.Disable(ctx, by, id) },
		func() error { return s.Enable(ctx, by, id) },
		func() error { return s.SetDescription(ctx, by, id, "text") },
		func() error { return s.CreateAlias(ctx, by, "alias/a", id) },
		func() error { return s.UpdateAlias(ctx, by, "alias/a", ext) },
		func() error { return s.DeleteAlias(ctx, by, "alias/a") },
		func() error { return s.Grant(ctx, by, id, Grant{GrantGroup, 5, OpDecrypt}) },
		func() error { return s.Revoke(ctx, by, id, Grant{GrantGroup, 5, OpDecrypt}) },
		func() error { return second(s.Rotate(ctx, by, id)) },
		func() error { return s.SetRotation(ctx, by, id, 24*time.Hour) },
		func() error { return second(s.RotateMasterKey(ctx, by)) },
		func() error { return s.SetMasterKeyRotation(ctx, by, 0) },
		func() error {
			return s.Import(ctx, by, ext, p.Token, wrapMaterial(t, p, newSHA256(), material(1)), epoch.Add(25*time.Hour))
		},
		func() error { return s.Protect(ctx, by, id) },
		func() error { return s.Unprotect(ctx, by, id) },
		func() error { return s.CheckPolicy(kmsPolicy("")) },
		func() error { return second(s.ScheduleDeletion(ctx, by, DefaultAlias, 7)) },
		func() error { return s.CancelDeletion(ctx, by, DefaultAlias) },
		func() error { st.clock.advance(25 * time.Hour); return s.Maintain(ctx) },
		func() error { return second(s.ScheduleDeletion(ctx, by, id, 7)) },
		func() error { st.clock.advance(7 * dayLong); return s.Maintain(ctx) },
		func() error {
			return s.Import(ctx, by, ext, second2(s.GetImportParameters(ctx, by, ext)).Token, nil, time.Time{})
		},
	} {
		if err := do(); err != nil && !errors.Is(err, ErrImport) {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	want := []string{
		"create-keystore -1",
		"create 42 origin KMS, region local", "create 42 origin EXTERNAL, region local", "get-import-parameters 42",
		"disable 42", "enable 42", "set-description 42 text",
		"create-alias 42 alias/a", "update-alias 42 alias/a", "delete-alias 42 alias/a",
		"grant 42 group 5, decrypt", "revoke 42 group 5, decrypt",
		"rotate 42 version 2", "set-rotation 42 24h0m0s", "rotate-master-key 42 version 2", "set-master-key-rotation 42 0s",
		"import 42 expires 2025-03-02T13:00:00Z", "protect 42", "unprotect 42", "create-default 0 alias/acs/oss",
		"schedule-deletion 42 2025-03-08T12:00:00Z", "cancel-deletion 42",
		"rotate -1 version 3, as due", "expire -1",
		"schedule-deletion 42 2025-03-09T13:00:00Z", "delete -1 its day has come", "get-import-parameters 42",
	}
	if got := auditLines(t, s, AuditKeys); !slices.Equal(got, want) {
		t.Errorf("records\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.Close()
	s = st.open(t)
	if got := auditLines(t, s, AuditKeys); !slices.Equal(got, want) {
		t.Errorf("reopened: %d records, want %d", len(got), len(want))
	}
	for name, b := range st.files {
		if bytes.Contains(b, []byte("disable")) || bytes.Contains(b, []byte(id)) {
			t.Errorf("%s tells in the clear what was done", name)
		}
	}
	_, err = audit(s, "other")
	wantErr(t, "another chain", err, ErrArgument)
	plain := newStore(t).create(t)
	_, err = audit(plain, AuditKeys)
	wantErr(t, "no logs", err, ErrState)
}

func TestAuditOfUse(t *testing.T) {
	st := newStore(t)
	st.logs = &st.memFiles
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	_, e := makeFile(t, s, kmsPolicy(id), st.file(9), alice)
	for range 3 {
		_, err := s.OpenEnvelope(ctx, e, st.file(9), bob)
		wantErr(t, "bob", err, ErrDenied)
	}
	wantErr(t, "bob", s.Allowed(e, st.file(9), OpDecrypt, bob), ErrDenied)
	_, _, err := s.NewDataKey(ctx, kmsPolicy(id), st.file(10), bob)
	wantErr(t, "bob", err, ErrDenied)
	if err := s.Disable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	_, err = s.OpenEnvelope(ctx, e, st.file(9), alice)
	wantErr(t, "alice", err, ErrKeyRevoked)
	if err := s.Enable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		k, err := s.OpenEnvelope(ctx, e, st.file(9), alice)
		if err != nil {
			t.Fatal(err)
		}
		k.Wipe()
	}
	st.clock.advance(auditInterval)
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	all, err := audit(s, AuditUse)
	if err != nil || len(all) != 8 {
		t.Fatalf("%d records, %v", len(all), err)
	}
	for i, r := range all[:5] {
		if r.Event != "refused" || r.UID != bob.UID || !strings.Contains(r.Error, ErrDenied.Error()) || i < 4 && (r.Inode != 9 || r.Bucket != 7 || r.KeyID != id) {
			t.Errorf("record %+v", r)
		}
	}
	if r := all[5]; r.Event != "refused" || r.UID != alice.UID || !strings.Contains(r.Error, ErrKeyRevoked.Error()) {
		t.Errorf("record %+v", r)
	}
	for i, want := range []AuditRecord{
		{Op: OpDecrypt, Uses: 5, Calls: 1}, // disabling dropped the bucket key
		{Op: OpGenerate, Uses: 1, Calls: 1},
	} {
		if r := all[6+i]; r.Event != "use" || r.UID != alice.UID || r.KeyID != id || r.Bucket != 7 || r.Op != want.Op || r.Uses != want.Uses || r.Calls != want.Calls {
			t.Errorf("record %+v", r)
		}
	}
	makeFile(t, s, kmsPolicy(id), st.file(11), alice)
	s.Close()
	if got := auditLines(t, st.open(t), AuditUse); len(got) != 9 {
		t.Errorf("after Close %d records", len(got))
	}
}

// TestAuditIsWrittenAhead kills the process after each write of a change: what is
// in effect is on record. And what cannot be recorded is refused.
func TestAuditIsWrittenAhead(t *testing.T) {
	st := newStore(t)
	st.logs = &memFiles{files: map[string][]byte{}}
	s := st.create(t)
	id := createKey(t, s, root, CreateOptions{}).ID
	st.logs.broken = true
	err := s.Disable(ctx, root, id)
	wantErr(t, "log not writable", err, errWrite)
	if info, err := s.Describe(ctx, id); err != nil || info.State != Enabled {
		t.Errorf("state %v, %v", info.State, err)
	}
	st.logs.broken = false
	if err := s.Enable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	got := auditLines(t, s, AuditKeys)
	all, _ := audit(s, AuditKeys)
	if !slices.Equal(got, []string{"create-keystore -1", "create 0 origin KMS, region local", "disable 0", "disable 0"}) || all[3].Error == "" {
		t.Errorf("%q, %+v", got, all)
	}
	s.Close()
	for step := 1; step <= 3; step++ {
		f := &faults{fails: func(n int) (bool, bool) { return n >= step, false }}
		s, err := Open(f.install(st))
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("alias/step%d", step)
		err = s.CreateAlias(ctx, root, name, id)
		if err == nil {
			t.Errorf("step %d: no error", step)
		}
		// The process dies here. The next one finds both.
		again := st.open(t)
		lines := auditLines(t, again, AuditKeys)
		if !slices.Contains(lines, "create-alias 0 "+name) {
			t.Errorf("step %d: not on record: %q", step, lines)
		}
		again.Close()
		s.mu.Lock()
		s.state.wipe()
		s.state = nil
		s.mu.Unlock()
	}
}

// fill makes enough records that the chain of keys has several segments.
func fill(t *testing.T, s *Service, id string, n int) {
	t.Helper()
	for i := range n {
		if err := s.SetDescription(ctx, root, id, strings.Repeat("x", 900)+fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAuditTampering changes, removes and moves lines and files.
func TestAuditTampering(t *testing.T) {
	st := newStore(t)
	st.logs = &memFiles{files: map[string][]byte{}}
	s := st.create(t)
	id := createKey(t, s, root, CreateOptions{}).ID
	fill(t, s, id, 120)
	s.Close()
	if n := len(st.logs.files); n < 3 {
		t.Fatalf("%d segments", n)
	}
	good, keystore, head := maps.Clone(st.logs.files), st.snapshot(), st.head
	newest := fmt.Sprintf("%s.%03d", AuditKeys, len(good))
	reset := func() {
		st.logs.files, st.files, st.head, st.log.text = maps.Clone(good), maps.Clone(keystore), head, nil
	}
	lines := func(name string) [][]byte { return bytes.SplitAfter(bytes.TrimSpace(good[name]), []byte("\n")) }
	set := func(name string, l ...[][]byte) {
		st.logs.files[name] = append(bytes.TrimSpace(bytes.Join(slices.Concat(l...), nil)), '\n')
	}
	for what, tamper := range map[string]func(name string){
		"first line changed":  func(n string) { l := lines(n); l[0] = flip(l[0]); set(n, l) },
		"line changed":        func(n string) { l := lines(n); l[4] = flip(l[4]); set(n, l) },
		"last line changed":   func(n string) { l := lines(n); l[len(l)-1] = flip(l[len(l)-1]); set(n, l) },
		"first line removed":  func(n string) { set(n, lines(n)[1:]) },
		"line removed":        func(n string) { l := lines(n); set(n, l[:4], l[5:]) },
		"last line removed":   func(n string) { l := lines(n); set(n, l[:len(l)-1]) },
		"lines swapped":       func(n string) { l := lines(n); l[3], l[4] = l[4], l[3]; set(n, l) },
		"line doubled":        func(n string) { l := lines(n); set(n, l[:4], l[3:]) },
		"file removed":        func(n string) { delete(st.logs.files, n) },
		"file emptied":        func(n string) { st.logs.files[n] = nil },
		"other file's text":   func(n string) { st.logs.files[n] = good[AuditKeys+".001"] },
		"all files removed":   func(string) { st.logs.files = map[string][]byte{} },
		"line not ended":      func(n string) { st.logs.files[n] = bytes.TrimSpace(good[n]) },
		"newest file removed": func(string) { delete(st.logs.files, newest) },
	} {
		for _, name := range []string{AuditKeys + ".002", newest} {
			reset()
			tamper(name)
			s := st.open(t)
			_, err := audit(s, AuditKeys)
			wantErr(t, what+" in "+name, err, ErrAudit)
			if !strings.Contains(st.log.String(), "level=ERROR") && (name == newest || strings.Contains(what, "file")) {
				t.Errorf("%s in %s: not noticed at opening", what, name)
			}
			// The drive goes on, and so does the log, which does not heal.
			if err := s.SetDescription(ctx, root, id, what+name); err != nil {
				t.Errorf("%s in %s: next change: %v", what, name, err)
			}
			s.Close()
			_, err = audit(st.open(t), AuditKeys)
			wantErr(t, what+" in "+name+", later", err, ErrAudit)
		}
	}
	reset()
	if lines := auditLines(t, st.open(t), AuditKeys); len(lines) != 122 {
		t.Errorf("left alone: %d records", len(lines))
	}
}

// flip changes a bit of what a line encodes.
func flip(line []byte) []byte {
	l := bytes.Clone(line)
	if l[5] == 'A' {
		l[5] = 'B'
	} else {
		l[5] = 'A'
	}
	return l
}

// TestAuditRotates fills the log more than once around.
func TestAuditRotates(t *testing.T) {
	st := newStore(t)
	st.logs = &memFiles{files: map[string][]byte{}}
	s := st.create(t)
	l := s.auditUse
	detail := strings.Repeat("x", 8<<10)
	const n = 2 * auditSegments * auditSegmentSize / (8 << 10)
	for i := range n {
		l.add(AuditRecord{Event: "use", Detail: detail})
		if i%3 == 0 {
			if err := l.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Close()
	s = st.open(t)
	all, err := audit(s, AuditUse)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 || len(all) >= n || all[len(all)-1].Seq != n {
		t.Errorf("%d of %d records left, the last is %d", len(all), n, all[len(all)-1].Seq)
	}
	size := 0
	for _, b := range st.logs.files {
		size += len(b)
	}
	if len(st.logs.files) > auditSegments+1 || size > auditSegments*2*auditSegmentSize {
		t.Errorf("%d files, %d bytes", len(st.logs.files), size)
	}
	// The oldest segment can go; any other is missed.
	delete(st.logs.files, fmt.Sprintf("%s.%03d", AuditUse, (l.segment+auditSegments/2)%auditSegments))
	if _, err := audit(s, AuditUse); !errors.Is(err, ErrAudit) {
		t.Errorf("a segment in the middle is missing: %v", err)
	}
}

// TestAuditLosesAloud cannot write for long.
func TestAuditLosesAloud(t *testing.T) {
	st := newStore(t)
	st.logs = &memFiles{files: map[string][]byte{}}
	s := st.create(t)
	_, e := makeFile(t, s, kmsPolicy(createKey(t, s, root, CreateOptions{}).ID), st.file(1), Caller{})
	st.logs.broken = true
	const tries = 10000
	for range tries {
		wantErr(t, "bob", s.Allowed(e, st.file(1), OpDecrypt, bob), ErrDenied)
	}
	if n := len(s.auditUse.text); n > maxAuditBuffer+4096 {
		t.Errorf("%d bytes kept", n)
	}
	if err := s.Maintain(ctx); err == nil {
		t.Error("Maintain: no error")
	}
	st.logs.broken = false
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "bob", s.Allowed(e, st.file(1), OpDecrypt, bob), ErrDenied)
	all, err := audit(s, AuditUse)
	if err != nil {
		t.Fatal(err)
	}
	kept := len(all) - 2
	if lost := all[kept]; lost.Event != "lost" || lost.Detail != fmt.Sprintf("%d records, the log could not be written", tries-kept) {
		t.Errorf("record %+v after %d", lost, kept)
	}
}

// TestRunWritesRefusals lets Run write a refusal within seconds.
func TestRunWritesRefusals(t *testing.T) {
	st := newStore(t)
	st.logs = &memFiles{files: map[string][]byte{}}
	s := st.create(t)
	_, e := makeFile(t, s, kmsPolicy(createKey(t, s, root, CreateOptions{}).ID), st.file(1), Caller{})
	done := make(chan struct{})
	go func() { defer close(done); s.Run(t.Context()) }()
	for range 100 {
		wantErr(t, "bob", s.Allowed(e, st.file(1), OpDecrypt, bob), ErrDenied)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if s.auditUse.position().seq == 100 {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("%d refusals written", s.auditUse.position().seq)
		}
	}
	s.Close()
	<-done
}

func FuzzAuditSegment(f *testing.F) {
	st := newStore(f)
	st.logs = &memFiles{files: map[string][]byte{}}
	s := st.create(f)
	createKey(f, s, root, CreateOptions{})
	name := AuditKeys + ".001"
	good := bytes.Clone(st.logs.files[name])
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte("\n"))
	key, err := crypto.NewAEAD(st.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &auditLog{files: &memFiles{files: map[string][]byte{name: b}}, prefix: AuditKeys, aead: key, volume: st.volume, clock: time.Now, log: st.options().Logger}
		l.resume(s.state.audit[0])
		err := l.records(s.state.audit[0], func(AuditRecord) error { return nil })
		if (err == nil) != bytes.Equal(b, good) {
			t.Errorf("%q: %v", b, err)
		}
	})
}
