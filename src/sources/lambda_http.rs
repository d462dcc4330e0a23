//! The communication server: what client libraries and Lambda's Telemetry API call on port 8124.
//!
//! ```text
//! /lambda/hello              200
//! /lambda/flush              200: in Lambda at once; elsewhere when what was accepted before has left, after 2 s at most
//! /lambda/start-invocation   200, with the trace context found in the event or the headers
//! /lambda/end-invocation     200
//! /trace-context             200, with the trace context of the last start-invocation
//! /lambda/logs               200: a batch of telemetry events
//! ```
//! Client libraries wait 100 ms to 3 s for an answer and the function waits with them, so nothing but a place in the main loop's queue
//! is taken before the answer; and that before it, so that the platform's telemetry cannot overtake the call. An event or an answer that is
//! larger than Lambda's own limit, or finds no memory, is left where it is: what the call's headers say counts all the same.

use crate::decode::calls;
use crate::decode::calls::Read;
pub use crate::decode::calls::Settings as CallSettings;
pub use crate::decode::calls::Styles;
use crate::decode::events;
use crate::model::invocation::EndCall;
use crate::model::invocation::Event;
use crate::model::invocation::StartCall;
use crate::model::shown::Shown;
use crate::model::trace_context::TraceContext;
use crate::sources::MainEvent;
use crate::sources::accept;
use crate::sources::http::Handler;
use crate::sources::http::Head;
use crate::sources::http::Headers;
use crate::sources::http::Request;
use crate::sources::http::Response;
use crate::sources::take_back;
use crate::sys::clock::Clock;
use crate::sys::inbox::FlushMark;
use crate::sys::inbox::Sender;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::memory::Budget;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

/// A batch is at most twice the subscribed 256 KiB plus its envelopes; managed instances may ask for 1 MiB.
const TELEMETRY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Lambda's own limit for events and answers.
const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;

/// How long `/lambda/flush` waits for delivery.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// What `/lambda/flush` does.
pub enum OnFlush {
    /// Nothing: in Lambda the end of the invocation flushes.
    Answer,
    /// Takes the invocation as ended, in local tests.
    EndInvocation,
    /// Waits until what was accepted before has left; the function waits for the queues, until a deadline.
    Wait(Box<dyn Fn(Instant) + Send + Sync>),
}

/// What stands behind the port.
pub struct LambdaHandler {
    events: Sender<MainEvent>,
    ledger: Arc<Ledger>,
    clock: Clock,
    on_flush: OnFlush,
    calls: CallSettings,
    /// For what is captured.
    captured: Budget,
    has_warned: AtomicBool,
    /// Behind a mutex, because `/trace-context` asks from another connection's thread for what is true now.
    latest_context: Mutex<TraceContext>,
}

impl LambdaHandler {
    /// A handler that sends `events` to the main loop, and reads calls by these settings.
    pub fn new(
        events: Sender<MainEvent>,
        ledger: Arc<Ledger>,
        clock: Clock,
        on_flush: OnFlush,
        calls: CallSettings,
    ) -> LambdaHandler {
        let captured = Budget::new(calls.captured_bytes_max);
        let (has_warned, latest_context) = (AtomicBool::new(false), Mutex::default());
        LambdaHandler { events, ledger, clock, on_flush, calls, captured, has_warned, latest_context }
    }

    fn telemetry(&self, request: Request) -> Response {
        let Request { body, permit, receipt, .. } = request;
        let events = match events::batch(&body) {
            Ok((events, unreadable)) => {
                self.book_malformed(unreadable as u64, "telemetry events could not be read");
                events
            }
            // Anything but 200 would make the platform send the same bytes again.
            Err(err) => {
                self.book_malformed(1, &format!("batch of telemetry could not be read: {err}"));
                return ok();
            }
        };
        let parcel = accept(events, permit, &self.ledger, receipt.as_ref());
        match self.events.try_send(Event::Telemetry(parcel)) {
            Ok(()) => ok(),
            Err(unsent) => {
                take_back(unsent.into_inner());
                Response::text(429, "too many requests") // the platform keeps the batch and comes again
            }
        }
    }

    /// What cannot be read may have been a line, so it counts as one.
    fn book_malformed(&self, count: u64, what: &str) {
        if 0 < count {
            log::debug!("{count} {what}");
            self.ledger.accept(Signal::Logs, count).drop_all(Reason::Malformed);
        }
    }

    fn start_invocation(&self, headers: &Headers, body: &[u8]) -> Response {
        let header = |name: &str| headers.get(name);
        let Read { context, trigger } = calls::start(body, &self.calls, header);
        let call = StartCall {
            request_id: header("lambda-runtime-aws-request-id").map(str::to_owned),
            context: context.clone(),
            trigger: trigger.map(Box::new),
            shown: self.shown("function.request", body),
            at: self.clock.now().unix_nanos(),
        };
        let mut answer = ok();
        if let Some(context) = context {
            answer = with_context(answer, &context);
            *self.latest_context.lock().unwrap_or_else(PoisonError::into_inner) = context;
        }
        hand_on(&self.events, Event::Started(call));
        answer
    }

    fn end_invocation(&self, headers: &Headers, body: &[u8]) -> Response {
        let header = |name: &str| headers.get(name);
        let call = EndCall {
            request_id: header("lambda-runtime-aws-request-id").map(str::to_owned),
            context: calls::context(&self.calls.styles, header),
            span_id: calls::placeholder_span_id(header),
            error: calls::handler_error(header),
            status_code: calls::status_code(body),
            shown: self.shown("function.response", body),
            at: self.clock.now().unix_nanos(),
        };
        hand_on(&self.events, Event::Ended(call));
        ok()
    }

    /// A call that is about an invocation, if this is one.
    fn call(&self, path: &str, headers: &Headers, body: &[u8]) -> Option<Response> {
        match path {
            "/lambda/start-invocation" => Some(self.start_invocation(headers, body)),
            "/lambda/end-invocation" => Some(self.end_invocation(headers, body)),
            _ => None,
        }
    }

    /// What is to be seen of a body, if there is room for it: invocations that never end would keep it for long.
    fn shown(&self, prefix: &str, body: &[u8]) -> Shown {
        let tags = calls::captured(prefix, body, &self.calls);
        if tags.pairs().is_empty() {
            return Shown::default();
        }
        match self.captured.reserve(Shown::bytes(&tags), self.clock.instant_in(Duration::ZERO)) {
            Some(permit) => Shown::new(tags, permit),
            None => {
                if !self.has_warned.swap(true, Relaxed) {
                    log::warn!("payloads of invocations at once take more than max_memory has for them; some are not shown");
                }
                Shown::default()
            }
        }
    }

    fn trace_context(&self) -> Response {
        let context = self.latest_context.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ok().with_header("x-datadog-trace-id", context.trace_id.to_string())
            .with_header("x-datadog-span-id", context.parent_id.to_string())
            .with_header("x-datadog-sampling-priority", context.sampling_priority.unwrap_or(0).to_string())
    }

    fn flush(&self) -> Response {
        match &self.on_flush {
            OnFlush::Answer => (),
            OnFlush::EndInvocation => hand_on(&self.events, Event::EndedByFlush),
            OnFlush::Wait(delivered) => {
                let by = self.clock.instant_in(FLUSH_WAIT);
                let (mark, wait) = FlushMark::new();
                // Behind the telemetry that the main loop has not looked at yet.
                if self.events.send_deadline(Event::Flush(mark), by).is_ok() {
                    wait.wait(by);
                    delivered(by);
                }
            }
        }
        ok()
    }
}

impl Handler for LambdaHandler {
    fn admit(&self, head: &Head) -> Result<usize, Response> {
        match head.path.as_str() {
            "/lambda/logs" => Ok(TELEMETRY_BYTES_MAX),
            "/lambda/start-invocation" | "/lambda/end-invocation" => Ok(EVENT_BYTES_MAX),
            "/lambda/hello" | "/lambda/flush" | "/trace-context" => Ok(EVENT_BYTES_MAX),
            _ => Err(Response::text(404, "404 page not found")),
        }
    }

    fn overloaded(&self, head: &Head) -> Response {
        self.without_body(head).unwrap_or_else(|| Response::text(429, "too many requests"))
    }

    fn without_body(&self, head: &Head) -> Option<Response> {
        self.call(&head.path, &head.headers, b"")
    }

    fn answer(&self, request: Request) -> Response {
        if let Some(response) = self.call(&request.path, &request.headers, &request.body) {
            return response;
        }
        match request.path.as_str() {
            "/lambda/logs" => self.telemetry(request),
            "/trace-context" => self.trace_context(),
            "/lambda/flush" => self.flush(),
            _ => ok(),
        }
    }
}

/// A full queue means that the main loop is busy flushing; it will be told by telemetry too.
fn hand_on(events: &Sender<MainEvent>, event: MainEvent) {
    if events.try_send(event).is_err() {
        log::debug!("the main loop is behind; a call of a client library is left out");
    }
}

fn ok() -> Response {
    Response::new(200, "application/json", "{}")
}

fn with_context(answer: Response, context: &TraceContext) -> Response {
    let mut answer = answer.with_header("x-datadog-trace-id", context.trace_id.to_string());
    if let Some(priority) = context.sampling_priority {
        answer = answer.with_header("x-datadog-sampling-priority", priority.to_string());
    }
    match &context.trace_id_high {
        Some(high) => answer.with_header("x-datadog-tags", format!("_dd.p.tid={high}")),
        None => answer,
    }
}
