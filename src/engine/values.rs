//! What a State knows, as conditions ask for it: one value for each name, or none yet. Reads the State, decides nothing.

use super::condition::{Name, RunField, StageField, TaskField, Value, Values};
use super::definition::Param;
use super::fact::{Cause, Outcome};
use super::ids::{Span, StageId, TaskId};
use super::state::{Shown, State};

impl Values for State {
    fn value(&self, name: &Name) -> Option<Value> {
        match name {
            Name::Param(name) => self.settings.params.get(&**name).map(param),
            Name::Task(id, field) => self.task_value(self.named(id)?, *field),
            Name::Stage(id, field) => self.stage_value(self.stage_named(id)?, *field),
            Name::Run(field) => Some(self.run_value(*field)),
            Name::Metric(name) => self.metric(name).cloned(),
            Name::Out(id, name) => self.output(self.named(id)?, name).cloned(),
            Name::System(field) => self.figures.map(|figures| figures.value(*field)),
            Name::State(key) => self.shared.entries.get(&**key).map(|entry| param(&entry.value)),
        }
    }
}

impl State {
    fn task_value(&self, id: TaskId, field: TaskField) -> Option<Value> {
        let (task, shown) = (self.task(id), self.shown(id));
        let is_over = task.phase.is_satisfied() || task.phase.is_dead();
        let last = || task.past.as_ref().and_then(|past| past.last());
        Some(match field {
            // How it ended is known once it has ended.
            TaskField::Ok | TaskField::Failed | TaskField::Skipped if !is_over => return None,
            TaskField::Ok => Value::Bool(shown == Shown::Succeeded),
            TaskField::Failed => Value::Bool(shown == Shown::Failed),
            TaskField::Done => Value::Bool(is_over),
            TaskField::Skipped => Value::Bool(shown == Shown::Skipped),
            TaskField::State => Value::from(shown_word(shown)),
            TaskField::Code => match &last()?.outcome {
                Outcome::Succeeded | Outcome::UpToDate => Value::Int(0),
                Outcome::Failed(Cause::Exit(code)) => Value::Int(i64::from(*code)),
                _ => return None,
            },
            TaskField::Attempts => Value::Int(i64::from(task.attempt)),
            TaskField::Elapsed => {
                let running = task.live.as_ref().and_then(|live| live.process.as_ref());
                length(match running {
                    Some((_, since)) => self.now.since(*since),
                    None => last().map(|past| past.ended.since(past.started))?,
                })
            }
        })
    }

    fn stage_value(&self, id: StageId, field: StageField) -> Option<Value> {
        let stage = self.stage(id);
        let count = |shown| stage.counts.of(shown);
        let is_over = stage.is_settled();
        let failed = count(Shown::Failed) > 0;
        Some(match field {
            // Both are known once it is over, or something in it has failed for good.
            StageField::Ok | StageField::Failed if !is_over && !failed => return None,
            StageField::Ok => Value::Bool(stage.remaining == 0),
            StageField::Failed => Value::Bool(failed),
            StageField::Done => Value::Bool(is_over),
            StageField::Failures => number(count(Shown::Failed)),
            StageField::Total => number(stage.counts.all()),
            StageField::Succeeded => number(count(Shown::Succeeded)),
        })
    }

    fn run_value(&self, field: RunField) -> Value {
        match field {
            RunField::Elapsed => length(self.now.since(self.started)),
            RunField::Failures => number(self.counts.of(Shown::Failed)),
            RunField::Running => number(self.live as usize),
            RunField::Name => Value::from(self.settings.name.as_str()),
            RunField::Started => Value::Timestamp(i64::try_from(self.started.0).unwrap_or(i64::MAX)),
        }
    }
}

/// A parameter as a value.
pub fn param(param: &Param) -> Value {
    match param {
        Param::Bool(value) => Value::Bool(*value),
        Param::Int(value) => Value::Int(*value),
        Param::Float(value) => Value::Float(*value),
        Param::Text(value) => Value::from(value.as_str()),
    }
}

fn length(span: Span) -> Value {
    Value::Duration(i64::try_from(span.0).unwrap_or(i64::MAX))
}

fn number(count: usize) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// How a task is shown, in one word.
pub fn shown_word(shown: Shown) -> &'static str {
    match shown {
        Shown::Running => "running",
        Shown::Stopping => "stopping",
        Shown::Ready => "ready",
        Shown::Delayed => "delayed",
        Shown::Awaiting => "awaiting",
        Shown::Waiting => "waiting",
        Shown::Held => "held",
        Shown::Lost => "lost",
        Shown::Failed => "failed",
        Shown::Blocked => "blocked",
        Shown::Cancelled => "cancelled",
        Shown::Skipped => "skipped",
        Shown::Succeeded => "done",
    }
}
