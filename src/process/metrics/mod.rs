//! Points of metrics: contexts, ten seconds of each, and what is made of them.
//!
//! A bucket is ten seconds of wall-clock time, from a multiple of ten on; it ends when these are over by either clock. Its points have its
//! start as their time. A forced flush, at the end of an invocation, sends what an open bucket has so far. The backend keeps the last of
//! two points of one series with the same second, so what comes later in the same bucket gets the next second: bucket 20 that was flushed
//! once has points at 20 and 21. Sums over ten seconds stay right, and no time lies outside of the bucket. There are nine such flushes;
//! a tenth leaves the points to wait for the bucket's end. (The Agent's forced flush and Datadog's extension give both parts the bucket's
//! start, so that of a count only the later part stays. Source: pkg/aggregator/time_sampler.go, and serverless-components,
//! crates/dogstatsd/src/metric.rs.)
//!
//! No number that leaves is infinite or none. The Agent drops values that are (pkg/metrics), but its sums may become so; here a value with
//! which a sum would is dropped and counted as malformed, so what was summed up before still leaves.
//!
//! Counts are sent as counts, not divided by ten as the Agent does outside of Lambda: a rate of a process that was frozen is wrong. No
//! zeros are sent after the last point.

mod contexts;
pub mod histogram;
mod index;
pub mod mapper;
pub mod sketch;
mod slot;
pub mod tags;

use crate::model::metric::Metric;
use crate::model::metric::MetricKind;
use crate::model::metric::Values;
use crate::model::metrics_item::ContextSeen;
use crate::model::series::Labels;
use crate::model::series::Series;
use crate::model::series::SeriesKind;
use crate::model::series::Sketch;
use crate::process::metrics::contexts::Context;
use crate::process::metrics::contexts::Contexts;
use crate::process::metrics::contexts::Target;
use crate::process::metrics::histogram::Aggregates;
use crate::process::metrics::index::Hasher;
use crate::process::metrics::mapper::Mapper;
use crate::process::metrics::sketch::Growth;
use crate::process::metrics::slot::Slot;
use std::time::Duration;

/// Seconds of a bucket.
const BUCKET: i64 = 10;

/// Points with a time of their own that wait for others; more leave at once.
const OWN_TIME_MAX: usize = 4096;

/// The intake takes points up to ten minutes ahead.
const AHEAD_MAX: i64 = 600;

/// What is done with points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Host of points whose client names none; empty inside Lambda.
    pub hostname: String,
    /// Whether tag `host:` sets the host. Inside Lambda it only goes.
    pub host_tag: bool,
    /// Tags added to everything, as `key:value` or words.
    pub global_tags: Vec<String>,
    /// Put before names, with its dot; may be empty.
    pub namespace: String,
    /// Beginnings of names that stay without it.
    pub namespace_blocklist: Vec<String>,
    /// Names, namespace included, that do not go on.
    pub blocklist: Vec<String>,
    /// Those are beginnings of names.
    pub blocklist_match_prefix: bool,
    /// How names become others, and tags.
    pub mapper: Mapper,
    /// What becomes of histograms.
    pub aggregates: Aggregates,
    /// Contexts at one time; 0 for as many as memory allows.
    pub contexts_max: usize,
    /// Memory for contexts and what is held of their points.
    pub bytes_max: usize,
    /// After so long without a point a context is forgotten.
    pub expiry: Duration,
    /// Points with a time of their own go on as they are; otherwise that time is ignored.
    pub timestamps: bool,
    /// Any number, so that nobody outside can choose texts that fall together in a table.
    pub seed: u64,
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The wall clock.
    pub unix: Duration,
    /// Never goes back.
    pub uptime: Duration,
}

/// What became of points that were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They will be part of what leaves.
    pub held: u64,
    /// The user does not want them.
    pub filtered: u64,
    /// Neither finite nor members of a set, or a sum would not be finite with them.
    pub malformed: u64,
    /// Their context, or their member of a set, is one too many.
    pub limited: u64,
}

/// How a bucket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// If it is over.
    Over,
    /// Though it may be open, as long as points that follow can have a time of their own.
    Open,
    /// Whatever comes.
    Final,
}

/// Something to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outgoing<'a> {
    /// Numbers.
    Series(Series<'a>),
    /// A sketch with its time in Unix seconds.
    Sketch(Labels<'a>, i64, &'a Sketch),
    /// Nothing is to be sent of them: all parts of a histogram are switched off.
    Nothing,
}

/// Takes what leaves, and how many points it settles.
pub type Outlet<'o> = dyn FnMut(Outgoing<'_>, u64) + 'o;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    start: i64,
    /// How often points of it have left.
    flushes: i64,
    over_at: Duration,
}

#[derive(Clone, Copy, Debug)]
struct OwnTime {
    context: u32,
    kind: SeriesKind,
    timestamp: i64,
    value: f64,
}

/// The open bucket of all contexts.
#[derive(Debug)]
pub struct Aggregator {
    settings: Settings,
    contexts: Contexts,
    /// Bytes that points of the open bucket take.
    slot_bytes: usize,
    bucket: Option<Bucket>,
    last: Option<Bucket>,
    /// When all contexts are old if nothing comes any more.
    idle_at: Option<Duration>,
    own_time: Vec<OwnTime>,
    hasher: Hasher,
    counts: Counts,
    horizon: i64,
}

impl Aggregator {
    /// Without contexts.
    pub fn new(settings: Settings) -> Aggregator {
        Aggregator {
            contexts: Contexts::new(settings.seed),
            hasher: Hasher::new(settings.seed),
            settings,
            slot_bytes: 0,
            bucket: None,
            last: None,
            idle_at: None,
            own_time: Vec::new(),
            counts: Counts::default(),
            horizon: i64::MAX,
        }
    }

    /// From now on these tags are added to everything. The bucket must have been closed before: contexts are made anew.
    pub fn set_global_tags(&mut self, tags: Vec<String>) {
        self.contexts = Contexts::new(self.settings.seed);
        self.settings.global_tags = tags;
    }

    /// Must come before points are added: it says when they came. The bucket has to be one that is not over, so [`Self::close`] comes first.
    pub fn open(&mut self, now: Moment) {
        let unix = now.unix.as_secs() as i64;
        self.horizon = unix.saturating_add(AHEAD_MAX);
        if self.bucket.is_some() {
            return;
        }
        let start = unix - unix.rem_euclid(BUCKET);
        let over_at = now.uptime + Duration::from_secs((start + BUCKET) as u64).saturating_sub(now.unix);
        // After a flush, or when the clock was set back a little, it is opened a second time.
        let flushes = self.last.filter(|last| last.start == start).map_or(0, |last| last.flushes);
        self.bucket = Some(Bucket { start, flushes, over_at });
    }

    /// Adds the values of a line.
    #[inline(always)]
    pub fn add(&mut self, metric: &Metric<'_>) {
        let bytes_left = self.settings.bytes_max.saturating_sub(self.contexts.bytes() + self.slot_bytes);
        let at = match self.contexts.target(metric, &self.settings, bytes_left) {
            Target::Context(at) => at,
            Target::Filtered => return self.counts.filtered += metric.values.points(),
            Target::Limited => return self.counts.limited += metric.values.points(),
        };
        if let Some(timestamp) = metric.timestamp.filter(|_| self.settings.timestamps) {
            return self.add_own_time(metric, at, timestamp);
        }
        let growth = if 0 < bytes_left { Growth::Allowed } else { Growth::Refused };
        let context = self.contexts.get(at);
        if let Slot::Empty = context.slot {
            context.slot = Slot::new(metric.kind);
        }
        let one;
        let values = match metric.values {
            Values::One(value) => {
                one = [value];
                &one[..]
            }
            Values::Many(values) => values,
            Values::Text(member) => return self.add_member(at, member, growth),
        };
        for value in values {
            match context.slot.add(*value, metric.rate, growth) {
                Some(grown) => {
                    context.points += 1;
                    self.counts.held += 1;
                    self.slot_bytes += grown;
                }
                None if matches!(context.slot, Slot::Set(_)) && value.is_finite() => self.counts.limited += 1,
                None => self.counts.malformed += 1,
            }
        }
    }

    #[inline(never)]
    fn add_member(&mut self, at: u32, member: &[u8], growth: Growth) {
        let hash = self.hasher.hash(0, member);
        let context = self.contexts.get(at);
        match context.slot.add_member(hash, growth) {
            Some(grown) => {
                context.points += 1;
                self.counts.held += 1;
                self.slot_bytes += grown;
            }
            None if matches!(context.slot, Slot::Set(_)) => self.counts.limited += 1,
            // The bucket began with numbers.
            None => self.counts.malformed += 1,
        }
    }

    #[inline(never)]
    fn add_own_time(&mut self, metric: &Metric<'_>, context: u32, timestamp: i64) {
        let one = [match metric.values {
            Values::One(value) => value,
            _ => f64::NAN,
        }];
        let values = match metric.values {
            Values::Many(values) => values,
            _ => &one,
        };
        let is_count = metric.kind == MetricKind::Count;
        let factor = if is_count && 0.0 < metric.rate && metric.rate < 1.0 { 1.0 / metric.rate } else { 1.0 };
        let kind = if is_count { SeriesKind::Count } else { SeriesKind::Gauge };
        for value in values.iter().map(|value| value * factor) {
            if value.is_finite() {
                self.counts.held += 1;
                self.own_time.push(OwnTime { context, kind, timestamp: timestamp.min(self.horizon), value });
            } else {
                self.counts.malformed += 1;
            }
        }
    }

    /// What became of points since this was asked last.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// When the open bucket is over, or contexts are old if there is none, as uptime.
    pub fn due(&self) -> Option<Duration> {
        match self.bucket {
            Some(bucket) => Some(bucket.over_at),
            None => self.idle_at.filter(|_| 0 < self.contexts.len()),
        }
    }

    /// Whether points with a time of their own should leave without waiting for the bucket.
    pub fn has_much_own_time(&self) -> bool {
        OWN_TIME_MAX <= self.own_time.len()
    }

    /// Hands the open bucket to `outlet`, if `close` says so, and then forgets contexts that are old.
    pub fn close(&mut self, close: Close, now: Moment, outlet: &mut Outlet<'_>) {
        let Some(bucket) = self.bucket else { return self.expire(now) };
        let unix = now.unix.as_secs() as i64;
        // A clock that was set, or a process that was frozen, ends a bucket too.
        let is_over = bucket.over_at <= now.uptime || !(bucket.start..bucket.start + BUCKET).contains(&unix);
        if !is_over && (close == Close::Over || (close == Close::Open && BUCKET - 1 <= bucket.flushes)) {
            return;
        }
        self.send_own_time(now, outlet);
        let timestamp = bucket.start + bucket.flushes.min(BUCKET - 1);
        let mut any = false;
        for context in self.contexts.iter_mut() {
            if let Slot::Empty = context.slot {
                continue;
            }
            any |= 0 < context.points;
            send(context, timestamp, &self.settings, outlet);
            context.last_seen = bucket.start;
            context.last_uptime = now.uptime.as_secs();
        }
        self.slot_bytes = 0;
        self.last = Some(Bucket { flushes: bucket.flushes + i64::from(any), ..bucket });
        self.bucket = None;
        self.idle_at = Some(now.uptime + self.settings.expiry + Duration::from_secs(1));
        self.expire(now);
    }

    fn expire(&mut self, now: Moment) {
        self.contexts.expire(now.uptime.saturating_sub(self.settings.expiry).as_secs());
    }

    /// Hands points with a time of their own to `outlet`.
    pub fn send_own_time(&mut self, now: Moment, outlet: &mut Outlet<'_>) {
        let mut waiting = std::mem::take(&mut self.own_time);
        // Stable, so that of two points of the same second the later one stays the later.
        waiting.sort_by_key(|point| (point.context, point.kind == SeriesKind::Count));
        for group in waiting.chunk_by(|one, other| (one.context, one.kind) == (other.context, other.kind)) {
            let Some(OwnTime { context, kind, .. }) = group.first().copied() else { continue };
            let points: Vec<(i64, f64)> = group.iter().map(|point| (point.timestamp, point.value)).collect();
            let start = self.bucket.map_or(0, |bucket| bucket.start);
            let context = self.contexts.get(context);
            context.count += points.len() as u64;
            context.last_seen = start;
            context.last_uptime = now.uptime.as_secs();
            let labels = labels(context, &self.settings, "");
            let interval = if kind == SeriesKind::Count { BUCKET } else { 0 };
            outlet(Outgoing::Series(Series { labels, kind, interval, points: &points }), points.len() as u64);
        }
    }

    /// The contexts that are known.
    pub fn seen(&self) -> Vec<ContextSeen> {
        self.contexts.seen(self.bucket.map_or(0, |bucket| bucket.start))
    }

    /// How many they are.
    pub fn contexts(&self) -> usize {
        self.contexts.len()
    }

    /// Bytes that contexts and their points take.
    pub fn bytes(&self) -> usize {
        self.contexts.bytes() + self.slot_bytes
    }
}

fn labels<'a>(context: &'a Context, settings: &'a Settings, suffix: &'a str) -> Labels<'a> {
    let host = context.host.as_deref().unwrap_or(&settings.hostname);
    Labels { name: &context.name, suffix, host, tags: &context.tags }
}

/// Hands out what a context holds and empties it.
fn send(context: &mut Context, timestamp: i64, settings: &Settings, outlet: &mut Outlet<'_>) {
    let points = std::mem::take(&mut context.points);
    let slot = std::mem::take(&mut context.slot);
    context.count += points;
    if points == 0 {
        return;
    }
    let mut number = |suffix: &str, kind: SeriesKind, value: f64, settled: u64| {
        let interval = if kind == SeriesKind::Count { BUCKET } else { 0 };
        let labels = labels(context, settings, suffix);
        outlet(Outgoing::Series(Series { labels, kind, interval, points: &[(timestamp, value)] }), settled);
    };
    match slot {
        Slot::Empty => {}
        Slot::Count(sum) => number("", SeriesKind::Count, sum, points),
        Slot::Gauge(last) => number("", SeriesKind::Gauge, last, points),
        Slot::Set(members) => number("", SeriesKind::Gauge, members.len() as f64, points),
        Slot::Histogram(mut held) => {
            // The first part settles them all.
            let mut settles = points;
            held.parts(&settings.aggregates, &mut |suffix, value, is_count| {
                let kind = if is_count { SeriesKind::Count } else { SeriesKind::Gauge };
                number(suffix, kind, value, std::mem::take(&mut settles));
            });
            if 0 < settles {
                outlet(Outgoing::Nothing, settles);
            }
        }
        Slot::Sketch(held) => outlet(Outgoing::Sketch(labels(context, settings, ""), timestamp, &held), points),
    }
}

#[cfg(test)]
mod tests;
