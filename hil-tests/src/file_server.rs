//! A file or a folder by HTTP on an address of this machine, with ranges, as a release server has them; it counts what it sent, and
//! can hang up in the middle of every answer.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a server did.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Bytes of bodies.
    pub(crate) bytes: AtomicU64,
    /// Answers that ended too early.
    pub(crate) cut: AtomicU64,
    /// No answer is longer; 0: all are whole.
    pub(crate) longest: AtomicU64,
}

/// Serves on that address until this process ends; gives the port.
pub(crate) fn serve(place: PathBuf, on: IpAddr) -> anyhow::Result<(u16, Arc<Served>)> {
    let listener = TcpListener::bind((on, 0))?;
    let port = listener.local_addr()?.port();
    let served = Arc::new(Served::default());
    let counts = Arc::clone(&served);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Who hangs up in the middle has what it wanted.
            let _ = answer(stream, &place, &counts);
        }
    });
    Ok((port, served))
}

fn answer(mut stream: TcpStream, place: &Path, served: &Served) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut range = None;
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        if let Some((from, to)) =
            line.to_lowercase().strip_prefix("range: bytes=").and_then(|range| range.split_once('-'))
        {
            range = from.parse::<u64>().ok().zip(to.parse::<u64>().ok());
        }
    }
    let asked = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let path = if place.is_dir() { place.join(asked) } else { place.to_owned() };
    let Ok(mut file) = std::fs::File::open(path) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    };
    let total = file.metadata()?.len();
    let length = match range.filter(|(from, to)| from <= to && *from < total) {
        Some((from, to)) => {
            let (to, length) = (to.min(total - 1), to.min(total - 1) - from + 1);
            file.seek(SeekFrom::Start(from))?;
            write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\nconnection: close\r\ncontent-range: bytes {from}-{to}/{total}\r\n"
            )?;
            length
        }
        None => {
            write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n")?;
            total
        }
    };
    write!(stream, "content-length: {length}\r\n\r\n")?;
    let most = match served.longest.load(Ordering::Relaxed) {
        0 => length,
        longest => longest.min(length),
    };
    if most < length {
        served.cut.fetch_add(1, Ordering::Relaxed);
    }
    let sent = std::io::copy(&mut file.take(most), &mut stream)?;
    served.bytes.fetch_add(sent, Ordering::Relaxed);
    stream.flush()
}
