//! A task falls back: what of it that changes. Knows nothing of why it does.

use std::sync::Arc;

use super::{ClassId, Phase, State, Task};
use crate::engine::definition::FallbackStrategy;
use crate::engine::ids::{FallbackId, TaskId, Time};

/// A fallback about to be taken.
pub(super) struct Fall {
    pub fallback: FallbackId,
    /// How many of its fallbacks are behind it then, with those passed over.
    pub nth: u32,
    pub class: ClassId,
    way: Way,
}

/// What becomes of the task.
enum Way {
    Runs,
    Skips(Arc<str>),
    Asks(Option<Time>),
    Fails,
}

impl State {
    /// What a fallback of a task comes to.
    pub(super) fn fall(&mut self, id: TaskId, fallback: FallbackId) -> Fall {
        let definition = self.definition(id).clone();
        let at = definition.fallback.iter().position(|other| *other == fallback);
        let nth = at.map_or(self.task(id).fallbacks_taken, |at| at as u32) + 1;
        let requirements = self.requirements_under(id, fallback, self.last_agent(id));
        let class = self.class_for(&requirements, definition.estimate);
        let declared = &self.fallbacks[fallback.index()];
        let way = match &declared.strategy {
            FallbackStrategy::Skip => Way::Skips(format!("by fallback {}", declared.name).into()),
            FallbackStrategy::Compensate => Way::Fails,
            FallbackStrategy::Escalate(question) => Way::Asks(question.timeout.map(|span| self.now.plus(span))),
            _ => Way::Runs,
        };
        Fall { fallback, nth, class, way }
    }

    /// The class of a task that did not fall back.
    pub(super) fn declared_class(&self, id: TaskId) -> ClassId {
        let definition = self.definition(id);
        self.class_ids[&(definition.requirements.clone(), definition.estimate)]
    }

    /// Its class if what it fell back to ends with this: it is asked, or skipped, and is to be run after all.
    pub(super) fn class_after_asking(&self, id: TaskId) -> Option<ClassId> {
        self.strategy(id).is_some_and(FallbackStrategy::runs_nothing).then(|| self.declared_class(id))
    }
}

impl Task {
    /// It falls back once its attempt is over.
    pub(super) fn fall_at_end(&mut self, fall: &Fall, until: Option<Time>, now: Time) {
        match (&fall.way, until) {
            (Way::Runs, Some(until)) => {
                self.fall_back(fall);
                self.delay(until, now);
            }
            (Way::Runs, None) => {
                self.fall_back(fall);
                self.queue(now);
            }
            (Way::Skips(_) | Way::Asks(_) | Way::Fails, _) => self.fall_now(fall, now),
        }
    }

    /// It falls back; what it is to run then it does when it starts next.
    pub(super) fn fall_now(&mut self, fall: &Fall, now: Time) {
        self.fall_back(fall);
        match &fall.way {
            Way::Runs => {}
            Way::Fails => self.stand(Phase::Failed, now),
            Way::Skips(why) => {
                self.stand(Phase::Skipped, now);
                self.because = Some(why.clone());
            }
            Way::Asks(until) => {
                self.stand(Phase::Awaiting, now);
                (self.due, self.heard) = (*until, None);
            }
        }
    }
}
