package drive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// raceVariable asks for a binary with the race detector.
const raceVariable = "SSEFS_E2E_RACE"

// detectorVariable holds the race detector's options, and reportsVariable the directory that the reports go to.
const (
	detectorVariable = "GORACE"
	reportsVariable  = "SSEFS_E2E_RACE_REPORTS"
)

// collectRaces has every process that is started from here on, and that has the race detector in it, write its reports
// into files of one directory. What a daemon prints is not looked at by every test, a daemon that is killed has no exit
// code, and one that was left in the background has none that anybody waits for: a file stays whatever becomes of the
// process. It returns what takes the directory away and tells of the reports that no drive has claimed.
//
// A process that may not write there dies of that with the detector's exit code instead, so it does not stay unnoticed
// either.
func collectRaces() (finish func() error, err error) {
	dir, err := os.MkdirTemp("", "ssefs-e2e-races-")
	if err != nil {
		return nil, err
	}
	options := strings.TrimSpace(os.Getenv(detectorVariable) + " log_path=" + filepath.Join(dir, "race"))
	err = errors.Join(
		os.Chmod(dir, 0o1777), // some tests run ssefs as another user
		os.Setenv(detectorVariable, options),
		os.Setenv(reportsVariable, dir),
	)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return func() error {
		reports, err := takeRaces(dir)
		for _, r := range reports {
			err = errors.Join(err, fmt.Errorf("a data race:\n%s", r))
		}
		return errors.Join(err, os.RemoveAll(dir))
	}, nil
}

// takeRaces returns the reports that there are and removes them.
func takeRaces(dir string) (reports []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "race.*"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, readErr := os.ReadFile(f)
		err = errors.Join(err, readErr, os.Remove(f))
		if readErr == nil {
			reports = append(reports, string(b))
		}
	}
	return reports, err
}

// NoRaces fails the test if a process has reported a data race.
func NoRaces(t testing.TB) {
	t.Helper()
	reports, err := takeRaces(os.Getenv(reportsVariable))
	if err != nil {
		t.Errorf("look for data races: %v", err)
	}
	for _, r := range reports {
		t.Errorf("a data race:\n%s", r)
	}
}
