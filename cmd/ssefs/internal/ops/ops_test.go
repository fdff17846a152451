package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/crypto"
	"ssefs/kms"
)

func TestUnknownOperation(t *testing.T) {
	_, err := New(nil, Mount{}).Handle(t.Context(), control.Peer{}, "frobnicate", json.RawMessage("{}"))
	if !errors.Is(err, control.ErrUnknownOperation) {
		t.Errorf("got %v", err)
	}
}

// TestStop: what needs the volume is refused after Stop, and who waits for the end is still answered.
func TestStop(t *testing.T) {
	closed := make(chan struct{})
	lost := errors.New("the last changes are lost")
	o := New(nil, Mount{Closed: closed, CloseError: func() error { return lost }})
	o.Stop()
	if _, err := o.Handle(t.Context(), control.Peer{}, Sync, json.RawMessage("{}")); !errors.Is(err, ErrClosing) {
		t.Errorf("sync after Stop: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := o.Handle(ctx, control.Peer{}, WaitClosed, json.RawMessage("{}")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the end was told before it came: %v", err)
	}
	close(closed)
	if _, err := o.Handle(t.Context(), control.Peer{}, WaitClosed, json.RawMessage("{}")); !errors.Is(err, lost) {
		t.Errorf("the failure to close was kept back: %v", err)
	}
}

func TestBucketNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "a\x00b", string(make([]byte, 256))} {
		if checkBucketName(name) == nil {
			t.Errorf("%q passed", name)
		}
	}
	for _, name := range []string{"a", "...", "日本", "with blank", string(bytes255())} {
		if err := checkBucketName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func bytes255() []byte {
	b := make([]byte, 255)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

func TestAliasName(t *testing.T) {
	for in, want := range map[string]string{"a": "alias/a", "alias/a": "alias/a", "ALIAS/a": "alias/a", "x/y": "alias/x/y"} {
		if got := aliasName(in); got != want {
			t.Errorf("aliasName(%q) = %q, want %q", in, got, want)
		}
	}
}

// open returns a Caller for a new volume, on behalf of a user.
func open(t *testing.T, peer control.Peer) Caller {
	t.Helper()
	secret := crypto.KeyFileSecret(bytes.Repeat([]byte{1}, crypto.MinKeyFileSize))
	s, err := session.OpenOrCreate(t.Context(), filepath.Join(t.TempDir(), "store"), secret, session.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewLocal(s, peer)
}

func call[Reply any](t *testing.T, c Caller, operation string, request any) Reply {
	t.Helper()
	var reply Reply
	if err := c.Call(t.Context(), operation, request, &reply); err != nil {
		t.Fatalf("%s %+v: %v", operation, request, err)
	}
	return reply
}

func TestBuckets(t *testing.T) {
	c := open(t, control.Peer{UID: 5, GID: 6})
	made := call[Bucket](t, c, BucketCreate, BucketRequest{Name: "b", Policy: "kms", Mode: 0o750})
	if made.Policy != "KMS" || made.UID != 5 || made.GID != 6 || made.Mode != "0750" || time.Since(made.Created) > time.Minute {
		t.Errorf("made %+v", made)
	}
	if plain := call[Bucket](t, c, BucketCreate, BucketRequest{Name: "a"}); plain.Policy != "AES256" {
		t.Errorf("a bucket with the default policy: %+v", plain)
	}
	if list := call[[]Bucket](t, c, BucketList, None{}); len(list) != 2 || list[0].Name != "a" || list[1] != made {
		t.Errorf("list %+v", list)
	}
	if set := call[Bucket](t, c, BucketSet, BucketRequest{Name: "b", Policy: "none"}); set.Policy != "none" {
		t.Errorf("set %+v", set)
	}
	if set := call[Bucket](t, c, BucketSet, BucketRequest{Name: "b", Policy: DefaultPolicy}); set.Policy != "AES256" {
		t.Errorf("back to the default: %+v", set)
	}
	info := call[FileInfo](t, c, Stat, PathRequest{Path: "/b"})
	if info.Type != "directory" || info.Policy != "AES256" || info.Algorithm != "AES256" || info.UID != 5 {
		t.Errorf("stat %+v", info)
	}
	for _, bad := range []struct {
		operation string
		request   any
	}{
		{BucketCreate, BucketRequest{Name: "b"}}, {BucketCreate, BucketRequest{Name: "x/y"}}, {BucketCreate, BucketRequest{Name: "c", Policy: "rot13"}},
		{BucketCreate, BucketRequest{Name: "c", Policy: "KMS:alias/unknown"}}, {BucketShow, BucketRequest{Name: "c"}},
		{BucketSet, BucketRequest{Name: "c", Policy: "none"}}, {Stat, PathRequest{Path: "c"}}, {Stat, PathRequest{Path: "b/../b"}},
	} {
		if err := c.Call(t.Context(), bad.operation, bad.request, nil); err == nil {
			t.Errorf("%s %+v passed", bad.operation, bad.request)
		}
	}
	if list := call[[]Bucket](t, c, BucketList, None{}); len(list) != 2 {
		t.Errorf("a refused bucket was made: %+v", list)
	}
}

func TestKeysAndAliases(t *testing.T) {
	c := open(t, control.Peer{UID: 5})
	k := call[Key](t, c, KeyCreate, KeyRequest{Description: "for tests"})
	if k.State != "Enabled" || k.CreatorUID != 5 || k.Description != "for tests" || len(k.Versions) != 1 || len(k.Grants) != 1 {
		t.Errorf("made %+v", k)
	}
	if a := call[Alias](t, c, AliasCreate, AliasRequest{Name: "mine", Key: k.ID}); a != (Alias{"alias/mine", k.ID}) {
		t.Errorf("alias %+v", a)
	}
	if d := call[Key](t, c, KeyDisable, KeyRequest{Key: "alias/mine"}); d.State != "Disabled" {
		t.Errorf("disabled %+v", d)
	}
	if e := call[Key](t, c, KeyEnable, KeyRequest{Key: k.ID}); e.State != "Enabled" || len(e.Aliases) != 1 {
		t.Errorf("enabled %+v", e)
	}
	call[None](t, c, AliasDelete, AliasRequest{Name: "mine"})
	if list := call[[]Alias](t, c, AliasList, None{}); len(list) != 0 {
		t.Errorf("aliases %+v", list)
	}
	call[Bucket](t, c, BucketCreate, BucketRequest{Name: "b", Policy: "KMS"})
	err := c.Call(t.Context(), KeyDisable, KeyRequest{Key: "alias/acs/oss"}, nil)
	if !errors.Is(err, kms.ErrManaged) || !strings.Contains(err.Error(), "--managed") {
		t.Errorf("disabling the default key: %v", err)
	}
	if d := call[Key](t, c, KeyDisable, KeyRequest{Key: "alias/acs/oss", Managed: true}); d.State != "Disabled" {
		t.Errorf("disabling the default key on purpose: %+v", d)
	}
	if list := call[[]Key](t, c, KeyList, None{}); len(list) != 2 {
		t.Errorf("keys %+v", list)
	}
}

func TestSlotsAndCheck(t *testing.T) {
	c := open(t, control.Peer{})
	added := call[Slot](t, c, SlotAdd, SlotRequest{Kind: crypto.SlotKeyFile, Secret: bytes.Repeat([]byte{2}, 32), Label: "spare"})
	if list := call[[]Slot](t, c, SlotList, None{}); len(list) != 2 || list[1] != added || added.Label != "spare" {
		t.Errorf("slots %+v", list)
	}
	call[None](t, c, SlotRemove, SlotRequest{ID: added.ID})
	if err := c.Call(t.Context(), SlotAdd, SlotRequest{Kind: crypto.SlotKeyFile, Secret: []byte("short")}, nil); !errors.Is(err, crypto.ErrBadSecret) {
		t.Errorf("a key file of 5 bytes: %v", err)
	}
	call[Bucket](t, c, BucketCreate, BucketRequest{Name: "b"})
	r := call[CheckResult](t, c, Check, CheckRequest{Contents: true})
	if r.Errors+r.Warnings != 0 || len(r.Problems) != 0 || !strings.Contains(r.Summary, "1 buckets") || !json.Valid(r.Report) {
		t.Errorf("check of a new volume: %+v", r)
	}
	s := call[VolumeStatus](t, c, Status, None{})
	if s.Buckets != 1 || s.DefaultPolicy != "AES256" || s.Region != kms.DefaultRegion || s.Total == 0 || s.Available == 0 {
		t.Errorf("status %+v", s)
	}
	if err := c.Call(t.Context(), WaitClosed, None{}, nil); err == nil {
		t.Error("waited for the end of a volume that is not mounted")
	}
}
