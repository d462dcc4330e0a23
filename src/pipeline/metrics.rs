//! Points of metrics, events and service checks from datagrams to bodies: parse, aggregate, encode.

use crate::pipeline::Stage;
use crate::process::metrics as rules;
use crate::spool::Queue;
use crate::sys::clock::Now;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use std::sync::Arc;
use std::time::Duration;

pub use crate::model::metrics_item::MetricsItem;

/// The pipeline's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done with points.
    pub rules: rules::Settings,
    /// Bytes of a body before compression, at most what the intake takes.
    pub body_bytes_max: usize,
    /// 0 to 9.
    pub compression_level: u32,
    /// What the backend is told of where metrics come from.
    pub origin: Option<Origin>,
}

/// Where metrics come from, in the backend's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// 1 serverless, 10 an agent.
    pub product: u32,
    /// 10 DogStatsD, 38 Lambda.
    pub category: u32,
    /// 0 none, 472 metrics of a function.
    pub service: u32,
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
    _settings: Settings,
    _queues: Queues,
    _ledger: Arc<Ledger>,
}

impl MetricsStage {
    /// A stage that puts bodies into `queues`.
    pub fn new(settings: Settings, queues: Queues, ledger: Arc<Ledger>) -> MetricsStage {
        MetricsStage { _settings: settings, _queues: queues, _ledger: ledger }
    }
}

impl Stage for MetricsStage {
    type Item = MetricsItem;

    fn take(&mut self, parcel: Parcel<MetricsItem>, _now: Now) {
        parcel.claim.drop_all(Reason::Fault);
    }

    fn due(&self) -> Option<Duration> {
        None
    }

    fn flush(&mut self, _now: Now) {}

    fn finish(&mut self, now: Now) {
        self.flush(now);
    }
}
