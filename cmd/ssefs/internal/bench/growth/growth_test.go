package growth

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/internal/bench/report"
)

// example is a series in which things were timed at some points only.
func example() Series {
	s := Series{Name: "files"}
	s.Points = append(s.Points, "10")
	s.add("create", "1/s", 1000)
	s.Points = append(s.Points, "100")
	s.add("create", "1/s", 800)
	s.add("mount", seconds, 0.5)
	s.Points = append(s.Points, "1000")
	s.add("create", "1/s", 500)
	s.add("mount", seconds, 1.5)
	s.add("once", "MB/s", 7)
	return s
}

func TestSeries(t *testing.T) {
	want := map[string]struct {
		values []float64
		growth float64
	}{
		"create": {[]float64{1000, 800, 500}, 2},
		"mount":  {[]float64{0, 0.5, 1.5}, 3},
		"once":   {[]float64{0, 0, 7}, 0},
	}
	s := example()
	if len(s.Rows) != len(want) {
		t.Errorf("%d rows", len(s.Rows))
	}
	for _, row := range s.Rows {
		if w := want[row.Name]; !slices.Equal(row.Values, w.values) || row.Growth() != w.growth {
			t.Errorf("%s: %v, grows by %v; not %+v", row.Name, row.Values, row.Growth(), w)
		}
	}
}

func TestReport(t *testing.T) {
	r := Report{Version: Version, Setting: report.Setting{Backing: "tmpfs"}, Series: []Series{example()}}
	var text, data bytes.Buffer
	if err := r.WriteTable(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Growth of files, on tmpfs:\n",
		"| create | 1/s  | 1000 |  800 |  500 |          2.00 |\n",
		"| mount  | s    |    - | 0.50 | 1.50 |          3.00 |\n",
		"| once   | MB/s |    - |    - | 7.00 |             - |\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if err := r.WriteJSON(&data); err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(data.Bytes(), &again); err != nil || len(again.Series) != 1 || again.Backing != "tmpfs" {
		t.Errorf("read again: %+v: %v", again, err)
	}
}
