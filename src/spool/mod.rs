//! Encoded bodies that wait to leave, and what survives a restart.
//!
//! A [`queue`] stands between a pipeline and the thread that posts. Behind all queues may stand one [`keeper`], a thread that moves
//! bodies which cannot leave now to [`disk`] and brings them back.

pub mod ages;
pub mod disk;
pub mod folder;
pub mod journal;
pub mod keeper;
pub mod list;
mod queue;
pub mod record;
mod room;
pub mod segment;
pub mod state;

pub use queue::FlushUntil;
pub use queue::Level;
pub use queue::Pause;
pub use queue::Queue;
pub use queue::Taken;
pub use room::Room;
pub use room::Share;
pub use room::WhenFull;

use crate::spool::segment::Ticket;
use crate::sys::clock::Clock;
use crate::sys::clock::Now;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::wall_clock::Shift;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Which intake a body is for, and so which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `AgentPayload` protobuf.
    Traces,
    /// JSON array of log entries.
    Logs,
    /// `StatsPayload` msgpack.
    Stats,
    /// `MetricPayload` protobuf.
    Series,
    /// `SketchPayload` protobuf.
    Sketches,
    /// One JSON object, an event.
    Event,
    /// JSON array of results of service checks.
    Checks,
    /// A client's request, passed on as it came to an address of its own.
    Proxied,
    /// The same with an OpenLineage event, whose intake wants the key as a bearer's token.
    Lineage,
}

/// What is to be known of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRow {
    /// Which.
    pub kind: Kind,
    /// Its code on disk, which never changes.
    pub code: u8,
    /// Its name in listings.
    pub name: &'static str,
    /// Where an intake takes it; empty where each body has its own address.
    pub path: &'static str,
    /// What is worth less goes first when the spool is full: what comes in masses before what people read.
    pub value: u8,
}

const fn row(kind: Kind, code: u8, name: &'static str, path: &'static str, value: u8) -> KindRow {
    KindRow { kind, code, name, path, value }
}

/// All kinds, each where its number says. A new kind is a new row with a code of its own.
pub const KINDS: [KindRow; 9] = [
    row(Kind::Traces, 1, "traces", "/api/v0.2/traces", 2),
    row(Kind::Logs, 2, "logs", "/api/v2/logs", 3),
    row(Kind::Stats, 3, "stats", "/api/v0.2/stats", 4),
    row(Kind::Series, 4, "series", "/api/v2/series", 4),
    row(Kind::Sketches, 5, "sketches", "/api/beta/sketches", 4),
    row(Kind::Event, 6, "event", "/api/v1/events", 5),
    row(Kind::Checks, 7, "checks", "/api/v1/check_run", 5),
    row(Kind::Proxied, 8, "proxied", "", 1),
    row(Kind::Lineage, 9, "lineage", "", 1),
];

impl Kind {
    fn row(self) -> &'static KindRow {
        &KINDS[self as usize] // a row for each, in the same order, as a test sees
    }

    /// Where an intake takes it.
    pub fn path(self) -> &'static str {
        self.row().path
    }

    /// Its code on disk.
    pub fn code(self) -> u8 {
        self.row().code
    }
}

/// The row of a code.
pub fn kind_of(code: u8) -> Option<&'static KindRow> {
    KINDS.iter().find(|row| row.code == code)
}

/// The header of a body whose value is a secret, an application key. The API key is no header of a body.
const SECRET_HEADER: &str = "DD-APPLICATION-KEY";

/// One encoded body, ready to be posted.
#[derive(Debug)]
pub struct Body {
    /// Where it goes.
    pub kind: Kind,
    /// The whole address of a body that does not go where others of its kind go.
    pub address: Option<String>,
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// Headers that belong to the body: type, encoding, languages.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The records that it settles.
    pub claim: Claim,
    /// How often it was tried.
    pub attempts: u32,
    sequence: u64,
    /// When it came; set when it is put into a queue.
    created: Now,
    /// Where it is on disk, if it is.
    ticket: Option<Ticket>,
    /// An earlier run has left it, whose clock was another.
    is_left: bool,
}

impl Body {
    /// A body that has not been tried.
    pub fn new(kind: Kind, bytes: Vec<u8>, headers: Vec<(&'static str, String)>, claim: Claim) -> Body {
        let headers = headers.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect();
        let created = Now { uptime: Duration::ZERO, unix: Duration::ZERO };
        Body { kind, address: None, bytes, headers, claim, attempts: 0, sequence: 0, created, ticket: None, is_left: false }
    }

    /// A client's request that is to go to `address` as it came.
    pub fn passed_on(kind: Kind, address: String, headers: Vec<(String, String)>, bytes: Vec<u8>, claim: Claim) -> Body {
        let headers = headers.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect();
        Body { address: Some(address), headers, ..Body::new(kind, bytes, Vec::new(), claim) }
    }

    /// By what its stamps are to be moved.
    pub fn shifts(&self, clock: Clock) -> Vec<Shift> {
        let mut shifts = clock.shifts_for(self.created);
        shifts.retain(|shift| shift.is_of_any_run() || !self.is_left);
        shifts
    }

    /// Whether `bytes` are compressed.
    pub fn is_compressed(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == "Content-Encoding")
    }

    /// The same for another endpoint, which has books of its own.
    fn copied(&self, ledger: &Arc<Ledger>) -> Body {
        let claim = ledger.accept(self.claim.signal(), self.claim.records()).with_receipts_of(&self.claim);
        let (address, headers) = (self.address.clone(), self.headers.clone());
        Body { address, headers, ..Body::new(self.kind, self.bytes.clone(), Vec::new(), claim) }
    }

    /// Whether it may be written to disk: a secret may not.
    fn may_be_stored(&self) -> bool {
        !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(SECRET_HEADER))
    }
}

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was delivered.
    Sent,
    /// It was given up.
    Dropped(Reason),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_row_and_a_code_of_its_own() {
        let kinds = [
            (Kind::Traces, 1),
            (Kind::Logs, 2),
            (Kind::Stats, 3),
            (Kind::Series, 4),
            (Kind::Sketches, 5),
            (Kind::Event, 6),
            (Kind::Checks, 7),
            (Kind::Proxied, 8),
            (Kind::Lineage, 9),
        ];
        assert_eq!(kinds.len(), KINDS.len());
        for (kind, code) in kinds {
            assert_eq!((kind.row().kind, kind.code()), (kind, code));
            assert_eq!(kind_of(code).map(|row| row.kind), Some(kind));
        }
    }
}
