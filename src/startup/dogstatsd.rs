//! DogStatsD: what its pipeline and its listeners get of the configuration, and the listeners as one value.

use crate::config::Config;
use crate::config::MapperProfiles;
use crate::config::Mapping;
use crate::model::tags::Tags;
use crate::pipeline::metrics;
use crate::pipeline::metrics::Origin;
use crate::process::metrics as rules;
use crate::process::metrics::histogram::Aggregates;
use crate::process::metrics::mapper::Mapper;
use crate::process::metrics::mapper::RuleText;
use crate::sources::dogstatsd::LastLine;
use crate::sources::dogstatsd::Outlet;
use crate::sources::dogstatsd::datagrams;
use crate::sources::dogstatsd::stream;
use crate::startup::memory::Memory;
use crate::startup::parts::Pipelines;
use crate::startup::parts::Servers;
use crate::startup::plan;
use crate::startup::plan::Place;
use crate::sys::datagrams::Datagrams;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Signal;
use crate::sys::random::Random;
use crate::sys::socket_file;
use crate::sys::socket_file::SocketFile;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A datagram of less would not hold one line.
const BUFFER_BYTES_MIN: usize = 512;

/// The most that UDP can carry.
const BUFFER_BYTES_MAX: usize = 65_535;

/// By default the system may hold so large a part of `max_memory`, beside it, for a socket: bursts are what it is for.
const RECEIVE_BUFFER_SHARE: usize = 8;

/// The metrics pipeline's settings, and what could not be used of what the user wrote.
#[inline(never)]
pub fn settings(config: &Config, place: Place, hostname: &str, memory: Memory) -> (metrics::Settings, Vec<String>) {
    let mut refused = Vec::new();
    let mut tags = plan::all_tags(config);
    tags.extend(&config.dogstatsd_tags);
    let (aggregates, unknown) = Aggregates::parse(&config.histogram_aggregates.0, &config.histogram_percentiles.0);
    refused
        .extend(unknown.iter().map(|word| format!("histogram_aggregates or histogram_percentiles: `{word}` is none; ignored")));
    let rules = rules::Settings {
        hostname: hostname.to_owned(),
        host_tag: place == Place::Edge,
        global_tags: listed(&tags),
        namespace: config.statsd_metric_namespace.as_deref().map(with_dot).unwrap_or_default(),
        namespace_blocklist: config.statsd_metric_namespace_blacklist.0.clone(),
        blocklist: config.statsd_metric_blocklist.0.clone(),
        blocklist_match_prefix: config.statsd_metric_blocklist_match_prefix,
        mapper: mapper(&config.dogstatsd_mapper_profiles, &mut refused),
        aggregates,
        contexts_max: config.dogstatsd_context_limit as usize,
        bytes_max: memory.metrics,
        expiry: config.dogstatsd_context_expiry,
        timestamps: config.dogstatsd_no_aggregation_pipeline,
        seed: Random::from_system().bits(),
    };
    let origin = match place {
        Place::Lambda => Origin { product: 1, category: 38, service: 472 },
        Place::Edge => Origin { product: 10, category: 10, service: 0 },
    };
    let settings = metrics::Settings {
        rules,
        host_tags: listed(&host_tags(config)),
        body_bytes_max: memory.body,
        compression_level: config.compression_level,
        origin: Some(origin),
    };
    (settings, refused)
}

/// Tags of points of the machine, which is no service and has no version.
fn host_tags(config: &Config) -> Tags {
    let mut tags = Tags::default();
    if let Some(env) = &config.env {
        tags.push("env", env);
    }
    tags.extend(&config.tags);
    tags.extend(&config.extra_tags);
    tags
}

fn listed(tags: &Tags) -> Vec<String> {
    tags.pairs().iter().map(|(key, value)| format!("{key}:{value}")).collect()
}

fn with_dot(namespace: &str) -> String {
    let namespace = namespace.trim_end_matches('.');
    if namespace.is_empty() { String::new() } else { format!("{namespace}.") }
}

fn mapper(profiles: &MapperProfiles, refused: &mut Vec<String>) -> Mapper {
    let mut mapper = Mapper::default();
    for profile in &profiles.0 {
        let rules = profile.mappings.iter().map(rule_text).collect();
        let errors = mapper.add_profile(&profile.prefix, rules);
        refused.extend(errors.iter().map(|err| format!("dogstatsd_mapper_profiles: {}: {err}; ignored", profile.name)));
    }
    mapper
}

fn rule_text(mapping: &Mapping) -> RuleText {
    RuleText {
        pattern: mapping.r#match.clone(),
        is_regex: mapping.match_type == "regex",
        name: mapping.name.clone(),
        tags: mapping.tag_texts(),
    }
}

/// The listeners that are up.
#[derive(Debug, Default)]
pub struct Dogstatsd {
    udp: Option<datagrams::Server>,
    unix: Option<(datagrams::Server, SocketFile)>,
    stream: Option<(stream::Server, SocketFile)>,
}

impl Dogstatsd {
    /// Starts those that are wanted. One that cannot be had is an error line; the rest goes on.
    pub fn start(servers: &Servers<'_>, pipelines: &Pipelines) -> Dogstatsd {
        let config = servers.config;
        if !config.use_dogstatsd {
            return Dogstatsd::default();
        }
        let (datagram_path, stream_path) = (&config.dogstatsd_socket, &config.dogstatsd_stream_socket);
        let start = Start {
            servers,
            pipelines,
            buffer_bytes: config.dogstatsd_buffer_size.0.clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX),
        };
        let told = |what: &dyn fmt::Display, err: &io::Error| {
            log::error!("dogstatsd cannot listen on {what}: {err}; the rest goes on")
        };
        Dogstatsd {
            udp: config
                .dogstatsd_port
                .0
                .and_then(|port| start.udp(port).inspect_err(|err| told(&format_args!("port {port}"), err)).ok()),
            unix: datagram_path.as_ref().and_then(|path| start.unix(path).inspect_err(|err| told(&path.display(), err)).ok()),
            stream: stream_path.as_ref().and_then(|path| start.stream(path).inspect_err(|err| told(&path.display(), err)).ok()),
        }
    }

    /// The UDP port's address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.udp.as_ref().and_then(datagrams::Server::local_addr)
    }

    /// Those that are wanted, each with where it listens if it could be opened.
    pub fn doors(&self, config: &Config) -> Vec<(&'static str, Option<String>)> {
        let udp = config.dogstatsd_port.0.map(|_| ("dogstatsd", self.local_addr().map(|address| address.to_string())));
        let socket = |name, path: &Option<PathBuf>, is_open: bool| {
            path.as_ref().map(|path| (name, is_open.then(|| path.display().to_string())))
        };
        let unix = socket("dogstatsd socket", &config.dogstatsd_socket, self.unix.is_some());
        let stream = socket("dogstatsd stream socket", &config.dogstatsd_stream_socket, self.stream.is_some());
        udp.into_iter().chain(unix).chain(stream).filter(|_| config.use_dogstatsd).collect()
    }

    /// Tells the ledger, whenever it is called, what the system has lost before it was received.
    pub fn counts_missed(&self, ledger: &Arc<Ledger>) -> impl Fn() + use<> {
        let (socket, ledger) = (self.udp.as_ref().map(datagrams::Server::socket), Arc::clone(ledger));
        move || {
            if let Some(socket) = &socket {
                ledger.set_missed(Signal::Metrics, socket.lost(Path::new("/")));
            }
        }
    }

    /// Tells all of them to hand on what has arrived, until `by`, and to close.
    pub fn tell_to_stop(&self, by: Instant) {
        if let Some(server) = &self.udp {
            server.tell_to_stop(by);
        }
        if let Some((server, _)) = &self.unix {
            server.tell_to_stop(by);
        }
        if let Some((server, _)) = &self.stream {
            server.tell_to_stop(by);
        }
    }

    /// Tells them, if nobody has, and waits for their end.
    pub fn stop(self, by: Instant) {
        self.tell_to_stop(by);
        if let Some(server) = self.udp {
            server.stop(by);
        }
        if let Some((server, _file)) = self.unix {
            server.stop(by);
        }
        if let Some((server, _file)) = self.stream {
            server.stop(by);
        }
    }
}

struct Start<'a> {
    servers: &'a Servers<'a>,
    pipelines: &'a Pipelines,
    buffer_bytes: usize,
}

impl Start<'_> {
    fn udp(&self, port: u16) -> io::Result<datagrams::Server> {
        let opened_by = self.servers.config.dogstatsd_non_local_traffic.then_some("dogstatsd_non_local_traffic");
        let socket = self.servers.bind("dogstatsd", opened_by, |ip| UdpSocket::bind(SocketAddr::new(ip, port)))?;
        self.datagrams("dogstatsd-udp", socket.into(), "udp")
    }

    fn unix(&self, path: &Path) -> io::Result<(datagrams::Server, SocketFile)> {
        let (socket, file) = socket_file::datagram(path, socket_file::MODE_OF_ALL)?;
        Ok((self.datagrams("dogstatsd-unix", socket.into(), "uds")?, file))
    }

    fn datagrams(&self, name: &'static str, socket: Datagrams, transport: &str) -> io::Result<datagrams::Server> {
        let config = self.servers.config;
        socket.set_receive_buffer(match config.dogstatsd_so_rcvbuf.0 {
            0 => config.max_memory.0 / RECEIVE_BUFFER_SHARE,
            wanted => wanted,
        });
        datagrams::Server::start(name, socket, self.buffer_bytes, self.outlet(transport), self.servers.exits)
    }

    fn stream(&self, path: &Path) -> io::Result<(stream::Server, SocketFile)> {
        let (listener, file) = socket_file::listen(path, socket_file::MODE_OF_ALL)?;
        let server =
            stream::Server::start("dogstatsd-stream", listener, self.buffer_bytes, self.outlet("uds"), self.servers.exits)?;
        Ok((server, file))
    }

    fn outlet(&self, transport: &str) -> Outlet {
        let needs_its_end = self.servers.config.dogstatsd_eol_required.0.iter().any(|word| word == transport);
        let last_line = if needs_its_end { LastLine::NeedsItsEnd } else { LastLine::Counts };
        Outlet { last_line, ..outlet(self.servers, self.pipelines) }
    }
}

/// Where lines of DogStatsD go, whoever writes them.
pub fn outlet(servers: &Servers<'_>, pipelines: &Pipelines) -> Outlet {
    Outlet {
        inbox: pipelines.metrics.inbox(),
        spares: pipelines.datagrams.clone(),
        ledger: Arc::clone(servers.ledger),
        budget: servers.budget.clone(),
        clock: servers.clock,
        last_line: LastLine::Counts,
    }
}
