//! The queue: stages and tasks, only those in the window.

use ratatui::layout::Rect;

use crate::engine::ids::Span;
use crate::snapshot::{Counts, Group, GroupRow, Phase, Row, TaskRow};

use super::super::format;
use super::super::glyphs;
use super::super::layout::Shape;
use super::super::model::{Cursor, Pane};
use super::super::paint::{Pen, Words, w};
use super::super::theme::Meaning;
use super::super::update::{is_marked, sort_name};
use super::super::view::Scene;
use super::header;

/// Columns: where each begins, from the pane's left edge, and how wide it is. They depend on the pane's width only.
struct Columns {
    name: (u16, u16),
    state: (u16, u16),
    priority: (u16, u16),
    age: (u16, u16),
    eta: (u16, u16),
    note: (u16, u16),
}

impl Columns {
    fn new(width: u16) -> Self {
        let mut at = 6;
        let mut take = |cells: u16| {
            let column = (at, cells);
            at += if cells == 0 { 0 } else { cells + 1 };
            column
        };
        let roomy = width >= 70;
        // Narrow panes need the room for the reasons.
        let name = take(if width < 90 { (width * 2 / 9).max(12) } else { (width / 4).min(36) });
        let state = take(if roomy { 11 } else { 9 });
        let priority = take(if width >= 50 { 4 } else { 0 });
        let age = take(if roomy { 5 } else { 0 });
        let eta = take(if width >= 60 { 7 } else { 0 });
        Self { name, state, priority, age, eta, note: (at, width.saturating_sub(at)) }
    }
}

/// Title and foot: what is active, so that a filtered list never looks like an empty one.
pub fn edges(scene: &Scene<'_>) -> (Words, Words) {
    let queue = &scene.model.queue;
    let mut title = Words::new();
    title.push(w(if queue.group == Group::Stage { "  by stage" } else { "  flat" }, Meaning::Muted));
    title.push(w(format!("  sort {}{}", sort_name(queue.sort), if queue.reverse { " ↑" } else { "" }), Meaning::Muted));
    if !queue.filter.terms.is_empty() {
        title.push(w("  filter ", Meaning::Muted));
        title.push(w(&queue.filter_text, Meaning::Warn));
    }
    let marked = scene.model.marks.tasks.len();
    if marked > 0 {
        title.push(w(format!("  {} marked", format::count(marked)), Meaning::Key));
    }
    let total = scene.snapshot.counts.total;
    let matching = scene.snapshot.matching;
    let foot = if queue.filter.terms.is_empty() {
        vec![w(place(scene), Meaning::Muted)]
    } else {
        vec![w(format!("{} of {}", format::count(matching), format::count(total)), Meaning::Warn)]
    };
    (title, foot)
}

fn place(scene: &Scene<'_>) -> String {
    let queue = &scene.model.queue;
    if queue.total == 0 {
        return "0".into();
    }
    format!("{} of {}", format::count(queue.row + 1), format::count(queue.total))
}

/// The rows in the window.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect) {
    if area.height == 0 || area.width == 0 {
        return;
    }
    if scene.snapshot.rows.is_empty() {
        return empty(pen, scene, area);
    }
    let compact = scene.areas.shape == Shape::Compact;
    let columns = Columns::new(area.width);
    if !compact {
        heading(pen, area, &columns);
    }
    let top = area.y + scene.areas.heading();
    for (i, row) in scene.snapshot.rows.iter().enumerate().take(usize::from(area.bottom().saturating_sub(top))) {
        let line = Rect { y: top + i as u16, height: 1, ..area };
        match row {
            Row::Group(group) if compact => compact_group(pen, line, group),
            Row::Task(task) if compact => compact_task(pen, scene, line, task),
            Row::Group(group) => group_row(pen, line, &columns, group),
            Row::Task(task) => task_row(pen, scene, line, &columns, task),
        }
        let here = match (row, scene.model.queue.cursor) {
            (Row::Task(row), Cursor::Task(task)) => row.task == task,
            (Row::Group(row), Cursor::Group(stage)) => row.stage == stage,
            _ => false,
        };
        if is_marked(scene.model, row) {
            pen.text(line.x + 2, line.y, 1, "◆", Meaning::Key);
        }
        if here {
            pen.text(line.x, line.y, 1, ">", Meaning::Key);
            pen.select(line, scene.model.focus == Pane::Queue);
        }
    }
}

fn heading(pen: &mut Pen<'_>, area: Rect, columns: &Columns) {
    let mut put = |(x, width): (u16, u16), text: &str, right: bool| {
        if right {
            pen.right(area.x + x + width, area.y, width, text, Meaning::Muted);
        } else {
            pen.text(area.x + x, area.y, width, text, Meaning::Muted);
        }
    };
    put(columns.name, "TASK", false);
    put(columns.state, "STATE", false);
    put(columns.priority, "PRI", true);
    put(columns.age, "TIME", true);
    put(columns.eta, "ENDS", true);
    put(columns.note, "PROGRESS / WHY NOT", false);
}

fn task_row(pen: &mut Pen<'_>, scene: &Scene<'_>, line: Rect, columns: &Columns, row: &TaskRow) {
    let (glyph, word, meaning) = glyphs::phase(row.phase);
    let quiet = matches!(row.phase, Phase::Succeeded | Phase::Skipped | Phase::Cancelled | Phase::Blocked);
    let text = if quiet { Meaning::Muted } else { Meaning::Base };
    let at = |column: (u16, u16)| line.x + column.0;
    pen.text(line.x + 4, line.y, 1, glyph, meaning);
    let name = if row.pending { format!("{} …", row.name) } else { row.name.to_string() };
    pen.text(at(columns.name), line.y, columns.name.1, &name, text);
    let tries = if row.attempt > 1 && row.attempt <= row.attempts && row.fallback.is_none() {
        format!(" {}/{}", row.attempt, row.attempts)
    } else {
        String::new()
    };
    let late = if row.late && !quiet { " ▲" } else { "" };
    let state = [w(word, state_meaning(meaning)), w(tries, Meaning::Muted), w(late, Meaning::Warn)];
    pen.words(at(columns.state), line.y, columns.state.1, &state);
    let right = |pen: &mut Pen<'_>, column: (u16, u16), text: &str, meaning| {
        pen.right(line.x + column.0 + column.1, line.y, column.1, text, meaning);
    };
    right(pen, columns.priority, &row.priority.to_string(), text);
    right(pen, columns.age, &time(scene, row), Meaning::Muted);
    let (when, meaning) = eta(scene, row);
    right(pen, columns.eta, &when, meaning);
    note(pen, scene, line, columns, row);
}

/// Running, waiting and done are normal: their words are quiet.
fn state_meaning(meaning: Meaning) -> Meaning {
    match meaning {
        Meaning::Running | Meaning::Waiting => Meaning::Base,
        Meaning::Done => Meaning::Muted,
        other => other,
    }
}

/// How long it has been in its state; of what ran and is over, how long it ran.
fn time(scene: &Scene<'_>, row: &TaskRow) -> String {
    match row.phase {
        Phase::Succeeded | Phase::Failed | Phase::Lost => row.ran.map(format::fine).unwrap_or_default(),
        Phase::Skipped | Phase::Cancelled => row.ran.map(format::fine).unwrap_or_else(|| "—".into()),
        _ => format::short(scene.model.now.since(row.since)),
    }
}

/// When it ends: what is left of a running task by its estimate, at the latest by its deadline; of what is over, when it did.
fn eta(scene: &Scene<'_>, row: &TaskRow) -> (String, Meaning) {
    let deadline = || row.deadline.map(|at| format!("≤{}", format::minute(at, &scene.model.zone)));
    let late = if row.late { Meaning::Warn } else { Meaning::Muted };
    match row.phase {
        Phase::Running | Phase::Stopping => match row.estimate {
            Some(estimate) => {
                let ran = scene.model.now.since(row.since);
                if ran > estimate {
                    return ("over".into(), Meaning::Warn);
                }
                (format::short(Span(estimate.0 - ran.0)), if row.late { Meaning::Warn } else { Meaning::Base })
            }
            None => (deadline().unwrap_or_default(), late),
        },
        Phase::Succeeded | Phase::Failed | Phase::Cancelled | Phase::Skipped | Phase::Lost => {
            (format::minute(row.since, &scene.model.zone), Meaning::Muted)
        }
        _ => (deadline().unwrap_or_default(), late),
    }
}

/// Progress, or why there is none. Parts that do not fit whole are left out, the last ones first; what comes first is cut.
fn note(pen: &mut Pen<'_>, scene: &Scene<'_>, line: Rect, columns: &Columns, row: &TaskRow) {
    let (x, width) = (line.x + columns.note.0, columns.note.1);
    // In a narrow pane the agent's name has room behind it.
    let bar: u16 = if width < 28 { 6 } else { 8 };
    let mut parts = Words::new();
    let mut used = 0;
    if let (Phase::Running, Some(told)) = (row.phase, &row.told) {
        if width > bar + 8 {
            pen.bar(x, line.y, bar, &[(told.share(), "▰", Meaning::BarRunning)], "▱");
            used = bar + 1;
        }
        parts.push(w(format!("{:>3.0} %", told.share() * 100.0), Meaning::Base));
        if told.of != 100 {
            parts.push(w(told.count(), Meaning::Base));
        }
        if !told.text.is_empty() {
            parts.push(w(&told.text, Meaning::Base));
        }
    } else if let (Phase::Running, Some(estimate)) = (row.phase, row.estimate) {
        let share = scene.model.now.since(row.since).0 as f64 / estimate.0.max(1) as f64;
        if share <= 1.0 && width > bar + 8 {
            pen.bar(x, line.y, bar, &[(share, "▰", Meaning::BarRunning)], "▱");
            parts.push(w(format!("{:>3.0} %", share * 100.0), Meaning::Base));
            used = bar + 1;
        } else {
            let of = if width < 28 { "" } else { " its estimate" };
            parts.push(w(format!("{share:.1}×{of}"), Meaning::Warn));
        }
    }
    let is_first = row.troubled || row.waits;
    if is_first {
        parts.push(w(&row.note, Meaning::Warn));
    }
    if let Some(agent) = row.agent.as_ref().filter(|_| matches!(row.phase, Phase::Running | Phase::Stopping)) {
        parts.push(w(agent, Meaning::Muted));
    }
    let told = |name: &str| row.note.contains(name);
    if let Some(fallback) = row.fallback.as_ref().filter(|name| !told(name)) {
        parts.push(w(format!("↶ {fallback}"), Meaning::Held));
    }
    let text = match row.phase {
        Phase::Failed | Phase::Lost => Meaning::Bad,
        Phase::Delayed | Phase::Stopping => Meaning::Warn,
        Phase::Succeeded | Phase::Skipped | Phase::Cancelled | Phase::Blocked => Meaning::Muted,
        _ => Meaning::Base,
    };
    if !row.note.is_empty() && !is_first {
        parts.push(w(&row.note, text));
    }
    if row.reserved {
        parts.push(w("next in line", Meaning::Running));
    }
    if row.adopted && !told("adopted") {
        parts.push(w("adopted", Meaning::Muted));
    }
    pen.words(x + used, line.y, width.saturating_sub(used), &fitting(parts, width.saturating_sub(used)));
}

/// Parts with a gap between them, as many as fit whole; the first in any case.
fn fitting(parts: Words, width: u16) -> Words {
    let mut out = Words::new();
    let mut used = 0;
    for (text, meaning) in parts {
        let gap = if out.is_empty() { 0 } else { 2 };
        let cells = crate::text::width(&crate::text::clean(&text));
        if !out.is_empty() && used + gap + cells > usize::from(width) {
            break;
        }
        used += gap + cells;
        out.push(w(" ".repeat(gap), Meaning::Base));
        out.push(w(text, meaning));
    }
    out
}

fn group_row(pen: &mut Pen<'_>, line: Rect, columns: &Columns, group: &GroupRow) {
    let counts = &group.counts;
    pen.text(line.x + 2, line.y, 1, if group.collapsed { "▸" } else { "▼" }, Meaning::Muted);
    pen.text(line.x + 4, line.y, columns.name.1 + 2, &group.name, Meaning::Title);
    let mut words = vec![
        w(format!("{}/{}", counts.succeeded + counts.skipped, counts.total), Meaning::Base),
        w("  ", Meaning::Base),
    ];
    words.extend(tally(counts));
    if group.round > 1 {
        words.push(w(format!(" round {}", group.round), Meaning::Muted));
    }
    let x = line.x + columns.state.0;
    pen.words(x, line.y, columns.note.0.saturating_sub(columns.state.0), &words);
    let (x, width) = (line.x + columns.note.0, columns.note.1);
    if counts.total > 0 && counts.succeeded + counts.skipped == counts.total {
        pen.words(x, line.y, width, &[w("✓ ", Meaning::Good), w("done", Meaning::Muted)]);
    } else if let Some(why) = &group.why {
        pen.text(x, line.y, width, why, Meaning::Muted);
    } else if width > 12 {
        let bar = (width - 7).min(14);
        header::bar(pen, x, line.y, bar, counts);
        let done = (counts.succeeded + counts.skipped) as f64 * 100.0 / counts.total.max(1) as f64;
        pen.text(x + bar + 1, line.y, 6, &format!("{done:>3.0} %"), Meaning::Base);
    }
}

/// `●6 ○49 ✗2`: what is not done, by phase.
fn tally(counts: &Counts) -> Words {
    let parts = [
        (counts.running + counts.stopping, "●", Meaning::Running),
        (counts.ready + counts.waiting, "○", Meaning::Muted),
        (counts.awaiting, "◔", Meaning::Warn),
        (counts.delayed, "↻", Meaning::Warn),
        (counts.held, "⊘", Meaning::Held),
        (counts.failed + counts.lost, "✗", Meaning::Bad),
        (counts.blocked, "◌", Meaning::Off),
    ];
    parts.into_iter().filter(|(n, ..)| *n > 0).map(|(n, glyph, meaning)| w(format!("{glyph}{n} "), meaning)).collect()
}

fn compact_group(pen: &mut Pen<'_>, line: Rect, group: &GroupRow) {
    pen.text(line.x + 1, line.y, 1, if group.collapsed { "▸" } else { "▼" }, Meaning::Muted);
    let used = pen.text(line.x + 3, line.y, 16, &group.name, Meaning::Title);
    let mut words = vec![w(
        format!("  {}/{}  ", group.counts.succeeded + group.counts.skipped, group.counts.total),
        Meaning::Muted,
    )];
    words.extend(tally(&group.counts));
    if group.round > 1 {
        words.push(w(format!(" round {}", group.round), Meaning::Muted));
    }
    pen.words(line.x + 3 + used, line.y, line.width.saturating_sub(3 + used), &words);
}

fn compact_task(pen: &mut Pen<'_>, scene: &Scene<'_>, line: Rect, row: &TaskRow) {
    let (glyph, word, meaning) = glyphs::phase(row.phase);
    pen.text(line.x + 1, line.y, 1, glyph, meaning);
    let name = (line.width / 2).saturating_sub(4).min(24);
    pen.text(
        line.x + 3,
        line.y,
        name,
        &row.name,
        if meaning == Meaning::Done { Meaning::Muted } else { Meaning::Base },
    );
    let age = time(scene, row);
    pen.right(line.x + name + 9, line.y, 5, &age, Meaning::Muted);
    let share = row.estimate.filter(|_| row.phase == Phase::Running);
    let share = share.map(|estimate| scene.model.now.since(row.since).0 * 100 / estimate.0.max(1));
    let told = row.told.as_ref().filter(|_| row.phase == Phase::Running);
    let share = told.map(|told| (told.share() * 100.0) as u64).or(share);
    let share = share.map(|share| if share > 100 { "over ".into() } else { format!("{share} % ") }).unwrap_or_default();
    let word = if share.is_empty() { word } else { "" };
    let note = if row.note.is_empty() { word } else { &row.note };
    let late = if row.late { "▲ " } else { "" };
    let x = line.x + name + 10;
    let words = [w(late, Meaning::Warn), w(share, Meaning::Base), w(note, state_meaning(meaning))];
    pen.words(x, line.y, line.right().saturating_sub(x), &words);
}

fn empty(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect) {
    let queue = &scene.model.queue;
    let lines: Vec<Words> = if queue.filter.terms.is_empty() && scene.snapshot.counts.total == 0 {
        vec![
            vec![w("No tasks yet.", Meaning::Title)],
            vec![],
            vec![
                w("?", Meaning::Key),
                w("  keys      ", Meaning::Muted),
                w(":", Meaning::Key),
                w("  commands", Meaning::Muted),
            ],
        ]
    } else {
        let total = format::plural(scene.snapshot.counts.total, "task");
        vec![
            vec![w("Nothing passes the filter ", Meaning::Title), w(&queue.filter_text, Meaning::Warn)],
            vec![],
            vec![
                w("Esc", Meaning::Key),
                w(format!(" shows all {total}   "), Meaning::Muted),
                w("/", Meaning::Key),
                w(" changes it", Meaning::Muted),
            ],
        ]
    };
    for (i, words) in lines.iter().enumerate().take(usize::from(area.height)) {
        pen.words(area.x + 2, area.y + i as u16, area.width.saturating_sub(2), words);
    }
}
