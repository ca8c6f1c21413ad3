//! Limits that change while the run goes on, and where and when a class may start: what facts of flow control do to the
//! State, and its questions about them. Knows nothing of who asks.

use std::sync::Arc;

use super::{Class, PoolId, State};
use crate::engine::definition::{ResourceKind, WindowDefinition};
use crate::engine::fact::Target;
use crate::engine::ids::{AgentId, Amount, ResourceId, TaskId, WindowId};

/// Stands for the only agent of a class that can run on none.
pub(super) const NOWHERE: AgentId = AgentId(u32::MAX);

impl State {
    /// Where a task runs, or ran last, may be another place now: those that must run on the same are looked at again.
    pub(super) fn note_followers(&mut self, id: TaskId) {
        if self.changes.noted
            && let Some(classes) = self.followers.get(&id)
        {
            self.changes.moved.extend(classes);
            self.note_all_reservations();
        }
    }

    /// A time window.
    pub fn window(&self, id: WindowId) -> &WindowDefinition {
        &self.windows[id.index()]
    }

    /// A class's window, if it has one and it is closed now.
    pub fn closed_window(&self, class: &Class) -> Option<WindowId> {
        class.window.filter(|window| !self.window(*window).is_open(self.now))
    }

    /// Where a task ran last, or runs.
    pub fn last_agent(&self, id: TaskId) -> Option<AgentId> {
        let task = self.task(id);
        let past = || task.past.as_ref().and_then(|past| past.last()).map(|past| past.agent);
        task.live.as_ref().map(|live| live.agent).or_else(past)
    }

    /// The agents on which a class may start: with `same_agent_as` one, once it is known which.
    pub fn pool_of(&self, class: &Class) -> PoolId {
        let Some(only) = class.same_as.and_then(|task| self.last_agent(task)) else { return class.pool };
        let pool = &self.pools[class.pool.0 as usize];
        let only = if pool.agents.binary_search(&only).is_ok() { only } else { NOWHERE };
        let key = (pool.capabilities.clone(), Some(only), pool.not.clone());
        // Made with the class, for each agent that may be it.
        self.pool_ids.get(&key).copied().unwrap_or(class.pool)
    }

    /// An agent's own amount of a resource.
    pub fn capacity_of(&self, resource: ResourceId, agent: Option<AgentId>) -> Option<Amount> {
        let entry = self.resources.get(resource.index())?;
        match (entry.definition.kind, agent) {
            (ResourceKind::Lock, _) => None,
            (ResourceKind::PerAgent, Some(agent)) => Some(self.agents.get(agent.index())?.capacity(resource)),
            (ResourceKind::PerAgent, None) | (_, Some(_)) => None,
            (ResourceKind::Pool(_) | ResourceKind::Rate { .. }, None) => Some(entry.capacity),
        }
    }

    pub(super) fn set_capacity(&mut self, resource: ResourceId, agent: Option<AgentId>, amount: Amount) {
        if let Some(agent) = agent {
            self.change_agent(agent, |agent| match agent.resources.binary_search_by_key(&resource, |entry| entry.0) {
                Ok(at) => agent.resources[at].1 = amount,
                Err(at) => agent.resources.insert(at, (resource, amount, Amount(0))),
            });
            self.note_agent(agent);
        } else {
            let now = self.now;
            let entry = self.resources.at_mut(resource.index());
            if let Some(bucket) = &mut entry.bucket {
                bucket.resize(entry.capacity, amount, now);
            }
            entry.capacity = amount;
            entry.peak = entry.peak.max(amount);
            if self.changes.noted {
                self.changes.resources.push(resource);
            }
            self.look_at_locks();
        }
        self.note_all_reservations();
    }

    /// An agent offers other things: it joins and leaves the sets of agents that offer what is asked.
    pub(super) fn set_capabilities(&mut self, id: AgentId, capabilities: &[String]) {
        let mut pools = Vec::new();
        for (index, pool) in Arc::make_mut(&mut self.pools).iter_mut().enumerate() {
            let offers = |name: &String| capabilities.contains(name);
            let is_member = pool.only.is_none_or(|only| only == id)
                && !pool.not.contains(&id)
                && pool.capabilities.iter().all(offers);
            match (pool.agents.binary_search(&id), is_member) {
                (Ok(at), false) => _ = pool.agents.remove(at),
                (Err(at), true) => pool.agents.insert(at, id),
                _ => {}
            }
            if is_member {
                pools.push(PoolId(index as u32));
            }
        }
        self.change_agent(id, |agent| {
            agent.pools = pools;
            Arc::make_mut(&mut agent.definition).capabilities = capabilities.to_vec();
        });
        if self.changes.noted {
            // On which agents those may start that follow others can be another set now.
            self.changes.moved.extend(self.followers.values().flatten());
        }
        self.note_agent(id);
        self.note_all_reservations();
    }

    pub(super) fn set_max_running(&mut self, most: Option<u32>) {
        Arc::make_mut(&mut self.settings).max_running = most;
        self.note_all_reservations();
    }

    /// What is kept free for a task counts only while that task could start at all: that may be otherwise now.
    pub(super) fn note_all_reservations(&mut self) {
        let reserved: Vec<Target> = self.reservations.keys().copied().collect();
        self.note_reservations(reserved);
    }
}
