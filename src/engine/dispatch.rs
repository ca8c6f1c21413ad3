//! Which ready task is looked at next. Classes of tasks stand in one heap by the rank of their first ready task; a class
//! that does not fit is parked under the first thing in its way and looked at again only when that changes. All of it
//! can be made again from the State: nothing here is stored.
//!
//! Waking is a chain: when a blocker gives something back, the first class parked under it that would fit is put into
//! the heap; when that one has started or is parked again, the next is. So a turn looks at what it starts, and no more.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::fact::Target;
use super::ids::{ResourceId, TaskId, Time};
use super::order::{Order, Weight};
use super::place::{Blocker, could_fit, weight};
use super::state::{ClassId, PoolId, Rank, State};

/// While a reservation stands, at most so many classes behind it are tried after each change.
const BACKFILL_LOOKS: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// No ready task.
    Away,
    /// In the heap.
    Heap(Rank),
    /// Parked.
    Parked(Blocker, Rank),
}

#[derive(Debug, Clone, Default)]
struct Chain {
    /// Everything up to here was looked at since the last change.
    cursor: Option<(Rank, ClassId)>,
    looks: u32,
}

/// The dispatcher's memory.
#[derive(Debug, Clone, Default)]
pub struct Dispatch {
    spots: Vec<Spot>,
    woken_by: BTreeMap<ClassId, Blocker>,
    heap: Order<(Rank, ClassId)>,
    parked: Order<(Blocker, Rank, ClassId)>,
    chains: BTreeMap<Blocker, Chain>,
    /// When the head of a blocker's line will have waited long enough for a reservation.
    watch: Order<(Time, Blocker)>,
    watched: BTreeMap<Blocker, Time>,
}

impl Dispatch {
    /// Takes up what changed in the State since the last call.
    pub fn absorb(&mut self, state: &mut State) {
        let changes = std::mem::take(&mut state.changes);
        for class in changes.classes {
            self.head_changed(state, class);
        }
        for resource in changes.resources {
            self.restart(state, Blocker::Resource(resource));
        }
        for agent in changes.agents {
            for pool in state.agent(agent).pools.clone() {
                self.restart(state, Blocker::Agents(pool));
            }
        }
        for target in changes.reservations {
            self.restart(state, Blocker::Reserved(target));
            self.rewatch(state, target);
        }
    }

    /// Forgets all and looks at every class again (after a replay).
    pub fn rebuild(&mut self, state: &mut State) {
        *self = Self::default();
        state.changes = super::state::Changes::default();
        for index in 0..state.classes.len() {
            self.head_changed(state, ClassId(index as u32));
        }
    }

    /// The class whose first ready task ranks best, of those that may fit.
    pub fn next(&self) -> Option<(TaskId, ClassId)> {
        self.heap.first().map(|(rank, class)| (rank.task, *class))
    }

    /// The class's first task was started: its next stands in the heap, and the chain that woke it goes on.
    pub fn started(&mut self, state: &State, class: ClassId) {
        if let Some(blocker) = self.woken_by.remove(&class) {
            self.wake(state, blocker);
        }
    }

    /// The class did not fit because of this: it is parked there.
    pub fn park(&mut self, state: &State, class: ClassId, blocker: Blocker) {
        let woken_by = self.woken_by.remove(&class);
        let Spot::Heap(rank) = self.spot(class) else { return };
        self.heap.remove(&(rank, class));
        self.parked.insert_weighing((blocker, rank, class), weight(state.class(class), blocker));
        self.spots[class.0 as usize] = Spot::Parked(blocker, rank);
        self.watch_line(state, blocker);
        if let Some(from) = woken_by {
            if from == blocker {
                let chain = self.chains.entry(blocker).or_default();
                chain.cursor = chain.cursor.max(Some((rank, class)));
                chain.looks += 1;
            }
            self.wake(state, from);
        }
    }

    /// When the head of some line will have waited long enough for a reservation.
    pub fn next_watch(&self) -> Option<Time> {
        self.watch.first().map(|(at, _)| *at)
    }

    /// The next reservation that is due: for whom, of what.
    pub fn due_reservation(&mut self, state: &State) -> Option<(TaskId, Target)> {
        while let Some((at, blocker)) = self.watch.first().copied() {
            if at > state.now {
                return None;
            }
            self.watch.remove(&(at, blocker));
            self.watched.remove(&blocker);
            let head = self.line(blocker).next();
            let Some(head) = head else { continue };
            let due = head.ready_at.plus(state.settings.reserve_after);
            if due > state.now {
                self.watch_at(due, blocker);
                continue;
            }
            if let Some(target) = target_of(state, blocker, head.task)
                && !state.reservations.contains_key(&target)
            {
                return Some((head.task, target));
            }
        }
        None
    }

    /// Ranks of the first tasks of the classes parked under a blocker, best first.
    pub fn line(&self, blocker: Blocker) -> impl Iterator<Item = Rank> {
        let from = (blocker, Rank::FIRST, ClassId(0));
        self.parked.iter_from(&from).take_while(move |(at, _, _)| *at == blocker).map(|(_, rank, _)| *rank)
    }

    fn spot(&self, class: ClassId) -> Spot {
        self.spots.get(class.0 as usize).copied().unwrap_or(Spot::Away)
    }

    /// The class's first ready task may be another: it moves to where that belongs.
    fn head_changed(&mut self, state: &State, class: ClassId) {
        if self.spots.len() <= class.0 as usize {
            self.spots.resize(class.0 as usize + 1, Spot::Away);
        }
        let head = state.ready.first_from(&(class, Rank::FIRST)).filter(|(c, _)| *c == class).map(|(_, rank)| *rank);
        let spot = self.spot(class);
        match (spot, head) {
            (Spot::Heap(old) | Spot::Parked(_, old), Some(new)) if old == new => return,
            (Spot::Away, None) => return,
            _ => {}
        }
        match spot {
            Spot::Away => {}
            Spot::Heap(rank) => {
                self.heap.remove(&(rank, class));
            }
            Spot::Parked(blocker, rank) => {
                self.parked.remove(&(blocker, rank, class));
            }
        }
        // A parked class with a better head is looked at again: what it waits for may be kept free for those behind it.
        let next = match (spot, head) {
            (_, None) => Spot::Away,
            (Spot::Parked(blocker, old), Some(new)) if new > old => {
                self.parked.insert_weighing((blocker, new, class), weight(state.class(class), blocker));
                Spot::Parked(blocker, new)
            }
            (_, Some(new)) => {
                self.heap.insert((new, class));
                Spot::Heap(new)
            }
        };
        self.spots[class.0 as usize] = next;
        if next == Spot::Away
            && let Some(blocker) = self.woken_by.remove(&class)
        {
            self.wake(state, blocker);
        }
    }

    /// A blocker changed: its line is looked at from its start.
    fn restart(&mut self, state: &State, blocker: Blocker) {
        self.chains.remove(&blocker);
        self.wake(state, blocker);
    }

    /// Puts the next class of a blocker's line that would fit into the heap.
    fn wake(&mut self, state: &State, blocker: Blocker) {
        let chain = self.chains.get(&blocker).cloned().unwrap_or_default();
        if chain.looks >= BACKFILL_LOOKS
            && matches!(blocker, Blocker::Reserved(target) if state.reservations.contains_key(&target))
        {
            return;
        }
        let start = (blocker, Rank::FIRST, ClassId(0));
        let after = chain.cursor.map(|(rank, class)| (blocker, rank, class));
        let from = after.as_ref().map_or(Bound::Included(&start), Bound::Excluded);
        let Some(room) = room(state, blocker) else { return };
        let Some(&(at, rank, class)) = self.parked.first_fitting(from, room) else { return };
        if at != blocker {
            return;
        }
        self.parked.remove(&(blocker, rank, class));
        self.heap.insert((rank, class));
        self.spots[class.0 as usize] = Spot::Heap(rank);
        self.woken_by.insert(class, blocker);
    }

    fn watch_line(&mut self, state: &State, blocker: Blocker) {
        if matches!(blocker, Blocker::Reserved(_)) || self.watched.contains_key(&blocker) {
            return;
        }
        let head = self.line(blocker).next();
        if let Some(head) = head {
            self.watch_at(head.ready_at.plus(state.settings.reserve_after), blocker);
        }
    }

    fn watch_at(&mut self, at: Time, blocker: Blocker) {
        self.watch.insert((at, blocker));
        self.watched.insert(blocker, at);
    }

    /// A reservation ended: the lines that it stood for are watched again.
    fn rewatch(&mut self, state: &State, target: Target) {
        match target {
            Target::Resource(resource) => self.watch_line(state, Blocker::Resource(resource)),
            Target::Agent(agent) => {
                for pool in state.agent(agent).pools.clone() {
                    self.watch_line(state, Blocker::Agents(pool));
                }
            }
        }
    }
}

/// What is free behind a blocker, at most; `None` if nothing can be.
fn room(state: &State, blocker: Blocker) -> Option<Weight> {
    match blocker {
        Blocker::Resource(resource) => {
            let entry = state.resource(resource);
            Some([entry.capacity.0.saturating_sub(entry.used.0), u64::MAX])
        }
        Blocker::Agents(pool) => room_in(state, pool),
        Blocker::Reserved(_) => Some([u64::MAX, u64::MAX]),
    }
}

fn room_in(state: &State, pool: PoolId) -> Option<Weight> {
    let agents = state.pools[pool.0 as usize].agents.iter().map(|id| state.agent(*id));
    let free = agents.filter(|agent| agent.busy < agent.slots);
    free.map(|agent| [agent.free(ResourceId(0)).0, agent.free(ResourceId(1)).0])
        .reduce(|a, b| [a[0].max(b[0]), a[1].max(b[1])])
}

/// What to keep free so that the head of a line gets its turn.
fn target_of(state: &State, blocker: Blocker, task: TaskId) -> Option<Target> {
    match blocker {
        Blocker::Resource(resource) => Some(Target::Resource(resource)),
        Blocker::Agents(pool) => {
            let class = state.class_of(task);
            let agents = state.pools[pool.0 as usize].agents.iter().copied();
            let able = agents.filter(|id| could_fit(class, state.agent(*id)));
            let free = able.filter(|id| !state.reservations.contains_key(&Target::Agent(*id)));
            let room = |id| {
                let agent = state.agent(id);
                class.local.iter().map(|(r, _)| agent.free(*r).0).fold(0u64, u64::saturating_add)
            };
            free.max_by_key(|id| (room(*id), std::cmp::Reverse(*id))).map(Target::Agent)
        }
        Blocker::Reserved(_) => None,
    }
}

impl Dispatch {
    /// Takes a class out of the heap for a while.
    pub fn set_aside(&mut self, class: ClassId) -> Option<(Rank, ClassId)> {
        let Spot::Heap(rank) = self.spot(class) else { return None };
        self.heap.remove(&(rank, class));
        Some((rank, class))
    }

    /// Puts back what [`Self::set_aside`] took.
    pub fn put_back(&mut self, entry: (Rank, ClassId)) {
        self.heap.insert(entry);
    }
}

/// How many tasks of a line are named, and how many of its classes are counted.
const LINE_NAMED: usize = 6;
const LINE_COUNTED: usize = 200;

impl Dispatch {
    /// The first few tasks that wait in a blocker's line, and how many wait there.
    pub fn waiting(&self, state: &State, blocker: Blocker) -> (Vec<TaskId>, usize) {
        let from = (blocker, Rank::FIRST, ClassId(0));
        let classes = self.parked.iter_from(&from).take_while(|(at, _, _)| *at == blocker).map(|(_, _, class)| *class);
        let (mut ranks, mut count) = (Vec::new(), 0);
        for (n, class) in classes.take(LINE_COUNTED).enumerate() {
            let (first, next) = ((class, Rank::FIRST), (ClassId(class.0 + 1), Rank::FIRST));
            let start = state.ready.position(&first);
            count += state.ready.position(&next) - start;
            if n < LINE_NAMED {
                let of_class = state.ready.iter_at(start).take_while(|(other, _)| *other == class);
                ranks.extend(of_class.take(LINE_NAMED).map(|(_, rank)| *rank));
            }
        }
        ranks.sort_unstable();
        (ranks.into_iter().take(LINE_NAMED).map(|rank| rank.task).collect(), count)
    }
}
