//! The mouse: a click focuses and selects, a double click opens, the wheel scrolls what is under the pointer, a drag in the
//! log chooses lines.

use crate::snapshot::Snapshot;

use super::super::keymap::Act;
use super::super::layout::Shape;
use super::super::model::{Cursor, Model, Pane};
use super::{Request, dialog, navigate};

/// Two clicks within so many ms at one place are a double click.
const DOUBLE_MS: u64 = 400;
/// Rows that a notch of the wheel scrolls.
const NOTCH: usize = 3;

/// Something the mouse did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mouse {
    /// What.
    pub kind: MouseKind,
    /// Column.
    pub x: u16,
    /// Row.
    pub y: u16,
}

/// What it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouseKind {
    /// Left button down.
    Click,
    /// Moved while it is down.
    Drag,
    /// Left button up.
    Release,
    /// Wheel away from the hand.
    WheelUp,
    /// Wheel towards the hand.
    WheelDown,
}

pub fn on_mouse(model: &mut Model, mouse: Mouse, snapshot: &Snapshot) -> Vec<Request> {
    if model.dialog.is_some() {
        let step = match mouse.kind {
            MouseKind::WheelUp => Act::Up,
            MouseKind::WheelDown => Act::Down,
            // A click beside a popup does nothing: Esc closes it.
            MouseKind::Click | MouseKind::Drag | MouseKind::Release => return vec![],
        };
        return dialog::act(model, step, snapshot);
    }
    let areas = model.areas();
    if matches!(mouse.kind, MouseKind::Drag | MouseKind::Release) {
        super::log::on_drag(model, mouse.y, mouse.kind == MouseKind::Release);
        return vec![];
    }
    let Some((pane, area)) = areas.at(mouse.x, mouse.y) else { return vec![] };
    let inside = areas.inside(area);
    let row = mouse.y.checked_sub(inside.y + areas.heading()).map(usize::from);
    let row = row.filter(|_| mouse.y < inside.y + inside.height);
    match mouse.kind {
        MouseKind::Click => {
            let double = model
                .last_click
                .replace((model.ui_ms, mouse.x, mouse.y))
                .is_some_and(|(at, x, y)| (x, y) == (mouse.x, mouse.y) && model.ui_ms.saturating_sub(at) <= DOUBLE_MS);
            if areas.shape == Shape::Tabs
                && mouse.y == area.y
                && let Some(tab) = super::super::view::tab_at(pane, mouse.x - area.x)
            {
                navigate::focus(model, tab);
                return vec![];
            }
            navigate::focus(model, pane);
            if pane == Pane::Log {
                super::log::on_press(model, mouse.x, mouse.y);
            }
            if pane == Pane::Timeline {
                super::timeline::click(model, mouse.x, mouse.y, snapshot);
            }
            if pane == Pane::Graph {
                super::graph::click(model, mouse.x, mouse.y, snapshot);
            }
            let Some(row) = row else { return vec![] };
            let rows = usize::from(inside.height.saturating_sub(areas.heading()));
            select(model, pane, row, rows, snapshot);
            if double {
                model.last_click = None;
                super::act(model, Act::Open, None, snapshot);
            }
        }
        MouseKind::WheelUp => wheel(model, pane, false, snapshot),
        MouseKind::WheelDown => wheel(model, pane, true, snapshot),
        MouseKind::Drag | MouseKind::Release => {}
    }
    vec![]
}

/// Chooses the row that is drawn there: a list is scrolled by as little as shows its chosen row.
fn pick(chosen: &mut usize, row: usize, rows: usize, count: usize) {
    let first = (*chosen + 1).saturating_sub(rows);
    if first + row < count {
        *chosen = first + row;
    }
}

fn select(model: &mut Model, pane: Pane, row: usize, rows: usize, snapshot: &Snapshot) {
    match pane {
        Pane::Queue if row < snapshot.rows.len() => model.point_at(model.queue.offset + row, snapshot),
        Pane::Agents => pick(&mut model.agent_row, row, rows, snapshot.agents.len()),
        Pane::Locks => {
            pick(&mut model.lock_row, row, rows, snapshot.locks.len());
            model.point_at_lock(model.lock_row, snapshot);
        }
        _ => {}
    }
}

fn wheel(model: &mut Model, pane: Pane, down: bool, snapshot: &Snapshot) {
    let step = |at: usize, last: usize| {
        if down { (at + NOTCH).min(last) } else { at.saturating_sub(NOTCH) }
    };
    match pane {
        Pane::Queue => {
            let height = model.queue_height().max(1);
            let last = model.queue.total.saturating_sub(height);
            model.queue.offset = step(model.queue.offset, last);
            let row = model.queue.row.clamp(model.queue.offset, model.queue.offset + height - 1);
            if row != model.queue.row && model.queue.cursor != Cursor::Nowhere {
                model.point_at(row, snapshot);
            }
        }
        Pane::Agents => model.agent_row = step(model.agent_row, snapshot.agents.len().saturating_sub(1)),
        Pane::Locks => {
            let row = step(model.lock_row, snapshot.locks.len().saturating_sub(1));
            model.point_at_lock(row, snapshot);
        }
        Pane::Progress => {}
        Pane::Timeline => super::timeline::wheel(model, NOTCH, down, snapshot),
        Pane::Graph => super::graph::wheel(model, 1, down, snapshot),
        Pane::Detail => {
            let count = super::super::panes::detail::lines(model, snapshot, 200).len();
            model.detail_scroll = step(model.detail_scroll, count.saturating_sub(1));
        }
        Pane::Log => super::log::scroll_only(model, if down { NOTCH as i64 } else { -(NOTCH as i64) }),
    }
}
