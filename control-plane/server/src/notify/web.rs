//! HTTPS to an address that was looked at: no redirect, no proxy, no connection that is kept, ten seconds in all.
//!
//! Webhooks are signed as Standard Webhooks says (https://www.standardwebhooks.com): HMAC-SHA-256 over name, time and body, so
//! that a receiver can refuse what is not ours, what was changed, and what is old.

use super::reach::may_reach;
use super::{Failure, Message};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use saveos_protocol::time::Timestamp;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;
use ureq::config::Config as HttpConfig;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

const PATIENCE: Duration = Duration::from_secs(10);
/// What a secret begins with.
pub(super) const SECRET: &str = "whsec_";

/// A new secret for a webhook.
pub(super) fn make_secret() -> String {
    format!("{SECRET}{}", STANDARD.encode(crate::clock::random::<32>()))
}

/// The headers of a signed body.
fn signed(secret: &str, id: &str, now: Timestamp, body: &str) -> Result<[(&'static str, String); 3], Failure> {
    let key = STANDARD.decode(secret.trim_start_matches(SECRET)).map_err(|error| Failure::of(&error))?;
    let seconds = now.as_millis() / 1000;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), format!("{id}.{seconds}.{body}").as_bytes());
    Ok([
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(tag.as_ref()))),
    ])
}

/// Sends a notice as JSON, signed.
pub(super) fn webhook(
    url: &str,
    secret: &str,
    message: &Message,
    allowed: &[IpNet],
    now: Timestamp,
) -> Result<(), Failure> {
    let body = serde_json::to_string(message).map_err(|error| Failure::of(&error))?;
    post(url, &signed(secret, &message.id, now, &body)?, &body, allowed)
}

/// Sends a notice as a chat's incoming webhook reads it (Slack, Mattermost).
pub(super) fn chat(url: &str, message: &Message, allowed: &[IpNet]) -> Result<(), Failure> {
    post(url, &[], &chat_body(message), allowed)
}

/// In Slack's markup three letters mean something: https://docs.slack.dev/messaging/formatting-message-text#escaping.
fn chat_body(message: &Message) -> String {
    let plain = format!("{}\n{}", message.subject(), message.text());
    let text = plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    serde_json::json!({ "text": text }).to_string()
}

fn post(url: &str, headers: &[(&'static str, String)], body: &str, allowed: &[IpNet]) -> Result<(), Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trusted = rustls_native_certs::load_native_certs().certs;
    let trusted: Vec<Certificate<'static>> =
        trusted.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&trusted))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = HttpConfig::builder()
        .tls_config(tls)
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .max_response_header_size(16 * 1024)
        .timeout_global(Some(PATIENCE))
        .user_agent(concat!("SaveOS/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), Looked(allowed.to_vec()));
    let mut request = agent.post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    // Of the answer only its status counts: a body is not read.
    let status = request.send(body).map_err(|error| Failure::of(&error))?.status();
    match status.as_u16() {
        200..=299 => Ok(()),
        code @ (408 | 425 | 429 | 500..=599) => {
            Err(Failure { refused: false, ..Failure::refused(&format!("it answered {code}")) })
        }
        code => Err(Failure::refused(&format!("it answered {code}"))),
    }
}

/// Looks names up and lets through what may be reached.
#[derive(Debug)]
struct Looked(Vec<IpNet>);

/// The name leads where no webhook may go.
#[derive(Debug, thiserror::Error)]
#[error("its address is not on the public Internet")]
struct NotPublic;

impl Resolver for Looked {
    fn resolve(&self, uri: &Uri, _: &HttpConfig, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(443);
        // The system's resolver has no bound of its own.
        let (said, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || said.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
        let found = answer.recv_timeout(*timeout.after).map_err(|_| ureq::Error::Timeout(timeout.reason))??;
        let known = !found.is_empty();
        let mut reached = self.empty();
        for address in found.into_iter().filter(|address| may_reach(address.ip(), &self.0)).take(16) {
            reached.push(address);
        }
        match (reached.is_empty(), known) {
            (false, _) => Ok(reached),
            (true, true) => Err(ureq::Error::Other(Box::new(NotPublic))),
            (true, false) => Err(ureq::Error::HostNotFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::tests::example;

    /// The example of the specification's reference implementation.
    #[test]
    fn a_signature_is_that_of_the_standard() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = r#"{"test": 2432232314}"#;
        let now = Timestamp::saturating(1_614_265_330_000);
        let headers = signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, body).expect("a key");
        assert_eq!(headers[1].1, "1614265330");
        assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_name_cannot_ping_a_channel() {
        let mut message = example();
        message.alerts[0].detail = "<!channel> & <http://evil|click>".to_owned();
        let body = chat_body(&message);
        assert!(body.contains("&lt;!channel&gt; &amp; &lt;http://evil|click&gt;") && !body.contains("<!"), "{body}");
    }

    #[test]
    fn what_leads_inside_is_not_connected_to() {
        // Somebody would answer here.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        listener.set_nonblocking(true).expect("a socket");
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "2130706433", "0x7f000001", "127.1", "0"]
        {
            let failure =
                webhook(&format!("https://{host}:{port}/"), &make_secret(), &example(), &[], Timestamp::saturating(0));
            let why = failure.expect_err("it is inside").why;
            assert!(listener.accept().is_err(), "{host} was connected to: {why}");
            // Some forms of an address are a name that nobody has; those that mean this machine are known and refused.
            if ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"].contains(&host) {
                assert!(why.to_string().contains("not on the public Internet"), "{host}: {why}");
            }
        }
        let allowed = ["127.0.0.0/8".parse().expect("a network")];
        let mut reached = false;
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                webhook(
                    &format!("https://127.0.0.1:{port}/"),
                    &make_secret(),
                    &example(),
                    &allowed,
                    Timestamp::saturating(0),
                )
            });
            while !asked.is_finished() {
                reached |= listener.accept().is_ok();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        assert!(reached, "what an operator allows is connected to");
    }
}
