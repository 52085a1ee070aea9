SUMMARY = "Units, rules and RAUC's config of a SaveOS appliance"
DESCRIPTION = "What images/rootfs/tree holds for the machines of this tree: mounts, the health gate, names of partitions, RAUC's slots."
HOMEPAGE = "https://github.com/saveos/saveos"
BUGTRACKER = "https://github.com/saveos/saveos/issues"
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=2e91297046da000011c6186dec9231b9 \
                    file://LICENSE-APACHE;md5=1836efb2eb779966696f473ee8540542 \
                    "

PV = "0.1.0"

inherit externalsrc

EXTERNALSRC = "${SAVEOS_TREE}"

# Whose bundles RAUC takes, and whose releases the daemon believes: files that are given and are in no tree.
SAVEOS_KEYRING ??= ""
SAVEOS_RELEASE_ROOT ??= ""

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    [ -n "${SAVEOS_KEYRING}" ] && [ -n "${SAVEOS_RELEASE_ROOT}" ] || bbfatal "SAVEOS_KEYRING and SAVEOS_RELEASE_ROOT are not set"
    install -d ${D}
    cp -R --no-preserve=ownership ${S}/images/rootfs/tree/. ${D}/
    sed -i "s/@COMPATIBLE@/saveos-${MACHINE}/" ${D}${sysconfdir}/rauc/system.conf
    install -m 0644 ${SAVEOS_KEYRING} ${D}${sysconfdir}/rauc/keyring.pem
    install -D -m 0644 ${SAVEOS_RELEASE_ROOT} ${D}${datadir}/saveos/release-root.json
    # Units that start, and what wants them.
    sed -n 's/^\([^# ][^ ]*\)  *\([^ ]*\).*/\1 \2/p' ${S}/images/rootfs/enabled | while read -r unit by; do
        install -d ${D}${sysconfdir}/systemd/system/$by
        ln -sf ${systemd_system_unitdir}/$unit ${D}${sysconfdir}/systemd/system/$by/$unit
    done
    install -d ${D}/config ${D}/data
}

FILES:${PN} += "${sysconfdir} ${nonarch_libdir} ${datadir}/saveos /config /data"
PACKAGE_ARCH = "${MACHINE_ARCH}"
RDEPENDS:${PN} = "libdevmapper rauc saveos-bootctl"
