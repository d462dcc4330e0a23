//! Bodies that are being filled with series and sketches, and the points that each will settle.

use crate::encode::compress::Compressor;
use crate::encode::metric_body::Limits;
use crate::encode::metric_body::MetricBody;
use crate::encode::series;
use crate::encode::series::Origin;
use crate::encode::sketches;
use crate::model::series::Series;
use crate::pipeline::metrics::Queues;
use crate::pipeline::metrics::Settings;
use crate::process::metrics::Outgoing;
use crate::process::metrics::sketch::bins_to_send;
use crate::spool::Body;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Reason;
use std::sync::Arc;

/// The version of the formats, as the reference agent tells it.
const PAYLOAD_VERSION: &str = "4.87.0";

/// Both bodies, and the claim for points that are not in one yet.
#[derive(Debug)]
pub struct Bodies {
    series: Filling,
    sketches: Filling,
    held: Claim,
    message: Vec<u8>,
    origin: Option<Origin>,
    compression_level: u32,
    queues: Queues,
}

#[derive(Debug)]
struct Filling {
    kind: Kind,
    limits: Limits,
    trailer: &'static [u8],
    queue: Arc<Queue>,
    body: Option<(MetricBody, Claim)>,
}

impl Bodies {
    /// None yet; `nothing` is a claim for no point.
    pub fn new(settings: &Settings, queues: Queues, nothing: Claim) -> Bodies {
        let filling = |kind, limits: Limits, trailer, queue: &Arc<Queue>| Filling {
            kind,
            limits: Limits { bytes_max: limits.bytes_max.min(settings.body_bytes_max as u64), ..limits },
            trailer,
            queue: Arc::clone(queue),
            body: None,
        };
        Bodies {
            series: filling(Kind::Series, series::LIMITS, b"", &queues.series),
            sketches: filling(Kind::Sketches, sketches::LIMITS, sketches::TRAILER, &queues.sketches),
            held: nothing,
            message: Vec::new(),
            origin: settings.origin,
            compression_level: settings.compression_level,
            queues,
        }
    }

    /// Takes over points that bodies will settle.
    pub fn hold(&mut self, claim: Claim) {
        self.held.merge(claim);
    }

    /// Puts in what leaves, which settles so many points.
    pub fn add(&mut self, outgoing: Outgoing<'_>, points: u64) {
        if let Outgoing::Series(series) = outgoing {
            // Only points with a time of their own are so many, and each of these settles itself.
            let (first, rest) = series.points.split_at(series.points.len().min(self.series.limits.points_max as usize));
            if !rest.is_empty() {
                self.add(Outgoing::Series(Series { points: first, ..series }), first.len() as u64);
                return self.add(Outgoing::Series(Series { points: rest, ..series }), points - first.len() as u64);
            }
        }
        let mut claim = self.held.split(points);
        self.message.clear();
        let origin = |name: &str| self.origin.and_then(|origin| origin.of(name));
        let (filling, values) = match &outgoing {
            Outgoing::Series(series) => {
                series::write(&mut self.message, series, origin(series.labels.name));
                (&mut self.series, series.points.len() as u64)
            }
            Outgoing::Sketch(labels, timestamp, sketch) => {
                let bins = bins_to_send(sketch);
                sketches::write(&mut self.message, labels, *timestamp, sketch, &bins, origin(labels.name));
                (&mut self.sketches, 1)
            }
            Outgoing::Nothing => return claim.drop_all(Reason::Filtered),
        };
        if filling.body.as_ref().is_some_and(|(body, _)| !body.takes(self.message.len(), values)) {
            filling.send();
        }
        let (limits, level) = (filling.limits, self.compression_level);
        let (body, held) = filling.body.get_or_insert_with(|| (MetricBody::new(limits, level), claim.split(0)));
        body.add(&self.message, values);
        held.merge(claim);
    }

    /// Sends what has been put in.
    pub fn send(&mut self) {
        self.series.send();
        self.sketches.send();
    }

    /// Sends an event, which is a body of its own.
    pub fn send_event(&self, json: Vec<u8>, claim: Claim) {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        self.queues.events.push(Body::new(Kind::Event, json, headers, claim));
    }

    /// Sends results of checks.
    pub fn send_checks(&self, json: &[u8], claim: Claim) {
        let mut body = Compressor::new(self.compression_level);
        body.write(json);
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        headers.extend(body.encoding().map(|encoding| ("Content-Encoding", encoding.to_owned())));
        self.queues.checks.push(Body::new(Kind::Checks, body.finish(), headers, claim));
    }
}

impl Filling {
    fn send(&mut self) {
        let Some((body, claim)) = self.body.take() else { return };
        let headers = vec![
            ("Content-Type", "application/x-protobuf".to_owned()),
            ("Content-Encoding", "gzip".to_owned()),
            ("DD-Agent-Payload", PAYLOAD_VERSION.to_owned()),
            ("DD-Agent-Version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        self.queue.push(Body::new(self.kind, body.finish(self.trailer), headers, claim));
    }
}
