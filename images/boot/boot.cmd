# U-Boot script: picks the slot that appliance/bootctl's `BootState::boots` picks, counts a try in a trial, starts the slot's FIT.
# The caller sets devtype and devnum. Two copies of the state; the one with the higher SAVEOS_SEQ holds. A try is written to the
# other one, so that a cut leaves what was.
setenv names "BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT SAVEOS_TRIAL SAVEOS_GOOD SAVEOS_SEQ SAVEOS_WIPE"
setenv none "env delete BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT SAVEOS_TRIAL SAVEOS_GOOD SAVEOS_SEQ SAVEOS_WIPE"
part start ${devtype} ${devnum} bootstate at_0
setexpr at_1 ${at_0} + 0x800
setenv seq_0 0
setenv seq_1 0
for copy in 0 1; do
	if test ${copy} = 0; then setenv at ${at_0}; else setenv at ${at_1}; fi
	run none
	if ${devtype} read ${ramdisk_addr_r} ${at} 0x20 && env import -c ${ramdisk_addr_r} 0x4000 ${names}; then
		setenv seq_${copy} ${SAVEOS_SEQ}
	fi
done
run none
setenv older ${at_0}
setenv newer ${at_1}
if itest 0x${seq_0} -ge 0x${seq_1}; then
	setenv older ${at_1}
	setenv newer ${at_0}
fi
${devtype} read ${ramdisk_addr_r} ${newer} 0x20 && env import -c ${ramdisk_addr_r} 0x4000 ${names}

# What is taken for granted when both copies are damaged: `BootState::default()`.
if test "${BOOT_ORDER}" != "A B" && test "${BOOT_ORDER}" != "B A"; then setenv BOOT_ORDER "A B"; fi
test -n "${BOOT_A_LEFT}" || setenv BOOT_A_LEFT 3
test -n "${BOOT_B_LEFT}" || setenv BOOT_B_LEFT 3
test -n "${SAVEOS_GOOD}" || setenv SAVEOS_GOOD A
test -n "${SAVEOS_SEQ}" || setenv SAVEOS_SEQ 0

setenv slot
setenv counted
for one in ${BOOT_ORDER}; do
	if test -z "${slot}"; then
		if test "${one}" = "A"; then setenv left ${BOOT_A_LEFT}; else setenv left ${BOOT_B_LEFT}; fi
		if test ${left} -gt 0; then
			setenv slot ${one}
			if test "${SAVEOS_TRIAL}" = "${one}"; then
				setexpr left ${left} - 1
				setenv BOOT_${one}_LEFT ${left}
				setenv counted 1
			fi
		fi
	fi
done
setenv rescue
if test -z "${slot}"; then
	setenv slot ${SAVEOS_GOOD}
	setenv rescue "saveos.rescue=1"
fi
setenv trial
if test -n "${counted}"; then
	setenv trial "saveos.trial=1"
	setexpr SAVEOS_SEQ 0x${SAVEOS_SEQ} + 1
	env export -c -s 0x4000 ${ramdisk_addr_r} ${names}
	${devtype} write ${ramdisk_addr_r} ${older} 0x20
fi
test -n "${SAVEOS_WIPE}" || setenv SAVEOS_WIPE 0

if test "${slot}" = "A"; then setenv label kernel-a; else setenv label kernel-b; fi
part start ${devtype} ${devnum} ${label} at
part size ${devtype} ${devnum} ${label} size
setenv bootargs "${board_args} quiet loglevel=3 panic=2 rauc.slot=${slot} saveos.wipe=${SAVEOS_WIPE} ${rescue} ${trial} lsm=landlock audit=0 rcupdate.rcu_expedited=1 cryptomgr.notests net.ifnames=0 systemd.gpt_auto=0 systemd.show_status=0"
echo "SAVEOS-BOOT slot=${slot} ${rescue}"
${devtype} read ${kernel_slot_addr} ${at} ${size} && bootm ${kernel_slot_addr}#c ${kernel_slot_addr}#c ${fdt_addr}

# The kernel cannot be read or its hashes are wrong: bootm came back. The slot is bad, or it would be started for ever.
if test -z "${rescue}"; then
	setenv BOOT_${slot}_LEFT 0
	setexpr SAVEOS_SEQ 0x${SAVEOS_SEQ} + 1
	env export -c -s 0x4000 ${ramdisk_addr_r} ${names}
	${devtype} write ${ramdisk_addr_r} ${older} 0x20
fi
reset
