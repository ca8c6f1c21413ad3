//! What a session came to, for people to read afterwards: one report of one session, one comparison of two. Made of what the
//! State keeps; as Markdown and as one HTML file that needs nothing else. Knows nothing of journals, files and terminals.

pub mod diff;
mod html;
mod markdown;
mod page;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::engine::fact::Outcome;
use crate::engine::ids::{Span, TaskId, Time};
use crate::engine::state::{Phase, Shown, State};
use crate::snapshot::build::{Frozen, outcome_words};
use crate::snapshot::record::{LEAST_WAIT, Link, Record};

pub use html::html;
pub use markdown::markdown;

/// So many rows has a table of the longest and slowest.
pub const TOP: usize = 10;
/// So many tasks are named for a cause of failures.
pub const NAMED: usize = 20;
/// Of so many causes the last words are read.
const QUOTED: usize = 20;

/// Whether a goal holds if that is known, since when, and its condition with the values.
pub type Said = Option<(bool, Time, String)>;

/// What a session came to.
#[derive(Debug)]
pub struct Report {
    /// The workflow's name.
    pub workflow: String,
    /// The session's.
    pub session: String,
    /// When the run began.
    pub began: Time,
    /// The last time of it that is told of.
    pub until: Time,
    /// Nothing goes on by itself any more.
    pub over: bool,
    /// Tasks by how they stand: word and number, none of them 0.
    pub stand: Vec<(&'static str, usize)>,
    /// All tasks.
    pub tasks: usize,
    /// Failures by cause, what cost most tasks first.
    pub failures: Vec<Cause>,
    /// What time went into that did not have to.
    pub bill: Vec<Cost>,
    /// Milestones and objectives, by name.
    pub goals: Vec<(String, Said)>,
    /// What ran.
    pub record: Record,
    /// Share of slots in use from beginning to end, 0–1.
    pub used: f64,
}

/// Failed and lost attempts of one cause.
#[derive(Debug)]
pub struct Cause {
    /// In words: `exit 2`.
    pub words: String,
    /// How many attempts.
    pub attempts: usize,
    /// How long they ran.
    pub ran: Span,
    /// Tasks that are failed or lost by it in the end.
    pub for_good: Vec<TaskId>,
    /// Tasks that went on to something better.
    pub got_over: Vec<TaskId>,
    /// The last words of one of them, with its name.
    pub said: Option<(TaskId, Vec<String>)>,
}

/// Time that went into something that did not have to.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// What, in words.
    pub what: String,
    /// How much, over all tasks: they cost it side by side.
    pub time: Span,
    /// How many attempts it is made of.
    pub attempts: usize,
    /// What cost most of it.
    pub most: Option<(TaskId, Span)>,
}

impl Report {
    /// Of a session at this time. `last_words` reads the end of an output by its number.
    pub fn of(frozen: &Frozen, at: Time, last_words: impl Fn(u64) -> Vec<String>) -> Self {
        let state = &frozen.engine.state;
        let record = Record::whole(frozen, at);
        let over = state.is_finished();
        let until = if over { record.over.unwrap_or(state.now) } else { at };
        let stand = [
            ("done", Shown::Succeeded),
            ("failed", Shown::Failed),
            ("lost", Shown::Lost),
            ("blocked", Shown::Blocked),
            ("cancelled", Shown::Cancelled),
            ("skipped", Shown::Skipped),
            ("held", Shown::Held),
            ("running", Shown::Running),
            ("stopping", Shown::Stopping),
            ("ready", Shown::Ready),
            ("delayed", Shown::Delayed),
            ("awaiting", Shown::Awaiting),
            ("waiting", Shown::Waiting),
        ];
        let stand = stand.into_iter().map(|(word, shown)| (word, state.counts.of(shown)));
        let goals = state.goals.iter().map(|goal| {
            let said = goal.said.as_ref().map(|(holds, at, why)| (*holds, *at, why.to_string()));
            (goal.definition.name.clone(), said)
        });
        let slots: u64 = state.agents.iter().map(|agent| u64::from(agent.slots)).sum();
        let ran: u64 = record.bars.iter().map(|bar| bar.ran(until).0).sum();
        let room = slots * until.since(state.started).0;
        Self {
            workflow: state.settings.name.clone(),
            session: frozen.session.clone(),
            began: state.started,
            until,
            over,
            stand: stand.filter(|(_, count)| *count > 0).collect(),
            tasks: state.counts.all(),
            failures: failures(state, &last_words),
            bill: bill(&record, until),
            goals: goals.collect(),
            used: if room == 0 { 0.0 } else { (ran as f64 / room as f64).min(1.0) },
            record,
        }
    }

    /// From beginning to end.
    pub fn long(&self) -> Span {
        self.until.since(self.began)
    }

    /// Attempts, the longest first.
    pub fn slowest(&self) -> Vec<u32> {
        let mut all: Vec<u32> = (0..self.record.bars.len() as u32).collect();
        all.sort_by_key(|bar| std::cmp::Reverse(self.record.bar(*bar).ran(self.until)));
        all.truncate(TOP);
        all
    }
}

fn failures(state: &State, last_words: &impl Fn(u64) -> Vec<String>) -> Vec<Cause> {
    let mut causes: Vec<(Cause, Option<(TaskId, u64)>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for id in (0..state.tasks.len()).map(TaskId::from) {
        let task = state.task(id);
        let stands = matches!(task.phase, Phase::Failed | Phase::Lost);
        let past = task.past.as_deref().map_or(&[][..], Vec::as_slice);
        let attempts = past.iter().enumerate().filter(|(_, past)| is_bad(&past.outcome));
        for (n, past_one) in attempts {
            let words = outcome_words(&past_one.outcome);
            let at = *places.entry(words.clone()).or_insert(causes.len());
            if at == causes.len() {
                let cause = Cause { words, attempts: 0, ran: Span(0), for_good: vec![], got_over: vec![], said: None };
                causes.push((cause, None));
            }
            let (cause, quoted) = &mut causes[at];
            cause.attempts += 1;
            cause.ran.0 += past_one.ended.since(past_one.started).0;
            let last = stands && n + 1 == past.len();
            let list = if last { &mut cause.for_good } else { &mut cause.got_over };
            if list.last() != Some(&id) {
                list.push(id);
            }
            // Of what failed for good it is worth more.
            if let Some(log) = past_one.log.filter(|_| quoted.is_none() || last && cause.for_good.len() == 1) {
                *quoted = Some((id, log));
            }
        }
        if stands && past.last().is_none_or(|past| !is_bad(&past.outcome)) {
            // Settled without an attempt: rejected, or timed out while it waited.
            let words = task.because.as_deref().unwrap_or("failed without an attempt").to_owned();
            let at = *places.entry(words.clone()).or_insert(causes.len());
            if at == causes.len() {
                let cause = Cause { words, attempts: 0, ran: Span(0), for_good: vec![], got_over: vec![], said: None };
                causes.push((cause, None));
            }
            causes[at].0.for_good.push(id);
        }
    }
    causes.sort_by_key(|(cause, _)| std::cmp::Reverse((cause.for_good.len(), cause.attempts)));
    let quote = |(n, (mut cause, quoted)): (usize, (Cause, Option<(TaskId, u64)>))| {
        cause.got_over.retain(|id| !cause.for_good.contains(id));
        let said = quoted.filter(|_| n < QUOTED).map(|(id, log)| (id, last_words(log)));
        cause.said = said.filter(|(_, lines)| !lines.is_empty());
        cause
    };
    causes.into_iter().enumerate().map(quote).collect()
}

fn is_bad(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(_) | Outcome::Lost(_))
}

fn bill(record: &Record, until: Time) -> Vec<Cost> {
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    let mut add = |what: String, task: TaskId, time: Span| {
        let empty = Cost { what: what.clone(), time: Span(0), attempts: 0, most: None };
        let cost = costs.entry(what).or_insert(empty);
        cost.time.0 += time.0;
        cost.attempts += 1;
        if cost.most.is_none_or(|(_, most)| time > most) {
            cost.most = Some((task, time));
        }
    };
    for (index, bar) in record.bars.iter().enumerate() {
        match &bar.outcome {
            Some(outcome) if is_bad(outcome) => add("ran and failed".into(), bar.task, bar.ran(until)),
            Some(Outcome::Cancelled | Outcome::Aborted(_)) => {
                add("ran and was stopped".into(), bar.task, bar.ran(until));
            }
            _ => {}
        }
        let before = index.checked_sub(1).map(|n| &record.bars[n]).filter(|before| before.task == bar.task);
        if let Some(ended) = before.and_then(|before| before.ended) {
            let delay = bar.ready.since(ended);
            if delay >= LEAST_WAIT {
                add("between attempts".into(), bar.task, delay);
            }
        }
        if bar.waited() >= LEAST_WAIT {
            let what = match bar.room {
                Some((_, Link::Room(resource))) => format!("waited for {}", record.resource(resource)),
                Some(_) => format!("waited for a slot of {}", record.agent(bar.agent)),
                None => "waited for something else: a pause, a hold, a window, a rate, a delay".into(),
            };
            add(what, bar.task, bar.waited());
        }
    }
    let mut costs: Vec<Cost> = costs.into_values().collect();
    costs.sort_by_key(|cost| std::cmp::Reverse(cost.time));
    costs
}

/// How the step before led to a bar, in words.
pub fn link_words(record: &Record, link: Link) -> String {
    match link {
        Link::First => "could start at once".into(),
        Link::Needs => "needed what was before".into(),
        Link::Again => "ran again".into(),
        Link::Room(resource) => format!("waited for {}", record.resource(resource)),
        Link::Slot => "waited for the slot".into(),
    }
}

/// `0.4s`, `42s`, `3m12`, `2h05`, `3d04h`.
pub fn length(span: Span) -> String {
    if span.0 < 9_950 { format!("{:.1}s", span.0 as f64 / 1000.0) } else { crate::snapshot::why::duration(span) }
}

/// `2026-11-26 12:04:31` in this zone.
pub fn moment(at: Time, zone: &TimeZone) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| "—".into(), |stamp| stamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// `12:04:31`.
pub fn clock(at: Time, zone: &TimeZone) -> String {
    moment(at, zone).split_once(' ').map_or_else(|| "—".into(), |(_, clock)| clock.to_owned())
}

/// `1 task`, `2 tasks`.
pub fn count(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
