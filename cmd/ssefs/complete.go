package main

import (
	"strings"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/secret"
)

// Completions ask mounted volumes only: a shell that waits for a passphrase at the press of a key helps nobody.

// mustComplete offers fixed values for a flag.
func mustComplete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// directories completes arguments that are all directories.
func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func (a *app) completeMountpoints(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	list, err := mounts.List()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var points []string
	for _, m := range list {
		if m.Type == fileSystemType {
			points = append(points, m.Point)
		}
	}
	return points, cobra.ShellCompDirectiveDefault
}

func (a *app) completeBuckets(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var list []ops.Bucket
	if len(args) > 0 || !a.ask(cmd, ops.BucketList, &list) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, b := range list {
		names = append(names, b.Name)
	}
	return startingWith(names, prefix), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeKeys(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var list []ops.Key
	if len(args) > 0 || !a.ask(cmd, ops.KeyList, &list) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, k := range list {
		names = append(append(names, k.Aliases...), k.ID)
	}
	return startingWith(names, prefix), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeAliases(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var list []ops.Alias
	if len(args) > 0 || !a.ask(cmd, ops.AliasList, &list) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, alias := range list {
		names = append(names, alias.Name)
	}
	return startingWith(names, prefix), cobra.ShellCompDirectiveNoFileComp
}

// ask calls an operation of the volume if it is mounted.
func (a *app) ask(cmd *cobra.Command, operation string, reply any) bool {
	ask := *a
	ask.source.KeyFile, ask.source.PassphraseFile = "", ""
	ask.terminal = secret.NoTerminal{}
	t, err := ask.find(cmd.Context(), nil)
	if err != nil {
		return false
	}
	defer func() { _ = t.close() }()
	return t.Call(cmd.Context(), operation, ops.None{}, reply) == nil
}

func startingWith(names []string, prefix string) []string {
	var found []string
	for _, n := range names {
		if strings.HasPrefix(n, prefix) {
			found = append(found, n)
		}
	}
	return found
}
