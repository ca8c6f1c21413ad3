//! `qd ctl events`: what happened in a session, for scripts, while it runs and when it is over. The binary is driven.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{Place, QD, until, wait_for};

fn flow() -> Place {
    Place::with(&format!(
        r#"Workflow(agents: [Agent(name: "local", slots: 4)], stages: [Stage(id: "s", tasks: [
            Task(id: "a-1", run: "echo one"), Task(id: "b", run: "{}"),
            Task(id: "a-2", after: ["b"], run: "exit 3")])])"#,
        wait_for("go")
    ))
}

fn follow(place: &Place, rest: &[&str]) -> Child {
    let mut command = Command::new(QD);
    place.surround(&mut command);
    command.args(["ctl", "events", "--follow", "--session", "s"]).args(rest);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("qd runs")
}

#[test]
fn a_follower_is_told_all_of_it_as_it_happens_and_ends_with_the_session() {
    let place = flow();
    let run = place.begin();
    until("it runs", || place.journal("s").iter().filter(|line| line.contains("fact:Running(")).count() == 2);
    let mut all = follow(&place, &["--json"]);
    let mut lines = BufReader::new(all.stdout.take().expect("a pipe")).lines().map(|line| line.expect("a line"));
    // it is told while the session runs
    let early = lines.by_ref().find(|line| line.contains(r#""fact":"Succeeded""#)).expect("a-1 has ended");
    assert!(early.contains(r#""task":"a-1""#), "{early}");
    let some = follow(&place, &["a-*"]);
    place.touch("go");
    let rest: Vec<String> = lines.collect();
    assert!(rest.last().is_some_and(|line| line.contains(r#""fact":"Closed""#)), "{rest:?}");
    assert_eq!(all.wait().expect("our own child").code(), Some(0));
    let some = some.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&some.stdout).into_owned();
    assert!(told.contains("finished  a-1") && told.contains("a-2: exit 3") && !told.contains("  b"), "{told}");
    assert_eq!({ run }.wait().expect("our own child").code(), Some(1));
    // a session that is over is told whole, each fact with its number in the journal
    let past = place.ends(&["ctl", "events", "--session", "s", "--json"], 0);
    assert_eq!(past.lines().count(), place.journal("s").len());
    for (line, number) in past.lines().zip(1..) {
        let value: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        assert_eq!(value["seq"], number);
    }
    let past = place.ends(&["ctl", "events", "--follow", "--session", "s"], 0);
    assert!(past.contains("2 done, 1 failed in"), "{past}");
}

#[test]
fn a_follower_says_that_the_console_is_gone_and_tells_what_was_stored() {
    let place = flow();
    let run = place.begin();
    until("it runs", || place.journal("s").iter().filter(|line| line.contains("fact:Running(")).count() == 2);
    let follower = follow(&place, &[]);
    place.kill(run);
    let out = follower.wait_with_output().expect("it ends");
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stdout).contains("started   b"));
    assert!(String::from_utf8_lossy(&out.stderr).contains("its console is gone"), "{out:?}");
    place.touch("go");
    place.ends(&["resume", "s"], 1);
}

#[test]
fn the_output_of_what_ended_before_it_was_known_to_run_is_found_again() {
    let place =
        Place::with(r#"Workflow(stages: [Stage(id: "s", tasks: [Task(id: "t", run: "echo hello; touch ran")])])"#);
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_qd"));
    place.surround(&mut run);
    // Just after the spawn, before anything says that it runs.
    let run = run.args(["run", "flow.ron", "--session", "s"]).env("QD_FAULT", "spawn:2").output().expect("qd runs");
    assert_eq!(run.status.code(), Some(70), "{run:?}");
    place.await_file("ran");
    place.ends(&["resume", "s"], 0);
    assert_eq!(place.started("s").len(), 1);
    assert_eq!(place.ends(&["log", "s", "t"], 0), "hello\n");
}
