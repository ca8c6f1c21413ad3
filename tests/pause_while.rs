//! `PauseWhile`: nothing new starts while a condition holds. What the engine decides, case by case, and what the binary does
//! with figures of the machine that a test writes. The cases' language is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use common::{Place, QD, until, wait_for};
use engine_support::flow::check;

#[test]
fn nothing_starts_while_it_holds_and_what_runs_goes_on() {
    check(
        "set pause_while system.load1>2.0
         task a
         task b after a
         task c after b",
        "> load
         start a/1
         > load1 2.5
         overload: system.load1>2.0 (system.load1 = 2.5)
         > load1 3
         > exit a 0
         end a/1 Succeeded
         > why b
         Closed(Overload)
         > crash
         > tick
         > why b
         Closed(Overload)
         > load1 2.5
         > load1 1.5
         overload over: system.load1>2.0 (system.load1 = 1.5)
         start b/1
         > exit b 0
         end b/1 Succeeded
         start c/1",
    );
}

#[test]
fn it_can_be_ignored_and_counts_again_and_both_can_be_taken_back() {
    check(
        "set pause_while system.load1>2.0
         task a
         task b after a
         task c after b",
        "> load1 9
         > load
         overload: system.load1>2.0 (system.load1 = 9.0)
         > heed
         refused: PauseWhile counts already
         > ignore
         heeds false
         start a/1
         > ignore
         refused: PauseWhile is ignored already
         > undo
         undone
         heeds true
         > exit a 0
         end a/1 Succeeded
         > redo
         redone
         heeds false
         start b/1
         > heed
         heeds true
         > exit b 0
         end b/1 Succeeded
         > load1 0
         overload over: system.load1>2.0 (system.load1 = 0.0)
         start c/1",
    );
    check(
        "task a",
        "> load
         start a/1
         > ignore
         refused: no PauseWhile is declared",
    );
}

#[test]
fn other_conditions_wait_for_the_figures_and_are_decided_by_them() {
    check(
        "task a when system.load1<1.0
         task b when system.load1<1.0",
        "> load
         > why a
         undecided system.load1<1.0 (system.load1 = not known yet)
         > hold b
         held b
         > load1 0.5
         admit a
         start a/1
         > load1 1.5
         > release b
         released b
         skipped b: system.load1<1.0 (system.load1 = 1.5)",
    );
}

// ── the binary ───────────────────────────────────────────────────────────────────────────────────────────────────────

fn flow() -> String {
    format!(
        r#"Workflow(name: "calm", controls: [PauseWhile("system.load1 > 2")], stages: [Stage(id: "s", tasks: [
            Task(id: "a", run: "touch a-begun; {}"), Task(id: "b", after: ["a"], run: "touch b-ran"),
        ])])"#,
        wait_for("go-on")
    )
}

/// `qd` with these arguments, the load of the machine told by the file `load`.
fn begin(place: &Place, args: &[&str]) -> std::process::Child {
    let mut command = std::process::Command::new(QD);
    place.surround(&mut command);
    command.env("QD_FIGURES", place.path("load")).args(args);
    let quiet = std::process::Stdio::null;
    command.stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().expect("qd runs")
}

fn said(place: &Place, what: &str) -> bool {
    place.journal("s").iter().any(|line| line.contains(what))
}

#[test]
fn the_load_of_the_machine_keeps_tasks_from_starting_through_a_kill_and_is_explained() {
    let place = Place::with(&flow());
    std::fs::write(place.path("load"), "0.5").unwrap();
    let run = begin(&place, &["run", "flow.ron", "--session", "s"]);
    place.await_file("a-begun");
    std::fs::write(place.path("load"), "7.25").unwrap();
    until("the overload", || said(&place, "fact:OverloadBegan("));
    place.touch("go-on");
    until("the end of a", || said(&place, "fact:Ended("));
    let why = place.ends(&["ctl", "why", "b", "--session", "s"], 0);
    assert!(why.contains("nothing starts while system.load1 > 2 (system.load1 = 7.25)"), "{why}");
    place.kill(run);
    assert!(!place.path("b-ran").exists());
    let mut again = begin(&place, &["resume", "s"]);
    until("the second console", || place.journal("s").iter().filter(|line| line.contains("fact:Opened(")).count() == 2);
    std::fs::write(place.path("load"), "0.25").unwrap();
    assert!(again.wait().unwrap().success());
    assert!(place.path("b-ran").exists() && said(&place, "fact:OverloadEnded("));
}

#[test]
fn a_client_lets_it_be_ignored() {
    let place = Place::with(&flow());
    std::fs::write(place.path("load"), "9").unwrap();
    let mut run = begin(&place, &["run", "flow.ron", "--session", "s"]);
    until("the overload", || said(&place, "fact:OverloadBegan("));
    place.touch("go-on");
    place.ends(&["ctl", "ignore-pause-while", "--session", "s"], 0);
    assert!(run.wait().unwrap().success());
    assert!(place.path("b-ran").exists());
}
