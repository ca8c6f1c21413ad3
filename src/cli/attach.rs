//! `qd attach`: another console on a session that lives in another terminal. What happened it reads from the journal, as far as
//! it is written; what is asked goes over the socket and is decided there. So any number of consoles see one truth, and
//! none of them slows the session.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::Attach as Args;
use super::console::options;
use super::ctl;
use super::events::next;
use super::replay::Rewind;
use super::resume::replay;
use crate::agents::load::Sampler;
use crate::bus::client::{Client, Trouble};
use crate::bus::message::{ActOrder, Order, ToldLine};
use crate::engine::decide::Engine;
use crate::engine::fact::{Fact, Stamped};
use crate::engine::ids::{TaskId, Time};
use crate::engine::message::{Command, Refusal};
use crate::engine::state::State;
use crate::error::{Error, Kind, Result};
use crate::runtime::clock::Clock;
use crate::runtime::rates::Meter;
use crate::session::folder::{Folder, LOG};
use crate::session::journal::Position;
use crate::session::journal::read::Tail;
use crate::session::lock::living_holder;
use crate::snapshot::build::{Frozen, Load, build};
use crate::snapshot::outputs::outputs;
use crate::snapshot::record::Keeper;
use crate::snapshot::{Output, Snapshot, Told, View};
use crate::snapshot::{effect, written};
use crate::tui::{self, Change, Feed, Left, QuitHow, Step};

/// How often it is asked how far tasks have come.
const TOLD_EVERY: Duration = Duration::from_millis(500);
/// How often the journal is looked at for more.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// How often CPU and memory are sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// At most so many trees are sampled.
const SAMPLED: usize = 256;
/// Between two pictures there is so many times as long as one takes to make.
const PAUSE: u32 = 8;
/// What `--read-only` answers.
const READ_ONLY: &str = "read-only: attached to look";

type Answer = (u64, std::result::Result<String, Refusal>);

/// `qd attach`.
pub fn attach(args: &Args) -> Result<i32> {
    let folder = ctl::folder(args.session.as_deref())?;
    if living_holder(&folder).is_none() {
        let message = format!("session {} is run by no console", folder.name());
        let hint = format!("qd resume {0} goes on with it; qd replay {0} shows what it was", folder.name());
        return Err(Error::usage(message).hint(hint));
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let hint = "qd ctl events --follow tells what happens, in lines";
        return Err(Error::usage("a console needs a terminal").hint(hint));
    }
    let options = options(&args.show)?;
    let name = folder.name().to_owned();
    let mut feed = AttachFeed::begin(folder, options.who.clone(), args.read_only)?;
    let left = tui::run(&mut feed, options);
    match (left, feed.gone) {
        (Err(error), _) => Err(Error::internal(format!("the screen could not be drawn: {error}"))),
        (Ok(Left::HungUp), _) | (Ok(Left::Over(_)), None) => Ok(0),
        (Ok(Left::Over(_)), Some(Gone::Closed(code))) => Ok(code),
        (Ok(Left::Over(_)), Some(Gone::Away)) => {
            let (message, hint) = (format!("session {name}: its console is gone"), Some(format!("qd resume {name}")));
            Err(Error { kind: Kind::Stopped, message, hint })
        }
        (Ok(Left::Over(_)), Some(Gone::Unread(why))) => Err(Error::usage(why)),
    }
}

/// Why there is nothing more to see.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Gone {
    /// The session ended in good order, with this exit code.
    Closed(i32),
    /// Its console is gone.
    Away,
    /// Its journal cannot be read any further.
    Unread(String),
}

/// What the follower tells.
enum News {
    Facts(Vec<Stamped>),
    Gone(Gone),
}

/// What other threads find out.
#[derive(Default)]
struct Shared {
    told: Mutex<Option<BTreeMap<TaskId, Told>>>,
    load: Mutex<Option<Load>>,
    leaders: Mutex<Vec<(TaskId, i32)>>,
}

/// A session as its journal tells it.
struct AttachFeed {
    state: State,
    clock: Clock,
    meter: Meter,
    frozen: Arc<Frozen>,
    records: Keeper,
    news: Receiver<News>,
    gone: Option<Gone>,
    /// The picture is not of all that is known.
    stale: bool,
    /// When the last picture was made, and how long that took.
    made: (Instant, Duration),
    /// To the thread that asks the session.
    orders: Sender<(u64, Ask)>,
    answers: Receiver<Answer>,
    refused: Vec<Answer>,
    ticket: u64,
    shared: Arc<Shared>,
    rewind: Rewind,
    left: bool,
}

impl AttachFeed {
    fn begin(folder: Folder, who: String, read_only: bool) -> Result<Self> {
        let begun = replay(&folder)?;
        let (state, position) = (begun.state, begun.end.position);
        let client = Client::connect(folder.fd(), &who).map_err(|trouble| ctl::of(trouble, &folder))?;
        let frozen = Frozen {
            session: folder.name().to_owned(),
            log_dir: folder.path().join(LOG),
            attached: true,
            read_only: read_only.then(|| READ_ONLY.to_owned()),
            ..Frozen::default()
        };
        let (orders, asked) = channel();
        let (answer_to, answers) = channel();
        let (tell, news) = channel();
        let shared = Arc::new(Shared::default());
        let path = folder.path().to_owned();
        let of_link = shared.clone();
        spawn("link", move || Link { client: Some(client), who, answer_to }.run(&path, &asked, &of_link))?;
        spawn("follow", move || follow(&folder, position, &tell))?;
        let of_sampler = shared.clone();
        spawn("sampler", move || sample(&of_sampler))?;
        Ok(Self {
            clock: Clock::new(state.now),
            meter: Meter::new(&state),
            state,
            frozen: Arc::new(frozen),
            records: Keeper::default(),
            news,
            gone: None,
            stale: true,
            made: (Instant::now(), Duration::ZERO),
            orders,
            answers,
            refused: Vec::new(),
            ticket: 0,
            shared,
            rewind: Rewind::default(),
            left: false,
        })
    }

    /// Takes up what has come.
    fn hear(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            self.stale = true;
            match news {
                News::Facts(facts) => {
                    for stamped in &facts {
                        self.state.apply(stamped);
                        self.meter.note(&self.state, stamped);
                    }
                }
                News::Gone(gone) => self.gone = Some(gone),
            }
        }
        self.stale |= self.meter.tick(&self.state, self.clock.now());
        let told = self.shared.told.lock().expect("no holder panics").take();
        let load = self.shared.load.lock().expect("no holder panics").take();
        if told.is_some() || load.is_some() {
            let frozen = Arc::make_mut(&mut self.frozen);
            told.into_iter().for_each(|told| frozen.told = Arc::new(told));
            load.into_iter().for_each(|load| frozen.load = Arc::new(load));
            self.stale = true;
        }
        if let Some(read) = self.rewind.look(&self.frozen) {
            self.refused.extend(read.err().map(|why| (0, Err(Refusal(why)))));
            self.stale = true;
        }
    }

    /// A picture may be made again without taking all of the time.
    fn is_time(&self) -> bool {
        self.made.0.elapsed() >= self.made.1 * PAUSE
    }

    fn make_picture(&mut self) {
        let began = Instant::now();
        self.stale = false;
        let mut engine = Engine::new(self.state.clone());
        engine.look_around();
        let leader = |id: TaskId| Some((id, self.state.task(id).live.as_ref()?.process.as_ref()?.0.pid));
        let leaders = self.state.on_agent.iter().take(SAMPLED).filter_map(|(_, id)| leader(*id)).collect();
        *self.shared.leaders.lock().expect("no holder panics") = leaders;
        let frozen = Arc::make_mut(&mut self.frozen);
        (frozen.engine, frozen.rates) = (engine, self.meter.rates());
        self.made = (Instant::now(), began.elapsed());
    }

    fn refuse(&mut self, why: &str) {
        self.refused.push((self.ticket, Err(Refusal(why.to_owned()))));
    }
}

impl Feed for AttachFeed {
    fn snapshot(&mut self, view: &View) -> Arc<Snapshot> {
        self.hear();
        if let Some(replay) = &mut self.rewind.replay {
            return replay.snapshot(view);
        }
        if self.stale && self.is_time() {
            self.make_picture();
        }
        let now = self.clock.now();
        let mut snapshot = build(&self.frozen, view, now);
        if view.record {
            snapshot.record = self.records.record(&self.frozen, now);
        }
        Arc::new(snapshot)
    }

    fn changed(&mut self) -> bool {
        self.hear();
        match &mut self.rewind.replay {
            Some(replay) => replay.changed(),
            None => self.stale && self.is_time(),
        }
    }

    fn send(&mut self, command: Command) -> u64 {
        if let Some(replay) = &mut self.rewind.replay {
            return replay.send(command);
        }
        self.ticket += 1;
        if self.frozen.read_only.is_some() {
            self.refuse(READ_ONLY);
        } else if self.orders.send((self.ticket, Ask::Act(command))).is_err() {
            self.refuse("the session has gone");
        }
        self.ticket
    }

    fn would(&mut self, command: &Command) -> Vec<String> {
        effect::effect(&self.state, command)
    }

    fn says(&mut self, task: TaskId) -> String {
        written::fields(&self.state, task)
    }

    fn check_change(&mut self, change: &Change) -> std::result::Result<(), String> {
        match self.frozen.read_only.is_some() || self.rewind.replay.is_some() {
            true => Err(READ_ONLY.to_owned()),
            false => super::spawn::command(change, &self.state).map(|_| ()),
        }
    }

    fn make_change(&mut self, change: &Change) -> u64 {
        self.ticket += 1;
        let order = super::spawn::order(change, &self.state, None);
        if self.orders.send((self.ticket, Ask::Change(Box::new(order)))).is_err() {
            self.refuse("the session has gone");
        }
        self.ticket
    }

    fn answers(&mut self) -> Vec<Answer> {
        let replayed = self.rewind.replay.iter_mut().flat_map(|replay| replay.answers()).collect::<Vec<_>>();
        self.answers.try_iter().chain(replayed).chain(self.refused.drain(..)).collect()
    }

    fn now(&self) -> Time {
        self.rewind.replay.as_ref().map_or_else(|| self.clock.now(), |replay| replay.now())
    }

    fn suspend(&mut self) {
        // It comes back once it is continued; if it cannot be stopped it simply goes on.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP);
    }

    fn outputs(&mut self, stage: &str, most: usize) -> (Vec<Output>, usize) {
        match &mut self.rewind.replay {
            Some(replay) => replay.outputs(stage, most),
            None => outputs(&self.frozen, stage, most),
        }
    }

    fn quit(&mut self, _how: QuitHow) {
        self.left = true;
    }

    fn ended(&self) -> Option<i32> {
        (self.left || self.gone.is_some()).then_some(0)
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

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = std::thread::Builder::new().name(name.into()).spawn(run);
    started.map(drop).map_err(|error| Error::internal(format!("no thread for the screen: {error}")))
}

/// Reads the journal as it grows, until its console has gone or nobody listens.
fn follow(folder: &Folder, mut position: Position, tell: &Sender<News>) {
    let mut closed = None;
    loop {
        // Whoever is gone before the last look at the journal has written nothing after it.
        let lives = living_holder(folder).is_some();
        let read = next(folder, position, LOOK_EVERY).and_then(|mut reader| {
            while let Some(batch) = reader.next_batch() {
                if let Some(last) = batch.facts.last() {
                    closed = if let Fact::Closed { code } = &last.fact { Some(*code) } else { None };
                }
                if !batch.facts.is_empty() && tell.send(News::Facts(batch.facts)).is_err() {
                    return Ok(None);
                }
            }
            reader.finish().map(Some).map_err(Error::from)
        });
        let gone = match read {
            Ok(None) => return,
            Ok(Some(end)) if !matches!(end.tail, Tail::Clean | Tail::Torn { .. }) => {
                Gone::Unread("its journal cannot be read any further: qd doctor says what is wrong with it".into())
            }
            Ok(Some(end)) if lives => {
                position = end.position;
                continue;
            }
            Ok(Some(_)) => closed.map_or(Gone::Away, Gone::Closed),
            Err(error) => Gone::Unread(error.to_string()),
        };
        // Who listened has left if nobody does.
        let _ = tell.send(News::Gone(gone));
        return;
    }
}

/// Asks the session what the screen asks, and how far tasks have come.
/// What the person at the keys asks.
enum Ask {
    Act(Command),
    Change(Box<Order>),
}

struct Link {
    client: Option<Client>,
    who: String,
    answer_to: Sender<Answer>,
}

impl Link {
    /// Ends with the screen.
    fn run(mut self, folder: &Path, asked: &Receiver<(u64, Ask)>, shared: &Shared) {
        loop {
            match asked.recv_timeout(TOLD_EVERY) {
                Ok((ticket, asked)) => {
                    let answer = self.put(folder, &asked);
                    if self.answer_to.send((ticket, answer)).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(told) = self.ask(folder, "told", Value::Null).ok().and_then(|answer| told_of(&answer)) {
                        *shared.told.lock().expect("no holder panics") = Some(told);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn put(&mut self, folder: &Path, asked: &Ask) -> std::result::Result<String, Refusal> {
        let (action, parameters) = match asked {
            Ask::Act(command) => {
                let command = serde_json::to_value(command).map_err(|error| Refusal(error.to_string()))?;
                ("act", json!(ActOrder { command }))
            }
            Ask::Change(order) => ("command", json!(**order)),
        };
        match self.ask(folder, action, parameters) {
            Ok(answer) => Ok(answer.get("done").and_then(Value::as_str).unwrap_or_default().to_owned()),
            Err(Trouble::Refused(why) | Trouble::Strange(why)) => Err(Refusal(why)),
            Err(Trouble::Gone | Trouble::Nobody) => Err(Refusal("the session does not answer".to_owned())),
        }
    }

    fn ask(&mut self, folder: &Path, action: &str, parameters: Value) -> std::result::Result<Value, Trouble> {
        if self.client.is_none() {
            let folder = Folder::recording(folder).map_err(|_| Trouble::Nobody)?;
            self.client = Some(Client::connect(folder.fd(), &self.who)?);
        }
        let answer = self.client.as_mut().ok_or(Trouble::Nobody)?.ask(action, parameters);
        if matches!(answer, Err(Trouble::Gone | Trouble::Nobody)) {
            self.client = None;
        }
        answer
    }
}

fn told_of(answer: &Value) -> Option<BTreeMap<TaskId, Told>> {
    let lines: Vec<ToldLine> = serde_json::from_value(answer.get("told")?.clone()).ok()?;
    let told = |line: ToldLine| (TaskId(line.task_id), Told { done: line.done, of: line.of.max(1), text: line.text });
    Some(lines.into_iter().map(told).collect())
}

/// CPU and memory of what runs. Without it the screen only lacks two columns.
fn sample(shared: &Shared) {
    let Ok(mut sampler) = Sampler::new() else { return };
    loop {
        std::thread::sleep(SAMPLE_EVERY);
        let leaders = shared.leaders.lock().expect("no holder panics").clone();
        let load = sampler.sample(&leaders);
        let tasks = load.tasks.iter().map(|task| (task.task, (task.cpu_percent, task.memory))).collect();
        *shared.load.lock().expect("no holder panics") = Some(Load { tasks, sampled: true });
    }
}
