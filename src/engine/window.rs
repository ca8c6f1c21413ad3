//! Time windows: whether one is open, and when it opens next. Intervals are absolute: what days and clock times mean was
//! worked out when the file was read. Knows nothing of tasks or calendars.

use super::definition::WindowDefinition;
use super::ids::Time;

impl WindowDefinition {
    /// The interval that holds `now`, or the next one. None if it never opens again.
    fn next(&self, now: Time) -> Option<(Time, Time)> {
        let at = self.open.partition_point(|(_, end)| *end <= now);
        self.open.get(at).copied()
    }

    /// It is open now.
    pub fn is_open(&self, now: Time) -> bool {
        self.next(now).is_some_and(|(from, _)| from <= now)
    }

    /// When it opens next, if it is closed; `None` if it never does again.
    pub fn opens(&self, now: Time) -> Option<Time> {
        self.next(now).map(|(from, _)| from).filter(|from| *from > now)
    }

    /// When it closes, if it is open.
    pub fn closes(&self, now: Time) -> Option<Time> {
        self.next(now).filter(|(from, _)| *from <= now).map(|(_, end)| end)
    }

    /// It is open or will be.
    pub fn ever_opens(&self, now: Time) -> bool {
        self.next(now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_from_its_first_to_before_its_last_moment() {
        let name = String::new();
        let window = WindowDefinition { name, open: vec![(Time(10), Time(20)), (Time(30), Time(40))] };
        let told: Vec<_> = [0, 10, 19, 20, 30, 39, 40]
            .map(|at| {
                (window.is_open(Time(at)), window.opens(Time(at)).map(|t| t.0), window.closes(Time(at)).map(|t| t.0))
            })
            .into();
        assert_eq!(
            told,
            [
                (false, Some(10), None),
                (true, None, Some(20)),
                (true, None, Some(20)),
                (false, Some(30), None),
                (true, None, Some(40)),
                (true, None, Some(40)),
                (false, None, None),
            ]
        );
        assert!(window.ever_opens(Time(39)) && !window.ever_opens(Time(40)));
    }
}
