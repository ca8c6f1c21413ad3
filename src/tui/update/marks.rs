//! Marks, and what is asked of all marked tasks at once: which of them it can be asked of, and a preview of what it comes
//! to.

use crate::engine::ids::{Span, TaskId};
use crate::engine::message::Command;
use crate::snapshot::marks::{MarkRow, Marking};
use crate::snapshot::{Phase, Row, Snapshot};

use super::super::format;
use super::super::glyphs;
use super::super::keymap::Act;
use super::super::model::{Cursor, Dialog, Model, Pane};
use super::Request;
use super::task::{MAX_PRIORITY, PRIORITY_STEP, cannot};

/// So many names stand in a line of a preview.
const NAMES: usize = 4;

/// Marks what it asks to be marked, if it does.
pub fn act(model: &mut Model, act: Act, snapshot: &Snapshot) -> bool {
    match act {
        Act::Mark => mark(model, snapshot),
        Act::MarkRange => range(model),
        Act::MarkAll => {
            model.marks.asked = Some(Marking::All);
            true
        }
        _ => false,
    }
}

/// Whether something can be marked here.
pub fn check(act: Act, model: &Model) -> Result<(), String> {
    if !matches!(act, Act::Mark | Act::MarkRange | Act::MarkAll) {
        return Ok(());
    }
    match (model.focus, model.queue.cursor) {
        (focus, _) if focus != Pane::Queue => Err("tasks are marked in the queue: 1 goes there".into()),
        (_, Cursor::Nowhere) => Err("there is no task".into()),
        (_, Cursor::Group(_)) if act == Act::MarkRange => {
            Err("this is a stage: a range ends at a task (Space marks the whole stage)".into())
        }
        _ => Ok(()),
    }
}

fn mark(model: &mut Model, snapshot: &Snapshot) -> bool {
    match model.queue.cursor {
        Cursor::Task(task) => {
            if !model.marks.toggle(task) {
                model.toast("no more tasks are marked at once".into(), true);
            }
        }
        Cursor::Group(stage) => model.marks.asked = Some(Marking::Stage(stage)),
        Cursor::Nowhere => return true,
    }
    let last = model.queue.row + 1 >= model.queue.total;
    if !last {
        model.point_at(model.queue.row + 1, snapshot);
    }
    true
}

fn range(model: &mut Model) -> bool {
    if let Cursor::Task(task) = model.queue.cursor {
        let from = model.marks.anchor.unwrap_or(task);
        model.marks.asked = Some(Marking::Range(from, task));
        model.marks.anchor = Some(task);
    }
    true
}

/// What can be asked of several tasks at once, and how: to the infinitive, and what is said of it.
fn word(act: Act) -> Option<&'static str> {
    Some(match act {
        Act::Raise | Act::Lower => "change the priority of",
        Act::Hold => "hold",
        Act::Cancel => "cancel",
        Act::Kill => "kill",
        Act::Retry => "retry",
        Act::Fallback => "fall back for",
        Act::Approve => "approve",
        Act::Reject => "reject",
        Act::Skip => "skip",
        Act::Unskip => "unskip",
        Act::Remove => "remove",
        _ => return None,
    })
}

/// It is asked of all that is marked.
pub fn is_of_marks(act: Act, model: &Model) -> bool {
    word(act).is_some() && model.acts_on_marks()
}

/// Whether it can be asked of any marked task.
pub fn check_act(act: Act, model: &Model, snapshot: &Snapshot) -> Result<(), String> {
    let (able, _) = split(act, snapshot);
    if able.is_empty() {
        let word = word(act).unwrap_or("do this to");
        return Err(format!("nothing to {word} among {}", marked(model.marks.tasks.len())));
    }
    Ok(())
}

fn marked(n: usize) -> String {
    format::plural(n, "marked task")
}

/// Those of which it can be asked, and the others with the reason.
fn split(act: Act, snapshot: &Snapshot) -> (Vec<&MarkRow>, Vec<(&MarkRow, String)>) {
    let (mut able, mut others) = (Vec::new(), Vec::new());
    for row in snapshot.marked.iter() {
        let escalated = row.phase == Phase::Awaiting && row.attempt > 0;
        let why = match act {
            Act::Approve | Act::Reject if row.phase != Phase::Awaiting => Some("asking nobody".to_owned()),
            Act::Fallback if !row.falls_back => Some("without a fallback".to_owned()),
            act => cannot(act, row.phase, row.attempt, escalated),
        };
        match why {
            None => able.push(row),
            Some(why) => others.push((row, why)),
        }
    }
    (able, others)
}

/// Asks it of all marked tasks; [`check_act`] has allowed it.
pub fn ask(model: &mut Model, act: Act, count: Option<u32>, snapshot: &Snapshot) -> Vec<Request> {
    let (mut able, mut others) = split(act, snapshot);
    let by = model.who.clone();
    // Held ones are released only if all are held: then the key means that.
    let releases = act == Act::Hold && able.iter().all(|row| row.phase == Phase::Held);
    if act == Act::Hold && !releases {
        let held = able.extract_if(.., |row| row.phase == Phase::Held);
        others.extend(held.map(|row| (row, "held already".to_owned())));
    }
    let step = count.map_or(PRIORITY_STEP, |count| i32::try_from(count).unwrap_or(MAX_PRIORITY));
    let commands: Vec<Command> = able
        .iter()
        .map(|row| {
            let (task, by) = (row.task, by.clone());
            let priority = |step: i32| row.priority.saturating_add(step).clamp(-MAX_PRIORITY, MAX_PRIORITY);
            match act {
                Act::Raise => Command::SetPriority { task, priority: priority(step) },
                Act::Lower => Command::SetPriority { task, priority: priority(-step) },
                Act::Hold if releases => Command::Release { task },
                Act::Hold => Command::Hold { task },
                Act::Cancel => Command::Cancel { task },
                Act::Kill => Command::Kill { task },
                Act::Retry => Command::Retry { task },
                Act::Fallback => Command::Fallback { task },
                Act::Skip => Command::Skip { task },
                Act::Unskip => Command::Unskip { task },
                Act::Remove => Command::Remove { task },
                act => Command::Vote { task, approves: act == Act::Approve, abstains: false, by, note: String::new() },
            }
        })
        .collect();
    let n = commands.len();
    let command = Command::All(commands);
    if matches!(act, Act::Raise | Act::Lower) {
        return vec![Request::Send(command)];
    }
    let word = if releases { "release" } else { word(act).unwrap_or("change") };
    let mut lines = by_phase(&able);
    lines.extend(left_out(&others));
    let alive = able.iter().filter(|row| matches!(row.phase, Phase::Running | Phase::Stopping));
    let work = alive.map(|row| model.now.since(row.since).0).sum();
    if matches!(act, Act::Cancel | Act::Kill) && work > 0 {
        lines.push(format!("lost      {} of work", format::short(Span(work))));
        lines.push(match act {
            Act::Kill => "how       SIGKILL now, they cannot tidy up".to_owned(),
            _ => "how       SIGTERM, then SIGKILL after each one's grace".to_owned(),
        });
    }
    let of = if others.is_empty() { String::new() } else { format!("{n} of ") };
    let title = format!("{} {of}{}?", capital(word), marked(snapshot.marked.len()));
    model.dialog = Some(Dialog::Confirm { title, lines, yes: format!("{word} them"), command: command.clone() });
    vec![Request::Preview(command)]
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `running   2: compile:ui, link`.
fn by_phase(able: &[&MarkRow]) -> Vec<String> {
    let mut phases: Vec<Phase> = able.iter().map(|row| row.phase).collect();
    phases.sort_unstable();
    phases.dedup();
    let line = |phase: Phase| {
        let rows: Vec<&&MarkRow> = able.iter().filter(|row| row.phase == phase).collect();
        format!("{:<10}{}: {}", glyphs::phase(phase).1, rows.len(), names(rows.iter().map(|row| &*row.name)))
    };
    phases.into_iter().map(line).collect()
}

fn left_out(others: &[(&MarkRow, String)]) -> Option<String> {
    let (_, why) = others.first()?;
    let names = names(others.iter().map(|(row, _)| &*row.name));
    let all_alike = others.iter().all(|(_, other)| other == why);
    let why = if all_alike { format!(" ({why})") } else { String::new() };
    Some(format!("{:<10}{}: {names}{why}", "left out", others.len()))
}

fn names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMES);
    let shown: Vec<&str> = names.take(NAMES).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Whether a row of the queue is marked.
pub fn is_marked(model: &Model, row: &Row) -> bool {
    let marked = |task: TaskId| model.marks.tasks.contains(&task);
    matches!(row, Row::Task(row) if marked(row.task))
}
