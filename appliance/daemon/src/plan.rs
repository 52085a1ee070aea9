//! The planner: what is there, what the policy wants, what time it is → which jobs to queue, and what holds back the others.
//! Pure: the same state, policy and moment give the same plan.

use crate::policy::Policy;
use jiff::Zoned;
use saveos_protocol::command;
use saveos_protocol::fact::{Trigger, Work};
use saveos_protocol::id::DiskId;
use saveos_protocol::shadow::Role;
use saveos_protocol::shadow::{OnPlug, Schedule};
use saveos_protocol::text::{Text, TimeZone};
use saveos_protocol::time::{Timestamp, Weekday};
use saveos_protocol::unit::{Days, Percent};
use std::time::Duration;

/// A disk that is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) id: DiskId,
    pub(crate) plugged: Timestamp,
    /// When its last backup began or was queued.
    pub(crate) asked: Option<Timestamp>,
    /// Whether a job for it waits or runs.
    pub(crate) busy: bool,
}

/// What the plan depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) disks: Vec<Disk>,
    /// When a backup last ended well.
    pub(crate) last_backup: Option<Timestamp>,
    /// Samples and full reads.
    pub(crate) verify: Tried,
    /// Full reads alone.
    pub(crate) full: Tried,
    pub(crate) restore_test: Tried,
    pub(crate) prune: Tried,
}

/// How work on the whole repository stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    /// When it last ended well.
    pub(crate) done: Option<Timestamp>,
    /// When it was last asked for.
    pub(crate) asked: Option<Timestamp>,
    /// Whether some waits or runs.
    pub(crate) open: bool,
}

impl Tried {
    /// Whether it may be asked for: nothing is open, and the last did not fail a moment ago.
    fn is_free(&self, now: Timestamp) -> bool {
        let failed = self.asked.filter(|asked| self.done.is_none_or(|done| done < *asked));
        !self.open && failed.is_none_or(|asked| now.since(asked) >= AGAIN)
    }
}

/// What failed is tried again after an hour: what broke it may be gone, and its reports must not fill the outbox.
const AGAIN: Duration = Duration::from_secs(3600);

/// A job to queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) work: Work,
    pub(crate) disk: Option<DiskId>,
    /// What exactly, where the kind of work is not all.
    pub(crate) order: Option<command::Action>,
    pub(crate) trigger: Trigger,
}

/// Reads back all that is stored.
pub(crate) fn full_verify() -> command::Action {
    command::Action::Verify { store: None, percent: Percent::of(1, 1) }
}

/// Why a disk waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Held {
    /// Nobody has said what it is for.
    NoPolicy,
    /// It is no source.
    NotASource,
    /// A backup is due, and this is not the time for it.
    OutsideWindow,
    /// Nothing is due.
    NothingDue,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) held: Vec<(DiskId, Held)>,
}

/// Schedules look back so far: a box that was off for longer does not owe more than one backup.
const LOOK_BACK: Duration = Duration::from_secs(8 * 86_400);

/// Makes the plan.
pub(crate) fn plan(state: &State, policy: &Policy, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    for disk in state.disks.iter().filter(|disk| !disk.busy) {
        match due(disk, policy, now) {
            Ok(trigger) => plan.actions.push(Action { work: Work::Backup, disk: Some(disk.id), order: None, trigger }),
            Err(held) => plan.held.push((disk.id, held)),
        }
    }
    let whole = |work, order| Action { work, disk: None, order, trigger: Trigger::Schedule };
    let is_due = |tried: &Tried, every: Option<Days>| {
        let waited = tried.done.map_or(Duration::MAX, |last| now.since(last));
        state.last_backup.is_some() && tried.is_free(now) && every.is_some_and(|every| waited >= every.duration())
    };
    // A full read is also a sample; two reads of the same at once prove nothing more.
    if !state.verify.open && is_due(&state.full, policy.verify.full_every) {
        plan.actions.push(whole(Work::Verify, Some(full_verify())));
    } else if is_due(&state.verify, policy.verify.sample_every) {
        plan.actions.push(whole(Work::Verify, None));
    }
    if is_due(&state.restore_test, policy.verify.restore_test_every) {
        plan.actions.push(whole(Work::RestoreTest, None));
    }
    let keeps = !policy.retention.is_empty() || policy.disks.iter().any(|disk| disk.retention.is_some());
    // After a backup there may be something to let go, and never before one.
    if keeps && state.prune.is_free(now) && state.last_backup > state.prune.done {
        plan.actions.push(whole(Work::Prune, None));
    }
    plan
}

fn due(disk: &Disk, policy: &Policy, now: Timestamp) -> Result<Trigger, Held> {
    match policy.role_of(disk.id) {
        Some(Role::Source) => {}
        Some(Role::Store | Role::Ignored) => return Err(Held::NotASource),
        None => return Err(Held::NoPolicy),
    }
    let backup = policy.backup_of(disk.id);
    let local = local(now, &backup.time_zone);
    let since_plug = disk.asked.is_none_or(|asked| asked < disk.plugged);
    let scheduled = backup.schedule.as_ref().and_then(|schedule| last_time(schedule, &local));
    let trigger = match scheduled {
        _ if backup.on_plug == OnPlug::Backup && since_plug => Trigger::Plug,
        Some(time) if disk.asked.is_none_or(|asked| asked < time) => Trigger::Schedule,
        _ => return Err(Held::NothingDue),
    };
    let minute = minute_of(&local);
    let open = backup.window.is_none_or(|window| window.contains(minute))
        && !backup.quiet.iter().any(|quiet| quiet.contains(minute));
    if open { Ok(trigger) } else { Err(Held::OutsideWindow) }
}

/// Why the box may not restart into another release now, if it may not.
pub(crate) fn why_no_restart(policy: &Policy, now: Timestamp) -> Option<Text> {
    let (window, zone) = (policy.restart_window?, &policy.backup.time_zone);
    let is_open = window.contains(minute_of(&local(now, zone)));
    (!is_open).then(|| Text::cut(&format!("it restarts between {} and {} ({zone})", window.from, window.to)))
}

fn minute_of(local: &Zoned) -> u16 {
    local.hour() as u16 * 60 + local.minute() as u16
}

/// A zone was checked when the policy came; one that went missing since counts as UTC.
fn local(now: Timestamp, zone: &TimeZone) -> Zoned {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let instant = jiff::Timestamp::from_millisecond(now.as_millis() as i64).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.to_zoned(zone)
}

/// The last time of the schedule that has come. A time that a day does not have (summer time begins) is the moment after it.
fn last_time(schedule: &Schedule, local: &Zoned) -> Option<Timestamp> {
    let days = (LOOK_BACK.as_secs() / 86_400) as i64;
    let mut day = local.date();
    for _ in 0..=days {
        if schedule.days.contains(&weekday(day.weekday())) {
            for time in schedule.times.iter().rev() {
                let at = day.at((time.minutes() / 60) as i8, (time.minutes() % 60) as i8, 0, 0);
                if let Ok(at) = at.to_zoned(local.time_zone().clone())
                    && at <= *local
                {
                    return Timestamp::from_millis(u64::try_from(at.timestamp().as_millisecond()).ok()?);
                }
            }
        }
        day = day.yesterday().ok()?;
    }
    None
}

fn weekday(day: jiff::civil::Weekday) -> Weekday {
    Weekday::ALL[day.to_monday_zero_offset() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use saveos_protocol::shadow::{NewDisk, Window};
    use saveos_protocol::unit::Days;

    /// 2026-03-28 20:00 UTC, a Saturday; the night after it summer time begins in Berlin.
    const SATURDAY: u64 = 1_774_728_000_000;
    const HOUR: u64 = 3_600_000;

    fn at(hours: u64) -> Timestamp {
        Timestamp::saturating(SATURDAY + hours * HOUR)
    }

    fn disk(byte: u8) -> DiskId {
        DiskId::from_parts(at(0), [byte; 10])
    }

    fn policy() -> Policy {
        let mut policy = Policy::cautious();
        policy.new_disk = NewDisk::Backup;
        policy.backup.on_plug = OnPlug::Backup;
        policy.backup.time_zone = "Europe/Berlin".parse().expect("a zone");
        policy
    }

    fn plugged(asked: Option<u64>) -> State {
        let asked = asked.map(at);
        State { disks: vec![Disk { id: disk(1), plugged: at(0), asked, busy: false }], ..State::default() }
    }

    fn window(from: &str, to: &str) -> Window {
        Window { from: from.parse().expect("a time"), to: to.parse().expect("a time") }
    }

    #[test]
    fn a_disk_is_backed_up_once_when_it_is_plugged_in() {
        let first = plan(&plugged(None), &policy(), at(1));
        assert_eq!(
            first.actions,
            [Action { work: Work::Backup, disk: Some(disk(1)), order: None, trigger: Trigger::Plug }]
        );
        let later = plan(&plugged(Some(1)), &policy(), at(2));
        assert_eq!((later.actions.len(), later.held), (0, vec![(disk(1), Held::NothingDue)]));
    }

    #[test]
    fn a_disk_without_policy_is_not_read() {
        for new_disk in [NewDisk::Ask, NewDisk::Ignore] {
            let held = plan(&plugged(None), &Policy { new_disk, ..policy() }, at(1)).held;
            assert_eq!(held, [(disk(1), Held::NoPolicy)]);
        }
    }

    /// Clocks go forward from 2 to 3 in the night of 28 March 2027, and back in that of 31 October.
    #[test]
    fn a_restart_window_goes_by_the_clock_on_the_wall() {
        let mut policy = Policy::cautious();
        let at = |text: &str| {
            let at: jiff::Timestamp = text.parse().expect("a time");
            Timestamp::saturating(at.as_millisecond().cast_unsigned())
        };
        assert_eq!(why_no_restart(&policy, at("2027-03-28T00:00:00Z")), None);
        policy.backup.time_zone = "Europe/Berlin".parse().expect("a zone");
        policy.restart_window = Some(window("02:30", "04:00"));
        let is_open = |text: &str| why_no_restart(&policy, at(text)).is_none();
        assert!(!is_open("2027-03-27T01:29:00Z") && is_open("2027-03-27T01:30:00Z"), "winter");
        assert!(
            !is_open("2027-03-28T00:59:00Z") && is_open("2027-03-28T01:00:00Z"),
            "from 3 on, there is no half past 2"
        );
        assert!(is_open("2027-03-28T01:59:00Z") && !is_open("2027-03-28T02:00:00Z"), "summer");
        assert!(is_open("2027-10-31T00:30:00Z") && is_open("2027-10-31T01:30:00Z"), "half past 2 comes twice");
        let text = why_no_restart(&policy, at("2027-03-28T12:00:00Z")).expect("it is closed");
        assert_eq!(text.to_string(), "it restarts between 02:30 and 04:00 (Europe/Berlin)");
    }

    #[test]
    fn a_window_and_quiet_hours_hold_back_what_is_due() {
        let mut wanted = policy();
        // 21:00 in Berlin.
        wanted.backup.window = Some(window("22:00", "06:00"));
        assert_eq!(plan(&plugged(None), &wanted, at(0)).held, [(disk(1), Held::OutsideWindow)]);
        assert_eq!(plan(&plugged(None), &wanted, at(1)).actions.len(), 1);
        wanted.backup.quiet = vec![window("21:30", "23:00")];
        assert_eq!(plan(&plugged(None), &wanted, at(1)).held, [(disk(1), Held::OutsideWindow)]);
    }

    #[test]
    fn a_time_that_summer_time_skips_comes_when_the_clock_has_passed_it() {
        let mut wanted = policy();
        wanted.backup.on_plug = OnPlug::Wait;
        let times = ["02:30".parse().expect("a time")].into();
        wanted.backup.schedule = Some(Schedule { days: Weekday::ALL.iter().copied().collect(), times });
        // Last night's was done; at 01:59 nothing is due, at 03:30 it is: 02:30 did not exist.
        let done = plugged(Some(1));
        assert_eq!(plan(&done, &wanted, Timestamp::saturating(at(5).as_millis() - 60_000)).held[0].1, Held::NothingDue);
        let due = plan(&done, &wanted, Timestamp::saturating(at(5).as_millis() + HOUR / 2));
        assert_eq!(due.actions.iter().map(|action| &action.trigger).collect::<Vec<_>>(), [&Trigger::Schedule]);
    }

    #[test]
    fn backups_are_proven_and_pruned_when_it_is_time() {
        let mut wanted = policy();
        wanted.verify.sample_every = Some(Days::from(7));
        wanted.retention.daily = 7;
        assert_eq!(plan(&State::default(), &wanted, at(0)).actions, []);
        let mut state = State { last_backup: Some(at(1)), ..State::default() };
        let works = |state: &State, now| plan(state, &wanted, now).actions.iter().map(|a| a.work).collect::<Vec<_>>();
        assert_eq!(works(&state, at(2)), [Work::Verify, Work::Prune]);
        let done = Tried { done: Some(at(2)), asked: Some(at(2)), open: false };
        (state.verify, state.prune) = (done, done);
        assert_eq!(works(&state, at(3)), []);
        assert_eq!(works(&state, at(2 + 7 * 24)), [Work::Verify]);
        state.verify.open = true;
        assert_eq!(works(&state, at(2 + 7 * 24)), []);
    }

    #[test]
    fn recovery_is_proven_in_full_and_as_a_person_would_do_it() {
        let mut wanted = policy();
        wanted.verify.sample_every = Some(Days::from(7));
        wanted.verify.full_every = Some(Days::from(28));
        wanted.verify.restore_test_every = Some(Days::from(14));
        let mut state = State { last_backup: Some(at(1)), ..State::default() };
        let works = |state: &State, now| {
            let actions = plan(state, &wanted, now).actions;
            actions.into_iter().map(|action| (action.work, action.order.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(
            works(&state, at(2)),
            [(Work::Verify, true), (Work::RestoreTest, false)],
            "a full read is a sample, too"
        );
        let done = Tried { done: Some(at(2)), asked: Some(at(2)), open: false };
        (state.verify, state.full, state.restore_test) = (done, done, done);
        assert_eq!(works(&state, at(3)), []);
        assert_eq!(works(&state, at(2 + 7 * 24)), [(Work::Verify, false)]);
        state.verify.done = Some(at(2 + 21 * 24));
        assert_eq!(works(&state, at(2 + 27 * 24)), [(Work::RestoreTest, false)]);
        state.restore_test.open = true;
        assert_eq!(works(&state, at(2 + 28 * 24)), [(Work::Verify, true)]);
        state.verify.open = true;
        assert_eq!(works(&state, at(2 + 28 * 24)), []);
    }

    #[test]
    fn what_failed_is_tried_again_after_an_hour_and_not_at_once() {
        let mut wanted = policy();
        wanted.verify.sample_every = Some(Days::from(7));
        wanted.retention.daily = 7;
        let failed = Tried { done: None, asked: Some(at(2)), open: false };
        let state = State { last_backup: Some(at(1)), verify: failed, prune: failed, ..State::default() };
        let soon = Timestamp::saturating(at(3).as_millis() - 1);
        assert_eq!(plan(&state, &wanted, soon).actions, []);
        assert_eq!(plan(&state, &wanted, at(3)).actions.len(), 2);
    }

    proptest! {
        #[test]
        fn no_disk_gets_two_jobs_and_every_idle_disk_gets_a_job_or_a_reason(
            hours in 0u64..400, asked in prop::option::of(0u64..400), busy in any::<bool>(), wait in any::<bool>(),
        ) {
            let mut wanted = policy();
            wanted.backup.on_plug = if wait { OnPlug::Wait } else { OnPlug::Backup };
            let times = ["12:00".parse().expect("a time")].into();
            wanted.backup.schedule = Some(Schedule { days: Weekday::ALL.iter().copied().collect(), times });
            let mut state = plugged(asked);
            state.disks[0].busy = busy;
            let planned = plan(&state, &wanted, at(hours));
            prop_assert_eq!(planned.actions.len() + planned.held.len(), usize::from(!busy));
            // Done as planned, nothing is due at the same moment.
            state.disks[0].asked = Some(at(hours));
            prop_assert!(plan(&state, &wanted, at(hours)).actions.is_empty());
        }
    }
}
