//! `qd replay`: every moment of every recording is what the facts before it give, and the real binary at a real terminal shows
//! a session as it was, and changes nothing.

mod common;

use std::fs;
use std::path::Path;

use common::bytes::{Writer, assert_clean};
use common::robot::Robot;
use common::{Place, QD, wait_for};
use quarterdeck::engine::state::State;
use quarterdeck::replay::{Head, Tape};
use quarterdeck::session::journal::read::read;

#[test]
fn every_moment_of_every_recording_is_what_the_facts_before_it_give() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sessions/golden");
    let mut recordings = 0;
    for entry in fs::read_dir(folder).expect("the folder is part of the repository") {
        let Ok(found) = read(&entry.expect("readable").path().join("journal")) else { continue };
        recordings += 1;
        let tape = Tape::of(found.facts.clone());
        let mut states = vec![State::default()];
        for stamped in &found.facts {
            let mut next = states.last().expect("there is one").clone();
            next.apply(stamped);
            states.push(next);
        }
        let mut head = Head::at_start(&tape);
        // There and back, in strides that meet every fact.
        let count = found.facts.len();
        for place in (0..=count).rev().chain((0..=count).map(|n| n * 7 % (count + 1))) {
            head.go_to(&tape, place);
            assert!(*head.state() == states[place], "after {place} facts");
        }
    }
    assert!(recordings > 5);
}

const FLOW: &str = r#"Workflow(name: "taped", stages: [Stage(id: "s", tasks: [
    Task(id: "good", run: "echo well"), Task(id: "bad", after: ["good"], run: "echo oh no; exit 3"),
    Task(id: "last", after: ["bad"], run: "true"),
])])"#;

#[test]
fn a_session_is_seen_as_it_was_and_nothing_is_changed() {
    let place = Place::with(FLOW);
    place.ends(&["run", "flow.ron", "--session", "t"], 1);
    let before = fs::read(place.path("state/sessions/t/journal")).expect("a journal");
    for size in [(160, 45), (120, 36), (80, 24)] {
        let mut robot = Robot::start(&place, size, QD, &["replay", "t"], &[]);
        robot.shows("taped ▸ REPLAY");
        robot.shows("0/3");
        robot.keys("n");
        robot.row_says("bad", "failed");
        robot.keys(".");
        robot.keys(",");
        robot.row_says("bad", "failed");
        robot.keys("x");
        robot.shows("read-only: replay");
        robot.shows("fact ");
        robot.keys("P");
        robot.shows("read-only: replay");
        robot.send(b"\x1b[H");
        robot.row_says("bad", "waiting");
        robot.keys("N");
        robot.shows("no mark before this");
        robot.send(b"\x1b[F");
        robot.row_says("last", "blocked");
        robot.keys(" ");
        robot.shows("▸ ");
        robot.keys("q");
        assert_eq!(robot.end_with_the_terminal_as_before(), 0);
        assert_clean("the console", &robot.bytes(), Writer::Console);
    }
    assert_eq!(fs::read(place.path("state/sessions/t/journal")).expect("a journal"), before);
    place.ends(&["replay", "t"], 2);
    place.ends(&["replay", "none"], 2);
}

#[test]
fn a_running_session_is_looked_back_on_and_goes_on_meanwhile() {
    let flow = FLOW.replace("echo well", &wait_for("go"));
    let place = Place::with(&flow);
    let mut robot = Robot::start(&place, (120, 36), QD, &["run", "flow.ron", "--session", "t"], &[]);
    robot.shows("taped ▸ RUNNING");
    robot.row_says("good", "running");
    robot.keys("gr");
    robot.shows("taped ▸ REPLAY");
    place.touch("go");
    robot.send(b"\x1b[H");
    robot.row_says("good", "ready");
    robot.keys("x");
    robot.shows("read-only: replay");
    robot.keys("gr");
    robot.shows("this is a replay already");
    robot.keys("L");
    robot.row_says("bad", "failed");
    robot.shows("taped ▸ FINISHED");
    robot.keys("L");
    robot.keys("gr");
    robot.shows("taped ▸ REPLAY");
    robot.row_says("bad", "failed");
    robot.keys("q");
    robot.shows("taped ▸ FINISHED");
    robot.keys("q");
    assert_eq!(robot.end_with_the_terminal_as_before(), 1);
}
