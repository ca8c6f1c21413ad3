//! The queue's rows for a View: read from the engine's display index where the View is the schedule itself; filtered or
//! sorted otherwise.

use std::cmp::Ordering;
use std::sync::Arc;

use super::build::{Frozen, counts, phase};
use super::marks::{MAX_MARKS, Marking};
use super::why::note;
use super::{Filter, FilterTerm, FilterTest, Group, GroupRow, Row, Sort, TaskRow, View};
use crate::engine::definition::FallbackDefinition;
use crate::engine::ids::{FallbackId, Span, StageId, TaskId, Time};
use crate::engine::state::{DisplayKey, Shown, State, display_key_of};

/// What waits longer for the disk than this is marked.
const SLOW: Span = Span(300);

/// Rows asked for, index of the first, how many there are, how many tasks pass the filter.
pub(super) fn rows(frozen: &Frozen, view: &View, at: Time) -> (Vec<Row>, usize, usize, usize) {
    let listing = Listing::of(&frozen.engine.state, view);
    let total = listing.total();
    let offset = offset(&listing, view, total);
    let end = (offset + view.height).min(total);
    let rows = (offset..end).filter_map(|n| listing.row(n)).map(|line| match line {
        Line::Group(stage) => Row::Group(group_row(&frozen.engine.state, stage, view)),
        Line::Task(id) => Row::Task(task_row(frozen, id, at)),
    });
    (rows.collect(), offset, total, listing.matching)
}

fn offset(listing: &Listing, view: &View, total: usize) -> usize {
    let most = total.saturating_sub(view.height);
    let mut offset = view.offset.min(most);
    if view.follow
        && let Some(at) = view.cursor.and_then(|id| listing.position(id))
    {
        if at < offset {
            offset = at;
        } else if view.height > 0 && at >= offset + view.height {
            offset = at + 1 - view.height;
        }
    }
    offset.min(most)
}

enum Line {
    Group(StageId),
    Task(TaskId),
}

/// All rows of a View, without making them.
struct Listing<'a> {
    state: &'a State,
    grouped: bool,
    sections: Vec<Section>,
    matching: usize,
}

/// One stage's part (or the whole queue, ungrouped).
struct Section {
    stage: Option<StageId>,
    first_row: usize,
    tasks: Tasks,
    count: usize,
}

enum Tasks {
    /// Read from the display index from here on.
    Index(usize),
    /// Picked out.
    List(Vec<TaskId>),
    /// Not shown.
    Hidden,
}

impl<'a> Listing<'a> {
    fn of(state: &'a State, view: &View) -> Self {
        let grouped = view.group == Group::Stage && state.stages.len() > 1;
        let plain = view.filter.terms.is_empty() && view.sort == Sort::Schedule && !view.reverse;
        let mut listing = Listing { state, grouped, sections: Vec::new(), matching: 0 };
        if grouped {
            for index in 0..state.stages.len() {
                let stage = StageId::from(index);
                let tasks = if plain { None } else { Some(picked(state, view, Some(stage))) };
                listing.push(stage, tasks, view.collapsed.contains(&stage), !view.filter.terms.is_empty());
            }
        } else if plain && state.stages.len() <= 1 {
            let count = state.display.len();
            listing.matching = count;
            listing.sections.push(Section { stage: None, first_row: 0, tasks: Tasks::Index(0), count });
        } else {
            let only = (state.stages.len() == 1).then_some(StageId(0));
            let list = picked(state, view, only);
            listing.matching = list.len();
            listing.sections.push(Section { stage: None, first_row: 0, count: list.len(), tasks: Tasks::List(list) });
        }
        listing
    }

    fn push(&mut self, stage: StageId, list: Option<Vec<TaskId>>, collapsed: bool, filtered: bool) {
        let first_row = self.total();
        let all = self.state.stage(stage).counts.all();
        let matching = list.as_ref().map_or(all, Vec::len);
        self.matching += matching;
        if filtered && matching == 0 {
            return;
        }
        let tasks = match list {
            _ if collapsed => Tasks::Hidden,
            Some(list) => Tasks::List(list),
            None => {
                let first = DisplayKey { stage, shown: Shown::Running, key: (i64::MIN, 0, 0), task: TaskId(0) };
                Tasks::Index(self.state.display.position(&first))
            }
        };
        let count = if collapsed { 0 } else { matching };
        self.sections.push(Section { stage: Some(stage), first_row, tasks, count });
    }

    fn head(&self) -> usize {
        usize::from(self.grouped)
    }

    fn total(&self) -> usize {
        self.sections.last().map_or(0, |last| last.first_row + self.head() + last.count)
    }

    fn row(&self, n: usize) -> Option<Line> {
        let section = &self.sections[self.sections.partition_point(|section| section.first_row <= n).checked_sub(1)?];
        let within = n - section.first_row;
        if let Some(stage) = section.stage
            && within == 0
        {
            return Some(Line::Group(stage));
        }
        let within = within - self.head();
        let task = match &section.tasks {
            Tasks::Index(first) => self.state.display.nth(first + within)?.task,
            Tasks::List(list) => *list.get(within)?,
            Tasks::Hidden => return None,
        };
        Some(Line::Task(task))
    }

    fn position(&self, id: TaskId) -> Option<usize> {
        let stage = self.state.definition(id).stage;
        let section = self.sections.iter().find(|section| section.stage.is_none_or(|s| s == stage))?;
        let within = match &section.tasks {
            Tasks::Index(first) => {
                let key = display_key_of(self.state, id);
                self.state.display.position(&key).checked_sub(*first)?
            }
            Tasks::List(list) => list.iter().position(|other| *other == id)?,
            Tasks::Hidden => return Some(section.first_row),
        };
        Some(section.first_row + self.head() + within)
    }
}

/// The tasks (of a stage) that pass the filter, sorted.
fn picked(state: &State, view: &View, stage: Option<StageId>) -> Vec<TaskId> {
    let filter = Compiled::of(state, &view.filter);
    if let Some(stage) = stage.filter(|_| view.sort == Sort::Schedule && filter.by_state) {
        let mut list = in_order(state, &filter, stage);
        if view.reverse {
            list.reverse();
        }
        return list;
    }
    let passes = |id: &TaskId| !state.task(*id).removed && filter.passes(state, *id);
    let mut list: Vec<TaskId> = match stage {
        Some(stage) => state.stage(stage).tasks.iter().copied().filter(passes).collect(),
        None => (0..state.tasks.len()).map(TaskId::from).filter(|id| passes(id)).collect(),
    };
    let deadline = |id: &TaskId| state.task(*id).deadline.unwrap_or(Time(u64::MAX));
    match view.sort {
        Sort::Schedule => list.sort_by_cached_key(|id| {
            let place = display_key_of(state, *id);
            (place.shown, place.key, place.task)
        }),
        Sort::Name => list.sort_by(|a, b| state.name(*a).cmp(state.name(*b))),
        Sort::Priority => list.sort_by_key(|id| (std::cmp::Reverse(state.task(*id).priority), *id)),
        Sort::Deadline => list.sort_by_key(|id| (deadline(id), *id)),
        Sort::Age => list.sort_by_key(|id| (state.task(*id).since, *id)),
    }
    if view.reverse {
        list.reverse();
    }
    list
}

/// The tasks of a stage that pass a filter of states, as the schedule has them: only those in these states are looked at,
/// and if nothing else is asked of them, not even they.
fn in_order(state: &State, filter: &Compiled<'_>, stage: StageId) -> Vec<TaskId> {
    let first = DisplayKey { stage, shown: Shown::Running, key: (i64::MIN, 0, 0), task: TaskId(0) };
    let mut start = state.display.position(&first);
    let mut list = Vec::new();
    for count in state.stage(stage).counts.0.iter().map(|count| *count as usize) {
        let run = state.display.iter_at(start).take(count);
        start += count;
        if state.display.nth(start - count).is_some_and(|key| count > 0 && filter.passes_shown(key.shown)) {
            list.extend(run.map(|key| key.task).filter(|id| filter.only_state || filter.passes(state, *id)));
        }
    }
    list
}

/// What is meant by a marking in this View, in the order in which it is shown; at most [`MAX_MARKS`].
pub(super) fn to_mark(state: &State, view: &View, marking: Marking) -> Vec<TaskId> {
    let list = match marking {
        Marking::All => filtered(state, &view.filter),
        Marking::Stage(stage) => picked(state, view, Some(stage)),
        Marking::Range(from, to) => {
            let listing = Listing::of(state, view);
            let (Some(from), Some(to)) = (listing.position(from), listing.position(to)) else { return vec![] };
            let rows = (from.min(to)..=from.max(to)).filter_map(|n| listing.row(n));
            let tasks = rows.filter_map(|line| match line {
                Line::Task(id) => Some(id),
                Line::Group(_) => None,
            });
            tasks.take(MAX_MARKS).collect()
        }
    };
    list.into_iter().take(MAX_MARKS).collect()
}

/// The tasks that pass a filter, in the order of the file.
pub fn filtered(state: &State, filter: &Filter) -> Vec<TaskId> {
    let compiled = Compiled::of(state, filter);
    let all = (0..state.tasks.len()).map(TaskId::from).filter(|id| !state.task(*id).removed);
    all.filter(|id| compiled.passes(state, *id)).collect()
}

/// A filter with its names looked up.
struct Compiled<'a> {
    filter: &'a Filter,
    stages: Vec<Vec<bool>>,
    locks: Vec<Vec<bool>>,
    texts: Vec<String>,
    /// Some term asks for states.
    by_state: bool,
    /// All terms do.
    only_state: bool,
}

impl<'a> Compiled<'a> {
    fn of(state: &State, filter: &'a Filter) -> Self {
        let asks_state = |term: &FilterTerm| matches!(term.test, FilterTest::State(_));
        let mut compiled = Compiled {
            filter,
            stages: Vec::new(),
            locks: Vec::new(),
            texts: Vec::new(),
            by_state: filter.terms.iter().any(asks_state),
            only_state: filter.terms.iter().all(asks_state),
        };
        for term in &filter.terms {
            let (mut stages, mut locks, mut text) = (Vec::new(), Vec::new(), String::new());
            match &term.test {
                FilterTest::Stage(part) => {
                    stages = (0..state.stages.len())
                        .map(|n| state.stages.at(n).definition.name.contains(part.as_str()))
                        .collect();
                }
                FilterTest::Lock(name) => {
                    locks = (0..state.resources.len())
                        .map(|n| state.resources.at(n).definition.name.contains(name.as_str()))
                        .collect();
                }
                FilterTest::Text(part) => text = part.to_lowercase(),
                _ => {}
            }
            compiled.stages.push(stages);
            compiled.locks.push(locks);
            compiled.texts.push(text);
        }
        compiled
    }

    /// Whether a task that is shown so can pass at all.
    fn passes_shown(&self, shown: Shown) -> bool {
        self.filter.terms.iter().all(|term| match &term.test {
            FilterTest::State(phases) => phases.contains(&phase(shown)) != term.negated,
            _ => true,
        })
    }

    fn passes(&self, state: &State, id: TaskId) -> bool {
        let definition = state.definition(id);
        self.filter.terms.iter().enumerate().all(|(n, term)| {
            let holds = match &term.test {
                FilterTest::Text(_) => contains_folded(&definition.id, &self.texts[n]),
                FilterTest::State(phases) => phases.contains(&phase(state.shown(id))),
                FilterTest::Stage(_) => self.stages[n][definition.stage.index()],
                FilterTest::Tag(tag) => definition.tags.iter().any(|other| other == tag),
                FilterTest::Lock(_) => {
                    definition.requirements.resources.iter().any(|need| self.locks[n][need.resource.index()])
                }
                FilterTest::Priority(how, value) => match how {
                    Ordering::Equal => state.task(id).priority == *value,
                    how => state.task(id).priority.cmp(value) == *how,
                },
            };
            holds != term.negated
        })
    }
}

fn contains_folded(name: &str, lower: &str) -> bool {
    if name.is_ascii() {
        let (name, part) = (name.as_bytes(), lower.as_bytes());
        return part.is_empty() || name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    }
    name.to_lowercase().contains(lower)
}

fn group_row(state: &State, stage: StageId, view: &View) -> GroupRow {
    let entry = state.stage(stage);
    let waits: Vec<&str> = entry
        .definition
        .after
        .iter()
        .filter(|before| state.stage(**before).remaining > 0)
        .map(|before| state.stage(*before).definition.name.as_str())
        .collect();
    GroupRow {
        stage,
        name: entry.definition.name.clone(),
        collapsed: view.collapsed.contains(&stage),
        counts: counts(state, &entry.counts),
        why: match entry.entered {
            true => (!waits.is_empty()).then(|| format!("needs {}", waits.join(", "))),
            false => Some("starts by a transition".into()),
        },
        round: entry.round,
    }
}

/// A fallback's name.
pub(super) fn fallback_name(fallbacks: &[FallbackDefinition], id: FallbackId) -> String {
    fallbacks.get(id.index()).map_or_else(|| "?".into(), |fallback| fallback.name.clone())
}

pub(super) fn task_row(frozen: &Frozen, id: TaskId, at: Time) -> TaskRow {
    let state = &frozen.engine.state;
    let (task, definition) = (state.task(id), state.definition(id));
    let shown = state.shown(id);
    let live = task.live.as_deref();
    let past = task.past.as_ref().and_then(|past| past.last());
    let over = task.phase.is_satisfied() || task.phase.is_dead();
    let expected = match (live, definition.estimate) {
        (Some(live), Some(estimate)) => live.started.plus(estimate).max(at),
        (None, Some(estimate)) => at.plus(estimate),
        (_, None) => at,
    };
    let late = task.deadline.is_some_and(|deadline| if over { task.since > deadline } else { expected > deadline });
    TaskRow {
        task: id,
        name: Arc::from(definition.id.as_str()),
        stage: state.stage(definition.stage).definition.name.clone(),
        phase: phase(shown),
        priority: task.priority,
        since: live.map_or(task.since, |live| live.process.as_ref().map_or(live.started, |(_, since)| *since)),
        agent: live.map(|live| state.agent(live.agent).definition.name.clone()),
        attempt: task.attempt,
        attempts: definition.retry.attempts,
        fallback: task.fallback.map(|fallback| fallback_name(&state.fallbacks, fallback)),
        deadline: task.deadline,
        estimate: definition.estimate,
        ran: past.map(|past| past.ended.since(past.started)),
        note: note(frozen, id, at),
        late,
        told: frozen.told.get(&id).filter(|_| live.is_some()).cloned(),
        troubled: live.is_some_and(|live| !live.troubles.is_empty()),
        waits: live.is_some() && super::locks::waits_for(state, id).is_some(),
        counts_votes: state.definition(id).task_type.gate().is_some(),
        reserved: state.reservations.values().any(|held| held.task == id),
        adopted: live.is_some_and(|live| live.adopted),
        // What the disk takes in its stride is not shown: the mark would flicker at each start and end.
        pending: frozen.unstored_since.is_some_and(|since| task.since >= since && at.since(since) > SLOW),
    }
}
