//! The pages of the display, the most urgent first, and what a yes on each of them means.

use super::texts::Texts;
use super::{Asks, Disk, DiskState, Need, Seen};
use saveos_bootctl::Wipe;
use saveos_hal::button::Gesture;
use saveos_hal::display::Page;
use saveos_protocol::id::DiskId;
use std::time::Duration;

/// A page, and what holding the button on it does.
pub(super) struct Asking {
    pub(super) text: Page,
    pub(super) yes: Option<Yes>,
}

pub(super) enum Yes {
    Approve(Asks),
    Backup(DiskId),
    ShowWords,
}

/// Never none.
pub(super) fn all(seen: &Seen, texts: &Texts) -> Vec<Asking> {
    let mut pages = vec![first(seen, texts)];
    // The first of them is on the first page when nothing else is.
    let on_first = usize::from(is_quiet(seen));
    pages.extend(seen.needs.iter().skip(on_first).map(|need| needs(need, texts)));
    pages.extend(seen.disks.iter().map(|one| disk(one, seen, texts)));
    if seen.words.is_some() {
        let [paper, alone, hold] = texts.words_hint;
        pages.push(Asking { text: Page::of([texts.words, "", paper, alone, "", hold]), yes: Some(Yes::ShowWords) });
    }
    if let Some(claim) = &seen.claim {
        pages.push(still(Page::of([texts.claim, texts.claim_at, &claim.host, "", &claim.code])));
    }
    pages.push(still(Page::of([texts.about, &seen.version])));
    pages
}

const fn still(text: Page) -> Asking {
    Asking { text, yes: None }
}

fn is_quiet(seen: &Seen) -> bool {
    seen.asks.is_none() && seen.working.is_none() && !seen.updating
}

fn first(seen: &Seen, texts: &Texts) -> Asking {
    if let Some(asks) = &seen.asks {
        let [yes, no] = texts.overwrite_hint;
        let text = Page::of([texts.overwrite, &asks.serial, "", yes, no]);
        return Asking { text, yes: Some(Yes::Approve(asks.clone())) };
    }
    if let Some(working) = &seen.working {
        let percent = format!("{} %", working.percent);
        let (serial, last) = match &working.serial {
            Some(serial) => (serial.as_str(), texts.keep_plugged),
            None => ("", texts.keep_power),
        };
        return still(Page::of([texts.work(working.work), serial, "", &percent, "", last]));
    }
    if seen.updating {
        return still(Page::of([texts.updating, "", "", "", "", texts.keep_power]));
    }
    match (seen.needs.first(), seen.disks.as_slice()) {
        (Some(need), _) => needs(need, texts),
        (None, []) => still(Page::of([texts.ready, "", texts.plug_in])),
        (None, [one]) => still(Page::of([texts.safe, "", &one.serial, texts.disk(one.state)])),
        (None, more) => still(Page::of([texts.safe].into_iter().chain(more.iter().map(|one| one.serial.as_str())))),
    }
}

fn needs(need: &Need, texts: &Texts) -> Asking {
    let [what, then] = texts.need(need);
    let serial = match need {
        Need::BackupFailed { serial } | Need::Pulled { serial } | Need::DiskFails { serial } => serial.as_str(),
        _ => "",
    };
    still(Page::of([texts.needs_help, "", what, then, serial]))
}

/// One that may be backed up by hand: not while it is worked on, and not one that nobody named.
fn disk(disk: &Disk, seen: &Seen, texts: &Texts) -> Asking {
    let may = !matches!(disk.state, DiskState::Busy | DiskState::Unknown) && !seen.updating;
    let [hold, backup] = if may { texts.hold_backup } else { ["", ""] };
    let text = Page::of([disk.serial.as_str(), texts.disk(disk.state), "", hold, backup]);
    Asking { text, yes: may.then_some(Yes::Backup(disk.id)) }
}

/// Which level of a reset a gesture is; zero: none.
pub(super) const fn level(gesture: Gesture) -> usize {
    match gesture {
        Gesture::Tap | Gesture::Hold => 0,
        Gesture::TenSeconds => 1,
        Gesture::TwentySeconds => 2,
        Gesture::ThirtySeconds => 3,
    }
}

/// While the button is held for long: what letting go does, and what comes next.
pub(super) fn held(held: Duration, texts: &Texts) -> Page {
    let reset = |held| Gesture::of(held).map_or(0, level).checked_sub(1).and_then(|at| texts.resets.get(at)).copied();
    let now = reset(held).unwrap_or(texts.nothing);
    let next = [10, 20, 30].map(Duration::from_secs).into_iter().find(|next| *next > held);
    let next = next.and_then(|next| Some((texts.hold_on, reset(next)?))).unwrap_or_default();
    Page::of([texts.let_go, now, "", next.0, next.1])
}

/// Asks once more.
pub(super) fn sure(level: Wipe, texts: &Texts) -> Page {
    let sure = usize::from(level.level()).checked_sub(1).and_then(|at| texts.reset_sure.get(at));
    let [what, then] = sure.copied().unwrap_or_default();
    let [yes, no] = texts.reset_hint;
    Page::of([what, then, "", yes, no])
}
