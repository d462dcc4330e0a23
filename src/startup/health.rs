//! What the agent's own health is read from.

use crate::sources::health::Gauge;
use crate::sources::health::Health;
use crate::sources::health::Reading;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::startup::deliver::Deliver;
use crate::startup::dogstatsd;
use crate::startup::dogstatsd::Dogstatsd;
use crate::startup::parts::Pipelines;
use crate::startup::parts::Servers;
use crate::sys::host;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
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
pub fn start(servers: &Servers<'_>, deliver: &Deliver, dogstatsd: &Dogstatsd, pipelines: &Pipelines) -> Option<Health> {
    if !servers.config.health_metrics {
        return None;
    }
    let queues = QUEUES.map(|(tag, kind)| (tag, deliver.queue(kind)));
    let spool_bytes = deliver.spool_bytes();
    let (ledger, count_missed) = (Arc::clone(servers.ledger), dogstatsd.counts_missed(servers.ledger));
    let read = move || {
        count_missed();
        Reading { ledger: ledger.snapshot(), gauges: gauges(&queues, spool_bytes.as_deref()) }
    };
    let period = servers.config.health_metrics_period.max(PERIOD_MIN);
    let started = Health::start(period, dogstatsd::outlet(servers, pipelines), read, servers.exits);
    started.inspect_err(|err| log::error!("no metrics of the agent's own health: {err}")).ok()
}

fn gauges(queues: &[(&'static str, Arc<Queue>)], spool_bytes: Option<&AtomicU64>) -> Vec<Gauge> {
    let mut gauges = Vec::new();
    for (tags, queue) in queues {
        let level = queue.level();
        gauges.push(Gauge { name: "mote.queue.bytes", tags, value: level.bytes as f64 });
        gauges.extend(level.flush_took.map(|took| Gauge { name: "mote.flush.seconds", tags, value: took.as_secs_f64() }));
    }
    gauges.extend(spool_bytes.map(|bytes| Gauge { name: "mote.spool.bytes", tags: "", value: bytes.load(Relaxed) as f64 }));
    let memory = host::resident_bytes(Path::new("/"));
    gauges.extend(memory.map(|bytes| Gauge { name: "mote.memory.bytes", tags: "", value: bytes as f64 }));
    gauges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spool_is_told_of_only_where_there_is_one() {
        let of_spool =
            |bytes: Option<&AtomicU64>| gauges(&[], bytes).into_iter().find(|gauge| gauge.name == "mote.spool.bytes");
        let bytes = AtomicU64::new(7);
        assert_eq!(of_spool(Some(&bytes)).map(|gauge| gauge.value), Some(7.0));
        assert_eq!(of_spool(None), None);
    }
}
