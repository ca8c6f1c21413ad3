//! `health` of an agent: what is looked at to see whether it can be reached, and what becomes of its tasks if it cannot. Knows
//! nothing of looking.

use std::sync::Arc;

use super::command::MAX_COMMAND_BYTES;
use super::diagnostic::Finding;
use super::schema::{Fields, HEALTH, Reader, Zero, head};
use super::sensor::SHORTEST_INTERVAL;
use super::syntax::Node;
use crate::engine::definition::{CommandLine, CommandSpec, Health, OnAgentLost, Probe, Sensor};
use crate::engine::ids::Span;

const EXAMPLE: &str = "for example health: Health(exec: [\"ssh\", \"gpu1\", \"true\"], interval: \"10s\", failures: 3, on_lost: Requeue), \
or Health(tcp: \"gpu1:22\")";

/// Reads the health of the agent.
pub(super) fn read(reader: &mut Reader, node: &Node<'_>) -> Option<Arc<Health>> {
    let before = reader.findings.count();
    let fields = reader.fields(node, &HEALTH)?;
    let probe = probe(reader, node, &fields);
    let mut span = |name: &str, absent: Span| {
        let read = fields.get(name).map(|node| reader.duration(node, name, Zero::Refused));
        read.map_or(absent, Option::unwrap_or_default)
    };
    let (interval, patience) = (span("interval", Span::secs(10)), span("patience", Span::secs(10)));
    if let Some(node) = fields.get("interval").filter(|_| Span(0) < interval && interval < SHORTEST_INTERVAL) {
        let finding = Finding::new(node.at, format!("`interval`: at least {}ms", SHORTEST_INTERVAL.0));
        reader.report(finding.label("too often"));
    }
    let failures = fields.get("failures").map_or(Some(3), |node| reader.integer(node, "failures", 1, 1_000));
    let choices = [("Requeue", OnAgentLost::Requeue), ("Fail", OnAgentLost::Fail), ("LetRun", OnAgentLost::LetRun)];
    let on_lost = fields.get("on_lost").and_then(|node| reader.choice(node, "on_lost", &choices)).unwrap_or_default();
    if reader.findings.count() > before {
        return None;
    }
    let sensor = Sensor { probe: probe?, interval, patience, timeout: None, timeout_skips: false };
    let failures = u32::try_from(failures?).ok()?;
    Some(Arc::new(Health { sensor: Arc::new(sensor), failures, on_lost }))
}

fn probe(reader: &mut Reader, node: &Node<'_>, fields: &Fields<'_, '_>) -> Option<Probe> {
    let kinds = ["run", "exec", "tcp", "http"];
    let given: Vec<&str> = kinds.into_iter().filter(|name| fields.get(name).is_some()).collect();
    let [kind] = given.as_slice() else {
        let finding = Finding::new(head(node), "by what is it seen whether the agent can be reached?");
        reader.report(finding.label("one of run, exec, tcp and http").help(EXAMPLE));
        return None;
    };
    let value = fields.get(kind)?;
    let words =
        if *kind == "exec" { reader.texts(value, kind).into_iter().collect() } else { vec![reader.text(value, kind)?] };
    let bytes: usize = words.iter().map(|word| word.text.len()).sum();
    let fault = if words.iter().all(|word| word.text.trim().is_empty()) {
        Some("nothing to look at")
    } else if words.iter().any(|word| word.text.contains('\0')) {
        Some("holds a NUL byte")
    } else if words.iter().any(|word| word.text.contains("${")) && *kind != "run" {
        Some("no value goes in here")
    } else if bytes > MAX_COMMAND_BYTES || (bytes > 4096 && matches!(*kind, "tcp" | "http")) {
        Some("too long")
    } else if *kind == "tcp" && words.iter().any(|word| !is_address(word.text)) {
        Some("expected host:port")
    } else if *kind == "http" && words.iter().any(|word| !word.text.starts_with("http://")) {
        Some("expected http://…")
    } else {
        None
    };
    if let Some(fault) = fault {
        reader.report(Finding::new(head(value), format!("`{kind}` of a health check")).label(fault).help(EXAMPLE));
        return None;
    }
    let text = |index: usize| words.get(index).map_or_else(String::new, |word| word.text.to_owned());
    let command = |run: CommandLine| Probe::Command(Arc::new(CommandSpec::new(run)));
    Some(match *kind {
        "run" => command(CommandLine::Shell(text(0))),
        "exec" => command(CommandLine::Exec(words.iter().map(|word| word.text.to_owned()).collect())),
        "tcp" => Probe::Tcp(text(0)),
        _ => Probe::Http(text(0), (200, 399)),
    })
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}
