//! The lines of a `survivors` file and of a guard's socket: what became of the tasks of a console that is gone. A stored
//! format: words are only added, never given another meaning. Knows neither files nor sockets.
//!
//! A line is `CRC AT WORD …`: the CRC-32 (IEEE, 8 hex digits) of all after it, the wall time in ms, and the record.

use std::fmt;
use std::str::{FromStr, SplitAsciiWhitespace};

/// Version of this format, in the first line of each file.
pub const VERSION: u32 = 1;
/// No line is longer; a longer one is damage.
pub const MAX_LINE: usize = 512;

/// A process that cannot be mistaken for another of the same boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

/// Which attempt: task index and attempt number.
pub type Key = (u32, u32);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// How the console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleEnd {
    /// It left its tasks to the guard on purpose.
    Detached,
    /// It ended in this way without having said so before.
    Died(Exit),
}

/// What a process (with the children it waited for) used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// User CPU time, ms.
    pub user_ms: u64,
    /// System CPU time, ms.
    pub system_ms: u64,
    /// Largest resident set of one of its processes, KiB.
    pub max_rss_kib: u64,
    /// Blocks of 512 bytes read.
    pub blocks_in: u64,
    /// Blocks of 512 bytes written.
    pub blocks_out: u64,
}

/// Why a guard stops everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// `on_console_death: Stop`, or no console came back within the grace of `Adopt`.
    Policy,
    /// The guard itself got SIGTERM.
    Term,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// First line: the console is gone.
    Console {
        /// [`VERSION`] of the writer.
        version: u32,
        /// The kernel's boot id: pids of another boot mean nothing.
        boot: String,
        /// The guard.
        guard: Process,
        /// The console.
        console: Process,
        /// How it ended.
        end: ConsoleEnd,
    },
    /// The table held this attempt with its process.
    Alive {
        /// Which.
        key: Key,
        /// Number of its output file.
        log: u64,
        /// Its process.
        process: Process,
    },
    /// The table held this attempt without a process: its spawn was under way.
    Entered {
        /// Which.
        key: Key,
        /// Number of its output file.
        log: u64,
    },
    /// The table held so many attempts: all of it has been said. With as many before it, whatever is not among them was
    /// never spawned by that console, or was reaped by it after its end was stored.
    Listed {
        /// How many.
        count: u32,
    },
    /// An entered attempt turned out to be this process.
    Found {
        /// Which.
        key: Key,
        /// Its process.
        process: Process,
    },
    /// An entered attempt was never spawned.
    NotStarted {
        /// Which.
        key: Key,
    },
    /// An entered attempt of which nothing can be proved.
    Unknown {
        /// Which.
        key: Key,
    },
    /// A listed attempt whose leader the console had reaped: it had stored its end before that.
    Reaped {
        /// Which.
        key: Key,
    },
    /// Its leader ended.
    Ended {
        /// Which.
        key: Key,
        /// Its leader.
        process: Process,
        /// How.
        exit: Exit,
        /// What it used.
        usage: Usage,
        /// How many processes of it were left.
        left: u32,
        /// The guard was stopping everything at that time.
        stopped: bool,
    },
    /// A process of which no attempt is known: every attempt that ran when it started counts it as its own.
    Stray {
        /// Which.
        process: Process,
    },
    /// No process of it is left.
    Empty {
        /// Which.
        key: Key,
    },
    /// From here on the guard stops everything.
    Stopping {
        /// Why.
        cause: StopCause,
    },
    /// Nothing is left: the last line.
    Complete,
}

impl Record {
    /// The attempt it speaks of, if of one.
    pub fn key(&self) -> Option<Key> {
        match self {
            Self::Alive { key, .. }
            | Self::Entered { key, .. }
            | Self::Found { key, .. }
            | Self::NotStarted { key }
            | Self::Unknown { key }
            | Self::Reaped { key }
            | Self::Ended { key, .. }
            | Self::Empty { key } => Some(*key),
            Self::Console { .. }
            | Self::Listed { .. }
            | Self::Stray { .. }
            | Self::Stopping { .. }
            | Self::Complete => None,
        }
    }
}

/// A record with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// Wall time, ms since the Unix epoch.
    pub at_ms: u64,
    /// What was recorded.
    pub record: Record,
}

impl Stamped {
    /// Its line, with the newline.
    pub fn line(&self) -> String {
        let body = format!("{} {}", self.at_ms, self.record);
        format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()))
    }

    /// Reads a line without its newline. `None` if it is damaged, torn or of a kind this version does not know.
    pub fn parse(line: &[u8]) -> Option<Self> {
        if line.len() > MAX_LINE {
            return None;
        }
        let (crc, body) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        if crc.len() != 8 || u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(body.as_bytes()) {
            return None;
        }
        let mut words = Words(body.split_ascii_whitespace());
        let at_ms = words.next()?;
        Some(Self { at_ms, record: words.record()? })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.start_ticks)
    }
}

impl FromStr for Process {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, ticks) = text.split_once(':').ok_or(())?;
        Ok(Self { pid: pid.parse().map_err(drop)?, start_ticks: ticks.parse().map_err(drop)? })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit:{code}"),
            Self::Signal(signal) => write!(f, "signal:{signal}"),
        }
    }
}

impl FromStr for Exit {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':').ok_or(())? {
            ("exit", code) => Ok(Self::Code(code.parse().map_err(drop)?)),
            ("signal", signal) => Ok(Self::Signal(signal.parse().map_err(drop)?)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for ConsoleEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => f.write_str("detached"),
            Self::Died(exit) => exit.fmt(f),
        }
    }
}

impl FromStr for ConsoleEnd {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "detached" { Ok(Self::Detached) } else { text.parse().map(Self::Died) }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Console { version, boot, guard, console, end } => {
                write!(f, "console {version} {boot} {guard} {console} {end}")
            }
            Self::Alive { key, log, process } => write!(f, "alive {} {} {log} {process}", key.0, key.1),
            Self::Entered { key, log } => write!(f, "entered {} {} {log}", key.0, key.1),
            Self::Listed { count } => write!(f, "listed {count}"),
            Self::Found { key, process } => write!(f, "found {} {} {process}", key.0, key.1),
            Self::NotStarted { key } => write!(f, "notstarted {} {}", key.0, key.1),
            Self::Unknown { key } => write!(f, "unknown {} {}", key.0, key.1),
            Self::Reaped { key } => write!(f, "reaped {} {}", key.0, key.1),
            Self::Ended { key, process, exit, usage, left, stopped } => {
                let Usage { user_ms, system_ms, max_rss_kib, blocks_in, blocks_out } = usage;
                write!(f, "ended {} {} {process} {exit} {user_ms} {system_ms} ", key.0, key.1)?;
                write!(f, "{max_rss_kib} {blocks_in} {blocks_out} {left} {}", if *stopped { "stopped" } else { "own" })
            }
            Self::Stray { process } => write!(f, "stray {process}"),
            Self::Empty { key } => write!(f, "empty {} {}", key.0, key.1),
            Self::Stopping { cause: StopCause::Policy } => f.write_str("stopping policy"),
            Self::Stopping { cause: StopCause::Term } => f.write_str("stopping term"),
            Self::Complete => f.write_str("complete"),
        }
    }
}

/// The words of one line; more words than expected are a later version's and are passed over.
struct Words<'a>(SplitAsciiWhitespace<'a>);

impl Words<'_> {
    fn next<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn key(&mut self) -> Option<Key> {
        Some((self.next()?, self.next()?))
    }

    fn record(&mut self) -> Option<Record> {
        Some(match self.0.next()? {
            "console" => Record::Console {
                version: self.next()?,
                boot: self.next()?,
                guard: self.next()?,
                console: self.next()?,
                end: self.next()?,
            },
            "alive" => Record::Alive { key: self.key()?, log: self.next()?, process: self.next()? },
            "entered" => Record::Entered { key: self.key()?, log: self.next()? },
            "listed" => Record::Listed { count: self.next()? },
            "found" => Record::Found { key: self.key()?, process: self.next()? },
            "notstarted" => Record::NotStarted { key: self.key()? },
            "unknown" => Record::Unknown { key: self.key()? },
            "reaped" => Record::Reaped { key: self.key()? },
            "ended" => Record::Ended {
                key: self.key()?,
                process: self.next()?,
                exit: self.next()?,
                usage: self.usage()?,
                left: self.next()?,
                stopped: match self.0.next()? {
                    "stopped" => true,
                    "own" => false,
                    _ => return None,
                },
            },
            "stray" => Record::Stray { process: self.next()? },
            "empty" => Record::Empty { key: self.key()? },
            "stopping" => match self.0.next()? {
                "policy" => Record::Stopping { cause: StopCause::Policy },
                "term" => Record::Stopping { cause: StopCause::Term },
                _ => return None,
            },
            "complete" => Record::Complete,
            _ => return None,
        })
    }

    fn usage(&mut self) -> Option<Usage> {
        Some(Usage {
            user_ms: self.next()?,
            system_ms: self.next()?,
            max_rss_kib: self.next()?,
            blocks_in: self.next()?,
            blocks_out: self.next()?,
        })
    }
}

/// All good lines of `bytes`, how many complete lines were bad, and how many bytes at the end are a torn line.
pub fn parse_all(bytes: &[u8]) -> (Vec<Stamped>, usize, usize) {
    let (mut good, mut bad) = (Vec::new(), 0);
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        match Stamped::parse(&rest[..end]) {
            Some(line) => good.push(line),
            None => bad += 1,
        }
        rest = &rest[end + 1..];
    }
    (good, bad, rest.len())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn one_of_each() -> Vec<Record> {
        let process = Process { pid: 41, start_ticks: 90 };
        let key = (7, 2);
        let usage = Usage { user_ms: 1, system_ms: 2, max_rss_kib: 3, blocks_in: 4, blocks_out: 5 };
        let console =
            |end| Record::Console { version: VERSION, boot: "b-1".into(), guard: process, console: process, end };
        vec![
            console(ConsoleEnd::Detached),
            console(ConsoleEnd::Died(Exit::Signal(9))),
            Record::Alive { key, log: 40, process },
            Record::Entered { key, log: 40 },
            Record::Listed { count: 2 },
            Record::Found { key, process },
            Record::NotStarted { key },
            Record::Unknown { key },
            Record::Reaped { key },
            Record::Ended { key, process, exit: Exit::Code(7), usage, left: 2, stopped: true },
            Record::Ended { key, process, exit: Exit::Signal(15), usage, left: 0, stopped: false },
            Record::Stray { process },
            Record::Empty { key },
            Record::Stopping { cause: StopCause::Policy },
            Record::Stopping { cause: StopCause::Term },
            Record::Complete,
        ]
    }

    #[test]
    fn each_record_reads_back_as_it_was_written() {
        for record in one_of_each() {
            let stamped = Stamped { at_ms: 1_764_000_000_123, record };
            let line = stamped.line();
            assert!(line.len() <= MAX_LINE && line.ends_with('\n'));
            assert_eq!(Stamped::parse(line.trim_end().as_bytes()), Some(stamped));
        }
    }

    #[test]
    fn no_flipped_byte_and_no_cut_gives_another_record() {
        for record in one_of_each() {
            let line = Stamped { at_ms: 12, record }.line();
            let line = line.trim_end().as_bytes();
            for at in 0..line.len() {
                assert_eq!(Stamped::parse(&line[..at]), None, "cut at {at}");
                let mut flipped = line.to_vec();
                flipped[at] ^= 1;
                assert_eq!(Stamped::parse(&flipped), None, "flipped at {at}");
            }
        }
    }

    #[test]
    fn a_torn_tail_and_a_bad_line_lose_only_themselves() {
        let lines: Vec<String> = one_of_each().into_iter().map(|record| Stamped { at_ms: 5, record }.line()).collect();
        let mut bytes = lines[..3].concat().into_bytes();
        bytes.extend_from_slice(b"0badc0de 5 complete\n\n");
        bytes.extend_from_slice(lines[3].as_bytes());
        bytes.extend_from_slice(&lines[4].as_bytes()[..9]);
        let (good, bad, torn) = parse_all(&bytes);
        assert_eq!((good.len(), bad, torn), (4, 2, 9));
        assert_eq!(parse_all(&[0xff; 4096]), (vec![], 0, 4096));
    }

    #[test]
    fn words_of_a_later_version_are_passed_over_and_its_records_refused() {
        let body = "5 listed 3 newword";
        let line = format!("{:08x} {body}", crc32fast::hash(body.as_bytes()));
        assert_eq!(Stamped::parse(line.as_bytes()), Some(Stamped { at_ms: 5, record: Record::Listed { count: 3 } }));
        let body = "5 hologram 3";
        let line = format!("{:08x} {body}", crc32fast::hash(body.as_bytes()));
        assert_eq!(Stamped::parse(line.as_bytes()), None);
    }
}
