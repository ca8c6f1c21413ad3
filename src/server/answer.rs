//! Answers what a client asks: from a picture of the session, or by asking the loop and waiting for its word. Runs on the
//! client's thread.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{locks, orders};
use crate::bus::message::{
    CoordinationMessage, ExecutionContext, MessageLine, MessageRequest, MessageType, Progress, Request, StateLine,
    StateRequest, TaskLine, Tasks, ToldLine,
};
use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::{Command, Origin};
use crate::engine::posts::Post;
use crate::engine::shared;
use crate::engine::state::{Shown, State};
use crate::runtime::Handle;
use crate::snapshot::build::{Frozen, task};
use crate::snapshot::why::why;
use crate::snapshot::{TaskRow, Told, WhyLine};

/// `ps` tells of no more tasks than this; the rest is a number.
pub const LISTED: usize = 100_000;
/// What a task says that it is at is no longer than this, in bytes.
pub const TEXT_BYTES: usize = 200;
/// How often it is looked whether what is waited for is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is asked of the loop is answered within this time, or its disk does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the client hears, if anything can be said. `has_gone` is whether nobody listens any more.
///
/// # Errors
/// Why not.
pub(super) fn to(
    handle: &Handle,
    request: Request,
    asked: &CoordinationMessage,
    has_gone: &dyn Fn() -> bool,
) -> Result<Value, String> {
    let source = asked.metadata.source.as_str();
    match request {
        Request::Lock(order) => locks::answer(handle, &order, asked, has_gone),
        Request::Barrier(order) => locks::meet(handle, &order, asked, has_gone),
        _ if asked.kind == MessageType::Sync => Err("a sync is about locks and barriers".into()),
        Request::Command(order) => {
            let frozen = picture(handle)?;
            let command = orders::command(&frozen.engine.state, &order, source)?;
            send(handle, Origin::Client(source.to_owned()), command)
        }
        Request::Ps(wanted) => {
            let frozen = picture(handle)?;
            let ids = orders::chosen(&frozen.engine.state, &wanted.tasks, wanted.filter.as_deref(), true)?;
            let at = handle.clock.now();
            let rows: Vec<TaskLine> = ids.iter().take(LISTED).map(|id| line(task(&frozen, *id, at))).collect();
            Ok(json!({ "tasks": rows, "left_off": ids.len().saturating_sub(LISTED) }))
        }
        Request::Why(one) => {
            let frozen = picture(handle)?;
            let id = orders::one(&frozen.engine.state, &one.task)?;
            let said = |line: WhyLine| json!({ "met": line.met, "text": line.text, "more": line.more });
            let lines: Vec<Value> = why(&frozen, id, handle.clock.now()).into_iter().map(said).collect();
            Ok(json!({ "task": one.task, "why": lines }))
        }
        Request::Wait(wanted) => wait(handle, &wanted),
        Request::Progress(progress) => tell(handle, progress, &asked.content.context),
        Request::State(wanted) => state(handle, &wanted, asked),
        Request::Message(wanted) => message(handle, wanted, asked),
        Request::Act(order) => {
            let command = serde_json::from_value(order.command);
            let command: Command = command.map_err(|error| format!("no command of this version: {error}"))?;
            if names_definitions(&command) {
                return Err("tasks are added and changed by their text: see `command`".into());
            }
            send(handle, Origin::Client(source.to_owned()), command)
        }
        Request::Told => {
            let line = |(task, told): (&TaskId, &Told)| {
                let Told { done, of, text } = told.clone();
                ToldLine { task_id: task.0, done, of, text }
            };
            let lines: Vec<ToldLine> = picture(handle)?.told.iter().take(LISTED).map(line).collect();
            Ok(json!({ "told": lines }))
        }
    }
}

/// It holds what a client is not believed: ids and definitions that nobody has checked.
fn names_definitions(command: &Command) -> bool {
    match command {
        Command::Add(_) | Command::Edit { .. } => true,
        Command::All(all) => all.iter().any(names_definitions),
        _ => false,
    }
}

/// Asks the loop, and waits until what it says is stored.
pub(super) fn send(handle: &Handle, by: Origin, command: Command) -> Result<Value, String> {
    let (answer_to, answers) = channel();
    handle.send_as(by, command, 0, Some(answer_to));
    match answers.recv_timeout(PATIENCE) {
        Ok((_, Ok(words))) => Ok(json!({ "done": words })),
        Ok((_, Err(refusal))) => Err(refusal.0),
        Err(_) => Err("the session has not answered: it has ended, or its disk does not answer".into()),
    }
}

/// Who asks: an attempt of a task, or a client by its name.
pub(super) fn speaker(asked: &CoordinationMessage) -> Origin {
    let context = &asked.content.context;
    match (context.task_id, context.attempt) {
        (Some(task), Some(attempt)) => Origin::Task(TaskId(task), Attempt(attempt)),
        _ => Origin::Client(asked.metadata.source.clone()),
    }
}

/// What was said after the message of this number.
pub fn message_lines(state: &State, after: u64) -> Vec<MessageLine> {
    let line = |post: &Post| {
        let (number, at_ms, by) = (post.number, post.at.0, state.who(&post.by));
        MessageLine { number, at_ms, by, priority: post.priority, text: post.text.to_string() }
    };
    state.posts.last.iter().filter(|post| post.number > after).map(line).collect()
}

/// Something is said, or what was said is told.
fn message(handle: &Handle, wanted: MessageRequest, asked: &CoordinationMessage) -> Result<Value, String> {
    let after = wanted.after.unwrap_or(0);
    let told = |state: &State| message_lines(state, after);
    match wanted.op.as_str() {
        "post" => {
            let priority = if wanted.priority == 0 { asked.metadata.priority } else { wanted.priority };
            send(handle, speaker(asked), Command::Post { text: wanted.text, priority })
        }
        "list" => Ok(json!({ "messages": told(&picture(handle)?.engine.state) })),
        "watch" => loop {
            let frozen = picture(handle)?;
            let lines = told(&frozen.engine.state);
            if !lines.is_empty() {
                return Ok(json!({ "messages": lines }));
            }
            thread::sleep(LOOK_EVERY);
        },
        other => Err(format!("there is no `{other}` of the messages: post, list, watch")),
    }
}

/// The shared state is read or changed.
fn state(handle: &Handle, wanted: &StateRequest, asked: &CoordinationMessage) -> Result<Value, String> {
    let by = speaker(asked);
    let key = wanted.key.clone();
    match wanted.op.as_str() {
        "list" => {
            let frozen = picture(handle)?;
            let keys = frozen.engine.state.shared.entries.keys();
            let lines: Vec<StateLine> = keys.map(|key| state_line(&frozen.engine.state, key)).collect();
            Ok(json!({ "state": lines }))
        }
        "get" => Ok(json!(state_line(&picture(handle)?.engine.state, &key))),
        "watch" => loop {
            let line = state_line(&picture(handle)?.engine.state, &key);
            if Some(line.version) != wanted.version {
                return Ok(json!(line));
            }
            thread::sleep(LOOK_EVERY);
        },
        "set" => {
            let value = shared::of_json(&wanted.value).ok_or("a value is a number, a text, true or false")?;
            send(handle, by, Command::SetState { key, value: Some(value), expect: wanted.version })
        }
        "delete" => send(handle, by, Command::SetState { key, value: None, expect: wanted.version }),
        other => Err(format!("there is no `{other}` of the shared state: get, list, set, delete, watch")),
    }
}

fn state_line(state: &State, key: &str) -> StateLine {
    let key = key.to_owned();
    match state.shared.entries.get(key.as_str()) {
        Some(entry) => {
            let (version, at_ms, by) = (entry.version, entry.at.0, state.who(&entry.by));
            StateLine { key, value: shared::to_json(&entry.value), version, at_ms, by }
        }
        None => StateLine { key, value: Value::Null, version: 0, at_ms: 0, by: String::new() },
    }
}

/// A task says how far it has come.
fn tell(handle: &Handle, progress: Progress, context: &ExecutionContext) -> Result<Value, String> {
    let (Some(task), Some(attempt)) = (context.task_id, context.attempt) else {
        return Err("which attempt? It says so in `context`: task_id and attempt".into());
    };
    let Progress { done, of, mut text } = progress;
    if of == 0 {
        return Err("`of` is at least 1".into());
    }
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    let told = Told { done, of, text };
    let words = told.words();
    let heard = handle.tell(TaskId(task), Attempt(attempt), told);
    if heard { Ok(json!({ "done": words })) } else { Err("too many tasks say how far they have come".into()) }
}

/// The session as it is now.
pub(super) fn picture(handle: &Handle) -> Result<Arc<Frozen>, String> {
    let (to, picture) = channel();
    handle.picture(to);
    picture.recv_timeout(PATIENCE).map_err(|_| "the session has ended, or its disk does not answer".into())
}

fn line(row: TaskRow) -> TaskLine {
    TaskLine {
        task: row.name.to_string(),
        stage: row.stage,
        state: format!("{:?}", row.phase).to_ascii_lowercase(),
        priority: row.priority,
        attempt: row.attempt,
        agent: row.agent,
        since_ms: row.since.0,
        note: row.note,
        progress: row.told.map(|Told { done, of, text }| Progress { done, of, text }),
    }
}

/// Until all of them are over, or can never be: which exit code they come to.
fn wait(handle: &Handle, wanted: &Tasks) -> Result<Value, String> {
    // Who passes the filter now is waited for, whatever becomes of it.
    let first = picture(handle)?;
    let ids = orders::chosen(&first.engine.state, &wanted.tasks, wanted.filter.as_deref(), true)?;
    loop {
        let frozen = picture(handle)?;
        let state = &frozen.engine.state;
        if ids.iter().all(|id| is_over(state, *id)) || state.is_finished() {
            return Ok(json!({ "code": orders::code(state, &ids) }));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn is_over(state: &State, id: TaskId) -> bool {
    matches!(
        state.shown(id),
        Shown::Succeeded | Shown::Failed | Shown::Skipped | Shown::Cancelled | Shown::Blocked | Shown::Lost
    )
}
