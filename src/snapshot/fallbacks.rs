//! What a task falls back to, in words: what a fallback would do, and what becomes of the task by it, before it is done.

use super::build::how;
use super::why::{command_text, duration};
use crate::engine::definition::{Backoff, FallbackStrategy, ResourceKind, Retry};
use crate::engine::ids::{FallbackId, TaskId};
use crate::engine::state::State;

/// `runs it again, up to 3 times, after 2s`
pub fn words(state: &State, id: TaskId, fallback: FallbackId) -> String {
    match &state.fallbacks[fallback.index()].strategy {
        FallbackStrategy::Alternative(command) => format!("runs in its place: {}", command_text(command)),
        FallbackStrategy::Retry(rule) => {
            let times = if rule.attempts == 1 { "once more".into() } else { format!("up to {} times", rule.attempts) };
            format!("runs it again {times}{}", retry_words(rule))
        }
        FallbackStrategy::OtherAgent => match state.last_agent(id) {
            Some(agent) => format!("runs it on another agent than {}", state.agent(agent).definition.name),
            None => "runs it on another agent".to_owned(),
        },
        FallbackStrategy::Degrade(less) => {
            let own = &state.definition(id).requirements.resources;
            let uses = less.uses.iter().map(|lower| {
                let entry = &state.resource(lower.resource).definition;
                let is_lock = entry.kind == ResourceKind::Lock;
                let before = own.iter().find(|need| need.resource == lower.resource);
                let before = before.map_or_else(String::new, |need| format!(" for {}", how(is_lock, need.amount)));
                format!("{} {}{before}", entry.name, how(is_lock, lower.amount))
            });
            let env = less.env.iter().map(|(name, value)| format!("{name}={value}"));
            format!("runs it with less: {}", uses.chain(env).collect::<Vec<_>>().join(", "))
        }
        FallbackStrategy::Compensate => {
            "lets it fail, stops the run and compensates what was done, what ended last first".to_owned()
        }
        FallbackStrategy::Skip => "skips it: what waits for it goes on".to_owned(),
        FallbackStrategy::Escalate(question) => {
            let silence = question.timeout.map_or_else(String::new, |span| {
                let then = if question.silence_skips { "skipped" } else { "failed" };
                format!(" (after {} without an answer: {then})", duration(span))
            });
            format!("asks you: {}{silence}", question.text)
        }
    }
}

/// `, after 2s`, `, after 2s up to 1m`, `, only on exit 75`
pub(super) fn retry_words(rule: &Retry) -> String {
    let wait = match rule.backoff {
        Backoff::Fixed(span) if span.0 == 0 => String::new(),
        Backoff::Fixed(span) => format!(", after {}", short(span)),
        Backoff::Exponential { base, max, .. } => format!(", after {} up to {}", short(base), short(max)),
    };
    let codes: Vec<String> = rule.on.iter().map(ToString::to_string).collect();
    if codes.is_empty() { wait } else { format!("{wait}, only on exit {}", codes.join(", ")) }
}

fn short(span: crate::engine::ids::Span) -> String {
    if span.0 < 1_000 { format!("{}ms", span.0) } else { duration(span) }
}

/// What `b` would do now, and what would come after it: a line each. Empty if it would do nothing.
pub(super) fn preview(state: &State, id: TaskId) -> Vec<String> {
    let Some(next) = state.next_fallback(id) else { return Vec::new() };
    let name = |fallback: FallbackId| &state.fallbacks[fallback.index()].name;
    let mut lines = Vec::new();
    if state.task(id).live.is_some() {
        let grace = duration(state.settings.grace);
        lines.push(format!("first  what runs is stopped: SIGTERM, then SIGKILL after {grace}"));
    }
    lines.push(format!("now    {}: {}", name(next), words(state, id, next)));
    let all = &state.definition(id).fallback;
    let at = all.iter().position(|other| *other == next).unwrap_or(all.len());
    let later = all.iter().skip(at + 1);
    lines.extend(later.map(|fallback| format!("then   {}: {}", name(*fallback), words(state, id, *fallback))));
    lines.extend(all[..at].iter().map(|fallback| format!("past   {}", name(*fallback))));
    lines
}

/// What it fell back to changes the command that is run: that one.
pub(super) fn replaced(state: &State, id: TaskId) -> Option<String> {
    let fallback = state.task(id).fallback?;
    match &state.fallbacks[fallback.index()].strategy {
        FallbackStrategy::Alternative(command) => Some(command_text(command)),
        FallbackStrategy::Degrade(less) if !less.env.is_empty() => {
            let env = less.env.iter().map(|(name, value)| format!("{name}={value} "));
            Some(format!("{}{}", env.collect::<String>(), command_text(&state.command_of(id))))
        }
        _ => None,
    }
}

/// What a task asks that failed and asks what to do.
pub(super) fn question(state: &State, id: TaskId) -> Option<&str> {
    match state.strategy(id) {
        Some(FallbackStrategy::Escalate(question)) if state.is_escalated(id) => Some(&question.text),
        _ => None,
    }
}
