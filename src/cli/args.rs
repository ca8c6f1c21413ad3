//! The words of the command line. `--help`, completions and the manual page are made from this file.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Run, watch and steer work from your terminal.
///
/// A workflow is a file of tasks: shell commands with what they wait for, what they use and what follows when they fail.
/// qd runs them side by side on this machine, shows what runs, what waits and why, takes keys, and keeps all of it in a
/// session that can be resumed after a crash.
///
/// Without a command qd opens `quarterdeck.ron` of this folder (it asks before it trusts it), else a built-in demo of
/// about a minute.
#[derive(Debug, Parser)]
#[command(name = "qd", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Exit codes:\n  0   every task succeeded, was skipped, or was replaced by a fallback that succeeded\n  1   some failed\n  2   wrong use, bad file, session busy or unknown\n  3   stopped, detached or cancelled, or held or lost tasks are left: qd resume goes on\n  70  a defect of qd, or its disk broke\n\nSessions lie in $QD_STATE_DIR, else ./sessions if it exists, else the user's state folder (qd doctor says which)."
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
    /// Run this folder's `quarterdeck.ron` without asking if it has this hash (a refusal names it).
    #[arg(long, value_name = "HASH")]
    pub trust: Option<String>,
    /// Name of the new session [default: the workflow's name and the time].
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
}

/// How to show a session.
#[derive(Debug, Clone, clap::Args)]
pub struct Show {
    /// Plain lines instead of the console; so anyway where stdin or stdout is no terminal, or TERM=dumb.
    #[arg(long, help_heading = "How it is shown")]
    pub headless: bool,
    /// One JSON object a line for every fact, instead of plain lines (implies --headless).
    #[arg(long, help_heading = "How it is shown")]
    pub json: bool,
    /// Print nothing but errors of qd itself (implies --headless).
    #[arg(long, conflicts_with = "json", help_heading = "How it is shown")]
    pub quiet: bool,
    /// Theme of the console: dark, light, high-contrast, colour-blind, terminal16, mono, or the path of a theme's file.
    #[arg(long, value_name = "THEME", help_heading = "How it is shown")]
    pub theme: Option<String>,
    /// Colours: auto (in a terminal without NO_COLOR), always or never.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "How it is shown"
    )]
    pub color: Color,
    /// Draw with ASCII characters only.
    #[arg(long, help_heading = "How it is shown")]
    pub ascii: bool,
    /// Leave the mouse to the terminal.
    #[arg(long, help_heading = "How it is shown")]
    pub no_mouse: bool,
    /// Who sits at the keys and answers what tasks ask [default: $LOGNAME].
    #[arg(long = "as", value_name = "NAME")]
    pub who: Option<String>,
}

impl Show {
    /// Who answers: as is said, else as the login says.
    pub fn who(&self) -> String {
        let login =
            || ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
        self.who.clone().or_else(login).unwrap_or_else(|| "operator".to_owned())
    }
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
    /// Run a workflow file, commands given after `--`, or a list of commands from standard input.
    Run(Run),
    /// Go on with a session after a crash, a detach, a stop or a reboot; what is done is not run again.
    Resume(Resume),
    /// List sessions, the one last used first.
    Sessions(Sessions),
    /// Check a workflow file: everything that is wrong with it, at once; nothing is run.
    Check(Check),
    /// Say why a task of a session is not running.
    Why(Why),
    /// Ask or tell a session that runs in another terminal; `qd ctl ps` lists its tasks.
    Ctl(Ctl),
    /// From within a task: say how far it has come.
    Progress(Progress),
    /// Say something to everybody who looks at the session, from within a task or from another terminal.
    Msg(Msg),
    /// Answer what asks: an approval, or a gate with a quorum; from within a task as that task.
    Vote(Vote),
    /// Add a task to the workflow while it runs, from within a task or beside it.
    Spawn(Spawn),
    /// Publish values from within a task, for those after it.
    Publish(Publish),
    /// Read or change the shared state of a session, from within a task or from another terminal.
    State(State),
    /// Ask for a lock while a task runs, and give it back.
    Lock(Lock),
    /// Wait for other running tasks at a barrier.
    Barrier(Barrier),
    /// Print the output of a task.
    Log(Log),
    /// Open another console on a session that runs in another terminal: the same screens, the same keys.
    Attach(Attach),
    /// Look at a session as it was, at any moment, on the same screen; nothing is changed.
    Replay(Replay),
    /// Report on a session: its timeline, failures by cause, where time was lost.
    Report(Report),
    /// Compare two sessions: what got slower, by longer run or longer wait, and what fails now.
    Diff(Diff),
    /// Make a damaged session resumable: keeps its good beginning, and a copy of the whole.
    Repair(Repair),
    /// Say what this terminal, kernel and disk can do.
    Doctor,
    /// Print a completion script for a shell, to be sourced.
    Completions(Completions),
    /// Print the manual page (qd man | man -l -).
    Man,
}

/// `qd progress`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  for i in 1 2 3; do ./part.sh $i; qd progress $i/3; done\n  qd progress 40% linking"
)]
pub struct Progress {
    /// So much of so much, `3/7`, or `43%`.
    #[arg(value_parser = parse_progress)]
    pub value: (u64, u64),
    /// What it is at, in a few words.
    #[arg(value_name = "TEXT")]
    pub text: Vec<String>,
}

/// `qd vote`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A task votes as itself, if it is one of those that the quorum asks: Quorum(votes: 2, of: [\"lead\", \"smoke-test\"]).\n\nExamples:\n  ./smoke.sh && qd vote yes ready || qd vote no ready --note 'smoke test failed'\n  qd vote abstain ready --as ana"
)]
pub struct Vote {
    /// yes, no, or abstain.
    #[arg(value_enum)]
    pub vote: Ballot,
    /// Of which tasks or gates: names or globs.
    #[arg(value_name = "TASK", required = true)]
    pub tasks: Vec<String>,
    /// A note that is kept with the vote.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
    /// Who votes [default: the task that asks, else $LOGNAME].
    #[arg(long = "as", value_name = "WHO")]
    pub who: Option<String>,
    /// Which session: the only one that runs, if there is one, or that of the task that votes.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
}

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ballot {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Neither.
    Abstain,
}

/// `qd publish`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The task declares them: publishes: { \"files\": Publish(List(Text)), \"n\": Publish(Int) }. They count once it has ended well; of a name the last word counts. A value is a number, true, false, a JSON list or a text.\n\nExamples:\n  qd publish n=83\n  qd publish files='[\"a\", \"b\"]' tag=v1.2"
)]
pub struct Publish {
    /// NAME=VALUE.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = parse_publish)]
    pub values: Vec<(String, String)>,
}

/// `qd lock`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "NAME is a resource of the workflow: a Lock or a Pool. What is asked by `uses` is held from the start of a task; a lock is asked for while it runs, from within it, and is given back at its end at the latest. Exit code 75: not granted in time, or refused since it would deadlock: give back what you hold and try again.\n\nExamples:\n  qd lock run db -- ./migrate.sh\n  qd lock run --shared db -- ./read.sh\n  fence=$(qd lock acquire db --timeout 5m) || exit; ./write.sh --fence \"$fence\"; qd lock release db\n  qd lock list"
)]
pub struct Lock {
    /// One JSON object instead of lines.
    #[arg(long, global = true)]
    pub json: bool,
    /// What.
    #[command(subcommand)]
    pub what: LockVerb,
}

/// `qd barrier`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The workflow declares it: barriers: { \"loaded\": Barrier(parties: 3, inside: true, timeout: \"10m\") }. Once as many have come all go on, and\nthe next round begins. Exit code 1: the barrier broke, since one of those that wait has ended or gave up, or the time was up.\n\nExamples:\n  ./load.sh && qd barrier wait loaded && ./check-together.sh"
)]
pub struct Barrier {
    /// What.
    #[command(subcommand)]
    pub what: BarrierVerb,
}

/// What is done at a barrier.
#[derive(Debug, Subcommand)]
pub enum BarrierVerb {
    /// Wait until all parties have come.
    Wait {
        /// Which.
        name: String,
        /// Wait so long at most, for example 30s; then it breaks for all.
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        timeout: Option<u64>,
        /// Print the round as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// How much of what is asked for, and for how long.
#[derive(Debug, clap::Args)]
pub struct LockAsked {
    /// A lock or a pool of the workflow.
    pub name: String,
    /// Others may share it.
    #[arg(long, conflicts_with = "amount")]
    pub shared: bool,
    /// So much of a pool [default: 1].
    #[arg(long, value_name = "N")]
    pub amount: Option<f64>,
    /// Wait so long at most, for example 30s; 0s does not wait.
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub timeout: Option<u64>,
    /// By which it is given back, if a process has several of one resource.
    #[arg(long, value_name = "WORD")]
    pub ticket: Option<String>,
}

/// What is done with a lock.
#[derive(Debug, Subcommand)]
pub enum LockVerb {
    /// Wait for a lock and keep it; print its fence, a number that grows with each grant.
    Acquire {
        /// What.
        #[command(flatten)]
        asked: LockAsked,
        /// Give it back after so long, unless it is renewed.
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        lease: Option<u64>,
    },
    /// Give a lock back: one that was asked for, or else what the task has held of it since its start.
    Release {
        /// Its resource.
        name: String,
        /// As it was asked for.
        #[arg(long, value_name = "WORD")]
        ticket: Option<String>,
    },
    /// Let its lease begin anew.
    Renew {
        /// Its resource.
        name: String,
        /// As it was asked for.
        #[arg(long, value_name = "WORD")]
        ticket: Option<String>,
    },
    /// Wait for a lock, run a command, and give it back; ends as the command does.
    Run {
        /// What.
        #[command(flatten)]
        asked: LockAsked,
        /// The command; it finds the fence in QD_FENCE.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<std::ffi::OsString>,
    },
    /// Who holds which, and who waits.
    List {
        /// Which session: the only one that runs, if there is one, or that of the task that asks.
        #[arg(long, value_name = "NAME")]
        session: Option<String>,
    },
}

/// `qd msg`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qd msg uploaded 3 files\n  qd msg --priority 1 \"the licence server answers slowly\"\n  qd ctl messages --follow"
)]
pub struct Msg {
    /// What.
    #[arg(required = true, value_name = "TEXT")]
    pub text: Vec<String>,
    /// Above 0 it is an alert.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub priority: i32,
    /// Which session: the only one that runs, if there is one, or that of the task that says it.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// As whom.
    #[arg(long = "as", value_name = "WHO")]
    pub who: Option<String>,
}

/// `qd state`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A value is a number, true, false or a text; \"5\" in quotes of its own, or --text, makes a text of what looks like another.\n\nExamples:\n  qd state set phase testing\n  qd state add done 1\n  v=$(qd state get phase --json | jq .version); qd state cas phase $v shipping\n  qd state watch phase --until shipping"
)]
pub struct State {
    /// Which session: the only one that runs, if there is one, or that of the task that asks.
    #[arg(long, global = true, value_name = "NAME")]
    pub session: Option<String>,
    /// As whom.
    #[arg(long = "as", global = true, value_name = "WHO")]
    pub who: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What.
    #[command(subcommand)]
    pub what: StateVerb,
}

/// What is done with the shared state.
#[derive(Debug, Subcommand)]
pub enum StateVerb {
    /// Print a value; exit 1 if there is none.
    Get {
        /// Its key.
        key: String,
    },
    /// All keys with their values, versions, and who set them.
    List,
    /// Set a value.
    Set {
        /// Its key.
        key: String,
        /// The value.
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// It is a text, whatever it looks like.
        #[arg(long)]
        text: bool,
    },
    /// Set a value only if it has this version (0: if there is none); exit 1 if it has another.
    Cas {
        /// Its key.
        key: String,
        /// Its version.
        version: u64,
        /// The value.
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// It is a text, whatever it looks like.
        #[arg(long)]
        text: bool,
    },
    /// Add a number to one (to 0 if there is none), and print what it comes to. Nobody else's change is lost.
    Add {
        /// Its key.
        key: String,
        /// How much.
        #[arg(allow_hyphen_values = true, default_value_t = 1)]
        by: i64,
    },
    /// Delete a value that the workflow does not declare.
    Delete {
        /// Its key.
        key: String,
    },
    /// Wait until a value is another, and print it.
    Watch {
        /// Its key.
        key: String,
        /// Go on waiting until it is this.
        #[arg(long, allow_hyphen_values = true)]
        until: Option<String>,
        /// The version that is known already; that of now if absent.
        #[arg(long, conflicts_with = "until")]
        since: Option<u64>,
    },
}

fn parse_publish(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() { Err("which name?".into()) } else { Ok((name.to_owned(), value.to_owned())) }
}

/// In milliseconds.
fn parse_span(text: &str) -> Result<u64, String> {
    crate::workflow::duration(text).map(|span| span.0).map_err(|why| format!("{why}; for example 30s, 5m"))
}

fn parse_progress(text: &str) -> Result<(u64, u64), String> {
    let expected = || "expected 3/7 or 43%".to_owned();
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| expected());
    if let Some(percent) = text.strip_suffix('%') {
        return Ok((number(percent)?, 100));
    }
    let (done, of) = text.split_once('/').ok_or_else(expected)?;
    let (done, of) = (number(done)?, number(of)?);
    if of == 0 { Err("of nothing: expected 3/7".to_owned()) } else { Ok((done, of)) }
}

/// `qd ctl`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "TASK is a name or a glob ('shard-*').\n\nExamples:\n  qd ctl ps 'roll-*'\n  qd ctl prio 50 compile\n  qd ctl hold 'roll-*'\n  qd ctl approve sign-off --as lead --note 'looks good'\n  qd ctl wait compile && ./next.sh"
)]
pub struct Ctl {
    /// The session [default: the only one that runs].
    #[arg(long, value_name = "NAME", global = true)]
    pub session: Option<String>,
    /// One JSON object instead of lines.
    #[arg(long, global = true)]
    pub json: bool,
    /// Who asks [default: $LOGNAME]; it stands beside the command in the session.
    #[arg(long = "as", value_name = "NAME", global = true)]
    pub who: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub what: CtlVerb,
}

/// Tasks of a session.
#[derive(Debug, Clone, clap::Args)]
pub struct Which {
    /// Names or globs.
    #[arg(value_name = "TASK", required_unless_present = "filter")]
    pub tasks: Vec<String>,
    /// Of them, or of all without names, those that pass, as in the console: `state:failed stage:build prio>40 -tag:slow`.
    #[arg(long, short, value_name = "FILTER", allow_hyphen_values = true)]
    pub filter: Option<String>,
}

/// Answers of a client.
#[derive(Debug, Clone, clap::Args)]
pub struct Answer {
    /// Names or globs.
    #[arg(value_name = "TASK", required_unless_present = "filter")]
    pub tasks: Vec<String>,
    /// Of them, or of all without names, those that pass, as in the console: `state:failed stage:build prio>40 -tag:slow`.
    #[arg(long, short, value_name = "FILTER", allow_hyphen_values = true)]
    pub filter: Option<String>,
    /// A note that is kept with the answer.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
}

/// What `qd ctl` does.
#[derive(Debug, Subcommand)]
pub enum CtlVerb {
    /// List tasks, all or these, with what they do and why not.
    Ps {
        /// Names or globs.
        #[arg(value_name = "TASK")]
        tasks: Vec<String>,
        /// Of them, or of all without names, those that pass, as in the console: `state:failed stage:build prio>40 -tag:slow`.
        #[arg(long, short, value_name = "FILTER", allow_hyphen_values = true)]
        filter: Option<String>,
    },
    /// What tasks, people and scripts have said.
    Messages {
        /// Go on with what is said from now on, until the session ends.
        #[arg(long, short)]
        follow: bool,
    },
    /// What happened, in the lines of a run without a screen; also of a session that is over.
    Events {
        /// Only of these tasks: names or globs.
        #[arg(value_name = "TASK")]
        tasks: Vec<String>,
        /// Go on with what happens from now on, until the session ends: then 0, or 3 if its console died.
        #[arg(long, short)]
        follow: bool,
    },
    /// Say why a task is not running.
    Why {
        /// Its name.
        task: String,
    },
    /// Wait until tasks are over, all or these: 0 if all are done or skipped, 1 if some failed, 3 else.
    Wait {
        /// Names or globs.
        #[arg(value_name = "TASK")]
        tasks: Vec<String>,
        /// Of them, or of all without names, those that pass, as in the console: `state:failed stage:build prio>40 -tag:slow`.
        #[arg(long, short, value_name = "FILTER", allow_hyphen_values = true)]
        filter: Option<String>,
    },
    /// Set the priority: higher first.
    #[command(allow_negative_numbers = true)]
    Prio {
        /// The new value.
        value: i32,
        /// On which tasks.
        #[command(flatten)]
        which: Which,
    },
    /// Do not start them.
    Hold(Which),
    /// Let held tasks start again.
    Release(Which),
    /// Stop them if they run (SIGTERM, grace, SIGKILL), and do not run them.
    Cancel(Which),
    /// Cancel by SIGKILL now.
    Kill(Which),
    /// Queue again what failed, was cancelled or is lost.
    Retry(Which),
    /// Count them as done without running them.
    Skip(Which),
    /// Take back a skip or a cancel.
    Unskip(Which),
    /// Do their next fallback now.
    Fallback(Which),
    /// Add tasks to the workflow while it runs.
    #[command(
        after_help = "Example:\n  echo 'Task(id: \"smoke\", run: \"make smoke\", after: [\"deploy\"])' | qd ctl add --stage test"
    )]
    Add {
        /// A file with a task or a list of tasks, as a workflow says them; standard input if absent or `-`.
        file: Option<PathBuf>,
        /// Their stage, if they name none.
        #[arg(long, value_name = "STAGE")]
        stage: Option<String>,
        /// A task that waits is to wait for them too; may be given several times.
        #[arg(long, value_name = "TASK")]
        before: Vec<String>,
    },
    /// Change a task that waits.
    #[command(
        after_help = "Examples:\n  qd ctl edit deploy 'after: [\"build\", \"smoke\"]'\n  qd ctl edit test 'stage: \"late\", timeout: \"5m\", retry: None'"
    )]
    Edit {
        /// Its name.
        task: String,
        /// The fields that are to be others, as a workflow says them; `None` for one that is to be absent.
        fields: String,
    },
    /// Take tasks out of the workflow that have not begun: what waits for them goes on without.
    Remove(Which),
    /// Put removed tasks back.
    Restore(Which),
    /// Say yes to what they ask.
    Approve(Answer),
    /// Say no to what they ask.
    Reject(Answer),
    /// Neither yes nor no to what a gate asks.
    Abstain(Answer),
    /// Start nothing new.
    Pause,
    /// Start again.
    Resume,
    /// Finish what runs, start nothing new, then end the session.
    Drain,
    /// Stop everything, then end the session.
    Stop,
    /// Kill everything, then end the session.
    StopNow,
    /// Leave what runs to its guard and end the console.
    Detach,
    /// Stop the run and undo what was done.
    Compensate,
    /// Close the circuit breaker.
    CloseBreaker,
    /// Start new tasks also while the condition of `PauseWhile` holds.
    IgnorePauseWhile,
    /// Let `PauseWhile` count again.
    HeedPauseWhile,
    /// Set how many tasks run at once on an agent.
    Slots {
        /// Its name.
        agent: String,
        /// So many.
        slots: u32,
    },
    /// Set what an agent offers; nothing without names.
    Capabilities {
        /// Its name.
        agent: String,
        /// What it offers.
        names: Vec<String>,
    },
    /// Set how much there is of a resource or a limit.
    Limit {
        /// Its name.
        resource: String,
        /// In its unit.
        amount: f64,
        /// On this agent, if each has its own.
        #[arg(long, value_name = "AGENT")]
        agent: Option<String>,
    },
    /// Set how many tasks run at once over all agents; without a number, as many as have room.
    MaxRunning {
        /// At least 1.
        most: Option<u32>,
    },
    /// Take the last command back.
    Undo,
    /// Do again what was taken back.
    Redo,
}

/// `qd spawn`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples, within a task:\n  for f in *.png; do qd spawn \"opt-$f\" --before pack -- optipng \"$f\"; done\n  qd spawn big --with 'needs: [\"gpu\"], timeout: \"1h\"' -- ./train\n  qd spawn --file more.ron"
)]
pub struct Spawn {
    /// The name of the new task.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub name: Option<String>,
    /// Its command and words.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "file")]
    pub command: Vec<String>,
    /// It waits for this task; may be given several times, also with globs.
    #[arg(long, value_name = "TASK")]
    pub after: Vec<String>,
    /// A task that waits is to wait for it too; may be given several times.
    #[arg(long, value_name = "TASK")]
    pub before: Vec<String>,
    /// Its stage; within a task the stage of that task if absent.
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// More fields, as a workflow says them.
    #[arg(long, value_name = "FIELDS", conflicts_with = "file")]
    pub with: Option<String>,
    /// A task or a list of tasks from this file, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Which session, if this is not said within a task; the only one that runs if absent.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
}

/// `qd run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qd run flow.ron\n  qd run flow.ron --headless --param target=prod\n  qd run -- 'make -C a' 'make -C b'\n  ls *.png | sed 's/.*/optipng &/' | qd run --slots 4"
)]
pub struct Run {
    /// The workflow file. Absent or `-`: commands after `--`, or one a line from standard input.
    pub file: Option<PathBuf>,
    /// Commands to run side by side, without a file.
    #[arg(last = true, value_name = "COMMAND")]
    pub commands: Vec<String>,
    /// How to show it.
    #[command(flatten)]
    pub show: Show,
    /// Set a parameter of the workflow; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param)]
    pub params: Vec<(String, String)>,
    /// How many tasks run at once on the first agent [default: as the file says, else the number of processors].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_000))]
    pub slots: Option<u32>,
    /// Name of the new session [default: the workflow's name and the time].
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// Run a file of another user without asking if it has this hash (a refusal names it).
    #[arg(long, value_name = "HASH")]
    pub trust: Option<String>,
    /// Answers to what tasks ask.
    #[command(flatten)]
    pub votes: Votes,
}

/// Answers to what approvals and gates ask.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Votes {
    /// Say yes to what this task asks, now or when it asks; may be given several times.
    #[arg(long, value_name = "TASK")]
    pub approve: Vec<String>,
    /// Say no to what this task asks; may be given several times.
    #[arg(long, value_name = "TASK")]
    pub reject: Vec<String>,
    /// Neither yes nor no to what this gate asks; may be given several times.
    #[arg(long, value_name = "TASK")]
    pub abstain: Vec<String>,
    /// A note that is kept with the answers.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
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
    /// The session [default: the one last used that is not over].
    pub name: Option<String>,
    /// How to show it.
    #[command(flatten)]
    pub show: Show,
    /// Queue failed and lost tasks again first.
    #[arg(long)]
    pub retry_failed: bool,
    /// Stop the run and undo what was done: run the compensations of what is done, what ended last first.
    #[arg(long, conflicts_with = "retry_failed")]
    pub compensate: bool,
    /// Answers to what tasks ask.
    #[command(flatten)]
    pub votes: Votes,
}

/// `qd sessions`.
#[derive(Debug, clap::Args)]
pub struct Sessions {
    /// One JSON object a line for each session.
    #[arg(long)]
    pub json: bool,
}

/// `qd check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The workflow file.
    pub file: PathBuf,
    /// Set a parameter of the workflow; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param)]
    pub params: Vec<(String, String)>,
    /// Colours: auto (in a terminal without NO_COLOR), always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub color: Color,
}

/// `qd replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: Space plays, ← → move 10 s, , . by one fact, [ ] change the speed, n N go to the next mark and the one\nbefore, Home End; all others as in a running session, but for those that change anything."
)]
pub struct Replay {
    /// The session.
    pub session: String,
    /// How it is shown.
    #[command(flatten)]
    pub show: Show,
}

/// `qd attach`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Any number of consoles may be attached at once; all see the same, and the action list says who did what. q leaves this\none alone: the session goes on."
)]
pub struct Attach {
    /// The session [default: the only one that runs].
    pub session: Option<String>,
    /// Only look.
    #[arg(long)]
    pub read_only: bool,
    /// How it is shown.
    #[command(flatten)]
    pub show: Show,
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
    /// Which attempt [default: the last that wrote anything].
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// The bytes as they are, escape sequences and all.
    #[arg(long)]
    pub raw: bool,
}

/// `qd report`.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// The session; it may be running.
    pub session: String,
    /// How it is written.
    #[command(flatten)]
    pub written: Written,
}

/// `qd diff`.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// The session to compare with: what it was.
    pub before: String,
    /// The session to compare: what it is.
    pub after: String,
    /// How it is written.
    #[command(flatten)]
    pub written: Written,
}

/// How a report is written.
#[derive(Debug, clap::Args)]
pub struct Written {
    /// As one HTML file that needs nothing else, instead of Markdown.
    #[arg(long)]
    pub html: bool,
    /// Into this file, which is replaced, instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
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
