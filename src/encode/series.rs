//! Series as protobuf, for `/api/v2/series`.
//!
//! ```text
//! MetricPayload  1 series*
//! MetricSeries   1 resources* {1 type  2 name}   2 metric   3 tags*   4 points* {1 value double  2 timestamp int64 in seconds}
//!                5 type: 1 count  2 rate  3 gauge   8 interval in seconds   9 metadata {1 origin {4 product  5 category  6 service}}
//! ```
//! The first resource is the host, also without a name. Tags `device:name` and `dd.internal.resource:type:name` become resources.
//! Limits of a body: 5,242,880 bytes, 512,000 compressed, 10,000 points. Source: DataDog/agent-payload, agent_payload.proto, and
//! reference agent 7.80, pkg/serializer.

use crate::encode::metric_body::Limits;
use crate::encode::protobuf::Sink;
use crate::model::series::Series;
use crate::model::series::SeriesKind;

/// What one body may have.
pub const LIMITS: Limits = Limits { bytes_max: 5_242_880, compressed_max: 512_000, points_max: 10_000 };

/// Where metrics come from, in the backend's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// 1 serverless, 10 an agent.
    pub product: u32,
    /// 10 DogStatsD, 38 Lambda.
    pub category: u32,
    /// 0 none, 472 metrics of a function's code.
    pub service: u32,
}

/// The product of everything serverless.
const SERVERLESS: u32 = 1;

/// Prefixes of metrics from a function that have another service than its code.
const SERVICES: [(&str, u32); 3] = [("aws.lambda.", 473), ("jvm.", 474), ("runtime.", 474)];

impl Origin {
    /// That of the metric `name`; Datadog's own metrics have none, and those of a machine are no client's.
    pub fn of(self, name: &str) -> Option<Origin> {
        if name.starts_with("datadog.") || (self.product != SERVERLESS && name.starts_with("system.")) {
            return None;
        }
        let special = SERVICES.iter().find(|(prefix, _)| self.product == SERVERLESS && name.starts_with(prefix));
        Some(Origin { service: special.map_or(self.service, |(_, service)| *service), ..self })
    }
}

/// Appends the fields of one `MetricSeries`.
pub fn write(out: &mut Vec<u8>, series: &Series<'_>, origin: Option<Origin>) {
    let labels = &series.labels;
    resource(out, "host", labels.host);
    for (kind, name) in labels.each_tag().filter_map(as_resource) {
        resource(out, kind, name);
    }
    name(out, 2, labels.name, labels.suffix);
    for tag in labels.each_tag().filter(|tag| as_resource(tag).is_none()) {
        out.string(3, tag);
    }
    for (timestamp, value) in series.points {
        let mut point = Vec::with_capacity(20);
        point.double(1, *value);
        point.int(2, *timestamp);
        out.bytes(4, point.len(), || &point);
    }
    let kind = match series.kind {
        SeriesKind::Count => 1,
        SeriesKind::Rate => 2,
        SeriesKind::Gauge => 3,
    };
    out.uint(5, kind);
    out.int(8, series.interval);
    metadata(out, 9, origin);
}

/// Type and name of the resource that a tag stands for.
fn as_resource(tag: &str) -> Option<(&str, &str)> {
    match tag.strip_prefix("device:") {
        Some(name) => Some(("device", name)),
        None => tag.strip_prefix("dd.internal.resource:")?.split_once(':'),
    }
}

fn resource(out: &mut Vec<u8>, kind: &str, name: &str) {
    let mut message = Vec::with_capacity(kind.len() + name.len() + 8);
    message.string(1, kind);
    message.string(2, name);
    out.bytes(1, message.len(), || &message);
}

/// A name in two parts.
pub fn name(out: &mut Vec<u8>, number: u64, name: &str, suffix: &str) {
    out.header(number, (name.len() + suffix.len()) as u64);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
}

/// The metadata of a series or sketch, which is nothing but its origin.
pub fn metadata(out: &mut Vec<u8>, number: u64, origin: Option<Origin>) {
    let Some(Origin { product, category, service }) = origin else { return };
    let mut message = Vec::with_capacity(20);
    for (number, value) in [(4, product), (5, category), (6, service)] {
        message.uint(number, u64::from(value));
    }
    let mut outer = Vec::with_capacity(24);
    outer.bytes(1, message.len(), || &message);
    out.bytes(number, outer.len(), || &outer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::metric_body::MetricBody;
    use crate::model::series::Labels;
    use flate2::read::GzDecoder;
    use std::io::Read;

    const GOLDEN: &[u8] = include_bytes!("../../fixtures/intake/series.bin");

    fn unzip(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(body).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_golden_body_is_met_byte_for_byte() {
        let series = |name, tags, kind, interval, value| Series {
            labels: Labels { name, suffix: "", host: "gw-1", tags },
            kind,
            interval,
            points: value,
        };
        let origin = Origin { product: 1, category: 38, service: 472 };
        let mut body = MetricBody::new(LIMITS, 1);
        let all = [
            (series("page.views", "env:prod", SeriesKind::Count, 10, &[(1_700_000_000, 4.0)]), Some(origin)),
            (series("fuel.level", "", SeriesKind::Gauge, 0, &[(1_700_000_000, 0.5)]), None),
            (series("req.rate", "a:b\ndevice:eth0", SeriesKind::Rate, 10, &[(1_700_000_000, 0.4)]), None),
        ];
        for (series, origin) in &all {
            let mut message = Vec::new();
            write(&mut message, series, *origin);
            body.add(&message, 1);
        }
        assert_eq!(unzip(&body.finish(&[])), GOLDEN);
    }

    #[test]
    fn resources_come_from_tags() {
        let labels =
            Labels { name: "a", suffix: ".max", host: "", tags: "dd.internal.resource:pod:p-1\nx\ndd.internal.resource:y" };
        let mut out = Vec::new();
        write(&mut out, &Series { labels, kind: SeriesKind::Gauge, interval: 0, points: &[] }, None);
        let groups: [&[u8]; 6] = [
            b"\x0a\x06\x0a\x04host",           // the host has no name
            b"\x0a\x0a\x0a\x03pod\x12\x03p-1", // a resource
            b"\x12\x05a.max",                  // name and suffix
            b"\x1a\x01x",                      // a tag
            b"\x1a\x16dd.internal.resource:y", // one that names no resource
            b"\x28\x03",                       // gauge
        ];
        assert_eq!(out, groups.concat());
    }

    #[test]
    fn origins_depend_on_the_name() {
        let lambda = Origin { product: 1, category: 38, service: 472 };
        let service = |name: &str| lambda.of(name).map(|origin| origin.service);
        assert_eq!(
            [service("a"), service("aws.lambda.b"), service("jvm.c"), service("datadog.d")],
            [Some(472), Some(473), Some(474), None]
        );
        let agent = Origin { product: 10, category: 10, service: 0 };
        assert_eq!((agent.of("jvm.c"), agent.of("system.load.1")), (Some(agent), None));
    }
}
