//! `qd ctl` and the session's socket by the real binary: what a second terminal can ask and order, and what clients that are
//! slow, wrong, many or strange do to a session: nothing.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Duration;

use common::{Place, until, wait_for};

const FLOW: &str = r#"Workflow(name: "ctl", agents: [Agent(name: "local", slots: 2)], resources: { "api": Pool(3) }, stages: [Stage(id: "s", tasks: [
    Task(id: "long", run: "GO"),
    Task(id: "roll-eu", run: "touch eu", after: ["long"]),
    Task(id: "roll-us", run: "touch us", after: ["long"]),
    Task(id: "ask", type: Approval("Ship?")),
])])"#;

/// A session that runs until `go-on` is there.
fn begin() -> (Place, Child) {
    let place = Place::with(&FLOW.replace("GO", &wait_for("go-on")));
    let run = place.begin();
    until("the socket", || place.qd(&["ctl", "ps"]).status.success());
    (place, run)
}

fn socket(place: &Place) -> std::path::PathBuf {
    place.path("state/sessions/s/socket")
}

fn connect(place: &Place) -> BufReader<UnixStream> {
    // Its path may be longer than a socket's address can be.
    let folder = fs::File::open(place.path("state/sessions/s")).expect("the session is there");
    let path = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&folder));
    let stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    BufReader::new(stream)
}

fn hear(from: &mut BufReader<UnixStream>) -> serde_json::Value {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn error_of(message: &serde_json::Value) -> &str {
    message["content"]["parameters"]["error"].as_str().unwrap_or_else(|| panic!("no error: {message}"))
}

fn end(place: &Place, mut run: Child, code: i32) {
    place.touch("go-on");
    assert_eq!(run.wait().expect("our own child").code(), Some(code));
}

#[test]
fn a_second_terminal_sees_and_steers_a_session() {
    let (place, run) = begin();
    let ps = place.ends(&["ctl", "ps", "roll-*"], 0);
    assert!(ps.contains("roll-eu") && ps.contains("needs long") && !ps.contains("ask"), "{ps}");
    place.ends(&["ctl", "hold", "roll-*", "--as", "ana"], 0);
    let why = place.ends(&["ctl", "why", "roll-eu"], 0);
    assert!(why.contains("✗ held by you") && why.contains("long: "), "{why}");
    place.ends(&["ctl", "undo"], 0);
    place.ends(&["ctl", "hold", "roll-us"], 0);
    place.ends(&["ctl", "prio", "--", "-5", "roll-eu"], 0);
    place.ends(&["ctl", "slots", "local", "1"], 0);
    place.ends(&["ctl", "limit", "api", "2.5"], 0);
    place.ends(&["ctl", "max-running", "4"], 0);
    let json = place.ends(&["ctl", "ps", "roll-us", "roll-eu", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&json).expect("an object");
    let rows = json["tasks"].as_array().expect("a list");
    assert_eq!((rows.len(), &rows[0]["priority"], &rows[1]["state"]), (2, &(-5).into(), &"held".into()), "{json}");
    place.ends(&["ctl", "approve", "ask", "--as", "bo", "--note", "looks good"], 0);
    place.ends(&["ctl", "release", "roll-us"], 0);
    let journal = place.journal("s").join("\n");
    for part in
        [r#"by:Client("ana"),command:All([Hold(task:1),Hold(task:2)])"#, "CapacitySet", r#"by:"bo",note:"looks good""#]
    {
        assert!(journal.contains(part), "{part}\n{journal}");
    }
    end(&place, run, 0);
    assert!(place.path("eu").exists() && place.path("us").exists());
    assert!(!socket(&place).exists(), "the socket is gone with the session");
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let (place, run) = begin();
    let refused = |args: &[&str], why: &str| {
        let out = place.qd(args);
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{told}");
        assert!(told.contains(why), "{why}\n{told}");
    };
    refused(&["ctl", "hold", "rol-*"], "no task is called rol-*");
    refused(&["ctl", "hold"], "TASK");
    refused(&["ctl", "hold", "long"], "long is ");
    refused(&["ctl", "approve", "long"], "long asks nobody");
    refused(&["ctl", "slots", "remote", "1"], "no agent is called remote");
    refused(&["ctl", "limit", "db", "1"], "no resource is called db");
    refused(&["ctl", "resume"], "it is not paused");
    refused(&["ctl", "--session", "other", "ps"], "there is no session \"other\"");
    refused(&["ctl", "why", "lon"], "no task is called lon");
    end(&place, run, 3);
    refused(&["ctl", "ps"], "no session runs");
    refused(&["ctl", "--session", "s", "ps"], "session s cannot be reached");
    // Waiting for what is over is no error.
    place.ends(&["ctl", "--session", "s", "wait"], 3);
}

#[test]
fn waiting_ends_with_what_the_tasks_came_to() {
    let (place, run) = begin();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| place.qd(&["ctl", "wait", "roll-eu"]).status.code());
        let all = scope.spawn(|| place.qd(&["ctl", "wait", "roll-us", "long"]).status.code());
        place.ends(&["ctl", "skip", "roll-us"], 0);
        place.ends(&["ctl", "cancel", "roll-eu"], 0);
        place.touch("go-on");
        assert_eq!((waits.join().expect("no panic"), all.join().expect("no panic")), (Some(3), Some(0)));
    });
    end(&place, run, 3);
}

#[test]
fn a_task_says_how_far_it_has_come() {
    let qd = common::QD;
    let say = |what: &str| format!("{qd} progress {what}");
    let flow = format!(
        r#"Workflow(name: "p", agents: [Agent(name: "local", slots: 2)], stages: [Stage(id: "s", tasks: [
            Task(id: "build", run: "{}; {}; {}", retry: Retry(attempts: 2)),
        ])])"#,
        format_args!("printf %s $QD_TOKEN > token; {}", say("3/8 linking it")),
        wait_for("once"),
        format_args!("test -e again || {{ touch again; exit 1; }}; {}; {}", wait_for("go-on"), say("110%")),
    );
    let place = Place::with(&flow);
    let run = place.begin();
    let seen = |part: &str| {
        let out = place.qd(&["ctl", "ps", "--json"]);
        String::from_utf8_lossy(&out.stdout).contains(part)
    };
    until("its progress", || seen(r#""progress":{"done":3,"of":8,"text":"linking it"}"#));
    let ps = place.ends(&["ctl", "ps"], 0);
    assert!(ps.contains("38 % 3/8 linking it"), "{ps}");
    let mut one = connect(&place);
    hear(&mut one);
    // What another attempt says is not shown, and of nothing there is no share.
    let asks = |context: &str, of: u32| {
        format!(
            "{{\"type\":\"query\",\"id\":\"1\",\"content\":{{\"action\":\"progress\",\"parameters\":{{\"done\":1,\"of\":{of}}},\"context\":{context}}}}}\n"
        )
    };
    let token = place.read("token").trim().to_owned();
    let own = format!(r#"{{"token":"{token}"}}"#);
    let other = format!(r#"{{"token":"{token}","attempt":9}}"#);
    let wrong = own.replacen("0.1.", "0.2.", 1);
    for (context, of, why) in [
        ("{}", 2, "which attempt?"),
        (&own, 0, "at least 1"),
        (r#"{"task_id":0,"attempt":1}"#, 2, "who speaks for a task shows its token"),
        (&other, 2, "this token is that of task 0, attempt 1"),
        (&wrong, 2, "none of this session"),
    ] {
        one.get_mut().write_all(asks(context, of).as_bytes()).expect("it is taken");
        let answer = hear(&mut one);
        assert!(error_of(&answer).contains(why), "{answer}");
    }
    assert!(!seen(r#""done":1"#));
    place.touch("once");
    end(&place, run, 0);
    // Outside of a task it is wrong use; a task whose console has gone goes on.
    assert_eq!(place.qd(&["progress", "1/2"]).status.code(), Some(2));
    assert_eq!(place.qd(&["progress", "half"]).status.code(), Some(2));
    let mut orphan = std::process::Command::new(qd);
    place.surround(&mut orphan);
    orphan.args(["progress", "1/2"]).envs([("QD_TASK_ID", "0"), ("QD_ATTEMPT", "1"), ("QD_TASK", "build")]);
    let out = orphan.env("QD_SESSION", place.path("state/sessions/s")).output().expect("it runs");
    assert!(out.status.success() && String::from_utf8_lossy(&out.stderr).contains("no console listens"), "{out:?}");
}

#[test]
fn a_filter_says_which_as_in_the_console() {
    let (place, run) = begin();
    let ps = place.ends(&["ctl", "ps", "--filter", "state:waiting -roll-us"], 0);
    assert!(ps.contains("roll-eu") && ps.contains("ask") && !ps.contains("roll-us") && !ps.contains("long "), "{ps}");
    let done = place.ends(&["ctl", "prio", "7", "roll-*", "-f", "us"], 0);
    assert_eq!(done, "priority of roll-us to 7\n");
    assert_eq!(place.ends(&["ctl", "hold", "--filter", "prio>5"], 0), "hold roll-us\n");
    assert_eq!(place.ends(&["ctl", "release", "-f", "state:held"], 0), "release roll-us\n");
    for (args, why) in [
        (&["ctl", "hold", "--filter", "state:faild"][..], "did you mean failed?"),
        (&["ctl", "hold", "-f", "state:failed"], "no task passes the filter state:failed"),
        (&["ctl", "hold"], "required"),
    ] {
        let out = place.qd(args);
        assert!(out.status.code() == Some(2) && String::from_utf8_lossy(&out.stderr).contains(why), "{out:?}");
    }
    place.ends(&["ctl", "approve", "-f", "state:awaiting"], 0);
    place.touch("go-on");
    place.ends(&["ctl", "wait", "--filter", "roll"], 0);
    end(&place, run, 0);
}

#[test]
fn strange_clients_harm_nobody() {
    let (place, run) = begin();
    // Garbage is told, and what follows is still understood.
    let mut one = connect(&place);
    assert_eq!(hear(&mut one)["content"]["parameters"]["protocol"], 1);
    one.get_mut().write_all(b"{\"type\":\n\xff\xfe\n\n[]\n").expect("it is taken");
    for _ in 0..3 {
        assert!(error_of(&hear(&mut one)).starts_with("no message"));
    }
    let asks = |content: &str| format!("{{\"type\":\"query\",\"id\":\"7\",\"content\":{content}}}\n");
    for (content, why) in [
        (r#"{"action":"dance"}"#, "there is no action `dance`"),
        (r#"{"action":"ps","parameters":{"tusks":[]}}"#, "unknown field `tusks`"),
        (r#"{"action":"command","parameters":{"command":"dance","tasks":["long"]}}"#, "there is no command"),
        (r#"{"action":"command","parameters":{"command":"prio","tasks":["long"],"value":0.5}}"#, "A whole number"),
        (r#"{"action":"command","parameters":{"command":"limit","resource":"api","value":-1}}"#, "0 or more"),
    ] {
        one.get_mut().write_all(asks(content).as_bytes()).expect("it is taken");
        let answer = hear(&mut one);
        assert!(error_of(&answer).contains(why), "{why}: {answer}");
        assert_eq!((&answer["type"], &answer["in_reply_to"]), (&"response".into(), &"7".into()));
    }
    // A line without an end is left.
    let mut long = connect(&place);
    hear(&mut long);
    let _ = long.get_mut().write_all(&vec![b'x'; 100 << 10]);
    assert!(error_of(&hear(&mut long)).contains("at most 65536 bytes"));
    assert_eq!(long.read(&mut [0; 1]).unwrap_or(0), 0, "nothing more is said to it");
    // One that asks and never reads costs its own thread: others are answered meanwhile.
    let deaf = connect(&place);
    deaf.get_ref().set_write_timeout(Some(Duration::from_millis(200))).expect("a time-out");
    let question = asks(r#"{"action":"ps"}"#).repeat(100);
    while deaf.get_ref().write_all(question.as_bytes()).is_ok() {}
    place.ends(&["ctl", "ps"], 0);
    // Too many are told so; those that are there go on.
    let many: Vec<_> = (0..262).map(|_| connect(&place)).collect();
    let mut told: Vec<_> = many.into_iter().map(|mut client| (hear(&mut client), client)).collect();
    let refused = told.iter().filter(|(hello, _)| hello["content"]["parameters"].get("error").is_some()).count();
    assert!((1..=10).contains(&refused), "{refused} of 262 are refused");
    told.truncate(0);
    until("room for one", || place.qd(&["ctl", "ps"]).status.success());
    drop((one, deaf));
    place.ends(&["ctl", "approve", "ask"], 0);
    end(&place, run, 0);
}

/// Clients that say as much as they can, and never listen, are taken at the pace of the session: nothing of it is lost, the
/// last are kept, and others are answered meanwhile.
#[test]
fn a_flood_of_messages_loses_none_and_holds_nobody_up() {
    const CLIENTS: u64 = 4;
    const EACH: u64 = 3000;
    let (place, run) = begin();
    let say = |client: u64, n: u64| {
        let parameters = format!(r#"{{"op":"post","text":"{client}:{n}","priority":0}}"#);
        format!(r#"{{"type":"notify","content":{{"action":"message","parameters":{parameters}}}}}"#) + "\n"
    };
    let flood: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let mut stream = connect(&place);
            std::thread::spawn(move || {
                let text: String = (0..EACH).map(|n| say(client, n)).collect();
                stream.get_mut().write_all(text.as_bytes()).expect("it is taken");
                stream
            })
        })
        .collect();
    // Meanwhile a person steers, and is heard.
    place.ends(&["ctl", "approve", "ask"], 0);
    place.ends(&["ctl", "hold", "roll-us"], 0);
    let asked = place.ends(&["ctl", "ps", "roll-us"], 0);
    assert!(asked.contains("held"), "{asked}");
    place.ends(&["ctl", "release", "roll-us"], 0);
    let streams: Vec<_> = flood.into_iter().map(|client| client.join().expect("it goes on")).collect();
    let numbers = || -> Vec<u64> {
        let told = place.ends(&["ctl", "messages", "--json"], 0);
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["number"].as_u64();
        told.lines().filter_map(line).collect()
    };
    until("all was said", || numbers().last() == Some(&(CLIENTS * EACH)));
    assert_eq!(numbers(), (CLIENTS * EACH - 499..=CLIENTS * EACH).collect::<Vec<_>>());
    // Each client was heard in its own order, to its last word.
    let mut next = vec![0; CLIENTS as usize];
    for line in place.journal("s") {
        let Some((_, text)) = line.split_once("fact:Posted(").and_then(|(_, fact)| fact.split_once("text:\"")) else {
            continue;
        };
        let (client, n) = text.split_once('"').and_then(|(text, _)| text.split_once(':')).expect("as it was said");
        let (client, n) = (client.parse::<usize>().expect("a number"), n.parse::<u64>().expect("a number"));
        assert_eq!(n, next[client], "of client {client}");
        next[client] += 1;
    }
    assert_eq!(next, [EACH; CLIENTS as usize]);
    drop(streams);
    end(&place, run, 0);
}

#[test]
fn the_socket_is_its_owners_alone_and_a_dead_one_or_a_link_is_replaced() {
    let (place, run) = begin();
    let mode = |path: &std::path::Path| fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&socket(&place)), mode(&place.path("state/sessions/s"))), (0o600, 0o700));
    place.kill(run);
    assert!(socket(&place).exists(), "a console that is killed tidies nothing up");
    let out = place.qd(&["ctl", "--session", "s", "ps"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("session s cannot be reached"), "{out:?}");
    place.touch("victim");
    fs::remove_file(socket(&place)).expect("it is there");
    symlink(place.path("victim"), socket(&place)).expect("a link");
    let again = place.resume();
    until("the new socket", || place.qd(&["ctl", "ps"]).status.success());
    let kind = fs::symlink_metadata(socket(&place)).expect("it is there").file_type();
    assert!(kind.is_socket() && place.path("victim").exists());
    place.ends(&["ctl", "approve", "ask"], 0);
    end(&place, again, 0);
}

#[test]
fn the_schema_of_the_protocol_is_what_the_types_say() {
    use quarterdeck::bus::message::{
        ActOrder, BarrierOrder, CoordinationMessage, LockLine, LockOrder, MessageLine, MessageRequest, OneTask, Order,
        Progress, StateLine, StateRequest, TaskLine, Tasks, ToldLine,
    };
    let schema = serde_json::json!({
        "CoordinationMessage": schemars::schema_for!(CoordinationMessage),
        "parameters of command": schemars::schema_for!(Order),
        "parameters of ps and wait": schemars::schema_for!(Tasks),
        "parameters of why": schemars::schema_for!(OneTask),
        "parameters of progress": schemars::schema_for!(Progress),
        "parameters of state": schemars::schema_for!(StateRequest),
        "parameters of message": schemars::schema_for!(MessageRequest),
        "parameters of barrier": schemars::schema_for!(BarrierOrder),
        "parameters of act": schemars::schema_for!(ActOrder),
        "a line in the responses to told": schemars::schema_for!(ToldLine),
        "parameters of lock": schemars::schema_for!(LockOrder),
        "a lock in the responses to lock": schemars::schema_for!(LockLine),
        "a value in the responses to state": schemars::schema_for!(StateLine),
        "a message in the responses to message": schemars::schema_for!(MessageLine),
        "a task in the response to ps": schemars::schema_for!(TaskLine),
    });
    let made = serde_json::to_string_pretty(&schema).expect("plain data") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.schema.json");
    if std::env::var_os("QD_WRITE_DOCS").is_some() {
        fs::write(path, &made).expect("the docs can be written");
    }
    assert!(fs::read_to_string(path).unwrap_or_default() == made, "it is old: run this test with QD_WRITE_DOCS=1");
}

#[test]
fn several_are_skipped_and_taken_up_again_whatever_their_order_in_the_file() {
    let place = Place::with(&format!(
        r#"Workflow(agents: [Agent(name: "a", slots: 1)], stages: [Stage(id: "s", tasks: [
            Task(id: "first", run: "{}"), Task(id: "x", after: ["y"], run: "echo x >> ran"),
            Task(id: "y", after: ["first"], run: "echo y >> ran")])])"#,
        wait_for("go")
    ));
    let run = place.begin();
    until("it runs", || place.journal("s").iter().any(|line| line.contains("fact:Running(")));
    place.ends(&["ctl", "skip", "x", "y", "--session", "s"], 0);
    place.ends(&["ctl", "undo", "--session", "s"], 0);
    place.touch("go");
    assert!(run.wait_with_output().expect("it ends").status.success());
    assert_eq!(place.read("ran"), "y\nx\n");
}
