//! Conditions in a file: `when` of tasks, stages and transitions. Parsed, checked against what the file declares, and every
//! problem placed inside the text. Knows nothing of when a condition is asked.

use super::diagnostic::{Finding, shown};
use super::foreach::{Each, Row};
use super::order;
use super::params::Params;
use super::published::Published;
use super::schema::{Reader, Word, within};
use super::syntax::Node;
use crate::engine::condition::{
    Condition, EvalError, Name, Names, Problem, Read, Schema, StageField, TaskField, Type, Value, Values,
};
use crate::engine::definition::Param;
use crate::engine::values::param;

/// The names that a condition can use.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s, 'n> {
    pub params: &'s Params,
    pub tasks: &'s order::Names<'n>,
    pub stages: &'s order::Names<'n>,
    pub published: &'s Published,
}

/// Reads the condition in `node`, the value of `what`.
pub(super) fn read(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    each: Each<'_>,
    node: &Node<'_>,
    what: &str,
) -> Option<Condition> {
    let word = reader.text(node, what)?;
    let text = match each {
        Each::No => word.text.into(),
        Each::Unknown if word.text.contains('{') => return None,
        Each::Unknown => word.text.into(),
        Each::Row(row) => {
            if !is_plain(reader, node, &word, row) {
                return None;
            }
            row.fill(reader, &word)
        }
    };
    let as_written = text == word.text;
    let place = |problem: Problem| {
        let range = problem.range;
        let at = if as_written { within(node, range.start, range.end) } else { node.at };
        let message = format!("`{what}`: {}", problem.message);
        let label = if as_written { "here".to_owned() } else { format!("reads here: {}", shown(&text)) };
        Finding::new(at, message).label(label).maybe_help(problem.hint)
    };
    let condition = match Condition::parse(&text) {
        Ok(condition) => condition,
        Err(problems) => {
            problems.into_iter().for_each(|problem| reader.report(place(problem)));
            return None;
        }
    };
    match condition.check_bool(&scope) {
        Ok(()) => Some(condition),
        Err(problems) => {
            problems.into_iter().for_each(|problem| reader.report(place(problem)));
            None
        }
    }
}

/// Whose end a condition asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Task(String),
    Stage(String),
}

/// What a condition cannot do without the end of: the only task or stage that it reads, besides parameters, and without
/// knowing how it ended there is no answer. Of conditions that read more nothing is said: they may be decided by the rest.
pub(super) fn needs(condition: &Condition, params: &Params) -> Option<Asked> {
    struct Known<'p>(&'p Params);
    impl Values for Known<'_> {
        fn value(&self, name: &Name) -> Option<Value> {
            let Name::Param(name) = name else { return None };
            self.0.values.get(&**name).map(param)
        }
    }
    let mut asked = None;
    for read in condition.reads() {
        let one = match read {
            Read::One(Name::Param(_)) => continue,
            Read::One(Name::Task(id, TaskField::Ok | TaskField::Failed | TaskField::Skipped)) => {
                Asked::Task(id.to_string())
            }
            Read::One(Name::Stage(id, StageField::Ok | StageField::Failed)) => Asked::Stage(id.to_string()),
            _ => return None,
        };
        if asked.as_ref().is_some_and(|other| *other != one) {
            return None;
        }
        asked = Some(one);
    }
    let is_stuck = matches!(condition.holds(&Known(params)), Err(EvalError::Missing(_)));
    asked.filter(|_| is_stuck)
}

/// A value of a `foreach` must not end a text of the condition or begin another.
fn is_plain(reader: &mut Reader, node: &Node<'_>, word: &Word<'_>, row: &Row<'_>) -> bool {
    for (start, _) in word.text.match_indices('{') {
        let Some((cell, length)) = row.at(&word.text[start..]) else { continue };
        if cell.text.contains(['\'', '"', '\\', '\n', '\r']) {
            let at = within(node, start, start + length);
            let finding = Finding::new(at, format!("the value of `{}` cannot stand in a condition", cell.name));
            reader.report(finding.label("it holds a quote or a backslash").help("give it a plain value beside it"));
            return false;
        }
    }
    true
}

fn type_of(value: &Param) -> Type {
    match value {
        Param::Bool(_) => Type::Bool,
        Param::Int(_) => Type::Int,
        Param::Float(_) => Type::Float,
        Param::Text(_) => Type::Text,
    }
}

impl Schema for Scope<'_, '_> {
    fn param(&self, name: &str) -> Option<Type> {
        self.params.values.get(name).map(type_of)
    }

    fn metric(&self, name: &str) -> Option<Type> {
        self.published.metric(name).cloned()
    }

    fn state(&self, key: &str) -> Option<Type> {
        self.params.state.get(key).map(type_of)
    }

    fn task(&self, id: &str) -> bool {
        self.tasks.find(id).is_some()
    }

    fn output(&self, id: &str, name: &str) -> Option<Type> {
        self.published.output(self.tasks.find(id)?, name).cloned()
    }

    fn stage(&self, id: &str) -> bool {
        self.stages.find(id).is_some()
    }

    fn names<'a>(&'a self, of: Names<'_>) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        match of {
            Names::Params => Box::new(self.params.values.keys().map(String::as_str)),
            Names::Tasks => Box::new(self.tasks.all()),
            Names::Stages => Box::new(self.stages.all()),
            Names::Metrics => Box::new(self.published.metrics()),
            Names::States => Box::new(self.params.state.keys().map(String::as_str)),
            Names::Outputs(id) => match self.tasks.find(id) {
                Some(task) => Box::new(self.published.outputs(task)),
                None => Box::new(std::iter::empty()),
            },
        }
    }
}
