#!/usr/bin/env python3
"""Writes vectors_v1.json: everything this package makes, made by other code from FORMAT.md alone.

Needs the Python package "cryptography" (44 or later, for Argon2id). The vectors are frozen with format version 1: run this to read
or check them, not to change them.
"""
import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def hkdf(secret, salt, info):
    return mac(mac(salt, secret), info + b"\x01")


def xaes(key, nonce, plaintext, aad):
    """XAES-256-GCM, without the nonce in front."""
    def aes(block):
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)

    k1 = int.from_bytes(aes(bytes(16)), "big") << 1
    if k1 >> 128:
        k1 = (k1 ^ 0x87) & ((1 << 128) - 1)
    derived = b""
    for i in (1, 2):
        m = int.from_bytes(bytes([0, i]) + b"X\x00" + nonce[:12], "big")
        derived += aes((m ^ k1).to_bytes(16, "big"))
    return AESGCM(derived).encrypt(nonce[12:], plaintext, aad)


def seal(key, nonce, plaintext, aad):
    return nonce + xaes(key, nonce, plaintext, aad)


def pattern(n, start):
    return bytes((start + 7 * i) % 256 for i in range(n))


volume = pattern(16, 1)
root = pattern(32, 2)
keys = {n: hkdf(root, volume, b"ssefs v1 " + n.encode()) for n in ("metadata", "names", "set hash", "keystore", "header", "backup")}
dek = pattern(32, 3)
bucket, inode = 5, 1 << 40
file_context = volume + struct.pack(">QQ", bucket, inode)

record_key = b"i" + struct.pack(">Q", inode)
record = b"a metadata record"
sealed_record = seal(keys["metadata"], pattern(24, 4), record, b"ssefsrc1" + volume + record_key)

salt = pattern(20, 5)
blocks = []
for index, logical, n in ((0, 0, 4096), (1, 77, 4096), (255, 1 << 32, 100)):
    contents = pattern(n, index)
    nonce = salt + struct.pack(">I", index)
    blocks.append({
        "index": index, "logical": logical, "length": n,
        "encrypted": xaes(dek, nonce, contents, b"ssefsdt1" + file_context + struct.pack(">Q", logical)).hex()[-64:],
        "clear": xaes(dek, nonce, b"", b"ssefscl1" + file_context + struct.pack(">Q", logical) + contents).hex(),
    })

elements = [b"", b"one", pattern(100, 6)]
set_hash = sum(int.from_bytes(mac(keys["set hash"], b"\x02" + e), "big") for e in elements) % (1 << 256)

key_id = b"0f8fad5b-d9cb-469f-a165-70867728950e"
bucket_key = pattern(16, 7)
kek = pattern(32, 8)
envelope_aad = b"ssefsev1" + file_context + b"\x03" + struct.pack(">I", 9) + bucket_key + key_id
wrapped = seal(kek, pattern(24, 9), dek, envelope_aad)
envelope = b"\x01\x03" + bytes([len(key_id)]) + key_id + struct.pack(">I", 9) + bucket_key + struct.pack(">H", len(wrapped)) + wrapped


def slot(number, kind, time, memory, threads, slot_salt, key, nonce):
    aad = b"ssefssl1" + volume + struct.pack(">IBIIB", number, kind, time, memory, threads) + slot_salt
    return seal(key, nonce, root, aad).hex()


passphrase = "correct horse battery staple"
key_file = pattern(64, 10)
salt1, salt2 = pattern(32, 11), pattern(32, 12)
slot1 = slot(1, 1, 2, 64, 2, salt1, Argon2id(salt=salt1, length=32, iterations=2, lanes=2, memory_cost=64).derive(passphrase.encode()),
             pattern(24, 13))
slot2 = slot(4, 2, 0, 0, 0, salt2, hkdf(key_file, salt2, b"ssefs v1 key file slot"), pattern(24, 14))
backup_statement = pattern(100, 15)
header = f'''{{
  "magic": "ssefs volume",
  "format": 1,
  "features": [],
  "volume": "{volume.hex()}",
  "generation": 5,
  "next_slot": 5,
  "slots": [
    {{"id": 1, "kind": "passphrase", "label": "a \\"quoted\\" label", "kdf": "argon2id", "time": 2, "memory_kib": 64, "threads": 2, "salt": "{salt1.hex()}", "wrapped": "{slot1}"}},
    {{"id": 4, "kind": "key-file", "label": "", "kdf": "hkdf-sha256", "salt": "{salt2.hex()}", "wrapped": "{slot2}"}}
  ],
'''
header += f'  "mac": "{mac(keys["header"], b"ssefshd1" + header.encode()).hex()}",\n'
header += f'  "checksum": "{hashlib.sha256(header.encode()).hexdigest()}"\n}}\n'

vectors = {
    "volume": volume.hex(), "root": root.hex(), "keys": {n: k.hex() for n, k in keys.items()},
    "dek": dek.hex(), "bucket": bucket, "inode": inode,
    "record_key": record_key.hex(), "record": record.decode(), "sealed_record": sealed_record.hex(),
    "salt": salt.hex(), "blocks": blocks,
    "name_parent": 3, "name": "name", "name_hash": mac(keys["names"], struct.pack(">Q", 3) + b"name")[:16].hex(),
    "set_domain": 2, "set_elements": [e.hex() for e in elements], "set_hash": set_hash.to_bytes(32, "big").hex(),
    "kek": kek.hex(), "key_id": key_id.decode(), "key_version": 9, "bucket_key": bucket_key.hex(), "wrapped": wrapped.hex(),
    "envelope_aad": envelope_aad.hex(), "envelope": envelope.hex(),
    "backup_statement": backup_statement.hex(), "backup_tag": mac(keys["backup"], b"ssefsbk1" + backup_statement).hex(),
    "passphrase": passphrase, "key_file": key_file.hex(), "header": header,
}
with open(__file__.replace("vectors.py", "vectors_v1.json"), "w") as f:
    json.dump(vectors, f, indent=1)
    f.write("\n")
