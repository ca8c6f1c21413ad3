//! What goes into the engine and what comes out to be done: Command, Report, Input, Effect. Commands are stored with the
//! facts they led to, so they are a stored format too.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::care::{Care, Findings};
use super::definition::{CommandSpec, Param, Sensor, TaskDefinition, Workflow};
use super::ids::{AgentId, Amount, Attempt, BarrierId, FallbackId, PhaseId, ResourceId, Span, TaskId, Time};
use super::locks::LockRequest;
use super::monitors::{Observation, ProgressMonitor, Trouble};
use super::overload::Figures;
use super::surgery::Added;

/// One thing that happens to the engine, with its time.
#[derive(Debug, Clone)]
pub struct Input {
    /// When. Never before the input before it.
    pub at: Time,
    /// What.
    pub what: What,
}

/// The kinds of input.
#[derive(Debug, Clone)]
pub enum What {
    /// The operator, a script or the program itself asks for something.
    Command {
        /// Who.
        by: Origin,
        /// What.
        command: Command,
    },
    /// An agent tells what happened.
    Report(Report),
    /// A watcher tells what a sensor sees.
    Sighting(Sighting),
    /// What the machine is like now.
    Figures(Figures),
    /// A monitor tells what it sees of an attempt.
    Observed(Observation),
    /// Time has passed: timers are looked at.
    Tick,
}

/// What one look of a sensor saw. One of a watch that is over changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// For whom.
    pub of: Watched,
    /// Which watch: see [`Watch`].
    pub watch: u64,
    /// It is as it should be.
    pub met: bool,
    /// In a few words.
    pub saw: String,
    /// What later looks compare with, if they compare.
    pub mark: Option<String>,
}

/// For whom it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// A sensor, or a gate that asks a command.
    Task(TaskId),
    /// The health of an agent.
    Agent(AgentId),
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The person at the keys.
    Operator,
    /// A rule of the workflow or the program itself.
    Rule,
    /// Somebody at the session's socket: who, as they say.
    Client(String),
    /// An attempt of a task.
    Task(TaskId, Attempt),
}

/// What the operator or a script asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Take this workflow as the session's (once, at its start). Not stored as such: its parts are.
    #[serde(skip)]
    Load(Arc<Workflow>),
    /// Higher first.
    SetPriority {
        /// Which task.
        task: TaskId,
        /// The new value.
        priority: i32,
    },
    /// Do not start it.
    Hold {
        /// Which task.
        task: TaskId,
    },
    /// Let it start again.
    Release {
        /// Which task.
        task: TaskId,
    },
    /// Stop it if it runs (SIGTERM, grace, SIGKILL), and do not run it.
    Cancel {
        /// Which task.
        task: TaskId,
    },
    /// Cancel without grace: SIGKILL now.
    Kill {
        /// Which task.
        task: TaskId,
    },
    /// Queue a task again that failed, was cancelled or is lost.
    Retry {
        /// Which task.
        task: TaskId,
    },
    /// Treat it as done without running it: what waits for it goes on.
    Skip {
        /// Which task.
        task: TaskId,
    },
    /// Undo a skip or a cancel of a task that never ran: it waits again.
    Unskip {
        /// Which task.
        task: TaskId,
    },
    /// Add tasks to the workflow under way.
    Add(Arc<Added>),
    /// A task that waits is another one from now on.
    Edit {
        /// Which task.
        task: TaskId,
        /// What it is from now on, whole.
        definition: Arc<TaskDefinition>,
    },
    /// A task that has not begun is no part of the workflow any more: what waits for it goes on without.
    Remove {
        /// Which task.
        task: TaskId,
    },
    /// It is part of it again.
    Restore {
        /// Which task.
        task: TaskId,
    },
    /// Run its next fallback in its place, stopping it first if it runs.
    Fallback {
        /// Which task.
        task: TaskId,
    },
    /// Start nothing new.
    Pause,
    /// Start again.
    Resume,
    /// Finish what runs, start nothing new, then end.
    Drain,
    /// Stop everything now, then end.
    Stop,
    /// Stop everything by SIGKILL now, then end.
    StopNow,
    /// Leave what runs to the guard, then end.
    Detach,
    /// A new number of slots.
    SetSlots {
        /// Which agent.
        agent: AgentId,
        /// How many tasks at once.
        slots: u32,
    },
    /// How much there is of a resource from now on.
    SetCapacity {
        /// Which.
        resource: ResourceId,
        /// On this agent, if each has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// How much.
        amount: Amount,
    },
    /// What an agent offers from now on.
    SetCapabilities {
        /// Which agent.
        agent: AgentId,
        /// Names.
        capabilities: Vec<String>,
    },
    /// How many tasks run at once over all agents.
    SetMaxRunning {
        /// At least 1; no limit without it.
        most: Option<u32>,
    },
    /// Close the circuit breaker: start again at once.
    CloseBreaker,
    /// Say something to everybody who looks.
    Post {
        /// What.
        text: String,
        /// Above 0 it is an alert.
        #[serde(default)]
        priority: i32,
    },
    /// Set or delete a value of the shared state.
    SetState {
        /// Its key.
        key: String,
        /// The new value; deleted without one.
        value: Option<Param>,
        /// Only if it has this version; 0 if it is not to be there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<u64>,
    },
    /// A running task asks for a lock. Only by a task; its facts say it all.
    Lock(Arc<LockRequest>),
    /// It gives one back, or waits for it no more.
    Unlock {
        /// By which it asked for it.
        ticket: String,
    },
    /// It gives back what it has held since its start. Only by a task.
    GiveBack {
        /// Of which resource.
        resource: ResourceId,
    },
    /// Its lease begins anew.
    RenewLock {
        /// By which it asked for it.
        ticket: String,
    },
    /// A running task comes to a barrier, and waits there for the others. Only by a task.
    Meet {
        /// Which.
        barrier: BarrierId,
        /// By which the task speaks of it.
        ticket: Arc<str>,
    },
    /// It waits there no more: the barrier breaks.
    Leave {
        /// Which.
        barrier: BarrierId,
        /// By which it came.
        ticket: Arc<str>,
        /// Why.
        why: String,
    },
    /// Whether `PauseWhile` counts.
    HeedPauseWhile(bool),
    /// Stop the run and undo what was done.
    Compensate,
    /// Say yes or no to what a task asks; also before it asks.
    Vote {
        /// Which.
        task: TaskId,
        /// Yes.
        approves: bool,
        /// Neither yes nor no.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        abstains: bool,
        /// Who.
        by: String,
        /// What is said with it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// Take back the last command that can be taken back.
    Undo,
    /// Do again what was last taken back.
    Redo,
    /// Several at once, undone at once.
    All(Vec<Command>),
}

/// What an agent tells. Late, doubled and unknown ones change nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The task.
    pub task: TaskId,
    /// Its attempt.
    pub attempt: Attempt,
    /// What happened to it.
    pub news: News,
}

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// It runs.
    Started {
        /// Its process.
        process: Process,
        /// Number of its output file (`log/<n>`).
        log: u64,
    },
    /// It did not start, and nothing of it runs.
    CouldNotStart(StartProblem),
    /// Its first process ended. Not reaped until `Effect::Reap`.
    Exited {
        /// How.
        exit: Exit,
        /// What it used.
        usage: Usage,
        /// Bytes of output so far.
        output: u64,
        /// Processes of it that live on: its resources stay taken until `Emptied`.
        left: u32,
        /// What was found around it, if care was taken of it.
        findings: Option<Box<Findings>>,
    },
    /// No process of it is left (after an `Exited` with some left).
    Emptied,
    /// After a crash: it still runs, and its end will be reported.
    Adopted {
        /// Its process.
        process: Process,
        /// Number of its output file.
        log: u64,
    },
    /// After a crash: its guard stopped it with everything else, by the session's rule. Its `Exited` follows.
    Stopped,
    /// After a crash: proved that it was never spawned.
    NotStarted,
    /// After a crash: nothing can be proved.
    Lost {
        /// Why not.
        why: String,
    },
}

/// Why an attempt did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartProblem {
    /// For the operator: names the path and the reason.
    pub message: String,
    /// What a shell would have answered: 126 or 127; absent where no shell would.
    pub code: Option<i32>,
    /// The machine was out of something (processes, memory, descriptors): worth another try, and not the task's fault.
    pub transient: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// A process that cannot be mistaken for another: a pid is used again, its start time in this boot is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id; also its session and process group.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

/// What an attempt used, by wait4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// User CPU time, ms.
    pub user_ms: u64,
    /// System CPU time, ms.
    pub system_ms: u64,
    /// Largest resident set of one of its processes, KiB.
    pub max_rss_kib: u64,
    /// Blocks of 512 bytes read and written.
    pub blocks_in: u64,
    /// See `blocks_in`.
    pub blocks_out: u64,
}

/// What a driver must do. Never stored: `recover` derives it again.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start an attempt.
    Start(StartOrder),
    /// Signal an attempt's whole tree.
    Signal {
        /// Its agent.
        agent: AgentId,
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// How hard.
        signal: StopSignal,
    },
    /// Its end is stored: reap it, forget it.
    Reap {
        /// Its agent.
        agent: AgentId,
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
    },
    /// After a crash: find out what became of it, and report.
    Reconcile(Survivor),
    /// Look at this again and again, and tell of each look, until told not to.
    Watch(Watch),
    /// Look at it no more.
    Unwatch(u64),
    /// Watch the progress of an attempt, until it is reaped.
    Monitor(MonitorOrder),
    /// Tell clients of running tasks what became of what they wait for.
    Tell(Vec<WaitNews>),
}

/// What a client of a running task hears that waits for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitNews {
    /// Whose.
    pub task: TaskId,
    /// Of which attempt.
    pub attempt: Attempt,
    /// By which the task speaks of it; of a barrier with a blank before it.
    pub ticket: Arc<str>,
    /// It has come: the fence of a lock, the round of a barrier.
    pub came: Option<u64>,
    /// It will not, for this reason.
    pub why: Option<Arc<str>>,
}

/// What a monitor needs to watch an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorOrder {
    /// Task.
    pub task: TaskId,
    /// Attempt.
    pub attempt: Attempt,
    /// What is watched.
    pub monitor: Arc<ProgressMonitor>,
    /// Number of its output file.
    pub log: u64,
    /// Since when it runs.
    pub since: Time,
    /// What is known to be amiss with it.
    pub noticed: Vec<Trouble>,
}

/// What a watcher needs to look for a sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Its number: another for each watch of a console.
    pub watch: u64,
    /// For whom.
    pub of: Watched,
    /// Its name, for the environment of a command.
    pub name: Arc<str>,
    /// What.
    pub sensor: Arc<Sensor>,
    /// What an earlier watch of the same wait compared with.
    pub mark: Option<String>,
}

/// All that an executor needs to start an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct StartOrder {
    /// Where.
    pub agent: AgentId,
    /// Task.
    pub task: TaskId,
    /// Attempt.
    pub attempt: Attempt,
    /// The task's name, for the environment marker.
    pub name: Arc<str>,
    /// What, with the values that it refers to.
    pub command: Arc<CommandSpec>,
    /// What is to be done around it.
    pub care: Option<Arc<Care>>,
    /// What was saved for it is from before the attempt of this number, the first since its last success.
    pub since: Attempt,
    /// It is run even if nothing has changed: it was found up to date before, and asked for again.
    pub force: bool,
    /// It cannot be started: a value that it refers to is not there.
    pub problem: Option<String>,
}

/// How hard to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopSignal {
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

/// An attempt that the journal says was starting or running when the console ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Survivor {
    /// Its agent.
    pub agent: AgentId,
    /// Task.
    pub task: TaskId,
    /// Attempt.
    pub attempt: Attempt,
    /// Its process, if its start was stored.
    pub process: Option<Process>,
    /// Its leader's end, if that was stored (its tree was not empty then).
    pub exited: bool,
}

/// Why an attempt is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// It ran longer than its `timeout`.
    TimedOut,
    /// The operator cancelled the task.
    Cancelled,
    /// A fallback takes its place.
    Fallback(FallbackId),
    /// The session is being stopped.
    SessionStop,
    /// Its leader ended and left processes behind.
    Leaked,
    /// Enough of those that this task waits for are done without it.
    NotNeeded(TaskId),
    /// Another task of its phase failed for good.
    PhaseFailed(PhaseId),
    /// What was done is being undone.
    Compensating,
    /// Its monitor fails it for this.
    Monitor(Trouble),
    /// It gives way to this task, and is queued again.
    Preempted(TaskId),
    /// Its agent cannot be reached any more.
    AgentLost(AgentId),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

/// How long until a process that ignores SIGTERM is killed, and the like: see [`super::definition::Settings`].
pub type Grace = Span;
