//! Screens as they are drawn, at the sizes that people have; and with text that would like to leave its cell.

use std::sync::Arc;
use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::model::{Dialog, Model, Pane, Tab, field};
use super::sample::{self, Sample};
use super::theme::{BUILT_IN, Depth, Meaning};
use super::update::{Message, update};
use super::*;
use crate::engine::ids::TaskId;
use crate::snapshot::{Counts, Header, Mode, Row, Storage};
use crate::text;

mod pictures;

const SIZES: [(u16, u16); 4] = [(160, 45), (120, 36), (80, 24), (40, 12)];

fn at(size: (u16, u16)) -> (Model, Sample, Arc<Snapshot>) {
    let (mut model, mut sample, mut snapshot) = sample::model(size, "dark", Depth::True);
    model.jump_to(TaskId(16));
    model.tab = Tab::Why;
    settle(&mut sample, &mut model, &mut snapshot);
    (model, sample, snapshot)
}

fn drawn(model: &Model, snapshot: &Snapshot) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, model.size.0, model.size.1));
    view::draw(model, snapshot, &mut buffer);
    buffer
}

/// The screen as text; the second cell of a wide character is left out.
fn words(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += text::width(symbol).max(1) as u16;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn screen(model: &Model, snapshot: &Snapshot) -> String {
    words(&drawn(model, snapshot))
}

fn size_name((w, h): (u16, u16)) -> String {
    format!("{w}x{h}")
}

#[test]
fn the_main_screen_at_every_size() {
    for size in SIZES {
        let (model, _, snapshot) = at(size);
        insta::assert_snapshot!(format!("main_{}", size_name(size)), screen(&model, &snapshot));
    }
}

#[test]
fn the_main_screen_in_ascii_without_colour() {
    for size in SIZES {
        let (mut model, mut sample, mut snapshot) = sample::model(size, "mono", Depth::None);
        model.ascii = true;
        model.jump_to(TaskId(16));
        settle(&mut sample, &mut model, &mut snapshot);
        let buffer = drawn(&model, &snapshot);
        assert!(words(&buffer).is_ascii());
        assert!(buffer.content.iter().all(|cell| rgb_of(cell).is_none()));
        insta::assert_snapshot!(format!("ascii_{}", size_name(size)), words(&buffer));
    }
}

// ── the log desk ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// The sample with logs, and the log pane alone on the screen; the cursor is on a task that runs for the second time.
struct LogDesk {
    model: Model,
    sample: Sample,
    snapshot: Arc<Snapshot>,
    readers: Readers,
    folder: tempfile::TempDir,
}

const COMPILE_UI: TaskId = TaskId(14);

fn log_desk(size: (u16, u16)) -> LogDesk {
    let (mut model, mut sample, mut snapshot) = sample::model(size, "dark", Depth::True);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        // What was written before one looked has times between the start and this.
        let at = std::time::UNIX_EPOCH + Duration::from_millis(sample::NOW.0 - 2_000);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    };
    write("1", sample::LOG_FAILED);
    write("2", sample::LOG);
    write("compile-core", "   Compiling core v0.1.0\n   Compiling core-macros v0.1.0\n   Compiling core-net v0.1.0\n");
    write("compile-net", "   Compiling net v0.3.1\nwarning: unused variable: `n`\n");
    write("compile-ui", sample::LOG);
    sample.log = Some(folder.path().join("2"));
    model.jump_to(COMPILE_UI);
    (model.focus, model.zoom, model.tab) = (Pane::Log, true, Tab::Log);
    settle(&mut sample, &mut model, &mut snapshot);
    let mut desk = LogDesk { model, sample, snapshot, readers: Readers::default(), folder };
    desk.serve();
    desk
}

impl LogDesk {
    fn serve(&mut self) {
        settle(&mut self.sample, &mut self.model, &mut self.snapshot);
        self.readers.serve(&mut self.sample, &mut self.model, &self.snapshot);
    }

    /// Types keys as the key table writes them, one after another.
    fn keys(&mut self, keys: &str) -> &mut Self {
        for key in keys.split(' ').filter(|key| !key.is_empty()) {
            update(&mut self.model, Message::Key(keymap::parse(key)[0]), &self.snapshot);
            self.serve();
        }
        self
    }

    fn words(&self, words: &str) -> String {
        words.chars().map(|c| c.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn screen(&self) -> String {
        screen(&self.model, &self.snapshot)
    }
}

#[test]
fn the_log_alone_at_every_size_with_a_search() {
    for size in SIZES {
        let mut desk = log_desk(size);
        insta::assert_snapshot!(format!("log_{}", size_name(size)), desk.screen());
        let typed = desk.words("migrate");
        desk.keys("/").keys(&typed).keys("<Enter>");
        insta::assert_snapshot!(format!("log_search_{}", size_name(size)), desk.screen());
    }
}

#[test]
fn the_log_with_times_wrapped_beside_an_attempt_merged_and_chosen_from() {
    let mut desk = log_desk((100, 20));
    insta::assert_snapshot!("log_times", desk.keys("t").screen());
    insta::assert_snapshot!("log_beside", desk.keys("|").screen());
    insta::assert_snapshot!("log_earlier", desk.keys("| [").screen());
    insta::assert_snapshot!("log_merged", desk.keys("] M").screen());
    insta::assert_snapshot!("log_chosen", desk.keys("M t v k k").screen());
    let mut narrow = log_desk((60, 18));
    insta::assert_snapshot!("log_wrapped", narrow.keys("w").screen());
    insta::assert_snapshot!("log_side", narrow.keys("w l l").screen());
    let mut searching = log_desk((80, 24));
    let typed = searching.words("re:(");
    insta::assert_snapshot!("dialog_search", searching.keys("/").keys(&typed).screen());
}

#[test]
fn output_keeps_its_colours_until_they_are_turned_off_and_cannot_hide() {
    let mut desk = log_desk((100, 20));
    std::fs::write(desk.folder.path().join("2"), "\x1b[31;4mred\x1b[0m\n\x1b[37;47mhidden\n\x1b[0;8mconcealed\n")
        .unwrap();
    desk.serve();
    let cell = |desk: &LogDesk, word: &str| {
        let buffer = drawn(&desk.model, &desk.snapshot);
        let at = words(&buffer).lines().enumerate().find_map(|(y, line)| {
            let before = line.split_once(word)?.0;
            Some((text::width(before) as u16, y as u16))
        });
        buffer[at.unwrap()].clone()
    };
    let red = cell(&desk, "red");
    assert_eq!((red.fg, red.modifier), (ratatui::style::Color::Red, Modifier::UNDERLINED));
    assert_ne!(cell(&desk, "hidden").fg, cell(&desk, "hidden").bg);
    assert!(!cell(&desk, "concealed").modifier.contains(Modifier::HIDDEN));
    desk.keys("c");
    assert_eq!(cell(&desk, "red").fg, cell(&desk, "concealed").fg);
}

#[test]
fn hostile_output_split_at_each_byte_reaches_no_cell_however_it_is_shown() {
    let long = format!("a{}b", "\u{301}".repeat(10_000));
    for bad in text::HOSTILE.iter().copied().chain([long.as_str()]) {
        let mut desk = log_desk((60, 18));
        let path = desk.folder.path().join("2");
        let bytes = bad.as_bytes();
        let step = (bytes.len() / 64).max(1);
        for at in (0..=bytes.len()).step_by(step) {
            std::fs::write(&path, &bytes[..at]).unwrap();
            desk.serve();
            let first = drawn(&desk.model, &desk.snapshot);
            std::io::Write::write_all(&mut std::fs::File::options().append(true).open(&path).unwrap(), &bytes[at..])
                .unwrap();
            desk.keys(["w", "t", "l", "c", "M"][at % 5]);
            desk.serve();
            for cell in first.content.iter().chain(&drawn(&desk.model, &desk.snapshot).content) {
                assert!(cell.symbol().chars().all(text::is_plain), "{bad:?} gave {:?}", cell.symbol());
            }
        }
    }
}

/// `QD_PICTURES=folder cargo test --lib pictures_of_the_log -- --ignored` draws the log desk to be looked at.
#[test]
#[ignore = "writes files where it is told to"]
fn pictures_of_the_log_desk() {
    let folder = std::path::PathBuf::from(std::env::var_os("QD_PICTURES").expect("QD_PICTURES names a folder"));
    let states =
        [("plain", ""), ("search", "/ s t e p <Enter>"), ("beside", "t |"), ("merged", "t M"), ("chosen", "v k k")];
    for size in SIZES {
        for theme in ["dark", "light", "terminal16"] {
            for (name, keys) in states {
                let mut desk = log_desk(size);
                let depth = if theme == "terminal16" { Depth::Ansi16 } else { Depth::True };
                (desk.model.theme, desk.model.depth) = (theme::Theme::built_in(theme, depth).unwrap(), depth);
                std::fs::write(desk.folder.path().join("2"), sample::LOG_COLOURED).unwrap();
                desk.keys(keys);
                let picture = svg::render(&drawn(&desk.model, &desk.snapshot), [255; 3], [0; 3]);
                std::fs::write(folder.join(format!("log-{name}-{}-{theme}.svg", size_name(size))), picture).unwrap();
            }
        }
    }
}

/// `cargo test --release --lib figures_of -- --ignored --nocapture` prints what the log desk costs on 1 GiB.
#[test]
#[ignore = "writes a gibibyte and prints figures"]
fn figures_of_a_log_of_a_gibibyte() {
    use std::io::Write;
    let memory = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned()
    };
    let mut desk = log_desk((160, 45));
    let path = desk.folder.path().join("2");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut written = 0;
    for n in 0u64.. {
        let needle = if n % 1_000_000 == 500_000 { "a needle" } else { "hay" };
        let line = format!(
            "12:04:31.{:03} worker-{} step {n}: {needle} in the \x1b[32mstack\x1b[0m of job {}\n",
            n % 1000,
            n % 7,
            n / 9
        );
        out.write_all(line.as_bytes()).unwrap();
        written += line.len();
        if written >= 1 << 30 {
            println!("{written} bytes, {n} lines");
            break;
        }
    }
    out.flush().unwrap();
    let before = memory();
    desk.readers = Readers::default();
    desk.model.log = log::Log::default();
    let began = Instant::now();
    desk.serve();
    let buffer = drawn(&desk.model, &desk.snapshot);
    println!("open and first frame: {:.2?}; resident {before} before, {} after", began.elapsed(), memory());
    assert!(words(&buffer).contains("step"));
    for (needle, hits) in [
        ("needle", true),
        ("re:need.e in", true),
        ("re:(worker|job)-?[3] step .*99: a", true),
        ("nowhere at all", false),
    ] {
        let typed = desk.words(needle).replace("   ", " <Space> ");
        desk.keys("G");
        let began = Instant::now();
        desk.keys("/").keys(&typed).keys("<Enter>");
        let mut first = None;
        loop {
            desk.serve();
            first = first.or(desk.model.log.hit.map(|_| began.elapsed()));
            if desk.model.log.tally.percent == 100 && (first.is_some() || desk.model.log.missed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let (all, tally) = (began.elapsed(), desk.model.log.tally);
        println!(
            "search “{needle}”: first hit {first:.2?}, all {all:.2?}, {} lines; resident {}",
            tally.lines,
            memory()
        );
        assert!(hits || desk.model.log.missed);
        desk.keys("<Esc>");
    }
    let began = Instant::now();
    for _ in 0..100 {
        desk.keys("<PageUp>");
        drawn(&desk.model, &desk.snapshot);
    }
    println!("a page up, with its frame: {:.2?}", began.elapsed() / 100);
    desk.keys("G");
    for (lines, what) in [(1, "one line"), (10, "ten lines"), (1000, "a thousand lines")] {
        let mut shown = drawn(&desk.model, &desk.snapshot);
        let mut bytes = 0;
        let began = Instant::now();
        for n in 0..100 {
            let mut file = std::fs::File::options().append(true).open(&path).unwrap();
            for line in 0..lines {
                writeln!(file, "12:04:31.000 worker-1 step {}: hay in the stack of job {line}", n * lines + line)
                    .unwrap();
            }
            desk.serve();
            let next = drawn(&desk.model, &desk.snapshot);
            let mut frame = Vec::new();
            let mut backend = ratatui::backend::CrosstermBackend::new(&mut frame);
            ratatui::backend::Backend::draw(&mut backend, shown.diff(&next).into_iter()).unwrap();
            bytes += frame.len();
            shown = next;
        }
        println!("following, {what} a frame at 160x45: {} bytes a frame, {:.2?}", bytes / 100, began.elapsed() / 100);
    }
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    desk.readers = Readers::default();
    let began = Instant::now();
    desk.serve();
    drawn(&desk.model, &desk.snapshot);
    println!("1 GiB without a newline: open and first frame {:.2?}; resident {}", began.elapsed(), memory());
}

#[test]
fn a_drag_chooses_lines_of_the_log_only_and_copies_them_when_it_ends() {
    use super::update::{Mouse, MouseKind};
    let mut desk = log_desk((100, 20));
    let area = desk.model.areas().log().unwrap();
    for (kind, x, y) in [(MouseKind::Click, 5, 1), (MouseKind::Drag, 9, 2), (MouseKind::Drag, 0, 500)] {
        let mouse = Mouse { kind, x: area.x + x, y: area.y + y };
        update(&mut desk.model, Message::Mouse(mouse), &desk.snapshot);
        desk.serve();
    }
    assert!(desk.screen().contains("choosing lines"));
    update(&mut desk.model, Message::Mouse(Mouse { kind: MouseKind::Release, x: 0, y: 0 }), &desk.snapshot);
    desk.serve();
    let (copied, more) = desk.model.log.copied.take().unwrap();
    assert!(!more && copied.lines().count() >= 1 && copied.lines().all(|line| line.starts_with("12:0")), "{copied}");
    assert_eq!(desk.model.log.selection, None);
}

// ── the timeline ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// The timeline of the sample, after these keys.
fn timeline(size: (u16, u16), theme: &str, depth: Depth, keys: &str) -> (Model, Arc<Snapshot>) {
    let (mut model, mut sample, mut snapshot) = sample::model(size, theme, depth);
    sample.record = Arc::new(sample::record(str::to_owned));
    model.jump_to(COMPILE_UI);
    settle(&mut sample, &mut model, &mut snapshot);
    for key in ["g", "t"].into_iter().chain(keys.split(' ').filter(|key| !key.is_empty())) {
        update(&mut model, Message::Key(keymap::parse(key)[0]), &snapshot);
        settle(&mut sample, &mut model, &mut snapshot);
    }
    (model, snapshot)
}

#[test]
fn the_timeline_at_every_size() {
    for size in SIZES {
        for (name, keys) in [("agents", ""), ("tasks", "t"), ("critical", "t c = ="), ("wait", "n")] {
            let (model, snapshot) = timeline(size, "dark", Depth::True, keys);
            insta::assert_snapshot!(format!("timeline_{name}_{}", size_name(size)), screen(&model, &snapshot));
        }
    }
    let (model, snapshot) = timeline((100, 30), "dark", Depth::True, "t t");
    insta::assert_snapshot!("timeline_locks", screen(&model, &snapshot));
}

#[test]
fn the_timeline_in_ascii_without_colour() {
    for size in SIZES {
        let (mut model, snapshot) = timeline(size, "mono", Depth::None, "t");
        model.ascii = true;
        let buffer = drawn(&model, &snapshot);
        assert!(words(&buffer).is_ascii());
        assert!(buffer.content.iter().all(|cell| rgb_of(cell).is_none()));
        insta::assert_snapshot!(format!("timeline_ascii_{}", size_name(size)), words(&buffer));
    }
}

#[test]
fn keys_of_the_timeline_change_what_is_seen_and_esc_goes_back_to_the_same_row() {
    let (model, snapshot) = timeline((120, 36), "dark", Depth::True, "");
    let all = model.chart.window(&snapshot.record, model.now);
    assert_eq!(model.subject(), Some(COMPILE_UI));
    let zoomed = |keys: &str| {
        let (model, snapshot) = timeline((120, 36), "dark", Depth::True, keys);
        model.chart.window(&snapshot.record, model.now)
    };
    let less = zoomed("= =");
    assert_eq!(less.1.since(less.0).0, all.1.since(all.0).0 / 4);
    assert!(zoomed("= = <Left>").0 < less.0 && zoomed("= = <Left> <Right> <Right>").0 >= less.0);
    assert!(zoomed("= = <Left> <Left> <Left> 0").1 == all.1 && zoomed("= = - - -") == all && zoomed("= = o") == all);
    // Along a lane and back, and to what waited longest; Enter goes to its task.
    let (earlier, _) = timeline((120, 36), "dark", Depth::True, "h");
    assert_ne!(earlier.subject(), model.subject());
    let (back, _) = timeline((120, 36), "dark", Depth::True, "h l");
    assert_eq!(back.subject(), model.subject());
    let (waits, snapshot) = timeline((120, 36), "dark", Depth::True, "n");
    assert_eq!(waits.subject(), Some(snapshot.record.waits[0].task));
    let (there, _) = timeline((120, 36), "dark", Depth::True, "t j <Enter>");
    assert_eq!((there.focus, there.subject().is_some()), (Pane::Queue, true));
    let (left, _) = timeline((120, 36), "dark", Depth::True, "j j <Esc>");
    assert_eq!((left.focus, left.subject()), (Pane::Queue, Some(COMPILE_UI)));
}

#[test]
fn hostile_names_reach_no_cell_of_the_timeline() {
    for bad in text::HOSTILE {
        let record = Arc::new(sample::record(|name| format!("{name}{bad}")));
        for size in SIZES {
            for keys in ["", "t", "t t", "t c", "n"] {
                let (model, snapshot) = timeline(size, "dark", Depth::True, keys);
                let snapshot = Snapshot { record: record.clone(), ..(*snapshot).clone() };
                for cell in &drawn(&model, &snapshot).content {
                    assert!(cell.symbol().chars().all(text::is_plain), "{bad:?} gave {:?}", cell.symbol());
                }
            }
        }
    }
}

#[test]
fn a_timeline_of_nothing_says_so_at_every_size() {
    for size in SIZES.into_iter().chain([(20, 5), (1, 1), (200, 12)]) {
        let (mut model, mut sample, mut snapshot) = sample::model(size, "dark", Depth::True);
        for key in ["g", "t", "j", "l", "n", "c", "=", "<Left>", "t", "<Enter>"] {
            update(&mut model, Message::Key(keymap::parse(key)[0]), &snapshot);
            settle(&mut sample, &mut model, &mut snapshot);
            let text = screen(&model, &snapshot);
            assert!(key != "t" || size.1 < 12 || text.contains("nothing has run yet"), "{text}");
        }
    }
}

// ── the graph ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The graph of the sample around a task, after these keys.
fn graph(size: (u16, u16), theme: &str, depth: Depth, task: TaskId, keys: &str) -> (Model, Arc<Snapshot>) {
    let (mut model, mut sample, mut snapshot) = sample::model(size, theme, depth);
    sample.frozen = Some(sample::frozen(str::to_owned));
    model.jump_to(task);
    settle(&mut sample, &mut model, &mut snapshot);
    for key in ["g", "d"].into_iter().chain(keys.split(' ').filter(|key| !key.is_empty())) {
        update(&mut model, Message::Key(keymap::parse(key)[0]), &snapshot);
        settle(&mut sample, &mut model, &mut snapshot);
    }
    (model, snapshot)
}

/// It needs some tasks that need one of them in turn; much waits for it.
const LINK_SERVER: TaskId = TaskId(16);

#[test]
fn the_graph_at_every_size() {
    for size in SIZES {
        let (model, snapshot) = graph(size, "dark", Depth::True, LINK_SERVER, "");
        insta::assert_snapshot!(format!("graph_{}", size_name(size)), screen(&model, &snapshot));
        let (model, snapshot) = graph(size, "dark", Depth::True, LINK_SERVER, "l <PageDown>");
        insta::assert_snapshot!(format!("graph_along_{}", size_name(size)), screen(&model, &snapshot));
        let (mut model, snapshot) = graph(size, "mono", Depth::None, COMPILE_UI, "");
        model.ascii = true;
        let buffer = drawn(&model, &snapshot);
        assert!(words(&buffer).is_ascii());
        insta::assert_snapshot!(format!("graph_ascii_{}", size_name(size)), words(&buffer));
    }
}

#[test]
fn keys_of_the_graph_go_along_edges_and_to_the_task() {
    let at = |keys: &str| graph((160, 45), "dark", Depth::True, LINK_SERVER, keys).0;
    assert_eq!(at("").subject(), Some(LINK_SERVER));
    let before = at("h");
    assert!(before.subject().is_some() && before.subject() != Some(LINK_SERVER));
    assert_eq!(at("h l").subject(), Some(LINK_SERVER));
    let siblings = at("l j");
    assert_ne!(siblings.subject(), at("l").subject());
    // Enter makes it the middle, once more goes to it in the queue.
    let middle = at("l j <Enter>");
    assert_eq!((middle.focus, middle.graph.centre), (Pane::Graph, siblings.graph.cursor));
    let queue = at("l j <Enter> <Enter>");
    assert_eq!((queue.focus, queue.subject()), (Pane::Queue, siblings.subject()));
    let back = at("l j <Esc>");
    assert_eq!((back.focus, back.subject()), (Pane::Queue, Some(LINK_SERVER)));
}

#[test]
fn hostile_names_reach_no_cell_of_the_graph() {
    for bad in text::HOSTILE {
        for size in SIZES {
            let (mut model, mut sample, mut snapshot) = sample::model(size, "dark", Depth::True);
            sample.frozen = Some(sample::frozen(|name| format!("{name}{bad}")));
            model.jump_to(LINK_SERVER);
            for key in ["g", "d", "h", "l", "l", "<PageDown>"] {
                update(&mut model, Message::Key(keymap::parse(key)[0]), &snapshot);
                settle(&mut sample, &mut model, &mut snapshot);
                for cell in &drawn(&model, &snapshot).content {
                    assert!(cell.symbol().chars().all(text::is_plain), "{bad:?} gave {:?}", cell.symbol());
                }
            }
        }
    }
}

fn rgb_of(cell: &ratatui::buffer::Cell) -> Option<[u8; 3]> {
    theme::rgb(cell.fg).or(theme::rgb(cell.bg))
}

#[test]
fn every_pane_alone() {
    for pane in Pane::ALL {
        let (mut model, mut sample, mut snapshot) = at((100, 20));
        model.focus = pane;
        model.zoom = true;
        model.tab = Tab::Why;
        settle(&mut sample, &mut model, &mut snapshot);
        insta::assert_snapshot!(format!("pane_{}", pane.name().to_lowercase()), screen(&model, &snapshot));
    }
    for tab in [Tab::Info, Tab::Attempts] {
        let (mut model, mut sample, mut snapshot) = at((100, 20));
        model.jump_to(TaskId(21));
        (model.focus, model.zoom, model.tab) = (Pane::Detail, true, tab);
        settle(&mut sample, &mut model, &mut snapshot);
        insta::assert_snapshot!(format!("tab_{}", tab.name().to_lowercase()), screen(&model, &snapshot));
    }
}

#[test]
fn every_dialog() {
    let keys = ["?", "w", ".", ":", "!", "@", "T", "q", "/", "x"];
    let names = ["help", "why", "menu", "palette", "alerts", "actions", "themes", "quit", "filter", "confirm"];
    for (key, name) in keys.into_iter().zip(names) {
        let (mut model, mut sample, mut snapshot) = at((100, 30));
        update(&mut model, Message::Key(keymap::parse(key)[0]), &snapshot);
        settle(&mut sample, &mut model, &mut snapshot);
        assert!(model.dialog.is_some(), "{key} opens {name}");
        insta::assert_snapshot!(format!("dialog_{name}"), screen(&model, &snapshot));
    }
}

#[test]
fn the_which_key_popup_comes_after_its_time_and_not_before() {
    let (mut model, _, snapshot) = at((100, 30));
    update(&mut model, Message::Key(keymap::Key::Char('g')), &snapshot);
    assert!(!screen(&model, &snapshot).contains("to the first failed task"));
    model.ui_ms += model::WHICH_KEY_MS;
    insta::assert_snapshot!("which_key", screen(&model, &snapshot));
}

#[test]
fn what_is_wrong_is_said_in_the_header() {
    let (mut model, _, snapshot) = at((160, 45));
    let mut snapshot = (*snapshot).clone();
    let mut said = String::new();
    let since = sample::NOW;
    for storage in [
        Storage::Slow(crate::engine::ids::Span(2000)),
        Storage::Full { since, why: "no space".into() },
        Storage::Broken { since, why: "I/O error".into() },
    ] {
        snapshot.header.storage = storage;
        said += screen(&model, &snapshot).lines().next().unwrap();
        said.push('\n');
    }
    snapshot.header = Header { guard_lost: true, mode: Mode::Paused, ..snapshot.header };
    snapshot.header.storage = Storage::Good;
    snapshot.header.due = Some((crate::engine::ids::Time(sample::NOW.0 - 90_000), "link:server".into()));
    said += screen(&model, &snapshot).lines().next().unwrap();
    said.push('\n');
    snapshot.header.mode = Mode::Finished;
    snapshot.header.guard_lost = false;
    model.toast("priority of link:server is 55".into(), false);
    said += screen(&model, &snapshot).lines().next().unwrap();
    insta::assert_snapshot!("header_troubles", said);
}

#[test]
fn an_empty_session_and_an_empty_filter_look_different() {
    let (model, _, snapshot) = at((80, 24));
    let mut none = (*snapshot).clone();
    (none.rows, none.counts, none.total_rows, none.detail) = (vec![], Counts::default(), 0, None);
    let empty = screen(&model, &none);
    assert!(empty.contains("No tasks yet"));
    let (mut model, mut sample, mut snapshot) = at((80, 24));
    model.queue.filter = crate::snapshot::filter::parse("nothing-is-called-so").unwrap();
    model.queue.filter_text = "nothing-is-called-so".into();
    settle(&mut sample, &mut model, &mut snapshot);
    let filtered = screen(&model, &snapshot);
    assert!(filtered.contains("Nothing passes the filter") && filtered.contains("0 of 248"), "{filtered}");
}

#[test]
fn the_smallest_screens_say_the_most_important() {
    for (size, want) in
        [((39, 11), "50/248  ✗ 1"), ((20, 3), "50/248"), ((19, 3), "50/248"), ((6, 1), "50/248"), ((1, 1), "")]
    {
        let (model, _, snapshot) = at(size);
        assert!(screen(&model, &snapshot).contains(want), "{size:?}: {}", screen(&model, &snapshot));
    }
    let (model, _, snapshot) = at((0, 0));
    assert_eq!(screen(&model, &snapshot), "");
}

#[test]
fn columns_stay_where_they_are_whatever_is_in_them() {
    let column = |snapshot: &Snapshot, model: &Model| {
        let text = screen(model, snapshot);
        text.lines().find(|line| line.contains("TASK")).unwrap().to_owned()
    };
    let (model, _, snapshot) = at((120, 36));
    let before = column(&snapshot, &model);
    let mut changed = (*snapshot).clone();
    for row in &mut changed.rows {
        if let Row::Task(row) = row {
            row.name = "a-name-that-is-much-longer-than-its-column-can-hold".into();
            row.note = "and a reason that never seems to end, for the best of reasons".into();
            row.priority = -1_000_000;
            row.since = crate::engine::ids::Time(0);
        }
    }
    assert_eq!(column(&changed, &model), before);
    for line in screen(&model, &changed).lines() {
        assert!(text::width(line) <= 120);
    }
}

/// Puts hostile text into every field that a snapshot or the model can carry it in.
fn poison(model: &mut Model, snapshot: &mut Snapshot, bad: &str) {
    let s = || bad.to_owned();
    snapshot.header.workflow = s();
    snapshot.header.session = s();
    snapshot.header.due = Some((sample::NOW, s()));
    snapshot.header.undo = Some(s());
    snapshot.header.storage = Storage::Broken { since: sample::NOW, why: s() };
    for row in &mut snapshot.rows {
        match row {
            Row::Group(row) => (row.name, row.why) = (s(), Some(s())),
            Row::Task(row) => {
                (row.name, row.note, row.agent, row.fallback) = (bad.into(), s(), Some(s()), Some(s()));
                row.stage = s();
            }
        }
    }
    for agent in &mut snapshot.agents {
        (agent.name, agent.tasks, agent.resources) = (s(), vec![s(), s()], vec![(s(), s(), 0.5)]);
    }
    for lock in &mut snapshot.locks {
        (lock.name, lock.used, lock.holders, lock.line) = (s(), s(), vec![(s(), s())], vec![s()]);
        lock.reserved_for = Some(s());
    }
    snapshot.progress.critical = vec![s()];
    snapshot.progress.limits = vec![(s(), 0.1)];
    snapshot.progress.eta_why_not = Some(s());
    if let Some(detail) = &mut snapshot.detail {
        detail.row.name = bad.into();
        for why in &mut detail.why {
            (why.text, why.more) = (s(), vec![s()]);
        }
        (detail.command, detail.replaced_by, detail.facts) = (s(), Some(s()), vec![(s(), s())]);
        (detail.after, detail.before, detail.log) = (vec![s()], vec![s()], Some(bad.into()));
        let attempt = crate::snapshot::AttemptLine {
            attempt: crate::engine::ids::Attempt(1),
            agent: s(),
            started: sample::NOW,
            ran: None,
            outcome: s(),
            good: false,
            log: None,
        };
        detail.attempts = vec![attempt];
    }
    for alert in &mut snapshot.alerts {
        alert.text = s();
    }
    for action in &mut snapshot.actions {
        (action.text, action.who) = (s(), s());
    }
    let row = crate::snapshot::SharedRow { key: s(), value: s(), version: 1, at: crate::engine::ids::Time(0), by: s() };
    snapshot.shared = (vec![row], 2);
    let at = crate::engine::ids::Time(0);
    snapshot.posts = vec![crate::snapshot::PostRow { at, by: s(), priority: 1, text: s() }];
    model.queue.filter_text = s();
    model.log.needle = s();
    model.log.problem = Some(s());
    model.toast(s(), true);
}

#[test]
fn hostile_text_in_every_field_reaches_no_cell() {
    for bad in text::HOSTILE {
        for size in SIZES {
            for tab in Tab::ALL {
                let (mut model, _, snapshot) = at(size);
                let mut snapshot = (*snapshot).clone();
                poison(&mut model, &mut snapshot, bad);
                model.tab = tab;
                let dialogs = [
                    None,
                    Some(Dialog::Why { scroll: 0 }),
                    Some(Dialog::Alerts { row: 0 }),
                    Some(Dialog::Actions { scroll: 0 }),
                    Some(Dialog::Shared { scroll: 0 }),
                    Some(Dialog::Messages { scroll: 0 }),
                    Some(Dialog::Menu { row: 0 }),
                    Some(Dialog::Confirm {
                        title: (*bad).into(),
                        lines: vec![(*bad).into()],
                        yes: (*bad).into(),
                        command: crate::engine::message::Command::Pause,
                    }),
                    Some(Dialog::Filter {
                        field: field(&text::clean(bad)),
                        before: String::new(),
                        problem: Some((*bad).into()),
                    }),
                    Some(Dialog::Quit),
                ];
                for dialog in dialogs {
                    model.dialog = dialog;
                    let buffer = drawn(&model, &snapshot);
                    for cell in &buffer.content {
                        assert!(cell.symbol().chars().all(text::is_plain), "{bad:?} gave {:?}", cell.symbol());
                    }
                }
            }
        }
    }
}

#[test]
fn no_pane_relies_on_the_last_line_of_defence() {
    // The mark that `neutralise` leaves is `�`; text that holds an escape must have been cleaned to `␛` before.
    let (mut model, _, snapshot) = at((120, 36));
    let mut snapshot = (*snapshot).clone();
    poison(&mut model, &mut snapshot, "\x1b[2Jx");
    model.tab = Tab::Info;
    let text = screen(&model, &snapshot);
    assert!(text.contains('␛') && !text.contains('�'), "{text}");
}

#[test]
fn every_theme_tells_every_state_apart_without_colour() {
    use crate::snapshot::Phase::*;
    let phases =
        [Running, Stopping, Ready, Delayed, Waiting, Held, Blocked, Failed, Lost, Cancelled, Skipped, Succeeded];
    let mut seen = std::collections::HashSet::new();
    for phase in phases {
        let (glyph, word, _) = glyphs::phase(phase);
        assert!(seen.insert(word) && text::width(glyph) == 1, "{word}");
    }
    for (name, _) in BUILT_IN {
        let (model, _, snapshot) = sample::model((120, 36), name, Depth::None);
        let buffer = drawn(&model, &snapshot);
        let selected = model.theme.of(Meaning::Selected).add_modifier;
        assert!(!selected.is_empty() && buffer.content.iter().any(|c| c.modifier.contains(selected)), "{name}");
        assert!(selected != Modifier::empty());
    }
}

#[test]
fn a_frame_costs_little() {
    let (model, _, snapshot) = at((200, 50));
    let mut buffer = Buffer::empty(Rect::new(0, 0, 200, 50));
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        view::draw(&model, &snapshot, &mut buffer);
        best = best.min(began.elapsed());
    }
    // A debug build on a busy machine; release is an order of magnitude faster.
    assert!(best < Duration::from_millis(30), "{best:?}");
}

#[test]
fn a_blocked_display_is_told_of_when_it_is_over() {
    let (mut model, _, snapshot) = at((120, 36));
    model.ui_ms = 1000;
    note_blocked(&mut model, Duration::from_secs(9), Duration::from_secs(10));
    update(&mut model, Message::Tick(sample::NOW, 10_050), &snapshot);
    assert!(screen(&model, &snapshot).contains("the display was blocked for 9 s"));
}

/// `QD_PICTURES=folder cargo test pictures -- --ignored` draws the README's pictures.
#[test]
#[ignore = "writes files where it is told to"]
fn pictures_of_the_main_screen_in_every_theme() {
    let folder = std::path::PathBuf::from(std::env::var_os("QD_PICTURES").expect("QD_PICTURES names a folder"));
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), sample::LOG).unwrap();
    for size in SIZES {
        for (theme, _) in BUILT_IN {
            let depth = if *theme == "terminal16" { Depth::Ansi16 } else { Depth::True };
            let (mut model, mut sample, mut snapshot) = sample::model(size, theme, depth);
            sample.log = Some(log.path().to_owned());
            model.jump_to(TaskId(if size.0 >= 150 { 15 } else { 16 }));
            model.tab = Tab::Why;
            settle(&mut sample, &mut model, &mut snapshot);
            Readers::default().serve(&mut sample, &mut model, &snapshot);
            let picture = svg::render(&drawn(&model, &snapshot), [255; 3], [0; 3]);
            std::fs::write(folder.join(format!("{}-{theme}.svg", size_name(size))), picture).unwrap();
        }
    }
}

// ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The sample as a moment of a recording, with a mark of each kind.
fn taped(size: (u16, u16)) -> (Model, Arc<Snapshot>) {
    use crate::engine::ids::Time;
    use crate::snapshot::{ReplayMark, ReplayStrip};
    let (mut model, _, snapshot) = at(size);
    let mut snapshot = (*snapshot).clone();
    let first = Time(sample::NOW.0 - 3_600_000);
    let after = |minutes: u64| Time(first.0 + minutes * 60_000);
    let marks = vec![
        (after(3), ReplayMark::Asked),
        (after(10), ReplayMark::Failed),
        (after(20), ReplayMark::Goal),
        (after(30), ReplayMark::Amiss),
        (after(100), ReplayMark::Opened),
    ];
    snapshot.header.replay = Some(Arc::new(ReplayStrip {
        at: sample::NOW,
        first,
        last: after(120),
        count: 4_812,
        of: 10_482,
        speed: 300,
        playing: true,
        living: false,
        returns: false,
        marks,
    }));
    snapshot.header.read_only = Some("read-only: replay".into());
    model.replay = true;
    (model, Arc::new(snapshot))
}

#[test]
fn a_replay_at_every_size() {
    for size in SIZES {
        let (mut model, snapshot) = taped(size);
        insta::assert_snapshot!(format!("replay_{}", size_name(size)), screen(&model, &snapshot));
        model.ascii = true;
        let drawn = screen(&model, &snapshot);
        assert!(drawn.is_ascii(), "{drawn}");
    }
}

// ── the tour ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_tour_page_by_page_is_as_high_on_each_and_fits_the_smallest() {
    let (mut model, mut sample, mut snapshot) = at((120, 36));
    model.dialog = Some(Dialog::Tour { page: 0 });
    let mut all = String::new();
    for page in 0..dialogs::tour::PAGES.len() {
        assert!(matches!(model.dialog, Some(Dialog::Tour { page: at }) if at == page));
        let drawn = screen(&model, &snapshot);
        let frame = |line: &&str| line.contains('┏') || line.contains('┗');
        let at: Vec<usize> = drawn.lines().enumerate().filter(|(_, l)| frame(l)).map(|(n, _)| n).collect();
        assert!(at.contains(&11) && at.contains(&23), "{at:?} {drawn}");
        all.push_str(&drawn.lines().skip(11).take(13).map(|line| format!("{line}\n")).collect::<String>());
        update(&mut model, Message::Key(keymap::Key::Char(' ')), &snapshot);
        settle(&mut sample, &mut model, &mut snapshot);
    }
    insta::assert_snapshot!("tour", all);
    for size in [(80, 24), (40, 12)] {
        let (mut model, _, snapshot) = at(size);
        model.dialog = Some(Dialog::Tour { page: 0 });
        insta::assert_snapshot!(format!("tour_{}", size_name(size)), screen(&model, &snapshot));
        model.ascii = true;
        for page in 0..dialogs::tour::PAGES.len() {
            model.dialog = Some(Dialog::Tour { page });
            let drawn = screen(&model, &snapshot);
            assert!(drawn.is_ascii(), "{drawn}");
        }
    }
}
