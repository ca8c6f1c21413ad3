//! The shared resources: how much is in use, by whom, and who waits.

use ratatui::layout::Rect;

use crate::snapshot::LockRow;

use super::super::model::Pane;
use super::super::paint::{Pen, Words, w, wrap};
use super::super::theme::Meaning;
use super::super::view::Scene;

/// Title: how many are contended.
pub fn edges(scene: &Scene<'_>) -> (Words, Words) {
    let contended = scene.snapshot.locks.iter().filter(|lock| lock.waiting > 0).count();
    let title = match contended {
        0 => Words::new(),
        n => vec![w(format!("  {n} contended"), Meaning::Warn)],
    };
    (title, Words::new())
}

/// A line a resource, contended ones first; under the chosen one, who waits in which order.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect) {
    if area.height == 0 {
        return;
    }
    if scene.snapshot.locks.is_empty() {
        pen.text(area.x + 1, area.y, area.width, "no shared resources declared", Meaning::Muted);
        return;
    }
    // As wide as the longest name, so that holders and lines have the rest; resources do not change.
    let longest = scene.snapshot.locks.iter().take(100).map(|lock| crate::text::width(&lock.name)).max();
    let name = u16::try_from(longest.unwrap_or(0)).unwrap_or(u16::MAX).clamp(8, (area.width / 3).max(8));
    let at_use = name + 2;
    // "shared 2" fits, and what shares by the hundred.
    let at_holder = at_use + if area.width >= 36 { 10 } else { 7 };
    let waiting = if area.width >= 44 { (area.width / 3).clamp(10, 24) } else { 5 };
    let top = area.y + scene.areas.heading();
    if scene.areas.heading() > 0 {
        for (x, text) in [(1, "RESOURCE"), (at_use, "USE"), (at_holder, "HOLDER")] {
            pen.text(area.x + x, area.y, 8, text, Meaning::Muted);
        }
        pen.right(area.right(), area.y, 7, if waiting > 7 { "WAITING" } else { "WAIT" }, Meaning::Muted);
    }
    let mut y = top;
    let rows = usize::from(area.bottom().saturating_sub(top));
    let first = (scene.model.lock_row + 1).saturating_sub(rows);
    let focused = scene.model.focus == Pane::Locks;
    for (i, lock) in scene.snapshot.locks.iter().enumerate().skip(first) {
        if y >= area.bottom() {
            break;
        }
        let busy = lock.waiting > 0;
        let meaning = if lock.share > 0.0 { Meaning::Base } else { Meaning::Muted };
        let line = Rect { y, height: 1, ..area };
        pen.text(line.x + 1, y, name, &lock.name, meaning);
        pen.text(
            line.x + at_use,
            y,
            at_holder - at_use - 1,
            &lock.used,
            if busy && lock.share >= 1.0 { Meaning::Warn } else { meaning },
        );
        let holder = match lock.holders.as_slice() {
            [] => w("—", Meaning::Muted),
            [(name, _)] => w(name, Meaning::Base),
            more => w(format!("{} tasks", more.len()), Meaning::Base),
        };
        let queue = match (lock.waiting, lock.line.first()) {
            (0, _) => w("0", Meaning::Muted),
            (n, Some(first)) if waiting > 7 => w(format!("{n} → {first}"), Meaning::Warn),
            (n, _) => w(n.to_string(), Meaning::Warn),
        };
        let used = pen.words_right(line.right(), y, waiting, &[queue]);
        let room = line.width.saturating_sub(at_holder + used + 1);
        pen.words(line.x + at_holder, y, room, &[holder]);
        let chosen = i == scene.model.lock_row;
        if chosen && focused {
            pen.select(line, true);
        }
        y += 1;
    }
    // Below the table, at the same place whichever is chosen: nothing above it moves.
    if let Some(lock) = scene.snapshot.locks.get(scene.model.lock_row) {
        let area = Rect { y: y + 1, height: area.bottom().saturating_sub(y + 1), ..area };
        about(pen, area, lock);
    }
}

/// Who holds the chosen resource, who waits, for whom it is kept free.
fn about(pen: &mut Pen<'_>, area: Rect, lock: &LockRow) {
    let mut lines = vec![(lock.name.clone(), Meaning::Title)];
    let holders: Vec<_> = lock.holders.iter().map(|(name, how)| format!("{name} {how}")).collect();
    if !holders.is_empty() {
        lines.push((format!("held by {}", holders.join(", ")), Meaning::Muted));
    }
    if let Some(task) = &lock.reserved_for {
        lines.push((format!("kept free for {task}"), Meaning::Running));
    }
    let waiters: Vec<_> = lock.line.iter().enumerate().map(|(i, name)| format!("{} {name}", i + 1)).collect();
    if !waiters.is_empty() {
        let more = lock.waiting.saturating_sub(lock.line.len());
        let more = if more > 0 { format!("  and {more} more") } else { String::new() };
        lines.push((format!("line {}{more}", waiters.join("  ")), Meaning::Muted));
    }
    let wrapped = lines.into_iter().flat_map(|(line, meaning)| {
        let parts = wrap(&line, usize::from(area.width.saturating_sub(2)));
        parts.into_iter().map(move |part| (part, meaning))
    });
    for (i, (line, meaning)) in wrapped.take(usize::from(area.height)).enumerate() {
        pen.text(area.x + 1, area.y + i as u16, area.width.saturating_sub(1), &line, meaning);
    }
}
