//! Gates of a file: `type: QualityGate(…)` of a task, and the list `gates`, each of which is a task of its stage that comes
//! after all others of it. Knows nothing of how a gate is decided.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::command;
use super::conditions::{self, Scope};
use super::diagnostic::{Finding, shown};
use super::foreach::Each;
use super::schema::{APPROVAL, COMMAND, Fields, QUORUM, Reader, Word, Zero, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::definition::{
    CommandSpec, GateAction, GateCheck, Probe, QualityGate, Quorum, Sensor, TaskDefinition,
};
use crate::engine::gates::{MAX_CHECKS, MAX_VOTERS};
use crate::engine::ids::Span;

/// So long a command of a gate may take that does not say.
const PATIENCE: Span = Span::secs(600);
/// A question or a name of somebody is no longer than this, in bytes.
const MAX_TEXT_BYTES: usize = 1_000;

const EXAMPLE: &str = "for example checks: [Expr(\"run.failures == 0\"), Command(\"./smoke.sh\"), Approval(\"Ship it?\"), \
Quorum(votes: 2, of: [\"lead\", \"qa\", \"ops\"], veto: [\"qa\"])]";

const CHECKS: [&str; 4] = ["Expr", "Command", "Approval", "Quorum"];

/// Reads what a gate asks, from the fields of `node`.
pub(super) fn read(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    each: Each<'_>,
    node: &Node<'_>,
    fields: &Fields<'_, '_>,
    what: impl Fn() -> String,
) -> Option<QualityGate> {
    let before = reader.findings.count();
    let Some(list) = fields.get("checks") else {
        reader.report(Finding::new(head(node), "this gate checks nothing").label("`checks` is missing").help(EXAMPLE));
        return None;
    };
    let items = reader.list(list, "checks");
    if matches!(&list.kind, Kind::List(_)) && (items.is_empty() || items.len() > MAX_CHECKS) {
        let finding = Finding::new(head(list), format!("a gate has 1 to {MAX_CHECKS} checks"));
        reader.report(finding.label(format!("here are {}", items.len())).help(EXAMPLE));
    }
    let items = &items[..items.len().min(MAX_CHECKS)];
    let checks: Vec<GateCheck> = items.iter().filter_map(|item| check(reader, scope, each, item, &what)).collect();
    let timeout = fields.get("timeout").map(|node| reader.duration(node, "timeout", Zero::Refused));
    let mut action = |name: &str| {
        let choices =
            [("Fail", GateAction::Fail), ("Escalate", GateAction::Escalate), ("Continue", GateAction::Continue)];
        fields.get(name).map(|node| reader.choice(node, name, &choices))
    };
    let (on_fail, on_timeout) = (action("on_fail"), action("on_timeout"));
    if let (Some(node), None) = (fields.get("on_timeout"), fields.get("timeout")) {
        let finding = Finding::new(head(node), "`on_timeout` without `timeout`: it asks without end");
        reader.report(finding.label("after how long?").help("for example timeout: \"1h\""));
    }
    let waits = |check: &GateCheck| !matches!(check, GateCheck::Expr(_));
    if let Some(node) = fields.get("timeout").filter(|_| !checks.iter().any(waits) && checks.len() == items.len()) {
        let finding = Finding::new(head(node), "`timeout` of a gate that asks neither people nor a command");
        reader.report(finding.label("it never waits for an answer so long"));
    }
    if reader.findings.count() > before {
        return None;
    }
    Some(QualityGate {
        checks,
        timeout: timeout.flatten(),
        on_fail: on_fail.flatten().unwrap_or_default(),
        on_timeout: on_timeout.flatten().unwrap_or_default(),
    })
}

fn check(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    each: Each<'_>,
    node: &Node<'_>,
    what: &impl Fn() -> String,
) -> Option<GateCheck> {
    let (name, only) = match &node.kind {
        Kind::Tuple(Some(name), items) if items.len() == 1 => (name.text, Some(&items[0])),
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) => (name.text, None),
        Kind::Word(word) => (*word, None),
        _ => ("", None),
    };
    match (name, only) {
        ("Expr", Some(text)) => conditions::read(reader, scope, each, text, "Expr").map(GateCheck::Expr),
        ("Command", Some(text)) => {
            let spec = command::shell(reader, scope, each.row(), text)?;
            fixed(reader, text, &spec)?;
            Some(GateCheck::Command(Arc::new(asked(Probe::Command(spec), PATIENCE))))
        }
        ("Command", None) => {
            let fields = reader.fields(node, &COMMAND)?;
            let patience = fields.get("patience").map(|node| reader.duration(node, "patience", Zero::Refused));
            let spec = command::read(reader, scope, each.row(), node, &fields, what)?;
            fixed(reader, node, &spec)?;
            Some(GateCheck::Command(Arc::new(asked(
                Probe::Command(spec),
                patience.map_or(Some(PATIENCE), |span| span)?,
            ))))
        }
        ("Approval", Some(text)) => question(reader, scope, each, text).map(GateCheck::Approval),
        ("Approval", None) => {
            let fields = reader.fields(node, &APPROVAL)?;
            let text = fields.get("text").and_then(|text| question(reader, scope, each, text));
            if let Some(node) = fields.get("timeout").or(fields.get("on_timeout")) {
                let finding = Finding::new(head(node), "a check of a gate has no time of its own");
                reader.report(finding.label("it belongs to the gate").help("Approval(\"Ship it?\")"));
            }
            text.map(GateCheck::Approval)
        }
        ("Quorum", _) => quorum(reader, scope, each, node).map(GateCheck::Quorum),
        _ => {
            let finding = Finding::new(head(node), format!("{} is no check of a gate", describe(node)));
            let help = did_you_mean(name, CHECKS).unwrap_or_else(|| EXAMPLE.to_owned());
            reader.report(finding.label(format!("expected one of {}", CHECKS.join(", "))).help(help));
            None
        }
    }
}

/// What a command of a gate asks is known when the file is read.
fn fixed(reader: &mut Reader, node: &Node<'_>, spec: &CommandSpec) -> Option<()> {
    if spec.references.is_empty() {
        return Some(());
    }
    let finding = Finding::new(head(node), "a command of a gate cannot refer to a value of the run");
    reader.report(finding.label("the value is not known yet").help("Expr(\"task.ID.out.NAME > 0\") can"));
    None
}

/// A command is asked once: its first answer counts.
fn asked(probe: Probe, patience: Span) -> Sensor {
    Sensor { probe, interval: Span(u64::from(u32::MAX)), patience, timeout: None, timeout_skips: false }
}

fn question(reader: &mut Reader, scope: Scope<'_, '_>, each: Each<'_>, node: &Node<'_>) -> Option<String> {
    let word = reader.text(node, "the question")?;
    let text = scope.fixed(reader, node, word.text, each.row());
    if text.trim().is_empty() || text.len() > MAX_TEXT_BYTES {
        let message = format!("a question is a text of 1 to {MAX_TEXT_BYTES} bytes");
        reader
            .report(Finding::new(node.at, message).label("what is asked?").help("for example Approval(\"Ship it?\")"));
        return None;
    }
    Some(text)
}

fn quorum(reader: &mut Reader, scope: Scope<'_, '_>, each: Each<'_>, node: &Node<'_>) -> Option<Quorum> {
    let before = reader.findings.count();
    let fields = reader.fields(node, &QUORUM)?;
    let of = fields.get("of").map(|node| people(reader, node, "of")).unwrap_or_default();
    if fields.get("of").is_none() {
        let finding = Finding::new(head(node), "this quorum asks nobody").label("`of` is missing");
        reader.report(finding.help("for example of: [\"lead\", \"qa\", \"ops\"]; for anybody write Approval(\"…\")"));
    }
    let votes = match fields.get("votes") {
        None => {
            let finding = Finding::new(head(node), "this quorum does not say how many are enough");
            reader.report(finding.label("`votes` is missing"));
            None
        }
        Some(node) => {
            let votes = reader.integer(node, "votes", 1, MAX_VOTERS as i64);
            let votes = votes.and_then(|votes| u32::try_from(votes).ok());
            if let Some(votes) = votes.filter(|votes| !of.is_empty() && *votes as usize > of.len()) {
                let message = format!("{votes} votes of {}: nobody can open this gate", of.len());
                reader.report(Finding::new(node.at, message).label(format!("at most {}", of.len())));
            }
            votes
        }
    };
    let veto = fields.get("veto").map(|node| people(reader, node, "veto")).unwrap_or_default();
    for name in &veto {
        if !of.iter().any(|(known, _)| *known == name.0) {
            let help = did_you_mean(name.0, of.iter().map(|(known, _)| *known));
            let finding = Finding::new(name.1, format!("`{}` is not asked, and cannot have a veto", shown(name.0)));
            reader.report(finding.label("not in `of`").maybe_help(help));
        }
    }
    let text = fields.get("text").map(|node| question(reader, scope, each, node));
    if reader.findings.count() > before {
        return None;
    }
    let names = |list: Vec<(&str, _)>| list.into_iter().map(|(name, _)| name.to_owned()).collect();
    Some(Quorum { votes: votes?, of: names(of), veto: names(veto), text: text.flatten().unwrap_or_default() })
}

/// Names of people, none twice.
fn people<'n>(reader: &mut Reader, node: &'n Node<'_>, what: &str) -> Vec<(&'n str, super::diagnostic::Extent)> {
    let mut list: Vec<(&str, super::diagnostic::Extent)> = Vec::new();
    let words: Vec<Word<'n>> = reader.texts(node, what);
    if matches!(&node.kind, Kind::List(_)) && (words.is_empty() || words.len() > MAX_VOTERS) {
        let finding = Finding::new(head(node), format!("`{what}` names 1 to {MAX_VOTERS} people"));
        reader.report(finding.label(format!("here are {}", words.len())));
    }
    for word in words.into_iter().take(MAX_VOTERS) {
        if word.text.trim().is_empty() || word.text.len() > MAX_TEXT_BYTES || word.text.contains(char::is_control) {
            reader.report(Finding::new(word.at, format!("`{what}`: not a name")).label("who is that?"));
        } else if let Some((_, first)) = list.iter().find(|(known, _)| *known == word.text) {
            let finding = Finding::new(word.at, format!("`{}` stands twice in `{what}`", shown(word.text)));
            reader.report(finding.label("a second time").also(*first, "the first time"));
        } else {
            list.push((word.text, word.at));
        }
    }
    list
}

/// What a gate of a stage comes after: all tasks of the stage that are no such gate, but for those of which enough are
/// enough for another task: what of them fails is excused, and that task stands for them.
pub(super) fn comes_after(
    stage: u32,
    tasks: &[TaskDefinition],
    task_after: &[Vec<u32>],
    is_gate: impl Fn(usize) -> bool,
) -> Vec<u32> {
    let joins = tasks.iter().zip(task_after).filter(|(task, _)| task.join.enough.is_some());
    let stood_for: BTreeSet<u32> = joins.flat_map(|(_, after)| after.iter().copied()).collect();
    let of_stage = (0u32..).zip(tasks).filter(|(_, task)| task.stage.0 == stage);
    let numbers = of_stage.map(|(number, _)| number);
    numbers.filter(|number| !is_gate(*number as usize) && !stood_for.contains(number)).collect()
}
