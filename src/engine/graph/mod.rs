//! What follows from the graph of the run once tasks are over: what a join that has enough does with its rest, which
//! failures are excused, where transitions lead, what ends with a phase. Each is decided in the turn in which it comes about,
//! and only the decisions are stored; what is still to be looked at is made again from the State at will. Knows nothing of
//! rooms, agents or time.
//!
//! `joins`, `phases`, `compensation`, `transitions` each say what is to be decided of one; here is only what is looked at next.

pub mod compensation;
mod joins;
mod phases;
mod transitions;

use std::collections::BTreeSet;

use super::barriers;
use super::fact::Fact;
use super::ids::{BarrierId, PhaseId, StageId, TaskId};
use super::state::{Phase, State};

pub use transitions::{MAX_ROUNDS, end_words};

/// What is still to be looked at.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Joins that may have enough.
    enough: BTreeSet<TaskId>,
    /// Tasks whose failure may be excused.
    fallen: BTreeSet<TaskId>,
    /// Phases with a failure.
    phases: BTreeSet<PhaseId>,
    /// Barriers to which a task stands otherwise.
    barriers: BTreeSet<BarrierId>,
    /// Stages that may be over.
    stages: BTreeSet<StageId>,
    /// Where transitions can still lead may be another.
    ways: bool,
    /// Of so many sagas everything that ran was told to stop.
    stopped: BTreeSet<usize>,
}

impl Graph {
    /// Looks at everything again (after a replay).
    pub fn rebuild(&mut self, state: &State) {
        *self = Self::default();
        if !state.loaded {
            return;
        }
        let all = || (0..state.tasks.len()).map(TaskId::from);
        self.enough = all().filter(|id| joins::is_due(state, *id)).collect();
        if state.failed() + state.excused as usize > 0 {
            self.fallen = all().filter(|id| state.task(*id).phase == Phase::Failed).collect();
        }
        self.phases = (0..state.phases.len()).map(PhaseId::from).collect();
        self.barriers = (0..state.barriers.len()).map(BarrierId::from).collect();
        self.stages = state.transitions.iter().map(|transition| transition.definition.from).collect();
        self.ways = !self.stages.is_empty();
    }

    /// The facts of the next decision, in the light of those before it; none if nothing is left to be decided.
    pub fn next(&mut self, state: &mut State) -> Option<Vec<Fact>> {
        self.absorb(state);
        while let Some(task) = self.enough.pop_first() {
            if joins::is_due(state, task) {
                return Some(joins::enough(state, task));
            }
            // It may have become one that never can have enough: what it would have excused counts then.
            let before = &state.definition(task).after;
            self.phases.extend(before.iter().filter_map(|task| state.stage(state.definition(*task).stage).phase));
            self.fallen.extend(before.iter().filter(|task| state.task(**task).phase == Phase::Failed));
        }
        while let Some(task) = self.fallen.pop_first() {
            if let Some(why) = joins::excuse(state, task) {
                // What its failure asks for is looked at after that.
                self.fallen.insert(task);
                return Some(vec![Fact::Excused { task, why }]);
            }
            if let Some(facts) = compensation::of_task(state, task) {
                return Some(facts);
            }
        }
        while let Some(phase) = self.phases.pop_first() {
            if let Some(facts) = phases::end(state, phase) {
                self.phases.insert(phase);
                return Some(facts);
            }
            if let Some(facts) = compensation::of_phase(state, phase) {
                return Some(facts);
            }
        }
        while let Some(barrier) = self.barriers.pop_first() {
            if let Some(facts) = barriers::decide(state, barrier) {
                return Some(facts);
            }
        }
        if let Some(facts) = self.undo(state) {
            return Some(facts);
        }
        while let Some(stage) = self.stages.pop_first() {
            self.ways = true;
            if let Some(facts) = transitions::leave(state, stage) {
                // What it leads to besides is decided in the light of that.
                self.stages.insert(stage);
                return Some(facts);
            }
        }
        if std::mem::take(&mut self.ways) {
            return transitions::never_led_to(state);
        }
        None
    }

    /// What a saga comes to of which it is not known yet what has to be undone. A session that is ending begins nothing.
    fn undo(&mut self, state: &State) -> Option<Vec<Fact>> {
        if state.ending.is_some() {
            return None;
        }
        for (number, saga) in state.sagas.iter().enumerate().filter(|(_, saga)| saga.tasks.is_none()) {
            if self.stopped.insert(number) {
                let facts = compensation::stop(state, saga);
                if !facts.is_empty() {
                    return Some(facts);
                }
            }
            if compensation::is_quiet(state, saga) {
                return Some(compensation::add(state, saga));
            }
        }
        None
    }

    fn absorb(&mut self, state: &mut State) {
        self.enough.extend(std::mem::take(&mut state.changes.enough));
        self.fallen.extend(std::mem::take(&mut state.changes.fallen));
        self.phases.extend(std::mem::take(&mut state.changes.phases));
        self.barriers.extend(std::mem::take(&mut state.changes.barriers));
        self.stages.extend(std::mem::take(&mut state.changes.stages));
    }
}
