//! The trace agent: what tracers call on port 8126.
//!
//! A request is decoded in its connection's thread, so that a malformed one can be answered 400, and handed to the traces pipeline.
//! It is answered 200 as soon as the pipeline's inbox has it. Without memory or room it is answered 429, or, to tracers that do not
//! know that, 200 with the payload dropped and counted, as the reference agent does.

use crate::decode::DecodeError;
use crate::decode::traces::decoder_for;
use crate::model::trace::TracePayload;
use crate::model::trace::TracerInfo;
use crate::sources::http::Handler;
use crate::sources::http::Head;
use crate::sources::http::Headers;
use crate::sources::http::Request;
use crate::sources::http::Response;
use crate::sys::clock::Clock;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use std::sync::Arc;
use std::time::Duration;

/// The paths that are served and listed in `/info`.
pub const ENDPOINTS: [&str; 5] = ["/v0.3/traces", "/v0.3/services", "/v0.4/traces", "/v0.4/services", "/v0.5/traces"];

/// Keep everything: there is no sampler here.
const RATES: &str = "{\"rate_by_service\":{\"service:,env:\":1}}\n";

/// The version of [`RATES`], which never change.
const RATES_VERSION: &str = "1";

/// How long a decoder waits for memory.
const DECODER_WAIT: Duration = Duration::from_millis(1000);

/// Decoded spans may take this many times the bytes of their request, and at least [`ALLOWANCE_MIN`]. Honest tracers need one to
/// two times; hostile requests could ask for hundreds.
const ALLOWANCE_FACTOR: usize = 8;
const ALLOWANCE_MIN: usize = 64 * 1024;

/// What stands behind the port.
#[derive(Debug)]
pub struct TraceHandler {
    inbox: Inbox<TracePayload>,
    ledger: Arc<Ledger>,
    clock: Clock,
    limits: TraceLimits,
    info: String,
    /// Hash of `info`: tracers read it again when this changes.
    state: String,
}

/// Bounds in bytes.
#[derive(Clone, Copy, Debug)]
pub struct TraceLimits {
    /// Of one request's body.
    pub request_bytes_max: usize,
    /// Of all memory that requests share.
    pub memory_bytes: usize,
}

impl TraceHandler {
    /// A handler that puts payloads into `inbox` and answers `/info` with `info`, whose hash is `state`.
    pub fn new(
        inbox: Inbox<TracePayload>,
        ledger: Arc<Ledger>,
        clock: Clock,
        limits: TraceLimits,
        info: String,
        state: String,
    ) -> TraceHandler {
        TraceHandler { inbox, ledger, clock, limits, info, state }
    }

    fn traces(&self, request: Request) -> Response {
        let Request { path, headers, body, mut permit, .. } = request;
        let Some(decoder) = decoder_for(&path, headers.get("content-type").unwrap_or_default()) else {
            return self.signed(not_found());
        };
        let wanted = (body.len() * ALLOWANCE_FACTOR).max(ALLOWANCE_MIN);
        let allowance = wanted.min(self.limits.memory_bytes.saturating_sub(permit.bytes()));
        if !permit.grow(allowance, self.clock.instant_in(DECODER_WAIT)) {
            return self.overloaded_answer(&path, &headers);
        }
        let mut payload = match decoder.decode(body, tracer_info(&headers), allowance) {
            Ok(payload) => payload,
            Err(DecodeError::Memory { .. }) => return self.signed(Response::text(413, "payload-too-large")),
            Err(DecodeError::UnexpectedEnd) => return self.signed(Response::text(400, "unexpected-eof")),
            Err(err) => return self.signed(Response::text(400, &err.to_string())),
        };
        permit.shrink_to(payload.memory_bytes());
        let refused = std::mem::take(&mut payload.refused_spans);
        let mut claim = self.ledger.accept(Signal::Traces, payload.spans.len() as u64 + refused);
        claim.drop_some(refused, Reason::Malformed);
        match self.inbox.offer(Parcel { item: payload, claim, permit }) {
            Ok(()) => self.accepted(&path, &headers),
            Err(parcel) if knows_429(&headers) => {
                parcel.claim.refuse();
                self.overloaded_answer(&path, &headers)
            }
            Err(parcel) => {
                parcel.claim.drop_all(Reason::InboxFull);
                self.accepted(&path, &headers)
            }
        }
    }

    fn accepted(&self, path: &str, headers: &Headers) -> Response {
        if path == "/v0.3/traces" || path.ends_with("/services") {
            return self.signed(Response::new(200, "text/plain", "OK\n"));
        }
        let known = headers.get("datadog-rates-payload-version");
        let body = if known == Some(RATES_VERSION) { "{}" } else { RATES };
        let answer = Response::new(200, "application/json", body);
        let answer = if known.is_some() { answer.with_header("Datadog-Rates-Payload-Version", RATES_VERSION) } else { answer };
        self.signed(answer)
    }

    fn overloaded_answer(&self, path: &str, headers: &Headers) -> Response {
        if knows_429(headers) {
            return self.signed(Response::text(429, "too many requests"));
        }
        self.accepted(path, headers)
    }

    /// Every answer but `/info`'s tells who gives it.
    fn signed(&self, answer: Response) -> Response {
        answer.with_header("Datadog-Agent-Version", env!("CARGO_PKG_VERSION")).with_header("Datadog-Agent-State", &self.state)
    }
}

impl Handler for TraceHandler {
    fn admit(&self, head: &Head) -> Result<usize, Response> {
        match head.path.as_str() {
            "/info" => Ok(self.limits.request_bytes_max),
            path if ENDPOINTS.contains(&path) => Ok(self.limits.request_bytes_max),
            _ => Err(self.signed(not_found())),
        }
    }

    fn overloaded(&self, head: &Head) -> Response {
        self.overloaded_answer(&head.path, &head.headers)
    }

    fn answer(&self, request: Request) -> Response {
        match request.path.as_str() {
            "/info" => Response::new(200, "application/json", self.info.clone()),
            path if path.ends_with("/services") => self.accepted(path, &request.headers),
            _ => self.traces(request),
        }
    }
}

fn not_found() -> Response {
    Response::text(404, "404 page not found")
}

/// The tracer reads the real status, so overload can be told.
fn knows_429(headers: &Headers) -> bool {
    headers.get("datadog-send-real-http-status").is_some_and(is_true)
}

/// The reference agent's rule for boolean headers: present, and not a word for no.
fn is_true(value: &str) -> bool {
    !matches!(value, "" | "0" | "f" | "F" | "FALSE" | "False" | "false")
}

fn tracer_info(headers: &Headers) -> TracerInfo {
    let text = |name: &str| headers.get(name).unwrap_or_default().to_owned();
    let flag = |name: &str| headers.get(name).is_some_and(is_true);
    TracerInfo {
        language: text("datadog-meta-lang"),
        language_version: text("datadog-meta-lang-version"),
        tracer_version: text("datadog-meta-tracer-version"),
        container_id: text("datadog-container-id"),
        // Whoever computes statistics has had to mark top-level spans for it.
        client_top_level: flag("datadog-client-computed-top-level") || flag("datadog-client-computed-stats"),
        ..TracerInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_word_that_does_not_mean_no_is_true() {
        assert!(["yes", "t", "1", " no"].into_iter().all(is_true));
        assert!(!["", "0", "false", "F"].into_iter().any(is_true));
    }
}
