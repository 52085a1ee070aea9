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
    let chain = match store {
        Ok(store) => store.read(audit::first_break).await,
        Err(error) => Err(error),
    };
    findings.push(finding("the database", chain.as_ref().err().map(|error: &StoreError| error.to_string())));
    if let Ok(broken) = chain {
        findings.push(finding("the audit trail", broken.map(|n| format!("it was changed at row {n}"))));
    }
    findings
}
