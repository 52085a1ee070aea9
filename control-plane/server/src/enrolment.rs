//! How a box becomes one of the fleet, and stays it. Decides in one transaction; the rim has checked nonce and proof.
//!
//! | the box | the claim of its code | what becomes of it |
//! |---|---|---|
//! | unknown | none | waits |
//! | unknown | fresh | enrolled: certificate, claim used up |
//! | unknown | too old | refused, type the code again |
//! | enrolled, same key | used by it within an hour | the same again: its reply was lost |
//! | enrolled, same key | used longer ago | refused: it renews instead |
//! | revoked | a new one | enrolled again |
//! | known under another key, or another name | any | refused |

use crate::audit;
use crate::authority::{Authority, AuthorityError, Checked, Issued};
use crate::cell;
use crate::config::Config;
use crate::policy;
use crate::revocation;
use crate::store::{Row, StoreError, Tx, first, values};
use saveos_protocol::enrol::{ClaimCode, EnrolRequest, Enrolment, Floor, Refusal, Renewal};
use saveos_protocol::hex::DeviceKey;
use saveos_protocol::id::{ClaimId, DeviceId};
use saveos_protocol::text::Text;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::Down;
use saveos_protocol::unit::DesiredVersion;
use saveos_protocol::{Topic, V1, encode};
use std::time::Duration;

/// A person types the code while the box is on the desk; an hour is a long call.
pub(crate) const CLAIM_LIFE: Duration = Duration::from_secs(3600);

/// Why it failed, which is no refusal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolmentError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What we would say is none of the contract.
    #[error("the enrolment could not be written")]
    Encode,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nobody has typed the code.
    Wait,
    /// Welcome.
    Issued(Box<Issue>),
    /// No.
    Refused(Refusal),
}

/// What a box gets.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) enrolment: Enrolment,
    /// What it finds at the broker.
    pub(crate) desired: (Topic, Vec<u8>),
    /// It was revoked before: the broker has to let it in again.
    pub(crate) was_revoked: bool,
}

/// A claim that a person made.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) id: ClaimId,
    pub(crate) code: ClaimCode,
    pub(crate) node: String,
    pub(crate) name: String,
    pub(crate) account: String,
}

/// Why a claim was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotClaimed {
    /// A box has enrolled with it already.
    Used,
    /// Somebody else has typed it.
    Taken,
}

/// Notes that a person typed a code. The same person may type it again.
pub(crate) fn claim(tx: &mut dyn Tx, claim: &Claim, now: Timestamp) -> Result<Result<(), NotClaimed>, StoreError> {
    let code = claim.code.to_string();
    let sql =
        "SELECT c.until_ms, c.account, c.used_ms, a.revoked_ms FROM claim c LEFT JOIN appliance a ON a.id = c.device
        WHERE c.code = $1";
    if let Some(row) = first(tx, sql, &values![code.as_str()])? {
        let is_used = row.maybe_number(2)?.is_some() && row.maybe_number(3)?.is_none();
        let is_fresh = row.maybe_number(2)?.is_none() && row.number(0)? > now.as_millis();
        if is_used {
            return Ok(Err(NotClaimed::Used));
        }
        if is_fresh && row.text(1)? != claim.account {
            return Ok(Err(NotClaimed::Taken));
        }
        tx.execute("DELETE FROM claim WHERE code = $1", &values![code.as_str()])?;
    }
    let sql =
        "INSERT INTO claim (code, id, node, name, account, made_ms, until_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let (node, name, account) = (claim.node.as_str(), claim.name.as_str(), claim.account.as_str());
    tx.execute(sql, &values![code, claim.id, node, name, account, now, now.after(CLAIM_LIFE)])?;
    audit::write(tx, account, "claimed a box", &claim.id.to_string(), now)?;
    Ok(Ok(()))
}

/// Enrols a box whose key and request were checked.
pub(crate) fn enrol(
    tx: &mut dyn Tx,
    request: &EnrolRequest,
    checked: &Checked,
    (config, authority): (&Config, &Authority),
    now: Timestamp,
) -> Result<Outcome, EnrolmentError> {
    let device = checked.device;
    let known = match known(tx, device, &request.key)? {
        Ok(known) => known,
        Err(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    let sql = "SELECT c.node, c.name, c.until_ms, c.used_ms, c.device, n.path FROM claim c JOIN node n ON n.id = c.node
        WHERE c.code = $1";
    let code = ClaimCode::of(&request.key).to_string();
    let Some(claim) = first(tx, sql, &values![code.as_str()])? else { return Ok(Outcome::Wait) };
    match claim.maybe_time(3)? {
        None if claim.number(2)? <= now.as_millis() => return Ok(Outcome::Refused(Refusal::ClaimExpired)),
        None => {}
        Some(used) => {
            let own = claim.maybe_text(4)? == Some(device.to_string().as_str());
            let lost_reply = own && known == Standing::Enrolled && now.since(used) < CLAIM_LIFE;
            if !lost_reply {
                let refusal = if known == Standing::Revoked { Refusal::Revoked } else { Refusal::ClaimUsed };
                return Ok(Outcome::Refused(refusal));
            }
        }
    }
    let issued = authority.issue_device(checked, now)?;
    write_certificate(tx, device, &issued, now)?;
    let (policy, _) = policy::tree::nearest(tx, claim.text(5)?)?;
    let cell = cell::table::for_new(tx)?;
    let uplink = policy::uplink(config, cell::table::brokers(tx, config, &cell)?, authority, &policy);
    let ver = next_version(tx, device)?;
    let desired = encode(&policy::desired(&policy, uplink.clone(), ver, now)).map_err(|_| EnrolmentError::Encode)?;
    let sql =
        "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms, desired,
        desired_ver, applied_ver, cell) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12)
        ON CONFLICT (id) DO UPDATE SET node = excluded.node, name = excluded.name, hardware = excluded.hardware,
        firmware = excluded.firmware, enrolled_ms = excluded.enrolled_ms, revoked_ms = NULL, serial = excluded.serial,
        until_ms = excluded.until_ms, desired = excluded.desired, desired_ver = excluded.desired_ver, cell = excluded.cell,
        offered = NULL";
    let hardware = serde_json::to_string(&request.hardware).map_err(|_| EnrolmentError::Encode)?;
    let document = String::from_utf8_lossy(&desired).into_owned();
    let (node, name) = (claim.text(0)?, claim.text(1)?);
    let firmware = request.firmware.to_string();
    if known == Standing::Revoked {
        revocation::rules_changed(tx)?;
    }
    let row = values![
        device,
        node,
        name,
        request.key,
        hardware,
        firmware,
        now,
        issued.serial.as_str(),
        issued.until,
        document,
        ver,
        &cell
    ];
    tx.execute(sql, &row)?;
    tx.execute(
        "UPDATE claim SET device = $1, used_ms = COALESCE(used_ms, $2) WHERE code = $3",
        &values![device, now, code],
    )?;
    audit::write(tx, &device.to_string(), "enrolled", node, now)?;
    let enrolment = Enrolment {
        v: V1,
        device,
        ts: now,
        owner: Text::cut(&config.name),
        certificates: issued.pem.parse().map_err(|_| EnrolmentError::Encode)?,
        authorities: authority.pem().parse().map_err(|_| EnrolmentError::Encode)?,
        uplink,
        command_key: config.command_key,
        floor: Floor::default(),
        escrow: None,
    };
    let desired = (Topic::Down(device, Down::Desired), desired);
    let was_revoked = known == Standing::Revoked;
    Ok(Outcome::Issued(Box::new(Issue { enrolment, desired, was_revoked })))
}

/// Renews with the key that is known; an expired certificate is no hindrance, a revoked one is.
pub(crate) fn renew(
    tx: &mut dyn Tx,
    checked: &Checked,
    key: &DeviceKey,
    authority: &Authority,
    now: Timestamp,
) -> Result<Result<Renewal, Refusal>, EnrolmentError> {
    match known(tx, checked.device, key)? {
        Ok(Standing::Enrolled) => {}
        Ok(Standing::Revoked) => return Ok(Err(Refusal::Revoked)),
        Ok(Standing::Unknown) => return Ok(Err(Refusal::UnknownDevice)),
        Err(refusal) => return Ok(Err(refusal)),
    }
    let issued = authority.issue_device(checked, now)?;
    write_certificate(tx, checked.device, &issued, now)?;
    let sql = "UPDATE appliance SET serial = $1, until_ms = $2 WHERE id = $3";
    tx.execute(sql, &values![issued.serial.as_str(), issued.until, checked.device])?;
    Ok(Ok(Renewal {
        v: V1,
        certificates: issued.pem.parse().map_err(|_| EnrolmentError::Encode)?,
        authorities: authority.pem().parse().map_err(|_| EnrolmentError::Encode)?,
        ts: now,
    }))
}

/// The key of a box that is enrolled or was.
pub(crate) fn key_of(tx: &mut dyn Tx, device: DeviceId) -> Result<Option<DeviceKey>, StoreError> {
    let row = first(tx, "SELECT public_key FROM appliance WHERE id = $1", &values![device])?;
    row.map(|row| row.parse(0)).transpose()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unknown,
    Enrolled,
    Revoked,
}

/// A name belongs to one key and a key to one name, for good.
fn known(tx: &mut dyn Tx, device: DeviceId, key: &DeviceKey) -> Result<Result<Standing, Refusal>, StoreError> {
    let sql = "SELECT id, public_key, revoked_ms FROM appliance WHERE id = $1 OR public_key = $2";
    let mut standing = Standing::Unknown;
    for row in tx.query(sql, &values![device, *key])? {
        if row.parse::<DeviceId>(0)? != device || row.parse::<DeviceKey>(1)? != *key {
            return Ok(Err(Refusal::ForeignName));
        }
        standing = if row.maybe_number(2)?.is_some() { Standing::Revoked } else { Standing::Enrolled };
    }
    Ok(Ok(standing))
}

fn write_certificate(tx: &mut dyn Tx, device: DeviceId, issued: &Issued, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO certificate (serial, device, made_ms, until_ms) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, &values![issued.serial.as_str(), device, now, issued.until])?;
    Ok(())
}

/// Never one that the box has seen: it takes only what is newer.
fn next_version(tx: &mut dyn Tx, device: DeviceId) -> Result<DesiredVersion, StoreError> {
    let sql = "SELECT desired_ver, applied_ver FROM appliance WHERE id = $1";
    let last = |row: Row| Ok::<_, StoreError>(row.number(0)?.max(row.number(1)?));
    let last = first(tx, sql, &values![device])?.map(last).transpose()?.unwrap_or(0);
    Ok(DesiredVersion::saturating(last + 1))
}
