//! Boxes: nonces, enrolment, renewal. No session here: what is believed was signed by the box's key over a nonce of ours.
//!
//! Order of checks: size and form, nonce, proof, signing request; only then the store is asked.

use super::App;
use super::problem::{ApiError, Raw};
use crate::authority::check_request;
use crate::clock;
use crate::enrolment::{self, EnrolmentError, Outcome};
use crate::nonce;
use crate::revocation;
use crate::store::Tx;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use saveos_protocol::enrol::{Challenge, EnrolReply, EnrolRequest, Refusal, Refused, RenewReply, RenewRequest};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::unit::Seconds;
use saveos_protocol::{DecodeError, Message, V1, decode, encode};
use std::sync::Arc;

/// How long a box waits before it asks again.
const WAIT: Seconds = Seconds::saturating(3);

/// A nonce to sign.
#[utoipa::path(
    post,
    path = "/api/v1/enrol/challenge",
    tag = "boxes",
    operation_id = "challenge",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Challenge"))),
    security(()),
)]
pub(super) async fn challenge(State(app): State<App>) -> Result<Response, ApiError> {
    let now = clock::now();
    let (nonce, exp) = app.nonces.give(clock::random(), now);
    answer(&Challenge { v: V1, nonce, exp, ts: now })
}

/// Asks for a first certificate.
#[utoipa::path(
    post,
    path = "/api/v1/enrol",
    tag = "boxes",
    operation_id = "enrol",
    request_body = ref("#/components/schemas/EnrolRequest"),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/EnrolReply"))),
    security(()),
)]
pub(super) async fn enrol(State(app): State<App>, Raw(body): Raw) -> Result<Response, ApiError> {
    let now = clock::now();
    let request: EnrolRequest = read(&body)?;
    let nonce = request.proof.nonce;
    let checked = app.nonces.check(nonce, now).and_then(|until| {
        request.proof.verify(None, &request.csr, &request.key).map_err(|_| Refusal::ProofWrong)?;
        Ok((until, check_request(&request.csr, None, &request.key)?))
    });
    let (until, checked) = match checked {
        Ok(checked) => checked,
        Err(reason) => return answer(&EnrolReply::Refused(refused("enrol", reason))),
    };
    let (config, authority) = (Arc::clone(&app.config), Arc::clone(&app.authority));
    let decide = move |tx: &mut dyn Tx| {
        if nonce::is_spent(tx, nonce)? {
            return Ok(Outcome::Refused(Refusal::NonceUnknown));
        }
        let outcome = enrolment::enrol(tx, &request, &checked, (&config, &authority), now)?;
        if let Outcome::Issued(_) = &outcome {
            nonce::spend(tx, nonce, until, now)?;
        }
        Ok::<_, EnrolmentError>(outcome)
    };
    let outcome = app.store.write(decide).await?;
    match outcome {
        Outcome::Wait => {
            answer(&EnrolReply::Waiting { v: V1, nonce: app.nonces.give(clock::random(), now).0, wait: WAIT })
        }
        Outcome::Refused(reason) => answer(&EnrolReply::Refused(refused("enrol", reason))),
        Outcome::Issued(issue) => {
            tracing::info!(device = %issue.enrolment.device, "enrolled");
            // Full: the ingest says it again with the next session, and the box works without.
            let _ = app.outgoing.try_send(issue.desired);
            if issue.was_revoked {
                revocation::enforce_soon(&app);
            }
            answer(&EnrolReply::Issued(issue.enrolment))
        }
    }
}

/// Asks for the next certificate.
#[utoipa::path(
    post,
    path = "/api/v1/renew",
    tag = "boxes",
    operation_id = "renew",
    request_body = ref("#/components/schemas/RenewRequest"),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/RenewReply"))),
    security(()),
)]
pub(super) async fn renew(State(app): State<App>, Raw(body): Raw) -> Result<Response, ApiError> {
    let now = clock::now();
    let request: RenewRequest = read(&body)?;
    let device = request.device;
    let nonce = request.proof.nonce;
    let until = match app.nonces.check(nonce, now) {
        Ok(until) => until,
        Err(reason) => return answer(&RenewReply::Refused(refused("renew", reason))),
    };
    let Some(key) = app.store.read(move |tx| enrolment::key_of(tx, device)).await? else {
        return answer(&RenewReply::Refused(refused("renew", Refusal::UnknownDevice)));
    };
    let checked = request.proof.verify(Some(device), &request.csr, &key).map_err(|_| Refusal::ProofWrong);
    let checked = match checked.and_then(|()| check_request(&request.csr, Some(device), &key)) {
        Ok(checked) => checked,
        Err(reason) => return answer(&RenewReply::Refused(refused("renew", reason))),
    };
    let authority = Arc::clone(&app.authority);
    let decide = move |tx: &mut dyn Tx| {
        if nonce::is_spent(tx, nonce)? {
            return Ok(Err(Refusal::NonceUnknown));
        }
        let renewed = enrolment::renew(tx, &checked, &key, &authority, now)?;
        if renewed.is_ok() {
            nonce::spend(tx, nonce, until, now)?;
        }
        Ok::<_, EnrolmentError>(renewed)
    };
    let renewed = app.store.write(decide).await?;
    match renewed {
        Ok(renewal) => answer(&RenewReply::Issued(renewal)),
        Err(reason) => answer(&RenewReply::Refused(refused("renew", reason))),
    }
}

fn refused(what: &'static str, reason: Refusal) -> Refused {
    tracing::warn!(what, %reason, "a box was refused");
    Refused { v: V1, reason, note: None }
}

fn read<M: Message>(body: &Bytes) -> Result<M, ApiError> {
    decode(body).map_err(|error| {
        let kind = match error {
            DecodeError::TooLarge { .. } => ProblemKind::TooLarge,
            DecodeError::TooDeep { .. } | DecodeError::Version { .. } | DecodeError::Malformed { .. } => {
                ProblemKind::Malformed
            }
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        ApiError::said(kind, &format!("{error}{cause}"))
    })
}

fn answer(message: &impl Message) -> Result<Response, ApiError> {
    let json = encode(message).map_err(|error| {
        tracing::error!(%error, "a reply could not be written");
        ApiError::new(ProblemKind::Internal)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}
