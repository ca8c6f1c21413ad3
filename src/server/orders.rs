//! What a client orders, in the engine's words: names and globs become ids, words become commands.

use globset::GlobBuilder;

use crate::bus::message::Order;
use crate::engine::ids::{AgentId, Amount, ResourceId, TaskId};
use crate::engine::message::Command;
use crate::engine::state::{Shown, State};
use crate::snapshot::filter;
use crate::snapshot::filtered;

/// A client names no more tasks or globs than this at once.
pub const PATTERNS: usize = 1_000;

/// Of what there is instead, so many are named.
const NAMED: usize = 20;

/// The engine's command for an order.
///
/// # Errors
/// What is wrong with it.
pub(super) fn command(state: &State, order: &Order, source: &str) -> Result<Command, String> {
    let plain = match order.command.as_str() {
        "pause" => Some(Command::Pause),
        "resume" => Some(Command::Resume),
        "drain" => Some(Command::Drain),
        "stop" => Some(Command::Stop),
        "stop-now" => Some(Command::StopNow),
        "detach" => Some(Command::Detach),
        "compensate" => Some(Command::Compensate),
        "close-breaker" => Some(Command::CloseBreaker),
        "heed-pause-while" => Some(Command::HeedPauseWhile(true)),
        "ignore-pause-while" => Some(Command::HeedPauseWhile(false)),
        "undo" => Some(Command::Undo),
        "redo" => Some(Command::Redo),
        "slots" => {
            let slots = whole(order, "a number of slots")?;
            Some(Command::SetSlots { agent: agent(state, order)?, slots })
        }
        "capabilities" => {
            let capabilities = order.capabilities.clone();
            Some(Command::SetCapabilities { agent: agent(state, order)?, capabilities })
        }
        "limit" => {
            let name = order.resource.as_deref().ok_or("which resource?")?;
            let mut all = (0..state.resources.len()).map(ResourceId::from);
            let resource = all.find(|id| state.resource(*id).definition.name == name).ok_or_else(|| {
                let names = state.resources.iter().take(NAMED).map(|entry| entry.definition.name.as_str());
                format!("no resource is called {name}; there are {}", names.collect::<Vec<_>>().join(", "))
            })?;
            let agent = order.agent.as_ref().map(|_| agent(state, order)).transpose()?;
            let value = order.value.filter(|value| (0.0..=1e15).contains(value)).ok_or("how much? 0 or more")?;
            Some(Command::SetCapacity { resource, agent, amount: Amount((value * 1000.0).round() as u64) })
        }
        "max-running" => {
            let most = order.value.map(|_| whole(order, "how many run at once")).transpose()?;
            Some(Command::SetMaxRunning { most })
        }
        _ => None,
    };
    if let Some(command) = plain {
        return if order.tasks.is_empty() && order.filter.is_none() {
            Ok(command)
        } else {
            Err(format!("{} is not about tasks", order.command))
        };
    }
    let by = order.by.clone().unwrap_or_else(|| source.to_owned());
    let note = order.note.clone();
    let value = order.value;
    let of_task = |task: TaskId| {
        Ok(match order.command.as_str() {
            "prio" => {
                let fits = |value: &f64| value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX);
                let value = value.filter(fits).ok_or("which priority? A whole number")?;
                Command::SetPriority { task, priority: value as i32 }
            }
            "hold" => Command::Hold { task },
            "release" => Command::Release { task },
            "cancel" => Command::Cancel { task },
            "kill" => Command::Kill { task },
            "retry" => Command::Retry { task },
            "skip" => Command::Skip { task },
            "unskip" => Command::Unskip { task },
            "fallback" => Command::Fallback { task },
            "remove" => Command::Remove { task },
            "restore" => Command::Restore { task },
            "approve" | "reject" | "abstain" => {
                let (approves, abstains) = (order.command == "approve", order.command == "abstain");
                Command::Vote { task, approves, abstains, by: by.clone(), note: note.clone() }
            }
            other => return Err(format!("there is no command {other:?}")),
        })
    };
    of_task(TaskId(0))?;
    let mut commands = chosen(state, &order.tasks, order.filter.as_deref(), false)?
        .into_iter()
        .map(of_task)
        .collect::<Result<Vec<_>, _>>()?;
    match commands.len() {
        1 => Ok(commands.remove(0)),
        _ => Ok(Command::All(commands)),
    }
}

fn whole(order: &Order, what: &str) -> Result<u32, String> {
    let fits = |value: &f64| value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(value);
    order.value.filter(fits).map(|value| value as u32).ok_or_else(|| format!("{what}? A whole number"))
}

fn agent(state: &State, order: &Order) -> Result<AgentId, String> {
    let name = order.agent.as_deref().ok_or("which agent?")?;
    let mut all = (0..state.agents.len()).map(AgentId::from);
    all.find(|id| state.agent(*id).definition.name == name).ok_or_else(|| format!("no agent is called {name}"))
}

/// The task of this name.
///
/// # Errors
/// There is none.
pub(super) fn one(state: &State, name: &str) -> Result<TaskId, String> {
    let mut all = (0..state.tasks.len()).map(TaskId::from);
    all.find(|id| state.name(*id) == name).ok_or_else(|| format!("no task is called {name}"))
}

/// Those of [`tasks`] that pass a filter as well, if there is one: by it alone, if nothing is named.
///
/// # Errors
/// As of [`tasks`]; what is wrong with the filter; nothing passes it.
pub fn chosen(
    state: &State,
    patterns: &[String],
    text: Option<&str>,
    none_is_all: bool,
) -> Result<Vec<TaskId>, String> {
    let Some(text) = text else { return tasks(state, patterns, none_is_all) };
    let passing = filtered(state, &filter::parse(text)?);
    let named = tasks(state, patterns, true)?;
    let all: Vec<TaskId> = if patterns.is_empty() {
        passing
    } else {
        named.into_iter().filter(|id| passing.binary_search(id).is_ok()).collect()
    };
    if all.is_empty() && !none_is_all {
        return Err(format!("no task passes the filter {text}"));
    }
    Ok(all)
}

/// The tasks of these names and globs, in the order of the file; each must name one at least. All, if there are none and
/// `none_is_all`.
///
/// # Errors
/// A name of no task, a glob that matches none.
pub fn tasks(state: &State, patterns: &[String], none_is_all: bool) -> Result<Vec<TaskId>, String> {
    // what was removed is meant only by its whole name
    let all = || (0..state.tasks.len()).map(TaskId::from).filter(|id| !state.task(*id).removed);
    if patterns.is_empty() {
        return if none_is_all {
            Ok(all().collect())
        } else {
            Err("which tasks? Names, or globs like 'shard-*'".into())
        };
    }
    if patterns.len() > PATTERNS {
        return Err(format!("more than {PATTERNS} names at once"));
    }
    let mut wanted = vec![false; state.tasks.len()];
    for pattern in patterns {
        let mut found = false;
        if pattern.contains(['*', '?', '[', '{']) {
            let glob = GlobBuilder::new(pattern).build().map_err(|error| error.to_string())?.compile_matcher();
            for id in all().filter(|id| glob.is_match(state.name(*id))) {
                (wanted[id.index()], found) = (true, true);
            }
        } else if let Ok(id) = one(state, pattern) {
            (wanted[id.index()], found) = (true, true);
        }
        if !found {
            return Err(format!("no task is called {pattern}"));
        }
    }
    Ok(all().filter(|id| wanted[id.index()]).collect())
}

/// What these tasks come to, as an exit code.
pub fn code(state: &State, ids: &[TaskId]) -> i32 {
    let stands = |wanted: &[Shown]| ids.iter().any(|id| wanted.contains(&state.shown(*id)) && !state.task(*id).excused);
    if stands(&[Shown::Failed, Shown::Blocked]) {
        1
    } else if ids.iter().all(|id| state.task(*id).phase.is_satisfied() || state.task(*id).excused) {
        0
    } else {
        3
    }
}
