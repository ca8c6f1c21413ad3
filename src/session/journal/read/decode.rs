//! RON to facts on two threads, in order: decoding is most of the cost of reading. A short journal is decoded in place.
//! Knows nothing of files.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::engine::fact::Stamped;

use super::super::line::{self, Parsed};

/// How many threads.
const THREADS: usize = 2;
/// So many chunks are on their way at most.
const IN_FLIGHT: usize = 2 * THREADS;

/// Good lines in a row.
pub struct Chunk {
    /// Number of the first.
    pub first: u64,
    /// Their text.
    pub text: Vec<u8>,
}

/// The facts of a chunk.
pub struct Decoded {
    /// Number of the first.
    pub first: u64,
    /// All of them, or those before the first that is unknown.
    pub facts: Vec<Stamped>,
    /// Whether one was unknown.
    pub failed: bool,
}

/// Decodes chunks in order.
#[derive(Default)]
pub struct Decoders {
    /// The first chunk waits here to see whether there is a second.
    alone: Option<Chunk>,
    threads: Vec<(SyncSender<Chunk>, Receiver<Decoded>)>,
    given: usize,
    taken: usize,
    /// Decoded here, because no thread could be started.
    here: VecDeque<Decoded>,
    no_threads: bool,
}

impl Decoders {
    /// Whether another chunk can be given before one is taken.
    pub fn has_room(&self) -> bool {
        self.given - self.taken < IN_FLIGHT
    }

    /// Takes a chunk to decode.
    pub fn give(&mut self, chunk: Chunk) {
        self.given += 1;
        if self.given == 1 {
            self.alone = Some(chunk);
            return;
        }
        if self.threads.is_empty() && !self.no_threads {
            self.threads = (0..THREADS).map_while(|_| start()).collect();
            self.no_threads = self.threads.len() < THREADS;
        }
        if let Some(first) = self.alone.take() {
            self.send(0, first);
        }
        self.send(self.given - 1, chunk);
    }

    fn send(&mut self, number: usize, chunk: Chunk) {
        if self.no_threads {
            self.here.push_back(decode(&chunk));
        } else {
            let (to, _) = &self.threads[number % THREADS];
            to.send(chunk).expect("a decoder lives as long as its channel");
        }
    }

    /// The facts of the chunk that was given first, or `None` if all are taken.
    pub fn take(&mut self) -> Option<Decoded> {
        if self.taken == self.given {
            return None;
        }
        self.taken += 1;
        if let Some(chunk) = self.alone.take() {
            return Some(decode(&chunk));
        }
        if self.no_threads {
            return self.here.pop_front();
        }
        let (_, from) = &self.threads[(self.taken - 1) % THREADS];
        Some(from.recv().expect("a decoder answers each chunk"))
    }
}

/// A thread that decodes until its channel is closed; `None` if none can be started.
fn start() -> Option<(SyncSender<Chunk>, Receiver<Decoded>)> {
    let (to, chunks) = sync_channel::<Chunk>(IN_FLIGHT);
    let (answer, from) = sync_channel(IN_FLIGHT);
    let run = move || {
        for chunk in chunks {
            if answer.send(decode(&chunk)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("journal-decode".into()).spawn(run).ok()?;
    Some((to, from))
}

fn decode(chunk: &Chunk) -> Decoded {
    let mut decoded = Decoded { first: chunk.first, facts: Vec::new(), failed: false };
    let mut rest = &chunk.text[..];
    while let Parsed::Good(line) = line::parse(rest) {
        match line::decode(line.body) {
            Ok(fact) => decoded.facts.push(fact),
            Err(_) => {
                decoded.failed = true;
                break;
            }
        }
        rest = &rest[line.size..];
    }
    decoded
}
