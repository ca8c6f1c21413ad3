//! A fact becomes the State: `apply` and what it does for commands and attempts. A task is changed by `edit` alone; knows
//! nothing of the indexes behind it, nor why a fact came to be.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Done, DoneWhat, Live, Past, Phase, Reservation, State};
use crate::engine::arrival::{Checked, Heard, Seen, Vote};
use crate::engine::breaker::{Gate, Tripped};
use crate::engine::definition::{OnLost, ResourceKind};
use crate::engine::fact::{Fact, Outcome, Stamped, Target, Then};
use crate::engine::health::LostAgent;
use crate::engine::ids::{AgentId, Amount, Attempt, ResourceId, TaskId};
use crate::engine::message::{Command, Origin, Process, StopReason, Usage};
use crate::engine::monitors::Noticed;
use crate::engine::overload::Overload;

/// How many commands can be taken back.
pub const UNDO_DEPTH: usize = 100;
/// How many ended attempts of a task are remembered in the State (all are in the journal).
pub const ATTEMPTS_KEPT: usize = 16;
/// How many operator commands are remembered for the action log.
pub const ACTIONS_KEPT: usize = 200;

impl State {
    /// Folds one fact into the State.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.now = self.now.max(stamped.at);
        let now = self.now;
        if let Fact::Settled { task, .. }
        | Fact::Skipped { task, .. }
        | Fact::Cancelled { task, .. }
        | Fact::Requeued { task } = &stamped.fact
        {
            self.has_said(*task);
        }
        match &stamped.fact {
            Fact::Opened { boot_id, pid, .. } => {
                self.opened += 1;
                self.console_pid = *pid;
                self.boot_id.clone_from(boot_id);
                self.closed = None;
                self.ending = None;
                self.forget_waiting();
            }
            Fact::Recovered { .. } => {}
            Fact::Closed { code } => self.closed = Some(*code),
            Fact::Configured(settings) => self.begin_workflow(settings),
            Fact::ResourceAdded(definition) => self.add_resource(definition),
            Fact::AgentAdded(definition) => self.add_agent(definition),
            Fact::StageAdded(definition) => self.add_stage(definition),
            Fact::TransitionAdded(definition) => self.add_transition(definition),
            Fact::PhaseAdded(definition) => self.add_phase(definition),
            Fact::GoalAdded(goal) => self.add_goal(goal),
            Fact::GoalJudged { goal, holds, why } => self.judge(*goal, *holds, why),
            Fact::FallbackAdded(definition) => Arc::make_mut(&mut self.fallbacks).push(definition.clone()),
            Fact::TaskAdded(definition) => self.add_task(definition),
            Fact::Loaded { .. } => self.load(),
            Fact::Commanded { by, command, inverse } => self.note_command(by, command, inverse.as_ref()),
            Fact::Undone => self.note_undone(),
            Fact::Redone => self.note_redone(),
            Fact::Paused => self.paused = true,
            Fact::Resumed => {
                self.paused = false;
                self.ending = None;
            }
            Fact::Ending(how) => self.ending = Some(*how),
            Fact::PrioritySet { task, priority } => {
                self.edit(*task, |t| t.priority = *priority);
                self.look_at_locks();
            }
            Fact::SlotsSet { agent, slots } => self.set_slots(*agent, *slots),
            Fact::Held { task, why } => self.edit(*task, |t| {
                t.held = true;
                t.because = why.as_deref().map(Arc::from);
            }),
            Fact::Released { task } => {
                let asks_anew = self.definition(*task).task_type.gate().is_some();
                self.edit(*task, |t| {
                    // What a gate held by itself for is asked anew; also if what it waits for has begun anew meanwhile.
                    if asks_anew && t.because.is_some() {
                        t.heard = None;
                        if t.phase == Phase::Awaiting {
                            t.stand(Phase::Arrived, now);
                        }
                    }
                    t.held = false;
                    t.because = None;
                    t.ready_at = now;
                });
            }
            Fact::Skipped { task, why } => self.edit(*task, |t| {
                t.stand(Phase::Skipped, now);
                t.because = why.as_deref().map(Arc::from);
            }),
            Fact::Cancelled { task, why } => self.edit(*task, |t| {
                t.stand(Phase::Cancelled, now);
                t.because = why.as_deref().map(Arc::from);
            }),
            Fact::Excused { task, why } => self.edit(*task, |t| {
                t.excused = t.phase == Phase::Failed;
                t.because = Some(why.as_str().into());
            }),
            Fact::Enough { task, .. } => self.edit(*task, |t| {
                if let Some(join) = &mut t.join {
                    join.settled = join.is_enough();
                }
            }),
            Fact::Requeued { task } if self.task(*task).phase == Phase::Succeeded => self.run_again(*task, true),
            Fact::Requeued { task } => {
                let arrives = self.arrives(*task);
                let own = self.class_after_asking(*task);
                self.edit(*task, |t| {
                    own.into_iter().for_each(|class| t.fall_forward(class));
                    (t.tries, t.heard) = (0, None);
                    t.arrive(arrives, now);
                });
                self.may_never_be_entered(self.definition(*task).stage);
            }
            Fact::StageDecided { stage, holds, why } => {
                self.stages.at_mut(stage.index()).decided = Some((*holds, why.as_str().into()));
            }
            Fact::Voted { task, approves, abstains, by, note } => {
                let (approves, abstains) = (*approves, *abstains);
                let vote = Vote { at: now, approves, abstains, by: by.clone(), note: note.clone() };
                self.edit(*task, |t| t.hear(|heard| heard.vote(vote)));
            }
            Fact::Checked { task, check, holds, saw } => {
                let checked = Checked { check: *check, holds: *holds, saw: saw.as_str().into() };
                self.edit(*task, |t| t.hear(|heard| heard.checked.push(checked)));
            }
            Fact::Sensed { task, saw, mark } => {
                let seen = Seen { since: now, saw: saw.as_str().into(), mark: mark.clone() };
                self.edit(*task, |t| t.hear(|heard| heard.seen = Some(seen)));
            }
            Fact::Admitted { task } => self.edit(*task, |t| t.queue(now)),
            Fact::Awaiting { task, until } => self.edit(*task, |t| {
                t.stand(Phase::Awaiting, now);
                t.due = *until;
                if t.heard.as_ref().is_some_and(|heard| heard.seen.is_some() || !heard.checked.is_empty()) {
                    t.hear(|heard| (heard.seen, heard.checked) = (None, Vec::new()));
                }
            }),
            Fact::Settled { task, outcome, why } => self.edit(*task, |t| {
                t.stand(resting(outcome), now);
                t.because = why.as_deref().map(Arc::from);
            }),
            Fact::TransitionTaken { transition, round, why } => {
                self.pass(*transition, true, why);
                self.enter(self.transition(*transition).definition.to, *round);
                self.note(Origin::Rule, DoneWhat::Transition(*transition, why.clone()));
            }
            Fact::TransitionPassed { transition, why } => self.pass(*transition, false, why),
            Fact::PhaseFailed { phase, .. } => {
                let phase = &mut Arc::make_mut(&mut self.phases)[phase.index()];
                phase.ended = phase.failed > 0;
            }
            Fact::BarrierAdded(definition) => self.add_barrier(definition),
            Fact::AtBarrier { task, until } => self.edit(*task, |t| {
                t.stand(Phase::Awaiting, now);
                // Earlier programs let what was run again come to its barrier anew.
                t.passed = false;
                t.due = *until;
            }),
            Fact::BarrierPassed { barrier, .. } => self.pass_barrier(*barrier),
            Fact::BarrierBroken { barrier, why } => self.break_barrier(*barrier, why),
            Fact::Compensating { phase, why } => {
                self.compensate(*phase, why);
                self.note(Origin::Rule, DoneWhat::Compensation(why.clone()));
            }
            Fact::Agreed { task, like, why } => {
                self.agree(*task, *like);
                self.edit(*task, |t| {
                    t.stand(Phase::Succeeded, now);
                    t.because = Some(why.as_str().into());
                });
            }
            Fact::TaskEdited { task, definition } => self.redefine(*task, definition),
            Fact::TaskRemoved { task } => self.edit(*task, |t| {
                t.stand(Phase::Skipped, now);
                (t.removed, t.because) = (true, Some("removed".into()));
            }),
            Fact::TaskRestored { task } => {
                let arrives = self.arrives(*task);
                self.edit(*task, |t| {
                    (t.removed, t.heard) = (false, None);
                    t.arrive(arrives, now);
                });
                self.may_never_be_entered(self.definition(*task).stage);
            }
            Fact::Made { task, tasks } => self.wait_for_made(*task, *tasks),
            Fact::CompensationsAdded { phase, tasks } => self.compensations_known(*phase, *tasks),
            Fact::Starting { task, attempt, agent } => self.start(*task, *attempt, *agent),
            Fact::Running { task, process, log, .. } => self.runs(*task, process, *log, false),
            Fact::Adopted { task, process, log, .. } => self.runs(*task, process, *log, true),
            Fact::NotStarted { task, until, .. } => {
                self.release(*task);
                self.edit(*task, |t| {
                    t.live = None;
                    t.tries = t.tries.saturating_sub(1);
                    match until {
                        Some(until) => t.delay(*until, now),
                        None => t.queue(now),
                    }
                });
                self.note_followers(*task);
            }
            Fact::Noticed { task, trouble, saw, .. } => {
                let noticed = Noticed { trouble: *trouble, since: now, saw: saw.as_str().into() };
                self.edit(*task, |t| t.live.iter_mut().for_each(|live| live.troubles.push(noticed.clone())));
            }
            Fact::NoticeOver { task, trouble, .. } => {
                let other = |noticed: &Noticed| noticed.trouble != *trouble;
                self.edit(*task, |t| t.live.iter_mut().for_each(|live| live.troubles.retain(other)));
            }
            Fact::Stopping { task, reason, signal, .. } => self.edit(*task, |t| {
                let Some(live) = &mut t.live else { return };
                // The first reason stands, but for the operator's cancel: it also says that nothing is to follow.
                let first = live.stop.map(|(first, _, _)| first).filter(|_| *reason != StopReason::Cancelled);
                let reason = first.unwrap_or(*reason);
                live.stop = Some((reason, *signal, now));
                if t.phase != Phase::Lingering {
                    t.stand(Phase::Stopping, now);
                }
            }),
            Fact::Exited { task, exit, usage, output, left, .. } => self.edit(*task, |t| {
                let Some(live) = &mut t.live else { return };
                live.exited = Some((*exit, *usage, *output, *left));
                live.by_itself = live.stop.is_none();
                t.stand(Phase::Lingering, now);
            }),
            Fact::Found { task, findings, .. } => self.edit(*task, |t| {
                if let Some(live) = &mut t.live {
                    live.found = Some(findings.clone());
                }
            }),
            Fact::Ended { task, attempt, outcome, usage, output, then } => {
                self.end(*task, *attempt, outcome, *usage, *output, *then);
            }
            Fact::Due { task } => self.edit(*task, |t| t.queue(now)),
            Fact::FallbackChosen { task, fallback, .. } => {
                let fall = self.fall(*task, *fallback);
                let had_failed = self.task(*task).phase == Phase::Failed;
                self.edit(*task, |t| t.fall_now(&fall, now));
                if had_failed && self.changes.noted {
                    // It stands where it stood, and more may follow from it now.
                    self.changes.fallen.push(*task);
                }
            }
            Fact::WindowAdded(definition) => Arc::make_mut(&mut self.windows).push(definition.clone()),
            Fact::CapacitySet { resource, agent, amount } => self.set_capacity(*resource, *agent, *amount),
            Fact::CapabilitiesSet { agent, capabilities } => self.set_capabilities(*agent, capabilities),
            Fact::AgentLost { agent, saw } => {
                let lost = LostAgent { since: now, saw: saw.as_str().into() };
                self.change_agent(*agent, |agent| agent.lost = Some(lost));
                self.note_all_reservations();
            }
            Fact::AgentBack { agent, .. } => {
                self.change_agent(*agent, |agent| agent.lost = None);
                self.note_agent(*agent);
                self.note_all_reservations();
            }
            Fact::MaxRunningSet { most } => self.set_max_running(*most),
            Fact::BreakerOpened { until, .. } => self.open_breaker(*until),
            Fact::BreakerProbes => self.breaker.gate = Gate::HalfOpen(None),
            Fact::BreakerClosed => self.breaker = Tripped::default(),
            Fact::OverloadBegan { why } => {
                self.overload = Some(Overload { since: now, why: why.as_str().into() });
            }
            Fact::Posted { by, priority, text } => self.post(by, *priority, text),
            Fact::AtMeeting { barrier, task, attempt, ticket } => {
                self.come_to_meeting(*barrier, *task, *attempt, ticket);
            }
            Fact::MeetingOver { barrier, round, why } => self.end_meeting(*barrier, *round, why.as_deref()),
            Fact::LockAsked { task, attempt, request } => self.ask_lock(*task, *attempt, request),
            Fact::LockGranted { lock, fence, .. } => self.grant_lock(*lock, *fence),
            Fact::GivenBack { task, resource, .. } => self.give_back(*task, *resource),
            Fact::LockRenewed { lock, .. } => self.renew_lock(*lock),
            Fact::LockOver { lock, .. } => self.end_lock(*lock),
            Fact::StateSet { key, value, by } => self.set_shared(key, value.as_ref(), by),
            Fact::OverloadEnded { .. } => self.overload = None,
            Fact::PauseWhileHeeded(heeded) => self.ignores_overload = !heeded,
            Fact::Reserved { task, on } => {
                self.reservations.insert(*on, Reservation { task: *task, since: now });
            }
        }
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn note_command(&mut self, by: &Origin, command: &Command, inverse: Option<&Command>) {
        if let Some(inverse) = inverse {
            bounded_push(Arc::make_mut(&mut self.undo), (command.clone(), inverse.clone()), UNDO_DEPTH);
            if !self.redo.is_empty() {
                self.redo = Arc::default();
            }
        }
        self.note(by.clone(), DoneWhat::Command(command.clone()));
    }

    fn note(&mut self, by: Origin, what: DoneWhat) {
        let done = Done { at: self.now, by, what };
        bounded_push(Arc::make_mut(&mut self.actions), done, ACTIONS_KEPT);
    }

    fn note_undone(&mut self) {
        let Some((command, inverse)) = Arc::make_mut(&mut self.undo).pop_back() else { return };
        bounded_push(Arc::make_mut(&mut self.redo), (command.clone(), inverse), UNDO_DEPTH);
        self.note(Origin::Operator, DoneWhat::Undo(command));
    }

    fn note_redone(&mut self) {
        let Some((command, inverse)) = Arc::make_mut(&mut self.redo).pop_back() else { return };
        bounded_push(Arc::make_mut(&mut self.undo), (command.clone(), inverse), UNDO_DEPTH);
        self.note(Origin::Operator, DoneWhat::Redo(command));
    }

    fn set_slots(&mut self, id: AgentId, slots: u32) {
        self.change_agent(id, |agent| agent.slots = slots);
        self.note_agent(id);
        self.note_all_reservations();
    }

    // ── attempts ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn start(&mut self, id: TaskId, attempt: Attempt, agent: AgentId) {
        let class = self.class_of(id);
        let (holds, estimate) = (class.holds.clone(), class.estimate);
        let shared = class.shared.clone();
        for (resource, amount) in holds.iter() {
            self.holders.insert((*resource, id));
            let entry = self.resources.at_mut(resource.index());
            if entry.definition.kind != ResourceKind::PerAgent {
                entry.used.0 += amount.0;
            }
        }
        let at = self.now;
        for (resource, amount) in shared {
            let entry = self.resources.at_mut(resource.index());
            if let Some(bucket) = &mut entry.bucket {
                bucket.take(entry.capacity, amount, at);
            }
        }
        self.probe(id);
        self.note_followers(id);
        self.change_agent(agent, |agent| {
            agent.busy += 1;
            for (resource, amount) in holds.iter() {
                agent.take(*resource, *amount);
            }
        });
        self.on_agent.insert((agent, id));
        if attempt.0 > 1 {
            self.retries += 1;
        }
        let (now, console) = (self.now, self.opened);
        self.edit(id, |t| {
            t.attempt = attempt.0;
            t.tries += 1;
            t.live = Some(Box::new(Live {
                agent,
                started: now,
                holds,
                estimate,
                process: None,
                log: None,
                stop: None,
                exited: None,
                adopted: false,
                by_itself: false,
                console,
                found: None,
                troubles: Vec::new(),
            }));
            t.stand(Phase::Starting, now);
        });
        self.note_room_kept(id);
    }

    fn runs(&mut self, id: TaskId, process: &Process, log: u64, adopted: bool) {
        self.next_log = self.next_log.max(log.saturating_add(1));
        let (now, console) = (self.now, self.opened);
        self.edit(id, |t| {
            let Some(live) = &mut t.live else { return };
            let since = live.process.as_ref().map_or(now, |(_, since)| *since);
            live.process = Some((process.clone(), since));
            live.log = Some(log);
            live.adopted |= adopted;
            live.console = console;
            if t.phase == Phase::Starting {
                t.stand(Phase::Running, now);
            }
        });
    }

    /// The live attempt holds only this any more.
    pub(in crate::engine) fn drop_hold(&mut self, id: TaskId, resource: ResourceId, left: Vec<(ResourceId, Amount)>) {
        self.note_room_kept(id);
        self.holders.remove(&(resource, id));
        let left = Arc::new(left);
        self.edit(id, |t| t.live.iter_mut().for_each(|live| live.holds = left.clone()));
    }

    /// Gives back all that the live attempt holds.
    fn release(&mut self, id: TaskId) {
        self.note_room_kept(id);
        let Some(live) = self.task(id).live.clone() else { return };
        self.end_locks_of(id);
        self.look_at_locks();
        for (resource, amount) in live.holds.iter() {
            self.holders.remove(&(*resource, id));
            let entry = self.resources.at_mut(resource.index());
            if entry.definition.kind != ResourceKind::PerAgent {
                entry.used.0 -= amount.0;
                if self.changes.noted {
                    self.changes.resources.push(*resource);
                }
            }
        }
        self.change_agent(live.agent, |agent| {
            agent.busy -= 1;
            for (resource, amount) in live.holds.iter() {
                agent.give(*resource, *amount);
            }
        });
        self.on_agent.remove(&(live.agent, id));
        self.note_agent(live.agent);
    }

    pub(super) fn note_agent(&mut self, agent: AgentId) {
        if self.changes.noted {
            self.changes.agents.push(agent);
        }
    }

    pub(super) fn note_reservations(&mut self, targets: Vec<Target>) {
        if self.changes.noted {
            self.changes.reservations.extend(targets);
        }
    }

    /// A live attempt takes or gives back something that is being kept free: when there will be room is to be judged anew.
    fn note_room_kept(&mut self, id: TaskId) {
        if self.reservations.is_empty() {
            return;
        }
        let Some(live) = &self.task(id).live else { return };
        let targets = live.holds.iter().map(|(resource, _)| Target::Resource(*resource));
        let targets = targets.chain([Target::Agent(live.agent)]);
        let reserved = targets.filter(|target| self.reservations.contains_key(target)).collect();
        self.note_reservations(reserved);
    }

    fn end(&mut self, id: TaskId, attempt: Attempt, outcome: &Outcome, usage: Usage, output: u64, then: Then) {
        self.release(id);
        self.keep(id, attempt, outcome);
        self.note_completion(id, outcome);
        let fall = match then {
            Then::Fallback(fallback) => Some((self.fall(id, fallback), None)),
            Then::Later(fallback, until) => Some((self.fall(id, fallback), Some(until).filter(|at| *at > self.now))),
            _ => None,
        };
        match outcome {
            Outcome::Succeeded | Outcome::UpToDate => self.ended_attempts.0 += 1,
            _ => self.ended_attempts.1 += 1,
        }
        if matches!(outcome, Outcome::Failed(_)) {
            self.note_failure();
        }
        if outcome.is_good() && self.task(id).fallback.is_some() {
            self.by_fallback += 1;
        }
        let now = self.now;
        if let Some(live) = &self.task(id).live {
            let since = live.process.as_ref().map_or(live.started, |(_, since)| *since);
            let agent = self.agents.at_mut(live.agent.index());
            agent.ran = (agent.ran.0 + 1, agent.ran.1 + now.since(since).0);
        }
        let on_lost = self.settings.on_lost;
        let round = self.stage(self.definition(id).stage).round;
        let because = match outcome {
            Outcome::Aborted(StopReason::NotNeeded(join)) => Some(Arc::from(self.not_needed(*join))),
            Outcome::Aborted(StopReason::PhaseFailed(phase)) => Some(Arc::from(self.phase_failed(*phase))),
            Outcome::Aborted(_) => self.saga_words(id).map(Arc::from),
            _ => None,
        };
        self.edit(id, |t| {
            let Some(live) = t.live.take() else { return };
            let past = Past {
                attempt,
                agent: live.agent,
                started: live.process.as_ref().map_or(live.started, |(_, since)| *since),
                ended: now,
                outcome: outcome.clone(),
                usage,
                log: live.log.filter(|_| output > 0),
                fallback: t.fallback,
                round,
                found: live.found.map(|found| Arc::new(found.remembered())),
            };
            // Most tasks have one attempt: no more room than that is taken for it.
            let all = Arc::make_mut(t.past.get_or_insert_with(|| Arc::new(Vec::with_capacity(1))));
            if all.len() == ATTEMPTS_KEPT {
                all.remove(0);
            }
            all.push(past);
            match (outcome, then) {
                (_, Then::Retry(until)) if until > now => t.delay(until, now),
                (_, Then::Retry(_)) => t.queue(now),
                (_, Then::Requeue) => {
                    t.tries = t.tries.saturating_sub(1);
                    t.queue(now);
                }
                (_, Then::Fallback(_) | Then::Later(..)) => {
                    fall.iter().for_each(|(fall, until)| t.fall_at_end(fall, *until, now));
                }
                (Outcome::Succeeded | Outcome::UpToDate, Then::Rest) => t.stand(Phase::Succeeded, now),
                (Outcome::Cancelled, Then::Rest) => t.stand(Phase::Cancelled, now),
                (Outcome::Lost(_), Then::Rest) if on_lost != OnLost::Fail => t.stand(Phase::Lost, now),
                (Outcome::Aborted(StopReason::NotNeeded(_)), Then::Rest) => {
                    t.stand(Phase::Skipped, now);
                    t.because = because;
                }
                (Outcome::Aborted(_), Then::Rest) => {
                    t.stand(Phase::Cancelled, now);
                    t.because = because;
                }
                (_, Then::Rest) => t.stand(Phase::Failed, now),
            }
        });
    }
}

impl super::Task {
    fn hear(&mut self, change: impl FnOnce(&mut Heard)) {
        change(Arc::make_mut(self.heard.get_or_insert_default()));
    }
}

/// Where a task stands that came to its end without an attempt.
fn resting(outcome: &Outcome) -> Phase {
    match outcome {
        Outcome::Succeeded | Outcome::UpToDate => Phase::Succeeded,
        Outcome::Cancelled | Outcome::Aborted(_) => Phase::Cancelled,
        Outcome::Failed(_) => Phase::Failed,
        Outcome::Lost(_) => Phase::Lost,
    }
}

fn bounded_push<T>(ring: &mut VecDeque<T>, entry: T, bound: usize) {
    if ring.len() == bound {
        ring.pop_front();
    }
    ring.push_back(entry);
}
