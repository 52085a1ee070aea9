//! Sessions, streams and facts in the orders that a network makes of them.

use super::*;
use crate::store::Store;
use saveos_fleet_sim::Identity;
use saveos_protocol::birth::{Leaving, SessionNumber};
use saveos_protocol::fact::{FactNumber, Kind, StoreCapacity, StoreLevel};
use saveos_protocol::hex::BootId;
use saveos_protocol::shadow::{Applied, Firmware, Hardware, Slot, Version};
use saveos_protocol::unit::Bytes;

struct Given {
    _folder: tempfile::TempDir,
    store: Store,
    identity: Identity,
    runtime: tokio::runtime::Runtime,
}

fn given() -> Given {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (store, identity) = (runtime.block_on(Store::for_test(folder.path())), Identity::new());
    let (device, key) = (identity.device, identity.public);
    let rows = store.write(move |tx| {
        let sql = "INSERT INTO node (id, path, kind, name, made_ms) VALUES ('s', '/o/s/', 'site', 'a site', 1)";
        tx.execute(sql, &[])?;
        let sql =
            "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms,
            desired, desired_ver, applied_ver) VALUES ($1, 's', 'a box', $2, '{}', '1', 1, 'x', 1, '{}', 0, 0)";
        tx.execute(sql, &values![device, key])
    });
    runtime.block_on(rows).expect("room");
    Given { _folder: folder, store, identity, runtime }
}

impl Given {
    fn hear(&self, messages: Vec<(Up, Vec<u8>)>) -> Effects {
        let device = self.identity.device;
        let heard: Vec<Heard> =
            messages.into_iter().map(|(up, payload)| Heard { device, up, payload, retained: false }).collect();
        self.runtime
            .block_on(self.store.write(move |tx| apply(tx, &Cell::main(), &heard, Timestamp::saturating(7))))
            .expect("room")
    }

    fn say(&self, presence: &Presence) -> Effects {
        self.hear(vec![(Up::State, encode(presence).expect("it fits"))])
    }

    fn birth(&self, stream: &StreamBirth, session: u32) -> Birth {
        Birth {
            session: SessionNumber::from(session),
            stream: stream.clone(),
            last_fact: FactNumber::ZERO,
            boot: BootId([1; 16]),
            firmware: "1".parse().expect("a release"),
            capabilities: Vec::new(),
            ts: Timestamp::default(),
        }
    }

    /// Stream, session, gone, flag.
    fn row(&self) -> (Option<String>, Option<u64>, bool, Option<String>) {
        let sql = "SELECT stream, session, gone_ms, flag FROM appliance";
        let read = self.store.read(move |tx| first(tx, sql, &[]));
        let row = self.runtime.block_on(read).expect("readable").expect("a row");
        let text = |at| row.maybe_text(at).expect("a text").map(str::to_owned);
        let number = |at| row.maybe_number(at).expect("a number");
        (text(0), number(1), number(2).is_some(), text(3))
    }
}

#[test]
fn a_late_will_of_an_older_session_ends_nothing() {
    let given = given();
    let stream = given.identity.stream(None);
    let (first, second) = (given.birth(&stream, 1), given.birth(&stream, 2));
    given.say(&Presence::Here(first.clone()));
    given.say(&Presence::Here(second.clone()));
    given.say(&first.will());
    assert_eq!(given.row(), (Some(stream.stream.to_string()), Some(2), false, None));
    given.say(&Presence::Here(first));
    assert_eq!(given.row().1, Some(2), "an older birth is no news");
    given.say(&second.departure(Leaving::Shutdown));
    assert!(given.row().2);
    given.say(&Presence::Here(second));
    assert!(!given.row().2);
}

#[test]
fn a_stream_that_was_followed_never_comes_back_and_a_stolen_one_never_begins() {
    let given = given();
    let old = given.identity.stream(None);
    let new = given.identity.stream(Some(old.stream));
    given.say(&Presence::Here(given.birth(&old, 5)));
    given.say(&Presence::Here(given.birth(&new, 1)));
    let (stream, session, _, flag) = given.row();
    assert_eq!((stream, session, flag), (Some(new.stream.to_string()), Some(1), None), "numbers begin again");
    given.say(&Presence::Here(given.birth(&old, 6)));
    let (stream, _, _, flag) = given.row();
    assert_eq!(stream, Some(new.stream.to_string()));
    assert!(flag.is_some_and(|flag| flag.contains("comes back")));

    let thief = Identity::new().called(given.identity.device);
    let effects = given.say(&Presence::Here(given.birth(&thief.stream(None), 9)));
    assert_eq!(effects.tally.refused, 1);
    assert_eq!(given.row().0, Some(new.stream.to_string()));
}

#[test]
fn facts_before_their_stream_and_after_a_hole_wait_and_copies_count_once() {
    let given = given();
    let stream = given.identity.stream(None);
    let fact = |n: u32, body: Body| {
        let fact = Fact {
            v: V1,
            stream: stream.stream,
            n: FactNumber::from(n),
            ts: Timestamp::default(),
            boot: BootId([1; 16]),
            uptime: Default::default(),
            body,
        };
        let kind = fact.body.kind().expect("a kind");
        (Up::Event(kind), encode(&fact).expect("it fits"))
    };
    let key = || Body::Key(saveos_protocol::fact::KeyState::WordsShown);
    let early = given.hear(vec![fact(2, key())]);
    assert_eq!((early.tally.early, early.acks.len()), (1, 0), "nobody has signed that stream");
    let born = fact(1, Body::StreamBorn(stream.clone()));
    assert_eq!(born.0, Up::Event(Kind::StreamBorn));
    let watermark = |effects: &Effects| {
        let (_, ack) = effects.acks.first().expect("an acknowledgement");
        (ack.n.get(), ack.want.map(FactNumber::get))
    };
    let hole = given.hear(vec![born.clone(), fact(3, key()), fact(4, key())]);
    assert_eq!((watermark(&hole), hole.tally.facts), ((1, Some(2)), 3));
    let closed = given.hear(vec![fact(2, key()), fact(4, key()), born]);
    assert_eq!((watermark(&closed), closed.tally.facts, closed.tally.copies), ((4, None), 1, 2));
    assert_eq!(closed.news.len(), 1, "a copy is no news");
}

#[test]
fn a_clock_that_runs_ahead_hides_no_room_and_a_late_fact_changes_none() {
    let given = given();
    let (device, stream) = (given.identity.device, given.identity.stream(None).stream);
    let told = |ts: u64, free: u32, now: u64| {
        let capacity = StoreCapacity {
            disk: None,
            level: StoreLevel::Roomy,
            size_bytes: Bytes::from(100),
            free_bytes: Bytes::from(free),
        };
        let (n, ts, body) = (FactNumber::from(1), Timestamp::saturating(ts), Body::StoreCapacity(capacity));
        let fact = Fact { v: V1, n, stream, ts, boot: BootId([1; 16]), uptime: Default::default(), body };
        let write = given.store.write(move |tx| {
            project::fact(tx, device, &fact, Timestamp::saturating(now))?;
            let row = first(tx, "SELECT free_bytes, full_ms FROM store_room", &[])?.expect("a row");
            Ok::<_, StoreError>((row.number(0)?, row.maybe_number(1)?))
        });
        given.runtime.block_on(write).expect("room")
    };
    const DAY: u64 = 86_400_000;
    assert_eq!(told(900 * DAY, 90, DAY), (90, None), "it says that it is years later");
    assert_eq!(told(2 * DAY, 80, 2 * DAY).0, 80, "its clock was set");
    told(4 * DAY, 60, 4 * DAY);
    let (free, full) = told(5 * DAY, 50, 5 * DAY);
    assert_eq!((free, full), (50, Some(10 * DAY)), "10 bytes a day");
    assert_eq!(told(3 * DAY, 70, 6 * DAY), (50, Some(10 * DAY)), "what comes late says nothing of now");
}

#[test]
fn the_newest_document_of_the_box_s_stream_holds() {
    let given = given();
    let (old, device) = (given.identity.stream(None), given.identity.device);
    let new = given.identity.stream(Some(old.stream));
    let document = |stream: &StreamBirth, n: u32, model: &str| {
        let reported = Reported {
            v: V1,
            ver: Version { stream: stream.stream, n: FactNumber::from(n) },
            ts: Timestamp::default(),
            boot: BootId([1; 16]),
            uptime: Default::default(),
            firmware: Firmware {
                release: "1".parse().expect("a release"),
                root_hash: None,
                slot: Slot::None,
                update: None,
            },
            hardware: Hardware { model: model.parse().expect("a mark"), serial: None, memory_bytes: Bytes::from(1) },
            disks: Default::default(),
            stores: Default::default(),
            key: saveos_protocol::fact::KeyState::WordsShown,
            desired: Applied { ver: DesiredVersion::ZERO, refused: None },
            errors: Default::default(),
        };
        (Up::Reported, encode(&reported).expect("it fits"))
    };
    let model = || {
        let sql = "SELECT json FROM reported WHERE device = $1";
        let row = given.store.read(move |tx| first(tx, sql, &values![device]));
        let row = given.runtime.block_on(row).expect("readable");
        row.map(|row| {
            decode::<Reported>(row.text(0).expect("a text").as_bytes()).expect("ours").hardware.model.to_string()
        })
    };
    assert_eq!(given.hear(vec![document(&old, 1, "stranger")]).tally.early, 1, "nobody has signed that stream");
    given.say(&Presence::Here(given.birth(&old, 1)));
    given.hear(vec![document(&old, 2, "two"), document(&old, 1, "one")]);
    assert_eq!(model().as_deref(), Some("two"));
    given.say(&Presence::Here(given.birth(&new, 1)));
    given.hear(vec![document(&old, 9, "nine"), document(&new, 1, "anew")]);
    assert_eq!(model().as_deref(), Some("anew"), "numbers begin again with a stream");
    assert_eq!(given.hear(vec![(Up::Reported, b"{}".to_vec())]).tally.refused, 1);
}
