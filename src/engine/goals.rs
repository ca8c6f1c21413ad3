//! Milestones and objectives: conditions that are watched for the whole run. A milestone is reached once; an objective is met or
//! missed as things stand, and judged a last time by what the run came to. Each is asked when something changes that it reads,
//! and only a new answer is a fact. Knows nothing of who shows them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::arrival::{Answer, ask};
use super::condition::Condition;
use super::definition::{Goal, GoalKind};
use super::fact::Fact;
use super::ids::{GoalId, Time};
use super::interests::{Asker, Interests};
use super::state::State;

/// A workflow has no more milestones and objectives than this.
pub const MAX_GOALS: usize = 200;

/// A goal of the run, and what was last said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunGoal {
    /// As it was declared.
    pub definition: Goal,
    /// Whether it holds, since when, and its condition with the values; nothing before there was an answer.
    pub said: Option<(bool, Time, Arc<str>)>,
}

/// What is to be asked of goals.
#[derive(Debug, Clone, Default)]
pub struct Goals {
    due: BTreeSet<GoalId>,
}

impl Goals {
    /// All are asked (at the beginning, and after a replay), and are to be told of changes from now on.
    pub fn rebuild(&mut self, state: &State, interests: &mut Interests) {
        let all = (0..state.goals.len()).map(GoalId::from);
        self.due = all.filter(|id| is_open(state, *id)).collect();
        for id in &self.due {
            interests.watch(state, Asker::Goal(*id), condition(state, *id));
        }
    }

    /// Something changed that it reads.
    pub fn touch(&mut self, id: GoalId) {
        self.due.insert(id);
    }

    /// The next new answer.
    pub fn next(&mut self, state: &State) -> Option<Fact> {
        while let Some(id) = self.due.pop_first() {
            if !is_open(state, id) {
                continue;
            }
            let goal = &state.goals[id.index()];
            let (holds, why) = match ask(state, condition(state, id)) {
                Answer::Yes(why) => (true, why),
                // What does not hold yet is no news of a milestone, nor is what cannot be computed yet.
                Answer::No(_) | Answer::Fault(_) if goal.definition.kind == GoalKind::Milestone => continue,
                Answer::No(why) | Answer::Fault(why) => (false, why),
                Answer::NotYet(_) => continue,
            };
            if goal.said.as_ref().is_none_or(|(said, ..)| *said != holds) {
                return Some(Fact::GoalJudged { goal: id, holds, why });
            }
        }
        None
    }
}

fn condition(state: &State, id: GoalId) -> &Condition {
    &state.goals[id.index()].definition.holds
}

/// A milestone that was reached is never asked again.
fn is_open(state: &State, id: GoalId) -> bool {
    let goal = &state.goals[id.index()];
    goal.definition.kind == GoalKind::Objective || goal.said.is_none()
}

impl State {
    pub(super) fn add_goal(&mut self, definition: &Goal) {
        self.has_conditions = true;
        Arc::make_mut(&mut self.goals).push(RunGoal { definition: definition.clone(), said: None });
    }

    pub(super) fn judge(&mut self, id: GoalId, holds: bool, why: &str) {
        let now = self.now;
        Arc::make_mut(&mut self.goals)[id.index()].said = Some((holds, now, why.into()));
    }

    /// Objectives that are missed as things stand; those without an answer count once the run is over.
    pub fn missed(&self) -> impl Iterator<Item = &RunGoal> {
        let over = self.is_finished();
        let missed = move |goal: &&RunGoal| match &goal.said {
            Some((holds, ..)) => !holds,
            None => over,
        };
        self.goals.iter().filter(|goal| goal.definition.kind == GoalKind::Objective).filter(missed)
    }
}
