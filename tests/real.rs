//! The workflows of `workflows/real`, with stand-ins for what they call: each works, fails as it should, and is taken up after
//! a kill. The binary is driven.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{Place, QD, until};

const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/real");

/// A place with the stand-ins where the workflow looks for what it calls.
struct Real {
    place: Place,
    flow: String,
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the stand-ins are there").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).expect("copied with its mode");
        }
    }
}

impl Real {
    fn new(name: &str) -> Self {
        let place = Place::new();
        copy(&Path::new(REAL).join("stand-ins"), place.root());
        Self { place, flow: format!("{REAL}/{name}.ron") }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(QD);
        self.place.surround(&mut command);
        let path = format!("{}:{}", self.place.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).env("STAND_IN", self.place.root()).args(args).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn ends(&self, args: &[&str], code: i32) -> String {
        let output = self.command(args).output().expect("qd runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        out.into_owned()
    }

    #[track_caller]
    fn run(&self, args: &[&str], code: i32) -> String {
        self.ends(&[&["run", &self.flow, "--session", "s"], args].concat(), code)
    }

    /// Runs it, and once `gate` asks these people have said this; what the run said.
    #[track_caller]
    fn decided(&self, args: &[&str], gate: &str, said: &[(&str, &str)], code: i32) -> String {
        let all = [&["run", &self.flow, "--session", "s"], args].concat();
        let run = self.command(&all).stdout(Stdio::piped()).spawn().expect("qd runs");
        until(&format!("{gate} asks"), || self.place.journal("s").iter().any(|line| line.contains("fact:Awaiting(")));
        for (who, word) in said {
            self.ends(&["ctl", word, gate, "--as", who, "--session", "s"], 0);
        }
        let output = run.wait_with_output().expect("it ends");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{out}");
        out
    }

    /// What the stand-ins were asked, in order.
    fn calls(&self) -> Vec<String> {
        std::fs::read_to_string(self.place.path("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|line| line.starts_with(call)).count()
    }

    fn wish(&self, name: &str, text: &str) {
        std::fs::write(self.place.path(name), text).expect("written");
    }

    fn grant(&self, name: &str) {
        std::fs::remove_file(self.place.path(name)).expect("it was there");
    }
}

// ── a release ────────────────────────────────────────────────────────────────────────────────────────────────────────

const VERSION: [&str; 2] = ["--param", "version=1.4.0"];

fn release() -> Real {
    let real = Real::new("release");
    real.wish("CHANGELOG.md", "## 1.4.0\n");
    real
}

const BOTH: [(&str, &str); 2] = [("ana", "approve"), ("ben", "approve")];

#[test]
fn a_release_waits_for_two_people_and_then_publishes() {
    let real = release();
    let out = real.decided(&VERSION, "sign-off", &BOTH, 0);
    assert!(out.contains("agrees    package: 2 of 2 agree"), "{out}");
    assert!(out.contains("1.4.0 is out, sha256 "), "{out}");
    let calls = real.calls();
    assert_eq!(calls[calls.len() - 2..], ["git push origin v1.4.0", "cargo publish --quiet"], "{calls:?}");
    assert!(calls[calls.len() - 3].starts_with("git tag -a v1.4.0 -m "), "{calls:?}");
}

#[test]
fn a_release_that_cannot_be_uploaded_takes_its_tag_back() {
    let real = release();
    // what fails for good is not what `on: [75]` tries again
    real.wish("fail-cargo---quiet", "1");
    real.wish("fail-git-push", "1 2");
    let flow = std::fs::read_to_string(&real.flow).expect("a workflow");
    let flow = flow.replace("run: \"cargo publish --quiet\"", "run: \"cargo --quiet publish\"");
    real.wish("release.ron", &flow);
    let real = Real { flow: real.place.path("release.ron").display().to_string(), place: real.place };
    real.decided(&VERSION, "sign-off", &BOTH, 1);
    let calls = real.calls();
    assert_eq!(calls[calls.len() - 2..], ["git push origin :v1.4.0", "git tag -d v1.4.0"], "{calls:?}");
    // twice it could not be pushed
    assert_eq!(
        (real.count("git push origin v1.4.0"), real.count("cargo --quiet"), real.count("cargo yank")),
        (3, 1, 0)
    );
}

#[test]
fn a_release_is_stopped_by_a_veto_a_wrong_version_and_unlike_packages() {
    let real = release();
    let out = real.decided(&VERSION, "sign-off", &[("ben", "approve"), ("ana", "reject")], 1);
    assert!(out.contains("sign-off"), "{out}");
    assert_eq!(real.count("git tag"), 0);
    let real = release();
    let out = real.run(&["--param", "version=2.0.0"], 1);
    assert!(out.contains("task.version.out.version == params.version"), "{out}");
    assert_eq!(real.count("cargo package"), 0);
    let real = release();
    real.wish("unlike", "");
    let out = real.run(&VERSION, 1);
    assert!(out.contains("no 2 of 2 agree"), "{out}");
}

// ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn data() -> Real {
    let real = Real::new("data");
    std::fs::create_dir(real.place.path("in")).expect("a folder");
    real.wish("in/a.csv", "x,1\ny,2\nx,1\n");
    real.wish("in/b it's.csv", "x,10\nz,none\n");
    real
}

#[test]
fn data_is_cleaned_file_by_file_and_summed_up_once() {
    let real = data();
    let out = real.run(&[], 0);
    assert_eq!(real.place.read("out/totals.txt"), "x 11\ny 2\n");
    assert!(out.contains("missed clean"), "{out}");
    // nothing has changed: the sums are those of the last time; a new file is taken in
    let again = real.ends(&["run", &real.flow, "--session", "t"], 0);
    assert!(again.contains("up to date") && again.contains("totals"), "{again}");
    real.wish("in/c.csv", "y,40\n");
    let more = real.ends(&["run", &real.flow, "--session", "u"], 0);
    assert!(more.contains("clean-c.csv") && !more.contains("totals: up to date"), "{more}");
    assert_eq!(real.place.read("out/totals.txt"), "x 11\ny 42\n");
}

#[test]
fn data_that_is_mostly_bad_waits_for_a_person() {
    let real = data();
    real.wish("in/bad.csv", "a,?\nb,?\nc,?\nd,?\ne,?\nf,?\n");
    let out = real.run(&[], 3);
    assert!(out.contains("few-are-bad"), "{out}");
    assert!(!real.place.path("out/totals.txt").exists());
    real.grant("in/bad.csv");
    // the person looks, and starts anew
    real.ends(&["run", &real.flow, "--session", "t"], 0);
}

// ── a night ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const AGREED: [(&str, &str); 2] = [("qa", "approve"), ("ci-bot", "approve")];

#[test]
fn a_night_rolls_out_region_by_region_once_a_quorum_has_agreed() {
    let real = Real::new("nightly");
    real.wish("fail-fetch", "1 2");
    let out = real.decided(&["--param", "target=production"], "ready", &AGREED, 0);
    assert_eq!(real.place.read("live"), "new\n");
    assert_eq!((real.count("fetch"), real.count("test"), real.count("unroll")), (3, 4, 0), "{out}");
    let rolls: Vec<String> = real.calls().into_iter().filter(|call| call.starts_with("roll ")).collect();
    assert_eq!(rolls.len(), 3, "{rolls:?}");
    assert!(rolls.iter().all(|call| call.ends_with(" production")), "{rolls:?}");
    assert!(out.contains("reached   milestone shipped"), "{out}");
    assert_eq!(real.count("report"), 0);
}

#[test]
fn a_night_whose_end_does_not_look_well_is_taken_back_in_reverse_order() {
    let real = Real::new("nightly");
    real.wish("fail-healthy", "1");
    let out = real.decided(&[], "ready", &AGREED, 1);
    assert_eq!(real.place.read("live"), "old\n");
    let undone: Vec<String> = real
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("unroll") || call == "migrate down" || call == "switch old")
        .collect();
    assert_eq!(undone.len(), 5, "{undone:?}\n{out}");
    assert_eq!((undone[0].as_str(), undone[4].as_str()), ("switch old", "migrate down"));
    assert_eq!(real.count("tell the night"), 1);
}

#[test]
fn a_night_whose_tests_fail_goes_to_triage_and_touches_nothing() {
    let real = Real::new("nightly");
    real.wish("fail-test-3", "1");
    real.wish("fail-test-alone", "1");
    let out = real.run(&[], 1);
    assert_eq!((real.count("report"), real.count("migrate"), real.count("test alone")), (1, 0, 1), "{out}");
}

#[test]
fn a_night_is_taken_up_after_a_kill_in_the_middle_of_the_roll_out() {
    let real = Real::new("nightly");
    real.wish("wait-roll", "");
    let quiet = ["run", &real.flow, "--session", "s"];
    let run = real.command(&quiet).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("qd runs");
    until("the gate asks", || real.place.journal("s").iter().any(|line| line.contains("fact:Awaiting(")));
    for (who, word) in AGREED {
        real.ends(&["ctl", word, "ready", "--as", who, "--session", "s"], 0);
    }
    until("one region is being rolled out", || real.count("roll ") == 1);
    real.place.kill(run);
    real.grant("wait-roll");
    real.ends(&["resume", "s"], 0);
    assert_eq!((real.count("roll "), real.count("migrate up"), real.count("switch new")), (3, 1, 1));
}

// ── a matrix ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_matrix_tries_again_what_fails_for_want_of_a_machine_and_excuses_one_of_three() {
    let real = Real::new("matrix");
    real.wish("fail-test-mac", "75 3");
    let out = real.run(&[], 0);
    // six of stable, three of nightly, three more tries
    assert_eq!(real.count("test "), 12, "{out}");
    assert_eq!(real.place.read("badge"), "green\n");
    let real = Real::new("matrix");
    real.wish("fail-test-mac", "75");
    let out = real.run(&[], 1);
    assert!(out.contains("3 failed") && !real.place.path("badge").exists(), "{out}");
    assert_eq!(real.count("collect"), 1);
}

// ── a team of agents ─────────────────────────────────────────────────────────────────────────────────────────────────

fn git(real: &Real, args: &[&str]) -> String {
    let mut command = Command::new("git");
    real.place.surround(&mut command);
    let output = command.args(args).output().expect("git runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A repository, or nothing where there is no git.
fn team() -> Option<Real> {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("there is no git here: not tested");
        return None;
    }
    let real = Real::new("agent-team");
    // the stand-in for git is for the release: here it is the real one
    real.grant("bin/git");
    std::fs::create_dir(real.place.path("home")).expect("a folder");
    real.wish("home/.gitconfig", "[user]\n\tname = t\n\temail = t@example.org\n[init]\n\tdefaultBranch = main\n");
    git(&real, &["init", "-q", "."]);
    real.wish(".gitignore", "*\n!.gitignore\n!*.txt\ntrees\n");
    real.wish("lexer.txt", "empty\n");
    git(&real, &["add", "."]);
    git(&real, &["commit", "-q", "-m", "first"]);
    Some(real)
}

#[test]
fn a_team_of_agents_writes_reviews_and_merges_what_a_person_keeps() {
    let Some(real) = team() else { return };
    let out = real.run(&["--approve", "sign-off"], 0);
    let log = git(&real, &["log", "--format=%s", "main"]);
    for subject in ["lexer", "parser", "printer", "write lexer", "rename"] {
        assert!(log.lines().any(|line| line == subject), "{subject}: {log}\n{out}");
    }
    assert_eq!(real.place.read("parser.txt"), "parser by write-parser\nrenamed\n");
    assert_eq!(git(&real, &["worktree", "list"]).lines().count(), 1);
    assert!(!out.contains("missed"), "{out}");
}

#[test]
fn a_team_whose_work_breaks_the_tests_has_it_taken_out_again() {
    let Some(real) = team() else { return };
    let first = git(&real, &["rev-parse", "main"]);
    real.wish("fail-test", "1");
    let out = real.run(&[], 1);
    assert_eq!(git(&real, &["rev-parse", "main"]), first, "{out}");
    assert_eq!(git(&real, &["worktree", "list"]).lines().count(), 1, "{out}");
}

#[test]
fn a_team_goes_on_after_a_kill_and_an_agent_that_gives_up_is_a_question_to_a_person() {
    let Some(real) = team() else { return };
    real.wish("fail-coding-agent-review", "1 1");
    real.wish("wait-coding-agent", "");
    let run = real.command(&["run", &real.flow, "--session", "s"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    until("all three write", || real.count("coding-agent write") == 3);
    real.place.kill(run.expect("qd runs"));
    real.grant("wait-coding-agent");
    // one review fails and nobody may try it again by itself: what waits for it is blocked
    real.ends(&["resume", "s"], 1);
    let out = real.ends(&["resume", "s", "--retry-failed", "--approve", "sign-off"], 0);
    assert_eq!(real.count("coding-agent write"), 3, "{out}");
}

// ── every part of the language at once ───────────────────────────────────────────────────────────────────────────────

fn everything() -> Real {
    let real = Real::new("everything");
    let stand_in = |path: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        real.wish(path, &format!("#!/bin/sh\n. \"$STAND_IN/lib.sh\"\n{text}\n"));
        std::fs::set_permissions(real.place.path(path), std::fs::Permissions::from_mode(0o755)).expect("it may run");
    };
    let cargo = r#"case "$1" in build) mkdir -p target/release; touch target/release/app ;; nextest) echo "(1/2)"; echo "(2/2)" ;; esac"#;
    stand_in("bin/cargo", cargo);
    stand_in("bin/ssh", "shift; exec sh -c \"$*\"");
    for name in ["kernels.sh", "migrate", "roll.sh", "unroll.sh", "switch-traffic.sh", "file-report.sh"] {
        stand_in(name, "");
    }
    stand_in("coverage.sh", "echo 85");
    stand_in("hash-the-build.sh", "[ $QD_TASK = audit.2 ] && echo odd || echo even");
    real
}

#[test]
fn the_workflow_that_uses_everything_ships_once_two_people_agree() {
    let real = everything();
    real.wish("fail-cargo-build", "1 2");
    let agreed = [("qa", "approve"), ("build-lead", "approve")];
    let out = real.decided(&["--param", "target=prod"], "ready", &agreed, 0);
    for said in
        ["agrees    audit: 2 of 3 agree", "milestone tested", "milestone shipped", "published coverage: coverage = 85"]
    {
        assert!(out.contains(said), "{said}: {out}");
    }
    assert_eq!((real.count("cargo build"), real.count("cargo nextest"), real.count("kernels.sh")), (3, 4, 1));
    assert!(real.calls().iter().any(|call| call.starts_with("ssh gpu01") && call.contains("kernels.sh")));
    assert_eq!(
        (real.count("roll.sh eu prod"), real.count("switch-traffic.sh"), real.count("file-report.sh")),
        (1, 1, 0)
    );
}

#[test]
fn the_workflow_that_uses_everything_reports_what_no_fallback_could_mend() {
    let real = everything();
    // fewer than the circuit breaker counts
    real.wish("fail-cargo-nextest", "1 3");
    let out = real.decided(&[], "ready", &[("qa", "approve"), ("ci-bot", "approve")], 0);
    assert_eq!(real.count("cargo test"), 3, "{out}");
    let real = everything();
    real.wish("fail-cargo-nextest", "1 1");
    real.wish("fail-cargo-test", "1");
    let out = real.run(&[], 1);
    assert_eq!((real.count("file-report.sh"), real.count("migrate")), (1, 0), "{out}");
}
