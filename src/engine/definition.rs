//! What a workflow is to the engine: names resolved to ids, units to numbers. Made by `workflow`, stored in the journal
//! (a stored format: fields are only added, with a default). Knows nothing of files or syntax.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::care::{Care, Reference, Slot};
use super::condition::Condition;
use super::ids::{AgentId, Amount, BarrierId, FallbackId, ResourceId, Span, StageId, TaskId, Time, WindowId};
use super::monitors::ProgressMonitor;
use super::policy::Rule;

pub use super::breaker::Breaker;
pub use super::foreach::Foreach;
pub use super::health::{Health, OnAgentLost};
pub use super::majority::Majority;
pub use super::posts::Message;
pub use super::subworkflow::Subworkflow;

/// A whole workflow, ready to be loaded: every id below indexes one of these lists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Workflow {
    /// What holds for the whole run.
    pub settings: Settings,
    /// Named resources, of the session and of the agents (`cpu` and `mem` are always the first two).
    pub resources: Vec<ResourceDefinition>,
    /// At least one.
    pub agents: Vec<AgentDefinition>,
    /// At least one.
    pub stages: Vec<WorkflowStage>,
    /// What leads from stage to stage.
    pub transitions: Vec<StateTransition>,
    /// Groups of stages with rules of their own.
    pub phases: Vec<ExecutionPhase>,
    /// What tasks can fall back to, by name.
    pub fallbacks: Vec<FallbackDefinition>,
    /// In the order of the file.
    pub tasks: Vec<TaskDefinition>,
    /// When tasks may start, for those that say so.
    pub windows: Vec<WindowDefinition>,
    /// Milestones, then objectives, each in the order of the file.
    pub goals: Vec<Goal>,
    /// Where tasks wait for one another.
    pub barriers: Vec<BarrierDefinition>,
}

/// What holds for the whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The workflow's name.
    pub name: String,
    /// Parameters after `--param`, typed by their defaults.
    pub params: IndexMap<String, Param>,
    /// At most so many tasks run at once, over all agents.
    pub max_running: Option<u32>,
    /// What becomes of an attempt of which nothing can be proved.
    pub on_lost: OnLost,
    /// How long a process may take to end after SIGTERM before SIGKILL.
    pub grace: Span,
    /// One point of priority is worth so much waiting: a task gains a point each time it has waited so long.
    pub aging: Span,
    /// A ready task that has waited so long for room gets a reservation, and only what does not delay it goes ahead.
    pub reserve_after: Span,
    /// How long processes left behind by a task may live on before they are killed.
    pub leak_grace: Span,
    /// What becomes of running tasks when the console dies.
    pub on_console_death: OnConsoleDeath,
    /// When a fact counts as stored.
    pub durability: Durability,
    /// Where tasks run that name no folder: the working folder of whoever began the session.
    pub cwd: Option<String>,
    /// After so many failures nothing starts for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// While it holds nothing starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_while: Option<Condition>,
    /// What tasks must have, also those that are added or changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<Rule>,
    /// What becomes of a lock that a running task asks for, if it would wait for itself.
    #[serde(skip_serializing_if = "is_default")]
    pub on_deadlock: OnDeadlock,
    /// What is shared from the start; each keeps its type.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub state: IndexMap<String, Param>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            params: IndexMap::new(),
            max_running: None,
            on_lost: OnLost::Hold,
            grace: Span::secs(10),
            aging: Span::secs(60),
            reserve_after: Span::secs(10),
            leak_grace: Span(100),
            on_console_death: OnConsoleDeath::Adopt { grace: Span::secs(600) },
            durability: Durability::Process,
            cwd: None,
            breaker: None,
            pause_while: None,
            policy: Vec::new(),
            on_deadlock: OnDeadlock::default(),
            state: IndexMap::new(),
        }
    }
}

/// A parameter's value; its type is that of its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Param {
    /// `true`
    Bool(bool),
    /// `80`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `"staging"`
    Text(String),
}

/// What becomes of a request for a lock that would close a circle of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnDeadlock {
    /// It is refused, with the circle.
    #[default]
    Refuse,
    /// The youngest preemptible task of the circle is stopped and queued again; without one it is refused.
    Wound,
}

/// What becomes of an attempt of which nothing can be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnLost {
    /// Wait for the operator.
    #[default]
    Hold,
    /// Queue it again as a new attempt.
    Retry,
    /// Count it as failed.
    Fail,
}

/// What becomes of running tasks when the console dies without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnConsoleDeath {
    /// The guard supervises them; after `grace` without a console it stops them.
    Adopt {
        /// How long it waits for a console.
        grace: Span,
    },
    /// The guard stops them at once.
    Stop,
}

/// When a fact counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Durability {
    /// Accepted by the kernel: safe against every kill; synced every 50 ms against power loss.
    #[default]
    Process,
    /// On the disk before anything is done about it.
    Power,
}

/// A named resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceDefinition {
    /// Its name in `uses`.
    pub name: String,
    /// What kind it is.
    pub kind: ResourceKind,
    /// It stands for a limit of the file (`max_running` of a stage, a start rate): no task names it in `uses`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit: bool,
}

impl ResourceDefinition {
    /// A resource that tasks name in `uses`.
    pub fn new(name: impl Into<String>, kind: ResourceKind) -> Self {
        Self { name: name.into(), kind, limit: false }
    }

    /// What it is called in a sentence.
    pub fn words(&self) -> String {
        match (self.limit, self.kind) {
            (true, ResourceKind::Pool(_)) => format!("limit of {}", self.name),
            _ => self.name.clone(),
        }
    }

    /// One that stands for a limit.
    pub fn limit(name: impl Into<String>, kind: ResourceKind) -> Self {
        Self { name: name.into(), kind, limit: true }
    }
}

/// What kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourceKind {
    /// Shared by many or held by one. Capacity `Amount::WHOLE_LOCK`.
    Lock,
    /// So much of it for the whole session.
    Pool(Amount),
    /// Each agent has its own amount (`AgentDefinition::resources`).
    PerAgent,
    /// Used up at a start and filled up again by time: at most `amount` at once, and `amount` more each `per`.
    Rate {
        /// How much there is when nothing was used for long.
        amount: Amount,
        /// In so long it fills up from nothing.
        per: Span,
    },
}

/// What is watched for the whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// Its name.
    pub name: String,
    /// Which of the two.
    pub kind: GoalKind,
    /// The condition.
    pub holds: Condition,
}

/// What a goal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GoalKind {
    /// A point of the run: reached once.
    Milestone,
    /// What is aimed at: met or missed, in the end by what the run came to.
    Objective,
}

/// When tasks may start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowDefinition {
    /// In words: `22:00 to 06:00 Mon, Tue`.
    pub name: String,
    /// From when to when (that time excluded); in order, apart from each other.
    pub open: Vec<(Time, Time)>,
}

/// An agent: a place where tasks run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentDefinition {
    /// Its name.
    pub name: String,
    /// How many tasks at once.
    pub slots: u32,
    /// Names a task may ask for in `needs`, sorted.
    pub capabilities: Vec<String>,
    /// What it has of the per-agent resources, sorted by id.
    pub resources: Vec<(ResourceId, Amount)>,
    /// Words before each of its commands, see [`super::launch`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launcher: Vec<String>,
    /// How it is seen whether it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Arc<Health>>,
}

/// A named group of tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowStage {
    /// Its name.
    pub name: String,
    /// Stages that must be over before any task of this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StageId>,
    /// Asked once, when it opens: if it does not hold, all its tasks are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// What leads from one stage to another once the first is over. Its target starts by transitions only, unless all of them
/// are backward: from its own or a later stage of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateTransition {
    /// Whose end is looked at.
    pub from: StageId,
    /// What is entered: for the first time, or in a new round.
    pub to: StageId,
    /// After which end of `from`.
    pub on: StageEnd,
    /// It is taken no more often than this. Every backward one has such a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
    /// It is taken only if this holds once the stage is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

impl StateTransition {
    /// It leads to a stage that comes no later in the file: it starts a new round of it, but is not what that stage waits for
    /// to start at all.
    pub fn is_backward(&self) -> bool {
        self.to <= self.from
    }
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageEnd {
    /// All its tasks succeeded or were skipped (or their failures excused).
    Success,
    /// Some failed, were cancelled or can never run.
    Failure,
    /// In any way.
    Over,
}

/// A group of stages with rules of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionPhase {
    /// Its name.
    pub name: String,
    /// Its stages; each is in one phase at most.
    pub stages: Vec<StageId>,
    /// At most so many of its tasks run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// What becomes of its other tasks once one has failed for good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
}

/// What becomes of a phase in which a task failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnFailure {
    /// What does not wait for the failed task goes on.
    #[default]
    GoOn,
    /// What runs may finish, the rest is cancelled.
    Finish,
    /// What runs is stopped, the rest is cancelled.
    Stop,
    /// What runs is stopped, the rest is cancelled, and what was done is undone.
    Compensate,
}

/// A named fallback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallbackDefinition {
    /// Its name in a task's `fallback`.
    pub name: String,
    /// What it does.
    pub strategy: FallbackStrategy,
}

/// What a fallback does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FallbackStrategy {
    /// Run this command in the task's place.
    Alternative(Arc<CommandSpec>),
    /// Run the task again, by a rule of its own.
    Retry(Retry),
    /// Run the task once more, on another agent than that on which it ran last.
    OtherAgent,
    /// Run the task once more, with less.
    Degrade(Degrade),
    /// Count the task as done without it.
    Skip,
    /// Ask a person: try again, skip it, or let it fail.
    Escalate(Escalation),
    /// Let it fail, stop the run and undo what was done.
    Compensate,
}

/// With what a task is run that is to make do with less.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Degrade {
    /// Variables of the environment, over those that it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// Where values go in them that are known only when it starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Amounts of resources, in the place of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<ResourceRequirement>,
}

/// What a person is asked about a task that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// The question.
    pub text: String,
    /// Nobody is waited for longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What silence means then: the task is skipped, or it failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub silence_skips: bool,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinition {
    /// Its name, unique in the workflow.
    pub id: String,
    /// Its stage.
    pub stage: StageId,
    /// What it does.
    #[serde(rename = "type")]
    pub task_type: TaskType,
    /// What it asks of agents and resources.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub requirements: Requirements,
    /// Higher first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// When it should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Tasks that must have succeeded (or been skipped) before; sorted, without doubles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<TaskId>,
    /// An attempt that runs longer is stopped and has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long its author thinks it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Span>,
    /// What follows a failed attempt.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// What is run in its place, in this order, once its attempts are used up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<FallbackId>,
    /// Words to select it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How many of `after`, and how they must have ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub join: Join,
    /// What it asks for when everything before it is done, besides room; most tasks ask for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Arc<Entry>>,
    /// What is to be done around its command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub care: Option<Arc<Care>>,
    /// How what it did is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Arc<Compensation>>,
    /// It undoes what this task did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensates: Option<TaskId>,
    /// Once everything before it is done, it waits here for the others that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barrier: Option<BarrierId>,
    /// What is watched while its command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Arc<ProgressMonitor>>,
    /// It was added for an element of the list of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<TaskId>,
    /// It was added while the workflow ran: by this person or attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_by: Option<Arc<str>>,
    /// It may be stopped for one of higher priority, and is queued again then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preemptible: bool,
}

/// Where tasks wait for one another before they start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BarrierDefinition {
    /// Its name.
    pub name: String,
    /// The first that comes waits no longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What becomes of those that stand before it when it breaks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_broken: OnBroken,
    /// Running tasks wait at it, and so many must come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<u32>,
}

/// What becomes of those that stand before a barrier when one will not come, or the time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnBroken {
    /// They fail.
    #[default]
    Fail,
    /// They go on without it.
    Continue,
}

/// How what a task did is undone: by a task of its own, which is added once that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compensation {
    /// The name of that task, unique in the workflow.
    pub id: String,
    /// What it runs.
    pub command: Arc<CommandSpec>,
    /// See [`TaskDefinition::timeout`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// See [`TaskDefinition::retry`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// Also what failed or was stopped may have done something: it is undone like what succeeded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after_failure: bool,
}

/// What of a task's `after` must have come to pass before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Join {
    /// So many of them are enough, from 1 to all; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enough: Option<u32>,
    /// What becomes of the rest once it is enough.
    #[serde(skip_serializing_if = "is_default")]
    pub rest: Rest,
    /// How they must have ended.
    #[serde(skip_serializing_if = "is_default")]
    pub trigger: Trigger,
}

/// What becomes of those tasks of an `after` that are not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Rest {
    /// They go on.
    #[default]
    LetRun,
    /// What runs of them is stopped, what does not run yet is skipped.
    Cancel,
}

/// How a task that another waits for must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Trigger {
    /// Well, or skipped.
    #[default]
    AllSucceeded,
    /// In any way: also failed, cancelled, or never to start because of one that was.
    AllOver,
}

/// What a task asks for at its arrival, once what it waits for is done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entry {
    /// If it does not hold, the task is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

impl TaskDefinition {
    /// It is not simply ready once what it waits for is done: see [`super::arrival`].
    pub fn arrives(&self) -> bool {
        self.entry.is_some() || self.barrier.is_some() || !matches!(self.task_type, TaskType::Run(_))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TaskType {
    /// A real command (in a file: `Shell`, written `run`, or `Exec`, written `exec`).
    Run(Arc<CommandSpec>),
    /// Nothing: done as soon as everything before it is.
    Noop,
    /// A person says yes or no. It holds nothing meanwhile.
    Approval(Approval),
    /// Done at a time: so long after everything before it, or when the clock shows it. It holds nothing meanwhile.
    Wait(Deadline),
    /// Done once something outside is as it should be, which is looked at again and again. It holds nothing meanwhile.
    Sensor(Arc<Sensor>),
    /// Done once all its checks hold: conditions, commands that are asked, and people. It holds nothing meanwhile.
    QualityGate(Arc<QualityGate>),
    /// Stands for the tasks of a list that is known only during the run, and is done once they are.
    Foreach(Arc<Foreach>),
    /// Done once enough of the runs in its `after` came to the same.
    Majority(Arc<Majority>),
    /// Says something, and is done.
    Message(Arc<Message>),
    /// Stands for the tasks of another file, and is done once they are.
    Subworkflow(Arc<Subworkflow>),
}

/// What must hold before a gate opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityGate {
    /// All of these. Conditions are asked first, then commands one after the other, people in any order.
    pub checks: Vec<GateCheck>,
    /// From when its conditions hold; then the time is up for commands and people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What follows when a check does not hold.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_fail: GateAction,
    /// What follows when the time is up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_timeout: GateAction,
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GateCheck {
    /// A condition, asked when the gate is reached.
    Expr(Condition),
    /// A command that exits with 0: looked at once.
    Command(Arc<Sensor>),
    /// Anybody says yes to this, and nobody says no.
    Approval(String),
    /// Enough of these people say yes.
    Quorum(Quorum),
}

/// So many of these must say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// So many.
    pub votes: u32,
    /// Of these.
    pub of: Vec<String>,
    /// A no of one of these is enough to fail it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub veto: Vec<String>,
    /// The question, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What follows when a gate does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GateAction {
    /// It fails, and what waits for it is blocked.
    #[default]
    Fail,
    /// It is held until the operator asks anew, lets it pass, or gives it up.
    Escalate,
    /// It lets pass all the same, and says so.
    Continue,
}

/// What is looked at until it is as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensor {
    /// What is looked at.
    pub probe: Probe,
    /// So long passes between two looks.
    pub interval: Span,
    /// One look may take so long; then it has seen nothing.
    pub patience: Span,
    /// It is not looked at longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What it comes to then: skipped, or failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeout_skips: bool,
}

/// What a sensor looks at, and what it waits for there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// This path is there.
    Exists(String),
    /// What this path names is another, or was changed, since it was looked at first.
    Changed(String),
    /// Something takes connections there: `host:port`.
    Tcp(String),
    /// This command exits with 0.
    Command(Arc<CommandSpec>),
    /// This URL answers with a status from the first to the second.
    Http(String, (u16, u16)),
}

impl Probe {
    /// What is looked at, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Exists(path) => format!("file {path}"),
            Self::Changed(path) => format!("a change of file {path}"),
            Self::Tcp(address) => format!("tcp {address}"),
            Self::Command(command) => match &command.run {
                CommandLine::Shell(text) => format!("command {text}"),
                CommandLine::Exec(argv) => format!("command {}", argv.join(" ")),
            },
            Self::Http(url, (200, 299)) => url.clone(),
            Self::Http(url, (first, last)) if first == last => format!("status {first} of {url}"),
            Self::Http(url, (first, last)) => format!("status {first} to {last} of {url}"),
        }
    }
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The question.
    pub text: String,
    /// Nobody is waited for longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What silence means then: yes, or no.
    #[serde(default, skip_serializing_if = "is_default")]
    pub silence_approves: bool,
}

impl TaskType {
    /// The command that it runs, if it runs one.
    pub fn command(&self) -> Option<&Arc<CommandSpec>> {
        match self {
            Self::Run(command) => Some(command),
            Self::Noop
            | Self::Approval(_)
            | Self::Wait(_)
            | Self::Sensor(_)
            | Self::QualityGate(_)
            | Self::Foreach(_)
            | Self::Majority(_)
            | Self::Message(_)
            | Self::Subworkflow(_) => None,
        }
    }

    /// The command that it, or each of the tasks for which it stands, runs.
    pub fn template(&self) -> Option<&Arc<CommandSpec>> {
        if let Self::Foreach(foreach) = self { Some(&foreach.command) } else { self.command() }
    }

    /// What it looks at, if it is a sensor.
    pub fn sensor(&self) -> Option<&Arc<Sensor>> {
        if let Self::Sensor(sensor) = self { Some(sensor) } else { None }
    }

    /// The texts into which values go that are known only during the run.
    pub fn texts(&self) -> Option<&Arc<CommandSpec>> {
        if let Self::Message(message) = self { Some(&message.text) } else { self.template() }
    }

    /// What makes its majority, if it is a replicated task.
    pub fn majority(&self) -> Option<&Majority> {
        if let Self::Majority(majority) = self { Some(majority) } else { None }
    }

    /// The gate, if it is one.
    pub fn gate(&self) -> Option<&Arc<QualityGate>> {
        if let Self::QualityGate(gate) = self { Some(gate) } else { None }
    }
}

/// A command with what surrounds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    /// The command itself.
    pub run: CommandLine,
    /// Added to the console's environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// Working folder; the session's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Where values go that are known only when it starts; in the order of slot and place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
}

impl CommandSpec {
    /// Just this, in the session's folder.
    pub fn new(run: CommandLine) -> Self {
        Self { run, env: Vec::new(), cwd: None, references: Vec::new() }
    }

    /// Sets variables over those that it has; `references` are of the new ones, by their place among these.
    pub fn set_env(&mut self, env: &[(String, String)], references: &[Reference]) {
        for (index, (name, value)) in env.iter().enumerate() {
            let own = self.env.iter().position(|(other, _)| other == name);
            let at = own.unwrap_or(self.env.len());
            match self.env.get_mut(at) {
                Some((_, old)) => old.clone_from(value),
                None => self.env.push((name.clone(), value.clone())),
            }
            let slot = Slot::Variable(u32::try_from(at).expect("a command is shorter"));
            self.references.retain(|reference| reference.slot != slot);
            let new = references.iter().filter(|new| matches!(new.slot, Slot::Variable(of) if of as usize == index));
            self.references.extend(new.map(|new| Reference { slot, ..new.clone() }));
        }
        self.references.sort_by_key(|reference| (reference.slot, reference.at));
    }
}

/// How a command is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandLine {
    /// For `/bin/sh -c` (run directly where that is the same).
    Shell(String),
    /// Program and arguments, no shell.
    Exec(Vec<String>),
}

/// What a task asks of agents and resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requirements {
    /// Names that its agent must offer, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Amounts that must be free at its start, all together; sorted by resource, one entry each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceRequirement>,
    /// Further conditions on where and when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<TaskConstraint>,
}

impl Requirements {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// So much of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceRequirement {
    /// Which.
    pub resource: ResourceId,
    /// How much; of a lock: `WHOLE_LOCK` exclusive, `Amount(1)` shared.
    pub amount: Amount,
}

/// Further conditions on where and when a task starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskConstraint {
    /// Only on this agent.
    OnAgent(AgentId),
    /// Not on this agent.
    NotOnAgent(AgentId),
    /// On the agent where this task ran last; anywhere if it never ran.
    SameAgentAs(TaskId),
    /// On this agent if there is room, else elsewhere.
    PreferAgent(AgentId),
    /// Only while this is open.
    Within(WindowId),
}

/// When a task should be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deadline {
    /// So long after the start of the run.
    After(Span),
    /// At this time (a clock time of the file, made absolute when the run began).
    At(Time),
}

/// What follows a failed attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Runs in all, at least 1.
    pub attempts: u32,
    /// How long to wait before the next.
    #[serde(default)]
    pub backoff: Backoff,
    /// Only after one of these exit codes; after any failure if there are none. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<i32>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1, backoff: Backoff::default(), on: Vec::new() }
    }
}

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Backoff {
    /// Always so long.
    Fixed(Span),
    /// `base`, doubled after each attempt, at most `max`, moved by up to ± `jitter` of itself.
    Exponential {
        /// Before the second attempt.
        base: Span,
        /// The longest wait.
        max: Span,
        /// A share between 0 and 1.
        jitter: f64,
    },
}

impl Default for Backoff {
    fn default() -> Self {
        Self::Fixed(Span(0))
    }
}
