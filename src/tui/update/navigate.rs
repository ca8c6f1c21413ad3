//! Moving about: cursor, panes, tabs, log, sort and group. Changes nothing but the model.

use crate::engine::ids::StageId;
use crate::snapshot::{Group, Snapshot, Sort};

use super::super::keymap::Act;
use super::super::layout::Shape;
use super::super::log::LogMove;
use super::super::model::{Cursor, Model, Pane, Seek, Tab};
use super::log::{push, scroll};
use crate::snapshot::filter;

/// Sort orders, in the order of the `s` keys.
pub const SORTS: [(Sort, &str); 5] = [
    (Sort::Schedule, "schedule"),
    (Sort::Name, "name"),
    (Sort::Priority, "priority"),
    (Sort::Deadline, "deadline"),
    (Sort::Age, "age"),
];

/// Does it, if it is a move.
pub fn act(model: &mut Model, act: Act, snapshot: &Snapshot) -> bool {
    match act {
        Act::Up | Act::Down | Act::PageUp | Act::PageDown | Act::HalfUp | Act::HalfDown | Act::Top | Act::End => {
            go(model, act, snapshot);
        }
        Act::Collapse => fold(model, snapshot, true),
        Act::Expand => fold(model, snapshot, false),
        Act::Open => open(model, snapshot),
        Act::NextPane => step_pane(model, 1),
        Act::PreviousPane => step_pane(model, Pane::ALL.len() - 1),
        Act::Focus(number) => {
            to_pane(model, Pane::ALL[usize::from(number).clamp(1, Pane::ALL.len()) - 1]);
        }
        Act::Zoom => model.zoom = !model.zoom,
        Act::NextTab => next_tab(model, 1),
        Act::LogDown => scroll(model, 1),
        Act::LogUp => scroll(model, -1),
        Act::NextGroup => {
            model.queue.group = if model.queue.group == Group::Stage { Group::None } else { Group::Stage };
            model.refind();
        }
        Act::NextSort => {
            let now = SORTS.iter().position(|(sort, _)| *sort == model.queue.sort).unwrap_or(0);
            sort(model, (now + 1) % SORTS.len());
        }
        Act::Sort(index) => sort(model, usize::from(index)),
        Act::Reverse => {
            model.queue.reverse = !model.queue.reverse;
            model.refind();
        }
        Act::QuickFilter(text) => {
            model.queue.filter = filter::parse(text).expect("quick filters are filters");
            model.queue.filter_text = text.to_owned();
            model.refind();
        }
        Act::FirstFailed => match snapshot.alerts.iter().rev().find(|alert| alert.bad && alert.task.is_some()) {
            Some(alert) => {
                model.jump_to(alert.task.expect("just looked for"));
                focus(model, Pane::Queue);
            }
            None => model.toast("nothing has failed".into(), false),
        },
        Act::Back => back(model),
        _ => return false,
    }
    true
}

/// Esc goes one step back: a prefix, zoom, a filter, another pane; it never quits.
fn back(model: &mut Model) {
    if model.focus == Pane::Log && model.log.selection.is_some() {
        model.log.selection = None;
    } else if model.focus == Pane::Log && model.log.pattern.is_some() {
        super::log::search_nothing(model);
    } else if model.zoom {
        model.zoom = false;
    } else if model.focus != Pane::Queue {
        focus(model, Pane::Queue);
    } else if !model.marks.tasks.is_empty() {
        model.marks.clear();
    } else if !model.queue.filter.terms.is_empty() {
        model.clear_filter();
    } else {
        model.toasts.clear();
    }
}

fn sort(model: &mut Model, index: usize) {
    let (sort, name) = SORTS[index.min(SORTS.len() - 1)];
    model.queue.sort = sort;
    model.toast(format!("sorted by {name}"), false);
    model.refind();
}

/// Goes to a pane; being there already, shows it alone.
pub fn to_pane(model: &mut Model, pane: Pane) {
    if model.focus == pane {
        model.zoom = !model.zoom;
    } else {
        focus(model, pane);
    }
}

/// Gives the keys to a pane, and shows it.
pub fn focus(model: &mut Model, pane: Pane) {
    if model.focus != pane {
        model.zoom = model.zoom && model.areas().shape == Shape::Compact;
    }
    model.focus = pane;
    match pane {
        Pane::Log => model.tab = Tab::Log,
        Pane::Detail if model.tab == Tab::Log => model.tab = Tab::Why,
        Pane::Detail | Pane::Timeline | Pane::Graph => {}
        upper => model.upper = upper,
    }
}

fn step_pane(model: &mut Model, by: usize) {
    let areas = model.areas();
    // Where there are tabs, all four of them count as panes to go through.
    let order: Vec<Pane> = Pane::ALL
        .into_iter()
        .filter(|pane| areas.shape != Shape::Wide || model.zoom || areas.of(*pane).is_some())
        .filter(|pane| {
            areas.shape != Shape::Tabs
                || areas.of(*pane).is_some()
                || matches!(pane, Pane::Queue | Pane::Agents | Pane::Locks | Pane::Progress)
        })
        .collect();
    let now = order.iter().position(|pane| *pane == model.focus).unwrap_or(0);
    let zoom = model.zoom;
    focus(model, order[(now + by) % order.len()]);
    model.zoom = zoom;
}

fn next_tab(model: &mut Model, by: usize) {
    let alone = model.areas().of(Pane::Log).is_some() && model.areas().of(Pane::Detail).is_some();
    let now = Tab::ALL.iter().position(|tab| *tab == model.tab).unwrap_or(0);
    let mut next = Tab::ALL[(now + by) % Tab::ALL.len()];
    if alone && next == Tab::Log {
        next = Tab::ALL[(now + 2 * by) % Tab::ALL.len()];
    }
    model.tab = next;
    model.detail_scroll = 0;
    if matches!(model.focus, Pane::Log | Pane::Detail) {
        model.focus = if next == Tab::Log { Pane::Log } else { Pane::Detail };
    }
}

/// A position within `count` rows after a move.
pub fn moved(act: Act, row: usize, count: usize, page: usize) -> usize {
    let page = page.max(1);
    let last = count.saturating_sub(1);
    match act {
        Act::Up => row.saturating_sub(1),
        Act::Down => row + 1,
        Act::PageUp => row.saturating_sub(page),
        Act::PageDown => row + page,
        Act::HalfUp => row.saturating_sub(page.div_ceil(2)),
        Act::HalfDown => row + page.div_ceil(2),
        Act::Top => 0,
        _ => last,
    }
    .min(last)
}

fn go(model: &mut Model, act: Act, snapshot: &Snapshot) {
    let areas = model.areas();
    let page = areas.of(model.focus).map_or(1, |area| usize::from(areas.inside(area).height));
    match model.focus {
        Pane::Queue => {
            let page = areas.queue_rows().saturating_sub(1);
            let row = moved(act, model.queue.row, model.queue.total, page);
            model.point_at(row, snapshot);
        }
        Pane::Agents => model.agent_row = moved(act, model.agent_row, snapshot.agents.len(), page),
        Pane::Locks => model.point_at_lock(moved(act, model.lock_row, snapshot.locks.len(), page), snapshot),
        Pane::Progress | Pane::Timeline | Pane::Graph => {}
        Pane::Detail => {
            let count = super::super::panes::detail::lines(model, snapshot, 200).len();
            model.detail_scroll = moved(act, model.detail_scroll, count, page);
        }
        Pane::Log => match act {
            Act::Top if model.log.selection.is_some() => push(model, LogMove::Select(i64::MIN)),
            Act::End if model.log.selection.is_some() => push(model, LogMove::Select(i64::MAX)),
            Act::Top => {
                (model.log.follow, model.other.follow) = (false, false);
                push(model, LogMove::Start);
            }
            Act::End => {
                (model.log.follow, model.other.follow) = (true, true);
                push(model, LogMove::End);
            }
            Act::Up => scroll(model, -1),
            Act::Down => scroll(model, 1),
            Act::PageUp => scroll(model, -(page as i64)),
            Act::PageDown => scroll(model, page as i64),
            Act::HalfUp => scroll(model, -(page as i64 / 2)),
            _ => scroll(model, page as i64 / 2),
        },
    }
}

/// Collapses or expands the stage of the cursor; elsewhere the previous or next tab.
fn fold(model: &mut Model, snapshot: &Snapshot, collapse: bool) {
    if matches!(model.focus, Pane::Log | Pane::Detail) {
        return next_tab(model, if collapse { Tab::ALL.len() - 1 } else { 1 });
    }
    if model.focus != Pane::Queue {
        return step_pane(model, if collapse { Pane::ALL.len() - 1 } else { 1 });
    }
    let Some(stage) = stage_of_cursor(model, snapshot) else { return };
    model.queue.folded_early.retain(|known| *known != stage);
    if !model.queue.hands_off.contains(&stage) {
        model.queue.hands_off.push(stage);
    }
    if !collapse {
        model.queue.collapsed.retain(|known| *known != stage);
    } else if !model.queue.collapsed.contains(&stage) {
        model.queue.collapsed.push(stage);
        model.queue.seek = Seek::Fold(stage);
    }
}

/// The stage of the cursor: its own line, or that of its task.
fn stage_of_cursor(model: &Model, snapshot: &Snapshot) -> Option<StageId> {
    if let Cursor::Group(stage) = model.queue.cursor {
        return Some(stage);
    }
    let name = &model.task(snapshot)?.stage;
    model.queue.stages.iter().find(|(known, _)| known == name).map(|(_, stage)| *stage)
}

fn open(model: &mut Model, snapshot: &Snapshot) {
    match (model.focus, model.queue.cursor) {
        (Pane::Queue, Cursor::Group(stage)) => {
            let collapse = !model.queue.collapsed.contains(&stage);
            fold(model, snapshot, collapse);
        }
        (Pane::Queue, Cursor::Task(_)) => {
            let pane = if model.tab == Tab::Log { Pane::Log } else { Pane::Detail };
            focus(model, pane);
        }
        (Pane::Locks, _) => {
            let holder = snapshot.locks.get(model.lock_row).and_then(|lock| lock.holders.first());
            filter_by_name(model, holder.map(|(name, _)| name.clone()), "nobody holds it");
        }
        (Pane::Agents, _) => {
            let task = snapshot.agents.get(model.agent_row).and_then(|agent| agent.tasks.first().cloned());
            filter_by_name(model, task, "nothing runs on it");
        }
        (pane, _) => {
            let zoom = model.zoom;
            focus(model, pane);
            model.zoom = !zoom;
        }
    }
}

/// Goes to a task known by name only: filters the queue by it.
fn filter_by_name(model: &mut Model, name: Option<String>, otherwise: &str) {
    let Some(name) = name else {
        model.toast(otherwise.into(), false);
        return;
    };
    if let Ok(parsed) = filter::parse(&name) {
        model.queue.filter = parsed;
        model.queue.filter_text = name;
        model.queue.cursor = Cursor::Nowhere;
        model.queue.seek = Seek::First;
        focus(model, Pane::Queue);
        model.toast("filtered to that task: Esc shows all".into(), false);
    }
}

/// The word for a sort order.
pub fn sort_name(sort: Sort) -> &'static str {
    SORTS.iter().find(|(known, _)| *known == sort).map_or("", |(_, name)| name)
}
