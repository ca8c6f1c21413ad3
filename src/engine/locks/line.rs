//! Who is next for a lock, and whether everybody gets a turn: all that wait and all that is held of what they wait for, as one
//! picture. Waits are in order; what cannot be granted in that order though it could be in another goes ahead of it.
//!
//! Nobody gets a turn for ever exactly if, were everybody that does not wait to give back what it holds, and then all that
//! get what they wait for, somebody would still wait (detection of deadlocks for several units of a resource, Coffman,
//! Elphick and Shoshani 1971). A request is refused if it would be such a one; a grant waits if it would make one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Lock, LockRequest};
use crate::engine::fact::Fact;
use crate::engine::ids::{ResourceId, TaskId, Time};
use crate::engine::state::{Live, State};

/// Priority, highest first, then deadline: that of the best of those who wait for it.
type Rank = (i64, Time);

/// One that waits.
#[derive(Clone, Copy)]
struct Waiter<'s> {
    /// Its number; that of a request that is only considered is the next.
    number: u64,
    task: TaskId,
    request: &'s LockRequest,
    rank: Rank,
}

/// What is held of a resource that somebody waits for.
#[derive(Clone, Copy)]
struct Hold {
    task: TaskId,
    resource: ResourceId,
    amount: u64,
    /// 0 is the task as a whole.
    holder: u32,
    /// Its task is being stopped: it will be given back, whatever it waits for.
    ends: bool,
}

#[derive(Clone)]
struct Picture<'s> {
    waiters: Vec<Waiter<'s>>,
    /// Those of a task.
    by_task: BTreeMap<TaskId, Vec<usize>>,
    /// Those that wait for a resource, the next first.
    lines: BTreeMap<ResourceId, Vec<usize>>,
    holds: Vec<Hold>,
    free: BTreeMap<ResourceId, u64>,
    capacity: BTreeMap<ResourceId, u64>,
}

/// The order in which requests are granted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// None before those ahead of it.
    Strict,
    /// Any that fits.
    Free,
}

impl<'s> Picture<'s> {
    /// As things are, and if `more` waited as well.
    fn of(state: &'s State, more: Option<(TaskId, &'s LockRequest)>, going: &[TaskId]) -> Self {
        let waiter = |number: u64, task: TaskId, request: &'s LockRequest| {
            let (priority, deadline) = (state.task(task).priority, state.task(task).deadline);
            let rank = (-i64::from(priority), deadline.unwrap_or(Time(u64::MAX)));
            Waiter { number, task, request, rank }
        };
        let waiting = state.locks.waiting().map(|lock: &Lock| waiter(lock.number, lock.task, &lock.request));
        let more = more.map(|(task, request)| waiter(state.locks.count + 1, task, request));
        let waiters: Vec<Waiter<'s>> = waiting.chain(more).collect();
        let mut picture = Self {
            waiters,
            by_task: BTreeMap::new(),
            lines: BTreeMap::new(),
            holds: Vec::new(),
            free: BTreeMap::new(),
            capacity: BTreeMap::new(),
        };
        for (index, waiter) in picture.waiters.iter().enumerate() {
            picture.by_task.entry(waiter.task).or_default().push(index);
            picture.lines.entry(waiter.request.resource).or_default().push(index);
        }
        for resource in picture.lines.keys() {
            let entry = state.resource(*resource);
            picture.free.insert(*resource, entry.free(state.now).0);
            picture.capacity.insert(*resource, entry.capacity.0);
            let ends = |task: TaskId| {
                let stops = |live: &Live| live.stop.is_some() || live.exited.is_some();
                going.contains(&task) || state.task(task).live.as_deref().is_none_or(stops)
            };
            let locks = state.locks.held_of(*resource).map(|lock| {
                let (task, amount, holder) = (lock.task, lock.request.amount.0, lock.request.holder);
                Hold { task, resource: *resource, amount, holder, ends: ends(task) }
            });
            let since_start = state.holders_of(*resource).filter_map(|task| {
                let live = state.task(task).live.as_ref()?;
                let amount = super::amount_in(&live.holds, *resource).0;
                Some(Hold { task, resource: *resource, amount, holder: 0, ends: ends(task) })
            });
            picture.holds.extend(locks.chain(since_start));
        }
        picture.inherit();
        let (waiters, lines) = (&picture.waiters, &mut picture.lines);
        for line in lines.values_mut() {
            line.sort_unstable_by_key(|index| (waiters[*index].rank, waiters[*index].number));
        }
        picture
    }

    /// Whoever keeps others waiting and waits itself has the rank of the best of them.
    fn inherit(&mut self) {
        let mut best: Vec<usize> = (0..self.waiters.len()).collect();
        best.sort_unstable_by_key(|index| (self.waiters[*index].rank, self.waiters[*index].number));
        let mut seen = vec![false; self.waiters.len()];
        for first in best {
            let rank = self.waiters[first].rank;
            let mut open = vec![first];
            while let Some(waiter) = open.pop() {
                if std::mem::replace(&mut seen[waiter], true) {
                    continue;
                }
                self.waiters[waiter].rank = rank;
                open.extend(self.kept_by(waiter));
            }
        }
    }

    /// Those whose holding keeps a waiter waiting, as they wait themselves.
    fn kept_by(&self, waiter: usize) -> Vec<usize> {
        let resource = self.waiters[waiter].request.resource;
        let holds = self.holds.iter().filter(|hold| hold.resource == resource);
        let mut kept: Vec<usize> = holds.flat_map(|hold| self.keeping(hold)).collect();
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    /// The waiters without whose grant this is not given back.
    fn keeping(&self, hold: &Hold) -> impl Iterator<Item = usize> {
        let hold = *hold;
        let own = self.by_task.get(&hold.task).into_iter().flatten().copied();
        own.filter(move |waiter| {
            let within = &self.waiters[*waiter].request.within;
            !hold.ends && (hold.holder == 0 || within.is_empty() || within.contains(&hold.holder))
        })
    }

    /// What a waiter will hold.
    fn hold(&self, waiter: usize) -> Hold {
        let Waiter { task, request, .. } = &self.waiters[waiter];
        let (resource, amount) = (request.resource, request.amount.0);
        Hold { task: *task, resource, amount, holder: request.holder, ends: false }
    }

    /// It, and all of those that still wait that must be granted besides it before it is given back.
    fn together(&self, waiter: usize, waits: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let (mut group, mut open) = (BTreeSet::new(), vec![waiter]);
        while let Some(next) = open.pop() {
            if group.insert(next) {
                open.extend(self.keeping(&self.hold(next)).filter(|other| waits(*other)));
            }
        }
        group
    }

    /// Nothing that is held, or will be, waits for anything: everybody gets a turn.
    fn is_plain(&self) -> bool {
        let alone = |waiter: usize| self.keeping(&self.hold(waiter)).all(|other| other == waiter);
        self.holds.iter().all(|hold| self.keeping(hold).next().is_none())
            && (0..self.waiters.len()).all(alone)
            && self.waiters.iter().all(|waiter| waiter.request.amount.0 <= self.capacity[&waiter.request.resource])
    }

    /// Which of them never get a turn, if all that can give back what they hold do.
    fn never(&self, order: Order) -> Vec<bool> {
        let mut open = vec![!self.is_plain(); self.waiters.len()];
        if !open.first().copied().unwrap_or(false) {
            return open;
        }
        let (mut free, mut holds) = (self.free.clone(), self.holds.clone());
        loop {
            let before = holds.len();
            holds.retain(|hold| {
                let is_kept = self.keeping(hold).any(|waiter| open[waiter]);
                if !is_kept {
                    *free.get_mut(&hold.resource).expect("somebody waits for it") += hold.amount;
                }
                is_kept
            });
            let mut moved = holds.len() < before;
            for waiter in 0..open.len() {
                if !open[waiter] {
                    continue;
                }
                let group = self.together(waiter, |other| open[other]);
                if self.fits(&group, &free, &open, order) {
                    group.into_iter().for_each(|one| open[one] = false);
                    moved = true;
                }
            }
            if !moved {
                return open;
            }
        }
    }

    /// All of a group can be granted at once. They give all back then: what is free stays as it is.
    fn fits(&self, group: &BTreeSet<usize>, free: &BTreeMap<ResourceId, u64>, open: &[bool], order: Order) -> bool {
        let mut asked: BTreeMap<ResourceId, (u64, usize)> = BTreeMap::new();
        for waiter in group {
            let request = self.waiters[*waiter].request;
            let (amount, count) = asked.entry(request.resource).or_default();
            *amount = amount.saturating_add(request.amount.0);
            *count += 1;
        }
        asked.into_iter().all(|(resource, (amount, count))| {
            let mut line = self.lines[&resource].iter().filter(|one| open[**one]);
            let is_next = order == Order::Free || line.by_ref().take(count).all(|one| group.contains(one));
            is_next && amount <= free[&resource]
        })
    }

    /// The same with this one granted.
    fn granted(&mut self, waiter: usize) {
        let hold = self.hold(waiter);
        *self.free.get_mut(&hold.resource).expect("somebody waits for it") -= hold.amount;
        self.holds.push(hold);
        let out = |all: &mut Vec<usize>| all.retain(|one| *one != waiter);
        self.by_task.get_mut(&hold.task).into_iter().for_each(out);
        self.lines.get_mut(&hold.resource).into_iter().for_each(out);
    }

    /// Granting it now keeps nobody waiting for ever who would not be anyway.
    fn is_safe(&self, waiter: usize) -> bool {
        if self.keeping(&self.hold(waiter)).all(|other| other == waiter) {
            // It waits for nothing else: it gives it back.
            return true;
        }
        let before = self.never(Order::Free);
        let mut after = self.clone();
        after.granted(waiter);
        let after = after.never_of_lines();
        (0..before.len()).all(|one| one == waiter || before[one] || !after[one])
    }

    /// As [`Self::never`], when some of the waiters do not wait any more.
    fn never_of_lines(&self) -> Vec<bool> {
        let mut still = vec![false; self.waiters.len()];
        self.lines.values().flatten().for_each(|waiter| still[*waiter] = true);
        let never = self.never(Order::Free);
        never.into_iter().zip(still).map(|(never, still)| never && still).collect()
    }

    /// What is to be granted now.
    fn grants(&mut self) -> Vec<u64> {
        let mut granted = Vec::new();
        let resources: Vec<ResourceId> = self.lines.keys().copied().collect();
        for resource in resources {
            for waiter in self.lines[&resource].clone() {
                if self.waiters[waiter].request.amount.0 > self.free[&resource] {
                    break;
                }
                // Who would keep another waiting for ever is passed over for now.
                if self.is_safe(waiter) {
                    self.granted(waiter);
                    granted.push(self.waiters[waiter].number);
                }
            }
        }
        if granted.is_empty() && !self.is_plain() {
            granted.extend(self.ahead_of_its_turn());
        }
        granted
    }

    /// One that fits and would never be granted in order, as those ahead of it wait for what its task holds.
    fn ahead_of_its_turn(&self) -> Option<u64> {
        let (strict, free) = (self.never(Order::Strict), self.never(Order::Free));
        let mut stuck: Vec<usize> = self.lines.values().flatten().copied().collect();
        stuck.retain(|one| strict[*one] && !free[*one]);
        stuck.sort_unstable_by_key(|one| (self.waiters[*one].rank, self.waiters[*one].number));
        let fits = |one: &usize| {
            let request = self.waiters[*one].request;
            request.amount.0 <= self.free[&request.resource] && self.is_safe(*one)
        };
        stuck.into_iter().find(fits).map(|one| self.waiters[one].number)
    }

    /// From this waiter over what keeps it waiting back to itself: each is kept by what the next one's task holds.
    fn circle(&self, from: usize) -> Option<Vec<usize>> {
        let never = self.never(Order::Free);
        if !never[from] {
            return None;
        }
        let mut came: BTreeMap<usize, usize> = BTreeMap::new();
        let mut open = VecDeque::from([from]);
        while let Some(waiter) = open.pop_front() {
            let mut next = self.kept_by(waiter);
            next.extend(self.beside(waiter));
            for next in next {
                if next == from {
                    let mut path = vec![waiter];
                    while let Some(before) = path.last().filter(|last| **last != from).map(|last| came[last]) {
                        path.push(before);
                    }
                    path.reverse();
                    return Some(path);
                }
                if never[next] && !came.contains_key(&next) {
                    came.insert(next, waiter);
                    open.push_back(next);
                }
            }
        }
        None
    }

    /// Those of its own task that it must be granted with, and for which there is not enough together.
    fn beside(&self, waiter: usize) -> Vec<usize> {
        let resource = self.waiters[waiter].request.resource;
        let of_it = |one: &usize| self.waiters[*one].request.resource == resource;
        let group: Vec<usize> = self.together(waiter, |_| true).into_iter().filter(of_it).collect();
        let all: u64 = group.iter().map(|one| self.waiters[*one].request.amount.0).sum();
        if all > self.capacity[&resource] {
            group.into_iter().filter(|one| *one != waiter).collect()
        } else {
            Vec::new()
        }
    }
}

/// What is to be granted now, in order. Once that is done, more may be.
pub(in crate::engine) fn grants(state: &State) -> Vec<Fact> {
    if state.locks.waiting().next().is_none() {
        return Vec::new();
    }
    let granted = Picture::of(state, None, &[]).grants();
    let fact = |(lock, fence): (&Lock, u64)| {
        let (task, resource, lock) = (lock.task, lock.request.resource, lock.number);
        Fact::LockGranted { task, resource, lock, fence }
    };
    granted.into_iter().filter_map(|lock| state.lock(lock)).zip(state.locks.fences + 1..).map(fact).collect()
}

/// The circle that a request would close, if it would and those that are `going` gave all back: in words, and its tasks.
pub(in crate::engine) fn circle(
    state: &State,
    task: TaskId,
    request: &LockRequest,
    going: &[TaskId],
) -> Option<(String, Vec<TaskId>)> {
    let picture = Picture::of(state, Some((task, request)), going);
    let path = picture.circle(picture.waiters.len() - 1)?;
    let task = |waiter: usize| picture.waiters[waiter].task;
    let mut words = Vec::new();
    for (at, waiter) in path.iter().enumerate() {
        let resource = &state.resource(picture.waiters[*waiter].request.resource).definition.name;
        let next = path.get(at + 1).copied().unwrap_or(path[0]);
        words.push(format!("{} waits for {resource}, which {} has", state.name(task(*waiter)), state.name(task(next))));
    }
    Some((words.join("; "), path.into_iter().map(task).collect()))
}

/// Those that wait for a resource, the next first.
pub(in crate::engine) fn ranked(state: &State, resource: ResourceId) -> Vec<&Lock> {
    if !state.locks.is_waited_for(resource) {
        return Vec::new();
    }
    let picture = Picture::of(state, None, &[]);
    let line = picture.lines.get(&resource).into_iter().flatten();
    line.filter_map(|one| state.lock(picture.waiters[*one].number)).collect()
}
