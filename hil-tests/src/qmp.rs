//! QEMU's monitor in JSON (QMP): one command, one answer; events in between are passed over.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// A connection.
pub(crate) struct Qmp {
    from: BufReader<UnixStream>,
    to: UnixStream,
}

impl Qmp {
    /// Greets.
    pub(crate) fn on(stream: UnixStream) -> anyhow::Result<Qmp> {
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
        let mut qmp = Qmp { from: BufReader::new(stream.try_clone()?), to: stream };
        qmp.line()?;
        qmp.ask("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            bail!("QEMU closed its monitor");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU said {line}"))
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        writeln!(self.to, "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }
}
