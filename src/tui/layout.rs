//! Where everything is on a screen of some size. Four shapes: panes side by side, panes as tabs, one list, one line. Pure
//! arithmetic: drawing, mouse and the height of the queue all ask here.

use ratatui::layout::Rect;

use super::model::{Model, Pane, Tab};

/// How the screen is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All panes side by side.
    Wide,
    /// The first four as tabs, the task's details below.
    Tabs,
    /// One list without frames.
    Compact,
    /// One line.
    Line,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Areas {
    /// How it is laid out.
    pub shape: Shape,
    /// Identity and bar.
    pub header: Rect,
    /// Thin rules, where there are some.
    pub rules: Vec<Rect>,
    /// The panes that can be seen.
    pub panes: Vec<(Pane, Rect)>,
    /// Alerts and toasts.
    pub alert: Rect,
    /// Keys that hold now.
    pub hint: Rect,
}

/// Smallest screen with panes side by side.
const WIDE: (u16, u16) = (100, 30);
/// Smallest screen with tabs.
const TABS: (u16, u16) = (60, 18);
/// Smallest screen with a list.
const COMPACT: (u16, u16) = (40, 12);
/// From this width on log and details have a pane each.
const EXTRA_WIDE: u16 = 150;

/// The shape for a screen of this size.
pub fn shape(size: (u16, u16)) -> Shape {
    let at_least = |least: (u16, u16)| size.0 >= least.0 && size.1 >= least.1;
    match () {
        () if at_least(WIDE) => Shape::Wide,
        () if at_least(TABS) => Shape::Tabs,
        () if at_least(COMPACT) => Shape::Compact,
        () => Shape::Line,
    }
}

/// Where everything is now.
pub fn areas(model: &Model) -> Areas {
    let (w, h) = model.size;
    let shape = shape(model.size);
    let row = |y: u16, height: u16| Rect::new(0, y, w, height);
    let (header, rules, body) = match shape {
        Shape::Wide => (2, vec![row(2, 1), row(h - 3, 1)], Rect::new(0, 3, w, h - 6)),
        Shape::Tabs => (2, vec![], Rect::new(0, 2, w, h - 4)),
        Shape::Compact => (1, vec![row(1, 1), row(h - 3, 1)], Rect::new(0, 2, w, h - 5)),
        Shape::Line => {
            let none = Rect::default();
            return Areas { shape, header: row(0, h), rules: vec![], panes: vec![], alert: none, hint: none };
        }
    };
    let panes = match shape {
        _ if model.zoom || shape == Shape::Compact || model.focus.is_alone() => vec![(model.focus, body)],
        Shape::Wide => wide(model, body),
        _ => tabs(model, body),
    };
    Areas { shape, header: row(0, header), rules, panes, alert: row(h - 2, 1), hint: row(h - 1, 1) }
}

fn wide(model: &Model, body: Rect) -> Vec<(Pane, Rect)> {
    let lower = (body.height * 2 / 7).clamp(8, 14);
    let (upper, lower) = split_rows(body, body.height - lower);
    let (queue, side) = split_columns(upper, body.width * 2 / 3);
    let agents = u16::try_from(model.agents).unwrap_or(u16::MAX).saturating_add(3).clamp(5, upper.height / 2);
    let (agents, locks) = split_rows(side, agents);
    let mut panes = vec![(Pane::Queue, queue), (Pane::Agents, agents), (Pane::Locks, locks)];
    if body.width >= EXTRA_WIDE {
        let (progress, rest) = split_columns(lower, 50);
        let (detail, log) = split_columns(rest, rest.width * 9 / 20);
        panes.extend([(Pane::Progress, progress), (Pane::Detail, detail), (Pane::Log, log)]);
    } else {
        let (progress, detail) = split_columns(lower, body.width * 13 / 30);
        panes.extend([(Pane::Progress, progress), (lower_pane(model), detail)]);
    }
    panes
}

fn tabs(model: &Model, body: Rect) -> Vec<(Pane, Rect)> {
    let (upper, lower) = split_rows(body, body.height - (body.height * 3 / 8).max(6));
    vec![(model.upper, upper), (lower_pane(model), lower)]
}

/// Log and details share a place: the tab decides.
fn lower_pane(model: &Model) -> Pane {
    if model.tab == Tab::Log { Pane::Log } else { Pane::Detail }
}

fn split_rows(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    (Rect { height, ..area }, Rect { y: area.y + height, height: area.height - height, ..area })
}

fn split_columns(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    (Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area })
}

impl Areas {
    /// Where this pane is, if it can be seen.
    pub fn of(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(known, _)| *known == pane).map(|(_, area)| *area)
    }

    /// The inside of a pane: without its frame, where it has one.
    pub fn inside(&self, area: Rect) -> Rect {
        if self.shape == Shape::Compact {
            return area;
        }
        Rect {
            x: area.x + area.width.min(1),
            y: area.y + area.height.min(1),
            width: area.width.saturating_sub(2),
            height: area.height.saturating_sub(2),
        }
    }

    /// How many of a table's inner rows are its heading.
    pub fn heading(&self) -> u16 {
        u16::from(self.shape != Shape::Compact)
    }

    /// How many rows of the queue can be seen.
    pub fn queue_rows(&self) -> usize {
        let inside = self.of(Pane::Queue).map_or(0, |area| self.inside(area).height);
        usize::from(inside.saturating_sub(self.heading()))
    }

    /// The inside of the log, if it can be seen.
    pub fn log(&self) -> Option<Rect> {
        self.of(Pane::Log).map(|area| self.inside(area))
    }

    /// The pane at this place.
    pub fn at(&self, x: u16, y: u16) -> Option<(Pane, Rect)> {
        self.panes.iter().find(|(_, area)| area.contains((x, y).into())).copied()
    }
}
