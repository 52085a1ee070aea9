#!/usr/bin/env python3
"""Opens a SaveOS repository from docs/FORMAT.md alone: `store.py` reads its sections 1 to 5, `layout.py` section 6.

A backup is worth what can still be read when its program is gone. This reader shares no line with the engine, and the
tests run it on what the engine wrote: a change of the format that the document does not tell fails here first.

    reader.py REPO snapshots | scrub | image SNAPSHOT OUT | file SNAPSHOT PARTITION PATH OUT

The secret is SAVEOS_PASSPHRASE, or a file; `scrub` needs none. SNAPSHOT is an id, the start of one, or `latest`;
partition 0 is the whole disk. Exit codes: 0 complete, 1 failed, 2 usage, 3 there are holes (printed).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import layout
from store import BROKEN, RECORDS, Failed, Pack, Repository, files, read_record, read_slot, root_key


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("words", "key", "escrow"):
        parser.add_argument(f"--{kind}-file", type=Path)
    parser.add_argument("repo", type=Path)
    parser.add_argument("command", choices=["scrub", *COMMANDS])
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    try:
        if options.command == "scrub":
            return scrub(options.repo)
        repository = Repository(options.repo, root_key(options.repo, options))
        return COMMANDS[options.command](repository, *options.arguments)
    except (*BROKEN, OSError) as cause:
        print(f"reader: {options.repo}: {cause!r}", file=sys.stderr)
        return 1


def snapshots(repository):
    for snapshot in layout.snapshots(repository):
        told = snapshot.told
        print(snapshot.id, told["time"], told["state"], told["sequence"], snapshot.size, told["name"], sep="\t")
    return 0


def image(repository, wanted, out):
    """`out` has its name only when all its bytes were proved."""
    unfinished = Path(f"{out}.unfinished")
    with open(unfinished, "wb") as opened:
        holes = layout.find(repository, wanted).copy(opened)
    unfinished.replace(out)
    for at, size, cause in holes:
        print(f"hole: {size} bytes of the piece at {at}: {layout.HOLE_CAUSES[cause]}", file=sys.stderr)
    return 3 if holes else 0


def file(repository, wanted, partition, path, out):
    with tempfile.TemporaryDirectory(prefix="saveos-reader-") as folder:
        disk, found = Path(folder) / "disk", Path(folder) / "file"
        code = image(repository, wanted, disk)
        if int(partition):
            disk = cut_out(disk, partition)
        with open(disk, "rb") as opened:
            head = opened.read(4096)
        if head[1080:1082] == b"\x53\xef":
            tool("debugfs", "-R", f'dump "{path}" {found}', disk)  # leaves with 0 in any case
        elif head[3:11] == b"NTFS    ":
            found.write_bytes(tool("ntfscat", disk, path))
        else:
            tool("mcopy", "-n", "-i", disk, "::" + path, found)
        Path(out).write_bytes(found.read_bytes())
        return code


COMMANDS = {"snapshots": snapshots, "image": image, "file": file}


def scrub(repo):
    """Says everything that is wrong, not only the first thing."""
    checks = {"packs/*/*": lambda path: Pack(path).scrub(), "keys/*": read_slot}
    checks |= {f"{kind}/*": read_record for kind in RECORDS}
    wrong = 0
    for check, path in [(check, path) for pattern, check in checks.items() for path in files(repo, pattern)]:
        try:
            check(path)
        except BROKEN as cause:
            wrong += 1
            print(f"{path}: {cause!r}")
    return 1 if wrong else 0


def cut_out(disk, number):
    start, count = (int(n) for n in tool("partx", "-g", "-o", "START,SECTORS", "--nr", number, disk).split())
    tool("dd", f"if={disk}", f"of={disk}.part", "bs=512", f"skip={start}", f"count={count}", "conv=sparse")
    return f"{disk}.part"


def tool(*words):
    done = subprocess.run(words, capture_output=True)
    if done.returncode:
        raise Failed(f"{words[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
