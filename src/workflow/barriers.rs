//! `barriers` of a file, and the `barrier` of a task: who starts together with whom. The number of parties is written down, so
//! that a task too few or too many is told before anything runs. Knows nothing of how they wait.

use super::diagnostic::{Extent, Finding, shown};
use super::foreach::Each;
use super::limits;
use super::names::check_name;
use super::schema::{BARRIER, Fields, Reader, Zero, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::definition::{BarrierDefinition, OnBroken, TaskDefinition};
use crate::engine::ids::BarrierId;

/// A file has no more barriers than this.
pub const MAX_BARRIERS: usize = 1_000;

const HELP: &str =
    "for example barriers: { \"ready\": 2 }, or Barrier(parties: 2, timeout: \"10m\", on_broken: Continue)";

/// All barriers of a file.
#[derive(Default)]
pub(super) struct Barriers {
    pub list: Vec<BarrierDefinition>,
    /// How many tasks each waits for, and where that stands.
    parties: Vec<(u32, Extent)>,
}

impl Barriers {
    pub fn read(reader: &mut Reader, fields: &Fields<'_, '_>) -> Self {
        let mut all = Self::default();
        let Some(node) = fields.get("barriers") else { return all };
        for (key, node) in reader.map(node, "barriers") {
            if all.list.len() == MAX_BARRIERS {
                let message = format!("more than {MAX_BARRIERS} barriers");
                reader.report(Finding::new(key.at, message).label("one too many"));
                return all;
            }
            check_name(reader, &key, "barrier");
            let name = key.text.to_owned();
            let (parties, definition) = one(reader, name, node);
            all.parties.push((parties.unwrap_or(0), head(node)));
            all.list.push(definition);
        }
        all
    }

    /// The `barrier` of a task.
    pub fn of_task(&self, reader: &mut Reader, node: &Node<'_>, each: Each<'_>) -> Option<BarrierId> {
        let word = reader.text(node, "barrier")?;
        let filled = each.fill(reader, &[word]);
        let (text, at) = filled.first()?;
        let found = self.list.iter().position(|barrier| barrier.name == **text);
        if found.is_none() {
            let help = did_you_mean(text, self.list.iter().map(|barrier| barrier.name.as_str()))
                .unwrap_or_else(|| format!("declare it: barriers: {{ \"{}\": 2 }}", shown(text)));
            let finding = Finding::new(*at, format!("no barrier is called `{}`", shown(text)));
            reader.report(finding.label("unknown").help(help));
        }
        if let Some(barrier) = found.map(|index| &self.list[index]).filter(|barrier| barrier.inside.is_some()) {
            let finding = Finding::new(*at, format!("at `{}` tasks wait while they run", shown(&barrier.name)));
            reader.report(
                finding.label("not before they start").help("without inside: true they wait before they start"),
            );
            return None;
        }
        found.map(BarrierId::from)
    }

    /// Reports barriers at which not as many tasks wait as they say, or tasks of several stages.
    pub fn check(&self, reader: &mut Reader, tasks: &[TaskDefinition]) {
        let mut members: Vec<Vec<&TaskDefinition>> = vec![Vec::new(); self.list.len()];
        for task in tasks {
            if let Some(barrier) = task.barrier {
                members[barrier.index()].push(task);
            }
        }
        for ((barrier, (parties, at)), members) in self.list.iter().zip(&self.parties).zip(&members) {
            let name = shown(&barrier.name);
            let count = members.len();
            if barrier.inside.is_some() {
                continue;
            }
            if *parties > 0 && count != *parties as usize {
                let waits = match count {
                    0 => "no task waits".to_owned(),
                    1 => "1 task waits".to_owned(),
                    _ => format!("{count} tasks wait"),
                };
                let message = format!("the barrier `{name}` has {parties} parties, and {waits} at it");
                let help = format!("a task waits at it that has barrier: \"{name}\"");
                reader.report(Finding::new(*at, message).label("as many must come").help(help));
            }
            if let Some(other) = members.iter().find(|task| task.stage != members[0].stage) {
                let (first, other) = (shown(&members[0].id), shown(&other.id));
                let message = format!("the barrier `{name}`: `{first}` and `{other}` are of different stages");
                reader.report(Finding::new(*at, message).label("tasks of one stage can wait for one another"));
            }
        }
    }

    /// What each task waits for if those that start together wait for one another: nothing, if none do.
    pub fn joined(&self, tasks: &[TaskDefinition], task_after: &[Vec<u32>]) -> Option<Vec<Vec<u32>>> {
        if self.list.is_empty() || tasks.iter().all(|task| task.barrier.is_none()) {
            return None;
        }
        // What is content with less does not have to wait for each.
        let strict = |index: usize| tasks[index].join.enough.is_none();
        let mut all: Vec<Vec<u32>> = vec![Vec::new(); self.list.len()];
        for (index, task) in tasks.iter().enumerate().filter(|(index, _)| strict(*index)) {
            if let Some(barrier) = task.barrier {
                all[barrier.index()].extend(&task_after[index]);
            }
        }
        for list in &mut all {
            list.sort_unstable();
            list.dedup();
        }
        let after = |(index, task): (usize, &TaskDefinition)| match task.barrier {
            Some(barrier) => all[barrier.index()].clone(),
            None if strict(index) => task_after[index].clone(),
            None => Vec::new(),
        };
        Some(tasks.iter().enumerate().map(after).collect())
    }
}

fn one(reader: &mut Reader, name: String, node: &Node<'_>) -> (Option<u32>, BarrierDefinition) {
    let mut definition = BarrierDefinition { name, timeout: None, on_broken: OnBroken::default(), inside: None };
    let parties = match &node.kind {
        Kind::Number(_) => return (parties(reader, node), definition),
        Kind::Struct(Some(word), _) if word.text == "Barrier" => {
            let Some(fields) = reader.fields(node, &BARRIER) else { return (None, definition) };
            definition.timeout = fields.get("timeout").and_then(|node| reader.duration(node, "timeout", Zero::Refused));
            if let Some(node) = fields.get("on_broken") {
                let choices = [("Fail", OnBroken::Fail), ("Continue", OnBroken::Continue)];
                definition.on_broken = reader.choice(node, "on_broken", &choices).unwrap_or_default();
            }
            let inside = fields.get("inside").map(|node| {
                (node, reader.choice(node, "inside", &[("true", true), ("false", false)]).unwrap_or(false))
            });
            if let (Some((node, true)), Some(_)) = (inside, fields.get("on_broken")) {
                let finding = Finding::new(node.at, "`on_broken` says nothing of a barrier within");
                reader.report(
                    finding.label("its tasks run").help("qd barrier wait ends with 1 then: the command decides"),
                );
            }
            match fields.get("parties") {
                Some(node) => {
                    let count = parties(reader, node);
                    definition.inside = count.filter(|_| inside.is_some_and(|(_, inside)| inside));
                    count
                }
                None => {
                    let finding = Finding::new(head(node), "this barrier does not say for how many it waits");
                    reader.report(finding.label("`parties` is missing").help(HELP));
                    None
                }
            }
        }
        _ => {
            let finding = Finding::new(head(node), format!("{} is no barrier", describe(node)));
            reader.report(finding.label("expected a number, or Barrier(…)").help(HELP));
            None
        }
    };
    (parties, definition)
}

/// One alone has nobody to wait for.
fn parties(reader: &mut Reader, node: &Node<'_>) -> Option<u32> {
    let count = limits::count(reader, node, "parties")?;
    if count == 1 {
        reader.report(Finding::new(node.at, "a barrier of one party").label("one alone waits for nobody").help(HELP));
        return None;
    }
    Some(count)
}
