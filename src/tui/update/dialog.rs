//! What lies over the panes: opening, moving within, accepting, closing.

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use tui_textarea::TextArea;

use crate::engine::ids::TaskId;
use crate::engine::message::Command;
use crate::snapshot::{PostRow, SharedRow, Snapshot};

use super::super::keymap::{self, Act, Context};
use super::super::logsearch;
use super::super::model::{Dialog, Model, Pane, field};
use super::super::theme::{BUILT_IN, Theme};
use super::super::{Change, QuitHow};
use super::log;
use super::navigate::{self, moved};
use super::task::{self, Entry, check, of_task};
use super::{Request, leave};
use crate::snapshot::filter;

/// Rows that a page key moves in a popup.
const PAGE: usize = 10;

/// Opens what the act names, if it names a dialog.
pub fn open(model: &mut Model, act: Act) -> bool {
    model.dialog = Some(match act {
        Act::Help => Dialog::Help { scroll: 0 },
        Act::Tour => Dialog::Tour { page: 0 },
        Act::Why => Dialog::Why { scroll: 0 },
        Act::Actions => Dialog::Actions { scroll: 0 },
        Act::Shared => Dialog::Shared { scroll: 0 },
        Act::Messages => Dialog::Messages { scroll: 0 },
        Act::Waits => Dialog::Waits { row: 0 },
        Act::Alerts => Dialog::Alerts { row: 0 },
        Act::Menu => Dialog::Menu { row: 0 },
        Act::Palette => Dialog::Palette { field: field(""), row: 0 },
        Act::Say => Dialog::Say { field: field("") },
        Act::NewTask => Dialog::Write { field: field("id: \"\", run: \"\", after: []"), task: None, problem: None },
        Act::Search => Dialog::Search { field: field(""), problem: None },
        Act::Filter => {
            let before = model.queue.filter_text.clone();
            Dialog::Filter { field: field(&before), before, problem: None }
        }
        Act::Themes => {
            let row = BUILT_IN.iter().position(|(name, _)| *name == model.theme.name).unwrap_or(0);
            Dialog::Themes { row, before: Box::new(model.theme.clone()) }
        }
        _ => return false,
    });
    true
}

/// Does something within the open dialog.
pub fn act(model: &mut Model, act: Act, snapshot: &Snapshot) -> Vec<Request> {
    let Some(dialog) = model.dialog.take() else { return vec![] };
    match act {
        Act::Back => back(model, dialog),
        Act::Accept => accept(model, dialog, snapshot),
        Act::Yes => match dialog {
            Dialog::Confirm { command, .. } => vec![Request::Send(command)],
            _ => vec![],
        },
        Act::QuitDetach => leave(model, QuitHow::Detach),
        Act::QuitFinish => leave(model, QuitHow::Finish),
        Act::QuitStop => leave(model, QuitHow::Stop),
        Act::CopyWhy => {
            let requests = copy(model, &dialog, snapshot);
            model.dialog = Some(dialog);
            requests
        }
        step => {
            let count = rows(model, &dialog, snapshot);
            model.dialog = Some(stepped(model, dialog, step, count));
            vec![]
        }
    }
}

fn copy(model: &mut Model, dialog: &Dialog, snapshot: &Snapshot) -> Vec<Request> {
    match dialog {
        Dialog::Why { .. } => match model.detail(snapshot) {
            Some(detail) => vec![Request::Copy(task::why_text(detail))],
            None => vec![],
        },
        Dialog::Actions { .. } => {
            vec![Request::Copy(snapshot.actions.iter().map(|a| format!("{}: {}\n", a.who, a.text)).collect())]
        }
        Dialog::Messages { .. } => {
            let line = |row: &PostRow| format!("{}: {}\n", row.by, row.text);
            vec![Request::Copy(snapshot.posts.iter().map(line).collect())]
        }
        Dialog::Shared { .. } => {
            let line = |row: &SharedRow| format!("{} = {}\n", row.key, row.value);
            vec![Request::Copy(snapshot.shared.0.iter().map(line).collect())]
        }
        _ => vec![],
    }
}

fn back(model: &mut Model, dialog: Dialog) -> Vec<Request> {
    match dialog {
        Dialog::Themes { before, .. } => model.theme = *before,
        Dialog::Filter { before, .. } => set_filter(model, &before),
        _ => {}
    }
    vec![]
}

/// Applies a filter text as far as it can be understood; returns what is wrong with it.
pub fn apply_filter(model: &mut Model, text: &str) -> Option<String> {
    match filter::parse(text) {
        Ok(filter) => {
            if filter != model.queue.filter {
                model.queue.filter = filter;
                model.refind();
            }
            model.queue.filter_text = text.trim().to_owned();
            None
        }
        Err(problem) => Some(problem),
    }
}

fn set_filter(model: &mut Model, text: &str) {
    apply_filter(model, text);
}

fn accept(model: &mut Model, dialog: Dialog, snapshot: &Snapshot) -> Vec<Request> {
    match dialog {
        Dialog::Filter { field, before, .. } => {
            let text = field.lines().join(" ");
            // A filter with a mistake stays open: its mistake is shown in it.
            if let Some(problem) = apply_filter(model, &text) {
                model.dialog = Some(Dialog::Filter { field, before, problem: Some(problem) });
            }
            vec![]
        }
        Dialog::Write { field, task, problem } => {
            // It stays open until nothing is wrong with it.
            let change = written(&field, &task);
            model.dialog = Some(Dialog::Write { field, task, problem });
            vec![Request::MakeChange(change)]
        }
        Dialog::Say { field } => {
            let text = field.lines().join(" ");
            let send = (!text.trim().is_empty()).then_some(Request::Send(Command::Post { text, priority: 0 }));
            send.into_iter().collect()
        }
        Dialog::Search { field, .. } => {
            let needle = field.lines().join(" ");
            match logsearch::Pattern::new(&needle) {
                _ if needle.is_empty() => log::search_on(model),
                Ok(pattern) => {
                    navigate::focus(model, Pane::Log);
                    log::search(model, needle, pattern);
                }
                // A mistake stays open: it is shown in it.
                Err(problem) => model.dialog = Some(Dialog::Search { field, problem: Some(problem) }),
            }
            vec![]
        }
        Dialog::Waits { row } => {
            if let Some(wait) = snapshot.waits.get(row) {
                model.jump_to(wait.task);
                navigate::focus(model, Pane::Queue);
            }
            vec![]
        }
        Dialog::Alerts { row } => {
            if let Some(task) = snapshot.alerts.get(row).and_then(|alert| alert.task) {
                model.jump_to(task);
                navigate::focus(model, Pane::Queue);
            }
            vec![]
        }
        Dialog::Themes { .. } => {
            model.toast(format!("theme {}", model.theme.name), false);
            vec![]
        }
        Dialog::Palette { field, row } => {
            let entry = entries(model, &field.lines().join(" "), snapshot).into_iter().nth(row);
            run(model, entry, snapshot)
        }
        Dialog::Menu { row } => {
            let entry = menu(model, snapshot).into_iter().nth(row);
            run(model, entry, snapshot)
        }
        other => {
            model.dialog = Some(other);
            vec![]
        }
    }
}

fn run(model: &mut Model, entry: Option<Entry>, snapshot: &Snapshot) -> Vec<Request> {
    match entry {
        // The log's and agents' own commands go there first, so that what they do can be seen.
        Some(entry) => {
            match keymap::BINDINGS.iter().find(|b| b.act == entry.act).map(|b| b.context) {
                Some(Context::Log | Context::Select) => navigate::focus(model, Pane::Log),
                Some(Context::Agents) => navigate::focus(model, Pane::Agents),
                Some(Context::Timeline) => navigate::focus(model, Pane::Timeline),
                Some(Context::Graph) if entry.act == Act::Recentre => {
                    super::graph::act(model, Act::Graph, snapshot);
                }
                _ => {}
            }
            super::act(model, entry.act, None, snapshot)
        }
        None => vec![],
    }
}

fn stepped(model: &mut Model, dialog: Dialog, step: Act, count: usize) -> Dialog {
    let to = |row: usize| moved(step, row, count, PAGE);
    match dialog {
        Dialog::Help { scroll } => Dialog::Help { scroll: to(scroll) },
        Dialog::Tour { page } => Dialog::Tour { page: to(page) },
        Dialog::Why { scroll } => Dialog::Why { scroll: to(scroll) },
        Dialog::Actions { scroll } => Dialog::Actions { scroll: to(scroll) },
        Dialog::Shared { scroll } => Dialog::Shared { scroll: to(scroll) },
        Dialog::Messages { scroll } => Dialog::Messages { scroll: to(scroll) },
        Dialog::Waits { row } => Dialog::Waits { row: to(row) },
        Dialog::Alerts { row } => Dialog::Alerts { row: to(row) },
        Dialog::Menu { row } => Dialog::Menu { row: to(row) },
        Dialog::Palette { field, row } => Dialog::Palette { field, row: to(row) },
        Dialog::Themes { row, before } => {
            let row = to(row);
            if let Ok(theme) = Theme::built_in(BUILT_IN[row].0, model.depth) {
                model.theme = theme;
            }
            Dialog::Themes { row, before }
        }
        other => other,
    }
}

fn rows(model: &Model, dialog: &Dialog, snapshot: &Snapshot) -> usize {
    match dialog {
        Dialog::Help { .. } => super::super::dialogs::help::lines(usize::from(model.size.0)).len(),
        Dialog::Why { .. } => {
            let width = super::super::dialogs::why_width(model.size.0);
            super::super::panes::detail::why_within(model, snapshot, width).len()
        }
        Dialog::Actions { .. } => snapshot.actions.len(),
        Dialog::Shared { .. } => snapshot.shared.0.len() + 2,
        Dialog::Messages { .. } => super::super::dialogs::message_lines(snapshot, model.size.0),
        Dialog::Tour { .. } => super::super::dialogs::tour::PAGES.len(),
        Dialog::Alerts { .. } => snapshot.alerts.len(),
        Dialog::Waits { .. } => snapshot.waits.len(),
        Dialog::Menu { .. } => menu(model, snapshot).len(),
        Dialog::Themes { .. } => BUILT_IN.len(),
        Dialog::Palette { field, .. } => entries(model, &field.lines().join(" "), snapshot).len(),
        _ => 0,
    }
}

/// What can be done with the task under the cursor, possible or not.
pub fn menu(model: &Model, snapshot: &Snapshot) -> Vec<Entry> {
    let mut all: Vec<Entry> = all_entries(model, snapshot).into_iter().filter(|entry| of_task(entry.act)).collect();
    all.sort_by_key(|entry| entry.why_not.is_some());
    all
}

/// The palette: commands that match, best first (possible or not); without a word, in the order of the table, possible ones first.
pub fn entries(model: &Model, words: &str, snapshot: &Snapshot) -> Vec<Entry> {
    let mut all = all_entries(model, snapshot);
    if words.trim().is_empty() {
        all.sort_by_key(|entry| (entry.why_not.is_some(), !of_task(entry.act)));
        return all;
    }
    let mut matcher = Matcher::new(Config::DEFAULT);
    let pattern = Pattern::parse(words, CaseMatching::Ignore, Normalization::Smart);
    let mut buffer = Vec::new();
    let mut scored: Vec<(u32, Entry)> = all
        .into_iter()
        .filter_map(|entry| Some((pattern.score(Utf32Str::new(entry.help, &mut buffer), &mut matcher)?, entry)))
        .collect();
    // What was meant comes first even if it cannot be done now: then the reason is what was wanted.
    let begins = |entry: &Entry| entry.help.to_lowercase().starts_with(&words.trim().to_lowercase());
    scored.sort_by_key(|(score, entry)| (!begins(entry), std::cmp::Reverse(*score), entry.why_not.is_some()));
    scored.into_iter().map(|(_, entry)| entry).collect()
}

fn all_entries(model: &Model, snapshot: &Snapshot) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    let contexts = [
        Context::Task,
        Context::Anywhere,
        Context::Agents,
        Context::Log,
        Context::Select,
        Context::Timeline,
        Context::Graph,
    ];
    let moves = |act: Act| {
        use Act::*;
        matches!(
            act,
            Up | Down
                | PageUp
                | PageDown
                | HalfUp
                | HalfDown
                | Back
                | Palette
                | Open
                | Collapse
                | Expand
                | Interrupt
                | SideLeft
                | SideRight
                | SideStart
                | SideEnd
                | PanLeft
                | PanRight
                | EarlierBar
                | LaterBar
                | AlongBack
                | AlongOn
        )
    };
    for context in contexts {
        for binding in keymap::BINDINGS.iter().filter(|b| b.context == context && !moves(b.act)) {
            if !out.iter().any(|entry| entry.act == binding.act) {
                let why_not = check(binding.act, model, snapshot).err();
                out.push(Entry { act: binding.act, help: binding.help, key: keymap::label(binding), why_not });
            }
        }
    }
    out
}

/// The change of the workflow that a field speaks of.
pub fn written(field: &TextArea<'_>, task: &Option<(TaskId, String)>) -> Change {
    Change { text: field.lines().join(" "), task: task.as_ref().map(|(task, _)| *task) }
}

/// A field with what a task says of itself.
pub fn edit(model: &mut Model, task: TaskId, name: String, says: &str) {
    let task = Some((task, name));
    model.dialog = Some(Dialog::Write { field: field(says), task, problem: None });
}
