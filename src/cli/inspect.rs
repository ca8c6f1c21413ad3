//! Verbs that only look: check, sessions, why, log, doctor; and repair, which asks nothing of a running session.

use std::io::{self, IsTerminal, Read, Write};

use serde_json::json;

use super::args::{Check, Color, Log, Repair, Sessions, Why};
use super::live::{self, colour};
use super::resume::{Replay, replay};
use super::run;
use super::shell::print;
use crate::engine::decide::{Engine, word};
use crate::engine::explain::explain;
use crate::engine::ids::{TaskId, Time};
use crate::engine::state::State;
use crate::error::{Error, Result};
use crate::runtime::clock::Clock;
use crate::session::folder::LOG;
use crate::session::journal::recover;
use crate::session::lock::{Lock, living_holder};
use crate::session::summary::Summary;
use crate::snapshot::build::Frozen;
use crate::snapshot::why::{duration, why as why_lines};
use crate::workflow::{self, Source};
use crate::{guard, text};

/// `qd check`.
pub fn check(args: &Check) -> Result<i32> {
    let name = args.file.display().to_string();
    let text = run::read(&args.file)?;
    match workflow::load(&Source { name: &name, text: &text }, &args.params, &run::machine()) {
        Ok(workflow) => {
            let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
            let line = format!(
                "✓ {}: {}, {}, {}\n",
                text::clean(&name),
                count(workflow.tasks.len(), "task"),
                count(workflow.stages.len(), "stage"),
                count(workflow.agents.len(), "agent"),
            );
            Ok(print(line.as_bytes()))
        }
        Err(diagnostics) => {
            let coloured = colour(args.color) && (args.color == Color::Always || io::stderr().is_terminal());
            let _ = io::stderr().lock().write_all(diagnostics.render(coloured).as_bytes());
            Ok(2)
        }
    }
}

/// `qd sessions`.
pub fn sessions(args: &Sessions) -> Result<i32> {
    let all = live::sessions()?.list()?;
    let mut out = String::new();
    if args.json {
        for session in &all {
            let line = json!({
                "v": 1, "name": session.name, "workflow": session.workflow, "tasks": session.tasks,
                "state": state_word(session), "began_ms": session.began.map(|at| at.0), "last_ms": session.last.map(|at| at.0),
                "facts": session.facts, "code": session.closed, "pid": session.holder.as_ref().map(|holder| holder.pid),
                "problem": session.problem,
            });
            out.push_str(&format!("{line}\n"));
        }
        return Ok(print(out.as_bytes()));
    }
    if all.is_empty() {
        return Ok(print(b"no sessions yet: qd run FILE makes one\n"));
    }
    let width = all.iter().map(|session| text::width(&session.name)).max().unwrap_or(0).clamp(8, 40);
    let now = Clock::new(Time(0)).now();
    out.push_str(&format!("{:width$}  {:<12} {:>7}  {:<10} WORKFLOW\n", "SESSION", "STATE", "TASKS", "LAST"));
    for session in &all {
        let last = session.last.map_or_else(|| "—".into(), |at| format!("{} ago", duration(now.since(at))));
        let tasks = session.tasks.map_or_else(|| "—".into(), |n| n.to_string());
        let workflow = session.problem.clone().or_else(|| session.workflow.clone()).unwrap_or_default();
        let name = text::clean(&session.name);
        let pad = width.saturating_sub(text::width(&name));
        out.push_str(&format!(
            "{name}{:pad$}  {:<12} {tasks:>7}  {last:<10} {}\n",
            "",
            state_word(session),
            text::clean(&workflow)
        ));
    }
    Ok(print(out.as_bytes()))
}

fn state_word(session: &Summary) -> &'static str {
    match (&session.problem, &session.holder, session.closed) {
        (Some(_), ..) => "damaged",
        (_, Some(_), _) => "running",
        (_, _, Some(0)) => "done",
        (_, _, Some(1)) => "failed",
        (_, _, Some(_)) => "stopped",
        (_, _, None) => "interrupted",
    }
}

fn find(state: &State, name: &str) -> Result<TaskId> {
    let ids = || (0..state.tasks.len()).map(TaskId::from);
    if let Some(id) = ids().find(|id| state.name(*id) == name) {
        return Ok(id);
    }
    let nearest = ids()
        .map(|id| (strsim::jaro_winkler(state.name(id), name), id))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let error = Error::usage(format!("there is no task {name:?} in this session"));
    Err(match nearest {
        Some((_, id)) => error.hint(format!("did you mean {}?", state.name(id))),
        None => error,
    })
}

/// `qd why`.
pub fn why(args: &Why) -> Result<i32> {
    let folder = live::sessions()?.folder(&args.session)?;
    let Replay { state, .. } = replay(&folder)?;
    let id = find(&state, &args.task)?;
    let at = if living_holder(&folder).is_some() { Clock::new(Time(0)).now() } else { state.now };
    let reasons = explain(&state, id);
    let phase = state.task(id).phase;
    let mut engine = Engine::new(state);
    engine.look_around();
    let frozen =
        Frozen { engine, session: args.session.clone(), log_dir: folder.path().join(LOG), ..Frozen::default() };
    let lines = why_lines(&frozen, id, at);
    if args.json {
        let reasons: Vec<String> =
            reasons.iter().map(|reason| crate::snapshot::why::short(&frozen, id, reason, at)).collect();
        let lines: Vec<_> =
            lines.iter().map(|line| json!({"met": line.met, "text": line.text, "more": line.more})).collect();
        let value = json!({"v": 1, "task": args.task, "phase": word(phase), "reasons": reasons, "conditions": lines});
        return Ok(print(format!("{value}\n").as_bytes()));
    }
    let mut out = format!("{} is {}\n", text::clean(&args.task), word(phase));
    for line in &lines {
        out.push_str(&format!("  {} {}\n", if line.met { "✓" } else { "✗" }, text::clean(&line.text)));
        for more in &line.more {
            out.push_str(&format!("      {}\n", text::clean(more)));
        }
    }
    Ok(print(out.as_bytes()))
}

/// `qd log`.
pub fn log(args: &Log) -> Result<i32> {
    let folder = live::sessions()?.folder(&args.session)?;
    let Replay { state, .. } = replay(&folder)?;
    let id = find(&state, &args.task)?;
    let task = state.task(id);
    let live = task.live.as_ref().and_then(|live| live.log).map(|log| (task.attempt, log));
    let past = task.past.iter().flat_map(|past| past.iter()).filter_map(|past| Some((past.attempt.0, past.log?)));
    let all: Vec<(u32, u64)> = past.chain(live).collect();
    let chosen = match args.attempt {
        Some(attempt) => all.iter().find(|(number, _)| *number == attempt),
        None => all.last(),
    };
    let Some((_, number)) = chosen else {
        return Err(Error::usage(format!("{} has written nothing", args.task)));
    };
    let path = folder.path().join(LOG).join(number.to_string());
    let cannot = |error: io::Error| Error::usage(format!("cannot read {}: {error}", path.display()));
    let mut file = std::fs::File::open(&path).map_err(cannot)?;
    let mut out = io::stdout().lock();
    if args.raw {
        let _ = io::copy(&mut file, &mut out);
        return Ok(0);
    }
    print_clean(file, &mut out).map_err(cannot)?;
    Ok(0)
}

/// Longest line printed; more of it is cut with a mark.
const LINE_BYTES: u64 = 64 << 10;

/// Prints line by line, neutralised, in bounded memory.
fn print_clean(file: std::fs::File, out: &mut impl Write) -> io::Result<()> {
    use std::io::BufRead;
    let mut reader = io::BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let whole = line.strip_suffix(b"\n").unwrap_or(&line);
        let clean = text::line(whole, usize::MAX).text;
        // A reader that left early is no error.
        if out.write_all(clean.as_bytes()).and_then(|()| out.write_all(b"\n")).is_err() {
            return Ok(());
        }
    }
}

/// `qd repair`.
pub fn repair(args: &Repair) -> Result<i32> {
    let folder = live::sessions()?.folder(&args.session)?;
    let lock = Lock::take(&folder, Clock::new(Time(0)).now(), false).map_err(Error::from)?;
    let text = match recover::repair(&folder, &lock).map_err(Error::from)? {
        None => format!("session {} is not damaged\n", args.session),
        Some(repaired) => format!(
            "kept the first {} facts; the whole journal as it was is in {}\n  go on with: qd resume {}\n",
            repaired.facts, repaired.kept_as, args.session
        ),
    };
    Ok(print(text.as_bytes()))
}

/// `qd doctor`.
pub fn doctor() -> Result<i32> {
    let mut lines: Vec<(bool, String)> = Vec::new();
    let children = std::path::Path::new(&format!("/proc/self/task/{}/children", std::process::id())).exists();
    lines.push((
        children,
        if children {
            "kernel lists children: trees are proved empty cheaply".into()
        } else {
            "kernel does not list children (CONFIG_PROC_CHILDREN): all of /proc is scanned after each task".into()
        },
    ));
    let boot = guard::boot_id().is_ok();
    lines.push((
        boot,
        if boot {
            "boot id is known: pids of another boot are never trusted".into()
        } else {
            "no boot id: survivors of a crash cannot be proved".into()
        },
    ));
    match live::sessions() {
        Ok(sessions) => {
            lines.push((true, format!("sessions lie in {}", sessions.path().display())));
            lines.push(sync_speed(sessions.path()));
        }
        Err(error) => lines.push((false, error.message)),
    }
    let terminal = io::stdout().is_terminal();
    lines.push((
        terminal,
        if terminal {
            "stdout is a terminal: qd opens the console".into()
        } else {
            "stdout is no terminal: qd prints plain lines".into()
        },
    ));
    let variable = |name: &str| std::env::var(name).ok();
    match crate::tui::Options::detect(None, variable) {
        Ok(options) => lines.push((
            true,
            format!(
                "colours: {:?}{}",
                options.depth,
                if options.ascii { ", ASCII only (no UTF-8 locale)" } else { ", Unicode" }
            ),
        )),
        Err(error) => lines.push((false, error)),
    }
    let out: String =
        lines.iter().map(|(good, line)| format!("{} {}\n", if *good { "✓" } else { "!" }, text::clean(line))).collect();
    Ok(print(out.as_bytes()))
}

fn sync_speed(folder: &std::path::Path) -> (bool, String) {
    let measure = || -> io::Result<std::time::Duration> {
        let path = folder.join(format!(".doctor-{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        let began = std::time::Instant::now();
        let rounds = 5;
        for _ in 0..rounds {
            file.write_all(&[b'x'; 200])?;
            file.sync_data()?;
        }
        let took = began.elapsed() / rounds;
        std::fs::remove_file(&path)?;
        Ok(took)
    };
    match measure() {
        Ok(took) => (
            took.as_millis() < 50,
            format!("a fact on this disk is safe against power loss after {:.1} ms", took.as_secs_f64() * 1000.0),
        ),
        Err(error) => (false, format!("cannot write there: {error}")),
    }
}
