//! What lies over the panes. A popup takes what it needs, never more than the screen; each is drawn from the model, the
//! snapshot and the key table.

pub mod help;
mod lists;
mod questions;
pub mod tour;
pub mod which_key;

use ratatui::layout::Rect;

use super::keymap::{self, BINDINGS, Context};
use super::model::Dialog;
use super::paint::{Pen, Words, w};
use super::theme::Meaning;
use super::view::Scene;

pub(super) use lists::{message_lines, why_width};

/// Draws the open dialog, if there is one.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let Some(dialog) = &scene.model.dialog else { return };
    match dialog {
        Dialog::Help { scroll } => help::draw(pen, scene, *scroll),
        Dialog::Tour { page } => tour::draw(pen, scene, *page),
        Dialog::Why { scroll } => lists::why(pen, scene, *scroll),
        Dialog::Actions { scroll } => lists::actions(pen, scene, *scroll),
        Dialog::Shared { scroll } => lists::shared(pen, scene, *scroll),
        Dialog::Messages { scroll } => lists::messages(pen, scene, *scroll),
        Dialog::Waits { row } => lists::waits(pen, scene, *row),
        Dialog::Alerts { row } => lists::alerts(pen, scene, *row),
        Dialog::Menu { row } => lists::menu(pen, scene, *row),
        Dialog::Themes { row, .. } => lists::themes(pen, scene, *row),
        Dialog::Palette { field, row } => lists::palette(pen, scene, field, *row),
        Dialog::Filter { field, problem, .. } => questions::filter(pen, scene, field, problem.as_deref()),
        Dialog::Search { field, problem } => questions::search(pen, scene, field, problem.as_deref()),
        Dialog::Say { field } => questions::say(pen, scene, field),
        Dialog::Write { field, task, problem } => {
            let name = task.as_ref().map(|(_, name)| name.as_str());
            questions::write(pen, scene, field, name, problem.as_deref());
        }
        Dialog::Confirm { title, lines, yes, .. } => questions::confirm(pen, scene, title, lines, yes),
        Dialog::Quit => questions::quit(pen, scene),
    }
}

/// A popup of at most this size in the middle of the screen; returns its inside. On a screen too small for a frame it is
/// the whole screen.
fn popup(pen: &mut Pen<'_>, size: (u16, u16), title: &str, foot: &[(String, Meaning)]) -> Rect {
    let screen = pen.buffer.area;
    let (width, height) = (size.0.min(screen.width), size.1.min(screen.height));
    let area = Rect::new((screen.width - width) / 2, (screen.height - height) / 2, width, height);
    framed(pen, area, title, foot)
}

fn framed(pen: &mut Pen<'_>, area: Rect, title: &str, foot: &[(String, Meaning)]) -> Rect {
    pen.clear(area, Meaning::Popup);
    if area.width < 8 || area.height < 3 {
        return area;
    }
    let inside = pen.frame(area, &[w(title, Meaning::Title)], foot, true);
    Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside }
}

/// The keys that hold in a dialog, from the table.
fn keys(context: Context) -> Words {
    let mut words = Words::new();
    for binding in BINDINGS.iter().filter(|b| b.context == context && !b.hint.is_empty()) {
        if !words.is_empty() {
            words.push(w(" · ", Meaning::Muted));
        }
        words.push(w(keymap::label(binding), Meaning::Key));
        words.push(w(format!(" {}", binding.hint), Meaning::Muted));
    }
    words
}

/// Draws lines from `scroll` on, as many as there is room for.
fn scrolled(pen: &mut Pen<'_>, area: Rect, lines: &[Words], scroll: usize) {
    let rows = usize::from(area.height);
    let scroll = scroll.min(lines.len().saturating_sub(rows));
    for (i, words) in lines.iter().skip(scroll).take(rows).enumerate() {
        pen.words(area.x, area.y + i as u16, area.width, words);
    }
}

/// Draws rows with one chosen, which is kept in sight.
fn chosen(pen: &mut Pen<'_>, area: Rect, lines: &[Words], row: usize) {
    let rows = usize::from(area.height).max(1);
    let row = row.min(lines.len().saturating_sub(1));
    let first = (row + 1).saturating_sub(rows);
    for (i, words) in lines.iter().enumerate().skip(first).take(usize::from(area.height)) {
        let y = area.y + (i - first) as u16;
        pen.words(area.x + 1, y, area.width.saturating_sub(1), words);
        if i == row {
            pen.select(Rect { y, height: 1, ..area }, true);
        }
    }
}
