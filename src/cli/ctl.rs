//! `qd ctl` asks or tells a session that runs in another terminal, `qd progress` says from within a task how far it has come:
//! both over the socket of the session.

use serde_json::{Value, json};

use super::args::{Ballot, Ctl, CtlVerb, Vote, Which};
use super::live;
use super::resume::replay;
use super::shell::print;
use crate::agents::{ATTEMPT, SESSION, TASK, TASK_ID, TOKEN};
use crate::bus::client::{Client, Trouble};
use crate::bus::message::{ExecutionContext, Order, Progress, TaskLine, Tasks};
use crate::error::{Error, Kind, Result};
use crate::server::orders;
use crate::session::folder::Folder;
use crate::text;

/// What is said of a session that nobody runs.
const NOBODY: &str = "no console runs it: qd sessions lists them, qd resume goes on with one";

/// `qd ctl`.
pub fn ctl(args: &Ctl) -> Result<i32> {
    let folder = folder(args.session.as_deref())?;
    let source = who(args.who.as_deref());
    if let CtlVerb::Events { tasks, follow } = &args.what {
        return super::events::events(&folder, tasks, *follow, args.json);
    }
    let mut client = match Client::connect(folder.fd(), &source) {
        Ok(client) => client,
        // Nothing of it goes on: what it came to stands in its journal.
        Err(trouble) => match (&args.what, trouble) {
            (CtlVerb::Wait { tasks, filter }, Trouble::Nobody) => return past(&folder, tasks, filter.as_deref()),
            (CtlVerb::Messages { .. }, Trouble::Nobody) => return super::msg::past(&folder, 0, args.json),
            (_, trouble) => return Err(of(trouble, &folder)),
        },
    };
    if let CtlVerb::Messages { follow } = &args.what {
        return super::msg::messages(&mut client, &folder, *follow, args.json);
    }
    let mut ask =
        |action: &str, parameters: Value| client.ask(action, parameters).map_err(|trouble| of(trouble, &folder));
    match &args.what {
        CtlVerb::Ps { tasks, filter } => {
            let answer = ask("ps", to_value(&Tasks { tasks: tasks.clone(), filter: filter.clone() })?)?;
            if args.json { Ok(print_json(&answer)) } else { table(&answer) }
        }
        CtlVerb::Why { task } => {
            let answer = ask("why", json!({ "task": task }))?;
            if args.json { Ok(print_json(&answer)) } else { Ok(print(checklist(&answer).as_bytes())) }
        }
        CtlVerb::Wait { tasks, filter } => {
            let parameters = to_value(&Tasks { tasks: tasks.clone(), filter: filter.clone() })?;
            match client.ask("wait", parameters) {
                Ok(answer) => {
                    if args.json {
                        print_json(&answer);
                    }
                    code(&answer)
                }
                Err(Trouble::Gone) => past(&folder, tasks, filter.as_deref()),
                Err(trouble) => Err(of(trouble, &folder)),
            }
        }
        verb => {
            let answer = ask("command", to_value(&order(verb, &source)?)?)?;
            let done = answer.get("done").and_then(Value::as_str).unwrap_or_default();
            if args.json { Ok(print_json(&answer)) } else { Ok(print(format!("{}\n", text::clean(done)).as_bytes())) }
        }
    }
}

/// What the tasks of a session came to that nobody runs.
fn past(folder: &Folder, tasks: &[String], filter: Option<&str>) -> Result<i32> {
    let state = replay(folder)?.state;
    let ids = orders::chosen(&state, tasks, filter, true).map_err(Error::usage)?;
    Ok(orders::code(&state, &ids))
}

/// As whom: as said, else by the login's name.
pub(super) fn who(said: Option<&str>) -> String {
    let login = || ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    said.map(str::to_owned).or_else(login).unwrap_or_else(|| "ctl".to_owned())
}

/// The session that was named, else the only one that runs.
pub(super) fn folder(name: Option<&str>) -> Result<Folder> {
    let sessions = live::sessions()?;
    if let Some(name) = name {
        return sessions.folder(name);
    }
    let running: Vec<String> =
        sessions.list()?.into_iter().filter(|session| session.holder.is_some()).map(|session| session.name).collect();
    match running.as_slice() {
        [one] => sessions.folder(one),
        [] => Err(Error::usage("no session runs").hint("qd run FILE begins one; qd sessions lists those that were")),
        several => {
            let names = several.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            Err(Error::usage(format!("{} sessions run: {names}", several.len())).hint("say which: --session NAME"))
        }
    }
}

/// What the user is told of it.
pub(super) fn of(trouble: Trouble, folder: &Folder) -> Error {
    match trouble {
        Trouble::Nobody => Error::usage(format!("session {} cannot be reached", folder.name())).hint(NOBODY),
        Trouble::Gone => {
            Error { kind: Kind::Stopped, message: format!("session {} has ended meanwhile", folder.name()), hint: None }
        }
        Trouble::Refused(why) => Error::usage(why),
        Trouble::Strange(why) => Error::usage(format!("session {} cannot be understood: {why}", folder.name())),
    }
}

/// As the parameters of a message.
pub(super) fn to_value(of: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(of).map_err(|error| Error::internal(error.to_string()))
}

/// A verb as the protocol says it.
fn order(verb: &CtlVerb, source: &str) -> Result<Order> {
    let plain = |command: &str| Order { command: command.to_owned(), ..Order::default() };
    let on = |command: &str, which: &Which| Order {
        tasks: which.tasks.clone(),
        filter: which.filter.clone(),
        ..plain(command)
    };
    let say = |command: &str, answer: &super::args::Answer| Order {
        tasks: answer.tasks.clone(),
        filter: answer.filter.clone(),
        note: answer.note.clone(),
        by: Some(source.to_owned()),
        ..plain(command)
    };
    Ok(match verb {
        CtlVerb::Prio { value, which } => Order { value: Some(f64::from(*value)), ..on("prio", which) },
        CtlVerb::Hold(which) => on("hold", which),
        CtlVerb::Release(which) => on("release", which),
        CtlVerb::Cancel(which) => on("cancel", which),
        CtlVerb::Kill(which) => on("kill", which),
        CtlVerb::Retry(which) => on("retry", which),
        CtlVerb::Skip(which) => on("skip", which),
        CtlVerb::Unskip(which) => on("unskip", which),
        CtlVerb::Fallback(which) => on("fallback", which),
        CtlVerb::Remove(which) => on("remove", which),
        CtlVerb::Restore(which) => on("restore", which),
        CtlVerb::Add { file, stage, before } => {
            let text = super::spawn::read(file.as_deref())?;
            Order { text, stage: stage.clone(), before: before.clone(), ..plain("add") }
        }
        CtlVerb::Edit { task, fields } => {
            let bare = !fields.trim_start().starts_with(['(', 'T']);
            let text = if bare { format!("Task({})", fields.trim()) } else { fields.clone() };
            Order { tasks: vec![task.clone()], text, ..plain("edit") }
        }
        CtlVerb::Approve(answer) => say("approve", answer),
        CtlVerb::Reject(answer) => say("reject", answer),
        CtlVerb::Abstain(answer) => say("abstain", answer),
        CtlVerb::Pause => plain("pause"),
        CtlVerb::Resume => plain("resume"),
        CtlVerb::Drain => plain("drain"),
        CtlVerb::Stop => plain("stop"),
        CtlVerb::StopNow => plain("stop-now"),
        CtlVerb::Detach => plain("detach"),
        CtlVerb::Compensate => plain("compensate"),
        CtlVerb::CloseBreaker => plain("close-breaker"),
        CtlVerb::IgnorePauseWhile => plain("ignore-pause-while"),
        CtlVerb::HeedPauseWhile => plain("heed-pause-while"),
        CtlVerb::Slots { agent, slots } => {
            Order { agent: Some(agent.clone()), value: Some(f64::from(*slots)), ..plain("slots") }
        }
        CtlVerb::Capabilities { agent, names } => {
            Order { agent: Some(agent.clone()), capabilities: names.clone(), ..plain("capabilities") }
        }
        CtlVerb::Limit { resource, amount, agent } => {
            Order { resource: Some(resource.clone()), value: Some(*amount), agent: agent.clone(), ..plain("limit") }
        }
        CtlVerb::MaxRunning { most } => Order { value: most.map(f64::from), ..plain("max-running") },
        CtlVerb::Undo => plain("undo"),
        CtlVerb::Redo => plain("redo"),
        CtlVerb::Ps { .. }
        | CtlVerb::Messages { .. }
        | CtlVerb::Events { .. }
        | CtlVerb::Why { .. }
        | CtlVerb::Wait { .. } => plain(""),
    })
}

/// An answer as a line.
pub(super) fn print_json(answer: &Value) -> i32 {
    print(format!("{answer}\n").as_bytes())
}

fn code(answer: &Value) -> Result<i32> {
    let code = answer.get("code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    code.ok_or_else(|| Error::usage("the session does not say what its tasks came to"))
}

fn table(answer: &Value) -> Result<i32> {
    let rows = answer.get("tasks").cloned().unwrap_or_default();
    let rows: Vec<TaskLine> = serde_json::from_value(rows).map_err(|error| Error::usage(error.to_string()))?;
    let width = rows.iter().map(|row| text::width(&row.task)).max().unwrap_or(0).clamp(4, 40);
    let mut out =
        format!("{:width$}  {:<10} {:>5} {:>3}  {:<10} PROGRESS / WHY NOT\n", "TASK", "STATE", "PRI", "TRY", "AGENT");
    for row in &rows {
        let name = text::clean(&row.task);
        let pad = width.saturating_sub(text::width(&name));
        let line = format!(
            "{name}{:pad$}  {:<10} {:>5} {:>3}  {:<10} {}",
            "",
            text::clean(&row.state),
            row.priority,
            row.attempt,
            text::clean(row.agent.as_deref().unwrap_or("")),
            text::clean(&progress_of(row)),
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    if let Some(left) = answer.get("left_off").and_then(Value::as_u64).filter(|left| *left > 0) {
        out.push_str(&format!("… {left} more\n"));
    }
    Ok(print(out.as_bytes()))
}

fn progress_of(row: &TaskLine) -> String {
    let told = row.progress.as_ref().map(|progress| {
        let percent = progress.done.min(progress.of) as f64 * 100.0 / progress.of.max(1) as f64;
        format!("{percent:.0} % {}/{} {}  ", progress.done, progress.of, progress.text)
    });
    format!("{}{}", told.unwrap_or_default(), row.note)
}

/// The task from within which this is said, by its environment.
pub(super) struct Within {
    /// Its session.
    pub folder: Folder,
    /// Its name.
    pub task: String,
    /// Who that is, exactly.
    pub context: ExecutionContext,
}

/// The task from within which this is said, if it is from within one.
pub(super) fn within() -> Result<Option<Within>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let number = |name: &str| variable(name).and_then(|value| value.parse::<u32>().ok());
    let (Some(session), Some(task_id), Some(attempt)) = (variable(SESSION), number(TASK_ID), number(ATTEMPT)) else {
        return Ok(None);
    };
    let folder = Folder::recording(std::path::Path::new(&session))?;
    let task = variable(TASK).unwrap_or_default();
    let (task_id, attempt) = (Some(task_id), Some(attempt));
    let token = variable(TOKEN);
    let context = ExecutionContext { session: None, task: Some(task.clone()), task_id, attempt, token };
    Ok(Some(Within { folder, task, context }))
}

/// `qd vote`.
pub fn vote(args: &Vote) -> Result<i32> {
    let within = if args.session.is_none() { within()? } else { None };
    let (folder, source) = match within {
        Some(within) => (within.folder, args.who.clone().unwrap_or(within.task)),
        None => (folder(args.session.as_deref())?, who(args.who.as_deref())),
    };
    let command = match args.vote {
        Ballot::Yes => "approve",
        Ballot::No => "reject",
        Ballot::Abstain => "abstain",
    };
    let (tasks, note, by) = (args.tasks.clone(), args.note.clone(), Some(source.clone()));
    let order = Order { command: command.into(), tasks, note, by, ..Order::default() };
    let mut client = Client::connect(folder.fd(), &source).map_err(|trouble| of(trouble, &folder))?;
    let answer = client.ask("command", to_value(&order)?).map_err(|trouble| of(trouble, &folder))?;
    let done = answer.get("done").and_then(Value::as_str).unwrap_or_default();
    Ok(print(format!("{}\n", text::clean(done)).as_bytes()))
}

/// `qd progress`: said from within a task. A task does not fail because nobody listens.
pub fn progress(args: &super::args::Progress) -> Result<i32> {
    let (done, of) = args.value;
    let Some(Within { folder, task, context }) = within()? else {
        return Err(Error::usage("no task says this").hint("qd progress is for the commands of a task, while they run"));
    };
    let unheard = |why: String| {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("qd progress: {why}\n").as_bytes());
        Ok(0)
    };
    let mut client = match Client::connect(folder.fd(), &task) {
        Ok(client) => client,
        Err(trouble) => return unheard(of_trouble(trouble)),
    };
    client.speak_from(context);
    let said = Progress { done, of, text: args.text.join(" ") };
    match client.ask("progress", to_value(&said)?) {
        Ok(_) => Ok(0),
        Err(trouble) => unheard(of_trouble(trouble)),
    }
}

fn of_trouble(trouble: Trouble) -> String {
    match trouble {
        Trouble::Nobody => "no console listens".to_owned(),
        Trouble::Gone => "the console has gone".to_owned(),
        Trouble::Refused(why) | Trouble::Strange(why) => why,
    }
}

fn checklist(answer: &Value) -> String {
    let mut out = String::new();
    let word = |value: Option<&Value>| text::clean(value.and_then(Value::as_str).unwrap_or_default()).into_owned();
    for line in answer.get("why").and_then(Value::as_array).into_iter().flatten() {
        let mark = if line.get("met").and_then(Value::as_bool) == Some(true) { "✓" } else { "✗" };
        out.push_str(&format!("{mark} {}\n", word(line.get("text"))));
        for more in line.get("more").and_then(Value::as_array).into_iter().flatten() {
            out.push_str(&format!("    {}\n", word(Some(more))));
        }
    }
    out
}
