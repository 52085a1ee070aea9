#!/bin/sh
# Fetches Debian's packages for the system and unpacks them into one archive. No script of a package runs: what they would have
# done is done by rootfs.sh, so nothing has to be emulated.
# usage: fetch.sh PACKAGES-FILE [PACKAGES-FILE] ARCHIVE
set -eu
lists=$1 components=main
shift
# A machine with a list of its own may need what only the maker of its chip has the source of.
[ $# = 1 ] || { lists="$lists $1" components="main non-free-firmware"; shift; }
archive=$1
# shellcheck disable=SC2086 # one or two files
packages=$(sed -n 's/^\([a-z][^ ]*\).*/\1/p' $lists | paste -sd,)
mmdebstrap --quiet --architectures=arm64 --variant=extract --aptopt='Acquire::Retries "5"' \
	--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--include="$packages" trixie "$archive.new.tar" "deb ${DEBIAN_MIRROR:-http://deb.debian.org/debian} trixie $components"
mv "$archive.new.tar" "$archive"
