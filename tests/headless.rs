//! The built binary without a screen, as scripts and CI meet it: exit codes, plain lines, JSON lines, signals, closed
//! pipes, trust, and what a defect of ours looks like. Each test has a state folder of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use quarterdeck::session::journal::read::read;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing here may take so long.
const LONG: Duration = Duration::from_secs(240);

// ── a place of its own ───────────────────────────────────────────────────────────────────────────────────────────────

/// A working folder and a state folder that nobody else knows.
struct Place(tempfile::TempDir);

/// What became of a call.
#[derive(Debug)]
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("a file in a folder of ours");
        self.path(name)
    }

    /// A workflow of these tasks, one at a time.
    fn tasks(&self, tasks: &str) -> PathBuf {
        let agent = "Agent(name: \"local\", slots: 4, capabilities: [\"shell\"])";
        let text = format!("Workflow(name: \"t\", agents: [{agent}], stages: [Stage(id: \"s\", tasks: [{tasks}])])");
        self.write("flow.ron", &text)
    }

    fn qd(&self, args: &[&str]) -> Command {
        // Whoever runs the tests may ignore signals (`nohup`), which children inherit.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,QUIT,TERM", env!("CARGO_BIN_EXE_qd")]);
        let inherited: Vec<_> = std::env::vars_os().filter(|(name, _)| name == "PATH").collect();
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null()).env_clear().envs(inherited);
        command
            .env("QD_STATE_DIR", self.path("state"))
            .env("HOME", self.0.path())
            .env("TMPDIR", self.0.path())
            .env("QD_WELCOME", "off");
        command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").env("TZ", "UTC");
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        self.finish(self.qd(args))
    }

    fn run_with_input(&self, args: &[&str], input: &str) -> Done {
        let input = File::open(self.write("input", input)).expect("it was just written");
        let mut command = self.qd(args);
        command.stdin(input);
        self.finish(command)
    }

    /// Runs it to its end; its streams go to files, so that nothing can fill up.
    fn finish(&self, command: Command) -> Done {
        self.start(command).wait()
    }

    fn start(&self, mut command: Command) -> Started {
        let streams = tempfile::tempdir_in(self.0.path()).expect("a folder in a folder of ours");
        let file = |name: &str| File::create(streams.path().join(name)).expect("a file in a folder of ours");
        command.stdout(file("out")).stderr(file("err"));
        Started { child: command.spawn().expect("the binary is built"), streams }
    }

    fn journal(&self, session: &str) -> PathBuf {
        self.path("state/sessions").join(session).join("journal")
    }
}

struct Started {
    child: Child,
    streams: tempfile::TempDir,
}

impl Started {
    fn out(&self) -> String {
        fs::read_to_string(self.streams.path().join("out")).expect("text")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    fn wait(mut self) -> Done {
        let code = wait(&mut self.child).code();
        let err = fs::read_to_string(self.streams.path().join("err")).expect("text");
        Done { code, out: self.out(), err }
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + LONG;
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let limit = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn facts<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["fact"] == name).collect()
}

impl Done {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    /// The hint in the error text.
    #[track_caller]
    fn hints(self, hint: &str) -> Self {
        assert!(self.err.starts_with("error: ") && self.err.contains(hint), "{}", self.err);
        self
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("the folder is part of the repository");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "ron")).collect();
    files.sort();
    assert!(files.len() >= 5);
    files
}

// ── examples ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Examples that are meant to end otherwise than by 0.
const OTHER_CODES: &[(&str, i32)] = &[("compensation", 1)];

#[test]
fn every_example_runs_to_its_documented_end_and_the_built_in_demo_too() {
    std::thread::scope(|scope| {
        for path in files("workflows") {
            scope.spawn(move || {
                let place = Place::new();
                let stem = path.file_stem().expect("a file").to_string_lossy().into_owned();
                let code = OTHER_CODES.iter().find(|(name, _)| *name == stem).map_or(0, |(_, code)| *code);
                if stem == "demo" {
                    // A minute long: once, as `qd` alone runs it.
                    let done = place.run(&["--session", "demo"]).exits(code);
                    assert!(done.out.contains(" by a fallback"), "{}", done.out);
                    let left = fs::read_dir(place.0.path()).expect("ours").flatten();
                    let left: Vec<_> = left.filter(|e| e.file_name().to_string_lossy().contains("-demo-")).collect();
                    assert!(left.is_empty(), "the demo tidies up: {left:?}");
                } else {
                    let path = path.to_str().expect("a path of ours");
                    let done = place.run(&["run", path]).exits(code);
                    assert_eq!(done.err, "");
                    place.run(&["check", path]).exits(0);
                }
            });
        }
    });
}

#[test]
fn every_broken_file_is_refused_with_exit_code_two_and_leaves_no_session() {
    let place = Place::new();
    for path in files("tests/check") {
        // Files that need parameters to be wrong say so.
        let text = String::from_utf8_lossy(&fs::read(&path).expect("readable")).into_owned();
        let params = text.lines().filter_map(|line| line.strip_prefix("// --param ").map(str::to_owned));
        let params: Vec<String> = params.flat_map(|param| ["--param".to_owned(), param]).collect();
        for verb in ["check", "run"] {
            let mut args = vec![verb, path.to_str().expect("ours")];
            args.extend(params.iter().map(String::as_str));
            let done = place.run(&args).exits(2);
            assert!(done.out.is_empty() && done.err.starts_with("error: "), "{path:?}: {done:?}");
        }
    }
    assert_eq!(place.run(&["sessions"]).exits(0).out, "no sessions yet: qd run FILE makes one\n");
}

// ── what is printed ──────────────────────────────────────────────────────────────────────────────────────────────────

/// Every ending there is, one after another.
const ENDINGS: &str = r#"
    Task(id: "ok", run: "echo not shown", priority: 90),
    Task(id: "absent", run: "no-such-program-here", priority: 80, retry: Retry(attempts: 3, backoff: Fixed("10ms"))),
    Task(id: "not-a-program", exec: ["./flow.ron"], priority: 75, retry: Retry(attempts: 3, backoff: Fixed("10ms"))),
    Task(id: "no-folder", run: "true", cwd: "/no/such/folder", priority: 70, retry: Retry(attempts: 3, backoff: Fixed("10ms"))),
    Task(id: "slow", run: "trap '' TERM; exec sleep 60", timeout: "300ms", priority: 60),
    Task(id: "replaced", run: "exit 9", fallback: ["other"], priority: 50),
    Task(id: "leaves", run: "sleep 100 & echo left one", priority: 40),
    Task(id: "killed", run: "kill -9 $$", priority: 30),
    Task(id: "fails", run: "seq 1 20; printf '\\033[2J\\033]0;x\\007evil\\n' >&2; exit 7", retry: Retry(attempts: 2, backoff: Fixed("100ms"))),
    Task(id: "behind", run: "true", after: ["fails"]),
"#;

fn endings(place: &Place) -> PathBuf {
    let text = format!(
        "Workflow(name: \"endings\", grace: \"300ms\", controls: [MaxRunning(1)],
        stages: [Stage(id: \"s\", tasks: [{ENDINGS}])],
        fallbacks: {{ \"other\": Alternative(run: \"echo instead\") }})"
    );
    place.write("flow.ron", &text)
}

/// Times are not the same twice.
fn masked(text: &str) -> String {
    let time = |word: &str| {
        let number = word.trim_start_matches('(').trim_end_matches([')', ',', 's']);
        let parts: Vec<&str> = number.split([':', '.']).collect();
        parts.len() >= 2 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let word = |word: &str| {
        if !time(word) {
            return word.to_owned();
        }
        let mask = if word.contains(':') { "M:SS.T" } else { "N.Ns" };
        let (open, end) = (word.starts_with('('), word.trim_start_matches(|c| c != 's' && c != ')' && c != ','));
        format!("{}{mask}{}", if open { "(" } else { "" }, end.trim_start_matches('s'))
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn plain_lines_tell_starts_ends_causes_last_lines_and_a_summary() {
    let place = Place::new();
    endings(&place);
    let done = place.run(&["run", "flow.ron", "--session", "plain"]).exits(1);
    assert_eq!(done.err, "");
    assert!(!done.out.contains('\x1b') && !done.out.contains('\x07'), "{}", done.out);
    let path = std::env::var("PATH").expect("set");
    insta::assert_snapshot!(masked(&done.out.replace(&path, "PATH")));
}

#[test]
fn json_lines_are_the_journal_fact_by_fact() {
    let place = Place::new();
    endings(&place);
    let done = place.run(&["run", "flow.ron", "--session", "j", "--json"]).exits(1);
    let lines = json(&done.out);
    let stored = read(&place.journal("j")).expect("a good journal").facts;
    assert_eq!(lines.len(), stored.len());
    for (number, (line, stored)) in lines.iter().zip(&stored).enumerate() {
        assert_eq!(line["v"], 1);
        assert_eq!(line["seq"], number as u64 + 1);
        assert_eq!(line["at_ms"], stored.at.0);
        let name = format!("{:?}", stored.fact);
        let name = name.split(|c: char| !c.is_alphanumeric()).next().expect("a name");
        let told = line["fact"].as_str().expect("a name");
        assert!(told == name || (name == "Ended" && ["Succeeded", "Failed"].contains(&told)), "{line} is {name}");
        if ["Starting", "Running", "Stopping", "Succeeded", "Failed"].contains(&told) {
            assert!(line["task"].is_string() && line["attempt"].is_u64(), "{line}");
        }
    }
    let last = |task: &str| {
        let ended = |line: &&Value| line["task"] == task && (line["fact"] == "Failed" || line["fact"] == "Succeeded");
        lines.iter().rfind(ended).expect("it ended")
    };
    assert_eq!((&last("ok")["fact"], &last("ok")["code"]), (&"Succeeded".into(), &0.into()));
    assert_eq!((&last("fails")["cause"], &last("fails")["code"]), (&"exit".into(), &7.into()));
    assert_eq!((&last("fails")["attempt"], facts(&lines, "Due").len()), (&2.into(), 1));
    assert_eq!((&last("killed")["cause"], &last("killed")["signal"]), (&"signal".into(), &9.into()));
    assert_eq!(last("slow")["cause"], "timeout");
    let stops: Vec<_> = facts(&lines, "Stopping").into_iter().filter(|line| line["task"] == "slow").collect();
    assert_eq!(stops.iter().map(|line| &line["signal"]).collect::<Vec<_>>(), [15, 9], "asked, then killed");
    let graced = stops[1]["at_ms"].as_u64().unwrap() - stops[0]["at_ms"].as_u64().unwrap();
    assert!((300..3000).contains(&graced), "{graced} ms of grace");
    for (task, code) in [("absent", Some(127)), ("not-a-program", Some(126)), ("no-folder", None)] {
        let end = last(task);
        assert_eq!((&end["cause"], end["code"].as_i64()), (&"start".into(), code), "{end}");
        assert!(end["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!(end["attempt"], 1, "what cannot start is not tried again");
    }
    let replaced: Vec<_> = lines.iter().filter(|l| l["task"] == "replaced" && l["then"] == "fallback").collect();
    assert_eq!((replaced.len(), &last("replaced")["fact"]), (1, &"Succeeded".into()));
    let ran = facts(&lines, "Running").into_iter().find(|line| line["task"] == "leaves").expect("it ran");
    let took = last("leaves")["at_ms"].as_u64().unwrap() - ran["at_ms"].as_u64().unwrap();
    assert!(took < 2000, "what it left behind was waited for: {took} ms");
    assert!(!lines.iter().any(|line| line["task"] == "behind" && line["fact"] == "Starting"));
    assert_eq!(lines.last().expect("lines")["fact"], "Closed");
}

#[test]
fn without_a_terminal_or_with_a_dumb_one_it_is_headless_by_itself() {
    let place = Place::new();
    let mut dumb = place.qd(&["run", "--", "true"]);
    dumb.env("TERM", "dumb");
    for done in [place.run(&["run", "--", "true"]), place.finish(dumb)] {
        let done = done.exits(0);
        assert!(done.out.contains("✓ finished  true") && !done.out.contains('\x1b'), "{}", done.out);
    }
    let done = place.run(&["run", "--quiet", "--", "true"]).exits(0);
    assert_eq!(done.out + &done.err, "");
}

#[test]
fn a_reader_that_leaves_ends_the_printing_and_not_the_run() {
    for json in [false, true] {
        let place = Place::new();
        place.tasks(r#"Task(id: "a", run: "sleep 0.2"), Task(id: "b", run: "sleep 0.2; touch b.done", after: ["a"])"#);
        let mut command = place.qd(&["run", "flow.ron"]);
        command.args(json.then_some("--json")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary is built");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("a line");
        assert!(!first.is_empty());
        assert_eq!(wait(&mut child).code(), Some(0));
        let mut err = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
        assert_eq!(err, "");
        assert!(place.path("b.done").exists());
    }
    let place = Place::new();
    for args in [&["--help"][..], &["man"], &["completions", "bash"], &["doctor"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = place.qd(args);
        command.stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary is built");
        assert_eq!(wait(&mut child).code(), Some(0), "{args:?}");
    }
}

// ── commands without a file ──────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn commands_come_after_two_dashes_or_one_a_line_from_standard_input() {
    let place = Place::new();
    place.run(&["run", "--", "touch a", "touch 'b c'"]).exits(0);
    assert!(place.path("a").exists() && place.path("b c").exists());
    place.run(&["run", "--", "true", "exit 5"]).exits(1);
    let done = place.run_with_input(&["run"], "touch d\n\n# not a command\n  touch e  \n").exits(0);
    assert!(place.path("d").exists() && place.path("e").exists());
    assert!(done.out.contains("2 done"), "{}", done.out);
    place.run_with_input(&["run"], "\n# nothing\n").exits(2).hints("one command per line");
    place.run(&["run", "x.ron", "--", "true"]).exits(2).hints("not both");
    place.run(&["run", "x.ron"]).exits(2);
}

#[test]
fn slots_bound_what_runs_at_once() {
    for slots in [1, 3] {
        let place = Place::new();
        let commands = "sleep 0.2\n".repeat(6);
        let done = place.run_with_input(&["run", "--json", "--slots", &slots.to_string()], &commands).exits(0);
        let (mut running, mut most) = (0, 0);
        for line in json(&done.out) {
            match line["fact"].as_str() {
                Some("Starting") => running += 1,
                Some("Succeeded") => running -= 1,
                _ => {}
            }
            most = most.max(running);
        }
        assert_eq!(most, slots);
    }
    Place::new().run(&["run", "--slots", "0", "--", "true"]).exits(2);
}

#[test]
fn a_parameter_is_typed_and_cannot_run_as_code() {
    let place = Place::new();
    let text = r#"Workflow(params: { "who": "you", "n": 1 }, stages: [Stage(id: "s", tasks: [
        Task(id: "t", run: "printf %s ${params.who} > bare; printf %s \"${params.who}\" > quoted; printf %s '${params.who}' > single"),
    ])])"#;
    place.write("flow.ron", text);
    let sly = "x; touch HACKED $(touch HACKED) `touch HACKED` ' \" *";
    place.run(&["run", "flow.ron", "--param", &format!("who={sly}")]).exits(0);
    for file in ["bare", "quoted", "single"] {
        assert_eq!(fs::read_to_string(place.path(file)).expect("written"), sly);
    }
    assert!(!place.path("HACKED").exists());
    for wrong in ["n=many", "nobody=1", "=x", "who"] {
        place.run(&["run", "flow.ron", "--param", wrong]).exits(2);
    }
}

#[test]
fn ten_thousand_tasks_are_run_each_once() {
    let place = Place::new();
    let done = place.run_with_input(&["run", "--json", "--slots", "8"], &"true\n".repeat(10_000)).exits(0);
    let lines = json(&done.out);
    assert_eq!(facts(&lines, "Starting").len(), 10_000);
    assert_eq!(facts(&lines, "Succeeded").len(), 10_000);
    let mut tasks: Vec<_> =
        facts(&lines, "Starting").iter().map(|line| line["task"].as_str().expect("named")).collect();
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!(tasks.len(), 10_000);
}

// ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_session_is_made_once_and_a_finished_one_keeps_its_code_and_runs_nothing_again() {
    let place = Place::new();
    place.tasks(r#"Task(id: "once", run: "echo x >> ran"), Task(id: "bad", run: "echo y >> ran; exit 4")"#);
    place.run(&["run", "flow.ron", "--session", "night"]).exits(1);
    place.run(&["run", "flow.ron", "--session", "night"]).exits(2).hints("qd resume night");
    let before = fs::read_to_string(place.path("ran")).expect("written");
    assert_eq!(before.len(), 4);
    place.run(&["resume", "night"]).exits(1);
    assert_eq!(fs::read_to_string(place.path("ran")).expect("written"), before);
    place.run(&["resume", "night", "--retry-failed"]).exits(1);
    let after = fs::read_to_string(place.path("ran")).expect("written");
    assert_eq!((after.matches('x').count(), after.matches('y').count()), (1, 2), "only what failed runs again");
    place.run(&["resume", "day"]).exits(2).hints("qd sessions");
    fs::create_dir(place.path("state/sessions/empty")).expect("ours");
    fs::write(place.path("state/sessions/empty/journal"), "").expect("ours");
    place.run(&["resume", "empty"]).exits(2).hints("nothing of it has run");
    fs::remove_dir_all(place.path("state/sessions/empty")).expect("ours");
    for sly in ["../night", "-x", ""] {
        place.run(&["resume", "--", sly]).exits(2);
    }
    let mut kept: Vec<_> =
        fs::read_dir(place.path("state/sessions/night")).expect("ours").flatten().map(|e| e.file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["journal", "lock", "log", "secret", "workflow.ron"], "nothing of a guard is left");
    let list = json(&place.run(&["sessions", "--json"]).exits(0).out);
    assert_eq!((list.len(), &list[0]["name"], &list[0]["code"]), (1, &"night".into(), &1.into()));
}

#[test]
fn why_and_log_answer_from_the_session() {
    let place = Place::new();
    endings(&place);
    place.run(&["run", "flow.ron", "--session", "s", "--quiet"]).exits(1);
    let why = json(&place.run(&["why", "s", "behind", "--json"]).exits(0).out);
    assert_eq!((&why[0]["task"], &why[0]["phase"]), (&"behind".into(), &"waiting".into()));
    assert_eq!(why[0]["reasons"][0], "needs fails, which failed");
    assert!(why[0]["conditions"].as_array().is_some_and(|lines| lines.iter().any(|line| line["met"] == false)));
    assert!(place.run(&["why", "s", "behind"]).exits(0).out.contains("fails: failed"));
    place.run(&["why", "s", "behnd"]).exits(2).hints("did you mean behind?");
    let log = place.run(&["log", "s", "fails"]).exits(0).out;
    assert!(log.starts_with("1\n2\n") && log.contains("evil") && !log.contains('\x1b'), "{log:?}");
    assert!(place.run(&["log", "s", "fails", "--raw", "--attempt", "1"]).exits(0).out.contains('\x1b'));
    place.run(&["log", "s", "fails", "--attempt", "3"]).exits(2);
    assert!(place.run(&["repair", "s"]).exits(0).out.contains("is not damaged"));
}

#[test]
fn nowhere_to_keep_sessions_is_said_with_what_to_do() {
    let place = Place::new();
    let mut command = place.qd(&["run", "--", "touch ran"]);
    command.env_remove("HOME").env_remove("QD_STATE_DIR").env_remove("XDG_STATE_HOME");
    place.finish(command).exits(2).hints("QD_STATE_DIR");
    let mut command = place.qd(&["run", "--", "touch ran"]);
    command.env("QD_STATE_DIR", place.write("a-file", "x"));
    place.finish(command).exits(2);
    assert!(!place.path("ran").exists());
}

// ── trust ────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_file_that_nobody_named_runs_only_with_the_hash_of_just_this_content() {
    let place = Place::new();
    let flow = |command: &str| {
        let text = format!("Workflow(stages: [Stage(id: \"s\", tasks: [Task(id: \"t\", run: \"{command}\")])])");
        place.write("quarterdeck.ron", &text);
    };
    flow("touch first");
    let refused = place.run(&[]).exits(2).hints("qd --trust ");
    let hash = refused.err.split_whitespace().skip_while(|word| *word != "--trust").nth(1).expect("the hash");
    let hash = hash.trim_end_matches(',').to_owned();
    assert_eq!(hash.len(), 64, "{}", refused.err);
    assert!(!place.path("first").exists());
    place.run(&["--trust", &hash]).exits(0);
    assert!(place.path("first").exists());
    flow("touch second");
    let again = place.run(&["--trust", &hash]).exits(2).hints("qd --trust ");
    assert!(!again.err.contains(&hash) && !place.path("second").exists());
    place.run(&["run", "quarterdeck.ron"]).exits(0);
    assert!(place.path("second").exists(), "naming it is trusting it");
}

// ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn sigterm_stops_with_exit_code_three_and_the_session_goes_on_later() {
    let place = Place::new();
    place.tasks(
        r#"Task(id: "done", run: "echo x >> done"), Task(id: "long", run: "echo x >> long; test -e go || sleep 60", after: ["done"])"#,
    );
    let started = place.start(place.qd(&["run", "flow.ron", "--session", "s"]));
    until("the second task runs", || started.out().contains("started   long"));
    started.signal(Signal::TERM);
    let done = started.wait().exits(3);
    assert!(done.out.contains("qd resume s"), "{}", done.out);
    place.write("go", "");
    place.run(&["resume", "s"]).exits(0);
    let count = |name: &str| fs::read_to_string(place.path(name)).expect("written").lines().count();
    assert_eq!((count("done"), count("long")), (1, 2), "what was done is not run again");
}

#[test]
fn a_second_interrupt_does_not_wait_for_the_grace() {
    let place = Place::new();
    let text = "Workflow(grace: \"10m\", stages: [Stage(id: \"s\", tasks: [
        Task(id: \"deaf\", run: \"trap '' TERM INT; touch up; exec sleep 600\")])])";
    place.write("flow.ron", text);
    let started = place.start(place.qd(&["run", "flow.ron", "--session", "s"]));
    until("it is deaf", || place.path("up").exists());
    started.signal(Signal::INT);
    until("it was asked", || started.out().contains("SIGTERM sent"));
    started.signal(Signal::INT);
    let done = started.wait().exits(3);
    assert!(done.out.contains("SIGKILL sent"), "{}", done.out);
}

#[test]
fn what_its_caller_ignores_it_ignores_too() {
    let place = Place::new();
    place.tasks(
        r#"Task(id: "a", run: "touch up; sleep 1; echo x >> a"), Task(id: "b", run: "echo x >> b", after: ["a"])"#,
    );
    let qd = place.qd(&["run", "flow.ron"]);
    let mut command = Command::new("env");
    command.args(["--ignore-signal=HUP,INT", env!("CARGO_BIN_EXE_qd")]).args(qd.get_args().skip(2));
    command
        .env_clear()
        .envs(qd.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(place.0.path());
    let started = place.start(command);
    until("the first task runs", || place.path("up").exists());
    started.signal(Signal::HUP);
    started.signal(Signal::INT);
    assert!(started.wait().exits(0).out.contains("2 done"));
}

// ── containers ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// In a container the session and the process group may come from outside the pid namespace, where they read as 0; and
/// `qd` may be process 1, to whom everything falls that others leave.
#[test]
fn in_a_pid_namespace_of_its_own_it_runs_what_is_left_is_stopped_and_a_resume_finishes_it() {
    let namespace = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let able = Command::new("unshare").args(namespace).arg("true").status();
    if !able.is_ok_and(|status| status.success()) {
        println!("not tested: no unshare, or no right to a pid namespace");
        return;
    }
    let inside = |place: &Place, shell: bool, args: &[&str]| {
        let qd = place.qd(args);
        let mut command = Command::new("unshare");
        command.args(namespace);
        if shell {
            command.args(["sh", "-c", "\"$@\"; exit $?", "sh"]);
        }
        command.arg(qd.get_program()).args(qd.get_args()).current_dir(place.0.path()).stdin(Stdio::null());
        command.env_clear().envs(qd.get_envs().filter_map(|(name, value)| Some((name, value?))));
        place.finish(command)
    };
    for shell in [true, false] {
        let place = Place::new();
        place.tasks(
            r#"Task(id: "leaves", run: "sleep 0.3 & setsid sleep 0.3 & echo x >> leaves"),
               Task(id: "fails", run: "test -e go", after: ["leaves"]), Task(id: "last", run: "echo x >> last", after: ["fails"])"#,
        );
        let done = inside(&place, shell, &["run", "flow.ron", "--session", "s"]).exits(1);
        assert!(done.out.contains("1 done") && !done.err.contains("defect"), "{}\n{}", done.out, done.err);
        // And the namespace before is no trap for the next one, where the same numbers mean other processes.
        place.write("go", "");
        inside(&place, shell, &["resume", "s", "--retry-failed"]).exits(0);
        assert_eq!(fs::read_to_string(place.path("last")).expect("written"), "x\n");
        assert_eq!(fs::read_to_string(place.path("leaves")).expect("written"), "x\n");
    }
}

// ── defects of ours ──────────────────────────────────────────────────────────────────────────────────────────────────

/// Whatever panicked: one report, the way back, and what ran is still there for the next console.
fn goes_on_after(place: &Place, report: &str, session: &str) {
    assert_eq!(report.matches("This is a defect of qd").count(), 1, "{report}");
    assert!(report.contains(&format!("go on with: qd resume {session}")), "{report}");
    let done = place.run(&["resume", session]).exits(0);
    assert!(done.out.contains("2 done"), "{}", done.out);
    for name in ["short", "long"] {
        assert_eq!(fs::read_to_string(place.path(name)).expect("written"), "x\n", "{name} ran once");
    }
}

const TWO: [&str; 3] = ["--", "echo x >> short", "sleep 1; echo x >> long"];
/// The same, ending only after the screen has been taken.
const TWO_LATER: [&str; 3] = ["--", "sleep 1; echo x >> short", "sleep 2; echo x >> long"];

#[test]
#[cfg(debug_assertions)]
fn a_panic_of_the_loop_or_the_hands_is_one_report_exit_code_seventy_and_loses_nothing() {
    for place_of_fault in ["loop", "hands"] {
        let place = Place::new();
        let mut command = place.qd(&[&["run", "--session", "s"], &TWO[..]].concat());
        command.env("QD_PANIC", place_of_fault);
        let done = place.finish(command).exits(70);
        goes_on_after(&place, &done.err, "s");
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_under_the_screen_is_reported_on_the_normal_screen() {
    for place_of_fault in ["screen", "hands"] {
        let place = Place::new();
        let (mut pty, pts) = pty_process::blocking::open().expect("a pty");
        pty.resize(pty_process::Size::new(24, 80)).expect("a size");
        let mut command = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_qd"));
        command = command.args([&["run", "--session", "s"], &TWO_LATER[..]].concat()).current_dir(place.0.path());
        command = command.env("QD_STATE_DIR", place.path("state")).env("TERM", "xterm-256color");
        command = command.env("QD_PANIC", place_of_fault).env("NO_COLOR", "1");
        let mut child = command.spawn(pts).expect("the binary is built");
        let mut shown = Vec::new();
        // A pty whose other end is closed answers with an error: then all is read.
        let mut block = [0; 4096];
        while let Ok(count @ 1..) = pty.read(&mut block) {
            shown.extend_from_slice(&block[..count]);
        }
        assert_eq!(wait(&mut child).code(), Some(70));
        let _ = pty.flush();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let left = shown.rfind("\x1b[?1049l").expect("the screen was taken and given back");
        goes_on_after(&place, &shown[left..], "s");
    }
}

// ── the program itself ───────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn help_version_completions_and_the_manual_name_every_verb() {
    let place = Place::new();
    let verbs = ["run", "resume", "sessions", "check", "why", "log", "repair", "doctor", "completions", "man"];
    assert_eq!(place.run(&["--version"]).exits(0).out, format!("qd {}\n", env!("CARGO_PKG_VERSION")));
    let texts = [
        place.run(&["--help"]).exits(0).out,
        place.run(&["man"]).exits(0).out,
        place.run(&["completions", "bash"]).exits(0).out,
        place.run(&["completions", "zsh"]).exits(0).out,
        place.run(&["completions", "fish"]).exits(0).out,
    ];
    for text in texts {
        for verb in verbs {
            assert!(text.contains(verb), "{verb} is not in\n{text}");
        }
    }
    for verb in verbs {
        place.run(&[verb, "--help"]).exits(0);
    }
    for wrong in [&["--no-such"][..], &["no-such"], &["run", "--color", "pink", "--", "true"], &["why"], &["log", "x"]]
    {
        let done = place.run(wrong).exits(2);
        assert!(done.out.is_empty() && !done.err.is_empty());
    }
    assert!(place.run(&["doctor"]).exits(0).out.contains("sessions lie in"));
}
