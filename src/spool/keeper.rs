//! The thread between the queues and the disk. It moves bodies that cannot leave now to [`Disk`], brings them back when their poster has
//! time, and settles on disk what was delivered. Nothing else writes there, so neither a pipeline nor a poster ever waits for flash.
//!
//! A body moves when its endpoint fails, when memory is nearly full, and at the shutdown; while deliveries succeed nothing is written.
//! Back on the way out the newest comes first, kind by kind in turn, so that no signal starves. When the disk does not work, that is
//! said once, bodies stay in memory as if there were no spool, and the disk is tried again after a growing pause.

use crate::spool::Body;
use crate::spool::KINDS;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::spool::WhenFull;
use crate::spool::disk::Disk;
use crate::spool::disk::Evict;
use crate::spool::disk::Found;
use crate::spool::disk::KeepError;
use crate::spool::disk::Limits;
use crate::spool::folder;
use crate::spool::kind_of;
use crate::spool::record;
use crate::spool::record::Head;
use crate::spool::segment::Lane;
use crate::sys::clock::Clock;
use crate::sys::clock::Now;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::RecvTimeoutError;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Signal;
use crate::sys::wall_clock::Shift;
use crate::sys::worker::Worker;
use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

/// Pause before a disk that does not work is tried again, at first and at most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How often what waits on disk is looked through for what became too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// What wakes the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Some queue has something to do.
    Work,
    /// The posters have ended: move everything to disk and end.
    Stop,
}

/// What the keeper is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The spool's folder.
    pub folder: PathBuf,
    /// What may be in it.
    pub limits: Limits,
    /// The last run was killed or lost power.
    pub ended_uncleanly: bool,
}

/// The running thread.
#[derive(Debug)]
pub struct Keeper {
    worker: Worker<()>,
    bell: Sender<Ring>,
    bytes: Arc<AtomicU64>,
    bad_bytes: Arc<AtomicU64>,
}

impl Keeper {
    /// Starts it for these kinds and their queues; kinds may share a queue.
    pub fn start(
        settings: Settings,
        queues: &[(Kind, Arc<Queue>)],
        ledger: &Arc<Ledger>,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> io::Result<Keeper> {
        let (bell, rings) = channel(2);
        let mut keeping = Keeping::new(settings, queues, ledger, clock);
        keeping.lines.iter().for_each(|line| line.queue.attach(bell.clone()));
        let (bytes, bad_bytes) = (Arc::clone(&keeping.bytes), Arc::clone(&keeping.bad_bytes));
        let worker = Worker::spawn("spool", exits, move || keeping.run(&rings))?;
        Ok(Keeper { worker, bell, bytes, bad_bytes })
    }

    /// Bytes of all the spool's files, counted whenever the thread has worked.
    pub fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    /// Bytes that could not be read when the folder was opened.
    pub fn bad_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bad_bytes)
    }

    /// Moves what is left in the queues to disk, until `by` at most. The posters must have ended.
    pub fn finish(self, by: Instant) {
        let told = self.bell.send_deadline(Ring::Stop, by).is_ok();
        if let (true, Err(err)) = (told, self.worker.finish(by)) {
            log::warn!("{err}");
        }
    }
}

/// A queue and what of it can be on disk.
#[derive(Debug)]
struct Line {
    queue: Arc<Queue>,
    kinds: Vec<u8>,
    /// Which of the kinds has its turn.
    turn: usize,
}

/// The thread's own state.
#[derive(Debug)]
struct Keeping {
    settings: Settings,
    lines: Vec<Line>,
    ledger: Arc<Ledger>,
    clock: Clock,
    disk: Option<Disk>,
    is_first_turn: bool,
    /// The disk does not work; it is tried again then, after such a pause.
    trouble: Option<(Duration, Duration)>,
    /// It was told that there is no room.
    is_full: bool,
    expire_at: Duration,
    /// For others to read.
    bytes: Arc<AtomicU64>,
    bad_bytes: Arc<AtomicU64>,
}

impl Keeping {
    fn new(settings: Settings, queues: &[(Kind, Arc<Queue>)], ledger: &Arc<Ledger>, clock: Clock) -> Keeping {
        let mut lines: Vec<Line> = Vec::new();
        for (kind, queue) in queues {
            match lines.iter_mut().find(|line| Arc::ptr_eq(&line.queue, queue)) {
                Some(line) => line.kinds.push(kind.code()),
                None => lines.push(Line { queue: Arc::clone(queue), kinds: vec![kind.code()], turn: 0 }),
            }
        }
        let ledger = Arc::clone(ledger);
        Keeping {
            settings,
            lines,
            ledger,
            clock,
            disk: None,
            is_first_turn: true,
            trouble: None,
            is_full: false,
            expire_at: Duration::ZERO,
            bytes: Arc::default(),
            bad_bytes: Arc::default(),
        }
    }

    fn run(&mut self, rings: &Receiver<Ring>) {
        loop {
            let now = self.clock.now();
            let wait = self.turn(now);
            let ring = match wait {
                Some(wait) => rings.recv_deadline(self.clock.instant_at(now.uptime + wait)),
                None => rings.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match ring {
                Ok(Ring::Work) | Err(RecvTimeoutError::Timeout) => (),
                Ok(Ring::Stop) | Err(RecvTimeoutError::Disconnected) => return self.finish(self.clock.now()),
            }
        }
    }

    /// Does what there is to do; how long there will be nothing if nobody rings, `None` for ever.
    fn turn(&mut self, now: Now) -> Option<Duration> {
        self.work(now, false);
        let next_try = self.trouble.map(|(at, _)| at.saturating_sub(now.uptime)).filter(|_| self.has_to_spill(false));
        if self.lines.iter().any(|line| line.queue.wants_stored()) {
            return Some(RETRY_MIN); // there was no room in memory, or the record cannot be read now
        }
        next_try.or(self.disk.as_ref().filter(|disk| 0 < disk.bytes()).map(|_| EXPIRE_EVERY))
    }

    fn finish(&mut self, now: Now) {
        self.trouble = None; // one more try
        self.work(now, true);
        if let Some(disk) = &self.disk {
            disk.sync();
        }
    }

    fn work(&mut self, now: Now, all: bool) {
        let first = std::mem::take(&mut self.is_first_turn);
        let is_needed = self.has_to_spill(all) || (first && folder::has_segments(&self.settings.folder));
        if self.disk.is_none() && is_needed && self.may_try(now) {
            self.open(now);
        } else if first && self.settings.ended_uncleanly {
            log::info!("{ENDED_UNCLEANLY}; the spool is empty");
        }
        if let Some(disk) = &mut self.disk {
            disk.settle(self.lines.iter().flat_map(|line| line.queue.take_settled()).collect());
            // What is old, nobody can tell while the clock is in doubt.
            if self.expire_at <= now.uptime && self.clock.is_known() {
                self.expire_at = now.uptime + EXPIRE_EVERY;
                disk.expire(now, &self.clock.shifts());
            }
        }
        for index in 0..self.lines.len() {
            self.spill(index, now, all);
        }
        let is_known = self.clock.is_known(); // asked first, so that all shifts are there then
        let shifts = self.clock.shifts();
        for line in &mut self.lines {
            let mut stored = 0;
            if let Some(disk) = &mut self.disk {
                if !all && line.queue.wants_stored() {
                    restore(line, disk, &self.ledger, now, is_known.then_some(&shifts));
                }
                stored = disk.waiting(&line.kinds);
            }
            line.queue.set_stored(stored);
        }
        self.bytes.store(self.disk.as_ref().map_or(0, Disk::bytes), Relaxed);
    }

    fn has_to_spill(&self, all: bool) -> bool {
        self.lines.iter().any(|line| line.queue.has_to_spill(all))
    }

    fn may_try(&self, now: Now) -> bool {
        self.trouble.is_none_or(|(at, _)| at <= now.uptime)
    }

    fn open(&mut self, now: Now) {
        let Settings { folder, limits, ended_uncleanly } = &mut self.settings;
        match Disk::open(folder, limits.clone(), value, &self.ledger, now) {
            Ok((disk, found)) => {
                self.disk = Some(disk);
                self.bad_bytes.store(found.damaged.1 + found.cut.1, Relaxed);
                tell_found(&found, std::mem::take(ended_uncleanly), folder);
                self.works();
            }
            Err(err) => self.fails(now, &err),
        }
    }

    fn works(&mut self) {
        if self.trouble.take().is_some() {
            log::info!("spool: {} works again", self.settings.folder.display());
        }
        self.is_full = false;
        self.lines.iter().for_each(|line| line.queue.room.is_kept.store(true, Relaxed));
    }

    fn fails(&mut self, now: Now, err: &io::Error) {
        let pause = self.trouble.map_or(RETRY_MIN, |(_, pause)| (pause * 2).min(RETRY_MAX));
        if self.trouble.is_none() {
            let folder = self.settings.folder.display();
            log::warn!("spool: cannot write to {folder}: {err}; what cannot be delivered waits in memory only");
        }
        self.trouble = Some((now.uptime + pause, pause));
        self.lines.iter().for_each(|line| line.queue.room.is_kept.store(false, Relaxed));
    }

    /// Moves what a queue has to move. Under pressure of memory it stops when half of the memory is free again.
    fn spill(&mut self, index: usize, now: Now, all: bool) {
        let queue = Arc::clone(&self.lines[index].queue);
        if !queue.has_to_spill(all) || self.disk.is_none() || !self.may_try(now) {
            return;
        }
        let is_failing = queue.lock().failing;
        while all || is_failing || !queue.room.is_half_empty() {
            let Some(body) = queue.next_to_spill() else { break };
            let Some(disk) = &mut self.disk else { break };
            // Whoever reads events from a file or a pipe can wait; then nothing has to go.
            let evict = match queue.when_full {
                WhenFull::Wait if !all => Evict::Nothing,
                _ if all || queue.room.is_tight() => Evict::Oldest,
                _ => Evict::AtLimit,
            };
            let bytes = body.bytes.len();
            match keep(disk, &body, evict) {
                Ok(()) => {
                    body.claim.to_spool();
                    queue.spilled(bytes);
                    self.works();
                }
                Err(KeepError::Full) => {
                    queue.unspill(body);
                    queue.room.is_kept.store(false, Relaxed); // a full queue need not hope
                    if !std::mem::replace(&mut self.is_full, true) {
                        let folder = self.settings.folder.display();
                        log::warn!("spool: no room in {folder}, whose disk or limit is full; what comes waits in memory only");
                    }
                    break;
                }
                Err(KeepError::Io(err)) => {
                    queue.unspill(body);
                    self.fails(now, &err);
                    break;
                }
            }
        }
    }
}

/// What an unclean end means.
pub const ENDED_UNCLEANLY: &str = "the last run ended uncleanly; what it held in memory is lost and cannot be counted";

fn tell_found(found: &Found, ended_uncleanly: bool, folder: &std::path::Path) {
    let Found { bodies, records, damaged, cut, foreign } = found;
    if ended_uncleanly || *found != Found::default() {
        let start = if ended_uncleanly { format!("{ENDED_UNCLEANLY}; ") } else { String::new() };
        log::info!(
            "{start}the spool restored {records} records in {bodies} bodies; cut off: {} bytes of {} segments",
            cut.1,
            cut.0
        );
    }
    if 0 < damaged.0 {
        let folder = folder.display();
        log::warn!("spool: {} bytes of {} segments in {folder} are damaged and cannot be restored", damaged.1, damaged.0);
    }
    if 0 < *foreign {
        log::warn!(
            "spool: {foreign} files in {} are not the agent's or of another version and are left alone",
            folder.display()
        );
    }
}

/// What the records of a lane are worth. Only the main endpoint is known yet.
fn value(lane: Lane) -> Option<u8> {
    kind_of(lane.kind).filter(|_| lane.endpoint == 0).map(|row| row.value)
}

fn keep(disk: &mut Disk, body: &Body, evict: Evict) -> Result<(), KeepError> {
    if body.ticket.is_some_and(|ticket| disk.give_back(ticket, body.attempts)) {
        return Ok(());
    }
    disk.keep(&head_of(body), &body.bytes, evict).map(drop)
}

fn head_of(body: &Body) -> Head {
    Head {
        kind: body.kind.code(),
        endpoint: 0,
        signal: body.claim.signal() as u8,
        clock_trusted: record::is_trusted(body.created),
        created_ms: u64::try_from(body.created.unix_millis()).unwrap_or_default(),
        attempts: body.attempts,
        records: body.claim.records(),
        headers: body.headers.iter().map(|(name, value)| (name.clone().into_owned(), value.clone())).collect(),
        address: body.address.clone().unwrap_or_default(),
    }
}

/// Brings the newest body of the kind whose turn it is back to its queue. `shifts` are `None` while nobody knows what time it is.
fn restore(line: &mut Line, disk: &mut Disk, ledger: &Arc<Ledger>, now: Now, shifts: Option<&Vec<Shift>>) {
    for _ in 0..line.kinds.len() {
        let code = line.kinds[line.turn % line.kinds.len()];
        line.turn = (line.turn + 1) % line.kinds.len();
        while let Some((ticket, entry)) = disk.take_newest(code) {
            if shifts.is_some_and(|shifts| disk.give_up_if_old(ticket, &entry, now, shifts)) {
                continue;
            }
            if !line.queue.reserve(entry.bytes as usize) {
                disk.give_back(ticket, u32::from(entry.attempts));
                return;
            }
            let loaded = disk.load(ticket);
            if let Ok(Some((head, bytes))) = loaded {
                let unused = (entry.bytes as usize).saturating_sub(bytes.len());
                line.queue.room.free(unused);
                let signal = Signal::ALL[usize::from(head.signal).min(Signal::ALL.len() - 1)];
                let age = shifts.and_then(|shifts| disk.age(ticket, &entry, now, shifts)).unwrap_or_default();
                return line.queue.restore(Body {
                    kind: kind_of(code).map_or(KINDS[0].kind, |row| row.kind),
                    address: Some(head.address).filter(|address| !address.is_empty()),
                    bytes,
                    headers: head.headers.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect(),
                    claim: ledger.from_spool(signal, u64::from(entry.records)),
                    attempts: u32::from(entry.attempts),
                    sequence: 0,
                    created: Now { uptime: now.uptime.saturating_sub(age), unix: Duration::from_millis(head.created_ms) },
                    is_left: disk.is_left(ticket),
                    ticket: Some(ticket),
                });
            }
            line.queue.room.free(entry.bytes as usize);
            if let Err(err) = loaded {
                log::debug!("spool: cannot read a record now: {err}");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Fate;
    use crate::spool::Pause;
    use crate::spool::Room;
    use crate::spool::Taken;
    use crate::spool::ages::Ages;
    use crate::spool::disk::Fsync;
    use crate::sys::ledger::Reason;
    use std::fs;

    struct Rig {
        keeping: Keeping,
        queue: Arc<Queue>,
        ledger: Arc<Ledger>,
        folder: PathBuf,
        rings: Receiver<Ring>,
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mote-keeper-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn rig_in(folder: PathBuf, room: usize, when_full: WhenFull) -> Rig {
        let clock = Clock::new();
        let ledger = Ledger::new();
        let queue = Queue::new(Room::new(room, Ages::none()), when_full, clock);
        let limits = Limits { bytes_max: 1 << 20, disk_ratio: 1.0, entries_max: 1000, ages: Ages::none(), fsync: Fsync::Never };
        let settings = Settings { folder: folder.clone(), limits, ended_uncleanly: false };
        let queues = [Kind::Traces, Kind::Logs, Kind::Proxied, Kind::Lineage].map(|kind| (kind, Arc::clone(&queue)));
        let keeping = Keeping::new(settings, &queues, &ledger, clock);
        let (bell, rings) = channel(2);
        queue.attach(bell);
        Rig { keeping, queue, ledger, folder, rings }
    }

    fn rig(name: &str) -> Rig {
        rig_in(folder(name), 1 << 20, WhenFull::DropOldest)
    }

    impl Rig {
        fn push(&self, kind: Kind, body: &str) {
            let signal = if kind == Kind::Traces { Signal::Traces } else { Signal::Logs };
            let headers = vec![("Content-Type", "x/y".to_owned())];
            self.queue.push(Body::new(kind, body.as_bytes().to_vec(), headers, self.ledger.accept(signal, 1)));
        }

        fn turn(&mut self) {
            self.keeping.turn(self.keeping.clock.now());
        }

        /// What the poster gets when the keeper works as often as it is rung for; `None` when there is nothing.
        fn take(&mut self) -> Option<Body> {
            self.queue.close(self.keeping.clock.instant_in(Duration::from_secs(3600)));
            let queue = Arc::clone(&self.queue);
            std::thread::scope(|scope| {
                let taken = scope.spawn(move || queue.take(Duration::ZERO));
                while !taken.is_finished() {
                    if self.rings.try_recv().is_ok() {
                        self.turn();
                    }
                    std::thread::yield_now();
                }
                match taken.join().unwrap() {
                    Taken::Body(body) => Some(body),
                    Taken::Closed => None,
                }
            })
        }

        fn text(body: &Body) -> String {
            String::from_utf8(body.bytes.clone()).unwrap()
        }

        /// Delivers all there is.
        fn deliver(&mut self) -> Vec<String> {
            let mut delivered = Vec::new();
            while let Some(body) = self.take() {
                delivered.push(Rig::text(&body));
                assert_eq!(body.headers, [("Content-Type".into(), "x/y".to_owned())]);
                self.queue.settle(body, Fate::Sent);
            }
            self.turn();
            delivered
        }

        #[track_caller]
        fn check(&self, expected: &str) {
            let snapshot = self.ledger.snapshot();
            assert!(snapshot.is_balanced() && snapshot.to_string().contains(expected), "{snapshot} instead of {expected}");
        }

        fn taken(&self) -> usize {
            self.queue.room.taken.load(Relaxed)
        }
    }

    #[test]
    fn while_deliveries_succeed_nothing_is_written() {
        let mut rig = rig("online");
        rig.turn();
        rig.push(Kind::Logs, "l1");
        assert_eq!(rig.deliver(), ["l1"]);
        assert!(!rig.folder.exists());
    }

    #[test]
    fn what_fails_moves_to_disk_and_comes_back_newest_first_by_kind_in_turn() {
        let mut rig = rig("fails");
        for (kind, body) in [(Kind::Logs, "l1"), (Kind::Logs, "l2"), (Kind::Traces, "t1"), (Kind::Traces, "t2")] {
            rig.push(kind, body);
        }
        let mut first = rig.take().unwrap();
        first.attempts = 1;
        rig.queue.put_back(first);
        rig.queue.failing();
        rig.turn();
        rig.check("logs accepted=2 restored=0 sent=0 memory=0 spool=2");
        assert_eq!(rig.taken(), 0);
        assert_eq!(rig.deliver(), ["t2", "l2", "t1", "l1"]);
        rig.check("logs accepted=2 restored=0 sent=2 memory=0 spool=0");
        assert_eq!((rig.taken(), fs::read_dir(&rig.folder).unwrap().count()), (0, 1), "only the lock is left");
    }

    #[test]
    fn a_body_from_disk_that_fails_again_is_not_written_again() {
        let mut rig = rig("again");
        rig.push(Kind::Logs, "l1");
        rig.queue.failing();
        rig.turn();
        let written = fs::metadata(rig.folder.join("spool-00000001.seg")).unwrap().len();
        assert_eq!(rig.keeping.bytes.load(Relaxed), written);
        let mut body = rig.take().unwrap();
        rig.check("memory=1 spool=0");
        body.attempts += 1;
        rig.queue.put_back(body);
        rig.queue.failing();
        rig.turn();
        rig.check("memory=0 spool=1");
        assert_eq!(fs::metadata(rig.folder.join("spool-00000001.seg")).unwrap().len(), written);
        assert!(rig.take().is_some_and(|body| body.attempts == 1));
    }

    #[test]
    fn a_closed_queue_tries_once_more_while_failing_and_then_leaves_the_rest_on_disk() {
        let mut rig = rig("closed");
        for body in ["l1", "l2", "l3"] {
            rig.push(Kind::Logs, body);
        }
        rig.queue.failing();
        rig.turn();
        let probe = rig.take().unwrap();
        assert_eq!(Rig::text(&probe), "l3");
        rig.queue.put_back(probe);
        rig.queue.failing();
        rig.turn();
        rig.queue.lock().last_probe_is_due = false; // as `take` in this rig closes the queue again
        assert!(matches!(rig.queue.take(Duration::ZERO), Taken::Closed));
        rig.check("spool=3");
    }

    #[test]
    fn the_next_run_finds_what_the_last_one_left() {
        let mut first = rig("restart");
        first.push(Kind::Logs, "l1");
        first.push(Kind::Traces, "t1");
        first.keeping.finish(first.keeping.clock.now());
        first.check("logs accepted=1 restored=0 sent=0 memory=0 spool=1");
        let folder = first.folder.clone();
        drop(first);
        let mut second = rig_in(folder, 1 << 20, WhenFull::DropOldest);
        assert_eq!(second.deliver(), ["t1", "l1"]);
        second.check("traces accepted=0 restored=1 sent=1 memory=0 spool=0");
    }

    #[test]
    fn a_body_with_an_address_of_its_own_keeps_it() {
        let mut first = rig("address");
        for kind in [Kind::Proxied, Kind::Lineage] {
            let headers = vec![("X-Own".to_owned(), "kept".to_owned())];
            let claim = first.ledger.accept(Signal::Proxied, 1);
            first.queue.push(Body::passed_on(kind, "http://elsewhere/a?b=c".to_owned(), headers, b"x".to_vec(), claim));
        }
        first.push(Kind::Logs, "l1");
        first.keeping.finish(first.keeping.clock.now());
        let folder = first.folder.clone();
        drop(first);
        let mut second = rig_in(folder, 1 << 20, WhenFull::DropOldest);
        let mut found = Vec::new();
        while let Some(body) = second.take() {
            found.push((body.kind, body.address.clone(), body.headers[0].0.to_string()));
            second.queue.settle(body, Fate::Sent);
        }
        let own = || (Some("http://elsewhere/a?b=c".to_owned()), "X-Own".to_owned());
        let expected = [
            (Kind::Logs, None, "Content-Type".to_owned()),
            (Kind::Proxied, own().0, own().1),
            (Kind::Lineage, own().0, own().1),
        ];
        assert_eq!(found, expected);
        second.check("proxied accepted=0 restored=2 sent=2 memory=0 spool=0");
    }

    #[test]
    fn what_carries_an_application_key_is_never_written() {
        let mut rig = rig("secret");
        let headers = vec![("dd-application-key".to_owned(), "secret".to_owned())];
        let claim = rig.ledger.accept(Signal::Proxied, 1);
        rig.queue.push(Body::passed_on(Kind::Proxied, "http://elsewhere/".to_owned(), headers, b"x".to_vec(), claim));
        rig.queue.failing();
        assert_eq!(rig.keeping.turn(rig.keeping.clock.now()), None, "there is nothing to do");
        assert!(!rig.folder.exists());
        rig.push(Kind::Logs, "l1");
        rig.keeping.finish(rig.keeping.clock.now());
        rig.check("proxied accepted=1 restored=0 sent=0 memory=1 spool=0");
        rig.check("logs accepted=1 restored=0 sent=0 memory=0 spool=1");
        rig.queue.drop_rest(Reason::Shutdown);
    }

    #[test]
    fn fresh_bodies_go_first_and_old_ones_in_between() {
        let mut rig = rig("between");
        for body in ["o1", "o2"] {
            rig.push(Kind::Logs, body);
        }
        rig.queue.failing();
        rig.turn();
        rig.queue.lock().failing = false;
        for body in ["f1", "f2", "f3", "f4", "f5"] {
            rig.push(Kind::Logs, body);
        }
        rig.queue.set_stored(2);
        rig.queue.lock().wants_stored = true;
        rig.turn();
        assert_eq!(rig.deliver(), ["f1", "f2", "f3", "o2", "f4", "f5", "o1"]);
    }

    #[test]
    fn tight_memory_is_relieved_to_the_half() {
        let mut rig = rig_in(folder("tight"), 100, WhenFull::DropOldest);
        for _ in 0..7 {
            rig.push(Kind::Logs, "0123456789");
        }
        rig.turn();
        assert_eq!(rig.taken(), 70, "not yet");
        rig.push(Kind::Logs, "0123456789");
        rig.turn();
        assert_eq!(rig.taken(), 50);
        rig.check("memory=5 spool=3");
    }

    #[test]
    fn a_disk_that_does_not_work_leaves_everything_in_memory_until_it_does() {
        let path = folder("trouble");
        fs::write(&path, "a file").unwrap();
        let mut rig = rig_in(path.clone(), 1 << 20, WhenFull::DropOldest);
        rig.push(Kind::Logs, "l1");
        rig.queue.failing();
        let now = rig.keeping.clock.now();
        assert_eq!(rig.keeping.turn(now), Some(RETRY_MIN));
        rig.check("memory=1 spool=0");
        fs::remove_file(&path).unwrap();
        rig.keeping.turn(now);
        rig.check("memory=1 spool=0");
        rig.keeping.turn(Now { uptime: now.uptime + RETRY_MIN, ..now });
        rig.check("memory=0 spool=1");
        assert_eq!(rig.deliver(), ["l1"]);
    }

    #[test]
    fn who_can_wait_keeps_in_memory_what_the_disk_has_no_room_for() {
        let mut rig = rig_in(folder("wait"), 1 << 20, WhenFull::Wait);
        rig.keeping.settings.limits.bytes_max = 200;
        for body in ["l1", "l2"] {
            rig.push(Kind::Logs, body);
        }
        rig.queue.failing();
        rig.turn();
        rig.check("memory=1 spool=1");
        rig.queue.drop_rest(Reason::Shutdown);
    }

    #[test]
    fn a_pause_gives_back_what_was_already_fetched() {
        let mut rig = rig("pause");
        rig.push(Kind::Logs, "l1");
        rig.queue.failing();
        rig.turn();
        rig.queue.lock().wants_stored = true;
        rig.turn();
        rig.check("memory=1 spool=0");
        let until = rig.queue.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || until.pause(Duration::from_secs(3600), Pause::Ours));
            while !rig.queue.lock().paused {
                std::thread::yield_now();
            }
            rig.turn();
            rig.check("memory=0 spool=1");
            rig.queue.close(rig.keeping.clock.instant_in(Duration::from_secs(3600)));
        });
    }
}
