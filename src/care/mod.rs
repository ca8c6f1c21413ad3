//! `qd care`: the small supervisor that the local executor puts in front of a command that asks for more than to be run.
//! It saves or puts back paths, sets limits, asks whether anything has changed, runs the command as its child, checks and
//! reads what that did, and leaves its findings in a file beside the order. It lives in the task's own session, so it
//! outlives a console as its command does. Knows the engine's data types only; decides nothing about the task.
//!
//! ```text
//! console ── qd care ORDER RECORD LOG WAY PROGRAM NAME ARGUMENT… ── the command
//! ```
//! It ends exactly as its command did, by the same code or the same signal; whatever else there is to say is in the
//! findings, which are in place before it ends.

mod cgroup;
mod files;
mod judge;
mod limits;
pub mod order;
mod publish;
mod record;
mod restore;
pub mod said;
mod sys;
mod tree;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use self::order::Order;
use crate::engine::care::{Findings, Source};
use crate::engine::message::{Exit, StartProblem};

/// The hidden verb.
pub const VERB: &str = "care";
/// The command of `way`: a program and its arguments that a shell would run just so.
pub const DIRECT: &str = "direct";
/// As written.
pub const EXEC: &str = "exec";

/// What the executor says on the command line: paths and the command itself, which any process listing shows anyway.
struct Call {
    order: PathBuf,
    record: PathBuf,
    log: PathBuf,
    command: Command,
}

/// The command, as the executor has decided to run it.
struct Command {
    program: OsString,
    argv: Vec<OsString>,
    /// What the kernel does not take for a program is given to the shell.
    direct: bool,
}

/// Everything `qd care` does. `arguments` are those after the verb. Never returns: it ends as the command did.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ! {
    let Some(call) = read_call(arguments) else {
        eprintln!("qd care is started by qd itself, not by hand");
        std::process::exit(2);
    };
    let order = match Order::read(&call.order) {
        Ok(order) => order,
        Err(error) => {
            eprintln!("qd: the order of this task cannot be read: {error}");
            std::process::exit(126);
        }
    };
    let mut findings = Findings::default();
    let exit = attempt(&call, &order, &mut findings);
    bound(&mut findings);
    if let Err(error) = order::write_findings(&call.order, &findings) {
        // Without them a success would be a guess.
        eprintln!("qd: what was found about this task cannot be written: {error}");
        std::process::exit(126);
    }
    sys::end_as(exit)
}

fn read_call(mut arguments: impl Iterator<Item = OsString>) -> Option<Call> {
    let mut next = || arguments.next();
    let (order, record, log) = (next()?.into(), next()?.into(), next()?.into());
    let direct = next()? == DIRECT;
    let program = next()?;
    let argv: Vec<OsString> = arguments.collect();
    (!argv.is_empty()).then_some(Call { order, record, log, command: Command { program, argv, direct } })
}

fn attempt(call: &Call, order: &Order, findings: &mut Findings) -> Exit {
    let care = &order.care;
    let refused = |findings: &mut Findings, message: String, code: Option<i32>| {
        eprintln!("qd: {message}");
        findings.problem = Some(StartProblem { message, code, transient: false });
        Exit::Code(code.unwrap_or(126))
    };
    let store = restore::Store::of(&call.order, order);
    if !care.restore.is_empty() && store.is_saved() {
        match store.put_back() {
            Ok(said) => findings.restored = Some(said),
            Err(message) => return refused(findings, message, None),
        }
    }
    let mut before = None;
    if care.up_to_date {
        let now = record::Inputs::look(order);
        match record::compare(&call.record, order, &now) {
            record::Verdict::Fresh(..) if order.force => {
                findings.because = vec!["it was asked for again, though nothing has changed".into()];
            }
            record::Verdict::Fresh(published, because) => {
                (findings.up_to_date, findings.because, findings.published) = (true, because, published);
                return Exit::Code(0);
            }
            record::Verdict::Stale(because) => findings.because = because,
        }
        before = now.ok();
    }
    if !care.restore.is_empty() && !store.is_saved() {
        match store.save() {
            Ok(said) => findings.restored = Some(said),
            Err(message) => return refused(findings, message, None),
        }
    }
    let said = care.publishes.iter().any(|publish| publish.from == Source::Publish).then(|| said::path(&call.order));
    if let Some(path) = &said
        && let Err(error) = said::begin(path)
    {
        return refused(findings, format!("nothing could be published: {error}"), None);
    }
    let place = limits::Place { groups: order.groups.as_deref(), said: said.as_deref() };
    let exit = match limits::run(&call.command, &care.limits, place, findings) {
        Ok(exit) => exit,
        Err(error) => {
            let code = if error.raw_os_error() == Some(libc::ENOENT) { 127 } else { 126 };
            let program = call.command.program.as_bytes();
            let message = format!("{}: cannot be run ({error})", String::from_utf8_lossy(program));
            return refused(findings, message, Some(code));
        }
    };
    if exit == Exit::Code(0) && findings.limit.is_none() && findings.memory.is_none() {
        judge::judge(care, &call.log, findings);
        publish::publish(care, &call.log, &said::path(&call.order), findings);
        if let Some(before) = before.filter(|_| findings.invalid.is_none()) {
            record::keep(&call.record, order, &before, findings);
        }
        if findings.invalid.is_none() {
            store.forget();
        }
    }
    exit
}

/// Cuts what may have grown long.
fn bound(findings: &mut Findings) {
    use crate::engine::care::cut;
    for text in findings.because.iter_mut().chain(&mut findings.invalid).chain(&mut findings.limit) {
        *text = cut(std::mem::take(text));
    }
    for text in findings.checks.iter_mut().map(|check| &mut check.why).chain(&mut findings.restored) {
        *text = cut(std::mem::take(text));
    }
    if let Some(problem) = &mut findings.problem {
        problem.message = cut(std::mem::take(&mut problem.message));
    }
}
