//! The last stations: queues, the threads that post what they hold, and the one that keeps on disk what cannot leave.

use crate::config::BaseUrl;
use crate::config::Config;
use crate::config::OutTo;
use crate::config::RunArgs;
use crate::deliver::Care;
use crate::deliver::Endpoint;
use crate::deliver::Intake;
use crate::deliver::LocalSink;
use crate::deliver::Poster;
use crate::deliver::Target;
use crate::errors::StartError;
use crate::model::api_key::KeyHandle;
use crate::model::api_key::KeyState;
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
use crate::startup::further;
use crate::startup::further::Books;
use crate::startup::further::Plan;
use crate::startup::memory::Memory;
use crate::startup::plan;
use crate::startup::plan::Place;
use crate::startup::restamping::restamp;
use crate::startup::spooling;
use crate::startup::status::Ends;
use crate::startup::status::Kept;
use crate::startup::status::Way;
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
    further: Vec<Further>,
    /// Folder and limit of the spool.
    spool: Option<(PathBuf, u64)>,
}

/// A further endpoint at work.
#[derive(Debug)]
struct Further {
    plan: Plan,
    poster: Poster,
    ledger: Arc<Ledger>,
    keeper: Option<Keeper>,
}

impl Deliver {
    /// Starts a queue and a poster for each endpoint.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "all that the way out is made from")]
    pub fn start(
        args: &RunArgs,
        config: &Config,
        memory: Memory,
        place: Place,
        key: &KeyHandle,
        ways: &Ways,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> Result<Deliver, StartError> {
        // Local output takes the place of all of them.
        let plans = if args.out.is_some() { Vec::new() } else { further::plans(config) };
        let ages = spooling::ages(config, args);
        let room = Room::new(memory.spool, ages);
        let when_full = if args.events.is_some() { WhenFull::Wait } else { WhenFull::DropOldest };
        let mut random = Random::from_system();
        let mut poster = |name: &'static str, base: String| {
            let target = match &args.out {
                Some(out) => Target::Local(local_sink(out)?),
                None => Target::Intake(intake(base, config, place, key, ways)),
            };
            let queue = Queue::new(Arc::clone(&room), when_full, clock);
            let (label, care, backoff) = (name.to_owned(), Care::Main, plan::backoff(config));
            let endpoint = Endpoint { name, label, care, target, backoff, restamp };
            Poster::start(endpoint, queue, clock, Random::new(random.bits()), exits).map_err(StartError::System)
        };
        let site = config.site.host();
        let base = |setting: &Option<BaseUrl>, service: &str| plan::intake(setting.as_ref(), &format!("{service}.{site}"));
        let mut deliver = Deliver {
            traces: poster("post-traces", base(&config.apm_dd_url, "trace.agent"))?,
            stats: poster("post-stats", base(&config.apm_dd_url, "trace.agent"))?,
            logs: poster("post-logs", base(&config.logs_dd_url, "http-intake.logs"))?,
            metrics: poster("post-metrics", plan::metrics_intake(&base(&config.dd_url, "api")))?,
            proxied: poster("post-proxied", String::new())?,
            keeper: None,
            further: Vec::new(),
            spool: None,
        };
        for plan in plans {
            let key = KeyHandle::new(KeyState::Ready(plan.endpoint.api_key.clone()));
            let endpoint = Endpoint {
                name: "post-further",
                label: plan.name(),
                care: if plan.endpoint.is_reliable { Care::Further } else { Care::OneTry },
                target: Target::Intake(intake(plan.base.clone(), config, place, &key, ways)),
                backoff: plan::backoff(config),
                restamp,
            };
            let queue = Queue::new(Room::new(memory.spool, ages), WhenFull::DropAtOnce, clock);
            let poster =
                Poster::start(endpoint, queue, clock, Random::new(random.bits()), exits).map_err(StartError::System)?;
            deliver.further.push(Further { plan, poster, ledger: Ledger::new(), keeper: None });
        }
        deliver.copy_to_further();
        Ok(deliver)
    }

    /// Each queue of the main endpoints puts copies into those of the further ones that get the same.
    fn copy_to_further(&self) {
        let firsts = [Kind::Traces, Kind::Stats, Kind::Logs, Kind::Series];
        for kind in firsts.into_iter().filter(|_| !self.further.is_empty()) {
            let same = self.further.iter().filter(|further| further.plan.share.kinds.contains(&kind));
            let copies = same.map(|further| (Arc::clone(further.poster.queue()), Arc::clone(&further.ledger)));
            self.queue(kind).copy_to(copies.collect());
        }
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
        self.spool = Some((folder.clone(), limits.bytes_max));
        let kept = self.further.iter_mut().filter(|further| further.plan.endpoint.is_reliable);
        for Further { plan, poster, ledger, keeper } in kept {
            let queues: Vec<_> = plan.share.kinds.iter().map(|kind| (*kind, Arc::clone(poster.queue()))).collect();
            let folder = folder.join(&plan.folder);
            let settings = keeper::Settings { folder, limits: limits.clone(), ended_uncleanly: false };
            *keeper = Some(Keeper::start(settings, &queues, ledger, clock, exits).map_err(StartError::System)?);
        }
        let settings = keeper::Settings { folder, limits, ended_uncleanly };
        self.keeper = Some(Keeper::start(settings, &queues, ledger, clock, exits).map_err(StartError::System)?);
        Ok(())
    }

    /// Where it all leads, to look at.
    #[inline(never)]
    pub fn ends(&self) -> Ends {
        let mut ends = Ends { ways: Vec::new(), kept: Vec::new(), books: self.books() };
        let further = self.further.iter().map(|further| (further.plan.share.signal, &further.poster));
        for (name, poster) in self.main().into_iter().chain(further) {
            let (address, queue) = (poster.address().to_owned(), Arc::clone(poster.queue()));
            ends.ways.push(Way { name, address, queue, outlook: poster.outlook() });
        }
        let further = self.further.iter().map(|further| (&further.keeper, Some(&further.plan.folder), &further.poster));
        for (keeper, folder, poster) in std::iter::once((&self.keeper, None, &self.traces)).chain(further) {
            if let (Some(keeper), Some((spool, bytes_max))) = (keeper, &self.spool) {
                let folder = folder.map_or_else(|| spool.clone(), |folder| spool.join(folder)).display().to_string();
                let queue = Arc::clone(poster.queue());
                ends.kept.push(Kept {
                    folder,
                    bytes: keeper.bytes(),
                    bytes_max: *bytes_max,
                    bad_bytes: keeper.bad_bytes(),
                    queue,
                });
            }
        }
        ends
    }

    /// The posters of the main endpoints, and what each takes.
    fn main(&self) -> [(&'static str, &Poster); 5] {
        [
            ("traces", &self.traces),
            ("stats", &self.stats),
            ("logs", &self.logs),
            ("metrics", &self.metrics),
            ("proxied", &self.proxied),
        ]
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

    /// All queues, those of further endpoints last.
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        let main = self.main().map(|(_, poster)| poster);
        let all = main.into_iter().chain(self.further.iter().map(|further| &further.poster));
        all.map(|poster| Arc::clone(poster.queue())).collect()
    }

    /// Those whose delivery someone may wait for.
    pub fn awaited_queues(&self) -> Vec<Arc<Queue>> {
        let mut queues = self.queues();
        let unreliable = |queue: &Arc<Queue>| {
            let mut further = self.further.iter().filter(|further| !further.plan.endpoint.is_reliable);
            further.any(|further| Arc::ptr_eq(further.poster.queue(), queue))
        };
        queues.retain(|queue| !unreliable(queue));
        queues
    }

    /// The books of further endpoints.
    pub fn books(&self) -> Books {
        self.further.iter().map(|further| (further.plan.name(), Arc::clone(&further.ledger))).collect()
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
        let reliable = self.awaited_queues();
        let posted_by = by.checked_sub(for_disk).unwrap_or(by);
        for queue in &queues {
            queue.close(posted_by);
        }
        let mut keepers: Vec<Keeper> = self.keeper.into_iter().collect();
        let mut posters = vec![self.logs, self.traces, self.stats, self.metrics, self.proxied];
        for Further { poster, keeper, .. } in self.further {
            posters.push(poster);
            keepers.extend(keeper);
        }
        for poster in posters {
            poster.finish(clock, posted_by);
        }
        for keeper in keepers {
            keeper.finish(by.max(clock.instant_in(KEEPER_TIME_MIN)));
        }
        for queue in queues {
            let is_kept = reliable.iter().any(|kept| Arc::ptr_eq(kept, &queue));
            queue.drop_rest(if is_kept { Reason::Shutdown } else { Reason::Unreliable });
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
