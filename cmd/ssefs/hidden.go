package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"ssefs/cmd/ssefs/internal/attendant"
	"ssefs/cmd/ssefs/internal/daemon"
	"ssefs/cmd/ssefs/internal/exit"
)

// hiddenCommands are those that only the program itself calls.
func (a *app) hiddenCommands() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:    daemon.ChildCommand + " STORE MOUNTPOINT",
			Short:  "Serve a drive in the background (started by 'ssefs mount')",
			Hidden: true,
			Args:   cobra.ExactArgs(2), // for those who list processes; the configuration comes through a pipe
			RunE: func(cmd *cobra.Command, _ []string) error {
				signal.Ignore(syscall.SIGHUP)
				err := daemon.Child(cmd.Context(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
				if err != nil && exit.Of(err) != exit.Usage {
					a.err = io.Discard // it is in the log already
				}
				return err
			},
		},
		{
			Use:    attendant.Command + " MOUNTPOINT SOCKET",
			Short:  "Do what a mount daemon cannot do itself (started by it)",
			Hidden: true,
			Args:   cobra.ExactArgs(2),
			RunE:   func(_ *cobra.Command, args []string) error { return attendant.Serve(args[0], args[1]) },
		},
		{
			Use:    attendant.FlushCommand + " MOUNTPOINT",
			Short:  "Have the kernel write the dirty pages of a drive back",
			Hidden: true,
			Args:   cobra.ExactArgs(1),
			RunE:   func(_ *cobra.Command, args []string) error { return pushDirtyPages(args[0]) },
		},
	}
}

// manCommand writes the manual pages, for packagers.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages to a directory",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if st, err := os.Stat(args[0]); err != nil || !st.IsDir() {
				return errors.Join(errors.New(args[0]+" is not a directory"), err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "ssefs " + version, Manual: "ssefs"}, args[0])
		},
	}
}
