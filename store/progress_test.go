package store

import "testing"

// TestPaced: of many reports at once the first is passed on, and not all.
func TestPaced(t *testing.T) {
	var got []int64
	p := Progress(func(done, _ int64, _ string) { got = append(got, done) }).Paced()
	const reports = 1 << 20
	for i := range int64(reports) {
		p(i, reports, "")
	}
	if len(got) == 0 || got[0] != 0 || len(got) > reports/2 {
		t.Errorf("%d of %d reports were passed on, the first of them %v", len(got), reports, got[:min(1, len(got))])
	}
	Progress(nil).Paced()(1, 2, "nobody listens")
}
