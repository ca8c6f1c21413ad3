//! `qd report` and `qd diff`: what they say of runs in virtual time, to the letter; that an HTML report is whole, needs
//! nothing else and cannot be led astray by a name; and the binary on sessions that really ran.

mod common;
mod engine_support;

use std::sync::Arc;

use common::Place;
use common::bytes::HOSTILE;
use engine_support::flow::parse;
use jiff::tz::TimeZone;
use quarterdeck::engine::definition::Workflow;
use quarterdeck::engine::fact::Stamped;
use quarterdeck::engine::ids::{Attempt, Span, TaskId, Time};
use quarterdeck::engine::message::{Exit, StopSignal};
use quarterdeck::engine::state::State;
use quarterdeck::report::diff::{self, diff};
use quarterdeck::report::{Report, html, markdown};
use quarterdeck::sim::{Fate, World, run_workflow};
use quarterdeck::snapshot::build::Frozen;

/// Attempts fail as told, and take as long as told or estimated.
struct Told {
    failing: Vec<(&'static str, u32, i32)>,
    longer: Vec<(&'static str, u64)>,
}

impl World for Told {
    fn fate(&mut self, state: &State, task: TaskId, attempt: Attempt, _: Span) -> Fate {
        let name = state.name(task);
        let failing = self.failing.iter().find(|(failing, until, _)| *failing == name && attempt.0 <= *until);
        let more = self.longer.iter().find(|(longer, _)| *longer == name).map_or(0, |(_, more)| *more);
        let estimate = state.definition(task).estimate.unwrap_or(Span::secs(1));
        let exit = Exit::Code(failing.map_or(0, |(.., code)| *code));
        Fate::Ends { after: Span(estimate.0 + more), exit, leaves: None }
    }
    fn obeys(&mut self, _: TaskId, _: Attempt, _: StopSignal) -> Option<Span> {
        Some(Span(5))
    }
}

const FLOW: &str = "
    lock db
    agent x slots 2
    task setup estimate 1000
    task long estimate 5000 uses db after setup
    task flaky estimate 700 after setup tries 3 backoff 1000
    task late estimate 2000 uses db after setup
    task broken estimate 300 after setup
    task broken-too estimate 300 after setup
    task end estimate 100 after late,flaky
    task never after broken";

fn report(session: &str, flow: Workflow, world: &mut Told) -> Report {
    let run = run_workflow(&Arc::new(flow), world, 10_000);
    // It began at some time of the day.
    let moved =
        run.facts.iter().map(|stamped| Stamped { at: Time(1_792_584_271_000 + stamped.at.0), ..stamped.clone() });
    let mut state = State::default();
    moved.for_each(|stamped| state.apply(&stamped));
    let mut engine = quarterdeck::engine::decide::Engine::new(state);
    engine.look_around();
    let at = engine.state.now;
    let frozen = Frozen { engine, session: session.into(), ..Frozen::default() };
    Report::of(&frozen, at, |_| vec!["make: *** [all] Error 2".into()])
}

fn first() -> Report {
    let failing = vec![("flaky", 2, 1), ("broken", 9, 2), ("broken-too", 9, 2)];
    report("first", parse(FLOW), &mut Told { failing, longer: vec![] })
}

fn second() -> Report {
    let failing = vec![("broken", 9, 2), ("setup-too", 9, 9), ("flaky", 9, 1)];
    let flow = FLOW.replace("task broken-too estimate 300", "task other estimate 300");
    report("second", parse(&flow), &mut Told { failing, longer: vec![("long", 4_000)] })
}

#[test]
fn a_report_says_what_a_run_came_to_to_the_letter() {
    insta::assert_snapshot!("report_markdown", markdown(&first(), &TimeZone::UTC));
    insta::assert_snapshot!("report_html", html(&first(), &TimeZone::UTC));
}

#[test]
fn a_comparison_tells_longer_runs_from_longer_waits_and_names_new_failures() {
    insta::assert_snapshot!("diff_markdown", diff::markdown(&diff(first(), second()), &TimeZone::UTC));
    let found = diff(first(), second());
    let of = |name: &str| found.slower.iter().find(|change| change.name == name).expect("it is slower");
    assert_eq!((of("long").run_by(), of("long").wait_by()), (4_000, 0));
    assert_eq!(of("long").words(), "longer run");
    assert_eq!((of("late").run_by(), of("late").words().as_str()), (0, "longer wait: lock db, given back by long"));
    assert_eq!(found.new_failures, [("flaky".to_owned(), "exit 1".to_owned())]);
    assert_eq!(found.no_longer, ["broken-too"]);
    assert_eq!(found.only, (vec!["broken-too".to_owned()], vec!["other".to_owned()]));
    // Of one and the same nothing is different.
    let same = diff(first(), first());
    assert!(same.slower.is_empty() && same.faster.is_empty() && same.new_failures.is_empty());
}

#[test]
fn no_name_gets_out_of_its_place() {
    let hostile: Vec<String> = HOSTILE.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
    for bad in hostile.iter().map(String::as_str).chain([
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "a|b",
        "[x](http://evil)",
        "`x` *b* _i_ # h & ~s~ ![p](q)",
    ]) {
        let mut flow = parse(FLOW);
        flow.settings.name = bad.into();
        for (n, task) in flow.tasks.iter_mut().enumerate() {
            task.id = format!("{n}{bad}");
        }
        flow.resources.iter_mut().for_each(|resource| resource.name.push_str(bad));
        flow.agents.iter_mut().for_each(|agent| agent.name.push_str(bad));
        let make = || report(bad, flow.clone(), &mut Told { failing: vec![], longer: vec![] });
        let (one, two) = (make(), make());
        let utc = TimeZone::UTC;
        let page = html(&one, &utc);
        assert_whole(&page);
        assert!(!page.contains("<script") && !page.contains("<img"), "{bad:?}");
        let plain = markdown(&one, &utc);
        let other = diff::markdown(&diff(one, two), &utc);
        for text in [&page, &plain, &other] {
            assert!(text.chars().all(|c| c == '\n' || quarterdeck::text::is_plain(c)), "{bad:?}");
        }
        for line in plain.lines().chain(other.lines()) {
            // Without what is escaped nothing of a name is left that Markdown or HTML would take as markup.
            let mut escaped = false;
            let mut bare = String::new();
            for c in line.chars() {
                if !escaped && c != '\\' {
                    bare.push(c);
                }
                escaped = c == '\\' && !escaped;
            }
            assert!(!bare.contains(['`', '*', '_', '[', ']', '<', '>', '~']), "{line}");
        }
        // Each row of a table has as many cells as its head.
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        for rows in plain.split("\n\n").filter(|part| part.starts_with('|')) {
            let count = cells(rows.lines().next().unwrap_or_default());
            assert!(rows.lines().all(|line| cells(line) == count), "{rows}");
        }
    }
}

/// Every element is closed in its turn, and nothing is fetched.
#[track_caller]
fn assert_whole(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(tag, _)| tag) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
        } else if !tag.ends_with('/') && !["!doctype", "meta"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("it has a style");
    assert!(!style.contains("url(") && !style.contains("@import"));
    let body = page.split("<body>").nth(1).expect("it has a body");
    for tag in body.split('<').skip(1).filter_map(|part| part.split('>').next()) {
        for fetched in [" src=", " href=", " style=", " onerror="] {
            assert!(!tag.contains(fetched), "{fetched} in <{tag}>");
        }
    }
}

#[test]
fn sessions_that_really_ran_are_reported_and_compared() {
    let flow = |sleep: &str, check: &str| {
        format!(
            "Workflow(name: \"flow\", agents: [Agent(name: \"a\", slots: 2, capabilities: [\"shell\"])], resources: {{ \"db\": Lock }},
             stages: [Stage(id: \"s\", tasks: [
                Task(id: \"holds\", run: \"sleep {sleep}\", uses: {{ \"db\": Exclusive }}, priority: 1),
                Task(id: \"waits\", run: \"true\", uses: {{ \"db\": Exclusive }}),
                Task(id: \"checks\", run: \"{check}\"),
             ])])"
        )
    };
    let place = Place::with(&flow("0.3", "true"));
    place.ends(&["run", "flow.ron", "--quiet", "--session", "one"], 0);
    std::fs::write(place.path("flow.ron"), flow("1.4", "echo the last word; exit 4")).expect("it is written");
    place.ends(&["run", "flow.ron", "--quiet", "--session", "two"], 1);
    let text = place.ends(&["report", "two"], 0);
    for want in
        ["# flow: two", "exit 4: 1 attempt", "the last word", "waited for lock db", "No forecast yet", "| holds |"]
    {
        assert!(text.contains(want), "no {want} in\n{text}");
    }
    place.ends(&["report", "two", "--html", "--output", "two.html"], 0);
    let page = std::fs::read_to_string(place.path("two.html")).expect("it was written");
    assert_whole(&page);
    assert!(page.contains("<svg") && page.contains("the last word"));
    let text = place.ends(&["diff", "one", "two"], 0);
    for want in ["| checks | exit 4 |", "longer run", "longer wait: lock db, given back by holds"] {
        assert!(text.contains(want), "no {want} in\n{text}");
    }
    place.ends(&["report", "three"], 2);
}
