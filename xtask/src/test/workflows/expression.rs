//! The conditions of jobs, as GitHub evaluates them: as much of the language as our workflows use. What it does not know is an error, so
//! that a condition is never taken for one that holds.

use serde_json::Value;

/// What a condition asks of.
pub(super) trait Context {
    /// `github.ref`, `needs.build.result`; null where there is nothing.
    fn value(&self, path: &str) -> Value;
    /// Whether some job before failed, and whether all before ended well.
    fn before(&self) -> Before;
}

/// How the jobs ended that one needs.
#[derive(Clone, Copy)]
pub(super) struct Before {
    pub(super) failed: bool,
    pub(super) all_well: bool,
}

/// Whether a job with this condition runs.
pub(super) fn holds(condition: &str, context: &dyn Context) -> Result<bool, String> {
    let text = condition.trim();
    let text = text.strip_prefix("${{").and_then(|text| text.strip_suffix("}}")).unwrap_or(text);
    let mut parser = Parser { tokens: tokens(text)?, at: 0, context, asks_of_status: false };
    let value = parser.or()?;
    if parser.at != parser.tokens.len() {
        return Err(format!("`{condition}` has something behind its end"));
    }
    // Whoever does not ask how the others ended wants all of them to have ended well.
    Ok(truth(&value) && (parser.asks_of_status || context.before().all_well))
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => rest[1..].find('\'').ok_or("a text without an end")? + 2,
            '(' | ')' | ',' => 1,
            '!' if rest.starts_with("!=") => 2,
            '!' => 1,
            '&' | '|' | '=' => 2,
            first if first.is_ascii_alphanumeric() || first == '_' => rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && !"_.-".contains(letter))
                .unwrap_or(rest.len()),
            other => return Err(format!("`{other}` is not known")),
        };
        let (token, others) = rest.split_at_checked(length).ok_or("it ends too early")?;
        tokens.push(token.to_owned());
        rest = others.trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: Vec<String>,
    at: usize,
    context: &'a dyn Context,
    asks_of_status: bool,
}

impl Parser<'_> {
    fn takes(&mut self, wanted: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token == wanted);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<Value, String> {
        let mut value = self.and()?;
        while self.takes("||") {
            let other = self.and()?;
            value = if truth(&value) { value } else { other };
        }
        Ok(value)
    }

    fn and(&mut self) -> Result<Value, String> {
        let mut value = self.equal()?;
        while self.takes("&&") {
            let other = self.equal()?;
            value = if truth(&value) { other } else { value };
        }
        Ok(value)
    }

    fn equal(&mut self) -> Result<Value, String> {
        let value = self.single()?;
        for (operator, same) in [("==", true), ("!=", false)] {
            if self.takes(operator) {
                let other = self.single()?;
                return Ok(Value::Bool((folded(&value) == folded(&other)) == same));
            }
        }
        Ok(value)
    }

    fn single(&mut self) -> Result<Value, String> {
        if self.takes("!") {
            return Ok(Value::Bool(!truth(&self.single()?)));
        }
        if self.takes("(") {
            let value = self.or()?;
            return if self.takes(")") { Ok(value) } else { Err("a bracket without an end".to_owned()) };
        }
        let token = self.tokens.get(self.at).cloned().ok_or("it ends too early")?;
        self.at += 1;
        if let Some(text) = token.strip_prefix('\'') {
            return Ok(Value::String(text.trim_end_matches('\'').to_owned()));
        }
        if self.takes("(") {
            return self.call(&token);
        }
        Ok(match token.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            path if path.contains('.') => self.context.value(path),
            other => return Err(format!("`{other}` is not known")),
        })
    }

    fn call(&mut self, name: &str) -> Result<Value, String> {
        let mut arguments = Vec::new();
        while !self.takes(")") {
            arguments.push(folded(&self.or()?));
            if !self.takes(",") && self.tokens.get(self.at).is_none_or(|token| token != ")") {
                return Err(format!("{name}( has no end"));
            }
        }
        let before = self.context.before();
        let value = match (name, arguments.as_slice()) {
            ("startsWith", [Value::String(text), Value::String(begin)]) => text.starts_with(begin.as_str()),
            ("contains", [Value::String(text), Value::String(part)]) => text.contains(part.as_str()),
            ("always", []) => true,
            ("cancelled", []) => false,
            ("success", []) => before.all_well,
            ("failure", []) => before.failed,
            _ => return Err(format!("{name} is not known, or not with {arguments:?}")),
        };
        self.asks_of_status |= ["always", "cancelled", "success", "failure"].contains(&name);
        Ok(Value::Bool(value))
    }
}

/// As GitHub takes a value for true.
fn truth(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != 0
}

/// Texts are compared without regard to their case, and nothing is an empty text.
fn folded(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.to_lowercase()),
        Value::Null => Value::String(String::new()),
        other => other.clone(),
    }
}

struct Given(Before);

impl Context for Given {
    fn value(&self, path: &str) -> Value {
        match path {
            "github.event_name" => "push".into(),
            "github.ref" => "refs/heads/hotfix/x".into(),
            "inputs.all" => true.into(),
            _ => Value::Null,
        }
    }

    fn before(&self) -> Before {
        self.0
    }
}

#[test]
fn conditions_hold_as_they_are_written() {
    let well = Given(Before { failed: false, all_well: true });
    let ill = Given(Before { failed: true, all_well: false });
    for (condition, with_good, with_bad) in [
        ("github.event_name == 'push'", true, false),
        ("${{ github.event_name == 'PUSH' && inputs.all }}", true, false),
        ("failure() && github.event_name == 'push'", false, true),
        (
            "!cancelled() && (github.event_name == 'release' || startsWith(github.ref, 'refs/heads/hotfix/'))",
            true,
            true,
        ),
        ("always() && inputs.none", false, false),
        ("github.event_name != 'push'", false, false),
        ("!github.event.repository.fork", true, false),
        ("inputs.none == ''", true, false),
    ] {
        assert_eq!(holds(condition, &well), Ok(with_good), "{condition}");
        assert_eq!(holds(condition, &ill), Ok(with_bad), "{condition}");
    }
    for faulty in ["", "github", "a.b ==", "(a.b", "fromJSON('1')", "a.b c.d", "a.b < 1", "'x"] {
        assert!(holds(faulty, &well).is_err(), "{faulty}");
    }
}
