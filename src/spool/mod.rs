//! Encoded bodies that wait to leave, and what survives a restart.
//!
//! A [`queue`] stands between a pipeline and the thread that posts. Behind all queues may stand one [`keeper`], a thread that moves
//! bodies which cannot leave now to [`disk`] and brings them back.

pub mod ages;
pub mod disk;
pub mod keeper;
pub mod list;
mod queue;
pub mod record;
pub mod segment;
pub mod state;

pub use queue::FlushUntil;
pub use queue::Pause;
pub use queue::Queue;
pub use queue::Room;
pub use queue::Taken;
pub use queue::WhenFull;

use crate::spool::segment::Ticket;
use crate::sys::clock::Now;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Reason;
use std::borrow::Cow;
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
    /// Where an intake takes it.
    pub path: &'static str,
    /// What is worth less goes first when the spool is full: what comes in masses before what people read.
    pub value: u8,
}

const fn row(kind: Kind, code: u8, name: &'static str, path: &'static str, value: u8) -> KindRow {
    KindRow { kind, code, name, path, value }
}

/// All kinds. A new kind is a new row with a code of its own; 128 and more are for requests as clients sent them.
pub const KINDS: [KindRow; 3] = [
    row(Kind::Traces, 1, "traces", "/api/v0.2/traces", 2),
    row(Kind::Logs, 2, "logs", "/api/v2/logs", 3),
    row(Kind::Stats, 3, "stats", "/api/v0.2/stats", 4),
];

impl Kind {
    fn row(self) -> &'static KindRow {
        KINDS.iter().find(|row| row.kind == self).unwrap_or(&KINDS[0]) // every kind has a row, as a test sees
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

/// One encoded body, ready to be posted.
#[derive(Debug)]
pub struct Body {
    /// Where it goes.
    pub kind: Kind,
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
}

impl Body {
    /// A body that has not been tried.
    pub fn new(kind: Kind, bytes: Vec<u8>, headers: Vec<(&'static str, String)>, claim: Claim) -> Body {
        let headers = headers.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect();
        let created = Now { uptime: Duration::ZERO, unix: Duration::ZERO };
        Body { kind, bytes, headers, claim, attempts: 0, sequence: 0, created, ticket: None }
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
        for kind in [Kind::Traces, Kind::Logs, Kind::Stats] {
            assert_eq!(kind.row().kind, kind);
            assert_eq!(kind_of(kind.code()).map(|row| row.kind), Some(kind));
        }
    }
}
