//! Reads facts and nothing else, and says what they break: capacity, order, numbering, limits, times. Knows the workflow
//! as it was declared; shares no code with the engine's decisions.

mod barriers;
mod locks;
mod sagas;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quarterdeck::engine::care::{Findings, ValueOf, plain_text};
use quarterdeck::engine::condition::Value;
use quarterdeck::engine::definition::*;
use quarterdeck::engine::fact::*;
use quarterdeck::engine::ids::*;
use quarterdeck::engine::message::*;
use quarterdeck::engine::monitors::*;

#[derive(Debug, Clone, Default)]
struct Seen {
    attempt: u32,
    /// Agent, since when it runs, stop, exited.
    live: Option<Attempting>,
    satisfied: bool,
    /// Over, failed, cancelled or lost: nothing starts it but a requeue.
    at_rest: bool,
    held: bool,
    not_before: Time,
    /// Attempts with the present command that count.
    tries: u32,
    /// What it fell back to, and how many of its fallbacks are behind it then.
    on: Option<FallbackId>,
    taken: usize,
    /// It is to run on another agent than this.
    elsewhere: Option<AgentId>,
    /// Something was to be run again since it asks a person what to do.
    disturbed: bool,
    succeeded_once: bool,
    /// Its message was said.
    has_said: bool,
    /// Its last attempt ended well, or failed for good, and nothing came after that.
    ended_well: bool,
    /// It was skipped when it was last settled.
    skipped: bool,
    failed: bool,
    excused: bool,
    lost: bool,
    /// Skipped by a rule.
    by_rule: bool,
    /// What it asks for at its arrival was granted.
    admitted: bool,
    /// It asks, or waits until then.
    awaits: Option<Option<Time>>,
    /// What a person said.
    vote: Option<bool>,
    /// Who voted: yes, no, or neither.
    votes: BTreeMap<String, Option<bool>>,
    /// What the commands of a gate came to.
    checked: BTreeMap<u32, bool>,
    /// A rule holds it.
    held_by_rule: bool,
    /// It stands before its barrier, or has passed it.
    at_barrier: bool,
    passed: bool,
    /// When what its sensor sees was last said, since it awaits.
    said: Option<Time>,
    /// It is no part of the workflow any more.
    removed: bool,
}

#[derive(Debug, Clone)]
struct Attempting {
    agent: AgentId,
    running: Option<Time>,
    stop: Option<(StopReason, StopSignal, Time)>,
    exited: Option<(Exit, Time)>,
    found: Option<Arc<Findings>>,
    troubles: BTreeSet<Trouble>,
}

impl Attempting {
    fn on(agent: AgentId) -> Self {
        Self { agent, running: None, stop: None, exited: None, found: None, troubles: BTreeSet::new() }
    }
}

/// The checker. Every method panics with what is broken.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    settings: Settings,
    resources: Vec<ResourceDefinition>,
    agents: Vec<AgentDefinition>,
    stages: Vec<WorkflowStage>,
    /// What the condition of each stage came to.
    decided: Vec<Option<bool>>,
    transitions: Vec<StateTransition>,
    /// How often each was taken.
    taken: Vec<u32>,
    phases: Vec<ExecutionPhase>,
    fallbacks: Vec<FallbackDefinition>,
    tasks: Vec<TaskDefinition>,
    seen: Vec<Seen>,
    slots: Vec<u32>,
    paused: bool,
    overloaded: bool,
    /// What is shared, with the number of the change that made it so.
    pub shared: BTreeMap<String, (Param, u64)>,
    changes: u64,
    ignores_overload: bool,
    ending: bool,
    now: Time,
    loaded: bool,
    /// Who holds what: a grant is entered once and taken out once.
    grants: BTreeMap<(ResourceId, TaskId), (Amount, AgentId)>,
    pub starts: u64,
    windows: Vec<WindowDefinition>,
    /// With what was last said of each.
    goals: Vec<(Goal, Option<bool>)>,
    /// Amounts that are no longer as declared.
    capacities: BTreeMap<(ResourceId, Option<AgentId>), u64>,
    /// What was taken of each rate, since its capacity was last changed.
    taken_of: BTreeMap<ResourceId, Vec<(Time, u64)>>,
    /// What each task published at its last success, and what was published last by a name.
    pub outputs: BTreeMap<(TaskId, String), Value>,
    pub metrics: BTreeMap<String, Value>,
    /// Where each task's last attempt was started.
    ran_on: BTreeMap<TaskId, AgentId>,
    breaker: BreakerSeen,
    /// When attempts failed since the breaker was last opened or closed.
    failures: Vec<Time>,
    /// With whether it is broken, and those before it are to be told.
    barriers: Vec<(BarrierDefinition, bool)>,
    /// What is being undone.
    sagas: Vec<sagas::Saga>,
    /// All ends of attempts, in their order.
    ends: Vec<sagas::End>,
    phases_failed: BTreeSet<PhaseId>,
    compensate_asked: bool,
    /// What running tasks ask, by number.
    locks: locks::Asked,
    /// How many wait at the barrier within.
    meeting: u32,
    /// Agents that cannot be reached.
    lost: BTreeSet<AgentId>,
    /// What live attempts have given back before their end.
    given: BTreeSet<(ResourceId, TaskId)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum BreakerSeen {
    #[default]
    Closed,
    Open(Time),
    Half(Option<TaskId>),
}

impl Checker {
    pub fn feed(&mut self, stamped: &Stamped) {
        assert!(stamped.at >= self.now, "time went back: {stamped:?}");
        self.now = stamped.at;
        match &stamped.fact {
            Fact::Opened { .. } => {
                self.ending = false;
                self.forget_waiting();
            }
            Fact::AtMeeting { task, attempt, .. } => {
                let seen = &self.seen[task.index()];
                assert!(seen.attempt == attempt.0 && seen.live.is_some(), "an attempt that is over waits");
                self.meeting += 1;
            }
            Fact::MeetingOver { why, .. } => {
                let parties = self.barriers.iter().find_map(|(barrier, _)| barrier.inside).expect("one within");
                assert!(why.is_some() || self.meeting == parties, "{} of {parties} go on", self.meeting);
                self.meeting = 0;
            }
            Fact::LockAsked { task, attempt, request } => self.lock_is_asked(*task, *attempt, request),
            Fact::LockGranted { task, resource, lock, fence } => self.lock_is_granted(*task, *resource, *lock, *fence),
            Fact::GivenBack { task, attempt, resource } => {
                self.live(*task, *attempt);
                assert!(self.grants.remove(&(*resource, *task)).is_some(), "{task} gives back what it does not hold");
                self.given.insert((*resource, *task));
            }
            Fact::LockRenewed { task, lock, .. } => self.lock_is_renewed(*task, *lock),
            Fact::LockOver { task, lock, end, .. } => self.lock_is_over(*task, *lock, *end),
            Fact::Recovered { .. } | Fact::Closed { .. } | Fact::Undone | Fact::Redone => {}
            Fact::Commanded { command, .. } => {
                let asks = |command: &Command| *command == Command::Compensate;
                let one_asks = matches!(command, Command::All(all) if all.iter().any(asks));
                self.compensate_asked |= asks(command) || one_asks;
            }
            Fact::Configured(settings) => {
                *self = Self { settings: (**settings).clone(), now: self.now, ..Self::default() }
            }
            Fact::ResourceAdded(resource) => self.resources.push(resource.clone()),
            Fact::AgentAdded(agent) => {
                self.slots.push(agent.slots);
                self.agents.push(agent.clone());
            }
            Fact::StageAdded(stage) => {
                self.stages.push(stage.clone());
                self.decided.push(None);
            }
            Fact::StageDecided { stage, holds, .. } => {
                let index = stage.index();
                assert!(self.stages[index].when.is_some(), "{stage:?} has no condition and is decided");
                assert!(self.decided[index].is_none(), "{stage:?} is decided twice in one round");
                self.decided[index] = Some(*holds);
            }
            Fact::Admitted { task } => {
                self.arrived(*task);
                self.idle(*task).admitted = true;
            }
            Fact::Awaiting { task, until } => {
                self.arrived(*task);
                assert!(until.is_none_or(|at| at >= Time(0)), "awaits the past");
                self.within_window(*task);
                let seen = self.idle(*task);
                (seen.awaits, seen.said, seen.checked) = (Some(*until), None, BTreeMap::new());
            }
            Fact::Noticed { task, attempt, trouble, .. } => {
                let monitor = self.tasks[task.index()].monitor.clone().expect("nothing watches it");
                assert!(monitor.watchdog(*trouble).is_some(), "{task} is not watched for that");
                let live = self.live(*task, *attempt);
                assert!(
                    live.stop.is_none() && live.running.is_some() && live.exited.is_none(),
                    "{task} is judged late"
                );
                assert!(live.troubles.insert(*trouble), "{task}: said twice");
            }
            Fact::NoticeOver { task, attempt, trouble } => {
                assert!(self.live(*task, *attempt).troubles.remove(trouble), "{task}: over before it was");
            }
            Fact::Sensed { task, saw, .. } => {
                self.arrived(*task);
                let (now, kind) = (self.now, self.tasks[task.index()].task_type.clone());
                let seen = self.idle(*task);
                assert!(matches!(kind, TaskType::Sensor(_)) && seen.awaits.is_some(), "{task} does not look");
                assert!(seen.said.is_none_or(|at| now.since(at) >= Span::secs(10)), "{task} says too much: {saw}");
                seen.said = Some(now);
            }
            Fact::Voted { task, approves, abstains, by, .. } => {
                let kind = self.tasks[task.index()].task_type.clone();
                let seen = self.idle(*task);
                assert!(!seen.at_rest && !seen.satisfied && !seen.held, "{task} is asked when it is over or held");
                seen.vote = Some(*approves);
                seen.votes.insert(by.clone(), (!abstains).then_some(*approves));
                if let TaskType::QualityGate(gate) = kind {
                    let asked = gate.checks.iter().any(|check| match check {
                        GateCheck::Approval(_) => !abstains,
                        GateCheck::Quorum(quorum) => quorum.of.contains(by),
                        GateCheck::Expr(_) | GateCheck::Command(_) => false,
                    });
                    assert!(asked, "{by} is not asked by {task} and votes");
                }
            }
            Fact::Checked { task, check, holds, .. } => {
                self.arrived(*task);
                let kind = self.tasks[task.index()].task_type.clone();
                let TaskType::QualityGate(gate) = kind else { panic!("{task} is no gate") };
                assert!(
                    matches!(gate.checks[*check as usize], GateCheck::Command(_)),
                    "{check} of {task} is no command"
                );
                let seen = self.idle(*task);
                assert!(seen.awaits.is_some(), "{task} asks a command before it is reached");
                assert!(seen.checked.insert(*check, *holds).is_none(), "{check} of {task} is asked twice");
            }
            Fact::Settled { task, outcome, .. } => {
                self.arrived(*task);
                if self.idle(*task).awaits.is_none() && *outcome == Outcome::Succeeded {
                    self.within_window(*task);
                }
                if *outcome == Outcome::Failed(Cause::BrokenBarrier) {
                    self.fails_at_barrier(*task);
                }
                let (now, kind) = (self.now, self.tasks[task.index()].task_type.clone());
                let ran = self.tasks[task.index()].after.iter().any(|other| !self.seen[other.index()].skipped);
                let seen = self.idle(*task);
                seen.skipped = false;
                let late = seen.awaits.flatten().is_some_and(|until| until <= now);
                match (kind, seen.vote) {
                    (TaskType::Noop, _) => {}
                    (TaskType::Subworkflow(_), _) => {
                        assert_eq!(*outcome, Outcome::Succeeded, "{task}");
                        assert!(ran, "{task} is done, but all of it was skipped");
                    }
                    (TaskType::Approval(_), Some(yes)) => assert_eq!(yes, *outcome == Outcome::Succeeded, "{task}"),
                    (TaskType::Approval(_) | TaskType::Wait(_), _) => {
                        assert!(late, "{task} is settled before its time")
                    }
                    (TaskType::Sensor(_), _) => {
                        assert!(seen.awaits.is_some(), "{task} is settled before it looks");
                        assert!(late || *outcome == Outcome::Succeeded, "{task} fails before its time");
                    }
                    (TaskType::Foreach(foreach), _) if foreach.made.is_some() => {
                        assert_eq!(*outcome, Outcome::Succeeded, "{task}");
                    }
                    (TaskType::Foreach(_), _) => {
                        let failed = matches!(outcome, Outcome::Failed(Cause::CouldNotStart(_)));
                        assert!(failed, "{task} is done before its tasks are made");
                    }
                    (TaskType::Message(_), _) => {
                        let failed = matches!(outcome, Outcome::Failed(Cause::CouldNotStart(_)));
                        assert!(failed != std::mem::take(&mut seen.has_said), "{task} is done by saying it");
                    }
                    (TaskType::Majority(_), _) => {
                        assert_eq!(*outcome, Outcome::Failed(Cause::NoMajority), "{task}");
                    }
                    (TaskType::QualityGate(gate), _) => gate_is_settled(&gate, seen, late, outcome),
                    (TaskType::Run(_), _) if *outcome == Outcome::Failed(Cause::BrokenBarrier) => {}
                    (TaskType::Run(_), vote) => {
                        assert!(seen.awaits.is_some(), "{task} runs a command and is settled");
                        let rejected = vote == Some(false) && *outcome == Outcome::Failed(Cause::Rejected);
                        assert!(rejected || (late && *outcome == Outcome::Failed(Cause::TimedOut)), "{task}");
                    }
                }
                (seen.vote, seen.awaits) = (None, None);
                (seen.votes, seen.checked) = (BTreeMap::new(), BTreeMap::new());
                if *outcome == Outcome::Failed(Cause::NoMajority) {
                    assert!(self.agreeing(*task).len() < self.majority(*task).agree as usize, "{task} has a majority");
                }
                let seen = self.idle(*task);
                (seen.at_rest, seen.held) = (true, false);
                seen.satisfied = *outcome == Outcome::Succeeded;
                seen.succeeded_once |= seen.satisfied;
            }
            Fact::FallbackAdded(fallback) => self.fallbacks.push(fallback.clone()),
            Fact::Reserved { .. } => {}
            Fact::TransitionAdded(way) => {
                self.transitions.push(way.clone());
                self.taken.push(0);
            }
            Fact::PhaseAdded(phase) => self.phases.push(phase.clone()),
            Fact::TransitionTaken { transition, round, .. } => self.take(*transition, *round),
            Fact::TransitionPassed { .. } => {}
            Fact::PhaseFailed { phase, task } => {
                let (seen, stage) = (&self.seen[task.index()], self.tasks[task.index()].stage);
                assert!(self.phases[phase.index()].stages.contains(&stage), "{task} is of another phase");
                assert!(seen.at_rest && !seen.satisfied && !seen.excused, "{task} ends its phase without a failure");
                self.phases_failed.insert(*phase);
            }
            Fact::BarrierAdded(barrier) => self.barriers.push((barrier.clone(), false)),
            Fact::AtBarrier { task, until } => self.at_barrier(*task, *until),
            Fact::BarrierPassed { barrier, why } => self.barrier_is_passed(*barrier, why.is_some()),
            Fact::BarrierBroken { barrier, .. } => self.barrier_breaks(*barrier),
            Fact::Compensating { phase, .. } => self.saga_begins(*phase),
            Fact::CompensationsAdded { phase, tasks } => self.saga_is_known(*phase, *tasks),
            Fact::TaskAdded(task) => {
                match task.made_by {
                    Some(by) => self.is_made(by, task),
                    None if task.added_by.is_some() => {
                        // What comes after its stage waits again.
                        self.disturb();
                        assert!(self.tasks.iter().all(|other| other.id != task.id), "two are called {}", task.id);
                        assert!(!self.is_compensated(task.stage), "{} is added to what is undone", task.id);
                    }
                    None if self.loaded => self.undo_is_added(TaskId::from(self.tasks.len()), task),
                    None => {}
                }
                self.tasks.push((**task).clone());
                self.seen.push(Seen::default());
            }
            Fact::Agreed { task, like, .. } => {
                self.arrived(*task);
                let camp = self.agreeing(*task);
                assert!(camp.len() >= self.majority(*task).agree as usize, "{task} has no majority");
                assert!(camp.contains(like), "{like} is outvoted, and {task} takes what it published");
                for other in self.tasks[task.index()].after.clone() {
                    let seen = &self.seen[other.index()];
                    assert!(seen.satisfied || seen.excused || !seen.failed, "{other} is outvoted and counts");
                }
                let given = self.outputs.iter().filter(|((giver, _), _)| giver == like);
                let given: Vec<(String, Value)> =
                    given.map(|((_, name), value)| (name.clone(), value.clone())).collect();
                if !given.is_empty() {
                    self.outputs.retain(|(giver, _), _| giver != task);
                }
                for (name, value) in given {
                    self.outputs.insert((*task, name.clone()), value.clone());
                    self.metrics.insert(name, value);
                }
                let seen = self.idle(*task);
                (seen.at_rest, seen.held, seen.satisfied, seen.succeeded_once) = (true, false, true, true);
            }
            Fact::TaskEdited { task, definition } => {
                self.disturb();
                assert_eq!(definition.id, self.tasks[task.index()].id, "a task keeps its name");
                assert!(!self.is_called_off(*task), "{task} is compensated and changed");
                let seen = self.idle(*task);
                assert!(!seen.at_rest && !seen.satisfied, "{task} is changed when it is over");
                assert!(seen.on.is_none(), "{task} is changed in the middle of a fallback");
                (seen.admitted, seen.vote, seen.votes) = (false, None, BTreeMap::new());
                (seen.awaits, seen.at_barrier) = (None, false);
                seen.not_before = Time(0);
                self.tasks[task.index()] = (**definition).clone();
            }
            Fact::TaskRemoved { task } => {
                let seen = self.idle(*task);
                assert!(seen.attempt == 0 && !seen.at_rest && !seen.satisfied, "{task} has begun and is removed");
                (seen.by_rule, seen.skipped, seen.removed) = (false, true, true);
                (seen.satisfied, seen.at_rest, seen.held) = (true, true, false);
            }
            Fact::TaskRestored { task } => {
                self.disturb();
                let seen = self.idle(*task);
                assert!(std::mem::take(&mut seen.removed), "{task} was not removed");
                (seen.skipped, seen.satisfied, seen.at_rest) = (false, false, false);
                (seen.admitted, seen.awaits, seen.vote) = (false, None, None);
                (seen.votes, seen.checked, seen.at_barrier) = (BTreeMap::new(), BTreeMap::new(), false);
            }
            Fact::Made { task, tasks } => self.all_are_made(*task, *tasks),
            Fact::Loaded { tasks } => {
                assert_eq!(*tasks as usize, self.tasks.len());
                self.loaded = true;
            }
            Fact::GoalAdded(goal) => self.goals.push((goal.clone(), None)),
            Fact::GoalJudged { goal, holds, .. } => {
                let (goal, said) = &mut self.goals[goal.index()];
                assert_ne!(*said, Some(*holds), "{} is said twice", goal.name);
                assert!(
                    goal.kind == GoalKind::Objective || (*holds && said.is_none()),
                    "{} is reached again",
                    goal.name
                );
                *said = Some(*holds);
            }
            Fact::WindowAdded(window) => self.windows.push(window.clone()),
            Fact::CapacitySet { resource, agent, amount } => {
                self.capacities.insert((*resource, *agent), amount.0);
                self.taken_of.remove(resource);
            }
            Fact::CapabilitiesSet { agent, capabilities } => {
                self.agents[agent.index()].capabilities.clone_from(capabilities);
            }
            Fact::AgentLost { agent, .. } => {
                assert!(self.agents[agent.index()].health.is_some(), "nobody looks at {agent:?}");
                assert!(self.lost.insert(*agent), "{agent:?} is lost twice");
            }
            Fact::AgentBack { agent, .. } => assert!(self.lost.remove(agent), "{agent:?} was not lost"),
            Fact::MaxRunningSet { most } => self.settings.max_running = *most,
            Fact::BreakerOpened { failures, until } => self.open_breaker(*failures, *until),
            Fact::BreakerProbes => {
                if let BreakerSeen::Open(until) = self.breaker {
                    assert!(until <= self.now, "the breaker lets one through before its time");
                } else {
                    assert!(matches!(self.breaker, BreakerSeen::Half(_)), "the breaker is closed and tries");
                }
                self.breaker = BreakerSeen::Half(None);
            }
            Fact::BreakerClosed => {
                assert!(self.breaker != BreakerSeen::Closed, "the breaker is closed twice");
                (self.breaker, self.failures) = (BreakerSeen::Closed, Vec::new());
            }
            Fact::Posted { by, text, .. } => {
                assert!(!text.is_empty());
                if let Origin::Task(task, Attempt(0)) = by {
                    self.arrived(*task);
                    let seen = self.idle(*task);
                    assert!(!std::mem::replace(&mut seen.has_said, true), "{task} says it twice");
                }
            }
            Fact::StateSet { key, value, by } => {
                if let Origin::Task(task, attempt) = by {
                    let seen = &self.seen[task.index()];
                    assert!(seen.attempt == attempt.0 && seen.live.is_some(), "an attempt that is over changes {key}");
                }
                self.changes += 1;
                match value {
                    Some(value) => _ = self.shared.insert(key.clone(), (value.clone(), self.changes)),
                    None => assert!(self.shared.remove(key).is_some(), "{key} is deleted and was not there"),
                }
            }
            Fact::OverloadBegan { .. } => {
                assert!(self.settings.pause_while.is_some() && !self.overloaded, "an overload of nothing, or twice");
                self.overloaded = true;
            }
            Fact::OverloadEnded { .. } => assert!(std::mem::take(&mut self.overloaded), "an overload ends twice"),
            Fact::PauseWhileHeeded(heeded) => {
                assert_eq!(*heeded, self.ignores_overload, "it is so already");
                self.ignores_overload = !heeded;
            }
            Fact::Paused => self.paused = true,
            Fact::Resumed => (self.paused, self.ending) = (false, false),
            Fact::Ending(_) => self.ending = true,
            Fact::PrioritySet { .. } => {}
            Fact::SlotsSet { agent, slots } => self.slots[agent.index()] = *slots,
            Fact::Held { task, why } => {
                let gate = self.tasks[task.index()].task_type.gate().cloned();
                let now = self.now;
                let seen = self.idle(*task);
                (seen.held, seen.held_by_rule) = (true, why.is_some());
                if let (Some(gate), Some(why)) = (gate, why)
                    && why.starts_with("gate closed")
                {
                    let late = seen.awaits.flatten().is_some_and(|until| until <= now);
                    let (_, fails) = gate_stands(&gate, seen);
                    let escalates = [(fails, gate.on_fail), (late, gate.on_timeout), (asks_first(&gate), gate.on_fail)];
                    assert!(escalates.contains(&(true, GateAction::Escalate)), "{task} is held without a reason");
                }
            }
            Fact::Released { task } => {
                let is_gate = self.tasks[task.index()].task_type.gate().is_some();
                let seen = self.idle(*task);
                if is_gate && seen.held_by_rule {
                    (seen.votes, seen.checked, seen.awaits) = (BTreeMap::new(), BTreeMap::new(), None);
                }
                (seen.held, seen.held_by_rule) = (false, false);
            }
            Fact::Skipped { task, why } => {
                let seen = self.idle(*task);
                (seen.by_rule, seen.skipped) = (why.is_some(), true);
                (seen.satisfied, seen.at_rest, seen.held) = (true, true, false);
                (seen.ended_well, seen.failed) = (false, false);
            }
            Fact::Cancelled { task, .. } => {
                let seen = self.idle(*task);
                (seen.at_rest, seen.held, seen.lost) = (true, false, false);
                (seen.ended_well, seen.failed) = (false, false);
            }
            Fact::Requeued { task } => {
                self.disturb();
                assert!(!self.is_called_off(*task), "{task} is compensated and run again");
                let asks = self.is_asking(*task);
                let settles = asks
                    || matches!(
                        self.strategy(*task),
                        Some(FallbackStrategy::Skip | FallbackStrategy::Escalate(_) | FallbackStrategy::Compensate)
                    );
                let again = self.tasks.iter().zip(&self.seen).any(|(other, seen)| {
                    let waits = other.task_type.majority().is_some() && other.after.contains(task);
                    waits && seen.at_rest && !seen.satisfied
                });
                let seen = self.idle(*task);
                assert!(!seen.removed, "{task} was removed and is run");
                if again && seen.ended_well {
                    (seen.succeeded_once, seen.on, seen.taken) = (false, None, 0);
                }
                (seen.ended_well, seen.failed) = (false, false);
                seen.skipped = false;
                assert!(seen.at_rest || asks, "requeued though it was not over: {task}");
                if settles {
                    (seen.on, seen.taken) = (None, seen.taken - 1);
                }
                assert!(!seen.succeeded_once, "{task} has succeeded and is run again");
                (seen.at_rest, seen.satisfied, seen.tries, seen.not_before) = (false, false, 0, Time(0));
                (seen.excused, seen.admitted, seen.awaits, seen.vote) = (false, false, None, None);
                (seen.votes, seen.checked, seen.at_barrier) = (BTreeMap::new(), BTreeMap::new(), false);
            }
            Fact::Excused { task, .. } => {
                let seen = self.idle(*task);
                assert!(seen.at_rest && !seen.satisfied && !seen.excused, "{task} is excused without a failure");
                seen.excused = true;
            }
            Fact::Enough { task, done, of } => self.enough(*task, *done, *of),
            Fact::Due { task } => self.idle(*task).not_before = Time(0),
            Fact::FallbackChosen { task, fallback, .. } => {
                self.idle(*task);
                self.fall_back(*task, *fallback);
            }
            Fact::Starting { task, attempt, agent } => self.start(*task, *attempt, *agent),
            Fact::Running { task, attempt, .. } => {
                let now = self.now;
                let live = self.live(*task, *attempt);
                assert!(live.running.is_none(), "runs twice: {task}");
                live.running = Some(now);
            }
            Fact::Adopted { task, attempt, .. } => {
                let now = self.now;
                self.live(*task, *attempt).running.get_or_insert(now);
            }
            Fact::Stopping { task, attempt, reason, signal } => self.stop(*task, *attempt, *reason, *signal),
            Fact::Exited { task, attempt, exit, left, .. } => {
                assert!(*left > 0);
                let now = self.now;
                let live = self.live(*task, *attempt);
                assert!(live.exited.is_none(), "ended twice: {task}");
                live.exited = Some((*exit, now));
            }
            Fact::Found { task, attempt, findings } => {
                let care = self.tasks[task.index()].care.clone().expect("nothing is looked for around it");
                for (name, _) in &findings.published {
                    assert!(care.publishes.iter().any(|publish| publish.name == *name), "{task} never said {name}");
                }
                let live = self.live(*task, *attempt);
                assert!(live.found.is_none() && live.exited.is_none(), "{task}: found twice, or after its end");
                live.found = Some(Arc::clone(findings));
            }
            Fact::NotStarted { task, attempt, until, .. } => {
                let live = self.live(*task, *attempt);
                assert!(live.running.is_none() && live.exited.is_none(), "{task} ran, so it was started");
                assert!(live.stop.is_none(), "{task} was being stopped, and would be started again");
                self.release(*task);
                let seen = &mut self.seen[task.index()];
                seen.tries = seen.tries.saturating_sub(1);
                seen.not_before = until.unwrap_or_default();
            }
            Fact::Ended { task, attempt, outcome, then, .. } => self.end(*task, *attempt, outcome, *then),
        }
    }

    /// After a turn at `now`: nothing that was due by then is undone.
    pub fn after_turn(&self, now: Time) {
        self.sagas_go_on();
        self.barriers_go_on();
        for (index, seen) in self.seen.iter().enumerate() {
            let Some(live) = &seen.live else { continue };
            let name = &self.tasks[index].id;
            if let (Some(since), Some(timeout), None, None) =
                (live.running, self.tasks[index].timeout, live.stop, live.exited)
            {
                assert!(now < since.plus(timeout), "{name} runs beyond its timeout");
            }
            if let Some((_, StopSignal::Term, since)) = live.stop {
                assert!(now < since.plus(self.settings.grace), "{name} outlives its grace");
            }
            if let (Some((_, since)), None) = (live.exited, live.stop) {
                assert!(now < since.plus(self.settings.leak_grace), "leaked processes of {name} live on");
            }
        }
    }

    /// Tasks that are live, with their attempt numbers.
    pub fn live_attempts(&self) -> Vec<(TaskId, Attempt)> {
        let live = self.seen.iter().enumerate().filter(|(_, seen)| seen.live.is_some());
        live.map(|(index, seen)| (TaskId::from(index), Attempt(seen.attempt))).collect()
    }

    fn idle(&mut self, task: TaskId) -> &mut Seen {
        let seen = &mut self.seen[task.index()];
        assert!(seen.live.is_none(), "{task} is live");
        seen
    }

    fn live(&mut self, task: TaskId, attempt: Attempt) -> &mut Attempting {
        let seen = &mut self.seen[task.index()];
        assert_eq!(seen.attempt, attempt.0, "another attempt of {task}");
        seen.live.as_mut().unwrap_or_else(|| panic!("{task} is not live"))
    }

    fn strategy(&self, task: TaskId) -> Option<&FallbackStrategy> {
        self.seen[task.index()].on.map(|on| &self.fallbacks[on.index()].strategy)
    }

    /// It failed and asks a person what to do.
    fn is_asking(&self, task: TaskId) -> bool {
        let asks = self.seen[task.index()].awaits.is_some();
        asks && matches!(self.strategy(task), Some(FallbackStrategy::Escalate(_)))
    }

    /// How often it is run as it is at present, and after which exit codes (any, if none).
    fn rule(&self, task: TaskId) -> (u32, Vec<i32>) {
        match self.strategy(task) {
            None => (self.tasks[task.index()].retry.attempts, self.tasks[task.index()].retry.on.clone()),
            Some(FallbackStrategy::Retry(rule)) => (rule.attempts, rule.on.clone()),
            Some(_) => (1, Vec::new()),
        }
    }

    /// What is run again may be what one waits for that asks.
    fn disturb(&mut self) {
        self.seen.iter_mut().for_each(|seen| seen.disturbed = true);
    }

    fn fall_back(&mut self, task: TaskId, fallback: FallbackId) {
        let (own, from) = (&self.tasks[task.index()].fallback, self.seen[task.index()].taken);
        let at = own.iter().skip(from).position(|other| *other == fallback);
        let at = from + at.unwrap_or_else(|| panic!("{fallback:?} is none of the fallbacks that {task} has left"));
        for passed in &own[from..at] {
            // A retry may not be for this failure, another agent may not be there.
            let strategy = &self.fallbacks[passed.index()].strategy;
            let may_be = matches!(strategy, FallbackStrategy::Retry(_) | FallbackStrategy::OtherAgent);
            assert!(may_be, "{task} passes {passed:?} by");
        }
        let strategy = self.fallbacks[fallback.index()].strategy.clone();
        let (last, now) = (self.ran_on.get(&task).copied(), self.now);
        let seen = &mut self.seen[task.index()];
        (seen.on, seen.taken, seen.tries, seen.not_before) = (Some(fallback), at + 1, 0, Time(0));
        seen.elsewhere = last.filter(|_| strategy == FallbackStrategy::OtherAgent);
        match strategy {
            FallbackStrategy::Skip => {
                (seen.satisfied, seen.at_rest, seen.held, seen.by_rule) = (true, true, false, true);
            }
            FallbackStrategy::Escalate(question) => {
                (seen.awaits, seen.at_rest, seen.disturbed) =
                    (Some(question.timeout.map(|span| now.plus(span))), false, false);
            }
            FallbackStrategy::Compensate => (seen.at_rest, seen.held) = (true, false),
            _ => {}
        }
    }

    /// What it takes of resources, as it runs at present.
    fn needs(&self, task: TaskId) -> Vec<ResourceRequirement> {
        let mut needs = self.tasks[task.index()].requirements.resources.clone();
        if let Some(FallbackStrategy::Degrade(less)) = self.strategy(task) {
            for lower in &less.uses {
                needs
                    .iter_mut()
                    .filter(|need| need.resource == lower.resource)
                    .for_each(|need| need.amount = lower.amount);
            }
        }
        needs
    }

    fn start(&mut self, task: TaskId, attempt: Attempt, agent: AgentId) {
        assert!(!self.lost.contains(&agent), "{task} starts on {agent:?}, which is lost");
        self.starts += 1;
        let definition = self.tasks[task.index()].clone();
        let name = &definition.id;
        assert!(self.loaded && !self.paused && !self.ending, "{name} starts while nothing may");
        assert!(!self.overloaded || self.ignores_overload, "{name} starts while PauseWhile holds");
        assert!(!self.is_called_off(task), "{name} starts though what it did is compensated");
        let seen = self.idle(task).clone();
        assert_eq!(attempt.0, seen.attempt + 1, "attempt numbers of {name}");
        assert!(!seen.at_rest && !seen.satisfied && !seen.held, "{name} starts though over or held: {seen:?}");
        assert!(seen.passed || definition.barrier.is_none(), "{name} starts before it has passed its barrier");
        assert!(seen.not_before <= self.now, "{name} starts within its delay");
        if self.is_asking(task) {
            assert!(seen.disturbed, "{name} asks what to do, and starts");
            let seen = self.idle(task);
            (seen.on, seen.taken, seen.awaits) = (None, seen.taken - 1, None);
        }
        assert!(seen.elsewhere != Some(agent), "{name} starts where it failed");
        assert!(seen.tries < self.rule(task).0, "{name} starts once more than its retry rule allows");
        assert!(matches!(definition.task_type, TaskType::Run(_)), "{name} runs nothing and starts");
        let asks = definition.entry.is_some() || self.stages[definition.stage.index()].when.is_some();
        assert!(seen.admitted || !asks, "{name} starts before it was decided whether it may");
        self.may_come(&definition);
        let running = self.seen.iter().filter(|seen| seen.live.is_some()).count() as u32;
        assert!(self.settings.max_running.is_none_or(|most| running < most), "{name} starts beyond max_running");
        let at = self.agents[agent.index()].clone();
        for capability in &definition.requirements.capabilities {
            assert!(at.capabilities.contains(capability), "{name} needs {capability}");
        }
        for constraint in &definition.requirements.constraints {
            match constraint {
                TaskConstraint::OnAgent(only) => assert_eq!(*only, agent, "{name} starts elsewhere"),
                TaskConstraint::NotOnAgent(not) => assert_ne!(*not, agent, "{name} starts where it must not"),
                TaskConstraint::SameAgentAs(other) => {
                    let runs_on = self.seen[other.index()].live.as_ref().map(|live| live.agent);
                    let there = runs_on.or_else(|| self.ran_on.get(other).copied());
                    assert!(there.is_none_or(|there| there == agent), "{name} starts elsewhere than {other}");
                }
                TaskConstraint::PreferAgent(_) => {}
                TaskConstraint::Within(window) => assert!(self.is_open(*window), "{name} starts outside of its window"),
            }
        }
        match self.breaker {
            BreakerSeen::Closed => {}
            BreakerSeen::Half(None) => self.breaker = BreakerSeen::Half(Some(task)),
            other => panic!("{name} starts while the breaker is {other:?}"),
        }
        self.seen[task.index()].attempt += 1;
        self.seen[task.index()].tries += 1;
        (self.seen[task.index()].ended_well, self.seen[task.index()].failed) = (false, false);
        self.seen[task.index()].live = Some(Attempting::on(agent));
        for need in &self.needs(task) {
            let twice = self.grants.insert((need.resource, task), (need.amount, agent));
            assert!(twice.is_none(), "{name} is granted twice");
            let rate = matches!(self.resources[need.resource.index()].kind, ResourceKind::Rate { .. });
            assert!(rate || !self.locks.is_waited_for(need.resource), "{name} starts before what runs has its lock");
            self.within_capacity(need.resource, agent, need.amount);
        }
        let busy = self.seen.iter().filter_map(|seen| seen.live.as_ref()).filter(|live| live.agent == agent).count();
        assert!(busy <= self.slots[agent.index()] as usize, "{name} starts beyond the slots of {}", at.name);
    }

    fn majority(&self, task: TaskId) -> &Majority {
        self.tasks[task.index()].task_type.majority().expect("a replicated task")
    }

    /// The most runs of a replicated task that succeeded with the same values.
    fn agreeing(&self, task: TaskId) -> Vec<TaskId> {
        let by = &self.majority(task).by;
        let came_to = |run: TaskId| -> Vec<Option<&Value>> {
            by.iter().map(|name| self.outputs.get(&(run, name.clone()))).collect()
        };
        let runs = self.tasks[task.index()].after.iter().copied();
        let good: Vec<TaskId> = runs.filter(|run| self.seen[run.index()].ended_well).collect();
        let camp = |run: &TaskId| -> Vec<TaskId> {
            good.iter().copied().filter(|other| came_to(*other) == came_to(*run)).collect()
        };
        good.iter().map(camp).max_by_key(Vec::len).unwrap_or_default()
    }

    /// A task that has arrived: everything before it is done, and it asks for something.
    /// The list of which tasks are made, and those that were.
    fn list_of(&self, task: TaskId) -> (Vec<String>, Vec<TaskId>) {
        let TaskType::Foreach(foreach) = &self.tasks[task.index()].task_type else { panic!("{task} makes no tasks") };
        let ValueOf::Output { task: giver, name } = &foreach.list else { panic!("only outputs here") };
        let list = self.outputs.get(&(*giver, name.to_string())).expect("a list is there");
        let Value::List(elements) = list else { panic!("{list} is no list") };
        let made = (0..self.tasks.len()).filter(|index| self.tasks[*index].made_by == Some(task));
        (elements.iter().map(plain_text).collect(), made.map(TaskId::from).collect())
    }

    /// A task was added for the next element of a list.
    fn is_made(&mut self, by: TaskId, task: &TaskDefinition) {
        self.arrived(by);
        let (list, made) = self.list_of(by);
        let own = &self.tasks[by.index()];
        assert_eq!(task.id, own.id.replace("{k}", &list[made.len()]));
        assert_eq!((&task.after, task.stage, &task.requirements), (&own.after, own.stage, &own.requirements));
        assert!(matches!(task.task_type, TaskType::Run(_)));
    }

    fn all_are_made(&mut self, task: TaskId, tasks: u32) {
        let (list, made) = self.list_of(task);
        assert_eq!((tasks as usize, made.len()), (list.len(), list.len()), "{task}: one for each");
        let own = &mut self.tasks[task.index()];
        own.after.extend(made);
        let TaskType::Foreach(foreach) = &mut own.task_type else { unreachable!("looked at") };
        assert!(Arc::make_mut(foreach).made.replace(tasks).is_none(), "{task}: made twice");
    }

    fn is_open(&self, window: WindowId) -> bool {
        let open = &self.windows[window.index()].open;
        open.iter().any(|(from, to)| *from <= self.now && self.now < *to)
    }

    /// What runs nothing goes on only within its window; what runs something is looked at when it starts.
    fn within_window(&self, task: TaskId) {
        let definition = &self.tasks[task.index()];
        let runs = matches!(definition.task_type, TaskType::Run(_) | TaskType::Foreach(_));
        for constraint in &definition.requirements.constraints {
            if let TaskConstraint::Within(window) = constraint {
                assert!(runs || self.is_open(*window), "{} goes on outside of its window", definition.id);
            }
        }
    }

    fn arrived(&mut self, task: TaskId) {
        let definition = self.tasks[task.index()].clone();
        let name = &definition.id;
        let seen = self.idle(task);
        assert!(!seen.at_rest && !seen.satisfied && !seen.held, "{name} arrives though over or held: {seen:?}");
        assert!(self.decided[definition.stage.index()] != Some(false), "{name} arrives in a stage that is passed by");
        self.may_come(&definition);
    }

    /// All that a task waits for has come to pass.
    fn may_come(&self, definition: &TaskDefinition) {
        let name = &definition.id;
        let ways = || self.transitions.iter().zip(&self.taken).filter(|(way, _)| way.to == definition.stage);
        let led_to = ways().any(|(_, taken)| *taken > 0) || ways().all(|(way, _)| way.is_backward());
        assert!(led_to, "{name} starts, and no transition has led to its stage");
        let (come, all) = (self.come_to_pass(definition), definition.after.len());
        let needed = definition.join.enough.map_or(all, |enough| enough as usize);
        assert!(come >= needed, "{name} starts when {come} of {all} are done, of which {needed} are needed");
        for stage in &self.stages[definition.stage.index()].after {
            let mut tasks = self.tasks.iter().zip(&self.seen);
            let open = tasks.find(|(task, seen)| task.stage == *stage && !seen.satisfied && !seen.excused);
            assert!(open.is_none(), "{name} starts before the stage of {:?} is over", open.map(|(task, _)| &task.id));
        }
    }

    /// A stage is entered: as often as its transitions say, and what is entered again is over.
    fn take(&mut self, id: TransitionId, round: u32) {
        let way = self.transitions[id.index()].clone();
        let good = self.of_stage(way.from).all(|task| self.seen[task].satisfied || self.seen[task].excused);
        assert!(way.on != StageEnd::Success || good, "{way:?} is taken after a failure");
        let to_target = |other: &StateTransition| other.to == way.to;
        let is_target = self.transitions.iter().any(|other| to_target(other) && !other.is_backward());
        let led = self.transitions.iter().zip(&self.taken).filter(|(other, _)| to_target(other));
        let before = led.map(|(_, taken)| taken).sum::<u32>() + u32::from(!is_target);
        assert_eq!(round, before + 1, "rounds follow each other");
        assert!(before == 0 || self.is_settled(way.to), "{way:?} leads to what is under way");
        self.taken[id.index()] += 1;
        self.disturb();
        self.decided[way.to.index()] = None;
        assert!(way.at_most.is_none_or(|most| self.taken[id.index()] <= most), "{way:?} is taken too often");
        for task in self.of_stage(way.to).collect::<Vec<_>>() {
            let seen = &mut self.seen[task];
            assert!(seen.live.is_none(), "{task} is live and is run again");
            if !seen.removed && (before > 0 || (seen.satisfied && seen.by_rule)) {
                *seen = Seen { attempt: seen.attempt, held: seen.held && !seen.at_rest, ..Seen::default() };
            }
        }
    }

    fn of_stage(&self, stage: StageId) -> impl Iterator<Item = usize> {
        self.tasks.iter().enumerate().filter(move |(_, task)| task.stage == stage).map(|(index, _)| index)
    }

    /// Each task of a stage is done, or never will be as things are.
    fn is_settled(&self, stage: StageId) -> bool {
        self.of_stage(stage).all(|task| self.seen[task].satisfied || self.is_over(TaskId::from(task)))
    }

    /// How many of those that a task waits for are done, or over if that is what it waits for.
    fn come_to_pass(&self, definition: &TaskDefinition) -> usize {
        let over = definition.join.trigger == Trigger::AllOver;
        let has = |id: &&TaskId| self.seen[id.index()].satisfied || (over && self.is_over(**id));
        definition.after.iter().filter(has).count()
    }

    /// It never will be done, as things are.
    fn is_over(&self, id: TaskId) -> bool {
        let (seen, definition) = (&self.seen[id.index()], &self.tasks[id.index()]);
        if seen.live.is_some() || seen.satisfied {
            return false;
        }
        if seen.at_rest {
            return !seen.lost;
        }
        let stage_before = &self.stages[definition.stage.index()].after;
        let dead_stage = || {
            (0..self.tasks.len()).map(TaskId::from).any(|other| {
                stage_before.contains(&self.tasks[other.index()].stage)
                    && !self.seen[other.index()].excused
                    && self.is_over(other)
            })
        };
        if definition.join.trigger == Trigger::AllOver {
            return dead_stage();
        }
        let never = definition.after.iter().filter(|before| self.is_over(**before)).count();
        let all = definition.after.len();
        let spare = all - definition.join.enough.map_or(all, |enough| enough as usize);
        never > spare || dead_stage()
    }

    fn enough(&self, task: TaskId, done: u32, of: u32) {
        let definition = &self.tasks[task.index()];
        assert_eq!(of as usize, definition.after.len());
        let come = self.come_to_pass(definition);
        // The rest may have been skipped since they were counted.
        assert!(done as usize <= come, "{done} of those before {task} are said to be done, {come} are");
        assert!(definition.join.enough.is_some_and(|enough| enough <= done), "it is not enough for {task}");
    }

    /// Enough failed within the time it says; or the one that tried failed.
    fn open_breaker(&mut self, failures: u32, until: Time) {
        let breaker = self.settings.breaker.expect("a breaker opens that is not declared");
        assert_eq!(until, self.now.plus(breaker.cool_down));
        if self.breaker == BreakerSeen::Closed {
            let recent = self.failures.iter().filter(|at| self.now.since(**at) <= breaker.within).count();
            assert!(recent >= breaker.failures as usize, "the breaker opens after {recent} failures of {failures}");
        } else {
            assert!(matches!(self.breaker, BreakerSeen::Half(Some(_))), "the breaker opens again without a try");
        }
        (self.breaker, self.failures) = (BreakerSeen::Open(until), Vec::new());
    }

    fn within_capacity(&mut self, resource: ResourceId, agent: AgentId, granted: Amount) {
        let definition = self.resources[resource.index()].clone();
        let held = self.grants.iter().filter(|((id, _), _)| *id == resource);
        let here = held.filter(|(_, (_, at))| definition.kind != ResourceKind::PerAgent || *at == agent);
        let amounts: Vec<u64> = here.map(|(_, (amount, _))| amount.0).chain(self.locks.held_of(resource)).collect();
        let used: u64 = amounts.iter().sum();
        match definition.kind {
            ResourceKind::Lock => {
                let exclusive = amounts.contains(&Amount::WHOLE_LOCK.0);
                assert!(!exclusive || amounts.len() == 1, "{} is granted beyond one holder", definition.name);
            }
            ResourceKind::Pool(capacity) => {
                let capacity = self.capacities.get(&(resource, None)).copied().unwrap_or(capacity.0);
                assert!(used <= capacity, "{} is over its capacity", definition.name);
            }
            ResourceKind::Rate { amount, per } => {
                let capacity = self.capacities.get(&(resource, None)).copied().unwrap_or(amount.0);
                let now = self.now;
                let taken = self.taken_of.entry(resource).or_default();
                taken.push((now, granted.0));
                let mut sum = 0;
                for (at, amount) in taken.iter().rev() {
                    sum += u128::from(*amount) * u128::from(per.0);
                    let filled = u128::from(capacity) * u128::from(per.0 + now.since(*at).0);
                    assert!(sum <= filled, "more of {} than its rate", definition.name);
                }
            }
            ResourceKind::PerAgent => {
                let at = &self.agents[agent.index()];
                let declared = at.resources.iter().find(|(id, _)| *id == resource).map_or(0, |(_, amount)| amount.0);
                let capacity = self.capacities.get(&(resource, Some(agent))).copied().unwrap_or(declared);
                assert!(used <= capacity, "{} of {} is over its capacity", definition.name, at.name);
            }
        }
    }

    fn release(&mut self, task: TaskId) {
        self.seen[task.index()].live = None;
        self.locks.end_of(task);
        for need in self.needs(task) {
            let early = self.given.remove(&(need.resource, task));
            assert!(
                self.grants.remove(&(need.resource, task)).is_some() != early,
                "{task} gives back what it does not hold"
            );
        }
    }

    fn stop(&mut self, task: TaskId, attempt: Attempt, reason: StopReason, signal: StopSignal) {
        let (now, timeout, grace) = (self.now, self.tasks[task.index()].timeout, self.settings.grace);
        let leak = self.settings.leak_grace;
        let monitor = self.tasks[task.index()].monitor.clone();
        let may_give_way = self.tasks[task.index()].preemptible;
        let lost = self.lost.clone();
        if let StopReason::NotNeeded(join) = reason
            && self.seen[task.index()].live.as_ref().is_some_and(|live| live.stop.is_none())
        {
            assert!(self.tasks[join.index()].after.contains(&task), "{join} never waited for {task}");
        }
        let live = self.live(task, attempt);
        match (reason, live.stop) {
            (StopReason::AgentLost(agent), None) => {
                assert!(lost.contains(&agent) && live.agent == agent, "{task} is stopped for {agent:?}");
            }
            (StopReason::Preempted(by), None) => assert!(may_give_way && by != task, "{task} gives way to {by}"),
            (StopReason::TimedOut, None) => {
                let since = live.running.expect("only what runs can run too long");
                assert!(timeout.is_some_and(|span| now >= since.plus(span)), "{task} is timed out too early");
            }
            (StopReason::Monitor(trouble), None) => {
                let monitor = monitor.expect("nothing watches it");
                let dog = monitor.watchdog(trouble).expect("it is not watched for that");
                assert!(dog.then == MonitorAction::Fail && live.troubles.contains(&trouble), "{task}: {trouble:?}");
            }
            (StopReason::Leaked, None) => {
                let (_, since) = live.exited.expect("leaked by what has ended");
                assert!(now >= since.plus(leak), "left-behind processes are killed too early");
            }
            (_, Some((before, StopSignal::Term, since))) if signal == StopSignal::Kill && before == reason => {
                let asked = matches!(reason, StopReason::Cancelled | StopReason::SessionStop);
                assert!(asked || now >= since.plus(grace) || since == now, "{task} is killed before its grace is over");
            }
            (_, Some((_, sent, _))) => assert!(signal >= sent, "{task} is stopped more softly than before"),
            _ => {}
        }
        let first = live.stop.map(|(first, _, _)| first).filter(|_| reason != StopReason::Cancelled);
        live.stop = Some((first.unwrap_or(reason), signal, now));
    }

    fn end(&mut self, task: TaskId, attempt: Attempt, outcome: &Outcome, then: Then) {
        let live = self.live(task, attempt).clone();
        let stop = live.stop.map(|(reason, _, _)| reason);
        match outcome {
            Outcome::Cancelled => assert_eq!(stop, Some(StopReason::Cancelled)),
            Outcome::Aborted(reason) => assert_eq!(stop, Some(*reason)),
            Outcome::Failed(Cause::TimedOut) => assert_eq!(stop, Some(StopReason::TimedOut)),
            Outcome::Failed(Cause::Monitor(trouble)) => assert_eq!(stop, Some(StopReason::Monitor(*trouble))),
            Outcome::UpToDate => {
                assert!(live.found.as_ref().is_some_and(|found| found.up_to_date), "{task}: nobody said so");
                assert_eq!(then, Then::Rest);
            }
            Outcome::Failed(Cause::Validation { what }) => {
                assert_eq!(live.found.as_ref().and_then(|found| found.invalid.as_ref()), Some(what));
            }
            Outcome::Succeeded => {
                assert!(live.found.as_ref().is_none_or(|found| found.cause().is_none()), "{task} is not valid");
                assert!(stop.is_none() || live.exited.is_some(), "{task} was stopped first, and yet succeeded");
                assert_eq!(then, Then::Rest);
            }
            Outcome::Failed(_) | Outcome::Lost(_) => {}
        }
        if let Some(StopReason::NotNeeded(_)) = stop {
            assert_eq!(then, Then::Rest, "{task} is not needed, and goes on");
        }
        if stop == Some(StopReason::Compensating) {
            assert!(self.is_called_off(task), "{task} is not compensated");
        }
        assert!(!self.is_called_off(task) || then == Then::Rest, "{task} is compensated, and goes on");
        self.ends.push(sagas::End { task, outcome: outcome.clone() });
        if stop == Some(StopReason::Cancelled) {
            assert_eq!(then, Then::Rest, "{task} was cancelled, and goes on");
        }
        if let (Outcome::Failed(_), Then::Retry(_)) = (outcome, then) {
            let (limit, on) = self.rule(task);
            assert!(self.seen[task.index()].tries < limit, "{task} is retried beyond its rule");
            let covered = matches!(outcome, Outcome::Failed(Cause::Exit(code)) if on.contains(code));
            assert!(on.is_empty() || covered, "{task} is retried after {outcome:?}");
        }
        self.ran_on.insert(task, live.agent);
        if let Some(found) = live.found.as_ref().filter(|_| outcome.is_good()) {
            if !found.published.is_empty() {
                self.outputs.retain(|(giver, _), _| *giver != task);
            }
            for (name, value) in &found.published {
                self.outputs.insert((task, name.clone()), value.clone());
                self.metrics.insert(name.clone(), value.clone());
            }
        }
        self.release(task);
        if matches!(outcome, Outcome::Failed(_)) {
            self.failures.push(self.now);
        }
        let on_lost = self.settings.on_lost;
        let seen = &mut self.seen[task.index()];
        match then {
            Then::Rest => {
                seen.at_rest = true;
                let not_needed = matches!(outcome, Outcome::Aborted(StopReason::NotNeeded(_)));
                seen.satisfied = outcome.is_good() || not_needed;
                seen.by_rule = not_needed;
                seen.lost = matches!(outcome, Outcome::Lost(_)) && on_lost != OnLost::Fail;
                seen.succeeded_once |= outcome.is_good();
                seen.ended_well = outcome.is_good();
                seen.skipped = false;
                seen.failed = matches!(outcome, Outcome::Failed(_));
            }
            Then::Retry(at) => seen.not_before = at,
            Then::Requeue => seen.tries = seen.tries.saturating_sub(1),
            Then::Fallback(fallback) => self.fall_back(task, fallback),
            Then::Later(fallback, at) => {
                self.fall_back(task, fallback);
                self.seen[task.index()].not_before = at;
            }
        }
    }
}

/// It may be closed before it asks anybody.
fn asks_first(gate: &QualityGate) -> bool {
    gate.checks.iter().any(|check| matches!(check, GateCheck::Expr(_)))
}

/// Whether all commands and people of a gate have said yes, and whether one of them has said no.
fn gate_stands(gate: &QualityGate, seen: &Seen) -> (bool, bool) {
    let (mut holds, mut fails) = (true, false);
    for (number, check) in (0..).zip(&gate.checks) {
        let (yes, no) = match check {
            GateCheck::Expr(_) => continue,
            GateCheck::Command(_) => {
                let said = seen.checked.get(&number);
                (said == Some(&true), said == Some(&false))
            }
            GateCheck::Approval(_) => {
                let said = |word: bool| seen.votes.values().any(|vote| *vote == Some(word));
                (said(true) && !said(false), said(false))
            }
            GateCheck::Quorum(quorum) => {
                let said = |name: &String| seen.votes.get(name).copied();
                let yes = quorum.of.iter().filter(|name| said(name) == Some(Some(true))).count();
                let silent = quorum.of.iter().filter(|name| said(name).is_none()).count();
                let vetoed = quorum.veto.iter().any(|name| said(name) == Some(Some(false)));
                let enough = yes >= quorum.votes as usize;
                (enough && !vetoed, vetoed || yes + silent < quorum.votes as usize)
            }
        };
        holds &= yes;
        fails |= no;
    }
    (holds, fails)
}

fn gate_is_settled(gate: &QualityGate, seen: &Seen, late: bool, outcome: &Outcome) {
    let (holds, fails) = gate_stands(gate, seen);
    let first = asks_first(gate) && seen.awaits.is_none();
    match outcome {
        Outcome::Succeeded => {
            let lets_pass = gate.on_fail == GateAction::Continue && (fails || first);
            let in_time = late && gate.on_timeout == GateAction::Continue;
            assert!((holds && !fails) || lets_pass || in_time, "a gate opens by itself: {seen:?}");
        }
        Outcome::Failed(Cause::TimedOut) => assert!(late && gate.on_timeout == GateAction::Fail, "{seen:?}"),
        Outcome::Failed(_) => assert!((fails || first) && gate.on_fail == GateAction::Fail, "{seen:?}"),
        other => panic!("a gate is {other:?}"),
    }
}
