//! Virtual time: the real engine driven to its end by a heap of what will happen, in a [`World`] that says how long each
//! attempt takes and how it ends. Knows no clock, session or agent. Plans, forecasts and rehearsals are runs of this.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::engine::decide::{Engine, Turn};
use crate::engine::definition::Workflow;
use crate::engine::fact::Stamped;
use crate::engine::ids::{Attempt, Span, TaskId, Time};
use crate::engine::message::{
    Command, Effect, Exit, Input, News, Origin, Process, Report, Sighting, StartProblem, StopSignal, Usage, Watch,
    Watched, What,
};
use crate::engine::state::State;

/// What becomes of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It runs so long and ends like this.
    Ends {
        /// From its start to its leader's end.
        after: Span,
        /// How.
        exit: Exit,
        /// Processes of it live on so much longer.
        leaves: Option<Span>,
    },
    /// It cannot be started.
    CannotStart(StartProblem),
}

/// Decides the fate of attempts. Must answer the same for the same attempt: a run is a function of its world.
pub trait World {
    /// The fate of an attempt. It may have been under way for some time when a run begins: `elapsed` is what is known
    /// to have passed already.
    fn fate(&mut self, state: &State, task: TaskId, attempt: Attempt, elapsed: Span) -> Fate;
    /// How long an attempt takes to end after a signal, if it does at all before the next one.
    fn obeys(&mut self, task: TaskId, attempt: Attempt, signal: StopSignal) -> Option<Span>;
}

/// A world made from a seed: each attempt's fate depends on the seed, the task and the attempt's number only, so two runs
/// that differ in one decision differ by that decision alone.
#[derive(Debug, Clone)]
pub struct Seeded {
    /// The seed.
    pub seed: u64,
    /// How long a task without an estimate takes.
    pub default: Span,
    /// Durations are spread evenly by up to ± this share.
    pub spread: f64,
    /// The share of attempts that fail.
    pub failing: f64,
    /// The share of attempts that leave processes behind.
    pub leaking: f64,
    /// The share of attempts that ignore SIGTERM.
    pub stubborn: f64,
}

impl Seeded {
    /// Everything takes as long as estimated, or a second, and succeeds.
    pub fn exact() -> Self {
        Self { seed: 0, default: Span::secs(1), spread: 0.0, failing: 0.0, leaking: 0.0, stubborn: 0.0 }
    }

    /// A number in 0..1 for one question about one attempt.
    fn share(&self, task: TaskId, attempt: Attempt, question: u64) -> f64 {
        let mut x = self.seed ^ (u64::from(task.0) << 32 | u64::from(attempt.0) << 3 | question);
        for _ in 0..2 {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^= x >> 31;
        }
        (x >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl World for Seeded {
    fn fate(&mut self, state: &State, task: TaskId, attempt: Attempt, elapsed: Span) -> Fate {
        let usual = state.definition(task).estimate.unwrap_or(self.default).0 as f64;
        let moved = usual * (1.0 + self.spread * (2.0 * self.share(task, attempt, 0) - 1.0));
        let fails = self.share(task, attempt, 1) < self.failing;
        let leaks = self.share(task, attempt, 2) < self.leaking;
        Fate::Ends {
            after: Span(moved as u64).max(elapsed),
            exit: Exit::Code(i32::from(fails)),
            leaves: leaks.then_some(Span(50)),
        }
    }

    fn obeys(&mut self, task: TaskId, attempt: Attempt, signal: StopSignal) -> Option<Span> {
        let stubborn = signal == StopSignal::Term && self.share(task, attempt, 3) < self.stubborn;
        (!stubborn).then_some(Span(5))
    }
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Run {
    /// The engine as it stands at the end.
    pub engine: Engine,
    /// All facts of the run, if they were wanted.
    pub facts: Vec<Stamped>,
    /// From its begin to its last fact.
    pub makespan: Span,
    /// How many inputs the engine was given.
    pub turns: u64,
    /// It came to its end; otherwise the bound on turns was reached, or the session is paused.
    pub finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Start,
    Exit(i32, bool, bool),
    Empty,
    /// A watch sees what it looks for.
    Seen(u64),
}

/// What will happen: when, in which order it became known, to which attempt, what.
type Expected = (Time, u64, TaskId, Attempt, Coming);

/// Runs a workflow from its load to its end. At most `bound` turns.
pub fn run_workflow(workflow: &Arc<Workflow>, world: &mut impl World, bound: u64) -> Run {
    let mut engine = Engine::default();
    let load = What::Command { by: Origin::Rule, command: Command::Load(workflow.clone()) };
    let turn = engine.decide(&Input { at: Time(0), what: load });
    Simulation::new(engine, true).go(turn, world, bound)
}

/// Runs a session on from where it stands, without its facts: what a forecast does. Attempts under way go on.
pub fn run_on(state: State, world: &mut impl World, bound: u64) -> Run {
    let mut simulation = Simulation::new(Engine::new(state), false);
    simulation.take_over(world);
    let turn = simulation.engine.decide(&Input { at: simulation.now, what: What::Tick });
    simulation.go(turn, world, bound)
}

struct Simulation {
    engine: Engine,
    begin: Time,
    now: Time,
    coming: BinaryHeap<Reverse<Expected>>,
    known: u64,
    keep: bool,
    facts: Vec<Stamped>,
    last: Time,
}

impl Simulation {
    fn new(engine: Engine, keep: bool) -> Self {
        let now = engine.state.now;
        Self { engine, begin: now, now, coming: BinaryHeap::new(), known: 0, keep, facts: Vec::new(), last: now }
    }

    fn go(mut self, first: Turn, world: &mut impl World, bound: u64) -> Run {
        self.obey(first, world);
        let mut turns = 1;
        while turns < bound && !self.engine.state.is_finished() {
            let Some(what) = self.next() else { break };
            let turn = self.engine.decide(&Input { at: self.now, what });
            self.obey(turn, world);
            turns += 1;
        }
        Run {
            finished: self.engine.state.is_finished(),
            makespan: self.last.since(self.begin),
            engine: self.engine,
            facts: self.facts,
            turns,
        }
    }

    /// The next input: what happens next, or a tick if the engine wants one before.
    fn next(&mut self) -> Option<What> {
        let coming = self.coming.peek().map(|Reverse((at, ..))| *at);
        let deadline = self.engine.next_deadline();
        if let Some(at) = deadline.filter(|at| coming.is_none_or(|coming| *at < coming)) {
            self.now = self.now.max(at);
            return Some(What::Tick);
        }
        let Reverse((at, _, task, attempt, what)) = self.coming.pop()?;
        self.now = self.now.max(at);
        let news = match what {
            Coming::Seen(watch) => {
                return Some(What::Sighting(Sighting {
                    of: Watched::Task(task),
                    watch,
                    met: true,
                    saw: "met".into(),
                    mark: None,
                }));
            }
            Coming::Start => News::Started {
                process: Process { pid: task.0 as i32 + 1, start_ticks: u64::from(attempt.0) },
                log: self.engine.state.next_log,
            },
            Coming::Exit(number, signalled, leaves) => News::Exited {
                exit: if signalled { Exit::Signal(number) } else { Exit::Code(number) },
                usage: Usage::default(),
                output: 0,
                left: u32::from(leaves),
                findings: None,
            },
            Coming::Empty => News::Emptied,
        };
        Some(What::Report(Report { task, attempt, news }))
    }

    fn obey(&mut self, turn: Turn, world: &mut impl World) {
        if let Some(last) = turn.facts.last() {
            self.last = last.at;
        }
        if self.keep {
            self.facts.extend(turn.facts);
        }
        for effect in turn.effects {
            match effect {
                Effect::Start(order) => self.start(order.task, order.attempt, world),
                Effect::Signal { task, attempt, signal, .. } => {
                    let Some(span) = world.obeys(task, attempt, signal) else { continue };
                    let number = if signal == StopSignal::Kill { 9 } else { 15 };
                    self.expect(self.now.plus(span), task, attempt, Coming::Exit(number, true, false));
                    self.expect(self.now.plus(span), task, attempt, Coming::Empty);
                }
                Effect::Watch(watch) => self.look(&watch, world),
                Effect::Reap { .. }
                | Effect::Reconcile(_)
                | Effect::Unwatch(_)
                | Effect::Monitor(_)
                | Effect::Tell(_) => {}
            }
        }
    }

    /// What a sensor waits for comes to pass when an attempt of it would have ended, if it ran.
    fn look(&mut self, watch: &Watch, world: &mut impl World) {
        // agents of a simulation can always be reached
        let Watched::Task(task) = watch.of else { return };
        let waited = self.now.since(self.engine.state.task(task).since);
        let after = match world.fate(&self.engine.state, task, Attempt(0), waited) {
            Fate::Ends { after, .. } => after,
            Fate::CannotStart(_) => waited,
        };
        let at = self.now.plus(Span(after.0.saturating_sub(waited.0)));
        self.expect(at, task, Attempt(0), Coming::Seen(watch.watch));
    }

    fn start(&mut self, task: TaskId, attempt: Attempt, world: &mut impl World) {
        match world.fate(&self.engine.state, task, attempt, Span(0)) {
            Fate::Ends { after, exit, leaves } => {
                self.expect(self.now, task, attempt, Coming::Start);
                self.expect_end(self.now.plus(after), task, attempt, exit, leaves);
            }
            Fate::CannotStart(problem) => {
                let what = What::Report(Report { task, attempt, news: News::CouldNotStart(problem) });
                let turn = self.engine.decide(&Input { at: self.now, what });
                self.obey(turn, world);
            }
        }
    }

    fn expect_end(&mut self, at: Time, task: TaskId, attempt: Attempt, exit: Exit, leaves: Option<Span>) {
        let (number, signalled) = match exit {
            Exit::Code(code) => (code, false),
            Exit::Signal(signal) => (signal, true),
        };
        self.expect(at, task, attempt, Coming::Exit(number, signalled, leaves.is_some()));
        if let Some(span) = leaves {
            self.expect(at.plus(span), task, attempt, Coming::Empty);
        }
    }

    fn expect(&mut self, at: Time, task: TaskId, attempt: Attempt, what: Coming) {
        self.known += 1;
        self.coming.push(Reverse((at, self.known, task, attempt, what)));
    }

    /// Attempts under way when the run begins.
    fn take_over(&mut self, world: &mut impl World) {
        let live: Vec<TaskId> = self.engine.state.on_agent.iter().map(|(_, task)| *task).collect();
        for task in live {
            let entry = self.engine.state.task(task);
            let Some(live) = &entry.live else { continue };
            let attempt = Attempt(entry.attempt);
            let since = live.process.as_ref().map_or(live.started, |(_, since)| *since);
            let (starting, exited, stopping) = (live.process.is_none(), live.exited.is_some(), live.stop.is_some());
            let fate = world.fate(&self.engine.state, task, attempt, self.now.since(since));
            if starting {
                self.expect(self.now, task, attempt, Coming::Start);
            }
            match fate {
                _ if exited => self.expect(self.now.plus(Span(50)), task, attempt, Coming::Empty),
                _ if stopping => self.expect(self.now.plus(Span(5)), task, attempt, Coming::Exit(15, true, false)),
                Fate::Ends { after, exit, leaves } => self.expect_end(since.plus(after), task, attempt, exit, leaves),
                Fate::CannotStart(_) => self.expect_end(self.now, task, attempt, Exit::Code(127), None),
            }
        }
    }
}
