package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"
)

// show prints a result: as JSON when asked for, else as text.
func (a *app) show(result any, text func(w io.Writer)) error {
	if a.json {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(result)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

// row writes the cells of a line; what failed shows when the writer is flushed.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case time.Time:
			texts[i] = c.Local().Format(time.DateTime)
		default:
			texts[i] = printable(fmt.Sprint(c))
		}
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	_, _ = fmt.Fprintln(w, strings.Join(texts, "\t"))
}

// printable quotes a text that could move a terminal's cursor or break a line: names hold any bytes.
func printable(s string) string {
	quoted := fmt.Sprintf("%q", s)
	if quoted[1:len(quoted)-1] == s {
		return s
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '�' || r >= 0x80 && r < 0xa0 }) {
		return quoted
	}
	return s
}

// yesNo writes a truth for people.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// note tells the person at the terminal something that is no result.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.err, "ssefs: "+format+"\n", args...)
}

// logger writes what happens inside, from a level on, to the person at the terminal.
func (a *app) logger(from slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: from}))
}

// plural counts things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
