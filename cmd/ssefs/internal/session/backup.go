package session

import (
	"context"
	"fmt"
	"io"
	"time"

	"ssefs/fs/archive"
	"ssefs/fs/backup"
	"ssefs/store"
)

// Backup writes a backup of the store to w, with everything that the volume has when it begins. base is the statement of
// the backup that it is to be based on, nil for a full one.
func (s *Session) Backup(ctx context.Context, w io.Writer, base *archive.Statement) error {
	if base != nil {
		if base.Volume != s.ID() {
			return fmt.Errorf("%w: that is of volume %v, this is volume %v", backup.ErrBase, base.Volume, s.ID())
		}
		if err := base.Check(s.keys.Backup); err != nil {
			return err
		}
	}
	view, files, err := s.freeze()
	if err != nil {
		return err
	}
	defer view.Release()
	return backup.Write(ctx, w, backup.Source{
		Volume: s.ID(), Key: s.keys.Backup, View: view, Files: files, Base: base, Now: time.Now(),
	})
}

// freeze returns a snapshot of the store, for the caller to release, and the files that belong to it: the head in it names the
// generations of keystore and header, neither of which changes meanwhile. The copy of the head is left out: the first clean
// unmount makes one.
func (s *Session) freeze() (*store.View, []archive.File, error) {
	s.headerMu.Lock()
	defer s.headerMu.Unlock()
	var view *store.View
	var files []archive.File
	err := s.kms.Still(func() error {
		names, err := s.dir.Files()
		if err != nil {
			return err
		}
		for _, name := range names {
			if name == store.HeadFile {
				continue
			}
			contents, err := s.dir.ReadFile(name)
			if err != nil {
				return err
			}
			files = append(files, archive.File{Name: name, Contents: contents})
		}
		view, err = s.volume.Snapshot()
		return err
	})
	return view, files, err
}
