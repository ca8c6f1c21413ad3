//! The command line: a file per verb. Builds the parts and wires them; knows everything, and nothing knows it.

pub mod args;
mod attach;
mod console;
mod ctl;
mod defect;
mod events;
mod inspect;
mod live;
mod lock;
mod msg;
mod publish;
mod replay;
mod report;
mod resume;
mod run;
mod shell;
mod spawn;
mod state;
mod votes;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Verb};
use crate::care;
use crate::error::{Error, Kind, Result};
use crate::guard;

/// Everything `qd` does; returns its exit code. Called first thing, before any thread exists.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|verb| verb == care::VERB) {
        // Not among the verbs of the command line: only the local agent starts it, in front of a task.
        care::main(arguments);
    }
    defect::install();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are asked for, and succeed; a closed stdout is no error of theirs.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            // It quotes arguments as they are: neutralised, at the price of its colours.
            let text = clean_lines(&error.render().to_string()) + "\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            return ExitCode::from(2);
        }
    };
    let code = match dispatch(args) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            error.kind.code()
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(70))
}

fn dispatch(args: Args) -> Result<i32> {
    match args.verb {
        None => run::bare(args.bare, launch()?),
        Some(Verb::Run(run)) => {
            run::before_launch(&run)?;
            run::run(run, launch()?)
        }
        Some(Verb::Resume(resume)) => resume::resume(resume, launch()?),
        Some(Verb::Check(check)) => inspect::check(&check),
        Some(Verb::Sessions(list)) => inspect::sessions(&list),
        Some(Verb::Ctl(order)) => ctl::ctl(&order),
        Some(Verb::Progress(progress)) => ctl::progress(&progress),
        Some(Verb::Msg(said)) => msg::say(&said),
        Some(Verb::State(asked)) => state::state(&asked),
        Some(Verb::Spawn(new)) => spawn::spawn(&new),
        Some(Verb::Vote(vote)) => ctl::vote(&vote),
        Some(Verb::Publish(values)) => publish::publish(&values),
        Some(Verb::Barrier(asked)) => lock::barrier(&asked),
        Some(Verb::Lock(asked)) => lock::lock(&asked),
        Some(Verb::Why(why)) => inspect::why(&why),
        Some(Verb::Log(log)) => inspect::log(&log),
        Some(Verb::Attach(asked)) => attach::attach(&asked),
        Some(Verb::Replay(asked)) => replay::replay(&asked),
        Some(Verb::Report(report)) => report::report(&report),
        Some(Verb::Diff(diff)) => report::compare(&diff),
        Some(Verb::Repair(repair)) => inspect::repair(&repair),
        Some(Verb::Doctor) => inspect::doctor(),
        Some(Verb::Completions(completions)) => shell::completions(&completions),
        Some(Verb::Man) => shell::man(),
    }
}

/// Splits into front, guard and console: only the console comes back from it.
fn launch() -> Result<guard::ConsoleSide> {
    guard::launch().map_err(|error| Error::internal(format!("the guard could not be started: {error}")))
}

/// The error on the normal screen, once. A closed stderr is nothing to die of.
fn complain(error: &Error) {
    use std::io::Write;
    let word = if error.kind == Kind::Internal { "internal error" } else { "error" };
    let mut text = format!("{word}: {}\n", clean_lines(&error.message));
    if let Some(hint) = &error.hint {
        text.push_str(&format!("  hint: {}\n", clean_lines(hint)));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Each line neutralised.
fn clean_lines(message: &str) -> String {
    message.lines().map(crate::text::clean).collect::<Vec<_>>().join("\n")
}
