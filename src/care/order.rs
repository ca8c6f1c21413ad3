//! The files by which executor and care speak: the order that is written before an attempt starts, and the findings that
//! are in place before it ends. JSON, their owner's alone, bounded; they live from the start of an attempt until its end
//! is stored. Knows nothing of what they say.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::care::{Care, Findings};
use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::StartOrder;

/// Name of the folder of these files in a session, beside that of the outputs.
pub const FOLDER: &str = "care";
/// A file of these is no longer, in bytes.
const BYTES_MOST: u64 = 16 << 20;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Which task.
    pub task: TaskId,
    /// The attempt since which what is saved is valid.
    pub since: Attempt,
    /// What it asks for.
    pub care: Care,
    /// Its command, to tell whether it has changed.
    pub command: String,
    /// It is run even if nothing has changed.
    #[serde(default)]
    pub force: bool,
    /// The environment that it declares, for the same reason; as a hash, since it may hold secrets.
    pub env: String,
    /// The folder in which control groups may be made, if not in our own.
    #[serde(default)]
    pub groups: Option<PathBuf>,
}

impl Order {
    /// The order for an attempt that runs this command.
    pub fn new(start: &StartOrder, care: &Care) -> Self {
        let command = &start.command;
        let run = serde_json::to_string(&command.run).unwrap_or_default();
        let env = serde_json::to_vec(&(&command.env, &command.cwd)).unwrap_or_default();
        let (task, since, force) = (start.task, start.since, start.force);
        Self { task, since, care: care.clone(), command: hash(run.as_bytes()), force, env: hash(&env), groups: None }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&read(path)?)?)
    }

    /// Writes it; makes its folder if need be.
    ///
    /// # Errors
    /// As of any of the calls.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        write(path, &serde_json::to_vec(self)?)
    }
}

/// SHA-256 in hex.
pub fn hash(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(bytes))
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The order's file of an attempt, in the session's folder of these.
pub fn order_path(folder: &Path, task: TaskId, attempt: Attempt) -> PathBuf {
    folder.join(format!("{}.{}.order", task.0, attempt.0))
}

/// The record of a task's last success: by the folder that it runs in, its workflow and its name.
pub fn record_path(records: &Path, folder: &OsStr, workflow: &str, task: &str) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let key = [folder.as_bytes(), workflow.as_bytes(), task.as_bytes()].join(&0);
    records.join(hash(&key))
}

/// Puts the findings beside the order.
///
/// # Errors
/// As of any of the calls; then there are none.
pub fn write_findings(order: &Path, findings: &Findings) -> io::Result<()> {
    write(&order.with_extension("findings"), &serde_json::to_vec(findings)?)
}

/// What was found around an attempt; none if care was not taken of it, or did not come so far.
pub fn read_findings(folder: &Path, task: TaskId, attempt: Attempt) -> Option<Findings> {
    let path = order_path(folder, task, attempt).with_extension("findings");
    serde_json::from_slice(&read(&path).ok()?).ok()
}

/// The end of an attempt is stored: its files have done.
pub fn forget(folder: &Path, task: TaskId, attempt: Attempt) {
    let order = order_path(folder, task, attempt);
    // Left over they are in nobody's way: no number is used twice.
    let _ = fs::remove_file(order.with_extension("findings"));
    let _ = fs::remove_file(super::said::path(&order));
    let _ = fs::remove_file(order);
}

/// Files of attempts whose end is stored, left by a console that died just then.
pub fn sweep(folder: &Path, is_live: &dyn Fn(TaskId, Attempt) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let mut parts = name.to_str().unwrap_or_default().splitn(3, '.');
        let mut number = || parts.next().and_then(|text| text.parse::<u32>().ok());
        let (Some(task), Some(attempt)) = (number(), number()) else { continue };
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && !is_live(TaskId(task), Attempt(attempt)) {
            // Left over it is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Everything has succeeded: what was saved to be put back has done.
pub fn forget_saved(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().ends_with(b".saved") {
            // Left over it costs room, no more.
            let _ = super::restore::remove(&entry.path());
        }
    }
}

/// A folder of ours alone.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// All of a file that is ours and not too long.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Replaces a file at once, or leaves it as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    // Two sessions may keep a record of the same task.
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = (|| {
        let _ = fs::remove_file(&temporary);
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        options?.write_all(bytes)?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_attempts_that_are_over_are_swept_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let all = ["3.1.order", "3.1.findings", "3.2.order", "4.1.order", "7.saved", "x.1.order", "notes"];
        all.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        sweep(folder.path(), &|task, attempt| (task, attempt) == (TaskId(3), Attempt(2)));
        let left: Vec<bool> = all.iter().map(|name| folder.path().join(name).exists()).collect();
        assert_eq!(left, [false, false, true, false, true, true, true]);
        sweep(&folder.path().join("none"), &|_, _| false);
    }

    #[test]
    fn orders_and_findings_come_back_as_they_went_and_are_nobody_else_s() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("care");
        let care = Care { restore: vec!["a".into()], ..Care::default() };
        let run = crate::engine::definition::CommandLine::Shell("x".into());
        let spec = crate::engine::definition::CommandSpec {
            env: vec![("A".into(), "secret".into())],
            ..crate::engine::definition::CommandSpec::new(run)
        };
        let start = StartOrder {
            agent: crate::engine::ids::AgentId(0),
            task: TaskId(3),
            attempt: Attempt(4),
            name: "x".into(),
            command: spec.into(),
            care: None,
            since: Attempt(2),
            force: false,
            problem: None,
        };
        let order = Order::new(&start, &care);
        let path = order_path(&folder, TaskId(3), Attempt(4));
        order.write(&path).unwrap();
        assert_eq!(Order::read(&path).unwrap(), order);
        assert!(!String::from_utf8(fs::read(&path).unwrap()).unwrap().contains("secret"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(read_findings(&folder, TaskId(3), Attempt(4)), None);
        let value = crate::engine::condition::Value::from("a\n\u{1b}[2J");
        let findings = Findings { published: vec![("x".into(), value)], ..Findings::default() };
        write_findings(&path, &findings).unwrap();
        assert_eq!(read_findings(&folder, TaskId(3), Attempt(4)), Some(findings));
        forget(&folder, TaskId(3), Attempt(4));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
