// Package sandbox takes from a process what a mount daemon does not need once its drive is mounted, so that whoever
// takes the daemon over has its store, and not the machine.
//
// It is made of three things, for all threads at once and for good. Landlock bounds which files can be opened, made,
// removed and renamed: what lies beneath the store, and /proc, to read. It forbids TCP, signals to other
// processes and their abstract sockets, where the kernel knows how, and mounting, unmounting and tracing. Of the
// capabilities of root three are left. No program gains privileges any more, and none can be started, as no file may be
// executed. What is open already stays so.
//
// Renames from one directory to another are forbidden as well: the store needs none, and the first version of Landlock
// could not allow them.
package sandbox

import (
	"errors"
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"ssefs/cmd/ssefs/internal/mounts"
)

// Mode says whether the sandbox is wanted.
type Mode uint8

// The modes: enter the sandbox if the kernel has what it takes, never, or do not go on without.
const (
	Auto Mode = iota
	Off
	On
)

// ParseMode reads auto, on or off; empty is auto.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "", "auto":
		return Auto, nil
	case "on":
		return On, nil
	case "off":
		return Off, nil
	}
	return 0, fmt.Errorf("sandbox is auto, on or off, not %q", s)
}

// ErrUnavailable is wrapped where there can be no sandbox.
var ErrUnavailable = errors.New("sandbox is not available")

// Status says whether the sandbox is in force.
type Status struct {
	ABI    int    // version of Landlock whose rules are in force, 0 without a sandbox
	Reason string // why there is none
}

// newestABI is the newest version of Landlock that is made use of.
const newestABI = 11

// ABI returns the version of Landlock that the sandbox would use.
func ABI() (int, error) {
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0, fmt.Errorf("%w: this kernel has no Landlock, or has it switched off (lsm=landlock on its command line): %w", ErrUnavailable, err)
	}
	// Kernels with this fault take other threads of the process for foreign when they send each other signals. The
	// library goes down to this version, too.
	const scopeOfThreads, beforeScopes = 0x2, 5
	if errata, err := ll.LandlockGetErrata(); version > beforeScopes && (err != nil || errata&scopeOfThreads == 0) {
		version = beforeScopes
	}
	return min(version, newestABI), nil
}

// Check refuses a mode that cannot be had, before anything is opened.
func Check(mode Mode) error {
	if mode != On {
		return nil
	}
	_, err := ABI()
	return err
}

// Rules is what stays allowed.
type Rules struct {
	// Store is the directory beneath which files are read, written, made and removed.
	Store string
	// Keep are capabilities that are needed besides those that every store may need.
	Keep []int
}

// beneathStore is everything that a store is made of: files and directories.
const beneathStore landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSReadDir | ll.AccessFSWriteFile | ll.AccessFSTruncate |
	ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSRemoveFile | ll.AccessFSRemoveDir

// processes is where the groups of callers are looked up, and where the library lists the threads of this process while it
// takes rights from one after the other, and ends the process if it cannot. The library allows that directory itself, but
// such a rule is lost when the kernel forgets the directory entry, as it does when memory is short; one for all of /proc is not.
const processes = "/proc"

// suitable returns the version of Landlock to be used, or says what stands in the way of a sandbox. In mode On, nothing does
// that the daemon can live with.
func suitable(mode Mode, rules Rules) (abi int, err error) {
	if abi, err = ABI(); err != nil {
		return 0, err
	}
	if err := keepsTogether(rules.Store); err != nil || mode == On {
		return abi, err
	}
	list, err := mounts.List()
	if err != nil {
		return 0, err
	}
	return abi, showsProcesses(list)
}

// Enter puts the sandbox in force for all threads of this process, for good. In mode Auto, what stands in its way is no error.
// No thread may be in a system call that does not end before another thread goes on.
func Enter(mode Mode, rules Rules) (Status, error) {
	if mode == Off {
		return Status{Reason: "sandbox=off"}, nil
	}
	abi, err := suitable(mode, rules)
	if err == nil {
		err = restrict(rules)
	}
	if err != nil {
		if mode == On {
			return Status{}, fmt.Errorf("sandbox=on: %w", err)
		}
		return Status{Reason: err.Error()}, nil
	}
	if err := dropCapabilities(rules.Keep); err != nil {
		return Status{}, fmt.Errorf("sandbox: %w", err)
	}
	// A sandbox that lets everything through would look the same from outside.
	if f, err := os.Open("/"); err == nil {
		return Status{}, errors.Join(errors.New("sandbox: the kernel does not enforce it"), f.Close())
	}
	return Status{ABI: abi}, nil
}

// restrict enters the domain of Landlock. After an error there is none.
func restrict(rules Rules) error {
	allowed := []landlock.Rule{
		landlock.PathAccess(beneathStore, rules.Store),
		landlock.PathAccess(ll.AccessFSReadFile|ll.AccessFSReadDir, processes).IgnoreIfMissing(),
	}
	if err := landlock.V11.BestEffort().Restrict(allowed...); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}
