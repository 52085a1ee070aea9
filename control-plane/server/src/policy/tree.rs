//! Policies down the tree: the nearest one above a box holds, and a change makes a new document for every box it holds for.
//!
//! All or nothing: a policy that makes no sense for one box, or weakens one box without the command key, changes none.

use super::Policy;
use crate::store::{StoreError, Tx, first, values};
use saveos_protocol::id::DeviceId;
use saveos_protocol::shadow::{Desired, DesiredFault, ReleaseTarget, Weakening, weakens};
use saveos_protocol::text::{BrokerUrl, TimeZone};
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::Down;
use saveos_protocol::unit::DesiredVersion;
use saveos_protocol::{Topic, decode, encode};
use std::collections::HashMap;

/// Why a policy is not set.
#[derive(Debug)]
pub(crate) enum NotSet {
    /// It makes no sense.
    Faulty(DesiredFault),
    /// It would weaken a box.
    Weakens(DeviceId, Vec<Weakening>),
    /// No box would know it.
    TimeZone(TimeZone),
    /// The document outgrows its bound.
    TooLarge,
    /// The store.
    Store(StoreError),
}

impl From<StoreError> for NotSet {
    fn from(error: StoreError) -> NotSet {
        NotSet::Store(error)
    }
}

/// The policy nearest to a place on its way up, and the node that has it.
pub(crate) fn nearest(tx: &mut dyn Tx, path: &str) -> Result<(Policy, Option<String>), StoreError> {
    for name in path.split('/').rev().filter(|name| !name.is_empty()) {
        let row = first(tx, "SELECT policy FROM node WHERE id = $1", &values![name])?;
        if let Some(text) = row.as_ref().and_then(|row| row.maybe_text(0).transpose()).transpose()? {
            return Ok((parse(text)?, Some(name.to_owned())));
        }
    }
    Ok((Policy::default(), None))
}

/// All policies and where they stand, for looks at many boxes.
pub(crate) struct Policies {
    /// The path of every node, and its policy as it is stored.
    nodes: HashMap<String, (String, Option<String>)>,
}

impl Policies {
    pub(crate) fn read(tx: &mut dyn Tx) -> Result<Policies, StoreError> {
        let mut nodes = HashMap::new();
        for row in tx.query("SELECT id, path, policy FROM node", &[])? {
            let policy = row.maybe_text(2)?.map(str::to_owned);
            nodes.insert(row.text(0)?.to_owned(), (row.text(1)?.to_owned(), policy));
        }
        Ok(Policies { nodes })
    }

    /// The one that holds at a node.
    pub(crate) fn of(&self, node: &str) -> Result<Policy, StoreError> {
        let path = self.nodes.get(node).map_or("", |(path, _)| path);
        let mut up = path.rsplit('/').filter_map(|name| self.nodes.get(name)?.1.as_deref());
        up.next().map_or_else(|| Ok(Policy::default()), parse)
    }
}

fn parse(text: &str) -> Result<Policy, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Damaged("a policy"))
}

/// Sets the policy of a node; what its boxes are to be told.
pub(crate) fn set(
    tx: &mut dyn Tx,
    (node, path): (&str, &str),
    policy: &Policy,
    now: Timestamp,
) -> Result<Vec<(Topic, Vec<u8>)>, NotSet> {
    if jiff::tz::TimeZone::get(&policy.backup.time_zone).is_err() {
        return Err(NotSet::TimeZone(policy.backup.time_zone.clone()));
    }
    let json = serde_json::to_string(policy).map_err(|_| StoreError::Damaged("a policy"))?;
    tx.execute("UPDATE node SET policy = $1 WHERE id = $2", &values![json, node])?;
    let sql =
        "SELECT a.id, n.path, a.desired, a.desired_ver, a.applied_ver FROM appliance a JOIN node n ON n.id = a.node
        WHERE n.path >= $1 AND n.path < $2 AND a.revoked_ms IS NULL ORDER BY a.id";
    let mut said = Vec::new();
    for row in tx.query(sql, &values![path, format!("{path}\u{10FFFF}")])? {
        let (_, holds) = nearest(tx, row.text(1)?)?;
        if holds.as_deref() != Some(node) {
            continue; // one nearer to the box
        }
        let device: DeviceId = row.parse(0)?;
        let current: Desired =
            decode(row.text(2)?.as_bytes()).map_err(|_| StoreError::Damaged("a desired document"))?;
        let last = row.number(3)?.max(row.number(4)?);
        said.push(tell(tx, device, (&current, policy, last), now)?);
    }
    Ok(said)
}

/// A box that was moved: what it is to be told, when another policy holds for it there.
pub(crate) fn moved(
    tx: &mut dyn Tx,
    device: DeviceId,
    path: &str,
    now: Timestamp,
) -> Result<Option<(Topic, Vec<u8>)>, NotSet> {
    let Some((current, last)) = document(tx, device)? else { return Ok(None) };
    let (policy, _) = nearest(tx, path)?;
    let same = with_policy(&current, &policy, current.ver.get(), current.ts);
    if (Desired { sig: current.sig.clone(), ..same }) == current {
        return Ok(None);
    }
    Ok(Some(tell(tx, device, (&current, &policy, last), now)?))
}

/// The document of a box that is trusted, and the last version of it that we or the box know.
fn document(tx: &mut dyn Tx, device: DeviceId) -> Result<Option<(Desired, u64)>, StoreError> {
    let sql = "SELECT desired, desired_ver, applied_ver FROM appliance WHERE id = $1 AND revoked_ms IS NULL";
    let Some(row) = first(tx, sql, &values![device])? else { return Ok(None) };
    let current = decode(row.text(0)?.as_bytes()).map_err(|_| StoreError::Damaged("a desired document"))?;
    Ok(Some((current, row.number(1)?.max(row.number(2)?))))
}

/// Writes the next document of a box, and says it.
fn tell(
    tx: &mut dyn Tx,
    device: DeviceId,
    (current, policy, last): (&Desired, &Policy, u64),
    now: Timestamp,
) -> Result<(Topic, Vec<u8>), NotSet> {
    publish(tx, device, (current, with_policy(current, policy, last + 1, now)))
}

/// A box that is offered a release, or no more; what it is to be told.
pub(crate) fn offer(
    tx: &mut dyn Tx,
    device: DeviceId,
    release: Option<ReleaseTarget>,
    now: Timestamp,
) -> Result<Option<(Topic, Vec<u8>)>, NotSet> {
    let Some((current, last)) = document(tx, device)? else { return Ok(None) };
    if current.release == release {
        return Ok(None);
    }
    let ver = DesiredVersion::saturating(last + 1);
    let next = Desired { ver, ts: now, release, sig: None, ..current.clone() };
    let offered = offered(&next);
    let said = publish(tx, device, (&current, next))?;
    tx.execute("UPDATE appliance SET offered = $1 WHERE id = $2", &values![offered, device])?;
    Ok(Some(said))
}

/// A box whose brokers are others now; what it is to be told.
pub(crate) fn at_brokers(
    tx: &mut dyn Tx,
    device: DeviceId,
    brokers: &[BrokerUrl],
    now: Timestamp,
) -> Result<Option<(Topic, Vec<u8>)>, NotSet> {
    let Some((current, last)) = document(tx, device)? else { return Ok(None) };
    if current.uplink.brokers == brokers {
        return Ok(None);
    }
    let ver = DesiredVersion::saturating(last + 1);
    let mut next = Desired { ver, ts: now, sig: None, ..current.clone() };
    next.uplink.brokers = brokers.to_vec();
    publish(tx, device, (&current, next)).map(Some)
}

/// What stands beside a document, by which an offer is found: its token, or that it is one without.
pub(crate) fn offered(desired: &Desired) -> Option<String> {
    let target = desired.release.as_ref()?;
    Some(target.ring_token.as_ref().map_or_else(|| "by hand".to_owned(), ToString::to_string))
}

fn publish(
    tx: &mut dyn Tx,
    device: DeviceId,
    (current, next): (&Desired, Desired),
) -> Result<(Topic, Vec<u8>), NotSet> {
    next.check().map_err(NotSet::Faulty)?;
    let weaker = weakens(current, &next);
    if !weaker.is_empty() {
        return Err(NotSet::Weakens(device, weaker));
    }
    let json = encode(&next).map_err(|_| NotSet::TooLarge)?;
    let text = String::from_utf8_lossy(&json).into_owned();
    let sql = "UPDATE appliance SET desired = $1, desired_ver = $2 WHERE id = $3";
    tx.execute(sql, &values![text, next.ver, device])?;
    Ok((Topic::Down(device, Down::Desired), json))
}

/// The same box under another policy: what belongs to the box alone stays.
fn with_policy(current: &Desired, policy: &Policy, ver: u64, now: Timestamp) -> Desired {
    let mut next = current.clone();
    next.ver = DesiredVersion::saturating(ver);
    next.ts = now;
    next.backup = policy.backup.clone();
    next.retention = policy.retention;
    next.new_disk = policy.new_disk;
    next.verify = policy.verify;
    next.restart_window = policy.restart_window;
    next.uplink.heartbeat = policy.heartbeat;
    next.sig = None;
    next
}
