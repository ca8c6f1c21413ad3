//! The console as people meet it: the real binary at a real terminal, driven by a robot that types and reads the screen.
//! It waits for what is on the screen or in a file, never for a time, so it is as steady on a busy machine as on an idle
//! one. `QD_TEST_BLOCK_S` says for how long the terminal takes nothing in the test of that (6 s; CI: 30 s).

mod common;

use std::time::{Duration, Instant};

use common::bytes::{HOSTILE, Writer, assert_clean};
use common::robot::{Robot, cursor, row_of};
use common::{Place, QD, until, wait_for};

const WIDE: (u16, u16) = (120, 36);
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/demo.ron");
/// Runs until it is stopped.
const FOR_EVER: &str = "exec sleep 1000";

/// One stage, one agent.
fn flow(slots: usize, tasks: &[String]) -> String {
    format!(
        "Workflow(name: \"robot\", grace: \"500ms\", agents: [Agent(name: \"a\", slots: {slots}, capabilities: [\"shell\"])],
         resources: {{ \"db\": Lock }}, fallbacks: {{ \"plan-b\": Alternative(run: \"touch plan-b-ran\") }},
         stages: [Stage(id: \"main\", tasks: [{}])])",
        tasks.concat()
    )
}

fn task(id: &str, run: &str, more: &str) -> String {
    format!("Task(id: {id:?}, run: {run:?}, {more}),\n")
}

fn console(place: &Place, size: (u16, u16)) -> Robot {
    let robot = Robot::qd(place, size, &["run", "flow.ron", "--session", "t"]);
    robot.shows("robot ▸ RUNNING");
    robot
}

/// Leaves a session in which nothing runs any more.
#[track_caller]
fn quit(robot: &mut Robot) -> i32 {
    robot.keys("q");
    robot.end_with_the_terminal_as_before()
}

/// Leaves a session whose tasks run for ever.
#[track_caller]
fn stop(robot: &mut Robot) -> i32 {
    robot.keys("q");
    robot.shows("What should happen to");
    robot.keys("s");
    robot.end_with_the_terminal_as_before()
}

// ── start ────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_demo_shows_its_first_frame_at_once() {
    let place = Place::new();
    let mut robot = Robot::qd(&place, WIDE, &["run", DEMO, "--session", "t"]);
    robot.until("the first frame", |lines| lines[0].contains("release-2.4") && row_of(lines, "checkout").is_some());
    let took = robot.began.elapsed();
    println!("first frame of the demo after {took:.1?}");
    assert!(took < Duration::from_secs(10), "first frame after {took:?}");
    assert_eq!(stop(&mut robot), 3);
    assert_clean("the console", &robot.bytes(), Writer::Console);
}

// ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_raised_task_moves_up_and_is_started_next_and_undo_takes_it_back() {
    let tasks = [
        task("gate", &wait_for("go"), ""),
        task("first", "true", ""),
        task("second", "true", ""),
        task("third", "true", ""),
    ];
    let place = Place::with(&flow(1, &tasks));
    let mut robot = console(&place, WIDE);
    robot.order(&["gate", "first", "second", "third"]);
    robot.go_to("third");
    robot.keys("+");
    robot.order(&["gate", "third", "first", "second"]);
    robot.row_says("third", " 5 ");
    robot.keys("u");
    robot.order(&["gate", "first", "second", "third"]);
    robot.keys("U");
    robot.order(&["gate", "third", "first", "second"]);
    robot.keys("20+");
    robot.row_says("third", " 25 ");
    robot.keys("4-");
    robot.row_says("third", " 25 ");
    robot.keys("1---");
    robot.row_says("third", " 10 ");
    place.touch("go");
    robot.shows("FINISHED");
    assert_eq!(quit(&mut robot), 0);
    assert_eq!(place.started("t"), [0, 3, 1, 2]);
}

#[test]
fn what_asks_is_approved_and_rejected_by_keys_after_a_question() {
    let tasks = [
        r#"Task(id: "ask", type: Approval("Ship it?")),"#.to_owned(),
        r#"Task(id: "other", type: Approval("And this?")),"#.to_owned(),
        task("ship", "true", "after: [\"ask\"]"),
    ];
    let place = Place::with(&flow(1, &tasks));
    let mut robot = console(&place, WIDE);
    robot.shows("asks: Ship it?");
    robot.go_to("ask");
    robot.keys("A");
    robot.shows("Approve ask?");
    robot.until("the question in the dialog", |lines| {
        lines.iter().filter(|line| line.contains("asks: Ship it?")).count() > 1
    });
    robot.keys("n");
    robot.row_says("ask", "awaiting");
    robot.keys("Ay");
    robot.row_says("ship", "done");
    robot.go_to("other");
    robot.keys("D");
    robot.shows("Reject other?");
    robot.keys("y");
    robot.row_says("other", "failed");
    robot.shows("FINISHED");
    assert_eq!(quit(&mut robot), 1);
}

#[test]
fn tasks_are_written_changed_and_removed_by_keys_and_each_is_taken_back() {
    let tasks = [
        task("first", &wait_for("go"), ""),
        task("late", "touch late", "after: [\"first\"]"),
        task("gone", "touch gone", "after: [\"first\"]"),
    ];
    let place = Place::with(&flow(2, &tasks));
    let mut robot = console(&place, WIDE);
    robot.go_to("late");
    robot.keys("e");
    robot.shows("Edit late");
    robot.shows("run: \"touch late\", after: [\"first\"]");
    robot.keys(", timeout: \"x\"");
    robot.shows("a length of time");
    robot.send(b"\r");
    robot.shows("Edit late");
    // what is wrong stays open; what is right is done
    robot.send(b"\x7f\x7f9s\"");
    robot.shows_no("a length of time");
    robot.send(b"\r");
    robot.shows("edit late");
    robot.shows_no("Edit late");
    robot.keys("u");
    robot.shows("undone: edit late");
    robot.keys("n");
    robot.shows("New task");
    // home, and into the first pair of quotes; to the end, and out of the second
    robot.send(b"\x1b[H");
    robot.send(b"\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C");
    robot.keys("extra");
    robot.shows("`run` is empty");
    robot.send(b"\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C");
    robot.keys("touch extra");
    robot.shows_no("`run` is empty");
    robot.send(b"\r");
    robot.shows("add extra");
    robot.row_says("extra", "done");
    robot.go_to("gone");
    robot.keys(":remove");
    robot.send(b"\r");
    robot.shows("Remove gone from the workflow?");
    robot.keys("y");
    robot.shows("remove gone");
    robot.until("its row is gone", |lines| row_of(lines, "gone").is_none());
    place.touch("go");
    robot.shows("FINISHED");
    assert_eq!(quit(&mut robot), 0);
    assert!(place.path("late").exists() && place.path("extra").exists() && !place.path("gone").exists());
}

#[test]
fn what_is_marked_is_cancelled_at_once_after_a_preview_and_taken_back_at_once() {
    let tasks = [
        task("first", FOR_EVER, ""),
        task("left", "true", "after: [\"first\"]"),
        task("right", "true", "after: [\"first\"]"),
        task("end", "true", "after: [\"left\", \"right\"]"),
    ];
    let place = Place::with(&flow(2, &tasks));
    let mut robot = console(&place, WIDE);
    robot.row_says("first", "running");
    robot.go_to("left");
    // marked, and the cursor goes on to the next, in one breath
    robot.keys("  x");
    robot.shows("Cancel 2 marked tasks?");
    robot.shows("waiting   2: left, right");
    robot.shows("1 more task blocked");
    robot.shows("undo      u takes it back");
    robot.keys("y");
    robot.row_says("left", "cancelled");
    robot.row_says("right", "cancelled");
    robot.row_says("end", "blocked");
    robot.shows("2 marked");
    robot.keys("u");
    robot.row_says("left", "waiting");
    robot.row_says("right", "waiting");
    robot.row_says("end", "waiting");
    // all that pass the filter; what runs already cannot be held
    robot.keys("*p");
    robot.shows("Hold 3 of 4 marked tasks?");
    robot.shows("left out  1: first (running)");
    robot.keys("y");
    robot.row_says("end", "held");
    robot.send(b"\x1b");
    robot.shows_no("marked");
    assert_eq!(stop(&mut robot), 3);
}

#[test]
fn a_limit_is_raised_and_lowered_in_the_locks_pane_and_by_the_palette() {
    let tasks = [1, 2, 3].map(|n| task(&format!("t{n}"), FOR_EVER, "tags: [\"few\"]"));
    let text = flow(4, &tasks).replace("resources: { \"db\": Lock }", "controls: [TagLimit(\"few\", 1)]");
    let place = Place::with(&text);
    let mut robot = console(&place, WIDE);
    robot.row_says("t1", "running");
    robot.row_says("t2", "limit of tag few");
    robot.keys("3+");
    robot.shows("limit of tag few to 2");
    robot.row_says("t2", "running");
    robot.row_says("t3", "limit of tag few");
    robot.keys("u");
    robot.shows("undone: limit of tag few to 2");
    robot.keys(":limit: one task less\r");
    robot.shows("at most 1 run at once");
    robot.row_says("t3", "1 run already");
    assert_eq!(stop(&mut robot), 3);
}

#[test]
fn a_fallback_takes_the_place_of_a_task_that_runs_waits_or_fails() {
    let with = "fallback: [\"plan-b\"]";
    let tasks = [
        task("gate", &wait_for("go"), ""),
        task("live", FOR_EVER, with),
        task("flaky", "exit 7", &format!("retry: Retry(attempts: 3, backoff: Fixed(\"1h\")), {with}")),
        task("later", "touch later-ran", &format!("after: [\"gate\"], {with}")),
    ];
    let place = Place::with(&flow(4, &tasks));
    let mut robot = console(&place, WIDE);
    robot.row_says("live", "running");
    robot.row_says("flaky", "exit 7, retry 2/3");
    for name in ["live", "flaky"] {
        robot.go_to(name);
        robot.keys("b");
        robot.shows("now    plan-b: runs in its place: touch plan-b-ran");
        robot.keys("y");
        robot.row_says(name, "by fallback plan-b");
    }
    robot.go_to("later");
    robot.keys("b");
    robot.shows("Fallback of later?");
    robot.keys("y");
    robot.row_says("later", "plan-b");
    place.touch("go");
    robot.shows("FINISHED");
    robot.shows("4/4 ✓");
    robot.row_says("later", "by fallback plan-b");
    assert_eq!(quit(&mut robot), 0);
    assert!(place.path("plan-b-ran").exists() && !place.path("later-ran").exists());
}

#[test]
fn hold_cancel_kill_retry_pause_and_skip_do_what_they_say() {
    let tasks = [
        task("gate", &wait_for("go"), ""),
        task("one", FOR_EVER, ""),
        task("two", "trap '' TERM; while :; do sleep 0.05; done", ""),
        task("fails", "[ -e fixed ]", ""),
        task("kept", "touch kept-ran", "after: [\"gate\"]"),
        task("extra", "touch extra-ran", "after: [\"gate\"]"),
    ];
    let place = Place::with(&flow(4, &tasks));
    let mut robot = console(&place, WIDE);
    robot.go_to("kept");
    robot.keys("p");
    robot.row_says("kept", "held by you");
    robot.keys("p");
    robot.row_says("kept", "needs gate");
    robot.keys("p");
    robot.row_says("kept", "held by you");

    robot.row_says("fails", "exit 1");
    robot.shows("1 alert");
    robot.keys("P");
    robot.shows("PAUSED");
    place.touch("fixed");
    robot.go_to("fails");
    robot.keys("r");
    robot.row_says("fails", "session paused");
    robot.keys("P");
    robot.shows("RUNNING");
    robot.row_says("fails", "done");
    robot.shows_no("1 alert");

    robot.go_to("one");
    robot.keys("x");
    robot.shows("Cancel one?");
    robot.keys("\r");
    robot.shows_no("Cancel one?");
    robot.row_says("one", "running");
    robot.keys("x");
    robot.shows("[ No, keep ]");
    robot.keys("y");
    robot.row_says("one", "cancelled");
    robot.go_to("two");
    robot.keys("X");
    robot.shows("Kill two now?");
    robot.keys("y");
    robot.row_says("two", "cancelled");

    robot.go_to("extra");
    robot.keys(":skip");
    robot.shows("skip the task");
    robot.keys("\r");
    robot.row_says("extra", "skipped");

    place.touch("go");
    robot.row_says("gate", "done");
    robot.row_says("kept", "held by you");
    robot.go_to("kept");
    robot.keys("p");
    robot.row_says("kept", "done");
    robot.shows("FINISHED");
    assert_eq!(quit(&mut robot), 3);
    assert!(place.path("kept-ran").exists() && !place.path("extra-ran").exists());
}

// ── looking about ────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn filter_why_help_palette_themes_and_mouse_answer() {
    let tasks = [
        task("holder", &wait_for("go"), "uses: { \"db\": Exclusive }, priority: 9"),
        task("bad", "echo spoiled; exit 9", ""),
        task("next-1", "true", "uses: { \"db\": Exclusive }, priority: 7"),
        task("next-2", "true", "uses: { \"db\": Exclusive }"),
        task("after-all", "true", "after: [\"next-*\"]"),
    ];
    let place = Place::with(&flow(4, &tasks));
    let mut robot = console(&place, WIDE);
    let all = ["holder", "bad", "next-1", "next-2", "after-all"];
    let only = |want: &[&str]| {
        robot.until(&format!("only {want:?}"), |lines| {
            all.iter().all(|task| row_of(lines, task).is_some() == want.contains(task))
        });
    };
    only(&all);
    robot.row_says("bad", "exit 9");
    let filters: [(&str, &[&str]); 6] = [
        ("state:failed", &["bad"]),
        ("lock:db", &["holder", "next-1", "next-2"]),
        ("lock:db prio=7", &["next-1"]),
        ("-lock:db -state:failed", &["after-all"]),
        ("NEXT", &["next-1", "next-2"]),
        ("nothing-is-called-so", &[]),
    ];
    for (text, want) in filters {
        robot.keys("/");
        robot.shows("Filter");
        robot.keys(text);
        only(want);
        robot.keys("\r");
        robot.shows(&format!("filter {text}"));
        robot.keys("\x1b");
        only(&all);
    }
    robot.keys("/prio>x\r");
    robot.shows("▲");
    robot.keys("\x1b");
    robot.shows_no("Filter");
    for (keys, want) in [("ff", &["bad"][..]), ("fr", &["holder"]), ("fa", &all)] {
        robot.keys(keys);
        only(want);
    }

    robot.go_to("next-2");
    robot.keys("w");
    robot.shows("Why next-2");
    robot.shows("lock db (exclusive) is held");
    robot.shows("holder holder (exclusive)");
    robot.shows("line: 1 next-1  2 next-2");
    robot.keys("\x1b");
    robot.shows_no("Why next-2");

    robot.keys("?");
    robot.shows("show all keys");
    robot.shows("filter the queue: state:failed");
    robot.keys("G");
    robot.shows("A list to choose from");
    robot.keys("\x1b");
    robot.shows_no("A list to choose from");

    robot.keys(":retry");
    robot.shows("not possible: next-2 is ready");
    robot.keys("\x1b");
    robot.shows_no("not possible");

    robot.keys("T");
    robot.shows("high-contrast");
    robot.keys("j\r");
    robot.shows("theme ");

    let at = row_of(&robot.lines(), "bad").expect("it is there");
    robot.keys(&format!("\x1b[<0;12;{}M\x1b[<0;12;{}m", at + 1, at + 1));
    robot.until("the cursor on the clicked line", |lines| cursor(lines) == row_of(lines, "bad"));
    robot.shows("spoiled");
    place.touch("go");
    robot.shows("FINISHED");
    assert_eq!(quit(&mut robot), 1);
}

#[test]
fn the_cursor_goes_along_with_what_runs_until_a_key_is_pressed() {
    let tasks = ["first", "second", "third"].map(|name| {
        let after = match name {
            "second" => "after: [\"first\"]",
            "third" => "after: [\"second\"]",
            _ => "",
        };
        task(name, &format!("echo says {name}; {}", wait_for(&format!("{name}-go"))), after)
    });
    let place = Place::with(&flow(1, &tasks));
    let mut robot = console(&place, (80, 24));
    let on = |task: &str| {
        robot.until(&format!("the cursor on {task}"), |lines| {
            cursor(lines).is_some() && cursor(lines) == row_of(lines, task)
        });
    };
    on("first");
    robot.shows("says first");
    place.touch("first-go");
    on("second");
    robot.shows("says second");
    robot.keys("w");
    robot.shows("Why second");
    robot.keys("\x1b");
    robot.shows_no("Why second");
    place.touch("second-go");
    robot.row_says("third", "running");
    on("second");
    place.touch("third-go");
    robot.shows("FINISHED");
    on("second");
    assert_eq!(quit(&mut robot), 0);
}

#[test]
fn the_screen_follows_the_size_of_the_terminal_down_to_nothing_and_back() {
    let place = Place::with(&flow(1, &[task("work", FOR_EVER, ""), task("wait", "true", "")]));
    let mut robot = console(&place, WIDE);
    let whole = |robot: &Robot| {
        robot.resize(120, 36);
        robot.until("the whole screen", |lines| {
            lines.len() == 36 && lines[3].contains("2 Agents") && lines[35].contains("q quit")
        });
    };
    robot.resize(40, 12);
    robot.until("the list", |lines| {
        lines.len() == 12 && row_of(lines, "work").is_some() && !lines.concat().contains('┃')
    });
    robot.resize(80, 24);
    robot.until("the tabs", |lines| lines[2].contains("1 Queue  2 Agents") && lines[23].contains("q quit"));
    robot.resize(160, 45);
    robot.until("all panes", |lines| lines.concat().contains("6 Why") && lines.concat().contains("5 Log"));
    whole(&robot);
    for (columns, rows) in [(100, 29), (39, 11), (1, 1), (0, 0), (20, 2), (3, 200)] {
        robot.resize(columns, rows);
        // A key is still a key: P pauses and P goes on.
        robot.keys("P");
        whole(&robot);
        robot.shows("PAUSED");
        robot.keys("P");
        robot.shows("RUNNING");
    }
    for n in 0..60u16 {
        robot.resize(30 + n * 2, 10 + n % 30);
    }
    whole(&robot);
    robot.redraw_changes_nothing();
    assert_eq!(stop(&mut robot), 3);
}

// ── the terminal ─────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn ctrl_z_gives_the_shell_back_and_fg_the_console_while_tasks_go_on() {
    let tick = "n=0; while :; do n=$((n+1)); echo $n > ticks; sleep 0.05; done";
    let place = Place::with(&flow(1, &[task("tick", tick, "")]));
    let args = ["--norc", "--noprofile", "-i"];
    let mut robot = Robot::start(&place, (100, 30), "bash", &args, &[("QD", QD)]);
    let ticks = || std::fs::read_to_string(place.path("ticks")).ok().and_then(|text| text.trim().parse::<u64>().ok());
    robot.shows("prompt>");
    robot.keys("\"$QD\" run flow.ron --session t\r");
    robot.shows("robot ▸ RUNNING");
    for round in 0..5 {
        robot.keys("\x1a");
        robot.until("the shell", |lines| lines.concat().contains("Stopped"));
        robot.ask(|screen| {
            assert!(!screen.alternate_screen() && !screen.hide_cursor(), "round {round}");
            assert!(!screen.bracketed_paste() || screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None);
        });
        let before = ticks();
        until("the task to go on", || ticks() > before);
        robot.keys("clear\r");
        robot.shows_no("Stopped");
        robot.keys("fg\r");
        robot.shows("robot ▸ RUNNING");
        robot.until("the console", |_| robot.ask(|screen| screen.alternate_screen() && screen.hide_cursor()));
    }
    robot.keys("qs");
    robot.shows("session t");
    robot.keys("echo code=$?\r");
    robot.shows("code=3");
    robot.keys("exit\r");
    robot.end_with_the_terminal_as_before();
}

#[test]
fn a_detached_session_goes_on_without_a_console_and_resume_brings_it_to_its_end() {
    let first = format!("{}; echo once >> first-ran", wait_for("go"));
    let tasks = [task("first", &first, ""), task("second", "touch second-ran", "after: [\"first\"]")];
    let place = Place::with(&flow(1, &tasks));
    let mut robot = console(&place, WIDE);
    robot.row_says("first", "running");
    robot.keys("q");
    robot.shows("1 task is running. What should happen to it?");
    robot.keys("\x1b");
    robot.shows_no("What should happen");
    robot.keys("qd");
    assert_eq!(robot.end_with_the_terminal_as_before(), 3);
    robot.shows("go on with: qd resume t");
    place.touch("go");
    place.await_file("first-ran");
    assert!(!place.path("second-ran").exists(), "nothing new starts without a console");
    let resumed = place.qd(&["resume", "t", "--headless"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stdout));
    assert!(place.path("second-ran").exists());
    assert_eq!(std::fs::read_to_string(place.path("first-ran")).expect("it ran"), "once\n");
    assert_eq!(place.started("t"), [0, 1]);
}

#[test]
fn finishing_what_runs_starts_nothing_new() {
    let first = format!("{}; touch first-ran", wait_for("go"));
    let tasks = [task("first", &first, ""), task("second", "touch second-ran", "")];
    let place = Place::with(&flow(1, &tasks));
    let mut robot = console(&place, WIDE);
    robot.row_says("first", "running");
    robot.keys("qw");
    robot.shows("DRAINING");
    place.touch("go");
    assert_eq!(robot.end_with_the_terminal_as_before(), 3);
    assert!(place.path("first-ran").exists() && !place.path("second-ran").exists());
}

#[test]
fn stopping_ends_what_runs_and_a_third_ctrl_c_kills_it() {
    let pid = "echo $$ > pid; ";
    for (run, keys) in
        [(format!("{pid}{FOR_EVER}"), "qs"), (format!("{pid}trap '' TERM; while :; do sleep 0.05; done"), "")]
    {
        let place = Place::with(&flow(1, &[task("work", &run, "")]).replace("500ms", "10m"));
        let mut robot = console(&place, WIDE);
        until("the task", || std::fs::read_to_string(place.path("pid")).is_ok_and(|text| text.ends_with('\n')));
        let text = std::fs::read_to_string(place.path("pid")).expect("just seen");
        let alive = || std::path::Path::new(&format!("/proc/{}", text.trim())).exists();
        assert!(alive());
        if keys.is_empty() {
            robot.keys("\x03");
            robot.shows("What should happen to it?");
            robot.keys("\x03");
            robot.shows("STOPPING");
            assert!(alive(), "it has ten minutes");
            robot.keys("\x03");
        } else {
            robot.keys(keys);
        }
        assert_eq!(robot.end_with_the_terminal_as_before(), 3);
        assert!(!alive());
    }
}

#[test]
fn tasks_go_on_in_time_while_the_terminal_takes_nothing() {
    let seconds = block_seconds();
    let (done, robot) = ends_while_deaf(seconds, &[]);
    assert!(done, "the chain did not end while the terminal was blocked for {seconds} s");
    robot.shows("the display was blocked for");
    robot.shows("FINISHED");
    let mut robot = robot;
    assert_eq!(quit(&mut robot), 0);
}

/// The test above can fail: here the session's loop waits for the screen, as it would without a thread for it.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "the switch is in debug builds only")]
fn without_a_thread_of_its_own_the_display_would_hold_the_tasks_up() {
    let (done, robot) = ends_while_deaf(4, &[("QD_OFF", "display_thread")]);
    assert!(!done, "the switch does nothing");
    let mut robot = robot;
    robot.shows("FINISHED");
    assert_eq!(quit(&mut robot), 0);
}

fn block_seconds() -> u64 {
    std::env::var("QD_TEST_BLOCK_S").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Whether a chain of short tasks ends while the terminal takes nothing for so long.
fn ends_while_deaf(seconds: u64, more: &[(&str, &str)]) -> (bool, Robot) {
    let links = seconds * 2;
    let mut tasks = vec![task("gate", &wait_for("go"), "")];
    let mut before = "gate".to_owned();
    for n in 0..links {
        let name = format!("link-{n}");
        tasks.push(task(&name, "sleep 0.1", &format!("after: [{before:?}]")));
        before = name;
    }
    // Leaked on purpose: the robot outlives this function, and the folder must outlive the robot.
    let place: &'static Place = Box::leak(Box::new(Place::with(&flow(2, &tasks))));
    let robot = Robot::start(place, (160, 45), QD, &["run", "flow.ron", "--session", "t"], more);
    robot.shows("robot ▸ RUNNING");
    robot.row_says("gate", "running");
    robot.deafen(true);
    // Each is a whole frame: far more than a terminal holds that nobody reads. A key at a time, so that none is left out.
    for _ in 0..40 {
        robot.keys("\x0c");
        std::thread::sleep(Duration::from_millis(25));
    }
    place.touch("go");
    let began = Instant::now();
    let ended = || place.journal("t").iter().filter(|line| line.contains("fact:Ended(")).count() as u64 == links + 1;
    let mut done = false;
    while began.elapsed() < Duration::from_secs(seconds) {
        done |= ended();
        std::thread::sleep(Duration::from_millis(20));
    }
    robot.deafen(false);
    (done, robot)
}

// ── what others wrote ────────────────────────────────────────────────────────────────────────────────────────────────

/// A task for each kind of hostile output, which fails so that its last lines are shown; one with a hostile command.
fn hostile(place: &Place) -> Vec<String> {
    let mut tasks = Vec::new();
    for (n, (_, bytes)) in HOSTILE.iter().enumerate() {
        std::fs::write(place.path(&format!("h{n}")), bytes).expect("it is written");
        tasks.push(task(&format!("h{n}"), &format!("cat h{n}; echo; cat h{n} >&2; exit 1"), ""));
    }
    let all: Vec<u8> = HOSTILE.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let text = String::from_utf8_lossy(&all).replace('\0', "");
    tasks.push(task("command", &format!("false '{text}'"), ""));
    tasks
}

#[test]
fn hostile_output_reaches_the_terminal_as_plain_text_only() {
    let place = Place::new();
    let tasks = hostile(&place);
    std::fs::write(place.path("flow.ron"), flow(4, &tasks)).expect("it is written");
    let mut robot = console(&place, (160, 45));
    robot.shows("FINISHED");
    robot.keys("gg");
    for _ in 0..HOSTILE.len() {
        robot.until("its log", |lines| lines.concat().contains("attempt 1"));
        robot.redraw_changes_nothing();
        robot.keys("w");
        robot.shows("Why h");
        robot.keys("\x1b");
        robot.shows_no("Why h");
        robot.redraw_changes_nothing();
        robot.keys("j");
    }
    robot.go_to("command");
    robot.keys("6d");
    robot.shows("command");
    robot.keys("d!");
    robot.shows("Alerts");
    robot.keys("\x1b");
    robot.shows_no("Alerts");
    robot.keys("@");
    robot.shows("Who did what");
    robot.keys("\x1b");
    robot.shows_no("Who did what");
    assert_eq!(quit(&mut robot), 1);
    assert_clean("the console", &robot.bytes(), Writer::Console);

    let plain = |what: &str, args: &[&str]| {
        let output = place.qd(args);
        assert_clean(what, &output.stdout, Writer::Plain);
        assert_clean(what, &output.stderr, Writer::Plain);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let lines = plain("headless", &["run", "flow.ron", "--headless", "--session", "h"]);
    assert!(lines.contains("failed    h0: exit 1"), "{lines}");
    plain("JSON", &["run", "flow.ron", "--json", "--session", "j"]);
    plain("sessions", &["sessions"]);
    for n in 0..HOSTILE.len() {
        plain("log", &["log", "t", &format!("h{n}")]);
        plain("why", &["why", "t", &format!("h{n}")]);
    }
    plain("why", &["why", "t", "command"]);
    plain("why as JSON", &["why", "t", "command", "--json"]);
}

#[test]
fn error_messages_hold_nothing_that_a_terminal_obeys() {
    let place = Place::with(
        "Workflow(stages: [Stage(id: \"m\u{1b}[2J\", tasks: [Task(id: \"\u{202e}x\", run: \"\u{9b}2J\", nonsense: 1)])])",
    );
    std::fs::write(place.path("raw.ron"), b"Workflow(\x1b]52;c;AAAA\x07 \xff\x9b2J").expect("it is written");
    let evil = "\u{1b}]52;c;AAAA\u{7}\u{1b}[2J\u{9b}3J\u{202e}x";
    let lists: [&[&str]; 14] = [
        &["check", "flow.ron"],
        &["run", "flow.ron", "--headless"],
        &["check", "raw.ron"],
        &["run", evil],
        &["check", evil],
        &["resume", evil],
        &["why", evil, evil],
        &["log", evil, evil],
        &["repair", evil],
        &["run", "flow.ron", "--session", evil],
        &["run", "flow.ron", "--theme", evil],
        &["run", "flow.ron", "--param", evil],
        &[evil],
        &["--trust", evil, evil],
    ];
    for args in lists {
        let output = place.qd(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_clean(&format!("{args:?}"), &output.stdout, Writer::Plain);
        assert_clean(&format!("{args:?}"), &output.stderr, Writer::Plain);
        // At a terminal there are colours, and nothing else.
        let mut robot = Robot::qd(&place, (80, 24), args);
        assert_eq!(robot.end_with_the_terminal_as_before(), 2, "{args:?}");
        assert_clean(&format!("{args:?} at a terminal"), &robot.bytes(), Writer::Console);
    }
}

#[test]
fn a_paste_of_a_megabyte_is_no_keys_and_runs_nothing() {
    let place = Place::with(&flow(1, &[task("work", FOR_EVER, ""), task("wait", "true", "")]));
    let mut robot = console(&place, WIDE);
    robot.row_says("work", "running");
    let text = "x\ry\rq\rs\rX\ry\rP\r:drain\r+++\rb\r\x03".repeat(1 << 15);
    robot.send(b"\x1b[200~");
    robot.send(text.as_bytes());
    robot.send(b"\x1b[201~");
    robot.keys("!");
    robot.shows("Alerts");
    robot.shows("all is well");
    robot.keys("\x1b");
    robot.shows_no("Alerts");
    robot.keys("@");
    robot.shows("nobody has done anything yet");
    robot.keys("\x1b");
    robot.shows_no("nobody");
    robot.row_says("work", "running");
    // Into a field it is text, of one line and no more than fits.
    robot.keys("/");
    robot.shows("Filter");
    robot.send(b"\x1b[200~work\r\x1b[201~");
    robot.until("the filter", |lines| row_of(lines, "wait").is_none() && row_of(lines, "work").is_some());
    robot.keys("\x1b");
    robot.row_says("wait", "ready");
    assert_eq!(stop(&mut robot), 3);
}

#[test]
fn half_a_key_or_a_paste_without_an_end_does_not_stop_the_screen() {
    let place = Place::with(&flow(1, &[task("work", FOR_EVER, "")]));
    let mut robot = console(&place, WIDE);
    robot.row_says("work", "running");
    for half in ["\x1b[", "\x1b[200~rm -rf"] {
        robot.keys(half);
        for _ in 0..2 {
            let before = robot.lines()[0].clone();
            robot.until("the clock to go on", |lines| lines[0] != before);
        }
        robot.keys("\x1b[201~");
    }
    robot.keys("P");
    robot.shows("PAUSED");
    assert_eq!(stop(&mut robot), 3);
}

#[test]
fn a_theme_of_ones_own_is_read_again_when_it_changes_and_what_is_wrong_is_told() {
    let place = Place::with(&format!(
        r#"Workflow(stages: [Stage(id: "s", tasks: [Task(id: "a", run: "{}")])])"#,
        wait_for("go")
    ));
    let write = |text: &str| std::fs::write(place.path("mine.ron"), text).expect("it is written");
    write(r##"Theme(inherits: "dark", palette: { "ground": "#102030" })"##);
    let mut robot = Robot::qd(&place, WIDE, &["run", "flow.ron", "--session", "t", "--theme", "mine.ron"]);
    robot.shows("RUNNING");
    let ground = |robot: &Robot| robot.ask(|screen| screen.cell(0, 60).map(vt100::Cell::bgcolor));
    let before = ground(&robot);
    write(r##"Theme(inherits: "colour-blind", palette: { "ground": "#405060" })"##);
    until("the ground is another", || ground(&robot) != before);
    write(r#"Theme(inherits: "nobody")"#);
    robot.shows("inherits from “nobody”, which is not known");
    robot.keys("T");
    robot.shows("colour-blind");
    robot.keys("\x1b");
    place.touch("go");
    robot.shows("FINISHED");
    robot.keys("q");
    assert_eq!(robot.end(), 0);
}

// ── the first time ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn who_starts_a_console_for_the_first_time_is_greeted_once_and_shown_around() {
    let place = Place::with(&flow(1, &[task("one", FOR_EVER, "")]));
    let start = |session: &str| {
        Robot::start(&place, WIDE, QD, &["run", "flow.ron", "--session", session], &[("QD_WELCOME", "")])
    };
    let mut robot = start("t");
    robot.shows("Welcome to Quarterdeck  1/6");
    robot.keys(" ");
    robot.shows("What you see  2/6");
    robot.keys("h");
    robot.shows("Welcome to Quarterdeck");
    robot.send(b"\x1b");
    robot.shows_no("Welcome");
    assert_eq!(stop(&mut robot), 3);
    let mut robot = start("u");
    robot.row_says("one", "running");
    robot.shows_no("Welcome");
    robot.keys(":");
    robot.keys("tour\r");
    robot.shows("Welcome to Quarterdeck");
    robot.keys("q");
    assert_eq!(stop(&mut robot), 3);
}
