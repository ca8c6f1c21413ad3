//! What stands before the commands of an agent: ssh to another machine, a container, `nice`, the command line of a coding
//! agent. Words in, words out.

use super::definition::{CommandLine, CommandSpec};

/// In a word of a launcher: the whole command, quoted as one word of a shell.
pub const COMMAND: &str = "{command}";

/// `command` as `launcher` runs it.
///
/// Without [`COMMAND`] its words follow those of the launcher; a shell line follows as `/bin/sh -c LINE`. `ssh` gets one
/// word with everything quoted, as it hands a text to a shell there; there the task's own variables and folder are
/// set by that text.
pub fn launched(launcher: &[String], command: &CommandSpec) -> CommandSpec {
    if launcher.is_empty() {
        return command.clone();
    }
    let has_place = launcher.iter().any(|word| word.contains(COMMAND));
    let is_remote = !has_place && launcher[0].rsplit('/').next() == Some("ssh");
    let words: Vec<String> = if has_place {
        let line = line(&words_of(command));
        launcher.iter().map(|word| word.replace(COMMAND, &line)).collect()
    } else if is_remote {
        launcher.iter().cloned().chain([remote(command)]).collect()
    } else {
        launcher.iter().cloned().chain(words_of(command)).collect()
    };
    // a folder of another machine is none of this one
    let cwd = if is_remote { None } else { command.cwd.clone() };
    CommandSpec { run: CommandLine::Exec(words), env: command.env.clone(), cwd, references: command.references.clone() }
}

fn words_of(command: &CommandSpec) -> Vec<String> {
    match &command.run {
        CommandLine::Shell(text) if text.starts_with(['-', '+']) => {
            ["/bin/sh", "-c", "--", text].map(str::to_owned).into()
        }
        CommandLine::Shell(text) => ["/bin/sh", "-c", text].map(str::to_owned).into(),
        CommandLine::Exec(words) => words.clone(),
    }
}

/// The text that a shell of another machine reads.
fn remote(command: &CommandSpec) -> String {
    let folder = command.cwd.as_ref().map(|cwd| format!("cd -- {} && ", quoted(cwd))).unwrap_or_default();
    let set = command.env.iter().map(|(name, value)| format!("{name}={value}"));
    let words: Vec<String> = match command.env.is_empty() {
        true => words_of(command),
        false => std::iter::once("env".to_owned()).chain(set).chain(words_of(command)).collect(),
    };
    format!("{folder}exec {}", line(&words))
}

fn line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// As one word of a shell. A NUL cannot stand in any command and is refused where it is started.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(launcher: &[&str], command: &CommandSpec) -> Vec<String> {
        let launcher: Vec<String> = launcher.iter().map(|word| (*word).to_owned()).collect();
        let CommandLine::Exec(words) = launched(&launcher, command).run else { panic!("a launcher makes words") };
        words
    }

    fn spec(text: &str) -> CommandSpec {
        CommandSpec::new(CommandLine::Shell(text.into()))
    }

    #[test]
    fn a_command_follows_its_launcher_word_by_word() {
        assert_eq!(words(&["nice", "-n", "5"], &spec("a | b")), ["nice", "-n", "5", "/bin/sh", "-c", "a | b"]);
        let exec = CommandSpec::new(CommandLine::Exec(vec!["cp".into(), "a b".into()]));
        assert_eq!(words(&["nice"], &exec), ["nice", "cp", "a b"]);
        assert_eq!(words(&["x"], &spec("-v")), ["x", "/bin/sh", "-c", "--", "-v"]);
        assert_eq!(words(&["su", "-c", "cd /w && {command}"], &exec), ["su", "-c", "cd /w && cp 'a b'"]);
    }

    #[test]
    fn ssh_gets_one_text_for_a_shell_with_variables_and_folder() {
        let mut command = spec("echo \"$X\"");
        assert_eq!(words(&["/usr/bin/ssh", "h"], &command)[2], "exec /bin/sh -c 'echo \"$X\"'");
        command.env = vec![("X".into(), "it's; true".into())];
        command.cwd = Some("my dir".into());
        let text = words(&["ssh", "h"], &command).pop().expect("the text");
        assert_eq!(text, "cd -- 'my dir' && exec env \"X=it's; true\" /bin/sh -c 'echo \"$X\"'");
        let launched = launched(&["ssh".into(), "h".into()], &command);
        assert_eq!(launched.cwd, None);
    }
}
