//! What was found around a task's attempts, in words for the panes: what it published, how its checks came out, why it was
//! run or not, what was put back.

use crate::engine::care::{Findings, Kept, Score};

/// So many checks that do not hold are named.
const NAMED: usize = 4;

/// Name and value of each, for the details of a task.
pub(super) fn facts(kept: Option<&Kept>, last: Option<&Findings>) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(kept) = kept.filter(|kept| !kept.outputs.is_empty()) {
        facts.push(("published", published(kept)));
    }
    let Some(found) = last else { return facts };
    if let Some(words) = checks(found) {
        facts.push(("checks", words));
    }
    if !found.because.is_empty() {
        facts.push((if found.up_to_date { "up to date" } else { "run since" }, found.because.join(", ")));
    }
    if let Some(restored) = &found.restored {
        facts.push(("restore", restored.clone()));
    }
    facts
}

/// `coverage = 83, tag = "x"`.
pub(super) fn published(kept: &Kept) -> String {
    let values: Vec<String> = kept.outputs.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    values.join(", ")
}

/// How its checks came out, and why not.
fn checks(found: &Findings) -> Option<String> {
    let percent = found.score().and_then(Score::percent)?;
    let failed: Vec<String> = found
        .checks
        .iter()
        .filter(|check| !check.passed)
        .take(NAMED)
        .map(|check| format!("{}: {}", check.what, check.why))
        .collect();
    let held = found.checks.iter().filter(|check| check.passed).count();
    let mut words = format!("{held} of {} hold, score {percent} %", found.checks.len());
    if !failed.is_empty() {
        words += &format!("; {}", failed.join("; "));
    }
    Some(words)
}
