//! What follows a failure by a task's own rules: another attempt, or one of its fallbacks, in the order given; and what a
//! person says to a task that asks what to do. Knows nothing of how an attempt came to fail.

use std::sync::Arc;

use super::arrival::Vote;
use super::definition::{Backoff, CommandSpec, FallbackStrategy, Requirements, Retry, TaskConstraint};
use super::fact::{Cause, Fact, Outcome, Then};
use super::ids::{AgentId, Attempt, FallbackId, Span, TaskId};
use super::message::{Origin, StopReason, StopSignal};
use super::state::{Phase, State};

impl State {
    /// What the task does at present instead of running its command by its own rules, if it fell back.
    pub fn strategy(&self, id: TaskId) -> Option<&FallbackStrategy> {
        self.task(id).fallback.map(|fallback| &self.fallbacks[fallback.index()].strategy)
    }

    /// What the task runs now: its own command, changed by a fallback or another. Only a task that runs one is started.
    pub fn command_of(&self, id: TaskId) -> Arc<CommandSpec> {
        let own = || self.definition(id).task_type.command().expect("what runs nothing is not started").clone();
        match self.strategy(id) {
            Some(FallbackStrategy::Alternative(command)) => command.clone(),
            Some(FallbackStrategy::Degrade(less)) if !less.env.is_empty() => {
                let mut command = (*own()).clone();
                command.set_env(&less.env, &less.references);
                Arc::new(command)
            }
            _ => own(),
        }
    }

    /// By which rule it is run again as it is, if it is run more than once.
    fn retry_rule(&self, id: TaskId) -> Option<&Retry> {
        match self.strategy(id) {
            None => Some(&self.definition(id).retry),
            Some(FallbackStrategy::Retry(rule)) => Some(rule),
            Some(_) => None,
        }
    }

    /// Attempts allowed with what it runs at present.
    pub fn attempts_allowed(&self, id: TaskId) -> u32 {
        self.retry_rule(id).map_or(1, |rule| rule.attempts)
    }

    /// The fallback that it would take next.
    pub fn next_fallback(&self, id: TaskId) -> Option<FallbackId> {
        self.fallbacks_left(id).find(|fallback| self.is_possible(id, *fallback))
    }

    /// The fallbacks that it has not come to; none takes the place of what runs no command.
    fn fallbacks_left(&self, id: TaskId) -> impl Iterator<Item = FallbackId> {
        let definition = self.definition(id);
        let declared = definition.task_type.command().map_or(&[][..], |_| &definition.fallback);
        declared.iter().skip(self.task(id).fallbacks_taken as usize).copied()
    }

    /// It could be taken, whatever the failure: another agent must be there.
    pub fn is_possible(&self, id: TaskId, fallback: FallbackId) -> bool {
        match &self.fallbacks[fallback.index()].strategy {
            FallbackStrategy::OtherAgent => {
                let Some(not) = self.last_agent(id) else { return true };
                let requirements = &self.definition(id).requirements;
                let only = requirements.constraints.iter().find_map(|constraint| match constraint {
                    TaskConstraint::OnAgent(only) => Some(*only),
                    TaskConstraint::SameAgentAs(other) => self.last_agent(*other),
                    _ => None,
                });
                let pool = &self.pools[self.class_of(id).pool.0 as usize];
                let mut able = pool.agents.iter().filter(|agent| **agent != not);
                only.is_none_or(|only| only != not)
                    && able.any(|agent| super::place::could_fit(self.class_of(id), self.agent(*agent)))
            }
            _ => true,
        }
    }

    /// It failed, and asks a person what to do.
    pub fn is_escalated(&self, id: TaskId) -> bool {
        self.task(id).phase == Phase::Awaiting && matches!(self.strategy(id), Some(FallbackStrategy::Escalate(_)))
    }

    /// What it asks of agents and resources once it falls back to this, the last attempt having run there.
    pub fn requirements_under(&self, id: TaskId, fallback: FallbackId, last: Option<AgentId>) -> Requirements {
        let mut requirements = self.definition(id).requirements.clone();
        match (&self.fallbacks[fallback.index()].strategy, last) {
            (FallbackStrategy::Degrade(less), _) => {
                for need in &mut requirements.resources {
                    if let Some(lower) = less.uses.iter().find(|lower| lower.resource == need.resource) {
                        need.amount = lower.amount;
                    }
                }
            }
            (FallbackStrategy::OtherAgent, Some(agent)) => {
                requirements.constraints.push(TaskConstraint::NotOnAgent(agent));
            }
            _ => {}
        }
        requirements
    }
}

impl Retry {
    /// A failure by this cause is worth another attempt. What could not be started would not start again either.
    pub fn covers(&self, cause: &Cause) -> bool {
        match cause {
            Cause::CouldNotStart(_) => false,
            Cause::Exit(code) => self.on.is_empty() || self.on.contains(code),
            _ => self.on.is_empty(),
        }
    }
}

/// What follows from a failure by the task's own rules.
pub fn after_failure(state: &State, id: TaskId, cause: &Cause) -> Then {
    let entry = state.task(id);
    if let Some(rule) = state.retry_rule(id)
        && entry.tries < rule.attempts
        && rule.covers(cause)
    {
        let own = u32::from(entry.fallback.is_none());
        return Then::Retry(state.now.plus(wait(state, id, rule.backoff, entry.tries.saturating_sub(own))));
    }
    for fallback in state.fallbacks_left(id).filter(|fallback| state.is_possible(id, *fallback)) {
        match &state.fallbacks[fallback.index()].strategy {
            FallbackStrategy::Escalate(_) => return escalated(state, id, fallback),
            FallbackStrategy::Retry(rule) if !rule.covers(cause) => {}
            FallbackStrategy::Retry(rule) => match wait(state, id, rule.backoff, 0) {
                Span(0) => return Then::Fallback(fallback),
                span => return Then::Later(fallback, state.now.plus(span)),
            },
            _ => return Then::Fallback(fallback),
        }
    }
    Then::Rest
}

/// A person is asked; but what waits again for what is before it is to be run again anyway.
fn escalated(state: &State, id: TaskId, fallback: FallbackId) -> Then {
    if state.task(id).unmet > 0 { Then::Requeue } else { Then::Fallback(fallback) }
}

/// What follows when an attempt was stopped for a fallback.
pub fn after_stop(state: &State, id: TaskId, fallback: FallbackId) -> Then {
    match &state.fallbacks[fallback.index()].strategy {
        FallbackStrategy::Escalate(_) => escalated(state, id, fallback),
        _ => Then::Fallback(fallback),
    }
}

/// How long to wait before the next attempt, after so many doublings.
fn wait(state: &State, id: TaskId, backoff: Backoff, doublings: u32) -> Span {
    match backoff {
        Backoff::Fixed(span) => span,
        Backoff::Exponential { base, max, jitter } => {
            let wait = base.0.saturating_mul(1 << doublings.min(40)).min(max.0) as f64;
            let seed = state.now.0 ^ (u64::from(id.0) << 32) ^ u64::from(state.task(id).attempt);
            let share = (splitmix(seed) >> 11) as f64 / (1u64 << 53) as f64;
            Span((wait * (1.0 + jitter * (2.0 * share - 1.0))) as u64)
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): a good scramble of one number.
fn splitmix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What the operator's wish for the next fallback comes to.
///
/// # Errors
/// It is done, or has none left.
pub(super) fn intend(state: &State, task: TaskId) -> Result<Vec<Fact>, String> {
    let entry = state.task(task);
    let (name, word) = (state.name(task), super::decide::word(entry.phase));
    if entry.phase.is_satisfied() {
        return Err(format!("{name} is {word} already"));
    }
    let Some(fallback) = state.next_fallback(task) else {
        let declared = !state.definition(task).fallback.is_empty();
        let none = if declared { "no fallback is left" } else { "no fallback is declared" };
        return Err(format!("{none} for {name}"));
    };
    if state.is_in_saga(task) {
        return Err(format!("what {name} did is being compensated"));
    }
    let asks = matches!(state.fallbacks[fallback.index()].strategy, FallbackStrategy::Escalate(_));
    if asks && entry.unmet > 0 {
        return Err(format!("{name} waits for others: there is nothing to ask yet"));
    }
    let chosen = Fact::FallbackChosen { task, fallback, by: Origin::Operator };
    let settles = state.fallbacks[fallback.index()].strategy.runs_nothing();
    Ok(match &entry.live {
        Some(live) if live.stop.is_some() || live.exited.is_some() => return Err(format!("{name} is {word}")),
        Some(_) => {
            let (attempt, reason) = (Attempt(entry.attempt), StopReason::Fallback(fallback));
            vec![Fact::Stopping { task, attempt, reason, signal: StopSignal::Term }]
        }
        None if settles => vec![chosen],
        None if entry.phase == Phase::Delayed => vec![chosen, Fact::Due { task }],
        None if entry.phase.is_open() => vec![chosen],
        None => vec![chosen, Fact::Requeued { task }],
    })
}

/// What a person's answer to a task that asks what to do comes to: yes, try again; or no, it failed.
pub(super) fn answered(task: TaskId, vote: Vote) -> Vec<Fact> {
    let (approves, words) = (vote.approves, vote.words());
    let voted = Fact::Voted { task, approves, abstains: false, by: vote.by, note: vote.note };
    let then = match approves {
        true => Fact::Requeued { task },
        false => Fact::Settled { task, outcome: Outcome::Failed(Cause::Rejected), why: Some(words) },
    };
    vec![voted, then]
}

/// Nobody has said what to do in time.
pub(super) fn overdue(state: &State, task: TaskId) -> Option<Fact> {
    let Some(FallbackStrategy::Escalate(question)) = state.strategy(task).filter(|_| state.is_escalated(task)) else {
        return None;
    };
    Some(match question.silence_skips {
        true => Fact::Skipped { task, why: Some("nobody has answered".to_owned()) },
        false => {
            let why = Some("nobody has answered".to_owned());
            Fact::Settled { task, outcome: Outcome::Failed(Cause::TimedOut), why }
        }
    })
}

impl FallbackStrategy {
    /// The task is settled by it, or waits for a person, without another attempt. None can follow it.
    pub fn runs_nothing(&self) -> bool {
        matches!(self, Self::Skip | Self::Escalate(_) | Self::Compensate)
    }
}
