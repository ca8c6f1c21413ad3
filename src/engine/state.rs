//! The State: the fold of the facts. `apply` is the only way in, `edit` the only way a task changes, so every index and
//! counter is kept in one place. Cloning is cheap (copy on write), which is what screens and what-if live on.
//!
//! ```text
//!            unmet = 0             room                 spawned            leader ended, others live on
//!  Waiting ────────────► Ready ──────────► Starting ──────────► Running ──────────────► Lingering
//!     ▲                    ▲ ▲                │  │                 │  └─► Stopping ────────┤
//!     │ unmet > 0          │ └── Delayed ◄────┘  └────────┬────────┴──────────────────────┘
//!     └────────────────────┘   (retry, no room to spawn)  ▼
//!  Skipped, Cancelled ◄── by command          Succeeded · Failed · Cancelled · Lost
//! ```
//! Held is a flag of a task that does not run yet; Blocked is Waiting with a failed task among those it waits for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::definition::{
    AgentDefinition, CommandSpec, Deadline, FallbackDefinition, FallbackStrategy, OnLost, Requirements,
    ResourceDefinition, ResourceKind, Settings, TaskConstraint, TaskDefinition, TaskType, WorkflowStage,
};
use super::fact::{Ending, Fact, Outcome, Stamped, Target, Then};
use super::ids::{AgentId, Amount, Attempt, FallbackId, ResourceId, Span, StageId, TaskId, Time};
use super::message::{Command, Exit, Origin, Process, StopReason, StopSignal, Usage};
use super::order::Order;
use super::table::Table;

/// How many commands can be taken back.
pub const UNDO_DEPTH: usize = 100;
/// How many ended attempts of a task are remembered in the State (all are in the journal).
pub const ATTEMPTS_KEPT: usize = 16;
/// How many operator commands are remembered for the action log.
pub const ACTIONS_KEPT: usize = 200;

/// Where a task stands. See the picture above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Something it waits for is not done.
    Waiting,
    /// Waits for room.
    Ready,
    /// Waits for the time in [`Task::due`].
    Delayed,
    /// Holds its resources, is being spawned.
    Starting,
    /// Its process runs.
    Running,
    /// It is being stopped.
    Stopping,
    /// Its leader ended, processes of it live on.
    Lingering,
    /// Done.
    Succeeded,
    /// Failed for good.
    Failed,
    /// Counts as done.
    Skipped,
    /// Will not run.
    Cancelled,
    /// Nothing can be proved; waits for the operator.
    Lost,
}

/// How many phases there are.
pub const PHASES: usize = 12;

impl Phase {
    /// It has a live attempt.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping | Self::Lingering)
    }
    /// What waits for it may go on.
    pub fn is_satisfied(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }
    /// What waits for it cannot run unless it is retried.
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled)
    }
    /// Not yet started, or between attempts.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Ready | Self::Delayed)
    }
}

/// A task's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Where it stands.
    pub phase: Phase,
    /// The operator holds it.
    pub held: bool,
    /// Since when it stands there.
    pub since: Time,
    /// When it became ready, for aging.
    pub ready_at: Time,
    /// Higher first.
    pub priority: i32,
    /// How many of the tasks (and stages) it waits for are not done; its stage counts as one while it is closed.
    pub unmet: u32,
    /// How many of those can never be, as things are.
    pub dead: u32,
    /// Its requirement class.
    pub class: ClassId,
    /// Number of its last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts that count against its retry limit with the present command.
    pub tries: u32,
    /// How many of its fallbacks have been taken.
    pub fallbacks_taken: u32,
    /// Runs this in its place.
    pub fallback: Option<FallbackId>,
    /// End of its delay.
    pub due: Option<Time>,
    /// Its deadline, absolute.
    pub deadline: Option<Time>,
    /// Its live attempt.
    pub live: Option<Box<Live>>,
    /// Its ended attempts, oldest first, the last [`ATTEMPTS_KEPT`].
    pub past: Option<Arc<Vec<Past>>>,
}

/// A live attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Where.
    pub agent: AgentId,
    /// When it took its resources.
    pub started: Time,
    /// What it holds of the session's and its agent's resources.
    pub holds: Arc<Vec<(ResourceId, Amount)>>,
    /// How long it is thought to take.
    pub estimate: Option<Span>,
    /// Its process, once spawned, and since when.
    pub process: Option<(Process, Time)>,
    /// Number of its output file.
    pub log: Option<u64>,
    /// It is being stopped: why, how hard, since when.
    pub stop: Option<(StopReason, StopSignal, Time)>,
    /// Its leader ended: how, usage, output, how many live on.
    pub exited: Option<(Exit, Usage, u64, u32)>,
    /// Another console started it.
    pub adopted: bool,
    /// Its leader ended before anything asked it to stop: how it ended is its outcome, whatever is asked since.
    pub by_itself: bool,
    /// Which opening of the session ([`State::opened`]) started it or adopted it last.
    pub console: u32,
}

/// An ended attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its number.
    pub attempt: Attempt,
    /// Where.
    pub agent: AgentId,
    /// When it took its resources.
    pub started: Time,
    /// When it was over.
    pub ended: Time,
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// Number of its output file, if it wrote anything.
    pub log: Option<u64>,
    /// It ran this fallback.
    pub fallback: Option<FallbackId>,
}

/// A requirement class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

/// A set of agents that offer the same things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

/// Tasks that ask for the same are of one class: what blocks one blocks all.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// What they ask for.
    pub requirements: Requirements,
    /// How long they are thought to take (a class has one estimate, so that backfill can judge it).
    pub estimate: Option<Span>,
    /// Of the session's resources.
    pub shared: Vec<(ResourceId, Amount)>,
    /// Of the per-agent resources.
    pub local: Vec<(ResourceId, Amount)>,
    /// Both, as a live attempt holds them.
    pub holds: Arc<Vec<(ResourceId, Amount)>>,
    /// Which agents can do it.
    pub pool: PoolId,
}

/// Names asked for, and the only agent allowed.
type PoolKey = (Vec<String>, Option<AgentId>);

/// Agents that offer what a class asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Names asked for.
    pub capabilities: Vec<String>,
    /// Only this agent.
    pub only: Option<AgentId>,
    /// Sorted.
    pub agents: Vec<AgentId>,
}

/// A resource's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Name and kind.
    pub definition: ResourceDefinition,
    /// How much there is (of a per-agent resource: nothing; see the agents).
    pub capacity: Amount,
    /// How much is taken.
    pub used: Amount,
}

/// An agent's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Name, capabilities.
    pub definition: Arc<AgentDefinition>,
    /// Slots now.
    pub slots: u32,
    /// Slots taken.
    pub busy: u32,
    /// Its resources: which, how much, how much is taken. Sorted.
    pub resources: Vec<(ResourceId, Amount, Amount)>,
    /// Pools it belongs to.
    pub pools: Vec<PoolId>,
    /// Total slot time used, ms, up to the last change.
    pub busy_ms: u64,
    /// When `busy` last changed.
    pub busy_since: Time,
}

impl Agent {
    /// How much of a resource is free here.
    pub fn free(&self, resource: ResourceId) -> Amount {
        self.resources
            .binary_search_by_key(&resource, |entry| entry.0)
            .map_or(Amount(0), |at| Amount(self.resources[at].1.0.saturating_sub(self.resources[at].2.0)))
    }
    /// How much of a resource there is here.
    pub fn capacity(&self, resource: ResourceId) -> Amount {
        self.resources.binary_search_by_key(&resource, |entry| entry.0).map_or(Amount(0), |at| self.resources[at].1)
    }
    pub(super) fn take(&mut self, resource: ResourceId, amount: Amount) {
        if let Ok(at) = self.resources.binary_search_by_key(&resource, |entry| entry.0) {
            self.resources[at].2.0 += amount.0;
        }
    }
    fn give(&mut self, resource: ResourceId, amount: Amount) {
        if let Ok(at) = self.resources.binary_search_by_key(&resource, |entry| entry.0) {
            self.resources[at].2.0 -= amount.0;
        }
    }
}

/// A stage's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Name and the stages before it.
    pub definition: Arc<WorkflowStage>,
    /// Its tasks, by index.
    pub tasks: Table<TaskId>,
    /// How many of its tasks are not done.
    pub remaining: u32,
    /// How many of them never can be, as things are.
    pub dead: u32,
    /// How many of the stages before it are not over.
    pub unmet: u32,
    /// The stages that wait for it.
    pub later: Vec<StageId>,
    /// Tasks by phase as shown: see [`Shown`].
    pub counts: Tally,
}

/// A reservation: what is kept free for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// For whom.
    pub task: TaskId,
    /// Since when.
    pub since: Time,
}

/// What a task is doing, as people see it: the phase, told apart by hold and failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// Has a live attempt.
    Running,
    /// Is being stopped, or lingers.
    Stopping,
    /// Waits for room.
    Ready,
    /// Waits out a delay.
    Delayed,
    /// Waits for others.
    Waiting,
    /// Held.
    Held,
    /// Lost.
    Lost,
    /// Failed.
    Failed,
    /// Waits for something that failed.
    Blocked,
    /// Cancelled.
    Cancelled,
    /// Skipped.
    Skipped,
    /// Done.
    Succeeded,
}

/// How many tasks are shown in each way, by `Shown as usize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally(pub [u32; PHASES]);

impl Tally {
    /// How many are shown so.
    pub fn of(&self, shown: Shown) -> usize {
        self.0[shown as usize] as usize
    }
}

/// Place of a ready task in the queue: smaller starts first.
///
/// Priority, less one point for each [`Settings::aging`] that it became ready later; then deadline; then age; then the
/// order of the file. It does not change while the task waits, so nothing is ever sorted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Ready time in aging steps, less the priority.
    pub step: i64,
    /// The deadline, or the end of time.
    pub deadline: Time,
    /// Since when it is ready.
    pub ready_at: Time,
    /// Which.
    pub task: TaskId,
}

impl Rank {
    /// Before every rank.
    pub const FIRST: Rank = Rank { step: i64::MIN, deadline: Time(0), ready_at: Time(0), task: TaskId(0) };
}

/// A row's place in the grouped queue: stage, then how it is shown, then a key of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DisplayKey {
    /// Its stage.
    pub stage: StageId,
    /// How it is shown.
    pub shown: Shown,
    /// Its rank if ready; else its priority, then what fits the phase.
    pub key: (i64, u64, u64),
    /// Which.
    pub task: TaskId,
}

/// Who did what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// When.
    pub at: Time,
    /// Who.
    pub by: Origin,
    /// What.
    pub what: DoneWhat,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DoneWhat {
    /// A command.
    Command(Command),
    /// Undo of one.
    Undo(Command),
    /// Redo of one.
    Redo(Command),
}

/// What changed since the dispatcher last looked. Not part of what a State is.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// A dispatcher looks: without one (a replay) nothing is noted.
    pub noted: bool,
    /// Classes whose first ready task may be another.
    pub classes: Vec<ClassId>,
    /// Resources of which some was given back.
    pub resources: Vec<ResourceId>,
    /// Agents with new room.
    pub agents: Vec<AgentId>,
    /// Reservations that ended, or have more room behind them.
    pub reservations: Vec<Target>,
}

/// The fold of the facts.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Time of the last fact or input.
    pub now: Time,
    /// When the run began.
    pub started: Time,
    /// All definitions are in.
    pub loaded: bool,
    /// What holds for the whole run.
    pub settings: Arc<Settings>,
    /// By id.
    pub resources: Table<Resource>,
    /// By id.
    pub agents: Table<Agent>,
    /// By id.
    pub stages: Table<Stage>,
    /// By id.
    pub fallbacks: Arc<Vec<FallbackDefinition>>,
    /// By id: what never changes.
    pub definitions: Table<Arc<TaskDefinition>>,
    /// By id: what changes.
    pub tasks: Table<Task>,
    /// Who waits for a task.
    pub dependents: Table<SmallVec<[TaskId; 2]>>,
    /// Requirement classes.
    pub classes: Table<Class>,
    class_ids: Arc<BTreeMap<(Requirements, Option<Span>), ClassId>>,
    /// Sets of agents.
    pub pools: Arc<Vec<Pool>>,
    pool_ids: Arc<BTreeMap<PoolKey, PoolId>>,

    /// Ready tasks by class and rank.
    pub ready: Order<(ClassId, Rank)>,
    /// Tasks by the time at which something is due for them.
    pub timers: Order<(Time, TaskId)>,
    /// All tasks as the grouped queue shows them.
    pub display: Order<DisplayKey>,
    /// Who holds what.
    pub holders: Order<(ResourceId, TaskId)>,
    /// Who runs where.
    pub on_agent: Order<(AgentId, TaskId)>,
    /// Agents with a free slot, least loaded first (busy share in thousandths).
    pub free_agents: Order<(u32, AgentId)>,
    /// Deadlines of what is not over.
    pub deadlines: Order<(Time, TaskId)>,

    /// All tasks by how they are shown.
    pub counts: Tally,
    /// Tasks with a live attempt.
    pub live: u32,
    /// Attempts after a task's first.
    pub retries: u64,
    /// Tasks that succeeded by a fallback.
    pub by_fallback: u32,
    /// Attempts that ended well, and not.
    pub ended_attempts: (u64, u64),
    /// Nothing new starts.
    pub paused: bool,
    /// The session is ending in this way.
    pub ending: Option<Ending>,
    /// What is kept free, for whom.
    pub reservations: BTreeMap<Target, Reservation>,
    /// Commands that can be taken back, with what takes them back.
    pub undo: Arc<VecDeque<(Command, Command)>>,
    /// Commands that were taken back.
    pub redo: Arc<VecDeque<(Command, Command)>>,
    /// Who did what, oldest first, bounded.
    pub actions: Arc<VecDeque<Done>>,
    /// First output number that no attempt has used.
    pub next_log: u64,
    /// How often a console opened the session, and the last one's boot and pid.
    pub opened: u32,
    /// See `opened`.
    pub boot_id: String,
    /// See `opened`.
    pub console_pid: i32,
    /// The last console closed it in good order, with this exit code.
    pub closed: Option<i32>,

    /// What the dispatcher has not seen.
    pub changes: Changes,
}

impl PartialEq for State {
    /// Equal in everything that facts determine: not in what the dispatcher has seen of it, nor in the time it was last
    /// told, which may have led to no fact.
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
            && self.loaded == other.loaded
            && self.tasks == other.tasks
            && self.fallbacks == other.fallbacks
            && self.dependents == other.dependents
            && self.classes == other.classes
            && self.pools == other.pools
            && self.deadlines.iter().eq(other.deadlines.iter())
            && self.actions == other.actions
            && self.retries == other.retries
            && self.by_fallback == other.by_fallback
            && self.ended_attempts == other.ended_attempts
            && self.opened == other.opened
            && self.boot_id == other.boot_id
            && self.console_pid == other.console_pid
            && self.closed == other.closed
            && self.definitions == other.definitions
            && self.resources == other.resources
            && self.agents == other.agents
            && self.stages == other.stages
            && self.counts == other.counts
            && self.live == other.live
            && self.started == other.started
            && self.paused == other.paused
            && self.ending == other.ending
            && self.reservations == other.reservations
            && self.undo == other.undo
            && self.redo == other.redo
            && self.ready.iter().eq(other.ready.iter())
            && self.timers.iter().eq(other.timers.iter())
            && self.display.iter().eq(other.display.iter())
            && self.holders.iter().eq(other.holders.iter())
            && self.on_agent.iter().eq(other.on_agent.iter())
            && self.free_agents.iter().eq(other.free_agents.iter())
            && self.next_log == other.next_log
    }
}

/// A change of what a task waits for, on its way through the graph.
struct Delta {
    task: TaskId,
    unmet: i32,
    dead: i32,
}

impl State {
    /// The task's changing part.
    pub fn task(&self, id: TaskId) -> &Task {
        self.tasks.at(id.index())
    }
    /// What never changes of it.
    pub fn definition(&self, id: TaskId) -> &Arc<TaskDefinition> {
        self.definitions.at(id.index())
    }
    /// Its name.
    pub fn name(&self, id: TaskId) -> &str {
        &self.definitions.at(id.index()).id
    }
    /// An agent.
    pub fn agent(&self, id: AgentId) -> &Agent {
        self.agents.at(id.index())
    }
    /// A resource.
    pub fn resource(&self, id: ResourceId) -> &Resource {
        self.resources.at(id.index())
    }
    /// A stage.
    pub fn stage(&self, id: StageId) -> &Stage {
        self.stages.at(id.index())
    }
    /// A class.
    pub fn class(&self, id: ClassId) -> &Class {
        self.classes.at(id.0 as usize)
    }
    /// The task's class.
    pub fn class_of(&self, id: TaskId) -> &Class {
        self.class(self.task(id).class)
    }

    /// What the task runs now: its own command or a fallback's.
    pub fn command_of(&self, id: TaskId) -> Arc<CommandSpec> {
        if let Some(fallback) = self.task(id).fallback {
            let FallbackStrategy::Alternative(command) = &self.fallbacks[fallback.index()].strategy;
            return command.clone();
        }
        let TaskType::Run(command) = &self.definition(id).task_type;
        command.clone()
    }

    /// The fallback that it would take next.
    pub fn next_fallback(&self, id: TaskId) -> Option<FallbackId> {
        self.definition(id).fallback.get(self.task(id).fallbacks_taken as usize).copied()
    }

    /// Attempts allowed with the present command.
    pub fn attempts_allowed(&self, id: TaskId) -> u32 {
        if self.task(id).fallback.is_some() { 1 } else { self.definition(id).retry.attempts }
    }

    /// How a task is shown.
    pub fn shown(&self, id: TaskId) -> Shown {
        shown(self.task(id))
    }

    /// A ready task's place in the queue.
    pub fn rank(&self, id: TaskId) -> Rank {
        rank(&self.settings, id, self.task(id))
    }

    /// Nothing can happen by itself any more: nothing runs, waits out a delay or could ever start as things are. (What
    /// is paused could.)
    pub fn is_finished(&self) -> bool {
        if !self.loaded || self.live > 0 {
            return false;
        }
        if self.ending.is_some() {
            return true;
        }
        self.counts.of(Shown::Delayed) == 0 && (self.counts.of(Shown::Ready) == 0 || !self.any_could_start())
    }

    /// Some ready task could start if everything were free. Looks at classes until one can: at the first, but when stuck.
    fn any_could_start(&self) -> bool {
        let mut from = ClassId(0);
        while let Some((class, _)) = self.ready.first_from(&(from, Rank::FIRST)) {
            if self.could_ever_start(self.class(*class)) {
                return true;
            }
            from = ClassId(class.0 + 1);
        }
        false
    }

    /// A class would start if everything were free: there is enough of all it asks, and an agent that offers it.
    pub fn could_ever_start(&self, class: &Class) -> bool {
        let enough = class.shared.iter().all(|(resource, need)| *need <= self.resource(*resource).capacity);
        let pool = &self.pools[class.pool.0 as usize];
        let able = || pool.agents.iter().any(|agent| super::place::could_fit(class, self.agent(*agent)));
        self.settings.max_running != Some(0) && enough && able()
    }

    /// The exit code of a session that ends like this (`design.md`, Command line).
    pub fn exit_code(&self) -> i32 {
        let open = self.counts.of(Shown::Ready)
            + self.counts.of(Shown::Delayed)
            + self.counts.of(Shown::Waiting)
            + self.live as usize;
        if self.counts.of(Shown::Held) + self.counts.of(Shown::Lost) > 0 || (self.ending.is_some() && open > 0) {
            3
        } else if self.counts.of(Shown::Failed) > 0 {
            1
        } else if self.counts.of(Shown::Cancelled) + open > 0 {
            3
        } else {
            0
        }
    }

    /// Folds one fact into the State.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.now = self.now.max(stamped.at);
        let now = self.now;
        match &stamped.fact {
            Fact::Opened { boot_id, pid, .. } => {
                self.opened += 1;
                self.console_pid = *pid;
                self.boot_id.clone_from(boot_id);
                self.closed = None;
                self.ending = None;
            }
            Fact::Recovered { .. } => {}
            Fact::Closed { code } => self.closed = Some(*code),
            Fact::Configured(settings) => self.begin_workflow(settings),
            Fact::ResourceAdded(definition) => self.add_resource(definition),
            Fact::AgentAdded(definition) => self.add_agent(definition),
            Fact::StageAdded(definition) => self.add_stage(definition),
            Fact::FallbackAdded(definition) => Arc::make_mut(&mut self.fallbacks).push(definition.clone()),
            Fact::TaskAdded(definition) => self.add_task(definition),
            Fact::Loaded { .. } => self.load(),
            Fact::Commanded { by, command, inverse } => self.note_command(by, command, inverse.as_ref()),
            Fact::Undone => self.note_undone(),
            Fact::Redone => self.note_redone(),
            Fact::Paused => self.paused = true,
            Fact::Resumed => {
                self.paused = false;
                self.ending = None;
            }
            Fact::Ending(how) => self.ending = Some(*how),
            Fact::PrioritySet { task, priority } => self.edit(*task, |t| t.priority = *priority),
            Fact::SlotsSet { agent, slots } => self.set_slots(*agent, *slots),
            Fact::Held { task } => self.edit(*task, |t| t.held = true),
            Fact::Released { task } => self.edit(*task, |t| {
                t.held = false;
                t.ready_at = now;
            }),
            Fact::Skipped { task } => self.edit(*task, |t| t.stand(Phase::Skipped, now)),
            Fact::Cancelled { task } => self.edit(*task, |t| t.stand(Phase::Cancelled, now)),
            Fact::Requeued { task } => self.edit(*task, |t| {
                t.tries = 0;
                t.queue(now);
            }),
            Fact::Starting { task, attempt, agent } => self.start(*task, *attempt, *agent),
            Fact::Running { task, process, log, .. } => self.runs(*task, process, *log, false),
            Fact::Adopted { task, process, log, .. } => self.runs(*task, process, *log, true),
            Fact::NotStarted { task, until, .. } => {
                self.release(*task);
                self.edit(*task, |t| {
                    t.live = None;
                    t.tries = t.tries.saturating_sub(1);
                    match until {
                        Some(until) => t.delay(*until, now),
                        None => t.queue(now),
                    }
                });
            }
            Fact::Stopping { task, reason, signal, .. } => self.edit(*task, |t| {
                let Some(live) = &mut t.live else { return };
                // The first reason stands, but for the operator's cancel: it also says that nothing is to follow.
                let first = live.stop.map(|(first, _, _)| first).filter(|_| *reason != StopReason::Cancelled);
                let reason = first.unwrap_or(*reason);
                live.stop = Some((reason, *signal, now));
                if t.phase != Phase::Lingering {
                    t.stand(Phase::Stopping, now);
                }
            }),
            Fact::Exited { task, exit, usage, output, left, .. } => self.edit(*task, |t| {
                let Some(live) = &mut t.live else { return };
                live.exited = Some((*exit, *usage, *output, *left));
                live.by_itself = live.stop.is_none();
                t.stand(Phase::Lingering, now);
            }),
            Fact::Ended { task, attempt, outcome, usage, output, then } => {
                self.end(*task, *attempt, outcome, *usage, *output, *then);
            }
            Fact::Due { task } => self.edit(*task, |t| t.queue(now)),
            Fact::FallbackChosen { task, fallback, .. } => {
                self.edit(*task, |t| t.fall_back(*fallback));
            }
            Fact::Reserved { task, on } => {
                self.reservations.insert(*on, Reservation { task: *task, since: now });
            }
        }
    }

    // ── definitions ──────────────────────────────────────────────────────────────────────────────────────────────

    /// A workflow's definitions begin. Those of an earlier one whose end was never stored are forgotten.
    fn begin_workflow(&mut self, settings: &Settings) {
        if !self.loaded {
            let (now, opened, closed, console_pid) = (self.now, self.opened, self.closed, self.console_pid);
            let (boot_id, changes) = (std::mem::take(&mut self.boot_id), std::mem::take(&mut self.changes));
            *self = Self { now, opened, closed, console_pid, boot_id, changes, ..Self::default() };
        }
        self.settings = Arc::new(settings.clone());
    }

    fn add_resource(&mut self, definition: &ResourceDefinition) {
        let capacity = match definition.kind {
            ResourceKind::Lock => Amount::WHOLE_LOCK,
            ResourceKind::Pool(amount) => amount,
            ResourceKind::PerAgent => Amount(0),
        };
        self.resources.push(Resource { definition: definition.clone(), capacity, used: Amount(0) });
    }

    fn add_agent(&mut self, definition: &AgentDefinition) {
        let id = AgentId::from(self.agents.len());
        self.agents.push(Agent {
            slots: definition.slots,
            busy: 0,
            resources: definition.resources.iter().map(|(id, amount)| (*id, *amount, Amount(0))).collect(),
            pools: Vec::new(),
            definition: Arc::new(definition.clone()),
            busy_ms: 0,
            busy_since: self.now,
        });
        if definition.slots > 0 {
            self.free_agents.insert((0, id));
        }
        let member = |pool: &Pool| {
            pool.only.is_none_or(|only| only == id)
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

    fn add_stage(&mut self, definition: &WorkflowStage) {
        self.stages.push(Stage {
            definition: Arc::new(definition.clone()),
            tasks: Table::default(),
            remaining: 0,
            dead: 0,
            unmet: 0,
            later: Vec::new(),
            counts: Tally::default(),
        });
    }

    fn add_task(&mut self, definition: &Arc<TaskDefinition>) {
        let id = TaskId::from(self.tasks.len());
        let class = self.class_for(definition);
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
        });
        let stage = self.stages.at_mut(definition.stage.index());
        stage.tasks.push(id);
        stage.remaining += 1;
    }

    fn class_for(&mut self, definition: &TaskDefinition) -> ClassId {
        let key = (definition.requirements.clone(), definition.estimate);
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
        let only = requirements.constraints.iter().map(|TaskConstraint::OnAgent(agent)| *agent).next();
        let pool = self.pool_for(&requirements.capabilities, only);
        let holds = Arc::new(shared.iter().chain(&local).copied().collect());
        let id = ClassId(self.classes.len() as u32);
        self.classes.push(Class { requirements, estimate, shared, local, holds, pool });
        Arc::make_mut(&mut self.class_ids).insert(key, id);
        id
    }

    fn pool_for(&mut self, capabilities: &[String], only: Option<AgentId>) -> PoolId {
        let key = (capabilities.to_vec(), only);
        if let Some(id) = self.pool_ids.get(&key) {
            return *id;
        }
        let id = PoolId(self.pools.len() as u32);
        let offers = |agent: &AgentId| {
            only.is_none_or(|only| only == *agent)
                && capabilities.iter().all(|name| self.agent(*agent).definition.capabilities.contains(name))
        };
        let agents: Vec<AgentId> = (0..self.agents.len()).map(AgentId::from).filter(offers).collect();
        for agent in &agents {
            self.agents.at_mut(agent.index()).pools.push(id);
        }
        Arc::make_mut(&mut self.pool_ids).insert(key, id);
        Arc::make_mut(&mut self.pools).push(Pool { capabilities: capabilities.to_vec(), only, agents });
        id
    }

    /// Everything is known: who waits for whom is counted, and what waits for nothing is ready.
    fn load(&mut self) {
        self.loaded = true;
        self.started = self.now;
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
            for before in &definition.after {
                self.dependents.at_mut(before.index()).push(id);
            }
            let closed = u32::from(self.stage(definition.stage).unmet > 0);
            let deadline = definition.deadline.map(|deadline| match deadline {
                Deadline::After(span) => self.started.plus(span),
                Deadline::At(time) => time,
            });
            let now = self.now;
            let task = self.tasks.at_mut(index);
            task.unmet = definition.after.len() as u32 + closed;
            task.deadline = deadline;
            task.since = now;
            task.ready_at = now;
            if task.unmet == 0 {
                task.phase = Phase::Ready;
            }
            self.index(id);
        }
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn note_command(&mut self, by: &Origin, command: &Command, inverse: Option<&Command>) {
        if let Some(inverse) = inverse {
            bounded_push(Arc::make_mut(&mut self.undo), (command.clone(), inverse.clone()), UNDO_DEPTH);
            if !self.redo.is_empty() {
                self.redo = Arc::default();
            }
        }
        self.note(by.clone(), DoneWhat::Command(command.clone()));
    }

    fn note(&mut self, by: Origin, what: DoneWhat) {
        let done = Done { at: self.now, by, what };
        bounded_push(Arc::make_mut(&mut self.actions), done, ACTIONS_KEPT);
    }

    fn note_undone(&mut self) {
        let Some((command, inverse)) = Arc::make_mut(&mut self.undo).pop_back() else { return };
        bounded_push(Arc::make_mut(&mut self.redo), (command.clone(), inverse), UNDO_DEPTH);
        self.note(Origin::Operator, DoneWhat::Undo(command));
    }

    fn note_redone(&mut self) {
        let Some((command, inverse)) = Arc::make_mut(&mut self.redo).pop_back() else { return };
        bounded_push(Arc::make_mut(&mut self.undo), (command.clone(), inverse), UNDO_DEPTH);
        self.note(Origin::Operator, DoneWhat::Redo(command));
    }

    fn set_slots(&mut self, id: AgentId, slots: u32) {
        self.change_agent(id, |agent| agent.slots = slots);
        self.note_agent(id);
        // What is kept free for a task counts only while that task could start at all: that may be otherwise now.
        let reserved: Vec<Target> = self.reservations.keys().copied().collect();
        self.note_reservations(reserved);
    }

    // ── attempts ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn start(&mut self, id: TaskId, attempt: Attempt, agent: AgentId) {
        let class = self.class_of(id);
        let (holds, estimate) = (class.holds.clone(), class.estimate);
        for (resource, amount) in holds.iter() {
            self.holders.insert((*resource, id));
            let entry = self.resources.at_mut(resource.index());
            if entry.definition.kind != ResourceKind::PerAgent {
                entry.used.0 += amount.0;
            }
        }
        self.change_agent(agent, |agent| {
            agent.busy += 1;
            for (resource, amount) in holds.iter() {
                agent.take(*resource, *amount);
            }
        });
        self.on_agent.insert((agent, id));
        if attempt.0 > 1 {
            self.retries += 1;
        }
        let (now, console) = (self.now, self.opened);
        self.edit(id, |t| {
            t.attempt = attempt.0;
            t.tries += 1;
            t.live = Some(Box::new(Live {
                agent,
                started: now,
                holds,
                estimate,
                process: None,
                log: None,
                stop: None,
                exited: None,
                adopted: false,
                by_itself: false,
                console,
            }));
            t.stand(Phase::Starting, now);
        });
        self.note_room_kept(id);
    }

    fn runs(&mut self, id: TaskId, process: &Process, log: u64, adopted: bool) {
        self.next_log = self.next_log.max(log.saturating_add(1));
        let (now, console) = (self.now, self.opened);
        self.edit(id, |t| {
            let Some(live) = &mut t.live else { return };
            let since = live.process.as_ref().map_or(now, |(_, since)| *since);
            live.process = Some((process.clone(), since));
            live.log = Some(log);
            live.adopted |= adopted;
            live.console = console;
            if t.phase == Phase::Starting {
                t.stand(Phase::Running, now);
            }
        });
    }

    /// Gives back all that the live attempt holds.
    fn release(&mut self, id: TaskId) {
        self.note_room_kept(id);
        let Some(live) = self.task(id).live.clone() else { return };
        for (resource, amount) in live.holds.iter() {
            self.holders.remove(&(*resource, id));
            let entry = self.resources.at_mut(resource.index());
            if entry.definition.kind != ResourceKind::PerAgent {
                entry.used.0 -= amount.0;
                if self.changes.noted {
                    self.changes.resources.push(*resource);
                }
            }
        }
        self.change_agent(live.agent, |agent| {
            agent.busy -= 1;
            for (resource, amount) in live.holds.iter() {
                agent.give(*resource, *amount);
            }
        });
        self.on_agent.remove(&(live.agent, id));
        self.note_agent(live.agent);
    }

    fn note_agent(&mut self, agent: AgentId) {
        if self.changes.noted {
            self.changes.agents.push(agent);
        }
    }

    fn note_reservations(&mut self, targets: Vec<Target>) {
        if self.changes.noted {
            self.changes.reservations.extend(targets);
        }
    }

    /// A live attempt takes or gives back something that is being kept free: when there will be room is to be judged anew.
    fn note_room_kept(&mut self, id: TaskId) {
        if self.reservations.is_empty() {
            return;
        }
        let Some(live) = &self.task(id).live else { return };
        let targets = live.holds.iter().map(|(resource, _)| Target::Resource(*resource));
        let targets = targets.chain([Target::Agent(live.agent)]);
        let reserved = targets.filter(|target| self.reservations.contains_key(target)).collect();
        self.note_reservations(reserved);
    }

    fn end(&mut self, id: TaskId, attempt: Attempt, outcome: &Outcome, usage: Usage, output: u64, then: Then) {
        self.release(id);
        match outcome {
            Outcome::Succeeded => self.ended_attempts.0 += 1,
            _ => self.ended_attempts.1 += 1,
        }
        if *outcome == Outcome::Succeeded && self.task(id).fallback.is_some() {
            self.by_fallback += 1;
        }
        let now = self.now;
        let on_lost = self.settings.on_lost;
        self.edit(id, |t| {
            let Some(live) = t.live.take() else { return };
            let past = Past {
                attempt,
                agent: live.agent,
                started: live.process.as_ref().map_or(live.started, |(_, since)| *since),
                ended: now,
                outcome: outcome.clone(),
                usage,
                log: live.log.filter(|_| output > 0),
                fallback: t.fallback,
            };
            // Most tasks have one attempt: no more room than that is taken for it.
            let all = Arc::make_mut(t.past.get_or_insert_with(|| Arc::new(Vec::with_capacity(1))));
            if all.len() == ATTEMPTS_KEPT {
                all.remove(0);
            }
            all.push(past);
            match (outcome, then) {
                (_, Then::Retry(until)) if until > now => t.delay(until, now),
                (_, Then::Retry(_)) => t.queue(now),
                (_, Then::Requeue) => {
                    t.tries = t.tries.saturating_sub(1);
                    t.queue(now);
                }
                (_, Then::Fallback(fallback)) => {
                    t.fall_back(fallback);
                    t.queue(now);
                }
                (Outcome::Succeeded, Then::Rest) => t.stand(Phase::Succeeded, now),
                (Outcome::Cancelled, Then::Rest) => t.stand(Phase::Cancelled, now),
                (Outcome::Lost(_), Then::Rest) if on_lost != OnLost::Fail => t.stand(Phase::Lost, now),
                (_, Then::Rest) => t.stand(Phase::Failed, now),
            }
        });
    }

    // ── the one way a task changes ───────────────────────────────────────────────────────────────────────────────

    fn edit(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
        let mut deltas = Vec::new();
        self.edit_one(id, change, &mut deltas);
        while let Some(Delta { task, unmet, dead }) = deltas.pop() {
            let now = self.now;
            let change = |t: &mut Task| {
                t.unmet = t.unmet.checked_add_signed(unmet).expect("as many are met as were counted");
                t.dead = t.dead.checked_add_signed(dead).expect("as many come back as were counted");
                match t.phase {
                    Phase::Waiting if t.unmet == 0 => t.queue(now),
                    Phase::Ready | Phase::Delayed if t.unmet > 0 => t.stand(Phase::Waiting, now),
                    _ => {}
                }
            };
            self.edit_one(task, change, &mut deltas);
        }
    }

    fn edit_one(&mut self, id: TaskId, change: impl FnOnce(&mut Task), deltas: &mut Vec<Delta>) {
        let before = self.keys(id);
        change(self.tasks.at_mut(id.index()));
        let after = self.keys(id);
        self.reindex(id, &before, &after);
        let unmet = i32::from(before.satisfied) - i32::from(after.satisfied);
        let dead = i32::from(after.dead) - i32::from(before.dead);
        if unmet == 0 && dead == 0 {
            return;
        }
        deltas.extend(self.dependents.at(id.index()).iter().map(|task| Delta { task: *task, unmet, dead }));
        self.stage_changed(id, unmet, dead, deltas);
    }

    /// A task of a stage was done (or not any more): stages after it may open or close.
    fn stage_changed(&mut self, id: TaskId, unmet: i32, dead: i32, deltas: &mut Vec<Delta>) {
        let stage_id = self.definition(id).stage;
        let stage = self.stages.at_mut(stage_id.index());
        let (was_over, was_dead) = (stage.remaining == 0, stage.dead > 0);
        stage.remaining = stage.remaining.checked_add_signed(unmet).expect("counted");
        stage.dead = stage.dead.checked_add_signed(dead).expect("counted");
        let over = i32::from(was_over) - i32::from(stage.remaining == 0);
        let died = i32::from(stage.dead > 0) - i32::from(was_dead);
        if over == 0 && died == 0 {
            return;
        }
        for later in stage.later.clone() {
            let next = self.stages.at_mut(later.index());
            let was_closed = next.unmet > 0;
            next.unmet = next.unmet.checked_add_signed(over).expect("counted");
            let closed = i32::from(next.unmet > 0) - i32::from(was_closed);
            if closed != 0 || died != 0 {
                deltas.extend(next.tasks.iter().map(|task| Delta { task: *task, unmet: closed, dead: died }));
            }
        }
    }

    /// A task's place in every index, as it is now.
    fn keys(&self, id: TaskId) -> Keys {
        let task = self.tasks.at(id.index());
        let definition = self.definitions.at(id.index());
        let how = shown(task);
        let dead = task.phase.is_dead() || (task.phase == Phase::Waiting && task.dead > 0);
        let over = task.phase.is_satisfied() || task.phase.is_dead();
        Keys {
            shown: how,
            live: task.phase.is_live(),
            satisfied: task.phase.is_satisfied(),
            dead,
            display: display_key(&self.settings, definition.stage, id, task),
            timer: timer(&self.settings, &definition.timeout, task),
            deadline: task.deadline.filter(|_| !over),
            ready: (how == Shown::Ready).then(|| (task.class, rank(&self.settings, id, task))),
        }
    }

    /// Enters a new task into every index.
    pub(super) fn index(&mut self, id: TaskId) {
        let keys = self.keys(id);
        self.count(&keys, 1);
        self.display.insert(keys.display);
        self.timers.exchange(None, keys.timer.map(|at| (at, id)));
        self.deadlines.exchange(None, keys.deadline.map(|at| (at, id)));
        self.reready(id, None, keys.ready);
    }

    /// Moves a task in those indexes in which its place changed.
    fn reindex(&mut self, id: TaskId, before: &Keys, after: &Keys) {
        if before.shown != after.shown || before.live != after.live {
            self.count(before, -1);
            self.count(after, 1);
        }
        self.display.exchange(Some(before.display), Some(after.display));
        self.timers.exchange(before.timer.map(|at| (at, id)), after.timer.map(|at| (at, id)));
        self.deadlines.exchange(before.deadline.map(|at| (at, id)), after.deadline.map(|at| (at, id)));
        self.reready(id, before.ready, after.ready);
    }

    fn count(&mut self, keys: &Keys, by: i32) {
        let add = |count: &mut u32| *count = count.checked_add_signed(by).expect("counted");
        add(&mut self.counts.0[keys.shown as usize]);
        add(&mut self.stages.at_mut(keys.display.stage.index()).counts.0[keys.shown as usize]);
        if keys.live {
            add(&mut self.live);
        }
    }

    fn reready(&mut self, id: TaskId, before: Option<(ClassId, Rank)>, after: Option<(ClassId, Rank)>) {
        if before == after {
            return;
        }
        self.ready.exchange(before, after);
        if self.changes.noted {
            self.changes.classes.extend(after.or(before).map(|(class, _)| class));
        }
        if before.is_some() && !self.reservations.is_empty() {
            self.end_reservations(id);
        }
    }

    fn end_reservations(&mut self, id: TaskId) {
        let ended: Vec<Target> =
            self.reservations.iter().filter(|(_, held)| held.task == id).map(|(target, _)| *target).collect();
        for target in &ended {
            self.reservations.remove(target);
        }
        self.note_reservations(ended);
    }

    pub(super) fn change_agent(&mut self, id: AgentId, change: impl FnOnce(&mut Agent)) {
        let now = self.now;
        let agent = self.agents.at_mut(id.index());
        if let Some(key) = free_key(agent, id) {
            self.free_agents.remove(&key);
        }
        agent.busy_ms += u64::from(agent.busy) * now.since(agent.busy_since).0;
        agent.busy_since = now;
        change(agent);
        if let Some(key) = free_key(agent, id) {
            self.free_agents.insert(key);
        }
    }

    /// Rebuilds every index and counter from the tasks and compares. An `Err` says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        super::check::check(self)
    }
}

impl Task {
    fn stand(&mut self, phase: Phase, now: Time) {
        if self.phase != phase {
            self.phase = phase;
            self.since = now;
        }
        if phase != Phase::Delayed {
            self.due = None;
        }
        if !phase.is_open() {
            self.held = false;
        }
    }
    fn queue(&mut self, now: Time) {
        let phase = if self.unmet == 0 { Phase::Ready } else { Phase::Waiting };
        self.stand(phase, now);
        self.ready_at = now;
    }
    fn delay(&mut self, until: Time, now: Time) {
        self.stand(Phase::Delayed, now);
        self.due = Some(until);
    }
    fn fall_back(&mut self, fallback: FallbackId) {
        self.fallback = Some(fallback);
        self.fallbacks_taken += 1;
        self.tries = 0;
    }
}

/// A task's place in every index, and what of it matters to those that wait for it.
struct Keys {
    shown: Shown,
    live: bool,
    satisfied: bool,
    dead: bool,
    display: DisplayKey,
    timer: Option<Time>,
    deadline: Option<Time>,
    ready: Option<(ClassId, Rank)>,
}

/// How a task is shown.
pub(super) fn shown(task: &Task) -> Shown {
    match task.phase {
        Phase::Waiting if task.dead > 0 => Shown::Blocked,
        Phase::Waiting | Phase::Ready | Phase::Delayed if task.held => Shown::Held,
        Phase::Waiting => Shown::Waiting,
        Phase::Ready => Shown::Ready,
        Phase::Delayed => Shown::Delayed,
        Phase::Starting | Phase::Running => Shown::Running,
        Phase::Stopping | Phase::Lingering => Shown::Stopping,
        Phase::Succeeded => Shown::Succeeded,
        Phase::Failed => Shown::Failed,
        Phase::Skipped => Shown::Skipped,
        Phase::Cancelled => Shown::Cancelled,
        Phase::Lost => Shown::Lost,
    }
}

pub(super) fn rank(settings: &Settings, id: TaskId, task: &Task) -> Rank {
    let steps = i64::try_from(task.ready_at.0 / settings.aging.0.max(1)).unwrap_or(i64::MAX);
    Rank {
        step: steps.saturating_sub(i64::from(task.priority)),
        deadline: task.deadline.unwrap_or(Time(u64::MAX)),
        ready_at: task.ready_at,
        task: id,
    }
}

pub(super) fn display_key(settings: &Settings, stage: StageId, id: TaskId, task: &Task) -> DisplayKey {
    let how = shown(task);
    let key = match how {
        Shown::Ready => {
            let rank = rank(settings, id, task);
            (rank.step, rank.deadline.0, rank.ready_at.0)
        }
        Shown::Succeeded | Shown::Skipped => (0, u64::MAX - task.since.0, 0),
        Shown::Running | Shown::Stopping => (0, task.live.as_ref().map_or(0, |live| live.started.0), 0),
        Shown::Delayed => (0, task.due.unwrap_or_default().0, 0),
        _ => (-i64::from(task.priority), 0, 0),
    };
    DisplayKey { stage, shown: how, key, task: id }
}

/// When something is due for a task: the end of its delay, its time-out, its grace.
pub(super) fn timer(settings: &Settings, timeout: &Option<Span>, task: &Task) -> Option<Time> {
    match task.phase {
        Phase::Delayed => task.due,
        Phase::Starting | Phase::Running => {
            let since = task.live.as_ref()?.process.as_ref()?.1;
            timeout.map(|span| since.plus(span))
        }
        Phase::Stopping => match task.live.as_ref()?.stop? {
            (_, StopSignal::Term, since) => Some(since.plus(settings.grace)),
            (_, StopSignal::Kill, _) => None,
        },
        Phase::Lingering => match task.live.as_ref()?.stop {
            None => Some(task.since.plus(settings.leak_grace)),
            Some((_, StopSignal::Term, since)) => Some(since.plus(settings.grace)),
            Some((_, StopSignal::Kill, _)) => None,
        },
        _ => None,
    }
}

/// An agent's key among those with a free slot.
pub(super) fn free_key(agent: &Agent, id: AgentId) -> Option<(u32, AgentId)> {
    (agent.busy < agent.slots).then(|| (agent.busy * 1000 / agent.slots, id))
}

fn bounded_push<T>(ring: &mut VecDeque<T>, entry: T, bound: usize) {
    if ring.len() == bound {
        ring.pop_front();
    }
    ring.push_back(entry);
}

/// The task's key in [`State::display`].
pub fn display_key_of(state: &State, id: TaskId) -> DisplayKey {
    display_key(&state.settings, state.definition(id).stage, id, state.task(id))
}
