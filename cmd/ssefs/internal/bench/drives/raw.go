package drives

import (
	"context"
	"os"
	"path/filepath"
)

// Raw is a plain directory, without a drive on it.
type Raw struct{}

// Name names the drive.
func (Raw) Name() string { return "raw" }

// Start makes the directory.
func (Raw) Start(_ context.Context, dir string) (Session, error) {
	s := rawSession{dir: filepath.Join(dir, "raw")}
	return s, os.Mkdir(s.dir, 0o755)
}

type rawSession struct{ dir string }

func (s rawSession) Dir() string { return s.dir }

func (s rawSession) Cold(context.Context) error { return dropCaches(s.dir) }

// Usage is zero: nobody serves it.
func (s rawSession) Usage() (Usage, error) {
	space, err := spaceOf(s.dir)
	return Usage{Space: space}, err
}

func (s rawSession) Close() error { return nil }
