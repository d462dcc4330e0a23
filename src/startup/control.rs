//! The control socket: what a running agent tells the commands of people on the same machine.

use crate::commands::ask::JSON;
use crate::config::Config;
use crate::encode::contexts;
use crate::encode::status;
use crate::model::metrics_item::ContextSeen;
use crate::model::metrics_item::MetricsItem;
use crate::process::health;
use crate::sources::control_http::Answer;
use crate::sources::control_http::ControlHandler;
use crate::sources::http;
use crate::sources::http::Response;
use crate::sources::http::Service;
use crate::sources::http::blocking;
use crate::startup::function::nothing;
use crate::startup::parts::Servers;
use crate::startup::status::Sight;
use crate::sys::clock::Clock;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::channel;
use crate::sys::ledger::Signal;
use crate::sys::socket_file;
use crate::sys::socket_file::SocketFile;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// How the agent is.
pub const STATUS: &str = "/status";
/// What is wrong with it.
pub const HEALTH: &str = "/health";
/// The answer if nothing is.
pub const HEALTHY: &str = "healthy";
/// Which metrics it has seen.
pub const STATS: &str = "/dogstatsd-stats";

/// How long a pipeline may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// People ask one by one.
const CONNECTIONS_MAX: usize = 4;

/// Only the owner may ask.
const MODE: u32 = 0o600;

/// A running control server.
#[derive(Debug)]
pub struct Control {
    server: blocking::Server,
    _file: SocketFile,
}

/// Where the socket is: configured, else beside the state.
pub fn socket_path(config: &Config) -> PathBuf {
    config.control_socket.clone().unwrap_or_else(|| config.run_path.join("mote.sock"))
}

impl Control {
    /// Starts it. Without its socket the rest goes on: the folder of the state is often missing where people only try things.
    pub fn start(servers: &Servers<'_>, metrics: &Inbox<MetricsItem>, sight: Sight) -> Option<Control> {
        let path = socket_path(servers.config);
        let started = start(servers, metrics, sight, &path);
        started.inspect_err(|err| log::debug!("no control socket at {}: {err}", path.display())).ok()
    }

    /// Answers what is being asked, and closes.
    pub fn stop(self, by: Instant) {
        self.server.stop(by);
    }
}

fn start(servers: &Servers<'_>, metrics: &Inbox<MetricsItem>, sight: Sight, path: &Path) -> io::Result<Control> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    let (listener, file) = socket_file::listen(path, MODE)?;
    let (clock, metrics) = (servers.clock, metrics.clone());
    let stats: Answer = Box::new(move |query| stats(query, &metrics, clock));
    let sight = Arc::new(sight);
    let healthy = Arc::clone(&sight);
    let status: Answer = Box::new(move |query| tell(query, &sight));
    let health: Answer = Box::new(move |_| match health::problems(&healthy.look()) {
        problems if problems.is_empty() => Response::text(200, HEALTHY),
        problems => Response::text(200, &problems.join("\n")),
    });
    let handler = ControlHandler::new(vec![(STATUS, status), (HEALTH, health), (STATS, stats)]);
    let limits = http::Limits { connections_max: CONNECTIONS_MAX, body_bytes_max: 0, ..http::Limits::default() };
    let service = Service::new(Arc::new(handler), servers.budget.clone(), limits);
    Ok(Control { server: blocking::Server::start("control", listener, service, servers.exits)?, _file: file })
}

/// What people read.
const TEXT: &str = "text/plain; charset=utf-8";

fn tell(query: &str, sight: &Sight) -> Response {
    match query {
        JSON => Response::new(200, "application/json", status::as_json(&sight.look())),
        _ => Response::new(200, TEXT, status::as_text(&sight.look())),
    }
}

fn stats(query: &str, metrics: &Inbox<MetricsItem>, clock: Clock) -> Response {
    let Some(contexts) = ask_contexts(metrics, clock.instant_in(PATIENCE)) else {
        return Response::text(503, "the metrics pipeline is busy");
    };
    match query {
        JSON => Response::new(200, "application/json", contexts::as_json(contexts)),
        _ => Response::new(200, TEXT, contexts::as_text(contexts, clock.now().unix.as_secs() as i64)),
    }
}

fn ask_contexts(metrics: &Inbox<MetricsItem>, by: Instant) -> Option<Vec<ContextSeen>> {
    let (sender, receiver) = channel(1);
    let item = MetricsItem::Contexts(Box::new(move |contexts| drop(sender.try_send(contexts))));
    metrics.put(nothing(item, Signal::Metrics)?, by).ok()?;
    receiver.recv_deadline(by).ok()
}
