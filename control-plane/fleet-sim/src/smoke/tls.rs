//! Whether a server speaks TLS 1.2. Our own library does not, so the first words of such a client are said by hand: RFC 5246, 7.4.1.2.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// The first byte of a record: an alert, and a handshake.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Whether it goes on with a client that knows no newer version.
pub(super) fn takes_an_old_version(server: &str) -> Result<bool, String> {
    let place = server.strip_prefix("https://").ok_or("no https:// URL")?.trim_end_matches('/');
    let place =
        if place.rsplit(']').next().unwrap_or(place).contains(':') { place.to_owned() } else { format!("{place}:443") };
    let asked = || -> std::io::Result<u8> {
        let mut line = TcpStream::connect(&place)?;
        line.set_read_timeout(Some(PATIENCE))?;
        line.write_all(&hello())?;
        let mut first = [0];
        line.read_exact(&mut first)?;
        Ok(first[0])
    };
    match asked() {
        Ok(ALERT) => Ok(false),
        Ok(HANDSHAKE) => Ok(true),
        Ok(other) => Err(format!("{place} speaks no TLS: {other:#04x}")),
        // It hung up without a word.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(format!("{place}: {error}")),
    }
}

fn hello() -> Vec<u8> {
    // ECDHE with ECDSA and RSA, AES-128-GCM; P-256, X25519; ECDSA and RSA-PSS with SHA-256.
    let suites = [0xc0, 0x2b, 0xc0, 0x2f];
    let groups = [0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x17, 0x00, 0x1d];
    let signatures = [0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04];
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.push(0);
    body.extend([0, suites.len() as u8]);
    body.extend(suites);
    body.extend([1, 0]);
    body.extend([0, (groups.len() + signatures.len()) as u8]);
    body.extend(groups);
    body.extend(signatures);
    let mut hello = vec![HANDSHAKE, 3, 1, 0, (body.len() + 4) as u8, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    hello
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_in_the_hello_are_right() {
        let hello = hello();
        assert_eq!(usize::from(hello[4]), hello.len() - 5, "of the record");
        assert_eq!(usize::from(hello[8]), hello.len() - 9, "of the message");
    }

    #[test]
    fn an_answer_is_told_from_a_refusal() {
        for (answer, expected) in
            [(vec![21_u8, 3, 3], Some(false)), (vec![22, 3, 3], Some(true)), (vec![], Some(false)), (vec![b'H'], None)]
        {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let server = format!("https://{}", listener.local_addr().expect("a port"));
            let answering = std::thread::spawn(move || {
                let (mut line, _) = listener.accept().expect("a client");
                let mut asked = [0; 200];
                let _ = line.read(&mut asked).expect("a hello");
                line.write_all(&answer).expect("it listens");
            });
            assert_eq!(takes_an_old_version(&server).ok(), expected);
            answering.join().expect("no panic");
        }
    }
}
