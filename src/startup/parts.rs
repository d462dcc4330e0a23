//! The parts of the agent as values: how each is put together, and how it is taken apart again.

use crate::config::BaseUrl;
use crate::config::Config;
use crate::config::EventsFrom;
use crate::config::OutTo;
use crate::config::RunArgs;
use crate::deliver::Endpoint;
use crate::deliver::Intake;
use crate::deliver::LocalSink;
use crate::deliver::Poster;
use crate::deliver::Target;
use crate::encode::info;
use crate::errors::StartError;
use crate::main_loop::MainEvent;
use crate::model::api_key::KeyHandle;
use crate::model::traces_item::TracesItem;
use crate::out::Format;
use crate::out::Out;
use crate::pipeline::Pipeline;
use crate::pipeline::logs;
use crate::pipeline::logs::LogsItem;
use crate::pipeline::logs::LogsStage;
use crate::pipeline::traces;
use crate::pipeline::traces::TracesStage;
use crate::sources::events;
use crate::sources::http::Service;
use crate::sources::http::blocking;
use crate::sources::http::tiny;
use crate::sources::lambda_http::LambdaHandler;
use crate::sources::lambda_http::OnFlush;
use crate::sources::trace_http;
use crate::sources::trace_http::TraceHandler;
use crate::spool::Body;
use crate::spool::FlushUntil;
use crate::spool::KINDS;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::spool::Room;
use crate::spool::WhenFull;
use crate::spool::disk::Limits;
use crate::spool::keeper;
use crate::spool::keeper::Keeper;
use crate::startup::plan;
use crate::startup::plan::Memory;
use crate::startup::plan::Place;
use crate::sys::clock::Clock;
use crate::sys::digest::sha256_hex;
use crate::sys::gate::Gate;
use crate::sys::inbox::Sender;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::memory::Budget;
use crate::sys::net::Client;
use crate::sys::net::Reuse;
use crate::sys::random::Random;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// Queues and the threads that post what they hold, one for each endpoint.
#[derive(Debug)]
pub struct Deliver {
    traces: Poster,
    stats: Poster,
    logs: Poster,
    keeper: Option<Keeper>,
}

impl Deliver {
    /// Starts a queue and a poster for each endpoint.
    pub fn start(
        args: &RunArgs,
        config: &Config,
        place: Place,
        key: &KeyHandle,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> Result<Deliver, StartError> {
        let room = Room::new(Memory::of(config.max_memory.0).spool, plan::ages(config, args));
        let when_full = if args.events.is_some() { WhenFull::Wait } else { WhenFull::DropOldest };
        let mut random = Random::from_system();
        let mut poster = |name, base: String| {
            let target = match &args.out {
                Some(out) => Target::Local(local_sink(out)?),
                None => Target::Intake(intake(base, config, place, key)),
            };
            let queue = Queue::new(Arc::clone(&room), when_full, clock);
            let endpoint = Endpoint { name, target, backoff: plan::backoff(config) };
            Poster::start(endpoint, queue, clock, Random::new(random.bits()), exits).map_err(StartError::System)
        };
        let site = config.site.host();
        let base = |setting: &Option<BaseUrl>, service: &str| plan::intake(setting.as_ref(), &format!("{service}.{site}"));
        Ok(Deliver {
            traces: poster("post-traces", base(&config.apm_dd_url, "trace.agent"))?,
            stats: poster("post-stats", base(&config.apm_dd_url, "trace.agent"))?,
            logs: poster("post-logs", base(&config.logs_dd_url, "http-intake.logs"))?,
            keeper: None,
        })
    }

    /// Lets the queues move to `folder` what cannot leave now, and brings back what an earlier run left there.
    pub fn keep_in(
        &mut self,
        folder: PathBuf,
        limits: Limits,
        ended_uncleanly: bool,
        ledger: &Arc<Ledger>,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> Result<(), StartError> {
        let queues = KINDS.map(|row| (row.kind, self.queue(row.kind)));
        let settings = keeper::Settings { folder, limits, ended_uncleanly };
        self.keeper = Some(Keeper::start(settings, &queues, ledger, clock, exits).map_err(StartError::System)?);
        Ok(())
    }

    /// The queue of the endpoint that takes bodies of this kind.
    pub fn queue(&self, kind: Kind) -> Arc<Queue> {
        let poster = match kind {
            Kind::Traces => &self.traces,
            Kind::Stats => &self.stats,
            Kind::Logs => &self.logs,
        };
        Arc::clone(poster.queue())
    }

    /// All queues.
    pub fn queues(&self) -> [Arc<Queue>; 3] {
        [&self.traces, &self.stats, &self.logs].map(|poster| Arc::clone(poster.queue()))
    }

    /// From `until` on a full queue drops its oldest body instead of making its pipeline wait.
    pub fn wait_no_longer_than(&self, until: Instant) {
        for queue in self.queues() {
            queue.wait_no_longer_than(until);
        }
    }

    /// Posts what is left, all at the same time, moves to disk what cannot be posted, and drops what is left then, until `by`.
    pub fn finish(self, clock: &Clock, by: Instant) {
        let queues = self.queues();
        let for_disk = if self.keeper.is_some() { (clock.until(by) / 4).min(KEEPER_TIME) } else { Duration::ZERO };
        let posted_by = by.checked_sub(for_disk).unwrap_or(by);
        for queue in &queues {
            queue.close(posted_by);
        }
        for poster in [self.logs, self.traces, self.stats] {
            poster.finish(clock, posted_by);
        }
        if let Some(keeper) = self.keeper {
            keeper.finish(by.max(clock.instant_in(KEEPER_TIME_MIN)));
        }
        for queue in queues {
            queue.drop_rest(Reason::Shutdown);
        }
    }
}

/// What of the last moments is for moving bodies to disk: at most that, and at least that even if the posters took too long.
const KEEPER_TIME: Duration = Duration::from_millis(500);
const KEEPER_TIME_MIN: Duration = Duration::from_millis(50);

/// A sandbox that was frozen finds its connections dead, so inside Lambda none is kept.
fn intake(base: String, config: &Config, place: Place, key: &KeyHandle) -> Intake {
    let reuse = if place == Place::Lambda { Reuse::Never } else { Reuse::KeepAlive };
    Intake { base, client: Client::new(reuse), key: key.clone(), timeout: config.forwarder_timeout }
}

fn local_sink(out: &OutTo) -> Result<LocalSink, StartError> {
    let mut out = match out {
        OutTo::Stdout => Out::Stdout,
        OutTo::Folder(path) => Out::folder(path).map_err(|err| StartError::Out(path.display().to_string(), err))?,
    };
    Ok(Box::new(move |body: &Body| {
        let format = match body.kind {
            Kind::Traces => Format::Traces,
            Kind::Logs => Format::Logs,
            Kind::Stats => Format::Stats,
        };
        let gzipped = body.headers.iter().any(|(name, _)| name == "Content-Encoding");
        out.write(format, gzipped, &body.bytes)
    }))
}

/// Waits until all queues are settled, or pause.
pub fn flush_queues(queues: &[Arc<Queue>], until: FlushUntil, by: Instant) {
    for queue in queues {
        queue.flush(until, by);
    }
}

/// One pipeline a signal.
#[derive(Debug)]
pub struct Pipelines {
    /// Spans.
    pub traces: Pipeline<TracesItem>,
    /// Log lines.
    pub logs: Pipeline<LogsItem>,
}

impl Pipelines {
    /// Starts them.
    pub fn start(
        traces: traces::Settings,
        logs: logs::Settings,
        deliver: &Deliver,
        ledger: &Arc<Ledger>,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> Result<Pipelines, StartError> {
        let queues = traces::Queues { traces: deliver.queue(Kind::Traces), stats: deliver.queue(Kind::Stats) };
        let traces = TracesStage::new(traces, queues, Arc::clone(ledger));
        let logs = LogsStage::new(logs, deliver.queue(Kind::Logs), Arc::clone(ledger));
        Ok(Pipelines {
            traces: Pipeline::start("traces", traces, clock, exits).map_err(StartError::System)?,
            logs: Pipeline::start("logs", logs, clock, exits).map_err(StartError::System)?,
        })
    }

    /// Drains them.
    pub fn finish(self, by: Instant) {
        self.logs.finish(by);
        self.traces.finish(by);
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
    /// For deadlines.
    pub clock: Clock,
    /// To the main loop.
    pub events: &'a Sender<MainEvent>,
    /// Notices of threads that end.
    pub exits: &'a Sender<&'static str>,
}

impl Servers<'_> {
    /// The server for client libraries and telemetry. Without its port the agent goes on inside Lambda and ends elsewhere.
    pub fn communication(&self, deliver: &Deliver) -> Result<Option<tiny::Server>, StartError> {
        let queues = deliver.queues();
        let on_flush = match (self.place, self.config.local_test) {
            (Place::Edge, _) => OnFlush::Wait(Box::new(move |by| flush_queues(&queues, FlushUntil::Settled, by))),
            (Place::Lambda, true) => OnFlush::EndInvocation,
            (Place::Lambda, false) => OnFlush::Answer,
        };
        let handler = LambdaHandler::new(self.events.clone(), Arc::clone(self.ledger), self.clock, on_flush);
        // Lambda's own calls arrive on the sandbox's interface and not on loopback.
        let ip = match self.place {
            Place::Lambda => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Place::Edge => plan::bind_address(&self.config.bind_host)?,
        };
        let address = SocketAddr::new(ip, self.config.communication_port);
        let service = Service::new(Arc::new(handler), self.budget.clone(), plan::lambda_http(self.config));
        let started =
            TcpListener::bind(address).and_then(|listener| tiny::Server::start("communication", listener, service, self.exits));
        match (started, self.place) {
            (Ok(server), _) => Ok(Some(server)),
            (Err(err), Place::Edge) => Err(StartError::Listen("communication server", address, err)),
            (Err(err), Place::Lambda) => {
                log::error!("the communication server cannot listen on {address}: {err}; no telemetry, so no logs");
                Ok(None)
            }
        }
    }

    /// The server for tracers. Without its port the rest goes on.
    pub fn trace_agent(&self, pipelines: &Pipelines) -> Option<blocking::Server> {
        if !self.config.apm_enabled {
            return None;
        }
        let started = self.trace_listener().and_then(|(listener, address)| {
            let info = info::info(&info::Info {
                endpoints: &trace_http::ENDPOINTS,
                default_env: plan::default_env(self.config),
                receiver_port: address.port(),
                max_request_bytes: self.memory.request,
                max_memory: self.config.max_memory.0,
                client_drop_p0s: plan::client_drop_p0s(self.place),
                peer_tags: &plan::peer_tags(self.config),
                span_kinds: plan::span_kinds(self.config),
            });
            let state = sha256_hex(info.as_bytes());
            let (inbox, ledger, limits) = (pipelines.traces.inbox(), Arc::clone(self.ledger), self.memory.trace_limits());
            let handler = TraceHandler::new(inbox, ledger, self.clock, limits, info, state);
            let service = Service::new(Arc::new(handler), self.budget.clone(), plan::trace_http(self.config, self.memory));
            blocking::Server::start("trace-agent", listener, service, self.exits)
        });
        let port = self.config.receiver_port;
        started.inspect_err(|err| log::error!("the trace agent cannot listen on port {port}: {err}; the rest goes on")).ok()
    }

    fn trace_listener(&self) -> io::Result<(TcpListener, SocketAddr)> {
        let ip = match self.config.apm_non_local_traffic {
            true => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            false => plan::bind_address(&self.config.bind_host).map_err(io::Error::other)?,
        };
        let listener = TcpListener::bind(SocketAddr::new(ip, self.config.receiver_port))?;
        let address = listener.local_addr()?;
        Ok((listener, address))
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
