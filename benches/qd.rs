//! What `qd` costs, as ratios taken in one run: dispatch and chain against the bare posix_spawn loop of
//! `../shared/bench/peers/c/rawspawn.c` (absent: said so), loading a large file, the first frame, a frame of a large
//! session, the idle console. `cargo bench --bench qd [-- WHAT…]`; WHAT: noop chain messages load frame draw idle. `QD_BENCH_N` and
//! `QD_BENCH_ROUNDS` set the sizes.

#[path = "support/draw.rs"]
mod draw;
#[path = "support/messages.rs"]
mod messages;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |what: &str| asked.is_empty() || asked.iter().any(|arg| arg == what);
    let bench = Bench::new();
    if wants("noop") {
        bench.dispatch("independent /bin/true, 2 slots", &noop(bench.tasks), bench.tasks, 2);
    }
    if wants("chain") {
        let count = bench.tasks.min(1000);
        bench.dispatch("chain of /bin/true, per hop", &chain(count), count, 1);
    }
    if wants("messages") {
        messages::all(&bench);
    }
    if wants("load") {
        bench.load();
    }
    if wants("frame") {
        bench.first_frame();
    }
    if wants("draw") {
        draw::all();
    }
    if wants("idle") {
        bench.idle();
    }
}

struct Bench {
    folder: tempfile::TempDir,
    raw: Option<PathBuf>,
    tasks: usize,
    rounds: usize,
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/bench/peers/c/rawspawn.c");
        let raw = folder.path().join("rawspawn");
        let built = source.exists()
            && Command::new("cc")
                .args(["-O2", "-o"])
                .arg(&raw)
                .arg(&source)
                .status()
                .is_ok_and(|status| status.success());
        if !built {
            println!("the bare loop (../shared/bench/peers/c/rawspawn.c) is absent or cc is: no ratios to it");
        }
        Self {
            folder,
            raw: built.then_some(raw),
            tasks: number("QD_BENCH_N", 10_000),
            rounds: number("QD_BENCH_ROUNDS", 5),
        }
    }

    fn qd(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qd"));
        command.env("QD_STATE_DIR", self.folder.path().join("state")).stdin(Stdio::null());
        command
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("the temporary folder takes files");
        path
    }

    /// Raw loop and `qd` by turns; medians and their ratio.
    fn dispatch(&self, what: &str, workflow: &str, count: usize, in_flight: usize) {
        let file = self.write("flow.ron", workflow);
        let (mut raw, mut ours, mut cpu_raw, mut cpu_ours) = (vec![], vec![], vec![], vec![]);
        for _ in 0..self.rounds {
            if let Some(path) = &self.raw {
                let mut bare = Command::new(path);
                bare.args(["-n", &count.to_string(), "-p", &in_flight.to_string(), "--", "/bin/true"]);
                let (wall, cpu) = timed(&mut bare);
                raw.push(wall);
                cpu_raw.push(cpu);
            }
            let mut command = self.qd();
            command.arg("run").arg(&file).args(["--headless", "--slots", "2"]);
            let (wall, cpu) = timed(&mut command);
            ours.push(wall);
            cpu_ours.push(cpu);
            let _ = fs::remove_dir_all(self.folder.path().join("state"));
        }
        let per = |seconds: f64| seconds * 1000.0 / count as f64;
        let (a, b) = (median(&mut ours), median(&mut cpu_ours));
        print!("{what}: qd {:.3} ms/task (cpu {:.3})", per(a), per(b));
        if raw.is_empty() {
            println!();
            return;
        }
        let (r, c) = (median(&mut raw), median(&mut cpu_raw));
        println!(", bare {:.3} (cpu {:.3}): wall {:.2} x, cpu {:.2} x (aim 1.15)", per(r), per(c), a / r, b / c);
    }

    /// A file of 100,000 tasks: checked, then compiled and ready.
    fn load(&self) {
        let count = 100_000;
        let file = self.write("large.ron", &noop(count));
        let mut check = self.qd();
        check.arg("check").arg(&file);
        let (wall, _) = timed(&mut check);
        println!("check of {count} tasks: {wall:.2} s");
        let mut run = self.qd();
        let child = run
            .arg("run")
            .arg(&file)
            .args(["--headless", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.expect("qd starts");
        let began = Instant::now();
        let mut out = child.stdout.take().expect("piped");
        let mut buffer = vec![0u8; 1 << 20];
        let mut seen = Vec::new();
        let needle = b"\"fact\":\"Running\"";
        while !seen.windows(needle.len()).any(|window| window == needle) {
            let count = out.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                break;
            }
            let keep = seen.len().saturating_sub(needle.len());
            seen.drain(..keep);
            seen.extend_from_slice(&buffer[..count]);
        }
        let ready = began.elapsed();
        let memory = console_of(child.id()).and_then(|pid| status_kib(pid, "VmHWM")).unwrap_or(0);
        println!(
            "run of {count} tasks: first one running after {:.2} s, peak {} MiB (aims 2 s, 300 MiB)",
            ready.as_secs_f64(),
            memory / 1024
        );
        stop(&mut child);
    }

    /// From start to the first frame with the demo's name on it, in a pty.
    fn first_frame(&self) {
        let mut times: Vec<f64> = (0..self.rounds)
            .filter_map(|_| self.with_console(|seen, began| seen(b"release").then(|| began.elapsed().as_secs_f64())))
            .collect();
        if times.is_empty() {
            println!("first frame: not seen");
            return;
        }
        println!("first frame of the demo: {:.0} ms (aim 100)", median(&mut times) * 1000.0);
    }

    /// CPU of the console while one long task runs.
    fn idle(&self) {
        let file = self.write(
            "idle.ron",
            "Workflow(name: \"idle\", stages: [Stage(id: \"s\", tasks: [Task(id: \"sleep\", run: \"sleep 600\")])])",
        );
        let mut console = Pty::start(self.qd().arg("run").arg(&file));
        console.drain(Duration::from_secs(3));
        let Some(pid) = console_of(console.child.id()) else {
            println!("idle: no console found");
            return;
        };
        let before = ticks(pid);
        let seconds = 10;
        console.drain(Duration::from_secs(seconds));
        let used = (ticks(pid) - before) as f64 / rustix::param::clock_ticks_per_second() as f64;
        println!("idle console: {:.2} % of a core (aim 1)", used * 100.0 / seconds as f64);
        stop(&mut console.child);
    }

    fn with_console<T>(&self, look: impl Fn(&dyn Fn(&[u8]) -> bool, Instant) -> Option<T>) -> Option<T> {
        let began = Instant::now();
        let empty = tempfile::tempdir().ok()?;
        let mut console = Pty::start(self.qd().current_dir(empty.path()));
        let mut all = Vec::new();
        let mut found = None;
        while found.is_none() && began.elapsed() < Duration::from_secs(10) {
            all.extend(console.drain_once(Duration::from_millis(20)));
            found = look(&|needle| all.windows(needle.len()).any(|window| window == needle), began);
        }
        stop(&mut console.child);
        found
    }
}

/// A child in a pty of 120x36.
struct Pty {
    pty: pty_process::blocking::Pty,
    child: std::process::Child,
}

impl Pty {
    fn start(command: &Command) -> Self {
        let (pty, pts) = pty_process::blocking::open().expect("a pty");
        pty.resize(pty_process::Size::new(36, 120)).expect("a pty has a size");
        let mut inner = pty_process::blocking::Command::new(command.get_program());
        inner = inner.args(command.get_args()).env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inner = inner.env(name, value);
            }
        }
        if let Some(folder) = command.get_current_dir() {
            inner = inner.current_dir(folder);
        }
        let child = inner.spawn(pts).expect("qd starts");
        Self { pty, child }
    }

    fn drain_once(&mut self, wait: Duration) -> Vec<u8> {
        let timeout =
            rustix::event::Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut fds = [rustix::event::PollFd::new(&self.pty, rustix::event::PollFlags::IN)];
        let mut buffer = vec![0; 1 << 16];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(n) if n > 0 => {
                let count = self.pty.read(&mut buffer).unwrap_or(0);
                buffer.truncate(count);
                buffer
            }
            _ => Vec::new(),
        }
    }

    fn drain(&mut self, length: Duration) {
        let began = Instant::now();
        while began.elapsed() < length {
            self.drain_once(Duration::from_millis(100));
        }
    }
}

fn stop(child: &mut std::process::Child) {
    if let Some(console) = console_of(child.id()) {
        let pid = rustix::process::Pid::from_raw(console).expect("a pid");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Front's child is the guard, the guard's child is the console.
fn console_of(front: u32) -> Option<i32> {
    let child = |pid: i32| -> Option<i32> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    child(child(front as i32)?)
}

fn status_kib(pid: i32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().nth(1)?.parse().ok())
}

/// User and system time in clock ticks.
fn ticks(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let at = |n: usize| rest.get(n).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    at(11) + at(12)
}

/// Wall and CPU seconds (of it and all it waited for).
fn timed(command: &mut Command) -> (f64, f64) {
    let before = children_cpu();
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
    let wall = began.elapsed().as_secs_f64();
    if !status.success() {
        let _ = writeln!(std::io::stderr(), "{command:?} ended with {status}");
    }
    (wall, children_cpu() - before)
}

fn children_cpu() -> f64 {
    // utime and stime of waited-for children: fields 16 and 17 of our own stat.
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let at = |n: usize| rest.get(n).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (at(13) + at(14)) / rustix::param::clock_ticks_per_second() as f64
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn noop(count: usize) -> String {
    let tasks: String = (0..count).map(|n| format!("Task(id: \"t{n}\", run: \"/bin/true\"),\n")).collect();
    workflow(&tasks)
}

fn chain(count: usize) -> String {
    let after = |n: usize| if n == 0 { String::new() } else { format!(", after: [\"t{}\"]", n - 1) };
    let tasks: String = (0..count).map(|n| format!("Task(id: \"t{n}\", run: \"/bin/true\"{}),\n", after(n))).collect();
    workflow(&tasks)
}

fn workflow(tasks: &str) -> String {
    format!("Workflow(name: \"bench\", stages: [Stage(id: \"main\", tasks: [\n{tasks}])])\n")
}
