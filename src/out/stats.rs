//! Prints bodies of statistics: one JSON object a group.
//!
//! ```text
//! {"signal":"stats", "service", "name", "resource", "type", "span_kind", "http_status", "http_method", "http_endpoint", "grpc_status",
//!  "hits", "errors", "top_level_hits", "duration", "ok":summary, "error":summary, "peer_tags":[], "is_trace_root", "synthetics",
//!  "service_source", "db_type", "primary_tags":[], "metric_tags":[],
//!  "bucket":{"start", "duration", "agent_time_shift"},
//!  "client":{"hostname", "env", "version", "language", "tracer_version", "runtime_id", ...},
//!  "agent":{"hostname", "env", "version"}, "client_computed", "split_payload"}
//! summary  {"gamma", "index_offset", "bins":{key: count}, "zero_count"}, or the bytes in hex if they are none
//! ```
//! Members that a body has not are left out, and members that are not known are passed over. Bins of 0 are not shown. A bin's values
//! lie around `gamma` to the power of (key + 0.5 - index_offset). Source: reference agent 7.80, pkg/proto/pbgo/trace/stats.go.

use crate::out::msgpack;
use crate::out::msgpack::MsgpackError;
use crate::out::protobuf::Field;
use crate::out::protobuf::Fields;
use crate::out::protobuf::ProtobufError;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Names in a body and in a record.
type Names = &'static [(&'static str, &'static str)];

const GROUP: Names = &[
    ("Service", "service"),
    ("Name", "name"),
    ("Resource", "resource"),
    ("Type", "type"),
    ("SpanKind", "span_kind"),
    ("HTTPStatusCode", "http_status"),
    ("HTTPMethod", "http_method"),
    ("HTTPEndpoint", "http_endpoint"),
    ("GRPCStatusCode", "grpc_status"),
    ("Hits", "hits"),
    ("Errors", "errors"),
    ("TopLevelHits", "top_level_hits"),
    ("Duration", "duration"),
    ("OkSummary", "ok"),
    ("ErrorSummary", "error"),
    ("PeerTags", "peer_tags"),
    ("IsTraceRoot", "is_trace_root"),
    ("Synthetics", "synthetics"),
    ("srv_src", "service_source"),
    ("DBType", "db_type"),
    ("SpanDerivedPrimaryTags", "primary_tags"),
    ("AdditionalMetricTags", "metric_tags"),
];

const BUCKET: Names = &[("Start", "start"), ("Duration", "duration"), ("AgentTimeShift", "agent_time_shift")];

const CLIENT: Names = &[
    ("Hostname", "hostname"),
    ("Env", "env"),
    ("Version", "version"),
    ("Lang", "language"),
    ("TracerVersion", "tracer_version"),
    ("RuntimeID", "runtime_id"),
    ("Sequence", "sequence"),
    ("AgentAggregation", "agent_aggregation"),
    ("Service", "service"),
    ("ContainerID", "container_id"),
    ("Tags", "tags"),
    ("GitCommitSha", "git_commit_sha"),
    ("ImageTag", "image_tag"),
    ("ProcessTagsHash", "process_tags_hash"),
    ("ProcessTags", "process_tags"),
];

const AGENT: Names = &[("AgentHostname", "hostname"), ("AgentEnv", "env"), ("AgentVersion", "version")];

const BODY: Names = &[("ClientComputed", "client_computed"), ("SplitPayload", "split_payload")];

/// Hands every group of `body`, a `StatsPayload` without compression, to `each`.
pub fn records(body: &[u8], each: &mut impl FnMut(Value)) -> Result<(), MsgpackError> {
    let body = msgpack::value(body)?;
    let agent = named(&body, AGENT);
    for client in elements(&body) {
        let client_members = named(client, CLIENT);
        for bucket in elements(client) {
            let bucket_members = named(bucket, BUCKET);
            for group in elements(bucket) {
                let mut record = Map::new();
                record.insert("signal".to_owned(), json!("stats"));
                record.extend(named(group, GROUP));
                for name in ["ok", "error"] {
                    if let Some(Value::String(hex)) = record.get(name) {
                        let shown = shown_summary(hex);
                        record.insert(name.to_owned(), shown);
                    }
                }
                let members = [("bucket", &bucket_members), ("client", &client_members), ("agent", &agent)];
                record.extend(members.map(|(name, members)| (name.to_owned(), Value::Object(members.clone()))));
                record.extend(named(&body, BODY));
                each(Value::Object(record));
            }
        }
    }
    Ok(())
}

/// The elements of member `Stats`, at whichever level.
fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.get("Stats").and_then(Value::as_array).into_iter().flatten()
}

fn named(value: &Value, names: Names) -> Map<String, Value> {
    names.iter().filter_map(|(from, to)| Some(((*to).to_owned(), value.get(from)?.clone()))).collect()
}

fn shown_summary(hex: &str) -> Value {
    let digit = |at: usize| hex.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).filter_map(digit).collect();
    summary(&bytes).unwrap_or_else(|_| json!(hex))
}

fn summary(message: &[u8]) -> Result<Value, ProtobufError> {
    let (mut gamma, mut index_offset, mut zero_count) = (0.0, 0.0, 0.0);
    let mut bins = Map::new();
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => {
                for field in Fields::new(field.bytes()?) {
                    let field = field?;
                    match field.number {
                        1 => gamma = field.double()?,
                        2 => index_offset = field.double()?,
                        _ => {}
                    }
                }
            }
            2 => store(&field, &mut bins)?,
            4 => zero_count = field.double()?,
            _ => {}
        }
    }
    Ok(json!({"gamma": gamma, "index_offset": index_offset, "bins": bins, "zero_count": zero_count}))
}

fn store(field: &Field, bins: &mut Map<String, Value>) -> Result<(), ProtobufError> {
    let (mut counts, mut lowest) = (&[][..], 0_i64);
    for field in Fields::new(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => single_bin(&field, bins)?,
            2 => counts = field.bytes()?,
            3 => lowest = sint(field.uint()?),
            _ => {}
        }
    }
    let (counts, _) = counts.as_chunks::<8>();
    for (index, count) in (lowest..).zip(counts) {
        put(bins, index, f64::from_le_bytes(*count));
    }
    Ok(())
}

/// An entry of the map that a sketch with few bins far from each other may have in place of a list.
fn single_bin(field: &Field, bins: &mut Map<String, Value>) -> Result<(), ProtobufError> {
    let (mut index, mut count) = (0, 0.0);
    for field in Fields::new(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => index = sint(field.uint()?),
            2 => count = field.double()?,
            _ => {}
        }
    }
    put(bins, index, count);
    Ok(())
}

fn put(bins: &mut Map<String, Value>, index: i64, count: f64) {
    if count != 0.0 {
        bins.insert(index.to_string(), json!(count));
    }
}

/// A number whose sign is its lowest bit.
fn sint(bits: u64) -> i64 {
    (bits >> 1) as i64 ^ -((bits & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    const LIBDATADOG: &[u8] = include_bytes!("../../fixtures/intake/stats_two_groups.bin");
    const REFERENCE: &[u8] = include_bytes!("../../fixtures/intake/stats_two_groups_reference_sketches.bin");

    fn read(body: &[u8]) -> Result<Vec<Value>, MsgpackError> {
        let mut found = Vec::new();
        records(body, &mut |record| found.push(record)).map(|()| found)
    }

    #[test]
    fn the_golden_body_is_one_record_a_group() {
        let found = read(LIBDATADOG).unwrap();
        assert_eq!(found.len(), 2);
        let empty = json!({"gamma": 1.015625, "index_offset": 1338.5, "bins": {}, "zero_count": 0.0});
        let expected = json!({
            "signal": "stats", "service": "web-store", "name": "postgres.query", "resource": "SELECT * FROM cart WHERE id = ?",
            "type": "sql", "span_kind": "client", "http_status": 0, "http_method": "", "http_endpoint": "", "grpc_status": "",
            "hits": 1, "errors": 1, "top_level_hits": 0, "duration": 20_000_000, "ok": empty,
            "error": {"gamma": 1.015625, "index_offset": 1338.5, "bins": {"2422": 1.0}, "zero_count": 0.0},
            "peer_tags": ["db.type:postgresql", "out.host:blocked-ip-address"], "is_trace_root": 2, "synthetics": false,
            "service_source": "", "db_type": "", "primary_tags": [], "metric_tags": [],
            "bucket": {"start": 1_700_000_000_000_000_000_u64, "duration": 10_000_000_000_u64, "agent_time_shift": 0},
            "client": {"hostname": "", "env": "prod", "version": "1.2.3", "language": "python", "tracer_version": "", "runtime_id": "",
                "sequence": 0, "agent_aggregation": "", "service": "", "container_id": "", "tags": [], "git_commit_sha": "",
                "image_tag": "", "process_tags_hash": 0, "process_tags": ""},
            "agent": {"hostname": "gw-1", "env": "none", "version": "0.1.0"}, "client_computed": false, "split_payload": false,
        });
        assert_eq!(found[1], expected);
        assert_eq!(read(REFERENCE).unwrap()[0]["ok"]["bins"], json!({"941": 1.0}));
    }

    #[test]
    fn malformed_bodies_are_errors_or_show_what_they_have() {
        assert_eq!(read(b"\x81\xa5Stats\x91"), Err(MsgpackError::UnexpectedEnd));
        assert_eq!(read(b"\x81\xa5Stats\x91\x81\xa5Stats\x07"), Ok(Vec::new()));
        let odd = read(b"\x81\xa5Stats\x91\x81\xa5Stats\x91\x81\xa5Stats\x91\x81\xa9OkSummary\xc4\x01\x0b").unwrap();
        assert_eq!(odd[0]["ok"], json!("0b"));
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..3000 {
            let mut damaged = LIBDATADOG.to_vec();
            damaged[random.below(LIBDATADOG.len() as u64) as usize] ^= 1 << random.below(8);
            let _ = read(&damaged);
        }
    }
}
