//! `enough`, `rest` and `trigger` of a task: how many of those in its `after` must have come to pass, and how. Knows
//! nothing of how a run counts them.

use super::diagnostic::{Finding, shown};
use super::schema::{Fields, Reader, head, peek};
use super::syntax::Node;
use crate::engine::definition::{Join, Rest, TaskDefinition, Trigger};

/// What a task says of it.
pub(super) fn read(reader: &mut Reader, fields: &Fields<'_, '_>) -> Join {
    let mut join = Join::default();
    if let Some(node) = fields.get("enough") {
        let number = reader.integer(node, "enough", 1, i64::from(u32::MAX));
        join.enough = number.and_then(|number| u32::try_from(number).ok());
    }
    if let Some(node) = fields.get("rest") {
        join.rest =
            reader.choice(node, "rest", &[("LetRun", Rest::LetRun), ("Cancel", Rest::Cancel)]).unwrap_or_default();
        if fields.get("enough").is_none() {
            let finding = Finding::new(head(node), "`rest` without `enough`: no task is ever left over");
            reader.report(finding.label("the rest of what?").help("say how many are enough, for example enough: 2"));
        }
    }
    if let Some(node) = fields.get("trigger") {
        let choices = [("AllSucceeded", Trigger::AllSucceeded), ("AllOver", Trigger::AllOver)];
        join.trigger = reader.choice(node, "trigger", &choices).unwrap_or_default();
    }
    for name in ["enough", "trigger"] {
        if let (Some(node), None) = (fields.get(name), fields.get("after")) {
            let finding = Finding::new(head(node), format!("`{name}` without `after`: the task waits for nothing"));
            reader.report(finding.label("of which tasks?").help("name them, for example after: [\"shard-*\"]"));
        }
    }
    join
}

/// Reports each `enough` that is more than there are; of the tasks of one `foreach`, which are of one group, once.
pub(super) fn check<'t, 'n, 'a: 'n>(
    reader: &mut Reader,
    tasks: impl Iterator<Item = (&'t TaskDefinition, (u32, &'n Node<'a>))>,
) {
    let mut told = None;
    for (task, (group, node)) in tasks {
        let Some(enough) = task.join.enough else { continue };
        let (all, at) = (task.after.len(), peek(node, "enough"));
        if enough as usize <= all || told == Some(group) || peek(node, "after").is_none() {
            continue;
        }
        let Some(at) = at else { continue };
        told = Some(group);
        let name = shown(&task.id);
        let message = format!("{enough} are enough for `{name}`, but it waits for {all} task{}", plural(all));
        let help = if all == 0 { "name more tasks in `after`".to_owned() } else { format!("at most enough: {all}") };
        reader.report(Finding::new(at.at, message).label("more than there are").help(help));
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
