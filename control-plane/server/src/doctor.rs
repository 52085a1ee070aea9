//! Looks at a data folder and at what it needs, and says in a line each what is well and what is not. Changes nothing.

use crate::audit;
use crate::authority::Authority;
use crate::broker;
use crate::config::Config;
use crate::store::{Store, StoreError};
use std::path::Path;

/// What was looked at, and what is wrong with it.
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) trouble: Option<String>,
}

/// Of a user for whom no policy of rows holds.
const CLIMBS: &str = "it is a superuser or may bypass row security, which keeps customers apart also where a handler would not: \
    make one that is neither and owns the database";

async fn look(store: &Store) -> Result<(Option<u64>, bool), StoreError> {
    Ok((store.read(audit::first_break).await?, store.is_fenced().await?))
}

/// Looks.
pub(crate) async fn examine(data: &Path) -> Vec<Finding> {
    let finding = |what, trouble: Option<String>| Finding { what, trouble };
    let config = Config::read(data);
    let mut findings = vec![finding("the config", config.as_ref().err().map(ToString::to_string))];
    // Opening a store would make one.
    let Ok(config) = config else { return findings };
    findings.push(finding("the authority", Authority::open(data).err().map(|error| error.to_string())));
    findings.push(finding("mosquitto", broker::program().err().map(|error| error.to_string())));
    let store = match config.database() {
        Ok(database) => Store::look(data, database.as_ref()).await,
        Err(error) => Err(error.into()),
    };
    let looked = match store {
        Ok(store) => look(&store).await,
        Err(error) => Err(error),
    };
    findings.push(finding("the database", looked.as_ref().err().map(|error: &StoreError| error.to_string())));
    if let Ok((broken, is_fenced)) = looked {
        findings.push(finding("the user of the database", (!is_fenced).then(|| CLIMBS.to_owned())));
        findings.push(finding("the audit trail", broken.map(|n| format!("it was changed at row {n}"))));
    }
    findings
}
