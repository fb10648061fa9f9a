//! The part of JSON Schema that `docs/api/as.openapi.json` uses, and a client that holds the server to that file.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::harness::{Answer, Ask, Client, Session};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api/as.openapi.json");

/// The file, and which of its answers have been seen.
#[derive(Clone, Debug)]
pub(crate) struct OpenApi {
    document: Arc<Value>,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

impl OpenApi {
    pub(crate) fn load() -> Self {
        let text = std::fs::read_to_string(FILE).expect("the file");
        let document = Arc::new(serde_json::from_str(&text).expect("JSON"));
        Self { document, seen: Arc::default() }
    }

    /// All routes of the file, as `VERB /path`.
    pub(crate) fn routes(&self) -> BTreeSet<String> {
        self.operations().map(|(method, path, _)| format!("{method} {path}")).collect()
    }

    /// All answers of the file, as `VERB /path status`.
    pub(crate) fn answers(&self) -> BTreeSet<String> {
        let answers = self.operations().flat_map(|(method, path, operation)| {
            let statuses = operation["responses"].as_object().expect("an object").keys();
            statuses.map(move |status| format!("{method} {path} {status}")).collect::<Vec<_>>()
        });
        answers.collect()
    }

    pub(crate) fn seen(&self) -> BTreeSet<String> {
        self.seen.lock().expect("whole").clone()
    }

    /// Sends the request, and checks the answer against what the file says of `path`, a path of the file.
    pub(crate) fn ask(&self, ask: Ask<'_>, method: &str, path: &str, status: u16) -> Answer {
        let answer = ask.send();
        self.hold(&answer, method, path, status);
        answer
    }

    /// Holds an answer against what the file says.
    pub(crate) fn hold(&self, answer: &Answer, method: &str, path: &str, status: u16) {
        let what = format!("{method} {path} {status}");
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let operation = &self.document["paths"][path][method.to_lowercase()];
        let described = &operation["responses"][status.to_string()];
        assert!(described.is_object(), "{what} is not in the file");
        let content = described["content"].as_object();
        match content.and_then(|content| content.iter().next()) {
            None => assert!(answer.body.is_empty(), "{what} has a body: {}", answer.text()),
            Some((kind, content)) => {
                assert_eq!(answer.header("content-type"), *kind, "{what}");
                if kind == "application/json" {
                    self.check(&content["schema"], &answer.json(), &what);
                }
            }
        }
        self.seen.lock().expect("whole").insert(what);
    }

    fn operations(&self) -> impl Iterator<Item = (String, &String, &Value)> {
        let paths = self.document["paths"].as_object().expect("an object");
        paths.iter().flat_map(|(path, verbs)| {
            let verbs = verbs.as_object().expect("an object");
            verbs.iter().map(move |(verb, operation)| (verb.to_uppercase(), path, operation))
        })
    }

    /// Panics where `value` is not what `schema` says; `place` says where that is.
    fn check(&self, schema: &Value, value: &Value, place: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("within the file");
            return self.check(self.document.pointer(pointer).expect(reference), value, place);
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds: Vec<_> = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        assert!(kinds.contains(&kind), "{place}: {value} is not {kinds:?}");
        if let Some(allowed) = schema["enum"].as_array() {
            assert!(allowed.contains(value), "{place}: {value} is none of {allowed:?}");
        }
        if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
            assert!(matches(pattern, text), "{place}: {text} is not like {pattern}");
        }
        for (bound, within) in [("minimum", true), ("maximum", false)] {
            if let (Some(bound), Some(number)) = (schema[bound].as_u64(), value.as_u64()) {
                assert!(if within { number >= bound } else { number <= bound }, "{place}: {number}");
            }
        }
        if let Some(items) = value.as_array() {
            items.iter().for_each(|item| self.check(&schema["items"], item, &format!("{place}[]")));
        }
        if let Some(fields) = value.as_object() {
            let properties = schema["properties"].as_object().expect("properties");
            for (name, field) in fields {
                let described = properties.get(name).unwrap_or_else(|| panic!("{place}: unknown field {name}"));
                self.check(described, field, &format!("{place}.{name}"));
            }
            for required in schema["required"].as_array().expect("required") {
                let name = required.as_str().expect("a name");
                assert!(fields.contains_key(name), "{place}: field {name} is missing");
            }
        }
    }
}

/// The patterns of the file: literals and `[0-9a-f]`, counted or repeated.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    let mut pattern = pattern.strip_prefix('^').and_then(|inner| inner.strip_suffix('$')).expect("anchored");
    while !pattern.is_empty() {
        let Some(after) = pattern.strip_prefix("[0-9a-f]") else {
            let literal = pattern.chars().next().expect("not empty");
            let Some(left) = rest.strip_prefix(literal) else { return false };
            (rest, pattern) = (left, &pattern[literal.len_utf8()..]);
            continue;
        };
        let run = rest.bytes().take_while(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte)).count();
        let (wanted, after) = match after.strip_prefix('+') {
            Some(after) => (run.max(1), after),
            None => {
                let (count, after) = after.strip_prefix('{').and_then(|rest| rest.split_once('}')).expect("a count");
                (count.parse().expect("a number"), after)
            }
        };
        if run < wanted {
            return false;
        }
        (rest, pattern) = (&rest[wanted..], after);
    }
    rest.is_empty()
}

#[test]
fn the_checker_itself_tells_right_from_wrong() {
    assert!(matches("^[0-9a-f]{4}$", "00af") && matches("^ntm-[0-9a-f]{2}-[0-9a-f]+$", "ntm-0a-bc"));
    for wrong in ["00a", "00afa", "00ag", "00AF"] {
        assert!(!matches("^[0-9a-f]{4}$", wrong), "{wrong}");
    }
    let api = OpenApi::load();
    let refused = |value: Value| {
        let (api, schema) = (api.clone(), serde_json::json!({ "$ref": "#/components/schemas/Account" }));
        std::thread::spawn(move || api.check(&schema, &value, "here")).join().is_err()
    };
    let right = serde_json::json!({ "account": "a", "admin": false, "disabled": false, "created": 1 });
    assert!(!refused(right.clone()));
    for (field, value) in [("admin", Value::from(1)), ("created", Value::from("1")), ("more", Value::from(1))] {
        let mut wrong = right.clone();
        wrong[field] = value;
        assert!(refused(wrong), "{field}");
    }
    let mut wrong = right;
    wrong.as_object_mut().expect("an object").remove("created");
    assert!(refused(wrong));
}

/// A client whose every answer is checked.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) api: OpenApi,
    pub(crate) client: Client,
}

impl Checked {
    /// A request without a session. `path` is the file's; `actual` what stands in its place.
    pub(crate) fn open(&self, method: &str, (path, actual): (&str, &str), body: Option<&Value>, status: u16) -> Answer {
        let ask = self.client.ask(method, actual);
        let ask = if let Some(body) = body { ask.json(body) } else { ask };
        self.api.ask(ask, method, path, status)
    }

    /// The same under a session, with its word.
    pub(crate) fn signed(
        &self,
        session: &Session,
        method: &str,
        (path, actual): (&str, &str),
        body: Option<&Value>,
        status: u16,
    ) -> Answer {
        let ask = session.ask(method, actual);
        let ask = if let Some(body) = body { ask.json(body) } else { ask };
        self.api.ask(ask, method, path, status)
    }
}
