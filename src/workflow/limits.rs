//! Limits of a file: `controls`, `max_running` of stages and phases, tasks that must not run beside others, and the windows
//! in which a task may start. A limit is a resource that the file does not name: its tasks use one of it each, so it waits,
//! is explained and is changed like any other. Knows nothing of how a run counts.

use super::diagnostic::{Extent, Finding, shown};
use super::schema::{BREAKER, Fields, Reader, START_RATE, WINDOW, Word, Zero, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use super::units;
use crate::engine::definition::{
    Breaker, ExecutionPhase, ResourceDefinition, ResourceKind, ResourceRequirement, TaskDefinition, WindowDefinition,
};
use crate::engine::ids::{Amount, ResourceId, Span, StageId, TaskId, Time};

/// A workflow has no more pairs of tasks that must not run side by side.
pub const MAX_APART: usize = 10_000;
/// A workflow has no more different windows.
pub const MAX_WINDOWS: usize = 100;
/// Windows are worked out so far ahead, in days: a run does not last longer.
const DAYS_AHEAD: i32 = 400;

/// What `controls` says.
#[derive(Default)]
pub(super) struct Controls<'n, 'a> {
    pub max_running: Option<u32>,
    pub breaker: Option<Breaker>,
    /// Where the breaker stands.
    pub breaker_at: Option<Extent>,
    /// The condition of `PauseWhile`, to be read once all names are known.
    pub pause_while: Option<&'n Node<'a>>,
    /// Tag, how many of it at once, where it stands.
    tags: Vec<(String, u32, Extent)>,
    /// So many starts in so long.
    rate: Option<(Amount, Span)>,
}

const HELP: &str = "for example: controls: [MaxRunning(8), TagLimit(\"prod\", 2), StartRate(amount: 10, per: \"1s\")]";
const KNOWN: [&str; 5] = ["MaxRunning", "TagLimit", "StartRate", "CircuitBreaker", "PauseWhile"];
const LATER: [&str; 1] = ["Budget"];

/// Reads `controls`.
pub(super) fn controls<'n, 'a>(reader: &mut Reader, fields: &Fields<'n, 'a>) -> Controls<'n, 'a> {
    let mut all = Controls::default();
    let mut seen: Vec<(&str, Extent)> = Vec::new();
    let Some(node) = fields.get("controls") else { return all };
    for control in reader.list(node, "controls") {
        let name = match &control.kind {
            Kind::Tuple(Some(name), _) | Kind::Struct(Some(name), _) => name.text,
            Kind::Word(word) => word,
            _ => "",
        };
        if LATER.contains(&name) {
            reader.not_yet(name, head(control));
            continue;
        }
        if !KNOWN.contains(&name) {
            let finding = Finding::new(head(control), format!("{} is no control", describe(control)));
            let help = did_you_mean(name, KNOWN).unwrap_or_else(|| HELP.to_owned());
            reader.report(finding.label(format!("expected {}", KNOWN.join(", "))).help(help));
            continue;
        }
        let earlier = seen.iter().find(|(other, _)| *other == name && name != "TagLimit");
        if let Some((_, earlier)) = earlier {
            let twice = Finding::new(head(control), format!("`{name}` stands twice in `controls`"));
            reader.report(twice.label("a second time").also(*earlier, "the first time"));
            continue;
        }
        seen.push((name, head(control)));
        match (name, &control.kind) {
            ("MaxRunning", Kind::Tuple(_, items)) if items.len() == 1 => {
                all.max_running = count(reader, &items[0], "MaxRunning");
            }
            ("TagLimit", Kind::Tuple(_, items)) if items.len() == 2 => {
                let (tag, most) = (reader.text(&items[0], "TagLimit"), count(reader, &items[1], "TagLimit"));
                all.tags.extend(tag.zip(most).map(|(tag, most)| (tag.text.to_owned(), most, tag.at)));
            }
            ("StartRate", _) => all.rate = rate(reader, control),
            ("PauseWhile", Kind::Tuple(_, items)) if items.len() == 1 => all.pause_while = Some(&items[0]),
            ("CircuitBreaker", _) => {
                all.breaker = breaker(reader, control);
                all.breaker_at = Some(head(control));
            }
            _ => {
                let finding = Finding::new(head(control), format!("`{name}` cannot be {}", describe(control)));
                reader.report(finding.label("not written like this").help(HELP));
            }
        }
    }
    all
}

/// A number of tasks.
pub(super) fn count(reader: &mut Reader, node: &Node<'_>, what: &str) -> Option<u32> {
    reader.integer(node, what, 1, i64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok())
}

/// `Rate(amount: 10, per: "1s")`, also called `StartRate`.
pub(super) fn rate(reader: &mut Reader, node: &Node<'_>) -> Option<(Amount, Span)> {
    let name =
        if matches!(&node.kind, Kind::Struct(Some(name), _) if name.text == "Rate") { "Rate" } else { "StartRate" };
    let shape = super::schema::Shape { name, ..START_RATE };
    let fields = reader.fields(node, &shape)?;
    let mut needed = |field: &str| {
        if fields.get(field).is_none() {
            let finding = Finding::new(head(node), format!("`{name}` has no `{field}`"));
            reader.report(finding.label(format!("`{field}` is missing")).help("for example (amount: 10, per: \"1s\")"));
        }
        fields.get(field)
    };
    let (amount, per) = (needed("amount"), needed("per"));
    let amount = amount.and_then(|node| reader.amount(node, "amount"));
    let per = per.and_then(|node| reader.duration(node, "per", Zero::Refused));
    amount.zip(per)
}

fn breaker(reader: &mut Reader, node: &Node<'_>) -> Option<Breaker> {
    let fields = reader.fields(node, &BREAKER)?;
    let failures = match fields.get("failures") {
        Some(node) => reader.integer(node, "failures", 1, 1_000)?,
        None => {
            let finding = Finding::new(head(node), "`CircuitBreaker` does not say how many failures open it");
            let help = "for example CircuitBreaker(failures: 5, within: \"1m\", cool_down: \"30s\")";
            reader.report(finding.label("`failures` is missing").help(help));
            return None;
        }
    };
    let mut span = |name: &str, silent| match fields.get(name) {
        Some(node) => reader.duration(node, name, Zero::Refused),
        None => Some(silent),
    };
    let (within, cool_down) = (span("within", Span::secs(60)), span("cool_down", Span::secs(30)));
    Some(Breaker { failures: u32::try_from(failures).ok()?, within: within?, cool_down: cool_down? })
}

// ── limits as resources ──────────────────────────────────────────────────────────────────────────────────────────────

/// Adds a resource for each limit, and lets its tasks use it.
pub(super) struct Limits<'l> {
    pub resources: &'l mut Vec<ResourceDefinition>,
    pub tasks: &'l mut [TaskDefinition],
}

impl Limits<'_> {
    /// What `controls` says of tags and starts.
    pub fn control(&mut self, reader: &mut Reader, controls: &Controls<'_, '_>) {
        for (tag, most, at) in &controls.tags {
            let of_tag = |task: &TaskDefinition| task.tags.contains(tag);
            if !self.tasks.iter().any(of_tag) {
                let tags = self.tasks.iter().flat_map(|task| task.tags.iter().map(String::as_str));
                let finding =
                    Finding::new(*at, format!("no task has the tag `{}`", shown(tag))).label("of which tasks?");
                reader.report(finding.maybe_help(did_you_mean(tag, tags)));
            }
            self.add(format!("tag {tag}"), pool(*most), Amount::units(1), of_tag);
        }
        if let Some((amount, per)) = controls.rate {
            self.add("start rate".to_owned(), ResourceKind::Rate { amount, per }, Amount::units(1), |_| true);
        }
    }

    /// `max_running` of a stage: of all stages that count as it.
    pub fn stage(&mut self, ids: &[StageId], name: &str, most: u32) {
        self.add(format!("stage {name}"), pool(most), Amount::units(1), |task| ids.contains(&task.stage));
    }

    /// `MaxRunning` of a file that is part of another.
    pub fn part(&mut self, most: u32) {
        self.add("running".to_owned(), pool(most), Amount::units(1), |_| true);
    }

    /// `max_running` of a phase.
    pub fn phase(&mut self, phase: &ExecutionPhase) {
        let Some(most) = phase.max_running else { return };
        let is_in = |task: &TaskDefinition| phase.stages.contains(&task.stage);
        self.add(format!("phase {}", phase.name), pool(most), Amount::units(1), is_in);
    }

    /// Two tasks that must not run side by side.
    pub fn apart(&mut self, pairs: impl Iterator<Item = [TaskId; 2]>) {
        for pair in pairs {
            let names = pair.map(|task| self.tasks[task.index()].id.clone());
            let id = ResourceId::from(self.resources.len());
            self.resources
                .push(ResourceDefinition::limit(format!("{} not beside {}", names[0], names[1]), ResourceKind::Lock));
            for task in pair {
                let need = ResourceRequirement { resource: id, amount: Amount::WHOLE_LOCK };
                self.tasks[task.index()].requirements.resources.push(need);
            }
        }
    }

    fn add(&mut self, name: String, kind: ResourceKind, amount: Amount, is_of: impl Fn(&TaskDefinition) -> bool) {
        let id = ResourceId::from(self.resources.len());
        self.resources.push(ResourceDefinition::limit(name, kind));
        for task in self.tasks.iter_mut().filter(|task| task.task_type.template().is_some() && is_of(task)) {
            task.requirements.resources.push(ResourceRequirement { resource: id, amount });
        }
    }
}

fn pool(most: u32) -> ResourceKind {
    ResourceKind::Pool(Amount::units(u64::from(most)))
}

// ── windows ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const WINDOW_HELP: &str = "for example window: Window(from: \"22:00\", to: \"06:00\", days: [Mon, Tue, Wed, Thu, Fri])";

/// Reads a window; its days and clock times are those of the time zone of `now`.
pub(super) fn window(reader: &mut Reader, now: &jiff::Zoned, node: &Node<'_>) -> Option<WindowDefinition> {
    let fields = reader.fields(node, &WINDOW)?;
    let mut clock = |name: &str| {
        let Some(value) = fields.get(name) else {
            let finding = Finding::new(head(node), format!("this window has no `{name}`"));
            reader.report(finding.label(format!("`{name}` is missing")).help(WINDOW_HELP));
            return None;
        };
        let word = reader.text(value, name)?;
        let time = units::clock(word.text);
        if time.is_none() {
            let finding = Finding::new(word.at, format!("`{name}`: {} is no time of a day", shown(word.text)));
            reader.report(finding.label("expected \"22:00\"").help(WINDOW_HELP));
        }
        time.map(|time| (word, time))
    };
    let (from, to) = (clock("from"), clock("to"));
    let days = days(reader, &fields)?;
    let ((from_word, from), (to_word, to)) = from.zip(to)?;
    let names: Vec<&str> = DAYS.iter().filter(|(_, day)| days.contains(day)).map(|(name, _)| *name).collect();
    let on = if names.len() == 7 { String::new() } else { format!(" {}", names.join(", ")) };
    let name = format!("{} to {}{on}", from_word.text, to_word.text);
    Some(WindowDefinition { name, open: intervals(now, from, to, &days) })
}

const DAYS: [(&str, jiff::civil::Weekday); 7] = {
    use jiff::civil::Weekday::*;
    [
        ("Mon", Monday),
        ("Tue", Tuesday),
        ("Wed", Wednesday),
        ("Thu", Thursday),
        ("Fri", Friday),
        ("Sat", Saturday),
        ("Sun", Sunday),
    ]
};

fn days(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<Vec<jiff::civil::Weekday>> {
    let Some(node) = fields.get("days") else { return Some(DAYS.iter().map(|(_, day)| *day).collect()) };
    let list = reader.list(node, "days");
    if list.is_empty() {
        let finding = Finding::new(head(node), "no days: the window would never open").label("an empty list");
        reader.report(finding.help("leave `days` out to have all of them"));
        return None;
    }
    list.iter().map(|node| reader.choice(node, "days", &DAYS)).collect()
}

/// When it is open: each day's interval, those that touch joined.
fn intervals(
    now: &jiff::Zoned,
    from: jiff::civil::Time,
    to: jiff::civil::Time,
    days: &[jiff::civil::Weekday],
) -> Vec<(Time, Time)> {
    let mut open: Vec<(Time, Time)> = Vec::new();
    let instant = |date: jiff::civil::Date, clock: jiff::civil::Time| {
        let zoned = date.to_datetime(clock).to_zoned(now.time_zone().clone()).ok()?;
        u64::try_from(zoned.timestamp().as_millisecond()).ok().map(Time)
    };
    let Ok(mut date) = now.date().yesterday() else { return open };
    for _ in 0..DAYS_AHEAD {
        let Ok(next) = date.tomorrow() else { break };
        if days.contains(&date.weekday()) {
            // a window that ends before it begins ends the day after
            let end = if to > from { date } else { next };
            if let (Some(start), Some(end)) = (instant(date, from), instant(end, to)) {
                match open.last_mut() {
                    Some(last) if last.1 >= start => last.1 = end,
                    _ if start < end => open.push((start, end)),
                    _ => {}
                }
            }
        }
        date = next;
    }
    open
}

/// A word that names an agent.
pub(super) fn agent(reader: &mut Reader, word: &Word<'_>, names: &[&str]) -> Option<usize> {
    let found = names.iter().position(|name| *name == word.text);
    if found.is_none() {
        let finding = Finding::new(word.at, format!("no agent is called `{}`", shown(word.text)));
        reader.report(finding.label("unknown").maybe_help(did_you_mean(word.text, names.iter().copied())));
    }
    found
}
