//! A way on which somebody is told: what it is, whether its target can be one, and one try.

use super::{Failure, Message, mail, may_reach, web};
use crate::config::Config;
use lettre::message::Mailbox;
use saveos_protocol::text::WebUrl;
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A letter to an address.
    Email,
    /// JSON to an HTTPS URL, signed.
    Webhook,
    /// A message to a chat's incoming webhook.
    Slack,
}

impl Kind {
    pub(crate) const ALL: [(Kind, &'static str); 3] =
        [(Kind::Email, "email"), (Kind::Webhook, "webhook"), (Kind::Slack, "slack")];

    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        Kind::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("email", |(_, name)| name)
    }

    pub(crate) fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|(_, name)| *name == text).map(|(kind, _)| kind)
    }
}

/// A way, with all that one try needs.
#[derive(Clone)]
pub(crate) struct Channel {
    pub(crate) kind: Kind,
    pub(crate) target: String,
    /// What a webhook is signed with.
    pub(crate) secret: Option<String>,
}

impl Channel {
    /// A new way; why not, in words for who typed the target.
    pub(crate) fn new(kind: Kind, target: &str, config: &Config) -> Result<Channel, &'static str> {
        let target = target.trim();
        match kind {
            Kind::Email => {
                config.mail.as_ref().ok_or("this server has no mail relay: its operator sets `mail` in config.json")?;
                target.parse::<Mailbox>().map_err(|_| "not an e-mail address")?;
            }
            Kind::Webhook | Kind::Slack => {
                target.parse::<WebUrl>().map_err(|_| "not a URL: https://, a host, no user, at most 1,024 bytes")?;
                let url: ureq::http::Uri = target.parse().map_err(|_| "not a URL")?;
                // A name is looked up for each try; an address is what it is.
                let host = url.host().ok_or("a URL without a host")?.trim_matches(['[', ']']);
                if host.parse().is_ok_and(|address| !may_reach(address, &config.allowed_networks)) {
                    return Err("an address that is not on the public Internet");
                }
            }
        }
        let secret = (kind == Kind::Webhook).then(web::make_secret);
        Ok(Channel { kind, target: target.to_owned(), secret })
    }

    /// One try.
    pub(super) fn send(&self, config: &Config, message: &Message, now: Timestamp) -> Result<(), Failure> {
        match (self.kind, &config.mail) {
            (Kind::Email, Some(relay)) => mail::Mail::send(relay, &self.target, message),
            (Kind::Email, None) => Err(Failure { refused: false, ..Failure::refused("this server has no mail relay") }),
            (Kind::Webhook, _) => {
                let secret = self.secret.as_deref().ok_or_else(|| Failure::refused("it has no secret"))?;
                web::webhook(&self.target, secret, message, &config.allowed_networks, now)
            }
            (Kind::Slack, _) => web::chat(&self.target, message, &config.allowed_networks),
        }
    }
}
