//! The rules. The same fleet and moment give the same alerts, in the order of what to look at first.

use crate::presence::Presence;
use crate::protection::{DEADLINE, Reason};
use saveos_protocol::id::{DeviceId, DiskId};
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A box as the rules see it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) device: DeviceId,
    pub(crate) site: String,
    pub(crate) presence: Presence,
    pub(crate) enrolled: Timestamp,
    /// What a person should look at, since when.
    pub(crate) flag: Option<String>,
    /// Each disk, since when it is known, and why it is not protected.
    pub(crate) disks: Vec<(DiskId, Timestamp, Vec<Reason>)>,
    /// Those that are low, full, or will be soon.
    pub(crate) stores: Vec<Filling>,
    /// Disks that say that they fail, and why.
    pub(crate) failing: Vec<(DiskId, String)>,
}

/// A store that runs out of room.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    /// None: the box's own.
    pub(crate) disk: Option<DiskId>,
    pub(crate) level: String,
    /// When it will be full.
    pub(crate) full: Option<Timestamp>,
    /// Days of snapshots that fit.
    pub(crate) holds: Option<u64>,
}

/// Time to order a larger disk.
pub(crate) const SOON: Duration = Duration::from_secs(14 * 86_400);

impl Filling {
    fn detail(&self, now: Timestamp) -> String {
        let help = match self.holds {
            None => String::new(),
            // The floor that was fixed at enrolment.
            Some(days) if days < 14 => "; the two weeks that are always kept do not fit: it needs more room".to_owned(),
            Some(days) => format!("; {days} days of snapshots would fit"),
        };
        self.state(now) + &help
    }

    fn state(&self, now: Timestamp) -> String {
        match (self.level.as_str(), self.full) {
            ("full", _) => "the store is full: backups fail".to_owned(),
            (level, Some(full)) => {
                let days = full.since(now).as_secs() / 86_400;
                let low = if level == "low" { "the store is low, and" } else { "the store" };
                format!("{low} will be full in {days} days if it goes on like this")
            }
            (_, None) => "the store is low".to_owned(),
        }
    }
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AlertRule")]
pub(crate) enum Rule {
    /// All boxes of a site are offline.
    SiteDark,
    /// A box is.
    BoxOffline,
    /// A disk that is plugged in says that it fails.
    DiskFailing,
    /// A disk has no recovery point within the deadline, or its last backup failed.
    NotProtected,
    /// A store is low, full, or will be within two weeks.
    StoreFilling,
    /// Alerts have not arrived on a route for an hour: whoever relies on it hears of it elsewhere.
    RouteFailing,
    /// A box does what none of ours does.
    Flagged,
}

impl Rule {
    const ALL: [(Rule, &'static str); 7] = [
        (Rule::SiteDark, "site_dark"),
        (Rule::BoxOffline, "box_offline"),
        (Rule::DiskFailing, "disk_failing"),
        (Rule::NotProtected, "not_protected"),
        (Rule::StoreFilling, "store_filling"),
        (Rule::RouteFailing, "route_failing"),
        (Rule::Flagged, "flagged"),
    ];

    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        Rule::ALL.into_iter().find(|(rule, _)| *rule == self).map_or("flagged", |(_, name)| name)
    }

    pub(crate) fn parse(text: &str) -> Option<Rule> {
        Rule::ALL.into_iter().find(|(_, name)| *name == text).map(|(rule, _)| rule)
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alert {
    pub(crate) rule: Rule,
    pub(crate) site: String,
    pub(crate) device: Option<DeviceId>,
    pub(crate) disk: Option<DiskId>,
    pub(crate) detail: String,
}

impl Alert {
    /// Names the cause: while it lasts it is one alert, however its detail changes.
    pub(crate) fn fingerprint(&self) -> String {
        let device = self.device.map_or_else(String::new, |device| device.to_string());
        let disk = self.disk.map_or_else(String::new, |disk| disk.to_string());
        format!("{} {} {device} {disk}", self.rule.as_str(), self.site)
    }
}

/// All that is to tell of this fleet.
pub(crate) fn plan(fleet: &[Seen], now: Timestamp) -> Vec<Alert> {
    let mut sites: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for seen in fleet {
        let (boxes, offline) = sites.entry(&seen.site).or_default();
        *boxes += 1;
        *offline += usize::from(is_offline(seen, now));
    }
    let dark = |site: &str| sites.get(site).is_some_and(|(boxes, offline)| *boxes >= 2 && boxes == offline);
    let mut alerts: Vec<Alert> = Vec::new();
    for (site, (boxes, _)) in sites.iter().filter(|(site, _)| dark(site)) {
        let detail = format!("{boxes} of {boxes} boxes are offline");
        alerts.push(Alert { rule: Rule::SiteDark, site: (*site).to_owned(), device: None, disk: None, detail });
    }
    for seen in fleet {
        let alert =
            |rule, disk, detail| Alert { rule, site: seen.site.clone(), device: Some(seen.device), disk, detail };
        if is_offline(seen, now) {
            if !dark(&seen.site) {
                alerts.push(alert(Rule::BoxOffline, None, "it was not heard for long".to_owned()));
            }
        } else {
            alerts.extend(seen.disks.iter().filter_map(|(disk, known, reasons)| {
                let detail = unprotected(*known, reasons, now)?;
                Some(alert(Rule::NotProtected, Some(*disk), detail))
            }));
            let filling = |store: &Filling| alert(Rule::StoreFilling, store.disk, store.detail(now));
            alerts.extend(seen.stores.iter().map(filling));
        }
        // Also of a box that is offline: the disk goes on dying.
        let failing = |(disk, why): &(DiskId, String)| alert(Rule::DiskFailing, Some(*disk), why.clone());
        alerts.extend(seen.failing.iter().map(failing));
        alerts.extend(seen.flag.clone().map(|flag| alert(Rule::Flagged, None, flag)));
    }
    alerts.sort();
    alerts
}

/// A route on which nothing arrives.
#[derive(Clone, Debug)]
pub(crate) struct FailingRoute {
    pub(crate) node: String,
    /// `mail`, `webhook`, …: where exactly it leads is for who may read the route.
    pub(crate) channel: String,
    pub(crate) since: Timestamp,
}

/// A relay that restarts is no news.
const PATIENCE: Duration = Duration::from_secs(3600);

/// One alert a node, however many of its routes fail.
pub(crate) fn of_routes(failing: &[FailingRoute], now: Timestamp) -> Vec<Alert> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for route in failing.iter().filter(|route| now.since(route.since) >= PATIENCE) {
        nodes.entry(&route.node).or_default().push(&route.channel);
    }
    let alert = |(node, channels): (&str, Vec<&str>)| {
        let detail = format!("nothing arrives by {}", channels.join(", "));
        Alert { rule: Rule::RouteFailing, site: node.to_owned(), device: None, disk: None, detail }
    };
    nodes.into_iter().map(alert).collect()
}

/// A box that was enrolled and never came is missed after the deadline: it may be on its way to the customer.
fn is_offline(seen: &Seen, now: Timestamp) -> bool {
    match seen.presence {
        Presence::Offline => true,
        Presence::Never => now.since(seen.enrolled) > DEADLINE,
        Presence::Online | Presence::Late => false,
    }
}

/// Why a disk needs somebody. A new disk has the deadline for its first backup.
fn unprotected(known: Timestamp, reasons: &[Reason], now: Timestamp) -> Option<String> {
    let needs = |reason: &&Reason| match reason {
        Reason::NoRecoveryPoint => now.since(known) > DEADLINE,
        Reason::TooOld | Reason::LastBackupFailed | Reason::NotProven => true,
        // The box's page says so from the first moment; nobody has to be woken.
        Reason::NeverHeard | Reason::NoDisk | Reason::NotRecoverable => false,
    };
    let words: Vec<&str> = reasons.iter().filter(needs).map(|reason| reason.as_str()).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u64) -> Timestamp {
        Timestamp::saturating(hours * 3_600_000)
    }

    fn seen(number: u8, site: &str, presence: Presence) -> Seen {
        let device = DeviceId::from_parts(at(1), [number; 10]);
        Seen {
            device,
            site: site.to_owned(),
            presence,
            enrolled: at(100),
            flag: None,
            disks: Vec::new(),
            stores: Vec::new(),
            failing: Vec::new(),
        }
    }

    fn told(fleet: &[Seen], now: Timestamp) -> Vec<(Rule, Option<DeviceId>)> {
        plan(fleet, now).into_iter().map(|alert| (alert.rule, alert.device)).collect()
    }

    #[test]
    fn a_site_that_goes_dark_is_one_alert_and_not_fourteen() {
        let mut fleet: Vec<Seen> = (0..14).map(|number| seen(number, "s", Presence::Offline)).collect();
        fleet.iter_mut().for_each(|seen| {
            seen.disks.push((DiskId::from_parts(at(1), [1; 10]), at(1), vec![Reason::TooOld]));
        });
        assert_eq!(told(&fleet, at(200)), [(Rule::SiteDark, None)]);
        fleet[3].presence = Presence::Late;
        let told = told(&fleet, at(200));
        assert_eq!(told.len(), 14, "thirteen boxes, and the disk of the one that is there");
        assert_eq!(told.iter().filter(|(rule, _)| *rule == Rule::BoxOffline).count(), 13);
    }

    #[test]
    fn a_store_that_runs_out_of_room_is_told_of_while_its_box_is_there() {
        let mut here = [seen(1, "s", Presence::Online)];
        let store = |level: &str, full: Option<u64>| Filling {
            disk: None,
            level: level.to_owned(),
            full: full.map(at),
            holds: None,
        };
        for (level, full, detail) in [
            ("full", None, "the store is full: backups fail"),
            ("low", None, "the store is low"),
            ("roomy", Some(200 + 73), "the store will be full in 3 days if it goes on like this"),
            ("low", Some(100), "the store is low, and will be full in 0 days if it goes on like this"),
        ] {
            here[0].stores = vec![store(level, full)];
            let alerts = plan(&here, at(200));
            assert_eq!((alerts.len(), alerts[0].rule, alerts[0].detail.as_str()), (1, Rule::StoreFilling, detail));
        }
        for (holds, help) in [(60, "60 days of snapshots would fit"), (13, "it needs more room")] {
            here[0].stores[0].holds = Some(holds);
            assert!(plan(&here, at(200))[0].detail.ends_with(help));
        }
        here[0].presence = Presence::Offline;
        assert_eq!(told(&here, at(200)), [(Rule::BoxOffline, Some(here[0].device))]);
    }

    #[test]
    fn a_disk_that_dies_is_told_of_whether_its_box_is_there_or_not() {
        let mut here = [seen(1, "s", Presence::Online)];
        here[0].failing.push((DiskId::from_parts(at(1), [1; 10]), "the disk itself says that it fails".to_owned()));
        assert_eq!(told(&here, at(200)), [(Rule::DiskFailing, Some(here[0].device))]);
        here[0].presence = Presence::Offline;
        let rules: Vec<Rule> = told(&here, at(200)).into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(rules, [Rule::BoxOffline, Rule::DiskFailing]);
    }

    #[test]
    fn a_route_on_which_nothing_arrives_is_told_of_after_an_hour() {
        let route = |node: &str, channel: &str, hours| FailingRoute {
            node: node.to_owned(),
            channel: channel.to_owned(),
            since: at(hours),
        };
        let failing = [route("a", "mail", 10), route("a", "webhook", 9), route("b", "mail", 11)];
        let told =
            |now| of_routes(&failing, now).into_iter().map(|alert| (alert.site, alert.detail)).collect::<Vec<_>>();
        assert_eq!(told(at(9)), []);
        let expected = [("a", "nothing arrives by mail, webhook"), ("b", "nothing arrives by mail")];
        assert_eq!(told(at(12)), expected.map(|(node, detail)| (node.to_owned(), detail.to_owned())));
        assert_eq!(told(at(10)).len(), 1);
    }

    #[test]
    fn one_box_is_no_site() {
        let alone = [seen(1, "s", Presence::Offline)];
        assert_eq!(told(&alone, at(200)), [(Rule::BoxOffline, Some(alone[0].device))]);
    }

    #[test]
    fn a_box_on_its_way_and_a_new_disk_have_the_deadline() {
        let never = [seen(1, "s", Presence::Never)];
        assert_eq!(told(&never, at(126)), []);
        assert_eq!(told(&never, at(127)).len(), 1);
        let mut here = [seen(1, "s", Presence::Online)];
        here[0].disks.push((DiskId::from_parts(at(1), [1; 10]), at(100), vec![Reason::NoRecoveryPoint]));
        assert_eq!(told(&here, at(126)), []);
        assert_eq!(told(&here, at(126).after(HOUR)).len(), 1);
        here[0].disks[0].2 = vec![Reason::NotRecoverable];
        assert_eq!(told(&here, at(500)), [], "nobody is woken for that");
    }

    #[test]
    fn a_cause_keeps_its_name_whatever_its_detail() {
        let mut here = [seen(1, "s", Presence::Online)];
        here[0].disks.push((DiskId::from_parts(at(1), [1; 10]), at(1), vec![Reason::TooOld]));
        let first = plan(&here, at(200)).remove(0);
        here[0].disks[0].2 = vec![Reason::TooOld, Reason::LastBackupFailed];
        let second = plan(&here, at(200)).remove(0);
        assert_eq!((first.fingerprint() == second.fingerprint(), first == second), (true, false));
    }
}
