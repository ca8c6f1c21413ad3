//! A session alive: the parts of a new or resumed one put together, run to its end, with a console or without.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::args::{Color, Show};
use crate::agents::MakeToken;
use crate::agents::adoption::Adoption;
use crate::agents::attended::Places;
use crate::agents::local::{Config, LocalExecutor};
use crate::bus::token::Secret;
use crate::care::order as care;
use crate::engine::decide::Engine;
use crate::engine::definition::{OnConsoleDeath, Settings, Workflow};
use crate::engine::fact::{FACT_VERSION, Fact};
use crate::engine::ids::{Attempt, TaskId, Time};
use crate::engine::message::Command;
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::guard::{ConsoleSide, OnDeath, Policy};
use crate::headless::{Printer, Style};
use crate::runtime::clock::Clock;
use crate::runtime::hands::{Checkpointer, Hands};
use crate::runtime::{Asked, End, Handle, Parts, Runtime};
use crate::sensors::Watcher;
use crate::sensors::monitor::Monitors;
use crate::server::Server;
use crate::session::checkpoint;
use crate::session::folder::{Folder, LOG, Sessions, Surroundings, WORKFLOW};
use crate::session::journal::recover;
use crate::session::journal::write::Writer;
use crate::session::lock::{Lock, boot_id};

/// A new session.
pub struct New {
    /// What to run.
    pub workflow: Arc<Workflow>,
    /// Its text, kept in the session.
    pub text: String,
    /// Name of the session, if one was given.
    pub name: Option<String>,
    /// What is asked for as soon as it is loaded.
    pub first_commands: Vec<Command>,
}

/// A session open for writing.
pub struct Open {
    /// Its folder.
    pub folder: Folder,
    /// Held as long as it is open.
    pub lock: Lock,
    /// Behind its last fact.
    pub writer: Writer,
    /// What was read back (or nothing).
    pub engine: Engine,
    /// First facts of this console.
    pub opening: Vec<Fact>,
    /// Commands that come before all others.
    pub first_commands: Vec<Command>,
    /// To be loaded, in a new session.
    pub workflow: Option<Arc<Workflow>>,
    /// Speaks for attempts of earlier consoles.
    pub adoption: Option<Box<dyn Adoption>>,
    /// The session's clock.
    pub clock: Clock,
}

/// Opens the folder that sessions lie in.
pub fn sessions() -> Result<Sessions> {
    Sessions::open(&Surroundings::of_process()?.sessions()?)
}

/// The fact that a console opened the session.
pub fn opened() -> Fact {
    Fact::Opened {
        version: FACT_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: boot_id().unwrap_or_default(),
        pid: rustix::process::getpid().as_raw_pid(),
    }
}

/// Makes a session and runs it.
pub fn begin(new: New, show: Show, side: ConsoleSide) -> Result<i32> {
    let clock = Clock::new(Time(0));
    let sessions = sessions()?;
    let folder = sessions.create(new.name.as_deref(), &new.workflow.settings.name, clock.now())?;
    let lock = Lock::take(&folder, clock.now(), false).map_err(Error::from)?;
    let cannot =
        |error: std::io::Error| Error::usage(format!("cannot write into {}: {error}", folder.path().display()));
    folder.create_file(WORKFLOW).and_then(|mut file| file.write_all(new.text.as_bytes())).map_err(cannot)?;
    let writer = recover::create(&folder, &lock).map_err(cannot)?;
    let open = Open {
        lock,
        writer,
        engine: Engine::default(),
        opening: vec![opened()],
        first_commands: new.first_commands,
        workflow: Some(new.workflow),
        adoption: None,
        clock,
        folder,
    };
    live(open, show, side)
}

/// Runs an open session to its end.
pub fn live(open: Open, show: Show, side: ConsoleSide) -> Result<i32> {
    fault::role("console");
    super::defect::session(open.folder.name());
    let next_log = next_log(&open.folder, &open.engine);
    let _lock = open.lock;
    let settings = match &open.workflow {
        Some(workflow) => Arc::new(workflow.settings.clone()),
        None => open.engine.state.settings.clone(),
    };
    let style = style_of(&show);
    let headless = style != Style::Silent || show.quiet;
    tell_guard(&side, &open.folder, &settings)?;
    let side = Arc::new(side);
    let log_dir = open.folder.path().join(LOG);
    let io = |error: std::io::Error| Error::internal(error.to_string());
    let handle = Handle::new(open.clock).map_err(io)?;
    let started = if open.engine.state.loaded { open.engine.state.started } else { open.clock.now() };
    let printer = Printer::start(style, started, log_dir.clone()).map_err(io)?;
    // Without one the helpers of tasks are refused, and all else goes on.
    let secret = open.folder.secret().map(|bytes| Secret::of(&bytes));
    if let Err(error) = &secret {
        handle.note(format!("tasks cannot speak on the socket: no secret can be kept: {error}"), true);
    }
    let secret = secret.ok().flatten();
    let config = Config {
        table: Some(side.table()),
        log_dir: log_dir.clone(),
        session: marker(&open.folder),
        default_cwd: settings.cwd.clone().map_or_else(|| ".".into(), Into::into),
        next_log,
        adoption: open.adoption,
        care: Some(care_places(&open.folder, &settings)?),
        token: secret.clone().map(token_maker),
        scan: false,
    };
    {
        let tasks = &open.engine.state.tasks;
        let is_live = |task: TaskId, attempt: Attempt| {
            tasks.get(task.index()).is_some_and(|task| task.live.is_some() && task.attempt == attempt.0)
        };
        care::sweep(&open.folder.path().join(care::FOLDER), &is_live);
    }
    let checkpointer = checkpointer(open.folder.name());
    let (writer, durability) = (open.writer, settings.durability);
    let watched = side.clone();
    let parts = Parts {
        engine: open.engine,
        clock: open.clock,
        opening: open.opening,
        workflow: open.workflow,
        name: open.folder.name().to_owned(),
        log_dir,
        style,
        headless,
        guard_alive: Some(Box::new(move || watched.guard_alive())),
    };
    for command in open.first_commands {
        handle.send(command, 0, None);
    }
    let server = Server::start(&open.folder, &handle, secret, super::run::machine);
    if let Err(error) = &server {
        handle.note(format!("no socket, qd ctl cannot reach this session: {error}"), true);
    }
    let for_watcher = handle.clone();
    let tell = Box::new(move |sighting| for_watcher.saw(sighting));
    let watcher = Watcher::new(settings.cwd.clone().map_or_else(|| ".".into(), Into::into), tell);
    let monitors = Monitors::new(parts.log_dir.clone(), Box::new(handle.clone()));
    let for_loop = handle.clone();
    let run = move || {
        let executor = LocalExecutor::new(config).map_err(|error| format!("the local agent cannot work: {error}"))?;
        let told = (watcher, monitors, for_loop.waiters());
        let hands = Hands::new(writer, durability, printer, Some(checkpointer), Box::new(executor), told);
        let hands = hands.map_err(|error| error.to_string())?;
        Runtime::new(parts, &for_loop, hands).run()
    };
    let screen = if headless { None } else { Some(super::console::start(&handle, &show, side.clone())?) };
    let end = drive(run, &handle, &side, settings.on_console_death);
    if end.is_err() {
        handle.end(Kind::Internal.code());
    }
    drop(server);
    finish(end, &open.folder, &side, screen, &show, style)
}

/// Where orders and findings of this session lie, and records of what is up to date.
fn care_places(folder: &Folder, settings: &Settings) -> Result<Places> {
    let records = Surroundings::of_process()?.state_root()?.join("uptodate");
    let orders = std::path::absolute(folder.path().join(care::FOLDER));
    let orders = orders.map_err(|error| Error::internal(error.to_string()))?;
    Ok(Places::new(orders, records, settings.name.clone(), settings.cwd.as_deref().unwrap_or(".").into()))
}

fn next_log(folder: &Folder, engine: &Engine) -> u64 {
    // Beyond every file that is there: an attempt whose start was never stored may have one too.
    let names = std::fs::read_dir(folder.path().join(LOG)).into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    numbers.max().map_or(1, |last| last + 1).max(engine.state.next_log)
}

/// Writes checkpoints into the session's folder.
fn checkpointer(name: &str) -> Checkpointer {
    let name = name.to_owned();
    Arc::new(move |position, state| {
        let folder = sessions().and_then(|sessions| sessions.folder(&name));
        if let (Ok(folder), Ok(text)) = (folder, state.to_checkpoint()) {
            // A cache: a disk that is full has better uses.
            let _ = checkpoint::write(&folder, position, text.as_bytes());
        }
    })
}

/// Plain, JSON or nothing; the console prints nothing.
fn style_of(show: &Show) -> Style {
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    match show {
        Show { quiet: true, .. } => Style::Silent,
        Show { json: true, .. } => Style::Json,
        Show { headless: true, .. } => Style::Plain,
        _ if !terminal || dumb => Style::Plain,
        _ => Style::Silent,
    }
}

/// What `QD_SESSION` says to tasks: the folder's real path. A name would not do: there may be another session of that name
/// in another state folder, and what carries this marker may be killed as a leftover.
pub fn marker(folder: &Folder) -> String {
    let path = folder.path();
    let real = path.canonicalize().or_else(|_| std::path::absolute(path));
    real.unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

fn tell_guard(side: &ConsoleSide, folder: &Folder, settings: &Settings) -> Result<()> {
    let on_death = match settings.on_console_death {
        OnConsoleDeath::Adopt { grace } => OnDeath::Adopt { grace_ms: grace.0 },
        OnConsoleDeath::Stop => OnDeath::Stop,
    };
    let policy = Policy { on_death, stop_grace_ms: settings.grace.0 };
    side.session(Path::new(&marker(folder)), folder.name(), policy)
        .map_err(|error| Error::internal(format!("the guard cannot watch this session: {error}")))
}

/// The loop on a thread of its own (which must not be the process's leader: see `agents::local`); signals and the front are
/// watched on this one.
fn drive(
    run: impl FnOnce() -> std::result::Result<End, String> + Send + 'static,
    handle: &Handle,
    side: &Arc<ConsoleSide>,
    on_death: OnConsoleDeath,
) -> Result<End> {
    let io = |error: std::io::Error| Error::internal(error.to_string());
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let (told, end) = tokio::sync::oneshot::channel();
    let thread = move || {
        // Nobody listens only if this thread's end is not waited for any more.
        let _ = told.send(run());
    };
    tokio.block_on(async {
        tokio::spawn(watch_signals(handle.clone(), on_death));
        tokio::spawn(watch_front(handle.clone(), side.clone(), on_death));
        // Signals are caught before anything runs.
        tokio::task::yield_now().await;
        std::thread::Builder::new().name("loop".into()).spawn(thread).map_err(io)?;
        let end = end.await.map_err(|_| Error::internal("the loop ended without a word"))?;
        end.map_err(Error::internal)
    })
}

async fn watch_signals(handle: Handle, on_death: OnConsoleDeath) {
    use tokio::signal::unix::{SignalKind, signal};
    // What was ignored when we started stays ignored: `nohup` means the hang-up, a script's `&` the interrupt.
    let ignored = ignored_signals();
    let caught = |kind: SignalKind| {
        let ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
        (!ignored).then(|| signal(kind).ok()).flatten()
    };
    let (mut terminate, mut interrupt, mut hang_up) =
        (signal(SignalKind::terminate()).ok(), caught(SignalKind::interrupt()), caught(SignalKind::hangup()));
    // Caught and dropped: a file-size limit is an error of a write, not the end of the console.
    let _file_size = signal(SignalKind::from_raw(libc::SIGXFSZ));
    loop {
        let asked = tokio::select! {
            () = next(&mut terminate) => Asked::Terminate,
            () = next(&mut interrupt) => Asked::Interrupt,
            () = next(&mut hang_up) => gone(on_death),
        };
        handle.ask(asked);
    }
}

/// The next of these signals; never, if they are not caught.
async fn next(signals: &mut Option<tokio::signal::unix::Signal>) {
    let came = match signals {
        Some(signals) => signals.recv().await.is_some(),
        None => false,
    };
    if !came {
        std::future::pending::<()>().await;
    }
}

/// The set of ignored signals, bit `n - 1` for signal `n`; none where `/proc` does not say.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

/// Without its front the console has no terminal and no shell: it leaves.
async fn watch_front(handle: Handle, side: Arc<ConsoleSide>, on_death: OnConsoleDeath) {
    while side.front_alive() {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    handle.ask(gone(on_death));
}

/// The terminal is gone.
fn gone(on_death: OnConsoleDeath) -> Asked {
    match on_death {
        OnConsoleDeath::Adopt { .. } => Asked::HangUp,
        OnConsoleDeath::Stop => Asked::Terminate,
    }
}

/// Ends the screen, tells the guard, says what became of everything.
fn finish(
    end: Result<End>,
    folder: &Folder,
    side: &ConsoleSide,
    screen: Option<JoinHandle<()>>,
    show: &Show,
    style: Style,
) -> Result<i32> {
    if let Some(screen) = screen {
        // A screen that cannot be drawn must not keep the program: its terminal is restored by its own hand or by front.
        let _ = screen.join();
    }
    let end = end?;
    if end.code == 0 {
        care::forget_saved(&folder.path().join(care::FOLDER));
    }
    if end.detached {
        side.detach().map_err(|error| Error::internal(format!("the guard does not take over: {error}")))?;
    } else {
        side.closing();
    }
    if style != Style::Json && !show.quiet {
        let name = folder.name();
        let mark = if end.code == 0 { "✓" } else { "✗" };
        let mut text = format!("{mark} {} · session {name}\n", end.summary);
        if end.code == Kind::Stopped.code() {
            text.push_str(&format!("  go on with: qd resume {name}\n"));
        }
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    Ok(end.code)
}

/// Whether colours are wanted.
pub fn colour(choice: Color) -> bool {
    match choice {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

fn token_maker(secret: Secret) -> MakeToken {
    Box::new(move |task, attempt| secret.token(task.0, attempt.0))
}
