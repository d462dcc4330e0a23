//! The pause that an endpoint gets after failures: it doubles up to a limit and is jittered, so that a thousand boards do not come
//! back in the same second.

use crate::sys::random::Random;
use std::time::Duration;

/// Bounds of the pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// After the first failure.
    pub base: Duration,
    /// However many failures.
    pub max: Duration,
}

/// Failures in a row of one endpoint.
#[derive(Debug)]
pub struct Backoff {
    limits: Limits,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub fn new(limits: Limits) -> Backoff {
        Backoff { limits, failures: 0 }
    }

    /// The endpoint answered.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It failed: the pause before the next try, between half and all of the doubled step, and at least what the endpoint `asked`.
    pub fn failed(&mut self, asked: Option<Duration>, random: &mut Random) -> Duration {
        let step = self.limits.base.saturating_mul(1 << self.failures.min(16)).min(self.limits.max);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        let jitter = Duration::from_micros(random.below(half.as_micros() as u64 + 1));
        asked.unwrap_or_default().max(half + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_up_to_the_limit_and_start_anew_after_success() {
        let limits = Limits { base: Duration::from_secs(2), max: Duration::from_secs(10) };
        let (mut backoff, mut random) = (Backoff::new(limits), Random::new(7));
        for step in [2, 4, 8, 10, 10] {
            let pause = backoff.failed(None, &mut random);
            assert!((step * 500..=step * 1000).contains(&pause.as_millis()), "{pause:?} for {step} s");
        }
        backoff.succeeded();
        assert!(backoff.failed(None, &mut random) <= Duration::from_secs(2));
    }

    #[test]
    fn the_endpoint_may_ask_for_more() {
        let limits = Limits { base: Duration::from_secs(2), max: Duration::from_secs(10) };
        let asked = Some(Duration::from_secs(30));
        assert_eq!(Backoff::new(limits).failed(asked, &mut Random::new(7)), Duration::from_secs(30));
    }
}
