//! Tasks of a list that an earlier task made: `foreach` over a published value. The task of the file stands for all of them; it
//! is done once they are. When everything before it is done, a task is added for each element of the list, and from then on
//! it waits for these. Knows nothing of files and shells.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::care::{Slot, ValueOf, plain_text};
use super::condition::Value;
use super::definition::{CommandLine, CommandSpec, Compensation, TaskDefinition, TaskType};
use super::fact::{Cause, Fact, Outcome};
use super::ids::TaskId;
use super::message::StartProblem;
use super::state::State;

/// A list makes no more tasks than this.
pub const FOREACH_MOST: usize = 10_000;
/// A session has no more tasks than this.
pub const TASKS_MOST: usize = 1_000_000;
/// The name of a task that is made so is no longer than this, in bytes.
pub const NAME_BYTES: usize = 200;

/// What makes tasks of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foreach {
    /// The list.
    pub list: ValueOf,
    /// `{key}` in names stands for an element.
    pub key: String,
    /// What each of its tasks runs.
    pub command: Arc<CommandSpec>,
    /// So many tasks were made of it, once they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u32>,
}

/// What follows when everything before it is done.
pub(super) fn arrive(state: &State, id: TaskId, foreach: &Foreach) -> Vec<Fact> {
    let settled = |outcome, why| vec![Fact::Settled { task: id, outcome, why }];
    match foreach.made {
        Some(0) => return settled(Outcome::Succeeded, Some("the list is empty".to_owned())),
        Some(1) => return settled(Outcome::Succeeded, Some("1 task of the list".to_owned())),
        Some(made) => return settled(Outcome::Succeeded, Some(format!("{made} tasks of the list"))),
        None => {}
    }
    match make(state, id, foreach) {
        Ok(facts) => facts,
        Err(message) => {
            let problem = StartProblem { message, code: None, transient: false };
            settled(Outcome::Failed(Cause::CouldNotStart(problem)), None)
        }
    }
}

/// A task for each element, but for those that were added before a crash.
fn make(state: &State, id: TaskId, foreach: &Foreach) -> Result<Vec<Fact>, String> {
    let Value::List(elements) = state.value_of(&foreach.list)? else {
        return Err("what it is made of is no list".to_owned());
    };
    if elements.len() > FOREACH_MOST {
        return Err(format!("the list has {} elements, at most {FOREACH_MOST} are possible", elements.len()));
    }
    if state.tasks.len() + elements.len() > TASKS_MOST {
        return Err(format!("the session would have more than {TASKS_MOST} tasks"));
    }
    let own = state.definition(id);
    let added = state.made_by(id);
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut definitions = Vec::with_capacity(elements.len());
    for element in elements.iter() {
        let text = plain_text(element);
        let definition = one(id, own, foreach, &text)?;
        if !names.insert(definition.id.clone()) {
            return Err(format!("the list has {text:?} twice"));
        }
        definitions.push(definition);
    }
    let others = (0..state.tasks.len()).map(TaskId::from).filter(|other| !added.contains(other));
    if let Some(taken) = others.map(|other| state.name(other)).find(|name| names.contains(*name)) {
        return Err(format!("a task is called {taken:?} already"));
    }
    let tasks = u32::try_from(definitions.len()).expect("they were counted");
    let new = definitions.into_iter().skip(added.len());
    let mut facts: Vec<Fact> = new.map(|definition| Fact::TaskAdded(Arc::new(definition))).collect();
    facts.push(Fact::Made { task: id, tasks });
    Ok(facts)
}

/// The task of one element.
fn one(id: TaskId, own: &TaskDefinition, foreach: &Foreach, text: &str) -> Result<TaskDefinition, String> {
    let place = format!("{{{}}}", foreach.key);
    let name = own.id.replace(&place, text);
    if let Some(fault) = fault(&name, text) {
        return Err(format!("{text:?} of the list cannot be part of a task's name: it {fault}"));
    }
    let command = with(&foreach.command, text);
    let compensation = own.compensation.as_ref().map(|compensation| {
        let (id, command) = (compensation.id.replace(&place, text), with(&compensation.command, text));
        Arc::new(Compensation { id, command, ..(**compensation).clone() })
    });
    let task_type = TaskType::Run(command);
    Ok(TaskDefinition { id: name, task_type, compensation, entry: None, made_by: Some(id), ..own.clone() })
}

/// Why a name with this in it would not do.
fn fault(name: &str, text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        return Some("is empty");
    }
    if name.len() > NAME_BYTES {
        return Some("is too long");
    }
    // Marks that turn the direction of text, or take no cell.
    let hidden =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    if name.chars().any(|c| c.is_control() || hidden(c)) {
        return Some("holds what cannot be seen");
    }
    if name.contains(['*', '?']) {
        return Some("holds * or ?, which stand for several names");
    }
    (name.trim() != name).then_some("begins or ends with a space")
}

/// The command with the element where it refers to it; what else it refers to stays to be filled in when it starts.
fn with(command: &Arc<CommandSpec>, text: &str) -> Arc<CommandSpec> {
    let mut filled = (**command).clone();
    let mut shift: (Option<Slot>, u32) = (None, 0);
    for mut reference in std::mem::take(&mut filled.references) {
        if shift.0 != Some(reference.slot) {
            shift = (Some(reference.slot), 0);
        }
        reference.at += shift.1;
        if reference.value != ValueOf::Each {
            filled.references.push(reference);
            continue;
        }
        let place = match (reference.slot, &mut filled.run) {
            (Slot::Word(at), CommandLine::Exec(words)) => words.get_mut(at as usize),
            (Slot::Variable(at), _) => filled.env.get_mut(at as usize).map(|(_, value)| value),
            (Slot::Cwd, _) => filled.cwd.as_mut(),
            (Slot::Word(_), CommandLine::Shell(_)) => None,
        };
        if let Some(place) = place.filter(|place| place.is_char_boundary(reference.at as usize)) {
            place.insert_str(reference.at as usize, text);
            shift.1 += u32::try_from(text.len()).expect("a published value is shorter");
        }
    }
    Arc::new(filled)
}

impl State {
    /// The tasks that were added for this one, in the order of its list.
    pub fn made_by(&self, id: TaskId) -> Vec<TaskId> {
        let added = (self.first_tasks..self.tasks.len()).map(TaskId::from);
        added.filter(|other| self.definition(*other).made_by == Some(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::care::Reference;

    #[test]
    fn an_element_goes_where_it_is_referred_to_and_the_rest_waits() {
        let words = vec!["cp".to_owned(), "/ to /".to_owned()];
        let output = ValueOf::Output { task: TaskId(3), name: "dir".into() };
        let at = |slot, at, value: &ValueOf| Reference { slot, at, value: value.clone() };
        let references = vec![
            at(Slot::Word(1), 1, &ValueOf::Each),
            at(Slot::Word(1), 5, &output),
            at(Slot::Word(1), 6, &ValueOf::Each),
            at(Slot::Cwd, 1, &output),
        ];
        let mut spec = CommandSpec::new(CommandLine::Exec(words));
        (spec.references, spec.cwd) = (references, Some("/".to_owned()));
        let filled = with(&Arc::new(spec), "a b");
        assert_eq!(filled.run, CommandLine::Exec(vec!["cp".into(), "/a b to /a b".into()]));
        assert_eq!(filled.references, [at(Slot::Word(1), 8, &output), at(Slot::Cwd, 1, &output)]);
    }

    #[test]
    fn what_cannot_be_read_or_told_apart_is_no_name() {
        for (text, is_good) in [
            ("a.txt", true),
            ("a b/ü", true),
            ("", false),
            (" ", false),
            ("a\nb", false),
            ("*.c", false),
            ("\u{202e}a", false),
        ] {
            assert_eq!(fault(&format!("t-{text}"), text).is_none(), is_good, "{text:?}");
        }
        assert_eq!(fault(&"x".repeat(201), "x"), Some("is too long"));
    }
}
