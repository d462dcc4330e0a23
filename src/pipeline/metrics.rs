//! Points of metrics, events and service checks from datagrams to bodies: parse, aggregate, encode.
//!
//! Points wait for the end of their ten seconds and then leave at once; a flush, which ends an invocation, takes what the open bucket has.
//! An event is a body of its own and leaves at once; results of checks wait for others. A record of the ledger is one value of a line,
//! an event, a check, or a line that is nothing, which counts as a metric. Until a parcel is parsed its claim stands for one record a
//! datagram, since only parsing tells how many there are.

mod bad_lines;
mod bodies;
mod dated;
mod gauges;

use crate::decode::dogstatsd;
use crate::decode::dogstatsd::LineKind;
use crate::decode::dogstatsd::Lines;
use crate::decode::dogstatsd::Parser;
use crate::decode::dogstatsd::Tally;
use crate::decode::dogstatsd::events;
use crate::encode::checks;
use crate::encode::checks::Place;
use crate::encode::series;
use crate::model::invocation::Point;
use crate::model::metrics_item::Datagrams;
use crate::pipeline::Stage;
use crate::pipeline::metrics::bad_lines::BadLines;
use crate::pipeline::metrics::bodies::Bodies;
use crate::pipeline::metrics::dated::Dated;
use crate::pipeline::metrics::gauges::Gauges;
use crate::process::metrics as rules;
use crate::process::metrics::Aggregator;
use crate::process::metrics::Close;
use crate::process::metrics::Counts;
use crate::process::metrics::Moment;
use crate::process::metrics::Outgoing;
use crate::process::metrics::tags;
use crate::spool::Queue;
use crate::sys::clock::Now;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::spares;
use crate::sys::spares::Spares;
use std::sync::Arc;
use std::time::Duration;

pub use crate::model::metrics_item::MetricsItem;
pub use series::Origin;

/// How long results of checks wait for others to share a body with.
const CHECKS_WAIT: Duration = Duration::from_secs(5);

/// The pipeline's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done with points.
    pub rules: rules::Settings,
    /// Tags of points of the machine, as `key:value` or words.
    pub host_tags: Vec<String>,
    /// Bytes of a body before compression, at most what the intake takes.
    pub body_bytes_max: usize,
    /// 0 to 9.
    pub compression_level: u32,
    /// What the backend is told of where metrics come from.
    pub origin: Option<Origin>,
}

/// The queues that bodies are put into.
#[derive(Clone, Debug)]
pub struct Queues {
    /// For series.
    pub series: Arc<Queue>,
    /// For sketches.
    pub sketches: Arc<Queue>,
    /// For events.
    pub events: Arc<Queue>,
    /// For service checks.
    pub checks: Arc<Queue>,
}

/// The stage.
#[derive(Debug)]
pub struct MetricsStage {
    rules: rules::Settings,
    parser: Parser,
    aggregator: Aggregator,
    bodies: Bodies,
    bad_lines: BadLines,
    dated: Dated,
    gauges: Gauges,
    host_tags: Vec<String>,
    checks: Option<Checks>,
    spares: Spares<Datagrams>,
    ledger: Arc<Ledger>,
}

/// Buffers that are kept for sources: as many as are under way when both sides are busy, of the size that a source fills.
const SPARES: spares::Limits = spares::Limits { items_max: 4, item_bytes_max: 128 * 1024, bytes_max: 512 * 1024 };

/// Results of checks as JSON, without the bracket at the end.
#[derive(Debug)]
struct Checks {
    json: Vec<u8>,
    claim: Claim,
    due: Duration,
}

impl MetricsStage {
    /// A stage that puts bodies into `queues`.
    pub fn new(settings: Settings, queues: Queues, ledger: Arc<Ledger>) -> MetricsStage {
        MetricsStage {
            parser: Parser::default(),
            aggregator: Aggregator::new(settings.rules.clone()),
            rules: settings.rules.clone(),
            bodies: Bodies::new(&settings, queues, ledger.accept(Signal::Metrics, 0)),
            bad_lines: BadLines::default(),
            dated: Dated::default(),
            gauges: Gauges::default(),
            host_tags: settings.host_tags,
            checks: None,
            spares: Spares::new(SPARES),
            ledger,
        }
    }

    /// Buffers of datagrams that it is done with, for sources to fill again.
    pub fn spares(&self) -> Spares<Datagrams> {
        self.spares.clone()
    }

    fn take_datagrams(&mut self, datagrams: &Datagrams, now: Now) {
        self.close(Close::Over, now);
        self.aggregator.open(moment(now));
        let mut malformed = 0;
        for datagram in datagrams.iter() {
            for line in Lines::new(datagram) {
                match LineKind::of(line) {
                    LineKind::Metric => match self.parser.metric(line) {
                        Ok(metric) => self.aggregator.add(&metric),
                        Err(error) => {
                            malformed += 1;
                            self.bad_lines.add(error, line);
                        }
                    },
                    LineKind::Event => self.take_event(line, now),
                    LineKind::Check => self.take_check(line, now),
                }
            }
            // Two bytes of a packed line may become a point of 32, so they must not add up through all datagrams.
            if self.aggregator.has_much_own_time() {
                self.book(std::mem::take(&mut malformed));
                let bodies = &mut self.bodies;
                self.aggregator.send_own_time(moment(now), &mut |outgoing, points| bodies.add(outgoing, points));
                self.bodies.send();
            }
        }
        self.book(malformed);
        self.bad_lines.tell(now.uptime);
    }

    /// Books what the aggregator has taken since the last call, and lines that are nothing.
    fn book(&mut self, malformed: u64) {
        let Counts { held, filtered, malformed: not_finite, limited } = self.aggregator.take_counts();
        let mut claim = self.ledger.accept(Signal::Metrics, held + filtered + malformed + not_finite + limited);
        claim.drop_some(malformed + not_finite, Reason::Malformed);
        claim.drop_some(filtered, Reason::Filtered);
        claim.drop_some(limited, Reason::ContextLimit);
        self.bodies.hold(claim);
    }

    fn take_event(&mut self, line: &[u8], now: Now) {
        let claim = self.ledger.accept(Signal::Events, 1);
        match events::event(line) {
            Ok(event) => {
                let cleaned = tags::clean(event.tags, &[], &self.rules.global_tags);
                let place = Place { host: self.host(cleaned.host.as_deref()), now: seconds(now), tags: &cleaned.joined };
                let mut json = Vec::new();
                checks::event(&mut json, &event, &place);
                self.bodies.send_event(json, claim);
            }
            Err(error) => {
                claim.drop_all(Reason::Malformed);
                self.bad_lines.add(error, line);
            }
        }
    }

    fn take_check(&mut self, line: &[u8], now: Now) {
        let mut claim = self.ledger.accept(Signal::Checks, 1);
        match events::check(line) {
            Ok(check) => {
                let cleaned = tags::clean(check.tags, &[], &self.rules.global_tags);
                let place = Place { host: self.host(cleaned.host.as_deref()), now: seconds(now), tags: &cleaned.joined };
                let mut json = Vec::new();
                checks::check(&mut json, &check, &place);
                let waiting = self.checks.as_ref().map_or(0, |checks| checks.json.len());
                if checks::BODY_BYTES_MAX < waiting + json.len() + "[]".len() {
                    self.send_checks();
                }
                let due = now.uptime + CHECKS_WAIT;
                let checks = self.checks.get_or_insert_with(|| Checks { json: Vec::new(), claim: claim.split(0), due });
                checks.json.push(if checks.json.is_empty() { b'[' } else { b',' });
                checks.json.extend_from_slice(&json);
                checks.claim.merge(claim);
            }
            Err(error) => {
                claim.drop_all(Reason::Malformed);
                self.bad_lines.add(error, line);
            }
        }
    }

    /// The host of what names none in a field of its own.
    fn host<'a>(&'a self, tag: Option<&'a str>) -> &'a str {
        tag.filter(|_| self.rules.host_tag).unwrap_or(&self.rules.hostname)
    }

    fn send_checks(&mut self) {
        if let Some(Checks { mut json, claim, .. }) = self.checks.take() {
            json.push(b']');
            self.bodies.send_checks(&json, claim);
        }
    }

    /// Points that have a time of their own.
    fn take_points(&mut self, points: Vec<Point>, mut claim: Claim, now: Now) {
        claim.drop_some(self.dated.add(points, now.uptime), Reason::Malformed);
        self.bodies.hold(claim);
        if self.dated.is_full() {
            self.send_dated();
            self.bodies.send();
        }
    }

    fn send_dated(&mut self) {
        let bodies = &mut self.bodies;
        self.dated.take(&mut |labels, seconds, sketch| bodies.add(Outgoing::Sketch(labels, seconds, sketch), sketch.count));
    }

    fn set_tags(&mut self, all: Vec<String>, of_points: Vec<String>, now: Now) {
        self.close(Close::Final, now);
        self.rules.global_tags.clone_from(&all);
        self.aggregator.set_global_tags(all);
        self.dated.tags = of_points;
    }

    fn close(&mut self, close: Close, now: Now) {
        let (bodies, mut leaves) = (&mut self.bodies, close != Close::Over);
        self.aggregator.close(close, moment(now), &mut |outgoing, points| {
            leaves = true;
            bodies.add(outgoing, points);
        });
        if leaves || self.gauges.due().is_some_and(|due| due <= now.uptime) {
            self.gauges.take(&self.rules.hostname, &self.host_tags, &mut self.bodies);
        }
        self.bodies.send();
    }
}

fn moment(now: Now) -> Moment {
    Moment { unix: now.unix, uptime: now.uptime }
}

fn seconds(now: Now) -> i64 {
    now.unix.as_secs() as i64
}

impl Stage for MetricsStage {
    type Item = MetricsItem;

    fn take(&mut self, parcel: Parcel<MetricsItem>, now: Now) {
        let Parcel { item, claim, permit } = parcel;
        match item {
            MetricsItem::Datagrams(mut datagrams) => {
                self.take_datagrams(&datagrams, now);
                datagrams.clear();
                let bytes = datagrams.memory_bytes();
                self.spares.give(datagrams, bytes);
            }
            MetricsItem::Points(points) => return self.take_points(points, claim, now),
            MetricsItem::Gauges(gauges, unix_s) => {
                self.bodies.hold(claim);
                return self.gauges.add(gauges, unix_s, permit, now.uptime);
            }
            MetricsItem::Tags(all, of_points) => self.set_tags(all, of_points, now),
            MetricsItem::Contexts(take) => take(self.aggregator.seen()),
        }
        // What is really in the datagrams has been accepted in their place.
        claim.refuse();
        drop(permit);
    }

    fn due(&self) -> Option<Duration> {
        let checks = self.checks.as_ref().map(|checks| checks.due);
        self.aggregator.due().into_iter().chain(checks).chain(self.dated.due()).chain(self.gauges.due()).min()
    }

    fn on_due(&mut self, now: Now) {
        self.close(Close::Over, now);
        self.spares.clear(); // under load they are there again at once
        if self.dated.due().is_some_and(|due| due <= now.uptime) {
            self.send_dated();
            self.bodies.send();
        }
        if self.checks.as_ref().is_some_and(|checks| checks.due <= now.uptime) {
            self.send_checks();
        }
        self.bad_lines.tell(now.uptime);
    }

    fn flush(&mut self, now: Now) {
        self.send_dated();
        self.close(Close::Open, now);
        self.send_checks();
    }

    fn finish(&mut self, now: Now) {
        self.send_dated();
        self.close(Close::Final, now);
        self.send_checks();
    }

    fn give_up(&mut self, parcel: Parcel<MetricsItem>) {
        let MetricsItem::Datagrams(datagrams) = parcel.item else { return parcel.claim.drop_all(Reason::Shutdown) };
        let Tally { metrics, events, checks } = dogstatsd::tally(&datagrams);
        let parts = [(Signal::Metrics, metrics), (Signal::Events, events), (Signal::Checks, checks)];
        parcel.claim.drop_as(&parts, Reason::Shutdown);
    }
}

#[cfg(test)]
mod tests;
