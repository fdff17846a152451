package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/fs/archive"
	"ssefs/fs/backup"
)

// standardStream is the name of standard input and output.
const standardStream = "-"

func (a *app) backupCommand() *cobra.Command {
	var basePath string
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE|-",
		Short: "Write a backup of the volume",
		Long: `Write everything that the volume has at this moment to a file, or to standard output: sealed as
it lies in the store, keys in wrapped form only. The volume stays in use meanwhile. 'ssefs restore' makes a store of it,
which the same passphrase or key file opens.

With --base the backup is incremental: it has what changed since the backup in FILE, full or incremental
itself, and is of use together with that one and those before it only. If the store does not
follow from it, as after another restore, the command says so and writes nothing.

FILE appears when it is complete and on disk; what is written until then is FILE.partial.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := keepExisting
			if force {
				r = replaceExisting
			}
			return a.backup(cmd.Context(), args[0], basePath, r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&basePath, "base", "", "write what changed since the backup in `FILE`")
	f.BoolVar(&force, "force", false, "replace FILE if it exists")
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) backup(ctx context.Context, path, basePath string, r replacement) error {
	if path == standardStream && a.json {
		return exit.Errorf(exit.Usage, "--json and a backup on standard output do not go together")
	}
	if sameFile(path, basePath) {
		return exit.Errorf(exit.Usage, "%s is the base: an incremental backup is of no use without it", path)
	}
	base, closeBase, err := openBase(basePath)
	if err != nil {
		return err
	}
	defer closeBase()
	t, err := a.findToCopy(ctx)
	if err != nil {
		return err
	}
	err = a.backupOf(ctx, t, path, base, r)
	if closeErr := t.close(); err == nil {
		err = closeErr
	}
	return err
}

// openBase opens the backup that another is to be based on; it returns nil without a path.
func openBase(path string) (base *archive.Listing, closeFile func(), err error) {
	if path == "" {
		return nil, func() {}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = exit.Errorf(exit.Usage, "it is no file")
	}
	if err == nil {
		base, err = archive.OpenListing(f, st.Size())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, errors.Join(err, f.Close()))
	}
	return base, func() { _ = f.Close() }, nil
}

// sameFile tells whether two paths lead to one file.
func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// findToCopy finds the volume; one that is not mounted is opened for reading only.
func (a *app) findToCopy(ctx context.Context) (*target, error) {
	if a.store == "" {
		return a.find(ctx, nil)
	}
	if t, err := a.findServed(ctx, a.store); t != nil || err != nil {
		return t, err
	}
	return a.openStoreAs(ctx, a.store, session.Options{ReadOnly: true})
}

// backupOf writes the backup of a volume.
func (a *app) backupOf(ctx context.Context, t *target, path string, base *archive.Listing, r replacement) error {
	if err := a.pushOut(t, path); err != nil {
		return err
	}
	if path == standardStream {
		w, err := a.stdout(ctx)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(w, 1<<20)
		s, err := a.copyBackup(ctx, t, out, base)
		if err == nil {
			err = out.Flush()
		}
		if err == nil {
			a.note("backup of volume %v at version %d, %s", s.Volume, s.Version, plural(int(s.Records), "record"))
		}
		return err
	}
	out, err := createOutput(path, r)
	if err != nil {
		return err
	}
	s, err := a.copyBackup(ctx, t, out, base)
	if err != nil {
		return errors.Join(err, out.abandon())
	}
	if err := out.finish(); err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return a.showBackupSummary(newBackupSummary(path, s, st.Size()))
}

// pushOut has the kernel hand over what programs have written to the drive of t.
func (a *app) pushOut(t *target, path string) error {
	point := t.info.Mountpoint
	if point == "" {
		return nil
	}
	if m, ok, err := driveOf(path); path != standardStream && err == nil && ok && m.Point == point {
		return exit.Errorf(exit.Usage, "%s lies on the drive itself: a backup belongs elsewhere", path)
	}
	if t.info.ReadOnly {
		return nil
	}
	err := pushDirtyPages(point)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) { // another user's drive, or name space
		a.note("%v: what the kernel has not handed to the drive yet is not in the backup", err)
		return nil
	}
	return err
}

// copyBackup has a backup of the volume made and copies it to w. It reads what it copies, and so knows that it is
// complete, and with its base gives the store.
func (a *app) copyBackup(ctx context.Context, t *target, w io.Writer, base *archive.Listing) (*archive.Statement, error) {
	var req ops.VolumeBackupRequest
	if base != nil {
		req.Base = base.Marshal()
	}
	stream, err := t.Open(ctx, ops.VolumeBackup, req)
	if err != nil {
		return nil, err
	}
	s, err := a.readBackup(io.TeeReader(bufio.NewReaderSize(stream, 1<<18), w), base)
	if closeErr := stream.Close(); err == nil {
		err = closeErr
	}
	return s, err
}

func (a *app) readBackup(r io.Reader, base *archive.Listing) (*archive.Statement, error) {
	reader, err := archive.NewReader(r)
	if err != nil {
		return nil, err
	}
	bar := a.progress()
	defer bar.close()
	c, err := backup.Compare(reader.Begin(), base, func(done, total uint64) { bar.step(int64(done), int64(total), "bytes") })
	if err != nil {
		return nil, err
	}
	return reader.Read(c)
}

// backupSummary is what a backup is, as --json prints it.
type backupSummary struct {
	File    string    `json:"file,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"`
	ID      string    `json:"id"`
	Volume  string    `json:"volume_id"`
	Version uint64    `json:"version"`
	Made    time.Time `json:"made"`
	// Records are in this backup; Listed were in the store.
	Records uint64 `json:"records"`
	Listed  uint64 `json:"listed"`
	// Base is the ID of the backup that this one is based on.
	Base        string `json:"base,omitempty"`
	BaseVersion uint64 `json:"base_version,omitempty"`
}

func newBackupSummary(path string, s *archive.Statement, size int64) backupSummary {
	b := backupSummary{
		File: path, Bytes: size, ID: hex.EncodeToString(s.Tag[:]), Volume: s.Volume.String(), Version: s.Version,
		Made: s.Made, Records: s.Records, Listed: s.Listed,
	}
	if s.Base != nil {
		b.Base, b.BaseVersion = hex.EncodeToString(s.Base.Tag[:]), s.Base.Version
	}
	return b
}

func (a *app) showBackupSummary(b backupSummary) error {
	return a.show(b, func(w io.Writer) {
		row(w, "Backup:", b.File)
		row(w, "Size:", fmt.Sprintf("%d bytes", b.Bytes))
		row(w, "Volume:", b.Volume)
		row(w, "Version:", b.Version)
		row(w, "Records:", fmt.Sprintf("%d of %d", b.Records, b.Listed))
		if b.Base != "" {
			row(w, "Based on version:", b.BaseVersion)
		}
	})
}
