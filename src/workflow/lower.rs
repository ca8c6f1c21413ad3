//! The tree of a file lowered to the engine's [`Workflow`]: defaults filled in, names turned into ids, everything that is
//! wrong reported. First what the file declares (agents, resources, fallbacks, the `outline`), then each task.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use super::asking::Conditions;
use super::barriers::Barriers;
use super::capacity::{self, Places};
use super::care;
use super::compensation;
use super::conditions::{self, Scope};
use super::diagnostic::{Extent, Finding, shown};
use super::fallbacks::Fallbacks;
use super::foreach::{Each, Matrix};
use super::limits::{self, Limits};
use super::names::check_name;
use super::order::{self, Graph, Names, Owner};
use super::outline::{Foreach, Group, Outline, Part, too_large};
use super::params::Params;
use super::places::{places, settings, unknown_resource, used};
use super::policy::Policy;
use super::published::{self, Published};
use super::replicate::{self, Replicate};
use super::retry::retry;
use super::schema::{Fields, RETRY, Reader, TASK, WORKFLOW, Word, Zero, describe, head, peek};
use super::subworkflow::{self, Origin};
use super::syntax::{Kind, Node};
use super::{Machine, command, gate, goals, join, kind, monitor, sensor, units, ways};
use crate::engine::condition::Condition;
use crate::engine::definition::{
    AgentDefinition, CommandLine, CommandSpec, Deadline, Entry, Join, Requirements, ResourceDefinition,
    ResourceRequirement, Retry, TaskConstraint, TaskDefinition, TaskType, Trigger, WindowDefinition, Workflow,
    WorkflowStage,
};
use crate::engine::foreach as engine;
use crate::engine::ids::{AgentId, FallbackId, ResourceId, Span, StageId, TaskId, Time, WindowId};

/// A workflow has no more tasks than this.
pub const MAX_TASKS: usize = 1_000_000;

/// The tasks that `foreach` makes hold no more text of their own than this, in bytes: 1 GiB (less in our unit tests, so
/// that they can reach it).
pub const MAX_EXPANDED_BYTES: usize = if cfg!(test) { 64 << 20 } else { 1 << 30 };

/// Reads a whole workflow; only to be used if `reader` has found nothing wrong.
pub(super) fn workflow(
    reader: &mut Reader,
    root: &Node<'_>,
    given: &[(String, String)],
    machine: &Machine,
    origin: &Origin<'_>,
) -> Workflow {
    if matches!(root.kind, Kind::Word(_) | Kind::Text(_) | Kind::Number(_)) || matches!(root.kind, Kind::Map(_)) {
        reader.report(
            Finding::new(head(root), format!("expected Workflow(…), found {}", describe(root)))
                .label("not a workflow")
                .help(super::SMALLEST),
        );
        return Workflow::default();
    }
    let Some(fields) = reader.fields(root, &WORKFLOW) else { return Workflow::default() };
    let mut params = Params::read(reader, fields.get("params"), given, origin.outer.is_some());
    if let Some(node) = fields.get("state") {
        params.read_state(reader, node);
    }
    let mut settings = settings(reader, &fields);
    settings.state.clone_from(&params.state);
    let controls = limits::controls(reader, &fields);
    match origin.outer {
        None => (settings.max_running, settings.breaker) = (controls.max_running, controls.breaker),
        Some(_) => {
            let misplaced = [controls.breaker_at, controls.pause_while.map(head)];
            for at in misplaced.into_iter().flatten() {
                let finding = Finding::new(at, "this control is of a whole run, and this file is part of another");
                reader.report(finding.label("not here").help("put it into the outer file"));
            }
        }
    }
    let before = reader.findings.count();
    let (agents, resources) = places(reader, &fields, machine, origin.outer);
    let places_are_known = reader.findings.count() == before;
    settings.params.clone_from(&params.values);
    let stages = stage_list(reader, root, &fields);
    let mut outline = Outline::read(reader, stages);
    if let Some(node) = fields.get("gates") {
        let list = reader.list(node, "gates");
        outline.gates(reader, list);
    }
    let (stage_names, task_names) = (outline.stage_names(reader), outline.task_names(reader));
    let published = Published::read(reader, &outline);
    let scope = Scope { params: &params, tasks: &task_names, stages: &stage_names, published: &published };
    let pause_while = controls.pause_while;
    settings.pause_while = pause_while.and_then(|node| conditions::read(reader, scope, Each::No, node, "PauseWhile"));
    let fallbacks = Fallbacks::read(reader, &fields, scope, &resources);
    let barriers = Barriers::read(reader, &fields);
    let mut lowering = Lowering {
        barriers,
        stage_names,
        task_names,
        published,
        reader,
        machine,
        params,
        resource_ids: resources.iter().zip(0..).map(|(resource, id)| (resource.name.clone(), ResourceId(id))).collect(),
        resources,
        agents,
        fallbacks,
        nothing: Arc::new(CommandSpec::new(CommandLine::Exec(Vec::new()))),
        bytes: outline.bytes,
        apart: BTreeSet::new(),
        windows: Vec::new(),
        origin,
        parts: Vec::new(),
        gates_from: outline.groups.iter().find(|group| group.gate.is_some()).map_or(usize::MAX, |group| group.first),
    };
    let (stages, tasks) = lowering.stages_and_tasks(&outline, places_are_known);
    let Lowering {
        barriers,
        reader,
        agents,
        resources,
        fallbacks,
        stage_names,
        task_names,
        published,
        params,
        apart,
        windows,
        parts,
        ..
    } = lowering;
    let scope = Scope { params: &params, tasks: &task_names, stages: &stage_names, published: &published };
    let transitions = ways::transitions(reader, &fields, scope);
    let goals = goals::read(reader, &fields, scope);
    let policy = Policy::read(reader, &fields);
    settings.policy = policy.rules();
    let phases = ways::phases(reader, &fields, &stage_names, &task_names);
    barriers.check(reader, &tasks);
    compensation::check_stages(reader, &tasks, &phases, &stage_names, &outline.stages);
    if reader.findings.count() == 0 {
        ways::check_reachable(reader, &transitions, &stages, &tasks, scope);
        published::Order { tasks: &tasks, stages: &stages, transitions: &transitions.list }.check(reader, &outline);
    }
    if reader.findings.count() == 0 {
        policy.check(reader, &outline, &tasks, &stages, &transitions.list);
    }
    subworkflow::check_rounds(reader, &parts, &tasks, &transitions.list);
    let stage_limits: Vec<(usize, String, u32)> = (0..)
        .zip(&outline.stages)
        .filter_map(|(index, stage)| {
            let most = limits::count(reader, stage.fields.get("max_running")?, "max_running")?;
            Some((index, stage_names.get(index).text.to_owned(), most))
        })
        .collect();
    let mut flow = Workflow {
        settings,
        resources,
        agents,
        stages,
        transitions: transitions.list,
        phases,
        fallbacks: fallbacks.list,
        tasks,
        windows,
        goals,
        barriers: barriers.list,
    };
    let merged = subworkflow::merge(reader, &mut flow, parts);
    let mut limits = Limits { resources: &mut flow.resources, tasks: &mut flow.tasks };
    limits.control(reader, &controls);
    if let Some(most) = controls.max_running.filter(|_| origin.outer.is_some()) {
        limits.part(most);
    }
    for (index, name, most) in stage_limits {
        limits.stage(&merged.stages[index], &name, most);
    }
    let own = merged.phases.min(flow.phases.len());
    flow.phases[..own].iter().for_each(|phase| limits.phase(phase));
    limits.apart(apart.into_iter().map(|(one, other)| [one, other].map(|task| merged.tasks[task as usize])));
    flow
}

fn stage_list<'n, 'a>(reader: &mut Reader, root: &Node<'_>, fields: &Fields<'n, 'a>) -> &'n [Node<'a>] {
    let Some(node) = fields.get("stages") else {
        let finding = Finding::new(head(root), "a workflow without `stages` has nothing to do");
        reader.report(finding.label("`stages` is missing").help(super::SMALLEST));
        return &[];
    };
    let list = reader.list(node, "stages");
    if list.is_empty() && matches!(&node.kind, Kind::List(_)) {
        let finding = Finding::new(head(node), "a workflow without stages has nothing to do");
        reader.report(finding.label("an empty list").help(super::SMALLEST));
    }
    list
}

// ── stages and tasks ────────────────────────────────────────────────────────────────────────────────────────────────

struct Lowering<'m, 'n> {
    /// Where the file stands.
    origin: &'m Origin<'m>,
    /// Files that it runs as parts.
    parts: Vec<subworkflow::Part>,
    reader: &'m mut Reader,
    machine: &'m Machine,
    params: Params,
    agents: Vec<AgentDefinition>,
    resources: Vec<ResourceDefinition>,
    resource_ids: HashMap<String, ResourceId>,
    fallbacks: Fallbacks<'n>,
    stage_names: Names<'n>,
    barriers: Barriers,
    task_names: Names<'n>,
    published: Published,
    /// Stands in for a command that cannot be read.
    nothing: Arc<CommandSpec>,
    /// Bytes that `foreach` has made so far.
    bytes: usize,
    /// Pairs of tasks that must not run side by side.
    apart: BTreeSet<(u32, u32)>,
    windows: Vec<WindowDefinition>,
    /// The tasks from this one on are `gates`.
    gates_from: usize,
}

/// Which parts of a task are not the same for all tasks of its `foreach`.
#[derive(Clone, Copy)]
struct Varies {
    kind: bool,
    command: bool,
    requirements: bool,
    fallback: bool,
    tags: bool,
    entry: bool,
    care: bool,
}

impl Varies {
    const ALL: Self =
        Self { kind: true, command: true, requirements: true, fallback: true, tags: true, entry: true, care: true };

    fn of(matrix: &Matrix<'_>, fields: &Fields<'_, '_>) -> Self {
        let any = |names: &[&str]| names.iter().filter_map(|name| fields.get(name)).any(|node| matrix.is_within(node));
        Self {
            kind: any(&["type"]),
            command: any(&["run", "exec", "env", "cwd"]),
            requirements: any(&["needs", "uses", "agent", "not_on", "prefer", "same_agent_as"]),
            fallback: any(&["fallback"]),
            tags: any(&["tags"]),
            entry: any(&["when"]),
            care: any(&care::FIELDS),
        }
    }
}

/// What a command or a condition can name.
macro_rules! scope {
    ($lowering:expr) => {
        Scope {
            params: &$lowering.params,
            tasks: &$lowering.task_names,
            stages: &$lowering.stage_names,
            published: &$lowering.published,
        }
    };
}

/// The tasks, and for each what it waits for.
type Lowered = (Vec<TaskDefinition>, Vec<Vec<u32>>);

impl Lowering<'_, '_> {
    fn stages_and_tasks(
        &mut self,
        outline: &Outline<'_, '_>,
        places_are_known: bool,
    ) -> (Vec<WorkflowStage>, Vec<TaskDefinition>) {
        let stage_after: Vec<Vec<u32>> =
            outline.stages.iter().enumerate().map(|(index, stage)| self.stage_after(index, &stage.fields)).collect();
        let mut lowered: Lowered = (Vec::with_capacity(outline.ids.len()), Vec::with_capacity(outline.ids.len()));
        for group in &outline.groups {
            self.group(group, &mut lowered);
        }
        let (mut tasks, task_after) = lowered;
        let whens: Vec<Option<Condition>> = (outline.stages.iter())
            .map(|stage| stage.fields.get("when").and_then(|node| self.condition(node, Each::No)))
            .collect();
        let before = self.reader.findings.count();
        self.find_cycles(outline, &stage_after, &task_after, "after");
        if self.reader.findings.count() == before {
            self.find_asking_circles(outline, &stage_after, &task_after, (&tasks, &whens));
            if let Some(joined) = self.barriers.joined(&tasks, &task_after) {
                self.find_cycles(outline, &stage_after, &joined, "barrier");
            }
        }
        if places_are_known {
            let nodes = outline.group_of.iter().map(|group| outline.groups[*group as usize].node);
            capacity::check(self.reader, &self.agents, &self.resources, tasks.iter().zip(nodes));
        }
        for (task, after) in tasks.iter_mut().zip(task_after) {
            task.after = after.into_iter().map(TaskId).collect();
        }
        let group_of = outline.group_of.iter().map(|group| (*group, outline.groups[*group as usize].node));
        join::check(self.reader, tasks.iter().zip(group_of));
        let stages = stage_after.into_iter().zip(whens).enumerate().map(|(index, (after, when))| WorkflowStage {
            name: self.stage_names.get(index).text.to_owned(),
            after: after.into_iter().map(StageId).collect(),
            when,
        });
        (stages.collect(), tasks)
    }

    fn stage_after(&mut self, index: usize, fields: &Fields<'_, '_>) -> Vec<u32> {
        let Some(node) = fields.get("after") else { return Vec::new() };
        let wanted = self.reader.texts(node, "after");
        self.stage_names.resolve(self.reader, index, &wanted, &self.task_names)
    }

    fn condition(&mut self, node: &Node<'_>, each: Each<'_>) -> Option<Condition> {
        let scope = scope!(self);
        conditions::read(self.reader, scope, each, node, "when")
    }

    fn find_cycles(
        &mut self,
        outline: &Outline<'_, '_>,
        stage_after: &[Vec<u32>],
        task_after: &[Vec<u32>],
        field: &str,
    ) {
        if self.task_names.is_overfull() || self.stage_names.is_overfull() {
            return;
        }
        let group = |task: usize| &outline.groups[outline.group_of[task] as usize];
        let stage_of = stages_of(outline);
        let graph = Graph { task_after, stage_of: &stage_of, stage_after, task_asks: &[], stage_asks: &[] };
        let place = |owner: Owner| {
            let after = match owner {
                Owner::Task(task) => peek(group(task).node, field).or_else(|| peek(group(task).node, "after")),
                Owner::Stage(stage) => outline.stages[stage].fields.get("after"),
            };
            after.map(|node| node.at)
        };
        order::find_cycles(self.reader, &graph, &self.task_names, &self.stage_names, place);
    }

    fn find_asking_circles(
        &mut self,
        outline: &Outline<'_, '_>,
        stage_after: &[Vec<u32>],
        task_after: &[Vec<u32>],
        (tasks, whens): (&[TaskDefinition], &[Option<Condition>]),
    ) {
        if self.task_names.is_overfull() || self.stage_names.is_overfull() {
            return;
        }
        let (task_names, stage_names, params) = (&self.task_names, &self.stage_names, &self.params);
        let field = |owner: Owner, field: &str| {
            let node = match owner {
                Owner::Task(task) => peek(outline.groups[outline.group_of[task] as usize].node, field),
                Owner::Stage(stage) => outline.stages[stage].fields.get(field),
            };
            node.map(|node| node.at)
        };
        let conditions = Conditions { tasks, whens, task_names, stage_names, params, field: &field };
        conditions.find_circles(self.reader, &stages_of(outline), stage_after, task_after);
    }

    // ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /// All tasks of one written one. What is wrong is told for the first that it is wrong for.
    fn group(&mut self, group: &Group<'_, '_>, lowered: &mut Lowered) {
        if let Some(fields) = &group.gate {
            return self.gate(group, fields, lowered);
        }
        if let Part::Majority(replicate) = &group.part {
            return self.majority(group, replicate, lowered);
        }
        let before = self.reader.findings.count();
        let Some(fields) = self.reader.fields(group.node, &TASK) else {
            return (0..group.count).for_each(|n| self.push_empty(group, n, lowered));
        };
        let wanted = fields.get("after").map(|node| self.reader.texts(node, "after")).unwrap_or_default();
        let mut first = self.fixed(self.empty(group, 0), &fields);
        let Foreach::Matrix(matrix) = &group.foreach else {
            let each = if matches!(group.foreach, Foreach::None) { Each::No } else { Each::Unknown };
            self.vary(&mut first, group.first, group.node, &fields, each, Varies::ALL);
            let after = self.after(group.first, &wanted, each);
            self.beside(group.first, &fields, each);
            push(lowered, first, after);
            return self.other_runs(group, &fields, &wanted, lowered);
        };
        let row = matrix.row(0);
        self.vary(&mut first, group.first, group.node, &fields, Each::Row(&row), Varies::ALL);
        let after = self.after(group.first, &wanted, Each::Row(&row));
        self.beside(group.first, &fields, Each::Row(&row));
        if let Some(key) = matrix.later() {
            self.of_a_list(&mut first, key, &fields);
            return push(lowered, first, after);
        }
        if self.reader.findings.count() > before {
            let places = matrix.extents(group.node);
            let depends = |at: Extent| places.iter().any(|key| key.start < at.end && at.start < key.end);
            self.reader.findings.note(before, &format!(", with {row}"), depends);
        }
        push(lowered, first, after);
        if self.reader.findings.count() > before {
            return (1..group.count).for_each(|n| self.push_empty(group, n, lowered));
        }
        self.further(group, matrix, &fields, &wanted, lowered);
    }

    /// The runs of a replicated task but for the first: each on an agent of its own, where there are.
    fn other_runs(
        &mut self,
        group: &Group<'_, '_>,
        fields: &Fields<'_, '_>,
        wanted: &[Word<'_>],
        (tasks, task_after): &mut Lowered,
    ) {
        if group.part != Part::Runs {
            return;
        }
        let first = tasks.len() - 1;
        let agents = match ["agent", "prefer", "same_agent_as"].iter().any(|name| fields.get(name).is_some()) {
            true => Vec::new(),
            false => replicate::agents(&self.agents, &tasks[first].requirements),
        };
        for n in 1..group.count {
            let mut task = tasks[first].clone();
            task.id = self.task_names.get(group.first + n).text.to_owned();
            if fields.get("compensate").is_some() {
                task.compensation = compensation::read(self.reader, scope!(self), Each::No, fields, &task);
            }
            let after = self.after(group.first + n, wanted, Each::No);
            self.beside(group.first + n, fields, Each::No);
            tasks.push(task);
            task_after.push(after);
        }
        if agents.len() > 1 {
            for (task, agent) in tasks[first..].iter_mut().zip(agents.iter().cycle()) {
                task.requirements.constraints.push(TaskConstraint::PreferAgent(*agent));
            }
        }
    }

    /// The task that waits for the runs of a replicated one, which were lowered just before.
    fn majority(&self, group: &Group<'_, '_>, replicate: &Replicate, lowered: &mut Lowered) {
        let mut task = self.empty(group, 0);
        let runs = group.first - replicate.runs as usize..group.first;
        if let Some(run) = lowered.0.get(runs.start) {
            (task.priority, task.deadline, task.tags) = (run.priority, run.deadline, run.tags.clone());
        }
        task.task_type = TaskType::Majority(Arc::new(replicate.majority(self.published.of(group.first))));
        task.join.trigger = Trigger::AllOver;
        let after = runs.map(|run| u32::try_from(run).expect("a file has fewer tasks")).collect();
        push(lowered, task, after);
    }

    /// A `foreach` over what another task publishes: one task that stands for those that the run makes.
    fn of_a_list(&mut self, task: &mut TaskDefinition, key: &str, fields: &Fields<'_, '_>) {
        for name in ["type", "enough", "rest", "trigger", "barrier", "not_beside"] {
            if let Some(node) = fields.get(name) {
                let message = format!("`{name}` cannot stand beside a `foreach` over a list that a task makes");
                let help = "let another task come after these, and say it there";
                self.reader.report(Finding::new(head(node), message).label("not together").help(help));
            }
        }
        let entries = fields.get("foreach").map(|node| self.reader.map(node, "foreach")).unwrap_or_default();
        let Some((_, node)) = entries.first() else { return };
        let Some(list) = published::list(self.reader, scope!(self), node) else { return };
        if let TaskType::Run(command) = &task.task_type {
            let (key, command) = (key.to_owned(), Arc::clone(command));
            task.task_type = TaskType::Foreach(Arc::new(engine::Foreach { list, key, command, made: None }));
        }
    }

    /// One of `gates`. All tasks of the stages are known by then.
    fn gate(&mut self, group: &Group<'_, '_>, fields: &Fields<'_, '_>, lowered: &mut Lowered) {
        let mut task = self.fixed(self.empty(group, 0), fields);
        let what = || format!("the gate `{}`", shown(&task.id));
        let gate = gate::read(self.reader, scope!(self), Each::No, group.node, fields, what);
        if let Some(gate) = gate {
            task.task_type = TaskType::QualityGate(Arc::new(gate));
        }
        if let Some(when) = fields.get("when").and_then(|node| self.condition(node, Each::No)) {
            task.entry = Some(Arc::new(Entry { when: Some(when) }));
        }
        task.tags = fields.get("tags").map(|node| self.tags(node, Each::No)).unwrap_or_default();
        task.requirements.constraints = self.constraints(fields, Each::No);
        let gates = self.gates_from;
        let after = gate::comes_after(group.stage, &lowered.0, &lowered.1, |task| task >= gates);
        push(lowered, task, after);
    }

    /// All but the first task of a `foreach`: like the first, but for what differs.
    fn further(
        &mut self,
        group: &Group<'_, '_>,
        matrix: &Matrix<'_>,
        fields: &Fields<'_, '_>,
        wanted: &[Word<'_>],
        lowered: &mut Lowered,
    ) {
        let before = self.reader.findings.count();
        let varies = Varies::of(matrix, fields);
        let mut like = lowered.0.last().cloned().unwrap_or_else(|| self.empty(group, 0));
        like.id = String::new();
        let mut is_wrong = false;
        for n in 1..group.count {
            if is_wrong {
                self.push_empty(group, n, lowered);
                continue;
            }
            let row = matrix.row(n as u64);
            let mut task = like.clone();
            task.id = self.task_names.get(group.first + n).text.to_owned();
            self.vary(&mut task, group.first + n, group.node, fields, Each::Row(&row), varies);
            let after = self.after(group.first + n, wanted, Each::Row(&row));
            self.beside(group.first + n, fields, Each::Row(&row));
            self.bytes += weight(&task, varies);
            if self.reader.findings.count() > before {
                self.reader.findings.note(before, &format!(", with {row}"), |_| true);
                is_wrong = true;
            } else if self.bytes > MAX_EXPANDED_BYTES {
                too_large(self.reader, fields.get("foreach").unwrap_or(group.node));
                is_wrong = true;
            }
            push(lowered, task, after);
        }
    }

    /// A task of which only its name is known.
    fn empty(&self, group: &Group<'_, '_>, n: usize) -> TaskDefinition {
        TaskDefinition {
            id: self.task_names.get(group.first + n).text.to_owned(),
            stage: StageId(group.stage),
            task_type: TaskType::Run(Arc::clone(&self.nothing)),
            requirements: Requirements::default(),
            priority: 0,
            deadline: None,
            after: Vec::new(),
            timeout: None,
            estimate: None,
            retry: Retry::default(),
            fallback: Vec::new(),
            tags: Vec::new(),
            join: Join::default(),
            entry: None,
            care: None,
            compensation: None,
            compensates: None,
            barrier: None,
            monitor: None,
            made_by: None,
            added_by: None,
            preemptible: false,
        }
    }

    fn push_empty(&self, group: &Group<'_, '_>, n: usize, lowered: &mut Lowered) {
        push(lowered, self.empty(group, n), Vec::new());
    }

    /// The task with what no `foreach` changes.
    fn fixed(&mut self, mut task: TaskDefinition, fields: &Fields<'_, '_>) -> TaskDefinition {
        if let Some(node) = fields.get("priority") {
            let number = self.reader.integer(node, "priority", i64::from(i32::MIN), i64::from(i32::MAX));
            task.priority = number.and_then(|number| i32::try_from(number).ok()).unwrap_or_default();
        }
        task.deadline = fields.get("deadline").and_then(|node| self.deadline(node));
        // A gate has a time of its own.
        let timeout = fields.get("timeout").filter(|_| fields.get("checks").is_none());
        task.timeout = timeout.and_then(|node| self.reader.duration(node, "timeout", Zero::Refused));
        task.estimate = fields.get("estimate").and_then(|node| self.reader.duration(node, "estimate", Zero::Allowed));
        task.monitor = monitor::read(self.reader, fields, task.estimate);
        let preemptible = fields.get("preemptible");
        let choices = [("true", true), ("false", false)];
        task.preemptible =
            preemptible.and_then(|node| self.reader.choice(node, "preemptible", &choices)).unwrap_or_default();
        task.join = join::read(self.reader, fields);
        task.retry = fields.get("retry").and_then(|node| retry(self.reader, node, &RETRY)).unwrap_or_default();
        task
    }

    /// Reads the parts of a task that a `foreach` can change.
    fn vary(
        &mut self,
        task: &mut TaskDefinition,
        own: usize,
        node: &Node<'_>,
        fields: &Fields<'_, '_>,
        each: Each<'_>,
        varies: Varies,
    ) {
        if varies.entry {
            let when = fields.get("when").and_then(|node| self.condition(node, each));
            task.entry = when.map(|when| Arc::new(Entry { when: Some(when) }));
        }
        let what = || format!("the task `{}`", shown(&task.id));
        let part = fields.get("type").filter(|node| subworkflow::is_one(node));
        if let Some(node) = part {
            kind::has_no_command(self.reader, fields, node);
            self.subworkflow(task, own, node, each);
        } else if varies.kind
            && let Some(kind) = kind::read(self.reader, scope!(self), &self.machine.now, fields, each, what)
        {
            task.task_type = kind;
        }
        let what = || format!("the task `{}`", shown(&task.id));
        if varies.command
            && fields.get("type").is_none()
            && let Some(spec) = command::read(self.reader, scope!(self), each.row(), node, fields, what)
        {
            task.task_type = TaskType::Run(spec);
        }
        task.barrier = fields.get("barrier").and_then(|node| self.barriers.of_task(self.reader, node, each));
        if fields.get("compensate").is_some() {
            // Each has one of another name.
            task.compensation = compensation::read(self.reader, scope!(self), each, fields, task);
        }
        if varies.care {
            let declared = self.published.of(own);
            task.care = care::read(self.reader, scope!(self), each, fields, declared);
        }
        if varies.requirements {
            task.requirements = self.requirements(fields, each);
        }
        if varies.fallback || (varies.requirements && !task.fallback.is_empty()) {
            task.fallback = fields.get("fallback").map(|node| self.fallback(task, node, each)).unwrap_or_default();
        }
        if varies.tags {
            task.tags = fields.get("tags").map(|node| self.tags(node, each)).unwrap_or_default();
        }
    }

    fn subworkflow(&mut self, task: &mut TaskDefinition, own: usize, node: &Node<'_>, each: Each<'_>) {
        let origin = Origin {
            folder: self.origin.folder.clone(),
            files: self.origin.files.clone(),
            outer: Some((&self.agents, &self.resources)),
        };
        let wanted = (own, node, each);
        if let Some((sub, part)) = subworkflow::read(self.reader, scope!(self), self.machine, &origin, wanted) {
            task.task_type = TaskType::Subworkflow(Arc::new(sub));
            self.parts.push(part);
        }
    }

    fn after(&mut self, own: usize, wanted: &[Word<'_>], each: Each<'_>) -> Vec<u32> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let filled = each.fill(self.reader, wanted);
        let words: SmallVec<[Word<'_>; 4]> = filled.iter().map(|(text, at)| Word { text, at: *at }).collect();
        self.task_names.resolve(self.reader, own, &words, &self.stage_names)
    }

    /// Notes the tasks beside which this one must not run.
    fn beside(&mut self, own: usize, fields: &Fields<'_, '_>, each: Each<'_>) {
        let Some(node) = fields.get("not_beside") else { return };
        let wanted = self.reader.texts(node, "not_beside");
        for other in self.after(own, &wanted, each) {
            let own = u32::try_from(own).expect("a file has fewer tasks");
            self.apart.insert((own.min(other), own.max(other)));
            if self.apart.len() > limits::MAX_APART {
                let message = format!("more than {} pairs of tasks that must not run side by side", limits::MAX_APART);
                let help = "let them use a lock: uses: { \"the-lock\": Exclusive }";
                self.reader.report(Finding::new(head(node), message).label("too many").help(help));
                self.apart.clear();
                return;
            }
        }
    }

    /// Where and when it may start, besides what it needs and uses.
    fn constraints(&mut self, fields: &Fields<'_, '_>, each: Each<'_>) -> Vec<TaskConstraint> {
        let mut list = Vec::new();
        for (field, make) in [
            ("agent", TaskConstraint::OnAgent as fn(AgentId) -> TaskConstraint),
            ("not_on", TaskConstraint::NotOnAgent),
            ("prefer", TaskConstraint::PreferAgent),
        ] {
            let Some(node) = fields.get(field) else { continue };
            let words = match (&node.kind, field) {
                (Kind::List(_), "not_on") => self.reader.texts(node, field),
                _ => self.reader.text(node, field).into_iter().collect(),
            };
            for (text, at) in each.fill(self.reader, &words) {
                let names: Vec<&str> = self.agents.iter().map(|agent| agent.name.as_str()).collect();
                let found = limits::agent(self.reader, &Word { text: &text, at }, &names);
                list.extend(found.map(|index| make(AgentId::from(index))));
            }
        }
        if let Some(node) = fields.get("same_agent_as") {
            let words: Vec<Word<'_>> = self.reader.text(node, "same_agent_as").into_iter().collect();
            for (text, at) in each.fill(self.reader, &words) {
                let found = self.task_names.one(self.reader, &Word { text: &text, at }, &self.stage_names);
                list.extend(found.map(|index| TaskConstraint::SameAgentAs(TaskId::from(index))));
            }
        }
        if let Some(node) = fields.get("window")
            && let Some(window) = limits::window(self.reader, &self.machine.now, node)
        {
            let known = self.windows.iter().position(|known| known.name == window.name);
            let index = known.unwrap_or(self.windows.len());
            if known.is_none() {
                if index == limits::MAX_WINDOWS {
                    let message = format!("more than {} different windows", limits::MAX_WINDOWS);
                    self.reader.report(Finding::new(head(node), message).label("one too many"));
                    return list;
                }
                self.windows.push(window);
            }
            list.push(TaskConstraint::Within(WindowId::from(index)));
        }
        list
    }

    fn requirements(&mut self, fields: &Fields<'_, '_>, each: Each<'_>) -> Requirements {
        let mut requirements = Requirements { constraints: self.constraints(fields, each), ..Requirements::default() };
        if let Some(node) = fields.get("needs") {
            let words = self.reader.texts(node, "needs");
            let words = each.fill(self.reader, &words);
            requirements.capabilities = words.into_iter().map(|(word, _)| word.into_owned()).collect();
            requirements.capabilities.sort_unstable();
            requirements.capabilities.dedup();
        }
        if let Some(node) = fields.get("uses") {
            for (key, value) in self.reader.map(node, "uses") {
                let filled = each.fill(self.reader, &[key]);
                let Some((text, at)) = filled.first() else { continue };
                let key = Word { text, at: *at };
                let Some(id) = self.resource_ids.get(key.text).copied() else {
                    unknown_resource(self.reader, &self.resources, &key);
                    continue;
                };
                if let Some(amount) = used(self.reader, &self.resources, value, key.text, id) {
                    requirements.resources.push(ResourceRequirement { resource: id, amount });
                }
            }
            requirements.resources.sort_unstable();
            // two different keys of the file can become one
            let twice = requirements.resources.windows(2).find(|pair| pair[0].resource == pair[1].resource);
            if let Some([used, _]) = twice {
                let name = shown(&self.resources[used.resource.index()].name);
                let finding = Finding::new(node.at, format!("`{name}` stands twice in `uses`"));
                self.reader.report(finding.label("two of its keys become the same"));
            }
        }
        requirements
    }

    /// `"10m"` from the start of the run, or the next `"14:00"`.
    fn deadline(&mut self, node: &Node<'_>) -> Option<Deadline> {
        let Kind::Text(text) = &node.kind else {
            self.reader.wrong(node, "deadline", "a length of time or a clock time", DEADLINE_HELP);
            return None;
        };
        if !text.contains(':') {
            return match units::duration(text) {
                Ok(Span(0)) => self.no_deadline(node, "it must be later than the start of the run"),
                Ok(span) => Some(Deadline::After(span)),
                Err(why) => self.no_deadline(node, &why),
            };
        }
        let Some(clock) = units::clock(text) else { return self.no_deadline(node, "not a time of a day") };
        match next_time(&self.machine.now, clock) {
            Some(time) => Some(Deadline::At(time)),
            None => self.no_deadline(node, "beyond the end of the calendar"),
        }
    }

    fn no_deadline(&mut self, node: &Node<'_>, why: &str) -> Option<Deadline> {
        self.reader
            .report(Finding::new(node.at, format!("`deadline`: {why}")).label("no deadline").help(DEADLINE_HELP));
        None
    }

    fn fallback(&mut self, task: &TaskDefinition, node: &Node<'_>, each: Each<'_>) -> Vec<FallbackId> {
        let words = self.reader.texts(node, "fallback");
        let words = each.fill(self.reader, &words);
        let words: SmallVec<[Word<'_>; 4]> = words.iter().map(|(text, at)| Word { text, at: *at }).collect();
        let places = Places { agents: &self.agents, resources: &self.resources };
        self.fallbacks.of_task(self.reader, &places, task, &words)
    }

    fn tags(&mut self, node: &Node<'_>, each: Each<'_>) -> Vec<String> {
        let mut tags: Vec<String> = Vec::new();
        let words = self.reader.texts(node, "tags");
        for (text, at) in each.fill(self.reader, &words) {
            check_name(self.reader, &Word { text: &text, at }, "tag");
            if !tags.iter().any(|tag| *tag == text) {
                tags.push(text.into_owned());
            }
        }
        tags
    }
}

fn push((tasks, task_after): &mut Lowered, task: TaskDefinition, after: Vec<u32>) {
    tasks.push(task);
    task_after.push(after);
}

/// About so many bytes a task has of its own, besides its name: what it shares with the others is not counted.
fn weight(task: &TaskDefinition, varies: Varies) -> usize {
    let texts = |list: &[String]| list.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
    let own = task.task_type.template().filter(|_| varies.command);
    let command = own.map_or(0, |spec| command::size(spec) + spec.cwd.as_ref().map_or(0, String::len));
    let requirements = &task.requirements;
    let sensor = task.task_type.sensor().filter(|_| varies.kind).map_or(0, sensor::size);
    command
        + sensor
        + task
            .compensation
            .as_ref()
            .map_or(0, |compensation| compensation.id.len() + command::size(&compensation.command))
        + texts(&task.tags)
        + texts(&requirements.capabilities)
        + task.care.as_ref().filter(|_| varies.care).map_or(0, |care| care.size())
        + size_of_val(requirements.resources.as_slice())
        + size_of_val(task.fallback.as_slice())
}

const DEADLINE_HELP: &str = "from the start of the run: \"90s\", \"10m\", \"1h30m\"; or a clock time: \"14:00\"";

/// The next time that the clock shows `clock`, in the time zone of `now`; in a gap of that day, just after it.
pub(super) fn next_time(now: &jiff::Zoned, clock: jiff::civil::Time) -> Option<Time> {
    let on = |date: jiff::civil::Date| date.to_datetime(clock).to_zoned(now.time_zone().clone()).ok();
    let today = on(now.date())?;
    let next = if today > *now { today } else { on(now.date().tomorrow().ok()?)? };
    u64::try_from(next.timestamp().as_millisecond()).ok().map(Time)
}

/// The stage of each task.
fn stages_of(outline: &Outline<'_, '_>) -> Vec<u32> {
    outline.group_of.iter().map(|group| outline.groups[*group as usize].stage).collect()
}
