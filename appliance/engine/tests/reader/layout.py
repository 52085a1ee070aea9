"""Section 6 of docs/FORMAT.md: a snapshot's segments say which bytes of chunks lie where on the device.

A piece is proved by its id and laid on its extents, one after the other; what no entry names stays zeros.
"""

import struct
from collections import namedtuple

from blake3 import blake3

from store import DATA, LARGEST_CHUNK, METADATA, MIB, Failed, files, require

WINDOW = 256 * MIB
HOLE_CAUSES = {1: "the source could not be read", 2: "the repository had lost the chunk"}
ROW = struct.Struct("<Q32s")
# Bytes of a chunk; zeros when there is none; a hole when there is a cause.
Run = namedtuple("Run", "length chunk offset cause", defaults=(None, 0, 0))


def snapshots(repository):
    found = [Snapshot(repository, path) for path in files(repository.path, "snapshots/*")]
    return sorted(found, key=lambda snapshot: (snapshot.told["time"], snapshot.told["sequence"]))


def find(repository, wanted):
    found = snapshots(repository)
    found = found[-1:] if wanted == "latest" else [one for one in found if one.id.startswith(wanted)]
    require(len(found) == 1, f"{repository.path}/snapshots: {len(found)} snapshots are named {wanted}")
    return found[0]


class Snapshot:
    def __init__(self, repository, path):
        self.repository, self.id, self.told = repository, path.name, repository.record(path)
        self.size = self.told["source"]["size"]

    def copy(self, out):
        """Writes the device to an empty file, as sparse as it was; returns the holes in it."""
        out.truncate(self.size)
        holes = []
        for extents, runs, piece in self.entries():
            holes += [(extents[0][0], run.length, run.cause) for run in runs if run.cause]
            raw = piece_bytes(runs, piece, self.repository) if piece else b""
            for start, length in extents if raw else []:
                out.seek(start)
                out.write(raw[:length])
                raw = raw[length:]
        return holes

    def entries(self):
        rows = b"".join(self.repository.chunk(METADATA, bytes.fromhex(one)) for one in self.told["segment_lists"])
        require(len(rows) == ROW.size * self.told["segments"], f"its lists have {len(rows)} bytes")
        rows = list(ROW.iter_unpack(rows))
        require(rows == sorted(rows, key=lambda row: row[0]), "the segment lists are out of order")
        for start, chunk_id in rows:
            yield from Segment(self.repository.chunk(METADATA, chunk_id), start, self.size).entries()


class Segment:
    def __init__(self, raw, start, size):
        self.raw, self.at, self.start, self.size = raw, 0, start, size
        require(self.u8() == 1 and self.take(8) == start.to_bytes(8, "little"), "another window than its row says")
        self.ids = [self.take(32) for _ in range(self.varint())]

    def entries(self):
        for _ in range(self.varint()):
            yield self.entry()
        require(self.at == len(self.raw), "bytes follow the last entry")

    def entry(self):
        extents, end, head = [], self.start, self.u8()
        require(head & 15 in (1, 2, 3) and head >> 4 <= 1, f"unknown class or provenance {head:#x}")
        for _ in range(self.varint()):
            step = self.varint()
            start = end + (step >> 1 ^ -(step & 1))
            end = start + self.varint()
            require(0 <= start < end <= self.size, f"an extent from {start} to {end} of {self.size}")
            extents.append((start, end - start))
        require(extents and 0 <= extents[0][0] - self.start < WINDOW, "an entry starts outside the window")
        return extents, *self.content(sum(size for _, size in extents))

    def content(self, length):
        kind, piece, runs = self.u8(), None, [Run(length)]
        if kind == 1:  # a chunk's id is that of its bytes, so the piece's is the same
            piece = self.chunk_id()
            runs = [Run(length, piece)]
        elif kind == 2:
            piece, runs = self.take(32), [self.run() for _ in range(self.varint())]
        elif kind == 3:
            self.known((1, 2, 3))  # left out by one of three rules
        elif kind:
            require(kind == 4, f"unknown content {kind}")
            runs = [Run(length, cause=self.known(HOLE_CAUSES))]
        covered = sum(run.length for run in runs)
        require(covered == length, f"{covered} bytes for extents of {length}")
        return runs, piece

    def run(self):
        kind = self.u8()
        require(kind <= 2, f"unknown run {kind}")
        chunk, offset = (self.chunk_id(), self.varint()) if kind == 0 else (None, 0)
        cause = self.known(HOLE_CAUSES) if kind == 2 else 0
        return Run(self.varint(), chunk, offset, cause=cause)

    def known(self, reasons):
        reason = self.u8()
        require(reason in reasons, f"unknown rule or cause {reason}")
        return reason

    def chunk_id(self):
        position = self.varint()
        require(position < len(self.ids), f"names chunk {position} of {len(self.ids)}")
        return self.ids[position]

    def take(self, length):
        self.at += length
        require(self.at <= len(self.raw), "ends early")
        return self.raw[self.at - length : self.at]

    def u8(self):
        return self.take(1)[0]

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 127) << shift
            if byte < 128 and value < 1 << 64:
                return value
        raise Failed("a varint is longer than 64 bits")


def piece_bytes(runs, piece, repository):
    """Zeros for its holes, too. Only pieces that fit in a chunk have an id."""
    raw = bytearray()
    for run in runs:
        require(len(raw) + run.length <= LARGEST_CHUNK[DATA], "a piece is longer than a chunk")
        chunk = repository.cached_chunk(DATA, run.chunk) if run.chunk else bytes(run.length)
        require(run.offset + run.length <= len(chunk), "a slice is longer than its chunk")
        raw += chunk[run.offset : run.offset + run.length]
    require(blake3(raw, key=repository.id_key).digest() == piece, "a piece does not hold what its id says")
    return raw
