//! What the checker knows of barriers: nobody passes one before all have come, and nobody stands before one for ever.

use quarterdeck::engine::definition::*;
use quarterdeck::engine::ids::*;

use super::Checker;

impl Checker {
    fn members(&self, barrier: BarrierId) -> impl Iterator<Item = TaskId> {
        let all = (0..self.tasks.len()).map(TaskId::from);
        all.filter(move |id| self.tasks[id.index()].barrier == Some(barrier))
    }

    /// It has come, nobody holds it, and what is before it is still done.
    fn stands(&self, task: TaskId) -> bool {
        let (seen, definition) = (&self.seen[task.index()], &self.tasks[task.index()]);
        let all = definition.after.len();
        let needed = definition.join.enough.map_or(all, |enough| enough as usize);
        let stages = &self.stages[definition.stage.index()].after;
        let open = |(task, seen): (&TaskDefinition, &super::Seen)| {
            stages.contains(&task.stage) && !seen.satisfied && !seen.excused
        };
        let ready = self.come_to_pass(definition) >= needed && !self.tasks.iter().zip(&self.seen).any(open);
        seen.at_barrier && !seen.held && !seen.at_rest && !seen.satisfied && !self.is_asking(task) && ready
    }

    fn is_gone(&self, task: TaskId) -> bool {
        let seen = &self.seen[task.index()];
        !seen.passed && (seen.satisfied || self.is_over(task))
    }

    pub(super) fn at_barrier(&mut self, task: TaskId, until: Option<Time>) {
        self.arrived(task);
        let barrier = self.tasks[task.index()].barrier.expect("it has a barrier");
        let timeout = self.barriers[barrier.index()].0.timeout;
        assert_eq!(until, timeout.map(|span| self.now.plus(span)));
        let seen = self.idle(task);
        assert!(!seen.passed, "{task} has passed and comes again");
        (seen.at_barrier, seen.awaits) = (true, Some(until));
    }

    pub(super) fn barrier_breaks(&mut self, barrier: BarrierId) {
        let gone = self.members(barrier).any(|task| self.is_gone(task));
        let standing: Vec<TaskId> = self.members(barrier).filter(|task| self.stands(*task)).collect();
        let late =
            standing.iter().any(|task| self.seen[task.index()].awaits.flatten().is_some_and(|until| until <= self.now));
        assert!(!standing.is_empty(), "a barrier breaks before which nobody stands");
        assert!(gone || late, "a barrier breaks that could still be passed");
        self.barriers[barrier.index()].1 = true;
    }

    pub(super) fn barrier_is_passed(&mut self, barrier: BarrierId, though: bool) {
        let (definition, broken) = self.barriers[barrier.index()].clone();
        let standing: Vec<TaskId> = self.members(barrier).filter(|task| self.stands(*task)).collect();
        assert!(!standing.is_empty(), "a barrier is passed by nobody");
        if though {
            assert!(broken && definition.on_broken == OnBroken::Continue, "it goes on though it is not broken");
        } else {
            let come = |task: &TaskId| self.stands(*task) || self.seen[task.index()].passed;
            let missing = self.members(barrier).find(|task| !come(task));
            assert!(missing.is_none() && !broken, "a barrier is passed without {missing:?}");
        }
        for task in standing {
            let seen = self.idle(task);
            (seen.passed, seen.at_barrier, seen.admitted, seen.awaits) = (true, false, true, None);
        }
        self.barriers[barrier.index()].1 = false;
    }

    /// It failed before a barrier that broke.
    pub(super) fn fails_at_barrier(&mut self, task: TaskId) {
        assert!(self.stands(task), "{task} does not stand before a barrier");
        let barrier = self.tasks[task.index()].barrier.expect("it has a barrier");
        let (definition, broken) = &self.barriers[barrier.index()];
        assert!(*broken && definition.on_broken == OnBroken::Fail, "{task} fails at a barrier that is whole");
        self.idle(task).at_barrier = false;
        let left = self.members(barrier).any(|other| other != task && self.stands(other));
        self.barriers[barrier.index()].1 = left;
    }

    /// After a turn: nobody is kept that could go on, or never will.
    pub(super) fn barriers_go_on(&self) {
        for barrier in (0..self.barriers.len()).map(BarrierId::from) {
            if !self.members(barrier).any(|task| self.stands(task)) {
                continue;
            }
            let name = &self.barriers[barrier.index()].0.name;
            let gone = self.members(barrier).find(|task| self.is_gone(*task));
            assert!(gone.is_none(), "{gone:?} will not come, and {name} is waited at");
            let all = self.members(barrier).all(|task| self.stands(task) || self.seen[task.index()].passed);
            assert!(!all, "all have come to {name}, and nobody goes on");
        }
    }
}
