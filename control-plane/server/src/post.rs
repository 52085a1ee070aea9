//! What must be said to boxes by a process that has no session with their broker: through the database, to the one that has it.
//!
//! Whoever hears says it and takes it out. One that dies in between says it twice, and a new session begins with everything that
//! boxes must find anyway: desired documents, commands that wait.

use crate::cell::Cell;
use crate::ingest::{Heart, Outgoing};
use crate::stop;
use crate::store::{Store, StoreError, Tx, first, take_numbers, values};
use saveos_protocol::Topic;
use std::collections::BTreeSet;
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
pub(crate) async fn take_out(
    store: Store,
    heart: Heart,
    cell: Cell,
    say: mpsc::Sender<Outgoing>,
    mut stop: watch::Receiver<bool>,
) {
    while tokio::time::timeout(LOOK, stop::asked(&mut stop)).await.is_err() {
        let hearing = heart.look();
        if !(hearing.here && hearing.connected) {
            continue;
        }
        if let Err(error) = pass_on(&store, &cell, &say).await {
            tracing::error!(error = &error as &dyn std::error::Error, "what others say to boxes waits");
        }
    }
}

async fn pass_on(store: &Store, cell: &Cell, say: &mpsc::Sender<Outgoing>) -> Result<(), StoreError> {
    loop {
        let own = cell.clone();
        let (waiting, last) = store.read(move |tx| waiting(tx, &own)).await?;
        let Some(last) = last else { return Ok(()) };
        for one in waiting {
            if say.send(one).await.is_err() {
                return Ok(());
            }
        }
        let (own, sql) = (cell.clone(), "DELETE FROM outgoing WHERE n <= $1 AND cell = $2");
        store.write(move |tx| tx.execute(sql, &values![last, &own])).await?;
    }
}

/// Where each box belongs, and where it was heard last if that is elsewhere.
pub(crate) fn put(tx: &mut dyn Tx, said: &[Outgoing]) -> Result<(), StoreError> {
    let mut letters = Vec::new();
    for (topic, body) in said {
        let body = std::str::from_utf8(body).map_err(|_| StoreError::Damaged("a message that is no text"))?;
        for cell in cells_of(tx, topic)? {
            // A command is said again and again until it is answered, also where nobody takes it out for days.
            let sql = "SELECT 1 FROM outgoing WHERE cell = $1 AND topic = $2 AND body = $3";
            if first(tx, sql, &values![cell.as_str(), topic.to_string(), body])?.is_none() {
                letters.push((topic, body, cell));
            }
        }
    }
    if letters.is_empty() {
        return Ok(());
    }
    let n = take_numbers(tx, "outgoing", letters.len() as u64)?;
    for (n, (topic, body, cell)) in (n..).zip(letters) {
        let sql = "INSERT INTO outgoing (n, topic, body, cell) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, &values![n, topic.to_string(), body, cell])?;
    }
    Ok(())
}

fn cells_of(tx: &mut dyn Tx, topic: &Topic) -> Result<BTreeSet<String>, StoreError> {
    let row = match topic {
        Topic::Down(device, _) | Topic::Up(device, _) => {
            first(tx, "SELECT cell, heard_in FROM appliance WHERE id = $1", &values![*device])?
        }
        Topic::ControlState | Topic::Bus(_) => None,
    };
    let Some(row) = row else { return Ok([Cell::main().to_string()].into()) };
    Ok([row.text(0)?.to_owned(), row.text(1)?.to_owned()].into())
}

fn waiting(tx: &mut dyn Tx, cell: &Cell) -> Result<(Vec<Outgoing>, Option<u64>), StoreError> {
    let (mut found, mut last) = (Vec::new(), None);
    let sql = "SELECT n, topic, body FROM outgoing WHERE cell = $1 ORDER BY n LIMIT 500";
    for row in tx.query(sql, &values![cell])? {
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
        pass_on(&store, &Cell::main(), &say).await.expect("readable");
        pass_on(&store, &Cell::main(), &say).await.expect("readable");
        let mut got = Vec::new();
        while let Ok(one) = heard.try_recv() {
            got.push(one);
        }
        assert_eq!(got, said);
    }

    #[tokio::test]
    async fn a_box_is_told_where_it_belongs_and_where_it_was_heard() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let device = Identity::new().device;
        let topic = Topic::Down(device, Down::Command);
        let said = vec![(topic.clone(), b"{}".to_vec())];
        let more = vec![(topic.clone(), b"{\"more\":1}".to_vec())];
        let put_all = store.write(move |tx| {
            let sql = "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms, desired,
                desired_ver, applied_ver, cell) VALUES ($1, 's', 'a box', 'k', '', '1', 1, '', 1, '', 0, 0, 'north')";
            tx.execute(sql, &values![device])?;
            put(tx, &said)?;
            tx.execute("UPDATE appliance SET heard_in = 'north' WHERE id = $1", &values![device])?;
            // What waits is not put a second time: nobody may be there for days.
            put(tx, &said)?;
            put(tx, &more)
        });
        put_all.await.expect("room");
        for (cell, count) in [("north", 2), ("main", 1), ("south", 0)] {
            let cell = cell.parse().expect("a name");
            let (say, mut heard) = mpsc::channel(8);
            pass_on(&store, &cell, &say).await.expect("readable");
            pass_on(&store, &cell, &say).await.expect("readable");
            drop(say);
            let mut got = 0;
            while let Some((to, _)) = heard.recv().await {
                assert_eq!(to, topic);
                got += 1;
            }
            assert_eq!(got, count, "{cell}");
        }
    }
}
