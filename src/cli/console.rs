//! The console's thread: a screen fed from the running session, and the sampler of CPU and memory beside it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::args::{Color, Show};
use super::replay::Rewind;
use crate::agents::load::Sampler;
use crate::engine::ids::{TaskId, Time};
use crate::engine::message::{Command, Refusal};
use crate::error::{Error, Result};
use crate::fault;
use crate::guard::ConsoleSide;
use crate::runtime::{Asked, Handle};
use crate::session::folder::Surroundings;
use crate::snapshot::build::{Frozen, Load, build};
use crate::snapshot::outputs::outputs;
use crate::snapshot::record::Keeper;
use crate::snapshot::{Output, Snapshot, Storage, View};
use crate::snapshot::{effect, written};
use crate::tui::theme::{Depth, Theme};
use crate::tui::{self, Change, Feed, Left, Options, QuitHow, Step};

/// How often CPU and memory are sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// A loop that has been storing and doing for so long waits for a disk: the header says so.
const STUCK_MS: u64 = 500;
/// At most so many trees are sampled.
const SAMPLED: usize = 256;
/// The first picture comes within this time, or the screen begins empty.
const FIRST_PICTURE: Duration = Duration::from_secs(2);

/// This file says that somebody has started a console here.
const WELCOMED: &str = "welcomed";

/// Starts the screen on a thread of its own.
pub fn start(handle: &Handle, show: &Show, side: Arc<ConsoleSide>) -> Result<JoinHandle<()>> {
    let options = Options { greets: is_first_time(), ..options(show)? };
    let handle = handle.clone();
    start_sampler(handle.clone());
    let run = move || {
        let mut feed = LiveFeed::new(handle.clone(), side);
        let left = catch_unwind(AssertUnwindSafe(|| tui::run(&mut feed, options)));
        match left.unwrap_or_else(|_| super::defect::screen_gave_up()) {
            Ok(Left::Over(_)) => {}
            Ok(Left::HungUp) => handle.ask(Asked::HangUp),
            Err(error) => {
                let text = format!("error: the screen could not be drawn: {error}\n");
                let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
                handle.ask(Asked::HangUp);
            }
        }
    };
    std::thread::Builder::new()
        .name("screen".into())
        .spawn(run)
        .map_err(|error| Error::internal(format!("no thread for the screen: {error}")))
}

/// How the screen is to look, by the command line and the environment.
pub(super) fn options(show: &Show) -> Result<Options> {
    let variable = |name: &str| std::env::var(name).ok();
    let mut options = Options::detect(show.theme.as_deref(), variable).map_err(Error::usage)?;
    if show.color == Color::Never {
        options.depth = Depth::None;
        options.theme = Theme::built_in("mono", Depth::None).map_err(Error::internal)?;
        options.theme_file = None;
    }
    options.ascii |= show.ascii;
    options.who = show.who();
    options.mouse &= !show.no_mouse;
    Ok(options)
}

/// Whether nobody has started a console here before; from now on somebody has. `QD_WELCOME=off` greets nobody.
fn is_first_time() -> bool {
    if std::env::var_os("QD_WELCOME").is_some_and(|value| value == "off") {
        return false;
    }
    let Ok(state) = Surroundings::of_process().and_then(|around| around.state_root()) else { return false };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&state);
    // Where nothing can be kept it would greet each time: then rather never.
    made.is_ok() && std::fs::File::create_new(state.join(WELCOMED)).is_ok()
}

/// A running session as the screen sees it.
struct LiveFeed {
    handle: Handle,
    side: Arc<ConsoleSide>,
    frozen: Arc<Frozen>,
    records: Keeper,
    answers: Receiver<(u64, std::result::Result<String, Refusal>)>,
    answer_to: Sender<(u64, std::result::Result<String, Refusal>)>,
    ticket: u64,
    /// What the session was so far, if that is looked at.
    rewind: Rewind,
    /// What there is to say.
    said: Vec<String>,
}

impl LiveFeed {
    fn new(handle: Handle, side: Arc<ConsoleSide>) -> Self {
        let began = Instant::now();
        let mut frozen = None;
        while frozen.is_none() && began.elapsed() < FIRST_PICTURE && handle.ended().is_none() {
            if handle.is_fresh() {
                frozen = handle.frozen();
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let (answer_to, answers) = channel();
        Self {
            handle,
            side,
            frozen: frozen.unwrap_or_default(),
            records: Keeper::default(),
            answers,
            answer_to,
            ticket: 0,
            rewind: Rewind::default(),
            said: Vec::new(),
        }
    }
}

impl Feed for LiveFeed {
    fn snapshot(&mut self, view: &View) -> Arc<Snapshot> {
        if let Some(replay) = &mut self.rewind.replay {
            return replay.snapshot(view);
        }
        if self.handle.is_fresh()
            && let Some(frozen) = self.handle.frozen()
        {
            self.frozen = frozen;
        }
        let now = self.handle.clock.now();
        let mut snapshot = build(&self.frozen, view, now);
        if view.record {
            snapshot.record = self.records.record(&self.frozen, now);
        }
        let stuck = self.handle.at_work_for();
        if stuck.0 >= STUCK_MS && snapshot.header.storage == Storage::Good {
            snapshot.header.storage = Storage::Slow(stuck);
        }
        Arc::new(snapshot)
    }

    fn changed(&mut self) -> bool {
        fault::panic_at("screen");
        if let Some(read) = self.rewind.look(&self.frozen) {
            self.said.extend(read.err());
            return true;
        }
        if let Some(replay) = &mut self.rewind.replay {
            return replay.changed();
        }
        self.handle.is_fresh() || self.handle.at_work_for().0 >= STUCK_MS
    }

    fn send(&mut self, command: Command) -> u64 {
        if let Some(replay) = &mut self.rewind.replay {
            return replay.send(command);
        }
        self.ticket += 1;
        self.handle.send(command, self.ticket, Some(self.answer_to.clone()));
        self.ticket
    }

    fn would(&mut self, command: &Command) -> Vec<String> {
        effect::effect(&self.frozen.engine.state, command)
    }

    fn says(&mut self, task: TaskId) -> String {
        written::fields(&self.frozen.engine.state, task)
    }

    fn check_change(&mut self, change: &Change) -> std::result::Result<(), String> {
        if self.rewind.replay.is_some() {
            return Err("this is a replay".to_owned());
        }
        super::spawn::command(change, &self.frozen.engine.state).map(|_| ())
    }

    fn make_change(&mut self, change: &Change) -> u64 {
        match super::spawn::command(change, &self.frozen.engine.state) {
            Ok(command) => self.send(command),
            Err(why) => {
                self.said.push(why);
                0
            }
        }
    }

    fn answers(&mut self) -> Vec<(u64, std::result::Result<String, Refusal>)> {
        let replayed = self.rewind.replay.iter_mut().flat_map(|replay| replay.answers()).collect::<Vec<_>>();
        let said = self.said.drain(..).map(|why| (0, Err(Refusal(why))));
        self.answers.try_iter().chain(replayed).chain(said).collect()
    }

    fn now(&self) -> Time {
        self.rewind.replay.as_ref().map_or_else(|| self.handle.clock.now(), |replay| replay.now())
    }

    fn suspend(&mut self) {
        if let Err(error) = self.side.suspend() {
            self.handle.note(format!("cannot be stopped: {error}"), false);
        }
    }

    fn outputs(&mut self, stage: &str, most: usize) -> (Vec<Output>, usize) {
        if let Some(replay) = &mut self.rewind.replay {
            return replay.outputs(stage, most);
        }
        outputs(&self.frozen, stage, most)
    }

    fn quit(&mut self, how: QuitHow) {
        let command = match how {
            QuitHow::Leave | QuitHow::Finish => Command::Drain,
            QuitHow::Detach => Command::Detach,
            QuitHow::Stop => Command::Stop,
            QuitHow::StopNow => Command::StopNow,
        };
        self.handle.send(command, 0, None);
    }

    fn ended(&self) -> Option<i32> {
        self.handle.ended()
    }

    fn rewind(&mut self) -> Option<String> {
        self.rewind.begin(&self.frozen)
    }

    fn go_live(&mut self) -> Option<String> {
        self.rewind.go_live()
    }

    fn steer(&mut self, step: Step) -> Option<String> {
        self.rewind.steer(step)
    }
}

/// Samples the trees of what runs, on a thread that ends with the process. Without it the screen only lacks two columns.
fn start_sampler(handle: Handle) {
    let run = move || {
        let Ok(mut sampler) = Sampler::new() else { return };
        while handle.ended().is_none() {
            std::thread::sleep(SAMPLE_EVERY);
            let leaders = handle.leaders(SAMPLED);
            let load = sampler.sample(&leaders);
            let tasks = load.tasks.iter().map(|task| (task.task, (task.cpu_percent, task.memory)));
            handle.set_load(Load { tasks: tasks.collect::<std::collections::BTreeMap<TaskId, _>>(), sampled: true });
        }
    };
    let _ = std::thread::Builder::new().name("sampler".into()).spawn(run);
}
