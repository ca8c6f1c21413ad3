//! kill -9 of the console at random moments, some runs several times; most while tasks run that then fail or die unseen.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::drive::{Check, Run, all, until};
use super::flow::{ALL_KINDS, Flow, Random, Shape};
use super::oracles::{Ends, judge};
use super::{none_failed, seed, size};

/// Kills of one session at most.
const KILLS_OF_A_RUN: u64 = 4;
/// Of ten kills so many must find a task alive that then ends by itself, badly: three, as 60 of 200.
const OF_TEN: usize = 3;

/// What one run came to.
struct Figures {
    kills: usize,
    /// Kills that found such a task.
    telling: usize,
    resumed_at_once: usize,
}

#[test]
fn random_kills_lose_nothing_run_nothing_twice_and_every_end_is_told_truly() {
    let (seed, wanted) = (seed(), size("QD_CRASH_KILLS", 30));
    let tasks = size("QD_CRASH_TASKS", 6);
    let began = Instant::now();
    let kills = AtomicUsize::new(0);
    let numbers: Vec<u64> = (0..wanted as u64 * 4).collect();
    let results = all(&numbers, 3, |number| {
        (kills.load(Ordering::SeqCst) < wanted).then(|| {
            let result = session(seed.wrapping_add(number * 7919), tasks);
            kills.fetch_add(result.as_ref().map_or(1, |figures| figures.kills), Ordering::SeqCst);
            result.map_err(|error| format!("run {number}: {error}"))
        })
    });
    let (mut sum, mut failures, mut runs) = ([0; 3], Vec::new(), 0);
    for result in results.into_iter().flatten() {
        runs += 1;
        match result {
            Ok(one) => {
                sum = [sum[0] + one.kills, sum[1] + one.telling, sum[2] + one.resumed_at_once];
            }
            Err(error) => failures.push(error),
        }
    }
    println!(
        "crash: seed {seed}: {} kills in {runs} runs of {tasks} tasks, {} of them found a live task that later ended \
         with exit 7 or a signal, {} resumed at once; {:.1} s",
        sum[0],
        sum[1],
        sum[2],
        began.elapsed().as_secs_f64()
    );
    none_failed(seed, failures);
    assert!(sum[0] >= wanted, "QD_CRASH_SEED={seed}: only {} kills of {wanted}", sum[0]);
    assert!(
        sum[1] * 10 >= sum[0].min(wanted) * OF_TEN,
        "QD_CRASH_SEED={seed}: only {} of {} kills tell",
        sum[1],
        sum[0]
    );
}

fn session(seed: u64, tasks: usize) -> Check<Figures> {
    let mut random = Random(seed);
    let shape = Shape { tasks, longest: 400, on_death: "Adopt(grace: \"1m\")", left: ALL_KINDS };
    let mut run = Run::new(Flow::random(random.next(), shape));
    let at = |run: &Run, error: String| format!("{error}\n  (files in {})", run.root.display());
    let result = kill_and_finish(&mut run, &mut random);
    let (code, found, resumed_at_once) = result.map_err(|error| at(&run, error))?;
    let ends = judge(&run, code).map_err(|error| at(&run, error))?;
    let telling = found.iter().filter(|live| live.iter().any(|key| is_bad(&ends, key))).count();
    run.remove();
    Ok(Figures { kills: found.len(), telling, resumed_at_once })
}

fn is_bad(ends: &Ends, key: &(String, u32)) -> bool {
    ends.get(key).is_some_and(|how| how == "7" || how.starts_with('s'))
}

type Found = Vec<BTreeSet<(String, u32)>>;

/// Returns the exit code, and what each kill found alive.
fn kill_and_finish(run: &mut Run, random: &mut Random) -> Check<(i32, Found, usize)> {
    let (mut found, mut at_once) = (Found::new(), 0);
    let mut console = run.start(&[]);
    for _ in 0..=random.below(KILLS_OF_A_RUN) {
        if random.percent(85) {
            until(Duration::from_secs(5), || !run.live().is_empty() || console.is_over());
        }
        std::thread::sleep(Duration::from_millis(random.below(60)));
        let alive = run.live();
        if !console.kill() {
            break;
        }
        let code = console.wait(run)?;
        if code != 70 {
            // It had ended just before.
            return Ok((code, found, at_once));
        }
        // Alive before and after its death: nobody but the guard saw the end.
        let after = run.live();
        found.push(alive.intersection(&after).map(|(name, attempt, _)| (name.clone(), *attempt)).collect());
        run.keep_journal()?;
        match random.below(3) {
            0 => std::thread::sleep(Duration::from_millis(random.below(500))),
            1 => std::thread::sleep(Duration::from_millis(random.below(50))),
            _ => at_once += 1,
        }
        console = run.resume(&[])?;
    }
    let code = run.finish(console)?;
    run.keep_journal()?;
    Ok((code, found, at_once))
}
