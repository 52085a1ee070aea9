#!/usr/bin/env python3
"""Opens a SaveOS repository from docs/FORMAT.md alone.

A backup is worth what can still be read when its program is gone. This reader shares no line with the engine: whoever
has the document, a secret and an afternoon can write it again. The tests run it against repositories the engine wrote,
so the two keep each other honest, and a change of the format that the document does not tell fails here first.
Here are the commands; `store.py` reads sections 1 to 5 of the document, `layout.py` section 6.

    reader.py REPO snapshots                               list them
    reader.py REPO image SNAPSHOT OUT                      the whole disk, as a sparse file
    reader.py REPO bytes SNAPSHOT OFFSET LENGTH OUT        any range of it
    reader.py REPO file SNAPSHOT PARTITION PATH OUT        one file; PARTITION counts from 1, 0 is the whole disk
    reader.py REPO scrub                                   check all that needs no key

The secret is SAVEOS_PASSPHRASE, or a file: --words-file, --key-file, --escrow-file. SNAPSHOT is an id, the start of
one, or `latest`, by the time it names. Every byte that is written out was proved: seals, commitments, names, chunk ids
and piece ids. The reader never writes to the repository, and ignores index/ and locks/. It does not parse filesystems:
`file` hands the partition to debugfs, mcopy or ntfscat. Exit codes: 0 complete, 1 failed, 2 usage, 3 the disk, range or
partition has holes (printed).
"""

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import layout
from store import KIB, MIB, RECORDS, Failed, Folder, Pack, Repository, read_record, read_slot, root_key


def main():
    options = arguments()
    try:
        folder = Folder(options.repo)
        if options.command == "scrub":
            return scrub(folder)
        repository = Repository(folder, root_key(folder, options))
        if options.command == "snapshots":
            return list_snapshots(repository)
        snapshot = layout.find(repository, options.snapshot)
        if options.command == "file":
            return extract_file(snapshot, options.partition, options.path, options.out)
        start, length = (options.offset, options.length) if options.command == "bytes" else (0, snapshot.size)
        return finish(options.out, lambda out: snapshot.copy(start, length, out))
    except (Failed, OSError) as cause:
        print(f"reader: {cause}", file=sys.stderr)
        return 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", type=Path)
    for kind in ("words", "key", "escrow"):
        parser.add_argument(f"--{kind}-file", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, fields in {
        "snapshots": {},
        "scrub": {},
        "image": {"snapshot": str, "out": Path},
        "bytes": {"snapshot": str, "offset": int, "length": int, "out": Path},
        "file": {"snapshot": str, "partition": int, "path": str, "out": Path},
    }.items():
        command = commands.add_parser(name)
        for field, kind in fields.items():
            command.add_argument(field, type=kind)
    return parser.parse_args()


def list_snapshots(repository):
    for snapshot in layout.snapshots(repository):
        told = snapshot.told
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(told["time"]))
        print(snapshot.id, when, told["state"], told["writer"], told["sequence"], snapshot.size, told["name"], sep="\t")
    for folder in ("checkpoints", "dead"):
        for path in repository.folder.records(folder):
            repository.record(path)
    return 0


def finish(out, write):
    """Gives `out` its name only when all its bytes were proved. Prints the holes in it."""
    unfinished = out.with_name(out.name + ".unfinished")
    try:
        with open(unfinished, "w+b") as file:
            holes = write(file)
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)
    for at, length, cause in holes:
        print(f"hole: {length} bytes at {at}: {layout.HOLE_CAUSES[cause]}", file=sys.stderr)
    return 3 if holes else 0


def scrub(folder):
    """Needs no key. Says everything that is wrong, not only the first thing."""
    wrong = []
    for path in folder.packs():
        try:
            wrong += Pack(path).scrub()
        except Failed as cause:
            wrong.append(str(cause))
    checks = [(read_slot, path) for path in folder.slots()]
    checks += [(read_record, path) for name in RECORDS for path in folder.records(name)]
    for check, path in checks:
        try:
            check(path)
        except Failed as cause:
            wrong.append(str(cause))
    for line in wrong:
        print(line)
    print(f"{len(folder.packs())} packs, {len(checks)} slots and records, {len(wrong)} wrong")
    return 1 if wrong else 0


def extract_file(snapshot, partition, path, out):
    start, length = partition_place(snapshot, partition)
    with tempfile.TemporaryDirectory(prefix="saveos-reader-") as folder:
        image, found = Path(folder) / "partition", Path(folder) / "file"
        code = finish(image, lambda file: snapshot.copy(start, length, file))
        with open(image, "rb") as file:
            head = file.read(4 * KIB)
        if head[1080:1082] == b"\x53\xef":
            quoted = path.replace('"', '""')
            tool = ["debugfs", "-R", f'dump "{quoted}" {found}', image]
        elif head[3:11] == b"NTFS    ":
            tool = ["ntfscat", image, path]
        elif b"FAT" in (head[54:57], head[82:85]):
            tool = ["mcopy", "-n", "-i", image, "::" + path, found]
        else:
            raise Failed(f"{snapshot.path}: partition {partition} is neither ext, FAT nor NTFS")
        done = subprocess.run(tool, capture_output=True)
        if tool[0] == "ntfscat" and done.returncode == 0:
            found.write_bytes(done.stdout)
        if done.returncode or not found.exists():  # debugfs leaves with 0 in any case.
            raise Failed(f"{path} of partition {partition}: {tool[0]}: {done.stderr.decode(errors='replace').strip()}")
        out.write_bytes(found.read_bytes())
        return code


def partition_place(snapshot, number):
    if number == 0:
        return 0, snapshot.size
    sector = snapshot.told["source"]["sector_size"]
    with tempfile.TemporaryFile() as file:
        snapshot.copy(0, min(MIB, snapshot.size), file)
        head = Pack.read_at(file, 0, MIB)
    if head[sector : sector + 8] == b"EFI PART":
        table, count, size = struct.unpack_from("<QII", head, sector + 72)
        at = table * sector + (number - 1) * size
        if number <= count and at + size <= len(head) and any(head[at : at + 16]):
            first, last = struct.unpack_from("<QQ", head, at + 32)
            return first * sector, (last + 1 - first) * sector
    elif head[510:512] == b"\x55\xaa" and number <= 4:
        first, count = struct.unpack_from("<II", head, 446 + 16 * (number - 1) + 8)
        if count:
            return first * sector, count * sector
    raise Failed(f"{snapshot.path}: the disk has no partition {number}")


if __name__ == "__main__":
    sys.exit(main())
