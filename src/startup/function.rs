//! What the agent knows of the function that it serves, and how the other parts learn it: some of it stands in the environment, the ARN
//! comes with the registration or the first invocation, and the runtime is seen when it lives.

use crate::config::AwsEnv;
use crate::config::Config;
use crate::model::invocation::Point;
use crate::model::metrics_item::MetricsItem;
use crate::model::tags::Tags;
use crate::model::traces_item::TracesItem;
use crate::model::usage::Usage;
use crate::pipeline::logs::LogsItem;
use crate::process::function_tags::Function;
use crate::process::invocation;
use crate::process::invocation::RootSpans;
use crate::process::invocation::Sandbox;
use crate::process::invocation::metrics;
use crate::sources::usage;
use crate::startup::parts::Pipelines;
use crate::startup::plan;
use crate::startup::plan::Place;
use crate::sys::clock::Clock;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::memory::Budget;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the main loop waits to tell a pipeline something.
pub const TELL_WAIT: Duration = Duration::from_millis(100);

/// Tells the pipelines what becomes known of the function.
#[derive(Debug)]
pub struct Teller {
    place: Place,
    function: Function,
    /// Tags that only DogStatsD gets, and keys of those that it does not get.
    dogstatsd_tags: Tags,
    excluded: Vec<String>,
    logs: Inbox<LogsItem>,
    metrics: Inbox<MetricsItem>,
    traces: Inbox<TracesItem>,
}

impl Teller {
    /// One that has told nothing.
    pub fn new(config: &Config, place: Place, aws: &AwsEnv, pipelines: &Pipelines) -> Teller {
        let excluded = config.customer_metrics_exclude_tags.as_deref().unwrap_or_default();
        Teller {
            place,
            function: Function {
                user: plan::all_tags(config),
                arn: String::new(),
                version: aws.function_version.clone(),
                memory: aws.function_memory.clone(),
                init_type: aws.initialization_type.clone(),
                runtime: None,
            },
            dogstatsd_tags: config.dogstatsd_tags.clone(),
            excluded: excluded.split(',').map(|key| key.trim().to_owned()).collect(),
            logs: pipelines.logs.inbox(),
            metrics: pipelines.metrics.inbox(),
            traces: pipelines.traces.inbox(),
        }
    }

    /// The function's ARN is known; empty if not.
    pub fn arn(&mut self, arn: &str) {
        if !arn.is_empty() && self.function.arn != arn {
            arn.clone_into(&mut self.function.arn);
            self.tell_pipelines();
        }
    }

    /// An invocation began, so the runtime lives; `request_id` and `arn` where `/next` told them.
    pub fn invoked(&mut self, request_id: Option<&str>, arn: &str) {
        if self.place == Place::Lambda && self.function.runtime.is_none() {
            self.function.runtime = Some(usage::runtime(Path::new("/")));
            self.tell_pipelines();
        }
        self.arn(arn);
        if let Some(request_id) = request_id {
            tell(&self.logs, LogsItem::Invoked(request_id.to_owned()), Signal::Logs);
        }
    }

    fn tell_pipelines(&self) {
        let arn = self.function.arn.clone();
        if self.place == Place::Edge {
            tell(&self.logs, LogsItem::Function(arn, None), Signal::Logs);
            return;
        }
        let tags = self.function.tags();
        tell(&self.logs, LogsItem::Function(arn, Some(tags.joined())), Signal::Logs);
        let listed = |tags: &Tags| tags.pairs().iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let mut custom = Tags::default();
        let is_wanted = |key: &str| !self.excluded.iter().any(|excluded| excluded == key);
        tags.pairs().iter().filter(|(key, _)| is_wanted(key)).for_each(|(key, value)| custom.push(key, value));
        custom.extend(&self.dogstatsd_tags);
        tell(&self.traces, TracesItem::Function(of_spans(&tags), tags.joined()), Signal::Traces);
        tell(&self.metrics, MetricsItem::Tags(listed(&custom), listed(&tags)), Signal::Metrics);
    }
}

/// What every span gets: not the service and its version, which a span may have for another one; and where it comes from.
fn of_spans(tags: &Tags) -> Vec<(String, String)> {
    let mut pairs = tags.pairs().to_vec();
    pairs.retain(|(key, _)| key != "service" && key != "version");
    pairs.push(("_dd.origin".to_owned(), "lambda".to_owned()));
    pairs
}

/// The invocation state machine.
pub fn invocations(config: &Config, place: Place, aws: &AwsEnv, arn: Option<&str>, clock: Clock) -> invocation::Settings {
    let now = clock.now();
    let init_is = |init_type: &str| aws.initialization_type.as_deref() == Some(init_type);
    let sandbox = Sandbox {
        arn: arn.map(str::to_owned),
        started_at: now.unix.saturating_sub(now.uptime).as_nanos() as i64,
        snap_start: init_is("snap-start"),
        managed: init_is("lambda-managed-instances"),
    };
    let metrics = metrics::Settings { arm64: cfg!(target_arch = "aarch64"), managed: sandbox.managed };
    let is_lambda = place == Place::Lambda;
    invocation::Settings {
        root_spans: if is_lambda { RootSpans::Announced } else { RootSpans::Always },
        aws_services: config.aws_services,
        one_service: config.one_service,
        service_mapping: config.service_mapping.clone(),
        service: config.service.clone(),
        function_name: aws.function_name.clone(),
        tags: plan::identity_tags(config),
        metrics: (is_lambda && config.enhanced_metrics).then_some(metrics),
        sandbox: is_lambda.then_some(sandbox),
    }
}

/// How the use of the machine is read, if anybody wants to know.
pub fn measure(config: &Config, place: Place) -> Option<Box<dyn FnMut() -> Usage>> {
    let is_wanted = place == Place::Lambda && config.enhanced_metrics && config.proc_enhanced_metrics;
    is_wanted.then(|| Box::new(|| usage::read(Path::new("/"))) as _)
}

/// How points of the agent's go to the metrics pipeline.
pub fn points(pipelines: &Pipelines, ledger: &Arc<Ledger>, clock: Clock) -> Box<dyn FnMut(Vec<Point>)> {
    let (inbox, ledger) = (pipelines.metrics.inbox(), Arc::clone(ledger));
    Box::new(move |points| {
        let Some(empty) = nothing(MetricsItem::Points(Vec::new()), Signal::Metrics) else { return };
        let claim = ledger.accept(Signal::Metrics, points.len() as u64);
        let parcel = Parcel { item: MetricsItem::Points(points), claim, permit: empty.permit };
        if let Err(back) = inbox.put(parcel, clock.instant_in(TELL_WAIT)) {
            back.claim.drop_all(Reason::InboxFull);
        }
    })
}

/// Tells a pipeline something that is no record; whether it had room for it.
pub fn tell<T>(inbox: &Inbox<T>, item: T, signal: Signal) -> bool {
    let by = Clock::new().instant_in(TELL_WAIT);
    let told = nothing(item, signal).is_some_and(|parcel| inbox.put(parcel, by).is_ok());
    if !told {
        log::debug!("a pipeline is behind and was not told of an invocation");
    }
    told
}

/// A parcel that holds no record and no memory.
pub fn nothing<T>(item: T, signal: Signal) -> Option<Parcel<T>> {
    let permit = Budget::new(0).reserve(0, Clock::new().instant_in(Duration::ZERO))?;
    Some(Parcel { item, claim: Ledger::new().accept(signal, 0), permit })
}
