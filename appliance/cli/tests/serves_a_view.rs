//! `saveos view` is a disk that other people's NBD clients can read, and nobody can write or bring down.

#[path = "support/support.rs"]
mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{Image, Repo, can, noise, read, skip, text, tool, tool_result, write_at};

const MIB: u64 = 1 << 20;
const LEN: u64 = 20 * MIB + 512;

/// A snapshot being served; ended by Ctrl-C.
struct View {
    repo: Repo,
    disk: Image,
    server: Option<Child>,
}

impl View {
    fn new() -> View {
        let disk = Image::blank(LEN);
        write_at(&disk.path(), 0, &noise(1, 3_000_001));
        write_at(&disk.path(), 12 * MIB + 7, &noise(2, 2_000_003));
        write_at(&disk.path(), LEN - 100, &noise(3, 100));
        let repo = Repo::new();
        repo.backup(&disk.path(), "disk");
        let mut view = View { repo, disk, server: None };
        view.serve();
        view
    }

    fn serve(&mut self) {
        let socket = self.socket();
        let mut command = self.repo.command(&["view", "latest", "--socket", text(&socket)]);
        self.server = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts"));
        let begun = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "no socket appears");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn socket(&self) -> PathBuf {
        self.repo.beside("view.sock")
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", text(&self.socket()))
    }

    fn connect(&self) -> Client {
        Client::new(UnixStream::connect(self.socket()).expect("a connection"))
    }

    /// Ends it as a person would; the exit code.
    fn end(&mut self) -> Option<i32> {
        let mut server = self.server.take().expect("it was started");
        let process = rustix::process::Pid::from_raw(server.id() as i32).expect("a process");
        rustix::process::kill_process(process, rustix::process::Signal::INT).expect("a signal");
        server.wait().expect("it ends").code()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill(); // it may have ended
            let _ = server.wait();
        }
    }
}

/// The protocol by hand, to say what well-behaved clients do not.
struct Client(UnixStream);

impl Client {
    fn new(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut client = Client(stream);
        assert_eq!(&client.take::<18>()[..16], b"NBDMAGICIHAVEOPT");
        client.send(&[&3u32.to_be_bytes()]);
        client
    }

    /// Enters transmission; the size and flags of the export.
    fn begin(&mut self) -> (u64, u16) {
        self.send(&[b"IHAVEOPT", &1u32.to_be_bytes(), &0u32.to_be_bytes()]);
        let reply = self.take::<10>();
        (u64::from_be_bytes(*reply.first_chunk().expect("8 bytes")), u16::from_be_bytes([reply[8], reply[9]]))
    }

    /// Sends a request and its payload; the error of the reply.
    fn request(&mut self, kind: u16, offset: u64, len: u32, payload: &[u8]) -> u32 {
        let (magic, cookie) = (0x2560_9513u32.to_be_bytes(), 42u64.to_be_bytes());
        let head = [&magic[..], &[0, 0], &kind.to_be_bytes(), &cookie, &offset.to_be_bytes(), &len.to_be_bytes()];
        self.send(&[&head.concat(), payload]);
        let reply = self.take::<16>();
        assert_eq!((&reply[..4], &reply[8..]), (&0x6744_6698u32.to_be_bytes()[..], &cookie[..]));
        u32::from_be_bytes(*reply[4..].first_chunk().expect("4 bytes"))
    }

    fn send(&mut self, parts: &[&[u8]]) {
        self.0.write_all(&parts.concat()).expect("the server listens");
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("the server answers");
        bytes
    }
}

#[test]
fn other_clients_read_the_whole_disk() {
    if let Err(missing) = can(&["nbdinfo", "nbdcopy", "qemu-img"]) {
        skip!("{missing}");
    }
    let mut view = View::new();
    let uri = view.uri();
    let info: serde_json::Value = serde_json::from_str(&tool(&["nbdinfo", "--json", &uri])).expect("JSON");
    assert_eq!(info["exports"][0]["export-size"], LEN, "{info}");
    assert_eq!(info["exports"][0]["is_read_only"], true, "{info}");
    let copy = view.repo.beside("copy");
    tool(&["nbdcopy", &uri, text(&copy)]);
    assert!(read(&copy) == view.disk.bytes(), "nbdcopy read something else");
    tool(&["qemu-img", "compare", "-f", "raw", "-F", "raw", &uri, &view.disk.text()]);
    let converted = view.repo.beside("converted.qcow2");
    tool(&["qemu-img", "convert", "-f", "raw", "-O", "qcow2", &uri, text(&converted)]);
    tool(&["qemu-img", "compare", "-f", "qcow2", "-F", "raw", text(&converted), &view.disk.text()]);
    let socket = view.socket();
    assert_eq!(view.end(), Some(0));
    assert!(!socket.exists(), "the socket stays behind");
}

#[test]
fn nothing_can_be_written() {
    let view = View::new();
    let mut client = view.connect();
    let (size, flags) = client.begin();
    assert_eq!((size, flags & 3), (LEN, 3), "read-only is said");
    const EPERM: u32 = 1;
    assert_eq!(client.request(1, 0, 512, &[0xff; 512]), EPERM);
    assert_eq!(client.request(4, 0, 4096, b""), EPERM, "trim");
    assert_eq!(client.request(6, 0, 4096, b""), EPERM, "write zeroes");
    // The connection goes on, and the bytes are as they were.
    assert_eq!(client.request(0, 0, 512, b""), 0);
    assert_eq!(&client.take::<512>()[..], &view.disk.bytes()[..512]);
    if can(&["nbdcopy"]).is_ok() {
        assert_ne!(tool_result(&["nbdcopy", &view.disk.text(), &view.uri()]).code, 0);
    }
    assert!(view.repo.run(&["restore", "latest", "-"]).exits(0).out == view.disk.bytes());
}

#[test]
fn reads_outside_of_the_disk_are_errors() {
    let view = View::new();
    let mut client = view.connect();
    client.begin();
    for (offset, len) in [(LEN, 1), (LEN - 1, 2), (u64::MAX, 1), (u64::MAX - 1, 512), (0, u32::MAX), (1 << 63, 1 << 20)]
    {
        assert_ne!(client.request(0, offset, len, b""), 0, "{offset} {len}");
    }
    assert_eq!(client.request(0, LEN - 100, 100, b""), 0);
    assert_eq!(client.take::<100>()[..], view.disk.bytes()[LEN as usize - 100..]);
}

#[test]
fn two_clients_read_at_a_time() {
    let view = View::new();
    let bytes = view.disk.bytes();
    // The second begins before the first has ended, and neither waits for the other.
    let (mut first, mut second) = (view.connect(), view.connect());
    first.begin();
    second.begin();
    for at in (0..LEN - 4096).step_by(1_000_003) {
        for client in [&mut first, &mut second] {
            assert_eq!(client.request(0, at, 4096, b""), 0);
            assert_eq!(client.take::<4096>()[..], bytes[at as usize..][..4096]);
        }
    }
    std::thread::scope(|scope| {
        for salt in 0..4u64 {
            let (view, bytes) = (&view, &bytes);
            scope.spawn(move || {
                let mut client = view.connect();
                client.begin();
                for n in 0..50 {
                    let at = (n * 7_654_321 + salt * 1_234_567) % (LEN - 65536);
                    assert_eq!(client.request(0, at, 65536, b""), 0);
                    assert_eq!(client.take::<65536>()[..], bytes[at as usize..][..65536]);
                }
            });
        }
    });
}

#[test]
fn garbage_does_not_bring_it_down() {
    let mut view = View::new();
    let patient: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(view.socket()).expect("a connection")).collect();
    for seed in 0..60u64 {
        let mut stream = UnixStream::connect(view.socket()).expect("a connection");
        stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let mut bytes = noise(seed, 1 + (seed as usize * 997) % 9000);
        match seed % 4 {
            0 => {}
            // A good beginning, then garbage: as options, and as requests.
            1 => bytes.splice(0..0, [&3u32.to_be_bytes()[..], b"IHAVEOPT"].concat()).for_each(drop),
            2 => {
                let long = [&3u32.to_be_bytes()[..], b"IHAVEOPT", &7u32.to_be_bytes(), &u32::MAX.to_be_bytes()];
                bytes.splice(0..0, long.concat()).for_each(drop);
            }
            _ => {
                let begun = [&3u32.to_be_bytes()[..], b"IHAVEOPT", &1u32.to_be_bytes(), &0u32.to_be_bytes()];
                bytes.splice(0..0, begun.concat()).for_each(drop);
            }
        }
        let _ = stream.write_all(&bytes); // the server may have had enough
    }
    drop(patient);
    let begun = Instant::now();
    // Connections of the impolite may still be ending: then one more is cut off at once.
    let answered = || {
        let stream = UnixStream::connect(view.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut hello = [0; 18];
        (&stream).read_exact(&mut hello).ok()
    };
    while answered().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the server answers nobody");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut client = view.connect();
    client.begin();
    assert_eq!(client.request(0, 0, 512, b""), 0);
    assert_eq!(client.take::<512>()[..], view.disk.bytes()[..512]);
    assert_eq!(view.end(), Some(0));
}

/// A server that was killed leaves its socket; the next one takes its place. A live server is left alone, and so is a file.
#[test]
fn a_stale_socket_is_replaced_and_nothing_else() {
    let mut view = View::new();
    let socket = view.socket();
    let busy = view.repo.run(&["view", "latest", "--socket", text(&socket)]);
    assert_eq!(busy.code, 1, "two servers on one socket: {}", busy.err);
    assert_eq!(view.connect().begin().0, LEN, "the first was harmed");
    let mut server = view.server.take().expect("it was started");
    server.kill().expect("a signal");
    server.wait().expect("it ends");
    assert!(socket.exists());
    view.serve();
    assert_eq!(view.connect().begin().0, LEN);
    let file = view.repo.beside("a file");
    support::write(&file, b"precious");
    assert_eq!(view.repo.run(&["view", "latest", "--socket", text(&file)]).code, 1);
    assert_eq!(read(&file), b"precious");
}
