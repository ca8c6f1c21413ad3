//! The timeline: lanes of what ran, what runs and what waited; below them how much ran at once, the critical path, the bar
//! under the cursor and the longest waits. Only lanes in sight are drawn, each column by one search in its lane. What is
//! right of now stays empty and says why.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::layout::Rect;

use super::super::chart::{By, column, column_of, tick};
use super::super::format;
use super::super::glyphs;
use super::super::layout::Shape;
use super::super::model::{Model, Pane};
use super::super::paint::{Pen, Words, w, width_of};
use super::super::theme::Meaning;
use super::super::view::Scene;
use crate::engine::fact::Outcome;
use crate::engine::ids::{Span, Time};
use crate::snapshot::record::{Bar, LEAST_WAIT, Lane, Link, Record};
use crate::text;

/// A bar carries its name from this many columns on.
const NAMED: usize = 4;
/// What stands where forecasts will.
pub const NO_FORECAST: &str = "no forecast yet";

/// Where the parts of the timeline are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places {
    /// Times.
    pub axis: Rect,
    /// Names of lanes.
    pub labels: Rect,
    /// Lanes: only their columns of time.
    pub lanes: Rect,
    /// How much ran at once.
    pub load: Option<Rect>,
    /// The critical path.
    pub critical: Option<Rect>,
    /// The line between lanes and words, with the milestones.
    pub rule: Option<Rect>,
    /// Words.
    pub words: Rect,
}

/// Where the parts are now.
pub fn places(model: &Model) -> Places {
    let areas = model.areas();
    let Some(inside) = areas.of(Pane::Timeline).map(|area| areas.inside(area)) else { return Places::default() };
    let label = (inside.width / 6).clamp(8, 24).min(inside.width);
    let roomy = inside.height >= 10;
    let words = if roomy { (inside.height / 4).clamp(4, 10) } else { 1 };
    let below = if roomy { words + 3 } else { words };
    let row = |y: u16, height: u16| Rect { y: inside.y + y.min(inside.height), height, ..inside };
    let times = |area: Rect| Rect { x: area.x + label, width: area.width - label, ..area };
    let lanes = inside.height.saturating_sub(below + 1);
    let at = |n: u16| roomy.then(|| row(1 + lanes + n, 1));
    Places {
        axis: times(row(0, 1.min(inside.height))),
        labels: Rect { width: label.saturating_sub(1), ..row(1, lanes) },
        lanes: times(row(1, lanes)),
        load: at(0).map(times),
        critical: at(1).map(times),
        rule: at(2),
        words: row(inside.height.saturating_sub(words), words.min(inside.height)),
    }
}

/// Title and foot.
pub fn edges(scene: &Scene<'_>) -> (Words, Words) {
    let (chart, record) = (&scene.model.chart, &scene.snapshot.record);
    let mut title = vec![w(format!("  {}", chart.by.word()), Meaning::Muted)];
    if chart.critical {
        title.push(w("  critical path only", Meaning::Warn));
    }
    if chart.span.is_none() {
        title.push(w("  whole run", Meaning::Muted));
    }
    let legend =
        [("  █", Meaning::BarDone, " ran"), ("  ▒", Meaning::BarRunning, " runs"), ("  ▓", Meaning::BarBad, " failed")];
    for (glyph, meaning, word) in legend {
        title.extend([w(glyph, meaning), w(word, Meaning::Muted)]);
    }
    if chart.by == By::Task {
        title.extend([w("  ░", Meaning::BarRest), w(" waited", Meaning::Muted)]);
    }
    title.extend([w("  │", Meaning::Focus), w(" now", Meaning::Muted)]);
    let mut foot = Words::new();
    if record.left_out > 0 {
        foot.push(w(format!("{} earlier left out · ", format::plural(record.left_out, "attempt")), Meaning::Warn));
    }
    let count = chart.shown(record).len();
    let row = if count == 0 { 0 } else { chart.row + 1 };
    foot.push(w(format!("{NO_FORECAST} · {} of {}", format::count(row), format::count(count)), Meaning::Muted));
    (title, foot)
}

/// All of it.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, inside: Rect) {
    if inside.width == 0 || inside.height == 0 {
        return;
    }
    let (model, record) = (scene.model, &*scene.snapshot.record);
    let (chart, places) = (&model.chart, places(model));
    let window = chart.window(record, model.now);
    let now = column_of(window, places.lanes.width, model.now).filter(|_| record.over.is_none());
    axis(pen, model, places.axis, window);
    if let Some(now) = now {
        for y in places.lanes.y..places.lanes.bottom() {
            pen.cell(places.lanes.x + now, y, "│", Meaning::Focus);
        }
    }
    let shown = chart.shown(record);
    let lanes = chart.lanes(record);
    if shown.is_empty() {
        let none = match chart.by {
            By::Resource => "this workflow has no locks and no pools",
            _ if chart.critical => "nothing is on the critical path yet",
            _ => "nothing has run yet",
        };
        pen.text(places.lanes.x, places.lanes.y, places.lanes.width, none, Meaning::Muted);
    }
    for (i, n) in shown.iter().enumerate().skip(chart.top).take(usize::from(places.lanes.height)) {
        let y = places.lanes.y + (i - chart.top) as u16;
        let lane = &lanes[*n];
        label(pen, scene, places.labels, y, lane, i == chart.row);
        row(pen, scene, Rect { y, height: 1, ..places.lanes }, lane, window);
    }
    if let Some(area) = places.load {
        load(pen, model, record, area, window, now);
    }
    if let Some(area) = places.critical {
        critical(pen, model, record, area, window);
    }
    if let Some(area) = places.rule {
        rule(pen, record, area, places.lanes, window);
    }
    words(pen, scene, places.words);
}

/// Round times, as the clock shows them here.
fn axis(pen: &mut Pen<'_>, model: &Model, area: Rect, window: (Time, Time)) {
    let step = tick(window, area.width, 11);
    let shift = offset_ms(window.0, &model.zone);
    let local = i128::from(window.0.0) + shift;
    let step_ms = i128::from(step.0);
    let mut at = local.div_euclid(step_ms) * step_ms;
    let mut free = area.x;
    loop {
        let Ok(time) = u64::try_from(at - shift) else {
            at += step_ms;
            continue;
        };
        if time >= window.1.0 {
            return;
        }
        if let Some(n) = column_of(window, area.width, Time(time)) {
            let text = match step.0 {
                0..60_000 => format::clock(Time(time), &model.zone),
                60_000..86_400_000 => format::minute(Time(time), &model.zone),
                _ => format::day(Time(time), &model.zone),
            };
            let x = area.x + n;
            if x >= free && x + text.len() as u16 <= area.right() {
                pen.text(x, area.y, area.right() - x, &text, Meaning::Muted);
                free = x + text.len() as u16 + 1;
            }
        }
        at += step_ms;
    }
}

fn offset_ms(at: Time, zone: &TimeZone) -> i128 {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.map_or(0, |stamp| i128::from(zone.to_offset(stamp).seconds()) * 1000)
}

fn label(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect, y: u16, lane: &Lane, here: bool) {
    let name = if lane.more { "  ·" } else { lane.label.as_str() };
    let meaning = if lane.critical { Meaning::Title } else { Meaning::Base };
    let clean = text::clean(name);
    pen.text(area.x + 1, y, area.width.saturating_sub(1), &text::fit(&clean, usize::from(area.width) - 1), meaning);
    if here {
        pen.text(area.x, y, 1, ">", Meaning::Key);
        pen.select(Rect { y, height: 1, ..area }, scene.model.focus == Pane::Timeline);
    }
}

/// What a column of a lane holds.
#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Empty,
    Waits,
    Bar(u32),
}

fn row(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect, lane: &Lane, window: (Time, Time)) {
    let (model, record) = (scene.model, &*scene.snapshot.record);
    let chosen = model.chart.place(record).filter(|bar| lane.bars.contains(bar));
    let cells: Vec<Cell> =
        (0..area.width).map(|n| cell(model, record, lane, column(window, area.width, n), chosen)).collect();
    let mut from = 0;
    for run in cells.chunk_by(|a, b| a == b) {
        let x = area.x + from as u16;
        match run[0] {
            Cell::Empty => {}
            Cell::Waits => (0..run.len() as u16).for_each(|i| pen.cell(x + i, area.y, "░", Meaning::BarRest)),
            Cell::Bar(index) => {
                bar(pen, model, record, record.bar(index), Rect { x, width: run.len() as u16, ..area });
                if chosen == Some(index) {
                    pen.select(Rect { x, width: run.len() as u16, ..area }, true);
                }
            }
        }
        from += run.len();
    }
}

fn cell(model: &Model, record: &Record, lane: &Lane, (from, until): (Time, Time), chosen: Option<u32>) -> Cell {
    let in_sight = |bar: &Bar| bar.started < until && bar.ended.unwrap_or(model.now).max(bar.started) >= from;
    if let Some(index) = chosen.filter(|index| in_sight(record.bar(*index))) {
        return Cell::Bar(index);
    }
    let at = record.first_from(lane, from);
    let next = lane.bars.get(at).copied();
    if let Some(index) = next.filter(|index| in_sight(record.bar(*index))) {
        return Cell::Bar(index);
    }
    if model.chart.by != By::Task || from > model.now {
        return Cell::Empty;
    }
    let waited = next.map(|index| record.bar(index)).filter(|bar| bar.waited() >= LEAST_WAIT);
    let waits = waited.is_some_and(|bar| bar.ready < until && bar.started > from)
        || next.is_none() && lane.waiting.is_some_and(|since| since < until);
    if waits { Cell::Waits } else { Cell::Empty }
}

fn bar(pen: &mut Pen<'_>, model: &Model, record: &Record, bar: &Bar, area: Rect) {
    let (glyph, meaning) = look(bar);
    let meaning = if model.chart.critical && !bar.critical { Meaning::Muted } else { meaning };
    for x in area.x..area.right() {
        pen.cell(x, area.y, glyph, meaning);
    }
    let failed = meaning == Meaning::BarBad;
    let mark = if failed { "✗" } else { "" };
    if failed {
        pen.text(area.x, area.y, 1, mark, meaning);
    }
    let room = usize::from(area.width).saturating_sub(1 + usize::from(failed));
    if usize::from(area.width) >= NAMED && model.chart.by != By::Task {
        let name = text::clean(record.name(bar.task));
        pen.text(area.x + u16::from(failed), area.y, room as u16, &text::fit(&name, room), Meaning::Base);
    }
}

fn look(bar: &Bar) -> (&'static str, Meaning) {
    match &bar.outcome {
        None => ("▒", Meaning::BarRunning),
        Some(Outcome::Succeeded | Outcome::UpToDate) => ("█", Meaning::BarDone),
        Some(Outcome::Failed(_) | Outcome::Lost(_)) => ("▓", Meaning::BarBad),
        Some(Outcome::Cancelled | Outcome::Aborted(_)) => ("▓", Meaning::Off),
    }
}

fn load(pen: &mut Pen<'_>, model: &Model, record: &Record, area: Rect, window: (Time, Time), now: Option<u16>) {
    let end = record.over.unwrap_or(model.now);
    let counts: Vec<usize> = (0..area.width)
        .map(|n| column(window, area.width, n))
        .take_while(|(from, _)| *from <= end)
        .map(|(from, _)| record.running_at(from))
        .collect();
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let (left, width) = beside(model, area);
    pen.text(left, area.y, width, &format!(" run ≤{}", format::count(most)), Meaning::Muted);
    for (n, count) in counts.iter().enumerate() {
        let (glyph, meaning) = match count {
            0 => ("▁", Meaning::BarRest),
            _ => (glyphs::level(*count as f32 / most as f32), Meaning::Graph),
        };
        pen.cell(area.x + n as u16, area.y, glyph, meaning);
    }
    if let Some(now) = now {
        let x = area.x + now + 2;
        if usize::from(area.right().saturating_sub(x)) >= NO_FORECAST.len() {
            pen.text(x, area.y, area.right() - x, NO_FORECAST, Meaning::Muted);
        }
    }
}

fn critical(pen: &mut Pen<'_>, model: &Model, record: &Record, area: Rect, window: (Time, Time)) {
    let (left, width) = beside(model, area);
    pen.text(left, area.y, width, " critical", Meaning::Muted);
    for step in &record.critical {
        let bar = record.bar(step.bar);
        let ended = bar.ended.unwrap_or(model.now).max(bar.started);
        if ended < window.0 || bar.started >= window.1 {
            continue;
        }
        let first = column_of(window, area.width, bar.started).unwrap_or(0);
        let last = column_of(window, area.width, ended).unwrap_or(area.width - 1);
        for n in first..=last {
            pen.cell(area.x + n, area.y, "═", Meaning::Title);
        }
        let room = usize::from(last - first);
        if room >= NAMED {
            let name = text::clean(record.name(bar.task));
            pen.text(area.x + first, area.y, room as u16, &text::fit(&name, room), Meaning::Title);
        }
    }
}

/// Where the label of a line beside the lanes stands.
fn beside(model: &Model, area: Rect) -> (u16, u16) {
    let labels = places(model).labels;
    (labels.x, area.x - labels.x)
}

fn rule(pen: &mut Pen<'_>, record: &Record, area: Rect, lanes: Rect, window: (Time, Time)) {
    pen.rule(area);
    let mut free = lanes.x;
    for (at, name) in &record.marks {
        let Some(n) = column_of(window, lanes.width, *at) else { continue };
        let x = lanes.x + n;
        pen.cell(x, area.y, "◆", Meaning::Good);
        if x >= free && x + 3 < lanes.right() {
            let room = usize::from(lanes.right() - x - 1).min(20);
            let name = text::clean(name);
            free = x + 1 + pen.text(x + 1, area.y, room as u16, &text::fit(&name, room), Meaning::Muted) + 1;
        }
    }
}

/// The bar under the cursor, the critical path, the longest waits.
fn words(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect) {
    let compact = scene.areas.shape == Shape::Compact;
    let (model, record) = (scene.model, &*scene.snapshot.record);
    let mut lines = selected(model, record);
    if !compact && area.height > 1 {
        lines.push(path(model, record, usize::from(area.width)));
        let first = model.chart.wait.unwrap_or(0);
        let room = usize::from(area.height).saturating_sub(lines.len());
        // The one that was gone to last stays in sight.
        let from = (first + 1).saturating_sub(room.max(1));
        for (n, wait) in record.waits.iter().enumerate().skip(from) {
            let here = model.chart.wait == Some(n);
            let still = if wait.bar.is_none() { "waits " } else { "waited" };
            lines.push(vec![
                w(if here { ">" } else { " " }, Meaning::Key),
                w(
                    format!("{still} {:>6} ", format::fine(wait.long)),
                    if here { Meaning::Title } else { Meaning::Muted },
                ),
                w(format!("{}  ", record.name(wait.task)), Meaning::Base),
                w(&wait.why, Meaning::Muted),
            ]);
        }
    }
    for (i, line) in lines.iter().take(usize::from(area.height)).enumerate() {
        pen.words(area.x, area.y + i as u16, area.width, line);
    }
}

fn selected(model: &Model, record: &Record) -> Vec<Words> {
    let Some(index) = model.chart.place(record) else {
        let text = match model.chart.task {
            Some(task) => record.waits.iter().find(|wait| wait.task == task && wait.bar.is_none()).map_or_else(
                || format!(" {} has not run yet", record.name(task)),
                |wait| format!(" {} waits {}: {}", record.name(task), format::fine(wait.long), wait.why),
            ),
            None => " nothing is selected".into(),
        };
        return vec![vec![w(text, Meaning::Muted)]];
    };
    let bar = record.bar(index);
    let ended = bar.ended.map_or_else(|| "now".into(), |ended| format::clock(ended, &model.zone));
    let (_, meaning) = look(bar);
    let meaning = if meaning == Meaning::BarBad { Meaning::Bad } else { Meaning::Base };
    let mut words = vec![w(format!(" {}", record.name(bar.task)), Meaning::Title)];
    if bar.attempt > 1 {
        words.push(w(format!("  attempt {}", bar.attempt), Meaning::Muted));
    }
    words.push(w(format!("  {}", bar.words()), meaning));
    words.push(w(format!("  {}", format::fine(bar.ran(model.now))), Meaning::Base));
    let when = format!("  {} to {ended}", format::clock(bar.started, &model.zone));
    words.push(w(when, Meaning::Muted));
    words.push(w(format!("  on {}", record.agent(bar.agent)), Meaning::Muted));
    if bar.waited() >= LEAST_WAIT {
        words.push(w(format!("  waited {} for room", format::fine(bar.waited())), Meaning::Muted));
    }
    if bar.critical {
        words.push(w("  critical", Meaning::Warn));
    }
    vec![words]
}

/// The critical path in words: its end is what matters, so its beginning is cut.
fn path(model: &Model, record: &Record, width: usize) -> Words {
    let steps = &record.critical;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return vec![w(" critical path: nothing has run yet", Meaning::Muted)];
    };
    let end = record.bar(last.bar).ended.unwrap_or(model.now);
    let long = end.since(record.bar(first.bar).started.min(record.began));
    let ran = Span(steps.iter().map(|step| record.bar(step.bar).ran(model.now).0).sum());
    let head = w(format!(" critical {} ({} of it ran): ", format::fine(long), format::fine(ran)), Meaning::Muted);
    let mut tail = Words::new();
    let mut room = width.saturating_sub(width_of(std::slice::from_ref(&head)) + 2);
    for step in steps.iter().rev() {
        let name = record.name(record.bar(step.bar).task).to_owned();
        let joint = match step.link {
            Link::First => "",
            Link::Needs => " → ",
            Link::Again => " ↻ ",
            Link::Room(_) => " ═ ",
            Link::Slot => " · ",
        };
        let words = vec![w(joint, Meaning::Muted), w(name, Meaning::Base)];
        let cells = width_of(&words);
        if cells > room {
            tail.push(w("…", Meaning::Muted));
            break;
        }
        room -= cells;
        tail.extend(words.into_iter().rev());
    }
    tail.push(head);
    tail.reverse();
    tail
}
