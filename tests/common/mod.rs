//! What tests of the real binary share: a place of their own, a robot at a terminal, a checker of every byte written.
//! Nothing here knows the crate's insides.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod bytes;
pub mod robot;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What nothing here needs, however busy the machine is.
pub const LONG: Duration = Duration::from_secs(90);

/// A folder of its own: workflow, state and what the tasks write.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// One with a workflow in `flow.ron`.
    pub fn with(workflow: &str) -> Self {
        let place = Self::new();
        std::fs::write(place.path("flow.ron"), workflow).expect("the workflow is written");
        place
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Makes a file that tasks wait for: see [`wait_for`].
    pub fn touch(&self, name: &str) {
        std::fs::write(self.path(name), "").expect("a file is made");
    }

    /// Waits until a task has made this file.
    pub fn await_file(&self, name: &str) {
        until(&format!("the file {name}"), || self.path(name).exists());
    }

    /// `qd` with these arguments, run to its end without a terminal.
    pub fn qd(&self, args: &[&str]) -> Output {
        let mut command = Command::new(QD);
        self.surround(&mut command);
        command.args(args).stdin(Stdio::null()).output().expect("qd runs")
    }

    /// `qd` with these arguments ends with this code; what it wrote to stdout.
    #[track_caller]
    pub fn ends(&self, args: &[&str], code: i32) -> String {
        let output = self.qd(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        out.into_owned()
    }

    /// `qd run flow.ron --session s`, in the background.
    pub fn begin(&self) -> Child {
        let mut command = Command::new(QD);
        self.surround(&mut command);
        command.args(["run", "flow.ron", "--session", "s"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("qd runs")
    }

    /// `qd resume s`, in the background.
    pub fn resume(&self) -> Child {
        let mut command = Command::new(QD);
        self.surround(&mut command);
        command.args(["resume", "s"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("qd runs")
    }

    /// What stands in a file.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("it was written")
    }

    /// Kills the console of the session `s` without a word (`kill -9`).
    pub fn kill(&self, mut run: Child) {
        let journal = self.journal("s");
        let opened = journal.iter().rev().find(|line| line.contains("fact:Opened(")).expect("a console opened it");
        let pid = opened.split("pid:").nth(1).and_then(|rest| rest.split(')').next()).expect("its pid is in it");
        let killed = Command::new("kill").args(["-9", pid]).status().expect("kill runs");
        assert!(killed.success());
        run.wait().expect("our own child");
    }

    /// [`Self::kill`], as soon as the journal has this.
    pub fn kill_once(&self, run: Child, fact: &str) {
        until(fact, || self.journal("s").iter().any(|line| line.contains(fact)));
        self.kill(run);
    }

    /// Nothing of this machine gets in: own state, own home, a steady terminal.
    pub fn surround(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).envs(self.variables()).current_dir(self.root());
    }

    /// The environment of every test.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![
            ("QD_STATE_DIR", text(self.path("state"))),
            ("HOME", text(self.path("home"))),
            ("TERM", "xterm-256color".into()),
            ("LANG", "C.UTF-8".into()),
            ("TZ", "UTC".into()),
            ("PS1", "prompt> ".into()),
            ("QD_WELCOME", "off".into()),
        ]
    }

    /// The lines of a session's journal.
    pub fn journal(&self, session: &str) -> Vec<String> {
        let path = self.path("state/sessions").join(session).join("journal");
        let bytes = std::fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    /// The tasks in the order in which they were started, by their numbers in the file.
    pub fn started(&self, session: &str) -> Vec<usize> {
        let lines = self.journal(session);
        let numbers = lines.iter().filter_map(|line| line.split("fact:Starting(task:").nth(1)?.split(',').next());
        numbers.map(|number| number.parse().expect("a number")).collect()
    }
}

/// The binary under test.
pub const QD: &str = env!("CARGO_BIN_EXE_qd");

/// A shell command that waits until the test has made this file.
pub fn wait_for(file: &str) -> String {
    format!("until [ -e {file} ]; do sleep 0.02; done")
}

/// Waits for a condition, with all patience.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "waited {LONG:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
