//! Front, guard and a small test console as real processes, killed at the worst moments. This file has its own `main`:
//! with `QD_TEST_CONSOLE` set it is the program under test (front, guard and console in turn), else it runs the tests.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quarterdeck::guard::{
    self, ConsoleEnd, ConsoleSide, Exit, Key, OnDeath, Order, PastGuard, Policy, Record, Verdict, inquire,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const LONG: Duration = Duration::from_secs(20);
/// No test takes longer.
const TEST_LIMIT: Duration = Duration::from_secs(90);
const SESSION: &str = "night";

fn main() {
    if let Ok(scenario) = std::env::var("QD_TEST_CONSOLE") {
        let side = guard::launch().expect("three processes");
        console::run(&side, &scenario);
        return;
    }
    run_tests();
}

// ── the test console ─────────────────────────────────────────────────────────────────────────────────────────────────

mod console {
    use super::*;
    use crossterm::{cursor, event, execute, terminal};

    pub fn run(side: &ConsoleSide, scenario: &str) {
        let words: Vec<&str> = scenario.split(' ').collect();
        match words[..] {
            ["exit", code] => std::process::exit(code.parse().unwrap()),
            ["close", code] => {
                open(side, adopt());
                side.closing();
                std::process::exit(code.parse().unwrap());
            }
            ["panic"] => panic!("on purpose"),
            ["shapes", policy] => {
                open(side, if policy == "stop" { stop() } else { adopt() });
                for (index, script) in SHAPES.iter().enumerate() {
                    task(side, index as u32 + 1, script);
                }
                wait_for_files(SHAPES.len());
                ready(side);
            }
            ["one", script, grace] => {
                let policy = Policy { on_death: OnDeath::Adopt { grace_ms: grace.parse().unwrap() }, ..adopt() };
                open(side, policy);
                task(side, 1, named_script(script));
                ready(side);
            }
            ["many", count] => {
                open(side, stop());
                for index in 1..=count.parse().unwrap() {
                    task(side, index, if index % 2 == 0 { "exit 5" } else { "exec sleep 60" });
                }
                ready(side);
            }
            ["detach"] => {
                open(side, Policy { on_death: OnDeath::Adopt { grace_ms: 100 }, ..adopt() });
                task(side, 1, named_script("wait"));
                side.detach().unwrap();
                write("ready", &format!("{} {}", std::process::id(), side.guard_pid()));
                std::process::exit(3);
            }
            ["resume"] => resume(side),
            ["guard-gone"] => {
                open(side, adopt());
                task(side, 1, named_script("wait"));
                announce(side);
                wait_until(|| !side.guard_alive());
                assert!(side.session(&dir(), SESSION, adopt()).is_err());
                assert!(side.front_alive());
                std::process::exit(1);
            }
            ["front-gone"] => {
                open(side, adopt());
                task(side, 1, named_script("wait"));
                announce(side);
                wait_until(|| !side.front_alive());
                side.detach().unwrap();
                std::process::exit(3);
            }
            ["entered"] => {
                open(side, adopt());
                task(side, 1, named_script("wait"));
                side.table().enter(2, 1, 0).unwrap();
                ready(side);
            }
            ["unlisted", script] => {
                open(side, adopt());
                task(side, 1, named_script("wait"));
                let place = side.table().enter(2, 1, 77).unwrap();
                let child = spawn(2, named_script(script));
                // As the kernel does it for the local executor, in the middle of the spawn.
                side.table().cells_of(place).0.store(child.id() as i32, std::sync::atomic::Ordering::Release);
                std::mem::forget(child);
                std::thread::sleep(Duration::from_millis(200));
                ready(side);
            }
            ["reaped"] => {
                open(side, adopt());
                let place = side.table().enter(1, 1, 0).unwrap();
                let mut child = spawn(1, "setsid sh -c \"$WAIT\" & exit 4");
                let stat = guard::stat(child.id() as i32).unwrap();
                side.table().spawned(place, stat.process.pid, stat.process.start_ticks);
                child.wait().unwrap();
                ready(side);
            }
            ["signals"] => signals(side),
            ["screen"] => screen(side),
            _ => panic!("no scenario {scenario}"),
        }
    }

    /// What seven (and one) kinds of task do once the file `go` is there; `daemon` is what their daemons wait for.
    pub const SHAPES: [&str; 8] = [
        "touch up.1; eval \"$WAIT\"; exit 7",
        "touch up.2; eval \"$WAIT\" | cat; exit 8",
        "(eval \"$WAIT\") & touch up.3; wait; exit 9",
        "setsid sh -c \"touch up.4; $WAIT_DAEMON\" & exit 10",
        "(setsid sh -c \"touch up.5; $WAIT_DAEMON\" &); eval \"$WAIT\"; exit 11",
        "env -i PATH=\"$PATH\" setsid sh -c \"touch up.6; $WAIT_DAEMON\" & eval \"$WAIT\"; exit 12",
        "trap '' TERM HUP INT; touch up.7; eval \"$WAIT\"; exit 13",
        "touch up.8; eval \"$WAIT\"; kill -9 $$",
    ];

    fn named_script(name: &str) -> &str {
        match name {
            "wait" => "eval \"$WAIT\"; exit 6",
            "quick" => "exit 5",
            "stubborn" => "trap '' TERM HUP INT; while :; do sleep 0.1; done",
            "frozen" => "kill -STOP $$; exit 1",
            "bare" => "exec env -i PATH=\"$PATH\" sh -c \"$WAIT; exit 6\"",
            _ => panic!("no script {name}"),
        }
    }

    pub fn dir() -> PathBuf {
        PathBuf::from(std::env::var("QD_TEST_DIR").unwrap())
    }

    fn adopt() -> Policy {
        Policy { on_death: OnDeath::Adopt { grace_ms: 600_000 }, stop_grace_ms: 200 }
    }

    fn stop() -> Policy {
        Policy { on_death: OnDeath::Stop, ..adopt() }
    }

    fn open(side: &ConsoleSide, policy: Policy) {
        side.session(&dir(), SESSION, policy).unwrap();
    }

    fn write(name: &str, text: &str) {
        let temporary = dir().join(format!("{name}.tmp"));
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, dir().join(name)).unwrap();
    }

    fn wait_for_files(count: usize) {
        wait_until(|| (1..=count).all(|index| dir().join(format!("up.{index}")).exists()));
    }

    fn announce(side: &ConsoleSide) {
        write("ready", &format!("{} {}", std::process::id(), side.guard_pid()));
    }

    fn ready(side: &ConsoleSide) -> ! {
        announce(side);
        loop {
            std::thread::park();
        }
    }

    fn spawn(task: u32, script: &str) -> Child {
        let wait = |file: &str| format!("while [ ! -e '{}' ]; do sleep 0.02; done", dir().join(file).display());
        Command::new("setsid")
            .args(["sh", "-c", script])
            .current_dir(dir())
            .env("QD_SESSION", SESSION)
            .env("QD_TASK_ID", task.to_string())
            .env("QD_ATTEMPT", "1")
            .env("WAIT", wait("go"))
            .env("WAIT_DAEMON", wait("daemon"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn task(side: &ConsoleSide, task: u32, script: &str) {
        let place = side.table().enter(task, 1, u64::from(task) + 100).unwrap();
        let child = spawn(task, script);
        // `setsid` the program takes a moment to do what the real executor does before the child's `execve`.
        wait_until(|| guard::stat(child.id() as i32).unwrap().session == child.id() as i32);
        let stat = guard::stat(child.id() as i32).unwrap();
        side.table().spawned(place, stat.process.pid, stat.process.start_ticks);
        std::mem::forget(child);
    }

    /// A console of a session that another console died in.
    fn resume(side: &ConsoleSide) {
        open(side, adopt());
        let begin = Instant::now();
        let mut past = inquire(&dir()).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(2), "this console's own guard is not waited for");
        for guard in &mut past {
            if let Some(link) = &mut guard.link {
                link.order(Order::Adopt);
            }
        }
        let seen: Vec<String> = past.iter().map(|guard| format!("{:?}", guard.verdict((1, 1)))).collect();
        write("seen", &seen.join("\n"));
        task(side, 2, named_script("wait"));
        ready(side);
    }

    fn signals(side: &ConsoleSide) {
        open(side, adopt());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut int = signal(SignalKind::interrupt()).unwrap();
            let mut term = signal(SignalKind::terminate()).unwrap();
            let mut hup = signal(SignalKind::hangup()).unwrap();
            announce(side);
            loop {
                let name = tokio::select! {
                    _ = int.recv() => "int\n",
                    _ = term.recv() => "term\n",
                    _ = hup.recv() => "hup\n",
                };
                fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(dir().join("caught"))
                    .unwrap()
                    .write_all(name.as_bytes())
                    .unwrap();
            }
        });
    }

    fn take_screen() {
        terminal::enable_raw_mode().unwrap();
        let all =
            (terminal::EnterAlternateScreen, cursor::Hide, event::EnableMouseCapture, event::EnableBracketedPaste);
        execute!(std::io::stdout(), all.0, all.1, all.2, all.3).unwrap();
        execute!(std::io::stdout(), crossterm::style::Print("THE SCREEN")).unwrap();
    }

    fn leave_screen() {
        let all =
            (event::DisableBracketedPaste, event::DisableMouseCapture, cursor::Show, terminal::LeaveAlternateScreen);
        execute!(std::io::stdout(), all.0, all.1, all.2, all.3).unwrap();
        terminal::disable_raw_mode().unwrap();
    }

    /// Takes the screen; `^Z` suspends, `q` ends.
    fn screen(side: &ConsoleSide) {
        open(side, adopt());
        task(side, 1, named_script("wait"));
        // Other threads must not keep the process from stopping, nor let the caller run on.
        for _ in 0..3 {
            std::thread::spawn(|| std::thread::sleep(LONG));
        }
        take_screen();
        announce(side);
        let mut resumed = 0;
        loop {
            let mut key = [0];
            std::io::stdin().read_exact(&mut key).unwrap();
            match key[0] {
                0x1a => {
                    leave_screen();
                    side.suspend().unwrap();
                    resumed += 1;
                    take_screen();
                    write("resumed", &resumed.to_string());
                }
                b'q' => {
                    leave_screen();
                    std::process::exit(0);
                }
                _ => {}
            }
        }
    }
}

// ── what the tests use ───────────────────────────────────────────────────────────────────────────────────────────────

struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(Self::session_of(dir.path())).unwrap();
        Self { dir }
    }

    fn session_of(dir: &Path) -> PathBuf {
        dir.join("session")
    }

    fn session(&self) -> PathBuf {
        Self::session_of(self.dir.path())
    }

    fn command(&self, scenario: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("QD_TEST_CONSOLE", scenario).env("QD_TEST_DIR", self.session());
        command
    }

    fn start(&self, scenario: &str) -> Running {
        self.start_command(self.command(scenario))
    }

    fn start_command(&self, mut command: Command) -> Running {
        let _ = fs::remove_file(self.session().join("ready"));
        // Its own group, as a shell with job control would give it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (console, guard) = self.ready();
        Running { child, console, guard }
    }

    fn ready(&self) -> (i32, i32) {
        let text = self.read_when_there("ready");
        let (console, guard) = text.split_once(' ').unwrap();
        (console.parse().unwrap(), guard.parse().unwrap())
    }

    fn read_when_there(&self, name: &str) -> String {
        let path = self.session().join(name);
        wait_until(|| path.exists());
        fs::read_to_string(path).unwrap()
    }

    fn touch(&self, name: &str) {
        fs::write(self.session().join(name), "").unwrap();
    }

    fn inquire(&self) -> Vec<PastGuard> {
        inquire(&self.session()).unwrap()
    }

    fn only_guard(&self) -> PastGuard {
        let mut all = self.inquire();
        assert_eq!(all.len(), 1, "one guard: {all:?}");
        all.remove(0)
    }

    /// What the guard says once it has said this.
    fn guard_when(&self, what: impl Fn(&PastGuard) -> bool) -> PastGuard {
        let mut past = self.only_guard();
        let until = Instant::now() + LONG;
        while !what(&past) {
            assert!(Instant::now() < until, "never said: {:#?}", past.records);
            match &mut past.link {
                Some(link) => {
                    let lines = link.poll();
                    let gone = link.is_gone();
                    lines.into_iter().for_each(|line| past.add(line));
                    assert!(!gone || what(&past), "the guard is gone without it: {:#?}", past.records);
                    std::thread::sleep(Duration::from_millis(5));
                }
                None => panic!("no living guard, and its file does not say it: {:#?}", past.records),
            }
        }
        past
    }

    fn complete(&self) -> PastGuard {
        self.guard_when(|past| past.complete)
    }

    /// Living processes that carry this stage's folder in their environment or arguments.
    fn processes(&self) -> Vec<(i32, String)> {
        let needle = self.session().to_str().unwrap().to_owned();
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| *pid != std::process::id() as i32)
            .filter_map(|pid| {
                let text = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                let arguments = String::from_utf8_lossy(&text("cmdline")).into_owned();
                let environment = String::from_utf8_lossy(&text("environ")).into_owned();
                (arguments.contains(&needle) || environment.contains(&needle)).then_some((pid, arguments))
            })
            .collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            kill(pid, Signal::KILL);
        }
    }
}

struct Running {
    child: Child,
    console: i32,
    guard: i32,
}

impl Running {
    /// How front ended and what it said: also proves that nobody else holds its output open.
    fn output(self) -> (Output, Duration) {
        let begin = Instant::now();
        let output = self.child.wait_with_output().unwrap();
        (output, begin.elapsed())
    }
}

fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

fn wait_until(mut what: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !what() {
        assert!(Instant::now() < until, "waited too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn state_of(pid: i32) -> Option<u8> {
    guard::stat(pid).map(|stat| stat.state)
}

fn is_alive(pid: i32) -> bool {
    state_of(pid).is_some_and(|state| state != b'Z')
}

fn exit_of(past: &PastGuard, key: Key) -> Option<Exit> {
    match past.verdict(key) {
        Verdict::Ended { exit, .. } => Some(exit),
        _ => None,
    }
}

// ── the tests ────────────────────────────────────────────────────────────────────────────────────────────────────────

fn the_consoles_exit_code_passes_through_and_nothing_is_left() {
    for (scenario, expected) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 2", 2),
        ("exit 3", 3),
        ("exit 70", 70),
        ("exit 101", 70),
        ("exit 44", 70),
        ("close 0", 0),
        ("close 1", 1),
        ("close 3", 3),
    ] {
        let stage = Stage::new();
        let output = stage.command(scenario).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{scenario}: {}", text(&output.stderr));
        assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), String::new()), "{scenario}");
        assert_eq!(stage.processes(), [], "{scenario}");
        assert!(stage.inquire().is_empty(), "{scenario}: a clean end leaves no file");
    }
    let stage = Stage::new();
    let output = stage.command("panic").output().unwrap();
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("on purpose"));
}

fn every_shape_of_task_is_settled_truly_after_kill_9_of_the_console() {
    let stage = Stage::new();
    let running = stage.start("shapes adopt");
    let guard = running.guard;
    kill(running.console, Signal::KILL);
    let (output, took) = running.output();
    assert_eq!(output.status.code(), Some(70));
    assert!(took < Duration::from_secs(1), "the prompt is back at once, not after {took:?}");
    let said = format!(
        "qd: the console was killed by signal 9; guard {guard} supervises 8 tasks; continue with: qd resume night\n"
    );
    assert_eq!(text(&output.stderr), said);

    let past = stage.only_guard();
    assert!(past.listed && !past.complete && past.link.is_some());
    assert_eq!(past.end, Some(ConsoleEnd::Died(Exit::Signal(9))));
    assert_eq!(past.boot, guard::boot_id().unwrap());
    assert!(matches!(past.verdict((1, 1)), Verdict::Running { log: 101, .. }));
    assert_eq!(past.verdict((1, 2)), Verdict::NeverStarted);
    assert_eq!(past.verdict((99, 1)), Verdict::NeverStarted);
    // Its leader ended while the console lived; the daemon lives on.
    match past.verdict((4, 1)) {
        Verdict::Ended { exit: Exit::Code(10), left, empty: false, .. } => assert!(left >= 1, "{left}"),
        other => panic!("{other:?}"),
    }

    drop(past);
    stage.touch("go");
    let ended = |past: &PastGuard| (1..=8).all(|task| exit_of(past, (task, 1)).is_some());
    let past = stage.guard_when(ended);
    let expected = [7, 8, 9, 10, 11, 12, 13].map(Exit::Code);
    for (task, exit) in (1..).zip(expected.into_iter().chain([Exit::Signal(9)])) {
        assert_eq!(exit_of(&past, (task, 1)), Some(exit), "task {task}");
    }
    let is_empty = |past: &PastGuard, task| matches!(past.verdict((task, 1)), Verdict::Ended { empty: true, .. });
    for task in [4, 5, 6] {
        assert!(!is_empty(&past, task), "the daemon of task {task} lives");
    }
    drop(past);
    // The daemons are known, so the others are not kept waiting for them.
    stage.guard_when(|past| [1, 2, 3, 7, 8].iter().all(|task| is_empty(past, *task)));
    stage.touch("daemon");
    let past = stage.complete();
    assert!((1..=8).all(|task| is_empty(&past, task)), "{:#?}", past.records);
    assert!(!past.records.iter().any(|line| matches!(line.record, Record::Ended { stopped: true, .. })));
    wait_until(|| stage.processes().is_empty());

    // The same from the file, by whoever comes later.
    let later = stage.only_guard();
    assert!(later.complete && later.link.is_none() && later.damaged == 0);
    assert_eq!(later.records, past.records);
    later.retire(&stage.session()).unwrap();
    assert!(stage.inquire().is_empty());
    assert!(!stage.session().join(format!("guard-{guard}.sock")).exists());
}

fn with_stop_nothing_is_left_within_a_second_of_the_consoles_death() {
    let stage = Stage::new();
    let running = stage.start("shapes stop");
    let begin = Instant::now();
    kill(running.console, Signal::KILL);
    wait_until(|| stage.processes().iter().all(|(pid, _)| *pid == running.child.id() as i32 || !is_alive(*pid)));
    assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
    let (output, _) = running.output();
    assert!(text(&output.stderr).contains("is stopping 8 tasks"), "{}", text(&output.stderr));
    let past = stage.only_guard();
    assert!(past.complete);
    assert_eq!(exit_of(&past, (1, 1)), Some(Exit::Signal(15)));
    assert_eq!(exit_of(&past, (7, 1)), Some(Exit::Signal(9)), "it ignores TERM");
    let stopped = |line: &&guard::Stamped| matches!(line.record, Record::Ended { stopped: true, .. });
    assert_eq!(past.records.iter().filter(stopped).count(), 7, "all but the leader that had ended before");
}

fn hundreds_that_end_at_once_are_all_told_truly() {
    let stage = Stage::new();
    let running = stage.start("many 400");
    kill(running.console, Signal::KILL);
    running.output();
    let past = stage.complete();
    for task in 1..=400 {
        let expected = if task % 2 == 0 { Exit::Code(5) } else { Exit::Signal(15) };
        assert_eq!(exit_of(&past, (task, 1)), Some(expected), "task {task}");
    }
    let ended = past.records.iter().filter(|line| matches!(line.record, Record::Ended { .. })).count();
    let empty = past.records.iter().filter(|line| matches!(line.record, Record::Empty { .. })).count();
    assert_eq!((ended, empty), (400, 400), "each once");
}

fn a_grace_that_runs_out_stops_what_is_left_and_an_adoption_suspends_it() {
    let stage = Stage::new();
    let running = stage.start("one stubborn 600");
    kill(running.console, Signal::KILL);
    running.output();
    let mut past = stage.only_guard();
    let mut link = past.link.take().unwrap();
    link.order(Order::Adopt);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(link.poll(), [], "an adopted task is not stopped");
    drop(link);
    let begin = Instant::now();
    let past = stage.complete();
    assert!(begin.elapsed() > Duration::from_millis(400), "the grace begins again when the console is gone");
    assert_eq!(exit_of(&past, (1, 1)), Some(Exit::Signal(9)));
    assert!(past.records.iter().any(|line| matches!(line.record, Record::Stopping { .. })));
}

fn a_console_that_leaves_on_purpose_sets_no_new_limit() {
    let stage = Stage::new();
    // Long enough for an order to arrive on a loaded machine, shorter than the wait below.
    let running = stage.start("one wait 3000");
    kill(running.console, Signal::KILL);
    running.output();
    let mut link = stage.only_guard().link.take().unwrap();
    link.order(Order::Adopt);
    link.order(Order::Leave);
    std::thread::sleep(Duration::from_millis(50));
    drop(link);
    std::thread::sleep(Duration::from_millis(3700));
    stage.touch("go");
    assert_eq!(exit_of(&stage.complete(), (1, 1)), Some(Exit::Code(6)));
}

fn orders_reach_the_whole_tree_and_only_it() {
    let stage = Stage::new();
    let running = stage.start("shapes adopt");
    kill(running.console, Signal::KILL);
    running.output();
    let mut past = stage.only_guard();
    let link = past.link.as_mut().unwrap();
    link.order(Order::Term((1, 1)));
    link.order(Order::Term((7, 1)));
    link.order(Order::Kill((5, 1)));
    link.order(Order::Kill((6, 1)));
    link.order(Order::Kill((99, 9)));
    let is_empty = |past: &PastGuard, task| matches!(past.verdict((task, 1)), Verdict::Ended { empty: true, .. });
    let until = Instant::now() + LONG;
    while ![1, 5, 6].iter().all(|task| is_empty(&past, *task)) {
        assert!(Instant::now() < until, "{:#?}\n{:#?}", past.records, stage.processes());
        std::thread::sleep(Duration::from_millis(5));
        let lines = past.link.as_mut().unwrap().poll();
        lines.into_iter().for_each(|line| past.add(line));
    }
    assert_eq!(exit_of(&past, (1, 1)), Some(Exit::Signal(15)));
    assert_eq!(exit_of(&past, (5, 1)), Some(Exit::Signal(9)));
    for task in [2, 3, 7, 8] {
        assert!(
            matches!(past.verdict((task, 1)), Verdict::Running { .. }),
            "task {task}: {:?}",
            past.verdict((task, 1))
        );
    }
    past.link.as_mut().unwrap().order(Order::Kill((7, 1)));
    drop(past);
    let past = stage.guard_when(|past| exit_of(past, (7, 1)).is_some());
    assert_eq!(exit_of(&past, (7, 1)), Some(Exit::Signal(9)));
    drop(past);
    stage.touch("go");
    stage.touch("daemon");
    stage.complete();
}

fn a_chosen_detach_returns_three_and_has_no_limit() {
    let stage = Stage::new();
    let begin = Instant::now();
    let running = stage.start("detach");
    let guard = running.guard;
    let (output, _) = running.output();
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(output.status.code(), Some(3));
    let said = format!("qd: detached; guard {guard} supervises 1 task; continue with: qd resume night\n");
    assert_eq!(text(&output.stderr), said);
    let past = stage.only_guard();
    assert_eq!(past.end, Some(ConsoleEnd::Detached));
    drop(past);
    // Longer than the grace of its policy.
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(guard::stat(guard).unwrap().session, guard, "it leads a session of its own");
    stage.touch("go");
    assert_eq!(exit_of(&stage.complete(), (1, 1)), Some(Exit::Code(6)));
}

fn a_guard_alone_that_gets_term_stops_its_tasks_even_frozen_ones() {
    let stage = Stage::new();
    let running = stage.start("one frozen 600000");
    let guard = running.guard;
    kill(running.console, Signal::KILL);
    running.output();
    stage.only_guard();
    for signal in [Signal::INT, Signal::TSTP, Signal::HUP, Signal::PIPE, Signal::QUIT, Signal::USR1] {
        kill(guard, signal);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(matches!(state_of(guard), Some(b'S' | b'R' | b'D')), "nothing else moves it");
    kill(guard, Signal::TERM);
    assert_eq!(exit_of(&stage.complete(), (1, 1)), Some(Exit::Signal(15)));
}

fn a_second_console_sees_the_first_ones_guard_and_both_settle_their_own() {
    let stage = Stage::new();
    let first = stage.start("one wait 600000");
    kill(first.console, Signal::KILL);
    first.output();
    let second = stage.start("resume");
    let seen = stage.read_when_there("seen");
    assert!(seen.starts_with("Running") && seen.lines().count() == 1, "{seen}");
    kill(second.console, Signal::KILL);
    second.output();
    let all = stage.inquire();
    assert_eq!(all.iter().filter(|past| past.link.is_some()).count(), 2);
    drop(all);
    stage.touch("go");
    wait_until(|| stage.inquire().iter().all(|past| past.complete && past.link.is_none()));
    let all = stage.inquire();
    let of = |key| all.iter().filter(|past| exit_of(past, key) == Some(Exit::Code(6))).count();
    assert_eq!((all.len(), of((1, 1)), of((2, 1))), (2, 1, 1));
}

fn a_console_whose_guard_is_killed_is_told_and_goes_on_and_its_code_still_arrives() {
    let stage = Stage::new();
    let running = stage.start("guard-gone");
    let guard = running.guard;
    kill(guard, Signal::KILL);
    let (output, _) = running.output();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let socket = stage.session().join(format!("guard-{guard}.sock"));
    wait_until(|| !is_alive(guard));
    assert!(socket.exists());
    assert!(stage.inquire().is_empty(), "its stale socket is no guard");
    assert!(!socket.exists());
}

fn a_console_whose_front_is_killed_is_told_and_can_detach() {
    let stage = Stage::new();
    let mut running = stage.start("front-gone");
    running.child.kill().unwrap();
    running.output();
    wait_until(|| stage.inquire().first().is_some_and(|past| past.end.is_some()));
    assert_eq!(stage.only_guard().end, Some(ConsoleEnd::Detached));
    stage.touch("go");
    assert_eq!(exit_of(&stage.complete(), (1, 1)), Some(Exit::Code(6)));
}

fn an_attempt_entered_but_not_spawned_is_proved_never_started() {
    let stage = Stage::new();
    let running = stage.start("entered");
    kill(running.console, Signal::KILL);
    running.output();
    let past = stage.only_guard();
    assert_eq!(past.verdict((2, 1)), Verdict::NeverStarted);
    assert!(past.records.iter().any(|line| line.record == Record::NotStarted { key: (2, 1) }));
    assert!(matches!(past.verdict((1, 1)), Verdict::Running { .. }));
}

/// Also one that shows no marker and has not its output file open.
fn an_attempt_killed_in_the_middle_of_its_spawn_is_found_by_what_the_kernel_entered_alive_or_dead() {
    for (script, expected) in [("wait", 6), ("quick", 5), ("bare", 6)] {
        let stage = Stage::new();
        let running = stage.start(&format!("unlisted {script}"));
        kill(running.console, Signal::KILL);
        running.output();
        let past = stage.only_guard();
        let found = |line: &guard::Stamped| matches!(line.record, Record::Found { key: (2, 1), .. });
        assert!(past.records.iter().any(found), "{script}: {:#?}", past.records);
        drop(past);
        stage.touch("go");
        let past = stage.complete();
        match past.verdict((2, 1)) {
            Verdict::Ended { exit: Exit::Code(code), empty: true, log: 77, .. } => {
                assert_eq!(code, expected, "{script}")
            }
            other => panic!("{script}: {other:?}"),
        }
        assert_eq!(exit_of(&past, (1, 1)), Some(Exit::Code(6)));
    }
}

fn a_leader_that_the_console_had_reaped_is_told_and_its_daemon_is_waited_for() {
    let stage = Stage::new();
    let running = stage.start("reaped");
    kill(running.console, Signal::KILL);
    running.output();
    assert_eq!(stage.only_guard().verdict((1, 1)), Verdict::Reaped { empty: false });
    stage.touch("go");
    assert_eq!(stage.complete().verdict((1, 1)), Verdict::Reaped { empty: true });
}

fn a_hostile_client_neither_blocks_nor_stops_nor_feeds_the_guard() {
    let stage = Stage::new();
    let running = stage.start("one wait 600000");
    let socket = stage.session().join(format!("guard-{}.sock", running.guard));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let guard = running.guard;
    kill(running.console, Signal::KILL);
    running.output();
    let mut hostile = Vec::new();
    for round in 0..40u32 {
        let Ok(mut stream) = UnixStream::connect(&socket) else { continue };
        stream.set_nonblocking(true).unwrap();
        let junk: &[u8] = match round % 4 {
            0 => &[b'x'; 100_000],
            1 => b"kill 1 1 1\nadopt\n",
            2 => &[0xff, b'\n', 0, b'\n'],
            _ => b"term",
        };
        let _ = stream.write(junk);
        hostile.push(stream);
        std::thread::sleep(Duration::from_millis(2));
    }
    let begin = Instant::now();
    let past = stage.only_guard();
    assert!(begin.elapsed() < Duration::from_secs(1) && past.link.is_some());
    assert!(matches!(past.verdict((1, 1)), Verdict::Running { .. }));
    let fds = fs::read_dir(format!("/proc/{guard}/fd")).unwrap().count();
    assert!(fds < 30, "{fds} descriptors");
    drop(past);
    stage.touch("go");
    assert_eq!(exit_of(&stage.complete(), (1, 1)), Some(Exit::Code(6)));
}

fn a_session_folder_with_a_very_long_path_works_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("a".repeat(120)).join("b".repeat(120));
    fs::create_dir_all(long.join("session")).unwrap();
    let stage = Stage { dir };
    let mut command = stage.command("one wait 600000");
    command.env("QD_TEST_DIR", long.join("session"));
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ready = long.join("session/ready");
    wait_until(|| ready.exists());
    let console = fs::read_to_string(ready).unwrap().split(' ').next().unwrap().parse().unwrap();
    kill(console, Signal::KILL);
    child.wait_with_output().unwrap();
    assert!(inquire(&long.join("session")).unwrap()[0].link.is_some());
    fs::write(long.join("session/go"), "").unwrap();
    wait_until(|| inquire(&long.join("session")).unwrap()[0].complete);
}

fn a_session_folder_that_others_can_write_to_is_refused() {
    let stage = Stage::new();
    fs::set_permissions(stage.session(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let output = stage.command("close 0").output().unwrap();
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("can be written by"), "{}", text(&output.stderr));
}

fn a_signal_reaches_the_console_once_whether_front_or_the_job_got_it() {
    let stage = Stage::new();
    let running = stage.start("signals");
    let front = running.child.id() as i32;
    let caught = || fs::read_to_string(stage.session().join("caught")).unwrap_or_default();
    let mut expected = String::new();
    // Many, because a doubled one may melt into the first before the console has looked at it.
    let once = [("int\n", Signal::INT), ("term\n", Signal::TERM)];
    let steps =
        [false, true].into_iter().flat_map(|job| std::iter::repeat_n(once, 20).flatten().map(move |it| (job, it)));
    // The hang-up last: with it the guard leaves the job.
    for (job, (name, signal)) in steps.chain([(true, ("hup\n", Signal::HUP))]) {
        match (job, Pid::from_raw(front).unwrap()) {
            (true, group) => kill_process_group(group, signal).unwrap(),
            (false, front) => kill_process(front, signal).unwrap(),
        }
        expected.push_str(name);
        wait_until(|| caught().len() >= expected.len());
        std::thread::sleep(Duration::from_millis(if job { 10 } else { 2 }));
        assert_eq!(caught(), expected, "to the whole job: {job}");
    }
    assert_eq!(guard::stat(running.guard).unwrap().session, running.guard);
    assert!(is_alive(running.guard) && is_alive(front));
    kill(running.console, Signal::KILL);
    running.output();
}

fn a_guard_killed_at_any_of_its_calls_leaves_only_true_lines() {
    for call in ["write", "sync", "reap"] {
        for at in 1..=6 {
            let stage = Stage::new();
            let mut command = stage.command("shapes adopt");
            command.env("QD_FAULT", format!("{call}:{at}")).env("QD_FAULT_IN", "guard");
            let running = stage.start_command(command);
            let guard = running.guard;
            stage.touch("go");
            stage.touch("daemon");
            std::thread::sleep(Duration::from_millis(100));
            kill(running.console, Signal::KILL);
            assert_eq!(running.output().0.status.code(), Some(70));
            wait_until(|| !is_alive(guard));
            let expected = [7, 8, 9, 10, 11, 12, 13].map(Exit::Code);
            let all = stage.inquire();
            let ended = all.iter().flat_map(|past| &past.records);
            let ended = ended.filter(|line| matches!(line.record, Record::Ended { .. })).count();
            assert!(call != "reap" || ended > 0, "reap {at}: nothing is reaped before it is stored");
            assert!(all.len() <= 1 && all.iter().all(|past| past.link.is_none()));
            let Some(past) = all.first() else {
                assert_eq!((call, at), ("write", 1), "{call} {at}: no file at all");
                continue;
            };
            for (task, exit) in (1..).zip(expected.into_iter().chain([Exit::Signal(9)])) {
                match past.verdict((task, 1)) {
                    Verdict::Ended { exit: said, .. } => assert_eq!(said, exit, "{call} {at}: task {task}"),
                    Verdict::Running { .. } => {}
                    Verdict::Unknown { empty: false } if !past.listed => {}
                    other => panic!("{call} {at}: task {task}: {other:?}"),
                }
            }
        }
    }
}

// ── with a terminal ──────────────────────────────────────────────────────────────────────────────────────────────────

/// A pseudo terminal whose output is collected.
struct Screen {
    pty: Arc<pty_process::blocking::Pty>,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn start(program: &str, arguments: &[&str], environment: &[(&str, String)]) -> (Self, Child) {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let mut command = pty_process::blocking::Command::new(program);
        for (name, value) in environment {
            command = command.env(name, value);
        }
        let child = command.args(arguments).spawn(pts).unwrap();
        let (pty, shown) = (Arc::new(pty), Arc::new(Mutex::new(Vec::new())));
        let (reader, sink) = (Arc::clone(&pty), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = (&*reader).read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        (Self { pty, shown }, child)
    }

    fn shown(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    fn kind(&self, keys: &[u8]) {
        (&*self.pty).write_all(keys).unwrap();
    }

    fn modes(&self) -> (u32, u32, u32) {
        let modes = rustix::termios::tcgetattr(self.pty.as_fd()).unwrap();
        (modes.input_modes.bits(), modes.output_modes.bits(), modes.local_modes.bits())
    }

    fn emulated(&self) -> vt100::Parser {
        let size = |cells| std::num::NonZero::new(cells).expect("not zero");
        let mut parser = vt100::Parser::new(size(24), size(80), 0);
        parser.process(&self.shown());
        parser
    }

    fn wait_for(&self, needle: &str) {
        self.wait_for_times(needle, 1);
    }

    fn wait_for_times(&self, needle: &str, times: usize) {
        let until = Instant::now() + LONG;
        while text(&self.shown()).matches(needle).count() < times {
            assert!(Instant::now() < until, "{times} times {needle:?} in {:?}", text(&self.shown()));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn assert_screen_is_back(screen: &Screen) {
    let emulated = screen.emulated();
    let shown = emulated.screen();
    assert!(!shown.alternate_screen() && !shown.hide_cursor() && !shown.bracketed_paste());
    assert_eq!(shown.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
}

fn program() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

fn console_environment(stage: &Stage) -> Vec<(&'static str, String)> {
    let dir = stage.session().to_str().unwrap().to_owned();
    vec![("QD_TEST_CONSOLE", "screen".into()), ("QD_TEST_DIR", dir), ("TERM", "xterm-256color".into())]
}

fn the_terminal_comes_back_after_kill_9_of_a_console_that_had_taken_it() {
    let stage = Stage::new();
    // The shell only keeps the terminal open, so that its modes can be looked at afterwards.
    let script = format!("'{}'; echo \"code=$?\"; read line", program());
    let (screen, mut shell) = Screen::start("/bin/sh", &["-c", &script], &console_environment(&stage));
    let (console, _) = stage.ready();
    screen.wait_for("THE SCREEN");
    let taken = screen.modes();
    assert!(screen.emulated().screen().alternate_screen() && screen.emulated().screen().hide_cursor());
    screen.kind(b"typed for the console");
    kill(console, Signal::KILL);
    screen.wait_for("code=70");
    let restored = screen.modes();
    assert_ne!(restored, taken);
    let canonical = rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO;
    assert_eq!(restored.2 & canonical.bits(), canonical.bits());
    assert_screen_is_back(&screen);
    assert!(screen.emulated().screen().contents().contains("supervises 1 task"), "{}", text(&screen.shown()));
    screen.kind(b"\n");
    shell.wait().unwrap();
    stage.touch("go");
    assert_eq!(exit_of(&stage.complete(), (1, 1)), Some(Exit::Code(6)));
}

fn ctrl_z_gives_the_shell_its_prompt_and_fg_gives_it_back() {
    let stage = Stage::new();
    let variables = [("PS1", "ready> ".into()), ("TERM", "xterm-256color".into())];
    let (screen, mut shell) = Screen::start("bash", &["--norc", "--noprofile", "-i"], &variables);
    screen.wait_for("ready> ");
    // Else the shell's own prompt asks for bracketed paste.
    screen.kind(b"bind 'set enable-bracketed-paste off'\n");
    let environment: Vec<String> =
        console_environment(&stage).into_iter().map(|(name, value)| format!("{name}='{value}'")).collect();
    screen.kind(format!("{} '{}'; echo code=$?\n", environment.join(" "), program()).as_bytes());
    let (console, guard) = stage.ready();
    let rounds = 10;
    for round in 1..=rounds {
        screen.wait_for_times("THE SCREEN", round);
        screen.kind(b"\x1a");
        screen.wait_for_times("Stopped", round);
        wait_until(|| state_of(console) == Some(b'T'));
        assert_ne!(state_of(guard), Some(b'T'), "the guard never stops");
        assert_screen_is_back(&screen);
        let resumed = || fs::read_to_string(stage.session().join("resumed")).unwrap_or_default();
        assert_eq!(resumed(), if round == 1 { String::new() } else { (round - 1).to_string() }, "it ran on");
        screen.kind(b"fg\n");
        wait_until(|| resumed() == round.to_string());
    }
    screen.wait_for_times("THE SCREEN", rounds + 1);
    // Killed while it is stopped: the job ends, and the shell's terminal is left alone.
    screen.kind(b"\x1a");
    screen.wait_for_times("Stopped", rounds + 1);
    kill(console, Signal::KILL);
    wait_until(|| stage.inquire().first().is_some_and(|past| past.end.is_some()));
    screen.kind(b"\necho still=$((40+2))\n");
    screen.wait_for("still=42");
    assert_screen_is_back(&screen);
    screen.kind(b"jobs; echo none=$((1+1))\n");
    screen.wait_for("none=2");
    assert!(!text(&screen.shown()).rsplit_once("jobs").unwrap().1.contains("Stopped"), "{}", text(&screen.shown()));
    screen.kind(b"exit\n");
    shell.wait().unwrap();
    stage.touch("go");
    assert_eq!(exit_of(&stage.complete(), (1, 1)), Some(Exit::Code(6)));
}

fn a_closed_terminal_ends_front_and_leaves_the_tasks_to_the_guard() {
    let stage = Stage::new();
    // Whoever runs the tests may ignore the signal (`nohup`), which children inherit.
    let arguments = ["--default-signal=HUP", &program()];
    let (screen, mut front) = Screen::start("env", &arguments, &console_environment(&stage));
    let (_, guard) = stage.ready();
    screen.wait_for("THE SCREEN");
    // The console dies of the hang-up (it does not handle it here); front and guard do not.
    kill(front.id() as i32, Signal::HUP);
    assert_eq!(front.wait().unwrap().code(), Some(70));
    drop(screen);
    assert!(is_alive(guard));
    assert_eq!(stage.only_guard().end, Some(ConsoleEnd::Died(Exit::Signal(1))));
    stage.touch("go");
    assert_eq!(exit_of(&stage.complete(), (1, 1)), Some(Exit::Code(6)));
}

// ── the runner ───────────────────────────────────────────────────────────────────────────────────────────────────────

macro_rules! tests {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
}

/// All processes with what they wait for, to find out why a test hangs.
fn everything() -> String {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let processes = folders.filter(|path| path.join("stat").exists());
    let line = |path: PathBuf| {
        let file = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default().replace('\0', " ");
        let stat: String = file("stat").chars().take(60).collect();
        format!("{stat} | {} | {}\n", file("wchan"), file("cmdline"))
    };
    processes.map(line).collect()
}

fn run_tests() {
    let tests = tests![
        the_consoles_exit_code_passes_through_and_nothing_is_left,
        every_shape_of_task_is_settled_truly_after_kill_9_of_the_console,
        with_stop_nothing_is_left_within_a_second_of_the_consoles_death,
        hundreds_that_end_at_once_are_all_told_truly,
        a_grace_that_runs_out_stops_what_is_left_and_an_adoption_suspends_it,
        a_console_that_leaves_on_purpose_sets_no_new_limit,
        orders_reach_the_whole_tree_and_only_it,
        a_chosen_detach_returns_three_and_has_no_limit,
        a_guard_alone_that_gets_term_stops_its_tasks_even_frozen_ones,
        a_second_console_sees_the_first_ones_guard_and_both_settle_their_own,
        a_console_whose_guard_is_killed_is_told_and_goes_on_and_its_code_still_arrives,
        a_console_whose_front_is_killed_is_told_and_can_detach,
        an_attempt_entered_but_not_spawned_is_proved_never_started,
        an_attempt_killed_in_the_middle_of_its_spawn_is_found_by_what_the_kernel_entered_alive_or_dead,
        a_leader_that_the_console_had_reaped_is_told_and_its_daemon_is_waited_for,
        a_hostile_client_neither_blocks_nor_stops_nor_feeds_the_guard,
        a_session_folder_with_a_very_long_path_works_the_same,
        a_session_folder_that_others_can_write_to_is_refused,
        a_signal_reaches_the_console_once_whether_front_or_the_job_got_it,
        a_guard_killed_at_any_of_its_calls_leaves_only_true_lines,
        the_terminal_comes_back_after_kill_9_of_a_console_that_had_taken_it,
        ctrl_z_gives_the_shell_its_prompt_and_fg_gives_it_back,
        a_closed_terminal_ends_front_and_leaves_the_tasks_to_the_guard,
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<_> = tests.iter().filter(|(name, _)| chosen(name)).collect();
    println!("\nrunning {} tests", chosen.len());
    let (mut failed, begin) = (0, Instant::now());
    for (name, test) in &chosen {
        let (over, told) = std::sync::mpsc::channel::<()>();
        let name_of_it = (*name).to_owned();
        std::thread::spawn(move || {
            if told.recv_timeout(TEST_LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                println!("test {name_of_it} ... FAILED (hangs)\n{}\ntest result: FAILED. A test hangs.", everything());
                std::process::exit(101);
            }
        });
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        drop(over);
        failed += usize::from(!passed);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    }
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        chosen.len() - failed,
        tests.len() - chosen.len(),
        begin.elapsed().as_secs_f64()
    );
    if failed > 0 {
        std::process::exit(101);
    }
}
