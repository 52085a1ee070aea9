//! Every topic of the contract, parsed and printed here and nowhere else.
//!
//! ```text
//! saveos/v1/d/{device}/up/state|rep|hb|ev/{kind}|res/{command}     device → control plane
//! saveos/v1/d/{device}/dn/des|cmd|ack                              control plane → device
//! saveos/v1/cp/state, saveos/v1/cp/bus/{channel}                   inside the control plane
//! ```
//!
//! A topic has at most seven slashes, which is what the pickiest broker takes. The organisation is not in it: a device
//! may change hands, and the database knows whose it is.

pub mod acl;

use crate::control::Channel;
use crate::fact::Kind;
use crate::id::{CommandId, DeviceId};
use std::fmt;
use std::str::FromStr;

/// Where the contract lives.
const ROOT: &str = "saveos/v1";

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// From a device.
    Up(DeviceId, Up),
    /// To a device.
    Down(DeviceId, Down),
    /// Whether the control plane is there; retained.
    ControlState,
    /// Between nodes of the control plane.
    Bus(Channel),
}

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Up {
    /// Here or gone; retained, also the will: `birth::Presence`.
    State,
    /// The reported shadow; retained: `shadow::Reported`.
    Reported,
    /// Alive: `heartbeat::Heartbeat`.
    Heartbeat,
    /// A fact of this kind: `fact::Fact`.
    Event(Kind),
    /// A fact of a kind that a newer release has. It is numbered and kept like any other.
    NewerEvent(KindName),
    /// How a command goes: `command::Report`.
    Result(CommandId),
}

/// What a device is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Down {
    /// The desired shadow; retained: `shadow::Desired`.
    Desired,
    /// A command; never retained, or a broker restored from a backup would fire it again: `command::Command`.
    Command,
    /// How far facts are kept; retained: `ack::Ack`.
    Ack,
}

/// A name of a kind that we do not know: lower-case letters and underscores, at most 32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KindName(String);

impl KindName {
    fn parse(text: &str) -> Option<KindName> {
        let plain = !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
        plain.then(|| KindName(text.to_owned()))
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is none of our topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATopic {
    /// Not below `saveos/v1`.
    #[error("a topic outside of {ROOT}")]
    Foreign,
    /// The device's level is no device id.
    #[error("a topic of no device")]
    Device(#[source] crate::id::NotAnId),
    /// The command's level is no command id.
    #[error("a result of no command")]
    Command(#[source] crate::id::NotAnId),
    /// Levels that the contract does not have.
    #[error("a topic that is not in the contract")]
    Unknown,
}

impl Topic {
    /// Whether a broker keeps the last message for those who come later.
    pub fn is_retained(&self) -> bool {
        match self {
            Topic::Up(_, Up::State | Up::Reported)
            | Topic::Down(_, Down::Desired | Down::Ack)
            | Topic::ControlState => true,
            Topic::Up(_, Up::Heartbeat | Up::Event(_) | Up::NewerEvent(_) | Up::Result(_))
            | Topic::Down(_, Down::Command)
            | Topic::Bus(_) => false,
        }
    }

    /// The device it is about.
    pub fn device(&self) -> Option<DeviceId> {
        match self {
            Topic::Up(device, _) | Topic::Down(device, _) => Some(*device),
            Topic::ControlState | Topic::Bus(_) => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Up(device, up) => {
                write!(f, "{ROOT}/d/{device}/up/")?;
                match up {
                    Up::State => f.write_str("state"),
                    Up::Reported => f.write_str("rep"),
                    Up::Heartbeat => f.write_str("hb"),
                    Up::Event(kind) => write!(f, "ev/{kind}"),
                    Up::NewerEvent(kind) => write!(f, "ev/{kind}"),
                    Up::Result(command) => write!(f, "res/{command}"),
                }
            }
            Topic::Down(device, down) => {
                let down = match down {
                    Down::Desired => "des",
                    Down::Command => "cmd",
                    Down::Ack => "ack",
                };
                write!(f, "{ROOT}/d/{device}/dn/{down}")
            }
            Topic::ControlState => write!(f, "{ROOT}/cp/state"),
            Topic::Bus(channel) => write!(f, "{ROOT}/cp/bus/{channel}"),
        }
    }
}

impl FromStr for Topic {
    type Err = NotATopic;

    /// Strict: no empty level, nothing after the last, every name in its one spelling. What parses prints as it came.
    fn from_str(text: &str) -> Result<Topic, NotATopic> {
        let rest = text.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/')).ok_or(NotATopic::Foreign)?;
        // No topic of ours has more than five levels below the root; a sixth is kept to be refused.
        let mut levels = [""; 6];
        let mut count = 0;
        for level in rest.splitn(6, '/') {
            levels[count] = level;
            count += 1;
        }
        match &levels[..count] {
            ["cp", "state"] => Ok(Topic::ControlState),
            ["cp", "bus", name] => {
                let channel = Channel::ALL.iter().find(|channel| channel.as_str() == *name);
                channel.map(|channel| Topic::Bus(*channel)).ok_or(NotATopic::Unknown)
            }
            ["d", device, "up", up @ ..] => {
                let device = device.parse().map_err(NotATopic::Device)?;
                parse_up(up).map(|up| Topic::Up(device, up))
            }
            ["d", device, "dn", down] => {
                let device = device.parse().map_err(NotATopic::Device)?;
                match *down {
                    "des" => Ok(Topic::Down(device, Down::Desired)),
                    "cmd" => Ok(Topic::Down(device, Down::Command)),
                    "ack" => Ok(Topic::Down(device, Down::Ack)),
                    _ => Err(NotATopic::Unknown),
                }
            }
            _ => Err(NotATopic::Unknown),
        }
    }
}

fn parse_up(levels: &[&str]) -> Result<Up, NotATopic> {
    match levels {
        ["state"] => Ok(Up::State),
        ["rep"] => Ok(Up::Reported),
        ["hb"] => Ok(Up::Heartbeat),
        ["ev", kind] => match Kind::ALL.iter().find(|known| known.as_str() == *kind) {
            Some(known) => Ok(Up::Event(*known)),
            None => KindName::parse(kind).map(Up::NewerEvent).ok_or(NotATopic::Unknown),
        },
        ["res", command] => command.parse().map(Up::Result).map_err(NotATopic::Command),
        _ => Err(NotATopic::Unknown),
    }
}

/// What to subscribe to. Overlapping filters bring copies, so everybody has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A device: all that it is told.
    Device(DeviceId),
    /// The one ingest session: all that devices say. Never shared: with `$share` any device could swallow messages.
    Ingest,
    /// A node: wake-ups.
    Bus,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::Device(device) => write!(f, "{ROOT}/d/{device}/dn/#"),
            Filter::Ingest => write!(f, "{ROOT}/d/+/up/#"),
            Filter::Bus => write!(f, "{ROOT}/cp/bus/#"),
        }
    }
}
