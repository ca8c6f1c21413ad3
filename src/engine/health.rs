//! Health of agents: whether one that says how can still be reached. A watcher outside looks, as it does for sensors; after so
//! many looks in vain in a row the agent is lost: nothing starts there, and what runs there is queued again elsewhere, fails,
//! or is left, by rule. The first look that sees it brings it back. Only changes are stored. Knows no processes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::definition::Sensor;
use super::fact::Fact;
use super::ids::{AgentId, Attempt, Time};
use super::message::{Command, Effect, Refusal, Sighting, StopReason, StopSignal, Watch, Watched};
use super::state::State;

/// How it is seen whether an agent can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is looked at, how often.
    pub sensor: Arc<Sensor>,
    /// After so many looks in vain in a row it is lost.
    pub failures: u32,
    /// What becomes of what runs there then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_lost: OnAgentLost,
}

/// What becomes of what runs on an agent that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnAgentLost {
    /// It is stopped and queued again: that attempt does not count against its retries.
    #[default]
    Requeue,
    /// It is stopped and has failed: its retries and fallbacks follow.
    Fail,
    /// It goes on as long as it can.
    LetRun,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An agent that cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostAgent {
    /// Since when.
    pub since: Time,
    /// What was seen.
    pub saw: Arc<str>,
}

/// What is looked at of the agents by this console.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks {
    of: BTreeMap<AgentId, Look>,
    is_on: bool,
}

#[derive(Debug, Clone)]
struct Look {
    watch: u64,
    /// Looks in vain in a row.
    vain: u32,
}

impl Looks {
    /// Nothing is looked at yet (after a replay).
    pub fn rebuild(&mut self) {
        *self = Self::default();
    }

    /// Looks begin once the workflow is loaded, and end with the session.
    pub fn effects(&mut self, state: &State, last: &mut u64) -> Vec<Effect> {
        let wanted = state.loaded && state.ending.is_none();
        if self.is_on == wanted {
            return Vec::new();
        }
        self.is_on = wanted;
        if !wanted {
            return std::mem::take(&mut self.of).into_values().map(|look| Effect::Unwatch(look.watch)).collect();
        }
        let mut effects = Vec::new();
        for (index, agent) in state.agents.iter().enumerate() {
            let Some(health) = &agent.definition.health else { continue };
            let (id, name) = (AgentId::from(index), agent.definition.name.as_str().into());
            *last += 1;
            self.of.insert(id, Look { watch: *last, vain: 0 });
            let (of, sensor) = (Watched::Agent(id), health.sensor.clone());
            effects.push(Effect::Watch(Watch { watch: *last, of, name, sensor, mark: None }));
        }
        effects
    }

    /// What a look comes to.
    pub fn see(&mut self, state: &State, agent: AgentId, sighting: &Sighting) -> Vec<Fact> {
        let Some(look) = self.of.get_mut(&agent).filter(|look| look.watch == sighting.watch) else { return Vec::new() };
        let entry = state.agent(agent);
        let Some(health) = &entry.definition.health else { return Vec::new() };
        let saw = || super::sensors::bounded(&sighting.saw).to_owned();
        if sighting.met {
            look.vain = 0;
            return entry.lost.iter().map(|_| Fact::AgentBack { agent, saw: saw() }).collect();
        }
        look.vain = look.vain.saturating_add(1);
        if entry.lost.is_some() || look.vain < health.failures {
            return Vec::new();
        }
        let mut facts = vec![Fact::AgentLost { agent, saw: saw() }];
        if health.on_lost != OnAgentLost::LetRun {
            facts.extend(stops(state, agent));
        }
        facts
    }
}

fn stops(state: &State, agent: AgentId) -> impl Iterator<Item = Fact> {
    let is_stopped = |live: &super::state::Live| live.stop.is_some() || live.exited.is_some();
    let runs = state.tasks_on(agent).filter(move |id| !state.task(*id).live.as_deref().is_some_and(is_stopped));
    runs.map(move |task| {
        let (attempt, reason) = (Attempt(state.task(task).attempt), StopReason::AgentLost(agent));
        Fact::Stopping { task, attempt, reason, signal: StopSignal::Term }
    })
}

/// An agent offers other things from now on.
pub(super) fn capabilities(state: &State, agent: AgentId, names: &[String]) -> Result<(Vec<Fact>, Command), Refusal> {
    let refuse = |why: String| Err(Refusal(why));
    let Some(entry) = state.agents.get(agent.index()) else { return refuse("there is no such agent".into()) };
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    let bad = |name: &String| name.trim().is_empty() || name.len() > 200 || name.chars().any(char::is_control);
    if names.len() > 1_000 {
        return refuse("more than 1000 capabilities".into());
    }
    if let Some(name) = names.iter().find(|name| bad(name)) {
        return refuse(format!("{name:?} cannot be the name of a capability"));
    }
    let old = &entry.definition.capabilities;
    if *old == names {
        return refuse(format!("{} offers that already", entry.definition.name));
    }
    let inverse = Command::SetCapabilities { agent, capabilities: old.clone() };
    Ok((vec![Fact::CapabilitiesSet { agent, capabilities: names }], inverse))
}
