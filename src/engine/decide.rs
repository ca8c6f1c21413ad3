//! One input in, facts and effects out. Facts are applied as they are made; effects follow from facts (`effect_of`), so
//! that nothing is done that is not written. A turn costs O(log n) but for what it starts or opens.

use std::sync::Arc;

use super::arrival::{self, Arrivals, Decision};
use super::care::Findings;
use super::definition::{OnLost, Workflow};
use super::dispatch::Dispatch;
use super::fact::Cause;
use super::fact::{Ending, Fact, Outcome, Stamped, Then};
use super::fallback;
use super::graph::Graph;
use super::health::{self, OnAgentLost};
use super::ids::{AgentId, Attempt, Span, TaskId, Time};
use super::launch::launched;
use super::locks;
use super::meetings;
use super::message::{
    Command, Effect, Exit, Input, MonitorOrder, News, Origin, Refusal, Report, StartOrder, StartProblem, StopReason,
    StopSignal, Survivor, Usage, What,
};
use super::monitors;
use super::place::Closed;
use super::posts;
use super::preempt;
use super::sensors::Sensors;
use super::shared;
use super::state::{Changed, Live, Phase, State};
use super::subworkflow;
use super::surgery;
use super::trial::{self, Trial, flat};

/// How long a start waits that failed because the machine was out of something; doubled up to [`NO_ROOM_MAX`].
const NO_ROOM: Span = Span(500);
const NO_ROOM_MAX: Span = Span(30_000);

/// The State with its dispatcher.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The fold of the facts.
    pub state: State,
    dispatch: Dispatch,
    graph: Graph,
    arrivals: Arrivals,
    preempts: preempt::Looks,
    /// What is looked at, and what the last looks saw.
    pub sensors: Sensors,
    /// Facts cannot be stored: nothing new starts. No fact itself, for the same reason.
    unsafe_to_start: bool,
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
pub(super) struct Intent {
    pub facts: Vec<Fact>,
    pub inverse: Option<Command>,
}

/// What is due at once by what a turn has led to is looked at so often in the same turn.
const SETTLED_MOST: usize = 16;

/// How an attempt ended, as its executor tells it.
#[derive(Debug, Clone, Copy)]
struct End {
    exit: Exit,
    usage: Usage,
    output: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(State::default())
    }
}

impl Engine {
    /// The engine over a State that was read back. What can start does so at the next [`decide`](Self::decide): a tick
    /// will do.
    pub fn new(state: State) -> Self {
        let mut engine = Self {
            state,
            dispatch: Dispatch::default(),
            graph: Graph::default(),
            arrivals: Arrivals::default(),
            sensors: Sensors::default(),
            preempts: preempt::Looks::default(),
            unsafe_to_start: false,
        };
        engine.dispatch.rebuild(&mut engine.state);
        engine.graph.rebuild(&engine.state);
        engine.arrivals.rebuild(&mut engine.state);
        engine.sensors.rebuild(&mut engine.state);
        engine
    }

    /// Decides what one input leads to.
    pub fn decide(&mut self, input: &Input) -> Turn {
        let mut turn = Turn::default();
        self.state.now = self.state.now.max(input.at);
        match &input.what {
            What::Command { by, command } => turn.answer = Some(self.command(&mut turn, by, command)),
            What::Report(report) => self.report(&mut turn, report),
            What::Sighting(sighting) => {
                let facts = self.sensors.see(&self.state, sighting);
                self.record_intent(&mut turn, facts);
            }
            What::Figures(figures) => {
                if self.state.set_figures(*figures) && self.state.changes.asked {
                    self.state.changes.read.push(Changed::System);
                }
            }
            What::Observed(observation) => {
                let facts = monitors::observe(&self.state, observation);
                self.record_intent(&mut turn, facts);
            }
            What::Tick => {}
        }
        while !self.unsafe_to_start
            && let Some(facts) = self.arrivals.next_told(&self.state)
        {
            self.record_intent(&mut turn, facts);
        }
        self.fire_timers(&mut turn);
        self.settle(&mut turn);
        for _ in 0..SETTLED_MOST {
            if self.state.timers.first().is_none_or(|(at, _)| *at > self.state.now) {
                break;
            }
            // What was stopped as not needed may have no grace at all, and stopping it may lead to the same elsewhere.
            self.fire_timers(&mut turn);
            self.settle(&mut turn);
        }
        turn.effects.extend(self.sensors.effects(&mut self.state));
        turn
    }

    /// Records facts that the program itself knows (opened, recovered, closed). Starts nothing: a tick after it does.
    pub fn record_all(&mut self, at: Time, facts: Vec<Fact>) -> Turn {
        let mut turn = Turn::default();
        self.state.now = self.state.now.max(at);
        for fact in facts {
            self.record(&mut turn, fact);
        }
        turn
    }

    /// Whether facts can be stored: while they cannot, what runs goes on and nothing new starts.
    pub fn set_storage_good(&mut self, good: bool) {
        self.unsafe_to_start = !good;
    }

    /// When it wants a tick, even if nothing happens.
    pub fn next_deadline(&self) -> Option<Time> {
        let timer = self.state.timers.first().map(|(at, _)| *at);
        let watch =
            if self.state.closed().is_none() && !self.unsafe_to_start { self.dispatch.next_watch() } else { None };
        let lease = self.state.locks.next_lease();
        let meeting = meetings::next_deadline(&self.state);
        let breaker = self.state.breaker_timer();
        let times = [timer, watch, lease, meeting, breaker, self.arrivals.next_time(), self.preempts.next_time()];
        times.into_iter().flatten().min()
    }

    /// After a crash: what has to be found out about attempts that were under way.
    pub fn recover(&self) -> Vec<Effect> {
        let survivor = |id: TaskId| {
            let task = self.state.task(id);
            let live = task.live.as_ref()?;
            let (agent, attempt) = (live.agent, Attempt(task.attempt));
            let reconcile = Effect::Reconcile(Survivor {
                agent,
                task: id,
                attempt,
                process: live.process.as_ref().map(|(process, _)| process.clone()),
                exited: live.exited.is_some(),
            });
            // What its leader left was being stopped, perhaps by halves: nothing else would go on with it.
            let stop = live.stop.filter(|_| live.exited.is_some());
            let again = stop.map(|(_, signal, _)| Effect::Signal { agent, task: id, attempt, signal });
            Some(std::iter::once(reconcile).chain(again))
        };
        self.state.on_agent.iter().filter_map(|(_, id)| survivor(*id)).flatten().collect()
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
        if let Fact::LockOver { lock, .. } = fact {
            return self.state.lock(*lock).map(|lock| Effect::Tell(vec![locks::news_of(lock, None)]));
        }
        if let Fact::MeetingOver { barrier, round, why } = fact {
            return Some(Effect::Tell(meetings::news(&self.state, *barrier, *round, why.as_deref())));
        }
        let (Fact::Ended { task, attempt, .. } | Fact::NotStarted { task, attempt, .. }) = fact else { return None };
        let agent = self.state.task(*task).live.as_ref()?.agent;
        Some(Effect::Reap { agent, task: *task, attempt: *attempt })
    }

    fn effect_after(&self, fact: &Fact) -> Option<Effect> {
        match fact {
            Fact::Starting { task, attempt, agent } => {
                let (mut command, problem) = match self.state.filled(self.state.command_of(*task)) {
                    Ok(command) => (command, None),
                    Err(missing) => (self.state.command_of(*task), Some(missing)),
                };
                let launcher = &self.state.agent(*agent).definition.launcher;
                if !launcher.is_empty() {
                    command = Arc::new(launched(launcher, &command));
                }
                Some(Effect::Start(StartOrder {
                    agent: *agent,
                    task: *task,
                    attempt: *attempt,
                    name: self.state.name(*task).into(),
                    command,
                    care: self.state.definition(*task).care.clone(),
                    since: self.state.first_since_success(*task),
                    force: self.state.was_up_to_date(*task),
                    problem,
                }))
            }
            Fact::LockGranted { lock, fence, .. } => {
                self.state.lock(*lock).map(|lock| Effect::Tell(vec![locks::news_of(lock, Some(*fence))]))
            }
            Fact::Running { task, attempt, log, .. } | Fact::Adopted { task, attempt, log, .. } => {
                let monitor = self.state.definition(*task).monitor.clone()?;
                let live = self.state.task(*task).live.as_ref()?;
                let since = live.process.as_ref().map_or(live.started, |(_, since)| *since);
                let noticed = live.troubles.iter().map(|noticed| noticed.trouble).collect();
                let (task, attempt, log) = (*task, *attempt, *log);
                Some(Effect::Monitor(MonitorOrder { task, attempt, monitor, log, since, noticed }))
            }
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
            Command::All(commands) => {
                let each = trial::spread(&self.state, commands);
                self.all(turn, by, each)
            }
            one => {
                self.state.speaks(by)?;
                let among_tasks = match one {
                    Command::Lock(_)
                    | Command::Unlock { .. }
                    | Command::GiveBack { .. }
                    | Command::RenewLock { .. } => Some(locks::intend(&self.state, by, one)?),
                    Command::Meet { .. } | Command::Leave { .. } => Some(meetings::intend(&self.state, by, one)?),
                    _ => None,
                };
                if let Some((facts, news)) = among_tasks {
                    self.record_intent(turn, facts);
                    turn.effects.extend(news.map(|news| Effect::Tell(vec![news])));
                    return Ok(());
                }
                if let Some(each) = subworkflow::spread(&self.state, one) {
                    return self.all(turn, by, each.map_err(Refusal)?);
                }
                let mut intent = intend(&self.state, one)?;
                shared::sign(&mut intent.facts, by);
                surgery::sign(&self.state, &mut intent.facts, by);
                if matches!(by, Origin::Task(..)) {
                    // What tasks do among themselves is no action of a person, and not taken back by one.
                    self.record_intent(turn, intent.facts);
                    return Ok(());
                }
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
    fn all(&mut self, turn: &mut Turn, by: &Origin, commands: Vec<Command>) -> Result<(), Refusal> {
        // The command is noted first, as far as it can be done; so it is tried on a copy.
        let mut trial = Trial::on(&self.state);
        let tried = trial.go_each(commands);
        if tried.done.is_empty() {
            return Err(tried.refusal.unwrap_or_else(|| Refusal("there is nothing to do".into())));
        }
        // What takes it back is not always what takes back each, in the reverse order: one that others wait for is taken
        // up again after them.
        let inverse = tried.inverses.and_then(|inverses| {
            let back = Trial::on(&trial.state).go_each(inverses.into_iter().rev().flatten().collect());
            back.refusal.is_none().then_some(Command::All(back.done))
        });
        let mut facts = trial.facts();
        surgery::sign(&self.state, &mut facts, by);
        self.record(turn, Fact::Commanded { by: by.clone(), command: Command::All(tried.done), inverse });
        self.record_intent(turn, facts);
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
        let mut trial = Trial::on(&self.state);
        for command in flat(command.clone()) {
            // Resuming also takes an ending back, which nobody asked for here.
            if command == Command::Resume && self.state.ending.is_some() {
                return refuse("the session is ending");
            }
            trial.go(&command)?;
        }
        let facts = trial.facts();
        self.record(turn, note);
        self.record_intent(turn, facts);
        Ok(())
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
        for transition in &workflow.transitions {
            self.record(turn, Fact::TransitionAdded(transition.clone()));
        }
        for goal in &workflow.goals {
            self.record(turn, Fact::GoalAdded(goal.clone()));
        }
        for phase in &workflow.phases {
            self.record(turn, Fact::PhaseAdded(phase.clone()));
        }
        for fallback in &workflow.fallbacks {
            self.record(turn, Fact::FallbackAdded(fallback.clone()));
        }
        for window in &workflow.windows {
            self.record(turn, Fact::WindowAdded(window.clone()));
        }
        for barrier in &workflow.barriers {
            self.record(turn, Fact::BarrierAdded(barrier.clone()));
        }
        for task in &workflow.tasks {
            self.record(turn, Fact::TaskAdded(Arc::new(task.clone())));
        }
        let tasks = workflow.tasks.len() as u32;
        self.record(turn, Fact::Loaded { tasks });
        if arrival::always_asks(&self.state) {
            self.arrivals.rebuild(&mut self.state);
        }
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
        let (stop, exited) = (live.stop, live.exited);
        let unborn = live.process.is_none() && exited.is_none();
        match news {
            News::Started { process, log } if live.process.is_none() => {
                self.record(turn, Fact::Running { task, attempt, process: process.clone(), log: *log });
                self.signal_again(turn, task, attempt);
            }
            News::CouldNotStart(problem) if unborn => self.could_not_start(turn, task, attempt, problem),
            News::Exited { exit, usage, output, left, findings } if exited.is_none() => {
                let (exit, usage, output, left) = (*exit, *usage, *output, *left);
                self.found(turn, task, attempt, findings.as_deref());
                if left == 0 {
                    self.end(turn, task, attempt, End { exit, usage, output });
                } else {
                    self.record(turn, Fact::Exited { task, attempt, exit, usage, output, left });
                }
            }
            News::Emptied => {
                if let Some((exit, usage, output, _)) = exited {
                    self.end(turn, task, attempt, End { exit, usage, output });
                }
            }
            News::Adopted { process, log } if live.process.is_none() || live.console < self.state.opened => {
                self.record(turn, Fact::Adopted { task, attempt, process: process.clone(), log: *log });
                self.signal_again(turn, task, attempt);
            }
            // It can be proved only of what was never seen to run.
            News::NotStarted if unborn => match stop {
                Some((reason, _, _)) => self.never_ran(turn, task, attempt, reason),
                None => self.record(turn, Fact::NotStarted { task, attempt, why: None, until: None }),
            },
            News::Lost { why } => match exited {
                Some((exit, usage, output, _)) => self.end(turn, task, attempt, End { exit, usage, output }),
                None => self.lost(turn, task, attempt, why),
            },
            News::Stopped if exited.is_none() && stop.is_none() => {
                let (reason, signal) = (StopReason::SessionStop, StopSignal::Term);
                self.record(turn, Fact::Stopping { task, attempt, reason, signal });
            }
            News::Started { .. }
            | News::CouldNotStart(_)
            | News::Exited { .. }
            | News::Adopted { .. }
            | News::Stopped
            | News::NotStarted => {}
        }
    }

    /// It was being stopped before there was a process to be signalled, or by a console that is gone.
    fn signal_again(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt) {
        let stop = self.state.task(task).live.as_ref().and_then(|live| live.stop);
        if let Some((reason, signal, _)) = stop {
            self.record(turn, Fact::Stopping { task, attempt, reason, signal });
        }
    }

    fn could_not_start(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, problem: &StartProblem) {
        let stop = self.state.task(task).live.as_ref().and_then(|live| live.stop);
        if let Some((reason, _, _)) = stop {
            self.never_ran(turn, task, attempt, reason);
        } else if problem.transient {
            let past = attempt.0.min(16);
            let wait = Span((NO_ROOM.0 << past).min(NO_ROOM_MAX.0));
            let until = Some(self.state.now.plus(wait));
            self.record(turn, Fact::NotStarted { task, attempt, why: Some(problem.message.clone()), until });
        } else {
            // The same command would fail to start again: no retry, but its fallback may do.
            let what = self.failed(task, Cause::CouldNotStart(problem.clone()));
            self.ended_unseen(turn, task, attempt, what);
        }
    }

    /// It was being stopped, and nothing of it ever ran.
    fn never_ran(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, reason: StopReason) {
        let what = self.stopped(task, reason);
        self.ended_unseen(turn, task, attempt, what);
    }

    fn ended_unseen(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, (outcome, then): (Outcome, Then)) {
        self.record(turn, Fact::Ended { task, attempt, outcome, usage: Usage::default(), output: 0, then });
    }

    fn end(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, end: End) {
        let live = self.state.task(task).live.as_ref();
        let (stop, by_itself) = live.map_or((None, true), |live| (live.stop, live.by_itself));
        let reason = stop.map(|(reason, _, _)| reason);
        let (outcome, then) = match reason {
            Some(StopReason::Cancelled) if by_itself => (self.exited(task, end.exit).0, Then::Rest),
            Some(reason) if !by_itself => self.stopped(task, reason),
            _ => self.exited(task, end.exit),
        };
        let End { usage, output, .. } = end;
        self.record(turn, Fact::Ended { task, attempt, outcome, usage, output, then });
    }

    /// Of a task that asks for care, what was found around it; of what it does not publish, nothing.
    fn found(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, findings: Option<&Findings>) {
        let Some((care, findings)) = self.state.definition(task).care.as_ref().zip(findings) else { return };
        if self.state.task(task).live.as_ref().is_some_and(|live| live.found.is_some()) {
            // Stored by a console that died before it stored the end.
            return;
        }
        let mut findings = findings.clone();
        findings.published.retain(|(name, _)| care.publishes.iter().any(|publish| publish.name == *name));
        if !findings.is_empty() {
            self.record(turn, Fact::Found { task, attempt, findings: Arc::new(findings) });
        }
    }

    fn exited(&self, task: TaskId, exit: Exit) -> (Outcome, Then) {
        let found = self.state.task(task).live.as_ref().and_then(|live| live.found.as_ref());
        match found.map(|found| (found.up_to_date, found.cause())) {
            Some((true, _)) if exit == Exit::Code(0) => return (Outcome::UpToDate, Then::Rest),
            Some((_, Some(cause))) => return self.failed(task, cause),
            _ => {}
        }
        match exit {
            Exit::Code(0) => (Outcome::Succeeded, Then::Rest),
            Exit::Code(code) => self.failed(task, Cause::Exit(code)),
            Exit::Signal(signal) => self.failed(task, Cause::Signal(signal)),
        }
    }

    fn stopped(&self, task: TaskId, reason: StopReason) -> (Outcome, Then) {
        match reason {
            StopReason::TimedOut => self.failed(task, Cause::TimedOut),
            StopReason::Monitor(trouble) => self.failed(task, Cause::Monitor(trouble)),
            StopReason::Cancelled => (Outcome::Cancelled, Then::Rest),
            // What was being stopped for something else is not taken up again either.
            _ if self.state.is_in_saga(task) => (Outcome::Aborted(reason), Then::Rest),
            StopReason::Fallback(fallback) => {
                (Outcome::Aborted(reason), fallback::after_stop(&self.state, task, fallback))
            }
            StopReason::AgentLost(agent) if self.on_agent_lost(agent) == OnAgentLost::Fail => {
                self.failed(task, Cause::AgentLost)
            }
            StopReason::SessionStop | StopReason::Leaked | StopReason::Preempted(_) | StopReason::AgentLost(_) => {
                (Outcome::Aborted(reason), Then::Requeue)
            }
            StopReason::NotNeeded(_) | StopReason::PhaseFailed(_) | StopReason::Compensating => {
                (Outcome::Aborted(reason), Then::Rest)
            }
        }
    }

    fn on_agent_lost(&self, agent: AgentId) -> OnAgentLost {
        self.state.agent(agent).definition.health.as_ref().map_or(OnAgentLost::default(), |health| health.on_lost)
    }

    /// A failure, and what follows from it by the task's own rules.
    fn failed(&self, task: TaskId, cause: Cause) -> (Outcome, Then) {
        let over = self.is_phase_over(task) || self.state.is_in_saga(task);
        let then = if over { Then::Rest } else { fallback::after_failure(&self.state, task, &cause) };
        (Outcome::Failed(cause), then)
    }

    /// Nothing new of its phase is to start.
    fn is_phase_over(&self, task: TaskId) -> bool {
        let phase = self.state.stage(self.state.definition(task).stage).phase;
        phase.is_some_and(|phase| self.state.phase(phase).ended)
    }

    fn lost(&mut self, turn: &mut Turn, task: TaskId, attempt: Attempt, why: &str) {
        let stop = self.state.task(task).live.as_ref().and_then(|live| live.stop);
        let then = match (self.state.settings.on_lost, stop.map(|(reason, _, _)| reason)) {
            (OnLost::Retry, _) if self.state.is_in_saga(task) => Then::Rest,
            (OnLost::Retry, Some(StopReason::Fallback(to))) => fallback::after_stop(&self.state, task, to),
            // What was cancelled or is not needed is not run again by a rule.
            (
                OnLost::Retry,
                None
                | Some(
                    StopReason::TimedOut
                    | StopReason::Monitor(_)
                    | StopReason::SessionStop
                    | StopReason::Leaked
                    | StopReason::Preempted(_)
                    | StopReason::AgentLost(_),
                ),
            ) => Then::Requeue,
            _ => Then::Rest,
        };
        // There may be output: its file is kept in sight.
        let (outcome, usage) = (Outcome::Lost(why.to_owned()), Usage::default());
        self.record(turn, Fact::Ended { task, attempt, outcome, usage, output: 1, then });
    }

    // ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    fn fire_timers(&mut self, turn: &mut Turn) {
        while let Some(expired) = self.state.expired() {
            self.record(turn, expired);
        }
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
                Phase::Awaiting => arrival::overdue(&self.state, task),
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
            while self.decide_graph(turn) | self.decide_arrivals(turn) {}
            self.judge(turn);
            self.grant_locks(turn);
            self.end_meetings(turn);
            self.start_what_fits(turn);
            self.preempt(turn);
            if !self.state.changes.read.is_empty() && !self.unsafe_to_start {
                // Somebody's condition reads that something has started.
                continue;
            }
            self.dispatch.set_alarms(&self.state);
            if self.state.closed().is_some() || self.unsafe_to_start {
                return;
            }
            let Some((task, on)) = self.dispatch.due_reservation(&self.state) else { return };
            self.record(turn, Fact::Reserved { task, on });
            self.dispatch.kept(&self.state, on);
        }
    }

    /// What may be interrupted gives way.
    fn preempt(&mut self, turn: &mut Turn) {
        // Whatever else keeps everything from starting, stopping something would not help.
        let is_closed = |state: &State| !matches!(state.closed(), None | Some(Closed::MaxRunning(_)));
        if self.unsafe_to_start || is_closed(&self.state) {
            return self.preempts.rest();
        }
        while let Some(facts) = self.preempts.next(&self.state) {
            for fact in facts {
                let kept = if let Fact::Reserved { on, .. } = fact { Some(on) } else { None };
                self.record(turn, fact);
                kept.into_iter().for_each(|on| self.dispatch.kept(&self.state, on));
            }
        }
    }

    /// What runs gets the locks that it waits for, also while nothing starts.
    fn grant_locks(&mut self, turn: &mut Turn) {
        while self.state.changes.locks && !self.unsafe_to_start {
            self.state.changes.locks = false;
            let granted = locks::grants(&self.state);
            self.record_intent(turn, granted);
        }
    }

    /// Those who wait for each other within go on, or hear why not.
    fn end_meetings(&mut self, turn: &mut Turn) {
        while let Some(fact) = meetings::next(&self.state).filter(|_| !self.unsafe_to_start) {
            self.record(turn, fact);
        }
    }

    /// What goals, `PauseWhile` and the circuit breaker come to.
    fn judge(&mut self, turn: &mut Turn) {
        while !self.unsafe_to_start {
            let Some(fact) = self.arrivals.next_goal(&mut self.state).or_else(|| self.state.breaker_next()) else {
                return;
            };
            self.record(turn, fact);
        }
    }

    /// What follows from what is over. Each decision can lead to others.
    fn decide_graph(&mut self, turn: &mut Turn) -> bool {
        let mut decided = false;
        while !self.unsafe_to_start {
            let Some(facts) = self.graph.next(&mut self.state) else { return decided };
            self.record_intent(turn, facts);
            decided = true;
        }
        decided
    }

    /// What arrived is skipped, admitted, or settled. Each can let others arrive.
    fn decide_arrivals(&mut self, turn: &mut Turn) -> bool {
        let mut decided = false;
        while self.state.ending.is_none() && !self.unsafe_to_start {
            let Some(task) = self.arrivals.next(&mut self.state) else { return decided };
            decided = true;
            match arrival::decide(&self.state, task) {
                Decision::Now(facts) => self.record_intent(turn, facts),
                Decision::Closed { facts, opens, conditions } => {
                    self.record_intent(turn, facts);
                    opens.into_iter().for_each(|at| self.arrivals.ask_at(task, at));
                    if !conditions.is_empty() {
                        self.arrivals.park(&mut self.state, task, conditions);
                    }
                }
                Decision::Later(conditions) => self.arrivals.park(&mut self.state, task, conditions),
            }
        }
        decided
    }

    fn start_what_fits(&mut self, turn: &mut Turn) {
        self.dispatch.absorb(&mut self.state);
        while !self.unsafe_to_start && self.state.closed().is_none() && !self.state.free_agents.is_empty() {
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

fn plain(fact: Fact) -> Result<Intent, Refusal> {
    Ok(Intent { facts: vec![fact], inverse: None })
}

fn back(fact: Fact, inverse: Command) -> Result<Intent, Refusal> {
    Ok(Intent { facts: vec![fact], inverse: Some(inverse) })
}

/// What a command would come to now, and what takes it back; or why it cannot be done.
pub(super) fn intend(state: &State, command: &Command) -> Result<Intent, Refusal> {
    if let Some(task) = task_of(command)
        && task.index() >= state.tasks.len()
    {
        return refuse("there is no such task");
    }
    match command {
        Command::Retry { task } | Command::Unskip { task } if state.is_in_saga(*task) => {
            refuse(format!("what {} did is compensated: run the workflow anew", state.name(*task)))
        }
        Command::SetPriority { task, priority } => {
            let old = state.task(*task).priority;
            if old == *priority {
                return refuse(format!("{} has priority {old} already", state.name(*task)));
            }
            let inverse = Command::SetPriority { task: *task, priority: old };
            back(Fact::PrioritySet { task: *task, priority: *priority }, inverse)
        }
        Command::Hold { task } => intend_hold(state, *task),
        Command::Release { task } => match state.task(*task).held {
            true => back(Fact::Released { task: *task }, Command::Hold { task: *task }),
            false => refuse(format!("{} is not held", state.name(*task))),
        },
        Command::Cancel { task } => intend_cancel(state, *task, StopSignal::Term),
        Command::Kill { task } => intend_cancel(state, *task, StopSignal::Kill),
        Command::Retry { task } => match state.task(*task).phase {
            Phase::Failed | Phase::Cancelled | Phase::Lost => {
                let mut together = super::majority::retried_with(state, *task);
                together.extend(super::barriers::retried_with(state, *task));
                let facts = together.into_iter().map(|task| Fact::Requeued { task }).collect();
                Ok(Intent { facts, inverse: None })
            }
            Phase::Awaiting if state.is_escalated(*task) => plain(Fact::Requeued { task: *task }),
            Phase::Delayed => plain(Fact::Due { task: *task }),
            phase => refuse(format!("{} is {}: nothing to retry", state.name(*task), word(phase))),
        },
        Command::Skip { task } => match state.task(*task).phase {
            phase if phase.is_open() => {
                let skipped = Fact::Skipped { task: *task, why: None };
                Ok(Intent { facts: vec![skipped], inverse: take_up_again(state, *task) })
            }
            Phase::Failed | Phase::Cancelled | Phase::Lost => plain(Fact::Skipped { task: *task, why: None }),
            phase => refuse(format!("{} is {}: too late to skip", state.name(*task), word(phase))),
        },
        Command::Unskip { task } => intend_unskip(state, *task),
        Command::Vote { task, approves, abstains, by, note } => {
            let (approves, abstains) = (*approves, *abstains);
            let vote = arrival::Vote { at: state.now, approves, abstains, by: by.clone(), note: note.clone() };
            let facts = arrival::vote(state, *task, vote).map_err(Refusal)?;
            Ok(Intent { facts, inverse: None })
        }
        Command::Fallback { task } => {
            let facts = fallback::intend(state, *task).map_err(Refusal)?;
            Ok(Intent { facts, inverse: None })
        }
        Command::Compensate => intend_compensation(state),
        Command::Pause if state.paused => refuse("paused already"),
        Command::Pause => back(Fact::Paused, Command::Resume),
        Command::Resume if state.ending.is_some() => plain(Fact::Resumed),
        Command::Resume if !state.paused => refuse("it is not paused"),
        Command::Resume => back(Fact::Resumed, Command::Pause),
        Command::Drain => intend_ending(state, Ending::Drain, None),
        Command::Stop => intend_ending(state, Ending::Stop, Some(StopSignal::Term)),
        Command::StopNow => intend_ending(state, Ending::StopNow, Some(StopSignal::Kill)),
        Command::Detach => intend_ending(state, Ending::Detach, None),
        Command::SetSlots { agent, slots } => {
            let Some(entry) = state.agents.get(agent.index()) else { return refuse("there is no such agent") };
            if entry.slots == *slots {
                return refuse(format!("{} has {slots} slots already", entry.definition.name));
            }
            let inverse = Command::SetSlots { agent: *agent, slots: entry.slots };
            back(Fact::SlotsSet { agent: *agent, slots: *slots }, inverse)
        }
        Command::SetCapabilities { agent, capabilities } => {
            let (facts, inverse) = health::capabilities(state, *agent, capabilities)?;
            Ok(Intent { facts, inverse: Some(inverse) })
        }
        Command::SetCapacity { .. }
        | Command::SetMaxRunning { .. }
        | Command::CloseBreaker
        | Command::HeedPauseWhile(_) => {
            super::limits::intend(state, command).map(|(facts, inverse)| Intent { facts, inverse })
        }
        Command::Post { .. } => posts::intend(command).map(|facts| Intent { facts, inverse: None }),
        Command::SetState { .. } => shared::intend(state, command).map(|(facts, inverse)| Intent { facts, inverse }),
        Command::Add(_) | Command::Edit { .. } | Command::Remove { .. } | Command::Restore { .. } => {
            surgery::intend(state, command)
        }
        Command::Load(_)
        | Command::Undo
        | Command::Redo
        | Command::All(_)
        | Command::Lock(_)
        | Command::Unlock { .. }
        | Command::GiveBack { .. }
        | Command::RenewLock { .. }
        | Command::Meet { .. }
        | Command::Leave { .. } => refuse("cannot be part of another command"),
    }
}

fn intend_compensation(state: &State) -> Result<Intent, Refusal> {
    if state.ending.is_some() {
        return refuse("the session is ending");
    }
    if let Some(saga) = state.saga(None) {
        return refuse(format!("compensation has begun already: {}", saga.why));
    }
    plain(Fact::Compensating { phase: None, why: "asked for".to_owned() })
}

fn intend_hold(state: &State, task: TaskId) -> Result<Intent, Refusal> {
    match state.task(task) {
        t if t.held => refuse(format!("{} is held already", state.name(task))),
        t if t.phase.is_open() => back(Fact::Held { task, why: None }, Command::Release { task }),
        t => refuse(format!("{} is {}: only what does not run yet can be held", state.name(task), word(t.phase))),
    }
}

/// What brings an open task back as it is now, once it was skipped or cancelled: nothing does between two attempts, whose
/// delay and count would be forgotten.
fn take_up_again(state: &State, task: TaskId) -> Option<Command> {
    let entry = state.task(task);
    let unskip = Command::Unskip { task };
    match entry.held {
        _ if entry.attempt > 0 => None,
        true => Some(Command::All(vec![unskip, Command::Hold { task }])),
        false => Some(unskip),
    }
}

fn intend_cancel(state: &State, task: TaskId, signal: StopSignal) -> Result<Intent, Refusal> {
    let entry = state.task(task);
    if let Some(live) = &entry.live {
        let asked = live.stop.filter(|(reason, _, _)| *reason == StopReason::Cancelled);
        if asked.is_some_and(|(_, sent, _)| sent >= signal) {
            return refuse(format!("{} is being stopped already", state.name(task)));
        }
        // What was asked harder before stays as hard.
        let signal = live.stop.map_or(signal, |(_, sent, _)| sent.max(signal));
        let attempt = Attempt(entry.attempt);
        return plain(Fact::Stopping { task, attempt, reason: StopReason::Cancelled, signal });
    }
    if entry.phase.is_open() || entry.phase == Phase::Lost {
        return Ok(Intent { facts: vec![Fact::Cancelled { task, why: None }], inverse: take_up_again(state, task) });
    }
    refuse(format!("{} is {} already", state.name(task), word(entry.phase)))
}

fn intend_unskip(state: &State, task: TaskId) -> Result<Intent, Refusal> {
    if state.task(task).removed {
        return refuse(format!("{} was removed", state.name(task)));
    }
    let inverse = match state.task(task).phase {
        Phase::Cancelled if state.task(task).attempt > 0 => {
            return refuse(format!("{} ran before: retry it", state.name(task)));
        }
        Phase::Cancelled => return back(Fact::Requeued { task }, Command::Cancel { task }),
        Phase::Skipped if !state.stage(state.definition(task).stage).entered && state.task(task).because.is_some() => {
            return refuse(format!("no transition led to the stage of {}", state.name(task)));
        }
        Phase::Skipped => Command::Skip { task },
        phase => return refuse(format!("{} is {}, not skipped", state.name(task), word(phase))),
    };
    let began = |id: &&TaskId| state.task(**id).attempt > 0 || state.task(**id).phase.is_satisfied();
    let stage = state.stage(state.definition(task).stage);
    let in_stages_after = || stage.later.iter().flat_map(|later| state.stage(*later).tasks.iter()).find(began);
    let direct = state.dependents.at(task.index()).iter().find(began);
    if let Some(other) = direct.or_else(in_stages_after) {
        return refuse(format!("{} has begun since", state.name(*other)));
    }
    back(Fact::Requeued { task }, inverse)
}

fn intend_ending(state: &State, how: Ending, signal: Option<StopSignal>) -> Result<Intent, Refusal> {
    if state.ending.is_some_and(|now| now >= how) {
        return refuse("the session is ending so already");
    }
    let mut facts = vec![Fact::Ending(how)];
    if let Some(signal) = signal {
        facts.extend(state.on_agent.iter().filter_map(|(_, task)| stop_of_session(state, *task, signal)));
    }
    Ok(Intent { facts, inverse: None })
}

fn stop_of_session(state: &State, task: TaskId, signal: StopSignal) -> Option<Fact> {
    let entry = state.task(task);
    let sent = entry.live.as_ref()?.stop.map(|(_, sent, _)| sent);
    let attempt = Attempt(entry.attempt);
    let fact = Fact::Stopping { task, attempt, reason: StopReason::SessionStop, signal };
    sent.is_none_or(|sent| sent < signal).then_some(fact)
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
        | Command::Vote { task, .. }
        | Command::Edit { task, .. }
        | Command::Remove { task }
        | Command::Restore { task }
        | Command::Fallback { task } => Some(*task),
        _ => None,
    }
}

/// A phase in a sentence: "x is …".
pub fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting | Phase::Arrived => "waiting",
        Phase::Awaiting => "waiting for something outside",
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

impl Engine {
    /// The first few tasks that wait for a resource, and how many do (of the first classes in its line).
    pub fn line(&self, resource: super::ids::ResourceId) -> (Vec<TaskId>, usize) {
        self.dispatch.waiting(&self.state, resource)
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
