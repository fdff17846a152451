package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/run"
)

// programs are the binaries that were built for the comparison.
type programs struct {
	ssefs, nulldrive, loopback string
}

// known returns all drives that can be compared, in the order of the tables.
func known(ctx context.Context, p programs) []run.Candidate {
	// The peers take their requests from /dev/fuse; with io_uring ssefs has a column of its own.
	subject := func(title, policy, ring string) run.Candidate {
		return run.Candidate{Drive: drives.SSEFS(title, p.ssefs, policy, "--io-uring", ring), Role: report.Subject}
	}
	return []run.Candidate{
		subject("ssefs", "AES256", "off"), subject("ssefs-uring", "AES256", "on"),
		subject("ssefs-kms", "KMS", "off"), subject("ssefs-none", "none", "off"),
		{Drive: gocryptfs(), Role: report.Peer, Version: versionOf(ctx, "gocryptfs", "-version")},
		{Drive: securefs(), Role: report.Peer, Version: versionOf(ctx, "securefs", "version")},
		{Drive: encfs(), Role: report.Peer, Version: versionOf(ctx, "encfs", "--version")},
		{Drive: cryfs(), Role: report.Peer, Version: versionOf(ctx, "cryfs", "--version")},
		{Drive: drives.Raw{}, Role: report.Reference},
		{Drive: loopback(p.loopback), Role: report.Reference},
		{Drive: nulldrive(p.nulldrive), Role: report.Reference, InMemory: true},
	}
}

// uringFile says whether the kernel hands requests over by io_uring.
const uringFile = "/sys/module/fuse/parameters/enable_uring"

// uringEnabled tells whether it does.
func uringEnabled() bool {
	text, err := os.ReadFile(uringFile)
	return err == nil && strings.TrimSpace(string(text)) == "Y"
}

// password opens all drives: nothing depends on it.
const password = "benchmark"

// secretFile makes a file that holds the password.
func secretFile(p drives.Paths) (string, error) {
	path := filepath.Join(p.Work, "password")
	return path, os.WriteFile(path, []byte(password+"\n"), 0o600)
}

// tool runs a program to its end.
func tool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func gocryptfs() drives.Served {
	return drives.Served{
		Title: "gocryptfs",
		Prepare: func(ctx context.Context, p drives.Paths) error {
			file, err := secretFile(p)
			if err != nil {
				return err
			}
			// The cheapest key derivation, which is part of mounting and not of what is measured.
			return tool(ctx, "gocryptfs", "-init", "-quiet", "-scryptn", "10", "-passfile", file, p.Store)
		},
		Command: func(p drives.Paths) *exec.Cmd {
			return exec.Command("gocryptfs", "-fg", "-quiet", "-nosyslog", "-passfile", filepath.Join(p.Work, "password"), p.Store, p.Point)
		},
	}
}

func securefs() drives.Served {
	return drives.Served{
		Title: "securefs",
		Prepare: func(ctx context.Context, p drives.Paths) error {
			return tool(ctx, "securefs", "create", "--pass", password, "--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "--rounds", "1", p.Store)
		},
		Command: func(p drives.Paths) *exec.Cmd {
			return exec.Command("securefs", "mount", "--pass", password, p.Store, p.Point)
		},
	}
}

func encfs() drives.Served {
	return drives.Served{
		Title: "encfs",
		Command: func(p drives.Paths) *exec.Cmd {
			return exec.Command("encfs", "-f", "--standard", "--extpass", "echo "+password, p.Store, p.Point)
		},
	}
}

func cryfs() drives.Served {
	return drives.Served{
		Title: "cryfs",
		Command: func(p drives.Paths) *exec.Cmd {
			cmd := exec.Command("cryfs", "-f", p.Store, p.Point)
			cmd.Stdin = strings.NewReader(password + "\n")
			cmd.Env = append(os.Environ(), "CRYFS_FRONTEND=noninteractive", "CRYFS_NO_UPDATE_CHECK=true",
				"CRYFS_LOCAL_STATE_DIR="+filepath.Join(p.Work, "cryfs"))
			return cmd
		},
	}
}

// loopback is go-fuse's example: a file system that hands everything on to a directory.
func loopback(binary string) drives.Served {
	return drives.Served{
		Title:   "loopback",
		Command: func(p drives.Paths) *exec.Cmd { return exec.Command(binary, "-q", p.Point, p.Store) },
	}
}

func nulldrive(binary string) drives.Served {
	return drives.Served{
		Title:   "null",
		Command: func(p drives.Paths) *exec.Cmd { return exec.Command(binary, p.Point) },
		Ending:  drives.MountsAgain,
	}
}

// versionOf returns the first line in which a program tells its version, "" if it is not installed.
func versionOf(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
