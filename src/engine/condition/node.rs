//! A condition as a tree of our own: names resolved to what they read, macros to what they mean, constants folded. The
//! parser makes it; checker and evaluator walk it. Knows nothing of the parser's crate.

use std::ops::Range;
use std::sync::Arc;

use super::names::{Name, Root, StageField, TaskField};
use super::value::Value;

/// Bytes from `start` to before `end` of the condition's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl At {
    pub(super) fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// An expression and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) kind: Kind,
}

/// What an expression does.
#[derive(Debug)]
pub(super) enum Kind {
    Literal(Value),
    List(Vec<Node>),
    /// A name known from the text.
    Read(Name),
    /// A name with a computed key.
    Computed(Box<Computed>),
    /// `has(…)` of a `Read` or `Computed`.
    Has(Box<Node>),
    /// The variable of the macro so many levels up from the outermost.
    Variable(usize),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Conditional(Box<(Node, Node, Node)>),
    Compare(Comparison, Box<(Node, Node)>),
    Arithmetic(Arithmetic, Box<(Node, Node)>),
    In(Box<(Node, Node)>),
    Index(Box<(Node, Node)>),
    Call(Function, Vec<Node>),
    Macro(Macro, Box<MacroParts>),
}

/// A name with a computed key.
#[derive(Debug)]
pub(super) struct Computed {
    pub(super) below: Below,
    /// The key, or task and output.
    pub(super) keys: Vec<Node>,
}

/// Which name a computed key gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Below {
    Param,
    Metric,
    State,
    Task(TaskField),
    Out,
    Stage(StageField),
}

impl Below {
    pub(super) fn root(self) -> Root {
        match self {
            Self::Param => Root::Params,
            Self::Metric => Root::Metrics,
            Self::State => Root::State,
            Self::Task(_) | Self::Out => Root::Task,
            Self::Stage(_) => Root::Stage,
        }
    }

    /// The name of one key, or of `Out` two. `None`: too few.
    pub(super) fn name(self, mut keys: impl Iterator<Item = Arc<str>>) -> Option<Name> {
        let key = keys.next()?;
        Some(match self {
            Self::Param => Name::Param(key),
            Self::Metric => Name::Metric(key),
            Self::State => Name::State(key),
            Self::Task(field) => Name::Task(key, field),
            Self::Out => Name::Out(key, keys.next()?),
            Self::Stage(field) => Name::Stage(key, field),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Duration,
    Timestamp,
    Int,
    Double,
    String,
    Bool,
    GetHours,
    GetMinutes,
    GetSeconds,
}

impl Function {
    pub(super) const ALL: [Self; 13] = [
        Self::Size,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::Duration,
        Self::Timestamp,
        Self::Int,
        Self::Double,
        Self::String,
        Self::Bool,
        Self::GetHours,
        Self::GetMinutes,
        Self::GetSeconds,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
            Self::Bool => "bool",
            Self::GetHours => "getHours",
            Self::GetMinutes => "getMinutes",
            Self::GetSeconds => "getSeconds",
        }
    }

    /// How it is called, and how many values it takes, the one before the dot counted.
    pub(super) fn form(self) -> (Form, usize, &'static str) {
        match self {
            Self::Size => (Form::Either, 1, "size(text) or size(list)"),
            Self::Contains => (Form::Member, 2, "text.contains(text)"),
            Self::StartsWith => (Form::Member, 2, "text.startsWith(text)"),
            Self::EndsWith => (Form::Member, 2, "text.endsWith(text)"),
            Self::Duration => (Form::Global, 1, "duration('30m')"),
            Self::Timestamp => (Form::Global, 1, "timestamp('2026-01-31T08:00:00Z')"),
            Self::Int => (Form::Global, 1, "int(number or text)"),
            Self::Double => (Form::Global, 1, "double(number or text)"),
            Self::String => (Form::Global, 1, "string(value)"),
            Self::Bool => (Form::Global, 1, "bool(text)"),
            Self::GetHours => (Form::Member, 1, "duration.getHours()"),
            Self::GetMinutes => (Form::Member, 1, "duration.getMinutes()"),
            Self::GetSeconds => (Form::Member, 1, "duration.getSeconds()"),
        }
    }
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `f(x)`
    Global,
    /// `x.f()`
    Member,
    /// Both.
    Either,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

/// `list.all(variable, body)` and the like.
#[derive(Debug)]
pub(super) struct MacroParts {
    pub(super) list: Node,
    /// Of `map` with three arguments: which elements.
    pub(super) only: Option<Node>,
    pub(super) body: Node,
}

impl Node {
    /// Calls `each` with this node and all below it, in the order of the text.
    pub(super) fn walk<'a>(&'a self, each: &mut impl FnMut(&'a Self)) {
        each(self);
        match &self.kind {
            Kind::Literal(_) | Kind::Read(_) | Kind::Variable(_) => {}
            Kind::List(nodes) | Kind::Call(_, nodes) => nodes.iter().for_each(|node| node.walk(each)),
            Kind::Computed(computed) => computed.keys.iter().for_each(|node| node.walk(each)),
            Kind::Has(node) | Kind::Not(node) | Kind::Negate(node) => node.walk(each),
            Kind::And(pair)
            | Kind::Or(pair)
            | Kind::Compare(_, pair)
            | Kind::Arithmetic(_, pair)
            | Kind::In(pair)
            | Kind::Index(pair) => {
                pair.0.walk(each);
                pair.1.walk(each);
            }
            Kind::Conditional(parts) => {
                parts.0.walk(each);
                parts.1.walk(each);
                parts.2.walk(each);
            }
            Kind::Macro(_, parts) => {
                parts.list.walk(each);
                parts.only.iter().for_each(|node| node.walk(each));
                parts.body.walk(each);
            }
        }
    }
}
