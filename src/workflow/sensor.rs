//! `type: Sensor(…)`: what a task looks at until it is as it should be. Knows nothing of looking.

use std::sync::Arc;

use super::command;
use super::conditions::Scope;
use super::diagnostic::{Finding, shown};
use super::foreach::Each;
use super::params::known_later;
use super::schema::{Fields, Reader, SENSOR, Zero, head};
use super::syntax::{Kind, Node};
use crate::engine::definition::{Probe, Sensor};
use crate::engine::ids::Span;

/// If a sensor does not say how often it looks.
const INTERVAL: Span = Span::secs(5);
/// If it does not say how long a look may take.
const PATIENCE: Span = Span::secs(10);
/// No sensor looks more often.
pub const SHORTEST_INTERVAL: Span = Span(100);
/// A path, an address or a URL is no longer than this, in bytes.
const MAX_BYTES: usize = 4096;

/// What can be looked at.
const PROBES: [&str; 6] = ["file", "changed", "tcp", "run", "exec", "http"];

const EXAMPLE: &str = "for example type: Sensor(file: \"in/data.csv\", interval: \"5s\", timeout: \"1h\"), or Sensor(tcp: \"localhost:5432\"), \
Sensor(http: \"http://localhost:8080/health\"), Sensor(run: \"./ready.sh\")";

/// Reads the sensor of the task that is called `what` in messages.
pub(super) fn read(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    each: Each<'_>,
    node: &Node<'_>,
    what: impl Fn() -> String,
) -> Option<Sensor> {
    let before = reader.findings.count();
    let fields = reader.fields(node, &SENSOR)?;
    if reader.findings.count() > before {
        // A field that is misspelt is not missed as well.
        return None;
    }
    let probe = probe(reader, scope, each, node, &fields, what);
    let mut span = |name: &str, absent: Span| {
        let read = fields.get(name).map(|node| reader.duration(node, name, Zero::Refused));
        read.map_or(absent, Option::unwrap_or_default)
    };
    let (interval, patience) = (span("interval", INTERVAL), span("patience", PATIENCE));
    let timeout = fields.get("timeout").map(|node| reader.duration(node, "timeout", Zero::Refused));
    if let Some(node) = fields.get("interval").filter(|_| Span(0) < interval && interval < SHORTEST_INTERVAL) {
        let finding = Finding::new(node.at, format!("`interval`: at least {}ms", SHORTEST_INTERVAL.0));
        reader.report(finding.label("too often").help("whatever is looked at has other work too"));
    }
    let skips = fields.get("on_timeout").map(|node| {
        if fields.get("timeout").is_none() {
            let finding = Finding::new(head(node), "`on_timeout` without `timeout`: it looks without end");
            reader.report(finding.label("after how long?").help(EXAMPLE));
        }
        reader.choice(node, "on_timeout", &[("Fail", false), ("Skip", true)])
    });
    if reader.findings.count() > before {
        return None;
    }
    Some(Sensor {
        probe: probe?,
        interval,
        patience,
        timeout: timeout.flatten(),
        timeout_skips: skips.flatten().unwrap_or_default(),
    })
}

fn probe(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    each: Each<'_>,
    node: &Node<'_>,
    fields: &Fields<'_, '_>,
    what: impl Fn() -> String,
) -> Option<Probe> {
    let written: Vec<_> = PROBES.iter().filter_map(|name| fields.get(name).map(|node| (*name, node))).collect();
    let (name, value) = match written.as_slice() {
        [] => {
            let finding = Finding::new(head(node), "this sensor looks at nothing");
            reader.report(finding.label(format!("one of {} is missing", PROBES.join(", "))).help(EXAMPLE));
            return None;
        }
        [one] => *one,
        [first, second, ..] => {
            let message = format!("this sensor has both `{}` and `{}`", first.0, second.0);
            let finding = Finding::new(head(second.1), message).label("one too many").also(head(first.1), "the first");
            reader.report(finding.help("a task for each; what waits for both names both in `after`"));
            return None;
        }
    };
    for (field, of) in [("env", ["run", "exec"]), ("cwd", ["run", "exec"]), ("status", ["http", "http"])] {
        if let Some(node) = fields.get(field).filter(|_| !of.contains(&name)) {
            let finding = Finding::new(head(node), format!("a sensor with `{name}` has no `{field}`"));
            reader.report(finding.label(format!("it belongs to `{}`", of[0])));
        }
    }
    if matches!(name, "run" | "exec") {
        let spec = command::read(reader, scope, each.row(), node, fields, what)?;
        if !spec.references.is_empty() {
            known_later(reader, value);
        }
        return Some(Probe::Command(spec));
    }
    let text = text(reader, scope, each, value, name)?;
    match name {
        "file" => Some(Probe::Exists(text)),
        "changed" => Some(Probe::Changed(text)),
        "tcp" => address(reader, value, text),
        _ => url(reader, fields, value, text),
    }
}

/// With its parameters and keys replaced.
fn text(reader: &mut Reader, scope: Scope<'_, '_>, each: Each<'_>, node: &Node<'_>, name: &str) -> Option<String> {
    let (before, word) = (reader.findings.count(), reader.text(node, name)?);
    let text = scope.fixed(reader, node, word.text, each.row());
    if reader.findings.count() > before {
        return None;
    }
    if text.trim().is_empty() || text.len() > MAX_BYTES || text.contains(char::is_control) {
        let message = format!("`{name}` is a text of 1 to {MAX_BYTES} bytes in one line");
        reader.report(Finding::new(node.at, message).label("what is looked at?").help(EXAMPLE));
        return None;
    }
    Some(text)
}

fn address(reader: &mut Reader, node: &Node<'_>, text: String) -> Option<Probe> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(char::is_whitespace));
    if parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Some(Probe::Tcp(text));
    }
    let finding = Finding::new(node.at, format!("`tcp`: \"{}\" is no address", shown(&text)));
    reader.report(finding.label("expected host:port").help("for example \"localhost:5432\" or \"[::1]:80\""));
    None
}

fn url(reader: &mut Reader, fields: &Fields<'_, '_>, node: &Node<'_>, text: String) -> Option<Probe> {
    let uri = text.parse::<ureq::http::Uri>().ok();
    let good = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !good {
        let finding = Finding::new(node.at, format!("`http`: \"{}\" is no URL that can be asked", shown(&text)));
        reader.report(
            finding.label("expected http://… or https://…").help("for example \"http://localhost:8080/health\""),
        );
        return None;
    }
    let status = match fields.get("status") {
        None => (200, 299),
        Some(node) => {
            if matches!(node.kind, Kind::Text(_)) {
                reader.wrong(node, "status", "a number", "for example status: 200; any of 200 to 299 if absent");
                return None;
            }
            let status = u16::try_from(reader.integer(node, "status", 100, 599)?).ok()?;
            (status, status)
        }
    };
    Some(Probe::Http(text, status))
}

/// About so many bytes it has of its own.
pub(super) fn size(sensor: &Arc<Sensor>) -> usize {
    match &sensor.probe {
        Probe::Exists(text) | Probe::Changed(text) | Probe::Tcp(text) | Probe::Http(text, _) => text.len(),
        Probe::Command(spec) => command::size(spec),
    }
}
