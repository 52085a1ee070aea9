//! What became of a release that was put here, as whoever put it says (`cargo xtask deploy`): counted, and shown by the dashboard
//! *deployments*. How long it took until trouble was noticed, and until it was taken back, is what two of its goals are about.

use crate::args::{Deployed, Outcome};
use crate::clock;
use crate::config::Config;
use crate::store::{Store, StoreError, Tx, first, take_numbers, values};
use saveos_protocol::time::Timestamp;
use std::fmt::Write;
use std::time::Duration;

/// How many are remembered.
const KEPT: u64 = 1000;

/// Writes it down.
pub(crate) async fn run(deployed: &Deployed) -> anyhow::Result<()> {
    let config = Config::read(&deployed.data)?;
    let database = config.database()?;
    let store = Store::look(&deployed.data, database.as_ref()).await?;
    let deployed = deployed.clone();
    Ok(store.write(move |tx| write(tx, &deployed, clock::now())).await?)
}

fn write(tx: &mut dyn Tx, deployed: &Deployed, now: Timestamp) -> Result<(), StoreError> {
    take_numbers(tx, &deployed.outcome.counter(), 1)?;
    let n = take_numbers(tx, "deployment", 1)?;
    let millis = |seconds: f64| Duration::try_from_secs_f64(seconds).map_or(0, |time| time.as_millis() as u64);
    let (forward, back) = (millis(deployed.forward), deployed.back.map(millis));
    let sql = "INSERT INTO deployment (n, at_ms, build, before, outcome, forward_ms, back_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let (build, outcome) = (deployed.build.as_str(), deployed.outcome.as_str());
    tx.execute(sql, &values![n, now, build, deployed.from.clone(), outcome, forward, back])?;
    tx.execute("DELETE FROM deployment WHERE n <= $1", &values![n.saturating_sub(KEPT)]).map(drop)
}

/// How often each outcome was, and the times of the last deployment and of the last way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    by_outcome: Vec<(&'static str, u64)>,
    last: Option<(u64, u64)>,
    back_ms: Option<u64>,
}

pub(crate) fn read(tx: &mut dyn Tx) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    for outcome in Outcome::ALL {
        let row = first(tx, "SELECT value FROM counter WHERE name = $1", &values![outcome.counter()])?;
        counts.by_outcome.push((outcome.as_str(), row.map_or(Ok(0), |row| row.number(0))?));
    }
    let row = first(tx, "SELECT at_ms, forward_ms FROM deployment ORDER BY n DESC LIMIT 1", &[])?;
    counts.last = row.map(|row| Ok::<_, StoreError>((row.number(0)?, row.number(1)?))).transpose()?;
    let row = first(tx, "SELECT back_ms FROM deployment WHERE back_ms IS NOT NULL ORDER BY n DESC LIMIT 1", &[])?;
    counts.back_ms = row.map(|row| row.number(0)).transpose()?;
    Ok(counts)
}

impl Counts {
    /// In the exposition format, version 0.0.4. Times that were never measured are left out.
    pub(crate) fn print(&self, text: &mut String) {
        let name = "saveos_deployments_total";
        let _ =
            writeln!(text, "# HELP {name} Releases that were put here, by what became of them.\n# TYPE {name} counter");
        for (outcome, count) in &self.by_outcome {
            let _ = writeln!(text, "{name}{{outcome=\"{outcome}\"}} {count}");
        }
        let times = [
            (
                "saveos_deployment_timestamp_seconds",
                "When the last one was put here, as Unix time.",
                self.last.map(|(at, _)| at),
            ),
            (
                "saveos_deployment_forward_seconds",
                "Until it served, or something went wrong.",
                self.last.map(|(_, took)| took),
            ),
            ("saveos_deployment_back_seconds", "Until the one before served again, the last time.", self.back_ms),
        ];
        for (name, help, millis) in times {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            if let Some(millis) = millis {
                let _ = writeln!(text, "{name} {}", millis as f64 / 1000.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployed(outcome: Outcome, forward: f64, back: Option<f64>) -> Deployed {
        Deployed { data: "/".into(), build: "1.1.0".to_owned(), from: Some("1.0.0".to_owned()), outcome, forward, back }
    }

    #[tokio::test]
    async fn each_is_counted_by_what_became_of_it_and_the_last_times_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let mut text = String::new();
        store.read(read).await.expect("readable").print(&mut text);
        assert!(text.contains("saveos_deployments_total{outcome=\"serves\"} 0\n"), "{text}");
        assert!(!text.contains("\nsaveos_deployment_forward_seconds "), "nothing was measured: {text}");
        let written = store.write(|tx| {
            write(tx, &deployed(Outcome::TakenBack, 33.5, Some(12.25)), Timestamp::saturating(1_800_000_000_000))?;
            write(tx, &deployed(Outcome::Serves, 41.0, None), Timestamp::saturating(1_800_000_100_000))?;
            write(tx, &deployed(Outcome::Serves, -1.0, None), Timestamp::saturating(1_800_000_200_000))
        });
        written.await.expect("room");
        text.clear();
        store.read(read).await.expect("readable").print(&mut text);
        for line in [
            "saveos_deployments_total{outcome=\"serves\"} 2\n",
            "saveos_deployments_total{outcome=\"taken_back\"} 1\n",
            "saveos_deployment_timestamp_seconds 1800000200\n",
            "saveos_deployment_forward_seconds 0\n",
            "saveos_deployment_back_seconds 12.25\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
