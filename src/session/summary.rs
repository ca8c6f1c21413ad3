//! The list of sessions: what can be told from the first and the last bytes of each journal. Fast, and a bad session is
//! a line of the list, not an error. Knows a few facts by name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::engine::fact::Fact;
use crate::engine::ids::Time;
use crate::error::Result;

use super::folder::Sessions;
use super::journal;
use super::journal::line::{self, Parsed};
use super::lock::{self, Holder};

/// At most so many sessions are listed.
pub const MAX_LISTED: usize = 10_000;
/// So many bytes are read from each end of a journal.
const WINDOW: usize = 32 << 10;

/// A session in the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Name of its workflow.
    pub workflow: Option<String>,
    /// Number of its tasks, if that is told near one of the ends.
    pub tasks: Option<u32>,
    /// Version of the program that made it.
    pub program: Option<String>,
    /// When it began.
    pub began: Option<Time>,
    /// When its last fact became true.
    pub last: Option<Time>,
    /// How many facts it has.
    pub facts: u64,
    /// Bytes of its journal.
    pub bytes: u64,
    /// The console that has it open now.
    pub holder: Option<Holder>,
    /// The exit code of the console that ended in good order; absent while it runs and after a crash.
    pub closed: Option<i32>,
    /// Why nothing more is known of it.
    pub problem: Option<String>,
}

impl Sessions {
    /// All sessions, the one last used first. Folders without a journal are none.
    ///
    /// # Errors
    /// Only if the folder of all sessions cannot be read.
    pub fn list(&self) -> Result<Vec<Summary>> {
        let names = self.names(MAX_LISTED)?;
        let mut list: Vec<_> = names.into_iter().filter_map(|name| self.summary(name)).collect();
        list.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.name.cmp(&b.name)));
        Ok(list)
    }

    /// `None` if there is no journal.
    fn summary(&self, name: String) -> Option<Summary> {
        let mut summary = Summary { name, ..Summary::default() };
        let folder = match self.folder(&summary.name) {
            Ok(folder) => folder,
            Err(_) => return None,
        };
        let problem = match folder.open_file(journal::FILE) {
            Ok(file) => look_into(&file, &mut summary).unwrap_or_else(|error| Some(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Some(error.to_string()),
        };
        summary.problem = problem;
        summary.holder = lock::living_holder(&folder);
        Some(summary)
    }
}

/// Fills in what the ends of the journal tell; returns what is wrong with it.
fn look_into(file: &File, summary: &mut Summary) -> io::Result<Option<String>> {
    summary.bytes = file.metadata()?.len();
    let mut window = vec![0; WINDOW];
    let length = file.read_at(&mut window, 0)?;
    let first = each_line(&window[..length], summary);
    if first != Some(1) {
        return Ok(Some("not a session file".into()));
    }
    let tail_at = summary.bytes.saturating_sub(WINDOW as u64);
    let length = file.read_at(&mut window, tail_at)?;
    let tail = &window[..length];
    // The window begins somewhere within a line.
    let begin = if tail_at == 0 { 0 } else { tail.iter().position(|&byte| byte == b'\n').map_or(length, |at| at + 1) };
    summary.closed = None;
    each_line(&tail[begin..], summary);
    let whole = tail.last() == Some(&b'\n');
    Ok((!whole).then(|| "its last line is torn or damaged".into()))
}

/// Looks at the good lines at the start of `bytes`; the number of the first.
fn each_line(mut bytes: &[u8], summary: &mut Summary) -> Option<u64> {
    let mut first = None;
    while let Parsed::Good(line) = line::parse(bytes) {
        first.get_or_insert(line.seq);
        summary.facts = summary.facts.max(line.seq);
        if let Ok(stamped) = line::decode(line.body) {
            summary.began.get_or_insert(stamped.at);
            summary.last = Some(stamped.at);
            take(stamped.fact, summary);
        }
        bytes = &bytes[line.size..];
    }
    first
}

fn take(fact: Fact, summary: &mut Summary) {
    summary.closed = match &fact {
        Fact::Closed { code } => Some(*code),
        _ => None,
    };
    match fact {
        Fact::Opened { program, .. } => {
            summary.program.get_or_insert(program);
        }
        Fact::Configured(settings) => summary.workflow = Some(settings.name),
        Fact::Loaded { tasks } => summary.tasks = Some(tasks),
        _ => {}
    }
}
