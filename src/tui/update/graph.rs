//! The graph: what it is drawn around, and the node under the cursor. Changes nothing but the model.

use crate::snapshot::Snapshot;
use crate::snapshot::graph::{Graph, MAX_DEPTH, Node};

use super::super::keymap::Act;
use super::super::model::{Cursor, Model, Pane};
use super::navigate::{self, moved};

/// A level takes at least so many cells.
const LEVEL: u16 = 26;
/// Rows that a page key moves.
const PAGE: usize = 10;

/// How many levels to each side fit.
pub fn depth(width: u16) -> usize {
    usize::from(width / LEVEL).div_ceil(2).saturating_sub(1).clamp(1, MAX_DEPTH)
}

/// Does it, if it is about the graph and that is on the screen.
pub fn act(model: &mut Model, act: Act, snapshot: &Snapshot) -> bool {
    if act == Act::Graph {
        let node = match (model.subject(), model.queue.cursor) {
            (Some(task), _) => Some(Node::Task(task)),
            (None, Cursor::Group(stage)) => Some(Node::Stage(stage)),
            (None, _) => None,
        };
        navigate::focus(model, Pane::Graph);
        (model.graph.centre, model.graph.cursor) = (node, node);
        return true;
    }
    if model.focus != Pane::Graph {
        return false;
    }
    let graph = &snapshot.graph;
    let Some(place) = model.graph.cursor.and_then(|node| graph.find(node)) else {
        return matches!(act, Act::Up | Act::Down | Act::Open | Act::AlongBack | Act::AlongOn);
    };
    match act {
        Act::Up | Act::Down | Act::PageUp | Act::PageDown | Act::HalfUp | Act::HalfDown | Act::Top | Act::End => {
            let row = moved(act, place.1, graph.levels[place.0].places.len(), PAGE);
            point_at(model, graph, (place.0, row));
        }
        Act::AlongBack => along(model, graph, place, false),
        Act::AlongOn => along(model, graph, place, true),
        Act::Open => open(model),
        Act::Recentre => model.graph.centre = model.graph.cursor,
        _ => return false,
    }
    true
}

/// Along an edge; what is at the rim of the screen becomes the middle, so that there is always more to see.
fn along(model: &mut Model, graph: &Graph, place: (usize, usize), later: bool) {
    let Some(to) = graph.beside(place, later).next() else {
        let name = graph.at(place).map(|place| place.name.clone()).unwrap_or_default();
        let said = if later { format!("nothing waits for {name}") } else { format!("{name} waits for nothing") };
        return model.toast(said, false);
    };
    point_at(model, graph, to);
    if to.0 == 0 || to.0 + 1 == graph.levels.len() {
        model.graph.centre = model.graph.cursor;
    }
}

fn point_at(model: &mut Model, graph: &Graph, place: (usize, usize)) {
    if let Some(place) = graph.at(place) {
        model.graph.cursor = Some(place.node);
        model.detail_scroll = 0;
    }
}

/// What is under the cursor becomes the middle; from the middle one goes to it in the queue.
fn open(model: &mut Model) {
    if model.graph.cursor != model.graph.centre {
        model.graph.centre = model.graph.cursor;
        return;
    }
    match model.graph.cursor {
        Some(Node::Task(task)) => {
            navigate::focus(model, Pane::Queue);
            model.jump_to(task);
        }
        Some(Node::Stage(stage)) => {
            navigate::focus(model, Pane::Queue);
            model.queue.cursor = Cursor::Group(stage);
            model.queue.seek = super::super::model::Seek::Fold(stage);
        }
        None => {}
    }
}

/// Takes note of a graph: a cursor on what is not in it goes to the middle.
pub fn stay(model: &mut Model, graph: &Graph) {
    if model.graph.cursor.is_none_or(|node| graph.find(node).is_none()) {
        model.graph.cursor = model.graph.centre;
    }
}

/// A click on a node: the cursor goes there.
pub fn click(model: &mut Model, x: u16, y: u16, snapshot: &Snapshot) {
    let graph = &snapshot.graph;
    if let Some(place) = super::super::panes::graph::at(model, graph, x, y) {
        point_at(model, graph, place);
    }
}

/// The wheel: up and down the level of the cursor.
pub fn wheel(model: &mut Model, rows: usize, down: bool, snapshot: &Snapshot) {
    let graph = &snapshot.graph;
    let Some((level, row)) = model.graph.cursor.and_then(|node| graph.find(node)) else { return };
    let last = graph.levels[level].places.len().saturating_sub(1);
    let row = if down { (row + rows).min(last) } else { row.saturating_sub(rows) };
    point_at(model, graph, (level, row));
}
