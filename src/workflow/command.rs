//! What a task or an alternative runs: `run` or `exec`, with `env` and `cwd`, parameters and keys replaced. Knows no names of tasks.

use std::sync::Arc;

use super::conditions::Scope;
use super::diagnostic::{Finding, shown};
use super::foreach::Row;
use super::params::Plain;
use super::schema::{Fields, Reader, within};
use super::syntax::Node;
use crate::engine::care::{Reference, Slot, ValueOf};
use crate::engine::definition::{CommandLine, CommandSpec};

/// A command and what is added to its environment are no longer, in bytes: the kernel refuses a longer text.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024 - 1;

/// Reads the command out of the fields of `node`, which is called `what` in messages.
pub(super) fn read(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    row: Option<&Row<'_>>,
    node: &Node<'_>,
    fields: &Fields<'_, '_>,
    what: impl Fn() -> String,
) -> Option<Arc<CommandSpec>> {
    let before = reader.findings.count();
    let mut references = Vec::new();
    let mut env = read_env(reader, scope, row, fields, &mut references);
    let run = match (fields.get("run"), fields.get("exec")) {
        (Some(run), None) => read_shell(reader, scope, row, run, &mut env, &mut references),
        (None, Some(exec)) => read_exec(reader, scope, row, exec, &mut references),
        (Some(_), Some(exec)) => {
            let finding = Finding::new(super::schema::head(exec), format!("{} has both `run` and `exec`", what()));
            reader.report(
                finding.label("one too many").help("`run` is for the shell, `exec` a program and its arguments"),
            );
            None
        }
        (None, None) => {
            let finding = Finding::new(super::schema::head(node), format!("{} runs nothing", what()));
            reader.report(
                finding
                    .label("`run` is missing")
                    .help("add run: \"the command\", or exec: [\"program\", \"argument\"]"),
            );
            None
        }
    };
    let cwd = fields.get("cwd").and_then(|node| read_cwd(reader, scope, row, node, &mut references));
    if reader.findings.count() > before {
        return None;
    }
    references.sort_by_key(|reference| (reference.slot, reference.at));
    let spec = CommandSpec { run: run?, env, cwd, references };
    let bytes = size(&spec);
    if bytes > MAX_COMMAND_BYTES {
        let at = super::schema::head(fields.get("run").or(fields.get("exec")).unwrap_or(node));
        let message = format!("the command and its `env` are {bytes} bytes long, {MAX_COMMAND_BYTES} are possible");
        reader.report(Finding::new(at, message).label("too long to start").help("put it into a script and run that"));
        return None;
    }
    Some(Arc::new(spec))
}

/// A shell command that stands alone.
pub(super) fn shell(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    row: Option<&Row<'_>>,
    node: &Node<'_>,
) -> Option<Arc<CommandSpec>> {
    let (before, mut env, mut references) = (reader.findings.count(), Vec::new(), Vec::new());
    let run = read_shell(reader, scope, row, node, &mut env, &mut references)?;
    (reader.findings.count() == before).then(|| Arc::new(CommandSpec { run, env, cwd: None, references }))
}

/// Bytes as the kernel counts them: each text with its end.
pub(super) fn size(spec: &CommandSpec) -> usize {
    let run: usize = match &spec.run {
        CommandLine::Shell(text) => text.len() + 1,
        CommandLine::Exec(words) => words.iter().map(|word| word.len() + 1).sum(),
    };
    run + spec.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>()
}

fn read_shell(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    row: Option<&Row<'_>>,
    node: &Node<'_>,
    env: &mut Vec<(String, String)>,
    references: &mut Vec<Reference>,
) -> Option<CommandLine> {
    let word = reader.text(node, "run")?;
    if !is_clean(reader, node, word.text, "run") {
        return None;
    }
    if word.text.trim().is_empty() {
        reader.report(Finding::new(node.at, "`run` is empty").label("a command should stand here"));
        return None;
    }
    let replaced = scope.in_shell(reader, node, word.text, row);
    let first = env.len();
    let later =
        replaced.later.into_iter().map(|(number, value)| reference(Slot::Variable(index(first + number)), 0, value));
    references.extend(later);
    env.extend(replaced.env);
    Some(CommandLine::Shell(replaced.text))
}

fn read_exec(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    row: Option<&Row<'_>>,
    node: &Node<'_>,
    references: &mut Vec<Reference>,
) -> Option<CommandLine> {
    let items = reader.list(node, "exec");
    let mut words = Vec::with_capacity(items.len());
    for item in items {
        let word = reader.text(item, "exec")?;
        if is_clean(reader, item, word.text, "exec") {
            let plain = scope.in_plain(reader, item, word.text, row);
            words.push(note(references, Slot::Word(index(words.len())), plain));
        }
    }
    let is_given = references.iter().any(|reference| reference.slot == Slot::Word(0));
    if matches!(&node.kind, super::syntax::Kind::List(_)) && words.first().is_none_or(String::is_empty) && !is_given {
        let finding = Finding::new(super::schema::head(node), "`exec` names no program");
        reader.report(finding.label("the program comes first: [\"program\", \"argument\"]"));
        return None;
    }
    Some(CommandLine::Exec(words))
}

/// One text with values in it, as the only word of a command.
pub(super) fn plain_word(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    row: Option<&Row<'_>>,
    node: &Node<'_>,
) -> Option<Arc<CommandSpec>> {
    let word = reader.text(node, "text")?;
    if !is_clean(reader, node, word.text, "text") {
        return None;
    }
    let mut references = Vec::new();
    let text = note(&mut references, Slot::Word(0), scope.in_plain(reader, node, word.text, row));
    Some(Arc::new(CommandSpec { references, ..CommandSpec::new(CommandLine::Exec(vec![text])) }))
}

pub(super) fn read_env(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    row: Option<&Row<'_>>,
    fields: &Fields<'_, '_>,
    references: &mut Vec<Reference>,
) -> Vec<(String, String)> {
    let Some(node) = fields.get("env") else { return Vec::new() };
    let mut env = Vec::new();
    for (key, value) in reader.map(node, "env") {
        let message = if key.text.is_empty() || key.text.contains(['=', '\0']) {
            Some("cannot be the name of a variable")
        } else if key.text.starts_with("QD_") {
            Some("is kept for quarterdeck, as all names with QD_")
        } else {
            None
        };
        if let Some(message) = message {
            reader
                .report(Finding::new(key.at, format!("`{}` {message}", shown(key.text))).label("choose another name"));
        }
        let Some(word) = reader.text(value, key.text) else { continue };
        if is_clean(reader, value, word.text, "env") {
            let plain = scope.in_plain(reader, value, word.text, row);
            env.push((key.text.to_owned(), note(references, Slot::Variable(index(env.len())), plain)));
        }
    }
    env
}

fn read_cwd(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    row: Option<&Row<'_>>,
    node: &Node<'_>,
    references: &mut Vec<Reference>,
) -> Option<String> {
    let word = reader.text(node, "cwd")?;
    if !is_clean(reader, node, word.text, "cwd") {
        return None;
    }
    let plain = scope.in_plain(reader, node, word.text, row);
    if plain.text.is_empty() && plain.later.is_empty() {
        reader.report(Finding::new(node.at, "`cwd` is empty").label("a folder should stand here"));
    }
    Some(note(references, Slot::Cwd, plain))
}

/// The text, and where values go in it.
fn note(references: &mut Vec<Reference>, slot: Slot, plain: Plain) -> String {
    references.extend(plain.later.into_iter().map(|(at, value)| reference(slot, at, value)));
    plain.text
}

fn reference(slot: Slot, at: usize, value: ValueOf) -> Reference {
    Reference { slot, at: index(at), value }
}

/// What is counted here is in texts of at most [`MAX_COMMAND_BYTES`].
fn index(count: usize) -> u32 {
    u32::try_from(count).expect("a command is shorter")
}

/// No program can be given a NUL.
fn is_clean(reader: &mut Reader, node: &Node<'_>, text: &str, what: &str) -> bool {
    let Some(at) = text.find('\0') else { return true };
    reader.report(
        Finding::new(within(node, at, at + 1), format!("`{what}` holds a NUL")).label("no command can hold one"),
    );
    false
}
