//! The invocation state machine: events in, effects out, no thread, clock or socket.
//!
//! Events of one invocation come in any order, twice or not at all: the `/next` answer, the platform's telemetry and the calls of
//! client libraries race each other. A table keyed by request id holds what is known of each; the oldest entry goes when it is
//! full. Each invocation yields its root span once: at `runtimeDone`, else at `report`, else when the agent ends.

mod draft;
mod ending;
mod inferred;
mod init;
mod known;
pub mod metrics;
mod root_span;
mod settings;
mod waiting;

use crate::model::invocation::EndCall;
use crate::model::invocation::Invoke;
use crate::model::invocation::Outcome;
use crate::model::invocation::Point;
use crate::model::invocation::Remembered;
use crate::model::invocation::StartCall;
use crate::model::invocation::Telemetry;
use crate::model::invocation::What;
use crate::model::log_line::LogLine;
use crate::model::trace::TracePayload;
use crate::model::traces_item::InitSpan;
use crate::model::usage::Usage;
use crate::process::invocation::init::Beginning;
use crate::process::invocation::metrics::Metrics;
use crate::process::invocation::metrics::Told;
use crate::process::invocation::waiting::push_bounded;
use crate::process::invocation::waiting::take_matching;
use std::collections::VecDeque;

pub use settings::RootSpans;
pub use settings::Sandbox;
pub use settings::Settings;

/// Invocations that are remembered at a time. One sandbox runs one; managed instances some dozens.
const OPEN_MAX: usize = 500;

/// Ids of invocations that are over, kept so that what is told of them late or twice is known for what it is.
const FINISHED_MAX: usize = 500;

/// Calls without a request id that wait for the event they belong to.
const CALLS_MAX: usize = 64;

/// A sandbox that waits longer for its first invocation was made ready before anybody asked for it. Nanoseconds.
const PROACTIVE_AFTER: i64 = 10_000_000_000;

/// What is to be done after an event.
#[derive(Debug)]
pub enum Effect {
    /// Send this span.
    Span(Box<TracePayload>),
    /// Have this span ready for the first invocation's trace.
    Init(Box<InitSpan>),
    /// The invocation has ended: deliver what there is before the sandbox freezes.
    Ended {
        /// Which one.
        request_id: String,
    },
}

/// What is known of one invocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    pub request_id: String,
    /// Without version or alias, in lower case; empty if unknown.
    pub arn: String,
    /// Name of the function as it was given, if the event told.
    pub function: Option<String>,
    /// Nanoseconds since 1970: when `/next` told of it, and when the platform started it.
    pub invoked_at: Option<i64>,
    pub started_at: Option<i64>,
    pub cold_start: bool,
    /// It found a sandbox that had been made ready for nobody.
    pub proactive: bool,
    pub start: Option<StartCall>,
    pub end: Option<EndCall>,
    pub outcome: Option<Outcome>,
    told: Told,
    ended: bool,
    /// When, nanoseconds since 1970.
    ended_at: i64,
    span_made: bool,
}

/// The machine.
#[derive(Debug)]
pub struct Invocations {
    settings: Settings,
    open: VecDeque<Open>,
    /// Ids, and when their report was made. Lambda repeats invocations under their id, so what is later belongs to another attempt.
    finished: VecDeque<(String, i64)>,
    /// Invocations that had to make room while their span was still owed.
    evicted: Vec<Open>,
    /// Start calls that came before their invocation, and end calls before their `runtimeDone`, oldest first.
    early_starts: VecDeque<StartCall>,
    early_ends: VecDeque<EndCall>,
    /// From the last run, until the first invocation shows whether it is the same function.
    restored: Option<Remembered>,
    remembered: Remembered,
    first_seen: bool,
    beginning: Beginning,
    /// An invocation of which the process before this one has told all there was, as it saw its end.
    told_before: Option<String>,
    /// When the snapshot came back, nanoseconds since 1970.
    restored_at: Option<i64>,
    metrics: Option<Metrics>,
    /// Time of the latest telemetry, nanoseconds since 1970.
    latest: i64,
}

impl Invocations {
    /// A machine that has seen nothing but what it `restored`.
    pub fn new(settings: Settings, restored: Option<Remembered>) -> Invocations {
        let (arn, metrics) = (settings.sandbox.as_ref().and_then(|sandbox| sandbox.arn.clone()), settings.metrics);
        let mut machine = Invocations {
            settings,
            open: VecDeque::new(),
            finished: VecDeque::new(),
            evicted: Vec::new(),
            early_starts: VecDeque::new(),
            early_ends: VecDeque::new(),
            restored,
            remembered: Remembered::default(),
            first_seen: false,
            beginning: Beginning::default(),
            told_before: None,
            restored_at: None,
            metrics: metrics.map(Metrics::new),
            latest: 0,
        };
        if let Some(arn) = arn {
            machine.apply_restored(&arn);
        }
        machine
    }

    /// What should survive a restart.
    pub fn remembered(&self) -> &Remembered {
        &self.remembered
    }

    /// Whether the invocation is known to have ended.
    pub fn has_ended(&self, request_id: &str) -> bool {
        self.position(request_id).is_some_and(|at| self.open[at].ended)
    }

    /// `/next` told of an invocation; `at` in nanoseconds since 1970.
    pub fn invoke(&mut self, invoke: &Invoke, at: i64) {
        let request_id = &invoke.request_id;
        let arn = unqualified(&invoke.function_arn);
        self.apply_restored(&arn);
        // A failed asynchronous invocation is repeated under the same id, so what was told of its end is the attempt's before.
        self.finished.retain(|(finished, _)| finished != request_id);
        self.told_before.take_if(|told| told == request_id);
        let known =
            self.position(request_id).filter(|known| !self.open[*known].ended || self.open[*known].invoked_at.is_none());
        let known = known.unwrap_or_else(|| self.add(request_id, at));
        let early = take_matching(&mut self.early_starts, |call| call.request_id.as_deref(), request_id);
        let open = &mut self.open[known];
        open.arn = arn.clone();
        open.function = invoke.function_arn.split(':').nth(6).map(str::to_owned);
        open.invoked_at = Some(at);
        open.start = open.start.take().or(early);
        self.remembered.arn = arn;
        self.remembered.last_request_id.clone_from(&invoke.request_id);
        self.remembered.start_ms = at / 1_000_000;
        self.remembered.end_ms = 0;
        if let Some(metrics) = &mut self.metrics {
            metrics.invoked(&mut self.open[known], at / 1_000_000);
        }
    }

    /// What the machine's processes use now. To be told before the event at which it was measured.
    pub fn measured(&mut self, usage: Usage) {
        if let Some(metrics) = &mut self.metrics {
            metrics.measured(usage);
        }
    }

    /// The points that have been made since the last call.
    pub fn take_points(&mut self) -> Vec<Point> {
        self.metrics.as_mut().map(Metrics::take).unwrap_or_default()
    }

    /// Whether an invocation runs, or has run, of which the platform will still tell something.
    pub fn awaits_reports(&self) -> bool {
        !self.open.is_empty()
    }

    /// The sandbox is going to be taken down; `at` in nanoseconds since 1970.
    pub fn shutting_down(&mut self, at: i64) {
        self.latest = self.latest.max(at);
    }

    /// The platform told something.
    pub fn telemetry(&mut self, event: &Telemetry, random: &mut impl FnMut() -> u64) -> Vec<Effect> {
        let at = event.time_ms.saturating_mul(1_000_000);
        self.latest = self.latest.max(at);
        let mut effects = self.spans_of_evicted(random);
        let init = self.beginning.telemetry(event, &self.settings, random);
        effects.extend(init.map(|init| Effect::Init(Box::new(init))));
        match &event.what {
            What::Start { request_id, .. } if !self.is_finished(request_id, event.time_ms) => {
                // A start behind the end is another attempt's.
                let known =
                    self.position(request_id).filter(|known| !self.open[*known].ended || at <= self.open[*known].ended_at);
                let open = known.unwrap_or_else(|| self.add(request_id, at));
                self.open[open].started_at = Some(at);
                if let Some(metrics) = self.metrics.as_mut().filter(|_| self.settings.is_managed()) {
                    metrics.invoked(&mut self.open[open], event.time_ms);
                }
            }
            What::RuntimeDone(outcome) if !self.was_finished(&outcome.request_id) => {
                effects.extend(self.runtime_done(outcome, event.time_ms, random));
            }
            What::Report { outcome, figures } => {
                effects.extend(self.report(outcome, figures.as_ref(), event.time_ms, random));
            }
            What::Line(line) | What::Fault(line) => self.line(line, event.time_ms),
            What::RestoreStart => self.restored_at = Some(at),
            what => {
                if let Some(metrics) = &mut self.metrics {
                    match what {
                        What::InitStart { runtime_version, .. } => metrics.init_started(runtime_version.as_deref()),
                        What::InitReport { duration_ms } => metrics.init(event.time_ms, *duration_ms),
                        What::RestoreReport { duration_ms } => metrics.restored(event.time_ms, *duration_ms),
                        _ => (),
                    }
                }
            }
        }
        effects
    }

    /// A client library announced the start.
    pub fn started(&mut self, call: StartCall) {
        let open = match &call.request_id {
            Some(id) => self.open.iter_mut().find(|open| open.request_id == *id && !open.ended),
            None => self.open.iter_mut().find(|open| open.start.is_none() && !open.ended),
        };
        match open {
            Some(open) => open.start = Some(call),
            None => push_bounded(&mut self.early_starts, call, CALLS_MAX),
        }
    }

    /// A client library announced the end. Its span waits for `runtimeDone`, which knows the duration.
    pub fn ended(&mut self, call: EndCall) {
        let open = match &call.request_id {
            Some(id) => self.open.iter_mut().find(|open| open.request_id == *id && !open.span_made),
            None => self.open.iter_mut().find(|open| open.end.is_none() && !open.ended),
        };
        match open {
            Some(open) => {
                open.end = Some(call);
                if let Some(metrics) = &mut self.metrics {
                    metrics.end_call(open);
                }
            }
            None => push_bounded(&mut self.early_ends, call, CALLS_MAX),
        }
    }

    /// A line tells which invocation speaks, and maybe that its memory is not enough.
    fn line(&mut self, line: &LogLine, time_ms: i64) {
        // Of several at once nobody can tell which it is.
        let current = Some(&self.remembered.last_request_id).filter(|id| !id.is_empty() && !self.settings.is_managed());
        let Some(request_id) = line.request_id.as_ref().or(current).cloned() else { return };
        if line.out_of_memory && self.remembered.last_oom_request_id != request_id {
            self.remembered.last_oom_request_id.clone_from(&request_id);
            let open = self.position(&request_id);
            if let (Some(metrics), Some(open)) = (&mut self.metrics, open) {
                metrics.out_of_memory(&mut self.open[open], time_ms);
            }
        }
        if self.remembered.last_log_request_id != request_id {
            self.remembered.last_log_request_id = request_id;
        }
    }

    /// Gives an invocation whose end is told the calls that came before anything else was known of it. On a busy machine the library and
    /// the platform may both be faster than the answer to `/next`. The calls cannot be the next one's: the platform does not begin that
    /// before the agent has asked for it.
    fn take_early_calls(&mut self, request_id: &str) {
        let Some(open) = self.open.iter_mut().find(|open| open.request_id == request_id && !open.ended) else { return };
        if open.start.is_none() {
            open.start = take_matching(&mut self.early_starts, |call| call.request_id.as_deref(), request_id);
        }
        if open.end.is_none() {
            open.end = take_matching(&mut self.early_ends, |call| call.request_id.as_deref(), request_id);
        }
    }
}

impl Open {
    /// When it began, nanoseconds since 1970.
    fn begin(&self) -> Option<i64> {
        self.started_at.or(self.start.as_ref().map(|call| call.at)).or(self.invoked_at)
    }
}

/// An ARN in lower case without the version or alias that an invocation may name behind it.
pub fn unqualified(arn: &str) -> String {
    let parts: Vec<&str> = arn.split(':').take(7).collect();
    parts.join(":").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::invocation::Status;
    use crate::model::trace_context::TraceContext;

    const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:Shop";

    fn machine(root_spans: RootSpans, restored: Option<Remembered>) -> Invocations {
        let settings = Settings { root_spans, aws_services: true, ..Settings::default() };
        Invocations::new(settings, restored)
    }

    fn invoke(id: &str) -> Invoke {
        Invoke { request_id: id.into(), deadline_ms: None, function_arn: format!("{ARN}:prod") }
    }

    fn start(id: &str, time_ms: i64) -> Telemetry {
        Telemetry { time_ms, what: What::Start { request_id: id.into(), version: None } }
    }

    fn done(id: &str, time_ms: i64, status: Status, duration_ms: Option<f64>) -> Telemetry {
        Telemetry {
            time_ms,
            what: What::RuntimeDone(Outcome { request_id: id.into(), status, duration_ms, ..Outcome::default() }),
        }
    }

    fn report(id: &str, time_ms: i64) -> Telemetry {
        let outcome = Outcome { request_id: id.into(), status: Status::Success, duration_ms: Some(5.0), ..Outcome::default() };
        Telemetry { time_ms, what: What::Report { outcome, figures: None } }
    }

    /// Spans as `request id/error/start ms/duration ms/cold start`, ends as `end of request id`.
    fn told(effects: Vec<Effect>) -> Vec<String> {
        let tell = |effect| match effect {
            Effect::Ended { request_id } => format!("end of {request_id}"),
            Effect::Init(init) => init.name.to_owned(),
            Effect::Span(payload) => {
                let span = payload.spans[0];
                let tag = |key| payload.tag(span.meta, key).map(|text| payload.texts.str(text).to_owned()).unwrap_or_default();
                let (start, duration) = (span.start / 1_000_000, span.duration / 1_000_000);
                format!("{}/{}/{start}/{duration}/{}", tag("request_id"), span.error, tag("cold_start"))
            }
        };
        effects.into_iter().map(tell).collect()
    }

    fn ids() -> impl FnMut() -> u64 {
        let mut next = 0;
        move || {
            next += 1;
            next
        }
    }

    #[test]
    fn an_invocation_yields_its_span_and_its_end_once() {
        let (mut machine, mut ids) = (machine(RootSpans::Always, None), ids());
        machine.invoke(&invoke("r-1"), 0);
        assert!(machine.telemetry(&start("r-1", 1000), &mut ids).is_empty());
        let effects = machine.telemetry(&done("r-1", 1200, Status::Success, Some(150.0)), &mut ids);
        assert_eq!(told(effects), ["r-1/0/1000/150/true", "end of r-1"]);
        assert!(machine.telemetry(&done("r-1", 1200, Status::Success, None), &mut ids).is_empty());
        assert!(machine.telemetry(&report("r-1", 1210), &mut ids).is_empty());
        assert!(machine.finish("spindown", &mut ids).is_empty());
    }

    #[test]
    fn a_report_alone_is_enough() {
        let (mut machine, mut ids) = (machine(RootSpans::Always, None), ids());
        machine.telemetry(&start("r-1", 1000), &mut ids);
        assert_eq!(told(machine.telemetry(&report("r-1", 1010), &mut ids)), ["r-1/0/1000/5/true", "end of r-1"]);
    }

    #[test]
    fn runtime_done_without_a_duration_or_a_start_counts_all_the_same() {
        let (mut machine, mut ids) = (machine(RootSpans::Always, None), ids());
        let effects = machine.telemetry(&done("r-1", 1200, Status::Failure, None), &mut ids);
        assert_eq!(told(effects), ["r-1/1/1200/0/true", "end of r-1"]);
    }

    #[test]
    fn what_is_told_late_or_twice_makes_no_second_span() {
        let (mut machine, mut ids) = (machine(RootSpans::Always, None), ids());
        for _ in 0..2 {
            machine.invoke(&invoke("r-1"), 0);
            machine.telemetry(&start("r-1", 1000), &mut ids);
            machine.telemetry(&report("r-1", 1010), &mut ids);
            machine.telemetry(&done("r-1", 1005, Status::Success, None), &mut ids);
        }
        assert!(machine.finish("", &mut ids).is_empty());
    }

    #[test]
    fn what_is_owed_at_the_end_is_made_with_the_reason_as_status() {
        let (mut machine, mut ids) = (machine(RootSpans::Always, None), ids());
        machine.telemetry(&start("r-1", 1000), &mut ids);
        machine.telemetry(&start("r-2", 3000), &mut ids);
        assert_eq!(told(machine.finish("timeout", &mut ids)), ["r-1/1/1000/2000/true", "r-2/1/3000/0/false"]);
    }

    #[test]
    fn only_the_first_invocation_is_a_cold_start_and_none_after_a_restart() {
        let (mut first, mut ids) = (machine(RootSpans::Always, None), ids());
        for id in ["r-1", "r-2"] {
            first.invoke(&invoke(id), 0);
        }
        assert_eq!(first.remembered().coldstart_request_id, "r-1");
        let mut second = machine(RootSpans::Always, Some(first.remembered().clone()));
        second.invoke(&invoke("r-3"), 0);
        let effects = second.telemetry(&done("r-3", 10, Status::Success, Some(1.0)), &mut ids);
        assert!(told(effects)[0].ends_with("/false"));
    }

    #[test]
    fn a_memory_of_another_function_is_not_used() {
        let other = Remembered { arn: "arn:other".into(), coldstart_request_id: "r-0".into(), ..Remembered::default() };
        let mut machine = machine(RootSpans::Always, Some(other));
        machine.invoke(&invoke("r-1"), 0);
        assert_eq!(machine.remembered().coldstart_request_id, "r-1");
        assert_eq!(machine.remembered().arn, ARN.to_ascii_lowercase());
    }

    #[test]
    fn in_lambda_only_announced_invocations_get_a_span() {
        let (mut machine, mut ids) = (machine(RootSpans::Announced, None), ids());
        machine.invoke(&invoke("r-1"), 0);
        let effects = machine.telemetry(&done("r-1", 10, Status::Success, Some(1.0)), &mut ids);
        assert_eq!(told(effects), ["end of r-1"]);
        let context = TraceContext { trace_id: 11, parent_id: 12, ..TraceContext::default() };
        machine.started(StartCall { context: Some(context), ..StartCall::default() }); // before its invocation
        machine.invoke(&invoke("r-2"), 0);
        machine.ended(EndCall { request_id: Some("r-2".into()), span_id: Some(13), ..EndCall::default() });
        let effects = machine.telemetry(&done("r-2", 10, Status::Success, Some(1.0)), &mut ids);
        let Effect::Span(payload) = &effects[0] else { panic!("{effects:?}") };
        let span = payload.spans[0];
        assert_eq!((span.trace_id, span.span_id, span.parent_id), (11, 13, 12));
        assert_eq!(payload.texts.str(span.name), "aws.lambda");
    }

    #[test]
    fn calls_and_telemetry_may_be_faster_than_the_answer_to_next() {
        let (mut machine, mut ids) = (machine(RootSpans::Announced, None), ids());
        let context = TraceContext { trace_id: 11, parent_id: 12, ..TraceContext::default() };
        machine.started(StartCall { context: Some(context), ..StartCall::default() });
        machine.ended(EndCall { span_id: Some(13), ..EndCall::default() });
        machine.telemetry(&start("r-1", 0), &mut ids);
        let effects = machine.telemetry(&done("r-1", 10, Status::Success, Some(1.0)), &mut ids);
        let Effect::Span(payload) = &effects[0] else { panic!("{effects:?}") };
        let span = payload.spans[0];
        assert_eq!((span.trace_id, span.span_id, span.parent_id), (11, 13, 12));
        machine.invoke(&invoke("r-1"), 0);
        machine.started(StartCall {
            context: Some(TraceContext { trace_id: 21, ..TraceContext::default() }),
            ..StartCall::default()
        });
        machine.telemetry(&report("r-1", 20), &mut ids);
        machine.invoke(&invoke("r-2"), 0);
        machine.ended(EndCall { span_id: Some(23), ..EndCall::default() });
        let effects = machine.telemetry(&done("r-2", 30, Status::Success, Some(1.0)), &mut ids);
        let Effect::Span(payload) = &effects[0] else { panic!("{effects:?}") };
        assert_eq!(payload.spans[0].trace_id, 21, "a late report takes nothing from the next invocation");
    }

    #[test]
    fn a_late_call_never_joins_another_invocation_when_ids_are_there() {
        let (mut machine, mut ids) = (machine(RootSpans::Announced, None), ids());
        machine.invoke(&invoke("r-1"), 0);
        machine.telemetry(&done("r-1", 10, Status::Success, None), &mut ids);
        machine.invoke(&invoke("r-2"), 0);
        machine.ended(EndCall { request_id: Some("r-1".into()), ..EndCall::default() });
        assert_eq!(told(machine.telemetry(&done("r-2", 20, Status::Success, None), &mut ids)), ["end of r-2"]);
    }

    #[test]
    fn memory_stays_bounded_when_no_invocation_ever_ends() {
        let (mut machine, mut ids) = (machine(RootSpans::Always, None), ids());
        for n in 0..2 * OPEN_MAX {
            machine.invoke(&invoke(&n.to_string()), 0);
            machine.started(StartCall { request_id: Some("unknown".into()), ..StartCall::default() });
        }
        assert_eq!((machine.open.len(), machine.early_starts.len()), (OPEN_MAX, CALLS_MAX));
        let owed = machine.telemetry(&start("0", 1000), &mut ids).len();
        assert_eq!(owed + machine.finish("", &mut ids).len(), 2 * OPEN_MAX + 1, "every invocation gets its span");
    }
}
