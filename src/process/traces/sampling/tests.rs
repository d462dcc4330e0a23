use super::*;
use crate::model::trace::Metric;
use crate::model::trace::Tag;
use crate::sys::random::Random;
use serde_json::Value;

/// A span in a few words.
#[derive(Clone, Copy, Default)]
struct Case<'c> {
    trace_id: u64,
    service: &'c str,
    resource: &'c str,
    error: i32,
    meta: &'c [(&'c str, &'c str)],
    metrics: &'c [(&'c str, f64)],
}

/// Chunks with these priorities and spans, the first of each being the root.
fn payload(chunks: &[(i32, &[Case])]) -> TracePayload {
    let mut payload = TracePayload::default();
    "prod".clone_into(&mut payload.tracer.env);
    for (priority, cases) in chunks {
        let start = payload.spans.len();
        for (span_id, case) in (1..).zip(*cases) {
            let (tags, metrics) = (payload.tags.len(), payload.metrics.len());
            for (key, value) in case.meta {
                let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
                payload.tags.push(tag);
            }
            for (key, value) in case.metrics {
                let key = payload.texts.make(key);
                payload.metrics.push(Metric { key, value: *value });
            }
            let (service, resource) = (payload.texts.make(case.service), payload.texts.make(case.resource));
            payload.spans.push(Span {
                trace_id: case.trace_id,
                span_id,
                parent_id: span_id - 1,
                service,
                resource,
                error: case.error,
                top_level: span_id == 1,
                meta: Slice::since(tags, payload.tags.len()),
                metrics: Slice::since(metrics, payload.metrics.len()),
                ..Span::default()
            });
        }
        let spans = Slice::since(start, payload.spans.len());
        payload.chunks.push(Chunk { spans, priority: *priority, root: start as u32, ..Chunk::default() });
    }
    payload
}

fn settings(by: By) -> Settings {
    Settings { by, error_tps: 0.0, rare: false, env: "none".to_owned(), samples_rule_drops: false }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The metric of the first span of what is left.
fn mark(payload: &TracePayload, name: &str) -> Option<f64> {
    let span = payload.spans[payload.chunks.first()?.spans.range().start];
    payload.metric(span.metrics, name)
}

const PLAIN: Case = Case { trace_id: 1, service: "web", resource: "GET /", error: 0, meta: &[], metrics: &[] };
const ERROR: Case = Case { error: 1, ..PLAIN };

/// What is left of a chunk with this priority after samplers that are new.
#[track_caller]
fn check(settings: Settings, priority: i32, cases: &[Case], expected: Option<(i32, usize)>) -> TracePayload {
    let mut payload = payload(&[(priority, cases)]);
    let dropped = Samplers::new(settings).sample(&mut payload, at(100));
    let left = payload.chunks.first().map(|chunk| (chunk.priority, chunk.spans.len()));
    assert_eq!(left, expected);
    assert_eq!(dropped, (cases.len() - expected.map_or(0, |(_, spans)| spans)) as u64);
    payload
}

#[test]
fn ids_are_chosen_as_by_the_reference() {
    let golden: Value = serde_json::from_str(include_str!("../../../../fixtures/sampling.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(20 <= cases.len());
    for case in cases {
        let id: u64 = case["trace_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(is_chosen(id, case["rate"].as_f64().unwrap()), case["keep"].as_bool().unwrap(), "{case}");
    }
}

#[test]
fn decisions_of_tracers_and_users_stand() {
    let by_target = || settings(By::TargetTps(10.0));
    check(by_target(), -1, &[PLAIN, PLAIN], None);
    check(by_target(), 0, &[PLAIN, PLAIN], None);
    check(by_target(), 1, &[PLAIN, PLAIN], Some((1, 2)));
    check(by_target(), 2, &[PLAIN], Some((2, 1)));
    check(by_target(), PRIORITY_NONE, &[PLAIN], Some((PRIORITY_NONE, 1)));
    let nothing = || settings(By::Hash(probabilistic::Settings::default()));
    check(nothing(), 1, &[PLAIN], None);
    check(nothing(), PRIORITY_NONE, &[PLAIN], None);
    check(nothing(), 2, &[PLAIN], Some((2, 1)));
    let all = || settings(By::Hash(probabilistic::Settings { percentage: 100.0, ..probabilistic::Settings::default() }));
    check(all(), -1, &[PLAIN], None);
    for priority in [0, 1, PRIORITY_NONE] {
        check(all(), priority, &[PLAIN], Some((1, 1)));
    }
}

#[test]
fn errors_are_kept_of_what_would_be_dropped_but_not_against_the_users_will() {
    for by in [By::TargetTps(10.0), By::Hash(probabilistic::Settings::default())] {
        let with = |error_tps| Settings { error_tps, ..settings(by) };
        let priority = if matches!(by, By::Hash(_)) { 1 } else { 0 };
        let payload = check(with(10.0), 0, &[PLAIN, ERROR], Some((priority, 2)));
        assert_eq!(mark(&payload, "_dd.errors_sr"), Some(1.0));
        check(with(0.0), 0, &[PLAIN, ERROR], None);
        check(with(10.0), 0, &[PLAIN, PLAIN], None);
        check(with(10.0), -1, &[ERROR], None);
    }
}

#[test]
fn what_a_rule_dropped_is_looked_at_where_only_hands_count() {
    let with = || Settings { error_tps: 10.0, samples_rule_drops: true, ..settings(By::TargetTps(10.0)) };
    check(with(), -1, &[ERROR], Some((-1, 1)));
    check(with(), -1, &[PLAIN], None);
    let mut by_hand = payload(&[(-1, &[ERROR])]);
    crate::process::traces::set_decision_maker(&mut by_hand, 0, "-4");
    assert_eq!(Samplers::new(with()).sample(&mut by_hand, at(100)), 1);
}

#[test]
fn marked_spans_of_a_dropped_trace_go_on_alone() {
    let single = Case { metrics: &[(SINGLE_SPAN, 8.0)], ..PLAIN };
    for priority in [-1, 0] {
        let cases = [PLAIN, single, PLAIN, Case { resource: "last", ..single }];
        let payload = check(settings(By::TargetTps(10.0)), priority, &cases, Some((USER_KEEP, 2)));
        let chunk = payload.chunks[0];
        let ids: Vec<u64> = payload.spans[chunk.spans.range()].iter().map(|span| span.span_id).collect();
        assert_eq!((ids, chunk.dropped_trace), (vec![2, 4], false));
    }
    check(settings(By::TargetTps(10.0)), 1, &[PLAIN, single], Some((1, 2)));
}

#[test]
fn a_kept_trace_does_not_say_that_it_was_dropped() {
    let mut payload = payload(&[(1, &[PLAIN]), (0, &[PLAIN]), (2, &[PLAIN])]);
    payload.chunks[0].dropped_trace = true;
    assert_eq!(Samplers::new(settings(By::TargetTps(10.0))).sample(&mut payload, at(100)), 1);
    assert_eq!(
        payload.chunks.iter().map(|chunk| (chunk.priority, chunk.dropped_trace)).collect::<Vec<_>>(),
        [(1, false), (2, false)]
    );
}

#[test]
fn rates_for_display_are_left_on_the_root_unless_the_tracer_has_told_its_own() {
    let by_target = || settings(By::TargetTps(10.0));
    let payload = check(by_target(), 1, &[PLAIN, PLAIN], Some((1, 2)));
    assert_eq!(mark(&payload, OLD_RATE), Some(1.0));
    for told in ["_dd.agent_psr", "_dd.rule_psr", OLD_RATE] {
        let payload = check(by_target(), 1, &[Case { metrics: &[(told, 0.5)], ..PLAIN }], Some((1, 1)));
        assert_eq!(payload.metrics.len(), 1, "{told}");
    }
    assert_eq!(mark(&check(by_target(), 2, &[PLAIN], Some((2, 1))), OLD_RATE), None);
    let payload = check(by_target(), PRIORITY_NONE, &[PLAIN], Some((PRIORITY_NONE, 1)));
    assert_eq!(mark(&payload, "_dd.no_p_sr"), Some(1.0));
    let share = probabilistic::Settings { percentage: 100.0, ..probabilistic::Settings::default() };
    let payload = check(settings(By::Hash(share)), 0, &[PLAIN], Some((1, 1)));
    assert_eq!(mark(&payload, "_dd.prob_sr"), Some(1.0));
    let maker = payload.tag(payload.chunks[0].tags, "_dd.p.dm").map(|maker| payload.texts.str(maker));
    assert_eq!(maker, Some("-9"));
}

#[test]
fn a_mark_takes_the_place_of_one_of_its_name_or_of_none_or_a_new_one() {
    let mut payload =
        payload(&[(1, &[Case { metrics: &[("a", 1.0), ("b", 2.0)], ..PLAIN }, Case { metrics: &[("c", 3.0)], ..PLAIN }])]);
    let mut marks = Marks::new(&mut payload);
    marks.set(&mut payload, 0, "b", 4.0);
    assert_eq!((payload.metrics.len(), payload.metric(payload.spans[0].metrics, "b")), (3, Some(4.0)));
    marks.set(&mut payload, 0, "new", 5.0);
    marks.set(&mut payload, 0, "newer", 6.0);
    let metrics = payload.spans[0].metrics;
    assert_eq!(["a", "b", "new", "newer"].map(|name| payload.metric(metrics, name)), [1.0, 4.0, 5.0, 6.0].map(Some));
    payload.metrics[metrics.range()][0].key = crate::model::trace::Text::EMPTY;
    marks.set(&mut payload, 0, "last", 7.0);
    assert_eq!((payload.spans[0].metrics, payload.metric(metrics, "last")), (metrics, Some(7.0)));
    assert_eq!(payload.metric(payload.spans[1].metrics, "c"), Some(3.0));
}

#[test]
fn a_span_with_very_many_metrics_is_not_marked() {
    let metrics: Vec<(String, f64)> = (0..100).map(|number| (number.to_string(), 1.0)).collect();
    let metrics: Vec<(&str, f64)> = metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let payload = check(settings(By::TargetTps(10.0)), 1, &[Case { metrics: &metrics, ..PLAIN }], Some((1, 1)));
    assert_eq!(payload.metrics.len(), 100);
}

#[test]
fn hashes_choose_as_those_of_the_reference() {
    #[track_caller]
    fn check(trace_id: u64, meta: &[(&str, &str)], whole_id: bool, kept_at: Option<f32>, dropped_at: Option<f32>) {
        let payload = payload(&[(0, &[Case { trace_id, meta, ..PLAIN }])]);
        let keeps = |percentage| {
            probabilistic::Settings { percentage, hash_seed: 0, whole_id }.keeps(
                &payload,
                payload.chunks[0].spans,
                &payload.spans[0],
            )
        };
        assert_eq!((kept_at.map(keeps), dropped_at.map(keeps)), (kept_at.map(|_| true), dropped_at.map(|_| false)));
    }
    const LOW: u64 = 0x090a_0b0c_0d0e_0f10;
    // From the reference agent's own tests.
    check(555, &[("otel.trace_id", "0102030405060708090a0b0c0d0e0f10")], true, Some(41.0), Some(40.0));
    check(LOW, &[("_dd.p.tid", "0102030405060708")], true, Some(41.0), None);
    check(555, &[("_dd.p.tid", "0102030405060708")], true, None, Some(40.0));
    check(555, &[], true, Some(40.0), None);
    check(556, &[], true, None, Some(40.0));
    check(LOW, &[("_dd.p.tid", "0102030405060708")], false, Some(70.0), None);
    check(555, &[("_dd.p.tid", "0102030405060708")], false, None, Some(68.0));
    check(1, &[("otel.trace_id", "no number")], true, None, Some(100.0));
    check(1, &[("_dd.p.tid", "10102030405060708")], true, None, Some(100.0));
}

#[test]
fn the_whole_id_is_found_wherever_in_the_trace_its_upper_half_stands() {
    let low = 0x090a_0b0c_0d0e_0f10;
    let with_half = Case { trace_id: low, meta: &[("_dd.p.tid", "0102030405060708")], ..PLAIN };
    let without = Case { meta: &[], ..with_half };
    let share = |percentage| By::Hash(probabilistic::Settings { percentage, hash_seed: 0, whole_id: true });
    for (percentage, expected) in [(41.0, Some((1, 2))), (40.0, None)] {
        check(settings(share(percentage)), 0, &[with_half, without], expected);
        let mut payload = payload(&[(0, &[with_half, without])]);
        payload.chunks[0].root = 1;
        assert_eq!(Samplers::new(settings(share(percentage))).sample(&mut payload, at(100)) == 0, expected.is_some());
    }
}

#[test]
fn about_the_wanted_share_is_kept_by_hash() {
    let share = probabilistic::Settings { percentage: 25.0, hash_seed: 7, whole_id: false };
    let mut samplers = Samplers::new(settings(By::Hash(share)));
    let mut random = Random::new(1);
    let mut kept = 0;
    for _ in 0..10_000 {
        let mut payload = payload(&[(1, &[Case { trace_id: random.id(), ..PLAIN }])]);
        kept += 1 - samplers.sample(&mut payload, at(100));
    }
    assert!((2_350..2_650).contains(&kept), "{kept}");
}

/// Tracers of these services make traces by the second, keep what the rates say, and are told new ones; the answer is how many a
/// second they kept in the last minute of ten.
fn kept_tps(target_tps: f64, services: &[(&str, u32)], drops_itself: bool) -> f64 {
    let mut samplers = Samplers::new(settings(By::TargetTps(target_tps)));
    let mut rates: Vec<Rate> = Vec::new();
    let mut random = Random::new(11);
    let mut kept = 0;
    for second in 1..=600 {
        for (service, tps) in services {
            let told =
                |name: &str, env: &str| rates.iter().find(|rate| rate.service == name && rate.env == env).map(|rate| rate.rate);
            let rate = told(service, "prod").or_else(|| told("", "")).unwrap_or(1.0);
            let mut withheld = 0;
            for _ in 0..*tps {
                let trace_id = random.bits();
                let keeps = is_chosen(trace_id, rate);
                kept += u32::from(keeps && 540 < second);
                if !keeps && drops_itself {
                    withheld += 1;
                    continue;
                }
                let mut payload = payload(&[(i32::from(keeps), &[Case { trace_id, service, ..PLAIN }])]);
                payload.tracer.dropped_p0_traces = std::mem::take(&mut withheld);
                let dropped = samplers.sample(&mut payload, at(second));
                assert_eq!(dropped, u64::from(!keeps), "the tracer's choice stands");
            }
            rates = samplers.take_new_rates().unwrap_or(rates);
        }
    }
    f64::from(kept) / 60.0
}

#[test]
fn what_tracers_keep_comes_to_the_target() {
    let near = |target: f64, got: f64| assert!((got - target).abs() < target * 0.25, "{got} instead of {target}");
    near(10.0, kept_tps(10.0, &[("web", 200)], false));
    near(10.0, kept_tps(10.0, &[("web", 200)], true));
    near(10.0, kept_tps(10.0, &[("web", 90), ("db", 40), ("quiet", 1)], false));
    near(5.0, kept_tps(10.0, &[("web", 3), ("db", 2)], false));
    near(50.0, kept_tps(50.0, &[("web", 400)], false));
}

#[test]
fn quiet_services_leave_their_share_to_busy_ones() {
    let mut feedback = Feedback::new(10.0, 100);
    for second in 0..11 {
        for (signature, tps) in [(1, 100.0), (2, 20.0), (3, 1.0)] {
            feedback.count(signature, tps, at(second));
        }
    }
    // 9 are left for two services, 4.5 each.
    assert_eq!([1, 2, 3].map(|signature| (feedback.rate(signature) * 1000.0).round()), [45.0, 225.0, 1000.0]);
    assert!((feedback.rate(4) - 0.045).abs() < 1e-6, "the lowest, for what is not known");
}

#[test]
fn a_rate_rises_slowly_after_a_burst_and_is_forgotten_at_last() {
    let mut feedback = Feedback::new(1.0, 100);
    feedback.count(1, 500.0, at(4));
    feedback.count(1, 0.0, at(5));
    assert!((feedback.rate(1) - 0.01).abs() < 1e-9);
    let mut before = feedback.rate(1);
    for bucket in 2..40 {
        feedback.count(2, 0.0, at(bucket * 5));
        let now = feedback.rate(1);
        assert!(now <= before * 1.2 + 1e-9, "{before} to {now}");
        before = now;
    }
    assert_eq!((feedback.rate(1), feedback.remembered()), (1.0, 1));
}

#[test]
fn a_target_of_nothing_keeps_nothing() {
    let mut feedback = Feedback::new(0.0, 100);
    for second in 0..20 {
        feedback.count(1, 1.0, at(second));
        assert_eq!(feedback.rate(1), 0.0);
    }
}

#[test]
fn tracers_without_an_environment_get_the_rate_of_the_agents_own() {
    let mut samplers = Samplers::new(settings(By::TargetTps(10.0)));
    for second in [1, 6] {
        for env in ["", "none", "prod"] {
            let mut payload = payload(&[(1, &[PLAIN])]);
            env.clone_into(&mut payload.tracer.env);
            samplers.sample(&mut payload, at(second));
        }
    }
    let rates = samplers.take_new_rates().unwrap();
    let keys: Vec<(&str, &str)> = rates.iter().map(|rate| (rate.service.as_str(), rate.env.as_str())).collect();
    assert_eq!(keys, [("", ""), ("web", ""), ("web", "none"), ("web", "prod")]);
    assert_eq!(samplers.take_new_rates(), None);
}

#[test]
fn weights_of_tracers_count() {
    let mut samplers = Samplers::new(settings(By::TargetTps(10.0)));
    for second in [1, 6] {
        let mut payload = payload(&[(1, &[Case { metrics: &[("_sample_rate", 0.5)], ..PLAIN }]), (2, &[PLAIN])]);
        payload.tracer.dropped_p0_traces = 996;
        samplers.sample(&mut payload, at(second));
    }
    // 2 of itself and 498 of half of those withheld in 5 s make 100 a second.
    assert!((samplers.take_new_rates().unwrap()[0].rate - 0.1).abs() < 1e-6);
}

#[test]
fn what_is_rare_is_kept_once_in_five_minutes() {
    let with = || Settings { rare: true, ..settings(By::TargetTps(10.0)) };
    let mut samplers = Samplers::new(with());
    let mut keeps = |case: Case, second| {
        let mut payload = payload(&[(0, &[case, PLAIN])]);
        let kept = samplers.sample(&mut payload, at(second)) == 0;
        assert_eq!(mark(&payload, "_dd.rare"), kept.then_some(1.0));
        kept
    };
    let other = Case { resource: "other", ..PLAIN };
    let failed = Case { meta: &[("http.status_code", "500")], ..PLAIN };
    let results = [(PLAIN, 10), (PLAIN, 11), (other, 12), (other, 13), (failed, 14), (failed, 15), (PLAIN, 310), (PLAIN, 311)];
    let results = results.map(|(case, second)| keeps(case, second));
    assert_eq!(results, [true, false, true, false, true, false, false, true]);
}

#[test]
fn hardly_anything_is_rare_when_everything_is_new() {
    let mut samplers = Samplers::new(Settings { rare: true, ..settings(By::TargetTps(10.0)) });
    let mut kept = 0;
    for number in 0..1_000 {
        let resource = number.to_string();
        let mut payload = payload(&[(0, &[Case { resource: &resource, ..PLAIN }])]);
        kept += 1 - samplers.sample(&mut payload, at(100 + number / 100));
    }
    assert!((50..=50 + 10 * 5).contains(&kept), "a burst and five a second: {kept}");
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let settings = Settings { error_tps: 10.0, rare: true, ..settings(By::TargetTps(10.0)) };
    let mut samplers = Samplers::new(settings);
    for number in 0..9_000_u64 {
        let (service, resource) = ((number / 3).to_string(), number.to_string());
        let case = Case { trace_id: number, service: &service, resource: &resource, error: 1, ..PLAIN };
        let mut payload = payload(&[(if number % 3 == 0 { PRIORITY_NONE } else { 0 }, &[case])]);
        samplers.sample(&mut payload, at(number));
    }
    let Samplers { priority, no_priority, errors, rare, .. } = &samplers;
    assert!(priority.remembered() <= SERVICES_ROWS_MAX, "{}", priority.remembered());
    assert!(no_priority.remembered() <= KINDS_ROWS_MAX && errors.remembered() <= KINDS_ROWS_MAX);
    assert!(rare.as_ref().unwrap().remembered() <= 8_192);
    // All of it within half a minute.
    let mut samplers = Samplers::new(samplers.settings.clone());
    for number in 0..9_000_u64 {
        let (service, resource) = ((number / 3).to_string(), number.to_string());
        let case = Case { trace_id: number, service: &service, resource: &resource, error: 1, ..PLAIN };
        let mut payload = payload(&[(if number % 3 == 0 { PRIORITY_NONE } else { 0 }, &[case])]);
        samplers.sample(&mut payload, at(100 + number / 1000));
    }
    let Samplers { priority, no_priority, errors, .. } = &mut samplers;
    assert!((SERVICES_ROWS_MAX / 2..=SERVICES_ROWS_MAX).contains(&priority.remembered()));
    assert!(priority.named().count() <= SERVICES_ROWS_MAX / 2);
    assert!(no_priority.remembered() <= KINDS_ROWS_MAX && errors.remembered() <= KINDS_ROWS_MAX);
}
