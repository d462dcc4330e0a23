//! Requests to `/v0.6/stats`: the statistics that a tracer has computed, in msgpack.
//!
//! ```text
//! request  map  Hostname Env Version Lang TracerVersion RuntimeID AgentAggregation Service ContainerID GitCommitSha ImageTag
//!               ProcessTags  str     Sequence ProcessTagsHash  u64     Tags  [str]     Stats  [ bucket ]
//! bucket   map  Start Duration  u64     AgentTimeShift  i64     Stats  [ group ]
//! group    map  Service Name Resource Type DBType SpanKind GRPCStatusCode HTTPMethod HTTPEndpoint srv_src  str
//!               HTTPStatusCode IsTraceRoot  u32     Hits Errors Duration TopLevelHits  u64     Synthetics  bool
//!               OkSummary ErrorSummary  bin     PeerTags SpanDerivedPrimaryTags AdditionalMetricTags  [str]
//! ```
//! Keys come in any order, unknown ones are skipped, of equal ones the last wins; absent ones are zero. Texts that are not UTF-8 are
//! repaired. What the request leaves empty of `Lang`, `TracerVersion`, `ContainerID` and `ProcessTags`, its headers say. Summaries are
//! not looked into. Source: reference agent 7.80, pkg/proto/pbgo/trace/stats_gen.go.

use crate::decode::DecodeError;
use crate::decode::arena::Memory;
use crate::decode::msgpack::Reader;
use crate::model::stats::ClientStats;
use crate::model::stats::GroupedStats;
use crate::model::stats::StatsBucket;
use crate::model::stats::Summary;
use crate::model::trace::TracerInfo;

/// Reads `request`. What it decodes to may take `allowance` bytes.
pub fn decode(request: &[u8], tracer: TracerInfo, allowance: usize) -> Result<ClientStats, DecodeError> {
    let mut stats = Stats { reader: Reader::new(request), memory: Memory::new(allowance) };
    let mut client = stats.client()?;
    let TracerInfo { language, tracer_version, container_id, process_tags, .. } = tracer;
    fill(&mut client.language, language);
    fill(&mut client.tracer_version, tracer_version);
    fill(&mut client.container_id, container_id);
    fill(&mut client.process_tags, process_tags);
    Ok(client)
}

fn fill(field: &mut String, header: String) {
    if field.is_empty() {
        *field = header;
    }
}

/// Reads one request.
struct Stats<'a> {
    reader: Reader<'a>,
    memory: Memory,
}

impl Stats<'_> {
    fn client(&mut self) -> Result<ClientStats, DecodeError> {
        let mut client = ClientStats::default();
        for _ in 0..self.reader.map_len()? {
            match self.reader.key()? {
                b"Hostname" => client.hostname = self.text()?,
                b"Env" => client.env = self.text()?,
                b"Version" => client.version = self.text()?,
                b"Lang" => client.language = self.text()?,
                b"TracerVersion" => client.tracer_version = self.text()?,
                b"RuntimeID" => client.runtime_id = self.text()?,
                b"Sequence" => client.sequence = self.reader.unsigned()?,
                b"AgentAggregation" => client.agent_aggregation = self.text()?,
                b"Service" => client.service = self.text()?,
                b"ContainerID" => client.container_id = self.text()?,
                b"Tags" => client.tags = self.texts()?,
                b"GitCommitSha" => client.git_commit_sha = self.text()?,
                b"ImageTag" => client.image_tag = self.text()?,
                b"ProcessTagsHash" => client.process_tags_hash = self.reader.unsigned()?,
                b"ProcessTags" => client.process_tags = self.text()?,
                b"Stats" => client.buckets = self.list(Stats::bucket)?,
                _ => self.reader.skip()?,
            }
        }
        Ok(client)
    }

    fn bucket(&mut self) -> Result<StatsBucket, DecodeError> {
        let mut bucket = StatsBucket::default();
        for _ in 0..self.reader.map_len()? {
            match self.reader.key()? {
                b"Start" => bucket.start = self.reader.unsigned()?,
                b"Duration" => bucket.duration = self.reader.unsigned()?,
                b"AgentTimeShift" => bucket.agent_time_shift = self.reader.signed()?,
                b"Stats" => bucket.groups = self.list(Stats::group)?,
                _ => self.reader.skip()?,
            }
        }
        Ok(bucket)
    }

    fn group(&mut self) -> Result<GroupedStats, DecodeError> {
        let mut group = GroupedStats::default();
        for _ in 0..self.reader.map_len()? {
            match self.reader.key()? {
                b"Service" => group.service = self.text()?,
                b"Name" => group.name = self.text()?,
                b"Resource" => group.resource = self.text()?,
                b"HTTPStatusCode" => group.http_status = self.reader.unsigned_32()?,
                b"Type" => group.kind = self.text()?,
                b"DBType" => group.db_kind = self.text()?,
                b"Hits" => group.hits = self.reader.unsigned()?,
                b"Errors" => group.errors = self.reader.unsigned()?,
                b"Duration" => group.duration = self.reader.unsigned()?,
                b"OkSummary" => group.ok = self.summary()?,
                b"ErrorSummary" => group.error = self.summary()?,
                b"Synthetics" => group.is_synthetics = self.reader.bool()?,
                b"TopLevelHits" => group.top_level_hits = self.reader.unsigned()?,
                b"SpanKind" => group.span_kind = self.text()?,
                b"PeerTags" => group.peer_tags = self.texts()?,
                b"IsTraceRoot" => group.is_trace_root = self.reader.unsigned_32()?,
                b"GRPCStatusCode" => group.grpc_status = self.text()?,
                b"HTTPMethod" => group.http_method = self.text()?,
                b"HTTPEndpoint" => group.http_endpoint = self.text()?,
                b"srv_src" => group.service_source = self.text()?,
                b"SpanDerivedPrimaryTags" => group.primary_tags = self.texts()?,
                b"AdditionalMetricTags" => group.metric_tags = self.texts()?,
                _ => self.reader.skip()?,
            }
        }
        Ok(group)
    }

    /// An array's elements but nils, each paid for before it is kept.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
        let mut items = Vec::new();
        for _ in 0..self.reader.array_len()? {
            if !self.reader.nil() {
                let item = read(self)?;
                self.memory.push(&mut items, item)?;
            }
        }
        Ok(items)
    }

    fn texts(&mut self) -> Result<Vec<String>, DecodeError> {
        self.list(Stats::text)
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let bytes = self.reader.key()?;
        // U+FFFD takes three bytes for an invalid one.
        let needs = if std::str::from_utf8(bytes).is_ok() { bytes.len() } else { 3 * bytes.len() };
        self.memory.pay(needs)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn summary(&mut self) -> Result<Summary, DecodeError> {
        let bytes = self.reader.key()?;
        self.memory.pay(bytes.len())?;
        Ok(Summary::Encoded(bytes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;
    use serde_json::Value;

    const TWO_GROUPS: &[u8] = include_bytes!("../../fixtures/decode/client_stats/two_groups.bin");
    const ALLOWANCE: usize = 64 << 10;

    fn read(request: &[u8], allowance: usize) -> Result<ClientStats, DecodeError> {
        decode(request, TracerInfo::default(), allowance)
    }

    fn hex(summary: &Summary) -> String {
        let Summary::Encoded(bytes) = summary else { panic!("a tracer's summary is passed on") };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_golden_request_is_read() {
        let client = read(TWO_GROUPS, ALLOWANCE).unwrap();
        let expected: Value =
            serde_json::from_str(include_str!("../../fixtures/decode/client_stats/two_groups.expected.json")).unwrap();
        let texts =
            [&client.env, &client.version, &client.language, &client.tracer_version, &client.runtime_id, &client.service];
        let names = ["Env", "Version", "Lang", "TracerVersion", "RuntimeID", "Service"];
        assert_eq!(texts.map(|text| Value::from(text.as_str())), names.map(|name| expected[name].clone()));
        assert_eq!(client.sequence, 7);
        let (bucket, wanted) = (&client.buckets[0], &expected["Stats"][0]);
        assert_eq!(
            (Value::from(bucket.start), Value::from(bucket.duration)),
            (wanted["Start"].clone(), wanted["Duration"].clone())
        );
        assert_eq!(client.groups(), 2);
        for (group, wanted) in bucket.groups.iter().zip(wanted["Stats"].as_array().unwrap()) {
            let texts = [&group.service, &group.name, &group.resource, &group.kind, &group.span_kind, &group.grpc_status];
            let names = ["Service", "Name", "Resource", "Type", "SpanKind", "GRPCStatusCode"];
            assert_eq!(texts.map(|text| Value::from(text.as_str())), names.map(|name| wanted[name].clone()));
            let numbers = [u64::from(group.http_status), group.hits, group.errors, group.duration, group.top_level_hits];
            let names = ["HTTPStatusCode", "Hits", "Errors", "Duration", "TopLevelHits"];
            assert_eq!(numbers.map(Value::from), names.map(|name| wanted[name].clone()));
            assert_eq!(Value::from(group.is_trace_root), wanted["IsTraceRoot"]);
            assert_eq!(Value::from(group.peer_tags.clone()), wanted["PeerTags"]);
            assert_eq!((hex(&group.ok), hex(&group.error)), {
                let of = |name: &str| wanted[name]["hex"].as_str().unwrap().to_owned();
                (of("OkSummary"), of("ErrorSummary"))
            });
        }
    }

    #[test]
    fn headers_say_what_the_request_leaves_empty() {
        let text = str::to_owned;
        let tracer =
            TracerInfo { language: text("go"), tracer_version: text("2.0"), container_id: text("c"), ..TracerInfo::default() };
        let client = decode(b"\x82\xa4Lang\xa4java\xabContainerID\xa0", tracer, ALLOWANCE).unwrap();
        assert_eq!([&client.language, &client.tracer_version, &client.container_id].map(String::as_str), ["java", "2.0", "c"]);
    }

    #[test]
    fn damaged_requests_stay_within_bounds() {
        for end in 0..TWO_GROUPS.len() {
            assert_eq!(read(&TWO_GROUPS[..end], ALLOWANCE).err(), Some(DecodeError::UnexpectedEnd), "cut at {end}");
        }
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..5000 {
            let mut damaged = TWO_GROUPS.to_vec();
            let at = random.below(TWO_GROUPS.len() as u64) as usize;
            match random.below(2) {
                0 => damaged[at] ^= 1 << random.below(8),
                _ => damaged[at] = random.bits() as u8,
            }
            let allowance = random.below(4000) as usize;
            if let Ok(client) = read(&damaged, allowance) {
                assert!(client.memory_bytes() <= allowance + size_of::<ClientStats>());
            }
        }
    }

    #[test]
    fn unknown_keys_are_skipped_and_texts_repaired() {
        let client = read(b"\x83\xa3New\x81\xa1k\x90\xa3Env\xa2a\xff\xa4Tags\x92\xa1x\xc0", ALLOWANCE).unwrap();
        assert_eq!((client.env.as_str(), client.tags.as_slice()), ("a\u{fffd}", &["x".to_owned()][..]));
        assert_eq!(read(b"\x90", ALLOWANCE).err(), Some(DecodeError::Type { wanted: "a map", marker: 0x90, at: 0 }));
    }

    #[test]
    fn small_bytes_that_stand_for_much_memory_are_stopped_at_the_allowance() {
        let buckets = [&b"\x81\xa5Stats\xdd\0\x10\0\0"[..], &[0x80; 1 << 20]].concat();
        let groups = [&b"\x81\xa5Stats\x91\x81\xa5Stats\xdd\0\x10\0\0"[..], &[0x80; 1 << 20]].concat();
        let tags = [&b"\x81\xa4Tags\xdd\0\x10\0\0"[..], &[0xa0; 1 << 20]].concat();
        for request in [buckets, groups, tags] {
            assert_eq!(read(&request, ALLOWANCE).err(), Some(DecodeError::Memory { allowance: ALLOWANCE }));
        }
        assert_eq!(read(b"\x81\xa5Stats\xdd\xff\xff\xff\xff", ALLOWANCE).err(), Some(DecodeError::UnexpectedEnd));
    }
}
