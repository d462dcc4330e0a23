//! When a body is full or old enough. Pure, and ignorant of what is in it.

use std::time::Duration;

/// Bounds of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes before compression, what encloses the entries included.
    pub bytes_max: usize,
    /// Entries.
    pub entries_max: usize,
    /// From the first entry on.
    pub age_max: Duration,
}

/// The measures of the body that is being filled.
#[derive(Debug)]
pub struct Batch {
    limits: Limits,
    bytes: usize,
    entries: usize,
    opened: Option<Duration>,
}

impl Batch {
    /// An empty body.
    pub fn new(limits: Limits) -> Batch {
        Batch { limits, bytes: 0, entries: 0, opened: None }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether an entry of `bytes` still fits. An empty body takes any entry; who makes entries caps them.
    pub fn takes(&self, bytes: usize) -> bool {
        self.is_empty() || (self.entries < self.limits.entries_max && self.bytes + bytes <= self.limits.bytes_max)
    }

    /// Counts an entry in; `uptime` is now.
    pub fn add(&mut self, bytes: usize, uptime: Duration) {
        self.bytes += bytes;
        self.entries += 1;
        self.opened.get_or_insert(uptime);
    }

    /// When the body must leave, as uptime; `None` while it is empty.
    pub fn due(&self) -> Option<Duration> {
        self.opened.map(|opened| opened + self.limits.age_max)
    }

    /// The body has left.
    pub fn clear(&mut self) {
        *self = Batch::new(self.limits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        Batch::new(Limits { bytes_max: 4, entries_max: 3, age_max: Duration::from_secs(5) })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn body_leaves_before_it_would_exceed_the_limit() {
        let mut batch = batch();
        batch.add(3, at(0));
        assert!(batch.takes(1) && !batch.takes(2));
        batch.clear();
        (0..3).for_each(|_| batch.add(1, at(0)));
        assert!(!batch.takes(0), "three entries are enough");
    }

    #[test]
    fn age_counts_from_the_first_entry() {
        let mut batch = batch();
        assert_eq!(batch.due(), None);
        batch.add(1, at(1));
        batch.add(1, at(4));
        assert_eq!(batch.due(), Some(at(6)));
    }

    #[test]
    fn an_empty_body_takes_any_entry() {
        assert!(batch().takes(1000));
    }
}
