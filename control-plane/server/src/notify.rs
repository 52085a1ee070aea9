//! Tells people of alerts: by mail, to a webhook, to a chat. What is to be told is decided in the database, so that a restart
//! neither tells again nor forgets; what is told is a notice, fixed when it is made, tried until it arrives.
//!
//! ```text
//! alerts, routes, silences ─▶ plan ─▶ notice (one transaction) ─▶ mail | webhook | Slack ─▶ ended, or due later
//! ```
//!
//! A notice holds all that one site has to tell on one route. A route has one notice on its way at a time, the oldest first, so
//! that an end never overtakes its beginning. Whoever receives one twice (we died between sending and writing it down) sees the
//! same name and the same bytes.

mod channel;
mod mail;
mod message;
mod plan;
mod reach;
mod rows;
mod web;

pub(crate) use channel::{Channel, Kind};
pub(crate) use mail::{Mail, MailFault};
pub(crate) use message::Message;
pub(crate) use plan::Silence;
pub(crate) use reach::may_reach;
pub(crate) use rows::{failing, silences};

use crate::api::App;
use crate::clock;
use crate::stop;
use crate::store::{StoreError, Tx};
use saveos_protocol::text::Text;
use saveos_protocol::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often it looks for something to tell.
const LOOK: Duration = Duration::from_secs(5);
/// Routes that are told at once: one that does not answer holds up none but those that wait for its place.
const AT_ONCE: usize = 16;
/// After the first failure; then twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// What cannot be reached is tried for a day.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// What says no is asked again a few times: a person may be repairing it.
const REFUSALS: u64 = 5;

/// Why a notice did not arrive.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) why: Text,
    /// It was understood and refused: the same bytes will be refused again.
    pub(crate) refused: bool,
}

impl Failure {
    fn refused(why: &str) -> Failure {
        Failure { why: Text::cut(why), refused: true }
    }

    fn of(error: &dyn std::error::Error) -> Failure {
        Failure { why: Text::of_error(error), refused: false }
    }
}

/// Notices that arrived, and tries that failed.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) told: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// What becomes of a notice after a try: `None` when it is over.
fn next_try(made: Timestamp, tries: u64, outcome: &Result<(), Failure>, now: Timestamp) -> Option<Timestamp> {
    let failure = outcome.as_ref().err()?;
    let over = now.since(made) >= PATIENCE || (failure.refused && tries >= REFUSALS);
    let doubled = FIRST_PAUSE * (1 << tries.saturating_sub(1).min(20));
    (!over).then(|| now.after(doubled.min(LONGEST_PAUSE)))
}

/// Tells until it is asked to stop.
pub(crate) async fn keep_telling(app: App) {
    let mut stop = app.stop.clone();
    while tokio::time::timeout(LOOK, stop::asked(&mut stop)).await.is_err() {
        if !*app.duty.borrow() {
            continue;
        }
        if let Err(error) = tell(&app).await {
            tracing::error!(error = &error as &dyn std::error::Error, "nobody is told of alerts");
        }
    }
}

/// Makes the notices that are due now, then sends those whose time has come, until none is left.
async fn tell(app: &App) -> Result<(), StoreError> {
    let now = clock::now();
    let plans = app.store.read(move |tx| Ok::<_, StoreError>(plan::plan(&rows::known(tx, now)?, now))).await?;
    if !plans.is_empty() {
        app.store.write(move |tx| rows::make(tx, &plans, now)).await?;
    }
    loop {
        let now = clock::now();
        let due = app.store.read(move |tx| rows::due(tx, now, AT_ONCE)).await?;
        if due.is_empty() || *app.stop.borrow() {
            return Ok(());
        }
        let mut sending = tokio::task::JoinSet::new();
        for notice in due {
            let app = app.clone();
            sending.spawn(async move {
                let outcome = send(&app, notice.channel.clone(), notice.message.clone()).await;
                (notice, outcome)
            });
        }
        // Each is written down as it comes, so that little is told twice when we die now.
        while let Some(sent) = sending.join_next().await {
            if let Ok((notice, outcome)) = sent {
                settle(app, notice, outcome).await?;
            }
        }
    }
}

async fn settle(app: &App, notice: rows::Due, outcome: Result<(), Failure>) -> Result<(), StoreError> {
    let (now, tries) = (clock::now(), notice.tries + 1);
    match &outcome {
        Ok(()) => app.notified.told.fetch_add(1, Ordering::Relaxed),
        Err(failure) => {
            let (route, id) = (&notice.route, &notice.id);
            tracing::warn!(route, notice = id, tries, why = %failure.why, "a notice did not arrive");
            app.notified.failed.fetch_add(1, Ordering::Relaxed)
        }
    };
    let next = next_try(notice.made, tries, &outcome, now);
    let failure = outcome.err().map(|failure| failure.why);
    app.store.write(move |tx: &mut dyn Tx| rows::settle(tx, &notice, failure.as_ref(), next, now)).await
}

/// One try, on a thread of its own: the libraries wait.
pub(crate) async fn send(app: &App, channel: Channel, message: Message) -> Result<(), Failure> {
    let config = Arc::clone(&app.config);
    let sent = tokio::task::spawn_blocking(move || channel.send(&config, &message, clock::now())).await;
    sent.unwrap_or_else(|error| Err(Failure::of(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::saturating(ms)
    }

    #[test]
    fn tries_are_further_and_further_apart_and_end() {
        let lost = || Err(Failure { why: Text::cut("no answer"), refused: false });
        assert_eq!(next_try(at(0), 1, &Ok(()), at(5)), None, "it arrived");
        let (mut now, mut tries, mut pauses) = (at(0), 0, Vec::new());
        loop {
            tries += 1;
            let Some(next) = next_try(at(0), tries, &lost(), now) else { break };
            pauses.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses[..4], [10, 20, 40, 80]);
        assert!(pauses.iter().all(|pause| *pause <= 3600));
        assert!(now.since(at(0)) >= PATIENCE, "a day at least");
        assert!(tries < 40, "{tries} tries");
        let refused = |tries| next_try(at(0), tries, &Err(Failure::refused("410")), at(0));
        assert!(refused(REFUSALS - 1).is_some());
        assert_eq!(refused(REFUSALS), None);
    }
}
