//! The shared state: values that tasks, people and conditions read and change. What the engine decides, case by case, and what
//! `qd state` does against a living session. The cases' language is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use common::{Place, QD, until, wait_for};
use engine_support::flow::check;

#[test]
fn a_change_counts_if_it_knows_the_version_and_is_taken_back_as_another_change() {
    check(
        "set state k
         task a",
        "> load
         start a/1
         > put k 5
         state k Some(Int(5))
         > put k 6 1
         refused: k has version 2, not as expected: has version 1
         > put k 6 2
         state k Some(Int(6))
         > put other 1 0
         state other Some(Int(1))
         > put other 2 0
         refused: other has version 4, not as expected: is not there
         > undo
         undone
         state other None
         > undo
         undone
         state k Some(Int(5))
         > put k nothing
         refused: k is declared in the workflow: it can be set, not deleted
         > put 9 1
         refused: a key is letters, digits, _ - . and /, a letter first, at most 200 bytes
         > put none nothing
         refused: there is no none",
    );
}

#[test]
fn a_task_speaks_while_its_attempt_lives_and_is_not_taken_back_by_a_person() {
    check(
        "task a tries 2",
        "> load
         start a/1
         > by:a/1 put k 1
         state k Some(Int(1))
         > undo
         refused: nothing to undo
         > exit a 1
         end a/1 Exit(1), again at 0
         start a/2
         > by:a/1 put k 2
         refused: the attempt that says this is over
         > by:a/2 put k nothing
         state k None
         > crash
         ask a/2",
    );
}

#[test]
fn what_asks_for_a_value_is_decided_when_it_changes() {
    check(
        "set state phase
         task g type gate:expr=state.phase==1 onfail escalate
         task b when state.phase>0||metrics.none>0
         task c",
        "> load
         held g: gate closed: state.phase==1 (state.phase = 0)
         start c/1
         > by:c/1 put phase 1
         state phase Some(Int(1))
         admit b
         start b/1
         > release g
         released g
         settle g Succeeded: state.phase==1 (state.phase = 1)",
    );
}

// ── the binary ───────────────────────────────────────────────────────────────────────────────────────────────────────

fn flow(more: &str, tasks: &str) -> String {
    format!(
        r#"#![enable(implicit_some)]
        Workflow(name: "shared", agents: [Agent(name: "local", slots: 4)], {more}
        stages: [Stage(id: "s", tasks: [{tasks}])])"#
    )
}

#[test]
fn tasks_count_together_and_none_is_lost() {
    let task = r#"Task(id: "t-{n}", foreach: { "n": Range(1, 4) }, run: "for i in 1 2 3 4 5; do \"$QD_BIN\" state add done; done")"#;
    let last =
        r#", Task(id: "last", after: ["t-*"], when: "state.done == 20", run: "\"$QD_BIN\" state get done > sum")"#;
    let place = Place::with(&flow(r#"state: { "done": 0 },"#, &format!("{task}{last}")));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("state     done = 20 (by t-"), "{out}");
    assert_eq!(place.read("sum"), "20\n");
    let json = place.ends(&["run", "flow.ron", "--json"], 0);
    assert!(json.contains(r#""fact":"StateSet""#) && json.contains(r#""value":20"#), "{json}");
}

#[test]
fn a_second_terminal_reads_changes_and_waits_and_a_kill_loses_nothing() {
    let work = format!("run: \"touch begun; {}\"", wait_for("go"));
    let gate = r#"Task(id: "ship", after: ["a"], when: "state.phase == 'ship'", run: "touch shipped")"#;
    let place =
        Place::with(&flow(r#"state: { "phase": "test", "share": 0.5 },"#, &format!("Task(id: \"a\", {work}), {gate}")));
    let run = place.begin();
    place.await_file("begun");
    let state = |args: &[&str], code| place.ends(&[&["state", "--session", "s"], args].concat(), code);
    assert_eq!(state(&["get", "phase"], 0), "test\n");
    assert_eq!(state(&["get", "none"], 1), "");
    state(&["set", "note", "two words; $(x)", "--as", "ana"], 0);
    state(&["set", "share", "1"], 0);
    state(&["set", "share", "much"], 2);
    state(&["cas", "note", "99", "x"], 1);
    assert_eq!(state(&["add", "count", "-3"], 0), "-3\n");
    state(&["set", "code", "007", "--text"], 0);
    let list = state(&["list"], 0);
    for part in ["note", "ana", "two words; $(x)", "1.0", "\"007\""] {
        assert!(list.contains(part), "{part}\n{list}");
    }
    place.kill(run);
    let again = place.resume();
    until("the second console", || place.journal("s").iter().filter(|line| line.contains("fact:Opened(")).count() == 2);
    until("it listens", || place.qd(&["state", "--session", "s", "get", "note"]).status.success());
    assert_eq!(state(&["get", "count"], 0), "-3\n");
    let mut watch = std::process::Command::new(QD);
    place.surround(&mut watch);
    let watch = watch.args(["state", "--session", "s", "watch", "phase", "--until", "ship"]);
    let watch = watch.stdout(std::process::Stdio::piped()).spawn().expect("qd runs");
    state(&["set", "phase", "build"], 0);
    state(&["set", "phase", "ship"], 0);
    assert_eq!(watch.wait_with_output().unwrap().stdout, b"ship\n");
    place.touch("go");
    assert!({ again }.wait().unwrap().success());
    assert!(place.path("shipped").exists());
}
