#!/usr/bin/env bash
# Makes the base images of the filesystem targets: as small as the mkfs tools allow, with a few files inside.
set -euo pipefail
cd "$(dirname "$0")/bases"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/content/folder/deeper"
for n in 1 2 3; do printf 'file %s\n%.0s' "$n" {1..300} > "$work/content/folder/file-$n"; done
ln -s folder/file-1 "$work/content/link"
printf 'deep' > "$work/content/folder/deeper/a file with a rather long name.txt"

truncate -s 3M "$work/ext.img"
mke2fs -q -F -t ext4 -b 1024 -I 256 -N 32 -J size=1 -O metadata_csum,64bit -U 00112233-4455-6677-8899-aabbccddeeff -d "$work/content" "$work/ext.img"
truncate -s 4M "$work/ntfs.img"
mkntfs -F -Q -q -c 512 "$work/ntfs.img" 2>/dev/null
for n in 1 2 3; do ntfscp -f "$work/ntfs.img" "$work/content/folder/file-$n" "file-$n" 2>/dev/null; done
truncate -s 256K "$work/fat.img"
mkfs.fat -F 12 -i 00112233 "$work/fat.img" >/dev/null
mcopy -s -i "$work/fat.img" "$work/content/folder" ::folder
truncate -s 2M "$work/exfat.img"
mkfs.exfat -c 4096 -b 4096 "$work/exfat.img" >/dev/null
truncate -s 128K "$work/partition_table.img"
sgdisk --set-alignment=1 -n 1:40:60 -n 2:64:100 -n 3:104:180 "$work/partition_table.img" >/dev/null
for image in ext ntfs fat exfat partition_table; do zstd -q -19 -f "$work/$image.img" -o "$image.img.zst"; done
ls -l
