# What the boot script is not told on this machine: U-Boot found this script on the card, sets devtype, devnum and ramdisk_addr_r, and has
# the device tree from the firmware. The slot's FIT is read to where neither is, and nor is the kernel that it unpacks.
setenv kernel_slot_addr 0x10000000
setenv board_args "console=ttyS1,115200 8250.nr_uarts=1"
