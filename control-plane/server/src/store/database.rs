//! Which database, and the secret that opens it: from the environment or a file that it names, never from the command line.

use super::StoreError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

/// `postgresql://user:password@host/name`.
const URL: &str = "SAVEOS_DATABASE_URL";
/// A file that holds it.
const URL_FILE: &str = "SAVEOS_DATABASE_URL_FILE";
/// Whom the certificate of the database must come from, as PEM; without it whom the system trusts.
const CA: &str = "SAVEOS_DATABASE_CA";

/// Which of the engines an installation lives on: `init` writes it down, so that a forgotten variable starts no second truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// A file in the data folder.
    #[default]
    Sqlite,
    /// A server that several replicas share.
    Postgresql,
}

/// Why the database is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// Neither variable is set.
    #[error(
        "this installation lives in PostgreSQL, and neither SAVEOS_DATABASE_URL nor SAVEOS_DATABASE_URL_FILE says where"
    )]
    Unset,
    /// Set for an installation that lives in a file.
    #[error(
        "SAVEOS_DATABASE_URL is set, and this installation lives in its data folder: unset it, or `restore` into PostgreSQL"
    )]
    Unwanted,
    /// A file that a variable names.
    #[error("could not read {path}, which {variable} names")]
    File {
        variable: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Not a URL of a database. It may hold a password: nothing of it is shown.
    #[error("{0} is no `postgresql://user:password@host/name`")]
    Url(&'static str),
    /// Its password and all facts would go over the line for everybody to read.
    #[error(
        "the database is on another host and its URL says no `sslmode=require`; `sslmode=disable` is for a network of its own"
    )]
    Plain,
    /// The certificates.
    #[error("no certificates of authorities in {0}")]
    Certificates(String),
}

/// Where it is and how one gets in.
#[derive(Clone)]
pub(crate) struct Database {
    config: tokio_postgres::Config,
    ca: Option<PathBuf>,
}

impl Database {
    /// As the environment says; `None` when it says nothing.
    pub(crate) fn of_environment() -> Result<Option<Database>, DatabaseError> {
        let ca = std::env::var_os(CA).map(PathBuf::from);
        if let Some(path) = std::env::var_os(URL_FILE).map(PathBuf::from) {
            let read = std::fs::read_to_string(&path).map(Zeroizing::new);
            let text = read.map_err(|source| DatabaseError::File { variable: URL_FILE, path, source })?;
            return Database::parse(text.trim(), URL_FILE, ca).map(Some);
        }
        match std::env::var(URL).map(Zeroizing::new) {
            Ok(text) => Database::parse(&text, URL, ca).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(DatabaseError::Url(URL)),
        }
    }

    fn parse(text: &str, from: &'static str, ca: Option<PathBuf>) -> Result<Database, DatabaseError> {
        let mut config: tokio_postgres::Config = text.parse().map_err(|_| DatabaseError::Url(from))?;
        if config.get_hosts().is_empty() || config.get_dbname().is_none() {
            return Err(DatabaseError::Url(from));
        }
        if config.get_ssl_mode() == SslMode::Prefer {
            if !config.get_hosts().iter().all(is_here) {
                return Err(DatabaseError::Plain);
            }
            config.ssl_mode(SslMode::Disable);
        }
        config.application_name("saveos-server").connect_timeout(Duration::from_secs(5));
        config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(20));
        Ok(Database { config, ca })
    }

    pub(super) fn config(&self) -> tokio_postgres::Config {
        self.config.clone()
    }

    /// How to speak TLS with it; `None` where that was said to be unnecessary.
    pub(super) fn tls(&self) -> Result<Option<MakeRustlsConnect>, StoreError> {
        if self.config.get_ssl_mode() == SslMode::Disable {
            return Ok(None);
        }
        let mut roots = rustls::RootCertStore::empty();
        let (found, of) = match &self.ca {
            Some(path) => (of_file(path)?, path.display().to_string()),
            None => (rustls_native_certs::load_native_certs().certs, "this system".to_owned()),
        };
        let (added, _) = roots.add_parsable_certificates(found);
        if added == 0 {
            return Err(DatabaseError::Certificates(of).into());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(|_| DatabaseError::Certificates(of))?.with_root_certificates(roots);
        Ok(Some(MakeRustlsConnect::new(tls.with_no_client_auth())))
    }
}

/// On this machine, where nobody is on the line.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

fn of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, DatabaseError> {
    let read = std::fs::read(path);
    let pem = read.map_err(|source| DatabaseError::File { variable: CA, path: path.to_owned(), source })?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    found.map_err(|_| DatabaseError::Certificates(path.display().to_string()))
}

/// A new database on the server for tests, where there is one.
#[cfg(test)]
pub(super) async fn for_test() -> Option<Database> {
    let server = std::env::var("SAVEOS_TEST_POSTGRES").ok()?;
    let name = format!("t{}", crate::password::hex(&crate::clock::random::<10>()));
    let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.expect("a server");
    tokio::spawn(connection);
    // Of a user for whom rows are fenced, as the server's own, a superuser, is not.
    let role = "DO $$ BEGIN CREATE ROLE saveos_app LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";
    client.batch_execute(role).await.expect("a role");
    let sql = format!("CREATE DATABASE {name} OWNER saveos_app TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
    client.batch_execute(&sql).await.expect("a database");
    let sql = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    client.batch_execute(&sql).await.expect("a database");
    let mut config: tokio_postgres::Config = server.parse().expect("a URL");
    config.user("saveos_app").dbname(&name).ssl_mode(SslMode::Disable);
    Some(Database { config, ca: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Database::parse(text, URL, None).err().expect("it is refused").to_string()
    }

    #[test]
    fn a_password_crosses_no_line_in_the_clear_unless_somebody_says_so() {
        let tls = |text: &str| Database::parse(text, URL, None).expect("a database").config.get_ssl_mode();
        assert_eq!(tls("postgresql://a:b@localhost/saveos"), SslMode::Disable);
        assert_eq!(tls("postgresql://a@%2Frun%2Fpostgresql/saveos"), SslMode::Disable);
        assert_eq!(tls("postgresql://a:b@db.example/saveos?sslmode=require"), SslMode::Require);
        assert_eq!(tls("postgresql://a:b@db/saveos?sslmode=disable"), SslMode::Disable);
        assert!(refusal("postgresql://a:b@db.example/saveos").contains("sslmode=require"));
    }

    #[test]
    fn a_refusal_tells_nothing_of_a_secret() {
        for text in ["mysql://root:geheim@db/saveos", "geheim", "postgresql://a:geheim@/", ""] {
            let refusal = refusal(text);
            assert!(refusal.contains(URL) && !refusal.contains("geheim"), "{refusal}");
        }
    }
}
