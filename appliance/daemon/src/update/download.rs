//! A bundle, range by range into a file: what was flushed is never fetched again, what a cut left behind it is dropped, and no server
//! can make a box fetch much more than the bundle is long.

use super::advance::Outcome;
use super::journal::Bundle;
use aws_lc_rs::digest::{Context, SHA256};
use saveos_protocol::shadow::UpdateFailure;
use saveos_protocol::text::Text;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// Between two flushes: what a cut of power can cost.
const PIECE: u64 = 256 << 10;
/// Asked for at once.
const RANGE: u64 = 4 << 20;
/// For one range, on a slow link: 35 KiB a second.
const PATIENCE: Duration = Duration::from_secs(120);
/// A server that has no room may ask for so long a wait, no less and no more.
const WAITS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// Where it comes from and goes to.
pub(crate) struct Download<'a> {
    pub(crate) agent: &'a ureq::Agent,
    pub(crate) url: &'a str,
    pub(crate) bundle: &'a Bundle,
    pub(crate) file: &'a Path,
    /// So much of the file was flushed.
    pub(crate) durable: u64,
    /// So much the network brought, this time and before.
    pub(crate) spent: u64,
}

enum Trouble {
    Network(String),
    Disk(std::io::Error),
    Damaged(&'static str),
    Budget,
    Stopped,
    /// The server has no room for this box yet.
    Busy(Duration),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Disk(error)
    }
}

impl Download<'_> {
    /// Fetches what is missing and checks the whole. `flushed(durable, spent)` is told after each flush and is where the journal is
    /// written; the download ends soon after it says no.
    pub(crate) fn run(mut self, flushed: &mut dyn FnMut(u64, u64) -> bool) -> Outcome {
        let failed = |reason, text: &str| Outcome::Failed(reason, Text::cut(text));
        match self.fetch(flushed) {
            Ok(()) => Outcome::Done,
            Err(Trouble::Network(text)) => failed(UpdateFailure::Download, &text),
            Err(Trouble::Disk(error)) => {
                failed(UpdateFailure::Download, &format!("the bundle could not be kept: {error}"))
            }
            Err(Trouble::Busy(wait)) => Outcome::Held(wait, Text::cut("the line of the server is full")),
            Err(Trouble::Stopped) => failed(UpdateFailure::Download, "it was stopped"),
            Err(Trouble::Damaged(text)) => {
                flushed(0, self.spent);
                failed(UpdateFailure::Damaged, text)
            }
            Err(Trouble::Budget) => {
                let text = format!("the network brought {} bytes of a bundle of {}", self.spent, self.bundle.length);
                Outcome::Hopeless(UpdateFailure::Download, Text::cut(&text))
            }
        }
    }

    fn fetch(&mut self, flushed: &mut dyn FnMut(u64, u64) -> bool) -> Result<(), Trouble> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(self.file)?;
        // What lies behind the last flush may be anything.
        self.durable = self.durable.min(file.metadata()?.len());
        file.set_len(self.durable)?;
        file.seek(SeekFrom::Start(self.durable))?;
        while self.durable < self.bundle.length {
            let before = self.durable;
            self.fetch_range(&mut file, flushed)?;
            if self.durable == before {
                return Err(Trouble::Network("the server sends nothing".to_owned()));
            }
        }
        if checksum(&mut file)? == self.bundle.sha256.0 {
            return Ok(());
        }
        file.set_len(0)?;
        self.durable = 0;
        Err(Trouble::Damaged("the bundle is not what its metadata says"))
    }

    /// One request. A connection that breaks ends it, and what came is kept.
    fn fetch_range(&mut self, file: &mut File, flushed: &mut dyn FnMut(u64, u64) -> bool) -> Result<(), Trouble> {
        let network = |error: &dyn std::fmt::Display| Trouble::Network(error.to_string());
        let end = self.bundle.length.min(self.durable + RANGE);
        let request = self.agent.get(self.url).header("range", format!("bytes={}-{}", self.durable, end - 1));
        let request = request.config().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
        let response = request.call().map_err(|error| network(&error))?;
        let end = match response.status().as_u16() {
            206 => {
                let range =
                    response.headers().get("content-range").and_then(|range| range.to_str().ok()).unwrap_or_default();
                if range != format!("bytes {}-{}/{}", self.durable, end - 1, self.bundle.length) {
                    return Err(Trouble::Network(format!("the server answers with another range: {range}")));
                }
                end
            }
            // It knows no ranges: all of it, from the start.
            200 => {
                self.durable = 0;
                file.set_len(0)?;
                file.rewind()?;
                self.bundle.length
            }
            status => {
                let wait = wait_of(response.headers()).filter(|_| [429, 503].contains(&status));
                let text = format!("the server answers with status {status}");
                return Err(wait.map_or(Trouble::Network(text), Trouble::Busy));
            }
        };
        let mut body = response.into_body().into_reader().take(end - self.durable);
        loop {
            let (came, broken) = self.take_piece(&mut body, file)?;
            if came > 0 && !flushed(self.durable, self.spent) {
                return Err(Trouble::Stopped);
            }
            if self.spent > self.bundle.length + self.bundle.length / 4 + PIECE {
                return Err(Trouble::Budget);
            }
            if came == 0 || broken || self.durable == end {
                return Ok(());
            }
        }
    }

    /// Up to the next flush; how much came, and whether the connection broke.
    fn take_piece(&mut self, body: &mut impl Read, file: &mut File) -> Result<(u64, bool), Trouble> {
        let mut piece = Vec::new();
        let broken = body.take(PIECE).read_to_end(&mut piece).is_err();
        let came = piece.len() as u64;
        file.write_all(&piece)?;
        file.sync_data()?;
        self.durable += came;
        self.spent += came;
        Ok((came, broken))
    }
}

/// The seconds that a server asks for; a date (RFC 9110, 10.2.3) is no wait for a box whose clock may be wrong.
fn wait_of(headers: &ureq::http::HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(WAITS.0, WAITS.1))
}

fn checksum(file: &mut File) -> std::io::Result<[u8; 32]> {
    file.rewind()?;
    let mut hash = Context::new(&SHA256);
    let mut block = vec![0; 64 << 10];
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => hash.update(&block[..count]),
        }
    }
    let mut sum = [0; 32];
    sum.copy_from_slice(hash.finish().as_ref());
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use saveos_protocol::hex::Digest;
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};

    /// How a server answers each request.
    #[derive(Clone, Copy)]
    enum Server {
        /// As asked, and hangs up after so many bytes.
        Ranges(u64),
        /// Without ranges.
        Whole,
        /// A page of a proxy.
        Page,
        /// Other bytes.
        Wrong,
        /// Another range than was asked for.
        Elsewhere,
        /// Nothing.
        Silent,
        Missing,
        /// It has no room, and says for how long.
        Busy(&'static str),
    }

    fn content() -> Vec<u8> {
        (0..3_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    fn serve(how: Server) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/bundle", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = answer(stream, how);
            }
        });
        url
    }

    fn answer(mut stream: TcpStream, how: Server) -> std::io::Result<()> {
        let content = content();
        let mut asked = (0, content.len() as u64 - 1);
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?;
            if let Some((from, to)) = line.strip_prefix("range: bytes=").and_then(|range| range.split_once('-')) {
                asked = (from.parse().expect("a number"), to.parse().expect("a number"));
            }
            if line.is_empty() {
                break;
            }
        }
        let (from, to) = asked;
        let part = |from: u64, to: u64| &content[usize::try_from(from).unwrap()..=usize::try_from(to).unwrap()];
        let head = |stream: &mut TcpStream, from: u64, to: u64| {
            let (length, total) = (to - from + 1, content.len());
            write!(
                stream,
                "HTTP/1.1 206 Partial\r\nconnection: close\r\ncontent-length: {length}\r\ncontent-range: bytes {from}-{to}/{total}\r\n\r\n"
            )
        };
        match how {
            Server::Ranges(most) => {
                head(&mut stream, from, to)?;
                stream.write_all(part(from, to.min(from + most - 1)))
            }
            Server::Wrong => {
                head(&mut stream, from, to)?;
                stream.write_all(&vec![7; part(from, to).len()])
            }
            Server::Elsewhere => {
                head(&mut stream, from + 1, to)?;
                stream.write_all(part(from + 1, to))
            }
            Server::Whole => {
                write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", content.len())?;
                stream.write_all(&content)
            }
            Server::Page => write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nlogin"),
            Server::Silent => head(&mut stream, from, to),
            Server::Busy(wait) => write!(
                stream,
                "HTTP/1.1 503 No\r\nconnection: close\r\nretry-after: {wait}\r\ncontent-length: 0\r\n\r\n"
            ),
            Server::Missing => write!(stream, "HTTP/1.1 404 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
        }
    }

    struct Given {
        folder: tempfile::TempDir,
        bundle: Bundle,
        durable: u64,
        spent: u64,
    }

    fn given() -> Given {
        let content = content();
        let mut sum = [0; 32];
        sum.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, &content).as_ref());
        let bundle = Bundle { path: "x".to_owned(), length: content.len() as u64, sha256: Digest(sum), epoch: 0 };
        Given { folder: tempfile::tempdir().expect("a folder"), bundle, durable: 0, spent: 0 }
    }

    impl Given {
        fn run(&mut self, url: &str) -> Outcome {
            let file = self.folder.path().join("bundle");
            let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
            let (durable, spent) = (&mut self.durable, &mut self.spent);
            let download =
                Download { agent: &agent, url, bundle: &self.bundle, file: &file, durable: *durable, spent: *spent };
            download.run(&mut |so_far, brought| {
                (*durable, *spent) = (so_far, brought);
                true
            })
        }

        fn content(&self) -> Vec<u8> {
            std::fs::read(self.folder.path().join("bundle")).expect("it is there")
        }
    }

    fn reason(done: &Outcome) -> Option<UpdateFailure> {
        match done {
            Outcome::Failed(reason, _) | Outcome::Hopeless(reason, _) => Some(*reason),
            _ => None,
        }
    }

    #[test]
    fn a_download_that_is_cut_twenty_times_fetches_nothing_twice() {
        let mut given = given();
        let url = serve(Server::Ranges(150_000));
        assert_eq!(given.run(&url), Outcome::Done, "twenty connections that broke are one download");
        assert_eq!(given.content(), content());
        assert_eq!(given.spent, given.bundle.length);
    }

    #[test]
    fn what_was_not_flushed_is_fetched_again_and_what_was_flushed_is_not() {
        let mut given = given();
        let mut cut = content();
        cut.truncate(1_000_000);
        cut[600_000..].fill(0);
        crate::files::tests::put(&given.folder.path().join("bundle"), &cut);
        (given.durable, given.spent) = (600_000, 600_000);
        assert_eq!(given.run(&serve(Server::Ranges(u64::MAX >> 8))), Outcome::Done);
        assert_eq!((given.content() == content(), given.spent), (true, given.bundle.length));
    }

    #[test]
    fn a_server_without_ranges_is_asked_for_all_of_it() {
        let mut given = given();
        (given.durable, given.spent) = (100_000, 100_000);
        crate::files::tests::put(&given.folder.path().join("bundle"), &content()[..100_000]);
        assert_eq!(given.run(&serve(Server::Whole)), Outcome::Done);
        assert_eq!((given.content() == content(), given.spent), (true, given.bundle.length + 100_000));
    }

    #[test]
    fn other_bytes_are_dropped_and_a_second_time_is_one_too_many() {
        let mut given = given();
        let url = serve(Server::Wrong);
        assert_eq!(reason(&given.run(&url)), Some(UpdateFailure::Damaged));
        assert_eq!((given.durable, given.content().len()), (0, 0));
        assert!(matches!(given.run(&url), Outcome::Hopeless(UpdateFailure::Download, _)));
        assert!(given.spent < given.bundle.length * 2);
    }

    #[test]
    fn a_server_without_room_is_asked_again_when_it_says_and_nobody_is_to_blame() {
        for (said, seconds) in [("90", 90), ("0", 10), ("99999999", 3600)] {
            let mut given = given();
            let wait = Duration::from_secs(seconds);
            assert!(matches!(given.run(&serve(Server::Busy(said))), Outcome::Held(held, _) if held == wait), "{said}");
            assert_eq!(given.spent, 0);
        }
        let done = given().run(&serve(Server::Busy("Fri, 31 Dec 1999 23:59:59 GMT")));
        assert_eq!(reason(&done), Some(UpdateFailure::Download));
    }

    #[test]
    fn a_server_that_answers_something_else_costs_little_and_is_asked_again_later() {
        for how in [Server::Elsewhere, Server::Silent, Server::Missing, Server::Page] {
            let mut given = given();
            let done = given.run(&serve(how));
            assert_eq!(reason(&done), Some(UpdateFailure::Download), "{done:?}");
            assert!(given.spent < 100);
        }
    }
}
