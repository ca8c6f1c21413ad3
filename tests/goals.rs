//! Milestones and objectives by the real binary: reached once, met or missed, kept over a kill, said in every output.

mod common;

use common::{Place, until, wait_for};

fn flow(goals: &str, tasks: &str) -> String {
    format!(
        r#"Workflow(name: "goals", params: {{ "most": 0 }}, agents: [Agent(name: "local", slots: 2)], {goals}
           stages: [Stage(id: "test", tasks: [{tasks}])])"#
    )
}

#[test]
fn a_milestone_is_reached_once_and_an_objective_is_judged_by_what_the_run_came_to() {
    let place = Place::with(&flow(
        r#"milestones: { "tested": "stage.test.ok", "built": "task.a.ok", "never": "task.b.failed" },
           objectives: { "clean": "run.failures <= params.most", "quick": "run.elapsed < duration('10m')" },"#,
        r#"Task(id: "a", run: "true"), Task(id: "b", run: "true", after: ["a"])"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    for line in ["reached   milestone built: task.a.ok", "reached   milestone tested: stage.test.ok"] {
        assert_eq!(out.matches(line).count(), 1, "{line}:\n{out}");
    }
    assert!(!out.contains("never") && !out.contains("missed"), "{out}");
    let json = place.ends(&["run", "flow.ron", "--json"], 0);
    assert!(json.contains(r#""fact":"GoalJudged""#) && json.contains(r#""name":"objective quick""#), "{json}");
}

#[test]
fn a_missed_objective_is_said_with_its_values_and_changes_no_exit_code() {
    let place = Place::with(&flow(
        r#"objectives: { "slow-enough": "run.elapsed > duration('10m')" },"#,
        r#"Task(id: "a", run: "true")"#,
    ));
    let out = place.ends(&["run", "flow.ron"], 0);
    assert!(out.contains("not met   objective slow-enough: run.elapsed > duration('10m')"), "{out}");
    assert!(out.contains("1 done, missed slow-enough"), "{out}");
}

#[test]
fn what_was_reached_before_a_kill_is_not_reached_again() {
    let place = Place::with(&flow(
        r#"milestones: { "first": "task.a.ok", "second": "task.b.ok" },"#,
        &format!(r#"Task(id: "a", run: "true"), Task(id: "b", run: "touch begun; {}", after: ["a"])"#, wait_for("go")),
    ));
    let run = place.begin();
    until("b runs", || place.path("begun").exists());
    place.kill(run);
    place.touch("go");
    let out = place.ends(&["resume", "s"], 0);
    assert!(out.contains("milestone second") && !out.contains("milestone first"), "{out}");
}

#[test]
fn a_milestone_whose_condition_cannot_be_computed_at_first_is_reached_later() {
    let place = Place::with(&flow(
        r#"milestones: { "again": "10 / (task.a.attempts - 1) > 0" },"#,
        r#"Task(id: "a", run: "test -e flag || { touch flag; exit 1; }", retry: Retry(attempts: 3))"#,
    ));
    let out = place.ends(&["run", "flow.ron"], 0);
    assert!(out.contains("reached   milestone again: 10 / (task.a.attempts - 1) > 0"), "{out}");
    assert!(!out.contains("not met"), "{out}");
}
