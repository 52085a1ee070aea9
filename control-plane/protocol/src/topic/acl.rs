//! The broker's access list: a device writes below its own `up/` and reads below its own `dn/`, the control plane does
//! both everywhere, a revoked device nothing.
//!
//! Mosquitto takes the user from the certificate's common name (`use_identity_as_username`), so these few lines are the
//! whole isolation between customers. A reload with a broken list fails open: whoever installs it proves it first with a
//! throw-away broker and a canary.

use super::ROOT;
use crate::id::DeviceId;

/// The user of the control plane: the common name of its certificate, which no device id can be.
pub const CONTROL_PLANE: &str = "cp";

/// Where the broker says how many messages it threw away because a queue was full. Acknowledgements of a broker prove nothing.
pub const DROPPED: &str = "$SYS/broker/publish/messages/dropped";

/// What a device may write, `%u` being its name.
pub const DEVICE_WRITES: &str = "saveos/v1/d/%u/up/#";

/// What a device may read.
pub const DEVICE_READS: &str = "saveos/v1/d/%u/dn/#";

/// Who tries what no device may, to see whether the rules hold. No device is called so: it is no ULID.
pub const CANARY: &str = "d-canary";

/// A topic that it may read and not write, as every device its own; nobody else reads it.
pub fn forbidden_to_canary() -> String {
    DEVICE_READS.replace("%u", CANARY).replace('#', "cmd")
}

/// The whole file. Denials come first and are listed by name, so that the same list gives the same bytes.
pub fn file(revoked: impl IntoIterator<Item = DeviceId>) -> String {
    let mut names: Vec<DeviceId> = revoked.into_iter().collect();
    names.sort();
    names.dedup();
    let mut text = String::new();
    for device in names {
        text.push_str(&format!("user {device}\ntopic deny saveos/#\n\n"));
    }
    text.push_str(&format!("user {CONTROL_PLANE}\ntopic readwrite {ROOT}/#\ntopic read $SYS/#\n\n"));
    text.push_str(&format!("pattern write {DEVICE_WRITES}\npattern read {DEVICE_READS}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn the_file_is_the_one_that_was_measured() {
        let device = DeviceId::from_parts(Timestamp::saturating(0), [0; 10]);
        assert_eq!(
            file([device, device]),
            "user d-00000000000000000000000000\ntopic deny saveos/#\n\n\
             user cp\ntopic readwrite saveos/v1/#\ntopic read $SYS/#\n\n\
             pattern write saveos/v1/d/%u/up/#\npattern read saveos/v1/d/%u/dn/#\n"
        );
    }

    #[test]
    fn no_device_is_called_like_the_control_plane() {
        assert!(CONTROL_PLANE.parse::<DeviceId>().is_err() && CANARY.parse::<DeviceId>().is_err());
        assert_eq!(forbidden_to_canary(), "saveos/v1/d/d-canary/dn/cmd");
    }
}
