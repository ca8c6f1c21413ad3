//! The shapes on the screen. All is drawn in Unicode once; where the terminal has only ASCII, the drawn cells are
//! translated, so that nothing can be forgotten. Every shape is one cell wide everywhere.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::Phase;
use crate::text;

use super::theme::Meaning;

/// A phase's glyph, word and meaning. Colour is never the only difference: glyph and word tell it too.
pub fn phase(phase: Phase) -> (&'static str, &'static str, Meaning) {
    match phase {
        Phase::Running => ("●", "running", Meaning::Running),
        Phase::Stopping => ("◍", "stopping", Meaning::Warn),
        Phase::Ready => ("◎", "ready", Meaning::Waiting),
        Phase::Delayed => ("↻", "delayed", Meaning::Warn),
        Phase::Awaiting => ("◔", "awaiting", Meaning::Warn),
        Phase::Waiting => ("○", "waiting", Meaning::Waiting),
        Phase::Held => ("⊘", "held", Meaning::Held),
        Phase::Blocked => ("◌", "blocked", Meaning::Off),
        Phase::Failed => ("✗", "failed", Meaning::Bad),
        Phase::Lost => ("‽", "lost", Meaning::Bad),
        Phase::Cancelled => ("⊗", "cancelled", Meaning::Off),
        Phase::Skipped => ("»", "skipped", Meaning::Off),
        Phase::Succeeded => ("✓", "done", Meaning::Done),
    }
}

/// Eighths of a cell, rising.
pub const LEVELS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// The level of a share between 0 and 1; anything above 0 is seen.
pub fn level(share: f32) -> &'static str {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let index = (share * 8.0).ceil() as usize;
    LEVELS[index.clamp(1, 8)]
}

/// Turns every cell of a drawn screen into ASCII.
pub fn to_ascii(buffer: &mut Buffer, area: Rect) {
    for_each_foreign(buffer, area, ascii);
}

/// The last line of defence: whatever a pane forgot to clean cannot leave the process.
pub fn neutralise(buffer: &mut Buffer, area: Rect) {
    for_each_foreign(buffer, area, |symbol| (!symbol.chars().all(text::is_plain)).then_some("�"));
}

fn for_each_foreign(buffer: &mut Buffer, area: Rect, change: impl Fn(&str) -> Option<&'static str>) {
    let area = area.intersection(buffer.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            let symbol = buffer[(x, y)].symbol();
            if symbol.as_bytes().first().is_some_and(|b| (0x20..0x7f).contains(b)) && symbol.len() == 1 {
                continue;
            }
            let wide = text::width(symbol) > 1;
            if let Some(plain) = change(symbol) {
                buffer[(x, y)].set_symbol(plain);
                if wide && x + 1 < area.right() {
                    buffer[(x + 1, y)].set_symbol(plain);
                }
            }
        }
    }
}

fn ascii(symbol: &str) -> Option<&'static str> {
    Some(match symbol {
        "─" | "━" | "╌" => "-",
        "═" => "=",
        "│" | "┃" | "║" => "|",
        "┌" | "┐" | "└" | "┘" | "┏" | "┓" | "┗" | "┛" | "├" | "┤" | "╸" => "+",
        "●" | "◍" => "*",
        "◎" | "○" => "o",
        "◌" => ".",
        "↻" => "~",
        "⊘" => "=",
        "✗" | "⊗" => "x",
        "‽" => "?",
        "✓" => "v",
        "»" => ">",
        "▲" => "!",
        "▼" => "v",
        "▸" | "▶" => ">",
        "█" | "▰" | "▇" | "▆" => "#",
        "▓" => "=",
        "▒" => ":",
        "◆" => "*",
        "▅" | "▄" => "+",
        "▃" | "▂" => "-",
        "▁" => "_",
        "░" | "▱" | "·" => ".",
        "…" => "~",
        "—" | "–" | "−" => "-",
        "“" | "”" => "\"",
        "’" => "'",
        "→" => ">",
        "←" => "<",
        "↑" => "^",
        "↓" => "v",
        "×" => "x",
        "±" => "~",
        "␛" => "^",
        "↶" | "≤" => "<",
        "≈" => "~",
        "⏎" => "/",
        "" => return None,
        _ => "?",
    })
}
