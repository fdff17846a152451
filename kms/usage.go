package kms

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"ssefs/crypto"
)

// FileUsage holds the usage counts. It is
//
//	8   magic "ssefsUSE"
//	2   format version, 1
//	n   sealed with AAD = "ssefs key usage" 0 || format version || volume ID (16):
//	    4 number of rows, then each, ascending: 4 day since 1970, 16 key ID,
//	    8 bucket, 4 uid, 1 operation, 8 uses, 8 calls
const FileUsage = "kms.usage"

const (
	usageMagic   = "ssefsUSE"
	usageRowSize = 4 + 16 + 8 + 4 + 1 + 8 + 8
	// maxUsageRows bounds the file to some 3 MiB. What goes beyond is counted with
	// less detail.
	maxUsageRows = 1 << 16
)

// DriveUID stands for the drive itself in usage and audit records.
const DriveUID = ^uint32(0)

// Usage is how often a key was used in a day, in UTC, for the files of a bucket,
// by a user.
type Usage struct {
	Day    time.Time `json:"day"`
	KeyID  string    `json:"key_id"`
	Bucket uint64    `json:"bucket"`
	// UID is the caller's, DriveUID for the drive's own work.
	UID uint32 `json:"uid"`
	Op  Op     `json:"operation"`
	// Uses counts data keys made or opened. Calls counts how often the CMK itself
	// was needed for that, which is what a cloud service bills; bucket keys make
	// it the smaller number.
	Uses  uint64 `json:"uses"`
	Calls uint64 `json:"calls"`
}

// usageRow identifies a count.
type usageRow struct {
	day    int32
	key    string
	bucket uint64
	uid    uint32
	op     Op
}

type usageCount struct{ uses, calls uint64 }

func (c *usageCount) add(o usageCount) {
	c.uses += o.uses
	c.calls += o.calls
}

// meter counts the uses of CMKs.
type meter struct {
	clock func() time.Time

	mu    sync.Mutex
	rows  map[usageRow]*usageCount
	fresh map[usageRow]*usageCount // counted since take was last called
	dirty bool
	// folded is the day of the last fold: it takes long, and once a day is enough.
	folded int32
}

func newMeter(clock func() time.Time) *meter {
	return &meter{clock: clock, rows: map[usageRow]*usageCount{}, fresh: map[usageRow]*usageCount{}}
}

func (m *meter) today() int32 { return int32(m.clock().Unix() / 86400) }

// use counts one use of a key, which was also a call if fetched.
func (m *meter) use(key string, bucket uint64, c *Caller, op Op, fetched bool) {
	row := usageRow{day: m.today(), key: key, bucket: bucket, uid: c.uid(), op: op}
	one := usageCount{uses: 1}
	if fetched {
		one.calls = 1
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dirty = true
	for _, rows := range []map[usageRow]*usageCount{m.rows, m.fresh} {
		count(rows, row, one)
	}
}

// count adds to a row, or, when there are too many rows, to one that tells less.
func count(rows map[usageRow]*usageCount, row usageRow, n usageCount) {
	if c := rows[row]; c != nil {
		c.add(n)
		return
	}
	if len(rows) >= maxUsageRows {
		row = usageRow{key: row.key, op: row.op}
	}
	if c := rows[row]; c != nil {
		c.add(n)
		return
	}
	rows[row] = &n
}

// fold takes detail from old rows: all but the last 31 days are counted by their
// first day of the month, and if that does not help, of the year.
func fold(rows map[usageRow]*usageCount) {
	newest := int32(0)
	for row := range rows {
		newest = max(newest, row.day)
	}
	for _, start := range []func(t time.Time) time.Time{
		func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) },
		func(t time.Time) time.Time { return time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		for row, n := range maps.Clone(rows) {
			if row.day == 0 || row.day > newest-31 {
				continue
			}
			to := row
			to.day = int32(start(time.Unix(int64(row.day)*86400, 0).UTC()).Unix() / 86400)
			if to == row {
				continue
			}
			delete(rows, row)
			if c := rows[to]; c != nil {
				c.add(*n)
			} else {
				rows[to] = n
			}
		}
		if len(rows) < maxUsageRows/2 {
			return
		}
	}
}

// take returns what was counted since the last time, for the audit log.
func (m *meter) take() map[usageRow]*usageCount {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := m.fresh
	m.fresh = map[usageRow]*usageCount{}
	return fresh
}

// Usage returns the counts of the days from since on, all if that is zero, in the
// order of day, key, bucket, user and operation. Counts older than a month may be
// summed up under the first day of their month or year.
func (s *Service) Usage(ctx context.Context, since time.Time) ([]Usage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	all := []Usage{}
	for _, row := range sortedRows(s.meter.rows) {
		u := row.usage(*s.meter.rows[row])
		if since.IsZero() || !u.Day.Before(since.UTC().Truncate(24*time.Hour)) {
			all = append(all, u)
		}
	}
	return all, nil
}

func (r usageRow) usage(n usageCount) Usage {
	return Usage{
		Day: time.Unix(int64(r.day)*86400, 0).UTC(), KeyID: r.key, Bucket: r.bucket, UID: r.uid, Op: r.op,
		Uses: n.uses, Calls: n.calls,
	}
}

func sortedRows(rows map[usageRow]*usageCount) []usageRow {
	return slices.SortedFunc(maps.Keys(rows), compareRows)
}

func compareRows(a, b usageRow) int {
	return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.key, b.key), cmp.Compare(a.bucket, b.bucket),
		cmp.Compare(a.uid, b.uid), cmp.Compare(a.op, b.op))
}

// uid is how the caller appears in records.
func (c *Caller) uid() uint32 {
	if c.drive {
		return DriveUID
	}
	return c.UID
}

// save writes the counts if they changed.
func (m *meter) save(files Files, aead *crypto.AEAD, volume crypto.VolumeID) error {
	m.mu.Lock()
	dirty := m.dirty
	m.dirty = false
	var plain []byte
	if dirty {
		if today := m.today(); len(m.rows) >= maxUsageRows/2 && m.folded != today {
			fold(m.rows)
			m.folded = today
		}
		plain = m.encode()
	}
	m.mu.Unlock()
	if !dirty {
		return nil
	}
	file := append([]byte(usageMagic), 0, formatVersion)
	if err := files.WriteFile(FileUsage, aead.Seal(file, plain, usageAAD(volume))); err != nil {
		m.mu.Lock()
		m.dirty = true
		m.mu.Unlock()
		return fmt.Errorf("kms: usage counts: %w", err)
	}
	return nil
}

func usageAAD(volume crypto.VolumeID) []byte {
	return append(append([]byte("ssefs key usage\x00"), 0, formatVersion), volume[:]...)
}

func (m *meter) encode() []byte {
	e := encoder{b: make([]byte, 0, 4+len(m.rows)*usageRowSize)}
	e.uint(uint64(len(m.rows)), 4)
	for _, row := range sortedRows(m.rows) {
		e.uint(uint64(uint32(row.day)), 4)
		id, _ := parseID(row.key)
		e.bytes(id[:])
		e.uint(row.bucket, 8)
		e.uint(uint64(row.uid), 4)
		e.uint(uint64(row.op), 1)
		e.uint(m.rows[row].uses, 8)
		e.uint(m.rows[row].calls, 8)
	}
	return e.b
}

// load reads the counts. None are there before the first save.
func (m *meter) load(files Files, aead *crypto.AEAD, volume crypto.VolumeID) error {
	file, err := files.ReadFile(FileUsage)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kms: usage counts: %w", err)
	}
	head := len(usageMagic) + 2
	if len(file) < head || string(file[:len(usageMagic)]) != usageMagic || binary.BigEndian.Uint16(file[len(usageMagic):]) != formatVersion {
		return fmt.Errorf("kms: usage counts: %w", crypto.ErrFormat)
	}
	plain, err := aead.Open(nil, file[head:], usageAAD(volume))
	if err != nil {
		return fmt.Errorf("kms: usage counts: %w", err)
	}
	rows, err := decodeUsage(plain)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = rows
	return nil
}

func decodeUsage(b []byte) (map[usageRow]*usageCount, error) {
	d := decoder{b: b}
	rows := map[usageRow]*usageCount{}
	last := usageRow{day: -1 << 31}
	for n := d.count(usageRowSize, 2*maxUsageRows); n > 0 && d.err == nil; n-- {
		row := usageRow{
			day: int32(d.uint(4)), key: formatID([16]byte(d.bytes(16))), bucket: d.uint(8), uid: uint32(d.uint(4)), op: Op(d.uint(1)),
		}
		if compareRows(last, row) >= 0 {
			d.fail("usage rows out of order")
		}
		last = row
		rows[row] = &usageCount{uses: d.uint(8), calls: d.uint(8)}
	}
	if d.err == nil && len(d.b) != 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	if d.err != nil {
		return nil, d.err
	}
	return rows, nil
}
