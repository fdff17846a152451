package main

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/crypto"
)

func (a *app) bucketCommand() *cobra.Command {
	return group("bucket", "Create and list buckets, and set their encryption policies",
		a.bucketCreateCommand(), a.bucketListCommand(), a.bucketShowCommand(), a.bucketSetCommand())
}

// policyFlags are --sse, --key-id and --bucket-key.
type policyFlags struct{ sse, keyID, bucketKey string }

func (p *policyFlags) add(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.sse, "sse", "", "the encryption `POLICY`: none, AES256, KMS, KMS:KEY, or default for the volume's")
	f.StringVar(&p.keyID, "key-id", "", "the customer master `KEY` (its ID or alias) of a KMS policy")
	f.StringVar(&p.bucketKey, "bucket-key", "", "wrap data keys of a KMS policy by bucket keys: `MODE` on, or off for each by the master key itself")
	mustComplete(cmd, "bucket-key", "on", "off")
	mustComplete(cmd, "sse", "none", "AES256", "KMS", "default")
	if err := cmd.RegisterFlagCompletionFunc("key-id", a.completeKeys); err != nil {
		panic(err) // the flag was added above
	}
}

// request returns what was asked for: a canonical policy, the volume's default, or "" if the policy is not mentioned.
func (p policyFlags) request(name string) (ops.BucketRequest, error) {
	policy, err := p.policy()
	if err == nil && p.bucketKey != "" && p.bucketKey != "on" && p.bucketKey != "off" {
		err = exit.Errorf(exit.Usage, "--bucket-key is on or off, not %q", p.bucketKey)
	}
	return ops.BucketRequest{Name: name, Policy: policy, BucketKey: p.bucketKey}, err
}

func (p policyFlags) policy() (string, error) {
	text := p.sse
	switch {
	case strings.EqualFold(text, ops.DefaultPolicy) && p.keyID == "":
		return ops.DefaultPolicy, nil
	case text == "" && p.keyID == "":
		return "", nil
	case p.keyID != "" && (text == "" || strings.EqualFold(text, "KMS")):
		text = "KMS:" + p.keyID
	case p.keyID != "":
		return "", exit.With(exit.Usage, errors.New("--key-id goes with --sse KMS"))
	}
	policy, err := crypto.ParsePolicy(text)
	if err != nil {
		return "", exit.With(exit.Usage, err)
	}
	return policy.String(), nil
}

// bucketName takes the name off a path such as drive/photos, by which a bucket of a mounted drive can be named too. The
// rest of the path then names the drive.
func (a *app) bucketName(arg string) (name string, paths []string) {
	if a.store != "" || !strings.Contains(arg, "/") {
		return arg, nil
	}
	dir, name := filepath.Split(filepath.Clean(arg))
	m, ok, err := driveOf(filepath.Clean(dir))
	if path, pathErr := mounts.Canonical(filepath.Clean(dir)); err != nil || pathErr != nil || !ok || m.Point != path {
		return arg, nil
	}
	return name, []string{dir}
}

func (a *app) bucketCreateCommand() *cobra.Command {
	var policy policyFlags
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a bucket",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, paths := a.bucketName(args[0])
			req, err := policy.request(name)
			if err != nil {
				return err
			}
			umask := syscall.Umask(0)
			syscall.Umask(umask)
			req.Mode = 0o777 &^ uint32(umask)
			return a.with(cmd.Context(), paths, func(t *target) error {
				var b ops.Bucket
				if err := t.Call(cmd.Context(), ops.BucketCreate, req, &b); err != nil {
					return err
				}
				return a.showBucket(b)
			})
		},
	}
	policy.add(a, cmd)
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) bucketListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the buckets",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				var list []ops.Bucket
				if err := t.Call(cmd.Context(), ops.BucketList, ops.None{}, &list); err != nil {
					return err
				}
				return a.show(list, func(w io.Writer) {
					row(w, "NAME", "POLICY", "OWNER", "CREATED")
					for _, b := range list {
						row(w, b.Name, b.Policy, b.UID, b.Created)
					}
				})
			})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) bucketShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "show NAME",
		Short:             "Show one bucket",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeBuckets,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, paths := a.bucketName(args[0])
			return a.with(cmd.Context(), paths, func(t *target) error {
				var b ops.Bucket
				if err := t.Call(cmd.Context(), ops.BucketShow, ops.BucketRequest{Name: name}, &b); err != nil {
					return err
				}
				return a.showBucket(b)
			})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) bucketSetCommand() *cobra.Command {
	var policy policyFlags
	cmd := &cobra.Command{
		Use:   "set NAME --sse POLICY [--key-id KEY] | --bucket-key on|off",
		Short: "Set a bucket's encryption policy",
		Long: `Set the encryption policy of a bucket, or whether bucket keys are used under KMS policies. It applies to files created from now on;
existing files stay as they are.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeBuckets,
		RunE: func(cmd *cobra.Command, args []string) error {
			if policy == (policyFlags{}) {
				return exit.With(exit.Usage, errors.New("say which policy: --sse none, AES256, KMS or default"))
			}
			name, paths := a.bucketName(args[0])
			req, err := policy.request(name)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), paths, func(t *target) error {
				var b ops.Bucket
				if err := t.Call(cmd.Context(), ops.BucketSet, req, &b); err != nil {
					return err
				}
				return a.showBucket(b)
			})
		},
	}
	policy.add(a, cmd)
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) showBucket(b ops.Bucket) error {
	return a.show(b, func(w io.Writer) {
		row(w, "Name:", b.Name)
		row(w, "Policy:", b.Policy)
		row(w, "Bucket keys:", onOff(b.BucketKey))
		row(w, "Owner:", b.UID)
		row(w, "Group:", b.GID)
		row(w, "Created:", b.Created)
	})
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
