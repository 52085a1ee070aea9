//! Where notices arrive: an HTTPS server with a certificate of its own, and a mail relay that keeps what it takes.

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a POST brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// Answers every POST with `status`.
pub(crate) struct Web {
    pub(crate) port: u16,
    /// Its certificate, which is its own authority.
    pub(crate) certificate: String,
    pub(crate) status: Arc<AtomicU16>,
    pub(crate) posted: Receiver<Posted>,
}

impl Web {
    pub(crate) fn listen() -> Web {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .expect("a certificate with its key");
        let (config, status) = (Arc::new(config), Arc::new(AtomicU16::new(200)));
        let (said, posted) = channel();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let answer = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tls = ServerConnection::new(Arc::clone(&config)).expect("TLS");
                // Who breaks off in the middle has posted nothing.
                let _ = post(StreamOwned::new(tls, stream), answer.load(Ordering::SeqCst), &said);
            }
        });
        Web { port, certificate: own.cert.pem(), status, posted }
    }
}

fn post(stream: StreamOwned<ServerConnection, TcpStream>, status: u16, said: &Sender<Posted>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nlocation: https://localhost:1/\r\n\r\n")?;
    stream.flush()?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let _ = said.send(Posted { path, headers, body });
    Ok(())
}

/// A relay: envelope and letter of each mail.
pub(crate) fn relay() -> (u16, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (said, mails) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = take(stream, &said);
        }
    });
    (port, mails)
}

fn take(mut stream: TcpStream, said: &Sender<(String, String)>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    stream.write_all(b"220 relay\r\n")?;
    let mut to = String::new();
    while let Some(line) = lines.next().transpose()? {
        let verb = line.get(..4).unwrap_or_default().to_uppercase();
        match verb.as_str() {
            "RCPT" => line.clone_into(&mut to),
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut letter = Vec::new();
                // A letter without its end was never handed over: whoever sent it died over it.
                loop {
                    match lines.next().transpose()? {
                        Some(line) if line == "." => break,
                        Some(line) => letter.push(line),
                        None => return Ok(()),
                    }
                }
                let _ = said.send((to.clone(), letter.join("\n")));
            }
            "QUIT" => return stream.write_all(b"221 bye\r\n"),
            _ => {}
        }
        stream.write_all(b"250 fine\r\n")?;
    }
    Ok(())
}
