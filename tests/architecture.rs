//! Who may name whom: the table of the design, held against the sources. A module that needs another's words is added
//! here with a reason, or the need is designed away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → modules of ours that it may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("error", &[]),
    // A leaf, like errors: what stands between foreign text and a terminal.
    ("text", &[]),
    ("fault", &["error"]),
    // Pure: nothing of ours, not even errors.
    ("engine", &[]),
    ("guard", &["fault", "error"]),
    ("sim", &["engine", "error"]),
    ("workflow", &["engine", "error"]),
    ("session", &["engine", "fault", "error"]),
    // A process of its own: its engine types are those of the files it reads and writes.
    ("care", &["engine", "error"]),
    // Agents and guard share the table of attempts.
    ("agents", &["care", "engine", "guard", "fault", "error"]),
    ("sensors", &["engine"]),
    ("bus", &[]),
    // Beside the loop: it asks by a handle and answers from pictures.
    ("server", &["bus", "engine", "runtime", "session", "snapshot", "workflow"]),
    ("predict", &["engine", "sim", "session", "error"]),
    ("snapshot", &["engine", "predict", "error"]),
    // A recording: facts and the States they give.
    ("replay", &["engine"]),
    // Text about what a session was; who reads the session is not its business.
    ("report", &["engine", "snapshot", "text"]),
    ("interop", &["engine", "workflow", "session", "error"]),
    // Its `adoption` joins guard and agents, which do not know each other; its `hands` feed the printer of stored facts.
    (
        "runtime",
        &[
            "agents", "bus", "care", "engine", "error", "fault", "guard", "headless", "predict", "sensors", "session",
            "sim", "snapshot", "workflow",
        ],
    ),
    ("tui", &["engine", "snapshot", "text", "error"]),
    ("headless", &["engine", "snapshot", "text", "error"]),
    (
        "cli",
        &[
            "agents", "bus", "care", "engine", "error", "fault", "guard", "headless", "interop", "predict", "runtime",
            "replay", "report", "sensors", "server", "session", "sim", "snapshot", "text", "tui", "workflow",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source is text");
        (path.strip_prefix(&root).expect("found below it").to_owned(), text)
    };
    paths.into_iter().map(read).collect()
}

fn module_of(path: &Path) -> String {
    let first = path.components().next().expect("a path has a part").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Modules named by `crate::x`, also within `crate::{x, y::z}`, and by `super::` chains that leave a module's folder (none
/// do: `super::super` is not written in this crate but for the folders of one module).
fn named(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut start = true;
            for (index, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => start = true,
                    c if start && depth == 1 && (c.is_alphabetic() || c == '_') => {
                        names.insert(word(&list[index..]));
                        start = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            names.insert(word(rest));
        }
    }
    names
}

#[test]
fn every_module_names_only_those_it_may() {
    let mut broken = Vec::new();
    for (path, text) in all() {
        let module = module_of(&path);
        if module == "main" || module == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("src/{}: {module} is not in the table", path.display()));
            continue;
        };
        for name in named(&text) {
            if name != module && !allowed.contains(&name.as_str()) {
                broken.push(format!("src/{}: {module} may not name {name}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent: Vec<_> = all().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn the_engine_names_no_clock_file_thread_or_terminal() {
    let forbidden =
        ["tokio", "std::time", "std::fs", "std::thread", "std::env", "std::process", "HashMap", "crossterm"];
    for (path, text) in all().into_iter().filter(|(path, _)| module_of(path) == "engine") {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let found = forbidden.iter().find(|word| line.contains(**word));
            assert_eq!(found, None, "src/{}: {line}", path.display());
        }
    }
}

#[test]
fn names_are_found_in_every_way_of_writing_them() {
    let text = "use crate::engine::{ids, fact};\n// crate::tui\nuse crate::{guard::table, fault, error::{Kind}};\nlet x = crate::agents::y();";
    let names: Vec<String> = named(text).into_iter().collect();
    assert_eq!(names, ["agents", "engine", "error", "fault", "guard"]);
}
