// Package bench has the tests of `ssefs bench`, and of the drive without encryption that benchmarks compare with.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/growth"
	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/run"
	"ssefs/cmd/ssefs/internal/bench/workload"
	"ssefs/cmd/ssefs/internal/mounts"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}

// hangs is when a benchmark is taken to hang. It takes seconds.
const hangs = 6 * time.Minute

// untooled are the workloads that run no other programs.
var untooled = []string{"sequential", "random", "small-files", "parallel", "two-writers", "latency"}

// nothingLeft checks that a benchmark took away what it had made in dir.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	expect.OK(t, err, "list the directory of the benchmark")
	if len(list) > 0 {
		t.Errorf("%s was left", list[0].Name())
	}
	if point := mountBelow(t, dir); point != "" {
		t.Errorf("%s is still mounted", point)
	}
}

// mountBelow returns a mount point below dir, "" if there is none.
func mountBelow(t *testing.T, dir string) string {
	t.Helper()
	list, err := mounts.List()
	expect.OK(t, err, "list the mounts")
	for _, m := range list {
		if strings.HasPrefix(m.Point, dir+"/") {
			return m.Point
		}
	}
	return ""
}

// TestBench: a benchmark yields a number for each row, has found nothing wrong, and leaves nothing behind.
func TestBench(t *testing.T) {
	dir := drive.Dir(t)
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	r := drive.Run(ctx, t, exec.CommandContext(ctx, drive.Binary(t), "bench", dir, "--quick", "--json",
		"--policy", "KMS", "--workload", strings.Join(untooled, ",")))
	if r.Code != 0 {
		t.Fatalf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	found, err := report.ReadJSON(strings.NewReader(r.Stdout))
	expect.OK(t, err, "read the report")
	if len(found.Failures) > 0 || len(found.Settings) != 1 || len(found.Rows) < 50 {
		t.Errorf("%d failures, %d settings, %d rows", len(found.Failures), len(found.Settings), len(found.Rows))
	}
	for _, row := range found.Rows {
		for _, name := range []string{"ssefs", "raw"} {
			if x := found.Find(found.Settings[0], name, row.Name); x == nil || x.Median <= 0 || len(x.Samples) != 1 {
				t.Errorf("%s of %s: %+v", row.Name, name, x)
			}
		}
	}
	x := found.Find(found.Settings[0], "ssefs", "seq-write-1m")
	if x == nil || x.Cost == nil || x.Cost.PeakAnon <= 0 || x.Cost.ReadsPerOp <= 0 {
		t.Errorf("the cost of a write is not known:\n%s", r.Stdout)
	}
	nothingLeft(t, dir)
}

// TestInterrupt: a benchmark that is interrupted takes its drive away.
func TestInterrupt(t *testing.T) {
	dir := drive.Dir(t)
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	cmd := exec.CommandContext(ctx, drive.Binary(t), "bench", dir, "--workload", "latency")
	var said bytes.Buffer
	cmd.Stderr = &said
	expect.OK(t, cmd.Start(), "start")
	for ctx.Err() == nil && mountBelow(t, dir) == "" {
		time.Sleep(5 * time.Millisecond)
	}
	expect.OK(t, cmd.Process.Signal(unix.SIGINT), "interrupt")
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || !strings.HasSuffix(said.String(), "interrupted\n") {
		t.Errorf("%v: %s", err, said.String())
	}
	nothingLeft(t, dir)
}

// TestRefusals: a command line that is wrong is refused before anything is made.
func TestRefusals(t *testing.T) {
	dir := drive.Dir(t)
	for _, args := range [][]string{
		{"--workload", "frob"}, {"--policy", "rot13"}, {"--rounds", "0"},
	} {
		r := drive.CLI(t, append([]string{"bench", dir}, args...)...)
		if r.Code != 2 {
			t.Errorf("%q: exit %d: %s", args, r.Code, r.Stderr)
		}
		drive.OneLine(t, r)
	}
	nothingLeft(t, dir)
}

// TestNullDrive: the drive that does nothing keeps what is written, also while it is not mounted.
func TestNullDrive(t *testing.T) {
	dir := drive.Dir(t)
	binary := filepath.Join(dir, "nulldrive")
	build := exec.Command("go", "build", "-o", binary, "ssefs/cmd/ssefs/benchpeers/nulldrive")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	place := filepath.Join(dir, "place")
	expect.OK(t, os.Mkdir(place, 0o755), "make a directory")
	quiet := func(string, ...any) {}
	chosen, err := run.Select(workload.All(), append(untooled, "sqlite", "sources"), quiet)
	expect.OK(t, err, "choose workloads")
	r, err := run.Do(t.Context(), run.Plan{
		Rounds: 1, Scale: workload.Quick(), Workloads: chosen, Tell: quiet, Prepared: workload.Prepare(t.TempDir(), ""),
		Places: []run.Place{{Setting: report.Setting{Backing: run.Tmpfs}, Dir: place}},
		Candidates: []run.Candidate{{
			Drive: drives.Served{
				Title:   "null",
				Command: func(p drives.Paths) *exec.Cmd { return exec.Command(binary, p.Point) },
				Ending:  drives.MountsAgain,
			},
			Role: report.Reference,
		}},
	})
	expect.OK(t, err, "measure")
	for _, f := range r.Failures {
		t.Errorf("%s: %s", f.Workload, f.Error)
	}
	for _, row := range r.Rows {
		if r.Find(r.Settings[0], "null", row.Name) == nil {
			t.Errorf("no %s", row.Name)
		}
	}
	nothingLeft(t, place)
}

// TestGrowth: each series has its points, and the drive outlives being killed.
func TestGrowth(t *testing.T) {
	dir := drive.Dir(t)
	o := growth.Options{
		Files: []int{50, 1100}, Bytes: []int64{1 << 20, 3 << 20}, Sparse: 1 << 30,
		Overwritten: 4 << 20, Overwrites: 500, Probes: 40,
	}
	r, err := growth.Do(t.Context(), drives.SSEFS("ssefs", drive.Binary(t), "AES256"), dir, o, func(string, ...any) {})
	expect.OK(t, err, "measure")
	points := map[string]int{"files in directories of 1,000": 2, "files in one directory": 2, "one file": 3, "overwrites of one file": 12}
	expect.Equal(t, len(r.Series), len(points), "series")
	for _, s := range r.Series {
		expect.Equal(t, len(s.Points), points[s.Name], "points of %s", s.Name)
		for _, row := range s.Rows {
			if !slices.ContainsFunc(row.Values, func(v float64) bool { return v > 0 }) || len(row.Values) > len(s.Points) {
				t.Errorf("%s of %s: %v", row.Name, s.Name, row.Values)
			}
		}
	}
	nothingLeft(t, dir)
}

// TestDeath: that a drive's daemon dies is an error, and leaves no mount.
func TestDeath(t *testing.T) {
	dir := drive.Dir(t)
	s, err := drives.SSEFS("ssefs", drive.Binary(t), "AES256").Open(t.Context(), dir)
	expect.OK(t, err, "start")
	out := drive.Must(t, drive.Binary(t), "status", s.Dir(), "--json")
	var status struct {
		PID int `json:"pid"`
	}
	expect.OK(t, json.Unmarshal([]byte(out), &status), "read the status")
	expect.OK(t, unix.Kill(status.PID, unix.SIGKILL), "kill the daemon")
	if err := s.Cold(t.Context()); err == nil {
		t.Error("the death was not noticed")
	}
	if err := s.Close(); err == nil {
		t.Error("all was well at the end")
	}
	if point := mountBelow(t, dir); point != "" {
		t.Errorf("%s is still mounted", point)
	}
}
