//! The memory that all queues share, and what of it each may take.

use crate::spool::ages::Ages;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// What a full queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest body goes, counted.
    DropOldest,
    /// The same, and not even the keeper is waited for: nobody may be held up by this queue.
    DropAtOnce,
    /// The pipeline waits, and through it whoever reads events from stdin or a recording.
    Wait,
}

/// The memory that all queues share, and how old a body may become in it.
#[derive(Debug)]
pub struct Room {
    pub(super) limit: usize,
    pub(super) taken: AtomicUsize,
    pub(super) ages: Ages,
    /// There is a keeper and its disk works, so that a full queue may hope for room.
    pub(super) is_kept: AtomicBool,
}

impl Room {
    /// Room for `limit` bytes.
    pub fn new(limit: usize, ages: Ages) -> Arc<Room> {
        Arc::new(Room { limit, taken: AtomicUsize::new(0), ages, is_kept: AtomicBool::new(false) })
    }

    /// Nearly full: time to move bodies to disk.
    pub(super) fn is_tight(&self) -> bool {
        self.limit / 4 * 3 < self.taken.load(Relaxed)
    }

    pub(super) fn is_half_empty(&self) -> bool {
        self.taken.load(Relaxed) <= self.limit / 2
    }

    pub(super) fn free(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Relaxed);
    }
}

/// What of the room one queue may take from those that can be told to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Bodies that wait.
    pub bodies_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
}
