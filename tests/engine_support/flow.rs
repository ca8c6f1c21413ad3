//! Cases as text: a workflow in a few words, then a script of inputs (`> …`) each followed by the facts it must lead to.
//! `check` runs it and compares; a difference shows the whole transcript. Every step is also held against `check()`,
//! replay and the checker of facts.

use std::fmt::Write as _;
use std::sync::Arc;

use quarterdeck::engine::condition::Condition;
use quarterdeck::engine::decide::{Engine, Turn};
use quarterdeck::engine::definition::*;
use quarterdeck::engine::explain::{Reason, explain};
use quarterdeck::engine::fact::*;
use quarterdeck::engine::ids::*;
use quarterdeck::engine::message::*;
use quarterdeck::engine::monitors::*;
use quarterdeck::engine::overload::Figures;
use quarterdeck::engine::surgery::Added;

use super::checker::Checker;
use super::{command, replay, task, through_ron};

/// A workflow from lines: `set KEY N` (`set wound yes`), `lock N`, `window N FROM TO` (milliseconds of the run), `pool N AMOUNT`, `limit N AMOUNT`, `barrier N [TIMEOUT] [go]`, `agent NAME slots N [cpu N] [mem N] [can a,b]`,
/// `stage N [after a,b] [when CEL]`, `fallback N [retry TRIES [backoff MS] [on 1,2]|other|less cpu:1|skip|undo|ask [MS]|silence MS]`, `task N [after a,b] [uses db,db:shared,cpu:2] [needs a,b] [on AGENT] [prio N]
/// [deadline MS] [timeout MS] [preempt yes] [estimate MS] [tries N] [only 1,2] [backoff MS|BASE..MAX~JITTER] [or a,b] [stage S] [enough N]
/// [rest cancel] [trigger over] [when CEL] [undo ok|any] [at BARRIER] [window N] [type noop|wait:MS|ask[:MS]|silence:MS|sensor[:MS]|skips:MS|gate:CHECK+CHECK]
/// [within MS] [onfail escalate|continue] [ontime escalate|continue]` with `CHECK` one of `ask`, `run=NAME`, `expr=CEL`, `2of=ana,bo!bo` (no spaces in a CEL), after the stages `transition FROM to TO [on failure|over] [most N]`, `phase N stages a,b
/// [end finish|stop|undo]`.
pub fn parse(text: &str) -> Workflow {
    let mut flow = Workflow::default();
    for name in ["cpu", "mem"] {
        flow.resources.push(ResourceDefinition::new(name, ResourceKind::PerAgent));
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (kind, name, rest) = (words[0], words[1], &words[2..]);
        match kind {
            "set" => set(&mut flow.settings, name, rest[0]),
            "lock" => flow.resources.push(ResourceDefinition::new(name, ResourceKind::Lock)),
            "pool" => {
                let kind = ResourceKind::Pool(amount(rest[0]));
                flow.resources.push(ResourceDefinition::new(name, kind));
            }
            "window" => {
                let at = |word: &str| Time(number(word));
                let open = vec![(at(rest[0]), at(rest[1]))];
                flow.windows.push(WindowDefinition { name: name.into(), open });
            }
            "barrier" => {
                let words: Vec<&str> = rest.to_vec();
                let timeout = words.iter().find_map(|word| word.parse().ok()).map(Span);
                let on_broken = if words.contains(&"go") { OnBroken::Continue } else { OnBroken::Fail };
                flow.barriers.push(BarrierDefinition { name: name.into(), timeout, on_broken, inside: None });
            }
            "limit" => {
                let kind = ResourceKind::Pool(amount(rest[0]));
                flow.resources.push(ResourceDefinition::limit(name, kind));
            }
            "agent" => flow.agents.push(agent(name, rest)),
            "fallback" => {
                let strategy = strategy(&flow, name, rest);
                flow.fallbacks.push(FallbackDefinition { name: name.into(), strategy });
            }
            "stage" => {
                let mut stage = WorkflowStage { name: name.into(), after: Vec::new(), when: None };
                for (key, value) in pairs(rest) {
                    match key {
                        "when" => stage.when = Some(condition(value)),
                        _ => stage.after.extend(
                            value.split(',').map(|name| StageId::from(place(&flow.stages, |s| s.name == name))),
                        ),
                    }
                }
                flow.stages.push(stage);
            }
            "transition" => {
                let stage = |name: &str| StageId::from(place(&flow.stages, |s| s.name == name));
                let mut way = StateTransition {
                    from: stage(name),
                    to: stage(rest[1]),
                    on: StageEnd::Success,
                    at_most: None,
                    when: None,
                };
                for (key, value) in pairs(&rest[2..]) {
                    match (key, value) {
                        ("on", "failure") => way.on = StageEnd::Failure,
                        ("on", "over") => way.on = StageEnd::Over,
                        ("when", text) => way.when = Some(condition(text)),
                        ("most", most) => way.at_most = Some(number(most)),
                        other => panic!("what is {other:?}?"),
                    }
                }
                flow.transitions.push(way);
            }
            "phase" => {
                let stages = rest[1].split(',').map(|name| StageId::from(place(&flow.stages, |s| s.name == name)));
                let on_failure = match rest.get(3) {
                    Some(&"finish") => OnFailure::Finish,
                    Some(&"stop") => OnFailure::Stop,
                    Some(&"undo") => OnFailure::Compensate,
                    _ => OnFailure::GoOn,
                };
                let stages = stages.collect();
                flow.phases.push(ExecutionPhase { name: name.into(), stages, max_running: None, on_failure });
            }
            "task" => {
                if flow.agents.is_empty() {
                    flow.agents.push(agent("local", &["slots", "2", "cpu", "4", "mem", "8"]));
                }
                if flow.stages.is_empty() {
                    flow.stages.push(WorkflowStage { name: "all".into(), after: Vec::new(), when: None });
                }
                let task = one_task(&flow, name, rest);
                flow.tasks.push(task);
            }
            other => panic!("what is {other}?"),
        }
    }
    flow
}

fn pairs<'a>(words: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    words.chunks(2).map(|pair| (pair[0], pair[1]))
}

fn place<T>(list: &[T], is: impl Fn(&T) -> bool) -> usize {
    list.iter().position(is).expect("named before it is used")
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn amount(text: &str) -> Amount {
    Amount((number::<f64>(text) * 1000.0) as u64)
}

fn set(settings: &mut Settings, key: &str, value: &str) {
    match key {
        "max_running" => settings.max_running = Some(number(value)),
        "state" => _ = settings.state.insert(value.to_owned(), Param::Int(0)),
        "pause_while" => settings.pause_while = Some(condition(value)),
        "wound" => settings.on_deadlock = if value == "yes" { OnDeadlock::Wound } else { OnDeadlock::Refuse },
        "grace" => settings.grace = Span(number(value)),
        "aging" => settings.aging = Span(number(value)),
        "reserve_after" => settings.reserve_after = Span(number(value)),
        "leak_grace" => settings.leak_grace = Span(number(value)),
        "on_lost" => {
            settings.on_lost = match value {
                "hold" => OnLost::Hold,
                "retry" => OnLost::Retry,
                _ => OnLost::Fail,
            }
        }
        other => panic!("what is {other}?"),
    }
}

fn agent(name: &str, rest: &[&str]) -> AgentDefinition {
    let mut agent = AgentDefinition {
        name: name.into(),
        slots: 1,
        capabilities: Vec::new(),
        resources: Vec::new(),
        launcher: Vec::new(),
        health: None,
    };
    for (key, value) in pairs(rest) {
        match key {
            "slots" => agent.slots = number(value),
            "cpu" => agent.resources.push((ResourceId(0), amount(value))),
            "mem" => agent.resources.push((ResourceId(1), amount(value))),
            "health" => {
                let on_lost = match value {
                    "fail" => OnAgentLost::Fail,
                    "let" => OnAgentLost::LetRun,
                    _ => OnAgentLost::Requeue,
                };
                agent.health = Some(Arc::new(Health { sensor: Arc::new(sensor(None, false)), failures: 2, on_lost }));
            }
            "can" => agent.capabilities = value.split(',').map(str::to_owned).collect(),
            other => panic!("what is {other}?"),
        }
    }
    agent
}

fn one_task(flow: &Workflow, name: &str, rest: &[&str]) -> TaskDefinition {
    let mut task = TaskDefinition { task_type: TaskType::Run(command(name)), ..task(name) };
    for (key, value) in pairs(rest) {
        match key {
            "stage" => task.stage = StageId::from(place(&flow.stages, |s| s.name == value)),
            "after" => {
                let names = value.split(',');
                task.after = names.map(|name| TaskId::from(place(&flow.tasks, |t| t.id == name))).collect();
            }
            "uses" => task.requirements.resources = value.split(',').map(|one| need(flow, one)).collect(),
            "needs" => task.requirements.capabilities = value.split(',').map(str::to_owned).collect(),
            "on" => {
                let only = AgentId::from(place(&flow.agents, |agent| agent.name == value));
                task.requirements.constraints.push(TaskConstraint::OnAgent(only));
            }
            "prio" => task.priority = number(value),
            "deadline" => task.deadline = Some(Deadline::After(Span(number(value)))),
            "timeout" => task.timeout = Some(Span(number(value))),
            "preempt" => task.preemptible = value == "yes",
            "estimate" => task.estimate = Some(Span(number(value))),
            "tries" => task.retry.attempts = number(value),
            "backoff" => task.retry.backoff = backoff(value),
            "only" => task.retry.on = codes(value),
            "enough" => task.join.enough = Some(number(value)),
            "rest" => task.join.rest = Rest::Cancel,
            "trigger" => task.join.trigger = Trigger::AllOver,
            "window" => {
                let window = WindowId::from(place(&flow.windows, |window| window.name == value));
                task.requirements.constraints.push(TaskConstraint::Within(window));
            }
            "at" => task.barrier = Some(BarrierId::from(place(&flow.barriers, |barrier| barrier.name == value))),
            "undo" => task.compensation = Some(Arc::new(compensation(name, value == "any"))),
            "when" => task.entry = Some(Arc::new(Entry { when: Some(condition(value)) })),
            "type" if value.starts_with("gate:") => {
                let checks = value["gate:".len()..].split('+').map(gate_check).collect();
                let (on_fail, on_timeout) = (GateAction::Fail, GateAction::Fail);
                task.task_type =
                    TaskType::QualityGate(Arc::new(QualityGate { checks, timeout: None, on_fail, on_timeout }));
            }
            "within" | "onfail" | "ontime" => {
                let TaskType::QualityGate(gate) = &mut task.task_type else { panic!("{name} is no gate") };
                let gate = Arc::make_mut(gate);
                let action = if value == "escalate" { GateAction::Escalate } else { GateAction::Continue };
                match key {
                    "within" => gate.timeout = Some(Span(number(value))),
                    "onfail" => gate.on_fail = action,
                    _ => gate.on_timeout = action,
                }
            }
            "type" => {
                let (kind, span) = value.split_once(':').unwrap_or((value, ""));
                let span = (!span.is_empty()).then(|| Span(number(span)));
                task.task_type = match (kind, span) {
                    ("noop", _) => TaskType::Noop,
                    ("wait", Some(span)) => TaskType::Wait(Deadline::After(span)),
                    ("ask" | "silence", timeout) => TaskType::Approval(Approval {
                        text: "well?".into(),
                        timeout,
                        silence_approves: kind == "silence",
                    }),
                    ("sensor" | "skips", timeout) => TaskType::Sensor(Arc::new(sensor(timeout, kind == "skips"))),
                    other => panic!("what is {other:?}?"),
                };
            }
            "warns" | "fails" => {
                let then = if key == "warns" { MonitorAction::Warn } else { MonitorAction::Fail };
                let dog = Some(Watchdog { after: Span(1_000), then });
                let monitor = Arc::make_mut(task.monitor.get_or_insert_default());
                match trouble(value) {
                    Trouble::Stalled => monitor.stall = dog,
                    Trouble::NoHeartbeat => monitor.heartbeat = dog,
                    Trouble::Drifting => monitor.drift = dog,
                }
            }
            "or" => {
                let names = value.split(',');
                task.fallback =
                    names.map(|name| FallbackId::from(place(&flow.fallbacks, |f| f.name == name))).collect();
            }
            other => panic!("what is {other}?"),
        }
    }
    task.requirements.resources.sort_by_key(|need| need.resource);
    task
}

fn trouble(key: &str) -> Trouble {
    *Trouble::ALL.iter().find(|trouble| trouble.key() == key).expect("one of them")
}

/// How a task is undone: by one that is called `un-` it.
pub fn compensation(name: &str, after_failure: bool) -> Compensation {
    let id = format!("un-{name}");
    Compensation { command: command(&id), id, timeout: None, retry: Retry::default(), after_failure }
}

fn gate_check(text: &str) -> GateCheck {
    match text.split_once('=') {
        None => GateCheck::Approval("well?".into()),
        Some(("run", name)) => GateCheck::Command(Arc::new(asked(name))),
        Some(("expr", text)) => GateCheck::Expr(condition(text)),
        Some((votes, people)) => {
            let (of, veto) = people.split_once('!').unwrap_or((people, ""));
            let names = |list: &str| list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let votes = number(votes.trim_end_matches("of"));
            GateCheck::Quorum(Quorum { votes, of: names(of), veto: names(veto), text: String::new() })
        }
    }
}

/// A command that a gate asks.
pub fn asked(name: &str) -> Sensor {
    Sensor { probe: Probe::Command(command(name)), ..sensor(None, false) }
}

/// Looks at a door.
pub fn sensor(timeout: Option<Span>, timeout_skips: bool) -> Sensor {
    let probe = Probe::Exists("door".into());
    Sensor { probe, interval: Span(1_000), patience: Span(1_000), timeout, timeout_skips }
}

fn condition(text: &str) -> Condition {
    Condition::parse(text).expect("a good condition")
}

fn backoff(text: &str) -> Backoff {
    let Some((base, rest)) = text.split_once("..") else { return Backoff::Fixed(Span(number(text))) };
    let (max, jitter) = rest.split_once('~').unwrap_or((rest, "0"));
    Backoff::Exponential { base: Span(number(base)), max: Span(number(max)), jitter: number(jitter) }
}

fn codes(text: &str) -> Vec<i32> {
    text.split(',').map(number).collect()
}

fn strategy(flow: &Workflow, name: &str, rest: &[&str]) -> FallbackStrategy {
    match rest {
        [] => FallbackStrategy::Alternative(command(name)),
        ["retry", attempts, more @ ..] => {
            let mut rule = Retry { attempts: number(attempts), ..Retry::default() };
            for (key, value) in pairs(more) {
                match key {
                    "backoff" => rule.backoff = backoff(value),
                    _ => rule.on = codes(value),
                }
            }
            FallbackStrategy::Retry(rule)
        }
        ["other"] => FallbackStrategy::OtherAgent,
        ["less", uses] => {
            let env = vec![("LESS".to_owned(), "1".to_owned())];
            FallbackStrategy::Degrade(Degrade {
                env,
                references: Vec::new(),
                uses: uses.split(',').map(|one| need(flow, one)).collect(),
            })
        }
        ["skip"] => FallbackStrategy::Skip,
        ["undo"] => FallbackStrategy::Compensate,
        [ask @ ("ask" | "silence"), more @ ..] => {
            let timeout = more.first().map(|span| Span(number(span)));
            let silence_skips = *ask == "silence";
            FallbackStrategy::Escalate(Escalation { text: "what now?".into(), timeout, silence_skips })
        }
        other => panic!("what is {other:?}?"),
    }
}

fn need(flow: &Workflow, text: &str) -> ResourceRequirement {
    let (name, how) = text.split_once(':').unwrap_or((text, "whole"));
    let resource = ResourceId::from(place(&flow.resources, |resource| resource.name == name));
    let amount = match how {
        "whole" => Amount::WHOLE_LOCK,
        "shared" => Amount(1),
        many => amount(many),
    };
    ResourceRequirement { resource, amount }
}

/// A case under way.
pub struct Case {
    pub engine: Engine,
    pub now: Time,
    pub facts: Vec<Stamped>,
    checker: Checker,
    flow: Arc<Workflow>,
}

/// Runs a script over a workflow; see the module.
pub fn check(flow: &str, script: &str) {
    let mut case = Case::new(parse(flow));
    let wanted: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut seen = Vec::new();
    for line in &wanted {
        if let Some(input) = line.strip_prefix('>') {
            seen.push((*line).to_owned());
            seen.extend(case.step(input.trim()));
        }
    }
    assert!(wanted == seen, "wanted:\n  {}\nseen:\n  {}\n", wanted.join("\n  "), seen.join("\n  "));
}

impl Case {
    pub fn new(flow: Workflow) -> Self {
        let (engine, flow) = (Engine::default(), Arc::new(flow));
        Self { engine, now: Time(0), facts: Vec::new(), checker: Checker::default(), flow }
    }

    fn id(&self, name: &str) -> TaskId {
        let name = name.split('/').next().expect("split gives one");
        if let Some(number) = name.strip_prefix('#') {
            return TaskId(number.parse().expect("a number"));
        }
        let all = (0..self.engine.state.tasks.len()).map(TaskId::from);
        let added = all.skip(self.flow.tasks.len()).find(|id| self.engine.state.name(*id) == name);
        added.unwrap_or_else(|| TaskId::from(place(&self.flow.tasks, |task| task.id == name)))
    }

    fn attempt(&self, name: &str) -> Attempt {
        let told = name.split_once('/').map(|(_, attempt)| number(attempt));
        Attempt(told.unwrap_or_else(|| self.engine.state.tasks.get(self.id(name).index()).map_or(1, |t| t.attempt)))
    }

    /// One input line; returns what it led to, a line each.
    pub fn step(&mut self, line: &str) -> Vec<String> {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if let Some(span) = words[0].strip_prefix('+') {
            self.now = self.now.plus(Span(number(span)));
            words.remove(0);
        }
        let words = if words.is_empty() { vec!["tick"] } else { words };
        match words[0] {
            "why" => return self.why(self.id(words[1])),
            "end?" => {
                let state = &self.engine.state;
                let code = state.exit_code();
                return vec![if state.is_finished() { format!("finished, exit {code}") } else { "goes on".into() }];
            }
            "crash" => return self.crash(),
            _ => {}
        }
        let what = self.input(&words);
        let turn = self.engine.decide(&Input { at: self.now, what });
        self.take(turn)
    }

    fn input(&self, words: &[&str]) -> What {
        if words[0] == "tick" {
            return What::Tick;
        }
        if let "see" | "met" = words[0] {
            let (task, watch) = (self.id(words[1]), u64::from(self.attempt(words[1]).0));
            let (met, saw) = (words[0] == "met", words[2].to_owned());
            return What::Sighting(Sighting { of: Watched::Task(task), watch, met, saw, mark: None });
        }
        if let "reach" | "miss" = words[0] {
            // the watches of agents come first, in their order
            let agent = place(&self.flow.agents, |agent| agent.name == words[1]);
            let watch = self.flow.agents[..=agent].iter().filter(|agent| agent.health.is_some()).count() as u64;
            let (of, met) = (Watched::Agent(AgentId::from(agent)), words[0] == "reach");
            return What::Sighting(Sighting { of, watch, met, saw: words[0].to_owned(), mark: None });
        }
        if words[0] == "load1" {
            return What::Figures(Figures { load1: number(words[1]), ..Figures::default() });
        }
        if let "amiss" | "fine" = words[0] {
            let (task, attempt) = (self.id(words[1]), self.attempt(words[1]));
            let trouble = trouble(words[2]);
            let saw = "this".to_owned();
            return What::Observed(Observation { task, attempt, trouble, holds: words[0] == "amiss", saw });
        }
        if let Some(news) = self.news(words) {
            return What::Report(Report { task: self.id(words[1]), attempt: self.attempt(words[1]), news });
        }
        if let Some(name) = words[0].strip_prefix("by:") {
            let by = Origin::Task(self.id(name), self.attempt(name));
            return What::Command { by, command: self.command(&words[1..]) };
        }
        What::Command { by: Origin::Operator, command: self.command(words) }
    }

    fn news(&self, words: &[&str]) -> Option<News> {
        let left = words.iter().position(|word| *word == "left").map_or(0, |at| number(words[at + 1]));
        let ended = |exit| News::Exited { exit, usage: Usage::default(), output: 0, left, findings: None };
        let process = Process { pid: 7, start_ticks: 7 };
        let problem = |transient| StartProblem { message: "no".into(), code: None, transient };
        Some(match words[0] {
            "up" => News::Started { process, log: 1 },
            "exit" => ended(Exit::Code(number(words[2]))),
            "signal" => ended(Exit::Signal(number(words[2]))),
            "empty" => News::Emptied,
            "adopt" => News::Adopted { process, log: 1 },
            "unborn" => News::NotStarted,
            "lost" => News::Lost { why: "gone".into() },
            "nostart" => News::CouldNotStart(problem(false)),
            "noroom" => News::CouldNotStart(problem(true)),
            _ => return None,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let task = || self.id(words[1]);
        match words[0] {
            "load" => Command::Load(self.flow.clone()),
            "prio" => Command::SetPriority { task: task(), priority: number(words[2]) },
            "hold" => Command::Hold { task: task() },
            "release" => Command::Release { task: task() },
            "cancel" => Command::Cancel { task: task() },
            "kill" => Command::Kill { task: task() },
            "retry" => Command::Retry { task: task() },
            "skip" => Command::Skip { task: task() },
            "unskip" => Command::Unskip { task: task() },
            "fallback" => Command::Fallback { task: task() },
            "pause" => Command::Pause,
            "resume" => Command::Resume,
            "drain" => Command::Drain,
            "stop" => Command::Stop,
            "stopnow" => Command::StopNow,
            "detach" => Command::Detach,
            "slots" => {
                let agent = self.flow.agents.iter().position(|agent| agent.name == words[1]).unwrap_or(99);
                Command::SetSlots { agent: AgentId::from(agent), slots: number(words[2]) }
            }
            "capacity" => {
                let resource = ResourceId::from(place(&self.flow.resources, |resource| resource.name == words[1]));
                Command::SetCapacity { resource, agent: None, amount: amount(words[2]) }
            }
            "offer" => {
                let agent = AgentId::from(place(&self.flow.agents, |agent| agent.name == words[1]));
                let names = words.get(2).map_or(Vec::new(), |names| names.split(',').map(str::to_owned).collect());
                Command::SetCapabilities { agent, capabilities: names }
            }
            "most" => Command::SetMaxRunning { most: words.get(1).map(|most| number(most)) },
            "close" => Command::CloseBreaker,
            "put" => {
                let value = words.get(2).filter(|text| **text != "nothing").map(|text| Param::Int(number(text)));
                let expect = words.get(3).map(|version| number(version));
                Command::SetState { key: words[1].to_owned(), value, expect }
            }
            "add" | "edit" => {
                let state = &self.engine.state;
                let tasks = state.definitions.iter().map(|task| (**task).clone()).collect();
                let mut task = one_task(&Workflow { tasks, ..(*self.flow).clone() }, words[1], &words[2..]);
                if words[0] == "edit" {
                    let id = self.id(words[1]);
                    task.added_by.clone_from(&state.definition(id).added_by);
                    return Command::Edit { task: id, definition: Arc::new(task) };
                }
                let (base, windows_base) = (state.tasks.len() as u32, state.windows.len() as u32);
                Command::Add(Arc::new(Added {
                    base,
                    windows_base,
                    windows: Vec::new(),
                    tasks: vec![task],
                    before: Vec::new(),
                }))
            }
            "giveback" => {
                let resource = ResourceId::from(place(&self.flow.resources, |resource| resource.name == words[1]));
                Command::GiveBack { resource }
            }
            "remove" => Command::Remove { task: task() },
            "restore" => Command::Restore { task: task() },
            "ignore" | "heed" => Command::HeedPauseWhile(words[0] == "heed"),
            "compensate" => Command::Compensate,
            "approve" | "reject" | "abstain" => {
                let (approves, abstains) = (words[0] == "approve", words[0] == "abstain");
                let (by, note) = (words[2].to_owned(), String::new());
                Command::Vote { task: self.id(words[1]), approves, abstains, by, note }
            }
            "undo" => Command::Undo,
            "redo" => Command::Redo,
            "all" => Command::All(words[1..].split(|word| *word == ";").map(|words| self.command(words)).collect()),
            other => panic!("what is {other}?"),
        }
    }

    fn take(&mut self, turn: Turn) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(Err(refusal)) = &turn.answer {
            lines.push(format!("refused: {}", refusal.0));
        }
        for stamped in &turn.facts {
            self.checker.feed(stamped);
            lines.extend(self.say(&stamped.fact));
        }
        self.checker.after_turn(self.now);
        lines.extend(turn.effects.iter().filter_map(|effect| match effect {
            Effect::Watch(watch) => Some(format!("watch {}/{}", watch.name, watch.watch)),
            Effect::Unwatch(watch) => Some(format!("unwatch {watch}")),
            Effect::Monitor(order) => {
                let known = order.noticed.iter().map(|trouble| format!(", knows {}", trouble.key()));
                Some(format!("monitor {}{}", self.engine.state.name(order.task), known.collect::<String>()))
            }
            _ => None,
        }));
        self.effects_follow_facts(&turn);
        self.facts.extend(through_ron(&turn.facts));
        self.engine.state.check().expect("every index is right");
        assert!(replay(&self.facts) == self.engine.state, "replay differs");
        lines
    }

    /// Each start, signal and reap is ordered exactly when its fact is written, and in that order.
    fn effects_follow_facts(&self, turn: &Turn) {
        let of_fact = |stamped: &Stamped| match &stamped.fact {
            Fact::Starting { task, attempt, .. } => Some(("start", *task, *attempt)),
            Fact::Stopping { task, attempt, signal: StopSignal::Term, .. } => Some(("term", *task, *attempt)),
            Fact::Stopping { task, attempt, signal: StopSignal::Kill, .. } => Some(("kill", *task, *attempt)),
            Fact::Ended { task, attempt, .. } | Fact::NotStarted { task, attempt, .. } => {
                Some(("reap", *task, *attempt))
            }
            _ => None,
        };
        let of_effect = |effect: &Effect| {
            Some(match effect {
                Effect::Start(order) => ("start", order.task, order.attempt),
                Effect::Signal { task, attempt, signal: StopSignal::Term, .. } => ("term", *task, *attempt),
                Effect::Signal { task, attempt, signal: StopSignal::Kill, .. } => ("kill", *task, *attempt),
                Effect::Reap { task, attempt, .. } => ("reap", *task, *attempt),
                Effect::Reconcile(survivor) => ("reconcile", survivor.task, survivor.attempt),
                Effect::Watch(_) | Effect::Unwatch(_) | Effect::Monitor(_) | Effect::Tell(_) => return None,
            })
        };
        let wanted: Vec<_> = turn.facts.iter().filter_map(of_fact).collect();
        let ordered: Vec<_> = turn.effects.iter().filter_map(of_effect).collect();
        assert_eq!(wanted, ordered);
    }

    fn crash(&mut self) -> Vec<String> {
        self.engine = Engine::new(replay(&through_ron(&self.facts)));
        let opened = Fact::Opened { version: 1, program: "test".into(), boot_id: "boot".into(), pid: 1 };
        let turn = self.engine.record_all(self.now, vec![opened]);
        self.take(turn);
        let asks = self.engine.recover().into_iter().map(|effect| match effect {
            Effect::Reconcile(survivor) => {
                let known = if survivor.process.is_some() { " seen" } else { "" };
                let exited = if survivor.exited { " exited" } else { "" };
                format!("ask {}/{}{known}{exited}", self.engine.state.name(survivor.task), survivor.attempt)
            }
            other => format!("{other:?}"),
        });
        asks.collect()
    }

    /// A fact in few words; none for what is said by others.
    fn say(&self, fact: &Fact) -> Option<String> {
        let t = |task: &TaskId| self.engine.state.name(*task);
        let f = |fallback: &FallbackId| &self.flow.fallbacks[fallback.index()].name;
        Some(match fact {
            Fact::Opened { .. } | Fact::Recovered { .. } | Fact::Closed { .. } => return None,
            Fact::Configured(_) | Fact::ResourceAdded(_) | Fact::AgentAdded(_) | Fact::StageAdded(_) => return None,
            Fact::TransitionAdded(_) | Fact::PhaseAdded(_) => return None,
            Fact::TransitionTaken { transition, round, why } => {
                format!("take {} round {round}: {why}", self.engine.state.transition_words(*transition))
            }
            Fact::TransitionPassed { transition, why } => {
                format!("pass {}: {why}", self.engine.state.transition_words(*transition))
            }
            Fact::PhaseFailed { phase, task } => {
                format!("phase {} ended by {}", self.flow.phases[phase.index()].name, t(task))
            }
            Fact::BarrierAdded(_) => return None,
            Fact::AtBarrier { task, until } => {
                let until = until.map_or_else(String::new, |at| format!(" until {}", at.0));
                format!("at barrier {}{until}", t(task))
            }
            Fact::BarrierPassed { barrier, why } => {
                format!("pass {}{}", self.flow.barriers[barrier.index()].name, because(why))
            }
            Fact::BarrierBroken { barrier, why } => {
                format!("break {}: {why}", self.flow.barriers[barrier.index()].name)
            }
            Fact::Compensating { phase, why } => {
                let what = phase.map_or("all", |phase| &self.flow.phases[phase.index()].name);
                format!("compensate {what}: {why}")
            }
            Fact::Agreed { task, like, .. } => format!("agreed {} like {}", t(task), t(like)),
            Fact::Made { task, tasks } => format!("made {} {tasks}", t(task)),
            Fact::CompensationsAdded { tasks, .. } => format!("compensations {tasks}"),
            Fact::TaskAdded(task)
                if task.compensates.is_some() || task.made_by.is_some() || task.added_by.is_some() =>
            {
                format!("add {}", task.id)
            }
            Fact::TaskEdited { task, .. } => format!("edited {}", t(task)),
            Fact::TaskRemoved { task } => format!("removed {}", t(task)),
            Fact::TaskRestored { task } => format!("restored {}", t(task)),
            Fact::FallbackAdded(_) | Fact::TaskAdded(_) | Fact::Loaded { .. } | Fact::Commanded { .. } => return None,
            Fact::Found { task, findings, .. } => format!("found {} {:?}", t(task), findings.published),
            Fact::Undone => "undone".into(),
            Fact::Redone => "redone".into(),
            Fact::Paused => "paused".into(),
            Fact::Resumed => "resumed".into(),
            Fact::Ending(how) => format!("ending {how:?}"),
            Fact::PrioritySet { task, priority } => format!("prio {} {priority}", t(task)),
            Fact::SlotsSet { agent, slots } => format!("slots {} {slots}", self.flow.agents[agent.index()].name),
            Fact::Held { task, why } => format!("held {}{}", t(task), because(why)),
            Fact::StageDecided { stage, holds, why } => {
                format!("stage {} {holds}: {why}", self.flow.stages[stage.index()].name)
            }
            Fact::Voted { task, abstains: true, by, .. } => format!("vote {} abstains by {by}", t(task)),
            Fact::Voted { task, approves, by, note, .. } => format!("vote {} {approves} by {by}{note}", t(task)),
            Fact::Checked { task, check, holds, saw } => format!("checked {} {check} {holds}: {saw}", t(task)),
            Fact::Noticed { task, trouble, saw, .. } => format!("notice {} {}: {saw}", t(task), trouble.key()),
            Fact::NoticeOver { task, trouble, .. } => format!("over {} {}", t(task), trouble.key()),
            Fact::Sensed { task, saw, .. } => format!("sees {} {saw}", t(task)),
            Fact::Admitted { task } => format!("admit {}", t(task)),
            Fact::Awaiting { task, until } => {
                let until = until.map_or_else(String::new, |at| format!(" until {}", at.0));
                format!("await {}{until}", t(task))
            }
            Fact::Settled { task, outcome, why } => format!("settle {} {outcome:?}{}", t(task), because(why)),
            Fact::Released { task } => format!("released {}", t(task)),
            Fact::Skipped { task, why } => format!("skipped {}{}", t(task), because(why)),
            Fact::Cancelled { task, why } => format!("cancelled {}{}", t(task), because(why)),
            Fact::Excused { task, why } => format!("excused {}: {why}", t(task)),
            Fact::Enough { task, done, of } => format!("enough {} {done}/{of}", t(task)),
            Fact::WindowAdded(_) | Fact::GoalAdded(_) => return None,
            Fact::GoalJudged { goal, holds, why } => {
                format!("goal {} {holds}: {why}", self.flow.goals[goal.index()].name)
            }
            Fact::CapacitySet { resource, agent: _, amount } => {
                format!("capacity {} {}", self.flow.resources[resource.index()].name, amount.0)
            }
            Fact::CapabilitiesSet { capabilities, .. } => {
                format!("offers {}", if capabilities.is_empty() { "nothing".into() } else { capabilities.join(",") })
            }
            Fact::AgentLost { agent, .. } => format!("lost {}", self.flow.agents[agent.index()].name),
            Fact::AgentBack { agent, .. } => format!("back {}", self.flow.agents[agent.index()].name),
            Fact::MaxRunningSet { most } => format!("most {most:?}"),
            Fact::BreakerOpened { failures, until } => format!("breaker open {failures} until {}", until.0),
            Fact::BreakerProbes => "breaker tries".into(),
            Fact::BreakerClosed => "breaker closed".into(),
            Fact::Posted { text, .. } => format!("says {text}"),
            Fact::StateSet { key, value, .. } => format!("state {key} {value:?}"),
            Fact::AtMeeting { task, .. } => format!("meets {}", t(task)),
            Fact::MeetingOver { why, .. } => format!("met{}", because(why)),
            Fact::LockAsked { task, request, .. } => format!("asks {} {}", t(task), request.ticket),
            Fact::LockGranted { task, fence, .. } => format!("gets {} {fence}", t(task)),
            Fact::GivenBack { task, resource, .. } => {
                format!("gives back {} {}", t(task), self.flow.resources[resource.index()].name)
            }
            Fact::LockRenewed { task, lock, .. } => format!("renews {} {lock}", t(task)),
            Fact::LockOver { task, lock, end, .. } => format!("{end:?} {} {lock}", t(task)),
            Fact::OverloadBegan { why } => format!("overload: {why}"),
            Fact::OverloadEnded { why } => format!("overload over: {why}"),
            Fact::PauseWhileHeeded(heeded) => format!("heeds {heeded}"),
            Fact::Requeued { task } => format!("requeued {}", t(task)),
            Fact::Starting { task, attempt, agent } => {
                let agent = &self.flow.agents[agent.index()].name;
                let on = if self.flow.agents.len() > 1 { format!(" on {agent}") } else { String::new() };
                let CommandLine::Shell(run) = &self.engine.state.command_of(*task).run else { panic!("not a shell") };
                let runs = if run == t(task) { String::new() } else { format!(" as {run}") };
                format!("start {}/{attempt}{on}{runs}", t(task))
            }
            Fact::Running { task, attempt, .. } => format!("runs {}/{attempt}", t(task)),
            Fact::NotStarted { task, attempt, until, .. } => {
                let mut text = format!("unborn {}/{attempt}", t(task));
                if let Some(until) = until {
                    write!(text, " until {}", until.0).expect("a string takes it");
                }
                text
            }
            Fact::Stopping { task, attempt, reason, signal } => {
                let reason = match reason {
                    StopReason::Fallback(fallback) => format!("Fallback {}", f(fallback)),
                    StopReason::PhaseFailed(phase) => format!("phase {}", self.flow.phases[phase.index()].name),
                    StopReason::NotNeeded(join) => format!("NotNeeded {}", t(join)),
                    StopReason::AgentLost(agent) => format!("AgentLost {}", self.flow.agents[agent.index()].name),
                    StopReason::Preempted(by) => format!("Preempted {}", t(by)),
                    other => format!("{other:?}"),
                };
                format!("{signal:?} {}/{attempt}: {reason}", t(task))
            }
            Fact::Exited { task, attempt, left, .. } => format!("leaves {}/{attempt} {left}", t(task)),
            Fact::Ended { task, attempt, outcome, then, .. } => {
                let outcome = match outcome {
                    Outcome::Failed(Cause::CouldNotStart(_)) => "could not start".into(),
                    Outcome::Failed(cause) => format!("{cause:?}"),
                    Outcome::Aborted(_) => "Aborted".into(),
                    Outcome::Lost(_) => "Lost".into(),
                    other => format!("{other:?}"),
                };
                let then = match then {
                    Then::Rest => String::new(),
                    Then::Retry(at) => format!(", again at {}", at.0),
                    Then::Fallback(fallback) => format!(", then {}", f(fallback)),
                    Then::Requeue => ", queued".into(),
                    Then::Later(fallback, at) => format!(", then {} at {}", f(fallback), at.0),
                };
                format!("end {}/{attempt} {outcome}{then}", t(task))
            }
            Fact::Adopted { task, attempt, .. } => format!("adopted {}/{attempt}", t(task)),
            Fact::Due { task } => format!("due {}", t(task)),
            Fact::FallbackChosen { task, fallback, .. } => format!("chosen {} for {}", f(fallback), t(task)),
            Fact::Reserved { task, on } => match on {
                Target::Resource(resource) => {
                    format!("reserve {} for {}", self.flow.resources[resource.index()].name, t(task))
                }
                Target::Agent(agent) => format!("reserve {} for {}", self.flow.agents[agent.index()].name, t(task)),
            },
        })
    }

    fn why(&self, id: TaskId) -> Vec<String> {
        let names = |ids: &[TaskId]| ids.iter().map(|id| self.engine.state.name(*id)).collect::<Vec<_>>().join(",");
        let say = |reason: &Reason| match reason {
            Reason::After { tasks, count } => format!("after {count}: {}", names(tasks)),
            Reason::Undecided(why) => format!("undecided {why}"),
            Reason::Transition { from } => {
                let one =
                    |(stage, end): &(StageId, StageEnd)| format!("{} {end:?}", self.flow.stages[stage.index()].name);
                format!("by transition from {}", from.iter().map(one).collect::<Vec<_>>().join(","))
            }
            Reason::Enough { done, enough, of, dead, tasks } => {
                format!("{done} of {enough} that are enough, of {of}, {dead} dead: {}", names(tasks))
            }
            Reason::Stages { stages } => {
                let names: Vec<_> = stages.iter().map(|id| self.flow.stages[id.index()].name.as_str()).collect();
                format!("stages {}", names.join(","))
            }
            Reason::Resource { resource, need, free, holders, asked: _ } => {
                let holders: Vec<TaskId> = holders.iter().map(|(id, _)| *id).collect();
                let name = &self.flow.resources[resource.index()].name;
                format!("{name} {} of {} by {}", need.0, free.0, names(&holders))
            }
            Reason::Reserved { task, .. } => format!("reserved for {}", self.engine.state.name(*task)),
            Reason::AgentsFull { short, .. } => match short {
                Some(resource) => format!("short of {}", self.flow.resources[resource.index()].name),
                None => "agents full".into(),
            },
            Reason::NoAgent { capabilities } => format!("no agent with {}", capabilities.join(",")),
            other => format!("{other:?}"),
        };
        let reasons: Vec<String> = explain(&self.engine.state, id).iter().map(say).collect();
        if reasons.is_empty() { vec!["nothing".into()] } else { reasons }
    }
}

fn because(why: &Option<String>) -> String {
    why.as_ref().map_or_else(String::new, |why| format!(": {why}"))
}
