//! Lists against what single boxes say of themselves.

use super::*;
use crate::cell::ears::Ear;
use crate::store::Store;
use std::collections::BTreeSet;

const HOUR: u64 = 3_600_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::saturating(ms)
}

/// 40 boxes in all states that a list can ask for, at two sites of two customers.
async fn fleet(folder: &std::path::Path) -> Store {
    let store = Store::for_test(folder).await;
    store
        .write(|tx: &mut dyn Tx| {
            for (id, path) in [("o", "/o/"), ("a", "/o/a/"), ("s", "/o/a/s/"), ("b", "/o/b/"), ("t", "/o/b/t/")] {
                let sql = "INSERT INTO node (id, path, kind, name, made_ms) VALUES ($1, $2, 'site', $1, 1)";
                tx.execute(sql, &values![id, path])?;
            }
            for n in 0..40_u64 {
                let id = format!("d-{n:026}");
                let heard = [None, Some(100 * HOUR), Some(100 * HOUR - 200_000), Some(99 * HOUR), Some(70 * HOUR)];
                let heard = heard[n as usize % 5];
                let gone = (n % 4 == 1).then_some(100 * HOUR);
                let why = gone.map(|_| if n % 8 == 1 { "lwt" } else { "stop" });
                let name = format!("{} 100% {}", ["Bakery", "ÉCOLE", "office_1", "Garage"][n as usize % 4], 40 - n);
                let sql = "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial,
                    until_ms, heard_ms, gone_ms, gone_why, desired, desired_ver, applied_ver, recoverable_ms, flagged_ms)
                    VALUES ($1, $2, $3, $1, '', $4, 1, '', 1, $5, $6, $7, '', 0, 0, $8, $9)";
                let firmware = if n % 3 == 0 { "1.0" } else { "1.1" };
                let (site, flagged) = (if n % 2 == 0 { "s" } else { "t" }, (n % 7 == 0).then_some(1_u64));
                let recoverable = (n % 6 != 0).then_some(1_u64);
                tx.execute(sql, &values![id.as_str(), site, name, firmware, heard, gone, why, recoverable, flagged])?;
                if n % 5 != 4 {
                    let sql = "INSERT INTO disk (device, id, identity, bus, size_bytes, seen_ms) VALUES ($1, 'disk', '{}', 'usb', 1, 1)";
                    tx.execute(sql, &values![id.as_str()])?;
                    let sql = "INSERT INTO recovery_point (device, snapshot, disk, taken_ms, state, summary)
                        VALUES ($1, 'p', 'disk', $2, 'complete', '{}')";
                    tx.execute(sql, &values![id.as_str(), (70 + n) * HOUR])?;
                }
            }
            while crate::fleet::judge_more(tx, at(100 * HOUR))? > 0 {}
            Ok::<_, StoreError>(())
        })
        .await
        .expect("they are written");
    store
}

fn all() -> Filter {
    Filter { tops: vec!["/o/".to_owned()], ..Filter::default() }
}

/// All boxes of a list, page by page.
async fn walk(store: &Store, filter: &Filter, sort: Sort, ears: &Ears, now: u64) -> Vec<Appliance> {
    let (mut found, mut after) = (Vec::new(), None::<Place>);
    loop {
        let (filter, ears, place) = (filter.clone(), ears.clone(), after.clone());
        let read = store.read(move |tx| page(tx, &filter, (sort, place.as_ref(), 7), (&ears, at(now))));
        let (boxes, next): (Vec<Appliance>, Option<Place>) = read.await.expect("a page");
        found.extend(boxes);
        let Some(next) = next else { return found };
        assert_eq!(Place::parse(&next.as_text(), sort), Some(next.clone()), "what is said is understood");
        after = Some(next);
    }
}

#[tokio::test]
async fn a_filter_finds_what_the_boxes_say_of_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = fleet(folder.path()).await;
    let deaf_times = [None, Some((at(99 * HOUR), at(99 * HOUR + HOUR / 2))), Some((at(60 * HOUR), at(100 * HOUR)))];
    for (connected, deaf) in deaf_times.into_iter().flat_map(|deaf| [(true, deaf), (false, deaf)]) {
        let ears = Ears::from(Ear { connected, deaf });
        for now in [99 * HOUR, 100 * HOUR + 60_000, 100 * HOUR + 200_000, 120 * HOUR] {
            let boxes = walk(&store, &all(), Sort::Id, &ears, now).await;
            assert_eq!(boxes.len(), 40);
            for presence in [Presence::Online, Presence::Late, Presence::Offline, Presence::Never] {
                let expected: Vec<String> = ids(boxes.iter().filter(|one| one.presence == presence));
                let filter = Filter { presence: Some(presence), ..all() };
                assert_eq!(ids(&walk(&store, &filter, Sort::Id, &ears, now).await), expected, "{presence:?} {now}");
            }
            for (protected, wanted) in [(Tri::Yes, true), (Tri::No, false)] {
                let expected = ids(boxes.iter().filter(|one| one.protected == wanted));
                let filter = Filter { protected, ..all() };
                assert_eq!(ids(&walk(&store, &filter, Sort::Id, &ears, now).await), expected, "{protected:?} {now}");
            }
        }
    }
}

/// Boxes of a cell that nobody hears are excused, those of another are not, in lists as in what they say of themselves.
#[tokio::test]
async fn a_filter_judges_each_box_by_its_own_cell() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = fleet(folder.path()).await;
    let moved = store.write(|tx| {
        // Every third box, of all states.
        let sql = "UPDATE appliance SET heard_in = 'north' WHERE firmware = '1.0'";
        tx.execute(sql, &[])
    });
    assert_eq!(moved.await.expect("room"), 14);
    let north = "north".parse().expect("a name");
    let deaf = Some((at(60 * HOUR), at(100 * HOUR)));
    for (main, other) in [
        (Ear { connected: true, deaf: None }, Ear { connected: false, deaf }),
        (Ear { connected: false, deaf }, Ear { connected: true, deaf: None }),
        (Ear { connected: true, deaf }, Ear { connected: true, deaf: None }),
    ] {
        let mut ears = Ears::from(main);
        ears.set(&north, other);
        for (now, top) in [(100 * HOUR + 60_000, "/o/"), (120 * HOUR, "/o/"), (120 * HOUR, "/o/a/")] {
            let below = Filter { tops: vec![top.to_owned()], ..Filter::default() };
            for sort in [Sort::Id, Sort::NameDown] {
                let boxes = walk(&store, &below, sort, &ears, now).await;
                for presence in [Presence::Online, Presence::Late, Presence::Offline, Presence::Never] {
                    let expected: Vec<String> = ids(boxes.iter().filter(|one| one.presence == presence));
                    let filter = Filter { presence: Some(presence), ..below.clone() };
                    assert_eq!(
                        ids(&walk(&store, &filter, sort, &ears, now).await),
                        expected,
                        "{presence:?} {now} {top}"
                    );
                }
            }
            let filter = Filter { presence: Some(Presence::Offline), ..below };
            let (excused, judged) = (walk(&store, &filter, Sort::Id, &ears, now).await, now == 120 * HOUR);
            assert!(!judged || excused.iter().any(|one| one.presence == Presence::Offline), "one cell is heard");
        }
    }
}

fn ids<'a>(boxes: impl IntoIterator<Item = &'a Appliance>) -> Vec<String> {
    boxes.into_iter().map(|one| one.id.to_string()).collect()
}

#[tokio::test]
async fn every_order_has_every_box_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = fleet(folder.path()).await;
    let ears = Ears::from(Ear { connected: true, deaf: None });
    for sort in [Sort::Id, Sort::Name, Sort::NameDown, Sort::Heard, Sort::HeardDown, Sort::Protected] {
        let boxes = walk(&store, &all(), sort, &ears, 100 * HOUR).await;
        let unique: BTreeSet<String> = ids(&boxes).into_iter().collect();
        assert_eq!((boxes.len(), unique.len()), (40, 40), "{sort:?}");
        let sorted = match sort {
            Sort::Id => boxes.is_sorted_by_key(|one| one.id),
            Sort::Name => boxes.is_sorted_by(|one, other| one.name <= other.name),
            Sort::NameDown => boxes.is_sorted_by(|one, other| one.name >= other.name),
            Sort::Heard => boxes.is_sorted_by_key(|one| one.heard),
            Sort::HeardDown => boxes.is_sorted_by(|one, other| one.heard >= other.heard),
            Sort::Protected => boxes.is_sorted_by_key(|one| one.protected),
        };
        assert!(sorted, "{sort:?}");
    }
    // Tops that lie one in another, and two beside each other.
    for (tops, count) in
        [(&["/o/", "/o/a/"][..], 40), (&["/o/a/"], 20), (&["/o/a/", "/o/b/t/"], 40), (&[], 0), (&["/o/c/"], 0)]
    {
        let filter = Filter { tops: tops.iter().map(|top| (*top).to_owned()).collect(), ..Filter::default() };
        assert_eq!(walk(&store, &filter, Sort::Name, &ears, 100 * HOUR).await.len(), count, "{tops:?}");
    }
}

#[tokio::test]
async fn names_are_found_as_they_are_typed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = fleet(folder.path()).await;
    let ears = Ears::default();
    for (part, count) in [
        ("BAKERY", 10),
        ("école", 0),
        ("École", 10),
        ("ÉCOLE", 10),
        ("100%", 40),
        ("_1", 10),
        ("%", 40),
        ("office!", 0),
        ("' OR 1=1", 0),
    ] {
        let filter = Filter { name: part.to_owned(), ..all() };
        assert_eq!(walk(&store, &filter, Sort::Name, &ears, 100 * HOUR).await.len(), count, "{part}");
    }
    let filter = Filter { name: "office".to_owned(), firmware: "1.0".to_owned(), flagged: Tri::Yes, ..all() };
    let boxes = walk(&store, &filter, Sort::HeardDown, &ears, 100 * HOUR).await;
    assert_eq!(boxes.len(), (0..40).filter(|n| n % 4 == 2 && n % 3 == 0 && n % 7 == 0).count());
}

#[tokio::test]
async fn a_tag_is_found_whole_and_taken_by_its_letters() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = fleet(folder.path()).await;
    store
        .write(|tx: &mut dyn Tx| {
            for (n, tags) in [(1_u64, ",till,50%,"), (2, ",tills,"), (3, ",a_b,"), (4, ",axb,")] {
                let sql = "UPDATE appliance SET tags = $1 WHERE id = $2";
                tx.execute(sql, &values![tags, format!("d-{n:026}")])?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .expect("they are written");
    for (tag, expected) in [("till", 1), ("tills", 1), ("50%", 1), ("5%", 0), ("a_b", 1), ("", 40)] {
        let filter = Filter { tag: tag.to_owned(), ..all() };
        let found = walk(&store, &filter, Sort::Id, &Ears::default(), 100 * HOUR).await;
        assert_eq!(found.len(), expected, "{tag}");
    }
}
