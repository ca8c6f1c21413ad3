//! The judges of `faults.md`: the ledger (O1), the locks (O2), what is left running (O3), the journal against what is shown
//! (O4) and the exit code (O9). They know the flow and the ledger, and read the journal by their own reader.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::drive::{Check, Run, until};
use super::flow::Expected;
use super::reader::{self, Fold, Record};
use super::task::{Entry, ledger};

/// What is left of a run is gone so soon after its end: some tasks leave processes, guards tell and end.
const GONE: Duration = Duration::from_secs(8);

/// A journal reserves so much room ahead, bytes.
const RESERVE: u64 = 1 << 20;

/// Ends of attempts, by task and number, in the ledger's words.
pub type Ends = BTreeMap<(String, u32), String>;

/// Judges a run that has come to its end with `code`. Returns the ends that the journal has.
pub fn judge(run: &Run, code: i32) -> Check<Ends> {
    let (ends, fold) = judge_safety(run)?;
    for task in &run.flow.tasks {
        let last = fold.last.get(&task.name);
        let right = match &task.expected {
            Expected::Succeeded => last.is_some_and(|last| last == "0"),
            Expected::Failed(how) => last == Some(how),
            Expected::Never => last.is_none() && ledger(&run.root, &task.name).is_empty(),
        };
        if !right {
            return Err(format!("{} should be {:?} but ended with {last:?}", task.name, task.expected));
        }
    }
    if ends.values().any(|how| how == "Lost") {
        return Err("an attempt is called Lost although its guard lived".into());
    }
    if code != run.flow.code() {
        return Err(format!("exit code {code}, not {}: {}", run.flow.code(), run.errors()));
    }
    shown(run, &fold, code)?;
    let journal = std::fs::metadata(run.folder().join("journal")).map_err(|error| error.to_string())?;
    if std::os::unix::fs::MetadataExt::blocks(&journal) * 512 > journal.len() + RESERVE / 2 {
        return Err("the room reserved for the journal was not given back".into());
    }
    Ok(ends)
}

/// What holds for every run that is over, whatever was killed.
pub fn judge_safety(run: &Run) -> Check<(Ends, Fold)> {
    if !until(GONE, || run.processes().is_empty()) {
        return Err(format!("left running: {:?}", run.processes()));
    }
    let violations = std::fs::read_to_string(run.root.join("violations")).unwrap_or_default();
    if !violations.is_empty() {
        return Err(format!("seen by the tasks themselves: {violations}"));
    }
    let bytes = run.journal();
    let (records, good) = reader::read(&bytes);
    if good != bytes.len() {
        return Err(format!("{} bytes behind the last good line of the journal", bytes.len() - good));
    }
    let fold = reader::fold(&records);
    let mut ends = Ends::new();
    for ((task, attempt), outcomes) in &fold.ended {
        if outcomes.len() != 1 || fold.started.get(&(task.clone(), *attempt)) != Some(&1) {
            return Err(format!("{task} attempt {attempt} has the outcomes {outcomes:?}"));
        }
        ends.insert((task.clone(), *attempt), outcomes[0].clone());
    }
    for task in &run.flow.tasks {
        judge_ledger(run, &task.name, &ends, &fold)?;
    }
    for output in run.outputs() {
        let text = std::fs::read_to_string(output).unwrap();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            printed(line, &records)?;
        }
    }
    Ok((ends, fold))
}

/// No attempt twice, no start after a success, and the outcome that the task itself saw coming.
fn judge_ledger(run: &Run, task: &str, ends: &Ends, fold: &Fold) -> Check {
    let (mut seen, mut succeeded) = (Vec::new(), 0);
    for entry in ledger(&run.root, task) {
        match entry {
            Entry::Start { attempt, .. } => {
                if seen.contains(&attempt) || succeeded > 0 {
                    return Err(format!(
                        "{task} was started as attempt {attempt} after {seen:?}, {succeeded} successes"
                    ));
                }
                if !fold.started.contains_key(&(task.to_owned(), attempt)) {
                    return Err(format!("{task} ran attempt {attempt}, of which the journal knows nothing"));
                }
                seen.push(attempt);
            }
            Entry::End { attempt, how } => {
                succeeded += usize::from(how == "0");
                let stored = ends.get(&(task.to_owned(), attempt));
                // What is stopped at that very moment may be called so; what a killed guard took with it is Lost.
                let excused = |stored: &String| stored == "Aborted" || stored == "Lost";
                if stored != Some(&how) && !stored.is_some_and(excused) {
                    return Err(format!("{task} attempt {attempt} ended with {how}, the journal has {stored:?}"));
                }
            }
        }
    }
    Ok(())
}

/// A printed line is the stored fact with its number.
fn printed(line: &str, records: &[Record]) -> Check {
    let wrong = |what: &str| format!("printed, but {what}: {line}");
    let value: Value = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
    let seq = value["seq"].as_u64().ok_or(wrong("without a number"))?;
    let record = records.get(seq as usize - 1).ok_or(wrong("not stored"))?;
    let name = value["fact"].as_str().unwrap_or_default();
    let how = match (value["code"].as_i64(), value["signal"].as_i64()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("s{signal}"),
        (None, None) => name.to_owned(),
    };
    let same = match name {
        "Succeeded" | "Failed" | "Cancelled" | "Aborted" | "Lost" => {
            record.name == "Ended" && record.outcome() == Some(how)
        }
        name => record.name == name,
    };
    let attempt = value["attempt"].as_u64().is_none_or(|n| record.number("attempt").map(u64::from) == Some(n));
    if same && attempt { Ok(()) } else { Err(wrong(&format!("stored as {record:?}"))) }
}

/// `--json`, `qd sessions` and `qd why` say what the journal has.
fn shown(run: &Run, fold: &Fold, code: i32) -> Check {
    let last = run.outputs().last().ok_or("nothing was printed")?;
    let text = std::fs::read_to_string(last).unwrap();
    let seqs: Vec<u64> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect();
    let total = run.records().len() as u64;
    if seqs.last() != Some(&total) || seqs.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        return Err(format!("the last console printed {}–{:?} of {total} facts", seqs[0], seqs.last()));
    }
    if fold.closed != Some(code) {
        return Err(format!("exit code {code}, but closed with {:?}", fold.closed));
    }
    let ask = |arguments: &[&str]| -> Vec<Value> {
        let out = run.command(arguments).output().unwrap();
        String::from_utf8_lossy(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let sessions = ask(&["sessions", "--json"]);
    let session = sessions.iter().find(|line| line["name"] == run.session.as_str()).ok_or("not among the sessions")?;
    let tasks = run.flow.tasks.len() as u64;
    if (session["facts"].as_u64(), session["code"].as_i64(), session["tasks"].as_u64())
        != (Some(total), Some(code.into()), Some(tasks))
    {
        return Err(format!("qd sessions says {session}"));
    }
    for task in &run.flow.tasks {
        let word = match task.expected {
            Expected::Succeeded => "done",
            Expected::Failed(_) => "failed",
            Expected::Never => "waiting",
        };
        let why = ask(&["why", &run.session, &task.name, "--json"]);
        if why.len() != 1 || why[0]["phase"] != word {
            return Err(format!("qd why says {why:?}, not {word}"));
        }
    }
    Ok(())
}
