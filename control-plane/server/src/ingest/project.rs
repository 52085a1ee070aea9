//! Facts as a person sees them: disks, jobs, recovery points, flags. Called once for each fact, in the transaction that stores it.
//!
//! Facts may come in another order than they happened (what was missing comes later), so each row keeps the end of a thing
//! whatever comes after it.

use crate::capacity::{self, Sample};
use crate::store::{Row, StoreError, Tx, first, values};
use saveos_protocol::command::State;
use saveos_protocol::fact::{BackupSummary, Body, End, Fact, JobEnded, JobResult, KeyState, StoreCapacity, Trigger};
use saveos_protocol::id::{DeviceId, DiskId};
use saveos_protocol::time::Timestamp;

/// Projects a fact; whether it may change until when the box is protected.
pub(super) fn fact(tx: &mut dyn Tx, device: DeviceId, fact: &Fact, now: Timestamp) -> Result<bool, StoreError> {
    // A clock that runs ahead must not hide what is said later, nor call a backup of today one of next year.
    let at = fact.ts.min(now);
    match &fact.body {
        Body::DiskSeen(seen) => {
            let sql =
                "INSERT INTO disk (device, id, identity, bus, size_bytes, seen_ms) VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT (device, id) DO UPDATE SET identity = excluded.identity, bus = excluded.bus,
                size_bytes = excluded.size_bytes, seen_ms = excluded.seen_ms, gone_ms = NULL";
            let (identity, bus) = (json(&seen.identity)?, seen.bus.to_string());
            tx.execute(sql, &values![device, seen.disk, identity, bus, seen.size_bytes, at])?;
        }
        Body::DiskIdentified(identified) => {
            let sql = "UPDATE disk SET identity = $1, partitions = $2 WHERE device = $3 AND id = $4";
            let (identity, partitions) = (json(&identified.identity)?, json(&identified.partitions)?);
            tx.execute(sql, &values![identity, partitions, device, identified.disk])?;
        }
        Body::DiskGone(gone) => {
            let sql = "UPDATE disk SET gone_ms = $1 WHERE device = $2 AND id = $3";
            tx.execute(sql, &values![at, device, gone.disk])?;
        }
        Body::JobStarted(started) => {
            let command = match started.trigger {
                Trigger::Command { command } => Some(command),
                Trigger::Plug | Trigger::Schedule | Trigger::Button | Trigger::Unknown => None,
            };
            let sql = "INSERT INTO job (device, id, work, disk, state, begun_ms, command)
                VALUES ($1, $2, $3, $4, 'running', $5, $6)
                ON CONFLICT (device, id) DO UPDATE SET begun_ms = COALESCE(job.begun_ms, excluded.begun_ms),
                command = COALESCE(job.command, excluded.command)";
            tx.execute(sql, &values![device, started.job, started.work.to_string(), started.disk, at, command])?;
        }
        Body::JobEnded(ended) => job_ended(tx, device, ended, at)?,
        Body::SnapshotFound(found) => recovery_point(tx, device, found.disk, &found.summary, found.taken.min(now))?,
        Body::Key(state) => {
            let recoverable = state.is_recoverable().then_some(at);
            tx.execute("UPDATE appliance SET recoverable_ms = $1 WHERE id = $2", &values![recoverable, device])?;
            if matches!(state, KeyState::Unknown) {
                flag(tx, device, "a key state of a newer release", now)?;
            }
        }
        Body::Gap(gap) => flag(tx, device, &format!("facts {} to {} are gone", gap.from, gap.to), now)?,
        Body::PolicyRefused(refused) => {
            flag(tx, device, &format!("it refused the desired document {}", refused.version), now)?;
        }
        Body::Tamper(_) => flag(tx, device, "it reports tampering", now)?,
        Body::SameIdTwice(_) => flag(tx, device, "another box uses its name", now)?,
        Body::ClockJump(_) => flag(tx, device, "its clock jumped", now)?,
        Body::StoreCapacity(capacity) => room(tx, device, capacity, at)?,
        Body::Smart(smart) => {
            let sql = "INSERT INTO disk_health (device, disk, at_ms, verdict, smart) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (device, disk) DO UPDATE SET at_ms = excluded.at_ms, verdict = excluded.verdict,
                smart = excluded.smart WHERE excluded.at_ms >= disk_health.at_ms";
            tx.execute(sql, &values![device, smart.disk, at, smart.verdict.to_string(), json(smart)?])?;
        }
        Body::StreamBorn(_) | Body::Unknown => {}
    }
    Ok(matches!(fact.body, Body::DiskSeen(_) | Body::JobEnded(_) | Body::SnapshotFound(_) | Body::Key(_)))
}

/// Marks a box for a person to look at. The last reason stands; all of them are in the facts and the log.
pub(super) fn flag(tx: &mut dyn Tx, device: DeviceId, why: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE appliance SET flagged_ms = $1, flag = $2 WHERE id = $3", &values![now, why, device])?;
    Ok(())
}

fn job_ended(tx: &mut dyn Tx, device: DeviceId, ended: &JobEnded, at: Timestamp) -> Result<(), StoreError> {
    let state = if ended.result.failure().is_some() { "failed" } else { "done" };
    let sql = "INSERT INTO job (device, id, work, disk, state, ended_ms, result) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (device, id) DO UPDATE SET state = excluded.state, ended_ms = excluded.ended_ms,
        result = excluded.result, disk = COALESCE(excluded.disk, job.disk)";
    let work = ended.result.work().to_string();
    tx.execute(sql, &values![device, ended.job, work, ended.disk, state, at, json(&ended.result)?])?;
    end_command(tx, device, ended, at)?;
    match &ended.result {
        JobResult::Backup(End::Done(summary)) => recovery_point(tx, device, ended.disk, summary, at),
        JobResult::Prune(End::Done(summary)) => {
            for snapshot in &summary.forgotten.shown {
                let sql = "UPDATE recovery_point SET forgotten_ms = $1 WHERE device = $2 AND snapshot = $3";
                tx.execute(sql, &values![at, device, *snapshot])?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A command that became this job ends with it: reports may be lost, facts are not.
fn end_command(tx: &mut dyn Tx, device: DeviceId, ended: &JobEnded, at: Timestamp) -> Result<(), StoreError> {
    let state = match ended.result.failure() {
        None => State::Succeeded { note: None },
        Some(failure) => State::Failed { failure: failure.clone() },
    };
    let sql = "UPDATE command SET state = $1, ended_ms = $2 WHERE device = $3 AND ended_ms IS NULL
        AND id = (SELECT command FROM job WHERE device = $3 AND id = $4)";
    tx.execute(sql, &values![json(&state)?, at, device, ended.job])?;
    Ok(())
}

fn recovery_point(
    tx: &mut dyn Tx,
    device: DeviceId,
    disk: Option<DiskId>,
    summary: &BackupSummary,
    taken: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO recovery_point (device, snapshot, disk, taken_ms, state, summary)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (device, snapshot) DO NOTHING";
    let state = summary.state.to_string();
    tx.execute(sql, &values![device, summary.snapshot, disk, taken, state, json(summary)?])?;
    Ok(())
}

/// How a store is now; once an hour also where that leads.
fn room(tx: &mut dyn Tx, device: DeviceId, capacity: &StoreCapacity, at: Timestamp) -> Result<(), StoreError> {
    let disk = capacity.disk.map_or_else(String::new, |disk| disk.to_string());
    let (size, free) = (capacity.size_bytes.get(), capacity.free_bytes.get());
    // Facts may come late: an older one says nothing of now.
    let sql =
        "INSERT INTO store_room (device, disk, at_ms, level, size_bytes, free_bytes) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (device, disk) DO UPDATE SET at_ms = excluded.at_ms, level = excluded.level,
        size_bytes = excluded.size_bytes, free_bytes = excluded.free_bytes WHERE excluded.at_ms >= store_room.at_ms";
    tx.execute(sql, &values![device, disk.as_str(), at, capacity.level.to_string(), size, free])?;
    let sql = "INSERT INTO room_sample (device, disk, hour, at_ms, used_bytes) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (device, disk, hour) DO NOTHING";
    let hour = at.as_millis() / 3_600_000;
    if tx.execute(sql, &values![device, disk.as_str(), hour, at, size.saturating_sub(free)])? == 0 {
        return Ok(());
    }
    let sql = "DELETE FROM room_sample WHERE device = $1 AND disk = $2 AND hour < $3";
    tx.execute(sql, &values![device, disk.as_str(), at.before(capacity::WINDOW).as_millis() / 3_600_000])?;
    let sql = "SELECT at_ms, used_bytes FROM room_sample WHERE device = $1 AND disk = $2 ORDER BY hour";
    let rows = tx.query(sql, &values![device, disk.as_str()])?;
    let sample = |row: &Row| Ok::<_, StoreError>(Sample { at: row.time(0)?, used: row.number(1)? });
    let samples = rows.iter().map(sample).collect::<Result<Vec<Sample>, _>>()?;
    // What is free now, which a late fact does not know.
    let sql = "SELECT free_bytes FROM store_room WHERE device = $1 AND disk = $2";
    let row = first(tx, sql, &values![device, disk.as_str()])?.ok_or(StoreError::Damaged("a store without a row"))?;
    let growth = capacity::growth(&samples);
    let free = row.number(0)?;
    let full = growth.and_then(|growth| growth.full_at(free));
    let sql = "UPDATE store_room SET full_ms = $1, day_bytes = $2 WHERE device = $3 AND disk = $4";
    tx.execute(sql, &values![full, growth.map(|growth| growth.of_a_day()), device, disk])?;
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Damaged("a fact that has no JSON"))
}
