#!/bin/sh
# Makes a RAUC bundle of a slot, in the verity format, signed.
# usage: bundle.sh COMPATIBLE VERSION SLOT-FOLDER CERTIFICATE KEY KEYRING BUNDLE
set -eu
compatible=$1 version=$2 slot=$3 certificate=$4 key=$5 keyring=$6 bundle=$7
work=$slot/bundle
rm -rf "$work" "$bundle"
mkdir "$work"
ln "$slot/kernel.img" "$slot/root.img" "$work/"
cat >"$work/manifest.raucm" <<MANIFEST
[update]
compatible=$compatible
version=$version
build=root-hash:$(cat "$slot/root.hash")

[bundle]
format=verity

[image.kernel]
filename=kernel.img

[image.rootfs]
filename=root.img
MANIFEST
rauc bundle --mksquashfs-args="-comp zstd -Xcompression-level 3 -b 64k -quiet -no-progress" --cert "$certificate" --key "$key" --keyring "$keyring" "$work" "$bundle" >/dev/null
rm -rf "$work"
