//! Keys in, commands and state out: through the table, as an operator types them.

use proptest::prelude::*;

use super::*;
use crate::engine::ids::TaskId;
use crate::tui::log::LogMove;
use crate::tui::model::{Cursor, Tab};
use crate::tui::sample::{self, Sample};
use crate::tui::theme::Depth;
use crate::tui::{Feed, settle};
use std::sync::Arc;

/// A console on the sample, driven by typed keys; the cursor is on `link:server`, which waits.
struct Desk {
    model: Model,
    sample: Sample,
    snapshot: Arc<Snapshot>,
    requests: Vec<Request>,
}

const LINK_SERVER: TaskId = TaskId(16);
const COMPILE_UI: TaskId = TaskId(14);
const DOCS_LINKS: TaskId = TaskId(21);

fn desk(size: (u16, u16)) -> Desk {
    let (model, sample, snapshot) = sample::model(size, "dark", Depth::True);
    let mut desk = Desk { model, sample, snapshot, requests: vec![] };
    desk.on(LINK_SERVER);
    desk
}

impl Desk {
    fn on(&mut self, task: TaskId) -> &mut Self {
        self.model.jump_to(task);
        settle(&mut self.sample, &mut self.model, &mut self.snapshot);
        self
    }

    /// Types a sequence as the key table writes them, without spaces between letters: `gg`, `20+`, `<Esc>`.
    fn type_keys(&mut self, keys: &str) -> &mut Self {
        let mut rest = keys;
        while let Some(c) = rest.chars().next() {
            let end = if c == '<' { rest.find('>').map_or(1, |end| end + 1) } else { c.len_utf8() };
            let (word, after) = rest.split_at(end);
            rest = after;
            let key = if word == " " { Key::Char(' ') } else { keymap::parse(word)[0] };
            self.send(Message::Key(key));
        }
        self
    }

    fn send(&mut self, message: Message) {
        let requests = update(&mut self.model, message, &self.snapshot);
        for request in &requests {
            if let Request::Send(command) = request {
                self.sample.send(command.clone());
            }
        }
        self.requests.extend(requests);
        settle(&mut self.sample, &mut self.model, &mut self.snapshot);
    }

    fn sent(&self) -> &[Command] {
        &self.sample.sent
    }

    fn said(&self) -> &str {
        self.model.toasts.back().map_or("", |toast| &toast.text)
    }
}

/// Keys typed on a task, and what is sent.
#[track_caller]
fn sends(task: TaskId, keys: &str, want: &[Command]) {
    let mut desk = desk((120, 36));
    desk.on(task).type_keys(keys);
    assert_eq!(desk.sent(), want, "{keys}");
}

#[test]
fn each_key_on_a_task_sends_its_command() {
    let task = LINK_SERVER;
    let priority = |priority| Command::SetPriority { task, priority };
    sends(task, "+", &[priority(55)]);
    sends(task, "-", &[priority(45)]);
    sends(task, "20+", &[priority(70)]);
    sends(task, "++-", &[priority(55), priority(60), priority(55)]);
    sends(task, "p", &[Command::Hold { task }]);
    sends(task, "pp", &[Command::Hold { task }, Command::Release { task }]);
    sends(task, "b", &[]);
    sends(task, "by", &[Command::Fallback { task }]);
    sends(task, "u", &[Command::Undo]);
    sends(task, "P", &[Command::Pause]);
    sends(task, "PP", &[Command::Pause, Command::Resume]);
    sends(DOCS_LINKS, "r", &[Command::Retry { task: DOCS_LINKS }]);
    sends(task, ":skip<Enter>", &[Command::Skip { task }]);
}

#[test]
fn destructive_keys_ask_and_only_y_means_yes() {
    sends(COMPILE_UI, "x", &[]);
    for no in ["<Enter>", "<Esc>", "n", "q", "j", "x", "<Space>"] {
        sends(COMPILE_UI, &format!("x{no}"), &[]);
        sends(COMPILE_UI, &format!("X{no}"), &[]);
    }
    sends(COMPILE_UI, "xy", &[Command::Cancel { task: COMPILE_UI }]);
    sends(COMPILE_UI, "Xy", &[Command::Kill { task: COMPILE_UI }]);
}

#[test]
fn a_key_that_cannot_be_used_now_says_why_and_sends_nothing() {
    let mut desk = desk((120, 36));
    let cases = [
        (COMPILE_UI, "b", "no fallback declared for compile:ui"),
        (COMPILE_UI, "r", "not possible: compile:ui is running"),
        (COMPILE_UI, "p", "not possible: compile:ui is running"),
        (LINK_SERVER, "X", "not possible: link:server is ready, not running"),
        (LINK_SERVER, "r", "not possible: link:server is ready"),
        (LINK_SERVER, "U", "nothing to redo"),
        (LINK_SERVER, "gx", "gx means nothing here"),
        (LINK_SERVER, "4x", "x acts on a task"),
    ];
    for (task, keys, want) in cases {
        desk.model.focus = Pane::Queue;
        desk.on(task).type_keys(keys);
        assert!(desk.said().contains(want), "{keys}: {}", desk.said());
        assert_eq!(desk.sent(), []);
    }
}

#[test]
fn a_recording_answers_every_key_that_changes_something_with_its_words() {
    let mut desk = desk((120, 36));
    let snapshot = Arc::make_mut(&mut desk.snapshot);
    snapshot.header.read_only = Some("read-only: replay".into());
    let snapshot = desk.snapshot.clone();
    for key in "xXrpb+-uUP".chars() {
        let requests = update(&mut desk.model, Message::Key(Key::Char(key)), &snapshot);
        assert_eq!(requests, [], "{key}");
        assert_eq!(desk.said(), "read-only: replay", "{key}");
    }
}

#[test]
fn digits_are_panes_at_once_and_a_count_if_plus_or_minus_follows() {
    let mut desk = desk((120, 36));
    desk.type_keys("3");
    assert_eq!(desk.model.focus, Pane::Locks);
    desk.type_keys("21");
    assert_eq!(desk.model.focus, Pane::Queue, "two panes, one after the other");
    desk.type_keys("j20+");
    assert_eq!((desk.model.focus, desk.sent().len()), (Pane::Queue, 1));
    desk.model.ui_ms += 5000;
    desk.type_keys("32+");
    assert_eq!(desk.model.focus, Pane::Queue);
    desk.type_keys("3");
    desk.model.ui_ms += 5000;
    desk.type_keys("2+");
    assert_eq!(desk.model.focus, Pane::Agents, "typed slowly, digits are panes");
    assert!(matches!(desk.sent().last(), Some(Command::SetSlots { slots: 3, .. })));
    desk.type_keys("2");
    assert!(desk.model.zoom);
    desk.type_keys("2<Esc>");
    assert_eq!((desk.model.focus, desk.model.zoom), (Pane::Queue, false));
}

#[test]
fn the_cursor_of_the_locks_stays_with_its_resource_when_rows_change_places() {
    let mut desk = desk((120, 36));
    desk.type_keys("3j");
    let chosen = desk.snapshot.locks[1].resource;
    let mut moved = (*desk.snapshot).clone();
    moved.locks.swap(0, 1);
    desk.model.reconcile(&moved);
    assert_eq!(desk.model.lock_row, 0);
    desk.snapshot = Arc::new(moved);
    desk.type_keys("+");
    assert!(
        matches!(desk.sent().last(), Some(Command::SetCapacity { resource, .. }) if *resource == chosen),
        "{:?}",
        desk.sent()
    );
    desk.type_keys("1");
    desk.model.reconcile(&desk.snapshot.clone());
    assert_eq!(desk.model.lock, None);
}

#[test]
fn slots_of_the_chosen_agent_go_up_and_down() {
    let mut desk = desk((120, 36));
    desk.type_keys("2j++-");
    let slots = |slots| Command::SetSlots { agent: crate::engine::ids::AgentId(1), slots };
    assert_eq!(desk.sent(), [slots(3), slots(4), slots(3)]);
}

#[test]
fn the_cursor_moves_over_the_edge_of_the_window_and_stays_on_its_task() {
    let mut desk = desk((120, 36));
    desk.type_keys("gg");
    assert_eq!(desk.model.queue.row, 0);
    desk.type_keys("G");
    assert_eq!(desk.model.queue.row, desk.snapshot.total_rows - 1);
    assert!(matches!(desk.model.queue.cursor, Cursor::Task(_) | Cursor::Group(_)));
    desk.on(LINK_SERVER).type_keys("sn");
    assert_eq!(desk.model.queue.cursor, Cursor::Task(LINK_SERVER), "sorting keeps the task");
    desk.type_keys("t");
    assert_eq!(desk.model.queue.cursor, Cursor::Task(LINK_SERVER), "so does grouping");
    let row = desk.model.queue.row;
    let shown = &desk.snapshot.rows[row - desk.snapshot.offset];
    assert!(matches!(shown, crate::snapshot::Row::Task(row) if row.task == LINK_SERVER));
}

#[test]
fn collapsing_from_a_task_goes_to_its_stage_and_enter_opens_it_again() {
    let mut desk = desk((80, 24));
    desk.type_keys("jjjjjjjjjjjjjjjjjjjjjjjjh");
    let build = crate::engine::ids::StageId(1);
    assert_eq!(desk.model.queue.cursor, Cursor::Group(build));
    assert!(desk.model.queue.collapsed.contains(&build));
    desk.type_keys("<Enter>");
    assert!(!desk.model.queue.collapsed.contains(&build));
    desk.type_keys("x");
    assert!(desk.said().contains("this is a stage"), "{}", desk.said());
}

#[test]
fn a_filter_holds_while_it_is_typed_shows_its_mistake_and_escape_takes_it_back() {
    let mut desk = desk((120, 36));
    desk.type_keys("/state:failed");
    assert_eq!(desk.snapshot.matching, 1);
    desk.type_keys("x");
    assert!(matches!(&desk.model.dialog, Some(Dialog::Filter { problem: Some(p), .. }) if p.contains("failed")));
    desk.type_keys("<Enter>");
    assert!(desk.model.dialog.is_some(), "a mistake stays open");
    desk.type_keys("<Backspace><Enter>");
    assert!(desk.model.dialog.is_none());
    assert_eq!((desk.snapshot.matching, desk.model.queue.cursor), (1, Cursor::Task(DOCS_LINKS)));
    desk.type_keys("/<Backspace><Esc>");
    assert_eq!(desk.model.queue.filter_text, "state:failed");
    desk.type_keys("<Esc>");
    assert_eq!(desk.model.queue.filter_text, "");
    desk.type_keys("ff");
    assert_eq!(desk.snapshot.matching, 1);
    desk.type_keys("fa");
    assert_eq!(desk.snapshot.matching, 248);
}

#[test]
fn a_jump_to_a_hidden_task_opens_what_hides_it() {
    let mut desk = desk((120, 36));
    desk.type_keys("/fetch<Enter>");
    desk.type_keys("gf");
    assert_eq!(desk.model.queue.cursor, Cursor::Task(DOCS_LINKS));
    assert_eq!(desk.model.queue.filter_text, "");
    assert!(
        desk.snapshot.rows.iter().any(|row| matches!(row, crate::snapshot::Row::Task(row) if row.task == DOCS_LINKS))
    );
}

#[test]
fn quitting_asks_while_something_runs_and_ctrl_c_goes_menu_stop_kill() {
    let quits = |keys: &str| {
        let mut desk = desk((120, 36));
        desk.type_keys(keys);
        let quits = desk.requests.iter().filter_map(|r| if let Request::Quit(how) = r { Some(*how) } else { None });
        quits.collect::<Vec<_>>()
    };
    assert_eq!(quits("q"), []);
    assert_eq!(quits("q<Esc>"), []);
    assert_eq!(quits("qd"), [QuitHow::Detach]);
    assert_eq!(quits("q<Enter>"), [QuitHow::Detach]);
    assert_eq!(quits("qw"), [QuitHow::Finish]);
    assert_eq!(quits("qs"), [QuitHow::Stop]);
    assert_eq!(quits("<C-c>"), []);
    assert_eq!(quits("<C-c><C-c>"), [QuitHow::Stop]);
    assert_eq!(quits("<C-c><C-c><C-c>"), [QuitHow::Stop, QuitHow::StopNow]);
    assert_eq!(quits("<Esc><Esc><Esc>"), []);
    let mut idle = desk((120, 36));
    Arc::make_mut(&mut idle.snapshot).counts = crate::snapshot::Counts::default();
    let snapshot = idle.snapshot.clone();
    assert_eq!(update(&mut idle.model, Message::Key(Key::Char('q')), &snapshot), [Request::Quit(QuitHow::Leave)]);
}

#[test]
fn a_paste_runs_no_keys_and_a_field_takes_its_first_part_on_one_line() {
    let mut desk = desk((120, 36));
    let big = "xyqd\x03\n".repeat(200_000);
    desk.send(Message::Paste(big.clone()));
    assert_eq!((desk.sent(), desk.requests.len()), (&[][..], 0));
    assert!(desk.said().contains("ignored"));
    desk.type_keys("/");
    desk.send(Message::Paste(big));
    let Some(Dialog::Filter { field, .. }) = &desk.model.dialog else { panic!("the field is open") };
    assert_eq!(field.lines().len(), 1);
    assert!(field.lines()[0].chars().count() <= crate::tui::model::MAX_FIELD);
    assert!(field.lines()[0].chars().all(crate::text::is_plain));
    assert_eq!((desk.sent(), desk.requests.len()), (&[][..], 0));
}

#[test]
fn copying_hands_out_the_name_the_command_and_the_reasons() {
    let copied = |keys: &str| {
        let mut desk = desk((120, 36));
        desk.type_keys(keys);
        desk.requests.into_iter().find_map(|r| if let Request::Copy(text) = r { Some(text) } else { None })
    };
    assert_eq!(copied("yy").as_deref(), Some("link:server"));
    assert_eq!(copied("yc").as_deref(), Some("make -C server link:server LDFLAGS=-flto=thin"));
    assert!(copied("yw").unwrap().contains("[ ] lock db-schema"));
    assert_eq!(copied("yl"), None);
}

#[test]
fn keys_of_the_log_ask_for_moves_and_say_why_not() {
    let moves = |keys: &str| {
        let mut desk = desk((120, 36));
        desk.on(COMPILE_UI).type_keys("5");
        desk.model.log.moves.clear();
        desk.type_keys(keys);
        let moves: Vec<LogMove> = desk.model.log.moves.iter().copied().collect();
        (moves, desk.said().to_owned())
    };
    assert_eq!(moves("k").0, [LogMove::Lines(-1)]);
    assert_eq!(moves("gg").0, [LogMove::Start]);
    assert_eq!(moves("/err<Enter>").0, [LogMove::Search { forwards: false }]);
    assert_eq!(moves("k/re:e.r<Enter>N").0.last(), Some(&LogMove::Search { forwards: false }));
    assert_eq!(moves("$").0, [LogMove::SideEnd]);
    for (keys, why) in [
        ("n", "nothing searched yet"),
        ("wl", "long lines are wrapped"),
        ("]", "this is the newest attempt"),
        ("[[", "there is no earlier attempt"),
        ("M[", "several logs are shown as one"),
        ("o", "it has written nothing"),
        ("E", "there is nothing in the log"),
        ("v", "there is nothing in the log"),
    ] {
        assert!(moves(keys).1.contains(why), "{keys}: {}", moves(keys).1);
    }
    let mut desk = desk((120, 36));
    desk.on(COMPILE_UI).type_keys("5[");
    assert_eq!(desk.model.desk.attempt, Some((COMPILE_UI, 1)));
    desk.type_keys("]");
    assert_eq!(desk.model.desk.attempt, None, "the newest is not held on to");
    desk.type_keys("/re:(<Enter>");
    assert!(matches!(&desk.model.dialog, Some(Dialog::Search { problem: Some(p), .. }) if p.contains("unclosed")));
    desk.type_keys("<Esc>:say<Enter>hello all<Enter>");
    let said = Command::Post { text: "hello all".into(), priority: 0 };
    assert_eq!(desk.sent().last(), Some(&said));
    desk.type_keys("ll0");
    assert_eq!((desk.model.log.side, desk.model.focus), (0, Pane::Log), "0 is no count here");
    desk.type_keys("M");
    assert_eq!(desk.model.merged(), Some("build"));
    desk.type_keys("1j");
    assert!(desk.model.merged().is_none(), "another task, its log");
}

#[test]
fn the_pager_and_the_editor_get_the_log_that_is_shown() {
    let mut desk = desk((120, 36));
    desk.on(COMPILE_UI).type_keys("5");
    desk.model.log.source = crate::tui::log::Source::File("/logs/7".into(), crate::tui::sample::NOW, None);
    desk.type_keys("oe");
    assert_eq!(desk.requests, [Request::Pager("/logs/7".into()), Request::Editor("/logs/7".into())]);
}

#[test]
fn themes_are_previewed_and_escape_brings_the_old_one_back() {
    let mut desk = desk((120, 36));
    desk.type_keys("Tj");
    assert_eq!(desk.model.theme.name, "light");
    desk.type_keys("<Esc>");
    assert_eq!(desk.model.theme.name, "dark");
    desk.type_keys("Tj<Enter>");
    assert_eq!(desk.model.theme.name, "light");
}

#[test]
fn tabs_of_the_detail_pane_go_round_and_five_and_six_choose_theirs() {
    let mut desk = desk((80, 24));
    assert_eq!(desk.model.tab, Tab::Log);
    desk.type_keys("d");
    assert_eq!(desk.model.tab, Tab::Info);
    desk.type_keys("ddd");
    assert_eq!(desk.model.tab, Tab::Log);
    desk.type_keys("6");
    assert_eq!((desk.model.tab, desk.model.focus), (Tab::Why, Pane::Detail));
    desk.type_keys("5");
    assert_eq!((desk.model.tab, desk.model.focus), (Tab::Log, Pane::Log));
}

#[test]
fn a_click_selects_a_double_click_opens_and_the_wheel_moves_the_window() {
    let mut desk = desk((120, 36));
    let area = desk.model.areas().of(Pane::Queue).unwrap();
    let click = Message::Mouse(Mouse { kind: MouseKind::Click, x: 10, y: area.y + 2 });
    desk.send(click.clone());
    assert_eq!(desk.model.queue.row, desk.snapshot.offset);
    let before = desk.model.queue.collapsed.clone();
    desk.send(click);
    assert_ne!(desk.model.queue.collapsed, before, "the first row is a stage: it opens");
    let offset = desk.snapshot.offset;
    desk.send(Message::Mouse(Mouse { kind: MouseKind::WheelDown, x: 10, y: area.y + 5 }));
    assert_eq!(desk.snapshot.offset, offset + 3);
    let agents = desk.model.areas().of(Pane::Agents).unwrap();
    desk.send(Message::Mouse(Mouse { kind: MouseKind::Click, x: agents.x + 3, y: agents.y + 3 }));
    assert_eq!((desk.model.focus, desk.model.agent_row), (Pane::Agents, 1));
}

#[test]
fn the_palette_finds_by_words_and_shows_why_not() {
    let desk = desk((120, 36));
    let found = entries(&desk.model, "undo last", &desk.snapshot);
    assert_eq!(found[0].act, Act::Undo);
    let retry = &entries(&desk.model, "ret", &desk.snapshot)[0];
    assert_eq!((retry.act, retry.why_not.is_some()), (Act::Retry, true), "what was meant comes first, with its reason");
    let kill = entries(&desk.model, "kill now", &desk.snapshot).into_iter().find(|e| e.act == Act::Kill).unwrap();
    assert_eq!((kill.key.as_str(), kill.why_not.is_some()), ("X", true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_keys_at_any_size_neither_panic_nor_destroy_unasked(
        width in 0u16..300, height in 0u16..300,
        keys in prop::collection::vec(0usize..48, 0..40),
    ) {
        const WORDS: [&str; 48] = [
            "j", "k", "<Down>", "<PageDown>", "<PageUp>", "g", "G", "h", "l", "<Enter>", "<Tab>", "<S-Tab>", "1", "2", "3",
            "4", "5", "6", "9", "z", "+", "-", "p", "x", "X", "r", "b", "P", "u", "w", "/", "f", "t", "s", "y", "?", ":",
            "T", "<Esc>", "d", "v", "|", "M", "[", "]", "E", "$", "0",
        ];
        let mut desk = desk((width, height));
        for key in keys {
            desk.type_keys(WORDS[key]);
            let mut buffer = ratatui::buffer::Buffer::empty(ratatui::layout::Rect::new(0, 0, width, height));
            crate::tui::view::draw(&desk.model, &desk.snapshot, &mut buffer);
        }
        let asked = desk.requests.iter().any(|r| matches!(r, Request::Quit(QuitHow::StopNow)));
        prop_assert!(!asked);
    }

    #[test]
    fn the_mouse_anywhere_at_any_size_does_not_panic(
        width in 0u16..200, height in 0u16..100, x in 0u16..250, y in 0u16..120, kind in 0usize..3, focus in 1u8..7,
    ) {
        let mut desk = desk((width, height));
        let kind = [MouseKind::Click, MouseKind::WheelUp, MouseKind::WheelDown][kind];
        desk.type_keys(&focus.to_string());
        desk.send(Message::Mouse(Mouse { kind, x, y }));
        desk.send(Message::Mouse(Mouse { kind, x, y }));
    }
}

#[test]
fn what_is_asked_is_asked_of_all_that_is_marked() {
    let mut desk = desk((120, 36));
    desk.on(COMPILE_UI).type_keys("<Space>").on(LINK_SERVER).type_keys("<Space>");
    // the cursor has gone on, and is not meant
    let on = desk.model.queue.cursor;
    assert_ne!(on, Cursor::Task(LINK_SERVER));
    desk.type_keys("20+");
    let all = |commands: Vec<Command>| Command::All(commands);
    let priority = |task, priority| Command::SetPriority { task, priority };
    let before = |task: TaskId| desk.snapshot.marked.iter().find(|row| row.task == task).unwrap().priority;
    let raised = [COMPILE_UI, LINK_SERVER].map(|task| priority(task, before(task) + 20)).to_vec();
    assert_eq!(desk.sent(), [all(raised)]);
    desk.type_keys("x");
    match &desk.model.dialog {
        Some(Dialog::Confirm { title, command, .. }) => {
            assert_eq!(title, "Cancel 2 marked tasks?");
            let (a, b) = (Command::Cancel { task: COMPILE_UI }, Command::Cancel { task: LINK_SERVER });
            assert_eq!(*command, all(vec![a, b]));
        }
        other => panic!("no question: {other:?}"),
    }
    assert!(matches!(desk.requests.last(), Some(Request::Preview(_))));
    // one that runs is not held, the other is
    desk.type_keys("np");
    match &desk.model.dialog {
        Some(Dialog::Confirm { lines, command, .. }) => {
            assert_eq!(*command, all(vec![Command::Hold { task: LINK_SERVER }]));
            assert!(lines.iter().any(|line| line == "left out  1: compile:ui (running)"), "{lines:?}");
        }
        other => panic!("no question: {other:?}"),
    }
    desk.type_keys("nr");
    assert_eq!(desk.said(), "nothing to retry among 2 marked tasks");
    // what is about one task is about the one under the cursor
    desk.type_keys("<Esc>").type_keys("p");
    assert!(desk.model.marks.tasks.is_empty() && desk.model.dialog.is_none());
}

#[test]
fn rows_are_marked_one_by_one_as_a_range_as_a_stage_and_all() {
    let mut desk = desk((120, 36));
    let marked = |desk: &Desk| desk.model.marks.tasks.len();
    desk.on(COMPILE_UI).type_keys("<Space>");
    assert_eq!(marked(&desk), 1);
    desk.on(LINK_SERVER).type_keys("v");
    let range = marked(&desk);
    assert!(range >= 2, "{range}");
    desk.type_keys("<Space>");
    assert_eq!(marked(&desk), range - 1);
    desk.type_keys("*");
    assert_eq!(marked(&desk), desk.snapshot.counts.total);
    desk.type_keys("*");
    assert_eq!(marked(&desk), 0);
    desk.type_keys("fr").type_keys("*");
    assert_eq!(marked(&desk), desk.snapshot.matching);
    assert!(desk.snapshot.marked.iter().all(|row| row.phase == crate::snapshot::Phase::Running));
    // Esc takes the marks away before the filter
    desk.type_keys("<Esc>");
    assert!(marked(&desk) == 0 && !desk.model.queue.filter.terms.is_empty());
    desk.type_keys("<Esc>").type_keys("gg").type_keys("<Space>");
    let first = desk.snapshot.rows.iter().find_map(|row| match row {
        crate::snapshot::Row::Group(group) => Some(group.counts.total),
        crate::snapshot::Row::Task(_) => None,
    });
    assert_eq!(Some(marked(&desk)), first, "the stage under the cursor");
    desk.type_keys("2 ");
    assert!(desk.said().contains("1 goes to the queue"), "{}", desk.said());
}
