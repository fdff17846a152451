package kms

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"ssefs/crypto"
)

// The keystore's two files.
const (
	FileA = "keystore.a"
	FileB = "keystore.b"
)

// Files holds small named files. WriteFile replaces a file atomically and
// durably: after any crash the old or the new content is there, and after it
// returned, the new one. Reading a missing file gives fs.ErrNotExist.
type Files interface {
	ReadFile(name string) ([]byte, error)
	WriteFile(name string, data []byte) error
}

// keystore writes and reads the two copies. It is used under Service.change.
type keystore struct {
	files  Files
	aead   *crypto.AEAD
	volume crypto.VolumeID
	record func(generation uint64) error
	log    *slog.Logger

	// open is set from the moment a write fails before its commit point until
	// the same generation was written in full: what the failed write left in
	// copy a, and in the head, is not known meanwhile.
	open bool
	// single is set while only one copy is known to be good.
	single bool
}

// errUncommitted marks a failed write that did not reach its commit point.
var errUncommitted = errors.New("keystore not written")

// write makes m, of the generation after the last recorded one, the keystore.
// An error that wraps ErrOneCopy says that m is in effect all the same; any
// other wraps errUncommitted.
func (k *keystore) write(m *model) error {
	file := seal(m, k.aead, k.volume)
	// What could not be read again must not replace what can.
	again, err := unseal(file, k.aead, k.volume)
	if err != nil {
		return fmt.Errorf("%w: it would not be readable: %w", errUncommitted, err)
	}
	again.wipe()
	k.open = true
	if err := k.files.WriteFile(FileA, file); err != nil {
		return fmt.Errorf("%w: %s: %w", errUncommitted, FileA, err)
	}
	if err := k.record(m.generation); err != nil {
		return fmt.Errorf("%w: recording generation %d: %w", errUncommitted, m.generation, err)
	}
	k.open = false
	k.single = true
	if err := k.files.WriteFile(FileB, file); err != nil {
		k.log.Error("the keystore's second copy could not be written; the first is good and in use",
			"file", FileB, "generation", m.generation, "err", err)
		return fmt.Errorf("%w: %s: %w", ErrOneCopy, FileB, err)
	}
	k.single = false
	return nil
}

// copyState is what was found of one copy.
type copyState struct {
	name string
	file []byte
	m    *model // nil unless it authenticates
	err  error
}

func (k *keystore) readCopy(name string) copyState {
	c := copyState{name: name}
	if c.file, c.err = k.files.ReadFile(name); c.err != nil {
		return c
	}
	c.m, c.err = unseal(c.file, k.aead, k.volume)
	return c
}

// load reads the keystore. head is the generation that the store's head names.
// The model returned has the generation head, or it is the caller's to complete:
// when k.open is set on return, the next write finishes what a crash interrupted.
func (k *keystore) load(head uint64) (*model, error) {
	a, b := k.readCopy(FileA), k.readCopy(FileB)
	use := &a
	switch {
	case a.m == nil && b.m == nil:
		return nil, damaged(a, b)
	case a.m != nil && a.m.generation == head+1 && (b.m == nil || b.m.generation <= head):
		// Written, but the crash came before it was recorded. Copy b is one change
		// behind, or more if it could not be written before the crash either.
		k.log.Warn("completing a change of the keystore that a crash interrupted", "generation", head+1)
		if b.m == nil || b.m.generation < head {
			k.bad(b, head)
		}
		k.open = true
	case a.m != nil && a.m.generation > head, b.m != nil && b.m.generation > head:
		err := fmt.Errorf("%w: the keystore (%s, %s) is newer than the store's head, generation %d: the store was put back to an older state",
			ErrRollback, a.generation(), b.generation(), head)
		wipeModels(a.m, b.m)
		return nil, err
	case a.m != nil && a.m.generation == head:
		if b.m == nil || b.m.generation != head {
			k.mend(b, a, head)
		}
	case b.m != nil && b.m.generation == head:
		use = &b
		k.mend(a, b, head)
	default:
		err := fmt.Errorf("%w: the store's head names generation %d, the keystore has only older ones (%s, %s); "+
			"using one could bring back disabled or deleted keys, so it takes an explicit command",
			ErrRollback, head, a.generation(), b.generation())
		wipeModels(a.m, b.m)
		return nil, err
	}
	m := use.m
	for _, c := range []*copyState{&a, &b} {
		if c != use {
			wipeModels(c.m)
		}
	}
	m.generation = head
	return m, nil
}

// loadAny reads the newest copy that authenticates, of any generation.
func (k *keystore) loadAny(head uint64) (*model, error) {
	a, b := k.readCopy(FileA), k.readCopy(FileB)
	use, other := a, b
	switch {
	case a.m == nil && b.m == nil:
		return nil, damaged(a, b)
	case a.m == nil || b.m != nil && b.m.generation > a.m.generation:
		use, other = b, a
	}
	wipeModels(other.m)
	k.log.Warn("using a keystore of another generation than the store's, on explicit request",
		"file", use.name, "generation", use.m.generation, "head", head)
	use.m.generation = max(head, use.m.generation)
	k.open = true
	return use.m, nil
}

// NewestGeneration returns the generation of the newest copy of the keystore that
// authenticates, for a store whose head, which says what the current one is, was
// lost. Of o it needs what Open does.
func NewestGeneration(o Options) (uint64, error) {
	s, err := newService(&o)
	if err != nil {
		return 0, err
	}
	a, b := s.ks.readCopy(FileA), s.ks.readCopy(FileB)
	defer wipeModels(a.m, b.m)
	newest := uint64(0)
	for _, c := range []copyState{a, b} {
		if c.m != nil {
			newest = max(newest, c.m.generation)
		}
	}
	if newest == 0 {
		return 0, damaged(a, b)
	}
	return newest, nil
}

// mend writes the good copy over the bad one. A failure is logged and left for
// the next change of the keystore.
func (k *keystore) mend(bad, good copyState, head uint64) {
	if bad.m != nil && bad.name == FileB && bad.m.generation+1 == head {
		k.log.Warn("the keystore's second copy is one change behind, as after a crash; writing it again", "generation", head)
	} else {
		k.bad(bad, head)
	}
	k.single = true
	if err := k.files.WriteFile(bad.name, bytes.Clone(good.file)); err != nil {
		k.log.Error("keystore copy could not be mended", "file", bad.name, "err", err)
		return
	}
	k.single = false
	k.log.Warn("keystore copy mended from the other", "file", bad.name, "from", good.name)
}

// bad reports a copy that cannot be used.
func (k *keystore) bad(c copyState, head uint64) {
	if c.m != nil {
		k.log.Error("keystore copy is out of date; was it put back from a backup?",
			"file", c.name, "generation", c.m.generation, "head", head)
		return
	}
	k.log.Error("keystore copy is damaged or missing", "file", c.name, "err", c.err)
}

// exists reports whether there is any copy, readable or not.
func (k *keystore) exists() bool {
	for _, name := range []string{FileA, FileB} {
		if _, err := k.files.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

func (c copyState) generation() string {
	if c.m == nil {
		return c.name + ": damaged or missing"
	}
	return fmt.Sprintf("%s: generation %d", c.name, c.m.generation)
}

// damaged is the error for two unusable copies.
func damaged(a, b copyState) error {
	if errors.Is(a.err, crypto.ErrVersion) || errors.Is(b.err, crypto.ErrVersion) {
		return fmt.Errorf("kms: no usable keystore: %s: %w; %s: %w", a.name, a.err, b.name, b.err)
	}
	return fmt.Errorf("%w: %s: %w; %s: %w", ErrKeystoreDamaged, a.name, a.err, b.name, b.err)
}

func wipeModels(models ...*model) {
	for _, m := range models {
		if m != nil {
			m.wipe()
		}
	}
}
