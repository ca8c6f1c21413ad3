//! The shared state of a session: values by key that tasks, people and conditions read, and that tasks and people change. Every
//! change has a number of its own in the session, so that whoever changes a value can say which one it has seen (compare and
//! set). Bounded; stored as facts. Knows nothing of sockets.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::definition::Param;
use super::fact::Fact;
use super::ids::Time;
use super::message::{Command, Origin, Refusal};
use super::state::{Changed, State};

/// A session has no more keys than this.
pub const KEYS_MOST: usize = 10_000;
/// A key is no longer than this, in bytes.
pub const KEY_BYTES: usize = 200;
/// A text is no longer than this, in bytes.
pub const VALUE_BYTES: usize = 32 * 1024;

/// What is shared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// By key.
    pub entries: BTreeMap<Arc<str>, Entry>,
    /// How many changes there were.
    pub changes: u64,
}

/// A value with what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The value.
    pub value: Param,
    /// Which change of the session made it so.
    pub version: u64,
    /// When.
    pub at: Time,
    /// Who.
    pub by: Origin,
}

/// A key is letters, digits, `_`, `-`, `.` and `/`, a letter first: it can be typed and shown.
pub fn is_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    key.len() <= KEY_BYTES && key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.bytes().all(plain)
}

/// The name of a value's type.
pub fn type_word(value: &Param) -> &'static str {
    match value {
        Param::Bool(_) => "Bool",
        Param::Int(_) => "Int",
        Param::Float(_) => "Float",
        Param::Text(_) => "Text",
    }
}

/// As text, as commands and people read it.
pub fn text_of(value: &Param) -> String {
    match value {
        Param::Bool(value) => value.to_string(),
        Param::Int(value) => value.to_string(),
        Param::Float(value) => value.to_string(),
        Param::Text(value) => value.clone(),
    }
}

/// As JSON says it.
pub fn to_json(value: &Param) -> serde_json::Value {
    match value {
        Param::Bool(value) => (*value).into(),
        Param::Int(value) => (*value).into(),
        Param::Float(value) => (*value).into(),
        Param::Text(value) => value.as_str().into(),
    }
}

/// What JSON says, if it is a value that can be shared.
pub fn of_json(json: &serde_json::Value) -> Option<Param> {
    match json {
        serde_json::Value::Bool(value) => Some(Param::Bool(*value)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(Param::Int(whole)),
            None => number.as_f64().filter(|number| number.is_finite()).map(Param::Float),
        },
        serde_json::Value::String(text) => Some(Param::Text(text.clone())),
        _ => None,
    }
}

/// What a change comes to, and what takes it back.
pub(super) fn intend(state: &State, command: &Command) -> Result<(Vec<Fact>, Option<Command>), Refusal> {
    let Command::SetState { key, value, expect } = command else { return refuse("this changes no shared state") };
    let old = state.shared.entries.get(key.as_str());
    let version = old.map_or(0, |entry| entry.version);
    if let Some(expect) = expect.filter(|expect| *expect != version) {
        let (is, wanted) = (said(version), said(expect));
        return refuse(format!("{key} {is}, not as expected: {wanted}"));
    }
    let declared = state.settings.state.get(key);
    let value = match (value, declared) {
        (None, Some(_)) => return refuse(format!("{key} is declared in the workflow: it can be set, not deleted")),
        (None, None) if old.is_none() => return refuse(format!("there is no {key}")),
        (None, None) => None,
        // A whole number is a number with a fraction of nothing.
        (Some(Param::Int(whole)), Some(Param::Float(_))) => Some(Param::Float(*whole as f64)),
        (Some(value), Some(declared)) if type_word(value) != type_word(declared) => {
            let (is, wanted) = (type_word(value), type_word(declared));
            return refuse(format!("{key} is declared as {wanted}, and this is {is}"));
        }
        (Some(value), _) => Some(value.clone()),
    };
    if !is_key(key) {
        return refuse("a key is letters, digits, _ - . and /, a letter first, at most 200 bytes");
    }
    if matches!(&value, Some(Param::Text(text)) if text.len() > VALUE_BYTES) {
        return refuse(format!("a value is at most {VALUE_BYTES} bytes long: put it into a file and share its name"));
    }
    if old.is_none() && state.shared.entries.len() >= KEYS_MOST {
        return refuse(format!("there are {KEYS_MOST} keys already"));
    }
    let back = Command::SetState { key: key.clone(), value: old.map(|entry| entry.value.clone()), expect: None };
    Ok((vec![Fact::StateSet { key: key.clone(), value, by: Origin::Operator }], Some(back)))
}

fn said(version: u64) -> String {
    if version == 0 { "is not there".to_owned() } else { format!("has version {version}") }
}

/// Says who it was.
pub(super) fn sign(facts: &mut [Fact], who: &Origin) {
    for fact in facts {
        if let Fact::StateSet { by, .. } | Fact::Posted { by, .. } = fact {
            by.clone_from(who);
        }
    }
}

impl State {
    /// What the workflow declares is there from the start.
    pub(super) fn declare_state(&mut self) {
        let (settings, now) = (self.settings.clone(), self.now);
        let shared = Arc::make_mut(&mut self.shared);
        for (key, value) in &settings.state {
            shared.changes += 1;
            let entry = Entry { value: value.clone(), version: shared.changes, at: now, by: Origin::Rule };
            shared.entries.insert(key.as_str().into(), entry);
        }
    }

    pub(super) fn set_shared(&mut self, key: &str, value: Option<&Param>, by: &Origin) {
        let at = self.now;
        let shared = Arc::make_mut(&mut self.shared);
        shared.changes += 1;
        match value {
            Some(value) => {
                let entry = Entry { value: value.clone(), version: shared.changes, at, by: by.clone() };
                shared.entries.insert(key.into(), entry);
            }
            None => _ = shared.entries.remove(key),
        }
        if self.changes.noted && self.changes.asked {
            self.changes.read.push(Changed::State(key.into()));
        }
    }

    /// Whether this attempt may still speak: it is the live one of its task.
    pub(super) fn speaks(&self, by: &Origin) -> Result<(), Refusal> {
        let Origin::Task(id, attempt) = by else { return Ok(()) };
        let task = self.tasks.get(id.index()).filter(|task| task.attempt == attempt.0 && task.live.is_some());
        if task.is_some() { Ok(()) } else { refuse("the attempt that says this is over") }
    }

    /// Who it was, in a word.
    pub fn who(&self, by: &Origin) -> String {
        match by {
            Origin::Operator => "operator".to_owned(),
            Origin::Rule => "workflow".to_owned(),
            Origin::Client(who) => who.clone(),
            Origin::Task(id, attempt) => match self.definitions.get(id.index()) {
                // Not said by an attempt of its, but by the task itself.
                Some(definition) if attempt.0 == 0 => definition.id.clone(),
                Some(definition) => format!("{}/{attempt}", definition.id),
                None => format!("{id}/{attempt}"),
            },
        }
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}
