SUMMARY = "Update of a SaveOS appliance"
DESCRIPTION = "The bundle that takes a box to this system: kernel and root of a slot, in RAUC's verity format, signed."
HOMEPAGE = "https://github.com/saveos/saveos"
LICENSE = "MIT | Apache-2.0"

inherit bundle

RAUC_BUNDLE_COMPATIBLE = "saveos-${MACHINE}"
RAUC_BUNDLE_VERSION = "${DISTRO_VERSION}"
RAUC_BUNDLE_BUILD = "${DATETIME}"
RAUC_BUNDLE_BUILD[vardepsexclude] = "DATETIME"
RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_SLOTS = "kernel rootfs"
RAUC_SLOT_kernel = "saveos-image"
RAUC_SLOT_kernel[file] = "saveos-slot/kernel.img"
RAUC_SLOT_rootfs = "saveos-image"
RAUC_SLOT_rootfs[file] = "saveos-slot/root.img"

# Of whoever makes releases; not in a tree.
RAUC_KEY_FILE ??= ""
RAUC_CERT_FILE ??= ""
