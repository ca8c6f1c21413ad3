//! Parameters: their defaults in the file, their values on the command line, and `${params.name}` in commands; and there
//! also the `{key}` of a `foreach`, and `${task.id.out.name}` and `${metrics.name}`, whose values are known only when the
//! command starts. In shell text a value is never pasted (but for a plain word of a `foreach`): the reference becomes one to
//! an environment variable (`QD_PARAM_NAME`, `QD_EACH_KEY`, `QD_OUT_1`), in double quotes that fit what stands around it, so
//! no value can be read as code.

use indexmap::IndexMap;

use super::command::MAX_COMMAND_BYTES;
use super::conditions::Scope;
use super::diagnostic::{Extent, Finding, shown};
use super::foreach::{Cell, Row};
use super::published;
use super::schema::{Reader, Word, describe, within};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::care::ValueOf;
use crate::engine::definition::Param;
use crate::engine::shared;

/// What begins a reference.
const OPEN: &str = "${params.";

/// Slips for it that no shell would accept either.
const SLIPS: [&str; 5] = ["${param.", "${parameters.", "${parameter.", "${Params.", "${PARAMS."];

/// What begins a reference to a value that a task publishes.
const LATER: [&str; 2] = ["${task.", "${metrics."];

/// The parameters of a run.
#[derive(Default)]
pub(super) struct Params {
    /// By name, in the order of the file.
    pub values: IndexMap<String, Param>,
    /// What is shared from the start: `state` of the file.
    pub state: IndexMap<String, Param>,
}

/// A command's text with its references replaced, and the variables they now refer to.
pub(super) struct Replaced {
    pub text: String,
    pub env: Vec<(String, String)>,
    /// The variable of this number gets this value when the command starts.
    pub later: Vec<(usize, ValueOf)>,
}

/// A text that no shell reads, with its references replaced.
pub(super) struct Plain {
    pub text: String,
    /// Before this byte of it goes this value when the command starts; in order.
    pub later: Vec<(usize, ValueOf)>,
}

impl Params {
    /// The file's `params`, then what the command line says.
    ///
    /// What another file says, that this is part of, stands in the place of the command line.
    pub fn read(reader: &mut Reader, node: Option<&Node<'_>>, given: &[(String, String)], is_part: bool) -> Self {
        let mut params = Self::default();
        let mut variables: IndexMap<String, &str> = IndexMap::new();
        for (key, value) in node.map(|node| reader.map(node, "params")).unwrap_or_default() {
            if !is_name(key.text) {
                let message = format!("`{}` cannot be the name of a parameter", shown(key.text));
                reader.report(Finding::new(key.at, message).label("letters, digits, `_` and `-`, a letter first"));
                continue;
            }
            if let Some(other) = variables.insert(variable(key.text), key.text) {
                let message = format!("`{}` and `{other}` differ only in case or in `-` and `_`", key.text);
                let help = format!("commands would see both as {}", variable(key.text));
                reader.report(Finding::new(key.at, message).label("choose another name").help(help));
            }
            if let Some(value) = read_default(reader, value, key.text) {
                params.values.insert(key.text.to_owned(), value);
            }
        }
        for (name, text) in given {
            params.set(reader, name, text, if is_part { "" } else { "--param " });
        }
        params
    }

    /// The file's `state`.
    pub fn read_state(&mut self, reader: &mut Reader, node: &Node<'_>) {
        for (key, value) in reader.map(node, "state") {
            if !shared::is_key(key.text) {
                let message = format!("`{}` cannot be a key of the shared state", shown(key.text));
                let label = "letters, digits, `_`, `-`, `.` and `/`, a letter first";
                reader.report(Finding::new(key.at, message).label(label));
                continue;
            }
            if self.state.len() == shared::KEYS_MOST {
                let finding = Finding::new(key.at, format!("more than {} keys in `state`", shared::KEYS_MOST));
                return reader.report(finding.label("one too many"));
            }
            if let Some(value) = read_default(reader, value, key.text) {
                self.state.insert(key.text.to_owned(), value);
            }
        }
    }

    /// `--param name=text`.
    fn set(&mut self, reader: &mut Reader, name: &str, text: &str, prefix: &str) {
        let shown_text = format!("{prefix}{}={}", shown(name), shown(text));
        let name_at = Extent::new(prefix.len(), prefix.len() + shown(name).len());
        let value_at = Extent::new(name_at.end as usize + 1, shown_text.len());
        let Some(value) = self.values.get_mut(name) else {
            let names = self.values.keys().map(String::as_str);
            let help = did_you_mean(name, names).unwrap_or_else(|| match self.values.len() {
                0 => "the workflow has no `params`".to_owned(),
                _ => format!(
                    "it has: {}",
                    self.values.keys().take(20).map(String::as_str).collect::<Vec<_>>().join(", ")
                ),
            });
            let finding = Finding::argument(shown_text, name_at, format!("no parameter `{}`", shown(name)));
            return reader.report(finding.label("not in this workflow").help(help));
        };
        match parse_as(value, text) {
            Ok(parsed) => *value = parsed,
            Err(wanted) => {
                let message = format!("`{}` wants {wanted}, as its default is one", shown(name));
                reader.report(Finding::argument(shown_text, value_at, message).label(format!("expected {wanted}")));
            }
        }
    }

    fn unknown(&self, reader: &mut Reader, name: &str, at: Extent) {
        let help = did_you_mean(name, self.values.keys().map(String::as_str))
            .unwrap_or_else(|| format!("declare it: params: {{ \"{}\": \"its default\" }}", shown(name)));
        let finding = Finding::new(at, format!("no parameter `{}`", shown(name)));
        reader.report(finding.label("not in `params`").help(help));
    }
}

impl Scope<'_, '_> {
    /// For text of the shell; `row` are the values of a `foreach`, if the task has one.
    pub fn in_shell(self, reader: &mut Reader, node: &Node<'_>, text: &str, row: Option<&Row<'_>>) -> Replaced {
        let mut env: Vec<(String, String)> = Vec::new();
        let mut later: Vec<(usize, ValueOf)> = Vec::new();
        let mut quotes = Quotes::default();
        let text = self.replace(reader, node, text, row, |reader, site| {
            quotes.advance(site.before);
            let (variable, value, written) = match &site.what {
                What::Param(name, value) => (variable(name), param_text(value), format!("${{params.{name}}}")),
                What::Later(value, written) => {
                    let known = later.iter().find(|(_, known)| known == value).map(|(number, _)| *number);
                    let number = known.unwrap_or(env.len());
                    if known.is_none() {
                        later.push((number, value.clone()));
                    }
                    let published = later.iter().filter(|(_, value)| *value != ValueOf::Each);
                    let place = published.into_iter().position(|(at, _)| *at == number).unwrap_or(0);
                    let variable = format!("QD_OUT_{}", place + 1);
                    (variable, String::new(), (*written).to_owned())
                }
                What::Each(cell, written) if cell.later && !quotes.escaped => {
                    if !env.iter().any(|(name, _)| name == cell.variable) {
                        later.push((env.len(), ValueOf::Each));
                    }
                    (cell.variable.to_owned(), String::new(), (*written).to_owned())
                }
                What::Each(cell, written) => {
                    // `\{n}` is no key but how a brace is written in a shell
                    if quotes.escaped || (cell.is_plain() && !joins(site.before, site.after)) {
                        let becomes = if quotes.escaped { *written } else { cell.text.as_ref() };
                        quotes.advance(becomes);
                        return becomes.to_owned();
                    }
                    (cell.variable.to_owned(), cell.text.to_string(), (*written).to_owned())
                }
            };
            if quotes.here_document {
                let help = format!("set env: {{\"VALUE\": \"{written}\"}} and write \"$VALUE\"");
                let message = match site.what {
                    What::Param(..) => "a parameter cannot stand after a here-document (`<<`)",
                    What::Later(..) => "a published value cannot stand after a here-document (`<<`)",
                    What::Each(cell, _) if cell.later => {
                        "a value that is known later cannot stand after a here-document (`<<`)"
                    }
                    What::Each(..) => "only a plain word can stand after a here-document (`<<`)",
                };
                reader.report(Finding::new(site.at, message).label("cannot be quoted safely here").help(help));
            }
            let reference = quotes.reference(&variable);
            if !env.iter().any(|(name, _)| *name == variable) {
                env.push((variable, value));
            }
            reference
        });
        Replaced { text, env, later }
    }

    /// For an argument, a variable, a folder: no shell reads it, so the value stands there as it is.
    pub fn in_plain(self, reader: &mut Reader, node: &Node<'_>, text: &str, row: Option<&Row<'_>>) -> Plain {
        let mut later = Vec::new();
        let text = self.replace(reader, node, text, row, |_, site| match &site.what {
            What::Param(_, value) => param_text(value),
            What::Each(cell, _) if cell.later => {
                later.push((site.becomes_at, ValueOf::Each));
                String::new()
            }
            What::Each(cell, _) => cell.text.to_string(),
            What::Later(value, _) => {
                later.push((site.becomes_at, value.clone()));
                String::new()
            }
        });
        Plain { text, later }
    }

    /// For a text that must be known before the run.
    pub fn fixed(self, reader: &mut Reader, node: &Node<'_>, text: &str, row: Option<&Row<'_>>) -> String {
        let plain = self.in_plain(reader, node, text, row);
        if !plain.later.is_empty() {
            known_later(reader, node);
        }
        plain.text
    }

    /// `text` with what `put` makes of each reference; what the values hold is not looked at again.
    fn replace(
        self,
        reader: &mut Reader,
        node: &Node<'_>,
        text: &str,
        row: Option<&Row<'_>>,
        mut put: impl FnMut(&mut Reader, &Site<'_>) -> String,
    ) -> String {
        find_slips(reader, node, text);
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        let mut seen = 0;
        while let Some(brace) = text[seen..].find('{').map(|found| seen + found) {
            seen = brace + 1;
            let dollar = text[..brace].ends_with('$');
            let is_param = dollar && text[brace - 1..].starts_with(OPEN);
            let is_later = dollar && LATER.iter().any(|open| text[brace - 1..].starts_with(open));
            let start = if is_param || is_later { brace - 1 } else { brace };
            let (what, end) = if is_later {
                let Some(length) = closing(&text[start + 2..]).map(|length| length + 3) else {
                    let at = within(node, start, text.len());
                    reader.report(Finding::new(at, "a reference does not end").label("its `}` is missing"));
                    return out;
                };
                let end = start + length;
                let place = Word { text: &text[start + 2..end - 1], at: within(node, start, end) };
                let Some(value) = published::refer(reader, self, &place, row) else {
                    (done, seen) = (end, end);
                    continue;
                };
                (What::Later(value, &text[start..end]), end)
            } else if is_param {
                let Some(length) = text[start..].find('}') else {
                    let at = within(node, start, start + OPEN.len());
                    reader.report(Finding::new(at, "a reference does not end").label("its `}` is missing"));
                    return out;
                };
                let end = start + length + 1;
                let name = &text[start + OPEN.len()..end - 1];
                let Some(value) = self.params.values.get(name) else {
                    self.params.unknown(reader, name, within(node, start, end));
                    (done, seen) = (end, end);
                    continue;
                };
                (What::Param(name, value), end)
            } else {
                let Some((cell, length)) = row.filter(|_| !dollar).and_then(|row| row.at(&text[brace..])) else {
                    continue;
                };
                (What::Each(cell, &text[brace..brace + length]), brace + length)
            };
            let (before, after) = (&text[done..start], &text[end..]);
            out += before;
            out += &put(reader, &Site { before, after, what, at: within(node, start, end), becomes_at: out.len() });
            (done, seen) = (end, end);
            if out.len() > MAX_COMMAND_BYTES {
                let message = format!("longer than {MAX_COMMAND_BYTES} bytes with its values");
                let help = "put it into a script and run that";
                reader.report(Finding::new(node.at, message).label("too long to start").help(help));
                return out;
            }
        }
        out + &text[done..]
    }
}

/// A published value stands where only what is known before the run can.
pub(super) fn known_later(reader: &mut Reader, node: &Node<'_>) {
    let finding = Finding::new(node.at, "a published value cannot stand here");
    reader.report(finding.label("known only during the run").help("it can stand in run, exec, env and cwd"));
}

/// Where the brace closes that is open before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1_u32;
    text.bytes().position(|byte| {
        open = open + u32::from(byte == b'{') - u32::from(byte == b'}');
        open == 0
    })
}

/// A place where a value goes.
struct Site<'t> {
    /// The text since the last one.
    before: &'t str,
    /// All the text that follows.
    after: &'t str,
    what: What<'t>,
    at: Extent,
    /// Where in the new text its value goes.
    becomes_at: usize,
}

enum What<'t> {
    /// A parameter's name and value.
    Param(&'t str, &'t Param),
    /// A value of the task's `foreach`, and its key as written.
    Each(&'t Cell<'t>, &'t str),
    /// A value that is known only later, and how it is written.
    Later(ValueOf, &'t str),
}

/// Whether a shell would take a word put between these for a part of what stands around it: `$x` or `2>`.
fn joins(before: &str, after: &str) -> bool {
    let name = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    name.ends_with('$') || after.starts_with(['<', '>'])
}

fn find_slips(reader: &mut Reader, node: &Node<'_>, text: &str) {
    if !text.contains("${") {
        return;
    }
    for slip in SLIPS {
        if let Some(start) = text.find(slip) {
            let at = within(node, start, start + slip.len());
            reader.report(Finding::new(at, "a parameter is written ${params.name}").label("did you mean `${params.`?"));
        }
    }
}

/// A value as commands see it.
fn param_text(value: &Param) -> String {
    match value {
        Param::Bool(value) => value.to_string(),
        Param::Int(value) => value.to_string(),
        Param::Float(value) => value.to_string(),
        Param::Text(value) => value.clone(),
    }
}

pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The environment variable that holds a parameter: `QD_PARAM_` and its name in capitals, `-` as `_`.
fn variable(name: &str) -> String {
    format!("QD_PARAM_{}", name.to_ascii_uppercase().replace('-', "_"))
}

fn read_default(reader: &mut Reader, node: &Node<'_>, name: &str) -> Option<Param> {
    let value = match &node.kind {
        Kind::Text(text) if text.contains('\0') => None,
        Kind::Text(text) => Some(Param::Text(text.clone().into_owned())),
        Kind::Word("true") => Some(Param::Bool(true)),
        Kind::Word("false") => Some(Param::Bool(false)),
        Kind::Number(written) => number(written),
        _ => None,
    };
    if value.is_none() {
        let message = format!("the value of `{name}` cannot be {}", describe(node));
        let label = "expected a text without NUL, a number, true or false";
        reader.report(Finding::new(super::schema::head(node), message).label(label));
    }
    value
}

fn number(written: &str) -> Option<Param> {
    if let Ok(whole) = ron::from_str::<i64>(written) {
        return Some(Param::Int(whole));
    }
    ron::from_str::<f64>(written).ok().filter(|number| number.is_finite()).map(Param::Float)
}

/// `text` as a value of the same type as `default`, or what was wanted.
fn parse_as(default: &Param, text: &str) -> Result<Param, &'static str> {
    match default {
        Param::Bool(_) => text.parse().map(Param::Bool).map_err(|_| "true or false"),
        Param::Int(_) => text.trim().parse().map(Param::Int).map_err(|_| "a whole number"),
        Param::Float(_) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Param::Float(number)),
            _ => Err("a number"),
        },
        Param::Text(_) if text.contains('\0') => Err("a text without NUL"),
        Param::Text(_) => Ok(Param::Text(text.to_owned())),
    }
}

/// Which quotes of the shell are open. Only decides how a reference to a variable is quoted: were it ever wrong, a value
/// could be split into words or stay a name, but never become code.
#[derive(Default)]
struct Quotes {
    /// What is open, innermost last.
    open: Vec<Open>,
    /// The last character was a backslash that takes the next.
    escaped: bool,
    /// In a comment, up to the end of the line.
    comment: bool,
    /// The last character, to know where a word begins.
    last: Option<char>,
    /// `<<` was seen.
    here_document: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Single,
    Double,
    Parenthesis,
    Backquote,
}

impl Quotes {
    /// The reference, in quotes that fit.
    fn reference(&mut self, variable: &str) -> String {
        self.escaped = false;
        self.last = Some('}');
        match self.open.last() {
            Some(Open::Double) => format!("${{{variable}}}"),
            Some(Open::Single) => format!("'\"${{{variable}}}\"'"),
            Some(Open::Parenthesis | Open::Backquote) | None => format!("\"${{{variable}}}\""),
        }
    }

    fn advance(&mut self, text: &str) {
        for c in text.chars() {
            self.step(c);
            self.last = Some(c);
        }
    }

    fn step(&mut self, c: char) {
        let top = self.open.last().copied();
        if top == Some(Open::Single) {
            if c == '\'' {
                self.open.pop();
            }
            return;
        }
        if std::mem::take(&mut self.escaped) {
            return;
        }
        if self.comment {
            self.comment = c != '\n';
            return;
        }
        let word_begins = self.last.is_none_or(|last| last.is_whitespace() || matches!(last, ';' | '&' | '|' | '('));
        match (c, top) {
            ('\\', _) => self.escaped = true,
            ('"', Some(Open::Double)) => _ = self.open.pop(),
            ('"', _) => self.open.push(Open::Double),
            ('`', _) if self.open.contains(&Open::Backquote) => while self.open.pop() != Some(Open::Backquote) {},
            ('`', _) => self.open.push(Open::Backquote),
            ('(', Some(Open::Double)) if self.last != Some('$') => {}
            ('(', _) => self.open.push(Open::Parenthesis),
            (')', Some(Open::Parenthesis)) => _ = self.open.pop(),
            (_, Some(Open::Double)) => {}
            ('\'', _) => self.open.push(Open::Single),
            ('#', _) if word_begins => self.comment = true,
            ('<', _) if self.last == Some('<') => self.here_document = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn referred(text: &str) -> String {
        let mut params = Params::default();
        params.values.insert("x".into(), Param::Text("value".into()));
        let mut reader = Reader::default();
        let node = Node { at: Extent::new(0, text.len() + 2), kind: Kind::Text(text.into()) };
        let (names, published) = (super::super::order::Names::new("task"), published::Published::default());
        let scope = Scope { params: &params, tasks: &names, stages: &names, published: &published };
        let replaced = scope.in_shell(&mut reader, &node, text, None);
        assert_eq!(reader.findings.count(), 0, "{text}");
        replaced.text
    }

    #[test]
    fn a_reference_gets_the_quotes_that_fit_its_place() {
        for (written, becomes) in [
            ("a ${params.x} b", "a \"${QD_PARAM_X}\" b"),
            ("a \"${params.x}\" b", "a \"${QD_PARAM_X}\" b"),
            ("a '${params.x}' b", "a ''\"${QD_PARAM_X}\"'' b"),
            ("it\\'s ${params.x}", "it\\'s \"${QD_PARAM_X}\""),
            ("\"$(echo ${params.x})\"", "\"$(echo \"${QD_PARAM_X}\")\""),
            ("\"`echo ${params.x}`\"", "\"`echo \"${QD_PARAM_X}\"`\""),
            ("a # don't\nb ${params.x}", "a # don't\nb \"${QD_PARAM_X}\""),
            ("a#b'c' ${params.x}", "a#b'c' \"${QD_PARAM_X}\""),
            ("\"a (\" ${params.x}", "\"a (\" \"${QD_PARAM_X}\""),
            ("--to=${params.x}${params.x}", "--to=\"${QD_PARAM_X}\"\"${QD_PARAM_X}\""),
        ] {
            assert_eq!(referred(written), becomes, "{written}");
        }
    }
}
