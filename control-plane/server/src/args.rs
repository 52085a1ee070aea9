//! The command line of `saveos-server`.

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
