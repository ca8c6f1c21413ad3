//! The log of the task under the cursor: what was read of it, already made safe.

use ratatui::layout::Rect;

use super::super::format;
use super::super::layout::Shape;
use super::super::paint::{Pen, Words, w, wrap};
use super::super::theme::Meaning;
use super::super::view::Scene;

/// Title: whose, how much; foot: what can be done.
pub fn edges(scene: &Scene<'_>) -> (Words, Words) {
    let log = &scene.model.log;
    let mut title = Words::new();
    if let Some(row) = scene.model.task(scene.snapshot) {
        title.push(w(format!("  {}", row.name), Meaning::Base));
        if row.attempt > 0 {
            title.push(w(format!("  attempt {}", row.attempt), Meaning::Muted));
        }
    }
    if log.path.is_some() {
        title.push(w(format!("  {}", format::bytes(log.length)), Meaning::Muted));
    }
    let mut foot = Words::new();
    if log.path.is_some() {
        foot.push(if log.follow { w("▼ following", Meaning::Good) } else { w("F follows the end", Meaning::Muted) });
    }
    let more = if let Some(search) = log.searching {
        let share = (search.at * 100).checked_div(log.length).unwrap_or(0);
        w(format!("searching “{}” … at {share} %", log.needle), Meaning::Warn)
    } else if log.missed {
        w(format!("“{}” is nowhere in it", log.needle), Meaning::Warn)
    } else if !log.needle.is_empty() {
        w(format!("“{}”  n next  N previous", log.needle), Meaning::Muted)
    } else if log.wrap {
        w("wrapped", Meaning::Muted)
    } else {
        return (title, foot);
    };
    if !foot.is_empty() {
        foot.push(w(" · ", Meaning::Muted));
    }
    foot.push(more);
    (title, foot)
}

/// The lines.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect) {
    let log = &scene.model.log;
    if area.height == 0 || area.width == 0 {
        return;
    }
    let edge = u16::from(scene.areas.shape != Shape::Compact);
    let area = Rect { x: area.x + edge, width: area.width.saturating_sub(edge), ..area };
    if log.lines.is_empty() {
        let text = match (&log.problem, &log.path) {
            (Some(problem), _) => problem.clone(),
            (None, Some(_)) => "nothing written yet".into(),
            (None, None) if scene.model.task(scene.snapshot).is_some() => "no output".into(),
            (None, None) => "no task is selected".into(),
        };
        pen.text(area.x, area.y, area.width, &text, Meaning::Muted);
        return;
    }
    let rows = usize::from(area.height);
    let mut shown: Vec<(String, bool, bool)> = Vec::with_capacity(rows);
    for line in &log.lines {
        let hit = log.hit == Some(line.at);
        if log.wrap {
            let parts = wrap(&line.text, usize::from(area.width));
            let last = parts.len() - 1;
            shown.extend(parts.into_iter().enumerate().map(|(i, part)| (part, hit, line.cut && i == last)));
        } else {
            shown.push((line.text.clone(), hit, line.cut));
        }
    }
    let skip = if log.follow { shown.len().saturating_sub(rows) } else { 0 };
    for (i, (text, hit, cut)) in shown.iter().skip(skip).take(rows).enumerate() {
        let y = area.y + i as u16;
        let room = area.width;
        // The cut is marked once, whether the line or the pane ends first.
        let end = if *cut { "…" } else { "" };
        pen.text(area.x, y, room, &format!("{text}{end}"), Meaning::Base);
        if *hit {
            pen.lay(Rect { y, height: 1, ..area }, Meaning::Marked);
        }
        mark(pen, area.x, y, room, text, &log.needle);
    }
}

/// Marks what the search is for.
fn mark(pen: &mut Pen<'_>, x: u16, y: u16, width: u16, text: &str, needle: &str) {
    if needle.is_empty() {
        return;
    }
    let fold = !needle.bytes().any(|b| b.is_ascii_uppercase());
    let (hay, needle) = if fold {
        (text.to_ascii_lowercase(), needle.to_ascii_lowercase())
    } else {
        (text.to_owned(), needle.to_owned())
    };
    for (at, found) in hay.match_indices(&needle) {
        let from = crate::text::width(&text[..at]);
        let cells = crate::text::width(found);
        if from + cells <= usize::from(width) {
            pen.lay(Rect::new(x + from as u16, y, cells as u16, 1), Meaning::Match);
        }
    }
}
