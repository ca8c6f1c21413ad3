//! Popups with rows: why, alerts, who did what, palette, menu, themes.

use ratatui::layout::Rect;
use tui_textarea::TextArea;

use super::super::format;
use super::super::keymap::Context;
use super::super::paint::{Pen, Words, w, wrap};
use super::super::panes::detail;
use super::super::theme::{BUILT_IN, Meaning};
use super::super::update::{Entry, entries, menu as menu_entries};
use super::super::view::Scene;
use crate::engine::ids::Time;
use crate::snapshot::Snapshot;

use super::{chosen, keys, popup, questions, scrolled};

fn height_for(lines: usize, scene: &Scene<'_>) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(2).min(scene.model.size.1.saturating_sub(2)).max(3)
}

/// Cells for a line of the popup that says why, on a screen so wide.
pub(in super::super) fn why_width(screen: u16) -> usize {
    usize::from(screen.saturating_sub(8).min(86))
}

pub(super) fn why(pen: &mut Pen<'_>, scene: &Scene<'_>, scroll: usize) {
    let room = why_width(scene.model.size.0);
    let width = room as u16 + 4;
    let name = scene.model.task(scene.snapshot).map_or("", |row| &row.name);
    let lines = detail::why_within(scene.model, scene.snapshot, room);
    let inside = popup(pen, (width, height_for(lines.len(), scene)), &format!("Why {name}"), &why_keys());
    scrolled(pen, inside, &lines, scroll);
}

fn why_keys() -> Words {
    let mut words = vec![w("y", Meaning::Key), w(" copy · ", Meaning::Muted)];
    words.extend(keys(Context::Popup));
    words
}

pub(super) fn actions(pen: &mut Pen<'_>, scene: &Scene<'_>, scroll: usize) {
    let line = |action: &crate::snapshot::Action| {
        vec![
            w(format!("{}  ", format::clock(action.at, &scene.model.zone)), Meaning::Muted),
            w(format!("{:<6}", action.who), Meaning::Key),
            w(&action.text, Meaning::Base),
        ]
    };
    let mut lines: Vec<Words> = scene.snapshot.actions.iter().map(line).collect();
    if lines.is_empty() {
        lines.push(vec![w("nobody has done anything yet", Meaning::Muted)]);
    }
    let size = (scene.model.size.0.saturating_sub(4).min(90), height_for(lines.len(), scene));
    let inside = popup(pen, size, "Who did what", &keys(Context::Popup));
    scrolled(pen, inside, &lines, scroll);
}

/// Cells for a key and for who set it.
const KEY_CELLS: usize = 24;
const WHO_CELLS: usize = 16;

/// Cut or filled up to so many cells.
fn pad(text: &str, cells: usize) -> String {
    let cut = crate::text::fit(text, cells);
    let rest = cells.saturating_sub(crate::text::width(&cut));
    format!("{cut}{:rest$}", "")
}

/// The lines of all messages in so many columns, newest first: a long one goes on below itself.
fn message_words(snapshot: &Snapshot, now: Time, width: u16) -> Vec<Words> {
    let cells = usize::from(width).saturating_sub(WHO_CELLS + 16).max(20);
    let mut lines = Vec::new();
    for row in &snapshot.posts {
        let meaning = if row.priority > 0 { Meaning::Warn } else { Meaning::Base };
        let text = crate::text::clean(&row.text);
        let mut first = true;
        for part in wrap(&text, cells) {
            let (age, who) = match std::mem::take(&mut first) {
                true => (format::short(now.since(row.at)), pad(&row.by, WHO_CELLS)),
                false => (String::new(), pad("", WHO_CELLS)),
            };
            lines.push(vec![
                w(format!("{age:>6}  "), Meaning::Muted),
                w(who, Meaning::Title),
                w(format!("  {part}"), meaning),
            ]);
        }
    }
    lines
}

/// How many lines the messages take.
pub(in super::super) fn message_lines(snapshot: &Snapshot, columns: u16) -> usize {
    message_words(snapshot, Time(0), columns.saturating_sub(4).min(110)).len().max(2)
}

pub(super) fn messages(pen: &mut Pen<'_>, scene: &Scene<'_>, scroll: usize) {
    let width = scene.model.size.0.saturating_sub(4).min(110);
    let mut lines = message_words(scene.snapshot, scene.model.now, width);
    if lines.is_empty() {
        lines.push(vec![w("nobody has said anything yet", Meaning::Muted)]);
        lines.push(vec![w("you do: :say; a task, a script or another terminal does: qd msg TEXT", Meaning::Muted)]);
    }
    let inside = popup(pen, (width, height_for(lines.len(), scene)), "Messages", &why_keys());
    scrolled(pen, inside, &lines, scroll);
}

pub(super) fn shared(pen: &mut Pen<'_>, scene: &Scene<'_>, scroll: usize) {
    let (rows, count) = &scene.snapshot.shared;
    let now = scene.model.now;
    let width = scene.model.size.0.saturating_sub(4).min(110);
    let head = format!("{} {:>7} {:>6}  {} VALUE", pad("KEY", KEY_CELLS), "VERSION", "AGE", pad("BY", WHO_CELLS));
    let line = |row: &crate::snapshot::SharedRow| {
        vec![
            w(pad(&row.key, KEY_CELLS), Meaning::Title),
            w(format!(" {:>7} {:>6}  ", row.version, format::short(now.since(row.at))), Meaning::Muted),
            w(pad(&row.by, WHO_CELLS), Meaning::Muted),
            w(format!(" {}", row.value), Meaning::Base),
        ]
    };
    let mut lines: Vec<Words> = Vec::new();
    if rows.is_empty() {
        lines.push(vec![w("nothing is shared yet", Meaning::Muted)]);
        lines.push(vec![w("a task or a script shares a value: qd state set KEY VALUE", Meaning::Muted)]);
    } else {
        lines.push(vec![w(head, Meaning::Muted)]);
        lines.extend(rows.iter().map(line));
    }
    if *count > rows.len() {
        lines.push(vec![w(format!("{} more: qd state list", count - rows.len()), Meaning::Muted)]);
    }
    let inside = popup(pen, (width, height_for(lines.len(), scene)), "Shared state", &why_keys());
    scrolled(pen, inside, &lines, scroll);
}

/// What keeps others waiting, with those that wait below it.
pub(super) fn waits(pen: &mut Pen<'_>, scene: &Scene<'_>, row: usize) {
    let rows = &scene.snapshot.waits;
    let width = scene.model.size.0.saturating_sub(4).min(110);
    let glyph = "└ ";
    let line = |row: &crate::snapshot::waits::WaitRow| {
        let indent = row.depth.min(12) * 2;
        let mark = if row.depth > 0 {
            format!("{:indent$}{glyph}", "", indent = indent.saturating_sub(2))
        } else {
            String::new()
        };
        let meaning = if row.waits { Meaning::Base } else { Meaning::Title };
        let text = if row.again { "see above".to_owned() } else { row.text.clone() };
        vec![
            w(mark, Meaning::Muted),
            w(crate::text::fit(&crate::text::clean(&row.name), 40).into_owned(), meaning),
            w(format!("  {text}"), if row.waits && !row.again { Meaning::Warn } else { Meaning::Muted }),
        ]
    };
    let lines: Vec<Words> = rows.iter().map(line).collect();
    let size = (width, height_for(lines.len().max(2), scene));
    let inside = popup(pen, size, "Who waits for whom", &keys(Context::Choice));
    if lines.is_empty() {
        pen.text(inside.x, inside.y, inside.width, "nobody waits for a lock or a pool", Meaning::Good);
        let more = "a task takes them at its start (uses), or while it runs: qd lock";
        pen.text(inside.x, inside.y + 1, inside.width, more, Meaning::Muted);
    }
    chosen(pen, inside, &lines, row);
}

pub(super) fn alerts(pen: &mut Pen<'_>, scene: &Scene<'_>, row: usize) {
    let line = |alert: &crate::snapshot::Alert| {
        let meaning = if alert.bad { Meaning::Bad } else { Meaning::Warn };
        vec![
            w(if alert.bad { "✗ " } else { "▲ " }, meaning),
            w(format!("{}  ", format::clock(alert.at, &scene.model.zone)), Meaning::Muted),
            w(&alert.text, Meaning::Base),
        ]
    };
    let lines: Vec<Words> = scene.snapshot.alerts.iter().map(line).collect();
    let size = (scene.model.size.0.saturating_sub(4).min(96), height_for(lines.len().max(1), scene));
    let inside = popup(pen, size, "Alerts: what needs you", &keys(Context::Choice));
    if lines.is_empty() {
        pen.text(inside.x, inside.y, inside.width, "all is well", Meaning::Good);
    }
    chosen(pen, inside, &lines, row);
}

/// Commands with their keys at the right; what cannot be done now says why.
fn commands(pen: &mut Pen<'_>, area: Rect, all: &[Entry], row: usize) {
    let lines: Vec<Words> = all
        .iter()
        .map(|entry| {
            let meaning = if entry.why_not.is_some() { Meaning::Muted } else { Meaning::Base };
            vec![w(entry.help, meaning)]
        })
        .collect();
    let rows = usize::from(area.height).max(1);
    let first = (row.min(lines.len().saturating_sub(1)) + 1).saturating_sub(rows);
    for (i, entry) in all.iter().enumerate().skip(first).take(usize::from(area.height)) {
        let y = area.y + (i - first) as u16;
        let key = pen.right(area.right(), y, 8, &entry.key, Meaning::Key);
        let help = u16::try_from(crate::text::width(entry.help)).unwrap_or(u16::MAX);
        if let Some(why) = &entry.why_not {
            let room = area.width.saturating_sub(help + key.max(8) + 4);
            if room > 8 {
                pen.text(area.x + 1 + help + 2, y, room, &format!("— {why}"), Meaning::Warn);
            }
        }
    }
    let left = Rect { width: area.width.saturating_sub(9), ..area };
    chosen(pen, left, &lines, row);
    if !lines.is_empty() {
        let y = area.y + (row.min(lines.len() - 1) - first) as u16;
        pen.select(Rect { y, height: 1, ..area }, true);
    }
}

pub(super) fn palette(pen: &mut Pen<'_>, scene: &Scene<'_>, field: &TextArea<'_>, row: usize) {
    let all = entries(scene.model, &field.lines().join(" "), scene.snapshot);
    let size = (scene.model.size.0.saturating_sub(4).min(96), 18.min(scene.model.size.1.saturating_sub(2)));
    let inside = popup(pen, size, "Command", &keys(Context::Field));
    questions::field(pen, inside, field, "");
    let list = Rect { y: inside.y + inside.height.min(2), height: inside.height.saturating_sub(2), ..inside };
    if all.is_empty() {
        pen.text(list.x, list.y, list.width, "no command is called so", Meaning::Muted);
    }
    commands(pen, list, &all, row);
}

pub(super) fn menu(pen: &mut Pen<'_>, scene: &Scene<'_>, row: usize) {
    let all = menu_entries(scene.model, scene.snapshot);
    let name = scene.model.task(scene.snapshot).map_or("no task", |row| &row.name);
    let size = (scene.model.size.0.saturating_sub(4).min(90), height_for(all.len(), scene));
    let inside = popup(pen, size, name, &keys(Context::Choice));
    commands(pen, inside, &all, row);
}

pub(super) fn themes(pen: &mut Pen<'_>, scene: &Scene<'_>, row: usize) {
    let lines: Vec<Words> = BUILT_IN.iter().map(|(name, _)| vec![w(*name, Meaning::Base)]).collect();
    let size = (34, height_for(lines.len(), scene));
    let inside = popup(pen, size, "Theme", &keys(Context::Choice));
    chosen(pen, inside, &lines, row);
}
