//! A robot at a terminal: starts a program in a real pty, types, resizes, reads the screen back through a terminal emulator,
//! and looks at what the terminal is like before and after.

use std::io::Write;
use std::num::NonZeroU16;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pts, Pty, open};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{Termios, tcgetattr};
use vt100::{MouseProtocolMode, Parser, Screen};

use super::{LONG, Place, QD};

/// A program at a terminal.
pub struct Robot {
    pty: Arc<Pty>,
    /// Kept open, so that reading does not end with the program.
    _pts: Pts,
    child: Child,
    seen: Arc<Mutex<Seen>>,
    /// The terminal takes nothing.
    deaf: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    before: Termios,
    /// When the program was started.
    pub began: Instant,
}

/// What came from the program.
pub struct Seen {
    parser: Parser,
    /// All of it.
    pub bytes: Vec<u8>,
    /// How much of it the emulator has seen.
    shown: usize,
}

impl Seen {
    /// The emulator leaves U+FFFD out, which moves all that follows: it is shown another mark instead.
    fn take(&mut self, bytes: &[u8]) {
        const MARK: &[u8] = "\u{fffd}".as_bytes();
        self.bytes.extend_from_slice(bytes);
        let mut rest = &self.bytes[self.shown..];
        while let Some(at) = rest.windows(MARK.len()).position(|part| part == MARK) {
            self.parser.process(&rest[..at]);
            self.parser.process("¿".as_bytes());
            rest = &rest[at + MARK.len()..];
        }
        // The beginning of one may be at the end.
        let kept = (1..MARK.len()).rev().find(|n| rest.ends_with(&MARK[..*n])).unwrap_or(0);
        self.parser.process(&rest[..rest.len() - kept]);
        self.shown = self.bytes.len() - kept;
    }
}

impl Robot {
    /// `qd` with these arguments at a terminal of this size.
    pub fn qd(place: &Place, size: (u16, u16), args: &[&str]) -> Self {
        Self::start(place, size, QD, args, &[])
    }

    /// A program at a terminal of this size (columns, rows), with variables beside the usual ones.
    pub fn start(place: &Place, size: (u16, u16), program: &str, args: &[&str], more: &[(&str, &str)]) -> Self {
        let (pty, pts) = open().expect("a pty");
        pty.resize(Size::new(size.1, size.0)).expect("it has a size");
        let before = tcgetattr(&pty).expect("it has modes");
        let mut command = Command::new(program).args(args).env_clear().current_dir(place.root());
        command = command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command = command.envs(place.variables()).envs(more.iter().copied());
        let began = Instant::now();
        let child = command.spawn_borrowed(&pts).expect("the program starts");
        let parser = Parser::new(cells(size.1), cells(size.0), 100);
        let seen = Arc::new(Mutex::new(Seen { parser, bytes: Vec::new(), shown: 0 }));
        let (deaf, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let pty = Arc::new(pty);
        let reader = {
            let (pty, seen, deaf, over) = (pty.clone(), seen.clone(), deaf.clone(), over.clone());
            std::thread::spawn(move || read(&pty, &seen, &deaf, &over))
        };
        Self { pty, _pts: pts, child, seen, deaf, over, reader: Some(reader), before, began }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All bytes so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.seen().bytes.clone()
    }

    /// Asks the emulator something.
    pub fn ask<T>(&self, question: impl FnOnce(&Screen) -> T) -> T {
        question(self.seen().parser.screen())
    }

    /// The screen as lines.
    pub fn lines(&self) -> Vec<String> {
        self.ask(|screen| {
            let columns = screen.size().1.get();
            screen.rows(0, columns).map(|row| row.trim_end().to_owned()).collect()
        })
    }

    /// Waits until the lines are so. `what` is what is waited for, in words.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&[String]) -> bool) -> Vec<String> {
        let began = Instant::now();
        loop {
            let lines = self.lines();
            if holds(&lines) {
                return lines;
            }
            assert!(began.elapsed() < LONG, "waited {LONG:?} for {what}; the screen is\n{}", lines.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until this stands somewhere.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.until(&format!("“{text}”"), |lines| lines.iter().any(|line| line.contains(text)));
    }

    /// Waits until this stands nowhere.
    #[track_caller]
    pub fn shows_no(&self, text: &str) {
        self.until(&format!("no “{text}”"), |lines| lines.iter().all(|line| !line.contains(text)));
    }

    /// Waits until the queue's line of this task is so.
    #[track_caller]
    pub fn row(&self, task: &str, holds: impl Fn(&str) -> bool) {
        let what = format!("the right line of {task}");
        self.until(&what, |lines| row_of(lines, task).is_some_and(|at| holds(&lines[at])));
    }

    /// Waits until this task's line says this.
    #[track_caller]
    pub fn row_says(&self, task: &str, text: &str) {
        self.row(task, |line| line.contains(text));
    }

    /// Waits until these tasks' lines stand in this order.
    #[track_caller]
    pub fn order(&self, tasks: &[&str]) {
        self.until(&format!("the order {tasks:?}"), |lines| {
            let rows: Vec<_> = tasks.iter().map(|task| row_of(lines, task)).collect();
            rows.iter().all(Option::is_some) && rows.is_sorted()
        });
    }

    /// Moves the cursor to this task with `j` and `k`, each step seen before the next.
    #[track_caller]
    pub fn go_to(&self, task: &str) {
        for _ in 0..100 {
            let lines = self.until("cursor and task", |lines| cursor(lines).is_some() && row_of(lines, task).is_some());
            let (at, to) = (cursor(&lines).expect("waited for"), row_of(&lines, task).expect("waited for"));
            if at == to {
                return;
            }
            self.keys(if to > at { "j" } else { "k" });
            let name = name_on(&lines[at]);
            self.until("the cursor to move", |now| cursor(now).is_some_and(|at| name_on(&now[at]) != name));
        }
        panic!("the cursor does not come to {task}");
    }

    /// Types these bytes.
    pub fn keys(&self, keys: &str) {
        self.send(keys.as_bytes());
    }

    /// Sends these bytes.
    pub fn send(&self, bytes: &[u8]) {
        (&*self.pty).write_all(bytes).expect("the terminal takes input");
    }

    /// Sends the program a signal.
    pub fn signal(&self, number: i32) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let signal = rustix::process::Signal::from_named_raw(number).expect("a signal");
        rustix::process::kill_process(pid, signal).expect("the program is there");
    }

    /// The terminal is of this size now. The emulator keeps at least one cell.
    pub fn resize(&self, columns: u16, rows: u16) {
        let mut seen = self.seen();
        seen.parser.set_size(cells(rows), cells(columns));
        self.pty.resize(Size::new(rows, columns)).expect("it has a size");
    }

    /// The terminal takes nothing more, or everything again.
    pub fn deafen(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Waits for the end of the program; its exit code.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            let lines = self.lines();
            assert!(began.elapsed() < LONG, "waited {LONG:?} for its end; the screen is\n{}", lines.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        };
        self.settle();
        status.code().unwrap_or(-1)
    }

    /// Waits for its end; then the terminal must be as before. Returns the exit code.
    #[track_caller]
    pub fn end_with_the_terminal_as_before(&mut self) -> i32 {
        let code = self.end();
        self.is_as_before();
        code
    }

    /// Fails unless the terminal is as it was before the program.
    #[track_caller]
    pub fn is_as_before(&self) {
        let now = tcgetattr(&*self.pty).expect("it has modes");
        let modes = |termios: &Termios| format!("{:?}", termios);
        assert_eq!(modes(&now), modes(&self.before), "the modes of the terminal");
        self.ask(|screen| {
            assert!(!screen.alternate_screen(), "the alternate screen is left");
            assert!(!screen.hide_cursor(), "the cursor is shown");
            assert!(!screen.bracketed_paste(), "bracketed paste is off");
            assert!(screen.mouse_protocol_mode() == MouseProtocolMode::None, "the mouse is off");
            assert!(screen.fgcolor() == vt100::Color::Default && screen.bgcolor() == vt100::Color::Default);
            assert!(!screen.bold() && !screen.inverse() && !screen.dim(), "attributes are reset");
        });
    }

    /// Fails if a whole new frame shows anything else than the changes since the last one had left: they must add up. Digits
    /// and graphs are not looked at, clocks go on.
    #[track_caller]
    pub fn redraw_changes_nothing(&self) {
        let blurred = || self.lines().iter().map(|line| blur(line)).collect::<Vec<_>>().join("\n");
        self.settle();
        let (before, bytes) = (blurred(), self.seen().bytes.len());
        self.keys("\x0c");
        let clear = b"\x1b[2J";
        super::until("a whole frame", || self.seen().bytes[bytes..].windows(clear.len()).any(|part| part == clear));
        self.settle();
        let after = blurred();
        if before != after {
            let seen = self.seen();
            let last =
                String::from_utf8_lossy(&seen.bytes[bytes.saturating_sub(4000)..bytes]).escape_debug().to_string();
            panic!("before\n{before}\nafter\n{after}\nlast bytes\n{last}");
        }
    }

    /// Reads what is still on its way.
    fn settle(&self) {
        let mut before = usize::MAX;
        loop {
            let now = self.seen().bytes.len();
            if std::mem::replace(&mut before, now) == now {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind: the console takes the loss of its terminal for a detach, so it is asked
        // to stop first.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = (&*self.pty).write_all(b"\x03\x03\x03");
            let began = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.over.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The emulator has at least one cell.
fn cells(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN)
}

fn read(pty: &Pty, seen: &Mutex<Seen>, deaf: &AtomicBool, over: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while !over.load(Ordering::SeqCst) {
        if deaf.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        let mut fds = [PollFd::new(pty, PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if !matches!(rustix::event::poll(&mut fds, Some(&wait)), Ok(n) if n > 0) {
            continue;
        }
        let Ok(n) = rustix::io::read(pty, &mut buffer[..]) else { continue };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take(&buffer[..n]);
    }
}

/// The line of the queue that is this task's: its name stands right after a phase's glyph.
pub fn row_of(lines: &[String], task: &str) -> Option<usize> {
    const GLYPHS: &str = "●◍◎↻◔○⊘‽✗◌⊗»✓";
    lines.iter().position(|line| {
        let Some((before, after)) = line.split_once(&format!(" {task}")) else { return false };
        let whole = after.chars().next().is_none_or(|c| c == ' ');
        whole
            && before.trim_start_matches(['┃', '│', '>', '◆', ' ']).chars().count() == 1
            && before.trim_end().chars().last().is_some_and(|c| GLYPHS.contains(c))
    })
}

/// The line that the queue's cursor is on.
pub fn cursor(lines: &[String]) -> Option<usize> {
    lines.iter().position(|line| line.trim_start_matches(['┃', '│']).starts_with('>'))
}

/// A line in which each number is one digit and each gap one blank.
fn blur(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() || ('▁'..='█').contains(&c) { '0' } else { c };
        if !(matches!(c, '0' | ' ') && out.ends_with(c)) {
            out.push(c);
        }
    }
    out
}

/// The name on a line of the queue: its first word behind cursor and glyph.
fn name_on(line: &str) -> String {
    let mut words = line.trim_start_matches(['┃', '│', '>', ' ']).split_whitespace().skip(1);
    words.next().unwrap_or_default().to_owned()
}
