//! The names a condition can use: what there is below each root, as a schema (which names, of which types) and as values.
//! Knows nothing of expressions, and nothing of where values come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::value::{Type, Value};

/// The first word of every name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Root {
    /// `params`
    Params,
    /// `metrics`
    Metrics,
    /// `state`
    State,
    /// `task`
    Task,
    /// `stage`
    Stage,
    /// `run`
    Run,
    /// `system`
    System,
}

impl Root {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Params, Self::Metrics, Self::State, Self::Task, Self::Stage, Self::Run, Self::System];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Metrics => "metrics",
            Self::State => "state",
            Self::Task => "task",
            Self::Stage => "stage",
            Self::Run => "run",
            Self::System => "system",
        }
    }

    /// The root that is written so.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|root| root.word() == word)
    }
}

/// Declares an enum of fields with the word and the type of each.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident = $word:literal: $type:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$field_doc])* $field,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$field),*];

            /// As it is written.
            pub fn word(self) -> &'static str {
                match self { $(Self::$field => $word),* }
            }

            /// Its type.
            pub fn type_of(self) -> Type {
                match self { $(Self::$field => Type::$type),* }
            }

            /// The field that is written so.
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|field| field.word() == word)
            }
        }
    };
}

fields! {
    /// What can be asked of a task.
    TaskField {
        /// It succeeded. False before its end.
        Ok = "ok": Bool,
        /// It failed for good. False before its end.
        Failed = "failed": Bool,
        /// It is over, however it ended.
        Done = "done": Bool,
        /// It was skipped.
        Skipped = "skipped": Bool,
        /// Where it stands, as the screen says it.
        State = "state": Text,
        /// Exit code of its last ended attempt; missing before.
        Code = "code": Int,
        /// How many attempts it began.
        Attempts = "attempts": Int,
        /// How long its last attempt has run or ran; missing before the first.
        Elapsed = "elapsed": Duration,
    }
}

fields! {
    /// What can be asked of a stage.
    StageField {
        /// All its tasks are done and none failed.
        Ok = "ok": Bool,
        /// At least one of its tasks failed for good.
        Failed = "failed": Bool,
        /// All its tasks are over.
        Done = "done": Bool,
        /// How many of its tasks failed for good.
        Failures = "failures": Int,
        /// How many tasks it has.
        Total = "total": Int,
        /// How many of its tasks succeeded.
        Succeeded = "succeeded": Int,
    }
}

fields! {
    /// What can be asked of the run.
    RunField {
        /// Time since it began.
        Elapsed = "elapsed": Duration,
        /// How many tasks failed for good.
        Failures = "failures": Int,
        /// How many tasks run now.
        Running = "running": Int,
        /// The workflow's name.
        Name = "name": Text,
        /// When it began.
        Started = "started": Timestamp,
    }
}

fields! {
    /// What can be asked of the machine.
    SystemField {
        /// Load average of the last minute.
        Load1 = "load1": Float,
        /// Load average of the last five minutes.
        Load5 = "load5": Float,
        /// Memory that is free, in bytes.
        MemFree = "mem_free": Int,
        /// How many processors it has.
        Cpus = "cpus": Int,
    }
}

/// The full name of one value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Name {
    /// `params.<name>`
    Param(Arc<str>),
    /// `metrics.<name>`
    Metric(Arc<str>),
    /// `state.<key>`
    State(Arc<str>),
    /// `task.<id>.<field>`
    Task(Arc<str>, TaskField),
    /// `task.<id>.out.<name>`
    Out(Arc<str>, Arc<str>),
    /// `stage.<id>.<field>`
    Stage(Arc<str>, StageField),
    /// `run.<field>`
    Run(RunField),
    /// `system.<field>`
    System(SystemField),
}

impl Name {
    /// Its first word.
    pub fn root(&self) -> Root {
        match self {
            Self::Param(_) => Root::Params,
            Self::Metric(_) => Root::Metrics,
            Self::State(_) => Root::State,
            Self::Task(..) | Self::Out(..) => Root::Task,
            Self::Stage(..) => Root::Stage,
            Self::Run(_) => Root::Run,
            Self::System(_) => Root::System,
        }
    }
}

/// As it can be written in a condition: `task["roll-eu"].ok`.
impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.root().word())?;
        match self {
            Self::Param(name) | Self::Metric(name) | Self::State(name) => key(f, name),
            Self::Task(id, field) => key(f, id).and_then(|()| write!(f, ".{}", field.word())),
            Self::Out(id, name) => key(f, id).and_then(|()| f.write_str(".out")).and_then(|()| key(f, name)),
            Self::Stage(id, field) => key(f, id).and_then(|()| write!(f, ".{}", field.word())),
            Self::Run(field) => write!(f, ".{}", field.word()),
            Self::System(field) => write!(f, ".{}", field.word()),
        }
    }
}

/// `.id` where that can be written, else `["id"]`.
pub(super) fn key(f: &mut Formatter<'_>, key: &str) -> fmt::Result {
    if is_word(key) { write!(f, ".{key}") } else { write!(f, "[\"{}\"]", key.escape_debug()) }
}

/// Whether it can stand after a dot.
pub(super) fn is_word(text: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || char == '_';
    !text.is_empty()
        && text.chars().all(plain)
        && !text.starts_with(|char: char| char.is_ascii_digit())
        && !["true", "false", "null", "in"].contains(&text)
}

/// What a condition depends on: one value, or any below a root (its key is computed).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Read {
    /// Exactly this one.
    One(Name),
    /// Whichever the key says when it is evaluated.
    Any(Root),
}

/// Which names there are and of which types.
pub trait Schema {
    /// The type of a parameter: that of its default.
    fn param(&self, name: &str) -> Option<Type>;
    /// The declared type of a published metric.
    fn metric(&self, name: &str) -> Option<Type>;
    /// The type of a key of the shared state: that of its declared value.
    fn state(&self, key: &str) -> Option<Type>;
    /// Whether there is such a task.
    fn task(&self, id: &str) -> bool;
    /// The declared type of a value that a task publishes.
    fn output(&self, task: &str, name: &str) -> Option<Type>;
    /// Whether there is such a stage.
    fn stage(&self, id: &str) -> bool;
    /// What there is, for "did you mean"; asked only after a mistake.
    fn names<'a>(&'a self, of: Names<'_>) -> Box<dyn Iterator<Item = &'a str> + 'a>;
}

/// Which names are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names<'a> {
    /// Parameters.
    Params,
    /// Metrics.
    Metrics,
    /// Keys of the shared state.
    States,
    /// Tasks.
    Tasks,
    /// What this task publishes.
    Outputs(&'a str),
    /// Stages.
    Stages,
}

/// A schema as tables.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope {
    /// Types by name.
    pub params: BTreeMap<String, Type>,
    /// Types by name.
    pub metrics: BTreeMap<String, Type>,
    /// Types by key; any, if none is declared.
    pub state: BTreeMap<String, Type>,
    /// What each task publishes, by its id.
    pub tasks: BTreeMap<String, BTreeMap<String, Type>>,
    /// Ids.
    pub stages: BTreeSet<String>,
}

impl Schema for Scope {
    fn param(&self, name: &str) -> Option<Type> {
        self.params.get(name).cloned()
    }
    fn metric(&self, name: &str) -> Option<Type> {
        self.metrics.get(name).cloned()
    }
    fn state(&self, key: &str) -> Option<Type> {
        if self.state.is_empty() { Some(Type::Any) } else { self.state.get(key).cloned() }
    }
    fn task(&self, id: &str) -> bool {
        self.tasks.contains_key(id)
    }
    fn output(&self, task: &str, name: &str) -> Option<Type> {
        self.tasks.get(task)?.get(name).cloned()
    }
    fn stage(&self, id: &str) -> bool {
        self.stages.contains(id)
    }
    fn names<'a>(&'a self, of: Names<'_>) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        match of {
            Names::Params => Box::new(self.params.keys().map(String::as_str)),
            Names::Metrics => Box::new(self.metrics.keys().map(String::as_str)),
            Names::States => Box::new(self.state.keys().map(String::as_str)),
            Names::Tasks => Box::new(self.tasks.keys().map(String::as_str)),
            Names::Outputs(task) => {
                Box::new(self.tasks.get(task).into_iter().flat_map(|t| t.keys().map(String::as_str)))
            }
            Names::Stages => Box::new(self.stages.iter().map(String::as_str)),
        }
    }
}

/// Where values come from. Asked for one name at a time, only for those that the evaluation reaches.
pub trait Values {
    /// The value, or `None` if there is none yet.
    fn value(&self, name: &Name) -> Option<Value>;
}

impl Values for BTreeMap<Name, Value> {
    fn value(&self, name: &Name) -> Option<Value> {
        self.get(name).cloned()
    }
}
