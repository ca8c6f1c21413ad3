//! A replicated task: its runs are tasks of their own, and the task of the file waits until all of them are over. It
//! succeeds if enough of them succeeded and published the same; what the others did does not count then. Knows nothing of
//! how a digest is taken.

use serde::{Deserialize, Serialize};

use super::condition::Value;
use super::fact::{Cause, Fact, Outcome};
use super::ids::TaskId;
use super::state::{Phase, State};

/// So many runs of a task at most.
pub const RUNS_MOST: u32 = 100;

/// What makes a majority of the runs of a task, which are those in its `after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Majority {
    /// So many must have come to the same: more than half of them.
    pub agree: u32,
    /// Which of the published values must be the same.
    pub by: Vec<String>,
}

/// What follows when all runs are over.
pub(super) fn decide(state: &State, id: TaskId, majority: &Majority) -> Vec<Fact> {
    let runs = &state.definition(id).after;
    let skipped = runs.iter().filter(|run| state.task(**run).phase == Phase::Skipped);
    if skipped.count() == runs.len() {
        let why = runs.first().and_then(|run| state.task(*run).because.as_deref());
        return vec![Fact::Skipped { task: id, why: Some(why.unwrap_or("all its runs are skipped").to_owned()) }];
    }
    let mut camps: Vec<(Vec<Option<&Value>>, Vec<TaskId>)> = Vec::new();
    for run in runs.iter().copied().filter(|run| state.task(*run).phase == Phase::Succeeded) {
        let came_to: Vec<Option<&Value>> = majority.by.iter().map(|name| state.output(run, name)).collect();
        match camps.iter_mut().find(|(other, _)| *other == came_to) {
            Some((_, camp)) => camp.push(run),
            None => camps.push((came_to, vec![run])),
        }
    }
    let enough = majority.agree as usize;
    let Some((_, camp)) = camps.iter().find(|(_, camp)| camp.len() >= enough) else {
        let why = format!("no {enough} of {} agree: {}", runs.len(), words(state, runs, |_| true));
        return vec![Fact::Settled { task: id, outcome: Outcome::Failed(Cause::NoMajority), why: Some(why) }];
    };
    let outvoted = |run: &TaskId| !camp.contains(run);
    let mut why = format!("{} of {} agree", camp.len(), runs.len());
    let failed =
        runs.iter().copied().filter(|run| state.task(*run).phase == Phase::Failed && !state.task(*run).excused);
    let mut facts: Vec<Fact> = failed.map(|task| Fact::Excused { task, why: format!("outvoted: {why}") }).collect();
    if camp.len() < runs.len() {
        why = format!("{why}: {}", words(state, runs, outvoted));
    }
    facts.push(Fact::Agreed { task: id, like: camp[0], why });
    facts
}

/// How these runs ended: `audit.2 failed, audit.3 came to sum = 7`.
fn words(state: &State, runs: &[TaskId], of: impl Fn(&TaskId) -> bool) -> String {
    let word = |run: &TaskId| {
        let (name, phase) = (state.name(*run), state.task(*run).phase);
        if phase != Phase::Succeeded {
            return format!("{name} {}", if phase.is_open() { "never starts" } else { super::decide::word(phase) });
        }
        let kept = state.task(*run).kept.as_ref();
        let values = kept.map(|kept| kept.outputs.as_slice()).unwrap_or_default();
        let values: Vec<String> = values.iter().map(|(name, value)| format!("{name} = {}", short(value))).collect();
        if values.is_empty() {
            format!("{name} published nothing")
        } else {
            format!("{name} came to {}", values.join(", "))
        }
    };
    super::care::cut(runs.iter().filter(|run| of(run)).map(word).collect::<Vec<_>>().join("; "))
}

/// The first of a long value, as of a digest.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(20) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A retry of a task: of one that found no majority all its runs are made again with it.
pub(super) fn retried_with(state: &State, id: TaskId) -> Vec<TaskId> {
    if state.definition(id).task_type.majority().is_none() {
        return Vec::new();
    }
    let is_over = |run: &TaskId| !state.task(*run).phase.is_open() && !state.task(*run).phase.is_live();
    let again = |run: &TaskId| is_over(run) && !state.is_in_saga(*run) && !state.task(*run).removed;
    state.definition(id).after.iter().copied().filter(again).collect()
}

/// The failure of a run may still be outvoted.
pub(super) fn may_be_outvoted(state: &State, id: TaskId) -> bool {
    let waits =
        |other: &TaskId| state.definition(*other).task_type.majority().is_some() && state.task(*other).phase.is_open();
    state.dependents.at(id.index()).iter().any(waits)
}
