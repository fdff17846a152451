package fs

import (
	"math"
	"strings"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ssefs/fs/record"
)

// TestRefusedRequests: what no kernel sends is refused, and leaves nothing behind that is damage afterwards.
func TestRefusedRequests(t *testing.T) {
	limitTime(t)
	k := newHostileKernel(t)
	k.furnish()
	const bucket, file, dir, link, fifo = 2, 3, 4, 5, 6
	fh, listing := k.handles[0], k.listings[0]
	body := func() *fields { return new(fields) }
	type row struct {
		what string
		op   uint32
		node uint64
		body *fields
		want syscall.Errno
	}
	write := writeBody(listing, 0, 0, 0, []byte("x"))
	writeBack := writeBody(listing, 0, gofuse.WRITE_CACHE, 0, []byte("x"))
	sized := setattr(gofuse.FATTR_SIZE, 0, 10, 0, 0, 0, 0)
	rows := []row{
		{"open a directory as a file", opOpen, dir, body().u32(unix.O_RDWR, 0), unix.EISDIR},
		{"open a symbolic link", opOpen, link, body().u32(unix.O_RDWR, 0), unix.EINVAL},
		{"open a fifo", opOpen, fifo, body().u32(unix.O_RDWR, 0), unix.EINVAL},
		{"list a file", opOpendir, file, body().u32(0, 0), unix.ENOTDIR},
		{"resize a directory", opSetattr, dir, &sized, unix.EISDIR},
		{"resize a fifo", opSetattr, fifo, &sized, unix.EINVAL},
		{"write to a directory", opWrite, bucket, &write, unix.EBADF},
		{"write back a directory", opWrite, bucket, &writeBack, unix.EBADF},
		{"read a directory as a file", opRead, bucket, body().u64(listing, 0).u32(10, 0).u64(0).u32(0, 0), unix.EBADF},
		{"allocate in a directory", opFallocate, bucket, body().u64(listing, 0, 10).u32(0, 0), unix.EBADF},
		{"seek in a directory", opLseek, bucket, body().u64(listing, 0).u32(unix.SEEK_DATA, 0), unix.EBADF},
		{"copy into a directory", opCopyFileRange, file, body().u64(fh, 0, bucket, listing, 0, 10, 0), unix.EBADF},
		{"copy onto itself", opCopyFileRange, file, body().u64(fh, 9_999, file, fh, 10_000, 1<<20, 0), unix.EINVAL},
		{"read a file as a directory", opReaddir, file, body().u64(fh, 0).u32(100, 0).u64(0).u32(0, 0), unix.EBADF},
		{"an unnamed file in a file", opTmpfile, file, body().u32(unix.O_RDWR, record.TypeFile, 0, 0).name("/"), unix.ENOTDIR},
		{"a symbolic link to nothing", opSymlink, dir, body().name("x", ""), unix.ENOENT},
		{"a name past the longest", opMkdir, dir, body().u32(0o755, 0).name(strings.Repeat("n", 256)), unix.ENAMETOOLONG},
		{"a name that a file has", opMkdir, file, body().u32(0o755, 0).name("x"), unix.ENOTDIR},
	}
	for _, mode := range []uint32{record.TypeDir | 0o755, record.TypeLink, record.TypeMask, 0o030000, math.MaxUint32} {
		rows = append(rows, row{"a node of a type that is none", opMknod, dir, body().u32(mode, 0, 0, 0).name("x"), unix.EINVAL})
	}
	for _, name := range []string{"", ".", "..", "/", "a/b"} {
		rows = append(rows,
			row{"create", opCreate, dir, body().u32(unix.O_RDWR, 0o644, 0, 0).name(name), unix.EINVAL},
			row{"mkdir", opMkdir, dir, body().u32(0o755, 0).name(name), unix.EINVAL},
			row{"make a bucket", opMkdir, 1, body().u32(0o755, 0).name(name), unix.EINVAL},
			row{"mknod", opMknod, dir, body().u32(record.TypeFile, 0, 0, 0).name(name), unix.EINVAL},
			row{"symlink", opSymlink, dir, body().name(name, "target"), unix.EINVAL},
			row{"link", opLink, dir, body().u64(file).name(name), unix.EINVAL},
			row{"rename", opRename2, bucket, body().u64(dir).u32(0, 0).name("file", name), unix.EINVAL},
			row{"exchange", opRename2, bucket, body().u64(dir).u32(unix.RENAME_EXCHANGE, 0).name("file", name), unix.EINVAL},
		)
	}
	for _, r := range rows {
		if a := k.send(request{op: r.op, node: r.node, body: *r.body}); a.without || a.status != r.want {
			t.Errorf("%s, %q: %v, want %v", r.what, []byte(*r.body), a.status, r.want)
		}
	}
	// Bits of a mode that no mode has are not kept.
	k.make(opMknod, dir, body().u32(1<<16|record.TypeFifo|0o600, 0, 0, 0).name("x"))
	k.finish()
}
