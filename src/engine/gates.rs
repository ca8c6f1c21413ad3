//! Gates: tasks that are done once all their checks hold. Conditions are asked on arrival; then commands, one after the
//! other, and people. Whatever decides a gate is a fact before it is decided: a vote, the end of a command, a time that came.

use super::arrival::{Answer, Checked, Heard, Vote, ask};
use super::condition::Condition;
use super::definition::{GateAction, GateCheck, QualityGate, Quorum, Sensor, TaskType};
use super::fact::{Cause, Fact, Outcome};
use super::ids::TaskId;
use super::state::State;

use std::sync::Arc;

/// A gate has no more checks than this.
pub const MAX_CHECKS: usize = 20;
/// A quorum names no more people than this.
pub const MAX_VOTERS: usize = 50;
/// No more people than this have their last word kept at one task.
pub const MAX_VOTES: usize = 100;
/// What decided a gate is kept up to so many bytes.
const WHY_BYTES: usize = 600;

/// How a check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// It holds.
    Holds(String),
    /// It does not, and cannot any more.
    Fails(String),
    /// It has no answer yet.
    Open(String),
}

impl Stand {
    /// How, in words.
    pub fn words(&self) -> &str {
        let (Self::Holds(words) | Self::Fails(words) | Self::Open(words)) = self;
        words
    }
}

impl QualityGate {
    /// Some of its checks are conditions.
    pub fn has_conditions(&self) -> bool {
        self.checks.iter().any(|check| matches!(check, GateCheck::Expr(_)))
    }

    /// Those of its checks that are conditions.
    pub fn expressions(&self) -> impl Iterator<Item = &Condition> {
        self.checks
            .iter()
            .filter_map(|check| if let GateCheck::Expr(condition) = check { Some(condition) } else { None })
    }

    /// Some of its checks are people's.
    pub fn asks_people(&self) -> bool {
        self.checks.iter().any(|check| matches!(check, GateCheck::Approval(_) | GateCheck::Quorum(_)))
    }

    /// What is looked at for a check.
    pub fn command(&self, check: u32) -> Option<&Arc<Sensor>> {
        if let Some(GateCheck::Command(sensor)) = self.checks.get(check as usize) { Some(sensor) } else { None }
    }

    /// What it asks for, in words.
    pub fn words(&self) -> String {
        let words: Vec<String> = self.checks.iter().map(check_words).collect();
        let ask = if self.asks_people() { "asks: " } else { "checks: " };
        format!("{ask}{}", words.join("; "))
    }
}

/// What a check asks for.
pub fn check_words(check: &GateCheck) -> String {
    match check {
        GateCheck::Expr(condition) => condition.text().to_owned(),
        GateCheck::Command(sensor) => sensor.probe.words(),
        GateCheck::Approval(text) => text.clone(),
        GateCheck::Quorum(quorum) => {
            let text = if quorum.text.is_empty() { String::new() } else { format!("{} ", quorum.text) };
            format!("{text}({} of {})", quorum.votes, quorum.of.join(", "))
        }
    }
}

/// The first command of a gate that has not been asked.
pub fn next_command(gate: &QualityGate, heard: Option<&Heard>) -> Option<u32> {
    let is_asked = |check: u32| heard.is_some_and(|heard| heard.checked.iter().any(|checked| checked.check == check));
    let commands = (0..).zip(&gate.checks).filter(|(_, check)| matches!(check, GateCheck::Command(_)));
    commands.map(|(number, _)| number).find(|number| !is_asked(*number))
}

/// How each check of a gate stands.
pub fn stands(state: &State, gate: &QualityGate, heard: Option<&Heard>) -> Vec<Stand> {
    let nothing = Heard::default();
    let heard = heard.unwrap_or(&nothing);
    (0..).zip(&gate.checks).map(|(number, check)| stand(state, number, check, heard)).collect()
}

fn stand(state: &State, number: u32, check: &GateCheck, heard: &Heard) -> Stand {
    match check {
        GateCheck::Expr(condition) => match ask(state, condition) {
            Answer::Yes(why) => Stand::Holds(why),
            Answer::No(why) | Answer::Fault(why) => Stand::Fails(why),
            Answer::NotYet(why) => Stand::Open(why),
        },
        GateCheck::Command(sensor) => {
            let words = sensor.probe.words();
            match heard.checked.iter().find(|checked| checked.check == number) {
                Some(Checked { holds: true, saw, .. }) => Stand::Holds(format!("{words}: {saw}")),
                Some(Checked { saw, .. }) => Stand::Fails(format!("{words}: {saw}")),
                None => Stand::Open(format!("{words}: not answered yet")),
            }
        }
        GateCheck::Approval(_) => {
            let said = |vote: &&Vote| !vote.abstains;
            match heard.votes.iter().filter(said).min_by_key(|vote| vote.approves) {
                Some(vote) if vote.approves => Stand::Holds(vote.words()),
                Some(vote) => Stand::Fails(vote.words()),
                None => Stand::Open("nobody has answered".into()),
            }
        }
        GateCheck::Quorum(quorum) => count(quorum, heard),
    }
}

/// How a vote stands: it holds with enough yes, and fails by a veto, or once too few are left who could say yes.
fn count(quorum: &Quorum, heard: &Heard) -> Stand {
    let votes = || heard.votes.iter().filter(|vote| quorum.of.contains(&vote.by));
    let names = |list: Vec<&Vote>| {
        let words = list.iter().map(|vote| match vote.note.as_str() {
            "" => vote.by.clone(),
            note => format!("{} ({note})", vote.by),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let yes: Vec<&Vote> = votes().filter(|vote| vote.approves).collect();
    let no: Vec<&Vote> = votes().filter(|vote| !vote.approves && !vote.abstains).collect();
    let abstain: Vec<&Vote> = votes().filter(|vote| vote.abstains).collect();
    let silent: Vec<&str> =
        quorum.of.iter().map(String::as_str).filter(|name| votes().all(|vote| vote.by != *name)).collect();
    let mut words = format!("{} of {} votes", yes.len(), quorum.votes);
    for (list, word) in [(&yes, "yes"), (&no, "no"), (&abstain, "abstain")] {
        if !list.is_empty() {
            words += &format!(", {word}: {}", names(list.clone()));
        }
    }
    if let Some(vote) = no.iter().find(|vote| quorum.veto.contains(&vote.by)) {
        return Stand::Fails(format!("veto by {}: {words}", vote.by));
    }
    if yes.len() >= quorum.votes as usize {
        return Stand::Holds(words);
    }
    if yes.len() + silent.len() < quorum.votes as usize {
        return Stand::Fails(words);
    }
    Stand::Open(format!("{words}, to come: {}", silent.join(", ")))
}

/// Everything before the gate is done.
///
/// # Errors
/// The conditions asked so far, of which the last has no answer yet: to be asked again when something changes that they read.
pub fn arrive(state: &State, task: TaskId, gate: &QualityGate) -> Result<Vec<Fact>, Vec<Condition>> {
    let mut asked = Vec::new();
    for check in &gate.checks {
        let GateCheck::Expr(condition) = check else { continue };
        asked.push(condition.clone());
        match ask(state, condition) {
            Answer::Yes(_) => {}
            Answer::No(why) => return Ok(vec![closed(task, gate.on_fail, Cause::Gate, why)]),
            Answer::NotYet(_) => return Err(asked),
            Answer::Fault(why) => return Ok(vec![Fact::Held { task, why: Some(why) }]),
        }
    }
    // What its commands said when it was reached before is old by now: only people's words hold.
    let votes = state.task(task).heard.as_ref().map(|heard| heard.votes.clone()).unwrap_or_default();
    let heard = Heard { votes, ..Heard::default() };
    let until = gate.timeout.map(|span| state.now.plus(span));
    Ok(vec![decide(state, task, gate, &heard).unwrap_or(Fact::Awaiting { task, until })])
}

/// What a gate comes to by what was heard; nothing yet, if something is open. Its conditions held when it was reached.
pub fn decide(state: &State, task: TaskId, gate: &QualityGate, heard: &Heard) -> Option<Fact> {
    let mut open = false;
    for (number, check) in (0..).zip(&gate.checks) {
        let cause = match check {
            GateCheck::Expr(_) => continue,
            GateCheck::Command(_) => Cause::Gate,
            GateCheck::Approval(_) | GateCheck::Quorum(_) => Cause::Rejected,
        };
        match stand(state, number, check, heard) {
            Stand::Fails(why) => return Some(closed(task, gate.on_fail, cause, why)),
            Stand::Open(_) => open = true,
            Stand::Holds(_) => {}
        }
    }
    if open {
        return None;
    }
    let stands = stands(state, gate, Some(heard));
    let words: Vec<&str> = stands.iter().map(Stand::words).collect();
    Some(Fact::Settled { task, outcome: Outcome::Succeeded, why: Some(bounded(words.join("; "))) })
}

/// A command of it has ended.
pub fn checked(state: &State, task: TaskId, gate: &QualityGate, (check, holds, saw): (u32, bool, &str)) -> Vec<Fact> {
    let mut heard = state.task(task).heard.as_deref().cloned().unwrap_or_default();
    heard.checked.push(Checked { check, holds, saw: saw.into() });
    let mut facts = vec![Fact::Checked { task, check, holds, saw: saw.to_owned() }];
    facts.extend(decide(state, task, gate, &heard));
    facts
}

/// The time is up.
pub fn overdue(state: &State, task: TaskId, gate: &QualityGate) -> Fact {
    let stands = stands(state, gate, state.task(task).heard.as_deref());
    let open: Vec<&str> =
        stands.iter().filter(|stand| matches!(stand, Stand::Open(_))).map(|stand| stand.words()).collect();
    closed(task, gate.on_timeout, Cause::TimedOut, format!("the time is up: {}", open.join("; ")))
}

/// It does not open.
fn closed(task: TaskId, action: GateAction, cause: Cause, why: String) -> Fact {
    let why = bounded(why);
    match action {
        GateAction::Fail => Fact::Settled { task, outcome: Outcome::Failed(cause), why: Some(why) },
        GateAction::Escalate => Fact::Held { task, why: Some(format!("gate closed: {why}")) },
        GateAction::Continue => {
            Fact::Settled { task, outcome: Outcome::Succeeded, why: Some(format!("went on though: {why}")) }
        }
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > WHY_BYTES {
        text.truncate(text.floor_char_boundary(WHY_BYTES));
        text.push('…');
    }
    text
}

/// Why somebody's word does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoVote {
    /// The task asks nobody, or for another answer.
    NotAsked(String),
    /// It asks others.
    Stranger(String),
}

impl std::fmt::Display for NoVote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotAsked(why) | Self::Stranger(why)) = self;
        f.write_str(why)
    }
}

/// Whether somebody may vote on a task of this type.
///
/// # Errors
/// It asks nobody, or not this person.
pub fn may_vote(kind: &TaskType, name: &str, by: &str, abstains: bool) -> Result<(), NoVote> {
    let not_asked = |why: String| Err(NoVote::NotAsked(why));
    let gate = match kind {
        TaskType::Approval(_) if abstains => return not_asked(format!("{name} asks for a yes or a no")),
        TaskType::Approval(_) => return Ok(()),
        TaskType::QualityGate(gate) => gate,
        _ => return not_asked(format!("{name} asks nobody")),
    };
    let voters: Vec<&str> = gate
        .checks
        .iter()
        .filter_map(|check| if let GateCheck::Quorum(quorum) = check { Some(&quorum.of) } else { None })
        .flatten()
        .map(String::as_str)
        .collect();
    let asks_anybody = gate.checks.iter().any(|check| matches!(check, GateCheck::Approval(_)));
    match (voters.contains(&by), asks_anybody) {
        (true, _) => Ok(()),
        (false, true) if !abstains => Ok(()),
        (false, true) => not_asked(format!("{name} asks for a yes or a no of {by}")),
        (false, false) if voters.is_empty() => not_asked(format!("{name} asks nobody")),
        (false, false) => {
            Err(NoVote::Stranger(format!("{by} is none of those that {name} asks: {}", voters.join(", "))))
        }
    }
}
