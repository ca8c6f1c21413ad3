//! Typing and pasting. A paste is text for a field, or nothing: it never runs commands.

use tui_textarea::{Input, Key as AreaKey, TextArea};

use crate::snapshot::Snapshot;
use crate::text;

use super::super::keymap::Key;
use super::super::logsearch::Pattern;
use super::super::model::{Dialog, MAX_FIELD, MAX_TASK, Model};
use super::{Request, dialog};

/// A key that the table does not name goes into the field.
pub fn on_typed(model: &mut Model, key: Key, _snapshot: &Snapshot) -> Vec<Request> {
    let (key, ctrl, alt) = match key {
        Key::Char(c) => (AreaKey::Char(c), false, false),
        Key::Ctrl(c) => (AreaKey::Char(c), true, false),
        Key::Alt(c) => (AreaKey::Char(c), false, true),
        Key::Backspace => (AreaKey::Backspace, false, false),
        Key::Delete => (AreaKey::Delete, false, false),
        Key::Left => (AreaKey::Left, false, false),
        Key::Right => (AreaKey::Right, false, false),
        Key::Home => (AreaKey::Home, false, false),
        Key::End => (AreaKey::End, false, false),
        _ => return vec![],
    };
    // Ctrl-m is Enter to the text area, Ctrl-y pastes its own yank: a field has one line of typed text.
    if ctrl && matches!(key, AreaKey::Char('m' | 'j')) {
        return vec![];
    }
    let most = most(model);
    let Some(field) = field_of(model) else { return vec![] };
    let room = field.lines().iter().map(|line| line.chars().count()).sum::<usize>() < most;
    let visible = !matches!(key, AreaKey::Char(c) if !ctrl && !alt && (!room || !text::is_plain(c)));
    if visible {
        field.input(Input { key, ctrl, alt, shift: false });
    }
    changed(model)
}

/// Text from a bracketed paste.
pub fn on_paste(model: &mut Model, pasted: &str) -> Vec<Request> {
    let most = most(model);
    let Some(field) = field_of(model) else {
        model.toast(
            format!("pasted {} ignored: a paste runs no keys", super::super::format::bytes(pasted.len() as u64)),
            true,
        );
        return vec![];
    };
    let there = field.lines().iter().map(|line| line.chars().count()).sum::<usize>();
    let room = most.saturating_sub(there);
    let head: String = pasted.chars().take(room * 4).collect();
    let one_line = text::line(head.replace(['\n', '\r', '\t'], " ").as_bytes(), room).text;
    let cut = pasted.chars().nth(most).is_some();
    field.insert_str(one_line);
    let requests = changed(model);
    if cut {
        model.toast(format!("the paste was cut: a field takes {most} characters"), true);
    }
    requests
}

/// So many characters the open field takes.
fn most(model: &Model) -> usize {
    if matches!(model.dialog, Some(Dialog::Write { .. })) { MAX_TASK } else { MAX_FIELD }
}

fn field_of(model: &mut Model) -> Option<&mut TextArea<'static>> {
    match model.dialog.as_mut()? {
        Dialog::Palette { field, .. }
        | Dialog::Filter { field, .. }
        | Dialog::Search { field, .. }
        | Dialog::Write { field, .. }
        | Dialog::Say { field } => Some(field),
        _ => None,
    }
}

/// What follows from a changed field: a filter holds while it is typed, the palette begins again at its top.
fn changed(model: &mut Model) -> Vec<Request> {
    match model.dialog.take() {
        Some(Dialog::Write { field, task, problem }) => {
            let change = dialog::written(&field, &task);
            model.dialog = Some(Dialog::Write { field, task, problem });
            return vec![Request::CheckChange(change)];
        }
        Some(Dialog::Filter { field, before, .. }) => {
            let problem = dialog::apply_filter(model, &field.lines().join(" "));
            model.dialog = Some(Dialog::Filter { field, before, problem });
        }
        Some(Dialog::Search { field, .. }) => {
            let needle = field.lines().join(" ");
            let problem = Pattern::new(&needle).err().filter(|_| !needle.is_empty());
            model.dialog = Some(Dialog::Search { field, problem });
        }
        Some(Dialog::Palette { field, .. }) => model.dialog = Some(Dialog::Palette { field, row: 0 }),
        other => model.dialog = other,
    }
    vec![]
}
