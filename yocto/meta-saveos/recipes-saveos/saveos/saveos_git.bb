SUMMARY = "Programs of a SaveOS backup appliance"
DESCRIPTION = "saveosd takes backups and reports them, saveos restores by hand, saveos-bootctl keeps the state of the two slots, \
and saveos-slots is the helper that RAUC's root asks."
HOMEPAGE = "https://github.com/saveos/saveos"
BUGTRACKER = "https://github.com/saveos/saveos/issues"
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=2e91297046da000011c6186dec9231b9 \
                    file://LICENSE-APACHE;md5=1836efb2eb779966696f473ee8540542 \
                    "
CVE_PRODUCT = "saveos:saveos"

require saveos-crates.inc

PV = "0.1.0"

inherit cargo externalsrc systemd useradd

# Whatever is checked out is built.
EXTERNALSRC = "${SAVEOS_TREE}"

CARGO_BUILD_FLAGS += "--package saveos-daemon --package saveos --package saveos-bootctl"

SYSTEMD_PACKAGES = "${PN}-daemon"
SYSTEMD_SERVICE:${PN}-daemon = "saveosd.service saveos-reboot.path"

USERADD_PACKAGES = "${PN}-daemon"
USERADD_PARAM:${PN}-daemon = "--system --no-create-home --home-dir /data/saveos --shell /sbin/nologin --user-group saveos"

do_install() {
    install -d ${D}${bindir} ${D}${systemd_system_unitdir}
    for program in saveosd saveos saveos-bootctl saveos-slots; do
        install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/$program ${D}${bindir}/
    done
    install -m 0644 ${S}/appliance/daemon/*.service ${S}/appliance/daemon/*.path ${D}${systemd_system_unitdir}/
}

PACKAGE_BEFORE_PN = "${PN}-daemon ${PN}-bootctl ${PN}-helper"
FILES:${PN}-daemon += "${bindir}/saveosd ${systemd_system_unitdir}"
FILES:${PN}-bootctl += "${bindir}/saveos-bootctl"
FILES:${PN}-helper += "${bindir}/saveos-slots"
RDEPENDS:${PN}-daemon = "${PN}-helper smartmontools"

BBCLASSEXTEND = "native"
