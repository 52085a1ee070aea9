//! What the box shows to the person in front of it, and what that person's one button means: lights for the other end of the room,
//! pages for the display. Pure: what is shown is a function of what was seen, of the button and of the time.
//!
//! A tap goes to the next page. A hold means yes to what the page asks. Whoever goes away leaves the first page behind.

mod pages;
mod recovery;
mod texts;
pub(crate) mod thread;

pub(crate) use texts::Language;

use recovery::{Recovery, Step};
use saveos_bootctl::Wipe;
use saveos_hal::button::{Gesture, NOTHING};
use saveos_hal::display::Page;
use saveos_hal::lights::{Glow, Light};
use saveos_protocol::fact::Work;
use saveos_protocol::id::{DiskId, JobId};
use std::time::Duration;
use texts::Texts;
use zeroize::Zeroizing;

/// How the box is, as far as a person in front of it wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// A job that overwrites a disk and wants a yes.
    pub(crate) asks: Option<Asks>,
    pub(crate) working: Option<Working>,
    /// A release is being written, or on trial: the box must keep its power.
    pub(crate) updating: bool,
    pub(crate) needs: Vec<Need>,
    /// Those that are plugged in.
    pub(crate) disks: Vec<Disk>,
    /// Nobody has confirmed them yet.
    pub(crate) words: Option<Unconfirmed>,
    /// Where nobody has claimed the box.
    pub(crate) claim: Option<Claim>,
    /// Somebody looks for this box among others.
    pub(crate) sought: bool,
    pub(crate) version: String,
    /// The box can erase itself.
    pub(crate) resets: bool,
    /// It is about to restart, to erase something.
    pub(crate) restarts: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asks {
    pub(crate) job: JobId,
    /// Of the disk that is overwritten.
    pub(crate) serial: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Working {
    pub(crate) work: Work,
    /// None: on the whole repository.
    pub(crate) serial: Option<String>,
    pub(crate) percent: u8,
}

/// What somebody has to do something about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    BackupFailed {
        serial: String,
    },
    /// In the middle of a backup.
    Pulled {
        serial: String,
    },
    DiskFails {
        serial: String,
    },
    StoreFull,
    ClockBehind,
    TooHot,
    FanStands,
    /// Whoever wrote the recovery words down did not say so, and there is no escrow.
    NotRecoverable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) id: DiskId,
    pub(crate) serial: String,
    pub(crate) state: DiskState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskState {
    /// A job for it waits or runs.
    Busy,
    BackedUp,
    Failed,
    /// A backup is due and waits for its window.
    Waits,
    /// Nobody said what it is for.
    Unknown,
    /// It is no source, or was never backed up.
    Idle,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unconfirmed {
    /// All 24, with single spaces.
    pub(crate) phrase: Zeroizing<String>,
    /// Which two are asked back, counted from 1.
    pub(crate) asked: [usize; 2],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) code: String,
    pub(crate) host: String,
}

/// What the person wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Approve(Asks),
    Backup(DiskId),
    /// The words are on the display now.
    WordsShown,
    Confirm([String; 2]),
    Reset(Wipe),
}

/// What is on the panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) glows: [(Light, Glow); 3],
    pub(crate) page: Page,
}

impl Default for View {
    /// All dark.
    fn default() -> View {
        View { glows: Light::ALL.map(|light| (light, Glow::Off)), page: Page::default() }
    }
}

/// Which page somebody reads.
#[derive(Debug, Default)]
pub(crate) struct Panel {
    texts: Texts,
    at: usize,
    recovery: Option<Recovery>,
    /// When the button was used last.
    touched: Option<Duration>,
    /// What lay on the first page when it was read: a yes is for that and for nothing that came a moment ago.
    asked: Option<(JobId, Duration)>,
    /// Somebody held the button for so long that only this can be meant.
    reset: Option<Wipe>,
}

/// Whoever does not touch the button for so long has gone.
const READS: Duration = Duration::from_secs(30);
/// Whoever writes words down takes longer; then they are hidden again.
const WRITES: Duration = Duration::from_secs(300);
/// A question must have been on the display for so long before a yes counts: nobody says yes to what came while the button was held.
const SEEN: Duration = Duration::from_secs(4);

impl Panel {
    pub(crate) fn new(language: Language) -> Panel {
        Panel { texts: language.texts(), ..Panel::default() }
    }

    /// What to show when the daemon says nothing any more.
    pub(crate) fn silent(&self) -> View {
        let glow = |light| if light == Light::Help { Glow::Fast } else { Glow::Off };
        let [what, then, so] = self.texts.silent;
        View {
            glows: Light::ALL.map(|light| (light, glow(light))),
            page: Page::of([self.texts.needs_help, "", what, then, so]),
        }
    }

    /// Somebody used the button.
    pub(crate) fn press(&mut self, gesture: Gesture, seen: &Seen, at: Duration) -> Option<Deed> {
        self.settle(seen, at);
        self.touched = Some(at);
        let level = pages::level(gesture);
        if level > 0 && seen.resets {
            (self.recovery, self.reset) = (None, Wipe::LEVELS.get(level).copied());
            return None;
        }
        if let Some(mut recovery) = self.recovery.take() {
            return match (recovery.press(gesture), &seen.words) {
                (Step::On, Some(_)) => {
                    self.recovery = Some(recovery);
                    None
                }
                (Step::Done(two), Some(_)) => {
                    self.at = 0;
                    Some(Deed::Confirm(two))
                }
                // Somebody confirmed them elsewhere, or gave up.
                _ => None,
            };
        }
        if let Some(level) = self.reset.take() {
            return (gesture == Gesture::Hold && seen.resets).then_some(Deed::Reset(level));
        }
        let pages = pages::all(seen, &self.texts);
        match gesture {
            Gesture::Tap => {
                self.at = (self.at + 1) % pages.len().max(1);
                None
            }
            Gesture::Hold => match pages.into_iter().nth(self.at)?.yes? {
                pages::Yes::Approve(asks) => {
                    let read =
                        self.asked.is_some_and(|(job, since)| job == asks.job && at.saturating_sub(since) >= SEEN);
                    read.then_some(Deed::Approve(asks))
                }
                pages::Yes::Backup(disk) => Some(Deed::Backup(disk)),
                pages::Yes::ShowWords => {
                    self.recovery = seen.words.as_ref().map(Recovery::new);
                    self.recovery.as_ref().map(|_| Deed::WordsShown)
                }
            },
            Gesture::TenSeconds | Gesture::TwentySeconds | Gesture::ThirtySeconds => None,
        }
    }

    /// What to show, while the button is held for so long.
    pub(crate) fn view(&mut self, seen: &Seen, held: Option<Duration>, at: Duration) -> View {
        self.settle(seen, at);
        let holds = held.filter(|held| *held >= NOTHING && seen.resets);
        let page = if seen.restarts {
            Page::of([self.texts.restarts, "", "", "", "", self.texts.keep_power])
        } else if let Some(held) = holds {
            pages::held(held, &self.texts)
        } else if let Some(level) = self.reset {
            pages::sure(level, &self.texts)
        } else if let Some(recovery) = &self.recovery {
            recovery.page(&self.texts)
        } else {
            pages::all(seen, &self.texts).into_iter().nth(self.at).map(|page| page.text).unwrap_or_default()
        };
        View { glows: glows(seen), page }
    }

    /// What the time and the box have changed since the last look.
    fn settle(&mut self, seen: &Seen, at: Duration) {
        let patience = if self.recovery.is_some() { WRITES } else { READS };
        if self.touched.is_none_or(|touched| at.saturating_sub(touched) >= patience) {
            (self.at, self.recovery, self.touched, self.reset) = (0, None, None, None);
        }
        if seen.words.is_none() {
            self.recovery = None;
        }
        self.at = self.at.min(pages::all(seen, &self.texts).len().saturating_sub(1));
        self.asked = match (&seen.asks, self.asked) {
            // A question takes the first page, and whoever reads another is called back to it.
            (Some(asks), known) if known.is_none_or(|(job, _)| job != asks.job) => {
                (self.at, self.recovery, self.reset) = (0, None, None);
                Some((asks.job, at))
            }
            (Some(_), known) => known,
            (None, _) => None,
        };
    }
}

/// Green: nothing is wrong and nothing moves. White: leave the disk plugged in. Red: somebody has to come.
fn glows(seen: &Seen) -> [(Light, Glow); 3] {
    if seen.sought {
        return Light::ALL.map(|light| (light, Glow::Fast));
    }
    let moves = seen.working.is_some() || seen.updating || seen.restarts;
    let lit = |yes| if yes { Glow::On } else { Glow::Off };
    [
        (Light::Ready, lit(!moves && seen.needs.is_empty() && seen.asks.is_none())),
        (Light::Working, if moves { Glow::Slow } else { Glow::Off }),
        (Light::Help, if seen.asks.is_some() { Glow::Fast } else { lit(!seen.needs.is_empty()) }),
    ]
}

#[cfg(test)]
mod tests;
