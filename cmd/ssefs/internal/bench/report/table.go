package report

import (
	"fmt"
	"io"
	"strings"
)

// against are the columns of ratios: a heading and the drive or role whose number a subject's is divided by.
type against struct {
	heading string
	of      func(r *Report, s Setting, row Row) (float64, string)
}

func (r *Report) ratios() []against {
	var columns []against
	for _, d := range r.Drives {
		if d.Role == Peer {
			columns = append(columns, against{"/ best peer", func(r *Report, s Setting, row Row) (float64, string) {
				return r.Best(s, Peer, row)
			}})
			break
		}
	}
	for _, d := range r.Drives {
		if d.Role != Reference {
			continue
		}
		columns = append(columns, against{"/ " + d.Name, func(r *Report, s Setting, row Row) (float64, string) {
			if x := r.Find(s, d.Name, row.Name); x != nil {
				return x.Median, d.Name
			}
			return 0, ""
		}})
	}
	return columns
}

// WriteTable writes a table in Markdown for each setting: the medians of all drives, and how many times as good the
// first subject is as the others.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	subject := ""
	for _, d := range r.Drives {
		if d.Role == Subject && subject == "" {
			subject = d.Name
		}
	}
	for i, s := range r.Settings {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "On %s:\n\n", s)
		r.writeSetting(&b, s, subject)
	}
	if len(r.Failures) > 0 {
		b.WriteString("\nFailures:\n\n")
		for _, f := range r.Failures {
			fmt.Fprintf(&b, "- %s on %s, %s, round %d: %s\n", f.Workload, f.Drive, f.Setting, f.Round, f.Error)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) writeSetting(b *strings.Builder, s Setting, subject string) {
	columns := r.ratios()
	table := [][]string{{"", "unit"}}
	for _, d := range r.Drives {
		table[0] = append(table[0], d.Name)
	}
	for _, c := range columns {
		table[0] = append(table[0], c.heading)
	}
	for _, row := range r.Rows {
		line := []string{row.Title, row.Unit}
		measured := false
		for _, d := range r.Drives {
			x := r.Find(s, d.Name, row.Name)
			if x == nil {
				line = append(line, "-")
				continue
			}
			measured = true
			line = append(line, Number(x.Median))
		}
		mine := r.Find(s, subject, row.Name)
		for _, c := range columns {
			base, name := c.of(r, s, row)
			if mine == nil || name == "" {
				line = append(line, "-")
				continue
			}
			line = append(line, fmt.Sprintf("%.2f", ratio(row, mine.Median, base)))
		}
		if measured {
			table = append(table, line)
		}
	}
	WriteMarkdown(b, table)
}

// Number shows three digits that count.
func Number(v float64) string {
	switch {
	case v >= 10e6:
		return fmt.Sprintf("%.1fM", v/1e6)
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 10e3:
		return fmt.Sprintf("%.1fk", v/1e3)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// WriteMarkdown writes a table whose first line is the heading, padded so that it reads well as text too. Numbers, from
// the third column on, stand at the right.
func WriteMarkdown(b *strings.Builder, table [][]string) {
	widths := make([]int, len(table[0]))
	for _, line := range table {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for n, line := range table {
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-len(cell))
			if i < 2 {
				cell += pad
			} else {
				cell = pad + cell
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
		if n == 0 {
			for i := range line {
				dashes := strings.Repeat("-", widths[i]+1)
				if i < 2 {
					b.WriteString("|" + dashes + "-")
				} else {
					b.WriteString("|" + dashes + ":")
				}
			}
			b.WriteString("|\n")
		}
	}
}
