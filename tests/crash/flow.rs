//! Random workflows for the runs, and what must come of each: made from a seed, without any code of the engine.

use super::task;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

/// All kinds of processes that outlive their task.
pub const ALL_KINDS: &[&str] = &["child", "daemon", "stranger"];

/// How a flow is made.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many tasks.
    pub tasks: usize,
    /// Longest run of a task, ms.
    pub longest: u64,
    /// `on_console_death`, in the file's words.
    pub on_death: &'static str,
    /// What tasks leave behind: processes in their session, in their own, with a cleared environment too. The last kind
    /// cannot be found again once the guard is dead as well.
    pub left: &'static [&'static str],
}

/// What must come of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    Succeeded,
    /// In the ledger's words: `7`, `s9`.
    Failed(String),
    /// It waits for one that fails.
    Never,
}

#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    pub expected: Expected,
}

#[derive(Debug, Clone)]
pub struct Flow {
    pub text: String,
    pub tasks: Vec<Task>,
}

impl Flow {
    /// Exit code of a run that is not interrupted.
    pub fn code(&self) -> i32 {
        i32::from(self.tasks.iter().any(|task| matches!(task.expected, Expected::Failed(_))))
    }

    pub fn random(seed: u64, shape: Shape) -> Self {
        let mut random = Random(seed);
        let (mut tasks, mut lines): (Vec<Task>, Vec<String>) = (Vec::new(), Vec::new());
        for number in 0..shape.tasks {
            let name = format!("t{number}");
            let attempts = 1 + random.below(3) as usize;
            let ends: Vec<String> = (0..attempts)
                .map(|_| match random.below(100) {
                    0..40 => "0".into(),
                    40..75 => "7".into(),
                    _ => ["s9", "s15", "s10"][random.below(3) as usize].to_owned(),
                })
                .collect();
            let plans: Vec<String> = ends
                .iter()
                .map(|how| {
                    let ms = random.below(shape.longest + 1);
                    if !shape.left.is_empty() && random.percent(20) {
                        let kind = shape.left[random.below(shape.left.len() as u64) as usize];
                        format!("{ms} {how} {kind} {}", random.below(250))
                    } else {
                        format!("{ms} {how}")
                    }
                })
                .collect();
            let after: Vec<usize> = (0..number).filter(|_| random.percent(30)).take(2).collect();
            let never = after.iter().any(|before| tasks[*before].expected != Expected::Succeeded);
            let expected = match ends.iter().position(|how| how == "0") {
                _ if never => Expected::Never,
                Some(_) => Expected::Succeeded,
                None => Expected::Failed(ends[attempts - 1].clone()),
            };
            let (uses, locks) = uses(&mut random);
            let after: Vec<String> = after.iter().map(|before| format!("t{before}")).collect();
            lines.push(line(&name, &plans.join(";"), &after, (&uses, &locks), attempts));
            tasks.push(Task { name, expected });
        }
        Self { text: text(&lines, shape.on_death), tasks }
    }

    /// Tasks that all succeed: name, plan, what they wait for.
    pub fn of(tasks: &[(&str, &str, &[&str])], on_death: &str) -> Self {
        let line = |(name, plan, after): &(&str, &str, &[&str])| {
            let after: Vec<String> = after.iter().map(|name| (*name).to_owned()).collect();
            line(name, plan, &after, ("\"cpu\": 1", ""), 1)
        };
        let lines: Vec<String> = tasks.iter().map(line).collect();
        let task = |name: &str| Task { name: name.into(), expected: Expected::Succeeded };
        Self { text: text(&lines, on_death), tasks: tasks.iter().map(|(name, ..)| task(name)).collect() }
    }

    /// A flow whose tasks write no output: where there is no room for it.
    pub fn silent(self) -> Self {
        let text = self.text.lines().map(|line| match line.split_once("exec: [") {
            None => format!("{line}\n"),
            Some((before, rest)) => {
                let (words, after) = rest.split_once(']').expect("a list ends");
                let words = words.replace("\", \"", " ").replace('"', "");
                format!("{before}run: \"exec {words} > /dev/null 2>&1\"{after}\n")
            }
        });
        Self { text: text.collect(), ..self }
    }
}

fn line(name: &str, plan: &str, after: &[String], (uses, locks): (&str, &str), attempts: usize) -> String {
    let arguments: Vec<String> = task::ARGUMENTS.iter().map(|word| format!("{word:?}")).collect();
    let program = std::env::current_exe().unwrap();
    format!(
        "Task(id: \"{name}\", exec: [{program:?}, {}], after: {after:?}, uses: {{ {uses} }}, \
         retry: Retry(attempts: {attempts}, backoff: Fixed(\"20ms\")), \
         env: {{ {:?}: \"{name}\", {:?}: {plan:?}, {:?}: \"{locks}\" }}),",
        arguments.join(", "),
        task::NAME,
        task::PLAN,
        task::LOCKS,
    )
}

fn text(lines: &[String], on_death: &str) -> String {
    format!(
        "Workflow(name: \"crash\", agents: [Agent(name: \"local\", slots: 4, capabilities: [\"shell\"])], \
         resources: {{ \"db\": Lock, \"seat\": Pool(2) }}, on_console_death: {on_death}, grace: \"1s\", \
         leak_grace: \"100ms\", stages: [Stage(id: \"main\", tasks: [\n{}\n])])\n",
        lines.join("\n")
    )
}

fn uses(random: &mut Random) -> (String, String) {
    let (mut uses, mut locks) = (vec!["\"cpu\": 1".to_owned()], Vec::new());
    match random.below(10) {
        0..2 => (uses.push("\"db\": Exclusive".into()), locks.push("db:x")).0,
        2..4 => (uses.push("\"db\": Shared".into()), locks.push("db:s")).0,
        _ => {}
    }
    if random.percent(30) {
        uses.push("\"seat\": 1".into());
        locks.push("seat:2");
    }
    (uses.join(", "), locks.join(" "))
}
