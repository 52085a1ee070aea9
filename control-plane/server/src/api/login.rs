//! Signing in and out. A session is 256 random bits, of which only the hash is kept; it ends after twelve hours.

use super::App;
use super::access::{Access, COOKIE, Role, hash};
use super::problem::{ApiError, Body};
use crate::audit;
use crate::clock;
use crate::password;
use crate::store::{StoreError, Tx, first, values};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Seconds;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Wrong passwords for one account in a quarter of an hour.
const TRIES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Accounts that are counted at once; who tries more names than that waits for all of them.
const COUNTED: usize = 10_000;

/// Wrong passwords of late, by account.
#[derive(Default)]
pub(crate) struct Tries(Mutex<HashMap<String, (u32, Timestamp)>>);

impl Tries {
    /// Counts a try before it is made; the wait when there were too many.
    fn begin(&self, email: &str, now: Timestamp) -> Result<(), Duration> {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= COUNTED {
            tries.retain(|_, (_, until)| *until > now);
        }
        if tries.len() >= COUNTED {
            return Err(WINDOW);
        }
        let (count, until) = tries.entry(email.to_owned()).or_insert((0, now.after(WINDOW)));
        if *until <= now {
            (*count, *until) = (0, now.after(WINDOW));
        }
        if *count >= TRIES {
            return Err(until.since(now));
        }
        *count += 1;
        Ok(())
    }

    fn forget(&self, email: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(email);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    email: String,
    password: String,
}

/// Signs in: a token for programs, and the same as a cookie for browsers.
pub(super) async fn login(
    State(app): State<App>,
    Body(given): Body<Credentials>,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let now = clock::now();
    let email = given.email.trim().to_lowercase();
    if email.len() > 254 || given.password.len() > 1024 {
        return Err(ApiError::new(ProblemKind::Malformed));
    }
    app.logins.begin(&email, now).map_err(|wait| ApiError::later(Seconds::of(wait)))?;
    let wanted = email.clone();
    let row =
        app.store.read(move |tx| first(tx, "SELECT id, password FROM account WHERE email = $1", &values![wanted]));
    let row: Option<crate::store::Row> = row.await.map_err(|error: StoreError| ApiError::from(error))?;
    let stored = row.as_ref().map(|row| row.text(1).map(str::to_owned)).transpose()?.unwrap_or_default();
    let permit = app.hashing.acquire().await.map_err(|_| ApiError::new(ProblemKind::Unavailable))?;
    let fits = tokio::task::spawn_blocking(move || password::fits(&given.password, &stored)).await.unwrap_or(false);
    drop(permit);
    let account = match row {
        Some(row) if fits => row.text(0)?.to_owned(),
        _ => return Err(ApiError::said(ProblemKind::Unauthenticated, "no account has this name and password")),
    };
    app.logins.forget(&email);
    let token = password::hex(&clock::random::<32>());
    let (stored, until) = (hash(&token), now.after(SESSION));
    app.store
        .write(move |tx| {
            tx.execute("DELETE FROM session WHERE until_ms <= $1", &values![now])?;
            let sql = "INSERT INTO session (token, account, made_ms, until_ms) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, &values![stored, account, now, until])?;
            audit::write(tx, &email, "signed in", "-", now)
        })
        .await?;
    let cookie = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={}", SESSION.as_secs());
    let mut headers = HeaderMap::new();
    headers
        .insert(header::SET_COOKIE, HeaderValue::try_from(cookie).map_err(|_| ApiError::new(ProblemKind::Internal))?);
    Ok((headers, Json(json!({ "token": token, "until_ms": until }))))
}

/// Ends the session.
pub(super) async fn logout(State(app): State<App>, access: Access) -> Result<Json<Value>, ApiError> {
    let session = access.session.clone();
    app.store.write(move |tx| tx.execute("DELETE FROM session WHERE token = $1", &values![session])).await?;
    Ok(Json(json!({})))
}

/// Who is signed in, and where he may what.
pub(super) async fn me(access: Access) -> Json<Value> {
    let grants: Vec<Value> = access.grants.iter().map(|(path, role)| json!({ "path": path, "role": role })).collect();
    Json(json!({ "account": access.account, "email": access.email, "grants": grants }))
}

/// The last thousand rows of the audit trail, and whether the chain is whole. For who administers the top of the tree.
pub(super) async fn audit_trail(State(app): State<App>, access: Access) -> Result<Json<Value>, ApiError> {
    access.may(&format!("/{}/", app.config.organisation), Role::Admin)?;
    let trail = app.store.read(|tx: &mut dyn Tx| {
        let rows = tx.query("SELECT n, at_ms, who, what, target FROM audit ORDER BY n DESC LIMIT 1000", &[])?;
        let rows: Result<Vec<Value>, StoreError> = rows
            .iter()
            .map(|row| {
                Ok(json!({
                    "n": row.number(0)?, "at_ms": row.number(1)?, "who": row.text(2)?, "what": row.text(3)?,
                    "target": row.text(4)?,
                }))
            })
            .collect();
        Ok::<_, StoreError>(json!({ "rows": rows?, "broken_at": audit::first_break(tx)? }))
    });
    Ok(Json(trail.await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_passwords_are_counted_by_account() {
        let (tries, now) = (Tries::default(), Timestamp::saturating(1));
        (0..TRIES).for_each(|_| tries.begin("a@example", now).expect("free"));
        assert_eq!(tries.begin("a@example", now), Err(WINDOW));
        assert_eq!(tries.begin("b@example", now), Ok(()));
        assert_eq!(tries.begin("a@example", now.after(WINDOW)), Ok(()));
        tries.forget("a@example");
        assert_eq!(tries.begin("a@example", now), Ok(()));
    }
}
