//! The ledger: how many records came in, left, wait and were dropped, for each signal.
//!
//! `accepted + restored = sent + memory + spool + dropped`. Whoever takes a record in gets a [`Claim`] for it and hands the claim
//! on with the record; each claim ends as sent or as dropped for a closed reason, or moves to the spool on disk, from where it can
//! come back. A claim that is destroyed otherwise (a panic
//! unwound through its owner) books itself as `fault`. So the sum holds at every quiescent point, and what a wedged thread still
//! holds shows as `memory`.

use crate::sys::receipt::Receipt;
use crate::sys::receipt::Receipts;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The kinds of data that pass through, each with its own row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log lines.
    Logs,
    /// Grouped statistics of spans: one for each set of attributes in a bucket of time, accepted when the bucket is handed out or comes
    /// from a tracer. The spans behind them are counted as traces.
    Stats,
    /// Points of metrics as clients sent them: one for each value of a packed line. A series that is made of many settles them all.
    Metrics,
    /// Events, which people read.
    Events,
    /// Results of service checks.
    Checks,
    /// Requests of clients that are passed on as they came.
    Proxied,
}

impl Signal {
    /// All signals, in the order of the printed ledger.
    pub const ALL: [Signal; 7] =
        [Signal::Traces, Signal::Logs, Signal::Stats, Signal::Metrics, Signal::Events, Signal::Checks, Signal::Proxied];

    /// The name used in the ledger, in local output and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Stats => "stats",
            Signal::Metrics => "metrics",
            Signal::Events => "events",
            Signal::Checks => "checks",
            Signal::Proxied => "proxied",
        }
    }
}

/// Why a record was dropped. The list is closed: a new cause is a new variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A queue was full and the sender could not be told.
    InboxFull,
    /// The memory or the spool for bodies that wait to leave was full; the oldest went.
    SpoolFull,
    /// It could be read no more from the spool.
    SpoolDamaged,
    /// So old that the intake would have thrown it away.
    TooOld,
    /// Larger than the intake takes.
    TooLarge,
    /// The intake refused the body for good.
    Refused,
    /// A rule of the user's, or blank.
    Filtered,
    /// The samplers that the user turned on did not choose its trace.
    Sampled,
    /// Broken in a way that only this record suffers from.
    Malformed,
    /// Of a context beyond the limit; the oldest contexts stay.
    ContextLimit,
    /// Still waiting when the shutdown's deadline came.
    Shutdown,
    /// No key will come to send it with.
    NoKey,
    /// Nobody reads local output any more.
    OutputClosed,
    /// A further endpoint for which nothing is kept did not take it at once.
    Unreliable,
    /// A fault of the agent's own.
    Fault,
}

impl Reason {
    /// All reasons, in the order of the printed ledger.
    pub const ALL: [Reason; 15] = [
        Reason::InboxFull,
        Reason::SpoolFull,
        Reason::SpoolDamaged,
        Reason::TooOld,
        Reason::TooLarge,
        Reason::Refused,
        Reason::Filtered,
        Reason::Sampled,
        Reason::Malformed,
        Reason::ContextLimit,
        Reason::Shutdown,
        Reason::NoKey,
        Reason::OutputClosed,
        Reason::Unreliable,
        Reason::Fault,
    ];

    /// The word in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Reason::InboxFull => "inbox_full",
            Reason::SpoolFull => "spool_full",
            Reason::SpoolDamaged => "spool_damaged",
            Reason::TooOld => "too_old",
            Reason::TooLarge => "too_large",
            Reason::Refused => "refused",
            Reason::Filtered => "filtered",
            Reason::Sampled => "sampled",
            Reason::Malformed => "malformed",
            Reason::ContextLimit => "context_limit",
            Reason::Shutdown => "shutdown",
            Reason::NoKey => "no_key",
            Reason::OutputClosed => "output_closed",
            Reason::Unreliable => "unreliable",
            Reason::Fault => "fault",
        }
    }

    /// Whether the record was lost without anybody having asked for it, which is what exit code 75 reports.
    pub fn is_loss(self) -> bool {
        !matches!(self, Reason::Filtered | Reason::Sampled | Reason::Malformed | Reason::Refused | Reason::Unreliable)
    }
}

/// The counters, shared by everyone who accepts or settles records.
#[derive(Debug, Default)]
pub struct Ledger {
    rows: [Row; Signal::ALL.len()],
}

#[derive(Debug, Default)]
struct Row {
    accepted: AtomicU64,
    restored: AtomicU64,
    sent: AtomicU64,
    memory: AtomicU64,
    spool: AtomicU64,
    missed: AtomicU64,
    dropped: [AtomicU64; Reason::ALL.len()],
}

impl Ledger {
    /// A ledger with nothing in it.
    pub fn new() -> Arc<Ledger> {
        Arc::new(Ledger::default())
    }

    /// Books `records` in and returns the claim for them.
    pub fn accept(self: &Arc<Self>, signal: Signal, records: u64) -> Claim {
        let row = &self.rows[signal as usize];
        row.accepted.fetch_add(records, Relaxed);
        row.memory.fetch_add(records, Relaxed);
        Claim { ledger: Arc::clone(self), signal, records, receipts: Receipts::default() }
    }

    /// Notes how many the system has lost so far before anybody here could take them in. They were never accepted, so they are shown beside
    /// the sum and are not part of it; of datagrams nobody knows how many records were in them.
    pub fn set_missed(&self, signal: Signal, missed: u64) {
        self.rows[signal as usize].missed.store(missed, Relaxed);
    }

    /// Books in `records` that an earlier run left on disk.
    pub fn restore(&self, signal: Signal, records: u64) {
        let row = &self.rows[signal as usize];
        row.restored.fetch_add(records, Relaxed);
        row.spool.fetch_add(records, Relaxed);
    }

    /// `records` come from disk into memory; the claim for them.
    pub fn from_spool(self: &Arc<Self>, signal: Signal, records: u64) -> Claim {
        let row = &self.rows[signal as usize];
        row.spool.fetch_sub(records, Relaxed);
        row.memory.fetch_add(records, Relaxed);
        Claim { ledger: Arc::clone(self), signal, records, receipts: Receipts::default() }
    }

    /// `records` on disk are lost.
    pub fn drop_spooled(&self, signal: Signal, records: u64, reason: Reason) {
        let row = &self.rows[signal as usize];
        row.spool.fetch_sub(records, Relaxed);
        row.dropped[reason as usize].fetch_add(records, Relaxed);
    }

    /// Reads all counters. Other threads may settle meanwhile, which takes two steps, so it reads again until the rows balance; what
    /// never does is shown as it is.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.read();
        for _ in 0..READS_MAX {
            if snapshot.is_balanced() {
                break;
            }
            std::thread::yield_now();
            snapshot = self.read();
        }
        snapshot
    }

    fn read(&self) -> Snapshot {
        Snapshot {
            rows: Signal::ALL.map(|signal| {
                let row = &self.rows[signal as usize];
                RowSnapshot {
                    signal,
                    accepted: row.accepted.load(Relaxed),
                    restored: row.restored.load(Relaxed),
                    sent: row.sent.load(Relaxed),
                    memory: row.memory.load(Relaxed),
                    spool: row.spool.load(Relaxed),
                    missed: row.missed.load(Relaxed),
                    dropped: Reason::ALL.map(|reason| (reason, row.dropped[reason as usize].load(Relaxed))),
                }
            }),
        }
    }
}

/// How often the counters are read again while others change them.
const READS_MAX: u32 = 1_000;

/// The right and the duty to settle a number of records of one signal.
#[must_use]
#[derive(Debug)]
pub struct Claim {
    ledger: Arc<Ledger>,
    signal: Signal,
    records: u64,
    /// For the copies of the requests that they came with, where there is a journal.
    receipts: Receipts,
}

impl Claim {
    /// The same, for records of a request whose copy is given up when all of them are settled.
    pub fn with_receipt(mut self, receipt: Option<&Arc<Receipt>>) -> Claim {
        receipt.into_iter().for_each(|receipt| self.receipts.add(receipt));
        self
    }

    /// The same, and settled only when those of `other`'s requests are.
    pub fn with_receipts_of(mut self, other: &Claim) -> Claim {
        self.receipts.merge(other.receipts.clone());
        self
    }

    /// How many records are still to be settled.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whose row it is.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The intake has them.
    pub fn sent(mut self) {
        let records = self.release();
        self.ledger.rows[self.signal as usize].sent.fetch_add(records, Relaxed);
    }

    /// They are on disk now, which is whose they are.
    pub fn to_spool(mut self) {
        let records = self.release();
        self.ledger.rows[self.signal as usize].spool.fetch_add(records, Relaxed);
    }

    /// All of them are lost.
    pub fn drop_all(mut self, reason: Reason) {
        let records = self.records;
        self.drop_some(records, reason);
    }

    /// `records` of them are lost, the others go on.
    pub fn drop_some(&mut self, records: u64, reason: Reason) {
        self.split(records).book_dropped(reason);
    }

    /// All of them are lost, and are really `parts`: what they were booked in as was only what could be told of them so far.
    pub fn drop_as(self, parts: &[(Signal, u64)], reason: Reason) {
        for (signal, records) in parts {
            self.ledger.accept(*signal, *records).drop_all(reason);
        }
        self.refuse();
    }

    /// Takes them out of the books again: the sender was told that they were not accepted and keeps them.
    pub fn refuse(mut self) {
        let records = self.release();
        self.ledger.rows[self.signal as usize].accepted.fetch_sub(records, Relaxed);
    }

    /// A claim of its own for `records` of them.
    pub fn split(&mut self, records: u64) -> Claim {
        debug_assert!(records <= self.records, "a claim cannot settle more records than it holds");
        let records = records.min(self.records);
        self.records -= records;
        Claim { ledger: Arc::clone(&self.ledger), signal: self.signal, records, receipts: self.receipts.clone() }
    }

    /// Takes over what `other` holds.
    pub fn merge(&mut self, mut other: Claim) {
        debug_assert_eq!(self.signal, other.signal, "claims of two signals cannot be one");
        self.records += std::mem::take(&mut other.records);
        self.receipts.merge(std::mem::take(&mut other.receipts));
    }

    fn book_dropped(mut self, reason: Reason) {
        if matches!(reason, Reason::Shutdown | Reason::Fault) && 0 < self.records {
            self.receipts.void(); // the next run may do better
        }
        let records = self.release();
        self.ledger.rows[self.signal as usize].dropped[reason as usize].fetch_add(records, Relaxed);
    }

    fn release(&mut self) -> u64 {
        let records = std::mem::take(&mut self.records);
        self.ledger.rows[self.signal as usize].memory.fetch_sub(records, Relaxed);
        records
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if 0 < self.records {
            let rest = self.split(self.records);
            rest.book_dropped(Reason::Fault);
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// One row a signal, in the order of [`Signal::ALL`].
    pub rows: [RowSnapshot; Signal::ALL.len()],
}

/// One signal's counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSnapshot {
    /// Which signal.
    pub signal: Signal,
    /// Taken in since the start.
    pub accepted: u64,
    /// Found on disk at the start.
    pub restored: u64,
    /// Delivered.
    pub sent: u64,
    /// On their way, in memory.
    pub memory: u64,
    /// On disk.
    pub spool: u64,
    /// Lost by the system before they came in; not part of the sum.
    pub missed: u64,
    /// Lost, by reason.
    pub dropped: [(Reason, u64); Reason::ALL.len()],
}

impl RowSnapshot {
    /// All that was dropped, whatever the reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    /// Whether anything was ever counted.
    pub fn is_used(&self) -> bool {
        0 < self.accepted + self.restored + self.missed
    }

    /// What came in equals what left, waits or was dropped.
    pub fn is_balanced(&self) -> bool {
        self.accepted + self.restored == self.sent + self.memory + self.spool + self.dropped_total()
    }
}

impl Snapshot {
    /// Every row is balanced.
    pub fn is_balanced(&self) -> bool {
        self.rows.iter().all(RowSnapshot::is_balanced)
    }

    /// The books of a process that ends now: what a thread still holds goes with it, dropped at the shutdown.
    pub fn at_end(mut self) -> Snapshot {
        for row in &mut self.rows {
            row.dropped[Reason::Shutdown as usize].1 += std::mem::take(&mut row.memory);
        }
        self
    }

    /// Nothing is on its way any more.
    pub fn is_quiet(&self) -> bool {
        self.rows.iter().all(|row| row.memory == 0)
    }

    /// How many records were lost that nobody asked to drop.
    pub fn lost(&self) -> u64 {
        let dropped = self.rows.iter().flat_map(|row| &row.dropped);
        dropped.filter(|(reason, _)| reason.is_loss()).map(|(_, count)| count).sum()
    }
}

/// `traces accepted=5 restored=0 sent=4 memory=0 spool=0 dropped=1 too_large=1; logs accepted=2 ...; balanced lost=1`, without the
/// signals of which there was nothing.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.rows.iter().filter(|row| row.is_used()) {
            let RowSnapshot { signal, accepted, restored, sent, memory, spool, missed, dropped } = row;
            write!(f, "{} accepted={accepted} restored={restored} sent={sent} memory={memory} spool={spool}", signal.name())?;
            write!(f, " dropped={}", row.dropped_total())?;
            for (reason, count) in dropped.iter().filter(|(_, count)| 0 < *count) {
                write!(f, " {}={count}", reason.name())?;
            }
            if 0 < *missed {
                write!(f, " missed={missed}")?;
            }
            write!(f, "; ")?;
        }
        let verdict = if self.is_balanced() { "balanced" } else { "UNBALANCED" };
        write!(f, "{verdict} lost={}", self.lost())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_a_claim_can_end_is_booked() {
        let ledger = Ledger::new();
        let mut claim = ledger.accept(Signal::Traces, 10);
        claim.split(3).sent();
        claim.drop_some(2, Reason::TooLarge);
        claim.split(1).refuse();
        drop(claim.split(1));
        let line = ledger.snapshot().to_string();
        assert!(
            line.starts_with("traces accepted=9 restored=0 sent=3 memory=3 spool=0 dropped=3 too_large=2 fault=1; "),
            "{line}"
        );
        claim.drop_all(Reason::Filtered);
        assert!(ledger.snapshot().is_balanced() && ledger.snapshot().is_quiet());
        assert_eq!(ledger.snapshot().lost(), 3, "filtered records were asked to be dropped");
    }

    /// On 32-bit machines too: an agent that runs for months counts beyond that.
    #[test]
    fn more_than_four_thousand_million_records_are_counted() {
        const MANY: u64 = (1 << 32) + 3;
        let ledger = Ledger::new();
        ledger.accept(Signal::Metrics, MANY).sent();
        ledger.accept(Signal::Metrics, MANY).drop_all(Reason::TooOld);
        let snapshot = ledger.snapshot();
        let row = &snapshot.rows[Signal::Metrics as usize];
        assert!(snapshot.is_balanced());
        assert_eq!((row.accepted, row.sent, snapshot.lost()), (2 * MANY, MANY, MANY));
    }

    #[test]
    fn signals_of_which_there_was_nothing_are_not_printed() {
        let ledger = Ledger::new();
        assert_eq!(ledger.snapshot().to_string(), "balanced lost=0");
        ledger.accept(Signal::Checks, 1).sent();
        let expected = "checks accepted=1 restored=0 sent=1 memory=0 spool=0 dropped=0; balanced lost=0";
        assert_eq!(ledger.snapshot().to_string(), expected);
    }

    #[test]
    fn what_the_system_lost_is_shown_beside_the_sum() {
        let ledger = Ledger::new();
        ledger.set_missed(Signal::Metrics, 7);
        let expected = "metrics accepted=0 restored=0 sent=0 memory=0 spool=0 dropped=0 missed=7; balanced lost=0";
        assert_eq!(ledger.snapshot().to_string(), expected);
    }

    #[test]
    fn a_claim_moves_to_the_spool_and_back() {
        let ledger = Ledger::new();
        ledger.restore(Signal::Logs, 5);
        ledger.accept(Signal::Logs, 2).to_spool();
        assert!(ledger.snapshot().to_string().starts_with("logs accepted=2 restored=5 sent=0 memory=0 spool=7 dropped=0;"));
        let back = ledger.from_spool(Signal::Logs, 4);
        ledger.drop_spooled(Signal::Logs, 3, Reason::TooOld);
        assert!(ledger.snapshot().to_string().contains("memory=4 spool=0 dropped=3 too_old=3; balanced lost=3"));
        back.sent();
        assert!(ledger.snapshot().is_balanced() && ledger.snapshot().is_quiet());
    }

    #[test]
    fn a_panic_books_what_its_owner_held_as_fault() {
        let ledger = Ledger::new();
        let claim = ledger.accept(Signal::Logs, 4);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = claim;
            std::panic::resume_unwind(Box::new("fault"));
        }));
        assert!(result.is_err());
        assert!(ledger.snapshot().to_string().contains("dropped=4 fault=4"));
    }

    #[test]
    fn what_is_still_held_when_the_process_ends_is_lost() {
        let ledger = Ledger::new();
        let _held = ledger.accept(Signal::Logs, 4);
        assert_eq!(ledger.snapshot().lost(), 0, "while the process runs it is only on its way");
        let end = ledger.snapshot().at_end();
        assert!(end.is_balanced() && end.is_quiet());
        assert_eq!(end.lost(), 4);
    }

    #[test]
    fn merged_claims_settle_together() {
        let ledger = Ledger::new();
        let mut claim = ledger.accept(Signal::Logs, 4);
        claim.merge(ledger.accept(Signal::Logs, 5));
        assert_eq!(claim.records(), 9);
        claim.sent();
        assert!(ledger.snapshot().to_string().contains("logs accepted=9 restored=0 sent=9 memory=0"));
    }
}
