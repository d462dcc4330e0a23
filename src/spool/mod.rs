//! Encoded bodies that wait to leave, and what survives a restart.
//!
//! A [`Queue`] stands between a pipeline and the thread that posts. It holds bodies in memory, bounded by bytes that all queues
//! share. It is behind a mutex and not a channel because the pipeline must be able to drop the oldest body while the poster is busy
//! with another, and because a flush asks what is still unsettled.

pub mod ages;
pub mod disk;
pub mod list;
pub mod record;
pub mod segment;
pub mod state;

use crate::sys::clock::Clock;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Reason;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

/// Which intake a body is for, and so which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `AgentPayload` protobuf.
    Traces,
    /// JSON array of log entries.
    Logs,
    /// `StatsPayload` msgpack.
    Stats,
}

/// What is to be known of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRow {
    /// Which.
    pub kind: Kind,
    /// Its code on disk, which never changes.
    pub code: u8,
    /// Its name in listings.
    pub name: &'static str,
    /// Where an intake takes it.
    pub path: &'static str,
    /// What is worth less goes first when the spool is full: what comes in masses before what people read.
    pub value: u8,
}

const fn row(kind: Kind, code: u8, name: &'static str, path: &'static str, value: u8) -> KindRow {
    KindRow { kind, code, name, path, value }
}

/// All kinds. A new kind is a new row with a code of its own; 128 and more are for requests as clients sent them.
pub const KINDS: [KindRow; 3] = [
    row(Kind::Traces, 1, "traces", "/api/v0.2/traces", 2),
    row(Kind::Logs, 2, "logs", "/api/v2/logs", 3),
    row(Kind::Stats, 3, "stats", "/api/v0.2/stats", 4),
];

impl Kind {
    fn row(self) -> &'static KindRow {
        KINDS.iter().find(|row| row.kind == self).unwrap_or(&KINDS[0]) // every kind has a row, as a test sees
    }

    /// Where an intake takes it.
    pub fn path(self) -> &'static str {
        self.row().path
    }

    /// Its code on disk.
    pub fn code(self) -> u8 {
        self.row().code
    }
}

/// The row of a code.
pub fn kind_of(code: u8) -> Option<&'static KindRow> {
    KINDS.iter().find(|row| row.code == code)
}

/// One encoded body, ready to be posted.
#[derive(Debug)]
pub struct Body {
    /// Where it goes.
    pub kind: Kind,
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// Headers that belong to the body: type, encoding, languages.
    pub headers: Vec<(&'static str, String)>,
    /// The records that it settles.
    pub claim: Claim,
    /// How often it was tried.
    pub attempts: u32,
    sequence: u64,
}

impl Body {
    /// A body that has not been tried.
    pub fn new(kind: Kind, bytes: Vec<u8>, headers: Vec<(&'static str, String)>, claim: Claim) -> Body {
        Body { kind, bytes, headers, claim, attempts: 0, sequence: 0 }
    }
}

/// Tries in a row before a body lets the others go first.
const TRIES_FIRST: u32 = 4;

/// What a full queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest body goes, counted.
    DropOldest,
    /// The pipeline waits, and through it whoever reads events from stdin or a recording.
    Wait,
}

/// The memory that all queues share.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    taken: AtomicUsize,
}

impl Room {
    /// Room for `limit` bytes.
    pub fn new(limit: usize) -> Arc<Room> {
        Arc::new(Room { limit, taken: AtomicUsize::new(0) })
    }
}

/// Bodies in the order in which they came.
#[derive(Debug)]
pub struct Queue {
    room: Arc<Room>,
    when_full: WhenFull,
    state: Mutex<State>,
    changed: Condvar,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Body>,
    /// Sequence number of the body that is being posted.
    in_flight: Option<u64>,
    next_sequence: u64,
    /// The poster makes a pause, so nothing will be settled soon.
    paused: bool,
    /// Someone waits for delivery until then; no request should take longer.
    flush_by: Option<Instant>,
    /// Nobody waits for room any longer than that.
    patience: Option<Instant>,
    /// No more bodies will come, and posting ends then.
    closed_by: Option<Instant>,
}

/// What the poster gets.
#[derive(Debug)]
pub enum Taken {
    /// Post this.
    Body(Body),
    /// Closed and empty, or closed and out of time.
    Closed,
}

/// Who wants a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// We do, after a failure.
    Ours,
    /// The endpoint does.
    Theirs,
}

/// When a flush is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushUntil {
    /// Everything was delivered or given up.
    Settled,
    /// The same, or the poster pauses after a failure: waiting longer would gain nothing soon.
    SettledOrPaused,
}

impl Queue {
    /// An empty queue.
    pub fn new(room: Arc<Room>, when_full: WhenFull, clock: Clock) -> Arc<Queue> {
        Arc::new(Queue { room, when_full, state: Mutex::default(), changed: Condvar::new(), clock })
    }

    /// Puts `body` at the end. When there is no room the oldest go or the caller waits; a body larger than all the room is dropped.
    pub fn push(&self, mut body: Body) {
        let bytes = body.bytes.len();
        if self.room.limit < bytes {
            return body.claim.drop_all(Reason::TooLarge);
        }
        let mut state = self.lock();
        while self.room.limit < self.room.taken.load(Relaxed) + bytes {
            let patient = state.patience.is_none_or(|until| !self.clock.until(until).is_zero());
            let waits = self.when_full == WhenFull::Wait && state.closed_by.is_none() && patient;
            if waits {
                // Other queues share the room, so look again now and then even if nothing changed here.
                state = self.wait_for(state, Duration::from_millis(100));
            } else if let Some(oldest) = state.waiting.pop_front() {
                self.room.taken.fetch_sub(oldest.bytes.len(), Relaxed);
                oldest.claim.drop_all(Reason::SpoolFull);
            } else {
                drop(state);
                return body.claim.drop_all(Reason::SpoolFull);
            }
        }
        self.room.taken.fetch_add(bytes, Relaxed);
        body.sequence = state.next_sequence;
        state.next_sequence += 1;
        state.waiting.push_back(body);
        drop(state);
        self.changed.notify_all();
    }

    /// The oldest body, as soon as there is one.
    pub fn take(&self) -> Taken {
        let mut state = self.lock();
        loop {
            if state.closed_by.is_some_and(|by| self.clock.until(by).is_zero()) {
                return Taken::Closed;
            }
            if let Some(body) = state.waiting.pop_front() {
                state.in_flight = Some(body.sequence);
                return Taken::Body(body);
            }
            if state.closed_by.is_some() {
                return Taken::Closed;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The body that was taken has been dealt with; its claim is the poster's to settle.
    pub fn settled(&self, bytes: usize) {
        self.room.taken.fetch_sub(bytes, Relaxed);
        self.lock().in_flight = None;
        self.changed.notify_all();
    }

    /// The body that was taken is to be tried again, before all others; one that has failed [`TRIES_FIRST`] times comes behind them, so
    /// that a body which the intake cannot stomach does not hold up the rest.
    pub fn put_back(&self, body: Body) {
        let mut state = self.lock();
        state.in_flight = None;
        if body.attempts.is_multiple_of(TRIES_FIRST) {
            state.waiting.push_back(body);
        } else {
            state.waiting.push_front(body);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for `wait` without posting. When the queue closes meanwhile, a pause of our own choice ends, because one more try is due;
    /// one that the endpoint asked for goes on until the end.
    pub fn pause(&self, wait: Duration, whose: Pause) {
        let until = self.clock.instant_in(wait);
        let mut state = self.lock();
        let was_closed = state.closed_by.is_some();
        state.paused = true;
        self.changed.notify_all();
        loop {
            let end = state.closed_by.map_or(until, |by| by.min(until));
            let left = self.clock.until(end);
            let closed_now = !was_closed && state.closed_by.is_some();
            if left.is_zero() || (closed_now && whose == Pause::Ours) {
                break;
            }
            state = self.wait_for(state, left);
        }
        state.paused = false;
    }

    /// How long a request may take that starts now.
    pub fn request_time(&self, longest: Duration) -> Duration {
        let state = self.lock();
        let ends = [state.flush_by, state.closed_by];
        let left = ends.iter().flatten().map(|by| self.clock.until(*by));
        // A flush that is over does not forbid requests; its waiter is gone.
        left.filter(|left| !left.is_zero()).fold(longest, Duration::min)
    }

    /// Waits until everything that is in the queue now has been dealt with, until `by` at most; whether it was.
    pub fn flush(&self, until: FlushUntil, by: Instant) -> bool {
        let mut state = self.lock();
        let target = state.next_sequence;
        state.flush_by = Some(state.flush_by.map_or(by, |other| other.max(by)));
        let settled = loop {
            let waiting = state.waiting.iter().map(|body| body.sequence);
            let oldest = waiting.chain(state.in_flight).min();
            let done = oldest.is_none_or(|oldest| target <= oldest);
            let left = self.clock.until(by);
            if done || left.is_zero() || (until == FlushUntil::SettledOrPaused && state.paused) {
                break done;
            }
            state = self.wait_for(state, left);
        };
        state.flush_by = None;
        settled
    }

    /// From `until` on nobody waits for room: the end is near, and the newest bodies matter most.
    pub fn wait_no_longer_than(&self, until: Instant) {
        self.lock().patience = Some(until);
        self.changed.notify_all();
    }

    /// No more bodies will come; what is there may be posted until `by`.
    pub fn close(&self, by: Instant) {
        self.lock().closed_by = Some(by);
        self.changed.notify_all();
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed_by.is_some()
    }

    /// Drops what is left, counted as `reason`.
    pub fn drop_rest(&self, reason: Reason) {
        for body in std::mem::take(&mut self.lock().waiting) {
            self.room.taken.fetch_sub(body.bytes.len(), Relaxed);
            body.claim.drop_all(reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&self, state: MutexGuard<'a, State>, wait: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ledger::Ledger;
    use crate::sys::ledger::Signal;

    fn queue(limit: usize, when_full: WhenFull) -> (Arc<Ledger>, Arc<Queue>, Arc<Room>) {
        let room = Room::new(limit);
        (Ledger::new(), Queue::new(Arc::clone(&room), when_full, Clock::new()), room)
    }

    fn body(ledger: &Arc<Ledger>, bytes: usize) -> Body {
        Body::new(Kind::Logs, vec![0; bytes], Vec::new(), ledger.accept(Signal::Logs, 1))
    }

    fn far() -> Instant {
        Clock::new().instant_in(Duration::from_secs(3600))
    }

    fn soon() -> Instant {
        Clock::new().instant_in(Duration::ZERO)
    }

    fn take(queue: &Queue) -> Option<Body> {
        match queue.take() {
            Taken::Body(body) => Some(body),
            Taken::Closed => None,
        }
    }

    #[test]
    fn a_full_queue_drops_its_oldest_and_counts_it() {
        let (ledger, queue, room) = queue(10, WhenFull::DropOldest);
        for bytes in [4, 5, 6, 11] {
            queue.push(body(&ledger, bytes));
        }
        assert!(ledger.snapshot().to_string().contains("dropped=3 spool_full=2 too_large=1"));
        assert_eq!(room.taken.load(Relaxed), 6);
        queue.drop_rest(Reason::Shutdown);
        assert!(ledger.snapshot().is_quiet() && ledger.snapshot().is_balanced());
    }

    #[test]
    fn a_waiting_pusher_goes_on_when_there_is_room_or_the_queue_closes() {
        let (ledger, queue, _) = queue(10, WhenFull::Wait);
        queue.push(body(&ledger, 10));
        std::thread::scope(|scope| {
            let pusher = scope.spawn(|| queue.push(body(&ledger, 10)));
            let first = take(&queue).unwrap();
            queue.settled(first.bytes.len());
            first.claim.sent();
            pusher.join().unwrap();
            let pusher = scope.spawn(|| queue.push(body(&ledger, 10)));
            queue.close(far());
            pusher.join().unwrap();
        });
        assert!(ledger.snapshot().to_string().contains("sent=1 memory=1 spool=0 dropped=1 spool_full=1"));
        queue.drop_rest(Reason::Shutdown);
    }

    #[test]
    fn a_body_put_back_comes_first_again_but_not_for_ever() {
        let (ledger, queue, _) = queue(10, WhenFull::DropOldest);
        queue.push(body(&ledger, 1));
        queue.push(body(&ledger, 2));
        for attempts in 1..=TRIES_FIRST {
            let mut first = take(&queue).unwrap();
            assert_eq!(first.bytes.len(), 1);
            first.attempts = attempts;
            queue.put_back(first);
        }
        assert_eq!(take(&queue).unwrap().bytes.len(), 2, "after some tries it lets the others go first");
    }

    #[test]
    fn a_flush_waits_for_what_was_there_and_not_for_what_comes_later() {
        let (ledger, queue, _) = queue(10, WhenFull::DropOldest);
        assert!(queue.flush(FlushUntil::Settled, far()));
        queue.push(body(&ledger, 1));
        assert!(!queue.flush(FlushUntil::Settled, soon()));
        std::thread::scope(|scope| {
            let flush = scope.spawn(|| queue.flush(FlushUntil::Settled, far()));
            let first = take(&queue).unwrap();
            while queue.lock().flush_by.is_none() {
                std::thread::yield_now();
            }
            queue.push(body(&ledger, 2));
            queue.settled(first.bytes.len());
            first.claim.sent();
            assert!(flush.join().unwrap());
        });
        queue.drop_rest(Reason::Shutdown);
    }

    #[test]
    fn a_pause_ends_a_flush_that_does_not_insist_and_a_close_ends_a_pause() {
        let (ledger, queue, _) = queue(10, WhenFull::DropOldest);
        queue.push(body(&ledger, 1));
        std::thread::scope(|scope| {
            let pause = scope.spawn(|| queue.pause(Duration::from_secs(3600), Pause::Ours));
            assert!(!queue.flush(FlushUntil::SettledOrPaused, far()));
            queue.close(far());
            pause.join().unwrap();
        });
        assert!(take(&queue).is_some());
        assert!(take(&queue).is_none(), "closed and empty");
    }

    #[test]
    fn requests_end_with_the_flush_or_the_close_they_belong_to() {
        let (_, queue, _) = queue(10, WhenFull::DropOldest);
        let hour = Duration::from_secs(3600);
        assert_eq!(queue.request_time(hour), hour);
        queue.close(Clock::new().instant_in(Duration::from_secs(60)));
        assert!(queue.request_time(hour) <= Duration::from_secs(60));
        queue.close(soon());
        assert!(matches!(queue.take(), Taken::Closed));
    }
}
