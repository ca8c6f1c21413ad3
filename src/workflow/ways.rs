//! What leads from stage to stage, and the phases that stages make up: `transitions` and `phases` of a file, and whether
//! every stage can be reached. Knows nothing of tasks but who waits for whom.

use std::collections::BTreeSet;

use super::asking;
use super::conditions::{self, Scope};
use super::diagnostic::{Extent, Finding, shown};
use super::foreach::Each;
use super::limits;
use super::names::required_name;
use super::order::{Names, Need};
use super::schema::{Fields, PHASE, Reader, TRANSITION, Word, head};
use super::syntax::Node;
use crate::engine::condition::Condition;
use crate::engine::definition::{
    ExecutionPhase, Join, OnFailure, StageEnd, StateTransition, TaskDefinition, WorkflowStage,
};
use crate::engine::graph::MAX_ROUNDS;
use crate::engine::ids::StageId;

/// A workflow has no more transitions than this.
pub const MAX_TRANSITIONS: usize = 1_000;

/// The transitions, and where the target of each stands in the file.
#[derive(Default)]
pub(super) struct Transitions {
    pub list: Vec<StateTransition>,
    targets: Vec<Extent>,
}

/// Reads `transitions`.
pub(super) fn transitions(reader: &mut Reader, fields: &Fields<'_, '_>, scope: Scope<'_, '_>) -> Transitions {
    let mut all = Transitions::default();
    let Some(node) = fields.get("transitions") else { return all };
    for node in reader.list(node, "transitions") {
        if all.list.len() == MAX_TRANSITIONS {
            let finding = Finding::new(head(node), format!("more than {MAX_TRANSITIONS} transitions"));
            reader.report(finding.label("one too many"));
            return all;
        }
        let Some((transition, at)) = transition(reader, node, scope) else { continue };
        let same = |other: &StateTransition| {
            (other.from, other.to, other.on, &other.when)
                == (transition.from, transition.to, transition.on, &transition.when)
        };
        if let Some(first) = all.list.iter().position(same) {
            let twice = Finding::new(at, "this transition stands twice in `transitions`");
            reader.report(twice.label("a second time").also(all.targets[first], "the first time"));
            continue;
        }
        all.list.push(transition);
        all.targets.push(at);
    }
    all
}

fn transition(reader: &mut Reader, node: &Node<'_>, scope: Scope<'_, '_>) -> Option<(StateTransition, Extent)> {
    let fields = reader.fields(node, &TRANSITION)?;
    let from = end(reader, node, &fields, "from", scope);
    let to = end(reader, node, &fields, "to", scope);
    let choices = [("Success", StageEnd::Success), ("Failure", StageEnd::Failure), ("Over", StageEnd::Over)];
    let when_node = fields.get("when");
    let when = when_node.and_then(|node| conditions::read(reader, scope, Each::No, node, "when"));
    // Who asks a condition and no end means: whatever the end.
    let silent = if when_node.is_some() { StageEnd::Over } else { StageEnd::Success };
    let on = fields.get("on").map_or(Some(silent), |node| reader.choice(node, "on", &choices));
    let bound = fields.get("at_most");
    let at_most = bound.and_then(|node| reader.integer(node, "at_most", 1, i64::from(MAX_ROUNDS)));
    let ((from, _), (to, word)) = (from?, to?);
    let at_most = at_most.and_then(|most| u32::try_from(most).ok());
    let transition = StateTransition { from, to, on: on?, at_most, when };
    if transition.is_backward() && bound.is_none() {
        let (name, itself) = (shown(word.text), if from == to { "itself" } else { "an earlier stage" });
        let message = format!("a loop without a bound: this leads back to {itself}, `{name}`, again and again");
        let help = "say how often at most, for example at_most: 3";
        reader.report(Finding::new(word.at, message).label("back to here").help(help));
    }
    Some((transition, word.at))
}

/// The stage at one end of a transition.
fn end<'n>(
    reader: &mut Reader,
    node: &Node<'_>,
    fields: &Fields<'n, '_>,
    field: &str,
    scope: Scope<'_, '_>,
) -> Option<(StageId, Word<'n>)> {
    let Some(value) = fields.get(field) else {
        let finding = Finding::new(head(node), format!("this transition has no `{field}`"));
        reader.report(finding.label(format!("`{field}` is missing")).help(EXAMPLE));
        return None;
    };
    let word = reader.text(value, field)?;
    let index = scope.stages.one(reader, &word, scope.tasks)?;
    Some((StageId::from(index), word))
}

const EXAMPLE: &str = "for example Transition(from: \"test\", on: Failure, to: \"triage\")";

/// Reads `phases`.
pub(super) fn phases(
    reader: &mut Reader,
    fields: &Fields<'_, '_>,
    stages: &Names<'_>,
    tasks: &Names<'_>,
) -> Vec<ExecutionPhase> {
    let mut all: Vec<ExecutionPhase> = Vec::new();
    let Some(node) = fields.get("phases") else { return all };
    let mut names = Names::new("phase");
    let mut taken: Vec<(StageId, Extent)> = Vec::new();
    for node in reader.list(node, "phases") {
        let Some(fields) = reader.fields(node, &PHASE) else { continue };
        let Some(name) = required_name(reader, node, &fields, "id", "phase") else { continue };
        names.add(reader, name);
        let mut phase = ExecutionPhase {
            name: name.text.to_owned(),
            stages: Vec::new(),
            max_running: None,
            on_failure: OnFailure::GoOn,
        };
        let words = fields.get("stages").map(|node| reader.texts(node, "stages")).unwrap_or_default();
        if words.is_empty() {
            let message = format!("the phase `{}` has no stages", shown(name.text));
            reader.report(Finding::new(name.at, message).label("a phase is made up of stages: stages: [\"build\"]"));
        }
        for word in words {
            let Some(index) = stages.one(reader, &word, tasks) else { continue };
            let id = StageId::from(index);
            if let Some((_, earlier)) = taken.iter().find(|(other, _)| *other == id) {
                let message = format!("the stage `{}` is in a phase already", shown(word.text));
                let finding = Finding::new(word.at, message).label("a second time");
                reader.report(finding.also(*earlier, "the first time").help("a stage is in one phase at most"));
                continue;
            }
            taken.push((id, word.at));
            phase.stages.push(id);
        }
        if let Some(node) = fields.get("max_running") {
            phase.max_running = limits::count(reader, node, "max_running");
        }
        if let Some(node) = fields.get("on_failure") {
            let choices = [
                ("GoOn", OnFailure::GoOn),
                ("Finish", OnFailure::Finish),
                ("Stop", OnFailure::Stop),
                ("Compensate", OnFailure::Compensate),
            ];
            phase.on_failure = reader.choice(node, "on_failure", &choices).unwrap_or_default();
        }
        all.push(phase);
    }
    all
}

/// Reports each stage to which only such transitions lead as wait for it themselves, or ask by their conditions how it
/// ended: a condition is asked once, when the stage before is over.
pub(super) fn check_reachable(
    reader: &mut Reader,
    transitions: &Transitions,
    stages: &[WorkflowStage],
    tasks: &[TaskDefinition],
    scope: Scope<'_, '_>,
) {
    if transitions.list.is_empty() {
        return;
    }
    let waits = waits(stages, tasks);
    // A task of a stage that has begun may be over long before the stage is: of what has begun all may be known.
    let asked = |condition: Option<&Condition>| {
        Some(match asking::need(condition?, scope.params, scope.tasks, scope.stages)? {
            Need::Task(task) => tasks[task as usize].stage,
            Need::Stage(stage) => StageId(stage),
        })
    };
    let stage_asks: Vec<Option<StageId>> = stages.iter().map(|stage| asked(stage.when.as_ref())).collect();
    let way_asks: Vec<Option<StageId>> = transitions.list.iter().map(|way| asked(way.when.as_ref())).collect();
    let by_transition: BTreeSet<StageId> = transitions
        .list
        .iter()
        .filter(|transition| !transition.is_backward())
        .map(|transition| transition.to)
        .collect();
    let mut ends = vec![false; stages.len()];
    let opens = |stage: StageId, ends: &[bool]| {
        let waits = waits[stage.index()].iter().chain(&stage_asks[stage.index()]);
        waits.into_iter().all(|before| ends[before.index()])
    };
    loop {
        let mut is_last = true;
        for index in (0..stages.len()).filter(|index| !ends[*index]).collect::<Vec<_>>() {
            let id = StageId::from(index);
            let leads = |asks: Option<StageId>| asks.is_none_or(|asks| ends[asks.index()]);
            let mut ways = transitions.list.iter().zip(&way_asks);
            let mut led_to = || ways.any(|(way, asks)| way.to == id && ends[way.from.index()] && leads(*asks));
            if opens(id, &ends) && (!by_transition.contains(&id) || led_to()) {
                ends[index] = true;
                is_last = false;
            }
        }
        if is_last {
            break;
        }
    }
    let mut told: BTreeSet<StageId> = BTreeSet::new();
    for (way, at) in transitions.list.iter().zip(&transitions.targets) {
        let waits_for_nothing_stuck = opens(way.to, &ends);
        if ends[way.to.index()] || !by_transition.contains(&way.to) || !waits_for_nothing_stuck || !told.insert(way.to)
        {
            continue;
        }
        let name = shown(&stages[way.to.index()].name);
        let name_of = |stage: StageId| format!("`{}`", shown(&stages[stage.index()].name));
        let (asking, stuck): (Vec<_>, Vec<_>) = transitions
            .list
            .iter()
            .zip(&way_asks)
            .filter(|(other, _)| other.to == way.to)
            .partition(|(other, _)| ends[other.from.index()]);
        let mut why = Vec::new();
        if !stuck.is_empty() {
            let from: Vec<String> = stuck.iter().map(|(other, _)| name_of(other.from)).collect();
            why.push(format!("{} cannot be over before `{name}`", from.join(", ")));
        }
        for (other, asks) in asking {
            let asks =
                asks.map_or_else(String::new, |asks| format!(" for {}, which is not over by then", name_of(asks)));
            why.push(format!("the condition of that from {} asks{asks}", name_of(other.from)));
        }
        let message = format!("the stage `{name}` is never reached: nothing leads to it before it is over itself");
        let help = format!("a stage to which a transition leads starts only by one, and {}", why.join("; "));
        reader.report(Finding::new(*at, message).label("a circle of transitions and waiting").help(help));
    }
}

/// For each stage, those without whose end it cannot be over.
fn waits(stages: &[WorkflowStage], tasks: &[TaskDefinition]) -> Vec<BTreeSet<StageId>> {
    let mut waits: Vec<BTreeSet<StageId>> = stages.iter().map(|stage| stage.after.iter().copied().collect()).collect();
    for task in tasks.iter().filter(|task| task.join == Join::default()) {
        let before = task.after.iter().map(|before| tasks[before.index()].stage);
        waits[task.stage.index()].extend(before.filter(|stage| *stage != task.stage));
    }
    waits
}
