//! The trace agent: what tracers call on port 8126.
//!
//! A request is decoded in its connection's thread, so that a malformed one can be answered 400, and handed to the traces pipeline.
//! Statistics that a tracer has computed go the same way. It is answered 200 as soon as the pipeline's inbox has it. Without memory or room it is answered 429, or, to tracers that do not
//! know that, 200 with the payload dropped and counted, as the reference agent does. Requests for other products pass through
//! `trace_proxy`.

use crate::decode::DecodeError;
use crate::decode::client_stats;
use crate::decode::traces::NoDecoder;
use crate::decode::traces::decoder_for;
use crate::model::metrics_item::Datagrams;
use crate::model::rates::RatesHandle;
use crate::model::trace::TracePayload;
use crate::model::trace::TracerInfo;
use crate::model::traces_item::TracesItem;
use crate::sources::dogstatsd::Outlet;
use crate::sources::http::Handler;
use crate::sources::http::Head;
use crate::sources::http::Headers;
use crate::sources::http::Request;
use crate::sources::http::Response;
use crate::sources::trace_proxy::Proxies;
use crate::sys::clock::Clock;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::memory::Budget;
use crate::sys::memory::Permit;
use crate::sys::spares;
use crate::sys::spares::Spares;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

/// The paths that are served and listed in `/info`.
pub const ENDPOINTS: [&str; 9] = [
    "/v0.3/traces",
    "/v0.3/services",
    "/v0.4/traces",
    "/v0.4/services",
    "/v0.5/traces",
    "/v0.7/traces",
    "/v1.0/traces",
    STATS,
    DOGSTATSD,
];

/// The paths that tracers of old use without asking.
const UNLISTED: [&str; 7] =
    ["/v0.1/spans", "/spans", "/v0.2/traces", "/v0.1/services", "/v0.2/services", "/services", DOGSTATSD_OF_OLD];

/// Where clients send lines of DogStatsD that do not reach its port, and where they once did.
const DOGSTATSD: &str = "/dogstatsd/v2/proxy";
const DOGSTATSD_OF_OLD: &str = "/dogstatsd/v1/proxy";

/// Where tracers send statistics.
const STATS: &str = "/v0.6/stats";

/// How long a decoder waits for memory.
const DECODER_WAIT: Duration = Duration::from_millis(1000);

/// Decoded spans may take this many times the bytes of their request, and at least [`ALLOWANCE_MIN`]. Honest tracers need one to
/// two times; hostile requests could ask for hundreds.
const ALLOWANCE_FACTOR: usize = 8;
const ALLOWANCE_MIN: usize = 64 * 1024;

/// A header may claim any number of traces; no request has more.
const CLAIMED_MAX: u64 = 1_000_000;

/// What stands behind the port.
#[derive(Debug)]
pub struct TraceHandler {
    inbox: Inbox<TracesItem>,
    ledger: Arc<Ledger>,
    rates: RatesHandle,
    clock: Clock,
    limits: TraceLimits,
    /// What requests decode to, apart from their bodies: a decoder that waited for memory which other bodies hold while they wait for
    /// decoders would wait for ever.
    decoded: Budget,
    description: Description,
    proxies: Option<Proxies>,
    dogstatsd: Option<Outlet>,
    /// Overload is told with 429 to everyone, known or not: what is answered with 200 is kept.
    tells_overload: bool,
    payloads: Spares<TracePayload>,
    bodies: Spares<Vec<u8>>,
}

/// The answer to `/info`, and its hash: tracers read it again when that changes. Made for the first tracer that talks with the agent, since
/// inside Lambda the start pays for everything else.
pub type Description = LazyLock<(String, String), Box<dyn FnOnce() -> (String, String) + Send>>;

/// Bounds in bytes.
#[derive(Clone, Copy, Debug)]
pub struct TraceLimits {
    /// Of one request's body.
    pub request_bytes_max: usize,
    /// Of everything that requests decode to.
    pub decoded_bytes_max: usize,
}

impl TraceHandler {
    /// A handler that puts payloads into `inbox`.
    pub fn new(
        inbox: Inbox<TracesItem>,
        ledger: Arc<Ledger>,
        rates: RatesHandle,
        clock: Clock,
        limits: TraceLimits,
        description: Description,
    ) -> TraceHandler {
        TraceHandler {
            inbox,
            ledger,
            rates,
            clock,
            limits,
            decoded: Budget::new(limits.decoded_bytes_max),
            description,
            proxies: None,
            dogstatsd: None,
            tells_overload: false,
            payloads: Spares::new(spares::Limits::NONE),
            bodies: Spares::new(spares::Limits::NONE),
        }
    }

    /// One that uses again what the pipeline has left of payloads and of their requests' bodies.
    pub fn with_spares(self, payloads: Spares<TracePayload>, bodies: Spares<Vec<u8>>) -> TraceHandler {
        TraceHandler { payloads, bodies, ..self }
    }

    /// One that takes lines of DogStatsD, too.
    pub fn with_dogstatsd(self, outlet: Option<Outlet>) -> TraceHandler {
        TraceHandler { dogstatsd: outlet, ..self }
    }

    /// One that passes on what `proxies` serve, too.
    pub fn with_proxies(self, proxies: Proxies) -> TraceHandler {
        TraceHandler { proxies: Some(proxies), ..self }
    }

    /// One that never says 200 to what it could not take.
    pub fn telling_overload(self, tells_overload: bool) -> TraceHandler {
        TraceHandler { tells_overload, ..self }
    }

    fn proxies_for(&self, path: &str) -> Option<&Proxies> {
        self.proxies.as_ref().filter(|proxies| proxies.serves(path))
    }

    fn traces(&self, request: Request) -> Response {
        let Request { path, headers, body, permit, receipt, .. } = request;
        let decoder = match decoder_for(&path, headers.get("content-type").unwrap_or_default()) {
            Ok(decoder) => decoder,
            Err(NoDecoder::Path) => return self.signed(not_found()),
            Err(NoDecoder::MediaType) => return self.signed(Response::text(415, "unsupported media type")),
        };
        let Some(mut room) = self.room(body.len()) else {
            return self.overloaded_answer(&path, &headers);
        };
        let body_len = body.len();
        let mut payload = match decoder.decode(body, self.empty_payload(&headers), room.bytes()) {
            Ok(payload) => payload,
            Err(err) => return self.undecodable(&err),
        };
        room.shrink_to(payload.memory_bytes().saturating_sub(body_len));
        let permit = permit.with(room);
        let refused = std::mem::take(&mut payload.refused_spans);
        let records = payload.spans.len() as u64 + refused;
        let mut claim = self.ledger.accept(Signal::Traces, records).with_receipt(receipt.as_ref());
        claim.drop_some(refused, Reason::Malformed);
        self.offer(Parcel { item: TracesItem::Spans(payload), claim, permit }, &path, &headers)
    }

    /// Statistics that a tracer has computed. A record is one group of them.
    fn stats(&self, request: Request) -> Response {
        let Request { path, headers, body, permit, receipt, .. } = request;
        let Some(mut room) = self.room(body.len()) else {
            return self.overloaded_answer(&path, &headers);
        };
        let mut client = match client_stats::decode(&body, tracer_info(&headers), room.bytes()) {
            Ok(client) => client,
            Err(err) => return self.undecodable(&err),
        };
        drop((body, permit));
        room.shrink_to(client.memory_bytes());
        client.is_obfuscated = headers.get("datadog-obfuscation-version").is_some_and(|version| !version.is_empty());
        let claim = self.ledger.accept(Signal::Stats, client.groups()).with_receipt(receipt.as_ref());
        self.offer(Parcel { item: TracesItem::Stats(Box::new(client)), claim, permit: room }, &path, &headers)
    }

    /// An empty payload, with the memory of an earlier one if there is any.
    fn empty_payload(&self, headers: &Headers) -> TracePayload {
        let tracer = tracer_info(headers);
        let Some(mut payload) = self.payloads.take() else { return tracer.into() };
        drop(payload.reuse(tracer));
        payload
    }

    /// Lines that a client could not send to the port of DogStatsD, as it sees it.
    fn lines_of_dogstatsd(&self, body: &[u8]) -> Response {
        let Some(outlet) = &self.dogstatsd else { return self.signed(Response::text(503, "dogstatsd is off")) };
        let mut datagrams = Datagrams::default();
        datagrams.push(body);
        outlet.hand_on(datagrams);
        self.signed(Response::new(200, "", ""))
    }

    /// Memory for what a body of this length decodes to; `None` if there is none.
    fn room(&self, body_len: usize) -> Option<Permit> {
        let wanted = (body_len * ALLOWANCE_FACTOR).max(ALLOWANCE_MIN);
        self.decoded.reserve(wanted.min(self.decoded.limit()), self.clock.instant_in(DECODER_WAIT))
    }

    fn undecodable(&self, error: &DecodeError) -> Response {
        self.signed(match error {
            DecodeError::Memory { .. } => Response::text(413, "payload-too-large"),
            DecodeError::UnexpectedEnd => Response::text(400, "unexpected-eof"),
            err => Response::text(400, &err.to_string()),
        })
    }

    fn offer(&self, parcel: Parcel<TracesItem>, path: &str, headers: &Headers) -> Response {
        match self.inbox.offer(parcel) {
            Ok(()) => self.accepted(path, headers),
            Err(parcel) if self.may_tell_429(headers) => {
                parcel.claim.refuse();
                self.overloaded_answer(path, headers)
            }
            Err(parcel) => {
                parcel.claim.drop_all(Reason::InboxFull);
                self.accepted(path, headers)
            }
        }
    }

    fn accepted(&self, path: &str, headers: &Headers) -> Response {
        if path == STATS {
            return self.signed(Response::new(200, "", ""));
        }
        if matches!(path, "/v0.1/spans" | "/spans" | "/v0.2/traces" | "/v0.3/traces") || path.ends_with("/services") {
            return self.signed(Response::new(200, "text/plain", "OK\n"));
        }
        let (known, rates) = (headers.get("datadog-rates-payload-version"), self.rates.get());
        let body = if known == Some(&rates.version) { "{}" } else { &rates.body };
        let answer = Response::new(200, "application/json", body);
        let answer = match known {
            Some(_) => answer.with_header("Datadog-Rates-Payload-Version", rates.version.as_str()),
            None => answer,
        };
        self.signed(answer)
    }

    /// A tracer that does not know 429 is told 200, as by the reference agent, and what it sent is booked as dropped: by the number
    /// of traces that it claims, since nobody has looked into the body.
    fn overloaded_answer(&self, path: &str, headers: &Headers) -> Response {
        if self.may_tell_429(headers) {
            return self.signed(Response::text(429, "too many requests"));
        }
        let claimed = number(headers, "x-datadog-trace-count").unwrap_or(1);
        let signal = if path == STATS { Signal::Stats } else { Signal::Traces };
        self.ledger.accept(signal, u64::clamp(claimed, 1, CLAIMED_MAX)).drop_all(Reason::InboxFull);
        self.accepted(path, headers)
    }

    /// The tracer reads the real status, so overload can be told; or it must be told in any case.
    fn may_tell_429(&self, headers: &Headers) -> bool {
        self.tells_overload || headers.get("datadog-send-real-http-status").is_some_and(is_true)
    }

    /// Every answer but `/info`'s tells who gives it.
    fn signed(&self, answer: Response) -> Response {
        answer
            .with_header("Datadog-Agent-Version", env!("CARGO_PKG_VERSION"))
            .with_header("Datadog-Agent-State", self.description.1.as_str())
    }
}

impl Handler for TraceHandler {
    fn admit(&self, head: &Head) -> Result<usize, Response> {
        if let Some(admitted) = self.proxies.as_ref().and_then(|proxies| proxies.admit(head)) {
            return admitted.map_err(|answer| self.signed(answer));
        }
        match head.path.as_str() {
            "/info" => Ok(self.limits.request_bytes_max),
            path if ENDPOINTS.contains(&path) || UNLISTED.contains(&path) => Ok(self.limits.request_bytes_max),
            _ => Err(self.signed(not_found())),
        }
    }

    fn overloaded(&self, head: &Head) -> Response {
        if let Some(proxies) = self.proxies_for(&head.path) {
            return self.signed(proxies.overloaded());
        }
        self.overloaded_answer(&head.path, &head.headers)
    }

    fn answer(&self, request: Request) -> Response {
        if let Some(proxies) = self.proxies_for(&request.path) {
            return self.signed(proxies.answer(request));
        }
        match request.path.as_str() {
            "/info" => Response::new(200, "application/json", self.description.0.clone()),
            path if path.ends_with("/services") => self.accepted(path, &request.headers),
            STATS => self.stats(request),
            DOGSTATSD | DOGSTATSD_OF_OLD => self.lines_of_dogstatsd(&request.body),
            _ => self.traces(request),
        }
    }

    fn spare_buffer(&self) -> Vec<u8> {
        self.bodies.take().unwrap_or_default()
    }
}

fn not_found() -> Response {
    Response::text(404, "404 page not found")
}

/// The reference agent's rule for boolean headers: present, and not a word for no.
fn is_true(value: &str) -> bool {
    !matches!(value, "" | "0" | "f" | "F" | "FALSE" | "False" | "false")
}

/// Of newer tracers the entity's id tells as well; but an inode (`in-`) says nothing outside the container.
fn container_id(headers: &Headers) -> &str {
    let entity = || headers.get("datadog-entity-id").and_then(|id| id.strip_prefix("ci-").or(id.strip_prefix("cid-")));
    headers.get("datadog-container-id").filter(|id| !id.is_empty()).or_else(entity).unwrap_or_default()
}

fn number(headers: &Headers, name: &str) -> Option<u64> {
    headers.get(name)?.trim().parse().ok()
}

fn tracer_info(headers: &Headers) -> TracerInfo {
    let text = |name: &str| headers.get(name).unwrap_or_default().to_owned();
    let flag = |name: &str| headers.get(name).is_some_and(is_true);
    TracerInfo {
        language: text("datadog-meta-lang"),
        language_version: text("datadog-meta-lang-version"),
        tracer_version: text("datadog-meta-tracer-version"),
        container_id: container_id(headers).to_owned(),
        // Whoever computes statistics has had to mark top-level spans for it.
        client_top_level: flag("datadog-client-computed-top-level") || flag("datadog-client-computed-stats"),
        client_stats: flag("datadog-client-computed-stats"),
        process_tags: text("x-datadog-process-tags"),
        dropped_p0_traces: number(headers, "datadog-client-dropped-p0-traces").unwrap_or(0).min(CLAIMED_MAX) as u32,
        ..TracerInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rates::KEEP_ALL as RATES;
    use crate::sys::inbox::Message;
    use crate::sys::inbox::Receiver;
    use crate::sys::inbox::inbox;

    const SPANS_V04: &[u8] = include_bytes!("../../fixtures/decode/traces_v04/two_spans.bin");
    const SPANS_V07: &[u8] = include_bytes!("../../fixtures/decode/traces_v07/two_spans.bin");
    const SPANS_V10: &[u8] = include_bytes!("../../fixtures/decode/traces_v10/two_spans.bin");
    const STATS_BODY: &[u8] = include_bytes!("../../fixtures/decode/client_stats/two_groups.bin");

    /// A handler over an inbox of `items_max`, and what else a request needs.
    struct Rig {
        handler: TraceHandler,
        receiver: Receiver<Message<TracesItem>>,
        ledger: Arc<Ledger>,
        budget: Budget,
    }

    fn rig(items_max: usize) -> Rig {
        let (inbox, receiver) = inbox(items_max);
        let ledger = Ledger::new();
        let limits = TraceLimits { request_bytes_max: 1 << 20, decoded_bytes_max: 1 << 20 };
        let handler = TraceHandler::new(
            inbox,
            Arc::clone(&ledger),
            RatesHandle::new(7),
            Clock::new(),
            limits,
            LazyLock::new(Box::new(|| ("{}".to_owned(), "state".to_owned()))),
        );
        Rig { handler, receiver, ledger, budget: Budget::new(1 << 20) }
    }

    impl Rig {
        fn put(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Response {
            let permit = self.budget.reserve(body.len(), Clock::new().instant_in(Duration::ZERO)).unwrap();
            let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let (method, path, body) = ("PUT".to_owned(), path.to_owned(), body.to_vec());
            self.handler.answer(Request { method, path, query: None, headers, body, permit, receipt: None })
        }

        #[track_caller]
        fn check(&self, path: &str, body: &[u8], headers: &[(&str, &str)], expected: (u16, &str)) {
            let answer = self.put(path, body, headers);
            assert_eq!((answer.status, std::str::from_utf8(&answer.body).unwrap()), expected, "{path}");
        }
    }

    #[test]
    fn every_version_is_answered_in_its_way() {
        let rig = rig(16);
        rig.check("/v0.4/traces", SPANS_V04, &[("content-type", "application/msgpack")], (200, RATES));
        rig.check("/v0.7/traces", SPANS_V07, &[], (200, RATES));
        rig.check("/v1.0/traces", SPANS_V10, &[("datadog-rates-payload-version", "1")], (200, "{}"));
        for path in ["/v0.2/traces", "/v0.3/traces"] {
            rig.check(path, br#"[[{"trace_id":1,"span_id":2}]]"#, &[], (200, "OK\n"));
        }
        for path in ["/v0.1/spans", "/spans"] {
            rig.check(path, br#"[{"trace_id":1,"span_id":2}]"#, &[], (200, "OK\n"));
            rig.check(path, b"\x90", &[("content-type", "application/msgpack")], (415, "unsupported media type\n"));
        }
        rig.check("/services", b"{}", &[], (200, "OK\n"));
        rig.check("/v1.0/traces", b"\x81", &[], (400, "unexpected-eof\n"));
        assert_eq!(rig.ledger.snapshot().rows[Signal::Traces as usize].accepted, 10);
        drop(rig.receiver);
        assert!(rig.ledger.snapshot().is_balanced());
    }

    #[test]
    fn new_rates_are_told_with_their_version() {
        let rig = rig(16);
        rig.handler.rates.publish("{\"rate_by_service\":{}}\n".to_owned(), 3);
        rig.check("/v0.7/traces", SPANS_V07, &[], (200, "{\"rate_by_service\":{}}\n"));
        let answer = rig.put("/v0.7/traces", SPANS_V07, &[("datadog-rates-payload-version", "1")]);
        assert!(answer.headers.contains(&("Datadog-Rates-Payload-Version", "7-3".to_owned())), "{answer:?}");
        rig.check("/v0.7/traces", SPANS_V07, &[("datadog-rates-payload-version", "7-3")], (200, "{}"));
        drop(rig.receiver);
    }

    #[test]
    fn statistics_are_accepted_group_by_group_and_headers_fill_them_in() {
        let rig = rig(4);
        rig.check(STATS, STATS_BODY, &[("datadog-obfuscation-version", "1"), ("datadog-meta-lang", "go")], (200, ""));
        rig.check(STATS, b"\x80", &[("datadog-meta-lang", "go")], (200, ""));
        rig.check(STATS, &STATS_BODY[..99], &[], (400, "unexpected-eof\n"));
        rig.check(STATS, &[&b"\x81\xa5Stats\xdd\0\x10\0\0"[..], &[0x80; 60_000]].concat(), &[], (413, "payload-too-large\n"));
        assert_eq!(rig.ledger.snapshot().rows[Signal::Stats as usize].accepted, 2);
        for (language, is_obfuscated) in [("python", true), ("go", false)] {
            let Ok(Message::Item(Parcel { item: TracesItem::Stats(client), claim, .. })) = rig.receiver.try_recv() else {
                panic!("they were accepted");
            };
            assert_eq!((client.language.as_str(), client.is_obfuscated), (language, is_obfuscated));
            assert_eq!(claim.records(), client.groups());
            claim.sent();
        }
        assert!(rig.ledger.snapshot().is_balanced() && rig.ledger.snapshot().is_quiet());
    }

    #[test]
    fn a_full_inbox_is_told_to_tracers_that_know_429_and_counted_for_the_others() {
        let rig = rig(1);
        rig.check(STATS, STATS_BODY, &[], (200, ""));
        rig.check(STATS, STATS_BODY, &[("datadog-send-real-http-status", "yes")], (429, "too many requests\n"));
        rig.check(STATS, STATS_BODY, &[], (200, ""));
        rig.check("/v0.4/traces", SPANS_V04, &[("content-type", "application/msgpack")], (200, RATES));
        let text = rig.ledger.snapshot().to_string();
        assert!(text.contains("stats accepted=4 restored=0 sent=0 memory=2 spool=0 dropped=2 inbox_full=2"), "{text}");
        assert!(text.starts_with("traces accepted=2 restored=0 sent=0 memory=0 spool=0 dropped=2 inbox_full=2"), "{text}");
    }

    #[test]
    fn what_headers_say_of_the_tracer_is_kept() {
        let headers: Headers =
            [("Datadog-Client-Computed-Stats", &b"yes"[..]), ("X-Datadog-Process-Tags", b"a:b"), ("Datadog-Meta-Lang", b"go")]
                .into_iter()
                .collect();
        let tracer = tracer_info(&headers);
        assert!(tracer.client_stats && tracer.client_top_level);
        assert_eq!((tracer.process_tags.as_str(), tracer.language.as_str()), ("a:b", "go"));
        let container = |pairs: &[(&'static str, &'static str)]| {
            tracer_info(&pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect()).container_id
        };
        let (old, new) = (("Datadog-Container-ID", "abc"), "Datadog-Entity-ID");
        let found =
            [container(&[old]), container(&[old, (new, "ci-x")]), container(&[(new, "ci-x")]), container(&[(new, "cid-x")])];
        assert_eq!(found, ["abc", "abc", "x", "x"]);
        assert_eq!(container(&[(new, "in-4026531836")]), "");
        let dropped = |value: &str| {
            tracer_info(&[("Datadog-Client-Dropped-P0-Traces", value.as_bytes())].into_iter().collect()).dropped_p0_traces
        };
        assert_eq!(["12", "", "-1", "99999999999"].map(dropped), [12, 0, 0, 1_000_000]);
    }

    #[test]
    fn any_word_that_does_not_mean_no_is_true() {
        assert!(["yes", "t", "1", " no"].into_iter().all(is_true));
        assert!(!["", "0", "false", "F"].into_iter().any(is_true));
    }
}
