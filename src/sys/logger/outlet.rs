//! A place beside the console where the agent's own lines go: a file or the system's log, each with a thread that may wait for it.
//!
//! Whoever writes a line never waits. What cannot be written now is kept, the oldest [`WAITING_MAX`] lines, and tried again after growing
//! pauses; what finds no room then is counted, and the count takes its place among the lines.

use crate::sys::clock::Clock;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::RecvTimeoutError;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::worker;
use crate::sys::worker::Worker;
use log::Level;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::Instant;

/// Lines between those who write them and the thread.
const QUEUE_MAX: usize = 128;

/// Lines that wait for a place that cannot be reached.
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

enum Message {
    Line(Line),
    Reopen,
}

/// The way to an outlet's thread.
pub struct Inlet {
    sender: Sender<Message>,
    lost: Arc<AtomicU64>,
    worker: Worker<()>,
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inlet({:?})", self.lost)
    }
}

impl Inlet {
    /// Starts the thread.
    pub fn start(name: &'static str, outlet: Box<dyn Outlet>) -> io::Result<Inlet> {
        let (sender, receiver) = channel(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let mut keeper = Keeper::new(outlet, Arc::clone(&lost));
        let body = Box::new(move || keeper.run(&receiver));
        // Without lines the agent works on, so nobody learns of the thread's end.
        Ok(Inlet { sender, lost, worker: worker::start_short(name, &channel(1).0, body)? })
    }

    /// A line, which is lost and counted when there is no room.
    pub fn offer(&self, line: &Line) {
        let mut line = line.clone();
        line.text.truncate(line.text.floor_char_boundary(LINE_BYTES_MAX));
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, SeqCst);
        }
    }

    /// What is open may have been moved away.
    pub fn reopen(&self) {
        let _ = self.sender.try_send(Message::Reopen); // full of lines, it has the next one
    }

    /// Writes all that can be written until `by`.
    pub fn finish(self, by: Instant) {
        drop(self.sender);
        let _ = self.worker.finish(by); // there is no place left to say so
    }
}

/// What the thread knows.
struct Keeper {
    outlet: Box<dyn Outlet>,
    clock: Clock,
    waiting: VecDeque<Line>,
    lost: Arc<AtomicU64>,
    /// When what was collected is to be written.
    collected: Option<Instant>,
    /// When the outlet is tried again, and the pause after that.
    failed: Option<(Instant, Duration)>,
    told: Option<Duration>,
}

impl Keeper {
    fn new(outlet: Box<dyn Outlet>, lost: Arc<AtomicU64>) -> Keeper {
        let (clock, waiting) = (Clock::new(), VecDeque::new());
        Keeper { outlet, clock, waiting, lost, collected: None, failed: None, told: None }
    }

    fn run(&mut self, receiver: &Receiver<Message>) {
        loop {
            let due = self.failed.map(|(at, _)| at).or(self.collected);
            let message = match due {
                Some(due) => receiver.recv_deadline(due),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let ends = matches!(message, Err(RecvTimeoutError::Disconnected));
            match message {
                Ok(Message::Line(line)) => self.add(line),
                Ok(Message::Reopen) => {
                    self.settle();
                    self.outlet.reopen();
                    self.failed = None;
                }
                Err(_) => (),
            }
            if ends || self.failed.is_none_or(|(at, _)| self.clock.until(at).is_zero()) {
                self.hand_on(ends);
            }
            if ends {
                return;
            }
        }
    }

    fn add(&mut self, line: Line) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(line);
        } else {
            self.lost.fetch_add(1, SeqCst);
        }
    }

    fn hand_on(&mut self, at_once: bool) {
        let mut at_once = at_once || self.collected.is_some_and(|due| self.clock.until(due).is_zero()) || self.failed.is_some();
        while let Some(line) = self.next() {
            if let Err(err) = self.outlet.take(&line) {
                self.waiting.push_front(line);
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
        self.waiting.pop_front().or_else(|| {
            let lost = self.lost.swap(0, SeqCst);
            let unix = self.clock.now().unix;
            let text = super::line(super::form(), Level::Warn, &format!("{lost} lines were lost here"), unix);
            (0 < lost).then_some(Line { level: Level::Warn, unix, text, urgent: true })
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

    #[test]
    fn lines_are_settled_when_one_is_urgent_or_it_is_time() {
        let (mut keeper, place) = stage();
        keeper.add(line("one", false));
        keeper.hand_on(false);
        assert_eq!(place.lock().unwrap().taken.len(), 1);
        assert_eq!(place.lock().unwrap().settled, 0);
        keeper.add(line("two", true));
        keeper.hand_on(false);
        assert_eq!(place.lock().unwrap().settled, 2);
        keeper.add(line("three", false));
        keeper.hand_on(false);
        keeper.collected = Some(keeper.clock.instant_in(Duration::ZERO));
        keeper.hand_on(false);
        assert_eq!(place.lock().unwrap().settled, 3);
    }

    #[test]
    fn what_cannot_be_written_waits_and_what_finds_no_room_is_told_in_its_place() {
        let (mut keeper, place) = stage();
        place.lock().unwrap().fails = true;
        keeper.add(line("0", false));
        keeper.hand_on(false);
        assert!(keeper.failed.is_some());
        for number in 1..WAITING_MAX + 3 {
            keeper.add(line(&number.to_string(), false));
        }
        place.lock().unwrap().fails = false;
        keeper.hand_on(false);
        keeper.add(line("later", false));
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
        keeper.add(line("0", false));
        let pauses: Vec<u64> = std::iter::repeat_with(|| {
            keeper.hand_on(false);
            keeper.failed.unwrap().1.as_secs()
        })
        .take(8)
        .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_queue_that_nobody_empties_costs_its_writer_nothing_but_the_line() {
        let (sender, receiver) = channel(1);
        let worker = worker::start_short("test-lines", &channel(1).0, Box::new(|| ())).unwrap();
        let inlet = Inlet { sender, lost: Arc::default(), worker };
        inlet.offer(&line(&"é".repeat(LINE_BYTES_MAX), false));
        inlet.offer(&line("no room", false));
        assert_eq!(inlet.lost.load(SeqCst), 1);
        let Ok(Message::Line(line)) = receiver.try_recv() else { panic!("it was taken") };
        assert_eq!(line.text.len(), LINE_BYTES_MAX, "and cut");
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
