//! Who wants to know when something changes that its condition reads: an index from what is read to who asks, so that a
//! change costs what it touches and nothing is scanned. Made again from the State at will; nothing here is stored.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::{Condition, Name, Read, Root};
use super::ids::{GoalId, StageId, TaskId};
use super::state::{Changed, State};

/// Whose condition it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// A task that arrived and whose condition has no answer yet.
    Arrival(TaskId),
    /// A milestone or an objective.
    Goal(GoalId),
    /// The condition of `PauseWhile`.
    Pause,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Task(TaskId),
    Stage(StageId),
    Metric(std::sync::Arc<str>),
    State(std::sync::Arc<str>),
    Run,
    System,
    Any(Root),
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Interests {
    askers: BTreeMap<Key, BTreeSet<Asker>>,
}

impl Interests {
    /// `asker` is to be told when a value changes that the condition reads.
    pub fn watch(&mut self, state: &State, asker: Asker, condition: &Condition) {
        for read in condition.reads() {
            if let Some(key) = key(state, read) {
                self.askers.entry(key).or_default().insert(asker);
            }
        }
    }

    /// It need not be told any more.
    pub fn forget(&mut self, state: &State, asker: Asker, condition: &Condition) {
        for key in condition.reads().iter().filter_map(|read| key(state, read)) {
            if let Some(askers) = self.askers.get_mut(&key) {
                askers.remove(&asker);
                if askers.is_empty() {
                    self.askers.remove(&key);
                }
            }
        }
    }

    /// Whose conditions may have another value now.
    pub fn touched(&self, state: &State, changed: &Changed) -> BTreeSet<Asker> {
        let keys: Vec<Key> = match changed {
            Changed::Task(id) => {
                let stage = state.definition(*id).stage;
                vec![Key::Task(*id), Key::Stage(stage), Key::Run, Key::Any(Root::Task), Key::Any(Root::Stage)]
            }
            Changed::Metric(name) => vec![Key::Metric(name.clone()), Key::Any(Root::Metrics)],
            Changed::State(name) => vec![Key::State(name.clone()), Key::Any(Root::State)],
            Changed::System => vec![Key::System],
        };
        keys.iter().filter_map(|key| self.askers.get(key)).flatten().copied().collect()
    }
}

/// What stands for a read; nothing for what never changes.
fn key(state: &State, read: &Read) -> Option<Key> {
    Some(match read {
        Read::Any(Root::Params) | Read::One(Name::Param(_)) => return None,
        Read::Any(Root::Run) | Read::One(Name::Run(_)) => Key::Run,
        Read::Any(Root::System) | Read::One(Name::System(_)) => Key::System,
        Read::Any(root) => Key::Any(*root),
        Read::One(Name::Metric(name)) => Key::Metric(name.clone()),
        Read::One(Name::State(name)) => Key::State(name.clone()),
        Read::One(Name::Task(id, _) | Name::Out(id, _)) => state.named(id).map_or(Key::Any(Root::Task), Key::Task),
        Read::One(Name::Stage(id, _)) => state.stage_named(id).map_or(Key::Any(Root::Stage), Key::Stage),
    })
}
