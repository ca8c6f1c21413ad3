//! The definitions of a workflow enter the State: resources, agents, stages, tasks with their classes and pools; then who
//! waits for whom. Knows nothing of attempts.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Agent, Class, ClassId, Joining, Phase, Pool, PoolId, Resource, Stage, State, Tally, Task};
use crate::engine::bucket::Bucket;
use crate::engine::definition::{
    AgentDefinition, Deadline, Join, Requirements, ResourceDefinition, ResourceKind, Settings, TaskConstraint,
    TaskDefinition, TaskType, Trigger, WorkflowStage,
};
use crate::engine::ids::{AgentId, Amount, ResourceId, Span, StageId, TaskId};
use crate::engine::table::Table;

impl State {
    /// A workflow's definitions begin. Those of an earlier one whose end was never stored are forgotten.
    pub(super) fn begin_workflow(&mut self, settings: &Settings) {
        if !self.loaded {
            let (now, opened, closed, console_pid) = (self.now, self.opened, self.closed, self.console_pid);
            let (boot_id, changes) = (std::mem::take(&mut self.boot_id), std::mem::take(&mut self.changes));
            let figures = self.figures;
            *self = Self { now, opened, closed, console_pid, boot_id, changes, figures, ..Self::default() };
        }
        self.has_conditions |= settings.pause_while.is_some();
        self.settings = Arc::new(settings.clone());
        if !self.loaded {
            self.declare_state();
        }
    }

    pub(super) fn add_resource(&mut self, definition: &ResourceDefinition) {
        let capacity = match definition.kind {
            ResourceKind::Lock => Amount::WHOLE_LOCK,
            ResourceKind::Pool(amount) => amount,
            ResourceKind::PerAgent => Amount(0),
            ResourceKind::Rate { amount, .. } => amount,
        };
        let bucket = match definition.kind {
            ResourceKind::Rate { amount, per } => Some(Bucket::full(amount, per, self.now)),
            _ => None,
        };
        let (definition, peak, used) = (definition.clone(), capacity, Amount(0));
        self.resources.push(Resource { definition, capacity, used, peak, bucket });
    }

    pub(super) fn add_agent(&mut self, definition: &AgentDefinition) {
        let id = AgentId::from(self.agents.len());
        self.agents.push(Agent {
            slots: definition.slots,
            busy: 0,
            resources: definition.resources.iter().map(|(id, amount)| (*id, *amount, Amount(0))).collect(),
            pools: Vec::new(),
            definition: Arc::new(definition.clone()),
            busy_ms: 0,
            busy_since: self.now,
            lost: None,
            ran: (0, 0),
        });
        if definition.slots > 0 {
            self.free_agents.insert((0, id));
        }
        let member = |pool: &Pool| {
            pool.only.is_none_or(|only| only == id)
                && !pool.not.contains(&id)
                && pool.capabilities.iter().all(|name| definition.capabilities.contains(name))
        };
        let pools: Vec<PoolId> =
            (0..self.pools.len()).filter(|n| member(&self.pools[*n])).map(|n| PoolId(n as u32)).collect();
        for pool in &pools {
            Arc::make_mut(&mut self.pools)[pool.0 as usize].agents.push(id);
        }
        self.agents.at_mut(id.index()).pools = pools;
        self.note_agent(id);
    }

    pub(super) fn add_stage(&mut self, definition: &WorkflowStage) {
        self.stages.push(Stage {
            definition: Arc::new(definition.clone()),
            tasks: Table::default(),
            remaining: 0,
            dead: 0,
            unmet: 0,
            later: Vec::new(),
            counts: Tally::default(),
            phase: None,
            leads: Vec::new(),
            led_by: Vec::new(),
            entered: true,
            round: 1,
            decided: None,
            saga: None,
        });
        if self.loaded && self.has_conditions {
            let id = StageId::from(self.stages.len() - 1);
            let name = self.stage_name(id);
            let at = self.stages_by_name.partition_point(|other| self.stage_name(*other) < name);
            Arc::make_mut(&mut self.stages_by_name).insert(at, id);
        }
    }

    pub(super) fn add_task(&mut self, definition: &Arc<TaskDefinition>) {
        let id = TaskId::from(self.tasks.len());
        let class = self.class_for(&definition.requirements, definition.estimate);
        self.definitions.push(definition.clone());
        self.dependents.push(SmallVec::new());
        self.tasks.push(Task {
            phase: Phase::Waiting,
            held: false,
            since: self.now,
            ready_at: self.now,
            priority: definition.priority,
            unmet: 0,
            dead: 0,
            class,
            attempt: 0,
            tries: 0,
            fallbacks_taken: 0,
            fallback: None,
            due: None,
            deadline: None,
            live: None,
            past: None,
            because: None,
            heard: None,
            excused: false,
            passed: false,
            join: joining(definition),
            kept: None,
            removed: false,
        });
        self.declare(definition);
        if definition.task_type.template().is_none() && self.class(class).window.is_some() {
            Arc::make_mut(&mut self.windowed).push(id);
        }
        self.stages.at_mut(definition.stage.index()).tasks.push(id);
        if self.loaded {
            self.join_in(id);
        } else {
            self.stages.at_mut(definition.stage.index()).remaining += 1;
        }
    }

    /// The class of what asks for this; made if there is none.
    pub(in crate::engine) fn class_for(&mut self, requirements: &Requirements, estimate: Option<Span>) -> ClassId {
        let key = (requirements.clone(), estimate);
        if let Some(class) = self.class_ids.get(&key) {
            return *class;
        }
        let (requirements, estimate) = key.clone();
        let per_agent = |id: ResourceId| self.resource(id).definition.kind == ResourceKind::PerAgent;
        let (local, shared): (Vec<_>, Vec<_>) = requirements
            .resources
            .iter()
            .map(|need| (need.resource, need.amount))
            .partition(|(resource, _)| per_agent(*resource));
        let (mut only, mut not, mut window, mut same_as, mut prefer) = (None, Vec::new(), None, None, None);
        for constraint in &requirements.constraints {
            match constraint {
                TaskConstraint::OnAgent(agent) => only = Some(*agent),
                TaskConstraint::NotOnAgent(agent) => not.push(*agent),
                TaskConstraint::SameAgentAs(task) => same_as = Some(*task),
                TaskConstraint::PreferAgent(agent) => prefer = Some(*agent),
                TaskConstraint::Within(id) => window = Some(*id),
            }
        }
        not.sort_unstable();
        let pool = self.pool_for(&requirements.capabilities, only, &not);
        if let Some(task) = same_as {
            // One for each agent on which that task may run, now or once it offers other things, and one for those on
            // which this one must not.
            let agents = (0..self.agents.len()).map(AgentId::from);
            for agent in agents.chain([super::control::NOWHERE]) {
                self.pool_for(&requirements.capabilities, Some(agent), &not);
            }
            let class = ClassId(self.classes.len() as u32);
            Arc::make_mut(&mut self.followers).entry(task).or_default().push(class);
        }
        let held = |(resource, _): &&(ResourceId, Amount)| self.resource(*resource).bucket.is_none();
        let holds = Arc::new(shared.iter().filter(held).chain(&local).copied().collect());
        let id = ClassId(self.classes.len() as u32);
        self.classes.push(Class { requirements, estimate, shared, local, window, same_as, prefer, holds, pool });
        Arc::make_mut(&mut self.class_ids).insert(key, id);
        id
    }

    fn pool_for(&mut self, capabilities: &[String], only: Option<AgentId>, not: &[AgentId]) -> PoolId {
        let key = (capabilities.to_vec(), only, not.to_vec());
        if let Some(id) = self.pool_ids.get(&key) {
            return *id;
        }
        let id = PoolId(self.pools.len() as u32);
        let offers = |agent: &AgentId| {
            only.is_none_or(|only| only == *agent)
                && !not.contains(agent)
                && capabilities.iter().all(|name| self.agent(*agent).definition.capabilities.contains(name))
        };
        let agents: Vec<AgentId> = (0..self.agents.len()).map(AgentId::from).filter(offers).collect();
        for agent in &agents {
            self.agents.at_mut(agent.index()).pools.push(id);
        }
        Arc::make_mut(&mut self.pool_ids).insert(key, id);
        Arc::make_mut(&mut self.pools).push(Pool {
            capabilities: capabilities.to_vec(),
            only,
            not: not.to_vec(),
            agents,
        });
        id
    }

    /// Conditions speak of tasks by name.
    pub(in crate::engine) fn name_tasks(&mut self) {
        if self.has_conditions {
            let mut by_name: Vec<TaskId> = (0..self.tasks.len()).map(TaskId::from).collect();
            by_name.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
            self.by_name = Arc::new(by_name);
            let mut stages: Vec<StageId> = (0..self.stages.len()).map(StageId::from).collect();
            stages.sort_unstable_by(|a, b| self.stage_name(*a).cmp(self.stage_name(*b)));
            self.stages_by_name = Arc::new(stages);
        }
    }

    /// Everything is known: who waits for whom is counted, and what waits for nothing is ready.
    pub(super) fn load(&mut self) {
        (self.loaded, self.first_tasks) = (true, self.tasks.len());
        self.started = self.now;
        self.name_tasks();
        for index in 0..self.stages.len() {
            let definition = self.stages.at(index).definition.clone();
            let unmet = definition.after.iter().filter(|before| self.stage(**before).remaining > 0);
            self.stages.at_mut(index).unmet = unmet.count() as u32;
            for before in &definition.after {
                self.stages.at_mut(before.index()).later.push(StageId::from(index));
            }
        }
        for index in 0..self.tasks.len() {
            let id = TaskId::from(index);
            let definition = self.definition(id).clone();
            let arrives = self.arrives(id);
            let task = self.wait_for_all(id, &definition);
            if task.unmet == 0 {
                task.phase = if arrives { Phase::Arrived } else { Phase::Ready };
            }
            self.index(id);
            self.enter_barrier(id);
        }
        // Transitions that can never be taken are found at once.
        let leaving: Vec<StageId> = self.transitions.iter().map(|transition| transition.definition.from).collect();
        self.note_stages(leaving);
    }
}

impl State {
    /// A task enters as if nothing that it waits for had happened.
    pub(super) fn wait_for_all(&mut self, id: TaskId, definition: &TaskDefinition) -> &mut Task {
        for before in &definition.after {
            // In their order, which is that of their numbers unless one was changed.
            let dependents = self.dependents.at_mut(before.index());
            let at = dependents.iter().rposition(|other| *other < id).map_or(0, |at| at + 1);
            dependents.insert(at, id);
        }
        let closed = u32::from(self.stage(definition.stage).is_closed());
        let deadline = definition.deadline.map(|deadline| match deadline {
            Deadline::After(span) => self.started.plus(span),
            Deadline::At(time) => time,
        });
        let now = self.now;
        let task = self.tasks.at_mut(id.index());
        task.unmet = needed(definition) + closed;
        (task.deadline, task.since, task.ready_at) = (deadline, now, now);
        task
    }

    /// All tasks of the list of this one were added: it waits for them too from now on.
    pub(super) fn wait_for_made(&mut self, id: TaskId, tasks: u32) {
        let made = self.made_by(id);
        let mut definition = (**self.definition(id)).clone();
        if let TaskType::Foreach(foreach) = &mut definition.task_type {
            Arc::make_mut(foreach).made = Some(tasks);
        }
        definition.after.extend(&made);
        *self.definitions.at_mut(id.index()) = Arc::new(definition);
        let (mut unmet, mut dead) = (0, 0);
        for task in made {
            self.dependents.at_mut(task.index()).push(id);
            let (is_met, is_dead) = self.stands(task);
            unmet += u32::from(!is_met);
            dead += u32::from(is_dead);
        }
        let now = self.now;
        self.edit(id, |t| {
            t.unmet += unmet;
            t.dead += dead;
            if t.unmet > 0 {
                t.queue(now);
            }
        });
        if unmet == 0 {
            self.ask_again(id);
        }
    }

    /// Conditions speak of a task by name that was added while the workflow runs.
    pub(super) fn name_task(&mut self, id: TaskId) {
        if !self.has_conditions {
            return;
        }
        if self.by_name.len() + 1 < self.tasks.len() {
            // The first condition came with it.
            self.name_tasks();
            return;
        }
        let name = self.name(id);
        let at = self.by_name.partition_point(|other| self.name(*other) < name);
        Arc::make_mut(&mut self.by_name).insert(at, id);
    }
}

/// How many of those that a task waits for must come to pass.
fn needed(definition: &TaskDefinition) -> u32 {
    let all = definition.after.len() as u32;
    definition.join.enough.map_or(all, |enough| enough.min(all))
}

pub(super) fn joining(definition: &TaskDefinition) -> Option<Box<Joining>> {
    if definition.join == Join::default() {
        return None;
    }
    let all = definition.after.len() as u32;
    let (spare, over) = (all - needed(definition), definition.join.trigger == Trigger::AllOver);
    Some(Box::new(Joining { spare, over, unmet: all, dead: 0, settled: false }))
}
