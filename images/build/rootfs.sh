#!/bin/sh
# Makes the root of the system from the unpacked packages: users, units, modules, our programs; takes away what nobody reads.
# usage: rootfs.sh ARCHIVE PROGRAMS-FOLDER MACHINE ROOT
set -eu
archive=$1 programs=$2 machine=$3 root=$4
images=$(cd "$(dirname "$0")/.." && pwd)
top=$(dirname "$images")
# Words of a list and of the machine's own: the first of each line that is no comment.
words() {
	for list in "$images/rootfs/$1" "$images/$machine/$1"; do
		[ ! -e "$list" ] || sed -n 's/^\([^# ][^ ]*\).*/\1/p' "$list"
	done
}

rm -rf "$root"
mkdir -p "$root"
tar -C "$root" -xf "$archive" --numeric-owner
cd "$root"
kernel=$(ls usr/lib/modules)

# What maintainer scripts would have made.
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
sed -i 's/^root:[^:]*:/root:!:/' etc/passwd
cp usr/share/libc-bin/nsswitch.conf etc/nsswitch.conf
ln -sf dash usr/bin/sh
ln -sf ../proc/self/mounts etc/mtab
ln -sf ../run/systemd/resolve/resolv.conf etc/resolv.conf
: >etc/machine-id
echo saveos >etc/hostname
mkdir -p config data
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
for applet in awk find ps vi less ping udhcpc; do [ -e "usr/bin/$applet" ] || ln -s busybox "usr/bin/$applet"; done

# Ours.
rm -f etc/fstab
cp -r "$images/rootfs/tree/." .
[ ! -d "$images/$machine/tree" ] || cp -r "$images/$machine/tree/." .
# What nobody has who is no bench.
if [ -n "${SAVEOS_BENCH:-}" ]; then
	# shellcheck source=../qemu/machine.env
	. "$images/$machine/machine.env"
	bench=$images/bench/tree/etc/systemd/system/bench-shell.service
	sed "s/@TTY@/$SAVEOS_TTY/" "$bench" >etc/systemd/system/bench-shell.service
fi
for program in saveosd saveos saveos-bootctl saveos-slots; do
	install -m 0755 "$programs/$program" "usr/bin/$program"
	aarch64-linux-gnu-strip --strip-all "usr/bin/$program"
done
install -m 0644 "$top"/appliance/daemon/*.service "$top"/appliance/daemon/*.path usr/lib/systemd/system/
sed -i "s/@COMPATIBLE@/saveos-$machine/" etc/rauc/system.conf
install -m 0644 "$SAVEOS_KEYRING" etc/rauc/keyring.pem
install -D -m 0644 "$SAVEOS_RELEASE_ROOT" usr/share/saveos/release-root.json
printf '%s\n' 'ID=saveos' 'NAME=SaveOS' 'PRETTY_NAME=SaveOS' 'HOME_URL=https://saveos.example' >usr/lib/os-release
ln -sf ../usr/lib/os-release etc/os-release

# The tool of this machine may be older than the lists and does not know `u!`.
sed -i 's/^u!/u/' usr/lib/sysusers.d/*.conf
systemd-sysusers --root="$root" >/dev/null 2>&1
# Whatever it makes of today's date is not part of the system.
sed -i 's/^\([^:]*:[^:]*\):[0-9]*:/\1:1:/' etc/shadow

# Units: nothing is enabled but what the lists name.
rm -rf etc/systemd/system/*.wants
units=etc/systemd/system
[ ! -d "$images/$machine/tree/$units" ] || cp -r "$images/$machine/tree/$units/." $units/
cat "$images/rootfs/enabled" ${SAVEOS_BENCH:+"$images/bench/enabled"} | sed -n 's/^\([^# ][^ ]*\)  *\([^ ]*\).*/\1 \2/p' | while read -r unit by; do
	mkdir -p "$units/$by"
	for folder in usr/lib/systemd/system etc/systemd/system; do
		[ ! -e "$folder/$unit" ] || ln -sf "/$folder/$unit" "$units/$by/$unit"
	done
	[ -e "$units/$by/$unit" ] || [ -L "$units/$by/$unit" ] || { echo "no unit $unit" >&2; exit 1; }
done
for unit in $(words masked); do ln -sf /dev/null "$units/$unit"; done
rm -f usr/lib/systemd/system-generators/*
for rules in $(cd usr/lib/udev/rules.d && ls); do
	case $rules in
	50-udev-default* | 55-dm* | 60-block* | 60-persistent-storage.rules | 60-persistent-storage-dm* | 80-drivers* | 80-net-setup-link* | 95-dm-notify* | 99-systemd*) ;;
	*) rm "usr/lib/udev/rules.d/$rules" ;;
	esac
done
for list in credstore debian home legacy libselinux1 passwd provision systemd-network x11 20-systemd-shell-extra 20-systemd-ssh-generator systemd-pstore systemd-nologin; do
	ln -sf /dev/null "etc/tmpfiles.d/$list.conf"
done

# Modules: those that the list names and what they need, unpacked, for the kernel reads them faster than xz does.
modules=usr/lib/modules/$kernel
depmod -b . "$kernel"
for module in $(words modules); do
	modprobe -d . -S "$kernel" -D "$module" >/dev/null || { echo "no module $module" >&2; exit 1; }
	modprobe -d . -S "$kernel" -D "$module" | sed -n 's#^insmod .*\(kernel/[^ ]*\).*#\1#p'
done | sort -u >"$root.modules"
mkdir "$root/$modules/kept"
while read -r module; do
	mkdir -p "$modules/kept/$(dirname "$module")"
	xz -dc "$modules/$module" >"$modules/kept/${module%.xz}"
done <"$root.modules"
rm -r "$modules/kernel"
mv "$modules/kept/kernel" "$modules/kernel"
rmdir "$modules/kept"
depmod -b . "$kernel"
rm "$root.modules"
printf '%s\n' 'options nbd nbds_max=2' 'options loop max_loop=0' >etc/modprobe.d/saveos.conf

# The kernel goes into its own slot, and what starts the boot loader into its own partition.
mv "boot/vmlinuz-$kernel" "$root.kernel"
rm -rf "$root.boot"
mkdir "$root.boot"
# shellcheck disable=SC2046 # one word a file, some of them patterns
[ ! -e "$images/$machine/boot-files" ] || cp $(words boot-files) "$root.boot/"
for path in $(words removed); do rm -rf ./$path; done
