//! The one message format of the socket, and what can be asked in it. The shapes are part of what other programs rely on:
//! fields are only added. `docs/protocol.md` says them in words, `docs/protocol.schema.json` is made from these types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of this protocol, said in `hello`.
pub const PROTOCOL: u32 = 1;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoordinationMessage {
    /// What kind of message.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// What is said.
    pub content: Content,
    /// Who says it, when.
    #[serde(default)]
    pub metadata: Metadata,
    /// By which a response says what it answers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// In a response: the `id` of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
}

/// What kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// Tasks wait for one another.
    Sync,
    /// Nothing is expected back.
    Notify,
    /// One response is expected.
    Query,
    /// Answers a query.
    Response,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// What is to be done or was: `hello`, `command`, `ps`, `why`, `wait`, `progress`, `state`, `message`, `lock`, `barrier`; in a response that of its query.
    pub action: String,
    /// What belongs to it.
    #[serde(default)]
    pub parameters: Value,
    /// From where it is said.
    #[serde(default)]
    pub context: ExecutionContext,
}

/// From where something is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionContext {
    /// The session's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The task that speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Its number in the session: `$QD_TASK_ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<u32>,
    /// Its attempt: `$QD_ATTEMPT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Its token: `$QD_TOKEN`. It names the task and the attempt by itself; without it nobody speaks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Who says it, when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metadata {
    /// Who.
    pub source: String,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// Higher first.
    pub priority: i32,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Do this.
    Command(Order),
    /// Which tasks there are, and how they stand.
    Ps(Tasks),
    /// Why a task is not running.
    Why(OneTask),
    /// An answer once these tasks are over.
    Wait(Tasks),
    /// So far has come the task that speaks.
    Progress(Progress),
    /// Read or change the shared state.
    State(StateRequest),
    /// Say something, or hear what was said.
    Message(MessageRequest),
    /// Ask for a lock, give one back, or hear who has which.
    Lock(LockOrder),
    /// Wait for others at a barrier.
    Barrier(BarrierOrder),
    /// What another console asks, as it asks its own.
    Act(ActOrder),
    /// How far tasks say that they have come.
    Told,
}

/// Wait at a barrier within: the parameters of `barrier`, by a running task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BarrierOrder {
    /// Its name.
    pub barrier: String,
    /// Another for each wait, 1 to 64 visible letters: who asks again by the same one asks for the same.
    pub ticket: String,
    /// For so long it waits at most, in milliseconds; then the barrier breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// What `qd attach` asks: the parameters of `act`. For a console of the same version; others use `command`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActOrder {
    /// A command as the journal says it.
    pub command: Value,
}

/// How far a task has come: one of the `told` in the answer to `told`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToldLine {
    /// Its number in the session.
    pub task_id: u32,
    /// So much of it.
    pub done: u64,
    /// Of so much.
    pub of: u64,
    /// What it is at.
    pub text: String,
}

/// What is asked of the locks: the parameters of `lock`, by a running task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LockOrder {
    /// `acquire`: an answer once it is granted; `release`, `renew`, `list`.
    pub op: String,
    /// In `acquire`: the resource, a lock or a pool. In `release`: what it has held of this since its start, if there is no such
    /// ticket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// In `acquire`, of a lock: others may share it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// In `acquire`, of a pool: how much, in its unit; 1 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<f64>,
    /// By which the task speaks of it, 1 to 64 visible letters: who asks again by the same one asks for the same.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ticket: String,
    /// Who will hold it, by a number of the task's own, for example a process; the task as a whole if absent.
    #[serde(skip_serializing_if = "is_nobody")]
    pub holder: u32,
    /// Who waits until it is granted: with the processes that wait for those; the task as a whole if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<u32>,
    /// In `acquire`: it is given back so long after the grant or the last renewal, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// In `acquire`: for so long it waits at most, in milliseconds; for ever if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

fn is_nobody(number: &u32) -> bool {
    *number == 0
}

/// A lock: one of the `locks` in the answer to `list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LockLine {
    /// The resource.
    pub resource: String,
    /// `exclusive`, `shared`, or how much of a pool.
    pub how: String,
    /// Whose.
    pub task: String,
    /// Of which attempt.
    pub attempt: u32,
    /// By which the task speaks of it; empty for what it holds since its start.
    pub ticket: String,
    /// It is held; it waits otherwise.
    pub held: bool,
    /// Since when it is held or waits, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Of what is held by a lock: higher than that of every grant of the session before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// When its lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Of what waits: its place in the line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<usize>,
}

/// What is asked of the messages: the parameters of `message`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessageRequest {
    /// `post`, `list`, or `watch`: an answer once there is one with a higher number than `after`.
    pub op: String,
    /// In `post`: what is said, at most 4096 bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// In `post`: above 0 it is an alert.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// In `list` and `watch`: only those with a higher number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// What was said: one of the `messages` in the answer to `list` and `watch`, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageLine {
    /// Its number in the session, from 1.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who: the name of a person, of a task, `TASK/ATTEMPT`, `operator`.
    pub by: String,
    /// Above 0 it is an alert.
    pub priority: i32,
    /// What.
    pub text: String,
}

/// What is asked of the shared state: the parameters of `state`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateRequest {
    /// `get`, `list`, `set`, `delete`, or `watch`: an answer once the key has another version than `version`.
    pub op: String,
    /// Which.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// In `set`: a number, a text, true or false.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// In `set` and `delete`: only if it has this version; 0 if it is not to be there. In `watch`: the last that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What is told of a value of the shared state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateLine {
    /// Its key.
    pub key: String,
    /// Its value; null if there is none.
    pub value: Value,
    /// Which change of the session made it so; 0 if there is none.
    pub version: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who: the name of a person, `TASK/ATTEMPT`, `operator`, `workflow`.
    pub by: String,
}

/// How far a task has come: the parameters of `progress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// So much of it.
    pub done: u64,
    /// Of so much, at least 1.
    pub of: u64,
    /// What it is at, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// Names of tasks, or globs; all if there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tasks {
    /// Names or globs.
    pub tasks: Vec<String>,
    /// Of them, those that pass: `state:failed stage:build prio>40 lock:db -tag:slow text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// The name of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneTask {
    /// Its name.
    pub task: String,
}

/// What is to be done: the parameters of `command`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// `prio`, `hold`, `release`, `cancel`, `kill`, `retry`, `skip`, `unskip`, `fallback`, `add`, `edit`, `remove`, `restore`, `approve`, `reject`, `abstain`, `pause`,
    /// `resume`, `drain`, `stop`, `stop-now`, `detach`, `compensate`, `close-breaker`, `ignore-pause-while`, `heed-pause-while`, `slots`, `capabilities`, `limit`, `max-running`, `undo`, `redo`.
    pub command: String,
    /// On which tasks: names or globs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// Of them, or of all if none are named, those that pass: `state:failed stage:build prio>40 lock:db -tag:slow text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// On which agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// On which resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// In `capabilities`: what the agent offers from now on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// A priority, a number of slots, an amount in the unit of the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Who answers, in `approve`, `reject` and `abstain`.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// A note that is kept with the answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// In `add`: a task, or a list of tasks, as a workflow file says it, each with its `stage`. In `edit`: fields of a task.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// In `add`: the stage of those that name none; that of the task that speaks if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// In `add`: tasks that wait, and are to wait for the new ones too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
}

/// What `ps` tells of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskLine {
    /// Its name.
    pub task: String,
    /// Its stage.
    pub stage: String,
    /// `waiting`, `ready`, `running`, `succeeded`, `failed` …
    pub state: String,
    /// Its priority.
    pub priority: i32,
    /// Number of its last attempt; 0 before the first.
    pub attempt: u32,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Since when it stands so, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// What it is at, or why it does not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// How far it has come, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

impl Request {
    /// What a query asks.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(content: &Content) -> Result<Self, String> {
        match content.action.as_str() {
            "command" => read(content, Self::Command),
            "ps" => read(content, Self::Ps),
            "why" => read(content, Self::Why),
            "wait" => read(content, Self::Wait),
            "progress" => read(content, Self::Progress),
            "state" => read(content, Self::State),
            "message" => read(content, Self::Message),
            "barrier" => read(content, Self::Barrier),
            "act" => read(content, Self::Act),
            "told" => Ok(Self::Told),
            "lock" => read(content, Self::Lock),
            other => Err(format!(
                "there is no action `{other}`: command, ps, why, wait, progress, state, message, lock, barrier, act, told"
            )),
        }
    }
}

/// The parameters as what this action takes; none is as if none of them were given.
fn read<'de, T: Deserialize<'de>>(content: &'de Content, make: impl FnOnce(T) -> Request) -> Result<Request, String> {
    let parameters = match &content.parameters {
        Value::Null => T::deserialize(serde::de::value::MapDeserializer::<_, serde_json::Error>::new(
            std::iter::empty::<(&str, &Value)>(),
        )),
        given => T::deserialize(given),
    };
    parameters.map(make).map_err(|error| format!("the parameters of `{}`: {error}", content.action))
}

impl CoordinationMessage {
    /// A message of the session itself.
    pub fn of_session(kind: MessageType, session: &str, action: &str, parameters: Value, timestamp: u64) -> Self {
        let context = ExecutionContext { session: Some(session.to_owned()), ..ExecutionContext::default() };
        Self {
            kind,
            content: Content { action: action.to_owned(), parameters, context },
            metadata: Metadata { source: "qd".to_owned(), timestamp, priority: 0 },
            id: String::new(),
            in_reply_to: None,
        }
    }

    /// As a line, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("it has no maps with other keys than texts");
        line.push(b'\n');
        line
    }
}
