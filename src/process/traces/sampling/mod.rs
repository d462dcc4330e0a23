//! Which traces go on and which do not, once statistics have counted them all. Off unless the user asks for it: then everything goes
//! on, and nothing here is even made.
//!
//! ```text
//! user drop (-1)      does not go on                           user keep (2)   goes on
//! rare                goes on, at most 5 a second              if turned on
//! probabilistic       a fixed share of all traces              if turned on; then the tracer's own rates do not count
//! with a priority     as the tracer decided, which is told how much each of its services is to keep
//! without             at most `target_tps` a second, shared out among kinds of traces
//! error               what was not kept so far, at most `error_tps` a second
//! single spans        of what does not go on: those that the tracer marked with `_dd.span_sampling.mechanism`
//! ```
//! Memory: what each sampler says of itself; 0.8 MB in all at worst. Source: reference agent 7.80, pkg/trace/agent and
//! pkg/trace/sampler. Where it was not followed:
//!
//! ```text
//! what                              reference 7.80                     here
//! user drop and keep,               sampled like all others            dropped and kept
//!   with the probabilistic sampler
//! user drop                         may count as seen for the rare     is not looked at
//! upper half of a v0.x trace's id   looked for at the root             at all spans, the root first
//! analytics events (`_dd.analyzed`) of dropped traces are kept         are dropped
//! hashes of signatures              32 bits                            64
//! services with rates of their own  5000                               1000
//! ```

use crate::model::rates::Rate;
use crate::model::trace::Chunk;
use crate::model::trace::PRIORITY_NONE;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::TracePayload;
use crate::process::stats;
use crate::process::traces::sampling::feedback::Feedback;
use crate::process::traces::sampling::marks::Marks;
use crate::process::traces::sampling::rare::Rare;
use crate::process::traces::set_decision_maker;
use std::cmp::Ordering;
use std::time::Duration;

pub mod feedback;
pub mod marks;
pub mod probabilistic;
pub mod rare;
pub mod signature;

/// The tracer or its user decided against the trace by hand.
const USER_DROP: i32 = -1;

/// A sampler decided for the trace.
const AUTO_KEEP: i32 = 1;

/// The user decided for the trace.
const USER_KEEP: i32 = 2;

/// Rows for services; half of them, before they share, are told rates of their own.
const SERVICES_ROWS_MAX: usize = 2_000;

/// Kinds of traces that share a target.
const KINDS_ROWS_MAX: usize = 200;

/// The metric by which tracers mark spans that are kept whatever happens to their trace.
const SINGLE_SPAN: &str = "_dd.span_sampling.mechanism";

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Who chooses.
    pub by: By,
    /// Traces with errors a second that are kept of those that would be dropped.
    pub error_tps: f64,
    /// Keep what was not seen for a while.
    pub rare: bool,
    /// Environment of tracers that name none.
    pub env: String,
    /// Only what a user dropped by hand is dropped before the samplers see it, and not what a tracer's rule dropped.
    pub samples_rule_drops: bool,
}

/// Who chooses among the traces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    /// Tracers, by rates that follow from their traffic and this many traces a second.
    TargetTps(f64),
    /// A hash of the trace's id.
    Hash(probabilistic::Settings),
}

impl Settings {
    /// Traces a second that are aimed at; 0 for none in particular.
    pub fn target_tps(&self) -> f64 {
        match self.by {
            By::TargetTps(target_tps) => target_tps,
            By::Hash(_) => 0.0,
        }
    }
}

/// The samplers that are on.
#[derive(Debug)]
pub struct Samplers {
    settings: Settings,
    priority: Feedback,
    no_priority: Feedback,
    errors: Feedback,
    rare: Option<Rare>,
    has_new_rates: bool,
}

impl Samplers {
    /// Samplers that have seen nothing yet.
    pub fn new(settings: Settings) -> Samplers {
        Samplers {
            priority: Feedback::new(settings.target_tps(), SERVICES_ROWS_MAX),
            no_priority: Feedback::new(settings.target_tps(), KINDS_ROWS_MAX),
            errors: Feedback::new(settings.error_tps, KINDS_ROWS_MAX),
            rare: settings.rare.then(Rare::default),
            has_new_rates: false,
            settings,
        }
    }

    /// Takes out of the payload what does not go on; the answer is how many spans that were.
    pub fn sample(&mut self, payload: &mut TracePayload, uptime: Duration) -> u64 {
        let mut marks = Marks::new(payload);
        // What the tracer dropped by itself counts as well, in equal parts with each trace that it sent.
        let dropped_by_tracer = payload.tracer.dropped_p0_traces as f32 / payload.chunks.len().max(1) as f32;
        let mut dropped = 0;
        for chunk in 0..payload.chunks.len() {
            if self.keeps(payload, chunk, &mut marks, dropped_by_tracer, uptime) {
                payload.chunks[chunk].dropped_trace = false;
            } else {
                dropped += keep_single_spans(payload, chunk);
            }
        }
        if 0 < dropped {
            payload.chunks.retain(|chunk| !chunk.spans.is_empty());
        }
        dropped
    }

    fn keeps(
        &mut self,
        payload: &mut TracePayload,
        chunk: usize,
        marks: &mut Marks,
        dropped_by_tracer: f32,
        uptime: Duration,
    ) -> bool {
        let Chunk { priority, spans, root, .. } = payload.chunks[chunk];
        if priority < 0 && priority != PRIORITY_NONE && self.drops_at_once(payload, chunk) {
            return false;
        }
        let is_rare = self.rare.as_mut().is_some_and(|rare| rare.sample(payload, spans, marks, uptime));
        let root = root as usize;
        match self.settings.by {
            By::Hash(_) if USER_KEEP <= priority => true,
            By::Hash(share) => {
                let by_hash = !is_rare && share.keeps(payload, spans, &payload.spans[root]);
                if by_hash {
                    marks.set(payload, root, "_dd.prob_sr", share.rate());
                    set_decision_maker(payload, chunk, "-9");
                }
                let keeps = is_rare || by_hash || self.keeps_error(payload, spans, root, marks, uptime);
                payload.chunks[chunk].priority = if keeps { AUTO_KEEP } else { 0 };
                keeps
            }
            By::TargetTps(_) => {
                is_rare
                    || match priority {
                        PRIORITY_NONE => {
                            let signature = signature::of_trace(payload, spans, &payload.spans[root], &payload.tracer.env);
                            choose(&mut self.no_priority, signature, payload, root, "_dd.no_p_sr", marks, uptime)
                        }
                        priority => self.keeps_as_decided(payload, priority, root, marks, dropped_by_tracer, uptime),
                    }
                    || self.keeps_error(payload, spans, root, marks, uptime)
            }
        }
    }

    fn drops_at_once(&self, payload: &TracePayload, chunk: usize) -> bool {
        let Chunk { priority, tags, .. } = payload.chunks[chunk];
        let by_hand = || payload.tag(tags, "_dd.p.dm").is_some_and(|maker| payload.texts.is(maker, "-4"));
        !self.settings.samples_rule_drops || (priority == USER_DROP && by_hand())
    }

    /// The tracer has decided. Where it did so by a rate of ours, the trace counts for the next one.
    fn keeps_as_decided(
        &mut self,
        payload: &mut TracePayload,
        priority: i32,
        root: usize,
        marks: &mut Marks,
        dropped_by_tracer: f32,
        uptime: Duration,
    ) -> bool {
        if !(0..=AUTO_KEEP).contains(&priority) {
            return AUTO_KEEP < priority;
        }
        let span = payload.spans[root];
        let service = payload.texts.bytes(span.service);
        let env = if payload.tracer.env.is_empty() { &self.settings.env } else { &payload.tracer.env };
        let own = signature::of_service(service, env.as_bytes());
        let signature = self.priority.fold(own);
        let weight = stats::weight(payload, &span) as f32 + dropped_by_tracer;
        let (row, has_new_rates) = self.priority.count(signature, weight, uptime);
        if signature == own && row.name.is_none() {
            row.name = Some(Box::new((payload.texts.str(span.service).to_owned(), env.clone())));
        }
        self.has_new_rates |= has_new_rates;
        let keeps = priority == AUTO_KEEP;
        if keeps && span.parent_id == 0 {
            // Tracers of today say by which rate they kept it; older ones do not.
            let has = |key| payload.metric(span.metrics, key).is_some();
            if !["_dd.agent_psr", "_dd.rule_psr", OLD_RATE].into_iter().any(has) {
                marks.set(payload, root, OLD_RATE, self.priority.rate(signature));
            }
        }
        keeps
    }

    fn keeps_error(
        &mut self,
        payload: &mut TracePayload,
        spans: Slice,
        root: usize,
        marks: &mut Marks,
        uptime: Duration,
    ) -> bool {
        let has_error = payload.spans[spans.range()].iter().any(|span| span.error != 0);
        if !has_error || self.settings.error_tps <= 0.0 {
            return false;
        }
        let signature = signature::of_trace(payload, spans, &payload.spans[root], &payload.tracer.env);
        choose(&mut self.errors, signature, payload, root, "_dd.errors_sr", marks, uptime)
    }

    /// What tracers are to be told, if it was computed anew since this was last asked. Those that name no environment share the rate
    /// of the agent's.
    pub fn take_new_rates(&mut self) -> Option<Vec<Rate>> {
        if !std::mem::take(&mut self.has_new_rates) {
            return None;
        }
        let mut rates = Vec::new();
        for ((service, env), rate) in self.priority.named() {
            let mut push = |env: &str| rates.push(Rate { service: service.clone(), env: env.to_owned(), rate });
            push(env);
            if *env == self.settings.env {
                push("");
            }
        }
        rates.retain(|rate| !(rate.service.is_empty() && rate.env.is_empty()));
        rates.push(Rate { service: String::new(), env: String::new(), rate: self.priority.default_rate() });
        rates.sort_unstable_by(|one, other| (&one.service, &one.env).cmp(&(&other.service, &other.env)));
        Some(rates)
    }
}

/// The name under which the rate stands that older tracers do not tell.
const OLD_RATE: &str = "_sampling_priority_rate_v1";

/// Counts a trace of this kind, and keeps it by its id and the rate that is due to its kind; then the rate is left on the root.
fn choose(
    kinds: &mut Feedback,
    signature: u64,
    payload: &mut TracePayload,
    root: usize,
    mark: &'static str,
    marks: &mut Marks,
    uptime: Duration,
) -> bool {
    let span: Span = payload.spans[root];
    let signature = kinds.fold(signature);
    kinds.count(signature, stats::weight(payload, &span) as f32, uptime);
    let rate = kinds.rate(signature);
    let rate_of_tracer = payload.metric(span.metrics, "_sample_rate").unwrap_or(1.0);
    let keeps = is_chosen(span.trace_id, rate_of_tracer * rate);
    if keeps {
        marks.set(payload, root, mark, rate);
    }
    keeps
}

/// The rule of tracers and agents: an id that is kept at one rate is kept at every higher one. A rate that is no number keeps all.
pub fn is_chosen(trace_id: u64, rate: f64) -> bool {
    const FACTOR: u64 = 1_111_111_111_111_111_111;
    match rate.partial_cmp(&1.0) {
        Some(Ordering::Less) => trace_id.wrapping_mul(FACTOR) < (rate * u64::MAX as f64) as u64,
        _ => true,
    }
}

/// Of a trace that does not go on, the spans that the tracer marked do; the answer is how many others there were. The backend is told
/// that they are to be kept.
fn keep_single_spans(payload: &mut TracePayload, chunk: usize) -> u64 {
    let spans = payload.chunks[chunk].spans;
    let mut end = spans.range().start;
    for index in spans.range() {
        if payload.metric(payload.spans[index].metrics, SINGLE_SPAN).is_some() {
            payload.spans.swap(end, index);
            end += 1;
        }
    }
    let kept = Slice::since(spans.range().start, end);
    let chunk = &mut payload.chunks[chunk];
    chunk.spans = if kept.is_empty() { Slice::default() } else { kept };
    chunk.root = spans.range().start as u32;
    (chunk.priority, chunk.dropped_trace) = (USER_KEEP, false);
    (spans.len() - kept.len()) as u64
}

#[cfg(test)]
mod tests;
