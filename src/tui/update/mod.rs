//! What happens to the model when something happens: pure, one message at a time. What must be done about it is handed
//! back as requests. Split by concept: navigation, tasks, dialogs, fields, mouse.

mod dialog;
mod field;
mod mouse;
mod navigate;
mod task;

pub use dialog::{entries, menu};
pub use navigate::sort_name;
pub use task::{Entry, check};

use crate::engine::ids::Time;
use crate::engine::message::Command;
use crate::snapshot::{Mode, Snapshot};

use super::QuitHow;
use super::keymap::{self, Act, Context, Found, Key};
use super::model::{Dialog, Model, Pane};

pub use mouse::{Mouse, MouseKind};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A key.
    Key(Key),
    /// The mouse.
    Mouse(Mouse),
    /// Text from a bracketed paste.
    Paste(String),
    /// The screen has this size now.
    Resize(u16, u16),
    /// The clocks: the session's, and the screen's own in ms.
    Tick(Time, u64),
    /// A command was done, or refused.
    Answer(Result<String, String>),
    /// The program has something to say.
    Note(String),
}

/// What must be done about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Send it to the engine.
    Send(Command),
    /// Leave in this way.
    Quit(QuitHow),
    /// Put it on the clipboard (OSC 52).
    Copy(String),
    /// Draw everything anew.
    Redraw,
    /// Give the terminal back to the shell for a while.
    Suspend,
    /// Mouse reports on or off.
    Mouse(bool),
}

/// Changes the model and says what must be done.
pub fn update(model: &mut Model, message: Message, snapshot: &Snapshot) -> Vec<Request> {
    match message {
        Message::Key(key) => on_key(model, key, snapshot),
        Message::Mouse(mouse) => mouse::on_mouse(model, mouse, snapshot),
        Message::Paste(text) => field::on_paste(model, &text),
        Message::Resize(width, height) => {
            model.size = (width, height);
            model.show_row();
            vec![]
        }
        Message::Tick(now, ui_ms) => {
            model.now = now;
            model.ui_ms = ui_ms;
            model.toasts.retain(|toast| toast.until > ui_ms);
            vec![]
        }
        Message::Answer(Ok(text)) => note(model, text, false),
        Message::Answer(Err(text)) => {
            model.priority = None;
            model.slots = None;
            note(model, text, true)
        }
        Message::Note(text) => note(model, text, true),
    }
}

fn note(model: &mut Model, text: String, bad: bool) -> Vec<Request> {
    if !text.is_empty() {
        model.toast(text, bad);
    }
    vec![]
}

fn on_key(model: &mut Model, key: Key, snapshot: &Snapshot) -> Vec<Request> {
    if let Key::Char(digit @ '0'..='9') = key
        && model.dialog.is_none()
        && model.pending.keys.is_empty()
        && count(model, digit)
    {
        return vec![];
    }
    if model.pending.keys.is_empty() {
        model.pending.since = model.ui_ms;
    }
    model.pending.keys.push(key);
    let contexts = model.contexts();
    match keymap::lookup(&model.pending.keys, &contexts) {
        Found::Binding(binding) => {
            model.pending.keys.clear();
            let count = model.pending.count.take();
            if !matches!(binding.act, Act::Focus(_)) {
                model.pending.before = None;
            }
            act(model, binding.act, count, snapshot)
        }
        Found::Prefix => vec![],
        Found::Nothing => {
            let keys = std::mem::take(&mut model.pending.keys);
            model.pending.count = None;
            model.pending.before = None;
            if contexts == [Context::Field] {
                return field::on_typed(model, keys[0], snapshot);
            }
            if keys == [Key::Esc] || keys.len() > 1 && keys.last() == Some(&Key::Esc) {
                return vec![];
            }
            let typed: String = keys.into_iter().map(keymap::show).collect();
            let text = match &model.dialog {
                Some(_) => return vec![],
                None => foreign_pane(&typed, model.focus)
                    .unwrap_or_else(|| format!("{typed} means nothing here: ? shows all keys")),
            };
            note(model, text, true)
        }
    }
}

/// A key that is for another pane says which.
fn foreign_pane(typed: &str, focus: Pane) -> Option<String> {
    let known =
        |context| keymap::BINDINGS.iter().any(|b| b.context == context && keymap::labels(b).iter().any(|l| l == typed));
    if known(Context::Task) && !matches!(focus, Pane::Queue | Pane::Detail | Pane::Log) {
        return Some(format!("{typed} acts on a task: 1 goes to the queue"));
    }
    if known(Context::Log) {
        return Some(format!("{typed} is for the log: 5 goes there"));
    }
    None
}

/// Takes a digit as part of a count, if it is one. A first digit 1–6 is the number of a pane, until another digit that
/// is not the same follows.
fn count(model: &mut Model, digit: char) -> bool {
    let value = digit.to_digit(10).expect("a digit was matched");
    if let Some(count) = model.pending.count {
        let fresh = model.pending.before.is_some();
        if fresh && count == value {
            model.pending.count = None;
            return false;
        }
        if let Some((focus, zoom, tab, upper)) = model.pending.before.take() {
            (model.focus, model.zoom, model.tab, model.upper) = (focus, zoom, tab, upper);
        }
        model.pending.count = Some((count * 10 + value).min(9999));
        return true;
    }
    if (1..=6).contains(&value) {
        model.pending.before = Some((model.focus, model.zoom, model.tab, model.upper));
        let pane = Pane::ALL[value as usize - 1];
        navigate::focus(model, pane);
        model.pending.count = Some(value);
        return true;
    }
    model.pending.count = Some(value);
    true
}

/// Does what a key, the palette or the menu asked for.
fn act(model: &mut Model, act: Act, count: Option<u32>, snapshot: &Snapshot) -> Vec<Request> {
    if model.dialog.is_none()
        && let Err(why) = check(act, model, snapshot)
    {
        return note(model, why, true);
    }
    if model.dialog.is_some() && act != Act::Interrupt {
        return dialog::act(model, act, snapshot);
    }
    match act {
        Act::Interrupt => return interrupt(model, snapshot),
        Act::Quit => return quit(model, snapshot),
        Act::Redraw => return vec![Request::Redraw],
        Act::Suspend => return vec![Request::Suspend],
        Act::Mouse => {
            model.mouse = !model.mouse;
            let text = if model.mouse { "mouse on" } else { "mouse off: the terminal's own selection works" };
            model.toast(text.into(), false);
            return vec![Request::Mouse(model.mouse)];
        }
        _ => {}
    }
    if navigate::act(model, act, snapshot) || dialog::open(model, act) {
        return vec![];
    }
    task::act(model, act, count, snapshot)
}

/// Whether anything would go on without the screen.
fn alive(snapshot: &Snapshot) -> bool {
    snapshot.counts.running + snapshot.counts.stopping > 0
}

fn quit(model: &mut Model, snapshot: &Snapshot) -> Vec<Request> {
    if !alive(snapshot) || snapshot.header.read_only.is_some() {
        return leave(model, QuitHow::Leave);
    }
    model.dialog = Some(Dialog::Quit);
    vec![]
}

/// Ctrl-C: the menu, then stop, then kill; each said aloud.
fn interrupt(model: &mut Model, snapshot: &Snapshot) -> Vec<Request> {
    if matches!(model.dialog, Some(Dialog::Palette { .. } | Dialog::Filter { .. } | Dialog::Search { .. })) {
        return dialog::act(model, Act::Back, snapshot);
    }
    if model.stop_asked || snapshot.header.mode == Mode::Stopping && snapshot.header.read_only.is_none() {
        return leave(model, QuitHow::StopNow);
    }
    if matches!(model.dialog, Some(Dialog::Quit)) {
        return leave(model, QuitHow::Stop);
    }
    quit(model, snapshot)
}

fn leave(model: &mut Model, how: QuitHow) -> Vec<Request> {
    model.dialog = None;
    model.stop_asked |= matches!(how, QuitHow::Stop | QuitHow::StopNow);
    let said = match how {
        QuitHow::Leave => "leaving",
        QuitHow::Detach => "detaching: running tasks go on",
        QuitHow::Finish => "finishing what runs, then leaving",
        QuitHow::Stop => "stopping what runs, then leaving; Ctrl-C again kills now",
        QuitHow::StopNow => "killing what runs",
    };
    model.leaving = Some(said);
    model.toast(said.into(), false);
    vec![Request::Quit(how)]
}

#[cfg(test)]
mod tests;
