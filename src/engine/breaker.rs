//! The circuit breaker: after so many failures within some time nothing starts; after a while one task is let through to
//! try, and what becomes of it closes or opens it again. Its state is folded from facts like all else.

use serde::{Deserialize, Serialize};

use super::fact::{Fact, Outcome};
use super::ids::{Span, TaskId, Time};
use super::state::State;

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// So many failed attempts open it, at least 1.
    pub failures: u32,
    /// If they all fall within so long.
    pub within: Span,
    /// Nothing starts for so long.
    pub cool_down: Span,
}

/// How the breaker stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tripped {
    /// When attempts failed lately, oldest first: at most as many as open it.
    pub recent: Vec<Time>,
    /// What it lets through.
    pub gate: Gate,
}

/// What the breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Gate {
    /// Everything.
    #[default]
    Closed,
    /// Nothing, until then.
    Open {
        /// Since when.
        since: Time,
        /// Until when.
        until: Time,
    },
    /// One task, to try: this one, once it has started.
    HalfOpen(Option<TaskId>),
}

impl State {
    /// What the breaker does next, if anything: worked out from how things stand, so that a crash between an end and what
    /// follows from it loses nothing.
    pub fn breaker_next(&self) -> Option<Fact> {
        let breaker = self.settings.breaker?;
        let until = self.now.plus(breaker.cool_down);
        match self.breaker.gate {
            Gate::Closed => {
                let recent = &self.breaker.recent;
                let (failures, first) = (u32::try_from(recent.len()).unwrap_or(u32::MAX), *recent.first()?);
                let opens = failures >= breaker.failures && self.now.since(first) <= breaker.within;
                opens.then_some(Fact::BreakerOpened { failures, until })
            }
            Gate::Open { until, .. } => (until <= self.now).then_some(Fact::BreakerProbes),
            Gate::HalfOpen(probe) => {
                let task = probe.map(|id| self.task(id)).filter(|task| task.live.is_none())?;
                let past = task.past.as_ref().and_then(|past| past.last());
                Some(match past.filter(|past| past.attempt.0 == task.attempt).map(|past| &past.outcome) {
                    Some(outcome) if outcome.is_good() => Fact::BreakerClosed,
                    Some(Outcome::Failed(_)) => Fact::BreakerOpened { failures: 1, until },
                    // It says nothing about what was tried: the next one does.
                    _ => Fact::BreakerProbes,
                })
            }
        }
    }

    /// When the breaker lets one task through to try.
    pub fn breaker_timer(&self) -> Option<Time> {
        if let Gate::Open { until, .. } = self.breaker.gate { Some(until) } else { None }
    }

    pub(super) fn note_failure(&mut self) {
        let Some(breaker) = self.settings.breaker else { return };
        if self.breaker.recent.len() >= breaker.failures as usize {
            self.breaker.recent.remove(0);
        }
        self.breaker.recent.push(self.now);
    }

    pub(super) fn open_breaker(&mut self, until: Time) {
        self.breaker = Tripped { recent: Vec::new(), gate: Gate::Open { since: self.now, until } };
    }

    /// A task starts: with the breaker half open it is the one that is let through.
    pub(super) fn probe(&mut self, task: TaskId) {
        if self.breaker.gate == Gate::HalfOpen(None) {
            self.breaker.gate = Gate::HalfOpen(Some(task));
        }
    }
}
