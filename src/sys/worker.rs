//! A thread is a value with one owner: spawned with a name, stopped by closing its queue, waited for with a deadline, noticed when
//! it dies. This is the only file that makes threads.
//!
//! A panic is caught here, at the thread's border, and logged as one error; the body then runs once more. What it held was booked
//! as `fault` by the claims that unwound (see `sys/ledger.rs`).

use crate::sys::inbox::{Receiver, RecvTimeoutError, Sender, channel};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A compressor's tables are built on the stack before they move to the heap: 300 KiB and more without optimisation. Address space
/// only: pages that are never touched cost nothing.
const STACK_BYTES: usize = 1024 * 1024;

/// How often a body is started in all.
const RUNS_MAX: u32 = 2;

/// Panics of workers so far. One for the process, since a panic is nobody's in particular.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// How many workers have panicked since the start; each was caught.
pub fn panics() -> usize {
    PANICS.load(SeqCst)
}

/// A running thread that will report one value.
#[derive(Debug)]
pub struct Worker<R> {
    name: &'static str,
    report: Receiver<R>,
}

/// Why a worker's report did not come.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The deadline passed first.
    StillBusy(&'static str),
    /// It panicked twice.
    Panicked(&'static str),
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfinished::StillBusy(name) => write!(f, "worker {name} was still busy at the deadline"),
            Unfinished::Panicked(name) => write!(f, "worker {name} panicked twice"),
        }
    }
}

/// Sends the worker's name however its thread ends.
struct ExitNotice {
    name: &'static str,
    exits: Sender<&'static str>,
}

impl Drop for ExitNotice {
    fn drop(&mut self) {
        // Nobody listens any more during the last steps of a shutdown.
        let _ = self.exits.try_send(self.name);
    }
}

impl<R: Send + 'static> Worker<R> {
    /// Starts `body` in a thread of its own. `exits` learns the name however the thread ends, so that the main loop sees a worker
    /// that died early.
    pub fn spawn(
        name: &'static str,
        exits: &Sender<&'static str>,
        mut body: impl FnMut() -> R + Send + 'static,
    ) -> io::Result<Worker<R>> {
        let (report_tx, report) = channel(1);
        let job = move || {
            let _ = report_tx.send(body()); // the owner may have stopped waiting; nobody is left to tell
        };
        start_thread(name, exits.clone(), Box::new(job))?;
        Ok(Worker { name, report })
    }

    /// Waits for the report, until `by` at most.
    pub fn finish(&self, by: Instant) -> Result<R, Unfinished> {
        self.report.recv_deadline(by).map_err(|err| match err {
            RecvTimeoutError::Timeout => Unfinished::StillBusy(self.name),
            RecvTimeoutError::Disconnected => Unfinished::Panicked(self.name),
        })
    }
}

/// Runs `job`, and once more if it panics. Apart from what is generic, so that what a thread needs is in the program once and not for each
/// body: 2 kB a piece. The report's sender goes with the job, so that whoever waits learns of its end.
fn start_thread(name: &'static str, exits: Sender<&'static str>, mut job: Box<dyn FnMut() + Send>) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    let run = move || {
        let _exit = ExitNotice { name, exits };
        for run in 1..=RUNS_MAX {
            if catch_unwind(AssertUnwindSafe(&mut job)).is_ok() {
                return;
            }
            PANICS.fetch_add(1, SeqCst);
            match run {
                RUNS_MAX => log::error!("worker {name} panicked again and stays down"),
                _ => log::error!("worker {name} panicked and is started again"),
            }
        }
    };
    thread.spawn(run).map(drop)
}

/// A thread for something short, such as one question to someone who may not answer, or rare; what it finds it leaves where it was told.
pub fn start_short(name: &'static str, exits: &Sender<&'static str>, body: Box<dyn FnMut() + Send>) -> io::Result<Worker<()>> {
    Worker::spawn(name, exits, body)
}

/// Lets this thread rest for `wait`. For pauses between tries only; whoever can be woken by a queue waits there.
#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
pub fn pause(wait: Duration) {
    thread::sleep(wait);
}

/// A bounded number of short-lived threads, for connections.
///
/// The count is behind a mutex because the owner waits for it to fall; a channel would need a message for each thread that ends.
#[derive(Clone, Debug)]
pub struct Crew {
    name: &'static str,
    members_max: usize,
    members: Arc<(Mutex<usize>, Condvar)>,
    panics: Arc<AtomicUsize>,
}

impl Crew {
    /// At most `members_max` threads at a time.
    pub fn new(name: &'static str, members_max: usize) -> Crew {
        Crew { name, members_max, members: Arc::default(), panics: Arc::default() }
    }

    /// Runs `job` in a new thread. `false`, and the job dropped, when all places are taken or the system gives no thread.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let Some(place) = self.take_place() else { return false };
        let (name, panics) = (self.name, Arc::clone(&self.panics));
        let spawned = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(move || {
            let _place = place;
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                panics.fetch_add(1, SeqCst);
                log::error!("a {name} thread panicked; its connection is closed");
            }
        });
        spawned.is_ok()
    }

    /// Whether every place is taken.
    pub fn is_full(&self) -> bool {
        self.members_max <= *self.members.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many jobs panicked.
    pub fn panics(&self) -> usize {
        self.panics.load(SeqCst)
    }

    /// Waits until no thread is left, `wait` at most; whether that happened.
    pub fn wait_idle(&self, wait: Duration) -> bool {
        let (count, left) = &*self.members;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, _) = left.wait_timeout_while(count, wait, |count| 0 < *count).unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }

    fn take_place(&self) -> Option<Place> {
        let mut count = self.members.0.lock().unwrap_or_else(PoisonError::into_inner);
        if self.members_max <= *count {
            return None;
        }
        *count += 1;
        Some(Place { members: Arc::clone(&self.members) })
    }
}

struct Place {
    members: Arc<(Mutex<usize>, Condvar)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.members.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.members.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::Clock;

    fn far() -> Instant {
        Clock::new().instant_in(Duration::from_secs(3600))
    }

    #[test]
    fn a_body_that_panics_once_runs_again_and_reports() {
        let (exits, _keep) = channel(4);
        let mut runs = 0;
        let worker = Worker::spawn("shaky", &exits, move || {
            runs += 1;
            assert!(1 < runs, "first run fails");
            runs
        });
        assert_eq!(worker.unwrap().finish(far()), Ok(2));
    }

    #[test]
    fn a_body_that_always_panics_is_noticed_twice() {
        let (exits, exits_rx) = channel(4);
        let worker = Worker::<()>::spawn("broken", &exits, || panic!("always")).unwrap();
        assert_eq!(worker.finish(far()), Err(Unfinished::Panicked("broken")));
        assert_eq!(exits_rx.recv_deadline(far()), Ok("broken"));
    }

    #[test]
    fn the_deadline_ends_the_wait_for_a_busy_worker() {
        let (exits, _keep) = channel(4);
        let (hold, held) = channel::<()>(1);
        let worker = Worker::spawn("busy", &exits, move || held.recv().is_err()).unwrap();
        assert_eq!(worker.finish(Clock::new().instant_in(Duration::ZERO)), Err(Unfinished::StillBusy("busy")));
        drop(hold);
        assert_eq!(worker.finish(far()), Ok(true));
    }

    #[test]
    fn a_crew_takes_no_more_than_its_places() {
        let crew = Crew::new("crew", 1);
        let (hold, held) = channel::<()>(1);
        assert!(crew.run(move || assert!(held.recv().is_err())));
        assert!(crew.is_full() && !crew.run(|| ()));
        drop(hold);
        assert!(crew.wait_idle(Duration::from_secs(3600)));
        assert!(crew.run(|| panic!("a job may fail")));
        assert!(crew.wait_idle(Duration::from_secs(3600)));
        assert_eq!(crew.panics(), 1);
    }
}
