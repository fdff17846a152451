package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/crypto"
	"ssefs/fs/salvage"
)

// reportName is the file in the directory of a salvage that says what is not in it.
const reportName = "salvage-report.txt"

// errIncomplete ends a salvage that could not copy everything; what is missing has been printed.
var errIncomplete = errors.New("the copy is not complete")

// salvage copies what can be read of a store that is not mounted to the directory target.
func (a *app) salvage(ctx context.Context, target string) error {
	path, secret, err := a.unlockUnmounted(ctx, "salvaged")
	if err != nil {
		return err
	}
	defer secret.Wipe()
	dir, err := openTarget(path, target)
	if err != nil {
		return err
	}
	report, err := a.salvageTo(ctx, path, dir, secret)
	if report != nil {
		err = errors.Join(err, writeReport(dir.Name(), report), a.showSalvage(report))
	}
	if err = errors.Join(err, dir.Close()); err == nil && !report.Complete() {
		err = errIncomplete
	}
	return err
}

// openTarget opens the directory that a salvage goes to: a new or an empty one, outside of the store.
func openTarget(storePath, target string) (*os.File, error) {
	resolved, err := mounts.Resolve(target)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "the directory for the copy: %w", err)
	}
	if rest, err := filepath.Rel(storePath, resolved); err == nil && rest != ".." && !strings.HasPrefix(rest, "../") {
		return nil, exit.Errorf(exit.Usage, "the copy cannot be made inside of the store: %s", target)
	}
	if err := os.Mkdir(resolved, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, exit.Errorf(exit.Usage, "the directory for the copy: %w", err)
	}
	entries, err := os.ReadDir(resolved)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "the directory for the copy: %w", err)
	}
	if len(entries) > 0 {
		return nil, exit.Errorf(exit.Usage, "the directory for the copy is not empty: %s", target)
	}
	return os.Open(resolved)
}

// salvageTo makes the copy. The report is nil if it was not begun.
func (a *app) salvageTo(ctx context.Context, path string, dir *os.File, secret crypto.Secret) (report *salvage.Report, err error) {
	work, err := os.MkdirTemp(dir.Name(), ".ssefs-salvage-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	r, err := session.OpenRescue(path, work, secret, session.Options{Logger: a.logger(slog.LevelError)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	view := r.View()
	defer view.Release()
	m := r.Material()
	o := salvage.Options{View: view, Keys: m.Keys, ID: m.ID, HeadCopy: m.HeadCopy, Dir: dir}
	if m.KMS != nil {
		o.KMS = m.KMS
	}
	bar := a.progress()
	o.Progress = bar.step
	report, err = salvage.Run(ctx, o)
	bar.close()
	var first []salvage.Loss
	for _, l := range r.Losses() {
		first = append(first, salvage.Loss{Kind: salvage.Files, Message: l.File + ": " + l.What})
	}
	if r.KeystoreError != nil {
		first = append(first, salvage.Loss{Kind: salvage.State, Message: fmt.Sprintf("the keystore cannot be used, and no contents with it: %v", r.KeystoreError)})
	}
	report.Losses = append(first, report.Losses...)
	report.Notes = append(r.Notes, report.Notes...)
	return report, err
}

// writeReport writes the report into the copy, under the first name that no bucket has.
func writeReport(dir string, report *salvage.Report) error {
	for i := 0; ; i++ {
		name := filepath.Join(dir, reportName)
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = report.WriteTo(f)
		return errors.Join(err, f.Close())
	}
}

func (a *app) showSalvage(report *salvage.Report) error {
	if a.json {
		return a.show(report, nil)
	}
	_, err := report.WriteTo(a.out)
	return err
}
