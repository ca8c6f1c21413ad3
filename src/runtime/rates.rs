//! What is counted over time: ends per slice, waits and run times, busy slots. Bounded windows; nothing of it is stored.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::fact::{Fact, Stamped};
use crate::engine::ids::{AgentId, Span, Time};
use crate::engine::state::State;
use crate::snapshot::build::Rates;

/// Length of a slice, ms.
const SLICE_MS: u64 = 5_000;
/// Slices kept.
const SLICES: usize = 120;
/// Waits and run times kept.
const SAMPLES: usize = 1_000;

/// See the module.
#[derive(Debug)]
pub struct Meter {
    slice: u64,
    ended: VecDeque<u32>,
    waits: VecDeque<u64>,
    runs: VecDeque<u64>,
    busy_ms: Vec<u64>,
    busy: Vec<VecDeque<f32>>,
    rates: Arc<Rates>,
    stale: bool,
}

impl Meter {
    /// Nothing counted yet.
    pub fn new(state: &State) -> Self {
        Self::from(state.now)
    }

    /// Nothing counted yet, from this time on.
    pub fn from(now: Time) -> Self {
        Self {
            slice: now.0 / SLICE_MS,
            ended: VecDeque::from([0]),
            waits: VecDeque::new(),
            runs: VecDeque::new(),
            busy_ms: Vec::new(),
            busy: Vec::new(),
            rates: Arc::default(),
            stale: false,
        }
    }

    /// Counts a fact that was just applied.
    pub fn note(&mut self, state: &State, stamped: &Stamped) {
        match &stamped.fact {
            Fact::Starting { task, .. } => {
                let wait = stamped.at.since(state.task(*task).ready_at).0;
                push(&mut self.waits, wait, SAMPLES);
                self.stale = true;
            }
            Fact::Ended { task, .. } => {
                self.turn_slice(stamped.at);
                *self.ended.back_mut().expect("there is always a slice") += 1;
                if let Some(past) = state.task(*task).past.as_ref().and_then(|past| past.last()) {
                    push(&mut self.runs, past.ended.since(past.started).0, SAMPLES);
                }
                self.stale = true;
            }
            _ => {}
        }
    }

    /// Once a second: turns slices. True if a screen would show something new.
    pub fn tick(&mut self, state: &State, now: Time) -> bool {
        let turned = self.turn_slice(now);
        self.busy.resize_with(state.agents.len(), VecDeque::new);
        if turned || self.busy_ms.len() != state.agents.len() {
            let total = |index: usize| {
                let agent = state.agent(AgentId::from(index));
                agent.busy_ms + u64::from(agent.busy) * now.since(agent.busy_since).0
            };
            let totals: Vec<u64> = (0..state.agents.len()).map(total).collect();
            for (index, total) in totals.iter().enumerate() {
                let slots = u64::from(state.agent(AgentId::from(index)).slots).max(1);
                let before = self.busy_ms.get(index).copied().unwrap_or(0);
                let share = (total - before.min(*total)) as f32 / (slots * SLICE_MS) as f32;
                push(&mut self.busy[index], share.min(1.0), SLICES);
            }
            self.busy_ms = totals;
            self.stale = true;
        }
        self.stale
    }

    fn turn_slice(&mut self, now: Time) -> bool {
        let slice = now.0 / SLICE_MS;
        let turns = slice.saturating_sub(self.slice).min(SLICES as u64);
        for _ in 0..turns {
            push(&mut self.ended, 0, SLICES);
        }
        self.slice = self.slice.max(slice);
        turns > 0
    }

    /// What screens show of it.
    pub fn rates(&mut self) -> Arc<Rates> {
        if std::mem::take(&mut self.stale) {
            self.rates = Arc::new(Rates {
                ended: self.ended.iter().copied().collect(),
                wait: percentiles(&self.waits),
                run: percentiles(&self.runs),
                busy: self.busy.iter().map(|busy| busy.iter().copied().collect()).collect(),
            });
        }
        self.rates.clone()
    }
}

fn push<T>(ring: &mut VecDeque<T>, entry: T, bound: usize) {
    if ring.len() == bound {
        ring.pop_front();
    }
    ring.push_back(entry);
}

/// Median and 90th percentile (nearest rank).
fn percentiles(samples: &VecDeque<u64>) -> Option<(Span, Span)> {
    if samples.is_empty() {
        return None;
    }
    let mut sorted: Vec<u64> = samples.iter().copied().collect();
    sorted.sort_unstable();
    let at = |share: usize| Span(sorted[(sorted.len() * share).div_ceil(100).max(1) - 1]);
    Some((at(50), at(90)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let samples: VecDeque<u64> = (1..=10).collect();
        assert_eq!(percentiles(&samples), Some((Span(5), Span(9))));
        assert_eq!(percentiles(&VecDeque::from([7])), Some((Span(7), Span(7))));
        assert_eq!(percentiles(&VecDeque::new()), None);
    }
}
