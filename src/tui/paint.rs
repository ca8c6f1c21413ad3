//! The brush: every word that reaches the screen goes through [`Pen::text`], which cleans it, cuts it to its column and
//! stays inside the screen. Knows nothing of what is drawn.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use crate::text;

use super::glyphs;
use super::theme::{Meaning, Theme};

/// Words with their meanings, to be drawn one after another.
pub type Words = Vec<(String, Meaning)>;

/// Shorthand for one run of words.
pub fn w(text: impl Into<String>, meaning: Meaning) -> (String, Meaning) {
    (text.into(), meaning)
}

/// Draws on a buffer with a theme.
pub struct Pen<'a> {
    /// The screen.
    pub buffer: &'a mut Buffer,
    /// Its colours.
    pub theme: &'a Theme,
    /// Parts of bars differ by their glyph, for there is no colour (or no block) to tell them apart.
    pub patterned: bool,
}

impl Pen<'_> {
    /// Draws `text` in at most `width` cells; returns how many it took.
    pub fn text(&mut self, x: u16, y: u16, width: u16, text: &str, meaning: Meaning) -> u16 {
        let area = self.buffer.area;
        if y < area.top() || y >= area.bottom() || x < area.left() || x >= area.right() {
            return 0;
        }
        let width = width.min(area.right() - x);
        let clean = text::clean(text);
        let fitted = text::fit(&clean, usize::from(width));
        let (end, _) = self.buffer.set_stringn(x, y, fitted.as_ref(), usize::from(width), self.look(meaning));
        end - x
    }

    /// Plain text stands on the ground that is there: that of the screen, of a popup, of a selected row.
    fn look(&self, meaning: Meaning) -> Style {
        let style = self.theme.of(meaning);
        if meaning == Meaning::Base { Style { bg: None, ..style } } else { style }
    }

    /// As [`text`](Self::text), in a look of its own: for output that brings its colours.
    pub fn styled(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
        let area = self.buffer.area;
        if y < area.top() || y >= area.bottom() || x < area.left() || x >= area.right() {
            return 0;
        }
        let width = width.min(area.right() - x);
        let clean = text::clean(text);
        let (end, _) = self.buffer.set_stringn(x, y, clean.as_ref(), usize::from(width), style);
        end - x
    }

    /// Draws `text` so that it ends before column `end`.
    pub fn right(&mut self, end: u16, y: u16, width: u16, text: &str, meaning: Meaning) -> u16 {
        let clean = text::clean(text);
        let cells = u16::try_from(text::width(&clean)).unwrap_or(u16::MAX).min(width);
        self.text(end.saturating_sub(cells), y, cells, &clean, meaning)
    }

    /// Draws words one after another; returns how many cells they took.
    pub fn words(&mut self, x: u16, y: u16, width: u16, words: &[(String, Meaning)]) -> u16 {
        let mut used = 0;
        for (text, meaning) in words {
            if used >= width {
                break;
            }
            used += self.text(x.saturating_add(used), y, width - used, text, *meaning);
        }
        used
    }

    /// Draws words so that they end before column `end`.
    pub fn words_right(&mut self, end: u16, y: u16, width: u16, words: &[(String, Meaning)]) -> u16 {
        let cells = u16::try_from(width_of(words)).unwrap_or(u16::MAX).min(width);
        self.words(end.saturating_sub(cells), y, cells, words)
    }

    /// Lays a meaning over an area that is drawn already.
    pub fn lay(&mut self, area: Rect, meaning: Meaning) {
        self.buffer.set_style(area, self.theme.of(meaning));
    }

    /// Empties an area for a popup.
    pub fn clear(&mut self, area: Rect, meaning: Meaning) {
        let area = area.intersection(self.buffer.area);
        let style = Style::reset().patch(self.theme.of(Meaning::Base)).patch(self.theme.of(meaning));
        for y in area.top()..area.bottom() {
            for x in area.left()..area.right() {
                self.buffer[(x, y)].set_symbol(" ").set_style(style);
            }
        }
        // A wide character that reached into the area would push it to the right.
        for y in area.top()..area.bottom() {
            if area.left() > self.buffer.area.left() && text::width(self.buffer[(area.left() - 1, y)].symbol()) > 1 {
                self.buffer[(area.left() - 1, y)].set_symbol(" ");
            }
        }
    }

    /// A frame with a title above and words in its lower edge; returns its inside. The one that has the keys is heavy.
    pub fn frame(&mut self, area: Rect, title: &[(String, Meaning)], foot: &[(String, Meaning)], focus: bool) -> Rect {
        let area = area.intersection(self.buffer.area);
        if area.width < 2 || area.height < 2 {
            return Rect { width: 0, height: 0, ..area };
        }
        let [across, down, corners @ ..] =
            if focus { ["━", "┃", "┏", "┓", "┗", "┛"] } else { ["─", "│", "┌", "┐", "└", "┘"] };
        let meaning = if focus { Meaning::Focus } else { Meaning::Border };
        let (right, bottom) = (area.right() - 1, area.bottom() - 1);
        for x in area.left() + 1..right {
            self.cell(x, area.top(), across, meaning);
            self.cell(x, bottom, across, meaning);
        }
        for y in area.top() + 1..bottom {
            self.cell(area.left(), y, down, meaning);
            self.cell(right, y, down, meaning);
        }
        let places = [(area.left(), area.top()), (right, area.top()), (area.left(), bottom), (right, bottom)];
        for ((x, y), corner) in places.into_iter().zip(corners) {
            self.cell(x, y, corner, meaning);
        }
        self.edge(area, area.top(), title, false);
        self.edge(area, bottom, foot, true);
        Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 }
    }

    fn edge(&mut self, area: Rect, y: u16, words: &[(String, Meaning)], right: bool) {
        let room = area.width.saturating_sub(4);
        if words.is_empty() || room < 3 {
            return;
        }
        let cells = u16::try_from(width_of(words)).unwrap_or(u16::MAX).min(room - 2);
        let x = if right { area.right() - 4 - cells } else { area.left() + 1 };
        // The frame's own look must not show through its words.
        for x in x..x + cells + 2 {
            if self.buffer.area.contains((x, y).into()) {
                let cell = &mut self.buffer[(x, y)];
                cell.set_symbol(" ");
                cell.fg = self.theme.of(Meaning::Base).fg.unwrap_or(Color::Reset);
                cell.modifier = Modifier::empty();
            }
        }
        self.words(x + 1, y, cells, words);
    }

    /// One cell.
    pub fn cell(&mut self, x: u16, y: u16, symbol: &str, meaning: Meaning) {
        if self.buffer.area.contains((x, y).into()) {
            self.buffer[(x, y)].set_symbol(symbol).set_style(self.theme.of(meaning));
        }
    }

    /// A line across.
    pub fn rule(&mut self, area: Rect) {
        for x in area.left()..area.right() {
            self.cell(x, area.top(), "─", Meaning::Border);
        }
    }

    /// A bar of parts (share of the whole, glyph, meaning), the rest filled with `rest`. A part above 0 is seen.
    pub fn bar(&mut self, x: u16, y: u16, width: u16, parts: &[(f64, &str, Meaning)], rest: &str) {
        let mut at = 0;
        let mut sum = 0.0;
        for (share, glyph, meaning) in parts {
            sum += share;
            let least = u16::from(*share > 0.0);
            let end = ((sum * f64::from(width)).floor() as u16).max(at + least).min(width);
            let glyph = if self.patterned { glyph } else { solid(glyph) };
            for i in at..end {
                self.cell(x + i, y, glyph, *meaning);
            }
            at = end;
        }
        let rest = if self.patterned { rest } else { solid(rest) };
        for i in at..width {
            self.cell(x + i, y, rest, Meaning::BarRest);
        }
    }

    /// The last `width` samples as a small graph, right-aligned; shares of `top`.
    pub fn graph(&mut self, x: u16, y: u16, width: u16, samples: &[f32], top: f32, meaning: Meaning) {
        let shown = &samples[samples.len().saturating_sub(usize::from(width))..];
        let start = x + width - u16::try_from(shown.len()).unwrap_or(width);
        for i in x..start {
            self.cell(i, y, "▁", Meaning::BarRest);
        }
        for (i, sample) in shown.iter().enumerate() {
            let quiet = *sample <= 0.0;
            let glyph = glyphs::level(if top > 0.0 { sample / top } else { 0.0 });
            self.cell(start + i as u16, y, glyph, if quiet { Meaning::BarRest } else { meaning });
        }
    }

    /// Marks a row as chosen.
    pub fn select(&mut self, area: Rect, focused: bool) {
        self.lay(area, if focused { Meaning::Selected } else { Meaning::Marked });
        // On a reversed ground dim text cannot be read, and coloured text would make a patchwork.
        for x in area.left()..area.right() {
            if self.buffer.area.contains((x, area.y).into()) {
                let cell = &mut self.buffer[(x, area.y)];
                if cell.modifier.contains(Modifier::REVERSED) {
                    cell.modifier.remove(Modifier::DIM);
                    (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
                }
            }
        }
    }
}

/// Shades are noise where colours tell the parts apart.
fn solid(glyph: &str) -> &str {
    if matches!(glyph, "▒" | "▓" | "░") { "█" } else { glyph }
}

/// Cells of words.
pub fn width_of(words: &[(String, Meaning)]) -> usize {
    words.iter().map(|(text, _)| text::width(&text::clean(text))).sum()
}

/// Breaks `text` at spaces into lines of at most `width` cells; a longer word is broken where it must be.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let clean = text::clean(text);
    let mut lines = vec![String::new()];
    for word in clean.split(' ') {
        let mut word = word.to_owned();
        loop {
            let line = lines.last_mut().expect("there is always one");
            let gap = usize::from(!line.is_empty());
            if text::width(line) + gap + text::width(&word) <= width {
                line.extend(std::iter::repeat_n(' ', gap));
                line.push_str(&word);
                break;
            }
            if gap == 1 && text::width(&word) <= width {
                lines.push(String::new());
                continue;
            }
            let room = width.saturating_sub(text::width(line) + gap);
            let head = head(&word, room);
            if head == 0 {
                if line.is_empty() {
                    // A single wide character in one cell of room: it is shown cut rather than for ever retried.
                    line.push('…');
                    break;
                }
                lines.push(String::new());
                continue;
            }
            line.extend(std::iter::repeat_n(' ', gap));
            line.push_str(&word[..head]);
            word = word[head..].to_owned();
            lines.push(String::new());
        }
    }
    lines
}

/// How many bytes of `text` fit `cells`.
fn head(text: &str, cells: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if used > cells {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_at_spaces_and_long_ones_are_broken() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("日本", 1), ["…"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
