package store

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// tornMedium is a disk that loses its power: of what is not synced each sector is
// the old one or the new one. See check.
type tornMedium struct {
	durable, written []byte
	check            func()
}

func (m *tornMedium) WriteAt(b []byte, at int64) (int, error) {
	n := copy(m.written[at:], b)
	m.check()
	return n, nil
}

func (m *tornMedium) Datasync() error {
	copy(m.durable, m.written)
	return nil
}

func (m *tornMedium) Close() error { return nil }

// states calls f with contents that the disk may have: all if they are few.
func (m *tornMedium) states(r *rand.Rand, f func(data []byte)) {
	var sectors []int
	for at := 0; at < len(m.written); at += journalSector {
		if !bytes.Equal(m.written[at:at+journalSector], m.durable[at:at+journalSector]) {
			sectors = append(sectors, at)
		}
	}
	const most = 1 << 9
	for i := range min(1<<min(len(sectors), 30), most) {
		data := bytes.Clone(m.durable)
		for k, at := range sectors {
			if 1<<len(sectors) <= most && i>>k&1 == 1 || 1<<len(sectors) > most && r.IntN(2) == 1 {
				copy(data[at:at+journalSector], m.written[at:])
			}
		}
		f(data)
	}
}

// TestPowerLossInJournal: whenever the power fails, a journal holds what was
// acknowledged since it was used anew. It never seems to be damaged.
func TestPowerLossInJournal(t *testing.T) {
	m := &tornMedium{durable: make([]byte, minJournalFile), written: make([]byte, minJournalFile)}
	j := &journalFile{f: m, size: minJournalFile}
	r := rand.New(rand.NewPCG(1, 2))
	var before, now []journalEntry // of the use before, and acknowledged since
	var next journalEntry
	m.check = func() {
		m.states(r, func(data []byte) {
			got, err := parseJournal(data)
			whole := append(slices.Clone(now), next)
			if err != nil || !sameEntries(got, now) && !sameEntries(got, whole) && (j.end > 0 || !sameEntries(got, before)) {
				t.Fatalf("with commits %d to %d, while %d is written: %d entries, %v", lastVersion(before)+1, lastVersion(now), next.version, len(got), err)
			}
		})
	}
	version := uint64(1)
	for range 6 {
		j.restart()
		before, now = now, nil
		for _, next = range journalEntries(version, 3+r.IntN(20)) {
			if err := j.append(next.version, next.changes); err != nil {
				t.Fatal(err)
			}
			now = append(now, next)
		}
		version = lastVersion(now) + 1
	}
}
