//! What a task that waits says of itself, as a workflow file would say it: what an editor begins with. Only what can be written
//! back without loss; the rest is left as it is. Knows no terminal.

use crate::engine::definition::{CommandLine, TaskDefinition, TaskType};
use crate::engine::ids::{Span, TaskId};
use crate::engine::state::State;

/// Its fields, in the order of the documentation.
pub fn fields(state: &State, id: TaskId) -> String {
    let task = state.definition(id);
    let mut fields: Vec<String> = Vec::new();
    fields.extend(command(task));
    let after: Vec<String> = task.after.iter().map(|id| quote(state.name(*id))).collect();
    fields.push(format!("after: [{}]", after.join(", ")));
    fields.push(format!("priority: {}", state.task(id).priority));
    fields.extend(task.timeout.and_then(span).map(|text| format!("timeout: {text}")));
    fields.extend(task.estimate.and_then(span).map(|text| format!("estimate: {text}")));
    if !task.requirements.capabilities.is_empty() {
        let names: Vec<String> = task.requirements.capabilities.iter().map(|name| quote(name)).collect();
        fields.push(format!("needs: [{}]", names.join(", ")));
    }
    if !task.tags.is_empty() {
        let tags: Vec<String> = task.tags.iter().map(|tag| quote(tag)).collect();
        fields.push(format!("tags: [{}]", tags.join(", ")));
    }
    if task.preemptible {
        fields.push("preemptible: true".to_owned());
    }
    fields.join(", ")
}

/// A command that is nothing but a command: values that are filled in later have no text any more.
fn command(task: &TaskDefinition) -> Option<String> {
    let TaskType::Run(command) = &task.task_type else { return None };
    if !command.references.is_empty() || !command.env.is_empty() || command.cwd.is_some() {
        return None;
    }
    Some(match &command.run {
        CommandLine::Shell(line) => format!("run: {}", quote(line)),
        CommandLine::Exec(words) => {
            format!("exec: [{}]", words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(", "))
        }
    })
}

/// In the largest unit that it is whole in.
fn span(span: Span) -> Option<String> {
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (unit, length) = units.into_iter().find(|(_, length)| span.0 > 0 && span.0.is_multiple_of(*length))?;
    Some(format!("\"{}{unit}\"", span.0 / length))
}

fn quote(text: &str) -> String {
    ron::to_string(text).unwrap_or_else(|_| String::from("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_written_in_whole_units() {
        for (ms, text) in [(1_500, "\"1500ms\""), (90_000, "\"90s\""), (120_000, "\"2m\""), (7_200_000, "\"2h\"")] {
            assert_eq!(span(Span(ms)).as_deref(), Some(text));
        }
        assert_eq!(span(Span(0)), None);
    }
}
