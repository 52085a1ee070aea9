//! Commands: a short list of things a box can be asked, typed, expiring, and run once however often they arrive.
//!
//! There is no shell here and no free text that is executed. What can destroy needs the command key; the box looks at
//! its own clock before it looks at anything else, and refuses while it does not know the time.

mod action;
mod life;

pub use action::{Action, Extent};
pub use life::{Rejection, Report, State, Step, step};

use crate::hex::CommandKey;
use crate::id::{CommandId, DeviceId};
use crate::message::{Message, V1};
use crate::sign::{Purpose, Received, Signable, Signature, SignatureFault};
use crate::text::IdempotencyKey;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `dn/cmd`: one command. Never retained; sent again until a result is there or it has expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// Major version.
    pub v: V1,
    /// Its name; a copy of it gets the stored result.
    pub id: CommandId,
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// From here on it is refused.
    pub exp: Timestamp,
    /// Names the intent: another command with the same key gets the first one's result.
    pub idem: IdempotencyKey,
    /// By the command key: needed when it can destroy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<Signature>,
}

impl Message for Command {
    const NAME: &'static str = "command";
    const LIMIT: usize = crate::limits::COMMAND;
}

impl Signable for Command {
    const PURPOSE: Purpose = Purpose::Command;
    fn signature(&self) -> Option<&Signature> {
        self.sig.as_ref()
    }
    fn signature_mut(&mut self) -> &mut Option<Signature> {
        &mut self.sig
    }
}

/// Whether a box runs a command, before it looks whether it already did. A refusal for its signature is also a fact
/// (`tamper`).
///
/// `now` is `None` while the box does not know the time.
pub fn admit(
    received: Received<Command>,
    device: DeviceId,
    key: &CommandKey,
    now: Option<Timestamp>,
) -> Result<Command, Rejection> {
    let command = received.document();
    if let Some(fault) = command.action.fault() {
        return Err(fault);
    }
    let now = now.ok_or(Rejection::ClockUnsure)?;
    if command.exp <= now {
        return Err(Rejection::Expired);
    }
    if command.action.is_destructive() {
        received.verify(device, key, Some(now)).map_err(|fault| match fault {
            SignatureFault::Missing => Rejection::NotSigned,
            SignatureFault::Expired => Rejection::Expired,
            SignatureFault::ClockUnsure => Rejection::ClockUnsure,
            SignatureFault::Wrong | SignatureFault::TooLong | SignatureFault::Unknown => Rejection::WrongSignature,
        })?;
    }
    Ok(received.into_document())
}
