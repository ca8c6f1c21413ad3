//! Why is it not running? One typed answer, from the very predicates that block the start; the same on screen, in the
//! command line and in tests. Empty exactly when the task could start now.

use super::arrival::{self, Decision};
use super::definition::StageEnd;
use super::fact::Target;
use super::ids::{AgentId, Amount, ResourceId, StageId, TaskId, Time, WindowId};
use super::place::{Blocker, Closed, fits_on, need_of};
use super::state::{Phase, Shown, State, Task};

/// How many names a reason carries; the rest is a number.
pub const NAMED: usize = 8;

/// One thing that must change before the task starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// It has a live attempt.
    Live,
    /// It is over.
    Over(Phase),
    /// Nothing can be proved of its last attempt; the operator decides.
    Lost,
    /// The operator holds it.
    Held,
    /// A rule holds it; why.
    HeldByRule(String),
    /// Its condition, or that of its stage, has no answer yet: the condition with its values.
    Undecided(String),
    /// A person, a time or something outside will settle it.
    Awaiting,
    /// It waits out a delay.
    Delayed {
        /// Until then.
        until: Time,
    },
    /// It waits for these tasks (the first few, and how many in all).
    After {
        /// Not done; failed ones first.
        tasks: Vec<TaskId>,
        /// How many in all.
        count: u32,
    },
    /// It waits for some of these tasks, more of which must come to pass.
    Enough {
        /// How many are done.
        done: u32,
        /// How many are enough.
        enough: u32,
        /// Of how many.
        of: u32,
        /// How many of them never can be done, as things are.
        dead: u32,
        /// Not done; failed ones first (the first few).
        tasks: Vec<TaskId>,
    },
    /// Its stage starts only by a transition, from one of these stages after such an end.
    Transition {
        /// From where, after which end.
        from: Vec<(StageId, StageEnd)>,
    },
    /// Its stage waits for these stages.
    Stages {
        /// Not over.
        stages: Vec<StageId>,
    },
    /// Nothing starts at all.
    Closed(Closed),
    /// Too little of a resource is free.
    Resource {
        /// Which.
        resource: ResourceId,
        /// Asked for.
        need: Amount,
        /// Free.
        free: Amount,
        /// Who holds it and how much (the first few).
        holders: Vec<(TaskId, Amount)>,
        /// Who runs and waits for it, which comes first (the first few).
        asked: Vec<TaskId>,
    },
    /// It starts only within a window, which is closed.
    Window {
        /// Which.
        window: WindowId,
        /// When it opens; never again without.
        opens: Option<Time>,
    },
    /// So much of a rate is used up that it must wait for more.
    Rate {
        /// Which.
        resource: ResourceId,
        /// Asked for.
        need: Amount,
        /// Left.
        free: Amount,
        /// When there will be enough, if nobody takes it before; never without.
        at: Option<Time>,
    },
    /// No agent offers what it asks: it can never start unless one comes.
    NoAgent {
        /// The names that no single agent offers together.
        capabilities: Vec<String>,
    },
    /// Every agent that could run it is lost.
    AgentsLost {
        /// Those (the first few).
        agents: Vec<AgentId>,
    },
    /// No agent that could run it has room.
    AgentsFull {
        /// Those that could (the first few).
        agents: Vec<AgentId>,
        /// A per-agent resource that is short everywhere, though slots are free.
        short: Option<ResourceId>,
    },
    /// There is room, but it is kept free for a task before it.
    Reserved {
        /// Of what.
        on: Target,
        /// For whom.
        task: TaskId,
    },
}

/// Everything that keeps a task from starting now, in the order in which it is looked at.
pub fn explain(state: &State, id: TaskId) -> Vec<Reason> {
    let task = state.task(id);
    match task.phase {
        phase if phase.is_live() => return vec![Reason::Live],
        Phase::Lost => return vec![Reason::Lost],
        Phase::Awaiting => return held(task).into_iter().chain([Reason::Awaiting]).collect(),
        Phase::Waiting | Phase::Arrived | Phase::Ready | Phase::Delayed => {}
        phase => return vec![Reason::Over(phase)],
    }
    let mut reasons = waits_for(state, id);
    reasons.extend(undecided(state, id));
    reasons.extend(held(task));
    if let Some(until) = task.due {
        reasons.push(Reason::Delayed { until });
    }
    reasons.extend(state.closed().map(Reason::Closed));
    if let Some(window) = state.closed_window(state.class_of(id)) {
        reasons.push(Reason::Window { window, opens: state.window(window).opens(state.now) });
    }
    reasons.extend(short_of(state, id));
    reasons.extend(agents(state, id));
    if reasons.is_empty()
        && let Err(Blocker::Reserved(on)) = state.place(id)
    {
        reasons.push(Reason::Reserved { on, task: state.reservations[&on].task });
    }
    reasons
}

fn held(task: &Task) -> Option<Reason> {
    task.held.then(|| task.because.as_ref().map_or(Reason::Held, |why| Reason::HeldByRule(why.to_string())))
}

/// The condition that an arrived task waits for.
fn undecided(state: &State, id: TaskId) -> Option<Reason> {
    if state.task(id).phase != Phase::Arrived {
        return None;
    }
    match arrival::decide(state, id) {
        Decision::Later(conditions) => {
            conditions.last().map(|condition| Reason::Undecided(condition.explain(state).to_string()))
        }
        Decision::Now(_) | Decision::Closed { .. } => None,
    }
}

fn waits_for(state: &State, id: TaskId) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let definition = state.definition(id);
    let join = state.task(id).join.as_deref();
    let is_over = |id: TaskId| matches!(state.shown(id), Shown::Failed | Shown::Cancelled | Shown::Blocked);
    let over = join.is_some_and(|join| join.over);
    let open = |before: &&TaskId| !(state.task(**before).phase.is_satisfied() || (over && is_over(**before)));
    let mut tasks: Vec<TaskId> = definition.after.iter().filter(open).copied().collect();
    if tasks.len() as u32 > join.map_or(0, |join| join.spare) {
        let count = tasks.len() as u32;
        tasks.sort_by_key(|id| (!is_over(*id), *id));
        tasks.truncate(NAMED);
        reasons.push(match join.filter(|join| join.spare > 0) {
            Some(join) => {
                let of = definition.after.len() as u32;
                Reason::Enough { done: of - count, enough: of - join.spare, of, dead: join.dead, tasks }
            }
            None => Reason::After { tasks, count },
        });
    }
    let stage = state.stage(definition.stage);
    if !stage.entered {
        let leads = stage.led_by.iter().map(|lead| &state.transition(*lead).definition);
        let from = leads.map(|transition| (transition.from, transition.on)).take(NAMED).collect();
        reasons.push(Reason::Transition { from });
    }
    let before = &stage.definition.after;
    let stages: Vec<StageId> = before.iter().copied().filter(|stage| state.stage(*stage).remaining > 0).collect();
    if !stages.is_empty() {
        reasons.push(Reason::Stages { stages });
    }
    reasons
}

fn short_of(state: &State, id: TaskId) -> Vec<Reason> {
    let class = state.class_of(id);
    let short = class.shared.iter().filter_map(|(resource, need)| {
        let entry = state.resource(*resource);
        let free = entry.free(state.now);
        if *need <= free && !state.locks.is_waited_for(*resource) {
            return None;
        }
        if let Some(bucket) = &entry.bucket {
            let at = bucket.when(entry.capacity, *need, state.now);
            return Some(Reason::Rate { resource: *resource, need: *need, free, at });
        }
        let by_lock = state.locks.held_of(*resource).map(|lock| lock.task);
        let mut holders: Vec<TaskId> = state.holders_of(*resource).chain(by_lock).take(2 * NAMED).collect();
        holders.sort_unstable();
        holders.dedup();
        let holders = holders.into_iter().take(NAMED).map(|id| (id, state.held_by(id, *resource))).collect();
        let mut asked: Vec<TaskId> = state.locks.waiting_for(*resource).map(|lock| lock.task).take(NAMED).collect();
        asked.dedup();
        Some(Reason::Resource { resource: *resource, need: *need, free, holders, asked })
    });
    short.collect()
}

fn agents(state: &State, id: TaskId) -> Option<Reason> {
    let class = state.class_of(id);
    let pool = &state.pools[state.pool_of(class).0 as usize];
    if pool.agents.is_empty() {
        return Some(Reason::NoAgent { capabilities: pool.capabilities.clone() });
    }
    let mut all = pool.agents.iter().map(|id| state.agent(*id));
    if all.any(|agent| fits_on(class, agent)) {
        return None;
    }
    if pool.agents.iter().all(|id| state.agent(*id).lost.is_some()) {
        return Some(Reason::AgentsLost { agents: pool.agents.iter().take(NAMED).copied().collect() });
    }
    let with_slot: Vec<_> =
        pool.agents.iter().map(|id| state.agent(*id)).filter(|a| a.busy < a.slots && a.lost.is_none()).collect();
    let short = class.local.iter().map(|(resource, _)| *resource).find(|resource| {
        !with_slot.is_empty() && with_slot.iter().all(|agent| agent.free(*resource) < need_of(class, *resource))
    });
    Some(Reason::AgentsFull { agents: pool.agents.iter().take(NAMED).copied().collect(), short })
}
