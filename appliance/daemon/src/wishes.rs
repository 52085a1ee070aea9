//! What a command wants of the daemon that is no job: done within a moment, and never a reason to stop.
//!
//! The uplink's thread wishes, the daemon's loop and the uplink's session fulfil. What must be privileged is asked of the system by
//! a file that one of its units watches; a box without that file or without a light says that it is not able.

use crate::machine;
use saveos_protocol::birth::Capability;
use saveos_protocol::id::CommandId;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
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
    /// A light of `/sys/class/leds`.
    light: Option<PathBuf>,
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
    pub(crate) fn new(light: Option<PathBuf>, reboot: Option<PathBuf>) -> Wishes {
        Wishes { light, reboot, ..Wishes::default() }
    }

    /// What the control plane may ask for, where not every box can do it.
    pub(crate) fn capabilities(&self, smartctl: &str) -> Vec<Capability> {
        let all = [
            (self.light.is_some(), Capability::IdentifyLed),
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

    /// Lets the light blink; whether there is one.
    pub(crate) fn identify(&self, period: Duration) -> std::io::Result<bool> {
        let Some(light) = &self.light else { return Ok(false) };
        set_trigger(light, "timer")?;
        *self.blinks.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + period.min(LONGEST_BLINK));
        Ok(true)
    }

    /// Puts the light out when its time is over, and at the end.
    pub(crate) fn calm_down(&self, at_end: bool) {
        let mut blinks = self.blinks.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(light), Some(until)) = (&self.light, *blinks)
            && (at_end || until <= Instant::now())
        {
            *blinks = None;
            if let Err(error) = set_trigger(light, "none") {
                tracing::warn!(%error, "the light goes on blinking");
            }
        }
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

/// What makes a light of Linux blink: Documentation/leds/leds-class.rst.
fn set_trigger(light: &Path, trigger: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::File::options().write(true).open(light.join("trigger"))?.write_all(trigger.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_light_blinks_for_its_time_and_a_box_without_one_says_so() {
        let light = tempfile::tempdir().expect("a folder");
        let trigger = || std::fs::read_to_string(light.path().join("trigger")).expect("it is there");
        crate::files::tests::put(&light.path().join("trigger"), b"");
        let wishes = Wishes::new(Some(light.path().to_owned()), None);
        assert!(wishes.identify(Duration::from_secs(60)).expect("it can be written"));
        wishes.calm_down(false);
        assert_eq!(trigger(), "timer");
        wishes.identify(Duration::ZERO).expect("it can be written");
        crate::files::tests::put(&light.path().join("trigger"), b"");
        wishes.calm_down(false);
        assert_eq!(trigger(), "none");
        let dark = Wishes::default();
        assert!(!dark.identify(Duration::ZERO).expect("nothing to do") && !dark.reboot().expect("nothing to do"));
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
