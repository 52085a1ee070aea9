//! What is to be told now, on which route: a function of what is known and the time. The same state gives the same notices, so a
//! restart changes nothing.
//!
//! | event | told when |
//! |---|---|
//! | `raised` | it is open for 30 s, nobody takes care of it yet, no silence covers it; with it goes what else is new at its site |
//! | `reminder` | told a day ago, still open, nobody took care of it, no silence |
//! | `ended` | over for 30 s, and the route was told that it began |
//!
//! What begins and ends within 30 s wakes nobody. What a silence held back is told when the silence is over, if it still lasts.

use crate::alerts::Rule;
use saveos_protocol::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long it waits for more of the same cause, and for what ends by itself.
const GATHER: Duration = Duration::from_secs(30);
/// How often somebody is told of what nobody takes care of.
const REMIND: Duration = Duration::from_secs(86_400);
/// Alerts in one notice; more of them are the next one.
const MOST: usize = 100;

/// A way on which alerts are told.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) id: String,
    /// The node from which it is told.
    pub(super) path: String,
    /// None: all.
    pub(super) rules: Vec<Rule>,
}

/// Quiet on a node and below.
#[derive(Clone, Debug)]
pub(crate) struct Silence {
    pub(crate) path: String,
    pub(crate) rule: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) until: Timestamp,
}

impl Silence {
    /// Whether it holds back this alert.
    pub(crate) fn covers(&self, path: &str, rule: &str, device: Option<&str>) -> bool {
        path.starts_with(&self.path)
            && self.rule.as_deref().is_none_or(|only| only == rule)
            && self.device.as_deref().is_none_or(|only| device == Some(only))
    }
}

/// An alert, as far as telling goes.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) rule: String,
    pub(super) site: String,
    pub(super) path: String,
    pub(super) device: Option<String>,
    pub(super) raised: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) acknowledged: bool,
}

/// All that telling depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) routes: Vec<Route>,
    /// Those in force.
    pub(super) silences: Vec<Silence>,
    /// Open ones, and those whose end some route may not know.
    pub(super) alerts: Vec<Known>,
    /// Alert and route: when it was last told that it lasts.
    pub(super) told: BTreeMap<(String, String), Timestamp>,
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Raised,
    Reminder,
    Ended,
}

impl Event {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Event::Raised => "raised",
            Event::Reminder => "reminder",
            Event::Ended => "ended",
        }
    }
}

/// A notice to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) route: String,
    pub(super) site: String,
    pub(super) alerts: Vec<(String, Event)>,
}

/// All notices to make now.
pub(super) fn plan(state: &State, now: Timestamp) -> Vec<Plan> {
    let mut plans = Vec::new();
    for route in &state.routes {
        let mut sites: BTreeMap<&str, Gathered> = BTreeMap::new();
        for alert in state.alerts.iter().filter(|alert| route.wants(alert)) {
            if let Some((event, ripe)) = event(state, route, alert, now) {
                let site = sites.entry(&alert.site).or_default();
                site.alerts.push((alert.id.clone(), event));
                site.ripe |= ripe;
            }
        }
        for (site, mut gathered) in sites.into_iter().filter(|(_, gathered)| gathered.ripe) {
            gathered.alerts.truncate(MOST);
            plans.push(Plan { route: route.id.clone(), site: site.to_owned(), alerts: gathered.alerts });
        }
    }
    plans
}

/// What there is to say of a site.
#[derive(Default)]
struct Gathered {
    alerts: Vec<(String, Event)>,
    /// Some of it has waited long enough.
    ripe: bool,
}

impl Route {
    fn wants(&self, alert: &Known) -> bool {
        let rule = self.rules.is_empty() || self.rules.iter().any(|rule| rule.as_str() == alert.rule);
        rule && alert.path.starts_with(&self.path)
    }
}

/// What is to be said of an alert, and whether it has waited long enough.
fn event(state: &State, route: &Route, alert: &Known, now: Timestamp) -> Option<(Event, bool)> {
    let told = state.told.get(&(alert.id.clone(), route.id.clone()));
    if let Some(ended) = alert.ended {
        return told.map(|_| (Event::Ended, now.since(ended) >= GATHER));
    }
    let quiet = |silence: &Silence| silence.covers(&alert.path, &alert.rule, alert.device.as_deref());
    if alert.acknowledged || state.silences.iter().any(quiet) {
        return None;
    }
    match told {
        None => Some((Event::Raised, now.since(alert.raised) >= GATHER)),
        Some(told) => (now.since(*told) >= REMIND).then_some((Event::Reminder, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Timestamp {
        Timestamp::saturating(s * 1000)
    }

    fn alert(id: &str, site: &str, raised: u64) -> Known {
        Known {
            id: id.to_owned(),
            rule: "box_offline".to_owned(),
            site: site.to_owned(),
            path: format!("/o/c/{site}/"),
            device: Some(format!("d-{id}")),
            raised: at(raised),
            ended: None,
            acknowledged: false,
        }
    }

    fn route(path: &str, rules: &[Rule]) -> Route {
        Route { id: "r".to_owned(), path: path.to_owned(), rules: rules.to_vec() }
    }

    /// Plans, and remembers them as told.
    fn run(state: &mut State, s: u64) -> Vec<Plan> {
        let plans = plan(state, at(s));
        for plan in &plans {
            for (alert, event) in &plan.alerts {
                let key = (alert.clone(), plan.route.clone());
                match event {
                    Event::Ended => drop(state.told.remove(&key)),
                    Event::Raised | Event::Reminder => drop(state.told.insert(key, at(s))),
                }
            }
        }
        plans
    }

    fn events(plans: &[Plan]) -> Vec<(&str, Event)> {
        plans.iter().flat_map(|plan| plan.alerts.iter().map(|(id, event)| (id.as_str(), *event))).collect()
    }

    #[test]
    fn fourteen_boxes_of_a_site_are_one_notice_and_are_told_once() {
        let alerts = (0..14).map(|n| alert(&format!("{n:02}"), "s", n)).collect();
        let mut state = State { routes: vec![route("/o/", &[])], alerts, ..State::default() };
        assert_eq!(run(&mut state, 29), []);
        let plans = run(&mut state, 31);
        assert_eq!((plans.len(), plans[0].alerts.len()), (1, 14));
        for later in [32, 100, 80_000] {
            assert_eq!(run(&mut state, later), []);
        }
        let plans = run(&mut state, 31 + 86_400);
        assert_eq!(plans[0].alerts.iter().filter(|(_, event)| *event == Event::Reminder).count(), 14);
        state.alerts.iter_mut().for_each(|alert| alert.ended = Some(at(90_000)));
        assert_eq!(run(&mut state, 90_029), []);
        let plans = run(&mut state, 90_030);
        assert_eq!(plans[0].alerts.iter().filter(|(_, event)| *event == Event::Ended).count(), 14);
        assert_eq!(run(&mut state, 999_999), []);
    }

    #[test]
    fn what_passes_by_itself_wakes_nobody() {
        let mut state = State { routes: vec![route("/o/", &[])], alerts: vec![alert("a", "s", 0)], ..State::default() };
        assert_eq!(run(&mut state, 10), []);
        state.alerts[0].ended = Some(at(20));
        assert_eq!(run(&mut state, 500), []);
    }

    #[test]
    fn a_silence_holds_back_and_forgets_nothing() {
        let mut state = State { routes: vec![route("/o/", &[])], ..State::default() };
        state.alerts = vec![alert("a", "s", 0), alert("b", "s", 0), alert("c", "t", 0)];
        let silence = |path: &str, rule: Option<&str>, device: Option<&str>| Silence {
            path: path.to_owned(),
            rule: rule.map(str::to_owned),
            device: device.map(str::to_owned),
            until: at(1000),
        };
        let mut told = |silences: Vec<Silence>, s| {
            state.silences = silences;
            let plans = run(&mut state, s);
            events(&plans).into_iter().map(|(id, _)| id.to_owned()).collect::<Vec<_>>()
        };
        assert!(told(vec![silence("/o/c/", None, None)], 60).is_empty());
        assert!(told(vec![silence("/o/c/", Some("box_offline"), None)], 60).is_empty());
        let others = vec![
            silence("/o/c/s/", Some("flagged"), None),
            silence("/o/c/s/", None, Some("d-a")),
            silence("/o/d/", None, None),
        ];
        assert_eq!(told(others, 60), ["b", "c"]);
        assert_eq!(told(Vec::new(), 61), ["a"], "the silence is over, the cause is not");
    }

    #[test]
    fn a_route_hears_of_its_node_and_its_rules_and_of_nothing_that_somebody_has_taken() {
        let mut state =
            State { alerts: vec![alert("a", "s", 0), alert("b", "t", 0), alert("c", "t", 0)], ..State::default() };
        state.alerts[2].acknowledged = true;
        for (path, rules, heard) in [
            ("/o/c/s/", &[][..], &["a"][..]),
            ("/o/c/", &[Rule::BoxOffline], &["a", "b"]),
            ("/o/c/", &[Rule::SiteDark, Rule::Flagged], &[]),
            ("/o/x/", &[], &[]),
        ] {
            state.routes = vec![route(path, rules)];
            let ids: Vec<String> =
                plan(&state, at(60)).into_iter().flat_map(|plan| plan.alerts).map(|(id, _)| id).collect();
            assert_eq!(ids, heard, "{path}");
        }
    }

    #[test]
    fn many_are_more_notices_not_a_longer_one() {
        let alerts = (0..250).map(|n| alert(&format!("{n:03}"), "s", 0)).collect();
        let mut state = State { routes: vec![route("/o/", &[])], alerts, ..State::default() };
        let sizes: Vec<usize> =
            (60..64).map(|s| run(&mut state, s).first().map_or(0, |plan| plan.alerts.len())).collect();
        assert_eq!(sizes, [100, 100, 50, 0]);
    }
}
