//! Rules over the whole file: `policy`, a list of what tasks must have, all of them or those with a tag. Asked once, when
//! the file is read; a task that breaks one is an error placed at the task. Knows nothing of runs.

use std::collections::HashSet;

use super::diagnostic::{Extent, Finding, shown};
use super::outline::Outline;
use super::schema::{EVERY, Fields, Reader, Shape, TAGGED, Word, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::definition::{
    GateAction, GateCheck, Join, StageEnd, StateTransition, TaskDefinition, TaskType, WorkflowStage,
};

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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Timeout,
    Deadline,
    Estimate,
    Retry,
    Fallback,
    Validate,
    /// It comes after a gate or an approval that holds it back if it does not hold.
    Gate,
    /// It comes after a person's yes.
    Approval,
    /// What it did can be undone.
    Compensation,
}

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

    /// Reports each written task that breaks a rule, once for each rule. Only to be asked of a file that is right.
    pub fn check(
        &self,
        reader: &mut Reader,
        outline: &Outline<'_, '_>,
        tasks: &[TaskDefinition],
        stages: &[WorkflowStage],
        transitions: &[StateTransition],
    ) {
        let held_back = |wanted: Has| {
            let is_asked = self.rules.iter().any(|rule| rule.has.contains(&wanted));
            if is_asked { HeldBack { tasks, stages, transitions }.by(wanted) } else { Vec::new() }
        };
        let (gates, approvals) = (held_back(Has::Gate), held_back(Has::Approval));
        for rule in &self.rules {
            if !rule.tag.is_none_or(|tag| is_used(reader, &tag, tasks)) {
                continue;
            }
            for wanted in &rule.has {
                let mut told = HashSet::new();
                for (index, task) in tasks.iter().enumerate() {
                    let is_meant = rule.tag.is_none_or(|tag| task.tags.iter().any(|own| own == tag.text));
                    let keeps = match wanted {
                        Has::Gate => is_gate(task, Has::Gate) || gates[index],
                        Has::Approval => is_gate(task, Has::Approval) || approvals[index],
                        plain => has(task, *plain),
                    };
                    let group = outline.group_of[index];
                    if is_meant && !keeps && told.insert(group) {
                        let node = outline.groups[group as usize].node;
                        reader.report(broken(task, node, rule, *wanted));
                    }
                }
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
    let (lacks, help) = match wanted {
        Has::Timeout => ("has no timeout", "for example timeout: \"10m\""),
        Has::Deadline => ("has no deadline", "for example deadline: \"1h\""),
        Has::Estimate => ("has no estimate", "for example estimate: \"5m\""),
        Has::Retry => ("is not tried again", "for example retry: Retry(attempts: 3)"),
        Has::Fallback => ("has no fallback", "name one of `fallbacks`: fallback: [\"…\"]"),
        Has::Validate => ("checks nothing of what it did", "for example validate: [FileExists(\"out.txt\")]"),
        Has::Compensation => ("cannot be compensated", "say how what it did is undone: compensate: \"…\""),
        Has::Gate => (
            "comes after no gate",
            "let it come after a QualityGate or an Approval that it cannot pass by: without `when`, `fallback`, `enough`, \
             `trigger`, or a way on without a yes",
        ),
        Has::Approval => (
            "comes after no approval",
            "let it come after an Approval (or a gate that asks people) that it cannot pass by: without `when`, \
             `fallback`, `enough`, `trigger`, or a way on without a yes",
        ),
    };
    let message = format!("`policy`: the task `{}` {lacks}", shown(&task.id));
    Finding::new(head(node), message).label("breaks a rule").also(rule.at, "this rule").help(help)
}

/// What a task says of itself. What runs no command has nothing that could be tried again or checked.
fn has(task: &TaskDefinition, wanted: Has) -> bool {
    let runs = task.task_type.template().is_some();
    match wanted {
        Has::Timeout => match &task.task_type {
            TaskType::Run(_) | TaskType::Foreach(_) => task.timeout.is_some(),
            TaskType::Approval(approval) => approval.timeout.is_some(),
            TaskType::Sensor(sensor) => sensor.timeout.is_some(),
            // one of conditions alone never waits for an answer: it cannot have one
            TaskType::QualityGate(gate) => {
                gate.timeout.is_some() || gate.checks.iter().all(|check| matches!(check, GateCheck::Expr(_)))
            }
            TaskType::Noop
            | TaskType::Wait(_)
            | TaskType::Majority(_)
            | TaskType::Message(_)
            | TaskType::Subworkflow(_) => true,
        },
        Has::Deadline => task.deadline.is_some(),
        Has::Compensation => !runs || task.compensation.is_some(),
        Has::Estimate => !runs || task.estimate.is_some(),
        Has::Retry => !runs || task.retry.attempts > 1,
        Has::Fallback => !runs || !task.fallback.is_empty(),
        Has::Validate => !runs || task.care.as_ref().is_some_and(|care| !care.validate.is_empty()),
        Has::Gate | Has::Approval => is_gate(task, wanted),
    }
}

/// It asks, and a no (or silence) is never a yes.
fn is_gate(task: &TaskDefinition, wanted: Has) -> bool {
    match &task.task_type {
        TaskType::Approval(approval) => !approval.silence_approves,
        TaskType::QualityGate(gate) => {
            let asks_people = gate.checks.iter().any(|check| match check {
                GateCheck::Approval(_) | GateCheck::Quorum(_) => true,
                GateCheck::Expr(_) | GateCheck::Command(_) => false,
            });
            let is_strict = gate.on_fail != GateAction::Continue && gate.on_timeout != GateAction::Continue;
            is_strict && (wanted == Has::Gate || asks_people)
        }
        TaskType::Run(_)
        | TaskType::Noop
        | TaskType::Wait(_)
        | TaskType::Sensor(_)
        | TaskType::Foreach(_)
        | TaskType::Majority(_)
        | TaskType::Message(_)
        | TaskType::Subworkflow(_) => false,
    }
}

/// Which tasks cannot start unless a gate before them has held. Where that depends on how the run goes, they count as free:
/// a rule must not be kept by luck.
struct HeldBack<'w> {
    tasks: &'w [TaskDefinition],
    stages: &'w [WorkflowStage],
    transitions: &'w [StateTransition],
}

impl HeldBack<'_> {
    fn by(&self, wanted: Has) -> Vec<bool> {
        let is_plain: Vec<bool> = self.tasks.iter().map(|task| task.join == Join::default()).collect();
        let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); self.tasks.len()];
        // a join that is content with less excuses the failures of what it names
        let mut is_excused = vec![false; self.tasks.len()];
        for (index, task) in self.tasks.iter().enumerate() {
            for before in &task.after {
                dependents[before.index()].push(index);
                is_excused[before.index()] |= !is_plain[index];
            }
        }
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.stages.len()];
        self.tasks.iter().enumerate().for_each(|(index, task)| members[task.stage.index()].push(index));
        let mut is_target = vec![false; self.stages.len()];
        let mut later: Vec<Vec<usize>> = vec![Vec::new(); self.stages.len()];
        for transition in self.transitions.iter().filter(|transition| !transition.is_backward()) {
            is_target[transition.to.index()] = true;
            later[transition.from.index()].push(transition.to.index());
        }
        for (index, stage) in self.stages.iter().enumerate() {
            stage.after.iter().for_each(|before| later[before.index()].push(index));
        }
        // skipped as a whole, it would let pass what comes after it
        let is_certain = |stage: usize| self.stages[stage].when.is_none() && !is_target[stage];

        let is_gate: Vec<bool> = (self.tasks.iter().zip(&is_excused))
            .map(|(task, excused)| {
                is_gate(task, wanted) && task.entry.is_none() && task.fallback.is_empty() && !excused
            })
            .collect();
        let fails_by_itself: Vec<bool> = members.iter().map(|list| list.iter().any(|task| is_gate[*task])).collect();
        let can_fail: Vec<bool> =
            members.iter().map(|list| list.iter().any(|task| is_plain[*task] && !is_excused[*task])).collect();

        let mut held = vec![false; self.tasks.len()];
        let mut stage_held = vec![false; self.stages.len()];
        let mut ahead: Vec<usize> = (0..self.tasks.len()).filter(|task| is_gate[*task]).collect();
        let mut stages: Vec<usize> = (0..self.stages.len()).collect();
        loop {
            while let Some(task) = ahead.pop() {
                let stage = self.tasks[task].stage.index();
                for next in &dependents[task] {
                    let passes_on = is_certain(stage) || self.tasks[*next].stage.index() == stage;
                    if passes_on && is_plain[*next] && !held[*next] {
                        held[*next] = true;
                        ahead.push(*next);
                    }
                }
            }
            let Some(stage) = stages.pop() else { return held };
            let fails = |from: usize| {
                self.stages[from].when.is_none() && (fails_by_itself[from] || (stage_held[from] && can_fail[from]))
            };
            let mut ways = self.transitions.iter().filter(|way| way.to.index() == stage && !way.is_backward());
            let is_held = if is_target[stage] {
                ways.all(|way| way.on == StageEnd::Success && fails(way.from.index()))
            } else {
                let mut after = self.stages[stage].after.iter().map(|before| before.index());
                after.any(|before| is_certain(before) && fails(before))
            };
            if is_held && !stage_held[stage] {
                stage_held[stage] = true;
                stages.extend(&later[stage]);
                for task in members[stage].iter().filter(|task| is_plain[**task]) {
                    if !std::mem::replace(&mut held[*task], true) {
                        ahead.push(*task);
                    }
                }
            }
        }
    }
}
