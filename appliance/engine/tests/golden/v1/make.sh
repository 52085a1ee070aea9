#!/bin/sh
# Makes a golden repository, with the engine named by SAVEOS, in the folder that the argument names. Run it only for what
# no folder holds yet: the point of v1 is that it stays. The images come out the same each time; ids, salts and keys do not.
#
#   SAVEOS=… v1/make.sh v1
#   SAVEOS=… SAVEOS_SUITE=chacha20-poly1305 v1/make.sh v1-chacha
#
#   image   1 MiB gap, 1: FAT 4 MiB, 2: ext4 12 MiB, 1 MiB gap; GPT
#   first   a few files in both
#   second  16 bytes changed inside a file of each (patch runs), one file added to each
set -eu

saveos=${SAVEOS:?the engine to make it with}
here=$(cd "${1:?the folder to make it in}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export SAVEOS_PASSPHRASE=golden TZ=UTC SOURCE_DATE_EPOCH=1700000000 E2FSPROGS_FAKE_TIME=1700000000 MTOOLS_SKIP_CHECK=1

mib=1048576
fat=image@@$mib

files() {
    mkdir files
    seq 1 9000 | sed 's/$/ lines of plain text/' > files/lines.txt
    seq 1 20000 | sed 's/$/ and some more of them/' > files/long.txt
    printf 'A small file.\n' > files/small.txt
    touch -d @1700000000 files/*
}

disk() {
    truncate -s 18M image
    sfdisk -q image <<-TABLE
	label: gpt
	label-id: 5A5A0000-0000-4000-8000-000000000001
	start=2048, size=8192, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, uuid=5A5A0000-0000-4000-8000-000000000002
	start=10240, size=24576, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=5A5A0000-0000-4000-8000-000000000003
	TABLE
    truncate -s 4M part
    mkfs.vfat -i 5a5a0001 -n GOLDEN --invariant part > part.log
    dd if=part of=image bs=$mib seek=1 conv=notrunc status=none
    mcopy -m -i "$fat" files/lines.txt files/small.txt ::/
    rm part
    truncate -s 12M part
    uuid=5a5a0000-0000-4000-8000-000000000004
    mke2fs -q -t ext4 -b 1024 -N 64 -J size=1 -U $uuid -E "hash_seed=$uuid,lazy_itable_init=0,nodiscard" part
    for file in lines long small; do debugfs_write $file.txt; done
    dd if=part of=image bs=$mib seek=5 conv=notrunc status=none
}

debugfs_write() {
    debugfs -w -R "write files/$1 $1" part > part.log 2>&1
}

change() {
    for text in '4500 lines of pl' '15000 and some m'; do
        for at in $(grep -obUa "^$text" image | cut -d: -f1); do
            printf 'changed in place' | dd of=image bs=1 seek="$at" conv=notrunc status=none
        done
    done
    printf 'Only the second snapshot has me.\n' > files/second.txt
    touch -d @1700000000 files/second.txt
    mcopy -m -i "$fat" files/second.txt ::/
    dd if=image of=part bs=$mib skip=5 count=12 status=none
    debugfs_write second.txt
    dd if=part of=image bs=$mib seek=5 conv=notrunc status=none
}

files
disk
"$saveos" init repository | grep -E '^ +[0-9]+ ' | grep -oE '[a-z]+' > words
test "$(wc -l < words)" = 24
tr '\n' ' ' < words > words.txt
"$saveos" key add --repo repository --label golden --device device.key
public=$("$saveos" key escrow new escrow.key | grep -oE '[0-9a-f]{64}')
"$saveos" key add --repo repository --label golden --escrow "$public"

: > told
for turn in first second; do
    test $turn = first || change
    "$saveos" backup image --repo repository --name golden --tag $turn
    "$saveos" restore -q --repo repository latest restored
    cmp image restored
    rm restored
    mcopy -n -i "$fat" ::/lines.txt lines.fat
    debugfs -R "dump lines.txt lines.ext" part > part.log 2>&1
    # shellcheck disable=SC2046 # three words
    echo "$turn" $(sha256sum image lines.fat lines.ext | cut -c1-64) >> told
done

python3 - repository > expected.json <<'PYTHON'
import json, os, sys
# A snapshot's record is read by the tests; here its order is told by time of writing.
folder = sys.argv[1] + "/snapshots"
ids = sorted(os.listdir(folder), key=lambda name: os.stat(f"{folder}/{name}").st_mtime_ns)
expected = []
for name, line in zip(ids, open("told"), strict=True):
    tag, image, fat, ext = line.split()
    files = [{"partition": n, "path": "/lines.txt", "sha256": sha} for n, sha in ((1, fat), (2, ext))]
    expected.append({"snapshot": name, "tag": tag, "sha256": image, "files": files})
print(json.dumps({"snapshots": expected}, indent=2))
PYTHON

# The folders are kept, empty ones too: engines may expect them. The index, the leases and the reserve are no part of
# what is stored.
find repository ! -path '*/index/*' ! -path '*/locks/*' ! -name reserve | LC_ALL=C sort |
    tar -cf repository.tar --no-recursion --owner=0 --group=0 --numeric-owner --mtime=@1700000000 \
        --mode=u=rwX,go=rX -T -
cp repository.tar expected.json words.txt device.key escrow.key "$here/"
chmod 644 "$here"/*.key
ls -l "$here"
