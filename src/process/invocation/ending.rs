//! How an invocation ends: by `runtimeDone`, by its report, or with the sandbox; and the span that each of these owes.

use crate::model::invocation::Figures;
use crate::model::invocation::Outcome;
use crate::model::invocation::Status;
use crate::model::shown::Shown;
use crate::process::invocation::Effect;
use crate::process::invocation::FINISHED_MAX;
use crate::process::invocation::Invocations;
use crate::process::invocation::Open;
use crate::process::invocation::RootSpans;
use crate::process::invocation::root_span;
use crate::process::invocation::waiting::push_bounded;

impl Invocations {
    /// Nothing will come any more: makes the spans that are still owed. `reason` is that of the sandbox's end.
    pub fn finish(&mut self, reason: &str, random: &mut impl FnMut() -> u64) -> Vec<Effect> {
        let status = match reason {
            "timeout" => Status::Timeout,
            "failure" => Status::Failure,
            _ => Status::Unknown,
        };
        let mut effects = self.spans_of_evicted(random);
        let latest_ms = self.latest / 1_000_000;
        while let Some(mut open) = self.open.pop_front() {
            if let Some(metrics) = self.metrics.as_mut().filter(|_| !open.ended) {
                metrics.status(&mut open, &Outcome { status, ..Outcome::default() }, latest_ms);
                self.remembered.end_ms = latest_ms;
            }
            effects.extend(self.span_without_end(&mut open, status, random));
        }
        if let Some(metrics) = self.metrics.as_mut().filter(|_| !reason.is_empty()) {
            metrics.shut_down(!self.first_seen && self.remembered.coldstart_request_id.is_empty(), latest_ms);
        }
        effects
    }

    pub(super) fn runtime_done(&mut self, outcome: &Outcome, time_ms: i64, random: &mut impl FnMut() -> u64) -> Vec<Effect> {
        let at = self.entry(&outcome.request_id, time_ms * 1_000_000);
        if self.open[at].ended {
            return Vec::new(); // told twice
        }
        self.take_early_calls(&outcome.request_id);
        let mut open = std::mem::take(&mut self.open[at]);
        (open.ended, open.ended_at) = (true, time_ms * 1_000_000);
        open.outcome = Some(outcome.clone());
        if let Some(metrics) = &mut self.metrics {
            metrics.end_call(&mut open);
            metrics.ended(&mut open, outcome, time_ms);
            if metrics.status(&mut open, outcome, time_ms) {
                self.remembered.last_oom_request_id.clone_from(&outcome.request_id);
            }
        }
        let mut effects: Vec<Effect> = self.span_of(&mut open, random).into_iter().collect();
        self.open[at] = open;
        self.remembered.end_ms = self.latest / 1_000_000;
        effects.push(Effect::Ended { request_id: outcome.request_id.clone() });
        effects
    }

    /// The last word on an invocation; with managed instances the only one.
    pub(super) fn report(
        &mut self,
        outcome: &Outcome,
        figures: Option<&Figures>,
        time_ms: i64,
        random: &mut impl FnMut() -> u64,
    ) -> Vec<Effect> {
        let request_id = &outcome.request_id;
        if self.was_finished(request_id) {
            return Vec::new(); // reported before
        }
        self.take_early_calls(request_id);
        // Of two attempts of the same id the first one is reported first.
        let at = self.open.iter().position(|open| open.request_id == *request_id);
        let known = at.and_then(|at| self.open.remove(at));
        let is_known = known.is_some();
        let mut open = known.unwrap_or_else(|| self.of_another_process(request_id));
        if self.position(request_id).is_none() {
            push_bounded(&mut self.finished, (request_id.clone(), time_ms), FINISHED_MAX);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.end_call(&mut open);
            metrics.status(&mut open, outcome, time_ms);
            if metrics.reported(&mut open, outcome, figures, time_ms) {
                self.remembered.last_oom_request_id.clone_from(request_id);
            }
        }
        if open.ended || !is_known {
            return Vec::new();
        }
        open.outcome = Some(outcome.clone());
        let mut effects: Vec<Effect> = self.span_of(&mut open, random).into_iter().collect();
        effects.push(Effect::Ended { request_id: outcome.request_id.clone() });
        effects
    }

    /// The spans that are owed for invocations whose end was never told; they end at the latest time that is known.
    pub(super) fn spans_of_evicted(&mut self, random: &mut impl FnMut() -> u64) -> Vec<Effect> {
        let evicted = std::mem::take(&mut self.evicted);
        evicted.into_iter().filter_map(|mut open| self.span_without_end(&mut open, Status::Unknown, random)).collect()
    }

    fn span_without_end(&self, open: &mut Open, status: Status, random: &mut impl FnMut() -> u64) -> Option<Effect> {
        if open.outcome.is_none() {
            let duration_ms = open.begin().map(|begin| (self.latest - begin).max(0) as f64 / 1e6);
            let request_id = open.request_id.clone();
            open.outcome = Some(Outcome { request_id, status, duration_ms, ..Outcome::default() });
        }
        self.span_of(open, random)
    }

    fn span_of(&self, open: &mut Open, random: &mut impl FnMut() -> u64) -> Option<Effect> {
        let announced = open.start.is_some() || open.end.is_some();
        let wanted = self.settings.root_spans == RootSpans::Always || announced;
        if open.span_made || !wanted {
            return None;
        }
        open.span_made = true;
        let payload = root_span::make(open, &self.settings, self.latest, random);
        // What was to be seen is on the span, and is large.
        open.start.iter_mut().for_each(|call| call.shown = Shown::default());
        open.end.iter_mut().for_each(|call| call.shown = Shown::default());
        payload.map(|payload| Effect::Span(Box::new(payload)))
    }
}
