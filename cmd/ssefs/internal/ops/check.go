package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/fs/check"
	"ssefs/store"
)

// CheckRequest asks for a check of the volume.
type CheckRequest struct {
	// Contents has every block of every file opened too.
	Contents bool `json:"contents"`
}

// CheckResult is the outcome of a check, as people read it and as JSON.
type CheckResult struct {
	// Report is a check.Report.
	Report   json.RawMessage `json:"report"`
	Problems []string        `json:"problems"`
	// Notes are what could not be verified, which is no problem.
	Notes    []string `json:"notes"`
	Summary  string   `json:"summary"`
	Errors   int      `json:"errors"`
	Warnings int      `json:"warnings"`
}

// The kinds of problems that are found outside of the database.
const (
	keystoreProblem check.Kind = "keystore"
	headerProblem   check.Kind = "header"
	fileProblem     check.Kind = "keystore-file"
	databaseProblem check.Kind = "database"
)

func (o *Operations) check(ctx context.Context, _ control.Peer, req CheckRequest) (CheckResult, error) {
	if !o.session.ReadOnly() {
		if err := o.session.Volume().Sync(); err != nil {
			return CheckResult{}, err
		}
	}
	return RunCheck(ctx, o.session.Material(), req, CheckOptions{})
}

// CheckOptions is what a check in this process has besides the request.
type CheckOptions struct {
	// KeystoreError is why the keystore cannot be used: a problem of its own.
	KeystoreError error
	// FileErrors are what is wrong with the files of a keystore that can be used.
	FileErrors []error
	// HeaderError is why the volume header is not the current one, another.
	HeaderError error
	// Progress is told a few times a second; nil tells nobody.
	Progress store.Progress
}

// RunCheck checks a snapshot of a store.
func RunCheck(ctx context.Context, m session.Material, req CheckRequest, o CheckOptions) (CheckResult, error) {
	view := m.DB.View()
	defer view.Release()
	options := check.Options{View: view, Keys: m.Keys, ID: m.ID, HeadCopy: m.HeadCopy, Progress: o.Progress}
	if m.KMS != nil {
		options.KMS = m.KMS
		if req.Contents {
			options.Contents = check.VerifyContents
		}
	}
	report, err := check.Run(ctx, options)
	if err != nil {
		return CheckResult{}, err
	}
	if err := m.DB.VerifyTables(); errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrIO) {
		report.Problems = append(report.Problems, check.Problem{Kind: databaseProblem, Message: err.Error()})
	} else if err != nil {
		return CheckResult{}, err
	}
	if o.KeystoreError != nil {
		report.Problems = append(report.Problems, check.Problem{Kind: keystoreProblem, Message: o.KeystoreError.Error()})
	}
	if o.KeystoreError == nil {
		for _, err := range o.FileErrors {
			report.Problems = append(report.Problems, check.Problem{Kind: fileProblem, Severity: check.Warning, Message: err.Error()})
		}
	}
	if o.HeaderError != nil {
		report.Problems = append(report.Problems, check.Problem{Kind: headerProblem, Message: o.HeaderError.Error()})
	}
	return describeReport(report)
}

func describeReport(r *check.Report) (CheckResult, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return CheckResult{}, err
	}
	result := CheckResult{
		Report: text, Problems: []string{}, Notes: []string{}, Errors: r.Errors(),
		Warnings: len(r.Problems) - r.Errors(),
	}
	for i := range r.Problems {
		result.Problems = append(result.Problems, fmt.Sprintf("%s: %s", r.Problems[i].Severity, r.Problems[i].String()))
	}
	if r.Omitted > 0 {
		result.Errors += r.Omitted // of an unknown severity
		result.Problems = append(result.Problems, fmt.Sprintf("and %d more", r.Omitted))
	}
	for _, k := range r.Unverifiable {
		result.Notes = append(result.Notes, fmt.Sprintf("%d files under key %s could not be verified: %s", k.Files, k.KeyID, k.Reason))
	}
	result.Summary = fmt.Sprintf("%d buckets, %d directories, %d files, %d symlinks, %d special files",
		r.Counts.Buckets, r.Counts.Directories, r.Counts.Files, r.Counts.Symlinks, r.Counts.Special)
	return result, nil
}
