#!/bin/sh
# Makes the disk of a new box: A holds the system, B nothing, config and data are empty.
# usage: disk.sh MACHINE SLOT-FOLDER BOOT-FOLDER BOOTCTL SECONDS-SINCE-1970 DISK
set -eu
machine=$1 slot=$2 boot=$3 bootctl=$4 date=$5 disk=$6
images=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../qemu/machine.env
. "$images/$machine/machine.env"
export SOURCE_DATE_EPOCH="$date" E2FSPROGS_FAKE_TIME="$date"
work=$slot/disk
rm -rf "$work"
mkdir -p "$work/input" "$work/root" "$work/boot"
# What the machine's U-Boot does not set comes first.
cat "$images/$machine/boot.cmd" "$images/boot/boot.cmd" >"$work/boot.cmd" 2>/dev/null || cp "$images/boot/boot.cmd" "$work/boot.cmd"
mkimage -q -A arm64 -O linux -T script -C none -n SaveOS -d "$work/boot.cmd" "$work/boot/boot.scr" >/dev/null
for folder in "$images/$machine/boot" "$boot"; do [ ! -d "$folder" ] || cp -r "$folder/." "$work/boot/"; done
find "$work/boot" -exec touch -d "@$date" {} +
mkfs.vfat -C -n BOOT -i 5a7e0501 --invariant "$work/input/boot.vfat" "$SAVEOS_BOOT_SIZE" >/dev/null
for file in "$work"/boot/*; do mcopy -p -m -i "$work/input/boot.vfat" "$file" ::; done
truncate -s 4M "$work/input/bootstate.img"
"$bootctl" --file "$work/input/bootstate.img" init
extended() { # NAME SIZE UUID
	truncate -s "$2" "$work/input/$1.ext4"
	mke2fs -q -t ext4 -L "$1" -U "$3" -E hash_seed="$3",lazy_itable_init=0,root_owner=0:0 -m 0 "$work/input/$1.ext4"
}
extended config 32M 5a7e0510-0000-4000-8000-000000000007
extended data 256M 5a7e0510-0000-4000-8000-000000000008
ln -sf "$slot/kernel.img" "$slot/root.img" "$work/input/"
genimage --loglevel 1 --rootpath "$work/root" --tmppath "$work/tmp" --inputpath "$work/input" --outputpath "$work/output" \
	--config "$images/$machine/genimage.cfg"
mv "$work/output/disk.img" "$disk"
rm -rf "$work"
