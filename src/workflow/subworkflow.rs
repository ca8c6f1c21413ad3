//! `type: Subworkflow("docs.ron")`: another file that runs as part of this one. It is read and checked on its own, with the
//! agents of the outer file, and its stages and tasks are put between those of the outer one: between a task that begins
//! it, in the stage of the task that names it, and that task itself, which waits for all of them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::diagnostic::{Extent, Finding, shown};
use super::foreach::Each;
use super::lower::MAX_TASKS;
use super::names::check_name;
use super::renumber::Renumber;
use super::schema::{Reader, SUBWORKFLOW, Word, describe, head};
use super::syntax::{Kind, Node};
use super::{Machine, Source, command, conditions};
use crate::engine::condition::Condition;
use crate::engine::definition::{
    AgentDefinition, GoalKind, ResourceDefinition, StateTransition, Subworkflow, TaskDefinition, TaskType, Workflow,
    WorkflowStage,
};
use crate::engine::goals::MAX_GOALS;
use crate::engine::ids::{ResourceId, StageId, TaskId};

/// Files name one another no deeper than this.
pub const MAX_DEPTH: usize = 8;

/// Where a file stands: what its own names of files begin from, and what it runs as a part of.
pub(super) struct Origin<'o> {
    /// The folder of the file.
    pub folder: PathBuf,
    /// The files that lead to it, itself the last; and what each is called.
    pub files: Vec<(PathBuf, String)>,
    /// Agents and resources of the outer file, if it is part of one.
    pub outer: Option<(&'o [AgentDefinition], &'o [ResourceDefinition])>,
}

impl Origin<'_> {
    /// Of a file that is part of no other.
    pub fn of(name: &str) -> Self {
        let folder = Path::new(name).parent().map(Path::to_path_buf).unwrap_or_default();
        Self { folder, files: vec![(whole(Path::new(name)), name.to_owned())], outer: None }
    }
}

/// The same for all names of one file.
fn whole(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A file that was read to be part of another.
pub(super) struct Part {
    /// The task that stands for it.
    task: usize,
    at: Extent,
    flow: Workflow,
}

const HELP: &str =
    "for example type: Subworkflow(\"docs.ron\"), or Subworkflow(file: \"docs.ron\", params: { \"target\": \"prod\" })";

/// The `type` is of this kind.
pub(super) fn is_one(node: &Node<'_>) -> bool {
    matches!(&node.kind, Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) if name.text == "Subworkflow")
}

/// Reads the file that `node` names for the task of this number.
pub(super) fn read(
    reader: &mut Reader,
    scope: conditions::Scope<'_, '_>,
    machine: &Machine,
    origin: &Origin<'_>,
    (task, node, each): (usize, &Node<'_>, Each<'_>),
) -> Option<(Subworkflow, Part)> {
    let (file_node, params) = match &node.kind {
        Kind::Tuple(_, items) if items.len() == 1 => (&items[0], None),
        _ => {
            let fields = reader.fields(node, &SUBWORKFLOW)?;
            let Some(file) = fields.get("file") else {
                let finding = Finding::new(head(node), "which file?").label("`file` is missing");
                reader.report(finding.help(HELP));
                return None;
            };
            (file, fields.get("params"))
        }
    };
    let file = text(reader, scope, each, file_node)?;
    let mut given = Vec::new();
    for (key, value) in params.map(|node| reader.map(node, "params")).unwrap_or_default() {
        let text = match &value.kind {
            Kind::Text(_) => text(reader, scope, each, value)?,
            Kind::Word(word @ ("true" | "false")) => (*word).to_owned(),
            Kind::Number(number) => (*number).to_string(),
            _ => {
                let message = format!("the value of `{}` cannot be {}", shown(key.text), describe(value));
                reader.report(Finding::new(head(value), message).label("expected a text, a number, true or false"));
                return None;
            }
        };
        given.push((key.text.to_owned(), text));
    }
    let path = origin.folder.join(&file);
    let mut files = origin.files.clone();
    let own = whole(&path);
    let name = path.display().to_string();
    if files.iter().any(|(other, _)| *other == own) {
        let finding = Finding::new(file_node.at, format!("`{}` is part of itself", shown(&file)));
        let chain: Vec<String> = files.iter().map(|(_, name)| name).chain([&name]).map(|name| shown(name)).collect();
        reader.report(finding.label("this file leads back here").help(chain.join(" → ")));
        return None;
    }
    if files.len() >= MAX_DEPTH {
        let finding = Finding::new(file_node.at, format!("files within files, more than {MAX_DEPTH} deep"));
        reader.report(finding.label("one too deep"));
        return None;
    }
    files.push((own, name.clone()));
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let inner = Origin { folder, files, outer: origin.outer };
    let flow =
        super::open(&path).and_then(|text| super::read(&Source { name: &name, text: &text }, &given, machine, &inner));
    match flow {
        Ok(flow) => {
            let tasks = u32::try_from(flow.tasks.len()).ok()?;
            Some((Subworkflow { file, tasks }, Part { task, at: file_node.at, flow }))
        }
        Err(wrong) => {
            let message = format!("`{}` cannot run as part of this one", shown(&file));
            let count = wrong.len();
            let label = if count == 1 { "an error in it".to_owned() } else { format!("{count} errors in it") };
            reader.report(Finding::new(file_node.at, message).label(label));
            reader.within(wrong);
            None
        }
    }
}

/// A text whose values are known when the file is read.
fn text(reader: &mut Reader, scope: conditions::Scope<'_, '_>, each: Each<'_>, node: &Node<'_>) -> Option<String> {
    let word = command::plain_word(reader, scope, each.row(), node)?;
    if !word.references.is_empty() {
        let finding = Finding::new(node.at, "this value is known only during the run");
        reader.report(finding.label("the file is read before").help("hand it over by a file, or by the shared state"));
        return None;
    }
    Some(crate::engine::posts::words_of(&word))
}

/// Where the outer file's stages and tasks are once all parts stand between them.
pub(super) struct Merged {
    /// For each stage of the outer file: itself, then those of the parts that its tasks stand for.
    pub stages: Vec<Vec<StageId>>,
    /// The number of each task of the outer file.
    pub tasks: Vec<TaskId>,
    /// So many phases are those of the outer file.
    pub phases: usize,
}

/// A new round makes the tasks of a stage anew, but not those that other files have put in their place.
pub(super) fn check_rounds(
    reader: &mut Reader,
    parts: &[Part],
    tasks: &[TaskDefinition],
    transitions: &[StateTransition],
) {
    for part in parts {
        let stage = tasks[part.task].stage;
        if transitions.iter().any(|transition| transition.is_backward() && transition.to == stage) {
            let finding = Finding::new(part.at, "a file cannot run as part of a stage that has several rounds");
            let help = "put the transition back into that file, or let a task run it: \"$QD_BIN\" run FILE --headless";
            reader.report(finding.label("a transition leads back to its stage").help(help));
        }
    }
}

/// Puts `parts` into `flow`.
pub(super) fn merge(reader: &mut Reader, flow: &mut Workflow, parts: Vec<Part>) -> Merged {
    let same = |count: usize| (0..count).map(|index| vec![StageId::from(index)]).collect();
    let unchanged = |flow: &Workflow| Merged {
        stages: same(flow.stages.len()),
        tasks: (0..flow.tasks.len()).map(TaskId::from).collect(),
        phases: flow.phases.len(),
    };
    let all = parts.iter().map(|part| part.flow.tasks.len() + 1).sum::<usize>() + flow.tasks.len();
    if parts.is_empty() || reader.findings.count() > 0 {
        return unchanged(flow);
    }
    if all > MAX_TASKS {
        let finding = Finding::new(parts[0].at, format!("{all} tasks with those of other files, at most {MAX_TASKS}"));
        reader.report(finding.label("too many tasks"));
        return unchanged(flow);
    }
    check_names(reader, flow, &parts);
    let places = Places::of(flow, &parts);
    let before = reader.findings.count();
    let changed = |reader: &mut Reader, at: Extent, result: Result<(), String>| {
        if let Err(why) = result {
            reader.report(
                Finding::new(at, format!("a condition of it cannot stand in this file: {why}")).label("this file"),
            );
        }
    };
    let own = Renumber {
        stages: &places.stages,
        tasks: &places.tasks,
        resources: None,
        fallbacks: 0,
        barriers: 0,
        windows: 0,
        prefix: None,
    };
    changed(reader, parts[0].at, own.apply(flow));
    let mut merged = Merged {
        stages: places.stages.iter().map(|id| vec![*id]).collect(),
        tasks: places.tasks.clone(),
        phases: flow.phases.len(),
    };
    let mut list = Assembly::of(flow, &places);
    for (mut part, place) in parts.into_iter().zip(&places.parts) {
        let prefix = format!("{}/", list.name(place.end));
        let resources = resources(reader, flow, &part, &prefix);
        state(reader, flow, &part);
        let renumber = Renumber {
            stages: &place.stages,
            tasks: &place.tasks,
            resources: Some(&resources),
            fallbacks: flow.fallbacks.len(),
            barriers: flow.barriers.len(),
            windows: flow.windows.len(),
            prefix: Some(&prefix),
        };
        let result = renumber.apply(&mut part.flow);
        changed(reader, part.at, result);
        if reader.findings.count() > before {
            continue;
        }
        merged.stages[place.of].extend(&place.stages);
        list.put(&mut part, place, &prefix);
        let Workflow { transitions, phases, fallbacks, windows, goals, barriers, .. } = part.flow;
        let taken: HashSet<StageId> = phases.iter().flat_map(|phase| phase.stages.iter().copied()).collect();
        let outer = places.stages[place.of];
        for phase in flow.phases.iter_mut().filter(|phase| phase.stages.contains(&outer)) {
            phase.stages.extend(place.stages.iter().filter(|stage| !taken.contains(stage)));
        }
        flow.transitions.extend(transitions);
        flow.phases.extend(phases);
        flow.fallbacks.extend(fallbacks);
        flow.windows.extend(windows);
        flow.goals.extend(goals);
        flow.barriers.extend(barriers);
        if flow.goals.len() > MAX_GOALS {
            let message = format!("more than {MAX_GOALS} milestones and objectives with those of other files");
            reader.report(Finding::new(part.at, message).label("too many"));
        }
    }
    flow.goals.sort_by_key(|goal| goal.kind == GoalKind::Objective);
    if reader.findings.count() == before {
        list.into(flow);
    }
    merged
}

/// No name of a part is one of the outer file.
fn check_names(reader: &mut Reader, flow: &Workflow, parts: &[Part]) {
    let mut tasks: HashSet<String> = flow.tasks.iter().map(|task| task.id.clone()).collect();
    let mut stages: HashSet<String> = flow.stages.iter().map(|stage| stage.name.clone()).collect();
    for part in parts {
        let outer = &flow.tasks[part.task].id;
        let begin = begin_of(outer);
        let longest = part.flow.tasks.iter().map(|task| &task.id).max_by_key(|id| id.len());
        for name in longest.into_iter().map(|id| format!("{outer}/{id}")) {
            check_name(reader, &Word { text: &name, at: part.at }, "task");
        }
        let inner = part.flow.tasks.iter().map(|task| format!("{outer}/{}", task.id)).chain([begin]);
        let doubled = inner.into_iter().find(|name| !tasks.insert(name.clone()));
        let mut inner = part.flow.stages.iter().map(|stage| format!("{outer}/{}", stage.name));
        let doubled = doubled.or_else(|| inner.find(|name| !stages.insert(name.clone())));
        if let Some(name) = doubled {
            let finding = Finding::new(part.at, format!("two are called `{}`", shown(&name)));
            reader.report(
                finding
                    .label("by this file")
                    .help("tasks and stages of it are called by the task, `/` and their own name"),
            );
        }
    }
}

/// The name of the task that begins a part.
fn begin_of(outer: &str) -> String {
    format!("{outer}/begin")
}

/// Where everything goes: parts behind the stage, and around the task, that stand for them.
struct Places {
    /// Of the outer file.
    stages: Vec<StageId>,
    tasks: Vec<TaskId>,
    parts: Vec<Place>,
    all: (usize, usize),
}

struct Place {
    /// The stage of the outer file, as it is numbered there.
    of: usize,
    begin: TaskId,
    end: TaskId,
    stages: Vec<StageId>,
    tasks: Vec<TaskId>,
}

impl Places {
    fn of(flow: &Workflow, parts: &[Part]) -> Self {
        let mut of_task: HashMap<usize, usize> = HashMap::new();
        let mut of_stage: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, part) in parts.iter().enumerate() {
            of_task.insert(part.task, index);
            of_stage.entry(flow.tasks[part.task].stage.index()).or_default().push(index);
        }
        let mut inner: Vec<Vec<StageId>> = vec![Vec::new(); parts.len()];
        let mut stages = Vec::with_capacity(flow.stages.len());
        let mut next = 0;
        let mut take = |count: usize| {
            next += count;
            (next - count)..next
        };
        for stage in 0..flow.stages.len() {
            stages.extend(take(1).map(StageId::from));
            for part in of_stage.get(&stage).into_iter().flatten() {
                inner[*part] = take(parts[*part].flow.stages.len()).map(StageId::from).collect();
            }
        }
        let stage_count = next;
        let mut tasks = Vec::with_capacity(flow.tasks.len());
        let mut placed: Vec<Option<Place>> = parts.iter().map(|_| None).collect();
        let mut next = 0;
        for (index, task) in flow.tasks.iter().enumerate() {
            if let Some(part) = of_task.get(&index) {
                let count = parts[*part].flow.tasks.len();
                let begin = TaskId::from(next);
                let own = (next + 1..next + 1 + count).map(TaskId::from).collect();
                next += 1 + count;
                let stages = std::mem::take(&mut inner[*part]);
                let (of, end) = (task.stage.index(), TaskId::from(next));
                placed[*part] = Some(Place { of, begin, end, stages, tasks: own });
            }
            tasks.push(TaskId::from(next));
            next += 1;
        }
        let parts = placed.into_iter().map(|place| place.expect("each part has a task")).collect();
        Self { stages, tasks, parts, all: (stage_count, next) }
    }
}

/// All stages and tasks in their new order.
struct Assembly {
    stages: Vec<Option<WorkflowStage>>,
    tasks: Vec<Option<TaskDefinition>>,
}

impl Assembly {
    fn of(flow: &mut Workflow, places: &Places) -> Self {
        let (stages, tasks) = places.all;
        let mut all = Self { stages: vec![None; stages], tasks: vec![None; tasks] };
        for (stage, id) in flow.stages.iter().zip(&places.stages) {
            all.stages[id.index()] = Some(stage.clone());
        }
        for (task, id) in flow.tasks.iter().zip(&places.tasks) {
            all.tasks[id.index()] = Some(task.clone());
        }
        all
    }

    fn name(&self, id: TaskId) -> &str {
        self.tasks[id.index()].as_ref().map_or("", |task| &task.id)
    }

    /// Puts a part in: it begins once its task would, all of it is skipped if that is, and the task waits for all of it.
    fn put(&mut self, part: &mut Part, place: &Place, prefix: &str) {
        let flow = &mut part.flow;
        let end = self.tasks[place.end.index()].as_mut().expect("a task of the outer file");
        let begin = TaskDefinition {
            id: begin_of(&end.id),
            task_type: TaskType::Noop,
            after: std::mem::take(&mut end.after),
            join: std::mem::take(&mut end.join),
            entry: end.entry.take(),
            deadline: None,
            estimate: None,
            ..end.clone()
        };
        end.after = std::iter::once(place.begin).chain(awaited(flow, place)).collect();
        end.after.sort_unstable();
        let (priority, tags) = (end.priority, end.tags.clone());
        let entered: HashSet<StageId> = flow
            .transitions
            .iter()
            .filter(|transition| !transition.is_backward())
            .map(|transition| transition.to)
            .collect();
        let is_first =
            |index: usize, stage: &WorkflowStage| stage.after.is_empty() && !entered.contains(&place.stages[index]);
        let first: HashSet<StageId> = (0..)
            .zip(&flow.stages)
            .filter(|(index, stage)| is_first(*index, stage))
            .map(|(index, _)| place.stages[index])
            .collect();
        for (task, id) in flow.tasks.drain(..).zip(&place.tasks) {
            let mut task = task;
            if task.after.is_empty() && first.contains(&task.stage) {
                task.after.push(place.begin);
            }
            task.priority = task.priority.saturating_add(priority);
            task.tags.extend(tags.iter().filter(|tag| !task.tags.contains(tag)).cloned().collect::<Vec<_>>());
            self.tasks[id.index()] = Some(task);
        }
        let ran = format!("task[{}].ok", serde_json::Value::from(format!("{prefix}begin")));
        for (mut stage, id) in flow.stages.drain(..).zip(&place.stages) {
            let text = match &stage.when {
                Some(when) => format!("{ran} && ({})", when.text()),
                None => ran.clone(),
            };
            // too long a condition is let alone: its own part decides
            stage.when = Condition::parse(&text).ok().or(stage.when);
            self.stages[id.index()] = Some(stage);
        }
        self.tasks[place.begin.index()] = Some(begin);
    }

    fn into(self, flow: &mut Workflow) {
        flow.stages = self.stages.into_iter().map(|stage| stage.expect("each place is taken")).collect();
        flow.tasks = self.tasks.into_iter().map(|task| task.expect("each place is taken")).collect();
    }
}

/// The tasks of a part that must be done: not those whose failure a join or a majority may excuse.
fn awaited(flow: &Workflow, place: &Place) -> Vec<TaskId> {
    let joins =
        flow.tasks.iter().filter(|task| task.join.enough.is_some() || matches!(task.task_type, TaskType::Majority(_)));
    let excusable: HashSet<TaskId> = joins.flat_map(|task| task.after.iter().copied()).collect();
    place.tasks.iter().copied().filter(|task| !excusable.contains(task)).collect()
}

/// The number in `flow` of each resource of a part: one of the same name is the same.
fn resources(reader: &mut Reader, flow: &mut Workflow, part: &Part, prefix: &str) -> Vec<ResourceId> {
    let mut ids = Vec::with_capacity(part.flow.resources.len());
    for resource in &part.flow.resources {
        let same = |known: &ResourceDefinition| !known.limit && !resource.limit && known.name == resource.name;
        match flow.resources.iter().position(same) {
            Some(index) => {
                if flow.resources[index].kind != resource.kind {
                    let message = format!("`{}` is another resource in this file", shown(&resource.name));
                    reader.report(Finding::new(part.at, message).label("than in that one"));
                }
                ids.push(ResourceId::from(index));
            }
            None => {
                let mut resource = resource.clone();
                if resource.limit {
                    resource.name.insert_str(0, prefix);
                }
                ids.push(ResourceId::from(flow.resources.len()));
                flow.resources.push(resource);
            }
        }
    }
    ids
}

/// The shared state is one: what both files declare must begin the same.
fn state(reader: &mut Reader, flow: &mut Workflow, part: &Part) {
    for (key, value) in &part.flow.settings.state {
        match flow.settings.state.get(key) {
            Some(own) if own != value => {
                let message = format!("the state `{}` begins with another value in this file", shown(key));
                reader.report(Finding::new(part.at, message).label("than in that one"));
            }
            Some(_) => {}
            None => {
                flow.settings.state.insert(key.clone(), value.clone());
            }
        }
    }
}
