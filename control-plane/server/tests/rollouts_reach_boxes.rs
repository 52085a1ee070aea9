//! A rollout with a real broker and simulated boxes: a good release goes through its rings by itself, a rotten one halts and is taken
//! back, and people may pause, approve and halt. How the engine decides, `a_rollout_stops_by_itself` asks.

mod support;

use saveos_fleet_sim::{Appliance, Fate};
use serde_json::{Value, json};
use std::sync::Arc;
use support::{Person, Server};

/// Two rings that are quick: whoever passed has soaked.
fn policy(change: impl FnOnce(&mut Value)) -> Value {
    let ring = |name: &str, up_to: u32| {
        json!({
            "name": name, "up_to": up_to, "minimum": 1, "spread_s": 1, "soak_s": 1, "worst": 500_000, "approval": false,
        })
    };
    let mut policy = json!({
        "rings": [ring("first", 300_000), ring("all", 1_000_000)],
        "usual_failures": 5_000, "usual_silence": 3_000, "false_halts": 9_500, "in_flight": 100,
        "suspected_after_s": 1_800, "lost_after_s": 7_200,
    });
    change(&mut policy);
    policy
}

fn fleet(server: &Server, count: usize, fate: Fate) -> Vec<Arc<Appliance>> {
    let boxes = server.fleet(count);
    boxes.iter().for_each(|one| one.expect("9.0.0", fate));
    boxes
}

fn begin(admin: &Person, policy: &Value) -> String {
    let (status, made) = admin.ask("POST", "/api/v1/rollouts", &json!({ "release": "9.0.0", "policy": policy }));
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().expect("an id").to_owned()
}

fn look(admin: &Person, id: &str) -> Value {
    admin.get(&format!("/api/v1/rollouts/{id}"))
}

fn running(boxes: &[Arc<Appliance>]) -> usize {
    boxes.iter().filter(|one| one.running() == "9.0.0").count()
}

fn sum(rollout: &Value, what: &str) -> u64 {
    rollout["rings"].as_array().expect("rings").iter().filter_map(|ring| ring[what].as_u64()).sum()
}

#[test]
fn a_good_release_goes_through_its_rings_by_itself_and_leaves_out_who_is_held() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let boxes = fleet(&server, 6, Fate::Good);
    let held = boxes[0].identity().device.to_string();
    let (status, said) = admin.ask("PATCH", &format!("/api/v1/appliances/{held}"), &json!({ "tags": ["hold"] }));
    assert!(status < 300, "{said}");
    let id = begin(&admin, &policy(|_| ()));
    let again = admin.ask("POST", "/api/v1/rollouts", &json!({ "release": "9.1.0" }));
    assert_eq!(again.0, 409, "one at a time: {}", again.1);

    let rollout = server.until("it is through", || {
        let rollout = look(&admin, &id);
        (rollout["state"] == "finished").then_some(rollout)
    });
    assert_eq!((sum(&rollout, "offered"), sum(&rollout, "passed"), running(&boxes)), (5, 5, 5), "{rollout}");
    assert_ne!(boxes[0].running(), "9.0.0");
    let rings = rollout["rings"].as_array().expect("rings");
    assert_eq!((&rings[0]["members"], &rings[1]["members"]), (&json!(2), &json!(5)), "30 % of five, and all");
    assert!(rings[0]["opened_ms"].as_u64() < rings[1]["opened_ms"].as_u64());
    assert_eq!(
        admin.get("/api/v1/rollouts")["items"][0]["ended_ms"],
        Value::Null,
        "who comes late is still offered it"
    );

    let stands = |one: &Appliance| {
        admin.get(&format!("/api/v1/appliances/{}/release", one.identity().device))["rollout"].clone()
    };
    assert_eq!(
        stands(&boxes[0]),
        json!({ "release": "9.0.0", "ring": null, "why": "held", "through": null, "at_ms": null })
    );
    assert_eq!(stands(&boxes[1])["why"], "runs");

    // The next one takes its place, also for those to whom the one before made an offer.
    let next = json!({ "release": "9.1.0", "policy": policy(|policy| policy["rings"][1]["approval"] = json!(true)) });
    let (status, next) = admin.ask("POST", "/api/v1/rollouts", &next);
    assert_eq!(status, 201, "{next}");
    assert_eq!(look(&admin, &id)["state"], "superseded");
    let id = next["id"].as_str().expect("an id");
    server.until("its first ring is through", || {
        (look(&admin, id)["because"] == json!(["a person has to agree to ring 2"])).then_some(())
    });
    assert_eq!(boxes.iter().filter(|one| one.running() == "9.1.0").count(), 2);
    let waiting: Vec<Value> = boxes[1..].iter().map(|one| stands(one)).filter(|said| said["why"] != "runs").collect();
    assert_eq!(waiting.len(), 3);
    assert!(waiting.iter().all(|said| said["why"] == "ring_closed" && said["ring"] == "all"), "{waiting:?}");
    let trail = admin.get("/api/v1/audit").to_string();
    assert!(trail.contains("began a rollout"), "{trail}");
}

#[test]
fn a_rotten_release_halts_in_its_first_ring_and_the_others_were_never_offered_it() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let boxes = fleet(&server, 9, Fate::Rotten);
    let id = begin(&admin, &policy(|_| ()));
    let rollout = server.until("it halts", || {
        let rollout = look(&admin, &id);
        (rollout["state"] == "halted").then_some(rollout)
    });
    let because = rollout["because"].to_string();
    assert!(because.contains("it failed on") && because.contains("times likelier with a bad release"), "{because}");
    assert_eq!(rollout["rings"][1]["opened_ms"], Value::Null);
    assert!(sum(&rollout, "offered") <= 4, "{rollout}");
    let offered = |one: &Arc<Appliance>| {
        let topic = |told: &&saveos_fleet_sim::Told| String::from_utf8_lossy(&told.payload).contains("9.0.0");
        one.told().iter().any(|told| topic(&told))
    };
    assert_eq!(boxes.iter().filter(|one| offered(one)).count() as u64, sum(&rollout, "offered"));
    assert_eq!(running(&boxes), 0);
}

/// hawkBit and its clients call an update a success that no box runs.
#[test]
fn boxes_that_say_it_went_well_and_run_the_old_release_halt_it() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let boxes = fleet(&server, 9, Fate::Boast);
    let id = begin(&admin, &policy(|_| ()));
    let rollout = server.until("it halts", || {
        let rollout = look(&admin, &id);
        (rollout["state"] == "halted").then_some(rollout)
    });
    assert_eq!((sum(&rollout, "passed"), running(&boxes)), (0, 0), "{rollout}");
}

/// How many may go on with what this rollout offered them.
fn going(server: &Server, boxes: &[Arc<Appliance>], id: &str) -> u64 {
    let stands = |one: &&Arc<Appliance>| {
        let (status, answer) = server
            .place()
            .request("GET", &format!("/api/v1/go/{}/{id}", one.identity().device), &[], b"")
            .expect("an answer");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(status, 200, "{answer}");
        answer["stands"] == true
    };
    boxes.iter().filter(stands).count() as u64
}

#[test]
fn people_pause_approve_and_halt() {
    let Some(mut server) = Server::new() else { return };
    let admin = server.admin();
    let boxes = fleet(&server, 6, Fate::Good);
    let id = begin(&admin, &policy(|policy| policy["rings"][1]["approval"] = json!(true)));
    let path = format!("/api/v1/rollouts/{id}");
    let change = |change: Value| admin.ask("PATCH", &path, &change);
    assert_eq!(change(json!({ "change": "pause" })).0, 204);
    server.until("it says that it is paused", || {
        let rollout = look(&admin, &id);
        (rollout["state"] == "paused" && rollout["because"].to_string().contains("said so")).then_some(())
    });
    assert_eq!(sum(&look(&admin, &id), "offered"), 0);
    assert_eq!(change(json!({ "change": "resume" })).0, 204);
    server.until("it waits for a person", || {
        look(&admin, &id)["because"].to_string().contains("a person has to agree to ring 2").then_some(())
    });
    assert_eq!(look(&admin, &id)["rings"][1]["approved"], json!(false));

    // What was decided outlives the server.
    server.kill();
    server.start();
    let admin = server.admin();
    let change = |change: Value| admin.ask("PATCH", &path, &change);
    let first = sum(&look(&admin, &id), "offered");
    assert!((1..6).contains(&first));
    assert_eq!(going(&server, &boxes, &id), first, "who was offered it, and nobody else");
    for wrong in
        [json!({ "change": "approve" }), json!({ "change": "approve", "ring": 7 }), json!({ "change": "faster" })]
    {
        assert!([400, 422].contains(&change(wrong.clone()).0), "{wrong}");
    }
    assert_eq!(change(json!({ "change": "approve", "ring": 1 })).0, 204);
    server.until("the second ring is open", || look(&admin, &id)["rings"][1]["opened_ms"].as_u64());
    assert_eq!(change(json!({ "change": "halt" })).0, 204);
    server.until("it has ended", || admin.get("/api/v1/rollouts")["items"][0]["ended_ms"].as_u64());
    let rollout = look(&admin, &id);
    assert_eq!(rollout["state"], "halted", "{rollout}");
    assert!(rollout["because"].to_string().contains("admin@example.org said so"), "{rollout}");
    assert_eq!(change(json!({ "change": "resume" })).0, 409, "it has ended");
    assert_eq!(going(&server, &boxes, &id), 0, "nobody restarts into what was halted");
    assert_eq!(running(&boxes) as u64, sum(&rollout, "passed"));
}

#[test]
fn what_halted_is_taken_back_from_those_that_run_it_and_a_right_one_goes_out_after_it() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let boxes = fleet(&server, 4, Fate::Good);
    let before = boxes[0].running();
    let at_once = policy(|policy| drop(policy["rings"].as_array_mut().map(|rings| rings.remove(0))));
    let id = begin(&admin, &at_once);
    let path = format!("/api/v1/rollouts/{id}");
    let change = |admin: &Person, change: &str| admin.ask("PATCH", &path, &json!({ "change": change })).0;
    server.until("all run it", || (look(&admin, &id)["state"] == "finished").then_some(()));
    assert_eq!(change(&admin, "roll_back"), 409, "it goes on being offered");
    assert_eq!(change(&admin, "halt"), 204);
    assert_eq!(look(&admin, &id)["recall"], Value::Null);
    server.until("it has ended", || admin.get("/api/v1/rollouts")["items"][0]["ended_ms"].as_u64());
    assert_eq!(running(&boxes), 4, "a halt takes it from nobody who runs it");
    assert_eq!(change(&admin, "roll_back"), 204);
    let rollout = server.until("all are back", || {
        let rollout = look(&admin, &id);
        (rollout["recall"] == json!({ "told": 4, "back": 4, "failed": 0, "stay": 0 })).then_some(rollout)
    });
    assert!(boxes.iter().all(|one| one.running() == before), "{rollout}");
    assert_eq!((&rollout["state"], &rollout["recalled_by"]), (&json!("halted"), &json!("admin@example.org")));
    let stands = admin.get(&format!("/api/v1/appliances/{}/release", boxes[0].identity().device))["rollout"].clone();
    assert_eq!(stands["why"], "halted", "{stands}");
    assert_eq!(change(&admin, "roll_back"), 409, "it is taken back already");
    assert!(admin.get("/api/v1/audit").to_string().contains("rolled a release back"));

    let next = json!({ "release": "9.0.1", "policy": at_once });
    let (status, next) = server.until("nothing is under way", || {
        let (status, next) = admin.ask("POST", "/api/v1/rollouts", &next);
        (status != 409).then_some((status, next))
    });
    assert_eq!(status, 201, "{next}");
    let id = next["id"].as_str().expect("an id");
    server.until("the right one is through", || (look(&admin, id)["state"] == "finished").then_some(()));
    assert!(boxes.iter().all(|one| one.running() == "9.0.1"));
}
