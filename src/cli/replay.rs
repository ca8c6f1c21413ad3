//! `qd replay`: a session as it was, at any moment, on the same screen. Reads its journal and changes nothing.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::args::Replay as Args;
use super::console::options;
use super::live;
use super::resume::open_journal;
use crate::engine::decide::Engine;
use crate::engine::fact::Stamped;
use crate::engine::ids::{Span, Time};
use crate::engine::message::{Command, Refusal};
use crate::error::{Error, Result};
use crate::replay::{Head, Mark, Tape};
use crate::runtime::rates::Meter;
use crate::session::folder::{Folder, LOG};
use crate::session::journal::read::Reader;
use crate::session::lock::living_holder;
use crate::snapshot::build::{Frozen, Rates, build};
use crate::snapshot::outputs::outputs;
use crate::snapshot::record::Keeper;
use crate::snapshot::{Output, ReplayMark, ReplayStrip, Snapshot, View};
use crate::tui::{self, Feed, Left, QuitHow, Step};

/// How fast it can be played.
const SPEEDS: [u32; 10] = [1, 2, 5, 10, 30, 60, 300, 1_000, 3_600, 10_000];
/// It is first played so fast that all of it takes about this long.
const WATCHED: Span = Span::secs(30);
/// What is counted over time is counted from so many facts at most.
const COUNTED: usize = 10_000;
/// Why nothing is changed.
const READ_ONLY: &str = "read-only: replay";

/// `qd replay`.
pub fn replay(args: &Args) -> Result<i32> {
    let folder = live::sessions()?.folder(&args.session)?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Error::usage("a replay needs a terminal").hint("qd report NAME says what was, in text or HTML"));
    }
    let tape = Tape::of(facts(&folder)?);
    if tape.is_empty() {
        return Err(Error::usage(format!("session {} has nothing to show", folder.name())));
    }
    let options = options(&args.show)?;
    let living = living_holder(&folder).is_some();
    let mut feed = ReplayFeed::new(tape, (folder.name(), &folder.path().join(LOG)), living);
    match tui::run(&mut feed, options) {
        Ok(Left::Over(code)) => Ok(code),
        Ok(Left::HungUp) => Ok(0),
        Err(error) => Err(Error::internal(format!("the screen could not be drawn: {error}"))),
    }
}

/// All that was stored, up to where it is damaged, if it is.
pub(super) fn facts(folder: &Folder) -> Result<Vec<Stamped>> {
    let mut reader = Reader::new(open_journal(folder)?).map_err(Error::from)?;
    let mut facts = Vec::new();
    while let Some(batch) = reader.next_batch() {
        facts.extend(batch.facts);
    }
    reader.finish().map_err(Error::from)?;
    Ok(facts)
}

/// What becomes of reading a session back on a thread of its own.
type ReadBack = Receiver<std::result::Result<Tape, String>>;

/// Reads back what was, on a thread of its own.
///
/// # Errors
/// The machine is out of threads.
fn read_back(folder: Option<PathBuf>) -> std::io::Result<ReadBack> {
    let (to, reading) = channel();
    let run = move || {
        let read = folder.ok_or_else(|| "it has no folder".to_owned()).and_then(|folder| {
            let folder = Folder::recording(&folder).map_err(|error| error.to_string())?;
            facts(&folder).map(Tape::of).map_err(|error| error.to_string())
        });
        // Who asked may have left.
        let _ = to.send(read);
    };
    std::thread::Builder::new().name("rewind".into()).spawn(run)?;
    Ok(reading)
}

/// Looking back from a session that lives: it is read back, then shown in the place of what is.
#[derive(Default)]
pub(super) struct Rewind {
    reading: Option<ReadBack>,
    /// What is shown.
    pub replay: Option<Box<ReplayFeed>>,
}

impl Rewind {
    /// Begins to read; what there is to say of it.
    pub fn begin(&mut self, frozen: &Frozen) -> Option<String> {
        if self.reading.is_some() {
            return None;
        }
        match read_back(frozen.log_dir.parent().map(Path::to_owned)) {
            Ok(reading) => self.reading = Some(reading),
            Err(error) => return Some(format!("no thread to read it back: {error}")),
        }
        Some("reading back what was".to_owned())
    }

    /// Shows it once it is read; why it cannot be, if so. Nothing while it is not.
    pub fn look(&mut self, frozen: &Frozen) -> Option<std::result::Result<(), String>> {
        let read = self.reading.as_ref()?.try_recv().ok()?;
        self.reading = None;
        Some(read.map(|tape| self.replay = Some(Box::new(ReplayFeed::of_living(tape, frozen)))))
    }

    /// Shows what is again; what there is to say of it.
    pub fn go_live(&mut self) -> Option<String> {
        self.replay = None;
        Some("live".to_owned())
    }

    /// Moves in what is shown; what there is to say of it.
    pub fn steer(&mut self, step: Step) -> Option<String> {
        self.replay.as_mut().and_then(|replay| replay.steer(step))
    }
}

/// A recording as the screen sees it.
pub(super) struct ReplayFeed {
    tape: Tape,
    head: Head,
    frozen: Arc<Frozen>,
    /// The picture is of another moment.
    stale: bool,
    records: Keeper,
    speed: usize,
    /// Since when it plays, and from which moment.
    playing: Option<(Instant, Time)>,
    refused: Vec<(u64, std::result::Result<String, Refusal>)>,
    ticket: u64,
    ended: Option<i32>,
    living: bool,
    /// It was entered from the living session.
    pub returns: bool,
}

impl ReplayFeed {
    /// At its beginning. `session` is its name and where its outputs are.
    pub fn new(tape: Tape, session: (&str, &Path), living: bool) -> Self {
        let (first, last) = tape.range();
        let wanted = last.since(first).0 / WATCHED.0.max(1);
        let speed = SPEEDS.iter().position(|speed| u64::from(*speed) >= wanted).unwrap_or(SPEEDS.len() - 1);
        let frozen = Frozen {
            session: session.0.to_owned(),
            log_dir: session.1.to_owned(),
            read_only: Some(READ_ONLY.to_owned()),
            ..Frozen::default()
        };
        Self {
            head: Head::at_start(&tape),
            tape,
            frozen: Arc::new(frozen),
            stale: true,
            records: Keeper::default(),
            speed,
            playing: None,
            refused: Vec::new(),
            ticket: 0,
            ended: None,
            living,
            returns: false,
        }
    }

    /// Goes on as far as time has.
    fn play(&mut self) {
        let Some((since, from)) = self.playing else { return };
        let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let to = from.plus(Span(ms.saturating_mul(u64::from(SPEEDS[self.speed]))));
        let before = self.head.count();
        self.head.go_to_time(&self.tape, to);
        self.stale |= self.head.count() != before;
        if to >= self.tape.range().1 {
            self.playing = None;
        }
    }

    /// Plays on from here, if it plays.
    fn go_on(&mut self) {
        if self.playing.is_some() {
            self.playing = Some((Instant::now(), self.head.time()));
        }
    }

    /// What was counted over time by then, from what happened last.
    fn rates(&self) -> Arc<Rates> {
        let facts = self.tape.before(self.head.count(), COUNTED);
        let mut meter = Meter::from(facts.first().map_or(Time(0), |first| first.at));
        for stamped in facts {
            meter.note(self.head.state(), stamped);
        }
        meter.tick(self.head.state(), self.head.time());
        meter.rates()
    }

    fn strip(&self) -> ReplayStrip {
        let (first, last) = self.tape.range();
        let mark = |(count, mark): &(usize, Mark)| {
            let kind = match mark {
                Mark::Failed => ReplayMark::Failed,
                Mark::Asked => ReplayMark::Asked,
                Mark::Goal => ReplayMark::Goal,
                Mark::Opened => ReplayMark::Opened,
                Mark::Amiss => ReplayMark::Amiss,
            };
            (self.tape.time_of(*count), kind)
        };
        ReplayStrip {
            at: self.head.time(),
            first,
            last,
            count: self.head.count(),
            of: self.tape.len(),
            speed: SPEEDS[self.speed],
            playing: self.playing.is_some(),
            living: self.living,
            returns: self.returns,
            marks: self.tape.marks().iter().map(mark).collect(),
        }
    }
}

impl ReplayFeed {
    /// At the end of what was so far, of a session that lives.
    pub fn of_living(tape: Tape, frozen: &Frozen) -> Self {
        let mut replay = Self::new(tape, (frozen.session.as_str(), frozen.log_dir.as_path()), true);
        replay.returns = true;
        let _ = replay.steer(Step::End);
        replay
    }
}

impl Feed for ReplayFeed {
    fn snapshot(&mut self, view: &View) -> Arc<Snapshot> {
        if std::mem::take(&mut self.stale) {
            let mut engine = Engine::new(self.head.state().clone());
            engine.look_around();
            let rates = self.rates();
            self.frozen = Arc::new(Frozen { engine, rates, ..(*self.frozen).clone() });
            self.records.forget();
        }
        let now = self.head.time();
        let mut snapshot = build(&self.frozen, view, now);
        if view.record {
            snapshot.record = self.records.record(&self.frozen, now);
        }
        snapshot.header.replay = Some(Arc::new(self.strip()));
        Arc::new(snapshot)
    }

    fn changed(&mut self) -> bool {
        let plays = self.playing.is_some();
        self.play();
        plays || self.stale
    }

    fn send(&mut self, _command: Command) -> u64 {
        self.ticket += 1;
        self.refused.push((self.ticket, Err(Refusal(READ_ONLY.to_owned()))));
        self.ticket
    }

    fn answers(&mut self) -> Vec<(u64, std::result::Result<String, Refusal>)> {
        std::mem::take(&mut self.refused)
    }

    fn now(&self) -> Time {
        self.head.time()
    }

    fn suspend(&mut self) {
        // It comes back once it is continued; if it cannot be stopped it simply goes on.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP);
    }

    fn outputs(&mut self, stage: &str, most: usize) -> (Vec<Output>, usize) {
        outputs(&self.frozen, stage, most)
    }

    fn quit(&mut self, _how: QuitHow) {
        self.ended = Some(0);
    }

    fn ended(&self) -> Option<i32> {
        self.ended
    }

    fn steer(&mut self, step: Step) -> Option<String> {
        self.play();
        let tape = &self.tape;
        let mut said = None;
        match step {
            Step::Play if self.playing.is_some() => self.playing = None,
            Step::Play => {
                if self.head.count() == tape.len() {
                    self.head.go_to(tape, tape.begin());
                }
                self.playing = Some((Instant::now(), self.head.time()));
            }
            Step::Seconds(seconds) => {
                self.head.skip(tape, Span::secs(seconds.unsigned_abs()), seconds < 0);
            }
            Step::Facts(facts) => {
                self.playing = None;
                self.head.step(tape, facts);
            }
            Step::Faster => self.speed = (self.speed + 1).min(SPEEDS.len() - 1),
            Step::Slower => self.speed = self.speed.saturating_sub(1),
            Step::Mark { back } => {
                if !self.head.to_mark(tape, back) {
                    said = Some(if back { "no mark before this" } else { "no mark after this" }.to_owned());
                }
            }
            Step::Start => self.head.go_to(tape, tape.begin()),
            Step::End => self.head.go_to(tape, tape.len()),
        }
        self.stale = true;
        self.go_on();
        said
    }
}
