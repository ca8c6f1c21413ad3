//! Joins: what one that has enough does with its rest, and which failures it excuses. Knows nothing of stages.

use crate::engine::definition::Rest;
use crate::engine::fact::Fact;
use crate::engine::ids::{Attempt, TaskId};
use crate::engine::majority;
use crate::engine::message::{StopReason, StopSignal};
use crate::engine::state::{Phase, State};

/// A join has enough, and that has not been said.
pub(super) fn is_due(state: &State, id: TaskId) -> bool {
    state.task(id).join.as_ref().is_some_and(|join| join.is_enough() && !join.settled)
}

/// What becomes of those that a join no longer needs. That it is said comes last: after a crash in between it is done again,
/// and what has been done already is not found a second time.
pub(super) fn enough(state: &State, join: TaskId) -> Vec<Fact> {
    let definition = state.definition(join);
    let ends_rest = definition.join.rest == Rest::Cancel;
    let mut facts: Vec<Fact> = Vec::new();
    for task in definition.after.iter().copied() {
        facts.extend(excuse(state, task).map(|why| Fact::Excused { task, why }));
        if ends_rest && !is_needed(state, task) {
            facts.extend(end(state, task, join));
        }
    }
    let (done, of) = state.joined(join);
    facts.push(Fact::Enough { task: join, done, of });
    facts
}

/// Some other task still waits for it.
fn is_needed(state: &State, task: TaskId) -> bool {
    let needs = |id: &TaskId| {
        let dependent = state.task(*id);
        dependent.phase.is_open() && !dependent.join.as_ref().is_some_and(|join| join.is_enough())
    };
    state.dependents.at(task.index()).iter().any(needs)
}

/// How a task that is not needed ends, if it is not over.
fn end(state: &State, task: TaskId, join: TaskId) -> Option<Fact> {
    let entry = state.task(task);
    match &entry.live {
        Some(live) if live.stop.is_none() && live.exited.is_none() => {
            let (attempt, signal) = (Attempt(entry.attempt), StopSignal::Term);
            Some(Fact::Stopping { task, attempt, reason: StopReason::NotNeeded(join), signal })
        }
        None if entry.phase.is_open() => Some(Fact::Skipped { task, why: Some(state.not_needed(join)) }),
        _ => None,
    }
}

/// A join still may come to excuse the failure of a task.
pub(super) fn may_be_excused(state: &State, id: TaskId) -> bool {
    let may = |id: &TaskId| {
        state.task(*id).join.as_ref().is_some_and(|join| join.spare > 0 && !join.over && join.dead <= join.spare)
    };
    state.dependents.at(id.index()).iter().any(may) || majority::may_be_outvoted(state, id)
}

/// Why the failure of a task does not count, if it does not: a join that waits for it has enough without it.
pub(super) fn excuse(state: &State, id: TaskId) -> Option<String> {
    let task = state.task(id);
    if task.phase != Phase::Failed || task.excused {
        return None;
    }
    // One that waits for their end, however they end, does without none of them.
    let is_enough = |id: &&TaskId| state.task(**id).join.as_ref().is_some_and(|join| join.is_enough() && !join.over);
    let join = state.dependents.at(id.index()).iter().find(is_enough)?;
    Some(state.enough_words(*join))
}

impl State {
    /// How many of those that a task waits for have come to pass, and how many there are.
    pub fn joined(&self, id: TaskId) -> (u32, u32) {
        let of = self.definition(id).after.len() as u32;
        let task = self.task(id);
        let missing = task.join.as_ref().map_or(task.unmet, |join| join.unmet);
        (of.saturating_sub(missing), of)
    }

    /// `2 of 4 are enough for publish`
    pub fn enough_words(&self, join: TaskId) -> String {
        let definition = self.definition(join);
        let all = definition.after.len();
        let enough = definition.join.enough.unwrap_or(all as u32);
        format!("{enough} of {all} are enough for {}", definition.id)
    }

    /// Why a task is skipped or stopped that this one would have waited for.
    pub fn not_needed(&self, join: TaskId) -> String {
        format!("not needed: {}", self.enough_words(join))
    }
}
