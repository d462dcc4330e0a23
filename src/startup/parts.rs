//! The parts of the agent as values: how each is put together, and how it is taken apart again.

use crate::config::AwsEnv;
use crate::config::Config;
use crate::config::EventsFrom;
use crate::config::RunArgs;
use crate::encode::info;
use crate::errors::StartError;
use crate::main_loop::MainEvent;
use crate::model::metrics_item::Datagrams;
use crate::model::rates::RatesHandle;
use crate::model::traces_item::TracesItem;
use crate::pipeline::Pipeline;
use crate::pipeline::logs;
use crate::pipeline::logs::LogsItem;
use crate::pipeline::logs::LogsStage;
use crate::pipeline::metrics;
use crate::pipeline::metrics::MetricsItem;
use crate::pipeline::metrics::MetricsStage;
use crate::pipeline::traces;
use crate::pipeline::traces::Leavings;
use crate::pipeline::traces::TracesStage;
use crate::sources::events;
use crate::sources::http::Handler;
use crate::sources::http::Service;
use crate::sources::http::tiny;
use crate::sources::lambda_http::CallSettings;
use crate::sources::lambda_http::LambdaHandler;
use crate::sources::lambda_http::OnFlush;
use crate::sources::trace_http;
use crate::sources::trace_http::Description;
use crate::sources::trace_http::TraceHandler;
use crate::sources::trace_proxy::Proxies;
use crate::spool::FlushUntil;
use crate::spool::Kind;
use crate::spool::journal::Door;
use crate::startup::deliver::Deliver;
use crate::startup::deliver::flush_queues;
use crate::startup::description;
use crate::startup::dogstatsd;
use crate::startup::journaling::Journaling;
use crate::startup::lambda;
use crate::startup::log_plan;
use crate::startup::memory::Memory;
use crate::startup::plan;
use crate::startup::plan::Place;
use crate::startup::receiver::Doors;
use crate::startup::receiver::TraceAgent;
use crate::sys::clock::Clock;
use crate::sys::digest::sha256_hex;
use crate::sys::gate::Gate;
use crate::sys::inbox::Sender;
use crate::sys::ledger::Ledger;
use crate::sys::memory::Budget;
use crate::sys::socket_file;
use crate::sys::socket_file::SocketFile;
use crate::sys::spares::Spares;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Instant;

/// One pipeline a signal.
#[derive(Debug)]
pub struct Pipelines {
    /// Spans.
    pub traces: Pipeline<TracesItem>,
    /// Log lines.
    pub logs: Pipeline<LogsItem>,
    /// Points, events and service checks.
    pub metrics: Pipeline<MetricsItem>,
    /// What payloads of spans leave behind.
    leavings: Leavings,
    /// What batches of datagrams leave behind.
    pub datagrams: Spares<Datagrams>,
}

/// What the pipelines are made from.
#[derive(Debug)]
pub struct Stages {
    /// Spans.
    pub traces: traces::Settings,
    /// Log lines.
    pub logs: logs::Settings,
    /// Points, events and service checks.
    pub metrics: metrics::Settings,
}

impl Stages {
    /// What each pipeline gets of the configuration; warns about what it cannot use.
    #[inline(never)]
    pub fn of(config: &Config, place: Place, aws: &AwsEnv, memory: Memory, hostname: &str, rates: &RatesHandle) -> Stages {
        let (rules, mut refused) = plan::trace_rules(config);
        refused.extend(plan::sampling_remarks(config, place).map(str::to_owned));
        let mut traces = plan::traces(config, place, rules, hostname, memory, rates.clone());
        traces.lambda = lambda::spans(config, place, aws);
        let (logs, refused_logs) = log_plan::logs(config, place, aws, hostname, memory);
        let (metrics, refused_metrics) = dogstatsd::settings(config, place, hostname, memory);
        refused.extend(refused_logs);
        refused.extend(refused_metrics);
        refused.iter().for_each(|warning| log::warn!("{warning}"));
        Stages { traces, logs, metrics }
    }
}

impl Pipelines {
    /// Starts them.
    pub fn start(
        stages: Stages,
        deliver: &Deliver,
        ledger: &Arc<Ledger>,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> Result<Pipelines, StartError> {
        let queues = traces::Queues { traces: deliver.queue(Kind::Traces), stats: deliver.queue(Kind::Stats) };
        let traces = TracesStage::new(stages.traces, queues, Arc::clone(ledger));
        let logs = LogsStage::new(stages.logs, deliver.queue(Kind::Logs), Arc::clone(ledger));
        let queues = metrics::Queues {
            series: deliver.queue(Kind::Series),
            sketches: deliver.queue(Kind::Sketches),
            events: deliver.queue(Kind::Event),
            checks: deliver.queue(Kind::Checks),
        };
        let metrics = MetricsStage::new(stages.metrics, queues, Arc::clone(ledger));
        Ok(Pipelines {
            leavings: traces.leavings(),
            datagrams: metrics.spares(),
            traces: Pipeline::start("traces", traces, clock, exits).map_err(StartError::System)?,
            logs: Pipeline::start("logs", logs, clock, exits).map_err(StartError::System)?,
            metrics: Pipeline::start("metrics", metrics, clock, exits).map_err(StartError::System)?,
        })
    }

    /// Drains them.
    pub fn finish(self, by: Instant) {
        self.logs.finish(by);
        self.traces.finish(by);
        self.metrics.finish(by);
    }
}

/// What listeners are made from.
#[derive(Debug)]
pub struct Servers<'a> {
    /// All settings.
    pub config: &'a Config,
    /// Where the agent runs.
    pub place: Place,
    /// Shares of the memory.
    pub memory: Memory,
    /// What requests share.
    pub budget: &'a Budget,
    /// Where records are counted in.
    pub ledger: &'a Arc<Ledger>,
    /// What tracers are told to keep.
    pub rates: RatesHandle,
    /// For deadlines.
    pub clock: Clock,
    /// To the main loop.
    pub events: &'a Sender<MainEvent>,
    /// Notices of threads that end.
    pub exits: &'a Sender<&'static str>,
    /// Where requests are entered before they are acknowledged, or what is left of them is taken in from.
    pub journaling: Option<&'a Journaling>,
}

impl Servers<'_> {
    /// The server for client libraries and telemetry. Without its port the agent goes on inside Lambda and ends elsewhere.
    #[inline(never)]
    pub fn communication(&self, deliver: &Deliver, calls: CallSettings) -> Result<Option<tiny::Server>, StartError> {
        let queues = deliver.awaited_queues();
        let on_flush = match (self.place, self.config.local_test) {
            (Place::Edge, _) => OnFlush::Wait(Box::new(move |by| flush_queues(&queues, FlushUntil::Settled, by))),
            (Place::Lambda, true) => OnFlush::EndInvocation,
            (Place::Lambda, false) => OnFlush::Answer,
        };
        let handler = LambdaHandler::new(self.events.clone(), Arc::clone(self.ledger), self.clock, on_flush, calls);
        // Lambda's own calls arrive on the sandbox's interface and not on loopback.
        let ip = match self.place {
            Place::Lambda => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Place::Edge => plan::bind_address(&self.config.bind_host)?,
        };
        let address = SocketAddr::new(ip, self.config.communication_port);
        let service =
            Service::new(self.journaled(Door::Communication, handler), self.budget.clone(), plan::lambda_http(self.config));
        let started =
            TcpListener::bind(address).and_then(|listener| tiny::Server::start("communication", listener, service, self.exits));
        match (started, self.place) {
            (Ok(server), place) => {
                if place == Place::Edge {
                    tell_if_open("the communication server", address.ip(), "bind_host");
                }
                Ok(Some(server))
            }
            (Err(err), Place::Edge) => Err(StartError::Listen("communication server", address, err)),
            (Err(err), Place::Lambda) => {
                log::error!("the communication server cannot listen on {address}: {err}; no telemetry, so no logs");
                Ok(None)
            }
        }
    }

    /// The server for tracers. Without its port, its socket or both the rest goes on.
    #[inline(never)]
    pub fn trace_agent(&self, pipelines: &Pipelines, proxies: Proxies, statsd: Option<SocketAddr>) -> Option<TraceAgent> {
        if !self.config.apm_enabled {
            return None;
        }
        let doors = Doors { tcp: self.trace_port(), unix: self.trace_socket() };
        if doors.tcp.is_none() && doors.unix.is_none() {
            return None;
        }
        let description = self.description(&doors, &proxies, statsd);
        let (inbox, ledger, limits) = (pipelines.traces.inbox(), Arc::clone(self.ledger), self.memory.trace_limits());
        let handler = TraceHandler::new(inbox, ledger, self.rates.clone(), self.clock, limits, description)
            .with_proxies(proxies)
            .with_dogstatsd(self.config.use_dogstatsd.then(|| dogstatsd::outlet(self, pipelines)))
            .telling_overload(self.journaling.is_some_and(Journaling::is_wanted))
            .with_spares(pipelines.leavings.payloads.clone(), pipelines.leavings.bodies.clone());
        let service = Service::new(
            self.journaled(Door::Traces, handler),
            self.budget.clone(),
            plan::trace_http(self.config, self.memory),
        );
        let started = TraceAgent::start(doors, service, self.exits);
        started.inspect_err(|err| log::error!("the trace agent cannot start: {err}; the rest goes on")).ok()
    }

    fn journaled(&self, door: Door, handler: impl Handler + 'static) -> Arc<dyn Handler> {
        let handler: Arc<dyn Handler> = Arc::new(handler);
        match self.journaling {
            Some(journaling) => journaling.before(door, handler),
            None => handler,
        }
    }

    /// What `/info` will say.
    fn description(&self, doors: &Doors, proxies: &Proxies, statsd: Option<SocketAddr>) -> Description {
        let (config, memory, place) = (self.config.clone(), self.memory, self.place);
        let endpoints: Vec<&str> = trace_http::ENDPOINTS.into_iter().chain(proxies.listed()).collect();
        let receiver_port = doors.address().map_or(0, |address| address.port());
        let receiver_socket = doors.path().map(|path| path.display().to_string()).unwrap_or_default();
        let evp_headers = proxies.evp_headers();
        LazyLock::new(Box::new(move || {
            let info = info::info(&info::Info {
                endpoints: &endpoints,
                default_env: &plan::default_env(&config),
                receiver_port,
                receiver_socket: &receiver_socket,
                receiver_timeout_s: config.receiver_timeout.as_secs(),
                statsd_port: statsd.map_or(0, |address| address.port()),
                max_request_bytes: memory.request,
                max_memory: config.max_memory.0,
                client_drop_p0s: plan::client_drop_p0s(&config, place),
                peer_tags: &plan::peer_tags(&config),
                span_kinds: plan::span_kinds(&config),
                in_force: description::in_force(&config),
                evp_headers,
            });
            let state = sha256_hex(info.as_bytes());
            (info, state)
        }))
    }

    fn trace_port(&self) -> Option<TcpListener> {
        let port = self.config.receiver_port;
        let opened_by = self.config.apm_non_local_traffic.then_some("apm_config.apm_non_local_traffic");
        let bound = self.bind("the trace agent", opened_by, |ip| TcpListener::bind(SocketAddr::new(ip, port)));
        bound.inspect_err(|err| log::error!("the trace agent cannot listen on port {port}: {err}; the rest goes on")).ok()
    }

    fn trace_socket(&self) -> Option<(UnixListener, SocketFile)> {
        let path = plan::receiver_socket(self.config, Path::is_dir)?;
        let say = |err: &io::Error| {
            log::error!("the trace agent cannot listen on the socket {}: {err}; the rest goes on", path.display());
        };
        socket_file::listen(&path, socket_file::MODE_OF_ALL).inspect_err(say).ok()
    }

    /// Binds a port at `bind_host`, or for all machines where the setting `opened_by` says so; and says if others reach it.
    pub fn bind<S>(&self, what: &str, opened_by: Option<&str>, bind: impl FnOnce(IpAddr) -> io::Result<S>) -> io::Result<S> {
        let ip = match opened_by {
            Some(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            None => plan::bind_address(&self.config.bind_host).map_err(io::Error::other)?,
        };
        let socket = bind(ip)?;
        tell_if_open(what, ip, opened_by.unwrap_or("bind_host"));
        Ok(socket)
    }
}

/// A port that other machines reach is said to be one: whoever reaches it can send data under this agent's key.
fn tell_if_open(what: &str, ip: IpAddr, setting: &str) {
    if !ip.to_canonical().is_loopback() {
        log::warn!("{what} listens on {ip} and takes data from other machines ({setting})");
    }
}

/// Starts to read events from standard input or a recording, if that was asked for.
pub fn start_events(args: &RunArgs, servers: &Servers<'_>, gate: &Gate) -> Result<(), StartError> {
    let input: Box<dyn BufRead + Send> = match &args.events {
        None => return Ok(()),
        Some(EventsFrom::Stdin) => Box::new(BufReader::new(io::stdin())),
        Some(EventsFrom::File(path)) => {
            let file = File::open(path).map_err(|err| StartError::Events(path.display().to_string(), err))?;
            Box::new(BufReader::new(file))
        }
    };
    let outlet = events::Outlet {
        events: servers.events.clone(),
        gate: gate.clone(),
        ledger: Arc::clone(servers.ledger),
        budget: servers.budget.clone(),
        clock: servers.clock,
    };
    // Nobody waits for this thread: it may sit in a read when the process ends.
    events::start(input, outlet, servers.exits).map(drop).map_err(StartError::System)
}
