//! Marked tasks, as the screen keeps them: which, and what is still to be marked. Plain data.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model::Model;
use crate::engine::ids::TaskId;
use crate::snapshot::Snapshot;
use crate::snapshot::marks::{MAX_MARKS, Marked, Marking};

/// What is marked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Marks {
    /// These are. Shared with the View that is asked for.
    pub tasks: Arc<Marked>,
    /// The next snapshot says which tasks are meant by this.
    pub asked: Option<Marking>,
    /// Where a range begins: what was marked last.
    pub anchor: Option<TaskId>,
    /// No snapshot knows of them yet.
    pub are_new: bool,
}

impl Marks {
    /// Marks a task, or takes its mark away; `false` if there are too many.
    pub fn toggle(&mut self, task: TaskId) -> bool {
        let tasks = Arc::make_mut(&mut self.tasks);
        let gone = tasks.remove(&task);
        let room = gone || tasks.len() < MAX_MARKS;
        if !gone && room {
            tasks.insert(task);
        }
        self.anchor = Some(task);
        self.are_new = true;
        room
    }

    /// Takes all marks away.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A snapshot must be looked at before these marks are acted on.
    pub fn are_unsettled(&self) -> bool {
        self.are_new || self.asked.is_some()
    }
}

impl Model {
    /// Keys for tasks act on what is marked, and not on what is under the cursor.
    pub fn acts_on_marks(&self) -> bool {
        !self.marks.tasks.is_empty() && !self.focus.is_alone()
    }

    /// Takes note of what a snapshot says of marks; `true` if another must be asked for.
    pub(super) fn settle_marks(&mut self, snapshot: &Snapshot) -> bool {
        self.marks.are_new = false;
        // Tasks that were removed from the workflow are no longer marked.
        if snapshot.marked.len() < self.marks.tasks.len() {
            let there: BTreeSet<TaskId> = snapshot.marked.iter().map(|row| row.task).collect();
            Arc::make_mut(&mut self.marks.tasks).retain(|task| there.contains(task));
        }
        let (Some(meant), Some(marking)) = (&snapshot.to_mark, self.marks.asked.take()) else { return false };
        let tasks = Arc::make_mut(&mut self.marks.tasks);
        let are_all = !meant.is_empty() && meant.iter().all(|task| tasks.contains(task));
        if are_all && !matches!(marking, Marking::Range(..)) {
            meant.iter().for_each(|task| {
                tasks.remove(task);
            });
        } else {
            let room = MAX_MARKS.saturating_sub(tasks.len());
            let fresh: Vec<TaskId> = meant.iter().copied().filter(|task| !tasks.contains(task)).collect();
            tasks.extend(fresh.iter().take(room));
            if fresh.len() > room || meant.len() >= MAX_MARKS {
                self.toast(format!("no more than {} tasks are marked at once", super::format::count(MAX_MARKS)), true);
            }
        }
        true
    }
}
