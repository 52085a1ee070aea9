//! `saveos-release`: keys, root metadata, and editions of a release repository.

use anyhow::Context;
use clap::{Parser, Subcommand};
use saveos_release::{Bundle, Edition, Keys, make_root, publish};
use std::path::PathBuf;

/// Makes bundles the releases that boxes believe.
#[derive(Parser)]
#[command(name = "saveos-release", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the keys of a repository that are not there, one for each role.
    Keys {
        /// Folder of the keys.
        folder: PathBuf,
    },
    /// Write the first root metadata, which an image carries.
    Root {
        /// Folder of the keys.
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
        /// Days until it expires.
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        days: i64,
        /// Where to write it.
        file: PathBuf,
    },
    /// Sign an edition of a repository: all the bundles that are releases from now on.
    Publish {
        /// Folder of the keys.
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
        /// The root metadata.
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        /// The folder that a server serves as `releases/`.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Higher than that of the edition before.
        #[arg(long, value_name = "NUMBER")]
        version: u64,
        /// Days until a box takes it for out of date.
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        days: i64,
        /// What the bundles are made for.
        #[arg(long, value_name = "NAME")]
        compatible: String,
        /// A box that confirmed a release of a higher one refuses these.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        security_epoch: u32,
        /// Each as RELEASE=FILE.
        #[arg(required = true, value_name = "RELEASE=FILE")]
        bundles: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Keys { folder } => drop(Keys::make(&folder)?),
        Command::Root { keys, days, file } => make_root(&Keys::make(&keys)?, 1, in_days(days)?, &file)?,
        Command::Publish { keys, root, to, version, days, compatible, security_epoch, bundles } => {
            let bundle = |text: &String| {
                let (release, file) = text.split_once('=').with_context(|| format!("`{text}` is not RELEASE=FILE"))?;
                let (compatible, release, file) = (compatible.clone(), release.to_owned(), file.into());
                anyhow::Ok(Bundle { file, compatible, release, security_epoch })
            };
            let bundles: Vec<Bundle> = bundles.iter().map(bundle).collect::<Result<_, _>>()?;
            publish(&to, &root, &Keys::make(&keys)?, Edition { version, expires: in_days(days)? }, &bundles)?;
        }
    }
    Ok(())
}

fn in_days(days: i64) -> anyhow::Result<jiff::Timestamp> {
    let hours = days.checked_mul(24).context("too many days")?;
    Ok(jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(hours))?)
}
