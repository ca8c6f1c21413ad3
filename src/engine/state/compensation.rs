//! What is being undone, as the State knows it: which stages that concerns, in which order what they did came to its end, and
//! tasks that are added while the workflow runs. Knows nothing of what follows from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Saga, State};
use crate::engine::definition::Trigger;
use crate::engine::fact::Outcome;
use crate::engine::ids::{PhaseId, StageId, TaskId};

impl State {
    /// What was done begins to be undone.
    pub(super) fn compensate(&mut self, phase: Option<PhaseId>, why: &str) {
        let wanted = |id: &StageId| {
            let stage = self.stage(*id);
            stage.entered && stage.saga.is_none() && phase.is_none_or(|phase| stage.phase == Some(phase))
        };
        let undoes = |id: &StageId| self.is_compensation(*id);
        let all = (0..self.stages.len()).map(StageId::from);
        let stages: Vec<StageId> = all.filter(wanted).filter(|id| !undoes(id)).collect();
        let number = u32::try_from(self.sagas.len()).expect("a few");
        for stage in &stages {
            self.stages.at_mut(stage.index()).saga = Some(number);
        }
        let saga = Saga { phase, why: why.into(), since: self.now, stages, tasks: None };
        Arc::make_mut(&mut self.sagas).push(saga);
    }

    /// All that undo it were added.
    pub(super) fn compensations_known(&mut self, phase: Option<PhaseId>, tasks: u32) {
        if let Some(saga) = Arc::make_mut(&mut self.sagas).iter_mut().find(|saga| saga.phase == phase) {
            saga.tasks = Some(tasks);
        }
    }

    /// The whole run, or this phase, is being undone or was.
    pub fn saga(&self, phase: Option<PhaseId>) -> Option<&Saga> {
        self.sagas.iter().find(|saga| saga.phase == phase)
    }

    /// A stage that was added to undo what others did.
    pub fn is_compensation(&self, id: StageId) -> bool {
        self.stage(id).tasks.get(0).is_some_and(|task| self.definition(*task).compensates.is_some())
    }

    /// What this task did is being undone or was, and it is not to do it again. What tidies up, and what undoes, still runs.
    pub fn is_in_saga(&self, id: TaskId) -> bool {
        let definition = self.definition(id);
        let tidies = definition.join.trigger == Trigger::AllOver;
        self.stage(definition.stage).saga.is_some() && !tidies && definition.compensates.is_none()
    }

    /// The task that undoes what this one did, once it is there.
    pub fn compensated_by(&self, id: TaskId) -> Option<TaskId> {
        let added = (self.first_tasks..self.tasks.len()).map(TaskId::from);
        added.into_iter().find(|other| self.definition(*other).compensates == Some(id))
    }

    /// Why it is not to do it again.
    pub fn saga_words(&self, id: TaskId) -> Option<String> {
        let saga = self.sagas.get(self.stage(self.definition(id).stage).saga? as usize)?;
        Some(format!("compensation: {}", saga.why))
    }

    /// It did something that has to be undone.
    pub fn is_to_be_compensated(&self, id: TaskId) -> bool {
        let Some(compensation) = &self.definition(id).compensation else { return false };
        let entry = self.task(id);
        // What it was when it last did something; in a round that has not come to it, it stands as the one before left it.
        let last = entry.past.iter().flat_map(|past| past.iter().rev()).find(|past| past.outcome != Outcome::UpToDate);
        let did = |outcome: &Outcome| *outcome == Outcome::Succeeded || compensation.after_failure;
        !entry.phase.is_live() && last.is_some_and(|past| did(&past.outcome))
    }

    /// An attempt of a task has ended that can be undone.
    pub(super) fn note_completion(&mut self, id: TaskId, outcome: &Outcome) {
        if self.definition(id).compensation.is_none() || *outcome == Outcome::UpToDate {
            return;
        }
        let completed = Arc::make_mut(&mut self.completed);
        completed.push(id);
        // Only the last end of each counts: earlier ones go once they are most of the list.
        if completed.len() > 2 * self.compensable as usize {
            let mut seen = BTreeSet::new();
            completed.reverse();
            completed.retain(|id| seen.insert(*id));
            completed.reverse();
        }
    }

    /// What has to be undone of what a saga concerns, what ended last first.
    pub fn to_compensate(&self, concerns: impl Fn(StageId) -> bool) -> impl Iterator<Item = TaskId> {
        let mut seen = BTreeSet::new();
        let last_first = self.completed.iter().rev().copied();
        last_first.filter(move |id| {
            concerns(self.definition(*id).stage) && self.is_to_be_compensated(*id) && seen.insert(*id)
        })
    }
}
