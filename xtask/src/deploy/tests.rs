//! What `docker compose` and `kubectl` are asked, word by word and in which order, and what is made of their answers. They themselves
//! are not here; that a cut-over keeps people served is seen with real processes (`control-plane/server/tests/a_release_is_put_and_taken_back.rs`).

use super::cut_over::{Ask, Outcome, Place, cut_over};
use super::*;
use crate::environment::{Cluster, Part};

/// To what was asked, and about which build.
type Answer = Box<dyn FnMut(&str, &str) -> anyhow::Result<String>>;

/// Answers in the place of programs.
struct Script {
    asked: Vec<String>,
    answer: Answer,
    waited: u64,
}

impl Script {
    fn new(answer: impl FnMut(&str, &str) -> anyhow::Result<String> + 'static) -> Script {
        Script { asked: Vec::new(), answer: Box::new(answer), waited: 0 }
    }
}

impl Tools for &mut Script {
    fn call(&mut self, words: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<String> {
        let line = words.join(" ").replace("docker compose --file control-plane/deploy/docker-compose.prod.yml ", "");
        let line = line.replace("kubectl --context c --namespace production ", "");
        let tag = environment.iter().find(|(name, _)| *name == "SAVEOS_TAG").map_or("", |(_, value)| *value);
        self.asked.push(format!("{tag} {line}").trim().to_owned());
        (self.answer)(&line, tag)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.waited)
    }

    fn wait(&mut self) {
        self.waited += 1;
    }
}

/// Whatever is put there.
const WORKS: Ask<'_> = &|_| Ok(());

fn staging() -> Environment {
    environment::named("staging").expect("there is one")
}

#[test]
fn compose_starts_new_containers_beside_the_old_ones() {
    let mut script = Script::new(|line, _| {
        Ok(match line {
            "ps --format {{.Image}} api worker broker" => "ghcr.io/saveos/saveos-server:1.0.0\n",
            "ps --all --quiet api" => "a1\na2\n",
            _ => "",
        }
        .to_owned())
    });
    let report = cut_over(&mut Compose::with(staging(), &mut script), WORKS, &"1.1.0".parse().expect("a build"));
    assert_eq!((report.outcome, report.from.as_deref()), (Outcome::Serves, Some("1.0.0")));
    let asked = &script.asked;
    let at = |line: &str| asked.iter().position(|one| one == line).unwrap_or_else(|| panic!("{line}: {asked:#?}"));
    let begun = at("1.1.0 up --detach --no-deps --wait --wait-timeout 90 --no-recreate --scale api=4 api");
    assert!(at("1.1.0 run --rm --no-deps --no-TTY migrate") < begun);
    assert!(begun < at("docker stop --time 20 a1") && at("docker rm a2") < asked.len());
    // One broker, in the place of the other.
    at("1.1.0 up --detach --no-deps --wait --wait-timeout 90 --force-recreate broker");
}

#[test]
fn compose_takes_away_what_does_not_become_healthy_and_leaves_the_old() {
    let mut beside = false;
    let mut script = Script::new(move |line, tag| {
        if tag == "1.1.0"
            && line.starts_with("up --detach --no-deps --wait --wait-timeout 90 --no-recreate --scale worker")
        {
            beside = true;
            bail!("container worker-3 is unhealthy");
        }
        Ok(match line {
            "ps --format {{.Image}} api worker broker" => "saveos-server:1.0.0",
            "ps --all --quiet worker" if beside => "w1 w2 new",
            "ps --all --quiet worker" => "w1 w2",
            "docker rm new" => {
                beside = false;
                ""
            }
            _ => "",
        }
        .to_owned())
    });
    let report = cut_over(&mut Compose::with(staging(), &mut script), WORKS, &"1.1.0".parse().expect("a build"));
    assert_eq!(report.outcome, Outcome::TakenBack);
    assert_eq!(report.why.as_deref(), Some("container worker-3 is unhealthy"));
    let asked = &script.asked;
    let failed = asked.iter().position(|one| one.contains("--scale worker=4 worker")).expect("it was tried");
    assert_eq!(
        asked[failed + 1..failed + 4],
        ["1.1.0 ps --all --quiet worker", "docker stop --time 20 new", "docker rm new"]
    );
    assert!(!asked.iter().any(|one| one.ends_with("--force-recreate broker")), "nobody touches the broker: {asked:#?}");
    let back = asked.iter().position(|one| one.starts_with("1.0.0 up")).expect("it is taken back");
    assert!(back > failed);
}

fn cluster() -> Cluster {
    Cluster { context: "c".to_owned(), namespace: "production".to_owned() }
}

#[test]
fn kubectl_replaces_part_after_part_and_says_why_a_step_of_the_schema_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut script = Script::new(|line, _| {
        Ok(match line {
            line if line.starts_with("get deployments,statefulsets") => "r/saveos-server:1.0.0 r/saveos-server:1.0.0",
            line if line.starts_with("get job") => "1/",
            _ => "",
        }
        .to_owned())
    });
    let mut place = Kubectl::with(cluster(), &["north"], &mut script, folder.path().to_owned());
    let report = cut_over(&mut place, WORKS, &"1.1.0".parse().expect("a build"));
    assert_eq!((report.outcome, report.from.as_deref()), (Outcome::Serves, Some("1.0.0")));
    let steps: Vec<&str> =
        script.asked.iter().filter_map(|line| line.split("--selector saveos.com/part=").nth(1)).collect();
    assert_eq!(steps, ["base", "migrate", "api", "worker", "broker"]);
    let waited: Vec<&str> = script.asked.iter().filter_map(|line| line.strip_prefix("rollout status ")).collect();
    let workloads = [
        "deployment/api",
        "deployment/worker",
        "deployment/worker-north",
        "statefulset/broker",
        "statefulset/broker-north",
    ];
    assert_eq!(waited, workloads.map(|one| format!("{one} --timeout 180s")), "of every cell");
    let text = std::fs::read_to_string(folder.path().join("kustomization.yaml")).expect("it was written");
    assert!(text.contains("newTag: '1.1.0'") && text.contains("overlays/production"), "{text}");

    let mut script = Script::new(|line, _| {
        Ok(match line {
            line if line.starts_with("get job") => "/1",
            line if line.starts_with("logs") => "error: the database is newer than this program\n",
            _ => "",
        }
        .to_owned())
    });
    let mut place = Kubectl::with(cluster(), &[], &mut script, folder.path().to_owned());
    let report = cut_over(&mut place, WORKS, &"1.1.0".parse().expect("a build"));
    assert_eq!(report.outcome, Outcome::Refused);
    assert!(report.why.expect("a reason").ends_with("the database is newer than this program"));

    let mut script = Script::new(|line, _| Ok(if line.starts_with("get job") { "/" } else { "" }.to_owned()));
    let mut place = Kubectl::with(cluster(), &[], &mut script, folder.path().to_owned());
    assert!(place.migrate(&"1.1.0".parse().expect("a build")).is_err(), "it does not wait for ever");
    assert_eq!(script.waited, 180);
}

#[test]
fn what_became_of_it_is_written_down_by_a_worker_that_is_there() {
    let words = ["deployed".to_owned(), "--build".to_owned(), "1.1.0".to_owned()];
    let mut script = Script::new(|_, _| Ok(String::new()));
    Compose::with(staging(), &mut script).write_down(&words).expect("it is there");
    assert_eq!(script.asked, ["none exec --no-TTY worker saveos-server deployed --build 1.1.0"]);
    let (mut script, folder) = (Script::new(|_, _| Ok(String::new())), tempfile::tempdir().expect("a folder"));
    let mut place = Kubectl::with(cluster(), &[], &mut script, folder.path().to_owned());
    place.write_down(&words).expect("it is there");
    assert_eq!(script.asked, ["exec deployment/worker -- saveos-server deployed --build 1.1.0"]);
}

#[test]
fn builds_are_read_from_the_names_of_images() {
    assert_eq!(builds("").expect("none"), []);
    let two = builds("localhost:5000/s:1.0.0 localhost:5000/s:sha-0123abc localhost:5000/s:1.0.0").expect("two");
    assert_eq!(two.iter().map(Tag::to_string).collect::<Vec<_>>(), ["1.0.0", "sha-0123abc"]);
    assert!(builds("saveos-server").is_err() && builds("saveos-server:latest").is_err());
    assert_eq!(Part::ALL.map(|part| part.to_string()), ["api", "worker", "broker"]);
}

#[test]
fn where_only_releases_go_nothing_else_does() {
    let production = environment::named("production").expect("there is one");
    let fits = |environment: &Environment, tag: &str| fits(environment, &tag.parse().expect("a build")).is_ok();
    assert!(fits(&production, "1.0.0") && !fits(&production, "1.0.0-rc.1") && !fits(&production, "sha-0123abc"));
    assert!(["1.0.0", "1.0.0-rc.1", "sha-0123abc"].iter().all(|tag| fits(&staging(), tag)));
}
