#!/usr/bin/env python3
"""The contents of the volume that make_v1.sh makes, and the list of what is in it.

    make_v1.py whole DRIVE CONTENTS   writes files of all kinds, and the SHA-256 of each into the file CONTENTS
    make_v1.py basic DRIVE CONTENTS   writes only those that every bucket has
    make_v1.py crash DRIVE PID        kills the daemon PID while it stores data, and a file is open that has no name
    make_v1.py journal DRIVE CONTENTS PID   changes files, syncs each, and kills the daemon PID
    make_v1.py list DRIVE CONTENTS    prints the list as JSON, after a comparison with CONTENTS

In the list, names are percent-encoded, times are nanoseconds since 1970, and extended attributes hexadecimal. "data" has
start and end of what is not a hole; "sha256" is that of these parts, one after the other.
"""
import hashlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import urllib.parse

BLOCK = 4096
LEAF = 256 * BLOCK
HUGE = (1 << 63) - 1


def noise(seed, size):
    """Bytes that do not compress."""
    out = b""
    while len(out) < size:
        out += hashlib.sha256(b"%d %d" % (seed, len(out))).digest()
    return out[:size]


def text(seed, size):
    """Bytes that do, of which no block is like another."""
    blocks = (b"seed %d, block %d " % (seed, i) for i in range(size // BLOCK + 1))
    return b"".join(b.ljust(BLOCK, b".") for b in blocks)[:size]


def acl(*entries):
    """A POSIX ACL as the kernel has it, of (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


ANY = 0xFFFFFFFF
ACCESS = acl((0x01, 6, ANY), (0x02, 4, 1234), (0x04, 4, ANY), (0x08, 2, 77), (0x10, 6, ANY), (0x20, 0, ANY))
DEFAULT = acl((0x01, 7, ANY), (0x02, 5, 1234), (0x04, 5, ANY), (0x10, 5, ANY), (0x20, 0, ANY))


class Drive:
    """Writes files and remembers what they should hold: for each the bytes at offsets."""

    def __init__(self, root):
        self.root = os.fsencode(root)
        self.sums = {}

    def path(self, name):
        return self.root + b"/" + (name if isinstance(name, bytes) else name.encode())

    def file(self, name, *parts, size=None, mode=0o644, sync=1):
        """Writes (offset, bytes), making it durable after each so many parts."""
        fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT, 0o600)
        for i, (offset, data) in enumerate(parts):
            if os.pwrite(fd, data, offset) != len(data):
                raise SystemExit(f"{name}: short write")
            if (i + 1) % sync == 0:
                os.fsync(fd)
        if size is not None:
            os.ftruncate(fd, size)
        os.fchmod(fd, mode)
        os.close(fd)

    def holds(self, name, *parts):
        """Notes what a file should hold: what is not a hole, from block to block."""
        self.sums[name] = hashlib.sha256(b"".join(parts)).hexdigest()

    def plain(self, name, data, **more):
        self.file(name, (0, data), **more)
        self.holds(name, data)


def fill_bucket(d, b, seed):
    """What every bucket has."""
    d.plain(f"{b}/empty", b"")
    for i, size in enumerate((1, 100, 4095, 4096, 4097, 20_000)):
        d.plain(f"{b}/of {size}", noise(seed + i, size), mode=(0o600, 0o644, 0o755, 0o4755, 0o2751, 0o000)[i])
    os.mkdir(d.path(f"{b}/dir"), 0o750)
    os.mkdir(d.path(f"{b}/dir/deeper"), 0o1777)
    os.mkdir(d.path(f"{b}/dir/deeper/empty"))
    os.mkdir(d.path(f"{b}/group"))
    os.chown(d.path(f"{b}/group"), 7, 77)
    os.chmod(d.path(f"{b}/group"), 0o2775)
    d.plain(f"{b}/group/inherited", text(seed, 300))
    os.link(d.path(f"{b}/of 4097"), d.path(f"{b}/dir/linked"))
    os.link(d.path(f"{b}/of 4097"), d.path(f"{b}/dir/deeper/linked too"))
    d.sums[f"{b}/dir/linked"] = d.sums[f"{b}/dir/deeper/linked too"] = d.sums[f"{b}/of 4097"]
    os.symlink("of 100", d.path(f"{b}/symlink"))
    os.symlink("../no such file", d.path(f"{b}/dir/dangling"))
    os.mkfifo(d.path(f"{b}/fifo"), 0o620)
    os.mknod(d.path(f"{b}/null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(d.path(f"{b}/disk"), 0o660 | stat.S_IFBLK, os.makedev(259, 70_000))

    # A fragmented file: every second block, a few at a time, and some again. Its map does not fit in the inode.
    blocks = {i: noise(seed + 100 + i, BLOCK) for i in range(0, 48, 2)}
    parts = [(i * BLOCK, x) for i, x in blocks.items()]
    again = {i: noise(seed + 200 + i, BLOCK) for i in range(6, 40, 12)}
    d.file(f"{b}/fragmented", *parts, *((i * BLOCK, x) for i, x in again.items()), sync=3)
    blocks.update(again)
    d.holds(f"{b}/fragmented", *blocks.values())

    # Blocks of many leaves in one data record, of which some were overwritten later.
    blocks = {i: noise(seed + 300 + i, BLOCK) for i in range(9)}
    parts = [(i * LEAF + 5 * BLOCK, x) for i, x in blocks.items()]
    again = {i: noise(seed + 400 + i, BLOCK) for i in (2, 3)}
    d.file(f"{b}/scattered", *parts, sync=len(parts))
    d.file(f"{b}/scattered", *((i * LEAF + 5 * BLOCK, x) for i, x in again.items()), sync=2, size=20 * LEAF + 3)
    blocks.update(again)
    d.holds(f"{b}/scattered", *blocks.values())

    # The end of a file that was cut and grew again reads as zeros.
    cut = noise(seed + 500, 10_000)
    d.file(f"{b}/cut", (0, cut), size=5_000)
    d.file(f"{b}/cut", size=9_000)
    d.holds(f"{b}/cut", cut[:5_000].ljust(2 * BLOCK, b"\0"))


def basic(root, contents):
    os.umask(0)
    d = Drive(root)
    for seed, b in ((1_000, "none"), (2_000, "aes"), (3_000, "kms")):
        fill_bucket(d, b, seed)
    with open(contents, "w") as f:
        json.dump(d.sums, f)
    return d


def whole(root, contents):
    d = basic(root, contents)

    d.plain("none/3 MiB", text(1, 3 << 20))
    d.plain("aes/300 KiB", noise(2, 300 << 10))

    # As large as a file gets, with a map of the greatest height.
    blocks = {i * (HUGE // BLOCK // 39): text(3 + i, BLOCK) for i in range(40)}
    d.file("none/huge", *((i * BLOCK, x) for i, x in blocks.items()), sync=50, size=HUGE)
    d.holds("none/huge", *blocks.values())
    d.file("aes/only a hole", size=1 << 50)
    d.holds("aes/only a hole")

    # Names are bytes.
    os.mkdir(d.path("aes/names"))
    for name in (b"new\nline", b"\xff\xfe not UTF-8", b"-rf", b" ", b"back\\slash", b"*", "größe".encode(), b"\x01\x1b[1m", b"a" * 255, b"\xf0\x9f\x90\x9f"):
        with open(d.path(b"aes/names/" + name), "xb"):
            pass
    os.mkdir(d.path("kms/many"))
    for i in range(150):
        d.plain(f"kms/many/{i}", b"%d" % i if i % 10 == 0 else b"")

    os.symlink("x" * 4095, d.path("aes/long symlink"))
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(d.path("aes"))
        s.bind("socket")
        os.chdir(here)

    d.plain("kms/attributes", b"")
    for name, value in (("user.note", b"hello"), ("user.empty", b""), ("user.bytes", bytes(range(256))), ("user.large", noise(5, 6_000)),
                        ("trusted.t", b"\0"), ("security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))):
        os.setxattr(d.path("kms/attributes"), name, value)
    os.setxattr(d.path("kms/dir"), "user.note", b"of a directory")
    os.setxattr(d.path("none/symlink"), "trusted.note", b"of a link", follow_symlinks=False)
    d.plain("aes/acl", text(6, 10))
    os.setxattr(d.path("aes/acl"), "system.posix_acl_access", ACCESS)
    os.mkdir(d.path("aes/acls"), 0o770)
    os.setxattr(d.path("aes/acls"), "system.posix_acl_default", DEFAULT)
    d.plain("aes/acls/inherited", text(7, 10), mode=0o640)
    os.mkdir(d.path("aes/acls/too"))

    d.plain("none/owned", text(8, 10))
    os.chown(d.path("none/owned"), 0xFFFFFFFD, 12345)
    os.mkdir(d.path("none/times"))
    for name, atime, mtime in (("nanoseconds", 1_234_567_890_123_456_789, 1), ("before 1970", -1, -86_400 * 10**9 - 999_999_999),
                               ("2200", 7_258_118_400 * 10**9, 7_258_118_400 * 10**9 + 7)):
        d.plain(f"none/times/{name}", b"")
        os.utime(d.path(f"none/times/{name}"), ns=(atime, mtime))
    os.utime(d.path("none/times"), ns=(1, 10**18 + 1))
    os.utime(d.path("aes/long symlink"), ns=(2, 10**18 + 2), follow_symlinks=False)
    with open(contents, "w") as f:
        json.dump(d.sums, f)


def crash(root, pid):
    d = Drive(root)
    os.sync()
    fd = os.open(d.path("kms/unnamed"), os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, noise(9, 9_000))
    os.unlink(d.path("kms/unnamed"))
    os.fsync(fd)
    # Past the page cache, so that the daemon has it at once.
    subprocess.run(["dd", "of=" + root + "/none/growing", "bs=1M", "iflag=fullblock", "oflag=direct", "status=none"], check=True, input=text(10, 12 << 20))
    os.kill(int(pid), signal.SIGKILL)


def journal(root, contents, pid):
    """Changes that are synced one by one, which leaves them in the journal, and the end of the daemon."""
    d = Drive(root)
    with open(contents) as f:
        d.sums = json.load(f)
    os.sync()
    time.sleep(3)
    for n in range(3):
        for bucket in ("none", "aes", "kms"):
            name = f"{bucket}/synced {n}"
            data = text(20 + n, 5_000 * (n + 1))
            with open(d.path(name), "xb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            d.sums[name] = hashlib.sha256(data).hexdigest()
    os.rename(d.path("aes/synced 0"), d.path("aes/renamed"))
    d.sums["aes/renamed"] = d.sums.pop("aes/synced 0")
    os.unlink(d.path("kms/synced 0"))
    del d.sums["kms/synced 0"]
    data = text(40, 9_000)
    with open(d.path("none/synced 1"), "r+b") as f:
        f.write(data)
        f.truncate()
        os.fsync(f.fileno())
    d.sums["none/synced 1"] = hashlib.sha256(data).hexdigest()
    os.kill(int(pid), signal.SIGKILL)
    with open(contents, "w") as f:
        json.dump(d.sums, f)


def segments(fd, size):
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at


def entry(root, path):
    st = os.lstat(path)
    e = {"path": urllib.parse.quote_from_bytes(os.path.relpath(path, root)), "ino": st.st_ino, "mode": oct(st.st_mode), "uid": st.st_uid, "gid": st.st_gid,
         "nlink": st.st_nlink, "size": st.st_size, "blocks": st.st_blocks, "rdev": st.st_rdev,
         "atime": st.st_atime_ns, "mtime": st.st_mtime_ns, "ctime": st.st_ctime_ns}
    birth = subprocess.run(["stat", "-c", "%.9W", "--", path], check=True, capture_output=True, text=True).stdout
    e["btime"] = int(birth.replace(".", ""))
    e["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False).hex() for n in sorted(os.listxattr(path, follow_symlinks=False))}
    if stat.S_ISLNK(st.st_mode):
        e["target"] = urllib.parse.quote_from_bytes(os.readlink(path))
    if stat.S_ISREG(st.st_mode):
        fd = os.open(path, os.O_RDONLY)
        h = hashlib.sha256()
        e["data"] = []
        for start, end in segments(fd, st.st_size):
            e["data"].append([start, end])
            while start < end:
                b = os.pread(fd, min(1 << 20, end - start), start)
                h.update(b)
                start += len(b)
        e["sha256"] = h.hexdigest()
        os.close(fd)
    return e


def walk(root, path):
    yield entry(root, path)
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for name in sorted(os.listdir(path)):
            yield from walk(root, path + b"/" + name)


def show(root, contents):
    root = os.fsencode(root)
    entries = list(walk(root, root))
    with open(contents) as f:
        sums = json.load(f)
    found = {urllib.parse.unquote(e["path"], errors="surrogateescape"): e.get("sha256") for e in entries}
    for name, want in sums.items():
        if found.get(name) != want:
            raise SystemExit(f"{name} does not hold what was written")
    print("[\n" + ",\n".join(json.dumps(e) for e in entries) + "\n]")


if __name__ == "__main__":
    {"whole": whole, "basic": basic, "crash": crash, "journal": journal, "list": show}[sys.argv[1]](*sys.argv[2:])
