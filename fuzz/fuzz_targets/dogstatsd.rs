//! Datagrams of DogStatsD from lines to bodies of series, sketches, events and checks, which are read back. The first byte of an input
//! chooses the settings; a zero byte separates datagrams, and what each is followed by depends on its length.

#![no_main]

use flate2::read::GzDecoder;
use libfuzzer_sys::fuzz_target;
use mote::decode::dogstatsd::{Tally, tally};
use mote::model::metrics_item::{Datagrams, MetricsItem};
use mote::out;
use mote::pipeline::Stage;
use mote::pipeline::metrics::{MetricsStage, Origin, Queues, Settings};
use mote::process::metrics as rules;
use mote::process::metrics::histogram::Aggregates;
use mote::process::metrics::mapper::{Mapper, RuleText};
use mote::spool::ages::Ages;
use mote::spool::{Fate, Queue, Room, Taken, WhenFull};
use mote::sys::clock::{Clock, Now};
use mote::sys::inbox::Parcel;
use mote::sys::ledger::{Ledger, Signal};
use mote::sys::memory::Budget;
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// So small that bodies are split.
const BODY_BYTES_MAX: usize = 600;

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = mote_fuzz::with_choice(data) else { return };
    let clock = Clock::new();
    let queue = || Queue::new(Room::new(16 << 20, Ages::none()), WhenFull::DropOldest, clock);
    let queues = Queues { series: queue(), sketches: queue(), events: queue(), checks: queue() };
    let (ledger, budget) = (Ledger::new(), Budget::new(1 << 20));
    let origin = (choice & 1 == 1).then_some(Origin { product: 10, category: 10, service: 0 });
    let settings =
        Settings { rules: rules(choice), host_tags: Vec::new(), body_bytes_max: BODY_BYTES_MAX, compression_level: 1, origin };
    let mut stage = MetricsStage::new(settings, queues.clone(), Arc::clone(&ledger));
    let (mut seconds, mut expected) = (0, Tally::default());
    for datagram in data.split(|byte| *byte == 0) {
        let mut datagrams = Datagrams::default();
        datagrams.push(datagram);
        let Tally { metrics, events, checks } = tally(&datagrams);
        let Tally { metrics: others, events: other_events, checks: other_checks } = expected;
        expected = Tally { metrics: metrics + others, events: events + other_events, checks: checks + other_checks };
        let claim = ledger.accept(Signal::Metrics, datagrams.len() as u64);
        let permit = budget.reserve(datagram.len(), clock.instant_in(Duration::ZERO)).expect("room");
        let parcel = Parcel { item: MetricsItem::Datagrams(datagrams), claim, permit };
        match datagram.len() % 16 {
            15 => stage.give_up(parcel),
            _ => stage.take(parcel, at(seconds)),
        }
        match datagram.len() % 8 {
            5 => stage.flush(at(seconds)),
            6 => stage.on_due(at(seconds)),
            7 => seconds += 4,
            _ => {}
        }
    }
    stage.finish(at(seconds));
    empty(&queues.series, |plain| {
        let mut records = Vec::new();
        out::metrics::series(plain, &mut |record| records.push(record)).expect("what was encoded can be read");
        check_metrics(plain, &records);
    });
    empty(&queues.sketches, |plain| {
        let mut records = Vec::new();
        out::metrics::sketches(plain, &mut |record| records.push(record)).expect("what was encoded can be read");
        check_metrics(plain, &records);
    });
    empty(&queues.events, |plain| out::checks::event(plain, &mut |_| ()).expect("what was encoded can be read"));
    empty(&queues.checks, |plain| out::checks::records(plain, &mut |_| ()).expect("what was encoded can be read"));
    let snapshot = ledger.snapshot();
    assert!(snapshot.is_quiet() && snapshot.is_balanced(), "{snapshot}");
    let accepted = |signal: Signal| snapshot.rows[signal as usize].accepted;
    let accepted =
        Tally { metrics: accepted(Signal::Metrics), events: accepted(Signal::Events), checks: accepted(Signal::Checks) };
    assert_eq!(accepted, expected, "what is dropped unread would count the same");
    assert_eq!(budget.taken(), 0);
});

/// Defaults, or everything that changes names and leaves points out.
fn rules(choice: u8) -> rules::Settings {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (aggregates, _) = Aggregates::parse(&words(&["max", "median", "avg", "count", "min", "sum"]), &words(&["0.95"]));
    let mut settings = rules::Settings {
        hostname: "gw-1".to_owned(),
        host_tag: choice & 1 == 1,
        aggregates,
        bytes_max: if choice & 2 == 2 { 2_000 } else { 1 << 20 },
        contexts_max: if choice & 4 == 4 { 3 } else { 0 },
        expiry: Duration::from_secs(5),
        timestamps: choice & 8 == 8,
        seed: 7,
        ..rules::Settings::default()
    };
    if choice & 16 == 16 {
        let rule = |pattern: &str, is_regex| RuleText {
            pattern: pattern.to_owned(),
            is_regex,
            name: "mapped.$1".to_owned(),
            tags: vec![("part".to_owned(), "$2$1".to_owned())],
        };
        let refused = settings.mapper.add_profile("a", vec![rule("a.*.c", false), rule("a([a-z]+)([0-9]*)", true)]);
        assert!(refused.is_empty() && settings.mapper != Mapper::default());
        settings.global_tags = words(&["env:prod", "device:disk"]);
        settings.namespace = "shop.".to_owned();
        settings.namespace_blocklist = words(&["jvm"]);
        settings.blocklist = words(&["shop.b"]);
        settings.blocklist_match_prefix = true;
    }
    settings
}

fn at(seconds: u64) -> Now {
    Now { uptime: Duration::from_secs(seconds), unix: Duration::from_secs(1_700_000_000 + seconds) }
}

/// Takes out and settles every body, whose bytes before compression go to `check`.
fn empty(queue: &Queue, check: impl Fn(&[u8])) {
    queue.close(Clock::new().instant_in(Duration::from_secs(3600)));
    while let Taken::Body(body) = queue.take(Duration::ZERO) {
        let mut plain = Vec::new();
        match body.headers.iter().any(|(name, _)| *name == "Content-Encoding") {
            true => GzDecoder::new(&body.bytes[..]).read_to_end(&mut plain).map(drop).expect("a gzip stream"),
            false => plain.clone_from(&body.bytes),
        }
        check(&plain);
        queue.settle(body, Fate::Sent);
    }
}

/// A body holds no more than it may, or one record; and no number in it is infinite or none, which would be shown as null.
fn check_metrics(plain: &[u8], records: &[Value]) {
    assert!(plain.len() <= BODY_BYTES_MAX || records.len() == 1, "{} bytes of {} records", plain.len(), records.len());
    for point in records.iter().flat_map(|record| record["points"].as_array().expect("a list")) {
        let mut numbers = vec![&point[1]];
        if let Some(sketch) = point.as_object() {
            numbers = sketch.iter().filter(|(member, _)| *member != "bins").map(|(_, number)| number).collect();
        }
        assert!(numbers.iter().all(|number| number.is_number()), "{point}");
    }
}
