//! How an endpoint does, for others to look at while its thread is busy: what the breaker allows, since when nothing got through, and what
//! went wrong last.
//!
//! Behind a mutex and not a channel, as whoever asks wants the present state at once; it is held for no longer than a copy takes.

use crate::deliver::breaker::State;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// What is known of it at one moment. Times are uptime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What may be tried.
    pub state: State,
    /// The first failure since something was delivered.
    pub failing_since: Option<Duration>,
    /// The latest delivery.
    pub delivered_at: Option<Duration>,
    /// The latest remark, and when it was made.
    pub last_error: Option<(Duration, String)>,
}

/// Shared by its thread and those who look.
#[derive(Clone, Debug)]
pub struct Outlook {
    shared: Arc<Mutex<Seen>>,
}

impl Default for Outlook {
    fn default() -> Self {
        let seen = Seen { state: State::Closed, failing_since: None, delivered_at: None, last_error: None };
        Outlook { shared: Arc::new(Mutex::new(seen)) }
    }
}

impl Outlook {
    /// As it is now.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    pub(super) fn probes(&self) {
        self.lock().state = State::HalfOpen;
    }

    pub(super) fn failed(&self, now: Duration, state: State) {
        let mut seen = self.lock();
        seen.state = state;
        seen.failing_since.get_or_insert(now);
    }

    /// A body was dealt with; what became of it.
    pub(super) fn succeeded(&self, now: Duration, is_delivered: bool) {
        let mut seen = self.lock();
        (seen.state, seen.failing_since) = (State::Closed, None);
        if is_delivered {
            seen.delivered_at = Some(now);
        }
    }

    pub(super) fn says(&self, now: Duration, text: String) {
        self.lock().last_error = Some((now, text));
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_its_first_failure_to_the_next_delivery() {
        let at = Duration::from_secs;
        let outlook = Outlook::default();
        let open = State::Open { until: at(9), asked: false };
        outlook.says(at(5), "no answer".to_owned());
        outlook.failed(at(5), open);
        outlook.probes();
        outlook.failed(at(7), open);
        let seen = outlook.seen();
        assert_eq!((seen.state, seen.failing_since), (open, Some(at(5))));
        assert_eq!(seen.last_error, Some((at(5), "no answer".to_owned())));
        outlook.succeeded(at(11), true);
        outlook.succeeded(at(12), false);
        let seen = outlook.seen();
        assert_eq!((seen.state, seen.failing_since, seen.delivered_at), (State::Closed, None, Some(at(11))));
        assert!(seen.last_error.is_some(), "it is still worth to know");
    }
}
