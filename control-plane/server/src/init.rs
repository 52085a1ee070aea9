//! Makes a data folder: authority, command key, tree, first account. The config is written last, so that a folder that was
//! half made is none and `init` begins again.

use crate::args::Init;
use crate::audit;
use crate::authority::{Authority, AuthorityError};
use crate::clock;
use crate::command_key::{self, KeyError};
use crate::config::{Config, ConfigError};
use crate::files::{self, FileError};
use crate::password;
use crate::policy::Policy;
use crate::store::{Store, StoreError, Tx, values};
use saveos_protocol::id::{NodeId, OrganisationId, UserId};
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
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is shown once and kept nowhere.
pub(crate) struct Shown {
    pub(crate) organisation: OrganisationId,
    pub(crate) email: String,
    pub(crate) password: Zeroizing<String>,
    pub(crate) passphrase: Zeroizing<String>,
}

/// Makes it.
pub(crate) async fn init(init: &Init) -> Result<Shown, InitError> {
    if Config::exists(&init.data) {
        return Err(InitError::Exists(init.data.display().to_string()));
    }
    let email = init.admin.trim().to_lowercase();
    if !email.contains('@') || email.len() > 254 || email.chars().any(char::is_whitespace) {
        return Err(InitError::Email(init.admin.clone()));
    }
    files::make_folder(&init.data)?;
    let now = clock::now();
    let (password, passphrase) = (password::make(), password::make());
    let organisation = OrganisationId::from_parts(now, clock::random());
    let config = Config {
        node: NodeId::from_parts(now, clock::random()),
        organisation,
        name: Text::cut(&init.organisation),
        host: init.host.clone(),
        bind: init.bind,
        https_port: init.https_port,
        mqtt_port: init.mqtt_port,
        command_key: command_key::make(&init.data, &passphrase)?,
        mail: None,
        allowed_networks: Vec::new(),
    };
    Authority::make(&init.data, &config.name)?;
    let store = Store::open(&init.data)?;
    let (name, stored, admin) = (config.name.to_string(), password::hash(&password), email.clone());
    store.write(move |tx| first_rows(tx, organisation, &name, (&admin, &stored))).await?;
    config.write(&init.data)?;
    Ok(Shown { organisation, email, password, passphrase })
}

fn first_rows(
    tx: &mut dyn Tx,
    organisation: OrganisationId,
    name: &str,
    (email, password): (&str, &str),
) -> Result<(), StoreError> {
    let now = clock::now();
    // Of an `init` that was cut off.
    for table in ["DELETE FROM node", "DELETE FROM account", "DELETE FROM granted"] {
        tx.execute(table, &[])?;
    }
    let policy = serde_json::to_string(&Policy::default()).map_err(|_| StoreError::Damaged("a policy"))?;
    let sql = "INSERT INTO node (id, path, kind, name, policy, made_ms) VALUES ($1, $2, 'organisation', $3, $4, $5)";
    tx.execute(sql, &values![organisation, format!("/{organisation}/"), name, policy, now])?;
    let account = UserId::from_parts(now, clock::random());
    let sql = "INSERT INTO account (id, email, password, made_ms) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, &values![account, email, password, now])?;
    let sql = "INSERT INTO granted (account, node, role) VALUES ($1, $2, 'admin')";
    tx.execute(sql, &values![account, organisation])?;
    audit::write(tx, email, "set up", &organisation.to_string(), now)
}
