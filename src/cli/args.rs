//! The words of the command line. `--help`, completions and the manual page are made from this file.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Run, watch and steer work from your terminal.
///
/// Without a command: opens `quarterdeck.ron` of this folder, else a built-in demo of real commands.
#[derive(Debug, Parser)]
#[command(name = "qd", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Exit codes: 0 all done · 1 some failed · 2 wrong use or bad file · 3 stopped, detached, held or lost (resumable) · 70 internal error"
)]
pub struct Args {
    /// Options without a command.
    #[command(flatten)]
    pub bare: Bare,
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Options of `qd` alone.
#[derive(Debug, clap::Args)]
pub struct Bare {
    /// How to show it.
    #[command(flatten)]
    pub show: Show,
    /// Trust this folder's `quarterdeck.ron` if it has this hash (as named by an earlier refusal).
    #[arg(long, value_name = "HASH")]
    pub trust: Option<String>,
    /// Name of the session; made from the workflow's name and the time if absent.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
}

/// How to show a session.
#[derive(Debug, Clone, clap::Args)]
pub struct Show {
    /// Plain lines instead of the console; the default when stdout is no terminal.
    #[arg(long)]
    pub headless: bool,
    /// One JSON object a fact, instead of plain lines (implies --headless).
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors (implies --headless).
    #[arg(long, conflicts_with = "json")]
    pub quiet: bool,
    /// Theme: dark, light, high-contrast, terminal16, mono, or a file.
    #[arg(long, value_name = "THEME")]
    pub theme: Option<String>,
    /// When to use colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Draw with ASCII characters only.
    #[arg(long)]
    pub ascii: bool,
    /// Leave the mouse to the terminal.
    #[arg(long)]
    pub no_mouse: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// In a terminal without NO_COLOR.
    Auto,
    /// Always.
    Always,
    /// Never: attributes only.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a workflow file, or commands given after `--`, or a list of commands from standard input.
    Run(Run),
    /// Go on with a session: after a crash, a detach, a stop or a reboot.
    Resume(Resume),
    /// List sessions.
    Sessions(Sessions),
    /// Check a workflow file: all diagnostics, nothing is run.
    Check(Check),
    /// Why a task of a session is not running.
    Why(Why),
    /// Print the output of a task's attempt.
    Log(Log),
    /// Keep the good beginning of a session whose journal is damaged in the middle (a copy is kept).
    Repair(Repair),
    /// What this terminal, kernel and disk can do.
    Doctor,
    /// Print a completion script for a shell.
    Completions(Completions),
    /// Print the manual page (roff).
    Man,
}

/// `qd run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qd run flow.ron\n  qd run flow.ron --headless --param target=prod\n  qd run -- 'make -C a' 'make -C b'\n  ls *.png | sed 's/.*/optipng &/' | qd run --slots 4"
)]
pub struct Run {
    /// The workflow file. Absent: commands after `--`, or one per line from standard input.
    pub file: Option<PathBuf>,
    /// Commands to run side by side, without a file.
    #[arg(last = true, value_name = "COMMAND")]
    pub commands: Vec<String>,
    /// How to show it.
    #[command(flatten)]
    pub show: Show,
    /// Set a parameter of the workflow: NAME=VALUE.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param)]
    pub params: Vec<(String, String)>,
    /// Slots of the first agent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_000))]
    pub slots: Option<u32>,
    /// Name of the session; made from the workflow's name and the time if absent.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// Allow a file that another user owns if it has this hash.
    #[arg(long, value_name = "HASH")]
    pub trust: Option<String>,
}

fn parse_param(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

/// `qd resume`.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// The session; the one last used that is not over if absent.
    pub name: Option<String>,
    /// How to show it.
    #[command(flatten)]
    pub show: Show,
    /// Queue failed and lost tasks again.
    #[arg(long)]
    pub retry_failed: bool,
}

/// `qd sessions`.
#[derive(Debug, clap::Args)]
pub struct Sessions {
    /// One JSON object a session.
    #[arg(long)]
    pub json: bool,
}

/// `qd check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The workflow file.
    pub file: PathBuf,
    /// Set a parameter of the workflow: NAME=VALUE.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param)]
    pub params: Vec<(String, String)>,
    /// When to use colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// `qd why`.
#[derive(Debug, clap::Args)]
pub struct Why {
    /// The session.
    pub session: String,
    /// The task.
    pub task: String,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `qd log`.
#[derive(Debug, clap::Args)]
pub struct Log {
    /// The session.
    pub session: String,
    /// The task.
    pub task: String,
    /// Which attempt; the last that wrote anything if absent.
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// The bytes as they are, escape sequences and all.
    #[arg(long)]
    pub raw: bool,
}

/// `qd repair`.
#[derive(Debug, clap::Args)]
pub struct Repair {
    /// The session.
    pub session: String,
}

/// `qd completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// For which shell.
    pub shell: clap_complete::Shell,
}
