//! The start-up sequence and its reverse; the only file that knows every part.
//!
//! Signals first, so that no later step can miss one. Then logger, configuration, API key, the way out (queues, posters, pipelines:
//! receivers before senders), communication server with the restored state, trace agent, and the invocation loop on this thread.
//! Shutdown is the reverse: sources close, pipelines drain, posters post until the deadline.
//!
//! Its larger steps are kept out of line: inlined into one function of 100 kB, each of their calls brings the clean-up of all that lives
//! at that moment, 11 kB in all.

mod books;
mod control;
mod deliver;
mod description;
mod dogstatsd;
mod flare;
mod function;
mod further;
mod hands;
mod health;
mod host;
mod journaling;
mod lambda;
mod log_plan;
mod memory;
mod outside;
mod own_lines;
mod parts;
mod plan;
mod proxies;
mod receiver;
mod reload;
mod restamping;
mod spooling;
mod standing;
mod state;
mod status;

use crate::commands;
use crate::commands::ask::Question;
use crate::config;
use crate::config::AwsEnv;
use crate::config::Command;
use crate::config::Config;
use crate::config::Env;
use crate::config::RunArgs;
use crate::errors;
use crate::errors::Exit;
use crate::errors::StartError;
use crate::main_loop::MainEvent;
use crate::main_loop::MainLoop;
use crate::main_loop::Sources;
use crate::main_loop::Stop;
use crate::model::api_key::KeyHandle;
use crate::model::api_key::KeyState;
use crate::model::invocation::Event;
use crate::model::rates::RatesHandle;
use crate::process::invocation::Invocations;
use crate::secrets::Resolver;
use crate::sources::health::Health;
use crate::sources::host::HostMetrics;
use crate::sources::http::tiny;
use crate::sources::trace_proxy::Direct;
use crate::sources::trace_proxy::Proxies;
use crate::spool::Kind;
use crate::spool::keeper::ENDED_UNCLEANLY;
use crate::startup::books::close_books;
use crate::startup::books::describe_stop;
use crate::startup::books::reporter;
use crate::startup::books::tell_refused;
use crate::startup::control::Control;
use crate::startup::deliver::Deliver;
use crate::startup::dogstatsd::Dogstatsd;
use crate::startup::function::Teller;
use crate::startup::hands::Asked;
use crate::startup::journaling::Journaling;
use crate::startup::journaling::TakingIn;
use crate::startup::lambda::LambdaSide;
use crate::startup::memory::Memory;
use crate::startup::parts::Pipelines;
use crate::startup::parts::Servers;
use crate::startup::parts::Stages;
use crate::startup::plan::Place;
use crate::startup::receiver::TraceAgent;
use crate::startup::reload::Reload;
use crate::startup::standing::Standing;
use crate::startup::state::State;
use crate::startup::status::Sight;
use crate::sys::clock::Clock;
use crate::sys::gate::Gate;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::ledger::Ledger;
use crate::sys::logger;
use crate::sys::logger::Form;
use crate::sys::memory::Budget;
use crate::sys::net::Client;
use crate::sys::net::Reuse;
use crate::sys::process;
use crate::sys::random::Random;
use crate::sys::signals;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Events that wait for the main loop.
const EVENTS_MAX: usize = 64;

/// Notices of workers that end.
const EXITS_MAX: usize = 32;

/// What is left of a SHUTDOWN's deadline for the process to end in.
const SHUTDOWN_RESERVE: Duration = Duration::from_millis(100);

/// Time to note what was delivered in the journal, at least that even if all before it took too long.
const JOURNAL_TIME_MIN: Duration = Duration::from_millis(50);

/// Carries out the command line.
pub fn main(mut args: impl Iterator<Item = OsString>, env: &Env) -> Result<Exit, StartError> {
    let program = args.next().unwrap_or_default();
    let done = match config::parse_args(args).map_err(StartError::Args)? {
        Command::Run(args) if standing::starts_another(&args, place(&args, &AwsEnv::of(env))) => {
            standing::start_another(&program)
        }
        Command::Run(args) => run(&args, env, &program, &mut Standing::default()),
        Command::Check(args) => check(&args, env),
        Command::DogstatsdStats(args, json) => ask(&args, env, control::STATS, json).and_then(|text| print(&text)),
        Command::Status(args, json) => ask(&args, env, control::STATUS, json).and_then(|text| print(&text)),
        Command::Health(args) => ask(&args, env, control::HEALTH, false).and_then(|answer| {
            let is_healthy = answer.trim_end() == control::HEALTHY;
            print(&answer).map(|exit| if is_healthy { exit } else { Exit::Unhealthy })
        }),
        Command::Flare(args, archive) => {
            hide_memory();
            flare::flare(&args, archive, env)
        }
        Command::Spool(args, spool) => {
            let place = place(&args, &AwsEnv::of(env));
            let config = config::load(&args, env, place == Place::Lambda).config;
            spooling::listing(&args, spool, &config).and_then(|text| print(&text))
        }
        Command::Version => print(concat!("mote ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Help(topic) => print(config::help(topic)),
    };
    process::end_groups(); // the key may still be waited for
    if let Err(err) = &done {
        logger::tell_all_but_console(&errors::chain(err));
    }
    logger::finish();
    done
}

/// `standing` is its caller's, as of what is owned here every call would bring the clean-up.
fn run(args: &RunArgs, env: &Env, program: &OsString, standing: &mut Standing) -> Result<Exit, StartError> {
    let (exits_tx, exits) = channel(EXITS_MAX);
    let signals = signals::listen(&exits_tx).map_err(StartError::System)?;
    let aws = AwsEnv::of(env);
    let place = place(args, &aws);
    standing.take_up(args, env, place)?;

    // Step 1 and 2: logger and configuration.
    logger::start(if place == Place::Lambda { Form::Lambda } else { Form::Text }, log::LevelFilter::Info);
    // A sandbox's clock is right, and local output has no intake that tells the time.
    let clock = if place == Place::Edge && args.out.is_none() { Clock::correcting() } else { Clock::new() };
    hide_memory();
    let (loaded, origins) = outside::load(args, env, &aws, place, clock);
    standing.settings_are_known(&loaded, env, place)?;
    let config = &loaded.config;
    guard_memory(config);
    let ways = outside::open_ways(config);
    let lambda = match (place, &aws.runtime_api) {
        (Place::Lambda, Some(host)) => Some(LambdaSide::new(host, program)),
        _ => None,
    };

    // Step 3: the key, a handle that may still be pending.
    let (events_tx, events) = channel(EVENTS_MAX);
    let resolver = outside::resolver(config, &aws, place, &ways, clock);
    let key = start_key(args, resolver.clone(), &events_tx, &exits_tx)?;
    if key.state() == KeyState::Absent && args.out.is_none() {
        return without_key(lambda);
    }

    // The way out, last station first.
    let ledger = Ledger::new();
    let endpoints = 1 + if args.out.is_some() { 0 } else { further::plans(config).len() };
    let memory = Memory::of(config.max_memory.0).shared_by(endpoints);
    if config.max_memory.0 < memory::MEMORY_MIN {
        log::warn!("max_memory: {} is too little; using {}", config.max_memory.0, memory::MEMORY_MIN);
    }
    let ingest = Budget::new(memory.ingest);
    let mut deliver = Deliver::start(args, config, memory, place, &key, &ways, clock, &exits_tx)?;
    let rates = RatesHandle::new(Random::from_system().bits());
    let hostname = plan::hostname(config, place);
    let stages = Stages::of(config, place, &aws, memory, &hostname, &rates);
    let pipelines = Pipelines::start(stages, &deliver, &ledger, clock, &exits_tx)?;

    // Step 4 and 5: communication server with the restored state, trace agent, DogStatsD.
    let state = State::load(args, &loaded, place);
    let ended_uncleanly = state.last_ended_uncleanly(place);
    let spool = spooling::folder(config, args);
    let limits = spooling::limits(config, args, endpoints);
    let journaling = Journaling::start(config, place, spool.as_deref(), limits.clone(), clock, &exits_tx)?;
    match spool {
        Some(folder) => deliver.keep_in(folder, limits, ended_uncleanly, &ledger, clock, &exits_tx)?,
        None if ended_uncleanly => log::info!("{ENDED_UNCLEANLY}"),
        None => (),
    }
    let servers = Servers {
        config,
        place,
        memory,
        budget: &ingest,
        ledger: &ledger,
        rates,
        clock,
        events: &events_tx,
        exits: &exits_tx,
        journaling: journaling.as_ref(),
    };
    let communication = servers.communication(&deliver, lambda::calls(config, &aws, memory))?;
    let relay = Client::through(Reuse::KeepAlive, &ways);
    let proxies = proxies::settings(config, place, &aws, &hostname, memory);
    let direct = (place == Place::Edge && args.out.is_none())
        .then(|| Direct::new(relay.clone(), key.clone(), config.forwarder_timeout, memory.profile));
    let proxies = Proxies::new(proxies, direct, deliver.queue(Kind::Proxied), Arc::clone(&ledger), clock);
    let dogstatsd = Dogstatsd::start(&servers, &pipelines);
    let trace_agent = servers.trace_agent(&pipelines, proxies, dogstatsd.local_addr());
    let health = health::start(&servers, &deliver, &dogstatsd, &pipelines);
    let host_metrics = host::start(args, &servers, &pipelines);
    let control = (place == Place::Edge && state.is_kept()).then(|| {
        let doors = status::doors(config, communication.as_ref(), trace_agent.as_ref(), &dogstatsd);
        let needed = args.out.is_none().then(|| key.clone());
        let sight = Sight::new(&servers, &loaded, needed, deliver.ends(), doors, Box::new(dogstatsd.counts_missed(&ledger)));
        Control::start(&servers, &pipelines.metrics.inbox(), sight)
    });
    let control = control.flatten();
    let addresses = (communication.as_ref().and_then(|s| s.local_addr()), trace_agent.as_ref().and_then(|s| s.local_addr()));

    let taking_in = journaling.as_ref().map(|journaling| journaling.take_in(&ingest, clock, &exits_tx)).transpose()?;

    // Step 6: the invocation loop.
    let gate = Gate::default();
    parts::start_events(args, &servers, &gate)?;
    let lambda = match lambda {
        Some(lambda) => Some(lambda.register(config, &aws, addresses.0, &events_tx, &exits_tx)?),
        None => None,
    };
    state.begin(place);
    let mut random = Random::from_system();
    let mut teller = Teller::new(config, place, &aws, &pipelines);
    let arn = lambda.as_ref().and_then(|lambda| lambda.arn.as_deref());
    teller.arn(arn.unwrap_or_default());
    let invocations = Invocations::new(function::invocations(config, place, &aws, arn, clock), state.remembered());
    let (aws, known, logs) = (aws.clone(), loaded.effective.clone(), pipelines.logs.inbox());
    let mut reload =
        Reload { args: args.clone(), env: env.clone(), origins, aws, place, ways, running: resolver, known, logs, clock };
    let renewed = key.clone();
    let count_missed = dogstatsd.counts_missed(&ledger);
    let report = reporter(&ledger, deliver.books(), count_missed);
    let measure = function::measure(config, place);
    let asked = Asked { measure, report: Box::new(report), reload: Box::new(move || reload.run(&renewed)), beat: None };
    let asked = standing.with_manager(asked, clock);
    let hands = hands::hands(&pipelines, &deliver, lambda.as_ref(), &state, &ledger, &ingest, clock, asked, &key, teller);
    let host = hands::host(config, lambda.as_ref());
    signals.attend();
    standing.ready(&ready_text(addresses, &dogstatsd, trace_agent.as_ref()))?;
    let mut main_loop = MainLoop::new(host, clock, Random::new(random.bits()), invocations, hands);
    let stop = main_loop.run(&Sources { events: &events, signals: &signals.requests, exits: &exits });

    let running = Running {
        communication,
        trace_agent,
        relay,
        dogstatsd,
        health,
        host_metrics,
        control,
        gate,
        events,
        main_loop,
        pipelines,
        deliver,
        journaling,
        taking_in,
        state,
    };
    let books = running.deliver.books();
    let time = time_to_stop(&stop, config.shutdown_timeout);
    standing.stopping(describe_stop(&stop), time);
    shutdown(running, &stop, time, &ledger, clock);
    Ok(close_books(&ledger, &books, &stop, place))
}

/// The readiness line.
#[inline(never)]
fn ready_text(
    (communication, traces): (Option<SocketAddr>, Option<SocketAddr>),
    dogstatsd: &Dogstatsd,
    trace_agent: Option<&TraceAgent>,
) -> String {
    let describe = |address: Option<SocketAddr>| address.map_or("off".to_owned(), |address| address.to_string());
    let [communication, traces, dogstatsd] = [communication, traces, dogstatsd.local_addr()].map(describe);
    let socket = trace_agent.and_then(TraceAgent::path).map(|path| format!(" socket={}", path.display())).unwrap_or_default();
    format!("ready: communication={communication} traces={traces}{socket} dogstatsd={dogstatsd}")
}

/// The parts that a shutdown takes apart, in the order of the data.
struct Running {
    communication: Option<tiny::Server>,
    trace_agent: Option<TraceAgent>,
    /// By which requests of tracers are passed on directly.
    relay: Client,
    dogstatsd: Dogstatsd,
    health: Option<Health>,
    host_metrics: Option<HostMetrics>,
    control: Option<Control>,
    gate: Gate,
    events: Receiver<MainEvent>,
    main_loop: MainLoop,
    pipelines: Pipelines,
    deliver: Deliver,
    journaling: Option<Journaling>,
    taking_in: Option<TakingIn>,
    state: State,
}

/// Sources close, what they accepted is drained, pipelines empty, posters post until the end of `time`. Each station leaves time for
/// those behind it.
#[inline(never)]
fn shutdown(running: Running, stop: &Stop, time: Duration, ledger: &Arc<Ledger>, clock: Clock) {
    let Running { communication, trace_agent, relay, dogstatsd, health, control, gate, events, .. } = running;
    let Running { host_metrics, mut main_loop, pipelines, deliver, journaling, taking_in, state, .. } = running;
    let [a_quarter, a_half, three_quarters, by] = [1, 2, 3, 4].map(|quarters| clock.instant_in(time * quarters / 4));
    log::info!("stopping: {}", describe_stop(stop));
    deliver.wait_no_longer_than(a_half);
    dogstatsd.tell_to_stop(a_quarter); // beside the others, who may need all of that time for requests in progress
    if let Some(server) = communication {
        tell_refused("communication", &server.refusals().all());
        server.stop(a_quarter);
    }
    if let Some(server) = trace_agent {
        tell_refused("traces", &server.refusals().all());
        server.stop(a_quarter);
    }
    relay.interrupt(); // whoever still waits for an intake is told so
    if let Some(taking_in) = taking_in {
        taking_in.stop(a_quarter);
    }
    if let Some(control) = control {
        control.stop(a_quarter);
    }
    if let Some(health) = health {
        health.stop(a_quarter);
    }
    if let Some(host_metrics) = host_metrics {
        host_metrics.stop(a_quarter);
    }
    let count_missed = dogstatsd.counts_missed(ledger);
    dogstatsd.stop(a_quarter);
    count_missed();
    gate.close(|| main_loop.drain(&events, a_half));
    main_loop.drain(&events, a_half);
    let remembered = main_loop.finish(a_half);
    drop(main_loop); // it holds inboxes, which must be let go for pipelines to end
    pipelines.finish(three_quarters);
    deliver.finish(&clock, by);
    if let Some(journaling) = journaling {
        journaling.finish(by.max(clock.instant_in(JOURNAL_TIME_MIN)));
    }
    state.save_clean(&remembered);
}

fn place(args: &RunArgs, aws: &AwsEnv) -> Place {
    // Events that the user names beat the variable.
    if args.events.is_none() && aws.runtime_api.is_some() { Place::Lambda } else { Place::Edge }
}

/// No look at the memory from outside, from before the first secret comes in: the start may wait for those who keep it.
fn hide_memory() {
    if let Err(err) = process::hide_memory() {
        log::warn!("the memory cannot be hidden from other processes: {err}");
    }
}

/// No core file either, unless the user wants both.
fn guard_memory(config: &Config) {
    let done = if config.core_dump { process::show_memory() } else { process::rule_out_core_files() };
    if let Err(err) = done {
        log::warn!("core_dump: {err}");
    }
}

#[inline(never)]
fn start_key(
    args: &RunArgs,
    resolver: Resolver,
    events: &Sender<MainEvent>,
    exits: &Sender<&'static str>,
) -> Result<KeyHandle, StartError> {
    if args.out.is_some() {
        return Ok(KeyHandle::new(KeyState::Absent));
    }
    let events = events.clone();
    let when_absent = move || drop(events.try_send(Event::KeyAbsent));
    resolver.start(when_absent, exits).map_err(StartError::System)
}

/// No key and none to come: on a machine of its own the agent ends; in Lambda the function works as if the agent were not there.
fn without_key(lambda: Option<LambdaSide>) -> Result<Exit, StartError> {
    log::error!("{}", StartError::NoKey);
    match lambda {
        None => Ok(Exit::Config),
        Some(lambda) => lambda.idle().map(|()| Exit::Clean),
    }
}

/// What the agent that runs with these settings answers.
fn ask(args: &RunArgs, env: &Env, path: &'static str, json: bool) -> Result<String, StartError> {
    commands::ask::ask(&control::socket_path(&config::load(args, env, false).config), Question { path, json })
}

#[inline(never)]
fn check(args: &RunArgs, env: &Env) -> Result<Exit, StartError> {
    let (aws, clock) = (AwsEnv::of(env), Clock::new());
    let place = place(args, &aws);
    let _signals = signals::listen(&channel(1).0).map_err(StartError::System)?; // programs that it waits for end with it
    logger::start(Form::Text, log::LevelFilter::Warn);
    hide_memory();
    let loaded = match args.key {
        true => outside::load(args, env, &aws, place, clock).0,
        false => config::load(args, env, place == Place::Lambda),
    };
    let config = &loaded.config;
    guard_memory(config);
    let ways = outside::open_ways(config);
    let resolver = outside::resolver(config, &aws, Place::Edge, &ways, clock);
    resolver.remark();
    let mut lines = if args.key { Vec::new() } else { outside::not_asked(&loaded, env) };
    lines.extend(outside::routes(config, &resolver, &ways));
    let mut obstacles = Vec::new();
    if args.key {
        let (report, obstacle) = outside::describe(&resolver.report());
        lines.extend(report);
        obstacles.extend(obstacle);
    } else if args.out.is_none() && place == Place::Edge && !resolver.would_start() {
        obstacles.push(StartError::NoKey);
    }
    obstacles.extend(plan::bind_address(&config.bind_host).err().filter(|_| place == Place::Edge));
    print(&commands::check::check(&loaded, &lines, &obstacles))?;
    match obstacles.into_iter().next() {
        None => Ok(Exit::Clean),
        Some(obstacle) if args.key => Err(obstacle),
        Some(_) => Err(StartError::CheckFailed),
    }
}

fn print(text: &str) -> Result<Exit, StartError> {
    std::io::stdout().lock().write_all(text.as_bytes()).map(|()| Exit::Clean).map_err(StartError::Print)
}

/// How long the shutdown may take: as configured, and no longer than the platform leaves.
fn time_to_stop(stop: &Stop, configured: Duration) -> Duration {
    match stop {
        Stop::Shutdown(Some(left)) => left.saturating_sub(SHUTDOWN_RESERVE).min(configured),
        _ => configured,
    }
}
