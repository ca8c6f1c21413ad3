//! What the screen knows of the timeline: how it is laid out, which part of time is seen, what is selected. Plain data and
//! arithmetic; `update::timeline` changes it, `panes::timeline` draws it. Knows nothing of forecasts: there are none yet.

use crate::engine::ids::{Span, TaskId, Time};
use crate::snapshot::record::{Lane, Record};

/// The shortest time that a screen shows.
pub const LEAST_SPAN: Span = Span(1000);

/// What a lane stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// A slot of an agent.
    #[default]
    Agent,
    /// A task.
    Task,
    /// A lock or a part of a pool.
    Resource,
}

impl By {
    /// As the title says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "by agent",
            Self::Task => "by task",
            Self::Resource => "by lock",
        }
    }
    /// The next one.
    pub fn next(self) -> Self {
        match self {
            Self::Agent => Self::Task,
            Self::Task => Self::Resource,
            Self::Resource => Self::Agent,
        }
    }
}

/// The timeline as it is seen.
#[derive(Debug, Default)]
pub struct Chart {
    /// What lanes stand for.
    pub by: By,
    /// The lane under the cursor, among those that are shown.
    pub row: usize,
    /// The first lane in sight.
    pub top: usize,
    /// The attempt under the cursor.
    pub bar: Option<(TaskId, u32)>,
    /// Its task, or one that has not run and is under the cursor.
    pub task: Option<TaskId>,
    /// Where in time one looks: lanes are gone through here.
    pub eye: Time,
    /// How much time is seen; none: all of it.
    pub span: Option<Span>,
    /// Where the window begins; none: it goes along with now.
    pub from: Option<Time>,
    /// Only what is on the critical path.
    pub critical: bool,
    /// Which of the longest waits was gone to last.
    pub wait: Option<usize>,
}

impl Chart {
    /// The part of time in sight. A part of it is behind now: there forecasts will stand.
    pub fn window(&self, record: &Record, now: Time) -> (Time, Time) {
        let all = whole(record, now);
        let Some(span) = self.span.filter(|span| span.0 < all.1.since(all.0).0) else { return all };
        let from = self.from.unwrap_or(Time(all.1.0.saturating_sub(span.0)));
        let from = from.clamp(all.0, Time(all.1.0.saturating_sub(span.0)).max(all.0));
        (from, from.plus(span))
    }

    /// Lanes that are shown, by their places.
    pub fn shown(&self, record: &Record) -> Vec<usize> {
        let lanes = self.lanes(record);
        (0..lanes.len()).filter(|n| !self.critical || lanes[*n].critical).collect()
    }

    /// All lanes of the way in which it is laid out.
    pub fn lanes<'r>(&self, record: &'r Record) -> &'r [Lane] {
        match self.by {
            By::Agent => &record.by_agent,
            By::Task => &record.by_task,
            By::Resource => &record.by_resource,
        }
    }

    /// The place of the bar under the cursor.
    pub fn place(&self, record: &Record) -> Option<u32> {
        self.bar.and_then(|(task, attempt)| record.find(task, attempt))
    }
}

/// From the beginning until a little behind now, or until all was over.
fn whole(record: &Record, now: Time) -> (Time, Time) {
    let first = record.bars.iter().map(|bar| bar.started).min();
    let began = if record.left_out > 0 { first.unwrap_or(record.began) } else { record.began };
    let last = record.over.filter(|_| record.waits.iter().all(|wait| wait.bar.is_some())).unwrap_or(now).max(began);
    let long = last.since(began).0.max(LEAST_SPAN.0);
    (began, began.plus(Span(long + long / 8)))
}

/// A column of time: from, until.
pub fn column(window: (Time, Time), columns: u16, n: u16) -> (Time, Time) {
    let long = u128::from(window.1.since(window.0).0);
    let at = |n: u16| Time(window.0.0 + (long * u128::from(n) / u128::from(columns.max(1))) as u64);
    (at(n), at(n + 1).max(Time(at(n).0 + 1)))
}

/// The column in which a time lies; outside of the window none.
pub fn column_of(window: (Time, Time), columns: u16, at: Time) -> Option<u16> {
    let long = u128::from(window.1.since(window.0).0.max(1));
    let into = u128::from(at.0.checked_sub(window.0.0)?);
    u16::try_from(into * u128::from(columns) / long).ok().filter(|n| *n < columns)
}

/// How far apart the times stand above the lanes, so that each has at least so many columns.
pub fn tick(window: (Time, Time), columns: u16, least: u16) -> Span {
    const STEPS: [u64; 22] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
        604_800, 2_419_200, 31_536_000,
    ];
    let room = window.1.since(window.0).0 * u64::from(least) / u64::from(columns.max(1));
    let step = STEPS.into_iter().find(|step| step * 1000 >= room).unwrap_or(STEPS[STEPS.len() - 1] * 10);
    Span::secs(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_cover_the_window_without_gap_and_find_their_times() {
        let window = (Time(1000), Time(94_001));
        let mut at = window.0;
        for n in 0..77 {
            let (from, until) = column(window, 77, n);
            assert_eq!(from, at);
            assert_eq!(column_of(window, 77, Time(from.0 + 1)), Some(n));
            at = until;
        }
        assert_eq!(at, window.1);
        assert_eq!((column_of(window, 77, Time(999)), column_of(window, 77, window.1)), (None, None));
    }

    #[test]
    fn ticks_are_round_and_far_enough_apart() {
        assert_eq!(tick((Time(0), Time(60_000)), 100, 10), Span::secs(10));
        assert_eq!(tick((Time(0), Time(86_400_000)), 100, 10), Span::secs(10_800));
    }
}
