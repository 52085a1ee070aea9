//! What must be said to boxes by a process that has no session with their broker: through the database, to the one that has it.
//!
//! Whoever hears says it and takes it out. One that dies in between says it twice, and a new session begins with everything that
//! boxes must find anyway: desired documents, commands that wait.

use crate::ingest::{Heart, Outgoing};
use crate::stop;
use crate::store::{Store, StoreError, Tx, take_numbers, values};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How soon a command of another process goes out.
const LOOK: Duration = Duration::from_millis(200);
/// Messages in one transaction.
const BATCH: usize = 500;

/// Puts what this process says into the database, until it says no more.
pub(crate) async fn put_in(store: Store, mut outgoing: mpsc::Receiver<Outgoing>) {
    let mut batch = Vec::new();
    while outgoing.recv_many(&mut batch, BATCH).await > 0 {
        let said = std::mem::take(&mut batch);
        if let Err(error) = store.write(move |tx| put(tx, &said)).await {
            // Commands are sent again, and a desired document goes out with the next change or session.
            tracing::error!(error = &error as &dyn std::error::Error, "something is not said to boxes");
        }
    }
}

/// Takes it out while this process has the session, and has it said.
pub(crate) async fn take_out(store: Store, heart: Heart, say: mpsc::Sender<Outgoing>, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(LOOK, stop::asked(&mut stop)).await.is_err() {
        let hearing = heart.look();
        if !(hearing.here && hearing.connected) {
            continue;
        }
        if let Err(error) = pass_on(&store, &say).await {
            tracing::error!(error = &error as &dyn std::error::Error, "what others say to boxes waits");
        }
    }
}

async fn pass_on(store: &Store, say: &mpsc::Sender<Outgoing>) -> Result<(), StoreError> {
    loop {
        let (waiting, last) = store.read(waiting).await?;
        let Some(last) = last else { return Ok(()) };
        for one in waiting {
            if say.send(one).await.is_err() {
                return Ok(());
            }
        }
        store.write(move |tx| tx.execute("DELETE FROM outgoing WHERE n <= $1", &values![last])).await?;
    }
}

fn put(tx: &mut dyn Tx, said: &[Outgoing]) -> Result<(), StoreError> {
    let n = take_numbers(tx, "outgoing", said.len() as u64)?;
    for (n, (topic, body)) in (n..).zip(said) {
        let body = std::str::from_utf8(body).map_err(|_| StoreError::Damaged("a message that is no text"))?;
        let sql = "INSERT INTO outgoing (n, topic, body) VALUES ($1, $2, $3)";
        tx.execute(sql, &values![n, topic.to_string(), body])?;
    }
    Ok(())
}

fn waiting(tx: &mut dyn Tx) -> Result<(Vec<Outgoing>, Option<u64>), StoreError> {
    let (mut found, mut last) = (Vec::new(), None);
    for row in tx.query("SELECT n, topic, body FROM outgoing ORDER BY n LIMIT 500", &[])? {
        last = Some(row.number(0)?);
        match row.text(1)?.parse() {
            Ok(topic) => found.push((topic, row.text(2)?.as_bytes().to_vec())),
            // Of a newer release, which has to say it itself.
            Err(_) => tracing::error!(topic = row.text(1)?, "a topic that is not known"),
        }
    }
    Ok((found, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use saveos_fleet_sim::Identity;
    use saveos_protocol::Topic;
    use saveos_protocol::topic::Down;

    #[tokio::test]
    async fn what_one_process_says_another_says_to_the_box_once_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let (out, outgoing) = mpsc::channel(8);
        let topic = || Topic::Down(Identity::new().device, Down::Command);
        let said: Vec<Outgoing> = (0..700).map(|n| (topic(), format!("{{\"n\":{n}}}").into_bytes())).collect();
        let (write, copy) = (tokio::spawn(put_in(store.clone(), outgoing)), said.clone());
        for one in copy {
            out.send(one).await.expect("room");
        }
        drop(out);
        write.await.expect("it ends");
        let (say, mut heard) = mpsc::channel(1000);
        pass_on(&store, &say).await.expect("readable");
        pass_on(&store, &say).await.expect("readable");
        let mut got = Vec::new();
        while let Ok(one) = heard.try_recv() {
            got.push(one);
        }
        assert_eq!(got, said);
    }
}
