//! Sensors: tasks that are done once something outside is as it should be, and gates that ask a command. A watcher outside
//! looks; here it is said what is to be looked at, and what a look comes to. Which looks there were is not stored, only what was seen, once it is another;
//! so after a crash every sensor that awaits is looked at again. Knows no files, sockets or processes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::Sensor;
use super::fact::{Cause, Fact, Outcome};
use super::health::Looks;
use super::ids::{Span, TaskId, Time};
use super::message::{Effect, Sighting, Watch, Watched};
use super::state::{State, senses};

/// What is seen of one sensor is said no more often than this: what flickers must not fill the journal.
pub const SAID_EVERY: Span = Span::secs(10);
/// What is seen is kept up to so many bytes.
pub const SAW_BYTES: usize = 300;

/// A sensor that is looked at by this console.
#[derive(Debug, Clone, PartialEq)]
pub struct Looking {
    watch: u64,
    /// Since when it awaits what it looks for, and for which of its checks.
    since: (Time, u32),
    /// How often this console has looked.
    pub looks: u64,
    /// When it looked last, and what it saw.
    pub last: Option<(Time, Arc<str>)>,
}

/// What is looked at. Made again from the State at will, but for what the last looks saw.
#[derive(Debug, Clone, Default)]
pub struct Sensors {
    looking: BTreeMap<TaskId, Looking>,
    /// Number of the last watch.
    last: u64,
    /// Whether agents can be reached.
    agents: Looks,
    /// The session is ending: nothing is looked at.
    off: bool,
}

impl Sensors {
    /// Everything is to be looked at anew (after a replay).
    pub fn rebuild(&mut self, state: &mut State) {
        self.looking.clear();
        self.agents.rebuild();
        state.changes.sensors = state.sensors.iter().copied().collect();
    }

    /// What this console saw of a sensor last.
    pub fn of(&self, task: TaskId) -> Option<&Looking> {
        self.looking.get(&task)
    }

    /// What is to be looked at from now on, and what no more.
    pub fn effects(&mut self, state: &mut State) -> Vec<Effect> {
        let mut changed = std::mem::take(&mut state.changes.sensors);
        if self.off != state.ending.is_some() {
            self.off = !self.off;
            changed = self.looking.keys().copied().chain(state.sensors.iter().copied()).collect();
        }
        changed.sort_unstable();
        changed.dedup();
        let mut effects = self.agents.effects(state, &mut self.last);
        for task in changed {
            let since = senses(state.definition(task), state.task(task)).filter(|_| !self.off);
            if self.looking.get(&task).map(|looking| looking.since) == since {
                continue;
            }
            effects.extend(self.looking.remove(&task).map(|old| Effect::Unwatch(old.watch)));
            if let Some(since) = since {
                effects.extend(self.watch(state, task, since));
            }
        }
        effects
    }

    fn watch(&mut self, state: &State, task: TaskId, since: (Time, u32)) -> Option<Effect> {
        let kind = &state.definition(task).task_type;
        let sensor = kind.sensor().or_else(|| kind.gate()?.command(since.1))?.clone();
        self.last += 1;
        let watch = self.last;
        self.looking.insert(task, Looking { watch, since, looks: 0, last: None });
        let seen = state.task(task).heard.as_ref().and_then(|heard| heard.seen.as_ref());
        let mark = seen.and_then(|seen| seen.mark.clone());
        Some(Effect::Watch(Watch { watch, of: Watched::Task(task), name: state.name(task).into(), sensor, mark }))
    }

    /// What a look comes to: nothing, if it is of a watch that is over, or says nothing new.
    pub fn see(&mut self, state: &State, sighting: &Sighting) -> Vec<Fact> {
        let Sighting { of, watch, met, saw, mark } = sighting;
        let task = match of {
            Watched::Task(task) => *task,
            Watched::Agent(agent) => return self.agents.see(state, *agent, sighting),
        };
        let saw = bounded(saw);
        let Some(looking) = self.looking.get_mut(&task).filter(|looking| looking.watch == *watch) else {
            return Vec::new();
        };
        looking.looks += 1;
        looking.last = Some((state.now, saw.into()));
        let Some((_, check)) = senses(state.definition(task), state.task(task)) else { return Vec::new() };
        if let Some(gate) = state.definition(task).task_type.gate() {
            return super::gates::checked(state, task, gate, (check, *met, saw));
        }
        if *met {
            return vec![Fact::Settled { task, outcome: Outcome::Succeeded, why: Some(saw.to_owned()) }];
        }
        let said = state.task(task).heard.as_ref().and_then(|heard| heard.seen.as_ref());
        let is_new = said.is_none_or(|said| *said.saw != *saw && said.since.plus(SAID_EVERY) <= state.now);
        is_new.then(|| Fact::Sensed { task, saw: saw.to_owned(), mark: mark.clone() }).into_iter().collect()
    }
}

pub(super) fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(SAW_BYTES)]
}

/// It was looked at for as long as it may be, and never was as it should be.
pub fn overdue(state: &State, task: TaskId, sensor: &Sensor) -> Fact {
    let seen = state.task(task).heard.as_ref().and_then(|heard| heard.seen.as_ref());
    let saw = seen.map_or_else(String::new, |seen| format!(", last seen: {}", seen.saw));
    let why = Some(format!("waited in vain for {}{saw}", sensor.probe.words()));
    if sensor.timeout_skips {
        return Fact::Skipped { task, why };
    }
    Fact::Settled { task, outcome: Outcome::Failed(Cause::TimedOut), why }
}
