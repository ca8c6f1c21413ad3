//! What the dispatcher is to look at because time passes: a rate that has filled up, a window that opens or closes. Each
//! thing has one time at most. Made again from the State at will; never stored.

use std::collections::BTreeMap;

use super::dispatch::Lane;
use super::fact::Target;
use super::ids::Time;
use super::order::Order;

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// What is parked in a lane may fit.
    Lane(Lane),
    /// What is kept free for a task may be free for others: its window has closed.
    Kept(Target),
}

/// When to look at what.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    times: Order<(Time, Alarm)>,
    set: BTreeMap<Alarm, Time>,
}

impl Alarms {
    /// Looks at it then, and not at the time set before; never, without a time.
    pub fn set(&mut self, alarm: Alarm, at: Option<Time>) {
        if let Some(old) = self.set.remove(&alarm) {
            self.times.remove(&(old, alarm));
        }
        if let Some(at) = at {
            self.times.insert((at, alarm));
            self.set.insert(alarm, at);
        }
    }

    /// The next that is due by now.
    pub fn pop(&mut self, now: Time) -> Option<Alarm> {
        let (at, alarm) = *self.times.first()?;
        if at > now {
            return None;
        }
        self.set(alarm, None);
        Some(alarm)
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Time> {
        self.times.first().map(|(at, _)| *at)
    }
}
