#!/usr/bin/env python3
"""Writes records_v1.json: plaintexts of metadata records, keys and set hashes, made by other code from FORMAT.md alone.

The vectors are frozen with format version 1: run this to read or check them, not to change them. The values are those of
fs/record/samples_test.go.
"""
import hashlib
import hmac
import json
import os
import struct


def num(v):
    out = b""
    while v >= 0x80:
        out += bytes([v & 0x7F | 0x80])
        v >>= 7
    return out + bytes([v])


def signed(v):
    return num((v << 1) ^ (v >> 63))


def data(b):
    return num(len(b)) + b


def time(sec, nsec):
    return signed(sec) + num(nsec)


def record(version, *parts):
    return b"\x01" + struct.pack(">Q", version) + b"".join(parts)


def steps(values):
    """Values as distances to the one before, the first as it is."""
    return [v - w for v, w in zip(values, [0] + values)]


def pattern(start, n):
    return bytes((start + i) % 256 for i in range(n))


def leaf(recs, runs):
    """recs: (number, start of the salt, blocks, pack); runs: (start, length, index of the record, first block)"""
    out = num(len(recs))
    for number, salt, blocks, pack in recs:
        out += num(number) + pattern(salt, 20) + num(blocks << 1 | pack)
    out += num(len(runs))
    end = 0
    for start, length, rec, first in runs:
        out += num(start - end) + num(length) + num(rec) + num(first)
        end = start + length
    return out


def refs(children):
    out = num(len(children))
    for step, (_, version, blocks) in zip(steps([c[0] for c in children]), children):
        out += num(step) + num(version) + num(blocks)
    return out


SAMPLE_LEAF = leaf([(21, 1, 200, 0), (290, 20, 4, 1)], [(0, 3, 0, 0), (3, 1, 1, 0), (4, 196, 0, 4), (255, 1, 1, 1)])
SAMPLE_REFS = refs([(0, 0x1200, 256), (1, 0x1234, 1), (300, 9, 200)])


def full_refs(n):
    return refs([(7 * i, (1 << 40) + i, 1 << 30) for i in range(n)])


LINEAGE = bytes(5 + 7 * i for i in range(16))


def inode(mode, rest, links=1, xattrs=0):
    return record(0x1234, num(2), num(0), num(mode), num(1000), num(100), num(links), time(1_700_000_000, 1), time(1_700_000_001, 999_999_999),
                  time(1_700_000_002, 0), time(-1, 5), num(xattrs), rest)


def file(size, blocks, file_map, envelope=b"an envelope"):
    return inode(0o100644, num(size) + num(blocks) + data(envelope) + file_map)


def inline(leaves):
    return b"\x00" + num(len(leaves)) + b"".join(num(s) + l for s, (_, l) in zip(steps([i for i, _ in leaves]), leaves))


def bucket(version, flags, inodes, blocks, members, policy):
    return record(version, bytes([flags]), num(inodes), num(blocks), members, data(policy))


def pack(version, live, logical):
    return record(version, num(live), num(len(logical)), *map(num, steps(logical)))


def xattrs(version, items):
    return record(version, num(len(items)), *[data(k) + data(v) for k, v in items])


plain = {
    "head/head": record(0x1234, LINEAGE, num(0x1234), num(17), num(300), num(12), num(70000), num(3), num(2), num(1), pattern(1, 32)),
    "head/new volume": record(1, LINEAGE, num(1), num(2), num(1), num(1), num(0), num(0), num(0), num(1), bytes(32)),
    "head/after an early flush": record(1 << 33, LINEAGE, num((1 << 33) - 3), num(2), num(9), num(0), num(0), num(0), num(1), num(0), bytes(32)),
    "settings/settings": record(1, data(b"AES256"), data(b"local")),
    "bucket/bucket": bucket(0x1234, 0, 5, 457, pattern(2, 32), b"KMS:alias/acs/oss"),
    "bucket/removed": bucket(5, 1, 1, 2, pattern(7, 32), b"KMS:alias/" + b"a" * 255),
    "bucket/without bucket keys": bucket(6, 2, 1, 0, bytes(32), b"KMS"),
    "bucket/root": bucket(1, 0, 1, 0, bytes(32), b""),
    "entry/entry": record(0x1233, num(16), b"\x08", data(b"report.txt")),
    "entry/longest name": record(1 << 60, num((1 << 64) - 1), b"\x0a", data(b"\xff" * 255)),
    "xattrs/xattrs": xattrs(9, [(b"security.capability", b"\x01\x02\x03"), (b"user.empty", b""), (b"user.note", b"hi")]),
    "pack/pack": pack(0x1200, 2, [3, 255, 256, 70000]),
    "pack/full": pack(1, 256, [i << 40 for i in range(256)]),
    "pending/pending": record(0x1230, num(2), num(16), num(298), num(16), num(299)),
    "orphan/sweep": record(77, num(300)),
    "orphan/whole inode": record(78, num(0)),
    "leaf/leaf": record(9, SAMPLE_LEAF),
    "leaf/most fragmented": record(9, leaf([(i + 1, i, 256, 0) for i in range(256)], [(i, 1, i, 255 - i) for i in range(256)])),
    "node/node": record(9, SAMPLE_REFS),
    "node/full": record(9, full_refs(256)),
    "inode/directory": inode(0o040755, num(1) + num(4) + num(1) + pattern(3, 32), links=3),
    "inode/link": inode(0o120777, data(b"../other")),
    "inode/longest link": inode(0o120777, data(bytes(4095))),
    "inode/device": inode(0o020600, num(0x0103)),
    "inode/disk": inode(0o060660, num(0x0800)),
    "inode/fifo": inode(0o010600, num(0)),
    "inode/socket": inode(0o140600, num(0), xattrs=4),
    "inode/empty file": file(0, 0, inline([])),
    "inode/small file": file(5000, 2, inline([(0, leaf([(40, 4, 2, 0)], [(0, 2, 0, 0)]))])),
    "inode/sparse file": file(1 << 44, 3, inline([(i << 20, leaf([(40 + i, i, 1, 0)], [(255, 1, 0, 0)])) for i in range(3)])),
    "inode/fragmented file": file(1 << 50, 12, inline([
        (0, leaf([(40 + i, i, 1, 0) for i in range(11)], [(2 * i, 1, i, 0) for i in range(11)])), ((1 << 30) - 1, leaf([(39, 99, 3, 0)], [(7, 1, 0, 1)]))])),
    "inode/large file": file(1 << 40, 457, b"\x01" + SAMPLE_REFS),
    "inode/many nodes": file(1 << 50, 1 << 35, b"\x02" + full_refs(32)),
    "inode/map of height 1 without blocks": file(1 << 40, 0, b"\x01" + refs([])),
    "inode/largest file": file((1 << 63) - 1, 1 << 51, b"\x06" + refs([(i, (1 << 40) + i, 1 << 30) for i in range(8)]), bytes(8472)),
}

root, volume = bytes((2 + 7 * i) % 256 for i in range(32)), bytes((1 + 7 * i) % 256 for i in range(16))


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def derived(info):
    return mac(mac(volume, root), info + b"\x01")


def set_hash(domain, elements):
    return sum(int.from_bytes(mac(derived(b"ssefs v1 set hash"), domain + e), "big") for e in elements) % (1 << 256)


name_hash = mac(derived(b"ssefs v1 names"), struct.pack(">Q", 2) + b"report.txt")[:16]
entry_key = b"E" + struct.pack(">Q", 2) + name_hash
vectors = {
    "plain": {name: b.hex() for name, b in sorted(plain.items())},
    "name_hash": name_hash.hex(),
    "cookie": max(int.from_bytes(name_hash[:8], "big") >> 1, 3),
    "entry_key": entry_key.hex(),
    "entry_set": "%064x" % set_hash(b"E", [entry_key + struct.pack(">QB", 16, 8)]),
    "inode_set": "%064x" % set_hash(b"I", [struct.pack(">QQ", 16, 0x1234), struct.pack(">QQ", 17, 9)]),
    "bucket_set": "%064x" % set_hash(b"B", [struct.pack(">QQ", 0, 1), struct.pack(">QQ", 2, 0x1234)]),
}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "records_v1.json"), "w") as f:
    json.dump(vectors, f, indent=1)
    f.write("\n")
