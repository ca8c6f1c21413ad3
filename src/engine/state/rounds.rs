//! Stages as transitions see them: how one is entered, for the first time or in a new round, and how a transition or a phase
//! comes into the State. Knows nothing of why a transition is taken.

use std::sync::Arc;

use super::{Phase, RunPhase, State, Transition};
use crate::engine::definition::{ExecutionPhase, StateTransition};
use crate::engine::ids::{PhaseId, StageId, TaskId, TransitionId};

impl State {
    pub(super) fn add_transition(&mut self, definition: &StateTransition) {
        let id = TransitionId::from(self.transitions.len());
        self.has_conditions |= definition.when.is_some();
        self.stages.at_mut(definition.from.index()).leads.push(id);
        let target = self.stages.at_mut(definition.to.index());
        target.led_by.push(id);
        if !definition.is_backward() {
            (target.entered, target.round) = (false, 0);
        }
        let transition = Transition { definition: definition.clone(), taken: 0, decided: false, last: None };
        Arc::make_mut(&mut self.transitions).push(transition);
    }

    pub(super) fn add_phase(&mut self, definition: &ExecutionPhase) {
        let id = PhaseId::from(self.phases.len());
        for stage in &definition.stages {
            self.stages.at_mut(stage.index()).phase = Some(id);
        }
        Arc::make_mut(&mut self.phases).push(RunPhase { definition: definition.clone(), failed: 0, ended: false });
    }

    pub(super) fn pass(&mut self, id: TransitionId, taken: bool, why: &str) {
        let settled = self.stage(self.transition(id).definition.from).is_settled();
        let transition = &mut Arc::make_mut(&mut self.transitions)[id.index()];
        transition.taken += u32::from(taken);
        transition.decided = settled;
        transition.last = Some((taken, why.into()));
    }

    /// A transition leads to a stage. The first time it opens, and what a rule skipped of it waits again; in a later round
    /// all its tasks do, however they ended.
    pub(super) fn enter(&mut self, id: StageId, round: u32) {
        let stage = self.stages.at_mut(id.index());
        let is_first = !stage.entered;
        let was_closed = stage.is_closed();
        (stage.entered, stage.round, stage.decided) = (true, round, None);
        let opens = was_closed && !stage.is_closed();
        let tasks: Vec<TaskId> = stage.tasks.iter().copied().collect();
        self.undecide(id);
        if opens {
            self.open(&tasks);
        }
        for task in tasks {
            let entry = self.task(task);
            let by_rule = entry.phase == Phase::Skipped && entry.because.is_some();
            if (!is_first || by_rule) && !entry.removed {
                self.run_again(task, false);
            }
        }
        self.note_stages([id]);
    }

    /// All of a task's tries begin anew; its attempts go on counting. What is run again in the same round has passed its
    /// barrier.
    pub(super) fn run_again(&mut self, id: TaskId, same_round: bool) {
        let (now, arrives, entry) = (self.now, self.arrives(id), self.task(id));
        let own = self.declared_class(id);
        if entry.phase == Phase::Succeeded && entry.fallback.is_some() {
            self.by_fallback -= 1;
        }
        self.edit(id, |t| {
            (t.tries, t.fallback, t.fallbacks_taken, t.heard) = (0, None, 0, None);
            t.passed &= same_round;
            // What was saved in an earlier round is not put back in this one: others have worked on it since.
            if let Some(kept) = &mut t.kept {
                Arc::make_mut(kept).settled = t.attempt;
            }
            t.class = own;
            t.arrive(arrives, now);
        });
    }

    /// Whether the transitions from a stage are taken is to be decided again once it is over.
    pub(super) fn undecide(&mut self, id: StageId) {
        let leads = &self.stages.at(id.index()).leads;
        if leads.iter().any(|lead| self.transitions[lead.index()].decided) {
            let transitions = Arc::make_mut(&mut self.transitions);
            for lead in leads {
                transitions[lead.index()].decided = false;
            }
        }
    }

    pub(super) fn note_stages(&mut self, stages: impl IntoIterator<Item = StageId>) {
        if self.changes.noted {
            self.changes.stages.extend(stages);
        }
    }

    /// A task of a phase failed, or its failure does not count any more.
    pub(super) fn phase_changed(&mut self, id: PhaseId, by: i32) {
        let phase = &mut Arc::make_mut(&mut self.phases)[id.index()];
        phase.failed = phase.failed.checked_add_signed(by).expect("counted");
        phase.ended &= phase.failed > 0;
        if by > 0 && self.changes.noted {
            self.changes.phases.push(id);
        }
    }
}
