//! Single cases of the fault matrix, each by hand: what else may be killed, who may open a session, what a copied, cut or
//! unwritable one does.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::drive::{Check, Console, Run, all, send, until};
use super::flow::{ALL_KINDS, Flow, Random, Shape};
use super::oracles::{judge, judge_safety};
use super::reader::{self, fold};
use super::task::{Entry, ledger};
use super::{none_failed, seed};

const ADOPT: &str = "Adopt(grace: \"1m\")";
const SOON: Duration = Duration::from_secs(5);

/// Starts it and waits until so many attempts are under way.
fn started(run: &mut Run, live: usize) -> Console {
    let console = run.start(&[]);
    assert!(until(SOON, || run.live().len() >= live), "{} in {}", run.errors(), run.root.display());
    console
}

fn kill_guard_and_console(run: &Run, mut console: Console) {
    let (guard, pid) = console.pids().unwrap();
    // A stopped guard sees nothing of the console's end before it dies itself.
    send(guard, Signal::STOP);
    send(pid, Signal::KILL);
    send(guard, Signal::KILL);
    let _ = console.wait(run);
}

fn resumed(run: &mut Run) -> i32 {
    let console = run.resume(&[]).unwrap();
    run.finish(console).unwrap()
}

fn judged(run: &Run, code: i32) {
    if let Err(error) = judge(run, code) {
        panic!("{error}\n  (files in {})", run.root.display());
    }
    run.remove();
}

fn ended(run: &Run, task: &str) -> Vec<String> {
    let fold = fold(&run.records());
    fold.ended.iter().filter(|((name, _), _)| name == task).flat_map(|(_, how)| how.clone()).collect()
}

#[test]
fn guard_and_console_killed_together_leave_nothing_running_and_what_ran_is_lost_and_held() {
    let flow = Flow::of(&[("a", "0 0", &[]), ("b", "20000 0", &["a"]), ("c", "20000 0 child 20000", &["a"])], ADOPT);
    let mut run = Run::new(flow);
    let console = started(&mut run, 2);
    assert!(until(SOON, || run.live().len() == 2 && ended(&run, "a") == ["0"]));
    std::thread::sleep(Duration::from_millis(100));
    kill_guard_and_console(&run, console);
    assert!(run.live().len() == 2, "they survive both");
    assert_eq!(resumed(&mut run), 3);
    let (ends, fold) = judge_safety(&run).unwrap();
    assert_eq!(ended(&run, "a"), ["0"], "finished work is not run again");
    assert_eq!((ends.len(), ended(&run, "b"), ended(&run, "c")), (3, vec!["Lost".into()], vec!["Lost".into()]));
    assert_eq!(fold.closed, Some(3));
    let printed = std::fs::read_to_string(run.outputs().last().unwrap()).unwrap();
    assert!(printed.contains("console and guard were both killed; 1 leftover process was killed"), "{printed}");
    // Once more: they are held, not tried again by themselves.
    assert_eq!(resumed(&mut run), 3);
    assert_eq!(run.starts(), 3);
    run.remove();
}

#[test]
fn under_stop_nothing_survives_the_console_and_what_was_stopped_is_queued_again() {
    let flow = Flow::of(&[("a", "0 0", &[]), ("b", "700 0", &["a"]), ("c", "700 0 child 5000", &["a"])], "Stop");
    let mut run = Run::new(flow);
    let mut console = started(&mut run, 1);
    assert!(until(SOON, || run.live().len() == 2));
    assert!(console.kill());
    assert!(until(Duration::from_millis(500), || run.live().is_empty()), "gone at once");
    assert_eq!(console.wait(&run), Ok(70));
    assert!(until(SOON, || run.processes().is_empty()), "{:?}", run.processes());
    let code = resumed(&mut run);
    assert_eq!((ended(&run, "a"), ended(&run, "b")), (vec!["0".into()], vec!["Aborted".into(), "0".into()]));
    judged(&run, code);
}

#[test]
fn a_second_console_is_told_who_has_the_session_and_of_many_at_once_one_gets_it() {
    let mut run = Run::new(Flow::of(&[("a", "1200 0", &[]), ("b", "0 0", &["a"])], ADOPT));
    let mut console = started(&mut run, 1);
    let (_, pid) = console.pids().unwrap();
    let second = run.command(&["resume", "s1", "--headless"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("open in pid {pid}")), "{said}");
    let again = run.command(&["run", "flow.ron", "--headless", "--session", "s1"]).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("qd resume s1"));
    assert!(console.kill());
    assert_eq!(console.wait(&run), Ok(70));
    let codes = all(&[(); 8], 8, |()| run.command(&["resume", "s1", "--json"]).output().unwrap().status.code());
    assert_eq!(codes.iter().filter(|code| **code == Some(2)).count(), 7, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    judge_safety(&run).unwrap();
    assert_eq!(ended(&run, "a"), ["0"]);
    run.remove();
}

#[test]
fn after_a_hang_up_tasks_go_on_and_a_resume_has_their_true_ends() {
    let seed = seed();
    for (number, wait) in [0, 700].into_iter().enumerate() {
        let shape = Shape { tasks: 6, longest: 400, on_death: ADOPT, left: ALL_KINDS };
        let mut run = Run::new(Flow::random(seed + number as u64, shape));
        let mut console = started(&mut run, 1);
        let (_, pid) = console.pids().unwrap();
        assert!(send(pid, Signal::HUP));
        let code = console.wait(&run).unwrap();
        run.keep_journal().unwrap();
        if code != run.flow.code() {
            assert_eq!(code, 3, "QD_CRASH_SEED={seed}");
            std::thread::sleep(Duration::from_millis(wait));
        }
        let code = resumed(&mut run);
        run.keep_journal().unwrap();
        judge(&run, code).unwrap_or_else(|error| panic!("QD_CRASH_SEED={seed}: {error} ({})", run.root.display()));
        run.remove();
    }
}

#[test]
fn sigterm_stops_all_that_runs_and_a_resume_finishes_it() {
    let flow = Flow::of(&[("a", "0 0", &[]), ("b", "900 0", &["a"]), ("c", "900 0 daemon 3000", &["a"])], ADOPT);
    let mut run = Run::new(flow);
    let console = started(&mut run, 1);
    assert!(until(SOON, || run.live().len() == 2));
    assert!(send(console.front(), Signal::TERM));
    assert_eq!(run.finish(console), Ok(3));
    assert!(run.live().is_empty());
    assert_eq!((ended(&run, "b"), ended(&run, "c")), (vec!["Aborted".into()], vec!["Aborted".into()]));
    let code = resumed(&mut run);
    assert_eq!((code, ended(&run, "b")), (0, vec!["Aborted".into(), "0".into()]));
    judged(&run, code);
}

// ── sessions that are not as they were left ──────────────────────────────────────────────────────────────────────────

/// Field 22 of `/proc/PID/stat`.
fn start_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap()
}

#[test]
fn a_session_from_another_boot_or_with_a_used_up_pid_signals_nobody() {
    for (other_boot, later) in [(true, 0), (true, 1), (false, 1)] {
        let mut run = Run::new(Flow::of(&[("a", "0 0", &[]), ("b", "20000 0", &["a"])], ADOPT));
        let console = started(&mut run, 1);
        assert!(until(SOON, || run.live().iter().any(|(name, ..)| name == "b")));
        assert!(until(SOON, || run
            .records()
            .iter()
            .any(|record| record.name == "Running" && record.number("task") == Some(1))));
        kill_guard_and_console(&run, console);
        for (_, _, pid) in run.live() {
            send(pid, Signal::KILL);
        }
        // Somebody else has its pid now, in a session of its own.
        let mut foreign = Command::new("setsid").args(["sleep", "60"]).stdin(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let process = format!("process:(pid:{},start_ticks:{})", foreign.id(), start_ticks(foreign.id()) + later);
        let journal = reader::rewrite(&run.journal(), |ron| {
            let Some((before, rest)) = ron.split_once("process:(") else {
                return if other_boot { ron.replace("boot_id:\"", "boot_id:\"0") } else { ron.to_owned() };
            };
            format!("{before}{process}{}", rest.split_once(')').unwrap().1)
        });
        std::fs::write(run.folder().join("journal"), journal).unwrap();
        assert_eq!(resumed(&mut run), 3);
        assert_eq!((ended(&run, "a"), ended(&run, "b")), (vec!["0".into()], vec!["Lost".into()]));
        assert!(foreign.try_wait().unwrap().is_none(), "a foreign process was signalled ({other_boot}, {later})");
        let why = if other_boot { "restarted" } else { "both killed" };
        let printed = std::fs::read_to_string(run.outputs().last().unwrap()).unwrap();
        assert!(printed.contains(why) && !printed.contains("leftover"), "{printed}");
        foreign.kill().unwrap();
        foreign.wait().unwrap();
        judge_safety(&run).unwrap();
        run.remove();
    }
}

#[test]
fn a_journal_cut_anywhere_keeps_what_was_finished_before_the_cut() {
    let seed = seed();
    let cuts: Vec<u64> = (0..10).collect();
    let failures = all(&cuts, 4, |number| cut(seed + number).map_err(|error| format!("cut {number}: {error}")));
    none_failed(seed, failures.into_iter().filter_map(Result::err).collect());
}

fn cut(seed: u64) -> Check {
    let shape = Shape { tasks: 6, longest: 80, on_death: ADOPT, left: &[] };
    let mut random = Random(seed);
    let mut run = Run::new(Flow::random(random.next(), shape));
    let console = run.start(&[]);
    run.finish(console)?;
    let journal = run.journal();
    let at = random.below(journal.len() as u64 + 1) as usize;
    std::fs::write(run.folder().join("journal"), &journal[..at]).unwrap();
    let (records, good) = reader::read(&journal[..at]);
    let before = fold(&records);
    let starts =
        |run: &Run, task: &str| ledger(&run.root, task).iter().filter(|e| matches!(e, Entry::Start { .. })).count();
    let counted: Vec<(String, usize)> = before.last.keys().map(|task| (task.clone(), starts(&run, task))).collect();
    let resume = run.command(&["resume", "s1", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&resume.stderr).into_owned();
    let at_byte =
        |what: String| Err(format!("cut at byte {at} of {}: {what}\n  ({})", journal.len(), run.root.display()));
    let code = resume.status.code();
    if !records.iter().any(|record| record.name == "Loaded") {
        run.remove();
        return if code == Some(2) { Ok(()) } else { at_byte(format!("code {code:?}, not 2: {said}")) };
    }
    if !run.journal().starts_with(&journal[..good]) {
        return at_byte("what was good was changed".into());
    }
    let (after, _) = reader::read(&run.journal());
    if (at > good) != after.iter().any(|record| record.name == "Recovered") {
        return at_byte(format!("{} torn bytes, {:?}", at - good, after.get(records.len())));
    }
    for (task, count) in counted {
        if starts(&run, &task) != count {
            return at_byte(format!("{task} was over and ran again"));
        }
    }
    let now = fold(&after);
    let under_way: Vec<_> = before.started.keys().filter(|key| !before.ended.contains_key(*key)).collect();
    if !under_way.iter().all(|key| now.ended.get(*key) == Some(&vec!["Lost".to_owned()])) {
        return at_byte(format!("{under_way:?} had no end, now {:?}", now.ended));
    }
    if (code == Some(3)) == under_way.is_empty() || !matches!(code, Some(0 | 1 | 3)) {
        return at_byte(format!("code {code:?} with {under_way:?} lost: {said}"));
    }
    if run.root.join("violations").exists() {
        return at_byte("two at a time".into());
    }
    run.remove();
    Ok(())
}

#[test]
fn leftovers_of_a_session_of_the_same_name_elsewhere_are_left_alone() {
    let flow = || Flow::of(&[("a", "1500 0", &[])], ADOPT);
    let (mut here, mut elsewhere) = (Run::new(flow()), Run::new(flow()));
    let (console, other) = (started(&mut here, 1), started(&mut elsewhere, 1));
    kill_guard_and_console(&here, console);
    assert_eq!(resumed(&mut here), 3);
    assert_eq!(ended(&here, "a"), ["Lost"]);
    assert!(until(SOON, || here.live().is_empty()));
    let code = elsewhere.finish(other).unwrap();
    judged(&elsewhere, code);
    here.remove();
}

#[test]
fn an_end_that_the_guard_stored_counts_though_it_was_killed_before_the_last_process_was_gone() {
    let mut run = Run::new(Flow::of(&[("a", "200 0 child 20000", &[])], ADOPT));
    let mut console = started(&mut run, 1);
    let (guard, _) = console.pids().unwrap();
    assert!(console.kill());
    assert_eq!(console.wait(&run), Ok(70));
    let survivors = |run: &Run| survivors(run).map(|(_, text)| text).unwrap_or_default();
    assert!(until(SOON, || survivors(&run).contains(" ended 0 1 ")));
    assert!(send(guard, Signal::KILL));
    assert!(until(SOON, || run.processes().iter().all(|line| !line.starts_with(&format!("{guard} ")))));
    let code = resumed(&mut run);
    assert_eq!((code, ended(&run, "a")), (0, vec!["0".into()]));
    judged(&run, code);
}

/// A console that kills a tree stops it first, so that nothing of it can flee: it may die itself in between.
#[test]
fn what_a_killed_console_left_stopped_half_way_through_a_kill_is_killed_after_a_resume() {
    let mut run = Run::new(Flow::of(&[("a", "100 0 daemon 20000", &[])], ADOPT));
    let mut console = started(&mut run, 1);
    let (_, pid) = console.pids().unwrap();
    // The daemon is stopped by somebody else, and the console just after it has stored that it kills it.
    let stored = |run: &Run, name: &str| run.records().iter().any(|record| record.name == name);
    assert!(until(SOON, || stored(&run, "Exited")));
    send(pid, Signal::STOP);
    let stopping = stored(&run, "Stopping");
    send(pid, Signal::KILL);
    assert_eq!(console.wait(&run), Ok(70));
    if !stopping {
        // As it would have been stored.
        let journal = reader::rewrite_with(&run.journal(), "fact:Stopping(task:0,attempt:1,reason:Leaked,signal:Kill)");
        std::fs::write(run.folder().join("journal"), journal).unwrap();
    }
    for line in run.processes().iter().filter(|line| line.contains("sleep 20")) {
        send(line.split(' ').next().unwrap().parse().unwrap(), Signal::STOP);
    }
    let code = resumed(&mut run);
    assert_eq!(ended(&run, "a"), ["0"]);
    judged(&run, code);
}

/// Path and text of the one survivors file.
fn survivors(run: &Run) -> Option<(std::path::PathBuf, String)> {
    let entries = std::fs::read_dir(run.folder()).unwrap().flatten();
    let mut paths = entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("/survivors-"));
    let path = paths.next()?;
    let text = std::fs::read_to_string(&path).unwrap();
    Some((path, text))
}

#[test]
fn an_end_that_a_guard_stored_before_the_machine_was_reset_counts() {
    let mut run = Run::new(Flow::of(&[("a", "200 0", &[])], ADOPT));
    let mut console = started(&mut run, 1);
    assert!(until(SOON, || run.records().iter().any(|record| record.name == "Running")));
    assert!(console.kill());
    assert_eq!(console.wait(&run), Ok(70));
    assert!(until(SOON, || survivors(&run).is_some_and(|(_, text)| text.ends_with(" complete\n"))));
    let (path, text) = survivors(&run).unwrap();
    let first = text.lines().next().unwrap();
    let boot = first.split(' ').nth(4).unwrap();
    let line = first.split_once(' ').unwrap().1.replace(boot, "00000000-0000-0000-0000-000000000000");
    let line = format!("{:08x} {line}", reader::crc32(line.as_bytes()));
    std::fs::write(&path, text.replace(first, &line)).unwrap();
    let journal = reader::rewrite(&run.journal(), |ron| ron.replace(boot, "00000000-0000-0000-0000-000000000000"));
    std::fs::write(run.folder().join("journal"), journal).unwrap();
    let code = resumed(&mut run);
    assert_eq!((code, ended(&run, "a")), (0, vec!["0".into()]));
    judged(&run, code);
}

// ── disks that take no more ──────────────────────────────────────────────────────────────────────────────────────────

/// Tasks of a row.
const ROW: usize = 30;

/// One after the other, 60 ms each.
fn row() -> Flow {
    let names: Vec<String> = (0..ROW).map(|number| format!("t{number}")).collect();
    let before: Vec<Vec<&str>> =
        (0..ROW).map(|n| names[n.saturating_sub(1)..n].iter().map(|s| &**s).collect()).collect();
    let tasks: Vec<(&str, &str, &[&str])> = (0..ROW).map(|n| (&*names[n], "60 0", &*before[n])).collect();
    Flow::of(&tasks, ADOPT).silent()
}

/// While nothing can be stored nothing starts; then it goes on by itself.
fn held_up_then_finished(run: &mut Run, console: Console, free: impl FnOnce()) {
    std::thread::sleep(Duration::from_millis(1000));
    let (size, starts) = (run.journal().len(), run.starts());
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!((run.journal().len(), run.starts()), (size, starts), "nothing starts that is not stored");
    assert!(starts < ROW, "it came too late");
    free();
    let code = run.finish(console).unwrap();
    judged(run, code);
}

#[test]
fn a_full_disk_holds_the_run_up_and_room_lets_it_go_on() {
    let mut run = Run::new(row());
    let state = run.root.join("state");
    let Some(_mounted) = Mounted::small(&state) else {
        println!("crash: the full disk: not run, mounting is not allowed here");
        run.remove();
        return;
    };
    let console = started(&mut run, 1);
    let hog = state.join("hog");
    fill(&hog);
    held_up_then_finished(&mut run, console, || std::fs::remove_file(&hog).unwrap());
}

/// A file system of 1 MiB, as long as this lives.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn small(path: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"]).arg(path).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir_all(self.0.parent().expect("the run's folder"));
    }
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_file_size_limit_holds_the_run_up_and_raising_it_lets_it_go_on() {
    let mut run = Run::new(row());
    let mut console = started(&mut run, 1);
    let (_, pid) = console.pids().unwrap();
    let limit = |current: Option<u64>| {
        let limit = Rlimit { current, maximum: None };
        prlimit(Pid::from_raw(pid), Resource::Fsize, limit).unwrap();
    };
    limit(Some(run.journal().len() as u64 + 100));
    held_up_then_finished(&mut run, console, || limit(None));
}

/// Seen once in a campaign: what a second console's guard does not know of was taken for never started, although the first
/// console had begun it and its guard only did not answer.
#[test]
fn a_guard_that_does_not_answer_is_not_replaced_by_the_silence_of_a_later_one() {
    let mut run = Run::new(Flow::of(&[("a", "300 0", &[]), ("b", "20000 0", &["a"])], ADOPT));
    // Killed between the second spawn and the news of it: nothing in the journal says that it runs.
    let mut console = run.start(&[("QD_FAULT", "spawn:4")]);
    let (first_guard, _) = console.pids().unwrap();
    assert!(until(SOON, || run.live().len() == 1));
    // Nor does the guard say so: it has written nothing when the second console opens the session, and the third.
    send(first_guard, Signal::STOP);
    assert!(until(SOON, || run.live().iter().any(|(name, ..)| name == "b")));
    let console_of_first = console;
    let second = run.resume(&[("QD_FAULT", "write:2")]).unwrap();
    assert_eq!(second.wait(&run), Ok(70));
    let count = |name: &str| run.records().iter().filter(|record| record.name == name).count();
    assert_eq!((count("Opened"), count("Running"), count("Adopted")), (2, 1, 0), "{:?}", run.records());
    let code = resumed(&mut run);
    assert_eq!((run.starts(), code), (2, 3), "{}", run.errors());
    assert_eq!(ended(&run, "b"), ["Lost"]);
    send(first_guard, Signal::CONT);
    assert_eq!(console_of_first.wait(&run), Ok(70));
    judge_safety(&run).unwrap();
    run.remove();
}
