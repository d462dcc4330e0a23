use super::*;
use crate::decode::client_stats;
use crate::decode::traces_v04;
use crate::model::trace::TracerInfo;
use crate::out::stats::records;
use crate::spool::Fate;
use crate::spool::Room;
use crate::spool::Taken;
use crate::spool::WhenFull;
use crate::spool::ages::Ages;
use crate::sys::clock::Clock;
use crate::sys::memory::Budget;
use flate2::read::GzDecoder;
use serde_json::Value;
use serde_json::json;
use std::io::Read;

const TWO_SPANS: &[u8] = include_bytes!("../../../fixtures/decode/traces_v04/two_spans.bin");
const TWO_GROUPS: &[u8] = include_bytes!("../../../fixtures/decode/client_stats/two_groups.bin");

struct Rig {
    stage: TracesStage,
    ledger: Arc<Ledger>,
    queues: Queues,
    budget: Budget,
}

fn rig(statistics: Statistics) -> Rig {
    sampling_rig(statistics, None)
}

fn sampling_rig(statistics: Statistics, sampling: Option<sampling::Settings>) -> Rig {
    let clock = Clock::new();
    let queue = || Queue::new(Room::new(1 << 20, Ages::none()), WhenFull::DropOldest, clock);
    let (ledger, queues) = (Ledger::new(), Queues { traces: queue(), stats: queue() });
    let settings = Settings {
        rules: rules::Settings::default(),
        lambda: None,
        agent: Agent { hostname: "gw-1".to_owned(), env: "none".to_owned(), version: "0.1.0".to_owned(), ..Agent::default() },
        body_bytes_max: 1 << 20,
        compression_level: 1,
        statistics,
        sampling,
        rates: RatesHandle::new(7),
        spares: spares::Limits::NONE,
    };
    let stage = TracesStage::new(settings, queues.clone(), Arc::clone(&ledger));
    Rig { stage, ledger, queues, budget: Budget::new(1 << 20) }
}

fn here() -> Statistics {
    let peer_tags = stats::PEER_TAGS.iter().map(|tag| (*tag).to_owned()).collect();
    Statistics::Here(stats::Settings { env: "none".to_owned(), peer_tags, by_span_kind: true, bytes_max: 1 << 20, seed: 1 })
}

/// Seconds after the golden spans.
fn at(seconds: u64) -> Now {
    Now { uptime: Duration::from_secs(seconds), unix: Duration::from_secs(1_700_000_000 + seconds) }
}

impl Rig {
    fn permit(&self) -> Permit {
        self.budget.reserve(1, Clock::new().instant_in(Duration::ZERO)).unwrap()
    }

    fn spans(&mut self, tracer: TracerInfo, now: Now) {
        let payload = traces_v04::decode(TWO_SPANS.to_vec(), tracer, 100_000).unwrap();
        let claim = self.ledger.accept(Signal::Traces, payload.spans.len() as u64);
        let permit = self.permit();
        self.stage.take(Parcel { item: TracesItem::Spans(payload), claim, permit }, now);
    }

    fn client(&mut self, edit: impl FnOnce(&mut ClientStats), now: Now) {
        let mut stats = client_stats::decode(TWO_GROUPS, TracerInfo::default(), 100_000).unwrap();
        edit(&mut stats);
        let claim = self.ledger.accept(Signal::Stats, stats.groups());
        let permit = self.permit();
        self.stage.take(Parcel { item: TracesItem::Stats(Box::new(stats)), claim, permit }, now);
    }

    /// Takes everything out of a queue, as sent.
    fn sent(queue: &Queue) -> Vec<Vec<u8>> {
        queue.close(Clock::new().instant_in(Duration::from_secs(3600)));
        let mut bodies = Vec::new();
        while let Taken::Body(body) = queue.take(Duration::ZERO) {
            let mut plain = Vec::new();
            GzDecoder::new(&body.bytes[..]).read_to_end(&mut plain).unwrap();
            bodies.push(plain);
            queue.settle(body, Fate::Sent);
        }
        bodies
    }

    fn stats(&self) -> Vec<Value> {
        let mut found = Vec::new();
        for body in Rig::sent(&self.queues.stats) {
            records(&body, &mut |record| found.push(record)).unwrap();
        }
        found
    }

    #[track_caller]
    fn check_ledger(&self, traces: u64, stats: u64) {
        let _ = Rig::sent(&self.queues.traces);
        let snapshot = self.ledger.snapshot();
        assert!(snapshot.is_balanced() && snapshot.is_quiet(), "{snapshot}");
        let sent = |signal: Signal| snapshot.rows[signal as usize].sent;
        assert_eq!((sent(Signal::Traces), sent(Signal::Stats)), (traces, stats), "{snapshot}");
    }
}

#[test]
fn spans_leave_as_spans_and_as_statistics() {
    let mut rig = rig(here());
    rig.spans(TracerInfo::default(), at(1));
    rig.spans(TracerInfo::default(), at(2));
    rig.stage.finish(at(3));
    let found = rig.stats();
    let of = |name: &str| found.iter().map(|record| record[name].clone()).collect::<Vec<Value>>();
    assert_eq!((of("name"), of("hits")), (vec![json!("web.request"), json!("postgres.query")], vec![json!(2), json!(2)]));
    assert_eq!(found[0]["client"]["env"], json!("prod"));
    rig.check_ledger(4, 2);
}

#[test]
fn closed_buckets_leave_by_the_clock_and_bodies_of_spans_before_them() {
    let mut rig = rig(here());
    rig.spans(TracerInfo::default(), at(1));
    assert_eq!(rig.stage.due(), Some(Duration::from_secs(6)));
    rig.stage.on_due(at(6));
    assert_eq!(rig.stage.due(), Some(Duration::from_secs(11)));
    rig.stage.on_due(at(11));
    assert_eq!(rig.ledger.snapshot().rows[Signal::Stats as usize].accepted, 0);
    assert_eq!(rig.stage.due(), Some(Duration::from_secs(21)));
    rig.stage.on_due(at(21));
    assert_eq!(rig.stage.due(), None);
    rig.stage.finish(at(22));
    assert_eq!(rig.stats().len(), 2);
    rig.check_ledger(2, 2);
}

#[test]
fn a_flush_sends_open_buckets_and_what_comes_later_is_added() {
    let mut rig = rig(here());
    rig.spans(TracerInfo::default(), at(1));
    rig.stage.flush(at(2));
    rig.spans(TracerInfo::default(), at(3));
    rig.stage.flush(at(4));
    rig.stage.finish(at(5));
    let found = rig.stats();
    assert_eq!(found.iter().map(|record| record["hits"].as_u64().unwrap()).sum::<u64>(), 4);
    assert!(found.iter().all(|record| record["bucket"]["start"] == json!(1_700_000_000_000_000_000_u64)));
    rig.check_ledger(4, 4);
}

#[test]
fn tracers_that_count_are_not_counted_again_and_what_they_counted_is_passed_on() {
    let mut rig = rig(here());
    rig.spans(TracerInfo { client_top_level: true, client_stats: true, ..TracerInfo::default() }, at(1));
    rig.client(|_| (), at(1));
    rig.client(|stats| stats.env.clear(), at(2));
    assert_eq!(rig.stage.due(), Some(Duration::from_secs(6)));
    rig.stage.on_due(at(6));
    assert_eq!(rig.stage.due(), None);
    assert_eq!(rig.budget.taken(), 0, "memory is given back");
    let bodies = Rig::sent(&rig.queues.stats);
    assert_eq!(bodies.len(), 1, "they share a body");
    let mut found = Vec::new();
    records(&bodies[0], &mut |record| found.push(record)).unwrap();
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|record| record["client_computed"] == json!(true)));
    assert_eq!([&found[0]["client"]["env"], &found[2]["client"]["env"]], [&json!("prod"), &json!("none")]);
    assert_eq!(found[0]["client"]["sequence"], json!(7));
    assert_eq!(found[0]["ok"]["bins"], json!({"941": 1.0}), "a tracer's sketch is passed on");
    rig.check_ledger(2, 4);
}

#[test]
fn a_tracers_bucket_without_a_start_is_dropped_and_counted() {
    let mut rig = rig(here());
    rig.client(|stats| stats.buckets[0].start = 0, at(1));
    assert_eq!(rig.stage.due(), None);
    rig.stage.finish(at(2));
    assert!(rig.stats().is_empty());
    let snapshot = rig.ledger.snapshot();
    assert!(
        snapshot.is_balanced()
            && snapshot.to_string().contains("stats accepted=2 restored=0 sent=0 memory=0 spool=0 dropped=2 malformed=2")
    );
}

#[test]
fn where_the_backend_counts_each_span_says_so() {
    for (client_stats, expected) in [(false, json!("1")), (true, Value::Null)] {
        let mut rig = rig(Statistics::Backend);
        rig.spans(TracerInfo { client_stats, ..TracerInfo::default() }, at(1));
        rig.stage.finish(at(2));
        assert!(rig.stats().is_empty());
        let mut found = Vec::new();
        for body in Rig::sent(&rig.queues.traces) {
            crate::out::traces::records(&body, &mut |record| found.push(record)).unwrap();
        }
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|record| record["meta"]["_dd.compute_stats"] == expected));
        rig.check_ledger(2, 0);
    }
}

#[test]
fn what_is_sampled_away_is_counted_in_statistics_and_booked_and_rates_are_told() {
    let by = sampling::By::TargetTps(0.1);
    let (error_tps, rare, env, samples_rule_drops) = (0.0, false, "none".to_owned(), false);
    let mut rig = sampling_rig(here(), Some(sampling::Settings { by, error_tps, rare, env, samples_rule_drops }));
    for second in 1..=7 {
        rig.spans(TracerInfo { dropped_p0_traces: 9, ..TracerInfo::default() }, at(second));
    }
    // The golden trace has priority 1: the tracer keeps it, and is told to keep less. 40 in 4 s are 8 a second.
    let rates = rig.stage.settings.rates.get();
    assert_eq!(rates.body, "{\"rate_by_service\":{\"service:,env:\":0.0125,\"service:web-store,env:prod\":0.0125}}\n");
    let mut dropped = traces_v04::decode(TWO_SPANS.to_vec(), TracerInfo::default(), 100_000).unwrap();
    dropped.metrics.iter_mut().filter(|metric| metric.value == 1.0).for_each(|metric| metric.value = 0.0);
    let claim = rig.ledger.accept(Signal::Traces, 2);
    let permit = rig.permit();
    rig.stage.take(Parcel { item: TracesItem::Spans(dropped), claim, permit }, at(8));
    rig.stage.finish(at(9));
    assert_eq!(rig.stats().iter().map(|record| record["hits"].as_u64().unwrap()).max(), Some(8));
    rig.check_ledger(14, 2);
    assert!(rig.ledger.snapshot().to_string().contains("dropped=2 sampled=2"));
}
