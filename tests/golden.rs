//! Recorded sessions that must open for ever: every folder of `sessions/golden` is read back, folded and resumed by the
//! program of today. A recording is never changed; a new kind of fact gets a new one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use quarterdeck::engine::check::check;
use quarterdeck::engine::fact::{Fact, Stamped};
use quarterdeck::engine::ids::TaskId;
use quarterdeck::engine::state::State;
use quarterdeck::session::folder::Folder;
use quarterdeck::session::journal::FILE;
use quarterdeck::session::journal::line::encode;
use quarterdeck::session::journal::read::{Reader, Tail, read};

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sessions/golden");
    let entries = fs::read_dir(folder).expect("the folder is part of the repository");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// What a fold of all facts comes to, in words that outlive the State's own layout.
fn folded(facts: &[Stamped]) -> String {
    let mut state = State::default();
    for stamped in facts {
        state.apply(stamped);
    }
    assert_eq!(check(&state), Ok(()), "the fold is sound");
    let mut text = format!("{}: exit code {}\n", state.settings.name, state.exit_code());
    for id in (0..state.tasks.len()).map(TaskId::from) {
        let task = state.task(id);
        text.push_str(&format!(
            "{}: {:?}, attempt {}, priority {}\n",
            state.name(id),
            state.shown(id),
            task.attempt,
            task.priority
        ));
        for past in task.past.iter().flat_map(|past| past.iter()) {
            text.push_str(&format!("    {}: {:?}\n", past.attempt.0, past.outcome));
        }
    }
    text
}

#[test]
fn every_recording_is_read_whole_and_folds_to_what_it_was() {
    for path in recordings() {
        let folder = Folder::recording(&path).expect("a folder");
        let mut reader = Reader::new(folder.open_file(FILE).expect("a journal")).expect("readable");
        let mut facts = Vec::new();
        while let Some(batch) = reader.next_batch() {
            facts.extend(batch.facts);
        }
        let end = reader.finish().expect("readable");
        assert_eq!(end.tail, Tail::Clean, "{path:?}");
        insta::assert_snapshot!(folder.name(), folded(&facts));
    }
}

#[test]
fn every_recording_can_be_gone_on_with_and_nothing_finished_runs_again() {
    for path in recordings() {
        let name = path.file_name().expect("a folder").to_str().expect("our own names");
        let state = tempfile::tempdir().expect("a temporary folder");
        let copy = state.path().join("sessions").join(name);
        fs::create_dir_all(copy.join("log")).expect("ours");
        for file in [FILE, "workflow.ron"] {
            fs::copy(path.join(file), copy.join(file)).expect("part of a recording");
        }
        let before = read(&copy.join(FILE)).expect("readable").facts;
        let qd = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_qd"));
            command.args(args).env("QD_STATE_DIR", state.path()).output().expect("the binary is built")
        };
        assert!(qd(&["sessions"]).status.success());
        let Some(Fact::Closed { code }) = before.last().map(|stamped| &stamped.fact) else {
            panic!("{name} was closed when it was recorded")
        };
        let resumed = qd(&["resume", name]);
        assert_eq!(resumed.status.code(), Some(*code), "{}", String::from_utf8_lossy(&resumed.stderr));
        let after = read(&copy.join(FILE)).expect("readable").facts;
        assert!(!after[before.len()..].iter().any(|stamped| matches!(stamped.fact, Fact::Starting { .. })));
        assert_eq!(after[..before.len()], before[..]);
    }
}

/// Writes a recording anew without what names the machine it was made on. Run it once on a copied session folder:
/// `QD_GOLDEN=sessions/golden/NAME cargo test --test golden -- --ignored`.
#[test]
#[ignore = "makes a recording fit to keep; see its docs"]
fn clean_a_new_recording() {
    let path = PathBuf::from(std::env::var_os("QD_GOLDEN").expect("QD_GOLDEN names the folder"));
    let journal = path.join(FILE);
    let mut facts = read(&journal).expect("a good journal").facts;
    let (mut bytes, mut prev) = (Vec::new(), 0);
    for (number, stamped) in facts.iter_mut().enumerate() {
        if let Fact::Opened { boot_id, .. } = &mut stamped.fact {
            *boot_id = "00000000-0000-4000-8000-000000000000".to_owned();
        }
        prev = encode(&mut bytes, number as u64 + 1, prev, stamped).expect("it was read");
    }
    drop(File::options().write(true).open(&journal).expect("writable"));
    fs::write(&journal, bytes).expect("writable");
}
