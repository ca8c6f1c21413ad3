//! Conditions and tasks that run nothing: what the engine decides, case by case, and what the binary does with the words
//! of a file. The language of the cases is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use common::{Place, until, wait_for};
use engine_support::flow::check;

#[test]
fn a_task_is_skipped_by_its_condition_and_counts_as_done() {
    check(
        "task a
         task b after a when task.a.failed
         task c after b when task.a.ok",
        "> load
         start a/1
         > up a
         runs a/1
         > exit a 0
         end a/1 Succeeded
         skipped b: task.a.failed (task.a.failed = false)
         admit c
         start c/1
         > exit c 0
         end c/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn a_condition_without_an_answer_is_asked_again_when_what_it_reads_changes() {
    check(
        "task a
         task b
         task c when task.a.ok&&task.b.ok",
        "> load
         start a/1
         start b/1
         > why c
         undecided task.a.ok&&task.b.ok (task.a.ok = not known yet, task.b.ok = not known yet)
         agents full
         > up a
         runs a/1
         > exit a 0
         end a/1 Succeeded
         > crash
         ask b/1
         > why c
         undecided task.a.ok&&task.b.ok (task.a.ok = true, task.b.ok = not known yet)
         > exit b 1
         end b/1 Exit(1)
         skipped c: task.a.ok&&task.b.ok (task.a.ok = true, task.b.ok = false)
         > end?
         finished, exit 1",
    );
}

#[test]
fn a_stage_is_asked_once_and_all_of_it_skipped() {
    check(
        "stage one
         stage two after one when run.failures>0
         stage three after two
         task a stage one
         task b stage two
         task c stage two after b
         task d stage three",
        "> load
         start a/1
         > exit a 0
         end a/1 Succeeded
         stage two false: run.failures>0 (run.failures = 0)
         skipped b: stage: run.failures>0 (run.failures = 0)
         skipped c: stage: run.failures>0 (run.failures = 0)
         start d/1
         > exit d 0
         end d/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn what_runs_nothing_is_done_when_it_is_reached() {
    check(
        "task a
         task b after a type noop
         task c after b",
        "> load
         start a/1
         > exit a 0
         end a/1 Succeeded
         settle b Succeeded
         start c/1
         > crash
         ask c/1
         > exit c 0
         end c/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn a_condition_nobody_can_answer_leaves_its_task_undone() {
    check(
        "task a when task.b.ok
         task b after a",
        "> load
         > end?
         finished, exit 3
         > skip a
         skipped a
         start b/1
         > exit b 0
         end b/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn what_is_held_is_decided_when_it_is_released() {
    check(
        "task a
         task b after a when task.a.failed",
        "> load
         start a/1
         > hold b
         held b
         > exit a 0
         end a/1 Succeeded
         > release b
         released b
         skipped b: task.a.failed (task.a.failed = false)",
    );
}

#[test]
fn a_transition_asks_its_condition_when_its_stage_is_over() {
    check(
        "stage test
         stage ship
         stage triage
         transition test to ship on over when run.failures==0
         transition test to triage on over when run.failures>0
         task t stage test
         task s stage ship
         task r stage triage",
        "> load
         start t/1
         > exit t 1
         end t/1 Exit(1)
         pass test → ship: run.failures==0 (run.failures = 1)
         take test → triage round 1: run.failures>0 (run.failures = 1)
         skipped s: no transition led to ship
         start r/1",
    );
}

#[test]
fn a_fault_holds_the_task_and_says_why() {
    check(
        "task a when 1/run.failures>0",
        "> load
         held a: condition failed: division by zero, at byte 0: 1/run.failures>0 (run.failures = 0)
         > end?
         finished, exit 3",
    );
}

// ── the binary ───────────────────────────────────────────────────────────────────────────────────────────────────────

fn flow(tasks: &str) -> String {
    format!(
        r#"Workflow(name: "conditions", grace: "200ms", params: {{ "target": "staging", "count": 3 }},
           agents: [Agent(name: "local", slots: 4, capabilities: ["shell"])],
           stages: [Stage(id: "main", tasks: [{tasks}])])"#
    )
}

#[test]
fn a_skipped_task_shows_its_expression_with_the_values() {
    let place = Place::with(&flow(
        r#"Task(id: "a", run: "exit 0"),
           Task(id: "b", after: ["a"], run: "touch b-ran", when: "params.target == 'prod' || task.a.failed"),
           Task(id: "c", after: ["b"], run: "touch c-ran", when: "params.count < 4")"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    let why = "params.target == 'prod' || task.a.failed (params.target = \"staging\", task.a.failed = false)";
    assert!(out.contains(&format!("skipped   b: {why}")), "{out}");
    assert!(!place.path("b-ran").exists() && place.path("c-ran").exists());
    assert!(place.ends(&["why", "s", "b"], 0).contains(why));
    let json = place.ends(&["run", "flow.ron", "--json", "--param", "target=prod"], 0);
    assert!(json.contains(r#""fact":"Admitted","task":"b""#), "{json}");
    assert!(place.path("b-ran").exists());
}

#[test]
fn a_task_without_an_answer_waits_through_a_kill_and_says_for_what() {
    let place = Place::with(&flow(&format!(
        r#"Task(id: "slow", run: "touch begun; {}; exit 7"), Task(id: "ask", run: "touch asked", when: "task.slow.code == 7")"#,
        wait_for("go-on")
    )));
    let run = place.begin();
    until("slow runs", || place.path("begun").exists());
    place.kill(run);
    let why = place.ends(&["why", "s", "ask"], 0);
    assert!(why.contains("no answer yet: task.slow.code == 7 (task.slow.code = not known yet)"), "{why}");
    place.touch("go-on");
    let out = place.ends(&["resume", "s"], 1);
    assert!(out.contains("finished  ask"), "{out}");
    assert!(place.path("asked").exists());
}

#[test]
fn a_condition_that_nobody_can_answer_ends_the_run_unfinished_and_why_says_so() {
    let circle =
        |when| format!(r#"Task(id: "a", run: "true", when: "{when}"), Task(id: "b", after: ["a"], run: "true")"#);
    // what can be seen in the file is refused, what depends on more is found by the run
    let place = Place::with(&flow(&circle("task.b.ok")));
    place.ends(&["run", "flow.ron", "--session", "s"], 2);
    let place = Place::with(&flow(&circle("task.b.ok && run.failures == 0")));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 3);
    assert!(out.contains("2 not run"), "{out}");
    assert!(place.ends(&["why", "s", "a"], 0).contains("no answer yet: task.b.ok"));
}
