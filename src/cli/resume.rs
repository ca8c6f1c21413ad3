//! `qd resume`: reads a session back, finds out what became of what ran, and goes on.

use std::collections::{BTreeMap, BTreeSet};

use super::args::Resume;
use super::live::{self, Open};
use crate::engine::decide::Engine;
use crate::engine::fact::Fact;
use crate::engine::ids::{Attempt, TaskId, Time};
use crate::engine::message::Command;
use crate::engine::state::{Phase, State};
use crate::error::{Error, Result};
use crate::guard::ConsoleSide;
use crate::runtime::adoption::GuardAdoption;
use crate::runtime::clock::Clock;
use crate::session::checkpoint;
use crate::session::folder::{Folder, Sessions};
use crate::session::journal::read::{End, Reader};
use crate::session::journal::{FILE, recover};
use crate::session::lock::{Lock, boot_id};

/// `qd resume`.
pub fn resume(args: Resume, side: ConsoleSide) -> Result<i32> {
    let sessions = live::sessions()?;
    let name = match args.name {
        Some(name) => name,
        None => last_open(&sessions)?,
    };
    let folder = sessions.folder(&name)?;
    let lock = Lock::take(&folder, Clock::new(Time(0)).now(), false).map_err(Error::from)?;
    let Replay { state, end, consoles, mut rebooted } = replay(&folder)?;
    let resumed = recover::resume(&folder, &lock, &end).map_err(Error::from)?;
    if !state.loaded {
        return Err(Error::usage(format!("session {name} ended before its workflow was stored"))
            .hint("start it again under another name: nothing of it has run"));
    }
    let boot = boot_id().unwrap_or_default();
    if boot != state.boot_id {
        rebooted.extend(under_way(&state));
    }
    let adoption = GuardAdoption::new(
        folder.path().to_owned(),
        live::marker(&folder),
        boot,
        started_by(&state, &consoles),
        rebooted,
    )
    .map_err(|error| Error::usage(format!("cannot ask the guards of this session: {error}")))?;
    let mut opening: Vec<Fact> =
        resumed.lost.map(|lost| Fact::Recovered { lost_bytes: lost.bytes }).into_iter().collect();
    opening.push(live::opened());
    let clock = Clock::new(state.now);
    let mut first_commands = first_commands(&state, args.retry_failed);
    if args.compensate {
        if let Some(saga) = state.saga(None) {
            let why = format!("compensation has begun already: {}", saga.why);
            return Err(Error::usage(why).hint("without --compensate the session goes on with it"));
        }
        first_commands.push(Command::Compensate);
    }
    first_commands.extend(super::votes::of_state(&args.votes, &args.show.who(), &state)?);
    let open = Open {
        folder,
        lock,
        writer: resumed.writer,
        first_commands,
        engine: Engine::new(state),
        opening,
        workflow: None,
        adoption: Some(Box::new(adoption)),
        clock,
    };
    live::live(open, args.show, side)
}

/// What resuming itself asks for: a session that was paused only by its end goes on; failed work if so wished.
fn first_commands(state: &State, retry_failed: bool) -> Vec<Command> {
    if !retry_failed {
        return Vec::new();
    }
    let ids = (0..state.tasks.len()).map(TaskId::from);
    let failed = ids.filter(|id| matches!(state.task(*id).phase, Phase::Failed | Phase::Lost));
    vec![Command::All(failed.map(|task| Command::Retry { task }).collect())]
}

/// A session read back.
pub struct Replay {
    /// The fold of its facts.
    pub state: State,
    /// Where and how reading ended.
    pub end: End,
    /// Pids of the consoles that opened it, by the number of the opening, from 1.
    pub consoles: BTreeMap<u32, i32>,
    /// Attempts that were under way when it was opened in another boot than before.
    pub rebooted: BTreeSet<(TaskId, Attempt)>,
}

/// Pid of the console that stored the start of each attempt under way.
fn started_by(state: &State, consoles: &BTreeMap<u32, i32>) -> BTreeMap<(TaskId, Attempt), i32> {
    let pid = |(id, attempt): (TaskId, Attempt)| {
        let number = state.task(id).live.as_ref()?.console;
        Some(((id, attempt), *consoles.get(&number)?))
    };
    under_way(state).filter_map(pid).collect()
}

fn under_way(state: &State) -> impl Iterator<Item = (TaskId, Attempt)> {
    state.on_agent.iter().map(|(_, id)| (*id, Attempt(state.task(*id).attempt)))
}

/// Reads a session back: its checkpoint, if there is a good one, and the facts after it.
pub fn replay(folder: &Folder) -> Result<Replay> {
    let (mut state, mut reader) = match from_checkpoint(folder) {
        Some(begun) => begun,
        None => (State::default(), Reader::new(open_journal(folder)?).map_err(Error::from)?),
    };
    // Of the openings before a checkpoint only the last is known; silence of a guard then proves less, never more.
    let mut consoles: BTreeMap<u32, i32> = BTreeMap::new();
    if state.opened > 0 {
        consoles.insert(state.opened, state.console_pid);
    }
    let mut rebooted = BTreeSet::new();
    while let Some(batch) = reader.next_batch() {
        for stamped in &batch.facts {
            if let Fact::Opened { pid, boot_id, .. } = &stamped.fact {
                consoles.insert(state.opened + 1, *pid);
                if *boot_id != state.boot_id {
                    rebooted.extend(under_way(&state));
                }
            }
            state.apply(stamped);
        }
    }
    let end = reader.finish().map_err(Error::from)?;
    Ok(Replay { state, end, consoles, rebooted })
}

/// The journal of a session, which has something in it.
pub(super) fn open_journal(folder: &Folder) -> Result<std::fs::File> {
    let name = folder.name();
    let cannot = |error| Error::usage(format!("cannot read session {name}: {error}"));
    let file = folder.open_file(FILE).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.len() == 0 {
        return Err(Error::usage(format!("session {name} ended before anything of it was stored"))
            .hint("start it again under another name: nothing of it has run"));
    }
    Ok(file)
}

/// A checkpoint is a cache: anything wrong with it only means that everything is read.
fn from_checkpoint(folder: &Folder) -> Option<(State, Reader)> {
    let (position, payload) = checkpoint::read(folder)?;
    let state = State::from_checkpoint(std::str::from_utf8(&payload).ok()?).ok()?;
    let reader = Reader::from(open_journal(folder).ok()?, position).ok()??;
    Some((state, reader))
}

/// The session last used that is not over.
fn last_open(sessions: &Sessions) -> Result<String> {
    let open = sessions
        .list()?
        .into_iter()
        .find(|session| session.closed != Some(0) && session.holder.is_none() && session.problem.is_none());
    open.map(|session| session.name)
        .ok_or_else(|| Error::usage("there is no session to go on with").hint("qd sessions lists them"))
}
