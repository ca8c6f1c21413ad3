//! Reasons in words: the one line of a row, the check-list of the why pane, the details of a task. The facts come from
//! `engine::explain`; this file only says them.

use super::build::{Frozen, amount, how, outcome_words, phase};
use super::fallbacks;
use super::found;
use super::locks;
use super::rows::{fallback_name, task_row};
use super::{AttemptLine, Detail, Phase, WhyLine};
use crate::engine::barriers::Stand;
use crate::engine::breaker::Gate;
use crate::engine::definition::{
    CommandLine, CommandSpec, Deadline, GateCheck, QualityGate, ResourceKind, Sensor, StageEnd, TaskType,
};
use crate::engine::explain::{Reason, explain};
use crate::engine::fact::Target;
use crate::engine::gates::{self, Stand as GateStand};
use crate::engine::ids::{Attempt, ResourceId, Span, StageId, TaskId, Time, WindowId};
use crate::engine::message::{StopReason, StopSignal};
use crate::engine::monitors::{MonitorAction, Noticed, ProgressMonitor, Trouble};
use crate::engine::place::Closed;
use crate::engine::state::{Shown, State};

/// How many names are listed.
const LISTED: usize = 6;

/// `"42s"`, `"3m12"`, `"2h05"`, `"3d04h"`.
pub fn duration(span: Span) -> String {
    let seconds = span.0 / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// One line: progress, or why not.
pub(super) fn note(frozen: &Frozen, id: TaskId, at: Time) -> String {
    let state = &frozen.engine.state;
    let task = state.task(id);
    let last = task.past.as_ref().and_then(|past| past.last());
    match phase(state.shown(id)) {
        Phase::Running => locks::waits_for(state, id).unwrap_or_else(|| running_note(state, id, at)),
        Phase::Stopping => stopping_note(state, id, at),
        Phase::Delayed => {
            let until = task.due.unwrap_or(at);
            let why = last.map(|past| outcome_words(&past.outcome)).unwrap_or_else(|| "could not start".into());
            format!("{why}, retry {}/{} in {}", task.tries + 1, state.attempts_allowed(id), duration(until.since(at)))
        }
        Phase::Held => task.because.as_ref().map_or_else(|| "held by you".into(), |why| format!("held: {why}")),
        Phase::Awaiting => awaiting_words(frozen, id, at),
        Phase::Lost | Phase::Failed => {
            if let (None, Some(why)) = (last, &task.because) {
                return why.to_string();
            }
            let cause = last.map_or_else(|| "failed".into(), |past| outcome_words(&past.outcome));
            if let Some(why) = &task.because {
                return format!("{cause}, {}{why}", if task.excused { "excused: " } else { "" });
            }
            if task.attempt > 1 { format!("{cause}, {} attempts", task.attempt) } else { cause }
        }
        Phase::Cancelled => task.because.as_ref().map_or_else(|| "cancelled".into(), |why| why.to_string()),
        Phase::Skipped => task.because.as_ref().map_or_else(|| "skipped".into(), |why| why.to_string()),
        Phase::Succeeded => succeeded_note(state, id),
        Phase::Ready | Phase::Waiting | Phase::Blocked => {
            explain(state, id).first().map_or_else(String::new, |reason| short(frozen, id, reason, at))
        }
    }
}

/// The note of what runs, but for the lock that it waits for.
fn running_or_stopping_note(frozen: &Frozen, id: TaskId, at: Time) -> String {
    let state = &frozen.engine.state;
    if phase(state.shown(id)) == Phase::Running { running_note(state, id, at) } else { note(frozen, id, at) }
}

/// What a task that holds nothing is settled by.
fn awaiting_words(frozen: &Frozen, id: TaskId, at: Time) -> String {
    let state = &frozen.engine.state;
    let left = state.task(id).due.map(|due| duration(due.since(at)));
    if let Some(question) = fallbacks::question(state, id) {
        return timed(format!("asks: {question}"), left);
    }
    if let Some((barrier, Stand::Waiting)) = state.barrier_stand(id) {
        let name = &state.barriers[barrier.index()].definition.name;
        return timed(format!("barrier {name} {}", state.barrier_words(barrier)), left);
    }
    match (&state.definition(id).task_type, left) {
        (TaskType::Approval(approval), left) => timed(format!("asks: {}", approval.text), left),
        (TaskType::Sensor(sensor), _) => {
            let saw = last_look(frozen, id).map_or_else(|| "not looked at yet".into(), |(_, saw)| saw.to_string());
            format!("watches {}: {saw}", sensor.probe.words())
        }
        (TaskType::QualityGate(gate), left) => {
            let stands = gates::stands(state, gate, state.task(id).heard.as_deref());
            let open = gate.checks.iter().zip(&stands).filter(|(_, stand)| matches!(stand, GateStand::Open(_)));
            let open: Vec<String> = open.map(|(check, stand)| stand_words(check, stand)).collect();
            let ask = if gate.asks_people() { "asks" } else { "checks" };
            timed(format!("{ask}: {}", open.join("; ")), left)
        }
        (_, Some(left)) => format!("waits {left} more"),
        (_, None) => "waits".into(),
    }
}

/// What is asked first, then how long yet: the question is what the eye looks for.
fn timed(words: String, left: Option<String>) -> String {
    match left {
        None => words,
        Some(left) => format!("{words} · {left} left"),
    }
}

/// What a check asks and how it stands.
fn stand_words(check: &GateCheck, stand: &GateStand) -> String {
    match check {
        GateCheck::Approval(text) => format!("{text}: {}", stand.words()),
        GateCheck::Quorum(quorum) if !quorum.text.is_empty() => format!("{}: {}", quorum.text, stand.words()),
        _ => stand.words().to_owned(),
    }
}

/// What a sensor saw last, and when: by this console, else as it was last said.
fn last_look(frozen: &Frozen, id: TaskId) -> Option<(Time, &str)> {
    let live = frozen.engine.sensors.of(id).and_then(|looking| looking.last.as_ref()).map(|(at, saw)| (*at, &**saw));
    let said = || frozen.engine.state.task(id).heard.as_ref()?.seen.as_ref().map(|seen| (seen.since, &*seen.saw));
    live.or_else(said)
}

/// When a sensor was looked at, when it will be, and how long yet.
fn looks(frozen: &Frozen, id: TaskId, sensor: &Sensor, at: Time) -> Vec<String> {
    let mut more = Vec::new();
    let looking = frozen.engine.sensors.of(id).filter(|looking| looking.looks > 0);
    match (looking, last_look(frozen, id)) {
        (Some(looking), Some((last, _))) => {
            let next = last.plus(sensor.interval).since(at);
            let (ago, next) = (duration(at.since(last)), duration(next));
            more.push(format!("looked {ago} ago, {} times, next look in {next}", looking.looks));
        }
        (_, Some((said, _))) => {
            more.push(format!("seen {} ago, looks every {}", duration(at.since(said)), short_span(sensor.interval)))
        }
        (_, None) => more.push(format!("looks every {}", short_span(sensor.interval))),
    }
    if let Some(due) = frozen.engine.state.task(id).due {
        let then = if sensor.timeout_skips { "is skipped" } else { "fails" };
        more.push(format!("{then} in {}", duration(due.since(at))));
    }
    more
}

/// How each check of a gate stands, and who said what when.
fn checks(state: &State, id: TaskId, gate: &QualityGate, at: Time) -> Vec<String> {
    let heard = state.task(id).heard.as_deref();
    let stands = gates::stands(state, gate, heard);
    let line = |(check, stand): (&GateCheck, &GateStand)| {
        let mark = match stand {
            GateStand::Holds(_) => "✓",
            GateStand::Fails(_) => "✗",
            GateStand::Open(_) => "◔",
        };
        format!("{mark} {}", stand_words(check, stand))
    };
    let mut more: Vec<String> = gate.checks.iter().zip(&stands).map(line).collect();
    let votes = heard.map_or(&[][..], |heard| &heard.votes);
    more.extend(votes.iter().map(|vote| format!("{} {} ago", vote.words(), duration(at.since(vote.at)))));
    if gate.asks_people() && state.task(id).phase == crate::engine::state::Phase::Awaiting {
        more.push("A approves, D rejects; on the command line --approve, --reject, --abstain, --as NAME".to_owned());
    }
    more
}

fn succeeded_note(state: &State, id: TaskId) -> String {
    let task = state.task(id);
    let mut parts: Vec<String> = task.because.iter().map(|why| why.to_string()).collect();
    if state.was_up_to_date(id) {
        parts.push("up to date".into());
    }
    if let Some(kept) = task.kept.as_ref().filter(|kept| !kept.outputs.is_empty()) {
        parts.push(found::published(kept));
    }
    if let Some(fallback) = task.fallback {
        parts.push(format!("by fallback {}", fallback_name(&state.fallbacks, fallback)));
    }
    if task.attempt > 1 && task.fallback.is_none() && state.attempts_allowed(id) < 2 {
        parts.push(format!("attempt {}", task.attempt));
    }
    parts.join(", ")
}

/// What a monitor sees amiss, and for how long.
pub(super) fn trouble_words(state: &State, id: TaskId, noticed: &Noticed, at: Time) -> String {
    let dog = state.definition(id).monitor.as_ref().and_then(|monitor| monitor.watchdog(noticed.trouble));
    let before = dog.filter(|_| noticed.trouble != Trouble::Drifting).map_or(Span(0), |dog| dog.after);
    let so_long = Span(at.since(noticed.since).0 + before.0);
    match noticed.trouble {
        Trouble::Drifting => noticed.trouble.word().to_owned(),
        trouble => format!("{} for {}", trouble.word(), duration(so_long)),
    }
}

/// What is watched, in words: `fails after 2m of silence`.
fn monitor_words(monitor: &ProgressMonitor) -> String {
    let dogs = Trouble::ALL.iter().filter_map(|trouble| {
        let dog = monitor.watchdog(*trouble)?;
        let then = if dog.then == MonitorAction::Fail { "fails" } else { "warns" };
        Some(format!("{then} {} {}", trouble.rule(), dog.after))
    });
    let pattern = monitor.progress.iter().map(|pattern| format!("progress by {pattern}"));
    dogs.chain(pattern).collect::<Vec<_>>().join(", ")
}

fn running_note(state: &State, id: TaskId, at: Time) -> String {
    let task = state.task(id);
    let troubles = task.live.iter().flat_map(|live| &live.troubles);
    let mut parts: Vec<String> = troubles.map(|noticed| trouble_words(state, id, noticed, at)).collect();
    if let Some(fallback) = task.fallback {
        parts.push(format!("fallback {}", fallback_name(&state.fallbacks, fallback)));
    } else if task.attempt > 1 && state.attempts_allowed(id) < 2 {
        // Of several allowed ones the row says which it is.
        parts.push(format!("attempt {}", task.attempt));
    }
    if let Some(live) = &task.live {
        if live.adopted {
            parts.push("adopted".into());
        }
        if live.process.is_none() {
            parts.push("starting".into());
        }
    }
    parts.join(", ")
}

fn stopping_note(state: &State, id: TaskId, at: Time) -> String {
    let task = state.task(id);
    let Some(live) = &task.live else { return String::new() };
    if let Some((_, _, _, left)) = live.exited {
        return format!("left {left} process{} behind", if left == 1 { "" } else { "es" });
    }
    let Some((reason, signal, since)) = live.stop else { return String::new() };
    let why = match reason {
        StopReason::TimedOut => "timed out",
        StopReason::Cancelled => "cancelled",
        StopReason::Fallback(_) => "fallback next",
        StopReason::SessionStop => "session stops",
        StopReason::Leaked => "left processes",
        StopReason::NotNeeded(_) => "not needed",
        StopReason::Preempted(_) => "gives way",
        StopReason::AgentLost(_) => "agent lost",
        StopReason::PhaseFailed(_) => "its phase failed",
        StopReason::Compensating => "compensation",
        StopReason::Monitor(trouble) => trouble.word(),
    };
    match signal {
        StopSignal::Term => {
            let kill = since.plus(state.settings.grace);
            format!("{why}: TERM sent, KILL in {}", duration(kill.since(at)))
        }
        StopSignal::Kill => format!("{why}: KILL sent"),
    }
}

/// A reason in a few words.
pub fn short(frozen: &Frozen, id: TaskId, reason: &Reason, at: Time) -> String {
    let state = &frozen.engine.state;
    match reason {
        Reason::Live => "running".into(),
        Reason::Over(phase) => crate::engine::decide::word(*phase).into(),
        Reason::Lost => "lost: retry, skip or cancel it".into(),
        Reason::Held => "held by you".into(),
        Reason::HeldByRule(why) => format!("held: {why}"),
        Reason::Undecided(condition) => format!("no answer yet: {condition}"),
        Reason::Awaiting => awaiting_words(frozen, id, at),
        Reason::Delayed { .. } => "waits out a delay".into(),
        Reason::After { tasks, count } => {
            let first = tasks[0];
            let made = match &state.definition(id).task_type {
                TaskType::Foreach(foreach) => foreach.made.filter(|_| state.definition(first).made_by == Some(id)),
                _ => None,
            };
            if let Some(made) = made {
                let failed = if state.shown(id) == Shown::Blocked { ", some will not be" } else { "" };
                return format!("{} of {made} tasks done{failed}", made - count);
            }
            if let TaskType::Subworkflow(_) = &state.definition(id).task_type
                && state.shown(first) != Shown::Blocked
            {
                // the first of them only begins it
                let all = state.definition(id).after.len().saturating_sub(1);
                let bad = matches!(state.shown(first), Shown::Failed | Shown::Cancelled);
                let word = if bad {
                    format!(", {} {}", state.name(first), crate::engine::decide::word(state.task(first).phase))
                } else {
                    String::new()
                };
                return format!("{} of {all} tasks done{word}", all.saturating_sub(*count as usize));
            }
            if let TaskType::Majority(_) = &state.definition(id).task_type {
                let all = state.definition(id).after.len();
                return format!("{} of {all} runs over", all - (*count as usize).min(all));
            }
            let word = match state.shown(first) {
                Shown::Failed => ", which failed",
                Shown::Cancelled => ", which was cancelled",
                Shown::Blocked => ", which is blocked",
                _ => "",
            };
            let more = if *count > 1 { format!(" +{}", count - 1) } else { String::new() };
            format!("needs {}{more}{word}", state.name(first))
        }
        Reason::Enough { done, enough, of, dead, .. } => {
            let never = if of - dead < *enough { format!(", {dead} never can be") } else { String::new() };
            format!("{enough} of {of} are enough, {done} done{never}")
        }
        Reason::Transition { from } => {
            let one = |(stage, end): &(StageId, StageEnd)| {
                let end = match end {
                    StageEnd::Success => "on success",
                    StageEnd::Failure => "on failure",
                    StageEnd::Over => "once over",
                };
                format!("{} {end}", state.stage_name(*stage))
            };
            let from: Vec<String> = from.iter().map(one).collect();
            format!("starts only by a transition from {}", from.join(", or "))
        }
        Reason::Stages { stages } => {
            let names: Vec<&str> = stages.iter().map(|stage| state.stage(*stage).definition.name.as_str()).collect();
            let failed = stages.iter().any(|stage| state.stage(*stage).dead > 0);
            format!("needs stage {}{}", names.join(", "), if failed { ", where something failed" } else { "" })
        }
        Reason::Closed(closed) => closed_words(state, *closed, at),
        Reason::Window { window, opens } => window_words(state, *window, *opens, at),
        Reason::Rate { resource, at: fits, .. } => rate_words(state, *resource, *fits, at),
        Reason::Resource { resource, .. } => {
            let (line, count) = frozen.engine.line(*resource);
            // What runs and waits for it comes first.
            let ahead = state.locks.waiting_for(*resource).count();
            let place = line.iter().position(|other| *other == id);
            let place = place.map(|n| format!(" {}/{}", n + 1 + ahead, count + ahead));
            let entry = &state.resource(*resource).definition;
            if entry.limit {
                let reached = if entry.kind == ResourceKind::Lock { "" } else { " reached" };
                return format!("{}{reached}{}", entry.words(), place.unwrap_or_default());
            }
            let kind = if entry.kind == ResourceKind::Lock { "lock" } else { "pool" };
            format!("{kind} {}{}", entry.name, place.unwrap_or_default())
        }
        Reason::NoAgent { capabilities } => format!("no agent offers {}", capabilities.join(" + ")),
        Reason::AgentsLost { agents } => {
            let first = agents.first().map_or("", |agent| state.agent(*agent).definition.name.as_str());
            match agents.len() {
                0 | 1 => format!("agent {first} is lost"),
                more => format!("agents are lost: {first} and {} more", more - 1),
            }
        }
        Reason::AgentsFull { short: Some(resource), .. } => {
            format!("too little {} free", state.resource(*resource).definition.name)
        }
        Reason::AgentsFull { agents, short: None } => {
            let slots: u32 = agents.iter().map(|agent| state.agent(*agent).slots).sum();
            if slots == 0 { "its agents have no slots".into() } else { "waits for a free slot".into() }
        }
        Reason::Reserved { task, .. } => format!("room is kept for {}", state.name(*task)),
    }
}

/// The circuit breaker, if it lets not everything through.
pub(super) fn breaker_words(state: &State, at: Time) -> Option<String> {
    match state.breaker.gate {
        Gate::Closed => None,
        Gate::Open { until, .. } => Some(closed_words(state, Closed::Breaker(until), at)),
        Gate::HalfOpen(Some(task)) => Some(closed_words(state, Closed::Probing(task), at)),
        Gate::HalfOpen(None) => Some("circuit breaker half open: the next task tries".into()),
    }
}

fn closed_words(state: &State, closed: Closed, at: Time) -> String {
    match closed {
        Closed::Paused => "session paused".into(),
        Closed::Overload => {
            let why = state.overload.as_ref().map_or("", |overload| &overload.why);
            format!("nothing starts while {why}")
        }
        Closed::Ending => "session is ending".into(),
        Closed::MaxRunning(most) => format!("{most} run already (MaxRunning)"),
        Closed::Breaker(until) => {
            format!("circuit breaker open: too much failed, tries again in {}", duration(until.since(at)))
        }
        Closed::Probing(task) => format!("circuit breaker half open: {} tries first", state.name(task)),
    }
}

fn window_words(state: &State, window: WindowId, opens: Option<Time>, at: Time) -> String {
    let name = &state.window(window).name;
    match opens {
        // Where there is little room, the end is cut off.
        Some(opens) => format!("opens in {}, window {name}", duration(opens.since(at))),
        None => format!("window {name}: does not open any more"),
    }
}

fn rate_words(state: &State, resource: ResourceId, fits: Option<Time>, at: Time) -> String {
    let entry = state.resource(resource);
    let per = entry.bucket.as_ref().map_or_else(String::new, |bucket| format!(" per {}", short_span(bucket.per())));
    let name = &entry.definition.name;
    let wait = match fits {
        Some(fits) => format!("next in {}", short_span(fits.since(at))),
        None => "never enough".to_owned(),
    };
    format!("{name} used up ({}{per}): {wait}", amount(entry.capacity))
}

/// With milliseconds below ten seconds: rates are quick.
pub fn short_span(span: Span) -> String {
    match span.0 {
        0..10_000 if !span.0.is_multiple_of(1000) => format!("{}ms", span.0),
        _ => duration(span),
    }
}

/// Everything about one task.
pub(super) fn detail(frozen: &Frozen, id: TaskId, at: Time) -> Detail {
    let state = &frozen.engine.state;
    let (task, definition) = (state.task(id), state.definition(id));
    let live_log = task.live.as_ref().and_then(|live| live.log);
    let log = if task.live.is_some() { live_log } else { task.past.as_ref().and_then(|past| past.last()?.log) };
    let names = |ids: &[TaskId]| {
        let mut names: Vec<String> = ids.iter().take(LISTED).map(|id| state.name(*id).to_owned()).collect();
        if ids.len() > LISTED {
            names.push(format!("{} more", ids.len() - LISTED));
        }
        names
    };
    Detail {
        row: task_row(frozen, id, at),
        why: why(frozen, id, at),
        command: match &definition.task_type {
            TaskType::Run(command) => command_text(command),
            TaskType::Noop => "nothing: it is done as soon as it is reached".into(),
            TaskType::Approval(approval) => format!("asks: {}", approval.text),
            TaskType::Wait(Deadline::After(span)) => format!("waits {}", duration(*span)),
            TaskType::Wait(Deadline::At(_)) => "waits for a time of the clock".into(),
            TaskType::Sensor(sensor) => format!("watches {}", sensor.probe.words()),
            TaskType::QualityGate(gate) => gate.words(),
            TaskType::Message(message) => {
                format!("says: {}", crate::engine::posts::words_of(&message.text))
            }
            TaskType::Subworkflow(sub) => format!("the {} tasks of {}", sub.tasks, sub.file),
            TaskType::Majority(majority) => {
                let by = majority.by.join(", ");
                format!("a majority: {} of {} runs come to the same {by}", majority.agree, definition.after.len())
            }
            TaskType::Foreach(foreach) => format!("for each {}: {}", foreach.key, command_text(&foreach.command)),
        },
        replaced_by: fallbacks::replaced(state, id),
        fallbacks: fallbacks::preview(state, id),
        facts: facts(frozen, id, at),
        attempts: attempts(state, id),
        log: log.map(|number| frozen.log_dir.join(number.to_string())),
        after: names(&definition.after),
        before: names(state.dependents.at(id.index())),
    }
}

/// A command as one line of text.
pub fn command_text(command: &CommandSpec) -> String {
    match &command.run {
        CommandLine::Shell(text) => text.clone(),
        CommandLine::Exec(argv) => argv.join(" "),
    }
}

fn facts(frozen: &Frozen, id: TaskId, at: Time) -> Vec<(String, String)> {
    let state = &frozen.engine.state;
    let (task, definition) = (state.task(id), state.definition(id));
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    add("priority", task.priority.to_string());
    if !definition.requirements.capabilities.is_empty() {
        add("needs", definition.requirements.capabilities.join(", "));
    }
    let uses: Vec<String> = definition
        .requirements
        .resources
        .iter()
        .map(|need| {
            let entry = &state.resource(need.resource).definition;
            format!("{} {}", entry.name, how(entry.kind == ResourceKind::Lock, need.amount))
        })
        .collect();
    if !uses.is_empty() {
        add("uses", uses.join(", "));
    }
    if let Some(span) = definition.timeout {
        add("timeout", duration(span));
    }
    if let Some(span) = definition.estimate {
        add("estimate", duration(span));
    }
    if definition.retry.attempts > 1 {
        let words = fallbacks::retry_words(&definition.retry);
        add("retry", format!("{} attempts{words}", definition.retry.attempts));
    }
    if !definition.fallback.is_empty() {
        let names: Vec<String> = definition.fallback.iter().map(|id| fallback_name(&state.fallbacks, *id)).collect();
        add("fallback", names.join(", "));
    }
    if let Some(monitor) = &definition.monitor {
        add("monitor", monitor_words(monitor));
    }
    for noticed in task.live.iter().flat_map(|live| &live.troubles) {
        add("trouble", format!("{}: {}", trouble_words(state, id, noticed, at), noticed.saw));
    }
    if let Some(barrier) = definition.barrier {
        let name = &state.barriers[barrier.index()].definition.name;
        add("barrier", format!("{name} {}", state.barrier_words(barrier)));
    }
    if let Some(compensation) = &definition.compensation {
        let by = state.compensated_by(id).map(|by| format!(" ({})", crate::engine::decide::word(state.task(by).phase)));
        add("undone by", format!("{}{}", command_text(&compensation.command), by.unwrap_or_default()));
    }
    if let Some(undone) = definition.compensates {
        add("undoes", state.name(undone).to_owned());
    }
    if !definition.tags.is_empty() {
        add("tags", definition.tags.join(", "));
    }
    if let Some(told) = frozen.told.get(&id).filter(|_| task.live.is_some()) {
        add("progress", told.words());
    }
    if let Some((cpu, memory)) = frozen.load.tasks.get(&id) {
        add("cpu", format!("{cpu:.0} %"));
        add("memory", format!("{:.1} MiB", *memory as f64 / 1_048_576.0));
    }
    if let Some((process, _)) = task.live.as_ref().and_then(|live| live.process.as_ref()) {
        add("pid", process.pid.to_string());
    }
    for (name, value) in found_facts(state, id) {
        add(name, value);
    }
    if let Some(past) = task.past.as_ref().and_then(|past| past.last()) {
        let usage = &past.usage;
        add(
            "used",
            format!(
                "cpu {:.1}s, memory {:.1} MiB",
                (usage.user_ms + usage.system_ms) as f64 / 1000.0,
                usage.max_rss_kib as f64 / 1024.0
            ),
        );
    }
    facts
}

fn found_facts(state: &State, id: TaskId) -> Vec<(&'static str, String)> {
    let task = state.task(id);
    let last = task.past.as_ref().and_then(|past| past.last());
    let found = task.live.as_ref().and_then(|live| live.found.as_deref());
    found::facts(task.kept.as_deref(), found.or_else(|| last.and_then(|past| past.found.as_deref())))
}

fn attempts(state: &State, id: TaskId) -> Vec<AttemptLine> {
    let task = state.task(id);
    let rounds = state.stage(state.definition(id).stage).round;
    let mut lines = Vec::new();
    if let Some(live) = &task.live {
        lines.push(AttemptLine {
            attempt: Attempt(task.attempt),
            agent: state.agent(live.agent).definition.name.clone(),
            started: live.started,
            ran: None,
            outcome: crate::engine::decide::word(task.phase).to_owned(),
            good: true,
            log: live.log,
        });
    }
    for past in task.past.iter().flat_map(|past| past.iter().rev()) {
        let round = if rounds > 1 { format!(" (round {})", past.round) } else { String::new() };
        let by = past.fallback.map(|id| format!(" (fallback {})", fallback_name(&state.fallbacks, id)));
        lines.push(AttemptLine {
            attempt: past.attempt,
            agent: state.agent(past.agent).definition.name.clone(),
            started: past.started,
            ran: Some(past.ended.since(past.started)),
            outcome: format!("{}{}{round}", outcome_words(&past.outcome), by.unwrap_or_default()),
            good: past.outcome.is_good(),
            log: past.log,
        });
    }
    lines
}

/// The check-list: what holds and what does not.
pub fn why(frozen: &Frozen, id: TaskId, at: Time) -> Vec<WhyLine> {
    let state = &frozen.engine.state;
    let (task, definition) = (state.task(id), state.definition(id));
    let line = |met, text: String| WhyLine { met, text, more: Vec::new() };
    let reasons = explain(state, id);
    if matches!(reasons.first(), Some(Reason::Live | Reason::Over(_) | Reason::Lost)) {
        let mut lines = why_here(frozen, id, at);
        lines.extend(undoes(state, id).map(|text| line(true, text)));
        return lines;
    }
    let mut lines: Vec<WhyLine> = undoes(state, id).map(|text| line(true, text)).into_iter().collect();
    for before in definition.after.iter().filter(|id| state.task(**id).phase.is_satisfied()).take(LISTED) {
        lines.push(line(
            true,
            format!("needs {}: {}", state.name(*before), crate::engine::decide::word(state.task(*before).phase)),
        ));
    }
    for reason in &reasons {
        lines.push(long(frozen, id, reason, at));
    }
    let short_of = |r: &Reason| matches!(r, Reason::Resource { .. } | Reason::Rate { .. });
    if !reasons.iter().any(short_of) {
        for need in &state.class_of(id).requirements.resources {
            let entry = &state.resource(need.resource).definition;
            if entry.kind != ResourceKind::PerAgent {
                lines.push(line(
                    true,
                    format!("{} ({}) is free", entry.words(), how(entry.kind == ResourceKind::Lock, need.amount)),
                ));
            }
        }
    }
    let needs_agent = definition.task_type.command().is_some();
    if needs_agent
        && !reasons
            .iter()
            .any(|r| matches!(r, Reason::NoAgent { .. } | Reason::AgentsFull { .. } | Reason::AgentsLost { .. }))
    {
        lines.push(line(true, "an agent has room".into()));
    }
    if !task.held && state.closed().is_none() {
        lines.push(line(true, "not held, session not paused".into()));
    }
    if reasons.is_empty() {
        lines.push(line(true, "it starts now".into()));
    }
    lines
}

fn why_here(frozen: &Frozen, id: TaskId, at: Time) -> Vec<WhyLine> {
    let state = &frozen.engine.state;
    let task = state.task(id);
    let line = |met, text: String| WhyLine { met, text, more: Vec::new() };
    let mut lines = Vec::new();
    if let Some(live) = &task.live {
        let agent = state.agent(live.agent);
        let since = live.process.as_ref().map_or(live.started, |(_, since)| *since);
        lines.push(line(true, format!("runs on {} for {}", agent.definition.name, duration(at.since(since)))));
        let pool = &state.pools[state.class_of(id).pool.0 as usize];
        let prefers = state.class_of(id).prefer.filter(|_| pool.agents.len() > 1);
        let chosen = match (pool.agents.len(), prefers) {
            (1, _) => "the only agent that can run it".to_owned(),
            (_, Some(prefers)) if prefers == live.agent => "the one it prefers".to_owned(),
            (n, Some(prefers)) => {
                let prefers = &state.agent(prefers).definition.name;
                format!("{prefers}, which it prefers, had no room; the least gifted of {n} agents that can run it")
            }
            (n, None) => format!("the least gifted, then least loaded of {n} agents that can run it"),
        };
        lines.push(line(true, format!("why this agent: {chosen}")));
        for (resource, held) in live.holds.iter() {
            let entry = &state.resource(*resource).definition;
            lines.push(line(
                true,
                format!("holds {} ({})", entry.words(), how(entry.kind == ResourceKind::Lock, *held)),
            ));
        }
        lines.extend(locks::lines(frozen, id, at));
        let note = running_or_stopping_note(frozen, id, at);
        if !note.is_empty() {
            lines.push(line(true, note));
        }
        return lines;
    }
    let note = note(frozen, id, at);
    let good = task.phase.is_satisfied();
    lines.push(line(
        good,
        format!(
            "{}{}",
            crate::engine::decide::word(task.phase),
            if note.is_empty() { note } else { format!(": {note}") }
        ),
    ));
    for vote in task.heard.iter().flat_map(|heard| &heard.votes) {
        lines.push(line(vote.approves, format!("{} {} ago", vote.words(), duration(at.since(vote.at)))));
    }
    if let Some(past) = task.past.as_ref().and_then(|past| past.last()) {
        lines.push(line(good, format!("attempt {} ran {}", past.attempt, duration(past.ended.since(past.started)))));
    }
    lines.extend(found_facts(state, id).into_iter().map(|(name, value)| line(good, format!("{name}: {value}"))));
    if let Some(fallback) = state.next_fallback(id).filter(|_| !good) {
        let name = fallback_name(&state.fallbacks, fallback);
        lines.push(line(false, format!("b: fallback {name} {}", fallbacks::words(state, id, fallback))));
    }
    lines
}

/// What a task that was added to undo another does, and why.
fn undoes(state: &State, id: TaskId) -> Option<String> {
    let undone = state.definition(id).compensates?;
    Some(format!("undoes {}: {}", state.name(undone), state.saga_words(undone)?))
}

fn long(frozen: &Frozen, id: TaskId, reason: &Reason, at: Time) -> WhyLine {
    let state = &frozen.engine.state;
    let mut more = Vec::new();
    let text = match reason {
        Reason::After { tasks, count } => {
            more.extend(
                tasks
                    .iter()
                    .map(|id| format!("{}: {}", state.name(*id), crate::engine::decide::word(state.task(*id).phase))),
            );
            let rest = *count as usize - tasks.len();
            if rest > 0 {
                more.push(format!("{rest} more"));
            }
            format!(
                "needs {count} task{} that {} not done",
                if *count == 1 { "" } else { "s" },
                if *count == 1 { "is" } else { "are" }
            )
        }
        Reason::Enough { tasks, .. } => {
            more.extend(
                tasks
                    .iter()
                    .map(|id| format!("{}: {}", state.name(*id), crate::engine::decide::word(state.task(*id).phase))),
            );
            short(frozen, id, reason, at)
        }
        Reason::Resource { resource, need, free, holders, asked } => {
            let entry = state.resource(*resource);
            let is_lock = entry.definition.kind == ResourceKind::Lock;
            for (holder, held) in holders {
                let since = state.task(*holder).live.as_ref().map_or(at, |live| live.started);
                more.push(format!(
                    "holder {} ({}) for {}",
                    state.name(*holder),
                    how(is_lock, *held),
                    duration(at.since(since))
                ));
            }
            more.extend(asked.iter().map(|task| format!("{} runs and asks for it: it comes first", state.name(*task))));
            let (line, count) = frozen.engine.line(*resource);
            if !line.is_empty() {
                let names: Vec<String> =
                    line.iter().enumerate().map(|(n, id)| format!("{} {}", n + 1, state.name(*id))).collect();
                let rest = if count > line.len() { format!(" … {} more", count - line.len()) } else { String::new() };
                more.push(format!("line: {}{rest}", names.join("  ")));
            }
            if entry.definition.limit {
                short(frozen, id, reason, at)
            } else if is_lock && need <= free {
                format!("lock {} ({}) is asked for by what runs", entry.definition.name, how(true, *need))
            } else if is_lock {
                format!("lock {} ({}) is held", entry.definition.name, how(true, *need))
            } else {
                format!(
                    "{}: asks {}, {} of {} free",
                    entry.definition.name,
                    amount(*need),
                    amount(*free),
                    amount(entry.capacity)
                )
            }
        }
        Reason::Delayed { until } => format!("waits out a delay: {} left", duration(until.since(at))),
        Reason::AgentsLost { agents } => {
            for agent in agents.iter().take(LISTED).map(|agent| state.agent(*agent)) {
                let lost = agent.lost.as_ref().map_or("", |lost| &lost.saw);
                more.push(format!("{}: {lost}", agent.definition.name));
            }
            short(frozen, id, reason, at)
        }
        Reason::AgentsFull { agents, .. } => {
            for agent in agents.iter().take(LISTED) {
                let agent = state.agent(*agent);
                more.push(format!("{} {}/{} slots busy", agent.definition.name, agent.busy, agent.slots));
            }
            short(frozen, id, reason, at)
        }
        Reason::Reserved { on, task } => {
            let what = match on {
                Target::Resource(resource) => state.resource(*resource).definition.name.clone(),
                Target::Agent(agent) => state.agent(*agent).definition.name.clone(),
            };
            more.push(format!("{} waited longer; this would delay it", state.name(*task)));
            format!("room on {what} is kept for {}", state.name(*task))
        }
        Reason::Awaiting => {
            match &state.definition(id).task_type {
                _ if state.is_escalated(id) => {
                    let how = "A or r tries it again, :skip skips it, D lets it fail";
                    more.push(format!("{how}; on the command line --approve (try again), --reject"));
                    more.extend(state.task(id).past.iter().flat_map(|past| past.last()).map(|past| {
                        let by = past.fallback.map(|id| format!(" by {}", fallback_name(&state.fallbacks, id)));
                        format!("attempt {}{}: {}", past.attempt, by.unwrap_or_default(), outcome_words(&past.outcome))
                    }));
                }
                TaskType::Approval(_) => {
                    more.push("A approves, D rejects; on the command line --approve, --reject".to_owned());
                }
                TaskType::Sensor(sensor) => more.extend(looks(frozen, id, sensor, at)),
                TaskType::QualityGate(gate) => more.extend(checks(state, id, gate, at)),
                _ => {}
            }
            short(frozen, id, reason, at)
        }
        other => short(frozen, id, other, at),
    };
    WhyLine { met: false, text, more }
}
