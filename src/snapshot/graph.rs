//! The dependency graph around one task or stage: what it needs to the left, what needs it to the right, by levels. Only so
//! much of it is made as a screen shows, whatever the size of the workflow. Knows nothing of columns of cells.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Frozen, counts};
use super::rows::task_row;
use super::{Counts, TaskRow};
use crate::engine::definition::StageEnd;
use crate::engine::ids::{StageId, TaskId, Time};
use crate::engine::state::State;

/// A level holds at most so many, the others are a number.
pub const MAX_LEVEL: usize = 60;
/// So many neighbours of one node are looked at.
const LOOKED_AT: usize = 200;
/// So far from the middle it goes at most.
pub const MAX_DEPTH: usize = 3;

/// A task or a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// All of a stage.
    Stage(StageId),
    /// A task.
    Task(TaskId),
}

/// What is around a node.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// From what it needs to what needs it; empty at the outside where nothing is.
    pub levels: Vec<Level>,
    /// Which of them is the middle.
    pub middle: usize,
    /// What leads from a level to the next: which level, the place in it, the place in the next.
    pub edges: Vec<(usize, usize, usize)>,
}

/// A level.
#[derive(Debug, Clone, Default)]
pub struct Level {
    /// What is on it.
    pub places: Vec<Place>,
    /// How many more there are.
    pub more: usize,
    /// There may be more still: a node beside it has more neighbours than are looked at.
    pub at_least: bool,
}

/// A node with what is said of it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which.
    pub node: Node,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub stand: Stand,
}

/// How a node stands.
#[derive(Debug, Clone)]
pub enum Stand {
    /// A task's line.
    Task(Box<TaskRow>),
    /// Counts over a stage's tasks, and how it is entered if that is by transitions.
    Stage(Box<Counts>, String),
}

impl Graph {
    /// Where a node is: level and place.
    pub fn find(&self, node: Node) -> Option<(usize, usize)> {
        self.levels.iter().enumerate().find_map(|(level, entry)| {
            entry.places.iter().position(|place| place.node == node).map(|place| (level, place))
        })
    }

    /// A node by its place.
    pub fn at(&self, (level, place): (usize, usize)) -> Option<&Place> {
        self.levels.get(level)?.places.get(place)
    }

    /// What leads to (or, `later`, from) a place, in the level beside it.
    pub fn beside(&self, (level, place): (usize, usize), later: bool) -> impl Iterator<Item = (usize, usize)> {
        let edges = self.edges.iter().filter_map(move |(from, left, right)| match later {
            true => (*from == level && *left == place).then_some((level + 1, *right)),
            false => (from + 1 == level && *right == place).then_some((*from, *left)),
        });
        edges.collect::<Vec<_>>().into_iter()
    }
}

/// Around this node, so many levels to each side.
pub fn around(frozen: &Frozen, centre: Node, depth: usize, at: Time) -> Graph {
    let state = &frozen.engine.state;
    let known = match centre {
        Node::Task(id) => id.index() < state.tasks.len(),
        Node::Stage(id) => id.index() < state.stages.len(),
    };
    if !known {
        return Graph::default();
    }
    let depth = depth.clamp(1, MAX_DEPTH);
    let (before, more_before) = side(state, centre, depth, needs);
    let (after, more_after) = side(state, centre, depth, leads);
    let mut nodes: Vec<(Vec<Node>, (usize, bool))> = before.into_iter().zip(more_before).rev().collect();
    nodes.push((vec![centre], (0, false)));
    nodes.extend(after.into_iter().zip(more_after));
    let level = |(nodes, (more, at_least)): &(Vec<Node>, (usize, bool))| Level {
        places: nodes.iter().map(|node| place(frozen, *node, at)).collect(),
        more: *more,
        at_least: *at_least,
    };
    let levels: Vec<Level> = nodes.iter().map(level).collect();
    let edges = nodes.windows(2).enumerate().flat_map(|(n, pair)| {
        joined(state, &pair[0].0, &pair[1].0).into_iter().map(move |(left, right)| (n, left, right))
    });
    let edges = edges.collect();
    Graph { levels, middle: depth, edges }
}

/// Which of these leads to which of those. Asked from both ends: what one end is too large to look at, the other knows.
fn joined(state: &State, left: &[Node], right: &[Node]) -> Vec<(usize, usize)> {
    let after: Vec<BTreeSet<Node>> = left.iter().map(|node| leads(state, *node).collect()).collect();
    let mut edges = Vec::new();
    for (to, node) in right.iter().enumerate() {
        let before: BTreeSet<Node> = needs(state, *node).collect();
        // A stage that waits for another waits for each task of it.
        let stage_of = |left: &Node| match (left, node) {
            (Node::Task(id), Node::Stage(_)) => Node::Stage(state.definition(*id).stage),
            _ => *left,
        };
        let joins = |(from, left): &(usize, &Node)| {
            before.contains(left) || before.contains(&stage_of(left)) || after[*from].contains(node)
        };
        edges.extend(left.iter().enumerate().filter(joins).map(|(from, _)| (from, to)));
    }
    edges
}

/// The levels of one side, the nearest first.
type Side = (Vec<Vec<Node>>, Vec<(usize, bool)>);

/// Levels to one side: each node as far out as a way leads to it, so that what is between shows.
fn side<'a, I: Iterator<Item = Node>>(
    state: &'a State,
    centre: Node,
    depth: usize,
    beside: impl Fn(&'a State, Node) -> I,
) -> Side {
    let mut far: BTreeMap<Node, usize> = BTreeMap::new();
    let mut inwards: BTreeMap<Node, BTreeSet<Node>> = BTreeMap::new();
    let mut cut: Vec<Vec<Node>> = vec![vec![]; depth];
    let mut at_least = vec![false; depth];
    let mut level = vec![centre];
    for distance in 0..depth {
        let mut next: Vec<Node> = Vec::new();
        for node in &level {
            let known = next.len();
            next.extend(beside(state, *node).filter(|other| *other != centre));
            next[known..].iter().for_each(|other| {
                inwards.entry(*other).or_default().insert(*node);
            });
            at_least[distance] |= next.len() - known == LOOKED_AT;
        }
        next.sort_unstable();
        next.dedup();
        cut[distance] = next.split_off(next.len().min(MAX_LEVEL));
        far.extend(next.iter().map(|node| (*node, distance)));
        level = next;
    }
    settle(&mut far, &inwards, centre, &mut cut);
    let mut levels: Vec<Vec<Node>> = vec![vec![]; depth];
    far.iter().for_each(|(node, distance)| levels[*distance].push(*node));
    let unseen = |cut: Vec<Node>| cut.iter().filter(|node| !far.contains_key(node)).count();
    let more = cut.into_iter().map(unseen).zip(at_least).collect();
    (levels, more)
}

/// Each node stands beside one that it has to do with. Where the walk ended before it could move a node out as far as its
/// neighbour, it stands beside a nearer one; if there is none, it belongs further out than what is shown.
fn settle(
    far: &mut BTreeMap<Node, usize>,
    inwards: &BTreeMap<Node, BTreeSet<Node>>,
    centre: Node,
    cut: &mut [Vec<Node>],
) {
    // Nodes move inwards only, so that this ends.
    loop {
        let mut moves = Vec::new();
        for (node, at) in &*far {
            let beside = inwards[node].iter().filter_map(|inner| match *inner == centre {
                true => Some(0),
                false => far.get(inner).map(|level| level + 1),
            });
            let best = beside.filter(|level| level <= at).max();
            if best != Some(*at) {
                moves.push((*node, best));
            }
        }
        if moves.is_empty() {
            return;
        }
        for (node, to) in moves {
            far.remove(&node);
            let Some(to) = to else { continue };
            if far.values().filter(|level| **level == to).count() < MAX_LEVEL {
                far.insert(node, to);
            } else {
                cut[to].push(node);
            }
        }
    }
}

/// What a node waits for. A transition that leads back is no need: it is said in words.
fn needs(state: &State, node: Node) -> impl Iterator<Item = Node> {
    let (after, stage): (&[TaskId], StageId) = match node {
        Node::Task(id) => (&state.definition(id).after, state.definition(id).stage),
        Node::Stage(id) => (&[], id),
    };
    let entry = state.stage(stage);
    let forward = entry.led_by.iter().map(|id| &state.transition(*id).definition).filter(|way| !way.is_backward());
    let transitions = forward.map(|way| way.from);
    let stages = entry.definition.after.iter().copied().chain(transitions).filter(move |from| *from != stage);
    after.iter().copied().map(Node::Task).chain(stages.map(Node::Stage)).take(LOOKED_AT)
}

/// What waits for a node.
fn leads(state: &State, node: Node) -> impl Iterator<Item = Node> {
    let (tasks, stage): (&[TaskId], StageId) = match node {
        Node::Task(id) => (state.dependents.at(id.index()), state.definition(id).stage),
        Node::Stage(id) => (&[], id),
    };
    let entry = state.stage(stage);
    let forward = entry.leads.iter().map(|id| &state.transition(*id).definition).filter(|way| !way.is_backward());
    let transitions = forward.map(|way| way.to);
    let stages = entry.later.iter().copied().chain(transitions).filter(move |to| *to != stage);
    tasks.iter().copied().map(Node::Task).chain(stages.map(Node::Stage)).take(LOOKED_AT)
}

fn place(frozen: &Frozen, node: Node, at: Time) -> Place {
    let state = &frozen.engine.state;
    match node {
        Node::Task(id) => {
            let row = task_row(frozen, id, at);
            Place { node, name: row.name.to_string(), stand: Stand::Task(Box::new(row)) }
        }
        Node::Stage(id) => {
            let entry = state.stage(id);
            let mut ways: Vec<String> = Vec::new();
            for way in entry.led_by.iter().map(|way| &state.transition(*way).definition) {
                let end = match way.on {
                    StageEnd::Success => "on success",
                    StageEnd::Failure => "on failure",
                    StageEnd::Over => "once over",
                };
                ways.push(format!("from {} {end}", state.stage_name(way.from)));
            }
            let stand = Stand::Stage(Box::new(counts(state, &entry.counts)), ways.join(", "));
            Place { node, name: entry.definition.name.clone(), stand }
        }
    }
}
