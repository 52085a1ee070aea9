//! HAProxy with the config that compose mounts, in front of replicas on this machine.

use super::ports::free_row;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The process, which ends with the test.
pub(crate) struct Balancer {
    process: Child,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl Balancer {
    /// In front of these: the port of each and the one at which it says whether it is ready. `None` where HAProxy is not installed.
    pub(crate) fn start(replicas: &[(u16, u16)]) -> Option<Balancer> {
        let Some(program) =
            ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].into_iter().find(|path| Path::new(path).exists())
        else {
            println!("SKIPPED: no haproxy");
            return None;
        };
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose/haproxy.cfg");
        let ours = std::fs::read_to_string(ours).expect("it is in the tree");
        let port = free_row(2);
        let mqtt = port + 1;
        // Names of containers and their ports are what is different here.
        let servers: Vec<String> = (1..)
            .zip(replicas)
            .map(|(number, (at, metrics))| format!("    server api{number} 127.0.0.1:{at} port {metrics}"))
            .collect();
        let replace = [
            // Each is two files, of which a container may have more open.
            ("maxconn 30000", "maxconn 5000".to_owned()),
            ("bind :8443", format!("bind 127.0.0.1:{port}")),
            ("bind :8883", format!("bind 127.0.0.1:{mqtt}")),
            ("    server-template api 16 api:8443 resolvers engine init-addr none port 9187", servers.join("\n")),
            ("server broker broker:8883 resolvers engine init-addr none", "server broker 127.0.0.1:1".to_owned()),
        ];
        let text = replace.into_iter().fold(ours, |text, (from, to)| {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            text.replace(from, &to)
        });
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("haproxy.cfg");
        std::fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("room");
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let balancer = Balancer { process: command.spawn().expect("it starts"), port, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "it does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
