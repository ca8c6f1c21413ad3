//! What has run, as the timeline and the reports have it: read off a State alone, judged here by the facts of the same run,
//! which say more.

mod engine_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine_support::flow::parse;
use engine_support::{Rng, SaySeed, add_controls, random_workflow, seeds};
use quarterdeck::engine::definition::Workflow;
use quarterdeck::engine::fact::Fact;
use quarterdeck::engine::ids::{Span, TaskId, Time};
use quarterdeck::engine::state::{ATTEMPTS_KEPT, State};
use quarterdeck::sim::{Run, Seeded, run_workflow};
use quarterdeck::snapshot::build::Frozen;
use quarterdeck::snapshot::record::{Lane, Link, Record};

fn ran(flow: Workflow, world: &mut Seeded) -> (Record, Run) {
    let run = run_workflow(&Arc::new(flow), world, 100_000);
    let frozen = Frozen { engine: run.engine.clone(), ..Frozen::default() };
    (Record::of(&frozen, run.engine.state.now), run)
}

fn overlap(record: &Record, lane: &Lane) -> bool {
    let ended = |bar: u32| record.bar(bar).ended.unwrap_or(Time(u64::MAX));
    lane.bars.windows(2).any(|pair| ended(pair[0]) > record.bar(pair[1]).started)
}

#[test]
fn each_attempt_has_one_bar_in_one_lane_and_what_led_to_it_was_over_before() {
    for seed in seeds(150) {
        let _say = SaySeed("record", seed);
        let mut rng = Rng(seed);
        let mut flow = random_workflow(&mut rng);
        add_controls(&mut rng, &mut flow);
        let mut world = Seeded { seed, failing: 0.2, leaking: 0.2, stubborn: 0.3, spread: 0.9, ..Seeded::exact() };
        let (record, run) = ran(flow, &mut world);
        // Attempts of the facts, and since when the last of each task was ready.
        let (mut ends, mut ready): (BTreeMap<TaskId, usize>, BTreeMap<TaskId, Time>) = Default::default();
        let mut state = State::default();
        for stamped in &run.facts {
            match &stamped.fact {
                Fact::Starting { task, .. } => {
                    ready.insert(*task, state.task(*task).ready_at);
                }
                Fact::Ended { task, .. } => *ends.entry(*task).or_default() += 1,
                _ => {}
            }
            state.apply(stamped);
        }
        for (task, count) in &ends {
            let bars: Vec<_> = record.bars.iter().filter(|bar| bar.task == *task).collect();
            assert_eq!(bars.len(), (*count).min(ATTEMPTS_KEPT), "attempts of {task}");
            let last = bars.last().expect("it has ended");
            assert_eq!(record.find(*task, last.attempt), record.last_of(*task));
            let requeued = state.task(*task).ready_at > last.started;
            assert!(requeued || last.ready == ready[task], "{task} was ready at {:?}: {last:?}", ready[task]);
        }
        assert!(record.bars.iter().all(|bar| bar.ready <= bar.started && bar.ready >= record.began));
        for lanes in [&record.by_agent, &record.by_task] {
            let all: Vec<u32> = lanes.iter().flat_map(|lane| lane.bars.clone()).collect();
            assert_eq!(all.len(), record.bars.len());
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            assert!(!lanes.iter().any(|lane| overlap(&record, lane)));
        }
        assert!(!record.by_resource.iter().any(|lane| overlap(&record, lane)));
        for pair in record.critical.windows(2) {
            assert!(record.bar(pair[0].bar).ended <= Some(record.bar(pair[1].bar).started), "{pair:?}");
            assert_ne!(pair[1].link, Link::First);
        }
        let marked = record.bars.iter().filter(|bar| bar.critical).count();
        assert_eq!(marked, record.critical.len());
        let at = Time(run.engine.state.now.0 / 2);
        let naive = record.bars.iter().filter(|bar| bar.started <= at && bar.ended.is_none_or(|end| end > at));
        assert_eq!(record.running_at(at), naive.count());
        assert!(record.waits.is_sorted_by(|a, b| a.long >= b.long));
    }
}

#[test]
fn the_critical_path_goes_through_needs_locks_slots_and_attempts() {
    let flow = parse(
        "lock db
         agent x slots 2
         agent y slots 1 can far
         task setup estimate 1000
         task long estimate 5000 uses db after setup
         task short estimate 200 after setup
         task late estimate 2000 uses db after short
         task far1 estimate 500 needs far after late
         task far2 estimate 500 needs far after late prio -1
         task end estimate 100 after far2",
    );
    let (record, run) = ran(flow, &mut Seeded::exact());
    let path: Vec<(String, Link)> =
        record.critical.iter().map(|step| (record.name(record.bar(step.bar).task).to_owned(), step.link)).collect();
    let db = run.engine.state.resources.iter().position(|entry| entry.definition.name == "db").expect("it is there");
    let want = [
        ("setup", Link::First),
        ("long", Link::Needs),
        ("late", Link::Room(db.into())),
        ("far1", Link::Needs),
        ("far2", Link::Slot),
        ("end", Link::Needs),
    ];
    let want: Vec<(String, Link)> = want.iter().map(|(name, link)| ((*name).to_owned(), *link)).collect();
    assert_eq!(path, want);
    let waits: Vec<(&str, Span, &str)> =
        record.waits.iter().map(|wait| (record.name(wait.task), wait.long, wait.why.as_str())).collect();
    assert_eq!(
        waits,
        [("late", Span(4_800), "lock db, given back by long"), ("far2", Span(500), "a slot of y, given back by far1"),]
    );
    assert_eq!(record.over, Some(Time(9_100)));
}

#[test]
fn those_that_share_a_lock_waited_for_a_slot_and_not_for_each_other() {
    let flow = parse(
        "lock db
         agent x slots 1
         task a estimate 1000 uses db:shared
         task b estimate 1000 uses db:shared
         task c estimate 1000 uses db",
    );
    let (record, _) = ran(flow, &mut Seeded::exact());
    let waits: Vec<(&str, &str)> =
        record.waits.iter().map(|wait| (record.name(wait.task), wait.why.as_str())).collect();
    assert_eq!(waits, [("c", "lock db, given back by b"), ("b", "a slot of x, given back by a")]);
}

#[test]
fn an_attempt_after_a_failed_one_is_its_next_step() {
    let mut world = Seeded { failing: 1.0, ..Seeded::exact() };
    let (record, _) = ran(parse("task a estimate 1000 tries 3 backoff 500"), &mut world);
    let links: Vec<Link> = record.critical.iter().map(|step| step.link).collect();
    assert_eq!(links, [Link::First, Link::Again, Link::Again]);
    assert_eq!(record.bars.iter().map(|bar| bar.started.0).collect::<Vec<_>>(), [0, 1_500, 3_000]);
    assert_eq!(record.by_task.len(), 1);
    assert_eq!(record.by_task[0].bars.len(), 3);
}
