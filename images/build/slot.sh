#!/bin/sh
# Makes what one slot holds from a root: root.img, a squashfs with its verity tree; kernel.img, a FIT of the kernel and an initramfs
# that knows the root's hash. The same root, version and date give the same bytes.
# usage: slot.sh ROOT VERSION SECONDS-SINCE-1970 MACHINE OUT-FOLDER
set -eu
root=$1 version=$2 date=$3 machine=$4 out=$5
images=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../qemu/machine.env
. "$images/$machine/machine.env"
export SOURCE_DATE_EPOCH="$date"
mkdir -p "$out"
cd "$out"
rm -rf root.img kernel.img initramfs

# systemd takes this file's date for the earliest that it can be.
touch "$root/usr/lib/clock-epoch"
unset SOURCE_DATE_EPOCH # mksquashfs refuses it beside its own options
mksquashfs "$root" root.img -noappend -quiet -no-progress -comp zstd -Xcompression-level "${SAVEOS_ZSTD:-19}" -b 128K -all-time "$date" -mkfs-time "$date" -no-exports -no-xattrs >/dev/null
export SOURCE_DATE_EPOCH="$date"
truncate -s %4096 root.img
size=$(stat -c %s root.img)
blocks=$((size / 4096)) salt=5a7e05
hash=$(veritysetup format --no-superblock --salt=$salt --hash-offset="$size" --data-blocks=$blocks root.img root.img | sed -n 's/^Root hash:[[:space:]]*//p')
echo "$hash" >root.hash

kernel=$(ls "$root/usr/lib/modules")
mkdir -p initramfs/bin initramfs/lib initramfs/modules initramfs/dev initramfs/proc initramfs/sys initramfs/root
install -m 0755 "$root/usr/bin/busybox" "$root/usr/sbin/dmsetup" "$root/usr/bin/saveos-bootctl" initramfs/bin/
install -m 0755 "$images/boot/init" initramfs/init
install -m 0755 "$images/boot/rescue" initramfs/rescue
install -m 0755 "$images/boot/wipe" initramfs/wipe
needed() { "${SAVEOS_OBJDUMP:-aarch64-linux-gnu-objdump}" -p "$@" | sed -n 's/^  NEEDED *//p' | sort -u; }
todo=$(needed initramfs/bin/dmsetup initramfs/bin/saveos-bootctl)
while [ -n "$todo" ]; do
	next=
	for library in $todo; do
		[ ! -e "initramfs/lib/$library" ] || continue
		file=$(find "$root/usr/lib/aarch64-linux-gnu" "$root/usr/lib" -maxdepth 1 -name "$library" | head -n1)
		install -m 0755 "$(realpath "$file")" "initramfs/lib/$library"
		next="$next $(needed "$file")"
	done
	todo=$next
done
[ -e initramfs/lib/ld-linux-aarch64.so.1 ] || install -m 0755 "$(realpath "$root/usr/lib/ld-linux-aarch64.so.1")" initramfs/lib/ld-linux-aarch64.so.1
lists=$images/rootfs/modules
[ ! -e "$images/$machine/modules" ] || lists="$lists $images/$machine/modules"
# shellcheck disable=SC2086 # one or two files
for module in $(sed -n 's/^\([^# ][^ ]*\) \*$/\1/p' $lists); do
	modprobe -d "$root" -S "$kernel" -D "$module" | sed -n 's#^insmod \([^ ]*\).*#\1#p'
done | awk '!seen[$0]++' | while read -r module; do
	install -m 0644 "$module" initramfs/modules/
	echo "${module##*/}"
done >initramfs/modules.order
echo "0 $((size / 512)) verity 1 @ @ 4096 4096 $blocks $blocks sha256 $hash $salt" >initramfs/root.table
echo "$version" >initramfs/version
sed -n 's/^compatible=//p' "$root/etc/rauc/system.conf" >initramfs/compatible
find initramfs -exec touch -h -d "@$date" {} +
(cd initramfs && find . | LC_ALL=C sort | cpio --quiet --reproducible -R 0:0 -o -H newc) >initramfs.cpio

cat >kernel.its <<ITS
/dts-v1/;
/ {
	description = "SaveOS $version";
	#address-cells = <1>;
	images {
		kernel {
			data = /incbin/("$root.kernel"); type = "kernel"; arch = "arm64"; os = "linux"; compression = "none";
			load = <$SAVEOS_KERNEL_ADDRESS>; entry = <$SAVEOS_KERNEL_ADDRESS>;
			hash { algo = "crc32"; };
		};
		ramdisk {
			data = /incbin/("initramfs.cpio"); type = "ramdisk"; arch = "arm64"; os = "linux"; compression = "none";
			hash { algo = "crc32"; };
		};
	};
	configurations {
		default = "c";
		c { kernel = "kernel"; ramdisk = "ramdisk"; };
	};
};
ITS
mkimage -q -f kernel.its kernel.img >/dev/null
rm -rf initramfs initramfs.cpio kernel.its
