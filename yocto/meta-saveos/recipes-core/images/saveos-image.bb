SUMMARY = "Root, slots and disk of a SaveOS appliance"
DESCRIPTION = "The system that a box runs, in the slots in which RAUC replaces it, and the disk of a new box."
LICENSE = "MIT | Apache-2.0"

inherit core-image saveos_slot

IMAGE_FEATURES = "read-only-rootfs stateless-rootfs"
IMAGE_LINGUAS = ""
NO_RECOMMENDATIONS = "1"
IMAGE_INSTALL = " \
    busybox \
    ca-certificates \
    dbus \
    e2fsprogs-mke2fs \
    e2fsprogs-resize2fs \
    iproute2 \
    kernel-modules \
    kmod \
    libdevmapper \
    packagegroup-core-boot \
    rauc \
    saveos \
    saveos-bootctl \
    saveos-daemon \
    saveos-helper \
    saveos-system \
    smartmontools \
    util-linux-blkid \
    util-linux-lsblk \
    util-linux-sfdisk \
"
