//! `--approve` and `--reject`: answers to what tasks ask, as commands. A task that has not asked yet has its answer then.

use super::args::Votes;
use crate::engine::definition::{TaskDefinition, TaskType, Workflow};
use crate::engine::ids::TaskId;
use crate::engine::message::Command;
use crate::engine::state::State;
use crate::error::{Error, Result};

/// The answers for a run that begins.
///
/// # Errors
/// A name of no task, or of one that asks nobody.
pub fn of_workflow(votes: &Votes, workflow: &Workflow) -> Result<Vec<Command>> {
    commands(votes, &workflow.tasks.iter().collect::<Vec<_>>(), |_| false)
}

/// The answers for a session that goes on.
///
/// # Errors
/// As [`of_workflow`]; and a task that has its answer.
pub fn of_state(votes: &Votes, state: &State) -> Result<Vec<Command>> {
    let definitions: Vec<&TaskDefinition> = state.definitions.iter().map(|definition| &**definition).collect();
    let commands = commands(votes, &definitions, |index| state.is_escalated(TaskId::from(index)))?;
    for command in &commands {
        if let Command::Vote { task, approves, by, note } = command {
            crate::engine::arrival::vote(state, *task, *approves, by, note).map_err(Error::usage)?;
        }
    }
    Ok(commands)
}

fn commands(votes: &Votes, tasks: &[&TaskDefinition], escalated: impl Fn(usize) -> bool) -> Result<Vec<Command>> {
    let answers = votes.approve.iter().map(|name| (name, true)).chain(votes.reject.iter().map(|name| (name, false)));
    let command = |(name, approves): (&String, bool)| {
        let asks = |index: usize| matches!(tasks[index].task_type, TaskType::Approval(_)) || escalated(index);
        let asking = || (0..tasks.len()).filter(|index| asks(*index)).map(|index| tasks[index]);
        let Some(index) = tasks.iter().position(|task| task.id == *name) else {
            let names: Vec<&str> = asking().map(|task| task.id.as_str()).take(20).collect();
            let hint =
                if names.is_empty() { "no task asks anything".into() } else { format!("asking: {}", names.join(", ")) };
            return Err(Error::usage(format!("no task is called {name}")).hint(hint));
        };
        if !asks(index) {
            return Err(Error::usage(format!("{name} asks nobody")));
        }
        Ok(Command::Vote { task: TaskId::from(index), approves, by: who(), note: votes.note.clone() })
    };
    answers.map(command).collect()
}

/// The user's name, as the login says it.
fn who() -> String {
    let name = ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    name.unwrap_or_else(|| "operator".to_owned())
}
