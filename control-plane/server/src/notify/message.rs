//! What a notice says: as JSON to a webhook, as text to people. Names come from customers and boxes; they are data, never markup.

use super::plan::Event;
use saveos_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The version of this form; fields may be added.
    pub(crate) v: u32,
    /// The same for every try: who has seen it may pass it over.
    pub(crate) id: String,
    #[serde(rename = "made_ms")]
    pub(crate) made: Timestamp,
    /// Somebody wants to see whether notices arrive; there is nothing wrong.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) test: bool,
    /// Who runs the control plane.
    pub(crate) from: String,
    pub(crate) customer: Option<Named>,
    pub(crate) site: Option<Named>,
    pub(crate) alerts: Vec<Said>,
}

/// Something with a name for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// What is said of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) event: Event,
    pub(crate) rule: String,
    pub(crate) appliance: Option<Named>,
    pub(crate) disk: Option<String>,
    pub(crate) detail: String,
    #[serde(rename = "raised_ms")]
    pub(crate) raised: Timestamp,
    #[serde(rename = "ended_ms")]
    pub(crate) ended: Option<Timestamp>,
}

impl Message {
    /// Something harmless.
    pub(crate) fn test(id: String, from: String, now: Timestamp) -> Message {
        Message { v: 1, id, made: now, test: true, from, customer: None, site: None, alerts: Vec::new() }
    }

    /// One line: how much, where.
    pub(super) fn subject(&self) -> String {
        if self.test {
            return format!("{}: a test, nothing is wrong", self.from);
        }
        let over = self.alerts.iter().filter(|said| said.event == Event::Ended).count();
        let lasting = self.alerts.len() - over;
        let count = match (lasting, over) {
            (0, over) => format!("{over} over"),
            (lasting, 0) => format!("{lasting} to look at"),
            (lasting, over) => format!("{lasting} to look at, {over} over"),
        };
        format!("{count}: {}", self.place())
    }

    fn place(&self) -> String {
        let names: Vec<&str> =
            [&self.customer, &self.site].into_iter().flatten().map(|named| named.name.as_str()).collect();
        if names.is_empty() { self.from.clone() } else { names.join(", ") }
    }

    /// A line for each alert.
    pub(super) fn text(&self) -> String {
        if self.test {
            return format!("Somebody asked {} for a test of this route. It arrived.\n", self.from);
        }
        let mut text = format!("{}\n\n", self.place());
        for said in &self.alerts {
            let event = match said.event {
                Event::Raised => "since",
                Event::Reminder => "still, since",
                Event::Ended => "over, began",
            };
            let name = said.appliance.as_ref().map_or("the site", |appliance| appliance.name.as_str());
            let disk = said.disk.as_ref().map(|disk| format!(", {disk}")).unwrap_or_default();
            // Writing to a string does not fail.
            let _ = writeln!(text, "- {name}{disk}: {} ({event} {})", said.detail, said.raised);
        }
        let _ = write!(text, "\nTold by {}.\n", self.from);
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn example() -> Message {
        let named = |id: &str, name: &str| Some(Named { id: id.to_owned(), name: name.to_owned() });
        let said = |id: &str, event, ended: Option<u64>| Said {
            id: id.to_owned(),
            event,
            rule: "box_offline".to_owned(),
            appliance: named("d-1", "Office <NAS>"),
            disk: None,
            detail: "it was not heard for long".to_owned(),
            raised: Timestamp::saturating(1_700_000_000_000),
            ended: ended.map(Timestamp::saturating),
        };
        Message {
            v: 1,
            id: "notice-1".to_owned(),
            made: Timestamp::saturating(1_700_000_000_000),
            test: false,
            from: "Example & Co".to_owned(),
            customer: named("c-1", "A bakery"),
            site: named("s-1", "Main Street"),
            alerts: vec![said("alert-1", Event::Raised, None), said("alert-2", Event::Ended, Some(1_700_000_100_000))],
        }
    }

    #[test]
    fn a_person_reads_how_much_and_where_first() {
        let message = example();
        assert_eq!(message.subject(), "1 to look at, 1 over: A bakery, Main Street");
        let text = message.text();
        assert!(text.contains("- Office <NAS>: it was not heard for long (since 2023-11-14T22:13:20"), "{text}");
        assert!(text.contains("(over, began "), "{text}");
        let again: Message = serde_json::from_str(&serde_json::to_string(&message).expect("JSON")).expect("a message");
        assert_eq!(again, message);
    }
}
