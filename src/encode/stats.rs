//! Bodies for `/api/v0.2/stats`: msgpack, gzip at its fastest.
//!
//! ```text
//! body    map  AgentHostname AgentEnv  str  Stats [client]  AgentVersion  str  ClientComputed SplitPayload  bool
//! client  map  Hostname Env Version  str  Stats [bucket]  Lang TracerVersion RuntimeID  str  Sequence  u64  AgentAggregation Service
//!              ContainerID  str  Tags [str]  GitCommitSha ImageTag  str  ProcessTagsHash  u64  ProcessTags  str
//! bucket  map  Start Duration  u64  Stats [group]  AgentTimeShift  i64
//! group   map  Service Name Resource  str  HTTPStatusCode  u32  Type DBType  str  Hits Errors Duration  u64
//!              OkSummary ErrorSummary  bin, see `apm_sketch`  Synthetics  bool  TopLevelHits  u64  SpanKind  str  PeerTags [str]
//!              IsTraceRoot  u32  GRPCStatusCode HTTPMethod HTTPEndpoint srv_src  str  SpanDerivedPrimaryTags AdditionalMetricTags [str]
//! ```
//! Every key is always written, in this order. A body has at most 4000 groups, as at the reference agent, and about 3.2 MB before
//! compression; of several bodies each says SplitPayload. What is written is handed to the compressor group by group, so that only
//! the compressed body is kept. Source: reference agent 7.80, pkg/proto/pbgo/trace/stats.go, pkg/trace/writer.

use crate::encode::apm_sketch;
use crate::encode::compress::Gzip;
use crate::encode::msgpack::Writer;
use crate::model::stats::ClientStats;
use crate::model::stats::GroupedStats;
use crate::model::stats::StatsBucket;
use crate::model::stats::Summary;
use std::ops::Range;

/// What a body holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Groups.
    pub groups_max: usize,
    /// Bytes before compression, unless it is a single group; computed with a little too much for each.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { groups_max: 4000, bytes_max: 3_200_000 }
    }
}

/// What every body says of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// The machine; empty in Lambda.
    pub hostname: String,
    /// The environment of spans that name none.
    pub env: String,
    /// The agent's version.
    pub version: String,
}

/// Who has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Computed {
    /// The agent.
    Here,
    /// The tracer.
    ByClient,
}

/// A body that is ready to be sent.
#[derive(Debug)]
pub struct EncodedStats {
    /// The gzip stream.
    pub bytes: Vec<u8>,
    /// How many groups it holds.
    pub groups: u64,
    /// The languages of its clients, each once.
    pub languages: Vec<String>,
}

/// The keys of a group are some 280 bytes; numbers and lengths come on top.
const GROUP_BYTES: usize = 400;

/// The same for a client, with its first bucket.
const CLIENT_BYTES: usize = 400;

/// Level 1: numbers and zeros compress well at any.
const GZIP_LEVEL: u32 = 1;

/// Groups of one bucket that go into a body together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    client: usize,
    bucket: usize,
    groups: Range<usize>,
}

/// Makes as few bodies as the limits allow. Clients without groups leave no trace.
pub fn encode(clients: &[ClientStats], agent: &Agent, computed: Computed, limits: Limits) -> Vec<EncodedStats> {
    let bodies = split(clients, limits);
    let is_split = 1 < bodies.len();
    bodies.iter().map(|pieces| body(clients, pieces, agent, computed, is_split)).collect()
}

/// Which groups go into which body.
fn split(clients: &[ClientStats], limits: Limits) -> Vec<Vec<Piece>> {
    let mut bodies: Vec<Vec<Piece>> = Vec::new();
    let (mut groups_left, mut bytes_left) = (0, 0);
    let mut last_client = None;
    for (client_index, client) in clients.iter().enumerate() {
        for (bucket_index, bucket) in client.buckets.iter().enumerate() {
            for (index, group) in bucket.groups.iter().enumerate() {
                let client_bytes = if last_client == Some(client_index) { 0 } else { client_len(client) };
                let bytes = group_len(group) + client_bytes;
                if bodies.is_empty() || groups_left == 0 || bytes_left < bytes {
                    bodies.push(Vec::new());
                    (groups_left, bytes_left) = (limits.groups_max.max(1), limits.bytes_max);
                }
                let Some(body) = bodies.last_mut() else { continue };
                (groups_left, bytes_left) = (groups_left - 1, bytes_left.saturating_sub(bytes));
                last_client = Some(client_index);
                match body.last_mut() {
                    Some(piece) if (piece.client, piece.bucket) == (client_index, bucket_index) => piece.groups.end = index + 1,
                    _ => body.push(Piece { client: client_index, bucket: bucket_index, groups: index..index + 1 }),
                }
            }
        }
    }
    bodies
}

fn texts_len(texts: &[String]) -> usize {
    texts.iter().map(|text| text.len() + 5).sum()
}

fn client_len(client: &ClientStats) -> usize {
    let ClientStats { hostname, env, version, runtime_id, service, container_id, git_commit_sha, process_tags, .. } = client;
    let texts = [hostname, env, version, runtime_id, service, container_id, git_commit_sha, process_tags];
    CLIENT_BYTES + texts.iter().map(|text| text.len()).sum::<usize>() + texts_len(&client.tags)
}

fn group_len(group: &GroupedStats) -> usize {
    let GroupedStats { service, name, resource, kind, db_kind, span_kind, http_method, http_endpoint, service_source, .. } =
        group;
    let texts = [service, name, resource, kind, db_kind, span_kind, http_method, http_endpoint, service_source];
    let lists = [&group.peer_tags, &group.primary_tags, &group.metric_tags];
    let summary_len = |summary: &Summary| match summary {
        Summary::Sketch(sketch) => apm_sketch::len_at_most(sketch),
        Summary::Encoded(bytes) => bytes.len(),
    };
    GROUP_BYTES
        + texts.iter().map(|text| text.len()).sum::<usize>()
        + lists.iter().map(|list| texts_len(list)).sum::<usize>()
        + summary_len(&group.ok)
        + summary_len(&group.error)
}

fn body(clients: &[ClientStats], pieces: &[Piece], agent: &Agent, computed: Computed, is_split: bool) -> EncodedStats {
    let mut body = Body { out: Writer::default(), gzip: Gzip::new(GZIP_LEVEL), sketch: Vec::new() };
    let mut languages: Vec<String> = Vec::new();
    let of_clients: Vec<&[Piece]> = pieces.chunk_by(|one, next| one.client == next.client).collect();
    body.out.map(6);
    body.text("AgentHostname", &agent.hostname);
    body.text("AgentEnv", &agent.env);
    body.out.str("Stats");
    body.out.array(of_clients.len());
    for pieces in of_clients {
        let client = &clients[pieces[0].client];
        body.client(client, pieces);
        if !client.language.is_empty() && !languages.contains(&client.language) {
            languages.push(client.language.clone());
        }
    }
    body.text("AgentVersion", &agent.version);
    body.bool("ClientComputed", computed == Computed::ByClient);
    body.bool("SplitPayload", is_split);
    body.flush();
    EncodedStats { bytes: body.gzip.finish(), groups: pieces.iter().map(|piece| piece.groups.len() as u64).sum(), languages }
}

/// A body in the making.
struct Body {
    out: Writer,
    gzip: Gzip,
    /// Where a sketch is put together.
    sketch: Vec<u8>,
}

impl Body {
    fn flush(&mut self) {
        self.gzip.write(self.out.bytes());
        self.out.clear();
    }

    fn client(&mut self, client: &ClientStats, pieces: &[Piece]) {
        self.out.map(16);
        self.text("Hostname", &client.hostname);
        self.text("Env", &client.env);
        self.text("Version", &client.version);
        self.out.str("Stats");
        self.out.array(pieces.len());
        for piece in pieces {
            let bucket = &client.buckets[piece.bucket];
            self.bucket(bucket, &bucket.groups[piece.groups.clone()]);
        }
        self.text("Lang", &client.language);
        self.text("TracerVersion", &client.tracer_version);
        self.text("RuntimeID", &client.runtime_id);
        self.uint("Sequence", client.sequence);
        self.text("AgentAggregation", &client.agent_aggregation);
        self.text("Service", &client.service);
        self.text("ContainerID", &client.container_id);
        self.texts("Tags", &client.tags);
        self.text("GitCommitSha", &client.git_commit_sha);
        self.text("ImageTag", &client.image_tag);
        self.uint("ProcessTagsHash", client.process_tags_hash);
        self.text("ProcessTags", &client.process_tags);
    }

    fn bucket(&mut self, bucket: &StatsBucket, groups: &[GroupedStats]) {
        self.out.map(4);
        self.uint("Start", bucket.start);
        self.uint("Duration", bucket.duration);
        self.out.str("Stats");
        self.out.array(groups.len());
        for group in groups {
            self.group(group);
            self.flush();
        }
        self.out.str("AgentTimeShift");
        self.out.int(bucket.agent_time_shift);
    }

    fn group(&mut self, group: &GroupedStats) {
        self.out.map(22);
        self.text("Service", &group.service);
        self.text("Name", &group.name);
        self.text("Resource", &group.resource);
        self.uint("HTTPStatusCode", u64::from(group.http_status));
        self.text("Type", &group.kind);
        self.text("DBType", &group.db_kind);
        self.uint("Hits", group.hits);
        self.uint("Errors", group.errors);
        self.uint("Duration", group.duration);
        self.summary("OkSummary", &group.ok);
        self.summary("ErrorSummary", &group.error);
        self.bool("Synthetics", group.is_synthetics);
        self.uint("TopLevelHits", group.top_level_hits);
        self.text("SpanKind", &group.span_kind);
        self.texts("PeerTags", &group.peer_tags);
        self.uint("IsTraceRoot", u64::from(group.is_trace_root));
        self.text("GRPCStatusCode", &group.grpc_status);
        self.text("HTTPMethod", &group.http_method);
        self.text("HTTPEndpoint", &group.http_endpoint);
        self.text("srv_src", &group.service_source);
        self.texts("SpanDerivedPrimaryTags", &group.primary_tags);
        self.texts("AdditionalMetricTags", &group.metric_tags);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.out.str(key);
        self.out.str(text);
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        self.out.str(key);
        self.out.array(texts.len());
        texts.iter().for_each(|text| self.out.str(text));
    }

    fn uint(&mut self, key: &str, value: u64) {
        self.out.str(key);
        self.out.uint(value);
    }

    fn bool(&mut self, key: &str, value: bool) {
        self.out.str(key);
        self.out.bool(value);
    }

    fn summary(&mut self, key: &str, summary: &Summary) {
        self.out.str(key);
        match summary {
            Summary::Encoded(bytes) => self.out.bin(bytes),
            Summary::Sketch(sketch) => {
                self.sketch.clear();
                apm_sketch::encode(&mut self.sketch, sketch);
                self.out.bin(&self.sketch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::client_stats;
    use crate::decode::traces_v04;
    use crate::model::trace::TracerInfo;
    use crate::out::stats::records;
    use crate::process::stats;
    use crate::process::stats::Concentrator;
    use crate::process::stats::Moment;
    use crate::process::stats::PEER_TAGS;
    use crate::process::stats::Which;
    use crate::process::traces;
    use crate::sys::random::Random;
    use flate2::read::GzDecoder;
    use serde_json::Value;
    use std::io::Read;
    use std::time::Duration;

    const SPANS: &[u8] = include_bytes!("../../fixtures/decode/traces_v04/two_spans.bin");
    const INTAKE: &[u8] = include_bytes!("../../fixtures/intake/stats_two_groups.bin");
    const CLIENT: &[u8] = include_bytes!("../../fixtures/decode/client_stats/two_groups.bin");
    const NOW: i64 = 1_700_000_001_000_000_000;

    fn agent() -> Agent {
        Agent { hostname: "gw-1".to_owned(), env: "none".to_owned(), version: "0.1.0".to_owned() }
    }

    fn plain(encoded: &EncodedStats) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(&encoded.bytes[..]).read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn records_of(body: &[u8]) -> Vec<Value> {
        let mut found = Vec::new();
        records(body, &mut |record| found.push(record)).unwrap();
        found
    }

    #[test]
    fn the_golden_spans_become_the_golden_body_byte_for_byte() {
        let tracer = TracerInfo { language: "python".to_owned(), ..TracerInfo::default() };
        let mut payload = traces_v04::decode(SPANS.to_vec(), tracer, 100_000).unwrap();
        traces::prepare(&mut payload, &traces::Settings::default(), &mut traces::Memory::default(), NOW);
        // Obfuscation of SQL is a step of its own.
        payload.spans[1].resource = payload.texts.make("SELECT * FROM cart WHERE id = ?");
        let peer_tags = PEER_TAGS.iter().map(|tag| (*tag).to_owned()).collect();
        let settings = stats::Settings { env: "none".to_owned(), peer_tags, by_span_kind: true, bytes_max: 1 << 20, seed: 1 };
        let mut concentrator = Concentrator::new(settings);
        let moment = Moment { unix_nanos: NOW, uptime: Duration::ZERO };
        concentrator.add(&payload, moment);
        let bodies = encode(&concentrator.flush(Which::All, moment), &agent(), Computed::Here, Limits::default());
        assert_eq!((bodies.len(), bodies[0].groups, bodies[0].languages.as_slice()), (1, 2, &["python".to_owned()][..]));
        assert_eq!(plain(&bodies[0]), INTAKE);
    }

    #[test]
    fn what_a_tracer_has_counted_is_passed_on_byte_for_byte() {
        let client = client_stats::decode(CLIENT, TracerInfo::default(), 100_000).unwrap();
        let bodies = encode(&[client], &agent(), Computed::ByClient, Limits::default());
        let groups: [&[u8]; 6] = [
            b"\x86\xadAgentHostname\xa4gw-1\xa8AgentEnv\xa4none", // a map of six
            b"\xa5Stats\x91",                                     // one client:
            CLIENT,                                               // the request itself
            b"\xacAgentVersion\xa50.1.0",                         // who passes it on
            b"\xaeClientComputed\xc3",                            // true
            b"\xacSplitPayload\xc2",                              // false
        ];
        assert_eq!(plain(&bodies[0]), groups.concat());
    }

    fn client(name: &str, buckets: &[usize]) -> ClientStats {
        let mut number = 0;
        let mut group = || {
            number += 1;
            GroupedStats { resource: format!("{name} {number}"), hits: 1, ..GroupedStats::default() }
        };
        let mut bucket = |(start, groups): (u64, &usize)| StatsBucket {
            start,
            groups: (0..*groups).map(|_| group()).collect(),
            ..StatsBucket::default()
        };
        let buckets = (1..).zip(buckets).map(&mut bucket).collect();
        ClientStats { language: name.to_owned(), buckets, ..ClientStats::default() }
    }

    #[test]
    fn a_body_holds_so_many_groups_and_several_say_that_they_are() {
        let clients = [client("go", &[3, 0, 4]), client("", &[]), client("java", &[2])];
        let bodies = encode(&clients, &agent(), Computed::Here, Limits { groups_max: 4, ..Limits::default() });
        assert_eq!(bodies.iter().map(|body| body.groups).collect::<Vec<u64>>(), [4, 4, 1]);
        assert_eq!(bodies.iter().map(|body| body.languages.join("|")).collect::<Vec<String>>(), ["go", "go|java", "java"]);
        let found: Vec<Value> = bodies.iter().flat_map(|body| records_of(&plain(body))).collect();
        let resources: Vec<&str> = found.iter().map(|record| record["resource"].as_str().unwrap()).collect();
        assert_eq!(resources, ["go 1", "go 2", "go 3", "go 4", "go 5", "go 6", "go 7", "java 1", "java 2"]);
        assert_eq!(
            found.iter().map(|record| record["bucket"]["start"].as_u64().unwrap()).collect::<Vec<u64>>(),
            [1, 1, 1, 3, 3, 3, 3, 1, 1]
        );
        assert!(found.iter().all(|record| record["split_payload"] == Value::Bool(true)));
        assert!(encode(&clients[1..2], &agent(), Computed::Here, Limits::default()).is_empty());
    }

    #[test]
    fn bodies_stay_within_their_bytes_and_lose_no_group() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..50 {
            let mut sizes = || (0..random.below(4)).map(|_| random.below(20) as usize).collect::<Vec<usize>>();
            let mut clients = [client("go", &sizes()), client("java", &sizes())];
            for group in clients.iter_mut().flat_map(|client| &mut client.buckets).flat_map(|bucket| &mut bucket.groups) {
                group.ok = Summary::Encoded(vec![7; random.below(500) as usize]);
                group.service = "s".repeat(random.below(300) as usize);
                group.peer_tags = vec!["key:value".to_owned(); random.below(5) as usize];
            }
            let limits = Limits { groups_max: 1 + random.below(30) as usize, bytes_max: 2500 + random.below(10_000) as usize };
            let bodies = encode(&clients, &agent(), Computed::Here, limits);
            for body in &bodies {
                let plain = plain(body);
                assert!(plain.len() <= limits.bytes_max + 150, "{} > {}", plain.len(), limits.bytes_max);
                assert_eq!(records_of(&plain).len() as u64, body.groups);
                assert!(body.groups <= limits.groups_max as u64);
            }
            let groups: u64 = clients.iter().map(ClientStats::groups).sum();
            assert_eq!(bodies.iter().map(|body| body.groups).sum::<u64>(), groups);
        }
    }
}
