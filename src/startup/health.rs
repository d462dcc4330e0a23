//! What the agent's own health is read from.

use crate::model::metrics_item::MetricsItem;
use crate::sources::health::Gauge;
use crate::sources::health::Health;
use crate::sources::health::Reading;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::startup::deliver::Deliver;
use crate::startup::dogstatsd;
use crate::startup::dogstatsd::Dogstatsd;
use crate::startup::parts::Servers;
use crate::sys::host;
use crate::sys::inbox::Inbox;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// More often would cost more than it tells.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// A queue's name as a tag, and a kind of body that it holds.
const QUEUES: [(&str, Kind); 5] = [
    ("endpoint:traces", Kind::Traces),
    ("endpoint:stats", Kind::Stats),
    ("endpoint:logs", Kind::Logs),
    ("endpoint:metrics", Kind::Series),
    ("endpoint:proxied", Kind::Proxied),
];

/// Starts to tell of it, if that is wanted.
pub fn start(servers: &Servers<'_>, deliver: &Deliver, dogstatsd: &Dogstatsd, inbox: &Inbox<MetricsItem>) -> Option<Health> {
    if !servers.config.health_metrics {
        return None;
    }
    let queues = QUEUES.map(|(tag, kind)| (tag, deliver.queue(kind)));
    let (ledger, count_missed) = (Arc::clone(servers.ledger), dogstatsd.counts_missed(servers.ledger));
    let read = move || {
        count_missed();
        Reading { ledger: ledger.snapshot(), gauges: gauges(&queues) }
    };
    let period = servers.config.health_metrics_period.max(PERIOD_MIN);
    let started = Health::start(period, dogstatsd::outlet(servers, inbox), read, servers.exits);
    started.inspect_err(|err| log::error!("no metrics of the agent's own health: {err}")).ok()
}

fn gauges(queues: &[(&'static str, Arc<Queue>)]) -> Vec<Gauge> {
    let mut gauges = Vec::new();
    for (tags, queue) in queues {
        let level = queue.level();
        gauges.push(Gauge { name: "mote.queue.bytes", tags, value: level.bytes as f64 });
        gauges.extend(level.flush_took.map(|took| Gauge { name: "mote.flush.seconds", tags, value: took.as_secs_f64() }));
    }
    let memory = host::resident_bytes(Path::new("/"));
    gauges.extend(memory.map(|bytes| Gauge { name: "mote.memory.bytes", tags: "", value: bytes as f64 }));
    gauges
}
