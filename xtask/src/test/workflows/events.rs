//! Which workflows and which of their jobs run for which event: read from the workflows, and held against a table. A trigger that is
//! widened, or a job that loses its condition, is seen here and not when a secret is used by somebody else's pull request.

use super::expression::{Before, Context, holds};
use crate::shell::root;
use serde_json::Value;
use std::collections::BTreeMap;

/// Something that happens.
#[derive(Clone, Default)]
struct Happening {
    /// As `on:` calls it.
    event: &'static str,
    /// The branch, or that which a pull request is for.
    branch: &'static str,
    /// Files that were changed.
    changed: &'static [&'static str],
    /// The repository is a fork.
    fork: bool,
    /// Jobs that fail, as `workflow/job`.
    failing: &'static [&'static str],
    /// What became of it, where an event is of several kinds.
    action: &'static str,
    /// By hand, this workflow only.
    by_hand: &'static str,
    /// By hand, on this place of the rack.
    rack: &'static str,
    /// What is released, or to be released, is a prerelease.
    prerelease: bool,
}

fn workflows() -> BTreeMap<String, Value> {
    let folder = std::fs::read_dir(root().join(".github/workflows")).expect("a folder");
    folder
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a file");
            (name, serde_norway::from_str(&text).expect("YAML"))
        })
        .collect()
}

/// `*` is anything but a slash, `**` anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, rest)) => {
            let Some(text) = text.strip_prefix(before) else { return false };
            let (rest, deep) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
            let end = if deep { text.len() } else { text.find('/').unwrap_or(text.len()) };
            (0..=end).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
        }
    }
}

fn any(patterns: &Value, texts: &[&str]) -> bool {
    let patterns = patterns.as_array().expect("a list of patterns");
    patterns.iter().any(|pattern| texts.iter().any(|text| matches(pattern.as_str().expect("a pattern"), text)))
}

fn is_triggered(name: &str, workflow: &Value, happening: &Happening) -> bool {
    let on = &workflow["on"];
    let Some(rule) = on.get(happening.event) else { return false };
    if happening.event == "workflow_dispatch" {
        return name == happening.by_hand;
    }
    let known = ["branches", "paths", "types"];
    if let Some(rule) = rule.as_object() {
        assert!(
            rule.keys().all(|key| known.contains(&key.as_str())),
            "{name}: a filter that nobody evaluates: {rule:?}"
        );
    }
    let fits = |key: &str, texts: &[&str]| rule.get(key).is_none_or(|patterns| any(patterns, texts));
    fits("branches", &[happening.branch]) && fits("paths", happening.changed) && fits("types", &[happening.action])
}

struct Seen<'a> {
    happening: &'a Happening,
    results: &'a BTreeMap<String, &'static str>,
    needs: Vec<String>,
}

impl Context for Seen<'_> {
    fn value(&self, path: &str) -> Value {
        match path {
            "github.event_name" => self.happening.event.into(),
            "github.ref" => format!("refs/heads/{}", self.happening.branch).into(),
            "github.ref_name" => self.happening.branch.into(),
            "github.event.repository.fork" => self.happening.fork.into(),
            "github.event.release.prerelease" => {
                (self.happening.event == "release" && self.happening.prerelease).into()
            }
            "needs.version.outputs.prerelease" => self.happening.prerelease.to_string().into(),
            // Called with one by release.yml; by itself it has none.
            "inputs.version" => Value::Null,
            "inputs.rack" => self.happening.rack.into(),
            "needs.tag.result" => self.results["tag"].into(),
            "needs.version.result" => self.results["version"].into(),
            other => panic!("nobody says what {other} is"),
        }
    }

    fn before(&self) -> Before {
        let of = |result: &str| self.needs.iter().filter(|need| self.results[*need] == result).count();
        Before { failed: of("failure") > 0, all_well: of("success") == self.needs.len() }
    }
}

/// The jobs that run, as `workflow/job`.
fn jobs(happening: &Happening) -> Vec<String> {
    let mut ran = Vec::new();
    for (name, workflow) in workflows().iter().filter(|(name, workflow)| is_triggered(name, workflow, happening)) {
        let jobs = workflow["jobs"].as_object().expect("jobs");
        let mut results: BTreeMap<String, &'static str> = BTreeMap::new();
        while results.len() < jobs.len() {
            let before = results.len();
            for (job, what) in jobs {
                let needs: Vec<String> = match &what["needs"] {
                    Value::Null => Vec::new(),
                    Value::String(one) => vec![one.clone()],
                    all => serde_json::from_value(all.clone()).expect("a list of jobs"),
                };
                if results.contains_key(job) || !needs.iter().all(|need| results.contains_key(need)) {
                    continue;
                }
                let condition =
                    what.get("if").map_or("success()", |condition| condition.as_str().expect("a condition"));
                let seen = Seen { happening, results: &results, needs };
                let full = format!("{name}/{job}");
                let result = match holds(condition, &seen).unwrap_or_else(|fault| panic!("{full}: {fault}")) {
                    true if happening.failing.contains(&full.as_str()) => "failure",
                    true => "success",
                    false => "skipped",
                };
                if result != "skipped" {
                    ran.push(full);
                }
                results.insert(job.clone(), result);
            }
            assert!(results.len() > before, "{name}: jobs that wait for each other");
        }
    }
    ran.sort();
    ran
}

const CI: [&str; 4] = ["ci/cross", "ci/dashboard", "ci/quick", "ci/security"];
const PRODUCTION: [&str; 5] =
    ["production/container", "production/dashboard", "production/full", "production/image", "production/security"];
const STAGING: [&str; 4] =
    ["deploy-staging/container", "deploy-staging/deploy", "deploy-staging/notify", "deploy-staging/tag"];
const NIGHT: [&str; 3] = ["hil/virtual", "maintenance/advisories", "maintenance/tidy"];
const DEPLOY: [&str; 2] = ["deploy/deploy", "deploy/notify"];
/// After the number is there.
const RELEASE: [&str; 5] =
    ["release/container", "release/draft", "release/firmware", "release/notify", "release/version"];

fn push(branch: &'static str) -> Happening {
    Happening { event: "push", branch, changed: &["README.md"], ..Happening::default() }
}

#[test]
fn each_event_runs_what_the_table_says() {
    let with = |jobs: &[&'static str], more: &[&'static str]| [jobs, more].concat();
    let pull = |branch| Happening { event: "pull_request", branch, ..Happening::default() };
    let by_hand = |by_hand| Happening { event: "workflow_dispatch", branch: "main", by_hand, ..Happening::default() };
    let released = |action| Happening { event: "release", action, ..Happening::default() };
    let on_rack = Happening { rack: "pi4-1", ..by_hand("hil") };
    let nightly = Happening { event: "schedule", branch: "main", ..Happening::default() };
    let table: Vec<(&str, Happening, Vec<&str>)> = vec![
        ("a push to develop", push("develop"), with(&CI, &STAGING)),
        ("a push to develop in a fork, which has no staging", Happening { fork: true, ..push("develop") }, CI.to_vec()),
        ("a push to a feature", push("feature/restore/files"), CI.to_vec()),
        ("a push to a hotfix", push("hotfix/1.2"), CI.to_vec()),
        ("a push to main", push("main"), PRODUCTION.to_vec()),
        (
            "a push to main that fails",
            Happening { failing: &["production/image"], ..push("main") },
            with(&PRODUCTION, &["production/notify"]),
        ),
        (
            "the same in a fork, which has nobody to tell",
            Happening { failing: &["production/image"], fork: true, ..push("main") },
            PRODUCTION.to_vec(),
        ),
        ("a push to somebody's branch", push("anna"), vec![]),
        (
            "a push that fails",
            Happening { failing: &["ci/quick"], ..push("develop") },
            with(&CI, &with(&STAGING, &["ci/notify"])),
        ),
        (
            "an image that cannot be made",
            Happening { failing: &["deploy-staging/container"], ..push("develop") },
            with(&CI, &["deploy-staging/container", "deploy-staging/notify", "deploy-staging/tag"]),
        ),
        ("a pull request to develop", pull("develop"), CI.to_vec()),
        ("a pull request to main", pull("main"), CI.to_vec()),
        ("a pull request to a feature", pull("feature/x"), vec![]),
        ("a pull request that fails has no secrets", Happening { failing: &["ci/quick"], ..pull("main") }, CI.to_vec()),
        ("the night, and once a week", nightly.clone(), NIGHT.to_vec()),
        ("the night in a fork", Happening { fork: true, ..nightly.clone() }, vec![]),
        ("a bad night", Happening { failing: &["hil/virtual"], ..nightly }, with(&NIGHT, &["hil/notify"])),
        ("the bench by hand", by_hand("hil"), vec!["hil/virtual"]),
        ("the rack by hand", on_rack.clone(), vec!["hil/rack"]),
        ("the rack fails", Happening { failing: &["hil/rack"], ..on_rack.clone() }, vec!["hil/notify", "hil/rack"]),
        ("the rack for what is not on main", Happening { branch: "feature/x", ..on_rack.clone() }, vec![]),
        ("the rack of a fork", Happening { fork: true, ..on_rack }, vec![]),
        (
            "a push to develop that changes a recipe",
            Happening { changed: &["yocto/kas/base.yml"], ..push("develop") },
            with(&CI, &with(&STAGING, &["yocto/parse"])),
        ),
        ("Yocto by hand", by_hand("yocto"), vec!["yocto/build", "yocto/parse"]),
        ("maintenance by hand", by_hand("maintenance"), vec!["maintenance/advisories", "maintenance/tidy"]),
        ("staging by hand", by_hand("deploy-staging"), STAGING.to_vec()),
        ("a release by hand", by_hand("release"), with(&RELEASE, &["release/tests"])),
        (
            "a prerelease by hand",
            Happening { prerelease: true, ..by_hand("release") },
            with(&RELEASE, &["release/staging", "release/tests"]),
        ),
        (
            "a release whose tests fail",
            Happening { failing: &["release/tests"], ..by_hand("release") },
            vec!["release/notify", "release/tests"],
        ),
        (
            "a release whose firmware cannot be made",
            Happening { failing: &["release/firmware"], prerelease: true, ..by_hand("release") },
            vec![
                "release/container",
                "release/firmware",
                "release/notify",
                "release/staging",
                "release/tests",
                "release/version",
            ],
        ),
        (
            "a number that was raised at a desk",
            Happening { changed: &["VERSION", "CHANGELOG.md"], ..push("main") },
            with(&PRODUCTION, &RELEASE),
        ),
        ("a release in production, or back to one", by_hand("deploy"), DEPLOY.to_vec()),
        ("a release", released("published"), with(&PRODUCTION, &DEPLOY)),
        (
            "a release that does not work there",
            Happening { failing: &["deploy/deploy"], ..released("published") },
            with(&PRODUCTION, &DEPLOY),
        ),
        (
            "a prerelease is not put into production",
            Happening { prerelease: true, ..released("published") },
            PRODUCTION.to_vec(),
        ),
        ("a release in a fork", Happening { fork: true, ..released("published") }, PRODUCTION.to_vec()),
        ("a draft of a release", released("created"), vec![]),
    ];
    for (what, happening, mut expected) in table {
        expected.sort_unstable();
        assert_eq!(jobs(&happening), expected, "{what}");
    }
}

#[test]
fn patterns_of_branches_match_as_github_matches_them() {
    for (pattern, text, expected) in [
        ("main", "main", true),
        ("main", "main/x", false),
        ("feature/*", "feature/a", true),
        ("feature/*", "feature/a/b", false),
        ("feature/**", "feature/a/b", true),
        ("**/VERSION", "a/b/VERSION", true),
        ("*-rc", "1-rc", true),
        ("*-rc", "1-rd", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

/// What a job may do stands with the job; what it is given by others is pinned.
#[test]
fn every_job_says_what_it_may_and_how_long_it_may_take() {
    for (name, workflow) in workflows() {
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{name}");
        for (job, what) in workflow["jobs"].as_object().expect("jobs") {
            // Which calls a workflow whose jobs say how long they take.
            let calls = what["uses"].as_str().is_some_and(|uses| uses.starts_with("$/.github/workflows/"));
            assert!(what["permissions"].is_object() && what["timeout-minutes"].is_u64() != calls, "{name}/{job}");
            for step in what["steps"].as_array().into_iter().flatten() {
                let Some(uses) = step["uses"].as_str() else { continue };
                let pin = uses.split_once('@').map_or("", |(_, pin)| pin);
                assert!(pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}/{job}: {uses}");
            }
        }
    }
}

/// Whatever a workflow runs, a person can run: a task of ours, with suites that there are. What ci.yml tests, `.ci/run` tests as well, from
/// a clean clone.
#[test]
fn every_step_is_a_command_of_the_tree() {
    let (mut steps, mut tested) = (0, 0);
    for (name, workflow) in workflows() {
        for (job, what) in workflow["jobs"].as_object().expect("jobs") {
            for run in what["steps"].as_array().into_iter().flatten().filter_map(|step| step["run"].as_str()) {
                steps += 1;
                let words: Vec<&str> = run.split_whitespace().collect();
                let Some(at) = words.windows(2).position(|pair| pair == ["cargo", "xtask"]) else {
                    assert_eq!(
                        run, r#"gh auth setup-git && git push --follow-tags origin "HEAD:$BRANCH""#,
                        "{name}/{job}"
                    );
                    continue;
                };
                let task = words[at + 2];
                // Of deploy.yml, which says above what it is.
                let known = task == r#""$TASK""# || crate::HELP.contains(&format!("cargo xtask {task} "));
                assert!(known, "{name}/{job}: no task {task}");
                for suite in words[at + 3..].iter().filter(|_| task == "test") {
                    tested += 1;
                    let (there, by_itself) = crate::test::suite(suite);
                    assert!(there && (by_itself || name != "ci"), "{name}/{job}: {suite}");
                }
            }
        }
    }
    assert!(steps > 25 && tested > 25, "{steps} {tested}");
}

/// The guide names each workflow that there is, in both languages.
#[test]
fn the_guide_names_every_workflow() {
    for guide in ["docs/ci-cd.md", "docs/ci-cd.fr.md"] {
        let text = std::fs::read_to_string(root().join(guide)).expect("a guide");
        for (name, workflow) in workflows() {
            assert!(text.contains(&format!("| `.github/workflows/{name}.yml` |")), "{guide}: {name}");
            for job in workflow["jobs"].as_object().expect("jobs").keys() {
                assert!(text.contains(&format!("`{job}`")), "{guide}: {name}/{job}");
            }
        }
    }
}
