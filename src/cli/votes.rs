//! `--approve`, `--reject` and `--abstain`: answers to what tasks ask, as commands. A task that has not asked yet has its
//! answer then.

use super::args::Votes;
use crate::engine::arrival::{self, Vote};
use crate::engine::definition::{TaskDefinition, TaskType, Workflow};
use crate::engine::gates::{NoVote, may_vote};
use crate::engine::ids::TaskId;
use crate::engine::message::Command;
use crate::engine::state::State;
use crate::error::{Error, Result};

/// The answers for a run that begins.
///
/// # Errors
/// A name of no task, or of one that asks nobody, or not this person.
pub fn of_workflow(votes: &Votes, by: &str, workflow: &Workflow) -> Result<Vec<Command>> {
    commands(votes, by, &workflow.tasks.iter().collect::<Vec<_>>(), |_| false)
}

/// The answers for a session that goes on.
///
/// # Errors
/// As [`of_workflow`]; and a task that has its answer.
pub fn of_state(votes: &Votes, by: &str, state: &State) -> Result<Vec<Command>> {
    let definitions: Vec<&TaskDefinition> = state.definitions.iter().map(|definition| &**definition).collect();
    let commands = commands(votes, by, &definitions, |index| state.is_escalated(TaskId::from(index)))?;
    for command in &commands {
        if let Command::Vote { task, approves, abstains, by, note } = command.clone() {
            let vote = Vote { at: state.now, approves, abstains, by, note };
            arrival::vote(state, task, vote).map_err(Error::usage)?;
        }
    }
    Ok(commands)
}

fn commands(
    votes: &Votes,
    by: &str,
    tasks: &[&TaskDefinition],
    escalated: impl Fn(usize) -> bool,
) -> Result<Vec<Command>> {
    let answers = [(&votes.approve, true, false), (&votes.reject, false, false), (&votes.abstain, false, true)];
    let answers = answers.into_iter().flat_map(|(names, yes, no)| names.iter().map(move |name| (name, yes, no)));
    let command = |(name, approves, abstains): (&String, bool, bool)| {
        let asking = || (0..tasks.len()).filter(|index| asks(&tasks[*index].task_type) || escalated(*index));
        let Some(index) = tasks.iter().position(|task| task.id == *name) else {
            let names: Vec<&str> = asking().map(|index| tasks[index].id.as_str()).take(20).collect();
            let hint =
                if names.is_empty() { "no task asks anything".into() } else { format!("asking: {}", names.join(", ")) };
            return Err(Error::usage(format!("no task is called {name}")).hint(hint));
        };
        if !escalated(index) {
            may_vote(&tasks[index].task_type, name, by, abstains).map_err(|why| match why {
                NoVote::Stranger(why) => Error::usage(why).hint("say who votes: --as NAME"),
                NoVote::NotAsked(why) => Error::usage(why),
            })?;
        }
        Ok(Command::Vote { task: TaskId::from(index), approves, abstains, by: by.to_owned(), note: votes.note.clone() })
    };
    answers.map(command).collect()
}

fn asks(kind: &TaskType) -> bool {
    matches!(kind, TaskType::Approval(_)) || kind.gate().is_some_and(|gate| gate.asks_people())
}
