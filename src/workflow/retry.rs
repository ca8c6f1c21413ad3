//! `Retry(…)`: how often something is tried again, after which exit codes, and how long it waits between.

use super::diagnostic::{Finding, shown};
use super::schema::{EXPONENTIAL, Reader, Shape, Zero, describe, head};
use super::syntax::{Kind, Node};
use crate::engine::definition::{Backoff, Retry};
use crate::engine::ids::Span;

/// A task is attempted no more often than this.
pub const MAX_ATTEMPTS: u32 = 10_000;
/// Where an exponential backoff ends that does not say so.
const DEFAULT_LONGEST_BACKOFF: Span = Span::secs(3600);

pub(super) fn retry(reader: &mut Reader, node: &Node<'_>, shape: &Shape) -> Option<Retry> {
    if let Kind::Number(written) = &node.kind {
        reader.wrong(node, "retry", "Retry(…)", &format!("write Retry(attempts: {})", shown(written)));
        return None;
    }
    let fields = reader.fields(node, shape)?;
    let Some(attempts) = fields.get("attempts") else {
        reader.report(Finding::new(head(node), "`Retry` does not say how often").label("`attempts` is missing"));
        return None;
    };
    let attempts = reader.integer(attempts, "attempts", 1, i64::from(MAX_ATTEMPTS))?;
    let backoff = fields.get("backoff").and_then(|node| backoff(reader, node)).unwrap_or_default();
    let on = fields.get("on").map(|node| exit_codes(reader, node)).unwrap_or_default();
    Some(Retry { attempts: u32::try_from(attempts).ok()?, backoff, on })
}

/// The exit codes after which something is done; sorted.
fn exit_codes(reader: &mut Reader, node: &Node<'_>) -> Vec<i32> {
    let list = reader.list(node, "on");
    if list.is_empty() && matches!(&node.kind, Kind::List(_)) {
        let finding = Finding::new(head(node), "`on` names no exit code: it is never tried again");
        reader.report(finding.label("an empty list").help("leave `on` out to try again after any failure"));
    }
    let mut codes: Vec<i32> = list
        .iter()
        .filter_map(|node| reader.integer(node, "on", 1, 255))
        .filter_map(|code| i32::try_from(code).ok())
        .collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn backoff(reader: &mut Reader, node: &Node<'_>) -> Option<Backoff> {
    match &node.kind {
        Kind::Tuple(Some(name), items) if name.text == "Fixed" && items.len() == 1 => {
            reader.duration(&items[0], "Fixed", Zero::Allowed).map(Backoff::Fixed)
        }
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) if name.text == "Exponential" => {
            exponential(reader, node)
        }
        _ => {
            let help = match &node.kind {
                Kind::Text(text) => format!("did you mean Fixed(\"{}\")?", shown(text)),
                _ => "Fixed(\"2s\") or Exponential(base: \"2s\", max: \"1m\", jitter: 0.2)".to_owned(),
            };
            let finding = Finding::new(head(node), format!("`backoff` cannot be {}", describe(node)));
            reader.report(finding.label("expected Fixed(…) or Exponential(…)").help(help));
            None
        }
    }
}

fn exponential(reader: &mut Reader, node: &Node<'_>) -> Option<Backoff> {
    let fields = reader.fields(node, &EXPONENTIAL)?;
    let max = fields.get("max").map(|node| reader.duration(node, "max", Zero::Allowed));
    let jitter = fields.get("jitter").map(|node| reader.share(node, "jitter"));
    let Some(base_node) = fields.get("base") else {
        reader.report(Finding::new(head(node), "`Exponential` has no `base`").label("`base` is missing"));
        return None;
    };
    let base = reader.duration(base_node, "base", Zero::Refused)?;
    let max = max.map_or(Some(DEFAULT_LONGEST_BACKOFF.max(base)), |max| max)?;
    if max < base {
        let finding = Finding::new(base_node.at, "`base` is longer than `max`");
        reader.report(finding.label("the first wait would be longer than the longest"));
        return None;
    }
    Some(Backoff::Exponential { base, max, jitter: jitter.map_or(Some(0.0), |jitter| jitter)? })
}
