//! The last stations: queues, the threads that post what they hold, and the one that keeps on disk what cannot leave.

use crate::config::BaseUrl;
use crate::config::Config;
use crate::config::OutTo;
use crate::config::RunArgs;
use crate::deliver::Endpoint;
use crate::deliver::Intake;
use crate::deliver::LocalSink;
use crate::deliver::Poster;
use crate::deliver::Target;
use crate::errors::StartError;
use crate::model::api_key::KeyHandle;
use crate::out::Format;
use crate::out::Out;
use crate::out::proxied;
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
use crate::startup::spooling;
use crate::sys::clock::Clock;
use crate::sys::inbox::Sender;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::net::Client;
use crate::sys::net::Reuse;
use crate::sys::net::Ways;
use crate::sys::random::Random;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use std::time::Instant;

/// Queues and the threads that post what they hold, one for each endpoint.
#[derive(Debug)]
pub struct Deliver {
    traces: Poster,
    stats: Poster,
    logs: Poster,
    metrics: Poster,
    proxied: Poster,
    keeper: Option<Keeper>,
}

impl Deliver {
    /// Starts a queue and a poster for each endpoint.
    #[inline(never)]
    pub fn start(
        args: &RunArgs,
        config: &Config,
        place: Place,
        key: &KeyHandle,
        ways: &Ways,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> Result<Deliver, StartError> {
        let room = Room::new(Memory::of(config.max_memory.0).spool, spooling::ages(config, args));
        let when_full = if args.events.is_some() { WhenFull::Wait } else { WhenFull::DropOldest };
        let mut random = Random::from_system();
        let mut poster = |name, base: String| {
            let target = match &args.out {
                Some(out) => Target::Local(local_sink(out)?),
                None => Target::Intake(intake(base, config, place, key, ways)),
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
            metrics: poster("post-metrics", base(&config.dd_url, "api"))?,
            proxied: poster("post-proxied", String::new())?,
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

    /// Bytes of the spool on disk; `None` when there is none.
    pub fn spool_bytes(&self) -> Option<Arc<AtomicU64>> {
        self.keeper.as_ref().map(Keeper::bytes)
    }

    /// The queue of the endpoint that takes bodies of this kind.
    pub fn queue(&self, kind: Kind) -> Arc<Queue> {
        let poster = match kind {
            Kind::Traces => &self.traces,
            Kind::Stats => &self.stats,
            Kind::Logs => &self.logs,
            Kind::Series | Kind::Sketches | Kind::Event | Kind::Checks => &self.metrics,
            Kind::Proxied | Kind::Lineage => &self.proxied,
        };
        Arc::clone(poster.queue())
    }

    /// All queues.
    pub fn queues(&self) -> [Arc<Queue>; 5] {
        [&self.traces, &self.stats, &self.logs, &self.metrics, &self.proxied].map(|poster| Arc::clone(poster.queue()))
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
        for poster in [self.logs, self.traces, self.stats, self.metrics, self.proxied] {
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
fn intake(base: String, config: &Config, place: Place, key: &KeyHandle, ways: &Ways) -> Intake {
    let reuse = if place == Place::Lambda { Reuse::Never } else { Reuse::KeepAlive };
    Intake { base, client: Client::through(reuse, ways), key: key.clone(), timeout: config.forwarder_timeout }
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
            Kind::Proxied | Kind::Lineage => {
                let headers = body.headers.iter().map(|(name, value)| (name.as_ref(), value.as_str()));
                let record = proxied::record(body.address.as_deref().unwrap_or_default(), headers, &body.bytes);
                return out.write_record("proxied.ndjson", &record);
            }
            Kind::Series => Format::Series,
            Kind::Sketches => Format::Sketches,
            Kind::Event => Format::Event,
            Kind::Checks => Format::Checks,
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
