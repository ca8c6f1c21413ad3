//! Barriers within: running tasks that wait for each other at a point of their work. Once as many have come as the barrier has
//! parties all go on, and the next round begins. If one of those that wait ends or gives up, or the time is up that begins
//! with the first, the barrier breaks and all that wait hear why: nobody waits for ever. Knows nothing of sockets.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::definition::BarrierDefinition;
use super::fact::Fact;
use super::ids::{Attempt, BarrierId, Span, TaskId, Time};
use super::locks::TICKET_BYTES;
use super::message::{Command, Origin, Refusal, WaitNews};
use super::state::State;

/// The first that comes waits no longer than this, if the barrier says nothing else.
pub const PATIENCE: Span = Span::secs(3600);

/// One that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// Whose.
    pub task: TaskId,
    /// Of which attempt.
    pub attempt: Attempt,
    /// By which the task speaks of it.
    pub ticket: Arc<str>,
    /// Since when.
    pub since: Time,
}

/// How things stand at one barrier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meeting {
    /// Those that wait, in the order in which they came.
    pub waiting: Vec<Party>,
    /// How many rounds there were.
    pub rounds: u64,
    /// Those of the last round, and why it broke if it did: who asks again after a lost connection hears it.
    pub last: Option<(Vec<Party>, Option<String>)>,
}

/// All of them that somebody has come to.
pub type Meetings = BTreeMap<BarrierId, Meeting>;

fn definition(state: &State, id: BarrierId) -> Option<(&BarrierDefinition, u32)> {
    let definition = &state.barriers.get(id.index())?.definition;
    definition.inside.map(|parties| (&**definition, parties))
}

/// What a command comes to; if the round is over already, what the client hears at once.
pub(super) fn intend(state: &State, by: &Origin, command: &Command) -> Result<(Vec<Fact>, Option<WaitNews>), Refusal> {
    let Origin::Task(task, attempt) = *by else { return refuse("only a running task waits at a barrier") };
    let (Command::Meet { barrier, ticket } | Command::Leave { barrier, ticket, .. }) = command else {
        return refuse("this is about no barrier");
    };
    let barrier = *barrier;
    if definition(state, barrier).is_none() {
        return refuse("tasks wait at this barrier before they start, not within: declare it with inside: true");
    }
    let is_it = |party: &&Party| (party.task, party.attempt, &party.ticket) == (task, attempt, ticket);
    let meeting = state.meetings.get(&barrier);
    let waits = meeting.and_then(|meeting| meeting.waiting.iter().find(is_it));
    if let Command::Leave { why, .. } = command {
        let Some(_) = waits else { return refuse("it does not wait there") };
        let (round, why) = (meeting.map_or(0, |meeting| meeting.rounds) + 1, format!("{} {why}", state.name(task)));
        return Ok((vec![Fact::MeetingOver { barrier, round, why: Some(why) }], None));
    }
    if ticket.is_empty() || ticket.len() > TICKET_BYTES || !ticket.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse(format!("a ticket is 1 to {TICKET_BYTES} visible letters"));
    }
    if waits.is_some() {
        return Ok((Vec::new(), None));
    }
    if let Some(meeting) = meeting
        && let Some((parties, why)) = &meeting.last
        && let Some(party) = parties.iter().find(is_it)
    {
        return Ok((Vec::new(), Some(news_of(party, meeting.rounds, why.as_deref()))));
    }
    Ok((vec![Fact::AtMeeting { barrier, task, attempt, ticket: ticket.clone() }], None))
}

fn news_of(party: &Party, round: u64, why: Option<&str>) -> WaitNews {
    // No lock has such a ticket.
    let (task, attempt, ticket) = (party.task, party.attempt, format!(" {}", party.ticket).into());
    WaitNews { task, attempt, ticket, came: why.is_none().then_some(round), why: why.map(Into::into) }
}

/// What those hear that wait, when a round is over.
pub(super) fn news(state: &State, barrier: BarrierId, round: u64, why: Option<&str>) -> Vec<WaitNews> {
    let waiting = state.meetings.get(&barrier).map_or(&[][..], |meeting| &meeting.waiting);
    waiting.iter().map(|party| news_of(party, round, why)).collect()
}

/// The next round that is over.
pub(super) fn next(state: &State) -> Option<Fact> {
    state.meetings.iter().filter(|(_, meeting)| !meeting.waiting.is_empty()).find_map(|(barrier, meeting)| {
        let (definition, parties) = definition(state, *barrier)?;
        let over = |why| Fact::MeetingOver { barrier: *barrier, round: meeting.rounds + 1, why };
        if meeting.waiting.len() >= parties as usize {
            return Some(over(None));
        }
        let is_gone = |party: &&Party| {
            let task = state.task(party.task);
            task.live.is_none() || task.attempt != party.attempt.0
        };
        if let Some(gone) = meeting.waiting.iter().find(is_gone) {
            return Some(over(Some(format!("{} has ended", state.name(gone.task)))));
        }
        let (come, until) = (meeting.waiting.len(), until(definition, meeting)?);
        (until <= state.now).then(|| over(Some(format!("the time is up, and {come} of {parties} have come"))))
    })
}

fn until(definition: &BarrierDefinition, meeting: &Meeting) -> Option<Time> {
    Some(meeting.waiting.first()?.since.plus(definition.timeout.unwrap_or(PATIENCE)))
}

/// When the time of the next one is up.
pub(super) fn next_deadline(state: &State) -> Option<Time> {
    let all = state.meetings.iter();
    all.filter_map(|(barrier, meeting)| until(definition(state, *barrier)?.0, meeting)).min()
}

impl State {
    /// Where a running task waits within, and how many have come of how many.
    pub fn waits_within(&self, task: TaskId) -> Option<(&str, usize, u32, Time)> {
        self.meetings.iter().find_map(|(barrier, meeting)| {
            let party = meeting.waiting.iter().find(|party| party.task == task)?;
            let (definition, parties) = definition(self, *barrier)?;
            Some((definition.name.as_str(), meeting.waiting.len(), parties, party.since))
        })
    }

    pub(super) fn come_to_meeting(&mut self, barrier: BarrierId, task: TaskId, attempt: Attempt, ticket: &Arc<str>) {
        let since = self.now;
        let meeting = Arc::make_mut(&mut self.meetings).entry(barrier).or_default();
        meeting.waiting.push(Party { task, attempt, ticket: ticket.clone(), since });
    }

    pub(super) fn end_meeting(&mut self, barrier: BarrierId, round: u64, why: Option<&str>) {
        let meeting = Arc::make_mut(&mut self.meetings).entry(barrier).or_default();
        meeting.rounds = round;
        meeting.last = Some((std::mem::take(&mut meeting.waiting), why.map(str::to_owned)));
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}
