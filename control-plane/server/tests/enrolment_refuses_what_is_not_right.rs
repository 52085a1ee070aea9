//! Wrong, expired, reused and guessed codes, foreign names, replays, other keys: refused with a reason, and nobody enrolled.

mod support;

use saveos_fleet_sim::{Identity, enrol, renew};
use saveos_protocol::enrol::{EnrolReply, Refusal, RenewReply};
use serde_json::Value;
use support::Server;

#[track_caller]
fn refused(reply: Result<EnrolReply, saveos_fleet_sim::EnrolError>) -> Refusal {
    match reply.expect("an answer") {
        EnrolReply::Refused(refused) => refused.reason,
        other => panic!("{other:?}"),
    }
}

fn is_waiting(reply: Result<EnrolReply, saveos_fleet_sim::EnrolError>) -> bool {
    matches!(reply, Ok(EnrolReply::Waiting { .. }))
}

#[test]
fn a_code_is_typed_read_used_once_and_forgotten() {
    let Some(server) = Server::new() else { return };
    let (admin, place) = (server.admin(), server.place());
    let site = server.site(&admin, "a site");
    let (one, other) = (Identity::new(), Identity::new());
    assert!(is_waiting(enrol(&place, &one, |_| {})), "nobody has typed its code");

    // A typo is told at once; a code of no box enrols nobody.
    let code = one.claim_code().to_string();
    let typo = code.replacen(&code[..1], if code.starts_with('2') { "3" } else { "2" }, 1);
    let claim = serde_json::json!({ "code": typo, "site": site, "name": "a box" });
    let (status, problem) = admin.ask("POST", "/api/v1/claims", &claim);
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &Value::from("/code")));
    assert_eq!(server.claim(&admin, &site, &other).0, 201);
    assert!(is_waiting(enrol(&place, &one, |_| {})));

    // Expired: the code has to be typed again.
    assert_eq!(server.claim(&admin, &site, &one).0, 201);
    let age = |sql: &str| {
        assert_eq!(server.db().run(&format!("{sql} WHERE code = '{}'", one.claim_code())), 1);
    };
    age("UPDATE claim SET until_ms = 1");
    assert_eq!(refused(enrol(&place, &one, |_| {})), Refusal::ClaimExpired);
    assert_eq!(server.claim(&admin, &site, &one).0, 201);

    // A lost reply is given again for an hour; after that the code is used up, and nobody else can type it.
    for _ in 0..2 {
        assert!(matches!(enrol(&place, &one, |_| {}), Ok(EnrolReply::Issued(_))));
    }
    assert_eq!(server.claim(&admin, &site, &one).0, 409);
    age("UPDATE claim SET used_ms = 1");
    assert_eq!(refused(enrol(&place, &one, |_| {})), Refusal::ClaimUsed);
}

#[test]
fn a_request_is_for_ones_own_name_and_key_and_good_once() {
    let Some(server) = Server::new() else { return };
    let (admin, place) = (server.admin(), server.place());
    let site = server.site(&admin, "a site");
    let (known, _) = server.enrolled(&admin, &site);
    let claimed = || {
        let identity = Identity::new();
        assert_eq!(server.claim(&admin, &site, &identity).0, 201);
        identity
    };

    // The name of another box, with a key and a claim of one's own.
    let thief = claimed().called(known.device);
    assert_eq!(refused(enrol(&place, &thief, |_| {})), Refusal::ForeignName);

    let own = claimed();
    let nonce = || place.nonce().expect("a nonce");
    let (csr, proof) = own.request(nonce(), |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    assert_eq!(
        refused(enrol(&place, &own, |request| (request.csr, request.proof) = (csr, proof))),
        Refusal::AsksForAuthority
    );
    let (csr, proof) = own.request(nonce(), |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "cp");
    });
    assert_eq!(
        refused(enrol(&place, &own, |request| (request.csr, request.proof) = (csr, proof))),
        Refusal::ForeignName
    );

    // Another key's request, another key's proof, a proof for another request.
    let other = Identity::new();
    let (csr, proof) = other.request(nonce(), |_| {});
    assert_eq!(refused(enrol(&place, &own, |request| request.csr = csr.clone())), Refusal::ProofWrong);
    assert_eq!(refused(enrol(&place, &own, |request| request.proof = proof.clone())), Refusal::ProofWrong);
    assert_eq!(refused(enrol(&place, &own, |request| request.key = other.public)), Refusal::ProofWrong);
    let (csr, _) = other.request(nonce(), |_| {});
    let random = aws_lc_rs::rand::SystemRandom::new();
    let proof = saveos_protocol::enrol::Proof::sign(nonce(), None, &csr, own.key(), &random).expect("a proof");
    assert_eq!(refused(enrol(&place, &own, |request| (request.csr, request.proof) = (csr, proof))), Refusal::OtherKey);

    // The same request a second time, and a nonce that nobody gave.
    let (csr, proof) = own.request(nonce(), |_| {});
    let again = |request: &mut saveos_protocol::enrol::EnrolRequest| {
        (request.csr, request.proof) = (csr.clone(), proof.clone());
    };
    assert!(matches!(enrol(&place, &own, again), Ok(EnrolReply::Issued(_))));
    assert_eq!(refused(enrol(&place, &own, again)), Refusal::NonceUnknown);
}

#[test]
fn renewal_is_by_the_same_key_and_not_after_a_revocation() {
    let Some(server) = Server::new() else { return };
    let (admin, place) = (server.admin(), server.place());
    let site = server.site(&admin, "a site");
    let (known, first) = server.enrolled(&admin, &site);
    let reason = |reply: RenewReply| match reply {
        RenewReply::Refused(refused) => Some(refused.reason),
        RenewReply::Issued(_) => None,
    };
    let RenewReply::Issued(next) = renew(&place, &known, |_| {}).expect("an answer") else { panic!("refused") };
    assert_ne!(next.certificates, first.certificates);
    let thief = Identity::new().called(known.device);
    assert_eq!(reason(renew(&place, &thief, |_| {}).expect("an answer")), Some(Refusal::ProofWrong));
    assert_eq!(reason(renew(&place, &Identity::new(), |_| {}).expect("an answer")), Some(Refusal::UnknownDevice));

    let path = format!("/api/v1/appliances/{}/revoke", known.device);
    assert_eq!(admin.ask("POST", &path, &Value::Null).0, 200);
    assert_eq!(reason(renew(&place, &known, |_| {}).expect("an answer")), Some(Refusal::Revoked));
    assert_eq!(refused(enrol(&place, &known, |_| {})), Refusal::Revoked);
    // With a person it may come back.
    assert_eq!(server.claim(&admin, &site, &known).0, 201);
    assert!(matches!(enrol(&place, &known, |_| {}), Ok(EnrolReply::Issued(_))));
}

#[test]
fn two_boxes_share_no_secret_and_hostile_bodies_are_refused() {
    let Some(server) = Server::new() else { return };
    let (admin, place) = (server.admin(), server.place());
    let site = server.site(&admin, "a site");
    let ((one, first), (other, second)) = (server.enrolled(&admin, &site), server.enrolled(&admin, &site));
    assert!(one.device != other.device && one.public != other.public && first.certificates != second.certificates);
    let deep = format!("{{\"v\":1,\"x\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let large = vec![b' '; 100 * 1024];
    for (body, expected) in [
        (b"".as_slice(), 400),
        (b"nonsense", 400),
        (b"{\"v\":2}", 400),
        (deep.as_bytes(), 400),
        (large.as_slice(), 413),
    ] {
        for path in ["/api/v1/enrol", "/api/v1/renew"] {
            let (status, answer) = place.request("POST", path, &[], body).expect("an answer");
            assert_eq!(status, expected, "{path} {}", String::from_utf8_lossy(&answer));
        }
    }
}
