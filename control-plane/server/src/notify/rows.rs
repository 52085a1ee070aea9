//! Routes, silences and notices in the database.

use super::channel::{Channel, Kind};
use super::message::{Message, Named, Said};
use super::plan::{Known, Plan, Route, Silence, State};
use crate::alerts::{FailingRoute, Rule};
use crate::clock;
use crate::store::{Row, StoreError, Tx, first, values};
use saveos_protocol::id::NoticeId;
use saveos_protocol::text::Text;
use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// An end that nobody could be told in that time is no news any more.
const NEWS: Duration = Duration::from_secs(7 * 86_400);
/// How long notices are kept: longer than the pause between reminders, or they would be forgotten.
const KEPT: Duration = Duration::from_secs(90 * 86_400);

/// Silences in force.
pub(crate) fn silences(tx: &mut dyn Tx, now: Timestamp) -> Result<Vec<Silence>, StoreError> {
    let sql =
        "SELECT n.path, s.rule, s.device, s.until_ms FROM silence s JOIN node n ON n.id = s.node WHERE s.until_ms > $1";
    let silence = |row: &Row| {
        Ok(Silence {
            path: row.text(0)?.to_owned(),
            rule: row.maybe_text(1)?.map(str::to_owned),
            device: row.maybe_text(2)?.map(str::to_owned),
            until: row.time(3)?,
        })
    };
    tx.query(sql, &values![now])?.iter().map(silence).collect()
}

/// Routes on which the last try failed.
pub(crate) fn failing(tx: &mut dyn Tx) -> Result<Vec<FailingRoute>, StoreError> {
    let sql = "SELECT node, channel, failing_ms FROM alert_route WHERE failing_ms IS NOT NULL ORDER BY id";
    let route = |row: &Row| {
        Ok(FailingRoute { node: row.text(0)?.to_owned(), channel: row.text(1)?.to_owned(), since: row.time(2)? })
    };
    tx.query(sql, &[])?.iter().map(route).collect()
}

/// All that telling depends on.
pub(super) fn known(tx: &mut dyn Tx, now: Timestamp) -> Result<State, StoreError> {
    let mut state = State { silences: silences(tx, now)?, ..State::default() };
    for row in
        tx.query("SELECT r.id, n.path, r.rules FROM alert_route r JOIN node n ON n.id = r.node ORDER BY r.id", &[])?
    {
        // A rule of a newer release is not known here, and nothing that is known is told in its stead.
        let names: Vec<&str> = row.text(2)?.split(' ').filter(|name| !name.is_empty()).collect();
        let rules: Vec<Rule> = names.iter().filter_map(|name| Rule::parse(name)).collect();
        if names.is_empty() || !rules.is_empty() {
            state.routes.push(Route { id: row.text(0)?.to_owned(), path: row.text(1)?.to_owned(), rules });
        }
    }
    if state.routes.is_empty() {
        return Ok(state);
    }
    let open = "SELECT a.id, a.rule, a.node, n.path, a.device, a.raised_ms, a.ended_ms, a.acknowledged_ms
        FROM alert a JOIN node n ON n.id = a.node WHERE a.ended_ms IS NULL ORDER BY a.id";
    let ended = "SELECT a.id, a.rule, a.node, n.path, a.device, a.raised_ms, a.ended_ms, a.acknowledged_ms
        FROM alert a JOIN node n ON n.id = a.node WHERE a.ended_ms > $1 ORDER BY a.id";
    let since = now.before(NEWS);
    let rows = [tx.query(open, &[])?, tx.query(ended, &values![since])?].concat();
    state.alerts = rows.iter().map(alert).collect::<Result<_, _>>()?;
    let sql = "SELECT o.alert, o.route, o.event, o.at_ms FROM notice_of o JOIN alert a ON a.id = o.alert
        WHERE a.ended_ms IS NULL OR a.ended_ms > $1 ORDER BY o.at_ms, o.notice";
    for row in tx.query(sql, &values![since])? {
        let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
        if row.text(2)? == "ended" {
            state.told.remove(&key);
        } else {
            state.told.insert(key, row.time(3)?);
        }
    }
    Ok(state)
}

fn alert(row: &Row) -> Result<Known, StoreError> {
    Ok(Known {
        id: row.text(0)?.to_owned(),
        rule: row.text(1)?.to_owned(),
        site: row.text(2)?.to_owned(),
        path: row.text(3)?.to_owned(),
        device: row.maybe_text(4)?.map(str::to_owned),
        raised: row.time(5)?,
        ended: row.maybe_time(6)?,
        acknowledged: row.maybe_time(7)?.is_some(),
    })
}

/// Makes notices, and forgets those of long ago.
pub(super) fn make(tx: &mut dyn Tx, plans: &[Plan], now: Timestamp) -> Result<(), StoreError> {
    let old = now.before(KEPT);
    tx.execute("DELETE FROM notice_of WHERE notice IN (SELECT id FROM notice WHERE ended_ms < $1)", &values![old])?;
    tx.execute("DELETE FROM notice WHERE ended_ms < $1", &values![old])?;
    let from = first(tx, "SELECT name FROM node WHERE parent IS NULL", &[])?;
    let from = from.map_or(Ok("SaveOS".to_owned()), |row| row.text(0).map(str::to_owned))?;
    for plan in plans {
        // Removed since it was planned: nobody is told on it.
        if first(tx, "SELECT id FROM alert_route WHERE id = $1", &values![plan.route.as_str()])?.is_none() {
            continue;
        }
        let id = NoticeId::from_parts(now, clock::random()).to_string();
        let message = message(tx, plan, (&id, &from), now)?;
        let message = serde_json::to_string(&message).map_err(|_| StoreError::Damaged("a notice"))?;
        let sql = "INSERT INTO notice (id, route, message, made_ms, due_ms, tries) VALUES ($1, $2, $3, $4, $4, 0)";
        tx.execute(sql, &values![id.as_str(), plan.route.as_str(), message, now])?;
        for (alert, event) in &plan.alerts {
            let sql = "INSERT INTO notice_of (alert, route, event, at_ms, notice) VALUES ($1, $2, $3, $4, $5)";
            tx.execute(sql, &values![alert.as_str(), plan.route.as_str(), event.as_str(), now, id.as_str()])?;
        }
    }
    Ok(())
}

fn message(tx: &mut dyn Tx, plan: &Plan, (id, from): (&str, &str), now: Timestamp) -> Result<Message, StoreError> {
    let sql = "SELECT s.name, c.id, c.name FROM node s LEFT JOIN node c ON c.id = s.parent WHERE s.id = $1";
    let row = first(tx, sql, &values![plan.site.as_str()])?.ok_or(StoreError::Damaged("an alert without a site"))?;
    let customer = match (row.maybe_text(1)?, row.maybe_text(2)?) {
        (Some(id), Some(name)) => Some(Named { id: id.to_owned(), name: name.to_owned() }),
        _ => None,
    };
    let site = Some(Named { id: plan.site.clone(), name: row.text(0)?.to_owned() });
    let mut alerts = Vec::new();
    for (alert, event) in &plan.alerts {
        let sql = "SELECT a.rule, a.device, d.name, a.disk, a.detail, a.raised_ms, a.ended_ms FROM alert a
            LEFT JOIN appliance d ON d.id = a.device WHERE a.id = $1";
        let row = first(tx, sql, &values![alert.as_str()])?.ok_or(StoreError::Damaged("a notice without its alert"))?;
        let appliance = row.maybe_text(1)?.map(|id| {
            let name = row.maybe_text(2)?.unwrap_or(id);
            Ok::<_, StoreError>(Named { id: id.to_owned(), name: name.to_owned() })
        });
        alerts.push(Said {
            id: alert.clone(),
            event: *event,
            rule: row.text(0)?.to_owned(),
            appliance: appliance.transpose()?,
            disk: row.maybe_text(3)?.map(str::to_owned),
            detail: row.text(4)?.to_owned(),
            raised: row.time(5)?,
            ended: row.maybe_time(6)?,
        });
    }
    Ok(Message { v: 1, id: id.to_owned(), made: now, test: false, from: from.to_owned(), customer, site, alerts })
}

/// A notice whose time has come.
pub(super) struct Due {
    pub(super) id: String,
    pub(super) route: String,
    pub(super) made: Timestamp,
    pub(super) tries: u64,
    pub(super) channel: Channel,
    pub(super) message: Message,
}

/// The oldest notice of each route, where its time has come.
pub(super) fn due(tx: &mut dyn Tx, now: Timestamp, most: usize) -> Result<Vec<Due>, StoreError> {
    let sql = "SELECT n.id, n.route, n.made_ms, n.tries, n.message, r.channel, r.target, r.secret
        FROM notice n JOIN alert_route r ON r.id = n.route
        WHERE n.ended_ms IS NULL AND n.due_ms <= $1 AND n.id =
            (SELECT MIN(o.id) FROM notice o WHERE o.ended_ms IS NULL AND o.route = n.route)
        ORDER BY n.due_ms LIMIT $2";
    let due = |row: &Row| {
        let message = serde_json::from_str(row.text(4)?).map_err(|_| StoreError::Damaged("a notice"))?;
        let kind = Kind::parse(row.text(5)?).ok_or(StoreError::Damaged("a channel"))?;
        let channel = Channel { kind, target: row.text(6)?.to_owned(), secret: row.maybe_text(7)?.map(str::to_owned) };
        Ok(Due {
            id: row.text(0)?.to_owned(),
            route: row.text(1)?.to_owned(),
            made: row.time(2)?,
            tries: row.number(3)?,
            channel,
            message,
        })
    };
    tx.query(sql, &values![now, most as u64])?.iter().map(due).collect()
}

/// What a try came to: over when there is no next one.
pub(super) fn settle(
    tx: &mut dyn Tx,
    notice: &Due,
    failure: Option<&Text>,
    next: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE notice SET tries = $1, due_ms = $2, ended_ms = $3 WHERE id = $4";
    let ended = next.is_none().then_some(now);
    tx.execute(sql, &values![notice.tries + 1, next.unwrap_or(now), ended, notice.id.as_str()])?;
    match failure {
        None => {
            let sql = "UPDATE alert_route SET told_ms = $1, failing_ms = NULL, error = NULL WHERE id = $2";
            tx.execute(sql, &values![now, notice.route.as_str()])?;
        }
        Some(why) => {
            let sql = "UPDATE alert_route SET failing_ms = COALESCE(failing_ms, $1), error = $2 WHERE id = $3";
            tx.execute(sql, &values![now, why.to_string(), notice.route.as_str()])?;
        }
    }
    Ok(())
}
