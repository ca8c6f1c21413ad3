//! The ids and names of a lowered workflow changed, so that it can stand in another: each id by a table, each name by a
//! prefix. Every id of a definition passes through here. Knows nothing of why.

use std::sync::Arc;

use crate::engine::care::{Reference, ValueOf};
use crate::engine::condition::{Condition, Name};
use crate::engine::definition::{
    CommandSpec, FallbackStrategy, GateCheck, Param, Probe, ResourceRequirement, Sensor, TaskConstraint,
    TaskDefinition, TaskType, Workflow,
};
use crate::engine::ids::{BarrierId, FallbackId, ResourceId, StageId, TaskId, WindowId};

/// What becomes of what.
pub(super) struct Renumber<'m> {
    /// The new id of each stage.
    pub stages: &'m [StageId],
    /// The new id of each task.
    pub tasks: &'m [TaskId],
    /// The new id of each resource; none if they stay.
    pub resources: Option<&'m [ResourceId]>,
    /// So many fallbacks, barriers and windows stand before its own.
    pub fallbacks: usize,
    pub barriers: usize,
    pub windows: usize,
    /// What is put before each name.
    pub prefix: Option<&'m str>,
}

impl Renumber<'_> {
    /// Changes all of `flow`, but for its settings, agents and resources.
    ///
    /// # Errors
    /// A condition cannot be said with the new names: its text, and why.
    pub fn apply(&self, flow: &mut Workflow) -> Result<(), String> {
        // conditions name parameters, whose values are known here and not where it will stand
        let params = &flow.settings.params.clone();
        let value = |name: &str| params.get(name).map(literal);
        let rename = |name: &Name| -> Option<String> {
            let prefix = self.prefix?;
            Some(match name {
                Name::Param(name) => value(name)?,
                Name::Task(id, field) => Name::Task(format!("{prefix}{id}").into(), *field).to_string(),
                Name::Out(id, name) => Name::Out(format!("{prefix}{id}").into(), name.clone()).to_string(),
                Name::Stage(id, field) => Name::Stage(format!("{prefix}{id}").into(), *field).to_string(),
                Name::Metric(_) | Name::State(_) | Name::Run(_) | Name::System(_) => return None,
            })
        };
        let condition = |condition: &mut Condition| -> Result<(), String> {
            if self.prefix.is_some() {
                let renamed = condition.renamed(&rename).map_err(|why| format!("`{}`: {why}", condition.text()));
                *condition = renamed?;
            }
            Ok(())
        };
        for task in &mut flow.tasks {
            self.task(task);
            if let Some(entry) = task.entry.as_mut()
                && let Some(when) = Arc::make_mut(entry).when.as_mut()
            {
                condition(when)?;
            }
            if let TaskType::QualityGate(gate) = &mut task.task_type {
                for check in &mut Arc::make_mut(gate).checks {
                    match check {
                        GateCheck::Expr(expr) => condition(expr)?,
                        GateCheck::Command(sensor) => self.sensor(sensor),
                        GateCheck::Approval(_) | GateCheck::Quorum(_) => {}
                    }
                }
            }
        }
        for stage in &mut flow.stages {
            self.name(&mut stage.name);
            stage.after.iter_mut().for_each(|id| *id = self.stage(*id));
            stage.when.as_mut().map_or(Ok(()), condition)?;
        }
        for transition in &mut flow.transitions {
            (transition.from, transition.to) = (self.stage(transition.from), self.stage(transition.to));
            transition.when.as_mut().map_or(Ok(()), condition)?;
        }
        for phase in &mut flow.phases {
            self.name(&mut phase.name);
            phase.stages.iter_mut().for_each(|id| *id = self.stage(*id));
        }
        for fallback in &mut flow.fallbacks {
            self.name(&mut fallback.name);
            match &mut fallback.strategy {
                FallbackStrategy::Alternative(command) => self.command(command),
                FallbackStrategy::Degrade(degrade) => {
                    self.references(&mut degrade.references);
                    self.amounts(&mut degrade.uses);
                }
                FallbackStrategy::Retry(_)
                | FallbackStrategy::OtherAgent
                | FallbackStrategy::Skip
                | FallbackStrategy::Escalate(_)
                | FallbackStrategy::Compensate => {}
            }
        }
        for goal in &mut flow.goals {
            self.name(&mut goal.name);
            condition(&mut goal.holds)?;
        }
        flow.barriers.iter_mut().for_each(|barrier| self.name(&mut barrier.name));
        Ok(())
    }

    fn stage(&self, id: StageId) -> StageId {
        self.stages[id.index()]
    }

    fn of_task(&self, id: TaskId) -> TaskId {
        self.tasks[id.index()]
    }

    fn name(&self, name: &mut String) {
        if let Some(prefix) = self.prefix {
            name.insert_str(0, prefix);
        }
    }

    fn task(&self, task: &mut TaskDefinition) {
        self.name(&mut task.id);
        task.stage = self.stage(task.stage);
        task.after.iter_mut().for_each(|id| *id = self.of_task(*id));
        task.after.sort_unstable();
        for id in &mut task.fallback {
            *id = FallbackId::from(id.index() + self.fallbacks);
        }
        task.barrier = task.barrier.map(|id| BarrierId::from(id.index() + self.barriers));
        task.compensates = task.compensates.map(|id| self.of_task(id));
        task.made_by = task.made_by.map(|id| self.of_task(id));
        self.amounts(&mut task.requirements.resources);
        for constraint in &mut task.requirements.constraints {
            match constraint {
                TaskConstraint::SameAgentAs(id) => *id = self.of_task(*id),
                TaskConstraint::Within(id) => *id = WindowId::from(id.index() + self.windows),
                TaskConstraint::OnAgent(_) | TaskConstraint::NotOnAgent(_) | TaskConstraint::PreferAgent(_) => {}
            }
        }
        if let Some(compensation) = &mut task.compensation {
            let compensation = Arc::make_mut(compensation);
            if self.prefix.is_some() {
                compensation.id = super::compensation::name_of(&task.id);
            }
            self.command(&mut compensation.command);
        }
        match &mut task.task_type {
            TaskType::Run(command) => self.command(command),
            TaskType::Sensor(sensor) => self.sensor(sensor),
            TaskType::Foreach(foreach) => {
                let foreach = Arc::make_mut(foreach);
                self.value(&mut foreach.list);
                self.command(&mut foreach.command);
            }
            TaskType::Message(message) => self.command(&mut Arc::make_mut(message).text),
            // its conditions are seen to with all others
            TaskType::QualityGate(_)
            | TaskType::Noop
            | TaskType::Approval(_)
            | TaskType::Wait(_)
            | TaskType::Majority(_)
            | TaskType::Subworkflow(_) => {}
        }
    }

    fn amounts(&self, list: &mut [ResourceRequirement]) {
        if let Some(resources) = self.resources {
            list.iter_mut().for_each(|need| need.resource = resources[need.resource.index()]);
            list.sort_unstable();
        }
    }

    fn sensor(&self, sensor: &mut Arc<Sensor>) {
        if let Probe::Command(command) = &mut Arc::make_mut(sensor).probe {
            self.command(command);
        }
    }

    fn command(&self, command: &mut Arc<CommandSpec>) {
        // shared by all tasks of a `foreach`: made anew only where something changes
        if !command.references.is_empty() {
            self.references(&mut Arc::make_mut(command).references);
        }
    }

    fn references(&self, references: &mut [Reference]) {
        references.iter_mut().for_each(|reference| self.value(&mut reference.value));
    }

    fn value(&self, value: &mut ValueOf) {
        if let ValueOf::Output { task, .. } = value {
            *task = self.of_task(*task);
        }
    }
}

/// A parameter as it is written in a condition.
fn literal(value: &Param) -> String {
    match value {
        Param::Bool(value) => value.to_string(),
        Param::Int(value) if *value < 0 => format!("({value})"),
        Param::Int(value) => value.to_string(),
        Param::Float(value) if value.is_sign_negative() => format!("({value:?})"),
        Param::Float(value) => format!("{value:?}"),
        // what JSON escapes CEL reads
        Param::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
    }
}
