//! Enhanced metrics: what `aws.lambda.enhanced.*` tell of invocations, each thing once, whatever comes twice or never.
//!
//! ```text
//! at the start   invocations
//! when it fails  errors, timeouts, out_of_memory            one of each an invocation, however many sources tell of it
//! at the end     runtime_duration, response_latency, response_duration (ms), produced_bytes, and what the machine used meanwhile
//! by the report  duration, billed_duration (s), post_runtime_duration (ms), max_memory_used, memorysize (MB), estimated_cost (USD)
//! once           init_duration, snapstart_restore_duration (s), shutdowns, unused_init
//! ```
//! With managed instances, which run several invocations at once and tell nothing but a report, the end is the report, there are no costs,
//! and what is a peak is told when the sandbox goes. Values that are not known are left out, never zero. Source: behaviour of Datadog's
//! extensions; where these differ, a comment says what is done.

use crate::model::invocation::Figures;
use crate::model::invocation::Outcome;
use crate::model::invocation::Point;
use crate::model::invocation::Status;
use crate::model::usage::Processors;
use crate::model::usage::Usage;
use crate::process::invocation::Open;

/// Dollars for one gigabyte of memory during one second, by architecture, and for one invocation.
const X86_64_PRICE: f64 = 0.0000166667;
const ARM64_PRICE: f64 = 0.0000133334;
const INVOCATION_PRICE: f64 = 0.0000002;

/// Costs are rounded to as many digits behind the point as the first extension had; the second has one less.
const COST_DIGITS: f64 = 1e13;

/// What the metrics depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The processors are ARM's.
    pub arm64: bool,
    /// The sandbox belongs to managed instances.
    pub managed: bool,
}

/// What has been told of one invocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    invoked: bool,
    failed: bool,
    timed_out: bool,
    out_of_memory: bool,
    runtime_ms: Option<f64>,
    used_before: Option<Usage>,
}

impl Told {
    /// A process before this one has told all of it.
    pub fn everything() -> Told {
        Told { invoked: true, failed: true, timed_out: true, out_of_memory: true, ..Told::default() }
    }

    /// It has told of its beginning only.
    pub fn beginning() -> Told {
        Told { invoked: true, ..Told::default() }
    }
}

/// The points that are waiting to be taken, and what outlives an invocation.
#[derive(Debug)]
pub(super) struct Metrics {
    settings: Settings,
    /// The function goes on where it stopped, in another invocation.
    durable: bool,
    /// Time and milliseconds of an init phase whose invocation is not known yet.
    init: Option<(i64, f64)>,
    init_told: bool,
    /// The latest reading, and the highest since the invocation began.
    usage: Option<Usage>,
    peak: Usage,
    points: Vec<Point>,
}

impl Metrics {
    pub fn new(settings: Settings) -> Metrics {
        let (init, usage) = (None, None);
        Metrics { settings, durable: false, init, init_told: false, usage, peak: Usage::default(), points: Vec::new() }
    }

    /// The points since the last call.
    pub fn take(&mut self) -> Vec<Point> {
        std::mem::take(&mut self.points)
    }

    /// What the machine's processes use now.
    pub fn measured(&mut self, usage: Usage) {
        let used = |usage: &Usage| usage.temporary.map_or(0.0, |(_, used)| used);
        let temporary = usage.temporary.map(|(all, now)| (all, now.max(used(&self.peak))));
        self.peak = Usage {
            temporary: temporary.or(self.peak.temporary),
            descriptors: usage.descriptors.max(self.peak.descriptors),
            threads: usage.threads.max(self.peak.threads),
            ..usage.clone()
        };
        self.usage = Some(usage);
    }

    /// `platform.initStart`
    pub fn init_started(&mut self, runtime_version: Option<&str>) {
        self.durable |= runtime_version.is_some_and(|version| version.contains("DurableFunction"));
    }

    /// The init phase took so long: told once a sandbox, with the tags of the invocation that waited for it.
    pub fn init(&mut self, time_ms: i64, duration_ms: Option<f64>) {
        if let Some(duration) = duration_ms.filter(|duration| 0.0 < *duration && !self.init_told) {
            self.init_told = true;
            self.init = Some((time_ms, duration));
        }
    }

    /// An invocation began.
    pub fn invoked(&mut self, open: &mut Open, time_ms: i64) {
        if open.told.invoked {
            return;
        }
        open.told.invoked = true;
        if !self.settings.managed {
            self.peak = self.usage.clone().unwrap_or_default();
        }
        open.told.used_before.clone_from(&self.usage);
        self.of(open, time_ms, &[("invocations", Some(1.0))]);
    }

    /// The snapshot took so long to come back.
    pub fn restored(&mut self, time_ms: i64, duration_ms: Option<f64>) {
        let seconds = duration_ms.map(|ms| ms * 0.001);
        self.push(time_ms, &[("snapstart_restore_duration", seconds)], String::new());
    }

    /// An invocation has failed, whoever says so.
    pub fn failed(&mut self, open: &mut Open, time_ms: i64) {
        if !std::mem::replace(&mut open.told.failed, true) {
            self.of(open, time_ms, &[("errors", Some(1.0))]);
        }
    }

    /// Its library may say that the handler has failed, or its answer so.
    pub fn end_call(&mut self, open: &mut Open) {
        let Some(call) = &open.end else { return };
        if call.error.is_some() || call.status_code.is_some_and(|code| (500..600).contains(&code)) {
            let time_ms = call.at / 1_000_000;
            self.failed(open, time_ms);
        }
    }

    /// Its memory was not enough, which is a failure; whether that was new.
    pub fn out_of_memory(&mut self, open: &mut Open, time_ms: i64) -> bool {
        let is_new = !std::mem::replace(&mut open.told.out_of_memory, true);
        if is_new {
            self.of(open, time_ms, &[("out_of_memory", Some(1.0))]);
            self.failed(open, time_ms);
        }
        is_new
    }

    /// What a status says beside the rest; whether memory ran out.
    pub fn status(&mut self, open: &mut Open, outcome: &Outcome, time_ms: i64) -> bool {
        // A word that is not known, or none, may as well mean success.
        if matches!(outcome.status, Status::Success | Status::Unknown) {
            return false;
        }
        self.failed(open, time_ms);
        if outcome.status == Status::Timeout && !std::mem::replace(&mut open.told.timed_out, true) {
            self.of(open, time_ms, &[("timeouts", Some(1.0))]);
        }
        outcome.error_type.as_deref() == Some("Runtime.OutOfMemory") && self.out_of_memory(open, time_ms)
    }

    /// `platform.runtimeDone`
    pub fn ended(&mut self, open: &mut Open, outcome: &Outcome, time_ms: i64) {
        open.told.runtime_ms = outcome.duration_ms.filter(|duration| 0.0 < *duration);
        self.end(open, outcome, outcome.duration_ms, time_ms);
        if let (Some(_), false) = (&self.usage, self.settings.managed) {
            let peaks = self.peaks();
            self.of(open, time_ms, &peaks);
        }
    }

    /// `platform.report`; whether it tells that memory ran out.
    pub fn reported(&mut self, open: &mut Open, outcome: &Outcome, figures: Option<&Figures>, time_ms: i64) -> bool {
        if self.settings.managed {
            let runtime_ms = outcome.response_latency_ms.or(outcome.duration_ms);
            open.told.runtime_ms = runtime_ms.filter(|duration| 0.0 < *duration);
            self.end(open, outcome, runtime_ms, time_ms);
        }
        let post_ms = outcome.duration_ms.zip(open.told.runtime_ms).map(|(all, runtime)| (all - runtime).max(0.0));
        let seconds = outcome.duration_ms.map(|ms| ms * 0.001);
        self.of(open, time_ms, &[("duration", seconds), ("post_runtime_duration", post_ms)]);
        let Some(figures) = figures.filter(|_| !self.settings.managed) else { return false };
        self.init(time_ms, figures.init_duration_ms);
        let (size, used) = (figures.memory_size_mb as f64, figures.max_memory_used_mb as f64);
        let points = [
            ("billed_duration", Some(figures.billed_duration_ms * 0.001)),
            ("max_memory_used", Some(used)),
            ("memorysize", Some(size)),
            ("estimated_cost", Some(cost(figures.billed_duration_ms, size, self.settings.arm64))),
        ];
        self.of(open, time_ms, &points);
        let is_full = 0.0 < used && size <= used;
        let failed = matches!(outcome.status, Status::Error | Status::Failure | Status::Timeout);
        is_full && failed && self.out_of_memory(open, time_ms)
    }

    /// The sandbox is taken down, without ever having been used or not.
    pub fn shut_down(&mut self, unused: bool, time_ms: i64) {
        self.init_point(String::new());
        let unused = unused.then_some(1.0);
        self.push(time_ms, &[("shutdowns", Some(1.0)), ("unused_init", unused)], String::new());
        if self.settings.managed && self.usage.is_some() {
            let peaks = self.peaks();
            self.push(time_ms, &peaks, String::new());
        }
    }

    /// What is known when the runtime is done, by the platform and by the machine.
    fn end(&mut self, open: &Open, outcome: &Outcome, runtime_ms: Option<f64>, time_ms: i64) {
        let mut points = vec![
            ("runtime_duration", runtime_ms),
            ("produced_bytes", outcome.produced_bytes),
            ("response_latency", outcome.response_latency_ms),
            ("response_duration", outcome.response_duration_ms),
        ];
        if let (Some(before), Some(after)) = (&open.told.used_before, &self.usage) {
            if let (Some((rx_before, tx_before)), Some((rx, tx))) = (before.network, after.network) {
                let (rx, tx) = ((rx - rx_before).max(0.0), (tx - tx_before).max(0.0));
                points.extend([("rx_bytes", Some(rx)), ("tx_bytes", Some(tx)), ("total_network", Some(rx + tx))]);
            }
            if let (Some(before), Some(after)) = (&before.processors, &after.processors) {
                processor_points(before, after, &mut points);
            }
        }
        self.of(open, time_ms, &points);
    }

    fn peaks(&self) -> [(&'static str, Option<f64>); 7] {
        let Usage { temporary, descriptors, descriptors_max, threads, threads_max, .. } = &self.peak;
        [
            ("tmp_max", temporary.map(|(all, _)| all)),
            ("tmp_used", temporary.map(|(_, used)| used)),
            ("tmp_free", temporary.map(|(all, used)| all - used)),
            ("fd_max", Some(*descriptors_max)),
            ("fd_use", Some(*descriptors)),
            ("threads_max", Some(*threads_max)),
            ("threads_use", Some(*threads)),
        ]
    }

    /// Points of an invocation.
    fn of(&mut self, open: &Open, time_ms: i64, points: &[(&'static str, Option<f64>)]) {
        let mut tags = match (self.settings.managed, open.cold_start) {
            (true, _) => String::new(),
            (false, true) => "cold_start:true".to_owned(),
            (false, false) => "cold_start:false".to_owned(),
        };
        if open.proactive {
            tags.push_str(",proactive_initialization:true");
        }
        self.init_point(tags.clone());
        self.push(time_ms, points, tags);
    }

    fn init_point(&mut self, tags: String) {
        if let Some((time_ms, duration_ms)) = self.init.take() {
            self.push(time_ms, &[("init_duration", Some(duration_ms * 0.001))], tags);
        }
    }

    fn push(&mut self, time_ms: i64, points: &[(&'static str, Option<f64>)], mut tags: String) {
        if self.durable {
            tags.push_str(",durable_function:true");
        }
        for (name, value) in points {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                self.points.push(Point { name, value, time_ms, tags: tags.clone() });
            }
        }
    }
}

fn cost(billed_ms: f64, memory_mb: f64, arm64: bool) -> f64 {
    let gigabyte_seconds = billed_ms * 0.001 * memory_mb / 1024.0;
    let price = if arm64 { ARM64_PRICE } else { X86_64_PRICE };
    ((INVOCATION_PRICE + gigabyte_seconds * price) * COST_DIGITS).round() / COST_DIGITS
}

/// Processor time between two readings, and how busy the processors were.
fn processor_points(before: &Processors, after: &Processors, points: &mut Vec<(&'static str, Option<f64>)>) {
    let (user, system) = ((after.user - before.user).max(0.0), (after.system - before.system).max(0.0));
    points.extend([("cpu_user_time", Some(user)), ("cpu_system_time", Some(system)), ("cpu_total_time", Some(user + system))]);
    let (uptime, count) = (after.uptime - before.uptime, after.idle_each.len() as f64);
    if uptime <= 0.0 || count == 0.0 {
        return;
    }
    let idle = after.idle_each.iter().zip(&before.idle_each).map(|(after, before)| (after - before).max(0.0));
    let (mut least, mut most) = (f64::INFINITY, 0.0f64);
    idle.for_each(|idle| (least, most) = (least.min(idle), most.max(idle)));
    let share = |idle: f64, of: f64| ((of - idle) / of).max(0.0);
    let total = share((after.idle - before.idle).max(0.0), uptime * count);
    points.extend([
        ("cpu_total_utilization_pct", Some(total * 100.0)),
        ("cpu_total_utilization", Some(total * count)),
        ("num_cores", Some(count)),
        ("cpu_max_utilization", Some(share(least, uptime) * 100.0)),
        ("cpu_min_utilization", Some(share(most, uptime) * 100.0)),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON_DEMAND: Settings = Settings { arm64: false, managed: false };
    const MANAGED: Settings = Settings { arm64: false, managed: true };

    fn outcome(status: Status, duration_ms: f64) -> Outcome {
        Outcome { request_id: "r".into(), status, duration_ms: Some(duration_ms), ..Outcome::default() }
    }

    fn figures(used: u64) -> Figures {
        Figures { billed_duration_ms: 694.0, memory_size_mb: 128, max_memory_used_mb: used, init_duration_ms: None }
    }

    /// Each point as `name=value`, and behind a bar the tags that all of them have.
    #[track_caller]
    fn check(metrics: &mut Metrics, expected: &str) {
        let points = metrics.take();
        let tags = points.first().map(|point| point.tags.clone()).unwrap_or_default();
        assert!(points.iter().all(|point| point.tags == tags), "{points:?}");
        let round = |value: f64| (value * 1e13).round() / 1e13;
        let told: Vec<String> = points.iter().map(|point| format!("{}={}", point.name, round(point.value))).collect();
        assert_eq!(format!("{} | {tags}", told.join(" ")), expected);
    }

    #[test]
    fn a_report_is_told_in_these_metrics() {
        let table = [
            (
                ON_DEMAND,
                Some(600.0),
                Some(figures(91)),
                "duration=0.6935 post_runtime_duration=93.5 billed_duration=0.694 max_memory_used=91 memorysize=128 \
                 estimated_cost=0.0000016458362 | cold_start:false",
            ),
            (
                Settings { arm64: true, ..ON_DEMAND },
                None,
                Some(figures(91)),
                "duration=0.6935 billed_duration=0.694 max_memory_used=91 memorysize=128 \
                 estimated_cost=0.0000013566725 | cold_start:false",
            ),
            (
                ON_DEMAND,
                Some(600.0),
                Some(Figures { init_duration_ms: Some(299.71), ..figures(91) }),
                "duration=0.6935 post_runtime_duration=93.5 init_duration=0.29971 billed_duration=0.694 max_memory_used=91 \
                 memorysize=128 estimated_cost=0.0000016458362 | cold_start:false",
            ),
            (ON_DEMAND, Some(0.0), None, "duration=0.6935 | cold_start:false"),
            (MANAGED, None, None, "runtime_duration=693.5 duration=0.6935 post_runtime_duration=0 | "),
        ];
        for (settings, runtime_ms, figures, expected) in table {
            let (mut metrics, mut open) = (Metrics::new(settings), Open::default());
            if let Some(runtime_ms) = runtime_ms {
                metrics.ended(&mut open, &outcome(Status::Success, runtime_ms), 0);
                metrics.take();
            }
            metrics.reported(&mut open, &outcome(Status::Success, 693.5), figures.as_ref(), 0);
            check(&mut metrics, expected);
        }
    }

    #[test]
    fn managed_instances_tell_the_latency_as_the_runtimes_duration() {
        let (mut metrics, mut open) = (Metrics::new(MANAGED), Open::default());
        let outcome = Outcome { response_latency_ms: Some(600.0), ..outcome(Status::Success, 693.5) };
        metrics.reported(&mut open, &outcome, Some(&figures(91)), 0);
        check(&mut metrics, "runtime_duration=600 response_latency=600 duration=0.6935 post_runtime_duration=93.5 | ");
    }

    #[test]
    fn the_end_of_an_invocation_is_told_as_far_as_it_is_known() {
        let (mut metrics, mut open) = (Metrics::new(ON_DEMAND), Open { cold_start: true, ..Open::default() });
        let full = Outcome {
            produced_bytes: Some(64.0),
            response_latency_ms: Some(137.0),
            response_duration_ms: Some(0.1),
            ..outcome(Status::Success, 139.2)
        };
        metrics.ended(&mut open, &full, 0);
        let expected = "runtime_duration=139.2 produced_bytes=64 response_latency=137 response_duration=0.1 | cold_start:true";
        check(&mut metrics, expected);
        metrics.ended(&mut open, &Outcome::default(), 0);
        check(&mut metrics, " | ");
    }

    #[test]
    fn a_failure_is_one_error_whoever_tells_of_it() {
        let table = [
            (Status::Success, None, 91, " | "),
            (Status::Unknown, None, 128, " | "),
            (Status::Error, None, 91, "errors=1 | cold_start:false"),
            (Status::Failure, Some("Runtime.ExitError"), 91, "errors=1 | cold_start:false"),
            (Status::Timeout, None, 91, "errors=1 timeouts=1 | cold_start:false"),
            (Status::Error, Some("Runtime.OutOfMemory"), 128, "errors=1 out_of_memory=1 | cold_start:false"),
            (Status::Failure, None, 128, "errors=1 out_of_memory=1 | cold_start:false"),
        ];
        for (status, error_type, used, expected) in table {
            let (mut metrics, mut open) = (Metrics::new(ON_DEMAND), Open::default());
            let outcome = Outcome { error_type: error_type.map(str::to_owned), ..outcome(status, 1.0) };
            for _ in 0..2 {
                metrics.status(&mut open, &outcome, 0);
                metrics.reported(&mut open, &outcome, Some(&figures(used)), 0);
            }
            metrics.points.retain(|point| ["errors", "timeouts", "out_of_memory"].contains(&point.name));
            check(&mut metrics, expected);
        }
        let (mut metrics, mut open) = (Metrics::new(ON_DEMAND), Open::default());
        metrics.failed(&mut open, 0);
        assert!(metrics.out_of_memory(&mut open, 0) && !metrics.out_of_memory(&mut open, 0));
        metrics.status(&mut open, &outcome(Status::Timeout, 1.0), 0);
        check(&mut metrics, "errors=1 out_of_memory=1 timeouts=1 | cold_start:false");
    }

    fn usage(seconds: f64) -> Usage {
        let ms = seconds * 1000.0;
        let idle_each = vec![ms * 0.5, ms * 0.75];
        let processors = Processors { user: ms * 0.4, system: ms * 0.1, idle: ms * 1.25, idle_each, uptime: ms };
        Usage {
            processors: Some(processors),
            network: Some((seconds * 10.0, seconds * 5.0)),
            temporary: Some((1000.0, 100.0)),
            descriptors: 20.0,
            descriptors_max: 1024.0,
            threads: 7.0,
            threads_max: 900.0,
        }
    }

    #[test]
    fn what_the_machine_used_is_the_difference_and_the_peak() {
        let (mut metrics, mut open) = (Metrics::new(ON_DEMAND), Open::default());
        metrics.measured(Usage { descriptors: 99.0, ..usage(9.0) }); // before it: not its peak
        metrics.measured(usage(10.0));
        metrics.invoked(&mut open, 0);
        check(&mut metrics, "invocations=1 | cold_start:false");
        metrics.measured(Usage { temporary: Some((1000.0, 400.0)), descriptors: 30.0, ..usage(11.0) });
        metrics.measured(Usage { threads: 8.0, ..usage(12.0) });
        metrics.ended(&mut open, &Outcome::default(), 0);
        check(
            &mut metrics,
            "rx_bytes=20 tx_bytes=10 total_network=30 cpu_user_time=800 cpu_system_time=200 cpu_total_time=1000 \
             cpu_total_utilization_pct=37.5 cpu_total_utilization=0.75 num_cores=2 cpu_max_utilization=50 \
             cpu_min_utilization=25 tmp_max=1000 tmp_used=400 tmp_free=600 fd_max=1024 fd_use=30 threads_max=900 threads_use=8 \
             | cold_start:false",
        );
    }

    #[test]
    fn managed_instances_tell_peaks_when_they_go() {
        let (mut metrics, mut open) = (Metrics::new(MANAGED), Open::default());
        metrics.measured(usage(10.0));
        metrics.invoked(&mut open, 0);
        metrics.measured(Usage { descriptors: 30.0, ..usage(10.0) });
        metrics.reported(&mut open, &Outcome::default(), None, 0);
        metrics.take();
        metrics.shut_down(false, 0);
        let peaks = "tmp_max=1000 tmp_used=100 tmp_free=900 fd_max=1024 fd_use=30 threads_max=900 threads_use=7";
        check(&mut metrics, &format!("shutdowns=1 {peaks} | "));
    }

    #[test]
    fn an_init_phase_is_told_once_with_the_tags_of_its_invocation() {
        let (mut metrics, mut open) = (Metrics::new(ON_DEMAND), Open { proactive: true, ..Open::default() });
        metrics.init_started(Some("python:3.12.DurableFunction.v1"));
        metrics.init(5, Some(299.7));
        metrics.init(6, Some(1.0));
        check(&mut metrics, " | ");
        metrics.invoked(&mut open, 7);
        let tags = "cold_start:false,proactive_initialization:true,durable_function:true";
        check(&mut metrics, &format!("init_duration=0.2997 invocations=1 | {tags}"));
        let mut unused = Metrics::new(ON_DEMAND);
        unused.init(5, Some(299.7));
        unused.shut_down(true, 9);
        unused.restored(9, Some(398.5));
        check(&mut unused, "init_duration=0.2997 shutdowns=1 unused_init=1 snapstart_restore_duration=0.3985 | ");
    }
}
