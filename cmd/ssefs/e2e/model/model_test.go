package model

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ssefs/cmd/ssefs/e2e/drive"
)

// Bounds of the default form.
const (
	defaultTime  = 45 * time.Second
	defaultSteps = "70"
	// roundTime is how long one drive is used: the harness ends a test that keeps one for longer than its watchdog
	// allows, and a failure still has to be made smaller in that time.
	roundTime = 50 * time.Second
)

func TestMain(m *testing.M) {
	// Defaults of this package; the command line still overrides them.
	for name, value := range map[string]string{
		"rapid.steps": defaultSteps, "rapid.checks": "3000", "rapid.shrinktime": "20s", "rapid.nofailfile": "true",
	} {
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	drive.Main(m, nil)
}

// TestModel compares a drive with the model. Each check of rapid works in a bucket of its own; the drive goes on being
// used by the next one.
func TestModel(t *testing.T) {
	total := defaultTime
	if s := os.Getenv("SSEFS_E2E_MODEL_TIME"); s != "" {
		var err error
		if total, err = time.ParseDuration(s); err != nil {
			t.Fatalf("SSEFS_E2E_MODEL_TIME: %v", err)
		}
	}
	end := time.Now().Add(total)
	for round := 1; time.Now().Before(end); round++ {
		ok := t.Run(fmt.Sprint(round), func(t *testing.T) {
			runRound(t, min(roundTime, time.Until(end)))
		})
		if !ok {
			break
		}
	}
}

// runRound runs checks on one drive for about the given time.
func runRound(t *testing.T, limit time.Duration) {
	r := newReal(t)
	end := time.Now().Add(limit)
	checks, operations, failed := 0, 0, false
	rapid.Check(t, func(rt *rapid.T) {
		// After a failure rapid repeats the check to make it smaller: that has to go on past the end.
		if checks > 0 && !failed && time.Now().After(end) {
			return
		}
		defer func() { failed = failed || rt.Failed() }()
		m := newMachine(rt, r)
		rt.Repeat(m.actions())
		m.end()
		checks++
		operations += m.count
	})
	if checks == 0 || operations == 0 {
		t.Errorf("%d checks with %d operations: the test proves nothing", checks, operations)
	}
	t.Logf("%d checks, %d operations, %d remounts, %d kills of which %d lost %d operations", checks, operations, r.remounts,
		r.kills, r.losses, r.lost)
}
