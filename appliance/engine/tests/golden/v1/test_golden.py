#!/usr/bin/env python3
"""A repository of format 1 reads the same for ever, whichever suite sealed it.

Unpacks each repository.tar and holds what the independent reader gets out of it against expected.json: both images, one file
of each partition, under every kind of secret. Then damages copies, one byte at a time, and asks that the scrub names the
file each time, and that no damage ever yields a wrong image. Leaves with 1 on the first difference.

    python3 test_golden.py        needs ../../reader/requirements.txt, debugfs and mcopy
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent
READER = GOLDEN.parent / "reader" / "reader.py"
SUITES = {"v1": {1}, "v1-chacha": {2}}
SECRETS = {
    "passphrase": (),
    "words": ("--words-file", "words.txt"),
    "device": ("--key-file", "device.key"),
    "escrow": ("--escrow-file", "escrow.key"),
}


def main():
    same(sorted(path.parent.name for path in GOLDEN.glob("*/repository.tar")), sorted(SUITES), "golden repositories")
    for name, suites in SUITES.items():
        reads_as_it_did(GOLDEN / name, suites)


def reads_as_it_did(golden, suites):
    expected = json.loads((golden / "expected.json").read_text())["snapshots"]
    with tempfile.TemporaryDirectory(prefix="saveos-golden-") as work:
        os.chdir(work)
        with tarfile.open(golden / "repository.tar") as tar:
            tar.extractall(".", filter="data")
        for file in ("words.txt", "device.key", "escrow.key"):
            shutil.copy(golden / file, file)
        repository = Path("repository")
        same({pack.read_bytes()[9] for pack in repository.glob("packs/*/*")}, suites, "suites of the packs")
        every_secret_opens_it(repository, expected)
        for snapshot in expected:
            images_and_files_are_as_they_were(repository, snapshot)
        a_wrong_secret_is_refused(repository)
        if suites == {1}:  # what is damaged does not depend on the suite
            damage_is_found_and_named(repository, expected[-1])
            a_damaged_trailer_has_a_second_copy(repository, expected[-1])
        os.chdir(GOLDEN)
    print(f"golden {golden.name}: all as it was")


def every_secret_opens_it(repository, expected):
    for kind, secret in SECRETS.items():
        listed = [line.split("\t")[0] for line in read(repository, "snapshots", secret=secret).splitlines()]
        same(listed, [one["snapshot"] for one in expected], f"snapshots opened by the {kind}")


def images_and_files_are_as_they_were(repository, snapshot):
    name = snapshot["snapshot"]
    read(repository, "image", name, "image")
    same(digest("image"), snapshot["sha256"], f"image of {name}")
    for file in snapshot["files"]:
        read(repository, "file", name, file["partition"], file["path"], "file")
        same(digest("file"), file["sha256"], f"{file['path']} in partition {file['partition']} of {name}")


def a_wrong_secret_is_refused(repository):
    read(repository, "snapshots", passphrase="silver", code=1)
    Path("other.key").write_text("00" * 32)
    for option in ("--key-file", "--escrow-file"):
        read(repository, "snapshots", secret=[option, "other.key"], code=1)
    words = Path("words.txt").read_text().split()
    Path("swapped.txt").write_text(" ".join(words[1::-1] + words[2:]))
    read(repository, "snapshots", secret=["--words-file", "swapped.txt"], code=1)


def damage_is_found_and_named(repository, snapshot):
    read(repository, "scrub")
    chance = random.Random(1)
    for path in sorted(repository.glob("packs/*/*")) + sorted(repository.glob("snapshots/*")):
        for at in [0, path.stat().st_size - 1, chance.randrange(path.stat().st_size)]:
            damaged = copy(repository) / path.relative_to(repository)
            raw = bytearray(damaged.read_bytes())
            raw[at] ^= 1 << chance.randrange(8)
            damaged.write_bytes(raw)
            told = read("damaged", "scrub", code=1)
            same(str(damaged) in told, True, f"scrub names {path} with byte {at} damaged")
            if run("damaged", "image", snapshot["snapshot"], "image", secret=SECRETS["device"]).returncode == 0:
                same(digest("image"), snapshot["sha256"], f"image with byte {at} of {path} damaged")


def a_damaged_trailer_has_a_second_copy(repository, snapshot):
    for pack in copy(repository).glob("packs/*/*"):
        pack.write_bytes(pack.read_bytes()[:-9])
    read("damaged", "scrub", code=1)
    read("damaged", "image", snapshot["snapshot"], "image")
    same(digest("image"), snapshot["sha256"], "image when the second trailers are cut off")


def copy(repository):
    shutil.rmtree("damaged", ignore_errors=True)
    return shutil.copytree(repository, Path("damaged"))


def read(*arguments, code=0, **how):
    done = run(*arguments, **how)
    if done.returncode != code:
        command = " ".join(map(str, arguments))
        sys.exit(f"reader {command}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done.stdout


def run(repository, *arguments, secret=(), passphrase="golden"):
    command = [sys.executable, READER, *secret, repository, *arguments]
    environment = os.environ | {"SAVEOS_PASSPHRASE": passphrase}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def same(found, wanted, what):
    if found != wanted:
        sys.exit(f"{what}: {found!r:.200} is not {wanted!r:.200}")


if __name__ == "__main__":
    main()
