//! Rules over a whole workflow: what tasks must have, all of them or those with a tag. A file that breaks one is not run, and
//! a change of a workflow under way that would break one is refused. Knows nothing of files.

use serde::{Deserialize, Serialize};

use super::definition::{
    GateAction, GateCheck, Join, StageEnd, StateTransition, TaskDefinition, TaskType, WorkflowStage,
};

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Of tasks with this tag; of all without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What they must have.
    pub has: Vec<Has>,
}

/// What a rule can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Has {
    /// It does not run for ever.
    Timeout,
    /// A deadline.
    Deadline,
    /// How long its author thinks it takes.
    Estimate,
    /// More than one try.
    Retry,
    /// Something that follows a failure.
    Fallback,
    /// A check of what it did.
    Validate,
    /// It comes after a gate or an approval that holds it back if it does not hold.
    Gate,
    /// It comes after a person's yes.
    Approval,
    /// What it did can be undone.
    Compensation,
}

impl Has {
    /// What a task lacks that has it not.
    pub fn lacks(self) -> &'static str {
        match self {
            Self::Timeout => "has no timeout",
            Self::Deadline => "has no deadline",
            Self::Estimate => "has no estimate",
            Self::Retry => "is not tried again",
            Self::Fallback => "has no fallback",
            Self::Validate => "checks nothing of what it did",
            Self::Compensation => "cannot be compensated",
            Self::Gate => "comes after no gate",
            Self::Approval => "comes after no approval",
        }
    }
}

/// Each task that breaks a rule: its place, the rule's, and what it lacks; by rule.
pub fn broken(
    rules: &[Rule],
    tasks: &[&TaskDefinition],
    stages: &[&WorkflowStage],
    transitions: &[&StateTransition],
) -> Vec<(usize, usize, Has)> {
    let held_back = |wanted: Has| {
        let is_asked = rules.iter().any(|rule| rule.has.contains(&wanted));
        if is_asked { HeldBack { tasks, stages, transitions }.by(wanted) } else { Vec::new() }
    };
    let (gates, approvals) = (held_back(Has::Gate), held_back(Has::Approval));
    let mut all = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        for wanted in &rule.has {
            for (index, task) in tasks.iter().enumerate() {
                let is_meant = rule.tag.as_ref().is_none_or(|tag| task.tags.contains(tag));
                let keeps = match wanted {
                    Has::Gate => is_gate(task, Has::Gate) || gates[index],
                    Has::Approval => is_gate(task, Has::Approval) || approvals[index],
                    plain => has(task, *plain),
                };
                if is_meant && !keeps {
                    all.push((index, number, *wanted));
                }
            }
        }
    }
    all
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
    tasks: &'w [&'w TaskDefinition],
    stages: &'w [&'w WorkflowStage],
    transitions: &'w [&'w StateTransition],
}

impl HeldBack<'_> {
    fn by(&self, wanted: Has) -> Vec<bool> {
        let tasks = self.tasks;
        let is_plain: Vec<bool> = tasks.iter().map(|task| task.join == Join::default()).collect();
        let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
        // a join that is content with less excuses the failures of what it names
        let mut is_excused = vec![false; tasks.len()];
        for (index, task) in tasks.iter().enumerate() {
            for before in &task.after {
                dependents[before.index()].push(index);
                is_excused[before.index()] |= !is_plain[index];
            }
        }
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.stages.len()];
        tasks.iter().enumerate().for_each(|(index, task)| members[task.stage.index()].push(index));
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

        let is_gate: Vec<bool> = (tasks.iter().zip(&is_excused))
            .map(|(task, excused)| {
                is_gate(task, wanted) && task.entry.is_none() && task.fallback.is_empty() && !excused
            })
            .collect();
        let fails_by_itself: Vec<bool> = members.iter().map(|list| list.iter().any(|task| is_gate[*task])).collect();
        let can_fail: Vec<bool> =
            members.iter().map(|list| list.iter().any(|task| is_plain[*task] && !is_excused[*task])).collect();

        let mut held = vec![false; tasks.len()];
        let mut stage_held = vec![false; self.stages.len()];
        let mut ahead: Vec<usize> = (0..tasks.len()).filter(|task| is_gate[*task]).collect();
        let mut stages: Vec<usize> = (0..self.stages.len()).collect();
        loop {
            while let Some(task) = ahead.pop() {
                let stage = tasks[task].stage.index();
                for next in &dependents[task] {
                    let passes_on = is_certain(stage) || tasks[*next].stage.index() == stage;
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
