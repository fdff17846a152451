package run

import (
	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/workload"
)

// meter adds what the timed parts cost to what they yield.
type meter struct {
	session drives.Session
	add     func(row string, value float64, cost report.Cost)
	before  drives.Usage
	err     error // the first of reading the usage
}

// Begin notes what was used before a timed part.
func (m *meter) Begin() { m.before = m.usage() }

// End adds a timed part.
func (m *meter) End(p workload.Part) { m.add(p.Row, p.Value, costOf(m.usage().Sub(m.before), p)) }

// Value adds a number that has no cost.
func (m *meter) Value(row string, value float64) { m.add(row, value, report.Cost{}) }

func (m *meter) usage() drives.Usage {
	u, err := m.session.Usage()
	if m.err == nil {
		m.err = err
	}
	return u
}

// costOf divides what a part used by what it did.
func costOf(u drives.Usage, p workload.Part) report.Cost {
	c := report.Cost{PeakAnon: float64(u.PeakAnon)}
	if p.Ops > 0 {
		c.CPUPerOp = u.CPU.Seconds() * 1e6 / float64(p.Ops)
		c.ReadsPerOp = float64(u.Reads) / float64(p.Ops)
	}
	if moved := p.Read + p.Written; moved > 0 {
		c.CPUPerGiB = u.CPU.Seconds() / float64(moved) * (1 << 30)
	}
	if p.Written > 0 {
		c.DiskPerByte = float64(u.Written) / float64(p.Written)
		c.SpacePerByte = float64(u.Space) / float64(p.Written)
	}
	return c
}
