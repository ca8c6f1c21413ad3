//! The environment of a task: the console's, prepared once, with the task's own variables and markers. Knows nothing of
//! processes.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};
use std::sync::Arc;

use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::{StartOrder, StartProblem};

/// Name of the session, in every task's environment.
pub const SESSION: &str = "QD_SESSION";
/// Index of the task.
pub const TASK_ID: &str = "QD_TASK_ID";
/// Number of the attempt.
pub const ATTEMPT: &str = "QD_ATTEMPT";
/// Name of the task.
pub const TASK: &str = "QD_TASK";

/// By which an attempt shows on the session's socket who it is.
pub const TOKEN: &str = "QD_TOKEN";
/// Path of this program.
pub const BIN: &str = "QD_BIN";

/// Variables that every attempt gets anew.
const OURS: [&str; 6] = [SESSION, TASK_ID, ATTEMPT, TASK, TOKEN, "PWD"];

/// The environment of one attempt. It owns what it is made of, or shares it.
#[derive(Debug)]
pub struct Block {
    shared: Arc<Vec<CString>>,
    /// Places in `shared` that the task's own variables take.
    left_out: Vec<usize>,
    own: Vec<CString>,
}

impl Block {
    /// All its entries, `NAME=value` each.
    pub fn entries(&self) -> impl Iterator<Item = &CStr> {
        let kept = self.shared.iter().enumerate().filter(|(at, _)| !self.left_out.contains(at));
        kept.map(|(_, entry)| entry.as_c_str()).chain(self.own.iter().map(CString::as_c_str))
    }
}

/// The console's environment, made ready to be passed on.
pub struct Environment {
    /// What was inherited; last the session's marker.
    shared: Arc<Vec<CString>>,
    /// The inherited `PWD` where it names the session's folder: a shell would keep it, links and all.
    pwd: Option<(CString, CString)>,
    /// Makes the token of an attempt.
    token: Option<MakeToken>,
}

/// Makes the token of an attempt.
pub type MakeToken = Box<dyn Fn(TaskId, Attempt) -> String + Send>;

impl Environment {
    /// From the console's variables. `folder` is where tasks run that name no other.
    pub fn new(variables: impl Iterator<Item = (OsString, OsString)>, session: &str, folder: &CStr) -> Self {
        let mut inherited = Vec::new();
        let mut pwd = None;
        for (name, value) in variables {
            if name == "PWD" {
                pwd = Some(value.clone());
            }
            if OURS.iter().any(|ours| name == *ours) {
                continue;
            }
            let entry = [name.into_vec(), value.into_vec()].join(&b'=');
            inherited.push(CString::new(entry).expect("an inherited variable holds no NUL"));
        }
        let session: String = session.chars().filter(|c| *c != '\0').collect();
        let session = CString::new(format!("{SESSION}={session}")).expect("NULs were taken out");
        let pwd = pwd
            .and_then(|pwd| CString::new(pwd.into_vec()).ok())
            .filter(|pwd| pwd.to_bytes().first() == Some(&b'/') && same_file(pwd, folder))
            .map(|pwd| (folder.to_owned(), pwd));
        inherited.push(session);
        Self { shared: Arc::new(inherited), pwd, token: None }
    }

    /// Each attempt is given a token from now on.
    pub fn with_tokens(self, token: Option<MakeToken>) -> Self {
        Self { token, ..self }
    }

    /// The value of an inherited variable.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.shared.iter().find_map(|entry| value_of(entry.to_bytes(), name))
    }

    /// The value that a task's own variables or the inherited ones give to `name`.
    pub fn get_for<'a>(&'a self, own: &'a [(String, String)], name: &str) -> Option<&'a [u8]> {
        let set = own.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_bytes());
        set.or_else(|| self.get(name))
    }

    /// What is added for one attempt that runs in `cwd`.
    ///
    /// # Errors
    /// A variable that no environment can hold.
    pub fn own(&self, order: &StartOrder, cwd: &CStr) -> Result<Vec<CString>, StartProblem> {
        let mut own = Vec::with_capacity(order.command.env.len() + 5);
        for (at, (name, value)) in order.command.env.iter().enumerate() {
            let last = order.command.env[at + 1..].iter().all(|(later, _)| later != name);
            if OURS[..5].contains(&name.as_str()) || !last {
                continue;
            }
            if name.is_empty() || name.contains('=') {
                return Err(problem(format!("`{name}` is no name for an environment variable")));
            }
            let entry = CString::new(format!("{name}={value}"));
            own.push(entry.map_err(|_| problem(format!("environment variable `{name}` holds a NUL byte")))?);
        }
        let marker = |text: String| CString::new(text).map_err(|_| problem("the task's name holds a NUL byte".into()));
        own.push(marker(format!("{TASK_ID}={}", order.task.0))?);
        own.push(marker(format!("{ATTEMPT}={}", order.attempt.0))?);
        own.push(marker(format!("{TASK}={}", order.name))?);
        if let Some(token) = &self.token {
            own.push(marker(format!("{TOKEN}={}", token(order.task, order.attempt)))?);
        }
        let given = order.command.env.iter().any(|(name, _)| name == "PWD");
        own.extend((!given).then(|| self.pwd_of(cwd)).flatten());
        Ok(own)
    }

    /// The whole block: what is inherited and not overridden, then the task's own.
    pub fn block(&self, order: &StartOrder, own: Vec<CString>) -> Block {
        let changed = &order.command.env;
        let overridden = |entry: &CString| changed.iter().any(|(name, _)| value_of(entry.to_bytes(), name).is_some());
        let last = self.shared.len() - 1;
        let left_out = match changed.is_empty() {
            true => Vec::new(),
            false => (0..last).filter(|at| overridden(&self.shared[*at])).collect(),
        };
        Block { shared: Arc::clone(&self.shared), left_out, own }
    }

    /// Just what is inherited.
    #[cfg(test)]
    pub fn all(&self) -> Block {
        Block { shared: Arc::clone(&self.shared), left_out: Vec::new(), own: Vec::new() }
    }

    /// `PWD=`, as a shell that starts in `cwd` would export it; absent where only the kernel knows the real name.
    fn pwd_of(&self, cwd: &CStr) -> Option<CString> {
        let cwd = match &self.pwd {
            Some((folder, pwd)) if folder.as_c_str() == cwd => pwd.as_c_str(),
            _ => cwd,
        };
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(cwd.to_bytes()));
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let bytes = cwd.to_bytes();
        let tidy = plain && (bytes == b"/" || !bytes.ends_with(b"/")) && !bytes.windows(2).any(|two| two == b"//");
        // `components` drops a `.` inside the path, so look for it.
        let dots = bytes.split(|byte| *byte == b'/').any(|part| part == b"." || part == b"..");
        (tidy && !dots && bytes.first() == Some(&b'/'))
            .then(|| CString::new([b"PWD=", bytes].concat()).expect("made from a C string"))
    }
}

/// The value, if this `NAME=value` entry is of that name.
fn value_of<'a>(entry: &'a [u8], name: &str) -> Option<&'a [u8]> {
    entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn same_file(one: &CStr, other: &CStr) -> bool {
    match (rustix::fs::stat(one), rustix::fs::stat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

fn problem(message: String) -> StartProblem {
    StartProblem { message, code: None, transient: false }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::definition::{CommandLine, CommandSpec};
    use crate::engine::ids::{AgentId, Attempt, TaskId};

    fn order(env: &[(&str, &str)]) -> StartOrder {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let command = CommandSpec { env, ..CommandSpec::new(CommandLine::Shell("true".into())) };
        StartOrder {
            care: None,
            since: Attempt(1),
            force: false,
            problem: None,
            agent: AgentId(0),
            task: TaskId(7),
            attempt: Attempt(2),
            name: "build".into(),
            command: Arc::new(command),
        }
    }

    fn block(inherited: &[(&str, &str)], own: &[(&str, &str)], cwd: &str) -> Result<Vec<String>, StartProblem> {
        let inherited = inherited.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let environment = Environment::new(inherited, "night", c"/");
        let order = order(own);
        let own = environment.own(&order, &CString::new(cwd).unwrap())?;
        Ok(environment.block(&order, own).entries().map(|entry| entry.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn a_task_gets_the_inherited_variables_its_own_and_the_markers_each_once() {
        let inherited = [("A", "1"), ("B", "2"), ("QD_TASK", "outer"), ("QD_SESSION", "outer"), ("PWD", "/gone")];
        let got = block(&inherited, &[("B", "3"), ("C", "x=y"), ("B", "4"), ("QD_ATTEMPT", "99")], "/tmp").unwrap();
        let expected =
            ["A=1", "QD_SESSION=night", "C=x=y", "B=4", "QD_TASK_ID=7", "QD_ATTEMPT=2", "QD_TASK=build", "PWD=/tmp"];
        assert_eq!(got, expected);
    }

    #[test]
    fn pwd_is_set_only_where_it_is_certain() {
        for (cwd, expected) in
            [("/", true), ("/tmp", true), ("/tmp/", false), ("/tmp/../tmp", false), ("/./tmp", false), ("tmp", false)]
        {
            let got = block(&[], &[], cwd).unwrap();
            assert_eq!(got.contains(&format!("PWD={cwd}")), expected, "{cwd}");
        }
    }

    #[test]
    fn a_variable_that_no_environment_can_hold_is_a_start_problem() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y"), ("A\0", "x")] {
            assert!(block(&[], &[(name, value)], "/").is_err(), "{name:?} {value:?}");
        }
    }
}
