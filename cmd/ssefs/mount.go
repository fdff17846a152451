package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/daemon"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/interval"
	"ssefs/cmd/ssefs/internal/mountopt"
	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/cmd/ssefs/internal/runtimedir"
	"ssefs/cmd/ssefs/internal/sandbox"
	"ssefs/cmd/ssefs/internal/secret"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/crypto"
	"ssefs/fs/transport"
	"ssefs/store"
)

func (a *app) mountCommand() *cobra.Command {
	var lists []string
	var foreground bool
	var memory string
	long := mountopt.Options{}
	cmd := &cobra.Command{
		Use:   "mount STORE MOUNTPOINT",
		Short: "Mount a store as a drive",
		Long: strings.TrimSpace(`
Mount a store as a drive over an empty directory. The command returns once the
drive is usable; a daemon in the background serves it until it is unmounted.

-o takes the options of mount(8) and FUSE (ro, allow_other, default_permissions,
noacl, fsname=, subtype=, dev, suid, exec, noatime, sync and their opposites) and
the long options of this command, as in an fstab line:

    /srv/store  /mnt/drive  fuse.ssefs  key-file=/etc/ssefs.key,allow_other  0  0`),
		Example: strings.TrimRight(`
  ssefs mount --create ~/drive.store ~/drive
  ssefs mount --key-file ~/drive.key -o ro ~/drive.store ~/drive`, "\n")[1:],
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) error {
			o := mountopt.Defaults()
			for _, list := range lists {
				if err := o.Parse(list); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			if memory != "" {
				n, err := mountopt.ParseSize(memory)
				if err != nil {
					return exit.With(exit.Usage, err)
				}
				long.Memory = n
			}
			overlay(&o, long)
			return a.mount(cmd.Context(), args[0], args[1], o, style{foreground: foreground})
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&lists, "options", "o", nil, "mount `OPTIONS`, separated by commas")
	f.BoolVar(&long.Create, "create", false, "make the store if there is none")
	f.StringVar(&long.KeyFile, "key-file", "", "unlock with the key `FILE`; --create makes it if it is missing")
	f.StringVar(&long.PassphraseFile, "passphrase-file", "", "unlock with the passphrase in `FILE`")
	f.StringVar(&long.Bucket, "bucket", "", "show the bucket `NAME` as the root of the drive; --create makes it if it is missing")
	f.StringVar(&long.DefaultPolicy, "default-policy", "", "encrypt new buckets by `POLICY` from now on: none, AES256, KMS or KMS:KEY")
	f.StringVar(&long.Region, "region", "", "the `REGION` of the volume, whose keys it may use; kept in the volume")
	f.StringVar(&long.KMS, "kms", "", "`MODE` on (the default), or off: refuse what needs a customer master key")
	f.StringVar(&long.RotateMasterKey, "rotate-master-key-every", "", "rotate the service master key after `INTERVAL`, such as 90d, or off; kept in the volume")
	f.StringVar(&long.IOUring, "io-uring", "", "`MODE` auto (the default): take requests over io_uring if the kernel offers that; on: refuse to mount without; off")
	f.StringVar(&long.Sandbox, "sandbox", "", "`MODE` auto (the default): keep the daemon from all files but the store's if the kernel can (Landlock); on: refuse to mount without; off")
	f.StringVar(&memory, "memory", "", "hold at most `SIZE` bytes of data that is not yet written, such as 64M")
	f.BoolVar(&foreground, "foreground", false, "serve the drive in this process, until it is unmounted or interrupted")
	f.StringVar(&long.LogFile, "log-file", "", "log to `FILE` instead of the runtime directory (in the foreground: instead of standard error)")
	mustComplete(cmd, "default-policy", "none", "AES256", "KMS")
	mustComplete(cmd, "kms", "on", "off")
	mustComplete(cmd, "io-uring", "auto", "on", "off")
	mustComplete(cmd, "sandbox", "auto", "on", "off")
	return cmd
}

// overlay puts what was given as a long option over what -o said.
func overlay(o *mountopt.Options, long mountopt.Options) {
	over := func(target *string, value string) {
		if value != "" {
			*target = value
		}
	}
	over(&o.KeyFile, long.KeyFile)
	over(&o.PassphraseFile, long.PassphraseFile)
	over(&o.Bucket, long.Bucket)
	over(&o.DefaultPolicy, long.DefaultPolicy)
	over(&o.Region, long.Region)
	over(&o.KMS, long.KMS)
	over(&o.RotateMasterKey, long.RotateMasterKey)
	over(&o.IOUring, long.IOUring)
	over(&o.Sandbox, long.Sandbox)
	over(&o.LogFile, long.LogFile)
	o.Create = o.Create || long.Create
	if long.Memory != 0 {
		o.Memory = long.Memory
	}
}

// style is how a mount is carried out.
type style struct {
	foreground bool
	fake       bool // check everything that can be checked, and mount nothing
}

// mount checks what can be checked without the store, gets the secret, and mounts. The checks come first so
// that nobody types a passphrase in vain.
func (a *app) mount(ctx context.Context, storePath, point string, o mountopt.Options, how style) error {
	cfg, err := a.mountConfig(storePath, point, o)
	if err != nil {
		return err
	}
	if err := mounts.CheckPoint(cfg.Mountpoint, cfg.Store); err != nil {
		if owner := servedBy(cfg.Store); owner != nil && owner.Mountpoint == cfg.Mountpoint {
			return &store.InUseError{Path: cfg.Store, OwnerInfo: *owner}
		}
		return exit.With(exit.MountPoint, err)
	}
	if err := a.checkFUSE(cfg); err != nil {
		return err
	}
	isNew, err := a.checkStore(cfg)
	if err != nil || how.fake {
		return err
	}
	source := secret.Source{KeyFile: o.KeyFile, PassphraseFile: o.PassphraseFile}
	made := false
	if isNew && source.KeyFile != "" {
		if made, err = secret.EnsureKeyFile(source.KeyFile); err != nil {
			return exit.With(exit.WrongSecret, err)
		}
	}
	s, err := a.readSecret(ctx, source, cfg.Store, isNew)
	if err != nil {
		return err
	}
	defer s.Wipe()
	err = a.serve(ctx, cfg, s, how)
	if made && exit.Of(err) == exit.NoStore {
		// No store can come to be there. After other errors one may be there all the same, made with this key by
		// another process, and would be lost without it.
		_ = os.Remove(source.KeyFile)
	}
	return err
}

// mountConfig makes paths absolute and judges the options.
func (a *app) mountConfig(storePath, point string, o mountopt.Options) (daemon.Config, error) {
	var cfg daemon.Config
	usage := func(err error) (daemon.Config, error) { return cfg, exit.With(exit.Usage, err) }
	if o.KeyFile != "" && o.PassphraseFile != "" {
		return usage(errors.New("give --key-file or --passphrase-file, not both"))
	}
	if o.DefaultPolicy != "" {
		if _, err := crypto.ParsePolicy(o.DefaultPolicy); err != nil {
			return usage(err)
		}
	}
	switch o.KMS {
	case "", "on", "off":
	default:
		return usage(fmt.Errorf("--kms is on or off, not %q", o.KMS))
	}
	if _, err := transport.ParseMode(o.IOUring); err != nil {
		return usage(fmt.Errorf("--io-uring: %w", err))
	}
	confine, err := sandbox.ParseMode(o.Sandbox)
	if err != nil {
		return usage(fmt.Errorf("--sandbox: %w", err))
	}
	if err := sandbox.Check(confine); err != nil {
		return cfg, fmt.Errorf("--sandbox on: %w", err)
	}
	if o.RotateMasterKey != "" {
		if _, err := interval.Parse(o.RotateMasterKey); err != nil {
			return usage(fmt.Errorf("--rotate-master-key-every: %w", err))
		}
	}
	if o.ReadOnly && (o.DefaultPolicy != "" || o.Region != "" || o.RotateMasterKey != "") {
		return usage(errors.New("a read-only mount cannot change the default policy, the region or the rotation of keys"))
	}
	if cfg.Store, err = mounts.Resolve(storePath); err != nil {
		return cfg, exit.Errorf(exit.NoStore, "store: %w", err)
	}
	if cfg.Mountpoint, err = mounts.Resolve(point); err != nil {
		return cfg, exit.Errorf(exit.MountPoint, "mount point: %w", err)
	}
	for _, path := range []*string{&o.KeyFile, &o.PassphraseFile, &o.LogFile} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return cfg, err
			}
		}
	}
	cfg.Runtime = runtimedir.Own(a.uid, a.getenv)
	cfg.Options = o
	return cfg, nil
}

// checkFUSE refuses early what the kernel or fusermount3 would refuse in fewer words.
func (a *app) checkFUSE(cfg daemon.Config) error {
	sharing := mounts.Private
	if cfg.Options.AllowOther {
		sharing = mounts.AllowOther
	}
	err := mounts.CheckFUSE(a.uid, cfg.Mountpoint, sharing)
	if errors.Is(err, mounts.ErrUnsuitable) {
		return exit.With(exit.MountPoint, err)
	}
	return err
}

// checkStore tells whether a store will be made, and refuses early what would be refused after the secret.
func (a *app) checkStore(cfg daemon.Config) (isNew bool, err error) {
	if exists(filepath.Join(cfg.Store, store.HeaderFile)) {
		return false, refuseServed(cfg.Store)
	}
	if cfg.Options.Create {
		if cfg.Options.ReadOnly {
			return true, exit.Errorf(exit.Usage, "a store cannot be made by a read-only mount")
		}
		return true, nil
	}
	return false, noStore(cfg.Store)
}

// servedBy returns the daemon that shows the store on a drive, nil if there is none: the owner may be about to close it.
func servedBy(path string) *store.OwnerInfo {
	owner, err := store.ReadOwner(path)
	if err != nil || owner.Closing || !mounts.Shows(owner.Mountpoint) {
		return nil
	}
	return &owner
}

// refuseServed refuses a store that a daemon shows on a drive.
func refuseServed(path string) error {
	if owner := servedBy(path); owner != nil {
		return &store.InUseError{Path: path, OwnerInfo: *owner}
	}
	return nil
}

// noStore says why a directory without a header is no store, nil if it has become one.
func noStore(path string) error {
	dir, err := store.OpenDir(path)
	if err == nil {
		return dir.Close()
	}
	return session.Explain(path, err)
}

// readSecret gets the secret for the store, new or existing.
func (a *app) readSecret(ctx context.Context, source secret.Source, storePath string, isNew bool) (crypto.Secret, error) {
	if err := source.Validate(); err != nil {
		return crypto.Secret{}, exit.With(exit.Usage, err)
	}
	for _, file := range []string{source.KeyFile, source.PassphraseFile} {
		if file != "" && secret.Exposed(file) {
			a.note("warning: %s can be read by other users: chmod 600 it", file)
		}
	}
	read := source.Read
	if isNew {
		read = source.ReadNew
	}
	s, err := read(ctx, a.terminal, storePath)
	if err != nil && ctx.Err() == nil {
		err = exit.With(exit.WrongSecret, err)
	}
	return s, err
}

// unlockSecret gets the secret of an existing store, after the errors that need none.
func (a *app) unlockSecret(ctx context.Context, storePath string) (crypto.Secret, error) {
	if !exists(filepath.Join(storePath, store.HeaderFile)) {
		if err := noStore(storePath); err != nil {
			return crypto.Secret{}, err
		}
	}
	return a.readSecret(ctx, a.source, storePath, false)
}

// serve mounts in the background or here.
func (a *app) serve(ctx context.Context, cfg daemon.Config, s crypto.Secret, how style) error {
	if err := runtimedir.Ensure(cfg.Runtime, a.uid); err != nil {
		return err
	}
	path := cfg.Options.LogFile
	if path == "" {
		path = runtimedir.Log(cfg.Runtime, cfg.Store)
	}
	note := func(text string) { a.note("%s", text) }
	if how.foreground && cfg.Options.LogFile == "" {
		return a.serveHere(ctx, cfg, s, os.Stderr, note)
	}
	log, err := daemon.OpenLog(path)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cfg.Options.LogFile = path
	if how.foreground {
		return a.serveHere(ctx, cfg, s, log, note)
	}
	if a.onTerminal() {
		slow := time.AfterFunc(patience, func() { note("opening the store takes a while") })
		defer slow.Stop()
	}
	_, err = daemon.Start(ctx, cfg, s, log, note)
	return err
}

func (a *app) serveHere(ctx context.Context, cfg daemon.Config, s crypto.Secret, log *os.File, note func(string)) error {
	if err := daemon.Harden(); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	return daemon.Serve(ctx, cfg, s, logger, daemon.Foreground(note))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// mountHelper is the program as mount.fuse.ssefs.
func (a *app) mountHelper(ctx context.Context, args []string) error {
	h, err := mountopt.ParseHelper(args)
	if err != nil {
		return exit.Errorf(exit.Usage, "mount helper: %w", err)
	}
	o, err := h.Options()
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	return a.mount(ctx, h.Store, h.Mountpoint, o, style{fake: h.Fake})
}
