//! Locks of running tasks in words, and barriers within: what each holds and waits for, and who is in line for a resource. Knows no terminal.

use super::build::{Frozen, how};
use super::why::duration;
use super::{LockRow, WhyLine};
use crate::engine::definition::ResourceKind;
use crate::engine::ids::{ResourceId, TaskId, Time};
use crate::engine::locks::Lock;
use crate::engine::state::State;

/// So many holders of what a task waits for are named, and of a resource.
const NAMED: usize = 8;

fn is_lock(state: &State, resource: ResourceId) -> bool {
    state.resource(resource).definition.kind == ResourceKind::Lock
}

/// Place of a lock in its line, from 1, and how long that is.
fn place(state: &State, lock: &Lock) -> (usize, usize) {
    let line = state.line_of(lock.request.resource);
    (line.iter().position(|other| other.number == lock.number).map_or(0, |at| at + 1), line.len())
}

/// What a running task waits for, if it does: for its row.
pub(super) fn waits_for(state: &State, id: TaskId) -> Option<String> {
    if let Some((name, come, of, _)) = state.waits_within(id) {
        return Some(format!("barrier {name} {come}/{of}"));
    }
    let lock = state.locks.of_task(id).find(|lock| lock.grant.is_none())?;
    let kind = if is_lock(state, lock.request.resource) { "lock" } else { "pool" };
    let (at, of) = place(state, lock);
    Some(format!("waits for {kind} {} {at}/{of}", state.resource(lock.request.resource).definition.name))
}

/// What a running task holds by locks, and waits for.
pub(super) fn lines(frozen: &Frozen, id: TaskId, at: Time) -> Vec<WhyLine> {
    let state = &frozen.engine.state;
    let line = |lock: &Lock| {
        let resource = lock.request.resource;
        let (name, how) =
            (&state.resource(resource).definition.name, how(is_lock(state, resource), lock.request.amount));
        let Some(grant) = lock.grant else {
            let (place, of) = place(state, lock);
            let text =
                format!("waits for {name} ({how}) for {}, {place} of {of} in line", duration(at.since(lock.asked)));
            let holders = holders(state, resource).into_iter();
            let more = holders.map(|(holder, how)| format!("holder {holder} ({how})")).collect();
            return WhyLine { met: false, text, more };
        };
        let lease =
            grant.until.map_or_else(String::new, |until| format!(", lease ends in {}", duration(until.since(at))));
        let text =
            format!("has locked {name} ({how}) for {}, fence {}{lease}", duration(at.since(grant.at)), grant.fence);
        WhyLine { met: true, text, more: Vec::new() }
    };
    let barrier = state.waits_within(id).map(|(name, come, of, since)| {
        let text = format!("waits at barrier {name} for {}: {come} of {of} have come", duration(at.since(since)));
        WhyLine { met: false, text, more: Vec::new() }
    });
    barrier.into_iter().chain(state.locks.of_task(id).map(line)).collect()
}

/// Who holds some of a resource, and how: since its start, or by a lock (the first few).
pub(super) fn holders(state: &State, resource: ResourceId) -> Vec<(String, String)> {
    let by_lock = state.locks.held_of(resource).map(|lock| lock.task);
    let mut tasks: Vec<TaskId> = state.holders_of(resource).take(NAMED).chain(by_lock.take(2 * NAMED)).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let held = |id: TaskId| (state.name(id).to_owned(), how(is_lock(state, resource), state.held_by(id, resource)));
    tasks.into_iter().take(NAMED).map(held).collect()
}

/// Those that run and wait come before those that wait for their start.
pub(super) fn put_ahead(state: &State, resource: ResourceId, row: &mut LockRow) {
    let line = state.line_of(resource);
    row.waiting += line.len();
    let names = line.iter().take(NAMED).map(|lock| state.name(lock.task).to_owned());
    row.line.splice(0..0, names);
}
