//! A box neither reaches nor hears another one, a revoked one nobody, and one that talks nonsense harms only itself.
//! Delivery is checked: this broker grants every subscription.

mod support;

use rumqttc::mqttbytes::QoS;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, PublishOptions, TlsConfiguration, Transport};
use saveos_fleet_sim::{Appliance, Identity};
use saveos_protocol::enrol::Enrolment;
use saveos_protocol::fact::{Body, KeyState};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::Server;

/// A box that says and hears what it likes.
struct Rogue {
    client: AsyncClient,
    heard: Arc<Mutex<Vec<String>>>,
    broke: Arc<Mutex<Option<Instant>>>,
}

impl Rogue {
    fn connect(server: &Server, identity: &Identity, enrolment: &Enrolment) -> Rogue {
        let broker = enrolment.uplink.brokers[0].rsplit_once(':').expect("a port").1.parse().expect("a port");
        let mut options = MqttOptions::new("whatever", ("localhost".to_owned(), broker));
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
            ca: enrolment.authorities.as_bytes().to_vec(),
            alpn: None,
            client_auth: Some((enrolment.certificates.as_bytes().to_vec(), identity.key_pem().into_bytes())),
        }));
        options.set_clean_start(true).set_connect_timeout(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::builder(options).capacity(100).build();
        let (heard, broke) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
        let (to, end) = (Arc::clone(&heard), Arc::clone(&broke));
        server.runtime.spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Incoming::Publish(message))) => {
                        to.lock().expect("alive").push(String::from_utf8_lossy(&message.topic).into_owned());
                    }
                    Ok(_) => {}
                    Err(_) => {
                        end.lock().expect("alive").get_or_insert_with(Instant::now);
                        return;
                    }
                }
            }
        });
        Rogue { client, heard, broke }
    }

    /// Whether the broker takes it, by its own word.
    fn say(&self, server: &Server, topic: &str, payload: &str) -> bool {
        server.runtime.block_on(async {
            let options = PublishOptions::at_least_once();
            let said = self.client.publish_tracked(topic.to_owned(), payload.to_owned(), options).await;
            match said {
                Ok(notice) => {
                    let taken = tokio::time::timeout(Duration::from_secs(5), notice.wait_completion_async()).await;
                    taken.is_ok_and(|taken| taken.is_ok())
                }
                Err(_) => false,
            }
        })
    }

    fn listen(&self, topics: &[String]) {
        for topic in topics {
            self.client.try_subscribe(topic.clone(), QoS::AtLeastOnce).expect("room");
        }
    }
}

#[test]
fn a_box_neither_reaches_nor_hears_another() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let site = server.site(&admin, "a site");
    let ((rogue_id, rogue_enrolment), (victim_id, victim_enrolment)) =
        (server.enrolled(&admin, &site), server.enrolled(&admin, &site));
    let (a, b) = (rogue_id.device, victim_id.device);
    let victim = Appliance::new(victim_id, Duration::from_secs(1));
    server.runtime.spawn(Arc::clone(&victim).run(victim_enrolment));
    let rogue = Rogue::connect(&server, &rogue_id, &rogue_enrolment);
    rogue.listen(&[
        "#".to_owned(),
        "saveos/v1/d/+/up/#".to_owned(),
        "$share/ingest/saveos/v1/d/+/up/#".to_owned(),
        format!("saveos/v1/d/{b}/dn/#"),
        "saveos/v1/cp/#".to_owned(),
        "$SYS/#".to_owned(),
    ]);
    server.until("the victim is heard", || {
        let seen = admin.get(&format!("/api/v1/appliances/{b}"));
        (seen["presence"] == "online").then_some(())
    });
    for topic in [
        format!("saveos/v1/d/{b}/up/state"),
        format!("saveos/v1/d/{b}/up/hb"),
        format!("saveos/v1/d/{b}/dn/cmd"),
        format!("saveos/v1/d/{a}/dn/des"),
        "saveos/v1/cp/state".to_owned(),
        "anything".to_owned(),
    ] {
        assert!(!rogue.say(&server, &topic, "{}"), "{topic} was taken");
    }
    (0..50).for_each(|_| victim.tell(Body::Key(KeyState::WordsShown)));
    server.until("all is acknowledged", || (victim.level().waiting == 0).then_some(()));
    assert!(victim.told().iter().any(|told| told.topic.to_string() == format!("saveos/v1/d/{b}/dn/ack")));
    server.compare(&[victim]);
    let heard = rogue.heard.lock().expect("alive").clone();
    assert!(heard.iter().all(|topic| topic.starts_with(&format!("saveos/v1/d/{a}/dn/"))), "{heard:?}");
}

#[test]
fn a_revoked_box_is_cut_in_five_seconds_and_does_not_come_back() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let site = server.site(&admin, "a site");
    let (identity, enrolment) = server.enrolled(&admin, &site);
    let bystander = server.enrolled(&admin, &site);
    let device = identity.device;
    let (revoked, other) =
        (Rogue::connect(&server, &identity, &enrolment), Rogue::connect(&server, &bystander.0, &bystander.1));
    let topic = format!("saveos/v1/d/{device}/up/hb");
    assert!(revoked.say(&server, &topic, "{}"), "it could talk before");

    let begun = Instant::now();
    let (status, answer) = admin.ask("POST", &format!("/api/v1/appliances/{device}/revoke"), &Value::Null);
    assert_eq!(status, 200, "{answer}");
    let cut = server.until("its session is cut", || *revoked.broke.lock().expect("alive"));
    assert!(cut.duration_since(begun) < Duration::from_secs(5), "{:?}", cut.duration_since(begun));
    for _ in 0..3 {
        let again = Rogue::connect(&server, &identity, &enrolment);
        server.until("it is refused", || *again.broke.lock().expect("alive"));
    }
    let topic = format!("saveos/v1/d/{}/up/hb", bystander.0.device);
    assert!(other.say(&server, &topic, "{}"), "the others go on");
    // A server that starts anew has not forgotten it.
    let mut server = server;
    server.stop();
    server.start();
    let again = Rogue::connect(&server, &identity, &enrolment);
    server.until("it is still refused", || *again.broke.lock().expect("alive"));
    // With a person it comes back.
    let admin = server.admin();
    assert_eq!(server.claim(&admin, &site, &identity).0, 201);
    let reply = saveos_fleet_sim::enrol(&server.place(), &identity, |_| {}).expect("an answer");
    let saveos_protocol::enrol::EnrolReply::Issued(enrolment) = reply else { panic!("{reply:?}") };
    server.until("it may talk again", || {
        let back = Rogue::connect(&server, &identity, &enrolment);
        back.say(&server, &format!("saveos/v1/d/{device}/up/hb"), "{}").then_some(())
    });
}

#[test]
fn nonsense_flags_its_box_and_the_others_go_on() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let site = server.site(&admin, "a site");
    let (identity, enrolment) = server.enrolled(&admin, &site);
    let good = server.fleet(1).remove(0);
    let device = identity.device;
    let rogue = Rogue::connect(&server, &identity, &enrolment);
    let stolen = good.ledger()[0].json.clone();
    let up = |level: &str| format!("saveos/v1/d/{device}/up/{level}");
    let deep = "[".repeat(20_000);
    let long = "x".repeat(60_000);
    for (level, payload) in [
        ("state", "nonsense"),
        ("state", r#"{"v":2,"on":true}"#),
        ("hb", deep.as_str()),
        ("hb", long.as_str()),
        ("ev/key", r#"{"v":1}"#),
        ("ev/stream_born", stolen.as_str()),
        ("ev/disk_seen", stolen.as_str()),
        ("ev/nobody_knows", "\u{0}"),
        ("res/cmd-00000000000000000000000000", "{}"),
        ("rep", "{}"),
        ("state/too/deep", "{}"),
    ] {
        assert!(rogue.say(&server, &up(level), payload), "{level}");
    }
    let flag = server.until("it is flagged", || {
        admin.get(&format!("/api/v1/appliances/{device}"))["flag"].as_str().map(str::to_owned)
    });
    assert!(!flag.is_empty());
    good.tell(Body::Key(KeyState::WordsConfirmed));
    server.until("the good one is heard", || (good.level().waiting == 0).then_some(()));
    server.compare(&[Arc::clone(&good)]);
    let seen = admin.get(&format!("/api/v1/appliances/{}", good.identity().device));
    assert_eq!((&seen["flag"], &seen["recoverable"]), (&Value::Null, &Value::from(true)));
}

#[test]
fn a_broker_that_a_reload_opened_is_closed() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let site = server.site(&admin, "a site");
    let (identity, enrolment) = server.enrolled(&admin, &site);
    let open_by = |file: &str, text: &str| {
        let path = server.data().join("broker").join(file);
        std::fs::File::create(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .expect("room");
        server.reload_broker();
    };
    for (file, text) in [("acl", "nonsense nonsense\n"), ("revoked.pem", "")] {
        let before = server.broker_id();
        open_by(file, text);
        server.until("the canary has it ended", || (server.broker_id() != before).then_some(()));
        server.until("it enforces its rules again", || {
            let rogue = Rogue::connect(&server, &identity, &enrolment);
            let own = rogue.say(&server, &format!("saveos/v1/d/{}/up/hb", identity.device), "{}");
            (own && !rogue.say(&server, "saveos/v1/cp/state", "{}")).then_some(())
        });
    }
}
