package mountopt

import (
	"errors"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		list []string
		want Options
	}{
		{"nothing", nil, Options{}},
		{"empty items", []string{",,ro,"}, Options{ReadOnly: true}},
		{"read only and back", []string{"ro,rw"}, Options{}},
		{"later lists win", []string{"ro", "rw"}, Options{}},
		{"fuse options", []string{"allow_other,default_permissions,noacl,fsname=a=b,subtype=x"},
			Options{AllowOther: true, DefaultPermissions: true, NoACL: true, FsName: "a=b", Subtype: "x"}},
		{"flags", []string{"nodev,nosuid,noexec,sync,dirsync,nodiratime"},
			Options{Flags: unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC | unix.MS_NODIRATIME}},
		{"flags taken back", []string{"nodev,nosuid,noexec,sync,dev,suid,exec,async"}, Options{}},
		{"atime", []string{"noatime"}, Options{Atime: AtimeNever}},
		{"atime strict", []string{"noatime,strictatime"}, Options{Atime: AtimeStrict}},
		{"atime default again", []string{"strictatime,relatime"}, Options{}},
		{"long options", []string{"key-file=/k,passphrase-file=/p,bucket=b,create,default-policy=KMS:alias/a,region=r,kms=off,memory=64M,log-file=/l,io_uring=off,sandbox=on"},
			Options{KeyFile: "/k", PassphraseFile: "/p", Bucket: "b", Create: true, DefaultPolicy: "KMS:alias/a", Region: "r", KMS: "off", Memory: 64 << 20, LogFile: "/l", IOUring: "off", Sandbox: "on"}},
		{"fstab words", []string{"defaults,nofail,_netdev,user,users,noauto,auto,x-systemd.automount,x-a=b,comment=hello,user=me,X-mount.mkdir"}, Options{}},
		{"escaped comma", []string{`key-file=/a\,b\\c,ro`}, Options{KeyFile: `/a,b\c`, ReadOnly: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got Options
			for _, list := range tt.list {
				if err := got.Parse(list); err != nil {
					t.Fatal(err)
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, list := range []string{
		"frobnicate", "ro=yes", "create=1", "key-file", "key-file=", "bucket", "memory=lots", "memory",
		"remount", "RO", "allow-other", "nonempty", "xino", "ro,frob",
	} {
		var o Options
		if err := o.Parse(list); !errors.Is(err, ErrOption) {
			t.Errorf("Parse(%q) = %v, want ErrOption", list, err)
		}
	}
}

func TestParseSloppy(t *testing.T) {
	var o Options
	if err := o.parseSloppy("frob,ro,nicate=1"); err != nil || !o.ReadOnly {
		t.Errorf("unknown options: %+v, %v", o, err)
	}
	if err := o.parseSloppy("memory=lots"); !errors.Is(err, ErrOption) {
		t.Errorf("a bad value of a known option passed: %v", err)
	}
}

func TestParseHelper(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want Helper
	}{
		{"mount(8)", []string{"/s", "/m", "-o", "rw,key-file=/k"}, Helper{Store: "/s", Mountpoint: "/m", Lists: []string{"rw,key-file=/k"}}},
		{"options first", []string{"-o", "rw", "/s", "/m"}, Helper{Store: "/s", Mountpoint: "/m", Lists: []string{"rw"}}},
		{"letters together", []string{"/s", "/m", "-sfnv", "-ofoo", "-o", "bar"}, Helper{Store: "/s", Mountpoint: "/m", Sloppy: true, Fake: true, Verbose: true, Lists: []string{"foo", "bar"}}},
		{"type and namespace", []string{"/s", "/m", "-t", "fuse.ssefs", "-N", "/proc/1/ns/mnt"}, Helper{Store: "/s", Mountpoint: "/m"}},
		{"old FUSE spelling", []string{"ssefs#/s", "/m"}, Helper{Store: "/s", Mountpoint: "/m"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseHelper(tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
	for _, args := range [][]string{nil, {"/s"}, {"/s", "/m", "/x"}, {"/s", "/m", "-o"}, {"/s", "/m", "-z"}} {
		if h, err := ParseHelper(args); err == nil {
			t.Errorf("ParseHelper(%q) = %+v, want an error", args, h)
		}
	}
}

func TestHelperOptions(t *testing.T) {
	h, err := ParseHelper([]string{"/s", "/m", "-o", "rw,nosuid,frob"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Options(); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown option passed: %v", err)
	}
	h.Sloppy = true
	o, err := h.Options()
	if err != nil || o.Flags != unix.MS_NOSUID {
		t.Errorf("options %+v, %v: want nosuid alone, as mount(8) means dev", o, err)
	}
}

func TestIsHelper(t *testing.T) {
	for name, want := range map[string]bool{
		"/sbin/mount.fuse.ssefs": true, "mount.ssefs": true, "ssefs": false, "/usr/bin/ssefs": false, "mount": false,
	} {
		if IsHelper(name) != want {
			t.Errorf("IsHelper(%q) = %v", name, !want)
		}
	}
}

func TestParseSize(t *testing.T) {
	good := map[string]int64{
		"0": 0, "1": 1, "17b": 17, "1k": 1 << 10, "2K": 2 << 10, "3KiB": 3 << 10, "64M": 64 << 20, "64mb": 64 << 20,
		"1G": 1 << 30, "1GiB": 1 << 30, "2t": 2 << 40,
	}
	for s, want := range good {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "M", "-1", "1.5G", "1X", "1MM", "1 M", "99999999999999999999", "9999999999T", "0x10", "+"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, got)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 64 << 20: "64 MiB", 1<<63 - 1: "8 EiB",
	} {
		if got := FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "ro,allow_other", `key-file=/a\,b`, "memory=1G", "x-a", "=", `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		o := Defaults()
		if err := o.Parse(list); err != nil && !errors.Is(err, ErrOption) {
			t.Errorf("Parse(%q): %v does not wrap ErrOption", list, err)
		}
	})
}
