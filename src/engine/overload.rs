//! Overload: while a condition of the workflow holds, nothing new starts (`PauseWhile`). It is asked like a goal, when something
//! changes that it reads, and only a new answer is a fact. What the machine is like (`system` in conditions) comes in as
//! figures; they are no facts: what a condition that read them came to is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arrival::{Answer, ask};
use super::condition::{Condition, Name, Read, Root, SystemField, Value};
use super::definition::{GateCheck, TaskDefinition};
use super::fact::Fact;
use super::ids::Time;
use super::state::State;

/// What the machine is like now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Load average of the last minute.
    pub load1: f64,
    /// Load average of the last five minutes.
    pub load5: f64,
    /// Memory that could be had, in bytes.
    pub mem_free: u64,
    /// How many processors it has.
    pub cpus: u32,
}

impl Figures {
    /// One of them, as conditions see it.
    pub(super) fn value(&self, field: SystemField) -> Value {
        match field {
            SystemField::Load1 => Value::Float(self.load1),
            SystemField::Load5 => Value::Float(self.load5),
            SystemField::MemFree => Value::Int(i64::try_from(self.mem_free).unwrap_or(i64::MAX)),
            SystemField::Cpus => Value::Int(i64::from(self.cpus)),
        }
    }
}

/// Since when the condition holds, and with which values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// Since when.
    pub since: Time,
    /// The condition with its values when it came to hold.
    pub why: Arc<str>,
}

impl State {
    /// What the condition comes to now, if that is new. What cannot be computed keeps nothing from starting.
    pub(super) fn overload_next(&self) -> Option<Fact> {
        let condition = self.settings.pause_while.as_ref()?;
        match (ask(self, condition), self.overload.is_some()) {
            (Answer::Yes(why), false) => Some(Fact::OverloadBegan { why }),
            (Answer::No(why) | Answer::Fault(why), true) => Some(Fact::OverloadEnded { why }),
            _ => None,
        }
    }

    /// The machine is like this now; true if that is new.
    pub(super) fn set_figures(&mut self, figures: Figures) -> bool {
        self.figures.replace(figures) != Some(figures)
    }

    /// Some condition of the workflow asks what the machine is like.
    pub fn reads_system(&self) -> bool {
        let reads = |condition: &Condition| {
            let of_system = |read: &Read| matches!(read, Read::Any(Root::System) | Read::One(Name::System(_)));
            condition.reads().iter().any(of_system)
        };
        let in_gate = |task: &TaskDefinition| {
            let checks = task.task_type.gate().map_or(&[][..], |gate| &gate.checks);
            checks.iter().any(|check| matches!(check, GateCheck::Expr(condition) if reads(condition)))
        };
        let when = |task: &TaskDefinition| task.entry.as_ref().is_some_and(|entry| entry.when.iter().any(reads));
        let tasks = (0..self.definitions.len()).map(|index| self.definitions.at(index));
        self.settings.pause_while.iter().any(reads)
            || self.goals.iter().any(|goal| reads(&goal.definition.holds))
            || (0..self.stages.len()).any(|index| self.stages.at(index).definition.when.iter().any(reads))
            || self.transitions.iter().any(|transition| transition.definition.when.iter().any(reads))
            || tasks.into_iter().any(|task| when(task) || in_gate(task))
    }
}
