//! Looks at a running agent: counters, levels and states that its threads leave behind. Nobody is asked and nobody waited for but for locks
//! that are held for as long as a copy takes, so it can look while the pipelines are stuck and the intake is dead.

use crate::config::Config;
use crate::config::Loaded;
use crate::config::Origin;
use crate::deliver::BreakerState;
use crate::deliver::Outlook;
use crate::model::api_key::KeyHandle;
use crate::model::api_key::KeyState;
use crate::model::scrub::scrub;
use crate::model::status::Books;
use crate::model::status::Breaker;
use crate::model::status::Endpoint;
use crate::model::status::Key;
use crate::model::status::Line;
use crate::model::status::Listener;
use crate::model::status::Memory;
use crate::model::status::Row;
use crate::model::status::Spool;
use crate::model::status::Status;
use crate::model::status::Time;
use crate::sources::http::Service;
use crate::sources::http::tiny;
use crate::spool::Queue;
use crate::startup::dogstatsd::Dogstatsd;
use crate::startup::further;
use crate::startup::parts::Servers;
use crate::startup::plan;
use crate::startup::receiver::TraceAgent;
use crate::sys::clock::Clock;
use crate::sys::clock::Utc;
use crate::sys::host;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::RowSnapshot;
use crate::sys::logger;
use crate::sys::logger::Remembered;
use crate::sys::memory::Budget;
use crate::sys::worker;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// An endpoint at work.
#[derive(Debug)]
pub struct Way {
    /// What it takes.
    pub name: &'static str,
    /// Scheme and host.
    pub address: String,
    /// What waits for it.
    pub queue: Arc<Queue>,
    /// How it does.
    pub outlook: Outlook,
}

/// A folder of the spool at work.
#[derive(Debug)]
pub struct Kept {
    /// Where.
    pub folder: String,
    /// Bytes of all its files.
    pub bytes: Arc<AtomicU64>,
    /// How many they may be.
    pub bytes_max: u64,
    /// Bytes that could not be read at the start.
    pub bad_bytes: Arc<AtomicU64>,
    /// One of those whose bodies it keeps.
    pub queue: Arc<Queue>,
}

/// A port or socket that is wanted.
#[derive(Debug)]
pub struct Door {
    /// Who listens.
    pub name: &'static str,
    /// Where; `None` if it could not be had.
    pub address: Option<String>,
    /// Who counts what is refused.
    pub service: Option<Arc<Service>>,
}

/// All that there is to look at.
pub struct Sight {
    hostname: (String, String),
    key: Option<KeyHandle>,
    ways: Vec<Way>,
    kept: Vec<Kept>,
    doors: Vec<Door>,
    ledger: Arc<Ledger>,
    further: further::Books,
    count_missed: Box<dyn Fn() + Send + Sync>,
    budget: Budget,
    memory_max: usize,
    clock: Clock,
}

/// Where it leads.
#[derive(Debug)]
pub struct Ends {
    /// Endpoints, the main ones first.
    pub ways: Vec<Way>,
    /// Folders of the spool.
    pub kept: Vec<Kept>,
    /// Books of further endpoints.
    pub books: further::Books,
}

impl Sight {
    /// What is to be looked at. `key` is `None` where nothing is sent.
    #[inline(never)]
    pub fn new(
        servers: &Servers<'_>,
        loaded: &Loaded,
        key: Option<KeyHandle>,
        ends: Ends,
        doors: Vec<Door>,
        count_missed: Box<dyn Fn() + Send + Sync>,
    ) -> Sight {
        Sight {
            hostname: hostname(&loaded.config, loaded),
            key,
            ways: ends.ways,
            kept: ends.kept,
            doors,
            ledger: Arc::clone(servers.ledger),
            further: ends.books,
            count_missed,
            budget: servers.budget.clone(),
            memory_max: servers.config.max_memory.0,
            clock: servers.clock,
        }
    }

    /// One look.
    pub fn look(&self) -> Status<'_> {
        let now = self.clock.now();
        (self.count_missed)();
        let further = self.further.iter().map(|(name, ledger)| books(name, ledger));
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            time: Time { utc: Utc::of(now.unix).to_string(), offset_ms: self.clock.offset_ms(), uptime: now.uptime },
            hostname: &self.hostname.0,
            hostname_from: &self.hostname.1,
            key: self.key.as_ref().map_or(Key::NotNeeded, |handle| key(&handle.state())),
            endpoints: self.ways.iter().map(|way| endpoint(way, now.uptime)).collect(),
            books: std::iter::once(books("", &self.ledger)).chain(further).collect(),
            spools: self.kept.iter().map(spool).collect(),
            memory: Memory {
                resident: host::resident_bytes(Path::new("/")),
                max: self.memory_max,
                requests: self.budget.taken(),
                requests_max: self.budget.limit(),
            },
            listeners: self.doors.iter().map(listener).collect(),
            panics: worker::panics(),
            lines: logger::remembered().into_iter().map(line).collect(),
        }
    }
}

/// The ports and sockets that are wanted. What is refused at the socket for traces is counted with what is at the port.
#[inline(never)]
pub fn doors(
    config: &Config,
    communication: Option<&tiny::Server>,
    traces: Option<&TraceAgent>,
    dogstatsd: &Dogstatsd,
) -> Vec<Door> {
    let address = communication.and_then(tiny::Server::local_addr).map(|address| address.to_string());
    let mut doors = vec![Door { name: "communication", address, service: communication.map(tiny::Server::service) }];
    if config.apm_enabled {
        let address = traces.and_then(TraceAgent::local_addr).map(|address| address.to_string());
        doors.push(Door { name: "traces", address, service: traces.map(TraceAgent::service) });
        if plan::receiver_socket(config, Path::is_dir).is_some() {
            let address = traces.and_then(TraceAgent::path).map(|path| path.display().to_string());
            doors.push(Door { name: "traces socket", address, service: None });
        }
    }
    doors.extend(dogstatsd.doors(config).into_iter().map(|(name, address)| Door { name, address, service: None }));
    doors
}

/// The name that data have, and who gave it.
fn hostname(config: &Config, loaded: &Loaded) -> (String, String) {
    let origin = loaded.effective.iter().find(|setting| setting.path == "hostname").map(|setting| &setting.origin);
    match (&config.hostname, origin) {
        (Some(name), Some(origin)) if *origin != Origin::Default => (name.clone(), origin.to_string()),
        _ => host::name(Path::new("/")).map_or(Default::default(), |(name, file)| (name, format!("/{file}"))),
    }
}

fn key(state: &KeyState) -> Key {
    match state {
        KeyState::Pending => Key::Pending,
        KeyState::Ready(key) => Key::InUse(key.ending().to_owned()),
        KeyState::Refused(key) => Key::Refused(key.ending().to_owned()),
        KeyState::Absent => Key::Absent,
    }
}

fn endpoint(way: &Way, now: Duration) -> Endpoint<'_> {
    let (seen, level) = (way.outlook.seen(), way.queue.level());
    Endpoint {
        name: way.name,
        address: &way.address,
        breaker: match seen.state {
            BreakerState::Closed => Breaker::Closed,
            BreakerState::Open { until, .. } => Breaker::Open(until.saturating_sub(now)),
            BreakerState::HalfOpen => Breaker::HalfOpen,
        },
        failing_for: seen.failing_since.map(|since| now.saturating_sub(since)),
        delivered_ago: seen.delivered_at.map(|at| now.saturating_sub(at)),
        last_error: seen.last_error.map(|(at, error)| (now.saturating_sub(at), scrub(&error, &[]))),
        bodies: level.bodies,
        bytes: level.bytes,
        bytes_max: level.bytes_max,
    }
}

fn books<'a>(of: &'a str, ledger: &Ledger) -> Books<'a> {
    let snapshot = ledger.snapshot();
    let row = |row: &RowSnapshot| Row {
        signal: row.signal.name(),
        accepted: row.accepted,
        restored: row.restored,
        sent: row.sent,
        memory: row.memory,
        spool: row.spool,
        missed: row.missed,
        dropped: row.dropped.iter().filter(|(_, count)| 0 < *count).map(|(reason, count)| (reason.name(), *count)).collect(),
    };
    Books {
        of,
        rows: snapshot.rows.iter().filter(|row| row.is_used()).map(row).collect(),
        balanced: snapshot.is_balanced(),
        lost: snapshot.lost(),
    }
}

fn spool(kept: &Kept) -> Spool<'_> {
    Spool {
        folder: &kept.folder,
        bytes: kept.bytes.load(Relaxed),
        bytes_max: kept.bytes_max,
        bad_bytes: kept.bad_bytes.load(Relaxed),
        in_trouble: !kept.queue.level().is_kept,
    }
}

fn listener(door: &Door) -> Listener<'_> {
    let counts = door.service.iter().flat_map(|service| service.refusals().all());
    let refused = counts.filter(|(_, count)| 0 < *count).map(|(refusal, count)| (refusal.name(), count)).collect();
    Listener { name: door.name, address: door.address.as_deref(), refused }
}

fn line(line: Remembered) -> Line {
    Line { utc: Utc::of(line.unix).to_string(), level: line.level.as_str(), text: scrub(&line.text, &[]) }
}
