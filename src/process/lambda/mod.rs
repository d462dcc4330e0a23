//! What becomes of tracers' spans inside Lambda before the rules for all traces: those about the agent itself and those that came before go,
//! the one that stands in for `aws.lambda` lends that what it knows, and `aws.lambda` as a service gets the configured name.
//!
//! Tracers for which the agent makes `aws.lambda` trace the handler with a placeholder, whose id the agent's span takes. It comes on another
//! way than the end of the invocation, in most cases before it; if it comes later, what it knows is lost and nothing else.
//!
//! The span of the sandbox's beginning joins the trace of the first invocation, as parent of what the library loaded and else as sibling
//! of `aws.lambda`, whoever made that.

mod seen;

use crate::model::trace::Chunk;
use crate::model::trace::MetaStruct;
use crate::model::trace::Metric;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::Tag;
use crate::model::trace::TracePayload;
use crate::model::traces_item::InitSpan;
use crate::process::lambda::seen::Seen;
use std::collections::VecDeque;

/// Resource of a span that stands in for `aws.lambda`.
const PLACEHOLDER: &str = "dd-tracer-serverless-span";

/// Placeholders that wait for their `aws.lambda`; managed instances run some dozens at once.
const PLACEHOLDERS_MAX: usize = 64;

/// What one of them may hold on to; a larger one is not remembered.
const PLACEHOLDER_BYTES_MAX: usize = 64 * 1024;

/// Addresses whose look-up is the platform's or the agent's own business.
const OWN_NAMES: [&str; 3] = ["0.0.0.0", "127.0.0.1", "169.254.79.129"];

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `host:port` of the agent and of the Lambda APIs; requests to them are not the function's doing.
    pub own_addresses: Vec<String>,
    /// In place of `aws.lambda` as a service.
    pub service: Option<String>,
}

/// The rules, and what they remember.
#[derive(Debug)]
pub struct Received {
    settings: Settings,
    placeholders: VecDeque<Placeholder>,
    seen: Seen,
    /// Until its trace is known.
    init: Option<InitSpan>,
    init_id: Option<u64>,
}

/// Who made spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A tracer, which may send them again.
    Tracer,
    /// The agent itself.
    Agent,
}

/// What the rules have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Spans that are gone.
    pub gone: u64,
    /// Spans that are new.
    pub added: u64,
}

/// What a placeholder knows.
#[derive(Debug, Default)]
struct Placeholder {
    trace_id: u64,
    span_id: u64,
    tags: Vec<(String, String)>,
    metrics: Vec<(String, f64)>,
    structs: Vec<(String, Vec<u8>)>,
}

impl Received {
    /// Rules that have seen nothing.
    pub fn new(settings: Settings) -> Received {
        Received { settings, placeholders: VecDeque::new(), seen: Seen::default(), init: None, init_id: None }
    }

    /// The sandbox has begun. A later beginning, from a snapshot, takes the place of the first.
    pub fn begun(&mut self, init: InitSpan) {
        self.init_id = Some(init.span_id);
        self.init = Some(init);
    }

    /// Applies them.
    pub fn apply(&mut self, payload: &mut TracePayload, from: Maker) -> Done {
        let service = self.settings.service.as_deref().map(|service| payload.texts.make(service));
        let mut gone = 0;
        for chunk in 0..payload.chunks.len() {
            let spans = payload.chunks[chunk].spans.range();
            let mut kept = spans.start;
            for span in spans.clone() {
                if payload.texts.is(payload.spans[span].resource, PLACEHOLDER) {
                    self.remember(payload, span);
                    continue;
                }
                if self.is_own(payload, span) || (from == Maker::Tracer && self.seen.again(payload, span)) {
                    continue;
                }
                if let Some(service) = service.filter(|_| payload.texts.is(payload.spans[span].service, "aws.lambda")) {
                    payload.spans[span].service = service;
                }
                if payload.texts.is(payload.spans[span].name, "aws.lambda") {
                    self.complete(payload, span);
                }
                payload.spans.swap(kept, span);
                kept += 1;
            }
            gone += (spans.end - kept) as u64;
            payload.chunks[chunk].spans = Slice::since(spans.start, kept);
        }
        if 0 < gone {
            payload.chunks.retain(|chunk| !chunk.spans.is_empty());
        }
        let added = u64::from(self.init_id.is_some() && self.join_trace(payload));
        Done { gone, added }
    }

    /// Puts the span of the beginning into the trace of the first invocation, if that is here; whether it was.
    fn join_trace(&mut self, payload: &mut TracePayload) -> bool {
        let is = |text, wanted| payload.texts.is(text, wanted);
        let is_cold = |span: &Span| payload.tag(span.meta, "cold_start").is_some_and(|value| is(value, "true"));
        let find = |wanted: &dyn Fn(&Span) -> bool| {
            let spans = payload.chunks.iter().flat_map(|chunk| chunk.spans.range().map(move |span| (*chunk, span)));
            spans.into_iter().find(|(_, span)| wanted(&payload.spans[*span]))
        };
        let load = find(&|span| is(span.name, "aws.lambda.load"));
        let Some((chunk, sibling)) = load.or_else(|| find(&|span| is(span.name, "aws.lambda") && is_cold(span))) else {
            return false;
        };
        let Span { trace_id, parent_id, .. } = payload.spans[sibling];
        if let Some(id) = self.init_id.filter(|_| load.is_some()) {
            payload.spans[sibling].parent_id = id;
        }
        let Some(InitSpan { name, service, resource, span_id, start, duration }) = self.init.take() else { return false };
        let [name, service, resource, kind] = [name, &service, &resource, "serverless"].map(|text| payload.texts.make(text));
        let span = Span { name, service, resource, kind, trace_id, span_id, parent_id, start, duration, ..Span::default() };
        payload.spans.push(span);
        payload.chunks.push(Chunk { spans: Slice::since(payload.spans.len() - 1, payload.spans.len()), ..chunk });
        true
    }

    /// Whether a span is about what the agent, the platform and the tracer do among themselves.
    fn is_own(&self, payload: &TracePayload, span: usize) -> bool {
        let span = &payload.spans[span];
        let tag = |key: &str| payload.tag(span.meta, key).map_or("", |text| payload.texts.str(text));
        let is_own_address = |address: &str| self.settings.own_addresses.iter().any(|own| address.starts_with(&**own));
        if matches!(payload.texts.str(span.resource), "127.0.0.1" | "0.0.0.0")
            || payload.texts.is(span.name, "dns.lookup")
            || OWN_NAMES.iter().any(|own| tag("dns.address").starts_with(own))
            || tag("http.url").strip_prefix("http://").is_some_and(is_own_address)
        {
            return true;
        }
        let host = tag("tcp.remote.host");
        let port = || payload.metric(span.metrics, "tcp.remote.port").map(|port| port.to_string());
        !host.is_empty() && is_own_address(&format!("{host}:{}", port().unwrap_or_else(|| tag("tcp.remote.port").to_owned())))
    }

    fn remember(&mut self, payload: &TracePayload, span: usize) {
        let span = &payload.spans[span];
        let text = |text| payload.texts.str(text).to_owned();
        let tags = || payload.tags[span.meta.range()].iter().filter(|tag| !tag.key.is_empty());
        let bytes: usize = tags().map(|tag| tag.key.len() + tag.value.len()).sum();
        let structs = || payload.structs[span.meta_struct.range()].iter();
        if PLACEHOLDER_BYTES_MAX < bytes + structs().map(|entry| entry.value.len()).sum::<usize>() {
            return;
        }
        if PLACEHOLDERS_MAX <= self.placeholders.len() {
            self.placeholders.pop_front();
        }
        self.placeholders.push_back(Placeholder {
            trace_id: span.trace_id,
            span_id: span.span_id,
            tags: tags().map(|tag| (text(tag.key), text(tag.value))).collect(),
            metrics: payload.metrics[span.metrics.range()].iter().map(|metric| (text(metric.key), metric.value)).collect(),
            structs: structs().map(|entry| (text(entry.key), payload.texts.bytes(entry.value).to_vec())).collect(),
        });
    }

    /// Gives `aws.lambda` what its placeholder knows beyond it.
    fn complete(&mut self, payload: &mut TracePayload, span: usize) {
        let of_span = payload.spans[span];
        let is_its = |known: &Placeholder| (known.trace_id, known.span_id) == (of_span.trace_id, of_span.span_id);
        let found = self.placeholders.iter().position(is_its);
        let Some(known) = found.and_then(|at| self.placeholders.remove(at)) else { return };
        let start = payload.tags.len();
        payload.tags.extend_from_within(of_span.meta.range());
        for (key, value) in known.tags.iter().filter(|(key, _)| payload.tag(of_span.meta, key).is_none()).collect::<Vec<_>>() {
            let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
            payload.tags.push(tag);
        }
        payload.spans[span].meta = Slice::since(start, payload.tags.len());
        let start = payload.metrics.len();
        payload.metrics.extend_from_within(of_span.metrics.range());
        for (key, value) in &known.metrics {
            if payload.metric(of_span.metrics, key).is_none() {
                let key = payload.texts.make(key);
                payload.metrics.push(Metric { key, value: *value });
            }
        }
        payload.spans[span].metrics = Slice::since(start, payload.metrics.len());
        let start = payload.structs.len();
        payload.structs.extend_from_within(of_span.meta_struct.range());
        for (key, value) in &known.structs {
            let entry = MetaStruct { key: payload.texts.make(key), value: payload.texts.make_blob(value) };
            payload.structs.push(entry);
        }
        payload.spans[span].meta_struct = Slice::since(start, payload.structs.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, resource, service, tags, metrics.
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, f64)]);

    /// Each case as a span of trace 9, the first with id 1, each list of cases as a chunk.
    fn payload(chunks: &[&[Case]]) -> TracePayload {
        let mut payload = TracePayload::default();
        for spans in chunks {
            let first = payload.spans.len();
            for (span_id, (name, resource, service, tags, metrics)) in (1..).zip(*spans) {
                let (tags_start, metrics_start) = (payload.tags.len(), payload.metrics.len());
                for (key, value) in *tags {
                    let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
                    payload.tags.push(tag);
                }
                for (key, value) in *metrics {
                    let key = payload.texts.make(key);
                    payload.metrics.push(Metric { key, value: *value });
                }
                let [name, resource, service] = [name, resource, service].map(|text| payload.texts.make(text));
                let meta = Slice::since(tags_start, payload.tags.len());
                let metrics = Slice::since(metrics_start, payload.metrics.len());
                payload.spans.push(Span { name, resource, service, trace_id: 9, span_id, meta, metrics, ..Span::default() });
            }
            payload.chunks.push(Chunk { spans: Slice::since(first, payload.spans.len()), ..Chunk::default() });
        }
        payload
    }

    fn rules() -> Received {
        let own_addresses = ["127.0.0.1:9001", "127.0.0.1:8124", "127.0.0.1:8125"].map(str::to_owned).to_vec();
        Received::new(Settings { own_addresses, service: Some("shop".to_owned()) })
    }

    fn names(payload: &TracePayload) -> Vec<String> {
        let name = |span: usize| payload.texts.str(payload.spans[span].name).to_owned();
        payload.chunks.iter().map(|chunk| chunk.spans.range().map(name).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn what_concerns_the_agent_and_the_platform_goes() {
        let own: [Case; 8] = [
            ("http", "GET", "", &[("http.url", "http://127.0.0.1:9001/2018-06-01/runtime")], &[]),
            ("http", "GET", "", &[("http.url", "http://127.0.0.1:8124/lambda/flush")], &[]),
            ("tcp", "x", "", &[("tcp.remote.host", "127.0.0.1"), ("tcp.remote.port", "8125")], &[]),
            ("tcp", "x", "", &[("tcp.remote.host", "127.0.0.1")], &[("tcp.remote.port", 9001.0)]),
            ("dns", "x", "", &[("dns.address", "169.254.79.129")], &[]),
            ("dns.lookup", "x", "", &[], &[]),
            ("x", "127.0.0.1", "", &[], &[]),
            ("x", PLACEHOLDER, "", &[], &[]),
        ];
        let a: Case = ("a", "GET", "aws.lambda", &[("http.url", "http://127.0.0.1:9000/")], &[]);
        let b: Case = ("b", "x", "other", &[("tcp.remote.host", "10.0.0.1"), ("tcp.remote.port", "9001")], &[]);
        let mut payload = payload(&[&own, &[own[0], a, own[1], b], &[b]]);
        assert_eq!(rules().apply(&mut payload, Maker::Tracer), Done { gone: 10, added: 0 });
        assert_eq!(names(&payload), ["a b", "b"]);
        let services = payload.chunks[0].spans.range().map(|span| payload.texts.str(payload.spans[span].service));
        assert_eq!(services.collect::<Vec<_>>(), ["shop", "other"]);
    }

    #[test]
    fn a_placeholder_lends_its_span_what_that_does_not_know() {
        let mut rules = rules();
        let mut early = payload(&[&[("handle", PLACEHOLDER, "", &[("user", "7"), ("cold_start", "?")], &[("_dd.p", 1.5)])]]);
        assert_eq!((rules.apply(&mut early, Maker::Tracer).gone, early.chunks.len()), (1, 0));
        let root: Case = ("aws.lambda", "f", "f", &[("cold_start", "true")], &[]);
        let mut late = payload(&[&[root, ("aws.lambda", "f", "f", &[], &[])]]);
        assert_eq!(rules.apply(&mut late, Maker::Tracer), Done::default());
        let tag = |span: usize, key| late.tag(late.spans[span].meta, key).map(|text| late.texts.str(text));
        assert_eq!((tag(0, "user"), tag(0, "cold_start"), tag(1, "user")), (Some("7"), Some("true"), None));
        assert_eq!(late.metric(late.spans[0].metrics, "_dd.p"), Some(1.5));
        assert!(rules.placeholders.is_empty(), "each lends once");
    }

    #[test]
    fn a_span_that_is_sent_again_goes() {
        let mut rules = rules();
        let sent = || payload(&[&[("a", "x", "f", &[], &[]), ("b", "x", "f", &[], &[])]]);
        assert_eq!(rules.apply(&mut sent(), Maker::Tracer), Done::default());
        let mut again = sent();
        assert_eq!((rules.apply(&mut again, Maker::Tracer), again.chunks.len()), (Done { gone: 2, added: 0 }, 0));
        for _ in 0..2 {
            assert_eq!(rules.apply(&mut sent(), Maker::Agent), Done::default(), "what the agent made has come on no way twice");
        }
    }

    fn begun() -> Received {
        let mut rules = rules();
        rules.begun(InitSpan { name: "aws.lambda.cold_start", span_id: 77, start: 5, duration: 6, ..InitSpan::default() });
        rules
    }

    /// The spans as `name span<parent`; parents are 100 more than the spans at first.
    fn family(rules: &mut Received, spans: &[Case]) -> Vec<String> {
        rules.seen = Seen::default(); // their ids are always the same
        let mut payload = payload(&[spans]);
        for span in &mut payload.spans {
            span.parent_id = span.span_id + 100;
        }
        let (added, before) = (rules.apply(&mut payload, Maker::Tracer).added, spans.len());
        assert_eq!(payload.chunks.iter().map(|chunk| chunk.spans.len()).sum::<usize>(), before + added as usize);
        let tell = |span: &Span| {
            assert_eq!(span.trace_id, 9);
            format!("{} {}<{}", payload.texts.str(span.name), span.span_id, span.parent_id)
        };
        payload.spans.iter().map(tell).collect()
    }

    const COLD: Case = ("aws.lambda", "f", "f", &[("cold_start", "true")], &[]);
    const WARM: Case = ("aws.lambda", "f", "f", &[("cold_start", "false")], &[]);
    const LOAD: Case = ("aws.lambda.load", "f", "f", &[], &[]);

    #[test]
    fn the_beginning_joins_the_first_invocation_once() {
        let mut rules = begun();
        assert_eq!(family(&mut rules, &[WARM]), ["aws.lambda 1<101"]);
        assert_eq!(family(&mut rules, &[COLD]), ["aws.lambda 1<101", "aws.lambda.cold_start 77<101"]);
        assert_eq!(family(&mut rules, &[COLD]), ["aws.lambda 1<101"]);
        assert_eq!(family(&mut super::tests::rules(), &[COLD, LOAD]), ["aws.lambda 1<101", "aws.lambda.load 2<102"]);
    }

    #[test]
    fn what_was_loaded_is_part_of_the_beginning() {
        let both = ["aws.lambda 1<101", "aws.lambda.load 2<77", "aws.lambda.cold_start 77<102"];
        assert_eq!(family(&mut begun(), &[COLD, LOAD]), both);
        let mut rules = begun();
        family(&mut rules, &[COLD]);
        assert_eq!(family(&mut rules, &[LOAD]), ["aws.lambda.load 1<77"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rules = rules();
        let long = "x".repeat(PLACEHOLDER_BYTES_MAX);
        rules.apply(&mut payload(&[&[("handle", PLACEHOLDER, "", &[("a", &long)], &[])]]), Maker::Tracer);
        assert!(rules.placeholders.is_empty());
        for _ in 0..2 * PLACEHOLDERS_MAX {
            rules.apply(&mut payload(&[&[("handle", PLACEHOLDER, "", &[], &[])]]), Maker::Tracer);
        }
        assert_eq!(rules.placeholders.len(), PLACEHOLDERS_MAX);
    }
}
