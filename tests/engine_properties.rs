//! Random workflows under random commands, agents that lie and crashes at any fact: what must hold whatever happens.
//! A failing seed is printed; `QD_SEED=n cargo test --test engine_properties` runs it alone, `QD_SEEDS=n` more of them.

mod engine_support;

use std::sync::Arc;

use engine_support::run::Run;
use engine_support::{Rng, SaySeed, campaign, is_large_campaign, random_workflow, replay, seeds};
use quarterdeck::engine::decide::Engine;
use quarterdeck::engine::fact::{Fact, Outcome, Stamped};
use quarterdeck::engine::ids::*;
use quarterdeck::engine::message::*;
use quarterdeck::engine::state::Phase;

/// Seeds that once found a defect, all of them run again.
const FOUND: &[u64] = &[
    10, 158, 662, 1165, 1883, 2114, 2280, 4103, 9136, 5197, 3942, 4790, 325, 98, 147, 359, 645, 2152, 3270, 3342, 4270,
    7444,
];
/// So many of these found it before there were locks: they do what they did then.
const BEFORE_LOCKS: usize = 9;
/// And so many before a workflow could be changed while it runs.
const BEFORE_SURGERY: usize = 12;
/// And so many before a task could give back early what it took at its start.
const BEFORE_GIVING: usize = 22;

fn chaos(seed: u64, steps: u64) -> Run {
    let before_surgery = FOUND[..BEFORE_SURGERY].contains(&seed);
    let mut run = if before_surgery { Run::begin_with_all(seed) } else { Run::begin_with_health(seed) };
    let every = if is_large_campaign() { 40 } else { 8 };
    let mut locks = (!FOUND[..BEFORE_LOCKS].contains(&seed)).then_some(Rng(seed ^ 0x10c4));
    let mut surgery = (!before_surgery).then_some(Rng(seed ^ 0x5c_4191));
    let mut giving = (!FOUND[..BEFORE_GIVING].contains(&seed)).then_some(Rng(seed ^ 0x91fe));
    for step in 0..steps {
        run.random_step();
        if let Some(rng) = locks.as_mut().filter(|_| step % 2 == 0) {
            run.lock_step(rng);
        }
        if let Some(rng) = surgery.as_mut().filter(|_| step % 4 == 1) {
            run.surgery_step(rng);
        }
        if let Some(rng) = giving.as_mut().filter(|_| step % 5 == 3) {
            run.give_back_step(rng);
        }
        if step % every == seed % every {
            run.compare_with_replay();
        }
    }
    run.compare_with_replay();
    run
}

#[test]
fn nothing_is_broken_whatever_is_asked_and_told() {
    campaign("chaos", 150, FOUND, |seed| {
        let mut run = chaos(seed, 120);
        run.go_to_the_end();
        run.compare_with_replay();
    });
}

#[test]
fn a_crash_at_any_fact_loses_nothing_and_repeats_nothing() {
    campaign("crash", 150, FOUND, |seed| {
        let mut run = chaos(seed, 60);
        for _ in 0..3 {
            let cut = run.rng.below(run.facts.len() as u64 + 1) as usize;
            let loaded = run.facts[..cut].iter().any(|stamped| matches!(stamped.fact, Fact::Loaded { .. }));
            if !loaded {
                continue;
            }
            let before_last_round = entered(&run, 0);
            let mut done: Vec<TaskId> = ended_well(&run.facts[..cut]);
            done.retain(|task| !before_last_round.contains(task));
            run.crash_at(cut);
            for _ in 0..20 {
                run.random_step();
            }
            run.compare_with_replay();
            let entered = entered(&run, cut);
            let again = run.facts[cut..].iter().find(|stamped| {
                matches!(&stamped.fact, Fact::Starting { task, .. } if done.contains(task) && !entered.contains(task))
            });
            assert!(again.is_none(), "finished work is run again: {again:?}");
        }
        run.go_to_the_end();
    });
}

/// Tasks that a transition has put into a new round since, or that are run again with the others of a task without majority.
fn entered(run: &Run, cut: usize) -> Vec<TaskId> {
    let state = &run.engine.state;
    let stages = run.facts[cut..].iter().filter_map(|stamped| match &stamped.fact {
        Fact::TransitionTaken { transition, .. } => Some(state.transition(*transition).definition.to),
        _ => None,
    });
    let of_majority = |task: &TaskId| {
        (0..state.tasks.len()).map(TaskId::from).any(|other| {
            let definition = state.definition(other);
            definition.task_type.majority().is_some() && definition.after.contains(task)
        })
    };
    let again = run.facts[cut..].iter().filter_map(|stamped| match &stamped.fact {
        Fact::Requeued { task } => Some(*task),
        _ => None,
    });
    // Only what is to be run can be edited, if it was done before then in an earlier round, perhaps of another stage.
    let edited = run.facts[cut..].iter().filter_map(|stamped| match &stamped.fact {
        Fact::TaskEdited { task, .. } => Some(*task),
        _ => None,
    });
    let in_rounds = stages.flat_map(|stage| state.stage(stage).tasks.iter().copied());
    in_rounds.chain(again.filter(of_majority)).chain(edited).collect()
}

fn ended_well(facts: &[Stamped]) -> Vec<TaskId> {
    let done = facts.iter().filter_map(|stamped| match &stamped.fact {
        Fact::Ended { task, outcome: Outcome::Succeeded, .. } => Some(*task),
        _ => None,
    });
    done.collect()
}

#[test]
fn a_fair_run_ends_and_every_task_that_could_run_is_settled() {
    campaign("fair", 150, FOUND, |seed| {
        let mut run = Run::begin_with_all(seed);
        run.go_to_the_end();
        let state = &run.engine.state;
        for index in 0..state.tasks.len() {
            let id = TaskId::from(index);
            let task = state.task(id);
            let stuck = task.phase == Phase::Ready && state.could_ever_start(state.class_of(id));
            assert!(!stuck, "{} could start and never did", state.name(id));
        }
    });
}

#[test]
fn a_load_that_was_cut_short_is_taken_up_from_its_start() {
    for seed in seeds(40) {
        let _say = SaySeed("load", seed);
        let mut rng = Rng(seed);
        let workflow = Arc::new(random_workflow(&mut rng));
        let load =
            Input { at: Time(5), what: What::Command { by: Origin::Operator, command: Command::Load(workflow) } };
        let whole = Engine::default().decide(&load).facts;
        let end = whole.iter().position(|stamped| matches!(stamped.fact, Fact::Loaded { .. })).expect("it is loaded");
        let cut = rng.below(end as u64 + 1) as usize;
        let mut engine = Engine::new(replay(&whole[..cut]));
        let turn = engine.decide(&load);
        assert_eq!(turn.facts, whole);
        assert!(replay(&[&whole[..cut], &whole[..]].concat()) == engine.state);
    }
}
