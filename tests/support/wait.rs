//! Deadlines for the other sides.

use mote::sys::clock::Clock;
use std::time::{Duration, Instant};

/// The instant that lies `wait` ahead.
pub fn soon(wait: Duration) -> Instant {
    Clock::new().instant_in(wait)
}
