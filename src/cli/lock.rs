//! `qd lock` and `qd barrier`: a running task asks for a lock and gives it back, or waits for others. Who asks waits also while the session is away, and asks again
//! when it is back: by its ticket it is the same request.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::{Barrier, BarrierVerb, Lock, LockAsked, LockVerb};
use super::ctl::{self, Within};
use super::shell::print;
use crate::bus::client::{Client, Trouble};
use crate::bus::message::{BarrierOrder, LockLine, LockOrder};
use crate::error::{Error, Result};
use crate::text;

/// Not granted in time, or refused since it would deadlock: try again (EX_TEMPFAIL).
const TRY_AGAIN: i32 = 75;
/// The barrier broke.
const BROKEN: i32 = 1;
/// So often it is looked whether a session that is away is back.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// What is to be given back is tried for so long: at the end of the attempt it is given back anyway.
const GIVE_BACK: Duration = Duration::from_secs(10);
/// So many processes above this one are told of.
const ABOVE: usize = 60;

/// `qd lock`.
pub fn lock(args: &Lock) -> Result<i32> {
    if let LockVerb::List { session } = &args.what {
        return list(session.as_deref(), args.json);
    }
    let Some(within) = ctl::within()? else {
        let hint = "qd lock is for the commands of a task, while they run; qd lock list for everybody";
        return Err(Error::usage("no task asks for this").hint(hint));
    };
    match &args.what {
        LockVerb::Acquire { asked, lease } => {
            // The shell that asks holds it, not this process.
            let holder = parent_id();
            let Some(fence) = acquire(&within, asked, holder, *lease)? else { return Ok(late(asked)) };
            let ticket = ticket(&asked.name, asked.ticket.as_deref(), holder);
            if args.json {
                return Ok(ctl::print_json(&json!({ "granted": true, "ticket": ticket, "fence": fence })));
            }
            Ok(print(format!("{fence}\n").as_bytes()))
        }
        LockVerb::Release { name, ticket } => give(&within, "release", name, ticket.as_deref(), args.json),
        LockVerb::Renew { name, ticket } => give(&within, "renew", name, ticket.as_deref(), args.json),
        LockVerb::Run { asked, command } => run(&within, asked, command),
        LockVerb::List { .. } => Ok(0),
    }
}

/// `qd barrier`.
pub fn barrier(args: &Barrier) -> Result<i32> {
    let BarrierVerb::Wait { name, timeout, json } = &args.what;
    let Some(within) = ctl::within()? else {
        let hint = "qd barrier wait is for the commands of a task, while they run";
        return Err(Error::usage("no task waits").hint(hint));
    };
    let until = timeout.map(|ms| Instant::now() + Duration::from_millis(ms));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let ticket = format!("{}-{now:x}", std::process::id());
    let mut is_away = false;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let wait_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let order = BarrierOrder { barrier: name.clone(), ticket: ticket.clone(), wait_ms };
        let parameters = ctl::to_value(&order)?;
        match connect(&within).and_then(|mut client| client.ask("barrier", parameters)) {
            Ok(answer) if *json => return Ok(ctl::print_json(&answer)),
            Ok(_) => return Ok(0),
            // The console has gone and the task goes on: it may come back.
            Err(Trouble::Nobody | Trouble::Gone) if left.is_none_or(|left| !left.is_zero()) => {
                if !std::mem::replace(&mut is_away, true) {
                    say("barrier", "the session is away: waiting until it is back");
                }
                std::thread::sleep(LOOK_EVERY);
            }
            Err(Trouble::Refused(why)) if !why.starts_with("no barrier") && !why.contains("inside: true") => {
                say("barrier", &format!("{name}: {why}"));
                return Ok(BROKEN);
            }
            Err(trouble) => return Err(ctl::of(trouble, &within.folder)),
        }
    }
}

fn late(asked: &LockAsked) -> i32 {
    complain(&format!("{} was not granted in time", asked.name));
    TRY_AGAIN
}

fn complain(what: &str) {
    say("lock", what);
}

fn say(verb: &str, what: &str) {
    let _ = std::io::stderr().write_all(format!("qd {verb}: {}\n", text::clean(what)).as_bytes());
}

/// Of one process: another that asks for the same resource asks for another lock.
fn ticket(name: &str, given: Option<&str>, holder: u32) -> String {
    given.map_or_else(|| format!("{name}@{holder}"), str::to_owned)
}

/// Its number and those of the processes above it, each of which may wait for the one below.
fn chain(from: u32) -> Vec<u32> {
    let above = |pid: &u32| {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold spaces and brackets: the fields begin after the last one.
        let from = stat.iter().rposition(|byte| *byte == b')')? + 2;
        let parent = std::str::from_utf8(stat.get(from..)?).ok()?.split_ascii_whitespace().nth(1)?;
        parent.parse().ok().filter(|parent| *parent > 1)
    };
    std::iter::successors(Some(from), above).take(ABOVE).collect()
}

fn connect(within: &Within) -> std::result::Result<Client, Trouble> {
    let mut client = Client::connect(within.folder.fd(), &within.task)?;
    client.speak_from(within.context.clone());
    Ok(client)
}

fn ask(within: &Within, order: &LockOrder) -> Result<std::result::Result<Value, Trouble>> {
    let parameters = ctl::to_value(order)?;
    Ok(connect(within).and_then(|mut client| client.ask("lock", parameters)))
}

/// Its fence; nothing if that took too long.
fn acquire(within: &Within, asked: &LockAsked, holder: u32, lease_ms: Option<u64>) -> Result<Option<u64>> {
    let until = asked.timeout.map(|ms| Instant::now() + Duration::from_millis(ms));
    let mut is_away = false;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let order = LockOrder {
            op: "acquire".into(),
            resource: asked.name.clone(),
            shared: asked.shared,
            amount: asked.amount,
            ticket: ticket(&asked.name, asked.ticket.as_deref(), holder),
            holder,
            within: chain(holder),
            lease_ms,
            wait_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        };
        match ask(within, &order)? {
            Ok(answer) => return Ok(answer.get("fence").and_then(Value::as_u64)),
            // The console has gone and the task goes on: it may come back.
            Err(Trouble::Nobody | Trouble::Gone) if left.is_none_or(|left| !left.is_zero()) => {
                if !std::mem::replace(&mut is_away, true) {
                    complain("the session is away: waiting until it is back");
                }
                std::thread::sleep(LOOK_EVERY);
            }
            Err(Trouble::Nobody | Trouble::Gone) => return Ok(None),
            Err(Trouble::Refused(why)) if why.starts_with("would deadlock") => {
                complain(&format!("{}: {why}", asked.name));
                std::process::exit(TRY_AGAIN);
            }
            Err(trouble) => return Err(ctl::of(trouble, &within.folder)),
        }
    }
}

fn run(within: &Within, asked: &LockAsked, command: &[OsString]) -> Result<i32> {
    let holder = std::process::id();
    let Some(fence) = acquire(within, asked, holder, None)? else { return Ok(late(asked)) };
    let (program, arguments) = command.split_first().expect("it is required");
    let ended = Command::new(program).args(arguments).env("QD_FENCE", fence.to_string()).status();
    let order = LockOrder {
        op: "release".into(),
        ticket: ticket(&asked.name, asked.ticket.as_deref(), holder),
        ..LockOrder::default()
    };
    let until = Instant::now() + GIVE_BACK;
    while let Err(Trouble::Nobody | Trouble::Gone) = ask(within, &order)? {
        if Instant::now() >= until {
            complain(&format!("the session is away: {} is given back at the end of the task", asked.name));
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    match ended {
        Ok(status) => Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))),
        Err(error) => {
            complain(&format!("{} cannot be run: {error}", program.to_string_lossy()));
            Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

/// By its ticket; else by its name, if the task has one of that alone.
fn give(within: &Within, op: &str, name: &str, given: Option<&str>, as_json: bool) -> Result<i32> {
    let order = |ticket: String| LockOrder { op: op.into(), ticket, ..LockOrder::default() };
    let done = |answer: Value| if as_json { ctl::print_json(&answer) } else { 0 };
    let refused = match ask(within, &order(ticket(name, given, parent_id())))? {
        Ok(answer) => return Ok(done(answer)),
        Err(Trouble::Refused(why)) => why,
        Err(trouble) => return Err(ctl::of(trouble, &within.folder)),
    };
    let listed = ask(within, &LockOrder { op: "list".into(), ..LockOrder::default() })?;
    let all = listed.map_err(|trouble| ctl::of(trouble, &within.folder)).and_then(|answer| read(&answer))?;
    let is_ours = |line: &&LockLine| line.task == within.task && line.resource == name && !line.ticket.is_empty();
    let ours: Vec<&LockLine> = all.iter().filter(is_ours).collect();
    match ours.as_slice() {
        [one] if given.is_none() => {
            let answer = ask(within, &order(one.ticket.clone()))?;
            answer.map(done).map_err(|trouble| ctl::of(trouble, &within.folder))
        }
        // What it has held since its start has no ticket.
        [] if op == "release" && given.is_none() => {
            let order = LockOrder { op: op.into(), resource: name.into(), ..LockOrder::default() };
            ask(within, &order)?.map(done).map_err(|trouble| ctl::of(trouble, &within.folder))
        }
        [] | [_] => Err(Error::usage(refused)),
        several => {
            let tickets: Vec<&str> = several.iter().map(|line| line.ticket.as_str()).collect();
            let hint = format!("this task has several: --ticket {}", tickets.join(", --ticket "));
            Err(Error::usage(refused).hint(hint))
        }
    }
}

fn list(session: Option<&str>, as_json: bool) -> Result<i32> {
    let within = if session.is_none() { ctl::within()? } else { None };
    let (folder, source) = match within {
        Some(within) => (within.folder, within.task),
        None => (ctl::folder(session)?, ctl::who(None)),
    };
    let of = |trouble| ctl::of(trouble, &folder);
    let mut client = Client::connect(folder.fd(), &source).map_err(of)?;
    let order = LockOrder { op: "list".into(), ..LockOrder::default() };
    let answer = client.ask("lock", ctl::to_value(&order)?).map_err(of)?;
    if as_json {
        return Ok(ctl::print_json(&answer));
    }
    let rows = read(&answer)?;
    let wide = |of: &dyn Fn(&LockLine) -> usize, least: usize| rows.iter().map(of).max().unwrap_or(0).clamp(least, 40);
    let name = wide(&|row| text::width(&row.resource), 8);
    let task = wide(&|row| text::width(&row.task), 4);
    let mut out = format!("{:name$}  {:task$}  {:9}  {:>6}  STATE\n", "RESOURCE", "TASK", "HOW", "FENCE");
    for row in &rows {
        let fence = row.fence.map_or_else(|| "-".to_owned(), |fence| fence.to_string());
        let state = match (row.held, row.place, row.ticket.is_empty()) {
            (false, place, _) => format!("waits, {} in line", place.unwrap_or(0)),
            (true, _, true) => "held since its start".to_owned(),
            (true, ..) => format!("held as {}", row.ticket),
        };
        let (resource, who) = (text::clean(&row.resource), text::clean(&row.task));
        out.push_str(&format!("{resource:name$}  {who:task$}  {:9}  {fence:>6}  {}\n", row.how, text::clean(&state)));
    }
    Ok(print(out.as_bytes()))
}

fn read(answer: &Value) -> Result<Vec<LockLine>> {
    let lines = answer.get("locks").cloned().unwrap_or_default();
    serde_json::from_value(lines).map_err(|error| Error::usage(error.to_string()))
}
