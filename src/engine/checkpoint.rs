//! A State as text and back: a cache of the journal, so that resuming a long session does not read all of it again. It is
//! bound to the version that wrote it and may be thrown away at any time: unlike facts, its form is no contract. Indexes
//! and counters are not stored but made again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arrival::Heard;
use super::barriers::RunBarrier;
use super::breaker::Tripped;
use super::bucket::Bucket;
use super::care::Kept;
use super::definition::{
    AgentDefinition, BarrierDefinition, ExecutionPhase, FallbackDefinition, Goal, Requirements, ResourceDefinition,
    ResourceKind, Settings, StateTransition, TaskDefinition, WindowDefinition, WorkflowStage,
};
use super::fact::{Ending, Fact, Stamped, Target};
use super::health::LostAgent;
use super::ids::{AgentId, Amount, FallbackId, ResourceId, Span, StageId, TaskId, Time};
use super::locks::{Lock, Locks};
use super::meetings::Meetings;
use super::message::Command;
use super::overload::Overload;
use super::posts::Posts;
use super::shared::Shared;
use super::state::{Changes, ClassId, Done, Live, Past, Phase, Reservation, Resource, Saga, State, Transition};

/// Form of what follows. Another one is not read.
pub const CHECKPOINT_VERSION: u32 = 17;

/// What was last said of a goal.
type Said = Option<(bool, Time, Arc<str>)>;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    now: Time,
    started: Time,
    settings: Settings,
    resources: Vec<StoredResource>,
    windows: Vec<WindowDefinition>,
    breaker: Tripped,
    shared: Shared,
    locks: (Vec<Lock>, u64, u64),
    meetings: Meetings,
    posts: Posts,
    overload: Option<Overload>,
    ignores_overload: bool,
    agents: Vec<StoredAgent>,
    stages: Vec<WorkflowStage>,
    /// Of each stage: whether it was entered, and its round.
    rounds: Vec<(bool, u32)>,
    transitions: Vec<StoredTransition>,
    /// Each with whether it ended by a failure.
    phases: Vec<(ExecutionPhase, bool)>,
    /// Each with what was last said of it.
    goals: Vec<(Goal, Said)>,
    fallbacks: Vec<FallbackDefinition>,
    /// What the condition of each stage came to.
    decided: Vec<Option<(bool, Arc<str>)>>,
    definitions: Vec<Arc<TaskDefinition>>,
    /// So many of them were there from the start.
    first_tasks: usize,
    /// Each with what broke it, if those before it have not been told.
    barriers: Vec<(BarrierDefinition, Option<Arc<str>>)>,
    sagas: Vec<Saga>,
    completed: Vec<TaskId>,
    /// All of them, in the order in which they were made: what runs now need not be what was declared.
    classes: Vec<(Requirements, Option<Span>)>,
    /// Some task has, or had, a condition.
    has_conditions: bool,
    /// Names under which something was or may be published.
    metrics: Vec<String>,
    tasks: Vec<StoredTask>,
    retries: u64,
    by_fallback: u32,
    #[serde(default)]
    published: u64,
    ended_attempts: (u64, u64),
    paused: bool,
    ending: Option<Ending>,
    reservations: BTreeMap<Target, (TaskId, Time)>,
    undo: VecDeque<(Command, Command)>,
    redo: VecDeque<(Command, Command)>,
    actions: VecDeque<Done>,
    next_log: u64,
    opened: u32,
    boot_id: String,
    console_pid: i32,
    closed: Option<i32>,
}

#[derive(Serialize, Deserialize)]
struct StoredResource {
    definition: ResourceDefinition,
    capacity: Amount,
    peak: Amount,
    bucket: Option<Bucket>,
}

#[derive(Serialize, Deserialize)]
struct StoredAgent {
    definition: AgentDefinition,
    /// How much it has of what now: may be changed since.
    capacities: Vec<(ResourceId, Amount)>,
    slots: u32,
    busy_ms: u64,
    busy_since: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<LostAgent>,
    ran: (u64, u64),
}

#[derive(Serialize, Deserialize)]
struct StoredTransition {
    definition: StateTransition,
    taken: u32,
    decided: bool,
    last: Option<(bool, Arc<str>)>,
}

#[derive(Serialize, Deserialize)]
struct StoredTask {
    phase: Phase,
    #[serde(default, skip_serializing_if = "is_default")]
    held: bool,
    since: Time,
    ready_at: Time,
    #[serde(default, skip_serializing_if = "is_default")]
    priority: i32,
    #[serde(default, skip_serializing_if = "is_default")]
    unmet: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    dead: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    attempt: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    tries: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    fallbacks_taken: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    fallback: Option<FallbackId>,
    /// With a fallback.
    #[serde(default, skip_serializing_if = "is_default")]
    class: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    due: Option<Time>,
    #[serde(default, skip_serializing_if = "is_default")]
    deadline: Option<Time>,
    #[serde(default, skip_serializing_if = "is_default")]
    live: Option<Box<Live>>,
    #[serde(default, skip_serializing_if = "is_default")]
    past: Option<Arc<Vec<Past>>>,
    #[serde(default, skip_serializing_if = "is_default")]
    because: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heard: Option<Heard>,
    #[serde(default, skip_serializing_if = "is_default")]
    excused: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    passed: bool,
    /// Of a join: what it waits for that is not done, what of it never can be, and whether it was said that it is enough.
    #[serde(default, skip_serializing_if = "is_default")]
    join: Option<(u32, u32, bool)>,
    kept: Option<Arc<Kept>>,
    #[serde(default, skip_serializing_if = "is_default")]
    removed: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl State {
    /// The whole State as text (RON, one line).
    ///
    /// # Errors
    /// A value that RON cannot write.
    pub fn to_checkpoint(&self) -> Result<String, String> {
        let resource = |resource: &Resource| StoredResource {
            definition: resource.definition.clone(),
            capacity: resource.capacity,
            peak: resource.peak,
            bucket: resource.bucket,
        };
        let agent = |index: usize| {
            let agent = self.agents.at(index);
            StoredAgent {
                definition: (*agent.definition).clone(),
                capacities: agent.resources.iter().map(|(id, amount, _)| (*id, *amount)).collect(),
                slots: agent.slots,
                busy_ms: agent.busy_ms,
                busy_since: agent.busy_since,
                lost: agent.lost.clone(),
                ran: agent.ran,
            }
        };
        let task = |index: usize| {
            let task = self.tasks.at(index);
            StoredTask {
                phase: task.phase,
                held: task.held,
                since: task.since,
                ready_at: task.ready_at,
                priority: task.priority,
                unmet: task.unmet,
                dead: task.dead,
                attempt: task.attempt,
                tries: task.tries,
                fallbacks_taken: task.fallbacks_taken,
                fallback: task.fallback,
                class: task.fallback.map(|_| task.class.0),
                due: task.due,
                deadline: task.deadline,
                live: task.live.clone(),
                past: task.past.clone(),
                because: task.because.clone(),
                heard: task.heard.as_deref().cloned(),
                excused: task.excused,
                passed: task.passed,
                join: task.join.as_ref().map(|join| (join.unmet, join.dead, join.settled)),
                kept: task.kept.clone(),
                removed: task.removed,
            }
        };
        let stored = Stored {
            version: CHECKPOINT_VERSION,
            now: self.now,
            started: self.started,
            settings: (*self.settings).clone(),
            resources: self.resources.iter().map(resource).collect(),
            windows: (*self.windows).clone(),
            breaker: self.breaker.clone(),
            shared: (*self.shared).clone(),
            locks: (self.locks.all().cloned().collect(), self.locks.count, self.locks.fences),
            meetings: (*self.meetings).clone(),
            posts: (*self.posts).clone(),
            overload: self.overload.clone(),
            ignores_overload: self.ignores_overload,
            agents: (0..self.agents.len()).map(agent).collect(),
            stages: self.stages.iter().map(|stage| (*stage.definition).clone()).collect(),
            rounds: self.stages.iter().map(|stage| (stage.entered, stage.round)).collect(),
            transitions: self.transitions.iter().map(stored_transition).collect(),
            goals: self.goals.iter().map(|goal| (goal.definition.clone(), goal.said.clone())).collect(),
            phases: self.phases.iter().map(|phase| (phase.definition.clone(), phase.ended)).collect(),
            decided: self.stages.iter().map(|stage| stage.decided.clone()).collect(),
            fallbacks: (*self.fallbacks).clone(),
            definitions: self.definitions.iter().cloned().collect(),
            first_tasks: self.first_tasks,
            barriers: {
                let stored = |barrier: &RunBarrier| ((*barrier.definition).clone(), barrier.broken.clone());
                self.barriers.iter().map(stored).collect()
            },
            sagas: (*self.sagas).clone(),
            completed: (*self.completed).clone(),
            classes: self.classes.iter().map(|class| (class.requirements.clone(), class.estimate)).collect(),
            has_conditions: self.has_conditions,
            metrics: self.metric_names(),
            tasks: (0..self.tasks.len()).map(task).collect(),
            retries: self.retries,
            by_fallback: self.by_fallback,
            published: self.published,
            ended_attempts: self.ended_attempts,
            paused: self.paused,
            ending: self.ending,
            reservations: self.reservations.iter().map(|(on, held)| (*on, (held.task, held.since))).collect(),
            undo: (*self.undo).clone(),
            redo: (*self.redo).clone(),
            actions: (*self.actions).clone(),
            next_log: self.next_log,
            opened: self.opened,
            boot_id: self.boot_id.clone(),
            console_pid: self.console_pid,
            closed: self.closed,
        };
        ron::to_string(&stored).map_err(|error| error.to_string())
    }

    /// The State of a checkpoint. Only a loaded session has one.
    ///
    /// # Errors
    /// It is not one, or of another form: everything must be read from the journal.
    pub fn from_checkpoint(text: &str) -> Result<Self, String> {
        let stored: Stored = ron::from_str(text).map_err(|error| error.to_string())?;
        if stored.version != CHECKPOINT_VERSION || stored.tasks.len() != stored.definitions.len() {
            return Err("a checkpoint of another form".into());
        }
        let mut state = State::default();
        state.now = stored.now;
        state.define(&stored);
        for (index, stored) in stored.resources.iter().enumerate() {
            let entry = state.resources.at_mut(index);
            (entry.capacity, entry.peak, entry.bucket) = (stored.capacity, stored.peak, stored.bucket);
        }
        state.breaker = stored.breaker.clone();
        state.shared = Arc::new(stored.shared.clone());
        state.meetings = Arc::new(stored.meetings.clone());
        state.posts = Arc::new(stored.posts.clone());
        (state.overload, state.ignores_overload) = (stored.overload.clone(), stored.ignores_overload);
        state.loaded = true;
        state.started = stored.started;
        state.connect();
        state.restore_rounds(&stored);
        for (number, saga) in (0..).zip(&stored.sagas) {
            for stage in &saga.stages {
                state.stages.at_mut(stage.index()).saga = Some(number);
            }
        }
        state.sagas = Arc::new(stored.sagas.clone());
        state.completed = Arc::new(stored.completed.clone());
        state.name_tasks();
        for (index, decided) in stored.decided.iter().enumerate() {
            state.stages.at_mut(index).decided.clone_from(decided);
        }
        // Before its tasks: what they use is entered where there is a place for it, also one that was given during the run.
        for (index, agent) in stored.agents.iter().enumerate() {
            state.change_agent(AgentId::from(index), |kept| {
                kept.slots = agent.slots;
                kept.lost.clone_from(&agent.lost);
                let entry = |(id, amount): &(ResourceId, Amount)| (*id, *amount, Amount(0));
                kept.resources = agent.capacities.iter().map(entry).collect();
            });
        }
        for (index, task) in stored.tasks.into_iter().enumerate() {
            state.restore_task(TaskId::from(index), task);
        }
        let (locks, count, fences) = stored.locks;
        for lock in locks.iter().filter(|lock| lock.grant.is_some()) {
            state.resources.at_mut(lock.request.resource.index()).used.0 += lock.request.amount.0;
        }
        state.locks = Arc::new(Locks::of(locks, count, fences));
        for (index, agent) in stored.agents.iter().enumerate() {
            let kept = state.agents.at_mut(index);
            (kept.busy_ms, kept.busy_since, kept.ran) = (agent.busy_ms, agent.busy_since, agent.ran);
        }
        state.count_stages();
        for (index, (_, said)) in stored.goals.iter().enumerate() {
            Arc::make_mut(&mut state.goals)[index].said.clone_from(said);
        }
        for (index, (_, broken)) in stored.barriers.iter().enumerate() {
            Arc::make_mut(&mut state.barriers)[index].broken.clone_from(broken);
        }
        for (index, (_, ended)) in stored.phases.iter().enumerate() {
            Arc::make_mut(&mut state.phases)[index].ended = *ended;
        }
        (state.retries, state.by_fallback, state.ended_attempts) =
            (stored.retries, stored.by_fallback, stored.ended_attempts);
        state.published = stored.published;
        state.count_kept();
        (state.paused, state.ending) = (stored.paused, stored.ending);
        let reservation = |(on, (task, since))| (on, Reservation { task, since });
        state.reservations = stored.reservations.into_iter().map(reservation).collect();
        (state.undo, state.redo) = (Arc::new(stored.undo), Arc::new(stored.redo));
        state.actions = Arc::new(stored.actions);
        (state.next_log, state.opened, state.boot_id) = (stored.next_log, stored.opened, stored.boot_id);
        (state.console_pid, state.closed) = (stored.console_pid, stored.closed);
        state.changes = Changes::default();
        Ok(state)
    }

    fn define(&mut self, stored: &Stored) {
        let resources = stored.resources.iter().map(|resource| Fact::ResourceAdded(resource.definition.clone()));
        let windows = stored.windows.iter().cloned().map(Fact::WindowAdded);
        let agents = stored.agents.iter().map(|agent| Fact::AgentAdded(agent.definition.clone()));
        let stages = stored.stages.iter().cloned().map(Fact::StageAdded);
        let transitions = stored.transitions.iter().map(|stored| Fact::TransitionAdded(stored.definition.clone()));
        let phases = stored.phases.iter().map(|(definition, _)| Fact::PhaseAdded(definition.clone()));
        let goals = stored.goals.iter().map(|(goal, _)| Fact::GoalAdded(goal.clone()));
        let stages = stages.chain(transitions).chain(phases).chain(goals);
        let fallbacks = stored.fallbacks.iter().cloned().map(Fact::FallbackAdded);
        let barriers = stored.barriers.iter().map(|(definition, _)| Fact::BarrierAdded(definition.clone()));
        let settings = std::iter::once(Fact::Configured(Box::new(stored.settings.clone())));
        for fact in
            settings.chain(resources).chain(agents).chain(stages).chain(fallbacks).chain(windows).chain(barriers)
        {
            self.apply(&Stamped { at: stored.now, fact });
        }
        for (requirements, estimate) in &stored.classes {
            self.class_for(requirements, *estimate);
        }
        stored.metrics.iter().for_each(|name| self.add_metric(name));
        self.first_tasks = stored.first_tasks;
        for definition in &stored.definitions {
            self.apply(&Stamped { at: stored.now, fact: Fact::TaskAdded(definition.clone()) });
        }
        self.has_conditions |= stored.has_conditions;
    }

    fn restore_rounds(&mut self, stored: &Stored) {
        for (index, (entered, round)) in stored.rounds.iter().enumerate() {
            let stage = self.stages.at_mut(index);
            (stage.entered, stage.round) = (*entered, *round);
        }
        let transitions = Arc::make_mut(&mut self.transitions);
        for (kept, stored) in transitions.iter_mut().zip(&stored.transitions) {
            (kept.taken, kept.decided, kept.last) = (stored.taken, stored.decided, stored.last.clone());
        }
    }

    /// Who waits for whom.
    fn connect(&mut self) {
        for index in 0..self.stages.len() {
            for before in self.stages.at(index).definition.after.clone() {
                self.stages.at_mut(before.index()).later.push(StageId::from(index));
            }
        }
        for index in 0..self.tasks.len() {
            for before in self.definitions.at(index).clone().after.iter() {
                self.dependents.at_mut(before.index()).push(TaskId::from(index));
            }
        }
    }

    fn restore_task(&mut self, id: TaskId, stored: StoredTask) {
        if let Some(live) = &stored.live {
            for (resource, amount) in live.holds.iter() {
                self.holders.insert((*resource, id));
                let entry = self.resources.at_mut(resource.index());
                if entry.definition.kind != ResourceKind::PerAgent {
                    entry.used.0 += amount.0;
                }
            }
            let holds = live.holds.clone();
            self.change_agent(live.agent, |agent| {
                agent.busy += 1;
                for (resource, amount) in holds.iter() {
                    agent.take(*resource, *amount);
                }
            });
            self.on_agent.insert((live.agent, id));
        }
        let task = self.tasks.at_mut(id.index());
        task.phase = stored.phase;
        task.held = stored.held;
        task.since = stored.since;
        task.ready_at = stored.ready_at;
        task.priority = stored.priority;
        task.unmet = stored.unmet;
        task.dead = stored.dead;
        task.attempt = stored.attempt;
        task.tries = stored.tries;
        task.fallbacks_taken = stored.fallbacks_taken;
        task.fallback = stored.fallback;
        task.class = stored.class.map_or(task.class, ClassId);
        task.due = stored.due;
        task.deadline = stored.deadline;
        task.live = stored.live;
        task.past = stored.past;
        task.because = stored.because;
        task.heard = stored.heard.map(Arc::new);
        task.excused = stored.excused;
        task.passed = stored.passed;
        if let (Some(join), Some(stored)) = (&mut task.join, stored.join) {
            (join.unmet, join.dead, join.settled) = stored;
        }
        task.kept = stored.kept;
        task.removed = stored.removed;
        self.index(id);
        self.enter_barrier(id);
    }

    fn count_stages(&mut self) {
        for id in (0..self.tasks.len()).map(TaskId::from) {
            if self.task(id).phase == Phase::Failed
                && !self.task(id).excused
                && let Some(phase) = self.stage(self.definition(id).stage).phase
            {
                Arc::make_mut(&mut self.phases)[phase.index()].failed += 1;
            }
        }
        for index in 0..self.stages.len() {
            let tasks: Vec<TaskId> = self.stages.at(index).tasks.iter().copied().collect();
            let open = |id: &&TaskId| {
                let task = self.task(**id);
                !task.phase.is_satisfied() && !task.excused
            };
            let open = tasks.iter().filter(open).count();
            let dead = |id: &&TaskId| {
                let task = self.task(**id);
                !task.excused && (task.phase.is_dead() || (task.phase == Phase::Waiting && task.dead > 0))
            };
            let dead = tasks.iter().filter(dead).count();
            let stage = self.stages.at_mut(index);
            (stage.remaining, stage.dead) = (open as u32, dead as u32);
        }
        for index in 0..self.stages.len() {
            let after = self.stages.at(index).definition.after.clone();
            let unmet = after.iter().filter(|before| self.stage(**before).remaining > 0).count();
            self.stages.at_mut(index).unmet = unmet as u32;
        }
    }
}

fn stored_transition(transition: &Transition) -> StoredTransition {
    let Transition { definition, taken, decided, last } = transition.clone();
    StoredTransition { definition, taken, decided, last }
}
