//! Bodies that wait in memory, bounded by bytes that all queues share.
//!
//! A queue is behind a mutex and not a channel because the pipeline must be able to drop the oldest body while the poster is busy with
//! another, and because a flush asks what is still unsettled. What it does for the keeper is in `for_keeper`.

mod for_keeper;

use crate::spool::Body;
use crate::spool::Fate;
use crate::spool::keeper::Ring;
use crate::spool::room::Room;
use crate::spool::room::Share;
use crate::spool::room::WhenFull;
use crate::spool::segment::Ticket;
use crate::sys::clock::Clock;
use crate::sys::inbox::Sender;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

/// Tries in a row before a body lets the others go first.
const TRIES_FIRST: u32 = 4;

/// How long a pipeline waits for the keeper to make room before the oldest body goes.
const KEEPER_PATIENCE: Duration = Duration::from_secs(1);

/// Fresh bodies that leave before one from disk has its turn.
const FRESH_PER_OLD: u32 = 3;

/// Bodies in the order in which they came.
#[derive(Debug)]
pub struct Queue {
    pub(super) room: Arc<Room>,
    pub(super) when_full: WhenFull,
    state: Mutex<State>,
    changed: Condvar,
    clock: Clock,
    /// Queues of further endpoints that get the same, with their books.
    copies: OnceLock<Vec<(Arc<Queue>, Arc<Ledger>)>>,
    /// Wakes the keeper, if there is one.
    bell: OnceLock<Sender<Ring>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    waiting: VecDeque<Body>,
    /// Sequence number of the body that is being posted.
    in_flight: Option<u64>,
    next_sequence: u64,
    /// The poster makes a pause, so nothing will be settled soon.
    pub(super) paused: bool,
    /// The latest try failed, so that what waits is better off on disk.
    pub(super) failing: bool,
    /// A body from disk, which waits for its turn.
    restored: Option<Body>,
    /// Fresh bodies taken since one from disk was.
    fresh_in_a_row: u32,
    /// Bodies of this queue that are on disk and wait, as far as the keeper has told.
    stored: usize,
    /// The poster has work for a body from disk.
    pub(super) wants_stored: bool,
    /// Since the queue was closed no body from disk was tried.
    pub(super) last_probe_is_due: bool,
    /// Places on disk of bodies that were dealt with; at most what was restored since the keeper looked.
    settled: Vec<Ticket>,
    /// Someone waits for delivery until then; no request should take longer.
    flush_by: Option<Instant>,
    /// Nothing was started since that began, or since the queue was closed.
    is_first: bool,
    /// How long a try usually takes, as the poster says.
    usual: Duration,
    /// The sandbox may freeze at any moment: what is started now may find a dead connection when it wakes up.
    rests: bool,
    /// Nobody waits for room any longer than that.
    patience: Option<Instant>,
    /// No more bodies will come, and posting ends then.
    closed_by: Option<Instant>,
    /// How long the last flush was waited for.
    flush_took: Option<Duration>,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Bodies that wait.
    pub bodies: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How many they may be, with those of queues that share the memory.
    pub bytes_max: usize,
    /// There is a spool, and its disk takes bodies.
    pub is_kept: bool,
    /// How long the last flush was waited for, if there was one.
    pub flush_took: Option<Duration>,
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
        Arc::new(Queue {
            room,
            when_full,
            state: Mutex::default(),
            changed: Condvar::new(),
            clock,
            copies: OnceLock::new(),
            bell: OnceLock::new(),
        })
    }

    /// From now on each of these queues gets a copy of what is put here, booked in its own ledger. Said once, before the first body.
    pub fn copy_to(&self, copies: Vec<(Arc<Queue>, Arc<Ledger>)>) {
        let _ = self.copies.set(copies); // nobody says it twice
    }

    /// Puts `body` at the end, and copies into further queues. When there is no room the oldest go or the caller waits; a body larger than all the room is dropped.
    pub fn push(&self, body: Body) {
        let further = self.copies.get().into_iter().flatten();
        let copies: Vec<_> = further.map(|(queue, ledger)| (queue, body.copied(ledger))).collect();
        self.put(body);
        for (queue, copy) in copies {
            queue.put(copy);
        }
    }

    fn put(&self, mut body: Body) {
        let bytes = body.bytes.len();
        if self.room.limit < bytes {
            return body.claim.drop_all(Reason::TooLarge);
        }
        body.created = self.clock.now();
        let keeper_has_until = body.created.uptime + KEEPER_PATIENCE;
        let mut state = self.lock();
        while self.room.limit < self.room.taken.load(Relaxed) + bytes {
            let patient = state.patience.is_none_or(|until| !self.clock.until(until).is_zero());
            let waits = self.when_full == WhenFull::Wait && state.closed_by.is_none() && patient;
            let is_patient = self.when_full != WhenFull::DropAtOnce;
            let keeper_helps = is_patient && self.room.is_kept.load(Relaxed) && self.clock.now().uptime < keeper_has_until;
            if waits || keeper_helps {
                self.ring();
                // Other queues share the room, so look again now and then even if nothing changed here.
                state = self.wait_for(state, Duration::from_millis(100));
            } else if let Some(oldest) = state.waiting.pop_front() {
                self.room.free(oldest.bytes.len());
                state.settled.extend(oldest.ticket);
                oldest.claim.drop_all(Reason::SpoolFull);
            } else {
                drop(state);
                return body.claim.drop_all(Reason::SpoolFull);
            }
        }
        self.room.taken.fetch_add(bytes, Relaxed);
        self.append(state, body);
    }

    /// Puts `body` at the end if there is room at once and `share` is not used up; otherwise gives its claim back,
    /// with nothing dropped.
    pub fn offer(&self, mut body: Body, share: Share) -> Result<(), Claim> {
        let bytes = body.bytes.len();
        body.created = self.clock.now();
        let state = self.lock();
        let waiting: usize = state.waiting.iter().map(|body| body.bytes.len()).sum();
        let fits = waiting + bytes <= share.bytes_max && state.waiting.len() < share.bodies_max;
        let taken = |taken: usize| Some(taken + bytes).filter(|taken| *taken <= self.room.limit);
        if !fits || state.closed_by.is_some() || self.room.taken.fetch_update(Relaxed, Relaxed, taken).is_err() {
            return Err(body.claim);
        }
        self.append(state, body);
        Ok(())
    }

    fn append(&self, mut state: MutexGuard<'_, State>, mut body: Body) {
        body.sequence = state.next_sequence;
        state.next_sequence += 1;
        state.waiting.push_back(body);
        if state.failing || self.room.is_tight() {
            self.ring();
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The next body, as soon as there is one: the oldest of those that wait here, and in between, or when there is none, one from disk.
    /// None is handed out that could not be sent in time, if that takes as long as is `usual`.
    pub fn take(&self, usual: Duration) -> Taken {
        let mut state = self.lock();
        state.usual = usual;
        loop {
            let left = state.closed_by.map(|by| self.clock.until(by));
            let in_time = self.in_time(&state);
            if left.is_some() && !in_time {
                return Taken::Closed;
            }
            if !in_time || state.rests {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if let Some(body) = self.pick(&mut state) {
                state.in_flight = Some(body.sequence);
                state.is_first = false;
                if !state.failing {
                    self.want_stored(&mut state); // so that the next one is here when this one is gone
                }
                return Taken::Body(body);
            }
            self.want_stored(&mut state);
            state = match left {
                Some(_) if !state.wants_stored => return Taken::Closed,
                Some(left) => self.wait_for(state, left),
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Whether a body that is started now can be sent in time.
    fn in_time(&self, state: &State) -> bool {
        let ends = [state.flush_by, state.closed_by];
        let left = ends.iter().flatten().map(|by| self.clock.until(*by)).min();
        left.is_none_or(|left| suffices(left, state.is_first, state.usual))
    }

    /// Chooses the next body. What became too old is given up on the way.
    fn pick(&self, state: &mut State) -> Option<Body> {
        let now = self.clock.now().uptime;
        loop {
            let is_turn_of_old = FRESH_PER_OLD <= state.fresh_in_a_row || state.waiting.is_empty();
            let body = match state.restored.take_if(|_| is_turn_of_old) {
                Some(body) => {
                    state.fresh_in_a_row = 0;
                    state.last_probe_is_due = false;
                    body
                }
                None => {
                    state.fresh_in_a_row = state.fresh_in_a_row.saturating_add(1);
                    state.waiting.pop_front()?
                }
            };
            if now.saturating_sub(body.created.uptime) <= self.room.ages.max_of(body.claim.signal()) {
                return Some(body);
            }
            self.room.free(body.bytes.len());
            state.settled.extend(body.ticket);
            body.claim.drop_all(Reason::TooOld);
        }
    }

    /// Asks the keeper for a body from disk if there is one and it could be tried.
    fn want_stored(&self, state: &mut State) {
        let could_be_tried = !state.failing || state.closed_by.is_none() || state.last_probe_is_due;
        state.wants_stored = 0 < state.stored && state.restored.is_none() && !state.paused && could_be_tried;
        if state.wants_stored || !state.settled.is_empty() {
            self.ring();
        }
    }

    /// The body that was taken has other bytes now, for the same records.
    pub fn replace_bytes(&self, body: &mut Body, bytes: Vec<u8>) {
        self.room.taken.fetch_add(bytes.len(), Relaxed);
        self.room.free(body.bytes.len());
        body.bytes = bytes;
    }

    /// The body that was taken has been dealt with.
    pub fn settle(&self, body: Body, fate: Fate) {
        self.room.free(body.bytes.len());
        match fate {
            Fate::Sent => body.claim.sent(),
            Fate::Dropped(reason) => body.claim.drop_all(reason),
        }
        let mut state = self.lock();
        state.in_flight = None;
        state.failing = false;
        state.settled.extend(body.ticket);
        self.want_stored(&mut state);
        drop(state);
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

    /// Deliveries fail: from now on, until one succeeds, what waits moves to disk if there is a keeper.
    pub fn failing(&self) {
        let mut state = self.lock();
        state.failing = true;
        state.wants_stored = false;
    }

    /// Waits for `wait` without posting. When the queue closes meanwhile, a pause of our own choice ends, because one more try is due;
    /// one that the endpoint asked for goes on until the end.
    pub fn pause(&self, wait: Duration, whose: Pause) {
        let until = self.clock.instant_in(wait);
        let mut state = self.lock();
        let was_closed = state.closed_by.is_some();
        state.paused = true;
        if state.failing {
            self.ring();
        }
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
        let since = self.clock.now().uptime;
        let mut state = self.lock();
        let target = state.next_sequence;
        state.is_first |= state.flush_by.is_none();
        state.flush_by = Some(state.flush_by.map_or(by, |other| other.max(by)));
        let settled = loop {
            let waiting = state.waiting.iter().map(|body| body.sequence);
            let oldest = waiting.chain(state.in_flight).min();
            let done = oldest.is_none_or(|oldest| target <= oldest);
            let left = self.clock.until(by);
            let in_vain = state.paused || (state.in_flight.is_none() && !self.in_time(&state));
            if done || left.is_zero() || (until == FlushUntil::SettledOrPaused && in_vain) {
                break done;
            }
            state = self.wait_for(state, left);
        };
        state.flush_by = None;
        state.flush_took = Some(self.clock.now().uptime - since);
        drop(state);
        self.changed.notify_all(); // what was not started for want of time may be now
        settled
    }

    /// While it `rests` nothing is started: the sandbox may freeze at any moment.
    pub fn rest(&self, rests: bool) {
        self.lock().rests = rests;
        self.changed.notify_all();
    }

    /// How full it is.
    pub fn level(&self) -> Level {
        let state = self.lock();
        let bytes = state.waiting.iter().map(|body| body.bytes.len()).sum();
        let (bytes_max, is_kept) = (self.room.limit, self.room.is_kept.load(Relaxed));
        Level { bodies: state.waiting.len(), bytes, bytes_max, is_kept, flush_took: state.flush_took }
    }

    /// From `until` on nobody waits for room: the end is near, and the newest bodies matter most.
    pub fn wait_no_longer_than(&self, until: Instant) {
        self.lock().patience = Some(until);
        self.changed.notify_all();
    }

    /// No more bodies will come; what is there may be posted until `by`.
    pub fn close(&self, by: Instant) {
        let mut state = self.lock();
        state.closed_by = Some(by);
        state.last_probe_is_due = true;
        (state.is_first, state.rests) = (true, false);
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed_by.is_some()
    }

    /// Drops what is left, counted as `reason`.
    pub fn drop_rest(&self, reason: Reason) {
        let mut state = self.lock();
        let rest = std::mem::take(&mut state.waiting).into_iter().chain(state.restored.take());
        for body in rest {
            self.room.free(body.bytes.len());
            body.claim.drop_all(reason);
        }
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            let _ = bell.try_send(Ring::Work); // it rings already, or the keeper is gone
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&self, state: MutexGuard<'a, State>, wait: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Less time than that is not enough to connect, send and be answered.
const TRY_MIN: Duration = Duration::from_millis(10);

/// Whether time that is `left` will do for a try that usually takes `usual`. The first may try its luck: who never starts never learns that
/// the intake has become faster.
fn suffices(left: Duration, is_first: bool, usual: Duration) -> bool {
    let needed = if is_first { TRY_MIN } else { usual.max(TRY_MIN) };
    needed <= left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Kind;
    use crate::spool::ages::Ages;
    use crate::sys::ledger::Signal;

    fn queue(limit: usize, when_full: WhenFull) -> (Arc<Ledger>, Arc<Queue>, Arc<Room>) {
        let room = Room::new(limit, Ages::none());
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
        match queue.take(Duration::ZERO) {
            Taken::Body(body) => Some(body),
            Taken::Closed => None,
        }
    }

    #[test]
    fn what_cannot_end_in_time_is_not_started() {
        for (left_ms, is_first, usual_ms, expected) in [
            (500, false, 200, true),
            (200, false, 200, true),
            (199, false, 200, false),
            (199, true, 200, true),
            (9, true, 0, false),
            (9, false, 0, false),
        ] {
            let [left, usual] = [left_ms, usual_ms].map(Duration::from_millis);
            assert_eq!(suffices(left, is_first, usual), expected, "{left_ms} ms of {usual_ms} ms");
        }
    }

    #[test]
    fn a_flush_and_the_end_allow_no_try_that_takes_too_long_but_the_first() {
        let (ledger, queue, _) = &queue(10, WhenFull::DropOldest);
        let long = Duration::from_secs(2 * 3600);
        for bytes in 1..=3 {
            queue.push(body(ledger, bytes));
        }
        let half_a_minute = Duration::from_secs(30);
        std::thread::scope(|scope| {
            let by = Clock::new().instant_in(half_a_minute);
            let flush = scope.spawn(move || queue.flush(FlushUntil::SettledOrPaused, by));
            while queue.lock().flush_by.is_none() {
                std::thread::yield_now();
            }
            let Taken::Body(first) = queue.take(long) else { panic!("the first may try its luck") };
            queue.settle(first, Fate::Sent);
            assert!(!flush.join().unwrap());
        });
        assert!(queue.level().flush_took < Some(half_a_minute), "there is no time for the others, so nobody waits for them");
        queue.close(far());
        let Taken::Body(second) = queue.take(long) else { panic!("the first may try its luck") };
        queue.settle(second, Fate::Sent);
        assert!(matches!(queue.take(long), Taken::Closed));
        queue.drop_rest(Reason::Shutdown);
    }

    #[test]
    fn while_a_queue_rests_nothing_is_started() {
        let (ledger, queue, _) = queue(10, WhenFull::DropOldest);
        queue.rest(true);
        queue.push(body(&ledger, 9));
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| take(&queue));
            queue.push(body(&ledger, 8)); // the other goes for it, which it could not if it were being posted
            queue.rest(false);
            assert_eq!(taker.join().unwrap().unwrap().bytes.len(), 8);
        });
    }

    #[test]
    fn what_became_too_old_in_memory_is_not_tried() {
        let ledger = Ledger::new();
        let ages = Ages::none().with(Signal::Logs, Duration::ZERO);
        let queue = Queue::new(Room::new(10, ages), WhenFull::DropOldest, Clock::new());
        queue.push(body(&ledger, 1));
        queue.push(Body::new(Kind::Traces, vec![0; 2], Vec::new(), ledger.accept(Signal::Traces, 1)));
        assert_eq!(take(&queue).unwrap().bytes.len(), 2);
        assert!(
            ledger.snapshot().to_string().contains("logs accepted=1 restored=0 sent=0 memory=0 spool=0 dropped=1 too_old=1")
        );
        assert_eq!(queue.room.taken.load(Relaxed), 2);
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
    fn a_further_queue_gets_a_copy_with_books_of_its_own_and_holds_nobody_up() {
        let (ledger, main, _) = queue(10, WhenFull::DropOldest);
        let (further_ledger, further, room) = queue(10, WhenFull::DropAtOnce);
        room.is_kept.store(true, Relaxed); // it could hope for room
        main.copy_to(vec![(Arc::clone(&further), Arc::clone(&further_ledger))]);
        let began = Clock::new();
        for bytes in [4, 5, 6] {
            main.push(body(&ledger, bytes));
            let Some(sent) = take(&main) else { panic!("it is there") };
            main.settle(sent, Fate::Sent);
        }
        assert!(began.now().uptime < KEEPER_PATIENCE, "the third had to make room");
        assert!(ledger.snapshot().to_string().starts_with("logs accepted=3 restored=0 sent=3 memory=0 spool=0 dropped=0;"));
        let of_further = further_ledger.snapshot().to_string();
        assert!(
            of_further.starts_with("logs accepted=3 restored=0 sent=0 memory=1 spool=0 dropped=2 spool_full=2;"),
            "{of_further}"
        );
        assert_eq!(take(&further).map(|copy| copy.bytes.len()), Some(6));
    }

    #[test]
    fn an_offer_is_given_back_when_the_share_or_the_room_is_used_up() {
        let (ledger, queue, room) = queue(10, WhenFull::DropOldest);
        let share = Share { bodies_max: 2, bytes_max: 5 };
        let offer = |bytes| queue.offer(body(&ledger, bytes), share).map_err(Claim::refuse).is_ok();
        assert!(!offer(6));
        assert!(offer(4) && !offer(2), "more bytes than its share");
        assert!(offer(1) && !offer(0), "more bodies than its share");
        let first = take(&queue).unwrap();
        queue.push(body(&ledger, 4));
        let more = queue.offer(body(&ledger, 2), Share { bodies_max: 9, bytes_max: 99 });
        more.unwrap_err().refuse();
        assert_eq!(room.taken.load(Relaxed), 9, "what is in flight takes room too");
        queue.settle(first, Fate::Sent);
        queue.close(far());
        assert!(!offer(0), "closed");
        queue.drop_rest(Reason::Shutdown);
        assert!(ledger.snapshot().to_string().contains("accepted=3 restored=0 sent=1 memory=0 spool=0 dropped=2 shutdown=2"));
    }

    #[test]
    fn a_waiting_pusher_goes_on_when_there_is_room_or_the_queue_closes() {
        let (ledger, queue, _) = queue(10, WhenFull::Wait);
        queue.push(body(&ledger, 10));
        std::thread::scope(|scope| {
            let pusher = scope.spawn(|| queue.push(body(&ledger, 10)));
            let first = take(&queue).unwrap();
            queue.settle(first, Fate::Sent);
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
            queue.settle(first, Fate::Sent);
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
        assert!(matches!(queue.take(Duration::ZERO), Taken::Closed));
    }
}
