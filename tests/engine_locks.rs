//! Random programs of lock requests: tasks of several processes, that ask in turn or at once, wait for their children, give
//! back, let leases run out, and end. A model of its own, which shares no code with the engine, says after every step whether
//! everybody could still get on; so nothing hangs, nothing is granted beyond what there is, and each refusal is of a true
//! circle. Every other program has `on_deadlock: Wound` and tasks that may be interrupted: then nobody is stopped in vain, and
//! who was stopped starts anew. `QD_SEEDS=n cargo test --test engine_locks` runs more of them.

mod engine_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine_support::{Rng, campaign, replay, task, through_ron};
use quarterdeck::engine::decide::Engine;
use quarterdeck::engine::definition::*;
use quarterdeck::engine::fact::{Fact, Stamped};
use quarterdeck::engine::ids::*;
use quarterdeck::engine::locks::{LockEnd, LockRequest};
use quarterdeck::engine::message::*;
use quarterdeck::engine::state::Phase;

/// Seeds that once found a defect.
const FOUND: &[u64] = &[];
/// A run ends within so many steps, or hangs.
const STEPS_MOST: usize = 5_000;

/// One that goes on step by step: a process of a task, or a task as a whole, which may ask for several locks at once.
#[derive(Debug, Clone)]
struct Actor {
    task: TaskId,
    /// 0 is the task as a whole.
    id: u32,
    /// It waits until this child is over.
    parent: Option<u32>,
    over: bool,
}

#[derive(Debug, Clone)]
struct Held {
    task: TaskId,
    /// Whose: 0 is held until the end of the task.
    by: u32,
    ticket: String,
    resource: ResourceId,
    amount: u64,
    granted: bool,
    until: Option<Time>,
    lease: Option<Span>,
}

/// What the model believes.
#[derive(Debug, Clone, Default)]
struct Model {
    capacity: BTreeMap<ResourceId, u64>,
    /// What tasks hold since their start.
    since_start: Vec<(TaskId, ResourceId, u64)>,
    actors: BTreeMap<(TaskId, u32), Actor>,
    locks: BTreeMap<u64, Held>,
    names: BTreeMap<String, TaskId>,
    over: BTreeSet<TaskId>,
    /// May be interrupted.
    preemptible: BTreeSet<TaskId>,
    /// Have been told to stop, and will.
    going: BTreeSet<TaskId>,
    attempts: BTreeMap<TaskId, u32>,
}

impl Model {
    fn used(&self, resource: ResourceId) -> u64 {
        let locks = self.locks.values().filter(|lock| lock.granted && lock.resource == resource);
        let own = self.since_start.iter().filter(|(_, other, _)| *other == resource);
        locks.map(|lock| lock.amount).sum::<u64>() + own.map(|(_, _, amount)| amount).sum::<u64>()
    }

    fn waits(&self, actor: &Actor) -> bool {
        self.locks.values().any(|lock| lock.task == actor.task && lock.by == actor.id && !lock.granted)
    }

    fn has_child(&self, actor: &Actor) -> bool {
        let child = |other: &Actor| other.task == actor.task && other.parent == Some(actor.id) && !other.over;
        actor.id != 0 && self.actors.values().any(child)
    }

    /// It can do its next step.
    fn is_free(&self, actor: &Actor) -> bool {
        !actor.over && !self.going.contains(&actor.task) && !self.waits(actor) && !self.has_child(actor)
    }

    /// A task has left with all that it had.
    fn leave(&mut self, task: TaskId) {
        self.locks.retain(|_, lock| lock.task != task);
        self.since_start.retain(|(other, ..)| *other != task);
        self.actors.retain(|(other, _), _| *other != task);
    }

    /// Actors that can never get on, if each that can goes on to its end and gives everything back. What they wait for is
    /// asked at once of each: so the order does not matter.
    fn stuck(&self) -> BTreeSet<(TaskId, u32)> {
        let mut now = self.clone();
        self.going.iter().for_each(|task| now.leave(*task));
        loop {
            let mut free: BTreeMap<ResourceId, u64> = BTreeMap::new();
            for (resource, capacity) in &now.capacity {
                free.insert(*resource, capacity.saturating_sub(now.used(*resource)));
            }
            let able = |actor: &Actor| {
                let mut asked: BTreeMap<ResourceId, u64> = BTreeMap::new();
                let own = now.locks.values().filter(|lock| lock.task == actor.task && lock.by == actor.id);
                own.filter(|lock| !lock.granted)
                    .for_each(|lock| *asked.entry(lock.resource).or_default() += lock.amount);
                let fits = asked.iter().all(|(resource, amount)| *amount <= free[resource]);
                !actor.over && !now.has_child(actor) && fits
            };
            let Some((key, _)) = now.actors.iter().find(|(_, actor)| able(actor)) else {
                return now.actors.iter().filter(|(_, actor)| !actor.over).map(|(key, _)| *key).collect();
            };
            let key = *key;
            now.locks.retain(|_, lock| (lock.task, lock.by) != key);
            now.actors.get_mut(&key).expect("it was found").over = true;
            if now.actors.values().all(|actor| actor.task != key.0 || actor.over) {
                now.since_start.retain(|(task, ..)| *task != key.0);
            }
        }
    }

    /// `a waits for x, which b has; …`: each waits for that, or asks for it now, and the next one has some of it.
    fn is_true(&self, circle: &str, asks: (TaskId, ResourceId), resources: &[ResourceDefinition]) -> bool {
        let links: Vec<(TaskId, ResourceId, TaskId)> = circle
            .split("; ")
            .map(|link| {
                let (who, rest) = link.split_once(" waits for ").expect("who waits");
                let (what, rest) = rest.split_once(", which ").expect("for what");
                let holder = rest.strip_suffix(" has").expect("who has it");
                let what = resources.iter().position(|entry| entry.name == what).expect("a resource");
                (self.names[who], ResourceId::from(what), self.names[holder])
            })
            .collect();
        let waits = |task: TaskId, what: ResourceId| {
            let lock = |lock: &Held| lock.task == task && lock.resource == what && !lock.granted;
            (task, what) == asks || self.locks.values().any(lock)
        };
        let has = |task: TaskId, what: ResourceId| {
            let lock = |lock: &Held| lock.task == task && lock.resource == what;
            let own = |(of, resource, _): &(TaskId, ResourceId, u64)| (*of, *resource) == (task, what);
            self.locks.values().any(lock) || self.since_start.iter().any(own)
        };
        let goes_round = links.iter().zip(links.iter().cycle().skip(1)).all(|((_, _, to), (from, _, _))| to == from);
        links[0].0 == asks.0 && goes_round && links.iter().all(|(who, what, to)| waits(*who, *what) && has(*to, *what))
    }
}

struct Game {
    engine: Engine,
    model: Model,
    resources: Vec<ResourceDefinition>,
    facts: Vec<Stamped>,
    rng: Rng,
    now: Time,
    tickets: u32,
    refused: u32,
    waited: u32,
    /// All tasks are taken as one and ask for two at once.
    in_pairs: bool,
    needs: Vec<Vec<ResourceRequirement>>,
    wounds: bool,
    /// Who was told to stop so that the last request closes no circle.
    wounded: Vec<TaskId>,
    stopped: u32,
}

fn flow(rng: &mut Rng, wounds: bool) -> Workflow {
    let mut resources = vec![
        ResourceDefinition::new("cpu", ResourceKind::PerAgent),
        ResourceDefinition::new("mem", ResourceKind::PerAgent),
    ];
    for n in 0..1 + rng.below(4) {
        let kind =
            if rng.chance(60) { ResourceKind::Lock } else { ResourceKind::Pool(Amount::units(1 + rng.below(4))) };
        resources.push(ResourceDefinition::new(format!("r{n}"), kind));
    }
    let count = 2 + rng.below(5);
    let agent = AgentDefinition { name: "local".into(), slots: count as u32, ..agent() };
    let tasks = (0..count).map(|n| {
        let mut one = task(&format!("t{n}"));
        one.priority = rng.below(3) as i32;
        one.preemptible = wounds && rng.chance(60);
        if rng.chance(25) {
            let resource = ResourceId(2 + rng.below(resources.len() as u64 - 2) as u32);
            let amount = match resources[resource.index()].kind {
                ResourceKind::Lock => Amount(1),
                _ => Amount::units(1),
            };
            one.requirements.resources.push(ResourceRequirement { resource, amount });
        }
        one
    });
    let tasks = tasks.collect();
    let stages = vec![WorkflowStage { name: "s".into(), after: Vec::new(), when: None }];
    let on_deadlock = if wounds { OnDeadlock::Wound } else { OnDeadlock::Refuse };
    let settings = Settings { on_deadlock, ..Settings::default() };
    Workflow { settings, resources, agents: vec![agent], stages, tasks, ..Workflow::default() }
}

fn agent() -> AgentDefinition {
    AgentDefinition {
        name: String::new(),
        slots: 1,
        capabilities: Vec::new(),
        resources: Vec::new(),
        launcher: Vec::new(),
        health: None,
    }
}

impl Game {
    fn begin(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let wounds = seed % 8 >= 4;
        let flow = flow(&mut rng, wounds);
        let resources = flow.resources.clone();
        let mut game = Self {
            engine: Engine::default(),
            model: Model::default(),
            resources,
            facts: Vec::new(),
            rng,
            now: Time(1_000),
            tickets: 0,
            refused: 0,
            waited: 0,
            in_pairs: seed.is_multiple_of(4),
            needs: flow.tasks.iter().map(|task| task.requirements.resources.clone()).collect(),
            wounds,
            wounded: Vec::new(),
            stopped: 0,
        };
        for (index, resource) in game.resources.iter().enumerate().skip(2) {
            let capacity = match resource.kind {
                ResourceKind::Pool(amount) => amount.0,
                _ => Amount::WHOLE_LOCK.0,
            };
            game.model.capacity.insert(ResourceId::from(index), capacity);
        }
        let numbered = flow.tasks.iter().enumerate().map(|(n, task)| (TaskId::from(n), task));
        game.model.preemptible = numbered.filter(|(_, task)| task.preemptible).map(|(id, _)| id).collect();
        game.model.names = flow.tasks.iter().enumerate().map(|(n, task)| (task.id.clone(), TaskId::from(n))).collect();
        let tasks = flow.tasks.len();
        game.tell(What::Command { by: Origin::Rule, command: Command::Load(Arc::new(flow.clone())) });
        for n in 0..tasks {
            let id = TaskId::from(n);
            if game.engine.state.task(id).live.is_none() {
                // Its share of a resource is not free: it is none of this game.
                game.model.over.insert(id);
                continue;
            }
            game.enter(id, Attempt(1));
        }
        // What is not in the game does not come into it.
        let held = game.model.over.iter().map(|task| Command::Hold { task: *task }).collect();
        game.tell(What::Command { by: Origin::Operator, command: Command::All(held) });
        game
    }

    /// A task begins.
    fn enter(&mut self, id: TaskId, attempt: Attempt) {
        self.model.attempts.insert(id, attempt.0);
        for need in &self.needs[id.index()] {
            self.model.since_start.push((id, need.resource, need.amount.0));
        }
        let as_one = self.in_pairs || self.rng.chance(40);
        for actor in if as_one { 0..1 } else { 1..2 + self.rng.below(3) as u32 } {
            self.model.actors.insert((id, actor), Actor { task: id, id: actor, parent: None, over: false });
        }
    }

    fn tell(&mut self, what: What) -> Option<String> {
        let is_request = matches!(what, What::Command { command: Command::Lock(_), .. });
        let turn = self.engine.decide(&Input { at: self.now, what });
        self.wounded.clear();
        // What goes for a request goes before it; whoever goes after it makes way for a higher priority.
        let mut asked = false;
        self.facts.extend(through_ron(&turn.facts));
        for stamped in &turn.facts {
            match &stamped.fact {
                Fact::LockGranted { lock, .. } => {
                    let held = self.model.locks.get_mut(lock).expect("it was asked for");
                    (held.granted, held.until) = (true, held.lease.map(|lease| stamped.at.plus(lease)));
                    let resource = held.resource;
                    assert!(
                        self.model.used(resource) <= self.model.capacity[&resource],
                        "granted beyond what there is"
                    );
                }
                Fact::LockOver { lock, end, .. } => {
                    let held = self.model.locks.remove(lock).expect("it was asked for");
                    assert_eq!(*end == LockEnd::Expired, held.until.is_some_and(|until| until <= self.now));
                }
                Fact::LockAsked { task, request, .. } => {
                    asked = true;
                    let number = self.engine.state.locks.count;
                    let held = Held {
                        task: *task,
                        by: request.holder,
                        ticket: request.ticket.to_string(),
                        resource: request.resource,
                        amount: request.amount.0,
                        granted: false,
                        until: None,
                        lease: request.lease,
                    };
                    self.model.locks.insert(number, held);
                }
                Fact::Stopping { task, reason: StopReason::Preempted(by), .. } => {
                    assert!(self.model.preemptible.contains(task), "it may not be interrupted");
                    // It is told so again once its process is known.
                    if self.model.going.insert(*task) {
                        let priority = |task: TaskId| self.engine.state.task(task).priority;
                        match asked || !self.wounds || !is_request {
                            false => self.wounded.push(*task),
                            true => assert!(priority(*task) < priority(*by), "{task:?} makes way for {by:?}"),
                        }
                        self.stopped += 1;
                    }
                }
                Fact::Ended { task, .. } => self.model.locks.retain(|_, lock| lock.task != *task),
                _ => {}
            }
        }
        for effect in &turn.effects {
            match effect {
                Effect::Start(order) if order.attempt.0 > 1 => self.enter(order.task, order.attempt),
                _ => {}
            }
        }
        self.engine.state.check().unwrap_or_else(|what| panic!("{what}"));
        turn.answer.and_then(Result::err).map(|refusal| refusal.0)
    }

    fn by_task(&mut self, task: TaskId, command: Command) -> Option<String> {
        self.tell(What::Command { by: Origin::Task(task, self.attempt(task)), command })
    }

    fn attempt(&self, task: TaskId) -> Attempt {
        Attempt(self.model.attempts[&task])
    }

    /// Those that wait for it: it and those above it; all of the task if it is taken as one.
    fn within(&self, actor: &Actor) -> Vec<u32> {
        let up = |actor: &Actor| actor.parent.map(|parent| self.model.actors[&(actor.task, parent)].clone());
        let chain = std::iter::successors(Some(actor.clone()), up);
        if actor.id == 0 { Vec::new() } else { chain.map(|one| one.id).collect() }
    }

    fn ask(&mut self, actor: &Actor) {
        let resource = ResourceId(2 + self.rng.below(self.resources.len() as u64 - 2) as u32);
        let amount = match self.resources[resource.index()].kind {
            ResourceKind::Pool(amount) => Amount::units(1 + self.rng.below(amount.0 / 1000)),
            _ => *self.rng.pick(&[Amount(1), Amount::WHOLE_LOCK]),
        };
        self.tickets += 1;
        let ticket: Arc<str> = format!("k{}", self.tickets).into();
        let lease = self.rng.maybe(10, |rng| Span(1 + rng.below(500)));
        let within = self.within(actor);
        let request = LockRequest { resource, amount, ticket: ticket.clone(), holder: actor.id, within, lease };
        let mut asked = self.model.clone();
        let held = Held {
            task: actor.task,
            by: actor.id,
            ticket: String::new(),
            resource,
            amount: amount.0,
            granted: false,
            until: None,
            lease: None,
        };
        asked.locks.insert(u64::MAX, held);
        let refused = self.by_task(actor.task, Command::Lock(Arc::new(request)));
        let gone = |but: TaskId| {
            let mut asked = asked.clone();
            asked.going.extend(self.wounded.iter().filter(|victim| **victim != but));
            asked.stuck().is_empty()
        };
        let in_vain: Vec<&TaskId> = self.wounded.iter().filter(|victim| gone(**victim)).collect();
        assert!(in_vain.is_empty(), "stopped in vain: {in_vain:?} of {:?}", self.wounded);
        match refused {
            None => {
                let waits = self.model.locks.values().any(|lock| *lock.ticket == *ticket && !lock.granted);
                self.waited += u32::from(waits);
                let stuck = self.model.stuck();
                assert!(stuck.is_empty(), "they wait for each other: {stuck:?} {:?}", self.model.locks);
            }
            Some(why) => {
                self.refused += 1;
                let circle = why.strip_prefix("would deadlock: ").unwrap_or_else(|| panic!("refused: {why}"));
                assert!(self.model.is_true(circle, (actor.task, resource), &self.resources), "no circle: {why}");
                let may_go = |link: &str| {
                    let name = link.split_once(" waits for ").expect("who waits").0;
                    let task = self.model.names[name];
                    self.model.preemptible.contains(&task) && !self.model.going.contains(&task)
                };
                assert!(!self.wounds || !circle.split("; ").any(may_go), "one could have gone: {why}");
                assert!(!asked.stuck().is_empty(), "everybody would have got a turn: {why}");
            }
        }
    }

    fn give_back(&mut self, actor: &Actor) {
        let own = self.model.locks.values().filter(|lock| (lock.task, lock.by) == (actor.task, actor.id));
        let own: Vec<String> = own.map(|lock| lock.ticket.clone()).collect();
        if own.is_empty() {
            return;
        }
        let ticket = self.rng.pick(&own).clone();
        assert_eq!(self.by_task(actor.task, Command::Unlock { ticket }), None);
    }

    fn end(&mut self, actor: &Actor) {
        let own = self.model.locks.values().filter(|lock| (lock.task, lock.by) == (actor.task, actor.id));
        for ticket in own.map(|lock| lock.ticket.clone()).collect::<Vec<_>>() {
            assert_eq!(self.by_task(actor.task, Command::Unlock { ticket }), None);
        }
        self.model.actors.get_mut(&(actor.task, actor.id)).expect("an actor").over = true;
        if self.model.actors.values().any(|other| other.task == actor.task && !other.over) {
            return;
        }
        if self.model.going.contains(&actor.task) {
            // What it gave back last has led to that.
            return;
        }
        self.model.since_start.retain(|(other, ..)| *other != actor.task);
        self.exits(actor.task, Exit::Code(0));
        self.model.over.insert(actor.task);
    }

    fn exits(&mut self, task: TaskId, exit: Exit) {
        let attempt = self.attempt(task);
        let process = Process { pid: 1, start_ticks: 1 };
        self.tell(What::Report(Report { task, attempt, news: News::Started { process, log: 1 } }));
        let news = News::Exited { exit, usage: Usage::default(), output: 0, left: 0, findings: None };
        self.tell(What::Report(Report { task, attempt, news }));
    }

    /// One that was told to stop does.
    fn go(&mut self, task: TaskId) {
        self.model.since_start.retain(|(other, ..)| *other != task);
        self.model.actors.retain(|(other, _), _| *other != task);
        self.exits(task, Exit::Signal(15));
        self.model.going.remove(&task);
    }

    /// Somebody that can do something does something; false if nobody is left.
    fn step(&mut self, asks: bool) -> bool {
        let free: Vec<Actor> = self.model.actors.values().filter(|actor| self.model.is_free(actor)).cloned().collect();
        let going: Vec<TaskId> = self.model.going.iter().copied().collect();
        if !going.is_empty() && (free.is_empty() || self.rng.chance(30)) {
            let task = *self.rng.pick(&going);
            self.go(task);
            return true;
        }
        if free.is_empty() {
            assert!(self.model.actors.values().all(|actor| actor.over), "it hangs: {:?}", self.model);
            return false;
        }
        let actor = self.rng.pick(&free).clone();
        match self.rng.below(100) {
            0..45 if asks && !self.in_pairs => self.ask(&actor),
            // Two at once: only a task as a whole does not wait for the first.
            0..50 if asks && actor.id == 0 => {
                self.ask(&actor);
                if !self.model.going.contains(&actor.task) {
                    self.ask(&actor);
                }
            }
            50..65 => self.give_back(&actor),
            65..75 if asks && actor.id != 0 && actor.parent.is_none() => {
                let id = 1 + self.model.actors.keys().map(|(_, id)| *id).max().unwrap_or(0);
                let child = Actor { task: actor.task, id, parent: Some(actor.id), over: false };
                self.model.actors.insert((actor.task, id), child);
            }
            75..80 => {
                let priority = self.rng.below(5) as i32;
                self.tell(What::Command {
                    by: Origin::Operator,
                    command: Command::SetPriority { task: actor.task, priority },
                });
            }
            80..85 => {
                self.now = self.now.plus(Span(self.rng.below(300)));
                self.tell(What::Tick);
            }
            85..92 if asks => {}
            _ => self.end(&actor),
        }
        let stuck = self.model.stuck();
        assert!(stuck.is_empty(), "they wait for each other: {stuck:?} {:?}", self.model.locks);
        true
    }
}

#[test]
fn nobody_waits_for_ever_and_each_refusal_is_of_a_true_circle() {
    let counts = std::sync::Mutex::new((0, 0, 0, 0));
    campaign("locks", 3_000, FOUND, |seed| {
        let mut game = Game::begin(seed);
        for _ in 0..40 {
            game.step(true);
        }
        let mut steps = 0;
        while game.step(false) {
            steps += 1;
            assert!(steps < STEPS_MOST, "it does not end");
        }
        assert!(game.engine.state.locks.all().next().is_none(), "something is left");
        for task in game.model.attempts.keys() {
            assert_eq!(game.engine.state.task(*task).phase, Phase::Succeeded, "{task:?} came to no end");
        }
        assert!(replay(&game.facts) == game.engine.state, "a replay comes to something else");
        let mut counts = counts.lock().expect("no holder panics");
        counts.0 += game.tickets;
        counts.1 += game.waited;
        counts.2 += game.refused;
        counts.3 += game.stopped;
    });
    let (asked, waited, refused, stopped) = *counts.lock().expect("no holder panics");
    // So that the game is one: many are granted at once, many wait, and some would close a circle.
    println!("{asked} asked, {waited} waited, {refused} refused, {stopped} stopped");
    assert!(asked < 1_000 || (waited > asked / 10 && refused > asked / 200 && stopped > asked / 200));
}

// ── single cases ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// Tasks with these priorities, all of them running, a lock `x` and another `y`.
struct Case {
    engine: Engine,
    now: Time,
}

const X: ResourceId = ResourceId(2);
const Y: ResourceId = ResourceId(3);

impl Case {
    fn of(tasks: Vec<TaskDefinition>) -> Self {
        let named = |name: &str, kind| ResourceDefinition::new(name, kind);
        let resources = vec![
            named("cpu", ResourceKind::PerAgent),
            named("mem", ResourceKind::PerAgent),
            named("x", ResourceKind::Lock),
            named("y", ResourceKind::Lock),
        ];
        let agent = AgentDefinition { name: "local".into(), slots: 10, ..agent() };
        let stages = vec![WorkflowStage { name: "s".into(), after: Vec::new(), when: None }];
        let on_deadlock =
            if tasks.iter().any(|task| task.preemptible) { OnDeadlock::Wound } else { OnDeadlock::Refuse };
        let settings = Settings { on_deadlock, ..Settings::default() };
        let flow = Workflow { settings, resources, agents: vec![agent], stages, tasks, ..Workflow::default() };
        let mut case = Self { engine: Engine::default(), now: Time(1_000) };
        case.tell(What::Command { by: Origin::Rule, command: Command::Load(Arc::new(flow)) });
        case
    }

    fn with_priorities(priorities: &[i32]) -> Self {
        let one = |(n, priority): (usize, &i32)| TaskDefinition { priority: *priority, ..task(&format!("t{n}")) };
        Self::of(priorities.iter().enumerate().map(one).collect())
    }

    fn tell(&mut self, what: What) -> Vec<Fact> {
        self.now = self.now.plus(Span(1));
        let turn = self.engine.decide(&Input { at: self.now, what });
        self.engine.state.check().unwrap_or_else(|what| panic!("{what}"));
        turn.facts.into_iter().map(|stamped| stamped.fact).collect()
    }

    /// Who gets a lock by that.
    fn by(&mut self, task: u32, command: Command) -> Vec<u32> {
        let facts = self.tell(What::Command { by: Origin::Task(TaskId(task), Attempt(1)), command });
        let got = facts.iter().filter_map(|fact| match fact {
            Fact::LockGranted { task, .. } => Some(task.0),
            _ => None,
        });
        got.collect()
    }

    fn ask(&mut self, task: u32, resource: ResourceId) -> Vec<u32> {
        let ticket: Arc<str> = format!("{resource:?}").chars().filter(char::is_ascii_digit).collect::<String>().into();
        let amount = Amount::WHOLE_LOCK;
        let request = LockRequest { resource, amount, ticket, holder: 0, within: Vec::new(), lease: None };
        self.by(task, Command::Lock(Arc::new(request)))
    }

    fn give(&mut self, task: u32, resource: ResourceId) -> Vec<u32> {
        let ticket = format!("{resource:?}").chars().filter(char::is_ascii_digit).collect();
        self.by(task, Command::Unlock { ticket })
    }
}

#[test]
fn of_those_in_a_circle_the_youngest_goes_whoever_asks_last() {
    for last in [0, 1] {
        let mut tasks: Vec<TaskDefinition> = (0..3).map(|n| task(&format!("t{n}"))).collect();
        (tasks[0].preemptible, tasks[1].preemptible) = (true, true);
        // the first in the file starts last
        tasks[0].after = vec![TaskId(2)];
        let mut case = Case::of(tasks);
        let (task, attempt) = (TaskId(2), Attempt(1));
        let process = Process { pid: 1, start_ticks: 1 };
        let exit = Exit::Code(0);
        for news in [
            News::Started { process, log: 1 },
            News::Exited { exit, usage: Usage::default(), output: 0, left: 0, findings: None },
        ] {
            case.tell(What::Report(Report { task, attempt, news }));
        }
        let (first, own) = (1 - last, |task: u32| if task == 0 { X } else { Y });
        assert_eq!(case.ask(0, X), [0]);
        assert_eq!(case.ask(1, Y), [1]);
        assert!(case.ask(first, own(last)).is_empty());
        case.ask(last, own(first));
        let stops =
            |task: u32| case.engine.state.task(TaskId(task)).live.as_ref().is_some_and(|live| live.stop.is_some());
        assert_eq!((stops(0), stops(1)), (true, false), "{last} asks last");
    }
}

#[test]
fn the_line_is_by_priority_then_deadline_then_age() {
    let mut tasks: Vec<TaskDefinition> = (0..5).map(|n| task(&format!("t{n}"))).collect();
    tasks[3].deadline = Some(Deadline::After(Span::secs(60)));
    tasks[4].priority = 1;
    let mut case = Case::of(tasks);
    assert_eq!(case.ask(0, X), [0]);
    for waiter in [1, 2, 3, 4] {
        assert!(case.ask(waiter, X).is_empty());
    }
    for (from, to) in [(0, 4), (4, 3), (3, 1), (1, 2)] {
        assert_eq!(case.give(from, X), [to]);
    }
}

#[test]
fn who_keeps_the_first_waiting_has_its_priority_where_it_waits_itself() {
    // 0 is low and holds x; 1 is higher, 2 the highest and waits for x.
    let mut case = Case::with_priorities(&[0, 5, 9, 0]);
    assert_eq!(case.ask(0, X), [0]);
    assert_eq!(case.ask(3, Y), [3]);
    assert!(case.ask(1, Y).is_empty());
    assert!(case.ask(0, Y).is_empty());
    assert!(case.ask(2, X).is_empty());
    assert_eq!(case.give(3, Y), [0], "it would be behind 1 without those that wait for it");
    assert_eq!(case.give(0, X), [2]);
    assert_eq!(case.give(0, Y), [1]);
}

#[test]
fn a_priority_that_is_raised_counts_in_the_line_at_once() {
    let mut case = Case::with_priorities(&[0, 0, 0]);
    assert_eq!(case.ask(0, X), [0]);
    assert!(case.ask(1, X).is_empty() && case.ask(2, X).is_empty());
    let command = Command::SetPriority { task: TaskId(2), priority: 3 };
    case.tell(What::Command { by: Origin::Operator, command });
    assert_eq!(case.give(0, X), [2]);
}

#[test]
fn another_console_knows_who_holds_and_is_asked_again_by_who_waits() {
    let mut case = Case::with_priorities(&[0, 0]);
    assert_eq!(case.ask(0, X), [0]);
    assert!(case.ask(1, X).is_empty());
    let opened = Fact::Opened { version: 1, program: "test".into(), boot_id: "boot".into(), pid: 1 };
    case.engine.record_all(case.now, vec![opened]);
    let held: Vec<u32> = case.engine.state.locks.all().map(|lock| lock.task.0).collect();
    assert_eq!(held, [0]);
    // the same ticket is the same lock: nothing is granted anew, and it hears of it
    let request = case.engine.state.locks.all().next().expect("it holds it").request.clone();
    let (by, command) = (Origin::Task(TaskId(0), Attempt(1)), Command::Lock(request));
    let turn = case.engine.decide(&Input { at: case.now, what: What::Command { by, command } });
    assert!(turn.facts.is_empty());
    assert!(matches!(&turn.effects[..], [Effect::Tell(news)] if news[0].came == Some(1)), "{:?}", turn.effects);
    assert!(case.ask(1, X).is_empty());
    assert_eq!(case.give(0, X), [1]);
}

#[test]
fn nobody_but_a_running_task_asks_and_only_for_what_there_is() {
    let mut case = Case::with_priorities(&[0]);
    let request = |resource, amount| {
        let ticket = "t".into();
        Command::Lock(Arc::new(LockRequest { resource, amount, ticket, holder: 0, within: Vec::new(), lease: None }))
    };
    let mut refused = |by: Origin, command: Command| {
        let turn = case.engine.decide(&Input { at: Time(9_000), what: What::Command { by, command } });
        turn.answer.expect("an answer").expect_err("refused").0
    };
    let own = Origin::Task(TaskId(0), Attempt(1));
    assert!(refused(Origin::Operator, request(X, Amount(1))).contains("only a running task"));
    assert!(refused(Origin::Task(TaskId(0), Attempt(2)), request(X, Amount(1))).contains("is over"));
    assert!(refused(own.clone(), request(ResourceId(0), Amount(1))).contains("no lock and no pool"));
    assert!(refused(own.clone(), request(ResourceId(99), Amount(1))).contains("no such resource"));
    assert!(refused(own.clone(), request(X, Amount(u64::MAX))).contains("could never be granted"));
    assert!(refused(own, Command::Unlock { ticket: "none".into() }).contains("no lock with the ticket"));
}
