//! The first look at a file's stages and tasks: who there is and what each is called, every `foreach` made into its
//! tasks. How many those are is known before the first is made. Knows nothing of what tasks do.

use std::borrow::Cow;

use super::diagnostic::{Extent, Finding, shown};
use super::foreach::{self, Matrix};
use super::lower::{MAX_EXPANDED_BYTES, MAX_TASKS};
use super::names::{check_name, required_name};
use super::order::Names;
use super::replicate::{self, Replicate};
use super::schema::{Fields, GATE, Reader, STAGE, Word, head, peek};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};

/// All stages and tasks.
#[derive(Default)]
pub(super) struct Outline<'n, 'a> {
    pub stages: Vec<StageOutline<'n, 'a>>,
    /// Tasks as they are written.
    pub groups: Vec<Group<'n, 'a>>,
    /// For each task, what it is called: nothing if that is unknown.
    pub ids: Vec<Cow<'n, str>>,
    /// For each task, the number of its group.
    pub group_of: Vec<u32>,
    /// Globs for the names of tasks that could not be made.
    pub unmade: Vec<String>,
    /// Bytes that `foreach` has made so far.
    pub bytes: usize,
}

pub(super) struct StageOutline<'n, 'a> {
    pub fields: Fields<'n, 'a>,
    pub name: Option<Word<'n>>,
    pub at: Extent,
}

/// One written task, and the tasks that it makes: one, if it has no `foreach`.
pub(super) struct Group<'n, 'a> {
    pub node: &'n Node<'a>,
    pub stage: u32,
    /// Its tasks are those from here on.
    pub first: usize,
    pub count: usize,
    pub foreach: Foreach<'n>,
    /// What it says, if it is one of `gates`.
    pub gate: Option<Fields<'n, 'a>>,
    /// What it has of a `replicate`.
    pub part: Part,
    /// The `id` as written, and where; where the task stands if it has none.
    id: Word<'n>,
}

/// What a group is of a task with `replicate`, which makes two: first its runs, then the one that waits for them.
#[derive(Clone, PartialEq)]
pub(super) enum Part {
    /// The task has none.
    Whole,
    /// Its runs.
    Runs,
    /// The one that waits for its runs, which are the group before.
    Majority(Replicate),
}

/// What a task has of a `foreach`.
pub(super) enum Foreach<'n> {
    None,
    /// It cannot be read.
    Unknown,
    Matrix(Matrix<'n>),
}

impl<'n, 'a> Outline<'n, 'a> {
    /// Goes through the list `stages`.
    pub fn read(reader: &mut Reader, list: &'n [Node<'a>]) -> Self {
        let mut outline = Self::default();
        for node in list {
            let Some(fields) = reader.fields(node, &STAGE) else { continue };
            let stage = u32::try_from(outline.stages.len()).expect("a file of 64 MiB has fewer stages");
            let name = required_name(reader, node, &fields, "id", "stage");
            outline.tasks(reader, node, &fields, stage);
            outline.stages.push(StageOutline { fields, name, at: node.at });
        }
        outline
    }

    fn tasks(&mut self, reader: &mut Reader, node: &Node<'_>, fields: &Fields<'n, 'a>, stage: u32) {
        let listed = fields.get("tasks");
        let tasks = listed.map(|node| reader.list(node, "tasks")).unwrap_or_default();
        if tasks.is_empty() && listed.is_none_or(|node| matches!(&node.kind, Kind::List(_))) {
            let name =
                peek(node, "id").and_then(|id| if let Kind::Text(text) = &id.kind { Some(shown(text)) } else { None });
            let message = format!("the stage `{}` has no tasks", name.unwrap_or_default());
            let at = listed.map_or_else(|| head(node), head);
            reader.report(Finding::new(at, message).label("a stage needs at least one task"));
        }
        for task in tasks {
            if self.ids.len() >= MAX_TASKS {
                let finding = Finding::new(head(task), format!("more than {MAX_TASKS} tasks"));
                return reader.report(finding.label("one too many"));
            }
            let id = written_id(reader, task);
            match peek(task, "foreach") {
                None => {
                    if let Some((_, word)) = &id {
                        check_name(reader, word, "task");
                    }
                    let name = id.as_ref().map_or(Cow::Borrowed(""), |(_, word)| Cow::Borrowed(word.text));
                    if let Some(replicate) =
                        peek(task, "replicate").and_then(|node| replicate::read(reader, task, node))
                    {
                        self.replicate(reader, task, stage, id.map(|(_, word)| word), replicate);
                        continue;
                    }
                    self.add(task, stage, id.map(|(_, word)| word), Foreach::None, [name]);
                }
                Some(each) => {
                    if let Some(node) = peek(task, "replicate") {
                        let finding = Finding::new(head(node), "`replicate` cannot stand beside `foreach`");
                        reader.report(finding.label("not together").also(each.at, "one or the other"));
                    }
                    self.foreach(reader, task, stage, id, each);
                }
            }
        }
    }

    /// The runs of a task, and the task that waits for them.
    fn replicate(
        &mut self,
        reader: &mut Reader,
        task: &'n Node<'a>,
        stage: u32,
        id: Option<Word<'n>>,
        replicate: Replicate,
    ) {
        let Some(id) = id else { return self.add(task, stage, None, Foreach::None, [Cow::Borrowed("")]) };
        let runs: Vec<Cow<'n, str>> = (1..=replicate.runs).map(|run| format!("{}.{run}", id.text).into()).collect();
        if let Some(longest) = runs.last() {
            check_name(reader, &Word { text: longest, at: id.at }, "task");
        }
        self.add(task, stage, Some(id), Foreach::None, runs);
        self.groups.last_mut().expect("just added").part = Part::Runs;
        self.add(task, stage, Some(id), Foreach::None, [Cow::Borrowed(id.text)]);
        self.groups.last_mut().expect("just added").part = Part::Majority(replicate);
    }

    /// Goes through the list `gates`: each is a task of the stage in its `after`.
    pub fn gates(&mut self, reader: &mut Reader, list: &'n [Node<'a>]) {
        for node in list {
            if self.ids.len() >= MAX_TASKS {
                let finding = Finding::new(head(node), format!("more than {MAX_TASKS} tasks"));
                return reader.report(finding.label("one too many"));
            }
            let Some(fields) = reader.fields(node, &GATE) else { continue };
            let id = required_name(reader, node, &fields, "id", "gate");
            let Some(after) = fields.get("after") else {
                let finding = Finding::new(head(node), "this gate stands after no stage").label("`after` is missing");
                reader.report(finding.help("name a stage, for example after: \"test\""));
                continue;
            };
            let Some(wanted) = reader.text(after, "after") else { continue };
            let names = || self.stages.iter().map(|stage| stage.name.map_or("", |name| name.text));
            let Some(stage) = names().position(|name| name == wanted.text) else {
                let help = did_you_mean(wanted.text, names());
                let finding = Finding::new(wanted.at, format!("no stage is called `{}`", shown(wanted.text)));
                reader.report(finding.label("unknown").maybe_help(help));
                continue;
            };
            let stage = u32::try_from(stage).expect("a file of 64 MiB has fewer stages");
            let name = id.map_or(Cow::Borrowed(""), |word| Cow::Borrowed(word.text));
            self.add(node, stage, id, Foreach::None, [name]);
            self.groups.last_mut().expect("just added").gate = Some(fields);
        }
    }

    fn add(
        &mut self,
        node: &'n Node<'a>,
        stage: u32,
        id: Option<Word<'n>>,
        foreach: Foreach<'n>,
        names: impl IntoIterator<Item = Cow<'n, str>>,
    ) {
        let first = self.ids.len();
        self.ids.extend(names);
        let group = u32::try_from(self.groups.len()).expect("at most a million tasks");
        self.group_of.resize(self.ids.len(), group);
        let id = id.unwrap_or(Word { text: "", at: head(node) });
        let count = self.ids.len() - first;
        self.groups.push(Group { node, stage, first, count, foreach, gate: None, part: Part::Whole, id });
    }

    /// The tasks of one `foreach`; a nameless one if it cannot make any.
    fn foreach(
        &mut self,
        reader: &mut Reader,
        task: &'n Node<'a>,
        stage: u32,
        id: Option<(&'n Node<'a>, Word<'n>)>,
        each: &'n Node<'a>,
    ) {
        let matrix = Matrix::read(reader, each);
        let Some((id_node, id)) = id else {
            let foreach = matrix.map_or(Foreach::Unknown, Foreach::Matrix);
            return self.add(task, stage, None, foreach, [Cow::Borrowed("")]);
        };
        let before = reader.findings.count();
        if let Some(keys) = foreach::key_names(each) {
            foreach::check_id(reader, id_node, id.text, &keys);
        }
        let names = matrix.as_ref().and_then(|matrix| {
            self.check_size(reader, each, matrix);
            if reader.findings.count() == before {
                check_distinct(reader, &id, matrix);
            }
            if reader.findings.count() > before { None } else { self.names(reader, each, &id, matrix) }
        });
        let foreach = matrix.map_or(Foreach::Unknown, Foreach::Matrix);
        match names {
            Some(names) => self.add(task, stage, Some(id), foreach, names),
            None => {
                // a name is missed also where its author thought of a key that the id lacks
                self.unmade.push(foreach::glob_of(id.text) + "*");
                self.add(task, stage, Some(id), foreach, [Cow::Borrowed("")]);
            }
        }
    }

    fn check_size(&self, reader: &mut Reader, each: &Node<'_>, matrix: &Matrix<'_>) {
        let all = matrix.count().saturating_add(self.ids.len() as u128);
        if all > MAX_TASKS as u128 {
            let product = matrix.product();
            let message = if matrix.count() > MAX_TASKS as u128 {
                format!("{product} tasks, at most {MAX_TASKS}")
            } else {
                format!("{product} tasks and {} before them, at most {MAX_TASKS} in all", self.ids.len())
            };
            reader.report(Finding::new(head(each), message).label("too many tasks"));
        }
    }

    /// What the tasks are called, each a good name.
    fn names(
        &mut self,
        reader: &mut Reader,
        each: &Node<'_>,
        id: &Word<'n>,
        matrix: &Matrix<'n>,
    ) -> Option<Vec<Cow<'n, str>>> {
        let count = u64::try_from(matrix.count()).expect("at most a million tasks");
        let before = reader.findings.count();
        let mut names: Vec<Cow<'n, str>> = Vec::with_capacity(usize::try_from(count).expect("at most a million tasks"));
        for index in 0..count {
            let row = matrix.row(index);
            // Of a list that is known only during the run one task stands for all, called as written.
            let name = if matrix.later().is_some() { id.text.into() } else { row.fill(reader, id) };
            check_name(reader, &Word { text: &name, at: id.at }, "task");
            if reader.findings.count() > before {
                reader.findings.note(before, &format!(", with {row}"), |_| true);
                return None;
            }
            self.bytes += name.len();
            if self.bytes > MAX_EXPANDED_BYTES {
                too_large(reader, each);
                return None;
            }
            names.push(name);
        }
        Some(names)
    }

    /// The names of all stages; doubled ones are reported.
    pub fn stage_names(&self, reader: &mut Reader) -> Names<'n> {
        let mut names = Names::new("stage");
        for stage in &self.stages {
            match stage.name {
                Some(name) => names.add(reader, name),
                None => names.add_nameless(stage.at),
            }
        }
        names
    }

    /// The names of all tasks; doubled ones are reported, for each `foreach` once.
    pub fn task_names(&self, reader: &mut Reader) -> Names<'_> {
        let mut names = Names::new("task");
        names.reserve(self.ids.len());
        for group in &self.groups {
            let mut is_told = false;
            for (index, id) in (0..).zip(&self.ids[group.first..group.first + group.count]) {
                if id.is_empty() {
                    names.add_nameless(group.id.at);
                    continue;
                }
                let word = Word { text: id, at: group.id.at };
                match &group.foreach {
                    Foreach::Matrix(matrix) => {
                        if let Some(earlier) = names.insert(word)
                            && !std::mem::replace(&mut is_told, true)
                        {
                            self.tell_double(reader, &word, matrix, index, group, &names, earlier);
                        }
                    }
                    Foreach::None | Foreach::Unknown => names.add(reader, word),
                }
            }
            if matches!(group.foreach, Foreach::Matrix(_)) {
                names.add_written(group.id.text, group.first);
            }
        }
        names.add_unmade(&self.unmade);
        names
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is what is told")]
    fn tell_double(
        &self,
        reader: &mut Reader,
        word: &Word<'_>,
        matrix: &Matrix<'_>,
        index: u64,
        group: &Group<'_, '_>,
        names: &Names<'_>,
        earlier: usize,
    ) {
        let row = matrix.row(index);
        let message = format!("two tasks are called `{}`", shown(word.text));
        if earlier >= group.first {
            let other = matrix.row((earlier - group.first) as u64);
            let finding = Finding::new(word.at, message).label(format!("with {other}, and with {row}"));
            return reader.report(finding.help("put something between the keys: \"{a}-{b}\""));
        }
        let finding = Finding::new(word.at, format!("{message}, with {row}")).label("the name is taken");
        reader.report(finding.also(names.get(earlier).at, "by this one"));
    }
}

/// The `id` of a task; reported if there is none.
fn written_id<'n, 'a>(reader: &mut Reader, task: &'n Node<'a>) -> Option<(&'n Node<'a>, Word<'n>)> {
    match peek(task, "id") {
        Some(node) => reader.text(node, "id").map(|word| (node, word)),
        None => {
            if matches!(&task.kind, Kind::Struct(..)) {
                let finding = Finding::new(head(task), "this task has no `id`");
                reader.report(finding.label("`id` is missing"));
            }
            None
        }
    }
}

fn check_distinct(reader: &mut Reader, id: &Word<'_>, matrix: &Matrix<'_>) {
    let missing: Vec<&str> = matrix.missing_in(id.text).collect();
    if missing.is_empty() {
        return;
    }
    let message = if id.text.contains('{') {
        format!("several tasks would be called the same: `{}` does not stand in the id", missing.join("`, `"))
    } else {
        match matrix.later() {
            Some(_) => format!("all of its tasks would be called `{}`", shown(id.text)),
            None => format!("all {} would be called `{}`", matrix.count(), shown(id.text)),
        }
    };
    let keys: String = missing.iter().map(|key| format!("-{{{key}}}")).collect();
    let help = format!("write id: \"{}{keys}\"", shown(id.text));
    reader.report(Finding::new(id.at, message).label("every task needs its own name").help(help));
}

/// Reports that the tasks of a `foreach` would hold too much text.
pub(super) fn too_large(reader: &mut Reader, at: &Node<'_>) {
    let message = format!("the tasks of `foreach` hold more than {} MiB", MAX_EXPANDED_BYTES >> 20);
    let help = "put what is long into a script, or into a file for each task";
    reader.report(Finding::new(head(at), message).label("too much, with this one").help(help));
}
