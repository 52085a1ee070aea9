//! One file by HTTP on the loopback of this machine, whatever is asked for.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// Serves until this process ends; gives the port.
pub(crate) fn serve(file: PathBuf) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Who hangs up in the middle has what it wanted.
            let _ = answer(stream, &file);
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream, file: &Path) -> std::io::Result<()> {
    let mut head = BufReader::new(stream.try_clone()?).lines();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut file = std::fs::File::open(file)?;
    let length = file.metadata()?.len();
    write!(stream, "HTTP/1.0 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
    std::io::copy(&mut file, &mut stream)?;
    stream.flush()
}
