//! Which ready task is looked at next. Classes of tasks stand in one heap by the rank of their first ready task; a class
//! that does not fit is parked under the first thing in its way and looked at again only when that changes. All of it
//! can be made again from the State: nothing here is stored.
//!
//! Waking is a chain: when a lane gets room, the first class parked in it that would fit is put into
//! the heap; when that one has started or is parked again, the next is. So a turn looks at what it starts, and no more.

use std::collections::BTreeMap;
use std::ops::Bound;

use smallvec::SmallVec;

use super::alarms::{Alarm, Alarms};
use super::fact::Target;
use super::ids::{Amount, ResourceId, TaskId, Time, WindowId};
use super::order::{Order, Weight};
use super::place::{Blocker, could_fit, need_of};
use super::state::{Changes, Class, ClassId, PoolId, Rank, Reservation, State};
use super::table::Table;

/// Behind a reservation of a rate, so many of those before its task are looked at for the time at which one fits.
const AHEAD_LOOKS: usize = 64;

/// While a reservation stands, at most so many classes behind it are tried after each change.
const BACKFILL_LOOKS: u32 = 32;

/// Where a class is parked: by the resource, or by the agents, of which it did not get what it asks, be it that it is
/// taken or that it is kept free for a task before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A resource of the session.
    Resource(ResourceId),
    /// Agents that offer what it asks.
    Pool(PoolId),
    /// A time window that is closed.
    Window(WindowId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// No ready task.
    Away,
    /// In the heap.
    Heap(Rank),
    /// Parked.
    Parked(Lane, Rank),
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
    /// By class; shared with the screen's copy, of which there may be 30 a second.
    spots: Table<Spot>,
    woken_by: BTreeMap<ClassId, Lane>,
    heap: Order<(Rank, ClassId)>,
    parked: Order<(Lane, Rank, ClassId)>,
    chains: BTreeMap<Lane, Chain>,
    /// When the head of a lane will have waited long enough for a reservation.
    watch: Order<(Time, Lane)>,
    watched: BTreeMap<Lane, Time>,
    /// Of each rate, what those parked behind it ask, least first.
    asked: Order<(ResourceId, u64, ClassId)>,
    /// What time alone changes.
    alarms: Alarms,
    /// Lanes whose alarm is to be set anew.
    unset: Vec<Lane>,
}

impl Dispatch {
    /// Takes up what changed in the State since the last call.
    pub fn absorb(&mut self, state: &mut State) {
        let changes = std::mem::take(&mut state.changes);
        let Changes { classes, resources, mut agents, reservations, arrived, asked, read, .. } = changes;
        let Changes { enough, fallen, stages, phases, moved, sensors, locks, .. } = changes;
        state.changes = Changes {
            noted: true,
            enough,
            fallen,
            stages,
            phases,
            arrived,
            asked,
            read,
            sensors,
            locks,
            ..Changes::default()
        };
        for class in classes {
            self.head_changed(state, class);
        }
        for class in moved {
            if class.0 < self.spots.len() as u32 {
                self.rouse(state, class);
            }
        }
        for resource in resources {
            self.restart(state, Lane::Resource(resource));
        }
        agents.dedup();
        for agent in agents {
            for pool in &state.agent(agent).pools {
                self.restart(state, Lane::Pool(*pool));
            }
        }
        for target in reservations {
            self.reservation_changed(state, target);
        }
        while let Some(alarm) = self.alarms.pop(state.now) {
            match alarm {
                Alarm::Lane(lane) => self.time_has_come(state, lane),
                Alarm::Kept(target) => {
                    self.reservation_changed(state, target);
                    self.kept(state, target);
                }
            }
        }
    }

    /// Forgets all and looks at every class again (after a replay).
    pub fn rebuild(&mut self, state: &mut State) {
        *self = Self::default();
        let (asked, arrived) = (state.changes.asked, std::mem::take(&mut state.changes.arrived));
        state.changes = Changes { noted: true, asked, arrived, locks: true, ..Changes::default() };
        for index in 0..state.classes.len() {
            self.head_changed(state, ClassId(index as u32));
        }
        let kept: Vec<Target> = state.reservations.keys().copied().collect();
        for target in kept {
            self.kept(state, target);
        }
    }

    /// The class whose first ready task ranks best, of those that may fit.
    pub fn next(&self) -> Option<(TaskId, ClassId)> {
        self.heap.first().map(|(rank, class)| (rank.task, *class))
    }

    /// The class's first task was started: its next stands in the heap, and the chain that woke it goes on.
    pub fn started(&mut self, state: &State, class: ClassId) {
        let shared = &state.class(class).shared;
        self.unset.extend(shared.iter().filter(|(id, _)| is_rate(state, *id)).map(|(id, _)| Lane::Resource(*id)));
        if let Some(lane) = self.woken_by.remove(&class) {
            self.wake(state, lane);
        }
    }

    /// The class did not fit because of this: it is parked there.
    pub fn park(&mut self, state: &State, class: ClassId, blocker: Blocker) {
        let woken_by = self.woken_by.remove(&class);
        let Spot::Heap(rank) = self.spot(class) else { return };
        self.heap.remove(&(rank, class));
        let lane = lane(blocker, state, state.class(class));
        self.enter(state, lane, rank, class);
        *self.spots.at_mut(class.0 as usize) = Spot::Parked(lane, rank);
        self.watch_lane(state, lane);
        if let Some(from) = woken_by {
            if from == lane {
                let chain = self.chains.entry(lane).or_default();
                chain.cursor = chain.cursor.max(Some((rank, class)));
                chain.looks += 1;
            }
            self.wake(state, from);
        }
    }

    /// When the head of some lane will have waited long enough for a reservation.
    pub fn next_watch(&self) -> Option<Time> {
        self.watch.first().map(|(at, _)| *at).into_iter().chain(self.alarms.next()).min()
    }

    /// The next reservation that is due: for whom, of what. A task has one of each resource, and one agent.
    pub fn due_reservation(&mut self, state: &State) -> Option<(TaskId, Target)> {
        while let Some((at, lane)) = self.watch.first().copied() {
            if at > state.now {
                return None;
            }
            self.watch.remove(&(at, lane));
            self.watched.remove(&lane);
            let Some(head) = self.head(lane) else { continue };
            let due = head.ready_at.plus(state.settings.reserve_after);
            if due > state.now {
                self.watch_at(due, lane);
                continue;
            }
            let target = target_of(state, lane, head.task);
            if let Some(target) = target.filter(|_| state.could_ever_start(state.class_of(head.task))) {
                return Some((head.task, target));
            }
        }
        None
    }

    /// The best of the tasks whose classes are parked in a lane.
    fn head(&self, lane: Lane) -> Option<Rank> {
        let first = self.parked.first_from(&(lane, Rank::FIRST, ClassId(0)));
        first.filter(|(at, _, _)| *at == lane).map(|(_, rank, _)| *rank)
    }

    fn spot(&self, class: ClassId) -> Spot {
        self.spots.get(class.0 as usize).copied().unwrap_or(Spot::Away)
    }

    /// The class's first ready task may be another: it moves to where that belongs.
    fn head_changed(&mut self, state: &State, class: ClassId) {
        while self.spots.len() <= class.0 as usize {
            self.spots.push(Spot::Away);
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
            Spot::Parked(lane, rank) => self.leave(state, lane, rank, class),
        }
        // A parked class with a better head is looked at again: what it waits for may be kept free for those behind it.
        let next = match (spot, head) {
            (_, None) => Spot::Away,
            (Spot::Parked(lane, old), Some(new)) if new > old => {
                self.enter(state, lane, new, class);
                Spot::Parked(lane, new)
            }
            (_, Some(new)) => {
                self.heap.insert((new, class));
                Spot::Heap(new)
            }
        };
        *self.spots.at_mut(class.0 as usize) = next;
        if next == Spot::Away
            && let Some(lane) = self.woken_by.remove(&class)
        {
            self.wake(state, lane);
        }
    }

    /// Something changed behind a lane: it is looked at from its start.
    fn restart(&mut self, state: &State, lane: Lane) {
        self.chains.remove(&lane);
        self.wake(state, lane);
        self.note_unset(state, lane);
    }

    /// A reservation ended, or what will be free behind it changed.
    fn reservation_changed(&mut self, state: &State, target: Target) {
        // Whom it is for is looked at first, however many stand before it in the lane.
        if let Some(held) = state.reservations.get(&target) {
            self.rouse(state, state.task(held.task).class);
        }
        match target {
            Target::Resource(resource) => self.reconsider(state, Lane::Resource(resource)),
            Target::Agent(agent) => {
                for pool in &state.agent(agent).pools {
                    self.reconsider(state, Lane::Pool(*pool));
                }
            }
        }
    }

    fn reconsider(&mut self, state: &State, lane: Lane) {
        self.restart(state, lane);
        self.watch_lane(state, lane);
    }

    fn rouse(&mut self, state: &State, class: ClassId) {
        let Spot::Parked(lane, rank) = self.spot(class) else { return };
        self.leave(state, lane, rank, class);
        self.heap.insert((rank, class));
        *self.spots.at_mut(class.0 as usize) = Spot::Heap(rank);
    }

    /// Puts the next class of a lane that would fit into the heap.
    fn wake(&mut self, state: &State, lane: Lane) {
        let chain = self.chains.get(&lane).cloned().unwrap_or_default();
        if chain.looks >= BACKFILL_LOOKS && is_reserved(state, lane) {
            return;
        }
        let Some((rank, class)) = self.next_fitting(state, lane, chain.cursor) else {
            // The chain ends here: what is left is looked at when time has changed something.
            return self.note_unset(state, lane);
        };
        debug_assert_eq!(self.spot(class), Spot::Parked(lane, rank));
        self.rouse(state, class);
        self.woken_by.insert(class, lane);
    }

    /// The best class of a lane behind the cursor that what is free has room for.
    fn next_fitting(&self, state: &State, lane: Lane, after: Option<(Rank, ClassId)>) -> Option<(Rank, ClassId)> {
        let start = (lane, Rank::FIRST, ClassId(0));
        let after = after.map(|(rank, class)| (lane, rank, class));
        let from = after.as_ref().map_or(Bound::Included(&start), Bound::Excluded);
        let first = |room: Weight| {
            let found = self.parked.first_fitting(from, room).filter(|(at, _, _)| *at == lane);
            found.map(|(_, rank, class)| (*rank, *class))
        };
        rooms(state, lane).into_iter().filter_map(first).min()
    }

    fn watch_lane(&mut self, state: &State, lane: Lane) {
        // A window cannot be kept free for anybody.
        if self.watched.contains_key(&lane) || matches!(lane, Lane::Window(_)) {
            return;
        }
        if let Some(head) = self.head(lane) {
            self.watch_at(head.ready_at.plus(state.settings.reserve_after), lane);
        }
    }

    fn watch_at(&mut self, at: Time, lane: Lane) {
        self.watch.insert((at, lane));
        self.watched.insert(lane, at);
    }
}

fn lane(blocker: Blocker, state: &State, class: &Class) -> Lane {
    match blocker {
        Blocker::Window(window) => Lane::Window(window),
        Blocker::Resource(resource) | Blocker::Reserved(Target::Resource(resource)) => Lane::Resource(resource),
        Blocker::Agents(_) | Blocker::Reserved(Target::Agent(_)) => Lane::Pool(state.pool_of(class)),
    }
}

/// What a class weighs where it is parked: the amount of a resource; `cpu` and `mem` on agents.
fn weight(class: &Class, lane: Lane) -> Weight {
    match lane {
        Lane::Resource(resource) => [need_of(class, resource).0, 0],
        Lane::Window(_) => [0, 0],
        Lane::Pool(_) => [need_of(class, ResourceId(0)).0, need_of(class, ResourceId(1)).0],
    }
}

/// Something behind a lane is kept free for a task.
fn is_reserved(state: &State, lane: Lane) -> bool {
    let reserved = |target| state.reservations.contains_key(&target);
    match lane {
        _ if state.reservations.is_empty() => false,
        Lane::Window(_) => false,
        Lane::Resource(resource) => reserved(Target::Resource(resource)),
        Lane::Pool(pool) => state.pools[pool.0 as usize].agents.iter().any(|agent| reserved(Target::Agent(*agent))),
    }
}

/// What is free behind a lane: of a resource, or on each agent with a free slot (but for those with no more than another).
fn rooms(state: &State, lane: Lane) -> SmallVec<[Weight; 2]> {
    let mut rooms = SmallVec::new();
    match lane {
        Lane::Resource(resource) if state.locks.is_waited_for(resource) => {}
        Lane::Resource(resource) => {
            rooms.push([state.resource(resource).free(state.now).0, u64::MAX]);
        }
        Lane::Window(window) => {
            if state.window(window).is_open(state.now) {
                rooms.push([u64::MAX, u64::MAX]);
            }
        }
        Lane::Pool(pool) => {
            let agents = state.pools[pool.0 as usize].agents.iter().map(|id| state.agent(*id));
            for agent in agents.filter(|agent| agent.busy < agent.slots && agent.lost.is_none()) {
                let room = [agent.free(ResourceId(0)).0, agent.free(ResourceId(1)).0];
                let covers = |a: &Weight, b: &Weight| a[0] >= b[0] && a[1] >= b[1];
                if !rooms.iter().any(|other| covers(other, &room)) {
                    rooms.retain(|other| !covers(&room, other));
                    rooms.push(room);
                }
            }
        }
    }
    rooms
}

/// What to keep free so that the head of a lane gets its turn; nothing if it is kept free already, for it or another.
fn target_of(state: &State, lane: Lane, task: TaskId) -> Option<Target> {
    match lane {
        Lane::Window(_) => None,
        Lane::Resource(resource) => {
            let target = Target::Resource(resource);
            (!state.reservations.contains_key(&target)).then_some(target)
        }
        Lane::Pool(pool) => {
            let has_one =
                |(target, held): (&Target, &Reservation)| held.task == task && matches!(target, Target::Agent(_));
            if state.reservations.iter().any(has_one) {
                return None;
            }
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
    }
}

// ── what time alone changes ─────────────────────────────────────────────────────────────────────────────────────────

fn is_rate(state: &State, resource: ResourceId) -> bool {
    state.resource(resource).bucket.is_some()
}

impl Dispatch {
    /// A class stands in a lane from now on.
    fn enter(&mut self, state: &State, lane: Lane, rank: Rank, class: ClassId) {
        let weight = weight(state.class(class), lane);
        self.parked.insert_weighing((lane, rank, class), weight);
        if let Lane::Resource(resource) = lane
            && is_rate(state, resource)
        {
            self.asked.insert((resource, weight[0], class));
        }
        self.note_unset(state, lane);
    }

    /// A class stands there no longer.
    fn leave(&mut self, state: &State, lane: Lane, rank: Rank, class: ClassId) {
        self.parked.remove(&(lane, rank, class));
        if let Lane::Resource(resource) = lane
            && is_rate(state, resource)
        {
            self.asked.remove(&(resource, weight(state.class(class), lane)[0], class));
        }
        self.note_unset(state, lane);
    }

    fn note_unset(&mut self, state: &State, lane: Lane) {
        let timed = match lane {
            Lane::Resource(resource) => is_rate(state, resource),
            Lane::Window(_) => true,
            Lane::Pool(_) => false,
        };
        if timed && !self.unset.contains(&lane) {
            self.unset.push(lane);
        }
    }

    fn time_has_come(&mut self, state: &State, lane: Lane) {
        if let Lane::Resource(resource) = lane
            && let Some(held) = state.reservations.get(&Target::Resource(resource))
        {
            let class = state.task(held.task).class;
            if matches!(self.spot(class), Spot::Parked(at, _) if at == lane) {
                self.rouse(state, class);
            }
        }
        self.restart(state, lane);
    }

    /// Something is kept free for a task: when its window closes, others may have it; when it opens, none.
    pub fn kept(&mut self, state: &State, target: Target) {
        let class = state.reservations.get(&target).map(|held| state.class_of(held.task));
        let window = class.and_then(|class| class.window).map(|window| state.window(window));
        let changes = window.and_then(|window| window.closes(state.now).or_else(|| window.opens(state.now)));
        self.alarms.set(Alarm::Kept(target), changes);
    }

    /// At the end of a turn: when each lane is to be looked at again, if nothing but time passes.
    pub fn set_alarms(&mut self, state: &State) {
        while let Some(lane) = self.unset.pop() {
            let at = match lane {
                Lane::Window(window) => self.head(lane).and_then(|_| state.window(window).opens(state.now)),
                Lane::Resource(resource) => self.rate_fits(state, resource),
                Lane::Pool(_) => None,
            };
            // What fits now is being looked at already, or what is in its way is no matter of time.
            self.alarms.set(Alarm::Lane(lane), at.filter(|at| *at > state.now));
        }
    }

    /// When there is enough of a rate for one of those parked behind it.
    fn rate_fits(&self, state: &State, resource: ResourceId) -> Option<Time> {
        let entry = state.resource(resource);
        let bucket = entry.bucket.as_ref()?;
        let when = |need: u64| bucket.when(entry.capacity, Amount(need), state.now).filter(|at| *at > state.now);
        let (_, least, _) = self.asked.first_from(&(resource, 0, ClassId(0))).filter(|(id, _, _)| *id == resource)?;
        let lane = Lane::Resource(resource);
        let Some(held) = state.reservations.get(&Target::Resource(resource)) else { return when(*least) };
        // Kept free for a task: it goes first, then those before it; one behind it needs enough for both.
        let class = state.task(held.task).class;
        let need = need_of(state.class(class), resource).0;
        let is_here = matches!(self.spot(class), Spot::Parked(at, _) if at == lane);
        let own = if is_here { when(need) } else { None };
        let before = state.rank(held.task);
        let ahead = self.parked.iter_from(&(lane, Rank::FIRST, ClassId(0)));
        let ahead = ahead.take_while(|(at, rank, _)| *at == lane && *rank < before).take(AHEAD_LOOKS);
        let ahead = ahead.filter_map(|(_, _, class)| when(need_of(state.class(*class), resource).0)).min();
        [own, ahead, when(least.saturating_add(need)), when(*least)].into_iter().flatten().min()
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
    /// The first few tasks that wait for a resource, and how many do.
    pub fn waiting(&self, state: &State, resource: ResourceId) -> (Vec<TaskId>, usize) {
        let lane = Lane::Resource(resource);
        let from = (lane, Rank::FIRST, ClassId(0));
        let classes = self.parked.iter_from(&from).take_while(|(at, _, _)| *at == lane).map(|(_, _, class)| *class);
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
