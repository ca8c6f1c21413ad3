//! `qd run` and bare `qd`: from a file, a list of commands or the built-in demo to a new session.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{Bare, Run, Show};
use super::live::{self, New};
use crate::engine::definition::Workflow;
use crate::engine::message::Command;
use crate::error::{Error, Result};
use crate::guard::ConsoleSide;
use crate::session::folder::Surroundings;
use crate::session::trust::{self, Trust};
use crate::workflow::{self, Diagnostics, Machine, Source};

/// The file that a bare `qd` opens.
const FOLDER_FILE: &str = "quarterdeck.ron";
/// The built-in demo.
const DEMO: &str = include_str!("../../workflows/demo.ron");
/// A list of commands is read up to this size.
const MAX_BYTES: u64 = 64 << 20;

/// What can be refused before anything is started.
pub fn before_launch(args: &Run) -> Result<()> {
    if args.file.is_some() && !args.commands.is_empty() {
        return Err(Error::usage("give a workflow file or commands after --, not both"));
    }
    if args.file.is_none() && args.commands.is_empty() && std::io::stdin().is_terminal() {
        return Err(Error::usage("there is nothing to run")
            .hint("qd run FILE, qd run -- 'command' 'command', or pipe a list of commands into qd run"));
    }
    Ok(())
}

/// `qd run`.
pub fn run(args: Run, side: ConsoleSide) -> Result<i32> {
    let machine = machine();
    let (mut workflow, text) = match &args.file {
        Some(file) if file.as_os_str() != "-" => {
            let text = read(file)?;
            trusted_if_foreign(file, &text, args.trust.as_deref())?;
            (parse(&file.display().to_string(), &text, &args.params, &machine)?, text)
        }
        _ => {
            let commands = if args.commands.is_empty() { commands_from_stdin()? } else { args.commands.clone() };
            (workflow::quick(&commands, &machine).map_err(|found| refuse("the commands", &found))?, commands.join("\n"))
        }
    };
    if let Some(slots) = args.slots {
        set_slots(&mut workflow, slots);
    }
    let cwd = Surroundings::of_process()?.cwd;
    let votes = super::votes::of_workflow(&args.votes, &args.show.who(), &workflow)?;
    start(args.show, args.session, workflow, &text, cwd, side, votes)
}

/// `qd` alone.
pub fn bare(args: Bare, side: ConsoleSide) -> Result<i32> {
    let cwd = Surroundings::of_process()?.cwd;
    let file = cwd.join(FOLDER_FILE);
    if file.exists() {
        let text = read(&file)?;
        trusted(&file, &text, args.trust.as_deref(), false)?;
        let workflow = parse(FOLDER_FILE, &text, &[], &machine())?;
        return start(args.show, args.session, workflow, &text, cwd, side, Vec::new());
    }
    let place = demo_folder()?;
    let workflow = parse("the built-in demo", DEMO, &[], &machine())?;
    let code = start(args.show, args.session, workflow, DEMO, place.clone(), side, Vec::new());
    // What the demo made is of no use to anybody; a session that was left early may still go on there.
    if code.as_ref().is_ok_and(|code| *code == 0) {
        let _ = std::fs::remove_dir_all(&place);
    }
    code
}

fn start(
    show: Show,
    name: Option<String>,
    mut workflow: Workflow,
    text: &str,
    cwd: PathBuf,
    side: ConsoleSide,
    first_commands: Vec<Command>,
) -> Result<i32> {
    workflow.settings.cwd = Some(cwd.to_string_lossy().into_owned());
    live::begin(New { workflow: Arc::new(workflow), text: text.to_owned(), name, first_commands }, show, side)
}

fn set_slots(workflow: &mut Workflow, slots: u32) {
    use crate::engine::ids::{Amount, ResourceId};
    let Some(agent) = workflow.agents.first_mut() else { return };
    // `cpu` follows the slots unless the file says otherwise.
    let cpu = agent
        .resources
        .iter_mut()
        .find(|(id, amount)| *id == ResourceId(0) && *amount == Amount::units(u64::from(agent.slots)));
    if let Some((_, amount)) = cpu {
        *amount = Amount::units(u64::from(slots));
    }
    agent.slots = slots;
}

/// What the machine has: parallelism, memory, civil time.
pub fn machine() -> Machine {
    let memory = sysinfo_memory();
    Machine {
        parallelism: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory,
        now: jiff::Zoned::now(),
    }
}

fn sysinfo_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

/// Reads a workflow file.
pub fn read(file: &Path) -> Result<String> {
    workflow::open(file).map_err(|diagnostics| refuse(&file.display().to_string(), &diagnostics))
}

/// The workflow, or all diagnostics on stderr and exit code 2.
pub fn parse(name: &str, text: &str, params: &[(String, String)], machine: &Machine) -> Result<Workflow> {
    workflow::load(&Source { name, text }, params, machine).map_err(|diagnostics| refuse(name, &diagnostics))
}

/// Prints all diagnostics; the error is their number.
pub fn refuse(name: &str, diagnostics: &Diagnostics) -> Error {
    let mut err = std::io::stderr().lock();
    let colour = err.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let _ = err.write_all(diagnostics.render(colour).as_bytes());
    let count = diagnostics.len();
    Error::usage(format!("{name}: {count} error{}, nothing was run", if count == 1 { "" } else { "s" }))
}

fn commands_from_stdin() -> Result<Vec<String>> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| Error::usage(format!("cannot read commands from standard input: {error}")))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let commands: Vec<String> = lines.map(str::to_owned).collect();
    if commands.is_empty() {
        return Err(Error::usage("standard input holds no command")
            .hint("one command per line; qd run FILE runs a workflow file"));
    }
    Ok(commands)
}

// ── trust ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Naming a file is the act of trust, unless it is another user's.
fn trusted_if_foreign(file: &Path, text: &str, given: Option<&str>) -> Result<()> {
    let owner = std::fs::metadata(file).map_or(u32::MAX, |meta| meta.uid());
    if owner == rustix::process::geteuid().as_raw() || owner == 0 {
        return Ok(());
    }
    trusted(file, text, given, true)
}

/// Asks before a file runs that was not named, or is another user's; headless it is refused.
fn trusted(file: &Path, text: &str, given: Option<&str>, named: bool) -> Result<()> {
    let hash = trust::hash(file, text.as_bytes());
    let way = if named {
        format!("qd run {} --trust {hash}", file.display())
    } else {
        format!("qd --trust {hash}, or name it: qd run {}", file.display())
    };
    let store = Trust::open(&Surroundings::of_process()?)?;
    if given == Some(&hash) || store.is_trusted(file, text.as_bytes()) {
        return Ok(());
    }
    let refusal = || {
        Error::usage(format!("{} has not been trusted yet, or has changed since", file.display()))
            .hint(format!("look at it, then: {way}"))
    };
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refusal());
    }
    if !ask(file, text) {
        return Err(refusal());
    }
    store.trust(file, text.as_bytes())
}

/// Shows what would run and asks. Anything but `y` is no.
fn ask(file: &Path, text: &str) -> bool {
    let mut err = std::io::stderr().lock();
    let shown: Vec<String> = text.lines().take(200).map(|line| crate::text::clean(line).into_owned()).collect();
    let more = text.lines().count().saturating_sub(shown.len());
    let mut page = format!("{}\n\n", file.display());
    for line in shown {
        page.push_str(&format!("  {line}\n"));
    }
    if more > 0 {
        page.push_str(&format!("  … {more} more lines\n"));
    }
    page.push_str("\nThis folder's workflow has not been run from here before. Its commands run as you.\nTrust it and run it? [y/N] ");
    let _ = err.write_all(page.as_bytes()).and_then(|()| err.flush());
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

/// A fresh folder for the demo's files.
fn demo_folder() -> Result<PathBuf> {
    let base = std::env::temp_dir();
    for number in 0..1000u32 {
        let path = base.join(format!("quarterdeck-demo-{}-{number}", std::process::id()));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Error::usage(format!("cannot make a folder for the demo in {}: {error}", base.display())));
            }
        }
    }
    Err(Error::usage(format!("there are too many demo folders in {}", base.display()))
        .hint("remove quarterdeck-demo-* there"))
}
