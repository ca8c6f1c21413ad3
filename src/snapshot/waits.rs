//! Who waits for whom: the tasks that keep others waiting for locks and pools, each with those that wait for what it holds, and
//! what these hold for others again. A picture of the wait-for graph, roots first. Knows no terminal.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Frozen, how};
use super::why::duration;
use crate::engine::definition::ResourceKind;
use crate::engine::ids::{ResourceId, TaskId, Time};
use crate::engine::state::State;

/// So many lines at most.
pub const ROWS: usize = 500;
/// Of those that wait for their start so many are named of a resource.
const READY: usize = 12;

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitRow {
    /// So many are before it on the way from a root.
    pub depth: usize,
    /// Which task.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// It waits; what keeps others waiting and waits for nothing does not.
    pub waits: bool,
    /// What it waits for, with its place in the line; or what it does.
    pub text: String,
    /// It stands above already: what waits for it is not said again.
    pub again: bool,
}

/// How a task waits for a resource.
struct Wait {
    resource: ResourceId,
    text: String,
}

/// See the module.
pub fn waits(frozen: &Frozen, at: Time) -> Vec<WaitRow> {
    let state = &frozen.engine.state;
    let waiting = waiting(frozen, at);
    // Holder → those that wait for something that it has.
    let mut kept: BTreeMap<TaskId, BTreeSet<TaskId>> = BTreeMap::new();
    for (task, wait) in &waiting {
        for holder in holders(state, wait.resource) {
            if holder != *task {
                kept.entry(holder).or_default().insert(*task);
            }
        }
    }
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    let roots = kept.keys().filter(|task| !waiting.contains_key(task));
    // What is only in circles (for as long as one is being stopped) has no root: whoever comes first stands for it.
    let all: Vec<TaskId> = roots.chain(kept.keys()).copied().collect();
    for root in all {
        if !seen.contains(&root) {
            walk(state, (root, 0), &waiting, &kept, &mut seen, &mut rows, at);
        }
    }
    // What waits though nobody holds it: it comes later than another in the line, or there is too little of it.
    for task in waiting.keys() {
        if !seen.contains(task) {
            walk(state, (*task, 0), &waiting, &kept, &mut seen, &mut rows, at);
        }
    }
    rows.truncate(ROWS);
    rows
}

fn waiting(frozen: &Frozen, at: Time) -> BTreeMap<TaskId, Wait> {
    let state = &frozen.engine.state;
    let mut waiting = BTreeMap::new();
    let resources: BTreeSet<ResourceId> = (0..state.resources.len()).map(ResourceId::from).collect();
    for resource in resources {
        let entry = &state.resource(resource).definition;
        let line = state.line_of(resource);
        let is_lock = entry.kind == ResourceKind::Lock;
        for (place, lock) in line.iter().enumerate() {
            let text = format!(
                "waits {} for {} ({}), {} of {}",
                duration(at.since(lock.asked)),
                entry.words(),
                how(is_lock, lock.request.amount),
                place + 1,
                line.len()
            );
            waiting.entry(lock.task).or_insert(Wait { resource, text });
        }
        if entry.kind == ResourceKind::PerAgent {
            continue;
        }
        let (ready, count) = frozen.engine.line(resource);
        for (place, task) in ready.iter().enumerate().take(READY) {
            let since = duration(at.since(state.task(*task).ready_at));
            let text = format!(
                "waits {since} to start for {}, {} of {}",
                entry.words(),
                line.len() + place + 1,
                line.len() + count
            );
            waiting.entry(*task).or_insert(Wait { resource, text });
        }
    }
    waiting
}

fn holders(state: &State, resource: ResourceId) -> BTreeSet<TaskId> {
    state.holders_of(resource).chain(state.locks.held_of(resource).map(|lock| lock.task)).collect()
}

fn walk(
    state: &State,
    (task, depth): (TaskId, usize),
    waiting: &BTreeMap<TaskId, Wait>,
    kept: &BTreeMap<TaskId, BTreeSet<TaskId>>,
    seen: &mut BTreeSet<TaskId>,
    rows: &mut Vec<WaitRow>,
    at: Time,
) {
    if rows.len() >= ROWS || depth > 64 {
        return;
    }
    let again = !seen.insert(task);
    let wait = waiting.get(&task);
    let text = wait.map_or_else(|| runs(state, task, at), |wait| wait.text.clone());
    rows.push(WaitRow { depth, task, name: state.name(task).to_owned(), waits: wait.is_some(), text, again });
    if again {
        return;
    }
    let mut next: Vec<TaskId> = kept.get(&task).into_iter().flatten().copied().collect();
    // Those that run before those that wait for their start.
    next.sort_by_key(|id| (state.task(*id).live.is_none(), *id));
    for other in next {
        walk(state, (other, depth + 1), waiting, kept, seen, rows, at);
    }
}

/// What a task holds, and how long it has run.
fn runs(state: &State, task: TaskId, at: Time) -> String {
    let Some(live) = &state.task(task).live else { return "does not run".into() };
    let mut held: BTreeSet<ResourceId> = live.holds.iter().map(|(resource, _)| *resource).collect();
    held.extend(state.locks.of_task(task).filter(|lock| lock.grant.is_some()).map(|lock| lock.request.resource));
    let name = |id: &ResourceId| {
        let entry = &state.resource(*id).definition;
        let is_of_session = entry.kind != ResourceKind::PerAgent;
        let how = how(entry.kind == ResourceKind::Lock, state.held_by(task, *id));
        is_of_session.then(|| format!("{} ({how})", entry.words()))
    };
    let held: Vec<String> = held.iter().filter_map(name).take(4).collect();
    let stops = if live.stop.is_some() { ", is being stopped" } else { "" };
    format!("runs {}, holds {}{stops}", duration(at.since(live.started)), held.join(", "))
}
