//! A reset that somebody at the box asked for with the button: the system notes for its next start what is erased, and the box
//! restarts. Nothing is erased by the daemon itself: what it has open it could not erase well, and a box whose data cannot be
//! mounted must be able to start over.

use super::Daemon;
use crate::update::slots::Slots;
use saveos_bootctl::{Verb, Wipe};
use std::thread::JoinHandle;
use std::time::Duration;

/// The system answers in that time.
const ANSWERED: Duration = Duration::from_secs(60);

/// How far it is.
#[derive(Default)]
pub(super) struct Reset {
    /// None: a box without slots has no start that could erase.
    slots: Option<Slots>,
    wanted: Option<Wipe>,
    asking: Option<JoinHandle<Result<(), String>>>,
    /// It is noted; the restart is on its way.
    noted: bool,
}

impl Reset {
    pub(super) fn new(slots: Option<Slots>) -> Reset {
        Reset { slots, ..Reset::default() }
    }

    pub(super) const fn is_possible(&self) -> bool {
        self.slots.is_some()
    }

    /// Whether the box is about to restart for it: no other order may reach the system meanwhile.
    pub(super) const fn is_under_way(&self) -> bool {
        self.wanted.is_some() || self.asking.is_some() || self.noted
    }

    pub(super) fn want(&mut self, level: Wipe) {
        if self.is_possible() && !self.is_under_way() {
            tracing::warn!(?level, "a reset was asked for at the box");
            self.wanted = Some(level);
        }
    }
}

impl Daemon {
    pub(super) fn look_at_reset(&mut self) {
        if self.reset.wanted.is_some()
            && self.reset.asking.is_none()
            && self.agent.rest()
            && let Some(level) = self.reset.wanted.take()
            && let Some(slots) = self.reset.slots.clone()
        {
            let ask = move || match slots.ask(Verb::Wipe(level), ANSWERED, &|| false)?.failed {
                Some(why) => Err(why),
                None => Ok(()),
            };
            match std::thread::Builder::new().name("reset".to_owned()).spawn(ask) {
                Ok(thread) => self.reset.asking = Some(thread),
                Err(error) => tracing::error!(%error, "no thread for a reset"),
            }
        }
        let Some(asking) = self.reset.asking.take_if(|asking| asking.is_finished()) else { return };
        match asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Ok(()) => match self.wishes.reboot() {
                Ok(true) => self.reset.noted = true,
                Ok(false) => tracing::error!("a reset waits for the next start: this box cannot restart itself"),
                Err(error) => tracing::error!(%error, "a reset waits for the next start"),
            },
            Err(why) => tracing::error!(why, "a reset was not noted"),
        }
    }
}
