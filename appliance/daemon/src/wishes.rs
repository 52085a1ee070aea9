//! What a command wants of the daemon that is no job: done within a moment, and never a reason to stop.
//!
//! The uplink's thread wishes, the daemon's loop and the uplink's session fulfil. What must be privileged is asked of the system by
//! a file that one of its units watches; a box without that file or without lights says that it is not able.

use crate::machine;
use saveos_protocol::birth::Capability;
use saveos_protocol::id::CommandId;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one new birth in so long, as the contract says.
const REBIRTH: Duration = Duration::from_secs(60);
/// Nobody looks for a box for longer.
const LONGEST_BLINK: Duration = Duration::from_secs(3600);

/// Shared between the threads.
#[derive(Default)]
pub(crate) struct Wishes {
    /// Whether there are lights that could blink.
    has_lights: bool,
    /// What the system's unit watches.
    reboot: Option<PathBuf>,
    rescan: AtomicBool,
    rebirth: AtomicBool,
    reborn: Mutex<Option<Instant>>,
    blinks: Mutex<Option<Instant>>,
    /// Commands whose logs are on their way.
    bringing: Mutex<BTreeSet<CommandId>>,
}

impl Wishes {
    /// What this box has.
    pub(crate) fn new(has_lights: bool, reboot: Option<PathBuf>) -> Wishes {
        Wishes { has_lights, reboot, ..Wishes::default() }
    }

    /// What the control plane may ask for, where not every box can do it.
    pub(crate) fn capabilities(&self, smartctl: &str) -> Vec<Capability> {
        let all = [
            (self.has_lights, Capability::IdentifyLed),
            (machine::has("e2fsck"), Capability::Fsck),
            (machine::has(smartctl), Capability::Smart),
        ];
        all.into_iter().filter(|(has, _)| *has).map(|(_, capability)| capability).collect()
    }

    /// Look for disks anew.
    pub(crate) fn rescan(&self) {
        self.rescan.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wished that since the last time.
    pub(crate) fn wants_rescan(&self) -> bool {
        self.rescan.swap(false, Ordering::Relaxed)
    }

    /// Say birth again; whether the last one is long enough ago.
    pub(crate) fn rebirth(&self) -> bool {
        let mut reborn = self.reborn.lock().unwrap_or_else(PoisonError::into_inner);
        if reborn.is_some_and(|last| last.elapsed() < REBIRTH) {
            return false;
        }
        *reborn = Some(Instant::now());
        self.rebirth.store(true, Ordering::Relaxed);
        true
    }

    /// Whether somebody wished that since the last time.
    pub(crate) fn wants_rebirth(&self) -> bool {
        self.rebirth.swap(false, Ordering::Relaxed)
    }

    /// Lets the lights blink; whether there are any.
    pub(crate) fn identify(&self, period: Duration) -> bool {
        if !self.has_lights {
            return false;
        }
        *self.blinks.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + period.min(LONGEST_BLINK));
        true
    }

    /// Whether somebody looks for this box now.
    pub(crate) fn is_sought(&self) -> bool {
        let blinks = *self.blinks.lock().unwrap_or_else(PoisonError::into_inner);
        blinks.is_some_and(|until| Instant::now() < until)
    }

    /// Begins to bring logs; whether nobody does already.
    pub(crate) fn begin_to_bring(&self, command: CommandId) -> bool {
        self.bringing.lock().unwrap_or_else(PoisonError::into_inner).insert(command)
    }

    /// They were brought, or not.
    pub(crate) fn end_bringing(&self, command: CommandId) {
        self.bringing.lock().unwrap_or_else(PoisonError::into_inner).remove(&command);
    }

    /// Asks the system for a restart; whether it can be asked.
    pub(crate) fn reboot(&self) -> std::io::Result<bool> {
        let Some(file) = &self.reboot else { return Ok(false) };
        std::fs::File::create(file)?;
        tracing::info!("a restart was asked for");
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lights_blink_for_their_time_and_a_box_without_says_so() {
        let wishes = Wishes::new(true, None);
        assert!(!wishes.is_sought());
        assert!(wishes.identify(Duration::from_secs(60)) && wishes.is_sought());
        assert!(wishes.identify(Duration::ZERO) && !wishes.is_sought());
        let dark = Wishes::default();
        assert!(!dark.identify(Duration::from_secs(60)) && !dark.is_sought());
        assert!(!dark.reboot().expect("nothing to do"));
        let can = |wishes: &Wishes, smartctl| wishes.capabilities(smartctl);
        assert!(can(&wishes, "nowhere").contains(&Capability::IdentifyLed));
        assert!(
            can(&dark, "/bin/sh").contains(&Capability::Smart) && !can(&dark, "nowhere").contains(&Capability::Smart)
        );
    }

    #[test]
    fn a_box_is_born_again_once_a_minute_at_most() {
        let wishes = Wishes::default();
        assert!(wishes.rebirth() && wishes.wants_rebirth() && !wishes.wants_rebirth());
        assert!(!wishes.rebirth() && !wishes.wants_rebirth());
    }
}
