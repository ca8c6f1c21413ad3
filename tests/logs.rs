//! The log desk as people meet it: the real binary at a real terminal, a robot that types and reads the screen. What it
//! must show is what the tasks wrote; what another program is handed is looked at in files.

mod common;

use std::time::Duration;

use common::bytes::{HOSTILE, Writer, assert_clean};
use common::robot::Robot;
use common::{Place, QD, until, wait_for};

const WIDE: (u16, u16) = (120, 36);

/// One stage, one agent with four slots.
fn flow(tasks: &[(&str, &str, &str)]) -> String {
    let task = |(id, run, more): &(&str, &str, &str)| format!("Task(id: {id:?}, run: {run:?}, {more}),\n");
    format!(
        "Workflow(name: \"robot\", grace: \"500ms\", agents: [Agent(name: \"a\", slots: 4, capabilities: [\"shell\"])],
         stages: [Stage(id: \"main\", tasks: [{}])])",
        tasks.iter().map(task).collect::<String>()
    )
}

fn console(place: &Place, more: &[(&str, &str)]) -> Robot {
    let robot = Robot::start(place, WIDE, QD, &["run", "flow.ron", "--session", "t"], more);
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

#[test]
fn a_search_counts_the_whole_log_and_goes_to_each_hit_and_to_the_first_error() {
    let write = "seq 1 60000; echo a needle; seq 1 60000; printf '\\033[1mNEE\\033[0mdle two\\n'; \
                 echo 'x.c:1:2: error: no'; seq 1 60000; echo last; touch written; exec sleep 1000";
    let place = Place::with(&flow(&[("writes", write, "")]));
    let mut robot = console(&place, &[]);
    place.await_file("written");
    robot.keys("55");
    robot.shows("following");
    robot.shows("last");
    robot.keys("/needle\r");
    robot.shows("“needle” 2/2");
    robot.shows("NEEdle two");
    robot.keys("N");
    robot.shows("“needle” 1/2");
    robot.shows("a needle");
    robot.keys("n");
    robot.shows("“needle” 2/2");
    robot.keys("/re:^3999[0-5]$\r");
    robot.shows("/18");
    robot.keys("/re:(\r");
    robot.shows("unclosed group");
    robot.keys("\x1b");
    robot.shows_no("unclosed group");
    robot.keys("E");
    robot.shows("“first error” 1/1");
    robot.shows("x.c:1:2: error: no");
    robot.keys("/nowhere\r");
    robot.shows("“nowhere” is nowhere in it");
    robot.keys("G");
    robot.shows("following");
    stop(&mut robot);
    assert_clean("the console", &robot.bytes(), Writer::Console);
}

#[test]
fn a_log_is_followed_while_it_grows_and_when_it_is_truncated() {
    let write = format!(
        "seq 1 50; {}; seq 51 90; {}; : > /proc/self/fd/1; echo anew; exec sleep 1000",
        wait_for("more"),
        wait_for("truncate")
    );
    let place = Place::with(&flow(&[("writes", &write, "")]));
    let mut robot = console(&place, &[]);
    let has = |line: &'static str| move |lines: &[String]| lines.iter().any(|l| l.contains(&format!("┃ {line} ")));
    robot.keys("55");
    robot.until("the end", has("50"));
    robot.keys("kkk");
    robot.shows("%");
    robot.until("what is above", |lines| !has("50")(lines) && has("47")(lines));
    place.touch("more");
    robot.until("the same lines", |lines| has("47")(lines) && !has("90")(lines));
    robot.keys("F");
    robot.until("the end again", has("90"));
    robot.keys("t");
    robot.until("times", |lines| {
        lines.iter().any(|line| line.contains(":") && line.trim_end_matches(['┃', ' ']).ends_with(" 90"))
    });
    robot.keys("t");
    place.touch("truncate");
    robot.until("what is new", has("anew"));
    robot.shows("the file was truncated");
    stop(&mut robot);
}

#[test]
fn attempts_are_shown_one_by_one_side_by_side_and_a_stage_as_one() {
    let retry = "retry: Retry(attempts: 2)";
    let first = "if [ -e once ]; then echo second try; exec sleep 1000; else touch once; echo first try; exit 3; fi";
    let other = format!("{}; echo other says this; exec sleep 1000", wait_for("once"));
    let place = Place::with(&flow(&[("flaky", first, retry), ("other", &other, "")]));
    let mut robot = console(&place, &[]);
    robot.go_to("flaky");
    robot.keys("55");
    robot.shows("second try");
    robot.shows_no("first try");
    robot.keys("[");
    robot.shows("first try");
    robot.shows("attempt 1 of 2");
    robot.keys("[");
    robot.shows("there is no earlier attempt");
    robot.keys("]");
    robot.shows("second try");
    robot.shows_no("first try");
    robot.keys("|");
    robot.until("both", |lines| lines.iter().any(|line| line.contains("second try") && line.contains("first try")));
    robot.shows("attempt 1  exit 3");
    robot.keys("|");
    robot.shows_no("first try");
    robot.keys("M");
    robot.until("both tasks", |lines| {
        let has = |name: &str, text: &str| lines.iter().any(|line| line.contains(name) && line.contains(text));
        has("flaky", "│ second try") && has("other", "│ other says this")
    });
    robot.keys("M");
    robot.shows_no("other says this");
    stop(&mut robot);
}

#[test]
fn pager_and_editor_get_the_terminal_and_a_clean_log_and_give_it_back() {
    let place = Place::new();
    let hostile: Vec<u8> = HOSTILE.iter().flat_map(|(_, bytes)| [bytes, &b"\n"[..]].concat()).collect();
    std::fs::write(place.path("hostile"), &hostile).expect("it is written");
    let run = "cat hostile; echo; echo the end; touch written; exec sleep 1000";
    std::fs::write(place.path("flow.ron"), flow(&[("writes", run, "")])).expect("it is written");
    let script = |name: &str, text: &str| std::fs::write(place.path(name), text).expect("it is written");
    // It looks at its terminal, shows the log as it is, and waits for a line typed to it.
    script(
        "pager.sh",
        "cat > paged; stty -a < /dev/tty > modes; cat paged; echo at-the-end; read line < /dev/tty; echo \"$line\" > typed",
    );
    script("edit.sh", "cp \"$1\" edited; echo \"$1\" > name; echo editing; exec sleep 1000");
    let mut robot = console(&place, &[("PAGER", "sh pager.sh"), ("EDITOR", "sh edit.sh")]);
    place.await_file("written");
    robot.keys("55");
    robot.shows("the end");
    robot.keys("o");
    robot.shows("at-the-end");
    assert!(!robot.ask(vt100::Screen::alternate_screen), "the pager has the ordinary screen");
    // Stopped, it goes on: there is no shell to bring it back. A task goes on meanwhile in any case.
    robot.keys("\x1a");
    robot.keys("a line\r");
    place.await_file("typed");
    robot.shows("robot ▸ RUNNING");
    assert!(robot.ask(vt100::Screen::alternate_screen));
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap_or_default();
    assert_eq!(read("typed"), "a line\n");
    let modes = read("modes");
    for mode in ["icanon", "echo", "isig"] {
        assert!(modes.split_whitespace().any(|word| word == mode), "{mode}: {modes}");
    }
    assert!(read("paged").contains("the end\n"));
    robot.keys("k");
    robot.shows("%");

    robot.keys("e");
    robot.shows("editing");
    // Its Ctrl-C is its own: the session goes on.
    robot.keys("\x03");
    robot.shows("robot ▸ RUNNING");
    robot.keys("F");
    robot.shows("following");
    robot.redraw_changes_nothing();
    assert_eq!(read("edited"), read("paged"));
    let copy = read("name");
    until("the copy is gone", || !std::path::Path::new(copy.trim()).exists());
    stop(&mut robot);
    assert_clean("the copy", read("edited").as_bytes(), Writer::Plain);
    assert_clean("the console and a pager that shows what it gets", &robot.bytes(), Writer::Console);
}

#[test]
fn a_program_that_is_not_there_is_said_and_a_session_that_ends_does_not_wait_for_a_pager() {
    let place = Place::with(&flow(&[("writes", "echo here; exec sleep 1000", "")]));
    std::fs::write(place.path("pager.sh"), "touch paging; exec sleep 1000").expect("it is written");
    let mut robot = console(&place, &[("PAGER", "sh pager.sh"), ("EDITOR", "no-such-program")]);
    robot.keys("55");
    robot.shows("here");
    robot.keys("e");
    robot.shows("no-such-program: there is no such program");
    robot.keys("o");
    place.await_file("paging");
    let began = std::time::Instant::now();
    robot.signal(15);
    assert_eq!(robot.end_with_the_terminal_as_before(), 3);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn chosen_lines_are_copied_by_keys_and_by_a_drag_that_stays_in_its_pane() {
    let run = "printf 'one\\n\\033[31mtwo\\033[0m\\nthree\\n'; exec sleep 1000";
    let place = Place::with(&flow(&[("writes", run, "")]));
    let mut robot = console(&place, &[]);
    robot.keys("55");
    robot.shows("three");
    robot.keys("vk");
    robot.shows("choosing lines");
    robot.keys("y");
    robot.shows("copied “two”");
    let copied = |robot: &Robot, base64: &str| {
        let want = format!("\x1b]52;c;{base64}").into_bytes();
        until("the copy", || robot.bytes().windows(want.len()).any(|part| part == want));
    };
    // "two\nthree\n"
    copied(&robot, "dHdvCnRocmVlCg==");
    robot.shows_no("choosing lines");
    let row = robot.lines().iter().position(|line| line.contains("one")).expect("it is shown") + 1;
    robot.keys(&format!("\x1b[<0;5;{row}M\x1b[<32;9;{}M\x1b[<32;1;999M", row + 1));
    robot.shows("choosing lines");
    robot.keys("\x1b[<0;1;999m");
    // "one\ntwo\nthree\n"
    copied(&robot, "b25lCnR3bwp0aHJlZQo=");
    stop(&mut robot);
}

#[test]
fn an_editor_hears_ctrl_c_also_of_a_console_that_was_begun_with_it_ignored() {
    let place = Place::with(&flow(&[("writes", "echo here; exec sleep 1000", "")]));
    std::fs::write(place.path("edit.sh"), "echo editing; exec sleep 1000").expect("it is written");
    // As nohup does it, and a shell that begins something in the background.
    let begin = format!("trap '' HUP INT QUIT; exec {QD} run flow.ron --session t");
    let mut robot = Robot::start(&place, WIDE, "/bin/sh", &["-c", &begin], &[("EDITOR", "sh edit.sh")]);
    robot.keys("55");
    robot.shows("here");
    robot.keys("e");
    robot.shows("editing");
    robot.keys("\x03");
    robot.shows("robot ▸ RUNNING");
    stop(&mut robot);
}
