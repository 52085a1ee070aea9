//! The command line of `saveosd`.

use crate::enrol::Server;
use crate::panel::Language;
use crate::run::Places;
use crate::status::Question;
use crate::update::agent::Settings;
use crate::update::slots::Slots;
use std::path::PathBuf;

/// The appliance's daemon: backs up the disks that are plugged in and keeps what happened for the control plane.
#[derive(Debug, clap::Parser)]
#[command(name = "saveosd", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run the daemon, until it is told to stop.
    Run(Box<Run>),
    #[command(flatten)]
    Ask(Ask),
    /// Look at a simulated panel, press its button, warm its board.
    Panel(PanelAsk),
}

/// What to do at a simulated panel; what is seen after it is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct PanelAsk {
    /// Where it is served, as the board's file says.
    #[arg(long, value_name = "PATH", default_value = "/run/saveos/panel.sock")]
    pub(crate) socket: PathBuf,
    /// Hold the button for so long.
    #[arg(long, value_name = "MILLISECONDS", group = "deed")]
    pub(crate) press: Option<u64>,
    /// Make the board so warm.
    #[arg(long, value_name = "CELSIUS", group = "deed", allow_negative_numbers = true)]
    pub(crate) warm: Option<i32>,
    /// Hold the fan fast, or let it go.
    #[arg(long, value_name = "YES", group = "deed")]
    pub(crate) jam: Option<bool>,
    /// Draw it into a PNG.
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where everything is.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Folder for the box's key, its database and its socket.
    #[arg(long, value_name = "DIR", default_value = "/data/saveos")]
    data: PathBuf,
    /// Folder of disk images (or links to disks) that stands in for the box's sockets [default: the disks of this machine].
    #[arg(long, value_name = "DIR")]
    disks_dir: Option<PathBuf>,
    /// The command that asks a disk for its health.
    #[arg(long, value_name = "COMMAND", default_value = "smartctl")]
    smartctl: String,
    /// The command that reads the box's log.
    #[arg(long, value_name = "COMMAND", default_value = "journalctl")]
    journalctl: String,
    /// The box's lights, button, display and fan, in JSON; without lights, `identify` is refused.
    #[arg(long, value_name = "FILE")]
    board: Option<PathBuf>,
    /// Language of the display.
    #[arg(long, value_enum, default_value_t)]
    language: Language,
    /// A file that asks the system for a restart, as saveos-reboot.path watches it; without one, `reboot` is refused.
    #[arg(long, value_name = "PATH")]
    reboot_file: Option<PathBuf>,
    /// The repository; made at the first start [default: DATA/repository].
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,
    /// Where `saveosd status` asks [default: DATA/saveosd.sock].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// What to back up when, in JSON; without it no disk is read that nobody named.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The control plane to enrol with, `https://HOST:PORT`.
    #[arg(long, value_name = "URL", requires = "server_authority")]
    server: Option<saveos_protocol::text::WebUrl>,
    /// PEM file with the authority of that server's certificate.
    #[arg(long, value_name = "FILE", requires = "server")]
    server_authority: Option<PathBuf>,
    #[command(flatten)]
    update: Update,
    /// Seconds between two heartbeats to the control plane [default: as the control plane wants it, or 60].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..=3600))]
    heartbeat: Option<u64>,
    /// Log one JSON object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// How a box with two system slots is updated.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Updates of a box with two system slots")]
pub(crate) struct Update {
    /// Folder in which the system says what runs (`slot`, `version`, `compatible`); without it nothing is updated.
    #[arg(long, value_name = "DIR")]
    system: Option<PathBuf>,
    /// Root metadata of The Update Framework: whose signatures make a release.
    #[arg(long, value_name = "FILE", default_value = "/usr/share/saveos/release-root.json")]
    release_root: PathBuf,
    /// Where releases are, `metadata/` and `targets/` below it [default: SERVER/releases/ of the enrolment].
    #[arg(long, value_name = "URL")]
    releases: Option<url::Url>,
    /// A file that asks the system for something about its slots, as saveos-slots.path watches it.
    #[arg(long, value_name = "PATH", default_value = "/run/saveos/slots.json")]
    slot_order: PathBuf,
    /// Where the system answers.
    #[arg(long, value_name = "PATH", default_value = "/run/saveos-slots/answer.json")]
    slot_answer: PathBuf,
    /// What a system that was tried and left said last.
    #[arg(long, value_name = "PATH", default_value = "/data/trial.log")]
    last_words: PathBuf,
    /// Seconds after its start in which a new system must be healthy.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    trial: u64,
}

impl Update {
    fn settings(&self) -> Option<Settings> {
        let releases = self.releases.clone().map(with_slash);
        Some(Settings {
            system: self.system.clone()?,
            root: self.release_root.clone(),
            releases,
            slots: Slots { order: self.slot_order.clone(), answer: self.slot_answer.clone() },
            last_words: self.last_words.clone(),
            patience: std::time::Duration::from_secs(self.trial),
        })
    }
}

/// A folder as an address: what is joined to it goes below it.
pub(crate) fn with_slash(mut url: url::Url) -> url::Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

impl Run {
    /// With the defaults filled in.
    pub(crate) fn places(&self) -> Places {
        let socket = self.socket.clone().unwrap_or_else(|| self.data.join("saveosd.sock"));
        Places {
            data: self.data.clone(),
            disks: self.disks_dir.clone(),
            smartctl: self.smartctl.clone(),
            journalctl: self.journalctl.clone(),
            board: self.board.clone(),
            language: self.language,
            reboot: self.reboot_file.clone(),
            repository: self.repository.clone().unwrap_or_else(|| self.data.join("repository")),
            socket,
            policy: self.policy.clone(),
            update: self.update.settings(),
            heartbeat: self.heartbeat.map(std::time::Duration::from_secs),
            server: self
                .server
                .clone()
                .zip(self.server_authority.clone())
                .map(|(url, authority)| Server { url, authority }),
        }
    }
}

/// Where to ask, and how to print.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// The running daemon's socket.
    #[arg(long, value_name = "PATH", default_value = "/data/saveos/saveosd.sock")]
    pub(crate) socket: PathBuf,
    /// Print the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Questions to a running daemon.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Ask {
    /// How the box is: its claim code, what runs, what waits to be reported.
    Status {
        /// Draw the QR code with which somebody adds this box to the control plane.
        #[arg(long, conflicts_with = "json")]
        qr: bool,
        #[command(flatten)]
        how: How,
    },
    /// What it did and does.
    Jobs {
        #[command(flatten)]
        how: How,
    },
    /// Which disks it knows, and why one waits.
    Disks {
        #[command(flatten)]
        how: How,
    },
    /// The 24 recovery words, until two of them were asked back.
    Words {
        #[command(flatten)]
        how: How,
    },
    /// The two words that were asked back.
    Confirm {
        first: String,
        second: String,
        #[command(flatten)]
        how: How,
    },
    /// Let a restore overwrite its target: the button of a box that has none.
    Approve {
        /// The job that asks, as `saveosd jobs` prints it.
        job: String,
        /// Serial number of the disk that is overwritten.
        serial: String,
        #[command(flatten)]
        how: How,
    },
    /// Back a disk up now.
    Backup {
        /// Its name, as `saveosd disks` prints it.
        disk: String,
        #[command(flatten)]
        how: How,
    },
}

impl Ask {
    /// The question, and where to ask it.
    pub(crate) fn question(&self) -> (Question, &How) {
        match self {
            Ask::Status { how, .. } => (Question::Status, how),
            Ask::Jobs { how } => (Question::Jobs, how),
            Ask::Disks { how } => (Question::Disks, how),
            Ask::Words { how } => (Question::Words, how),
            Ask::Confirm { first, second, how } => (Question::Confirm { words: [first.clone(), second.clone()] }, how),
            Ask::Approve { job, serial, how } => (Question::Approve { job: job.clone(), serial: serial.clone() }, how),
            Ask::Backup { disk, how } => (Question::Backup { disk: disk.clone() }, how),
        }
    }
}
