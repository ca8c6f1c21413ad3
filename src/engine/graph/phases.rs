//! Phases: what becomes of the other tasks of one in which a task failed for good. Knows nothing of how many run at once.

use super::joins;
use crate::engine::definition::{OnFailure, Trigger};
use crate::engine::fact::Fact;
use crate::engine::ids::{Attempt, PhaseId, StageId, TaskId};
use crate::engine::message::{StopReason, StopSignal};
use crate::engine::state::{DisplayKey, Shown, State};

/// The end of a phase, if a failure ends it now. That it ended is said last: after a crash in between the rest is done then,
/// and what has been done already is not found a second time.
///
/// What waits for the end of others however they end still runs: it reports or tidies up. So does a stage to which a
/// transition leads later.
pub(super) fn end(state: &State, id: PhaseId) -> Option<Vec<Fact>> {
    let phase = state.phase(id);
    if phase.failed == 0 || phase.ended || phase.definition.on_failure == OnFailure::GoOn {
        return None;
    }
    let stages = &phase.definition.stages;
    let task = stages.iter().find_map(|stage| failed(state, *stage))?;
    let why = format!("phase {}: {} failed", phase.definition.name, state.name(task));
    let entered = stages.iter().map(|stage| state.stage(*stage)).filter(|stage| stage.entered);
    let tasks = entered.flat_map(|stage| stage.tasks.iter().copied());
    let mut facts: Vec<Fact> = tasks.filter_map(|task| end_of(state, task, id, &why)).collect();
    facts.push(Fact::PhaseFailed { phase: id, task });
    Some(facts)
}

/// The first task of a stage whose failure counts, whatever still comes.
fn failed(state: &State, stage: StageId) -> Option<TaskId> {
    let mut from = DisplayKey { stage, shown: Shown::Failed, key: (i64::MIN, 0, 0), task: TaskId(0) };
    while let Some(found) = state.display.first_from(&from) {
        if found.stage != stage || found.shown != Shown::Failed {
            return None;
        }
        if !state.task(found.task).excused && !joins::may_be_excused(state, found.task) {
            return Some(found.task);
        }
        from = DisplayKey { task: TaskId(found.task.0 + 1), ..*found };
    }
    None
}

fn end_of(state: &State, task: TaskId, phase: PhaseId, why: &str) -> Option<Fact> {
    let entry = state.task(task);
    let tidies = state.definition(task).join.trigger == Trigger::AllOver;
    let stops = matches!(state.phase(phase).definition.on_failure, OnFailure::Stop | OnFailure::Compensate);
    match &entry.live {
        Some(live) if stops && !tidies && live.stop.is_none() && live.exited.is_none() => {
            let (attempt, signal) = (Attempt(entry.attempt), StopSignal::Term);
            Some(Fact::Stopping { task, attempt, reason: StopReason::PhaseFailed(phase), signal })
        }
        None if entry.phase.is_open() && !tidies => Some(Fact::Cancelled { task, why: Some(why.to_owned()) }),
        _ => None,
    }
}

impl State {
    /// Why a task was stopped whose phase had failed.
    pub fn phase_failed(&self, id: PhaseId) -> String {
        format!("phase {} failed", self.phase(id).definition.name)
    }
}
