//! Circles that a condition closes: the `when` of a task or of a stage, or a gate's, asks how something ended that waits for it.
//! What is asked for is waited for as what stands in an `after`; `order` finds the circles.

use super::conditions::{self, Asked};
use super::diagnostic::Extent;
use super::order::{self, Graph, Names, Need, Owner};
use super::params::Params;
use super::schema::Reader;
use crate::engine::condition::Condition;
use crate::engine::definition::TaskDefinition;

/// The conditions of a file, and what they speak of.
pub(super) struct Conditions<'f> {
    pub tasks: &'f [TaskDefinition],
    /// Of each stage.
    pub whens: &'f [Option<Condition>],
    pub task_names: &'f Names<'f>,
    pub stage_names: &'f Names<'f>,
    pub params: &'f Params,
    /// Where this field of somebody's stands in the file.
    pub field: &'f dyn Fn(Owner, &str) -> Option<Extent>,
}

/// Who asks, for what, and where that stands.
type Ask = (Owner, Need, Option<Extent>);

impl Conditions<'_> {
    /// Reports the circles. Those of what stands in an `after` alone are known to be none.
    pub fn find_circles(
        &self,
        reader: &mut Reader,
        stage_of: &[u32],
        stage_after: &[Vec<u32>],
        task_after: &[Vec<u32>],
    ) {
        let asks: Vec<Ask> = self.of_tasks().chain(self.of_stages()).collect();
        if asks.is_empty() {
            return;
        }
        let (mut task_asks, mut stage_asks) = (vec![Vec::new(); task_after.len()], vec![Vec::new(); stage_after.len()]);
        let (mut task_places, mut stage_places) = (vec![None; task_after.len()], vec![None; stage_after.len()]);
        for (owner, need, place) in asks {
            let (needs, known): (&mut Vec<Need>, &mut Option<Extent>) = match owner {
                Owner::Task(task) => (&mut task_asks[task], &mut task_places[task]),
                Owner::Stage(stage) => (&mut stage_asks[stage], &mut stage_places[stage]),
            };
            needs.push(need);
            *known = known.or(place);
        }
        // what is content with less does not have to wait for each
        let strict = task_after.iter().zip(self.tasks).map(|(after, task)| match task.join.enough {
            None => after.clone(),
            Some(_) => Vec::new(),
        });
        let task_after: Vec<Vec<u32>> = strict.collect();
        let graph =
            Graph { task_after: &task_after, stage_of, stage_after, task_asks: &task_asks, stage_asks: &stage_asks };
        let place = |owner: Owner| match owner {
            Owner::Task(task) => task_places[task],
            Owner::Stage(stage) => stage_places[stage],
        };
        order::find_cycles(reader, &graph, self.task_names, self.stage_names, place);
    }

    fn of_tasks(&self) -> impl Iterator<Item = Ask> {
        self.tasks.iter().enumerate().flat_map(move |(index, task)| {
            let when = task.entry.iter().filter_map(|entry| entry.when.as_ref()).map(|when| (when, "when"));
            let checks = task.task_type.gate().into_iter().flat_map(|gate| gate.expressions());
            when.chain(checks.map(|check| (check, "checks"))).filter_map(move |(condition, field)| {
                let need = self.need(condition)?;
                let owner = Owner::Task(index);
                // The checks of a gate that is a task stand within its type.
                Some((owner, need, (self.field)(owner, field).or_else(|| (self.field)(owner, "type"))))
            })
        })
    }

    fn of_stages(&self) -> impl Iterator<Item = Ask> {
        self.whens.iter().enumerate().filter_map(|(index, when)| {
            let owner = Owner::Stage(index);
            Some((owner, self.need(when.as_ref()?)?, (self.field)(owner, "when")))
        })
    }

    fn need(&self, condition: &Condition) -> Option<Need> {
        need(condition, self.params, self.task_names, self.stage_names)
    }
}

/// The task or stage without whose end a condition has no answer.
pub(super) fn need(condition: &Condition, params: &Params, tasks: &Names<'_>, stages: &Names<'_>) -> Option<Need> {
    let number = |names: &Names<'_>, name: &str| u32::try_from(names.find(name)?).ok();
    match conditions::needs(condition, params)? {
        Asked::Task(name) => number(tasks, &name).map(Need::Task),
        Asked::Stage(name) => number(stages, &name).map(Need::Stage),
    }
}
