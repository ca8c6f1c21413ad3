//! What a command would come to, in words: tried on a copy of the State before it is sent.

use crate::engine::message::Command;
use crate::engine::state::{Shown, State};
use crate::engine::trial::would;

/// What changes beyond what is asked itself: who is blocked or may start then, what cannot be done, whether it can be taken
/// back.
pub fn effect(state: &State, command: &Command) -> Vec<String> {
    let would = would(state, command);
    let mut lines = Vec::new();
    let more = |shown: Shown| (would.after.of(shown)).saturating_sub(would.before.of(shown));
    let fewer = |shown: Shown| (would.before.of(shown)).saturating_sub(would.after.of(shown));
    for (n, what) in [
        (more(Shown::Blocked), "blocked: what they wait for will not be"),
        (fewer(Shown::Blocked), "blocked no more"),
        (more(Shown::Ready), "ready to start"),
    ] {
        if n > 0 {
            let tasks = if n == 1 { "task" } else { "tasks" };
            lines.push(format!("then      {n} more {tasks} {what}"));
        }
    }
    if let Some((n, why)) = &would.refused {
        lines.push(format!("refused   {n}: {}", why.0));
    }
    lines.push(match (would.done, would.returns) {
        (0, _) => "nothing of it can be done now".to_owned(),
        (_, true) => "undo      u takes it back".to_owned(),
        (_, false) => "undo      not possible".to_owned(),
    });
    lines
}
