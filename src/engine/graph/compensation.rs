//! Compensation: what was done is undone, what ended last first. It begins by a task's fallback, by the failure of a phase or
//! by the operator; then what runs is stopped and the rest cancelled; once nothing of it runs, a stage is added with a task
//! for each thing to be undone, each after the one before. Knows nothing of how a task that undoes runs: it is one like others.

use std::sync::Arc;

use crate::engine::definition::{
    FallbackStrategy, Join, OnFailure, Requirements, TaskConstraint, TaskDefinition, TaskType, WorkflowStage,
};
use crate::engine::fact::Fact;
use crate::engine::ids::{Attempt, PhaseId, StageId, TaskId};
use crate::engine::message::{StopReason, StopSignal};
use crate::engine::state::{Phase, Saga, Shown, State};

/// The name of the stage that is added.
pub const STAGE: &str = "compensation";

/// A task failed that asks for the whole run to be undone then.
pub(super) fn of_task(state: &State, id: TaskId) -> Option<Vec<Fact>> {
    let asks = state.task(id).phase == Phase::Failed && state.strategy(id) == Some(&FallbackStrategy::Compensate);
    if !asks || state.saga(None).is_some() {
        return None;
    }
    Some(vec![Fact::Compensating { phase: None, why: format!("{} failed", state.name(id)) }])
}

/// A phase failed that is to be undone then.
pub(super) fn of_phase(state: &State, id: PhaseId) -> Option<Vec<Fact>> {
    let phase = state.phase(id);
    if !phase.ended || phase.definition.on_failure != OnFailure::Compensate || state.saga(Some(id)).is_some() {
        return None;
    }
    let why = format!("phase {} failed", phase.definition.name);
    Some(vec![Fact::Compensating { phase: Some(id), why }])
}

/// What of a saga is still to be stopped or cancelled.
pub(super) fn stop(state: &State, saga: &Saga) -> Vec<Fact> {
    let tasks = saga.stages.iter().flat_map(|stage| state.stage(*stage).tasks.iter().copied());
    tasks.filter(|task| state.is_in_saga(*task)).filter_map(|task| stop_one(state, task)).collect()
}

fn stop_one(state: &State, task: TaskId) -> Option<Fact> {
    let entry = state.task(task);
    match &entry.live {
        Some(live) if live.stop.is_none() && live.exited.is_none() => {
            let (attempt, signal) = (Attempt(entry.attempt), StopSignal::Term);
            Some(Fact::Stopping { task, attempt, reason: StopReason::Compensating, signal })
        }
        None if entry.phase.is_open() => Some(Fact::Cancelled { task, why: state.saga_words(task) }),
        _ => None,
    }
}

/// Nothing of it runs any more.
pub(super) fn is_quiet(state: &State, saga: &Saga) -> bool {
    let runs = |stage: &StageId| {
        let counts = &state.stage(*stage).counts;
        counts.of(Shown::Running) + counts.of(Shown::Stopping) > 0
    };
    !saga.stages.iter().any(runs)
}

/// What undoes it is added. Some of it may have been before a crash.
pub(super) fn add(state: &State, saga: &Saga) -> Vec<Fact> {
    let mut facts = Vec::new();
    let wanted: Vec<TaskId> = state.to_compensate(|stage| saga.stages.contains(&stage)).collect();
    let name = match saga.phase {
        None => STAGE.to_owned(),
        Some(phase) => stage_of_phase(&state.phase(phase).definition.name),
    };
    let known = (0..state.stages.len()).map(StageId::from).find(|stage| state.stage_name(*stage) == name);
    let stage = known.unwrap_or(StageId::from(state.stages.len()));
    if known.is_none() && !wanted.is_empty() {
        facts.push(Fact::StageAdded(WorkflowStage { name, after: Vec::new(), when: None }));
    }
    let added = known.map(|stage| state.stage(stage).tasks.iter().copied().collect::<Vec<_>>()).unwrap_or_default();
    let mut next = TaskId::from(state.tasks.len());
    let mut before = None;
    for (index, task) in wanted.iter().enumerate() {
        let id = match added.get(index) {
            Some(id) => *id,
            None => {
                facts.push(Fact::TaskAdded(Arc::new(compensation_of(state, *task, stage, before))));
                let id = next;
                next = TaskId::from(next.index() + 1);
                id
            }
        };
        before = Some(id);
    }
    let tasks = u32::try_from(wanted.len()).expect("no more than there are tasks");
    facts.push(Fact::CompensationsAdded { phase: saga.phase, tasks });
    facts
}

/// The name of the stage that undoes a phase.
pub fn stage_of_phase(phase: &str) -> String {
    format!("{STAGE}-{phase}")
}

/// The task that undoes what another did: where that one ran if that may be, with what that one used.
fn compensation_of(state: &State, task: TaskId, stage: StageId, before: Option<TaskId>) -> TaskDefinition {
    let done = state.definition(task);
    let compensation = done.compensation.as_ref().expect("only what can be undone");
    let mut requirements = Requirements { constraints: Vec::new(), ..done.requirements.clone() };
    requirements.resources.retain(|need| !state.resource(need.resource).definition.limit);
    let place =
        |constraint: &&TaskConstraint| matches!(constraint, TaskConstraint::OnAgent(_) | TaskConstraint::NotOnAgent(_));
    requirements.constraints.extend(done.requirements.constraints.iter().filter(place).cloned());
    let is_bound = requirements.constraints.iter().any(|c| matches!(c, TaskConstraint::OnAgent(_)));
    let ran_on = state.last_agent(task).filter(|_| !is_bound);
    requirements.constraints.extend(ran_on.map(TaskConstraint::PreferAgent));
    TaskDefinition {
        id: compensation.id.clone(),
        stage,
        task_type: TaskType::Run(compensation.command.clone()),
        requirements,
        priority: done.priority,
        deadline: None,
        after: before.into_iter().collect(),
        timeout: compensation.timeout,
        estimate: None,
        retry: compensation.retry.clone(),
        fallback: Vec::new(),
        tags: Vec::new(),
        join: Join::default(),
        entry: None,
        care: None,
        compensation: None,
        compensates: Some(task),
        barrier: None,
        monitor: None,
        made_by: None,
        added_by: None,
        preemptible: false,
    }
}
