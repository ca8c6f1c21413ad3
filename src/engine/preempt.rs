//! Preemption: what runs and may be interrupted (`preemptible`) gives way to a task of higher priority that would fit if it did.
//! It is stopped as by a key, and queued again as it was: that attempt does not count against its retries. Nothing is stopped in
//! vain: only if everything that the other asks would be there then, as few as possible, the least important and the youngest
//! first. Knows nothing of signals.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::fact::{Fact, Target};
use super::ids::{AgentId, Attempt, ResourceId, TaskId};
use super::message::{StopReason, StopSignal};
use super::place::{amount_in, could_fit};
use super::state::{Agent, Class, ClassId, Rank, State};

/// The first tasks of so many classes are looked at.
const CLASSES_MOST: usize = 64;

/// What is to be stopped now for the most important task that would fit then, and what is kept free for it.
pub(super) fn next(state: &State) -> Option<Vec<Fact>> {
    let (least, _) = state.preemptible.first()?;
    let mut heads: Vec<TaskId> = heads(state).filter(|id| state.task(*id).priority > *least).collect();
    heads.sort_by_key(|id| (Reverse(state.task(*id).priority), state.rank(*id)));
    heads.into_iter().find_map(|id| make_room(state, id)).or_else(|| waiting_lock(state, *least))
}

/// The first ready task of each class.
fn heads(state: &State) -> impl Iterator<Item = TaskId> {
    let mut from = ClassId(0);
    let next = move || {
        let (class, rank) = state.ready.first_from(&(from, Rank::FIRST))?;
        from = ClassId(class.0 + 1);
        Some(rank.task)
    };
    std::iter::from_fn(next).take(CLASSES_MOST)
}

/// Those that may be stopped for a task, by which goes first.
fn lower(state: &State, priority: i32) -> Vec<TaskId> {
    let all = state.preemptible.iter().map(|(_, id)| *id);
    let mut lower: Vec<TaskId> = all.take_while(|id| state.task(*id).priority < priority).collect();
    let since = |id: TaskId| state.task(id).live.as_ref().map(|live| live.started);
    lower.sort_by_key(|id| (state.task(*id).priority, Reverse((since(*id), *id))));
    lower
}

/// What would be there: what is free, and what is held by those that are being stopped, or are to be.
struct Room<'s> {
    state: &'s State,
    chosen: BTreeSet<TaskId>,
    free: BTreeMap<ResourceId, u64>,
}

impl<'s> Room<'s> {
    fn of(state: &'s State) -> Self {
        Self { state, chosen: BTreeSet::new(), free: BTreeMap::new() }
    }

    /// What it holds will be given back, whoever asked for that.
    fn leaves(&self, id: TaskId) -> bool {
        let stops = |live: &super::state::Live| live.stop.is_some() || live.exited.is_some();
        self.chosen.contains(&id) || self.state.task(id).live.as_deref().is_some_and(stops)
    }

    /// Chooses of a resource of the session as many as are needed; false if that is not enough.
    fn resource(&mut self, resource: ResourceId, need: u64, lower: &[TaskId]) -> bool {
        let state = self.state;
        let entry = state.resource(resource);
        if entry.bucket.is_some() {
            return entry.free(state.now).0 >= need;
        }
        let holders: BTreeSet<TaskId> =
            state.holders_of(resource).chain(state.locks.held_of(resource).map(|lock| lock.task)).collect();
        let leaving = |room: &Self| -> u64 {
            holders.iter().filter(|id| room.leaves(**id)).map(|id| state.held_by(*id, resource).0).sum()
        };
        for id in lower.iter().filter(|id| holders.contains(id)) {
            if entry.free(state.now).0 + leaving(self) >= need {
                break;
            }
            self.chosen.insert(*id);
        }
        self.free.insert(resource, need);
        entry.free(state.now).0 + leaving(self) >= need
    }

    /// Who of an agent is to go besides, so that a class fits there; none if it never would.
    fn agent(&self, id: AgentId, class: &Class, lower: &[TaskId]) -> Option<Vec<TaskId>> {
        let state = self.state;
        let agent = state.agent(id);
        let mut more: Vec<TaskId> = Vec::new();
        let fits = |more: &[TaskId]| {
            let leaves = |task: &TaskId| self.leaves(*task) || more.contains(task);
            let gone: Vec<TaskId> = state.tasks_on(id).filter(leaves).collect();
            let busy = agent.busy as usize - gone.len();
            let given = |resource: ResourceId| -> u64 {
                let live = gone.iter().filter_map(|task| state.task(*task).live.as_ref());
                live.map(|live| amount_in(&live.holds, resource).0).sum()
            };
            busy < agent.slots as usize
                && class.local.iter().all(|(resource, need)| agent.free(*resource).0 + given(*resource) >= need.0)
        };
        if !could_fit(class, agent) || agent.lost.is_some() {
            return None;
        }
        for task in lower.iter().filter(|task| state.task(**task).live.as_ref().is_some_and(|live| live.agent == id)) {
            if fits(&more) {
                break;
            }
            if !self.leaves(*task) {
                more.push(*task);
            }
        }
        // One that was taken first may not be needed any more.
        let mut at = 0;
        while at < more.len() {
            let one = more.remove(at);
            if !fits(&more) {
                more.insert(at, one);
                at += 1;
            }
        }
        fits(&more).then_some(more)
    }
}

/// What is to go so that a ready task fits; none if it fits anyway, never would, or what is in its way is going.
fn make_room(state: &State, id: TaskId) -> Option<Vec<Fact>> {
    let class = state.class_of(id);
    if state.place(id).is_ok() || state.closed_window(class).is_some() {
        return None;
    }
    let lower = lower(state, state.task(id).priority);
    if lower.is_empty() || class.shared.iter().any(|(resource, _)| state.locks.is_waited_for(*resource)) {
        return None;
    }
    let taken = |target: Target| state.reservations.get(&target).is_some_and(|held| held.task != id);
    if class.shared.iter().any(|(resource, _)| taken(Target::Resource(*resource))) {
        return None;
    }
    let mut room = Room::of(state);
    if !class.shared.iter().all(|(resource, need)| room.resource(*resource, need.0, &lower)) {
        return None;
    }
    let pool = &state.pools[state.pool_of(class).0 as usize];
    let options = pool.agents.iter().filter(|agent| !taken(Target::Agent(**agent)));
    let fitting = options.filter_map(|agent| Some((*agent, room.agent(*agent, class, &lower)?)));
    let load = |agent: &Agent| agent.busy;
    let (agent, more) = fitting.min_by_key(|(id, more)| (more.len(), load(state.agent(*id)), *id))?;
    let on_agent = !more.is_empty();
    room.chosen.extend(more);
    let kept = class.shared.iter().map(|(resource, _)| Target::Resource(*resource));
    let kept = kept.filter(|target| matches!(target, Target::Resource(id) if state.resource(*id).bucket.is_none()));
    let kept: Vec<Target> = kept.chain(on_agent.then_some(Target::Agent(agent))).collect();
    let mut facts = stops(state, &room.chosen, id)?;
    let new = kept.into_iter().filter(|target| !state.reservations.contains_key(target));
    facts.extend(new.map(|on| Fact::Reserved { task: id, on }));
    Some(facts)
}

/// The same for a running task that is the next to get a lock.
fn waiting_lock(state: &State, least: i32) -> Option<Vec<Fact>> {
    let waited: BTreeSet<ResourceId> = state.locks.waiting().map(|lock| lock.request.resource).collect();
    waited.into_iter().find_map(|resource| {
        let lock = *state.line_of(resource).first()?;
        let priority = state.task(lock.task).priority;
        if priority <= least {
            return None;
        }
        let mut lower = lower(state, priority);
        lower.retain(|id| *id != lock.task);
        let mut room = Room::of(state);
        let fits = room.resource(resource, lock.request.amount.0, &lower);
        if fits { stops(state, &room.chosen, lock.task) } else { None }
    })
}

fn stops(state: &State, chosen: &BTreeSet<TaskId>, by: TaskId) -> Option<Vec<Fact>> {
    let stop = |task: &TaskId| {
        let (attempt, reason) = (Attempt(state.task(*task).attempt), StopReason::Preempted(by));
        Fact::Stopping { task: *task, attempt, reason, signal: StopSignal::Term }
    };
    (!chosen.is_empty()).then(|| chosen.iter().map(stop).collect())
}

/// Who is to go so that a request closes no circle: of those in it the youngest that may be interrupted, also who asks.
pub(super) fn wounded(state: &State, circle: &[TaskId]) -> Option<TaskId> {
    let may = |id: &&TaskId| state.preemptible.contains(&(state.task(**id).priority, **id));
    let since = |id: &&TaskId| state.task(**id).live.as_ref().map(|live| (live.started, **id));
    circle.iter().filter(may).max_by_key(since).copied()
}
