//! What tasks publish: `publishes` in a file, and references to it in commands (`${task.id.out.name}`, `${metrics.name}`).
//! Declared first, so that every reference and condition is checked against it. Knows nothing of how a value is taken.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::conditions::Scope;
use super::diagnostic::{Extent, Finding, shown};
use super::foreach::Row;
use super::outline::{Outline, Part};
use super::replicate;
use super::schema::{Reader, Word, describe, head, peek};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::care::{PUBLISHED_MOST, Publish, Reference, Source, ValueOf};
use crate::engine::condition::Type;
use crate::engine::definition::{CommandSpec, StateTransition, TaskDefinition, TaskType, WorkflowStage};
use crate::engine::ids::{StageId, TaskId};

/// So far it is looked who waits for whom; beyond it the run itself tells.
const STEPS_MOST: usize = 20_000_000;

const HOW: &str =
    "for example publishes: { \"coverage\": LastLine(Int), \"tag\": JsonFile(\"out.json\", \"/image/tag\", Text) }";

/// All that is published.
#[derive(Default)]
pub(super) struct Published {
    /// By the number of the group of tasks.
    groups: Vec<Vec<Publish>>,
    group_of: Vec<u32>,
    /// By name, over all tasks.
    metrics: IndexMap<String, (Type, Extent)>,
}

impl Published {
    /// Goes through all tasks.
    pub fn read(reader: &mut Reader, outline: &Outline<'_, '_>) -> Self {
        let mut all = Self { group_of: outline.group_of.clone(), ..Self::default() };
        for group in &outline.groups {
            if let Part::Majority(_) = group.part {
                // Like its runs, the group before.
                let list = all.groups.last().cloned().unwrap_or_default();
                all.groups.push(list);
                continue;
            }
            let node = peek(group.node, "publishes");
            if group.part == Part::Runs && node.is_none() {
                all.groups.push(vec![replicate::output(&mut all.metrics, group.node.at)]);
                continue;
            }
            let list = node.map(|node| all.declared(reader, node)).unwrap_or_default();
            all.groups.push(list);
        }
        all
    }

    fn declared(&mut self, reader: &mut Reader, node: &Node<'_>) -> Vec<Publish> {
        let mut list = Vec::new();
        for (key, value) in reader.map(node, "publishes") {
            if !super::params::is_name(key.text) {
                let message = format!("`{}` cannot be the name of a value", shown(key.text));
                reader.report(Finding::new(key.at, message).label("letters, digits, `_` and `-`, a letter first"));
                continue;
            }
            if list.len() == PUBLISHED_MOST {
                let message = format!("a task publishes at most {PUBLISHED_MOST} values");
                reader.report(
                    Finding::new(key.at, message).label("one too many").help("publish a JSON file's parts as one text"),
                );
                break;
            }
            let Some((from, of)) = source(reader, value) else { continue };
            match self.metrics.get(key.text) {
                Some((other, at)) if *other != of => {
                    let message = format!("`{}` is published as {of} here and as {other} elsewhere", key.text);
                    let finding = Finding::new(key.at, message).label("another type").also(*at, "by this one");
                    reader.report(
                        finding.help("metrics.NAME is what any task published last by the name: it has one type"),
                    );
                }
                Some(_) => {}
                None => _ = self.metrics.insert(key.text.to_owned(), (of.clone(), key.at)),
            }
            list.push(Publish { name: key.text.to_owned(), from, of });
        }
        list
    }

    /// What the tasks of a group publish.
    pub fn of(&self, first: usize) -> &[Publish] {
        self.group_of.get(first).and_then(|group| self.groups.get(*group as usize)).map_or(&[], Vec::as_slice)
    }

    /// The type of a value of a task.
    pub fn output(&self, task: usize, name: &str) -> Option<&Type> {
        self.of(task).iter().find(|publish| publish.name == name).map(|publish| &publish.of)
    }

    /// Names of the values of a task.
    pub fn outputs(&self, task: usize) -> impl Iterator<Item = &str> {
        self.of(task).iter().map(|publish| publish.name.as_str())
    }

    /// The type of what is published by this name.
    pub fn metric(&self, name: &str) -> Option<&Type> {
        self.metrics.get(name).map(|(of, _)| of)
    }

    /// All names.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.metrics.keys().map(String::as_str)
    }
}

/// What waits for what, in a workflow that is otherwise right.
pub(super) struct Order<'w> {
    pub tasks: &'w [TaskDefinition],
    pub stages: &'w [WorkflowStage],
    pub transitions: &'w [StateTransition],
}

impl Order<'_> {
    /// Reports commands that refer to a value of a task for which theirs does not wait: it could start without the value.
    pub fn check(&self, reader: &mut Reader, outline: &Outline<'_, '_>) {
        let mut tasks_of: Vec<Vec<u32>> = vec![Vec::new(); self.stages.len()];
        for (task, index) in self.tasks.iter().zip(0..) {
            tasks_of[task.stage.index()].push(index);
        }
        let mut steps = STEPS_MOST;
        let mut told = None;
        for (index, task) in self.tasks.iter().enumerate() {
            let group = outline.group_of[index];
            if told == Some(group) {
                continue;
            }
            let values = |command: &'_ CommandSpec| -> BTreeSet<(TaskId, String)> {
                let output = |reference: &Reference| match &reference.value {
                    ValueOf::Output { task, name } => Some((*task, name.to_string())),
                    ValueOf::Metric(_) | ValueOf::Each => None,
                };
                command.references.iter().filter_map(output).collect()
            };
            let mut wanted = task.task_type.texts().map(|command| values(command)).unwrap_or_default();
            if let TaskType::Foreach(foreach) = &task.task_type
                && let ValueOf::Output { task, name } = &foreach.list
            {
                wanted.insert((*task, name.to_string()));
            }
            // What undoes a task knows what that one published.
            let undoing = task.compensation.iter().flat_map(|compensation| values(&compensation.command));
            wanted.extend(undoing.filter(|(giver, _)| giver.index() != index));
            if wanted.is_empty() {
                continue;
            }
            let Some(before) = self.before(index, &tasks_of, &mut steps) else { return };
            for (giver, name) in wanted {
                if before.contains(&giver) {
                    continue;
                }
                told = Some(group);
                let id = &self.tasks[giver.index()].id;
                let message =
                    format!("`{}` does not wait for `{}`, whose `{name}` it refers to", shown(&task.id), shown(id));
                let node = outline.groups[group as usize].node;
                let field = ["foreach", "run", "exec", "env", "cwd", "compensate", "type"]
                    .into_iter()
                    .filter_map(|field| peek(node, field));
                let at = field.filter(|node| names(node, &name)).map(head).next().unwrap_or_else(|| head(node));
                let finding = Finding::new(at, message).label("it could start without the value");
                let help = if giver.index() == index {
                    "a task cannot refer to what it publishes itself".to_owned()
                } else {
                    format!("add after: [\"{}\"]", shown(id))
                };
                reader.report(finding.help(help));
            }
        }
    }

    /// All tasks that are over when this one starts; nothing if looking has taken too long.
    fn before(&self, own: usize, tasks_of: &[Vec<u32>], steps: &mut usize) -> Option<BTreeSet<TaskId>> {
        let mut tasks: BTreeSet<TaskId> = BTreeSet::new();
        let mut stages: BTreeSet<StageId> = BTreeSet::new();
        let mut ahead = vec![TaskId::from(own)];
        while let Some(id) = ahead.pop() {
            let task = &self.tasks[id.index()];
            let mut found: Vec<TaskId> = task.after.clone();
            let mut open = vec![task.stage];
            let mut is_own = true;
            while let Some(stage) = open.pop() {
                if !is_own {
                    if !stages.insert(stage) {
                        continue;
                    }
                    found.extend(tasks_of[stage.index()].iter().map(|task| TaskId(*task)));
                }
                is_own = false;
                open.extend(&self.stages[stage.index()].after);
                open.extend(self.transitions.iter().filter(|way| way.to == stage).map(|way| way.from));
            }
            *steps = steps.checked_sub(found.len() + 1)?;
            ahead.extend(found.into_iter().filter(|task| tasks.insert(*task)));
        }
        Some(tasks)
    }
}

/// Whether a text in it names a value.
fn names(node: &Node<'_>, name: &str) -> bool {
    match &node.kind {
        Kind::Text(text) => text.contains(&format!(".out.{name}}}")),
        Kind::List(items) | Kind::Tuple(_, items) => items.iter().any(|item| names(item, name)),
        Kind::Map(entries) => entries.iter().any(|(_, value)| names(value, name)),
        Kind::Struct(_, fields) => fields.iter().any(|(_, value)| names(value, name)),
        _ => false,
    }
}

/// Where a value is taken from, and its type.
fn source(reader: &mut Reader, node: &Node<'_>) -> Option<(Source, Type)> {
    let (name, items) = match &node.kind {
        Kind::Word(name) => (*name, &[][..]),
        Kind::Tuple(Some(name), items) => (name.text, items.as_slice()),
        _ => ("", &[][..]),
    };
    if name == "Digest" {
        return digest(reader, node, items);
    }
    let places = match name {
        "LastLine" | "Publish" => 0,
        "JsonLine" => 1,
        "JsonFile" => 2,
        _ => {
            let finding = Finding::new(head(node), format!("a value is not published by {}", describe(node)));
            let finding = finding.label("expected LastLine(…), JsonLine(…), JsonFile(…), Publish(…) or Digest");
            reader.report(
                finding.help(
                    did_you_mean(name, ["LastLine", "JsonLine", "JsonFile", "Publish", "Digest"])
                        .unwrap_or_else(|| HOW.into()),
                ),
            );
            return None;
        }
    };
    if items.len() < places || items.len() > places + 1 {
        let wants = match name {
            "JsonLine" => "JsonLine(\"/pointer\", Type)".to_owned(),
            "JsonFile" => "JsonFile(\"file\", \"/pointer\", Type)".to_owned(),
            plain => format!("{plain}(Type)"),
        };
        let finding = Finding::new(head(node), format!("`{name}` is written {wants}"));
        reader.report(finding.label("its parts do not fit").help("without a type the value is Text"));
        return None;
    }
    let mut texts = Vec::new();
    for item in &items[..places] {
        texts.push(reader.text(item, name)?);
    }
    if let Some(at) = texts.last() {
        pointer(reader, &items[places - 1], at.text)?;
    }
    let of = items.get(places).map_or(Some(Type::Text), |node| type_of(reader, node, true))?;
    let from = match texts.as_slice() {
        [file, at] => Source::JsonFile { file: file.text.to_owned(), at: at.text.to_owned() },
        [at] => Source::JsonLine { at: at.text.to_owned() },
        _ if name == "Publish" => Source::Publish,
        _ => Source::LastLine,
    };
    Some((from, of))
}

/// `Digest` of the output, or `Digest("file")`.
fn digest(reader: &mut Reader, node: &Node<'_>, items: &[Node<'_>]) -> Option<(Source, Type)> {
    let file = match items {
        [] => None,
        [item] => Some(reader.text(item, "Digest")?.text.to_owned()),
        _ => {
            let finding = Finding::new(head(node), "`Digest` is written Digest, of the output, or Digest(\"file\")");
            reader.report(finding.label("its parts do not fit").help("publish one for each file"));
            return None;
        }
    };
    Some((Source::Digest { file }, Type::Text))
}

/// A JSON pointer is empty or begins with `/`.
pub(super) fn pointer(reader: &mut Reader, node: &Node<'_>, text: &str) -> Option<()> {
    if text.is_empty() || text.starts_with('/') {
        return Some(());
    }
    let finding = Finding::new(node.at, format!("`{}` is no JSON pointer", shown(text)));
    let dotted = format!(
        "did you mean \"/{}\"? A pointer begins with `/`, its steps stand between `/`",
        shown(&text.replace('.', "/"))
    );
    reader.report(finding.label("where in the JSON?").help(dotted));
    None
}

fn type_of(reader: &mut Reader, node: &Node<'_>, lists: bool) -> Option<Type> {
    if let (Kind::Tuple(Some(name), items), true) = (&node.kind, lists)
        && name.text == "List"
        && items.len() == 1
    {
        return Some(Type::List(Box::new(type_of(reader, &items[0], false)?)));
    }
    reader
        .choice(node, "the type of a value", &[("Int", 0), ("Float", 1), ("Text", 2), ("Bool", 3)])
        .map(|which| [Type::Int, Type::Float, Type::Text, Type::Bool][which].clone())
}

/// The list that the value of a key of `foreach` means.
pub(super) fn list(reader: &mut Reader, scope: Scope<'_, '_>, node: &Node<'_>) -> Option<ValueOf> {
    let word = reader.text(node, "foreach")?;
    let text = word.text.strip_prefix("${").and_then(|text| text.strip_suffix('}'))?;
    let value = refer(reader, scope, &Word { text, at: word.at }, None)?;
    let of = match &value {
        ValueOf::Output { task, name } => scope.published.output(task.index(), name),
        ValueOf::Metric(name) => scope.published.metric(name),
        ValueOf::Each => None,
    };
    if let Some(of) = of.filter(|of| !matches!(of, Type::List(_))) {
        let finding = Finding::new(word.at, format!("`{}` is published as {of}, not as a list", shown(word.text)));
        let help = "for example publishes: { \"files\": JsonLine(\"\", List(Text)) }";
        reader.report(finding.label("a task for each of what?").help(help));
        return None;
    }
    Some(value)
}

/// The value that a reference in a command means; `place` is what stands between its braces.
pub(super) fn refer(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    place: &Word<'_>,
    row: Option<&Row<'_>>,
) -> Option<ValueOf> {
    let filled = row.map_or(place.text.into(), |row| row.fill(reader, place));
    let text = filled.as_ref();
    if let Some(name) = text.strip_prefix("metrics.") {
        if scope.published.metric(name).is_some() {
            return Some(ValueOf::Metric(name.into()));
        }
        let help = did_you_mean(name, scope.published.metrics()).unwrap_or_else(|| HOW.to_owned());
        let finding = Finding::new(place.at, format!("nothing publishes `{}`", shown(name)));
        reader.report(finding.label("in no `publishes`").help(help));
        return None;
    }
    let rest = text.strip_prefix("task.").unwrap_or(text);
    let Some((id, name)) = rest.rsplit_once(".out.") else {
        let finding = Finding::new(place.at, format!("`${{{}}}` does not say which value", shown(text)));
        reader.report(finding.label("written ${task.ID.out.NAME}").help(HOW));
        return None;
    };
    let task = scope.tasks.one(reader, &Word { text: id, at: place.at }, scope.stages)?;
    if scope.published.output(task, name).is_none() {
        let help = did_you_mean(name, scope.published.outputs(task)).unwrap_or_else(|| HOW.to_owned());
        let finding = Finding::new(place.at, format!("the task `{}` does not publish `{}`", shown(id), shown(name)));
        reader.report(finding.label("not in its `publishes`").help(help));
        return None;
    }
    Some(ValueOf::Output { task: TaskId::from(task), name: name.into() })
}
