//! Tests of `foreach`: what its tasks are, that no value is read as code, that what is wrong is told once, and that
//! nothing too large is begun. What its messages look like is tested by the files of `tests/check`.

use std::sync::Arc;

use super::*;
use crate::engine::definition::{CommandSpec, TaskDefinition};

fn spec(task: &TaskDefinition) -> &Arc<CommandSpec> {
    let TaskType::Run(spec) = &task.task_type else { panic!("a command") };
    spec
}

fn ids(workflow: &Workflow) -> Vec<&str> {
    workflow.tasks.iter().map(|task| task.id.as_str()).collect()
}

/// The names of what the last task waits for.
fn awaited(workflow: &Workflow, task: &str) -> Vec<String> {
    let task = workflow.tasks.iter().find(|other| other.id == task).expect("a task of this name");
    task.after.iter().map(|other| workflow.tasks[other.index()].id.clone()).collect()
}

/// The script of a task that has one key `x` with this value, and its variables.
fn with_value(run: &str, value: &str) -> Result<(String, Vec<(String, String)>), String> {
    let text = with_tasks(&format!("Task(id: \"a\", foreach: {{\"x\": [{value:?}]}}, run: {run:?})"));
    let workflow = read_with(&text, &[]).map_err(|told| told.render(false))?;
    let (script, env) = shell(&workflow, 0);
    Ok((script.to_owned(), env.to_vec()))
}

fn run(script: &str, env: &[(String, String)], folder: &std::path::Path) -> String {
    let output = Command::new("/bin/sh").args(["-c", script]).envs(env.iter().cloned()).current_dir(folder).output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

const MATRIX: &str = r#"Workflow(
    params: { "to": "{n}" },
    resources: { "port-1": Lock, "port-2": Lock },
    agents: [Agent(name: "a", capabilities: ["on-1", "on-2"])],
    stages: [Stage(id: "s", tasks: [
        Task(id: "{n}.{r}", foreach: { "n": [1, 2], "r": ["eu", "u s"] }, run: "go {n} {r} ${params.to} ${n} {m} {print $1}",
             env: { "REGION": "<{r}>" }, cwd: "dir {r}", uses: { "port-{n}": Shared }, needs: ["on-{n}"],
             tags: ["all", "n-{n}"], fallback: ["by-{n}"], priority: 3),
        Task(id: "x-{n}", foreach: { "n": Range(1, 2) }, exec: ["p", "{n}={n}", "${n}", "{\"a\": {n}}"], after: ["{n}.*"]),
    ])],
    fallbacks: { "by-1": Alternative(run: "true {n}"), "by-2": Alternative(run: "true") },
)"#;

#[test]
fn every_part_that_a_foreach_can_change_is_changed() {
    let workflow = read(MATRIX);
    assert_eq!(ids(&workflow), ["1.eu", "1.u s", "2.eu", "2.u s", "x-1", "x-2"]);
    let task = &workflow.tasks[3];
    let (script, env) = shell(&workflow, 3);
    assert_eq!(script, "go 2 \"${QD_EACH_R}\" \"${QD_PARAM_TO}\" ${n} {m} {print $1}");
    let variables = [("REGION", "<u s>"), ("QD_EACH_R", "u s"), ("QD_PARAM_TO", "{n}")];
    assert_eq!(env, variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(spec(task).cwd.as_deref(), Some("dir u s"));
    assert_eq!((task.priority, task.tags.as_slice()), (3, ["all".to_owned(), "n-2".to_owned()].as_slice()));
    assert_eq!(task.requirements.capabilities, ["on-2"]);
    assert_eq!(task.requirements.resources, [ResourceRequirement { resource: ResourceId(3), amount: Amount(1) }]);
    assert_eq!(task.fallback, [FallbackId(1)]);
    let exec = ["p", "2=2", "${n}", "{\"a\": 2}"].map(str::to_owned);
    assert_eq!(spec(&workflow.tasks[5]).run, CommandLine::Exec(exec.to_vec()));
    assert_eq!(awaited(&workflow, "x-2"), ["2.eu", "2.u s"]);
}

#[test]
fn what_does_not_vary_is_shared() {
    let workflow = read(&with_tasks("Task(id: \"a-{n}\", foreach: {\"n\": Range(1, 3)}, run: \"make\")"));
    assert!(Arc::ptr_eq(spec(&workflow.tasks[0]), spec(&workflow.tasks[2])));
}

#[test]
fn expanded_tasks_are_waited_for_by_glob_by_name_and_by_key() {
    let workflow = read(&with_tasks(
        r#"Task(id: "shard-{n}", foreach: {"n": [1, 2, 3]}, run: "x"),
           Task(id: "sum-{n}", foreach: {"n": [3, 1]}, run: "x", after: ["shard-{n}"]),
           Task(id: "all", run: "x", after: ["shard-*"]),
           Task(id: "one", run: "x", after: ["shard-2", "sum-?"]),
           Task(id: "next-{n}", foreach: {"n": [5, 6]}, run: "x", after: ["next-5x", "{n}"]),
           Task(id: "next-5x", run: "x"), Task(id: "5", run: "x"), Task(id: "6", run: "x")"#,
    ));
    assert_eq!(awaited(&workflow, "sum-3"), ["shard-3"]);
    assert_eq!(awaited(&workflow, "sum-1"), ["shard-1"]);
    assert_eq!(awaited(&workflow, "all"), ["shard-1", "shard-2", "shard-3"]);
    assert_eq!(awaited(&workflow, "one"), ["shard-2", "sum-3", "sum-1"]);
    assert_eq!(awaited(&workflow, "next-6"), ["next-5x", "6"]);
}

#[test]
fn a_plain_word_is_pasted_and_all_else_travels_in_a_variable() {
    for (written, value, becomes) in [
        ("a {x} b", "1", "a 1 b"),
        ("a {x} b", "v1.2-rc/x_y", "a v1.2-rc/x_y b"),
        ("a{x}b{x}", "1", "a1b1"),
        ("a '{x}' \"{x}\"", "1", "a '1' \"1\""),
        ("a {x} b", "1 2", "a \"${QD_EACH_X}\" b"),
        ("a '{x}' \"{x}\"", "1 2", "a ''\"${QD_EACH_X}\"'' \"${QD_EACH_X}\""),
        ("a {x} b", "", "a \"${QD_EACH_X}\" b"),
        ("a {x} b", "*", "a \"${QD_EACH_X}\" b"),
        ("a {x} b", "~", "a \"${QD_EACH_X}\" b"),
        ("{x} b", "if", "\"${QD_EACH_X}\" b"),
        ("{x} b", "A=1", "\"${QD_EACH_X}\" b"),
        // a shell would take the value for a part of these
        ("echo {x}>f", "2", "echo \"${QD_EACH_X}\">f"),
        ("echo $HOME{x}", "2", "echo $HOME\"${QD_EACH_X}\""),
        // these are no keys
        ("a ${x} $x {X} { x } {x", "1", "a ${x} $x {X} { x } {x"),
        ("a \\{x} {x}", "1", "a \\{x} 1"),
        ("awk '{print $1}' {x}", "1", "awk '{print $1}' 1"),
    ] {
        let (script, env) = with_value(written, value).unwrap_or_else(|told| panic!("{told}"));
        assert_eq!(script, becomes, "{written} with {value:?}");
        assert_eq!(env.iter().any(|(_, carried)| carried == value), script.contains("QD_EACH_X"), "{written}");
    }
}

#[test]
fn no_value_is_read_as_code_and_each_arrives_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = [
        "printf %s {x}",
        "printf %s \"{x}\"",
        "printf %s '{x}'",
        "printf %s \"$(printf %s. {x})\" # it's {x}",
        "printf %s `printf %s. {x}`",
        "case a in a) printf %s {x};; esac",
        "printf %s%s {x} >o; cat o",
        "V=; printf %s $V{x}",
        "printf %s {x}</dev/null",
    ];
    let values = [
        "$(touch X)",
        "`touch X`",
        "'; rm -rf X; touch X; '",
        "; touch X",
        "\"; touch X; \"",
        "a b",
        "a  b\tc",
        "*",
        "a\nb",
        "\ntouch X\n#",
        "\\",
        "\\\"$(touch X)",
        "&& touch X",
        "${HOME}",
        "$HOME",
        "~",
        "{x}",
        "|touch X",
        "2",
        "#",
        "!",
        "é€",
        "if",
    ];
    for script in runs {
        for value in values {
            let (text, env) = with_value(script, value).unwrap_or_else(|told| panic!("{script}: {told}"));
            assert!(!text.contains("touch") && !text.contains("rm"), "{text}");
            let printed = run(&text, &env, folder.path());
            assert!(!folder.path().join("X").exists(), "{text} ran {value:?}");
            // a substitution of the shell adds our dot, and backquotes outside of quotes split words
            if !script.contains('`') {
                let printed = if script.contains("$(") { printed.trim_end_matches('.') } else { &printed };
                assert_eq!(printed, value, "{text}");
            }
        }
    }
}

#[test]
fn after_a_here_document_only_plain_words_stand() {
    let (script, env) = with_value("cat <<E\n{x}\nE\n", "a-1").expect("a plain word");
    assert_eq!(run(&script, &env, std::path::Path::new("/")), "a-1\n");
    assert!(with_value("cat <<E\n{x}\nE\n", "a b").expect_err("no plain word").contains("x = \"a b\""));
}

#[test]
fn the_order_of_the_file_is_the_order_of_the_tasks() {
    let workflow = read(&with_tasks(
        r#"Task(id: "{b}{a}-{c}", foreach: {"b": ["q", "p"], "a": [true, false], "c": [0.50, 2.0]}, run: "x")"#,
    ));
    let names = [
        "qtrue-0.50",
        "qtrue-2.0",
        "qfalse-0.50",
        "qfalse-2.0",
        "ptrue-0.50",
        "ptrue-2.0",
        "pfalse-0.50",
        "pfalse-2.0",
    ];
    assert_eq!(ids(&workflow), names);
}

#[test]
fn what_is_wrong_in_a_foreach_is_told_once() {
    for (tasks, message) in [
        ("Task(id: \"a-{n}\", foreach: F, run: \"x\", after: [\"b\"])", "no task is called `b`\n"),
        ("Task(id: \"a-{n}\", foreach: F, run: \"x\", after: [\"b-{n}\"])", "no task is called `b-1`, with n = 1"),
        (
            "Task(id: \"a-{n}\", foreach: F, run: \"x\", after: [\"b-{n}\"]), Task(id: \"b-1\", run: \"x\")",
            "no task is called `b-2`, with n = 2",
        ),
        (
            "Task(id: \"a-{n}\", foreach: F, run: \"x\", after: [\"a-{n}\"])",
            "the task `a-1` waits for itself, with n = 1",
        ),
        ("Task(id: \"a-{n}\", foreach: F, run: \"x\", after: [\"a-*\"])", "a circle of waiting: a-1 → a-2"),
        (
            "Task(id: \"a-{n}\", foreach: F, run: \"x\", after: [\"b-{n}\"]), Task(id: \"b-{n}\", foreach: F, run: \"x\", after: [\"a-{n}\"])",
            "a circle of waiting: a-1 → b-1 → a-1",
        ),
        ("Task(id: \"a-{n}\", foreach: F, run: \"x ${params.n}\")", "no parameter `n`\n"),
        ("Task(id: \"a-{n}\", foreach: F, runs: \"x\", run: \"x\")", "Task has no field `runs`"),
        (
            "Task(id: \"a-{n}\", foreach: F, run: \"x\", tags: [\"{n} \"])",
            "`1 ` cannot be the name of a tag, with n = 1",
        ),
        ("Task(id: \"a-{n}\", foreach: F, run: \"x\", fallback: [\"f\"])", "no fallback is called `f`\n"),
        (
            "Task(id: \"a-{n}\", foreach: F, run: \"x\", uses: {\"db{n}\": Shared})",
            "no resource is called `db1`, with n = 1",
        ),
        ("Task(id: \"a-{n}\", foreach: F, run: \"x\", uses: {\"seat\": 3})", "`a-1` can never start: seat: 3 of 2"),
        ("Task(id: \"a-{n}\", foreach: F, run: \"x\", needs: [\"y\"])", "`a-1` can never start"),
        (
            "Task(id: \"a-{n}\", foreach: {\"n\": [\"d\", \"\"]}, run: \"x\", uses: {\"db\": Shared, \"{n}b\": Shared})",
            "`db` stands twice in `uses`, with n = \"d\"",
        ),
        (
            "Task(id: \"a-{n}\", foreach: {\"n\": [\"d\", \"\"]}, run: \"x\", cwd: \"{n}\")",
            "`cwd` is empty, with n = \"\"",
        ),
        (
            "Task(id: \"a-{n}\", foreach: {\"n\": [\"d\", \"\"]}, exec: [\"{n}\"])",
            "`exec` names no program, with n = \"\"",
        ),
        // what follows from it is not told as well
        (
            "Task(id: \"a\", foreach: F, run: \"x\"), Task(id: \"b\", run: \"x\", after: [\"a-*\", \"a-7\", \"a\"])",
            "all 9 would be called `a`",
        ),
        (
            "Task(id: \"a-{n}\", foreach: {\"n\": []}, run: \"x\", after: [\"c-{n}\"], uses: {\"r-{n}\": 1}), Task(id: \"b\", run: \"x\", after: [\"a-1\"])",
            "`n` has no values",
        ),
    ] {
        let tasks = tasks.replace(": F", ": {\"n\": Range(1, 9)}");
        let told = read_with(&with_tasks(&tasks), &[]).expect_err(&tasks);
        let drawn = told.render(false);
        assert!(told.len() == 1 && drawn.contains(message), "{tasks}\n{drawn}");
    }
}

#[test]
fn a_real_mistake_beside_a_broken_foreach_is_told_too() {
    let told = refused(&with_tasks(
        r#"Task(id: "a-{n}", foreach: {"n": []}, run: "x"), Task(id: "b", run: "x", after: ["a-1", "c"])"#,
    ));
    assert!(told.contains("no task is called `c`") && told.contains("2 errors"), "{told}");
}

#[test]
fn too_many_tasks_are_refused_before_any_is_made() {
    let many = "Range(1, 1000)";
    let huge = "Range(-9223372036854775808, 9223372036854775807)";
    let all: String = (0..16).map(|index| format!("\"k{index}\": {huge}, ")).collect();
    let id: String = (0..16).map(|index| format!("{{k{index}}}")).collect();
    for (tasks, message) in [
        (
            format!("Task(id: \"{{a}}{{b}}{{c}}\", foreach: {{\"a\": {many}, \"b\": {many}, \"c\": {many}}}, run: \"x\")"),
            "1000 x 1000 x 1000 = 10^9 tasks, at most 1000000",
        ),
        (format!("Task(id: \"{{a}}\", foreach: {{\"a\": {huge}}}, run: \"x\")"), "18446744073709551615 tasks, at most"),
        (format!("Task(id: \"{id}\", foreach: {{{all}}}, run: \"x\")"), "more than 10^38 tasks, at most"),
        (
            "Task(id: \"a{n}\", foreach: {\"n\": Range(1, 3)}, run: \"x\"), Task(id: \"b{n}\", foreach: {\"n\": Range(1, 999998)}, run: \"x\")".to_owned(),
            "999998 tasks and 3 before them, at most 1000000",
        ),
    ] {
        let text = with_tasks(&tasks);
        let (told, time) = timed(|| refused(&text));
        assert!(told.contains(message), "{told}");
        assert!(time < Duration::from_millis(500), "{time:?}");
    }
}

#[test]
fn what_would_take_too_much_memory_is_refused_soon() {
    let long = "y".repeat(100_000);
    let combining = format!("a{}", "\u{301}".repeat(60_000));
    for (tasks, message) in [
        (format!("Task(id: \"a\", foreach: {{\"x\": [\"{long}\"]}}, run: \"{}\")", "{x}".repeat(100_000)), "too long"),
        (format!("Task(id: \"a\", foreach: {{\"x\": [\"{long}\"]}}, exec: [\"{}\"])", "{x}".repeat(100_000)), "too long"),
        (format!("Task(id: \"{}\", foreach: {{\"x\": [\"{long}\"]}}, run: \"x\")", "{x}".repeat(100_000)), "too long"),
        (
            format!("Task(id: \"a\", foreach: {{\"x\": [1]}}, run: \"x\", tags: [\"{}{{x}}\"])", "\u{301}".repeat(70_000)),
            "longer than",
        ),
        (format!("Task(id: \"{{x}}{combining}\", foreach: {{\"x\": Range(1, 1000000)}}, run: \"x\")"), "longer than 4096 bytes"),
        (format!("Task(id: \"{{x}}\", foreach: {{\"x\": Range(1, 1000000)}}, exec: [\"{long}\", \"{{x}}\"])"), "hold more than"),
        (
            "Task(id: \"{x}\", foreach: {\"x\": Range(1, 20000)}, run: \"x\", after: [\"b*\"]), Task(id: \"b{x}\", foreach: {\"x\": Range(1, 20000)}, run: \"x\")".to_owned(),
            "more than 10000000 dependencies",
        ),
        ("Task(id: \"{x}\", foreach: {\"x\": Range(1, 50000)}, run: \"x\", after: [\"*-{x}\"])".to_owned(), "matches `*-1`"),
    ] {
        let text = with_tasks(&tasks);
        let (told, time) = timed(|| refused(&text));
        assert!(told.contains(message), "{told}");
        assert!(time < Duration::from_secs(20), "{time:?}");
    }
}

#[test]
#[ignore = "a measurement: run it with --release -- --ignored --nocapture"]
fn a_million_tasks_of_one_foreach_are_ready_in_two_seconds() {
    let text = with_tasks(
        r#"Task(id: "fetch-{n}", foreach: {"n": Range(1, 500000)}, run: "fetch"),
           Task(id: "work-{n}", foreach: {"n": Range(1, 500000)}, run: "work {n}", after: ["fetch-{n}"])"#,
    );
    for _ in 0..3 {
        let (workflow, all) = timed(|| read(&text));
        println!("{} tasks: {all:?}", workflow.tasks.len());
        assert!(all < Duration::from_secs(2) || cfg!(debug_assertions), "{all:?}");
    }
}
