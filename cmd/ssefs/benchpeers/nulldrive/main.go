// Command nulldrive serves a file system that keeps everything in memory and encrypts nothing, with the mount options
// of ssefs. It is the benchmark's ceiling: what it cannot do, the way through the kernel does not allow.
//
//	nulldrive MOUNTPOINT
//
// When it is unmounted it mounts what it has again, so that nothing of it is in the kernel's caches. SIGTERM unmounts it
// and ends it.
package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/fs"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: nulldrive MOUNTPOINT")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "nulldrive:", err)
		os.Exit(1)
	}
}

// serve mounts at point again and again, until SIGTERM or SIGINT.
func serve(point string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM, unix.SIGINT)
	d := newDrive()
	for {
		d.unmounted()
		server, err := gofuse.NewServer(d, point, fs.MountOptions(fs.Config{
			FsName: "nulldrive", Subtype: "nulldrive", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		}))
		if err != nil {
			return fmt.Errorf("mount %s: %w", point, err)
		}
		readAhead(point)
		served := make(chan struct{})
		go func() {
			server.Serve()
			close(served)
		}()
		select {
		case <-served:
		case <-end:
			if err := server.Unmount(); err != nil {
				return fmt.Errorf("unmount %s: %w", point, err)
			}
			<-served
			return nil
		}
	}
}

// readAhead has the kernel read as far ahead as on drives of ssefs. Only root may; the others do without on those too.
func readAhead(point string) {
	list, err := mounts.List()
	if err != nil {
		return
	}
	if m, ok := mounts.At(list, point); ok {
		_ = m.SetReadAhead(mounts.ReadAheadKiB)
	}
}
