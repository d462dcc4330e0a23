//! HTTP for every listener: what a request, an answer and a handler are, and the limits that stand around both servers.
//!
//! Two servers fill this interface, and nobody outside can tell them apart: [`blocking`] (std::net and httparse; bounded in every
//! respect) and [`tiny`] (tiny_http inside an accept loop of ours; its module doc says what it cannot bound). What a path means,
//! how large its body may be and what overload is answered with is the [`Handler`]'s business and unknown here.

pub mod blocking;
pub mod tiny;

mod framing;
mod host;
mod refusals;
mod wire;

pub use framing::{Framing, Head, Headers};
pub use refusals::{Refusal, Refusals};

pub use crate::sources::socket::Listener;

use crate::sys::clock::Clock;
use crate::sys::memory::{Budget, Permit};
use crate::sys::receipt::Receipt;
use refusals::Fault;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a server may spend on its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, each with a thread. The blocking server closes the longest idle one to make room.
    pub connections_max: usize,
    /// Request line and header lines together; the same again for a chunked body's trailers.
    pub header_bytes_max: usize,
    /// Header lines, at most [`Limits::HEADERS_MOST`].
    pub headers_max: usize,
    /// No handler may take more than this, whatever it says.
    pub body_bytes_max: usize,
    /// From a header's first byte to its last.
    pub header_time: Duration,
    /// From a body's first byte to its last.
    pub body_time: Duration,
    /// Between two requests. Longer than the clients' own limit (Go: 90 s), so that it is the client who closes and no request
    /// crosses a close.
    pub idle_time: Duration,
    /// For writing one answer.
    pub write_time: Duration,
    /// How long a body may wait for memory before it is refused.
    pub overload_wait: Duration,
    /// How much of an unread body is read away, so that the client sees why it was refused, and for how long.
    pub drain_bytes_max: usize,
    /// See `drain_bytes_max`.
    pub drain_time: Duration,
    /// How long accepting rests when the system has no descriptor or no memory for a connection.
    pub pause: Duration,
    /// Only for [`tiny`]: all places taken and no progress in any of them for so long means that tiny_http has lost its threads.
    pub stuck_time: Duration,
}

impl Limits {
    /// More header lines than this cannot be asked for: their table is on the stack.
    pub const HEADERS_MOST: usize = 128;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 64,
            header_bytes_max: 32 * 1024,
            headers_max: 100,
            body_bytes_max: 25 * 1024 * 1024,
            header_time: Duration::from_secs(5),
            body_time: Duration::from_secs(5),
            idle_time: Duration::from_secs(120),
            write_time: Duration::from_secs(5),
            overload_wait: Duration::from_millis(1000),
            drain_bytes_max: 256 * 1024,
            drain_time: Duration::from_millis(500),
            pause: Duration::from_millis(200),
            stuck_time: Duration::from_secs(10),
        }
    }
}

/// A whole request.
#[derive(Debug)]
pub struct Request {
    /// In capitals, as sent.
    pub method: String,
    /// Without query, not decoded.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// The header lines.
    pub headers: Headers,
    /// All of it; chunks are put together.
    pub body: Vec<u8>,
    /// The memory that `body` takes; to be kept as long as the body is.
    pub permit: Permit,
    /// There is a copy of it in the journal, to be given up when all that comes of it is settled.
    pub receipt: Option<Arc<Receipt>>,
}

impl Request {
    fn new(head: Head, body: Vec<u8>, permit: Permit) -> Request {
        let Head { method, path, query, headers, .. } = head;
        Request { method, path, query, headers, body, permit, receipt: None }
    }
}

/// What is to be answered.
#[derive(Debug)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Left out when empty.
    pub content_type: &'static str,
    /// Further headers, without the length.
    pub headers: Vec<(&'static str, String)>,
    /// May be empty.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer with a body.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response { status, content_type, headers: Vec::new(), body: body.into() }
    }

    /// An answer of one line.
    pub fn text(status: u16, line: &str) -> Response {
        Response::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// With one more header. A value with control characters is left out when the answer is written.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }
}

/// Whoever stands behind a port. Called from many threads at once; a panic costs the connection and nothing else.
pub trait Handler: Send + Sync {
    /// Decides before the body is read: how many bytes of it are taken, or the answer (404 for an unknown path).
    fn admit(&self, head: &Head) -> Result<usize, Response>;

    /// The answer when no memory came free for the body: 429, or a polite 200 for clients that do not know it.
    fn overloaded(&self, head: &Head) -> Response;

    /// Takes the head alone, where the body is too large and the rest is worth something without it.
    fn without_body(&self, _head: &Head) -> Option<Response> {
        None
    }

    /// Takes the whole request.
    fn answer(&self, request: Request) -> Response;

    /// Memory that an earlier body has left, for the next one.
    fn spare_buffer(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Everything that the two servers share: who answers, from which memory, within which limits, and what was refused.
pub struct Service {
    handler: Arc<dyn Handler>,
    budget: Budget,
    limits: Limits,
    refusals: Refusals,
    clock: Clock,
}

/// Which machines a request may be meant for, by the door that it came in. One service may have several doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// This one: the door is a port on loopback.
    OfThisMachine,
    /// Other machines reach the port and know it by any name; and no browser reaches a Unix socket.
    Any,
}

impl Names {
    /// At a door that listens at `address`, or on a path.
    fn at(address: Option<SocketAddr>) -> Names {
        if address.is_some_and(|address| address.ip().to_canonical().is_loopback()) { Names::OfThisMachine } else { Names::Any }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("limits", &self.limits).field("refusals", &self.refusals).finish_non_exhaustive()
    }
}

impl Service {
    /// `budget` may be shared with other services; bodies take their memory from it.
    pub fn new(handler: Arc<dyn Handler>, budget: Budget, limits: Limits) -> Arc<Service> {
        Arc::new(Service { handler, budget, limits, refusals: Refusals::default(), clock: Clock::new() })
    }

    /// What was refused so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How much of the body is taken, decided from the head alone; or the answer.
    fn admit(&self, head: &Head, names: Names) -> Result<usize, Response> {
        let host = head.host();
        let is_elsewhere = |origin: &str| host::is_elsewhere(origin, host.unwrap_or_default());
        if head.headers.get("sec-fetch-site").is_some_and(|site| site.eq_ignore_ascii_case("cross-site"))
            || head.headers.get("origin").is_some_and(is_elsewhere)
        {
            return Err(self.refuse(Fault::CROSS_SITE));
        }
        if names == Names::OfThisMachine && !host.is_none_or(host::is_of_this_machine) {
            return Err(self.refuse(Fault::OTHER_HOST));
        }
        let bytes_max = self.handler.admit(head).inspect_err(|_| self.refusals.count(Refusal::NotAdmitted))?;
        // A body that the budget could never hold is too large and not a case of overload.
        let bytes_max = bytes_max.min(self.limits.body_bytes_max).min(self.budget.limit());
        match head.framing {
            Framing::Length(bytes) if (bytes_max as u64) < bytes => Err(self.refuse_body(head, Fault::TOO_LARGE)),
            _ => Ok(bytes_max),
        }
    }

    /// The handler's answer to a whole request.
    fn answer(&self, request: Request) -> Response {
        let response = self.handler.answer(request);
        if 400 <= response.status {
            self.refusals.count(Refusal::NotTaken);
        }
        response
    }

    /// Memory for a body, if there is any within the overload wait.
    fn reserve(&self, bytes: usize) -> Option<Permit> {
        self.budget.reserve(bytes, self.clock.instant_in(self.limits.overload_wait))
    }

    /// The answer for a body that got no memory.
    fn overloaded(&self, head: &Head) -> Response {
        self.refusals.count(Refusal::Overloaded);
        self.handler.overloaded(head)
    }

    /// The answer for a body with this fault, counted.
    fn refuse_body(&self, head: &Head, fault: Fault) -> Response {
        let refused = self.refuse(fault);
        if fault == Fault::TOO_LARGE { self.handler.without_body(head).unwrap_or(refused) } else { refused }
    }

    /// The answer for `fault`, counted.
    fn refuse(&self, fault: Fault) -> Response {
        self.refusals.count(fault.reason);
        Response::text(fault.status, fault.text)
    }
}

#[cfg(test)]
mod tests;
