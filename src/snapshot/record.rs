//! What has run, when, where, and what it waited for: bars for the timeline and the report, made of a State alone. Knows
//! nothing of columns and screens, and nothing of the future: there is no forecast yet.
//!
//! What led to what is read off the times: before a bar starts, an earlier attempt of its task, something that it needs, or
//! something that held what it needs has ended. The State keeps how long the *last* attempt of a task was ready; of earlier
//! ones it is the time at which all that they need was done.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::build::{Frozen, outcome_words, shown_as};
use crate::engine::definition::{Backoff, GoalKind, ResourceDefinition, ResourceKind, TaskDefinition};
use crate::engine::explain::explain;
use crate::engine::fact::Outcome;
use crate::engine::ids::{AgentId, Amount, ResourceId, Span, StageId, TaskId, Time};
use crate::engine::state::{Phase, Shown, State};
use crate::engine::table::Table;

/// No more bars than this are kept, the newest.
pub const MAX_BARS: usize = 200_000;
/// So many of the longest waits are told.
pub const MAX_WAITS: usize = 100;
/// The chain of what led to what is followed at most so far back.
pub const MAX_STEPS: usize = 2000;
/// No more lanes than this for resources.
const MAX_LANES: usize = 500;
/// So many ends before a start are looked at.
const LOOKED_AT: usize = 64;
/// What started later than this after it could have has waited.
pub const LEAST_WAIT: Span = Span(100);
/// A record is made anew at the earliest after this, and only so often that making it takes at most a twentieth.
const AT_LEAST_APART: Duration = Duration::from_millis(100);
/// See [`AT_LEAST_APART`].
const SHARE: u32 = 20;

/// What has run.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Attempts, task by task, each task's in the order of their numbers.
    pub bars: Vec<Bar>,
    /// So many earlier ones are left out.
    pub left_out: usize,
    /// A lane for each slot that was ever used at once, agent by agent.
    pub by_agent: Vec<Lane>,
    /// A lane for each task that ran or waits for room.
    pub by_task: Vec<Lane>,
    /// Lanes for each lock and pool.
    pub by_resource: Vec<Lane>,
    /// What led to what runs longest now, or to what ended last; oldest first.
    pub critical: Vec<Step>,
    /// The longest first.
    pub waits: Vec<Wait>,
    /// Milestones that were reached, in the order of time.
    pub marks: Vec<(Time, String)>,
    /// When the run began.
    pub began: Time,
    /// When the last attempt ended, if all are over.
    pub over: Option<Time>,
    starts: Vec<Time>,
    ends: Vec<Time>,
    definitions: Table<Arc<TaskDefinition>>,
    agents: Vec<String>,
    resources: Vec<String>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Whose.
    pub task: TaskId,
    /// Its number.
    pub attempt: u32,
    /// Where.
    pub agent: AgentId,
    /// When it could have started, as far as what it needs goes.
    pub ready: Time,
    /// When it started.
    pub started: Time,
    /// When it ended, if it has.
    pub ended: Option<Time>,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// It is one of the steps of [`Record::critical`].
    pub critical: bool,
    /// What it waited for, and the bar that gave it back; only looked for in a whole record.
    pub room: Option<(u32, Link)>,
}

impl Bar {
    /// How long it waited for room.
    pub fn waited(&self) -> Span {
        self.started.since(self.ready)
    }
    /// How long it ran, or has run.
    pub fn ran(&self, now: Time) -> Span {
        self.ended.unwrap_or(now.max(self.started)).since(self.started)
    }
    /// In words: `running`, `done`, `exit 2`.
    pub fn words(&self) -> String {
        self.outcome.as_ref().map_or_else(|| "running".into(), outcome_words)
    }
}

/// Bars that do not overlap.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lane {
    /// Whose, on the first of several.
    pub label: String,
    /// It is not the first of several.
    pub more: bool,
    /// Whose, if it is a task's.
    pub task: Option<TaskId>,
    /// Indexes of its bars, in the order of time.
    pub bars: Vec<u32>,
    /// The task has been waiting for room or for an answer since then.
    pub waiting: Option<Time>,
    /// Some of its bars are on the critical path.
    pub critical: bool,
}

/// How one bar led to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Nothing before it: it could start at the beginning.
    First,
    /// It needs it.
    Needs,
    /// It is the next attempt of the same task.
    Again,
    /// It waited for what the other held of this.
    Room(ResourceId),
    /// It waited for the other's slot.
    Slot,
}

/// A step of the critical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which bar.
    pub bar: u32,
    /// How the one before it led to it.
    pub link: Link,
}

/// A task that waited though all that it needs was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// Which.
    pub task: TaskId,
    /// The bar that it waited for to start; none while it waits.
    pub bar: Option<u32>,
    /// Since when.
    pub from: Time,
    /// How long, or so far.
    pub long: Span,
    /// What for, in words.
    pub why: String,
}

impl Record {
    /// Of a session at this time.
    pub fn of(frozen: &Frozen, at: Time) -> Self {
        Maker::new(frozen, MAX_BARS).record(at)
    }

    /// The same with all bars, however many there are: for reports.
    pub fn whole(frozen: &Frozen, at: Time) -> Self {
        let mut maker = Maker::new(frozen, usize::MAX);
        maker.whole = true;
        maker.record(at)
    }

    /// A task's name.
    pub fn name(&self, task: TaskId) -> &str {
        self.definitions.get(task.index()).map_or("?", |definition| definition.id.as_str())
    }

    /// An agent's name.
    pub fn agent(&self, agent: AgentId) -> &str {
        self.agents.get(agent.index()).map_or("?", String::as_str)
    }

    /// A resource in words: `lock db`.
    pub fn resource(&self, resource: ResourceId) -> &str {
        self.resources.get(resource.index()).map_or("?", String::as_str)
    }

    /// A bar by its place.
    pub fn bar(&self, index: u32) -> &Bar {
        &self.bars[index as usize]
    }

    /// The place of an attempt.
    pub fn find(&self, task: TaskId, attempt: u32) -> Option<u32> {
        self.bars.binary_search_by_key(&(task, attempt), |bar| (bar.task, bar.attempt)).ok().map(|at| at as u32)
    }

    /// The last attempt of a task.
    pub fn last_of(&self, task: TaskId) -> Option<u32> {
        let end = self.bars.partition_point(|bar| bar.task <= task);
        end.checked_sub(1).filter(|at| self.bars[*at].task == task).map(|at| at as u32)
    }

    /// How many ran at this time.
    pub fn running_at(&self, at: Time) -> usize {
        self.starts.partition_point(|start| *start <= at) - self.ends.partition_point(|end| *end <= at)
    }

    /// The first bar of a lane that has not ended before this time, as a place in the lane.
    pub fn first_from(&self, lane: &Lane, at: Time) -> usize {
        lane.bars.partition_point(|bar| self.bar(*bar).ended.is_some_and(|ended| ended <= at))
    }
}

/// Keeps a record and makes it anew, not more often than it can be afforded.
#[derive(Debug, Default)]
pub struct Keeper {
    kept: Arc<Record>,
    of: Weak<Frozen>,
    made: Option<(Instant, Duration)>,
}

impl Keeper {
    /// The record of this instant, or of one a little before.
    pub fn record(&mut self, frozen: &Arc<Frozen>, at: Time) -> Arc<Record> {
        let due = self.made.is_none_or(|(made, took)| made.elapsed() >= (took * SHARE).max(AT_LEAST_APART));
        let of = Arc::downgrade(frozen);
        if due && !Weak::ptr_eq(&self.of, &of) {
            let began = Instant::now();
            self.kept = Arc::new(Record::of(frozen, at));
            self.of = of;
            self.made = Some((Instant::now(), began.elapsed()));
        }
        self.kept.clone()
    }

    /// The next one is made at once.
    pub fn forget(&mut self) {
        self.made = None;
    }
}

/// When what ended, in the order of time.
type Ends = Vec<(Time, u32)>;

/// Makes a record: holds what is only needed meanwhile.
struct Maker<'a> {
    frozen: &'a Frozen,
    state: &'a State,
    record: Record,
    whole: bool,
    stage_ends: Vec<Ends>,
    agent_ends: Vec<Ends>,
    resource_ends: Vec<Ends>,
}

impl<'a> Maker<'a> {
    fn new(frozen: &'a Frozen, most: usize) -> Self {
        let state = &frozen.engine.state;
        let (bars, left_out) = bars(state, most);
        let agents = state.agents.iter().map(|agent| agent.definition.name.clone()).collect();
        let record = Record {
            bars,
            left_out,
            began: state.started,
            definitions: state.definitions.clone(),
            agents,
            resources: state.resources.iter().map(|entry| resource_words(&entry.definition)).collect(),
            ..Record::default()
        };
        let mut maker = Self {
            frozen,
            state,
            record,
            whole: false,
            stage_ends: vec![vec![]; state.stages.len()],
            agent_ends: vec![vec![]; state.agents.len()],
            resource_ends: vec![vec![]; state.resources.len()],
        };
        maker.note_ends();
        maker
    }

    fn record(mut self, at: Time) -> Record {
        for index in 0..self.record.bars.len() {
            self.record.bars[index].ready = self.ready(index);
        }
        if self.whole {
            for index in 0..self.record.bars.len() {
                self.record.bars[index].room = self.room(index).map(|(_, other, link)| (other, link));
            }
        }
        self.note_load();
        self.find_critical();
        self.record.waits = self.waits(at);
        self.record.by_agent = self.by_agent();
        self.record.by_task = self.by_task();
        self.record.by_resource = self.by_resource();
        let reached = self.state.goals.iter().filter(|goal| goal.definition.kind == GoalKind::Milestone);
        let mark = |goal: &crate::engine::goals::RunGoal| {
            goal.said.as_ref().filter(|said| said.0).map(|said| (said.1, goal.definition.name.clone()))
        };
        self.record.marks = reached.filter_map(mark).collect();
        self.record.marks.sort();
        self.record
    }

    fn note_ends(&mut self) {
        for (index, bar) in self.record.bars.iter().enumerate() {
            let Some(ended) = bar.ended else { continue };
            let end = (ended, index as u32);
            self.stage_ends[self.state.definition(bar.task).stage.index()].push(end);
            self.agent_ends[bar.agent.index()].push(end);
            for (resource, _) in self.state.class_of(bar.task).shared.iter() {
                self.resource_ends[resource.index()].push(end);
            }
        }
        let all = self.stage_ends.iter_mut().chain(&mut self.agent_ends).chain(&mut self.resource_ends);
        all.for_each(|ends| ends.sort_unstable());
    }

    fn note_load(&mut self) {
        let record = &mut self.record;
        record.starts = record.bars.iter().map(|bar| bar.started).collect();
        record.ends = record.bars.iter().filter_map(|bar| bar.ended).collect();
        record.starts.sort_unstable();
        record.ends.sort_unstable();
        let all = record.starts.len() == record.ends.len();
        record.over = record.ends.last().copied().filter(|_| all);
    }

    /// When all that a bar needs was done.
    fn ready(&self, index: usize) -> Time {
        let bar = &self.record.bars[index];
        let last = self.record.bars.get(index + 1).is_none_or(|next| next.task != bar.task);
        let ready = self.state.task(bar.task).ready_at;
        if last && ready <= bar.started {
            return ready;
        }
        let (needs, again) = (self.needs(index), self.again(index));
        let ended = |before: Option<(Time, Option<u32>)>| before.map_or(self.state.started, |before| before.0);
        let again = ended(again).plus(self.delay(index));
        ended(needs).max(again).min(bar.started)
    }

    /// The least that a bar was made to wait after the attempt before it, which failed.
    fn delay(&self, index: usize) -> Span {
        let bar = &self.record.bars[index];
        let before = index.checked_sub(1).map(|before| &self.record.bars[before]).filter(|one| one.task == bar.task);
        let Some(before) = before.filter(|one| matches!(one.outcome, Some(Outcome::Failed(_)))) else { return Span(0) };
        match self.state.definition(bar.task).retry.backoff {
            Backoff::Fixed(span) => span,
            Backoff::Exponential { base, max, jitter } => {
                let doubled = base.0.saturating_mul(1 << before.attempt.saturating_sub(1).min(30)).min(max.0);
                Span((doubled as f64 * (1.0 - jitter.clamp(0.0, 1.0))) as u64)
            }
        }
    }

    /// The last end among what a bar needs, before it started.
    fn needs(&self, index: usize) -> Option<(Time, Option<u32>)> {
        let bar = &self.record.bars[index];
        let definition = self.state.definition(bar.task);
        let tasks = definition.after.iter().filter_map(|before| self.end_of(*before, bar.started));
        let stage = self.state.stage(definition.stage);
        let transitions = stage.led_by.iter().map(|id| self.state.transition(*id).definition.from);
        let stages = stage.definition.after.iter().copied().chain(transitions);
        let stages = stages.filter_map(|before: StageId| last_before(&self.stage_ends[before.index()], bar.started));
        tasks.chain(stages.map(|(ended, index)| (ended, Some(index)))).max()
    }

    /// When a task was last over before this time.
    fn end_of(&self, task: TaskId, before: Time) -> Option<(Time, Option<u32>)> {
        let bars = &self.record.bars;
        let first = bars.partition_point(|bar| bar.task < task);
        let own = bars[first..].iter().take_while(|bar| bar.task == task).enumerate();
        let ended = own.filter_map(|(n, bar)| Some((bar.ended?, Some((first + n) as u32))));
        let ended = ended.filter(|(ended, _)| *ended <= before).max();
        let entry = self.state.task(task);
        let settled = (entry.phase.is_satisfied() || entry.phase.is_dead()) && entry.past.is_none();
        ended.or_else(|| (settled && entry.since <= before).then_some((entry.since, None)))
    }

    /// The attempt before.
    fn again(&self, index: usize) -> Option<(Time, Option<u32>)> {
        let before = self.record.bars.get(index.checked_sub(1)?)?;
        let own = before.task == self.record.bars[index].task;
        own.then_some(()).and_then(|()| Some((before.ended?, Some(index as u32 - 1))))
    }

    /// What ended last of that which held what a bar waited for, since it was ready.
    fn room(&self, index: usize) -> Option<(Time, u32, Link)> {
        let bar = &self.record.bars[index];
        if bar.waited() < LEAST_WAIT {
            return None;
        }
        let within = |ends: &Ends, link: Link, kept: &dyn Fn(TaskId) -> bool| {
            let until = ends.partition_point(|(ended, _)| *ended <= bar.started);
            // What began no earlier gave nothing back to it: of bars that took no time there may be some.
            let mut before =
                ends[..until].iter().rev().take(LOOKED_AT).map(|(ended, n)| (*ended, *n, self.record.bar(*n)));
            let (ended, other, _) = before.find(|(.., other)| other.started < bar.started && kept(other.task))?;
            (ended > bar.ready).then_some((ended, other, link))
        };
        let class = self.state.class_of(bar.task);
        let kind = |id: ResourceId| self.state.resource(id).definition.kind;
        let held = class.shared.iter().filter(|(id, _)| !matches!(kind(*id), ResourceKind::Rate { .. }));
        let rooms = held.filter_map(|(id, need)| {
            // Two that share a lock do not keep each other out.
            let whole = |amount: Amount| kind(*id) != ResourceKind::Lock || amount == Amount::WHOLE_LOCK;
            let theirs =
                |task| self.state.class_of(task).shared.iter().any(|(other, held)| other == id && whole(*held));
            within(&self.resource_ends[id.index()], Link::Room(*id), &|task| whole(*need) || theirs(task))
        });
        let slot = within(&self.agent_ends[bar.agent.index()], Link::Slot, &|_| true);
        // Of what ended at one time a lock says more than a slot.
        slot.into_iter().chain(rooms).max_by_key(|(ended, _, link)| (*ended, *link != Link::Slot))
    }

    fn before(&self, index: usize) -> Option<(u32, Link)> {
        if let Some((_, other, link)) = self.room(index) {
            return Some((other, link));
        }
        let needs = self.needs(index).and_then(|(ended, bar)| Some((ended, bar?, Link::Needs)));
        let again = self.again(index).and_then(|(ended, bar)| Some((ended, bar?, Link::Again)));
        let latest = needs.into_iter().chain(again).max_by_key(|(ended, ..)| *ended)?;
        Some((latest.1, latest.2))
    }

    fn find_critical(&mut self) {
        let bars = self.record.bars.iter().enumerate();
        let live = bars.clone().filter(|(_, bar)| bar.ended.is_none()).min_by_key(|(_, bar)| bar.started);
        let last = live.or_else(|| bars.max_by_key(|(_, bar)| bar.ended));
        let mut at = last.map(|(index, _)| index as u32);
        let mut steps = Vec::new();
        while let Some(bar) = at.filter(|_| steps.len() < MAX_STEPS) {
            // Of bars that took no time one may seem to have led to the other and back.
            if std::mem::replace(&mut self.record.bars[bar as usize].critical, true) {
                break;
            }
            let before = self.before(bar as usize);
            steps.push(Step { bar, link: before.map_or(Link::First, |(_, link)| link) });
            at = before.map(|(bar, _)| bar);
        }
        steps.reverse();
        self.record.critical = steps;
    }

    // ── waits ────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn waits(&self, at: Time) -> Vec<Wait> {
        let bars = self.record.bars.iter().enumerate();
        let past = bars.filter(|(_, bar)| bar.waited() >= LEAST_WAIT);
        let past = past.map(|(index, bar)| (bar.waited(), bar.task, Some(index as u32), bar.ready));
        let now = waiting(self.state).map(|(task, since)| (at.since(since), task, None, since));
        let now = now.filter(|(long, ..)| *long >= LEAST_WAIT);
        let mut all: Vec<_> = past.chain(now).collect();
        let key = |wait: &(Span, TaskId, Option<u32>, Time)| (Reverse(wait.0), wait.1, wait.2);
        if all.len() > MAX_WAITS {
            all.select_nth_unstable_by_key(MAX_WAITS, key);
            all.truncate(MAX_WAITS);
        }
        all.sort_unstable_by_key(key);
        let wait = |(long, task, bar, from): (Span, TaskId, Option<u32>, Time)| {
            let why = match bar {
                Some(bar) => self.waited_for(bar as usize),
                None => explain(self.state, task)
                    .first()
                    .map_or_else(|| "it starts now".into(), |reason| super::why::short(self.frozen, task, reason, at)),
            };
            Wait { task, bar, from, long, why }
        };
        all.into_iter().map(wait).collect()
    }

    /// What a bar waited for, in words.
    fn waited_for(&self, index: usize) -> String {
        let name = |bar: u32| self.state.name(self.record.bar(bar).task);
        match self.room(index) {
            Some((_, other, Link::Room(resource))) => {
                format!("{}, given back by {}", self.record.resource(resource), name(other))
            }
            Some((_, other, _)) => {
                let agent = &self.state.agent(self.record.bars[index].agent).definition.name;
                format!("a slot of {agent}, given back by {}", name(other))
            }
            None => "nothing that ended: a pause, a hold, a window, a rate or new room".into(),
        }
    }

    // ── lanes ────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn by_agent(&self) -> Vec<Lane> {
        let mut of: Vec<Vec<u32>> = vec![vec![]; self.state.agents.len()];
        for (index, bar) in self.record.bars.iter().enumerate() {
            of[bar.agent.index()].push(index as u32);
        }
        let named = of.into_iter().enumerate();
        named.flat_map(|(n, bars)| self.lanes(&self.state.agents.at(n).definition.name, bars, true)).collect()
    }

    fn by_resource(&self) -> Vec<Lane> {
        let mut of: Vec<Vec<u32>> = vec![vec![]; self.state.resources.len()];
        for (index, bar) in self.record.bars.iter().enumerate() {
            for (resource, _) in &self.state.class_of(bar.task).shared {
                of[resource.index()].push(index as u32);
            }
        }
        let mut lanes = Vec::new();
        for (n, bars) in of.into_iter().enumerate() {
            let entry = &self.state.resources.at(n).definition;
            if matches!(entry.kind, ResourceKind::Lock | ResourceKind::Pool(_))
                && !entry.limit
                && lanes.len() < MAX_LANES
            {
                lanes.extend(self.lanes(&entry.name, bars, true));
            }
        }
        lanes
    }

    fn by_task(&self) -> Vec<Lane> {
        let mut lanes: Vec<(Time, Lane)> = Vec::new();
        for (index, bar) in self.record.bars.iter().enumerate() {
            match lanes.last_mut().filter(|(_, lane)| lane.task == Some(bar.task)) {
                Some((_, lane)) => {
                    lane.bars.push(index as u32);
                    lane.critical |= bar.critical;
                }
                None => lanes.push((bar.started, self.lane_of(bar.task, index as u32, bar.critical))),
            }
        }
        let mut idle = Vec::new();
        for (task, since) in waiting(self.state) {
            match lanes.binary_search_by_key(&Some(task), |(_, lane)| lane.task) {
                Ok(at) => lanes[at].1.waiting = Some(since),
                Err(_) => {
                    let label = self.state.name(task).to_owned();
                    let lane = Lane { label, task: Some(task), waiting: Some(since), ..Lane::default() };
                    idle.push((Time(u64::MAX), lane));
                }
            }
        }
        lanes.extend(idle);
        lanes.sort_by_key(|(started, lane)| (*started, lane.waiting, lane.task));
        lanes.into_iter().map(|(_, lane)| lane).collect()
    }

    fn lane_of(&self, task: TaskId, bar: u32, critical: bool) -> Lane {
        let label = self.state.name(task).to_owned();
        Lane { label, task: Some(task), bars: vec![bar], critical, ..Lane::default() }
    }

    /// Bars side by side in as few lanes as hold them; an empty one if there are none and `always`.
    fn lanes(&self, label: &str, mut bars: Vec<u32>, always: bool) -> Vec<Lane> {
        bars.sort_by_key(|bar| (self.record.bar(*bar).started, *bar));
        let mut lanes: Vec<Lane> = Vec::new();
        let mut busy: BinaryHeap<Reverse<(Time, usize)>> = BinaryHeap::new();
        let mut free: BTreeSet<usize> = BTreeSet::new();
        for index in bars {
            let bar = self.record.bar(index);
            while let Some(Reverse((_, lane))) = busy.peek().filter(|Reverse((ended, _))| *ended <= bar.started) {
                free.insert(*lane);
                busy.pop();
            }
            let lane = free.pop_first().unwrap_or(lanes.len());
            if lane == lanes.len() {
                lanes.push(Lane { label: label.to_owned(), more: lane > 0, ..Lane::default() });
            }
            lanes[lane].bars.push(index);
            lanes[lane].critical |= bar.critical;
            busy.push(Reverse((bar.ended.unwrap_or(Time(u64::MAX)), lane)));
        }
        if lanes.is_empty() && always {
            lanes.push(Lane { label: label.to_owned(), ..Lane::default() });
        }
        lanes
    }
}

fn resource_words(entry: &ResourceDefinition) -> String {
    match (entry.limit, entry.kind) {
        (true, _) => entry.words(),
        (_, ResourceKind::Lock) => format!("lock {}", entry.name),
        _ => format!("pool {}", entry.name),
    }
}

/// All attempts, at most so many, the newest; and how many are left out.
fn bars(state: &State, most: usize) -> (Vec<Bar>, usize) {
    let mut bars = Vec::new();
    for id in (0..state.tasks.len()).map(TaskId::from) {
        let task = state.task(id);
        let bar = |attempt, agent, started, ended: Option<Time>, outcome| Bar {
            task: id,
            attempt,
            agent,
            ready: started,
            started,
            ended,
            outcome,
            critical: false,
            room: None,
        };
        for past in task.past.iter().flat_map(|past| past.iter()) {
            let ended = past.ended.max(past.started);
            bars.push(bar(past.attempt.0, past.agent, past.started, Some(ended), Some(past.outcome.clone())));
        }
        if let Some(live) = &task.live {
            let started = live.process.as_ref().map_or(live.started, |(_, since)| *since);
            bars.push(bar(task.attempt, live.agent, started, None, None));
        }
    }
    let left_out = bars.len().saturating_sub(most);
    if left_out > 0 {
        let mut starts: Vec<Time> = bars.iter().map(|bar| bar.started).collect();
        let (_, least, _) = starts.select_nth_unstable(left_out);
        let least = *least;
        bars.retain(|bar| bar.started >= least || bar.ended.is_none());
    }
    (bars, left_out)
}

/// What waits though all that it needs is done, and since when.
fn waiting(state: &State) -> impl Iterator<Item = (TaskId, Time)> {
    let ready = shown_as(state, Shown::Ready).map(|id| (id, state.task(id).ready_at));
    let asking = shown_as(state, Shown::Awaiting).map(|id| (id, state.task(id).since));
    ready
        .chain(asking)
        .filter(|(id, _)| matches!(state.task(*id).phase, Phase::Ready | Phase::Arrived | Phase::Awaiting))
}

fn last_before(ends: &Ends, at: Time) -> Option<(Time, u32)> {
    ends.partition_point(|(ended, _)| *ended <= at).checked_sub(1).map(|index| ends[index])
}
