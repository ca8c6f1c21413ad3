//! `monitor` of a task: what is watched while its command runs. Knows nothing of how it is watched.

use std::sync::Arc;

use super::care;
use super::diagnostic::Finding;
use super::schema::{Fields, MONITOR, Reader, Zero, head};
use super::syntax::{Kind, Node};
use crate::engine::ids::Span;
use crate::engine::monitors::{MonitorAction, ProgressMonitor, Watchdog};

const HOW: &str =
    "for example monitor: Monitor(progress: r\"\\((\\d+)/(\\d+)\\)\", stall: \"2m\", on_stall: Fail, drift: 1.5)";

/// A task that takes so many times its estimate is beyond any judging.
const MAX_DRIFT: f64 = 1_000.0;

/// Reads `monitor`, if the task has it.
pub(super) fn read(
    reader: &mut Reader,
    fields: &Fields<'_, '_>,
    estimate: Option<Span>,
) -> Option<Arc<ProgressMonitor>> {
    let node = fields.get("monitor")?;
    let fields = reader.fields(node, &MONITOR)?;
    let progress = fields.get("progress").and_then(|node| pattern(reader, node));
    let stall = watchdog(reader, &fields, "stall", "on_stall", MonitorAction::Fail);
    let heartbeat = watchdog(reader, &fields, "heartbeat", "on_heartbeat", MonitorAction::Fail);
    let drift = drift(reader, &fields, estimate);
    if ["progress", "stall", "heartbeat", "drift"].iter().all(|name| fields.get(name).is_none()) {
        let finding = Finding::new(head(node), "this monitor watches nothing");
        reader.report(finding.label("what is to be watched?").help(HOW));
        return None;
    }
    Some(Arc::new(ProgressMonitor { progress, stall, heartbeat, drift }))
}

fn watchdog(
    reader: &mut Reader,
    fields: &Fields<'_, '_>,
    name: &str,
    on: &str,
    default: MonitorAction,
) -> Option<Watchdog> {
    let then = action(reader, fields, name, on, default);
    let after = fields.get(name).and_then(|node| reader.duration(node, name, Zero::Refused))?;
    Some(Watchdog { after, then })
}

fn action(reader: &mut Reader, fields: &Fields<'_, '_>, name: &str, on: &str, default: MonitorAction) -> MonitorAction {
    let Some(node) = fields.get(on) else { return default };
    if fields.get(name).is_none() {
        let finding = Finding::new(head(node), format!("`{on}` without `{name}`: it never comes to that"));
        reader.report(finding.label("after what?").help(HOW));
    }
    let choices = [("Fail", MonitorAction::Fail), ("Warn", MonitorAction::Warn)];
    reader.choice(node, on, &choices).unwrap_or(default)
}

/// So many times the estimate.
fn drift(reader: &mut Reader, fields: &Fields<'_, '_>, estimate: Option<Span>) -> Option<Watchdog> {
    let then = action(reader, fields, "drift", "on_drift", MonitorAction::Warn);
    let node = fields.get("drift")?;
    let Kind::Number(written) = node.kind else {
        reader.wrong(node, "drift", "a number", "how many times the `estimate` it may take: drift: 1.5");
        return None;
    };
    let factor: Option<f64> = ron::from_str(written).ok();
    let Some(factor) = factor.filter(|factor| (1.0..=MAX_DRIFT).contains(factor)) else {
        let finding = Finding::new(node.at, "`drift` is how many times the `estimate` a task may take");
        reader.report(finding.label(format!("a number from 1 to {MAX_DRIFT}")));
        return None;
    };
    let Some(estimate) = estimate.filter(|estimate| *estimate > Span(0)) else {
        let finding = Finding::new(head(node), "`drift` without an `estimate` of the task: more than what?");
        reader.report(finding.label("how long should it take?").help("give the task an estimate: estimate: \"10m\""));
        return None;
    };
    Some(Watchdog { after: Span((estimate.0 as f64 * factor) as u64), then })
}

/// One group is a percentage, two are so much of so much.
fn pattern(reader: &mut Reader, node: &Node<'_>) -> Option<String> {
    let word = reader.text(node, "progress")?;
    let groups = care::compile(reader, node, word.text)?.captures_len() - 1;
    if !(1..=2).contains(&groups) {
        let message = format!("`progress` has {groups} groups: one is a percentage, two are how much of how much");
        let help = "r\"(\\d+)%\" or r\"(\\d+)/(\\d+)\"; a group that is not one of them is written (?:…)";
        reader.report(Finding::new(node.at, message).label("one or two groups in parentheses").help(help));
        return None;
    }
    Some(word.text.to_owned())
}
