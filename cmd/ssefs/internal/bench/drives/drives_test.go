package drives

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	const line = "42 (a (strange) name) S 1 42 42 0 -1 4194304 100 0 0 0 250 75 9 9 20 0 8 0 1000 1 2 3"
	if got, err := parseCPU([]byte(line)); err != nil || got != 3250*time.Millisecond {
		t.Errorf("%v: %v", got, err)
	}
	for _, wrong := range []string{"", "42 (name) S 1 2", strings.Replace(line, "250", "many", 1)} {
		if _, err := parseCPU([]byte(wrong)); err == nil {
			t.Errorf("%q was understood", wrong)
		}
	}
}

func TestField(t *testing.T) {
	const status = "Name:\tx\nRssAnon:\t    1234 kB\nNone:\tmany\n"
	for label, want := range map[string]int64{"RssAnon:": 1234, "None:": 0, "RssFile:": 0} {
		if got := field([]byte(status), label); got != want {
			t.Errorf("%s %d, not %d", label, got, want)
		}
	}
}

// TestOwnUsage: what a process that does something has used is more than nothing, and grows.
func TestOwnUsage(t *testing.T) {
	s := startSampler(os.Getpid())
	before, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for after.CPU == before.CPU || after.Reads == before.Reads {
		if after, err = usageOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if d := after.Sub(before); d.CPU <= 0 || d.Reads <= 0 {
		t.Errorf("%+v", d)
	}
	if peak := s.stop(); peak < 100<<10 {
		t.Errorf("%d bytes of anonymous memory", peak)
	}
}

func TestRaw(t *testing.T) {
	s, err := Raw{}.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir(), "file")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Cold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u, err := s.Usage(); err != nil || u.Space < 1<<20 || u.CPU != 0 {
		t.Errorf("%+v: %v", u, err)
	}
	if st, err := os.Stat(file); err != nil || st.Size() != 1<<20 {
		t.Errorf("after it was made cold: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestServedThatEnds: when a process ends before it has mounted anything, what it said is in the error.
func TestServedThatEnds(t *testing.T) {
	dir := t.TempDir()
	d := Served{Title: "sad", Command: func(Paths) *exec.Cmd { return exec.Command("sh", "-c", "echo it cannot be; exit 3") }}
	_, err := d.Start(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "it cannot be") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
}
