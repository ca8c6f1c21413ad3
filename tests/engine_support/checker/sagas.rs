//! What the checker knows of compensation: what was done is undone once, what ended last first, and nothing of it runs or
//! starts meanwhile.

use std::collections::BTreeSet;

use quarterdeck::engine::definition::*;
use quarterdeck::engine::fact::Outcome;
use quarterdeck::engine::ids::*;

use super::Checker;

#[derive(Debug, Clone, Default)]
pub(super) struct Saga {
    phase: Option<PhaseId>,
    stages: BTreeSet<StageId>,
    /// What was added to undo it, each with what it undoes.
    added: Vec<(TaskId, TaskId)>,
    known: bool,
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    pub task: TaskId,
    pub outcome: Outcome,
}

impl Checker {
    pub(super) fn saga_begins(&mut self, phase: Option<PhaseId>) {
        assert!(self.sagas.iter().all(|saga| saga.phase != phase), "it is compensated twice");
        match phase {
            Some(phase) => {
                assert_eq!(self.phases[phase.index()].on_failure, OnFailure::Compensate);
                assert!(self.phases_failed.contains(&phase), "{phase:?} is compensated without a failure");
            }
            None => {
                let asked = self.seen.iter().any(|seen| {
                    let on = seen.on.map(|on| &self.fallbacks[on.index()].strategy);
                    seen.at_rest && on == Some(&FallbackStrategy::Compensate)
                });
                assert!(asked || self.compensate_asked, "nobody asked for compensation");
            }
        }
        let concerns = |stage: &StageId| {
            let of_phase = phase.is_none_or(|phase| self.phases[phase.index()].stages.contains(stage));
            of_phase && self.is_entered(*stage) && !self.is_compensated(*stage) && !self.undoes(*stage)
        };
        let stages = (0..self.stages.len()).map(StageId::from).filter(concerns).collect();
        self.sagas.push(Saga { phase, stages, ..Saga::default() });
    }

    fn is_entered(&self, stage: StageId) -> bool {
        let mut ways = self.transitions.iter().zip(&self.taken).filter(|(way, _)| way.to == stage);
        let is_target = ways.clone().any(|(way, _)| !way.is_backward());
        !is_target || ways.any(|(_, taken)| *taken > 0)
    }

    pub(super) fn is_compensated(&self, stage: StageId) -> bool {
        self.sagas.iter().any(|saga| saga.stages.contains(&stage))
    }

    fn undoes(&self, stage: StageId) -> bool {
        self.tasks.iter().any(|task| task.stage == stage && task.compensates.is_some())
    }

    /// It is part of what is undone, and may not do it again.
    pub(super) fn is_called_off(&self, task: TaskId) -> bool {
        let definition = &self.tasks[task.index()];
        let tidies = definition.join.trigger == Trigger::AllOver;
        self.is_compensated(definition.stage) && !tidies && definition.compensates.is_none()
    }

    /// The place of its last end among all ends, if that did something which has to be undone.
    fn last_end(&self, task: TaskId) -> Option<usize> {
        let compensation = self.tasks[task.index()].compensation.as_ref()?;
        let at = self.ends.iter().rposition(|end| end.task == task && end.outcome != Outcome::UpToDate)?;
        let succeeded = self.ends[at].outcome == Outcome::Succeeded;
        let ended = self.seen[task.index()].live.is_none();
        (ended && (compensation.after_failure || succeeded)).then_some(at)
    }

    pub(super) fn undo_is_added(&mut self, id: TaskId, definition: &TaskDefinition) {
        let undone = definition.compensates.expect("only what undoes something is added while it runs");
        let at = self.last_end(undone).unwrap_or_else(|| panic!("{undone} did nothing that is to be undone"));
        let declared = self.tasks[undone.index()].compensation.clone().expect("it says how");
        assert_eq!((&definition.id, definition.task_type.command()), (&declared.id, Some(&declared.command)));
        let stage = self.tasks[undone.index()].stage;
        let saga = self.sagas.iter().position(|saga| saga.stages.contains(&stage)).expect("it is being compensated");
        self.nothing_of_it_runs(saga);
        let before = self.sagas[saga].added.last().copied();
        if let Some((before, later)) = before {
            assert!(self.last_end(later).is_some_and(|later| later > at), "{undone} is undone before {later}");
            assert_eq!(definition.after, [before], "each comes after the one before");
        }
        assert!(!self.sagas[saga].known && self.sagas[saga].added.iter().all(|(_, other)| *other != undone));
        self.sagas[saga].added.push((id, undone));
    }

    pub(super) fn saga_is_known(&mut self, phase: Option<PhaseId>, tasks: u32) {
        let saga = self.sagas.iter().position(|saga| saga.phase == phase).expect("it has begun");
        self.nothing_of_it_runs(saga);
        let wanted: BTreeSet<TaskId> = (0..self.tasks.len())
            .map(TaskId::from)
            .filter(|id| self.sagas[saga].stages.contains(&self.tasks[id.index()].stage))
            .filter(|id| self.last_end(*id).is_some())
            .collect();
        let added: BTreeSet<TaskId> = self.sagas[saga].added.iter().map(|(_, undone)| *undone).collect();
        assert_eq!(added, wanted, "all that was done is undone");
        assert_eq!(tasks as usize, added.len());
        self.sagas[saga].known = true;
    }

    fn nothing_of_it_runs(&self, saga: usize) {
        let stages = &self.sagas[saga].stages;
        let live =
            self.tasks.iter().zip(&self.seen).find(|(task, seen)| stages.contains(&task.stage) && seen.live.is_some());
        assert!(live.is_none(), "{:?} runs while what was done is undone", live.map(|(task, _)| &task.id));
    }

    /// After a turn: what is to be stopped is being stopped, and what can be undone is known.
    pub(super) fn sagas_go_on(&self) {
        if self.ending {
            return;
        }
        for saga in self.sagas.iter().filter(|saga| !saga.known) {
            let mut of_it =
                self.tasks.iter().zip(&self.seen).zip(0..).filter(|((task, _), _)| saga.stages.contains(&task.stage));
            assert!(of_it.clone().any(|((_, seen), _)| seen.live.is_some()), "nothing runs and nothing is undone");
            let left = of_it.find(|((_, seen), index)| {
                let stands = seen
                    .live
                    .as_ref()
                    .map_or(!seen.at_rest && !seen.satisfied, |live| live.stop.is_none() && live.exited.is_none());
                stands && self.is_called_off(TaskId(*index))
            });
            assert!(left.is_none(), "{:?} goes on", left.map(|((task, _), _)| &task.id));
        }
    }
}
