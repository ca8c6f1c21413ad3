//! Tasks written for a workflow that is under way: read, checked and lowered like those of a file, in a file that is made of what
//! they can name. That file has a stub for each task there is (of many tasks only for those that the text can mean), with
//! what it publishes, and stands in for the one that the run began with, whose text may be gone. Knows nothing of how tasks
//! come into a run.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::diagnostic::{Extent, Finding, shown};
use super::renumber::Renumber;
use super::schema::{Reader, describe, head, peek};
use super::subworkflow::{self, Origin};
use super::suggest::did_you_mean;
use super::syntax::{self, Kind, Node};
use super::{Diagnostics, Machine, Source, care, lower};
use crate::engine::definition::{
    AgentDefinition, Param, ResourceDefinition, ResourceKind, ResourceRequirement, TaskConstraint, TaskDefinition,
    WindowDefinition, Workflow,
};
use crate::engine::ids::{Amount, StageId, TaskId, WindowId};
use crate::engine::state::State;
use crate::engine::surgery::Added;

/// Of so many tasks each has a stub, whatever the text says: then a wrong name gets its hint.
const ALL_STUBS: usize = 2_000;

/// What cannot be said of a task of a workflow under way, and why.
const NOT_LIVE: [(&str, &str); 2] = [
    ("barrier", "how many wait at a barrier is fixed when the run begins"),
    ("not_beside", "let both use a lock: uses: { \"the-lock\": Exclusive }"),
];

/// Reads one task or a list of tasks, to be added to the workflow of `state`; those that name no `stage` are of `stage`.
///
/// # Errors
/// Everything that is wrong with them.
pub fn tasks(
    source: &Source<'_>,
    state: &State,
    stage: Option<StageId>,
    machine: &Machine,
) -> Result<Added, Diagnostics> {
    let mut reader = Reader::default();
    let mut added = None;
    match syntax::parse(source.text) {
        Err(finding) => reader.report(*finding),
        Ok(node) => {
            let written = match node.kind {
                Kind::List(items) => items,
                _ => vec![node],
            };
            added = Graft::new(state, machine).add(&mut reader, written, stage);
        }
    }
    match added {
        Some(added) if reader.findings.count() == 0 => Ok(added),
        _ => {
            if reader.findings.count() == 0 {
                reader.report(Finding::whole("there is no task").help(HELP));
            }
            Err(reader.told(source))
        }
    }
}

/// Reads what is to change of a task that waits: the fields of a `Task(…)` that are to be others than they are. A field that is
/// `None` is absent from then on.
///
/// # Errors
/// Everything that is wrong with them.
pub fn edit(
    source: &Source<'_>,
    state: &State,
    task: TaskId,
    machine: &Machine,
) -> Result<TaskDefinition, Diagnostics> {
    let mut reader = Reader::default();
    let mut changed = None;
    match syntax::parse(source.text) {
        Err(finding) => reader.report(*finding),
        Ok(node) => changed = Graft::new(state, machine).change(&mut reader, node, task),
    }
    match changed {
        Some(changed) if reader.findings.count() == 0 => Ok(changed),
        _ => Err(reader.told(source)),
    }
}

const HELP: &str = "for example Task(id: \"extra\", run: \"make extra\", after: [\"build\"])";

struct Graft<'s> {
    state: &'s State,
    machine: &'s Machine,
    agents: Vec<AgentDefinition>,
    resources: Vec<ResourceDefinition>,
}

impl<'s> Graft<'s> {
    fn new(state: &'s State, machine: &'s Machine) -> Self {
        let resource = |(index, entry): (usize, &crate::engine::state::Resource)| {
            let mut definition = entry.definition.clone();
            if definition.limit {
                // no task names a limit
                definition.name = format!("\0{index}");
            }
            if let ResourceKind::Pool(amount) = &mut definition.kind {
                *amount = entry.capacity;
            }
            definition
        };
        let agent = |agent: &crate::engine::state::Agent| AgentDefinition {
            slots: agent.slots.max(1),
            resources: agent.resources.iter().map(|(id, amount, _)| (*id, *amount)).collect(),
            ..(*agent.definition).clone()
        };
        let resources = state.resources.iter().enumerate().map(resource).collect();
        Self { state, machine, agents: state.agents.iter().map(agent).collect(), resources }
    }

    fn add(&self, reader: &mut Reader, written: Vec<Node<'_>>, default: Option<StageId>) -> Option<Added> {
        let mut placed = Vec::with_capacity(written.len());
        for mut node in written {
            let stage = self.stage(reader, &mut node, default);
            refuse_not_live(reader, &node, &["barrier", "not_beside"]);
            placed.push((stage?, node));
        }
        if placed.is_empty() || reader.findings.count() > 0 {
            return None;
        }
        let base = self.state.tasks.len();
        let (flow, known) = self.lower(reader, placed, None)?;
        let (tasks, windows) = self.taken(reader, flow, &known, None)?;
        let windows_base = u32::try_from(self.state.windows.len()).ok()?;
        Some(Added { base: u32::try_from(base).ok()?, windows_base, windows, tasks, before: Vec::new() })
    }

    fn change(&self, reader: &mut Reader, mut node: Node<'_>, task: TaskId) -> Option<TaskDefinition> {
        let own = self.state.definition(task);
        let not = ["barrier", "not_beside", "foreach", "replicate"];
        refuse_not_live(reader, &node, &not);
        let stage = self.stage(reader, &mut node, Some(own.stage))?;
        let id = quote(&own.id);
        if let Some(written) = peek(&node, "id")
            && !matches!(&written.kind, Kind::Text(text) if **text == own.id)
        {
            reader.report(Finding::new(written.at, "a task keeps its name").label(format!("it is {id}")));
            return None;
        }
        let Kind::Struct(_, fields) = &mut node.kind else {
            let what = format!("expected fields of a task, found {}", describe(&node));
            reader.report(Finding::new(head(&node), what).label("for example timeout: \"5m\", after: [\"build\"]"));
            return None;
        };
        fields.retain(|(name, _)| name.text != "id");
        let named: Vec<String> = fields.iter().map(|(name, _)| name.text.to_owned()).collect();
        let has = |name: &str| named.iter().any(|other| other == name);
        if (has("env") || has("cwd")) && !has("run") && !has("exec") {
            let finding = Finding::new(head(&node), "`env` and `cwd` belong to a command").label("without one");
            reader.report(finding.help("say the command with them: run: \"…\""));
            return None;
        }
        let stub = format!("Task(id: {id}, run: \":\")");
        let mut node = node;
        let stub = syntax::parse(&stub).ok()?;
        let Kind::Struct(_, given) = stub.kind else { return None };
        let runs = has("run") || has("exec") || has("type");
        let Kind::Struct(_, fields) = &mut node.kind else { return None };
        for (mut name, mut value) in given.into_iter().filter(|(name, _)| name.text == "id" || !runs) {
            name.at = Extent::new(0, 0);
            unplace(&mut value);
            fields.push((name, value));
        }
        let (flow, known) = self.lower(reader, vec![(stage, node)], Some(task))?;
        let (mut tasks, windows) = self.taken(reader, flow, &known, Some(task))?;
        if !windows.is_empty() {
            let finding = Finding::whole("a new window cannot be given to a task that is there");
            reader.report(finding.help("one that another task has can; or add another task with it"));
            return None;
        }
        let new = if tasks.len() == 1 { tasks.remove(0) } else { return None };
        Some(self.merged(own, new, &has))
    }

    /// What it is from now on: what is said anew, and the rest as it was.
    fn merged(&self, own: &TaskDefinition, new: TaskDefinition, has: &dyn Fn(&str) -> bool) -> TaskDefinition {
        let mut task = own.clone();
        task.stage = new.stage;
        if has("after") {
            task.after = new.after;
        }
        if ["after", "enough", "rest", "trigger"].iter().any(|name| has(name)) {
            task.join = new.join;
            task.join.enough = task.join.enough.map(|enough| enough.min(task.after.len() as u32)).filter(|n| *n > 0);
        }
        if ["run", "exec", "type"].iter().any(|name| has(name)) {
            task.task_type = new.task_type;
        }
        if has("needs") {
            task.requirements.capabilities = new.requirements.capabilities;
        }
        let is_limit = |need: &ResourceRequirement| self.state.resource(need.resource).definition.limit;
        let old = std::mem::take(&mut task.requirements.resources);
        let (used, was_used): (&[ResourceRequirement], Vec<ResourceRequirement>) =
            (&new.requirements.resources, old.into_iter().filter(|need| !is_limit(need)).collect());
        let uses = if has("uses") { used.iter().copied().filter(|need| !is_limit(need)).collect() } else { was_used };
        if has("tags") {
            task.tags = new.tags;
        }
        for (name, is_of) in [
            ("agent", (|one| matches!(one, TaskConstraint::OnAgent(_))) as fn(&TaskConstraint) -> bool),
            ("not_on", |one| matches!(one, TaskConstraint::NotOnAgent(_))),
            ("prefer", |one| matches!(one, TaskConstraint::PreferAgent(_))),
            ("same_agent_as", |one| matches!(one, TaskConstraint::SameAgentAs(_))),
            ("window", |one| matches!(one, TaskConstraint::Within(_))),
        ] {
            if has(name) {
                task.requirements.constraints.retain(|one| !is_of(one));
                let said = new.requirements.constraints.iter().filter(|one| is_of(one));
                task.requirements.constraints.extend(said.cloned());
            }
        }
        task.requirements.resources = uses;
        self.limit(&mut task, Some(own));
        if has("priority") {
            task.priority = new.priority;
        }
        if has("deadline") {
            task.deadline = new.deadline;
        }
        if has("timeout") {
            task.timeout = new.timeout;
        }
        if has("estimate") {
            task.estimate = new.estimate;
        }
        if has("retry") {
            task.retry = new.retry;
        }
        if has("fallback") {
            task.fallback = new.fallback;
        }
        if has("when") {
            task.entry = new.entry;
        }
        if care::FIELDS.iter().any(|name| has(name)) {
            task.care = new.care;
        }
        if has("compensate") {
            task.compensation = new.compensation;
        }
        if has("preemptible") {
            task.preemptible = new.preemptible;
        }
        if has("monitor") {
            task.monitor = new.monitor;
        }
        task
    }

    /// The stage that a task names, taken out of it.
    fn stage(&self, reader: &mut Reader, node: &mut Node<'_>, default: Option<StageId>) -> Option<StageId> {
        let only = (self.state.stages.len() == 1).then_some(StageId(0));
        let names = || (0..self.state.stages.len()).map(|index| self.state.stage_name(StageId::from(index)));
        let few = || names().take(20).map(shown).collect::<Vec<_>>().join(", ");
        let at = head(node);
        let Kind::Struct(_, fields) = &mut node.kind else { return default.or(only).or(Some(StageId(0))) };
        let Some(place) = fields.iter().position(|(name, _)| name.text == "stage") else {
            if default.or(only).is_none() {
                let finding = Finding::new(at, "of which stage?").label("`stage` is missing");
                reader.report(finding.help(format!("there are {}", few())));
            }
            return default.or(only);
        };
        let (_, value) = fields.remove(place);
        let word = reader.text(&value, "stage")?;
        let found = names().position(|name| name == word.text);
        if found.is_none() {
            let finding = Finding::new(word.at, format!("no stage is called `{}`", shown(word.text)));
            let help = did_you_mean(word.text, names()).unwrap_or_else(|| format!("there are {}", few()));
            reader.report(finding.label("unknown").help(help));
        }
        found.map(StageId::from)
    }

    /// The workflow of stubs with what was written in it, and the number that each stub stands for, by name.
    fn lower(
        &self,
        reader: &mut Reader,
        placed: Vec<(StageId, Node<'_>)>,
        own: Option<TaskId>,
    ) -> Option<(Workflow, HashMap<String, TaskId>)> {
        let (text, known) = self.stubs(&placed, own);
        let Ok(mut root) = syntax::parse(&text) else {
            reader.report(Finding::whole("the workflow under way cannot be written down"));
            return None;
        };
        unplace(&mut root);
        {
            let Kind::Struct(_, fields) = &mut root.kind else { return None };
            let (_, stages) = fields.iter_mut().find(|(name, _)| name.text == "stages")?;
            let Kind::List(stages) = &mut stages.kind else { return None };
            for (stage, node) in placed {
                let Kind::Struct(_, fields) = &mut stages.get_mut(stage.index())?.kind else { return None };
                let (_, tasks) = fields.iter_mut().find(|(name, _)| name.text == "tasks")?;
                let Kind::List(tasks) = &mut tasks.kind else { return None };
                tasks.push(node);
            }
        }
        let folder = self.state.settings.cwd.as_deref().map(PathBuf::from).unwrap_or_default();
        let origin = Origin { folder, files: Vec::new(), outer: Some((&self.agents, &self.resources)) };
        let flow = lower::workflow(reader, &root, &[], self.machine, &origin);
        (reader.findings.count() == 0).then_some((flow, known))
    }

    /// Text of a workflow in which everything has a stub that `placed` can name.
    fn stubs(&self, placed: &[(StageId, Node<'_>)], own: Option<TaskId>) -> (String, HashMap<String, TaskId>) {
        let state = self.state;
        let means = Means::of(placed.iter().map(|(_, node)| node), own.is_none());
        let all = state.tasks.len() <= ALL_STUBS;
        let mut known = HashMap::new();
        let mut text = String::from("Workflow(");
        let values = |text: &mut String, field: &str, list: &indexmap::IndexMap<String, Param>| {
            let entries: Vec<String> =
                list.iter().map(|(name, value)| format!("{}: {}", quote(name), literal(value))).collect();
            if !entries.is_empty() {
                let _ = write!(text, "{field}: {{ {} }}, ", entries.join(", "));
            }
        };
        values(&mut text, "params", &state.settings.params);
        values(&mut text, "state", &state.settings.state);
        let fallbacks: Vec<String> =
            state.fallbacks.iter().map(|fallback| format!("{}: Skip", quote(&fallback.name))).collect();
        if !fallbacks.is_empty() {
            let _ = write!(text, "fallbacks: {{ {} }}, ", fallbacks.join(", "));
        }
        text.push_str("stages: [");
        for index in 0..state.stages.len() {
            let stage = state.stage(StageId::from(index));
            let after: Vec<String> = stage.definition.after.iter().map(|id| quote(state.stage_name(*id))).collect();
            let _ =
                write!(text, "Stage(id: {}, after: [{}], tasks: [", quote(&stage.definition.name), after.join(", "));
            // a stage has at least one
            let mut any = placed.iter().any(|(id, _)| id.index() == index);
            for id in stage.tasks.iter().filter(|id| Some(**id) != own && !state.task(**id).removed) {
                let definition = state.definition(*id);
                if means.makes(&definition.id) || (!all && !means.names(&definition.id)) {
                    continue;
                }
                let published = definition.care.iter().flat_map(|care| &care.publishes);
                let published: Vec<String> =
                    published.map(|publish| format!("{}: Publish({})", quote(&publish.name), publish.of)).collect();
                let _ = write!(
                    text,
                    "Task(id: {}, run: \":\", publishes: {{ {} }}), ",
                    quote(&definition.id),
                    published.join(", ")
                );
                known.insert(definition.id.clone(), *id);
                any = true;
            }
            if !any {
                let _ = write!(text, "Task(id: \"(nothing of stage {index})\", run: \":\")");
            }
            text.push_str("]), ");
        }
        text.push_str("])");
        (text, known)
    }

    /// What of a lowered workflow was written, with the numbers that it has in the run, and the windows that are new.
    fn taken(
        &self,
        reader: &mut Reader,
        mut flow: Workflow,
        known: &HashMap<String, TaskId>,
        own: Option<TaskId>,
    ) -> Option<(Vec<TaskDefinition>, Vec<WindowDefinition>)> {
        let nothing = |task: &TaskDefinition| task.id.starts_with("(nothing of stage ");
        let mut next = self.state.tasks.len();
        let mut is_new = Vec::with_capacity(flow.tasks.len());
        let mut ids = Vec::with_capacity(flow.tasks.len());
        for task in &flow.tasks {
            let stub = known.get(&task.id).copied();
            is_new.push(stub.is_none() && !nothing(task));
            ids.push(match (stub, own) {
                (Some(id), _) => id,
                (None, _) if nothing(task) => TaskId(0),
                (None, Some(own)) => own,
                (None, None) => {
                    next += 1;
                    TaskId::from(next - 1)
                }
            });
        }
        let stages: Vec<StageId> = (0..flow.stages.len()).map(StageId::from).collect();
        let (fallbacks, barriers, windows) = (0, 0, self.state.windows.len());
        let renumber =
            Renumber { stages: &stages, tasks: &ids, resources: None, fallbacks, barriers, windows, prefix: None };
        if let Err(why) = renumber.apply(&mut flow) {
            reader.report(Finding::whole(why));
            return None;
        }
        let mut new = Vec::new();
        let place: Vec<WindowId> = flow.windows.iter().map(|window| self.window(window, &mut new)).collect();
        let mut taken = Vec::new();
        for (mut task, _) in flow.tasks.into_iter().zip(is_new).filter(|(_, is_new)| *is_new) {
            for constraint in &mut task.requirements.constraints {
                if let TaskConstraint::Within(id) = constraint {
                    *id = place[id.index() - windows];
                }
            }
            task.added_by = own.and_then(|own| self.state.definition(own).added_by.clone());
            self.limit(&mut task, None);
            taken.push(task);
        }
        Some((taken, new))
    }

    /// The number of a window: of one that is there, or of the next of the new ones.
    fn window(&self, window: &WindowDefinition, new: &mut Vec<WindowDefinition>) -> WindowId {
        let of_name = |other: &WindowDefinition| other.name == window.name;
        if let Some(at) = self.state.windows.iter().position(of_name) {
            return WindowId::from(at);
        }
        let at = new.iter().position(of_name).unwrap_or_else(|| {
            new.push(window.clone());
            new.len() - 1
        });
        WindowId::from(self.state.windows.len() + at)
    }

    /// Lets a task use what the limits of its stage, phase, tags and of the whole run count.
    fn limit(&self, task: &mut TaskDefinition, own: Option<&TaskDefinition>) {
        if task.task_type.template().is_none() {
            return;
        }
        let peers = || self.state.stage(task.stage).tasks.iter().map(|id| self.state.definition(*id));
        // of the file's own tasks that run a command all have the limits of their stage
        let peer = peers().find(|peer| peer.task_type.template().is_some() && peer.compensates.is_none());
        let mut limits: Vec<ResourceRequirement> = Vec::new();
        for (index, entry) in self.state.resources.iter().enumerate().filter(|(_, entry)| entry.definition.limit) {
            let resource = crate::engine::ids::ResourceId::from(index);
            let name = entry.definition.name.as_str();
            let has = |task: &TaskDefinition| {
                task.requirements.resources.iter().find(|need| need.resource == resource).copied()
            };
            let need = match (name.strip_prefix("tag "), entry.definition.kind) {
                (Some(tag), _) => task.tags.iter().any(|own| own == tag).then_some(Amount::units(1)),
                // two that must not run side by side stay apart
                (None, ResourceKind::Lock) => own.and_then(has).map(|need| need.amount),
                (None, ResourceKind::Rate { .. }) => Some(Amount::units(1)),
                (None, _) => match name.strip_prefix("stage ") {
                    Some(stage) if stage == self.state.stage_name(task.stage) => Some(Amount::units(1)),
                    _ => peer.and_then(|peer| has(peer)).map(|need| need.amount),
                },
            };
            limits.extend(need.map(|amount| ResourceRequirement { resource, amount }));
        }
        task.requirements.resources.retain(|need| !self.state.resource(need.resource).definition.limit);
        task.requirements.resources.extend(limits);
    }
}

fn refuse_not_live(reader: &mut Reader, node: &Node<'_>, fields: &[&str]) {
    for name in fields {
        let Some(value) = peek(node, name) else { continue };
        let help = NOT_LIVE.iter().find(|(field, _)| field == name).map_or("add other tasks", |(_, help)| help);
        let finding = Finding::new(head(value), format!("`{name}` cannot be said of a task while the workflow runs"));
        reader.report(finding.label("not here").help(help));
    }
    if let Some(kind) = peek(node, "type").filter(|kind| subworkflow::is_one(kind)) {
        let finding = Finding::new(head(kind), "a file cannot become part of a workflow that runs");
        let help = "let a task run it: run: \"$QD_BIN run FILE --headless\"";
        reader.report(finding.label("not here").help(help));
    }
}

/// It stands nowhere in what the user wrote.
fn unplace(node: &mut Node<'_>) {
    let nowhere = Extent::new(0, 0);
    node.at = nowhere;
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(unplace),
        Kind::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
            unplace(key);
            unplace(value);
        }),
        Kind::Struct(name, fields) => {
            name.iter_mut().for_each(|name| name.at = nowhere);
            for (name, value) in fields {
                name.at = nowhere;
                unplace(value);
            }
        }
        Kind::Tuple(name, items) => {
            name.iter_mut().for_each(|name| name.at = nowhere);
            items.iter_mut().for_each(unplace);
        }
        Kind::Text(_) | Kind::Number(_) | Kind::Word(_) | Kind::Other => {}
    }
}

/// Which tasks a text can mean: those whose names stand in it, and those that its globs match; and which it makes itself.
struct Means {
    texts: String,
    globs: GlobSet,
    /// The `id`s of its tasks, with `*` for each key.
    own: GlobSet,
}

impl Means {
    fn of<'n, 'a: 'n>(nodes: impl Iterator<Item = &'n Node<'a>>, are_new: bool) -> Self {
        let (mut texts, mut globs, mut own) = (String::new(), GlobSetBuilder::new(), GlobSetBuilder::new());
        let glob = |into: &mut GlobSetBuilder, text: &str| {
            let quoted: String = text
                .chars()
                .flat_map(|c| match c {
                    '[' | ']' | '{' | '}' | '\\' => vec!['[', c, ']'],
                    c => vec![c],
                })
                .collect();
            if let Ok(glob) = Glob::new(&quoted.replace("[\\]", "\\\\")) {
                into.add(glob);
            }
        };
        for node in nodes {
            let id = peek(node, "id");
            if let (true, Some(Kind::Text(text))) = (are_new, id.map(|id| &id.kind)) {
                let mut pattern = String::new();
                let mut rest = text.as_ref();
                while let Some((before, after)) = rest.split_once('{') {
                    pattern.push_str(before);
                    pattern.push('*');
                    rest = after.split_once('}').map_or("", |(_, after)| after);
                }
                pattern.push_str(rest);
                glob(&mut own, &pattern);
            }
            each_text(node, &mut |text| {
                if id.is_some_and(|id| matches!(&id.kind, Kind::Text(own) if std::ptr::eq(own.as_ptr(), text.as_ptr())))
                {
                    return;
                }
                texts.push_str(text);
                texts.push('\n');
                if text.contains(['*', '?']) {
                    glob(&mut globs, text);
                }
            });
        }
        let built = |globs: GlobSetBuilder| globs.build().unwrap_or_else(|_| GlobSet::empty());
        Self { texts, globs: built(globs), own: built(own) }
    }

    fn names(&self, name: &str) -> bool {
        self.texts.contains(name) || self.globs.is_match(name)
    }

    /// It has a task of this name: whether that may be is decided by who adds it.
    fn makes(&self, name: &str) -> bool {
        self.own.is_match(name)
    }
}

fn each_text(node: &Node<'_>, take: &mut dyn FnMut(&str)) {
    match &node.kind {
        Kind::Text(text) => take(text),
        Kind::List(items) | Kind::Tuple(_, items) => items.iter().for_each(|item| each_text(item, take)),
        Kind::Map(entries) => entries.iter().for_each(|(key, value)| {
            each_text(key, take);
            each_text(value, take);
        }),
        Kind::Struct(_, fields) => fields.iter().for_each(|(_, value)| each_text(value, take)),
        Kind::Number(_) | Kind::Word(_) | Kind::Other => {}
    }
}

/// A text as a file says it.
fn quote(text: &str) -> String {
    ron::to_string(text).unwrap_or_else(|_| String::from("\"\""))
}

fn literal(value: &Param) -> String {
    match value {
        Param::Bool(value) => value.to_string(),
        Param::Int(value) => value.to_string(),
        Param::Float(value) => format!("{value:?}"),
        Param::Text(text) => quote(text),
    }
}

/// A task of these words, as a text that [`tasks`] reads.
pub fn written(name: &str, command: &[String], after: &[String], stage: Option<&str>, more: &str) -> String {
    let list = |words: &[String]| words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(", ");
    let mut text = format!("Task(id: {}", quote(name));
    match command {
        [] => {}
        words => _ = write!(text, ", exec: [{}]", list(words)),
    }
    if !after.is_empty() {
        let _ = write!(text, ", after: [{}]", list(after));
    }
    if let Some(stage) = stage {
        let _ = write!(text, ", stage: {}", quote(stage));
    }
    if !more.trim().is_empty() {
        let _ = write!(text, ", {}", more.trim().trim_end_matches(','));
    }
    text.push(')');
    text
}
