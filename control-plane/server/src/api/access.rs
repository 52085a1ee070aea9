//! Who asks, and what of the tree he may see and do. Deny by default; a grant on a node holds for all below it.
//!
//! A cookie alone changes nothing: a request that changes something and came with a cookie must carry our header, which no
//! foreign page can send.

use super::App;
use super::problem::ApiError;
use crate::clock;
use crate::store::{StoreError, Tx, fence, first, values};
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// What a person may do on a node and below. Ordered: each may what those before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "PersonRole")]
pub(crate) enum Role {
    /// Look.
    Viewer,
    /// Start what cannot destroy.
    Operator,
    /// Claim boxes, change the tree and policies, revoke.
    Admin,
}

impl Role {
    const ALL: [(Role, &'static str); 3] =
        [(Role::Viewer, "viewer"), (Role::Operator, "operator"), (Role::Admin, "admin")];

    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        Role::ALL.into_iter().find(|(role, _)| *role == self).map_or("viewer", |(_, name)| name)
    }

    fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|(_, name)| *name == text).map(|(role, _)| role)
    }
}

/// A person who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) account: String,
    pub(crate) email: String,
    pub(super) credential: Credential,
    /// Paths in the tree.
    pub(crate) grants: Vec<(String, Role)>,
}

/// With what somebody came: the hash of a token.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// Of a person who signed in, and when he last proved who he is.
    Session { token: String, proven: Timestamp },
    /// Of a program.
    Program { token: String },
}

/// What the token of a program begins with, so that it is found where it should not be: `saveos_[0-9a-f]{64}`.
pub(super) const PROGRAM: &str = "saveos_";
/// How long a proof lasts for what needs a fresh one.
const FRESH: Duration = Duration::from_secs(600);
/// A session that nobody used for so long is over: OWASP ASVS 5.0, 7.3.1, asks for such a bound beside the absolute one.
pub(super) const IDLE: Duration = Duration::from_secs(3600);
/// How precisely it is known when a token or session was used last.
const USE: Duration = Duration::from_secs(60);

/// The cookie of a browser; `__Host-` binds it to this host and to HTTPS.
pub(super) const COOKIE: &str = "__Host-saveos";
const OUR_HEADER: &str = "x-saveos";

impl Access {
    /// The same person a while later; `None` when the session is over, or nobody can say.
    pub(super) async fn again(&self, app: &App) -> Option<Access> {
        let (Credential::Session { token, .. } | Credential::Program { token }) = self.credential.clone();
        let program = matches!(self.credential, Credential::Program { .. });
        let read = app.store.read(move |tx| if program { load_program(tx, token) } else { load(tx, token) });
        read.await.ok().flatten()
    }

    /// The rest of the request is within what he may see.
    fn fenced(self) -> Access {
        fence::within(self.grants.iter().map(|(path, _)| path.as_str()));
        self
    }

    /// The session of a person: a program has no business here.
    pub(super) fn person(&self) -> Result<&str, ApiError> {
        match &self.credential {
            Credential::Session { token, .. } => Ok(token),
            Credential::Program { .. } => Err(ApiError::said(ProblemKind::Forbidden, "only a person may do this")),
        }
    }

    /// A person who proved in the last ten minutes who he is: whoever finds a browser open does not get further.
    pub(super) fn fresh(&self, now: Timestamp) -> Result<(), ApiError> {
        self.person()?;
        match self.credential {
            Credential::Session { proven, .. } if now.since(proven) < FRESH => Ok(()),
            _ => Err(ApiError::new(ProblemKind::StepUpRequired)),
        }
    }

    /// What he may do at a path, if anything.
    pub(crate) fn role_at(&self, path: &str) -> Option<Role> {
        self.grants.iter().filter(|(top, _)| path.starts_with(top.as_str())).map(|(_, role)| *role).max()
    }

    /// Whether he administers all there is.
    pub(super) fn tops(&self, organisation: &str) -> bool {
        self.role_at(&format!("/{organisation}/")) >= Some(Role::Admin)
    }

    /// The paths at `top` and below that he may see.
    pub(crate) fn tops_below(&self, top: &str) -> Vec<String> {
        cut(self.grants.clone(), top, Role::Admin).into_iter().map(|(path, _)| path).collect()
    }

    /// The places that he may see and that lie in no other of them, each with where the texts of its paths end.
    pub(crate) fn outermost(&self) -> Vec<(String, String)> {
        let tops = self.tops_below("/");
        let inner = |top: &String| tops.iter().any(|other| other != top && top.starts_with(other.as_str()));
        tops.iter().filter(|top| !inner(top)).map(|top| (top.clone(), format!("{top}\u{10FFFF}"))).collect()
    }

    /// Whether he may see it and do that: what he may not see is not there.
    pub(crate) fn may(&self, path: &str, needed: Role) -> Result<(), ApiError> {
        match self.role_at(path) {
            Some(role) if role >= needed => Ok(()),
            Some(_) => Err(ApiError::new(ProblemKind::Forbidden)),
            None => Err(ApiError::new(ProblemKind::NotFound)),
        }
    }
}

/// What is stored of a token.
pub(crate) fn hash(token: &str) -> String {
    crate::password::hex(digest(&SHA256, token.as_bytes()).as_ref())
}

impl FromRequestParts<App> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Access, ApiError> {
        let unknown = || ApiError::new(ProblemKind::Unauthenticated);
        let token = match (bearer(parts), cookie(parts)) {
            (Some(token), _) => token,
            (None, Some(token)) => {
                if parts.method != Method::GET && !parts.headers.contains_key(OUR_HEADER) {
                    return Err(ApiError::said(ProblemKind::Forbidden, "a change needs the header X-SaveOS"));
                }
                token
            }
            (None, None) => return Err(unknown()),
        };
        let hashed = hash(&token);
        let (used, now) = (hashed.clone(), clock::now());
        if !token.starts_with(PROGRAM) {
            let (access, seen) = app.store.read(move |tx| load_seen(tx, hashed)).await?.ok_or_else(unknown)?;
            if now.since(seen) >= USE {
                let sql = "UPDATE session SET seen_ms = $1 WHERE token = $2";
                app.store.write(move |tx: &mut dyn Tx| tx.execute(sql, &values![now, used])).await?;
            }
            return Ok(access.fenced());
        }
        let access = app.store.read(move |tx| load_program(tx, hashed)).await?.ok_or_else(unknown)?;
        let long_ago = now.before(USE);
        let sql = "SELECT token FROM api_token WHERE token = $1 AND COALESCE(used_ms, 0) < $2";
        let unused = used.clone();
        if app.store.read(move |tx| first(tx, sql, &values![unused, long_ago])).await?.is_some() {
            let sql = "UPDATE api_token SET used_ms = $1 WHERE token = $2";
            app.store.write(move |tx: &mut dyn Tx| tx.execute(sql, &values![now, used])).await?;
        }
        Ok(access.fenced())
    }
}

fn load(tx: &mut dyn Tx, token: String) -> Result<Option<Access>, StoreError> {
    Ok(load_seen(tx, token)?.map(|(access, _)| access))
}

/// With when it was used last.
fn load_seen(tx: &mut dyn Tx, token: String) -> Result<Option<(Access, Timestamp)>, StoreError> {
    let now = clock::now();
    let sql = "SELECT a.id, a.email, s.proven_ms, COALESCE(s.seen_ms, s.made_ms) FROM session s
        JOIN account a ON a.id = s.account
        WHERE s.token = $1 AND s.until_ms > $2 AND COALESCE(s.seen_ms, s.made_ms) > $3";
    let Some(row) = first(tx, sql, &values![token.as_str(), now, now.before(IDLE)])? else { return Ok(None) };
    let (account, email) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
    let grants = grants(tx, &account)?;
    let credential = Credential::Session { token, proven: row.time(2)? };
    Ok(Some((Access { account, email, credential, grants }, row.time(3)?)))
}

/// What its account may now, cut to what the token may.
fn load_program(tx: &mut dyn Tx, token: String) -> Result<Option<Access>, StoreError> {
    let sql = "SELECT a.id, a.email, t.role, n.path, t.id FROM api_token t JOIN account a ON a.id = t.account
        JOIN node n ON n.id = t.node WHERE t.token = $1 AND t.until_ms > $2";
    let Some(row) = first(tx, sql, &values![token.as_str(), clock::now()])? else { return Ok(None) };
    let account = row.text(0)?.to_owned();
    let Some(most) = Role::parse(row.text(2)?) else { return Ok(None) };
    let grants = cut(grants(tx, &account)?, row.text(3)?, most);
    // In the audit trail stands which token of whom it was.
    let email = format!("{} ({})", row.text(1)?, row.text(4)?);
    Ok(Some(Access { account, email, credential: Credential::Program { token }, grants }))
}

/// Grants, at `top` and below, at most `most`.
fn cut(grants: Vec<(String, Role)>, top: &str, most: Role) -> Vec<(String, Role)> {
    let cut = |(path, role): (String, Role)| {
        let below = if top.starts_with(&path) { top.to_owned() } else { path };
        below.starts_with(top).then(|| (below, role.min(most)))
    };
    grants.into_iter().filter_map(cut).collect()
}

fn grants(tx: &mut dyn Tx, account: &str) -> Result<Vec<(String, Role)>, StoreError> {
    let sql = "SELECT n.path, g.role FROM granted g JOIN node n ON n.id = g.node WHERE g.account = $1";
    let mut grants = Vec::new();
    for row in tx.query(sql, &values![account])? {
        // A role of a newer release gives nothing here.
        grants.extend(Role::parse(row.text(1)?).map(|role| (row.text(0).unwrap_or("-").to_owned(), role)));
    }
    Ok(grants)
}

fn bearer(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

fn cookie(parts: &Parts) -> Option<String> {
    let all = parts.headers.get(header::COOKIE)?.to_str().ok()?;
    let mut pairs = all.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_holds_below_its_node_and_nowhere_else() {
        let access = Access {
            account: String::new(),
            email: String::new(),
            credential: Credential::Program { token: String::new() },
            grants: vec![("/o/c1/".to_owned(), Role::Operator), ("/o/c1/s2/".to_owned(), Role::Admin)],
        };
        assert_eq!(access.role_at("/o/c1/s1/"), Some(Role::Operator));
        assert_eq!(access.role_at("/o/c1/s2/"), Some(Role::Admin));
        for foreign in ["/o/", "/o/c10/", "/o/c2/s1/", "/"] {
            assert_eq!(access.role_at(foreign), None, "{foreign}");
        }
        assert_eq!(access.may("/o/c2/", Role::Viewer).err().map(|error| error.0.kind), Some(ProblemKind::NotFound));
        assert_eq!(access.may("/o/c1/", Role::Admin).err().map(|error| error.0.kind), Some(ProblemKind::Forbidden));
    }

    #[test]
    fn a_place_within_another_is_not_looked_at_twice() {
        let grants = ["/o/c1/s2/", "/o/c1/", "/o/c10/"].map(|path| (path.to_owned(), Role::Viewer)).to_vec();
        let credential = Credential::Program { token: String::new() };
        let access = Access { account: String::new(), email: String::new(), credential, grants };
        let tops: Vec<String> = access.outermost().into_iter().map(|(top, _)| top).collect();
        assert_eq!(tops, ["/o/c1/", "/o/c10/"]);
    }

    #[test]
    fn a_token_may_what_its_account_may_and_no_more_than_it_says() {
        let grants = || vec![("/o/c1/".to_owned(), Role::Operator), ("/o/c1/s2/".to_owned(), Role::Admin)];
        let owned = |expected: &[(&str, Role)]| {
            expected.iter().map(|(path, role)| ((*path).to_owned(), *role)).collect::<Vec<_>>()
        };
        let all = [("/o/c1/", Role::Operator), ("/o/c1/s2/", Role::Admin)];
        assert_eq!(cut(grants(), "/o/", Role::Admin), owned(&all));
        assert_eq!(cut(grants(), "/o/c1/s1/", Role::Admin), owned(&[("/o/c1/s1/", Role::Operator)]));
        assert_eq!(cut(grants(), "/o/", Role::Viewer), owned(&[("/o/c1/", Role::Viewer), ("/o/c1/s2/", Role::Viewer)]));
        assert_eq!(cut(grants(), "/o/c2/", Role::Admin), owned(&[]));
    }
}
