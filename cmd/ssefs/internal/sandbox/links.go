package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// keepsTogether returns an error if a part of the store lies elsewhere and a symbolic link leads there, as people do to
// have a database on another disk. Where it leads is not allowed instead: whoever can write to the store could then choose
// what the daemon may reach.
func keepsTogether(store string) error {
	resolved, err := filepath.EvalSymlinks(store)
	if err != nil {
		return err
	}
	return filepath.WalkDir(resolved, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != resolved:
			return nil // the database is at work already
		case err != nil:
			return err
		case entry.Type() == fs.ModeSymlink:
			return fmt.Errorf("%w: %s is a symbolic link, which leads out of the store (mount what it leads to there instead)", ErrUnavailable, path)
		}
		return nil
	})
}
