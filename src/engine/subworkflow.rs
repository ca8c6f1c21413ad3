//! A file that runs as part of another: its tasks are tasks of the run like all others, between one that begins it and the
//! one of the outer file, which waits for all of them. Knows nothing of files.

use serde::{Deserialize, Serialize};

use super::definition::TaskType;
use super::fact::{Fact, Outcome};
use super::ids::TaskId;
use super::message::Command;
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

/// What is asked of a task that stands for a file is asked of it and of all that is in it; none if it stands for none, or what
/// is asked is not of that kind.
///
/// # Errors
/// Why that cannot be done to all of it.
pub(super) fn spread(state: &State, command: &Command) -> Option<Result<Vec<Command>, String>> {
    let (Command::Hold { task }
    | Command::Release { task }
    | Command::Cancel { task }
    | Command::Kill { task }
    | Command::Retry { task }
    | Command::Skip { task }
    | Command::Unskip { task }
    | Command::SetPriority { task, .. }) = *command
    else {
        return None;
    };
    let first = parts(state, task)?;
    let to = |other: TaskId| match *command {
        Command::Hold { .. } => Command::Hold { task: other },
        Command::Release { .. } => Command::Release { task: other },
        Command::Cancel { .. } => Command::Cancel { task: other },
        Command::Kill { .. } => Command::Kill { task: other },
        Command::Retry { .. } => Command::Retry { task: other },
        Command::Skip { .. } => Command::Skip { task: other },
        Command::SetPriority { priority, .. } => {
            let change = priority.saturating_sub(state.task(task).priority);
            Command::SetPriority { task: other, priority: state.task(other).priority.saturating_add(change) }
        }
        _ => Command::Unskip { task: other },
    };
    let inside = || (first.0..task.0).map(TaskId);
    if matches!(command, Command::Skip { .. }) {
        let at_work = inside().filter(|id| state.task(*id).live.is_some()).count();
        if at_work > 0 {
            let (tasks, verb) = if at_work == 1 { ("task", "runs") } else { ("tasks", "run") };
            return Some(Err(format!("{at_work} {tasks} of {} {verb}: cancel it first", state.name(task))));
        }
        // What is over stays as it is: only what is still to come is left out.
        let open = inside().filter(|id| !state.task(*id).phase.is_satisfied());
        return Some(Ok(std::iter::once(task).chain(open).map(to).collect()));
    }
    Some(Ok(std::iter::once(task).chain(inside()).map(to).collect()))
}

/// The first task of those that it stands for: they are numbered one after the other, up to itself.
fn parts(state: &State, task: TaskId) -> Option<TaskId> {
    if task.index() >= state.tasks.len() {
        return None;
    }
    let definition = state.definition(task);
    let TaskType::Subworkflow(_) = &definition.task_type else { return None };
    definition.after.first().copied().filter(|first| *first < task)
}
