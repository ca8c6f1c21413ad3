//! Two sessions held against each other, task by task by their names: what runs longer, what waits longer, what fails that
//! did not. Says what is different, not whether the difference means anything: two runs are no statistics.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::page::{Page, names};
use super::{Cost, NAMED, Report, TOP, count, length, moment};
use crate::engine::ids::{Span, TaskId};
use crate::snapshot::record::Link;

pub use super::html::comparison as html;
pub use super::markdown::comparison as markdown;

/// A difference is told if it is at least so much …
pub const LEAST: Span = Span(500);
/// … and at least this share of what it was before.
pub const SHARE: f64 = 0.1;

/// What is different between two sessions.
#[derive(Debug)]
pub struct Diff {
    /// The first: what it was.
    pub before: Report,
    /// The second: what it is.
    pub after: Report,
    /// Tasks that take longer, the most first.
    pub slower: Vec<Change>,
    /// Tasks that take less, the most first.
    pub faster: Vec<Change>,
    /// Tasks that failed in the second only.
    pub new_failures: Vec<(String, String)>,
    /// Tasks that failed in the first only.
    pub no_longer: Vec<String>,
    /// Tasks of the first only, and of the second only.
    pub only: (Vec<String>, Vec<String>),
}

/// A task that takes longer, or less.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// How long its attempts ran in all, before and after.
    pub ran: (Span, Span),
    /// How long they waited for room in all.
    pub waited: (Span, Span),
    /// How many there were.
    pub attempts: (usize, usize),
    /// What it waited for longest in the second, if it waits longer.
    pub why: String,
}

impl Change {
    /// By how much it takes longer, in ms.
    pub fn by(&self) -> i64 {
        self.run_by() + self.wait_by()
    }
    /// By how much it runs longer.
    pub fn run_by(&self) -> i64 {
        signed(self.ran)
    }
    /// By how much it waits longer.
    pub fn wait_by(&self) -> i64 {
        signed(self.waited)
    }
    /// Longer run or longer wait: which of the two is more of it.
    pub fn words(&self) -> String {
        let (run, wait) = (self.run_by(), self.wait_by());
        let (word, longer) = if self.by() >= 0 { ("longer", true) } else { ("shorter", false) };
        let run_more = if longer { run >= wait } else { run <= wait };
        let attempts = match self.attempts {
            (before, after) if before != after => format!(", {before} → {}", count(after, "attempt")),
            _ => String::new(),
        };
        match run_more {
            true => format!("{word} run{attempts}"),
            false if longer && !self.why.is_empty() => format!("longer wait: {}{attempts}", self.why),
            false => format!("{word} wait{attempts}"),
        }
    }
}

fn signed((before, after): (Span, Span)) -> i64 {
    i64::try_from(after.0).unwrap_or(i64::MAX) - i64::try_from(before.0).unwrap_or(i64::MAX)
}

/// What became of a task in one session.
#[derive(Default, Clone, Copy)]
struct Sum {
    ran: Span,
    waited: Span,
    attempts: usize,
    longest: Option<u32>,
}

fn sums(report: &Report) -> BTreeMap<TaskId, Sum> {
    let mut sums: BTreeMap<TaskId, Sum> = BTreeMap::new();
    for (index, bar) in report.record.bars.iter().enumerate() {
        let sum = sums.entry(bar.task).or_default();
        sum.ran.0 += bar.ran(report.until).0;
        sum.waited.0 += bar.waited().0;
        sum.attempts += 1;
        if sum.longest.is_none_or(|longest| report.record.bar(longest).waited() < bar.waited()) {
            sum.longest = Some(index as u32);
        }
    }
    sums
}

/// Compares.
pub fn diff(before: Report, after: Report) -> Diff {
    let by_name = |report: &Report| -> BTreeMap<String, TaskId> {
        (0..report.tasks).map(TaskId::from).map(|id| (report.record.name(id).to_owned(), id)).collect()
    };
    let (old, new) = (by_name(&before), by_name(&after));
    let (old_sums, new_sums) = (sums(&before), sums(&after));
    let mut changes = Vec::new();
    for (name, id) in &new {
        let (Some(was), Some(is)) = (old.get(name).and_then(|id| old_sums.get(id)), new_sums.get(id)) else { continue };
        let change = Change {
            name: name.clone(),
            ran: (was.ran, is.ran),
            waited: (was.waited, is.waited),
            attempts: (was.attempts, is.attempts),
            why: waited_for(&after, is.longest),
        };
        let total = (was.ran.0 + was.waited.0) as f64;
        let by = change.by().unsigned_abs();
        if by >= LEAST.0 && by as f64 >= total * SHARE {
            changes.push(change);
        }
    }
    changes.sort_by_key(|change| std::cmp::Reverse(change.by()));
    let at = changes.partition_point(|change| change.by() > 0);
    let mut faster = changes.split_off(at);
    faster.reverse();
    let bad = |report: &Report| -> BTreeMap<String, String> {
        let causes = report.failures.iter().flat_map(|cause| cause.for_good.iter().map(|id| (*id, &cause.words)));
        causes.map(|(id, words)| (report.record.name(id).to_owned(), words.clone())).collect()
    };
    let (old_bad, new_bad) = (bad(&before), bad(&after));
    let only = |one: &BTreeMap<String, TaskId>, other: &BTreeMap<String, TaskId>| -> Vec<String> {
        one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    Diff {
        slower: changes,
        faster,
        no_longer: old_bad.keys().filter(|name| !new_bad.contains_key(*name)).cloned().collect(),
        new_failures: new_bad.into_iter().filter(|(name, _)| !old_bad.contains_key(name)).collect(),
        only: (only(&old, &new), only(&new, &old)),
        before,
        after,
    }
}

fn waited_for(report: &Report, bar: Option<u32>) -> String {
    let Some(bar) = bar.map(|bar| report.record.bar(bar)) else { return String::new() };
    let Some((other, link)) = bar.room else { return String::new() };
    let by = report.record.name(report.record.bar(other).task);
    match link {
        Link::Room(resource) => format!("{}, given back by {by}", report.record.resource(resource)),
        _ => format!("a slot of {}, given back by {by}", report.record.agent(bar.agent)),
    }
}

impl Diff {
    /// What it is of.
    pub fn title(&self) -> String {
        format!("{} → {}", self.before.session, self.after.session)
    }
}

/// `+3m12`, `-4.0s`.
fn change(ms: i64) -> String {
    let sign = if ms < 0 { "−" } else { "+" };
    format!("{sign}{}", length(Span(ms.unsigned_abs())))
}

/// What a comparison says.
pub fn page(diff: &Diff, zone: &TimeZone) -> Page {
    let (before, after) = (&diff.before, &diff.after);
    let mut page = Page::default();
    page.heading(1, diff.title());
    if before.workflow != after.workflow {
        page.words(format!("They are of two workflows: {} and {}.", before.workflow, after.workflow));
    }
    for (name, report) in [(&before.session, before), (&after.session, after)] {
        if !report.over {
            page.words(format!("{name} is not over: what it came to so far is compared."));
        }
    }
    let stand = |report: &Report, word: &str| {
        report.stand.iter().find(|(known, _)| *known == word).map_or(0, |(_, count)| *count)
    };
    let mut rows = vec![
        vec!["began".into(), moment(before.began, zone), moment(after.began, zone), String::new()],
        vec!["took".into(), length(before.long()), length(after.long()), change(signed((before.long(), after.long())))],
    ];
    let counts = |what: &str, a: usize, b: usize| {
        let by = b as i64 - a as i64;
        vec![what.to_owned(), a.to_string(), b.to_string(), if by == 0 { String::new() } else { format!("{by:+}") }]
    };
    rows.push(counts("tasks", before.tasks, after.tasks));
    rows.push(counts("attempts", before.record.bars.len(), after.record.bars.len()));
    for word in ["done", "failed", "lost", "blocked", "cancelled", "skipped"] {
        let (a, b) = (stand(before, word), stand(after, word));
        if a + b > 0 {
            rows.push(counts(word, a, b));
        }
    }
    page.table(&["", &before.session, &after.session, ">change"], rows);
    page.heading(2, "New failures");
    match diff.new_failures.len() {
        0 => page.words("None."),
        n => {
            let row = |(name, cause): &(String, String)| vec![name.clone(), cause.clone()];
            page.table(&["task", "cause"], diff.new_failures.iter().take(NAMED).map(row).collect());
            if n > NAMED {
                page.words(format!("{} more.", n - NAMED));
            }
        }
    }
    if !diff.no_longer.is_empty() {
        page.words(format!("Failed before, not now: {}.", names(diff.no_longer.iter().cloned(), NAMED)));
    }
    for (title, changes) in [("Slower", &diff.slower), ("Faster", &diff.faster)] {
        page.heading(2, title);
        let row = |one: &Change| {
            vec![one.name.clone(), change(one.by()), change(one.run_by()), change(one.wait_by()), one.words()]
        };
        page.table(&["task", ">by", ">run", ">wait", "mostly"], changes.iter().take(2 * TOP).map(row).collect());
        match changes.len() {
            0 => page.words(format!("None by {} and {:.0} % or more.", length(LEAST), SHARE * 100.0)),
            n if n > 2 * TOP => page.words(format!("{} more.", n - 2 * TOP)),
            _ => {}
        }
    }
    bills(&mut page, diff);
    for (tasks, session) in [(&diff.only.0, &before.session), (&diff.only.1, &after.session)] {
        if !tasks.is_empty() {
            page.words(format!("Only in {session}: {}.", names(tasks.iter().cloned(), NAMED)));
        }
    }
    page
}

/// Where time was lost, before and after.
fn bills(page: &mut Page, diff: &Diff) {
    let mut all: BTreeMap<&str, (Span, Span)> = BTreeMap::new();
    let cost = |cost: &Cost| cost.time;
    for one in &diff.before.bill {
        all.entry(&one.what).or_default().0 = cost(one);
    }
    for one in &diff.after.bill {
        all.entry(&one.what).or_default().1 = cost(one);
    }
    let mut rows: Vec<(&str, (Span, Span))> = all.into_iter().collect();
    rows.sort_by_key(|(_, times)| std::cmp::Reverse(signed(*times)));
    let row = |(what, times): (&str, (Span, Span))| {
        vec![what.to_owned(), length(times.0), length(times.1), change(signed(times))]
    };
    if !rows.is_empty() {
        page.heading(2, "Where time was lost");
        let heads = ["what", &format!(">{}", diff.before.session), &format!(">{}", diff.after.session), ">change"];
        page.table(&heads, rows.into_iter().map(row).collect());
    }
}
