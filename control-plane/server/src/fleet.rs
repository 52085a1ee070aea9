//! The fleet as people read it: boxes with their presence, disks with what protects them. Only reads.

mod listing;
pub(crate) mod standing;

pub(crate) use listing::{Filter, Place, Sort, page};

use crate::alerts::{Filling, SOON, Seen};
use crate::capacity;
use crate::cell::ears::Ears;
use crate::presence::{Presence, Signs, presence};
use crate::protection::{self, Reason};
use crate::store::{Row, StoreError, Tx, first, values};
use saveos_protocol::fact::Smart;
use saveos_protocol::id::{DeviceId, DiskId};
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// A box: whether it is there, and what it protects.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Appliance {
    pub(crate) id: DeviceId,
    name: String,
    site: String,
    firmware: String,
    /// Words that people put on it.
    tags: Vec<String>,
    #[serde(rename = "enrolled_ms")]
    enrolled: Timestamp,
    #[serde(rename = "certificate_until_ms")]
    certificate_until: Timestamp,
    presence: Presence,
    #[serde(rename = "heard_ms")]
    heard: Option<Timestamp>,
    /// Why its last session ended.
    gone_why: Option<String>,
    /// As the box said it.
    #[schemars(with = "Option<saveos_protocol::heartbeat::Heartbeat>")]
    heartbeat: Option<Value>,
    /// The version of the document that it should have.
    desired: u64,
    /// The version that it has.
    applied: u64,
    /// Somebody could open its backups without it.
    recoverable: bool,
    #[serde(rename = "flagged_ms")]
    flagged: Option<Timestamp>,
    /// What it did that no box of ours does.
    flag: Option<String>,
    #[serde(rename = "revoked_ms")]
    revoked: Option<Timestamp>,
    protected: bool,
    /// Of the box itself; a disk has its own.
    not_protected: Vec<Reason>,
    disks: Vec<Disk>,
    stores: Vec<Room>,
}

/// Room in a store.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Room {
    /// The store disk; none: the box's own.
    disk: Option<String>,
    #[serde(rename = "at_ms")]
    at: Timestamp,
    /// `roomy`, `low` or `full`.
    level: String,
    size_bytes: u64,
    free_bytes: u64,
    /// When it will be full if it goes on as in the last month.
    #[serde(rename = "full_ms")]
    full: Option<Timestamp>,
    /// What a day adds, as in the last month; none: it does not grow, or was not watched for long enough.
    day_bytes: Option<u64>,
    /// The retention that would help: so many days of snapshots fit at that rate.
    holds_days: Option<u64>,
}

/// A disk, its newest recovery point, and why it is not protected.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Disk {
    id: String,
    /// As the box said it.
    #[schemars(with = "Option<saveos_protocol::fact::DiskIdentity>")]
    identity: Option<Value>,
    bus: String,
    size_bytes: u64,
    #[serde(rename = "seen_ms")]
    seen: Timestamp,
    #[serde(rename = "gone_ms")]
    gone: Option<Timestamp>,
    #[serde(rename = "newest_ms")]
    newest: Option<Timestamp>,
    not_protected: Vec<Reason>,
    /// What it says of its health, as the box judged it; none: it was not asked yet.
    #[schemars(with = "Option<saveos_protocol::fact::Smart>")]
    health: Option<Value>,
    /// How it is divided; none: not known.
    #[schemars(with = "Option<saveos_protocol::excerpt::Excerpt<saveos_protocol::fact::Partition>>")]
    partitions: Option<Value>,
}

/// Columns of a box, in the order in which `appliance` reads them.
macro_rules! appliance_columns {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.name, a.node, a.firmware, a.enrolled_ms, a.until_ms, a.heard_ms, a.gone_ms, a.gone_why,
            a.heartbeat, a.desired_ver, a.applied_ver, a.recoverable_ms, a.flagged_ms, a.flag, a.revoked_ms, n.path,
            a.protected_until_ms, a.tags, a.heard_in
            FROM appliance a JOIN node n ON n.id = a.node ",
            $rest
        )
    };
}

/// One box and where it hangs.
pub(crate) fn one(
    tx: &mut dyn Tx,
    device: DeviceId,
    (ears, now): (&Ears, Timestamp),
) -> Result<Option<(String, Appliance)>, StoreError> {
    let Some(row) = first(tx, appliance_columns!("WHERE a.id = $1"), &values![device])? else { return Ok(None) };
    Ok(Some((row.text(16)?.to_owned(), appliance(tx, &row, ears, now)?)))
}

/// Where a box hangs.
pub(crate) fn path_of(tx: &mut dyn Tx, device: DeviceId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT n.path FROM appliance a JOIN node n ON n.id = a.node WHERE a.id = $1";
    let row = first(tx, sql, &values![device])?;
    row.map(|row| Ok(row.text(0)?.to_owned())).transpose()
}

fn appliance(tx: &mut dyn Tx, row: &Row, ears: &Ears, now: Timestamp) -> Result<Appliance, StoreError> {
    let signs = signs(row)?;
    let device: DeviceId = row.parse(0)?;
    let recoverable = row.maybe_number(12)?.is_some();
    let disks = disks(tx, device, signs.heard.is_some(), recoverable, now)?;
    let own = if disks.is_empty() {
        let state = protection::State { heard: signs.heard.is_some(), ..protection::State::default() };
        protection::reasons(&state, now)
    } else {
        Vec::new()
    };
    let is_protected = own.is_empty() && disks.iter().all(|disk| disk.not_protected.is_empty());
    Ok(Appliance {
        id: device,
        name: row.text(1)?.to_owned(),
        site: row.text(2)?.to_owned(),
        firmware: row.text(3)?.to_owned(),
        tags: row.text(18)?.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        enrolled: row.time(4)?,
        certificate_until: row.time(5)?,
        presence: presence(signs, ears.deaf(row.text(19)?, now), now),
        heard: signs.heard,
        gone_why: row.maybe_text(8)?.map(str::to_owned),
        heartbeat: row.maybe_json(9)?,
        desired: row.number(10)?,
        applied: row.number(11)?,
        recoverable,
        flagged: row.maybe_time(13)?,
        flag: row.maybe_text(14)?.map(str::to_owned),
        revoked: row.maybe_time(15)?,
        protected: is_protected,
        not_protected: own,
        disks,
        stores: rooms(tx, device)?,
    })
}

fn signs(row: &Row) -> Result<Signs, StoreError> {
    let stopped = row.maybe_text(8)?.is_some_and(|why| why != "lwt");
    Ok(Signs { heard: row.maybe_time(6)?, gone: row.maybe_time(7)?, stopped })
}

/// Boxes that were heard last beside the first cell: all, or none, or any number of them.
fn elsewhere(tx: &mut dyn Tx) -> Result<HashMap<String, String>, StoreError> {
    let rows = tx.query("SELECT id, heard_in FROM appliance WHERE heard_in <> 'main'", &[])?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}

/// The name of the cell in which a box was heard, as `elsewhere` knows it.
fn cell_of<'e>(elsewhere: &'e HashMap<String, String>, id: &str) -> &'e str {
    elsewhere.get(id).map_or("main", String::as_str)
}

/// All boxes that are trusted, as the rules of alerts see them.
pub(crate) fn for_alerts(tx: &mut dyn Tx, ears: &Ears, now: Timestamp) -> Result<Vec<Seen>, StoreError> {
    let rows = tx.query(appliance_columns!("WHERE a.revoked_ms IS NULL ORDER BY a.id"), &[])?;
    let (mut fleet, mut filling, mut failing) = (Vec::new(), filling(tx, now)?, failing(tx)?);
    for row in &rows {
        let (device, signs): (DeviceId, Signs) = (row.parse(0)?, signs(row)?);
        // Of a box that is protected there is nothing to tell of its disks: nobody has to look at them.
        let protected = row.maybe_time(17)?.is_some_and(|until| now <= until);
        let heard = signs.heard.is_some();
        let known =
            if protected { Vec::new() } else { disks(tx, device, heard, row.maybe_number(12)?.is_some(), now)? };
        let mut own = Vec::new();
        for disk in known {
            let id = disk.id.parse().map_err(|_| StoreError::Damaged("the name of a disk"))?;
            own.push((id, disk.seen, disk.not_protected));
        }
        fleet.push(Seen {
            device,
            site: row.text(2)?.to_owned(),
            presence: presence(signs, ears.deaf(row.text(19)?, now), now),
            enrolled: Timestamp::saturating(row.number(4)?),
            flag: row.maybe_text(14)?.map(str::to_owned),
            disks: own,
            stores: filling.remove(row.text(0)?).unwrap_or_default(),
            failing: failing.remove(row.text(0)?).unwrap_or_default(),
        });
    }
    Ok(fleet)
}

/// A box, as a rollout cares for it.
pub(crate) struct Target {
    pub(crate) device: DeviceId,
    /// As enrolment said, in JSON.
    pub(crate) hardware: String,
    pub(crate) firmware: String,
    /// The token of the release that it is offered.
    pub(crate) offered: Option<String>,
    pub(crate) tags: String,
    /// Where in the tree it is.
    pub(crate) node: String,
    pub(crate) presence: Presence,
}

/// One box.
pub(crate) fn for_rollout(
    tx: &mut dyn Tx,
    device: DeviceId,
    ears: &Ears,
    now: Timestamp,
) -> Result<Option<Target>, StoreError> {
    let sql = "SELECT hardware, firmware, offered, tags, id, node, heard_ms, gone_ms, gone_why, heard_in
        FROM appliance WHERE id = $1 AND revoked_ms IS NULL";
    let Some(row) = first(tx, sql, &values![device])? else { return Ok(None) };
    Ok(Some(Target {
        device,
        hardware: row.text(0)?.to_owned(),
        firmware: row.text(1)?.to_owned(),
        offered: row.maybe_text(2)?.map(str::to_owned),
        tags: row.text(3)?.to_owned(),
        node: row.text(5)?.to_owned(),
        presence: presence(signs(&row)?, ears.deaf(row.text(9)?, now), now),
    }))
}

/// All boxes that are trusted.
pub(crate) fn for_rollouts(tx: &mut dyn Tx, ears: &Ears, now: Timestamp) -> Result<Vec<Target>, StoreError> {
    let elsewhere = elsewhere(tx)?;
    // Two looks, each through an index of its own, instead of one through every box's documents.
    let rows = tx.query("SELECT id, hardware, offered FROM appliance ORDER BY id", &[])?;
    let mut targets = rows.iter();
    // The columns of `signs` stand where they stand elsewhere.
    let sql = "SELECT id, firmware, tags, node, name, revoked_ms, heard_ms, gone_ms, gone_why FROM appliance
        WHERE revoked_ms IS NULL ORDER BY id";
    let mut fleet = Vec::new();
    for row in &tx.query(sql, &[])? {
        let id = row.text(0)?;
        // Both are in the same order and of the same moment; those that are revoked are passed by.
        let target = targets.find(|target| target.text(0).is_ok_and(|other| other == id));
        let Some(target) = target else {
            return Err(StoreError::Damaged("a box is in one index and not in the other"));
        };
        fleet.push(Target {
            device: row.parse(0)?,
            hardware: target.text(1)?.to_owned(),
            firmware: row.text(1)?.to_owned(),
            offered: target.maybe_text(2)?.map(str::to_owned),
            tags: row.text(2)?.to_owned(),
            node: row.text(3)?.to_owned(),
            presence: presence(signs(row)?, ears.deaf(cell_of(&elsewhere, id), now), now),
        });
    }
    Ok(fleet)
}

/// The disks of a box.
fn disks(
    tx: &mut dyn Tx,
    device: DeviceId,
    heard: bool,
    recoverable: bool,
    now: Timestamp,
) -> Result<Vec<Disk>, StoreError> {
    let disk = |(row, state): &(Row, protection::State)| {
        Ok(Disk {
            id: row.text(0)?.to_owned(),
            identity: row.maybe_json(1)?,
            bus: row.text(2)?.to_owned(),
            size_bytes: row.number(3)?,
            seen: row.time(4)?,
            gone: row.maybe_time(5)?,
            newest: state.newest,
            not_protected: protection::reasons(state, now),
            health: row.maybe_json(8)?,
            partitions: row.maybe_json(9)?,
        })
    };
    states(tx, device, heard, recoverable)?.iter().map(disk).collect()
}

/// Each disk of a box, and what is known of its protection.
fn states(
    tx: &mut dyn Tx,
    device: DeviceId,
    heard: bool,
    recoverable: bool,
) -> Result<Vec<(Row, protection::State)>, StoreError> {
    let sql =
        "SELECT MAX(ended_ms) FROM job WHERE device = $1 AND work IN ('verify', 'restore_test') AND state = 'done'
        AND result LIKE '%\"verdict\":\"clean\"%'";
    let proven = first(tx, sql, &values![device])?.map(|row| row.maybe_time(0)).transpose()?.flatten();
    let sql = "SELECT d.id, d.identity, d.bus, d.size_bytes, d.seen_ms, d.gone_ms,
        (SELECT MAX(p.taken_ms) FROM recovery_point p WHERE p.device = d.device AND p.disk = d.id
            AND p.forgotten_ms IS NULL AND p.state IN ('complete', 'partial')),
        (SELECT j.state FROM job j WHERE j.device = d.device AND j.disk = d.id AND j.work = 'backup'
            AND j.ended_ms IS NOT NULL ORDER BY j.id DESC LIMIT 1), h.smart, d.partitions
        FROM disk d LEFT JOIN disk_health h ON h.device = d.device AND h.disk = d.id WHERE d.device = $1 ORDER BY d.id";
    let state = |row: Row| {
        let (newest, failed) = (row.maybe_time(6)?, row.maybe_text(7)? == Some("failed"));
        let state = protection::State { heard, disk: true, newest, failed, recoverable, proven };
        Ok((row, state))
    };
    tx.query(sql, &values![device])?.into_iter().map(state).collect()
}

fn rooms(tx: &mut dyn Tx, device: DeviceId) -> Result<Vec<Room>, StoreError> {
    let sql = "SELECT disk, at_ms, level, size_bytes, free_bytes, full_ms, day_bytes FROM store_room WHERE device = $1 ORDER BY disk";
    let rows = tx.query(sql, &values![device])?;
    let base = if rows.is_empty() { 0 } else { first_snapshots(tx, device)? };
    let room = |row: &Row| {
        let day = row.maybe_number(6)?;
        Ok(Room {
            disk: Some(row.text(0)?).filter(|disk| !disk.is_empty()).map(str::to_owned),
            at: row.time(1)?,
            level: row.text(2)?.to_owned(),
            size_bytes: row.number(3)?,
            free_bytes: row.number(4)?,
            full: row.maybe_time(5)?,
            day_bytes: day,
            holds_days: day.map(|day| capacity::holds_days(row.number(3).unwrap_or(0), base, day)),
        })
    };
    rows.iter().map(room).collect()
}

/// Bytes that the first snapshots of its disks took: what is there before a day adds anything.
fn first_snapshots(tx: &mut dyn Tx, device: DeviceId) -> Result<u64, StoreError> {
    let sql = "SELECT p.summary FROM recovery_point p WHERE p.device = $1 AND p.taken_ms =
        (SELECT MIN(o.taken_ms) FROM recovery_point o WHERE o.device = p.device AND o.disk = p.disk)";
    let mut bytes = 0u64;
    for row in tx.query(sql, &values![device])? {
        let summary = row.maybe_json(0)?.unwrap_or_default();
        bytes = bytes.saturating_add(summary["bytes_stored"].as_u64().unwrap_or(0));
    }
    Ok(bytes)
}

/// Stores that a person should look at, of all boxes: low, full, or soon.
fn filling(tx: &mut dyn Tx, now: Timestamp) -> Result<BTreeMap<String, Vec<Filling>>, StoreError> {
    let sql = "SELECT device, disk, level, full_ms, size_bytes, day_bytes FROM store_room
        WHERE level IN ('low', 'full') OR full_ms < $1";
    let mut found: BTreeMap<String, Vec<Filling>> = BTreeMap::new();
    for row in tx.query(sql, &values![now.after(SOON)])? {
        let base = first_snapshots(tx, row.parse(0)?)?;
        let holds = row.maybe_number(5)?.map(|day| capacity::holds_days(row.number(4).unwrap_or(0), base, day));
        let (disk, level) = (row.parse(1).ok(), row.text(2)?.to_owned());
        let filling = Filling { disk, level, full: row.maybe_time(3)?, holds };
        found.entry(row.text(0)?.to_owned()).or_default().push(filling);
    }
    Ok(found)
}

/// Disks that are plugged in and fail, of all boxes, with their reasons.
fn failing(tx: &mut dyn Tx) -> Result<BTreeMap<String, Vec<(DiskId, String)>>, StoreError> {
    let sql = "SELECT h.device, h.disk, h.smart FROM disk_health h JOIN disk d ON d.device = h.device AND d.id = h.disk
        WHERE h.verdict = 'failing' AND d.gone_ms IS NULL";
    let mut found: BTreeMap<String, Vec<(DiskId, String)>> = BTreeMap::new();
    for row in tx.query(sql, &[])? {
        let smart: Option<Smart> = serde_json::from_str(row.text(2)?).ok();
        let reasons: Vec<String> =
            smart.iter().flat_map(|smart| &smart.reasons.shown).map(ToString::to_string).collect();
        found.entry(row.text(0)?.to_owned()).or_default().push((row.parse(1)?, reasons.join(", ")));
    }
    Ok(found)
}

/// Writes down until when a box is protected, and what it lacks then, after something happened that may change it.
pub(crate) fn judge(tx: &mut dyn Tx, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "SELECT heard_ms, recoverable_ms, protected_until_ms, unprotected_ms FROM appliance WHERE id = $1";
    let Some(row) = first(tx, sql, &values![device])? else { return Ok(()) };
    let (heard, recoverable) = (row.maybe_number(0)?.is_some(), row.maybe_number(1)?.is_some());
    let states = states(tx, device, heard, recoverable)?;
    let none = protection::State { heard, recoverable, ..protection::State::default() };
    let lapses = states.iter().map(|(_, state)| protection::lapse(state, now));
    let (until, why) = lapses.min_by_key(|(until, _)| *until).unwrap_or_else(|| protection::lapse(&none, now));
    let (before, since) = (row.maybe_time(2)?, row.maybe_time(3)?);
    let since = match (until, before) {
        (Some(_), _) => None,
        (None, Some(before)) if before.as_millis() > 0 => Some(before.min(now)),
        (None, _) => since.or(Some(now)),
    };
    let until = until.unwrap_or(Timestamp::saturating(0));
    let sql = "UPDATE appliance SET protected_until_ms = $1, lapse_why = $2, unprotected_ms = $3 WHERE id = $4";
    tx.execute(sql, &values![until, why.name(), since, device])?;
    Ok(())
}

/// Judges boxes that nobody has judged, some at a time; how many there were.
pub(crate) fn judge_more(tx: &mut dyn Tx, now: Timestamp) -> Result<usize, StoreError> {
    let rows = tx.query("SELECT id FROM appliance WHERE protected_until_ms IS NULL LIMIT 500", &[])?;
    rows.iter().try_for_each(|row| judge(tx, row.parse(0)?, now))?;
    Ok(rows.len())
}
