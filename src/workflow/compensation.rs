//! `compensate` of a task: how what it did is undone. A text is a shell command; `Compensation(…)` says more. It runs with
//! the environment and in the folder of the task. Knows nothing of when it is run.

use std::sync::Arc;

use super::command;
use super::conditions::Scope;
use super::diagnostic::{Finding, shown};
use super::foreach::Each;
use super::order::Names;
use super::outline::StageOutline;
use super::retry::retry;
use super::schema::{COMPENSATION, Fields, RETRY, Reader, Zero, head};
use super::syntax::Kind;
use crate::engine::care::Slot;
use crate::engine::definition::{CommandSpec, Compensation, ExecutionPhase, TaskDefinition};
use crate::engine::graph::compensation::{STAGE, stage_of_phase};

/// What the task is called that undoes this one.
pub(super) fn name_of(task: &str) -> String {
    format!("undo-{task}")
}

/// Reads `compensate`, if the task has it.
pub(super) fn read(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    each: Each<'_>,
    fields: &Fields<'_, '_>,
    task: &TaskDefinition,
) -> Option<Arc<Compensation>> {
    let node = fields.get("compensate")?;
    let own = task.task_type.command()?;
    let id = name_of(&task.id);
    if scope.tasks.find(&id).is_some() {
        let message = format!("a task is called `{}` already", shown(&id));
        let finding = Finding::new(head(node), message).label("what this adds would be called so");
        reader.report(finding.help("give that task another id"));
        return None;
    }
    if !matches!(&node.kind, Kind::Struct(..) | Kind::Tuple(Some(_), _)) {
        let spec = command::shell(reader, scope, each.row(), node)?;
        let command = Arc::new(inherited(own, &spec));
        return Some(Arc::new(Compensation {
            id,
            command,
            timeout: None,
            retry: Default::default(),
            after_failure: false,
        }));
    }
    let fields = reader.fields(node, &COMPENSATION)?;
    let timeout = fields.get("timeout").map(|node| reader.duration(node, "timeout", Zero::Refused));
    let retry = fields.get("retry").map(|node| retry(reader, node, &RETRY));
    let after_failure = fields
        .get("after_failure")
        .map(|node| reader.choice(node, "after_failure", &[("true", true), ("false", false)]));
    let what = || format!("the compensation of `{}`", shown(&task.id));
    let spec = command::read(reader, scope, each.row(), node, &fields, what)?;
    Some(Arc::new(Compensation {
        id,
        command: Arc::new(inherited(own, &spec)),
        timeout: timeout.map_or(Some(None), |span| span.map(Some))?,
        retry: retry.unwrap_or_else(|| Some(Default::default()))?,
        after_failure: after_failure.unwrap_or(Some(false))?,
    }))
}

/// The command of a compensation, with what it has of the task's own: the variables that its author set, and the folder.
fn inherited(own: &CommandSpec, spec: &CommandSpec) -> CommandSpec {
    let of_cwd = |spec: &CommandSpec| spec.references.iter().filter(|r| r.slot == Slot::Cwd).cloned().collect();
    let has_own = spec.cwd.is_some();
    let folder = if has_own { spec } else { own };
    let (cwd, references) = (folder.cwd.clone(), of_cwd(folder));
    let mut all = CommandSpec { run: spec.run.clone(), env: Vec::new(), cwd, references };
    for (index, variable) in own.env.iter().enumerate().filter(|(_, (name, _))| !name.starts_with("QD_")) {
        let of_it = own.references.iter().filter(|r| matches!(r.slot, Slot::Variable(of) if of as usize == index));
        let references: Vec<_> =
            of_it.map(|r| crate::engine::care::Reference { slot: Slot::Variable(0), ..r.clone() }).collect();
        all.set_env(std::slice::from_ref(variable), &references);
    }
    all.set_env(&spec.env, &spec.references);
    all.references.extend(spec.references.iter().filter(|r| matches!(r.slot, Slot::Word(_))).cloned());
    all.references.sort_by_key(|reference| (reference.slot, reference.at));
    all
}

/// Reports stages that are called like those that are added.
pub(super) fn check_stages(
    reader: &mut Reader,
    tasks: &[TaskDefinition],
    phases: &[ExecutionPhase],
    names: &Names<'_>,
    stages: &[StageOutline<'_, '_>],
) {
    if tasks.iter().all(|task| task.compensation.is_none()) {
        return;
    }
    let added = std::iter::once(STAGE.to_owned()).chain(phases.iter().map(|phase| stage_of_phase(&phase.name)));
    for name in added {
        if let Some(index) = names.find(&name) {
            let message = format!("no stage can be called `{}` here", shown(&name));
            let finding =
                Finding::new(stages[index].name.map_or(stages[index].at, |name| name.at), message).label("another id");
            reader.report(finding.help("the tasks that compensate others are added in a stage of this name"));
        }
    }
}
