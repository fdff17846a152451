// Package report holds the results of a benchmark and shows them: as JSON, which loses nothing, as a table and as a
// chart.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"ssefs/cmd/ssefs/internal/bench/stats"
)

// Version is the version of the JSON.
const Version = 1

// Report is all that a benchmark has found.
type Report struct {
	Version  int       `json:"version"`
	Started  time.Time `json:"started"`
	Machine  Machine   `json:"machine"`
	Settings []Setting `json:"settings"`
	Drives   []Drive   `json:"drives"`
	Rows     []Row     `json:"rows"`
	Results  []Result  `json:"results"`
	Failures []Failure `json:"failures"`
}

// Machine is what the numbers were measured on.
type Machine struct {
	Kernel     string `json:"kernel"`
	Processor  string `json:"processor"`
	Processors int    `json:"processors"`
	Memory     int64  `json:"memory_bytes"`
	Go         string `json:"go"`
}

// Setting is one of the circumstances in which everything is measured.
type Setting struct {
	Backing  string `json:"backing"`             // what lies below the drives: tmpfs or disk
	HaltPoll string `json:"halt_poll,omitempty"` // of the guest's idle processors: on, off, or empty where there is none
}

// String names the setting in headings.
func (s Setting) String() string {
	if s.HaltPoll == "" {
		return s.Backing
	}
	return s.Backing + ", halt polling " + s.HaltPoll
}

// Role is what a drive is measured for.
type Role string

// The roles.
const (
	Subject   Role = "subject"   // ssefs
	Peer      Role = "peer"      // what it is compared with
	Reference Role = "reference" // what does not encrypt
)

// Drive is a drive that was measured.
type Drive struct {
	Name    string `json:"name"`
	Role    Role   `json:"role"`
	Version string `json:"version,omitempty"`
}

// Row describes what was measured.
type Row struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	Unit     string `json:"unit"`
	Workload string `json:"workload"`
	// LowerIsBetter tells times from rates.
	LowerIsBetter bool `json:"lower_is_better,omitempty"`
}

// Result is what was measured of one drive in one row and setting, over all rounds.
type Result struct {
	Setting
	Drive   string    `json:"drive"`
	Row     string    `json:"row"`
	Samples []float64 `json:"samples"`
	Median  float64   `json:"median"`
	Cost    *Cost     `json:"cost,omitempty"`
}

// Cost is what serving the drive took, as means over the rounds. What could not be found out is zero.
type Cost struct {
	CPUPerGiB    float64 `json:"cpu_seconds_per_gib,omitempty"`     // of what the workload read and wrote
	CPUPerOp     float64 `json:"cpu_microseconds_per_op,omitempty"` // of the daemon
	ReadsPerOp   float64 `json:"read_calls_per_op,omitempty"`       // by the daemon: the FUSE requests, if it reads nothing else
	DiskPerByte  float64 `json:"disk_bytes_per_byte,omitempty"`     // written, for each byte that the workload wrote
	SpacePerByte float64 `json:"space_bytes_per_byte,omitempty"`    // taken in addition, for each byte that the workload wrote
	PeakAnon     float64 `json:"peak_anonymous_bytes,omitempty"`    // of the daemon until then: the most in any round
}

// Failure is what went wrong.
type Failure struct {
	Setting
	Drive    string `json:"drive"`
	Workload string `json:"workload"`
	Round    int    `json:"round"`
	Error    string `json:"error"`
}

// Add takes a sample.
func (r *Report) Add(s Setting, drive, row string, value float64, cost Cost) {
	i := slices.IndexFunc(r.Results, func(x Result) bool { return x.Setting == s && x.Drive == drive && x.Row == row })
	if i < 0 {
		i = len(r.Results)
		r.Results = append(r.Results, Result{Setting: s, Drive: drive, Row: row})
	}
	x := &r.Results[i]
	x.Samples = append(x.Samples, value)
	x.Median = stats.Median(x.Samples)
	if cost != (Cost{}) {
		if x.Cost == nil {
			x.Cost = &Cost{}
		}
		x.Cost.mix(cost, len(x.Samples))
	}
}

// mix makes c the mean of n costs, of which the last is more; the peak is the highest.
func (c *Cost) mix(more Cost, n int) {
	for _, p := range []struct {
		mean *float64
		next float64
	}{
		{&c.CPUPerGiB, more.CPUPerGiB}, {&c.CPUPerOp, more.CPUPerOp}, {&c.ReadsPerOp, more.ReadsPerOp},
		{&c.DiskPerByte, more.DiskPerByte}, {&c.SpacePerByte, more.SpacePerByte},
	} {
		*p.mean += (p.next - *p.mean) / float64(n)
	}
	c.PeakAnon = max(c.PeakAnon, more.PeakAnon)
}

// Find returns a result, nil if there is none.
func (r *Report) Find(s Setting, drive, row string) *Result {
	for i := range r.Results {
		if x := &r.Results[i]; x.Setting == s && x.Drive == drive && x.Row == row {
			return x
		}
	}
	return nil
}

// Best returns the best median of the drives of a role in a row, and whose it is; "" if there is none.
func (r *Report) Best(s Setting, role Role, row Row) (float64, string) {
	var best float64
	name := ""
	for _, d := range r.Drives {
		if d.Role != role {
			continue
		}
		if x := r.Find(s, d.Name, row.Name); x != nil && (name == "" || ratio(row, x.Median, best) > 1) {
			best, name = x.Median, d.Name
		}
	}
	return best, name
}

// ratio tells how many times as good a is as b.
func ratio(row Row, a, b float64) float64 {
	if row.LowerIsBetter {
		a, b = b, a
	}
	if b == 0 {
		return 0
	}
	return a / b
}

// WriteJSON writes the report.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// ReadJSON reads a report.
func ReadJSON(in io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("report: version %d, not %d", r.Version, Version)
	}
	return &r, nil
}
