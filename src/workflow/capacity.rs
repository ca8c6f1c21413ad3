//! What could never start: no agent offers what a task needs, or none has as much of a resource as it uses. Said when the
//! file is read, not by an endless wait. Works on the lowered definitions; asks the tree only where to point.

use std::collections::HashMap;

use super::diagnostic::{Extent, Finding, shown};
use super::places::MEM;
use super::schema::{Reader, head, peek};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use super::units::amount_text;
use crate::engine::definition::{
    AgentDefinition, Requirements, ResourceDefinition, ResourceKind, TaskConstraint, TaskDefinition,
};
use crate::engine::ids::{Amount, ResourceId};

/// So many agents are gone through one by one in a hint.
const MAX_AGENTS_TOLD: usize = 5;

/// Reports every task that could never start, of those of one `foreach` the first; equal requirements are judged once.
pub(super) fn check<'n, 'a: 'n>(
    reader: &mut Reader,
    agents: &[AgentDefinition],
    resources: &[ResourceDefinition],
    tasks: impl Iterator<Item = (&'n TaskDefinition, &'n Node<'a>)>,
) {
    let places = Places { agents, resources };
    let mut judged: HashMap<&Requirements, bool> = HashMap::new();
    let mut told: Option<&Node<'_>> = None;
    let mut last: Option<&Requirements> = None;
    for (task, node) in tasks {
        // nothing is wrong so far, and the tasks of one `foreach` mostly ask for the same
        if told.is_none() && last == Some(&task.requirements) {
            continue;
        }
        last = Some(&task.requirements);
        let possible = *judged.entry(&task.requirements).or_insert_with(|| places.possible(&task.requirements));
        if !possible && !told.is_some_and(|told| std::ptr::eq(told, node)) {
            places.explain(reader, task, node);
            told = Some(node);
        }
    }
}

/// Where tasks can run, and on what.
pub(super) struct Places<'p> {
    pub agents: &'p [AgentDefinition],
    pub resources: &'p [ResourceDefinition],
}

impl Places<'_> {
    /// The agents that could run it; the first two.
    pub fn able(&self, wanted: &Requirements) -> Vec<&str> {
        let agents = self.agents.iter().enumerate();
        let able = agents.filter(|(index, agent)| allowed(wanted, *index) && self.lacks(agent, wanted).is_none());
        able.map(|(_, agent)| agent.name.as_str()).take(2).collect()
    }

    fn possible(&self, wanted: &Requirements) -> bool {
        let pools = wanted.resources.iter().all(|used| match self.resources[used.resource.index()].kind {
            ResourceKind::Pool(all) | ResourceKind::Rate { amount: all, .. } => used.amount <= all,
            ResourceKind::Lock | ResourceKind::PerAgent => true,
        });
        let mut agents = self.agents.iter().enumerate();
        pools && agents.any(|(index, agent)| allowed(wanted, index) && self.lacks(agent, wanted).is_none())
    }

    /// The first thing that `agent` has not, or not as much of as wanted.
    fn lacks(&self, agent: &AgentDefinition, wanted: &Requirements) -> Option<String> {
        if let Some(missing) = wanted.capabilities.iter().find(|name| !agent.capabilities.contains(name)) {
            return Some(format!("does not offer `{}`", shown(missing)));
        }
        let short = wanted.resources.iter().find(|used| {
            self.resources[used.resource.index()].kind == ResourceKind::PerAgent
                && has(agent, used.resource) < used.amount
        })?;
        let name = shown(&self.resources[short.resource.index()].name);
        Some(format!("has {} of `{name}`", self.text(short.resource, has(agent, short.resource))))
    }

    fn text(&self, resource: ResourceId, amount: Amount) -> String {
        amount_text(amount, resource == MEM || amount.0 / 1000 >= 1 << 20)
    }

    fn explain(&self, reader: &mut Reader, task: &TaskDefinition, node: &Node<'_>) {
        let before = reader.findings.count();
        for name in &task.requirements.capabilities {
            if !self.agents.iter().any(|agent| agent.capabilities.contains(name)) {
                self.not_offered(reader, task, node, name);
            }
        }
        for used in &task.requirements.resources {
            let resource = &self.resources[used.resource.index()];
            let most = match resource.kind {
                ResourceKind::Lock => continue,
                ResourceKind::Pool(all) | ResourceKind::Rate { amount: all, .. } => all,
                ResourceKind::PerAgent => {
                    self.agents.iter().map(|agent| has(agent, used.resource)).max().unwrap_or_default()
                }
            };
            if used.amount > most {
                let (amount, all) = (self.text(used.resource, used.amount), self.text(used.resource, most));
                let message =
                    format!("`{}` can never start: {}: {amount} of {all}", shown(&task.id), shown(&resource.name));
                let place =
                    if resource.kind == ResourceKind::PerAgent { "no agent has more" } else { "there is no more" };
                let label = format!("{place} than {all}");
                reader.report(Finding::new(place_of(node, "uses", &resource.name), message).label(label));
            }
        }
        if reader.findings.count() == before {
            let message = format!("`{}` can never start: no agent has all that it needs and uses", shown(&task.id));
            let mut finding = Finding::new(place_of(node, "uses", ""), message).label("not together on one agent");
            for (index, agent) in self.agents.iter().enumerate().take(MAX_AGENTS_TOLD) {
                let lacks = self.lacks(agent, &task.requirements);
                let lacks = lacks.filter(|_| allowed(&task.requirements, index));
                let lacks = lacks.unwrap_or_else(|| "is ruled out by `agent` or `not_on`".to_owned());
                finding = finding.help(format!("`{}` {lacks}", shown(&agent.name)));
            }
            reader.report(finding);
        }
    }

    fn not_offered(&self, reader: &mut Reader, task: &TaskDefinition, node: &Node<'_>, name: &str) {
        let message = format!("`{}` can never start: no agent offers `{}`", shown(&task.id), shown(name));
        let offered = || self.agents.iter().flat_map(|agent| agent.capabilities.iter().map(String::as_str));
        let help = did_you_mean(name, offered()).unwrap_or_else(|| {
            let mut all: Vec<&str> = offered().take(20).collect();
            all.sort_unstable();
            all.dedup();
            format!("offered are: {}", shown(&if all.is_empty() { "none".to_owned() } else { all.join(", ") }))
        });
        reader.report(Finding::new(place_of(node, "needs", name), message).label("offered by none").help(help));
    }
}

/// Its constraints let it run there.
fn allowed(wanted: &Requirements, index: usize) -> bool {
    wanted.constraints.iter().all(|constraint| match constraint {
        TaskConstraint::OnAgent(only) => only.index() == index,
        TaskConstraint::NotOnAgent(not) => not.index() != index,
        TaskConstraint::SameAgentAs(_) | TaskConstraint::PreferAgent(_) | TaskConstraint::Within(_) => true,
    })
}

fn has(agent: &AgentDefinition, resource: ResourceId) -> Amount {
    agent.resources.iter().find(|(id, _)| *id == resource).map(|(_, amount)| *amount).unwrap_or_default()
}

/// Where `name` stands in a field of a task; else where the field stands, or the task.
fn place_of(task: &Node<'_>, field: &str, name: &str) -> Extent {
    let is_name = |node: &&Node<'_>| matches!(&node.kind, Kind::Text(text) if text == name);
    let Some(node) = peek(task, field) else { return head(task) };
    let found = match &node.kind {
        Kind::List(items) => items.iter().find(is_name).map(|node| node.at),
        Kind::Map(entries) => entries
            .iter()
            .find(|(key, _)| is_name(&key))
            .map(|(key, value)| Extent { start: key.at.start, end: value.at.end }),
        _ => None,
    };
    found.unwrap_or_else(|| head(node))
}
