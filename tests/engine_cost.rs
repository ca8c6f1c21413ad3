//! What a turn costs, by size and shape. Not run by default:
//! `cargo test --release --test engine_cost -- --ignored --nocapture --test-threads=1`

mod engine_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_support::{CPU, MEM, task};
use quarterdeck::engine::decide::Engine;
use quarterdeck::engine::definition::*;
use quarterdeck::engine::ids::*;
use quarterdeck::engine::message::*;
use quarterdeck::sim;

/// Time on the processor by this thread: other programs on the machine do not count. (Asking costs a system call: single
/// turns are measured by the clock on the wall, and their worst is of the machine as much as of the engine.)
#[derive(Clone, Copy)]
struct Worked(Duration);

impl Worked {
    fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Self(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
    fn elapsed(self) -> Duration {
        Self::now().0 - self.0
    }
}

fn flow(tasks: Vec<TaskDefinition>, locks: usize) -> Workflow {
    let per_agent = |name: &str| ResourceDefinition::new(name, ResourceKind::PerAgent);
    let mut resources = vec![per_agent("cpu"), per_agent("mem")];
    resources.extend((0..locks).map(|n| ResourceDefinition::new(format!("lock{n}"), ResourceKind::Lock)));
    Workflow {
        windows: Vec::new(),
        goals: Vec::new(),
        barriers: Vec::new(),
        settings: Settings::default(),
        resources,
        agents: vec![AgentDefinition {
            name: "local".into(),
            slots: 8,
            capabilities: Vec::new(),
            resources: vec![(CPU, Amount::units(8)), (MEM, Amount::units(1 << 20))],
            launcher: Vec::new(),
            health: None,
        }],
        stages: vec![WorkflowStage { name: "all".into(), after: Vec::new(), when: None }],
        transitions: Vec::new(),
        phases: Vec::new(),
        fallbacks: Vec::new(),
        tasks,
    }
}

fn tasks(n: usize, change: impl Fn(usize, &mut TaskDefinition)) -> Vec<TaskDefinition> {
    let one = |index: usize| {
        let mut task = task(&format!("t{index}"));
        change(index, &mut task);
        task
    };
    (0..n).map(one).collect()
}

fn needs(task: &mut TaskDefinition, resource: ResourceId, amount: Amount) {
    task.requirements.resources.push(ResourceRequirement { resource, amount });
}

/// Runs to the end; returns the cost per task after the load.
fn run(name: &str, workflow: Workflow) -> Duration {
    let n = workflow.tasks.len();
    let workflow = Arc::new(workflow);
    let begin = Worked::now();
    let mut engine = Engine::default();
    let load = What::Command { by: Origin::Rule, command: Command::Load(workflow) };
    let mut effects = engine.decide(&Input { at: Time(0), what: load }).effects;
    let loaded = begin.elapsed();
    let begin = Worked::now();
    let (mut now, mut turns, mut worst) = (0, 0u64, Duration::ZERO);
    // Each batch of starts runs side by side and ends 10 ms later.
    while !engine.state.is_finished() {
        let starts: Vec<_> = std::mem::take(&mut effects)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Start(order) => Some((order.task, order.attempt)),
                _ => None,
            })
            .collect();
        assert!(!starts.is_empty(), "{name} hangs");
        let exited = News::Exited { exit: Exit::Code(0), usage: Usage::default(), output: 0, left: 0, findings: None };
        for (news, wait) in [(None, 0), (Some(exited), 10)] {
            now += wait;
            for (task, attempt) in &starts {
                let process = Process { pid: 1, start_ticks: 1 };
                let news = news.clone().unwrap_or(News::Started { process, log: u64::from(task.0) });
                let report = Report { task: *task, attempt: *attempt, news };
                let at = Instant::now();
                let turn = engine.decide(&Input { at: Time(now), what: What::Report(report) });
                worst = worst.max(at.elapsed());
                effects.extend(turn.effects);
                turns += 1;
            }
        }
    }
    let took = begin.elapsed();
    assert_eq!(engine.state.exit_code(), 0);
    let per_task = took / n as u32;
    let rate = turns as f64 / took.as_secs_f64();
    println!("{name:44} load {loaded:>8.1?}  {per_task:>8.0?}/task  {rate:>9.0} turns/s  worst {worst:>8.1?}");
    per_task
}

#[test]
#[ignore = "measures"]
fn cost_per_task_hardly_grows_with_their_number() {
    let independent = |n: usize| run(&format!("{n} independent"), flow(tasks(n, |_, _| {}), 0));
    let small = independent(1_000).min(independent(1_000));
    independent(10_000);
    independent(100_000);
    let large = independent(1_000_000);
    println!("1M : 1k = {:.2}", large.as_secs_f64() / small.as_secs_f64());
    let n = 100_000;
    run("chain of 100,000", flow(tasks(n, |i, t| t.after.extend(i.checked_sub(1).map(TaskId::from))), 0));
    let own_lock = |i: usize, t: &mut TaskDefinition| needs(t, ResourceId::from(i + 2), Amount::WHOLE_LOCK);
    run("100,000 tasks, each its own lock", flow(tasks(n, own_lock), n));
    let own_mem = |i: usize, t: &mut TaskDefinition| needs(t, MEM, Amount::units(i as u64 + 1));
    run("100,000 tasks, each its own mem", flow(tasks(n, own_mem), 0));
    let one_lock = |_: usize, t: &mut TaskDefinition| needs(t, ResourceId(2), Amount::WHOLE_LOCK);
    run("100,000 waiters on one lock", flow(tasks(n, one_lock), 1));
    let own_estimate = |i: usize, t: &mut TaskDefinition| {
        needs(t, ResourceId(2), Amount::WHOLE_LOCK);
        t.estimate = Some(Span(i as u64));
    };
    run("100,000 classes waiting on one lock", flow(tasks(n, own_estimate), 1));
    let readers_and_writers = |i: usize, t: &mut TaskDefinition| {
        needs(t, ResourceId(2), if i.is_multiple_of(10) { Amount::WHOLE_LOCK } else { Amount(1) });
        needs(t, MEM, Amount::units(1 + i as u64));
    };
    run("100,000 classes, readers and writers", flow(tasks(n, readers_and_writers), 1));
    let fan = |i: usize, t: &mut TaskDefinition| t.after.extend((i > 0).then_some(TaskId(0)));
    run("99,999 after one", flow(tasks(n, fan), 0));
}

/// The first in the queue waits for what cannot be had by stopping anybody, while a thousand run that could be stopped.
#[test]
#[ignore = "measures"]
fn what_may_be_interrupted_costs_little_while_nobody_is() {
    let cost = |preemptible: bool, classes: usize| {
        let work = tasks(20_000, |i, task| {
            if i.is_multiple_of(20) {
                task.priority = 1;
                task.estimate = Some(Span((i / 20 % classes) as u64));
                needs(task, ResourceId(2), Amount::WHOLE_LOCK);
            } else {
                task.preemptible = preemptible;
            }
        });
        let mut flow = flow(work, 1);
        flow.agents[0].slots = 1_000;
        run(&format!("1,000 slots, {classes} classes wait, preemptible: {preemptible}"), flow)
    };
    for classes in [1, 64] {
        let (without, with) = (cost(false, classes), cost(true, classes));
        println!("{classes}: {:.2}", with.as_secs_f64() / without.as_secs_f64());
    }
}

#[test]
#[ignore = "measures"]
fn a_clone_costs_by_chunk() {
    for n in [100_000, 1_000_000] {
        let mut engine = Engine::default();
        let workflow = Arc::new(flow(tasks(n, |_, _| {}), 0));
        let load = What::Command { by: Origin::Rule, command: Command::Load(workflow) };
        engine.decide(&Input { at: Time(0), what: load });
        let mut turns = Vec::new();
        let mut clones = Vec::new();
        for round in 0..50u32 {
            let at = Instant::now();
            let shared = engine.state.clone();
            clones.push(at.elapsed());
            let process = Process { pid: 1, start_ticks: 1 };
            let exited =
                News::Exited { exit: Exit::Code(0), usage: Usage::default(), output: 0, left: 0, findings: None };
            for news in [News::Started { process, log: 1 }, exited] {
                let report = Report { task: TaskId(round), attempt: Attempt(1), news };
                let at = Instant::now();
                engine.decide(&Input { at: Time(10), what: What::Report(report) });
                turns.push(at.elapsed());
            }
            drop(shared);
        }
        clones.sort_unstable();
        turns.sort_unstable();
        println!(
            "{n} tasks: clone {:?} (worst {:?}); a turn after a clone {:?} (worst {:?})",
            clones[25], clones[49], turns[50], turns[99]
        );
    }
}

#[test]
#[ignore = "measures"]
fn ten_thousand_seeds_are_simulated_within_a_minute() {
    let begin = Worked::now();
    let mut turns = 0;
    for seed in 1..=10_000 {
        let workflow = Arc::new(engine_support::random_workflow(&mut engine_support::Rng(seed)));
        let mut world =
            sim::Seeded { seed, failing: 0.2, leaking: 0.1, stubborn: 0.3, spread: 0.9, ..sim::Seeded::exact() };
        let run = sim::run_workflow(&workflow, &mut world, 100_000);
        assert!(run.finished, "seed {seed} does not end");
        turns += run.turns;
    }
    println!("10,000 seeds, {turns} turns: {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(60));
}
