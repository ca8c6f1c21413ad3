//! Names that a file gives: one line, of a width that can be shown, without what a reader could not see.

use super::diagnostic::{Finding, is_treacherous, shown};
use super::order::is_glob;
use super::schema::{Fields, Reader, Word, head};
use super::syntax::Node;

/// A name is no wider than this on a terminal, in cells.
pub const MAX_NAME_CELLS: usize = 200;
/// A name is no longer than this, in bytes: much that takes no cell is not a name.
pub const MAX_NAME_BYTES: usize = 4096;

/// The name in field `field` of a struct, checked; reported if it is missing.
pub(super) fn required_name<'n>(
    reader: &mut Reader,
    node: &'n Node<'_>,
    fields: &Fields<'n, '_>,
    field: &str,
    kind: &str,
) -> Option<Word<'n>> {
    let Some(value) = fields.get(field) else {
        let finding = Finding::new(head(node), format!("this {kind} has no `{field}`"));
        reader.report(finding.label(format!("`{field}` is missing")));
        return None;
    };
    let word = reader.text(value, field)?;
    check_name(reader, &word, kind);
    Some(word)
}

/// Reports a name that could not be shown in one line, selected, or told from another.
pub(super) fn check_name(reader: &mut Reader, word: &Word<'_>, kind: &str) {
    if let Some((label, help)) = name_fault(word.text) {
        let finding = Finding::new(word.at, format!("`{}` cannot be the name of a {kind}", shown(word.text)));
        let finding = finding.label(label);
        reader.report(if help.is_empty() { finding } else { finding.help(help) });
    }
}

fn name_fault(name: &str) -> Option<(&'static str, &'static str)> {
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return None;
    }
    if name.trim().is_empty() {
        return Some(("empty", ""));
    }
    if name.len() > MAX_NAME_BYTES {
        return Some(("longer than 4096 bytes", ""));
    }
    if name.contains(['\n', '\r']) {
        return Some(("a name stands in one line", ""));
    }
    if name.chars().any(char::is_control) {
        return Some(("holds a control character", ""));
    }
    if name.chars().any(is_treacherous) {
        return Some(("holds an invisible character", ""));
    }
    if name.trim() != name {
        return Some(("begins or ends with a space", ""));
    }
    if is_glob(name) {
        return Some(("holds `*` or `?`", "`*` and `?` stand for several names, as in after: [\"test-*\"]"));
    }
    if name.contains("${") {
        return Some(("names are not replaced", "parameters can stand in `run`, `exec`, `env` and `cwd`"));
    }
    if unicode_width::UnicodeWidthStr::width(name) > MAX_NAME_CELLS {
        return Some(("wider than 200 cells", ""));
    }
    None
}
