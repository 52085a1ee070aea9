//! Who built a bundle, and from what: an in-toto statement with a SLSA provenance. `https://slsa.dev/spec/v1.0/provenance`
//! It is one of the targets, so the holders of their keys sign it with the bundle that it names.

use serde_json::{Value, json};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// How the parameters are meant: those of `cargo xtask image`.
const BUILD: &str = "urn:saveos:build:image:1";

/// What a builder says of a bundle.
#[derive(Clone, Debug)]
pub struct Built {
    /// The bundle's file name and hash.
    pub name: String,
    /// As hexadecimal digits.
    pub sha256: String,
    /// Who built it: the address of a workflow or a machine.
    pub builder: String,
    /// From where the source came: `git+https://…`.
    pub source: String,
    /// Which state of it.
    pub commit: String,
    /// What was asked of the builder, name and value.
    pub parameters: Vec<(String, String)>,
}

/// The statement about it.
pub fn statement(built: &Built) -> Value {
    let parameters: serde_json::Map<_, _> =
        built.parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    json!({
        "_type": STATEMENT,
        "subject": [{ "name": built.name, "digest": { "sha256": built.sha256 } }],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": parameters,
                "resolvedDependencies": [{ "uri": built.source, "digest": { "gitCommit": built.commit } }],
            },
            "runDetails": { "builder": { "id": built.builder } },
        },
    })
}

/// Whether a statement speaks of a bundle with this hash.
pub(crate) fn check(statement: &Value, sha256: &str) -> Result<(), &'static str> {
    if statement["_type"] != STATEMENT || statement["predicateType"] != PREDICATE {
        return Err("no in-toto statement with a SLSA provenance");
    }
    let subjects = statement["subject"].as_array().map_or(&[][..], Vec::as_slice);
    let named = subjects.iter().any(|subject| subject["digest"]["sha256"] == sha256);
    if named { Ok(()) } else { Err("it speaks of another bundle") }
}
