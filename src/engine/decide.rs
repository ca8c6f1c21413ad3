//! One input in, facts and effects out. Facts are applied as they are made; effects follow from facts (`effect_of`), so
//! that nothing is done that is not written. A turn costs O(log n) but for what it starts or opens.

use std::sync::Arc;

use super::definition::{Backoff, OnLost, Workflow};
use super::dispatch::Dispatch;
use super::fact::Cause;
use super::fact::{Ending, Fact, Outcome, Stamped, Then};
use super::ids::{Attempt, Span, TaskId, Time};
use super::message::{
    Command, Effect, Exit, Input, News, Origin, Refusal, Report, StartOrder, StartProblem, StopReason, StopSignal,
    Survivor, Usage, What,
};
use super::state::{Live, Phase, State};

/// How long a start waits that failed because the machine was out of something; doubled up to [`NO_ROOM_MAX`].
const NO_ROOM: Span = Span(500);
const NO_ROOM_MAX: Span = Span(30_000);

/// The State with its dispatcher.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    /// The fold of the facts.
    pub state: State,
    dispatch: Dispatch,
}

/// What one input led to.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be stored, in this order, before anything else.
    pub facts: Vec<Stamped>,
    /// To be done once the facts are stored.
    pub effects: Vec<Effect>,
    /// Whether a command was accepted.
    pub answer: Option<Result<(), Refusal>>,
}

/// What a command comes to.
struct Intent {
    facts: Vec<Fact>,
    inverse: Option<Command>,
}

impl Engine {
    /// The engine over a State that was read back.
    pub fn new(state: State) -> Self {
        let mut engine = Self { state, dispatch: Dispatch::default() };
        engine.dispatch.rebuild(&mut engine.state);
        engine
    }

    /// Decides what one input leads to.
    pub fn decide(&mut self, input: &Input) -> Turn {
        let mut turn = Turn::default();
        self.state.now = self.state.now.max(input.at);
        match &input.what {
            What::Command { by, command } => turn.answer = Some(self.command(&mut turn, by, command)),
            What::Report(report) => self.report(&mut turn, report),
            What::Tick => {}
        }
        self.fire_timers(&mut turn);
        self.settle(&mut turn);
        turn
    }

    /// Records facts that the program itself knows (opened, recovered, closed).
    pub fn record_all(&mut self, at: Time, facts: Vec<Fact>) -> Turn {
        let mut turn = Turn::default();
        self.state.now = self.state.now.max(at);
        for fact in facts {
            self.record(&mut turn, fact);
        }
        turn
    }

    /// When it wants a tick, even if nothing happens.
    pub fn next_deadline(&self) -> Option<Time> {
        let timer = self.state.timers.first().map(|(at, _)| *at);
        let watch = if self.state.closed().is_none() { self.dispatch.next_watch() } else { None };
        [timer, watch].into_iter().flatten().min()
    }

    /// After a crash: what has to be found out about attempts that were under way.
    pub fn recover(&self) -> Vec<Effect> {
        let survivor = |index: usize| {
            let id = TaskId::from(index);
            let task = self.state.task(id);
            let live = task.live.as_ref()?;
            Some(Effect::Reconcile(Survivor {
                agent: live.agent,
                task: id,
                attempt: Attempt(task.attempt),
                process: live.process.as_ref().map(|(process, _)| process.clone()),
                exited: live.exited.is_some(),
            }))
        };
        self.state.on_agent.iter().filter_map(|(_, id)| survivor(id.index())).collect()
    }

    fn record(&mut self, turn: &mut Turn, fact: Fact) {
        let stamped = Stamped { at: self.state.now, fact };
        // A reap needs to know where the attempt ran, which its end forgets.
        let before = self.effect_before(&stamped.fact);
        self.state.apply(&stamped);
        turn.effects.extend(before);
        turn.effects.extend(self.effect_after(&stamped.fact));
        turn.facts.push(stamped);
    }

    fn effect_before(&self, fact: &Fact) -> Option<Effect> {
        let (Fact::Ended { task, attempt, .. } | Fact::NotStarted { task, attempt, .. }) = fact else { return None };
        let agent = self.state.task(*task).live.as_ref()?.agent;
        Some(Effect::Reap { agent, task: *task, attempt: *attempt })
    }

    fn effect_after(&self, fact: &Fact) -> Option<Effect> {
        match fact {
            Fact::Starting { task, attempt, agent } => Some(Effect::Start(StartOrder {
                agent: *agent,
                task: *task,
                attempt: *attempt,
                name: self.state.name(*task).into(),
                command: self.state.command_of(*task),
            })),
            Fact::Stopping { task, attempt, signal, .. } => {
                let agent = self.state.task(*task).live.as_ref()?.agent;
                Some(Effect::Signal { agent, task: *task, attempt: *attempt, signal: *signal })
            }
            _ => None,
        }
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn command(&mut self, turn: &mut Turn, by: &Origin, command: &Command) -> Result<(), Refusal> {
        if let Command::Load(workflow) = command {
            return self.load(turn, workflow);
        }
        if !self.state.loaded {
            return refuse("no workflow is loaded yet");
        }
        match command {
            Command::Undo => self.undo(turn),
            Command::Redo => self.redo(turn),
            Command::All(commands) => self.all(turn, by, commands),
            one => {
                let intent = self.intend(one)?;
                let note = Fact::Commanded { by: by.clone(), command: one.clone(), inverse: intent.inverse };
                self.record(turn, note);
                self.record_intent(turn, intent.facts);
                Ok(())
            }
        }
    }

    fn record_intent(&mut self, turn: &mut Turn, facts: Vec<Fact>) {
        for fact in facts {
            self.record(turn, fact);
        }
    }

    /// Does what can be done of several; refuses if none can.
    fn all(&mut self, turn: &mut Turn, by: &Origin, commands: &[Command]) -> Result<(), Refusal> {
        let mut done = Vec::new();
        let mut inverses = Vec::new();
        let mut refusal = None;
        let mut reversible = true;
        // The command is noted first, as far as it can be done; so it is tried on a copy.
        let mut trial = self.clone();
        let mut scrap = Turn::default();
        for command in commands {
            match trial.intend(command) {
                Ok(intent) => {
                    reversible &= intent.inverse.is_some();
                    inverses.extend(intent.inverse.clone());
                    trial.record_intent(&mut scrap, intent.facts.clone());
                    done.push((command.clone(), intent.facts));
                }
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        if done.is_empty() {
            return Err(refusal.unwrap_or_else(|| Refusal("there is nothing to do".into())));
        }
        inverses.reverse();
        let command = Command::All(done.iter().map(|(command, _)| command.clone()).collect());
        let inverse = reversible.then_some(Command::All(inverses));
        self.record(turn, Fact::Commanded { by: by.clone(), command, inverse });
        for (_, facts) in done {
            self.record_intent(turn, facts);
        }
        Ok(())
    }

    fn undo(&mut self, turn: &mut Turn) -> Result<(), Refusal> {
        let Some((_, inverse)) = self.state.undo.back().cloned() else { return refuse("nothing to undo") };
        self.take_back(turn, Fact::Undone, &inverse)
    }

    fn redo(&mut self, turn: &mut Turn) -> Result<(), Refusal> {
        let Some((command, _)) = self.state.redo.back().cloned() else { return refuse("nothing to redo") };
        self.take_back(turn, Fact::Redone, &command)
    }

    fn take_back(&mut self, turn: &mut Turn, note: Fact, command: &Command) -> Result<(), Refusal> {
        let commands = match command {
            Command::All(commands) => commands.clone(),
            one => vec![one.clone()],
        };
        let mut trial = self.clone();
        let mut scrap = Turn::default();
        let mut facts = Vec::new();
        for command in &commands {
            let intent = trial.intend(command)?;
            trial.record_intent(&mut scrap, intent.facts.clone());
            facts.extend(intent.facts);
        }
        self.record(turn, note);
        self.record_intent(turn, facts);
        Ok(())
    }

    /// What a command would come to now, and what takes it back; or why it cannot be done. Changes nothing.
    fn intend(&self, command: &Command) -> Result<Intent, Refusal> {
        let state = &self.state;
        if let Some(task) = task_of(command)
            && task.index() >= state.tasks.len()
        {
            return refuse("there is no such task");
        }
        let plain = |fact| Ok(Intent { facts: vec![fact], inverse: None });
        let back = |fact, inverse| Ok(Intent { facts: vec![fact], inverse: Some(inverse) });
        match command {
            Command::SetPriority { task, priority } => {
                let old = state.task(*task).priority;
                if old == *priority {
                    return refuse(format!("{} has priority {old} already", state.name(*task)));
                }
                let inverse = Command::SetPriority { task: *task, priority: old };
                back(Fact::PrioritySet { task: *task, priority: *priority }, inverse)
            }
            Command::Hold { task } => match state.task(*task) {
                t if t.held => refuse(format!("{} is held already", state.name(*task))),
                t if t.phase.is_open() => back(Fact::Held { task: *task }, Command::Release { task: *task }),
                t => refuse(format!(
                    "{} is {}: only what does not run yet can be held",
                    state.name(*task),
                    word(t.phase)
                )),
            },
            Command::Release { task } => match state.task(*task).held {
                true => back(Fact::Released { task: *task }, Command::Hold { task: *task }),
                false => refuse(format!("{} is not held", state.name(*task))),
            },
            Command::Cancel { task } => self.intend_cancel(*task, StopSignal::Term),
            Command::Kill { task } => self.intend_cancel(*task, StopSignal::Kill),
            Command::Retry { task } => match state.task(*task).phase {
                Phase::Failed | Phase::Cancelled | Phase::Lost => plain(Fact::Requeued { task: *task }),
                Phase::Delayed => plain(Fact::Due { task: *task }),
                phase => refuse(format!("{} is {}: nothing to retry", state.name(*task), word(phase))),
            },
            Command::Skip { task } => match state.task(*task).phase {
                phase if phase.is_open() => back(Fact::Skipped { task: *task }, Command::Unskip { task: *task }),
                Phase::Failed | Phase::Cancelled | Phase::Lost => plain(Fact::Skipped { task: *task }),
                phase => refuse(format!("{} is {}: too late to skip", state.name(*task), word(phase))),
            },
            Command::Unskip { task } => self.intend_unskip(*task),
            Command::Fallback { task } => self.intend_fallback(*task),
            Command::Pause if state.paused => refuse("paused already"),
            Command::Pause => back(Fact::Paused, Command::Resume),
            Command::Resume if !state.paused && state.ending.is_none() => refuse("it is not paused"),
            Command::Resume => back(Fact::Resumed, Command::Pause),
            Command::Drain => plain(Fact::Ending(Ending::Drain)),
            Command::Stop => Ok(self.intend_stop(Ending::Stop, StopSignal::Term)),
            Command::StopNow => Ok(self.intend_stop(Ending::StopNow, StopSignal::Kill)),
            Command::Detach => plain(Fact::Ending(Ending::Detach)),
            Command::SetSlots { agent, slots } => {
                let Some(entry) = state.agents.get(agent.index()) else { return refuse("there is no such agent") };
                if entry.slots == *slots {
                    return refuse(format!("{} has {slots} slots already", entry.definition.name));
                }
                let inverse = Command::SetSlots { agent: *agent, slots: entry.slots };
                back(Fact::SlotsSet { agent: *agent, slots: *slots }, inverse)
            }
            Command::Load(_) | Command::Undo | Command::Redo | Command::All(_) => {
                refuse("cannot be part of another command")
            }
        }
    }

    fn intend_cancel(&self, task: TaskId, signal: StopSignal) -> Result<Intent, Refusal> {
        let entry = self.state.task(task);
        if let Some(live) = &entry.live {
            if live.stop.is_some_and(|(_, sent, _)| sent >= signal) {
                return refuse(format!("{} is being stopped already", self.state.name(task)));
            }
            let attempt = Attempt(entry.attempt);
            let fact = Fact::Stopping { task, attempt, reason: StopReason::Cancelled, signal };
            return Ok(Intent { facts: vec![fact], inverse: None });
        }
        if entry.phase.is_open() || entry.phase == Phase::Lost {
            let inverse = (entry.attempt == 0).then_some(Command::Unskip { task });
            return Ok(Intent { facts: vec![Fact::Cancelled { task }], inverse });
        }
        refuse(format!("{} is {} already", self.state.name(task), word(entry.phase)))
    }

    fn intend_unskip(&self, task: TaskId) -> Result<Intent, Refusal> {
        let state = &self.state;
        let inverse = match state.task(task).phase {
            Phase::Skipped => Command::Skip { task },
            Phase::Cancelled => Command::Cancel { task },
            phase => return refuse(format!("{} is {}, not skipped", state.name(task), word(phase))),
        };
        let began = |id: &TaskId| state.task(*id).attempt > 0 || state.task(*id).phase.is_satisfied();
        let in_stage_after = || {
            let stage = state.definition(task).stage;
            let after = (0..state.stages.len()).filter(|n| state.stages.at(*n).definition.after.contains(&stage));
            after.flat_map(|n| state.stages.at(n).tasks.iter()).find(|id| began(id)).copied()
        };
        let direct = state.dependents.at(task.index()).iter().find(|id| began(id)).copied();
        if state.task(task).phase == Phase::Skipped
            && let Some(other) = direct.or_else(in_stage_after)
        {
            return refuse(format!("{} has begun since", state.name(other)));
        }
        Ok(Intent { facts: vec![Fact::Requeued { task }], inverse: Some(inverse) })
    }

    fn intend_fallback(&self, task: TaskId) -> Result<Intent, Refusal> {
        let state = &self.state;
        let entry = state.task(task);
        let Some(fallback) = state.next_fallback(task) else {
            let none = if state.definition(task).fallback.is_empty() {
                "no fallback is declared"
            } else {
                "no fallback is left"
            };
            return refuse(format!("{none} for {}", state.name(task)));
        };
        let chosen = Fact::FallbackChosen { task, fallback, by: Origin::Operator };
        if entry.phase.is_satisfied() {
            return refuse(format!("{} is {} already", state.name(task), word(entry.phase)));
        }
        let facts = match &entry.live {
            Some(live) if live.stop.is_some() => return refuse(format!("{} is being stopped", state.name(task))),
            Some(_) => {
                let attempt = Attempt(entry.attempt);
                let reason = StopReason::Fallback(fallback);
                vec![Fact::Stopping { task, attempt, reason, signal: StopSignal::Term }]
            }
            None if entry.phase.is_open() => vec![chosen],
            None => vec![chosen, Fact::Requeued { task }],
        };
        Ok(Intent { facts, inverse: None })
    }

    fn intend_stop(&self, how: Ending, signal: StopSignal) -> Intent {
        let mut facts = vec![Fact::Ending(how)];
        for (_, task) in self.state.on_agent.iter() {
            let entry = self.state.task(*task);
            let sent = entry.live.as_ref().and_then(|live| live.stop).map(|(_, sent, _)| sent);
            if sent.is_none_or(|sent| sent < signal) {
                let attempt = Attempt(entry.attempt);
                facts.push(Fact::Stopping { task: *task, attempt, reason: StopReason::SessionStop, signal });
            }
        }
        Intent { facts, inverse: None }
    }

    fn load(&mut self, turn: &mut Turn, workflow: &Arc<Workflow>) -> Result<(), Refusal> {
        if self.state.loaded {
            return refuse("a workflow is loaded already");
        }
        self.record(turn, Fact::Configured(Box::new(workflow.settings.clone())));
        for resource in &workflow.resources {
            self.record(turn, Fact::ResourceAdded(resource.clone()));
        }
        for agent in &workflow.agents {
            self.record(turn, Fact::AgentAdded(agent.clone()));
        }
        for stage in &workflow.stages {
            self.record(turn, Fact::StageAdded(stage.clone()));
        }
        for fallback in &workflow.fallbacks {
            self.record(turn, Fact::FallbackAdded(fallback.clone()));
        }
        for task in &workflow.tasks {
            self.record(turn, Fact::TaskAdded(Arc::new(task.clone())));
        }
        let tasks = workflow.tasks.len() as u32;
        self.record(turn, Fact::Loaded { tasks });
        Ok(())
    }

    // ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// The live attempt that a report speaks of; none if it is late, doubled or unknown.
    fn live(&self, report: &Report) -> Option<&Live> {
        let task = self.state.tasks.get(report.task.index())?;
        (task.attempt == report.attempt.0).then_some(task.live.as_deref()).flatten()
    }

    fn report(&mut self, turn: &mut Turn, report: &Report) {
        let Report { task, attempt, news } = report;
        let (task, attempt) = (*task, *attempt);
        let Some(live) = self.live(report) else { return };
        let exited = live.exited;
        match news {
            News::Started { process, log } if live.process.is_none() => {
                let stop = live.stop;
                self.record(turn, Fact::Running { task, attempt, process: process.clone(), log: *log });
                // It was being stopped before it was there to be signalled.
                if let Some((reason, signal, _)) = stop {
                    self.record(turn, Fact::Stopping { task, attempt, reason, signal });
                }
            }
            News::CouldNotStart(problem) if live.process.is_none() => {
                self.could_not_start(turn, task, attempt, problem)
            }
            News::Exited { exit, usage, output, left: 0 } if exited.is_none() => {
                self.end(turn, task, attempt, *exit, *usage, *output);
            }
            News::Exited { exit, usage, output, left } if exited.is_none() => {
                let (exit, usage, output, left) = (*exit, *usage, *output, *left);
                self.record(turn, Fact::Exited { task, attempt, exit, usage, output, left });
            }
            News::Emptied => {
                if let Some((exit, usage, output, _)) = exited {
                    self.end(turn, task, attempt, exit, usage, output);
                }
            }
            News::Adopted { process, log } => {
                let stop = live.stop;
                self.record(turn, Fact::Adopted { task, attempt, process: process.clone(), log: *log });
                if let Some((reason, signal, _)) = stop {
                    self.record(turn, Fact::Stopping { task, attempt, reason, signal });
                }
            }
            News::NotStarted => self.record(turn, Fact::NotStarted { task, attempt, why: None, until: None }),
            News::Lost { why } => match exited {
                Some((exit, usage, output, _)) => self.end(turn, task, attempt, exit, usage, output),
                None => self.lost(turn, task, attempt, why),
            },
            News::Started { .. } | News::CouldNotStart(_) | News::Exited { .. } => {}
        }
    }

    fn could_not_start(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, problem: &StartProblem) {
        let stop = self.state.task(task).live.as_ref().and_then(|live| live.stop);
        if let Some((reason, _, _)) = stop {
            let (outcome, then) = self.stopped(task, reason);
            self.ended(turn, task, attempt, outcome, Usage::default(), 0, then);
        } else if problem.transient {
            let past = attempt.0.min(16);
            let wait = Span((NO_ROOM.0 << past).min(NO_ROOM_MAX.0));
            let until = Some(self.state.now.plus(wait));
            self.record(turn, Fact::NotStarted { task, attempt, why: Some(problem.message.clone()), until });
        } else {
            // The same command would fail to start again: no retry, but its fallback may do.
            let then = self.state.next_fallback(task).map_or(Then::Rest, Then::Fallback);
            let outcome = Outcome::Failed(Cause::CouldNotStart(problem.clone()));
            self.ended(turn, task, attempt, outcome, Usage::default(), 0, then);
        }
    }

    fn end(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, exit: Exit, usage: Usage, output: u64) {
        let stop = self.state.task(task).live.as_ref().and_then(|live| live.stop);
        let (outcome, then) = match stop {
            Some((StopReason::Leaked, _, _)) | None => match exit {
                Exit::Code(0) => (Outcome::Succeeded, Then::Rest),
                Exit::Code(code) => self.failed(task, Cause::Exit(code)),
                Exit::Signal(signal) => self.failed(task, Cause::Signal(signal)),
            },
            Some((reason, _, _)) => self.stopped(task, reason),
        };
        self.ended(turn, task, attempt, outcome, usage, output, then);
    }

    fn ended(
        &mut self,
        turn: &mut Turn,
        task: TaskId,
        attempt: Attempt,
        outcome: Outcome,
        usage: Usage,
        output: u64,
        then: Then,
    ) {
        self.record(turn, Fact::Ended { task, attempt, outcome, usage, output, then });
    }

    fn stopped(&self, task: TaskId, reason: StopReason) -> (Outcome, Then) {
        match reason {
            StopReason::TimedOut => self.failed(task, Cause::TimedOut),
            StopReason::Cancelled => (Outcome::Cancelled, Then::Rest),
            StopReason::Fallback(fallback) => (Outcome::Aborted(reason), Then::Fallback(fallback)),
            StopReason::SessionStop | StopReason::Leaked => (Outcome::Aborted(reason), Then::Requeue),
        }
    }

    /// A failure, and what follows from it by the task's own rules.
    fn failed(&self, task: TaskId, cause: Cause) -> (Outcome, Then) {
        let entry = self.state.task(task);
        let then = if entry.tries < self.state.attempts_allowed(task) {
            Then::Retry(self.state.now.plus(self.backoff(task)))
        } else {
            self.state.next_fallback(task).map_or(Then::Rest, Then::Fallback)
        };
        (Outcome::Failed(cause), then)
    }

    fn backoff(&self, task: TaskId) -> Span {
        match self.state.definition(task).retry.backoff {
            Backoff::Fixed(span) => span,
            Backoff::Exponential { base, max, jitter } => {
                let doublings = self.state.task(task).tries.saturating_sub(1).min(40);
                let wait = base.0.saturating_mul(1 << doublings).min(max.0) as f64;
                let seed = self.state.now.0 ^ (u64::from(task.0) << 32) ^ u64::from(self.state.task(task).attempt);
                let share = (splitmix(seed) >> 11) as f64 / (1u64 << 53) as f64;
                Span((wait * (1.0 + jitter * (2.0 * share - 1.0))) as u64)
            }
        }
    }

    fn lost(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, why: &str) {
        let then = match self.state.settings.on_lost {
            OnLost::Retry => Then::Requeue,
            OnLost::Hold | OnLost::Fail => Then::Rest,
        };
        self.ended(turn, task, attempt, Outcome::Lost(why.to_owned()), Usage::default(), 1, then);
    }

    // ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    fn fire_timers(&mut self, turn: &mut Turn) {
        while let Some(&(at, task)) = self.state.timers.first() {
            if at > self.state.now {
                return;
            }
            let entry = self.state.task(task);
            let attempt = Attempt(entry.attempt);
            let stop = |reason, signal| Fact::Stopping { task, attempt, reason, signal };
            let reason = entry.live.as_ref().and_then(|live| live.stop).map(|(reason, _, _)| reason);
            let fact = match entry.phase {
                Phase::Delayed => Fact::Due { task },
                Phase::Starting | Phase::Running => stop(StopReason::TimedOut, StopSignal::Term),
                Phase::Stopping => stop(reason.unwrap_or(StopReason::Cancelled), StopSignal::Kill),
                Phase::Lingering => stop(reason.unwrap_or(StopReason::Leaked), StopSignal::Kill),
                phase => unreachable!("no timer stands for a task that is {}", word(phase)),
            };
            self.record(turn, fact);
        }
    }

    /// Starts what can be started.
    fn settle(&mut self, turn: &mut Turn) {
        loop {
            self.start_what_fits(turn);
            if self.state.closed().is_some() {
                return;
            }
            let Some((task, on)) = self.dispatch.due_reservation(&self.state) else { return };
            self.record(turn, Fact::Reserved { task, on });
        }
    }

    fn start_what_fits(&mut self, turn: &mut Turn) {
        self.dispatch.absorb(&mut self.state);
        while self.state.closed().is_none() && !self.state.free_agents.is_empty() {
            let Some((task, class)) = self.dispatch.next() else { return };
            match self.state.place(task) {
                Ok(agent) => {
                    let attempt = Attempt(self.state.task(task).attempt + 1);
                    self.record(turn, Fact::Starting { task, attempt, agent });
                    self.dispatch.absorb(&mut self.state);
                    self.dispatch.started(&self.state, class);
                }
                Err(blocker) => self.dispatch.park(&self.state, class, blocker),
            }
        }
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

fn task_of(command: &Command) -> Option<TaskId> {
    match command {
        Command::SetPriority { task, .. }
        | Command::Hold { task }
        | Command::Release { task }
        | Command::Cancel { task }
        | Command::Kill { task }
        | Command::Retry { task }
        | Command::Skip { task }
        | Command::Unskip { task }
        | Command::Fallback { task } => Some(*task),
        _ => None,
    }
}

/// A phase in a sentence: "x is …".
pub fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Ready => "ready",
        Phase::Delayed => "waiting out a delay",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Stopping => "being stopped",
        Phase::Lingering => "being cleaned up",
        Phase::Succeeded => "done",
        Phase::Failed => "failed",
        Phase::Skipped => "skipped",
        Phase::Cancelled => "cancelled",
        Phase::Lost => "lost",
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): a good scramble of one number.
fn splitmix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Engine {
    /// The first few tasks that wait in a blocker's line, and how many there are (of the first classes in it).
    pub fn line(&self, blocker: super::place::Blocker) -> (Vec<TaskId>, usize) {
        self.dispatch.waiting(&self.state, blocker)
    }
}

impl Engine {
    /// Parks what does not fit now, starting nothing: so that [`Engine::line`] can answer after a replay.
    pub fn look_around(&mut self) {
        self.dispatch.absorb(&mut self.state);
        let mut fitting = Vec::new();
        while let Some((task, class)) = self.dispatch.next() {
            match self.state.place(task) {
                Ok(_) => fitting.push(self.dispatch.set_aside(class)),
                Err(blocker) => self.dispatch.park(&self.state, class, blocker),
            }
        }
        for entry in fitting.into_iter().flatten() {
            self.dispatch.put_back(entry);
        }
    }
}
