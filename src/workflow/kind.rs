//! What a task is that runs no command: its `type`. Knows nothing of commands.

use super::diagnostic::Finding;
use super::schema::{Fields, Reader, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::definition::TaskType;

/// The types that can be written.
const TYPES: [&str; 1] = ["Noop"];

/// Types that this version does not have.
const LATER: [&str; 6] = ["Approval", "Wait", "Sensor", "Message", "Subworkflow", "Barrier"];

/// Fields that only a command has.
const OF_COMMANDS: [&str; 7] = ["run", "exec", "env", "cwd", "retry", "timeout", "fallback"];

/// Reads `type`, if the task has one.
pub(super) fn read(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<TaskType> {
    let node = fields.get("type")?;
    let found = match &node.kind {
        Kind::Word("Noop") => TaskType::Noop,
        Kind::Word(word) if LATER.contains(word) => {
            reader.not_yet(word, node.at);
            return None;
        }
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) if LATER.contains(&name.text) => {
            reader.not_yet(name.text, name.at);
            return None;
        }
        _ => {
            unknown(reader, node);
            return None;
        }
    };
    for name in OF_COMMANDS {
        if let Some(other) = fields.get(name) {
            let finding =
                Finding::new(head(other), format!("a task with a `type` has no `{name}`: it runs no command"));
            reader.report(finding.label("one too many").also(node.at, "the type"));
        }
    }
    Some(found)
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
