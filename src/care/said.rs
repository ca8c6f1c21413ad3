//! The file in which a command says what it publishes while it runs: a line of JSON for each value, the last of a name counts.
//! `qd publish` adds lines, care reads them once the command has ended well; so it needs no console. Knows no types.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Names the file in the environment of the command.
pub const VARIABLE: &str = "QD_PUBLISH";
/// It is no longer, in bytes.
pub const BYTES_MOST: u64 = 4 << 20;

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Its name.
    pub name: String,
    /// As it was written, if it was written as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What that says as JSON.
    pub value: serde_json::Value,
}

/// The file of an attempt, beside its order.
pub fn path(order: &Path) -> PathBuf {
    order.with_extension("said")
}

/// Made anew, its owner's alone.
///
/// # Errors
/// As of making a file.
pub fn begin(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map(drop)
}

/// Adds values, all of them at once.
///
/// # Errors
/// As of writing a file; or it would be too long.
pub fn add(path: &Path, values: &[Said]) -> io::Result<()> {
    let mut lines = Vec::new();
    for value in values {
        serde_json::to_writer(&mut lines, value)?;
        lines.push(b'\n');
    }
    let mut file = OpenOptions::new().append(true).open(path)?;
    if file.metadata()?.len().saturating_add(lines.len() as u64) > BYTES_MOST {
        return Err(io::Error::other(format!("more than {BYTES_MOST} bytes are published")));
    }
    file.write_all(&lines)
}

/// The last word on each name.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn read(path: &Path) -> Result<BTreeMap<String, Said>, String> {
    let mut text = String::new();
    let file = super::files::open(path).map_err(|error| error.to_string())?;
    file.take(BYTES_MOST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let mut last = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let said: Said = serde_json::from_str(line).map_err(|error| format!("not said by qd publish: {error}"))?;
        last.insert(said.name.clone(), said);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_each_name_counts_and_nothing_grows_without_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("1.1.order"));
        begin(&path).unwrap();
        let said = |name: &str, value: i64| Said { name: name.into(), text: None, value: value.into() };
        add(&path, &[said("a", 1), said("b", 2)]).unwrap();
        add(&path, &[said("a", 3)]).unwrap();
        let values = read(&path).unwrap();
        assert_eq!((&values["a"].value, &values["b"].value), (&3.into(), &2.into()));
        let long = Said { name: "c".into(), text: Some("x".repeat(BYTES_MOST as usize)), value: 0.into() };
        assert!(add(&path, &[long]).is_err());
        assert_eq!(read(&path).unwrap().len(), 2);
        std::fs::write(&path, "a=1\n").unwrap();
        assert!(read(&path).unwrap_err().contains("not said by qd publish"));
    }
}
