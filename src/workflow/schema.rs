//! The words of a workflow file and how each kind of value is read: fields checked against what is known, every wrong one
//! a placed diagnostic, none stopping the reading of the others. Knows no names that the file itself declares.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::Source;
use super::diagnostic::{Diagnostics, Extent, Finding, Findings, shown};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use super::units;
use crate::engine::ids::{Amount, Span};

/// The fields of one kind of struct.
pub(super) struct Shape {
    /// Its name in the file.
    pub name: &'static str,
    /// What it can hold.
    pub fields: &'static [&'static str],
    /// Words of the language that this version does not have.
    pub later: &'static [&'static str],
}

pub(super) const WORKFLOW: Shape = Shape {
    name: "Workflow",
    fields: &[
        "name",
        "params",
        "agents",
        "resources",
        "stages",
        "transitions",
        "phases",
        "fallbacks",
        "controls",
        "gates",
        "milestones",
        "objectives",
        "policy",
        "barriers",
        "state",
        "on_lost",
        "grace",
        "aging",
        "reserve_after",
        "leak_grace",
        "durability",
        "on_console_death",
        "on_deadlock",
    ],
    later: &["plan", "conditions", "include"],
};

pub(super) const AGENT: Shape = Shape {
    name: "Agent",
    fields: &["name", "slots", "capabilities", "resources", "launcher", "health"],
    later: &["executor"],
};

pub(super) const HEALTH: Shape = Shape {
    name: "Health",
    fields: &["run", "exec", "tcp", "http", "interval", "patience", "failures", "on_lost"],
    later: &[],
};

pub(super) const STAGE: Shape =
    Shape { name: "Stage", fields: &["id", "after", "when", "max_running", "tasks"], later: &["foreach"] };

pub(super) const TRANSITION: Shape =
    Shape { name: "Transition", fields: &["from", "to", "on", "when", "at_most"], later: &[] };

pub(super) const PHASE: Shape =
    Shape { name: "Phase", fields: &["id", "stages", "on_failure", "max_running"], later: &[] };

pub(super) const TASK: Shape = Shape {
    name: "Task",
    fields: &[
        "id",
        "run",
        "exec",
        "after",
        "needs",
        "uses",
        "priority",
        "deadline",
        "timeout",
        "estimate",
        "retry",
        "fallback",
        "tags",
        "env",
        "cwd",
        "foreach",
        "enough",
        "rest",
        "trigger",
        "type",
        "when",
        "agent",
        "not_on",
        "prefer",
        "same_agent_as",
        "not_beside",
        "window",
        "restore",
        "limits",
        "inputs",
        "outputs",
        "rerun",
        "validate",
        "publishes",
        "compensate",
        "barrier",
        "monitor",
        "replicate",
        "preemptible",
    ],
    later: &["launcher", "executor", "sandbox", "terminal"],
};

pub(super) const MONITOR: Shape = Shape {
    name: "Monitor",
    fields: &["progress", "stall", "on_stall", "heartbeat", "on_heartbeat", "drift", "on_drift"],
    later: &[],
};

pub(super) const REPLICATE: Shape = Shape { name: "Replicate", fields: &["runs", "agree", "by"], later: &[] };

pub(super) const LIMITS: Shape =
    Shape { name: "Limits", fields: &["memory", "nice", "cpu", "files", "processes"], later: &[] };

pub(super) const CHECK: Shape = Shape { name: "Check", fields: &["of", "weight", "optional"], later: &[] };

pub(super) const JSON: Shape =
    Shape { name: "Json", fields: &["file", "at", "at_least", "at_most", "equals"], later: &[] };

pub(super) const RETRY: Shape = Shape { name: "Retry", fields: &["attempts", "backoff", "on"], later: &[] };

pub(super) const EXPONENTIAL: Shape = Shape { name: "Exponential", fields: &["base", "max", "jitter"], later: &[] };

pub(super) const APPROVAL: Shape = Shape { name: "Approval", fields: &["text", "timeout", "on_timeout"], later: &[] };

pub(super) const SUBWORKFLOW: Shape = Shape { name: "Subworkflow", fields: &["file", "params"], later: &[] };

pub(super) const MESSAGE: Shape = Shape { name: "Message", fields: &["text", "priority"], later: &[] };

/// `type: QualityGate(…)` of a task.
pub(super) const TASK_GATE: Shape =
    Shape { name: "QualityGate", fields: &["checks", "timeout", "on_fail", "on_timeout"], later: &[] };

/// One of `gates`.
pub(super) const GATE: Shape = Shape {
    name: "QualityGate",
    fields: &[
        "id",
        "after",
        "checks",
        "timeout",
        "on_fail",
        "on_timeout",
        "priority",
        "deadline",
        "tags",
        "when",
        "window",
    ],
    later: &[],
};

pub(super) const QUORUM: Shape = Shape { name: "Quorum", fields: &["votes", "of", "veto", "text"], later: &[] };

pub(super) const COMMAND: Shape =
    Shape { name: "Command", fields: &["run", "exec", "env", "cwd", "patience"], later: &[] };

pub(super) const SENSOR: Shape = Shape {
    name: "Sensor",
    fields: &[
        "file",
        "changed",
        "tcp",
        "run",
        "exec",
        "http",
        "status",
        "env",
        "cwd",
        "interval",
        "patience",
        "timeout",
        "on_timeout",
    ],
    later: &[],
};

pub(super) const START_RATE: Shape = Shape { name: "StartRate", fields: &["amount", "per"], later: &[] };

pub(super) const BREAKER: Shape =
    Shape { name: "CircuitBreaker", fields: &["failures", "within", "cool_down"], later: &[] };

pub(super) const WINDOW: Shape = Shape { name: "Window", fields: &["from", "to", "days"], later: &[] };

/// A rule of `policy` for all tasks; every field is wanted.
pub(super) const EVERY: Shape = Shape { name: "Every", fields: &["has"], later: &["level"] };

/// A rule of `policy` for the tasks with a tag; every field is wanted.
pub(super) const TAGGED: Shape = Shape { name: "Tagged", fields: &["tag", "has"], later: &["level"] };

pub(super) const ADOPT: Shape = Shape { name: "Adopt", fields: &["grace"], later: &[] };

/// As a fallback: with what is tried after it.
pub(super) const RETRY_FALLBACK: Shape =
    Shape { name: "Retry", fields: &["attempts", "backoff", "on", "fallback"], later: &[] };

pub(super) const OTHER_AGENT: Shape = Shape { name: "OtherAgent", fields: &["fallback"], later: &[] };

pub(super) const DEGRADE: Shape = Shape { name: "Degrade", fields: &["env", "uses", "fallback"], later: &["params"] };

pub(super) const ESCALATE: Shape = Shape { name: "Escalate", fields: &["text", "timeout", "on_timeout"], later: &[] };

pub(super) const BARRIER: Shape =
    Shape { name: "Barrier", fields: &["parties", "timeout", "on_broken", "inside"], later: &[] };

pub(super) const COMPENSATION: Shape = Shape {
    name: "Compensation",
    fields: &["run", "exec", "env", "cwd", "timeout", "retry", "after_failure"],
    later: &["needs", "uses", "agent", "fallback"],
};

pub(super) const ALTERNATIVE: Shape = Shape {
    name: "Alternative",
    fields: &["run", "exec", "env", "cwd", "fallback"],
    later: &["needs", "uses", "agent", "timeout", "retry"],
};

/// The structs whose fields are worth a hint when one stands in the wrong one.
const SHAPES: [&Shape; 5] = [&WORKFLOW, &AGENT, &STAGE, &TASK, &RETRY];

/// What was read of one struct.
pub(super) struct Fields<'n, 'a> {
    found: SmallVec<[(&'static str, &'n Node<'a>); 8]>,
}

impl<'n, 'a> Fields<'n, 'a> {
    /// The field's value; `Some(x)` is `x`, `None` is absent.
    pub fn get(&self, name: &str) -> Option<&'n Node<'a>> {
        self.found.iter().find(|(found, _)| *found == name).and_then(|(_, node)| present(node))
    }
}

/// `Some(x)` is `x`, `None` is absent: with `implicit_some` and without.
fn present<'n, 'a>(node: &'n Node<'a>) -> Option<&'n Node<'a>> {
    match &node.kind {
        Kind::Word("None") => None,
        Kind::Tuple(Some(name), items) if name.text == "Some" && items.len() == 1 => present(&items[0]),
        _ => Some(node),
    }
}

/// A field of a struct, without any diagnostic.
pub(super) fn peek<'n, 'a>(node: &'n Node<'a>, field: &str) -> Option<&'n Node<'a>> {
    let Kind::Struct(_, fields) = &node.kind else { return None };
    fields.iter().find(|(name, _)| name.text == field).and_then(|(_, value)| present(value))
}

/// Where to point when a whole struct is meant: its name, or all of it.
pub(super) fn head(node: &Node<'_>) -> Extent {
    match &node.kind {
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) => name.at,
        Kind::Struct(None, _) | Kind::Tuple(None, _) | Kind::List(_) | Kind::Map(_) => {
            Extent { start: node.at.start, end: node.at.start + 1 }
        }
        _ => node.at,
    }
}

/// Bytes `start..end` of a text's content in the file; all of the text where escapes moved them.
pub(super) fn within(node: &Node<'_>, start: usize, end: usize) -> Extent {
    let Kind::Text(std::borrow::Cow::Borrowed(text)) = &node.kind else { return node.at };
    let quotes = (node.at.end - node.at.start) as usize - text.len();
    let base = node.at.start as usize + quotes.div_ceil(2);
    Extent::new(base + start, base + end)
}

/// A text and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'n> {
    pub text: &'n str,
    pub at: Extent,
}

/// Reads values of a known kind; what is wrong goes to `findings`.
#[derive(Default)]
pub(super) struct Reader {
    pub findings: Findings,
    /// What is wrong in files that this one runs as parts.
    pub parts: Vec<Diagnostics>,
}

impl Reader {
    pub fn within(&mut self, part: Diagnostics) {
        self.parts.push(part);
    }

    /// All that is wrong, with its places.
    pub fn told(self, source: &Source<'_>) -> Diagnostics {
        let mut all = self.findings.locate(source);
        self.parts.into_iter().for_each(|part| all.append(part));
        all
    }

    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// `what` is not of the kind it should be.
    pub fn wrong(&mut self, node: &Node<'_>, what: &str, wanted: &str, help: &str) {
        let finding = Finding::new(head(node), format!("`{what}` wants {wanted}, not {}", describe(node)))
            .label(format!("expected {wanted}"));
        self.report(if help.is_empty() { finding } else { finding.help(help) });
    }

    // ── structs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The known fields of a struct; unknown and doubled ones are reported.
    pub fn fields<'n, 'a>(&mut self, node: &'n Node<'a>, shape: &Shape) -> Option<Fields<'n, 'a>> {
        let no_fields: &[_] = &[];
        let (name, written) = match &node.kind {
            Kind::Struct(name, fields) => (name, fields.as_slice()),
            Kind::Tuple(name, items) if items.is_empty() => (name, no_fields),
            Kind::Word(word) if *word == shape.name => return Some(Fields { found: SmallVec::new() }),
            _ => {
                let example = format!("write {}({}: …)", shape.name, shape.fields[0]);
                self.wrong_struct(node, shape, example);
                return None;
            }
        };
        if name.as_ref().is_some_and(|name| name.text != shape.name) {
            self.wrong_struct(node, shape, String::new());
            return None;
        }
        let mut found: SmallVec<[(&'static str, &'n Node<'a>); 8]> = SmallVec::new();
        let mut places: SmallVec<[Extent; 8]> = SmallVec::new();
        for (name, value) in written {
            let Some(known) = shape.fields.iter().find(|known| **known == name.text) else {
                self.unknown_field(name.text, name.at, shape);
                continue;
            };
            if let Some(index) = found.iter().position(|(found, _)| found == known) {
                let twice = Finding::new(name.at, format!("`{known}` stands twice in one {}", shape.name));
                self.report(twice.label("a second time").also(places[index], "the first time"));
                continue;
            }
            found.push((known, value));
            places.push(name.at);
        }
        Some(Fields { found })
    }

    fn wrong_struct(&mut self, node: &Node<'_>, shape: &Shape, help: String) {
        let (name, found) = (shape.name, describe(node));
        let mut finding = Finding::new(head(node), format!("expected {name}(…), found {found}"))
            .label(format!("{name}(…) should stand here"));
        if let Kind::Struct(Some(found), _) | Kind::Tuple(Some(found), _) = &node.kind {
            finding = finding.maybe_help(did_you_mean(found.text, [name]));
        }
        self.report(if help.is_empty() { finding } else { finding.help(help) });
    }

    fn unknown_field(&mut self, field: &str, at: Extent, shape: &Shape) {
        if shape.later.contains(&field) {
            return self.not_yet(field, at);
        }
        let message = format!("{} has no field `{}`", shape.name, shown(field));
        let hint = if self.findings.is_full() { None } else { Some(field_hint(field, shape)) };
        self.report(Finding::new(at, message).label("unknown field").maybe_help(hint));
    }

    /// A word of the language that this version does not have.
    pub fn not_yet(&mut self, word: &str, at: Extent) {
        self.report(
            Finding::new(at, format!("`{word}` is not supported yet")).label("take it out to run the rest without it"),
        );
    }

    // ── plain values ────────────────────────────────────────────────────────────────────────────────────────────────

    pub fn text<'n>(&mut self, node: &'n Node<'_>, what: &str) -> Option<Word<'n>> {
        if let Kind::Text(text) = &node.kind {
            return Some(Word { text, at: node.at });
        }
        let help = match &node.kind {
            Kind::Word(word) => format!("text stands in double quotes: \"{}\"", shown(word)),
            Kind::Number(number) => format!("text stands in double quotes: \"{}\"", shown(number)),
            Kind::List(_) if what == "run" => "a program and its arguments as a list is `exec`".to_owned(),
            _ => String::new(),
        };
        self.wrong(node, what, "a text", &help);
        None
    }

    /// A whole number of `least..=most`.
    pub fn integer(&mut self, node: &Node<'_>, what: &str, least: i64, most: i64) -> Option<i64> {
        let Kind::Number(written) = node.kind else {
            self.wrong(node, what, "a whole number", "");
            return None;
        };
        let number: Option<i64> = ron::from_str(written).ok();
        if let Some(number) = number.filter(|number| (least..=most).contains(number)) {
            return Some(number);
        }
        let message = format!("`{what}` cannot be {}", shown(written));
        self.report(Finding::new(node.at, message).label(format!("a whole number from {least} to {most}")));
        None
    }

    /// A number from 0 to 1.
    pub fn share(&mut self, node: &Node<'_>, what: &str) -> Option<f64> {
        let number: Option<f64> = match node.kind {
            Kind::Number(written) => ron::from_str(written).ok(),
            Kind::Word("NaN" | "inf") => None,
            _ => {
                self.wrong(node, what, "a number from 0 to 1", "");
                return None;
            }
        };
        let number = number.filter(|number| (0.0..=1.0).contains(number));
        if number.is_none() {
            let message = format!("`{what}` is a share: a number from 0 to 1");
            self.report(Finding::new(node.at, message).label("outside of 0 to 1"));
        }
        number
    }

    /// A length of time.
    pub fn duration(&mut self, node: &Node<'_>, what: &str, zero: Zero) -> Option<Span> {
        let mut help = units::DURATION_HELP.to_owned();
        let why = match &node.kind {
            Kind::Text(text) => match units::duration(text) {
                Ok(Span(0)) if matches!(zero, Zero::Refused) => "it must be longer than nothing".to_owned(),
                Ok(span) => return Some(span),
                Err(why) => why,
            },
            Kind::Number(written) => {
                help = format!("did you mean \"{}s\"? {help}", shown(written));
                "a unit is missing, and the quotes".to_owned()
            }
            _ => {
                self.wrong(node, what, "a length of time", units::DURATION_HELP);
                return None;
            }
        };
        let finding = Finding::new(node.at, format!("`{what}`: {why}")).label("not a length of time");
        self.report(finding.help(help));
        None
    }

    /// A positive amount.
    pub fn amount(&mut self, node: &Node<'_>, what: &str) -> Option<Amount> {
        let amount = match &node.kind {
            Kind::Text(text) => units::amount(text),
            Kind::Number(written) => units::amount_of_number(written),
            _ => {
                self.wrong(node, what, "an amount", units::AMOUNT_HELP);
                return None;
            }
        };
        let why = match amount {
            Ok(Amount(0)) => "an amount of nothing".to_owned(),
            Ok(amount) => return Some(amount),
            Err(why) => why,
        };
        self.report(Finding::new(node.at, format!("`{}`: {why}", shown(what))).label(why).help(units::AMOUNT_HELP));
        None
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, node: &Node<'_>, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let word = match &node.kind {
            Kind::Word(word) => Some(*word),
            Kind::Text(text) => Some(text.as_ref()),
            _ => None,
        };
        if let Kind::Word(word) = &node.kind
            && let Some((_, value)) = choices.iter().find(|(name, _)| name == word)
        {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let help = match &node.kind {
            Kind::Text(text) if names.contains(&text.as_ref()) => Some(format!("write it without quotes: {text}")),
            _ => word.and_then(|word| did_you_mean(word, names.iter().copied())),
        };
        let finding = Finding::new(head(node), format!("`{what}` cannot be {}", describe(node)));
        self.report(finding.label(format!("one of {}", names.join(", "))).maybe_help(help));
        None
    }

    // ── lists and maps ──────────────────────────────────────────────────────────────────────────────────────────────

    pub fn list<'n, 'a>(&mut self, node: &'n Node<'a>, what: &str) -> &'n [Node<'a>] {
        if let Kind::List(items) = &node.kind {
            return items;
        }
        let help = match &node.kind {
            Kind::Text(text) => format!("a list of one: [\"{}\"]", shown(text)),
            _ => String::new(),
        };
        self.wrong(node, what, "a list: […]", &help);
        &[]
    }

    /// A list of texts; those that are none are reported and left out.
    pub fn texts<'n>(&mut self, node: &'n Node<'_>, what: &str) -> Vec<Word<'n>> {
        self.list(node, what).iter().filter_map(|item| self.text(item, what)).collect()
    }

    /// A map with texts as keys; a doubled key is reported, and its first value stands.
    pub fn map<'n, 'a>(&mut self, node: &'n Node<'a>, what: &str) -> Vec<(Word<'n>, &'n Node<'a>)> {
        let Kind::Map(entries) = &node.kind else {
            let empty = matches!(&node.kind, Kind::Tuple(None, items) if items.is_empty());
            let help = if empty { "an empty map is {}" } else { "a map looks like this: { \"name\": value }" };
            self.wrong(node, what, "a map: {…}", help);
            return Vec::new();
        };
        let mut first = FirstPlaces::of(entries.len());
        let mut read = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let Kind::Text(text) = &key.kind else {
                let finding = Finding::new(head(key), format!("a key of `{what}` is a text, not {}", describe(key)));
                self.report(finding.label("expected a text").help("keys of a map stand in double quotes"));
                continue;
            };
            if let Some(earlier) = first.place(text, key.at) {
                let twice = Finding::new(key.at, format!("`{}` stands twice in `{what}`", shown(text)));
                self.report(twice.label("a second time").also(earlier, "the first time"));
                continue;
            }
            read.push((Word { text, at: key.at }, value));
        }
        read
    }
}

/// Where each key of a map or value of a list stood first: most are so short that looking through them is quickest.
pub(super) enum FirstPlaces<'n> {
    Few(SmallVec<[(&'n str, Extent); 8]>),
    Many(HashMap<&'n str, Extent>),
}

impl<'n> FirstPlaces<'n> {
    pub fn of(count: usize) -> Self {
        if count <= 8 { Self::Few(SmallVec::new()) } else { Self::Many(HashMap::with_capacity(count)) }
    }

    /// Where `key` stood before, if it did; else it is noted as standing `at`.
    pub fn place(&mut self, key: &'n str, at: Extent) -> Option<Extent> {
        match self {
            Self::Few(list) => {
                let found = list.iter().find(|(known, _)| *known == key).map(|(_, at)| *at);
                if found.is_none() {
                    list.push((key, at));
                }
                found
            }
            Self::Many(map) => {
                let found = map.get(key).copied();
                map.entry(key).or_insert(at);
                found
            }
        }
    }
}

/// Whether nothing is a length of time that makes sense.
pub(super) enum Zero {
    Allowed,
    Refused,
}

/// What other systems call our fields.
const ALIASES: [(&str, &str); 16] = [
    ("cmd", "run"),
    ("command", "run"),
    ("shell", "run"),
    ("script", "run"),
    ("args", "exec"),
    ("depends_on", "after"),
    ("depends", "after"),
    ("deps", "after"),
    ("requires", "needs"),
    ("name", "id"),
    ("id", "name"),
    ("retries", "retry"),
    ("environment", "env"),
    ("dir", "cwd"),
    ("matrix", "foreach"),
    ("strategy", "foreach"),
];

fn field_hint(field: &str, shape: &Shape) -> String {
    let alias = ALIASES.iter().find(|(alias, ours)| *alias == field && shape.fields.contains(ours));
    if let Some((_, ours)) = alias {
        return format!("did you mean `{ours}`?");
    }
    if let Some(near) = super::suggest::nearest(field, shape.fields.iter().chain(shape.later).copied()) {
        let later = if shape.later.contains(&near) { " (which is not supported yet)" } else { "" };
        return format!("did you mean `{near}`?{later}");
    }
    if let Some(other) = SHAPES.iter().find(|other| other.fields.contains(&field)) {
        return format!("`{}` is a field of {}", shown(field), other.name);
    }
    format!("{} has: {}", shape.name, shape.fields.join(", "))
}

/// What stands there, in words.
pub(super) fn describe(node: &Node<'_>) -> String {
    match &node.kind {
        Kind::Text(_) => "a text".into(),
        Kind::Number(_) => "a number".into(),
        Kind::Word(word) => format!("`{}`", shown(word)),
        Kind::Other => "a character or bytes".into(),
        Kind::List(_) => "a list".into(),
        Kind::Map(_) => "a map".into(),
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) => format!("{}(…)", shown(name.text)),
        Kind::Struct(None, _) | Kind::Tuple(None, _) => "(…)".into(),
    }
}
