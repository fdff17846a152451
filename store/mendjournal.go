package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// mendJournal makes a journal that continues a database at version last of one
// that is damaged or does not, with the commits that do. What the files were is
// kept beside them, under names that end in ".damaged" and perhaps a number.
//
// A crash in between leaves a journal that is damaged as well, or that is whole.
func (d *Dir) mendJournal(last uint64) ([]Loss, error) {
	entries, wrong := readJournal(d.path)
	var losses []Loss
	for name, err := range wrong {
		losses = append(losses, Loss{File: name, What: err.Error()})
	}
	var good []journalEntry
	for _, e := range entries {
		// A mending that was interrupted may have left some in both files.
		if e.version == last+1+uint64(len(good)) {
			good = append(good, e)
		}
	}
	if newest := lastVersion(entries); newest > last+uint64(len(good)) {
		losses = append(losses, Loss{
			File: journalNames()[0],
			What: fmt.Sprintf("the commits up to %d do not follow commit %d", newest, last+uint64(len(good))),
		})
	}
	if len(losses) == 0 {
		return nil, nil
	}
	return losses, d.replaceJournal(good)
}

// replaceJournal puts files with these entries in the place of the journal's, and
// keeps those.
func (d *Dir) replaceJournal(good []journalEntry) error {
	fresh := filepath.Join(d.path, "journal"+tempSuffix)
	for _, name := range journalNames() {
		if err := os.RemoveAll(fresh); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		n, err := writeJournalFile(fresh, good)
		if err != nil {
			return err
		}
		good = good[n:]
		path := filepath.Join(d.path, name)
		err = unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
		if errors.Is(err, unix.ENOENT) {
			err = os.Rename(fresh, path)
		}
		if err != nil {
			return fmt.Errorf("store: replacing the journal: %w", err)
		}
		if err := d.keepJournal(fresh, name); err != nil {
			return err
		}
	}
	return syncDir(d.path)
}

// writeJournalFile makes a file with as many of the entries as fit, and returns
// how many those are.
func writeJournalFile(path string, entries []journalEntry) (n int, err error) {
	size := int64(journalSector)
	for _, e := range entries {
		more := int64(len(appendJournalEntry(nil, [generationSize]byte{}, e.version, e.changes)))
		if size+more > maxJournalFile {
			break
		}
		size += more
		n++
	}
	j, err := makeJournalFile(path, size)
	if err != nil {
		return 0, err
	}
	for _, e := range entries[:n] {
		if err := j.append(e.version, e.changes); err != nil {
			return 0, errors.Join(err, j.f.Close())
		}
	}
	if err := j.f.Close(); err != nil {
		return 0, fmt.Errorf("store: %w", err)
	}
	return n, nil
}

// keepJournal gives a file that is not used any more, if it is there, the first
// name that is free.
func (d *Dir) keepJournal(from, name string) error {
	for i := 0; ; i++ {
		kept := filepath.Join(d.path, name+".damaged")
		if i > 0 {
			kept += "." + strconv.Itoa(i)
		}
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, kept, unix.RENAME_NOREPLACE)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return nil
		case !errors.Is(err, fs.ErrExist):
			return fmt.Errorf("store: keeping the damaged journal: %w", err)
		}
	}
}
