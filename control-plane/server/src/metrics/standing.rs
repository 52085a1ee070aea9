//! How the fleet and this installation stand, read when it is asked for: boxes, alerts, the newest rollout, the room on the disk, and
//! until when certificates hold.

use crate::cell::ears::Ears;
use crate::clock;
use crate::deployed;
use crate::store::{Store, StoreError, Tx, first, values};
use saveos_protocol::time::Timestamp;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use x509_parser::pem::Pem;

/// What ends, below the data folder, and what it is called.
const DATED: [(&str, &str); 1] = [("authority", "authority.pem")];
/// The same below the folder that the process itself writes, if it keeps the broker.
const DATED_OF_BROKER: [(&str, &str); 2] = [("server", "broker/server.pem"), ("revocations", "broker/revoked.pem")];

/// Of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    boxes: u64,
    unprotected: u64,
    /// By rule.
    alerts: Vec<(String, u64)>,
    /// The newest rollout has halted, and nobody began another.
    halted: u64,
    under_way: u64,
    /// Jobs that ended within a day, by what they were and how they ended.
    jobs: Vec<(String, String, u64)>,
    /// Boxes that belong to each cell.
    cells: Vec<(String, u64)>,
    deployments: deployed::Counts,
}

/// Jobs are counted for so long.
const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn read(store: &Store) -> Result<Standing, StoreError> {
    let now = clock::now();
    store.read(move |tx| look(tx, now)).await
}

fn look(tx: &mut dyn Tx, now: Timestamp) -> Result<Standing, StoreError> {
    let mut standing = Standing::default();
    let sql = "SELECT COUNT(*), COALESCE(SUM(CASE WHEN COALESCE(protected_until_ms, 0) >= $1 THEN 0 ELSE 1 END), 0)
        FROM appliance WHERE revoked_ms IS NULL";
    if let Some(row) = first(tx, sql, &values![now])? {
        (standing.boxes, standing.unprotected) = (row.number(0)?, row.number(1)?);
    }
    let sql = "SELECT rule, COUNT(*) FROM alert WHERE ended_ms IS NULL GROUP BY rule ORDER BY rule";
    for row in tx.query(sql, &[])? {
        standing.alerts.push((row.text(0)?.to_owned(), row.number(1)?));
    }
    let sql = "SELECT id, ended_ms FROM rollout ORDER BY id DESC LIMIT 1";
    if let Some(row) = first(tx, sql, &[])? {
        standing.under_way = u64::from(row.maybe_time(1)?.is_none());
        let sql = "SELECT COUNT(*) FROM rollout_log WHERE rollout = $1 AND event LIKE '{\"kind\":\"halted\"%'";
        let halts = first(tx, sql, &values![row.text(0)?])?;
        standing.halted = halts.map_or(Ok(0), |row| row.number(0))?.min(1);
    }
    let sql = "SELECT work, state, COUNT(*) FROM job WHERE ended_ms >= $1 GROUP BY work, state ORDER BY work, state";
    for row in tx.query(sql, &values![now.before(DAY)])? {
        standing.jobs.push((row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.number(2)?));
    }
    let sql = "SELECT c.name, (SELECT COUNT(*) FROM appliance a WHERE a.cell = c.name AND a.revoked_ms IS NULL)
        FROM cell c ORDER BY c.name";
    for row in tx.query(sql, &[])? {
        standing.cells.push((row.text(0)?.to_owned(), row.number(1)?));
    }
    standing.deployments = deployed::read(tx)?;
    Ok(standing)
}

impl Standing {
    pub(super) fn print(&self, text: &mut String) {
        let gauges = [
            ("saveos_boxes", "Boxes that are trusted.", self.boxes),
            ("saveos_boxes_unprotected", "Boxes without a recovery point that is new enough.", self.unprotected),
            ("saveos_rollout_under_way", "Whether a release is on its way.", self.under_way),
            ("saveos_rollout_halted", "Whether the newest rollout has halted.", self.halted),
        ];
        for (name, help, value) in gauges {
            gauge(text, name, help);
            let _ = writeln!(text, "{name} {value}");
        }
        gauge(text, "saveos_alerts_open", "Alerts that last, by rule.");
        for (rule, count) in &self.alerts {
            let _ = writeln!(text, "saveos_alerts_open{{rule=\"{rule}\"}} {count}");
        }
        gauge(text, "saveos_jobs_ended_day", "Jobs of all boxes that ended within a day.");
        for (work, state, count) in &self.jobs {
            let _ = writeln!(text, "saveos_jobs_ended_day{{work=\"{work}\",state=\"{state}\"}} {count}");
        }
        gauge(text, "saveos_cell_boxes", "Boxes that belong to a cell.");
        for (cell, count) in &self.cells {
            let _ = writeln!(text, "saveos_cell_boxes{{cell=\"{cell}\"}} {count}");
        }
        self.deployments.print(text);
    }
}

fn gauge(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// Whether each cell is heard, by whichever process.
pub(super) fn print_ears(ears: &Ears, text: &mut String) {
    gauge(text, "saveos_ingest_connected", "Whether somebody has the session at the broker of a cell.");
    for (cell, ear) in ears.cells() {
        let _ = writeln!(text, "saveos_ingest_connected{{cell=\"{cell}\"}} {}", u64::from(ear.connected));
    }
}

/// Which release this process is: beside each other while one takes the place of another.
pub(super) fn print_build(text: &mut String) {
    gauge(text, "saveos_build_info", "The release that this process is of.");
    let _ = writeln!(text, "saveos_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
}

/// Of the data folder and of the one that is written: the room there is, and when what is dated ends. What cannot be read is left out,
/// which an alert notices.
pub(super) fn print_folders(data: &Path, state: &Path, text: &mut String) {
    if let Ok(disk) = rustix::fs::statvfs(state) {
        let sizes = [
            ("saveos_data_free_bytes", "Room on the disk of the data folder.", disk.f_bavail * disk.f_frsize),
            ("saveos_data_size_bytes", "Size of that disk.", disk.f_blocks * disk.f_frsize),
        ];
        for (name, help, value) in sizes {
            gauge(text, name, help);
            let _ = writeln!(text, "{name} {value}");
        }
    }
    gauge(text, "saveos_expires_seconds", "When a certificate or a list of revocations ends, as Unix time.");
    let dated = DATED.map(|(what, file)| (what, data.join(file))).into_iter();
    for (what, path) in dated.chain(DATED_OF_BROKER.map(|(what, file)| (what, state.join(file)))) {
        if let Some(end) = std::fs::read(path).ok().and_then(|bytes| end(&bytes)) {
            let _ = writeln!(text, "saveos_expires_seconds{{what=\"{what}\"}} {end}");
        }
    }
}

/// Of the first certificate in a file, or of the list in it.
fn end(pem: &[u8]) -> Option<i64> {
    let first = Pem::iter_from_buffer(pem).next()?.ok()?;
    if first.label == "X509 CRL" {
        let (_, list) = x509_parser::parse_x509_crl(&first.contents).ok()?;
        return Some(list.next_update()?.timestamp());
    }
    Some(first.parse_x509().ok()?.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_protected_what_is_open_and_what_has_halted_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let none = store.read(deployed::read).await.expect("readable");
        let main = |boxes| vec![("main".to_owned(), boxes)];
        assert_eq!(
            read(&store).await.expect("readable"),
            Standing { cells: main(0), deployments: none.clone(), ..Standing::default() }
        );
        let write = store.write(|tx| {
            for (id, until) in [("a", 0u64), ("b", 4_000_000_000_000), ("c", 1)] {
                let sql = "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial,
                    until_ms, desired, desired_ver, applied_ver, protected_until_ms)
                    VALUES ($1, 's', $1, $1, '{}', '1.0.0', 1, '', 1, '{}', 0, 0, $2)";
                tx.execute(sql, &values![id, until])?;
            }
            for (id, rule, ended) in
                [("1", "unprotected", None), ("2", "unprotected", None), ("3", "silent", Some(5u64))]
            {
                let sql = "INSERT INTO alert (id, fingerprint, rule, node, detail, raised_ms, ended_ms)
                    VALUES ($1, $1, $2, 's', '', 1, $3)";
                tx.execute(sql, &values![id, rule, ended.map(Timestamp::saturating)])?;
            }
            let now = clock::now();
            let jobs = [("1", "done", 60), ("2", "failed", 60), ("3", "failed", 3600), ("4", "failed", 100_000)];
            for (id, state, ago) in jobs {
                let ended = now.before(Duration::from_secs(ago));
                let sql = "INSERT INTO job (device, id, work, state, ended_ms) VALUES ('a', $1, 'backup', $2, $3)";
                tx.execute(sql, &values![id, state, ended])?;
            }
            let sql = "INSERT INTO rollout (id, release_name, policy, salt, made_ms, made_by, ended_ms)
                VALUES ('r', '2.0.0', '{}', '', 1, 'anna', 2)";
            tx.execute(sql, &[])?;
            let halted = saveos_server::rollout::Event::Halted { grounds: Default::default() };
            let event = serde_json::to_string(&halted).map_err(|_| StoreError::Damaged("an event"))?;
            tx.execute("INSERT INTO rollout_log (rollout, n, at_ms, event) VALUES ('r', 1, 1, $1)", &values![event])?;
            Ok::<_, StoreError>(())
        });
        write.await.expect("it is written");
        let standing = read(&store).await.expect("readable");
        let alerts = vec![("unprotected".to_owned(), 2)];
        let jobs = vec![("backup".to_owned(), "done".to_owned(), 1), ("backup".to_owned(), "failed".to_owned(), 2)];
        assert_eq!(
            standing,
            Standing {
                boxes: 3,
                unprotected: 2,
                alerts,
                halted: 1,
                under_way: 0,
                jobs,
                cells: main(3),
                deployments: none
            }
        );
        let mut text = String::new();
        standing.print(&mut text);
        assert!(text.contains("\nsaveos_alerts_open{rule=\"unprotected\"} 2\n"), "{text}");
    }

    #[test]
    fn what_is_dated_says_when_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = crate::authority::Authority::make(folder.path(), "test").expect("an authority");
        let list = authority.revocations(&[], clock::now()).expect("a list");
        assert!(end(list.as_bytes()).is_some_and(|end| end > clock::now().as_millis() as i64 / 1000));
        let mut text = String::new();
        let state = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(state.path().join("broker")).expect("room");
        crate::files::write(&state.path().join("broker/revoked.pem"), &list).expect("room");
        print_folders(folder.path(), state.path(), &mut text);
        assert!(text.contains("saveos_expires_seconds{what=\"revocations\"} "), "{text}");
        let line = text.lines().find(|line| line.starts_with("saveos_expires_seconds{what=\"authority\"} "));
        let end: i64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a number");
        assert!(end > clock::now().as_millis() as i64 / 1000, "{text}");
        assert!(text.contains("\nsaveos_data_free_bytes ") && end_of_nothing().is_none());
    }

    fn end_of_nothing() -> Option<i64> {
        end(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    }
}
