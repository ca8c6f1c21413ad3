//! Whose end the conditions of tasks, stages and gates ask for: they wait for it as for what stands in an `after`. Knows
//! nothing of how a circle of that is found.

use super::conditions::Asked;
use super::diagnostic::Extent;
use super::order::Names;

/// No more of them than this are looked at: a stage of many that asks for a stage of many is that.
const ASKED_MOST: usize = 100_000;

/// Whose end the conditions of tasks ask for.
pub(super) struct Asks<'a, 'n> {
    tasks: &'a Names<'n>,
    stages: &'a Names<'n>,
    stage_of: &'a [u32],
    /// Who asks, for whom, and where that stands.
    pub asked: Vec<(usize, u32, Option<Extent>)>,
}

impl<'a, 'n> Asks<'a, 'n> {
    /// Nobody asks. `stage_of` has the stage of each task.
    pub fn new(tasks: &'a Names<'n>, stages: &'a Names<'n>, stage_of: &'a [u32]) -> Self {
        Self { tasks, stages, stage_of, asked: Vec::new() }
    }

    /// This task asks, in a condition that stands there.
    pub fn task(&mut self, asker: usize, needs: &Asked, place: Option<Extent>) {
        match needs {
            Asked::Task(name) => {
                let on = self.tasks.find(name).and_then(|task| u32::try_from(task).ok());
                self.asked.extend(on.map(|on| (asker, on, place)));
            }
            Asked::Stage(name) => {
                let Some(stage) = self.stages.find(name) else { return };
                let room = ASKED_MOST.saturating_sub(self.asked.len());
                let of_it = (self.stage_of.iter().zip(0..)).filter(|(of, _)| **of as usize == stage);
                self.asked.extend(of_it.take(room).map(|(_, task)| (asker, task, place)));
            }
        }
    }
}
