//! A service that speaks S3, of its own process: Moto (https://docs.getmoto.org), which asks for a signature and believes any.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// In both crates that use this, the tree begins two folders up.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/s3-venv/bin/moto_server");

/// The service, which ends with the test.
pub(crate) struct Bucket {
    service: Child,
    port: u16,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

impl Bucket {
    /// With a bucket `releases`; `None` where the service is not installed.
    pub(crate) fn start() -> Option<Bucket> {
        if !std::path::Path::new(PROGRAM).exists() {
            println!("SKIPPED: no moto, which `cargo xtask test release` installs");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let mut command = Command::new(PROGRAM);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let bucket = Bucket { service: command.spawn().expect("it starts"), port };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "it does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        let (status, ..) = bucket.ask("PUT", "/releases");
        assert!(status.contains(" 200 "), "{status}");
        Some(bucket)
    }

    /// What a program finds it by.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    /// Status line, headers, body.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (String, String, Vec<u8>) {
        self.send(method, path, b"")
    }

    /// The same, with a body.
    pub(crate) fn send(&self, method: &str, path: &str, body: &[u8]) -> (String, String, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it answers");
        // The service asks that there is a signature, and does not look at it.
        let headers = format!("Host: 127.0.0.1\r\nAuthorization: AWS test:none\r\nContent-Length: {}\r\n", body.len());
        write!(stream, "{method} {path} HTTP/1.0\r\n{headers}\r\n").expect("it listens");
        stream.write_all(body).expect("it listens");
        let mut lines = BufReader::new(stream);
        let (mut status, mut headers, mut body) = (String::new(), String::new(), Vec::new());
        lines.read_line(&mut status).expect("a status");
        while lines.read_line(&mut headers).expect("headers") > 2 {}
        lines.read_to_end(&mut body).expect("a body");
        (status, headers.to_ascii_lowercase(), body)
    }
}
