package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/daemon"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/crypto"
	"ssefs/fs/archive"
)

func (a *app) restoreCommand() *cobra.Command {
	var req ops.CheckRequest
	cmd := &cobra.Command{
		Use:   "restore FULL|- [INCREMENTAL...] STORE",
		Short: "Make a store of backups",
		Long: `Make a new store of a full backup and the incremental ones that follow it, in their order. One of them may
be '-', standard input. They have to be complete and authentic, which takes a passphrase or key file
that opened the volume when the last of them was made, and opens the restored store too. Then the volume is
checked as 'ssefs fsck' does, with --data the contents of all files too.

The store is as it was when the last backup was made: what was done since, to files, keys, and unlock slots, is
undone. STORE is a new or empty directory. An interrupted restore leaves no store, and can be started over.

If the check finds errors, they were in the volume when the backup was made: the store is made all
the same, and the exit code is 7.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			last := len(args) - 1
			return a.restore(cmd.Context(), args[:last], args[last], req)
		},
	}
	cmd.Flags().BoolVar(&req.Contents, "data", false, "read and verify the contents of all files too")
	a.secretFlags(cmd)
	return a.jsonFlag(cmd)
}

// restored is the outcome of a restore, as --json prints it.
type restored struct {
	Store  string          `json:"store"`
	Backup backupSummary   `json:"backup"`
	Check  ops.CheckResult `json:"check"`
}

func (a *app) restore(ctx context.Context, sources []string, path string, req ops.CheckRequest) error {
	chain, closeAll, err := openChain(ctx, sources)
	if err != nil {
		return err
	}
	defer closeAll()
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := daemon.Harden(); err != nil {
		return err
	}
	daemon.LimitHeap(0) // it fills a database
	secret, err := a.readSecret(ctx, a.source, path, false)
	if err != nil {
		return err
	}
	defer secret.Wipe()
	bar := a.progress()
	defer bar.close()
	result, err := a.restoreChain(ctx, bar, chain, abs, secret, req)
	if err != nil {
		return err
	}
	bar.close()
	if err := a.showRestored(result); err != nil {
		return err
	}
	if n := result.Check.Errors; n > 0 {
		return exit.Errorf(exit.Damaged, "%s was restored as it was when the backup was made, with %s", path, plural(n, "error"))
	}
	return nil
}

// restoreChain restores and checks.
func (a *app) restoreChain(ctx context.Context, bar *progressBar, chain []session.Source, path string, secret crypto.Secret, req ops.CheckRequest) (*restored, error) {
	o := session.Options{
		Logger: a.logger(slog.LevelWarn),
		Note:   func(text string) { a.note("%s", text) },
	}
	r, err := session.Restore(ctx, path, chain, secret, o, func(n int, done, total uint64) {
		bar.step(int64(done), int64(total), fmt.Sprintf("bytes of backup %d of %d", n+1, len(chain)))
	})
	if err != nil {
		return nil, err
	}
	i := r.Inspect()
	result, err := ops.RunCheck(ctx, i.Material(), req, ops.CheckOptions{KeystoreError: i.KeystoreError, HeaderError: i.HeaderError, Progress: bar.step})
	if err != nil {
		_ = r.Abandon() // why the check could not be made says more
		return nil, err
	}
	found := session.Sound
	if result.Errors > 0 {
		found = session.Faulty
	}
	if err := r.Finish(found); err != nil {
		return nil, err
	}
	return &restored{Store: path, Backup: newBackupSummary("", r.Statement(), 0), Check: result}, nil
}

// openChain opens backups and reads their beginnings.
func openChain(ctx context.Context, sources []string) (chain []session.Source, closeAll func(), err error) {
	var files []*os.File
	closeAll = func() {
		for _, f := range files {
			_ = f.Close()
		}
	}
	if first := slices.Index(sources, standardStream); first >= 0 && slices.Contains(sources[first+1:], standardStream) {
		return nil, nil, exit.Errorf(exit.Usage, "only one backup can come from standard input")
	}
	for _, path := range sources {
		from, name := io.Reader(patientReader{ctx, os.Stdin}), "standard input"
		if path != standardStream {
			f, err := os.Open(path)
			if err != nil {
				closeAll()
				return nil, nil, err
			}
			files = append(files, f)
			from, name = f, path
		}
		reader, err := archive.NewReader(bufio.NewReaderSize(from, 1<<16))
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		chain = append(chain, session.Source{Name: name, Reader: reader})
	}
	return chain, closeAll, nil
}

func (a *app) showRestored(r *restored) error {
	if a.json {
		return a.show(r, nil)
	}
	if err := a.writeCheck(r.Check); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "restored to %s: volume %s, version %d, as of %s\n",
		printable(r.Store), r.Backup.Volume, r.Backup.Version, r.Backup.Made.Local().Format("2006-01-02 15:04:05"))
	return err
}
