//! Keeps traces whose like was not seen for five minutes: the first with a combination of environment, service, name, resource,
//! error and status at a top-level or measured span. At most five a second, with a burst of fifty.
//!
//! Memory: at most [`SEEN_MAX`] combinations, some 300 KB; when they are taken, nothing more is rare until some are old. A service
//! whose resources never repeat gets 200 of them, beyond which its resources share places, so that it does not use up what others
//! may have. Source: reference agent 7.80, pkg/trace/sampler/rare_sampler.go.

use crate::model::trace::Slice;
use crate::model::trace::TracePayload;
use crate::process::traces::sampling::marks::Marks;
use crate::process::traces::sampling::signature;
use crate::process::traces::sampling::signature::Resource;
use std::collections::HashMap;
use std::time::Duration;

/// How long a combination counts as seen.
const COOLDOWN_S: u64 = 5 * 60;

/// A combination that is seen again is remembered anew after so long.
const RENEWAL_S: u64 = 60;

/// Combinations of one service before its resources share places.
const OF_SERVICE_MAX: u64 = 200;

/// Combinations in all.
const SEEN_MAX: usize = 8_192;

const TPS: f64 = 5.0;
const BURST: f64 = 50.0;

/// What was seen.
#[derive(Debug)]
pub struct Rare {
    /// Service above, combination below, 32 bits each; the second until which it counts as seen.
    until: HashMap<u64, u64>,
    /// How many combinations a service has.
    of_service: HashMap<u64, u64>,
    forgotten_at: u64,
    tokens: f64,
    filled_at: Duration,
}

impl Default for Rare {
    /// Nothing was seen yet.
    fn default() -> Rare {
        let (until, of_service) = (HashMap::new(), HashMap::new());
        Rare { until, of_service, forgotten_at: 0, tokens: BURST, filled_at: Duration::ZERO }
    }
}

impl Rare {
    /// Whether one of these spans is rare, which is then marked, and remembers all of them.
    pub fn sample(&mut self, payload: &mut TracePayload, spans: Slice, marks: &mut Marks, uptime: Duration) -> bool {
        let now = uptime.as_secs();
        for span in spans.range() {
            if !is_counted(payload, span) {
                continue;
            }
            let key = self.key(payload, span);
            let is_seen = self.until.get(&key).is_some_and(|until| now <= *until);
            if is_seen || !self.has_room(now) || !self.take_token(uptime) {
                continue;
            }
            marks.set(payload, span, "_dd.rare", 1.0);
            for other in spans.range().filter(|other| is_counted(payload, *other)) {
                let key = self.key(payload, other);
                self.remember(key, now);
            }
            return true;
        }
        false
    }

    fn key(&self, payload: &TracePayload, span: usize) -> u64 {
        let span = &payload.spans[span];
        let env = &payload.tracer.env;
        let service = signature::of_service(payload.texts.bytes(span.service), env.as_bytes()) >> 32;
        let combination = signature::of_span(payload, span, "", Resource::Counts) >> 32;
        let key = (service << 32) | combination;
        let is_crowded = self.of_service.get(&service).is_some_and(|count| OF_SERVICE_MAX <= *count);
        if is_crowded && !self.until.contains_key(&key) { (service << 32) | (combination % OF_SERVICE_MAX) } else { key }
    }

    fn remember(&mut self, key: u64, now: u64) {
        let (until, has_room) = (now + COOLDOWN_S, self.until.len() < SEEN_MAX);
        match self.until.get_mut(&key) {
            Some(known) if until - *known < RENEWAL_S => {}
            Some(known) => *known = until,
            None if has_room => {
                self.until.insert(key, until);
                *self.of_service.entry(key >> 32).or_default() += 1;
            }
            None => {}
        }
    }

    /// Looks for old combinations once a minute at most, as that takes a walk over all.
    fn has_room(&mut self, now: u64) -> bool {
        if self.until.len() == SEEN_MAX && self.forgotten_at + RENEWAL_S <= now {
            self.forgotten_at = now;
            self.until.retain(|_, until| now <= *until);
            self.of_service.clear();
            for key in self.until.keys() {
                *self.of_service.entry(key >> 32).or_default() += 1;
            }
        }
        self.until.len() < SEEN_MAX
    }

    fn take_token(&mut self, uptime: Duration) -> bool {
        self.tokens = (self.tokens + uptime.saturating_sub(self.filled_at).as_secs_f64() * TPS).min(BURST);
        self.filled_at = uptime;
        let has_one = 1.0 <= self.tokens;
        self.tokens -= f64::from(u8::from(has_one));
        has_one
    }

    /// How many combinations are remembered.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.until.len()
    }
}

fn is_counted(payload: &TracePayload, span: usize) -> bool {
    let span = &payload.spans[span];
    span.top_level || payload.metric(span.metrics, "_dd.measured") == Some(1.0)
}
