//! Whether a control plane that was just put somewhere does what it is for: asked from outside, as people and boxes ask it. A box is
//! enrolled, reports, takes a command, and is revoked in the end; nothing else stays behind but its site.

mod tls;

use crate::{Appliance, Identity, Place, enrol};
use saveos_protocol::enrol::EnrolReply;
use saveos_protocol::fact::{Body, KeyState};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is asked, and as whom.
pub struct Target {
    /// `https://host:port`.
    pub server: String,
    /// Its authority in PEM.
    pub authority: String,
    /// An administrator.
    pub email: String,
    /// The password.
    pub password: String,
    /// The version that should answer.
    pub version: Option<String>,
    /// The site for the box; none: one is made.
    pub site: Option<String>,
    /// The alert route that a test is sent on.
    pub route: Option<String>,
    /// `http://host:port/metrics`.
    pub metrics: Option<String>,
    /// What a page of the list of boxes may take, nineteen times of twenty.
    pub budget: Duration,
}

/// What was looked at, how long it took, and what was seen or what is wrong.
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How long.
    pub took: Duration,
    /// What was seen; what is wrong.
    pub outcome: Result<String, String>,
}

/// What a box has to be seen, to be told, to be cut off.
const SOON: Duration = Duration::from_secs(30);
const TIMES: usize = 20;

/// Looks at everything; what depends on something that failed is left out.
pub fn run(target: &Target) -> Vec<Check> {
    let mut smoke = Smoke {
        target,
        place: Place::new(&target.server, &target.authority),
        token: String::new(),
        checks: Vec::new(),
    };
    smoke.check("tls", Smoke::tls);
    smoke.check("headers", Smoke::headers);
    smoke.check("health", Smoke::health);
    smoke.check("version", Smoke::version);
    if smoke.check("sign-in", Smoke::sign_in) {
        smoke.check("latency", Smoke::latency);
        smoke.with_a_box();
        if target.route.is_some() {
            smoke.check("alert", Smoke::alert);
        }
    }
    if target.metrics.is_some() {
        smoke.check("metrics", Smoke::metrics);
    }
    smoke.checks
}

/// The report of a run.
pub fn report(target: &Target, checks: &[Check]) -> Value {
    let check = |check: &Check| {
        let (well, said) = match &check.outcome {
            Ok(said) => (true, said),
            Err(said) => (false, said),
        };
        json!({ "name": check.name, "passed": well, "ms": check.took.as_millis() as u64, "said": said })
    };
    let passed = checks.iter().all(|check| check.outcome.is_ok());
    json!({ "server": target.server, "passed": passed, "checks": checks.iter().map(check).collect::<Vec<_>>() })
}

struct Smoke<'t> {
    target: &'t Target,
    place: Place,
    token: String,
    checks: Vec<Check>,
}

type Outcome = Result<String, String>;

impl Smoke<'_> {
    fn check(&mut self, name: &'static str, look: impl FnOnce(&mut Self) -> Outcome) -> bool {
        let begun = Instant::now();
        let outcome = look(self);
        let passed = outcome.is_ok();
        self.checks.push(Check { name, took: begun.elapsed(), outcome });
        passed
    }

    /// A status and the JSON that came with it.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), String> {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("content-type", "application/json")];
        if !self.token.is_empty() {
            headers.push(("authorization", &bearer));
        }
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let asked = self.place.request(method, path, &headers, body.as_bytes());
        let (status, bytes) = asked.map_err(|error| format!("{method} {path}: {}", chain(&error)))?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    /// The JSON of an answer that says yes.
    fn must(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        match self.ask(method, path, body)? {
            (200..=299, answer) => Ok(answer),
            (status, problem) => {
                let said = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or_default();
                Err(format!("{method} {path}: {status} {said}"))
            }
        }
    }

    fn tls(&mut self) -> Outcome {
        if tls::takes_an_old_version(&self.target.server)? {
            return Err("TLS 1.2 is taken".to_owned());
        }
        // Whose certificate is not of the authority fails here.
        self.ask("GET", "/livez", &Value::Null)?;
        Ok("TLS 1.3, of the authority that boxes pin; 1.2 is refused".to_owned())
    }

    fn headers(&mut self) -> Outcome {
        let seen = self.place.headers("/").map_err(|error| chain(&error))?;
        for (name, part) in [
            ("strict-transport-security", "max-age="),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src"),
        ] {
            let said = seen.iter().find(|(seen, _)| seen == name).map_or("", |(_, value)| value);
            if !said.contains(part) {
                return Err(format!("{name} says `{said}`"));
            }
        }
        Ok("a browser is told what it must not do".to_owned())
    }

    fn health(&mut self) -> Outcome {
        let (live, _) = self.ask("GET", "/livez", &Value::Null)?;
        let (ready, said) = self.ask("GET", "/readyz", &Value::Null)?;
        match (live, ready) {
            (200, 200) => Ok("it lives and can do its work".to_owned()),
            _ => Err(format!("/livez {live}, /readyz {ready}: {}", said["detail"].as_str().unwrap_or_default())),
        }
    }

    fn version(&mut self) -> Outcome {
        let answer = self.must("GET", "/version", &Value::Null)?;
        let runs = answer["version"].as_str().unwrap_or_default().to_owned();
        match &self.target.version {
            Some(wanted) if *wanted != runs => Err(format!("{runs} runs, not {wanted}")),
            _ => Ok(runs),
        }
    }

    fn sign_in(&mut self) -> Outcome {
        let credentials = json!({ "email": self.target.email, "password": self.target.password });
        let answer = self.must("POST", "/api/v1/login", &credentials)?;
        self.token = answer["token"].as_str().ok_or("an answer without a token")?.to_owned();
        Ok(self.target.email.clone())
    }

    fn latency(&mut self) -> Outcome {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let begun = Instant::now();
            self.must("GET", "/api/v1/appliances?limit=50", &Value::Null)?;
            times.push(begun.elapsed());
        }
        times.sort();
        let worst = times[TIMES - 2];
        let said = format!("a page of boxes in {} ms, 19 times of 20", worst.as_millis());
        if worst <= self.target.budget {
            Ok(said)
        } else {
            Err(format!("{said}; {:?} is the budget", self.target.budget))
        }
    }

    fn alert(&mut self) -> Outcome {
        let route = self.target.route.as_deref().unwrap_or_default();
        self.must("POST", &format!("/api/v1/alert-routes/{route}/test"), &Value::Null)?;
        Ok(format!("a test arrived on {route}"))
    }

    fn metrics(&mut self) -> Outcome {
        let url = self.target.metrics.as_deref().unwrap_or_default();
        let text = self.place.text(url).map_err(|error| chain(&error))?;
        if text.contains("# TYPE saveos_ingest_connected gauge") {
            Ok(format!("{} lines", text.lines().count()))
        } else {
            Err(format!("{url} says nothing of the ingest"))
        }
    }

    fn with_a_box(&mut self) {
        let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() else {
            return;
        };
        let mut made = None;
        self.check("enrolment", |smoke| {
            let appliance = smoke.enrolled(&runtime)?;
            let said = appliance.identity().device.to_string();
            made = Some(appliance);
            Ok(said)
        });
        let Some(appliance) = made else { return };
        let path = format!("/api/v1/appliances/{}", appliance.identity().device);
        if self.check("report", |smoke| smoke.reports(&appliance, &path)) {
            self.check("command", |smoke| smoke.takes_a_command(&path));
        }
        self.check("revocation", |smoke| {
            smoke.must("POST", &format!("{path}/revoke"), &Value::Null)?;
            until(|| Ok((!appliance.is_online()).then_some(())), "its session still stands")?;
            Ok("its session is cut".to_owned())
        });
        appliance.unplug();
    }

    fn enrolled(&self, runtime: &tokio::runtime::Runtime) -> Result<Arc<Appliance>, String> {
        let site = match &self.target.site {
            Some(site) => site.clone(),
            None => self.new_site()?,
        };
        let identity = Identity::new();
        let claim = json!({ "code": identity.claim_code().to_string(), "site": site, "name": "smoke" });
        self.must("POST", "/api/v1/claims", &claim)?;
        let enrolment = match enrol(&self.place, &identity, |_| {}).map_err(|error| chain(&error))? {
            EnrolReply::Issued(enrolment) => enrolment,
            other => return Err(format!("{other:?}")),
        };
        let appliance = Appliance::new(identity, Duration::from_secs(1));
        appliance.answer_commands();
        runtime.spawn(Arc::clone(&appliance).run(enrolment));
        Ok(appliance)
    }

    fn new_site(&self) -> Result<String, String> {
        let tree = self.must("GET", "/api/v1/nodes", &Value::Null)?;
        let top = tree["items"].as_array().into_iter().flatten().find(|node| node["parent"].is_null());
        let mut parent = top.and_then(|node| node["id"].as_str()).ok_or("the tree has no top")?.to_owned();
        for kind in ["customer", "site"] {
            let node = json!({ "parent": parent, "kind": kind, "name": "smoke" });
            let made = self.must("POST", "/api/v1/nodes", &node)?;
            parent = made["id"].as_str().ok_or("a node without a name")?.to_owned();
        }
        Ok(parent)
    }

    fn reports(&self, appliance: &Appliance, path: &str) -> Outcome {
        appliance.tell(Body::Key(KeyState::WordsShown));
        until(
            || Ok((appliance.is_online() && appliance.level().waiting == 0).then_some(())),
            "nobody acknowledges its report",
        )?;
        until(
            || Ok((self.must("GET", path, &Value::Null)?["presence"] == "online").then_some(())),
            "people do not see that it is there",
        )?;
        Ok("its report is acknowledged, and people see it".to_owned())
    }

    fn takes_a_command(&self, path: &str) -> Outcome {
        let begun = Instant::now();
        let made = self.must("POST", &format!("{path}/commands"), &json!({ "type": "rescan", "args": {} }))?;
        let answered = || {
            let list = self.must("GET", &format!("{path}/commands"), &Value::Null)?;
            let command = list["items"].as_array().into_iter().flatten().find(|one| one["id"] == made["id"]);
            Ok(command.filter(|one| !one["ended_ms"].is_null()).cloned())
        };
        until(answered, "nobody answers a command")?;
        Ok(format!("there and back in {} ms", begun.elapsed().as_millis()))
    }
}

fn until<T>(mut look: impl FnMut() -> Result<Option<T>, String>, otherwise: &str) -> Result<T, String> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("{otherwise} after {} s", SOON.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}
