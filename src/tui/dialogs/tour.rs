//! The tour: what the console shows and which keys to begin with, a page at a time; its first page greets whoever starts the
//! console for the first time. Its keys come from the key table, so it cannot tell of others than there are.

use super::super::keymap::{self, Act, BINDINGS, Context};
use super::super::paint::{Pen, Words, w, wrap};
use super::super::theme::Meaning;
use super::super::view::Scene;
use super::{keys, popup};

/// A page.
pub struct Page {
    title: &'static str,
    /// Acts whose keys are shown, and what is said of them.
    lines: &'static [(&'static [Act], &'static str)],
}

/// Cells for the keys.
const KEYS: usize = 10;
/// All pages are as high, so that nothing jumps.
const SIZE: (u16, u16) = (74, 13);

/// In their order.
pub static PAGES: &[Page] = &[
    Page {
        title: "Welcome to Quarterdeck",
        lines: &[
            (&[Act::Down, Act::Up, Act::Open], "go through the queue; read what a task writes"),
            (&[Act::Why], "says why a task waits, and what for"),
            (&[Act::Undo], "takes back what you did; what cannot be undone asks first"),
            (&[Act::Palette, Act::Help], "find any command by its name; show all keys"),
            (&[Act::Quit], "leaves: what runs can go on, and qd resume comes back to it"),
        ],
    },
    Page {
        title: "What you see",
        lines: &[
            (
                &[],
                "Queue: what runs comes first, then what is next, then what waits, with the reason. The marks: ● runs, ◎ next, ○ waits, ◔ asks you, ↻ tries again, ✓ done, ✗ failed.",
            ),
            (
                &[],
                "Agents: who works, and how much. Locks: who holds what is scarce, and who is in line. Progress: how far, how fast.",
            ),
            (&[Act::NextPane, Act::Zoom], "go to the next pane; show one alone"),
        ],
    },
    Page {
        title: "To steer",
        lines: &[
            (&[Act::Raise, Act::Lower], "a higher or lower priority: it starts earlier or later"),
            (&[Act::Hold, Act::Cancel], "hold a task, or let it go again; cancel it"),
            (&[Act::Retry, Act::Fallback], "queue what failed again; do its next fallback now"),
            (&[Act::Approve, Act::Reject], "answer what asks: yes or no, kept with your name"),
            (&[Act::Pause], "start nothing new, and go on again"),
        ],
    },
    Page {
        title: "To read",
        lines: &[
            (&[Act::Open], "the log of a task; it follows until you scroll"),
            (&[Act::Filter], "only some tasks: state:failed, stage:build, prio>40, a word"),
            (&[Act::FirstFailed], "to the first task that failed"),
            (&[Act::Alerts, Act::Actions], "what needs you; who did what, also rules and scripts"),
            (&[Act::Menu], "all that can be done with this task, and why not the rest"),
        ],
    },
    Page {
        title: "More screens",
        lines: &[
            (&[Act::Timeline], "what ran when, where, and what it waited for"),
            (&[Act::Graph], "what a task needs, and what needs it"),
            (&[Act::Shared, Act::Messages], "values that tasks share; what tasks and people say"),
            (&[Act::Rewind], "the session as it was, at any moment"),
            (&[Act::Themes], "colours: dark, light, for every eye, for any terminal"),
        ],
    },
    Page {
        title: "To leave and to come back",
        lines: &[
            (&[Act::Quit], "asks what is to happen with what runs: it can go on without you"),
            (&[], "qd resume goes on with a session, also after a crash: nothing that is done runs again."),
            (
                &[],
                "qd attach opens another console on it, qd ctl steers it from a script, qd report tells what it came to.",
            ),
        ],
    },
];

/// The key of an act outside of dialogs, as the table has it.
fn key(act: Act) -> Option<String> {
    let binding = BINDINGS.iter().find(|one| one.act == act && !one.keys.is_empty() && is_of_panes(one.context))?;
    Some(keymap::label(binding))
}

fn is_of_panes(context: Context) -> bool {
    matches!(context, Context::Anywhere | Context::Task | Context::Log)
}

pub(super) fn draw(pen: &mut Pen<'_>, _scene: &Scene<'_>, page: usize) {
    let Some(shown) = PAGES.get(page) else { return };
    let title = format!("{}  {}/{}", shown.title, page + 1, PAGES.len());
    let inside = popup(pen, SIZE, &title, &keys(Context::Tour));
    let room = usize::from(inside.width).saturating_sub(KEYS + 1);
    let mut y = inside.y + u16::from(inside.height > 8);
    for (acts, text) in shown.lines {
        let labels: Vec<String> = acts.iter().filter_map(|act| key(*act)).collect();
        // Without keys it is a text over the whole width.
        let (at, width) = if labels.is_empty() { (0, usize::from(inside.width)) } else { (KEYS + 1, room) };
        let mut words = Words::new();
        for label in labels {
            words.push(w(format!("{label} "), Meaning::Key));
        }
        pen.words(inside.x, y, KEYS as u16, &words);
        for line in wrap(text, width) {
            if y >= inside.bottom() {
                return;
            }
            pen.text(inside.x + at as u16, y, width as u16, &line, Meaning::Base);
            y += 1;
        }
        if acts.is_empty() {
            y += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_of_the_tour_has_a_key() {
        for page in PAGES {
            for act in page.lines.iter().flat_map(|(acts, _)| *acts) {
                assert!(key(*act).is_some(), "{act:?} of {}", page.title);
            }
        }
    }
}
