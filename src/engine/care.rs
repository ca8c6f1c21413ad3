//! The care of an attempt: what a task asks to be done around its command (save and put back paths, limits, "up to date",
//! validations, published values), and what was found. Data only, stored in the journal (fields are only added, with a
//! default); who takes the care is outside. Knows no files and no processes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::condition::{Type, Value};
use super::fact::Cause;
use super::ids::Span;
use super::message::StartProblem;

/// A task publishes at most so many values.
pub const PUBLISHED_MOST: usize = 64;
/// A task has at most so many validations.
pub const VALIDATIONS_MOST: usize = 64;
/// A compiled pattern takes at most so much memory.
pub const PATTERN_BYTES: usize = 1 << 20;
/// What is said about a check or a reason is at most so many bytes long.
pub const WORDS_MOST: usize = 400;

/// What a task asks to be done around its command.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Care {
    /// Paths saved before its first attempt and put back before another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restore: Vec<String>,
    /// What its processes may take.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// It is not run if nothing has changed since its last success.
    #[serde(skip_serializing_if = "is_default")]
    pub up_to_date: bool,
    /// Files that it reads: paths, folders, globs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// Files that it makes; each must be there after a success.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// What must hold after a success.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validate: Vec<Validation>,
    /// Values that later tasks and conditions may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publishes: Vec<Publish>,
}

impl Care {
    /// About so many bytes it takes.
    pub fn size(&self) -> usize {
        let texts = |list: &[String]| list.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let checks = self.validate.iter().map(|check| size_of::<Validation>() + check.words().len()).sum::<usize>();
        let published = self.publishes.iter().map(|publish| size_of::<Publish>() + publish.name.len()).sum::<usize>();
        size_of::<Self>() + texts(&self.restore) + texts(&self.inputs) + texts(&self.outputs) + checks + published
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What the processes of an attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of memory, all its processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How much it lets others go first: 0 to 19.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<u8>,
    /// CPU time of each of its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Span>,
    /// Open files of each of its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// Processes at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
}

/// A check of what a command did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// What is checked.
    pub check: Check,
    /// What it counts in the quality score.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// It only counts in the score: the attempt does not fail by it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optional: bool,
}

fn one() -> u32 {
    1
}

fn is_one(weight: &u32) -> bool {
    *weight == 1
}

/// What is checked. Paths are seen from the task's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Check {
    /// There is something at this path.
    FileExists(String),
    /// A line of the file matches.
    FileHas {
        /// Which file.
        file: String,
        /// A regular expression.
        pattern: String,
    },
    /// No line of the file matches (the file is there).
    FileLacks {
        /// Which file.
        file: String,
        /// A regular expression.
        pattern: String,
    },
    /// A line of the output matches.
    LogHas(String),
    /// No line of the output matches.
    LogLacks(String),
    /// A value of a JSON file.
    Json {
        /// Which file.
        file: String,
        /// Where in it: a JSON pointer (RFC 6901).
        at: String,
        /// What it must be.
        is: Is,
    },
    /// This shell command ends well, with these variables added to the task's.
    Command {
        /// For `/bin/sh -c`.
        line: String,
        /// Added to the task's environment.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        env: Vec<(String, String)>,
    },
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Is {
    /// A number, this or more.
    AtLeast(f64),
    /// A number, this or less.
    AtMost(f64),
    /// This.
    Equals(Value),
}

/// A value that a task publishes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// By which name.
    pub name: String,
    /// Where it is taken from.
    pub from: Source,
    /// Its type: Bool, Int, Float, Text or a list of one of these.
    pub of: Type,
}

/// Where a published value is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The last line of the output that is not empty.
    LastLine,
    /// That line is JSON: the value at this pointer.
    JsonLine {
        /// A JSON pointer.
        at: String,
    },
    /// The SHA-256 of its output, or of a file.
    Digest {
        /// Which file, if it is not the output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// What the command itself says while it runs, by `qd publish`; the last word counts.
    Publish,
    /// The value at this pointer of a JSON file.
    JsonFile {
        /// Which file.
        file: String,
        /// A JSON pointer.
        at: String,
    },
}

impl Validation {
    /// In a few words, as in the file.
    pub fn words(&self) -> String {
        let text = match &self.check {
            Check::FileExists(path) => format!("FileExists({path:?})"),
            Check::FileHas { file, pattern } => format!("FileHas({file:?}, {pattern:?})"),
            Check::FileLacks { file, pattern } => format!("FileLacks({file:?}, {pattern:?})"),
            Check::LogHas(pattern) => format!("LogHas({pattern:?})"),
            Check::LogLacks(pattern) => format!("LogLacks({pattern:?})"),
            Check::Json { file, at, is } => format!("Json({file:?} {at} {})", is.words()),
            Check::Command { line, .. } => format!("Command({line:?})"),
        };
        cut(text)
    }
}

impl Is {
    /// In a few words.
    pub fn words(&self) -> String {
        match self {
            Self::AtLeast(number) => format!("at least {number}"),
            Self::AtMost(number) => format!("at most {number}"),
            Self::Equals(value) => format!("equal to {value}"),
        }
    }
}

/// At most [`WORDS_MOST`] bytes of a text.
pub fn cut(mut text: String) -> String {
    if text.len() > WORDS_MOST {
        text.truncate(text.floor_char_boundary(WORDS_MOST));
        text.push('…');
    }
    text
}

// ── what was found ───────────────────────────────────────────────────────────────────────────────────────────────────

/// What was found around one attempt. Bounded: see the constants.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// What it published, in the order of its declaration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<(String, Value)>,
    /// What was checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Checked>,
    /// Nothing had changed since the last success: the command was not run.
    #[serde(skip_serializing_if = "is_default")]
    pub up_to_date: bool,
    /// Why it was run although it may be skipped, or why it was not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// What was saved or put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// It was killed for its memory: bytes allowed and seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<(u64, u64)>,
    /// It was stopped for another limit: which, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// It could not be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<StartProblem>,
    /// What its success fails by: a check, or a value that it did not publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
}

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Which, in words.
    pub what: String,
    /// It holds.
    pub passed: bool,
    /// What it counts.
    pub weight: u32,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Weight of the checks that hold, and of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Score {
    /// Of those that hold.
    pub passed: u64,
    /// Of all.
    pub all: u64,
}

impl Score {
    /// Percent, rounded down: 100 only if all holds. `None` if nothing was checked.
    pub fn percent(self) -> Option<u64> {
        (self.passed * 100).checked_div(self.all)
    }
}

impl Findings {
    /// Nothing worth storing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Why the attempt failed, if by anything that its exit does not say.
    pub fn cause(&self) -> Option<Cause> {
        if self.memory.is_some() {
            return Some(Cause::OutOfMemory);
        }
        if let Some(what) = &self.limit {
            return Some(Cause::Limit { what: what.clone() });
        }
        if let Some(problem) = &self.problem {
            return Some(Cause::CouldNotStart(problem.clone()));
        }
        self.invalid.as_ref().map(|what| Cause::Validation { what: what.clone() })
    }

    /// How its checks came out.
    pub fn score(&self) -> Option<Score> {
        let sum = |passed: bool| {
            let counted = self.checks.iter().filter(|check| check.passed || !passed);
            counted.map(|check| u64::from(check.weight)).sum()
        };
        (!self.checks.is_empty()).then(|| Score { passed: sum(true), all: sum(false) })
    }

    /// Without the published values: what an ended attempt is remembered by.
    pub(super) fn remembered(&self) -> Self {
        Self { published: Vec::new(), ..self.clone() }
    }
}

// ── references ───────────────────────────────────────────────────────────────────────────────────────────────────────

/// A place in a command where a value goes that is known only when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// In which text of the command.
    pub slot: Slot,
    /// Before which byte of it; of several in one text, in order.
    pub at: u32,
    /// Which value.
    pub value: ValueOf,
}

/// A text of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// This word of `exec`.
    Word(u32),
    /// The value of this variable of `env`, by its place.
    Variable(u32),
    /// The working folder.
    Cwd,
}

/// A value that is known only during the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ValueOf {
    /// What a task published by a name at its last success.
    Output {
        /// Which task.
        task: super::ids::TaskId,
        /// The name.
        name: Arc<str>,
    },
    /// What any task published last by a name.
    Metric(Arc<str>),
    /// The element of the list of which the task is made.
    Each,
}

/// A value as commands see it: text as it is, the elements of a list one a line.
pub fn plain_text(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) | Value::Duration(value) | Value::Timestamp(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(value) => value.to_string(),
        Value::List(elements) => elements.iter().map(plain_text).collect::<Vec<_>>().join("\n"),
    }
}

// ── what is kept of a task ───────────────────────────────────────────────────────────────────────────────────────────

/// What the State keeps of the findings of a task over all its attempts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// What its last success published.
    pub outputs: Vec<(String, Value)>,
    /// Number of that publication in the session, from 1; 0 before the first.
    pub sequence: u64,
    /// Number of the last attempt that succeeded, or that was made in an earlier round: what was saved before it is not put
    /// back any more. 0 before the first.
    pub settled: u32,
    /// The score of the last attempt that was checked.
    pub score: Option<Score>,
}
