//! Every topic prints to what it was parsed from, and nothing else is taken for one.

use proptest::prelude::*;
use saveos_protocol::Topic;
use saveos_protocol::control::Channel;
use saveos_protocol::fact::Kind;
use saveos_protocol::id::{CommandId, DeviceId};
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::{Down, Filter, NotATopic, Up, acl};

fn device() -> impl Strategy<Value = DeviceId> {
    (0u64..(1 << 48), any::<[u8; 10]>())
        .prop_map(|(at, random)| DeviceId::from_parts(Timestamp::saturating(at), random))
}

fn topic() -> impl Strategy<Value = Topic> {
    let up = prop_oneof![
        Just(Up::State),
        Just(Up::Reported),
        Just(Up::Heartbeat),
        prop::sample::select(Kind::ALL).prop_map(Up::Event),
        any::<[u8; 10]>().prop_map(|random| Up::Result(CommandId::from_parts(Timestamp::saturating(7), random))),
    ];
    let down = prop::sample::select(vec![Down::Desired, Down::Command, Down::Ack]);
    prop_oneof![
        4 => (device(), up).prop_map(|(device, up)| Topic::Up(device, up)),
        3 => (device(), down).prop_map(|(device, down)| Topic::Down(device, down)),
        1 => Just(Topic::ControlState),
        1 => prop::sample::select(Channel::ALL).prop_map(Topic::Bus),
    ]
}

/// MQTT's own rule, written again: `#` takes the rest, `+` one level.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(left), Some(right)) if left == right => {}
            _ => return false,
        }
    }
}

proptest! {
    #[test]
    fn a_printed_topic_is_parsed_again(topic in topic()) {
        prop_assert_eq!(topic.to_string().parse(), Ok(topic));
    }

    #[test]
    fn what_parses_prints_as_it_came(text in "(saveos/v1/)?(d|cp|x)/([a-z0-9-]{0,30}|d-[0-7][0-9a-hjkmnp-tv-z]{25})/(up|dn|bus)?/?(ev/[a-z_]{0,40}|state|rep|#)?/?") {
        if let Ok(topic) = text.parse::<Topic>() {
            prop_assert_eq!(topic.to_string(), text);
        }
    }

    #[test]
    fn any_text_is_judged(text: String) {
        let _ = text.parse::<Topic>();
    }

    #[test]
    fn a_topic_has_at_most_seven_slashes(topic in topic()) {
        prop_assert!(topic.to_string().matches('/').count() <= 7);
    }

    #[test]
    fn filters_and_access_list_agree_with_the_topics(topic in topic(), other in device()) {
        let text = topic.to_string();
        let own = topic.device();
        let below = |pattern: &str, device: DeviceId| matches(&pattern.replace("%u", &device.to_string()), &text);
        prop_assert_eq!(matches(&Filter::Ingest.to_string(), &text), matches!(topic, Topic::Up(..)));
        prop_assert_eq!(matches(&Filter::Bus.to_string(), &text), matches!(topic, Topic::Bus(_)));
        for device in own.into_iter().chain([other]) {
            let mine = own == Some(device);
            prop_assert_eq!(below(acl::DEVICE_WRITES, device), mine && matches!(topic, Topic::Up(..)));
            prop_assert_eq!(below(acl::DEVICE_READS, device), mine && matches!(topic, Topic::Down(..)));
            prop_assert_eq!(
                matches(&Filter::Device(device).to_string(), &text),
                mine && matches!(topic, Topic::Down(..))
            );
        }
    }
}

#[test]
fn a_hostile_topic_is_refused_with_a_reason() {
    let device = "d-01kjmma2g0nentqaxbnentqaxb";
    let refused = |text: &str| text.parse::<Topic>().expect_err(text);
    for foreign in [
        "",
        "/",
        "saveos",
        "saveos/v1",
        "saveos/v2/d/x/up/hb",
        "/saveos/v1/cp/state",
        "$SYS/broker/load",
        "saveos/v1cp/state",
    ] {
        assert_eq!(refused(foreign), NotATopic::Foreign, "{foreign}");
    }
    for nobody in [
        "+",
        "#",
        "",
        "cp",
        "d-",
        "D-01KJMMA2G0NENTQAXBNENTQAXB",
        "o-01kjmma2g0nentqaxbnentqaxb",
        "..",
        "d-81kjmma2g0nentqaxbnentqaxb",
    ] {
        assert!(matches!(refused(&format!("saveos/v1/d/{nobody}/up/hb")), NotATopic::Device(_)), "{nobody}");
        assert!(matches!(refused(&format!("saveos/v1/d/{nobody}/dn/cmd")), NotATopic::Device(_)), "{nobody}");
    }
    for unknown in [
        "up",
        "up/",
        "up/#",
        "up/hb/",
        "up/hb/x",
        "up//hb",
        "up/HB",
        "up/ev",
        "up/ev/",
        "up/ev/a/b",
        "up/ev/Gap",
        "up/ev/gap ",
        "up/ev/abcdefghijklmnopqrstuvwxyzabcdefg",
        "up/ev/\u{0}",
        "dn",
        "dn/",
        "dn/#",
        "dn/cmd/x",
        "dn/res",
        "",
        "dn/des/",
        "up/ev/gap/x/y/z/a/b/c",
    ] {
        assert_eq!(refused(&format!("saveos/v1/d/{device}/{unknown}")), NotATopic::Unknown, "{unknown}");
    }
    for command in ["", "x", "+", "job-01kjmma2g0nentqaxbnentqaxb"] {
        assert!(matches!(refused(&format!("saveos/v1/d/{device}/up/res/{command}")), NotATopic::Command(_)));
    }
    for bus in ["cp", "cp/", "cp/state/", "cp/bus", "cp/bus/", "cp/bus/x", "cp/bus/facts/x", "cp/#"] {
        assert_eq!(refused(&format!("saveos/v1/{bus}")), NotATopic::Unknown, "{bus}");
    }
}

#[test]
fn a_fact_of_a_newer_kind_keeps_its_topic() {
    let text = "saveos/v1/d/d-01kjmma2g0nentqaxbnentqaxb/up/ev/heat_wave";
    let topic: Topic = text.parse().expect("a kind of a newer version");
    assert!(matches!(topic, Topic::Up(_, Up::NewerEvent(_))));
    assert_eq!(topic.to_string(), text);
}

#[test]
fn a_command_is_never_retained() {
    let device = DeviceId::from_parts(Timestamp::saturating(1), [1; 10]);
    assert!(!Topic::Down(device, Down::Command).is_retained());
    assert!(Topic::Down(device, Down::Desired).is_retained() && Topic::Up(device, Up::State).is_retained());
}
