//! Makes a [`Snapshot`] from a State and a View. Runs beside the loop on a cheap clone; costs by what is shown, not by
//! what there is (a filter of states costs by what passes it; any other filter, and a sort other than the schedule's, by the
//! number of tasks).

use std::path::PathBuf;
use std::sync::Arc;

use super::graph::around;
use super::locks;
use super::rows::rows;
use super::why::{detail, duration};
use super::{
    Action, AgentRow, Alert, Counts, Header, LockRow, Mode, Phase, PhaseLine, PostRow, Progress, SharedRow, Snapshot,
    Storage, View,
};
use crate::engine::breaker::Gate;
use crate::engine::decide::Engine;
use crate::engine::definition::ResourceKind;
use crate::engine::definition::TaskType;
use crate::engine::fact::{Cause, Ending, Outcome};
use crate::engine::ids::{AgentId, Amount, ResourceId, Span, TaskId, Time};
use crate::engine::message::{Command, Origin};
use crate::engine::place::Closed;
use crate::engine::posts::Post;
use crate::engine::shared::Entry;
use crate::engine::state::{DoneWhat, RunPhase, Shown, State, Tally};

/// How many alerts and actions are shown at most.
const LISTED: usize = 100;
/// A message with a priority is an alert for so long.
const POST_ALERTS: Span = Span(10 * 60_000);
/// How many values of the shared state are shown at most.
const SHARED_LISTED: usize = 200;
/// How many lost and how many failed tasks are looked at for alerts at most.
const LOOKED_AT: usize = 2000;
/// How many locks are listed at most.
const LOCKS: usize = 500;

/// One instant of a session: the State and what the engine does not know.
#[derive(Debug, Clone, Default)]
pub struct Frozen {
    /// The State, and who waits in which line.
    pub engine: Engine,
    /// The session's name.
    pub session: String,
    /// Where its outputs are.
    pub log_dir: PathBuf,
    /// The journal's health.
    pub storage: Storage,
    /// Facts from this time on are not stored yet.
    pub unstored_since: Option<Time>,
    /// No guard: a crash would lose outcomes.
    pub guard_lost: bool,
    /// Ends per second over the last minutes and what else is counted over time.
    pub rates: Arc<Rates>,
    /// CPU and memory, if sampled.
    pub load: Arc<Load>,
    /// How far running commands say that they have come.
    pub told: Arc<std::collections::BTreeMap<TaskId, super::Told>>,
    /// Not to be changed, and why.
    pub read_only: Option<String>,
    /// The console of the session is another.
    pub attached: bool,
    /// Notes of the program itself ("asleep 8 h", "recovered …"): when, text, bad.
    pub notes: Arc<Vec<(Time, String, bool)>>,
}

/// What is counted over time, by the runtime.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    /// Tasks ended in each of the last slices of 5 s, oldest first, at most 120.
    pub ended: Vec<u32>,
    /// Median and 90th percentile from ready to start of the last 1,000.
    pub wait: Option<(Span, Span)>,
    /// The same from start to end.
    pub run: Option<(Span, Span)>,
    /// Share of busy slots of each agent in the last slices, oldest first.
    pub busy: Vec<Vec<f32>>,
}

/// CPU and memory of running trees.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// By task: percent of one core, bytes.
    pub tasks: std::collections::BTreeMap<TaskId, (f32, u64)>,
    /// It has been sampled at least once.
    pub sampled: bool,
}

/// See the module.
pub fn build(frozen: &Frozen, view: &View, at: Time) -> Snapshot {
    let state = &frozen.engine.state;
    let (rows, offset, total_rows, matching) = rows(frozen, view, at);
    let counts = Counts { excused: state.excused as usize, ..counts(state, &state.counts) };
    Snapshot {
        compensation: super::compensation::preview(state, &counts),
        header: header(frozen, at),
        counts,
        matching,
        total_rows,
        offset,
        rows,
        agents: (0..state.agents.len()).map(|n| agent_row(frozen, AgentId::from(n))).collect(),
        locks: lock_rows(frozen, at),
        progress: progress(frozen, at),
        running: shown_as(state, Shown::Running).next().map(|id| (id, state.definition(id).stage)),
        detail: view.cursor.filter(|id| id.index() < state.tasks.len()).map(|id| detail(frozen, id, at)),
        alerts: alerts(frozen, at),
        posts: state.posts.last.iter().rev().map(|post| said(state, post)).collect(),
        shared: (
            state.shared.entries.iter().take(SHARED_LISTED).map(|one| shared(state, one)).collect(),
            state.shared.entries.len(),
        ),
        actions: state.actions.iter().rev().take(LISTED).map(|done| action(state, done)).collect(),
        record: Arc::default(),
        graph: match view.graph {
            Some((node, depth)) => Arc::new(around(frozen, node, depth, at)),
            None => Arc::default(),
        },
        marked: Arc::new(super::marks::marked(frozen, &view.marked)),
        to_mark: view.marking.map(|marking| Arc::new(super::rows::to_mark(state, view, marking))),
        waits: if view.waits { Arc::new(super::waits::waits(frozen, at)) } else { Arc::default() },
    }
}

/// A task as the queue shows it.
pub fn task(frozen: &Frozen, id: TaskId, at: Time) -> super::TaskRow {
    super::rows::task_row(frozen, id, at)
}

/// The phase as screens name it.
pub fn phase(shown: Shown) -> Phase {
    match shown {
        Shown::Running => Phase::Running,
        Shown::Stopping => Phase::Stopping,
        Shown::Ready => Phase::Ready,
        Shown::Delayed => Phase::Delayed,
        Shown::Awaiting => Phase::Awaiting,
        Shown::Waiting => Phase::Waiting,
        Shown::Held => Phase::Held,
        Shown::Lost => Phase::Lost,
        Shown::Failed => Phase::Failed,
        Shown::Blocked => Phase::Blocked,
        Shown::Cancelled => Phase::Cancelled,
        Shown::Skipped => Phase::Skipped,
        Shown::Succeeded => Phase::Succeeded,
    }
}

pub(super) fn counts(state: &State, tally: &Tally) -> Counts {
    Counts {
        total: tally.0.iter().map(|n| *n as usize).sum(),
        running: tally.of(Shown::Running),
        stopping: tally.of(Shown::Stopping),
        ready: tally.of(Shown::Ready),
        delayed: tally.of(Shown::Delayed),
        awaiting: tally.of(Shown::Awaiting),
        waiting: tally.of(Shown::Waiting),
        held: tally.of(Shown::Held),
        blocked: tally.of(Shown::Blocked),
        failed: tally.of(Shown::Failed),
        excused: 0,
        lost: tally.of(Shown::Lost),
        cancelled: tally.of(Shown::Cancelled),
        skipped: tally.of(Shown::Skipped),
        succeeded: tally.of(Shown::Succeeded),
        by_fallback: state.by_fallback as usize,
        retries: state.retries as usize,
    }
}

fn header(frozen: &Frozen, at: Time) -> Header {
    let state = &frozen.engine.state;
    let words = |entry: Option<&(Command, Command)>| entry.map(|(command, _)| in_words(state, command));
    Header {
        workflow: state.settings.name.clone(),
        session: frozen.session.clone(),
        at,
        started: state.started,
        ended: state.is_finished().then_some(state.now),
        mode: mode(state),
        due: state.deadlines.first().map(|(at, id)| (*at, state.name(*id).to_owned())),
        guard_lost: frozen.guard_lost,
        storage: frozen.storage.clone(),
        max_running: state.settings.max_running,
        breaker: super::why::breaker_words(state, at),
        pause_while: state.settings.pause_while.as_ref().map(|_| !state.ignores_overload),
        undo: words(state.undo.back()),
        redo: words(state.redo.back()),
        replay: None,
        attached: frozen.attached,
        read_only: frozen.read_only.clone(),
        log_dir: frozen.log_dir.clone(),
    }
}

fn mode(state: &State) -> Mode {
    match state.ending {
        _ if state.is_finished() => Mode::Finished,
        Some(Ending::Drain | Ending::Detach) => Mode::Draining,
        Some(Ending::Stop | Ending::StopNow) => Mode::Stopping,
        None if state.paused => Mode::Paused,
        None if state.closed() == Some(Closed::Overload) => Mode::Overloaded,
        None => Mode::Running,
    }
}

/// An amount as people write it: bytes for `mem`-like numbers are not known here, so sizes above a mebibyte are shown so.
pub fn amount(amount: Amount) -> String {
    let (whole, rest) = (amount.0 / 1000, amount.0 % 1000);
    const KIB: u64 = 1024;
    match whole {
        n if n >= KIB * KIB * KIB => format!("{:.1}GiB", n as f64 / (KIB * KIB * KIB) as f64),
        n if n >= KIB * KIB => format!("{:.0}MiB", n as f64 / (KIB * KIB) as f64),
        n if rest == 0 => n.to_string(),
        n => format!("{n}.{rest:03}").trim_end_matches('0').to_owned(),
    }
}

fn agent_row(frozen: &Frozen, id: AgentId) -> AgentRow {
    let state = &frozen.engine.state;
    let agent = state.agent(id);
    let resources = agent.resources.iter().map(|(resource, capacity, used)| {
        let share = used.0 as f64 / capacity.0.max(1) as f64;
        let text = format!("{}/{}", amount(*used), amount(*capacity));
        (state.resource(*resource).definition.name.clone(), text, share)
    });
    let sampled = state.tasks_on(id).filter_map(|task| frozen.load.tasks.get(&task));
    let (cpu, memory) = sampled.fold((0.0, 0), |(cpu, memory), (c, m)| (cpu + c, memory + m));
    AgentRow {
        name: agent.definition.name.clone(),
        id: Some(id),
        busy: agent.busy,
        slots: agent.slots,
        resources: resources.collect(),
        tasks: state.tasks_on(id).take(8).map(|task| state.name(task).to_owned()).collect(),
        cpu_percent: frozen.load.sampled.then_some(cpu),
        memory: frozen.load.sampled.then_some(memory),
        load: frozen.rates.busy.get(id.index()).cloned().unwrap_or_default(),
        capabilities: agent.definition.capabilities.clone(),
        lost: agent.lost.as_ref().map(|lost| (lost.since, lost.saw.to_string())),
        ran: (agent.ran.0 > 0).then(|| (agent.ran.0, Span(agent.ran.1 / agent.ran.0))),
    }
}

fn lock_rows(frozen: &Frozen, at: Time) -> Vec<LockRow> {
    let state = &frozen.engine.state;
    let shared = (0..state.resources.len())
        .map(ResourceId::from)
        .filter(|id| state.resource(*id).definition.kind != ResourceKind::PerAgent);
    let mut rows: Vec<LockRow> = shared.take(LOCKS).map(|id| lock_row(frozen, id, at)).collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.waiting), row.resource));
    rows
}

fn lock_row(frozen: &Frozen, id: ResourceId, at: Time) -> LockRow {
    let state = &frozen.engine.state;
    let entry = state.resource(id);
    let is_lock = entry.definition.kind == ResourceKind::Lock;
    let (line, waiting) = frozen.engine.line(id);
    let reserved = state.reservations.get(&crate::engine::fact::Target::Resource(id));
    let taken = match entry.bucket {
        // In whole units: it fills up all the time.
        Some(_) => Amount(entry.capacity.0.saturating_sub(entry.free(at).0).next_multiple_of(1000)),
        None => entry.used,
    };
    let used = match (is_lock, taken) {
        (false, used) => format!("{}/{}", amount(used), amount(entry.capacity)),
        (true, Amount(0)) => "free".to_owned(),
        (true, Amount::WHOLE_LOCK) => "1/1".to_owned(),
        (true, Amount(n)) => format!("shared {n}"),
    };
    let mut row = LockRow {
        resource: id,
        name: entry.definition.name.clone(),
        used,
        share: if is_lock {
            f64::from(u8::from(entry.used.0 > 0))
        } else {
            taken.0 as f64 / entry.capacity.0.max(1) as f64
        },
        holders: locks::holders(state, id),
        waiting,
        line: line.into_iter().map(|task| state.name(task).to_owned()).collect(),
        reserved_for: reserved.map(|held| state.name(held.task).to_owned()),
        capacity: (!is_lock).then_some(entry.capacity),
    };
    locks::put_ahead(state, id, &mut row);
    row
}

/// How some of a resource is held, in a word.
pub fn how(is_lock: bool, held: Amount) -> String {
    match (is_lock, held) {
        (true, Amount::WHOLE_LOCK) => "exclusive".to_owned(),
        (true, _) => "shared".to_owned(),
        (false, held) => amount(held),
    }
}

fn progress(frozen: &Frozen, at: Time) -> Progress {
    let state = &frozen.engine.state;
    let slots: u64 = (0..state.agents.len()).map(|n| u64::from(state.agents.at(n).slots)).sum();
    let busy: u64 = (0..state.agents.len())
        .map(|n| {
            let agent = state.agents.at(n);
            agent.busy_ms + u64::from(agent.busy) * at.since(agent.busy_since).0
        })
        .sum();
    let elapsed = if state.is_finished() { state.now } else { at }.since(state.started).0;
    let ended = &frozen.rates.ended;
    let last_minute = ended.iter().rev().take(12).sum::<u32>() as f32;
    // Of a run that is over, its whole.
    let whole = state.ended_attempts.0 as f32 * 60_000.0 / elapsed.max(1000) as f32;
    Progress {
        throughput: ended.iter().map(|n| *n as f32 * 12.0).collect(),
        per_minute: if state.is_finished() { whole } else { last_minute },
        wait: frozen.rates.wait,
        run: frozen.rates.run,
        critical: Vec::new(),
        limits: limits(frozen),
        utilisation: if slots * elapsed == 0 { 0.0 } else { busy as f32 / (slots * elapsed) as f32 },
        attempts: (state.ended_attempts.0 as usize, state.ended_attempts.1 as usize),
        eta: None,
        eta_why_not: Some("no forecast yet".into()),
        quality: state.quality.percent(),
        goals: state
            .goals
            .iter()
            .take(LISTED)
            .map(|goal| (goal.definition.name.clone(), goal.said.as_ref().map(|said| said.0)))
            .collect(),
        phases: state.phases.iter().map(|phase| phase_line(state, phase)).collect(),
    }
}

fn phase_line(state: &State, phase: &RunPhase) -> PhaseLine {
    let tallies = || phase.definition.stages.iter().map(|stage| &state.stage(*stage).counts);
    let sum = |shown: &[Shown]| tallies().map(|tally| shown.iter().map(|one| tally.of(*one)).sum::<usize>()).sum();
    PhaseLine {
        name: phase.definition.name.clone(),
        done: sum(&[Shown::Succeeded, Shown::Skipped]),
        total: phase.definition.stages.iter().map(|stage| state.stage(*stage).counts.all()).sum(),
        running: sum(&[Shown::Running, Shown::Stopping]),
        failed: phase.failed as usize,
        ended: phase.ended,
    }
}

/// What the ready tasks wait for first, as shares of all that are ready.
fn limits(frozen: &Frozen) -> Vec<(String, f32)> {
    let state = &frozen.engine.state;
    let ready = state.counts.of(Shown::Ready);
    if ready == 0 {
        return Vec::new();
    }
    let shared = (0..state.resources.len().min(LOCKS)).map(ResourceId::from);
    let mut all: Vec<(String, usize)> = shared
        .map(|id| (state.resource(id).definition.name.clone(), frozen.engine.line(id).1))
        .filter(|(_, waiting)| *waiting > 0)
        .collect();
    let locked: usize = all.iter().map(|(_, n)| n).sum();
    if ready > locked {
        all.push(("slots".to_owned(), ready - locked));
    }
    all.sort_by_key(|(_, waiting)| std::cmp::Reverse(*waiting));
    all.truncate(4);
    all.into_iter().map(|(name, n)| (name, n as f32 / ready as f32)).collect()
}

// ── alerts and actions ───────────────────────────────────────────────────────────────────────────────────────────────

/// What needs the operator, grouped by cause.
fn alerts(frozen: &Frozen, at: Time) -> Vec<Alert> {
    let state = &frozen.engine.state;
    let mut alerts: Vec<Alert> = troubles(state).into_iter().map(|trouble| trouble.alert(state)).collect();
    let mut add = |at: Time, text: String, task: Option<TaskId>, bad: bool| {
        alerts.push(Alert { at, text, count: 1, task, bad });
    };
    for (deadline, id) in state.deadlines.iter().take(50).take_while(|(deadline, _)| *deadline < at) {
        let late = duration(at.since(*deadline));
        add(*deadline, format!("{} is over its deadline by {late}", state.name(*id)), Some(*id), false);
    }
    for id in shown_as(state, Shown::Awaiting).take(50) {
        if let Some(question) = super::fallbacks::question(state, id) {
            let text = format!("{} failed and asks: {question} (A again, :skip, D fail)", state.name(id));
            add(state.task(id).since, text, Some(id), true);
        }
        if let TaskType::Approval(approval) = &state.definition(id).task_type {
            let text = format!("{} asks: {} (A approve, D reject)", state.name(id), approval.text);
            add(state.task(id).since, text, Some(id), false);
        }
        if let Some(gate) = state.definition(id).task_type.gate().filter(|gate| gate.asks_people()) {
            let text = format!("{} {} (A approve, D reject)", state.name(id), gate.words());
            add(state.task(id).since, text, Some(id), false);
        }
    }
    let urgent = state.posts.last.iter().rev().filter(|post| post.priority > 0);
    for post in urgent.take_while(|post| at.since(post.at) < POST_ALERTS).take(10) {
        add(post.at, format!("{} says: {} (g m messages)", state.who(&post.by), post.text), None, false);
    }
    for id in state.troubled.iter().take(50) {
        for noticed in state.task(*id).live.iter().flat_map(|live| &live.troubles) {
            let text =
                format!("{} {}: {}", state.name(*id), super::why::trouble_words(state, *id, noticed, at), noticed.saw);
            add(noticed.since, text, Some(*id), false);
        }
    }
    for id in shown_as(state, Shown::Held).take(50) {
        if let Some(why) = &state.task(id).because {
            add(
                state.task(id).since,
                format!("{} is held: {why} (release it to ask again)", state.name(id)),
                Some(id),
                true,
            );
        }
    }
    if let (Gate::Open { since, .. }, Some(words)) = (state.breaker.gate, super::why::breaker_words(state, at)) {
        add(since, words, None, true);
    }
    if let Some(overload) = state.overload.as_ref().filter(|_| !state.ignores_overload) {
        let text = format!("nothing starts while {} (:pause-while ignores it)", overload.why);
        add(overload.since, text, None, false);
    }
    for (at, text, bad) in frozen.notes.iter() {
        add(*at, text.clone(), None, *bad);
    }
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.at));
    alerts.truncate(LISTED);
    alerts
}

/// Tasks that failed or were lost by one cause.
struct Trouble<'a> {
    cause: Option<&'a Outcome>,
    /// The first of them.
    task: TaskId,
    count: usize,
    /// When the last of them ended.
    at: Time,
}

impl Trouble<'_> {
    fn alert(&self, state: &State) -> Alert {
        let cause = self.cause.map_or_else(|| "failed".into(), outcome_words);
        let text = match self.count {
            1 => format!("{}: {cause}", state.name(self.task)),
            count => format!("{count} tasks: {cause}"),
        };
        Alert { at: self.at, text, count: self.count, task: Some(self.task), bad: true }
    }
}

/// What was lost, then what failed, by cause. Words are made of each cause only: every frame looks at all of these tasks.
fn troubles(state: &State) -> Vec<Trouble<'_>> {
    let mut troubles: Vec<Trouble<'_>> = Vec::new();
    for id in [Shown::Lost, Shown::Failed].into_iter().flat_map(|shown| shown_as(state, shown).take(LOOKED_AT)) {
        let task = state.task(id);
        let cause = task.past.as_ref().and_then(|past| past.last()).map(|past| &past.outcome);
        match troubles.iter_mut().find(|trouble| trouble.cause == cause) {
            Some(trouble) => {
                trouble.count += 1;
                trouble.at = trouble.at.max(task.since);
            }
            None => troubles.push(Trouble { cause, task: id, count: 1, at: task.since }),
        }
    }
    troubles
}

/// Tasks shown in one way, stage by stage.
pub(super) fn shown_as(state: &State, shown: Shown) -> impl Iterator<Item = TaskId> {
    use crate::engine::ids::StageId;
    use crate::engine::state::DisplayKey;
    (0..state.stages.len()).map(StageId::from).flat_map(move |stage| {
        let count = state.stage(stage).counts.of(shown);
        let from = DisplayKey { stage, shown, key: (i64::MIN, 0, 0), task: TaskId(0) };
        let start = if count == 0 { 0 } else { state.display.position(&from) };
        state.display.iter_at(start).take(count).map(|key| key.task)
    })
}

/// An outcome in a few words: `"exit 2"`, `"signal 9"`, `"timed out"`.
pub fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded => "done".into(),
        Outcome::Failed(Cause::Exit(code)) => format!("exit {code}"),
        Outcome::Failed(Cause::Signal(signal)) => format!("signal {signal}"),
        Outcome::Failed(Cause::TimedOut) => "timed out".into(),
        Outcome::Failed(Cause::CouldNotStart(problem)) => format!("could not start: {}", problem.message),
        Outcome::Failed(Cause::OutOfMemory) => "out of memory".into(),
        Outcome::Failed(Cause::Rejected) => "rejected".into(),
        Outcome::Failed(Cause::Validation { what }) => format!("invalid: {what}"),
        Outcome::Failed(Cause::Limit { what }) => format!("limit: {what}"),
        Outcome::Failed(Cause::Gate) => "a check does not hold".into(),
        Outcome::Failed(Cause::BrokenBarrier) => "a broken barrier".into(),
        Outcome::Failed(Cause::NoMajority) => "no majority".into(),
        Outcome::Failed(Cause::AgentLost) => "agent lost".into(),
        Outcome::Failed(Cause::Monitor(trouble)) => trouble.word().into(),
        Outcome::Cancelled => "cancelled".into(),
        Outcome::Aborted(_) => "stopped".into(),
        Outcome::UpToDate => "up to date".into(),
        Outcome::Lost(why) => format!("lost: {why}"),
    }
}

fn said(state: &State, post: &Post) -> PostRow {
    PostRow { at: post.at, by: state.who(&post.by), priority: post.priority, text: post.text.to_string() }
}

fn shared(state: &State, (key, entry): (&Arc<str>, &Entry)) -> SharedRow {
    let value = crate::engine::care::cut(crate::engine::shared::text_of(&entry.value));
    SharedRow { key: key.to_string(), value, version: entry.version, at: entry.at, by: state.who(&entry.by) }
}

fn action(state: &State, done: &crate::engine::state::Done) -> Action {
    let text = match &done.what {
        DoneWhat::Command(command) => in_words(state, command),
        DoneWhat::Transition(id, why) => format!("{}: {why}", state.transition_words(*id)),
        DoneWhat::Compensation(why) => format!("compensation: {why}"),
        DoneWhat::Undo(command) => format!("undo: {}", in_words(state, command)),
        DoneWhat::Redo(command) => format!("redo: {}", in_words(state, command)),
    };
    let who = match &done.by {
        Origin::Operator => "you".into(),
        Origin::Rule => "rule".into(),
        Origin::Client(who) => format!("{who} (ctl)"),
        Origin::Task(..) => state.who(&done.by),
    };
    Action { at: done.at, who, text }
}

/// A command in words: `"priority of link to 60"`.
pub fn in_words(state: &State, command: &Command) -> String {
    let name = |task: &TaskId| state.definitions.get(task.index()).map_or("?", |definition| definition.id.as_str());
    match command {
        Command::SetPriority { task, priority } => format!("priority of {} to {priority}", name(task)),
        Command::Hold { task } => format!("hold {}", name(task)),
        Command::Release { task } => format!("release {}", name(task)),
        Command::Cancel { task } => format!("cancel {}", name(task)),
        Command::Kill { task } => format!("kill {}", name(task)),
        Command::Retry { task } => format!("retry {}", name(task)),
        Command::Skip { task } => format!("skip {}", name(task)),
        Command::Unskip { task } => format!("requeue {}", name(task)),
        Command::Add(added) => {
            let first = added.tasks.first().map_or("?", |task| task.id.as_str());
            match added.tasks.len() {
                1 => format!("add {first}"),
                many => format!("add {first} and {} more", many - 1),
            }
        }
        Command::Edit { task, .. } => format!("edit {}", name(task)),
        Command::Remove { task } => format!("remove {}", name(task)),
        Command::Restore { task } => format!("bring {} back", name(task)),
        Command::Fallback { task } => format!("fallback of {}", name(task)),
        Command::Vote { task, abstains: true, .. } => format!("abstain from {}", name(task)),
        Command::Vote { task, approves: true, .. } => format!("approve {}", name(task)),
        Command::Vote { task, .. } => format!("reject {}", name(task)),
        Command::Pause => "pause".into(),
        Command::Resume => "go on".into(),
        Command::Drain => "finish what runs, then end".into(),
        Command::Stop => "stop everything".into(),
        Command::StopNow => "kill everything".into(),
        Command::Detach => "detach".into(),
        Command::SetSlots { agent, slots } => {
            let name = state.agents.get(agent.index()).map_or("?", |agent| agent.definition.name.as_str());
            format!("slots of {name} to {slots}")
        }
        Command::SetCapacity { resource, agent, amount: to } => {
            let name =
                state.resources.get(resource.index()).map_or_else(|| "?".to_owned(), |entry| entry.definition.words());
            let on = agent.and_then(|agent| state.agents.get(agent.index()));
            let on = on.map_or_else(String::new, |agent| format!(" on {}", agent.definition.name));
            format!("{name}{on} to {}", amount(*to))
        }
        Command::SetCapabilities { agent, capabilities } => {
            let name = state.agents.get(agent.index()).map_or("?", |agent| agent.definition.name.as_str());
            match capabilities.as_slice() {
                [] => format!("{name} offers nothing"),
                names => format!("{name} offers {}", names.join(", ")),
            }
        }
        Command::SetMaxRunning { most: Some(most) } => format!("at most {most} run at once"),
        Command::SetMaxRunning { most: None } => "no limit of what runs at once".into(),
        Command::CloseBreaker => "close the circuit breaker".into(),
        Command::Post { text, .. } => format!("say {}", crate::engine::care::cut(text.clone())),
        Command::SetState { key, value: Some(value), .. } => {
            format!("set {key} to {}", crate::engine::shared::text_of(value))
        }
        Command::SetState { key, value: None, .. } => format!("delete {key}"),
        Command::Lock(request) => {
            let name = state.resources.get(request.resource.index()).map_or("?", |entry| &entry.definition.name);
            format!("lock {name}")
        }
        Command::Meet { barrier, .. } | Command::Leave { barrier, .. } => {
            let name = state.barriers.get(barrier.index()).map_or("?", |barrier| &barrier.definition.name);
            format!("barrier {name}")
        }
        Command::Unlock { ticket } => format!("give back the lock {ticket}"),
        Command::GiveBack { resource } => {
            let name = state.resources.get(resource.index()).map_or("?", |entry| &entry.definition.name);
            format!("give {name} back")
        }
        Command::RenewLock { ticket } => format!("renew the lock {ticket}"),
        Command::HeedPauseWhile(true) => "let PauseWhile count".into(),
        Command::HeedPauseWhile(false) => "ignore PauseWhile".into(),
        Command::Compensate => "stop the run and compensate what was done".into(),
        Command::Undo => "undo".into(),
        Command::Redo => "redo".into(),
        Command::Load(_) => "load".into(),
        Command::All(commands) if commands.len() == 1 => in_words(state, &commands[0]),
        Command::All(commands) => {
            let first = commands.first().map(|command| in_words(state, command)).unwrap_or_default();
            format!("{first} and {} more", commands.len().saturating_sub(1))
        }
    }
}
