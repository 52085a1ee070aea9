# What one slot holds, and the disk of a new box, by the same scripts as for the machines of images/: root.img with its verity tree and
# kernel.img with the initramfs that knows its hash.

IMAGE_FSTYPES = "wic.zst wic.bmap"
WKS_FILE = "saveos.wks.in"
SAVEOS_SLOT = "${DEPLOY_DIR_IMAGE}/saveos-slot"
SAVEOS_KERNEL_ADDRESS ??= "0x40400000"

do_saveos_slot[depends] += " \
    virtual/kernel:do_deploy \
    cpio-native:do_populate_sysroot \
    cryptsetup-native:do_populate_sysroot \
    dosfstools-native:do_populate_sysroot \
    dtc-native:do_populate_sysroot \
    e2fsprogs-native:do_populate_sysroot \
    kmod-native:do_populate_sysroot \
    mtools-native:do_populate_sysroot \
    saveos-native:do_populate_sysroot \
    squashfs-tools-native:do_populate_sysroot \
    u-boot-tools-native:do_populate_sysroot \
"

fakeroot do_saveos_slot() {
    install -d ${SAVEOS_SLOT}
    install -m 0644 ${DEPLOY_DIR_IMAGE}/${KERNEL_IMAGETYPE} ${IMAGE_ROOTFS}.kernel
    export SAVEOS_OBJDUMP=${OBJDUMP} SAVEOS_KERNEL_ADDRESS=${SAVEOS_KERNEL_ADDRESS}
    ${SAVEOS_TREE}/images/build/slot.sh ${IMAGE_ROOTFS} ${DISTRO_VERSION} ${SOURCE_DATE_EPOCH} ${SAVEOS_SLOT}

    # What stands around the slots on a new disk.
    mkimage -A arm64 -O linux -T script -C none -n SaveOS -d ${SAVEOS_TREE}/images/boot/boot.cmd ${DEPLOY_DIR_IMAGE}/boot.scr
    truncate -s 4M ${SAVEOS_SLOT}/bootstate.img
    saveos-bootctl --file ${SAVEOS_SLOT}/bootstate.img init
}
addtask saveos_slot after do_rootfs before do_image_wic
