//! The command line of `saveos-server`.

use crate::cell::Cell;
use crate::cell::table::MOST_MOVED;
use std::net::IpAddr;
use std::path::PathBuf;

/// The control plane: broker, ingest, authority and API over one data folder.
#[derive(Debug, clap::Parser)]
#[command(name = "saveos-server", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make the data folder: authority, command key, first account. Prints what is shown only once.
    Init(Init),
    /// Run, until told to stop.
    Run(Run),
    /// Back up database and keys into a new folder, also while the server runs.
    Backup {
        /// Folder of the database, the keys and the broker's files.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
        data: PathBuf,
        /// The new folder; `-` writes it to standard output as a tar archive.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a data folder of a backup.
    Restore {
        /// The backup; `-` reads its archive from standard input.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The new data folder.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
        data: PathBuf,
    },
    /// Look whether all is well, and say what is not.
    Doctor {
        /// Folder of the database, the keys and the broker's files.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
        data: PathBuf,
    },
    /// Bring the database to what this release works with, before its processes replace those of another; changes nothing else.
    Migrate {
        /// Folder of the config.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
        data: PathBuf,
    },
    /// Ask a process that runs with `--metrics` whether it can do its part; for health checks of containers.
    Probe {
        /// Where it serves its metrics.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9187")]
        at: std::net::SocketAddr,
    },
    /// Write down what became of a release that was put here, for the dashboard of deployments; `cargo xtask deploy` does it.
    Deployed(Deployed),
    /// Brokers beside the first, each with boxes of its own.
    #[command(subcommand)]
    Cell(CellCommand),
    /// Sign a command or a desired document with the command key: JSON in, signed JSON out. Reads the passphrase from
    /// SAVEOS_COMMAND_PASSPHRASE.
    Sign(Sign),
}

/// What `init` decides for good.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// Folder of the database, the keys and the broker's files.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
    pub(crate) data: PathBuf,
    /// Name or address under which boxes and browsers find this machine.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: String,
    /// Name of the organisation.
    #[arg(long, value_name = "NAME")]
    pub(crate) organisation: String,
    /// E-mail address of the first administrator; the password is made here. Without it a link is shown, and whoever opens it
    /// chooses both in the browser.
    #[arg(long, value_name = "EMAIL")]
    pub(crate) admin: Option<String>,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub(crate) bind: IpAddr,
    /// Port of the API.
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    pub(crate) https_port: u16,
    /// Port of the broker.
    #[arg(long, value_name = "PORT", default_value_t = 8883)]
    pub(crate) mqtt_port: u16,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where everything is.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Folder of the database, the keys and the broker's files.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
    pub(crate) data: PathBuf,
    /// Serve Prometheus metrics here, by HTTP; keep it to yourself.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<std::net::SocketAddr>,
    /// Only this part of the work, in an installation that lives in PostgreSQL; may be said several times. Without it, all.
    #[arg(long, value_enum, value_name = "ROLE")]
    pub(crate) role: Vec<crate::roles::Role>,
    /// Name of this process among those of the installation; the name of the host, if none is given.
    #[arg(long, value_name = "NAME")]
    pub(crate) replica: Option<String>,
    /// Port of the API of this process, where a load balancer has the one that everybody knows.
    #[arg(long, value_name = "PORT")]
    pub(crate) https_port: Option<u16>,
    /// Where workers find the broker, if it runs on another host; its certificate carries that name.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) broker: Option<crate::roles::Reach>,
    /// The cell whose broker this process keeps or hears; `saveos-server cell list` shows them.
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(crate) cell: Cell,
    /// A proxy whose word about who asks is believed (X-Forwarded-For); may be said several times. Wrong passwords are counted by it.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) proxy: Vec<ipnet::IpNet>,
    /// Folder for what the process itself writes, if the data folder is not to be written: the broker's files.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Log one JSON object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// What became of a release.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Deployed {
    /// Folder of the config.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
    pub(crate) data: PathBuf,
    /// The release that was put here.
    #[arg(long, value_name = "BUILD")]
    pub(crate) build: String,
    /// The one before it.
    #[arg(long, value_name = "BUILD")]
    pub(crate) from: Option<String>,
    /// What became of it.
    #[arg(long, value_enum)]
    pub(crate) outcome: Outcome,
    /// Seconds until it served, or until something went wrong.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) forward: f64,
    /// Seconds from there until the one before served again.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) back: Option<f64>,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It serves.
    Serves,
    /// Nothing was replaced.
    Refused,
    /// The one before serves again.
    TakenBack,
    /// Neither works.
    Broken,
}

impl Outcome {
    pub(crate) const ALL: [Outcome; 4] = [Outcome::Serves, Outcome::Refused, Outcome::TakenBack, Outcome::Broken];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Serves => "serves",
            Outcome::Refused => "refused",
            Outcome::TakenBack => "taken_back",
            Outcome::Broken => "broken",
        }
    }

    /// Where it is counted.
    pub(crate) fn counter(self) -> String {
        format!("deployments:{}", self.as_str())
    }
}

/// What to do with cells.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CellCommand {
    /// Show all: where boxes find them, how many belong there, whether they are heard.
    List {
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add one. Its broker and two workers are started with `--cell NAME`; when it is heard it is opened for new boxes.
    Add {
        /// Up to 32 small letters, digits and hyphens.
        name: Cell,
        /// Name or address under which boxes find its broker.
        #[arg(long, value_name = "HOST")]
        host: String,
        /// Port of its broker.
        #[arg(long, value_name = "PORT", default_value_t = 8883, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        #[command(flatten)]
        of: Of,
    },
    /// Let new boxes go there.
    Open {
        name: Cell,
        #[command(flatten)]
        of: Of,
    },
    /// Let no new boxes go there.
    Close {
        name: Cell,
        #[command(flatten)]
        of: Of,
    },
    /// Have boxes of one cell go to another; each is told where it is, and connects there.
    Move {
        #[arg(long, value_name = "NAME")]
        from: Cell,
        #[arg(long, value_name = "NAME")]
        to: Cell,
        /// So many at most, which connect anew at once.
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=MOST_MOVED))]
        boxes: u64,
        #[command(flatten)]
        of: Of,
    },
    /// Forget one that has no boxes.
    Remove {
        name: Cell,
        #[command(flatten)]
        of: Of,
    },
}

/// Of which installation.
#[derive(Debug, clap::Args)]
pub(crate) struct Of {
    /// Folder of the config.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
    pub(crate) data: PathBuf,
}

/// What to sign, for whom, how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// Folder of the keys.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/saveos")]
    pub(crate) data: PathBuf,
    /// What the JSON on standard input is.
    #[arg(long, value_enum)]
    pub(crate) what: What,
    /// The box it is for.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: saveos_protocol::id::DeviceId,
    /// Hours until the signature is void.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=1080))]
    pub(crate) hours: u64,
}

/// A kind of document that can carry a signature.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum What {
    /// A command.
    Command,
    /// A desired document.
    Desired,
}
