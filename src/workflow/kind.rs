//! What a task is that runs no command: its `type`. Knows nothing of commands.

use std::sync::Arc;

use super::care;
use super::conditions::Scope;
use super::diagnostic::Finding;
use super::foreach::Each;
use super::lower::next_time;
use super::schema::{APPROVAL, Fields, MESSAGE, Reader, TASK_GATE, Zero, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use super::{gate, sensor, units};
use crate::engine::definition::{Approval, Deadline, Message, TaskType};
use crate::engine::posts::POST_BYTES;

/// A question is no longer than this, in bytes.
pub const MAX_QUESTION_BYTES: usize = 1_000;

/// The types that can be written.
const TYPES: [&str; 7] = ["Noop", "Approval", "Wait", "Sensor", "QualityGate", "Message", "Subworkflow"];

/// Fields that only a command has.
const OF_COMMANDS: [&str; 11] =
    ["run", "exec", "env", "cwd", "retry", "timeout", "fallback", "compensate", "barrier", "monitor", "replicate"];
/// Fields of what takes a place on an agent.
const OF_PLACES: [&str; 7] = ["needs", "uses", "agent", "not_on", "prefer", "same_agent_as", "not_beside"];

/// Reads `type`, if the task has one.
pub(super) fn read(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    now: &jiff::Zoned,
    fields: &Fields<'_, '_>,
    each: Each<'_>,
    what: impl Fn() -> String,
) -> Option<TaskType> {
    let node = fields.get("type")?;
    let found = match &node.kind {
        Kind::Word("Noop") => TaskType::Noop,
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) if name.text == "Approval" => {
            TaskType::Approval(approval(reader, node)?)
        }
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) if name.text == "Sensor" => {
            TaskType::Sensor(Arc::new(sensor::read(reader, scope, each, node, what)?))
        }
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) if name.text == "QualityGate" => {
            let fields = reader.fields(node, &TASK_GATE)?;
            TaskType::QualityGate(Arc::new(gate::read(reader, scope, each, node, &fields, what)?))
        }
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) if name.text == "Message" => {
            TaskType::Message(Arc::new(message(reader, scope, each, node)?))
        }
        Kind::Tuple(Some(name), items) if name.text == "Wait" && items.len() == 1 => {
            TaskType::Wait(wait(reader, now, &items[0])?)
        }
        _ => {
            unknown(reader, node);
            return None;
        }
    };
    has_no_command(reader, fields, node);
    Some(found)
}

/// Tells of fields that only a command has.
pub(super) fn has_no_command(reader: &mut Reader, fields: &Fields<'_, '_>, node: &Node<'_>) {
    for name in OF_COMMANDS.into_iter().chain(care::FIELDS) {
        if let Some(other) = fields.get(name) {
            let finding =
                Finding::new(head(other), format!("a task with a `type` has no `{name}`: it runs no command"));
            reader.report(finding.label("one too many").also(node.at, "the type"));
        }
    }
    for name in OF_PLACES {
        if let Some(other) = fields.get(name) {
            let message = format!("a task with a `type` has no `{name}`: it holds no place on any agent");
            reader.report(Finding::new(head(other), message).label("one too many").also(node.at, "the type"));
        }
    }
}

const QUESTION: &str =
    "for example type: Approval(\"Ship it?\"), or Approval(text: \"Ship it?\", timeout: \"1h\", on_timeout: Reject)";

fn approval(reader: &mut Reader, node: &Node<'_>) -> Option<Approval> {
    let question = |reader: &mut Reader, node: &Node<'_>| {
        let word = reader.text(node, "Approval")?;
        if word.text.trim().is_empty() || word.text.len() > MAX_QUESTION_BYTES {
            let message = format!("a question is a text of 1 to {MAX_QUESTION_BYTES} bytes");
            reader.report(Finding::new(node.at, message).label("what is asked?").help(QUESTION));
            return None;
        }
        Some(word.text.to_owned())
    };
    if let Kind::Tuple(_, items) = &node.kind
        && items.len() == 1
    {
        return Some(Approval { text: question(reader, &items[0])?, timeout: None, silence_approves: false });
    }
    let fields = reader.fields(node, &APPROVAL)?;
    let timeout = fields.get("timeout").map(|node| reader.duration(node, "timeout", Zero::Refused));
    let silence = fields.get("on_timeout").map(|node| {
        if fields.get("timeout").is_none() {
            let finding = Finding::new(head(node), "`on_timeout` without `timeout`: it asks without end");
            reader.report(finding.label("after how long?").help(QUESTION));
        }
        reader.choice(node, "on_timeout", &[("Reject", false), ("Approve", true)])
    });
    let Some(text) = fields.get("text") else {
        let finding = Finding::new(head(node), "this approval asks nothing");
        reader.report(finding.label("`text` is missing").help(QUESTION));
        return None;
    };
    let text = question(reader, text)?;
    Some(Approval {
        text,
        timeout: timeout.map_or(Some(None), |span| span.map(Some))?,
        silence_approves: silence.unwrap_or(Some(false))?,
    })
}

const SAYS: &str =
    "for example type: Message(\"${task.build.out.tag} is out\"), or Message(text: \"look here\", priority: 1)";

fn message(reader: &mut Reader, scope: Scope<'_, '_>, each: Each<'_>, node: &Node<'_>) -> Option<Message> {
    let (text, priority) = match &node.kind {
        Kind::Tuple(_, items) if items.len() == 1 => (&items[0], None),
        _ => {
            let fields = reader.fields(node, &MESSAGE)?;
            let Some(text) = fields.get("text") else {
                let finding = Finding::new(head(node), "this message says nothing").label("`text` is missing");
                reader.report(finding.help(SAYS));
                return None;
            };
            (text, fields.get("priority"))
        }
    };
    let word = reader.text(text, "Message")?;
    if word.text.trim().is_empty() || word.text.len() > POST_BYTES {
        let message = format!("a message is a text of 1 to {POST_BYTES} bytes");
        reader.report(Finding::new(text.at, message).label("what is said?").help(SAYS));
        return None;
    }
    let priority = match priority {
        None => 0,
        Some(node) => {
            let number = reader.integer(node, "priority", i64::from(i32::MIN), i64::from(i32::MAX))?;
            i32::try_from(number).ok()?
        }
    };
    let text = super::command::plain_word(reader, scope, each.row(), text)?;
    Some(Message { text, priority })
}

/// `"10m"` from when everything before it is done, or the next `"14:00"`.
fn wait(reader: &mut Reader, now: &jiff::Zoned, node: &Node<'_>) -> Option<Deadline> {
    let word = reader.text(node, "Wait")?;
    let found = if word.text.contains(':') {
        let clock = units::clock(word.text).ok_or_else(|| "not a time of a day".to_owned());
        clock
            .and_then(|clock| next_time(now, clock).ok_or_else(|| "beyond the end of the calendar".to_owned()))
            .map(Deadline::At)
    } else {
        units::duration(word.text).map(Deadline::After)
    };
    if let Err(why) = &found {
        let finding = Finding::new(node.at, format!("`Wait`: {why}")).label("not a time");
        reader.report(finding.help("a length of time: Wait(\"10m\"), or a clock time: Wait(\"14:00\")"));
    }
    found.ok()
}

fn unknown(reader: &mut Reader, node: &Node<'_>) {
    let word = match &node.kind {
        Kind::Word(word) => Some(*word),
        Kind::Text(text) => Some(text.as_ref()),
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) => Some(name.text),
        _ => None,
    };
    let finding = Finding::new(head(node), format!("{} is no type of task", describe(node)));
    let label = format!("expected {}; a command has no `type`, but `run` or `exec`", TYPES.join(", "));
    reader.report(finding.label(label).maybe_help(word.and_then(|word| did_you_mean(word, TYPES))));
}
