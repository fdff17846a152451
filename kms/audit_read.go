package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"ssefs/crypto"
)

// ErrAudit is wrapped when the audit log was tampered with, or is damaged.
var ErrAudit = errors.New("audit log does not verify")

// segment is a segment of a chain that was read.
type segment struct {
	number uint64
	begin  anchor
	lines  [][]byte // sealed records
	text   []byte
}

// read reads the segment in a file.
func (l *auditLog) read(file string) (segment, error) {
	text, err := l.files.ReadFile(file)
	if err != nil {
		return segment{}, err
	}
	s := segment{text: text}
	for line := range bytes.Lines(text) {
		line, ok := bytes.CutSuffix(line, []byte("\n"))
		sealed, err := base64.StdEncoding.Strict().AppendDecode(nil, line)
		if !ok || err != nil {
			return segment{}, fmt.Errorf("%w: %s: a malformed line", ErrAudit, file)
		}
		s.lines = append(s.lines, sealed)
	}
	if len(s.lines) == 0 {
		return segment{}, fmt.Errorf("%w: %s is empty", ErrAudit, file)
	}
	plain, err := l.aead.Open(nil, s.lines[0], l.segmentAAD())
	if err != nil {
		return segment{}, fmt.Errorf("%w: the first line of %s: %w", ErrAudit, file, err)
	}
	var head segmentHead
	err = json.Unmarshal(plain, &head)
	chain, hexErr := hex.DecodeString(head.Chain)
	if err != nil || hexErr != nil || len(chain) != len(s.begin.chain) || l.file(head.Segment) != file {
		return segment{}, fmt.Errorf("%w: the first line of %s: %w", ErrAudit, file, crypto.ErrFormat)
	}
	s.number, s.begin, s.lines = head.Segment, anchor{head.Seq, [32]byte(chain)}, s.lines[1:]
	return s, nil
}

// walk calls fn for the records of a segment, with the anchor after each. It
// returns the anchor after the last that opens.
func (l *auditLog) walk(s segment, fn func(AuditRecord, anchor) error) (anchor, error) {
	at := s.begin
	for _, sealed := range s.lines {
		plain, err := l.aead.Open(nil, sealed, l.recordAAD(at))
		if err != nil {
			return at, fmt.Errorf("%w: %s: record %d was changed, removed, or is out of its place", ErrAudit, l.file(s.number), at.seq+1)
		}
		var r AuditRecord
		if err := json.Unmarshal(plain, &r); err != nil {
			return at, fmt.Errorf("%w: %s: record %d: %w", ErrAudit, l.file(s.number), at.seq+1, err)
		}
		at = at.next(sealed)
		if err := fn(r, at); err != nil {
			return at, err
		}
	}
	return at, nil
}

// resume finds the end of the chain, to append to it. known is the place that the
// keystore names. When the end cannot be made out the chain goes on after a gap,
// which is recorded, and which verify reports.
func (l *auditLog) resume(known anchor) {
	if l.files == nil {
		l.end, l.durable = known, known
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	last, broken := l.newest()
	var err error
	if l.segment = last.number; last.number > 0 {
		l.end, err = l.walk(last, func(AuditRecord, anchor) error { return nil })
	}
	if l.end.seq < known.seq {
		err = errors.Join(err, fmt.Errorf("%w: %s ends with record %d, the keystore knows of record %d", ErrAudit, l.prefix, l.end.seq, known.seq))
		l.end = known
	}
	l.durable = l.end
	if err == nil && last.number > 0 && len(last.text) < auditSegmentSize {
		l.text = last.text
	}
	if broken = errors.Join(broken, err); broken != nil {
		l.log.Error("the audit log is damaged or was tampered with; going on after the damage", "err", broken)
		l.append(AuditRecord{Event: "audit-damaged", UID: DriveUID, Error: broken.Error()})
	}
}

// newest returns the segment with the highest number, the zero segment if there
// is none, and what is wrong with the others. Of these it reads only what says
// which they are.
func (l *auditLog) newest() (last segment, broken error) {
	found := map[uint64]bool{}
	for n := range uint64(auditSegments) {
		switch s, err := l.read(l.file(n)); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			broken = errors.Join(broken, err)
		default:
			found[s.number] = true
			if s.number > last.number {
				last = s
			}
		}
	}
	for n := oldest(last.number); n <= last.number; n++ {
		if n > 0 && !found[n] {
			broken = errors.Join(broken, fmt.Errorf("%w: segment %d of %s is missing", ErrAudit, n, l.prefix))
		}
	}
	return last, broken
}

// oldest returns the number of the first segment that is left when the last one
// has that number.
func oldest(last uint64) uint64 {
	if last > auditSegments {
		return last - auditSegments + 1
	}
	return 1
}

// records calls fn for all records that are left, oldest first, and reports the
// first place where the chain is broken.
func (l *auditLog) records(known anchor, fn func(AuditRecord) error) error {
	last, err := l.newest()
	if err != nil {
		return err
	}
	if last.number == 0 {
		if known.seq > 0 {
			return fmt.Errorf("%w: %s is missing, the keystore knows of %d records", ErrAudit, l.prefix, known.seq)
		}
		return nil
	}
	var at anchor
	first := oldest(last.number)
	for n := first; n <= last.number; n++ {
		s, err := l.read(l.file(n))
		if err != nil || s.number != n {
			return fmt.Errorf("%w: segment %d of %s is missing (%w)", ErrAudit, n, l.prefix, errors.Join(err, crypto.ErrFormat))
		}
		if s.begin != at && (n > first || n == 1) {
			return fmt.Errorf("%w: %s does not follow the segment before it", ErrAudit, l.file(n))
		}
		if at, err = l.walk(s, func(r AuditRecord, here anchor) error {
			if here.seq == known.seq && here != known {
				return fmt.Errorf("%w: %s: record %d is not the one that the keystore knows", ErrAudit, l.file(n), here.seq)
			}
			return fn(r)
		}); err != nil {
			return err
		}
	}
	if at.seq < known.seq {
		return fmt.Errorf("%w: %s ends with record %d, the keystore knows of record %d", ErrAudit, l.prefix, at.seq, known.seq)
	}
	return nil
}

// Audit calls fn for the records of a chain, AuditKeys or AuditUse, that are left,
// oldest first. It verifies the chain on the way: an error that wraps ErrAudit
// says where it is broken. Records that fn was called for come before that place.
func (s *Service) Audit(ctx context.Context, chain string, fn func(AuditRecord) error) error {
	var l *auditLog
	switch chain {
	case AuditKeys:
		l = s.auditKeys
	case AuditUse:
		l = s.auditUse
	default:
		return fmt.Errorf("%w: audit chain %q", ErrArgument, chain)
	}
	if l.files == nil {
		return fmt.Errorf("%w: no audit log is kept", ErrState)
	}
	known, err := s.flushedAnchor(l)
	if err != nil {
		return err
	}
	return l.records(known, func(r AuditRecord) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(r)
	})
}

// flushedAnchor writes a chain's records and returns the place that the keystore
// names.
func (s *Service) flushedAnchor(l *auditLog) (anchor, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.state == nil {
		return anchor{}, ErrClosed
	}
	return s.state.audit[l.index], l.flush()
}
