//! Preemption: what runs and may be interrupted (`preemptible`) gives way to a task of higher priority that would fit if it did.
//! It is stopped as by a key, and queued again as it was: that attempt does not count against its retries. Nothing is stopped in
//! vain: only if everything that the other asks would be there then, as few as possible, the least important and the youngest
//! first. Knows nothing of signals.

use std::cell::{Cell, OnceCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::fact::{Fact, Target};
use super::ids::{AgentId, Attempt, ResourceId, Span, TaskId, Time};
use super::message::{StopReason, StopSignal};
use super::place::{amount_in, could_fit};
use super::state::{Class, ClassId, Live, Rank, State};

/// The first tasks of so many classes are looked at.
const CLASSES_MOST: usize = 64;
/// Each of them costs as much as so many other things.
const HEAD_COSTS: usize = 4;
/// After a look in vain at so many things none is taken for a millisecond: so looking stays a small part of all that is done.
const PAUSE_PER_MS: u64 = 200;
/// No pause is longer.
const PAUSE_MOST: Span = Span(100);

/// When it is looked again whether something is to be stopped. Whatever happens may make that so, and a look costs by what
/// runs and waits: after one in vain that has cost much there is a pause.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks {
    pause: Time,
    /// Something has happened in the pause.
    is_due: bool,
}

impl Looks {
    /// Nothing would help now; when that changes, it is looked again.
    pub fn rest(&mut self) {
        self.is_due = false;
    }

    /// When it must be looked again, even if nothing happens.
    pub fn next_time(&self) -> Option<Time> {
        self.is_due.then_some(self.pause)
    }

    /// What is to be stopped now for the most important task that would fit then, and what is kept free for it.
    pub fn next(&mut self, state: &State) -> Option<Vec<Fact>> {
        self.is_due = !state.preemptible.is_empty() && state.now < self.pause;
        if state.preemptible.is_empty() || self.is_due {
            return None;
        }
        let look = Look { state, by_agent: OnceCell::new(), cost: Cell::new(0) };
        let found = look.next();
        if found.is_none() {
            self.pause = state.now.plus(Span(look.cost.get() / PAUSE_PER_MS).min(PAUSE_MOST));
        }
        found
    }
}

/// One look.
struct Look<'s> {
    state: &'s State,
    /// What may be interrupted by where it runs, by which goes first.
    by_agent: OnceCell<BTreeMap<AgentId, Vec<TaskId>>>,
    /// So many things were looked at.
    cost: Cell<u64>,
}

/// The least important goes first, then the youngest.
type Order = (i32, Reverse<(Option<Time>, TaskId)>);

fn order(state: &State, id: TaskId) -> Order {
    let task = state.task(id);
    (task.priority, Reverse((task.live.as_ref().map(|live| live.started), id)))
}

/// Whether it may be interrupted for a task of this priority.
fn is_below(state: &State, id: TaskId, priority: i32) -> bool {
    let own = state.task(id).priority;
    own < priority && state.preemptible.contains(&(own, id))
}

impl<'s> Look<'s> {
    fn costs(&self, things: usize) {
        self.cost.set(self.cost.get() + things as u64);
    }

    fn next(&self) -> Option<Vec<Fact>> {
        let state = self.state;
        let (least, _) = *state.preemptible.first()?;
        let all: Vec<TaskId> = self.heads().collect();
        self.costs(all.len() * HEAD_COSTS);
        let mut heads: Vec<TaskId> = all.into_iter().filter(|id| state.task(*id).priority > least).collect();
        heads.sort_by_key(|id| (Reverse(state.task(*id).priority), state.rank(*id)));
        heads.into_iter().find_map(|id| self.make_room(id)).or_else(|| self.waiting_lock(least))
    }

    /// The first ready task of each class.
    fn heads(&self) -> impl Iterator<Item = TaskId> {
        let state = self.state;
        let mut from = ClassId(0);
        let next = move || {
            let (class, rank) = state.ready.first_from(&(from, Rank::FIRST))?;
            from = ClassId(class.0 + 1);
            Some(rank.task)
        };
        std::iter::from_fn(next).take(CLASSES_MOST)
    }

    /// What may be interrupted on an agent for a task of this priority, by which goes first.
    fn below(&self, agent: AgentId, priority: i32) -> impl Iterator<Item = TaskId> {
        let state = self.state;
        let by_agent = self.by_agent.get_or_init(|| {
            let mut by_agent: BTreeMap<AgentId, Vec<TaskId>> = BTreeMap::new();
            for (_, id) in state.preemptible.iter() {
                let live = state.task(*id).live.as_ref();
                live.into_iter().for_each(|live| by_agent.entry(live.agent).or_default().push(*id));
            }
            self.costs(state.preemptible.len());
            by_agent.values_mut().for_each(|tasks| tasks.sort_unstable_by_key(|id| order(state, *id)));
            by_agent
        });
        let tasks = by_agent.get(&agent).map_or(&[][..], Vec::as_slice);
        tasks.iter().copied().take_while(move |id| state.task(*id).priority < priority)
    }

    /// What is to go so that a ready task fits; none if it fits anyway, never would, or what is in its way is going.
    fn make_room(&self, id: TaskId) -> Option<Vec<Fact>> {
        let state = self.state;
        let (class, priority) = (state.class_of(id), state.task(id).priority);
        if state.place(id).is_ok() || state.closed_window(class).is_some() {
            return None;
        }
        let taken = |target: Target| state.reservations.get(&target).is_some_and(|held| held.task != id);
        let is_spoken_for =
            |resource: ResourceId| state.locks.is_waited_for(resource) || taken(Target::Resource(resource));
        if class.shared.iter().any(|(resource, _)| is_spoken_for(*resource)) {
            return None;
        }
        let mut room = Room { look: self, chosen: BTreeSet::new() };
        if !class.shared.iter().all(|(resource, need)| room.resource(*resource, need.0, priority, id)) {
            return None;
        }
        let pool = &state.pools[state.pool_of(class).0 as usize];
        self.costs(pool.agents.len());
        let options = pool.agents.iter().filter(|agent| !taken(Target::Agent(**agent)));
        let fitting = options.filter_map(|agent| Some((*agent, room.agent(*agent, class, priority)?)));
        let (agent, more) = fitting.min_by_key(|(id, more)| (more.len(), state.agent(*id).busy, *id))?;
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
    fn waiting_lock(&self, least: i32) -> Option<Vec<Fact>> {
        let state = self.state;
        let waited: BTreeSet<ResourceId> = state.locks.waiting().map(|lock| lock.request.resource).collect();
        self.costs(state.locks.waiting().count());
        waited.into_iter().find_map(|resource| {
            let lock = *state.line_of(resource).first()?;
            let priority = state.task(lock.task).priority;
            if priority <= least {
                return None;
            }
            let mut room = Room { look: self, chosen: BTreeSet::new() };
            let fits = room.resource(resource, lock.request.amount.0, priority, lock.task);
            if fits { stops(state, &room.chosen, lock.task) } else { None }
        })
    }
}

/// What would be there: what is free, and what is held by those that are being stopped, or are to be.
struct Room<'l, 's> {
    look: &'l Look<'s>,
    chosen: BTreeSet<TaskId>,
}

impl Room<'_, '_> {
    /// What it holds will be given back, whoever asked for that.
    fn leaves(&self, id: TaskId) -> bool {
        let stops = |live: &Live| live.stop.is_some() || live.exited.is_some();
        self.chosen.contains(&id) || self.look.state.task(id).live.as_deref().is_some_and(stops)
    }

    /// Chooses of a resource of the session as many as are needed; false if that is not enough.
    fn resource(&mut self, resource: ResourceId, need: u64, priority: i32, by: TaskId) -> bool {
        let state = self.look.state;
        let entry = state.resource(resource);
        let mut have = entry.free(state.now).0;
        if have >= need || entry.bucket.is_some() {
            return have >= need;
        }
        let holders: BTreeSet<TaskId> =
            state.holders_of(resource).chain(state.locks.held_of(resource).map(|lock| lock.task)).collect();
        self.look.costs(holders.len());
        let held = |id: &TaskId| state.held_by(*id, resource).0;
        have += holders.iter().filter(|id| self.leaves(**id)).map(held).sum::<u64>();
        let others = holders.into_iter().filter(|id| *id != by && !self.leaves(*id) && is_below(state, *id, priority));
        let mut others: Vec<TaskId> = others.collect();
        others.sort_unstable_by_key(|id| order(state, *id));
        for id in others {
            if have >= need {
                break;
            }
            have += held(&id);
            self.chosen.insert(id);
        }
        have >= need
    }

    /// Who of an agent is to go besides, so that a class fits there; none if it never would.
    fn agent(&self, id: AgentId, class: &Class, priority: i32) -> Option<Vec<TaskId>> {
        let state = self.look.state;
        let agent = state.agent(id);
        if !could_fit(class, agent) || agent.lost.is_some() {
            return None;
        }
        let gives = |task: TaskId, resource: ResourceId| -> u64 {
            state.task(task).live.as_ref().map_or(0, |live| amount_in(&live.holds, resource).0)
        };
        self.look.costs(agent.busy as usize);
        let leaving: Vec<TaskId> = state.tasks_on(id).filter(|task| self.leaves(*task)).collect();
        let mut busy = agent.busy as usize - leaving.len();
        let mut free: Vec<(ResourceId, u64, u64)> = class
            .local
            .iter()
            .map(|(resource, need)| {
                let given = leaving.iter().map(|task| gives(*task, *resource)).sum::<u64>();
                (*resource, agent.free(*resource).0 + given, need.0)
            })
            .collect();
        let slots = agent.slots as usize;
        let fits = |busy: usize, free: &[(ResourceId, u64, u64)]| {
            busy < slots && free.iter().all(|(_, free, need)| free >= need)
        };
        let mut more: Vec<TaskId> = Vec::new();
        for task in self.look.below(id, priority).filter(|task| !self.leaves(*task)) {
            if fits(busy, &free) {
                break;
            }
            busy -= 1;
            free.iter_mut().for_each(|(resource, free, _)| *free += gives(task, *resource));
            more.push(task);
        }
        self.look.costs(more.len());
        if !fits(busy, &free) {
            return None;
        }
        // One that was taken first may not be needed any more.
        more.retain(|task| {
            let without: Vec<_> = free.iter().map(|(id, free, need)| (*id, free - gives(*task, *id), *need)).collect();
            let is_needed = !fits(busy + 1, &without);
            if !is_needed {
                (busy, free) = (busy + 1, without);
            }
            is_needed
        });
        Some(more)
    }
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
