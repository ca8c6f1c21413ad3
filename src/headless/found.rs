//! What was found around an attempt (published values, checks, what was put back), in words and in JSON. Knows no session.

use super::Line;
use crate::engine::care::{Findings, Score};
use crate::engine::condition::Value;
use crate::text;

/// What was found around an attempt, a line each. Who succeeded by all checks is not told of each.
pub(super) fn words(findings: &Findings, name: &str) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let mut add = |mark, word: &str, text: &str| lines.push((mark, format!("{word:<9} {name}: {}", text::clean(text))));
    if !findings.up_to_date && !findings.because.is_empty() {
        add("·", "not fresh", &findings.because.join(", "));
    }
    if findings.up_to_date && !findings.because.is_empty() {
        add("·", "fresh", &findings.because.join(", "));
    }
    if let Some(restored) = &findings.restored {
        add("·", "restore", restored);
    }
    if let Some((most, seen)) = findings.memory {
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        // Who was held at the limit has taken no more than it.
        let taken = match seen > most {
            true => format!("{:.1} MiB taken, {:.1} MiB allowed: killed", mib(seen), mib(most)),
            false => format!("asked for more than the {:.1} MiB allowed: killed", mib(most)),
        };
        add("!", "memory", &taken);
    }
    if let Some(percent) = findings.score().and_then(Score::percent) {
        let failed = findings.checks.iter().filter(|check| !check.passed).count();
        let of = findings.checks.len();
        add(
            if failed == 0 { "·" } else { "!" },
            "checked",
            &format!("{} of {of} hold, score {percent} %", of - failed),
        );
    }
    for check in findings.checks.iter().filter(|check| !check.passed) {
        add("!", "invalid", &format!("{}: {}", check.what, check.why));
    }
    let published: Vec<String> = findings.published.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    if !published.is_empty() {
        add("·", "published", &published.join(", "));
    }
    lines
}

/// A published value as JSON: its own kind, never words about it.
fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) | Value::Duration(value) | Value::Timestamp(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(value) => (**value).into(),
        Value::List(items) => items.iter().map(json_value).collect(),
    }
}

/// Into a line of JSON.
pub(super) fn fill<'a>(line: &mut Line<'a>, findings: &'a Findings) {
    if !findings.published.is_empty() {
        let entries = findings.published.iter().map(|(name, value)| (name.clone(), json_value(value)));
        line.published = Some(entries.collect());
    }
    line.score = findings.score().and_then(Score::percent);
    let failed = findings.checks.iter().filter(|check| !check.passed);
    line.failed_checks = failed.map(|check| format!("{}: {}", check.what, check.why)).collect();
    line.because = &findings.because;
    line.message = findings.restored.as_deref();
}
