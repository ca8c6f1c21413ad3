//! What the engine's tests share: a seeded generator, random workflows, a world of processes that tell the truth or lie,
//! and a checker of facts that shares no code with the engine's decisions.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod checker;
pub mod flow;
pub mod run;
pub mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use quarterdeck::engine::care::*;
use quarterdeck::engine::condition::Condition;
use quarterdeck::engine::condition::Type;
use quarterdeck::engine::definition::*;
use quarterdeck::engine::fact::Stamped;
use quarterdeck::engine::ids::*;
use quarterdeck::engine::monitors::*;
use quarterdeck::engine::state::State;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
    pub fn maybe<T>(&mut self, percent: u64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(percent) { Some(value(self)) } else { None }
    }
}

/// The State that a list of facts folds into.
pub fn replay(facts: &[Stamped]) -> State {
    let mut state = State::default();
    for fact in facts {
        state.apply(fact);
    }
    state
}

/// Facts as the journal would give them back.
pub fn through_ron(facts: &[Stamped]) -> Vec<Stamped> {
    let there_and_back = |fact: &Stamped| {
        let text = ron::to_string(fact).expect("a fact is written");
        let back: Stamped = ron::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        assert_eq!(back, *fact, "{text}");
        back
    };
    facts.iter().map(there_and_back).collect()
}

pub fn command(text: &str) -> Arc<CommandSpec> {
    Arc::new(CommandSpec::new(CommandLine::Shell(text.into())))
}

pub fn task(id: &str) -> TaskDefinition {
    TaskDefinition {
        id: id.into(),
        stage: StageId(0),
        task_type: TaskType::Run(command("true")),
        requirements: Requirements::default(),
        priority: 0,
        deadline: None,
        after: Vec::new(),
        timeout: None,
        estimate: None,
        retry: Retry::default(),
        fallback: Vec::new(),
        tags: Vec::new(),
        join: Join::default(),
        entry: None,
        care: None,
        compensation: None,
        compensates: None,
        barrier: None,
        monitor: None,
        made_by: None,
        added_by: None,
        preemptible: false,
    }
}

pub const CPU: ResourceId = ResourceId(0);
pub const MEM: ResourceId = ResourceId(1);
pub const GPU: ResourceId = ResourceId(2);

/// A random workflow of 1 to 25 tasks: one with everything the engine knows, or one in which many tasks of few kinds
/// contend for little.
pub fn random_workflow(rng: &mut Rng) -> Workflow {
    let mut flow = varied_workflow(rng);
    if rng.chance(50) {
        contend(rng, &mut flow);
    }
    add_care(rng, &mut flow);
    if rng.chance(30) {
        add_foreach(rng, &mut flow);
    }
    if rng.chance(20) {
        add_majority(rng, &mut flow);
    }
    if rng.chance(30) {
        add_barrier(rng, &mut flow);
    }
    if rng.chance(30) {
        flow.tasks.iter_mut().filter(|task| matches!(task.task_type, TaskType::Run(_))).for_each(|task| {
            task.monitor = rng.maybe(40, |rng| Arc::new(random_monitor(rng)));
        });
    }
    flow
}

/// One command stands for the tasks of a list that another publishes.
fn add_foreach(rng: &mut Rng, flow: &mut Workflow) {
    let runs = |flow: &Workflow, index: usize| matches!(flow.tasks[index].task_type, TaskType::Run(_));
    let (giver, taker) = (rng.below(flow.tasks.len() as u64) as usize, rng.below(flow.tasks.len() as u64) as usize);
    if giver == taker || !runs(flow, giver) || !runs(flow, taker) || waits_for(flow, giver, taker) {
        return;
    }
    let of = Type::List(Box::new(Type::Int));
    let publish = Publish { name: "files".into(), from: Source::LastLine, of };
    Arc::make_mut(flow.tasks[giver].care.get_or_insert_default()).publishes.push(publish);
    let is_near = flow.tasks[taker].stage == flow.tasks[giver].stage;
    let task = &mut flow.tasks[taker];
    let TaskType::Run(command) = task.task_type.clone() else { return };
    task.id.push_str("-{k}");
    task.join = Join::default();
    if is_near && rng.chance(70) {
        let after = &mut flow.tasks[taker].after;
        after.push(TaskId::from(giver));
        after.sort_unstable();
        after.dedup();
    }
    let list = ValueOf::Output { task: TaskId::from(giver), name: "files".into() };
    let foreach = Foreach { list, key: "k".into(), command, made: None };
    flow.tasks[taker].task_type = TaskType::Foreach(Arc::new(foreach));
}

/// A command is run several times, and its task waits for a majority of these runs.
fn add_majority(rng: &mut Rng, flow: &mut Workflow) {
    let index = rng.below(flow.tasks.len() as u64) as usize;
    let mut run = flow.tasks[index].clone();
    if !matches!(run.task_type, TaskType::Run(_)) {
        return;
    }
    if rng.chance(80) {
        let publish = Publish { name: "sum".into(), from: Source::Digest { file: None }, of: Type::Int };
        Arc::make_mut(run.care.get_or_insert_default()).publishes.push(publish);
    }
    let runs = 2 + rng.below(3) as u32;
    let first = flow.tasks.len();
    let (id, stage, priority, deadline) = (run.id.clone(), run.stage, run.priority, run.deadline);
    for number in 1..=runs {
        run.id = format!("{id}.{number}");
        if let Some(undo) = &mut run.compensation {
            Arc::make_mut(undo).id = format!("undo-{}", run.id);
        }
        flow.tasks.push(run.clone());
    }
    let majority = Majority { agree: runs / 2 + 1 + rng.below(2) as u32 * u32::from(runs > 2), by: vec!["sum".into()] };
    let task_type = TaskType::Majority(Arc::new(majority));
    let after = (first..flow.tasks.len()).map(TaskId::from).collect();
    let join = Join { trigger: Trigger::AllOver, ..Join::default() };
    flow.tasks[index] = TaskDefinition { task_type, after, join, stage, priority, deadline, ..task(&id) };
}

fn random_monitor(rng: &mut Rng) -> ProgressMonitor {
    let dog = |rng: &mut Rng| {
        let then = *rng.pick(&[MonitorAction::Warn, MonitorAction::Fail]);
        Watchdog { after: Span(1 + rng.below(5_000)), then }
    };
    ProgressMonitor {
        progress: None,
        stall: rng.maybe(60, dog),
        heartbeat: rng.maybe(40, dog),
        drift: rng.maybe(40, dog),
    }
}

/// Two or three commands of one stage of which none waits for another start together; nobody waits for ever.
fn add_barrier(rng: &mut Rng, flow: &mut Workflow) {
    let stage = rng.pick(&flow.tasks).stage;
    let mut members: Vec<usize> = Vec::new();
    for index in 0..flow.tasks.len() {
        let task = &flow.tasks[index];
        let runs = matches!(task.task_type, TaskType::Run(_)) && task.stage == stage;
        if runs && members.len() < 3 && rng.chance(60) && !members.iter().any(|member| waits_for(flow, index, *member))
        {
            members.push(index);
        }
    }
    if members.len() < 2 {
        return;
    }
    let timeout = Some(Span(rng.below(30_000)));
    let on_broken = *rng.pick(&[OnBroken::Fail, OnBroken::Continue]);
    flow.barriers.push(BarrierDefinition { name: "together".into(), timeout, on_broken, inside: None });
    members.into_iter().for_each(|index| flow.tasks[index].barrier = Some(BarrierId(0)));
}

/// A task waits for another, in any number of steps.
fn waits_for(flow: &Workflow, task: usize, other: usize) -> bool {
    let mut ahead = vec![task];
    let mut known = std::collections::BTreeSet::new();
    while let Some(index) = ahead.pop() {
        if index == other {
            return true;
        }
        if known.insert(index) {
            ahead.extend(flow.tasks[index].after.iter().map(|before| before.index()));
        }
    }
    false
}

/// Tasks that publish, that are checked, that may be up to date, and some that refer to what others publish.
fn add_care(rng: &mut Rng, flow: &mut Workflow) {
    let ids = flow.tasks.len() as u64;
    for index in 0..flow.tasks.len() {
        if rng.chance(25) {
            let count = rng.below(3) as usize;
            let publishes = ["size", "hash"][..count.min(2)].iter();
            let publishes =
                publishes.map(|name| Publish { name: (*name).into(), from: Source::LastLine, of: Type::Int });
            let publishes = publishes.collect();
            flow.tasks[index].care = Some(Arc::new(Care { publishes, up_to_date: rng.chance(40), ..Care::default() }));
        }
        let (giver, refers, asks) = (TaskId(rng.below(ids) as u32), rng.chance(10), rng.chance(10));
        if !asks && !refers {
            continue;
        }
        let task = &mut flow.tasks[index];
        if asks {
            let text = *rng.pick(&["metrics.size > 2", "metrics.hash < 3 || metrics.size > 4"]);
            let when = Some(Condition::parse(text).expect("good text"));
            task.entry = Some(Arc::new(Entry { when }));
        } else if let TaskType::Run(command) = &mut task.task_type {
            let value = ValueOf::Output { task: giver, name: "size".into() };
            let command = Arc::make_mut(command);
            command.env.push(("SIZE".into(), String::new()));
            command.references.push(Reference { slot: Slot::Variable(0), at: 0, value });
        }
    }
}

/// Rates, windows, a breaker, `PauseWhile`, and where tasks may run.
pub fn add_controls(rng: &mut Rng, flow: &mut Workflow) {
    flow.settings.pause_while = rng.maybe(25, |rng| {
        let text = rng.pick(&["system.load1 > 2.0", "system.load1 > 1.0 && run.running > 1"]);
        Condition::parse(text).expect("good text")
    });
    flow.settings.breaker = rng.maybe(30, |rng| Breaker {
        failures: 1 + rng.below(4) as u32,
        within: Span::secs(1 + rng.below(20)),
        cool_down: Span::secs(1 + rng.below(10)),
    });
    if rng.chance(50) {
        let kind = ResourceKind::Rate { amount: Amount::units(1 + rng.below(4)), per: Span(500 + rng.below(5_000)) };
        flow.resources.push(ResourceDefinition::limit("rate", kind));
    }
    if rng.chance(40) {
        // Times of a run begin at a million.
        let mut at = 1_000_000 + rng.below(20_000);
        let mut open = Vec::new();
        for _ in 0..30 {
            let end = at + 1 + rng.below(5_000);
            open.push((Time(at), Time(end)));
            at = end + 1 + rng.below(20_000);
        }
        open.push((Time(at), Time(u64::MAX)));
        flow.windows.push(WindowDefinition { name: "now and then".into(), open });
    }
    for n in 0..rng.below(4) {
        let kind = *rng.pick(&[GoalKind::Milestone, GoalKind::Objective]);
        flow.goals.push(Goal { name: format!("goal{n}"), kind, holds: random_condition(rng) });
    }
    let rate = flow.resources.last().filter(|last| last.limit).map(|_| ResourceId::from(flow.resources.len() - 1));
    let (tasks, agents) = (flow.tasks.len() as u64, flow.agents.len() as u64);
    for task in &mut flow.tasks {
        let needs = &mut task.requirements;
        if let Some(resource) = rate.filter(|_| rng.chance(40)) {
            needs.resources.push(ResourceRequirement { resource, amount: Amount::units(1) });
        }
        if !flow.windows.is_empty() && rng.chance(25) {
            needs.constraints.push(TaskConstraint::Within(WindowId(0)));
        }
        if rng.chance(15) {
            needs.constraints.push(TaskConstraint::NotOnAgent(AgentId::from(rng.below(agents) as usize)));
        }
        if rng.chance(15) {
            needs.constraints.push(TaskConstraint::PreferAgent(AgentId::from(rng.below(agents) as usize)));
        }
        if rng.chance(10) {
            needs.constraints.push(TaskConstraint::SameAgentAs(TaskId(rng.below(tasks) as u32)));
        }
    }
}

/// Makes all tasks of few kinds that ask much, with few dependencies and early reservations.
fn contend(rng: &mut Rng, flow: &mut Workflow) {
    flow.settings.reserve_after = Span(*rng.pick(&[0, 0, 1_000]));
    flow.settings.max_running = None;
    for agent in &mut flow.agents {
        agent.slots = 3 + rng.below(6) as u32;
        agent.resources[0].1 = Amount::units(6);
    }
    flow.resources.push(ResourceDefinition::new("scarce", ResourceKind::Pool(Amount::units(6))));
    let scarce = ResourceId::from(flow.resources.len() - 1);
    let kinds: Vec<_> = (0..2 + rng.below(4))
        .map(|_| {
            let amount = Amount::units(*rng.pick(&[1, 1, 2, 3, 5]));
            let mut needs = flow.tasks[rng.below(flow.tasks.len() as u64) as usize].requirements.clone();
            needs.resources.retain(|need| need.resource.index() > GPU.index() && rng.chance(30));
            let resource = if rng.chance(50) { CPU } else { scarce };
            needs.resources.push(ResourceRequirement { resource, amount });
            needs.resources.sort_by_key(|need| need.resource);
            needs.capabilities.clear();
            (needs, rng.maybe(80, |rng| Span::secs(*rng.pick(&[1, 3, 6, 15]))))
        })
        .collect();
    for n in flow.tasks.len()..25 {
        flow.tasks.push(TaskDefinition { priority: rng.below(5) as i32, ..task(&format!("t{n}")) });
    }
    for task in &mut flow.tasks {
        (task.requirements, task.estimate) = rng.pick(&kinds).clone();
        (task.stage, task.timeout) = (StageId(0), None);
        task.after.retain(|_| rng.chance(20));
        task.join.enough =
            task.join.enough.map(|enough| enough.min(task.after.len() as u32)).filter(|enough| *enough > 0);
    }
}

fn varied_workflow(rng: &mut Rng) -> Workflow {
    let mut resources = Vec::new();
    for name in ["cpu", "mem", "gpu"] {
        resources.push(ResourceDefinition::new(name, ResourceKind::PerAgent));
    }
    for n in 0..rng.below(3) {
        resources.push(ResourceDefinition::new(format!("lock{n}"), ResourceKind::Lock));
    }
    for n in 0..rng.below(3) {
        let kind = ResourceKind::Pool(Amount::units(1 + rng.below(4)));
        resources.push(ResourceDefinition::new(format!("pool{n}"), kind));
    }
    let agents: Vec<_> = (0..1 + rng.below(3)).map(|n| random_agent(rng, n)).collect();
    let stages: Vec<_> = (0..1 + rng.below(4) as u32)
        .map(|n| WorkflowStage {
            name: format!("s{n}"),
            after: (0..n).filter(|_| rng.chance(35)).map(StageId).collect(),
            when: rng.maybe(10, random_condition),
        })
        .collect();
    let fallbacks = random_fallbacks(rng);
    let count = 1 + rng.below(25);
    // Stages grow along the list: a dependency on a task of a later stage would be a cycle, which `lower` refuses.
    let mut stage_of: Vec<u32> = (0..count).map(|_| rng.below(stages.len() as u64) as u32).collect();
    stage_of.sort_unstable();
    let tasks =
        (0..count).map(|n| random_task(rng, n, &resources, agents.len(), StageId(stage_of[n as usize]))).collect();
    let transitions = if rng.chance(40) { random_transitions(rng, stages.len() as u64) } else { Vec::new() };
    let phases = if rng.chance(30) { random_phases(rng, stages.len()) } else { Vec::new() };
    let settings = random_settings(rng);
    Workflow {
        settings,
        resources,
        agents,
        stages,
        transitions,
        phases,
        fallbacks,
        tasks,
        windows: Vec::new(),
        goals: Vec::new(),
        barriers: Vec::new(),
    }
}

/// One that reads what most random workflows have, with a value that changes, never comes or is always there.
fn random_condition(rng: &mut Rng) -> Condition {
    let (task, stage) = (rng.below(12), rng.below(2));
    let field = rng.pick(&["ok", "failed", "done", "skipped"]);
    let text = match rng.below(6) {
        0 => format!("task.t{task}.{field}"),
        1 => format!("task.t{task}.{field} || true"),
        2 => format!("stage.s{stage}.{field} || run.failures > 1"),
        3 => format!("run.failures < {}", rng.below(3)),
        4 => format!("task.t{task}.attempts < 2 && task.t{}.state != 'failed'", rng.below(12)),
        _ => "1 == 2".to_owned(),
    };
    let text = text.replace("stage.s0.skipped", "stage.s0.ok").replace("stage.s1.skipped", "stage.s1.ok");
    Condition::parse(&text).expect("good text")
}

/// Forward ones between any two stages, so that none waits for what it leads to; backward ones bounded.
fn random_transitions(rng: &mut Rng, stages: u64) -> Vec<StateTransition> {
    let mut list: Vec<StateTransition> = Vec::new();
    for _ in 0..rng.below(2 * stages + 1) {
        let (from, to) = (StageId(rng.below(stages) as u32), StageId(rng.below(stages) as u32));
        let on = *rng.pick(&[StageEnd::Success, StageEnd::Failure, StageEnd::Over]);
        let at_most = if to <= from { Some(1 + rng.below(3) as u32) } else { rng.maybe(20, |_| 1) };
        let way = StateTransition { from, to, on, at_most, when: rng.maybe(20, random_condition) };
        if !list.contains(&way) {
            list.push(way);
        }
    }
    list
}

fn random_phases(rng: &mut Rng, stages: usize) -> Vec<ExecutionPhase> {
    let mut phases: Vec<ExecutionPhase> = (0..2)
        .map(|n| ExecutionPhase {
            name: format!("phase{n}"),
            stages: Vec::new(),
            max_running: None,
            on_failure: *rng.pick(&[OnFailure::GoOn, OnFailure::Finish, OnFailure::Stop, OnFailure::Compensate]),
        })
        .collect();
    for stage in (0..stages).map(StageId::from) {
        if let Some(phase) = phases.get_mut(rng.below(3) as usize) {
            phase.stages.push(stage);
        }
    }
    phases
}

fn random_settings(rng: &mut Rng) -> Settings {
    Settings {
        max_running: rng.maybe(30, |rng| 1 + rng.below(5) as u32),
        on_lost: *rng.pick(&[OnLost::Hold, OnLost::Retry, OnLost::Fail]),
        grace: Span(*rng.pick(&[0, 500, 10_000])),
        aging: Span(*rng.pick(&[0, 1_000, 60_000])),
        reserve_after: Span(*rng.pick(&[0, 2_000, 10_000, u64::MAX])),
        leak_grace: Span(*rng.pick(&[0, 100])),
        ..Settings::default()
    }
}

fn random_agent(rng: &mut Rng, n: u64) -> AgentDefinition {
    let mut capabilities: Vec<String> = Vec::new();
    capabilities.extend(rng.maybe(50, |_| "docker".to_owned()));
    capabilities.extend(rng.maybe(40, |_| "net".to_owned()));
    let mut resources = vec![(CPU, Amount::units(1 + rng.below(4))), (MEM, Amount::units(1 + rng.below(8)))];
    resources.extend(rng.maybe(40, |rng| (GPU, Amount::units(1 + rng.below(2)))));
    AgentDefinition {
        name: format!("agent{n}"),
        slots: 1 + rng.below(4) as u32,
        capabilities,
        resources,
        launcher: Vec::new(),
        health: None,
    }
}

fn random_task(
    rng: &mut Rng,
    n: u64,
    resources: &[ResourceDefinition],
    agents: usize,
    stage: StageId,
) -> TaskDefinition {
    let after: Vec<TaskId> = (0..n as u32).filter(|_| rng.chance(10)).map(TaskId).collect();
    let join = if rng.chance(40) { random_join(rng, after.len() as u64) } else { Join::default() };
    let mut needs = Requirements::default();
    for (index, resource) in resources.iter().enumerate() {
        let percent = [25, 20, 8].get(index).copied().unwrap_or(25);
        if !rng.chance(percent) {
            continue;
        }
        let amount = match resource.kind {
            ResourceKind::Lock => *rng.pick(&[Amount::WHOLE_LOCK, Amount(1)]),
            _ => Amount(*rng.pick(&[500, 1000, 1000, 2000, 3000])),
        };
        needs.resources.push(ResourceRequirement { resource: ResourceId::from(index), amount });
    }
    needs.capabilities.extend(rng.maybe(10, |_| "docker".to_owned()));
    needs.capabilities.extend(rng.maybe(6, |_| "net".to_owned()));
    if rng.chance(6) {
        needs.constraints.push(TaskConstraint::OnAgent(AgentId::from(rng.below(agents as u64) as usize)));
    }
    let backoff = match rng.below(3) {
        0 => Backoff::Fixed(Span(0)),
        1 => Backoff::Fixed(Span(3_000)),
        _ => Backoff::Exponential { base: Span(1_000), max: Span(5_000), jitter: 0.3 },
    };
    TaskDefinition {
        stage,
        after,
        join,
        requirements: needs,
        priority: rng.below(7) as i32 - 3,
        deadline: rng.maybe(20, |rng| Deadline::After(Span::secs(rng.below(60)))),
        timeout: rng.maybe(25, |rng| Span::secs(1 + rng.below(8))),
        estimate: rng.maybe(50, |rng| Span::secs(1 + rng.below(6))),
        retry: Retry { attempts: 1 + rng.below(3) as u32, backoff, on: rng.maybe(15, |_| vec![1]).unwrap_or_default() },
        fallback: random_fallback(rng),
        compensation: rng.maybe(30, |rng| Arc::new(flow::compensation(&format!("t{n}"), rng.chance(30)))),
        entry: rng.maybe(12, |rng| Arc::new(Entry { when: Some(random_condition(rng)) })),
        task_type: match rng.below(100) {
            0..3 => {
                let text = Arc::new(CommandSpec::new(CommandLine::Exec(vec!["well".into()])));
                TaskType::Message(Arc::new(Message { text, priority: 0 }))
            }
            3..5 => TaskType::Noop,
            5..6 => TaskType::Subworkflow(Arc::new(Subworkflow { file: "a.ron".into(), tasks: 1 })),
            6..10 => TaskType::Wait(Deadline::After(Span(rng.below(9_000)))),
            10..12 => TaskType::Wait(Deadline::At(Time(1_000_000 + rng.below(30_000)))),
            12..16 => TaskType::Approval(Approval {
                text: "well?".into(),
                timeout: Some(Span(rng.below(20_000))),
                silence_approves: rng.chance(50),
            }),
            16..20 => {
                let timeout = rng.maybe(60, |rng| Span(rng.below(30_000)));
                TaskType::Sensor(Arc::new(flow::sensor(timeout, rng.chance(30))))
            }
            20..26 => TaskType::QualityGate(Arc::new(random_gate(rng))),
            _ => TaskType::Run(command("true")),
        },
        ..task(&format!("t{n}"))
    }
}

/// One of each kind; what settles a task comes last.
fn random_fallbacks(rng: &mut Rng) -> Vec<FallbackDefinition> {
    let alternative = || FallbackStrategy::Alternative(command("false || true"));
    let retry = Retry {
        attempts: 1 + rng.below(3) as u32,
        backoff: Backoff::Fixed(Span(*rng.pick(&[0, 2_000]))),
        on: rng.maybe(50, |_| vec![1]).unwrap_or_default(),
    };
    let uses = vec![ResourceRequirement { resource: CPU, amount: Amount(*rng.pick(&[250, 500])) }];
    let less = Degrade { env: vec![("LESS".into(), "1".into())], references: Vec::new(), uses };
    let timeout = Some(Span(rng.below(20_000)));
    let question = Escalation { text: "what now?".into(), timeout, silence_skips: rng.chance(50) };
    let all = [
        alternative(),
        alternative(),
        FallbackStrategy::Retry(retry),
        FallbackStrategy::OtherAgent,
        FallbackStrategy::Degrade(less),
        FallbackStrategy::Skip,
        FallbackStrategy::Escalate(question),
        FallbackStrategy::Compensate,
    ];
    let named = all.into_iter().enumerate();
    named.map(|(n, strategy)| FallbackDefinition { name: format!("f{n}"), strategy }).collect()
}

fn random_fallback(rng: &mut Rng) -> Vec<FallbackId> {
    let mut list: Vec<FallbackId> = (0..5).filter(|_| rng.chance(25)).map(FallbackId).collect();
    list.extend(rng.maybe(25, |rng| FallbackId(5 + rng.below(3) as u32)));
    list
}

/// Its time is up some day: in a fair run nobody votes.
pub fn random_gate(rng: &mut Rng) -> QualityGate {
    let actions = [GateAction::Fail, GateAction::Escalate, GateAction::Continue];
    let mut checks = Vec::new();
    for n in 0..1 + rng.below(3) {
        checks.push(match rng.below(5) {
            0 => GateCheck::Expr(random_condition(rng)),
            1 => GateCheck::Command(Arc::new(flow::asked(&format!("check{n}")))),
            2 => GateCheck::Approval("well?".into()),
            _ => {
                let of: Vec<String> = ["ana", "bo", "cy"].iter().map(|name| (*name).to_owned()).collect();
                let veto = rng.maybe(40, |rng| rng.pick(&of).clone()).into_iter().collect();
                GateCheck::Quorum(Quorum { votes: 1 + rng.below(3) as u32, of, veto, text: String::new() })
            }
        });
    }
    let timeout = Some(Span(rng.below(30_000)));
    QualityGate { checks, timeout, on_fail: *rng.pick(&actions), on_timeout: *rng.pick(&actions) }
}

fn random_join(rng: &mut Rng, all: u64) -> Join {
    Join {
        enough: if all > 0 { rng.maybe(80, |rng| 1 + rng.below(all) as u32) } else { None },
        rest: *rng.pick(&[Rest::LetRun, Rest::Cancel]),
        trigger: *rng.pick(&[Trigger::AllSucceeded, Trigger::AllSucceeded, Trigger::AllOver]),
    }
}

/// The seeds of a campaign: the one of `QD_SEED`, or `count` from 1 on (`QD_SEEDS` sets another count).
pub fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("QD_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("QD_SEEDS").unwrap_or(count)).collect(),
    }
}

/// Runs a test for each seed of a campaign and for those that once `found` a defect, on all processors; none begins after one
/// has failed.
pub fn campaign(name: &'static str, count: u64, found: &[u64], run: impl Fn(u64) + Sync) {
    struct Failed<'a>(&'a AtomicBool);
    impl Drop for Failed<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.store(true, Ordering::Relaxed);
            }
        }
    }
    let mut all = seeds(count);
    if all.len() > 1 {
        all.extend(found);
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        while !failed.load(Ordering::Relaxed)
            && let Some(seed) = all.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let (_failed, _say) = (Failed(&failed), SaySeed(name, *seed));
            run(*seed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

/// Whether so many seeds are run that not every one has to be looked at from all sides all the time.
pub fn is_large_campaign() -> bool {
    seeds(0).len() > 1_000
}

/// Says the seed if the test fails under it.
pub struct SaySeed(pub &'static str, pub u64);

impl Drop for SaySeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} failed with QD_SEED={}", self.0, self.1);
        }
    }
}
