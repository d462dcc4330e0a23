//! What the trace agent passes on for tracers: profiles, telemetry, data streams, the event platform, the debugger and others.
//!
//! There are two ways out. *Directly*: the connection's own thread asks the intake, and the client gets its answer; what fails, the
//! client is told, keeps and is not counted. *By a queue*: the client is answered at once, and a poster sends the request later and
//! tries again like any other body; so goes telemetry always, whose answer nobody reads, and everything inside Lambda, where a
//! sandbox that is frozen would break a request in the middle, and with local output. A queue that is full is told with 429.
//!
//! Where a request goes and with which headers is decided in `decode/proxied`; what the bodies hold is unknown here too.

pub use crate::decode::proxied::EvpIntake;
pub use crate::decode::proxied::Intakes;
pub use crate::decode::proxied::Passer;
pub use crate::decode::proxied::Product;

use crate::decode::proxied;
use crate::decode::proxied::Call;
use crate::decode::proxied::Outgoing;
use crate::decode::proxied::ROUTES;
use crate::decode::proxied::Route;
use crate::model::api_key::KeyHandle;
use crate::model::api_key::KeyState;
use crate::sources::http::Head;
use crate::sources::http::Request;
use crate::sources::http::Response;
use crate::spool::Body;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::spool::Share;
use crate::sys::clock::Clock;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::memory::Budget;
use crate::sys::memory::Permit;
use crate::sys::net;
use crate::sys::net::Client;
use crate::sys::random::Random;
use crate::sys::receipt::Receipt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Requests that are on their way directly at a time. Each holds a connection's thread, and most of those belong to traces.
const DIRECT_MAX: usize = 8;

/// More of an intake's answer is not passed back. Together with [`DIRECT_MAX`] it bounds what answers take.
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Requests that wait for the poster, as many as in the reference agent.
const QUEUED_MAX: usize = 100;

/// Headers of an answer that mean something to clients.
const PASSED_BACK: [&str; 6] =
    ["Content-Type", "Content-Encoding", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];

/// Settings of the proxies.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where everything goes.
    pub intakes: Intakes,
    /// What is added.
    pub passer: Passer,
    /// Snapshots in the form of logs are taken and dropped where no logs are wanted.
    pub logs_enabled: bool,
    /// Largest request for the event platform.
    pub evp_bytes_max: usize,
    /// Largest profile.
    pub profile_bytes_max: usize,
    /// Largest request otherwise.
    pub request_bytes_max: usize,
    /// What all that wait for the poster may take.
    pub queued_bytes_max: usize,
}

/// The direct way to intakes.
#[derive(Debug)]
pub struct Direct {
    client: Client,
    key: KeyHandle,
    timeout: Duration,
    in_flight: AtomicUsize,
    /// What they may hold together: while an intake does not answer, traces need memory too.
    bytes: Budget,
}

impl Direct {
    /// A way whose requests take `timeout` at most, and together `bytes_max`.
    pub fn new(client: Client, key: KeyHandle, timeout: Duration, bytes_max: usize) -> Direct {
        Direct { client, key, timeout, in_flight: AtomicUsize::new(0), bytes: Budget::new(bytes_max) }
    }

    /// Leave to send so many bytes now; `None` when too much is on its way.
    fn turn(&self, bytes: usize, clock: &Clock) -> Option<Turn<'_>> {
        let turn = Turn { in_flight: &self.in_flight, _bytes: self.bytes.reserve(bytes, clock.instant_in(Duration::ZERO))? };
        (self.in_flight.fetch_add(1, Relaxed) < DIRECT_MAX).then_some(turn)
    }
}

/// Ends when dropped.
struct Turn<'a> {
    in_flight: &'a AtomicUsize,
    _bytes: Permit,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The routes that are served, and their ways out.
#[derive(Debug)]
pub struct Proxies {
    settings: Settings,
    /// `None`: everything goes by the queue.
    direct: Option<Direct>,
    queue: Arc<Queue>,
    ledger: Arc<Ledger>,
    clock: Clock,
}

impl Proxies {
    /// Proxies whose queued requests wait in `queue`.
    pub fn new(settings: Settings, direct: Option<Direct>, queue: Arc<Queue>, ledger: Arc<Ledger>, clock: Clock) -> Proxies {
        Proxies { settings, direct, queue, ledger, clock }
    }

    /// The paths that are served, as `/info` lists them.
    pub fn listed(&self) -> impl Iterator<Item = &'static str> {
        ROUTES.iter().filter(|route| self.settings.intakes.serves(route.product)).map(|route| route.path)
    }

    /// Headers that pass to the event platform; none where it is not served.
    pub fn evp_headers(&self) -> &'static [&'static str] {
        if self.settings.intakes.evp.is_some() { &proxied::EVP_HEADERS } else { &[] }
    }

    /// How much of the body is taken, or the answer; `None` when the path is not one of those that are served.
    pub fn admit(&self, head: &Head) -> Option<Result<usize, Response>> {
        let route = proxied::route(&head.path)?;
        let (settings, method) = (&self.settings, head.method.as_str());
        if !settings.intakes.serves(route.product) {
            // The reference's answer for this one; the others are unknown paths then.
            return (route.product == Product::Evp)
                .then(|| Err(Response::text(405, "the proxy for the event platform is switched off")));
        }
        let direct = self.direct_way(route);
        if !(matches!(method, "POST" | "PUT")
            || (direct.is_some() && matches!(method, "GET" | "DELETE" | "PATCH") && route.product == Product::Evp))
        {
            return Some(Err(Response::text(405, "method not allowed")));
        }
        let of_product = match route.product {
            Product::Evp => settings.evp_bytes_max,
            Product::Profiling => settings.profile_bytes_max,
            _ => settings.request_bytes_max,
        };
        Some(Ok(of_product.min(direct.map_or(settings.queued_bytes_max, |direct| direct.bytes.limit()))))
    }

    /// Whether the path is served.
    pub fn serves(&self, path: &str) -> bool {
        proxied::route(path).is_some_and(|route| self.settings.intakes.serves(route.product))
    }

    /// Passes the request on. The path has been admitted.
    pub fn answer(&self, request: Request) -> Response {
        let Some(route) = proxied::route(&request.path) else { return Response::text(404, "404 page not found") };
        let settings = &self.settings;
        let lines = request.headers.lines();
        let mut random = Random::from_system();
        let id = [random.bits(), random.bits()];
        let call = Call { path: &request.path, query: request.query.as_deref(), headers: &lines, id };
        let outgoing = match proxied::outgoing(route, &call, &settings.intakes, &settings.passer) {
            Ok(outgoing) => outgoing,
            Err(unfit) => return Response::text(400, &unfit.to_string()),
        };
        if route.product == Product::DebuggerLogs && !settings.logs_enabled {
            self.ledger.accept(Signal::Proxied, 1).drop_all(Reason::Filtered);
            return taken();
        }
        match self.direct_way(route) {
            Some(direct) => {
                let asked = call
                    .header("X-Datadog-Timeout")
                    .and_then(|seconds| seconds.trim().parse().ok())
                    .filter(|seconds| 0 < *seconds);
                let longest = match route.product {
                    Product::Evp => Duration::from_secs(settings.passer.evp_seconds),
                    _ => direct.timeout,
                };
                let timeout = asked.map_or(longest, |seconds| longest.min(Duration::from_secs(seconds)));
                self.relay(direct, route, &outgoing, &request, timeout)
            }
            None => self.enqueue(route, outgoing, request.body, request.receipt.as_ref()),
        }
    }

    /// The answer when there is no memory for a body.
    pub fn overloaded(&self) -> Response {
        Response::new(429, "application/json", "{}")
    }

    fn direct_way(&self, route: &Route) -> Option<&Direct> {
        self.direct.as_ref().filter(|_| route.product != Product::Telemetry)
    }

    fn enqueue(&self, route: &Route, outgoing: Outgoing, body: Vec<u8>, receipt: Option<&Arc<Receipt>>) -> Response {
        let kind = if route.product == Product::OpenLineage { Kind::Lineage } else { Kind::Proxied };
        let claim = self.ledger.accept(Signal::Proxied, 1).with_receipt(receipt);
        let share = Share { bodies_max: QUEUED_MAX, bytes_max: self.settings.queued_bytes_max };
        match self.queue.offer(Body::passed_on(kind, outgoing.address, outgoing.headers, body, claim), share) {
            Ok(()) => taken(),
            Err(claim) => {
                claim.refuse();
                self.overloaded()
            }
        }
    }

    fn relay(&self, direct: &Direct, route: &Route, outgoing: &Outgoing, request: &Request, timeout: Duration) -> Response {
        let Some(_turn) = direct.turn(request.body.len(), &self.clock) else { return self.overloaded() };
        let KeyState::Ready(key) = direct.key.state() else {
            return Response::text(502, "there is no API key to send this with");
        };
        let mut headers: Vec<(&str, &str)> =
            outgoing.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let bearer = key.bearer();
        headers.push(match route.product {
            Product::OpenLineage => ("Authorization", &bearer),
            _ => ("DD-API-KEY", key.expose()),
        });
        let claim = self.ledger.accept(Signal::Proxied, 1);
        let sent = direct.client.send(&net::Request {
            method: &request.method,
            url: &outgoing.address,
            headers: &headers,
            body: &request.body,
            timeout: Some(timeout),
            answer_bytes_max: ANSWER_BYTES_MAX,
        });
        match sent {
            Ok(answer) if answer.complete => {
                // Whatever else the intake says, the client hears it and decides what becomes of its request.
                if (200..300).contains(&answer.status) {
                    claim.sent()
                } else {
                    claim.refuse()
                }
                passed_back(route, answer)
            }
            Ok(_) => {
                claim.refuse();
                Response::text(502, "the intake's answer is too long or broke off")
            }
            Err(err) => {
                claim.refuse();
                log::debug!("a request on {} found no intake: {err}", route.path);
                Response::text(502, &format!("no answer from the intake: {err}"))
            }
        }
    }
}

/// What clients are answered whose request is sent later.
fn taken() -> Response {
    Response::new(200, "application/json", "{}")
}

fn passed_back(route: &Route, mut answer: net::Answer) -> Response {
    // The intake of old said 200, and some clients take nothing else.
    let status = if route.product == Product::Profiling && answer.status == 202 { 200 } else { answer.status };
    let mut response = Response::new(status, "", std::mem::take(&mut answer.body));
    for name in PASSED_BACK {
        if let Some(value) = answer.header(name) {
            response = response.with_header(name, value);
        }
    }
    response
}
