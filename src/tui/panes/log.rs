//! The log desk as it is seen: one log, two beside each other, or several as one; what was read of them is safe already.
//! Where its rows are is told here to the reader and the mouse as well.

use std::ops::Range;

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthChar;

use super::super::format;
use super::super::layout::Shape as Layout;
use super::super::log::{Log, LogLine, Shown, Source};
use super::super::model::Model;
use super::super::paint::{Pen, Words, w};
use super::super::reader::Shape;
use super::super::theme::{self, Meaning};
use super::super::view::Scene;
use crate::text;

/// Cells of the column of times: `≈12:04:31 `.
const TIME: u16 = 10;
/// A name in the column of names takes at most so many cells.
const NAME: usize = 16;
/// The text keeps at least so many cells; columns beside it give way.
const LEAST: u16 = 24;
/// The logs of a merged view take turns with these; their names tell them apart too.
const COLOURS: [Meaning; 5] = [Meaning::Running, Meaning::Good, Meaning::Held, Meaning::Title, Meaning::Muted];

/// Where the parts of the pane are.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// A row of words above the text, where there is no frame to hold them or there are two logs.
    head: bool,
    /// The first log, with its columns.
    first: Rect,
    /// The second one.
    second: Option<Rect>,
}

/// Where everything is in the inside of the pane.
pub fn places(model: &Model, inside: Rect) -> Places {
    let compact = model.areas().shape == Layout::Compact;
    let head = (compact || model.desk.second.is_some()) && inside.height > 1;
    let edge = u16::from(!compact).min(inside.width);
    let area = Rect { x: inside.x + edge, width: inside.width - edge, ..inside };
    let area = Rect { y: area.y + u16::from(head), height: area.height - u16::from(head), ..area };
    if model.desk.second.is_none() || area.width < 4 {
        return Places { head, first: area, second: None };
    }
    let left = (area.width - 2) / 2;
    let right = Rect { x: area.x + left + 2, width: area.width - left - 2, ..area };
    Places { head, first: Rect { width: left, ..area }, second: Some(right) }
}

impl Places {
    /// What the reader has to fill: for the first log and for the second.
    pub fn shapes(&self, model: &Model) -> (Shape, Option<Shape>) {
        let shape = |log: &Log, area: Rect| {
            let columns = columns(model, log, area);
            let cells = area.width.saturating_sub(columns.0 + columns.1).max(1);
            Shape { rows: area.height.into(), cells: cells.into(), wrap: model.desk.wrap }
        };
        (shape(&model.log, self.first), self.second.map(|area| shape(&model.other, area)))
    }
}

/// Cells of the columns of times and of names.
fn columns(model: &Model, log: &Log, area: Rect) -> (u16, u16) {
    let names = if log.names == 0 { 0 } else { log.names.min(NAME) as u16 + 3 };
    let names = if area.width < names + LEAST { 0 } else { names };
    let times = if model.desk.times && area.width >= names + TIME + LEAST { TIME } else { 0 };
    (times, names)
}

/// The rows of the text: which line, and which of its bytes.
fn rows(log: &Log, shape: Shape) -> Vec<(usize, Range<usize>)> {
    let mut rows = Vec::with_capacity(shape.rows);
    for (n, line) in log.lines.iter().enumerate() {
        if !shape.wrap {
            rows.push((n, 0..line.text.len()));
            continue;
        }
        let mut from = 0;
        let mut used = 0;
        for (at, c) in line.text.char_indices() {
            let cells = c.width().unwrap_or(0);
            if used + cells > shape.cells && at > from {
                rows.push((n, from..at));
                (from, used) = (at, 0);
            }
            used += cells;
        }
        rows.push((n, from..line.text.len()));
    }
    let skip = if log.follow { rows.len().saturating_sub(shape.rows) } else { 0 };
    rows.drain(..skip);
    rows.truncate(shape.rows);
    rows
}

/// The line of the first log that is drawn at this place, or nearest to it: a drag does not leave the pane.
pub fn line_at(model: &Model, x: u16, y: u16) -> Option<u64> {
    let places = places(model, model.areas().log()?);
    if places.second.is_some_and(|second| x >= second.x) {
        return None;
    }
    let rows = rows(&model.log, places.shapes(model).0);
    let row = usize::from(y.saturating_sub(places.first.y)).min(rows.len().checked_sub(1)?);
    model.log.lines.get(rows[row].0).map(|line| line.at)
}

/// Title: whose, which, how much; foot: where one is and what is looked for.
pub fn edges(scene: &Scene<'_>) -> (Words, Words) {
    (title(scene), foot(scene, &scene.model.log))
}

fn title(scene: &Scene<'_>) -> Words {
    let (model, log) = (scene.model, &scene.model.log);
    let mut title = Words::new();
    if let Some(stage) = model.merged() {
        title.push(w(format!("  stage {stage}"), Meaning::Base));
        let (outputs, left_out) = &model.desk.outputs;
        title.push(w(format!("  {} in order of time", format::plural(outputs.len(), "log")), Meaning::Muted));
        if *left_out > 0 {
            title.push(w(format!("  {left_out} more left out"), Meaning::Warn));
        }
        return title;
    }
    if let Some(row) = model.task(scene.snapshot) {
        title.push(w(format!("  {}", row.name), Meaning::Base));
        let detail = model.detail(scene.snapshot);
        let newest = detail.and_then(|detail| detail.attempts.first()).map(|line| line.attempt.0);
        let shown = detail.and_then(|detail| model.desk.attempts(detail, scene.snapshot).into_iter().next());
        match (shown, newest) {
            (Some(shown), Some(newest)) if newest > 1 => {
                let meaning = if shown.attempt < newest { Meaning::Warn } else { Meaning::Muted };
                title.push(w(format!("  attempt {} of {newest}", shown.attempt), meaning));
            }
            _ if row.attempt > 0 => title.push(w(format!("  attempt {}", row.attempt), Meaning::Muted)),
            _ => {}
        }
    }
    if log.source != Source::Nothing {
        title.push(w(format!("  {}", format::bytes(log.size)), Meaning::Muted));
        if model.zoom && model.size.0 >= 100 {
            title.push(w("  stdout and stderr in one file", Meaning::Muted));
        }
    }
    title
}

fn foot(scene: &Scene<'_>, log: &Log) -> Words {
    let mut parts: Vec<(String, Meaning)> = Vec::new();
    if log.source == Source::Nothing {
        return parts;
    }
    if log.selection.is_some() {
        parts.push(w("choosing lines: y copies them", Meaning::Title));
    } else if log.follow {
        parts.push(w("▼ following", Meaning::Good));
    } else {
        let seen = log.lines.last().map_or(0, |line| line.at);
        parts.push(w(format!("{} %", (seen * 100).checked_div(log.length).unwrap_or(100)), Meaning::Muted));
    }
    parts.extend(found(log));
    if scene.model.desk.wrap {
        parts.push(w("wrapped", Meaning::Muted));
    }
    if log.side > 0 && !scene.model.desk.wrap {
        parts.push(w(format!("from cell {}", log.side + 1), Meaning::Muted));
    }
    if let Some(note) = &log.note {
        parts.push(w(note, Meaning::Warn));
    }
    if log.lines.iter().any(|line| line.rest || line.broken) {
        parts.push(w("line cut at 64K", Meaning::Muted));
    }
    let mut foot = Words::new();
    for part in parts {
        if !foot.is_empty() {
            foot.push(w(" · ", Meaning::Muted));
        }
        foot.push(part);
    }
    foot
}

/// What is looked for, at which hit one is, of how many.
fn found(log: &Log) -> Option<(String, Meaning)> {
    log.pattern.as_ref()?;
    let needle = text::clean(&log.needle);
    let needle = text::fit(&needle, 24);
    let tally = log.tally;
    let all = tally.percent >= 100;
    let more = if all { String::new() } else { format!("+ at {} %", tally.percent) };
    Some(match tally.rank {
        _ if log.missed => w(format!("“{needle}” is nowhere in it"), Meaning::Warn),
        Some(rank) if log.hit.is_some() => w(format!("“{needle}” {rank}/{}{more}", tally.lines), Meaning::Base),
        _ if log.wanted.is_some() => w(format!("“{needle}” … {}{more}", tally.lines), Meaning::Warn),
        _ if log.hit.is_some() => w(format!("“{needle}” …/{}{more}", tally.lines), Meaning::Base),
        _ => w(format!("“{needle}” {}{more}", format::plural(tally.lines as usize, "line")), Meaning::Muted),
    })
}

/// The lines.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, inside: Rect) {
    let model = scene.model;
    if inside.height == 0 || inside.width == 0 {
        return;
    }
    let places = places(model, inside);
    let (first, second) = places.shapes(model);
    one(pen, scene, &model.log, places.first, first);
    if let (Some(area), Some(shape), Some(shown)) = (places.second, second, &model.desk.second) {
        one(pen, scene, &model.other, area, shape);
        for y in inside.y..inside.bottom() {
            pen.cell(area.x - 2, y, "│", Meaning::Border);
        }
        if places.head {
            let detail = model.detail(scene.snapshot);
            let left = detail.and_then(|detail| model.desk.attempts(detail, scene.snapshot).into_iter().next());
            for (area, shown) in [(places.first, left.as_ref()), (area, Some(shown))] {
                let head = shown.map(attempt_words).unwrap_or_default();
                pen.words(area.x, area.y - 1, area.width, &head);
            }
        }
    } else if places.head {
        // Without a frame there is room for the name and where one is.
        let mut words = title(scene);
        words.truncate(1);
        let room = usize::from(inside.width / 3);
        let name = words.pop().map(|(name, _)| text::fit(&text::clean(name.trim_start()), room).into_owned());
        words.push(w(format!("{}  ", name.unwrap_or_default()), Meaning::Title));
        words.extend(foot(scene, &model.log));
        pen.words(inside.x, inside.y, inside.width, &words);
    }
}

fn attempt_words(shown: &Shown) -> Words {
    vec![w(format!("attempt {}", shown.attempt), Meaning::Title), w(format!("  {}", shown.outcome), Meaning::Muted)]
}

fn one(pen: &mut Pen<'_>, scene: &Scene<'_>, log: &Log, area: Rect, shape: Shape) {
    if log.lines.is_empty() {
        let text = match (&log.problem, &log.source) {
            (Some(problem), _) => problem.clone(),
            (None, Source::Merged(_)) => "nothing written yet in this stage".into(),
            (None, Source::File(..)) => "nothing written yet".into(),
            (None, Source::Nothing) if scene.model.task(scene.snapshot).is_some() => "no output".into(),
            (None, Source::Nothing) => "no task is selected".into(),
        };
        pen.text(area.x, area.y, area.width, &text, Meaning::Muted);
        return;
    }
    for (i, (n, bytes)) in rows(log, shape).into_iter().enumerate() {
        let row = Rect { y: area.y + i as u16, height: 1, ..area };
        line(pen, scene, log, &log.lines[n], bytes, row);
    }
}

fn line(pen: &mut Pen<'_>, scene: &Scene<'_>, log: &Log, line: &LogLine, bytes: Range<usize>, row: Rect) {
    let model = scene.model;
    let (times, names) = columns(model, log, row);
    let begins = bytes.start == 0;
    if begins && line.rest && row.x > 0 {
        pen.cell(row.x - 1, row.y, "»", Meaning::Muted);
    }
    if times > 0
        && begins
        && let Some(written) = line.written
    {
        let about = if written.about { "≈" } else { " " };
        let text = format!("{about}{}", format::clock(written.at, &model.zone));
        pen.text(row.x, row.y, times, &text, Meaning::Muted);
    }
    if names > 0
        && let Some((source, name)) = &line.name
    {
        let colour = COLOURS[source % COLOURS.len()];
        let name = text::clean(name);
        if begins {
            pen.text(row.x + times, row.y, names - 3, &text::fit(&name, usize::from(names) - 3), colour);
        }
        pen.text(row.x + times + names - 2, row.y, 1, "│", Meaning::Border);
    }
    let left = row.x + times + names;
    let end = row.right();
    let base = pen.theme.of(Meaning::Base);
    let hit = log.hit == Some(line.at);
    let matches = log.pattern.as_ref().map(|pattern| pattern.places(&line.text)).unwrap_or_default();
    let mut x = left;
    for part in segments(line, &bytes, &matches) {
        if x >= end {
            break;
        }
        let mut style = base;
        if model.desk.colours {
            let look = line.runs.iter().rev().find(|(from, _)| *from <= part.start).map(|(_, look)| *look);
            style = style.patch(theme::look(look.unwrap_or_default(), model.depth, base.bg));
        }
        if hit {
            style = style.patch(pen.theme.of(Meaning::Marked));
        }
        if matches.iter().any(|(from, to)| (*from..*to).contains(&part.start)) {
            style = style.patch(pen.theme.of(Meaning::Match));
        }
        x += pen.styled(x, row.y, end - x, &line.text[part], style);
    }
    if line.cut && bytes.end == line.text.len() && end > left {
        // The cut is marked once, whether the line or the pane ends first.
        pen.text(x.min(end - 1), row.y, 1, "…", Meaning::Muted);
    }
    if hit && x < end {
        pen.lay(Rect { x, width: end - x, ..row }, Meaning::Marked);
    }
    if log.is_chosen(line.at) {
        pen.select(row, true);
    }
}

/// Runs of bytes that look alike.
fn segments(line: &LogLine, bytes: &Range<usize>, matches: &[(usize, usize)]) -> Vec<Range<usize>> {
    let mut edges: Vec<usize> = vec![bytes.start, bytes.end];
    let runs = line.runs.iter().map(|(at, _)| *at);
    edges.extend(runs.chain(matches.iter().flat_map(|(from, to)| [*from, *to])).filter(|at| bytes.contains(at)));
    edges.sort_unstable();
    edges.dedup();
    edges.windows(2).map(|pair| pair[0]..pair[1]).collect()
}
