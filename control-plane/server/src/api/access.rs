//! Who asks, and what of the tree he may see and do. Deny by default; a grant on a node holds for all below it.
//!
//! A cookie alone changes nothing: a request that changes something and came with a cookie must carry our header, which no
//! foreign page can send.

use super::App;
use super::problem::ApiError;
use crate::clock;
use crate::store::{StoreError, Tx, first, values};
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use saveos_protocol::problem::ProblemKind;

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
    /// The hash of the session's token.
    pub(crate) session: String,
    /// Paths in the tree.
    pub(crate) grants: Vec<(String, Role)>,
}

/// The cookie of a browser; `__Host-` binds it to this host and to HTTPS.
pub(super) const COOKIE: &str = "__Host-saveos";
const OUR_HEADER: &str = "x-saveos";

impl Access {
    /// The same person a while later; `None` when the session is over, or nobody can say.
    pub(super) async fn again(&self, app: &App) -> Option<Access> {
        let session = self.session.clone();
        app.store.read(move |tx| load(tx, session)).await.ok().flatten()
    }

    /// What he may do at a path, if anything.
    pub(crate) fn role_at(&self, path: &str) -> Option<Role> {
        self.grants.iter().filter(|(top, _)| path.starts_with(top.as_str())).map(|(_, role)| *role).max()
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
pub(super) fn hash(token: &str) -> String {
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
        let session = hash(&token);
        app.store.read(move |tx| load(tx, session)).await?.ok_or_else(unknown)
    }
}

fn load(tx: &mut dyn Tx, session: String) -> Result<Option<Access>, StoreError> {
    let sql =
        "SELECT a.id, a.email FROM session s JOIN account a ON a.id = s.account WHERE s.token = $1 AND s.until_ms > $2";
    let Some(row) = first(tx, sql, &values![session.as_str(), clock::now()])? else { return Ok(None) };
    let (account, email) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
    let sql = "SELECT n.path, g.role FROM granted g JOIN node n ON n.id = g.node WHERE g.account = $1";
    let mut grants = Vec::new();
    for row in tx.query(sql, &values![account.as_str()])? {
        // A role of a newer release gives nothing here.
        grants.extend(Role::parse(row.text(1)?).map(|role| (row.text(0).unwrap_or("-").to_owned(), role)));
    }
    Ok(Some(Access { account, email, session, grants }))
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
            session: String::new(),
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
}
