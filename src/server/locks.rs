//! Locks of running tasks and barriers within, over the socket: who asks waits on its own thread until it is told, and gives up
//! what it waits for when its client has gone. Knows nothing of who is next.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::{picture, send};
use crate::bus::message::{BarrierOrder, CoordinationMessage, LockLine, LockOrder};
use crate::engine::definition::ResourceKind;
use crate::engine::ids::{Amount, Attempt, BarrierId, ResourceId, Span, TaskId};
use crate::engine::locks::{Lock, LockRequest};
use crate::engine::message::{Command, Origin, WaitNews};
use crate::engine::state::State;
use crate::runtime::Handle;
use crate::snapshot::build::how;

/// How often it is looked whether whoever waits is still there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// No wait is longer.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the client hears, if anything can be said. `has_gone` is whether nobody listens any more.
///
/// # Errors
/// Why not.
pub(super) fn answer(
    handle: &Handle,
    order: &LockOrder,
    asked: &CoordinationMessage,
    has_gone: &dyn Fn() -> bool,
) -> Result<Value, String> {
    if order.op == "list" {
        return Ok(json!({ "locks": lines(&picture(handle)?.engine.state) }));
    }
    let context = &asked.content.context;
    let (Some(task), Some(attempt)) = (context.task_id.map(TaskId), context.attempt.map(Attempt)) else {
        return Err("only a running task holds locks: it says which in `context`, by task_id and attempt".into());
    };
    let by = Origin::Task(task, attempt);
    let ticket = order.ticket.clone();
    match order.op.as_str() {
        "acquire" => {
            let request = request(&picture(handle)?.engine.state, order)?;
            let leave = |_| Command::Unlock { ticket: ticket.clone() };
            let asking = Asking { handle, by, task, attempt, key: &ticket, leave: &leave };
            match asking.wait_for(Command::Lock(Arc::new(request)), order.wait_ms, has_gone)? {
                Some(fence) => Ok(json!({ "granted": true, "ticket": ticket, "fence": fence })),
                None => Ok(json!({ "granted": false, "ticket": ticket })),
            }
        }
        "release" => {
            let frozen = picture(handle)?;
            let state = &frozen.engine.state;
            let by_ticket = state.locks.of_task(task).any(|lock| *lock.request.ticket == *ticket);
            if by_ticket || order.resource.is_empty() {
                return send(handle, by, Command::Unlock { ticket });
            }
            // what it holds since its start has no ticket
            let resource = named(state, &order.resource)?;
            send(handle, by, Command::GiveBack { resource })
        }
        "renew" => send(handle, by, Command::RenewLock { ticket }),
        other => Err(format!("there is no `{other}` of the locks: acquire, release, renew, list")),
    }
}

fn request(state: &State, order: &LockOrder) -> Result<LockRequest, String> {
    let name = order.resource.as_str();
    let resource = named(state, name)?;
    let kind = state.resource(resource).definition.kind;
    let amount = match (kind, order.amount, order.shared) {
        (ResourceKind::Lock, None, true) => Amount(1),
        (ResourceKind::Lock, None, false) => Amount::WHOLE_LOCK,
        (ResourceKind::Lock, Some(_), _) => {
            return Err(format!("{name} is a lock: exclusive or shared, no amount of it"));
        }
        (_, _, true) => return Err(format!("{name} is counted, not shared: say how much")),
        (_, amount, false) => {
            let value = amount.unwrap_or(1.0);
            let fits = (0.001..=1e15).contains(&value);
            if fits {
                Amount((value * 1000.0).round() as u64)
            } else {
                return Err("how much? More than nothing".into());
            }
        }
    };
    let (holder, within, lease) = (order.holder, order.within.clone(), order.lease_ms.map(Span));
    Ok(LockRequest { resource, amount, ticket: order.ticket.as_str().into(), holder, within, lease })
}

fn named(state: &State, name: &str) -> Result<ResourceId, String> {
    let mut all = (0..state.resources.len()).map(ResourceId::from);
    let is_it = |id: &ResourceId| state.resource(*id).definition.name == name && !state.resource(*id).definition.limit;
    all.find(is_it).ok_or_else(|| unknown(state, name))
}

fn unknown(state: &State, name: &str) -> String {
    let lockable = |id: &ResourceId| {
        let definition = &state.resource(*id).definition;
        !definition.limit && matches!(definition.kind, ResourceKind::Lock | ResourceKind::Pool(_))
    };
    let all = (0..state.resources.len()).map(ResourceId::from).filter(lockable);
    let names: Vec<&str> = all.map(|id| state.resource(id).definition.name.as_str()).take(20).collect();
    match names.is_empty() {
        true => format!("no resource is called {name}: declare it, resources: {{ \"{name}\": Lock }}"),
        false => format!("no resource is called {name}; there are {}", names.join(", ")),
    }
}

/// Waits at a barrier within.
///
/// # Errors
/// Why not, or why the others did not come.
pub(super) fn meet(
    handle: &Handle,
    order: &BarrierOrder,
    asked: &CoordinationMessage,
    has_gone: &dyn Fn() -> bool,
) -> Result<Value, String> {
    let context = &asked.content.context;
    let (Some(task), Some(attempt)) = (context.task_id.map(TaskId), context.attempt.map(Attempt)) else {
        return Err("only a running task waits at a barrier: it says which in `context`, by task_id and attempt".into());
    };
    let barrier = barrier(&picture(handle)?.engine.state, task, &order.barrier)?;
    // A lock has no ticket with a blank.
    let key = format!(" {}", order.ticket);
    let ticket: Arc<str> = order.ticket.as_str().into();
    let leave = |late: bool| {
        let why = if late { "waits no longer" } else { "has gone" }.to_owned();
        Command::Leave { barrier, ticket: ticket.clone(), why }
    };
    let command = Command::Meet { barrier, ticket: ticket.clone() };
    let asking = Asking { handle, by: Origin::Task(task, attempt), task, attempt, key: &key, leave: &leave };
    match asking.wait_for(command, order.wait_ms, has_gone)? {
        Some(round) => Ok(json!({ "passed": true, "round": round })),
        None => Err(format!("barrier {} is broken: the wait was over", order.barrier)),
    }
}

/// By its name, or by that within the file that the task is of.
fn barrier(state: &State, task: TaskId, name: &str) -> Result<BarrierId, String> {
    let of = state.definitions.get(task.index()).map_or("", |definition| definition.id.as_str());
    let find = |name: &str| state.barriers.iter().position(|barrier| barrier.definition.name == name);
    let prefixes = of.match_indices('/').map(|(at, _)| &of[..=at]).collect::<Vec<_>>();
    let within = prefixes.iter().rev().find_map(|prefix| find(&format!("{prefix}{name}")));
    let help = || {
        format!(
            "no barrier is called {name}: declare it, barriers: {{ \"{name}\": Barrier(parties: 2, inside: true) }}"
        )
    };
    within.or_else(|| find(name)).map(BarrierId::from).ok_or_else(help)
}

/// One that asks and waits.
struct Asking<'a> {
    handle: &'a Handle,
    by: Origin,
    task: TaskId,
    attempt: Attempt,
    /// By which it is told.
    key: &'a str,
    /// What is asked when it waits no longer: whether it is late, or gone.
    leave: &'a dyn Fn(bool) -> Command,
}

impl Asking<'_> {
    /// What came; nothing if that takes too long.
    fn wait_for(
        &self,
        command: Command,
        wait_ms: Option<u64>,
        has_gone: &dyn Fn() -> bool,
    ) -> Result<Option<u64>, String> {
        let waiters = self.handle.waiters();
        // Before it is asked, so that no news is missed.
        let news = waiters.wait(self.task, self.attempt, self.key);
        let comes = send(self.handle, self.by.clone(), command).and_then(|_| self.wait(&news, wait_ms, has_gone));
        waiters.leave(self.task, self.attempt, self.key, news);
        comes
    }

    fn wait(
        &self,
        news: &Receiver<WaitNews>,
        wait_ms: Option<u64>,
        has_gone: &dyn Fn() -> bool,
    ) -> Result<Option<u64>, String> {
        let most = wait_ms.map_or(FOREVER, Duration::from_millis).min(FOREVER);
        let until = Instant::now() + most;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match news.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(WaitNews { came: Some(came), .. }) => return Ok(Some(came)),
                Ok(WaitNews { why, .. }) => return Err(why.as_deref().unwrap_or("it will not come").to_owned()),
                Err(RecvTimeoutError::Disconnected) => return Err("the attempt that asks is over".into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let is_late = Instant::now() >= until;
            if is_late || has_gone() {
                // Were it granted in this very moment, it would be given back.
                let _ = send(self.handle, self.by.clone(), (self.leave)(is_late));
                return if is_late { Ok(None) } else { Err("nobody waits for it any more".into()) };
            }
        }
    }
}

/// Who holds what, and who waits: by resource, those that hold it first.
fn lines(state: &State) -> Vec<LockLine> {
    let mut lines = Vec::new();
    for id in (0..state.resources.len()).map(ResourceId::from) {
        let definition = &state.resource(id).definition;
        if definition.limit || !matches!(definition.kind, ResourceKind::Lock | ResourceKind::Pool(_)) {
            continue;
        }
        let how = |amount: Amount| how(definition.kind == ResourceKind::Lock, amount);
        for task in state.holders_of(id) {
            let Some(live) = &state.task(task).live else { continue };
            let amount =
                live.holds.iter().find(|(resource, _)| *resource == id).map_or(Amount(0), |(_, amount)| *amount);
            lines.push(LockLine {
                resource: definition.name.clone(),
                how: how(amount),
                task: state.name(task).to_owned(),
                attempt: state.task(task).attempt,
                ticket: String::new(),
                held: true,
                since_ms: live.started.0,
                fence: None,
                until_ms: None,
                place: None,
            });
        }
        let line = |lock: &Lock, place: Option<usize>| LockLine {
            resource: definition.name.clone(),
            how: how(lock.request.amount),
            task: state.name(lock.task).to_owned(),
            attempt: lock.attempt.0,
            ticket: lock.request.ticket.to_string(),
            held: lock.grant.is_some(),
            since_ms: lock.grant.map_or(lock.asked, |grant| grant.at).0,
            fence: lock.grant.map(|grant| grant.fence),
            until_ms: lock.grant.and_then(|grant| grant.until).map(|until| until.0),
            place,
        };
        lines.extend(state.locks.held_of(id).map(|lock| line(lock, None)));
        lines.extend((1..).zip(state.line_of(id)).map(|(place, lock)| line(lock, Some(place))));
    }
    lines
}
