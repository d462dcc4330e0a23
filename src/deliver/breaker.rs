//! The breaker of one endpoint. Closed: bodies go as they come. A failure opens it, and nothing is tried for a pause. Then it is half-open:
//! one body goes, and what becomes of that closes it or opens it for longer. Decided without a clock or a thread.
//!
//! The pause doubles up to a limit and is jittered, so that a thousand boards do not come back in the same second.

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

/// What may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything.
    Closed,
    /// Nothing.
    Open {
        /// Until then, as uptime.
        until: Duration,
        /// The endpoint asked for the pause, and not we for ourselves.
        asked: bool,
    },
    /// One body.
    HalfOpen,
}

/// The state of one endpoint.
#[derive(Debug)]
pub struct Breaker {
    limits: Limits,
    /// In a row.
    failures: u32,
    state: State,
}

impl Breaker {
    /// No failure yet.
    pub fn new(limits: Limits) -> Breaker {
        Breaker { limits, failures: 0, state: State::Closed }
    }

    /// What may be tried.
    pub fn state(&self) -> State {
        self.state
    }

    /// The pause is over, or the end is near and one last try is due.
    pub fn probe(&mut self) {
        self.state = State::HalfOpen;
    }

    /// The endpoint dealt with a body; whether it had failed before.
    pub fn succeeded(&mut self) -> bool {
        self.failures = 0;
        std::mem::replace(&mut self.state, State::Closed) != State::Closed
    }

    /// It failed at `now`: it is open for half to all of the doubled step, and at least for what the endpoint `asked`.
    pub fn failed(&mut self, now: Duration, asked: Option<Duration>, random: &mut Random) {
        let step = self.limits.base.saturating_mul(1 << self.failures.min(16)).min(self.limits.max);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        let jitter = Duration::from_micros(random.below(half.as_micros() as u64 + 1));
        let pause = asked.unwrap_or_default().max(half + jitter);
        self.state = State::Open { until: now.saturating_add(pause), asked: asked.is_some() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn breaker() -> Breaker {
        Breaker::new(Limits { base: Duration::from_secs(2), max: Duration::from_secs(10) })
    }

    #[track_caller]
    fn pause(breaker: &Breaker) -> (u128, bool) {
        match breaker.state() {
            State::Open { until, asked } => ((until - NOW).as_millis(), asked),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pauses_double_with_jitter_up_to_the_limit_and_start_anew_after_success() {
        let (mut breaker, mut random) = (breaker(), Random::new(7));
        for step in [2, 4, 8, 10, 10] {
            breaker.failed(NOW, None, &mut random);
            let (pause, asked) = pause(&breaker);
            assert!((step * 500..=step * 1000).contains(&pause) && !asked, "{pause} ms for {step} s");
            breaker.probe();
        }
        assert!(breaker.succeeded());
        breaker.failed(NOW, None, &mut random);
        assert!(pause(&breaker).0 <= 2_000);
    }

    #[test]
    fn the_endpoint_may_ask_for_more() {
        let mut breaker = breaker();
        breaker.failed(NOW, Some(Duration::from_secs(30)), &mut Random::new(7));
        assert_eq!(pause(&breaker), (30_000, true));
    }

    #[test]
    fn one_probe_closes_it_or_opens_it_again() {
        let (mut breaker, mut random) = (breaker(), Random::new(7));
        assert_eq!(breaker.state(), State::Closed);
        breaker.failed(NOW, None, &mut random);
        breaker.probe();
        assert_eq!(breaker.state(), State::HalfOpen);
        breaker.failed(NOW, None, &mut random);
        assert!(2_000 <= pause(&breaker).0);
        breaker.probe();
        assert!(breaker.succeeded() && !breaker.succeeded(), "only the first says that there was an outage");
        assert_eq!(breaker.state(), State::Closed);
    }
}
