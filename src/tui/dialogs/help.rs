//! All keys, from the table.

use super::super::keymap::{self, BINDINGS, CONTEXTS};
use super::super::paint::{Pen, Words, w};
use super::super::theme::Meaning;
use super::super::view::Scene;
use super::{keys, popup, scrolled};

/// Cells for the keys.
const KEYS: usize = 16;

pub(super) fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, scroll: usize) {
    let (width, height) = scene.model.size;
    let foot = keys(keymap::Context::Popup);
    let inside = popup(pen, (width.saturating_sub(8).min(100), height.saturating_sub(4)), "Keys", &foot);
    scrolled(pen, inside, &lines(usize::from(inside.width)), scroll);
}

/// The lines of the help on a screen of this width.
pub fn lines(width: usize) -> Vec<Words> {
    let mut out = Vec::new();
    for context in CONTEXTS {
        if !out.is_empty() {
            out.push(Words::new());
        }
        out.push(vec![w(keymap::title(context), Meaning::Title)]);
        for binding in BINDINGS.iter().filter(|b| b.context == context) {
            let labels = keymap::labels(binding).join(" ");
            let labels = if labels.is_empty() { ": .".to_owned() } else { labels };
            let cells = KEYS.min(width / 3);
            let label = crate::text::fit(&labels, cells).into_owned();
            let pad = " ".repeat(cells + 2 - crate::text::width(&label).min(cells));
            let mut words = vec![w("  ", Meaning::Base), w(label, Meaning::Key), w(pad, Meaning::Base)];
            words.push(w(binding.help, Meaning::Base));
            if binding.asks {
                words.push(w("  (asks)", Meaning::Muted));
            }
            out.push(words);
        }
    }
    out
}
