//! Questions to the daemon of an appliance. `saveosd` speaks the language of its socket, so this program becomes it.

use crate::args::Question;
use crate::output::{Exit, Output};
use anyhow::Context;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Comes back only when there is no daemon to ask with.
pub(crate) fn ask(question: &Question, out: &Output) -> anyhow::Result<Exit> {
    let program = std::env::current_exe().ok().as_deref().and_then(beside).unwrap_or_else(|| "saveosd".into());
    let failed = Command::new(program).args(words(question, out.json)).exec();
    let hint = match failed.kind() {
        std::io::ErrorKind::NotFound => {
            "no saveosd is installed here; it runs on an appliance, and repositories need none"
        }
        _ => "saveosd cannot be started",
    };
    Err(failed).context(hint)
}

fn beside(us: &Path) -> Option<PathBuf> {
    Some(us.with_file_name("saveosd")).filter(|program| program.is_file())
}

fn words(question: &Question, json: bool) -> Vec<OsString> {
    let (word, asking) = match question {
        Question::Status { asking, .. } => ("status", asking),
        Question::Jobs { asking } => ("jobs", asking),
        Question::Disks { asking } => ("disks", asking),
    };
    let mut words = vec![word.into()];
    if let Some(socket) = &asking.socket {
        words.extend(["--socket".into(), socket.into()]);
    }
    words.extend(json.then(|| "--json".into()));
    words.extend(matches!(question, Question::Status { qr: true, .. }).then(|| "--qr".into()));
    words
}
