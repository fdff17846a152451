package main

import (
	"errors"
	"fmt"
	"io"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
)

func (a *app) kmsGrantCommand() *cobra.Command {
	return a.grantCommand(&cobra.Command{
		Use:   "grant KEY --user USER|--group GROUP",
		Short: "Allow a user or a group to use a key",
		Long: `Allow a user or a group to use a key, in addition to what they may already: to decrypt, which opening
a file needs in any mode, and to generate, which making one needs. Root is no exception. File permissions
count besides.`,
	}, ops.KeyGrant)
}

func (a *app) kmsRevokeCommand() *cobra.Command {
	return a.grantCommand(&cobra.Command{
		Use:   "revoke KEY --user USER|--group GROUP",
		Short: "Take the use of a key from a user or a group",
		Long: `Take what a user or a group was granted on a key. It acts when a file is opened, made or truncated
next; files that are open stay open. 'ssefs kms disable' cuts everybody off at once.`,
	}, ops.KeyRevoke)
}

func (a *app) grantCommand(cmd *cobra.Command, operation string) *cobra.Command {
	var userName, groupName string
	var req ops.GrantRequest
	cmd.Args = cobra.ExactArgs(1)
	cmd.ValidArgsFunction = a.completeKeys
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req.Key = args[0]
		if (userName == "") == (groupName == "") {
			return exit.With(exit.Usage, errors.New("say whom it is for: --user or --group, one of them"))
		}
		var err error
		if req.Kind = "user"; userName != "" {
			req.ID, err = userID(userName)
		} else {
			req.Kind = "group"
			req.ID, err = groupID(groupName)
		}
		if err != nil {
			return exit.With(exit.Usage, err)
		}
		return a.callKey(cmd, operation, req)
	}
	f := cmd.Flags()
	f.StringVar(&userName, "user", "", "the `USER`, by name or number")
	f.StringVar(&groupName, "group", "", "the `GROUP`, by name or number")
	f.StringVar(&req.Allow, "allow", "decrypt,generate", "`OPERATIONS`: decrypt, generate or decrypt,generate")
	mustComplete(cmd, "allow", "decrypt", "generate", "decrypt,generate")
	return a.jsonFlag(a.volumeFlags(cmd))
}

func userID(name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(id), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no user %q", name)
	}
	return number(u.Uid)
}

func groupID(name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(id), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q", name)
	}
	return number(g.Gid)
}

func number(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err
}

func (a *app) kmsListGrantsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "list-grants KEY",
		Short:             "List who may use a key",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				var k ops.Key
				if err := t.Call(cmd.Context(), ops.KeyDescribe, ops.KeyRequest{Key: args[0]}, &k); err != nil {
					return err
				}
				if k.Managed {
					a.note("the managed default key needs no grants, file permissions decide")
				}
				return a.show(k.Grants, func(w io.Writer) {
					row(w, "FOR", "NAME", "ALLOW")
					for _, g := range k.Grants {
						row(w, fmt.Sprintf("%s %d", g.Kind, g.ID), grantee(g), g.Allow)
					}
				})
			})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

// grantee returns the name of whom a grant is for, "" if there is none on this machine.
func grantee(g ops.Grant) string {
	id := strconv.FormatUint(uint64(g.ID), 10)
	if g.Kind == "group" {
		if found, err := user.LookupGroupId(id); err == nil {
			return found.Name
		}
		return ""
	}
	if found, err := user.LookupId(id); err == nil {
		return found.Username
	}
	return ""
}
