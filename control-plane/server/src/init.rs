//! Makes a data folder: authority, command key, tree, first account or the link to make it. The config is written last, so that a folder that was
//! half made is none and `init` begins again.

use crate::account;
use crate::api::access;
use crate::args::Init;
use crate::audit;
use crate::authority::{Authority, AuthorityError};
use crate::clock;
use crate::command_key::{self, KeyError};
use crate::config::{self, Config, ConfigError};
use crate::files::{self, FileError};
use crate::password;
use crate::policy::Policy;
use crate::store::{self, Database, DatabaseError, Engine, Store, StoreError, Tx, values};
use saveos_protocol::id::{NodeId, OrganisationId};
use saveos_protocol::text::Text;
use zeroize::Zeroizing;

/// Why there is no data folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// It is there.
    #[error("{0} is set up already; nothing was changed")]
    Exists(String),
    /// A name that cannot be used.
    #[error("`{0}` is no e-mail address")]
    Email(String),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The command key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Where the database is.
    #[error(transparent)]
    Where(#[from] DatabaseError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is shown once and kept nowhere.
pub(crate) struct Shown {
    pub(crate) organisation: OrganisationId,
    pub(crate) first: First,
    pub(crate) passphrase: Zeroizing<String>,
}

/// How the first administrator gets in.
pub(crate) enum First {
    /// With an account that was made here.
    Account { email: String, password: Zeroizing<String> },
    /// With a page that makes it.
    Link(Zeroizing<String>),
}

/// What is stored of it.
enum Stored {
    Account { email: String, password: String },
    Link { token: String },
}

/// Makes it.
pub(crate) async fn init(init: &Init) -> Result<Shown, InitError> {
    if Config::exists(&init.data) {
        return Err(InitError::Exists(init.data.display().to_string()));
    }
    let admin = init.admin.as_ref();
    let email =
        admin.map(|admin| account::address(admin).ok_or_else(|| InitError::Email(admin.clone()))).transpose()?;
    files::make_folder(&init.data)?;
    let now = clock::now();
    let passphrase = password::make();
    let organisation = OrganisationId::from_parts(now, clock::random());
    let database = Database::of_environment()?;
    let mut config = Config {
        node: NodeId::from_parts(now, clock::random()),
        organisation,
        name: Text::cut(&init.organisation),
        host: init.host.clone(),
        bind: init.bind,
        https_port: init.https_port,
        mqtt_port: init.mqtt_port,
        command_key: command_key::make(&init.data, &passphrase)?,
        engine: Engine::default(),
        mail: None,
        allowed_networks: Vec::new(),
        broker_queue: config::broker_queue(),
        release_line_mbit: None,
    };
    Authority::make(&init.data, &config.name)?;
    config.lives_in(database.as_ref());
    let store = Store::open(&init.data, database.as_ref()).await?;
    let (first, stored) = first(email, &config);
    let name = config.name.to_string();
    let is_shared = config.is_shared();
    let written = store.write(move |tx| {
        // A folder without a config is none; a database may be another installation's, with all that it has.
        if is_shared && store::first(tx, "SELECT id FROM node", &[])?.is_some() {
            return Err(StoreError::Occupied);
        }
        first_rows(tx, organisation, &name, &stored)
    });
    written.await?;
    config.write(&init.data)?;
    Ok(Shown { organisation, first, passphrase })
}

/// What is shown and what is stored. The token stands behind `#`: a browser sends it to no server and names it to no other page.
fn first(email: Option<String>, config: &Config) -> (First, Stored) {
    match email {
        Some(email) => {
            let password = password::make();
            let stored = Stored::Account { email: email.clone(), password: password::hash(&password) };
            (First::Account { email, password }, stored)
        }
        None => {
            let token = Zeroizing::new(password::hex(&clock::random::<32>()));
            let link = Zeroizing::new(format!("{}/setup#{}", config.server(), *token));
            (First::Link(link), Stored::Link { token: access::hash(&token) })
        }
    }
}

fn first_rows(tx: &mut dyn Tx, organisation: OrganisationId, name: &str, first: &Stored) -> Result<(), StoreError> {
    let now = clock::now();
    // Of an `init` that was cut off.
    for table in ["DELETE FROM node", "DELETE FROM account", "DELETE FROM granted", "DELETE FROM setup"] {
        tx.execute(table, &[])?;
    }
    let policy = serde_json::to_string(&Policy::default()).map_err(|_| StoreError::Damaged("a policy"))?;
    let sql = "INSERT INTO node (id, path, kind, name, policy, made_ms) VALUES ($1, $2, 'organisation', $3, $4, $5)";
    tx.execute(sql, &values![organisation, format!("/{organisation}/"), name, policy, now])?;
    let who = match first {
        Stored::Account { email, password } => {
            account::make_first(tx, (email, password), organisation, now)?;
            email
        }
        Stored::Link { token } => {
            tx.execute("INSERT INTO setup (token, made_ms) VALUES ($1, $2)", &values![token.as_str(), now])?;
            "init"
        }
    };
    audit::write(tx, who, "set up", &organisation.to_string(), now)
}
