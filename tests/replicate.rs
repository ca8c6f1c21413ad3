//! `replicate`: what the binary makes of it. That no minority is taken for a majority, however a run goes, is in the random
//! tests of the engine.

mod common;

use common::{Place, until, wait_for};

fn flow(task: &str) -> String {
    format!(
        r##"Workflow(name: "thrice", agents: [Agent(name: "a", slots: 2), Agent(name: "b", slots: 2)], stages: [Stage(id: "s", tasks: [
            Task(id: "sum", {task}),
            Task(id: "last", after: ["sum"], run: "echo last >> done"),
        ])])"##
    )
}

#[test]
fn what_most_runs_publish_is_published_and_the_one_that_failed_does_not_count() {
    let task = r#"run: "if [ $QD_TASK = sum.2 ]; then exit 3; fi; echo $QD_AGENT > on-$QD_TASK; echo 7",
        publishes: { "n": LastLine(Int) }, replicate: Replicate(runs: 3)"#;
    let place = Place::with(&flow(task).replace("echo last", "echo ${task.sum.out.n}"));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("agrees    sum: 2 of 3 agree: sum.2 failed"), "{out}");
    assert!(out.contains("outvoted: 2 of 3 agree"), "{out}");
    assert_eq!(place.read("done"), "7\n");
    let why = place.ends(&["why", "s", "sum"], 0);
    assert!(why.contains("2 of 3 agree: sum.2 failed"), "{why}");
}

#[test]
fn runs_that_say_nothing_are_compared_by_their_output_and_no_majority_is_a_failure_of_its_own_kind() {
    let task = r#"run: "echo $QD_TASK", replicate: Replicate(runs: 3)"#;
    let place = Place::with(&flow(task));
    let out = place.ends(&["run", "flow.ron", "--session", "s", "--json"], 1);
    assert!(out.contains(r#""cause":"majority""#) && out.contains("no 2 of 3 agree: sum.1 came to digest = "), "{out}");
    assert!(!place.path("done").exists());
    let place = Place::with(&flow(r#"run: "echo same", replicate: Replicate(runs: 4, agree: 4)"#));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("agrees    sum: 4 of 4 agree\n"), "{out}");
}

#[test]
fn a_retry_makes_all_runs_again() {
    let task = r#"run: "echo $QD_TASK >> ran; if [ -e good ]; then echo 1; else echo $QD_TASK; fi", replicate: Replicate(runs: 3)"#;
    let place = Place::with(&flow(task));
    place.ends(&["run", "flow.ron", "--session", "s"], 1);
    place.touch("good");
    let out = place.ends(&["resume", "s", "--retry-failed"], 0);
    assert!(out.contains("3 of 3 agree"), "{out}");
    assert_eq!(place.read("ran").lines().count(), 6);
    assert!(place.path("done").exists());
}

#[test]
fn a_kill_in_the_middle_makes_no_run_twice() {
    let task = format!(
        "run: \"echo $QD_TASK >> ran; if [ $QD_TASK = sum.3 ]; then {}; fi; echo 5\", replicate: Replicate(runs: 3)",
        wait_for("go")
    );
    let place = Place::with(&flow(&task));
    let run = place.begin();
    until("two are done", || place.journal("s").iter().filter(|line| line.contains("outcome:Succeeded")).count() == 2);
    let rows = place.ends(&["ctl", "ps", "--session", "s"], 0);
    assert!(rows.contains("2 of 3 runs over"), "{rows}");
    place.kill(run);
    place.touch("go");
    place.ends(&["resume", "s"], 0);
    let mut ran: Vec<String> = place.read("ran").lines().map(str::to_owned).collect();
    ran.sort_unstable();
    assert_eq!(ran, ["sum.1", "sum.2", "sum.3"]);
    assert_eq!(place.journal("s").iter().filter(|line| line.contains("fact:Agreed(")).count(), 1);
}
