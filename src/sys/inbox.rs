//! Queues between threads. All are bounded, and an item that waits carries what it costs: its [`Claim`] in the ledger and its
//! [`Permit`] of memory, so that the bytes in a queue are bounded too and no item can vanish uncounted.

use crate::sys::ledger::Claim;
use crate::sys::memory::Permit;
use crossbeam::channel;
use std::time::Instant;

pub use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

/// A plain bounded queue, for events and notices.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    channel::bounded(capacity)
}

/// One item on its way, with the records it settles and the memory it holds.
#[derive(Debug)]
pub struct Parcel<T> {
    /// The decoded thing itself.
    pub item: T,
    /// The records in it.
    pub claim: Claim,
    /// Its bytes.
    pub permit: Permit,
}

/// What a pipeline finds in its inbox.
#[derive(Debug)]
pub enum Message<T> {
    /// Something to work on.
    Item(Parcel<T>),
    /// Send on what has been collected so far; the mark is dropped when that is done.
    Flush(FlushMark),
}

/// The sending side of a pipeline's queue.
#[derive(Debug)]
pub struct Inbox<T> {
    sender: Sender<Message<T>>,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Inbox { sender: self.sender.clone() }
    }
}

/// A queue of at most `items_max` parcels.
pub fn inbox<T>(items_max: usize) -> (Inbox<T>, Receiver<Message<T>>) {
    let (sender, receiver) = channel(items_max);
    (Inbox { sender }, receiver)
}

impl<T> Inbox<T> {
    /// Puts `parcel` in if there is room now; otherwise it comes back, for the source to tell its client or to count it.
    pub fn offer(&self, parcel: Parcel<T>) -> Result<(), Parcel<T>> {
        self.sender.try_send(Message::Item(parcel)).map_err(|err| take_back(err.into_inner()))
    }

    /// Puts `parcel` in, waiting for room until `by`; otherwise it comes back.
    pub fn put(&self, parcel: Parcel<T>, by: Instant) -> Result<(), Parcel<T>> {
        self.sender.send_deadline(Message::Item(parcel), by).map_err(|err| take_back(err.into_inner()))
    }

    /// Asks the pipeline to send on what it has; `mark` is dropped at once when the queue stays full until `by`.
    pub fn flush(&self, mark: FlushMark, by: Instant) {
        // A refusal drops the mark, which is what tells the waiter that nothing more will come of it.
        let _ = self.sender.send_deadline(Message::Flush(mark), by);
    }
}

fn take_back<T>(message: Message<T>) -> Parcel<T> {
    match message {
        Message::Item(parcel) => parcel,
        Message::Flush(_) => unreachable!("only parcels are offered and put"),
    }
}

/// Travels through the pipelines behind everything accepted before it. The waiter learns that all copies are gone.
#[derive(Clone, Debug)]
pub struct FlushMark {
    _all_dropped_means_done: Sender<()>,
}

/// The side that waits for all copies of a [`FlushMark`] to be dropped.
#[derive(Debug)]
pub struct FlushWait {
    done: Receiver<()>,
}

impl FlushMark {
    /// A mark and the one who waits for it.
    pub fn new() -> (FlushMark, FlushWait) {
        let (sender, done) = channel(1);
        (FlushMark { _all_dropped_means_done: sender }, FlushWait { done })
    }
}

impl FlushWait {
    /// Waits until every copy of the mark is gone, `by` at most; whether that happened in time.
    pub fn wait(self, by: Instant) -> bool {
        matches!(self.done.recv_deadline(by), Err(RecvTimeoutError::Disconnected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::Clock;
    use crate::sys::ledger::{Ledger, Signal};
    use crate::sys::memory::Budget;
    use std::time::Duration;

    fn soon() -> Instant {
        Clock::new().instant_in(Duration::ZERO)
    }

    #[test]
    fn a_full_inbox_gives_the_parcel_back_with_its_claim() {
        let (ledger, budget) = (Ledger::new(), Budget::new(100));
        let parcel = |item| Parcel { item, claim: ledger.accept(Signal::Logs, 1), permit: budget.reserve(10, soon()).unwrap() };
        let (inbox, receiver) = inbox(1);
        assert!(inbox.offer(parcel("first")).is_ok());
        let back = inbox.offer(parcel("second")).unwrap_err();
        assert_eq!((back.item, back.claim.records(), budget.taken()), ("second", 1, 20));
        back.claim.refuse();
        drop((receiver, inbox));
        assert_eq!(budget.taken(), 10, "only the refused parcel's permit is still held by its owner");
    }

    #[test]
    fn a_flush_is_done_when_every_copy_of_its_mark_is_gone() {
        let (mark, wait) = FlushMark::new();
        drop((mark.clone(), mark));
        assert!(wait.wait(Clock::new().instant_in(Duration::from_secs(3600))));
        let (_held, wait) = FlushMark::new();
        assert!(!wait.wait(soon()));
    }
}
