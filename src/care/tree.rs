//! The processes of an attempt as `/proc` shows them: how many, how much memory, and how to kill them all. They are those of
//! our session and the descendants of any of them. Knows nothing of limits.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, getpid, kill_process};

/// So often a tree is looked at again while it is being killed: each round may find what was forked meanwhile.
const ROUNDS: usize = 200;
/// At most so many processes are looked at.
const PROCESSES_MOST: usize = 1 << 17;

/// What the processes of this attempt take, we ourselves left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// How many there are.
    pub processes: u32,
    /// Bytes of memory of their own: resident, without what is of files or shared.
    pub memory: u64,
}

struct Seen {
    pid: i32,
    parent: i32,
    session: i32,
    zombie: bool,
}

/// Looks at all of them.
pub fn taken() -> Taken {
    let page = rustix::param::page_size() as u64;
    let mut taken = Taken::default();
    for pid in members() {
        taken.processes += 1;
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/statm")) else { continue };
        let mut fields = text.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        taken.memory += resident.saturating_sub(shared) * page;
    }
    taken
}

/// Kills all of them but ourselves, until none is left.
pub fn kill() {
    for _ in 0..ROUNDS {
        let members = members();
        if members.is_empty() {
            return;
        }
        for pid in members {
            // Gone already is fine.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Their pids, zombies and we ourselves left out.
fn members() -> Vec<i32> {
    let me = getpid().as_raw_pid();
    let all = processes();
    let mut ours: BTreeSet<i32> = BTreeSet::from([me]);
    ours.extend(all.iter().filter(|seen| seen.session == me).map(|seen| seen.pid));
    // A child may have made a session of its own; /proc is in no order, so until nothing is added.
    loop {
        let before = ours.len();
        let born: Vec<i32> = all.iter().filter(|seen| ours.contains(&seen.parent)).map(|seen| seen.pid).collect();
        ours.extend(born);
        if ours.len() == before {
            break;
        }
    }
    all.into_iter()
        .filter(|seen| seen.pid != me && !seen.zombie && ours.contains(&seen.pid))
        .map(|seen| seen.pid)
        .collect()
}

fn processes() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(seen).take(PROCESSES_MOST).collect()
}

fn seen(pid: i32) -> Option<Seen> {
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets: the fields begin after the last one.
    let from = bytes.iter().rposition(|byte| *byte == b')')? + 2;
    let rest = std::str::from_utf8(bytes.get(from..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let (parent, _, session) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?.parse().ok()?);
    Some(Seen { pid, parent, session, zombie: matches!(state, "Z" | "X") })
}
