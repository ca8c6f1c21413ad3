//! The graph of a run by the real binary: joins, transitions with their rounds, phases. Works, fails as it should, goes on
//! after `kill -9` in the middle, and is explained. Knows the command line and the journal only.

mod common;

use common::{Place, until, wait_for};

const ONE_AGENT: &str = r#"agents: [Agent(name: "local", slots: 4, capabilities: ["shell"])],"#;

fn workflow(body: &str) -> String {
    format!("Workflow(name: \"graph\", grace: \"200ms\", {ONE_AGENT} {body})")
}

fn tasks(tasks: &str) -> String {
    workflow(&format!("stages: [Stage(id: \"main\", tasks: [{tasks}])]"))
}

#[track_caller]
fn says(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "nothing says `{line}`:\n{text}");
    }
}

// ── joins ────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn enough_of_many_starts_a_task_ends_the_rest_and_excuses_failures() {
    let place = Place::with(&tasks(
        r#"Task(id: "p-ok", run: "sleep 0.2"), Task(id: "p-bad", run: "exit 3"), Task(id: "p-slow", run: "sleep 60"),
           Task(id: "go", after: ["p-*"], enough: 1, rest: Cancel, run: "echo going")"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    says(&out, &["enough    go: 1 of 3 are done", "excused   p-bad: 1 of 3 are enough for go"]);
    says(&out, &["stopping  p-slow: not needed any more", "1 failed (1 excused)", "1 skipped"]);
    let why = |task| place.ends(&["why", "s", task], 0);
    says(&why("p-slow"), &["skipped: not needed: 1 of 3 are enough for go"]);
    says(&why("p-bad"), &["failed: exit 3, excused: 1 of 3 are enough for go"]);
}

#[test]
fn the_rest_goes_on_if_it_is_let_and_what_waits_for_it_with_it() {
    let place = Place::with(&tasks(
        r#"Task(id: "ok", run: "true"), Task(id: "slow", run: "sleep 1"), Task(id: "late", after: ["slow"], run: "true"),
           Task(id: "go", after: ["ok", "slow"], enough: 1, run: "true")"#,
    ));
    place.kill_once(place.begin(), "fact:Enough(");
    says(&place.ends(&["why", "s", "late"], 0), &["slow: running"]);
    says(&place.ends(&["resume", "s"], 0), &["4 done"]);
}

#[test]
fn too_few_for_a_join_fail_the_run_and_why_says_how_many_are_missing() {
    let place = Place::with(&tasks(
        r#"Task(id: "a", run: "true"), Task(id: "b", run: "false"), Task(id: "c", run: "false"),
           Task(id: "go", after: ["a", "b", "c"], enough: 2, run: "echo going")"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
    says(&out, &["2 failed", "1 behind a failure"]);
    let why = place.ends(&["why", "s", "go"], 0);
    says(&why, &["2 of 3 are enough, 1 done, 2 never can be", "b: failed", "c: failed"]);
}

#[test]
fn a_join_that_a_kill_interrupts_has_what_was_done_counted_once() {
    let place = Place::with(&tasks(&format!(
        r#"Task(id: "a", run: "echo a >> ran"), Task(id: "b", run: "echo b >> ran; {}"), Task(id: "c", run: "sleep 60"),
           Task(id: "go", after: ["a", "b", "c"], enough: 2, rest: Cancel, run: "echo go >> ran")"#,
        wait_for("let-b-end")
    )));
    let run = place.begin();
    until("b runs", || std::fs::read_to_string(place.path("ran")).is_ok_and(|ran| ran.contains('b')));
    place.kill_once(run, "outcome:Succeeded");
    place.touch("let-b-end");
    let out = place.ends(&["resume", "s"], 0);
    says(&out, &["enough    go: 2 of 3 are done"]);
    let mut ran: Vec<_> =
        std::fs::read_to_string(place.path("ran")).expect("they ran").lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["a", "b", "go"]);
}

#[test]
fn a_task_that_waits_for_the_end_of_others_runs_after_a_failure() {
    let place = Place::with(&tasks(
        r#"Task(id: "work", run: "false"), Task(id: "more", after: ["work"], run: "true"),
           Task(id: "tidy", after: ["work", "more"], trigger: AllOver, run: "touch tidied")"#,
    ));
    place.ends(&["run", "flow.ron", "--session", "s"], 1);
    assert!(place.path("tidied").exists());
}

// ── transitions ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// A build that is repaired once and built again; each run of a task leaves its name in `ran`.
fn loops(build: &str, patch: &str) -> String {
    workflow(&format!(
        r#"stages: [
            Stage(id: "build", tasks: [Task(id: "compile", run: "echo compile >> ran; {build}")]),
            Stage(id: "fix", tasks: [Task(id: "patch", run: "echo patch >> ran; {patch}")]),
            Stage(id: "ship", tasks: [Task(id: "upload", run: "echo upload >> ran")]),
        ],
        transitions: [
            Transition(from: "build", to: "ship"),
            Transition(from: "build", on: Failure, to: "fix"),
            Transition(from: "fix", to: "build", at_most: 2),
        ],"#
    ))
}

fn ran(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.path("ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_failed_stage_leads_to_its_repair_and_back_and_then_on() {
    let place = Place::with(&loops("test -e fixed", "touch fixed"));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert_eq!(ran(&place), ["compile", "patch", "compile", "upload"]);
    says(&out, &["goes on   build → fix: build failed", "goes on   fix → build (round 2): fix succeeded"]);
    says(&out, &["not taken build → ship: build failed", "goes on   build → ship: build succeeded"]);
    let why = place.ends(&["why", "s", "compile"], 0);
    says(&why, &["done"]);
}

#[test]
fn a_loop_ends_at_its_bound_and_what_nothing_led_to_says_so() {
    let place = Place::with(&loops("false", "true"));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
    assert_eq!(ran(&place), ["compile", "patch", "compile", "patch", "compile", "patch"]);
    says(&out, &["not taken fix → build: fix succeeded, but it was taken twice already (at_most: 2)"]);
    says(&out, &["skipped   upload: no transition led to ship"]);
    says(&place.ends(&["why", "s", "upload"], 0), &["skipped: no transition led to ship"]);
}

#[test]
fn a_kill_in_the_second_round_repeats_nothing_of_either() {
    let place = Place::with(&loops(&format!("test -e fixed && {{ {}; }}", wait_for("go-on")), "touch fixed"));
    let run = place.begin();
    until("the second round", || ran(&place) == ["compile", "patch", "compile"]);
    says(&place.ends(&["why", "s", "upload"], 0), &["starts only by a transition from build on success"]);
    place.kill_once(run, "fact:TransitionTaken(transition:2");
    place.touch("go-on");
    place.ends(&["resume", "s"], 0);
    assert_eq!(ran(&place), ["compile", "patch", "compile", "upload"]);
}

// ── phases ───────────────────────────────────────────────────────────────────────────────────────────────────────────

fn phase(on_failure: &str) -> String {
    workflow(&format!(
        r#"phases: [Phase(id: "verify", stages: ["check"], on_failure: {on_failure})],
        stages: [
            Stage(id: "check", tasks: [
                Task(id: "bad", run: "sleep 0.1; exit 1"), Task(id: "long", run: "sleep 0.5; touch long-ended"),
                Task(id: "later", after: ["long"], run: "touch later-ran"),
                Task(id: "tidy", after: ["bad", "long"], trigger: AllOver, run: "touch tidied"),
            ]),
            Stage(id: "other", tasks: [Task(id: "aside", run: "sleep 0.6; touch aside-ran")]),
        ],"#
    ))
}

#[test]
fn a_phase_goes_on_finishes_or_stops_after_a_failure() {
    for (rule, long, later) in [("GoOn", true, true), ("Finish", true, false), ("Stop", false, false)] {
        let place = Place::with(&phase(rule));
        let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
        let there = |name: &str| place.path(name).exists();
        assert_eq!((there("long-ended"), there("later-ran")), (long, later), "{rule}: {out}");
        assert!(there("tidied") && there("aside-ran"), "{rule}: {out}");
        if !later {
            says(&out, &["cancelled later: phase verify: bad failed", "ended     phase verify: bad failed"]);
            says(&place.ends(&["why", "s", "later"], 0), &["phase verify: bad failed"]);
        }
    }
}

#[test]
fn a_phase_that_was_stopped_before_a_kill_stays_stopped() {
    let place = Place::with(&phase("Finish"));
    place.kill_once(place.begin(), "fact:PhaseFailed(");
    place.ends(&["resume", "s"], 1);
    assert!(place.path("long-ended").exists() && !place.path("later-ran").exists());
}
