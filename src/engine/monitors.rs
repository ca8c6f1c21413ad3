//! Monitors: what is watched while a command runs. Somebody outside looks at its output and hears its words; here it is said
//! what a sign of trouble comes to. What is stored is that there is trouble and that it is over, never a look. Knows no
//! files, no patterns and no clocks but the engine's own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fact::Fact;
use super::ids::{Attempt, Span, TaskId, Time};
use super::message::{StopReason, StopSignal};
use super::state::State;

/// What is seen of a trouble is kept up to so many bytes.
pub const SAW_BYTES: usize = 300;

/// What is watched while a task runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProgressMonitor {
    /// A pattern whose last match in the output says how far it has come: one group is a percentage, two are `done` and
    /// `of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// It neither wrote nor said anything for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall: Option<Watchdog>,
    /// It did not say how far it has come for so long, by `qd progress` or by a match of `progress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Watchdog>,
    /// It runs longer than this, or will by the progress it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Watchdog>,
}

impl ProgressMonitor {
    /// What is watched for a trouble.
    pub fn watchdog(&self, trouble: Trouble) -> Option<Watchdog> {
        match trouble {
            Trouble::Stalled => self.stall,
            Trouble::NoHeartbeat => self.heartbeat,
            Trouble::Drifting => self.drift,
        }
    }
}

/// So long something may be amiss, and what follows then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    /// So long.
    pub after: Span,
    /// What follows.
    pub then: MonitorAction,
}

/// What follows when something is amiss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MonitorAction {
    /// It is said; the task goes on.
    Warn,
    /// It is stopped and has failed: retries and fallbacks follow.
    Fail,
}

/// What can be amiss with what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Trouble {
    /// No output and no word.
    Stalled,
    /// No word.
    NoHeartbeat,
    /// It takes longer than it should.
    Drifting,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stalled, Self::NoHeartbeat, Self::Drifting];

    /// As the outcome of an attempt.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::NoHeartbeat => "no heartbeat",
            Self::Drifting => "too slow",
        }
    }

    /// As the rule that it breaks.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Stalled => "after a silence of",
            Self::NoHeartbeat => "without a heartbeat for",
            Self::Drifting => "if it takes more than",
        }
    }

    /// In lines for programs.
    pub fn key(self) -> &'static str {
        match self {
            Self::Stalled => "stall",
            Self::NoHeartbeat => "heartbeat",
            Self::Drifting => "drift",
        }
    }
}

/// A trouble of a live attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noticed {
    /// Which.
    pub trouble: Trouble,
    /// Since when it is known.
    pub since: Time,
    /// What was seen, in words.
    pub saw: Arc<str>,
}

/// Somebody outside sees that something is amiss with an attempt, or is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The task.
    pub task: TaskId,
    /// Its attempt.
    pub attempt: Attempt,
    /// What.
    pub trouble: Trouble,
    /// It is so now.
    pub holds: bool,
    /// What was seen, in words.
    pub saw: String,
}

/// What an observation comes to: nothing, if it is late or says nothing new.
pub fn observe(state: &State, observation: &Observation) -> Vec<Fact> {
    let Observation { task, attempt, trouble, holds, saw } = observation;
    let (task, attempt, trouble) = (*task, *attempt, *trouble);
    let Some(entry) = state.tasks.get(task.index()).filter(|entry| entry.attempt == attempt.0) else {
        return Vec::new();
    };
    let Some(live) = entry.live.as_ref().filter(|live| live.process.is_some()) else { return Vec::new() };
    let monitor = state.definition(task).monitor.as_ref();
    let Some(dog) = monitor.and_then(|monitor| monitor.watchdog(trouble)) else { return Vec::new() };
    let known = live.troubles.iter().any(|noticed| noticed.trouble == trouble);
    // What is being stopped, or has ended, is judged no more.
    if live.stop.is_some() || live.exited.is_some() || known == *holds {
        return Vec::new();
    }
    if !holds {
        return vec![Fact::NoticeOver { task, attempt, trouble }];
    }
    let saw = saw[..saw.floor_char_boundary(SAW_BYTES)].to_owned();
    let mut facts = vec![Fact::Noticed { task, attempt, trouble, saw }];
    if dog.then == MonitorAction::Fail {
        let (reason, signal) = (StopReason::Monitor(trouble), StopSignal::Term);
        facts.push(Fact::Stopping { task, attempt, reason, signal });
    }
    facts
}
