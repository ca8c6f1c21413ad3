//! What the checker knows of locks of running tasks: who asks, who holds, and that fences only grow.

use std::collections::BTreeMap;
use std::sync::Arc;

use quarterdeck::engine::ids::*;
use quarterdeck::engine::locks::{LockEnd, LockRequest};

use super::Checker;

#[derive(Debug, Clone)]
struct Lock {
    task: TaskId,
    request: Arc<LockRequest>,
    /// Since when it is held, or was renewed.
    held: Option<Time>,
}

/// All requests by number.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    all: BTreeMap<u64, Lock>,
    count: u64,
    fence: u64,
}

impl Asked {
    pub fn held_of(&self, resource: ResourceId) -> impl Iterator<Item = u64> {
        let held = self.all.values().filter(move |lock| lock.request.resource == resource && lock.held.is_some());
        held.map(|lock| lock.request.amount.0)
    }

    pub fn is_waited_for(&self, resource: ResourceId) -> bool {
        self.all.values().any(|lock| lock.request.resource == resource && lock.held.is_none())
    }

    pub fn end_of(&mut self, task: TaskId) {
        self.all.retain(|_, lock| lock.task != task);
    }
}

impl Checker {
    pub(super) fn lock_is_asked(&mut self, task: TaskId, attempt: Attempt, request: &Arc<LockRequest>) {
        let seen = &self.seen[task.index()];
        assert!(seen.attempt == attempt.0 && seen.live.is_some(), "an attempt that is over asks for a lock");
        let same = |lock: &Lock| lock.task == task && lock.request.ticket == request.ticket;
        assert!(!self.locks.all.values().any(same), "{task} asks twice by one ticket");
        self.locks.count += 1;
        let lock = Lock { task, request: request.clone(), held: None };
        self.locks.all.insert(self.locks.count, lock);
    }

    pub(super) fn lock_is_granted(&mut self, task: TaskId, resource: ResourceId, number: u64, fence: u64) {
        assert!(fence > self.locks.fence, "a fence that is not higher");
        self.locks.fence = fence;
        let now = self.now;
        let lock = self.locks.all.get_mut(&number).expect("nobody asked for this lock");
        assert!(lock.task == task && lock.request.resource == resource, "{task} gets what another asked for");
        assert!(lock.held.replace(now).is_none(), "granted twice");
        let (amount, agent) = (lock.request.amount, self.seen[task.index()].live.as_ref().expect("it runs").agent);
        self.within_capacity(resource, agent, amount);
    }

    pub(super) fn lock_is_renewed(&mut self, task: TaskId, number: u64) {
        let now = self.now;
        let lock = self.locks.all.get_mut(&number).expect("it is held");
        assert!(lock.task == task && lock.request.lease.is_some());
        assert!(lock.held.replace(now).is_some(), "what is not held is renewed");
    }

    pub(super) fn lock_is_over(&mut self, task: TaskId, number: u64, end: LockEnd) {
        let lock = self.locks.all.remove(&number).expect("it is held or waited for");
        assert_eq!(lock.task, task);
        if end == LockEnd::Expired {
            let (since, lease) = (lock.held.expect("it is held"), lock.request.lease.expect("it is leased"));
            assert!(since.plus(lease) <= self.now, "its lease has not run out");
        }
    }

    /// Another console.
    pub(super) fn forget_waiting(&mut self) {
        self.locks.all.retain(|_, lock| lock.held.is_some());
    }
}
