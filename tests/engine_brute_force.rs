//! "Could this task start now?", written once more from the documents alone, over the plain fields of the State; held
//! against `explain` for every task at every step, and against what the dispatcher left in the queue.

mod engine_support;

use engine_support::run::Run;
use engine_support::{SaySeed, seeds};
use quarterdeck::engine::definition::*;
use quarterdeck::engine::explain::explain;
use quarterdeck::engine::fact::Target;
use quarterdeck::engine::ids::*;
use quarterdeck::engine::state::{Phase, State, Task};

/// The naive model: everything is looked up by walking over all tasks.
struct Naive<'a>(&'a State);

impl Naive<'_> {
    fn ids(&self) -> impl Iterator<Item = TaskId> {
        (0..self.0.tasks.len()).map(TaskId::from)
    }
    fn task(&self, id: TaskId) -> &Task {
        self.0.tasks.at(id.index())
    }
    fn definition(&self, id: TaskId) -> &TaskDefinition {
        self.0.definitions.at(id.index())
    }
    /// What it asks as it runs at present, which its class says; that it is of the right class is `check`'s to say.
    fn requirements(&self, id: TaskId) -> &Requirements {
        &self.0.class_of(id).requirements
    }
    fn live(&self) -> impl Iterator<Item = TaskId> {
        self.ids().filter(|id| self.task(*id).live.is_some())
    }
    fn done(&self, id: TaskId) -> bool {
        matches!(self.task(id).phase, Phase::Succeeded | Phase::Skipped)
    }
    fn asks(&self, id: TaskId, resource: ResourceId) -> u64 {
        let needs = &self.requirements(id).resources;
        needs.iter().find(|need| need.resource == resource).map_or(0, |need| need.amount.0)
    }
    fn kind(&self, resource: ResourceId) -> ResourceKind {
        self.0.resources.at(resource.index()).definition.kind
    }
    fn capacity(&self, resource: ResourceId, agent: AgentId) -> u64 {
        match self.kind(resource) {
            ResourceKind::Lock => Amount::WHOLE_LOCK.0,
            ResourceKind::Pool(_) => self.0.resources.at(resource.index()).capacity.0,
            ResourceKind::Rate { .. } => panic!("this oracle knows no rates"),
            ResourceKind::PerAgent => {
                let has = &self.0.agents.at(agent.index()).resources;
                has.iter().find(|(id, ..)| *id == resource).map_or(0, |(_, amount, _)| amount.0)
            }
        }
    }
    /// Live tasks that hold a resource (on this agent, if each agent has its own).
    fn holders(&self, resource: ResourceId, agent: AgentId) -> Vec<TaskId> {
        let everywhere = self.kind(resource) != ResourceKind::PerAgent;
        let here = |id: &TaskId| everywhere || self.at(*id) == agent;
        self.live().filter(|id| self.asks(*id, resource) > 0).filter(here).collect()
    }
    fn at(&self, id: TaskId) -> AgentId {
        self.task(id).live.as_ref().expect("asked of a live task").agent
    }
    fn started(&self, id: TaskId) -> Time {
        self.task(id).live.as_ref().expect("asked of a live task").started
    }
    fn free(&self, resource: ResourceId, agent: AgentId) -> u64 {
        let used: u64 = self.holders(resource, agent).iter().map(|id| self.asks(*id, resource)).sum();
        // A limit that was lowered during the run can be below what is still held.
        self.capacity(resource, agent).saturating_sub(used)
    }
    fn slots(&self, agent: AgentId) -> i64 {
        i64::from(self.0.agents.at(agent.index()).slots)
    }
    fn busy(&self, agent: AgentId) -> i64 {
        self.live().filter(|id| self.at(*id) == agent).count() as i64
    }
    fn offers(&self, agent: AgentId, id: TaskId) -> bool {
        let needs = self.requirements(id);
        let has = &self.0.agents.at(agent.index()).definition.capabilities;
        needs.capabilities.iter().all(|name| has.contains(name))
            && needs.constraints.iter().all(|constraint| match constraint {
                TaskConstraint::OnAgent(only) => *only == agent,
                TaskConstraint::NotOnAgent(not) => *not != agent,
                other => panic!("this oracle does not know {other:?}"),
            })
    }
    fn agents(&self) -> impl Iterator<Item = AgentId> {
        (0..self.0.agents.len()).map(AgentId::from)
    }
    fn needs(&self, id: TaskId) -> impl Iterator<Item = ResourceId> {
        self.requirements(id).resources.iter().map(|need| need.resource)
    }
    fn ahead(&self, id: TaskId) -> (i64, u64, u64, u32) {
        let task = self.task(id);
        let waited_from = (task.ready_at.0 / self.0.settings.aging.0.max(1)) as i64;
        (waited_from - i64::from(task.priority), task.deadline.map_or(u64::MAX, |at| at.0), task.ready_at.0, id.0)
    }
    fn room_if_empty(&self, id: TaskId) -> bool {
        self.0.settings.max_running != Some(0)
            && self.agents().any(|agent| {
                self.offers(agent, id)
                    && self.slots(agent) > 0
                    && self.needs(id).all(|resource| self.asks(id, resource) <= self.capacity(resource, agent))
            })
    }

    fn is_open(&self) -> bool {
        !self.0.paused
            && self.0.ending.is_none()
            && self.0.settings.max_running.is_none_or(|most| (self.live().count() as u32) < most)
    }

    /// Nothing before it is undone, and nobody holds or delays it.
    fn is_queued(&self, id: TaskId) -> bool {
        let task = self.task(id);
        let stage_before = &self.0.stages.at(self.definition(id).stage.index()).definition.after;
        let done = |id| self.done(id) || self.task(id).excused;
        let stage = self.definition(id).stage;
        let mut ways = self.0.transitions.iter().filter(|way| way.definition.to == stage);
        let led_to = ways.clone().any(|way| way.taken > 0) || ways.all(|way| way.definition.is_backward());
        let stages_over =
            || self.ids().all(|other| !stage_before.contains(&self.definition(other).stage) || done(other));
        matches!(task.phase, Phase::Waiting | Phase::Ready)
            && !task.held
            && self.has_enough(id)
            && stages_over()
            && led_to
    }

    fn has_enough(&self, id: TaskId) -> bool {
        let definition = self.definition(id);
        let over = definition.join.trigger == Trigger::AllOver;
        let come = definition.after.iter().filter(|before| self.done(**before) || (over && self.never(**before)));
        come.count() >= definition.join.enough.map_or(definition.after.len(), |enough| enough as usize)
    }

    /// It can never be done, as things are.
    fn never(&self, id: TaskId) -> bool {
        let definition = self.definition(id);
        match self.task(id).phase {
            Phase::Failed | Phase::Cancelled => return true,
            Phase::Waiting => {}
            _ => return false,
        }
        let stage_before = &self.0.stages.at(definition.stage.index()).definition.after;
        if self.ids().any(|other| {
            stage_before.contains(&self.definition(other).stage) && !self.task(other).excused && self.never(other)
        }) {
            return true;
        }
        let never = definition.after.iter().filter(|before| self.never(**before)).count();
        let all = definition.after.len();
        let needed = definition.join.enough.map_or(all, |enough| enough as usize);
        definition.join.trigger == Trigger::AllSucceeded && all - never < needed
    }

    fn could_start(&self, id: TaskId) -> bool {
        let shared = |resource: &ResourceId| self.kind(*resource) != ResourceKind::PerAgent;
        let any = AgentId(0);
        self.is_open()
            && self.is_queued(id)
            && self.needs(id).filter(shared).all(|resource| {
                self.asks(id, resource) <= self.free(resource, any)
                    && self.may_take(id, Target::Resource(resource), &[resource], false)
            })
            && self.agents().any(|agent| {
                let local: Vec<_> = self.needs(id).filter(|resource| !shared(resource)).collect();
                self.offers(agent, id)
                    && self.busy(agent) < self.slots(agent)
                    && local.iter().all(|resource| self.asks(id, *resource) <= self.free(*resource, agent))
                    && self.may_take(id, Target::Agent(agent), &[], true)
            })
    }

    /// What is kept free for another holds those behind it back, unless taking it does not delay that one: after what was
    /// started since the reservation, and this, there is still enough for it; or this will have ended, by its estimate,
    /// before there is enough for it.
    fn may_take(&self, id: TaskId, target: Target, resources: &[ResourceId], slot: bool) -> bool {
        let Some(kept) = self.0.reservations.get(&target) else { return true };
        let other = kept.task;
        if other == id || self.task(other).phase != Phase::Ready || self.task(other).held {
            return true;
        }
        if self.ahead(other) > self.ahead(id) || !self.room_if_empty(other) {
            return true;
        }
        let agent = if let Target::Agent(agent) = target { agent } else { AgentId(0) };
        let resources: Vec<ResourceId> = if slot {
            self.needs(other).filter(|resource| self.kind(*resource) == ResourceKind::PerAgent).collect()
        } else {
            resources.to_vec()
        };
        let late = |holder: &TaskId| self.started(*holder) >= kept.since;
        let late_here = self.live().filter(|holder| self.at(*holder) == agent).filter(late).count() as i64;
        let slots_left = !slot || late_here + 2 <= self.slots(agent);
        let enough_left = resources.iter().all(|resource| {
            let holders = self.holders(*resource, agent).into_iter().filter(late);
            let taken: u64 = holders.map(|holder| self.asks(holder, *resource)).sum();
            taken + self.asks(id, *resource) + self.asks(other, *resource) <= self.capacity(*resource, agent)
        });
        if slots_left && enough_left {
            return true;
        }
        let Some(estimate) = self.definition(id).estimate else { return false };
        self.room_at(other, agent, &resources, slot).is_some_and(|at| self.0.now.plus(estimate) <= at)
    }

    /// When there is enough for a task, by the estimates; nothing if there is now, or if some estimate is missing.
    fn room_at(&self, id: TaskId, agent: AgentId, resources: &[ResourceId], slot: bool) -> Option<Time> {
        let holders: Vec<TaskId> = if slot {
            self.live().filter(|holder| self.at(*holder) == agent).collect()
        } else {
            self.holders(resources[0], agent)
        };
        let mut ends = Vec::new();
        for holder in holders {
            ends.push((self.started(holder).plus(self.definition(holder).estimate?).max(self.0.now), holder));
        }
        ends.sort_unstable();
        let enough = |gone: usize| {
            let back = |resource: &ResourceId| -> u64 {
                ends[..gone].iter().map(|(_, holder)| self.asks(*holder, *resource)).sum()
            };
            (!slot || self.busy(agent) - (gone as i64) < self.slots(agent))
                && resources.iter().all(|r| self.asks(id, *r) <= self.free(*r, agent) + back(r))
        };
        let first = (1..=ends.len()).find(|gone| enough(*gone))?;
        if enough(0) { None } else { Some(ends[first - 1].0) }
    }
}

fn compare(state: &State) {
    let naive = Naive(state);
    for id in naive.ids() {
        let could = naive.could_start(id);
        let reasons = explain(state, id);
        assert_eq!(could, reasons.is_empty(), "{}: {reasons:?} {:?}", state.name(id), state.task(id));
        assert!(!could, "{} could start and was left waiting: {:?}", state.name(id), state.task(id));
    }
}

/// The same while time passes without a turn: there the two must agree too, though something may be startable.
fn agree_later(state: &State) {
    let mut later = state.clone();
    later.now = state.now.plus(Span(700));
    let naive = Naive(&later);
    for id in naive.ids() {
        assert_eq!(naive.could_start(id), explain(&later, id).is_empty(), "{}", later.name(id));
    }
}

#[test]
fn explain_is_empty_exactly_when_a_task_could_start_and_the_dispatcher_leaves_none() {
    let (seeds, mut reserved) = (seeds(300), 0);
    for seed in &seeds {
        let _say = SaySeed("brute force", *seed);
        let mut run = Run::begin(*seed);
        compare(&run.engine.state);
        for _ in 0..120 {
            if *seed % 4 == 0 {
                run.random_step()
            } else {
                run.calm_step()
            }
            compare(&run.engine.state);
            agree_later(&run.engine.state);
            if run.engine.state.is_finished() {
                break;
            }
            reserved += usize::from(!run.engine.state.reservations.is_empty());
        }
    }
    assert!(seeds.len() < 20 || reserved > seeds.len(), "too few reservations to prove anything: {reserved}");
}
