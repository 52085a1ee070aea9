//! One sample of every message, with every field set somewhere, and the way to read its fixture.

use super::facts::birth;
use super::{command_id, command_pair, device, device_key, disk, fact, fact_bodies, job, mark, now, stream, text};
use saveos_protocol::ack::Ack;
use saveos_protocol::birth::{Birth, Capability, Leaving, Presence};
use saveos_protocol::command::{Action, Command, Extent, Rejection, Report, State};
use saveos_protocol::control::{ControlState, Wake};
use saveos_protocol::enrol::*;
use saveos_protocol::fact::{
    Bus, DiskIdentity, Fact, FactNumber, Failure, FailureReason, KeyState, SmartVerdict, StoreLevel, Work,
};
use saveos_protocol::heartbeat::{Heartbeat, Progress};
use saveos_protocol::hex::{BootId, Digest, EscrowKey, Nonce, RepositoryId, SnapshotId};
use saveos_protocol::id::NodeId;
use saveos_protocol::problem::{Problem, ProblemKind};
use saveos_protocol::shadow::*;
use saveos_protocol::time::{TimeOfDay, Timestamp, Weekday};
use saveos_protocol::unit::{Bytes, Celsius, Count, Days, DesiredVersion, Millis, Percent, Seconds};
use saveos_protocol::{DecodeError, Message, V1, decode, sign};
use serde_json::Value;

/// A message as a fixture.
pub(crate) struct Sample {
    /// The fixture's file, without `.json`: the message, and what sets it apart.
    pub(crate) name: String,
    /// What it says.
    pub(crate) json: Value,
}

/// Reads bytes as a message and says it again.
pub(crate) type Reader = fn(&[u8]) -> Result<Value, DecodeError>;

fn reread<M: Message>(bytes: &[u8]) -> Result<Value, DecodeError> {
    // What only a newer version knows is read, and has no JSON here.
    Ok(serde_json::to_value(decode::<M>(bytes)?).unwrap_or(Value::Null))
}

/// How to read a fixture: by what its name begins with.
pub(crate) fn reader_of(name: &str) -> Reader {
    let readers: &[(&str, Reader)] = &[
        (Ack::NAME, reread::<Ack>),
        (Presence::NAME, reread::<Presence>),
        (Command::NAME, reread::<Command>),
        (Report::NAME, reread::<Report>),
        (ControlState::NAME, reread::<ControlState>),
        (Wake::NAME, reread::<Wake>),
        (Challenge::NAME, reread::<Challenge>),
        (EnrolRequest::NAME, reread::<EnrolRequest>),
        (EnrolReply::NAME, reread::<EnrolReply>),
        (RenewRequest::NAME, reread::<RenewRequest>),
        (RenewReply::NAME, reread::<RenewReply>),
        (Fact::NAME, reread::<Fact>),
        (Heartbeat::NAME, reread::<Heartbeat>),
        (Problem::NAME, reread::<Problem>),
        (Desired::NAME, reread::<Desired>),
        (Reported::NAME, reread::<Reported>),
    ];
    let message = name.split('.').next().unwrap_or_default();
    let found = readers.iter().find(|(known, _)| *known == message);
    found.unwrap_or_else(|| panic!("no message is called {message}")).1
}

/// All of them.
pub(crate) fn all() -> Vec<Sample> {
    let mut all = Vec::new();
    macro_rules! add {
        ($variant:expr, $message:expr) => {
            all.push(sample($variant, &$message))
        };
    }
    for (number, (variant, body)) in fact_bodies().into_iter().enumerate() {
        add!(variant, fact(number as u64 + 1, body));
    }
    add!("", Ack { v: V1, stream: stream(), n: FactNumber::from(41), ts: now(), want: Some(FactNumber::from(7)) });
    add!("", presence());
    let Presence::Here(birth) = presence() else { unreachable!("the sample is a birth") };
    add!("will", birth.will());
    add!("update", birth.departure(Leaving::Update));
    add!("", heartbeat());
    add!("telling", telling_heartbeat());
    add!("", reported());
    add!("updating", updating());
    add!("", desired());
    let mut signed = desired();
    sign::sign(&mut signed, device(), now().after(std::time::Duration::from_secs(3600)), &command_pair(1))
        .expect("a desired document can be signed");
    add!("signed", signed);
    for (variant, action) in actions() {
        add!(variant, command(action));
    }
    let mut wipe = command(Action::Wipe { serial: mark("SV-0001") });
    let exp = wipe.exp;
    sign::sign(&mut wipe, device(), exp, &command_pair(1)).expect("a command can be signed");
    add!("signed", wipe);
    for (variant, state) in states() {
        add!(variant, Report { v: V1, id: command_id(), ts: now(), state });
    }
    let node = NodeId::from_parts(now(), [7; 10]);
    add!("", ControlState { v: V1, on: true, node, release: "0.1.0".parse().expect("a release"), ts: now() });
    add!("", Wake { v: V1, node, device: Some(device()) });
    add!("", Challenge { v: V1, nonce: Nonce([3; 16]), exp: now(), ts: now() });
    add!("", enrol_request());
    add!("waiting", EnrolReply::Waiting { v: V1, nonce: Nonce([4; 16]), wait: Seconds::from(5) });
    add!("issued", EnrolReply::Issued(enrolment()));
    let refused = |reason| Refused { v: V1, reason, note: Some(text("the signing request is on P-384")) };
    add!("refused", EnrolReply::Refused(refused(Refusal::WrongCurve)));
    let EnrolRequest { csr, proof, .. } = enrol_request();
    add!("", RenewRequest { v: V1, device: device(), csr, proof });
    let Enrolment { certificates, authorities, .. } = enrolment();
    add!("issued", RenewReply::Issued(Renewal { v: V1, certificates, authorities, ts: now() }));
    add!("refused", RenewReply::Refused(refused(Refusal::Revoked)));
    let mut problem =
        Problem::new(ProblemKind::Invalid).with_detail("two fields are not valid").with_field("/name", "is empty");
    problem.instance = Some(text("req-01"));
    problem.retry_after = Some(Seconds::from(3));
    add!("", problem);
    let mut windowed = desired();
    windowed.restart_window = Some(Window { from: at(1, 0), to: at(4, 30) });
    windowed.release = windowed.release.map(|release| ReleaseTarget { at_once: true, ..release });
    add!("windowed", windowed);
    all
}

fn sample<M: Message>(variant: &str, message: &M) -> Sample {
    let name = if variant.is_empty() { M::NAME.to_owned() } else { format!("{}.{variant}", M::NAME) };
    Sample { name, json: serde_json::to_value(message).expect("a sample is JSON") }
}

pub(crate) fn presence() -> Presence {
    Presence::Here(Birth {
        session: Count::from(17),
        stream: birth(),
        last_fact: FactNumber::from(42),
        boot: BootId([6; 16]),
        firmware: "0.1.0".parse().expect("a release"),
        capabilities: vec![
            Capability::Panel,
            Capability::IdentifyLed,
            Capability::Slots,
            Capability::Smart,
            Capability::Fsck,
        ],
        ts: now(),
    })
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        v: V1,
        sess: Count::from(17),
        seq: Count::from(3),
        ts: now(),
        uptime: Millis::from(86_400_000),
        queued: Count::from(2),
        desired: DesiredVersion::from(7),
        store_used: Percent::new(61),
        busy: None,
        memory_used: None,
        board: Some(Celsius(48)),
        job: Some(Progress {
            id: job(),
            work: Work::RestoreTest,
            done: Percent::new(55).expect("a percentage"),
            rate: None,
            left: Some(Seconds::from(600)),
        }),
    }
}

/// The same, of a box that tells how busy it is and how fast its job goes.
fn telling_heartbeat() -> Heartbeat {
    let mut beat = heartbeat();
    (beat.busy, beat.memory_used) = (Percent::new(37), Percent::new(22));
    if let Some(job) = &mut beat.job {
        job.rate = Some(Bytes::saturating(104_857_600));
    }
    beat
}

fn hardware() -> Hardware {
    Hardware {
        model: mark("Raspberry Pi 5 Model B Rev 1.0"),
        serial: Some(mark("SV-0001")),
        memory_bytes: Bytes::saturating(8 << 30),
    }
}

pub(crate) fn reported() -> Reported {
    Reported {
        v: V1,
        ver: Version { stream: stream(), n: FactNumber::from(5) },
        ts: now(),
        boot: BootId([6; 16]),
        uptime: Millis::from(86_400_000),
        firmware: Firmware {
            release: "0.1.0".parse().expect("a release"),
            root_hash: None,
            slot: Slot::Good,
            update: None,
        },
        hardware: hardware(),
        disks: std::iter::once(DiskReport {
            disk: disk(3),
            identity: DiskIdentity { serial: Some(mark("WD-WCC4N1234567")), ..DiskIdentity::default() },
            bus: Bus::Sata,
            size_bytes: Bytes::saturating(2_000_398_934_016),
            present: true,
            smart: SmartVerdict::Healthy,
            last_snapshot: Some(SnapshotId([0xA1; 32])),
            last_snapshot_ts: Some(now()),
        })
        .collect(),
        stores: std::iter::once(StoreReport {
            disk: Some(disk(8)),
            repository: RepositoryId([0xB1; 16]),
            size_bytes: Bytes::saturating(4_000_000_000_000),
            free_bytes: Bytes::saturating(2_000_000_000_000),
            level: StoreLevel::Roomy,
            snapshots: Count::from(42),
        })
        .collect(),
        key: KeyState::NotRecoverable,
        desired: Applied { ver: DesiredVersion::from(7), refused: Some(DesiredVersion::from(8)) },
        errors: std::iter::once(SectionError { section: Section::Clock, text: text("no time server answers") })
            .collect(),
    }
}

/// The same, of a box that went back from a release.
fn updating() -> Reported {
    let mut document = reported();
    document.firmware.update = Some(UpdateReport {
        release: "0.2.0".parse().expect("a release"),
        state: UpdateState::Failed,
        since: now(),
        reason: Some(UpdateFailure::Unhealthy),
        text: Some(text("none of the disks that were there is there any more")),
    });
    document
}

fn at(hour: u16, minute: u16) -> TimeOfDay {
    TimeOfDay::new(hour, minute).expect("a time")
}

fn backup_policy() -> BackupPolicy {
    BackupPolicy {
        on_plug: OnPlug::Backup,
        time_zone: "Europe/Berlin".parse().expect("a zone"),
        schedule: Some(Schedule {
            days: [Weekday::Monday, Weekday::Friday].into(),
            times: [at(12, 0), at(22, 30)].into(),
        }),
        window: Some(Window { from: at(20, 0), to: at(18, 0) }),
        quiet: vec![Window { from: at(7, 0), to: at(8, 0) }],
    }
}

fn uplink() -> Uplink {
    Uplink {
        brokers: vec!["mqtts://broker.example:8883".parse().expect("a URL")],
        server: "https://saveos.example".parse().expect("a URL"),
        ca_sha256: [Digest([0xCA; 32])].into(),
        heartbeat: Seconds::from(60),
    }
}

pub(crate) fn desired() -> Desired {
    let retention = Retention { last: 7, hourly: 0, daily: 14, weekly: 8, monthly: 12, yearly: 2 };
    Desired {
        v: V1,
        ver: DesiredVersion::from(7),
        ts: now(),
        backup: backup_policy(),
        retention,
        new_disk: NewDisk::Ask,
        verify: VerifyPolicy {
            sample: Percent::new(5).expect("a percentage"),
            sample_every: Some(Days::from(7)),
            full_every: Some(Days::from(90)),
            restore_test_every: Some(Days::from(30)),
        },
        disks: vec![
            DiskPolicy {
                disk: disk(3),
                role: Role::Source,
                name: Some(text("Front desk")),
                backup: Some(backup_policy()),
                retention: Some(Retention { yearly: 10, ..retention }),
            },
            DiskPolicy { disk: disk(8), role: Role::Store, name: None, backup: None, retention: None },
        ],
        uplink: uplink(),
        escrow: Some(Escrow { key: EscrowKey([0xE5; 32]) }),
        release: Some(ReleaseTarget {
            release: "0.2.0".parse().expect("a release"),
            ring_token: Some(mark("canary-7")),
            at_once: false,
        }),
        restart_window: None,
        sig: None,
    }
}

pub(crate) fn command(action: Action) -> Command {
    Command {
        v: V1,
        id: command_id(),
        action,
        exp: now().after(std::time::Duration::from_secs(3600)),
        idem: "ticket-4711".parse().expect("a key"),
        sig: None,
    }
}

fn actions() -> Vec<(&'static str, Action)> {
    let snapshot = SnapshotId([0xA1; 32]);
    let serial = || mark("S3Z9NB0K123456");
    vec![
        ("start_backup", Action::StartBackup { disk: disk(3) }),
        ("verify", Action::Verify { store: Some(disk(8)), percent: Percent::WHOLE }),
        ("restore", Action::Restore { snapshot, extent: Extent::Disk { target: serial() } }),
        (
            "restore.partition",
            Action::Restore { snapshot, extent: Extent::Partition { number: Count::from(2), target: serial() } },
        ),
        (
            "restore.files",
            Action::Restore {
                snapshot,
                extent: Extent::Files {
                    partition: Count::from(2),
                    paths: vec!["Büro/Rechnungen".parse().expect("a path")],
                    stick: serial(),
                },
            },
        ),
        ("restore_test", Action::RestoreTest { snapshot: Some(snapshot) }),
        ("rescan", Action::Rescan {}),
        ("identify", Action::Identify { period: Seconds::from(30) }),
        ("reboot", Action::Reboot {}),
        (
            "fetch_logs",
            Action::FetchLogs {
                url: "https://objects.example/logs/1?signature=abc".parse().expect("a URL"),
                since: Timestamp::saturating(1_772_280_000_000),
                max_bytes: Bytes::saturating(8 << 20),
            },
        ),
        ("rebirth", Action::Rebirth {}),
        ("prune", Action::Prune { store: None }),
        ("forget", Action::Forget { snapshots: vec![snapshot] }),
        ("make_store", Action::MakeStore { disk: disk(8), serial: serial() }),
        ("wipe", Action::Wipe { serial: mark("SV-0001") }),
        ("apply_desired", Action::ApplyDesired { ver: DesiredVersion::from(8), sha256: Digest([0xD1; 32]) }),
    ]
}

fn states() -> Vec<(&'static str, State)> {
    let failure = Failure { reason: FailureReason::DiskGone, message: text("the disk was pulled") };
    vec![
        ("accepted", State::Accepted { job: Some(job()) }),
        ("running", State::Running { percent: Percent::new(55).expect("a percentage") }),
        ("succeeded", State::Succeeded { note: Some(text("2 new disks")) }),
        ("failed", State::Failed { failure }),
        ("rejected", State::Rejected { reason: Rejection::NotSigned, note: None }),
    ]
}

/// Made once over the request below: ECDSA is not the same twice. Verified by a test.
const ENROL_PROOF: &str = "e6d1af2d444efc8c88d684a41f5214c4db9945ce9baac3ac1a5df0f51a4e83f6f06bbf074b098fe4832c875baf737290855622771ef3babb308726bd51954a20";

fn enrol_request() -> EnrolRequest {
    EnrolRequest {
        v: V1,
        key: device_key(),
        csr: "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n".parse().expect("PEM"),
        proof: Proof { nonce: Nonce([3; 16]), signature: ENROL_PROOF.parse().expect("a signature") },
        hardware: hardware(),
        firmware: "0.1.0".parse().expect("a release"),
    }
}

pub(crate) fn enrolment() -> Enrolment {
    let certificate = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n";
    Enrolment {
        v: V1,
        device: device(),
        ts: now(),
        owner: text("Muster IT"),
        certificates: certificate.parse().expect("PEM"),
        authorities: certificate.parse().expect("PEM"),
        uplink: uplink(),
        command_key: sign::public_half(&command_pair(1)),
        floor: Floor::default(),
        escrow: Some(Escrow { key: EscrowKey([0xE5; 32]) }),
    }
}
