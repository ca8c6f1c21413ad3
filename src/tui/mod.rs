//! The console's screen. It reads snapshots and sends commands through a [`Feed`]; it knows nothing of the runtime behind
//! it. In reading order: `keymap` (what a key means), `model`, `update` (what happens), `view`, `panes` and `dialogs` (how
//! it looks), `terminal` (the only one that touches it).

pub mod canvas;
mod chart;
mod dialogs;
mod format;
mod glyphs;
mod handover;
pub mod keymap;
mod layout;
mod log;
mod logfile;
mod logsearch;
mod logtimes;
mod marks;
mod merged;
mod model;
mod paint;
mod panes;
mod reader;
#[cfg(test)]
mod sample;
pub mod svg;
pub mod terminal;
pub mod theme;
pub mod themefile;
mod update;
mod view;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::engine::ids::{TaskId, Time};
use crate::engine::message::{Command, Refusal};
use crate::snapshot::{Output, Snapshot, View};

use log::Source;
use model::{Dialog, Model, Seek};
use reader::Reader;
use terminal::{Gone, Terminal};
use theme::{Depth, Theme};
use themefile::ThemeFile;
use update::{Message, Request, update};

/// Where the screen gets its pictures and sends its commands. Every call returns at once.
pub trait Feed {
    /// The newest picture for this view.
    fn snapshot(&mut self, view: &View) -> Arc<Snapshot>;
    /// Whether there is something new since the last [`snapshot`](Self::snapshot).
    fn changed(&mut self) -> bool;
    /// Sends a command; its answer comes under this ticket.
    fn send(&mut self, command: Command) -> u64;
    /// What a command would come to, in words.
    fn would(&mut self, _command: &Command) -> Vec<String> {
        vec![]
    }
    /// What a task says of itself, as fields of a `Task(…)`.
    fn says(&mut self, _task: TaskId) -> String {
        String::new()
    }
    /// What is wrong with a change, if anything. Nothing is done.
    ///
    /// # Errors
    /// In words, placed; in several lines.
    fn check_change(&mut self, _change: &Change) -> Result<(), String> {
        Err("nothing can be changed here".to_owned())
    }
    /// Asks for a change in which nothing is wrong; its answer comes under this ticket.
    fn make_change(&mut self, _change: &Change) -> u64 {
        0
    }
    /// Answers since the last call: what was done, in words, or why not. Empty words are not shown.
    fn answers(&mut self) -> Vec<(u64, Result<String, Refusal>)>;
    /// The session's clock; of a recording, the instant shown.
    fn now(&self) -> Time;
    /// The terminal is the shell's again: stop the program's job; returns once it is continued.
    fn suspend(&mut self);
    /// The newest outputs of the tasks of a stage (by its name), at most so many, and how many are left out.
    fn outputs(&mut self, _stage: &str, _most: usize) -> (Vec<Output>, usize) {
        (vec![], 0)
    }
    /// The operator leaves in this way.
    fn quit(&mut self, how: QuitHow);
    /// The runtime has ended with this exit code: the screen leaves.
    fn ended(&self) -> Option<i32>;
    /// Shows what the session was so far, from its recording; what there is to say of it.
    fn rewind(&mut self) -> Option<String> {
        None
    }
    /// Shows the session as it is again; what there is to say of it.
    fn go_live(&mut self) -> Option<String> {
        None
    }
    /// Moves in a recording; what there is to say of it.
    fn steer(&mut self, _step: Step) -> Option<String> {
        None
    }
}

/// A change of the workflow, as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// A task, or fields of one.
    pub text: String,
    /// Of this one; a new one otherwise.
    pub task: Option<TaskId>,
}

/// A move in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Plays, or stops playing.
    Play,
    /// So many seconds on, or back.
    Seconds(i64),
    /// So many facts on, or back.
    Facts(i64),
    /// Plays faster.
    Faster,
    /// Plays slower.
    Slower,
    /// To the next mark, or the one before.
    Mark {
        /// The one before.
        back: bool,
    },
    /// To its beginning.
    Start,
    /// To its end.
    End,
}

/// How the operator leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuitHow {
    /// Nothing runs: just leave.
    Leave,
    /// Running tasks go on under the guard.
    Detach,
    /// Running tasks may finish, nothing new starts, then leave.
    Finish,
    /// Stop running tasks with their grace, then leave.
    Stop,
    /// Kill running tasks, then leave.
    StopNow,
}

/// How the screen ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The runtime ended with this exit code.
    Over(i32),
    /// The terminal is gone: the run goes on without a screen, as after a detach.
    HungUp,
}

/// How the screen looks and behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Resolved for `depth`.
    pub theme: Theme,
    /// Where it stands, if it is one of the user's own.
    pub theme_file: Option<PathBuf>,
    /// Colours of the terminal; themes chosen later are resolved for it.
    pub depth: Depth,
    /// Draw in ASCII only.
    pub ascii: bool,
    /// Mouse reports from the start.
    pub mouse: bool,
    /// Zone of all clock times shown.
    pub zone: TimeZone,
    /// Who sits at the keys: whose votes are given.
    pub who: String,
    /// It is started for the first time: a card greets.
    pub greets: bool,
    /// Shell command that shows text on its standard input: `$PAGER`.
    pub pager: String,
    /// Shell command that edits the file it is given: `$VISUAL`, `$EDITOR`.
    pub editor: String,
}

impl Options {
    /// From the environment (`NO_COLOR`, `COLORTERM`, `TERM`, `COLORFGBG`, `LC_ALL`, `LC_CTYPE`, `LANG`), with a theme by
    /// name if one was asked for. An unknown theme is an error that names the known ones.
    pub fn detect(theme: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let depth = Depth::detect(&variable);
        let name = theme.unwrap_or(theme::default_name(depth, variable("COLORFGBG").as_deref()));
        let theme_file = themefile::is_path(name).then(|| PathBuf::from(name));
        let theme = match &theme_file {
            Some(path) => themefile::read(path, depth)?,
            None => Theme::built_in(name, depth)?,
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let ascii = !(locale.contains("utf-8") || locale.contains("utf8"));
        let set = |name: &str| variable(name).filter(|command| !command.trim().is_empty());
        Ok(Self {
            theme,
            theme_file,
            depth,
            ascii,
            mouse: true,
            zone: TimeZone::system(),
            who: "operator".to_owned(),
            greets: false,
            pager: set("PAGER").unwrap_or_else(|| "less".into()),
            editor: set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into()),
        })
    }
}

/// Frames come at least this far apart, unless a key asks for one.
const FRAME: Duration = Duration::from_millis(33);
/// How long to wait for keys before looking at the feed again.
const POLL: Duration = Duration::from_millis(50);
/// How long while a search is under way: what it finds is gone to at once.
const SEARCHING: Duration = Duration::from_millis(10);
/// How often it is looked which logs a stage has, while they are merged.
const OUTPUTS: Duration = Duration::from_secs(1);
/// A terminal that took longer than this for a frame was blocked, and the operator is told.
const BLOCKED: Duration = Duration::from_secs(2);
/// A pause of ours longer than this was not ours: the program was stopped.
const STOPPED: Duration = Duration::from_secs(5);
/// At most so many snapshots are asked for to find the cursor again.
const MAX_SETTLE: usize = 8;
/// After so many display errors the screen gives up.
const MAX_FAILURES: u32 = 3;

/// Runs the screen until the runtime has ended or the terminal is gone. Blocks; meant for a thread of its own, so that a
/// terminal that does not take its frames stalls nothing else.
pub fn run(feed: &mut dyn Feed, options: Options) -> io::Result<Left> {
    let left = guarded(feed, &options);
    for report in terminal::take_panics() {
        let _ = io::Write::write_all(&mut io::stderr(), format!("{report}\n").as_bytes());
    }
    match left {
        Err(e) if terminal::is_gone(&e) => Ok(Left::HungUp),
        other => other,
    }
}

/// A display error starts the screen anew on the same session, a few times.
fn guarded(feed: &mut dyn Feed, options: &Options) -> io::Result<Left> {
    let title = feed.snapshot(&View::default()).header.workflow.clone();
    let mut terminal = Terminal::open(options.mouse, &title)?;
    let mut model = fresh(options, terminal.size());
    model.dialog = options.greets.then_some(Dialog::Tour { page: 0 });
    let mut failures = 0;
    loop {
        match catch_unwind(AssertUnwindSafe(|| drive(feed, &mut terminal, &mut model, options))) {
            Ok(left) => return left,
            Err(panic) => {
                failures += 1;
                if failures > MAX_FAILURES {
                    drop(terminal);
                    resume_unwind(panic);
                }
                model = fresh(options, terminal.size());
                terminal.forget();
            }
        }
    }
}

fn fresh(options: &Options, size: (u16, u16)) -> Model {
    let mut model = Model::new(size, options.theme.clone(), options.depth);
    model.ascii = options.ascii;
    model.mouse = options.mouse;
    model.zone = options.zone.clone();
    model.who = options.who.clone();
    model
}

/// What one run of the loop keeps.
struct Screen<'a> {
    feed: &'a mut dyn Feed,
    terminal: &'a mut Terminal,
    model: &'a mut Model,
    snapshot: Arc<Snapshot>,
    options: &'a Options,
    readers: Readers,
    frame: Buffer,
    began: Instant,
}

fn drive(feed: &mut dyn Feed, terminal: &mut Terminal, model: &mut Model, options: &Options) -> io::Result<Left> {
    let mut screen = Screen {
        feed,
        terminal,
        model,
        snapshot: Arc::default(),
        options,
        readers: Readers::default(),
        frame: Buffer::empty(Rect::ZERO),
        began: Instant::now(),
    };
    let mut messages = Vec::new();
    let mut last_frame: Option<Instant> = None;
    let mut second = u64::MAX;
    let mut theme_file = options.theme_file.as_deref().map(|path| ThemeFile::watch(path, options.depth));
    let (mut dirty, mut urgent) = (true, true);
    loop {
        screen.look_around(&mut messages);
        dirty |= screen.take_in(&mut messages)? || screen.feed.changed();
        let now = screen.feed.now().0 / 1000;
        if std::mem::replace(&mut second, now) != now {
            dirty = true;
            screen.look_at_theme(&mut theme_file);
        }
        dirty |= screen.read_log()?;
        let since = last_frame.map_or(Duration::MAX, |at| at.elapsed());
        if dirty && (urgent || since >= FRAME) {
            screen.draw()?;
            (last_frame, dirty) = (Some(Instant::now()), false);
        }
        if let Some(code) = screen.feed.ended() {
            return Ok(Left::Over(code));
        }
        let wait = if dirty { FRAME.saturating_sub(since) } else { screen.wait() };
        let asked = Instant::now();
        if screen.terminal.read(wait, &mut messages)? == Gone::HungUp {
            return Ok(Left::HungUp);
        }
        urgent = !messages.is_empty();
        let stopped = asked.elapsed().saturating_sub(wait);
        if stopped > STOPPED {
            messages.push(Message::Note(format!("the console was stopped for {} s", stopped.as_secs())));
        }
    }
}

/// Who reads the logs of the desk.
#[derive(Default)]
struct Readers {
    first: Reader,
    /// For the log beside it.
    second: Reader,
    /// When it was last asked which logs are merged.
    asked: Option<Instant>,
}

impl Readers {
    /// Reads what the desk is to show; returns whether that is anything new.
    fn serve(&mut self, feed: &mut dyn Feed, model: &mut Model, snapshot: &Snapshot) -> bool {
        let Some(inside) = model.areas().log() else { return false };
        let merged = model.merged().map(str::to_owned);
        let detail = model.detail(snapshot);
        let (source, second) = match &merged {
            Some(stage) => (Source::Merged(stage.clone()), None),
            None => (model.desk.source(detail, snapshot), model.desk.second(detail, snapshot)),
        };
        if let Some(stage) = &merged
            && (source != model.log.source || self.asked.is_none_or(|at| at.elapsed() >= OUTPUTS))
        {
            self.asked = Some(Instant::now());
            model.desk.outputs = feed.outputs(stage, merged::MAX_MERGED);
        }
        model.desk.second = second;
        let now = feed.now();
        let (shape, other) = panes::log::places(model, inside).shapes(model);
        let mut changed = self.first.serve(&mut model.log, &source, &model.desk.outputs.0, shape, now);
        if let (Some(shape), Some(second)) = (other, &model.desk.second) {
            if model.other.needle != model.log.needle {
                model.other.needle.clone_from(&model.log.needle);
                model.other.pattern.clone_from(&model.log.pattern);
            }
            changed |= self.second.serve(&mut model.other, &second.source, &[], shape, now);
        }
        changed
    }
}

impl Screen<'_> {
    /// Takes up a change of the theme's file, unless another theme was chosen meanwhile. A wrong one changes nothing but is told.
    fn look_at_theme(&mut self, file: &mut Option<ThemeFile>) {
        let Some(file) = file else { return };
        match file.look() {
            Some(Ok(theme)) if file.is(&self.model.theme.name) => self.model.theme = theme,
            Some(Err(why)) => self.model.toast(why, true),
            Some(Ok(_)) | None => {}
        }
    }

    /// Everything that is not a key: clocks, size, answers, reports of panics.
    fn look_around(&mut self, messages: &mut Vec<Message>) {
        let ui_ms = self.began.elapsed().as_millis() as u64;
        let mut first = vec![Message::Tick(self.feed.now(), ui_ms)];
        let size = self.terminal.size();
        if size != self.model.size {
            first.push(Message::Resize(size.0, size.1));
        }
        first.extend(
            self.feed.answers().into_iter().map(|(_, answer)| Message::Answer(answer.map_err(|refusal| refusal.0))),
        );
        first.extend(
            terminal::take_panics().into_iter().map(|report| Message::Note(format!("display error: {report}"))),
        );
        messages.splice(0..0, first);
    }

    /// Takes messages in, one after another, each on a settled cursor. Returns whether there is anything to draw.
    fn take_in(&mut self, messages: &mut Vec<Message>) -> io::Result<bool> {
        let mut dirty = false;
        for message in messages.drain(..) {
            let tick = matches!(message, Message::Tick(..));
            let (toasts, wake) = (self.model.toasts.len(), self.model.wake_at());
            let requests = update(self.model, message, &self.snapshot);
            dirty |= !tick || toasts != self.model.toasts.len() || wake != self.model.wake_at();
            if self.model.queue.seek != Seek::Settled || self.model.marks.are_unsettled() {
                settle(self.feed, self.model, &mut self.snapshot);
            }
            for request in requests {
                self.carry_out(request)?;
            }
        }
        Ok(dirty)
    }

    fn carry_out(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Send(command) => {
                self.feed.send(command);
            }
            Request::Preview(command) => {
                let would = self.feed.would(&command);
                if let Some(Dialog::Confirm { lines, .. }) = &mut self.model.dialog {
                    lines.extend(would);
                }
            }
            Request::Edit(task, name) => {
                let says = self.feed.says(task);
                update::edit(self.model, task, name, &says);
            }
            Request::CheckChange(change) => {
                let wrong = self.feed.check_change(&change).err();
                if let Some(Dialog::Write { problem, .. }) = &mut self.model.dialog {
                    *problem = wrong;
                }
            }
            Request::MakeChange(change) => match self.feed.check_change(&change) {
                Ok(()) => {
                    self.model.dialog = None;
                    self.feed.make_change(&change);
                }
                Err(wrong) => {
                    if let Some(Dialog::Write { problem, .. }) = &mut self.model.dialog {
                        *problem = Some(wrong);
                    }
                }
            },
            Request::Quit(how) => self.feed.quit(how),
            Request::Rewind => {
                let said = self.feed.rewind();
                said.into_iter().for_each(|said| self.model.toast(said, false));
            }
            Request::GoLive => {
                let said = self.feed.go_live();
                self.model.now = self.feed.now();
                said.into_iter().for_each(|said| self.model.toast(said, false));
            }
            Request::Steer(step) => {
                let said = self.feed.steer(step);
                self.model.now = self.feed.now();
                if let Some(said) = said {
                    self.model.toast(said, true);
                }
            }
            Request::Copy(text) => {
                let left_out = self.terminal.copy(&text)?;
                let cut =
                    if left_out > 0 { format!(", {} left out", format::bytes(left_out as u64)) } else { String::new() };
                let first = text.lines().next().unwrap_or_default();
                self.model.toast(format!("copied “{}”{cut}", crate::text::fit(first, 40)), false);
            }
            Request::Redraw => self.terminal.forget(),
            Request::Mouse(on) => self.terminal.set_mouse(on)?,
            Request::Suspend => {
                self.terminal.give_back();
                self.feed.suspend();
                self.terminal.take()?;
            }
            Request::Pager(log) => {
                self.terminal.give_back();
                let (tty, feed) = (self.terminal.tty(), &*self.feed);
                let said = handover::pager(tty, &self.options.pager, &log, || feed.ended().is_some());
                self.terminal.take()?;
                if let Err(why) = said {
                    self.model.toast(why, true);
                }
            }
            Request::Editor(log) => {
                self.terminal.give_back();
                let (tty, feed) = (self.terminal.tty(), &*self.feed);
                let said = handover::editor(tty, &self.options.editor, &log, || feed.ended().is_some());
                self.terminal.take()?;
                match said {
                    Ok(0) => {}
                    Ok(left_out) => {
                        let left_out = format::bytes(left_out);
                        self.model.toast(format!("the first {left_out} of the log were not in that copy"), true);
                    }
                    Err(why) => self.model.toast(why, true),
                }
            }
        }
        Ok(())
    }

    /// Brings the log desk up to date; returns whether anything that is shown changed.
    fn read_log(&mut self) -> io::Result<bool> {
        let changed = self.readers.serve(self.feed, self.model, &self.snapshot);
        let Some((text, more)) = self.model.log.copied.take() else { return Ok(changed) };
        self.carry_out(Request::Copy(text))?;
        if more {
            self.model.toast("more was chosen than can be copied: its beginning was".into(), true);
        }
        Ok(true)
    }

    fn draw(&mut self) -> io::Result<()> {
        settle(self.feed, self.model, &mut self.snapshot);
        self.read_log()?;
        let (width, height) = self.model.size;
        let area = Rect::new(0, 0, width, height);
        if self.frame.area != area {
            self.frame = Buffer::empty(area);
        }
        view::draw(self.model, &self.snapshot, &mut self.frame);
        let took = self.terminal.show(&mut self.frame)?;
        note_blocked(self.model, took, self.began.elapsed());
        Ok(())
    }

    /// How long to wait for keys.
    fn wait(&self) -> Duration {
        if self.readers.first.is_busy() || self.readers.second.is_busy() {
            return SEARCHING;
        }
        let ui_ms = self.began.elapsed().as_millis() as u64;
        let wake = self.model.wake_at().map(|at| Duration::from_millis(at.saturating_sub(ui_ms) + 1));
        wake.map_or(POLL, |wake| wake.min(POLL))
    }
}

/// Says how long the terminal took no frame. The screen's clock stood still meanwhile: it is set first, or the note would be
/// over before it is seen.
fn note_blocked(model: &mut Model, took: Duration, since_start: Duration) {
    if took > BLOCKED {
        model.ui_ms = since_start.as_millis() as u64;
        model.toast(format!("the display was blocked for {} s; tasks went on", took.as_secs()), true);
    }
}

/// Asks for snapshots until the cursor has found its row.
fn settle(feed: &mut dyn Feed, model: &mut Model, snapshot: &mut Arc<Snapshot>) {
    for _ in 0..MAX_SETTLE {
        *snapshot = feed.snapshot(&model.view());
        if !model.reconcile(snapshot) {
            break;
        }
    }
    model.replay = snapshot.header.replay.is_some();
}

#[cfg(test)]
mod screens;
