//! Whoever begins a request and does not end it holds a connection for a while, and not for ever.

mod support;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use support::Server;

#[test]
fn a_connection_whose_request_never_ends_is_ended() {
    let Some(server) = Server::new() else { return };
    let mut roots = rustls::RootCertStore::empty();
    let authority = server.authority();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("TLS 1.3").with_root_certificates(roots).with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let socket = TcpStream::connect(("127.0.0.1", server.https)).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(90))).expect("it is set");
    let mut line = rustls::StreamOwned::new(client, socket);
    line.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n").expect("it listens");
    // With a word or without one; not by the patience of this side.
    if let Err(error) = line.read_to_end(&mut Vec::new()) {
        let ours = [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind());
        assert!(!ours, "the server still waits for the rest: {error}");
    }
}
