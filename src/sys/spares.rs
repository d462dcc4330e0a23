//! Buffers that are used again. A large one that goes back to the system and comes from it anew for each request costs a page fault for
//! every 4 KiB: a seventh of the time that a span took.
//!
//! Behind a mutex and not a channel, because everything kept must go in one step when there is nothing to do.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// A few things that somebody may want again, of a bounded size each and in all.
#[derive(Debug)]
pub struct Spares<T> {
    kept: Arc<Mutex<Kept<T>>>,
    limits: Limits,
}

/// What is kept, each with its bytes, and the sum of these.
#[derive(Debug)]
struct Kept<T> {
    items: Vec<(T, usize)>,
    bytes: usize,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Things.
    pub items_max: usize,
    /// Bytes of each; what has grown larger is not kept.
    pub item_bytes_max: usize,
    /// Bytes of all together.
    pub bytes_max: usize,
}

impl Limits {
    /// Keeps nothing.
    pub const NONE: Limits = Limits { items_max: 0, item_bytes_max: 0, bytes_max: 0 };
}

impl<T> Clone for Spares<T> {
    fn clone(&self) -> Self {
        Spares { kept: Arc::clone(&self.kept), limits: self.limits }
    }
}

impl<T> Spares<T> {
    /// Nothing kept.
    pub fn new(limits: Limits) -> Spares<T> {
        Spares { kept: Arc::new(Mutex::new(Kept { items: Vec::new(), bytes: 0 })), limits }
    }

    /// One that was given back, if there is any.
    pub fn take(&self) -> Option<T> {
        let mut kept = self.lock();
        let (item, bytes) = kept.items.pop()?;
        kept.bytes -= bytes;
        Some(item)
    }

    /// Keeps `item`, which holds so many bytes, unless there are enough or it is too large.
    pub fn give(&self, item: T, bytes: usize) {
        let Limits { items_max, item_bytes_max, bytes_max } = self.limits;
        let mut kept = self.lock();
        if kept.items.len() < items_max && bytes <= item_bytes_max && kept.bytes + bytes <= bytes_max {
            kept.bytes += bytes;
            kept.items.push((item, bytes));
        }
    }

    /// Lets go of everything: nobody is in need of it now.
    pub fn clear(&self) {
        let kept = std::mem::replace(&mut *self.lock(), Kept { items: Vec::new(), bytes: 0 });
        drop(kept); // after the lock is open again
    }

    fn lock(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_the_limits_say() {
        let spares = Spares::new(Limits { items_max: 2, item_bytes_max: 10, bytes_max: 100 });
        assert_eq!(spares.take(), None);
        for (item, bytes) in [("small", 1), ("large", 11), ("fitting", 10), ("one too many", 1)] {
            spares.give(item, bytes);
        }
        assert_eq!((spares.take(), spares.take(), spares.take()), (Some("fitting"), Some("small"), None));
        spares.give("again", 1);
        spares.clear();
        assert_eq!(spares.take(), None);
    }

    #[test]
    fn there_is_a_limit_for_all_together_and_what_is_taken_counts_no_more() {
        let spares = Spares::new(Limits { items_max: 9, item_bytes_max: 10, bytes_max: 15 });
        for _ in 0..3 {
            for (item, bytes) in [("first", 9), ("too much", 7), ("the rest", 6), ("more", 1)] {
                spares.give(item, bytes);
            }
            assert_eq!((spares.take(), spares.take(), spares.take()), (Some("the rest"), Some("first"), None));
        }
    }
}
