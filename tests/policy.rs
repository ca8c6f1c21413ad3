//! Rules over the whole file (`policy`): which files keep them, and that a task which a rule says is held back really is when
//! the binary runs the file and the answer is no. Each broken rule's text is a file of `tests/check`.

mod common;

use common::Place;

/// A file of these stages with the approval `ask` somewhere, a task `ship` that leaves a file, and the rule.
fn file(rest: &str) -> String {
    let ship = "id: \"ship\", run: \"touch shipped\", tags: [\"prod\"]";
    let ask = "id: \"ask\", type: Approval(text: \"Ship?\")";
    let rest = rest.replace("SHIP", ship).replace("ASK", ask);
    format!("Workflow(\n{rest},\npolicy: [Tagged(tag: \"prod\", has: Approval)],\n)\n")
}

#[test]
fn a_task_that_keeps_the_rule_is_held_back_by_a_no_and_let_go_by_a_yes() {
    let kept = [
        r#"stages: [Stage(id: "a", tasks: [Task(ASK), Task(SHIP, after: ["ask"])])]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(SHIP, after: ["b"]), Task(id: "b", run: "true", after: ["ask"]), Task(ASK)])]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(ASK)]), Stage(id: "b", after: ["a"], tasks: [Task(SHIP)])]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(ASK)]), Stage(id: "b", after: ["a"], tasks: [Task(id: "t", run: "true")]),
                    Stage(id: "c", after: ["b"], tasks: [Task(SHIP)])]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(ASK)]), Stage(id: "b", tasks: [Task(SHIP)])],
           transitions: [Transition(from: "a", to: "b", on: Success)]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(id: "t", run: "true")]), Stage(id: "b", after: ["a"], tasks: [Task(SHIP)])],
           gates: [QualityGate(id: "ask", after: "a", checks: [Approval("Ship?")])]"#,
    ];
    for rest in kept {
        let place = Place::with(&file(rest));
        place.ends(&["check", "flow.ron"], 0);
        place.ends(&["run", "flow.ron", "--headless", "--session", "no", "--reject", "ask"], 1);
        assert!(!place.path("shipped").exists(), "shipped without a yes:\n{rest}");
        place.ends(&["run", "flow.ron", "--headless", "--session", "yes", "--approve", "ask"], 0);
        assert!(place.path("shipped").exists(), "not shipped with a yes:\n{rest}");
    }
}

#[test]
fn a_way_around_the_approval_breaks_the_rule() {
    let broken = [
        r#"stages: [Stage(id: "a", tasks: [Task(ASK), Task(SHIP)])]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(ASK, when: "false"), Task(SHIP, after: ["ask"])])]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(ASK), Task(id: "b", run: "true"),
                    Task(SHIP, after: ["ask", "b"], enough: 1)])]"#,
        r#"stages: [Stage(id: "a", when: "false", tasks: [Task(ASK)]), Stage(id: "b", after: ["a"], tasks: [Task(SHIP)])]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(ASK)]), Stage(id: "b", tasks: [Task(SHIP)])],
           transitions: [Transition(from: "a", to: "b", on: Over)]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(ASK)]), Stage(id: "z", tasks: [Task(id: "t", run: "true")]),
                    Stage(id: "b", tasks: [Task(SHIP)])],
           transitions: [Transition(from: "a", to: "b", on: Success), Transition(from: "z", to: "b", on: Success)]"#,
        r#"stages: [Stage(id: "a", tasks: [Task(id: "ask", type: Approval(text: "?", timeout: "1s", on_timeout: Approve)),
                    Task(SHIP, after: ["ask"])])]"#,
    ];
    for rest in broken {
        let place = Place::with(&file(rest));
        let told = place.qd(&["check", "flow.ron"]);
        let told = (told.status.code(), String::from_utf8_lossy(&told.stderr).into_owned());
        assert_eq!(told.0, Some(2), "{rest}");
        assert!(told.1.contains("the task `ship` comes after no approval"), "{rest}\n{}", told.1);
        place.ends(&["run", "flow.ron", "--headless", "--session", "s", "--approve", "ask"], 2);
        assert!(!place.path("shipped").exists(), "a refused file ran:\n{rest}");
    }
}

#[test]
fn the_example_runs_and_breaking_it_points_to_the_task() {
    let example = include_str!("../workflows/policy.ron");
    let place = Place::with(example);
    place.ends(&["run", "flow.ron", "--headless", "--session", "s"], 0);
    let place = Place::with(&example.replacen(", timeout: \"10m\"", "", 1));
    let told = place.qd(&["check", "flow.ron"]);
    assert_eq!(told.status.code(), Some(2));
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("the task `compile` has no timeout") && told.contains("flow.ron:7:"), "{told}");
}

#[test]
fn what_cannot_be_undone_breaks_a_rule_that_asks_for_compensation() {
    let file = |ship: &str| {
        let ship = format!("id: \"ship\", run: \"touch shipped\", tags: [\"prod\"]{ship}");
        let ask = r#"id: "ask", type: Approval("Ship?"), tags: ["prod"]"#;
        format!(
            r#"Workflow(stages: [Stage(id: "a", tasks: [Task({ask}), Task({ship}), Task(id: "t", run: "true")])],
               policy: [Tagged(tag: "prod", has: Compensation)])"#
        )
    };
    let place = Place::with(&file(""));
    let told = place.qd(&["check", "flow.ron"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("the task `ship` cannot be compensated") && told.contains("1 error"), "{told}");
    Place::with(&file(r#", compensate: "rm shipped""#)).ends(&["check", "flow.ron"], 0);
}
