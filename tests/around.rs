//! The graph around a node, against the definitions it is made of.

mod engine_support;

use std::collections::BTreeSet;

use engine_support::flow::parse;
use engine_support::{Rng, SaySeed, random_workflow, seeds};
use quarterdeck::engine::decide::Engine;
use quarterdeck::engine::definition::Workflow;
use quarterdeck::engine::ids::{StageId, TaskId, Time};
use quarterdeck::engine::message::{Command, Input, Origin, What};
use quarterdeck::snapshot::build::Frozen;
use quarterdeck::snapshot::graph::{Graph, MAX_DEPTH, Node, around};

fn frozen(flow: Workflow) -> Frozen {
    let mut engine = Engine::default();
    let load = Command::Load(flow.into());
    engine.decide(&Input { at: Time(0), what: What::Command { by: Origin::Rule, command: load } });
    Frozen { engine, ..Frozen::default() }
}

fn names(graph: &Graph) -> Vec<Vec<&str>> {
    graph.levels.iter().map(|level| level.places.iter().map(|place| place.name.as_str()).collect()).collect()
}

#[test]
fn what_is_between_two_nodes_stands_between_them() {
    let frozen = frozen(parse(
        "stage one
         stage two after one
         task a stage one
         task b stage one after a
         task c stage one after a,b
         task d stage two",
    ));
    let graph = around(&frozen, Node::Task(TaskId(2)), 2, Time(0));
    assert_eq!(names(&graph), [vec!["a"], vec!["b"], vec!["c"], vec!["two"], vec![]]);
    assert_eq!(graph.edges, [(0, 0, 0), (1, 0, 0), (2, 0, 0)]);
    let stage = around(&frozen, Node::Task(TaskId(3)), 1, Time(0));
    assert_eq!(names(&stage), [vec!["one"], vec!["d"], vec![]]);
    assert_eq!(names(&around(&frozen, Node::Task(TaskId(99)), 1, Time(0))), Vec::<Vec<&str>>::new());
}

#[test]
fn how_many_more_there_are_is_said_and_is_a_bound_past_what_is_looked_at() {
    let counted = |fans: usize| {
        let fans: Vec<String> = (0..fans).map(|n| format!("task t{n} stage one after a")).collect();
        let frozen = frozen(parse(&format!("stage one\ntask a stage one\n{}", fans.join("\n"))));
        let graph = around(&frozen, Node::Task(TaskId(0)), 1, Time(0));
        let level = &graph.levels[2];
        (level.places.len(), level.more, level.at_least)
    };
    assert_eq!(counted(60), (60, 0, false));
    assert_eq!(counted(150), (60, 90, false));
    assert_eq!(counted(500), (60, 140, true));
}

#[test]
fn a_task_that_a_large_one_needs_late_shows_it() {
    let tasks: Vec<String> = (0..300).map(|n| format!("task t{n} stage one")).collect();
    let all: Vec<String> = (0..300).map(|n| format!("t{n}")).collect();
    let flow = format!("stage one\n{}\ntask large stage one after {}", tasks.join("\n"), all.join(","));
    let graph = around(&frozen(parse(&flow)), Node::Task(TaskId(299)), 1, Time(0));
    assert_eq!(names(&graph), [vec![], vec!["t299"], vec!["large"]]);
    assert_eq!(graph.edges, [(1, 0, 0)]);
}

#[test]
fn edges_are_those_of_the_workflow_and_no_direct_one_is_missing() {
    for seed in seeds(100) {
        let _say = SaySeed("around", seed);
        let frozen = frozen(random_workflow(&mut Rng(seed)));
        let state = &frozen.engine.state;
        let tasks = (0..state.tasks.len()).map(|n| Node::Task(n.into()));
        for centre in tasks.chain((0..state.stages.len()).map(|n| Node::Stage(n.into()))) {
            let graph = around(&frozen, centre, MAX_DEPTH, Time(0));
            assert_eq!(graph.at((graph.middle, 0)).map(|place| place.node), Some(centre));
            let all: Vec<Node> = graph.levels[..graph.middle]
                .iter()
                .flat_map(|level| level.places.iter().map(|place| place.node))
                .collect();
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "no node stands twice on one side");
            if let Node::Task(id) = centre {
                let direct = state.definition(id).after.iter().map(|before| Node::Task(*before));
                assert!(direct.into_iter().all(|before| all.contains(&before)), "{id} needs what is not shown");
            }
            for (n, level) in graph.levels.iter().enumerate().filter(|(n, _)| *n != graph.middle) {
                let later = n < graph.middle;
                let bare = (0..level.places.len()).filter(|place| graph.beside((n, *place), later).next().is_none());
                assert_eq!(bare.count(), 0, "each node has an edge towards the middle");
            }
            let stage = |node: Node| -> StageId {
                match node {
                    Node::Task(id) => state.definition(id).stage,
                    Node::Stage(id) => id,
                }
            };
            for (level, left, right) in &graph.edges {
                let (left, right) =
                    (graph.levels[*level].places[*left].node, graph.levels[level + 1].places[*right].node);
                let task = match (left, right) {
                    (Node::Task(left), Node::Task(right)) => state.definition(right).after.contains(&left),
                    _ => false,
                };
                let entry = state.stage(stage(right));
                let from = entry.led_by.iter().map(|way| state.transition(*way).definition.from);
                let stages = entry.definition.after.iter().copied().chain(from).any(|before| before == stage(left));
                assert!(task || stages, "{left:?} does not lead to {right:?}");
            }
        }
    }
}
