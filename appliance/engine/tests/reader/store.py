"""Sections 1 to 5 of docs/FORMAT.md: the folder, keys, packs and records become proved bytes.

Nothing leaves this file that a seal, a commitment, a name or a digest did not vouch for. It knows nothing of disks.
"""

import functools
import hashlib
import json
import os
import re
import struct
import sys
from collections import namedtuple
from pathlib import Path

import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MIB = 1 << 20
DATA, METADATA = 1, 2
LARGEST_CHUNK = {DATA: MIB // 4, METADATA: 4 * MIB}
LARGEST_TRAILERS = 2 * MIB  # a pack of 64 MiB has two of 2 KiB
SUITES = {1: AESGCM, 2: ChaCha20Poly1305}
RECORDS = {"snapshots": 1, "checkpoints": 2, "dead": 3}
HEADER = 72
TRAILER_START = struct.Struct("<8s4BI24sQIII")
ENTRY = struct.Struct("<32sIIIIB")
ONCE = bytes(12)  # the nonce of a key that seals one thing
BROKEN = (ValueError, TypeError, KeyError, InvalidTag, zstandard.ZstdError)  # what damaged or foreign bytes raise

Trailer = namedtuple("Trailer", "magic version suite kind parity epoch pack body table count n digests length")


class Failed(ValueError):
    """What went wrong; who catches it knows in which file."""


def require(holds, what):
    if not holds:
        raise Failed(what)


# ---- Section 1: the folder
def repository_id(repo):
    told = json.loads((repo / "saveos.json").read_bytes())
    require(told["format"] == "saveos-repository" and told["version"] == 1, f"{repo} is not of version 1")
    return unhex(told["repository"], 16)


def files(repo, pattern):
    return sorted(path for path in repo.glob(pattern) if path.suffix != ".leases")


# ---- Section 2: keys
def root_key(repo, options):
    """Tries the secret on every slot of its kind. A commitment that differs says: not this slot."""
    named = {"words": options.words_file, "device": options.key_file, "escrow": options.escrow_file}
    kind, path = next(((kind, path) for kind, path in named.items() if path), ("passphrase", None))
    given = os.environb.get(b"SAVEOS_PASSPHRASE", b"")
    if path:
        given = entropy(path.read_text()) if kind == "words" else unhex(path.read_text().strip(), 32)
    for path in files(repo, "keys/*"):
        try:
            slot = read_slot(path)
            opened = open_slot(repository_id(repo), slot, given) if slot["kind"] == kind else None
            if opened:
                return opened
        except BROKEN as cause:
            print(f"reader: passing over {path}: {cause!r}", file=sys.stderr)
    raise Failed(f"{repo}/keys: no slot of kind {kind} opens with this secret")


def read_slot(path):
    slot = json.loads(path.read_bytes())
    require(slot["version"] == 1 and path.name == slot["slot"] + ".json", "not a key slot of version 1 with this name")
    for field, length in (("slot", 8), ("salt", 32), ("commitment", 32), ("wrapped", 48)):
        slot[field] = unhex(slot[field], length)
    return slot


def open_slot(repository, slot, secret):
    """The root key, or None when the secret is another slot's."""
    kind = slot["kind"].encode()
    if kind == b"passphrase":
        cost = [slot[field] for field in ("memory_kib", "passes", "lanes")]
        bounded = all(type(n) is int and 1 <= n <= most for n, most in zip(cost, (MIB, 16, 16)))
        require(bounded, f"Argon2id parameters {cost} are out of bounds")
        secret = hash_secret_raw(secret, slot["salt"], cost[1], cost[0], cost[2], 32, Type.ID, version=0x13)
    if kind == b"escrow":
        private, ephemeral = X25519PrivateKey.from_private_bytes(secret), unhex(slot["ephemeral"], 32)
        shared = private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        secret = shared + ephemeral + private.public_key().public_bytes_raw()
        secret = derive(secret, None, b"saveos/1 escrow", 32)
    both = derive(secret, slot["salt"], b"saveos/1 slot" + kind, 64)
    if both[32:] != slot["commitment"]:
        return None
    return AESGCM(both[:32]).decrypt(ONCE, slot["wrapped"], repository + kind + slot["slot"].hex().encode())


def entropy(text):
    """The 32 bytes that 24 words of BIP-39's English list spell; the last byte of the 264 bits is their checksum."""
    listed = (Path(__file__).parent / "bip39_english.txt").read_text().split()
    words = re.findall("[a-z]+", text.lower())  # numbers between them are for people
    require(len(words) == 24 and set(words) <= set(listed), "not 24 words of the list")
    spelt = functools.reduce(lambda bits, word: bits << 11 | listed.index(word), words, 0).to_bytes(33, "big")
    require(hashlib.sha256(spelt[:32]).digest()[0] == spelt[32], "the checksum of the words is wrong")
    return spelt[:32]


def derive(ikm, salt, info, length):
    return HKDF(SHA256(), length, salt, info).derive(ikm)


# ---- Sections 3 and 4: chunks and packs
class Pack:
    """Header and trailer of one pack need no key; `unlock` gives its table and chunks."""

    def __init__(self, path):
        self.path, size = path, path.stat().st_size
        before = max(0, size - LARGEST_TRAILERS)
        self.trailer, end = find_trailer(self.read(before, LARGEST_TRAILERS))
        told, header = self.trailer, self.read(0, HEADER)
        known = told.version == 1 and told.suite in SUITES and told.kind in LARGEST_CHUNK and told.parity == 0
        require(known, "not a pack this reader knows")
        self.commitment, self.info = header[40:], bytes([told.suite, told.kind])
        require(header[:40] == b"SVOSPACK" + struct.pack("<4BI24s", *told[1:7]), "header and trailer differ")
        require(told.pack.hex() == path.name and path.name[:2] == path.parent.name, "the pack inside has another id")
        fits = told.body >= HEADER and before + end - told.body - told.table in (told.length, 2 * told.length)
        counted = told.table == 49 * told.count + 16 and told.n == -(-(told.body + told.table) // MIB)
        require(fits and counted, f"the trailer's numbers contradict each other or the file's {size} bytes")

    def read(self, offset, length):
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(length)

    def scrub(self):
        """Every digest, and both copies of the trailer."""
        told = self.trailer
        end = told.body + told.table
        for n in range(told.n):
            digest = blake3(self.read(n * MIB, min(MIB, end - n * MIB))).digest()
            require(digest == told.digests[32 * n : 32 * n + 32], f"MiB {n} is damaged")
        copies = self.read(end, LARGEST_TRAILERS)
        require(copies == 2 * copies[: told.length], "the two copies of the trailer differ")

    def unlock(self, repository, keys):
        told, self.repository = self.trailer, repository
        require((told.kind, told.epoch) in keys, f"no key for epoch {told.epoch}")
        ikm = keys[told.kind, told.epoch]
        both = derive(ikm, told.pack, b"saveos/1 pack" + self.info, 64)
        require(both[32:] == self.commitment, "the key commitment differs")
        self.cipher = SUITES[told.suite](both[:32])
        cipher = SUITES[told.suite](derive(ikm, told.pack, b"saveos/1 table" + self.info, 32))
        aad = repository + told.pack + told.count.to_bytes(4, "little")
        self.entries = list(ENTRY.iter_unpack(cipher.decrypt(ONCE, self.read(told.body, told.table), aad)))
        ids, end = [entry[0] for entry in self.entries], HEADER
        require(ids == sorted(set(ids)), "ids of the table are out of order")
        require(len({entry[1] for entry in self.entries}) == len(ids), "a slot repeats")
        for _, _, offset, stored, plain, codec in sorted(self.entries, key=lambda entry: entry[2]):
            possible = offset == end and codec <= 1 and 1 <= plain <= LARGEST_CHUNK[told.kind]
            require(possible, f"the table's entry at {offset} is impossible")
            end = offset + stored
        require(end == told.body, f"the table's chunks end at {end}, the body at {told.body}")
        return self

    def chunk(self, entry, id_key):
        chunk_id, slot, offset, stored, plain, codec = entry
        aad = self.repository + self.trailer.pack + struct.pack("<I32sIB", slot, chunk_id, plain, codec)
        raw = self.cipher.decrypt(struct.pack("<Q4x", slot), self.read(offset, stored), aad)
        if codec == 1:
            require(zstandard.frame_content_size(raw) in (-1, plain), "a chunk promises another length than the table")
            raw = zstandard.ZstdDecompressor().decompress(raw, max_output_size=plain, allow_extra_data=False)
        require(len(raw) == plain and blake3(raw, key=id_key).digest() == chunk_id, "not the bytes the id names")
        return raw


def find_trailer(tail):
    """The last copy, or the first when that one is damaged; and where in `tail` it ends."""
    for mark in reversed(list(re.finditer(b"SVOSTEND", tail))):
        raw = tail[: mark.end()]
        raw = raw[-int.from_bytes(raw[-12:-8], "little") :]
        if len(raw) >= TRAILER_START.size + 44 and blake3(raw[:-44]).digest() == raw[-44:-12]:
            told, digests = TRAILER_START.unpack_from(raw), raw[TRAILER_START.size : -44]
            require(told[0] == b"SVOSTRLR" and len(digests) == 32 * told[-1], "the trailer contradicts its length")
            return Trailer(*told, digests, len(raw)), mark.end()
    raise Failed("no whole trailer at its end")


# ---- All of them together, and section 5: records
class Repository:
    def __init__(self, path, root):
        self.path, self.id = path, repository_id(path)
        self.id_key = derive(root, self.id, b"saveos/1 chunk id", 32)
        self.record_key = derive(root, self.id, b"saveos/1 record", 32)
        infos = {DATA: b"saveos/1 data", METADATA: b"saveos/1 metadata"}
        self.pack_keys = {(kind, 0): derive(root, self.id, info + bytes(4), 32) for kind, info in infos.items()}
        self.cached_chunk = functools.lru_cache(256)(self.chunk)

    @functools.cached_property
    def places(self):
        """(kind, chunk id) to all the places that hold it."""
        places = {}
        for path in files(self.path, "packs/*/*"):
            try:
                pack = Pack(path).unlock(self.id, self.pack_keys)
            except BROKEN as cause:  # Others may hold its chunks; if none does, the chunk's error follows.
                print(f"reader: passing over {path}: {cause!r}", file=sys.stderr)
                continue
            for entry in pack.entries:
                places.setdefault((pack.trailer.kind, entry[0]), []).append((pack, entry))
        return places

    def chunk(self, kind, chunk_id):
        """From the first place that proves it."""
        causes = []
        for pack, entry in self.places.get((kind, chunk_id), []):
            try:
                return pack.chunk(entry, self.id_key)
            except BROKEN as cause:
                causes.append(f"{pack.path}: {cause!r}")
        raise Failed("; ".join(causes) or f"{self.path}/packs: no readable pack holds chunk {chunk_id.hex()}")

    def record(self, path):
        kind, raw = bytes([RECORDS[path.parent.name]]), read_record(path)
        require(raw[:12] == b"SVOSRECD\x01" + kind + bytes(2), "another kind of record, or version")
        both = derive(self.record_key, raw[12:36], b"saveos/1 record" + kind, 64)
        require(both[32:] == raw[36:68], "the key commitment differs")
        return json.loads(AESGCM(both[:32]).decrypt(ONCE, raw[68:], raw[:68] + self.id))


def read_record(path):
    require(path.stat().st_size <= 64 * MIB, "larger than a record may be")
    raw = path.read_bytes()
    require(blake3(raw).hexdigest() == path.name, "the name is not the hash of its bytes")
    return raw


def unhex(text, length):
    raw = bytes.fromhex(text)
    require(len(raw) == length, f"expected {2 * length} hex digits")
    return raw
