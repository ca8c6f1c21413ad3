//! A token bucket in exact whole numbers: what a rate resource has left. Filled up by time, used up by starts; its level is
//! worked out when it is asked for, so nothing ticks. Knows nothing of tasks.

use serde::{Deserialize, Serialize};

use super::ids::{Amount, Span, Time};

/// What a rate resource has left. It holds at most its capacity, and fills up from nothing in `per`.
///
/// The level is counted in thousandths of a unit times milliseconds of `per`: in a millisecond it rises by the capacity, and
/// taking an amount lowers it by the amount times `per`. So no rounding adds up. At most 2^62 x 2^42, which fits 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// High and low half of the level at `at`.
    level: (u64, u64),
    at: Time,
    per: Span,
}

impl Bucket {
    /// A full one.
    pub fn full(capacity: Amount, per: Span, now: Time) -> Self {
        let per = Span(per.0.max(1));
        Self { level: halves(product(capacity.0, per.0)), at: now, per }
    }

    /// In how long it fills up from nothing.
    pub fn per(&self) -> Span {
        self.per
    }

    fn level_at(&self, capacity: Amount, now: Time) -> u128 {
        let risen = product(capacity.0, now.since(self.at).0);
        whole(self.level).saturating_add(risen).min(product(capacity.0, self.per.0))
    }

    /// How much can be taken now.
    pub fn free(&self, capacity: Amount, now: Time) -> Amount {
        let free = self.level_at(capacity, now) / u128::from(self.per.0);
        Amount(u64::try_from(free).unwrap_or(u64::MAX))
    }

    /// Takes an amount that is free.
    pub fn take(&mut self, capacity: Amount, amount: Amount, now: Time) {
        let left = self.level_at(capacity, now).saturating_sub(product(amount.0, self.per.0));
        (self.level, self.at) = (halves(left), now);
    }

    /// It holds another capacity from now on: what is left stays, as far as there is room.
    pub fn resize(&mut self, before: Amount, after: Amount, now: Time) {
        let left = self.level_at(before, now).min(product(after.0, self.per.0));
        (self.level, self.at) = (halves(left), now);
    }

    /// When so much can be taken, if nothing is taken before; never, if that is more than it holds.
    pub fn when(&self, capacity: Amount, amount: Amount, now: Time) -> Option<Time> {
        if amount > capacity {
            return None;
        }
        let missing = product(amount.0, self.per.0).saturating_sub(self.level_at(capacity, now));
        let wait = missing.div_ceil(u128::from(capacity.0.max(1)));
        Some(now.plus(Span(u64::try_from(wait).unwrap_or(u64::MAX))))
    }
}

fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

fn whole((high, low): (u64, u64)) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[expect(clippy::cast_possible_truncation, reason = "each half is 64 bits")]
fn halves(level: u128) -> (u64, u64) {
    ((level >> 64) as u64, level as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_interval_sees_more_than_the_capacity_and_what_time_fills_up(
            capacity in 1u64..5_000, per in 1u64..5_000, steps in prop::collection::vec((0u64..2_000, 1u64..3_000), 1..60)
        ) {
            let (capacity, per) = (Amount(capacity), Span(per));
            let mut bucket = Bucket::full(capacity, per, Time(5));
            let mut taken: Vec<(Time, u64)> = Vec::new();
            let mut now = Time(5);
            for (wait, amount) in steps {
                now = now.plus(Span(wait));
                let Some(at) = bucket.when(capacity, Amount(amount), now) else {
                    prop_assert!(amount > capacity.0);
                    continue;
                };
                // At that time it can be taken, a millisecond before it cannot.
                prop_assert!(bucket.free(capacity, at).0 >= amount);
                prop_assert!(at == now || bucket.free(capacity, Time(at.0 - 1)).0 < amount);
                now = at;
                bucket.take(capacity, Amount(amount), now);
                taken.push((now, amount));
                for (n, (from, _)) in taken.iter().enumerate() {
                    let sum: u64 = taken[n..].iter().map(|(_, amount)| amount).sum();
                    prop_assert!(sum * per.0 <= capacity.0 * (per.0 + now.since(*from).0));
                }
            }
        }
    }

    #[test]
    fn another_capacity_keeps_what_is_left() {
        let mut bucket = Bucket::full(Amount(10_000), Span(1000), Time(0));
        bucket.take(Amount(10_000), Amount(7_000), Time(0));
        bucket.resize(Amount(10_000), Amount(2_000), Time(0));
        assert_eq!(bucket.free(Amount(2_000), Time(0)), Amount(2_000));
        bucket.resize(Amount(2_000), Amount(20_000), Time(0));
        assert_eq!(bucket.free(Amount(20_000), Time(100)), Amount(4_000));
        assert_eq!(bucket.when(Amount(20_000), Amount(20_001), Time(0)), None);
    }
}
