//! The timeline: where in it one is, how much of it is seen, what is selected. Changes nothing but the model.

use crate::engine::ids::{Span, Time};
use crate::snapshot::Snapshot;
use crate::snapshot::record::Record;

use super::super::chart::{By, Chart, LEAST_SPAN, column};
use super::super::keymap::Act;
use super::super::model::{Model, Pane};
use super::super::panes::timeline as pane;
use super::navigate::{self, moved};

/// Whether this can be done now; if not, why.
pub fn check(act: Act, model: &Model, snapshot: &Snapshot) -> Result<(), String> {
    let record = &snapshot.record;
    match act {
        Act::NextWait | Act::PreviousWait if record.waits.is_empty() => Err("nothing has waited for room yet".into()),
        Act::Critical if !model.chart.critical && record.critical.is_empty() => Err("nothing has run yet".into()),
        Act::PanLeft | Act::PanRight if model.chart.span.is_none() => Err("all of it is in sight: = shows less".into()),
        _ => Ok(()),
    }
}

/// Does it, if it is about the timeline and that is on the screen.
pub fn act(model: &mut Model, act: Act, snapshot: &Snapshot) -> bool {
    if act == Act::Timeline {
        open(model, snapshot);
        return true;
    }
    if model.focus != Pane::Timeline {
        return false;
    }
    let record = &*snapshot.record;
    match act {
        Act::Up | Act::Down | Act::PageUp | Act::PageDown | Act::HalfUp | Act::HalfDown | Act::Top | Act::End => {
            let count = model.chart.shown(record).len();
            let page = usize::from(pane::places(model).lanes.height);
            model.chart.row = moved(act, model.chart.row, count, page);
            nearest(model, record);
        }
        Act::EarlierBar => step(model, record, false),
        Act::LaterBar => step(model, record, true),
        Act::ZoomIn => zoom(model, record, |span| span / 2),
        Act::ZoomOut => zoom(model, record, |span| span.saturating_mul(2)),
        Act::WholeTime => (model.chart.span, model.chart.from) = (None, None),
        Act::PanLeft => pan(model, record, false),
        Act::PanRight => pan(model, record, true),
        Act::ToNow => model.chart.from = None,
        Act::Critical => {
            model.chart.critical = !model.chart.critical;
            stay(model, record);
        }
        Act::NextLanes => {
            model.chart.by = model.chart.by.next();
            stay(model, record);
        }
        Act::NextWait | Act::PreviousWait => wait(model, record, act == Act::NextWait),
        Act::Open => match model.subject() {
            Some(task) => {
                navigate::focus(model, Pane::Queue);
                model.jump_to(task);
            }
            None => model.toast("no task is selected".into(), false),
        },
        _ => return false,
    }
    true
}

/// Shows it, at the task of the queue's cursor.
fn open(model: &mut Model, snapshot: &Snapshot) {
    let task = model.subject();
    navigate::focus(model, Pane::Timeline);
    model.chart.bar = task.and_then(|task| snapshot.record.last_of(task)).map(|bar| {
        let bar = snapshot.record.bar(bar);
        (bar.task, bar.attempt)
    });
    model.chart.task = task;
    stay(model, &snapshot.record);
}

/// Takes note of a record: the cursor stays on its bar, wherever that is now.
pub fn stay(model: &mut Model, record: &Record) {
    let shown = model.chart.shown(record);
    if shown.is_empty() {
        model.chart.row = 0;
        return;
    }
    if model.chart.bar.is_none() {
        model.chart.bar = model.chart.task.and_then(|task| record.last_of(task)).map(|bar| {
            let bar = record.bar(bar);
            (bar.task, bar.attempt)
        });
    }
    let lanes = model.chart.lanes(record);
    let here = |n: usize| shown.get(n).map(|lane| &lanes[*lane]);
    let place = model.chart.place(record);
    let holds = |n: usize| {
        here(n).is_some_and(|lane| match place {
            Some(bar) => lane.bars.contains(&bar),
            None => lane.task.is_some() && lane.task == model.chart.task,
        })
    };
    if !holds(model.chart.row)
        && let Some(row) = (0..shown.len()).find(|n| holds(*n))
    {
        model.chart.row = row;
    }
    model.chart.row = model.chart.row.min(shown.len() - 1);
    if let Some(bar) = place {
        model.chart.eye = record.bar(bar).started;
    }
    if !holds(model.chart.row) {
        nearest(model, record);
    }
    show_row(model);
}

/// Selects the bar of the cursor's lane that is nearest to where one looks.
fn nearest(model: &mut Model, record: &Record) {
    let shown = model.chart.shown(record);
    let Some(lane) = shown.get(model.chart.row).map(|n| &model.chart.lanes(record)[*n]) else { return };
    let (eye, now) = (model.chart.eye, model.now);
    let far = |bar: &u32| {
        let bar = record.bar(*bar);
        let until = bar.ended.unwrap_or(now);
        if bar.started > eye { bar.started.since(eye).0 } else { eye.since(until).0 }
    };
    let from = record.first_from(lane, eye).saturating_sub(1);
    let bar = lane.bars[from.min(lane.bars.len())..].iter().take(2).min_by_key(|bar| far(bar)).copied();
    let task = lane.task;
    select(model, record, bar);
    if bar.is_none() {
        model.chart.task = task;
    }
    show_row(model);
}

fn select(model: &mut Model, record: &Record, bar: Option<u32>) {
    model.chart.bar = bar.map(|bar| (record.bar(bar).task, record.bar(bar).attempt));
    model.chart.task = bar.map(|bar| record.bar(bar).task);
    model.detail_scroll = 0;
}

/// To the bar before or after in the same lane.
fn step(model: &mut Model, record: &Record, later: bool) {
    let shown = model.chart.shown(record);
    let Some(lane) = shown.get(model.chart.row).map(|n| &model.chart.lanes(record)[*n]) else { return };
    let at = model.chart.place(record).and_then(|bar| lane.bars.iter().position(|other| *other == bar));
    let to = match (at, later) {
        (Some(at), true) => at + 1,
        (Some(at), false) => at.wrapping_sub(1),
        (None, _) => 0,
    };
    let Some(bar) = lane.bars.get(to).copied() else {
        let what = if later { "nothing ran after it in this lane" } else { "nothing ran before it in this lane" };
        return model.toast(what.into(), false);
    };
    select(model, record, Some(bar));
    show_bar(model, record, bar);
}

/// Moves the window so that a bar is in sight.
fn show_bar(model: &mut Model, record: &Record, bar: u32) {
    let bar = record.bar(bar);
    model.chart.eye = bar.started;
    let window = model.chart.window(record, model.now);
    if bar.started < window.0 || bar.started >= window.1 {
        let long = window.1.since(window.0).0;
        model.chart.from = Some(Time(bar.started.0.saturating_sub(long / 4)));
    }
}

/// Shows more or less of time, around the bar under the cursor if it is in sight.
fn zoom(model: &mut Model, record: &Record, change: impl Fn(u64) -> u64) {
    let window = model.chart.window(record, model.now);
    let long = window.1.since(window.0).0;
    let next = change(long).max(LEAST_SPAN.0);
    let whole = Chart::default().window(record, model.now);
    if next >= whole.1.since(whole.0).0 {
        (model.chart.span, model.chart.from) = (None, None);
        return;
    }
    model.chart.span = Some(Span(next));
    let eye = model.chart.eye;
    let centre = if (window.0..window.1).contains(&eye) { eye } else { Time(window.0.0 + long / 2) };
    // It stays where it is on the screen.
    let before = (u128::from(centre.since(window.0).0) * u128::from(next) / u128::from(long.max(1))) as u64;
    model.chart.from = Some(Time(centre.0.saturating_sub(before)));
}

fn pan(model: &mut Model, record: &Record, later: bool) {
    let window = model.chart.window(record, model.now);
    let step = (window.1.since(window.0).0 / 8).max(1);
    let from = if later { window.0.0.saturating_add(step) } else { window.0.0.saturating_sub(step) };
    model.chart.from = Some(Time(from.max(record.began.0)));
    let kept = model.chart.window(record, model.now).0;
    model.chart.from = Some(kept);
}

/// To the next of the longest waits.
fn wait(model: &mut Model, record: &Record, next: bool) {
    let count = record.waits.len();
    let at = match (model.chart.wait, next) {
        (None, true) => 0,
        (None, false) => count - 1,
        (Some(at), true) => (at + 1) % count,
        (Some(at), false) => (at + count - 1) % count,
    };
    model.chart.wait = Some(at);
    let wait = &record.waits[at];
    let (bar, task) = (wait.bar, wait.task);
    select(model, record, bar);
    model.chart.task = Some(task);
    if bar.is_none() {
        // What waits has no bar yet: it has a lane of its own only among tasks.
        model.chart.by = By::Task;
    }
    if model.chart.critical && bar.is_none_or(|bar| !record.bar(bar).critical) {
        model.chart.critical = false;
    }
    stay(model, record);
    if let Some(bar) = bar {
        show_bar(model, record, bar);
    }
}

fn show_row(model: &mut Model) {
    let height = usize::from(pane::places(model).lanes.height).max(1);
    let row = model.chart.row;
    model.chart.top = model.chart.top.clamp((row + 1).saturating_sub(height), row);
}

/// A click: the lane, and the bar that is there.
pub fn click(model: &mut Model, x: u16, y: u16, snapshot: &Snapshot) {
    let record = &*snapshot.record;
    let places = pane::places(model);
    let Some(row) = y.checked_sub(places.lanes.y).filter(|_| y < places.lanes.bottom()) else { return };
    let count = model.chart.shown(record).len();
    let row = model.chart.top + usize::from(row);
    if row >= count {
        return;
    }
    model.chart.row = row;
    if let Some(n) = x.checked_sub(places.lanes.x).filter(|n| *n < places.lanes.width) {
        model.chart.eye = column(model.chart.window(record, model.now), places.lanes.width, n).0;
    }
    nearest(model, record);
}

/// The wheel: lanes go by.
pub fn wheel(model: &mut Model, rows: usize, down: bool, snapshot: &Snapshot) {
    let count = model.chart.shown(&snapshot.record).len();
    let row = model.chart.row;
    model.chart.row = if down { (row + rows).min(count.saturating_sub(1)) } else { row.saturating_sub(rows) };
    nearest(model, &snapshot.record);
}
