//! What only root may, asked for by a file that a unit of the system watches and answered by another (`saveos-slots`): the daemon
//! names one of six orders and nothing else, no path and no address.

use super::advance::{Deed, Outcome};
use saveos_bootctl::{Answer, Order, Verb};
use saveos_protocol::shadow::UpdateFailure;
use saveos_protocol::text::Text;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where orders and answers lie.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    /// In a folder of ours, which the system watches.
    pub(crate) order: PathBuf,
    /// In a folder of root's.
    pub(crate) answer: PathBuf,
}

/// A slot is written and read back in that time, whatever holds it.
const INSTALLED: Duration = Duration::from_secs(1800);
/// Everything else.
const ANSWERED: Duration = Duration::from_secs(60);
const TURN: Duration = Duration::from_millis(200);

impl Slots {
    /// Orders a deed and waits for its end; and whether the running slot is on trial after it, where that is known.
    pub(crate) fn order(&self, deed: &Deed, stopped: &dyn Fn() -> bool) -> (Outcome, Option<bool>) {
        let (verb, patience) = match deed {
            Deed::Install => (Verb::Install, INSTALLED),
            Deed::Arm => (Verb::Arm, ANSWERED),
            Deed::Keep => (Verb::Keep, ANSWERED),
            Deed::Abandon => (Verb::Abandon, ANSWERED),
            Deed::Look | Deed::Read(_) | Deed::Fetch(_) | Deed::Restart => (Verb::Look, ANSWERED),
        };
        let reason = if verb == Verb::Install { UpdateFailure::Install } else { UpdateFailure::NotArmed };
        match self.ask(verb, patience, stopped) {
            Ok(Answer { failed: None, on_trial, .. }) => (Outcome::Done, Some(on_trial)),
            Ok(Answer { failed: Some(text), hopeless: true, on_trial, .. }) => {
                (Outcome::Hopeless(reason, Text::cut(&text)), Some(on_trial))
            }
            Ok(Answer { failed: Some(text), on_trial, .. }) => {
                (Outcome::Failed(reason, Text::cut(&text)), Some(on_trial))
            }
            Err(text) => (Outcome::Failed(reason, Text::cut(&text)), None),
        }
    }

    /// Asks and waits for the answer; or why there is none.
    pub(crate) fn ask(&self, verb: Verb, patience: Duration, stopped: &dyn Fn() -> bool) -> Result<Answer, String> {
        let id = self.send(verb).map_err(|error| format!("the system could not be asked: {error}"))?;
        let began = Instant::now();
        while began.elapsed() < patience && !stopped() {
            std::thread::sleep(TURN);
            if let Some(answer) = self.answer(&id) {
                let Answer { current, on_trial, failed, .. } = &answer;
                tracing::info!(?verb, ?current, on_trial, failed, "the slots");
                return Ok(answer);
            }
        }
        Err("the system did not answer".to_owned())
    }

    fn send(&self, verb: Verb) -> std::io::Result<String> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| std::io::Error::other("no random numbers"))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let json = serde_json::to_vec(&Order { id: id.clone(), verb })?;
        let new = self.order.with_extension("new");
        // In memory, like the unit that watches it: nothing of an order outlives a boot.
        std::io::Write::write_all(&mut std::fs::File::create(&new)?, &json)?;
        rustix::fs::rename(&new, &self.order)?;
        Ok(id)
    }

    fn answer(&self, id: &str) -> Option<Answer> {
        let json = read_small(&self.answer)?;
        serde_json::from_slice::<Answer>(&json).ok().filter(|answer| answer.id == id)
    }
}

/// A file of a few words, whoever wrote it.
pub(crate) fn read_small(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(16 << 10).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_another_order_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let slots = Slots { order: folder.path().join("order"), answer: folder.path().join("answer") };
        let root = {
            let slots = slots.clone();
            std::thread::spawn(move || {
                let order = loop {
                    if let Some(json) = read_small(&slots.order) {
                        break serde_json::from_slice::<serde_json::Value>(&json).expect("an order");
                    }
                    std::thread::sleep(TURN);
                };
                let say = |id: &str| {
                    let json = serde_json::json!({"id": id, "failed": "no room", "current": "A", "on_trial": true});
                    crate::files::tests::put(&slots.answer, json.to_string().as_bytes());
                };
                say("0123");
                std::thread::sleep(TURN * 3);
                say(order["id"].as_str().expect("an id"));
                order["verb"].as_str().expect("a verb").to_owned()
            })
        };
        let (done, on_trial) = slots.order(&Deed::Install, &|| false);
        assert_eq!(done, Outcome::Failed(UpdateFailure::Install, Text::cut("no room")));
        assert_eq!((on_trial, root.join().expect("no panic").as_str()), (Some(true), "install"));
    }
}
