package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/secret"
)

// app is what the commands share: where they write, whom they ask, and the flags that many of them have.
type app struct {
	out, err io.Writer
	terminal secret.Terminal
	asker    asker
	getenv   func(string) string
	uid      int

	store  string // --store
	source secret.Source
	json   bool
}

// asker asks a person at the terminal a question.
type asker interface {
	// Confirm shows the question and tells whether the answer was yes; secret.ErrNone without a terminal.
	Confirm(ctx context.Context, question string) (bool, error)
}

// execute runs the command line.
func (a *app) execute(ctx context.Context, args []string) error {
	// What fails before a command runs is the command line's fault.
	running := false
	root := a.root()
	root.PersistentPreRun = func(*cobra.Command, []string) { running = true }
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || running {
		return err
	}
	code := exit.Usage
	if cmd.Name() == fsckName {
		code = exit.FsckUsage
	}
	return exit.Errorf(code, "%w (see '%s --help')", err, cmd.CommandPath())
}

func (a *app) root() *cobra.Command {
	root := group("ssefs", "An encrypted drive with server-side encryption per bucket")
	root.Long = strings.TrimSpace(`
ssefs shows an encrypted store as a drive. Its top-level directories are buckets;
each has an encryption policy, and every file its own data key.

A command finds its volume by --store, by a path on the drive (its arguments or
the working directory), or takes the only mounted one. A volume that is not
mounted is opened for the time of the command, which then needs its secret.`)
	root.SilenceUsage, root.SilenceErrors = true, true
	root.AddGroup(
		&cobra.Group{ID: "drive", Title: "The drive:"},
		&cobra.Group{ID: "volume", Title: "The volume:"},
	)
	for _, cmd := range []*cobra.Command{a.mountCommand(), a.umountCommand(), a.syncCommand(), a.statusCommand(), a.statCommand()} {
		cmd.GroupID = "drive"
		root.AddCommand(cmd)
	}
	for _, cmd := range []*cobra.Command{a.bucketCommand(), a.keyCommand(), a.kmsCommand(), a.fsckCommand(), a.gcCommand(), a.backupCommand(), a.restoreCommand()} {
		cmd.GroupID = "volume"
		root.AddCommand(cmd)
	}
	root.AddCommand(a.benchCommand(), a.versionCommand(), a.manCommand(), exitCodesTopic())
	root.AddCommand(a.hiddenCommands()...)
	return root
}

// group makes a command that only holds others: without one it shows its help, with an unknown one it fails.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	g.AddCommand(commands...)
	return g
}

// volumeFlags adds the flags of the commands that look for a volume.
func (a *app) volumeFlags(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	f.StringVar(&a.store, "store", "", "the store `DIR` of the volume, or a path on its drive")
	a.secretFlags(cmd)
	return cmd
}

// secretFlags adds the flags that say how a store is unlocked.
func (a *app) secretFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.source.KeyFile, "key-file", "", "unlock with the key `FILE`")
	f.StringVar(&a.source.PassphraseFile, "passphrase-file", "", "unlock with the passphrase in `FILE`")
}

// jsonFlag adds --json.
func (a *app) jsonFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return cmd
}

// exitCodesTopic is 'ssefs help exit-codes'.
func exitCodesTopic() *cobra.Command {
	var text strings.Builder
	_ = exit.WriteTables(&text) // a Builder never fails
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: text.String()}
}
