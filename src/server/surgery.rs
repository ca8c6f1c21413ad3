//! Clients that change the workflow: their text is read against a picture of the session and becomes a command. If the workflow
//! has changed before the command is decided, that is done again. Knows nothing of what a change comes to.

use std::sync::Arc;
use std::thread;

use serde_json::Value;

use super::{answer, orders};
use crate::bus::message::{CoordinationMessage, Order};
use crate::engine::ids::{Attempt, StageId, TaskId};
use crate::engine::message::{Command, Origin};
use crate::engine::state::State;
use crate::engine::surgery::{OUTDATED, can_be_changed};
use crate::runtime::Handle;
use crate::workflow::{Diagnostics, Machine, Source, graft};

/// So often what became outdated is made again.
const TRIES: u32 = 200;
/// Conditions are read by a parser that needs room: more than a client's thread has.
const STACK: usize = 16 << 20;

/// It changes the workflow by a text.
pub(super) fn is_one(order: &Order) -> bool {
    matches!(order.command.as_str(), "add" | "edit")
}

/// What the client hears.
///
/// # Errors
/// Why the workflow is not changed.
pub(super) fn answer(
    handle: &Handle,
    order: &Order,
    asked: &CoordinationMessage,
    machine: fn() -> Machine,
) -> Result<Value, String> {
    let by = answer::speaker(asked);
    for _ in 0..TRIES {
        let frozen = answer::picture(handle)?;
        let state = &frozen.engine.state;
        let command = read(state, order, &by, machine)?;
        match answer::send(handle, by.clone(), command) {
            Err(why) if why == OUTDATED => {}
            other => return other,
        }
    }
    Err(format!("{OUTDATED}, again and again"))
}

/// The command that a text comes to in this state.
///
/// # Errors
/// What is wrong with it, placed.
pub fn read(state: &State, order: &Order, by: &Origin, machine: fn() -> Machine) -> Result<Command, String> {
    thread::scope(|scope| {
        let read = || command(state, order, by, &machine());
        let reader = thread::Builder::new().name("graft".into()).stack_size(STACK).spawn_scoped(scope, read);
        reader.map_err(|error| error.to_string())?.join().map_err(|_| "it cannot be read".to_owned())?
    })
}

fn command(state: &State, order: &Order, by: &Origin, machine: &Machine) -> Result<Command, String> {
    let source = Source { name: "task", text: &order.text };
    if order.command == "edit" {
        let [name] = order.tasks.as_slice() else { return Err("which task? One at a time".into()) };
        let task = orders::one(state, name)?;
        can_be_changed(state, task).map_err(|refusal| refusal.0)?;
        let definition = graft::edit(&source, state, task, machine).map_err(|wrong| said(&wrong))?;
        return Ok(Command::Edit { task, definition: Arc::new(definition) });
    }
    let stage = match &order.stage {
        Some(name) => {
            let found = (0..state.stages.len()).map(StageId::from).find(|id| state.stage_name(*id) == name);
            Some(found.ok_or_else(|| format!("no stage is called {name}"))?)
        }
        None => match by {
            Origin::Task(TaskId(task), Attempt(_)) => {
                state.definitions.get(*task as usize).map(|definition| definition.stage)
            }
            _ => None,
        },
    };
    let mut added = graft::tasks(&source, state, stage, machine).map_err(|wrong| said(&wrong))?;
    for name in &order.before {
        added.before.push(orders::one(state, name)?);
    }
    Ok(Command::Add(Arc::new(added)))
}

/// All that is wrong, as one message: whoever shows it says that it is an error.
fn said(wrong: &Diagnostics) -> String {
    let text = wrong.render(false);
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.strip_suffix("\n\n1 error\n").unwrap_or(text).trim_end().to_owned()
}
