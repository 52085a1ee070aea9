//! What an organisation wants of its boxes, and the desired document that says so to one of them.

pub(crate) mod hours;
pub(crate) mod tree;

use crate::authority::Authority;
use crate::config::Config;
use saveos_protocol::V1;
use saveos_protocol::shadow::{BackupPolicy, Desired, NewDisk, OnPlug, Retention, Uplink, VerifyPolicy, Window};
use saveos_protocol::text::BrokerUrl;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Days, DesiredVersion, Percent, Seconds};
use serde::{Deserialize, Serialize};

/// The policy of a node of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) backup: BackupPolicy,
    pub(crate) retention: Retention,
    pub(crate) new_disk: NewDisk,
    pub(crate) verify: VerifyPolicy,
    /// Boxes restart into another release only inside, by the clock of `backup.time_zone`; none: whenever they are idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restart_window: Option<Window>,
    #[serde(rename = "heartbeat_s")]
    pub(crate) heartbeat: Seconds,
}

impl Default for Policy {
    /// A box that is plugged in and forgotten protects: every disk, when it is plugged in, two weeks of days, two months of
    /// weeks, a year of months; a tenth is read back every week, everything every month, and every month a restore is tried.
    fn default() -> Policy {
        let time_zone = "UTC".parse().expect("UTC is a time zone");
        Policy {
            backup: BackupPolicy {
                on_plug: OnPlug::Backup,
                time_zone,
                schedule: None,
                window: None,
                quiet: Vec::new(),
            },
            retention: Retention { last: 7, hourly: 0, daily: 14, weekly: 8, monthly: 12, yearly: 0 },
            new_disk: NewDisk::Backup,
            verify: VerifyPolicy {
                sample: Percent::new(10).expect("10 is a percentage"),
                sample_every: Some(Days::from(7)),
                full_every: Some(Days::from(30)),
                restore_test_every: Some(Days::from(30)),
            },
            restart_window: None,
            heartbeat: Seconds::from(60),
        }
    }
}

/// Where boxes report, and whom they trust there.
pub(crate) fn uplink(config: &Config, brokers: Vec<BrokerUrl>, authority: &Authority, policy: &Policy) -> Uplink {
    Uplink { brokers, server: config.server(), ca_sha256: [authority.sha256()].into(), heartbeat: policy.heartbeat }
}

/// The document for a box.
pub(crate) fn desired(policy: &Policy, uplink: Uplink, ver: DesiredVersion, now: Timestamp) -> Desired {
    Desired {
        v: V1,
        ver,
        ts: now,
        backup: policy.backup.clone(),
        retention: policy.retention,
        new_disk: policy.new_disk,
        verify: policy.verify,
        disks: Vec::new(),
        uplink,
        escrow: None,
        release: None,
        restart_window: policy.restart_window,
        sig: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_document_that_boxes_take() {
        let uplink = Uplink {
            brokers: vec!["mqtts://localhost:8883".parse().expect("a URL")],
            server: "https://localhost:8443".parse().expect("a URL"),
            ca_sha256: [saveos_protocol::hex::Digest([1; 32])].into(),
            heartbeat: Policy::default().heartbeat,
        };
        let document = desired(&Policy::default(), uplink, DesiredVersion::from(1), Timestamp::saturating(1));
        assert_eq!(document.check(), Ok(()));
        let json = serde_json::to_string(&Policy::default()).expect("JSON");
        assert_eq!(serde_json::from_str::<Policy>(&json).expect("a policy"), Policy::default());
    }
}
