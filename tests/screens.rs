//! Screens that have the whole terminal to themselves, as people meet them: the real binary at a real terminal, a robot
//! that types and reads the screen.

mod common;

use common::bytes::{Writer, assert_clean};
use common::robot::Robot;
use common::{Place, QD, wait_for};

const SIZES: [(u16, u16); 3] = [(160, 45), (120, 36), (80, 24)];

/// One stage, one agent with two slots and a lock.
fn flow(tasks: &[(&str, &str, &str)]) -> String {
    let task = |(id, run, more): &(&str, &str, &str)| format!("Task(id: {id:?}, run: {run:?}, {more}),\n");
    format!(
        "Workflow(name: \"robot\", grace: \"500ms\", agents: [Agent(name: \"a\", slots: 2, capabilities: [\"shell\"])],
         resources: {{ \"db\": Lock }},
         stages: [Stage(id: \"main\", tasks: [{}])])",
        tasks.iter().map(task).collect::<String>()
    )
}

fn console(place: &Place, size: (u16, u16)) -> Robot {
    let robot = Robot::start(place, size, QD, &["run", "flow.ron", "--session", "t"], &[]);
    robot.shows("robot ▸ RUNNING");
    robot
}

#[track_caller]
fn stop(robot: &mut Robot) {
    robot.keys("q");
    robot.shows("What should happen to");
    robot.keys("s");
    assert_eq!(robot.end_with_the_terminal_as_before(), 3);
}

// ── the timeline ─────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_timeline_shows_what_ran_what_runs_and_what_waits_and_goes_to_its_task() {
    let lock = "uses: { \"db\": Exclusive }";
    let hold = format!("{}; true", wait_for("go"));
    let tasks = [
        ("quick", "exit 3", ""),
        ("holder", hold.as_str(), lock),
        ("next", "exec sleep 1000", lock),
        ("follows", "true", "after: [\"next\"]"),
    ];
    for size in SIZES {
        let place = Place::with(&flow(&tasks));
        let mut robot = console(&place, size);
        robot.row_says("quick", "failed");
        robot.keys("gt");
        robot.shows("Timeline  by agent");
        robot.shows("no forecast yet");
        robot.keys("t");
        robot.shows("by task");
        let label = |name: &'static str| {
            move |lines: &[String]| {
                lines.iter().any(|line| line.trim_start_matches(['┃', '>', ' ']).starts_with(&format!("{name} ")))
            }
        };
        robot.until("lanes of what ran and what waits", |lines| {
            ["quick", "holder", "next"].iter().all(|name| label(name)(lines)) && !label("follows")(lines)
        });
        robot.shows("s next  lock db");
        robot.keys("n");
        robot.shows("next waits");
        robot.shows("lock db");
        place.touch("go");
        robot.until("what waited runs, and says for what it waited", |lines| {
            let has = |text: &str| lines.iter().any(|line| line.contains(text));
            has("next  running") && has("lock db, given back by holder")
        });
        robot.keys("c");
        robot.shows("critical path only");
        robot.until("two lanes", |lines| label("holder")(lines) && label("next")(lines) && !label("quick")(lines));
        robot.keys("c=-o\x1b[D");
        robot.shows("all of it is in sight");
        // A task is acted on from here, and gone to.
        robot.keys("w");
        robot.shows("runs on a for");
        robot.keys("\x1b");
        robot.shows_no("runs on a for");
        robot.keys("\r");
        robot.shows("1 Queue");
        robot.until("the cursor on it", |lines| {
            common::robot::cursor(lines).is_some_and(|at| lines[at].contains("● next"))
        });
        stop(&mut robot);
        assert_clean("the console", &robot.bytes(), Writer::Console);
    }
}

// ── the graph ────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_graph_is_walked_along_its_edges_and_a_task_acted_on() {
    let on = wait_for("go");
    let tasks = [
        ("first", on.as_str(), ""),
        ("middle", "exec sleep 1000", "after: [\"first\"]"),
        ("last", "true", "after: [\"middle\"]"),
        ("other", "true", "after: [\"middle\"]"),
    ];
    for size in SIZES {
        let place = Place::with(&flow(&tasks));
        let mut robot = console(&place, size);
        robot.go_to("middle");
        robot.keys("gd");
        robot.shows("around middle");
        robot.until("what it needs and what needs it", |lines| {
            lines.iter().any(|line| line.contains("● first") && line.contains("▸"))
                && lines.iter().any(|line| line.contains("○ last"))
        });
        robot.shows("middle  waiting");
        robot.keys("l");
        robot.shows("needs middle");
        place.touch("go");
        robot.until("it runs", |lines| lines.iter().any(|line| line.contains("● middle")));
        robot.keys("h");
        robot.shows("middle  running");
        robot.keys("h");
        robot.shows("first  done");
        robot.keys("h");
        robot.shows("first waits for nothing");
        robot.keys("l");
        robot.shows("middle  running");
        robot.keys("x");
        robot.shows("Cancel middle?");
        robot.keys("n");
        robot.shows_no("Cancel middle?");
        robot.keys("c");
        robot.keys("\r");
        robot.shows("1 Queue");
        stop(&mut robot);
        assert_clean("the console", &robot.bytes(), Writer::Console);
    }
}
