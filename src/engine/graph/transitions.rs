//! Transitions: where a stage that is over leads, and which stages nothing leads to any more. Each transition is decided once
//! for each time that its stage is over, in the order of the file. Knows nothing of how a stage is entered.

use std::collections::BTreeSet;

use crate::engine::arrival::{self, Answer};
use crate::engine::definition::StageEnd;
use crate::engine::fact::Fact;
use crate::engine::ids::{StageId, TransitionId};
use crate::engine::state::{Stage, State};

/// A stage has no more rounds than this, whatever the transitions to it allow.
pub const MAX_ROUNDS: u32 = 10_000;

/// What the transitions from a stage that is over come to, up to the first that is taken: what that leads to may be what this
/// stage has waited for, and then it is not over any more. Of those that lead to the same stage one is taken.
pub(super) fn leave(state: &State, id: StageId) -> Option<Vec<Fact>> {
    let stage = state.stage(id);
    if !is_over(state, stage) {
        return None;
    }
    let undecided = || stage.leads.iter().copied().filter(|lead| !state.transition(*lead).decided);
    let is_own = |lead: &TransitionId| state.transition(*lead).definition.to == id;
    let mut entered: Option<StageId> = None;
    let mut facts = Vec::new();
    // A new round of this very stage comes last: what else it leads to is decided by then.
    for lead in undecided().filter(|lead| !is_own(lead)).chain(undecided().filter(is_own)) {
        let to = state.transition(lead).definition.to;
        if entered.is_some_and(|entered| entered != to) {
            continue;
        }
        facts.push(match decide(state, stage, lead, entered) {
            Ok(why) => {
                entered = Some(to);
                Fact::TransitionTaken { transition: lead, round: state.stage(to).round + 1, why }
            }
            Err(why) => Fact::TransitionPassed { transition: lead, why },
        });
    }
    if facts.is_empty() { None } else { Some(facts) }
}

/// All of it is over, and not because a stage before it failed: that one may still have another round.
fn is_over(state: &State, stage: &Stage) -> bool {
    stage.entered && stage.is_settled() && !(stage.dead > 0 && is_behind_failure(state, stage))
}

fn is_behind_failure(state: &State, stage: &Stage) -> bool {
    stage.definition.after.iter().any(|before| state.stage(*before).dead > 0)
}

/// Why a transition is taken, or why not.
fn decide(state: &State, from: &Stage, id: TransitionId, entered: Option<StageId>) -> Result<String, String> {
    let transition = state.transition(id);
    let definition = &transition.definition;
    let end = if from.dead == 0 { StageEnd::Success } else { StageEnd::Failure };
    let ended = format!("{} {}", from.definition.name, end_words(end));
    if definition.on != StageEnd::Over && definition.on != end {
        return Err(ended);
    }
    if let Some(most) = definition.at_most.filter(|most| transition.taken >= *most) {
        return Err(format!("{ended}, but it was taken {} already (at_most: {most})", times(most)));
    }
    let target = state.stage(definition.to);
    if target.round >= MAX_ROUNDS {
        return Err(format!("{ended}, but a stage has at most {MAX_ROUNDS} rounds"));
    }
    if entered == Some(definition.to) || (target.entered && !target.is_settled()) {
        return Err(format!("{ended}, but {} is under way", target.definition.name));
    }
    if target.saga.is_some() {
        return Err(format!("{ended}, but what {} did is compensated", target.definition.name));
    }
    match definition.when.as_ref().map(|when| arrival::ask(state, when)) {
        None => Ok(ended),
        Some(Answer::Yes(why)) => Ok(why),
        Some(Answer::No(why) | Answer::Fault(why)) => Err(why),
        // It is asked once, when the stage is over: what nobody knows by then does not lead on.
        Some(Answer::NotYet(why)) => Err(format!("no answer: {why}")),
    }
}

impl State {
    /// `test → deploy`
    pub fn transition_words(&self, id: TransitionId) -> String {
        let definition = &self.transition(id).definition;
        format!("{} → {}", self.stage_name(definition.from), self.stage_name(definition.to))
    }
}

/// An end in a sentence: "x …".
pub fn end_words(end: StageEnd) -> &'static str {
    match end {
        StageEnd::Success => "succeeded",
        StageEnd::Failure => "failed",
        StageEnd::Over => "is over",
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".into(),
        2 => "twice".into(),
        n => format!("{n} times"),
    }
}

/// The tasks of stages to which no transition can lead any more are skipped: as things are, nothing will.
pub(super) fn never_led_to(state: &State) -> Option<Vec<Fact>> {
    let targets: BTreeSet<StageId> = state.transitions.iter().map(|transition| transition.definition.to).collect();
    let waiting: Vec<StageId> = targets.into_iter().filter(|stage| !state.stage(*stage).entered).collect();
    if waiting.is_empty() {
        return None;
    }
    let reachable = reachable(state);
    let mut facts = Vec::new();
    for id in waiting.into_iter().filter(|stage| !reachable.contains(stage)) {
        let stage = state.stage(id);
        let why = format!("no transition led to {}", stage.definition.name);
        let open = stage.tasks.iter().copied().filter(|task| state.task(*task).phase.is_open());
        facts.extend(open.map(|task| Fact::Skipped { task, why: Some(why.clone()) }));
    }
    if facts.is_empty() { None } else { Some(facts) }
}

/// The stages to which some transition may still lead: its bound is not used up, and the stage that it leads from may still
/// come to an end that is not decided.
fn reachable(state: &State) -> BTreeSet<StageId> {
    let mut reached: BTreeSet<StageId> = BTreeSet::new();
    loop {
        let before = reached.len();
        for transition in state.transitions.iter() {
            let definition = &transition.definition;
            let bound = definition.at_most.is_some_and(|most| transition.taken >= most);
            if !bound && !reached.contains(&definition.to) && may_end(state, definition.from, &reached) {
                reached.insert(definition.to);
            }
        }
        if reached.len() == before {
            return reached;
        }
    }
}

/// A stage may still come to an end after which it is decided where it leads.
fn may_end(state: &State, id: StageId, reached: &BTreeSet<StageId>) -> bool {
    let stage = state.stage(id);
    if reached.contains(&id) {
        return true;
    }
    let is_decided = stage.is_settled() && stage.leads.iter().all(|lead| state.transition(*lead).decided);
    let opens = |before: &StageId| state.stage(*before).dead == 0 || reached.contains(before);
    stage.entered && !is_decided && stage.definition.after.iter().all(opens)
}
