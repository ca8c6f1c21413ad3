//! A file that runs as part of another: its tasks are tasks of the run like all others, between one that begins it and the
//! one of the outer file, which waits for all of them. Knows nothing of files.

use serde::{Deserialize, Serialize};

use super::fact::{Fact, Outcome};
use super::ids::TaskId;
use super::state::{Phase, State};

/// What a task stands for that runs a file: those in its `after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subworkflow {
    /// As the outer file names it.
    pub file: String,
    /// So many tasks it has.
    pub tasks: u32,
}

/// What follows when all of them are done: if all were skipped, so is it.
pub(super) fn arrive(state: &State, id: TaskId, sub: &Subworkflow) -> Fact {
    let tasks = &state.definition(id).after;
    if tasks.iter().all(|task| state.task(*task).phase == Phase::Skipped) {
        let why = tasks.first().and_then(|task| state.task(*task).because.as_deref());
        return Fact::Skipped { task: id, why: Some(why.unwrap_or("all its tasks are skipped").to_owned()) };
    }
    let why = format!("{} task{} of {}", sub.tasks, if sub.tasks == 1 { "" } else { "s" }, sub.file);
    Fact::Settled { task: id, outcome: Outcome::Succeeded, why: Some(why) }
}
