//! What attempts published and how they were checked: kept by task, by name (`metrics`) and summed up; and the values that
//! commands refer to. Knows nothing of how they were found.

use std::sync::Arc;

use super::{Changed, State};
use crate::engine::care::{Kept, Score, Slot, ValueOf, plain_text};
use crate::engine::condition::Value;
use crate::engine::definition::{CommandLine, CommandSpec};
use crate::engine::fact::Outcome;
use crate::engine::ids::{Attempt, TaskId};

/// What was published last by a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The value.
    pub value: Value,
    /// Who published it.
    pub task: TaskId,
    /// Number of that publication in the session.
    pub sequence: u64,
}

impl State {
    /// What the task published by this name at its last success.
    pub fn output(&self, task: TaskId, name: &str) -> Option<&Value> {
        let kept = self.tasks.get(task.index())?.kept.as_ref()?;
        kept.outputs.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// What any task published last by this name.
    pub fn metric(&self, name: &str) -> Option<&Value> {
        let id = self.metric_ids.get(name)?;
        self.metrics.get(*id as usize)?.as_ref().map(|metric| &metric.value)
    }

    /// All that was published, by name.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, &Metric)> {
        let named = self.metric_ids.iter();
        named.filter_map(|(name, id)| Some((&**name, self.metrics.get(*id as usize)?.as_ref()?)))
    }

    /// How the checks of the task's last checked attempt came out.
    pub fn score(&self, task: TaskId) -> Option<Score> {
        self.task(task).kept.as_ref()?.score
    }

    /// The number of the first attempt after the task's last success in its present round: what is saved for it is from
    /// before that.
    pub fn first_since_success(&self, task: TaskId) -> Attempt {
        Attempt(self.task(task).kept.as_ref().map_or(0, |kept| kept.settled) + 1)
    }

    /// Its last attempt in this round was not run, since nothing had changed.
    pub fn was_up_to_date(&self, task: TaskId) -> bool {
        let round = self.stage(self.definition(task).stage).round;
        let last = self.task(task).past.as_ref().and_then(|past| past.last());
        last.is_some_and(|past| past.outcome == Outcome::UpToDate && past.round == round)
    }

    /// The command with the values that it refers to.
    ///
    /// # Errors
    /// Names a value that is not there.
    pub fn filled(&self, command: Arc<CommandSpec>) -> Result<Arc<CommandSpec>, String> {
        if command.references.is_empty() {
            return Ok(command);
        }
        let mut filled = (*command).clone();
        // From the end, so that places before stay where they are.
        for reference in std::mem::take(&mut filled.references).iter().rev() {
            let value = self.value_of(&reference.value)?;
            let text = match (reference.slot, &mut filled.run) {
                (Slot::Word(at), CommandLine::Exec(words)) => words.get_mut(at as usize),
                (Slot::Variable(at), _) => filled.env.get_mut(at as usize).map(|(_, value)| value),
                (Slot::Cwd, _) => filled.cwd.as_mut(),
                (Slot::Word(_), CommandLine::Shell(_)) => None,
            };
            if let Some(text) = text.filter(|text| text.is_char_boundary(reference.at as usize)) {
                text.insert_str(reference.at as usize, &plain_text(value));
            }
        }
        Ok(Arc::new(filled))
    }

    pub(in crate::engine) fn value_of(&self, value: &ValueOf) -> Result<&Value, String> {
        match value {
            ValueOf::Output { task, name } => self.output(*task, name).ok_or_else(|| {
                let name_of = self.definitions.get(task.index()).map_or("?", |definition| &definition.id);
                let phase =
                    self.tasks.get(task.index()).map_or("unknown", |task| crate::engine::decide::word(task.phase));
                format!("it refers to `{name}` of {name_of}, which has published none: it is {phase}")
            }),
            ValueOf::Each => Err("it refers to an element of a list, and is made of none".to_owned()),
            ValueOf::Metric(name) => {
                self.metric(name).ok_or_else(|| format!("it refers to metrics.{name}, which nobody has published yet"))
            }
        }
    }

    /// All names under which something can be published, in the order of their numbers.
    pub(in crate::engine) fn metric_names(&self) -> Vec<String> {
        let mut names = vec![String::new(); self.metrics.len()];
        for (name, id) in self.metric_ids.iter() {
            names[*id as usize] = name.to_string();
        }
        names
    }

    /// A name under which something can be published.
    pub(in crate::engine) fn add_metric(&mut self, name: &str) {
        if !self.metric_ids.contains_key(name) {
            let id = self.metrics.push(None) as u32;
            Arc::make_mut(&mut self.metric_ids).insert(name.into(), id);
        }
    }

    /// An attempt is over: takes what was found into what is kept of its task.
    pub(super) fn keep(&mut self, id: TaskId, attempt: Attempt, outcome: &Outcome) {
        if self.definition(id).care.is_none() {
            return;
        }
        let found = self.task(id).live.as_ref().and_then(|live| live.found.clone());
        let mut kept = self.task(id).kept.as_deref().cloned().unwrap_or_default();
        let before = kept.clone();
        let good = outcome.is_good();
        if let Some(score) = found.as_ref().and_then(|found| found.score()) {
            self.count_score(kept.score, Some(score));
            kept.score = Some(score);
        }
        if good {
            kept.settled = attempt.0;
        }
        if let Some(found) = found.filter(|found| good && !found.published.is_empty()) {
            self.published += 1;
            kept.sequence = self.published;
            kept.outputs.clone_from(&found.published);
            self.publish(id, &kept);
        }
        if kept != before {
            self.edit(id, |t| t.kept = Some(Arc::new(kept)));
        }
    }

    /// A replicated task publishes what one of its runs did.
    pub(super) fn agree(&mut self, id: TaskId, like: TaskId) {
        let outputs = self.task(like).kept.as_ref().map(|kept| kept.outputs.clone()).unwrap_or_default();
        if outputs.is_empty() {
            return;
        }
        let mut kept = self.task(id).kept.as_deref().cloned().unwrap_or_default();
        self.published += 1;
        (kept.outputs, kept.sequence) = (outputs, self.published);
        self.publish(id, &kept);
        self.edit(id, |t| t.kept = Some(Arc::new(kept)));
    }

    fn publish(&mut self, task: TaskId, kept: &Kept) {
        for (name, value) in &kept.outputs {
            self.add_metric(name);
            let id = self.metric_ids[name.as_str()] as usize;
            let metric = Metric { value: value.clone(), task, sequence: kept.sequence };
            *self.metrics.at_mut(id) = Some(metric);
            if self.changes.noted && self.changes.asked {
                self.changes.read.push(Changed::Metric(name.as_str().into()));
            }
        }
    }

    fn count_score(&mut self, old: Option<Score>, new: Option<Score>) {
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        self.quality.passed = self.quality.passed - old.passed + new.passed;
        self.quality.all = self.quality.all - old.all + new.all;
    }

    /// Makes metrics and quality again from what the tasks keep.
    pub(in crate::engine) fn count_kept(&mut self) {
        let mut all: Vec<(TaskId, Arc<Kept>)> =
            (0..self.tasks.len()).map(TaskId::from).filter_map(|id| Some((id, self.task(id).kept.clone()?))).collect();
        all.sort_by_key(|(_, kept)| kept.sequence);
        for (id, kept) in all {
            self.count_score(None, kept.score);
            self.publish(id, &kept);
        }
    }
}
