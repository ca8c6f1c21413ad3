//! Arrival: everything before a task is done, and it asks for more than room, or is no command. Each arrival is decided
//! in the turn in which it comes about; what has no answer yet is parked under what its condition reads. Made again from
//! the State at will; only the decisions are stored.
//!
//! A decision goes step by step: the stage's condition, the task's own, then what it is. A later step is looked at only
//! if the earlier ones let it pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::condition::{Condition, EvalError};
use super::definition::{Deadline, TaskType};
use super::fact::{Cause, Fact, Outcome};
use super::gates;
use super::goals::Goals;
use super::ids::{TaskId, Time};
use super::interests::{Asker, Interests};
use super::state::{Phase, State};

/// What an arrival comes to.
#[derive(Debug)]
pub enum Decision {
    /// These facts.
    Now(Vec<Fact>),
    /// The last of these has no answer yet: to be asked again when something changes that any of them reads.
    Later(Vec<Condition>),
    /// Its window is closed: to be asked again when it opens, or when something changes that these read.
    Closed {
        /// What is true though.
        facts: Vec<Fact>,
        /// When it opens, if it ever does.
        opens: Option<Time>,
        /// What held so far.
        conditions: Vec<Condition>,
    },
}

/// Tasks that arrived and are not decided.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    queue: BTreeSet<TaskId>,
    parked: BTreeMap<TaskId, Vec<Condition>>,
    /// Those whose window is closed, by when it opens.
    closed: BTreeSet<(Time, TaskId)>,
    interests: Interests,
    goals: Goals,
    /// Whether the condition of `PauseWhile` is to be asked.
    pause_due: bool,
    /// Those that wait though something was said to them: a crash may have come between that and what it comes to.
    told: Vec<TaskId>,
}

impl Arrivals {
    /// All that stand there (after a replay).
    pub fn rebuild(&mut self, state: &mut State) {
        *self = Self::default();
        self.goals.rebuild(state, &mut self.interests);
        if let Some(condition) = &state.settings.pause_while {
            self.interests.watch(state, Asker::Pause, condition);
            self.pause_due = true;
        }
        state.changes.asked = always_asks(state);
        if state.counts.of(super::state::Shown::Waiting) > 0 {
            let all = (0..state.tasks.len()).map(TaskId::from);
            self.queue = all.filter(|id| state.task(*id).phase == Phase::Arrived).collect();
        }
        if state.counts.of(super::state::Shown::Awaiting) > 0 {
            let all = (0..state.tasks.len()).map(TaskId::from);
            let is_told = |id: &TaskId| {
                let task = state.task(*id);
                task.phase == Phase::Awaiting && task.heard.as_ref().is_some_and(|heard| heard.is_answer())
            };
            self.told = all.filter(is_told).collect();
        }
    }

    /// What was said before a crash, and had not come to anything.
    pub fn next_told(&mut self, state: &State) -> Option<Vec<Fact>> {
        while let Some(task) = self.told.pop() {
            let facts = told(state, task);
            if !facts.is_empty() {
                return Some(facts);
            }
        }
        None
    }

    /// The next to be decided, by what changed since.
    pub fn next(&mut self, state: &mut State) -> Option<TaskId> {
        self.queue.extend(std::mem::take(&mut state.changes.arrived));
        self.absorb(state);
        while let Some((_, task)) = self.closed.first().copied().filter(|(at, _)| *at <= state.now) {
            self.closed.pop_first();
            self.queue.insert(task);
        }
        while let Some(task) = self.queue.pop_first() {
            if let Some(conditions) = self.parked.remove(&task) {
                for condition in &conditions {
                    self.interests.forget(state, Asker::Arrival(task), condition);
                }
                state.changes.asked = !self.parked.is_empty() || always_asks(state);
            }
            let entry = state.task(task);
            if entry.phase == Phase::Arrived && !entry.held {
                return Some(task);
            }
        }
        None
    }

    /// The next new answer of a milestone, an objective or `PauseWhile`.
    pub fn next_goal(&mut self, state: &mut State) -> Option<Fact> {
        self.absorb(state);
        let overload = if std::mem::take(&mut self.pause_due) { state.overload_next() } else { None };
        overload.or_else(|| self.goals.next(state))
    }

    fn absorb(&mut self, state: &mut State) {
        for changed in std::mem::take(&mut state.changes.read) {
            for asker in self.interests.touched(state, &changed) {
                match asker {
                    Asker::Arrival(task) => _ = self.queue.insert(task),
                    Asker::Goal(goal) => self.goals.touch(goal),
                    Asker::Pause => self.pause_due = true,
                }
            }
        }
    }

    /// It is asked again at this time.
    pub fn ask_at(&mut self, task: TaskId, at: Time) {
        self.closed.insert((at, task));
    }

    /// When the next is to be asked because of the time.
    pub fn next_time(&self) -> Option<Time> {
        self.closed.first().map(|(at, _)| *at)
    }

    /// It has no answer: it is asked again when something changes that the conditions read.
    pub fn park(&mut self, state: &mut State, task: TaskId, conditions: Vec<Condition>) {
        for condition in &conditions {
            self.interests.watch(state, Asker::Arrival(task), condition);
        }
        self.parked.insert(task, conditions);
        state.changes.asked = true;
    }
}

/// Some condition is to be told of changes for the whole run.
pub(super) fn always_asks(state: &State) -> bool {
    !state.goals.is_empty() || state.settings.pause_while.is_some()
}

/// What an arrived task comes to now.
pub fn decide(state: &State, id: TaskId) -> Decision {
    let mut facts = Vec::new();
    if let Some(decision) = stage_condition(state, id, &mut facts) {
        return decision;
    }
    let definition = state.definition(id);
    // What it asked for was given when its tasks were made.
    let has_begun = matches!(&definition.task_type, TaskType::Foreach(foreach) if foreach.made.is_some());
    let entry = definition.entry.as_ref().filter(|_| !has_begun);
    if let Some(when) = entry.and_then(|entry| entry.when.as_ref()) {
        match ask(state, when) {
            Answer::Yes(_) => {}
            Answer::No(why) => {
                facts.push(Fact::Skipped { task: id, why: Some(why) });
                return Decision::Now(facts);
            }
            Answer::NotYet(_) => return later(facts, vec![when.clone()]),
            Answer::Fault(why) => return fault(id, why, facts),
        }
    }
    // The window of what runs a command is looked at when there is room for it.
    if definition.task_type.template().is_none()
        && let Some(window) = state.closed_window(state.class_of(id))
    {
        // What has no answer yet does not wait for the window.
        if let TaskType::QualityGate(gate) = &definition.task_type
            && let Err(conditions) = gates::arrive(state, id, gate)
        {
            return later(facts, entry.and_then(|entry| entry.when.clone()).into_iter().chain(conditions).collect());
        }
        // What holds now may not hold any more by then.
        let conditions = entry.and_then(|entry| entry.when.clone()).into_iter().collect();
        return Decision::Closed { facts, opens: state.window(window).opens(state.now), conditions };
    }
    facts.push(match &definition.task_type {
        TaskType::Run(_) if definition.barrier.is_some() && !state.task(id).passed => {
            let barrier = definition.barrier.map(|barrier| &state.barriers[barrier.index()].definition);
            let timeout = barrier.and_then(|barrier| barrier.timeout);
            Fact::AtBarrier { task: id, until: timeout.map(|span| state.now.plus(span)) }
        }
        TaskType::Run(_) => Fact::Admitted { task: id },
        TaskType::Noop => Fact::Settled { task: id, outcome: Outcome::Succeeded, why: None },
        TaskType::Approval(approval) => match state.task(id).heard.as_ref().and_then(|heard| heard.votes.last()) {
            Some(vote) => settled(id, vote.approves, vote.words()),
            None => Fact::Awaiting { task: id, until: approval.timeout.map(|span| state.now.plus(span)) },
        },
        TaskType::Wait(Deadline::After(span)) => Fact::Awaiting { task: id, until: Some(state.now.plus(*span)) },
        TaskType::Wait(Deadline::At(time)) => Fact::Awaiting { task: id, until: Some(*time) },
        TaskType::QualityGate(gate) => match gates::arrive(state, id, gate) {
            Ok(found) => {
                facts.extend(found);
                return Decision::Now(facts);
            }
            Err(conditions) => {
                // What held so far may not hold any more by then.
                let when = definition.entry.iter().filter_map(|entry| entry.when.clone());
                let conditions = when.chain(conditions).collect();
                return later(facts, conditions);
            }
        },
        TaskType::Foreach(foreach) => {
            facts.extend(super::foreach::arrive(state, id, foreach));
            return Decision::Now(facts);
        }
        TaskType::Message(message) => {
            facts.extend(super::posts::arrive(state, id, message));
            return Decision::Now(facts);
        }
        TaskType::Majority(majority) => {
            facts.extend(super::majority::decide(state, id, majority));
            return Decision::Now(facts);
        }
        TaskType::Subworkflow(sub) => super::subworkflow::arrive(state, id, sub),
        TaskType::Sensor(sensor) => Fact::Awaiting { task: id, until: sensor.timeout.map(|span| state.now.plus(span)) },
    });
    Decision::Now(facts)
}

/// It has no answer yet; what was decided on the way, that of its stage, is kept: it is asked once.
fn later(facts: Vec<Fact>, conditions: Vec<Condition>) -> Decision {
    if facts.is_empty() { Decision::Later(conditions) } else { Decision::Closed { facts, opens: None, conditions } }
}

/// A person's answer.
fn settled(task: TaskId, approves: bool, why: String) -> Fact {
    let outcome = if approves { Outcome::Succeeded } else { Outcome::Failed(Cause::Rejected) };
    Fact::Settled { task, outcome, why: Some(why) }
}

/// What the last word said to a task that waits comes to, as if it were said now.
fn told(state: &State, id: TaskId) -> Vec<Fact> {
    let task = state.task(id);
    let Some(heard) = task.heard.as_deref().filter(|_| task.phase == Phase::Awaiting && !task.held) else {
        return Vec::new();
    };
    if state.is_escalated(id) {
        // Not one that it was answered with before: who may be meant by neither is asked again.
        let vote = heard.votes.last().filter(|vote| !vote.abstains && vote.at > task.since);
        // That it was said stands in the journal.
        return vote.map(|vote| super::fallback::answered(id, vote.clone()).split_off(1)).unwrap_or_default();
    }
    match &state.definition(id).task_type {
        TaskType::Approval(_) => {
            heard.votes.last().map(|vote| settled(id, vote.approves, vote.words())).into_iter().collect()
        }
        TaskType::QualityGate(gate) => gates::decide(state, id, gate, heard).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The time has come until which a task was awaiting.
pub fn overdue(state: &State, id: TaskId) -> Fact {
    if let Some(fact) = super::fallback::overdue(state, id) {
        return fact;
    }
    if let Some(fact) = super::barriers::overdue(state, id) {
        return fact;
    }
    let (outcome, why) = match &state.definition(id).task_type {
        TaskType::Sensor(sensor) => return super::sensors::overdue(state, id, sensor),
        TaskType::QualityGate(gate) => return gates::overdue(state, id, gate),
        TaskType::Approval(approval) if !approval.silence_approves => {
            (Outcome::Failed(Cause::TimedOut), Some("nobody has answered".to_owned()))
        }
        TaskType::Approval(_) => (Outcome::Succeeded, Some("approved by silence: nobody has answered".to_owned())),
        _ => (Outcome::Succeeded, None),
    };
    Fact::Settled { task: id, outcome, why }
}

/// What a person's yes or no comes to.
///
/// # Errors
/// It asks nobody, or not this person, or has its answer.
pub fn vote(state: &State, task: TaskId, vote: Vote) -> Result<Vec<Fact>, String> {
    let (entry, name, kind) = (state.task(task), state.name(task), &state.definition(task).task_type);
    if state.is_escalated(task) {
        if entry.held {
            return Err(format!("{name} is held: release it first"));
        }
        if vote.abstains {
            return Err(format!("{name} asks for a yes or a no"));
        }
        return Ok(super::fallback::answered(task, vote));
    }
    gates::may_vote(kind, name, &vote.by, vote.abstains).map_err(|why| why.to_string())?;
    if !entry.phase.is_open() {
        return Err(format!("{name} has its answer: it is {}", super::decide::word(entry.phase)));
    }
    if entry.held {
        return Err(format!("{name} is held: release it first"));
    }
    let mut heard = entry.heard.as_deref().cloned().unwrap_or_default();
    heard.vote(vote.clone());
    if heard.votes.len() > gates::MAX_VOTES {
        return Err(format!("{name} has {} votes already", gates::MAX_VOTES));
    }
    let Vote { approves, abstains, by, note, .. } = vote.clone();
    let mut facts = vec![Fact::Voted { task, approves, abstains, by, note }];
    if entry.phase == Phase::Awaiting {
        facts.extend(match kind.gate() {
            Some(gate) => gates::decide(state, task, gate, &heard),
            None => Some(settled(task, vote.approves, vote.words())),
        });
    }
    Ok(facts)
}

/// What was said to a task, and seen for it, while it arrives and awaits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heard {
    /// Who said what, in this order.
    pub votes: Vec<Vote>,
    /// What its sensor was last said to see.
    pub seen: Option<Seen>,
    /// What the commands of a gate came to, in the order of its checks.
    pub checked: Vec<Checked>,
}

impl Heard {
    /// Somebody voted, or a command was asked.
    fn is_answer(&self) -> bool {
        !self.votes.is_empty() || !self.checked.is_empty()
    }

    /// The last word of each person counts.
    pub fn vote(&mut self, vote: Vote) {
        self.votes.retain(|earlier| earlier.by != vote.by);
        self.votes.push(vote);
    }
}

/// What a command of a gate came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The number of the check.
    pub check: u32,
    /// It holds.
    pub holds: bool,
    /// How it ended.
    pub saw: Arc<str>,
}

/// What a sensor saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Since when.
    pub since: Time,
    /// In a few words.
    pub saw: Arc<str>,
    /// What later looks compare with.
    pub mark: Option<String>,
}

/// What a person has said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// When.
    pub at: Time,
    /// Yes.
    pub approves: bool,
    /// Neither yes nor no.
    pub abstains: bool,
    /// Who.
    pub by: String,
    /// What was said with it.
    pub note: String,
}

impl Vote {
    /// `approved by ana: looks good`
    pub fn words(&self) -> String {
        let word = match (self.abstains, self.approves) {
            (true, _) => "abstained",
            (false, true) => "approved",
            (false, false) => "rejected",
        };
        let note = if self.note.is_empty() { String::new() } else { format!(": {}", self.note) };
        format!("{word} by {}{note}", self.by)
    }
}

/// The condition of its stage, asked once; a decision if it ends the matter.
fn stage_condition(state: &State, id: TaskId, facts: &mut Vec<Fact>) -> Option<Decision> {
    let stage_id = state.definition(id).stage;
    let stage = state.stage(stage_id);
    let when = stage.definition.when.as_ref()?;
    let (holds, why) = match &stage.decided {
        Some((holds, why)) => (*holds, why.to_string()),
        None => {
            let (holds, why) = match ask(state, when) {
                Answer::Yes(why) => (true, why),
                Answer::No(why) => (false, why),
                Answer::NotYet(_) => return Some(Decision::Later(vec![when.clone()])),
                Answer::Fault(why) => return Some(fault(id, why, std::mem::take(facts))),
            };
            facts.push(Fact::StageDecided { stage: stage_id, holds, why: why.clone() });
            (holds, why)
        }
    };
    if holds {
        return None;
    }
    let open = stage.tasks.iter().filter(|task| state.task(**task).phase.is_open());
    facts.extend(open.map(|task| Fact::Skipped { task: *task, why: Some(format!("stage: {why}")) }));
    Some(Decision::Now(std::mem::take(facts)))
}

fn fault(task: TaskId, why: String, mut facts: Vec<Fact>) -> Decision {
    facts.push(Fact::Held { task, why: Some(why) });
    Decision::Now(facts)
}

/// What a condition says, with its values.
#[derive(Debug)]
pub enum Answer {
    /// It holds.
    Yes(String),
    /// It does not.
    No(String),
    /// A value that decides is not there yet.
    NotYet(String),
    /// It cannot be computed.
    Fault(String),
}

/// Asks a condition of the State as it is.
pub fn ask(state: &State, condition: &Condition) -> Answer {
    let explained = || condition.explain(state).to_string();
    match condition.holds(state) {
        Ok(true) => Answer::Yes(explained()),
        Ok(false) => Answer::No(explained()),
        Err(EvalError::Missing(_)) => Answer::NotYet(explained()),
        Err(error @ EvalError::Fault { .. }) => Answer::Fault(format!("condition failed: {error}: {}", explained())),
    }
}
