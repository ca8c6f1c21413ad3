//! The one table of keys. Dispatch, the help popup, the hint line, the palette and `docs/keys.md` are all read from it.
//! Knows what an [`Act`] is called, not what it does.

use std::sync::LazyLock;

use super::Step;

/// A key as the terminal told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Key {
    Char(char),
    Ctrl(char),
    Alt(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    F(u8),
}

/// Where a binding holds. The first three speak of panes, the others of what lies over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// In every pane.
    Anywhere,
    /// In the queue and in what shows the task under its cursor.
    Task,
    /// In the agents pane.
    Agents,
    /// In the locks pane.
    Locks,
    /// In the log pane.
    Log,
    /// In the log pane while lines are chosen.
    Select,
    /// In the timeline.
    Timeline,
    /// In the graph.
    Graph,
    /// In a replay.
    Replay,
    /// A question with yes and no.
    Question,
    /// The quit menu.
    Leaving,
    /// The tour.
    Tour,
    /// A popup with text.
    Popup,
    /// A popup with rows to choose from.
    Choice,
    /// A field being typed into.
    Field,
}

/// What a key can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is described once, in the table")]
pub enum Act {
    Up,
    Down,
    PageUp,
    PageDown,
    HalfUp,
    HalfDown,
    Top,
    End,
    Collapse,
    Expand,
    Open,
    NextPane,
    PreviousPane,
    Focus(u8),
    Zoom,
    NextTab,
    Why,
    Raise,
    Lower,
    Hold,
    Cancel,
    Kill,
    Retry,
    Fallback,
    Approve,
    Reject,
    Skip,
    Unskip,
    Pause,
    Undo,
    Redo,
    Filter,
    QuickFilter(&'static str),
    NextGroup,
    NextSort,
    Sort(u8),
    Reverse,
    CopyName,
    CopyCommand,
    CopyLogPath,
    CopyWhy,
    FirstFailed,
    Help,
    /// Shows around.
    Tour,
    Palette,
    Menu,
    Alerts,
    Actions,
    Shared,
    Messages,
    /// Who waits for whom.
    Waits,
    Themes,
    Mouse,
    Redraw,
    Suspend,
    Quit,
    Interrupt,
    Drain,
    SlotMore,
    SlotLess,
    AmountMore,
    AmountLess,
    RunMore,
    RunLess,
    RunAny,
    CloseBreaker,
    /// Move in the recording.
    Replay(Step),
    /// Show what the session was so far.
    Rewind,
    /// Show it as it is again.
    GoLive,
    /// Say something to everybody who looks.
    Say,
    /// Write a task and add it.
    NewTask,
    /// Marks the task, or takes its mark away.
    Mark,
    /// Marks from the last mark to here.
    MarkRange,
    /// Marks all that pass the filter.
    MarkAll,
    /// Change what a task that waits says.
    EditTask,
    Remove,
    /// Ignore `PauseWhile`, or let it count again.
    PauseWhile,
    Compensate,
    Follow,
    Search,
    NextHit,
    PreviousHit,
    Wrap,
    Times,
    Colours,
    SideLeft,
    SideRight,
    SideStart,
    SideEnd,
    EarlierAttempt,
    LaterAttempt,
    Beside,
    Merge,
    FirstError,
    Pager,
    Editor,
    Choose,
    CopyLines,
    LogUp,
    LogDown,
    Timeline,
    EarlierBar,
    LaterBar,
    ZoomIn,
    ZoomOut,
    WholeTime,
    PanLeft,
    PanRight,
    ToNow,
    Critical,
    NextLanes,
    NextWait,
    PreviousWait,
    Graph,
    AlongBack,
    AlongOn,
    Recentre,
    Back,
    Accept,
    Yes,
    QuitDetach,
    QuitFinish,
    QuitStop,
}

/// One line of the table.
#[derive(Debug)]
pub struct Binding {
    /// Sequences that mean it; none: only in the palette.
    pub keys: &'static [&'static str],
    /// Where.
    pub context: Context,
    /// What.
    pub act: Act,
    /// In words, as the help and the palette show it.
    pub help: &'static str,
    /// One word for the hint line; empty: not shown there.
    pub hint: &'static str,
    /// It asks before it does anything (the answer is No unless said otherwise).
    pub asks: bool,
}

const fn bind(context: Context, keys: &'static [&'static str], act: Act, help: &'static str) -> Binding {
    Binding { keys, context, act, help, hint: "", asks: false }
}

impl Binding {
    const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }
    const fn asks(mut self) -> Self {
        self.asks = true;
        self
    }
}

/// The table, in the order of the help.
pub static BINDINGS: &[Binding] = {
    use Act::*;
    use Context::*;
    &[
        bind(Anywhere, &["?", "<F1>"], Help, "show all keys").hint("keys"),
        bind(Anywhere, &[], Act::Tour, "a tour of the console in a minute"),
        bind(Anywhere, &[":"], Palette, "find a command by its name").hint("cmd"),
        bind(Anywhere, &["."], Menu, "what can be done with the selected task"),
        bind(Anywhere, &["/"], Filter, "filter the queue: state:failed stage:build prio>40 lock:db tag:slow text")
            .hint("filter"),
        bind(Anywhere, &["j", "<Down>"], Down, "down"),
        bind(Anywhere, &["k", "<Up>"], Up, "up"),
        bind(Anywhere, &["<PageDown>"], PageDown, "a page down"),
        bind(Anywhere, &["<PageUp>"], PageUp, "a page up"),
        bind(Anywhere, &["<C-d>"], HalfDown, "half a page down"),
        bind(Anywhere, &["<C-u>"], HalfUp, "half a page up"),
        bind(Anywhere, &["g g", "<Home>"], Top, "to the top"),
        bind(Anywhere, &["G", "g e", "<End>"], End, "to the end"),
        bind(Anywhere, &["g f"], FirstFailed, "to the first failed task"),
        bind(Anywhere, &["g q"], Focus(1), "to the queue"),
        bind(Anywhere, &["g a"], Focus(2), "to the agents"),
        bind(Anywhere, &["g l"], Focus(3), "to the locks"),
        bind(Anywhere, &["g p"], Focus(4), "to the progress"),
        bind(Anywhere, &["g t"], Act::Timeline, "to the timeline: what ran when, where, and what it waited for"),
        bind(Anywhere, &["g r"], Act::Rewind, "to a replay: the session as it was, at any moment"),
        bind(Anywhere, &["g d"], Act::Graph, "to the graph: what the task needs, and what needs it"),
        bind(
            Anywhere,
            &["g w"],
            Act::Waits,
            "who waits for whom: what keeps others waiting, and what it waits for itself",
        ),
        bind(Anywhere, &["h", "<Left>"], Collapse, "collapse the stage; previous tab"),
        bind(Anywhere, &["l", "<Right>"], Expand, "expand the stage; next tab"),
        bind(Anywhere, &["<Enter>"], Open, "open or close the stage; go to the task's details").hint("open"),
        bind(Anywhere, &["<Tab>"], NextPane, "next pane"),
        bind(Anywhere, &["<S-Tab>"], PreviousPane, "previous pane"),
        bind(Anywhere, &["1"], Focus(1), "queue"),
        bind(Anywhere, &["2"], Focus(2), "agents"),
        bind(Anywhere, &["3"], Focus(3), "locks"),
        bind(Anywhere, &["4"], Focus(4), "progress"),
        bind(Anywhere, &["5"], Focus(5), "log"),
        bind(Anywhere, &["6"], Focus(6), "details of the task"),
        bind(Anywhere, &["z"], Zoom, "the pane alone on the screen, and back"),
        bind(Anywhere, &["d"], NextTab, "next detail tab: why, log, info, attempts"),
        bind(Anywhere, &["J"], LogDown, "scroll the log down from any pane"),
        bind(Anywhere, &["K"], LogUp, "scroll the log up from any pane"),
        bind(Anywhere, &["t"], NextGroup, "group the queue: by stage, not at all"),
        bind(Anywhere, &["S"], NextSort, "next sort order"),
        bind(Anywhere, &["s s"], Sort(0), "sort as it will be started"),
        bind(Anywhere, &["s n"], Sort(1), "sort by name"),
        bind(Anywhere, &["s p"], Sort(2), "sort by priority"),
        bind(Anywhere, &["s d"], Sort(3), "sort by deadline"),
        bind(Anywhere, &["s a"], Sort(4), "sort by time in its state"),
        bind(Anywhere, &["s r"], Reverse, "sort the other way round"),
        bind(Anywhere, &["f r"], QuickFilter("state:running"), "only what runs"),
        bind(Anywhere, &["f w"], QuickFilter("state:waiting"), "only what waits"),
        bind(Anywhere, &["f f"], QuickFilter("state:failed"), "only what failed"),
        bind(Anywhere, &["f h"], QuickFilter("state:held"), "only what is held"),
        bind(Anywhere, &["f a"], QuickFilter(""), "everything again"),
        bind(Task, &["w"], Why, "why is the task waiting, why did it fail").hint("why"),
        bind(Task, &["x"], Cancel, "cancel the task: SIGTERM, grace, SIGKILL").hint("cancel").asks(),
        bind(Task, &["r"], Retry, "retry the task: queue it again").hint("retry"),
        bind(Task, &["p"], Hold, "hold the task, or release it").hint("hold"),
        bind(Task, &["+", "="], Raise, "raise priority by 5, or by the number typed before: 20+"),
        bind(Task, &["-"], Lower, "lower priority by 5, or by the number typed before"),
        bind(Task, &["b"], Fallback, "fallback: run it in the task's place now").hint("fallback"),
        bind(Task, &["A"], Approve, "approve: say yes to what the task asks").asks(),
        bind(Task, &["D"], Reject, "reject: say no to what the task asks").asks(),
        bind(Task, &["<Space>"], Mark, "mark the task or the stage: keys act on all that is marked"),
        bind(Task, &["v"], MarkRange, "mark all from the last mark to here"),
        bind(Task, &["*"], MarkAll, "mark all that pass the filter, or none of them"),
        bind(Task, &["X"], Kill, "kill the task now: SIGKILL").asks(),
        bind(Anywhere, &["n"], NewTask, "new task: write it, it is added to the workflow"),
        bind(Task, &["e"], EditTask, "edit the task, as a workflow file says it, while it waits"),
        bind(Task, &[], Remove, "remove the task: what waits for it goes on without").asks(),
        bind(Task, &[], Skip, "skip the task: what waits for it goes on"),
        bind(Task, &[], Unskip, "unskip: take a skip or a cancel back, it waits again"),
        bind(Task, &["y y"], CopyName, "copy the task's name"),
        bind(Task, &["y c"], CopyCommand, "copy the task's command"),
        bind(Task, &["y l"], CopyLogPath, "copy the path of the task's log"),
        bind(Task, &["y w"], CopyWhy, "copy why it waits"),
        bind(Agents, &["+", "="], SlotMore, "agent: one slot more, or as many as typed before").hint("slots"),
        bind(Agents, &["-"], SlotLess, "agent: one slot less"),
        bind(Locks, &["+", "="], AmountMore, "pool, rate or limit: one more, or as many as typed before").hint("more"),
        bind(Locks, &["-"], AmountLess, "pool, rate or limit: one less").hint("less"),
        bind(Anywhere, &[], RunMore, "limit: one more task at once (MaxRunning), or as many as typed before"),
        bind(Anywhere, &[], RunLess, "limit: one task less at once (MaxRunning)"),
        bind(Anywhere, &[], RunAny, "limit: as many tasks at once as there is room for (no MaxRunning)"),
        bind(Anywhere, &[], Say, "say: a message to everybody who looks"),
        bind(Anywhere, &[], PauseWhile, "pause-while: ignore the condition, or let it count again"),
        bind(Anywhere, &[], CloseBreaker, "breaker: close it, start again at once"),
        bind(Anywhere, &[], Compensate, "compensate: stop the run and undo what was done").asks(),
        bind(Log, &["F"], Follow, "follow the end of the log").hint("follow"),
        bind(Log, &["/"], Search, "search the whole log").hint("search"),
        bind(Log, &["n"], NextHit, "next hit").hint("next"),
        bind(Log, &["N"], PreviousHit, "previous hit"),
        bind(Log, &["E"], FirstError, "to the first error of the log, by what many tools call one; n goes on")
            .hint("error"),
        bind(Log, &["w"], Wrap, "wrap long lines of the log").hint("wrap"),
        bind(Log, &["t"], Times, "when each line was written (≈: nobody was looking then)").hint("times"),
        bind(Log, &["c"], Colours, "colours of the output, or none"),
        bind(Log, &["["], EarlierAttempt, "log of the attempt before").hint("earlier"),
        bind(Log, &["]"], LaterAttempt, "log of the attempt after").hint("later"),
        bind(Log, &["|"], Beside, "side by side with the attempt before it"),
        bind(Log, &["M"], Merge, "logs of the whole stage as one, in the order of time; and back").hint("merge"),
        bind(Log, &["o"], Pager, "open the log in $PAGER").hint("pager"),
        bind(Log, &["e"], Editor, "open a copy of the log in $EDITOR").hint("editor"),
        bind(Log, &["h", "<Left>"], SideLeft, "to the left in long lines"),
        bind(Log, &["l", "<Right>"], SideRight, "to the right in long lines"),
        bind(Log, &["0"], SideStart, "to the beginning of long lines"),
        bind(Log, &["$"], SideEnd, "to the end of the longest line seen"),
        bind(Log, &["v"], Choose, "choose lines to copy").hint("choose"),
        bind(Select, &["y"], CopyLines, "copy the chosen lines").hint("copy"),
        bind(Select, &["<Esc>", "v"], Back, "choose none").hint("none"),
        bind(Context::Timeline, &["<Left>"], PanLeft, "earlier").hint("earlier"),
        bind(Context::Timeline, &["<Right>"], PanRight, "later"),
        bind(Context::Timeline, &["=", "+"], ZoomIn, "show less of time, larger").hint("in"),
        bind(Context::Timeline, &["-"], ZoomOut, "show more of time").hint("out"),
        bind(Context::Timeline, &["0"], ToNow, "go along with now again").hint("now"),
        bind(Context::Timeline, &["o"], WholeTime, "the whole run at once").hint("whole"),
        bind(Context::Timeline, &["h"], EarlierBar, "what ran before it in this lane"),
        bind(Context::Timeline, &["l"], LaterBar, "what ran after it in this lane"),
        bind(Context::Timeline, &["t"], NextLanes, "a lane for each slot, each task, each lock").hint("lanes"),
        bind(
            Context::Timeline,
            &["c"],
            Critical,
            "only the critical path: what led to what ended last, or runs longest",
        )
        .hint("critical"),
        bind(Context::Timeline, &["n"], NextWait, "to the next of the longest waits").hint("waits"),
        bind(Context::Timeline, &["N"], PreviousWait, "to the wait before"),
        bind(Context::Timeline, &["<Enter>"], Open, "to the task in the queue").hint("task"),
        bind(Context::Graph, &["h", "<Left>"], AlongBack, "to what it needs").hint("needs"),
        bind(Context::Graph, &["l", "<Right>"], AlongOn, "to what needs it").hint("needed by"),
        bind(Context::Graph, &["<Enter>"], Open, "draw the graph around it; from the middle: to it in the queue")
            .hint("centre"),
        bind(Context::Graph, &["c"], Recentre, "draw the graph around it"),
        bind(Anywhere, &["P"], Pause, "pause: start nothing new; and go on").hint("pause"),
        bind(Anywhere, &["u"], Undo, "undo the last change").hint("undo"),
        bind(Anywhere, &["U"], Redo, "redo what was undone"),
        bind(Anywhere, &["!"], Alerts, "alerts: what needs you"),
        bind(Anywhere, &["g m"], Messages, "to the messages: what tasks and people have said"),
        bind(Anywhere, &["g s"], Shared, "to the shared state: values by key"),
        bind(Anywhere, &["@"], Actions, "action log: who did what"),
        bind(Anywhere, &["T"], Themes, "choose a theme"),
        bind(Anywhere, &["m"], Mouse, "mouse on or off (off: the terminal's own selection works)"),
        bind(Anywhere, &["<C-l>"], Redraw, "draw the screen anew"),
        bind(Anywhere, &["<C-z>"], Suspend, "suspend: back to the shell, tasks run on (fg returns)"),
        bind(Anywhere, &[], Drain, "drain: finish what runs, start nothing new, then end").asks(),
        bind(Anywhere, &["q"], Quit, "quit: asks what becomes of running tasks").hint("quit").asks(),
        bind(Anywhere, &["<C-c>"], Interrupt, "quit menu; again: stop; a third time: kill now").asks(),
        bind(Anywhere, &["<Esc>"], Back, "back, close, clear the filter or the search (never quits)"),
        bind(Question, &["y"], Yes, "yes, do it").hint("yes"),
        bind(Context::Replay, &["<Space>"], Act::Replay(Step::Play), "play, or stop").hint("play"),
        bind(Context::Replay, &["<Left>"], Act::Replay(Step::Seconds(-10)), "10 s back").hint("10 s back"),
        bind(Context::Replay, &["<Right>"], Act::Replay(Step::Seconds(10)), "10 s on").hint("on"),
        bind(Context::Replay, &[","], Act::Replay(Step::Facts(-1)), "to the fact before").hint("fact before"),
        bind(Context::Replay, &["."], Act::Replay(Step::Facts(1)), "to the next fact").hint("next"),
        bind(Context::Replay, &["["], Act::Replay(Step::Slower), "slower").hint("slower"),
        bind(Context::Replay, &["]"], Act::Replay(Step::Faster), "faster").hint("faster"),
        bind(Context::Replay, &["n"], Act::Replay(Step::Mark { back: false }), "to the next mark").hint("mark"),
        bind(Context::Replay, &["N"], Act::Replay(Step::Mark { back: true }), "to the mark before"),
        bind(Context::Replay, &["L"], Act::GoLive, "back to the session as it is").hint("live"),
        bind(Context::Replay, &["<Home>"], Act::Replay(Step::Start), "to the beginning"),
        bind(Context::Replay, &["<End>"], Act::Replay(Step::End), "to the end"),
        bind(Question, &["n", "<Esc>", "<Enter>", "q"], Back, "no, keep (the default)").hint("no"),
        bind(Question, &["<C-c>"], Interrupt, "quit menu"),
        bind(Leaving, &["d", "<Enter>"], QuitDetach, "detach: running tasks go on, supervised").hint("detach"),
        bind(Leaving, &["w"], QuitFinish, "finish what runs, start no more, then quit").hint("finish"),
        bind(Leaving, &["s"], QuitStop, "stop now (SIGTERM, grace, SIGKILL), then quit").hint("stop"),
        bind(Leaving, &["<C-c>"], Interrupt, "stop now; once more: kill now"),
        bind(Leaving, &["<Esc>", "n", "q"], Back, "stay").hint("stay"),
        bind(Context::Tour, &["<Space>", "<Enter>", "l", "<Right>", "j", "<Down>"], Down, "on").hint("on"),
        bind(Context::Tour, &["h", "<Left>", "k", "<Up>"], Up, "back").hint("back"),
        bind(Context::Tour, &["<Esc>", "q"], Back, "close").hint("close"),
        bind(Context::Tour, &["<C-c>"], Interrupt, "quit menu"),
        bind(Popup, &["j", "<Down>"], Down, "down").hint("scroll"),
        bind(Popup, &["k", "<Up>"], Up, "up"),
        bind(Popup, &["<PageDown>", "<C-d>"], PageDown, "a page down"),
        bind(Popup, &["<PageUp>", "<C-u>"], PageUp, "a page up"),
        bind(Popup, &["g", "<Home>"], Top, "to the top"),
        bind(Popup, &["G", "<End>"], End, "to the end"),
        bind(Popup, &["y"], CopyWhy, "copy the text"),
        bind(Popup, &["<Esc>", "q", "<Enter>", "?", "w", "@"], Back, "close").hint("close"),
        bind(Popup, &["<C-c>"], Interrupt, "quit menu"),
        bind(Choice, &["j", "<Down>"], Down, "down"),
        bind(Choice, &["k", "<Up>"], Up, "up"),
        bind(Choice, &["<PageDown>", "<C-d>"], PageDown, "a page down"),
        bind(Choice, &["<PageUp>", "<C-u>"], PageUp, "a page up"),
        bind(Choice, &["<Enter>"], Accept, "take it").hint("take"),
        bind(Choice, &["<Esc>", "q", "!"], Back, "close").hint("close"),
        bind(Choice, &["<C-c>"], Interrupt, "quit menu"),
        bind(Field, &["<Enter>"], Accept, "accept").hint("accept"),
        bind(Field, &["<Esc>"], Back, "leave").hint("leave"),
        bind(Field, &["<Up>"], Up, "up"),
        bind(Field, &["<Down>"], Down, "down"),
        bind(Field, &["<C-c>"], Interrupt, "leave"),
    ]
};

/// What a sequence of keys amounts to.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    /// This binding.
    Binding(&'static Binding),
    /// The beginning of some.
    Prefix,
    /// Nothing.
    Nothing,
}

/// Looks `keys` up in these contexts, the first one first.
pub fn lookup(keys: &[Key], contexts: &[Context]) -> Found {
    let mut prefix = false;
    for context in contexts {
        for (sequence, binding) in PARSED.iter().filter(|(_, binding)| binding.context == *context) {
            if sequence == keys {
                return Found::Binding(binding);
            }
            prefix |= sequence.starts_with(keys);
        }
    }
    if prefix { Found::Prefix } else { Found::Nothing }
}

/// What can follow the keys typed so far, for the which-key popup: the next key and what it does.
pub fn continuations(keys: &[Key], contexts: &[Context]) -> Vec<(String, &'static str)> {
    let mut out: Vec<(String, &'static str)> = Vec::new();
    for context in contexts {
        for (sequence, binding) in PARSED.iter().filter(|(_, binding)| binding.context == *context) {
            if sequence.len() > keys.len() && sequence.starts_with(keys) {
                let next = show(sequence[keys.len()]);
                if !out.iter().any(|(known, _)| *known == next) {
                    out.push((next, binding.help));
                }
            }
        }
    }
    out
}

/// The first sequence of a binding as shown: `g g`, `Ctrl-d`, `Enter`; empty if it has none.
pub fn label(binding: &Binding) -> String {
    binding.keys.first().map(|keys| sequence_label(keys)).unwrap_or_default()
}

/// All sequences of a binding as shown.
pub fn labels(binding: &Binding) -> Vec<String> {
    binding.keys.iter().map(|keys| sequence_label(keys)).collect()
}

/// A sequence of the table as keys.
pub fn parse(sequence: &str) -> Vec<Key> {
    sequence.split(' ').map(|word| key(word).expect("the table names known keys")).collect()
}

static PARSED: LazyLock<Vec<(Vec<Key>, &'static Binding)>> =
    LazyLock::new(|| BINDINGS.iter().flat_map(|b| b.keys.iter().map(move |keys| (parse(keys), b))).collect());

fn key(word: &str) -> Option<Key> {
    let mut chars = word.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        return Some(Key::Char(c));
    }
    let name = word.strip_prefix('<')?.strip_suffix('>')?;
    Some(match name {
        "Enter" => Key::Enter,
        "Esc" => Key::Esc,
        "Tab" => Key::Tab,
        "S-Tab" => Key::BackTab,
        "Backspace" => Key::Backspace,
        "Delete" => Key::Delete,
        "Up" => Key::Up,
        "Down" => Key::Down,
        "Left" => Key::Left,
        "Right" => Key::Right,
        "PageUp" => Key::PageUp,
        "PageDown" => Key::PageDown,
        "Home" => Key::Home,
        "End" => Key::End,
        "Space" => Key::Char(' '),
        _ if name.starts_with("C-") => Key::Ctrl(name[2..].chars().next()?),
        _ if name.starts_with("A-") => Key::Alt(name[2..].chars().next()?),
        _ => Key::F(name.strip_prefix('F')?.parse().ok()?),
    })
}

fn sequence_label(sequence: &str) -> String {
    parse(sequence).into_iter().map(show).collect::<Vec<_>>().join("")
}

/// A key as shown.
pub fn show(key: Key) -> String {
    match key {
        Key::Char(' ') => "Space".into(),
        Key::Char(c) => c.to_string(),
        Key::Ctrl(c) => format!("Ctrl-{c}"),
        Key::Alt(c) => format!("Alt-{c}"),
        Key::BackTab => "Shift-Tab".into(),
        Key::Up => "↑".into(),
        Key::Down => "↓".into(),
        Key::Left => "←".into(),
        Key::Right => "→".into(),
        Key::F(n) => format!("F{n}"),
        other => format!("{other:?}"),
    }
}

/// The title of a context in help and docs.
pub fn title(context: Context) -> &'static str {
    match context {
        Context::Anywhere => "Anywhere",
        Context::Task => "The selected task",
        Context::Agents => "Agents",
        Context::Locks => "Locks",
        Context::Log => "Log",
        Context::Select => "Log, while lines are chosen",
        Context::Timeline => "Timeline",
        Context::Graph => "Graph",
        Context::Replay => "Replay",
        Context::Question => "A question",
        Context::Leaving => "The quit menu",
        Context::Tour => "The tour",
        Context::Popup => "A popup with text",
        Context::Choice => "A list to choose from",
        Context::Field => "A field",
    }
}

/// Contexts in the order of help and docs.
pub const CONTEXTS: [Context; 15] = [
    Context::Anywhere,
    Context::Task,
    Context::Agents,
    Context::Locks,
    Context::Log,
    Context::Select,
    Context::Timeline,
    Context::Graph,
    Context::Replay,
    Context::Question,
    Context::Leaving,
    Context::Tour,
    Context::Popup,
    Context::Choice,
    Context::Field,
];

/// `docs/keys.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Keys\n\nMade from the key table in `src/tui/keymap.rs`; a test keeps it true. In the console, `?` shows the same \
         list and `:` finds a command by its name, with the reason where it cannot be used now.\n",
    );
    for context in CONTEXTS {
        out += &format!("\n## {}\n\n| key | what it does |\n|---|---|\n", title(context));
        for binding in BINDINGS.iter().filter(|b| b.context == context) {
            let keys: Vec<_> = labels(binding).iter().map(|label| format!("`{}`", label.replace('|', "\\|"))).collect();
            let keys = if keys.is_empty() { "`:` `.`".to_owned() } else { keys.join(" ") };
            let asks = if binding.asks { " (asks)" } else { "" };
            out += &format!("| {keys} | {}{asks} |\n", binding.help);
        }
    }
    out += "\n## Mouse\n\nA click focuses a pane and selects a row, a double click opens it, the wheel scrolls what is under \
            the pointer. `m` turns the mouse off, so that the terminal's own selection works; with most terminals, Shift \
            does so for one drag. A drag in the log chooses lines and copies them.\n";
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn no_sequence_has_two_meanings_in_one_context_and_none_hides_another() {
        let mut seen: HashMap<(Context, Vec<Key>), Act> = HashMap::new();
        for (keys, binding) in PARSED.iter() {
            let before = seen.insert((binding.context, keys.clone()), binding.act);
            assert_eq!(before, None, "{keys:?} twice in {:?}", binding.context);
        }
        for (context, keys) in seen.keys() {
            for n in 1..keys.len() {
                for over in [
                    *context,
                    Context::Anywhere,
                    Context::Task,
                    Context::Log,
                    Context::Agents,
                    Context::Locks,
                    Context::Timeline,
                ] {
                    assert!(!seen.contains_key(&(over, keys[..n].to_vec())), "{keys:?} is hidden by a shorter one");
                }
            }
        }
    }

    #[test]
    fn every_binding_is_described_and_reachable() {
        for binding in BINDINGS {
            assert!(!binding.help.is_empty());
            assert!(!binding.help.contains('|'), "docs/keys.md is a table");
        }
    }

    #[test]
    fn docs_keys_md_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/keys.md");
        if std::env::var_os("QD_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
            std::fs::write(path, markdown()).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == markdown(), "docs/keys.md is old: run this test with QD_WRITE_DOCS=1");
    }
}
