//! The same repository in a bucket, by the protocol of S3: Moto (https://docs.getmoto.org) answers, a service of its own process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod support;
use support::workshop;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/s3-venv/bin/moto_server");

/// The service, which ends with the test.
struct Bucket {
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
    fn start() -> Bucket {
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
        bucket
    }

    /// Status line, headers, body.
    fn ask(&self, method: &str, path: &str) -> (String, String, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it answers");
        // The service asks that there is a signature, and does not look at it.
        let headers = "Host: 127.0.0.1\r\nAuthorization: AWS test:none\r\nContent-Length: 0\r\n";
        write!(stream, "{method} {path} HTTP/1.0\r\n{headers}\r\n").expect("it listens");
        let mut lines = BufReader::new(stream);
        let (mut status, mut headers, mut body) = (String::new(), String::new(), Vec::new());
        lines.read_line(&mut status).expect("a status");
        while lines.read_line(&mut headers).expect("headers") > 2 {}
        lines.read_to_end(&mut body).expect("a body");
        (status, headers.to_ascii_lowercase(), body)
    }
}

#[test]
fn a_release_lies_in_a_bucket_as_in_a_folder() {
    if !std::path::Path::new(PROGRAM).exists() {
        println!("SKIPPED: no moto, which `cargo xtask test release` installs");
        return;
    }
    let Some(mut workshop) = workshop() else { return };
    let bucket = Bucket::start();
    workshop.variables = vec![
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", bucket.port)),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ];
    let place = "s3://releases/stable";
    workshop.root();
    workshop.refuses(&format!("status --at {place} --root 1.json"), "nothing is published at s3://releases/stable");
    workshop.release("1.0.0", None, "");
    workshop.does(&workshop.online("publish", place, "1.json", "--file 1.0.0.raucb targets-1.0.0.json"));
    workshop.release("2.0.0", Some(place), "");
    workshop.does(&workshop.online("publish", place, "1.json", "--file 2.0.0.raucb targets-2.0.0.json"));
    let status = workshop.does(&format!("status --at {place} --root 1.json"));
    assert!(status.contains("saveos-qemu-1.0.0.raucb") && status.contains("saveos-qemu-2.0.0.raucb"), "{status}");

    // As a box asks for it, and as a cache on the way may keep it.
    let (status, headers, body) = bucket.ask("GET", "/releases/stable/metadata/timestamp.json");
    assert!(status.contains(" 200 ") && headers.contains("cache-control: no-cache"), "{status}{headers}");
    assert!(String::from_utf8_lossy(&body).contains(r#""version": 2"#));
    let bundle = std::fs::read(workshop.path("2.0.0.raucb")).expect("made");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bundle);
    let name = format!("/releases/stable/targets/{}.saveos-qemu-2.0.0.raucb", saveos_release::hex(digest.as_ref()));
    let (status, headers, body) = bucket.ask("GET", &name);
    assert!(status.contains(" 200 ") && headers.contains("immutable"), "{status}{headers}");
    assert!(body == bundle, "{} bytes of {}", body.len(), bundle.len());

    workshop.variables[0].1 = "http://127.0.0.1:1".to_owned();
    workshop.refuses("status --at s3://releases/stable --root 1.json", "could not use s3://releases/stable");
}
