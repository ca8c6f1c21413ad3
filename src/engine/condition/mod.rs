//! Conditions: expressions in CEL over what a run knows. Parsed and bounded once, checked against a schema, evaluated
//! against values asked for one by one; the same text with the same values gives the same answer. The crate `cel` parses
//! (only `parse` names it); the evaluator is ours, because a condition needs what its interpreter has not: a bound on
//! steps, a missing value that is no error, and no panic on any input. Knows nothing of tasks, the State or files.

mod check;
mod evaluate;
mod hint;
mod names;
mod node;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use std::fmt::{self, Debug, Display, Formatter};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::evaluate::{EvalError, Explanation, Fault};
pub use self::names::{Name, Names, Read, Root, RunField, Schema, Scope, StageField, SystemField, TaskField, Values};
pub use self::value::{LIST_DEPTH_MAX, LIST_MAX, TEXT_VALUE_MAX, Type, Value};

/// A condition's text is at most so many bytes long.
pub const TEXT_MAX: usize = 4 * 1024;
/// It has at most so many words and signs, so its tree has at most so many nodes.
pub const TOKENS_MAX: usize = 1_000;
/// Brackets, and `?` one after the other, are nested at most so deep. Keeps the parser off the end of the stack.
pub const NESTING_MAX: usize = 32;
/// The tree is at most so deep: `a + b + …` counts each `+`; `&&` and `||` hardly count.
pub const DEPTH_MAX: usize = 64;
/// Macros (`all`, `map`, …) stand in one another's bodies at most so deep.
pub const MACRO_DEPTH_MAX: usize = 2;
/// An evaluation takes at most so many steps (a node is one, and so is each further 64 bytes of a text).
pub const STEPS_MAX: u32 = 20_000;
/// An explanation lists at most so many values.
pub const EXPLAINED_MAX: usize = 16;
/// At most so many problems are told of one condition.
pub const PROBLEMS_MAX: usize = 10;

/// What is wrong in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the condition's text; on character boundaries; empty only at its end.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    fn new(at: node::At, message: impl Into<String>) -> Self {
        Self { range: at.range(), message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn hint_if(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, " ({hint})"))
    }
}

/// A parsed condition. Cheap to clone; equal if its text is equal; stored as its text.
#[derive(Clone)]
pub struct Condition(Arc<Inner>);

struct Inner {
    text: Box<str>,
    root: node::Node,
    reads: Vec<Read>,
}

impl Condition {
    /// Parses `text`.
    ///
    /// # Errors
    /// All that is wrong with it as far as it can be known without a schema, at least one and at most [`PROBLEMS_MAX`].
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let root = parse::parse(text)?;
        let mut reads = Vec::new();
        root.walk(&mut |node| match &node.kind {
            node::Kind::Read(name) => reads.push(Read::One(name.clone())),
            node::Kind::Computed(computed) => reads.push(Read::Any(computed.below.root())),
            _ => {}
        });
        reads.sort();
        reads.dedup();
        Ok(Self(Arc::new(Inner { text: text.into(), root, reads })))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What it depends on, sorted: its value changes only when one of these does.
    pub fn reads(&self) -> &[Read] {
        &self.0.reads
    }

    /// The same condition over other names: `rename` gives what is read in the place of a name, if it is another.
    ///
    /// # Errors
    /// A name has a computed key, or what comes of it is no condition.
    pub fn renamed(&self, rename: &dyn Fn(&Name) -> Option<String>) -> Result<Self, String> {
        let mut places: Vec<(Range<usize>, String)> = Vec::new();
        let mut computed = false;
        self.0.root.walk(&mut |node| match &node.kind {
            node::Kind::Read(name) => places.extend(rename(name).map(|text| (node.at.range(), text))),
            node::Kind::Computed(of) => computed |= !matches!(of.below.root(), Root::Metrics | Root::State),
            _ => {}
        });
        if computed {
            return Err("it computes the name of what it reads".to_owned());
        }
        places.sort_by_key(|(range, _)| range.start);
        places.dedup_by_key(|(range, _)| range.start);
        let mut text = String::with_capacity(self.text().len());
        let mut done = 0;
        for (range, name) in places {
            text += &self.text()[done..range.start];
            text += &name;
            done = range.end;
        }
        text += &self.text()[done..];
        Self::parse(&text).map_err(|problems| problems.first().map(Problem::to_string).unwrap_or_default())
    }

    /// Its type, by the names and types of `schema`.
    ///
    /// # Errors
    /// Unknown names, unlike types that are compared, and the like; at most [`PROBLEMS_MAX`].
    pub fn check(&self, schema: &dyn Schema) -> Result<Type, Vec<Problem>> {
        check::check(&self.0.text, &self.0.root, schema)
    }

    /// Checks that it is true or false (or known only when evaluated).
    ///
    /// # Errors
    /// As [`Self::check`], or that it has another type.
    pub fn check_bool(&self, schema: &dyn Schema) -> Result<(), Vec<Problem>> {
        match self.check(schema)? {
            Type::Bool | Type::Any => Ok(()),
            other => Err(vec![check::not_a_condition(self.0.root.at, &other)]),
        }
    }

    /// Its value. Asks `values` only for what it reaches, and for nothing else.
    ///
    /// # Errors
    /// [`EvalError::Missing`]: a value that decides is not there yet. [`EvalError::Fault`]: it has no value.
    pub fn evaluate(&self, values: &dyn Values) -> Result<Value, EvalError> {
        evaluate::evaluate(&self.0.root, values)
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// As [`Self::evaluate`]; a value that is neither true nor false is a fault.
    pub fn holds(&self, values: &dyn Values) -> Result<bool, EvalError> {
        match self.evaluate(values)? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(evaluate::not_a_bool(self.0.root.at)),
        }
    }

    /// The condition with the values it reads, in the order of its text, each name once, at most [`EXPLAINED_MAX`].
    pub fn explain(&self, values: &dyn Values) -> Explanation {
        evaluate::explain(&self.0.text, &self.0.root, values)
    }
}

impl Debug for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text()).finish()
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Condition {}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|problems| {
            let first = problems.first().map(Problem::to_string).unwrap_or_default();
            serde::de::Error::custom(format_args!("condition {}: {first}", Value::from(text.as_str())))
        })
    }
}
