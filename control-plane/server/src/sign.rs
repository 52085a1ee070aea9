//! Signs one document with the command key and ends: the only place that opens it, apart from the server that is reachable.

use crate::args::{Sign, What};
use crate::clock;
use crate::command_key;
use anyhow::{Context, bail};
use saveos_protocol::command::Command;
use saveos_protocol::shadow::Desired;
use saveos_protocol::sign::{self, Signable};
use saveos_protocol::{decode, encode};
use std::io::{Read, Write};
use std::time::Duration;
use zeroize::Zeroizing;

/// Reads standard input, writes standard output.
pub(crate) fn run(arguments: &Sign) -> anyhow::Result<()> {
    let passphrase = std::env::var("SAVEOS_COMMAND_PASSPHRASE").map(Zeroizing::new);
    let Ok(passphrase) = passphrase else { bail!("SAVEOS_COMMAND_PASSPHRASE does not hold the passphrase") };
    let mut json = Vec::new();
    std::io::stdin().take(1 << 20).read_to_end(&mut json).context("could not read the document")?;
    let signed = match arguments.what {
        What::Command => sign_as::<Command>(arguments, &passphrase, &json)?,
        What::Desired => sign_as::<Desired>(arguments, &passphrase, &json)?,
    };
    std::io::stdout().write_all(&signed)?;
    Ok(())
}

fn sign_as<D: Signable>(arguments: &Sign, passphrase: &str, json: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut document: D = decode(json).context("the document is not understood")?;
    let key = command_key::open(&arguments.data, passphrase)?;
    let until = clock::now().after(Duration::from_secs(arguments.hours * 3600));
    sign::sign(&mut document, arguments.device, until, &key)?;
    Ok(encode(&document)?)
}
