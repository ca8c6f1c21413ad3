//! The graph: levels side by side, edges in the gaps between them. Levels of few are boxes, levels of many are lines. The
//! edges of the node under the cursor are brighter than the others.

use ratatui::layout::Rect;

use super::super::format;
use super::super::glyphs;
use super::super::model::{Model, Pane};
use super::super::paint::{Pen, Words, w};
use super::super::theme::Meaning;
use super::super::view::Scene;
use crate::snapshot::Phase;
use crate::snapshot::graph::{Graph, Node, Place, Stand};
use crate::text;

/// Cells between two levels.
const GAP: u16 = 5;

/// Where a level is.
struct Column {
    area: Rect,
    /// The first place in sight.
    top: usize,
    /// Rows that a place takes: a box, or a line.
    rows: u16,
    /// How many are in sight.
    count: usize,
}

impl Column {
    /// The row in which a place's name stands, if it is in sight.
    fn row(&self, place: usize) -> Option<u16> {
        let n = place.checked_sub(self.top).filter(|n| *n < self.count)?;
        Some(self.area.y + n as u16 * self.rows + u16::from(self.rows == 3))
    }
}

/// Title and foot.
pub fn edges(scene: &Scene<'_>) -> (Words, Words) {
    let graph = &scene.snapshot.graph;
    let mut title = Words::new();
    if let Some(place) = graph.at((graph.middle, 0)) {
        title.push(w("  around ", Meaning::Muted));
        title.push(w(&place.name, Meaning::Base));
    }
    title.push(w("  what it needs ─▸ it ─▸ what needs it", Meaning::Muted));
    let mut foot = Words::new();
    if let Some(place) = scene.model.graph.cursor.and_then(|node| graph.find(node)) {
        let count = |later| graph.beside(place, later).count();
        foot.push(w(format!("{} in sight before it, {} after it", count(false), count(true)), Meaning::Muted));
    }
    (title, foot)
}

/// All of it.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, inside: Rect) {
    if inside.width == 0 || inside.height == 0 {
        return;
    }
    let (model, graph) = (scene.model, &*scene.snapshot.graph);
    if graph.levels.is_empty() {
        pen.text(inside.x + 1, inside.y, inside.width - 1, "no task is selected", Meaning::Muted);
        return;
    }
    let place = model.graph.cursor.and_then(|node| graph.find(node));
    let body = body(inside);
    let columns = columns(graph, body, place);
    for bright in [false, true] {
        for (level, left, right) in &graph.edges {
            let touched = place.is_some_and(|at| at == (*level, *left) || at == (level + 1, *right));
            if touched == bright {
                edge(pen, &columns[*level], &columns[level + 1], (*left, *right), bright);
            }
        }
    }
    for (n, column) in columns.iter().enumerate() {
        let level = &graph.levels[n];
        for (at, entry) in level.places.iter().enumerate().skip(column.top).take(column.count) {
            let Some(y) = column.row(at) else { continue };
            node(pen, scene, column, y, entry, place == Some((n, at)), n == graph.middle);
        }
        let hidden = level.places.len() - column.count + level.more;
        if hidden > 0 {
            let y = body.bottom().saturating_sub(1);
            let least = if level.at_least { "at least " } else { "" };
            let text = format!("… {least}{} more", format::count(hidden));
            pen.text(column.area.x + 1, y, column.area.width - 1, &text, Meaning::Muted);
        }
    }
    if let Some(entry) = place.and_then(|place| graph.at(place)) {
        words(pen, entry, Rect { y: body.bottom(), height: inside.bottom() - body.bottom(), ..inside });
    }
}

/// Without the line of words below.
fn body(inside: Rect) -> Rect {
    Rect { height: inside.height.saturating_sub(if inside.height > 4 { 1 } else { 0 }), ..inside }
}

/// The node at this place of the screen.
pub fn at(model: &Model, graph: &Graph, x: u16, y: u16) -> Option<(usize, usize)> {
    let areas = model.areas();
    let inside = areas.inside(areas.of(Pane::Graph)?);
    let place = model.graph.cursor.and_then(|node| graph.find(node));
    let columns = columns(graph, body(inside), place);
    columns.iter().enumerate().find_map(|(level, column)| {
        if !column.area.contains((x, y).into()) {
            return None;
        }
        let n = usize::from((y - column.area.y) / column.rows);
        (n < column.count).then_some((level, column.top + n))
    })
}

/// Where the levels are: the cursor's place is in sight, the others are in the middle of the height.
fn columns(graph: &Graph, body: Rect, cursor: Option<(usize, usize)>) -> Vec<Column> {
    let count = graph.levels.len() as u16;
    let width = (body.width.saturating_sub(2 + GAP * (count - 1)) / count.max(1)).max(4);
    let one = |(n, level): (usize, &crate::snapshot::graph::Level)| {
        let height = body.height.saturating_sub(u16::from(level.more > 0));
        let boxes = level.places.len() * 3 <= usize::from(height);
        let rows = if boxes { 3 } else { 1 };
        let fits = usize::from(height / rows);
        // The last line says how many are not in sight.
        let shown = if level.places.len() > fits { fits.saturating_sub(1) } else { level.places.len() };
        let at = cursor.filter(|(column, _)| *column == n).map_or(0, |(_, place)| place);
        let top = (at + 1).saturating_sub(shown.max(1));
        let used = shown as u16 * rows;
        let area = Rect {
            x: body.x + 1 + n as u16 * (width + GAP),
            y: body.y + (body.height.saturating_sub(used)) / 2,
            width: width.min(body.width.saturating_sub(1 + n as u16 * (width + GAP))),
            height: used,
        };
        Column { area, top, rows, count: shown }
    };
    graph.levels.iter().enumerate().map(one).collect()
}

fn node(pen: &mut Pen<'_>, scene: &Scene<'_>, column: &Column, y: u16, entry: &Place, here: bool, middle: bool) {
    let area = column.area;
    let boxed = column.rows == 3;
    if boxed {
        let outside = Rect { y: y - 1, height: 3, ..area };
        pen.frame(outside, &[], &[], middle);
    }
    let inset = u16::from(boxed);
    let line = Rect { x: area.x + inset, y, width: area.width.saturating_sub(2 * inset), height: 1 };
    let mut right = String::new();
    let (glyph, meaning) = match &entry.stand {
        Stand::Task(row) => {
            let (glyph, word, meaning) = glyphs::phase(row.phase);
            if line.width >= 22 {
                right = word.to_owned();
            }
            (glyph, meaning)
        }
        Stand::Stage(counts, _) => {
            right = format!("{}/{}", counts.succeeded + counts.skipped, counts.total);
            let phase = match () {
                () if counts.failed + counts.lost > 0 => Phase::Failed,
                () if counts.running + counts.stopping > 0 => Phase::Running,
                () if counts.succeeded + counts.skipped == counts.total => Phase::Succeeded,
                () => Phase::Waiting,
            };
            let (glyph, _, meaning) = glyphs::phase(phase);
            (glyph, meaning)
        }
    };
    pen.text(line.x, y, 1, glyph, meaning);
    let taken = pen.right(line.right(), y, line.width / 2, &right, Meaning::Muted);
    let stage = if matches!(entry.node, Node::Stage(_)) { "stage " } else { "" };
    let name = format!("{stage}{}", text::clean(&entry.name));
    let room = line.width.saturating_sub(2 + taken + u16::from(taken > 0));
    pen.text(line.x + 2, y, room, &text::fit(&name, usize::from(room)), Meaning::Base);
    if here {
        pen.select(line, scene.model.focus == Pane::Graph);
    }
}

/// From the right of one to the left of the other, by the middle of the gap.
fn edge(pen: &mut Pen<'_>, from: &Column, to: &Column, (left, right): (usize, usize), bright: bool) {
    let (Some(y1), Some(y2)) = (from.row(left), to.row(right)) else { return };
    let meaning = if bright { Meaning::Focus } else { Meaning::Border };
    let (start, end) = (from.area.right(), to.area.x.saturating_sub(1));
    let turn = start + GAP / 2;
    const W: u8 = 1;
    const E: u8 = 2;
    const N: u8 = 4;
    const S: u8 = 8;
    for x in start..turn {
        join(pen, x, y1, W | E, meaning);
    }
    for x in turn + 1..end {
        join(pen, x, y2, W | E, meaning);
    }
    if y1 == y2 {
        join(pen, turn, y1, W | E, meaning);
    } else {
        let down = y2 > y1;
        join(pen, turn, y1, W | if down { S } else { N }, meaning);
        join(pen, turn, y2, E | if down { N } else { S }, meaning);
        for y in y1.min(y2) + 1..y1.max(y2) {
            join(pen, turn, y, N | S, meaning);
        }
    }
    pen.cell(end, y2, "▸", meaning);
}

/// Glyphs by the sides that they reach: west 1, east 2, north 4, south 8.
const JOINTS: [&str; 16] = [" ", "─", "─", "─", "│", "┘", "└", "┴", "│", "┐", "┌", "┬", "│", "┤", "├", "┼"];

/// Adds a piece of a line to what is there.
fn join(pen: &mut Pen<'_>, x: u16, y: u16, sides: u8, meaning: Meaning) {
    if !pen.buffer.area.contains((x, y).into()) {
        return;
    }
    let known = match pen.buffer[(x, y)].symbol() {
        "─" => 3,
        "│" => 12,
        symbol => JOINTS.iter().position(|joint| *joint == symbol).unwrap_or(0),
    };
    pen.cell(x, y, JOINTS[known | usize::from(sides)], meaning);
}

/// The node under the cursor in a line.
fn words(pen: &mut Pen<'_>, entry: &Place, area: Rect) {
    if area.height == 0 {
        return;
    }
    let mut words = vec![w(format!(" {}  ", entry.name), Meaning::Title)];
    match &entry.stand {
        Stand::Task(row) => {
            let (_, word, meaning) = glyphs::phase(row.phase);
            words.push(w(format!("{word}  "), if meaning == Meaning::Bad { meaning } else { Meaning::Base }));
            words.push(w(format!("stage {}  ", row.stage), Meaning::Muted));
            words.push(w(&row.note, Meaning::Base));
        }
        Stand::Stage(counts, ways) => {
            let all = [
                ("done", counts.succeeded),
                ("running", counts.running + counts.stopping),
                ("ready", counts.ready),
                ("waiting", counts.waiting + counts.delayed + counts.awaiting),
                ("held", counts.held),
                ("blocked", counts.blocked),
                ("failed", counts.failed + counts.lost),
                ("skipped", counts.skipped + counts.cancelled),
            ];
            let parts: Vec<String> =
                all.iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!("{} {word}", format::count(*n))).collect();
            words.push(w(format!("{}  ", parts.join(", ")), Meaning::Base));
            if !ways.is_empty() {
                words.push(w(format!("entered {ways}"), Meaning::Muted));
            }
        }
    }
    pen.words(area.x, area.y, area.width, &words);
}
