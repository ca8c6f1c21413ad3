//! The three facts that every attempt leaves, read without a parser: they are nearly all of a long journal, and this is
//! several times as fast. Only text just as the writer makes it is taken; with anything else, also an added field, the
//! answer is `None` and RON decides. So it knows no more of the format than what it may fail to recognise.

use crate::engine::fact::{Fact, Outcome, Stamped, Then};
use crate::engine::ids::{AgentId, Attempt, TaskId, Time};
use crate::engine::message::{Process, Usage};

/// The fact, if it is one of the three in their usual form.
pub fn decode(body: &[u8]) -> Option<Stamped> {
    let mut text = Text(body);
    text.skip(b"(at:")?;
    let at = Time(text.number()?);
    text.skip(b",fact:")?;
    let fact = match text.0.first()? {
        b'S' => starting(&mut text),
        b'R' => running(&mut text),
        b'E' => ended(&mut text),
        _ => None,
    }?;
    text.skip(b"))")?;
    text.0.is_empty().then_some(Stamped { at, fact })
}

fn starting(text: &mut Text<'_>) -> Option<Fact> {
    text.skip(b"Starting(task:")?;
    let (task, attempt) = attempt(text)?;
    text.skip(b",agent:")?;
    Some(Fact::Starting { task, attempt, agent: AgentId(text.number()?) })
}

fn running(text: &mut Text<'_>) -> Option<Fact> {
    text.skip(b"Running(task:")?;
    let (task, attempt) = attempt(text)?;
    text.skip(b",process:(pid:")?;
    let pid = text.number()?;
    text.skip(b",start_ticks:")?;
    let start_ticks = text.number()?;
    text.skip(b"),log:")?;
    Some(Fact::Running { task, attempt, process: Process { pid, start_ticks }, log: text.number()? })
}

fn ended(text: &mut Text<'_>) -> Option<Fact> {
    text.skip(b"Ended(task:")?;
    let (task, attempt) = attempt(text)?;
    text.skip(b",outcome:Succeeded,usage:(user_ms:")?;
    let user_ms = text.number()?;
    text.skip(b",system_ms:")?;
    let system_ms = text.number()?;
    text.skip(b",max_rss_kib:")?;
    let max_rss_kib = text.number()?;
    text.skip(b",blocks_in:")?;
    let blocks_in = text.number()?;
    text.skip(b",blocks_out:")?;
    let blocks_out = text.number()?;
    text.skip(b"),output:")?;
    let usage = Usage { user_ms, system_ms, max_rss_kib, blocks_in, blocks_out };
    Some(Fact::Ended { task, attempt, outcome: Outcome::Succeeded, usage, output: text.number()?, then: Then::Rest })
}

fn attempt(text: &mut Text<'_>) -> Option<(TaskId, Attempt)> {
    let task = TaskId(text.number()?);
    text.skip(b",attempt:")?;
    Some((task, Attempt(text.number()?)))
}

/// What is left of the text.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// Digits, as many as there are.
    fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(digits);
        let value =
            digits.iter().try_fold(0_u64, |sum, &byte| sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')));
        self.0 = rest;
        T::try_from(value.filter(|_| !digits.is_empty())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode_ron;
    use super::*;

    fn samples() -> Vec<Stamped> {
        let mut samples = Vec::new();
        for (small, large) in [(0, 0), (1, 10), (u32::MAX, u64::MAX)] {
            let (task, attempt, agent) = (TaskId(small), Attempt(small), AgentId(small));
            let process = Process { pid: i32::try_from(small).unwrap_or(i32::MAX), start_ticks: large };
            let usage = Usage { user_ms: large, system_ms: 1, max_rss_kib: large, blocks_in: 3, blocks_out: large };
            for fact in [
                Fact::Starting { task, attempt, agent },
                Fact::Running { task, attempt, process, log: large },
                Fact::Ended { task, attempt, outcome: Outcome::Succeeded, usage, output: large, then: Then::Rest },
            ] {
                samples.push(Stamped { at: Time(large), fact });
            }
        }
        samples
    }

    fn body(fact: &Stamped) -> Vec<u8> {
        ron::to_string(fact).unwrap().into_bytes()
    }

    #[test]
    fn the_usual_facts_are_taken_as_the_writer_makes_them() {
        for fact in samples() {
            assert_eq!(decode(&body(&fact)).as_ref(), Some(&fact));
        }
    }

    #[test]
    fn whatever_text_it_takes_ron_reads_the_same() {
        let pool = b"0129(),:._-+ aESRx\n\"";
        let (mut taken, mut left) = (0, 0);
        for fact in samples() {
            let good = body(&fact);
            for at in 0..good.len() {
                let changed = pool.iter().map(|&byte| [&good[..at], &[byte], &good[at + 1..]].concat());
                let inserted = pool.iter().map(|&byte| [&good[..at], &[byte], &good[at..]].concat());
                let removed = [&good[..at], &good[at + 1..]].concat();
                for text in changed.chain(inserted).chain([removed]) {
                    match decode(&text) {
                        Some(quick) => {
                            taken += 1;
                            assert_eq!(decode_ron(&text).as_ref(), Ok(&quick), "{:?}", String::from_utf8(text));
                        }
                        None => left += 1,
                    }
                }
            }
        }
        assert!(taken > 1000 && left > 1000, "both ways were tried: {taken}, {left}");
    }
}
