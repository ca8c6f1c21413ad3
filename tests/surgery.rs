//! Workflows that are changed while they run: tasks added, edited, removed and brought back. What the engine decides, case by
//! case, and what the binary does with `qd spawn` and `qd ctl add`, `edit`, `remove`. Random changes of random workflows are in
//! `engine_properties`.

mod common;
mod engine_support;

use common::Place;
use engine_support::flow::check;

// ── what the engine decides ──────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn an_added_task_waits_for_what_it_names_and_its_stage_for_it() {
    check(
        "agent local slots 4
         stage one
         stage two after one
         task a stage one
         task b stage two",
        "> load
         start a/1
         > add c stage one after a
         add c
         > exit a 0
         end a/1 Succeeded
         start c/1
         > exit c 0
         end c/1 Succeeded
         start b/1
         > add d stage one
         add d
         start d/1
         > exit b 0
         end b/1 Succeeded
         > exit d 0
         end d/1 Succeeded
         > add e stage two after a,d
         add e
         start e/1
         > add e stage two after a
         > add e stage one
         refused: a task is called e already
         > exit e 0
         end e/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn what_waits_for_something_dead_or_skipped_joins_as_it_is() {
    check(
        "agent local slots 4
         task a
         task b",
        "> load
         start a/1
         start b/1
         > exit a 1
         end a/1 Exit(1)
         > skip b
         refused: b is starting: too late to skip
         > add c after a
         add c
         > add d after a trigger over
         add d
         start d/1
         > edit c after b
         edited c
         > exit b 0
         end b/1 Succeeded
         start c/1
         > edit c after a
         refused: c is starting: only what waits can be changed
         > exit c 0
         end c/1 Succeeded
         > exit d 0
         end d/1 Succeeded
         > end?
         finished, exit 1",
    );
}

#[test]
fn no_change_closes_a_circle() {
    check(
        "agent local slots 1
         stage one
         stage two after one
         task run stage one
         task a stage one after run
         task b stage one after a
         task c stage two after b",
        "> load
         start run/1
         > edit a after b
         refused: a would wait for itself, by a
         > edit a after a
         refused: a would wait for itself, by a
         > edit a stage one after c
         refused: a would wait for itself, by stage one
         > edit a stage two after run
         refused: a would wait for itself, by a
         > add d stage one after c
         refused: d would wait for itself, by stage one
         > edit b stage one after run when task.a.ok
         edited b
         > edit a stage one after run when task.b.ok
         refused: a would wait for itself, by a
         > edit c stage one after b
         edited c
         > edit b stage one after run
         edited b
         > edit a stage two after run
         edited a",
    );
}

#[test]
fn what_is_removed_is_not_waited_for_and_comes_back_by_undo() {
    check(
        "agent local slots 1
         task run
         task a after run
         task b after a
         task c after b",
        "> load
         start run/1
         > remove b
         removed b
         > remove b
         refused: b was removed already
         > unskip b
         refused: b was removed
         > edit b after run
         refused: b was removed
         > remove run
         refused: run is starting: only what has not begun can be removed; skip or cancel it
         > undo
         undone
         restored b
         > redo
         redone
         removed b
         > crash
         ask run/1
         > exit run 0
         end run/1 Succeeded
         start a/1
         > exit a 0
         end a/1 Succeeded
         start c/1
         > restore b
         restored b
         > remove a
         refused: a is done: only what has not begun can be removed; skip or cancel it
         > exit c 0
         end c/1 Succeeded
         start b/1
         > exit b 0
         end b/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn an_edit_is_taken_back_whole_and_what_was_added_is_added_again() {
    check(
        "agent local slots 1
         lock db
         task run
         task a after run prio 3 uses db",
        "> load
         start run/1
         > edit a after run prio 7
         edited a
         > undo
         undone
         edited a
         > edit a after run prio 3 uses db
         refused: nothing of a would change
         > add b after a
         add b
         > undo
         undone
         removed b
         > redo
         redone
         restored b
         > add c
         add c
         > all hold c ; edit c after a
         held c
         edited c
         > undo
         undone
         edited c
         released c
         > undo
         undone
         removed c
         > add c after a
         restored c
         > drain
         ending Drain
         > add e
         refused: the session is ending",
    );
}

#[test]
fn a_failure_counts_once_nobody_can_excuse_it_any_more() {
    check(
        "agent local slots 4
         stage all
         phase p stages all end finish
         task a
         task b
         task j after a,b enough 1
         task z after j",
        "> load
         start a/1
         start b/1
         > exit a 1
         end a/1 Exit(1)
         > edit j after b
         edited j
         cancelled j: phase p: a failed
         cancelled z: phase p: a failed
         phase p ended by a",
    );
}

// ── what the binary does ─────────────────────────────────────────────────────────────────────────────────────────────

const RUN: [&str; 4] = ["run", "flow.ron", "--session", "s"];

#[test]
fn a_task_adds_tasks_that_keep_the_limits_of_the_file_also_when_it_is_run_again() {
    let place = Place::with(
        r#"Workflow(name: "fan", agents: [Agent(name: "local", slots: 4)], controls: [TagLimit("one", 1)],
            stages: [Stage(id: "main", tasks: [
                Task(id: "gen", tags: ["one"], retry: Retry(attempts: 2), exec: ["sh", "gen.sh"]),
                Task(id: "pack", after: ["gen"], run: "cat out > packed"),
            ])])"#,
    );
    let script = r#"
        for i in 1 2 3; do
            "$QD_BIN" spawn part-$i --before pack --with 'tags: ["one"], env: { "V": "7" }' -- \
                sh -c 'mkdir lock && echo $V >> out && sleep 0.05 && rmdir lock'
        done
        [ $QD_ATTEMPT = 2 ]
    "#;
    std::fs::write(place.path("gen.sh"), script.replace("\\\\", "\\")).unwrap();
    let out = place.ends(&RUN, 0);
    assert_eq!(place.read("packed"), "7\n7\n7\n", "{out}");
    assert_eq!(out.matches("adds      part-").count(), 3, "an attempt more adds nothing twice: {out}");
    assert!(out.contains("adds      part-1 (by gen/1)"), "{out}");
}

#[test]
fn a_person_changes_a_run_and_a_crash_forgets_nothing_of_it() {
    let place = Place::with(
        r#"Workflow(name: "live", resources: { "db": Lock }, agents: [Agent(name: "local", slots: 4)],
            stages: [Stage(id: "main", max_running: 3, tasks: [
                Task(id: "first", run: "touch up; until [ -e go ]; do sleep 0.02; done"),
                Task(id: "late", after: ["first"], run: "echo as written > late"),
                Task(id: "gone", after: ["first"], run: "touch gone"),
            ]), Stage(id: "end", after: ["main"], tasks: [Task(id: "close", run: "echo close")])])"#,
    );
    let run = place.begin();
    place.await_file("up");
    let refused = |args: &[&str], words: &[&str]| {
        let output = place.qd(args);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?} {err}");
        words.iter().for_each(|word| assert!(err.contains(word), "{word:?} is not in:\n{err}"));
        assert!(!err.contains("error: error"), "{err}");
    };
    place
        .ends(&["ctl", "edit", "late", r#"run: "echo as edited > late", uses: { "db": Exclusive }, timeout: "5m""#], 0);
    place.ends(&["ctl", "remove", "gone"], 0);
    std::fs::write(
        place.path("more.ron"),
        r#"[Task(id: "more-{n}", foreach: { "n": [1, 2] }, exec: ["touch", "more-{n}"], after: ["late"]),
        Task(id: "sum", after: ["more-*"], run: "ls more-1 more-2 > sum", stage: "end")]"#,
    )
    .unwrap();
    place.ends(&["ctl", "add", "more.ron", "--stage", "main"], 0);
    place.ends(
        &["spawn", "beside", "--after", "more-*", "--stage", "end", "--with", "priority: 4", "--", "touch", "beside"],
        0,
    );

    refused(&["ctl", "edit", "late", "aftr: []"], &["`aftr`", "did you mean `after`?", "task:1:6"]);
    refused(&["ctl", "edit", "late", r#"after: ["firts"]"#], &["no task is called `firts`", "did you mean `first`?"]);
    refused(&["ctl", "edit", "late", r#"after: ["more-1"]"#], &["late would wait for itself, by late"]);
    refused(&["ctl", "edit", "first", r#"timeout: "1s""#], &["first is running: only what waits can be changed"]);
    refused(&["ctl", "edit", "late", r#"needs: ["cuda"]"#], &["cuda"]);
    refused(&["ctl", "edit", "late", r#"barrier: "b""#], &["cannot be said of a task while the workflow runs"]);
    refused(&["ctl", "edit", "late", "cwd: \"x\""], &["belong to a command"]);
    refused(&["ctl", "edit", "late", r#"id: "other""#], &["a task keeps its name"]);
    refused(&["spawn", "late", "--stage", "main", "--", "true"], &["a task is called late already"]);
    refused(&["spawn", "x", "--", "true"], &["of which stage?", "there are main, end"]);
    refused(&["spawn", "x", "--stage", "mian", "--", "true"], &["no stage is called mian"]);
    refused(&["spawn", "x", "--stage", "main", "--before", "first", "--", "true"], &["first is running"]);
    refused(&["spawn", "x", "--stage", "main", "--after", "sum", "--", "true"], &["a circle of waiting"]);
    refused(&["ctl", "add", "nothing.ron"], &["cannot be read"]);
    std::fs::write(place.path("bad.ron"), "[]").unwrap();
    refused(&["ctl", "add", "bad.ron", "--stage", "main"], &["there is no task"]);
    std::fs::write(place.path("bad.ron"), "Task(id: \"x\"").unwrap();
    refused(&["ctl", "add", "bad.ron", "--stage", "main"], &["task:1:"]);

    // a removed task is not among all, but can be named
    let listed = place.ends(&["ctl", "ps"], 0);
    assert!(!listed.contains("gone") && listed.contains("more-2") && listed.contains("beside"), "{listed}");
    place.ends(&["ctl", "undo"], 0);
    assert!(!place.ends(&["ctl", "ps"], 0).contains("beside"));
    place.ends(&["ctl", "redo"], 0);
    place.kill(run);
    place.touch("go");
    let out = place.ends(&["resume", "s", "--headless"], 0);
    assert_eq!(place.read("late"), "as edited\n", "{out}");
    assert_eq!(place.read("sum"), "more-1\nmore-2\n");
    assert!(place.path("beside").exists() && !place.path("gone").exists());
}

#[test]
fn eight_at_once_add_each_its_own() {
    let place = Place::with(
        r#"Workflow(name: "race", agents: [Agent(name: "local", slots: 8)], stages: [Stage(id: "main", tasks: [
            Task(id: "g{n}", foreach: { "n": Range(1, 8) }, run: "for i in 1 2 3 4; do \"$QD_BIN\" spawn t{n}-$i -- sh -c 'echo x >> made' || exit 1; done"),
        ])])"#,
    );
    place.ends(&RUN, 0);
    assert_eq!(place.read("made").lines().count(), 32);
}

#[test]
fn the_rules_of_the_file_hold_for_every_change() {
    let place = Place::with(
        r#"Workflow(name: "rules", agents: [Agent(name: "local", slots: 4)],
            policy: [Every(has: Timeout), Tagged(tag: "prod", has: Approval)],
            stages: [Stage(id: "main", tasks: [
                Task(id: "first", timeout: "10m", run: "touch up; until [ -e go ]; do sleep 0.02; done"),
                Task(id: "yes", type: Approval(text: "Ship?", timeout: "1h"), after: ["first"]),
                Task(id: "deploy", tags: ["prod"], timeout: "1m", after: ["yes"], run: "touch deployed"),
            ])])"#,
    );
    let mut run = place.begin();
    place.await_file("up");
    let refused = |args: &[&str], word: &str| {
        let output = place.qd(args);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && err.contains(word), "{args:?}: {err}");
    };
    refused(&["spawn", "x", "--", "true"], "policy: x has no timeout then");
    refused(
        &["spawn", "x", "--with", "timeout: \"1m\", tags: [\"prod\"]", "--", "true"],
        "policy: x comes after no approval then",
    );
    refused(&["ctl", "edit", "deploy", "after: [\"first\"]"], "policy: deploy comes after no approval then");
    refused(&["ctl", "edit", "deploy", "timeout: None"], "policy: deploy has no timeout then");
    refused(&["ctl", "remove", "yes"], "policy: deploy comes after no approval then");
    place.ends(&["spawn", "x", "--after", "yes", "--with", "timeout: \"1m\", tags: [\"prod\"]", "--", "touch", "x"], 0);
    place.ends(&["ctl", "edit", "deploy", "after: [\"x\"]"], 0);
    place.ends(&["ctl", "approve", "yes"], 0);
    place.touch("go");
    assert!(run.wait().expect("our own child").success());
    assert!(place.path("deployed").exists() && place.path("x").exists());
}

#[test]
fn the_example_does_what_it_says() {
    let place = Place::with(include_str!("../workflows/spawn.ron"));
    let out = place.ends(&["run", "flow.ron", "--headless"], 0);
    assert!(out.contains("adds      shrink-four (by look/1)"), "{out}");
}
