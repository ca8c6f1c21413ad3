//! What a task asks to be done around its command: `restore`, `limits`, `inputs`, `outputs`, `validate`, `publishes`. Knows
//! nothing of how it is done.

use std::path::{Component, Path};
use std::sync::Arc;

use super::conditions::Scope;
use super::diagnostic::{Finding, shown};
use super::foreach::Each;
use super::params::known_later;
use super::published::pointer;
use super::schema::{CHECK, Fields, JSON, LIMITS, Reader, Zero, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::care::{Care, Check, Is, Limits, PATTERN_BYTES, Publish, Source, VALIDATIONS_MOST, Validation};
use crate::engine::condition::Value;
use crate::engine::ids::Span;

/// The fields that are read here.
pub(super) const FIELDS: [&str; 7] = ["restore", "limits", "inputs", "outputs", "rerun", "validate", "publishes"];

/// A task names at most so many paths of a kind.
const PATHS_MOST: usize = 1_000;

/// The checks that can be written.
const CHECKS: [&str; 7] = ["FileExists", "FileHas", "FileLacks", "LogHas", "LogLacks", "Json", "Command"];

const HOW: &str =
    "for example validate: [FileExists(\"target/app\"), LogLacks(\"warning: unused\"), Command(\"./smoke.sh\")]";

/// Reads all of it; `declared` is what the task publishes, its files as written.
pub(super) fn read(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    each: Each<'_>,
    fields: &Fields<'_, '_>,
    declared: &[Publish],
) -> Option<Arc<Care>> {
    if declared.is_empty() && FIELDS.iter().all(|name| fields.get(name).is_none()) {
        return None;
    }
    let texts = Texts { scope, each };
    let mut care = Care::default();
    if let Some(node) = fields.get("restore") {
        care.restore = texts.paths(reader, node, "restore");
        restorable(reader, node, &care.restore);
    }
    care.limits = fields.get("limits").map(|node| limits(reader, node)).unwrap_or_default();
    care.inputs = fields.get("inputs").map(|node| texts.paths(reader, node, "inputs")).unwrap_or_default();
    care.outputs = fields.get("outputs").map(|node| texts.paths(reader, node, "outputs")).unwrap_or_default();
    care.up_to_date = !care.inputs.is_empty();
    if let Some(node) = fields.get("rerun") {
        let choices = [("IfChanged", true), ("Always", false)];
        let if_changed = reader.choice(node, "rerun", &choices).unwrap_or(false);
        if if_changed && fields.get("inputs").is_none() {
            let finding = Finding::new(head(node), "`rerun: IfChanged` without `inputs`: nothing could ever change");
            reader.report(finding.label("changed is what?").help("name what it reads: inputs: [\"src/**/*.c\"]"));
        }
        care.up_to_date &= if_changed;
    }
    care.validate = fields.get("validate").map(|node| texts.validations(reader, node)).unwrap_or_default();
    // The runs of a replicated task publish a digest also if it says nothing.
    care.publishes = declared.to_vec();
    if let Some(node) = fields.get("publishes") {
        for publish in &mut care.publishes {
            if let Source::JsonFile { file, .. } | Source::Digest { file: Some(file) } = &mut publish.from {
                *file = texts.fill(reader, node, file);
            }
        }
    }
    Some(Arc::new(care))
}

/// Texts of a task, their parameters and keys replaced.
struct Texts<'s, 'n, 'r> {
    scope: Scope<'s, 'n>,
    each: Each<'r>,
}

impl Texts<'_, '_, '_> {
    fn fill(&self, reader: &mut Reader, node: &Node<'_>, text: &str) -> String {
        let text = self.scope.fixed(reader, node, text, self.each.row());
        if text.contains('\0') {
            reader.report(Finding::new(node.at, "this text holds a NUL").label("no path and no command can hold one"));
        }
        text
    }

    fn text(&self, reader: &mut Reader, node: &Node<'_>, what: &str) -> Option<String> {
        let word = reader.text(node, what)?;
        Some(self.fill(reader, node, word.text))
    }

    fn paths(&self, reader: &mut Reader, node: &Node<'_>, what: &str) -> Vec<String> {
        let items = reader.list(node, what);
        if items.len() > PATHS_MOST {
            let finding = Finding::new(head(node), format!("more than {PATHS_MOST} paths in `{what}`"));
            reader
                .report(finding.label("too many").help("a folder or a pattern stands for many files: \"src/**/*.c\""));
            return Vec::new();
        }
        let mut paths = Vec::with_capacity(items.len());
        for item in items {
            let Some(path) = self.text(reader, item, what) else { continue };
            if path.trim().is_empty() {
                reader.report(
                    Finding::new(item.at, format!("an empty path in `{what}`")).label("a path should stand here"),
                );
                continue;
            }
            if what != "restore"
                && let Err(error) = globset::Glob::new(&path)
            {
                let finding =
                    Finding::new(item.at, format!("`{}` is no pattern of files: {}", shown(&path), error.kind()));
                reader.report(
                    finding
                        .label("here")
                        .help("`*` stands for part of a name, `**` for folders, `[ab]` for one of these"),
                );
            }
            paths.push(path);
        }
        if items.is_empty() && matches!(&node.kind, Kind::List(_)) {
            let finding = Finding::new(head(node), format!("`{what}` names nothing"));
            reader.report(finding.label("an empty list").help("leave it out"));
        }
        paths
    }

    // ── checks ──────────────────────────────────────────────────────────────────────────────────────────────────────

    fn validations(&self, reader: &mut Reader, node: &Node<'_>) -> Vec<Validation> {
        let items = reader.list(node, "validate");
        if items.len() > VALIDATIONS_MOST {
            let finding = Finding::new(head(node), format!("a task has at most {VALIDATIONS_MOST} checks"));
            reader.report(finding.label("too many").help("put them into a script and let Command(\"…\") run it"));
            return Vec::new();
        }
        items.iter().filter_map(|item| self.validation(reader, item)).collect()
    }

    /// A check, or `Check(a check, weight: 2, optional: true)`.
    fn validation(&self, reader: &mut Reader, node: &Node<'_>) -> Option<Validation> {
        let weighed = matches!(&node.kind, Kind::Struct(Some(name), _) if name.text == "Check");
        if !weighed {
            return Some(Validation { check: self.check(reader, node)?, weight: 1, optional: false });
        }
        let fields = reader.fields(node, &CHECK)?;
        let weight = fields.get("weight").map(|node| reader.integer(node, "weight", 1, 1_000_000));
        let choices = [("true", true), ("false", false)];
        let optional = fields.get("optional").map(|node| reader.choice(node, "optional", &choices));
        let Some(of) = fields.get("of") else {
            let finding = Finding::new(head(node), "this check checks nothing");
            reader.report(
                finding.label("`of` is missing").help("write Check(of: FileExists(\"a\"), weight: 2, optional: true)"),
            );
            return None;
        };
        Some(Validation {
            check: self.check(reader, of)?,
            weight: u32::try_from(weight.unwrap_or(Some(1))?).ok()?,
            optional: optional.unwrap_or(Some(false))?,
        })
    }

    fn check(&self, reader: &mut Reader, node: &Node<'_>) -> Option<Check> {
        let (name, items) = match &node.kind {
            Kind::Tuple(Some(name), items) => (name.text, items.as_slice()),
            Kind::Struct(Some(name), _) if name.text == "Json" => return self.json(reader, node),
            Kind::Struct(Some(name), _) => (name.text, &[][..]),
            Kind::Word(word) => (*word, &[][..]),
            _ => ("", &[][..]),
        };
        let wants: &[&str] = match name {
            "FileExists" => &["path"],
            "FileHas" | "FileLacks" => &["path", "pattern"],
            "LogHas" | "LogLacks" => &["pattern"],
            "Command" => &["command"],
            "Json" => {
                let finding = Finding::new(head(node), "`Json` names what it looks at");
                reader.report(finding.label("its fields are missing").help(JSON_HOW));
                return None;
            }
            _ => {
                let finding = Finding::new(head(node), format!("{} is no check", describe(node)));
                let help = did_you_mean(name, CHECKS).unwrap_or_else(|| HOW.to_owned());
                reader.report(finding.label(format!("expected one of {}", CHECKS.join(", "))).help(help));
                return None;
            }
        };
        if items.len() != wants.len() {
            let parts: Vec<String> = wants.iter().map(|word| format!("\"{word}\"")).collect();
            let finding = Finding::new(head(node), format!("`{name}` is written {name}({})", parts.join(", ")));
            reader.report(finding.label("its parts do not fit"));
            return None;
        }
        if name == "Command" {
            let word = reader.text(&items[0], name)?;
            let replaced = self.scope.in_shell(reader, &items[0], word.text, self.each.row());
            if !replaced.later.is_empty() {
                known_later(reader, &items[0]);
            }
            if replaced.text.trim().is_empty() {
                reader.report(Finding::new(items[0].at, "an empty command").label("a command should stand here"));
            }
            return Some(Check::Command { line: replaced.text, env: replaced.env });
        }
        let mut texts = Vec::with_capacity(items.len());
        for (item, want) in items.iter().zip(wants) {
            let text = self.text(reader, item, name)?;
            if *want == "pattern" {
                compile(reader, item, &text)?;
            }
            texts.push(text);
        }
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        Some(match name {
            "FileExists" => Check::FileExists(next()),
            "FileHas" => Check::FileHas { file: next(), pattern: next() },
            "FileLacks" => Check::FileLacks { file: next(), pattern: next() },
            "LogHas" => Check::LogHas(next()),
            _ => Check::LogLacks(next()),
        })
    }

    /// `Json(file: "report.json", at: "/coverage", at_least: 80)`.
    fn json(&self, reader: &mut Reader, node: &Node<'_>) -> Option<Check> {
        let fields = reader.fields(node, &JSON)?;
        let (Some(file), Some(at)) = (fields.get("file"), fields.get("at")) else {
            let finding = Finding::new(head(node), "`Json` does not say where to look");
            reader.report(finding.label("`file` and `at` are needed").help(JSON_HOW));
            return None;
        };
        let file = self.text(reader, file, "file")?;
        let place = self.text(reader, at, "at")?;
        pointer(reader, at, &place)?;
        let words = ["at_least", "at_most", "equals"];
        let given: Vec<&str> = words.into_iter().filter(|word| fields.get(word).is_some()).collect();
        let [word] = given.as_slice() else {
            let message = if given.is_empty() { "`Json` compares with nothing" } else { "`Json` compares twice" };
            let finding = Finding::new(head(node), message).label("one of at_least, at_most, equals");
            reader.report(finding.help(JSON_HOW));
            return None;
        };
        let node = fields.get(word)?;
        let number = |reader: &mut Reader| {
            let number = if let Kind::Number(written) = node.kind { ron::from_str::<f64>(written).ok() } else { None };
            if number.is_none_or(|number| !number.is_finite()) {
                reader.wrong(node, word, "a number", "");
            }
            number.filter(|number| number.is_finite())
        };
        let is = match *word {
            "at_least" => Is::AtLeast(number(reader)?),
            "at_most" => Is::AtMost(number(reader)?),
            _ => Is::Equals(self.value(reader, node)?),
        };
        Some(Check::Json { file, at: place, is })
    }

    fn value(&self, reader: &mut Reader, node: &Node<'_>) -> Option<Value> {
        match &node.kind {
            Kind::Text(_) => Some(Value::from(self.text(reader, node, "equals")?.as_str())),
            Kind::Word("true") => Some(Value::Bool(true)),
            Kind::Word("false") => Some(Value::Bool(false)),
            Kind::Number(written) => match ron::from_str::<i64>(written) {
                Ok(whole) => Some(Value::Int(whole)),
                Err(_) => ron::from_str::<f64>(written).ok().filter(|number| number.is_finite()).map(Value::Float),
            },
            _ => {
                reader.wrong(node, "equals", "a text, a number, true or false", "");
                None
            }
        }
    }
}

const JSON_HOW: &str = "for example Json(file: \"report.json\", at: \"/total/coverage\", at_least: 80)";

/// A pattern that could not be used is told where it stands.
pub(super) fn compile(reader: &mut Reader, node: &Node<'_>, pattern: &str) -> Option<regex::bytes::Regex> {
    let error = match regex::bytes::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build() {
        Ok(regex) => return Some(regex),
        Err(error) => error.to_string(),
    };
    // Its last line says what is wrong; the ones before draw the pattern.
    let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let finding = Finding::new(node.at, format!("`{}` is no pattern: {why}", shown(pattern)));
    reader.report(
        finding
            .label("a regular expression")
            .help("a sign that means itself is written with a backslash: \\\\( or r\"\\(\""),
    );
    None
}

/// What is put back takes the place of what is there, so it has a name, and holds more than itself.
fn restorable(reader: &mut Reader, node: &Node<'_>, paths: &[String]) {
    let Kind::List(items) = &node.kind else { return };
    for (path, item) in paths.iter().zip(items) {
        if !matches!(Path::new(path).components().next_back(), Some(Component::Normal(_))) {
            let finding = Finding::new(item.at, format!("`{}` cannot be put back", shown(path)));
            reader.report(finding.label("a file or a folder with a name should stand here"));
        }
    }
}

fn limits(reader: &mut Reader, node: &Node<'_>) -> Limits {
    let Some(fields) = reader.fields(node, &LIMITS) else { return Limits::default() };
    let memory = fields.get("memory").and_then(|node| {
        if matches!(node.kind, Kind::Number(_)) {
            reader.wrong(node, "memory", "an amount with a unit", "for example memory: \"512MiB\"");
            return None;
        }
        reader.amount(node, "memory").map(|amount| amount.0 / 1000)
    });
    let count = |reader: &mut Reader, name: &str, most: u32| {
        let node = fields.get(name)?;
        reader.integer(node, name, 1, i64::from(most)).and_then(|number| u32::try_from(number).ok())
    };
    let cpu = fields.get("cpu").and_then(|node| {
        let span = reader.duration(node, "cpu", Zero::Refused)?;
        if span < Span(1_000) {
            let finding = Finding::new(node.at, "`cpu`: at least a second of CPU time").label("too short");
            reader.report(finding);
            return None;
        }
        Some(span)
    });
    let nice = fields.get("nice").and_then(|node| reader.integer(node, "nice", 0, 19));
    Limits {
        memory,
        nice: nice.and_then(|nice| u8::try_from(nice).ok()),
        cpu,
        files: count(reader, "files", 1_000_000),
        processes: count(reader, "processes", 1_000_000),
    }
}
