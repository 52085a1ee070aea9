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
from dataclasses import dataclass
from pathlib import Path

import argon2.low_level
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KIB, MIB = 1 << 10, 1 << 20
DATA, METADATA = 1, 2
LARGEST_CHUNK = {DATA: 256 * KIB, METADATA: 4 * MIB}
LARGEST_RECORD = 64 * MIB
LARGEST_TRAILERS = 2 * MIB  # a pack of 64 MiB has two of 2 KiB
SUITES = {1: AESGCM, 2: ChaCha20Poly1305}
RECORDS = {"snapshots": 1, "checkpoints": 2, "dead": 3}
HEADER = struct.Struct("<8sBBBBI24s32s")
TRAILER_START = struct.Struct("<8sBBBBI24sQIII")
ENTRY = struct.Struct("<32sIIIIB")
ONCE = bytes(12)  # the nonce of a key that seals one thing


class Failed(Exception):
    """What went wrong, and in which file."""


# ---- Section 1: the folder


class Folder:
    def __init__(self, path):
        self.path = path
        told = read_json(path / "saveos.json")
        if told.get("format") != "saveos-repository" or told.get("version") != 1:
            raise Failed(f"{path}/saveos.json: not a SaveOS repository of version 1")
        self.id = unhex(told.get("repository"), 16, path / "saveos.json")

    def records(self, folder):
        return sorted(path for path in (self.path / folder).glob("*") if path.suffix != ".leases")

    def packs(self):
        return sorted((self.path / "packs").glob("*/*"))

    def slots(self):
        return sorted((self.path / "keys").glob("*"))


# ---- Section 2: keys


def root_key(folder, options):
    """Tries the secret on every slot of its kind. A commitment that differs says: not this slot."""
    if options.words_file:
        kind, given = "words", entropy(options.words_file)
    elif options.key_file:
        kind, given = "device", unhex(options.key_file.read_text().strip(), 32, options.key_file)
    elif options.escrow_file:
        kind, given = "escrow", unhex(options.escrow_file.read_text().strip(), 32, options.escrow_file)
    elif "SAVEOS_PASSPHRASE" in os.environ:
        kind, given = "passphrase", os.environb[b"SAVEOS_PASSPHRASE"]
    else:
        raise Failed("no secret: set SAVEOS_PASSPHRASE or name a --words-file, --key-file or --escrow-file")
    for path in folder.slots():
        try:
            slot = read_slot(path)
            opened = open_slot(folder, path, slot, given) if slot["kind"] == kind else None
        except Failed as cause:
            print(f"reader: passing over {cause}", file=sys.stderr)
            continue
        if opened:
            return opened
    raise Failed(f"{folder.path}/keys: no slot of kind {kind} opens with this secret")


def read_slot(path):
    slot = read_json(path)
    if slot.get("version") != 1 or not re.fullmatch("[0-9a-f]{16}", path.stem) or slot.get("slot") != path.stem:
        raise Failed(f"{path}: not a key slot of version 1 with this name")
    if slot.get("kind") not in ("passphrase", "words", "device", "escrow"):
        raise Failed(f"{path}: unknown kind {slot.get('kind')!r}")
    for field, length in (("salt", 32), ("commitment", 32), ("wrapped", 48)):
        slot[field] = unhex(slot.get(field), length, path)
    return slot


def open_slot(folder, path, slot, given):
    """The root key, or None when the secret is another slot's."""
    secret, kind = given, slot["kind"].encode()
    if kind == b"passphrase":
        cost = [slot.get(field) for field in ("memory_kib", "passes", "lanes")]
        if not all(type(n) is int and 1 <= n <= most for n, most in zip(cost, (MIB, 16, 16))):
            raise Failed(f"{path}: Argon2id parameters {cost} are out of bounds")
        memory, passes, lanes = cost
        secret = argon2.low_level.hash_secret_raw(
            given, slot["salt"], passes, memory, lanes, 32, argon2.low_level.Type.ID, version=0x13)
    if kind == b"escrow":
        private, ephemeral = X25519PrivateKey.from_private_bytes(given), unhex(slot.get("ephemeral"), 32, path)
        public = private.public_key().public_bytes_raw()
        if public != unhex(slot.get("escrow"), 32, path):
            return None
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        except ValueError:
            raise Failed(f"{path}: the ephemeral key is not a public key") from None
        secret = derive(shared + ephemeral + public, None, b"saveos/1 escrow", 32)
    key, commitment = halves(derive(secret, slot["salt"], b"saveos/1 slot" + kind, 64))
    if commitment != slot["commitment"]:
        return None
    return unseal(AESGCM(key), ONCE, slot["wrapped"], folder.id + kind + path.stem.encode(), path)


def entropy(path):
    """The 32 bytes that 24 BIP-39 words spell; the last byte of the 264 bits is their checksum.

    The list beside this file is the English one of BIP-39, with SHA-256
    2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda.
    """
    listed = (Path(__file__).parent / "bip39_english.txt").read_text().split()
    words = re.findall("[a-z]+", path.read_text().lower())  # numbers between them are for people
    if len(words) != 24 or not set(words) <= set(listed):
        raise Failed(f"{path}: not 24 words of the BIP-39 English list")
    bits = 0
    for word in words:
        bits = bits << 11 | listed.index(word)
    spelt = bits.to_bytes(33, "big")
    if hashlib.sha256(spelt[:32]).digest()[0] != spelt[32]:
        raise Failed(f"{path}: the checksum of the words is wrong")
    return spelt[:32]


def derive(ikm, salt, info, length):
    return HKDF(SHA256(), length, salt, info).derive(ikm)


def halves(both):
    return both[:32], both[32:]


def unseal(cipher, nonce, sealed, aad, what):
    try:
        return cipher.decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise Failed(f"{what}: the seal is broken") from None


# ---- Sections 3 and 4: chunks and packs


@dataclass
class Trailer:
    version: int
    suite: int
    kind: int
    parity: int
    epoch: int
    pack: bytes
    body: int  # length of header and body
    table: int
    count: int
    digests: list
    length: int

    @classmethod
    def parse(cls, raw, path):
        """Of the copy that ends where `raw` ends."""
        if len(raw) < TRAILER_START.size + 44 or raw[-8:] != b"SVOSTEND":
            raise Failed(f"{path}: no trailer at its end")
        length = int.from_bytes(raw[-12:-8], "little")
        if not TRAILER_START.size + 44 <= length <= len(raw):
            raise Failed(f"{path}: the trailer's length is wrong")
        raw = raw[-length:]
        if blake3(raw[:-44]).digest() != raw[-44:-12]:
            raise Failed(f"{path}: the trailer's hash is wrong")
        magic, *told, count, n = TRAILER_START.unpack_from(raw)
        if magic != b"SVOSTRLR" or length != TRAILER_START.size + 32 * n + 44:
            raise Failed(f"{path}: the trailer contradicts its length")
        at = TRAILER_START.size
        return cls(*told, count, [raw[at + 32 * i : at + 32 * i + 32] for i in range(n)], length)


class Pack:
    """Header, trailer and place of one pack: what needs no key."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.header = file.read(HEADER.size)
            self.size = file.seek(0, os.SEEK_END)
            self.trailer, trailer_end = self.last_trailer(file)
        told = self.trailer
        known = told.version == 1 and told.suite in SUITES and told.kind in (DATA, METADATA) and told.parity == 0
        if len(self.header) < HEADER.size or not known:
            raise Failed(f"{path}: not a pack this reader knows")
        self.fixed, self.commitment = self.header[:-32], self.header[-32:]
        if self.fixed != b"SVOSPACK" + struct.pack(
            "<BBBBI24s", told.version, told.suite, told.kind, told.parity, told.epoch, told.pack):
            raise Failed(f"{path}: header and trailer differ")
        if told.pack.hex() != path.name or path.name[:2] != path.parent.name:
            raise Failed(f"{path}: the pack inside has the id {told.pack.hex()}")
        if told.body < HEADER.size or trailer_end - told.body - told.table not in (told.length, 2 * told.length):
            raise Failed(f"{path}: lengths in the trailer contradict the file's {self.size} bytes")
        if told.table != 49 * told.count + 16 or len(told.digests) != -(-(told.body + told.table) // MIB):
            raise Failed(f"{path}: counts in the trailer contradict its lengths")

    def last_trailer(self, file):
        """The last copy, or the first when that one is damaged; and where in the file it ends."""
        before = max(0, self.size - LARGEST_TRAILERS)
        tail = self.read_at(file, before, LARGEST_TRAILERS)
        end, first_cause = len(tail), None
        while end >= 0:
            try:
                return Trailer.parse(tail[:end], self.path), before + end
            except Failed as cause:
                first_cause = first_cause or cause
                found = tail.rfind(b"SVOSTEND", 0, max(0, end - 1))
                end = found + 8 if found >= 0 else -1
        raise first_cause

    def read(self, offset, length):
        with open(self.path, "rb") as file:
            return self.read_at(file, offset, length)

    @staticmethod
    def read_at(file, offset, length):
        file.seek(offset)
        return file.read(length)

    def info(self):
        return bytes([self.trailer.suite, self.trailer.kind])

    def scrub(self):
        """Every digest, and both copies of the trailer."""
        told = self.trailer
        with open(self.path, "rb") as file:
            left = told.body + told.table
            for number, digest in enumerate(told.digests):
                if blake3(file.read(min(MIB, left))).digest() != digest:
                    yield f"{self.path}: MiB {number} is damaged"
                left -= min(MIB, left)
            first, second = file.read(told.length), file.read()
            if first != second:
                yield f"{self.path}: the two copies of the trailer differ"


class OpenPack:
    """A pack with its key: its table, and its chunks."""

    def __init__(self, pack, repository, keys):
        self.pack, self.repository, told = pack, repository, pack.trailer
        ikm = keys.get((told.kind, told.epoch))
        if not ikm:
            raise Failed(f"{pack.path}: no key for epoch {told.epoch}")
        key, commitment = halves(derive(ikm, told.pack, b"saveos/1 pack" + pack.info(), 64))
        if commitment != pack.commitment:
            raise Failed(f"{pack.path}: the key commitment differs")
        self.cipher = SUITES[told.suite](key)
        table_key = derive(ikm, told.pack, b"saveos/1 table" + pack.info(), 32)
        aad = repository + told.pack + told.count.to_bytes(4, "little")
        sealed = pack.read(told.body, told.table)
        table = unseal(SUITES[told.suite](table_key), ONCE, sealed, aad, f"{pack.path}: table")
        self.entries = list(ENTRY.iter_unpack(table))
        self.check_table()

    def check_table(self):
        path, told = self.pack.path, self.pack.trailer
        ids = [entry[0] for entry in self.entries]
        if ids != sorted(set(ids)) or len({entry[1] for entry in self.entries}) != len(ids):
            raise Failed(f"{path}: ids of the table are out of order, or a slot repeats")
        end = HEADER.size
        for _, _, offset, stored, plain, codec in sorted(self.entries, key=lambda entry: entry[2]):
            if offset != end or codec > 1 or not 1 <= plain <= LARGEST_CHUNK[told.kind]:
                raise Failed(f"{path}: a table entry is impossible (offset {offset}, plain {plain}, codec {codec})")
            end = offset + stored
        if end != told.body:
            raise Failed(f"{path}: the table's chunks end at {end}, the body at {told.body}")

    def chunk(self, entry, id_key):
        chunk_id, slot, offset, stored, plain, codec = entry
        what = f"{self.pack.path}: chunk {chunk_id.hex()}"
        aad = self.repository + self.pack.trailer.pack + struct.pack("<I32sIB", slot, chunk_id, plain, codec)
        raw = unseal(self.cipher, struct.pack("<Q4x", slot), self.pack.read(offset, stored), aad, what)
        if codec == 1:
            raw = decompress(raw, plain, what)
        if len(raw) != plain or blake3(raw, key=id_key).digest() != chunk_id:
            raise Failed(f"{what} does not hold what its id says")
        return raw


def decompress(raw, plain, what):
    try:
        if zstandard.frame_content_size(raw) not in (-1, plain):
            raise Failed(f"{what} promises another length than the table")
        return zstandard.ZstdDecompressor().decompress(raw, max_output_size=plain, allow_extra_data=False)
    except zstandard.ZstdError as cause:
        raise Failed(f"{what}: {cause}") from None


# ---- All of them together, and section 5: records


class Repository:
    def __init__(self, folder, root):
        self.folder = folder
        self.id_key = derive(root, folder.id, b"saveos/1 chunk id", 32)
        self.record_key = derive(root, folder.id, b"saveos/1 record", 32)
        self.pack_keys = {
            (kind, 0): derive(root, folder.id, info + bytes(4), 32)
            for kind, info in ((DATA, b"saveos/1 data"), (METADATA, b"saveos/1 metadata"))
        }
        self.cached_chunk = functools.lru_cache(256)(self.chunk)

    @functools.cached_property
    def places(self):
        """(kind, chunk id) to all the places that hold it."""
        places = {}
        for path in self.folder.packs():
            try:
                pack = OpenPack(Pack(path), self.folder.id, self.pack_keys)
            except Failed as cause:  # Others may hold its chunks; if none does, the chunk's error follows.
                print(f"reader: passing over {cause}", file=sys.stderr)
                continue
            for entry in pack.entries:
                places.setdefault((pack.pack.trailer.kind, entry[0]), []).append((pack, entry))
        return places

    def chunk(self, kind, chunk_id):
        """From the first place that proves it."""
        causes = []
        for pack, entry in self.places.get((kind, chunk_id), []):
            try:
                return pack.chunk(entry, self.id_key)
            except Failed as cause:
                causes.append(str(cause))
        raise Failed("; ".join(causes) or f"{self.folder.path}/packs: no readable pack holds chunk {chunk_id.hex()}")

    def record(self, path):
        kind, raw = RECORDS[path.parent.name], read_record(path)
        if raw[:12] != b"SVOSRECD" + bytes([1, kind, 0, 0]):
            raise Failed(f"{path}: not a record of kind {kind}, version 1")
        key, commitment = halves(derive(self.record_key, raw[12:36], b"saveos/1 record" + bytes([kind]), 64))
        if commitment != raw[36:68]:
            raise Failed(f"{path}: the key commitment differs")
        return parse_json(unseal(AESGCM(key), ONCE, raw[68:], raw[:68] + self.folder.id, path), path)


def read_record(path):
    if path.stat().st_size > LARGEST_RECORD:
        raise Failed(f"{path}: larger than a record may be")
    raw = path.read_bytes()
    if blake3(raw).hexdigest() != path.name:
        raise Failed(f"{path}: the name is not the hash of its bytes")
    return raw


def read_json(path):
    return parse_json(path.read_bytes(), path)


def parse_json(raw, path):
    try:
        told = json.loads(raw)
    except ValueError as cause:
        raise Failed(f"{path}: {cause}") from None
    if not isinstance(told, dict):
        raise Failed(f"{path}: not a JSON object")
    return told


def unhex(text, length, path):
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{%d}" % (2 * length), text):
        raise Failed(f"{path}: expected {2 * length} hex digits")
    return bytes.fromhex(text)
