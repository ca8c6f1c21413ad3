//! How a workflow under way is changed in the State: a task gets another definition, is removed or comes back. Knows nothing of
//! who may ask for that.

use std::sync::Arc;

use super::load::joining;
use super::{Phase, State};
use crate::engine::definition::TaskDefinition;
use crate::engine::ids::{StageId, TaskId};
use crate::engine::table::Table;

impl State {
    /// A task that waits is another one from now on, but for its name, its past and whether it is held.
    pub(super) fn redefine(&mut self, id: TaskId, new: &Arc<TaskDefinition>) {
        let old = Arc::clone(self.definition(id));
        let moved = old.stage != new.stage;
        let mut taken = self.take_out(id, moved);
        for before in &old.after {
            self.dependents.at_mut(before.index()).retain(|other| *other != id);
        }
        let class = self.class_for(&new.requirements, new.estimate);
        if moved {
            self.leave_stage(id, old.stage);
            self.enter_stage(id, new.stage);
        }
        *self.definitions.at_mut(id.index()) = Arc::clone(new);
        let is_windowed = new.task_type.template().is_none() && self.class(class).window.is_some();
        let windowed = Arc::make_mut(&mut self.windowed);
        windowed.retain(|other| *other != id);
        if is_windowed {
            windowed.insert(windowed.partition_point(|other| *other < id), id);
        }
        self.compensable -= u32::from(old.compensation.is_some());
        self.declare(new);
        if self.has_conditions && self.by_name.len() < self.tasks.len() {
            // The first condition came with it.
            self.name_tasks();
        }
        let task = self.tasks.at_mut(id.index());
        task.class = class;
        if new.priority != old.priority {
            task.priority = new.priority;
        }
        task.join = joining(new);
        task.heard = None;
        self.put_in(id, moved, &mut taken);
        if self.changes.noted {
            // A failure that it could have excused may count now.
            let is_failed = |before: &TaskId| self.task(*before).phase == Phase::Failed;
            for before in old.after.iter().copied().filter(is_failed).collect::<Vec<_>>() {
                self.changes.phases.extend(self.stage(self.definition(before).stage).phase);
                self.changes.fallen.push(before);
            }
        }
    }

    /// What of a new or changed definition counts for the whole workflow.
    pub(super) fn declare(&mut self, definition: &TaskDefinition) {
        let stage_asks = self.stage(definition.stage).definition.when.is_some();
        let gate_asks = definition.task_type.gate().is_some_and(|gate| gate.has_conditions());
        let task_asks = definition.entry.as_ref().is_some_and(|entry| entry.when.is_some());
        self.has_conditions |= stage_asks || task_asks || gate_asks;
        for publish in definition.care.iter().flat_map(|care| &care.publishes) {
            self.add_metric(&publish.name);
        }
        self.compensable += u32::from(definition.compensation.is_some());
    }

    fn leave_stage(&mut self, id: TaskId, stage: StageId) {
        let entry = self.stages.at_mut(stage.index());
        entry.tasks = entry.tasks.iter().copied().filter(|other| *other != id).collect();
    }

    fn enter_stage(&mut self, id: TaskId, stage: StageId) {
        let entry = self.stages.at_mut(stage.index());
        let (before, after): (Vec<TaskId>, Vec<TaskId>) = entry.tasks.iter().partition(|other| **other < id);
        entry.tasks = before.into_iter().chain([id]).chain(after).collect::<Table<TaskId>>();
    }
}
