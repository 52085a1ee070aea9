//! The environments, compose and Kubernetes say the same thing, and no container may more than it has to.

use crate::container::IMAGE;
use crate::deploy::{AROUND, LABEL};
use crate::environment::{Part, environments};
use crate::shell::root;
use serde::Deserialize;
use serde_norway::Value;
use std::collections::{BTreeMap, BTreeSet};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join("control-plane/deploy").join(path)).expect(path)
}

fn yaml(text: &str) -> Value {
    let mut value: Value = serde_norway::from_str(text).expect("YAML");
    value.apply_merge().expect("anchors");
    value
}

fn compose() -> BTreeMap<String, Value> {
    let all = yaml(&read("docker-compose.prod.yml"));
    let services = all["services"].as_mapping().expect("services");
    services.iter().map(|(name, service)| (name.as_str().expect("a name").to_owned(), service.clone())).collect()
}

/// Everything in the base, by kind and name.
fn base() -> BTreeMap<(String, String), Value> {
    let mut all = BTreeMap::new();
    for file in files("k8s/base").into_iter().chain(files("k8s/cell")) {
        for one in serde_norway::Deserializer::from_str(&read(&file)) {
            let one = Value::deserialize(one).expect("YAML");
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let before = all.insert((text(&one["kind"]), text(&one["metadata"]["name"])), one);
            assert!(before.is_none(), "twice in {file}");
        }
    }
    all
}

/// What a kustomization lists, less other kustomizations.
fn files(folder: &str) -> Vec<String> {
    let list = yaml(&read(&format!("{folder}/kustomization.yaml")));
    let listed = list["resources"].as_sequence().expect("a list").iter().filter_map(Value::as_str);
    listed.filter(|name| name.ends_with(".yaml")).map(|name| format!("{folder}/{name}")).collect()
}

fn number(value: &Value) -> u16 {
    value.as_u64().and_then(|number| number.try_into().ok()).unwrap_or_else(|| panic!("{value:?} is no number"))
}

#[test]
fn compose_starts_what_staging_says_and_a_deployment_knows_every_service() {
    let (services, all) = (compose(), environments().expect("readable"));
    for part in Part::ALL {
        let service = &services[&part.to_string()];
        assert_eq!(number(&service["deploy"]["replicas"]), all["staging"].count(part), "{part}");
        let image = service["image"].as_str().expect("an image");
        assert!(image.starts_with(&format!("{IMAGE}:${{SAVEOS_TAG:?")), "{image}");
        assert_eq!(service["command"][2].as_str(), Some(part.to_string().as_str()), "{part}");
    }
    let known: BTreeSet<String> =
        AROUND.iter().map(|name| (*name).to_owned()).chain(Part::ALL.map(|part| part.to_string())).collect();
    let there: BTreeSet<String> =
        services.keys().filter(|name| !["migrate", "init"].contains(&name.as_str())).cloned().collect();
    assert_eq!(known, there);
}

#[test]
fn no_container_of_compose_may_more_than_it_has_to() {
    for (name, service) in compose() {
        let image = service["image"].as_str().expect("an image");
        let (_, tag) = image.rsplit_once(':').expect("a tag");
        assert!(tag != "latest", "{name} is whatever is newest");
        assert_eq!(service["security_opt"][0].as_str(), Some("no-new-privileges:true"), "{name}");
        assert!(service["logging"]["options"]["max-size"].is_string(), "the log of {name} fills the disk");
        // The image of the control plane carries its own.
        assert!(image.starts_with(IMAGE) || !service["healthcheck"].is_null(), "nobody knows whether {name} is well");
        // PostgreSQL's image takes rights away itself, after it made its folder.
        assert!(name == "postgres" || service["read_only"] == true, "{name} writes its own program");
        assert!(name == "postgres" || service["cap_drop"][0].as_str() == Some("ALL"), "{name}");
        let networks = &service["networks"];
        let is_outside = networks.as_sequence().is_some_and(|list| list.iter().any(|one| one == "outside"));
        let is_published = !service["ports"].is_null();
        assert!(
            !is_published || is_outside || !networks["outside"].is_null(),
            "{name} is published and cannot be reached"
        );
        for variable in service["environment"].as_mapping().into_iter().flat_map(serde_norway::Mapping::keys) {
            let variable = variable.as_str().expect("a name");
            let is_secret = ["PASSWORD", "SECRET", "_URL"].iter().any(|word| variable.contains(word));
            let is_none = variable.ends_with("FILE") || variable == "AWS_ENDPOINT_URL";
            assert!(!is_secret || is_none, "{name}: {variable} is for everybody who may look at containers");
        }
    }
}

#[test]
fn kubernetes_starts_what_production_says() {
    let (base, all) = (base(), environments().expect("readable"));
    let overlay = yaml(&read("k8s/overlays/production/kustomization.yaml"));
    assert_eq!(overlay["namespace"].as_str(), Some("production"));
    let mut replaced = BTreeMap::new();
    for patch in overlay["patches"].as_sequence().expect("patches") {
        let text = |key: &str| patch["target"][key].as_str().expect("a target").to_owned();
        let target = base.get(&(text("kind"), text("name"))).expect("a target that is there");
        for change in yaml(patch["patch"].as_str().expect("a patch")).as_sequence().expect("changes") {
            let path = change["path"].as_str().expect("a path");
            let there = path.split('/').skip(1).fold(target, |at, step| &at[step]);
            assert!(!there.is_null() && change["op"].as_str() == Some("replace"), "{path} is not there");
            replaced.insert(format!("{}/{}{path}", text("kind"), text("name")), change["value"].clone());
        }
    }
    let production = &all["production"];
    let autoscaler = "HorizontalPodAutoscaler/api/spec";
    assert_eq!(number(&replaced[&format!("{autoscaler}/minReplicas")]), production.count(Part::Api));
    assert!(number(&replaced[&format!("{autoscaler}/maxReplicas")]) > production.count(Part::Api));
    assert_eq!(number(&replaced["Deployment/worker/spec/replicas"]), production.count(Part::Worker));
    let broker = &base[&("StatefulSet".to_owned(), "broker".to_owned())];
    assert_eq!(number(&broker["spec"]["replicas"]), production.count(Part::Broker));
    let listed = overlay["resources"].as_sequence().expect("a list").iter().filter_map(Value::as_str);
    let cells: BTreeSet<&str> = listed.filter_map(|name| name.strip_prefix("../../cells/")).collect();
    assert_eq!(cells, production.cells.keys().map(String::as_str).collect::<BTreeSet<_>>());
    // A number here would fight with the autoscaler's at every deployment.
    assert!(base[&("Deployment".to_owned(), "api".to_owned())]["spec"]["replicas"].is_null());
}

/// A cell beside the first changes names, what chooses its pods, and the words that its processes start with.
#[test]
fn another_cell_is_the_first_under_another_name() {
    let (base, cell) = (base(), yaml(&read("k8s/cells/north/kustomization.yaml")));
    assert_eq!(yaml(&read("k8s/base/kustomization.yaml"))["resources"][2].as_str(), Some("../cell"));
    assert_eq!((cell["nameSuffix"].as_str(), cell["resources"][0].as_str()), (Some("-north"), Some("../../cell")));
    let label = &cell["labels"][0];
    assert!(label["pairs"]["saveos.com/cell"] == "north" && label["includeSelectors"] == true);
    let patches = cell["patches"].as_sequence().expect("patches");
    for (kind, name) in [("Deployment", "worker"), ("StatefulSet", "broker")] {
        let first = &base[&(kind.to_owned(), name.to_owned())];
        let is_of_first = |labels: &Value| labels["saveos.com/cell"] == "main";
        assert!(is_of_first(&first["spec"]["selector"]["matchLabels"]), "{name} would choose pods of other cells");
        assert!(is_of_first(&first["spec"]["template"]["metadata"]["labels"]));
        let args = &first["spec"]["template"]["spec"]["containers"][0]["args"];
        assert_eq!((args[3].as_str(), args[4].as_str()), (Some("--broker"), Some("broker:8883")));
        let patch = patches.iter().find(|patch| patch["target"]["kind"] == kind).expect("a patch");
        assert_eq!(patch["target"]["name"].as_str(), Some(name));
        let changes = yaml(patch["patch"].as_str().expect("text"));
        let changes: Vec<(&str, &str)> = changes.as_sequence().expect("changes").iter().map(change).collect();
        let at = |end: &str| format!("/spec/template/spec/containers/0/args/{end}");
        let expected = [(at("4"), "broker-north:8883"), (at("-"), "--cell"), (at("-"), "north")];
        assert_eq!(changes, expected.iter().map(|(path, value)| (path.as_str(), *value)).collect::<Vec<_>>());
    }
    let service = &base[&("Service".to_owned(), "broker".to_owned())];
    assert_eq!(
        service["spec"]["selector"]["saveos.com/cell"].as_str(),
        Some("main"),
        "boxes would be sent to any broker"
    );
}

fn change(value: &Value) -> (&str, &str) {
    (value["path"].as_str().expect("a path"), value["value"].as_str().expect("a value"))
}

#[test]
fn every_pod_is_nobody_and_everything_is_applied_by_its_label() {
    let base = base();
    let labels = ["api", "worker", "broker", "migrate", "base"];
    let mut pods = 0;
    for ((kind, name), one) in &base {
        let label = one["metadata"]["labels"][LABEL].as_str().unwrap_or_default();
        assert!(labels.contains(&label), "{kind} {name} is applied by nobody");
        let pod = &one["spec"]["template"]["spec"];
        if pod.is_null() {
            assert_eq!(label, "base", "{kind} {name}");
            continue;
        }
        pods += 1;
        assert_eq!(
            (label, one["spec"]["template"]["metadata"]["labels"][LABEL].as_str()),
            (name.as_str(), Some(label))
        );
        let (nobody, container) = (&pod["securityContext"], &pod["containers"][0]);
        assert!(nobody["runAsNonRoot"] == true && number(&nobody["runAsUser"]) == 10001, "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(container["image"].as_str(), Some(IMAGE), "{name}");
        let may = &container["securityContext"];
        assert!(may["readOnlyRootFilesystem"] == true && may["allowPrivilegeEscalation"] == false, "{name}");
        assert_eq!(may["capabilities"]["drop"][0].as_str(), Some("ALL"), "{name}");
        if label != "migrate" {
            let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
            assert!(probes.iter().all(|probe| !container[*probe].is_null()), "{name}");
            assert_eq!(container["args"][2].as_str(), Some(name.as_str()));
            let budget = &base[&("PodDisruptionBudget".to_owned(), name.clone())];
            assert_eq!(budget["spec"]["selector"]["matchLabels"][LABEL].as_str(), Some(name.as_str()));
        }
    }
    assert_eq!(pods, 4);
}
