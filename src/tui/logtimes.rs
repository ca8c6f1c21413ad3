//! When the lines of a log were written, as far as that can be known: a file has no times, but who looks at it again and
//! again knows between which two looks each byte came. Where nobody looked, a time is estimated and says so.

use crate::engine::ids::Time;

/// A byte that came between two looks at most so far apart has a time; any other an estimate.
const EXACT_MS: u64 = 1000;
/// At most so many looks are remembered of one log; then every second one is forgotten.
const MAX_MARKS: usize = 4096;

/// What was seen of one log.
#[derive(Debug, Default)]
pub struct Watch {
    /// Ascending.
    marks: Vec<Mark>,
    looked: Option<Time>,
}

/// Bytes up to `to` came between these two times.
#[derive(Debug, Clone, Copy)]
struct Mark {
    to: u64,
    after: Time,
    before: Time,
}

/// When a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// When.
    pub at: Time,
    /// Nobody looked when it was: `at` is an estimate between two times that are known.
    pub about: bool,
}

impl Watch {
    /// The log is `length` long now. `began`: before that it was empty; `modified`: it was not written to since then.
    pub fn saw(&mut self, length: u64, now: Time, began: Time, modified: Time) {
        let seen = self.marks.last().map_or(0, |mark| mark.to);
        let after = self.looked.replace(now).unwrap_or(began);
        if length < seen {
            self.marks.retain(|mark| mark.to <= length);
        }
        if length > seen {
            // A look that comes late knows at least when the last byte came.
            let late = now.since(after).0 > EXACT_MS && modified.0 >= after.0;
            let before = if late { modified.min(now) } else { now };
            self.marks.push(Mark { to: length, after: after.min(before), before });
        }
        if self.marks.len() > MAX_MARKS {
            let mut kept: Vec<Mark> = Vec::with_capacity(MAX_MARKS / 2 + 1);
            for pair in self.marks.chunks(2) {
                let last = pair[pair.len() - 1];
                kept.push(Mark { after: pair[0].after, ..last });
            }
            self.marks = kept;
        }
    }

    /// It is another file: nothing is known.
    pub fn forget(&mut self) {
        self.marks.clear();
        self.looked = None;
    }

    /// When the byte at this offset was written.
    pub fn at(&self, offset: u64) -> Option<Written> {
        let n = self.marks.partition_point(|mark| mark.to <= offset);
        let mark = self.marks.get(n)?;
        let from = n.checked_sub(1).map_or(0, |n| self.marks[n].to);
        let span = mark.before.since(mark.after).0;
        if span <= EXACT_MS {
            return Some(Written { at: mark.before, about: false });
        }
        let share = (offset - from) as f64 / (mark.to - from) as f64;
        Some(Written { at: Time(mark.after.0 + (span as f64 * share) as u64), about: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_time_where_somebody_looked_and_an_estimate_where_nobody_did() {
        let mut watch = Watch::default();
        assert_eq!(watch.at(0), None);
        watch.saw(100, Time(50_000), Time(10_000), Time(30_000));
        watch.saw(100, Time(50_050), Time(10_000), Time(30_000));
        watch.saw(120, Time(50_100), Time(10_000), Time(50_090));
        watch.saw(220, Time(90_000), Time(10_000), Time(70_100));
        let about = |at| Some(Written { at: Time(at), about: true });
        assert_eq!(watch.at(0), about(10_000));
        assert_eq!(watch.at(50), about(20_000), "between its start and its last write");
        assert_eq!(watch.at(100), Some(Written { at: Time(50_100), about: false }));
        assert_eq!(watch.at(119), Some(Written { at: Time(50_100), about: false }));
        assert_eq!(watch.at(170), about(60_100), "nobody looked for a while");
        assert_eq!(watch.at(220), None, "not written yet");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_stays_in_order() {
        let mut watch = Watch::default();
        for n in 1..10_000u64 {
            watch.saw(n, Time(n * 10), Time(0), Time(n * 10));
        }
        assert!(watch.marks.len() <= MAX_MARKS);
        let times: Vec<_> = (0..9_998).map(|at| watch.at(at).unwrap().at).collect();
        assert!(times.is_sorted());
        watch.saw(3, Time(200_000), Time(0), Time(200_000));
        assert_eq!(watch.at(5), None, "it was truncated");
    }
}
