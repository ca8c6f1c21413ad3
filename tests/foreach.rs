//! `foreach` over a list that an earlier task publishes: what the binary makes of it. That nothing is made twice or lost, however
//! a run goes, is in the random tests of the engine.

mod common;

use common::{Place, until, wait_for};

fn flow(list: &str, task: &str) -> String {
    format!(
        r##"Workflow(name: "lists", agents: [Agent(name: "local", slots: 2)], stages: [Stage(id: "s", tasks: [
            Task(id: "list", exec: ["printf", "%s\\n", {list:?}], publishes: {{ "files": JsonLine("", List(Text)) }}),
            Task(id: "each-{{f}}", after: ["list"], foreach: {{ "f": "${{task.list.out.files}}" }}, {task}),
            Task(id: "last", after: ["each-*"], run: "echo last >> done"),
        ])])"##
    )
}

#[test]
fn each_element_gets_a_task_and_none_is_read_as_code() {
    let names = r#"["plain", "two words", "$(touch pwned)", "it's; touch pwned", "`touch pwned`"]"#;
    let place = Place::with(&flow(names, r#"run: "echo {f} '{f}' \"{f}\" >> said; echo run >> done""#));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("makes     each-{f}: 5 tasks of a list") && out.contains("✓ 8 done"), "{out}");
    let said = place.read("said");
    let mut said: Vec<&str> = said.lines().collect();
    said.sort_unstable();
    let thrice = |text: &str| format!("{text} {text} {text}");
    let mut wanted = ["plain", "two words", "$(touch pwned)", "it's; touch pwned", "`touch pwned`"].map(thrice);
    wanted.sort_unstable();
    assert_eq!(said, wanted);
    assert!(!place.path("pwned").exists());
    assert!(place.read("done").ends_with("run\nlast\n"), "what comes after waits for all");
    let place = Place::with(&flow(
        r#"["a b", "c"]"#,
        r#"exec: ["sh", "-c", "echo $1 $X >> said", "-", "<{f}>"], env: { "X": "{f}!" }"#,
    ));
    place.ends(&["run", "flow.ron", "--session", "s"], 0);
    let mut said: Vec<String> = place.read("said").lines().map(str::to_owned).collect();
    said.sort_unstable();
    assert_eq!(said, ["<a b> a b!", "<c> c!"]);
}

#[test]
fn an_empty_list_makes_none_and_one_that_cannot_be_names_fails_and_says_why() {
    let task = r#"run: "true""#;
    let place = Place::with(&flow("[]", task));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("done      each-{f}: the list is empty"), "{out}");
    for (list, why) in [
        (r#"["a", "b", "a"]"#, "the list has \"a\" twice"),
        (r#"["a\nb"]"#, "cannot be part of a task's name"),
        (r#"["*"]"#, "holds * or ?"),
        (r#"[""]"#, "it is empty"),
    ] {
        let place = Place::with(&flow(list, task));
        let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
        assert!(out.contains("each-{f}") && out.contains(why) && !place.path("done").exists(), "{list}\n{out}");
    }
    let taken = flow(r#"["x"]"#, task).replace(r#"id: "last""#, r#"id: "each-x""#).replace("each-*", "each-{f}");
    let out = Place::with(&taken).ends(&["run", "flow.ron", "--session", "s"], 1);
    assert!(out.contains("a task is called \"each-x\" already"), "{out}");
}

#[test]
fn a_kill_in_the_middle_makes_no_task_twice_and_what_is_to_come_is_explained() {
    let work = format!("run: \"echo {{f}} >> ran; if [ {{f}} = b ]; then {}; fi\"", wait_for("go"));
    let place = Place::with(&flow(r#"["a", "b", "c"]"#, &work));
    let run = place.begin();
    until("two are done", || place.journal("s").iter().filter(|line| line.contains("outcome:Succeeded")).count() == 3);
    let rows = place.ends(&["ctl", "ps", "--session", "s"], 0);
    assert!(rows.contains("2 of 3 tasks done"), "{rows}");
    place.kill(run);
    let why = place.ends(&["why", "s", "each-{f}"], 0);
    assert!(why.contains("each-b: running"), "{why}");
    place.touch("go");
    place.ends(&["resume", "s"], 0);
    let mut ran: Vec<String> = place.read("ran").lines().map(str::to_owned).collect();
    ran.sort_unstable();
    assert_eq!(ran, ["a", "b", "c"]);
    assert_eq!(place.journal("s").iter().filter(|line| line.contains("fact:Made(")).count(), 1);
}

#[test]
fn one_that_fails_keeps_back_what_comes_after_until_it_is_tried_again() {
    let work = r#"run: "echo {f}; test -e good || test {f} != b""#;
    let place = Place::with(&flow(r#"["a", "b"]"#, work));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
    assert!(out.contains("failed    each-b: exit 1"), "{out}");
    let why = place.ends(&["why", "s", "each-{f}"], 0);
    assert!(why.contains("each-b: failed"), "{why}");
    place.touch("good");
    place.ends(&["resume", "s", "--retry-failed"], 0);
    assert!(place.path("done").exists());
}
