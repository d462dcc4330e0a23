//! When the data of a Lambda function leave: the strategy applied to one invocation after the other.
//!
//! The default watches how often the function is invoked. While that is rarely, or not known yet, data leave at the end of each
//! invocation, as the sandbox may freeze for long; when it is often, they leave at the beginning of one every 20 seconds, beside the
//! function's work, which costs it no time. (Datadog's extension in Go does so with the same numbers.)

use crate::model::flush_strategy::FlushStrategy;
use std::collections::VecDeque;
use std::time::Duration;

/// Invocations that are remembered, and so many must be for a judgement.
const INVOCATIONS_MAX: usize = 30;
const INVOCATIONS_MIN: usize = 20;

/// More between two invocations is rarely.
const OFTEN: Duration = Duration::from_secs(120);

/// How often data leave where invocations are frequent.
const PERIOD: Duration = Duration::from_secs(20);

/// No strategy makes data leave more often than that beside the work.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// What an invocation's beginning asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Its end is awaited, then data leave, then the next is asked for.
    AwaitEnd,
    /// Data leave now, then the next is asked for.
    FlushFirst,
    /// The next is asked for.
    GoOn,
}

/// The strategy and what it has seen. Times count from any origin and include those in which the sandbox was frozen.
#[derive(Debug)]
pub struct Flushes {
    strategy: FlushStrategy,
    began: VecDeque<Duration>,
    last: Option<Duration>,
}

impl Flushes {
    /// Nothing seen yet.
    pub fn new(strategy: FlushStrategy) -> Flushes {
        Flushes { strategy, began: VecDeque::with_capacity(INVOCATIONS_MAX), last: None }
    }

    /// An invocation begins.
    pub fn begin(&mut self, now: Duration) -> Begin {
        if self.began.len() == INVOCATIONS_MAX {
            self.began.pop_front();
        }
        self.began.push_back(now);
        match self.in_force() {
            FlushStrategy::Periodically(every) if self.last.is_none_or(|last| last + every <= now) => Begin::FlushFirst,
            FlushStrategy::Periodically(_) | FlushStrategy::Continuously(_) => Begin::GoOn,
            _ => Begin::AwaitEnd,
        }
    }

    /// Data leave, whoever wanted it.
    pub fn flushed(&mut self, now: Duration) {
        self.last = Some(now);
    }

    /// How long until data are to leave beside the work; `None` for never.
    pub fn due_in(&self, now: Duration) -> Option<Duration> {
        let (FlushStrategy::EndAndEvery(every) | FlushStrategy::Continuously(every)) = self.strategy else { return None };
        // What came before the invocation has left, so that its beginning counts.
        let since = match self.strategy {
            FlushStrategy::EndAndEvery(_) => self.last.max(self.began.back().copied()),
            _ => self.last,
        };
        Some((since.unwrap_or_default() + every.max(EVERY_MIN)).saturating_sub(now))
    }

    fn in_force(&self) -> FlushStrategy {
        match (self.strategy, self.began.front(), self.began.back()) {
            (FlushStrategy::Default, Some(first), Some(last)) => {
                let intervals = self.began.len() as u32 - 1;
                let is_often = INVOCATIONS_MIN <= self.began.len() && last.saturating_sub(*first) / intervals < OFTEN;
                if is_often { FlushStrategy::Periodically(PERIOD) } else { FlushStrategy::End }
            }
            (strategy, ..) => strategy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn end_waits_for_each_invocation() {
        let mut flushes = Flushes::new(FlushStrategy::End);
        assert!((0..100).all(|second| flushes.begin(s(second)) == Begin::AwaitEnd && flushes.due_in(s(second)).is_none()));
    }

    #[test]
    fn end_with_a_number_also_ticks_during_an_invocation() {
        let mut flushes = Flushes::new(FlushStrategy::EndAndEvery(s(10)));
        flushes.flushed(s(50));
        assert_eq!(flushes.begin(s(100)), Begin::AwaitEnd);
        assert_eq!(flushes.due_in(s(103)), Some(s(7)));
        flushes.flushed(s(110));
        assert_eq!([flushes.due_in(s(111)), flushes.due_in(s(130))], [Some(s(9)), Some(s(0))]);
    }

    #[test]
    fn periodically_flushes_at_the_beginning_of_the_first_invocation_and_of_those_that_are_due() {
        let mut flushes = Flushes::new(FlushStrategy::Periodically(s(10)));
        let mut begun = Vec::new();
        for second in [0, 1, 9, 10, 12, 25, 30] {
            begun.push(flushes.begin(s(second)));
            if begun.last() == Some(&Begin::FlushFirst) {
                flushes.flushed(s(second));
            }
        }
        use Begin::{FlushFirst, GoOn};
        assert_eq!(begun, [FlushFirst, GoOn, GoOn, FlushFirst, GoOn, FlushFirst, GoOn]);
        assert_eq!(flushes.due_in(s(100)), None);
    }

    #[test]
    fn continuously_waits_for_nothing_and_ticks() {
        let mut flushes = Flushes::new(FlushStrategy::Continuously(s(10)));
        assert_eq!((flushes.begin(s(3)), flushes.due_in(s(3))), (Begin::GoOn, Some(s(7))));
        flushes.flushed(s(12));
        assert_eq!(flushes.due_in(s(13)), Some(s(9)));
        assert_eq!(Flushes::new(FlushStrategy::Continuously(s(0))).due_in(s(0)), Some(EVERY_MIN));
    }

    #[track_caller]
    fn check_default(invocations: u64, every: u64, expected: Begin) {
        let mut flushes = Flushes::new(FlushStrategy::Default);
        let mut begin = Begin::GoOn;
        for number in 0..invocations {
            begin = flushes.begin(s(number * every));
            flushes.flushed(s(number * every));
        }
        assert_eq!(begin, expected, "{invocations} invocations every {every} s");
    }

    #[test]
    fn by_default_frequent_invocations_are_not_waited_for() {
        check_default(19, 1, Begin::AwaitEnd);
        check_default(20, 1, Begin::GoOn);
        check_default(100, 20, Begin::FlushFirst);
        check_default(100, 119, Begin::FlushFirst);
        check_default(100, 120, Begin::AwaitEnd);
        check_default(1, 0, Begin::AwaitEnd);
    }

    #[test]
    fn by_default_only_late_invocations_count() {
        let mut flushes = Flushes::new(FlushStrategy::Default);
        for number in 0..30 {
            flushes.begin(s(number * 3_600));
        }
        let begun = (0..30).map(|second| flushes.begin(s(29 * 3_600 + second)));
        assert_eq!(begun.last(), Some(Begin::FlushFirst));
    }
}
