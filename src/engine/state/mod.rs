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
//! A task that asks for more than room (a condition, a barrier), or is no command, comes by Arrived on its way from Waiting
//! to Ready, and may stand in Awaiting or be over from there.
//!
//! Held is a flag of a task that does not run yet; Blocked is Waiting with a failed task among those it waits for.
//!
//! In reading order: `records` (what it is made of), here the whole and what can be asked of it, `fold` (a fact comes in),
//! `load` (definitions come in), `rounds` (a stage is entered), `indexes` (`edit`).

mod barriers;
mod care;
mod compensation;
mod control;
mod fallback;
mod fold;
mod indexes;
mod load;
mod records;
mod rounds;
mod surgery;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use super::arrival::{Decision, decide};
use super::barriers::RunBarrier;
use super::breaker::Tripped;
use super::care::Score;
use super::definition::{FallbackDefinition, Requirements, Settings, TaskDefinition, WindowDefinition};
use super::fact::{Ending, Target};
use super::goals::RunGoal;
use super::ids::{AgentId, PhaseId, ResourceId, Span, StageId, TaskId, Time, TransitionId};
use super::locks::Locks;
use super::meetings::Meetings;
use super::message::Command;
use super::order::Order;
use super::overload::{Figures, Overload};
use super::posts::Posts;
use super::shared::Shared;
use super::table::Table;

pub use care::Metric;
pub use fold::{ACTIONS_KEPT, ATTEMPTS_KEPT, UNDO_DEPTH};
pub use indexes::display_key_of;
pub(super) use indexes::{display_key, free_key, is_troubled, preemptible, rank, senses, shown, timer};
pub use records::{
    Agent, Changed, Changes, Class, ClassId, DisplayKey, Done, DoneWhat, Joining, Live, PHASES, Past, Phase, Pool,
    PoolId, Rank, Reservation, Resource, RunPhase, Saga, Shown, Stage, Tally, Task, Transition,
};

/// Names asked for, the only agent allowed, and those that are not.
type PoolKey = (Vec<String>, Option<AgentId>, Vec<AgentId>);

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
    pub transitions: Arc<Vec<Transition>>,
    /// By id.
    pub phases: Arc<Vec<RunPhase>>,
    /// Where tasks wait for one another.
    pub barriers: Arc<Vec<RunBarrier>>,
    /// What is being undone, or was.
    pub sagas: Arc<Vec<Saga>>,
    /// Tasks that can be undone, in the order in which attempts of them ended.
    pub(super) completed: Arc<Vec<TaskId>>,
    /// How many tasks can be undone.
    pub(super) compensable: u32,
    /// Milestones and objectives.
    pub goals: Arc<Vec<RunGoal>>,
    /// By id.
    pub fallbacks: Arc<Vec<FallbackDefinition>>,
    /// By id: what never changes.
    pub definitions: Table<Arc<TaskDefinition>>,
    /// By id: what changes.
    pub tasks: Table<Task>,
    /// Tasks by name, if the workflow has conditions: they speak of them so.
    pub(super) by_name: Arc<Vec<TaskId>>,
    /// Stages by their names, under the same condition.
    stages_by_name: Arc<Vec<StageId>>,
    /// The workflow has conditions.
    pub(super) has_conditions: bool,
    /// Who waits for a task.
    pub dependents: Table<SmallVec<[TaskId; 2]>>,
    /// Requirement classes.
    pub classes: Table<Class>,
    /// So many tasks were there from the start; others were added since.
    pub(super) first_tasks: usize,
    class_ids: Arc<BTreeMap<(Requirements, Option<Span>), ClassId>>,
    /// For each task on whose agent others must run, their classes.
    followers: Arc<BTreeMap<TaskId, Vec<ClassId>>>,
    /// Sets of agents.
    pub pools: Arc<Vec<Pool>>,
    pool_ids: Arc<BTreeMap<PoolKey, PoolId>>,

    /// When tasks may start, by id.
    pub windows: Arc<Vec<WindowDefinition>>,
    /// Tasks that run nothing and go on only within a window.
    pub windowed: Arc<Vec<TaskId>>,
    /// How the circuit breaker stands.
    pub breaker: Tripped,
    /// What is shared.
    pub shared: Arc<Shared>,
    /// What running tasks ask of resources, and hold.
    pub locks: Arc<Locks>,
    /// Running tasks that wait for each other.
    pub meetings: Arc<Meetings>,
    /// What was said.
    pub posts: Arc<Posts>,
    /// The condition of `PauseWhile` holds.
    pub overload: Option<Overload>,
    /// That is to be ignored.
    pub ignores_overload: bool,
    /// What the machine is like, as far as it is known: no part of what is stored.
    pub figures: Option<Figures>,

    /// Ready tasks by class and rank.
    pub ready: Order<(ClassId, Rank)>,
    /// Sensors that look, and gates that ask a command.
    pub sensors: Order<TaskId>,
    /// Those whose monitor sees something amiss.
    pub troubled: Order<TaskId>,
    /// What runs and may be interrupted, the least important first.
    pub preemptible: Order<(i32, TaskId)>,
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
    /// Failed tasks whose failure does not count.
    pub excused: u32,
    /// Tasks with a live attempt.
    pub live: u32,
    /// Attempts after a task's first.
    pub retries: u64,
    /// Tasks that succeeded by a fallback.
    pub by_fallback: u32,
    /// Attempts that ended well, and not.
    pub ended_attempts: (u64, u64),
    /// How the checks of all tasks came out, at the last attempt of each that was checked.
    pub quality: Score,
    /// How often values were published.
    pub published: u64,
    /// What was published last by each declared name.
    metrics: Table<Option<Metric>>,
    metric_ids: Arc<BTreeMap<Arc<str>, u32>>,
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
            && self.transitions == other.transitions
            && self.phases == other.phases
            && self.barriers == other.barriers
            && self.sagas == other.sagas
            && self.completed == other.completed
            && self.compensable == other.compensable
            && self.first_tasks == other.first_tasks
            && self.goals == other.goals
            && self.dependents == other.dependents
            && self.classes == other.classes
            && self.pools == other.pools
            && self.windows == other.windows
            && self.breaker == other.breaker
            && self.shared == other.shared
            && self.locks == other.locks
            && self.meetings == other.meetings
            && self.posts == other.posts
            && self.overload == other.overload
            && self.ignores_overload == other.ignores_overload
            && self.deadlines.iter().eq(other.deadlines.iter())
            && self.actions == other.actions
            && self.retries == other.retries
            && self.by_fallback == other.by_fallback
            && self.ended_attempts == other.ended_attempts
            && self.quality == other.quality
            && self.published == other.published
            && self.metrics == other.metrics
            && self.metric_ids == other.metric_ids
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
            && self.excused == other.excused
            && self.started == other.started
            && self.paused == other.paused
            && self.ending == other.ending
            && self.reservations == other.reservations
            && self.undo == other.undo
            && self.redo == other.redo
            && self.ready.iter().eq(other.ready.iter())
            && self.sensors.iter().eq(other.sensors.iter())
            && self.troubled.iter().eq(other.troubled.iter())
            && self.preemptible.iter().eq(other.preemptible.iter())
            && self.timers.iter().eq(other.timers.iter())
            && self.display.iter().eq(other.display.iter())
            && self.holders.iter().eq(other.holders.iter())
            && self.on_agent.iter().eq(other.on_agent.iter())
            && self.free_agents.iter().eq(other.free_agents.iter())
            && self.next_log == other.next_log
    }
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
    /// A transition.
    pub fn transition(&self, id: TransitionId) -> &Transition {
        &self.transitions[id.index()]
    }
    /// A phase.
    pub fn phase(&self, id: PhaseId) -> &RunPhase {
        &self.phases[id.index()]
    }
    /// A stage's name.
    pub fn stage_name(&self, id: StageId) -> &str {
        &self.stages.at(id.index()).definition.name
    }
    /// A class.
    pub fn class(&self, id: ClassId) -> &Class {
        self.classes.at(id.0 as usize)
    }
    /// The task's class.
    pub fn class_of(&self, id: TaskId) -> &Class {
        self.class(self.task(id).class)
    }

    /// It is not simply ready once everything before it is done: something is decided first.
    pub fn arrives(&self, id: TaskId) -> bool {
        let definition = self.definition(id);
        definition.arrives() || self.stage(definition.stage).definition.when.is_some()
    }

    /// The task of this name (in a workflow that has conditions).
    pub fn named(&self, name: &str) -> Option<TaskId> {
        let at = self.by_name.binary_search_by(|id| self.name(*id).cmp(name)).ok()?;
        Some(self.by_name[at])
    }

    /// The stage of this name (in a workflow that has conditions).
    pub fn stage_named(&self, name: &str) -> Option<StageId> {
        let at = self.stages_by_name.binary_search_by(|id| self.stage_name(*id).cmp(name)).ok()?;
        Some(self.stages_by_name[at])
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
        let coming = self.counts.of(Shown::Delayed) + self.counts.of(Shown::Awaiting);
        coming == 0 && (self.counts.of(Shown::Ready) == 0 || !self.any_could_start()) && !self.awaits_window()
    }

    /// Something that runs nothing goes on when its window opens.
    fn awaits_window(&self) -> bool {
        self.windowed.iter().any(|id| {
            let task = self.task(*id);
            task.phase == Phase::Arrived
                && !task.held
                && matches!(decide(self, *id), Decision::Closed { opens: Some(_), .. })
        })
    }

    /// Only a person can go on with it: nothing runs, waits out a time, looks or could start, and something asks.
    pub fn waits_for_people(&self) -> bool {
        let waits = !self.timers.is_empty() || !self.sensors.is_empty();
        let quiet = self.loaded && self.live == 0 && self.ending.is_none() && !waits && !self.awaits_window();
        let asks = self.counts.of(Shown::Awaiting) > 0;
        quiet && asks && (self.counts.of(Shown::Ready) == 0 || !self.any_could_start())
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
        let pool = &self.pools[self.pool_of(class).0 as usize];
        let able = || pool.agents.iter().any(|agent| super::place::could_fit(class, self.agent(*agent)));
        let opens = class.window.is_none_or(|window| self.window(window).ever_opens(self.now));
        self.settings.max_running != Some(0) && enough && opens && able()
    }

    /// Tasks that failed, but for those whose failure is excused.
    pub fn failed(&self) -> usize {
        self.counts.of(Shown::Failed) - self.excused as usize
    }

    /// The exit code of a session that ends like this (`design.md`, Command line).
    pub fn exit_code(&self) -> i32 {
        let open = self.counts.of(Shown::Ready)
            + self.counts.of(Shown::Delayed)
            + self.counts.of(Shown::Awaiting)
            + self.counts.of(Shown::Waiting)
            + self.live as usize;
        if self.counts.of(Shown::Held) + self.counts.of(Shown::Lost) > 0 || (self.ending.is_some() && open > 0) {
            3
        } else if self.failed() > 0 || (self.excused > 0 && self.counts.of(Shown::Blocked) > 0) {
            // What an excused failure keeps from running is not excused with it.
            1
        } else if self.counts.of(Shown::Cancelled) + open > 0 {
            3
        } else {
            0
        }
    }

    /// Rebuilds every index and counter from the tasks and compares. An `Err` says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        super::check::check(self)
    }
}
