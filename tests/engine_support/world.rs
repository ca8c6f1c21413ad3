//! Processes as the engine's effects make them, for tests: a truthful account of what runs, and reports about it that
//! may be true, late, doubled, unknown or lies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quarterdeck::engine::care::*;
use quarterdeck::engine::condition::{Type, Value};
use quarterdeck::engine::ids::*;
use quarterdeck::engine::message::*;
use quarterdeck::engine::monitors::*;

use super::Rng;

/// What is true of an attempt that was asked to start.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Asked for, nothing spawned yet.
    Asked,
    /// Runs; told the engine so or not.
    Runs { told: bool },
    /// Its leader ended, others live on.
    Lingers { exit: Exit, left: u32 },
    /// Over; the engine was not told, or has not stored it.
    Gone { exit: Exit },
}

/// Everything that runs.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub attempts: BTreeMap<(TaskId, Attempt), Truth>,
    /// Signalled hardest by.
    pub signalled: BTreeMap<(TaskId, Attempt), StopSignal>,
    pub started: Vec<(TaskId, Attempt)>,
    /// What is looked at: each sensor by one watch at most.
    pub watches: BTreeMap<u64, Watched>,
    /// What is asked for around those that ask.
    pub cares: BTreeMap<(TaskId, Attempt), Arc<Care>>,
    /// What a monitor watches, also what is over since, and what it knew then.
    pub monitored: BTreeMap<(TaskId, Attempt), BTreeSet<Trouble>>,
}

pub fn process(task: TaskId, attempt: Attempt) -> Process {
    Process { pid: 1000 + task.0 as i32, start_ticks: u64::from(attempt.0) }
}

pub fn report(task: TaskId, attempt: Attempt, news: News) -> Report {
    Report { task, attempt, news }
}

fn exited(exit: Exit, left: u32) -> News {
    News::Exited { exit, usage: Usage::default(), output: 0, left, findings: None }
}

/// What may be found around an attempt; `fair` keeps to what is asked for.
fn findings(care: &Care, rng: &mut Rng, fair: bool) -> Findings {
    let mut found = Findings { because: vec!["so".into()], ..Findings::default() };
    let value = |rng: &mut Rng| Value::Int(rng.below(6) as i64);
    let of = |rng: &mut Rng, of: &Type| match of {
        // Now and then with one twice: no two tasks can have one name.
        Type::List(_) => Value::List((0..rng.below(4)).map(|n| Value::Int((n + rng.below(2)) as i64)).collect()),
        _ => value(rng),
    };
    found.published = care.publishes.iter().map(|publish| (publish.name.clone(), of(rng, &publish.of))).collect();
    found.up_to_date = (care.up_to_date || !fair) && rng.chance(25);
    if rng.chance(40) {
        let weight = 1 + rng.below(3) as u32;
        found.checks.push(Checked { what: "it".into(), passed: rng.chance(60), weight, why: String::new() });
    }
    if rng.chance(10) {
        found.invalid = Some("it".into());
    }
    if rng.chance(4) {
        found.memory = Some((1, 2));
    }
    if !fair && rng.chance(50) {
        found.published.push(("nobody-asked".into(), value(rng)));
    }
    found
}

fn with(mut news: News, found: Option<Box<Findings>>) -> News {
    if let News::Exited { findings, .. } = &mut news {
        *findings = found;
    }
    news
}

impl World {
    /// Does what the engine ordered.
    pub fn obey(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Start(order) => {
                    let key = (order.task, order.attempt);
                    let filled = order.command.references.is_empty() || order.problem.is_some();
                    assert!(filled, "{} starts without a value that it refers to", order.task);
                    assert!(!self.started.contains(&key), "attempt {key:?} is started twice");
                    let other = self.attempts.iter().find(|((task, _), truth)| {
                        *task == order.task && !matches!(truth, Truth::Gone { .. } | Truth::Asked)
                    });
                    assert_eq!(other, None, "a second live attempt of {}", order.task);
                    self.started.push(key);
                    self.cares.extend(order.care.clone().map(|care| (key, care)));
                    self.attempts.insert(key, Truth::Asked);
                }
                Effect::Signal { task, attempt, signal, .. } => {
                    let before = self.signalled.entry((*task, *attempt)).or_insert(*signal);
                    *before = (*before).max(*signal);
                }
                Effect::Reap { task, attempt, .. } => {
                    self.attempts.remove(&(*task, *attempt));
                }
                Effect::Reconcile(_) => {}
                // Its client hears it.
                Effect::Tell(_) => {}
                Effect::Monitor(order) => {
                    self.monitored.insert((order.task, order.attempt), order.noticed.iter().copied().collect());
                }
                Effect::Watch(watch) => {
                    let twice = self.watches.values().any(|of| *of == watch.of);
                    assert!(!twice, "{} is looked at twice", watch.name);
                    self.watches.insert(watch.watch, watch.of);
                }
                Effect::Unwatch(watch) => {
                    assert!(self.watches.remove(watch).is_some(), "what is not looked at is looked at no more");
                }
            }
        }
    }

    /// One true step of one attempt, if any can be made: what a fair agent would report next.
    pub fn truthful(&mut self, rng: &mut Rng, fair: bool) -> Option<Report> {
        let keys: Vec<_> = self.attempts.keys().copied().collect();
        if keys.is_empty() {
            return None;
        }
        let key = *rng.pick(&keys);
        let (task, attempt) = key;
        let killed = self.signalled.get(&key).copied();
        let found = self.cares.get(&key).map(|care| Box::new(findings(care, rng, fair)));
        let exit = match killed {
            Some(StopSignal::Kill) => Exit::Signal(9),
            Some(StopSignal::Term) if rng.chance(70) => Exit::Signal(15),
            _ => Exit::Code(if rng.chance(if fair { 20 } else { 35 }) { 1 } else { 0 }),
        };
        let truth = self.attempts.get_mut(&key).expect("just listed");
        let news = match truth {
            Truth::Asked if rng.chance(if fair { 3 } else { 8 }) => {
                self.attempts.remove(&key);
                let transient = rng.chance(50);
                News::CouldNotStart(StartProblem { message: "no".into(), code: Some(127), transient })
            }
            Truth::Asked => {
                *truth = Truth::Runs { told: true };
                News::Started { process: process(task, attempt), log: u64::from(attempt.0) }
            }
            Truth::Runs { told: told @ false } if rng.chance(50) => {
                *told = true;
                News::Started { process: process(task, attempt), log: u64::from(attempt.0) }
            }
            Truth::Runs { .. } if rng.chance(15) => {
                let left = 1 + rng.below(3) as u32;
                *truth = Truth::Lingers { exit, left };
                exited(exit, left)
            }
            Truth::Runs { .. } => {
                *truth = Truth::Gone { exit };
                exited(exit, 0)
            }
            Truth::Lingers { exit, .. } => {
                *truth = Truth::Gone { exit: *exit };
                News::Emptied
            }
            // It was told before; a fair agent tells it again until it is reaped.
            Truth::Gone { exit } => exited(*exit, 0),
        };
        Some(report(task, attempt, with(news, found)))
    }

    /// What a look sees: of a watch that is there, or of one that is over.
    pub fn look(&self, rng: &mut Rng, met: u64) -> Option<Sighting> {
        let watches: Vec<_> = self.watches.iter().map(|(watch, task)| (*watch, *task)).collect();
        if watches.is_empty() {
            return None;
        }
        let (watch, of) = *rng.pick(&watches);
        let saw = rng.pick(&["not there", "refused", "busy"]).to_string();
        Some(Sighting { of, watch, met: rng.chance(met), saw, mark: None })
    }

    /// What a monitor sees: of an attempt that it watches, or of one that is over.
    pub fn observe(&self, rng: &mut Rng) -> Option<Observation> {
        let keys: Vec<_> = self.monitored.keys().copied().collect();
        let (task, attempt) = if keys.is_empty() { return None } else { *rng.pick(&keys) };
        let trouble = *rng.pick(&Trouble::ALL);
        Some(Observation { task, attempt, trouble, holds: rng.chance(60), saw: "something".into() })
    }

    /// Something that need not be true, of an attempt that need not exist.
    pub fn lie(&self, rng: &mut Rng, tasks: u32) -> Report {
        let task = TaskId(rng.below(u64::from(tasks) + 2) as u32);
        let attempt = Attempt(rng.below(5) as u32);
        let exit = *rng.pick(&[Exit::Code(0), Exit::Code(3), Exit::Signal(11)]);
        let news = match rng.below(8) {
            0 => News::Started { process: process(task, attempt), log: rng.next() },
            1 => News::CouldNotStart(StartProblem { message: "lie".into(), code: None, transient: rng.chance(50) }),
            2 => exited(exit, 0),
            3 => exited(exit, 2),
            4 => News::Emptied,
            5 => News::Adopted { process: process(task, attempt), log: 7 },
            6 => News::NotStarted,
            _ => News::Lost { why: "vanished".into() },
        };
        let everything = Care { up_to_date: true, ..Care::default() };
        let found = rng.maybe(30, |rng| Box::new(findings(&everything, rng, false)));
        report(task, attempt, with(news, found))
    }

    /// After a crash of the console: the truth about an attempt that it asks after.
    pub fn reconcile(&mut self, survivor: &Survivor, rng: &mut Rng) -> News {
        let key = (survivor.task, survivor.attempt);
        let found = self.cares.get(&key).map(|care| Box::new(findings(care, rng, true)));
        let news = match self.attempts.get_mut(&key) {
            None | Some(Truth::Asked) if survivor.process.is_none() => {
                self.attempts.remove(&key);
                News::NotStarted
            }
            // Asked for by an order whose report was stored: only a lying journal says so; nothing can be proved.
            None | Some(Truth::Asked) => News::Lost { why: "no trace of it".into() },
            Some(_) if rng.chance(10) => {
                self.attempts.remove(&key);
                News::Lost { why: "the guard died too".into() }
            }
            Some(Truth::Runs { told }) => {
                *told = true;
                News::Adopted { process: process(key.0, key.1), log: u64::from(key.1.0) }
            }
            Some(Truth::Lingers { .. }) if survivor.exited => {
                News::Adopted { process: process(key.0, key.1), log: u64::from(key.1.0) }
            }
            Some(Truth::Lingers { exit, left }) => exited(*exit, *left),
            Some(Truth::Gone { .. }) if survivor.exited => News::Emptied,
            Some(Truth::Gone { exit }) => exited(*exit, 0),
        };
        with(news, found)
    }
}

impl World {
    /// What an agent said of an attempt that exists becomes the truth.
    pub fn believe(&mut self, said: &Report) {
        let key = (said.task, said.attempt);
        let Some(truth) = self.attempts.get_mut(&key) else { return };
        match &said.news {
            News::Started { .. } | News::Adopted { .. } if *truth == Truth::Asked => {
                *truth = Truth::Runs { told: true }
            }
            News::Exited { exit, left: 0, .. } if !matches!(truth, Truth::Lingers { .. } | Truth::Gone { .. }) => {
                *truth = Truth::Gone { exit: *exit };
            }
            News::Exited { exit, left, .. } if !matches!(truth, Truth::Lingers { .. } | Truth::Gone { .. }) => {
                *truth = Truth::Lingers { exit: *exit, left: *left };
            }
            News::Emptied => {
                if let Truth::Lingers { exit, .. } = truth {
                    *truth = Truth::Gone { exit: *exit };
                }
            }
            News::CouldNotStart(_) | News::NotStarted if *truth == Truth::Asked => {
                self.attempts.remove(&key);
            }
            News::Lost { .. } => {
                self.attempts.remove(&key);
            }
            _ => {}
        }
    }
}
