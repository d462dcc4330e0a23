use super::*;
use crate::model::metric::AlertType;
use crate::model::metric::Priority;
use crate::sys::random::Random;
use serde_json::Value;
use serde_json::json;

const FIXTURES: &str = include_str!("../../../fixtures/decode/dogstatsd/lines.json");

fn cases(what: &str) -> Vec<Value> {
    let fixtures: Value = serde_json::from_str(FIXTURES).unwrap();
    fixtures[what].as_array().unwrap().clone()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn tags(tags: &[u8]) -> Vec<String> {
    if tags.is_empty() { Vec::new() } else { text(tags).split(',').map(str::to_owned).collect() }
}

fn word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Count => "c",
        MetricKind::Gauge => "g",
        MetricKind::Set => "s",
        MetricKind::Histogram => "h",
        MetricKind::Timing => "ms",
        MetricKind::Distribution => "d",
    }
}

fn shown(metric: &Metric) -> Value {
    let values = match metric.values {
        Values::One(value) => json!([value]),
        Values::Many(values) => json!(values),
        Values::Text(value) => json!([text(value)]),
    };
    let mut shown = json!({
        "name": text(metric.name), "type": word(metric.kind), "values": values, "rate": metric.rate, "tags": tags(metric.tags),
    });
    if let Some(timestamp) = metric.timestamp {
        shown["timestamp"] = timestamp.into();
    }
    shown
}

/// Whole numbers of the fixtures as floats, and without what is not kept.
fn wanted(metric: &Value) -> Value {
    let mut metric = metric.clone();
    for member in ["container", "external", "cardinality"] {
        metric.as_object_mut().unwrap().remove(member);
    }
    for value in metric["values"].as_array_mut().unwrap() {
        *value = value.as_f64().map_or(value.clone(), Value::from);
    }
    metric
}

#[test]
fn every_datagram_of_the_vectors_is_read() {
    for case in cases("datagrams") {
        let datagram = case["in"].as_str().unwrap();
        let (mut found, mut errors) = (Vec::new(), 0);
        for line in Lines::new(datagram.as_bytes()) {
            let mut parser = Parser::default();
            match (LineKind::of(line), parser.metric(line)) {
                (LineKind::Metric, Ok(metric)) => found.push(shown(&metric)),
                (LineKind::Check, _) => errors += u64::from(events::check(line).is_err()),
                _ => errors += 1,
            }
        }
        let expected: Vec<Value> = case["metrics"].as_array().into_iter().flatten().map(wanted).collect();
        assert_eq!(found, expected, "{datagram}");
        let expected = case["errors"].as_u64().unwrap_or(u64::from(case["error"].is_string()));
        assert_eq!(errors, expected, "{datagram}");
    }
}

#[test]
fn every_event_of_the_vectors_is_read() {
    for case in cases("events") {
        let line = case["in"].as_str().unwrap();
        let found = events::event(line.as_bytes()).ok().map(|event| {
            let priority = if event.priority == Priority::Low { "low" } else { "normal" };
            let alert_type = match event.alert_type {
                AlertType::Info => "info",
                AlertType::Success => "success",
                AlertType::Warning => "warning",
                AlertType::Error => "error",
            };
            let mut shown = json!({
                "title": event.title, "text": event.text, "priority": priority, "alert_type": alert_type, "tags": tags(event.tags),
            });
            let texts =
                [("host", event.host), ("aggregation_key", event.aggregation_key), ("source_type_name", event.source_type)];
            for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
                shown[name] = json!(text);
            }
            if let Some(timestamp) = event.timestamp {
                shown["timestamp"] = timestamp.into();
            }
            shown
        });
        assert_eq!(found, case.get("event").cloned(), "{line}");
    }
}

#[test]
fn every_service_check_of_the_vectors_is_read() {
    for case in cases("service_checks") {
        let line = case["in"].as_str().unwrap();
        let found = events::check(line.as_bytes()).ok().map(|check| {
            let mut shown =
                json!({"name": check.name, "status": check.status, "tags": tags(check.tags), "message": check.message});
            if let Some(timestamp) = check.timestamp {
                shown["timestamp"] = timestamp.into();
            }
            if !check.host.is_empty() {
                shown["host"] = json!(check.host);
            }
            shown
        });
        assert_eq!(found, case.get("check").cloned(), "{line}");
    }
}

#[track_caller]
fn fails(line: &str, expected: LineError) {
    let found = match LineKind::of(line.as_bytes()) {
        LineKind::Metric => Parser::default().metric(line.as_bytes()).map(|_| ()),
        LineKind::Event => events::event(line.as_bytes()).map(|_| ()),
        LineKind::Check => events::check(line.as_bytes()).map(|_| ()),
    };
    assert_eq!(found, Err(expected), "{line}");
}

#[test]
fn a_bad_line_says_why() {
    fails("page.views", LineError::Separator);
    fails("page.views:1", LineError::Separator);
    fails("n1|c", LineError::Name);
    fails("n|1:2|c", LineError::Name);
    fails(":1|c", LineError::Name);
    fails("n:|c", LineError::Value);
    fails("n:1:x|c", LineError::Value);
    fails("n:1|", LineError::Type);
    fails("n:1|gg", LineError::Type);
    fails("n:1|c|@", LineError::Rate);
    fails("n:1|d|T0", LineError::Timestamp);
    fails("_e{1,1}:a", LineError::EventLengths);
    fails("_e{99999999999999999999,1}:a|b", LineError::EventLengths);
    fails("_e{4294967297,1}:a|b", LineError::EventLengths); // cut to 32 bits it would be 1
    fails("_e{-1,1}:a|b", LineError::EventLengths);
    fails("_e{0,1}:|b", LineError::EventTitle);
    fails("_sc", LineError::CheckFields);
    fails("_sc|a|4", LineError::CheckStatus);
    assert!(LineError::ALL.iter().enumerate().all(|(at, error)| *error as usize == at), "counters are found by number");
}

#[test]
fn escapes_of_messages_are_undone() {
    let check = events::check(br"_sc|a|0|m:one\ntwo m\: three").unwrap();
    assert_eq!(check.message, "one\ntwo m: three");
}

#[test]
fn what_is_dropped_unread_is_counted_as_what_it_is() {
    let mut datagrams = Datagrams::default();
    datagrams.push(b"a:1:2:3|d\nnonsense\n\nu:1:2|s\r\n");
    datagrams.push(b"_e{1,1}:a|b\n_sc|a|0\n_sc|x");
    assert_eq!(tally(&datagrams), Tally { metrics: 5, events: 1, checks: 2 });
}

/// A line made from what was read.
fn written(metric: &Metric) -> Vec<u8> {
    let mut line = metric.name.to_vec();
    let values = match metric.values {
        Values::One(value) => format!("{value}"),
        Values::Many(values) => values.iter().map(|value| format!("{value:e}")).collect::<Vec<_>>().join("::"),
        Values::Text(value) => text(value),
    };
    line.extend(format!(":{values}|{}|zzz", word(metric.kind)).bytes());
    line.extend(metric.timestamp.map(|seconds| format!("|T{seconds}")).unwrap_or_default().bytes());
    line.extend(b"|#");
    line.extend(metric.tags);
    line.extend(format!("||@{}", metric.rate).bytes());
    line
}

#[test]
fn a_line_written_from_what_was_read_means_the_same() {
    let seed = Random::from_system().bits();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for _ in 0..10_000 {
        let number = |random: &mut Random| match random.below(4) {
            0 => format!("{}", random.below(100_000)),
            1 => format!("-{}.{}", random.below(1000), random.below(1000)),
            2 => format!("{}e-{}", random.bits(), random.below(300)),
            _ => format!("{}", f64::from_bits(random.bits() >> 2)),
        };
        let kind = ["c", "g", "ms", "h", "d", "s"][random.below(6) as usize];
        let values: Vec<String> = (0..1 + random.below(4)).map(|_| number(&mut random)).collect();
        let mut line = format!("name.{}:{}|{kind}", random.below(99), values.join(":"));
        if random.below(2) == 0 {
            line += &format!("|@{}", number(&mut random));
        }
        if random.below(2) == 0 {
            line += "|#a:b,,c|c:ci-1|e:it-false|card:low";
        }
        if random.below(3) == 0 {
            line += &format!("|T{}", 1 + random.below(1 << 40));
        }
        let (mut one, mut other) = (Parser::default(), Parser::default());
        let metric = one.metric(line.as_bytes()).unwrap_or_else(|err| panic!("seed {seed}: {err}: {line}"));
        let again = written(&metric);
        assert_eq!(other.metric(&again), Ok(metric), "seed {seed}: {line}");
    }
}

#[test]
fn any_datagram_is_read_without_a_panic() {
    let seed = Random::from_system().bits();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let good: Vec<String> = ["datagrams", "events", "service_checks"]
        .iter()
        .flat_map(|what| cases(what))
        .map(|case| case["in"].as_str().unwrap().to_owned())
        .collect();
    for _ in 0..50_000 {
        let mut datagram = Vec::new();
        for _ in 0..1 + random.below(3) {
            datagram.extend(good[random.below(good.len() as u64) as usize].bytes());
            datagram.push(b'\n');
        }
        for _ in 0..random.below(4) {
            let at = random.below(datagram.len() as u64) as usize;
            match random.below(3) {
                0 => datagram[at] ^= 1 << random.below(8),
                1 => datagram[at] = b"|:#@,\n_{}"[random.below(9) as usize],
                _ => datagram.truncate(at + 1),
            }
        }
        let mut datagrams = Datagrams::default();
        datagrams.push(&datagram);
        let tally = tally(&datagrams);
        let lines = Lines::new(&datagram).count() as u64;
        assert!(lines <= tally.metrics + tally.events + tally.checks, "seed {seed}");
        for line in Lines::new(&datagram) {
            let _ = (events::event(line), events::check(line));
        }
    }
}
