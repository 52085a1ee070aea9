//! Problems as RFC 9457 has them: one form for every error of the HTTP API, from a closed list that clients can match.

use crate::message::Message;
use crate::text::Text;
use crate::unit::Seconds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident $status:literal $slug:literal $title:literal;)*) => {
        /// The list. A problem's `type` is `urn:saveos:problem:` and its word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ProblemKind {
            $($(#[$doc])* #[serde(rename = $slug)] $name,)*
            /// One of a newer version: its status says enough.
            #[serde(other, rename = "urn:saveos:problem:unknown")]
            Unknown,
        }

        impl ProblemKind {
            /// Every kind that is written.
            pub const ALL: &'static [ProblemKind] = &[$(ProblemKind::$name),*];

            /// The HTTP status it comes with.
            pub const fn status(self) -> u16 {
                match self { $(ProblemKind::$name => $status,)* ProblemKind::Unknown => 500 }
            }

            /// Its `type`.
            pub const fn uri(self) -> &'static str {
                match self { $(ProblemKind::$name => $slug,)* ProblemKind::Unknown => "urn:saveos:problem:unknown" }
            }

            /// The same words for the same kind, always.
            pub const fn title(self) -> &'static str {
                match self { $(ProblemKind::$name => $title,)* ProblemKind::Unknown => "Unknown problem" }
            }
        }
    };
}

problems! {
    /// The body or query is not what the route takes.
    Malformed 400 "urn:saveos:problem:malformed" "The request could not be read";
    /// Nobody is signed in.
    Unauthenticated 401 "urn:saveos:problem:unauthenticated" "Sign in first";
    /// A second factor was given too long ago for this.
    StepUpRequired 403 "urn:saveos:problem:step-up-required" "Confirm with your second factor";
    /// One may see it and not do this.
    Forbidden 403 "urn:saveos:problem:forbidden" "Not allowed";
    /// Not there, or somebody else's: the two look the same.
    NotFound 404 "urn:saveos:problem:not-found" "Not found";
    /// Not with this method.
    MethodNotAllowed 405 "urn:saveos:problem:method-not-allowed" "Method not allowed";
    /// It is not in the state for that.
    Conflict 409 "urn:saveos:problem:conflict" "In conflict with the present state";
    /// The idempotency key was used for another request.
    IdempotencyMismatch 409 "urn:saveos:problem:idempotency-mismatch" "Idempotency key used for another request";
    /// Somebody else changed it.
    Stale 412 "urn:saveos:problem:stale" "Changed by somebody else";
    /// Too large.
    TooLarge 413 "urn:saveos:problem:too-large" "Too large";
    /// Not JSON.
    UnsupportedMediaType 415 "urn:saveos:problem:unsupported-media-type" "JSON is expected";
    /// Readable, and still wrong: the fields say where.
    Invalid 422 "urn:saveos:problem:invalid" "Some fields are not valid";
    /// It would weaken protection and needs the command key.
    SignatureRequired 422 "urn:saveos:problem:signature-required" "Needs the command key";
    /// Too often.
    TooManyRequests 429 "urn:saveos:problem:too-many-requests" "Too many requests";
    /// A fault of ours; the request id finds it in the log.
    Internal 500 "urn:saveos:problem:internal" "Something went wrong here";
    /// The database or the broker is away.
    Unavailable 503 "urn:saveos:problem:unavailable" "Not available at the moment";
}

impl ProblemKind {
    /// Whether the same request may succeed later.
    pub const fn is_transient(self) -> bool {
        matches!(self, ProblemKind::TooManyRequests | ProblemKind::Unavailable)
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Which.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// Its words.
    pub title: Text,
    /// The HTTP status again, for what a proxy took away.
    pub status: u16,
    /// What happened this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Text>,
    /// Names this occurrence: the request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Text>,
    /// When to try again.
    #[serde(rename = "retry_after_s", default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Seconds>,
    /// Which fields are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldFault>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldFault {
    /// Where, as a JSON pointer.
    pub pointer: Text,
    /// What is wrong.
    pub message: Text,
}

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

impl Problem {
    /// With nothing but its kind.
    pub fn new(kind: ProblemKind) -> Problem {
        Problem {
            kind,
            title: Text::cut(kind.title()),
            status: kind.status(),
            detail: None,
            instance: None,
            retry_after: None,
            fields: Vec::new(),
        }
    }

    /// With what happened.
    pub fn with_detail(mut self, detail: &str) -> Problem {
        self.detail = Some(Text::cut(detail));
        self
    }

    /// With one more field that is wrong.
    pub fn with_field(mut self, pointer: &str, message: &str) -> Problem {
        self.fields.push(FieldFault { pointer: Text::cut(pointer), message: Text::cut(message) });
        self
    }
}

impl Message for Problem {
    const NAME: &'static str = "problem";
    const LIMIT: usize = crate::limits::PROBLEM;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_in_json_is_the_word_in_code() {
        for &kind in ProblemKind::ALL {
            let problem = serde_json::to_value(Problem::new(kind)).expect("a problem is JSON");
            assert_eq!(problem["type"], kind.uri());
            assert_eq!(problem["status"], kind.status());
            assert!((400..600).contains(&kind.status()));
        }
    }
}
