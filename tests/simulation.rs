//! Virtual time: the same seed gives the same run, every run of random workflows ends and passes the checker of facts, and
//! a run taken up half-way comes to the same end.

mod engine_support;

use std::sync::Arc;

use engine_support::checker::Checker;
use engine_support::flow::parse;
use engine_support::{Rng, SaySeed, add_controls, random_workflow, replay, seeds};
use quarterdeck::engine::ids::*;
use quarterdeck::sim::{Seeded, run_on, run_workflow};

fn rough(seed: u64) -> Seeded {
    Seeded { seed, failing: 0.2, leaking: 0.2, stubborn: 0.3, spread: 0.9, ..Seeded::exact() }
}

#[test]
fn every_seeded_run_ends_breaks_nothing_and_is_the_same_again() {
    for seed in seeds(300) {
        let _say = SaySeed("simulation", seed);
        let mut rng = Rng(seed);
        let mut flow = random_workflow(&mut rng);
        add_controls(&mut rng, &mut flow);
        let flow = Arc::new(flow);
        let run = run_workflow(&flow, &mut rough(seed), 100_000);
        assert!(run.finished);
        run.engine.state.check().expect("every index is right");
        let mut checker = Checker::default();
        for fact in &run.facts {
            checker.feed(fact);
        }
        assert!(replay(&run.facts) == run.engine.state);
        let again = run_workflow(&flow, &mut rough(seed), 100_000);
        assert_eq!((again.makespan, again.facts), (run.makespan, run.facts));
    }
}

#[test]
fn a_makespan_is_what_the_workflow_takes() {
    let flow = parse(
        "agent x slots 2
         task a estimate 1000
         task b estimate 3000
         task c estimate 1000
         task d estimate 500 after b,c",
    );
    let run = run_workflow(&Arc::new(flow), &mut Seeded::exact(), 1000);
    assert_eq!((run.finished, run.makespan), (true, Span(3_500)));
    assert_eq!(run.turns, 1 + 2 * 4, "the load, then a start and an end of each");
}

#[test]
fn a_timeout_cuts_a_run_short_and_kills_what_is_stubborn() {
    let flow = Arc::new(parse("set grace 2000\ntask a timeout 1000 estimate 60000"));
    let obedient = run_workflow(&flow, &mut Seeded::exact(), 1000);
    assert_eq!(obedient.makespan, Span(1_005));
    let stubborn = run_workflow(&flow, &mut Seeded { stubborn: 1.0, ..Seeded::exact() }, 1000);
    assert_eq!((stubborn.makespan, stubborn.engine.state.exit_code()), (Span(3_005), 1));
}

#[test]
fn a_run_taken_up_half_way_comes_to_the_same_end() {
    let flow = Arc::new(parse(
        "agent x slots 3 cpu 4
         task a uses cpu:2 estimate 4000
         task b uses cpu:2 estimate 1000
         task c uses cpu:3 estimate 2000
         task d estimate 7000 after b
         task e estimate 1500 after a,c",
    ));
    let whole = run_workflow(&flow, &mut Seeded::exact(), 1000);
    let end = whole.engine.state.now;
    let loaded = whole.facts.iter().position(|stamped| stamped.at > Time(0)).expect("time passes");
    for cut in loaded..whole.facts.len() {
        let run = run_on(replay(&whole.facts[..cut]), &mut Seeded::exact(), 1000);
        assert!(run.finished, "cut at {cut}");
        assert_eq!(run.engine.state.now, end, "cut at {cut}: {:?}", whole.facts[cut]);
        assert!(run.facts.is_empty(), "a forecast keeps no facts");
    }
}

#[test]
fn what_is_paused_stops_there_instead_of_hanging() {
    let flow = Arc::new(parse("task a"));
    let run = run_workflow(&flow, &mut Seeded::exact(), 1000);
    let load_only = run.facts.iter().take_while(|stamped| !format!("{:?}", stamped.fact).starts_with("Starting"));
    let mut state = replay(&load_only.cloned().collect::<Vec<_>>());
    state.paused = true;
    let run = run_on(state, &mut Seeded::exact(), 1000);
    assert!(!run.finished && run.turns < 5);
}
