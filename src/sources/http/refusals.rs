//! Why a request or a connection was turned away, the counters for it, and what the client is told.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why. The list is closed: a new cause is a new variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP/1, or wrong in itself. 400.
    Malformed,
    /// The client went away in the middle. 400 if it still listens.
    CutShort,
    /// Header or body took too long. 408.
    Timeout,
    /// Body over the limit. 413.
    TooLarge,
    /// Header over the limit. 431.
    HeaderTooLarge,
    /// An expectation other than `100-continue`. 417.
    Expectation,
    /// A web page of another site. 403.
    CrossSite,
    /// A name of another machine, on a port that only this one can reach. 403.
    OtherHost,
    /// The handler did not want it.
    NotAdmitted,
    /// The handler looked at it and found it wrong.
    NotTaken,
    /// No memory for the body within the overload wait.
    Overloaded,
    /// The client did not take its answer in time.
    AnswerUnread,
    /// An idle connection was closed to make room for a new one.
    Evicted,
    /// No thread for a connection.
    NoThread,
    /// The system could not accept: out of descriptors or memory.
    NoDescriptor,
}

impl Refusal {
    /// All of them, in the order of the counters.
    pub const ALL: [Refusal; 15] = [
        Refusal::Malformed,
        Refusal::CutShort,
        Refusal::Timeout,
        Refusal::TooLarge,
        Refusal::HeaderTooLarge,
        Refusal::Expectation,
        Refusal::CrossSite,
        Refusal::OtherHost,
        Refusal::NotAdmitted,
        Refusal::NotTaken,
        Refusal::Overloaded,
        Refusal::AnswerUnread,
        Refusal::Evicted,
        Refusal::NoThread,
        Refusal::NoDescriptor,
    ];

    /// The word in metrics and status output.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::CutShort => "cut_short",
            Refusal::Timeout => "timeout",
            Refusal::TooLarge => "too_large",
            Refusal::HeaderTooLarge => "header_too_large",
            Refusal::Expectation => "expectation",
            Refusal::CrossSite => "cross_site",
            Refusal::OtherHost => "other_host",
            Refusal::NotAdmitted => "not_admitted",
            Refusal::NotTaken => "not_taken",
            Refusal::Overloaded => "overloaded",
            Refusal::AnswerUnread => "answer_unread",
            Refusal::Evicted => "evicted",
            Refusal::NoThread => "no_thread",
            Refusal::NoDescriptor => "no_descriptor",
        }
    }
}

/// One counter for each [`Refusal`].
#[derive(Default)]
pub struct Refusals {
    counts: [AtomicU64; Refusal::ALL.len()],
}

impl Refusals {
    /// How often it happened.
    pub fn of(&self, reason: Refusal) -> u64 {
        self.counts[reason as usize].load(Relaxed)
    }

    /// Every reason with how often it happened.
    pub fn all(&self) -> [(Refusal, u64); Refusal::ALL.len()] {
        Refusal::ALL.map(|reason| (reason, self.of(reason)))
    }

    pub(super) fn count(&self, reason: Refusal) {
        self.counts[reason as usize].fetch_add(1, Relaxed);
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.all().into_iter().filter(|(_, count)| 0 < *count);
        f.debug_map().entries(seen.map(|(reason, count)| (reason.name(), count))).finish()
    }
}

/// A refusal with its words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub reason: Refusal,
    pub status: u16,
    pub text: &'static str,
}

impl Fault {
    pub const CUT_SHORT: Fault = Fault { reason: Refusal::CutShort, status: 400, text: "unexpected-eof" };
    pub const TIMEOUT: Fault = Fault { reason: Refusal::Timeout, status: 408, text: "timeout" };
    pub const TOO_LARGE: Fault = Fault { reason: Refusal::TooLarge, status: 413, text: "payload-too-large" };
    pub const HEADER_TOO_LARGE: Fault = Fault { reason: Refusal::HeaderTooLarge, status: 431, text: "header-too-large" };
    pub const EXPECTATION: Fault = Fault { reason: Refusal::Expectation, status: 417, text: "expectation-failed" };
    pub const OTHER_HOST: Fault =
        Fault { reason: Refusal::OtherHost, status: 403, text: "the Host header names another machine" };
    pub const CROSS_SITE: Fault = Fault { reason: Refusal::CrossSite, status: 403, text: "cross-site requests are refused" };

    pub const fn malformed(text: &'static str) -> Fault {
        Fault { reason: Refusal::Malformed, status: 400, text }
    }
}
