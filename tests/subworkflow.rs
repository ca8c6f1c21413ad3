//! `type: Subworkflow(…)`: files that run as parts of another. The binary is driven.

mod common;

use common::{Place, until, wait_for};

fn place(task: &str, part: &str) -> Place {
    let place = Place::with(&format!(
        r##"Workflow(params: {{ "to": "a b; touch bad" }}, resources: {{ "db": Lock }}, stages: [
            Stage(id: "s", tasks: [
                Task(id: "first", run: "echo first >> ran"),
                Task(id: "part", after: ["first"], {task}),
                Task(id: "last", after: ["part"], run: "echo last >> ran")]),
            Stage(id: "next", after: ["s"], tasks: [Task(id: "end", run: "echo end >> ran")])])"##
    ));
    std::fs::create_dir(place.path("parts")).expect("a folder");
    std::fs::write(place.path("parts/part.ron"), part).expect("a file");
    place
}

const TYPE: &str = r#"type: Subworkflow(file: "parts/part.ron", params: { "to": "${params.to}", "n": 3 })"#;

const PART: &str = r#"Workflow(params: { "to": "x", "n": 1 }, resources: { "db": Lock }, stages: [
    Stage(id: "one", tasks: [
        Task(id: "a", run: "echo ${params.to} > to; echo a >> ran; echo 7", publishes: { "v": LastLine(Int) }, uses: { "db": Exclusive }),
        Task(id: "b", after: ["a"], run: "echo b ${task.a.out.v} >> ran", when: "task.a.out.v == 7 && params.n > 2"),
    ]),
    Stage(id: "two", after: ["one"], when: "stage.one.ok && params.to != 'x'", tasks: [Task(id: "c", run: "echo c >> ran")])])"#;

#[test]
fn its_tasks_run_between_those_of_the_outer_file_with_parameters_of_their_own() {
    let place = place(TYPE, PART);
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert_eq!(place.read("ran"), "first\na\nb 7\nc\nlast\nend\n", "{out}");
    assert_eq!(place.read("to"), "a b; touch bad\n");
    assert!(!place.path("bad").exists());
    assert!(out.contains("done      part: 3 tasks of parts/part.ron"), "{out}");
    let rows = place.ends(&["why", "s", "part/b"], 0);
    assert!(rows.contains("done"), "{rows}");
    // it is a workflow of its own as well
    place.ends(&["run", "parts/part.ron", "--param", "n=3"], 0);
}

#[test]
fn all_of_it_is_skipped_if_its_task_is() {
    let place = place(&format!("{TYPE}, when: \"params.to == 'c'\""), PART);
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert_eq!(place.read("ran"), "first\nlast\nend\n", "{out}");
    let why = place.ends(&["why", "s", "part"], 0);
    assert!(why.contains("skipped: params.to == 'c'"), "{why}");
}

#[test]
fn a_failure_in_it_keeps_what_comes_after_from_running_until_it_is_made_good() {
    let part = PART.replace("echo c >> ran", "test -e good && echo c >> ran");
    let place = place(TYPE, &part);
    place.ends(&["run", "flow.ron", "--session", "s"], 1);
    assert_eq!(place.read("ran"), "first\na\nb 7\n");
    let why = place.ends(&["why", "s", "part"], 0);
    assert!(why.contains("part/c"), "{why}");
    place.touch("good");
    place.ends(&["resume", "s", "--retry-failed"], 0);
    assert_eq!(place.read("ran"), "first\na\nb 7\nc\nlast\nend\n");
}

#[test]
fn a_failure_that_a_join_of_it_excuses_does_not_count() {
    let part = r#"Workflow(params: { "to": "x", "n": 1 }, stages: [Stage(id: "one", tasks: [
        Task(id: "m-1", run: "true"), Task(id: "m-2", run: "exit 1"), Task(id: "m-3", run: "true"),
        Task(id: "use", after: ["m-*"], enough: 2, run: "echo use >> ran")])])"#;
    let place = place(TYPE, part);
    place.ends(&["run", "flow.ron"], 0);
    assert_eq!(place.read("ran"), "first\nuse\nlast\nend\n");
}

#[test]
fn a_kill_in_the_middle_of_it_runs_nothing_twice() {
    let part = PART.replace("echo b ", &format!("{}; echo b ", wait_for("go")));
    let place = place(TYPE, &part);
    let run = place.begin();
    until("b runs", || place.journal("s").iter().filter(|line| line.contains("fact:Running(")).count() == 3);
    let rows = place.ends(&["ctl", "ps", "--session", "s"], 0);
    assert!(rows.contains("1 of 3 tasks done"), "{rows}");
    place.kill(run);
    // what it is made of stands in the session: the files are not needed any more
    std::fs::remove_file(place.path("parts/part.ron")).expect("it was there");
    place.touch("go");
    place.ends(&["resume", "s"], 0);
    assert_eq!(place.read("ran"), "first\na\nb 7\nc\nlast\nend\n");
}

#[test]
fn what_is_asked_of_its_row_is_asked_of_all_that_is_in_it_and_taken_back_as_one() {
    let place = place(TYPE, PART);
    let text = place.read("flow.ron").replace("echo first >> ran", &format!("{}; echo first >> ran", wait_for("go")));
    std::fs::write(place.path("flow.ron"), text).expect("written");
    let run = place.begin();
    until("first runs", || place.journal("s").iter().any(|line| line.contains("fact:Running(")));
    let ctl = |words: &[&str]| place.ends(&[&["ctl"], words, &["--session", "s"]].concat(), 0);
    let phases = || {
        let rows = ctl(&["ps", "--json"]);
        let rows: serde_json::Value = serde_json::from_str(&rows).expect("JSON");
        let tasks = rows["tasks"].as_array().expect("tasks").clone();
        let of = |task: &serde_json::Value| format!("{}", task["state"]).trim_matches('"').to_owned();
        let mine = |task: &&serde_json::Value| task["task"].as_str().is_some_and(|name| name.starts_with("part"));
        tasks.iter().filter(mine).map(of).collect::<Vec<_>>().join(" ")
    };
    let before = phases();
    // what comes after it would begin at once
    ctl(&["hold", "last"]);
    ctl(&["skip", "part"]);
    assert_eq!(phases(), "skipped skipped skipped skipped skipped");
    ctl(&["undo"]);
    assert_eq!(phases(), before);
    ctl(&["hold", "part"]);
    ctl(&["prio", "7", "part"]);
    for task in ["part", "part/begin", "part/c"] {
        assert!(ctl(&["why", task]).contains("held"), "{task}");
    }
    ctl(&["release", "part"]);
    ctl(&["release", "last"]);
    place.touch("go");
    let out = run.wait_with_output().expect("it ends");
    assert!(out.status.success());
    assert_eq!(place.read("ran"), "first\na\nb 7\nc\nlast\nend\n");
}

#[test]
fn a_row_is_not_skipped_while_something_in_it_runs() {
    let part = PART.replace("echo b ", &format!("{}; echo b ", wait_for("go")));
    let place = place(TYPE, &part);
    let run = place.begin();
    until("b runs", || place.journal("s").iter().filter(|line| line.contains("fact:Running(")).count() == 3);
    let said = place.qd(&["ctl", "skip", "part", "--session", "s"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("1 task of part runs: cancel it first"), "{said}");
    place.ends(&["ctl", "cancel", "part", "--session", "s"], 0);
    let out = run.wait_with_output().expect("it ends");
    assert!(!out.status.success());
    assert_eq!(place.read("ran"), "first\na\n");
    let rows = place.ends(&["why", "s", "part/c"], 0);
    assert!(rows.contains("cancelled"), "{rows}");
}

#[test]
fn limits_and_phases_of_both_files_hold_for_it() {
    let part = r#"Workflow(params: { "to": "x", "n": 1 }, controls: [MaxRunning(1)], stages: [Stage(id: "one", tasks: [
        Task(id: "t-{i}", foreach: { "i": [1, 2, 3] }, run: "mkdir lock && sleep 0.05 && rmdir lock", tags: ["x"])])])"#;
    let place = place(TYPE, part);
    let text = place.read("flow.ron");
    let text =
        text.replace("stages: [\n", "phases: [Phase(id: \"p\", stages: [\"s\"], on_failure: Stop)], stages: [\n");
    std::fs::write(place.path("flow.ron"), text).expect("written");
    place.ends(&["run", "flow.ron", "--session", "s"], 0);
    let resources = place.journal("s").into_iter().filter(|line| line.contains("part/running")).count();
    assert_eq!(resources, 1);
    assert!(!place.path("lock").exists());
    // a failure in the part is one of the phase of the outer file: what has not run of the part is cancelled
    std::fs::write(place.path("parts/part.ron"), part.replace("mkdir lock", "[ {i} != 1 ] && mkdir lock"))
        .expect("written");
    let out = place.ends(&["run", "flow.ron", "--session", "f"], 1);
    assert!(out.contains("part/t-2: phase p: part/t-1 failed") && out.contains("last: phase p"), "{out}");
}
