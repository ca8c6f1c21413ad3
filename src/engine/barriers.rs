//! Barriers: tasks that start together. Each waits at its barrier once everything before it is done, holding nothing; when all
//! have come they go on. One that can never come breaks the barrier, and so does a time that is up: nobody waits for ever.
//! Knows nothing of rooms: those that go on start as there is room.

use std::sync::Arc;

use super::definition::{BarrierDefinition, OnBroken};
use super::fact::{Cause, Fact, Outcome};
use super::ids::{BarrierId, TaskId};
use super::state::{Phase, State};

/// How many names are said of those that have not come.
const NAMED: usize = 4;

/// A barrier in the run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunBarrier {
    /// As it was declared.
    pub definition: Arc<BarrierDefinition>,
    /// The tasks that start together.
    pub members: Vec<TaskId>,
    /// How many of them stand before it.
    pub waiting: u32,
    /// How many have passed it.
    pub passed: u32,
    /// How many have not, and never will come as things are.
    pub gone: u32,
    /// It broke for this, and those that stand before it have not been told.
    pub broken: Option<Arc<str>>,
}

/// How a task stands to its barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It may still come.
    Coming,
    /// It stands before it.
    Waiting,
    /// It has passed.
    Passed,
    /// It never will come, as things are.
    Gone,
}

impl RunBarrier {
    /// None has come.
    pub fn new(definition: &BarrierDefinition) -> Self {
        let definition = Arc::new(definition.clone());
        Self { definition, members: Vec::new(), waiting: 0, passed: 0, gone: 0, broken: None }
    }

    /// How many of its members stand so, if that is counted.
    pub(super) fn count(&mut self, stand: Stand) -> Option<&mut u32> {
        match stand {
            Stand::Coming => None,
            Stand::Waiting => Some(&mut self.waiting),
            Stand::Passed => Some(&mut self.passed),
            Stand::Gone => Some(&mut self.gone),
        }
    }

    fn all_have_come(&self) -> bool {
        (self.waiting + self.passed) as usize == self.members.len()
    }
}

impl State {
    /// How a task stands to its barrier, if it has one.
    pub fn barrier_stand(&self, id: TaskId) -> Option<(BarrierId, Stand)> {
        let barrier = self.definition(id).barrier?;
        let task = self.task(id);
        let never =
            task.phase.is_satisfied() || task.phase.is_dead() || (task.phase == Phase::Waiting && task.dead > 0);
        let stand = match task.phase {
            _ if task.passed => Stand::Passed,
            Phase::Awaiting if !task.held && !self.is_escalated(id) => Stand::Waiting,
            _ if never => Stand::Gone,
            _ => Stand::Coming,
        };
        Some((barrier, stand))
    }

    /// The members of a barrier that stand so.
    fn members(&self, id: BarrierId, wanted: Stand) -> impl Iterator<Item = TaskId> {
        let members = self.barriers[id.index()].members.iter().copied();
        members.filter(move |task| self.barrier_stand(*task).is_some_and(|(_, stand)| stand == wanted))
    }

    /// Those that stand before a barrier.
    pub fn waiting_at(&self, id: BarrierId) -> Vec<TaskId> {
        self.members(id, Stand::Waiting).collect()
    }

    /// `1/3, missing b, c`
    pub fn barrier_words(&self, id: BarrierId) -> String {
        let barrier = &self.barriers[id.index()];
        let come = barrier.waiting + barrier.passed;
        let names = self.names_of(self.members(id, Stand::Coming));
        let all = format!("{come}/{}", barrier.members.len());
        if names.is_empty() { all } else { format!("{all}, missing {names}") }
    }

    fn names_of(&self, tasks: impl Iterator<Item = TaskId>) -> String {
        let mut names: Vec<&str> = tasks.take(NAMED + 1).map(|task| self.name(task)).collect();
        if names.len() > NAMED {
            names[NAMED] = "…";
        }
        names.join(", ")
    }
}

/// What a barrier comes to now, if to anything.
pub(super) fn decide(state: &State, id: BarrierId) -> Option<Vec<Fact>> {
    let barrier = &state.barriers[id.index()];
    if barrier.waiting == 0 {
        return None;
    }
    if let Some(why) = &barrier.broken {
        let why = format!("barrier {} is broken: {why}", barrier.definition.name);
        return Some(match barrier.definition.on_broken {
            OnBroken::Continue => vec![Fact::BarrierPassed { barrier: id, why: Some(why) }],
            OnBroken::Fail => {
                let settled = |task| Fact::Settled {
                    task,
                    outcome: Outcome::Failed(Cause::BrokenBarrier),
                    why: Some(why.clone()),
                };
                state.members(id, Stand::Waiting).map(settled).collect()
            }
        });
    }
    if barrier.gone > 0 {
        let names = state.names_of(state.members(id, Stand::Gone));
        return Some(vec![Fact::BarrierBroken { barrier: id, why: format!("{names} will not come") }]);
    }
    barrier.all_have_come().then(|| vec![Fact::BarrierPassed { barrier: id, why: None }])
}

/// The time is up for a task that stands before its barrier.
pub(super) fn overdue(state: &State, task: TaskId) -> Option<Fact> {
    let (barrier, Stand::Waiting) = state.barrier_stand(task)? else { return None };
    let why = format!("the time is up: {}", state.barrier_words(barrier));
    Some(Fact::BarrierBroken { barrier, why })
}

/// Those that failed before a barrier are tried again together: alone none of them would pass it.
pub(super) fn retried_with(state: &State, task: TaskId) -> Vec<TaskId> {
    let fell = |id: &TaskId| {
        let entry = state.task(*id);
        entry.phase == Phase::Failed && !entry.passed && !state.is_in_saga(*id)
    };
    match state.definition(task).barrier {
        Some(barrier) if fell(&task) => {
            let others = state.barriers[barrier.index()].members.iter().copied();
            std::iter::once(task).chain(others.filter(|other| *other != task && fell(other))).collect()
        }
        _ => vec![task],
    }
}
