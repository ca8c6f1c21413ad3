//! `launcher`: the words before an agent's commands, with stand-ins for ssh and the like. The binary is driven.

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{Place, until, wait_for};

fn script(place: &Place, name: &str, text: &str) {
    std::fs::create_dir_all(place.path("bin")).expect("a folder");
    let path = place.path(&format!("bin/{name}"));
    std::fs::write(&path, text).expect("a script");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it may run");
}

fn flow(launcher: &str, task: &str) -> String {
    format!(
        r#"Workflow(params: {{ "who": "a 'b' $(touch bad)" }}, agents: [
            Agent(name: "near", slots: 1), Agent(name: "far", slots: 2, capabilities: ["far"], launcher: {launcher})],
            stages: [Stage(id: "s", tasks: [Task(id: "t", {task})])])"#
    )
}

#[test]
fn commands_follow_the_words_of_their_agent_and_those_of_other_agents_do_not() {
    let place = Place::with(
        r#"Workflow(agents: [
            Agent(name: "near", slots: 1), Agent(name: "far", slots: 1, launcher: ["bin/log", "-x"])],
            stages: [Stage(id: "s", tasks: [
                Task(id: "a", agent: "far", run: "echo a > a; echo $QD_TASK >> a"),
                Task(id: "b", agent: "far", exec: ["touch", "b c"]),
                Task(id: "c", agent: "near", run: "echo c > c")])])"#,
    );
    script(&place, "log", "#!/bin/sh\necho \"$#: $*\" >> seen\nshift\nexec \"$@\"\n");
    place.ends(&["run", "flow.ron"], 0);
    let mut seen: Vec<String> = place.read("seen").lines().map(str::to_owned).collect();
    seen.sort();
    assert_eq!(seen, ["3: -x touch b c", "4: -x /bin/sh -c echo a > a; echo $QD_TASK >> a"]);
    assert_eq!(place.read("a"), "a\na\n");
    assert!(place.path("b c").exists() && place.path("c").exists());
}

#[test]
fn ssh_hands_over_variables_and_folder_in_one_text_and_no_value_runs_as_code() {
    // as ssh does: what it is handed is put together and read by a shell that has nothing of ours
    let task =
        r#"needs: ["far"], run: "echo ${params.who} \"$X\" > out; pwd >> out", env: { "X": "x;y" }, cwd: "there""#;
    let place = Place::with(&flow(r#"["bin/ssh", "host"]"#, task));
    script(&place, "ssh", "#!/bin/sh\nshift\nexec env -i PATH=\"$PATH\" HOME=/ sh -c \"$*\"\n");
    std::fs::create_dir(place.path("there")).expect("a folder");
    place.ends(&["run", "flow.ron"], 0);
    assert_eq!(place.read("there/out").lines().next(), Some("a 'b' $(touch bad) x;y"));
    assert!(!place.path("bad").exists() && !place.path("there/bad").exists());
}

#[test]
fn a_command_can_have_its_place_in_a_word() {
    let place =
        Place::with(&flow(r#"["sh", "-c", "cd there && {command}"]"#, r#"needs: ["far"], run: "echo 'it''s' > out""#));
    std::fs::create_dir(place.path("there")).expect("a folder");
    place.ends(&["run", "flow.ron"], 0);
    assert_eq!(place.read("there/out"), "its\n");
}

#[test]
fn a_launcher_that_is_not_there_fails_the_task_with_its_name_and_another_agent_takes_over() {
    let task = r#"prefer: "far", run: "echo done > out", fallback: ["else"]"#;
    let text =
        flow(r#"["no-such-launcher"]"#, task).replace("stages:", r#"fallbacks: { "else": OtherAgent }, stages:"#);
    let place = Place::with(&text);
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("no-such-launcher"), "{out}");
    assert_eq!(place.read("out"), "done\n");
}

#[test]
fn what_a_launcher_runs_is_taken_up_after_a_kill() {
    let task = format!(r#"needs: ["far"], run: "echo x >> ran; {}; echo y >> ran""#, wait_for("go"));
    let place = Place::with(&flow(r#"["nice", "-n", "3"]"#, &task));
    let run = place.begin();
    until("it runs", || place.path("ran").exists());
    place.kill(run);
    let resumed = place.resume();
    place.touch("go");
    assert_eq!(resumed.wait_with_output().expect("it ends").status.code(), Some(0));
    assert_eq!(place.read("ran"), "x\ny\n");
}
