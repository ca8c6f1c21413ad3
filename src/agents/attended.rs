//! Attempts that `qd care` attends to: its order written, the command put behind it, its findings read. Knows where these
//! files lie, nothing of what is in them.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::attempts::Key;
use super::command::{Plan, Way};
use crate::care::{self, order};
use crate::engine::care::{Care, Findings};
use crate::engine::message::StartOrder;

/// This very program, whatever has become of its file since: the child shares our memory until it executes it.
const OURSELVES: &std::ffi::CStr = c"/proc/self/exe";

/// Names the folder in which control groups may be made.
const CGROUP: &str = "QD_CGROUP";

/// Where the files of care lie.
#[derive(Debug)]
pub struct Places {
    orders: PathBuf,
    records: PathBuf,
    workflow: String,
    folder: OsString,
    /// Attempts of this console with an order.
    attended: BTreeSet<Key>,
}

impl Places {
    /// `orders` is the session's folder of them (made when needed), `records` that of what is up to date, over all
    /// sessions; both absolute. `folder` is where the session's tasks run.
    pub fn new(orders: PathBuf, records: PathBuf, workflow: String, folder: OsString) -> Self {
        Self { orders, records, workflow, folder, attended: BTreeSet::new() }
    }

    /// What was found around an attempt of this console.
    pub fn findings(&self, key: Key) -> Option<Findings> {
        self.attended.contains(&key).then(|| order::read_findings(&self.orders, key.0, key.1)).flatten()
    }

    /// The end of an attempt is stored.
    pub fn forget(&mut self, key: Key) {
        if self.attended.remove(&key) {
            order::forget(&self.orders, key.0, key.1);
        }
    }
}

/// Writes the order; gives the plan that has the command run by care.
///
/// # Errors
/// The order cannot be written.
pub fn plan(
    places: &mut Places,
    start: &StartOrder,
    care: &Care,
    log_dir: &Path,
    log: u64,
    plan: Plan,
) -> io::Result<Plan> {
    let path = order::order_path(&places.orders, start.task, start.attempt);
    let groups = std::env::var(CGROUP).ok().map(PathBuf::from);
    order::Order { groups, ..order::Order::new(start, care) }.write(&path)?;
    places.attended.insert((start.task, start.attempt));
    let record = order::record_path(&places.records, &places.folder, &places.workflow, &start.name);
    let log = std::path::absolute(log_dir.join(log.to_string()))?;
    let way = if plan.way == Way::Direct { care::DIRECT } else { care::EXEC };
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
    let paths = [&path, &record, &log].map(|path| text(path.as_os_str().as_bytes()));
    let mut argv = vec![c"qd".to_owned(), text(care::VERB.as_bytes())?];
    for path in paths {
        argv.push(path?);
    }
    argv.extend([text(way.as_bytes())?, plan.program]);
    argv.extend(plan.argv);
    Ok(Plan { program: OURSELVES.to_owned(), argv, way: Way::Exec })
}
