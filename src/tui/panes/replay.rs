//! The strip under a replay: which moment is shown, and where in the recording that is. Nothing else is drawn otherwise.

use ratatui::layout::Rect;

use super::super::format;
use super::super::paint::{Pen, Words, w, width_of};
use super::super::theme::Meaning;
use super::super::view::Scene;
use crate::engine::ids::Time;
use crate::snapshot::{ReplayMark, ReplayStrip};

/// A line of time shorter than this says nothing.
const LEAST: u16 = 12;

fn glyph(mark: ReplayMark) -> (&'static str, Meaning) {
    match mark {
        ReplayMark::Asked => ("▴", Meaning::Key),
        ReplayMark::Goal => ("◆", Meaning::Good),
        ReplayMark::Opened => ("◌", Meaning::Muted),
        ReplayMark::Amiss => ("▲", Meaning::Warn),
        ReplayMark::Failed => ("✗", Meaning::Bad),
    }
}

/// Where a time stands on a line of so many cells.
fn cell(strip: &ReplayStrip, at: Time, cells: u16) -> u16 {
    let (whole, past) = (strip.last.since(strip.first).0.max(1), at.since(strip.first).0);
    (past as f64 / whole as f64 * f64::from(cells - 1)).round() as u16
}

/// Draws it into one line.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, strip: &ReplayStrip, area: Rect) {
    let zone = &scene.model.zone;
    let (mark, word) = if strip.playing { ("▸", Meaning::Running) } else { ("‖", Meaning::Warn) };
    let mut left: Words = vec![
        w(mark, word),
        w(format!(" {}.{:03}", format::clock(strip.at, zone), strip.at.0 % 1000), Meaning::Title),
        w(format!("  {}×", strip.speed), Meaning::Base),
        w(format!("  fact {}/{}", format::count(strip.count), format::count(strip.of)), Meaning::Muted),
    ];
    if strip.living {
        left.push(w("  as it was when this began", Meaning::Muted));
    }
    if width_of(&left) + usize::from(LEAST) + 4 > usize::from(area.width) {
        left.truncate(3);
    }
    let used = pen.words(area.x + 1, area.y, area.width.saturating_sub(1), &left) + 3;
    let cells = area.width.saturating_sub(used + 1);
    if cells < LEAST {
        return;
    }
    let (x, y) = (area.x + used, area.y);
    pen.text(x, y, cells, &format!("├{}┤", "─".repeat(usize::from(cells) - 2)), Meaning::Border);
    // What matters most is drawn last, over what shares its cell.
    let mut marks: Vec<_> = strip.marks.clone();
    marks.sort_by_key(|(_, mark)| *mark);
    for (at, mark) in marks {
        let (glyph, meaning) = glyph(mark);
        pen.text(x + cell(strip, at, cells), y, 1, glyph, meaning);
    }
    pen.text(x + cell(strip, strip.at, cells), y, 1, "█", Meaning::Focus);
}
