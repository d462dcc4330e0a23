//! Sketches of APM statistics as protobuf.
//!
//! ```text
//! DDSketch  1 mapping {1 gamma double  2 indexOffset double}  2 positive store  3 negative store  4 zeroCount double
//! store     2 contiguousBinCounts, packed doubles from the lowest bin to the highest  3 contiguousBinIndexOffset sint32: the lowest
//! ```
//! Both stores are written, though there are no negative durations; a zero count of 0 is left out. An empty sketch has 24 bytes, one
//! with bins at most 16 KiB. Source: DataDog/sketches-go, ddsketch.proto; byte for byte as libdatadog writes it.

use crate::encode::protobuf::Counter;
use crate::encode::protobuf::Sink;
use crate::model::stats::Sketch;

/// Appends the message.
pub fn encode(out: &mut Vec<u8>, sketch: &Sketch) {
    out.header(1, 18);
    out.double(1, Sketch::GAMMA);
    out.double(2, Sketch::INDEX_OFFSET);
    let mut store = Counter::default();
    store_fields(&mut store, sketch);
    out.header(2, store.bytes);
    store_fields(out, sketch);
    out.header(3, 0);
    if sketch.zeros != 0 {
        out.double(4, f64::from(sketch.zeros));
    }
}

/// How many bytes [`encode`] writes, or a few more.
pub fn len_at_most(sketch: &Sketch) -> usize {
    20 + 4 + 9 + 10 + 8 * bins(sketch)
}

/// From the lowest to the highest.
fn bins(sketch: &Sketch) -> usize {
    match (sketch.bins.first(), sketch.bins.last()) {
        (Some(first), Some(last)) => (i32::from(last.key) - i32::from(first.key) + 1) as usize,
        _ => 0,
    }
}

fn store_fields(out: &mut impl Sink, sketch: &Sketch) {
    let Some(first) = sketch.bins.first() else { return };
    out.header(2, 8 * bins(sketch) as u64);
    let mut next = first.key;
    for bin in &sketch.bins {
        for _ in next..bin.key {
            out.raw_eight(&[0; 8]);
        }
        out.raw_eight(&f64::from(bin.count).to_le_bytes());
        next = bin.key + 1;
    }
    // sint32: the sign is the lowest bit.
    let zigzag = (first.key << 1) ^ (first.key >> 15);
    out.uint(3, u64::from(zigzag as u16));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::sketch::Growth;
    use crate::process::sketch::insert;
    use serde_json::Value;

    #[test]
    fn every_vector_is_met_byte_for_byte() {
        let cases: Value = serde_json::from_str(include_str!("../../fixtures/apm_sketch.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let mut sketch = Sketch::default();
            for value in case["values_ns"].as_array().unwrap() {
                insert(&mut sketch, value.as_u64().unwrap(), Growth::Allowed);
            }
            let mut bytes = Vec::new();
            encode(&mut bytes, &sketch);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, case["hex"].as_str().unwrap(), "{}", case["name"]);
            assert!(bytes.len() <= len_at_most(&sketch));
        }
    }
}
