//! Spans from decoded requests to bodies: prepare, count for statistics, sample if that is on, encode, batch by whole chunks. Also the
//! bodies of statistics, its own and those that tracers have computed.
//!
//! The way of a span, in one pass and without an allocation of its own:
//!
//! ```text
//! request body ── decode ──> TracePayload ── rules ──> the same ── statistics, sampling ── count, write ──> gzip ──> body
//!  one buffer     Arena       texts: places in          edits in     read it                32 KiB pieces    streams   queue
//!                             that buffer               place
//! ```
//!
//! The request's buffer is kept as it came, and becomes the payload's first buffer of texts. A decoder walks it once; names and values
//! become positions in it (`model::texts`), and spans, tags, metrics, links and events each go into one vector of the payload, a span
//! holding ranges of them. The vectors grow from an allowance (`decode::arena`), so that a hostile request is refused before it takes
//! the memory. The rules (`process::traces`) walk the tags of a span where they lie: what they change becomes a new position in a
//! second buffer, what they drop is taken out of its range, and nothing is copied that stays as it is. Statistics read the finished
//! span and keep sums and sketches alone.
//!
//! The encoder walks the same vectors twice for a chunk: it counts the lengths that protobuf puts before its messages, then writes
//! fields into a piece of 32 KiB that is handed to the compressor when it is full. So of a body of megabytes only the compressed part
//! is ever there, and a chunk that would make it too large closes it beforehand. What a payload and a body leave behind, their vectors
//! and buffers, is used for the next request (`sys::spares`) and goes back to the system when there is nothing to do. A request is
//! decoded by the thread of its connection, and one thread does the rest for all of them; requests wait for it by bytes, and when there
//! is no room tracers are told so (`sources::trace_http`).
//!
//! Statistics of closed buckets leave every 10 s; a flush, which ends an invocation, and the end send those of open ones too. What
//! tracers have counted waits for others to share a body with, as spans do. A record of statistics is one group of spans; it is
//! accepted when its bucket is handed out, or when it comes from a tracer.

use crate::encode::rates;
use crate::encode::stats as encode_stats;
use crate::encode::stats::Computed;
use crate::encode::traces::Agent;
use crate::encode::traces::BODY_BYTES_MAX;
use crate::encode::traces::PayloadWriter;
use crate::encode::traces::TraceBody;
use crate::model::rates::RatesHandle;
use crate::model::stats::ClientStats;
use crate::model::trace::TracePayload;
use crate::model::trace::TracerInfo;
use crate::model::traces_item::TracesItem;
use crate::pipeline::Stage;
use crate::process::lambda;
use crate::process::lambda::Done;
use crate::process::lambda::Maker;
use crate::process::lambda::Received;
use crate::process::stats;
use crate::process::stats::Concentrator;
use crate::process::stats::Lost;
use crate::process::stats::Moment;
use crate::process::stats::Which;
use crate::process::stats::client;
use crate::process::traces as rules;
use crate::process::traces::sampling;
use crate::process::traces::sampling::Samplers;
use crate::spool::Body;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::sys::clock::Now;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::memory::Permit;
use crate::sys::spares;
use crate::sys::spares::Spares;
use std::sync::Arc;
use std::time::Duration;

/// How long spans, and statistics from tracers, wait for others to share a body with.
const BATCH_WAIT: Duration = Duration::from_secs(5);

/// A chunk beyond this is dropped; the intake would refuse it long before.
const CHUNK_BYTES_MAX: u64 = 25 * 1024 * 1024;

/// Who computes the statistics of spans whose tracer does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The agent.
    Here(stats::Settings),
    /// The backend, which is asked to by a tag on each span.
    Backend,
}

/// The pipeline's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done to spans.
    pub rules: rules::Settings,
    /// What is done before, inside Lambda.
    pub lambda: Option<lambda::Settings>,
    /// What every body says of the agent.
    pub agent: Agent,
    /// Bytes of a body before compression, at most what the intake takes.
    pub body_bytes_max: usize,
    /// 0 to 9.
    pub compression_level: u32,
    /// Who counts.
    pub statistics: Statistics,
    /// Which traces go on; all of them if it is not set.
    pub sampling: Option<sampling::Settings>,
    /// What tracers are told to keep; written by this stage alone.
    pub rates: RatesHandle,
    /// How much of the memory of payloads, and again of their bodies, is kept for the next ones.
    pub spares: spares::Limits,
}

/// The queues that bodies are put into.
#[derive(Clone, Debug)]
pub struct Queues {
    /// For spans.
    pub traces: Arc<Queue>,
    /// For statistics.
    pub stats: Arc<Queue>,
}

/// What payloads leave behind, for the source to use again.
#[derive(Clone, Debug)]
pub struct Leavings {
    /// What requests decoded to.
    pub payloads: Spares<TracePayload>,
    /// The requests' bodies.
    pub bodies: Spares<Vec<u8>>,
}

/// The stage.
#[derive(Debug)]
pub struct TracesStage {
    settings: Settings,
    memory: rules::Memory,
    received: Option<Received>,
    body: Option<Filling>,
    concentrator: Option<Concentrator>,
    samplers: Option<Samplers>,
    clients: Option<Clients>,
    queues: Queues,
    leavings: Leavings,
    ledger: Arc<Ledger>,
}

/// The body that is being filled, and the spans it will settle.
#[derive(Debug)]
struct Filling {
    body: TraceBody,
    claim: Claim,
    due: Duration,
}

/// Statistics from tracers, and the memory they take.
#[derive(Debug)]
struct Clients {
    stats: Vec<ClientStats>,
    permits: Vec<Permit>,
    claim: Claim,
    due: Duration,
}

impl TracesStage {
    /// A stage that puts bodies into `queues`.
    pub fn new(settings: Settings, queues: Queues, ledger: Arc<Ledger>) -> TracesStage {
        let concentrator = match &settings.statistics {
            Statistics::Here(settings) => Some(Concentrator::new(settings.clone())),
            Statistics::Backend => None,
        };
        let samplers = settings.sampling.clone().map(Samplers::new);
        let leavings = Leavings { payloads: Spares::new(settings.spares), bodies: Spares::new(settings.spares) };
        let memory = rules::Memory::default();
        let received = settings.lambda.clone().map(Received::new);
        TracesStage { settings, memory, received, body: None, concentrator, samplers, clients: None, queues, leavings, ledger }
    }

    /// What its payloads leave behind.
    pub fn leavings(&self) -> Leavings {
        self.leavings.clone()
    }

    fn take_spans(&mut self, mut payload: TracePayload, from: Maker, mut claim: Claim, now: Now) {
        if let Some(received) = &mut self.received {
            let Done { gone, added } = received.apply(&mut payload, from);
            claim.drop_some(gone, Reason::Filtered);
            claim.merge(self.ledger.accept(Signal::Traces, added));
        }
        let filtered = rules::prepare(&mut payload, &self.settings.rules, &mut self.memory, now.unix_nanos());
        claim.drop_some(filtered, Reason::Filtered);
        match &mut self.concentrator {
            Some(concentrator) => concentrator.add(&payload, moment(now)),
            None if payload.tracer.client_stats => {}
            None => client::leave_to_backend(&mut payload),
        }
        if let Some(samplers) = &mut self.samplers {
            claim.drop_some(samplers.sample(&mut payload, now.uptime), Reason::Sampled);
            if let Some(new_rates) = samplers.take_new_rates() {
                self.settings.rates.publish(rates::body(&new_rates), now.uptime.as_secs());
            }
        }
        let mut writer = PayloadWriter::new(&payload, CHUNK_BYTES_MAX);
        loop {
            let filling = self.body.get_or_insert_with(|| Filling {
                body: TraceBody::new(
                    &self.settings.agent,
                    BODY_BYTES_MAX.min(self.settings.body_bytes_max as u64),
                    self.settings.compression_level,
                ),
                claim: claim.split(0),
                due: now.uptime + BATCH_WAIT,
            });
            let added = filling.body.add(&mut writer);
            filling.claim.merge(claim.split(added.spans));
            if !added.is_full {
                break;
            }
            self.close_body();
        }
        claim.drop_some(writer.too_large_spans(), Reason::TooLarge);
        debug_assert_eq!(claim.records(), 0, "every span of a payload is written or passed over");
        if self.body.as_ref().is_some_and(|filling| filling.claim.records() == 0) {
            self.body = None; // nothing but chunks that were filtered or are too large
        }
        self.leave(payload);
    }

    fn leave(&self, mut payload: TracePayload) {
        let body = payload.reuse(TracerInfo::default());
        let (bytes, body_bytes) = (payload.memory_bytes(), body.capacity());
        self.leavings.payloads.give(payload, bytes);
        self.leavings.bodies.give(body, body_bytes);
    }

    fn take_stats(&mut self, mut stats: ClientStats, mut claim: Claim, permit: Permit, now: Now) {
        let Settings { agent, rules, .. } = &self.settings;
        let gone = client::complete(&mut stats, &agent.env, rules, &mut self.memory);
        claim.drop_some(gone.unplaced, Reason::Malformed);
        claim.drop_some(gone.ignored, Reason::Filtered);
        if claim.records() == 0 {
            return;
        }
        let due = now.uptime + BATCH_WAIT;
        let clients =
            self.clients.get_or_insert_with(|| Clients { stats: Vec::new(), permits: Vec::new(), claim: claim.split(0), due });
        clients.stats.push(stats);
        clients.permits.push(permit);
        clients.claim.merge(claim);
        let records = clients.claim.records();
        if self.limits().groups_max as u64 <= records {
            self.send_clients();
        }
    }

    fn close_body(&mut self) {
        let Some(Filling { body, claim, .. }) = self.body.take() else { return };
        let encoded = body.finish();
        let headers = vec![
            ("Content-Type", "application/x-protobuf".to_owned()),
            ("Content-Encoding", "gzip".to_owned()),
            ("X-Datadog-Reported-Languages", encoded.languages.join("|")),
        ];
        self.queues.traces.push(Body::new(Kind::Traces, encoded.bytes, headers, claim));
    }

    fn send_clients(&mut self) {
        if let Some(Clients { stats, permits, claim, .. }) = self.clients.take() {
            self.send_stats(&stats, Computed::ByClient, claim);
            drop(permits);
        }
    }

    fn send_buckets(&mut self, which: Which, now: Now) {
        let Some(concentrator) = &mut self.concentrator else { return };
        let stats = concentrator.flush(which, moment(now));
        let lost = concentrator.take_lost();
        if lost != Lost::default() {
            let Lost { folded, uncounted } = lost;
            log::warn!("statistics: too many resources; {folded} spans counted as {}, {uncounted} not counted", stats::OTHER);
        }
        let claim = self.ledger.accept(Signal::Stats, stats.iter().map(ClientStats::groups).sum());
        self.send_stats(&stats, Computed::Here, claim);
    }

    fn send_stats(&self, stats: &[ClientStats], computed: Computed, mut claim: Claim) {
        let Agent { hostname, env, version, .. } = self.settings.agent.clone();
        let agent = encode_stats::Agent { hostname, env, version };
        for encoded in encode_stats::encode(stats, &agent, computed, self.limits()) {
            let headers = vec![
                ("Content-Type", "application/msgpack".to_owned()),
                ("Content-Encoding", "gzip".to_owned()),
                ("X-Datadog-Reported-Languages", encoded.languages.join("|")),
            ];
            self.queues.stats.push(Body::new(Kind::Stats, encoded.bytes, headers, claim.split(encoded.groups)));
        }
        debug_assert_eq!(claim.records(), 0, "every group is in one body");
    }

    fn limits(&self) -> encode_stats::Limits {
        let limits = encode_stats::Limits::default();
        encode_stats::Limits { bytes_max: limits.bytes_max.min(self.settings.body_bytes_max), ..limits }
    }
}

fn moment(now: Now) -> Moment {
    Moment { unix_nanos: now.unix_nanos(), uptime: now.uptime }
}

impl Stage for TracesStage {
    type Item = TracesItem;

    fn take(&mut self, parcel: Parcel<TracesItem>, now: Now) {
        let Parcel { item, claim, permit } = parcel;
        match item {
            TracesItem::Spans(payload) => {
                self.take_spans(payload, Maker::Tracer, claim, now);
                drop(permit);
            }
            TracesItem::Made(payload) => {
                self.take_spans(*payload, Maker::Agent, claim, now);
                drop(permit);
            }
            TracesItem::Function(tags, function) => {
                (self.settings.rules.global_tags, self.settings.rules.function_tags) = (tags, function);
            }
            TracesItem::Stats(stats) => self.take_stats(*stats, claim, permit, now),
            TracesItem::Init(init) => {
                if let Some(received) = &mut self.received {
                    received.begun(*init);
                }
            }
        }
    }

    fn due(&self) -> Option<Duration> {
        let body = self.body.as_ref().map(|filling| filling.due);
        let clients = self.clients.as_ref().map(|clients| clients.due);
        let buckets = self.concentrator.as_ref().and_then(Concentrator::due);
        [body, clients, buckets].into_iter().flatten().min()
    }

    fn on_due(&mut self, now: Now) {
        let is_due = |due: Option<Duration>| due.is_some_and(|due| due <= now.uptime);
        if is_due(self.body.as_ref().map(|filling| filling.due)) {
            self.close_body();
            // Under load the next request fills them again; without any, nobody should hold memory.
            self.leavings.payloads.clear();
            self.leavings.bodies.clear();
        }
        if is_due(self.clients.as_ref().map(|clients| clients.due)) {
            self.send_clients();
        }
        if is_due(self.concentrator.as_ref().and_then(Concentrator::due)) {
            self.send_buckets(Which::Closed, now);
        }
    }

    fn flush(&mut self, now: Now) {
        self.close_body();
        self.send_clients();
        self.send_buckets(Which::All, now);
    }

    fn finish(&mut self, now: Now) {
        self.flush(now);
    }
}

#[cfg(test)]
mod tests;
