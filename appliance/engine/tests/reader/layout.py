"""Section 6 of docs/FORMAT.md: a snapshot's segments say which bytes of chunks lie where on the device.

A piece is laid out in parts and proved by its id while it goes; what no entry names stays zeros.
"""

import struct
from dataclasses import dataclass

from blake3 import blake3

from store import DATA, METADATA, MIB, Failed

WINDOW = 256 * MIB
HOLE_CAUSES = {1: "the source could not be read", 2: "the repository had lost the chunk"}
RULES = {1: "swap pages", 2: "pagefile.sys", 3: "swapfile.sys"}
ROW = struct.Struct("<Q32s")


def snapshots(repository):
    found = [Snapshot(repository, path) for path in repository.folder.records("snapshots")]
    return sorted(found, key=lambda snapshot: (snapshot.told["time"], snapshot.told["sequence"]))


def find(repository, wanted):
    found = snapshots(repository)
    found = found[-1:] if wanted == "latest" else [one for one in found if one.id.startswith(wanted)]
    if len(found) != 1:
        raise Failed(f"{repository.folder.path}/snapshots: {len(found)} snapshots are named {wanted}")
    return found[0]


class Snapshot:
    def __init__(self, repository, path):
        self.repository, self.path, self.id = repository, path, path.name
        self.told = repository.record(path)
        self.size = self.told["source"]["size"]

    def copy(self, start, length, out):
        """Writes a range of the device to an empty file, as sparse as it was; returns the holes in it."""
        if start < 0 or length < 0 or start + length > self.size:
            raise Failed(f"{self.path}: the device has {self.size} bytes, asked for {length} at {start}")
        out.truncate(length)
        holes = []
        for entry in self.entries():
            if not any(at < start + length and at + size > start for at, size in entry.extents):
                continue
            for at, part, cause in spread(entry.parts(self.repository), entry.extents):
                first, last = max(at, start), min(at + len(part), start + length)
                if first >= last:
                    continue
                if cause:
                    holes.append((first, last - first, cause))
                part = part[first - at : last - at]
                if part.count(0) != len(part):
                    out.seek(first - start)
                    out.write(part)
        return holes

    def entries(self):
        """All of them, also for a small range: only a piece's first extent is bound to its segment's window."""
        rows = b"".join(self.metadata(bytes.fromhex(one)) for one in self.told["segment_lists"])
        if len(rows) != ROW.size * self.told["segments"]:
            raise Failed(f"{self.path}: names {self.told['segments']} segments, its lists have {len(rows)} bytes")
        rows = list(ROW.iter_unpack(rows))
        if rows != sorted(rows, key=lambda row: row[0]):
            raise Failed(f"{self.path}: the segment lists are out of order")
        for start, chunk_id in rows:
            what = f"{self.path}: segment {chunk_id.hex()}"
            yield from Segment(self.metadata(chunk_id), start, self.size, what).entries()

    def metadata(self, chunk_id):
        return self.repository.chunk(METADATA, chunk_id)


class Segment:
    def __init__(self, raw, start, size, what):
        self.cursor, self.start, self.size, self.what = Cursor(raw, what), start, size, what
        if self.cursor.u8() != 1 or self.cursor.u64() != start:
            raise Failed(f"{what}: another version or window than its row says")
        self.ids = [self.cursor.take(32) for _ in range(self.cursor.varint())]

    def entries(self):
        for _ in range(self.cursor.varint()):
            yield self.entry()
        if self.cursor.left():
            raise Failed(f"{self.what}: {self.cursor.left()} bytes follow the last entry")

    def entry(self):
        cursor, extents, end = self.cursor, [], self.start
        head = cursor.u8()
        if head & 15 not in (1, 2, 3) or head >> 4 > 1:
            raise Failed(f"{self.what}: unknown class or provenance {head:#x}")
        for _ in range(cursor.varint()):
            start = end + cursor.zigzag()
            end = start + cursor.varint()
            if not 0 <= start < end <= self.size:
                raise Failed(f"{self.what}: an extent from {start} to {end} on a device of {self.size} bytes")
            extents.append((start, end - start))
        if not extents or not self.start <= extents[0][0] < self.start + WINDOW:
            raise Failed(f"{self.what}: an entry starts outside the window")
        length = sum(size for _, size in extents)
        content, piece, runs = cursor.u8(), None, []
        if content == 0:
            runs = [Run(length)]
        elif content == 1:
            runs = [Run(length, self.chunk_id(), 0, whole=True)]
        elif content == 2:
            piece, runs = cursor.take(32), [self.run() for _ in range(cursor.varint())]
        elif content == 3:
            self.known(RULES)
            runs = [Run(length)]
        elif content == 4:
            runs = [Run(length, cause=self.known(HOLE_CAUSES))]
        if sum(run.length for run in runs) != length:
            raise Failed(f"{self.what}: content {content} is not as long as its {length} bytes of extents")
        return Entry(extents, runs, piece, self.what)

    def run(self):
        match self.cursor.u8():
            case 0:
                chunk_id, offset = self.chunk_id(), self.cursor.varint()
                return Run(self.cursor.varint(), chunk_id, offset)
            case 1:
                return Run(self.cursor.varint())
            case 2:
                cause = self.known(HOLE_CAUSES)
                return Run(self.cursor.varint(), cause=cause)
            case other:
                raise Failed(f"{self.what}: unknown run {other}")

    def known(self, reasons):
        reason = self.cursor.u8()
        if reason not in reasons:
            raise Failed(f"{self.what}: unknown rule or cause {reason}")
        return reason

    def chunk_id(self):
        position = self.cursor.varint()
        if position >= len(self.ids):
            raise Failed(f"{self.what}: names chunk {position} of {len(self.ids)}")
        return self.ids[position]


@dataclass
class Run:
    """Bytes of a chunk; zeros when there is none; a hole when there is a cause."""

    length: int
    chunk: bytes | None = None
    offset: int = 0
    whole: bool = False
    cause: int = 0


@dataclass
class Entry:
    extents: list
    runs: list
    piece: bytes | None
    what: str

    def parts(self, repository):
        """The piece in parts of at most 1 MiB, each with the cause of its hole or 0; proves the piece id."""
        proof = blake3(key=repository.id_key)
        for run in self.runs:
            for part in self.run_parts(run, repository):
                if self.piece:
                    proof.update(part)
                yield part, run.cause
        if self.piece and proof.digest() != self.piece:
            raise Failed(f"{self.what}: the piece {self.piece.hex()} does not hold what its id says")

    def run_parts(self, run, repository):
        if run.chunk:
            chunk = repository.cached_chunk(DATA, run.chunk)
            if run.offset + run.length > len(chunk) or (run.whole and run.length != len(chunk)):
                raise Failed(f"{self.what}: a slice of chunk {run.chunk.hex()} is longer or shorter than the chunk")
            yield chunk[run.offset : run.offset + run.length]
            return
        for at in range(0, run.length, MIB):
            yield bytes(min(MIB, run.length - at))


def spread(parts, extents):
    """Lays the parts of a piece on its extents, one after the other."""
    extents = iter(extents)
    at, room = next(extents)
    for part, cause in parts:
        while part:
            if not room:
                at, room = next(extents)
            yield at, part[:room], cause
            taken = min(room, len(part))
            at, room, part = at + taken, room - taken, part[taken:]


class Cursor:
    def __init__(self, raw, what):
        self.raw, self.at, self.what = raw, 0, what

    def left(self):
        return len(self.raw) - self.at

    def take(self, length):
        if length > self.left():
            raise Failed(f"{self.what}: ends early")
        self.at += length
        return self.raw[self.at - length : self.at]

    def u8(self):
        return self.take(1)[0]

    def u64(self):
        return int.from_bytes(self.take(8), "little")

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 127) << shift
            if byte < 128 and value < 1 << 64:
                return value
        raise Failed(f"{self.what}: a varint is longer than 64 bits")

    def zigzag(self):
        value = self.varint()
        return value >> 1 ^ -(value & 1)
