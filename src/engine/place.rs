//! Whether and where a ready task can start now: the one predicate that the dispatcher, `explain` and the tests' brute
//! force speak of. Reads the State, changes nothing.

use super::breaker::Gate;
use super::fact::Target;
use super::ids::{AgentId, Amount, ResourceId, Span, TaskId, Time, WindowId};
use super::state::{Agent, Class, PoolId, Reservation, Shown, State};

/// What keeps the session as a whole from starting anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The operator paused it.
    Paused,
    /// It is ending.
    Ending,
    /// So many run already.
    MaxRunning(u32),
    /// Too much failed: nothing starts until then.
    Breaker(Time),
    /// One task tries whether all is well again.
    Probing(TaskId),
    /// The condition of `PauseWhile` holds.
    Overload,
}

/// The first thing that keeps a ready task from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocker {
    /// Its time window is closed.
    Window(WindowId),
    /// Too little of it is free.
    Resource(ResourceId),
    /// No agent that offers what it asks has a free slot with enough beside it.
    Agents(PoolId),
    /// There is room, but it is kept free for a task before it.
    Reserved(Target),
}

impl State {
    /// What keeps everything from starting, if anything does.
    pub fn closed(&self) -> Option<Closed> {
        if self.ending.is_some() {
            return Some(Closed::Ending);
        }
        if self.paused {
            return Some(Closed::Paused);
        }
        match self.breaker.gate {
            Gate::Open { until, .. } => return Some(Closed::Breaker(until)),
            Gate::HalfOpen(Some(task)) => return Some(Closed::Probing(task)),
            Gate::Closed | Gate::HalfOpen(None) => {}
        }
        if self.overload.is_some() && !self.ignores_overload {
            return Some(Closed::Overload);
        }
        self.settings.max_running.filter(|most| self.live >= *most).map(Closed::MaxRunning)
    }

    /// Where a ready task would start now (the session being open), or the first thing in its way.
    ///
    /// Order of checks: its window, resources of the session, then agents; a reservation counts against those ranked behind its task.
    pub fn place(&self, id: TaskId) -> Result<AgentId, Blocker> {
        let class = self.class_of(id);
        if let Some(window) = self.closed_window(class) {
            return Err(Blocker::Window(window));
        }
        for (resource, amount) in &class.shared {
            // What runs has its locks first.
            if *amount > self.resource(*resource).free(self.now) || self.locks.is_waited_for(*resource) {
                return Err(Blocker::Resource(*resource));
            }
            let target = Target::Resource(*resource);
            if let Some(held) = self.reservation_before(target, id)
                && !self.leaves_room(target, held, class, *amount)
            {
                return Err(Blocker::Reserved(target));
            }
        }
        self.place_on_agent(id, class)
    }

    fn place_on_agent(&self, id: TaskId, class: &Class) -> Result<AgentId, Blocker> {
        let mut kept: Option<Target> = None;
        let mut best: Option<((bool, usize, u32), AgentId)> = None;
        let pool_id = self.pool_of(class);
        let pool = &self.pools[pool_id.0 as usize];
        for (load, agent_id) in self.free_agents.iter() {
            if pool.agents.binary_search(agent_id).is_err() {
                continue;
            }
            let agent = self.agent(*agent_id);
            if !fits_on(class, agent) {
                continue;
            }
            let target = Target::Agent(*agent_id);
            if let Some(held) = self.reservation_before(target, id)
                && !self.leaves_room_on(target, held, class, agent)
            {
                kept = kept.or(Some(target));
                continue;
            }
            // The one it prefers; the least gifted that will do, then the least loaded: the GPU stays free for what needs it.
            let elsewhere = class.prefer.is_some_and(|prefer| prefer != *agent_id);
            let score = (elsewhere, agent.definition.capabilities.len() - pool.capabilities.len(), *load);
            if best.is_none_or(|(other, _)| score < other) {
                best = Some((score, *agent_id));
            }
        }
        match (best, kept) {
            (Some((_, agent)), _) => Ok(agent),
            (None, Some(target)) => Err(Blocker::Reserved(target)),
            (None, None) => Err(Blocker::Agents(pool_id)),
        }
    }

    /// The reservation on `target` that a task must respect: that of another task ranked before it, which could start
    /// if everything were free.
    fn reservation_before(&self, target: Target, id: TaskId) -> Option<&Reservation> {
        let held = self.reservations.get(&target)?;
        let before = held.task != id && self.shown(held.task) == Shown::Ready && self.rank(held.task) < self.rank(id);
        let class = self.class_of(held.task);
        (before && self.closed_window(class).is_none() && self.could_ever_start(class)).then_some(held)
    }

    /// Taking `amount` of a reserved resource does not delay its task: what was started since the reservation, with this,
    /// leaves what the task needs; or this ends before the task could start anyway (EASY backfill, Lifka 1995).
    fn leaves_room(&self, target: Target, held: &Reservation, class: &Class, amount: Amount) -> bool {
        let Target::Resource(resource) = target else { return false };
        let need = need_of(self.class_of(held.task), resource);
        let entry = self.resource(resource);
        if entry.bucket.is_some() {
            // Nothing of a rate is given back: what is left must do for both.
            return entry.free(self.now).0 >= need.0.saturating_add(amount.0);
        }
        let capacity = self.resource(resource).capacity;
        let spare = capacity.0.saturating_sub(need.0).checked_sub(amount.0);
        if spare.is_some_and(|spare| self.taken_since(resource, None, held.since).0 <= spare) {
            return true;
        }
        let Some(estimate) = class.estimate else { return false };
        self.free_by(resource, need, held).is_some_and(|shadow| self.now.plus(estimate) <= shadow)
    }

    fn leaves_room_on(&self, target: Target, held: &Reservation, class: &Class, agent: &Agent) -> bool {
        let Target::Agent(agent_id) = target else { return false };
        let reserved = self.class_of(held.task);
        let later = |id: &TaskId| self.task(*id).live.as_ref().is_some_and(|live| live.started >= held.since);
        let late_slots = self.tasks_on(agent_id).filter(later).count();
        let slots_left = late_slots + 2 <= agent.slots as usize;
        let all_left = slots_left
            && reserved.local.iter().all(|(resource, need)| {
                let late = self.taken_since(*resource, Some(agent_id), held.since);
                let taken = late.0.saturating_add(need_of(class, *resource).0).saturating_add(need.0);
                taken <= agent.capacity(*resource).0
            });
        if all_left {
            return true;
        }
        let Some(estimate) = class.estimate else { return false };
        self.agent_free_by(agent_id, reserved).is_some_and(|shadow| self.now.plus(estimate) <= shadow)
    }

    /// How much of a resource (on one agent, if given) is held by attempts started at `since` or later.
    fn taken_since(&self, resource: ResourceId, agent: Option<AgentId>, since: Time) -> Amount {
        let held = self.holders_of(resource).filter_map(|id| self.task(id).live.as_ref());
        let late = held.filter(|live| live.started >= since && agent.is_none_or(|agent| live.agent == agent));
        Amount(late.map(|live| amount_in(&live.holds, resource).0).sum())
    }

    /// When `need` of a resource will be free by the estimates of those that hold it; `None` if one has no estimate.
    fn free_by(&self, resource: ResourceId, need: Amount, held: &Reservation) -> Option<Time> {
        let entry = self.resource(resource);
        let mut free = entry.capacity.0 - entry.used.0.min(entry.capacity.0);
        let mut ends = Vec::new();
        for id in self.holders_of(resource) {
            let live = self.task(id).live.as_ref()?;
            ends.push((expected_end(self.now, live.started, live.estimate)?, amount_in(&live.holds, resource).0));
        }
        ends.sort_unstable();
        for (at, amount) in ends {
            if free >= need.0 {
                break;
            }
            free += amount;
            if free >= need.0 {
                return Some(at);
            }
        }
        (free >= need.0).then_some(held.since)
    }

    /// When an agent has room for a class by the estimates of what runs there.
    fn agent_free_by(&self, agent_id: AgentId, class: &Class) -> Option<Time> {
        let agent = self.agent(agent_id);
        let mut free_slots = i64::from(agent.slots) - i64::from(agent.busy);
        let mut free: Vec<(ResourceId, u64)> = class.local.iter().map(|(id, _)| (*id, agent.free(*id).0)).collect();
        let fits = |slots: i64, free: &[(ResourceId, u64)]| {
            slots >= 1 && class.local.iter().zip(free).all(|((_, need), (_, free))| *free >= need.0)
        };
        let mut ends = Vec::new();
        for id in self.tasks_on(agent_id) {
            let live = self.task(id).live.as_ref()?;
            ends.push((expected_end(self.now, live.started, live.estimate)?, id));
        }
        ends.sort_unstable();
        let mut at = self.now;
        for (end, id) in ends {
            if fits(free_slots, &free) {
                break;
            }
            at = end;
            free_slots += 1;
            let holds = &self.task(id).live.as_ref()?.holds;
            for (resource, free) in &mut free {
                *free += amount_in(holds, *resource).0;
            }
        }
        fits(free_slots, &free).then_some(at)
    }

    /// Tasks that hold some of a resource.
    pub fn holders_of(&self, resource: ResourceId) -> impl Iterator<Item = TaskId> {
        let from = (resource, TaskId(0));
        self.holders.iter_from(&from).take_while(move |(held, _)| *held == resource).map(|(_, id)| *id)
    }

    /// Tasks that run on an agent.
    pub fn tasks_on(&self, agent: AgentId) -> impl Iterator<Item = TaskId> {
        let from = (agent, TaskId(0));
        self.on_agent.iter_from(&from).take_while(move |(at, _)| *at == agent).map(|(_, id)| *id)
    }
}

/// An agent has a slot and enough of its own resources for a class.
pub(super) fn fits_on(class: &Class, agent: &Agent) -> bool {
    agent.busy < agent.slots
        && agent.lost.is_none()
        && class.local.iter().all(|(resource, amount)| agent.free(*resource) >= *amount)
}

/// An agent could ever run a class.
pub(super) fn could_fit(class: &Class, agent: &Agent) -> bool {
    agent.slots > 0 && class.local.iter().all(|(resource, amount)| agent.capacity(*resource) >= *amount)
}

pub(super) fn need_of(class: &Class, resource: ResourceId) -> Amount {
    let shared = amount_in(&class.shared, resource);
    if shared == Amount(0) { amount_in(&class.local, resource) } else { shared }
}

pub(super) fn amount_in(holds: &[(ResourceId, Amount)], resource: ResourceId) -> Amount {
    holds.iter().find(|(id, _)| *id == resource).map_or(Amount(0), |(_, amount)| *amount)
}

fn expected_end(now: Time, started: Time, estimate: Option<Span>) -> Option<Time> {
    Some(started.plus(estimate?).max(now))
}
