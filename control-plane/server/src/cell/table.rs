//! Which cells there are, where a new box goes, and how boxes go from one to another.

use super::Cell;
use crate::config::{Config, url};
use crate::lease;
use crate::policy::tree::{self, NotSet};
use crate::store::{Row, StoreError, Tx, first, values};
use saveos_protocol::Topic;
use saveos_protocol::id::DeviceId;
use saveos_protocol::text::BrokerUrl;
use saveos_protocol::time::Timestamp;

/// Boxes that one call moves; each is told, and comes to the other broker within a minute.
pub(crate) const MOST_MOVED: u64 = 1000;

/// A cell, and how it stands.
pub(crate) struct Standing {
    pub(crate) cell: Cell,
    pub(crate) at: At,
    /// Whether new boxes go there.
    pub(crate) is_open: bool,
    /// Boxes that belong there.
    pub(crate) boxes: u64,
    /// Boxes that were heard there last.
    pub(crate) heard_there: u64,
}

/// Where boxes find a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl At {
    pub(crate) fn url(&self) -> Option<BrokerUrl> {
        url("mqtts", &self.host, self.port).parse().ok()
    }
}

/// Why a cell is not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDone {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none.
    #[error("there is no cell `{0}`: `saveos-server cell list` shows all")]
    Unknown(Cell),
    /// There is one.
    #[error("there is a cell `{0}` already")]
    Taken(Cell),
    /// It makes no address.
    #[error("`{0}` is no name of a host")]
    Host(String),
    /// Someone has to take them.
    #[error("new boxes would have nowhere to go: open another cell first")]
    LastOpen,
    /// It is where boxes go that do not reach their own.
    #[error("`main` cannot be removed: boxes that do not reach their own cell go there")]
    IsMain,
    /// They would talk to nobody.
    #[error(
        "{boxes} boxes belong to `{cell}` or were heard there last: move them first, and wait until they are heard elsewhere"
    )]
    InUse { cell: Cell, boxes: u64 },
    /// A document would outgrow its bound.
    #[error("the box {0} cannot be told")]
    Untold(DeviceId),
}

/// All of them.
pub(crate) fn list(tx: &mut dyn Tx, config: &Config) -> Result<Vec<Standing>, StoreError> {
    let sql = "SELECT c.name, c.host, c.port, c.is_open,
        (SELECT COUNT(*) FROM appliance a WHERE a.cell = c.name AND a.revoked_ms IS NULL),
        (SELECT COUNT(*) FROM appliance a WHERE a.heard_in = c.name AND a.heard_ms IS NOT NULL AND a.revoked_ms IS NULL)
        FROM cell c ORDER BY c.name";
    let standing = |row: &Row| {
        let (cell, at) = (row.parse(0)?, at(row, config)?);
        Ok(Standing { cell, at, is_open: row.number(3)? == 1, boxes: row.number(4)?, heard_there: row.number(5)? })
    };
    tx.query(sql, &[])?.iter().map(standing).collect()
}

/// Their names.
pub(crate) fn names(tx: &mut dyn Tx) -> Result<Vec<Cell>, StoreError> {
    tx.query("SELECT name FROM cell ORDER BY name", &[])?.iter().map(|row| row.parse(0)).collect()
}

/// Where boxes find its broker; the first one is where the config says.
pub(crate) fn place(tx: &mut dyn Tx, config: &Config, cell: &Cell) -> Result<Option<At>, StoreError> {
    let row = first(tx, "SELECT name, host, port FROM cell WHERE name = $1", &values![cell])?;
    row.map(|row| at(&row, config)).transpose()
}

fn at(row: &Row, config: &Config) -> Result<At, StoreError> {
    let host = row.maybe_text(1)?.map_or_else(|| config.host.clone(), str::to_owned);
    let port = row.maybe_number(2)?.map_or(Ok(config.mqtt_port), u16::try_from);
    Ok(At { host, port: port.map_err(|_| StoreError::Damaged("the port of a cell"))? })
}

/// Where a new box goes: to the open cell with the fewest.
pub(crate) fn for_new(tx: &mut dyn Tx) -> Result<Cell, StoreError> {
    let open = tx.query("SELECT name FROM cell WHERE is_open = 1 ORDER BY name", &[])?;
    let mut fewest: Option<(u64, Cell)> = None;
    for row in &open {
        let cell: Cell = row.parse(0)?;
        if open.len() == 1 {
            return Ok(cell);
        }
        let sql = "SELECT COUNT(*) FROM appliance WHERE cell = $1 AND revoked_ms IS NULL";
        let boxes = first(tx, sql, &values![&cell])?.map_or(Ok(0), |row| row.number(0))?;
        if fewest.as_ref().is_none_or(|(least, _)| boxes < *least) {
            fewest = Some((boxes, cell));
        }
    }
    Ok(fewest.map_or_else(Cell::main, |(_, cell)| cell))
}

/// Where a box of that cell reports: there, and to the first one when it does not get there.
pub(crate) fn brokers(tx: &mut dyn Tx, config: &Config, cell: &Cell) -> Result<Vec<BrokerUrl>, StoreError> {
    let own = place(tx, config, cell)?.and_then(|at| at.url()).filter(|_| !cell.is_main());
    Ok(own.into_iter().chain([config.broker()]).collect())
}

/// One more. No box goes there before somebody opens it, which is when it is heard.
pub(crate) fn add(tx: &mut dyn Tx, cell: &Cell, at: &At, now: Timestamp) -> Result<(), NotDone> {
    let plain = at.host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    if at.url().is_none() || !plain {
        return Err(NotDone::Host(at.host.clone()));
    }
    let sql = "INSERT INTO cell (name, host, port, is_open, made_ms) VALUES ($1, $2, $3, 0, $4) ON CONFLICT (name) DO NOTHING";
    match tx.execute(sql, &values![cell, at.host.as_str(), u64::from(at.port), now])? {
        0 => Err(NotDone::Taken(cell.clone())),
        _ => Ok(()),
    }
}

/// Whether new boxes go there.
pub(crate) fn open(tx: &mut dyn Tx, cell: &Cell, is_open: bool) -> Result<(), NotDone> {
    if tx.execute("UPDATE cell SET is_open = $1 WHERE name = $2", &values![u64::from(is_open), cell])? == 0 {
        return Err(NotDone::Unknown(cell.clone()));
    }
    let row = first(tx, "SELECT COUNT(*) FROM cell WHERE is_open = 1", &[])?;
    if row.map_or(Ok(0), |row| row.number(0))? == 0 { Err(NotDone::LastOpen) } else { Ok(()) }
}

/// The first `most` boxes of `from` belong to `to` from now on; what they are to be told.
pub(crate) fn move_boxes(
    tx: &mut dyn Tx,
    config: &Config,
    (from, to): (&Cell, &Cell),
    most: u64,
    now: Timestamp,
) -> Result<Vec<(Topic, Vec<u8>)>, NotDone> {
    for cell in [from, to] {
        place(tx, config, cell)?.ok_or_else(|| NotDone::Unknown(cell.clone()))?;
    }
    let brokers = brokers(tx, config, to)?;
    let sql = "SELECT id FROM appliance WHERE cell = $1 AND revoked_ms IS NULL ORDER BY id LIMIT $2";
    let mut said = Vec::new();
    for row in tx.query(sql, &values![from, most])? {
        let device: DeviceId = row.parse(0)?;
        said.extend(tree::at_brokers(tx, device, &brokers, now).map_err(|error| match error {
            NotSet::Store(error) => NotDone::Store(error),
            _ => NotDone::Untold(device),
        })?);
        tx.execute("UPDATE appliance SET cell = $1 WHERE id = $2", &values![to, device])?;
    }
    Ok(said)
}

/// One that nobody uses any more.
pub(crate) fn remove(tx: &mut dyn Tx, cell: &Cell) -> Result<(), NotDone> {
    if cell.is_main() {
        return Err(NotDone::IsMain);
    }
    let sql = "SELECT COUNT(*) FROM appliance WHERE (cell = $1 OR heard_in = $1) AND revoked_ms IS NULL";
    let boxes = first(tx, sql, &values![cell])?.map_or(Ok(0), |row| row.number(0))?;
    if boxes > 0 {
        return Err(NotDone::InUse { cell: cell.clone(), boxes });
    }
    if tx.execute("DELETE FROM cell WHERE name = $1", &values![cell])? == 0 {
        return Err(NotDone::Unknown(cell.clone()));
    }
    // Of the day when somebody adds one of that name again.
    tx.execute("UPDATE appliance SET heard_in = 'main' WHERE heard_in = $1", &values![cell])?;
    tx.execute("DELETE FROM hearing WHERE name = $1", &values![cell.own(lease::INGEST)])?;
    tx.execute("DELETE FROM outgoing WHERE cell = $1", &values![cell])?;
    Ok(())
}

#[cfg(test)]
mod tests;
