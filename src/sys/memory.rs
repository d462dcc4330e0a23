//! A budget of bytes that several threads share, so that the sum of what they hold stays under one limit.
//!
//! The shared number is behind a mutex and not a channel, because a taker must see in one step what all others hold.

use crate::sys::clock::Clock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A limit in bytes and what of it is taken.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Waking nobody would cost a system call a request.
    waiters: usize,
}

impl Budget {
    /// A budget of `limit` bytes, none taken.
    pub fn new(limit: usize) -> Budget {
        Budget { shared: Arc::new(Shared { limit, state: Mutex::default(), freed: Condvar::new() }) }
    }

    /// All there is to give.
    pub fn limit(&self) -> usize {
        self.shared.limit
    }

    /// What is taken now.
    pub fn taken(&self) -> usize {
        self.shared.lock().taken
    }

    /// Takes `bytes`, waiting for others to return theirs until `by` at most. `None` when they did not, or when `bytes` is more
    /// than the whole budget.
    pub fn reserve(&self, bytes: usize, by: Instant) -> Option<Permit> {
        let mut permit = Permit { budget: self.clone(), bytes: 0, with: None };
        permit.grow(bytes, by).then_some(permit)
    }
}

impl Shared {
    /// A poisoned lock is taken all the same: the numbers behind it are changed in single steps and are never half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes taken from a [`Budget`]; they go back when this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    bytes: usize,
    /// Bytes of another budget that go back at the same time.
    with: Option<Box<Permit>>,
}

impl Permit {
    /// How many bytes it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds `other` too, for as long as this is held.
    pub fn with(mut self, other: Permit) -> Permit {
        self.with = Some(Box::new(other));
        self
    }

    /// Takes `more` bytes, waiting until `by` at most; `false`, with nothing changed, when they are not to be had.
    pub fn grow(&mut self, more: usize, by: Instant) -> bool {
        let shared = &self.budget.shared;
        if shared.limit < more {
            return false;
        }
        let mut state = shared.lock();
        while shared.limit - more < state.taken {
            let wait = Clock::new().until(by);
            if wait.is_zero() {
                return false;
            }
            state.waiters += 1;
            state = shared.freed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            state.waiters -= 1;
        }
        state.taken += more;
        self.bytes += more;
        true
    }

    /// Gives back what is over `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        let mut state = self.budget.shared.lock();
        state.taken -= surplus;
        if 0 < state.waiters {
            self.budget.shared.freed.notify_all();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Clock::new().instant_in(Duration::ZERO)
    }

    #[test]
    fn bytes_come_back_when_the_permit_goes() {
        let budget = Budget::new(10);
        let mut permit = budget.reserve(6, soon()).unwrap();
        assert!(budget.reserve(5, soon()).is_none());
        permit.shrink_to(5);
        assert_eq!(budget.reserve(5, soon()).map(|permit| permit.bytes()), Some(5));
        drop(permit);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn more_than_the_whole_budget_is_refused_at_once() {
        let far = Clock::new().instant_in(Duration::from_secs(3600));
        assert!(Budget::new(10).reserve(11, far).is_none());
    }

    #[test]
    fn a_waiter_gets_what_another_returns() {
        let budget = Budget::new(10);
        let permit = budget.reserve(10, soon()).unwrap();
        let far = Clock::new().instant_in(Duration::from_secs(3600));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| budget.reserve(10, far).is_some());
            drop(permit);
            assert!(waiter.join().unwrap());
        });
    }
}
