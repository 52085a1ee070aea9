//! Boxes that cannot follow what they run go over another release first.

use super::*;
use saveos_server::rollout::Routes;

fn release(name: &str) -> Release {
    name.parse().expect("a release")
}

/// 2.0.0 follows 1.5.0, and that follows any.
fn routes() -> Option<Routes> {
    Some(Routes::new([(release("2.0.0"), vec![release("1.5.0")]), (release("1.5.0"), Vec::new())]))
}

fn catalogue(routes: Option<Routes>) -> Option<Catalogue> {
    routes.map(|routes| Catalogue { routes, ..Catalogue::default() })
}

/// Turns half an hour apart, all boxes there.
async fn turns(store: &Store, mut known: Option<Known>, from: u64, routes: Option<Routes>) -> Turned {
    let mut said = Vec::new();
    let mut last = Turned::default();
    for step in 0..60 {
        let now = at(from + step * 1800);
        let heard = store.write(move |tx| tx.execute("UPDATE appliance SET heard_ms = $1", &values![now])).await;
        heard.expect("room");
        last = turn(store, known, ears(), catalogue(routes.clone()), now).await.expect("a turn");
        known = last.known.take();
        said.append(&mut last.said);
    }
    Turned { known, said, happened: last.happened }
}

async fn offered(store: &Store) -> Vec<(DeviceId, String)> {
    let read = store.read(|tx| {
        let rows = tx.query("SELECT id, offered, desired FROM appliance WHERE offered IS NOT NULL ORDER BY id", &[])?;
        let one = |row: &Row| {
            let desired: serde_json::Value = serde_json::from_str(row.text(2)?).expect("JSON");
            assert_eq!(desired["release"]["ring_token"], row.text(1)?);
            Ok((row.parse(0)?, desired["release"]["release"].as_str().expect("a name").to_owned()))
        };
        rows.iter().map(one).collect::<Result<Vec<_>, StoreError>>()
    });
    read.await.expect("readable")
}

#[tokio::test]
async fn a_box_that_cannot_follow_takes_a_step_first_and_is_no_attempt_before() {
    let (_folder, store) = given(40).await;
    let known = turns(&store, None, 100_000, routes()).await.known.expect("it is under way");
    assert!(known.rollout.attempts().is_empty(), "nobody can take it");
    let first = offered(&store).await;
    // The first ring has 10 members, and no box runs the step yet.
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|(_, release)| release == "1.5.0"), "{first:?}");

    let arrived: Vec<DeviceId> = first.iter().map(|(device, _)| *device).collect();
    let some = arrived.clone();
    let write = store.write(move |tx| {
        for device in &some[..3] {
            tx.execute("UPDATE appliance SET firmware = '1.5.0' WHERE id = $1", &values![*device])?;
        }
        Ok::<_, StoreError>(())
    });
    write.await.expect("room");
    let known = turns(&store, Some(known), 300_000, routes()).await.known.expect("it is under way");
    for device in &arrived[..3] {
        assert!(known.rollout.attempt(*device).is_some(), "who made the step is offered the release");
    }
    let then = offered(&store).await;
    let on = |release: &str| then.iter().filter(|(_, offered)| offered == release).count();
    assert_eq!((on("2.0.0"), on("1.5.0")), (3, 4), "one that never arrived keeps its place");
    assert!(known.rollout.attempt(arrived[3]).is_none(), "a step is no attempt");
    let id = known.id;
    let log = store.read(move |tx| log(tx, id, 0)).await.expect("a log");
    saveos_server::rollout::replay(known.rollout.policy(), &log).expect("its log gives its decisions again");
}

#[tokio::test]
async fn a_halt_takes_steps_back_as_well() {
    let (_folder, store) = given(40).await;
    let known = turns(&store, None, 100_000, routes()).await.known.expect("it is under way");
    assert_eq!(offered(&store).await.len(), 4);
    let id = known.id;
    let write = store.write(move |tx| {
        let lines = lines(tx, id)?;
        append(tx, id, lines, &Entry { at: at(250_000), event: Event::Damaged { device: device(0) } })
    });
    write.await.expect("room");
    let turned = turn(&store, Some(known), ears(), catalogue(routes()), at(250_001)).await.expect("a turn");
    assert_eq!((turned.known.is_none(), turned.said.len()), (true, 4));
    assert!(offered(&store).await.is_empty());
}

#[tokio::test]
async fn where_no_release_leads_on_nobody_is_offered_one_and_each_box_says_so() {
    let (_folder, store) = given(4).await;
    let alone = Some(Routes::new([(release("2.0.0"), vec![release("1.9.0")])]));
    let known = turns(&store, None, 100_000, alone.clone()).await.known.expect("it is under way");
    assert!(known.rollout.attempts().is_empty() && offered(&store).await.is_empty());
    let now = at(100_000 + 59 * 1800);
    let say = |routes: Option<Routes>| {
        let store = store.clone();
        async move {
            let read = store.read(move |tx| standing(tx, device(1), &ears(), routes.as_ref(), now));
            serde_json::to_value(read.await.expect("readable").expect("a rollout")).expect("JSON")
        }
    };
    assert_eq!(say(alone).await["why"], "no_way");
    let stepping = say(routes()).await;
    let why = stepping["why"].as_str().expect("a word");
    // Its ring may not be open.
    assert!(why == "ring_closed" || why == "steps" && stepping["through"] == "1.5.0", "{stepping}");
}
