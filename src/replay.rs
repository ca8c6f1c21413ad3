//! A recording of a session: its facts, and how things stood at any moment of it. Some States are kept on the way (they share
//! what has not changed), so that no moment is far. Decides nothing, and knows neither files nor screens.

use crate::engine::fact::{Fact, Outcome, Stamped};
use crate::engine::ids::{Span, Time};
use crate::engine::message::Origin;
use crate::engine::state::State;

/// So many States are kept at most.
const KEPT_MOST: usize = 128;
/// Between two of them are at least so many facts.
const KEPT_APART: usize = 500;
/// So many marks are kept at most; the first ones, so that the strip does not change while it is read.
const MARKS_MOST: usize = 10_000;

/// Something that whoever looks back wants to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// An attempt failed or was lost.
    Failed,
    /// Somebody asked for something.
    Asked,
    /// A milestone was reached, or an objective judged.
    Goal,
    /// A console opened the session again.
    Opened,
    /// A rule said that something is amiss: a breaker, an overload, a monitor.
    Amiss,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tape {
    facts: Vec<Stamped>,
    /// How things stood after so many facts, in order; the first after none.
    kept: Vec<(usize, State)>,
    /// After which fact, and what.
    marks: Vec<(usize, Mark)>,
}

impl Tape {
    /// Takes facts in; they are folded once.
    pub fn of(facts: Vec<Stamped>) -> Self {
        let apart = facts.len().div_ceil(KEPT_MOST).max(KEPT_APART);
        let mut state = State::default();
        let mut tape = Self { facts: Vec::new(), kept: vec![(0, state.clone())], marks: Vec::new() };
        for (index, stamped) in facts.iter().enumerate() {
            state.apply(stamped);
            if (index + 1).is_multiple_of(apart) {
                tape.kept.push((index + 1, state.clone()));
            }
            if let Some(mark) = mark(stamped, &state).filter(|_| tape.marks.len() < MARKS_MOST) {
                tape.marks.push((index + 1, mark));
            }
        }
        tape.facts = facts;
        tape
    }

    /// How many facts there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// It has no fact.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The last of the first `count` facts, at most so many.
    pub fn before(&self, count: usize, most: usize) -> &[Stamped] {
        let end = count.min(self.len());
        &self.facts[end.saturating_sub(most)..end]
    }

    /// When the first and the last fact became true.
    pub fn range(&self) -> (Time, Time) {
        let at = |stamped: Option<&Stamped>| stamped.map_or(Time(0), |stamped| stamped.at);
        (at(self.facts.first()), at(self.facts.last()))
    }

    /// After how many facts something is to be found, in order.
    pub fn marks(&self) -> &[(usize, Mark)] {
        &self.marks
    }

    /// When the last of the first `count` facts became true.
    pub fn time_of(&self, count: usize) -> Time {
        match count {
            0 => self.range().0,
            count => self.facts[count.min(self.len()) - 1].at,
        }
    }

    /// How many facts were true at this time.
    pub fn count_at(&self, time: Time) -> usize {
        self.facts.partition_point(|stamped| stamped.at <= time)
    }

    /// After how many facts everything was known that there is to run.
    pub fn begin(&self) -> usize {
        let loaded = self.facts.iter().position(|stamped| matches!(stamped.fact, Fact::Loaded { .. }));
        loaded.map_or(0, |index| index + 1)
    }
}

fn mark(stamped: &Stamped, state: &State) -> Option<Mark> {
    match &stamped.fact {
        Fact::Ended { outcome: Outcome::Failed(_) | Outcome::Lost(_), .. }
        | Fact::Settled { outcome: Outcome::Failed(_), .. } => Some(Mark::Failed),
        Fact::Commanded { by: Origin::Operator | Origin::Client(_), .. } | Fact::Undone | Fact::Redone => {
            Some(Mark::Asked)
        }
        Fact::GoalJudged { .. } => Some(Mark::Goal),
        Fact::BreakerOpened { .. } | Fact::OverloadBegan { .. } | Fact::Noticed { .. } => Some(Mark::Amiss),
        Fact::Opened { .. } if state.opened > 1 => Some(Mark::Opened),
        _ => None,
    }
}

/// Where in a recording somebody is, and how things stood there.
#[derive(Debug)]
pub struct Head {
    /// So many facts are true.
    count: usize,
    state: State,
    /// The moment: at the last of these facts or after it, before the next.
    time: Time,
}

impl Head {
    /// At its beginning.
    pub fn at_start(tape: &Tape) -> Self {
        let mut head = Self { count: 0, state: State::default(), time: Time(0) };
        head.go_to(tape, tape.begin());
        head
    }

    /// After so many facts.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The moment.
    pub fn time(&self) -> Time {
        self.time
    }

    /// How things stood then.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// To the moment of the last of `count` facts.
    pub fn go_to(&mut self, tape: &Tape, count: usize) {
        let count = count.min(tape.len());
        let at = tape.kept.partition_point(|(kept, _)| *kept <= count).saturating_sub(1);
        // From here, unless a kept one is nearer.
        if let Some((kept, state)) = tape.kept.get(at).filter(|(kept, _)| self.count > count || *kept > self.count) {
            (self.count, self.state) = (*kept, state.clone());
        }
        for stamped in &tape.facts[self.count..count] {
            self.state.apply(stamped);
        }
        (self.count, self.time) = (count, tape.time_of(count));
    }

    /// To this moment.
    pub fn go_to_time(&mut self, tape: &Tape, time: Time) {
        let (first, last) = tape.range();
        let time = time.clamp(first, last);
        self.go_to(tape, tape.count_at(time));
        self.time = time;
    }

    /// So many facts on, or back.
    pub fn step(&mut self, tape: &Tape, facts: i64) {
        let by = usize::try_from(facts.unsigned_abs()).unwrap_or(usize::MAX);
        let count = if facts < 0 { self.count.saturating_sub(by).max(1) } else { self.count.saturating_add(by) };
        self.go_to(tape, count);
    }

    /// So long on, or back.
    pub fn skip(&mut self, tape: &Tape, span: Span, back: bool) {
        let time = if back { Time(self.time.0.saturating_sub(span.0)) } else { self.time.plus(span) };
        self.go_to_time(tape, time);
    }

    /// To the next mark, or the one before; false if there is none.
    pub fn to_mark(&mut self, tape: &Tape, back: bool) -> bool {
        let marks = tape.marks();
        let place = marks.partition_point(|(count, _)| *count < self.count);
        let found = match back {
            true => place.checked_sub(1).and_then(|place| marks.get(place)),
            false => marks[place..].iter().find(|(count, _)| *count > self.count),
        };
        if let Some((count, _)) = found {
            self.go_to(tape, *count);
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::TaskId;

    /// Facts that need no workflow: pauses, a command now and then, one a second.
    fn tape(facts: usize) -> Tape {
        let fact = |index: usize| match index % 10 {
            0 => Fact::Undone,
            n if n % 2 == 0 => Fact::Resumed,
            _ => Fact::Paused,
        };
        Tape::of((0..facts).map(|index| Stamped { at: Time(1_000 * index as u64), fact: fact(index) }).collect())
    }

    #[test]
    fn every_moment_is_what_the_facts_before_it_give() {
        let tape = tape(3_000);
        assert_eq!(tape.kept.len(), 7);
        let mut head = Head::at_start(&tape);
        let mut wanted = State::default();
        let mut all = vec![wanted.clone()];
        for stamped in &tape.facts {
            wanted.apply(stamped);
            all.push(wanted.clone());
        }
        for count in [0, 1, 2_999, 1_500, 1_499, 1_501, 3_000, 500, 499, 9_999, 12, 11, 10] {
            head.go_to(&tape, count);
            assert!(*head.state() == all[count.min(3_000)], "{count}");
        }
    }

    #[test]
    fn a_time_between_two_facts_is_a_moment_too() {
        let tape = tape(20);
        let mut head = Head::at_start(&tape);
        head.go_to_time(&tape, Time(4_700));
        assert_eq!((head.count(), head.time()), (5, Time(4_700)));
        head.skip(&tape, Span(10_000), false);
        assert_eq!((head.count(), head.time()), (15, Time(14_700)));
        head.step(&tape, -1);
        assert_eq!((head.count(), head.time()), (14, Time(13_000)));
        head.skip(&tape, Span(60_000), false);
        assert_eq!((head.count(), head.time()), (20, Time(19_000)), "no further than the last");
        head.skip(&tape, Span(60_000), true);
        assert_eq!((head.count(), head.time()), (1, Time(0)));
        assert!(head.to_mark(&tape, false) && head.count() == 11);
        assert!(!head.to_mark(&tape, false) && head.count() == 11, "no other");
        assert!(head.to_mark(&tape, true) && head.count() == 1);
    }

    #[test]
    fn an_empty_recording_has_one_moment() {
        let tape = Tape::of(Vec::new());
        let mut head = Head::at_start(&tape);
        head.step(&tape, 5);
        head.go_to_time(&tape, Time(9));
        assert_eq!((head.count(), head.time(), tape.is_empty()), (0, Time(0), true));
        let stamped = Stamped { at: Time(1), fact: Fact::Held { task: TaskId(0), why: None } };
        assert_eq!(mark(&stamped, &State::default()), None);
    }
}
