#!/bin/sh
# Fetches Debian's packages for the system and unpacks them into one archive. No script of a package runs: what they would have
# done is done by rootfs.sh, so nothing has to be emulated.
# usage: fetch.sh PACKAGES-FILE ARCHIVE
set -eu
packages=$(sed -n 's/^\([a-z][^ ]*\).*/\1/p' "$1" | paste -sd,)
mmdebstrap --quiet --architectures=arm64 --variant=extract --aptopt='Acquire::Retries "5"' \
	--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--include="$packages" trixie "$2.new.tar" "deb ${DEBIAN_MIRROR:-http://deb.debian.org/debian} trixie main"
mv "$2.new.tar" "$2"
