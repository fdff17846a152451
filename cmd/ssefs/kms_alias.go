package main

import (
	"io"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/ops"
)

func (a *app) aliasCommand() *cobra.Command {
	return group("alias", "Manage the names of keys",
		a.aliasCreateCommand(), a.aliasUpdateCommand(), a.aliasListCommand(), a.aliasDeleteCommand())
}

func (a *app) aliasCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME KEY",
		Short: "Give a key a name",
		Long:  "Give a key, named by its ID or another alias, a name: alias/NAME, where alias/ may be left out.",
		Args:  cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) != 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeKeys(cmd, nil, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				var alias ops.Alias
				if err := t.Call(cmd.Context(), ops.AliasCreate, ops.AliasRequest{Name: args[0], Key: args[1]}, &alias); err != nil {
					return err
				}
				return a.showAliases(alias, []ops.Alias{alias})
			})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) aliasUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update NAME KEY",
		Short: "Give a name to another key",
		Long: `Make an alias name another key. Policies that name the alias use that key for new files from
now on; existing files keep the key that they were made with.`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return a.completeKeys(cmd, nil, toComplete)
			}
			return a.completeAliases(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				var alias ops.Alias
				if err := t.Call(cmd.Context(), ops.AliasUpdate, ops.AliasRequest{Name: args[0], Key: args[1]}, &alias); err != nil {
					return err
				}
				return a.showAliases(alias, []ops.Alias{alias})
			})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) aliasListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the names of keys",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				var list []ops.Alias
				if err := t.Call(cmd.Context(), ops.AliasList, ops.None{}, &list); err != nil {
					return err
				}
				return a.showAliases(list, list)
			})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) aliasDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "delete NAME",
		Aliases:           []string{"rm"},
		Short:             "Take a name from a key",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAliases,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				return t.Call(cmd.Context(), ops.AliasDelete, ops.AliasRequest{Name: args[0]}, nil)
			})
		},
	}
	return a.volumeFlags(cmd)
}

func (a *app) showAliases(result any, list []ops.Alias) error {
	return a.show(result, func(w io.Writer) {
		row(w, "ALIAS", "KEY")
		for _, alias := range list {
			row(w, alias.Name, alias.KeyID)
		}
	})
}
