//! CPU of a point on its way, by step: `cargo bench --bench metrics`. 1,000 lines with 7 tags of 200 contexts, 60 % counters, 30 %
//! distributions, 10 % gauges, in datagrams of up to 1,432 bytes; what is printed for an iteration in microseconds is thus nanoseconds a
//! point.

use divan::Bencher;
use divan::counter::ItemsCount;
use mote::decode::dogstatsd::{Lines, Parser};
use mote::model::metrics_item::{Datagrams, MetricsItem};
use mote::pipeline::Stage;
use mote::pipeline::metrics::{MetricsStage, Queues, Settings};
use mote::process::metrics as rules;
use mote::process::metrics::{Aggregator, Close, Moment};
use mote::spool::ages::Ages;
use mote::spool::{Queue, Room, WhenFull};
use mote::sys::clock::{Clock, Now};
use mote::sys::inbox::Parcel;
use mote::sys::ledger::{Ledger, Signal};
use mote::sys::memory::Budget;
use mote::sys::random::Random;
use std::sync::Arc;
use std::time::Duration;

const POINTS: usize = 1000;
const CONTEXTS: u64 = 200;

fn main() {
    divan::main();
}

#[divan::bench]
fn split_lines(bencher: Bencher) {
    let datagrams = datagrams(POINTS, CONTEXTS);
    bencher.counter(ItemsCount::new(POINTS)).bench(|| datagrams.iter().flat_map(Lines::new).map(<[u8]>::len).sum::<usize>());
}

#[divan::bench]
fn parse(bencher: Bencher) {
    let datagrams = datagrams(POINTS, CONTEXTS);
    let mut parser = Parser::default();
    bencher.counter(ItemsCount::new(POINTS)).bench_local(|| {
        let mut tags = 0;
        for line in datagrams.iter().flat_map(Lines::new) {
            tags += parser.metric(line).map_or(0, |metric| metric.tags.len());
        }
        tags
    });
}

#[divan::bench]
fn parse_and_aggregate(bencher: Bencher) {
    let datagrams = datagrams(POINTS, CONTEXTS);
    let mut parser = Parser::default();
    let mut aggregator = Aggregator::new(rules());
    aggregator.open(moment(0));
    bencher.counter(ItemsCount::new(POINTS)).bench_local(|| {
        for line in datagrams.iter().flat_map(Lines::new) {
            if let Ok(metric) = parser.metric(line) {
                aggregator.add(&metric);
            }
        }
    });
}

/// One bucket of all contexts from values to bodies, in microseconds; the points of ten seconds share it.
#[divan::bench]
fn close_bucket_of_200_contexts(bencher: Bencher) {
    let datagrams = datagrams(20_000, CONTEXTS);
    bencher
        .with_inputs(|| {
            let (mut stage, ledger, budget) = stage();
            stage.take(parcel(&ledger, &budget, datagrams.clone()), now(0));
            stage
        })
        .bench_local_values(|mut stage| {
            stage.finish(now(1));
            stage
        });
}

/// A bucket in which a million points come, from parcels to bodies; for an iteration of the printed time, divide by a million.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn whole_path_of_a_million_points(bencher: Bencher) {
    let datagrams = datagrams(20_000, CONTEXTS);
    bencher.counter(ItemsCount::new(1_000_000_u32)).with_inputs(stage).bench_local_values(|(mut stage, ledger, budget)| {
        for _ in 0..50 {
            stage.take(parcel(&ledger, &budget, datagrams.clone()), now(0));
        }
        stage.finish(now(1));
        stage
    });
}

/// New contexts, each seen once: what a client that puts an id into a tag costs.
#[divan::bench]
fn contexts_seen_once(bencher: Bencher) {
    let datagrams = datagrams(POINTS, u64::MAX);
    let mut parser = Parser::default();
    bencher.counter(ItemsCount::new(POINTS)).with_inputs(|| Aggregator::new(rules())).bench_local_values(|mut aggregator| {
        aggregator.open(moment(0));
        for line in datagrams.iter().flat_map(Lines::new) {
            if let Ok(metric) = parser.metric(line) {
                aggregator.add(&metric);
            }
        }
        aggregator.close(Close::Final, moment(1), &mut |_, _| ());
    });
}

fn rules() -> rules::Settings {
    rules::Settings {
        hostname: "gw-1".into(),
        host_tag: true,
        global_tags: vec!["region:eu".into()],
        bytes_max: 16 << 20,
        expiry: Duration::from_secs(20),
        timestamps: true,
        seed: 7,
        ..rules::Settings::default()
    }
}

fn now(seconds: u64) -> Now {
    Now { uptime: Duration::from_secs(seconds), unix: Duration::from_secs(1_700_000_000 + seconds) }
}

fn moment(seconds: u64) -> Moment {
    Moment { uptime: Duration::from_secs(seconds), unix: Duration::from_secs(1_700_000_000 + seconds) }
}

fn stage() -> (MetricsStage, Arc<Ledger>, Budget) {
    let clock = Clock::new();
    let queue = || Queue::new(Room::new(64 << 20, Ages::none()), WhenFull::DropOldest, clock);
    let queues = Queues { series: queue(), sketches: queue(), events: queue(), checks: queue() };
    let settings =
        Settings { rules: rules(), host_tags: Vec::new(), body_bytes_max: 5 << 20, compression_level: 1, origin: None };
    let ledger = Ledger::new();
    (MetricsStage::new(settings, queues, Arc::clone(&ledger)), ledger, Budget::new(64 << 20))
}

fn parcel(ledger: &Arc<Ledger>, budget: &Budget, datagrams: Datagrams) -> Parcel<MetricsItem> {
    let claim = ledger.accept(Signal::Metrics, datagrams.len() as u64);
    let permit = budget.reserve(datagrams.bytes_len(), Clock::new().instant_in(Duration::ZERO)).expect("room");
    Parcel { item: MetricsItem::Datagrams(datagrams), claim, permit }
}

/// Lines as clients write them, about 150 bytes each.
fn datagrams(points: usize, contexts: u64) -> Datagrams {
    let mut random = Random::new(7);
    let mut datagrams = Datagrams::default();
    let mut datagram = Vec::new();
    for _ in 0..points {
        let context = random.below(contexts);
        let tags = format!(
            "env:prod,service:web-store,version:1.2.{},region:eu-west-1,host_group:g{},endpoint:/api/v1/items/{},status:{}",
            context % 5,
            context % 3,
            context % 1_000_000_007,
            200 + context % 4
        );
        let line = match context % 10 {
            0..6 => format!("shop.requests.{}:{}|c|#{tags}\n", context % 23, 1 + random.below(3)),
            6..9 => format!(
                "shop.request.time.{}:{}.{:03}|d|#{tags}\n",
                context % 23,
                1 + random.below(20) * random.below(20),
                random.below(1000)
            ),
            _ => format!("shop.queue.depth.{}:{}|g|#{tags}\n", context % 23, random.below(1000)),
        };
        if 1432 < datagram.len() + line.len() {
            datagrams.push(&datagram);
            datagram.clear();
        }
        datagram.extend_from_slice(line.as_bytes());
    }
    datagrams.push(&datagram);
    datagrams
}
