use super::*;
use crate::model::host::Gauge;
use crate::out::checks as show_checks;
use crate::out::metrics as show;
use crate::process::metrics::histogram::Aggregates;
use crate::spool::Fate;
use crate::spool::Room;
use crate::spool::Taken;
use crate::spool::WhenFull;
use crate::spool::ages::Ages;
use crate::sys::clock::Clock;
use crate::sys::inbox::channel;
use crate::sys::memory::Budget;
use crate::sys::random::Random;
use flate2::read::GzDecoder;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read;

struct Rig {
    stage: MetricsStage,
    ledger: Arc<Ledger>,
    queues: Queues,
    budget: Budget,
}

fn rules() -> rules::Settings {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (aggregates, _) = Aggregates::parse(&words(&["max", "median", "avg", "count"]), &words(&["0.95"]));
    rules::Settings {
        hostname: "gw-1".to_owned(),
        host_tag: true,
        aggregates,
        bytes_max: 8 << 20,
        expiry: Duration::from_secs(20),
        timestamps: true,
        seed: 7,
        ..rules::Settings::default()
    }
}

fn rig_with(rules: rules::Settings, body_bytes_max: usize) -> Rig {
    let clock = Clock::new();
    let queue = || Queue::new(Room::new(16 << 20, Ages::none()), WhenFull::DropOldest, clock);
    let ledger = Ledger::new();
    let queues = Queues { series: queue(), sketches: queue(), events: queue(), checks: queue() };
    let origin = Some(Origin { product: 10, category: 10, service: 0 });
    let host_tags = vec!["team:edge".to_owned()];
    let settings = Settings { rules, host_tags, body_bytes_max, compression_level: 1, origin };
    let stage = MetricsStage::new(settings, queues.clone(), Arc::clone(&ledger));
    Rig { stage, ledger, queues, budget: Budget::new(1 << 20) }
}

fn rig() -> Rig {
    rig_with(rules(), 5 << 20)
}

/// Seconds after 1,700,000,000.
fn at(seconds: u64) -> Now {
    Now { uptime: Duration::from_secs(seconds), unix: Duration::from_secs(1_700_000_000 + seconds) }
}

fn unzipped(body: &crate::spool::Body) -> Vec<u8> {
    let mut plain = Vec::new();
    match body.headers.iter().any(|(name, _)| *name == "Content-Encoding") {
        true => GzDecoder::new(&body.bytes[..]).read_to_end(&mut plain).map(drop).unwrap(),
        false => plain.clone_from(&body.bytes),
    }
    plain
}

impl Rig {
    fn parcel(&self, item: MetricsItem, records: u64) -> Parcel<MetricsItem> {
        let permit = self.budget.reserve(1, Clock::new().instant_in(Duration::ZERO)).unwrap();
        Parcel { item, claim: self.ledger.accept(Signal::Metrics, records), permit }
    }

    fn parcel_of(&self, datagrams: &[&str]) -> Parcel<MetricsItem> {
        let mut batch = Datagrams::default();
        datagrams.iter().for_each(|datagram| batch.push(datagram.as_bytes()));
        let records = batch.len() as u64;
        self.parcel(MetricsItem::Datagrams(batch), records)
    }

    fn send(&mut self, datagrams: &[&str], now: Now) {
        let parcel = self.parcel_of(datagrams);
        self.stage.take(parcel, now);
        assert_eq!(self.budget.taken(), 0);
        assert!(self.ledger.snapshot().is_balanced());
    }

    /// Takes everything out of a queue and counts it as sent; the answer has one list of records for each body.
    fn take(&self, queue: &Queue, show: fn(&[u8]) -> Vec<Value>) -> Vec<Vec<Value>> {
        queue.close(Clock::new().instant_in(Duration::from_secs(3600)));
        let mut bodies = Vec::new();
        while let Taken::Body(body) = queue.take(Duration::ZERO) {
            bodies.push(show(&unzipped(&body)));
            queue.settle(body, Fate::Sent);
        }
        bodies
    }

    fn series(&self) -> Vec<Value> {
        self.take(&self.queues.series, |body| collect(|each| show::series(body, each).is_ok())).concat()
    }

    fn sketches(&self) -> Vec<Value> {
        self.take(&self.queues.sketches, |body| collect(|each| show::sketches(body, each).is_ok())).concat()
    }

    fn checks(&self) -> Vec<Vec<Value>> {
        self.take(&self.queues.checks, |body| collect(|each| show_checks::records(body, each).is_ok()))
    }

    fn events(&self) -> Vec<Value> {
        self.take(&self.queues.events, |body| collect(|each| show_checks::event(body, each).is_ok())).concat()
    }

    #[track_caller]
    fn books(&self, expected: &str) {
        assert_eq!(self.ledger.snapshot().to_string(), expected);
    }
}

fn collect(read: impl FnOnce(&mut dyn FnMut(Value)) -> bool) -> Vec<Value> {
    let mut found = Vec::new();
    assert!(read(&mut |record| found.push(record)), "bodies of our own can be read");
    found
}

#[test]
fn every_case_of_the_vectors_is_met_with_counts_in_the_place_of_rates() {
    let cases: Value = serde_json::from_str(include_str!("../../../fixtures/aggregation.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let mut rig = rig();
        let datagrams: Vec<&str> = case["datagrams"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let seconds = case["at"].as_u64().unwrap() - 1_700_000_000;
        rig.send(&datagrams, at(seconds));
        rig.stage.on_due(at(10));
        let expected: BTreeMap<String, Value> =
            case["series"].as_array().unwrap().iter().map(|series| as_count(series, case)).collect();
        let of = |series: &Value| {
            let point = &series["points"][0];
            let interval = series.get("interval").cloned().unwrap_or(json!(0));
            let shown = json!([series["type"], point[0], interval, series["tags"], point[1]]);
            (series["metric"].as_str().unwrap().to_owned(), shown)
        };
        assert_eq!(rig.series().iter().map(of).collect::<BTreeMap<_, _>>(), expected, "{}", case["name"]);
        let sketches = rig.sketches();
        let wanted = case["sketches"].as_array().unwrap();
        assert_eq!(sketches.len(), wanted.len(), "{}", case["name"]);
        for (found, wanted) in sketches.iter().zip(wanted) {
            let point = &found["points"][0];
            for member in ["cnt", "min", "max", "avg", "sum"] {
                assert_eq!(point[member].as_f64(), wanted[member].as_f64(), "{member}");
            }
            let keys: Vec<&Value> = point["bins"].as_array().unwrap().iter().map(|bin| &bin[0]).collect();
            assert_eq!(json!(keys), wanted["k"]);
        }
        assert!(rig.ledger.snapshot().is_quiet() && rig.ledger.snapshot().is_balanced(), "{}", case["name"]);
    }
}

/// What is sent here for a series of the Agent: a rate over ten seconds is the count.
fn as_count(series: &Value, case: &Value) -> (String, Value) {
    let is_rate = series["type"] == "rate";
    let value = series["value"].as_f64().unwrap();
    let (kind, interval, value) = if is_rate { ("count", 10, (value * 10.0 * 1e9).round() / 1e9) } else { ("gauge", 0, value) };
    let time = series.get("timestamp").unwrap_or(&case["flush_bucket"]);
    (series["metric"].as_str().unwrap().to_owned(), json!([kind, time, interval, series["tags"], value]))
}

#[test]
fn what_cannot_be_sent_is_counted_by_its_reason() {
    let mut rig = rig_with(rules::Settings { blocklist: vec!["no".to_owned()], contexts_max: 2, ..rules() }, 5 << 20);
    rig.send(&["a:1:2:3|c\nnonsense\nno:1:2|g", "b:NaN:4|g\nb:5|g|@x\nc:1:2|d"], at(1));
    rig.books(
        "metrics accepted=11 restored=0 sent=0 memory=4 spool=0 dropped=7 filtered=2 malformed=3 context_limit=2; balanced lost=2",
    );
    rig.stage.finish(at(2));
    assert_eq!(rig.series().len(), 2);
    assert!(rig.ledger.snapshot().is_quiet() && rig.ledger.snapshot().is_balanced());
}

#[test]
fn what_there_is_no_time_for_is_counted_as_what_it_is() {
    let mut rig = rig();
    let parcel = rig.parcel_of(&["a:1:2:3|c\nnonsense\n_sc|up|0", "b:1|d\n_e{1,1}:t|x"]);
    rig.stage.give_up(parcel);
    let parcel = rig.parcel(MetricsItem::Contexts(Box::new(|_| panic!("nobody waits for them any more"))), 0);
    rig.stage.give_up(parcel);
    assert_eq!(rig.budget.taken(), 0);
    rig.books(concat!(
        "metrics accepted=5 restored=0 sent=0 memory=0 spool=0 dropped=5 shutdown=5; ",
        "events accepted=1 restored=0 sent=0 memory=0 spool=0 dropped=1 shutdown=1; ",
        "checks accepted=1 restored=0 sent=0 memory=0 spool=0 dropped=1 shutdown=1; balanced lost=7"
    ));
}

#[test]
fn events_leave_at_once_and_checks_together() {
    let mut rig = rig_with(rules::Settings { global_tags: vec!["env:prod".to_owned()], ..rules() }, 5 << 20);
    rig.send(&["_e{1,1}:t|x|#a,host:tagged\n_sc|up|0|#b\n_sc|up|9\n_e{1}:t"], at(1));
    rig.send(&["_sc|down|2|d:5|h:web1|m:why"], at(2));
    assert_eq!(rig.stage.due(), Some(Duration::from_secs(6)));
    rig.stage.on_due(at(6));
    let event = json!({"signal": "events", "title": "t", "text": "x", "date_happened": 1_700_000_001, "host": "tagged",
        "priority": "normal", "tags": ["a", "env:prod"], "alert_type": "info"});
    assert_eq!(rig.events(), [event]);
    let check = |name: &str, host: &str, time: u64, status: u8, message: &str, tags: &[&str]| json!({"signal": "checks", "check": name, "host_name": host, "timestamp": time, "status": status, "message": message, "tags": tags});
    let expected =
        vec![check("up", "gw-1", 1_700_000_001, 0, "", &["b", "env:prod"]), check("down", "web1", 5, 2, "why", &["env:prod"])];
    assert_eq!(rig.checks(), [expected]);
    rig.books(concat!(
        "events accepted=2 restored=0 sent=1 memory=0 spool=0 dropped=1 malformed=1; ",
        "checks accepted=3 restored=0 sent=2 memory=0 spool=0 dropped=1 malformed=1; balanced lost=0"
    ));
}

#[test]
fn bodies_are_split_and_each_settles_its_points() {
    let mut rig = rig_with(rules(), 4000);
    let lines: Vec<String> =
        (0..300).map(|number| format!("metric.{number}:1:2|{}|#tag:value", ["c", "d", "h"][number % 3])).collect();
    rig.send(&[&lines.join("\n")], at(3));
    rig.stage.flush(at(4));
    let bodies = rig.take(&rig.queues.series, |body| {
        assert!(body.len() <= 4000);
        collect(|each| show::series(body, each).is_ok())
    });
    assert!(10 < bodies.len());
    assert_eq!(bodies.concat().len(), 100 + 500);
    assert_eq!(rig.sketches().len(), 100);
    rig.books("metrics accepted=600 restored=0 sent=600 memory=0 spool=0 dropped=0; balanced lost=0");
}

#[test]
fn many_points_with_their_own_time_do_not_wait_for_the_bucket() {
    let mut rig = rig();
    let lines: Vec<String> = (0..6000).map(|number| format!("m:{number}|g|T{}", 1_699_000_000 + number)).collect();
    rig.send(&[&lines.join("\n"), "bad\nm:1|g|T1"], at(3));
    let series = rig.series();
    assert_eq!(series[0]["points"].as_array().unwrap().len(), 6000);
    assert_eq!(series[0]["points"][5999], json!([1_699_005_999, 5999.0]));
    rig.books("metrics accepted=6002 restored=0 sent=6000 memory=1 spool=0 dropped=1 malformed=1; balanced lost=0");
}

#[test]
fn no_body_has_more_points_than_the_intake_takes() {
    let mut rig = rig();
    rig.send(&[&format!("m{}|g|T1699000000", ":7".repeat(25_000))], at(3));
    let bodies = rig.take(&rig.queues.series, |body| collect(|each| show::series(body, each).is_ok()));
    let points = |body: &Vec<Value>| body.iter().map(|series| series["points"].as_array().unwrap().len()).sum::<usize>();
    assert_eq!(bodies.iter().map(points).collect::<Vec<_>>(), [10_000, 10_000, 5_000]);
    rig.books("metrics accepted=25000 restored=0 sent=25000 memory=0 spool=0 dropped=0; balanced lost=0");
}

#[test]
fn whoever_asks_is_told_which_contexts_there_are() {
    let mut rig = rig();
    rig.send(&["a:1:2|c|#y,x"], at(1));
    let (sender, receiver) = channel(1);
    let parcel = rig.parcel(MetricsItem::Contexts(Box::new(move |contexts| drop(sender.send(contexts)))), 0);
    rig.stage.take(parcel, at(2));
    let contexts = receiver.recv().unwrap();
    assert_eq!((contexts[0].name.as_str(), contexts[0].tags.as_str(), contexts[0].count), ("a", "x,y", 2));
}

#[test]
fn nothing_is_lost_or_doubled_whatever_comes_and_whenever_it_is_flushed() {
    let seed = Random::from_system().bits();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for _ in 0..20 {
        let mut rig = rig();
        let (mut seconds, mut sum) = (0, 0_u64);
        for _ in 0..200 {
            match random.below(8) {
                0 => rig.stage.flush(at(seconds)),
                1 => rig.stage.on_due(at(seconds)),
                2 => seconds += random.below(15),
                _ => {
                    let value = random.below(100);
                    sum += value;
                    rig.send(&[&format!("c:{value}|c|#b,a\nbad\nd:{value}|d")], at(seconds));
                }
            }
        }
        rig.stage.finish(at(seconds));
        let (series, sketches) = (rig.series(), rig.sketches());
        let mut by_second = BTreeMap::new();
        for point in series.iter().flat_map(|series| series["points"].as_array().unwrap()) {
            let again = by_second.insert(point[0].as_i64().unwrap(), point[1].as_f64().unwrap());
            assert_eq!(again, None, "seed {seed}: two points of one second");
        }
        assert_eq!(by_second.values().sum::<f64>(), sum as f64, "seed {seed}");
        let sketched: f64 = sketches.iter().map(|sketch| sketch["points"][0]["sum"].as_f64().unwrap_or(0.0)).sum();
        assert!((sketched - sum as f64).abs() < 1e-6, "seed {seed}");
        assert!(rig.ledger.snapshot().is_quiet() && rig.ledger.snapshot().is_balanced(), "seed {seed}");
    }
}

#[test]
fn any_datagram_leaves_bodies_that_can_be_read_and_books_that_balance() {
    let seed = Random::from_system().bits();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let parts = [
        "_e{1,2}:",
        "_sc|",
        "name",
        "\u{fc}n\u{ef}",
        ":",
        "|",
        "1",
        "-2.5e3",
        "NaN",
        "c",
        "g",
        "ms",
        "d",
        "s",
        "h",
        "|#",
        "a:b",
        ",",
        "device:x",
        "dd.internal.resource:",
        "host:",
        "|@",
        "0.1",
        "|T",
        "17",
        "\n",
        "\r\n",
        "|m:",
        "|h:",
        "\\n",
        "name:1|d",
        "x:2|c|#t",
    ];
    for _ in 0..200 {
        let mut rig = rig();
        let mut batch = Datagrams::default();
        for _ in 0..20 {
            let mut datagram: Vec<u8> =
                (0..random.below(40)).flat_map(|_| parts[random.below(parts.len() as u64) as usize].bytes()).collect();
            if let Some(byte) = datagram.get_mut(random.below(200) as usize) {
                *byte ^= 1 << random.below(8);
            }
            batch.push(&datagram);
        }
        let records = batch.len() as u64;
        let parcel = rig.parcel(MetricsItem::Datagrams(batch), records);
        rig.stage.take(parcel, at(random.below(10)));
        rig.stage.finish(at(10));
        let _ = (rig.series(), rig.sketches(), rig.events(), rig.checks());
        assert!(rig.ledger.snapshot().is_quiet() && rig.ledger.snapshot().is_balanced(), "seed {seed}");
    }
}

#[test]
fn points_with_a_time_of_their_own_keep_it_and_leave_with_a_flush() {
    let mut rig = rig();
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
    let item = MetricsItem::Tags(tags(&["of:all"]), tags(&["function:f"]));
    let parcel = rig.parcel(item, 0);
    rig.stage.take(parcel, at(0));
    let point = |name, value, time_ms| Point { name, value, time_ms, tags: "cold_start:true".into() };
    let points = vec![point("huge", f64::MAX, 15_001), point("huge", f64::MAX, 15_001)];
    let parcel = rig.parcel(MetricsItem::Points(points), 2);
    rig.stage.take(parcel, at(1));
    let points = vec![point("errors", 1.0, 15_001), point("errors", 2.0, 19_999), point("errors", 4.0, 20_000)];
    let parcel = rig.parcel(MetricsItem::Points(points), 3);
    rig.stage.take(parcel, at(1));
    assert_eq!(rig.stage.due(), Some(Duration::from_secs(11)));
    rig.send(&["mine:1|d"], at(2));
    rig.stage.flush(at(3));
    assert_eq!(rig.stage.dated.due(), None);
    let mut bodies = rig.take(&rig.queues.sketches, |body| collect(|each| show::sketches(body, each).is_ok()));
    let told = |record: &Value| {
        format!("{} {} {} {}", record["metric"], record["points"][0]["ts"], record["points"][0]["sum"], record["tags"])
    };
    assert_eq!(bodies[0].remove(0)["metric"], "aws.lambda.enhanced.huge");
    let expected = [
        r#""aws.lambda.enhanced.errors" 10 3.0 ["cold_start:true","function:f"]"#,
        r#""aws.lambda.enhanced.errors" 20 4.0 ["cold_start:true","function:f"]"#,
        r#""mine" 1700000000 1.0 ["of:all"]"#,
    ];
    assert_eq!(bodies.len(), 1, "they share a body");
    assert_eq!(bodies[0].iter().map(told).collect::<Vec<_>>(), expected);
    assert!(rig.ledger.snapshot().is_balanced());
}

#[test]
fn points_without_a_flush_leave_when_they_are_due_or_many() {
    let mut rig = rig();
    let point = |number: i64| Point { name: "errors", value: 1.0, time_ms: number * 10_000, tags: String::new() };
    let parcel = rig.parcel(MetricsItem::Points(vec![point(0)]), 1);
    rig.stage.take(parcel, at(1));
    rig.stage.on_due(at(10));
    assert_eq!(rig.stage.dated.due(), Some(Duration::from_secs(11)));
    rig.stage.on_due(at(11));
    let parcel = rig.parcel(MetricsItem::Points((0..1000).map(point).collect()), 1000);
    rig.stage.take(parcel, at(12));
    assert_eq!((rig.stage.dated.due(), rig.sketches().len()), (None, 1001));
}

fn gauges(rig: &mut Rig, now: Now) {
    let gauge = |name, value, tags: &str| Gauge { name, value, tags: tags.to_owned() };
    let device = "device:/dev/sda1,device_name:sda1";
    let points =
        vec![gauge("system.load.1", 0.5, ""), gauge("system.disk.used", 7.0, device), gauge("system.disk.free", 3.0, device)];
    let parcel = rig.parcel(MetricsItem::Gauges(points, 1_700_000_003), 3);
    rig.stage.take(parcel, now);
}

#[test]
fn points_of_the_machine_have_the_users_tags_and_their_device_and_no_origin() {
    let mut rig = rig();
    gauges(&mut rig, at(5));
    assert_eq!((rig.stage.due(), rig.budget.taken()), (Some(Duration::from_secs(15)), 1));
    rig.books("metrics accepted=3 restored=0 sent=0 memory=3 spool=0 dropped=0; balanced lost=0");
    rig.stage.on_due(at(15));
    assert_eq!((rig.stage.due(), rig.budget.taken()), (None, 0));
    let series = rig.series();
    let resource = |kind: &str, name: &str| json!({"type": kind, "name": name});
    assert_eq!(series[0]["metric"], "system.load.1");
    assert_eq!((&series[0]["type"], &series[0]["points"]), (&json!("gauge"), &json!([[1_700_000_003, 0.5]])));
    assert_eq!((&series[0]["resources"], &series[0]["tags"]), (&json!([resource("host", "gw-1")]), &json!(["team:edge"])));
    assert_eq!(series[1]["resources"], json!([resource("host", "gw-1"), resource("device", "/dev/sda1")]));
    assert_eq!(series[2]["tags"], json!(["device_name:sda1", "team:edge"]));
    assert!(series.iter().all(|series| series.get("origin").is_none()), "{series:#?}");
    rig.books("metrics accepted=3 restored=0 sent=3 memory=0 spool=0 dropped=0; balanced lost=0");
}

#[test]
fn points_of_the_machine_share_the_body_of_others_and_leave_with_every_flush() {
    let mut rig = rig();
    rig.send(&["a:1|c"], at(1));
    gauges(&mut rig, at(5));
    let parcel = rig.parcel_of(&["a:1|c"]);
    rig.stage.take(parcel, at(6)); // looks for a bucket that is over, and there is none
    rig.stage.on_due(at(10));
    let bodies = rig.take(&rig.queues.series, |body| collect(|each| show::series(body, each).is_ok()));
    assert_eq!(bodies.iter().map(Vec::len).collect::<Vec<_>>(), [4]);
    for end in [MetricsStage::flush, MetricsStage::finish] {
        let mut rig = self::rig();
        gauges(&mut rig, at(5));
        end(&mut rig.stage, at(6));
        assert_eq!((rig.series().len(), rig.stage.due()), (3, None));
        assert!(rig.ledger.snapshot().is_quiet());
    }
}
