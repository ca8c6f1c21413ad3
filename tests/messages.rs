//! Messages: what tasks, people and scripts say to everybody who looks at a session. That a crash says nothing twice is in the
//! random tests of the engine.

mod common;

use common::{Place, QD, until, wait_for};

fn flow(task: &str) -> String {
    format!(
        r##"Workflow(name: "talk", agents: [Agent(name: "local", slots: 2)], stages: [Stage(id: "s", tasks: [{task}])])"##
    )
}

#[test]
fn a_message_of_the_workflow_holds_what_tasks_published_as_it_is() {
    let place = Place::with(&flow(
        r#"Task(id: "a", run: "echo '$(touch pwned) 7%'", publishes: { "v": LastLine }),
           Task(id: "m", after: ["a"], type: Message(text: "v is ${task.a.out.v}", priority: 2)),
           Task(id: "n", after: ["m"], type: Message("so"), when: "task.m.ok")"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s", "--json"], 0);
    assert!(out.contains(r#""message":"v is $(touch pwned) 7%""#) && out.contains(r#""priority":2"#), "{out}");
    assert!(!place.path("pwned").exists());
    let said = place.journal("s").iter().filter(|line| line.contains("fact:Posted(")).count();
    assert_eq!(said, 2);
}

#[test]
fn a_task_and_a_person_speak_and_a_listener_hears_all_until_the_end() {
    let task = format!(
        r#"Task(id: "a", run: "\"$QD_BIN\" msg one two; {}; \"$QD_BIN\" msg --priority 1 last")"#,
        wait_for("go")
    );
    let place = Place::with(&flow(&task));
    let run = place.begin();
    until("it has spoken", || place.journal("s").iter().any(|line| line.contains("fact:Posted(")));
    let mut listener = std::process::Command::new(QD);
    place.surround(&mut listener);
    let listener = listener.args(["ctl", "messages", "--follow", "--session", "s"]);
    let listener = listener.stdout(std::process::Stdio::piped()).spawn().expect("qd runs");
    place.ends(&["msg", "--session", "s", "--as", "ana", "hello\u{1b}[2J"], 0);
    until("both are there", || place.ends(&["ctl", "messages", "--session", "s"], 0).lines().count() == 2);
    let json = place.ends(&["ctl", "messages", "--session", "s", "--json"], 0);
    assert!(
        json.contains(r#""number":1"#) && json.contains(r#""by":"a/1""#) && json.contains(r#""text":"one two""#),
        "{json}"
    );
    assert!(json.contains(r#""by":"ana""#), "{json}");
    place.touch("go");
    let heard = listener.wait_with_output().expect("it ends with the session");
    let heard = String::from_utf8_lossy(&heard.stdout).into_owned();
    let texts: Vec<&str> = heard.lines().map(|line| line.split_once("  ").expect("after the time").1).collect();
    assert_eq!(texts[0], "a/1  one two", "{heard}");
    assert!(texts[1].starts_with("ana  hello") && !heard.contains('\u{1b}'), "{heard}");
    assert!({ run }.wait().unwrap().success());
}

#[test]
fn what_says_nothing_or_too_much_is_refused() {
    let place = Place::with(&flow(&format!(r#"Task(id: "a", run: "{}")"#, wait_for("go"))));
    let run = place.begin();
    until("it runs", || place.journal("s").iter().any(|line| line.contains("fact:Running(")));
    for (text, why) in [(" ", "an empty message says nothing"), (&"x".repeat(5000), "at most 4096 bytes")] {
        let out = place.qd(&["msg", "--session", "s", text]);
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains(why), "{out:?}");
    }
    place.touch("go");
    assert!({ run }.wait().unwrap().success());
    place.ends(&["msg", "--session", "s", "x"], 2);
}

#[test]
fn what_was_said_is_told_when_the_session_is_over() {
    let place = Place::with(&flow(r#"Task(id: "m", type: Message("so"))"#));
    place.ends(&["run", "flow.ron", "--session", "s"], 0);
    let told = place.ends(&["ctl", "messages", "--session", "s"], 0);
    assert!(told.trim_end().ends_with("m  so") && told.lines().count() == 1, "{told}");
    assert_eq!(place.ends(&["ctl", "messages", "--follow", "--session", "s"], 0), told);
}
