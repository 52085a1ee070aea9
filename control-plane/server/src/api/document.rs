//! The OpenAPI document: routes as utoipa reads them from the handlers, bodies as schemars reads them from the types, which is how
//! the protocol's own schemas are made. Committed as `openapi.json`; `SAVEOS_WRITE_OPENAPI=1 cargo test -p saveos-server document`
//! writes it.

use super::{
    account_changes, accounts, alert_routes, alerts, answer, appliances, bulk, claims, commands, facts, go, health,
    login, logs, own, policies, protection, release, releases, reports, rollouts, setup, signed, silences, tokens,
    tree,
};
use crate::fleet;
use crate::ingest::News;
use saveos_protocol::problem::{MEDIA_TYPE, Problem};
use saveos_protocol::{command, enrol, shadow};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

/// The document for these routes.
pub(super) fn document(routes: &OpenApi) -> Value {
    let mut document = serde_json::to_value(routes).unwrap_or_default();
    document["info"] = json!({
        "title": "SaveOS control plane", "version": env!("CARGO_PKG_VERSION"),
        "description": "Lists come in pages: `next` of one page is `after` of the following. Times are milliseconds since 1970 in UTC. \
            Whoever may not see a thing is told that it is not there.",
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
    });
    document["security"] = json!([{ "bearer": [] }, { "cookie": [], "header": [] }]);
    document["components"] = json!({
        "schemas": schemas(),
        "responses": { "Problem": {
            "description": "What is wrong, as RFC 9457 says it.",
            "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
        } },
        "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer", "description": "The token of a session or of a program." },
            "cookie": { "type": "apiKey", "in": "cookie", "name": super::access::COOKIE, "description": "The same, for browsers." },
            "header": {
                "type": "apiKey", "in": "header", "name": "X-SaveOS",
                "description": "Any value. With the cookie, whatever is no GET needs it: a foreign page cannot send it.",
            },
        },
    });
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        if let Some(body) = operation.get_mut("requestBody") {
            body["required"] = json!(true);
        }
        operation["responses"]["default"] = json!({ "$ref": "#/components/responses/Problem" });
    }
    document
}

/// Schemas of all bodies. One that a route names and this does not is found by a test.
fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        // What is a set is read as one: who says something twice has said it.
        settings
            .transforms
            .push(Box::new(RecursiveTransform(|schema: &mut Schema| drop(schema.remove("uniqueItems")))));
    });
    let mut schemas = settings.into_generator();
    let reads = [
        define::<login::Credentials>,
        define::<setup::FirstAccount>,
        define::<tree::NewNode>,
        define::<bulk::New>,
        define::<accounts::NewAccount>,
        define::<claims::NewClaim>,
        define::<own::Proving>,
        define::<own::NewPassword>,
        define::<own::Digits>,
        define::<tokens::NewToken>,
        define::<alert_routes::NewAlertRoute>,
        define::<silences::NewSilence>,
        define::<command::Action>,
        define::<command::Command>,
        define::<shadow::Desired>,
        define::<policies::Policy>,
        define::<enrol::EnrolRequest>,
        define::<enrol::RenewRequest>,
    ];
    let writes = [
        define::<Problem>,
        define::<answer::Made>,
        define::<login::Session>,
        define::<login::Me>,
        define::<login::Trail>,
        define::<answer::List<tree::Node>>,
        define::<policies::InForce>,
        define::<policies::Told>,
        define::<go::Go>,
        define::<release::Offer>,
        define::<release::Offered>,
        define::<release::ReleaseOfBox>,
        define::<answer::List<releases::Entry>>,
        define::<answer::List<rollouts::InShort>>,
        define::<rollouts::New>,
        define::<rollouts::Change>,
        define::<rollouts::Rollout>,
        define::<bulk::Bulk>,
        define::<answer::List<bulk::InShort>>,
        define::<reports::Report>,
        define::<protection::Protection>,
        define::<answer::List<accounts::Account>>,
        define::<accounts::Made>,
        define::<answer::List<alerts::Alert>>,
        define::<answer::List<claims::Claimed>>,
        define::<claims::Made>,
        define::<own::MadeFactor>,
        define::<own::RecoveryCodes>,
        define::<answer::List<own::OwnSession>>,
        define::<tokens::MadeToken>,
        define::<answer::List<tokens::Token>>,
        define::<alert_routes::MadeAlertRoute>,
        define::<answer::List<alert_routes::AlertRoute>>,
        define::<answer::List<silences::Silence>>,
        define::<answer::List<fleet::Appliance>>,
        define::<answer::List<appliances::Job>>,
        define::<answer::List<appliances::RecoveryPoint>>,
        define::<answer::List<facts::Told>>,
        define::<answer::List<commands::Sent>>,
        define::<appliances::SaidOfItself>,
        define::<answer::List<logs::Delivery>>,
        define::<logs::Question>,
        define::<appliances::Change>,
        define::<account_changes::Change>,
        define::<appliances::Revoked>,
        define::<signed::Accepted>,
        define::<enrol::Challenge>,
        define::<enrol::EnrolReply>,
        define::<enrol::RenewReply>,
        define::<health::Ready>,
        define::<health::Version>,
        define::<News>,
    ];
    for define in reads.into_iter().chain(writes) {
        define(&mut schemas);
    }
    schemas.take_definitions(true)
}

fn define<T: JsonSchema>(schemas: &mut SchemaGenerator) {
    schemas.subschema_for::<T>();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn refs(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| refs(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| refs(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_committed_document_is_that_of_the_routes() {
        let (_, routes) = super::super::routes().split_for_parts();
        let text = format!("{}\n", serde_json::to_string_pretty(&document(&routes)).expect("JSON"));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        if std::env::var_os("SAVEOS_WRITE_OPENAPI").is_some() {
            let mut file = std::fs::File::create(path).expect("openapi.json can be written");
            file.write_all(text.as_bytes()).expect("openapi.json can be written");
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == text,
            "openapi.json is stale: see the head of this file"
        );
    }

    #[test]
    fn every_name_has_a_schema_and_every_route_a_name() {
        let (_, routes) = super::super::routes().split_for_parts();
        let document = document(&routes);
        let mut found = Vec::new();
        refs(&document, &mut found);
        for name in found {
            let place = name.strip_prefix('#').expect("a name in this document");
            assert!(document.pointer(place).is_some(), "nothing defines {name}");
        }
        let mut names: Vec<&str> = Vec::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for operation in operations.as_object().expect("operations").values() {
                assert!(operation["summary"].is_string(), "{path} does not say what it does");
                names.push(operation["operationId"].as_str().expect("a name"));
            }
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "two routes have one name");
    }
}
