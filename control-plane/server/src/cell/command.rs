//! `saveos-server cell …`: what people do with cells, straight in the database, with an entry in the audit trail.

use super::Cell;
use super::ears::Ears;
use super::table::{self, At, MOST_MOVED, NotDone, Standing};
use crate::api::follow;
use crate::args::CellCommand;
use crate::audit;
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::post;
use crate::revocation;
use crate::store::{DatabaseError, Store, StoreError, Tx};
use std::path::Path;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CellError {
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Where the database is.
    #[error(transparent)]
    Where(#[from] DatabaseError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It makes no sense as things are.
    #[error(transparent)]
    NotDone(#[from] NotDone),
    /// One process, one broker.
    #[error("only an installation in PostgreSQL has cells beside `main` (docs/CLUSTER.md)")]
    Alone,
}

/// Who did it, in the audit trail: whoever may start the program with the database's password.
const BY: &str = "saveos-server cell";

/// Does it, and says what was done.
pub(crate) async fn run(command: &CellCommand) -> Result<String, CellError> {
    let (CellCommand::List { of, .. }
    | CellCommand::Add { of, .. }
    | CellCommand::Open { of, .. }
    | CellCommand::Close { of, .. }
    | CellCommand::Move { of, .. }
    | CellCommand::Remove { of, .. }) = command;
    let (config, store) = opened(&of.data).await?;
    let now = clock::now();
    match command {
        CellCommand::List { json, .. } => {
            let read = store.read(move |tx| Ok::<_, StoreError>((table::list(tx, &config)?, follow::ears(tx)?)));
            let (cells, ears) = read.await?;
            Ok(if *json { in_json(&cells, &ears) } else { in_lines(&cells, &ears) })
        }
        _ if !config.is_shared() => Err(CellError::Alone),
        CellCommand::Add { name, host, port, .. } => {
            let at = At { host: host.clone(), port: *port };
            let add = move |tx: &mut dyn Tx, cell: &Cell| {
                table::add(tx, cell, &at, now)?;
                // Its broker is waited for from now on, when somebody is revoked.
                Ok(revocation::rules_changed(tx)?)
            };
            change(&store, name, "added a cell", add).await?;
            Ok(format!(
                "`{name}` is there: start its broker and two workers with `--cell {name}`, and open it when `cell list` says that it is heard"
            ))
        }
        CellCommand::Open { name, .. } => {
            change(&store, name, "opened a cell", |tx, cell| table::open(tx, cell, true)).await?;
            Ok(format!("new boxes go to `{name}` as well"))
        }
        CellCommand::Close { name, .. } => {
            change(&store, name, "closed a cell", |tx, cell| table::open(tx, cell, false)).await?;
            Ok(format!("no new boxes go to `{name}`"))
        }
        CellCommand::Remove { name, .. } => {
            change(&store, name, "removed a cell", table::remove).await?;
            Ok(format!("`{name}` is forgotten"))
        }
        CellCommand::Move { from, to, boxes, .. } => {
            let (one, other, most) = (from.clone(), to.clone(), (*boxes).min(MOST_MOVED));
            let moved = store.write(move |tx| {
                let said = table::move_boxes(tx, &config, (&one, &other), most, now)?;
                // After it belongs elsewhere: it is told here and there.
                post::put(tx, &said)?;
                audit::write(tx, BY, "moved boxes to a cell", &format!("{} from {one} to {other}", said.len()), now)?;
                Ok::<_, NotDone>(said.len())
            });
            Ok(format!("{} boxes go from `{from}` to `{to}` as soon as they hear of it", moved.await?))
        }
    }
}

async fn opened(data: &Path) -> Result<(Config, Store), CellError> {
    let config = Config::read(data)?;
    let database = config.database()?;
    // The steps are whoever deploys's to run.
    let store = Store::look(data, database.as_ref()).await?;
    Ok((config, store))
}

async fn change<F>(store: &Store, cell: &Cell, what: &'static str, change: F) -> Result<(), CellError>
where
    F: FnOnce(&mut dyn Tx, &Cell) -> Result<(), NotDone> + Send + 'static,
{
    let (cell, now) = (cell.clone(), clock::now());
    let done = store.write(move |tx| {
        change(tx, &cell)?;
        Ok::<_, NotDone>(audit::write(tx, BY, what, cell.as_str(), now)?)
    });
    Ok(done.await?)
}

fn in_lines(cells: &[Standing], ears: &Ears) -> String {
    let mut lines =
        vec![format!("{:<16} {:<40} {:<9} {:>7} {:>7} {}", "CELL", "BROKER", "NEW BOXES", "BOXES", "HEARD", "SESSION")];
    for one in cells {
        let at = format!("{}:{}", one.at.host, one.at.port);
        let session = if ears.of(one.cell.as_str()).connected { "stands" } else { "none" };
        let new = if one.is_open { "yes" } else { "no" };
        lines.push(format!(
            "{:<16} {at:<40} {new:<9} {:>7} {:>7} {session}",
            one.cell.as_str(),
            one.boxes,
            one.heard_there
        ));
    }
    lines.join("\n")
}

fn in_json(cells: &[Standing], ears: &Ears) -> String {
    let cell = |one: &Standing| {
        serde_json::json!({
            "name": one.cell.as_str(), "host": one.at.host, "port": one.at.port, "open": one.is_open,
            "boxes": one.boxes, "heard_there": one.heard_there, "connected": ears.of(one.cell.as_str()).connected,
        })
    };
    serde_json::Value::from(cells.iter().map(cell).collect::<Vec<_>>()).to_string()
}
