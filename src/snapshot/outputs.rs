//! Which outputs a stage has: what a merged log is made of. Knows where they are, not what is in them.

use std::cmp::Reverse;

use super::Output;
use super::build::Frozen;
use crate::engine::ids::StageId;

/// The newest outputs of a stage's tasks, what runs first and then what started last, at most `most` of them; and how many
/// were left out.
pub fn outputs(frozen: &Frozen, stage: &str, most: usize) -> (Vec<Output>, usize) {
    let state = &frozen.engine.state;
    let mut stages = (0..state.stages.len()).map(StageId::from);
    let Some(stage) = stages.find(|id| state.stage(*id).definition.name == stage) else { return (vec![], 0) };
    let mut found = Vec::new();
    for id in state.stage(stage).tasks.iter().copied() {
        let task = state.task(id);
        let newest = match &task.live {
            Some(live) => live.log.map(|log| (log, live.started, None)),
            None => task
                .past
                .as_ref()
                .and_then(|past| past.last())
                .and_then(|past| past.log.map(|log| (log, past.started, Some(past.ended)))),
        };
        if let Some((log, started, ended)) = newest {
            found.push((ended.is_some(), Reverse(started), id, log, ended));
        }
    }
    found.sort_unstable_by_key(|(over, started, id, ..)| (*over, *started, *id));
    let left_out = found.len().saturating_sub(most);
    found.truncate(most);
    let output = |(_, started, id, log, ended): (bool, Reverse<_>, _, u64, _)| Output {
        name: state.name(id).into(),
        log: frozen.log_dir.join(log.to_string()),
        started: started.0,
        ended,
    };
    (found.into_iter().map(output).collect(), left_out)
}
