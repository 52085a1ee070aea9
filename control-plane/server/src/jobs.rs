//! What is due again and again: alerts, rollouts, days, commands that nobody answered. Of several workers one does it.

use crate::alerts;
use crate::api::App;
use crate::clock;
use crate::fleet;
use crate::ingest::Outgoing;
use crate::notify;
use crate::revocation;
use crate::rollouts::{self, TurnError};
use crate::stop;
use crate::store::{StoreError, Tx, values};
use saveos_protocol::Topic;
use saveos_protocol::topic::Down;
use std::time::Duration;

/// A list of revocations is good for 30 days; written daily, 29 tries may fail.
const RENEW_LISTS: Duration = Duration::from_secs(86_400);
/// A command without an answer is sent again.
const RESEND: Duration = Duration::from_secs(60);
/// How often the rules look at the fleet: a missed deadline is told in that time.
const LOOK: Duration = Duration::from_secs(10);
/// How soon a rollout in which something happened is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is written down how sites stand: a day ends as it was ten minutes before.
const DAYS: Duration = Duration::from_secs(600);

/// Begins what a worker does when it is its turn.
pub(crate) fn begin(app: &App) {
    tokio::spawn(look_for_alerts(app.clone()));
    tokio::spawn(conduct_rollouts(app.clone()));
    tokio::spawn(keep_days(app.clone()));
    tokio::spawn(notify::keep_telling(app.clone()));
    tokio::spawn(resend(app.clone()));
}

/// Waits for `pause` and then until it is this process's turn; false at the end.
async fn turn(app: &App, pause: Duration) -> bool {
    let (mut duty, mut stop) = (app.duty.clone(), app.stop.clone());
    if tokio::time::timeout(pause, stop::asked(&mut stop)).await.is_ok() {
        return false;
    }
    tokio::select! {
        on = duty.wait_for(|on| *on) => on.is_ok(),
        () = stop::asked(&mut stop) => false,
    }
}

/// Rollouts go on while somebody listens to what boxes say, wherever they say it.
async fn conduct_rollouts(app: App) {
    let (mut known, mut next) = (None, LOOK);
    while turn(&app, next).await {
        next = LOOK;
        let ears = app.heart.ears();
        if !ears.hear_all() {
            continue;
        }
        let catalogue = match app.catalogue().await {
            Ok(catalogue) => catalogue,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no rollout goes on");
                continue;
            }
        };
        match rollouts::turn(&app.store, known.take(), ears, catalogue, clock::now()).await {
            Ok(turned) => {
                known = turned.known;
                next = if turned.happened { LOOK_AGAIN } else { LOOK };
                for document in turned.said {
                    // The end of the server: the ingest says it again with the next session.
                    let _ = app.outgoing.send(document).await;
                }
            }
            // It is read anew.
            Err(TurnError::Overtaken(_)) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a rollout does not go on");
            }
        }
    }
}

async fn look_for_alerts(app: App) {
    while turn(&app, LOOK).await {
        let (ears, now) = (app.heart.ears(), clock::now());
        // The long look reads; the one writer only gets what it makes of it.
        let seen =
            app.store.read(move |tx| Ok::<_, StoreError>((fleet::for_alerts(tx, &ears, now)?, notify::failing(tx)?)));
        let settled = match seen.await {
            Ok((fleet, routes)) => {
                let alerts = [alerts::plan(&fleet, now), alerts::of_routes(&routes, now)].concat();
                app.store.write(move |tx| alerts::settle(tx, alerts, now)).await
            }
            Err(error) => Err(error),
        };
        match settled {
            Ok(change) if change == alerts::Change::default() => {}
            Ok(change) => tracing::info!(raised = change.raised, ended = change.ended, "alerts"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "nobody looks for alerts"),
        }
    }
}

/// How sites stand today, for the trend.
async fn keep_days(app: App) {
    let mut pause = Duration::ZERO;
    while turn(&app, pause).await {
        pause = DAYS;
        let now = clock::now();
        if let Err(error) = app.store.write(move |tx| fleet::standing::write_down(tx, now)).await {
            tracing::error!(error = &error as &dyn std::error::Error, "today is not written down");
        }
    }
}

/// With the broker, whoever's turn the rest is.
pub(crate) async fn renew_lists(app: App) {
    let mut stop = app.stop.clone();
    while tokio::time::timeout(RENEW_LISTS, stop::asked(&mut stop)).await.is_err() {
        if let Err(error) = revocation::renew(&app).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the list of revocations is not renewed");
        }
    }
}

/// Commands that nobody answered.
async fn resend(app: App) {
    let mut pause = Duration::ZERO;
    while turn(&app, pause).await {
        pause = RESEND;
        let now = clock::now();
        let waiting = app.store.read(move |tx: &mut dyn Tx| {
            let sql = "SELECT device, json FROM command WHERE ended_ms IS NULL AND state IS NULL AND until_ms > $1";
            let rows = tx.query(sql, &values![now])?;
            let said = |row: &crate::store::Row| {
                Ok((Topic::Down(row.parse(0)?, Down::Command), row.text(1)?.as_bytes().to_vec()))
            };
            rows.iter().map(said).collect::<Result<Vec<Outgoing>, StoreError>>()
        });
        match waiting.await {
            Ok(waiting) => {
                for command in waiting {
                    if app.outgoing.send(command).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "commands are not sent again"),
        }
    }
}
