//! Starts `qd` on a flow, kills it, resumes it, and lets the oracles judge. A run is one session in a folder of its own.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::flow::Flow;
use super::reader::{self, Record};
use super::task::{self, Entry, ledger};

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(40);

/// Says what is wrong.
pub type Check<T = ()> = Result<T, String>;

/// One session.
pub struct Run {
    pub root: PathBuf,
    pub flow: Flow,
    pub session: String,
    mark: String,
    /// Output files of its consoles so far, of this session's name.
    outputs: Vec<PathBuf>,
    count: usize,
    /// The journal as it was when a console had died.
    before: Vec<u8>,
}

/// A `qd` that was started.
pub struct Console {
    child: Child,
    since: Instant,
}

impl Run {
    pub fn new(flow: Flow) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let root = tempfile::tempdir().unwrap().keep();
        let mark = format!("crash-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
        for folder in ["ledger", "lock", "state"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("flow.ron"), &flow.text).unwrap();
        Self { root, flow, session: "s1".into(), mark, outputs: Vec::new(), count: 0, before: Vec::new() }
    }

    /// `qd` with these arguments in this run's world.
    pub fn command(&self, arguments: &[&str]) -> Command {
        // Whoever runs the tests may ignore signals (`nohup`), which children inherit.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,QUIT,TERM", env!("CARGO_BIN_EXE_qd")]);
        command.args(arguments).current_dir(&self.root).stdin(Stdio::null());
        for name in ["QD_FAULT", "QD_FAULT_IN"] {
            command.env_remove(name);
        }
        command
            .env("QD_STATE_DIR", self.root.join("state"))
            .env(task::ROOT, &self.root)
            .env(task::MARK, &self.mark)
            .env("QD_WELCOME", "off");
        command
    }

    fn spawn(&mut self, arguments: &[&str], environment: &[(&str, &str)]) -> Console {
        self.count += 1;
        let output = self.root.join(format!("out-{}", self.count));
        let errors = File::create(self.root.join(format!("err-{}", self.count))).unwrap();
        let mut command = self.command(arguments);
        command.stdout(File::create(&output).unwrap()).stderr(errors).envs(environment.iter().copied());
        self.outputs.push(output);
        Console { child: command.spawn().unwrap(), since: Instant::now() }
    }

    /// `qd run` on the flow.
    pub fn start(&mut self, environment: &[(&str, &str)]) -> Console {
        let session = self.session.clone();
        self.spawn(&["run", "flow.ron", "--json", "--session", &session], environment)
    }

    /// `qd resume`; a session that died before its workflow was stored is begun again under another name.
    pub fn resume(&mut self, environment: &[(&str, &str)]) -> Check<Console> {
        let (records, _) = reader::read(&self.journal());
        if records.iter().any(|record| record.name == "Loaded") {
            let session = self.session.clone();
            return Ok(self.spawn(&["resume", &session, "--json"], environment));
        }
        if self.starts() > 0 {
            return Err("something ran before the workflow was stored".into());
        }
        if self.root.join("state/sessions").join(&self.session).exists() {
            let refused = self.command(&["resume", &self.session, "--json"]).output().unwrap();
            if refused.status.code() != Some(2) {
                return Err(format!("resume of nothing ended with {}", refused.status));
            }
        }
        self.session.push('x');
        (self.outputs, self.before) = (Vec::new(), Vec::new());
        Ok(self.start(environment))
    }

    pub fn folder(&self) -> PathBuf {
        self.root.join("state/sessions").join(&self.session)
    }

    pub fn journal(&self) -> Vec<u8> {
        std::fs::read(self.folder().join("journal")).unwrap_or_default()
    }

    pub fn records(&self) -> Vec<Record> {
        reader::read(&self.journal()).0
    }

    /// How many attempts the ledger has.
    pub fn starts(&self) -> usize {
        let starts = |name: &str| {
            ledger(&self.root, name).into_iter().filter(|entry| matches!(entry, Entry::Start { .. })).count()
        };
        self.flow.tasks.iter().map(|task| starts(&task.name)).sum()
    }

    /// Attempts that the ledger shows as under way, with their pids.
    pub fn live(&self) -> BTreeSet<(String, u32, i32)> {
        let mut live = BTreeSet::new();
        for task in &self.flow.tasks {
            for entry in ledger(&self.root, &task.name) {
                match entry {
                    Entry::Start { attempt, pid } => {
                        live.insert((task.name.clone(), attempt, pid));
                    }
                    Entry::End { attempt, .. } => {
                        live.retain(|(name, number, _)| (name, *number) != (&task.name, attempt));
                    }
                }
            }
        }
        live.retain(|(_, _, pid)| Path::new(&format!("/proc/{pid}")).exists());
        live
    }

    /// After a console's death: what was stored is still there, with nothing in between.
    pub fn keep_journal(&mut self) -> Check {
        let journal = self.journal();
        let (_, good) = reader::read(&self.before);
        if !journal.starts_with(&self.before[..good]) {
            return Err("the journal lost or changed what it had at an earlier crash".into());
        }
        self.before = journal;
        Ok(())
    }

    /// Waits for an end that is no crash; returns its exit code.
    pub fn finish(&mut self, console: Console) -> Check<i32> {
        let code = console.wait(self)?;
        if code == 70 {
            return Err(format!("an internal error: {}", self.errors()));
        }
        Ok(code)
    }

    /// What the last console wrote on stderr.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.root.join(format!("err-{}", self.count))).unwrap_or_default()
    }

    /// Processes of this run that live.
    pub fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let (environment, arguments) = (read("environ"), read("cmdline"));
            let mark = self.mark.as_bytes();
            let env_mark = [task::MARK.as_bytes(), b"=", mark].concat();
            let is = |text: &[u8], word: &[u8]| text.split(|byte| *byte == 0).any(|part| part == word);
            if is(&environment, &env_mark) || is(&arguments, mark) {
                let arguments: Vec<_> = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
                found.push(format!("{pid} {}", arguments.join(" ")));
            }
        }
        found
    }

    pub fn outputs(&self) -> &[PathBuf] {
        &self.outputs
    }

    /// Nothing is left behind.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl Console {
    /// Pid of front.
    pub fn front(&self) -> i32 {
        self.child.id() as i32
    }

    /// Pids of guard and console, once both are there.
    pub fn pids(&mut self) -> Option<(i32, i32)> {
        while self.child.try_wait().unwrap().is_none() {
            let guard = children(self.front()).first().copied();
            if let Some((guard, console)) = guard.and_then(|guard| Some((guard, *children(guard).first()?))) {
                return Some((guard, console));
            }
            if self.since.elapsed() > LIMIT {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// Kills the console. False if it had ended.
    pub fn kill(&mut self) -> bool {
        self.pids().is_some_and(|(_, console)| send(console, Signal::KILL))
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The exit code; an error if it takes too long or dies of a signal.
    pub fn wait(mut self, run: &Run) -> Check<i32> {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().ok_or(format!("front died of signal {:?}", status.signal()));
            }
            if self.since.elapsed() > LIMIT {
                let processes = run.processes().join("\n  ");
                let _ = self.kill();
                let _ = self.child.wait();
                return Err(format!("it hangs; these live:\n  {processes}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Signals a process. False if there is none.
pub fn send(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Waits until something holds. False if it does not within `limit`.
pub fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while !holds() {
        if since.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Works through all items with some threads, most of which sleep; the results in the items' order.
pub fn all<I: Sync, O: Send>(items: &[I], threads: usize, work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    let Some(item) = items.get(index) else { return };
                    let result = work(item);
                    done.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
