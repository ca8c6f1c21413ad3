//! Dynamic locks: what a running task asks of a resource besides what it has held since its start. A request is granted at
//! once or waits in line, by priority (a holder inherits that of those who wait for it), deadline and age; one that could
//! never be granted since the tasks wait for each other is refused with the circle. Each grant has a fence, a number that only
//! grows, so that whatever the lock protects can tell an old holder from a new one. What is held is given back when asked
//! for, when a lease runs out, and at the end of the attempt. Knows nothing of sockets.
//!
//! A task is many processes, and only some of them may wait: a request says who will hold it (`holder`) and who waits until
//! it is granted (`within`). Without them a task is taken as one.

mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(in crate::engine) use self::line::{circle, grants};

use super::definition::{OnDeadlock, ResourceKind};
use super::fact::{Fact, Target};
use super::ids::{Amount, Attempt, ResourceId, Span, TaskId, Time};
use super::message::{Command, Origin, Refusal, StopReason, StopSignal, WaitNews};
use super::place::amount_in;
use super::preempt;
use super::state::State;

/// A session has no more requests than this, granted or not.
pub const REQUESTS_MOST: usize = 10_000;
/// No more than this wait at once.
pub const WAITING_MOST: usize = 1_000;
/// A ticket is no longer than this, in bytes.
pub const TICKET_BYTES: usize = 64;
/// A request names no more processes that wait for it than this.
pub const WITHIN_MOST: usize = 64;

/// What a running task asks of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// Of which.
    pub resource: ResourceId,
    /// How much; of a lock: `WHOLE_LOCK` exclusive, `Amount(1)` shared.
    pub amount: Amount,
    /// By which the task speaks of it; asked for again by the same one it is the same request.
    pub ticket: Arc<str>,
    /// Who will hold it, by a number of the task's own; 0 is the task as a whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holder: u32,
    /// Who waits until it is granted; none is the task as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<u32>,
    /// It is given back so long after the grant or the last renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
}

fn is_zero(holder: &u32) -> bool {
    *holder == 0
}

/// Why a request is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockEnd {
    /// The task gave it back, or asks for it no more.
    Released,
    /// Its lease ran out.
    Expired,
}

/// A request with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Its number in the session, from 1.
    pub number: u64,
    /// Whose.
    pub task: TaskId,
    /// Of which attempt.
    pub attempt: Attempt,
    /// What is asked.
    pub request: Arc<LockRequest>,
    /// Since when.
    pub asked: Time,
    /// It is held.
    pub grant: Option<Grant>,
}

/// What a holder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Since when.
    pub at: Time,
    /// Higher than that of every grant of the session before.
    pub fence: u64,
    /// Given back then, if it is not renewed.
    pub until: Option<Time>,
}

/// All requests of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locks {
    all: BTreeMap<u64, Lock>,
    /// Number of the last.
    pub count: u64,
    /// The last fence.
    pub fences: u64,
    waiting: BTreeSet<(ResourceId, u64)>,
    held: BTreeSet<(ResourceId, u64)>,
    of_task: BTreeSet<(TaskId, u64)>,
    leases: BTreeSet<(Time, u64)>,
}

impl Locks {
    /// All, by number.
    pub fn all(&self) -> impl Iterator<Item = &Lock> {
        self.all.values()
    }

    /// Those of a task, by number.
    pub fn of_task(&self, task: TaskId) -> impl Iterator<Item = &Lock> {
        self.of_task.range((task, 0)..=(task, u64::MAX)).map(|(_, number)| &self.all[number])
    }

    /// Those granted of a resource, by number.
    pub fn held_of(&self, resource: ResourceId) -> impl Iterator<Item = &Lock> {
        self.held.range((resource, 0)..=(resource, u64::MAX)).map(|(_, number)| &self.all[number])
    }

    /// Those that wait for a resource, by number: not the order in which they are granted, see [`State::line_of`].
    pub fn waiting_for(&self, resource: ResourceId) -> impl Iterator<Item = &Lock> {
        self.waiting.range((resource, 0)..=(resource, u64::MAX)).map(|(_, number)| &self.all[number])
    }

    /// All that wait.
    pub(in crate::engine) fn waiting(&self) -> impl Iterator<Item = &Lock> {
        self.waiting.iter().map(|(_, number)| &self.all[number])
    }

    /// Somebody that runs waits for it: what is to start comes after that.
    pub fn is_waited_for(&self, resource: ResourceId) -> bool {
        self.waiting_for(resource).next().is_some()
    }

    /// When the next lease runs out.
    pub fn next_lease(&self) -> Option<Time> {
        self.leases.first().map(|(at, _)| *at)
    }

    fn find(&self, task: TaskId, ticket: &str) -> Option<&Lock> {
        self.of_task(task).find(|lock| &*lock.request.ticket == ticket)
    }

    fn enter(&mut self, lock: Lock) {
        let (number, resource) = (lock.number, lock.request.resource);
        self.of_task.insert((lock.task, number));
        match &lock.grant {
            Some(grant) => {
                self.held.insert((resource, number));
                self.leases.extend(grant.until.map(|until| (until, number)));
            }
            None => _ = self.waiting.insert((resource, number)),
        }
        self.all.insert(number, lock);
    }

    fn take_out(&mut self, number: u64) -> Option<Lock> {
        let lock = self.all.remove(&number)?;
        let resource = lock.request.resource;
        self.of_task.remove(&(lock.task, number));
        self.waiting.remove(&(resource, number));
        self.held.remove(&(resource, number));
        if let Some(until) = lock.grant.and_then(|grant| grant.until) {
            self.leases.remove(&(until, number));
        }
        Some(lock)
    }

    /// Made again from what is kept of it.
    pub(in crate::engine) fn of(all: Vec<Lock>, count: u64, fences: u64) -> Self {
        let mut locks = Self { count, fences, ..Self::default() };
        all.into_iter().for_each(|lock| locks.enter(lock));
        locks
    }
}

/// What a command about locks comes to; if it is granted already, what the client hears at once.
pub(super) fn intend(state: &State, by: &Origin, command: &Command) -> Result<(Vec<Fact>, Option<WaitNews>), Refusal> {
    let Origin::Task(task, attempt) = *by else { return refuse("only a running task holds locks") };
    let find = |ticket: &str| state.locks.find(task, ticket);
    let none =
        |ticket: &str| Refusal(format!("there is no lock with the ticket {ticket}: given back, or its lease ran out"));
    match command {
        Command::Lock(request) => match find(&request.ticket) {
            Some(lock) if *lock.request != **request => refuse(format!("the ticket {} is taken", request.ticket)),
            Some(lock) => {
                let news = |grant: Grant| news_of(lock, Some(grant.fence));
                Ok((Vec::new(), lock.grant.map(news)))
            }
            None => {
                let going = admit(state, task, request)?;
                let request = request.clone();
                let stop = |victim: TaskId| {
                    let (attempt, reason) = (Attempt(state.task(victim).attempt), StopReason::Preempted(task));
                    Fact::Stopping { task: victim, attempt, reason, signal: StopSignal::Term }
                };
                let asked = Fact::LockAsked { task, attempt, request };
                Ok((going.into_iter().map(stop).chain([asked]).collect(), None))
            }
        },
        Command::Unlock { ticket } => {
            let lock = find(ticket).ok_or_else(|| none(ticket))?;
            Ok((vec![over(lock, LockEnd::Released)], None))
        }
        Command::GiveBack { resource } => give_back(state, task, attempt, *resource),
        Command::RenewLock { ticket } => match find(ticket) {
            Some(lock) if lock.grant.is_none() => refuse("it is not granted yet"),
            Some(lock) if lock.request.lease.is_none() => refuse("it has no lease: nothing to renew"),
            Some(lock) => {
                let (task, resource, lock) = (lock.task, lock.request.resource, lock.number);
                Ok((vec![Fact::LockRenewed { task, resource, lock }], None))
            }
            None => Err(none(ticket)),
        },
        _ => refuse("this is about no lock"),
    }
}

/// What a task needs no more of what it took at its start.
fn give_back(
    state: &State,
    task: TaskId,
    attempt: Attempt,
    resource: ResourceId,
) -> Result<(Vec<Fact>, Option<WaitNews>), Refusal> {
    let Some(entry) = state.resources.get(resource.index()) else { return refuse("there is no such resource") };
    let name = &entry.definition.name;
    if entry.definition.limit || !matches!(entry.definition.kind, ResourceKind::Lock | ResourceKind::Pool(_)) {
        return refuse(format!("{name} is no lock and no pool: it is given back at the end of a task alone"));
    }
    let holds = state.task(task).live.as_ref().is_some_and(|live| amount_in(&live.holds, resource) > Amount(0));
    if !holds {
        return refuse(format!(
            "{} has held nothing of {name} since its start, or has given it back",
            state.name(task)
        ));
    }
    Ok((vec![Fact::GivenBack { task, attempt, resource }], None))
}

/// Whether it may be asked at all, and who has to go for that.
fn admit(state: &State, task: TaskId, request: &LockRequest) -> Result<Vec<TaskId>, Refusal> {
    let Some(entry) = state.resources.get(request.resource.index()) else { return refuse("there is no such resource") };
    let name = &entry.definition.name;
    let is_of_session = matches!(entry.definition.kind, ResourceKind::Lock | ResourceKind::Pool(_));
    if entry.definition.limit || !is_of_session {
        return refuse(format!("{name} is no lock and no pool: it is taken at the start of a task alone"));
    }
    if request.amount == Amount(0) {
        return refuse("how much? More than nothing");
    }
    if request.amount > entry.capacity {
        let all = entry.capacity.0 as f64 / 1000.0;
        return refuse(format!("there are only {all} of {name}: this could never be granted"));
    }
    let plain = |byte: u8| byte.is_ascii_graphic();
    if request.ticket.is_empty() || request.ticket.len() > TICKET_BYTES || !request.ticket.bytes().all(plain) {
        return refuse(format!("a ticket is 1 to {TICKET_BYTES} visible letters"));
    }
    if request.within.len() > WITHIN_MOST {
        return refuse(format!("at most {WITHIN_MOST} processes wait for one lock"));
    }
    if request.lease == Some(Span(0)) {
        return refuse("a lease of nothing is none");
    }
    if state.locks.all.len() >= REQUESTS_MOST {
        return refuse(format!("there are {REQUESTS_MOST} locks already"));
    }
    if state.locks.waiting.len() >= WAITING_MOST {
        return refuse(format!("{WAITING_MOST} wait for locks already"));
    }
    let mut going = Vec::new();
    while let Some((words, circle)) = circle(state, task, request, &going) {
        let wounds = state.settings.on_deadlock == OnDeadlock::Wound;
        let open: Vec<TaskId> = circle.into_iter().filter(|other| !going.contains(other)).collect();
        match preempt::wounded(state, &open).filter(|_| wounds) {
            // Without it there is no request: nobody else has to go.
            Some(victim) if victim == task => return Ok(vec![task]),
            Some(victim) => going.push(victim),
            None => return refuse(format!("would deadlock: {words}")),
        }
    }
    // One that was chosen for the first circle may not be needed any more once another goes.
    for victim in going.clone() {
        let others: Vec<TaskId> = going.iter().copied().filter(|other| *other != victim).collect();
        if circle(state, task, request, &others).is_none() {
            going = others;
        }
    }
    Ok(going)
}

fn over(lock: &Lock, end: LockEnd) -> Fact {
    Fact::LockOver { task: lock.task, resource: lock.request.resource, lock: lock.number, end }
}

pub(super) fn news_of(lock: &Lock, fence: Option<u64>) -> WaitNews {
    let why = fence.is_none().then(|| "it was given up by another process of the task".into());
    WaitNews { task: lock.task, attempt: lock.attempt, ticket: lock.request.ticket.clone(), came: fence, why }
}

impl State {
    /// The lock of this number.
    pub fn lock(&self, number: u64) -> Option<&Lock> {
        self.locks.all.get(&number)
    }

    /// What was leased and not renewed in time.
    pub(super) fn expired(&self) -> Option<Fact> {
        let (_, lock) = self.locks.leases.first().filter(|(at, _)| *at <= self.now)?;
        self.lock(*lock).map(|lock| over(lock, LockEnd::Expired))
    }

    pub(super) fn ask_lock(&mut self, task: TaskId, attempt: Attempt, request: &Arc<LockRequest>) {
        let asked = self.now;
        let locks = Arc::make_mut(&mut self.locks);
        locks.count += 1;
        let (number, request) = (locks.count, request.clone());
        locks.enter(Lock { number, task, attempt, request, asked, grant: None });
        self.changes.locks = true;
    }

    pub(super) fn grant_lock(&mut self, number: u64, fence: u64) {
        let now = self.now;
        let locks = Arc::make_mut(&mut self.locks);
        locks.fences = locks.fences.max(fence);
        let Some(mut lock) = locks.take_out(number) else { return };
        let until = lock.request.lease.map(|lease| now.plus(lease));
        lock.grant = Some(Grant { at: now, fence, until });
        let (resource, amount) = (lock.request.resource, lock.request.amount);
        locks.enter(lock);
        self.resources.at_mut(resource.index()).used.0 += amount.0;
        self.locks_changed(resource);
    }

    pub(super) fn renew_lock(&mut self, number: u64) {
        let now = self.now;
        let locks = Arc::make_mut(&mut self.locks);
        let Some(mut lock) = locks.take_out(number) else { return };
        let until = lock.request.lease.map(|lease| now.plus(lease));
        lock.grant.iter_mut().for_each(|grant| grant.until = until);
        locks.enter(lock);
    }

    pub(super) fn end_lock(&mut self, number: u64) {
        let Some(lock) = Arc::make_mut(&mut self.locks).take_out(number) else { return };
        let (resource, amount) = (lock.request.resource, lock.request.amount);
        if lock.grant.is_some() {
            self.resources.at_mut(resource.index()).used.0 -= amount.0;
        }
        self.locks_changed(resource);
    }

    /// What it took at its start of a resource of the session is free from now on.
    pub(super) fn give_back(&mut self, task: TaskId, resource: ResourceId) {
        let Some(live) = &self.task(task).live else { return };
        let amount = amount_in(&live.holds, resource);
        let left: Vec<(ResourceId, Amount)> = live.holds.iter().filter(|(id, _)| *id != resource).copied().collect();
        self.drop_hold(task, resource, left);
        self.resources.at_mut(resource.index()).used.0 -= amount.0;
        self.look_at_locks();
        self.locks_changed(resource);
    }

    /// The attempt is over, and with it all that it holds and asks.
    pub(super) fn end_locks_of(&mut self, task: TaskId) {
        let numbers: Vec<u64> = self.locks.of_task(task).map(|lock| lock.number).collect();
        numbers.into_iter().for_each(|number| self.end_lock(number));
    }

    /// Another console: whoever still waits asks it again.
    pub(super) fn forget_waiting(&mut self) {
        let numbers: Vec<u64> = self.locks.waiting.iter().map(|(_, number)| *number).collect();
        numbers.into_iter().for_each(|number| self.end_lock(number));
    }

    /// There is more of it, or nobody that runs waits for it any more: somebody else may have it.
    fn locks_changed(&mut self, resource: ResourceId) {
        self.changes.locks = true;
        if !self.changes.noted {
            return;
        }
        self.changes.resources.push(resource);
        let target = Target::Resource(resource);
        if self.reservations.contains_key(&target) {
            self.changes.reservations.push(target);
        }
    }

    /// Something that requests may wait for is another now.
    pub(super) fn look_at_locks(&mut self) {
        self.changes.locks |= !self.locks.waiting.is_empty();
    }

    /// How much of a resource a task holds: since its start, and by locks.
    pub fn held_by(&self, task: TaskId, resource: ResourceId) -> Amount {
        let live = self.task(task).live.as_ref();
        let own = live.map_or(Amount(0), |live| amount_in(&live.holds, resource));
        let locks = self.locks.of_task(task).filter(|lock| lock.request.resource == resource && lock.grant.is_some());
        Amount(own.0 + locks.map(|lock| lock.request.amount.0).sum::<u64>())
    }

    /// Those that wait for a resource, the next first.
    pub fn line_of(&self, resource: ResourceId) -> Vec<&Lock> {
        line::ranked(self, resource)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}
