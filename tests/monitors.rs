//! Monitors: what is watched while a command runs. What the engine makes of what is seen, case by case, and what the binary
//! does with `monitor` of a file. The cases' language is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use common::{Place, until, wait_for};
use engine_support::flow::check;

#[test]
fn a_warning_is_said_once_and_taken_back_and_the_task_goes_on() {
    check(
        "task a warns stall warns drift",
        "> load
         start a/1
         > up a
         runs a/1
         monitor a
         > amiss a stall
         notice a stall: this
         > amiss a stall
         > amiss a drift
         notice a drift: this
         > amiss a heartbeat
         > crash
         ask a/1 seen
         > adopt a
         adopted a/1
         monitor a, knows stall, knows drift
         > fine a stall
         over a stall
         > fine a stall
         > exit a 0
         end a/1 Succeeded
         > amiss a stall",
    );
}

#[test]
fn what_fails_is_stopped_first_and_its_retries_and_fallbacks_follow() {
    check(
        "fallback calm
         task a fails heartbeat tries 2 or calm
         task b after a",
        "> load
         start a/1
         > amiss a heartbeat
         > up a
         runs a/1
         monitor a
         > amiss a/2 heartbeat
         > amiss a heartbeat
         notice a heartbeat: this
         Term a/1: Monitor(NoHeartbeat)
         > fine a heartbeat
         > signal a 15
         end a/1 Monitor(NoHeartbeat), again at 0
         start a/2
         > up a
         runs a/2
         monitor a
         > amiss a heartbeat
         notice a heartbeat: this
         Term a/2: Monitor(NoHeartbeat)
         > +10000 tick
         Kill a/2: Monitor(NoHeartbeat)
         > signal a 9
         end a/2 Monitor(NoHeartbeat), then calm
         start a/3 as calm
         > exit a 0
         end a/3 Succeeded
         start b/1",
    );
}

#[test]
fn what_ends_by_itself_meanwhile_has_the_outcome_of_its_exit_or_of_what_it_was_stopped_for() {
    check(
        "task a fails stall
         task b fails stall",
        "> load
         start a/1
         start b/1
         > up a
         runs a/1
         monitor a
         > up b
         runs b/1
         monitor b
         > exit a 0 left 1
         leaves a/1 1
         > amiss a stall
         > empty a
         end a/1 Succeeded
         > amiss b stall
         notice b stall: this
         Term b/1: Monitor(Stalled)
         > cancel b
         Term b/1: Cancelled
         > exit b 0
         end b/1 Cancelled",
    );
}

// ── the binary ───────────────────────────────────────────────────────────────────────────────────────────────────────

fn flow(task: &str) -> String {
    format!(
        r#"#![enable(implicit_some)]
        Workflow(name: "monitors", stages: [Stage(id: "s", tasks: [Task(id: "a", {task})])],
            fallbacks: {{ "calm": Alternative(run: "touch calm") }})"#
    )
}

#[test]
fn a_task_that_goes_silent_is_stopped_and_its_fallback_runs() {
    let place =
        Place::with(&flow(r#"run: "echo begun; sleep 600", monitor: Monitor(stall: "400ms"), fallback: ["calm"]"#));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    for line in ["notices   a: stalled: it wrote and said nothing for 400ms", "failed    a: stalled", "fallback calm"] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert!(place.path("calm").exists());
    let json = place.ends(&["run", "flow.ron", "--json"], 0);
    assert!(json.contains(r#""fact":"Noticed""#) && json.contains(r#""cause":"stall""#), "{json}");
}

#[test]
fn what_says_how_far_it_is_is_left_alone() {
    let place = Place::with(&flow(
        r#"run: "for n in 1 2 3 4 5 6; do $QD progress $n/6; sleep 0.2; done", env: { "QD": "${params.qd}" },
           monitor: Monitor(heartbeat: "20s", stall: "20s")"#,
    ));
    let text =
        place.read("flow.ron").replace("fallbacks:", &format!("params: {{ \"qd\": {:?} }}, fallbacks:", common::QD));
    std::fs::write(place.path("flow.ron"), text).unwrap();
    let out = place.ends(&["run", "flow.ron"], 0);
    assert!(!out.contains("notices"), "{out}");
    let place = Place::with(&flow(
        r#"run: "while :; do echo busy; sleep 0.05; done", monitor: Monitor(heartbeat: "500ms", stall: "60s")"#,
    ));
    let out = place.ends(&["run", "flow.ron"], 1);
    assert!(out.contains("failed    a: no heartbeat"), "output is no heartbeat\n{out}");
}

#[test]
fn progress_is_read_from_the_output_and_what_is_amiss_survives_a_kill_and_is_explained() {
    let work = format!("echo 'step (2/8)'; {}; echo 'step (8/8)'", wait_for("go-on"));
    let place = Place::with(&flow(&format!(
        r#"run: "{work}", estimate: "200ms",
           monitor: Monitor(progress: r"\((\d+)/(\d+)\)", drift: 2, stall: "300ms", on_stall: Warn)"#
    )));
    let run = place.begin();
    until("its start", || place.journal("s").iter().any(|line| line.contains("fact:Running(")));
    until("progress by its output", || place.ends(&["ctl", "ps", "--session", "s"], 0).contains("2/8"));
    until("the silence", || place.journal("s").iter().any(|line| line.contains("trouble:Stalled")));
    place.kill_once(run, "trouble:Drifting");
    let again = place.resume();
    until("its adoption", || place.journal("s").iter().any(|line| line.contains("fact:Adopted(")));
    let why = place.ends(&["ctl", "why", "a", "--session", "s"], 0);
    assert!(why.contains("stalled for") && why.contains("too slow"), "{why}");
    place.touch("go-on");
    assert!({ again }.wait().unwrap().success());
    let journal = place.journal("s");
    let count = |what: &str| journal.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count("trouble:Drifting"), 1, "what was known is not said again");
    assert_eq!(count("fact:Running("), 1, "it ran on");
}
