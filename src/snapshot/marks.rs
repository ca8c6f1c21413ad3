//! Marked tasks: what a screen must know of them to act on all at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Phase;
use super::build::{Frozen, phase};
use crate::engine::ids::{StageId, TaskId, Time};

/// At most so many tasks are marked at once.
pub const MAX_MARKS: usize = 10_000;

/// Which are marked.
pub type Marked = BTreeSet<TaskId>;

/// What is to be marked; if all of it is already, the marks are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marking {
    /// All that pass the filter.
    All,
    /// Those of a stage that pass it.
    Stage(StageId),
    /// The rows from one to the other.
    Range(TaskId, TaskId),
}

/// A marked task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkRow {
    /// Which.
    pub task: TaskId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is doing.
    pub phase: Phase,
    /// Since when.
    pub since: Time,
    /// Its priority.
    pub priority: i32,
    /// How often it has been started.
    pub attempt: u32,
    /// It has a fallback.
    pub falls_back: bool,
}

/// What there is to know of each; those that were removed are left out.
pub(super) fn marked(frozen: &Frozen, marked: &Marked) -> Vec<MarkRow> {
    let state = &frozen.engine.state;
    let there = marked.iter().filter(|id| id.index() < state.tasks.len() && !state.task(**id).removed);
    let rows = there.map(|id| {
        let task = state.task(*id);
        MarkRow {
            task: *id,
            name: Arc::from(state.definition(*id).id.as_str()),
            phase: phase(state.shown(*id)),
            since: task.since,
            priority: task.priority,
            attempt: task.attempt,
            falls_back: !state.definition(*id).fallback.is_empty(),
        }
    });
    rows.collect()
}
