//! The broker's files: config, access list, certificates, revocations. Written whole, tried out, then put in place.
//!
//! A reload of Mosquitto with a broken access list or revocation list *opens* it (every device may do everything), while a
//! start with one fails. So candidates are given to a throw-away broker first, and only what it starts with is renamed.

use super::{BrokerError, program};
use crate::authority::{Authority, AuthorityError};
use crate::cell::table::At;
use crate::config::Config;
use crate::files::{self, FileError};
use saveos_protocol::id::DeviceId;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::acl;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

pub(super) const CONFIG: &str = "mosquitto.conf";

/// Who may no longer talk to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Revoked {
    /// Boxes whose messages are refused also on a session that still stands.
    pub(crate) devices: Vec<DeviceId>,
    /// Serials, and since when.
    pub(crate) certificates: Vec<(String, Timestamp)>,
}

/// Why files could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The broker does not start with them.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    address: SocketAddr,
    /// Names in its certificate: boxes find it under the first, workers on other hosts under the second.
    host: String,
    called: Option<String>,
    bind: IpAddr,
    queue: NonZeroU32,
}

impl Files {
    /// Below `folder`, of the broker that boxes find `at` there; workers on other hosts know this one as `called`.
    pub(crate) fn new(folder: &Path, config: &Config, at: At, called: Option<String>) -> Files {
        let reach = if config.bind.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { config.bind };
        let address = SocketAddr::new(reach, at.port);
        let (folder, host) = (folder.join("broker"), at.host);
        Files { folder, address, host, called, bind: config.bind, queue: config.broker_queue }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }

    /// Where we reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything, for a start.
    pub(crate) fn write(&self, authority: &Authority, revoked: &Revoked, now: Timestamp) -> Result<(), FilesError> {
        files::make_folder(&self.folder)?;
        files::make_folder(&self.folder.join("data"))?;
        let server = authority.server(&self.host, self.address.ip(), self.called.as_deref())?;
        self.put("authority.pem", authority.pem())?;
        self.put("server.key", &server.key)?;
        self.put("server.pem", &server.certificate)?;
        self.put("acl", &acl::file(revoked.devices.iter().copied()))?;
        self.put("revoked.pem", &authority.revocations(&revoked.certificates, now)?)?;
        Ok(self.put(CONFIG, &self.text("acl", "revoked.pem", SocketAddr::new(self.bind, self.address.port())))?)
    }

    /// New rules for a broker that runs: proven by another one before they take the place of the old.
    pub(crate) async fn replace_rules(
        &self,
        authority: &Authority,
        revoked: &Revoked,
        now: Timestamp,
    ) -> Result<(), FilesError> {
        self.put("acl.candidate", &acl::file(revoked.devices.iter().copied()))?;
        self.put("revoked.candidate", &authority.revocations(&revoked.certificates, now)?)?;
        self.try_out().await?;
        // The list of certificates first: one that is on it is refused whatever the other file says.
        for (candidate, name) in [("revoked.candidate", "revoked.pem"), ("acl.candidate", "acl")] {
            let text = files::read(&self.folder.join(candidate))?.unwrap_or_default();
            self.put(name, &text)?;
        }
        Ok(())
    }

    /// Whether a broker starts with the candidates, and still runs a moment later.
    async fn try_out(&self) -> Result<(), BrokerError> {
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let port = port.map_err(BrokerError::Run)?;
        let config = self.folder.join("candidate.conf");
        files::write(
            &config,
            &self.text("acl.candidate", "revoked.candidate", port).replace("persistence true", "persistence false"),
        )?;
        let mut command = tokio::process::Command::new(program()?);
        command.arg("-c").arg(&config).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(BrokerError::Run)?;
        for _ in 0..100 {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(BrokerError::Refused(format!("the new rules: {status}")));
            }
            if tokio::net::TcpStream::connect(port).await.is_ok() {
                child.kill().await.map_err(BrokerError::Run)?;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(BrokerError::Refused("the new rules: it opens no port".to_owned()))
    }

    fn put(&self, name: &str, text: &str) -> Result<(), FileError> {
        files::write(&self.folder.join(name), text)
    }

    /// The config. 2000 messages in flight are the window of the ingest, boxes lower their own to 20; 64 KiB is the largest
    /// packet of the contract.
    fn text(&self, acl: &str, revoked: &str, listen: SocketAddr) -> String {
        let folder = self.folder.display();
        // Mosquitto leaves root's rights for a user that cannot read our files; everybody else keeps his own.
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        format!(
            "persistence true\npersistence_location {folder}/data/\nautosave_interval 60\n\
             persistent_client_expiration 14d\nmax_inflight_messages 2000\nmax_queued_messages {queue}\n\
             max_queued_bytes 134217728\nmax_packet_size 65536\nmax_keepalive 300\nset_tcp_nodelay true\n\
             allow_anonymous false\nacl_file {folder}/{acl}\nlog_dest stderr\nlog_type error\nlog_type warning\n\
             {user}listener {port} {address}\ncafile {folder}/authority.pem\ncertfile {folder}/server.pem\n\
             keyfile {folder}/server.key\ncrlfile {folder}/{revoked}\ntls_version tlsv1.3\nrequire_certificate true\n\
             use_identity_as_username true\nuse_username_as_clientid true\nmax_connections 20000\n",
            queue = self.queue,
            port = listen.port(),
            address = listen.ip(),
        )
    }
}
