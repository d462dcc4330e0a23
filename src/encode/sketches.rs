//! Sketches as protobuf, for `/api/beta/sketches`.
//!
//! ```text
//! SketchPayload  1 sketches*   2 metadata, which is empty and written all the same
//! Sketch         1 metric   2 host   4 tags*   7 dogsketches*   8 metadata, as that of a series
//! Dogsketch      1 ts int64 in seconds   2 cnt int64   3 min   4 max   5 avg   6 sum, doubles   7 k packed sint32   8 n packed uint32
//! ```
//! Keys and counts are of equal number, keys ascending. Limits of a body: 4 MiB, 2.5 MiB compressed. Source: DataDog/agent-payload,
//! agent_payload.proto, and reference agent 7.80, pkg/serializer.

use crate::encode::metric_body::Limits;
use crate::encode::protobuf::Sink;
use crate::encode::series::Origin;
use crate::encode::series::metadata;
use crate::encode::series::name;
use crate::model::series::Labels;
use crate::model::series::Sketch;
use crate::model::series::SketchBin;

/// What one body may have.
pub const LIMITS: Limits = Limits { bytes_max: 4 << 20, compressed_max: 5 << 19, points_max: u64::MAX };

/// What stands behind the last sketch.
pub const TRAILER: &[u8] = b"\x12\x00";

/// Appends the fields of one `Sketch`, whose bins are sent as `bins`.
pub fn write(
    out: &mut Vec<u8>,
    labels: &Labels<'_>,
    timestamp: i64,
    sketch: &Sketch,
    bins: &[SketchBin],
    origin: Option<Origin>,
) {
    name(out, 1, labels.name, labels.suffix);
    out.string(2, labels.host);
    for tag in labels.each_tag() {
        out.string(4, tag);
    }
    let mut message = Vec::with_capacity(64 + bins.len() * 4);
    message.int(1, timestamp);
    message.uint(2, sketch.count);
    for (number, value) in [(3, sketch.min), (4, sketch.max), (5, sketch.avg), (6, sketch.sum)] {
        if value != 0.0 {
            message.double(number, value);
        }
    }
    let mut numbers = Vec::with_capacity(bins.len() * 2);
    for bin in bins {
        // The sign is the lowest bit.
        let zigzag = (i32::from(bin.key) << 1) ^ (i32::from(bin.key) >> 31);
        numbers.varint(u64::from(zigzag as u32));
    }
    message.bytes(7, numbers.len(), || &numbers);
    numbers.clear();
    bins.iter().for_each(|bin| numbers.varint(u64::from(bin.count)));
    message.bytes(8, numbers.len(), || &numbers);
    out.bytes(7, message.len(), || &message);
    metadata(out, 8, origin);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::metric_body::MetricBody;
    use crate::process::metrics::sketch;
    use crate::process::metrics::sketch::Growth;
    use flate2::read::GzDecoder;
    use serde_json::Value;
    use std::io::Read;

    fn unzip(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(body).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_vector_is_met_byte_for_byte() {
        let cases: Value = serde_json::from_str(include_str!("../../fixtures/sketch_payload.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let text = |member: &str| case[member].as_str().unwrap().to_owned();
            let mut sketch = Sketch::default();
            for value in case["values"].as_array().unwrap() {
                sketch::insert(&mut sketch, value.as_f64().unwrap(), 1.0, Growth::Allowed);
            }
            let tags: Vec<&str> = case["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
            let (metric, host, tags) = (text("metric"), text("host"), tags.join("\n"));
            let labels = Labels { name: &metric, suffix: "", host: &host, tags: &tags };
            let number = |member: &str| case["origin"][member].as_u64().map(|number| number as u32);
            let origin = number("product").map(|product| Origin {
                product,
                category: number("category").unwrap(),
                service: number("service").unwrap(),
            });
            let mut message = Vec::new();
            let bins = sketch::bins_to_send(&sketch);
            write(&mut message, &labels, case["ts"].as_i64().unwrap(), &sketch, &bins, origin);
            let mut body = MetricBody::new(LIMITS, 1);
            body.add(&message, 1);
            let hex: String = unzip(&body.finish(TRAILER)).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, text("protobuf_hex"), "{}", case["name"]);
        }
    }
}
