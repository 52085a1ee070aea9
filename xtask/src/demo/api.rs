//! Asks the control plane's API with curl, so that a person can type the same.

use anyhow::{Context, bail};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The API, and who asks it.
pub(super) struct Api {
    pub(super) server: String,
    pub(super) authority: PathBuf,
    pub(super) token: String,
}

impl Api {
    /// A GET, or a POST of a body; the answer, or what is wrong.
    pub(super) fn ask(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(&self.authority);
        // Arguments are seen by everybody on a machine: what is secret goes in by standard input.
        curl.args(["--config", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut config = format!("url = \"{}{path}\"\n", self.server);
        if !self.token.is_empty() {
            config.push_str(&format!("header = \"authorization: Bearer {}\"\n", self.token));
        }
        if let Some(body) = body {
            let quoted = body.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            config.push_str(&format!("header = \"content-type: application/json\"\ndata = \"{quoted}\"\n"));
        }
        let mut child = curl.spawn().context("could not start curl")?;
        child.stdin.take().context("a pipe was asked for")?.write_all(config.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{path}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{path}: no JSON"))?;
        match answer["status"].as_u64() {
            Some(status) if status >= 400 => bail!("{path}: {answer}"),
            _ => Ok(answer),
        }
    }
}
