//! The kernel says when a disk comes or goes. What it says is not read: it only wakes who looks, so that a message that was lost,
//! or that somebody else sent, changes nothing but when.

use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::os::fd::OwnedFd;

/// The group that the kernel itself sends to; 2 is udev's.
const KERNEL: u32 = 1;
/// Messages that are taken at one look; more of them wait for the next.
const MOST: usize = 1000;

/// A socket that hears of devices.
pub(super) struct Uevents(OwnedFd);

impl Uevents {
    pub(super) fn open() -> io::Result<Uevents> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Uevents(socket))
    }

    /// Whether the kernel said anything since the last time; also when it said more than we could hear.
    pub(super) fn woke(&self) -> bool {
        let (mut word, mut woke) = ([0u8; 4096], false);
        for _ in 0..MOST {
            match recv(&self.0, &mut word[..], RecvFlags::DONTWAIT) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => woke = true,
                Err(_) => break,
            }
        }
        woke
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_kernel_wakes_nobody_for_ever() {
        let uevents = Uevents::open().expect("the kernel has such sockets");
        // Devices of the machine may say something at any moment, and not always.
        let quiet = (0..100).filter(|_| !uevents.woke()).count();
        assert!(quiet > 50, "{quiet}");
    }
}
