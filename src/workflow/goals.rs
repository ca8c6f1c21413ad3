//! `milestones` and `objectives` of a file: names with conditions. Knows nothing of when they are asked.

use super::conditions::{self, Scope};
use super::diagnostic::Finding;
use super::foreach::Each;
use super::names::check_name;
use super::order::Names;
use super::schema::{Fields, Reader};
use crate::engine::definition::{Goal, GoalKind};
use crate::engine::goals::MAX_GOALS;

/// Reads both.
pub(super) fn read(reader: &mut Reader, fields: &Fields<'_, '_>, scope: Scope<'_, '_>) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut names = Names::new("goal");
    for (field, kind) in [("milestones", GoalKind::Milestone), ("objectives", GoalKind::Objective)] {
        let Some(node) = fields.get(field) else { continue };
        for (name, value) in reader.map(node, field) {
            if goals.len() == MAX_GOALS {
                let finding = Finding::new(name.at, format!("more than {MAX_GOALS} milestones and objectives"));
                reader.report(finding.label("one too many"));
                return goals;
            }
            check_name(reader, &name, "milestone");
            names.add(reader, name);
            if let Some(holds) = conditions::read(reader, scope, Each::No, value, name.text) {
                goals.push(Goal { name: name.text.to_owned(), kind, holds });
            }
        }
    }
    goals
}
