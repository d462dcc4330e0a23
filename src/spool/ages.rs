//! How old records may become before the intake throws them away: the link is not spent on those.

use crate::sys::ledger::Signal;
use std::time::Duration;

/// The longest age of each signal's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    max: [Duration; Signal::ALL.len()],
}

impl Ages {
    /// The same for all signals.
    pub fn all(max: Duration) -> Ages {
        Ages { max: [max; Signal::ALL.len()] }
    }

    /// No limit: local output takes everything.
    pub fn none() -> Ages {
        Ages::all(Duration::MAX)
    }

    /// The same, with at most `max` for `signal`.
    pub fn with(mut self, signal: Signal, max: Duration) -> Ages {
        let known = &mut self.max[signal as usize];
        *known = max.min(*known);
        self
    }

    /// The longest age of this signal's records.
    pub fn max_of(&self, signal: Signal) -> Duration {
        self.max[signal as usize]
    }
}
