//! A place beside the console where the agent's own lines go: a file or the system's log, each with a thread that may wait for it.
//!
//! Whoever writes a line never waits. What cannot be written now is kept, the oldest [`WAITING_MAX`] lines, and tried again after growing
//! pauses; what finds no room then is counted, and the count takes its place among the lines.
//!
//! Lines wait behind a mutex that nobody holds while writing. A channel would have to give back what cannot be written, and one more kind
//! of item in it costs the program 15 kB.

use crate::sys::clock::Clock;
use crate::sys::inbox::channel;
use crate::sys::worker;
use crate::sys::worker::Worker;
use log::Level;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Lines that wait for their thread, or for a place that cannot be reached.
const WAITING_MAX: usize = 128;

/// What of a line is beyond this is cut off.
const LINE_BYTES_MAX: usize = 4096;

/// The pause after a failure, and how long it may become.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_secs(60);

/// How long lines may be collected.
const COLLECT: Duration = Duration::from_secs(10);

/// A failure that comes again sooner than this is not told again.
const TELL_AGAIN: Duration = Duration::from_secs(300);

/// A line on its way.
#[derive(Clone, Debug)]
pub struct Line {
    /// How bad.
    pub level: Level,
    /// When, since 1970.
    pub unix: Duration,
    /// As it stands on the console, without a line feed.
    pub text: String,
    /// Not to be collected with others.
    pub urgent: bool,
}

/// Where lines are written.
pub trait Outlet: Send {
    /// For messages.
    fn name(&self) -> String;
    /// Takes a line. After an error it is offered again.
    fn take(&mut self, line: &Line) -> io::Result<()>;
    /// Writes what was collected.
    fn settle(&mut self) -> io::Result<()>;
    /// Lets go of what is open, for it may have been moved.
    fn reopen(&mut self);
}

/// What both sides know.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Line>,
    /// For want of room, behind those that wait.
    lost: u64,
    reopen: bool,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }
}

/// The way to an outlet's thread.
#[derive(Debug)]
pub struct Inlet {
    shared: Arc<Shared>,
    worker: Worker<()>,
}

impl Inlet {
    /// Starts the thread.
    pub fn start(name: &'static str, outlet: Box<dyn Outlet>) -> io::Result<Inlet> {
        let shared = Arc::new(Shared::default());
        let mut keeper = Keeper::new(outlet, Arc::clone(&shared));
        // Without lines the agent works on, so nobody learns of the thread's end.
        let worker = worker::start_short(name, &channel(1).0, Box::new(move || keeper.run()))?;
        Ok(Inlet { shared, worker })
    }

    /// A line, which is lost and counted when there is no room.
    pub fn offer(&self, line: &Line) {
        self.shared.change(|queue| {
            if WAITING_MAX <= queue.waiting.len() {
                queue.lost += 1;
                return;
            }
            let mut line = line.clone();
            line.text.truncate(line.text.floor_char_boundary(LINE_BYTES_MAX));
            queue.waiting.push_back(line);
        });
    }

    /// What is open may have been moved away.
    pub fn reopen(&self) {
        self.shared.change(|queue| queue.reopen = true);
    }

    /// Writes all that can be written until `by`.
    pub fn finish(self, by: Instant) {
        self.shared.change(|queue| queue.ended = true);
        let _ = self.worker.finish(by); // there is no place left to say so
    }
}

/// What the thread knows.
struct Keeper {
    outlet: Box<dyn Outlet>,
    shared: Arc<Shared>,
    clock: Clock,
    /// When what was collected is to be written.
    collected: Option<Instant>,
    /// When the outlet is tried again, and the pause after that.
    failed: Option<(Instant, Duration)>,
    told: Option<Duration>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({})", self.outlet.name())
    }
}

impl Keeper {
    fn new(outlet: Box<dyn Outlet>, shared: Arc<Shared>) -> Keeper {
        Keeper { outlet, shared, clock: Clock::new(), collected: None, failed: None, told: None }
    }

    fn run(&mut self) {
        loop {
            let (reopen, ended) = self.wait();
            if reopen {
                self.settle();
                self.outlet.reopen();
                self.failed = None;
            }
            self.hand_on(ended);
            if ended {
                return;
            }
        }
    }

    /// Until there is something to do; whether to open anew, and whether this is the end.
    fn wait(&self) -> (bool, bool) {
        let mut queue = self.shared.lock();
        loop {
            let has_work = self.failed.is_none() && (!queue.waiting.is_empty() || 0 < queue.lost);
            let left = self.failed.map(|(at, _)| at).or(self.collected).map(|due| self.clock.until(due));
            if has_work || queue.reopen || queue.ended || left == Some(Duration::ZERO) {
                return (std::mem::take(&mut queue.reopen), queue.ended);
            }
            queue = match left {
                Some(left) => self.shared.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn hand_on(&mut self, at_once: bool) {
        let mut at_once = at_once || self.collected.is_some_and(|due| self.clock.until(due).is_zero()) || self.failed.is_some();
        while let Some(line) = self.next() {
            if let Err(err) = self.outlet.take(&line) {
                self.shared.lock().waiting.push_front(line);
                return self.fail(&err);
            }
            at_once |= line.urgent;
            self.collected.get_or_insert(self.clock.instant_in(COLLECT));
        }
        if at_once {
            self.settle();
        }
    }

    /// The oldest line that waits; behind them, how many were lost after them.
    fn next(&mut self) -> Option<Line> {
        let mut queue = self.shared.lock();
        queue.waiting.pop_front().or_else(|| {
            let (lost, unix, level) = (std::mem::take(&mut queue.lost), self.clock.now().unix, Level::Warn);
            let text = || super::line(super::form(), level, &format!("{lost} lines were lost here"), unix);
            (0 < lost).then(|| Line { level, unix, text: text(), urgent: true })
        })
    }

    fn settle(&mut self) {
        match self.outlet.settle() {
            Ok(()) => (self.collected, self.failed) = (None, None),
            Err(err) => self.fail(&err),
        }
    }

    fn fail(&mut self, err: &io::Error) {
        let pause = self.failed.map_or(PAUSE_FIRST, |(_, pause)| pause);
        self.failed = Some((self.clock.instant_in(pause), (pause * 2).min(PAUSE_LAST)));
        let now = self.clock.now().uptime;
        if self.told.is_none_or(|told| TELL_AGAIN <= now - told) {
            log::warn!("{}: {err}; lines wait and it is tried again", self.outlet.name());
        }
        self.told = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// What was taken and settled, and whether it fails.
    #[derive(Default)]
    struct Place {
        fails: bool,
        taken: Vec<String>,
        settled: usize,
    }

    impl Outlet for Arc<Mutex<Place>> {
        fn name(&self) -> String {
            "a place".to_owned()
        }

        fn take(&mut self, line: &Line) -> io::Result<()> {
            let mut place = self.lock().unwrap();
            if place.fails {
                return Err(io::ErrorKind::NotFound.into());
            }
            place.taken.push(line.text.clone());
            Ok(())
        }

        fn settle(&mut self) -> io::Result<()> {
            let mut place = self.lock().unwrap();
            place.settled = place.taken.len();
            Ok(())
        }

        fn reopen(&mut self) {}
    }

    fn line(text: &str, urgent: bool) -> Line {
        Line { level: Level::Info, unix: Duration::ZERO, text: text.to_owned(), urgent }
    }

    fn stage() -> (Keeper, Arc<Mutex<Place>>) {
        let place = Arc::new(Mutex::new(Place::default()));
        (Keeper::new(Box::new(Arc::clone(&place)), Arc::default()), place)
    }

    fn add(keeper: &Keeper, line: Line) {
        let worker = worker::start_short("test-lines", &channel(1).0, Box::new(|| ())).unwrap();
        Inlet { shared: Arc::clone(&keeper.shared), worker }.offer(&line);
    }

    #[test]
    fn lines_are_settled_when_one_is_urgent_or_it_is_time() {
        let (mut keeper, place) = stage();
        add(&keeper, line("one", false));
        keeper.hand_on(false);
        assert_eq!(place.lock().unwrap().taken.len(), 1);
        assert_eq!(place.lock().unwrap().settled, 0);
        add(&keeper, line("two", true));
        keeper.hand_on(false);
        assert_eq!(place.lock().unwrap().settled, 2);
        add(&keeper, line("three", false));
        keeper.hand_on(false);
        keeper.collected = Some(keeper.clock.instant_in(Duration::ZERO));
        keeper.hand_on(false);
        assert_eq!(place.lock().unwrap().settled, 3);
    }

    #[test]
    fn what_cannot_be_written_waits_and_what_finds_no_room_is_told_in_its_place() {
        let (mut keeper, place) = stage();
        place.lock().unwrap().fails = true;
        add(&keeper, line("0", false));
        keeper.hand_on(false);
        assert!(keeper.failed.is_some());
        for number in 1..WAITING_MAX + 3 {
            // beside the first, which has come back
            add(&keeper, line(&number.to_string(), false));
        }
        place.lock().unwrap().fails = false;
        keeper.hand_on(false);
        add(&keeper, line("later", false));
        keeper.hand_on(false);
        let taken = &place.lock().unwrap().taken;
        assert_eq!(taken.len(), WAITING_MAX + 2);
        assert_eq!((taken[0].as_str(), taken[WAITING_MAX - 1].as_str()), ("0", "127"));
        assert!(taken[WAITING_MAX].ends_with("WARN | 3 lines were lost here"), "{}", taken[WAITING_MAX]);
        assert_eq!(taken[WAITING_MAX + 1], "later");
        assert!(keeper.failed.is_none());
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let (mut keeper, place) = stage();
        place.lock().unwrap().fails = true;
        add(&keeper, line("0", false));
        let pauses: Vec<u64> = std::iter::repeat_with(|| {
            keeper.hand_on(false);
            keeper.failed.unwrap().1.as_secs()
        })
        .take(8)
        .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_its_characters() {
        let (mut keeper, place) = stage();
        add(&keeper, line(&("x".to_owned() + &"é".repeat(LINE_BYTES_MAX)), false));
        keeper.hand_on(false);
        assert_eq!(place.lock().unwrap().taken[0].len(), LINE_BYTES_MAX - 1);
    }

    #[test]
    fn the_thread_writes_what_is_left_when_it_ends() {
        let place = Arc::new(Mutex::new(Place::default()));
        let inlet = Inlet::start("test-lines", Box::new(Arc::clone(&place))).unwrap();
        inlet.offer(&line("last", false));
        inlet.finish(Clock::new().instant_in(Duration::from_secs(60)));
        assert_eq!(place.lock().unwrap().settled, 1);
    }
}
