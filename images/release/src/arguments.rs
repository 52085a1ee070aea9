//! What `saveos-release` can be asked for.

use clap::{Args, Parser, Subcommand};
use saveos_release::{Built, statement};
use std::path::PathBuf;
use tough::schema::RoleType;

/// Makes bundles the releases that boxes believe.
///
/// KEY is a file, or an address of a key in a token:
/// pkcs11:token=LABEL;object=LABEL?module-path=LIBRARY&pin-source=FILE. PLACE is a folder, or s3://BUCKET/FOLDER.
#[derive(Parser)]
#[command(name = "saveos-release", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Keys: make one, show the public half of one.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make keys and a root that one hand holds, for a bench: never for boxes of a customer.
    Bench {
        /// Folder of the keys; those that are not there are made.
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
        /// Days until the root expires.
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        days: u16,
        /// Where to write the root.
        file: PathBuf,
    },
    /// Draft root metadata: who signs what, and how many of them are enough.
    Root(Root),
    /// Draft the next targets metadata: what is published, with a bundle more or releases less.
    Draft(Draft),
    /// Print a statement of who built a bundle, from what (in-toto, SLSA).
    Provenance(Provenance),
    /// Add a signature to root or targets metadata, after it was shown what is signed.
    Sign {
        /// The key that signs.
        #[arg(long, value_name = "KEY")]
        key: String,
        /// The root whose holders sign targets; for a new root, the one before it.
        #[arg(long, value_name = "FILE")]
        root: Vec<PathBuf>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// What is signed; the signature is added to it.
        file: PathBuf,
    },
    /// Take over signatures from copies that others signed.
    Collect {
        /// The file that gets them.
        file: PathBuf,
        /// The copies.
        #[arg(required = true)]
        copies: Vec<PathBuf>,
    },
    /// Tell who signed and who is missing; fails while signatures are missing.
    Check {
        /// The root by which targets are checked; for a new root, the one before it.
        #[arg(long, value_name = "FILE")]
        root: Vec<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// What is checked.
        file: PathBuf,
    },
    /// Publish signed targets metadata and its bundles.
    Publish {
        #[command(flatten)]
        online: Online,
        /// A bundle, or what goes with one, that is not there yet.
        #[arg(long = "file", value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The signed targets metadata.
        targets: PathBuf,
    },
    /// Sign again what is published, before it is out of date; also publishes a new root.
    Refresh {
        #[command(flatten)]
        online: Online,
    },
    /// Tell what is published and until when; fails when something is soon out of date.
    Status {
        /// The repository.
        #[arg(long, value_name = "PLACE")]
        at: String,
        /// The newest root, and the one before while keys change.
        #[arg(long, value_name = "FILE", required = true)]
        root: Vec<PathBuf>,
        /// How many days are soon.
        #[arg(long, value_name = "DAYS", default_value_t = 2)]
        within: u16,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key in a file that only its owner reads, and print its public half.
    New {
        /// The file; it must not be there yet.
        file: PathBuf,
    },
    /// Print the public half of a key, and its id.
    Show {
        /// The key.
        key: String,
    },
}

#[derive(Args)]
pub(crate) struct Root {
    /// The root before this one: roles that are not named stay as they were.
    #[arg(long, value_name = "FILE")]
    pub(crate) after: Option<PathBuf>,
    /// Public key of somebody who signs roots.
    #[arg(long, value_name = "FILE")]
    root_key: Vec<PathBuf>,
    /// How many of them are enough.
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    root_threshold: u64,
    /// Public key of somebody who signs releases.
    #[arg(long, value_name = "FILE")]
    targets_key: Vec<PathBuf>,
    /// How many of them are enough.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    targets_threshold: u64,
    /// Public key of a machine that publishes.
    #[arg(long, value_name = "FILE")]
    snapshot_key: Vec<PathBuf>,
    /// Public key of a machine that keeps fresh what is published.
    #[arg(long, value_name = "FILE")]
    timestamp_key: Vec<PathBuf>,
    /// Days until it expires.
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    pub(crate) days: u16,
    /// Where to write it.
    pub(crate) file: PathBuf,
}

impl Root {
    /// Role, public keys, threshold. Of what machines sign, one signature is enough.
    pub(crate) fn roles(&self) -> [(RoleType, &[PathBuf], u64); 4] {
        [
            (RoleType::Root, &self.root_key, self.root_threshold),
            (RoleType::Targets, &self.targets_key, self.targets_threshold),
            (RoleType::Snapshot, &self.snapshot_key, 1),
            (RoleType::Timestamp, &self.timestamp_key, 1),
        ]
    }
}

#[derive(Args)]
pub(crate) struct Draft {
    /// The repository whose next state this is; none for the first.
    #[arg(long, value_name = "PLACE")]
    pub(crate) at: Option<String>,
    /// The newest root, and the one before while keys change.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) root: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) bundle: Option<Bundle>,
    /// A release that is one no more: saveos-qemu-2.0.0. Its files stay until nobody can be reading them.
    #[arg(long, value_name = "NAME")]
    pub(crate) withdraw: Vec<String>,
    /// Days until it expires.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    pub(crate) days: u16,
    /// Where to write it.
    pub(crate) file: PathBuf,
}

/// A bundle that is to be a release. What it is made for and which release it is, RAUC reads from it.
#[derive(Args)]
pub(crate) struct Bundle {
    /// The bundle that is to be a release.
    #[arg(long, value_name = "FILE", requires = "keyring", required = false)]
    bundle: PathBuf,
    /// The authorities whose bundles boxes install.
    #[arg(long, value_name = "FILE", required = false)]
    keyring: PathBuf,
    /// A box that confirmed a release of a higher one refuses it.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "bundle")]
    security_epoch: u32,
    /// A release from which a box may go to it; from any, when none is named.
    #[arg(long, value_name = "RELEASE", requires = "bundle")]
    from: Vec<String>,
    /// The oldest release from which a box may go to it: that one, and every published one that is later.
    #[arg(long, value_name = "RELEASE", requires = "bundle")]
    pub(crate) minimum_previous: Option<String>,
    /// What changed, in a sentence.
    #[arg(long, value_name = "TEXT", requires = "bundle")]
    notes: Option<String>,
    /// Of what it is made: a CycloneDX document.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    sbom: Option<PathBuf>,
    /// Who built it, from what: what `saveos-release provenance` printed.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    provenance: Option<PathBuf>,
}

impl Bundle {
    pub(crate) fn read(&self) -> anyhow::Result<saveos_release::Bundle> {
        let (notes, sbom, provenance) = (self.notes.clone(), self.sbom.clone(), self.provenance.clone());
        let (from, security_epoch) = (self.from.clone(), self.security_epoch);
        let found = saveos_release::Bundle::inspect(&self.bundle, &self.keyring)?;
        Ok(saveos_release::Bundle { security_epoch, from, notes, sbom, provenance, ..found })
    }
}

#[derive(Args)]
pub(crate) struct Provenance {
    /// Who built it: the address of a workflow, or of a machine.
    #[arg(long, value_name = "ADDRESS")]
    builder: String,
    /// Where the source is: git+https://…
    #[arg(long, value_name = "ADDRESS")]
    source: String,
    /// Which state of it.
    #[arg(long, value_name = "COMMIT")]
    commit: String,
    /// What was asked of the builder.
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// The bundle.
    bundle: PathBuf,
}

impl Provenance {
    pub(crate) fn statement(self) -> anyhow::Result<serde_json::Value> {
        let parameter = |text: &String| {
            let parts = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            parts.ok_or_else(|| anyhow::anyhow!("`{text}` is not NAME=VALUE"))
        };
        Ok(statement(&Built {
            name: self.bundle.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            sha256: saveos_release::sha256(&self.bundle)?,
            builder: self.builder,
            source: self.source,
            commit: self.commit,
            parameters: self.parameters.iter().map(parameter).collect::<Result<_, _>>()?,
        }))
    }
}

/// Who signs what is published, and where it goes.
#[derive(Args)]
pub(crate) struct Online {
    /// The repository.
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: String,
    /// The newest root, and the one before while keys change.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) root: Vec<PathBuf>,
    /// The key that says which targets metadata is the newest.
    #[arg(long, value_name = "KEY")]
    pub(crate) snapshot_key: String,
    /// The key that says that it is fresh.
    #[arg(long, value_name = "KEY")]
    pub(crate) timestamp_key: String,
    /// Days until a box takes it for out of date.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub(crate) days: u16,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
