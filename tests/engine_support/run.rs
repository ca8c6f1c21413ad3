//! A random workflow driven at random: what every turn of every such test is checked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use quarterdeck::engine::decide::{Engine, Turn};
use quarterdeck::engine::definition::{BarrierDefinition, Health, Join, OnAgentLost, OnBroken, Param, Rest, Workflow};
use quarterdeck::engine::explain::explain;
use quarterdeck::engine::fact::{Fact, Stamped};
use quarterdeck::engine::ids::*;
use quarterdeck::engine::locks::LockRequest;
use quarterdeck::engine::message::*;
use quarterdeck::engine::overload::Figures;
use quarterdeck::engine::state::{Phase, State};
use quarterdeck::engine::surgery::Added;

use super::checker::Checker;
use super::world::World;
use super::{Rng, add_controls, random_workflow, replay, task, through_ron};

/// A run of the real engine in a random world, checked after every turn.
pub struct Run {
    pub engine: Engine,
    pub world: World,
    pub checker: Checker,
    pub facts: Vec<Stamped>,
    /// For each turn: how many facts there were before it, and what was true then.
    pub before: Vec<(usize, World)>,
    pub now: Time,
    pub rng: Rng,
    pub tasks: u32,
}

impl Run {
    /// With what the brute force knows.
    pub fn begin(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let workflow = random_workflow(&mut rng);
        Self::of(workflow, rng)
    }

    /// With rates, windows, a breaker and where tasks may run besides.
    pub fn begin_with_all(seed: u64) -> Self {
        let (workflow, rng) = Self::workflow_with_all(seed);
        Self::of(workflow, rng)
    }

    fn workflow_with_all(seed: u64) -> (Workflow, Rng) {
        let mut rng = Rng(seed);
        let mut workflow = random_workflow(&mut rng);
        add_controls(&mut rng, &mut workflow);
        let (name, timeout, on_broken) = ("inside".into(), Some(Span(20_000)), OnBroken::default());
        workflow.barriers.push(BarrierDefinition { name, timeout, on_broken, inside: Some(2) });
        (workflow, rng)
    }

    /// The same with agents that may be lost.
    pub fn begin_with_health(seed: u64) -> Self {
        let mut run = Self::workflow_with_all(seed);
        let mut rng = Rng(seed ^ 0x4ea1);
        for agent in &mut run.0.agents {
            let on_lost = *rng.pick(&[OnAgentLost::Requeue, OnAgentLost::Fail, OnAgentLost::LetRun]);
            let (sensor, failures) = (Arc::new(super::flow::sensor(None, false)), 1 + rng.below(3) as u32);
            agent.health = rng.maybe(40, |_| Arc::new(Health { sensor, failures, on_lost }));
        }
        Self::of(run.0, run.1)
    }

    /// A run of this workflow.
    pub fn of(workflow: Workflow, rng: Rng) -> Self {
        let tasks = workflow.tasks.len() as u32;
        let mut run = Self {
            engine: Engine::default(),
            world: World::default(),
            checker: Checker::default(),
            facts: Vec::new(),
            before: Vec::new(),
            now: Time(1_000_000),
            rng,
            tasks,
        };
        run.open();
        run.command(Command::Load(Arc::new(workflow)));
        run
    }

    pub fn open(&mut self) {
        let opened = Fact::Opened { version: 1, program: "test".into(), boot_id: "boot".into(), pid: 1 };
        let turn = self.engine.record_all(self.now, vec![opened]);
        self.take(turn);
    }

    pub fn command(&mut self, command: Command) {
        self.decide(What::Command { by: Origin::Operator, command });
    }

    pub fn decide(&mut self, what: What) {
        let turn = self.engine.decide(&Input { at: self.now, what });
        self.take(turn);
        self.checker.after_turn(self.now);
    }

    /// All that must hold after every turn.
    pub fn take(&mut self, turn: Turn) {
        self.before.push((self.facts.len(), self.world.clone()));
        for fact in &turn.facts {
            self.checker.feed(fact);
        }
        if let Some(Err(_)) = turn.answer {
            let consequences = turn.facts.iter().any(|stamped| matches!(stamped.fact, Fact::Commanded { .. }));
            assert!(!consequences, "a refused command was noted: {:?}", turn.facts);
        }
        self.world.obey(&turn.effects);
        if self.engine.state.loaded {
            self.tasks = self.engine.state.tasks.len() as u32;
        }
        self.facts.extend(through_ron(&turn.facts));
        self.engine.state.check().unwrap_or_else(|what| panic!("{what}"));
        let state = &self.engine.state;
        for ((task, name), value) in &self.checker.outputs {
            assert_eq!(state.output(*task, name), Some(value), "{task} published another {name}");
        }
        for (key, (value, version)) in &self.checker.shared {
            let entry = state.shared.entries.get(key.as_str()).expect("what was set is there");
            assert_eq!((&entry.value, &entry.version), (value, version), "{key}");
        }
        for (name, value) in &self.checker.metrics {
            assert_eq!(state.metric(name), Some(value), "another {name} was published last");
        }
    }

    /// Replay gives the same State, and a fresh dispatcher over it finds nothing that the live one overlooked.
    pub fn compare_with_replay(&self) {
        let replayed = replay(&self.facts);
        assert!(replayed == self.engine.state, "replay differs from the live state");
        if replayed.loaded {
            let text = replayed.to_checkpoint().expect("every State can be kept");
            let kept = quarterdeck::engine::state::State::from_checkpoint(&text).expect("what was written can be read");
            kept.check().expect("a State from a checkpoint is whole");
            assert!(kept == replayed, "a checkpoint differs from the state it was made of");
        }
        let mut other = Engine::new(replayed);
        let turn = other.decide(&Input { at: self.now, what: What::Tick });
        let looks = |effect: &Effect| if let Effect::Watch(watch) = effect { Some(watch.of) } else { None };
        let looked_at: BTreeSet<Watched> = turn.effects.iter().filter_map(looks).collect();
        let kept: BTreeSet<Watched> = self.world.watches.values().copied().collect();
        assert_eq!(looked_at, kept, "a fresh engine looks at what the live one looks at");
        let started: Vec<_> =
            turn.facts.iter().filter(|stamped| matches!(stamped.fact, Fact::Starting { .. })).collect();
        assert!(started.is_empty(), "a fresh engine starts what the live one left: {started:?}");
        let decides = |stamped: &&Stamped| {
            matches!(
                stamped.fact,
                Fact::Excused { .. }
                    | Fact::Enough { .. }
                    | Fact::TransitionTaken { .. }
                    | Fact::TransitionPassed { .. }
                    | Fact::PhaseFailed { .. }
                    | Fact::Compensating { .. }
                    | Fact::CompensationsAdded { .. }
                    | Fact::Skipped { .. }
                    | Fact::Cancelled { .. }
            )
        };
        let decided: Vec<_> = turn.facts.iter().filter(decides).collect();
        assert!(decided.is_empty(), "a fresh engine decides what the live one left: {decided:?}");
    }

    /// A task or a person changes the shared state.
    fn share(&mut self) {
        let (rng, live) = (&mut self.rng, self.checker.live_attempts());
        let by = match live.is_empty() || rng.chance(30) {
            true => Origin::Operator,
            false => {
                let (task, attempt) = *rng.pick(&live);
                Origin::Task(task, Attempt(attempt.0 + rng.below(2) as u32))
            }
        };
        let key = (*rng.pick(&["a", "b", "declared"])).to_owned();
        let value = rng.maybe(80, |rng| Param::Int(rng.below(5) as i64));
        let expect = rng.maybe(40, |rng| rng.below(12));
        self.decide(What::Command { by, command: Command::SetState { key, value, expect } });
    }

    /// A running task asks for a lock, gives one back, or renews one; or waits for another.
    pub fn lock_step(&mut self, rng: &mut Rng) {
        let live = self.checker.live_attempts();
        if live.is_empty() {
            return;
        }
        let (task, attempt) = *rng.pick(&live);
        let by = Origin::Task(task, Attempt(attempt.0 + u32::from(rng.chance(5))));
        let held: Vec<Arc<str>> =
            self.engine.state.locks.of_task(task).map(|lock| lock.request.ticket.clone()).collect();
        let barrier = BarrierId::from(self.engine.state.barriers.len() - 1);
        let ticket: Arc<str> = format!("m{}", rng.below(4)).into();
        let command = match rng.below(13) {
            10..12 => Command::Meet { barrier, ticket },
            12 => Command::Leave { barrier, ticket, why: "gives up".into() },
            0..3 if !held.is_empty() => Command::Unlock { ticket: rng.pick(&held).to_string() },
            3 if !held.is_empty() => Command::RenewLock { ticket: rng.pick(&held).to_string() },
            _ => {
                let amount = *rng.pick(&[Amount(1), Amount(1_000), Amount(2_000), Amount::WHOLE_LOCK]);
                let within = |rng: &mut Rng| (0..rng.below(3)).map(|_| rng.below(3) as u32).collect();
                Command::Lock(Arc::new(LockRequest {
                    resource: ResourceId(rng.below(8) as u32),
                    amount,
                    ticket: format!("t{}", rng.below(6)).into(),
                    holder: rng.below(3) as u32,
                    within: within(rng),
                    lease: rng.maybe(30, |rng| Span(1 + rng.below(20_000))),
                }))
            }
        };
        self.decide(What::Command { by, command });
    }

    /// A running task gives back early what it took at its start.
    pub fn give_back_step(&mut self, rng: &mut Rng) {
        let live = self.checker.live_attempts();
        if live.is_empty() {
            return;
        }
        let (task, attempt) = *rng.pick(&live);
        let resource = ResourceId(rng.below(8) as u32);
        self.decide(What::Command { by: Origin::Task(task, attempt), command: Command::GiveBack { resource } });
    }

    /// Somebody changes the workflow: what is asked may be nonsense.
    pub fn surgery_step(&mut self, rng: &mut Rng) {
        let state = &self.engine.state;
        let any = |rng: &mut Rng| TaskId(rng.below(state.tasks.len() as u64) as u32);
        let stage = |rng: &mut Rng| StageId(rng.below(state.stages.len() as u64) as u32);
        let after = |rng: &mut Rng| {
            let mut after: Vec<TaskId> = (0..rng.below(3)).map(|_| any(rng)).collect();
            after.sort_unstable();
            after.dedup();
            after
        };
        let command = match rng.below(9) {
            8 => {
                let agent = AgentId(rng.below(state.agents.len() as u64 + 1) as u32);
                let names = ["docker", "gpu", "net", "x"];
                let capabilities = names.iter().filter(|_| rng.chance(50)).map(|name| (*name).to_owned()).collect();
                Command::SetCapabilities { agent, capabilities }
            }
            0..3 => {
                let (base, windows_base) = (state.tasks.len() as u32, state.windows.len() as u32);
                let count = 1 + rng.below(2) as u32;
                let tasks = (0..count).map(|n| {
                    let like = state.definition(any(rng));
                    let id = if rng.chance(5) { like.id.clone() } else { format!("new-{}", base + n) };
                    let mut task = task(&id);
                    if rng.chance(60) {
                        task.requirements.clone_from(&like.requirements);
                        (task.timeout, task.retry) = (like.timeout, like.retry.clone());
                        task.entry.clone_from(&like.entry);
                        (task.monitor, task.fallback) = (like.monitor.clone(), like.fallback.clone());
                    }
                    task.preemptible = rng.chance(40);
                    task.compensation = rng.maybe(20, |_| Arc::new(super::flow::compensation(&id, false)));
                    (task.stage, task.after, task.priority) = (stage(rng), after(rng), rng.below(5) as i32);
                    if n > 0 && rng.chance(50) {
                        task.after.push(TaskId(base));
                    }
                    task
                });
                let tasks = tasks.collect();
                let before = (0..rng.below(3).saturating_sub(1)).map(|_| any(rng)).collect();
                let base = base - u32::from(rng.chance(3));
                Command::Add(Arc::new(Added { base, windows_base, windows: Vec::new(), tasks, before }))
            }
            3..6 => {
                let id = any(rng);
                let mut task = (**state.definition(id)).clone();
                if rng.chance(50) {
                    (task.after, task.join) = (after(rng), Join::default());
                    if task.after.len() > 1 && rng.chance(40) {
                        task.join.enough = Some(1);
                        task.join.rest = *rng.pick(&[Rest::LetRun, Rest::Cancel]);
                    }
                }
                if rng.chance(30) {
                    task.stage = stage(rng);
                }
                if rng.chance(30) {
                    task.requirements.clone_from(&state.definition(any(rng)).requirements);
                }
                task.preemptible = rng.chance(40);
                if rng.chance(20) {
                    task.entry.clone_from(&state.definition(any(rng)).entry);
                }
                (task.priority, task.timeout) = (rng.below(5) as i32, rng.maybe(50, |rng| Span(1 + rng.below(9_000))));
                Command::Edit { task: id, definition: Arc::new(task) }
            }
            6 => Command::Remove { task: any(rng) },
            _ => Command::Restore { task: any(rng) },
        };
        self.command(command);
    }

    /// A gate that asks people, if there is one.
    fn asking(&mut self) -> Option<TaskId> {
        let state = &self.engine.state;
        let asks = |id: &TaskId| {
            let gate = state.definition(*id).task_type.gate();
            state.task(*id).phase == Phase::Awaiting && gate.is_some_and(|gate| gate.asks_people())
        };
        let asking: Vec<TaskId> = (0..self.tasks).map(TaskId).filter(asks).collect();
        if asking.is_empty() { None } else { Some(*self.rng.pick(&asking)) }
    }

    pub fn random_step(&mut self) {
        // A gate is decided by several votes: they must come before its time is up.
        if self.rng.chance(50)
            && let Some(task) = self.asking()
        {
            let abstains = self.rng.chance(15);
            let (approves, by) = (!abstains && self.rng.chance(70), *self.rng.pick(&["ana", "bo", "cy"]));
            return self.command(Command::Vote { task, approves, abstains, by: by.into(), note: String::new() });
        }
        match self.rng.below(100) {
            0..50 => match self.world.truthful(&mut self.rng, false) {
                Some(report) => self.decide(What::Report(report)),
                None => self.jump(),
            },
            50..53 => match self.world.observe(&mut self.rng) {
                Some(observation) => self.decide(What::Observed(observation)),
                None => self.jump(),
            },
            53 => self.share(),
            54..56 => {
                let load1 = self.rng.below(5) as f64;
                self.decide(What::Figures(Figures { load1, ..Figures::default() }));
            }
            56..62 => self.jump(),
            62..66 => match self.world.look(&mut self.rng, 20) {
                Some(mut sighting) => {
                    if self.rng.chance(30) {
                        // A look of a watch that is over.
                        sighting.watch = self.rng.below(sighting.watch);
                    }
                    self.decide(What::Sighting(sighting));
                }
                None => self.jump(),
            },
            66..76 => {
                let lie = self.world.lie(&mut self.rng, self.tasks);
                // A lie that is believed is the truth from then on: the agent is answerable for it.
                self.world.believe(&lie);
                self.decide(What::Report(lie));
            }
            _ => {
                let command = self.random_command(0);
                self.command(command);
            }
        }
    }

    /// A step of a run in which agents are truthful and the operator only steers: much runs side by side.
    pub fn calm_step(&mut self) {
        let task = TaskId(self.rng.below(u64::from(self.tasks)) as u32);
        match self.rng.below(100) {
            0..78 => {
                self.now = self.now.plus(Span(self.rng.below(900)));
                match self.world.truthful(&mut self.rng, true) {
                    Some(report) => self.decide(What::Report(report)),
                    None => self.jump(),
                }
            }
            78..86 => {
                self.now = self.now.plus(Span(self.rng.below(3_000)));
                self.decide(What::Tick);
            }
            86..92 => {
                let priority = self.rng.below(9) as i32 - 4;
                self.command(Command::SetPriority { task, priority });
            }
            92..94 => self.command(Command::Hold { task }),
            94..96 => self.command(Command::Release { task }),
            96..98 => self.command(Command::Retry { task }),
            _ => {
                let (agent, slots) = (AgentId(self.rng.below(3) as u32), self.rng.below(7) as u32);
                self.command(Command::SetSlots { agent, slots });
            }
        }
    }

    pub fn jump(&mut self) {
        let span = *self.rng.pick(&[0, 1, 100, 1_000, 5_000, 60_000]);
        self.now = self.now.plus(Span(span));
        self.decide(What::Tick);
    }

    pub fn random_command(&mut self, depth: u32) -> Command {
        let rng = &mut self.rng;
        let task = TaskId(rng.below(u64::from(self.tasks) + 1) as u32);
        match rng.below(40) {
            0..4 => Command::SetPriority { task, priority: rng.below(9) as i32 - 4 },
            4..7 => Command::Hold { task },
            7..11 => Command::Release { task },
            11 => Command::Cancel { task },
            12 => Command::Kill { task },
            13..16 => Command::Retry { task },
            16 => Command::Skip { task },
            17..19 => Command::Unskip { task },
            19..21 => Command::Fallback { task },
            21 => Command::Pause,
            22..25 => Command::Resume,
            25 => rng.pick(&[Command::Drain, Command::Stop, Command::StopNow, Command::Detach]).clone(),
            26..28 => Command::SetSlots { agent: AgentId(rng.below(4) as u32), slots: *rng.pick(&[0, 1, 2, 4]) },
            32 => Command::SetMaxRunning { most: rng.maybe(60, |rng| 1 + rng.below(4) as u32) },
            33 => {
                let agent = rng.maybe(50, |rng| AgentId(rng.below(3) as u32));
                let resource = ResourceId(rng.below(8) as u32);
                Command::SetCapacity { resource, agent, amount: Amount(rng.below(5) * 1000) }
            }
            34 if rng.chance(50) => Command::CloseBreaker,
            34 => Command::HeedPauseWhile(rng.chance(50)),
            39 => Command::Compensate,
            35..39 => {
                let abstains = rng.chance(15);
                let (approves, by) = (!abstains && rng.chance(70), *rng.pick(&["ana", "bo", "cy", "dan"]));
                Command::Vote { task, approves, abstains, by: by.into(), note: String::new() }
            }
            28..30 => Command::Undo,
            30..32 => Command::Redo,
            _ if depth == 0 => {
                let count = self.rng.below(4);
                Command::All((0..count).map(|_| self.random_command(1)).collect())
            }
            _ => Command::Undo,
        }
    }

    /// The console dies with the first `cut` facts stored; another takes over.
    pub fn crash_at(&mut self, cut: usize) {
        let (kept, world) = self
            .before
            .iter()
            .rev()
            .find(|(facts, _)| *facts <= cut)
            .map(|(facts, world)| (*facts, world.clone()))
            .expect("a run begins with no fact");
        assert!(kept <= cut);
        self.before.retain(|(facts, _)| *facts <= cut);
        self.facts.truncate(cut);
        self.world = world;
        self.world.watches.clear();
        self.checker = Checker::default();
        for fact in &self.facts {
            self.checker.feed(fact);
        }
        let state = replay(&through_ron(&self.facts));
        let loaded = state.loaded;
        self.engine = Engine::new(state);
        self.open();
        if !loaded {
            return;
        }
        self.engine.state.check().unwrap_or_else(|what| panic!("{what}"));
        let orders = self.engine.recover();
        let survivors: Vec<Survivor> = orders
            .iter()
            .filter_map(|order| match order {
                Effect::Reconcile(survivor) => Some(survivor.clone()),
                // It also goes on stopping what a leader left, if that was asked for before.
                Effect::Signal { task, signal, .. } => {
                    let live = self.engine.state.task(*task).live.as_ref().expect("a live attempt");
                    assert!(live.exited.is_some() && live.stop.is_some_and(|(_, sent, _)| sent == *signal));
                    None
                }
                other => panic!("recovery neither starts nor reaps: {other:?}"),
            })
            .collect();
        let mut asked: Vec<_> = survivors.iter().map(|survivor| (survivor.task, survivor.attempt)).collect();
        asked.sort_unstable();
        assert_eq!(asked, self.checker.live_attempts(), "recover lists exactly the live attempts");
        for survivor in &survivors {
            let news = self.world.reconcile(survivor, &mut self.rng);
            self.decide(What::Report(Report { task: survivor.task, attempt: survivor.attempt, news }));
        }
        self.decide(What::Tick);
    }

    /// Truthful agents and nobody at the keys: it must end, and say why of all that was not done.
    pub fn go_to_the_end(&mut self) {
        self.command(Command::Resume);
        self.decide(What::Figures(Figures::default()));
        let bound = 400 * (u64::from(self.tasks) + 5);
        for _ in 0..bound {
            if self.engine.state.is_finished() {
                return self.all_is_explained();
            }
            // What is gone may be told of again and again: looks have their share of the time.
            let looks = self.rng.chance(30).then(|| self.world.look(&mut self.rng, 60)).flatten();
            if let Some(sighting) = looks {
                self.now = self.now.plus(Span(self.rng.below(2_000)));
                self.decide(What::Sighting(sighting));
            } else if let Some(report) = self.world.truthful(&mut self.rng, true) {
                self.now = self.now.plus(Span(self.rng.below(700)));
                self.decide(What::Report(report));
            } else if self.has_to_look() {
                continue;
            } else {
                let deadline = self.engine.next_deadline();
                let state = &self.engine.state;
                let at = deadline.unwrap_or_else(|| panic!("it hangs: {}", said(state)));
                assert!(at > self.now || !self.facts.is_empty());
                self.now = self.now.max(at);
                self.decide(What::Tick);
            }
        }
        panic!("it does not end: {}", said(&self.engine.state));
    }

    /// Only a look can bring it on.
    fn has_to_look(&self) -> bool {
        self.world.watches.values().any(|of| match of {
            Watched::Task(_) => true,
            Watched::Agent(agent) => self.engine.state.agent(*agent).lost.is_some(),
        })
    }

    pub fn all_is_explained(&self) {
        let state = &self.engine.state;
        for index in 0..state.tasks.len() {
            let id = TaskId::from(index);
            let satisfied = state.task(id).phase.is_satisfied();
            assert!(satisfied || !explain(state, id).is_empty(), "{} waits for nothing", state.name(id));
        }
        let all = (0..state.tasks.len()).all(|index| {
            let task = state.task(TaskId::from(index));
            task.phase.is_satisfied() || task.excused
        });
        assert_eq!(all, state.exit_code() == 0, "{:?}", state.counts);
    }
}

/// Every task that is not over, and why it does not run.
fn said(state: &State) -> String {
    let open = (0..state.tasks.len()).map(TaskId::from).filter(|id| state.task(*id).phase.is_open());
    let lines =
        open.map(|id| format!("\n{id} {:?} {:?} {:?}", state.task(id).phase, explain(state, id), state.class_of(id)));
    format!(
        "now {:?}, {:?} breaker {:?} pools {:?} {}",
        state.now,
        state.reservations,
        state.breaker,
        state.pools,
        lines.collect::<String>()
    )
}
