//! DogStatsD: what arrives at a UDP port, a Unix datagram socket or a Unix stream socket is handed to the metrics pipeline as it came.
//!
//! Nothing is parsed here: the thread that empties the socket does only that, so that the system has to throw away as little as possible.
//! It takes what is there at once, so that under load many datagrams share one place in the pipeline's inbox, and each record counts as
//! one datagram until the pipeline knows better. When the pipeline is behind, a batch waits a moment and is then dropped and counted: a
//! client is never held up for longer.

pub mod datagrams;
pub mod stream;

use crate::decode::dogstatsd;
use crate::decode::dogstatsd::Tally;
use crate::model::metrics_item::Datagrams;
use crate::model::metrics_item::MetricsItem;
use crate::sys::clock::Clock;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::memory::Budget;
use crate::sys::spares::Spares;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

/// A parcel with so many bytes of datagrams takes no further one.
const BATCH_BYTES_MAX: usize = 32 * 1024;

/// How long a batch waits for memory and a place in the inbox.
const PATIENCE: Duration = Duration::from_millis(100);

/// Until when a server that was told to stop hands on what it still finds; nothing as long as it runs.
type StopBy = Arc<OnceLock<Instant>>;

/// Whether the last line of a datagram counts if no line feed ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLine {
    /// It does.
    Counts,
    /// It was cut and is dropped.
    NeedsItsEnd,
}

/// Where datagrams go.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// The metrics pipeline.
    pub inbox: Inbox<MetricsItem>,
    /// Where they are counted in.
    pub ledger: Arc<Ledger>,
    /// What all requests and datagrams share.
    pub budget: Budget,
    /// Buffers that the pipeline is done with.
    pub spares: Spares<Datagrams>,
    /// For the moment that a batch may wait.
    pub clock: Clock,
    /// The rule for lines without an end.
    pub last_line: LastLine,
}

impl Outlet {
    /// A batch with nothing in it.
    fn batch(&self) -> Datagrams {
        self.spares.take().unwrap_or_default()
    }

    /// Adds one datagram to `batch`.
    fn add(&self, batch: &mut Datagrams, datagram: &[u8]) {
        let whole = match self.last_line {
            LastLine::Counts => datagram,
            LastLine::NeedsItsEnd => {
                let end = datagram.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                if end < datagram.len() {
                    self.ledger.accept(Signal::Metrics, 1).drop_all(Reason::Malformed);
                }
                &datagram[..end]
            }
        };
        batch.push(whole);
    }

    /// Hands `batch` to the pipeline, or counts it as lost.
    pub fn hand_on(&self, batch: Datagrams) {
        self.hand_on_before(batch, None);
    }

    /// The same without waiting beyond `latest`.
    fn hand_on_before(&self, batch: Datagrams, latest: Option<&Instant>) {
        if batch.is_empty() {
            let bytes = batch.memory_bytes();
            return self.spares.give(batch, bytes);
        }
        let claim = self.ledger.accept(Signal::Metrics, batch.len() as u64);
        let by = self.clock.instant_in(PATIENCE);
        let by = latest.map_or(by, |latest| by.min(*latest));
        let Some(permit) = self.budget.reserve(memory_bytes(&batch), by) else { return self.lose(&batch, claim) };
        if let Err(back) = self.inbox.put(Parcel { item: MetricsItem::Datagrams(batch), claim, permit }, by)
            && let MetricsItem::Datagrams(batch) = back.item
        {
            self.lose(&batch, back.claim);
        }
    }

    /// Counts what was in `batch` as lost, in place of the datagrams that it was counted in as.
    fn lose(&self, batch: &Datagrams, claim: Claim) {
        let Tally { metrics, events, checks } = dogstatsd::tally(batch);
        let parts = [(Signal::Metrics, metrics), (Signal::Events, events), (Signal::Checks, checks)];
        claim.drop_as(&parts, Reason::InboxFull);
    }
}

/// Datagrams and where each ends.
fn memory_bytes(batch: &Datagrams) -> usize {
    batch.bytes_len() + size_of::<u32>() * batch.len()
}
