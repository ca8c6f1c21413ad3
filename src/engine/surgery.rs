//! Changes to a workflow under way: tasks that are added, changed, removed and brought back. Each is validated against what
//! there is now, in the same way as a file is before a run: no name twice, no circle of waiting, nothing that names what is not
//! there. Knows nothing of files and of how tasks are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::condition::{Name, Read};
use super::decide::{Intent, word};
use super::definition::{Join, StateTransition, TaskDefinition, TaskType, WindowDefinition, WorkflowStage};
use super::fact::Fact;
use super::foreach::TASKS_MOST;
use super::ids::{BarrierId, StageId, TaskId};
use super::message::{Command, Origin, Refusal};
use super::policy::{self, Has, Rule};
use super::state::{Phase, State};

/// So many tasks are added at once at most.
pub const ADDED_MOST: usize = 10_000;
/// A new task waits for so many others at most.
const AFTER_MOST: usize = 100_000;

/// What is said of a command that was made for an earlier state of the workflow: it is to be made again.
pub const OUTDATED: &str = "the workflow has changed meanwhile";

/// Tasks to be added. Their ids count on from those of the tasks that there were when this was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Added {
    /// So many tasks there were.
    pub base: u32,
    /// So many windows there were.
    pub windows_base: u32,
    /// Windows that they name and that were not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowDefinition>,
    /// The tasks.
    pub tasks: Vec<TaskDefinition>,
    /// Tasks that wait and are to wait for these too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<TaskId>,
}

/// Who has added tasks stands in them.
pub(super) fn sign(state: &State, facts: &mut [Fact], by: &Origin) {
    for fact in facts {
        if let Fact::TaskAdded(definition) = fact {
            Arc::make_mut(definition).added_by = Some(state.who(by).into());
        }
    }
}

/// What such a command would come to now.
pub(super) fn intend(state: &State, command: &Command) -> Result<Intent, Refusal> {
    if state.ending.is_some() {
        return refuse("the session is ending");
    }
    let intent = match command {
        Command::Add(added) => add(state, added),
        Command::Edit { task, definition } => edit(state, *task, definition),
        Command::Remove { task } => remove(state, *task),
        Command::Restore { task } => restore(state, *task),
        _ => refuse("this changes no workflow"),
    }?;
    keeps_policy(state, &intent.facts)?;
    Ok(intent)
}

/// No task breaks a rule of the workflow that did not break it before: one that is added or changed, or one that something
/// else held back.
fn keeps_policy(state: &State, facts: &[Fact]) -> Result<(), Refusal> {
    let rules = &state.settings.policy;
    if rules.is_empty() {
        return Ok(());
    }
    let before: Vec<Option<&TaskDefinition>> =
        all(state).map(|id| (!state.task(id).removed).then(|| &**state.definition(id))).collect();
    let mut after = before.clone();
    for fact in facts {
        match fact {
            Fact::TaskAdded(definition) => after.push(Some(definition)),
            Fact::TaskEdited { task, definition } => after[task.index()] = Some(definition),
            Fact::TaskRemoved { task } => after[task.index()] = None,
            Fact::TaskRestored { task } => after[task.index()] = Some(state.definition(*task)),
            _ => {}
        }
    }
    let known: BTreeSet<(usize, usize, Has)> = broken(state, rules, &before).into_iter().collect();
    let Some((task, _, lacks)) = broken(state, rules, &after).into_iter().find(|one| !known.contains(one)) else {
        return Ok(());
    };
    let name = after[task].map_or("", |task| &task.id);
    refuse(format!("policy: {name} {} then", lacks.lacks()))
}

/// As [`policy::broken`], of those that are there: what is not stands for a task that nothing is asked of, and holds nothing back.
fn broken(state: &State, rules: &[Rule], tasks: &[Option<&TaskDefinition>]) -> Vec<(usize, usize, Has)> {
    let numbers: Vec<usize> = (0..tasks.len()).filter(|index| tasks[*index].is_some()).collect();
    let place = |id: &TaskId| numbers.binary_search(&id.index()).ok().map(TaskId::from);
    let there: Vec<TaskDefinition> = numbers
        .iter()
        .filter_map(|index| tasks[*index])
        .map(|task| TaskDefinition { after: task.after.iter().filter_map(place).collect(), ..task.clone() })
        .collect();
    let there: Vec<&TaskDefinition> = there.iter().collect();
    let stages: Vec<&WorkflowStage> = state.stages.iter().map(|stage| &*stage.definition).collect();
    let transitions: Vec<&StateTransition> = state.transitions.iter().map(|one| &one.definition).collect();
    let broken = policy::broken(rules, &there, &stages, &transitions);
    broken.into_iter().map(|(index, rule, has)| (numbers[index], rule, has)).collect()
}

fn add(state: &State, added: &Added) -> Result<Intent, Refusal> {
    let Added { base, windows_base, windows, tasks, before } = added;
    if tasks.is_empty() {
        return refuse("there is no task to add");
    }
    if tasks.len() > ADDED_MOST {
        return refuse(format!("{} tasks at once, at most {ADDED_MOST} are possible", tasks.len()));
    }
    if let Some(there) = there(state, tasks) {
        // Whoever adds them does so once more: an attempt after one that failed, or what was taken back is done again.
        let removed: Vec<TaskId> = there.iter().copied().filter(|id| state.task(*id).removed).collect();
        for task in &removed {
            stage_is_open(state, state.definition(*task).stage)?;
        }
        let (mut facts, mut back) = held_up(state, before, &there)?;
        facts.splice(0..0, removed.iter().map(|task| Fact::TaskRestored { task: *task }));
        back.extend(removed.iter().rev().map(|task| Command::Remove { task: *task }));
        let inverse = (!back.is_empty()).then(|| together(back));
        return Ok(Intent { facts, inverse });
    }
    if *base as usize != state.tasks.len() || *windows_base as usize != state.windows.len() {
        return refuse(OUTDATED);
    }
    if state.tasks.len() + tasks.len() > TASKS_MOST {
        return refuse(format!("the session would have more than {TASKS_MOST} tasks"));
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    if let Some(twice) = tasks.iter().find(|task| !names.insert(&task.id)) {
        return refuse(format!("two tasks would be called {}", twice.id));
    }
    if let Some(taken) = all(state).find(|id| names.contains(state.name(*id))) {
        let gone = if state.task(taken).removed { ", which was removed: undo that, or take another name" } else { "" };
        return refuse(format!("a task is called {} already{gone}", state.name(taken)));
    }
    for task in tasks {
        stage_is_open(state, task.stage)?;
        no_circle(state, task, before, tasks)?;
    }
    let facts = windows.iter().cloned().map(Fact::WindowAdded);
    let mut facts: Vec<Fact> = facts.chain(tasks.iter().map(|task| Fact::TaskAdded(Arc::new(task.clone())))).collect();
    let new: Vec<TaskId> = (0..tasks.len()).map(|index| TaskId::from(*base as usize + index)).collect();
    let (edits, mut back) = held_up(state, before, &new)?;
    facts.extend(edits);
    back.extend(new.into_iter().rev().map(|task| Command::Remove { task }));
    Ok(Intent { facts, inverse: Some(together(back)) })
}

/// Those that wait are to wait for the new ones too; and what takes that back.
fn held_up(state: &State, before: &[TaskId], new: &[TaskId]) -> Result<(Vec<Fact>, Vec<Command>), Refusal> {
    let (mut facts, mut back) = (Vec::new(), Vec::new());
    let distinct: BTreeSet<TaskId> = before.iter().copied().collect();
    for task in distinct {
        if task.index() >= state.tasks.len() {
            return refuse("there is no such task");
        }
        let own = state.definition(task);
        let more: Vec<TaskId> = new.iter().copied().filter(|id| !own.after.contains(id)).collect();
        if more.is_empty() {
            continue;
        }
        can_be_changed(state, task)?;
        let mut definition = (**own).clone();
        if let Some(enough) = &mut definition.join.enough {
            *enough = enough.saturating_add(more.len() as u32);
        }
        definition.after.extend(more);
        definition.after.sort_unstable();
        facts.push(Fact::TaskEdited { task, definition: Arc::new(definition) });
        back.push(Command::Edit { task, definition: Arc::clone(own) });
    }
    Ok((facts, back))
}

fn together(mut commands: Vec<Command>) -> Command {
    if commands.len() == 1 { commands.remove(0) } else { Command::All(commands) }
}

/// The tasks of these names, if all of them are there, in the same stage, and run the same.
fn there(state: &State, tasks: &[TaskDefinition]) -> Option<Vec<TaskId>> {
    let wanted: BTreeMap<&str, &TaskDefinition> = tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    let same = |id: &TaskId| {
        let own = state.definition(*id);
        wanted
            .get(own.id.as_str())
            .is_some_and(|task| task.stage == own.stage && runs_the_same(&task.task_type, &own.task_type))
    };
    let found: Vec<TaskId> = all(state).filter(same).collect();
    (found.len() == wanted.len()).then_some(found)
}

fn runs_the_same(one: &TaskType, other: &TaskType) -> bool {
    match (one, other) {
        (TaskType::Run(one), TaskType::Run(other)) => one == other,
        (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn edit(state: &State, task: TaskId, definition: &Arc<TaskDefinition>) -> Result<Intent, Refusal> {
    let own = state.definition(task);
    can_be_changed(state, task)?;
    if definition.id != own.id {
        return refuse("a task keeps its name");
    }
    if **definition == **own {
        return refuse(format!("nothing of {} would change", own.id));
    }
    let kept = (&own.barrier, &own.compensates, &own.made_by);
    if (&definition.barrier, &definition.compensates, &definition.made_by) != kept {
        return refuse("that cannot be changed of a task that is there");
    }
    if matches!(definition.task_type, TaskType::Foreach(_)) && definition.join != Join::default() {
        return refuse("one that makes tasks of a list waits for all of them");
    }
    if definition.stage != own.stage {
        stage_is_open(state, definition.stage)?;
    }
    no_circle(state, definition, &[task], &[])?;
    let fact = Fact::TaskEdited { task, definition: Arc::clone(definition) };
    Ok(Intent { facts: vec![fact], inverse: Some(Command::Edit { task, definition: Arc::clone(own) }) })
}

/// Why a task cannot be edited as it stands, if it cannot.
///
/// # Errors
/// The reason.
pub fn can_be_changed(state: &State, task: TaskId) -> Result<(), Refusal> {
    let (entry, own) = (state.task(task), state.definition(task));
    let name = &own.id;
    if entry.removed {
        return refuse(format!("{name} was removed"));
    }
    match entry.phase {
        Phase::Waiting | Phase::Arrived | Phase::Ready | Phase::Delayed => {}
        Phase::Awaiting => return refuse(format!("{name} is being decided: answer it, or skip it")),
        phase => return refuse(format!("{name} is {}: only what waits can be changed", word(phase))),
    }
    if entry.fallback.is_some() {
        return refuse(format!("{name} is about to run a fallback"));
    }
    if own.compensates.is_some() || state.stage(own.stage).saga.is_some() {
        return refuse(format!("{name} is part of what is undone"));
    }
    match &own.task_type {
        TaskType::Foreach(foreach) if foreach.made.is_some() => {
            refuse(format!("the tasks of {name} are made already: change these"))
        }
        TaskType::Majority(_) => refuse(format!("{name} stands for its runs: change these")),
        TaskType::Subworkflow(_) => refuse(format!("{name} stands for a file: change its tasks")),
        _ => Ok(()),
    }
}

fn remove(state: &State, task: TaskId) -> Result<Intent, Refusal> {
    let (entry, name) = (state.task(task), state.name(task));
    if entry.removed {
        return refuse(format!("{name} was removed already"));
    }
    if entry.attempt > 0 || !entry.phase.is_open() {
        let how = if entry.phase.is_open() { "has run" } else { word(entry.phase) };
        return refuse(format!("{name} is {how}: only what has not begun can be removed; skip or cancel it"));
    }
    if state.stage(state.definition(task).stage).saga.is_some() {
        return refuse(format!("{name} is part of what is undone"));
    }
    if matches!(state.definition(task).task_type, TaskType::Subworkflow(_)) {
        return refuse(format!("{name} stands for a file: skip it"));
    }
    let is_run = |id: &TaskId| state.definition(*id).task_type.majority().is_some();
    if state.dependents.at(task.index()).iter().any(is_run) {
        return refuse(format!("{name} is one of several runs: remove the task that stands for them"));
    }
    let back = Command::Restore { task };
    let inverse = if entry.held { Command::All(vec![back, Command::Hold { task }]) } else { back };
    Ok(Intent { facts: vec![Fact::TaskRemoved { task }], inverse: Some(inverse) })
}

fn restore(state: &State, task: TaskId) -> Result<Intent, Refusal> {
    if !state.task(task).removed {
        return refuse(format!("{} was not removed", state.name(task)));
    }
    stage_is_open(state, state.definition(task).stage)?;
    Ok(Intent { facts: vec![Fact::TaskRestored { task }], inverse: Some(Command::Remove { task }) })
}

/// Something new may start in this stage.
fn stage_is_open(state: &State, stage: StageId) -> Result<(), Refusal> {
    let entry = state.stage(stage);
    if entry.saga.is_some() {
        return refuse(format!("what stage {} did is compensated", state.stage_name(stage)));
    }
    if entry.phase.is_some_and(|phase| state.phase(phase).ended) {
        return refuse(format!("the phase of stage {} has ended", state.stage_name(stage)));
    }
    Ok(())
}

/// What it waits for does not wait for it: by tasks, by stages, or by its own condition. `own` is itself, if it is there, or who
/// is to wait for it; `new` is what is added with it.
fn no_circle(state: &State, task: &TaskDefinition, own: &[TaskId], new: &[TaskDefinition]) -> Result<(), Refusal> {
    let of = |id: TaskId| match id.index().checked_sub(state.tasks.len()) {
        Some(index) => new.get(index),
        None => state.definitions.get(id.index()).map(|definition| &**definition),
    };
    // A stage waits for all its tasks, and so for the new one; what stands before its own stage does not, as far as that
    // is not changed.
    let moved = own.iter().any(|own| state.definition(*own).stage != task.stage);
    let mut stages: Vec<StageId> = if moved { state.stage(task.stage).definition.after.clone() } else { Vec::new() };
    let mut open: Vec<TaskId> = task.after.iter().copied().chain(asked(state, task)).collect();
    // At its barrier it waits for what the others there wait for.
    let members = |barrier: Option<BarrierId>| barrier.map_or(&[][..], |id| &state.barriers[id.index()].members);
    for other in members(task.barrier).iter().filter(|id| !own.contains(id)) {
        let definition = state.definition(*other);
        open.extend(&definition.after);
        stages.extend(&state.stage(definition.stage).definition.after);
    }
    if open.len() > AFTER_MOST {
        return refuse(format!("{} waits for more than {AFTER_MOST} tasks", task.id));
    }
    let (mut seen, mut seen_stages) = (BTreeSet::new(), BTreeSet::new());
    let circle = |by: &str| refuse(format!("{} would wait for itself, by {by}", task.id));
    loop {
        while let Some(stage) = stages.pop() {
            if stage == task.stage {
                return circle(&format!("stage {}", state.stage_name(stage)));
            }
            if seen_stages.insert(stage) {
                let added = (0..new.len()).filter(|index| new[*index].stage == stage);
                open.extend(added.map(|index| TaskId::from(state.tasks.len() + index)));
                open.extend(state.stage(stage).tasks.iter().filter(|id| state.name(**id) != task.id));
                stages.extend(&state.stage(stage).definition.after);
            }
        }
        let Some(id) = open.pop() else { return Ok(()) };
        let Some(definition) = of(id) else { return refuse("there is no such task") };
        if own.contains(&id) || definition.id == task.id {
            return circle(&definition.id);
        }
        // also what is over: it may be run again
        if seen.insert(id) {
            open.extend(&definition.after);
            open.extend(asked(state, definition));
            open.extend(members(definition.barrier));
            stages.extend(&state.stage(definition.stage).definition.after);
        }
    }
}

/// The tasks that its condition reads.
fn asked(state: &State, task: &TaskDefinition) -> Vec<TaskId> {
    let Some(when) = task.entry.as_ref().and_then(|entry| entry.when.as_ref()) else { return Vec::new() };
    let of = |read: &Read| match read {
        Read::One(Name::Task(id, _) | Name::Out(id, _)) => {
            // before the first condition there are no tasks by name
            state.named(id).or_else(|| all(state).find(|task| *state.name(*task) == **id))
        }
        _ => None,
    };
    when.reads().iter().filter_map(of).collect()
}

fn all(state: &State) -> impl Iterator<Item = TaskId> {
    (0..state.tasks.len()).map(TaskId::from)
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}
