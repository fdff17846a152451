package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

var tmpfs = Setting{Backing: "tmpfs", HaltPoll: "on"}

// example is a report of three rows, two of which are times.
func example() *Report {
	r := &Report{
		Version: Version, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Machine: Machine{Kernel: "6.1", Processors: 2},
		Settings: []Setting{tmpfs},
		Drives: []Drive{
			{Name: "ssefs", Role: Subject}, {Name: "old", Role: Peer, Version: "1 & <2>"}, {Name: "older", Role: Peer},
			{Name: "raw", Role: Reference}, {Name: "null", Role: Reference},
		},
		Rows: []Row{
			{Name: "write", Title: "write <fast>", Unit: "MB/s", Workload: "w"},
			{Name: "p99", Title: "latency", Unit: "us", Workload: "w", LowerIsBetter: true},
			{Name: "lat", Title: "time", Unit: "s", Workload: "w", LowerIsBetter: true},
		},
		Failures: []Failure{},
	}
	for drive, samples := range map[string][]float64{"ssefs": {300, 100, 200}, "old": {100}, "older": {50}, "raw": {4000}} {
		for _, v := range samples {
			r.Add(tmpfs, drive, "write", v, Cost{CPUPerGiB: v / 100, PeakAnon: v})
		}
	}
	for drive, v := range map[string]float64{"ssefs": 20, "old": 10, "older": 40, "null": 5} {
		r.Add(tmpfs, drive, "lat", v, Cost{})
	}
	r.Add(tmpfs, "old", "p99", 70, Cost{})
	return r
}

func TestAdd(t *testing.T) {
	x := example().Find(tmpfs, "ssefs", "write")
	if x == nil || x.Median != 200 || len(x.Samples) != 3 {
		t.Fatalf("%+v", x)
	}
	if got := *x.Cost; got != (Cost{CPUPerGiB: 2, PeakAnon: 300}) {
		t.Errorf("cost: %+v", got)
	}
	if x := example().Find(Setting{Backing: "disk"}, "ssefs", "write"); x != nil {
		t.Errorf("in another setting: %+v", x)
	}
}

func TestBest(t *testing.T) {
	r := example()
	for i, want := range []struct {
		value float64
		drive string
	}{{100, "old"}, {70, "old"}, {10, "old"}} {
		if v, name := r.Best(tmpfs, Peer, r.Rows[i]); v != want.value || name != want.drive {
			t.Errorf("%s: %v of %s, not %+v", r.Rows[i].Name, v, name, want)
		}
	}
	if v, name := r.Best(Setting{Backing: "disk"}, Peer, r.Rows[0]); v != 0 || name != "" {
		t.Errorf("where nothing was measured: %v of %s", v, name)
	}
}

func TestTable(t *testing.T) {
	r := example()
	r.Failures = append(r.Failures, Failure{Setting: tmpfs, Drive: "older", Workload: "w", Round: 2, Error: "it broke"})
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"On tmpfs, halt polling on:\n",
		"|              | unit | ssefs |  old | older |  raw | null | / best peer | / raw | / null |\n",
		"|--------------|------|------:|-----:|------:|-----:|-----:|------------:|------:|-------:|\n",
		"| write <fast> | MB/s |   200 |  100 |  50.0 | 4000 |    - |        2.00 |  0.05 |      - |\n",
		"| latency      | us   |     - | 70.0 |     - |    - |    - |           - |     - |      - |\n",
		"| time         | s    |  20.0 | 10.0 |  40.0 |    - | 5.00 |        0.50 |     - |   0.25 |\n",
		"- w on older, tmpfs, halt polling on, round 2: it broke\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// TestCosts: a cost that nobody had makes no table, a row in which nobody had it no line.
func TestCosts(t *testing.T) {
	var b bytes.Buffer
	if err := example().WriteCosts(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Processor time of the daemon, on tmpfs, halt polling on:\n",
		"| write <fast> | s/GiB |  2.00 | 1.00 |  0.50 |    - |\n",
		"Anonymous memory of the daemon",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for _, unwanted := range []string{"time", "raw", "Bytes"} {
		if strings.Contains(strings.ReplaceAll(b.String(), "Processor time", ""), unwanted) {
			t.Errorf("%q in\n%s", unwanted, b.String())
		}
	}
}

func TestJSON(t *testing.T) {
	r := example()
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	again, err := ReadJSON(bytes.NewReader(b.Bytes()))
	if err != nil || !reflect.DeepEqual(r, again) {
		t.Errorf("read again (%v):\n%+v\n%+v", err, again, r)
	}
	for _, wrong := range []string{"", "[]", `{"version": 99}`} {
		if _, err := ReadJSON(strings.NewReader(wrong)); err == nil {
			t.Errorf("%q was read as a report", wrong)
		}
	}
}

// TestChart: the chart is well-formed, and has a bar for each number that is not the raw directory's, as long as it says.
func TestChart(t *testing.T) {
	var b bytes.Buffer
	if err := example().WriteChart(&b, tmpfs); err != nil {
		t.Fatal(err)
	}
	texts, bars := elements(t, &b)
	for _, want := range []string{"write <fast>", "time", "2.00", "0.25", "ssefs (1.00)", "old (1.00)", "null (2.00)"} {
		if !texts[want] {
			t.Errorf("no text %q", want)
		}
	}
	// Twice as good: ssefs in one row, null in the other. As good: the best peer in each.
	want := map[string]int{"320.0": 2, "160.0": 2, "80.0": 2, "40.0": 1}
	if !reflect.DeepEqual(bars, want) {
		t.Errorf("bars by length: %v, not %v", bars, want)
	}
}

// elements returns the texts of a drawing, and how many bars of which length it has.
func elements(t *testing.T, r io.Reader) (texts map[string]bool, bars map[string]int) {
	t.Helper()
	texts, bars = map[string]bool{}, map[string]int{}
	d := xml.NewDecoder(r)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts, bars
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.CharData:
			texts[string(e)] = true
		case xml.StartElement:
			for _, a := range e.Attr {
				if e.Name.Local == "rect" && a.Name.Local == "width" && strings.Contains(a.Value, ".") {
					bars[a.Value]++
				}
			}
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0.1234: "0.12", 9.876: "9.88", 12.34: "12.3", 123.4: "123", 1234: "1234", 12345: "12.3k", 1234567: "1.23M", 12345678: "12.3M"} {
		if got := Number(v); got != want {
			t.Errorf("%v: %s, not %s", v, got, want)
		}
	}
}
