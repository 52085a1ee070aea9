//! When disks are backed up, how long snapshots stay, how often they are proven. Plain values; the box plans with them.

use crate::text::TimeZone;
use crate::time::{DAY_MINUTES, TimeOfDay, Weekday};
use crate::unit::{Days, Percent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

crate::word::words! { closed
    /// What a plugged disk starts.
    OnPlug {
        /// A backup.
        Backup = "backup",
        /// Nothing: the schedule or a person does.
        Wait = "wait",
    }
}

crate::word::words! { closed
    /// What becomes of a disk that was never seen before. Ordered: later protects more.
    NewDisk {
        /// Nothing is read.
        Ignore = "ignore",
        /// Nothing is read until a person answers.
        Ask = "ask",
        /// It is a source like the others.
        Backup = "backup",
    }
}

/// When a disk is backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupPolicy {
    /// What plugging in starts.
    pub on_plug: OnPlug,
    /// The zone of all times below.
    pub time_zone: TimeZone,
    /// Runs by the clock; none: no schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Jobs start only inside; none: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// No job starts inside. What was due starts afterwards.
    #[serde(default)]
    pub quiet: Vec<Window>,
}

impl BackupPolicy {
    /// Minutes of a day in which a job may start.
    pub fn open_minutes(&self) -> u16 {
        let open = |minute: &u16| {
            self.window.is_none_or(|window| window.contains(*minute))
                && !self.quiet.iter().any(|quiet| quiet.contains(*minute))
        };
        (0..DAY_MINUTES).filter(open).count() as u16
    }

    /// Scheduled runs in a week.
    pub fn runs_a_week(&self) -> u32 {
        self.schedule.as_ref().map_or(0, |schedule| (schedule.days.len() * schedule.times.len()) as u32)
    }
}

/// On these days at these times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    /// Days of the week.
    pub days: BTreeSet<Weekday>,
    /// Times of each of them.
    pub times: BTreeSet<TimeOfDay>,
}

/// From a time (included) to a time (excluded), over midnight when it ends before it begins. Equal ends are refused: that
/// could mean never or always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// Begin.
    pub from: TimeOfDay,
    /// End.
    pub to: TimeOfDay,
}

impl Window {
    /// How long it is.
    pub const fn minutes(self) -> u16 {
        let (from, to) = (self.from.minutes(), self.to.minutes());
        if from < to { to - from } else { DAY_MINUTES - from + to }
    }

    /// Whether a minute since midnight lies inside.
    pub const fn contains(self, minute: u16) -> bool {
        let (from, to) = (self.from.minutes(), self.to.minutes());
        if from < to { from <= minute && minute < to } else { from <= minute || minute < to }
    }
}

crate::word::words! { open
    /// A rule of retention.
    RetentionRule {
        /// The newest ones.
        Last = "last",
        /// One an hour.
        Hourly = "hourly",
        /// One a day.
        Daily = "daily",
        /// One a week.
        Weekly = "weekly",
        /// One a month.
        Monthly = "monthly",
        /// One a year.
        Yearly = "yearly",
    }
}

/// How many snapshots to keep of what. The floor that was fixed at enrolment holds below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retention {
    /// The newest ones.
    pub last: u32,
    /// One for each of so many hours.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
}

impl Retention {
    /// The rules with their counts.
    pub const fn rules(&self) -> [(RetentionRule, u32); 6] {
        [
            (RetentionRule::Last, self.last),
            (RetentionRule::Hourly, self.hourly),
            (RetentionRule::Daily, self.daily),
            (RetentionRule::Weekly, self.weekly),
            (RetentionRule::Monthly, self.monthly),
            (RetentionRule::Yearly, self.yearly),
        ]
    }

    /// Keeps nothing: nobody means that.
    pub fn is_empty(&self) -> bool {
        *self == Retention::default()
    }
}

crate::word::words! { open
    /// A way to prove that backups can be restored.
    Check {
        /// A part of all chunks is read back.
        Sample = "sample",
        /// All of them are.
        Full = "full",
        /// A sample of files is restored and compared.
        RestoreTest = "restore_test",
    }
}

/// How often recovery is proven; none: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VerifyPolicy {
    /// How much a sample reads.
    #[serde(rename = "sample_percent")]
    pub sample: Percent,
    /// Days from sample to sample.
    #[serde(rename = "sample_every_days", skip_serializing_if = "Option::is_none")]
    pub sample_every: Option<Days>,
    /// Days from one full read to the next.
    #[serde(rename = "full_every_days", skip_serializing_if = "Option::is_none")]
    pub full_every: Option<Days>,
    /// Days from restore test to restore test.
    #[serde(rename = "restore_test_every_days", skip_serializing_if = "Option::is_none")]
    pub restore_test_every: Option<Days>,
}

impl VerifyPolicy {
    /// The checks with their periods.
    pub const fn checks(&self) -> [(Check, Option<Days>); 3] {
        [
            (Check::Sample, self.sample_every),
            (Check::Full, self.full_every),
            (Check::RestoreTest, self.restore_test_every),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: &str, to: &str) -> Window {
        Window { from: from.parse().expect("a time"), to: to.parse().expect("a time") }
    }

    #[test]
    fn a_window_goes_over_midnight() {
        let night = window("22:00", "06:00");
        assert_eq!((night.minutes(), window("06:00", "22:00").minutes()), (8 * 60, 16 * 60));
        assert!(night.contains(22 * 60) && night.contains(0) && night.contains(359));
        assert!(!night.contains(360) && !night.contains(12 * 60));
    }

    #[test]
    fn quiet_time_closes_the_window() {
        let policy = BackupPolicy {
            on_plug: OnPlug::Wait,
            time_zone: "UTC".parse().expect("a zone"),
            schedule: None,
            window: Some(window("20:00", "06:00")),
            quiet: vec![window("05:00", "08:00"), window("05:30", "06:30")],
        };
        assert_eq!(policy.open_minutes(), 9 * 60);
    }
}
