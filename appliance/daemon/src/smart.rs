//! What a disk says of its health: asked with `smartctl --json`, which knows the ways of adapters, and judged here.
//!
//! | said | verdict |
//! |---|---|
//! | its own judgement is FAILED, an attribute fails now, an NVMe warning of spare, reliability or read-only | failing |
//! | reallocated, pending, uncorrectable or reported sectors; media errors; 80 % worn; over 60 °C | watch |
//! | no word | silent |
//!
//! The attributes (5, 187, 197, 198) are those whose first count above zero goes before most failures: Backblaze, "What SMART
//! Stats Tell Us About Hard Drives", 2016; Pinheiro et al., "Failure Trends in a Large Disk Drive Population", FAST 2007.

use saveos_protocol::fact::{Smart, SmartVerdict};
use saveos_protocol::id::DiskId;
use saveos_protocol::text::Text;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Celsius, Count, Hours, Percent};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A disk that does not answer for so long is left alone; its child is killed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Told at least so often: temperature and hours move without being news.
const DAILY: Duration = Duration::from_secs(86_400);
/// Hotter than a disk should be for long.
const HOT: i64 = 60;
/// Of its endurance.
const WORN: u64 = 80;

/// What smartctl prints, as far as it is judged.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Said {
    smart_status: Option<Status>,
    ata_smart_attributes: Attributes,
    nvme_smart_health_information_log: Option<Nvme>,
    scsi_grown_defect_list: Option<u64>,
    power_on_time: Option<PowerOn>,
    temperature: Option<Temperature>,
}

#[derive(Debug, Deserialize)]
struct Status {
    passed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attributes {
    table: Vec<Attribute>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attribute {
    id: u32,
    name: String,
    when_failed: String,
    raw: Raw,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    value: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Nvme {
    critical_warning: u64,
    percentage_used: u64,
    media_errors: u64,
}

#[derive(Debug, Deserialize)]
struct PowerOn {
    hours: u64,
}

#[derive(Debug, Deserialize)]
struct Temperature {
    current: i64,
}

/// Asks; a disk that says nothing in time, or nothing that is understood, said nothing.
pub(crate) fn ask(smartctl: &str, disk: &Path) -> Said {
    match output(smartctl, disk) {
        Ok(json) => serde_json::from_slice(&json).unwrap_or_else(|error| {
            tracing::warn!(disk = %disk.display(), %error, "smartctl is not understood");
            Said::default()
        }),
        Err(error) => {
            tracing::warn!(disk = %disk.display(), %error, "a disk's health is not known");
            Said::default()
        }
    }
}

fn output(smartctl: &str, disk: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut command = Command::new(smartctl);
    command.args(["--json=c", "--info", "--health", "--attributes"]).arg(disk);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let pipe = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // A disk may claim any number of attributes.
        pipe.map_or(Ok(0), |pipe| pipe.take(1 << 20).read_to_end(&mut said)).map(|_| said)
    });
    let deadline = Instant::now() + PATIENCE;
    // Its status counts what is wrong with the disk: it says nothing of the command.
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            // A child in the kernel's hands ends when the kernel lets go: somebody else waits for it.
            std::thread::spawn(move || child.wait());
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Judges.
pub(crate) fn judge(disk: DiskId, said: &Said) -> Smart {
    let attribute = |id| said.ata_smart_attributes.table.iter().find(|attribute| attribute.id == id);
    // Some makers keep other numbers in the upper bytes.
    let count = |id| attribute(id).map(|attribute| attribute.raw.value & 0xffff_ffff);
    let (mut failing, mut watch) = (Vec::new(), Vec::new());
    if said.smart_status.as_ref().is_some_and(|status| !status.passed) {
        failing.push("the disk itself says that it fails".to_owned());
    }
    for attribute in said.ata_smart_attributes.table.iter().filter(|attribute| attribute.when_failed == "now") {
        failing.push(format!("attribute {} ({}) is below its threshold", attribute.id, attribute.name));
    }
    let sectors = [
        (count(5).or(said.scsi_grown_defect_list), "sectors were given up"),
        (count(187), "errors could not be corrected"),
        (count(197), "sectors wait to be given up"),
        (count(198), "sectors could not be read"),
    ];
    for (count, what) in sectors {
        watch.extend(count.filter(|count| *count > 0).map(|count| format!("{count} {what}")));
    }
    if let Some(nvme) = &said.nvme_smart_health_information_log {
        let warnings =
            [(0, "its spare is used up"), (2, "it is not reliable any more"), (3, "it lets nothing be written")];
        failing.extend(
            warnings.iter().filter(|(bit, _)| nvme.critical_warning >> bit & 1 == 1).map(|(_, what)| (*what).into()),
        );
        if nvme.media_errors > 0 {
            watch.push(format!("{} errors of its medium", nvme.media_errors));
        }
        if nvme.percentage_used >= WORN {
            watch.push(format!("{} % of its endurance is used", nvme.percentage_used));
        }
    }
    let temperature = said.temperature.as_ref().map(|temperature| temperature.current);
    watch.extend(temperature.filter(|degrees| *degrees > HOT).map(|degrees| format!("it is {degrees} °C hot")));
    let spoke = said.smart_status.is_some()
        || !said.ata_smart_attributes.table.is_empty()
        || said.nvme_smart_health_information_log.is_some();
    let verdict = match () {
        () if !failing.is_empty() => SmartVerdict::Failing,
        () if !watch.is_empty() => SmartVerdict::Watch,
        () if spoke => SmartVerdict::Healthy,
        () => SmartVerdict::Silent,
    };
    Smart {
        disk,
        verdict,
        reasons: failing.iter().chain(&watch).map(|reason| Text::cut(reason)).collect(),
        temperature: temperature.and_then(|degrees| i16::try_from(degrees).ok()).map(Celsius),
        powered_on: said.power_on_time.as_ref().map(|time| Hours::saturating(time.hours)),
        reallocated_sectors: count(5).or(said.scsi_grown_defect_list).map(Count::saturating),
        pending_sectors: count(197).map(Count::saturating),
        worn: said
            .nvme_smart_health_information_log
            .as_ref()
            .map(|nvme| Percent::of(nvme.percentage_used.min(100), 100)),
    }
}

/// What was told last of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    smart: Smart,
    at: Timestamp,
}

impl Told {
    /// What was said.
    pub(crate) fn verdict(&self) -> SmartVerdict {
        self.smart.verdict
    }
}

/// What is worth telling: a change of anything but temperature and hours, or a day has passed.
pub(crate) fn news(smart: Smart, last: Option<&Told>, now: Timestamp) -> Option<Told> {
    let calm = |smart: &Smart| {
        let mut calm = Smart { temperature: None, powered_on: None, ..smart.clone() };
        calm.reasons.shown.retain(|reason| !reason.ends_with("°C hot"));
        calm
    };
    let old = last.is_some_and(|last| calm(&last.smart) == calm(&smart) && now.since(last.at) < DAILY);
    (!old).then_some(Told { smart, at: now })
}

impl From<Told> for Smart {
    fn from(told: Told) -> Smart {
        told.smart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(json: &str) -> Smart {
        judge(DiskId::from_parts(Timestamp::saturating(1), [1; 10]), &serde_json::from_str(json).expect("as it prints"))
    }

    fn ata(id: u32, raw: u64, when_failed: &str) -> String {
        format!(
            r#"{{"smart_status": {{"passed": true}}, "power_on_time": {{"hours": 21000}}, "temperature": {{"current": 34}},
            "ata_smart_attributes": {{"revision": 16, "table": [
                {{"id": 9, "name": "Power_On_Hours", "value": 71, "thresh": 0, "when_failed": "", "raw": {{"value": 21000}}}},
                {{"id": {id}, "name": "X", "value": 1, "thresh": 36, "when_failed": "{when_failed}", "raw": {{"value": {raw}}}}}
            ]}}}}"#
        )
    }

    #[test]
    fn a_disk_without_complaint_is_healthy_and_one_without_a_word_is_silent() {
        let smart = judged(&ata(5, 0, ""));
        assert_eq!((smart.verdict, smart.reasons.shown.len()), (SmartVerdict::Healthy, 0));
        assert_eq!((smart.temperature, smart.powered_on), (Some(Celsius(34)), Some(Hours::saturating(21_000))));
        let bridge = r#"{"smartctl": {"exit_status": 2, "messages": [{"string": "Unknown USB bridge"}]}}"#;
        assert_eq!(judged(bridge).verdict, SmartVerdict::Silent);
    }

    #[test]
    fn what_goes_before_a_failure_is_watched_and_a_failure_is_one() {
        for id in [5, 187, 197, 198] {
            assert_eq!(judged(&ata(id, 8, "")).verdict, SmartVerdict::Watch, "{id}");
        }
        assert_eq!(judged(&ata(5, 8, "")).reasons.shown[0].to_string(), "8 sectors were given up");
        assert_eq!(judged(&ata(5, 8 << 32, "")).verdict, SmartVerdict::Healthy, "another number in the upper half");
        assert_eq!(judged(&ata(5, 900, "now")).verdict, SmartVerdict::Failing);
        assert_eq!(judged(&ata(190, 900, "past")).verdict, SmartVerdict::Healthy);
        assert_eq!(judged(r#"{"smart_status": {"passed": false}}"#).verdict, SmartVerdict::Failing);
    }

    #[test]
    fn nvme_wears_out_and_warns() {
        let nvme = |warning, used, errors| {
            format!(
                r#"{{"smart_status": {{"passed": true}}, "nvme_smart_health_information_log":
                {{"critical_warning": {warning}, "percentage_used": {used}, "media_errors": {errors}}}}}"#
            )
        };
        assert_eq!(judged(&nvme(0, 79, 0)).verdict, SmartVerdict::Healthy);
        assert_eq!(judged(&nvme(0, 130, 0)).worn, Some(Percent::of(1, 1)));
        assert_eq!(
            (judged(&nvme(0, 80, 0)).verdict, judged(&nvme(0, 0, 1)).verdict),
            (SmartVerdict::Watch, SmartVerdict::Watch)
        );
        assert_eq!(judged(&nvme(0b0001, 0, 0)).verdict, SmartVerdict::Failing);
        // Bit 1 is the temperature, which has its own line.
        assert_eq!(judged(&nvme(0b0010, 0, 0)).verdict, SmartVerdict::Healthy);
    }

    #[test]
    fn a_warmer_disk_is_no_news_until_a_day_has_passed() {
        let now = Timestamp::saturating(1_800_000_000_000);
        let told = news(judged(&ata(5, 8, "")), None, now).expect("the first word");
        let warmer = |degrees| judged(&ata(5, 8, "").replace("34", degrees));
        assert_eq!(news(warmer("40"), Some(&told), now), None);
        assert_eq!(news(warmer("61"), Some(&told), now), None);
        assert!(news(warmer("40"), Some(&told), now.after(DAILY)).is_some());
        assert!(news(judged(&ata(5, 9, "")), Some(&told), now).is_some());
    }

    #[test]
    fn what_smartctl_prints_is_taken_whatever_its_status_is_and_a_silent_one_costs_little() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = |name: &str, text: &str| crate::files::tests::script(&folder.path().join(name), text);
        let disk = Path::new("/dev/sda");
        let failing = script("failing", "#!/bin/sh\necho '{\"smart_status\":{\"passed\":false}}'; exit 8\n");
        assert!(!ask(&failing, disk).smart_status.expect("it said so").passed);
        let mad = script("mad", "#!/bin/sh\necho '{\"smart_status\": 7'\n");
        assert!(ask(&mad, disk).smart_status.is_none());
        assert!(ask("/nowhere/smartctl", disk).smart_status.is_none());
    }
}
