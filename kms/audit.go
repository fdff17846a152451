package kms

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ssefs/crypto"
)

// The audit log is two chains of records: one of what was done to keys, one of
// uses and refusals, which users can make many of and which so cannot push the
// first one out. A chain is a row of segments, files of lines; the n-th segment
// is the file PREFIX.NN with NN = n mod auditSegments in three digits, so that old
// segments are written over. A line is the base64 of
//
//	first line:  {"segment","seq","chain"}: the segment's number, the number of
//	             the last record before it and that record's chain value; sealed
//	             with AAD = "ssefs audit segment" 0 || volume || PREFIX
//	others:      a record, sealed with AAD = "ssefs audit record" 0 || volume ||
//	             sequence number (8) || chain value of the record before (32) || PREFIX
//
// and the chain value of a record is SHA-256(chain value before || sealed record).
// So a line that was changed, removed, inserted or moved does not open, nor does
// any after it. The keystore names the last record of each chain at the time of
// its last change: cutting a chain off before that shows too.
const (
	// AuditKeys is the prefix of the files that say what was done to keys.
	AuditKeys = "audit-keys"
	// AuditUse is the prefix of the files that say how keys were used.
	AuditUse = "audit-use"

	auditSegments    = 64
	auditSegmentSize = 64 << 10
	// maxAuditBuffer bounds what is kept while it cannot be written. Records beyond
	// it are lost, which is recorded.
	maxAuditBuffer = 1 << 20
)

// AuditRecord is an entry of the audit log.
type AuditRecord struct {
	// Seq counts the records of a chain from 1.
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	// Event is what happened: the name of an operation on keys, "use", "refused"
	// or "lost".
	Event string `json:"event"`
	// UID is who asked for it, DriveUID if nobody did.
	UID    uint32 `json:"uid"`
	KeyID  string `json:"key_id,omitzero"`
	Detail string `json:"detail,omitzero"`
	// Error is why it failed or was refused.
	Error  string `json:"error,omitzero"`
	Bucket uint64 `json:"bucket,omitzero"`
	Inode  uint64 `json:"inode,omitzero"`
	Op     Op     `json:"operation,omitzero"`
	// Uses and Calls are the counts of a "use"; see Usage.
	Uses  uint64 `json:"uses,omitzero"`
	Calls uint64 `json:"calls,omitzero"`
}

// anchor is a place in a chain: the last record's number and chain value.
type anchor struct {
	seq   uint64
	chain [32]byte
}

// next returns the anchor after a sealed record.
func (a anchor) next(sealed []byte) anchor {
	h := sha256.New()
	h.Write(a.chain[:])
	h.Write(sealed)
	return anchor{a.seq + 1, [32]byte(h.Sum(nil))}
}

// segmentHead is the first line of a segment.
type segmentHead struct {
	Segment uint64 `json:"segment"`
	Seq     uint64 `json:"seq"`
	Chain   string `json:"chain"`
}

// auditLog is one chain. Its methods are safe for concurrent use.
type auditLog struct {
	files  Files // nil: nothing is recorded
	prefix string
	index  int // of the chain's anchor in the keystore
	aead   *crypto.AEAD
	volume crypto.VolumeID
	clock  func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	end     anchor // of the last record
	durable anchor // of the last record written
	segment uint64
	text    []byte // of the segment, written or not
	lost    uint64 // records not kept since the last one
}

// add appends a record. It is written by the next flush.
func (l *auditLog) add(r AuditRecord) {
	if l.files == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.text) > maxAuditBuffer {
		l.lost++
		return
	}
	if l.lost > 0 {
		l.append(AuditRecord{Event: "lost", UID: DriveUID, Detail: fmt.Sprintf("%d records, the log could not be written", l.lost)})
		l.lost = 0
	}
	l.append(r)
}

func (l *auditLog) append(r AuditRecord) {
	r.Seq = l.end.seq + 1
	r.Time = l.clock().UTC().Round(0)
	// A record is of strings and numbers: it always has an encoding.
	plain, _ := json.Marshal(r)
	sealed := l.aead.Seal(nil, plain, l.recordAAD(l.end))
	if l.text == nil {
		l.begin()
	}
	l.line(sealed)
	l.end = l.end.next(sealed)
}

// begin starts a segment after the last record.
func (l *auditLog) begin() {
	l.segment++
	head, _ := json.Marshal(segmentHead{Segment: l.segment, Seq: l.end.seq, Chain: hex.EncodeToString(l.end.chain[:])})
	l.line(l.aead.Seal(nil, head, l.segmentAAD()))
}

func (l *auditLog) line(sealed []byte) {
	l.text = base64.StdEncoding.AppendEncode(l.text, sealed)
	l.text = append(l.text, '\n')
}

// flush writes the records that are not written yet.
func (l *auditLog) flush() error {
	if l.files == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == l.durable {
		return nil
	}
	if err := l.files.WriteFile(l.file(l.segment), l.text); err != nil {
		return fmt.Errorf("kms: audit log: %w", err)
	}
	l.durable = l.end
	if len(l.text) >= auditSegmentSize {
		l.text = nil
	}
	return nil
}

// note adds what was done to a key to the records of a change.
func (ch *change) note(by By, event, keyID, detail string) {
	ch.records = append(ch.records, AuditRecord{Event: event, UID: by.UID, KeyID: keyID, Detail: detail})
}

// refused records that a use of a key was refused. Other errors are no refusals.
func (s *Service) refused(err error, r AuditRecord, c *Caller) {
	switch {
	case errors.Is(err, ErrDenied), errors.Is(err, ErrKeyRevoked), errors.Is(err, ErrKeyExpired), errors.Is(err, ErrNoKey):
	default:
		return
	}
	r.Event, r.Error, r.UID = "refused", err.Error(), c.uid()
	s.auditUse.add(r)
	select {
	case s.noted <- struct{}{}:
	default:
	}
}

// auditInterval is how often the uses of keys are summed up in the audit log.
const auditInterval = 15 * time.Minute

// record writes down what is due of usage and audit log.
func (s *Service) record(now time.Time) error {
	s.recordMu.Lock()
	defer s.recordMu.Unlock()
	if now.Sub(s.recorded) >= auditInterval || now.Before(s.recorded) {
		s.recordUses(now)
	}
	if s.logs == nil {
		return nil
	}
	return errors.Join(s.auditKeys.flush(), s.auditUse.flush(), s.meter.save(s.logs, s.ks.aead, s.volume))
}

// recordUses adds the uses since the last time to the audit log. The caller holds
// recordMu.
func (s *Service) recordUses(now time.Time) {
	s.recorded = now
	fresh := s.meter.take()
	for _, row := range sortedRows(fresh) {
		n := fresh[row]
		s.auditUse.add(AuditRecord{Event: "use", UID: row.uid, KeyID: row.key, Bucket: row.bucket, Op: row.op, Uses: n.uses, Calls: n.calls})
	}
}

// position returns where the written part of the chain ends.
func (l *auditLog) position() anchor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

func (l *auditLog) file(segment uint64) string {
	return fmt.Sprintf("%s.%03d", l.prefix, segment%auditSegments)
}

func (l *auditLog) segmentAAD() []byte {
	aad := append([]byte("ssefs audit segment\x00"), l.volume[:]...)
	return append(aad, l.prefix...)
}

func (l *auditLog) recordAAD(before anchor) []byte {
	aad := append([]byte("ssefs audit record\x00"), l.volume[:]...)
	aad = binary.BigEndian.AppendUint64(aad, before.seq+1)
	aad = append(aad, before.chain[:]...)
	return append(aad, l.prefix...)
}
