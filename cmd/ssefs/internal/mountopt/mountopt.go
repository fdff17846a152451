// Package mountopt reads the options of a mount: the comma-separated lists of -o as mount(8), fstab and
// FUSE tools write them, sizes, and the argument vector of a mount.fuse.ssefs helper.
//
// It only reads text. An option that nobody knows is an error: an option dropped in silence is a wish
// the user believes granted.
package mountopt

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrOption is wrapped by every error about a mount option, ErrUnknown by those about an unknown one.
var (
	ErrOption  = errors.New("mount option")
	ErrUnknown = fmt.Errorf("unknown %w", ErrOption)
)

// Atime says when reading a file changes its access time.
type Atime uint8

// The access time rules of mount(8).
const (
	AtimeRelative Atime = iota
	AtimeStrict
	AtimeNever
)

// Options is what a mount was asked for. Strings are empty and sizes zero where nothing was asked.
type Options struct {
	ReadOnly           bool
	AllowOther         bool
	DefaultPermissions bool
	NoACL              bool
	Flags              uintptr // MS_* bits: nosuid, nodev, noexec, sync, dirsync, nodiratime
	Atime              Atime
	FsName             string
	Subtype            string

	KeyFile        string
	PassphraseFile string
	Bucket         string
	Create         bool
	DefaultPolicy  string
	Region         string
	KMS            string
	// RotateMasterKey is how often the service master key rotates.
	RotateMasterKey string
	IOUring         string
	Sandbox         string
	Memory          int64 // bytes
	LogFile         string
}

// Defaults returns the options of a mount made by hand: no set-uid programs and no devices, as
// fusermount3 does it.
func Defaults() Options {
	return Options{Flags: unix.MS_NOSUID | unix.MS_NODEV}
}

// systemDefaults returns the options of a mount made through mount(8) by root, where "defaults" means
// dev and suid, as for every other file system.
func systemDefaults() Options {
	return Options{}
}

// Parse applies a comma-separated list; later options override earlier ones. A backslash takes the
// next character literally, so that a value can hold a comma.
func (o *Options) Parse(list string) error {
	return o.parse(list, func(err error) error { return err })
}

// parseSloppy is Parse, but passes over unknown options, as mount -s asks.
func (o *Options) parseSloppy(list string) error {
	return o.parse(list, func(err error) error {
		if errors.Is(err, ErrUnknown) {
			return nil
		}
		return err
	})
}

func (o *Options) parse(list string, judge func(error) error) error {
	for _, item := range split(list) {
		if item == "" {
			continue
		}
		name, value, hasValue := strings.Cut(item, "=")
		if err := o.apply(name, value, hasValue); err != nil {
			if err := judge(err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Options) apply(name, value string, hasValue bool) error {
	if ignored(name) {
		return nil
	}
	if set, ok := o.words()[name]; ok {
		if hasValue {
			return fmt.Errorf("%w %s takes no value", ErrOption, name)
		}
		set()
		return nil
	}
	if target, ok := o.texts()[name]; ok {
		if !hasValue || value == "" {
			return fmt.Errorf("%w %s needs a value, as in %s=VALUE", ErrOption, name, name)
		}
		*target = value
		return nil
	}
	switch name {
	case "memory":
		n, err := ParseSize(value)
		if err != nil {
			return fmt.Errorf("%w memory: %w", ErrOption, err)
		}
		o.Memory = n
		return nil
	case "remount":
		return fmt.Errorf("%w remount is not offered: unmount the drive and mount it again", ErrOption)
	}
	return fmt.Errorf("%w %q", ErrUnknown, name)
}

// words are the options without a value.
func (o *Options) words() map[string]func() {
	set := func(bit uintptr) func() { return func() { o.Flags |= bit } }
	clear := func(bit uintptr) func() { return func() { o.Flags &^= bit } }
	return map[string]func(){
		"ro":                  func() { o.ReadOnly = true },
		"rw":                  func() { o.ReadOnly = false },
		"allow_other":         func() { o.AllowOther = true },
		"default_permissions": func() { o.DefaultPermissions = true },
		"acl":                 func() { o.NoACL = false },
		"noacl":               func() { o.NoACL = true },
		"create":              func() { o.Create = true },
		"dev":                 clear(unix.MS_NODEV),
		"nodev":               set(unix.MS_NODEV),
		"suid":                clear(unix.MS_NOSUID),
		"nosuid":              set(unix.MS_NOSUID),
		"exec":                clear(unix.MS_NOEXEC),
		"noexec":              set(unix.MS_NOEXEC),
		"sync":                set(unix.MS_SYNCHRONOUS),
		"async":               clear(unix.MS_SYNCHRONOUS),
		"dirsync":             set(unix.MS_DIRSYNC),
		"diratime":            clear(unix.MS_NODIRATIME),
		"nodiratime":          set(unix.MS_NODIRATIME),
		"atime":               func() { o.Atime = AtimeRelative },
		"relatime":            func() { o.Atime = AtimeRelative },
		"norelatime":          func() { o.Atime = AtimeRelative },
		"strictatime":         func() { o.Atime = AtimeStrict },
		"nostrictatime":       func() { o.Atime = AtimeRelative },
		"noatime":             func() { o.Atime = AtimeNever },
	}
}

// texts are the options whose value is a text.
func (o *Options) texts() map[string]*string {
	return map[string]*string{
		"fsname":                  &o.FsName,
		"subtype":                 &o.Subtype,
		"key-file":                &o.KeyFile,
		"passphrase-file":         &o.PassphraseFile,
		"bucket":                  &o.Bucket,
		"default-policy":          &o.DefaultPolicy,
		"region":                  &o.Region,
		"kms":                     &o.KMS,
		"rotate-master-key-every": &o.RotateMasterKey,
		"io_uring":                &o.IOUring,
		"sandbox":                 &o.Sandbox,
		"log-file":                &o.LogFile,
	}
}

// ignored tells the options that speak to mount(8), systemd or the reader of fstab, not to us.
func ignored(name string) bool {
	switch name {
	case "defaults", "auto", "noauto", "nofail", "fail", "_netdev",
		"user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup",
		"comment", "loud", "silent", "lazytime", "nolazytime", "iversion", "noiversion", "mand", "nomand",
		"helper", "uhelper":
		return true
	}
	return strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-")
}

// split cuts a list at its commas and takes the backslashes out.
func split(list string) []string {
	var items []string
	var item strings.Builder
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '\\' && i+1 < len(list):
			i++
			item.WriteByte(list[i])
		case c == ',':
			items = append(items, item.String())
			item.Reset()
		default:
			item.WriteByte(c)
		}
	}
	return append(items, item.String())
}
