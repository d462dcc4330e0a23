//! Statistics of spans: the concentrator counts spans in buckets of time and hands the buckets out when nothing more will come.
//!
//! **Which spans**: top-level ones, measured ones, those of kind server, client, producer or consumer; no partial snapshots.
//! **When**: a bucket is 10 s of the spans' ends. A span that ended before the last bucket counts in that one. A bucket is handed out
//! when it is 20 s since it began, so that two are open, or all at once at the end of an invocation and at shutdown. What comes later
//! for a bucket that was handed out opens it again: the backend adds them up, so that no hit is lost or counted twice.
//! **By what**: `key` says; peer tags are those of [`PEER_TAGS`], with addresses taken out by `peer_address`. The container's id is no
//! part of it, as at the reference agent outside Fargate.
//! **Clocks that jump**: a bucket is also handed out 30 s after it was opened, whatever the wall clock says; of more than 16 open
//! buckets a span joins that of the present.
//!
//! **Limits**: keys and sketches share `bytes_max`. Beyond it spans of new keys are counted with resource [`OTHER`] and without status,
//! route and peer tags; beyond an eighth more they are not counted at all, and sketches make no more bins. [`Lost`] tells how many.
//! Finding a known key takes no allocation. Source: reference agent 7.80, pkg/trace/stats.

mod attributes;
pub mod client;
mod groups;
mod key;
pub mod peer_address;

use crate::model::stats::Bin;
use crate::model::stats::ClientStats;
use crate::model::stats::GroupedStats;
use crate::model::stats::StatsBucket;
use crate::model::stats::Summary;
use crate::model::trace::Chunk;
use crate::model::trace::Span;
use crate::model::trace::TracePayload;
use crate::process::sketch::Growth;
use crate::process::stats::attributes::Attributes;
use crate::process::stats::groups::Group;
use crate::process::stats::groups::Groups;
use crate::process::stats::groups::Hit;
use crate::process::stats::groups::hash;
use crate::process::stats::key::GroupKey;
use std::time::Duration;

/// The length of a bucket.
pub const BUCKET_NANOS: i64 = 10_000_000_000;

/// How often closed buckets are handed out.
pub const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// A bucket is handed out when it was open for this long, whatever the wall clock says.
const OPEN_MAX: Duration = Duration::from_secs(30);

/// So many buckets are open at most, besides that of the present.
const BUCKETS_MAX: usize = 16;

/// Stands for resources that there was no memory for.
pub const OTHER: &str = "mote.other_resources";

/// The kinds of spans that statistics count, as `/info` tells tracers.
pub const SPAN_KINDS: [&str; 4] = ["server", "consumer", "client", "producer"];

/// The tags that say whom a span talked to, sorted.
pub const PEER_TAGS: [&str; 43] = [
    "_dd.base_service",
    "active_record.db.vendor",
    "amqp.destination",
    "amqp.exchange",
    "amqp.queue",
    "aws.queue.name",
    "aws.s3.bucket",
    "bucketname",
    "cassandra.keyspace",
    "db.cassandra.contact.points",
    "db.couchbase.seed.nodes",
    "db.hostname",
    "db.instance",
    "db.name",
    "db.namespace",
    "db.system",
    "db.type",
    "dns.hostname",
    "grpc.host",
    "hostname",
    "http.host",
    "http.server_name",
    "messaging.destination",
    "messaging.destination.name",
    "messaging.kafka.bootstrap.servers",
    "messaging.rabbitmq.exchange",
    "messaging.system",
    "mongodb.db",
    "msmq.queue.path",
    "net.peer.name",
    "network.destination.ip",
    "network.destination.name",
    "out.host",
    "peer.hostname",
    "peer.service",
    "queuename",
    "rpc.service",
    "rpc.system",
    "sequel.db.vendor",
    "server.address",
    "streamname",
    "tablename",
    "topicname",
];

/// The concentrator's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Environment of payloads that name none.
    pub env: String,
    /// Tags that say whom a span talked to; without any, nothing is grouped by that.
    pub peer_tags: Vec<String>,
    /// Count spans by their kind, besides top-level and measured ones.
    pub by_span_kind: bool,
    /// Memory for open buckets.
    pub bytes_max: usize,
    /// Secret of the hash.
    pub seed: u64,
}

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock, nanoseconds since 1970.
    pub unix_nanos: i64,
    /// Since the start of the agent.
    pub uptime: Duration,
}

/// Which buckets are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that are old enough.
    Closed,
    /// All.
    All,
}

/// How many spans were counted with less detail than they have, or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Under resource [`OTHER`].
    pub folded: u64,
    /// Not at all.
    pub uncounted: u64,
}

/// Counts spans.
#[derive(Debug)]
pub struct Concentrator {
    settings: Settings,
    attributes: Attributes,
    buckets: Vec<Bucket>,
    bytes: usize,
    lost: Lost,
    due: Option<Duration>,
    part_key: Vec<u8>,
    group_key: Vec<u8>,
    peer_value: String,
}

/// What is counted of one stretch of time.
#[derive(Debug)]
struct Bucket {
    start: i64,
    opened: Duration,
    parts: Vec<Part>,
}

/// What is counted of one client.
#[derive(Debug)]
struct Part {
    hash: u64,
    key: Box<[u8]>,
    groups: Groups,
}

/// A bucket has so many parts at most. A machine's services have some dozens of environments and versions.
const PARTS_MAX: usize = 256;

impl Part {
    fn cost(key: &[u8]) -> usize {
        2 * size_of::<Part>() + key.len()
    }
}

impl Concentrator {
    /// Without open buckets.
    pub fn new(settings: Settings) -> Concentrator {
        Concentrator {
            attributes: Attributes::new(&settings.peer_tags, settings.by_span_kind),
            settings,
            buckets: Vec::new(),
            bytes: 0,
            lost: Lost::default(),
            due: None,
            part_key: Vec::new(),
            group_key: Vec::new(),
            peer_value: String::new(),
        }
    }

    /// Counts the spans of a payload that has been prepared, unless its tracer has counted them.
    pub fn add(&mut self, payload: &TracePayload, at: Moment) {
        if payload.tracer.client_stats {
            return;
        }
        self.attributes.read_shared(payload);
        for chunk in &payload.chunks {
            self.chunk(payload, chunk, at);
        }
        if self.due.is_none() && !self.buckets.is_empty() {
            self.due = Some(at.uptime + FLUSH_EVERY);
        }
    }

    /// When closed buckets are to be handed out next, as uptime.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// The memory that open buckets take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has been lost since this was asked last.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// Hands out buckets, oldest first, one client after the other.
    pub fn flush(&mut self, which: Which, at: Moment) -> Vec<ClientStats> {
        let is_closed = |bucket: &Bucket| {
            which == Which::All
                || bucket.start <= at.unix_nanos.saturating_sub(2 * BUCKET_NANOS)
                || bucket.opened + OPEN_MAX <= at.uptime
        };
        let (mut closed, open): (Vec<Bucket>, Vec<Bucket>) = self.buckets.drain(..).partition(is_closed);
        self.buckets = open;
        closed.sort_by_key(|bucket| bucket.start);
        self.due = (!self.buckets.is_empty()).then_some(at.uptime + FLUSH_EVERY);
        let mut clients: Vec<(Box<[u8]>, ClientStats)> = Vec::new();
        for bucket in closed {
            for part in bucket.parts {
                self.bytes = self.bytes.saturating_sub(Part::cost(&part.key));
                let bucket = self.hand_out(bucket.start, part.groups);
                match clients.iter_mut().find(|(key, _)| *key == part.key) {
                    Some((_, client)) => client.buckets.push(bucket),
                    None => {
                        let client = ClientStats { buckets: vec![bucket], ..key::read_part(&part.key) };
                        clients.push((part.key, client));
                    }
                }
            }
        }
        debug_assert!(!self.buckets.is_empty() || self.bytes == 0, "what is handed out is given back");
        clients.into_iter().map(|(_, client)| client).collect()
    }

    fn hand_out(&mut self, start: i64, groups: Groups) -> StatsBucket {
        let groups = groups.into_groups();
        let freed: usize = groups.iter().map(|group| Groups::cost(&group.key) + sketch_bytes(group)).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        let attributes = &self.attributes;
        let groups = groups.into_iter().map(|group| grouped_stats(group, attributes)).collect();
        StatsBucket { start: start as u64, duration: BUCKET_NANOS as u64, agent_time_shift: 0, groups }
    }

    fn chunk(&mut self, payload: &TracePayload, chunk: &Chunk, at: Moment) {
        let Some(root) = payload.spans.get(chunk.root as usize) else { return };
        let weight = weight(payload, root);
        let is_synthetics = payload.texts.bytes(chunk.origin).starts_with(b"synthetics");
        self.write_part_key(payload, root);
        let part_hash = hash(self.settings.seed, &self.part_key);
        for span in &payload.spans[chunk.spans.range()] {
            if !self.attributes.read(payload, span) {
                continue;
            }
            let hit = Hit {
                weight,
                duration: span.duration.max(0) as u64,
                is_error: span.error != 0,
                is_top_level: self.attributes.is_top_level(span),
            };
            let bucket = self.bucket(span.start.saturating_add(span.duration), at);
            match self.part(bucket, part_hash) {
                Some(part) => {
                    self.write_group_key(payload, span, is_synthetics);
                    self.count(bucket, part, &hit);
                }
                None => self.lost.uncounted += 1,
            }
        }
    }

    fn write_part_key(&mut self, payload: &TracePayload, root: &Span) {
        let tracer = &payload.tracer;
        let env = if tracer.env.is_empty() { &self.settings.env } else { &tracer.env };
        let text_of = |text| payload.texts.bytes(text);
        let commit = payload.span_tag(root, "_dd.git.commit.sha").map(text_of).unwrap_or_default();
        let process_tags = match tracer.process_tags.as_bytes() {
            b"" => payload.tag(payload.payload_tags, "_dd.tags.process").map(text_of).unwrap_or_default(),
            of_header => of_header,
        };
        let [env, host, version, language] =
            [env, &tracer.hostname, &tracer.app_version, &tracer.language].map(String::as_bytes);
        self.part_key.clear();
        for text in [env, host, version, commit, language, process_tags] {
            key::put_text(&mut self.part_key, text);
        }
    }

    fn write_group_key(&mut self, payload: &TracePayload, span: &Span, is_synthetics: bool) {
        let found = &self.attributes;
        let texts = [
            span.service,
            span.name,
            span.resource,
            span.kind,
            found.kind_text(),
            found.http_method(),
            found.http_endpoint(),
            found.service_source(),
        ]
        .map(|text| payload.texts.bytes(text));
        let key = GroupKey {
            is_synthetics,
            is_trace_root: span.parent_id == 0,
            http_status: found.http_status(payload),
            grpc_status: found.grpc_status(payload),
            texts,
        };
        key.write(&mut self.group_key);
        for (number, value) in found.peer_tags(payload, span) {
            self.peer_value.clear();
            peer_address::quantize(payload.texts.str(value), &mut self.peer_value);
            key::put_peer_tag(&mut self.group_key, number, self.peer_value.as_bytes());
        }
    }

    /// The position of the bucket for a span that ended then.
    fn bucket(&mut self, end: i64, at: Moment) -> usize {
        let floor = |nanos: i64| nanos.max(0) / BUCKET_NANOS * BUCKET_NANOS;
        let present = floor(at.unix_nanos);
        let start = floor(end).max(present - BUCKET_NANOS);
        let find = |buckets: &[Bucket], start| buckets.iter().rposition(|bucket| bucket.start == start);
        if let Some(found) = find(&self.buckets, start) {
            return found;
        }
        let start = if self.buckets.len() < BUCKETS_MAX { start } else { present };
        find(&self.buckets, start).unwrap_or_else(|| {
            self.buckets.push(Bucket { start, opened: at.uptime, parts: Vec::new() });
            self.buckets.len() - 1
        })
    }

    /// The position of the client's part in the bucket; `None` without room for it.
    fn part(&mut self, bucket: usize, hash: u64) -> Option<usize> {
        let parts = &mut self.buckets[bucket].parts;
        let found = parts.iter().position(|part| part.hash == hash && *part.key == *self.part_key);
        if found.is_some() {
            return found;
        }
        let cost = Part::cost(&self.part_key);
        if parts.len() == PARTS_MAX || last_limit(self.settings.bytes_max) < self.bytes + cost {
            return None;
        }
        self.bytes += cost;
        parts.push(Part { hash, key: self.part_key.as_slice().into(), groups: Groups::default() });
        Some(parts.len() - 1)
    }

    fn count(&mut self, bucket: usize, part: usize, hit: &Hit) {
        let groups = &mut self.buckets[bucket].parts[part].groups;
        let limit = self.settings.bytes_max;
        let last_limit = last_limit(limit);
        let growth = if self.bytes < last_limit { Growth::Allowed } else { Growth::Refused };
        let mut hashed = hash(self.settings.seed, &self.group_key);
        if let Some(group) = groups.find(hashed, &self.group_key) {
            self.bytes += group.count(hit, growth);
            return;
        }
        if limit < self.bytes + Groups::cost(&self.group_key) {
            key::fold(&mut self.group_key, OTHER);
            hashed = hash(self.settings.seed, &self.group_key);
            self.lost.folded += 1;
        }
        let group = match groups.find(hashed, &self.group_key) {
            Some(group) => group,
            None if last_limit < self.bytes + Groups::cost(&self.group_key) => {
                self.lost.folded -= 1;
                self.lost.uncounted += 1;
                return;
            }
            None => {
                self.bytes += Groups::cost(&self.group_key);
                groups.insert(hashed, &self.group_key)
            }
        };
        self.bytes += group.count(hit, growth);
    }
}

/// Where nothing more is taken in.
fn last_limit(bytes_max: usize) -> usize {
    bytes_max + bytes_max / 8
}

/// For how many spans each span of a trace stands: the tracer may have sampled, and said so at the root.
pub fn weight(payload: &TracePayload, root: &Span) -> f64 {
    let rate = |key| payload.metric(root.metrics, key).filter(|rate| 0.0 < *rate && *rate <= 1.0).unwrap_or(1.0);
    1.0 / (rate("_sample_rate") * rate("_dd1.sr.rapre"))
}

fn sketch_bytes(group: &Group) -> usize {
    (group.ok.bins.capacity() + group.error.bins.capacity()) * size_of::<Bin>()
}

fn grouped_stats(group: Group, attributes: &Attributes) -> GroupedStats {
    GroupedStats {
        hits: group.hits.round() as u64,
        errors: group.errors.round() as u64,
        top_level_hits: group.top_level_hits.round() as u64,
        duration: group.duration.round() as u64,
        ok: Summary::Sketch(group.ok),
        error: Summary::Sketch(group.error),
        ..key::read_group(&group.key, |number| attributes.name(number))
    }
}

#[cfg(test)]
mod tests;
