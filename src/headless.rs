//! A session as text: plain lines for people and logs, or one JSON object a fact. Knows facts and definitions, nothing of
//! screens. Runs on its own thread: a reader that is slow or gone never slows or ends the run.

mod found;

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::engine::definition::{GoalKind, TaskDefinition, TaskType};
use crate::engine::fact::{Cause, Ending, Fact, Outcome, Stamped, Then};
use crate::engine::gates::check_words;
use crate::engine::ids::{Span, TaskId, Time};
use crate::engine::locks::LockEnd;
use crate::engine::message::{Command, Origin, StopReason, StopSignal};
use crate::engine::shared;
use crate::engine::state::State;
use crate::snapshot::build::outcome_words;
use crate::snapshot::why::{duration, short_span as span};
use crate::text;

/// Lines of output shown of a failed attempt.
const LAST_LINES: usize = 10;
/// Cells of such a line.
const LINE_CELLS: usize = 400;
/// Bytes read from its end to find them.
const LAST_BYTES: u64 = 16 * 1024;
/// What is stored within so long after a line was written is written together with it: a wake for each line would cost the
/// tasks more than the line.
const TOGETHER: Duration = Duration::from_millis(20);
/// Lines that may wait for a slow reader; beyond it new ones are dropped and their number is said.
const WAITING_LINES: usize = 1_000_000;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Plain,
    /// One JSON object a fact.
    Json,
    /// Nothing.
    Silent,
}

/// A stored fact on its way to the printer.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its number in the journal.
    pub seq: u64,
    /// The fact.
    pub fact: Stamped,
    /// The definition of the task it speaks of.
    pub task: Option<Arc<TaskDefinition>>,
    /// For an ended attempt: when it began to run and its output file.
    pub ended: Option<(Time, Option<u64>)>,
    /// For a transition, where it leads from and to; for a phase its name; for what falls back, to what.
    pub way: Option<String>,
}

impl Item {
    /// A fact with what belongs to it, out of the State that has it.
    pub fn of(state: &State, stamped: &Stamped, seq: u64) -> Self {
        let id = task_of(&stamped.fact);
        let past = match &stamped.fact {
            Fact::Ended { .. } => id.and_then(|id| state.task(id).past.as_ref()?.last()),
            _ => None,
        };
        let ended = past.map(|past| (past.started, past.log));
        let task = id.map(|id| state.definition(id).clone());
        Self { seq, fact: stamped.clone(), task, ended, way: way_of(state, &stamped.fact) }
    }
}

/// How facts become lines.
pub struct Lines {
    /// Which lines.
    pub style: Style,
    /// From when times are counted.
    pub started: Time,
    /// Where the outputs are.
    pub log_dir: PathBuf,
}

impl Lines {
    /// Writes the lines of one fact.
    ///
    /// # Errors
    /// What writing says.
    pub fn write(&self, out: &mut impl Write, item: &Item) -> io::Result<()> {
        match self.style {
            Style::Json => json(out, item),
            Style::Plain => plain(out, item, self.started, &self.log_dir),
            Style::Silent => Ok(()),
        }
    }
}

/// Plain lines tell of it (a definition each would be noise).
pub fn is_told(fact: &Fact) -> bool {
    if let Fact::TaskAdded(definition) = fact {
        return definition.added_by.is_some();
    }
    !matches!(
        fact,
        Fact::ResourceAdded(_)
            | Fact::AgentAdded(_)
            | Fact::StageAdded(_)
            | Fact::FallbackAdded(_)
            | Fact::BarrierAdded(_)
            | Fact::Configured(_)
            | Fact::Starting { .. }
            | Fact::Due { .. }
            | Fact::Reserved { .. }
            | Fact::LockAsked { .. }
            | Fact::LockGranted { .. }
            | Fact::LockRenewed { .. }
            | Fact::LockOver { end: LockEnd::Released, .. }
    )
}

/// How long the queue to the printer is, and what had no room in it.
#[derive(Debug, Default)]
struct Queue {
    waiting: AtomicUsize,
    dropped: AtomicUsize,
}

/// The printing thread.
pub struct Printer {
    sender: Option<Sender<Item>>,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Printer {
    /// Starts it.
    pub fn start(style: Style, started: Time, log_dir: PathBuf) -> io::Result<Self> {
        if style == Style::Silent {
            return Ok(Self { sender: None, queue: Arc::default(), thread: None });
        }
        let (sender, receiver) = channel();
        let queue = Arc::new(Queue::default());
        let counted = queue.clone();
        let run = move || {
            // A closed stdout ends the printing, not the run.
            let _ = print_all(&receiver, &counted, &Lines { style, started, log_dir });
        };
        let thread = std::thread::Builder::new().name("printer".into()).spawn(run)?;
        Ok(Self { sender: Some(sender), queue, thread: Some(thread) })
    }

    /// Takes a stored fact. Never waits.
    pub fn take(&self, item: Item) {
        if let Some(sender) = &self.sender {
            if self.queue.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_LINES {
                self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
                self.queue.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // The printer ends when nobody reads any more: then nothing is to be done.
            let _ = sender.send(item);
        }
    }

    /// Prints what is left and ends.
    pub fn finish(mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What the summary line says, and the exit code with it.
pub fn summary(state: &State, elapsed: Span) -> String {
    use crate::engine::state::Shown;
    let count = |shown| state.counts.of(shown);
    let mut parts = vec![format!("{} done", count(Shown::Succeeded))];
    if state.by_fallback > 0 {
        parts.push(format!("{} of them by a fallback", state.by_fallback));
    }
    for (shown, word) in [
        (Shown::Skipped, "skipped"),
        (Shown::Failed, "failed"),
        (Shown::Blocked, "behind a failure"),
        (Shown::Cancelled, "cancelled"),
        (Shown::Lost, "lost"),
        (Shown::Held, "held"),
    ] {
        if count(shown) > 0 {
            let excused = if shown == Shown::Failed { state.excused } else { 0 };
            let excused = if excused > 0 { format!(" ({excused} excused)") } else { String::new() };
            parts.push(format!("{} {word}{excused}", count(shown)));
        }
    }
    if let Some(percent) = state.quality.percent() {
        parts.push(format!("quality {percent} %"));
    }
    let missed: Vec<&str> = state.missed().map(|goal| goal.definition.name.as_str()).take(5).collect();
    if !missed.is_empty() {
        parts.push(text::clean(&format!("missed {}", missed.join(", "))).into_owned());
    }
    if state.waits_for_people() {
        let stand = state.barriers.iter().map(|barrier| barrier.waiting as usize).sum::<usize>();
        let asking = count(Shown::Awaiting) - stand;
        let word = if asking == 1 { "awaits" } else { "await" };
        parts.push(format!("{asking} {word} approval: qd resume … --approve TASK"));
    }
    let open = count(Shown::Ready)
        + count(Shown::Delayed)
        + count(Shown::Awaiting)
        + count(Shown::Waiting)
        + state.live as usize;
    if open > 0 {
        parts.push(format!("{open} not run"));
    }
    format!("{} in {}", parts.join(", "), took(elapsed))
}

fn print_all(receiver: &Receiver<Item>, queue: &Queue, lines: &Lines) -> io::Result<()> {
    let style = lines.style;
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    loop {
        let item = match receiver.try_recv() {
            Ok(item) => item,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                say_dropped(&mut out, queue, style)?;
                out.flush()?;
                std::thread::park_timeout(TOGETHER);
                match receiver.recv() {
                    Ok(item) => item,
                    Err(_) => break,
                }
            }
        };
        queue.waiting.fetch_sub(1, Ordering::Relaxed);
        lines.write(&mut out, &item)?;
    }
    say_dropped(&mut out, queue, style)?;
    out.flush()
}

/// Says how many lines a slow reader has missed, after those that were kept for it.
fn say_dropped(out: &mut impl Write, queue: &Queue, style: Style) -> io::Result<()> {
    match (queue.dropped.swap(0, Ordering::Relaxed), style) {
        (0, _) | (_, Style::Silent) => Ok(()),
        (count, Style::Json) => writeln!(out, r#"{{"v":1,"fact":"Dropped","count":{count}}}"#),
        (count, Style::Plain) => {
            writeln!(out, "… {count} lines were dropped: the reader was too slow; all is in the journal")
        }
    }
}

// ── plain lines ──────────────────────────────────────────────────────────────────────────────────────────────────────

fn plain(out: &mut impl Write, item: &Item, started: Time, log_dir: &Path) -> io::Result<()> {
    let name = item.task.as_ref().map_or_else(String::new, |task| text::clean(&task.id).into_owned());
    let clock = clock(item.fact.at.since(started));
    if let Fact::Found { findings, .. } = &item.fact.fact {
        for (mark, words) in found::words(findings, &name) {
            writeln!(out, "{clock}  {mark} {words}")?;
        }
        return Ok(());
    }
    let Some((mark, words)) = plain_words(item, &name) else { return Ok(()) };
    writeln!(out, "{clock}  {mark} {words}")?;
    if let (Fact::Ended { outcome: Outcome::Failed(_), .. }, Some((_, Some(log)))) = (&item.fact.fact, item.ended) {
        for line in last_lines(&log_dir.join(log.to_string()), LAST_LINES) {
            writeln!(out, "         │ {line}")?;
        }
    }
    Ok(())
}

/// Time since the start: `0:04.2`, `1:02:03`.
fn clock(span: Span) -> String {
    let (seconds, tenths) = (span.0 / 1000, span.0 / 100 % 10);
    match seconds {
        0..3600 => format!("{:>2}:{:02}.{tenths}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// A length of time for people: tenths below ten seconds.
fn took(span: Span) -> String {
    match span.0 {
        0..10_000 => format!("{}.{}s", span.0 / 1000, span.0 / 100 % 10),
        _ => duration(span),
    }
}

fn plain_words(item: &Item, name: &str) -> Option<(&'static str, String)> {
    Some(match &item.fact.fact {
        Fact::Opened { .. } | Fact::Closed { .. } => return None,
        Fact::Recovered { lost_bytes } => {
            ("!", format!("recovered: {lost_bytes} torn bytes at the journal's end cut off"))
        }
        Fact::Loaded { tasks } => ("▸", format!("{tasks} task{}", if *tasks == 1 { "" } else { "s" })),
        Fact::Running { attempt, .. } if attempt.0 > 1 => ("●", format!("started   {name} (attempt {attempt})")),
        Fact::Running { .. } => ("●", format!("started   {name}")),
        Fact::Adopted { .. } => ("●", format!("adopted   {name}: it still runs")),
        Fact::NotStarted { why: Some(why), .. } => ("○", format!("delayed   {name}: {}", text::clean(why))),
        Fact::NotStarted { .. } => ("○", format!("requeued  {name}: it had not been started")),
        Fact::Stopping { reason, signal, .. } => ("◌", format!("stopping  {name}: {}", stop_words(*reason, *signal))),
        Fact::Exited { left: 1, .. } => ("◌", format!("left      {name}: 1 process lives on")),
        Fact::Exited { left, .. } => ("◌", format!("left      {name}: {left} processes live on")),
        Fact::Noticed { trouble, saw, .. } => {
            ("▲", format!("notices   {name}: {}: {}", trouble.word(), text::clean(saw)))
        }
        Fact::NoticeOver { trouble, .. } => ("▸", format!("goes on   {name}: not {} any more", trouble.word())),
        Fact::Ended { outcome, then, .. } => {
            let ran =
                item.ended.map_or_else(String::new, |(since, _)| format!(" ({})", took(item.fact.at.since(since))));
            let (mark, word) = match outcome {
                Outcome::Succeeded | Outcome::UpToDate => ("✓", "finished "),
                Outcome::Failed(_) => ("✗", "failed   "),
                Outcome::Cancelled => ("⊘", "cancelled"),
                Outcome::Aborted(_) => ("⊘", "stopped  "),
                Outcome::Lost(_) => ("?", "lost     "),
            };
            let cause = if *outcome == Outcome::Succeeded {
                String::new()
            } else {
                format!(": {}", text::clean(&outcome_words(outcome)))
            };
            let then = match then {
                Then::Rest => String::new(),
                Then::Retry(until) => format!(", retry in {}", took(until.since(item.fact.at))),
                Then::Fallback(_) => format!(", fallback {}", way(item)),
                Then::Later(_, until) => {
                    format!(", fallback {} in {}", way(item), took(until.since(item.fact.at)))
                }
                Then::Requeue => ", queued again".into(),
            };
            (mark, format!("{word} {name}{cause}{ran}{then}"))
        }
        Fact::Skipped { why, .. } => ("⊘", format!("skipped   {name}{}", because(why.as_deref()))),
        Fact::Cancelled { why, .. } => ("⊘", format!("cancelled {name}{}", because(why.as_deref()))),
        Fact::Excused { why, .. } => ("○", format!("excused   {name}{}", because(Some(why)))),
        Fact::TransitionTaken { round, why, .. } => {
            let round = if *round > 1 { format!(" (round {round})") } else { String::new() };
            ("▸", format!("goes on   {}{round}: {}", way(item), text::clean(why)))
        }
        Fact::TransitionPassed { why, .. } => ("○", format!("not taken {}: {}", way(item), text::clean(why))),
        Fact::PhaseFailed { .. } => ("▌", format!("ended     phase {}: {name} failed", way(item))),
        Fact::AtBarrier { .. } => ("◔", format!("barrier   {name}: {}", text::clean(&way(item)))),
        Fact::BarrierPassed { why: None, .. } => ("▸", format!("barrier   {}: all have come", way(item))),
        Fact::BarrierPassed { why, .. } => {
            ("▸", format!("barrier   {}: goes on though{}", way(item), because(why.as_deref())))
        }
        Fact::BarrierBroken { why, .. } => ("▌", format!("barrier   {} is broken: {}", way(item), text::clean(why))),
        Fact::Compensating { why, .. } => ("▌", format!("undoes    {}: {}", way(item), text::clean(why))),
        Fact::CompensationsAdded { tasks: 0, .. } => {
            ("○", format!("undoes    {}: there is nothing to undo", way(item)))
        }
        Fact::CompensationsAdded { tasks, .. } => {
            let s = if *tasks == 1 { "" } else { "s" };
            ("▸", format!("undoes    {}: {tasks} task{s}, what ended last first", way(item)))
        }
        Fact::TaskAdded(definition) => {
            let by = definition.added_by.as_deref()?;
            ("▸", format!("adds      {} (by {})", text::clean(&definition.id), text::clean(by)))
        }
        Fact::CapabilitiesSet { capabilities, .. } => {
            ("▸", format!("agent     {} offers {}", way(item), text::clean(&capabilities.join(", "))))
        }
        Fact::AgentLost { saw, .. } => ("▌", format!("lost      agent {}: {}", way(item), text::clean(saw))),
        Fact::AgentBack { saw, .. } => ("▸", format!("back      agent {}: {}", way(item), text::clean(saw))),
        Fact::GivenBack { .. } => ("▸", format!("gives     {} back: {name}", way(item))),
        Fact::TaskEdited { .. } => ("▸", format!("changes   {name}")),
        Fact::TaskRemoved { .. } => ("⊘", format!("removes   {name}")),
        Fact::TaskRestored { .. } => ("▸", format!("restores  {name}")),
        Fact::Agreed { why, .. } => ("✓", format!("agrees    {name}: {}", text::clean(why))),
        Fact::Made { tasks, .. } => {
            ("▸", format!("makes     {name}: {tasks} task{} of a list", if *tasks == 1 { "" } else { "s" }))
        }
        Fact::Enough { done, of, .. } => ("▸", format!("enough    {name}: {done} of {of} are done")),
        Fact::StageDecided { holds, why, .. } => {
            let mark = if *holds { "▸" } else { "⊘" };
            (mark, format!("{}   {}: {}", if *holds { "enters " } else { "passes " }, way(item), text::clean(why)))
        }
        Fact::Awaiting { until, .. } => {
            let most = until.map_or_else(String::new, |at| format!(", for {} at most", took(at.since(item.fact.at))));
            match item.task.as_ref().map(|task| &task.task_type) {
                Some(TaskType::Approval(approval)) => {
                    ("◔", format!("asks      {name}: {} (approve or reject{most})", text::clean(&approval.text)))
                }
                Some(TaskType::QualityGate(gate)) => {
                    ("◔", format!("gate      {name} {}{most}", text::clean(&gate.words())))
                }
                Some(TaskType::Sensor(sensor)) => {
                    let (what, every) = (sensor.probe.words(), span(sensor.interval));
                    ("◔", format!("watches   {name}: {}, every {every}{most}", text::clean(&what)))
                }
                _ => ("◔", format!("awaits    {name}{most}")),
            }
        }
        Fact::Checked { holds, saw, check, .. } => {
            let gate = item.task.as_ref().and_then(|task| task.task_type.gate());
            let what = gate.and_then(|gate| gate.checks.get(*check as usize)).map_or_else(String::new, check_words);
            let mark = if *holds { "✓" } else { "✗" };
            (mark, format!("checked   {name}: {}: {}", text::clean(&what), text::clean(saw)))
        }
        // Of an approval its end says who gave it.
        Fact::Voted { approves, abstains, by, note, .. }
            if item.task.as_ref().is_some_and(|task| task.task_type.gate().is_some()) =>
        {
            let word = if *abstains {
                "abstains"
            } else if *approves {
                "yes"
            } else {
                "no"
            };
            let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
            ("◔", text::clean(&format!("voted     {name}: {by}: {word}{note}")).into_owned())
        }
        Fact::Sensed { saw, .. } => ("◔", format!("sees      {name}: {}", text::clean(saw))),
        Fact::Settled { outcome: Outcome::Succeeded, why, .. } => {
            ("✓", format!("done      {name}{}", because(why.as_deref())))
        }
        Fact::Settled { outcome, why, .. } => {
            let cause = text::clean(&outcome_words(outcome)).into_owned();
            ("✗", format!("failed    {name}: {cause}{}", because(why.as_deref())))
        }
        Fact::Held { why, .. } => ("⊘", format!("held      {name}{}", because(why.as_deref()))),
        // That an objective is met as things stand is no news before the end.
        Fact::GoalJudged { holds: true, .. } if item.way.as_deref().is_some_and(|way| way.starts_with("objective")) => {
            return None;
        }
        Fact::GoalJudged { holds, why, .. } => {
            let (mark, word) = if *holds { ("◆", "reached  ") } else { ("◇", "not met  ") };
            (mark, format!("{word} {}: {}", way(item), text::clean(why)))
        }
        Fact::CapacitySet { amount, .. } => {
            ("▸", format!("set       {} to {}", way(item), crate::snapshot::build::amount(*amount)))
        }
        Fact::MaxRunningSet { most: Some(most) } => ("▸", format!("set       at most {most} run at once")),
        Fact::MaxRunningSet { most: None } => ("▸", "set       no limit of what runs at once".into()),
        Fact::BreakerOpened { failures, until } => {
            let (wait, s) = (took(until.since(item.fact.at)), if *failures == 1 { "" } else { "s" });
            ("▌", format!("breaker   open: {failures} failure{s}, nothing starts for {wait}"))
        }
        Fact::BreakerProbes => ("▸", "breaker   half open: one task tries".into()),
        Fact::BreakerClosed => ("▸", "breaker   closed: going on".into()),
        Fact::Posted { priority, text, .. } => {
            let mark = if *priority > 0 { "▌" } else { "·" };
            (mark, format!("message   {}: {}", way(item), text::clean(text)))
        }
        Fact::StateSet { key, value, .. } => {
            let is =
                value.as_ref().map_or_else(|| "deleted".to_owned(), |value| format!("= {}", shared::text_of(value)));
            (
                "·",
                text::clean(&format!("state     {key} {} (by {})", crate::engine::care::cut(is), way(item)))
                    .into_owned(),
            )
        }
        Fact::AtMeeting { .. } => ("◔", format!("barrier   {name}: {}", text::clean(&way(item)))),
        Fact::MeetingOver { why: None, .. } => ("▸", format!("barrier   {}: all have come", way(item))),
        Fact::MeetingOver { why: Some(why), .. } => {
            ("▌", format!("barrier   {} is broken: {}", way(item), text::clean(why)))
        }
        Fact::LockOver { end: LockEnd::Expired, .. } => {
            ("▲", format!("lease     {name}: that of {} ran out", way(item)))
        }
        Fact::OverloadBegan { why } => ("▌", format!("overload  nothing starts while {}", text::clean(why))),
        Fact::OverloadEnded { why } => ("▸", format!("overload  over: {}", text::clean(why))),
        Fact::PauseWhileHeeded(true) => ("○", "overload  PauseWhile counts again".into()),
        Fact::PauseWhileHeeded(false) => ("○", "overload  PauseWhile is ignored".into()),
        Fact::Released { .. } => ("○", format!("released  {name}")),
        Fact::Requeued { .. } => ("○", format!("requeued  {name}")),
        Fact::FallbackChosen { .. } => ("○", format!("fallback  {name}: {}", way(item))),
        Fact::Paused => ("▌", "paused".into()),
        Fact::Resumed => ("▸", "going on".into()),
        Fact::Ending(Ending::Drain) => ("▌", "finishing what runs".into()),
        Fact::Ending(Ending::Stop) => ("▌", "stopping everything".into()),
        Fact::Ending(Ending::StopNow) => ("▌", "killing everything".into()),
        Fact::Ending(Ending::Detach) => ("▌", "detaching: what runs goes on under its guard".into()),
        _ => return None,
    })
}

/// Names of stages and phases come from a file.
fn way(item: &Item) -> String {
    item.way.as_deref().map_or_else(String::new, |way| text::clean(way).into_owned())
}

/// What [`Item::way`] is for a fact.
pub fn way_of(state: &State, fact: &Fact) -> Option<String> {
    match fact {
        Fact::TransitionTaken { transition, .. } | Fact::TransitionPassed { transition, .. } => {
            Some(state.transition_words(*transition))
        }
        Fact::PhaseFailed { phase, .. } => Some(state.phase(*phase).definition.name.clone()),
        Fact::AtBarrier { task, .. } => {
            let barrier = state.definition(*task).barrier?;
            Some(format!("{} {}", state.barriers[barrier.index()].definition.name, state.barrier_words(barrier)))
        }
        Fact::BarrierPassed { barrier, .. } | Fact::BarrierBroken { barrier, .. } => {
            Some(state.barriers[barrier.index()].definition.name.clone())
        }
        Fact::Compensating { phase, .. } | Fact::CompensationsAdded { phase, .. } => Some(match phase {
            Some(phase) => format!("phase {}", state.phase(*phase).definition.name),
            None => "the run".to_owned(),
        }),
        Fact::GoalJudged { goal, .. } => {
            let goal = &state.goals[goal.index()].definition;
            let kind = if goal.kind == GoalKind::Objective { "objective" } else { "milestone" };
            Some(format!("{kind} {}", goal.name))
        }
        Fact::StateSet { by, .. } | Fact::Posted { by, .. } => Some(state.who(by)),
        Fact::AtMeeting { barrier, task, .. } => {
            let name = &state.barriers[barrier.index()].definition.name;
            let come = state.waits_within(*task).map(|(_, come, of, _)| format!(" {come}/{of}"));
            Some(format!("{name}{}", come.unwrap_or_default()))
        }
        Fact::MeetingOver { barrier, .. } => Some(state.barriers[barrier.index()].definition.name.clone()),
        Fact::LockAsked { request, .. } => Some(state.resource(request.resource).definition.words()),
        Fact::LockGranted { resource, .. }
        | Fact::GivenBack { resource, .. }
        | Fact::LockRenewed { resource, .. }
        | Fact::LockOver { resource, .. }
        | Fact::CapacitySet { resource, .. } => Some(state.resource(*resource).definition.words()),
        Fact::AgentLost { agent, .. } | Fact::AgentBack { agent, .. } | Fact::CapabilitiesSet { agent, .. } => {
            Some(state.agent(*agent).definition.name.clone())
        }
        Fact::StageDecided { stage, .. } => Some(state.stage_name(*stage).to_owned()),
        Fact::FallbackChosen { task, fallback, .. }
        | Fact::Ended { task, then: Then::Fallback(fallback) | Then::Later(fallback, _), .. } => {
            let name = &state.fallbacks[fallback.index()].name;
            Some(format!("{name}: {}", crate::snapshot::fallbacks::words(state, *task, *fallback)))
        }
        _ => None,
    }
}

fn because(why: Option<&str>) -> String {
    why.map_or_else(String::new, |why| format!(": {}", text::clean(why)))
}

fn stop_words(reason: StopReason, signal: StopSignal) -> String {
    let why = match reason {
        StopReason::TimedOut => "timed out",
        StopReason::Cancelled => "cancelled",
        StopReason::Fallback(_) => "a fallback takes its place",
        StopReason::SessionStop => "the session stops",
        StopReason::Leaked => "left processes behind",
        StopReason::NotNeeded(_) => "not needed any more",
        StopReason::Preempted(_) => "gives way to one of higher priority",
        StopReason::AgentLost(_) => "its agent is lost",
        StopReason::PhaseFailed(_) => "its phase failed",
        StopReason::Compensating => "what was done is compensated",
        StopReason::Monitor(trouble) => trouble.word(),
    };
    let signal = match signal {
        StopSignal::Term => "SIGTERM",
        StopSignal::Kill => "SIGKILL",
    };
    format!("{why}, {signal} sent")
}

/// The last lines of an output file, neutralised. Nothing if it cannot be read.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(count);
    lines[from..].iter().map(|line| text::line(line, LINE_CELLS).text).collect()
}

// ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// One line of `--json`. A field keeps its name and meaning for ever.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    v: u32,
    seq: u64,
    at_ms: u64,
    fact: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rss_kib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<bool>,
    /// In thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_checks: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    because: &'a [String],
}

fn json(out: &mut impl Write, item: &Item) -> io::Result<()> {
    let mut line = Line {
        v: 1,
        seq: item.seq,
        at_ms: item.fact.at.0,
        task: item.task.as_ref().map(|task| task.id.as_str()),
        ..Line::default()
    };
    fill(&mut line, &item.fact.fact, item);
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

fn fill<'a>(line: &mut Line<'a>, fact: &'a Fact, item: &'a Item) {
    line.fact = match fact {
        Fact::Opened { pid, .. } => {
            line.pid = Some(*pid);
            "Opened"
        }
        Fact::Recovered { .. } => "Recovered",
        Fact::Closed { code } => {
            line.code = Some(*code);
            "Closed"
        }
        Fact::Configured(settings) => {
            line.name = Some(&settings.name);
            "Configured"
        }
        Fact::ResourceAdded(definition) => {
            line.name = Some(&definition.name);
            "ResourceAdded"
        }
        Fact::AgentAdded(definition) => {
            line.name = Some(&definition.name);
            "AgentAdded"
        }
        Fact::StageAdded(definition) => {
            line.name = Some(&definition.name);
            "StageAdded"
        }
        Fact::FallbackAdded(definition) => {
            line.name = Some(&definition.name);
            "FallbackAdded"
        }
        Fact::TaskAdded(definition) => {
            line.task = Some(&definition.id);
            "TaskAdded"
        }
        Fact::TaskEdited { .. } => "TaskEdited",
        Fact::GivenBack { .. } => {
            line.name = item.way.as_deref();
            "GivenBack"
        }
        Fact::TaskRemoved { .. } => "TaskRemoved",
        Fact::TaskRestored { .. } => "TaskRestored",
        Fact::Loaded { tasks } => {
            line.tasks = Some(*tasks);
            "Loaded"
        }
        Fact::Commanded { by, command, .. } => {
            line.by = Some(match by {
                Origin::Operator => "operator",
                Origin::Rule => "rule",
                Origin::Client(_) => "client",
                Origin::Task(..) => "task",
            });
            line.name = Some(command_name(command));
            "Commanded"
        }
        Fact::Undone => "Undone",
        Fact::Redone => "Redone",
        Fact::Paused => "Paused",
        Fact::Resumed => "Resumed",
        Fact::Ending(how) => {
            line.name = Some(match how {
                Ending::Drain => "drain",
                Ending::Stop => "stop",
                Ending::StopNow => "stop now",
                Ending::Detach => "detach",
            });
            "Ending"
        }
        Fact::PrioritySet { priority, .. } => {
            line.priority = Some(*priority);
            "PrioritySet"
        }
        Fact::SlotsSet { .. } => "SlotsSet",
        Fact::CapabilitiesSet { .. } => "CapabilitiesSet",
        Fact::AgentLost { saw, .. } => {
            line.name = item.way.as_deref();
            line.message = Some(saw);
            "AgentLost"
        }
        Fact::AgentBack { saw, .. } => {
            line.name = item.way.as_deref();
            line.message = Some(saw);
            "AgentBack"
        }
        Fact::Held { why, .. } => {
            line.message = why.as_deref();
            "Held"
        }
        Fact::Released { .. } => "Released",
        Fact::Skipped { why, .. } => {
            line.message = why.as_deref();
            "Skipped"
        }
        Fact::Cancelled { why, .. } => {
            line.message = why.as_deref();
            "Cancelled"
        }
        Fact::Excused { why, .. } => {
            line.message = Some(why);
            "Excused"
        }
        Fact::Agreed { why, .. } => {
            line.message = Some(why);
            "Agreed"
        }
        Fact::Made { tasks, .. } => {
            line.tasks = Some(*tasks);
            "Made"
        }
        Fact::Enough { .. } => "Enough",
        Fact::Noticed { trouble, saw, .. } => {
            (line.cause, line.message) = (Some(trouble.key()), Some(saw.as_str()));
            "Noticed"
        }
        Fact::NoticeOver { trouble, .. } => {
            line.cause = Some(trouble.key());
            "NoticeOver"
        }
        Fact::StageDecided { holds, why, .. } => {
            (line.name, line.message, line.holds) = (item.way.as_deref(), Some(why.as_str()), Some(*holds));
            "StageDecided"
        }
        Fact::Checked { holds, saw, check, .. } => {
            (line.holds, line.message, line.check) = (Some(*holds), Some(saw.as_str()), Some(*check));
            "Checked"
        }
        Fact::Voted { approves, abstains, by, note, .. } => {
            (line.by, line.holds) = (Some(by.as_str()), Some(*approves).filter(|_| !abstains));
            line.message = Some(note.as_str()).filter(|note| !note.is_empty());
            "Voted"
        }
        Fact::Sensed { saw, .. } => {
            line.message = Some(saw);
            "Sensed"
        }
        Fact::Admitted { .. } => "Admitted",
        Fact::Awaiting { until, .. } => {
            line.until_ms = until.map(|at| at.0);
            "Awaiting"
        }
        Fact::Settled { outcome, why, .. } => {
            line.message = why.as_deref();
            outcome_of(line, outcome)
        }
        Fact::TransitionAdded(_) => "TransitionAdded",
        Fact::GoalAdded(goal) => {
            line.name = Some(&goal.name);
            "GoalAdded"
        }
        Fact::GoalJudged { holds, why, .. } => {
            (line.name, line.message, line.holds) = (item.way.as_deref(), Some(why.as_str()), Some(*holds));
            "GoalJudged"
        }
        Fact::PhaseAdded(definition) => {
            line.name = Some(&definition.name);
            "PhaseAdded"
        }
        Fact::TransitionTaken { why, round, .. } => {
            (line.name, line.message, line.round) = (item.way.as_deref(), Some(why.as_str()), Some(*round));
            "TransitionTaken"
        }
        Fact::TransitionPassed { why, .. } => {
            (line.name, line.message) = (item.way.as_deref(), Some(why.as_str()));
            "TransitionPassed"
        }
        Fact::PhaseFailed { .. } => {
            line.name = item.way.as_deref();
            "PhaseFailed"
        }
        Fact::BarrierAdded(barrier) => {
            line.name = Some(&barrier.name);
            "BarrierAdded"
        }
        Fact::AtBarrier { until, .. } => {
            (line.name, line.until_ms) = (item.way.as_deref(), until.map(|at| at.0));
            "AtBarrier"
        }
        Fact::BarrierPassed { why, .. } => {
            (line.name, line.message) = (item.way.as_deref(), why.as_deref());
            "BarrierPassed"
        }
        Fact::BarrierBroken { why, .. } => {
            (line.name, line.message) = (item.way.as_deref(), Some(why.as_str()));
            "BarrierBroken"
        }
        Fact::Compensating { why, .. } => {
            (line.name, line.message) = (item.way.as_deref(), Some(why.as_str()));
            "Compensating"
        }
        Fact::CompensationsAdded { tasks, .. } => {
            (line.name, line.tasks) = (item.way.as_deref(), Some(*tasks));
            "CompensationsAdded"
        }
        Fact::WindowAdded(window) => {
            line.name = Some(&window.name);
            "WindowAdded"
        }
        Fact::CapacitySet { amount, .. } => {
            (line.name, line.amount) = (item.way.as_deref(), Some(amount.0));
            "CapacitySet"
        }
        Fact::MaxRunningSet { most } => {
            line.most = *most;
            "MaxRunningSet"
        }
        Fact::Posted { priority, text, .. } => {
            (line.by, line.message) = (item.way.as_deref(), Some(text.as_str()));
            line.priority = Some(*priority);
            "Posted"
        }
        Fact::StateSet { key, value, .. } => {
            (line.name, line.by) = (Some(key.as_str()), item.way.as_deref());
            line.value = value.as_ref().map(shared::to_json);
            "StateSet"
        }
        Fact::AtMeeting { .. } => {
            line.name = item.way.as_deref();
            "AtMeeting"
        }
        Fact::MeetingOver { why, .. } => {
            (line.name, line.message) = (item.way.as_deref(), why.as_deref());
            "MeetingOver"
        }
        Fact::LockAsked { request, .. } => {
            (line.name, line.amount) = (item.way.as_deref(), Some(request.amount.0));
            "LockAsked"
        }
        Fact::LockGranted { lock, fence, .. } => {
            (line.name, line.lock, line.fence) = (item.way.as_deref(), Some(*lock), Some(*fence));
            "LockGranted"
        }
        Fact::LockRenewed { lock, .. } => {
            (line.name, line.lock) = (item.way.as_deref(), Some(*lock));
            "LockRenewed"
        }
        Fact::LockOver { lock, end, .. } => {
            (line.name, line.lock) = (item.way.as_deref(), Some(*lock));
            line.cause = Some(if *end == LockEnd::Expired { "expired" } else { "released" });
            "LockOver"
        }
        Fact::OverloadBegan { why } => {
            line.message = Some(why);
            "OverloadBegan"
        }
        Fact::OverloadEnded { why } => {
            line.message = Some(why);
            "OverloadEnded"
        }
        Fact::PauseWhileHeeded(heeded) => {
            line.holds = Some(*heeded);
            "PauseWhileHeeded"
        }
        Fact::BreakerOpened { failures, until } => {
            (line.failures, line.until_ms) = (Some(*failures), Some(until.0));
            "BreakerOpened"
        }
        Fact::BreakerProbes => "BreakerProbes",
        Fact::BreakerClosed => "BreakerClosed",
        Fact::Requeued { .. } => "Requeued",
        Fact::Starting { attempt, .. } => {
            line.attempt = Some(attempt.0);
            "Starting"
        }
        Fact::Running { attempt, process, log, .. } => {
            (line.attempt, line.pid, line.log) = (Some(attempt.0), Some(process.pid), Some(*log));
            "Running"
        }
        Fact::Adopted { attempt, process, log, .. } => {
            (line.attempt, line.pid, line.log) = (Some(attempt.0), Some(process.pid), Some(*log));
            "Adopted"
        }
        Fact::NotStarted { attempt, why, until, .. } => {
            (line.attempt, line.message, line.until_ms) = (Some(attempt.0), why.as_deref(), until.map(|at| at.0));
            "NotStarted"
        }
        Fact::Stopping { attempt, reason, signal, .. } => {
            line.attempt = Some(attempt.0);
            line.cause = Some(reason_name(*reason));
            line.signal = Some(if *signal == StopSignal::Term { 15 } else { 9 });
            "Stopping"
        }
        Fact::Exited { attempt, exit, .. } => {
            line.attempt = Some(attempt.0);
            exit_of(line, *exit);
            "Exited"
        }
        Fact::Ended { .. } => ended(line, fact, item),
        Fact::Found { attempt, findings, .. } => {
            line.attempt = Some(attempt.0);
            found::fill(line, findings);
            "Found"
        }
        Fact::Due { .. } => "Due",
        Fact::FallbackChosen { .. } => {
            line.message = item.way.as_deref();
            "FallbackChosen"
        }
        Fact::Reserved { .. } => "Reserved",
    };
}

fn exit_of(line: &mut Line<'_>, exit: crate::engine::message::Exit) {
    match exit {
        crate::engine::message::Exit::Code(code) => line.code = Some(code),
        crate::engine::message::Exit::Signal(signal) => line.signal = Some(signal),
    }
}

fn ended<'a>(line: &mut Line<'a>, fact: &'a Fact, item: &'a Item) -> &'static str {
    let Fact::Ended { attempt, outcome, usage, then, .. } = fact else { unreachable!("called for an end only") };
    line.attempt = Some(attempt.0);
    line.log = item.ended.and_then(|(_, log)| log);
    (line.user_ms, line.system_ms, line.max_rss_kib) =
        (Some(usage.user_ms), Some(usage.system_ms), Some(usage.max_rss_kib));
    match then {
        Then::Rest => {}
        Then::Retry(until) => (line.then, line.until_ms) = (Some("retry"), Some(until.0)),
        Then::Fallback(_) => (line.then, line.message) = (Some("fallback"), item.way.as_deref()),
        Then::Later(_, until) => {
            (line.then, line.until_ms, line.message) = (Some("fallback"), Some(until.0), item.way.as_deref());
        }
        Then::Requeue => line.then = Some("requeue"),
    }
    outcome_of(line, outcome)
}

fn outcome_of<'a>(line: &mut Line<'a>, outcome: &'a Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => {
            line.code = Some(0);
            "Succeeded"
        }
        Outcome::Failed(cause) => {
            match cause {
                Cause::Exit(code) => (line.cause, line.code) = (Some("exit"), Some(*code)),
                Cause::Signal(signal) => (line.cause, line.signal) = (Some("signal"), Some(*signal)),
                Cause::TimedOut => line.cause = Some("timeout"),
                Cause::CouldNotStart(problem) => {
                    (line.cause, line.code, line.message) =
                        (Some("start"), problem.code, Some(problem.message.as_str()));
                }
                Cause::OutOfMemory => line.cause = Some("memory"),
                Cause::Rejected => line.cause = Some("rejected"),
                Cause::Validation { what } => (line.cause, line.message) = (Some("validation"), Some(what.as_str())),
                Cause::Limit { what } => (line.cause, line.message) = (Some("limit"), Some(what.as_str())),
                Cause::Gate => line.cause = Some("gate"),
                Cause::BrokenBarrier => line.cause = Some("barrier"),
                Cause::NoMajority => line.cause = Some("majority"),
                Cause::AgentLost => line.cause = Some("agent_lost"),
                Cause::Monitor(trouble) => line.cause = Some(trouble.key()),
            }
            "Failed"
        }
        Outcome::Cancelled => "Cancelled",
        Outcome::Aborted(reason) => {
            line.cause = Some(reason_name(*reason));
            "Aborted"
        }
        Outcome::Lost(why) => {
            line.message = Some(why);
            "Lost"
        }
        Outcome::UpToDate => "UpToDate",
    }
}

fn reason_name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::TimedOut => "timeout",
        StopReason::Cancelled => "cancel",
        StopReason::Fallback(_) => "fallback",
        StopReason::SessionStop => "stop",
        StopReason::Leaked => "leak",
        StopReason::NotNeeded(_) => "not_needed",
        StopReason::Preempted(_) => "preempted",
        StopReason::AgentLost(_) => "agent_lost",
        StopReason::PhaseFailed(_) => "phase",
        StopReason::Compensating => "compensation",
        StopReason::Monitor(trouble) => trouble.key(),
    }
}

fn command_name(command: &Command) -> &'static str {
    match command {
        Command::Load(_) => "load",
        Command::SetPriority { .. } => "set_priority",
        Command::Hold { .. } => "hold",
        Command::Release { .. } => "release",
        Command::Cancel { .. } => "cancel",
        Command::Kill { .. } => "kill",
        Command::Retry { .. } => "retry",
        Command::Skip { .. } => "skip",
        Command::Unskip { .. } => "unskip",
        Command::Add(_) => "add",
        Command::Edit { .. } => "edit",
        Command::Remove { .. } => "remove",
        Command::Restore { .. } => "restore",
        Command::Fallback { .. } => "fallback",
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Drain => "drain",
        Command::Stop => "stop",
        Command::StopNow => "stop_now",
        Command::Detach => "detach",
        Command::SetSlots { .. } => "set_slots",
        Command::SetCapacity { .. } => "set_capacity",
        Command::SetCapabilities { .. } => "set_capabilities",
        Command::SetMaxRunning { .. } => "set_max_running",
        Command::CloseBreaker => "close_breaker",
        Command::Post { .. } => "post",
        Command::SetState { .. } => "set_state",
        Command::Lock(_) => "lock",
        Command::Unlock { .. } => "unlock",
        Command::GiveBack { .. } => "give_back",
        Command::RenewLock { .. } => "renew_lock",
        Command::Meet { .. } => "meet",
        Command::Leave { .. } => "leave",
        Command::HeedPauseWhile(true) => "heed_pause_while",
        Command::HeedPauseWhile(false) => "ignore_pause_while",
        Command::Compensate => "compensate",
        Command::Vote { .. } => "vote",
        Command::Undo => "undo",
        Command::Redo => "redo",
        Command::All(_) => "all",
    }
}

/// The task that a fact speaks of.
pub fn task_of(fact: &Fact) -> Option<TaskId> {
    match fact {
        Fact::PrioritySet { task, .. }
        | Fact::Held { task, .. }
        | Fact::Released { task }
        | Fact::Skipped { task, .. }
        | Fact::Cancelled { task, .. }
        | Fact::Excused { task, .. }
        | Fact::Enough { task, .. }
        | Fact::Made { task, .. }
        | Fact::TaskEdited { task, .. }
        | Fact::TaskRemoved { task }
        | Fact::TaskRestored { task }
        | Fact::Agreed { task, .. }
        | Fact::Voted { task, .. }
        | Fact::Sensed { task, .. }
        | Fact::Checked { task, .. }
        | Fact::Admitted { task }
        | Fact::Awaiting { task, .. }
        | Fact::AtBarrier { task, .. }
        | Fact::Settled { task, .. }
        | Fact::PhaseFailed { task, .. }
        | Fact::Requeued { task }
        | Fact::Starting { task, .. }
        | Fact::Running { task, .. }
        | Fact::Adopted { task, .. }
        | Fact::NotStarted { task, .. }
        | Fact::Stopping { task, .. }
        | Fact::Noticed { task, .. }
        | Fact::NoticeOver { task, .. }
        | Fact::Exited { task, .. }
        | Fact::Found { task, .. }
        | Fact::Ended { task, .. }
        | Fact::Due { task }
        | Fact::AtMeeting { task, .. }
        | Fact::LockAsked { task, .. }
        | Fact::LockGranted { task, .. }
        | Fact::GivenBack { task, .. }
        | Fact::LockRenewed { task, .. }
        | Fact::LockOver { task, .. }
        | Fact::FallbackChosen { task, .. }
        | Fact::Reserved { task, .. } => Some(*task),
        _ => None,
    }
}
