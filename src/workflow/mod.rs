//! RON text to the engine's [`Workflow`], or all that is wrong with it at once, each with its place and a hint.
//!
//! `syntax` makes a tree of the text, `schema` knows the words and reads values, `foreach` makes many tasks of one,
//! `params` and `command` say what tasks run, `outline` lists stages and tasks, `lower` turns names into ids, with `places` (settings, agents, resources), `names` and `retry`, `order`
//! finds circles of waiting, `capacity` what could never start, `subworkflow` what other files have as parts, with `renumber`, `ways` what leads from stage to stage, `join` how many of an `after` are enough,
//! `conditions` reads conditions, `asking` circles that they close, `kind` the types of tasks that run nothing, `compensation` how what a task did is undone, `barriers` who starts together, `goals` milestones and objectives, `limits` what runs at once and when, `diagnostic` draws what was found. Pure but for [`open`], which also parts of a file are read by: the machine and the time come in. Knows nothing of sessions or screens.

mod asking;
mod barriers;
mod capacity;
mod care;
mod command;
mod compensation;
mod conditions;
mod diagnostic;
mod fallbacks;
mod foreach;
mod gate;
mod goals;
pub mod graft;
mod health;
mod join;
mod kind;
mod limits;
mod lower;
mod monitor;
mod names;
mod order;
mod outline;
mod params;
mod places;
mod policy;
mod published;
mod quick;
mod renumber;
mod replicate;
mod retry;
mod schema;
mod sensor;
mod subworkflow;
mod suggest;
mod syntax;
mod units;
mod ways;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

pub use barriers::MAX_BARRIERS;
pub use command::MAX_COMMAND_BYTES;
pub use diagnostic::{Diagnostic, Diagnostics, MAX_DIAGNOSTICS};
pub use foreach::MAX_KEYS;
pub use kind::MAX_QUESTION_BYTES;
pub use limits::{MAX_APART, MAX_WINDOWS};
pub use lower::{MAX_EXPANDED_BYTES, MAX_TASKS};
pub use names::{MAX_NAME_BYTES, MAX_NAME_CELLS};
pub use order::MAX_DEPENDENCIES;
pub use places::MAX_SLOTS;
pub use policy::MAX_RULES;
pub use quick::quick;
pub use retry::MAX_ATTEMPTS;
pub use subworkflow::MAX_DEPTH;
pub use units::duration;
pub use ways::MAX_TRANSITIONS;

use crate::engine::definition::Workflow;
use diagnostic::Finding;
use schema::Reader;
use subworkflow::Origin;

/// A workflow file is no longer than this, in bytes.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// What a workflow looks like at least, for hints.
const SMALLEST: &str =
    "the smallest workflow: Workflow(stages: [Stage(id: \"main\", tasks: [Task(id: \"hello\", run: \"echo hello\")])])";

/// What the machine has, and the time: all that a workflow's meaning depends on besides its text.
#[derive(Debug, Clone)]
pub struct Machine {
    /// How many tasks at once make sense: slots of an agent that does not say.
    pub parallelism: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Now, in the time zone in which the file's clock times are meant.
    pub now: jiff::Zoned,
}

/// A workflow's text and what to call it in messages.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// As the user knows it: the path as given.
    pub name: &'a str,
    /// RON; a byte order mark and CRLF are fine.
    pub text: &'a str,
}

/// Reads a workflow, with `params` (names and values of `--param`) in place of its defaults.
///
/// # Errors
/// Everything that is wrong with it; of what is no RON at all, the first place.
pub fn load(source: &Source<'_>, params: &[(String, String)], machine: &Machine) -> Result<Workflow, Diagnostics> {
    read(source, params, machine, &Origin::of(source.name))
}

/// Reads a workflow that may be part of another.
fn read(
    source: &Source<'_>,
    params: &[(String, String)],
    machine: &Machine,
    origin: &Origin<'_>,
) -> Result<Workflow, Diagnostics> {
    if source.text.len() > MAX_FILE_BYTES {
        return Err(too_long(source.name));
    }
    // every place is counted from after the mark
    let source = Source { name: source.name, text: source.text.trim_start_matches('\u{feff}') };
    let mut reader = Reader::default();
    if source.text.trim().is_empty() {
        reader.report(Finding::whole("the file is empty").help(SMALLEST));
        return Err(reader.told(&source));
    }
    let workflow = match syntax::parse(source.text) {
        Ok(root) => lower::workflow(&mut reader, &root, params, machine, origin),
        Err(finding) => {
            reader.report(*finding);
            Workflow::default()
        }
    };
    if reader.findings.count() > 0 { Err(reader.told(&source)) } else { Ok(workflow) }
}

/// The text of a workflow file.
///
/// # Errors
/// It cannot be read, is longer than [`MAX_FILE_BYTES`], or is not UTF-8.
pub fn open(path: &Path) -> Result<String, Diagnostics> {
    let name = path.display().to_string();
    let failed = |error: &std::io::Error| Diagnostics::about(&name, format!("the file cannot be read: {error}"), None);
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    // one byte more than allowed tells that there is more
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    decode(&name, bytes)
}

/// Bytes of a file as text; UTF-16 is named.
///
/// # Errors
/// They are more than [`MAX_FILE_BYTES`], or not UTF-8: then placed at the first wrong one.
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<String, Diagnostics> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(too_long(name));
    }
    let every_second_is_nul =
        |first: usize| bytes.len() >= 4 && bytes.iter().skip(first).step_by(2).take(8).all(|b| *b == 0);
    if bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || every_second_is_nul(0)
        || every_second_is_nul(1)
    {
        let help =
            format!("save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 {} > utf8.ron", diagnostic::shown(name));
        return Err(Diagnostics::about(name, "the file is UTF-16, a workflow is UTF-8".into(), Some(help)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text: Cow<'_, str> = String::from_utf8_lossy(error.as_bytes());
        let mut findings = diagnostic::Findings::default();
        let place = diagnostic::Extent::new(at, at + '\u{fffd}'.len_utf8());
        findings.push(Finding::new(place, "the file is not UTF-8").label("this byte is not"));
        findings.locate(&Source { name, text: &text })
    })
}

fn too_long(name: &str) -> Diagnostics {
    Diagnostics::about(name, format!("the file is longer than {} MiB", MAX_FILE_BYTES >> 20), None)
}
