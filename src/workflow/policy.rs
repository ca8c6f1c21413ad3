//! Rules over the whole file: `policy`, a list of what tasks must have, all of them or those with a tag. A task that
//! breaks one is an error placed at the task. Knows nothing of runs.

use std::collections::HashSet;

use super::diagnostic::{Extent, Finding, shown};
use super::outline::Outline;
use super::schema::{EVERY, Fields, Reader, Shape, TAGGED, Word, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::definition::{StateTransition, TaskDefinition, WorkflowStage};
use crate::engine::policy::{self, Has};

/// A file has no more rules than this.
pub const MAX_RULES: usize = 100;

/// What a rule can ask for, as it is written.
const HAS: [(&str, Has); 9] = [
    ("Timeout", Has::Timeout),
    ("Deadline", Has::Deadline),
    ("Estimate", Has::Estimate),
    ("Retry", Has::Retry),
    ("Fallback", Has::Fallback),
    ("Validate", Has::Validate),
    ("Gate", Has::Gate),
    ("Approval", Has::Approval),
    ("Compensation", Has::Compensation),
];

/// One rule of the file.
struct Rule<'n> {
    at: Extent,
    tag: Option<Word<'n>>,
    has: Vec<Has>,
}

/// All rules of a file.
#[derive(Default)]
pub(super) struct Policy<'n> {
    rules: Vec<Rule<'n>>,
}

impl<'n> Policy<'n> {
    /// Reads `policy`.
    pub fn read(reader: &mut Reader, fields: &Fields<'n, '_>) -> Self {
        let mut all = Self::default();
        let Some(node) = fields.get("policy") else { return all };
        for node in reader.list(node, "policy") {
            if all.rules.len() == MAX_RULES {
                reader.report(Finding::new(head(node), format!("more than {MAX_RULES} rules")).label("one too many"));
                return all;
            }
            all.rules.extend(rule(reader, node));
        }
        all
    }

    /// As the run keeps them.
    pub fn rules(&self) -> Vec<policy::Rule> {
        let rule =
            |rule: &Rule<'_>| policy::Rule { tag: rule.tag.map(|tag| tag.text.to_owned()), has: rule.has.clone() };
        self.rules.iter().map(rule).collect()
    }

    /// Reports each written task that breaks a rule, once for each rule. Only to be asked of a file that is right.
    pub fn check(
        &self,
        reader: &mut Reader,
        outline: &Outline<'_, '_>,
        tasks: &[TaskDefinition],
        stages: &[WorkflowStage],
        transitions: &[StateTransition],
    ) {
        let known: Vec<bool> =
            self.rules.iter().map(|rule| rule.tag.is_none_or(|tag| is_used(reader, &tag, tasks))).collect();
        let tasks: Vec<&TaskDefinition> = tasks.iter().collect();
        let (stages, transitions): (Vec<_>, Vec<_>) = (stages.iter().collect(), transitions.iter().collect());
        let mut told = HashSet::new();
        for (index, number, wanted) in policy::broken(&self.rules(), &tasks, &stages, &transitions) {
            let group = outline.group_of[index];
            if known[number] && told.insert((number, wanted, group)) {
                let node = outline.groups[group as usize].node;
                reader.report(broken(tasks[index], node, &self.rules[number], wanted));
            }
        }
    }
}

fn rule<'n>(reader: &mut Reader, node: &'n Node<'_>) -> Option<Rule<'n>> {
    let name = match &node.kind {
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) => Some(name.text),
        Kind::Word(word) => Some(*word),
        _ => None,
    };
    let shape: &Shape = match name {
        Some("Every") => &EVERY,
        Some("Tagged") => &TAGGED,
        _ => {
            let finding = Finding::new(head(node), format!("{} is no rule", describe(node)));
            let help = name
                .and_then(|name| did_you_mean(name, ["Every", "Tagged"]))
                .unwrap_or_else(|| "for example: Tagged(tag: \"prod\", has: Approval)".to_owned());
            reader.report(finding.label("expected Every(…) or Tagged(…)").help(help));
            return None;
        }
    };
    let fields = reader.fields(node, shape)?;
    let missing = shape.fields.iter().find(|field| fields.get(field).is_none());
    if let Some(missing) = missing {
        let finding = Finding::new(head(node), format!("this rule has no `{missing}`"));
        reader.report(finding.label(format!("`{missing}` is missing")));
        return None;
    }
    let tag = match fields.get("tag") {
        Some(node) => Some(reader.text(node, "tag")?),
        None => None,
    };
    let wanted = fields.get("has")?;
    let has = match &wanted.kind {
        Kind::List(items) => items.iter().filter_map(|item| one(reader, item)).collect(),
        _ => one(reader, wanted).into_iter().collect(),
    };
    if matches!(&wanted.kind, Kind::List(items) if items.is_empty()) {
        reader.report(Finding::new(head(wanted), "this rule asks for nothing").label("an empty list"));
    }
    Some(Rule { at: head(node), tag, has })
}

fn one(reader: &mut Reader, node: &Node<'_>) -> Option<Has> {
    reader.choice(node, "has", &HAS)
}

/// A rule for a tag that nobody has would guard nothing: most likely it is a slip.
fn is_used(reader: &mut Reader, tag: &Word<'_>, tasks: &[TaskDefinition]) -> bool {
    let mut tags = tasks.iter().flat_map(|task| &task.tags).map(String::as_str);
    if tags.clone().any(|own| own == tag.text) {
        return true;
    }
    let finding = Finding::new(tag.at, format!("no task has the tag `{}`", shown(tag.text)));
    let help = did_you_mean(tag.text, &mut tags).unwrap_or_else(|| "a rule for it would guard nothing".to_owned());
    reader.report(finding.label("unknown").help(help));
    false
}

fn broken(task: &TaskDefinition, node: &Node<'_>, rule: &Rule<'_>, wanted: Has) -> Finding {
    let help = match wanted {
        Has::Timeout => "for example timeout: \"10m\"",
        Has::Deadline => "for example deadline: \"1h\"",
        Has::Estimate => "for example estimate: \"5m\"",
        Has::Retry => "for example retry: Retry(attempts: 3)",
        Has::Fallback => "name one of `fallbacks`: fallback: [\"…\"]",
        Has::Validate => "for example validate: [FileExists(\"out.txt\")]",
        Has::Compensation => "say how what it did is undone: compensate: \"…\"",
        Has::Gate => {
            "let it come after a QualityGate or an Approval that it cannot pass by: without `when`, `fallback`, `enough`, \
             `trigger`, or a way on without a yes"
        }
        Has::Approval => {
            "let it come after an Approval (or a gate that asks people) that it cannot pass by: without `when`, \
             `fallback`, `enough`, `trigger`, or a way on without a yes"
        }
    };
    let message = format!("`policy`: the task `{}` {}", shown(&task.id), wanted.lacks());
    Finding::new(head(node), message).label("breaks a rule").also(rule.at, "this rule").help(help)
}
