//! `qd attach`: several consoles on one session, at real terminals. All see one truth, and who did what is told.

mod common;

use common::bytes::{Writer, assert_clean};
use common::robot::Robot;
use common::{Place, QD, until, wait_for};

const WIDE: (u16, u16) = (120, 36);

fn place() -> Place {
    Place::with(&format!(
        r#"Workflow(name: "shared", grace: "200ms", agents: [Agent(name: "a", slots: 1)], stages: [Stage(id: "main", tasks: [
            Task(id: "gate", run: "\"$QD_BIN\" progress 30% linking; {}"),
            Task(id: "first", run: "echo words of first"), Task(id: "second", run: "true"),
            Task(id: "ask", type: Approval("Ship it?")), Task(id: "ship", after: ["ask"], run: "true")])])"#,
        wait_for("go")
    ))
}

fn console(place: &Place) -> Robot {
    let robot = Robot::qd(place, WIDE, &["run", "flow.ron", "--session", "s"]);
    robot.shows("shared ▸ RUNNING");
    robot
}

fn attach(place: &Place, more: &[&str]) -> Robot {
    let robot = Robot::start(place, WIDE, QD, &[&["attach", "s"], more].concat(), &[]);
    robot.shows("shared ▸ RUNNING");
    robot.shows(" attached");
    robot
}

#[test]
fn what_is_done_at_one_console_is_seen_at_all_and_told_with_who_did_it() {
    let place = place();
    let mut first = console(&place);
    let mut ana = attach(&place, &["--as", "ana"]);
    let bo = attach(&place, &["--as", "bo"]);
    ana.row_says("gate", "30 %");
    ana.go_to("second");
    ana.keys("++-+");
    ana.row_says("second", " 10 ");
    for console in [&first, &ana, &bo] {
        console.order(&["gate", "second", "first"]);
    }
    first.keys("uuuu");
    for console in [&first, &ana, &bo] {
        console.order(&["gate", "first", "second"]);
    }
    ana.go_to("ask");
    ana.keys("A");
    ana.shows("Ship it?");
    ana.keys("y");
    bo.row_says("ask", "done");
    // one leaves, and nothing changes for the others
    ana.keys("q");
    assert_eq!(ana.end_with_the_terminal_as_before(), 0);
    place.touch("go");
    first.shows("FINISHED");
    bo.shows("FINISHED");
    let why = place.ends(&["ctl", "why", "ask", "--session", "s"], 0);
    assert!(why.contains("ana"), "{why}");
    first.keys("q");
    assert_eq!(first.end_with_the_terminal_as_before(), 0);
    let mut bo = bo;
    assert_eq!(bo.end_with_the_terminal_as_before(), 0, "the session has ended");
    assert!(place.journal("s").iter().any(|line| line.contains("by:Client(\"ana\")")));
    for console in [&first, &ana, &bo] {
        assert_clean("a console", &console.bytes(), Writer::Console);
    }
}

#[test]
fn who_only_looks_changes_nothing_and_one_whose_session_dies_says_so() {
    let place = place();
    let run = place.begin();
    until("it runs", || place.journal("s").iter().any(|line| line.contains("fact:Running(")));
    let mut looks = attach(&place, &["--read-only"]);
    looks.shows("read-only");
    looks.go_to("second");
    looks.keys("+");
    looks.shows("read-only: attached to look");
    looks.order(&["gate", "first", "second"]);
    place.kill(run);
    assert_eq!(looks.end_with_the_terminal_as_before(), 3);
    looks.shows("its console is gone");
    let refused = place.qd(&["attach", "s"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("is run by no console") && said.contains("qd resume s"), "{said}");
    place.touch("go");
    place.ends(&["resume", "s", "--approve", "ask"], 0);
}
