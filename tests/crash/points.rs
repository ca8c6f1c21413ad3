//! A kill at each call: the k-th write, sync, spawn or reap of the console, k = 1, 2, … until a run ends unharmed; the
//! same in a console that resumes, and in the guard.

use std::time::Instant;

use super::drive::{Check, Run, all, until};
use super::flow::{ALL_KINDS, Expected, Flow, Shape};
use super::oracles::{judge, judge_safety};
use super::reader;
use super::{none_failed, seed, size};

const KINDS: [&str; 4] = ["write", "sync", "spawn", "reap"];
/// No run has more calls of a kind.
const MOST: usize = 2000;
/// So many points are tried side by side.
const SIDE_BY_SIDE: usize = 4;

/// The first flow from this seed on in which most tasks come to run: the others have few calls.
fn flow(seed: u64, left: &'static [&'static str]) -> Flow {
    let tasks = size("QD_CRASH_TASKS", 6);
    let shape = Shape { tasks, longest: 60, on_death: "Adopt(grace: \"1m\")", left };
    let busy = |flow: &Flow| flow.tasks.iter().filter(|task| task.expected != Expected::Never).count() * 4 >= tasks * 3;
    (0..).map(|more| Flow::random(seed + more, shape)).find(busy).expect("most flows are")
}

/// Tries `point(k)` for k = 1, 2, … until one says that the kill did not come. Returns how many came.
fn enumerate(point: impl Fn(usize) -> Check<bool> + Sync, failures: &mut Vec<String>) -> usize {
    let mut hit = 0;
    for first in (1..MOST).step_by(SIDE_BY_SIDE) {
        let numbers: Vec<usize> = (first..first + SIDE_BY_SIDE).collect();
        let results = all(&numbers, SIDE_BY_SIDE, |number| point(*number));
        let mut over = false;
        for result in results {
            match result {
                Ok(true) => hit += 1,
                Ok(false) => over = true,
                Err(error) => failures.push(error),
            }
        }
        if over || failures.len() > 3 {
            break;
        }
    }
    hit
}

fn say(what: &str, seed: u64, hits: &[(&str, usize)], began: Instant) {
    let total: usize = hits.iter().map(|(_, count)| count).sum();
    let parts: Vec<String> = hits.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!(
        "crash: seed {seed}: {what}: {total} points ({}); {:.1} s",
        parts.join(", "),
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn a_kill_at_each_call_of_a_run_is_made_good_by_resuming() {
    let (seed, began) = (seed(), Instant::now());
    let (mut failures, mut hits) = (Vec::new(), Vec::new());
    for kind in KINDS {
        let point = |k: usize| {
            let fault = format!("{kind}:{k}");
            let mut run = Run::new(flow(seed, ALL_KINDS));
            let result = (|| {
                let console = run.start(&[("QD_FAULT", &fault)]);
                let mut code = console.wait(&run)?;
                let killed = code == 70;
                if killed {
                    run.keep_journal()?;
                    let console = run.resume(&[])?;
                    code = run.finish(console)?;
                    run.keep_journal()?;
                }
                judge(&run, code)?;
                run.remove();
                Ok(killed)
            })();
            result.map_err(|error: String| format!("QD_FAULT={fault}: {error}\n  (files in {})", run.root.display()))
        };
        hits.push((kind, enumerate(point, &mut failures)));
    }
    say("a kill at each call of a run", seed, &hits, began);
    none_failed(seed, failures);
    // How often is synced depends on how long the run takes, which its seed says.
    let enough = |(kind, count): &(&str, usize)| *count > if *kind == "sync" { 0 } else { 3 };
    assert!(hits.iter().all(enough), "too few points: {hits:?}");
}

/// The first console dies while much is under way, the second at each of its calls, the third finishes.
#[test]
fn a_kill_at_each_call_of_a_resume_is_made_good_by_resuming_again() {
    let (seed, began) = (seed(), Instant::now());
    let (mut failures, mut hits) = (Vec::new(), Vec::new());
    for (kind, first) in [("write", "write:5"), ("sync", "write:6"), ("spawn", "write:5"), ("reap", "write:5")] {
        let point = |k: usize| {
            let fault = format!("{kind}:{k}");
            let mut run = Run::new(flow(seed, ALL_KINDS));
            let result = (|| {
                let console = run.start(&[("QD_FAULT", first)]);
                if console.wait(&run)? != 70 {
                    return Err(format!("the first fault ({first}) did not come"));
                }
                run.keep_journal()?;
                if k.is_multiple_of(2) {
                    // All that ran has ended: only the guard's file knows how.
                    std::thread::sleep(std::time::Duration::from_millis(300));
                }
                let console = run.resume(&[("QD_FAULT", &fault)])?;
                let mut code = console.wait(&run)?;
                let killed = code == 70;
                if killed {
                    run.keep_journal()?;
                    let console = run.resume(&[])?;
                    code = run.finish(console)?;
                    run.keep_journal()?;
                }
                judge(&run, code)?;
                run.remove();
                Ok(killed)
            })();
            result.map_err(|error: String| {
                format!("QD_FAULT={first}, then {fault}: {error}\n  (files in {})", run.root.display())
            })
        };
        hits.push((kind, enumerate(point, &mut failures)));
    }
    say("a kill at each call of a resume", seed, &hits, began);
    none_failed(seed, failures);
    // What is left for the second console depends on how far the first one came, which is a matter of time.
    let total: usize = hits.iter().map(|(_, count)| count).sum();
    assert!(total > 4 && hits[0].1 > 0, "too few points: {hits:?}");
}

/// The guard dies as well, at each call of its own. Then what ran may be lost, but nothing is run twice or goes on.
#[test]
fn a_guard_that_dies_at_any_call_after_its_console_costs_no_promise_but_the_outcome() {
    let (seed, began) = (seed(), Instant::now());
    let (mut failures, mut hits) = (Vec::new(), Vec::new());
    for kind in ["write", "sync", "reap"] {
        let point = |k: usize| {
            let fault = format!("{kind}:{k}");
            let mut run = Run::new(flow(seed, &ALL_KINDS[..2]));
            let result = (|| {
                let mut console = run.start(&[("QD_FAULT", &fault), ("QD_FAULT_IN", "guard")]);
                until(std::time::Duration::from_secs(5), || !run.live().is_empty());
                let guard = console.pids().map(|(guard, _)| guard);
                if !console.kill() {
                    return Err("it ended too soon".into());
                }
                console.wait(&run)?;
                run.keep_journal()?;
                let guard = guard.ok_or("there was no guard")?;
                let dead =
                    || std::fs::read_to_string(format!("/proc/{guard}/stat")).map_or(true, |stat| stat.contains(") Z"));
                until(std::time::Duration::from_secs(3), dead);
                let before = reader::fold(&run.records());
                let console = run.resume(&[])?;
                let code = run.finish(console)?;
                run.keep_journal()?;
                let (ends, _) = judge_safety(&run)?;
                let lost: Vec<_> = ends.iter().filter(|(_, how)| *how == "Lost").map(|(key, _)| key).collect();
                if lost.iter().any(|key| !before.started.contains_key(key) || before.ended.contains_key(key)) {
                    return Err(format!("lost without need: {lost:?}"));
                }
                let wanted = if lost.is_empty() { run.flow.code() } else { 3 };
                if code != wanted {
                    return Err(format!("exit code {code}, not {wanted}: {}", run.errors()));
                }
                run.remove();
                Ok(!lost.is_empty())
            })();
            result.map_err(|error: String| {
                format!("QD_FAULT={fault} in the guard: {error}\n  (files in {})", run.root.display())
            })
        };
        // A guard's calls are few: a fixed number of points.
        let results = all(&[1, 2, 3, 4], SIDE_BY_SIDE, |k| point(*k));
        hits.push((kind, results.iter().filter(|result| matches!(result, Ok(true))).count()));
        failures.extend(results.into_iter().filter_map(Result::err));
    }
    say("a kill of the guard at its calls", seed, &hits, began);
    none_failed(seed, failures);
}
