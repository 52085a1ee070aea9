//! Every bound of the contract, with its arithmetic. A bound may grow with a version, it never shrinks.

use std::time::Duration;

/// What a broker of ours takes in one packet. AWS IoT Core takes 128 KiB, so we stay portable.
pub const PACKET: usize = 64 * 1024;

/// 10,000 boxes × 400 B a minute are 67 KB/s: presence costs nothing.
pub const HEARTBEAT: usize = 400;

/// Presence: a birth is about 700 B with its signed stream; the will is under 200 B.
pub const PRESENCE: usize = 1024;

/// A fact: 2 GiB of outbox would hold half a million; 4 KiB hold a summary with some thirty notes.
pub const FACT: usize = 4 * 1024;

/// A shadow document: what AWS allows in a device shadow; 16 disks × 400 B + 1.5 KiB.
pub const SHADOW: usize = 8 * 1024;

/// A command: arguments of 2 KiB (a signed URL, or paths to restore) + 1 KiB envelope and signature, and room.
pub const COMMAND: usize = 4 * 1024;

/// A command's report: one error text and one result.
pub const REPORT: usize = 2 * 1024;

/// An acknowledgement: two names and two numbers.
pub const ACK: usize = 256;

/// A word between nodes of the control plane.
pub const WAKE: usize = 512;

/// An enrolment or renewal body: a chain of three PEM certificates at 1 KiB, a bundle of four, and room for RSA-sized ones.
pub const ENROLMENT: usize = 48 * 1024;

/// A problem document.
pub const PROBLEM: usize = 8 * 1024;

/// Nesting of JSON: a message needs 7 levels; more is somebody trying our stack.
pub const DEPTH: usize = 16;

/// Items that a list in a fact shows; the rest is counted. 32 × 110 B is what 4 KiB leave beside the numbers.
pub const SHOWN: usize = 32;

/// Disks in a shadow document: two hubs with seven ports and two SATA bays.
pub const DISKS: usize = 16;

/// Brokers in a desired document: own cell, its successor, two regions.
pub const BROKERS: usize = 4;

/// Runs a day in a schedule: one an hour.
pub const RUNS: usize = 24;

/// Quiet times in a day.
pub const QUIET: usize = 8;

/// The shortest restart window: a backup may run when it opens, and a step of the clock in spring must leave some of most.
pub const RESTART_WINDOW_MINUTES: u16 = 30;

/// Pinned certificate authorities: the present one, the next one, and a spare pair.
pub const PINS: usize = 4;

/// Paths that one restore of files names; more are restored by their folder.
pub const PATHS: usize = 32;

/// Snapshots that one command forgets: 64 hexadecimal digits each, in 4 KiB.
pub const FORGET: usize = 40;

/// The longest life of a signature: a box may be off for a holiday. After that its order is asked for again.
pub const SIGNATURE_LIFE: Duration = Duration::from_secs(45 * 86_400);

/// How often a box says that it is alive: often enough to see a plug pulled, seldom enough for a metered link.
pub const HEARTBEAT_EVERY_S: std::ops::RangeInclusive<u64> = 10..=3600;

/// How long a box keeps facts that are acknowledged, for a server that comes back from an old backup.
pub const KEEP_ACKED: Duration = Duration::from_secs(30 * 86_400);

/// How long a box remembers a command and its result, so that a copy runs nothing twice.
pub const KEEP_COMMANDS: Duration = Duration::from_secs(7 * 86_400);

/// Facts in an outbox, in bytes: 16,000 of the largest, years of ordinary ones.
pub const OUTBOX_BYTES: u64 = 64 * 1024 * 1024;

/// Rebirths a control plane may ask for: one a minute, or asking makes the storm.
pub const REBIRTH_EVERY: Duration = Duration::from_secs(60);
