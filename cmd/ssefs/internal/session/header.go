package session

import (
	"errors"
	"fmt"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/store"
)

// The volume's head names the generation of the header, so that an older header put back does not bring removed unlock
// slots back. A change writes the header first and the head after it: a header one generation ahead of the head is that
// of a change which was interrupted, and counts.

// HeaderRule says what becomes of a volume header of another generation than the volume's head names.
type HeaderRule uint8

const (
	// CurrentHeader refuses it with volume.ErrRollback.
	CurrentHeader HeaderRule = iota
	// AnyHeader makes it the current one. Unlock slots that were removed may come back with it.
	AnyHeader
)

// ErrHeaderCurrent is returned when another header was to be accepted and the present one is in order.
var ErrHeaderCurrent = errors.New("the volume header is the current one")

// checkGeneration compares the generation of the header with the one that the head names.
func checkGeneration(header, head uint64) error {
	switch {
	case header < head:
		return fmt.Errorf("%w: %s is of generation %d, the volume knows generation %d: an older one was put back; see 'ssefs key accept-header --help'",
			volume.ErrRollback, store.HeaderFile, header, head)
	case header > head+1:
		return fmt.Errorf("%w: %s is of generation %d, the volume only knows generation %d: the rest of the store was put back; see 'ssefs key accept-header --help'",
			volume.ErrRollback, store.HeaderFile, header, head)
	}
	return nil
}

// pinHeader checks the header once the volume is open, and completes what was interrupted.
func (s *Session) pinHeader() error {
	s.headerMu.Lock()
	defer s.headerMu.Unlock()
	s.recorded = s.volume.Header()
	err := checkGeneration(s.header.Generation(), s.recorded)
	switch {
	case s.options.Header == CurrentHeader && err != nil:
		return err
	case s.options.Header == AnyHeader && err == nil:
		return ErrHeaderCurrent
	case s.options.Header == AnyHeader:
		return s.replaceHeader(func(h *crypto.Header) error { h.Advance(s.recorded); return nil })
	case s.options.ReadOnly:
		return nil
	}
	return s.recordHeader()
}

// recordHeader makes the head name the header's generation, if it does not. The caller holds headerMu.
func (s *Session) recordHeader() error {
	if s.recorded == s.header.Generation() {
		return nil
	}
	if err := s.volume.RecordHeader(s.header.Generation()); err != nil {
		return fmt.Errorf("record the generation of the volume header: %w", err)
	}
	s.recorded = s.header.Generation()
	return nil
}

// startJournal has small commits go through the journal, once the header says so. Where it cannot be made to say so, on
// a full disk for one, the volume goes without.
func (s *Session) startJournal() {
	if s.options.ReadOnly {
		return
	}
	if !slices.Contains(s.header.Features(), crypto.FeatureJournal) {
		err := s.changeHeader(func(h *crypto.Header) error { h.Require(crypto.FeatureJournal); return nil })
		if err != nil {
			s.Logger().Warn("the volume goes without a journal, which makes syncs slow", "err", err)
			return
		}
	}
	s.db.StartJournal()
}

// changeHeader changes the header.
func (s *Session) changeHeader(change func(*crypto.Header) error) error {
	if s.options.ReadOnly {
		return volume.ErrReadOnly
	}
	s.headerMu.Lock()
	defer s.headerMu.Unlock()
	// The file may be one generation ahead of the head, not more.
	if err := s.recordHeader(); err != nil {
		return err
	}
	return s.replaceHeader(change)
}

// replaceHeader changes a copy of the header, writes it, puts it to use, and has the head name it: a failed write leaves
// the slots as they were. The caller holds headerMu.
func (s *Session) replaceHeader(change func(*crypto.Header) error) error {
	current, err := s.header.Marshal(s.keys)
	if err != nil {
		return err
	}
	next, err := crypto.ParseHeader(current)
	if err != nil {
		return err
	}
	if err := change(next); err != nil {
		return err
	}
	text, err := next.Marshal(s.keys)
	if err != nil {
		return err
	}
	if err := s.dir.WriteFile(store.HeaderFile, text); err != nil {
		return fmt.Errorf("write the volume header: %w", err)
	}
	s.header = next
	return s.recordHeader()
}
