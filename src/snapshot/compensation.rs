//! What compensation would do now, before it is asked for: what is stopped, what is cancelled, what is undone in which order.

use super::why::duration;
use super::{CompensationPreview, Counts};
use crate::engine::state::State;

/// So many of the tasks that would undo something are named.
const NAMED: usize = 6;

/// What `compensate` would do, a line each.
pub(super) fn preview(state: &State, counts: &Counts) -> CompensationPreview {
    if let Some(saga) = state.saga(None) {
        let why_not = Some(format!("compensation has begun already: {}", saga.why));
        return CompensationPreview { lines: Vec::new(), why_not };
    }
    let mut lines = Vec::new();
    let running = counts.running + counts.stopping;
    if running > 0 {
        lines.push(format!("stopped    {running} running: SIGTERM, SIGKILL after {}", duration(state.settings.grace)));
    }
    let open = counts.ready + counts.delayed + counts.awaiting + counts.waiting + counts.blocked + counts.held;
    if open > 0 {
        lines.push(format!("cancelled  {open} that have not run"));
    }
    let mut names: Vec<String> = state
        .to_compensate(|_| true)
        .take(NAMED + 1)
        .filter_map(|task| state.definition(task).compensation.as_ref().map(|compensation| compensation.id.clone()))
        .collect();
    if names.len() > NAMED {
        names[NAMED] = "and so on".to_owned();
    }
    lines.push(match names.len() {
        0 => "undone     nothing: of what is done no task says how".to_owned(),
        _ => format!("then run   {}", names.join(", ")),
    });
    lines.push("no task of it can be retried afterwards".to_owned());
    CompensationPreview { lines, why_not: None }
}
