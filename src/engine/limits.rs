//! Commands that change limits while the run goes on: what each comes to, and what takes it back. Changes nothing itself.

use super::breaker::Gate;
use super::definition::ResourceKind;
use super::fact::Fact;
use super::ids::{AgentId, Amount, ResourceId};
use super::message::{Command, Refusal};
use super::state::State;

type Comes = Result<(Vec<Fact>, Option<Command>), Refusal>;

/// See the module. Only for commands about limits.
pub(super) fn intend(state: &State, command: &Command) -> Comes {
    match command {
        Command::SetCapacity { resource, agent, amount } => capacity(state, *resource, *agent, *amount),
        Command::SetMaxRunning { most: Some(0) } => refuse("nothing would ever start: pause it instead"),
        Command::SetMaxRunning { most } => {
            let old = state.settings.max_running;
            if old == *most {
                return match most {
                    Some(most) => refuse(format!("at most {most} run at once already")),
                    None => refuse("there is no limit to take away"),
                };
            }
            Ok((vec![Fact::MaxRunningSet { most: *most }], Some(Command::SetMaxRunning { most: old })))
        }
        Command::CloseBreaker if state.settings.breaker.is_none() => refuse("no circuit breaker is declared"),
        Command::CloseBreaker if state.breaker.gate == Gate::Closed => refuse("the circuit breaker is closed"),
        Command::CloseBreaker => Ok((vec![Fact::BreakerClosed], None)),
        Command::HeedPauseWhile(_) if state.settings.pause_while.is_none() => refuse("no PauseWhile is declared"),
        Command::HeedPauseWhile(heed) if *heed != state.ignores_overload => {
            refuse(if *heed { "PauseWhile counts already" } else { "PauseWhile is ignored already" })
        }
        Command::HeedPauseWhile(heed) => {
            Ok((vec![Fact::PauseWhileHeeded(*heed)], Some(Command::HeedPauseWhile(!heed))))
        }
        _ => refuse("this is no limit"),
    }
}

fn capacity(state: &State, resource: ResourceId, agent: Option<AgentId>, amount: Amount) -> Comes {
    let Some(entry) = state.resources.get(resource.index()) else { return refuse("there is no such resource") };
    let name = &entry.definition.name;
    if entry.definition.kind == ResourceKind::Lock {
        return refuse(format!("{name} is a lock: there is one of it"));
    }
    let Some(old) = state.capacity_of(resource, agent) else {
        return match agent {
            Some(_) => refuse(format!("{name} is not a resource of that agent")),
            None => refuse(format!("each agent has its own {name}: say on which")),
        };
    };
    if old == amount {
        return refuse(format!("there is as much of {name} already"));
    }
    let inverse = Command::SetCapacity { resource, agent, amount: old };
    Ok((vec![Fact::CapacitySet { resource, agent, amount }], Some(inverse)))
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}
