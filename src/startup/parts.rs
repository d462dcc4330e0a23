//! The parts of the agent as values: how each is put together, and how it is taken apart again.

use crate::config::AwsEnv;
use crate::config::Config;
use crate::config::EventsFrom;
use crate::config::Loaded;
use crate::config::Origin;
use crate::config::OutTo;
use crate::config::RunArgs;
use crate::deliver::Endpoint;
use crate::deliver::Intake;
use crate::deliver::LocalSink;
use crate::deliver::Poster;
use crate::deliver::Target;
use crate::encode::info;
use crate::encode::lambda_api as lambda_requests;
use crate::errors::StartError;
use crate::main_loop::Hands;
use crate::main_loop::Host;
use crate::main_loop::MainEvent;
use crate::model::api_key::KeyHandle;
use crate::model::invocation::Remembered;
use crate::model::trace::TracePayload;
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
use crate::sources::lambda_api::Extension;
use crate::sources::lambda_api::LambdaApi;
use crate::sources::lambda_http::LambdaHandler;
use crate::sources::lambda_http::OnFlush;
use crate::sources::trace_http;
use crate::sources::trace_http::TraceHandler;
use crate::spool::Body;
use crate::spool::FlushUntil;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::spool::Room;
use crate::spool::WhenFull;
use crate::spool::state as state_file;
use crate::startup::plan;
use crate::startup::plan::Memory;
use crate::startup::plan::Place;
use crate::sys::clock::Clock;
use crate::sys::digest::sha256_hex;
use crate::sys::gate::Gate;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::Parcel;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::logger;
use crate::sys::memory::Budget;
use crate::sys::net::Client;
use crate::sys::net::Reuse;
use crate::sys::random::Random;
use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// Queues and the threads that post what they hold.
#[derive(Debug)]
pub struct Deliver {
    traces: Poster,
    logs: Poster,
}

impl Deliver {
    /// Starts a queue and a poster for each signal.
    pub fn start(
        args: &RunArgs,
        config: &Config,
        key: &KeyHandle,
        memory: Memory,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> Result<Deliver, StartError> {
        let room = Room::new(memory.spool);
        let when_full = if args.events.is_some() { WhenFull::Wait } else { WhenFull::DropOldest };
        let mut random = Random::from_system();
        let mut poster = |name, target| {
            let queue = Queue::new(Arc::clone(&room), when_full, clock);
            let endpoint = Endpoint { name, target, backoff: plan::backoff(config) };
            Poster::start(endpoint, queue, clock, Random::new(random.bits()), exits).map_err(StartError::System)
        };
        let site = config.site.host();
        let traces_url = plan::intake(config.apm_dd_url.as_ref(), &format!("trace.agent.{site}"), "/api/v0.2/traces");
        let logs_url = plan::intake(config.logs_dd_url.as_ref(), &format!("http-intake.logs.{site}"), "/api/v2/logs");
        let target = |url| -> Result<Target, StartError> {
            Ok(match &args.out {
                Some(out) => Target::Local(local_sink(out)?),
                None => Target::Intake(intake(url, config, key)),
            })
        };
        Ok(Deliver { traces: poster("post-traces", target(traces_url)?)?, logs: poster("post-logs", target(logs_url)?)? })
    }

    fn queues(&self) -> [Arc<Queue>; 2] {
        [&self.traces, &self.logs].map(|poster| Arc::clone(poster.queue()))
    }

    /// Posts what is left, all at the same time, until `by`.
    pub fn finish(self, clock: &Clock, by: Instant) {
        for queue in self.queues() {
            queue.close(by);
        }
        self.logs.finish(clock, by);
        self.traces.finish(clock, by);
    }
}

fn intake(url: String, config: &Config, key: &KeyHandle) -> Intake {
    Intake { url, client: Client::new(Reuse::KeepAlive), key: key.clone(), timeout: config.forwarder_timeout }
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
        };
        let gzipped = body.headers.iter().any(|(name, _)| *name == "Content-Encoding");
        out.write(format, gzipped, &body.bytes)
    }))
}

/// Waits until all queues are settled, or pause.
fn flush_queues(queues: &[Arc<Queue>], until: FlushUntil, by: Instant) {
    for queue in queues {
        queue.flush(until, by);
    }
}

/// One pipeline a signal.
#[derive(Debug)]
pub struct Pipelines {
    traces: Pipeline<TracePayload>,
    logs: Pipeline<LogsItem>,
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
        let [traces_queue, logs_queue] = deliver.queues();
        let traces = TracesStage::new(traces, traces_queue);
        let logs = LogsStage::new(logs, logs_queue, Arc::clone(ledger));
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

/// The Lambda APIs before registration.
#[derive(Debug)]
pub struct LambdaSide {
    api: LambdaApi,
    name: String,
}

/// A registered agent, waiting to be told to ask for events.
#[derive(Debug)]
pub struct Registered {
    go: Sender<()>,
    telemetry: bool,
}

impl LambdaSide {
    /// For the APIs at `host`. The platform knows an extension by the base name of its file.
    pub fn new(host: &str, program: &OsString) -> LambdaSide {
        let name = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned());
        LambdaSide {
            api: LambdaApi::new(Client::new(Reuse::Never), host),
            name: name.unwrap_or_else(|| "datadog-agent".to_owned()),
        }
    }

    /// Registers and only answers `/next`.
    pub fn idle(self) -> Result<(), StartError> {
        let extension = self.api.register(&self.name, &lambda_requests::register(false)).map_err(StartError::Register)?;
        extension.idle();
        Ok(())
    }

    /// Registers, subscribes to telemetry and starts the thread that waits for events.
    pub fn register(
        self,
        config: &Config,
        aws: &AwsEnv,
        communication: Option<SocketAddr>,
        pipelines: &Pipelines,
        events: &Sender<MainEvent>,
        exits: &Sender<&'static str>,
    ) -> Result<Registered, StartError> {
        let managed = aws.initialization_type.as_deref() == Some("lambda-managed-instances");
        let extension = self.api.register(&self.name, &lambda_requests::register(managed)).map_err(StartError::Register)?;
        if let Some(arn) = function_arn(&extension, aws) {
            tell_logs(&pipelines.logs.inbox(), LogsItem::Function(arn));
        }
        let with_logs = config.logs_enabled.unwrap_or(false)
            || config.serverless_logs_enabled.unwrap_or(false)
            || (config.logs_enabled.is_none() && config.serverless_logs_enabled.is_none());
        let subscribe =
            |address: SocketAddr| extension.subscribe(&lambda_requests::subscribe(managed, with_logs, address.port()));
        let telemetry = !config.local_test && communication.is_some_and(subscribe);
        let (go, asked) = channel(1);
        extension.start(asked, events.clone(), exits).map_err(StartError::System)?;
        Ok(Registered { go, telemetry })
    }
}

/// The function's ARN, in lower case, from what registration and environment tell; `None` without an account.
fn function_arn(extension: &Extension, aws: &AwsEnv) -> Option<String> {
    let account = extension.function.account_id.as_deref()?;
    let name = extension.function.function_name.as_deref().or(aws.function_name.as_deref())?;
    let region = aws.region.as_deref().unwrap_or("us-east-1");
    let partition = match region {
        region if region.starts_with("us-gov-") => "aws-us-gov",
        region if region.starts_with("cn-") => "aws-cn",
        _ => "aws",
    };
    Some(format!("arn:{partition}:lambda:{region}:{account}:function:{name}").to_ascii_lowercase())
}

fn tell_logs(inbox: &Inbox<LogsItem>, item: LogsItem) {
    let by = Clock::new().instant_in(TELL_WAIT);
    let nothing = Ledger::new().accept(Signal::Logs, 0);
    let Some(permit) = Budget::new(0).reserve(0, by) else { return };
    if inbox.put(Parcel { item, claim: nothing, permit }, by).is_err() {
        log::debug!("the logs pipeline is behind and was not told of an invocation");
    }
}

/// How long the main loop waits to tell a pipeline something.
const TELL_WAIT: Duration = Duration::from_millis(100);

/// How the main loop acts.
#[expect(clippy::too_many_arguments, reason = "it touches every part, which is what it is for")]
pub fn hands(
    pipelines: &Pipelines,
    deliver: &Deliver,
    lambda: Option<&Registered>,
    state: &State,
    ledger: &Arc<Ledger>,
    budget: &Budget,
    clock: Clock,
    reload: Box<dyn FnMut()>,
) -> Hands {
    let (traces, logs, queues) = (pipelines.traces.inbox(), pipelines.logs.inbox(), deliver.queues());
    let (span_inbox, telemetry_inbox, invoked_inbox) = (traces.clone(), logs.clone(), logs.clone());
    let (span_ledger, report_ledger, budget) = (Arc::clone(ledger), Arc::clone(ledger), budget.clone());
    let (save, go) = (state.clone(), lambda.map(|lambda| lambda.go.clone()));
    let mut known_arn = String::new();
    Hands {
        span: Box::new(move |payload| send_span(payload, &span_inbox, &span_ledger, &budget, clock)),
        telemetry: Box::new(move |parcel, by| {
            let Parcel { item, claim, permit } = parcel;
            telemetry_inbox.put(Parcel { item: LogsItem::Telemetry(item), claim, permit }, by).map_err(|back| Parcel {
                item: match back.item {
                    LogsItem::Telemetry(events) => events,
                    LogsItem::Function(_) | LogsItem::Invoked(_) => Vec::new(),
                },
                claim: back.claim,
                permit: back.permit,
            })
        }),
        invoked: Box::new(move |request_id, arn| {
            if !arn.is_empty() && known_arn != arn {
                arn.clone_into(&mut known_arn);
                tell_logs(&invoked_inbox, LogsItem::Function(known_arn.clone()));
            }
            tell_logs(&invoked_inbox, LogsItem::Invoked(request_id.to_owned()));
        }),
        flush: Box::new(move |mark, by| {
            traces.flush(mark.clone(), by);
            logs.flush(mark, by);
        }),
        delivered: Box::new(move |by| flush_queues(&queues, FlushUntil::SettledOrPaused, by)),
        next: Box::new(move || {
            if let Some(go) = &go {
                let _ = go.try_send(()); // it has been told already, or is gone
            }
        }),
        save: Box::new(move |remembered| save.save(remembered)),
        report: Box::new(move || logger::announce(&format!("ledger: {}", report_ledger.snapshot()))),
        reload,
    }
}

fn send_span(payload: TracePayload, inbox: &Inbox<TracePayload>, ledger: &Arc<Ledger>, budget: &Budget, clock: Clock) {
    let claim = ledger.accept(Signal::Traces, payload.spans.len() as u64);
    let by = clock.instant_in(TELL_WAIT);
    match budget.reserve(payload.memory_bytes(), by) {
        None => claim.drop_all(Reason::InboxFull),
        Some(permit) => {
            if let Err(back) = inbox.put(Parcel { item: payload, claim, permit }, by) {
                back.claim.drop_all(Reason::InboxFull);
            }
        }
    }
}

/// Where the main loop runs.
pub fn host(config: &Config, lambda: Option<&Registered>) -> Host {
    match lambda {
        None => Host::Edge,
        Some(lambda) => Host::Lambda { telemetry: lambda.telemetry, flush_timeout: config.flush_timeout },
    }
}

/// What survives a restart, and the file it lives in.
#[derive(Clone, Debug)]
pub struct State {
    path: Option<PathBuf>,
    restored: Option<state_file::State>,
    /// Shared between the main loop's hands and the last save, on one thread.
    latest: Rc<RefCell<state_file::State>>,
}

impl State {
    /// Reads the file. With local output and no folder named for it, nothing is kept: a demonstration leaves no traces.
    pub fn load(args: &RunArgs, loaded: &Loaded, place: Place) -> State {
        let named = loaded.effective.iter().any(|setting| setting.path == "run_path" && setting.origin != Origin::Default);
        let path = (args.out.is_none() || named).then(|| loaded.config.run_path.join("mote.state"));
        let restored = path.as_ref().and_then(|path| {
            state_file::load(path).inspect_err(|err| log::debug!("no state from {}: {err}", path.display())).ok()
        });
        if restored.as_ref().is_some_and(|state| !state.clean) && place == Place::Edge {
            log::info!("the last run ended uncleanly; what it held in memory is lost and cannot be counted");
        }
        let state = State { path, latest: Rc::new(RefCell::new(restored.clone().unwrap_or_default())), restored };
        if place == Place::Edge {
            state.write(false); // so that the next start can tell whether this one ended cleanly
        }
        state
    }

    /// As the invocation machine takes it.
    pub fn remembered(&self) -> Option<Remembered> {
        self.restored.clone().map(|state| Remembered {
            arn: state.arn,
            last_request_id: state.last_request_id,
            coldstart_request_id: state.coldstart_request_id,
            last_log_request_id: state.last_log_request_id,
            last_oom_request_id: state.last_oom_request_id,
            start_ms: state.start_ms,
            end_ms: state.end_ms,
        })
    }

    fn save(&self, remembered: &Remembered) {
        self.keep(remembered);
        self.write(false);
        log::debug!("state saved");
    }

    /// Says that this run ended in order.
    pub fn save_clean(&self, remembered: &Remembered) {
        self.keep(remembered);
        self.write(true);
    }

    fn keep(&self, remembered: &Remembered) {
        let Remembered { arn, last_request_id, coldstart_request_id, last_log_request_id, last_oom_request_id, .. } =
            remembered.clone();
        *self.latest.borrow_mut() = state_file::State {
            arn,
            last_request_id,
            coldstart_request_id,
            last_log_request_id,
            last_oom_request_id,
            start_ms: remembered.start_ms,
            end_ms: remembered.end_ms,
            clean: false,
        };
    }

    fn write(&self, clean: bool) {
        let Some(path) = &self.path else { return };
        let state = state_file::State { clean, ..self.latest.borrow().clone() };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let written = std::fs::create_dir_all(folder).and_then(|()| state_file::save(path, &state));
        if let Err(err) = written {
            log::debug!("cannot keep state in {}: {err}", path.display());
        }
    }
}
