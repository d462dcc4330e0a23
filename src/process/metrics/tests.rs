use super::*;
use crate::model::series::TAG_SEPARATOR;
use crate::sys::random::Random;

fn settings() -> Settings {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (aggregates, _) = Aggregates::parse(&words(&["max", "median", "avg", "count"]), &words(&["0.95"]));
    Settings {
        hostname: "gw-1".to_owned(),
        host_tag: true,
        aggregates,
        bytes_max: 1 << 20,
        expiry: Duration::from_secs(20),
        timestamps: true,
        seed: 7,
        ..Settings::default()
    }
}

fn at(unix: u64) -> Moment {
    Moment { unix: Duration::from_secs(unix), uptime: Duration::from_secs(unix - 1_699_000_000) }
}

fn metric<'a>(name: &'a str, value: f64, kind: MetricKind, tags: &'a str) -> Metric<'a> {
    Metric { name: name.as_bytes(), values: Values::One(value), kind, rate: 1.0, tags: tags.as_bytes(), timestamp: None }
}

fn count<'a>(name: &'a str, value: f64, tags: &'a str) -> Metric<'a> {
    metric(name, value, MetricKind::Count, tags)
}

struct Bench {
    aggregator: Aggregator,
    lines: Vec<String>,
    settled: u64,
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        Bench { aggregator: Aggregator::new(settings), lines: Vec::new(), settled: 0 }
    }

    fn add(&mut self, metric: Metric<'_>, now: Moment) {
        self.close(Close::Over, now);
        self.aggregator.open(now);
        self.aggregator.add(&metric);
    }

    fn close(&mut self, close: Close, now: Moment) {
        let (lines, settled) = (&mut self.lines, &mut self.settled);
        self.aggregator.close(close, now, &mut |outgoing, points| {
            *settled += points;
            lines.extend(shown(outgoing));
        });
    }

    /// What has left since the last call.
    fn sent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

fn shown(outgoing: Outgoing<'_>) -> Option<String> {
    let of = |labels: Labels<'_>| {
        format!("{}{}@{}[{}]", labels.name, labels.suffix, labels.host, labels.tags.replace(TAG_SEPARATOR, ","))
    };
    match outgoing {
        Outgoing::Series(series) => Some(format!("{} {:?} {:?}", of(series.labels), series.kind, series.points)),
        Outgoing::Sketch(labels, timestamp, sketch) => Some(format!("{} {timestamp} {}", of(labels), sketch.count)),
        Outgoing::Nothing => None,
    }
}

const T: u64 = 1_700_000_000;

#[test]
fn a_bucket_leaves_when_its_ten_seconds_are_over() {
    let mut bench = Bench::new(settings());
    bench.add(count("a", 1.0, ""), at(T + 3));
    assert_eq!(bench.aggregator.due(), Some(at(T + 10).uptime));
    bench.add(count("a", 2.0, ""), at(T + 9));
    assert_eq!(bench.sent(), Vec::<String>::new());
    bench.add(count("a", 5.0, ""), at(T + 10));
    assert_eq!(bench.sent(), ["a@gw-1[] Count [(1700000000, 3.0)]"]);
    bench.close(Close::Over, at(T + 20));
    assert_eq!(bench.sent(), ["a@gw-1[] Count [(1700000010, 5.0)]"]);
    bench.close(Close::Final, at(T + 30));
    assert_eq!((bench.sent(), bench.settled), (Vec::new(), 3), "no zeros are sent");
}

#[test]
fn points_after_a_forced_flush_get_a_second_of_their_own() {
    let mut bench = Bench::new(settings());
    for second in 0..12 {
        bench.add(count("a", 1.0, ""), at(T + second / 2));
        bench.close(Close::Open, at(T + second / 2));
    }
    let sent = bench.sent();
    assert_eq!(sent.len(), 9);
    assert_eq!(
        (sent[0].as_str(), sent[8].as_str()),
        ("a@gw-1[] Count [(1700000000, 1.0)]", "a@gw-1[] Count [(1700000008, 1.0)]")
    );
    bench.close(Close::Over, at(T + 10));
    assert_eq!(bench.sent(), ["a@gw-1[] Count [(1700000009, 3.0)]"], "the last second takes what has waited");
    bench.add(count("a", 1.0, ""), at(T + 10));
    bench.close(Close::Open, at(T + 10));
    bench.close(Close::Open, at(T + 10));
    bench.add(count("a", 1.0, ""), at(T + 10));
    bench.close(Close::Final, at(T + 10));
    assert_eq!(bench.sent(), ["a@gw-1[] Count [(1700000010, 1.0)]", "a@gw-1[] Count [(1700000011, 1.0)]"]);
    assert_eq!(bench.settled, 14);
}

#[test]
fn a_clock_that_is_set_ends_the_bucket() {
    let mut bench = Bench::new(settings());
    bench.add(count("a", 1.0, ""), at(T));
    bench.add(count("a", 2.0, ""), Moment { unix: Duration::from_secs(T + 5000), ..at(T + 1) });
    bench.add(count("a", 3.0, ""), Moment { unix: Duration::from_secs(T + 4999), ..at(T + 2) });
    bench.add(count("a", 4.0, ""), Moment { unix: Duration::from_secs(T + 5000), ..at(T + 3) });
    bench.add(count("a", 5.0, ""), Moment { unix: Duration::from_secs(T + 5001), ..at(T + 14) });
    bench.close(Close::Final, at(T + 14));
    let times: Vec<String> = bench.sent().iter().map(|line| line.replace("a@gw-1[] Count ", "")).collect();
    let expected =
        ["[(1700000000, 1.0)]", "[(1700005000, 2.0)]", "[(1700004990, 3.0)]", "[(1700005000, 4.0)]", "[(1700005001, 5.0)]"];
    assert_eq!(times, expected);
}

#[test]
fn order_and_repetition_of_tags_do_not_matter() {
    let mut bench = Bench::new(settings());
    for tags in ["a,b", "b,a", "a,b,a", ",b,,a"] {
        bench.add(count("x", 1.0, tags), at(T));
    }
    assert_eq!(bench.aggregator.contexts(), 1);
    bench.close(Close::Final, at(T));
    assert_eq!(bench.sent(), ["x@gw-1[a,b] Count [(1700000000, 4.0)]"]);
}

#[test]
fn hosts_come_from_tags_but_not_inside_lambda() {
    let mut bench = Bench::new(settings());
    for tags in ["host:web1", "host:", "host:gw-1", ""] {
        bench.add(count("x", 1.0, tags), at(T));
    }
    bench.close(Close::Final, at(T));
    let expected =
        ["x@web1[] Count [(1700000000, 1.0)]", "x@[] Count [(1700000000, 1.0)]", "x@gw-1[] Count [(1700000000, 2.0)]"];
    assert_eq!(bench.sent(), expected);
    let mut bench = Bench::new(Settings { hostname: String::new(), host_tag: false, ..settings() });
    bench.add(count("x", 1.0, "host:web1"), at(T));
    bench.close(Close::Final, at(T));
    assert_eq!(bench.sent(), ["x@[] Count [(1700000000, 1.0)]"]);
}

#[test]
fn names_get_the_namespace_and_listed_ones_do_not_go_on() {
    let mut mapper = Mapper::default();
    let rule = mapper::RuleText {
        pattern: "job.*".to_owned(),
        name: "jobs".to_owned(),
        tags: vec![("job".to_owned(), "$1".to_owned())],
        ..mapper::RuleText::default()
    };
    assert!(mapper.add_profile("job.", vec![rule]).is_empty());
    let mut bench = Bench::new(Settings {
        namespace: "shop.".to_owned(),
        namespace_blocklist: vec!["jvm".to_owned()],
        blocklist: vec!["shop.secret".to_owned()],
        global_tags: vec!["env:prod".to_owned()],
        mapper,
        ..settings()
    });
    for name in ["a", "jvm.heap", "secret", "secrets", "job.nightly", "secret"] {
        bench.add(count(name, 1.0, ""), at(T));
    }
    bench.close(Close::Final, at(T));
    let names: Vec<String> = bench.sent().iter().map(|line| line.replace(" Count [(1700000000, 1.0)]", "")).collect();
    let expected = [
        "shop.a@gw-1[env:prod]",
        "jvm.heap@gw-1[env:prod]",
        "shop.secrets@gw-1[env:prod]",
        "shop.jobs@gw-1[env:prod,job:nightly]",
    ];
    assert_eq!(names, expected);
    assert_eq!(bench.aggregator.take_counts(), Counts { held: 4, filtered: 2, ..Counts::default() });
}

#[test]
fn points_with_their_own_time_are_not_merged() {
    let mut bench = Bench::new(settings());
    let own = |value: f64, kind, timestamp: u64| Metric { timestamp: Some(timestamp as i64), ..metric("x", value, kind, "") };
    bench.add(count("x", 1.0, ""), at(T));
    bench.add(own(5.0, MetricKind::Count, T - 1000), at(T));
    bench.add(own(7.0, MetricKind::Gauge, T - 2000), at(T));
    bench.add(Metric { rate: 0.5, ..own(6.0, MetricKind::Count, T - 1000) }, at(T));
    bench.add(own(8.0, MetricKind::Count, T + 10_000), at(T));
    bench.close(Close::Final, at(T));
    let expected = [
        "x@gw-1[] Gauge [(1699998000, 7.0)]",
        "x@gw-1[] Count [(1699999000, 5.0), (1699999000, 12.0), (1700000600, 8.0)]",
        "x@gw-1[] Count [(1700000000, 1.0)]",
    ];
    assert_eq!((bench.sent(), bench.settled), (expected.map(str::to_owned).to_vec(), 5));
}

#[test]
fn the_oldest_contexts_stay_and_the_rest_is_counted() {
    let mut bench = Bench::new(Settings { contexts_max: 3, ..settings() });
    for name in ["a", "b", "c", "d", "e", "a", "d"] {
        bench.add(count(name, 1.0, ""), at(T));
    }
    bench.add(Metric { values: Values::Many(&[1.0, 2.0]), ..count("f", 0.0, "") }, at(T));
    assert_eq!(bench.aggregator.take_counts(), Counts { held: 4, limited: 5, ..Counts::default() });
    // After their time without points the places are free.
    bench.add(count("a", 1.0, ""), at(T + 12));
    bench.add(count("a", 1.0, ""), at(T + 25));
    bench.add(count("a", 1.0, ""), at(T + 35));
    assert_eq!(bench.aggregator.contexts(), 1);
    bench.add(count("d", 1.0, ""), at(T + 35));
    bench.close(Close::Final, at(T + 35));
    assert_eq!(bench.sent().last().map(String::as_str), Some("d@gw-1[] Count [(1700000030, 1.0)]"));
}

#[test]
fn contexts_go_when_nothing_comes_any_more() {
    let mut bench = Bench::new(settings());
    bench.add(count("a", 1.0, ""), at(T));
    bench.close(Close::Over, at(T + 10));
    assert_eq!((bench.aggregator.contexts(), bench.aggregator.due()), (1, Some(at(T + 31).uptime)));
    bench.close(Close::Over, at(T + 31));
    assert_eq!((bench.aggregator.contexts(), bench.aggregator.bytes(), bench.aggregator.due()), (0, 0, None));
}

#[test]
fn ten_thousand_contexts_take_seven_megabytes() {
    let mut bench = Bench::new(Settings { bytes_max: 64 << 20, ..settings() });
    let mut largest = 0;
    for number in 0..10_000 {
        let kind = if number % 3 == 0 { MetricKind::Distribution } else { MetricKind::Count };
        let name = format!("shop.requests.{}", number % 23);
        let tags = format!(
            "env:prod,service:web-store,version:1.2.3,region:eu-west-1,host_group:g1,endpoint:/api/v1/items/{number},status:200"
        );
        bench.add(metric(&name, f64::from(number), kind, &tags), at(T));
        largest = largest.max(bench.aggregator.bytes());
    }
    assert_eq!(bench.aggregator.contexts(), 10_000);
    assert!(2_000_000 < largest && largest < 7_500_000, "{largest}");
}

#[test]
fn memory_stays_within_its_share_whatever_comes() {
    let bytes_max = 300_000;
    let kinds = [MetricKind::Count, MetricKind::Distribution, MetricKind::Histogram, MetricKind::Set, MetricKind::Gauge];
    let mut bench = Bench::new(Settings { bytes_max, ..settings() });
    let mut largest = 0;
    for number in 0..60_000_u32 {
        let name = format!("metric.{}", number % 1999);
        let kind = kinds[(number % 1999 % 5) as usize];
        let mut metric = metric(&name, f64::from(number).powi(3), kind, "tag:value");
        let member = number.to_string();
        if kind == MetricKind::Set {
            metric.values = Values::Text(member.as_bytes());
        }
        bench.add(metric, at(T + u64::from(number / 2000)));
        largest = largest.max(bench.aggregator.bytes());
    }
    // A vector that may grow by a byte may double.
    assert!(bytes_max / 2 < largest && largest < bytes_max + 140_000, "{largest}");
    bench.close(Close::Final, at(T + 30));
    let counts = bench.aggregator.take_counts();
    assert_eq!((counts.held, counts.held + counts.limited), (bench.settled, 60_000));
    assert!(0 < counts.limited);
}

#[test]
fn what_is_not_finite_is_counted_and_harms_nothing() {
    let mut bench = Bench::new(settings());
    for value in [f64::NAN, f64::INFINITY, 1.0, f64::NEG_INFINITY] {
        bench.add(metric("g", value, MetricKind::Gauge, ""), at(T));
    }
    bench.add(Metric { rate: 0.0, ..count("c", 1.0, "") }, at(T));
    bench.add(Metric { rate: 1e-300, ..count("c", 1e300, "") }, at(T));
    bench.add(Metric { rate: f64::NAN, ..count("c", 1.0, "") }, at(T));
    bench.add(Metric { values: Values::Many(&[1.0, f64::NAN]), ..metric("d", 0.0, MetricKind::Distribution, "") }, at(T));
    bench.add(Metric { values: Values::Text(b"a"), ..metric("g", 0.0, MetricKind::Set, "") }, at(T));
    assert_eq!(bench.aggregator.take_counts(), Counts { held: 4, malformed: 6, ..Counts::default() });
    bench.close(Close::Final, at(T));
    let expected = ["g@gw-1[] Gauge [(1700000000, 1.0)]", "c@gw-1[] Count [(1700000000, 2.0)]", "d@gw-1[] 1700000000 1"]
        .map(str::to_owned);
    assert_eq!((bench.sent(), bench.settled), (expected.to_vec(), 4));
}

/// Every number of what leaves.
fn numbers(outgoing: Outgoing<'_>) -> Vec<f64> {
    match outgoing {
        Outgoing::Series(series) => series.points.iter().map(|(_, value)| *value).collect(),
        Outgoing::Sketch(_, _, sketch) => vec![sketch.sum, sketch.avg, sketch.min, sketch.max],
        Outgoing::Nothing => vec![],
    }
}

#[test]
fn a_value_with_which_a_sum_is_not_finite_is_counted_and_the_sum_stays() {
    for (kind, value, rate, fit) in [
        (MetricKind::Count, 1.7e308, 1.0, 1),
        (MetricKind::Histogram, 1.7e308, 1.0, 1),
        (MetricKind::Distribution, 1.7e308, 1.0, 1),
        // What such a rate stands for is more than a number holds.
        (MetricKind::Histogram, 0.0, 1e-310, 0),
        (MetricKind::Distribution, 0.0, 1e-310, 0),
        // The sum of weights.
        (MetricKind::Histogram, 0.0, 1e-308, 1),
        (MetricKind::Gauge, 1.7e308, 0.1, 2),
    ] {
        let mut bench = Bench::new(settings());
        for _ in 0..2 {
            bench.add(Metric { rate, ..metric("m", value, kind, "") }, at(T));
        }
        let expected = Counts { held: fit, malformed: 2 - fit, ..Counts::default() };
        assert_eq!(bench.aggregator.take_counts(), expected, "{kind:?} {value} {rate}");
        let check = &mut |outgoing: Outgoing<'_>, _: u64| {
            assert!(numbers(outgoing).iter().all(|number| number.is_finite()), "{outgoing:?}");
        };
        bench.aggregator.close(Close::Final, at(T), check);
    }
}

#[test]
fn no_number_that_leaves_is_infinite_whatever_comes() {
    let seed = Random::from_system().bits();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut one_of = |choices: &[f64]| choices[random.below(choices.len() as u64) as usize];
    for _ in 0..500 {
        let mut bench = Bench::new(settings());
        for _ in 0..40 {
            let value = one_of(&[0.0, 1.0, -1.0, 1e-300, 1e300, 1.7e308, -1.7e308, 5e-324, f64::MAX, f64::MIN, f64::NAN]);
            let rate = one_of(&[1.0, 1.0, 0.5, 1e-9, 1e-300, 1e-308, 1e-310, 5e-324, 0.0, -1.0, f64::NAN, f64::INFINITY]);
            let kind = [MetricKind::Count, MetricKind::Gauge, MetricKind::Histogram, MetricKind::Distribution, MetricKind::Set]
                [one_of(&[0.0, 1.0, 2.0, 3.0, 4.0]) as usize];
            let name = ["a", "b", "c"][one_of(&[0.0, 1.0, 2.0]) as usize];
            let timestamp = (one_of(&[0.0, 0.0, 1.0]) == 1.0).then_some(T as i64);
            bench.add(Metric { rate, timestamp, ..metric(name, value, kind, "") }, at(T));
        }
        let Counts { held, malformed, .. } = bench.aggregator.take_counts();
        assert_eq!(held + malformed, 40, "seed {seed}");
        let mut settled = 0;
        bench.aggregator.close(Close::Final, at(T), &mut |outgoing, points| {
            settled += points;
            assert!(numbers(outgoing).iter().all(|number| number.is_finite()), "seed {seed}: {outgoing:?}");
        });
        assert_eq!(settled, held, "seed {seed}");
    }
}

#[test]
fn contexts_that_were_seen_are_told_with_their_points() {
    let mut bench = Bench::new(settings());
    bench.add(count("a", 1.0, "y,x"), at(T));
    bench.add(count("a", 1.0, "y,x"), at(T + 11));
    bench.add(count("b", 1.0, ""), at(T + 12));
    let seen = |name: &str, tags: &str, count: u64, last_seen: u64| ContextSeen {
        name: name.to_owned(),
        tags: tags.to_owned(),
        count,
        last_seen: last_seen as i64,
    };
    assert_eq!(bench.aggregator.seen(), [seen("a", "x,y", 2, T + 10), seen("b", "", 1, T + 10)]);
}

#[test]
fn a_histogram_without_parts_settles_its_points() {
    let mut bench = Bench::new(Settings { aggregates: Aggregates::default(), ..settings() });
    bench.add(metric("h", 1.0, MetricKind::Histogram, ""), at(T));
    bench.close(Close::Final, at(T));
    assert_eq!((bench.sent(), bench.settled), (Vec::new(), 1));
}
