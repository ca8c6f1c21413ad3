//! Messages of a session: what tasks, people and scripts say, for everybody who looks. Stored as facts; the last of them are
//! kept in the State. Knows nothing of sockets and screens.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::definition::{CommandLine, CommandSpec};
use super::fact::{Cause, Fact, Outcome};
use super::ids::{Attempt, TaskId, Time};
use super::message::{Command, Origin, Refusal, StartProblem};
use super::state::State;

/// So many of the last messages are kept.
pub const POSTS_KEPT: usize = 500;
/// A message is no longer than this, in bytes.
pub const POST_BYTES: usize = 4 * 1024;

/// `type: Message(…)`: says something once everything before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// What: the one word of this, so that values come into it as they do into commands.
    pub text: Arc<CommandSpec>,
    /// Above 0 it is an alert.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
}

fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// What somebody has said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    /// Its number in the session, from 1.
    pub number: u64,
    /// When.
    pub at: Time,
    /// Who.
    pub by: Origin,
    /// Above 0 it is an alert.
    pub priority: i32,
    /// What.
    pub text: Arc<str>,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posts {
    /// The last ones, oldest first.
    pub last: VecDeque<Post>,
    /// How many there were in all.
    pub count: u64,
    /// These tasks have said what they say, and are not yet done by it: a crash came between. Others may speak first then.
    pub saying: BTreeSet<TaskId>,
}

/// What a task that says something comes to.
pub(super) fn arrive(state: &State, id: TaskId, message: &Message) -> Vec<Fact> {
    let settled = |outcome| Fact::Settled { task: id, outcome, why: None };
    // A crash after it was said, and before it was done.
    if state.posts.saying.contains(&id) {
        return vec![settled(Outcome::Succeeded)];
    }
    match state.filled(Arc::clone(&message.text)) {
        Ok(spec) => {
            let (by, priority) = (Origin::Task(id, Attempt(0)), message.priority);
            let text = bounded(words_of(&spec));
            vec![Fact::Posted { by, priority, text }, settled(Outcome::Succeeded)]
        }
        Err(message) => {
            let problem = StartProblem { message, code: None, transient: false };
            vec![settled(Outcome::Failed(Cause::CouldNotStart(problem)))]
        }
    }
}

/// Somebody says something.
pub(super) fn intend(command: &Command) -> Result<Vec<Fact>, Refusal> {
    let refuse = |why: &str| Err(Refusal(why.to_owned()));
    let Command::Post { text, priority } = command else { return refuse("this says nothing") };
    if text.trim().is_empty() {
        return refuse("an empty message says nothing");
    }
    if text.len() > POST_BYTES {
        return Err(Refusal(format!(
            "a message is at most {POST_BYTES} bytes long: put it into a file and say its name"
        )));
    }
    Ok(vec![Fact::Posted { by: Origin::Operator, priority: *priority, text: text.clone() }])
}

/// The text of a message whose values are filled in, or its text as written.
pub fn words_of(text: &CommandSpec) -> String {
    match &text.run {
        CommandLine::Exec(words) => words.concat(),
        CommandLine::Shell(line) => line.clone(),
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > POST_BYTES {
        text.truncate(text.floor_char_boundary(POST_BYTES - 4));
        text.push('…');
    }
    text
}

impl State {
    /// What it said counts for its end, which this is, and for no other.
    pub(super) fn has_said(&mut self, task: TaskId) {
        if self.posts.saying.contains(&task) {
            Arc::make_mut(&mut self.posts).saying.remove(&task);
        }
    }

    pub(super) fn post(&mut self, by: &Origin, priority: i32, text: &str) {
        let at = self.now;
        let posts = Arc::make_mut(&mut self.posts);
        posts.count += 1;
        if posts.last.len() >= POSTS_KEPT {
            posts.last.pop_front();
        }
        if let Origin::Task(task, Attempt(0)) = by {
            posts.saying.insert(*task);
        }
        posts.last.push_back(Post { number: posts.count, at, by: by.clone(), priority, text: text.into() });
    }
}
