//! Barriers as the State keeps them: who stands before one, who has passed, who will not come. Knows nothing of what follows.

use std::sync::Arc;

use super::State;
use crate::engine::barriers::{RunBarrier, Stand};
use crate::engine::definition::BarrierDefinition;
use crate::engine::ids::{BarrierId, TaskId};

impl State {
    pub(super) fn add_barrier(&mut self, definition: &BarrierDefinition) {
        Arc::make_mut(&mut self.barriers).push(RunBarrier::new(definition));
    }

    /// A new member stands to its barrier as it does.
    pub(in crate::engine) fn enter_barrier(&mut self, id: TaskId) {
        let Some((barrier, stand)) = self.barrier_stand(id) else { return };
        let entry = &mut Arc::make_mut(&mut self.barriers)[barrier.index()];
        entry.members.push(id);
        if let Some(count) = entry.count(stand) {
            *count += 1;
        }
    }

    /// A member stands otherwise to its barrier than before.
    pub(super) fn moved_at_barrier(&mut self, barrier: BarrierId, before: Stand, after: Stand) {
        let entry = &mut Arc::make_mut(&mut self.barriers)[barrier.index()];
        if let Some(count) = entry.count(before) {
            *count -= 1;
        }
        if let Some(count) = entry.count(after) {
            *count += 1;
        }
        if entry.waiting == 0 {
            entry.broken = None;
        }
        if self.changes.noted {
            self.changes.barriers.push(barrier);
        }
    }

    /// Those that stand before a barrier go on.
    pub(super) fn pass_barrier(&mut self, barrier: BarrierId) {
        let now = self.now;
        for task in self.waiting_at(barrier) {
            self.edit(task, |t| {
                t.passed = true;
                t.queue(now);
            });
        }
    }

    /// A barrier breaks: those that stand before it wait no more for its time.
    pub(super) fn break_barrier(&mut self, barrier: BarrierId, why: &str) {
        for task in self.waiting_at(barrier) {
            self.edit(task, |t| t.due = None);
        }
        let entry = &mut Arc::make_mut(&mut self.barriers)[barrier.index()];
        if entry.waiting > 0 {
            entry.broken = Some(why.into());
        }
        if self.changes.noted {
            self.changes.barriers.push(barrier);
        }
    }
}
