package report

import (
	"fmt"
	"html"
	"io"
	"strings"

	"ssefs/cmd/ssefs/internal/bench/stats"
)

// Measures of the chart, in pixels.
const (
	chartLabels = 300 // the column of titles
	chartScale  = 160 // the length of a bar for 1
	chartMost   = 4   // longer bars are cut off, and say how long they would be
	chartValues = 60
	barHeight   = 11
	groupGap    = 9
	headHeight  = 64
	charWidth   = 7 // of the legend's letters, at most
)

// microseconds is the unit of latencies.
const microseconds = "us"

// barColour is the colour of the i-th drive; the first, a subject, stands out.
func barColour(i int) string {
	colours := [...]string{"#0b6e4f", "#d1495b", "#edae49", "#30638e", "#8e6c8a", "#7a7a7a", "#b4a7d6", "#444444"}
	return colours[i%len(colours)]
}

// WriteChart draws, as SVG, how many times as good as the best peer every drive is, in every row of a setting. Drives
// without a number in a row have no bar there; rows without a number of a peer are left out, and so are latencies, of
// which there are many.
func (r *Report) WriteChart(w io.Writer, s Setting) error {
	shown := r.charted()
	var body strings.Builder
	y := headHeight
	ratios := map[string][]float64{}
	for _, row := range r.Rows {
		base, peer := r.Best(s, Peer, row)
		if peer == "" || base == 0 || row.Unit == microseconds {
			continue
		}
		text(&body, chartLabels-8, y+barHeight*len(shown)/2+4, "end", row.Title)
		for i, d := range shown {
			if x := r.Find(s, d.Name, row.Name); x != nil && x.Median > 0 {
				times := ratio(row, x.Median, base)
				ratios[d.Name] = append(ratios[d.Name], times)
				bar(&body, y+i*barHeight, times, barColour(i))
			}
		}
		y += barHeight*len(shown) + groupGap
	}
	width := chartLabels + chartMost*chartScale + chartValues
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n",
		width, y, width, y)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, y)
	fmt.Fprintf(&b, `<text x="8" y="18" font-size="14">Speed on %s, the best peer being 1; geometric means in brackets</text>`+"\n", html.EscapeString(s.String()))
	x := 8
	for i, d := range shown {
		label := fmt.Sprintf("%s (%.2f)", d.Name, stats.GeometricMean(ratios[d.Name]))
		fmt.Fprintf(&b, `<rect x="%d" y="30" width="11" height="11" fill="%s"/>`, x, barColour(i))
		text(&b, x+15, 40, "start", label)
		x += 30 + charWidth*len(label)
	}
	for n := range chartMost + 1 {
		at := chartLabels + n*chartScale
		colour := "#dddddd"
		if n == 1 {
			colour = "#888888"
		}
		fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s"/>`, at, headHeight-6, at, y, colour)
		text(&b, at, headHeight-8, "middle", fmt.Sprint(n))
	}
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// charted are the drives that have bars: the raw directory would leave no room for the others.
func (r *Report) charted() []Drive {
	var shown []Drive
	for _, d := range r.Drives {
		if d.Name != "raw" {
			shown = append(shown, d)
		}
	}
	return shown
}

func bar(b *strings.Builder, y int, times float64, colour string) {
	length := min(times, chartMost) * chartScale
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, chartLabels, y, length, barHeight-1, colour)
	text(b, chartLabels+int(length)+4, y+barHeight-2, "start", fmt.Sprintf("%.2f", times))
}

func text(b *strings.Builder, x, y int, anchor, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
}
