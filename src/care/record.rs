//! "Up to date": the record of a task's last success (what its inputs, its command and its outputs were) against what they
//! are now. By content, never by time. In doubt the task is run, and it is said why. Knows nothing of how it is run.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, Digests};
use super::order::{self, Order};
use crate::engine::care::Findings;
use crate::engine::condition::Value;

/// So many changed files are named.
const NAMED: usize = 5;
/// Form of a record. Another one counts as none.
const VERSION: u32 = 1;

/// What was when the task succeeded last.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    command: String,
    env: String,
    /// The patterns themselves.
    patterns: (Vec<String>, Vec<String>),
    inputs: Digests,
    outputs: Digests,
    published: Vec<(String, Value)>,
}

/// What a task reads, as it is now.
pub struct Inputs(Digests);

impl Inputs {
    /// Looks at it.
    ///
    /// # Errors
    /// What cannot be read, in words.
    pub fn look(order: &Order) -> Result<Self, String> {
        files::digests(&order.care.inputs, true).map(Self).map_err(|why| format!("input {why}"))
    }
}

/// What the comparison comes to.
pub enum Verdict {
    /// Nothing has changed: what was published then, and what was compared.
    Fresh(Vec<(String, Value)>, Vec<String>),
    /// It is to be run: why.
    Stale(Vec<String>),
}

/// Compares.
pub fn compare(path: &Path, order: &Order, inputs: &Result<Inputs, String>) -> Verdict {
    let stale = |why: String| Verdict::Stale(vec![why]);
    let Ok(bytes) = order::read(path) else { return stale("it has not succeeded here before".into()) };
    let record: Option<Record> =
        serde_json::from_slice(&bytes).ok().filter(|record: &Record| record.version == VERSION);
    let Some(record) = record else { return stale("the record of its last success cannot be read".into()) };
    let inputs = match inputs {
        Ok(Inputs(inputs)) => inputs,
        Err(why) => return stale(why.clone()),
    };
    let care = &order.care;
    let mut why = Vec::new();
    if record.command != order.command {
        why.push("its command has changed".into());
    }
    if record.env != order.env {
        why.push("its env or cwd has changed".into());
    }
    if record.patterns != (care.inputs.clone(), care.outputs.clone()) {
        why.push("its inputs or outputs are declared otherwise".into());
    }
    let publishes: Vec<&str> = care.publishes.iter().map(|publish| publish.name.as_str()).collect();
    if publishes != record.published.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>() {
        why.push("what it publishes is declared otherwise".into());
    }
    differences(&record.inputs, inputs, "input", &mut why);
    match files::digests(&care.outputs, true) {
        Ok(outputs) => differences(&record.outputs, &outputs, "output", &mut why),
        Err(error) => why.push(format!("output {error}")),
    }
    if !why.is_empty() {
        return Verdict::Stale(why);
    }
    let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (inputs, outputs) = (count(inputs.len(), "input"), count(record.outputs.len(), "output"));
    Verdict::Fresh(record.published, vec![format!("{inputs}, {outputs} and the command are as at its last success")])
}

fn differences(then: &Digests, now: &Digests, kind: &str, why: &mut Vec<String>) {
    let changed = now.iter().filter_map(|(name, digest)| match then.get(name) {
        None => Some((name, "is new")),
        Some(old) if old != digest => Some((name, "has changed")),
        Some(_) => None,
    });
    let gone = then.keys().filter(|name| !now.contains_key(*name)).map(|name| (name, "is gone"));
    let mut all = changed.chain(gone);
    why.extend(all.by_ref().take(NAMED).map(|(name, what)| format!("{kind} {name} {what}")));
    let rest = all.count();
    if rest > 0 {
        why.push(format!("{rest} more {kind}s differ"));
    }
}

/// Keeps what is now for the next time. `before` are the inputs as they were before the command ran: what it changed of
/// them itself is a reason to run it again.
pub fn keep(path: &Path, order: &Order, before: &Inputs, findings: &mut Findings) {
    let kept = (|| {
        let care = &order.care;
        let record = Record {
            version: VERSION,
            command: order.command.clone(),
            env: order.env.clone(),
            patterns: (care.inputs.clone(), care.outputs.clone()),
            inputs: before.0.clone(),
            outputs: files::digests(&care.outputs, true)?,
            published: findings.published.clone(),
        };
        let bytes = serde_json::to_vec(&record).map_err(|error| error.to_string())?;
        let folder = path.parent().unwrap_or(path);
        let written = order::make_folder(folder).and_then(|()| order::write(path, &bytes));
        written.map_err(|error| error.to_string())
    })();
    if let Err(why) = kept {
        // The work is done all the same; it will only be done again.
        findings.because.push(format!("next time too: its record cannot be kept ({why})"));
    }
}
