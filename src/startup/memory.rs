//! How the memory that the user allows is shared out; every limit in bytes follows from it.

use crate::encode::logs as encode_logs;
use crate::sources::trace_http::TraceLimits;

/// How `max_memory` is shared out, in parts of 32: nine for requests and datagrams, so that of 32 MiB one request may take the 8 MiB that
/// dd-trace for Node.js gathers, eight for what requests decode to, four for bodies that wait to leave, two for open buckets of statistics,
/// four for contexts of metrics (some 5,600 with seven tags), one for captured payloads of Lambda functions, and four for what is being worked
/// on, which is one body a signal and its compressor. A payload takes at most 256 KiB and 96 bytes for each of 1,000 tags, and an invocation
/// has two, its event and its answer: of 24 MiB, the default in Lambda, one of the largest invocations has room, or some forty at once on
/// managed instances with payloads of 4 KiB in fifty members. What finds no room is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Requests until they are encoded.
    pub ingest: usize,
    /// What they decode to.
    pub decoded: usize,
    /// Encoded bodies.
    pub spool: usize,
    /// One request.
    pub request: usize,
    /// One profile, which may be larger than other requests.
    pub profile: usize,
    /// One body before compression.
    pub body: usize,
    /// Open buckets of statistics.
    pub stats: usize,
    /// Contexts of metrics and their open buckets.
    pub metrics: usize,
    /// Events and answers that wait to be seen on a function's span.
    pub captured: usize,
}

/// The largest request the reference agent takes.
const REQUEST_BYTES_MAX: usize = 25 * 1024 * 1024;

/// The largest profile it takes.
const PROFILE_BYTES_MAX: usize = 50 * 1024 * 1024;

/// With less, one log line of the longest kind would not fit beside what is being worked on.
pub const MEMORY_MIN: usize = 8 * 1024 * 1024;

/// A log line of the longest kind with what stands around it.
const BODY_MIN: usize = MEMORY_MIN / 32 * 4;

impl Memory {
    /// The shares of `max_memory`.
    pub fn of(max_memory: usize) -> Memory {
        let parts = |count: usize| max_memory.max(MEMORY_MIN) / 32 * count;
        Memory {
            ingest: parts(9),
            decoded: parts(8),
            spool: parts(4),
            request: parts(9).min(REQUEST_BYTES_MAX),
            profile: parts(9).min(PROFILE_BYTES_MAX),
            body: parts(4).min(encode_logs::BODY_BYTES_MAX),
            stats: parts(2),
            metrics: parts(4),
            captured: parts(1),
        }
    }

    /// The same where as many endpoints, the main one among them, share what is for bodies. Each can hold the longest log line, for which more
    /// than three further ones take more than their part of 32 MiB.
    pub fn shared_by(self, endpoints: usize) -> Memory {
        let [spool, body] = [self.spool, self.body].map(|bytes| (bytes / endpoints).max(BODY_MIN));
        Memory { spool, body, ..self }
    }

    /// As the trace agent needs it.
    pub fn trace_limits(&self) -> TraceLimits {
        TraceLimits { request_bytes_max: self.request, decoded_bytes_max: self.decoded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_room_for_what_is_being_worked_on() {
        for max_memory in [8 << 20, 24 << 20, 32 << 20, 512 << 20] {
            let memory = Memory::of(max_memory);
            let Memory { ingest, decoded, spool, stats, metrics, captured, .. } = memory;
            assert!(ingest + decoded + spool + stats + metrics + captured <= max_memory / 32 * 28);
            assert!(memory.request <= memory.profile && memory.profile <= memory.ingest && memory.body <= memory.spool);
            assert!(crate::process::logs::MESSAGE_BYTES_MAX < memory.body);
            let shared = memory.shared_by(3);
            assert!(crate::process::logs::MESSAGE_BYTES_MAX < shared.body && shared.body <= shared.spool);
            assert!(shared.spool * 3 <= spool.max(3 * BODY_MIN));
        }
    }
}
