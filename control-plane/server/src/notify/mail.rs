//! Mail, through the relay that the operator of this server named. The relay is his, so its address is not looked at.

use super::{Failure, Message};
use crate::files;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What the relay has for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The relay, in the server's config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    /// Who it comes from: `SaveOS <saveos@example.org>`.
    pub(crate) from: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Secure,
    /// None: the relay knows us by our address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<Login>,
}

/// How the connection is kept from strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Secure {
    /// It must switch to TLS before anything is said; port 587.
    Starttls,
    /// TLS from the first byte; port 465.
    Implicit,
    /// To this machine only.
    None,
}

/// How the relay knows us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(crate) user: String,
    /// Read for each mail: a new password needs no restart.
    pub(crate) password_file: PathBuf,
}

/// What is wrong with a relay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MailFault {
    /// `from`.
    #[error("`mail.from` is no address: `{0}`")]
    From(String),
    /// In the open.
    #[error("`mail.tls` is `none`, and `{0}` is not this machine")]
    Open(String),
}

impl Mail {
    /// Whether it can be used.
    pub(crate) fn check(&self) -> Result<(), MailFault> {
        self.from.parse::<Mailbox>().map_err(|_| MailFault::From(self.from.clone()))?;
        let here =
            self.host == "localhost" || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if self.tls == Secure::None && !here { Err(MailFault::Open(self.host.clone())) } else { Ok(()) }
    }

    /// Hands a notice to the relay.
    pub(super) fn send(&self, to: &str, message: &Message) -> Result<(), Failure> {
        let mail = self.letter(to, message).map_err(|error| Failure::refused(&error.to_string()))?;
        let fault =
            |error: lettre::transport::smtp::Error| Failure { refused: error.is_permanent(), ..Failure::of(&error) };
        let tls = match self.tls {
            Secure::None => Tls::None,
            Secure::Starttls => Tls::Required(TlsParameters::new(self.host.clone()).map_err(fault)?),
            Secure::Implicit => Tls::Wrapper(TlsParameters::new(self.host.clone()).map_err(fault)?),
        };
        let mut relay = SmtpTransport::builder_dangerous(&self.host).port(self.port).tls(tls).timeout(Some(PATIENCE));
        if let Some(login) = &self.login {
            let password = files::read(&login.password_file).map_err(|error| Failure::of(&error))?;
            let missing = || Failure { refused: false, ..Failure::refused("the relay's password file is not there") };
            let password = password.ok_or_else(missing)?;
            relay = relay.credentials(Credentials::new(login.user.clone(), password.trim_end().to_owned()));
        }
        relay.build().send(&mail).map(drop).map_err(fault)
    }

    fn letter(&self, to: &str, message: &Message) -> Result<lettre::Message, Box<dyn std::error::Error>> {
        let from: Mailbox = self.from.parse()?;
        let id = format!("<{}@{}>", message.id, from.email.domain());
        // So that no holiday notice answers: RFC 3834.
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        let builder: MessageBuilder = lettre::Message::builder().from(from).to(to.parse()?).subject(message.subject());
        Ok(builder.message_id(Some(id)).raw_header(automatic).header(ContentType::TEXT_PLAIN).body(message.text())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::tests::example;

    fn relay(host: &str, tls: Secure) -> Mail {
        Mail { from: "SaveOS <saveos@example.org>".to_owned(), host: host.to_owned(), port: 25, tls, login: None }
    }

    #[test]
    fn a_relay_elsewhere_is_not_spoken_to_in_the_open() {
        for (host, tls, fine) in [
            ("localhost", Secure::None, true),
            ("::1", Secure::None, true),
            ("mail.example.org", Secure::None, false),
            ("10.0.0.1", Secure::None, false),
            ("mail.example.org", Secure::Starttls, true),
        ] {
            assert_eq!(relay(host, tls).check().is_ok(), fine, "{host}");
        }
        assert!(Mail { from: "nobody".to_owned(), ..relay("localhost", Secure::None) }.check().is_err());
    }

    #[test]
    fn a_name_cannot_add_a_header() {
        let mut message = example();
        if let Some(site) = &mut message.site {
            site.name = "A\r\nBcc: everybody@example.org".to_owned();
        }
        let letter = relay("localhost", Secure::None).letter("one@example.org", &message).expect("a letter");
        let text = String::from_utf8(letter.formatted()).expect("ASCII");
        let (head, _) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(head.contains("Message-ID: <notice-1@example.org>"), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated"), "{head}");
    }
}
