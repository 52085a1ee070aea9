//! What replicas tell each other in a moment, through Redis: live news, and how often a password was wrong. Nothing rests on it: facts
//! are read from the database half a second later, and without it each replica counts wrong passwords by itself.

use crate::ingest::News;
use aws_lc_rs::digest;
use futures_util::StreamExt;
use redis::AsyncCommands;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use saveos_protocol::id::NodeId;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// `redis://:password@host:port`, `rediss://` with TLS.
const URL: &str = "SAVEOS_REDIS_URL";
/// A file that holds it.
const URL_FILE: &str = "SAVEOS_REDIS_URL_FILE";
/// Nobody waits longer for something that one can do without.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two tries to listen again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why it cannot be used at all; that it is away is no reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// A file that a variable names.
    #[error("could not read {0}, which SAVEOS_REDIS_URL_FILE names")]
    File(PathBuf, #[source] std::io::Error),
    /// No URL. It may hold a password: nothing of it is shown.
    #[error("{0} is no `redis://:password@host:port`")]
    Url(&'static str),
    /// The client.
    #[error("Redis cannot be used")]
    Client(#[source] redis::RedisError),
}

/// The hub of one installation.
#[derive(Clone)]
pub(crate) struct Hub {
    client: redis::Client,
    connection: ConnectionManager,
    /// Before every name: several installations may use one Redis.
    prefix: String,
    /// Whether the last question was answered, so that its absence is told once.
    here: std::sync::Arc<AtomicBool>,
}

impl Hub {
    /// As the environment says; `None` when it says nothing.
    pub(crate) fn of_environment(node: NodeId) -> Result<Option<Hub>, HubError> {
        let (text, from) = match (std::env::var_os(URL_FILE).map(PathBuf::from), std::env::var(URL)) {
            (Some(path), _) => {
                let read = std::fs::read_to_string(&path).map(Zeroizing::new);
                (read.map_err(|error| HubError::File(path, error))?, URL_FILE)
            }
            (None, Ok(text)) => (Zeroizing::new(text), URL),
            (None, Err(_)) => return Ok(None),
        };
        Hub::at(text.trim(), from, node).map(Some)
    }

    fn at(url: &str, from: &'static str, node: NodeId) -> Result<Hub, HubError> {
        let client = redis::Client::open(url).map_err(|_| HubError::Url(from))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(HubError::Client)?;
        Ok(Hub { client, connection, prefix: format!("saveos:{node}"), here: Default::default() })
    }

    /// Tells all replicas.
    pub(crate) async fn publish(&self, news: &News) {
        let Ok(text) = serde_json::to_string(&Wire::of(news)) else { return };
        let mut connection = self.connection.clone();
        let sent: Option<()> = self.answered(connection.publish(self.channel(), text)).await;
        // A replica that missed it reads the fact half a second later.
        let _ = sent;
    }

    /// Hears what other replicas tell, for ever.
    pub(crate) async fn listen(self, heard: mpsc::Sender<News>) {
        loop {
            if let Ok(mut listening) = self.client.get_async_pubsub().await
                && listening.subscribe(self.channel()).await.is_ok()
            {
                let mut messages = listening.on_message();
                while let Some(message) = messages.next().await {
                    let wire = message.get_payload::<String>().ok().and_then(|text| serde_json::from_str(&text).ok());
                    let Some(wire): Option<Wire> = wire else { continue };
                    if heard.send(wire.into_news()).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Counts a try of `who`; the wait when there were more than `most` in `window`. `None`: nobody knows.
    pub(crate) async fn count(&self, who: &str, most: u32, window: Duration) -> Option<Result<(), Duration>> {
        let (key, mut connection) = (self.key(who), self.connection.clone());
        let mut steps = redis::pipe();
        // Together: a counter that nothing ends would lock somebody out for ever.
        steps.atomic().set_options(&key, 0, until(window)).ignore().incr(&key, 1).pttl(&key);
        let (count, left): (i64, i64) = self.answered(steps.query_async(&mut connection)).await?;
        let wait = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        Some(if count > i64::from(most) { Err(wait) } else { Ok(()) })
    }

    /// One try less.
    pub(crate) async fn take_back(&self, who: &str, window: Duration) {
        let (key, mut connection) = (self.key(who), self.connection.clone());
        let mut steps = redis::pipe();
        steps.atomic().set_options(&key, 0, until(window)).ignore().decr(&key, 1).ignore();
        let _: Option<()> = self.answered(steps.query_async(&mut connection)).await;
    }

    /// None any more.
    pub(crate) async fn forget(&self, who: &str) {
        let mut connection = self.connection.clone();
        let _: Option<()> = self.answered(connection.del(self.key(who))).await;
    }

    fn channel(&self) -> String {
        format!("{}:news", self.prefix)
    }

    /// Who tried to sign in is nobody's business, also not of who looks into Redis.
    fn key(&self, who: &str) -> String {
        let hidden = digest::digest(&digest::SHA256, who.as_bytes());
        format!("{}:tries:{}", self.prefix, crate::password::hex(hidden.as_ref()))
    }

    async fn answered<T>(&self, question: impl Future<Output = redis::RedisResult<T>>) -> Option<T> {
        let answer = tokio::time::timeout(2 * PATIENCE, question).await;
        let (is_here, answer) = match answer {
            Ok(Ok(answer)) => (true, Ok(answer)),
            Ok(Err(error)) => (false, Err(error.to_string())),
            Err(_) => (false, Err("no answer in time".to_owned())),
        };
        let was_here = self.here.swap(is_here, Ordering::Relaxed);
        match &answer {
            Ok(_) if !was_here => tracing::info!("Redis answers"),
            Err(error) if was_here => tracing::warn!(error, "Redis is away: replicas count and follow by themselves"),
            _ => {}
        }
        answer.ok()
    }
}

fn until(window: Duration) -> redis::SetOptions {
    let milliseconds = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    redis::SetOptions::default()
        .conditional_set(redis::ExistenceCheck::NX)
        .with_expiration(redis::SetExpiry::PX(milliseconds))
}

/// News on their way to another replica: with the place in the tree, which no browser is told.
#[derive(serde::Serialize, serde::Deserialize)]
struct Wire {
    seq: Option<u64>,
    device: saveos_protocol::id::DeviceId,
    path: String,
    kind: String,
    body: serde_json::Value,
}

impl Wire {
    fn of(news: &News) -> Wire {
        let News { seq, device, path, kind, body } = news.clone();
        Wire { seq, device, path, kind, body }
    }

    fn into_news(self) -> News {
        let Wire { seq, device, path, kind, body } = self;
        News { seq, device, path, kind, body }
    }
}
