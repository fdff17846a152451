// Command ssefs mounts an encrypted drive and manages its volume: buckets, keys and unlock slots.
//
// The package holds the commands and nothing else: each reads its arguments, finds the volume (over the
// control socket of its mount daemon, or by opening the store itself), carries out one operation and prints the
// result. Results go to standard output, everything else to standard error; the exit codes are in internal/exit.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"ssefs/cmd/ssefs/internal/daemon"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mountopt"
	"ssefs/cmd/ssefs/internal/secret"
)

func main() {
	ending := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		ending = append(ending, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ending...)
	a := &app{out: os.Stdout, err: os.Stderr, terminal: secret.TTY{}, asker: secret.TTY{}, getenv: os.Getenv, uid: os.Getuid()}
	code := exit.Failure
	// Before anything else, since whatever the command, it may come to read a secret.
	if err := daemon.ProtectMemory(); err != nil {
		a.note("%s", err)
	} else {
		code = a.run(ctx, os.Args)
	}
	stop()
	os.Exit(int(code))
}

// run is the program less the process: it returns the exit code.
func (a *app) run(ctx context.Context, argv []string) exit.Code {
	err := a.dispatch(ctx, argv)
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		a.note("interrupted")
	default:
		a.note("%s", oneLine(err))
	}
	return exit.Of(err)
}

// dispatch tells the mount helper, which speaks mount(8)'s language, from the commands.
func (a *app) dispatch(ctx context.Context, argv []string) error {
	args := argv[1:]
	if mountopt.IsHelper(argv[0]) || callsAsHelper(args) {
		return a.mountHelper(ctx, args)
	}
	return a.execute(ctx, args)
}

// callsAsHelper tells a call by mount.fuse3(8), which runs "ssefs STORE MOUNTPOINT -o ..." for a line of type
// fuse.ssefs, from a command: no command has a slash in its name.
func callsAsHelper(args []string) bool {
	return len(args) >= 2 && strings.Contains(args[0], "/") && !strings.HasPrefix(args[0], "-")
}

// oneLine keeps an error of several parts on one line.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
