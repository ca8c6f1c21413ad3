//! Every broken workflow of `tests/check` against the text that a user would read, and every example of `workflows` read
//! without a word. Knows the library only, no binary.

use std::fs;
use std::path::{Path, PathBuf};

use quarterdeck::engine::definition::Workflow;
use quarterdeck::workflow::{Diagnostics, Machine, Source, decode, load};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).expect("the folder is part of the repository");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ron"))
        .collect();
    files.sort();
    files
}

fn machine() -> Machine {
    let now = "2026-11-22T12:00:00+01:00[+01:00]".parse().expect("a time");
    Machine { parallelism: 4, memory: 8 << 30, now }
}

fn stem(path: &Path) -> String {
    path.file_stem().and_then(|stem| stem.to_str()).expect("our own names").to_owned()
}

/// `// --param name=value` lines of the file.
fn params(text: &str) -> Vec<(String, String)> {
    let given = text.lines().filter_map(|line| line.strip_prefix("// --param "));
    given.map(|given| given.split_once('=').expect("name=value")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn check(path: &Path) -> Result<Workflow, Diagnostics> {
    // relative to the root of the package, where tests run: files name others from where they are
    let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("of this package").display().to_string();
    let text = decode(&name, fs::read(path).expect("a readable file"))?;
    load(&Source { name: &name, text: &text }, &params(&text), &machine())
}

#[test]
fn every_broken_file_is_told_as_recorded() {
    let files = files("tests/check");
    assert!(files.len() >= 30, "only {} files", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("check");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in files {
            let told = check(&path).expect_err(&format!("{} should be refused", path.display())).render(false);
            let told = told.replace("tests/check/", "");
            assert!(!told.contains(['\x1b', '\u{9b}', '\u{202e}']), "{} reaches the terminal", path.display());
            insta::assert_snapshot!(stem(&path), told);
        }
    });
}

#[test]
fn every_example_is_read_without_a_word() {
    let files = files("workflows");
    assert!(files.len() >= 5);
    for path in files {
        match check(&path) {
            Ok(workflow) => assert!(!workflow.tasks.is_empty()),
            Err(diagnostics) => panic!("{}:\n{}", path.display(), diagnostics.render(false)),
        }
    }
}

#[test]
fn the_demo_shows_every_part() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/demo.ron");
    let demo = check(&path).unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false)));
    assert!(demo.tasks.len() >= 30);
    assert!(demo.stages.len() >= 4);
    assert!(demo.tasks.iter().any(|task| task.retry.attempts > 1));
    assert!(demo.tasks.iter().any(|task| !task.fallback.is_empty()));
    assert!(demo.tasks.iter().any(|task| task.deadline.is_some()));
    let users = |name: &str| {
        let id = demo.resources.iter().position(|resource| resource.name == name).expect(name);
        demo.tasks
            .iter()
            .filter(|task| task.requirements.resources.iter().any(|used| used.resource.index() == id))
            .count()
    };
    assert!(users("db") >= 4 && users("license") >= 3);
}
