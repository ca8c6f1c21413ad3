//! The clients in `examples/clients` against the real binary: tasks in Python and shell count one value up at the same time and
//! none of it is lost; from outside the Python one does what a person could do, and hears why it cannot.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Place, until, wait_for};

fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients").join(name)
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("not tested: there is no python3 here");
    }
    found
}

#[test]
fn tasks_in_python_and_shell_count_one_value_up_together() {
    if !has_python() {
        return;
    }
    let (python, shell) = (client("client.py"), client("client.sh"));
    let place = Place::with(&format!(
        r#"Workflow(state: {{ "visits": 0 }}, agents: [Agent(name: "local", slots: 4)], stages: [
            Stage(id: "count", tasks: [
                Task(id: "py-{{n}}", foreach: {{ "n": [1, 2, 3] }}, run: "python3 {} count visits 20"),
                Task(id: "sh", run: "sh {} visits 5"),
            ]),
            Stage(id: "after", after: ["count"], when: "state.visits == 65", tasks: [Task(id: "all", run: "touch all-counted")]),
        ])"#,
        python.display(),
        shell.display(),
    ));
    place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(place.path("all-counted").exists());
    let said = place.ends(&["ctl", "--session", "s", "messages"], 0);
    for line in ["counted visits up 20 times", "counted visits up 5 times"] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn from_outside_it_lists_and_steers_and_hears_why_not() {
    if !has_python() {
        return;
    }
    let place = Place::with(&format!(
        r#"Workflow(stages: [Stage(id: "s", tasks: [
            Task(id: "long", run: "{}"), Task(id: "roll", run: "touch rolled", after: ["long"]),
        ])])"#,
        wait_for("go-on")
    ));
    let mut run = place.begin();
    let ask = |args: &[&str]| -> Output {
        let mut python = Command::new("python3");
        python.arg(client("client.py")).arg("--session").arg(place.path("state/sessions/s")).args(args);
        python.output().expect("python runs")
    };
    until("the session answers", || ask(&["ps"]).status.success());
    let listed = String::from_utf8(ask(&["ps"]).stdout).expect("text");
    assert!(listed.contains("running    long") && listed.contains("waiting    roll"), "{listed}");
    let held = ask(&["hold", "roll"]);
    assert!(held.status.success() && held.stdout == b"hold roll\n", "{held:?}");
    let refused = ask(&["hold", "rol"]);
    let why = String::from_utf8(refused.stderr).expect("text");
    assert!(refused.status.code() == Some(1) && why.contains("rol"), "{why}");
    assert!(ask(&["release", "roll"]).status.success());
    place.touch("go-on");
    assert_eq!(run.wait().expect("our own child").code(), Some(0));
    assert!(place.path("rolled").exists());
    let gone = ask(&["ps"]);
    assert!(!gone.status.success() && gone.stderr.starts_with(b"client.py: "), "{gone:?}");
}
