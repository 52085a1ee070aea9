//! What an account is called: an e-mail address, in one spelling, of which only the shape is looked at. And the first one.

use crate::clock;
use crate::store::{StoreError, Tx, values};
use saveos_protocol::id::{OrganisationId, UserId};
use saveos_protocol::time::Timestamp;

/// The address as it is stored; none where it is no address.
pub(crate) fn address(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    let odd = |letter: char| letter.is_whitespace() || letter.is_control();
    (email.contains('@') && email.len() <= 254 && !email.chars().any(odd)).then_some(email)
}

/// The first account: an administrator of everything.
pub(crate) fn make_first(
    tx: &mut dyn Tx,
    (email, password): (&str, &str),
    organisation: OrganisationId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let account = UserId::from_parts(now, clock::random());
    let sql = "INSERT INTO account (id, email, password, made_ms) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, &values![account, email, password, now])?;
    let sql = "INSERT INTO granted (account, node, role) VALUES ($1, $2, 'admin')";
    tx.execute(sql, &values![account, organisation])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn one_account_has_one_spelling() {
        assert_eq!(address(" Me@Example.org\n").as_deref(), Some("me@example.org"));
        for other in ["", "me", "me @example.org", "me\u{7}@example.org", &format!("{}@example.org", "m".repeat(254))] {
            assert_eq!(address(other), None, "{other}");
        }
    }
}
