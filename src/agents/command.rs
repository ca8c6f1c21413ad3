//! How a command is executed: directly where `/bin/sh -c` would do exactly the same, else by the shell. Starting a shell
//! costs a second fork and exec, so this decides the price of a small task. In doubt: the shell. Knows files and PATH,
//! not attempts.

use std::collections::HashMap;
use std::ffi::{CStr, CString};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat, accessat, open, stat};
use rustix::io::Errno;

use super::environment::Environment;
use crate::engine::definition::{CommandLine, CommandSpec};
use crate::engine::message::StartProblem;

/// At most so many programs' first bytes are remembered.
const REMEMBERED: usize = 4096;
/// A message quotes at most so many characters of what it is about.
const QUOTED: usize = 400;

/// What shells (dash, bash, ksh, busybox, zsh as sh) treat as their own word or command, sorted.
const SHELL_WORDS: &[&str] = &[
    ".",
    "..",
    ":",
    "[",
    "[[",
    "]]",
    "alias",
    "autoload",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "emulate",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "float",
    "for",
    "foreach",
    "function",
    "functions",
    "getopts",
    "global",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "integer",
    "jobs",
    "kill",
    "let",
    "limit",
    "local",
    "logout",
    "mapfile",
    "nameref",
    "namespace",
    "nocorrect",
    "noglob",
    "popd",
    "print",
    "printf",
    "private",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "redirect",
    "rehash",
    "repeat",
    "return",
    "select",
    "set",
    "setopt",
    "shift",
    "shopt",
    "source",
    "stop",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unfunction",
    "unlimit",
    "unset",
    "unsetopt",
    "until",
    "wait",
    "whence",
    "where",
    "which",
    "while",
    "zmodload",
];

/// What to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The file.
    pub program: CString,
    /// Its arguments, the name it is called by first.
    pub argv: Vec<CString>,
    /// Which way was chosen.
    pub way: Way,
}

/// Which way a command is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A shell line that needs no shell.
    Direct,
    /// `/bin/sh -c`.
    Shell,
    /// A program and its arguments, as written.
    Exec,
}

/// Decides; remembers what program files begin with.
#[derive(Default)]
pub struct Planner {
    known: HashMap<CString, (Stamp, Begins)>,
}

/// A file that is the same in all of these has not been changed.
type Stamp = (u64, u64, i64, u64, i64, u64, i64, u32);

/// What a program file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// The ELF magic or `#!`: the kernel runs it as a shell would.
    Program,
    /// Something else: a shell would read it as a script.
    Other,
}

/// What stands at a path.
enum Found {
    Nothing,
    Program,
    /// There, but not to be run directly: a folder, not executable, a script without `#!`, unreadable.
    Doubtful,
}

impl Planner {
    /// How to run this command in `cwd` (absolute).
    ///
    /// # Errors
    /// What a shell would answer with 126 or 127, where that is certain before any process is made.
    pub fn plan(&mut self, command: &CommandSpec, environment: &Environment, cwd: &CStr) -> Result<Plan, StartProblem> {
        match &command.run {
            CommandLine::Shell(line) => match self.direct(line, command, environment, cwd)? {
                Some(plan) => Ok(plan),
                None => shell(line),
            },
            CommandLine::Exec(argv) => self.exec(argv, command, environment, cwd),
        }
    }

    /// The line as a direct execution, if no shell is needed for it.
    fn direct(
        &mut self,
        line: &str,
        command: &CommandSpec,
        environment: &Environment,
        cwd: &CStr,
    ) -> Result<Option<Plan>, StartProblem> {
        let Some(words) = plain_words(line) else { return Ok(None) };
        let word = words[0];
        let function = format!("BASH_FUNC_{word}%%");
        if environment.get_for(&command.env, &function).is_some() {
            return Ok(None);
        }
        let program = if word.contains('/') {
            let path = join(cwd, word);
            match self.look(&path) {
                Found::Program => c_string(word)?,
                Found::Nothing => return Err(not_found(word, &format!("no such file: {}", shown(&path)))),
                Found::Doubtful if not_executable(&path) => return Err(denied(word, &path)),
                Found::Doubtful => return Ok(None),
            }
        } else {
            let Some(path) = environment.get_for(&command.env, "PATH") else { return Ok(None) };
            match self.search(path, word) {
                Search::Program(program) => program,
                Search::Nothing => return Err(not_found(word, &looked_in(path))),
                Search::Doubtful => return Ok(None),
            }
        };
        let argv = words.into_iter().map(c_string).collect::<Result<_, _>>()?;
        Ok(Some(Plan { program, argv, way: Way::Direct }))
    }

    /// Program and arguments as written, the program looked up in the task's PATH.
    fn exec(
        &mut self,
        argv: &[String],
        command: &CommandSpec,
        environment: &Environment,
        cwd: &CStr,
    ) -> Result<Plan, StartProblem> {
        let word = argv.first().filter(|word| !word.is_empty());
        let word = word.ok_or_else(|| problem("the command is empty: it names no program", Some(127)))?;
        let program = if word.contains('/') {
            c_string(word)?
        } else {
            let path = environment.get_for(&command.env, "PATH").unwrap_or(b"/bin:/usr/bin");
            first_executable(path, word, cwd)?
        };
        let argv = argv.iter().map(|word| c_string(word)).collect::<Result<_, _>>()?;
        Ok(Plan { program, argv, way: Way::Exec })
    }

    /// The first file of that name in PATH, as long as every shell would take the same.
    fn search(&mut self, path: &[u8], word: &str) -> Search {
        let mut buffer = Vec::with_capacity(64);
        for folder in path.split(|byte| *byte == b':') {
            if folder.first() != Some(&b'/') {
                // Relative to wherever the task runs, or empty: that is for the shell to find.
                return Search::Doubtful;
            }
            buffer.clear();
            buffer.extend_from_slice(folder);
            buffer.push(b'/');
            buffer.extend_from_slice(word.as_bytes());
            let Ok(candidate) = CString::new(buffer.as_slice()) else { return Search::Doubtful };
            match self.look(&candidate) {
                Found::Nothing => {}
                Found::Program => return Search::Program(candidate),
                Found::Doubtful => return Search::Doubtful,
            }
        }
        Search::Nothing
    }

    /// What stands at this path now. Its first bytes are read once and again only if the file has changed.
    fn look(&mut self, path: &CStr) -> Found {
        let stat = match stat(path) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Found::Nothing,
            Err(_) => return Found::Doubtful,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Found::Doubtful;
        }
        let stamp = stamp(&stat);
        if let Some((known, begins)) = self.known.get(path)
            && *known == stamp
        {
            return found(*begins);
        }
        if accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_err() {
            return Found::Doubtful;
        }
        let begins = begins(path);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(path.to_owned(), (stamp, begins));
        found(begins)
    }
}

enum Search {
    Program(CString),
    Nothing,
    Doubtful,
}

fn found(begins: Begins) -> Found {
    match begins {
        Begins::Program => Found::Program,
        Begins::Other => Found::Doubtful,
    }
}

fn stamp(stat: &Stat) -> Stamp {
    let (mtime, ctime) = ((stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec));
    (stat.st_dev, stat.st_ino, mtime.0, mtime.1, ctime.0, ctime.1, stat.st_size, stat.st_mode)
}

fn begins(path: &CStr) -> Begins {
    let mut first = [0_u8; 4];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = open(path, flags, Mode::empty()) else { return Begins::Other };
    match rustix::io::read(&file, &mut first) {
        Ok(4..) if first == *b"\x7fELF" => Begins::Program,
        Ok(2..) if first.starts_with(b"#!") => Begins::Program,
        _ => Begins::Other,
    }
}

/// The words of a line that means the same with and without a shell; `None` if it may not.
fn plain_words(line: &str) -> Option<Vec<&str>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+:,./ -".contains(&byte);
    if !line.bytes().all(plain) {
        return None;
    }
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let first = *words.first()?;
    let own = SHELL_WORDS.binary_search(&first).is_ok();
    let odd = first.starts_with(['-', '+', '%', '@']);
    (!own && !odd).then_some(words)
}

/// The line for `/bin/sh -c`.
///
/// # Errors
/// A NUL byte, which no argument can hold.
pub fn shell(line: &str) -> Result<Plan, StartProblem> {
    let mut argv = vec![c"/bin/sh".to_owned(), c"-c".to_owned()];
    if line.starts_with(['-', '+']) {
        // Else the shell would read the line as an option.
        argv.push(c"--".to_owned());
    }
    argv.push(c_string(line)?);
    Ok(Plan { program: c"/bin/sh".to_owned(), argv, way: Way::Shell })
}

/// As `execvp` does: the first executable regular file of that name; relative folders are the task's.
fn first_executable(path: &[u8], word: &str, cwd: &CStr) -> Result<CString, StartProblem> {
    let mut refused = None;
    for folder in path.split(|byte| *byte == b':') {
        let here = [if folder.is_empty() { b"." } else { folder }, b"/", word.as_bytes()].concat();
        let Ok(candidate) = CString::new(here) else { return Err(nul(word)) };
        let seen = join(cwd, &candidate.to_string_lossy());
        match stat(&seen) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {}
            Ok(_) if accessat(CWD, &seen, Access::EXEC_OK, AtFlags::EACCESS).is_ok() => return Ok(candidate),
            Ok(_) => refused = Some(seen),
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(seen) => denied(word, &seen),
        None => not_found(word, &looked_in(path)),
    })
}

/// A file that is there and that nobody here may execute (a folder never is).
fn not_executable(path: &CStr) -> bool {
    match stat(path) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => true,
        Ok(_) => accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) == Err(Errno::ACCESS),
        Err(_) => false,
    }
}

/// `path` seen from `cwd`.
fn join(cwd: &CStr, path: &str) -> CString {
    let joined =
        if path.starts_with('/') { path.as_bytes().to_vec() } else { [cwd.to_bytes(), b"/", path.as_bytes()].concat() };
    // Callers have no NUL in `path`: it was checked, or made from a C string.
    CString::new(joined).unwrap_or_default()
}

fn c_string(text: &str) -> Result<CString, StartProblem> {
    CString::new(text).map_err(|_| nul(text))
}

fn nul(text: &str) -> StartProblem {
    problem(&format!("`{}` holds a NUL byte, which no command can", quoted(text)), None)
}

fn not_found(word: &str, why: &str) -> StartProblem {
    problem(&format!("{}: command not found ({why})", quoted(word)), Some(127))
}

fn denied(word: &str, path: &CStr) -> StartProblem {
    problem(&format!("{}: not executable ({})", quoted(word), shown(path)), Some(126))
}

fn looked_in(path: &[u8]) -> String {
    format!("looked in {}", quoted(&String::from_utf8_lossy(path)))
}

fn shown(path: &CStr) -> String {
    quoted(&path.to_string_lossy())
}

/// At most [`QUOTED`] characters of a text.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

fn problem(message: &str, code: Option<i32>) -> StartProblem {
    StartProblem { message: message.to_owned(), code, transient: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(path: &str) -> Environment {
        Environment::new([("PATH".into(), path.into())].into_iter(), "s", c"/")
    }

    fn plan(line: &str, path: &str, cwd: &CStr) -> Result<Plan, StartProblem> {
        let command = CommandSpec::new(CommandLine::Shell(line.into()));
        Planner::default().plan(&command, &environment(path), cwd)
    }

    #[test]
    fn the_list_of_shell_words_is_sorted_so_that_it_can_be_searched() {
        assert!(SHELL_WORDS.is_sorted());
    }

    #[test]
    fn only_lines_that_mean_the_same_without_a_shell_are_run_directly() {
        for (line, way) in [
            ("/bin/cat", Way::Direct),
            ("cat", Way::Direct),
            ("  cat  a.txt  -n ", Way::Direct),
            ("cat user@host:/a,b+c%d", Way::Direct),
            ("", Way::Shell),
            ("   ", Way::Shell),
            ("true", Way::Shell),
            ("if", Way::Shell),
            ("time cat x", Way::Shell),
            ("cat | cat", Way::Shell),
            ("cat 'x'", Way::Shell),
            ("cat ~", Way::Shell),
            ("A=b cat", Way::Shell),
            ("cat #x", Way::Shell),
            ("cat\tx", Way::Shell),
            ("cat\ncat", Way::Shell),
            ("cat é", Way::Shell),
            ("cat *", Way::Shell),
            ("-x", Way::Shell),
            ("+x", Way::Shell),
            ("%1", Way::Shell),
            (".", Way::Shell),
            ("sleep 0", Way::Direct),
        ] {
            assert_eq!(plan(line, "/usr/bin:/bin", c"/").map(|plan| plan.way), Ok(way), "{line:?}");
        }
    }

    #[test]
    fn a_path_that_only_the_task_s_folder_can_resolve_is_left_to_the_shell() {
        for path in ["", ":/usr/bin", "bin:/usr/bin", "."] {
            assert_eq!(plan("cat", path, c"/").unwrap().way, Way::Shell, "{path:?}");
        }
    }

    #[test]
    fn a_changed_file_is_looked_at_again() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        let mut planner = Planner::default();
        let environment = environment(folder.path().to_str().unwrap());
        let command = CommandSpec::new(CommandLine::Shell("tool".into()));
        let way = |planner: &mut Planner| planner.plan(&command, &environment, c"/").map(|plan| plan.way);
        assert_eq!(way(&mut planner).unwrap_err().code, Some(127));
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        assert_eq!(way(&mut planner), Ok(Way::Shell), "not executable");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(way(&mut planner), Ok(Way::Direct));
        std::fs::write(&file, "echo no interpreter named\n").unwrap();
        assert_eq!(way(&mut planner), Ok(Way::Shell));
    }

    #[test]
    fn an_empty_exec_names_no_program() {
        for argv in [vec![], vec![String::new()]] {
            let command = CommandSpec::new(CommandLine::Exec(argv));
            let answer = Planner::default().plan(&command, &environment("/bin"), c"/");
            assert_eq!(answer.unwrap_err().code, Some(127));
        }
    }
}
