//! What is asked of the engine: about the task under the cursor, an agent, the whole session. Each act has one place that
//! says whether it can be done now and, if not, why: hint line, palette, menu and toasts all read it.

use crate::engine::ids::Amount;
use crate::engine::message::Command;
use crate::snapshot::{Mode, Phase, Snapshot, TaskRow};

use super::super::format;
use super::super::keymap::Act;
use super::super::model::{Cursor, Dialog, Intent, Model};
use super::{Request, marks};

/// How far `+` and `-` go.
pub const PRIORITY_STEP: i32 = 5;
/// Priorities beyond this are refused here already, so that sums cannot overflow.
pub const MAX_PRIORITY: i32 = 1_000_000;

/// An act with its present state, for palette and menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What.
    pub act: Act,
    /// In words.
    pub help: &'static str,
    /// Its key; empty if it has none.
    pub key: String,
    /// Why not now.
    pub why_not: Option<String>,
}

/// Whether this can be done now; if not, why.
pub fn check(act: Act, model: &Model, snapshot: &Snapshot) -> Result<(), String> {
    if changes(act)
        && let Some(why) = &snapshot.header.read_only
    {
        return Err(why.clone());
    }
    match act {
        Act::Undo if snapshot.header.undo.is_none() => Err("nothing to undo".into()),
        Act::Redo if snapshot.header.redo.is_none() => Err("nothing to redo".into()),
        Act::Pause if !matches!(snapshot.header.mode, Mode::Running | Mode::Paused | Mode::Overloaded) => {
            Err("the session is ending".into())
        }
        Act::Drain if !matches!(snapshot.header.mode, Mode::Running | Mode::Paused | Mode::Overloaded) => {
            Err("the session is ending already".into())
        }
        Act::SlotLess | Act::SlotMore => {
            let agent = snapshot.agents.get(model.agent_row).filter(|agent| agent.id.is_some());
            let agent = agent.ok_or_else(|| "no agent is selected".to_owned())?;
            let none = act == Act::SlotLess && agent.slots == 0;
            if none { Err(format!("{} has no slot left to take", agent.name)) } else { Ok(()) }
        }
        Act::AmountMore | Act::AmountLess => {
            let lock = snapshot.locks.get(model.lock_row).ok_or_else(|| "no resource is selected".to_owned())?;
            match lock.capacity {
                None => Err(format!("{} is a lock: there is one of it", lock.name)),
                Some(amount) if act == Act::AmountLess && amount.0 == 0 => {
                    Err(format!("nothing is left of {}", lock.name))
                }
                Some(_) => Ok(()),
            }
        }
        Act::RunLess if snapshot.header.max_running == Some(1) => {
            Err("one at least: pause the session to start nothing (P)".into())
        }
        Act::RunAny if snapshot.header.max_running.is_none() => Err("there is no limit to take away".into()),
        Act::Rewind if snapshot.header.replay.is_some() => Err("this is a replay already".into()),
        Act::GoLive if !snapshot.header.replay.as_ref().is_some_and(|strip| strip.returns) => {
            Err("no session goes on behind this: q leaves".into())
        }
        Act::PauseWhile if snapshot.header.pause_while.is_none() => Err("no PauseWhile is declared".into()),
        Act::CloseBreaker if snapshot.header.breaker.is_none() => Err("the circuit breaker is closed".into()),
        Act::Compensate => snapshot.compensation.why_not.clone().map_or(Ok(()), Err),
        Act::CopyLogPath if model.detail(snapshot).is_some_and(|detail| detail.log.is_none()) => {
            Err("it has written nothing".into())
        }
        Act::Mark | Act::MarkRange | Act::MarkAll => marks::check(act, model),
        _ if of_task(act) => check_task(act, model, snapshot),
        _ => super::log::check(act, model, snapshot).and_then(|()| super::timeline::check(act, model, snapshot)),
    }
}

fn check_task(act: Act, model: &Model, snapshot: &Snapshot) -> Result<(), String> {
    if marks::is_of_marks(act, model) {
        return marks::check_act(act, model, snapshot);
    }
    if model.focus.is_alone() && model.subject().is_none() {
        return Err("no task is selected".into());
    }
    if model.queue.cursor == Cursor::Nowhere && !model.focus.is_alone() {
        return Err("there is no task".into());
    }
    if let (Cursor::Group(_), false) = (model.queue.cursor, model.focus.is_alone()) {
        return Err("this is a stage: choose a task of it (Enter opens the stage)".into());
    }
    let row = model.task(snapshot).ok_or("one moment: the task is being looked up")?;
    if let Some(what) = cannot(act, row.phase, row.attempt, is_escalated(row)) {
        return Err(format!("not possible: {} is {what}", row.name));
    }
    match act {
        Act::Approve | Act::Reject => match model.detail(snapshot) {
            Some(detail) if !detail.command.starts_with(ASKS) && !is_escalated(row) => {
                Err(format!("{} asks nobody", row.name))
            }
            _ => Ok(()),
        },
        Act::Fallback => match model.detail(snapshot) {
            Some(detail) if !detail.facts.iter().any(|(name, _)| name == "fallback") => {
                Err(format!("no fallback declared for {}", row.name))
            }
            Some(detail) if detail.fallbacks.is_empty() => Err(format!("no fallback is left for {}", row.name)),
            None => Err("one moment: the task is being looked up".into()),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What a task in this phase is instead, if this cannot be asked of it.
pub fn cannot(act: Act, phase: Phase, attempt: u32, escalated: bool) -> Option<String> {
    let word = super::super::glyphs::phase(phase).1;
    let over = matches!(phase, Phase::Succeeded | Phase::Failed | Phase::Skipped | Phase::Cancelled);
    let alive = matches!(phase, Phase::Running | Phase::Stopping);
    let ends = matches!(phase, Phase::Failed | Phase::Lost | Phase::Cancelled | Phase::Delayed);
    let already = || Some(format!("{word} already"));
    match act {
        Act::Cancel | Act::Approve | Act::Reject | Act::Raise | Act::Lower if over => already(),
        Act::Fallback if matches!(phase, Phase::Succeeded | Phase::Skipped) => already(),
        Act::Kill if !alive => Some(format!("{word}, not running")),
        Act::Retry if !escalated && !ends => Some(word.to_owned()),
        Act::Hold | Act::Skip | Act::EditTask | Act::Remove if over || alive => Some(word.to_owned()),
        Act::Remove if attempt > 0 => Some("begun: skip or cancel it".to_owned()),
        Act::Unskip if !matches!(phase, Phase::Skipped | Phase::Cancelled) => {
            Some(format!("{word}, neither skipped nor cancelled"))
        }
        _ => None,
    }
}

/// Acts that change the session.
fn changes(act: Act) -> bool {
    use Act::*;
    matches!(
        act,
        Raise
            | Lower
            | Hold
            | Cancel
            | Kill
            | Retry
            | Fallback
            | Approve
            | Reject
            | Skip
            | Unskip
            | Pause
            | Undo
            | Redo
            | Drain
            | SlotMore
            | SlotLess
            | AmountMore
            | AmountLess
            | RunMore
            | RunLess
            | RunAny
            | CloseBreaker
            | PauseWhile
            | Compensate
            | NewTask
            | EditTask
            | Remove
            | Say
    )
}

/// Acts that need a task under the cursor.
pub fn of_task(act: Act) -> bool {
    use Act::*;
    matches!(
        act,
        Why | Raise
            | Lower
            | Hold
            | Cancel
            | Kill
            | Retry
            | Fallback
            | Approve
            | Reject
            | Skip
            | Unskip
            | EditTask
            | Remove
            | CopyName
            | CopyCommand
            | CopyLogPath
            | CopyWhy
    )
}

/// Does it; [`check`] has allowed it.
pub fn act(model: &mut Model, act: Act, count: Option<u32>, snapshot: &Snapshot) -> Vec<Request> {
    let send = |command| vec![Request::Send(command)];
    match act {
        Act::Undo => return send(Command::Undo),
        Act::Redo => return send(Command::Redo),
        Act::Pause => return send(if snapshot.header.mode == Mode::Paused { Command::Resume } else { Command::Pause }),
        Act::Drain => {
            let n = snapshot.counts.running + snapshot.counts.stopping;
            let lines = vec![format!(
                "{} may finish; nothing new starts; then the session ends.",
                format::plural(n, "running task")
            )];
            return confirm(model, "Finish what runs, then end?", lines, "finish and end", Command::Drain);
        }
        Act::SlotMore | Act::SlotLess => return slots(model, act == Act::SlotMore, count, snapshot),
        Act::AmountMore | Act::AmountLess => return amount(model, act == Act::AmountMore, count, snapshot),
        Act::RunMore | Act::RunLess => {
            let busy = snapshot.counts.running + snapshot.counts.stopping;
            let now = snapshot.header.max_running.unwrap_or(u32::try_from(busy).unwrap_or(u32::MAX));
            let step = count.unwrap_or(1);
            let most = if act == Act::RunMore { now.saturating_add(step) } else { now.saturating_sub(step) };
            return send(Command::SetMaxRunning { most: Some(most.max(1)) });
        }
        Act::RunAny => return send(Command::SetMaxRunning { most: None }),
        Act::CloseBreaker => return send(Command::CloseBreaker),
        Act::PauseWhile => {
            return send(Command::HeedPauseWhile(snapshot.header.pause_while == Some(false)));
        }
        Act::Compensate => {
            let lines = snapshot.compensation.lines.clone();
            return confirm(model, "Stop the run and undo what was done?", lines, "undo it", Command::Compensate);
        }
        _ => {}
    }
    if marks::is_of_marks(act, model) {
        return marks::ask(model, act, count, snapshot);
    }
    let Some(row) = model.task(snapshot).cloned() else { return vec![] };
    let task = row.task;
    match act {
        Act::Raise | Act::Lower => priority(model, &row, act == Act::Raise, count),
        Act::Approve | Act::Reject => {
            let (approves, by) = (act == Act::Approve, model.who.clone());
            let title = format!("{} {}?", if approves { "Approve" } else { "Reject" }, row.name);
            let question = row.note.clone();
            let then = match (approves, is_escalated(&row)) {
                (true, true) => "It is tried again.",
                (true, false) if row.counts_votes => "It opens once all its checks hold.",
                (true, false) => "What waits for it goes on.",
                (false, _) if row.counts_votes => "It closes once too few are left who could say yes, or by a veto.",
                (false, _) => "It fails, and what waits for it is blocked.",
            };
            let lines = vec![question, then.to_owned(), format!("You answer as {by}.")];
            let yes = if approves { "approve" } else { "reject" };
            let vote = Command::Vote { task, approves, abstains: false, by, note: String::new() };
            confirm(model, &title, lines, yes, vote)
        }
        Act::Hold if row.phase == Phase::Held => send(Command::Release { task }),
        Act::Hold => send(Command::Hold { task }),
        Act::Retry => send(Command::Retry { task }),
        Act::Fallback => {
            let lines = model.detail(snapshot).map(|detail| detail.fallbacks.clone()).unwrap_or_default();
            confirm(model, &format!("Fallback of {}?", row.name), lines, "do it now", Command::Fallback { task })
        }
        Act::Skip => send(Command::Skip { task }),
        Act::EditTask => vec![Request::Edit(task, row.name.to_string())],
        Act::Remove => {
            let lines = vec!["It is not run, and what waits for it goes on without it.".to_owned()];
            confirm(
                model,
                &format!("Remove {} from the workflow?", row.name),
                lines,
                "remove it",
                Command::Remove { task },
            )
        }
        Act::Unskip => send(Command::Unskip { task }),
        Act::Cancel => {
            let lines = consequences(&row, model, snapshot);
            confirm(model, &format!("Cancel {}?", row.name), lines, "cancel it", Command::Cancel { task })
        }
        Act::Kill => {
            let mut lines = consequences(&row, model, snapshot);
            lines.push("how: SIGKILL now, it cannot tidy up".into());
            confirm(model, &format!("Kill {} now?", row.name), lines, "kill it", Command::Kill { task })
        }
        Act::CopyName => vec![Request::Copy(row.name.to_string())],
        Act::CopyCommand => {
            copy(model, snapshot, |detail| Some(detail.replaced_by.clone().unwrap_or(detail.command.clone())))
        }
        Act::CopyLogPath => copy(model, snapshot, |detail| detail.log.as_ref().map(|path| path.display().to_string())),
        Act::CopyWhy => copy(model, snapshot, |detail| Some(why_text(detail))),
        _ => vec![],
    }
}

fn copy(
    model: &mut Model,
    snapshot: &Snapshot,
    what: impl Fn(&crate::snapshot::Detail) -> Option<String>,
) -> Vec<Request> {
    match model.detail(snapshot).and_then(what) {
        Some(text) => vec![Request::Copy(text)],
        None => {
            model.toast("there is nothing to copy".into(), true);
            vec![]
        }
    }
}

/// The check-list as plain text.
pub fn why_text(detail: &crate::snapshot::Detail) -> String {
    let mut out = format!("{}: {}\n", detail.row.name, super::super::glyphs::phase(detail.row.phase).1);
    for line in &detail.why {
        out += &format!("[{}] {}\n", if line.met { "x" } else { " " }, line.text);
        for more in &line.more {
            out += &format!("      {more}\n");
        }
    }
    out
}

fn confirm(model: &mut Model, title: &str, lines: Vec<String>, yes: &str, command: Command) -> Vec<Request> {
    model.dialog = Some(Dialog::Confirm { title: title.into(), lines, yes: yes.into(), command });
    vec![]
}

/// What stopping a task means, said before it is done.
fn consequences(row: &TaskRow, model: &Model, snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    match row.phase {
        Phase::Running | Phase::Stopping => {
            lines.push(format!("running   {} of work is lost", format::short(model.now.since(row.since))));
            lines.push("how: SIGTERM, then SIGKILL after its grace; its locks are freed".into());
            lines.push("     only when the last of its processes is gone".into());
            lines.push("cannot be undone once the signal is sent".into());
        }
        phase => lines.push(format!("{}: it will not be run", super::super::glyphs::phase(phase).1)),
    }
    if let Some(detail) = model.detail(snapshot).filter(|detail| !detail.before.is_empty()) {
        lines.push(format!("waiting for it: {}", detail.before.join(", ")));
    }
    lines
}

fn priority(model: &mut Model, row: &TaskRow, up: bool, count: Option<u32>) -> Vec<Request> {
    let base = match model.priority {
        Some(intent) if intent.id == row.task && intent.seen == row.priority => intent.asked,
        _ => row.priority,
    };
    let step = count.map_or(PRIORITY_STEP, |count| i32::try_from(count).unwrap_or(MAX_PRIORITY));
    let asked = base.saturating_add(if up { step } else { -step }).clamp(-MAX_PRIORITY, MAX_PRIORITY);
    model.priority = Some(Intent { id: row.task, seen: row.priority, asked });
    vec![Request::Send(Command::SetPriority { task: row.task, priority: asked })]
}

/// How the details of a task begin that asks a person.
const ASKS: &str = "asks: ";

/// It failed and asks what to do: it has run before, and a person settles it now.
fn is_escalated(row: &TaskRow) -> bool {
    row.phase == Phase::Awaiting && row.attempt > 0
}

/// Of the resource under the cursor.
fn amount(model: &Model, more: bool, count: Option<u32>, snapshot: &Snapshot) -> Vec<Request> {
    let Some((lock, has)) = snapshot.locks.get(model.lock_row).and_then(|lock| Some((lock, lock.capacity?))) else {
        return vec![];
    };
    let step = Amount::units(u64::from(count.unwrap_or(1))).0;
    let amount = Amount(if more { has.0.saturating_add(step) } else { has.0.saturating_sub(step) });
    vec![Request::Send(Command::SetCapacity { resource: lock.resource, agent: None, amount })]
}

fn slots(model: &mut Model, more: bool, count: Option<u32>, snapshot: &Snapshot) -> Vec<Request> {
    let Some((agent, id)) = snapshot.agents.get(model.agent_row).and_then(|agent| Some((agent, agent.id?))) else {
        return vec![];
    };
    let base = match model.slots {
        Some(intent) if intent.id == id && intent.seen == agent.slots => intent.asked,
        _ => agent.slots,
    };
    let step = count.unwrap_or(1);
    let asked = if more { base.saturating_add(step) } else { base.saturating_sub(step) };
    model.slots = Some(Intent { id, seen: agent.slots, asked });
    vec![Request::Send(Command::SetSlots { agent: id, slots: asked })]
}
