//! The same interface, served by tiny_http inside an accept loop of ours. The only file that names its server.
//!
//! What the loop adds: a bounded number of connections and threads, one request at a time for each (so back-pressure instead of a
//! queue), time-outs on the sockets, a system out of descriptors survived, bodies counted against their length and paid for from
//! the shared budget. The time-outs are set on the *listening* socket, because accepted ones inherit them on Linux and tiny_http
//! does not show them; so each is for one read or write, and there is one for both waiting and reading, `idle_time`.
//!
//! What tiny_http 0.12.17 does not let us bound, and what stands in the way of it:
//!
//! * A header line (and a chunk's first line) is collected without a limit, and its time is not limited either as long as a byte
//!   comes within each `idle_time`. A line of 64 MiB takes 64 to 128 MiB until the client closes or is silent for `idle_time`;
//!   16 clients can do so at once. Use it where only the function or the supervisor reaches the port.
//! * Ten thousand headers take some 3 MiB in the same way.
//! * A refused body with a length is read away as long as the client sends it; that costs a thread and time, no memory. One in
//!   chunks is not read away, so that a client may see a reset instead of the refusal.
//! * A request line with `HTTP/2.0` or `HTTP/3.0` blocks its thread for ever, inside tiny_http. Slow and idle clients can hold all
//!   places as well, and their sockets cannot be closed from outside. So when a new client finds all places taken and nothing has
//!   moved in any of them for `stuck_time`, the port goes over to the [`super::blocking`] server for good; at most
//!   17 threads and twice as many descriptors stay behind.
//! * A chunked body that is cut inside a chunk looks complete, one with trailers is refused (400), and so is a header value that is
//!   not ASCII. The decoder behind the handler has to notice what is cut.
//! * At `idle_time` a waiting client gets a 400 before its connection is closed, and a connection that is closed by us after an
//!   answer has no `Connection: close` in it.

use super::blocking::{CREW_SPARE, Front};
use super::framing::{Framing, Head, Headers, Version, may_have_body};
use super::refusals::{Fault, Refusal, Refusals};
use super::{Names, Request, Response, Service};
use crate::sources::connections::Connections;
use crate::sources::socket::{Listener, Socket};
use crate::sys::inbox::Sender;
use crate::sys::memory::Permit;
use crate::sys::worker::{Crew, Worker};
use std::io::{self, Cursor, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much is read at a time. On the stack.
const STEP_BYTES: usize = 16 * 1024;

/// No more places than this, since a place can be lost for good.
const PLACES_MOST: usize = 16;

/// How often a thread that waits for a place looks whether the server stops.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A running server.
#[derive(Debug)]
pub struct Server {
    hall: Arc<Hall>,
    local_addr: Option<SocketAddr>,
    listening: Socket,
    accepting: Worker<()>,
}

impl Server {
    /// Serves what arrives at `listener`. Its threads are called `name`. A Unix socket is served by the blocking server at once:
    /// what it accepts inherits no time-outs.
    pub fn start(
        name: &'static str,
        listener: impl Into<Listener>,
        service: Arc<Service>,
        exits: &Sender<&'static str>,
    ) -> io::Result<Server> {
        let ours = listener.into();
        let (local_addr, listening) = (ours.local_addr(), ours.as_stream()?);
        listening.set_read_timeout(service.limits.idle_time)?;
        listening.set_write_timeout(service.limits.write_time)?;
        let theirs = match ours.try_clone()? {
            Listener::Tcp(listener) => Some(tiny_http::Listener::Tcp(listener)),
            Listener::Unix(_) => None,
        };
        let places_max = service.limits.connections_max.clamp(1, PLACES_MOST);
        let crew = Crew::new(name, places_max + CREW_SPARE);
        let connections = Connections::new(service.limits.connections_max);
        let fallback = Front {
            service: Arc::clone(&service),
            connections: Arc::clone(&connections),
            crew: Crew::new(name, service.limits.connections_max + CREW_SPARE), // those that are stuck keep their places in the other one
            names: Names::at(local_addr),
        };
        let hall = Arc::new(Hall {
            service,
            connections,
            names: fallback.names,
            places_max,
            places: Arc::default(),
            busy: Arc::default(),
            progress: AtomicU64::new(0),
        });
        let door = Door { hall: Arc::clone(&hall), ours, crew };
        let accepting = Worker::spawn(name, exits, move || {
            if theirs.as_ref().is_none_or(|theirs| door.accept(theirs) == End::Stuck) {
                fallback.accept(&door.ours);
            }
        })?;
        Ok(Server { hall, local_addr, listening, accepting })
    }

    /// Where it listens; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// What was refused so far.
    pub fn refusals(&self) -> &Refusals {
        &self.hall.service.refusals
    }

    /// Who counts what is refused.
    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.hall.service)
    }

    /// Takes no more connections and lets requests in progress be answered until `by`; whether all were. Idle connections cannot
    /// be closed from here: they get 503 if they still send something, and end after `idle_time`.
    pub fn stop(self, by: Instant) -> bool {
        self.close();
        let (hall, clock) = (&self.hall, self.hall.service.clock);
        let answered = hall.busy.wait_zero(clock.until(by)) && hall.connections.wait_empty(clock.until(by));
        hall.connections.cut();
        answered && self.accepting.finish(by).is_ok()
    }

    fn close(&self) {
        self.hall.connections.stop();
        self.listening.shut(Shutdown::Both);
    }
}

impl Drop for Server {
    /// Whoever forgets to stop it at least does not keep the port.
    fn drop(&mut self) {
        self.close();
    }
}

/// What the connections share.
#[derive(Debug)]
struct Hall {
    service: Arc<Service>,
    /// Those of the blocking server, should it have to take over; it also knows whether the server stops.
    connections: Arc<Connections>,
    names: Names,
    places_max: usize,
    places: Arc<Gauge>,
    busy: Arc<Gauge>,
    /// Requests received and connections ended.
    progress: AtomicU64,
}

/// The thread that accepts.
#[derive(Debug)]
struct Door {
    hall: Arc<Hall>,
    ours: Listener,
    crew: Crew,
}

/// Why accepting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopped,
    Stuck,
}

impl Door {
    fn accept(&self, listener: &tiny_http::Listener) -> End {
        let Ok(plain) = tiny_http::SslContextWrap::build_ssl_capabilities(None) else { return End::Stuck };
        let service = &self.hall.service;
        while !self.hall.connections.is_stopping() {
            if !self.has_descriptors() {
                service.refusals.count(Refusal::NoDescriptor);
                self.hall.connections.pause(service.limits.pause);
                continue;
            }
            // It clones the socket and panics when that fails, which it does when we run out of descriptors at that very moment.
            match catch_unwind(AssertUnwindSafe(|| tiny_http::Server::accept_connection(listener, &plain))) {
                Ok(Ok(Some(client))) => {
                    let place = self.place();
                    let (end, hall) = (if place.is_some() { End::Stopped } else { End::Stuck }, Arc::clone(&self.hall));
                    if !self.crew.run(move || hall.serve(client, place)) {
                        service.refusals.count(Refusal::NoThread);
                    }
                    if end == End::Stuck && !self.hall.connections.is_stopping() {
                        log::warn!(
                            "tiny_http makes no progress on {:?}; the blocking server takes over",
                            self.ours.local_addr()
                        );
                        return End::Stuck;
                    }
                }
                Ok(Ok(None)) => {}
                Ok(Err(err)) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
                Ok(Err(_)) if self.hall.connections.is_stopping() => {}
                Ok(Err(_)) | Err(_) => {
                    service.refusals.count(Refusal::NoDescriptor);
                    self.hall.connections.pause(service.limits.pause);
                }
            }
        }
        End::Stopped
    }

    /// A connection takes two.
    fn has_descriptors(&self) -> bool {
        let first = self.ours.try_clone();
        first.is_ok() && self.ours.try_clone().is_ok()
    }

    /// A place for the client at hand. `None` when nothing moves any more, or the server stops.
    fn place(&self) -> Option<Raised> {
        let (hall, service) = (&self.hall, &self.hall.service);
        let (mut seen, mut by) = (hall.progress.load(Relaxed), service.clock.instant_in(service.limits.stuck_time));
        loop {
            let place = hall.places.raise_below(hall.places_max, LOOK_AGAIN.min(service.limits.stuck_time));
            let progress = hall.progress.load(Relaxed);
            if seen != progress {
                (seen, by) = (progress, service.clock.instant_in(service.limits.stuck_time));
            }
            if place.is_some() || hall.connections.is_stopping() || service.clock.until(by).is_zero() {
                return place;
            }
        }
    }
}

/// Whether another request may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

impl Hall {
    fn serve(&self, client: impl Iterator<Item = Result<tiny_http::Request, impl std::fmt::Display>>, _place: Option<Raised>) {
        for request in client {
            self.progress.fetch_add(1, Relaxed);
            match request {
                Ok(request) => {
                    if self.exchange(request) == Next::Close {
                        break;
                    }
                }
                // It has answered already. Its error type has no public name, and only its text tells a client that went away
                // or was silent from one that sent nonsense.
                Err(err) if err.to_string().starts_with("[ReadIoError]") => break,
                Err(_) => {
                    self.service.refusals.count(Refusal::Malformed);
                    break;
                }
            }
        }
        self.progress.fetch_add(1, Relaxed);
    }

    fn exchange(&self, mut request: tiny_http::Request) -> Next {
        if self.connections.is_stopping() {
            return self.answer(request, Response::text(503, "stopping"), Next::Close);
        }
        let busy = self.busy.raise();
        let version = if *request.http_version() <= (1, 0) { Version::V10 } else { Version::V11 };
        let headers = Headers::of_tiny(request.headers());
        let (response, next) = match Head::new(request.method().as_str(), request.url(), version, headers) {
            Err(fault) => (self.service.refuse(fault), Next::Close),
            Ok(head) => match self.receive(&mut request, &head) {
                Ok((body, permit)) => (self.service.answer(Request::new(head, body, permit)), Next::Request),
                Err(response) if head.has_body() => (response, Next::Close),
                Err(response) => (response, Next::Request),
            },
        };
        // After a refusal tiny_http reads the rest of the body away, and a shutdown does not wait for that.
        let _busy = Some(busy).filter(|_| next == Next::Request);
        self.answer(request, response, next)
    }

    fn receive(&self, request: &mut tiny_http::Request, head: &Head) -> Result<(Vec<u8>, Permit), Response> {
        let bytes_max = self.service.admit(head, self.names)?;
        let overloaded = || self.service.overloaded(head);
        let (bytes, chunked) = match head.framing {
            Framing::Length(bytes) => (usize::try_from(bytes).unwrap_or(usize::MAX), false),
            Framing::Chunked => (0, true),
        };
        let mut permit = self.service.reserve(bytes).ok_or_else(overloaded)?;
        let mut body = Vec::new();
        body.try_reserve_exact(bytes).map_err(|_| overloaded())?;
        let by = self.service.clock.instant_in(self.service.limits.body_time);
        let mut step = [0; STEP_BYTES];
        while chunked || body.len() < bytes {
            let wanted = if chunked { STEP_BYTES } else { STEP_BYTES.min(bytes - body.len()) };
            let count = match request.as_reader().read(&mut step[..wanted]) {
                Ok(0) if chunked => break,
                Ok(0) => return Err(self.service.refuse(Fault::CUT_SHORT)),
                Ok(count) => count,
                Err(err) => return Err(self.service.refuse(fault_of(&err))),
            };
            if self.service.clock.until(by).is_zero() {
                return Err(self.service.refuse(Fault::TIMEOUT));
            }
            if chunked && bytes_max < body.len() + count {
                return Err(self.service.refuse_body(head, Fault::TOO_LARGE));
            }
            if permit.bytes() < body.len() + count {
                let more = body.len().max(STEP_BYTES).min(bytes_max - permit.bytes());
                let by = self.service.clock.instant_in(self.service.limits.overload_wait);
                if !permit.grow(more, by) || body.try_reserve_exact(permit.bytes() - body.len()).is_err() {
                    return Err(overloaded());
                }
            }
            body.extend_from_slice(&step[..count]);
        }
        if chunked {
            body.shrink_to_fit();
            permit.shrink_to(body.capacity());
        }
        Ok((body, permit))
    }

    fn answer(&self, request: tiny_http::Request, response: Response, next: Next) -> Next {
        match request.respond(theirs(response)) {
            Ok(()) => next,
            Err(_) => {
                self.service.refusals.count(Refusal::AnswerUnread);
                Next::Close
            }
        }
    }
}

fn fault_of(err: &io::Error) -> Fault {
    match err.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::TIMEOUT,
        ErrorKind::InvalidInput => Fault::malformed("malformed chunk"),
        _ => Fault::CUT_SHORT,
    }
}

/// Our answer as theirs. A header that it does not take is left out.
fn theirs(response: Response) -> tiny_http::Response<Cursor<Vec<u8>>> {
    let Response { status, content_type, headers, body, .. } = response;
    let body = if may_have_body(status) { body } else { Vec::new() };
    let typed = Some(("Content-Type", content_type)).filter(|(_, value)| !value.is_empty());
    let pairs = typed.into_iter().chain(headers.iter().map(|(name, value)| (*name, value.as_str())));
    let headers: Vec<_> = pairs.filter_map(|(name, value)| tiny_http::Header::from_bytes(name, value).ok()).collect();
    let length = body.len();
    tiny_http::Response::new(tiny_http::StatusCode(status), headers.into(), Cursor::new(body), Some(length), None)
        .with_chunked_threshold(usize::MAX)
}

/// How many there are of something, for those who wait for less. Behind a mutex because the waiting is what it is for.
#[derive(Debug, Default)]
struct Gauge {
    count: Mutex<usize>,
    lowered: Condvar,
}

/// One of them; no longer counted once dropped.
#[derive(Debug)]
struct Raised(Arc<Gauge>);

impl Gauge {
    fn raise(self: &Arc<Self>) -> Raised {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Raised(Arc::clone(self))
    }

    /// One more once there are fewer than `max`, within `wait`.
    fn raise_below(self: &Arc<Self>, max: usize, wait: Duration) -> Option<Raised> {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.lowered.wait_timeout_while(count, wait, |count| max <= *count);
        let mut count = waited.unwrap_or_else(PoisonError::into_inner).0;
        (*count < max).then(|| {
            *count += 1;
            Raised(Arc::clone(self))
        })
    }

    /// Waits until there are none, `wait` at most; whether that happened.
    fn wait_zero(&self, wait: Duration) -> bool {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.lowered.wait_timeout_while(count, wait, |count| 0 < *count);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.lowered.notify_all();
    }
}
