//! What happens to the model when something happens: pure, one message at a time. What must be done about it is handed
//! back as requests. Split by concept: navigation, log, tasks, dialogs, fields, mouse.

mod dialog;
mod field;
mod graph;
mod log;
mod marks;
mod mouse;
mod navigate;
mod task;
mod timeline;

pub use dialog::edit;
pub use dialog::{entries, menu};
pub use graph::depth as graph_depth;
pub use marks::is_marked;
pub use navigate::sort_name;
pub use task::{Entry, check};

use std::path::PathBuf;

use crate::engine::ids::{TaskId, Time};
use crate::engine::message::Command;
use crate::snapshot::{Mode, Snapshot};

use super::keymap::{self, Act, Context, Found, Key};
use super::model::{Dialog, Model, Pane};
use super::{Change, QuitHow, Step};

pub use mouse::{Mouse, MouseKind};

/// Digits of a count, and the key after them, come at most so many ms apart.
const COUNT_MS: u64 = 1500;

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
    /// Say what this would come to, in the question that is open.
    Preview(Command),
    /// Let somebody change what a task says: which, and its name.
    Edit(TaskId, String),
    /// Say what is wrong with what is being written, if anything.
    CheckChange(Change),
    /// Change the workflow so, if nothing is wrong with it.
    MakeChange(Change),
    /// Leave in this way.
    Quit(QuitHow),
    /// Move in the recording.
    Steer(Step),
    /// Show what the session was so far.
    Rewind,
    /// Show it as it is again.
    GoLive,
    /// Put it on the clipboard (OSC 52).
    Copy(String),
    /// Draw everything anew.
    Redraw,
    /// Give the terminal back to the shell for a while.
    Suspend,
    /// Mouse reports on or off.
    Mouse(bool),
    /// Show this log in a pager, in our place.
    Pager(PathBuf),
    /// Open a copy of this log in an editor, in our place.
    Editor(PathBuf),
}

/// Changes the model and says what must be done.
pub fn update(model: &mut Model, message: Message, snapshot: &Snapshot) -> Vec<Request> {
    model.queue.untouched &= !matches!(message, Message::Key(_) | Message::Mouse(_) | Message::Paste(_));
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
    if model.dialog.is_none() && model.pending.keys.is_empty() {
        match key {
            Key::Char('0') if matches!(model.focus, Pane::Log | Pane::Timeline) && model.pending.digits.is_empty() => {}
            Key::Char(digit @ '0'..='9') => return digit_typed(model, digit),
            Key::Char('+' | '=' | '-') => settle_count(model),
            _ => model.pending.digits.clear(),
        }
    }
    if model.pending.keys.is_empty() {
        model.pending.since = model.ui_ms;
    }
    model.pending.keys.push(key);
    let contexts = model.contexts();
    match keymap::lookup(&model.pending.keys, &contexts) {
        Found::Binding(binding) => {
            model.pending.keys.clear();
            let count = std::mem::take(&mut model.pending.digits).parse().ok();
            act(model, binding.act, count, snapshot)
        }
        Found::Prefix => vec![],
        Found::Nothing => {
            let keys = std::mem::take(&mut model.pending.keys);
            model.pending.digits.clear();
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
    if known(Context::Task) && !matches!(focus, Pane::Queue | Pane::Detail | Pane::Log | Pane::Timeline | Pane::Graph) {
        return Some(format!("{typed} acts on a task: 1 goes to the queue"));
    }
    if known(Context::Log) {
        return Some(format!("{typed} is for the log: 5 goes there"));
    }
    if known(Context::Timeline) {
        return Some(format!("{typed} is for the timeline: g t goes there"));
    }
    None
}

/// A digit is the number of a pane, or part of a count, or both until it is known which: `20+` must not need a key of its
/// own, and `2` must act at once.
fn digit_typed(model: &mut Model, digit: char) -> Vec<Request> {
    let pending = &mut model.pending;
    if model.ui_ms.saturating_sub(pending.since) > COUNT_MS || pending.digits.len() >= 4 {
        pending.digits.clear();
    }
    pending.since = model.ui_ms;
    if pending.digits.is_empty() {
        pending.before = Some((model.focus, model.zoom, model.tab, model.upper));
    }
    pending.digits.push(digit);
    if let Some(pane) = digit.to_digit(10).and_then(|n| Pane::ALL.get((n as usize).wrapping_sub(1))) {
        navigate::to_pane(model, *pane);
    }
    vec![]
}

/// Before `+` and `-`: digits typed just now were a count, and the panes they led to were not meant. A single digit that
/// is a pane's number was one.
fn settle_count(model: &mut Model) {
    let pending = &mut model.pending;
    let fresh = model.ui_ms.saturating_sub(pending.since) <= COUNT_MS;
    let pane = matches!(pending.digits.as_str(), "1" | "2" | "3" | "4" | "5" | "6");
    if !fresh || pane {
        pending.digits.clear();
    } else if let Some((focus, zoom, tab, upper)) = pending.before.take().filter(|_| !pending.digits.is_empty()) {
        (model.focus, model.zoom, model.tab, model.upper) = (focus, zoom, tab, upper);
    }
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
        Act::Rewind => return vec![Request::Rewind],
        Act::GoLive => return vec![Request::GoLive],
        Act::Replay(step) => return vec![Request::Steer(step)],
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
    if let Some(requests) = log::act(model, act, snapshot) {
        return requests;
    }
    if timeline::act(model, act, snapshot)
        || graph::act(model, act, snapshot)
        || navigate::act(model, act, snapshot)
        || marks::act(model, act, snapshot)
        || dialog::open(model, act)
    {
        return vec![];
    }
    task::act(model, act, count, snapshot)
}

/// Takes note of a snapshot where the whole screen is one pane.
pub fn stay(model: &mut Model, snapshot: &Snapshot) {
    match model.focus {
        Pane::Graph => graph::stay(model, &snapshot.graph),
        _ => timeline::stay(model, &snapshot.record),
    }
}

/// Whether anything would go on without the screen.
fn alive(snapshot: &Snapshot) -> bool {
    snapshot.counts.running + snapshot.counts.stopping > 0
}

fn quit(model: &mut Model, snapshot: &Snapshot) -> Vec<Request> {
    if snapshot.header.replay.as_ref().is_some_and(|strip| strip.returns) {
        return vec![Request::GoLive];
    }
    if !alive(snapshot) || snapshot.header.read_only.is_some() || snapshot.header.attached {
        return leave(model, QuitHow::Leave);
    }
    model.dialog = Some(Dialog::Quit);
    vec![]
}

/// Ctrl-C: the menu, then stop, then kill; each said aloud.
fn interrupt(model: &mut Model, snapshot: &Snapshot) -> Vec<Request> {
    if matches!(
        model.dialog,
        Some(
            Dialog::Palette { .. }
                | Dialog::Filter { .. }
                | Dialog::Search { .. }
                | Dialog::Say { .. }
                | Dialog::Write { .. }
        )
    ) {
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
