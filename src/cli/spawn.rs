//! Tasks that are added to a workflow under way, and changed: `qd spawn` from within a task or beside it, `qd ctl add` and `edit`.
//! The session reads the text, since only it knows what there is.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::args::Spawn;
use super::ctl::{self, Within, folder, of, to_value, who};
use super::shell::print;
use crate::bus::client::Client;
use crate::bus::message::Order;
use crate::engine::message::{Command, Origin};
use crate::engine::state::State;
use crate::error::{Error, Result};
use crate::server::{REQUEST_BYTES, surgery};
use crate::text;
use crate::tui::Change;
use crate::workflow::graft;

/// `qd spawn`.
pub fn spawn(args: &Spawn) -> Result<i32> {
    let within = if args.session.is_none() { ctl::within()? } else { None };
    let text = match (&args.file, &args.name) {
        (Some(file), _) => read(Some(file))?,
        (None, Some(name)) => {
            let more = args.with.as_deref().unwrap_or_default();
            graft::written(name, &args.command, &args.after, args.stage.as_deref(), more)
        }
        (None, None) => return Err(Error::usage("which task?")),
    };
    let order = Order {
        command: "add".into(),
        text,
        stage: args.stage.clone(),
        before: args.before.clone(),
        ..Order::default()
    };
    let (folder, source, context) = match within {
        Some(Within { folder, task, context }) => (folder, task, Some(context)),
        None => (folder(args.session.as_deref())?, who(None), None),
    };
    let mut client = Client::connect(folder.fd(), &source).map_err(|trouble| of(trouble, &folder))?;
    if let Some(context) = context {
        client.speak_from(context);
    }
    let answer = client.ask("command", to_value(&order)?).map_err(|trouble| of(trouble, &folder))?;
    let done = answer.get("done").and_then(Value::as_str).unwrap_or_default();
    Ok(print(format!("{}\n", text::clean(done)).as_bytes()))
}

/// What stands in a file, or comes from standard input.
pub(super) fn read(file: Option<&Path>) -> Result<String> {
    let most = REQUEST_BYTES as u64;
    let mut text = String::new();
    let (name, read) = match file.filter(|file| *file != Path::new("-")) {
        None => ("standard input".to_owned(), std::io::stdin().lock().take(most).read_to_string(&mut text)),
        Some(file) => {
            let name = file.display().to_string();
            (name, std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text)))
        }
    };
    let length = read.map_err(|error| Error::usage(format!("{name} cannot be read: {error}")))?;
    if length as u64 >= most * 3 / 4 {
        let hint = "add the tasks in parts, or let one have a foreach";
        return Err(Error::usage(format!("{name} is too long to be added at once")).hint(hint));
    }
    Ok(text)
}

/// What a console asks for when somebody has written a change at its keys.
pub(super) fn order(change: &Change, state: &State, stage: Option<String>) -> Order {
    let text = change.text.trim();
    let bare = !text.starts_with(['(', '[', 'T']);
    let text = if bare { format!("Task({text})") } else { text.to_owned() };
    match change.task {
        None => Order { command: "add".into(), text, stage, ..Order::default() },
        Some(task) => {
            let name = state.definitions.get(task.index()).map(|task| task.id.clone());
            Order { command: "edit".into(), text, tasks: name.into_iter().collect(), ..Order::default() }
        }
    }
}

/// The command that it comes to.
///
/// # Errors
/// What is wrong with it.
pub(super) fn command(change: &Change, state: &State) -> std::result::Result<Command, String> {
    surgery::read(state, &order(change, state, None), &Origin::Operator, super::run::machine)
}
