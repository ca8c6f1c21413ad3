//! Who waits for whom: the names and globs of `after` resolved, and every circle of waiting found and named. Works on
//! names and numbers; knows nothing of what tasks do.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::diagnostic::{Extent, Finding, shown};
use super::schema::{Reader, Word};
use super::suggest::did_you_mean;

/// A workflow has no more dependencies than this, globs expanded.
pub const MAX_DEPENDENCIES: usize = 10_000_000;

/// Globs are compared with names at most so often.
const MAX_COMPARISONS: usize = 100_000_000;

/// A shorter way round is looked for among so many.
const MAX_SEARCHED: usize = 100_000;

/// So many names of a circle are written out.
const MAX_NAMED: usize = 12;

/// Things of one kind that have names: tasks or stages.
pub(super) struct Names<'n> {
    /// `task` or `stage`.
    kind: &'static str,
    list: Vec<Word<'n>>,
    by_name: HashMap<&'n str, usize>,
    /// Names with `{key}` as they are written, and the first task of each.
    written: HashMap<&'n str, usize>,
    /// Globs for names that are missing because of what is reported already.
    unmade: &'n [String],
    globs: HashMap<String, Rc<[u32]>>,
    comparisons: usize,
    dependencies: usize,
}

impl<'n> Names<'n> {
    pub fn new(kind: &'static str) -> Self {
        let (list, by_name, written, globs) = (Vec::new(), HashMap::new(), HashMap::new(), HashMap::new());
        Self { kind, list, by_name, written, unmade: &[], globs, comparisons: 0, dependencies: 0 }
    }

    /// Makes room for so many.
    pub fn reserve(&mut self, count: usize) {
        self.list.reserve(count);
        self.by_name.reserve(count);
    }

    /// Adds the next one; a name that is taken is reported.
    pub fn add(&mut self, reader: &mut Reader, name: Word<'n>) {
        if let Some(earlier) = self.insert(name) {
            let message = format!("two {}s are called `{}`", self.kind, shown(name.text));
            let finding = Finding::new(name.at, message).label("the name is taken");
            reader.report(finding.also(self.list[earlier].at, "by this one"));
        }
    }

    /// Adds the next one, and gives the one that has its name already.
    pub fn insert(&mut self, name: Word<'n>) -> Option<usize> {
        let index = self.list.len();
        self.list.push(name);
        match self.by_name.entry(name.text) {
            Entry::Occupied(earlier) => Some(*earlier.get()),
            Entry::Vacant(free) => {
                free.insert(index);
                None
            }
        }
    }

    /// `written`, with `{key}` in it, has become the names from `first` on.
    pub fn add_written(&mut self, written: &'n str, first: usize) {
        self.written.entry(written).or_insert(first);
    }

    /// Names like these are missing because of what is reported already: do not complain about them as well.
    pub fn add_unmade(&mut self, globs: &'n [String]) {
        self.unmade = globs;
    }

    /// Adds one whose name is missing, so that the numbers go on.
    pub fn add_nameless(&mut self, at: Extent) {
        self.list.push(Word { text: "", at });
    }

    /// Some dependencies were left out because there were too many.
    pub fn is_overfull(&self) -> bool {
        self.dependencies > MAX_DEPENDENCIES
    }

    pub fn get(&self, index: usize) -> Word<'n> {
        self.list[index]
    }

    /// All names.
    pub fn all(&self) -> impl Iterator<Item = &str> + '_ {
        self.list.iter().map(|word| word.text).filter(|name| !name.is_empty())
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The one that a name means; reported if there is none.
    pub fn one(&self, reader: &mut Reader, word: &Word<'_>, other_kind: &Names<'_>) -> Option<usize> {
        let found = self.find(word.text);
        if found.is_none() {
            self.unknown(reader, word, other_kind);
        }
        found
    }

    /// What `wanted`, the `after` of number `own`, means: sorted, without doubles. What is unknown is reported.
    pub fn resolve(
        &mut self,
        reader: &mut Reader,
        own: usize,
        wanted: &[Word<'_>],
        other_kind: &Names<'_>,
    ) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::with_capacity(wanted.len());
        for word in wanted {
            if is_glob(word.text) {
                let matching = self.matching(reader, word);
                let before = found.len();
                if self.dependencies + matching.len() <= MAX_DEPENDENCIES {
                    found.extend(matching.iter().copied().filter(|index| *index as usize != own));
                }
                self.dependencies += matching.len();
                if self.dependencies > MAX_DEPENDENCIES {
                    let message = format!("more than {MAX_DEPENDENCIES} dependencies");
                    let help = "let one task wait for many, and the others wait for that one, or use stages";
                    reader.report(Finding::new(word.at, message).label("too many in all, with this one").help(help));
                } else if found.len() == before {
                    self.no_match(reader, word, matching.is_empty());
                }
            } else if let Some(index) = self.find(word.text) {
                if index == own {
                    let message = format!("the {} `{}` waits for itself", self.kind, shown(word.text));
                    reader.report(Finding::new(word.at, message).label("it could never start"));
                } else {
                    self.dependencies += 1;
                    found.push(u32::try_from(index).expect("at most a million tasks"));
                }
            } else {
                self.unknown(reader, word, other_kind);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Everything a glob matches; each glob is looked up once.
    fn matching(&mut self, reader: &mut Reader, glob: &Word<'_>) -> Rc<[u32]> {
        if let Some(known) = self.globs.get(glob.text) {
            return Rc::clone(known);
        }
        self.comparisons += self.list.len();
        let matching: Rc<[u32]> = if self.comparisons > MAX_COMPARISONS {
            reader.report(Finding::new(glob.at, "too many different globs").label("one too many").help("use names"));
            Rc::new([])
        } else {
            (0..)
                .zip(&self.list)
                .filter(|(_, name)| glob_matches(glob.text, name.text))
                .map(|(index, _)| index)
                .collect()
        };
        self.globs.insert(glob.text.to_owned(), Rc::clone(&matching));
        matching
    }

    fn no_match(&self, reader: &mut Reader, glob: &Word<'_>, none: bool) {
        if !self.unmade.is_empty() {
            return;
        }
        let other = if none { "" } else { "other " };
        let message = format!("no {other}{} matches `{}`", self.kind, shown(glob.text));
        reader.report(Finding::new(glob.at, message).label("matches nothing"));
    }

    fn unknown(&self, reader: &mut Reader, word: &Word<'_>, other_kind: &Names<'_>) {
        if self.unmade.iter().any(|glob| glob_matches(glob, word.text)) {
            return;
        }
        let finding = Finding::new(word.at, format!("no {} is called `{}`", self.kind, shown(word.text)));
        if reader.findings.is_full() {
            return reader.report(finding);
        }
        let help = if other_kind.find(word.text).is_some() {
            Some(match self.kind {
                "task" => format!(
                    "`{}` is a stage: let this task's stage wait for it: Stage(…, after: [\"{0}\"])",
                    shown(word.text)
                ),
                _ => format!("`{}` is a task: stages wait for stages", shown(word.text)),
            })
        } else if let Some(first) = self.written.get(word.text) {
            let (all, first) = (shown(&super::foreach::glob_of(word.text)), shown(self.list[*first].text));
            Some(format!("write `{all}` for all of its tasks, or name one of them, as `{first}`"))
        } else {
            did_you_mean(word.text, self.list.iter().map(|name| name.text))
        };
        reader.report(finding.label("unknown").maybe_help(help));
    }
}

/// Whether a name of `after` stands for several.
pub(super) fn is_glob(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// `*` is any characters, `?` is one. Linear in practice, quadratic at worst.
fn glob_matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                retry = Some((g + 1, n));
                g += 1;
            }
            Some(b'?') => {
                // one character, not one byte
                n += 1;
                while name.get(n).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    n += 1;
                }
                g += 1;
            }
            Some(byte) if *byte == name[n] => {
                g += 1;
                n += 1;
            }
            _ => match &mut retry {
                Some((after, from)) => {
                    *from += 1;
                    (g, n) = (*after, *from);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

/// Tasks and stages as numbers.
pub(super) struct Graph<'g> {
    /// For each task, what it waits for.
    pub task_after: &'g [Vec<u32>],
    /// For each task, its stage.
    pub stage_of: &'g [u32],
    /// For each stage, the stages it waits for.
    pub stage_after: &'g [Vec<u32>],
    /// For each task, what it waits for besides; empty if none does.
    pub task_asks: &'g [Vec<Need>],
    /// For each stage, what it waits for besides; empty if none does.
    pub stage_asks: &'g [Vec<Need>],
}

/// What can be waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    Task(u32),
    /// Its end.
    Stage(u32),
}

/// A node: tasks, then for each stage its start and its end. A task waits for the start of its stage, that for the end of
/// the stages before, and the end of a stage for its tasks.
type Vertex = u32;

struct Vertices<'g> {
    graph: &'g Graph<'g>,
    tasks: u32,
    tasks_of: Vec<Vec<u32>>,
}

/// What a vertex stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Task(u32),
    Start(u32),
    End(u32),
}

impl Vertices<'_> {
    fn role(&self, vertex: Vertex) -> Role {
        match vertex.checked_sub(self.tasks) {
            None => Role::Task(vertex),
            Some(rest) if rest % 2 == 0 => Role::Start(rest / 2),
            Some(rest) => Role::End(rest / 2),
        }
    }
    fn start(&self, stage: u32) -> Vertex {
        self.tasks + 2 * stage
    }
    fn end(&self, stage: u32) -> Vertex {
        self.start(stage) + 1
    }
    /// The `index`th vertex that `vertex` waits for.
    fn need(&self, vertex: Vertex, index: usize) -> Option<Vertex> {
        let asked = |asks: &[Vec<Need>], of: u32, index: usize| {
            asks.get(of as usize)?.get(index).map(|need| match need {
                Need::Task(task) => *task,
                Need::Stage(stage) => self.end(*stage),
            })
        };
        match self.role(vertex) {
            Role::Task(task) => {
                let after = &self.graph.task_after[task as usize];
                let stage = self.start(self.graph.stage_of[task as usize]);
                match index.checked_sub(after.len()) {
                    None => after.get(index).copied(),
                    Some(0) => Some(stage),
                    Some(further) => asked(self.graph.task_asks, task, further - 1),
                }
            }
            Role::Start(stage) => {
                let after = &self.graph.stage_after[stage as usize];
                match index.checked_sub(after.len()) {
                    None => after.get(index).map(|stage| self.end(*stage)),
                    Some(further) => asked(self.graph.stage_asks, stage, further),
                }
            }
            Role::End(stage) => self.tasks_of[stage as usize].get(index).copied(),
        }
    }
    fn needs(&self, vertex: Vertex) -> impl Iterator<Item = Vertex> {
        (0..).map_while(move |index| self.need(vertex, index))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    New,
    Open,
    Done,
    Told,
}

/// Reports every circle of waiting, one for each knot and place. `place` says where the `after` of a task or stage stands.
pub(super) fn find_cycles(
    reader: &mut Reader,
    graph: &Graph<'_>,
    tasks: &Names<'_>,
    stages: &Names<'_>,
    place: impl Fn(Owner) -> Option<Extent>,
) {
    let mut tasks_of = vec![Vec::new(); graph.stage_after.len()];
    for (task, stage) in (0..).zip(graph.stage_of) {
        tasks_of[*stage as usize].push(task);
    }
    let count = u32::try_from(graph.task_after.len()).expect("at most a million tasks");
    let vertices = Vertices { graph, tasks: count, tasks_of };
    let mut colours = vec![Colour::New; graph.task_after.len() + 2 * graph.stage_after.len()];
    let mut path: Vec<(Vertex, usize)> = Vec::new();
    let mut told: HashSet<Extent> = HashSet::new();
    for root in 0..colours.len() {
        if colours[root] != Colour::New {
            continue;
        }
        colours[root] = Colour::Open;
        path.push((Vertex::try_from(root).expect("tasks and stages fit 32 bits"), 0));
        while let Some((vertex, next)) = path.last_mut() {
            let Some(need) = vertices.need(*vertex, *next) else {
                if colours[*vertex as usize] == Colour::Open {
                    colours[*vertex as usize] = Colour::Done;
                }
                path.pop();
                continue;
            };
            *next += 1;
            match colours[need as usize] {
                Colour::New => {
                    colours[need as usize] = Colour::Open;
                    path.push((need, 0));
                }
                Colour::Open if !reader.findings.is_full() => {
                    let known = path.iter().rposition(|(vertex, _)| *vertex == need).unwrap_or(0);
                    let cycle = shortest(&vertices, need)
                        .unwrap_or_else(|| path[known..].iter().map(|(vertex, _)| *vertex).collect());
                    for vertex in &cycle {
                        colours[*vertex as usize] = Colour::Told;
                    }
                    tell(reader, &vertices, cycle, tasks, stages, &place, &mut told);
                }
                Colour::Open | Colour::Done | Colour::Told => {}
            }
        }
    }
}

/// The shortest way from `from` back to itself, if it is found soon.
fn shortest(vertices: &Vertices<'_>, from: Vertex) -> Option<Vec<Vertex>> {
    let mut came: HashMap<Vertex, Vertex> = HashMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(vertex) = queue.pop_front() {
        for need in vertices.needs(vertex) {
            if need == from {
                let mut cycle = vec![vertex];
                while let Some(last) = cycle.last().filter(|last| **last != from) {
                    cycle.push(came[last]);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if came.len() >= MAX_SEARCHED {
                return None;
            }
            came.entry(need).or_insert_with(|| {
                queue.push_back(need);
                vertex
            });
        }
    }
    None
}

/// Whose `after` it is.
#[derive(Clone, Copy)]
pub(super) enum Owner {
    Task(usize),
    Stage(usize),
}

fn tell(
    reader: &mut Reader,
    vertices: &Vertices<'_>,
    mut cycle: Vec<Vertex>,
    tasks: &Names<'_>,
    stages: &Names<'_>,
    place: &impl Fn(Owner) -> Option<Extent>,
    told: &mut HashSet<Extent>,
) {
    // begin where something is written down that could be changed: the first such of the file
    let owner = |index: usize| match (vertices.role(cycle[index]), vertices.role(cycle[(index + 1) % cycle.len()])) {
        (Role::Task(task), Role::Task(_) | Role::End(_)) => Some(Owner::Task(task as usize)),
        (Role::Start(stage), Role::Task(_) | Role::End(_)) => Some(Owner::Stage(stage as usize)),
        _ => None,
    };
    let written = (0..cycle.len()).filter_map(|index| Some((place(owner(index)?)?, index)));
    let Some((at, first)) = written.min() else { return };
    // the tasks of one `foreach` have one `after`: their circles are alike
    if !told.insert(at) {
        return;
    }
    cycle.rotate_left(first);
    let mut names: Vec<String> = Vec::new();
    let mut before: [Option<Role>; 2] = [None; 2];
    for vertex in cycle.iter().chain(cycle.first()) {
        let role = vertices.role(*vertex);
        let name = match role {
            Role::Task(task) => shown(tasks.get(task as usize).text),
            Role::Start(stage) | Role::End(stage) => format!("stage {}", shown(stages.get(stage as usize).text)),
        };
        let is_through = matches!(
            (before, role),
            ([Some(Role::End(end)), Some(Role::Task(_))], Role::Start(start)) if start == end
        );
        // the end of a stage waits for its tasks and they for its start: said as the stage alone
        if is_through {
            names.pop();
        } else if names.last() != Some(&name) {
            names.push(name);
        }
        before = [before[1], Some(role)];
    }
    let all = names.len();
    if all > MAX_NAMED {
        names.splice(MAX_NAMED / 2..all - MAX_NAMED / 2, [format!("({} more)", all - MAX_NAMED)]);
    }
    let message = format!("a circle of waiting: {}", names.join(" → "));
    let help = "each waits for the one after it, so none could ever start: take one of these dependencies out";
    reader.report(Finding::new(at, message).label("part of the circle").help(help));
}

#[cfg(test)]
mod tests {
    use super::glob_matches;

    #[test]
    fn globs_match_as_in_a_shell() {
        for (glob, name, matches) in [
            ("*", "", true),
            ("shard-*", "shard-1", true),
            ("shard-*", "shard-", true),
            ("shard-*", "shar", false),
            ("*-test", "unit-test", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("roll-??", "roll-eu", true),
            ("roll-??", "roll-e", false),
            ("?", "é", true),
            ("*é?", "caféx", true),
        ] {
            assert_eq!(glob_matches(glob, name), matches, "{glob} {name}");
        }
    }
}
