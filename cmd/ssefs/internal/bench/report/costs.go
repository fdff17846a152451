package report

import (
	"io"
	"strings"
)

// costTable is a table of one of the costs.
type costTable struct {
	heading string
	of      func(c *Cost, row Row) (value float64, unit string)
}

func costTables() []costTable {
	return []costTable{
		{"Processor time of the daemon", func(c *Cost, row Row) (float64, string) {
			if row.Unit == "MB/s" {
				return c.CPUPerGiB, "s/GiB"
			}
			return c.CPUPerOp, "us"
		}},
		{"Calls of read by the daemon for each operation: requests of the kernel, where it reads nothing else", func(c *Cost, _ Row) (float64, string) {
			return c.ReadsPerOp, "calls"
		}},
		{"Bytes written to a disk for each byte written", func(c *Cost, _ Row) (float64, string) { return c.DiskPerByte, "bytes" }},
		{"Bytes of space taken for each byte written", func(c *Cost, _ Row) (float64, string) { return c.SpacePerByte, "bytes" }},
		{"Anonymous memory of the daemon, the most that was seen", func(c *Cost, _ Row) (float64, string) {
			return c.PeakAnon / (1 << 20), "MiB"
		}},
	}
}

// WriteCosts writes tables in Markdown, for each setting, of what serving the drives took.
func (r *Report) WriteCosts(w io.Writer) error {
	var b strings.Builder
	for _, s := range r.Settings {
		for _, t := range costTables() {
			table := r.costs(s, t)
			if len(table) == 1 {
				continue
			}
			b.WriteString("\n" + t.heading + ", on " + s.String() + ":\n\n")
			WriteMarkdown(&b, table)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// costs makes a table of the rows and drives that have a cost.
func (r *Report) costs(s Setting, t costTable) [][]string {
	served := []Drive{}
	table := [][]string{{"", "unit"}}
	for _, d := range r.Drives {
		if d.Name != "raw" { // which nobody serves
			served = append(served, d)
			table[0] = append(table[0], d.Name)
		}
	}
	for _, row := range r.Rows {
		line := []string{row.Title, ""}
		known := false
		for _, d := range served {
			cell := "-"
			if x := r.Find(s, d.Name, row.Name); x != nil && x.Cost != nil {
				var v float64
				if v, line[1] = t.of(x.Cost, row); v > 0 {
					cell, known = Number(v), true
				}
			}
			line = append(line, cell)
		}
		if known {
			table = append(table, line)
		}
	}
	return table
}
