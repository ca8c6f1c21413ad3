//! `replicate` of a task: how often it is run, and how many of these runs must come to the same. Knows nothing of how they
//! are compared.

use indexmap::IndexMap;

use super::diagnostic::{Extent, Finding, shown};
use super::schema::{REPLICATE, Reader, head, peek};
use super::syntax::{Kind, Node};
use crate::engine::care::{Publish, Source};
use crate::engine::condition::Type;
use crate::engine::definition::{AgentDefinition, Majority, Requirements, TaskConstraint};
use crate::engine::ids::AgentId;
use crate::engine::majority::RUNS_MOST;

const EXAMPLE: &str = "for example replicate: Replicate(runs: 3, agree: 2)";

/// What a task says of it.
#[derive(Clone, PartialEq)]
pub(super) struct Replicate {
    pub runs: u32,
    agree: u32,
    /// Of these published values; of all if there are none.
    by: Vec<String>,
}

impl Replicate {
    /// What makes its majority, of what its runs publish.
    pub fn majority(&self, published: &[Publish]) -> Majority {
        let all = || published.iter().map(|publish| publish.name.clone()).collect();
        Majority { agree: self.agree, by: if self.by.is_empty() { all() } else { self.by.clone() } }
    }
}

/// Reads the field of a task.
pub(super) fn read(reader: &mut Reader, task: &Node<'_>, node: &Node<'_>) -> Option<Replicate> {
    if let Kind::Word(_) | Kind::Text(_) | Kind::Number(_) | Kind::List(_) | Kind::Map(_) = &node.kind {
        reader.wrong(node, "replicate", "Replicate(…)", EXAMPLE);
        return None;
    }
    let fields = reader.fields(node, &REPLICATE)?;
    let Some(runs) = fields.get("runs") else {
        let finding = Finding::new(head(node), "`Replicate` does not say how often").label("`runs` is missing");
        reader.report(finding.help(EXAMPLE));
        return None;
    };
    let runs = u32::try_from(reader.integer(runs, "runs", 2, i64::from(RUNS_MOST))?).ok()?;
    let most = runs / 2 + 1;
    let agree = match fields.get("agree") {
        None => most,
        Some(node) => u32::try_from(reader.integer(node, "agree", i64::from(most), i64::from(runs))?).ok()?,
    };
    let mut by = Vec::new();
    if let Some(node) = fields.get("by") {
        let listed = peek(task, "publishes").map(|node| reader.map(node, "publishes")).unwrap_or_default();
        for word in reader.texts(node, "by") {
            if !listed.iter().any(|(name, _)| name.text == word.text) {
                let message = format!("the task publishes nothing by the name `{}`", shown(word.text));
                let help =
                    "say what is compared, for example publishes: { \"sum\": Digest(\"out.tar\") }, or leave `by` out";
                reader.report(Finding::new(word.at, message).label("compared by this?").help(help));
                continue;
            }
            by.push(word.text.to_owned());
        }
    }
    Some(Replicate { runs, agree, by })
}

/// What runs are compared by that publish nothing else: the digest of their output.
pub(super) fn output(metrics: &mut IndexMap<String, (Type, Extent)>, at: Extent) -> Publish {
    metrics.entry("digest".to_owned()).or_insert((Type::Text, at));
    Publish { name: "digest".to_owned(), from: Source::Digest { file: None }, of: Type::Text }
}

/// The agents that may run it.
pub(super) fn agents(all: &[AgentDefinition], wanted: &Requirements) -> Vec<AgentId> {
    let offers = |agent: &AgentDefinition| wanted.capabilities.iter().all(|name| agent.capabilities.contains(name));
    let may = |id: &AgentId| !wanted.constraints.contains(&TaskConstraint::NotOnAgent(*id));
    let numbered = all.iter().enumerate().map(|(index, agent)| (AgentId::from(index), agent));
    numbered.filter(|(id, agent)| offers(agent) && may(id)).map(|(id, _)| id).collect()
}
