//! The command line, as scripts rely on it: names here are a contract.

use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

/// Backs up whole disks into a deduplicated, compressed, encrypted repository, and gets them back bit for bit.
#[derive(Parser)]
#[command(name = "saveos", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 complete, 1 failed, 2 usage, 3 partial (holes, skips or a torn source).")]
pub(crate) struct Arguments {
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which repository, and how to open it.
#[derive(Args, Clone)]
pub(crate) struct Repo {
    /// Folder of the repository
    #[arg(long, env = "SAVEOS_REPO", value_name = "REPO")]
    pub(crate) repo: PathBuf,
    #[command(flatten)]
    pub(crate) unlock: Unlock,
}

/// Which secret opens it. Without any: SAVEOS_PASSPHRASE, then a prompt.
#[derive(Args, Clone)]
pub(crate) struct Unlock {
    /// First line of this file is the passphrase
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "words_file", "escrow_file"])]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Open with a device key: 64 hex digits
    #[arg(long, value_name = "FILE", conflicts_with_all = ["words_file", "escrow_file"])]
    pub(crate) key_file: Option<PathBuf>,
    /// Open with the 24 recovery words in this file (- reads them from standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "escrow_file")]
    pub(crate) words_file: Option<PathBuf>,
    /// Open with an escrow private key
    #[arg(long, value_name = "FILE")]
    pub(crate) escrow_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a repository; prints the recovery words once
    Init {
        /// A folder that does not exist yet, or is empty
        #[arg(env = "SAVEOS_REPO")]
        repo: PathBuf,
        #[command(flatten)]
        unlock: Unlock,
    },
    /// Back up a disk or a disk image
    Backup {
        /// A block device or an image file
        source: PathBuf,
        #[command(flatten)]
        repo: Repo,
        /// What to call the source [default: its file name]
        #[arg(long)]
        name: Option<String>,
        /// A label; may be given several times
        #[arg(long = "tag", value_name = "T")]
        tags: Vec<String>,
        /// Accept a source that is mounted read-write; the snapshot proves nothing
        #[arg(long)]
        live: bool,
        /// Read at most so many MiB a second
        #[arg(long, value_name = "MIB/S", value_parser = rate)]
        limit_read: Option<f64>,
    },
    /// List snapshots
    Snapshots {
        #[command(flatten)]
        repo: Repo,
    },
    /// Show one snapshot: partitions, doubts, holes
    Show {
        /// Id, unique prefix, or latest
        snapshot: String,
        #[command(flatten)]
        repo: Repo,
        /// Print a ddrescue map of what was read instead
        #[arg(long)]
        map: bool,
    },
    /// Restore a disk or a partition
    Restore {
        /// Id, unique prefix, or latest
        snapshot: String,
        /// A disk, a file, or - for standard output
        target: PathBuf,
        #[command(flatten)]
        repo: Repo,
        /// Only this partition
        #[arg(long, value_name = "N")]
        partition: Option<u32>,
        /// Overwrite a target that exists; equal parts are not written again
        #[arg(long)]
        force: bool,
    },
    /// List or copy files of a snapshot without mounting it
    #[command(subcommand)]
    Files(Files),
    /// Serve a snapshot as a read-only NBD export on a unix socket
    View {
        /// Id, unique prefix, or latest
        snapshot: String,
        #[command(flatten)]
        repo: Repo,
        /// Where to make the socket
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Read back what is stored and prove it
    Verify {
        #[command(flatten)]
        repo: Repo,
        /// Read only a part of all chunks, chosen at random: 5%
        #[arg(long, value_name = "PERCENT", value_parser = percent)]
        sample: Option<f64>,
        /// Only what this snapshot needs
        #[arg(long, value_name = "S")]
        snapshot: Option<String>,
        /// Run each filesystem's own checker on its restored structure
        #[arg(long)]
        fsck: bool,
    },
    /// Forget snapshots that the policy does not keep
    Forget(Forget),
    /// Give back the space of what no snapshot needs (two runs delete)
    Prune {
        #[command(flatten)]
        repo: Repo,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Manage the keys that open a repository
    #[command(subcommand)]
    Key(Key),
    /// Bring back a damaged repository
    #[command(subcommand)]
    Repair(Repair),
    /// Show the layout of a disk without reading its data
    Plan {
        /// A block device or an image file
        source: PathBuf,
    },
    #[command(flatten)]
    Appliance(Question),
    /// Print shell completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual: a page for this program and one for each command
    Man {
        /// Write one file a page to this folder instead
        folder: Option<PathBuf>,
    },
}

/// What the daemon of an appliance is asked.
#[derive(Subcommand)]
pub(crate) enum Question {
    /// On an appliance: how it is, what runs, what waits to be reported
    Status {
        /// Draw the QR code with which somebody adds this box to the control plane
        #[arg(long)]
        qr: bool,
        #[command(flatten)]
        asking: Asking,
    },
    /// On an appliance: what it did and does
    Jobs {
        #[command(flatten)]
        asking: Asking,
    },
    /// On an appliance: which disks it knows, and why one waits
    Disks {
        #[command(flatten)]
        asking: Asking,
    },
}

/// Where the daemon listens.
#[derive(clap::Args)]
pub(crate) struct Asking {
    /// The daemon's socket, where it is not at its usual place
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Files {
    /// List a directory
    Ls {
        /// SNAPSHOT or SNAPSHOT:PARTITION
        snapshot: String,
        /// Path in the filesystem
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        repo: Repo,
    },
    /// Copy a file or a directory out
    Cp {
        /// SNAPSHOT or SNAPSHOT:PARTITION
        snapshot: String,
        /// Path in the filesystem
        path: String,
        /// Where to; - for standard output [default: the current folder]
        dest: Option<PathBuf>,
        #[command(flatten)]
        repo: Repo,
    },
}

#[derive(Args)]
pub(crate) struct Forget {
    #[command(flatten)]
    pub(crate) repo: Repo,
    /// Snapshots to forget by name, instead of by a policy
    pub(crate) snapshots: Vec<String>,
    /// Keep the newest N of each source
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_last: usize,
    /// Keep one for each of N hours
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_hourly: usize,
    /// Keep one for each of N days
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_daily: usize,
    /// Keep one for each of N weeks
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_weekly: usize,
    /// Keep one for each of N months
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_monthly: usize,
    /// Keep one for each of N years
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_yearly: usize,
    /// Keep all with this tag
    #[arg(long, value_name = "T")]
    pub(crate) keep_tag: Vec<String>,
    /// Only say what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Subcommand)]
pub(crate) enum Key {
    /// List key slots
    List {
        #[command(flatten)]
        repo: Repo,
    },
    /// Add a way in: a passphrase unless another kind is named
    Add {
        #[command(flatten)]
        repo: Repo,
        /// What to call it
        #[arg(long, default_value = "")]
        label: String,
        /// New recovery words, printed once
        #[arg(long, conflicts_with_all = ["device", "escrow"])]
        words: bool,
        /// A new device key, written to this file
        #[arg(long, value_name = "FILE", conflicts_with = "escrow")]
        device: Option<PathBuf>,
        /// An organisation's public key: 64 hex digits or a file with them
        #[arg(long, value_name = "KEY")]
        escrow: Option<String>,
        /// First line of this file is the new passphrase
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Remove a way in (old copies of the repository keep it)
    Remove {
        /// Name of the slot, see `key list`
        slot: String,
        #[command(flatten)]
        repo: Repo,
    },
    /// Set a new passphrase with the recovery words or the escrow key
    Recover {
        #[command(flatten)]
        repo: Repo,
        /// First line of this file is the new passphrase
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Make and look at escrow keys
    #[command(subcommand)]
    Escrow(Escrow),
}

#[derive(Subcommand)]
pub(crate) enum Escrow {
    /// Make a key pair; keep the private file offline
    New {
        /// Where to write the private key; the public key is printed
        private: PathBuf,
    },
    /// Print the public key and its fingerprint
    Show {
        /// The private key
        private: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum Repair {
    /// Read every pack again: rebuilds the index, saves what is whole in damaged packs
    Index {
        #[command(flatten)]
        repo: Repo,
    },
    /// Write snapshots anew whose chunks are lost, with holes in their place
    Snapshots {
        #[command(flatten)]
        repo: Repo,
    },
}

/// Ends the program as a wrong argument does: what the definition cannot say.
pub(crate) fn refuse(why: &str) -> ! {
    Arguments::command().error(clap::error::ErrorKind::MissingRequiredArgument, why).exit()
}

/// MiB a second: more than nothing.
fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("give a number above 0".to_owned()) }
}

/// `5%` or `5` as a part of one.
fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim_end_matches('%').parse().map_err(|_| format!("{text} is no percentage"))?;
    if (0.0..=100.0).contains(&number) && number > 0.0 { Ok(number / 100.0) } else { Err("give 0% to 100%".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn percentages_are_read() {
        assert_eq!(percent("5%"), Ok(0.05));
        assert!(percent("0").is_err() && percent("101%").is_err() && percent("x").is_err());
    }
}
