//! The log desk: where in a log one is, what is looked for, which logs are shown and how. Files are not touched here: what
//! must be read is a move for the reader.

use crate::snapshot::Snapshot;

use super::super::keymap::Act;
use super::super::log::{LogMove, MAX_SIDE, SIDE_STEP, Source};
use super::super::logsearch::Pattern;
use super::super::model::{Cursor, Model, Pane};
use super::super::panes::log as pane;
use super::{Request, navigate};

/// What a search for first errors is called where its words would stand.
const FIRST_ERROR_NAME: &str = "first error";
/// Cells that a log needs beside another.
const LEAST_BESIDE: u16 = 24;

/// Whether this can be done now; if not, why.
pub fn check(act: Act, model: &Model, snapshot: &Snapshot) -> Result<(), String> {
    let log = &model.log;
    let attempts = || {
        let detail = model.detail(snapshot).ok_or("no task is selected")?;
        Ok::<_, String>(model.desk.attempts(detail, snapshot))
    };
    match act {
        Act::NextHit | Act::PreviousHit if log.pattern.is_none() => Err("nothing searched yet: / searches".into()),
        Act::SideLeft | Act::SideRight | Act::SideStart | Act::SideEnd if model.desk.wrap => {
            Err("long lines are wrapped: w undoes that".into())
        }
        Act::EarlierAttempt | Act::LaterAttempt | Act::Beside | Act::Pager | Act::Editor
            if model.merged().is_some() =>
        {
            Err("several logs are shown as one: M goes back to one".into())
        }
        Act::EarlierAttempt if attempts()?.is_empty() => Err("not started yet".into()),
        Act::EarlierAttempt if attempts()?.len() < 2 => Err("there is no earlier attempt".into()),
        Act::LaterAttempt if attempts()?.is_empty() => Err("not started yet".into()),
        Act::LaterAttempt if chosen(model, snapshot).is_none() => Err("this is the newest attempt".into()),
        Act::Beside if model.desk.beside => Ok(()),
        Act::Beside if attempts()?.len() < 2 => Err("there is no earlier attempt to put beside it".into()),
        Act::Beside if model.areas().log().is_some_and(|area| area.width < 2 * LEAST_BESIDE) => {
            Err("the pane is too narrow for two logs: z shows it alone".into())
        }
        Act::Merge if model.merged().is_some() => Ok(()),
        Act::Merge if stage_of(model, snapshot).is_none() => Err("no task is selected".into()),
        Act::Pager | Act::Editor if !matches!(log.source, Source::File(..)) => Err("it has written nothing".into()),
        Act::Choose | Act::FirstError if log.lines.is_empty() => Err("there is nothing in the log".into()),
        Act::CopyLines if log.selection.is_none() => Err("no lines are chosen: v in the log".into()),
        _ => Ok(()),
    }
}

/// Does it, if it is about the log.
pub fn act(model: &mut Model, act: Act, snapshot: &Snapshot) -> Option<Vec<Request>> {
    match act {
        Act::Follow => {
            let follow = !model.log.follow;
            (model.log.follow, model.other.follow) = (follow, follow);
            if follow {
                model.log.selection = None;
                push(model, LogMove::End);
            }
        }
        Act::Wrap => model.desk.wrap = !model.desk.wrap,
        Act::Times => model.desk.times = !model.desk.times,
        Act::Colours => {
            model.desk.colours = !model.desk.colours;
            let said = if model.desk.colours {
                "colours of the output are shown"
            } else {
                "colours of the output are left out"
            };
            model.toast(said.into(), false);
        }
        Act::NextHit | Act::PreviousHit => push(model, LogMove::Search { forwards: act == Act::NextHit }),
        Act::FirstError => {
            set_pattern(model, FIRST_ERROR_NAME.to_owned(), Some(Pattern::first_error()));
            push(model, LogMove::SearchFromStart);
        }
        Act::SideLeft => side(model, |side| side.saturating_sub(SIDE_STEP)),
        Act::SideRight => side(model, |side| (side + SIDE_STEP).min(MAX_SIDE)),
        Act::SideStart => side(model, |_| 0),
        Act::SideEnd => push(model, LogMove::SideEnd),
        Act::EarlierAttempt | Act::LaterAttempt => step_attempt(model, snapshot, act == Act::EarlierAttempt),
        Act::Beside => model.desk.beside = !model.desk.beside,
        Act::Merge => merge(model, snapshot),
        Act::Pager | Act::Editor => {
            let Source::File(path, ..) = &model.log.source else { return Some(vec![]) };
            let path = path.clone();
            return Some(vec![if act == Act::Pager { Request::Pager(path) } else { Request::Editor(path) }]);
        }
        Act::Choose => {
            let at = model.log.eyes();
            model.log.selection = Some((at, at));
            model.log.follow = false;
        }
        Act::CopyLines => push(model, LogMove::Copy),
        _ => return None,
    }
    Some(vec![])
}

/// Asks the reader for a move, of both logs where there are two.
pub fn push(model: &mut Model, step: LogMove) {
    let first_only = matches!(step, LogMove::Select(_) | LogMove::Copy);
    model.log.moves.push_back(step);
    if model.desk.beside && !first_only {
        model.other.moves.push_back(step);
    }
}

/// Scrolls, or moves the end of the selection; upwards ends following.
pub fn scroll(model: &mut Model, lines: i64) {
    if model.log.selection.is_some() && model.focus == Pane::Log {
        return push(model, LogMove::Select(lines));
    }
    scroll_only(model, lines);
}

/// Scrolls; upwards ends following.
pub fn scroll_only(model: &mut Model, lines: i64) {
    if lines < 0 {
        (model.log.follow, model.other.follow) = (false, false);
    }
    push(model, LogMove::Lines(lines));
}

/// Looks for a pattern: upwards from the end, or onwards from where one is.
pub fn search(model: &mut Model, needle: String, pattern: Pattern) {
    let forwards = !model.log.follow;
    set_pattern(model, needle, Some(pattern));
    push(model, LogMove::Search { forwards });
}

/// Nothing was typed: on to the next hit of what is looked for, if anything is.
pub fn search_on(model: &mut Model) {
    if model.log.pattern.is_some() {
        navigate::focus(model, Pane::Log);
        push(model, LogMove::Search { forwards: !model.log.follow });
    }
}

/// Nothing is looked for any more.
pub fn search_nothing(model: &mut Model) {
    set_pattern(model, String::new(), None);
}

fn set_pattern(model: &mut Model, needle: String, pattern: Option<Pattern>) {
    for log in [&mut model.log, &mut model.other] {
        log.needle.clone_from(&needle);
        log.pattern.clone_from(&pattern);
        (log.hit, log.wanted, log.missed) = (None, None, false);
    }
}

fn side(model: &mut Model, to: impl Fn(usize) -> usize) {
    model.log.side = to(model.log.side);
    model.other.side = model.log.side;
}

/// The number of the attempt that was chosen of the task under the cursor.
fn chosen(model: &Model, snapshot: &Snapshot) -> Option<u32> {
    let detail = model.detail(snapshot)?;
    model.desk.attempt.filter(|(task, _)| *task == detail.row.task).map(|(_, attempt)| attempt)
}

fn step_attempt(model: &mut Model, snapshot: &Snapshot, earlier: bool) {
    let Some(detail) = model.detail(snapshot) else { return };
    let now = chosen(model, snapshot);
    let numbers = detail.attempts.iter().map(|line| line.attempt.0);
    let at = numbers.clone().position(|n| now.is_none_or(|now| n <= now)).unwrap_or(0);
    let to = if earlier { at + 1 } else { at.saturating_sub(1) };
    let Some(to) = numbers.clone().nth(to).map(|n| (n, to)) else { return };
    // The newest is not held on to: the one that comes after it is shown too.
    model.desk.attempt = (to.1 > 0).then_some((detail.row.task, to.0));
    navigate::focus(model, Pane::Log);
}

fn merge(model: &mut Model, snapshot: &Snapshot) {
    if model.merged().is_some() {
        model.desk.merged = None;
        return;
    }
    model.desk.merged = stage_of(model, snapshot);
    model.desk.merged_at = model.queue.cursor;
    navigate::focus(model, Pane::Log);
}

/// The name of the stage of the cursor.
fn stage_of(model: &Model, snapshot: &Snapshot) -> Option<String> {
    match model.queue.cursor {
        Cursor::Group(stage) => {
            model.queue.stages.iter().find(|(_, known)| *known == stage).map(|(name, _)| name.clone())
        }
        _ => model.task(snapshot).map(|row| row.stage.clone()),
    }
}

/// The mouse went down in the log pane.
pub fn on_press(model: &mut Model, x: u16, y: u16) {
    model.log.selection = None;
    model.log.pressed = pane::line_at(model, x, y);
}

/// It moved while it was down, or came up: lines from where it went down are chosen, and copied at the end.
pub fn on_drag(model: &mut Model, y: u16, released: bool) {
    let Some(from) = model.log.pressed else { return };
    let x = model.areas().log().map_or(0, |area| area.x);
    if let Some(to) = pane::line_at(model, x, y).filter(|to| *to != from || model.log.selection.is_some()) {
        model.log.selection = Some((from, to));
        model.log.follow = false;
    }
    if released {
        model.log.pressed = None;
        if model.log.selection.is_some() {
            push(model, LogMove::Copy);
        }
    }
}
