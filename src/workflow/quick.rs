//! A workflow out of bare commands: one stage, a task for each, named by its command. Knows no files.

use std::collections::HashMap;
use std::sync::Arc;

use unicode_width::UnicodeWidthChar;

use super::diagnostic::{Diagnostics, Extent, Finding, Findings, is_treacherous, shown};
use super::lower::MAX_TASKS;
use super::places::local_agent;
use super::{Machine, Source, command};
use crate::engine::definition::{
    CommandLine, CommandSpec, Join, Requirements, ResourceDefinition, ResourceKind, Retry, Settings, TaskDefinition,
    TaskType, Workflow, WorkflowStage,
};
use crate::engine::ids::StageId;

/// A command's name is cut at so many cells: what a queue can show.
const MAX_CELLS: usize = 48;

/// One stage with a task for each command of the shell, in their order; blank ones are left out. A task is called like its
/// command, cut when long, numbered when there are several of it.
///
/// # Errors
/// There is none, one holds a NUL, or one is too long for the kernel.
pub fn quick(commands: &[String], machine: &Machine) -> Result<Workflow, Diagnostics> {
    let mut findings = Findings::default();
    let mut names = Namer::default();
    let mut tasks = Vec::new();
    for (index, command) in commands.iter().enumerate().filter(|(_, command)| !command.trim().is_empty()) {
        let run = command.trim().to_owned();
        let spec = CommandSpec::new(CommandLine::Shell(run));
        if let Some(fault) = fault(command, &spec) {
            let text = shown(command);
            let at = Extent::new(0, text.len());
            findings
                .push(Finding::argument(text, at, format!("command {}: {fault}", index + 1)).label("cannot be run"));
        } else if tasks.len() == MAX_TASKS {
            findings.push(Finding::whole(format!("more than {MAX_TASKS} commands")));
            break;
        } else {
            tasks.push(task(names.name(command), spec));
        }
    }
    if tasks.is_empty() && findings.count() == 0 {
        findings.push(Finding::whole("there are no commands").help("qd run -- 'first command' 'second command'"));
    }
    if findings.count() > 0 {
        return Err(findings.locate(&Source { name: "command line", text: "" }));
    }
    let per_agent = |name: &str| ResourceDefinition::new(name, ResourceKind::PerAgent);
    Ok(Workflow {
        settings: Settings { name: "commands".to_owned(), ..Settings::default() },
        resources: vec![per_agent("cpu"), per_agent("mem")],
        agents: vec![local_agent(machine)],
        stages: vec![WorkflowStage { name: "commands".to_owned(), after: Vec::new(), when: None }],
        tasks,
        ..Workflow::default()
    })
}

fn fault(command: &str, spec: &CommandSpec) -> Option<String> {
    let bytes = command::size(spec);
    if command.contains('\0') {
        Some("it holds a NUL".to_owned())
    } else if bytes > command::MAX_COMMAND_BYTES {
        Some(format!("it is {bytes} bytes long, {} are possible", command::MAX_COMMAND_BYTES))
    } else {
        None
    }
}

fn task(id: String, spec: CommandSpec) -> TaskDefinition {
    TaskDefinition {
        id,
        stage: StageId(0),
        task_type: TaskType::Run(Arc::new(spec)),
        requirements: Requirements::default(),
        priority: 0,
        deadline: None,
        after: Vec::new(),
        timeout: None,
        estimate: None,
        retry: Retry::default(),
        fallback: Vec::new(),
        tags: Vec::new(),
        join: Join::default(),
        entry: None,
        care: None,
        compensation: None,
        compensates: None,
        barrier: None,
        monitor: None,
        made_by: None,
        added_by: None,
        preemptible: false,
    }
}

/// Gives names that are all different.
#[derive(Default)]
struct Namer {
    /// How often each was wanted.
    taken: HashMap<String, usize>,
}

impl Namer {
    fn name(&mut self, command: &str) -> String {
        let plain = plain_name(command);
        let mut name = plain.clone();
        loop {
            let count = self.taken.entry(plain.clone()).or_default();
            *count += 1;
            if *count > 1 {
                name = format!("{plain} #{count}");
            }
            // a command may itself look like a numbered one
            if name == plain || !self.taken.contains_key(&name) {
                self.taken.entry(name.clone()).or_insert(1);
                return name;
            }
        }
    }
}

/// A command in one short line that is good as a name in a file too.
fn plain_name(command: &str) -> String {
    let mut name = String::new();
    let mut cells = 0;
    for word in command.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !name.is_empty() {
            name.push(' ');
            cells += 1;
        }
        for c in word.chars().filter(|c| !is_treacherous(*c)) {
            let c = if matches!(c, '*' | '?') { '_' } else { c };
            cells += c.width().unwrap_or(0);
            if cells > MAX_CELLS {
                return name.trim_end().to_owned() + "…";
            }
            name.push(c);
        }
    }
    let name = name.replace("${", "{");
    let name = name.trim();
    if name.is_empty() { "command".to_owned() } else { name.to_owned() }
}
