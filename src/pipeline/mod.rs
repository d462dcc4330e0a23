//! One thread a signal: it takes items from its inbox through `process` and `encode`, fills bodies and puts them into the queue of
//! `spool`. The loop here is a shell; each signal's [`Stage`] has no thread in it.

pub mod logs;
pub mod metrics;
pub mod traces;

use crate::sys::clock::Clock;
use crate::sys::clock::Now;
use crate::sys::inbox::FlushMark;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::Message;
use crate::sys::inbox::Parcel;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::RecvTimeoutError;
use crate::sys::inbox::Sender;
use crate::sys::inbox::inbox;
use crate::sys::ledger::Reason;
use crate::sys::worker::Worker;
use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

/// How long an empty pipeline sleeps at a time; nothing depends on it.
const IDLE: Duration = Duration::from_secs(3600);

/// Parcels that wait for a pipeline. Their bytes are bounded by the permits they carry.
const INBOX_ITEMS: usize = 256;

/// What is done with the items of one signal.
pub trait Stage: Send + 'static {
    /// Decoded input.
    type Item: Send + 'static;

    /// Takes one item.
    fn take(&mut self, parcel: Parcel<Self::Item>, now: Now);

    /// When the body that is being filled must leave, as uptime.
    fn due(&self) -> Option<Duration>;

    /// That moment has come: sends on what is due, by default all there is.
    fn on_due(&mut self, now: Now) {
        self.flush(now);
    }

    /// Sends on what is there.
    fn flush(&mut self, now: Now);

    /// Nothing more will come: sends on what is there and what was held back.
    fn finish(&mut self, now: Now);

    /// There is no time left for `parcel`: counts what is in it.
    fn give_up(&mut self, parcel: Parcel<Self::Item>) {
        parcel.claim.drop_all(Reason::Shutdown);
    }
}

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline<T> {
    worker: Worker<()>,
    inbox: Inbox<T>,
    enough: Arc<OnceLock<Instant>>,
    clock: Clock,
}

impl<T: Send + 'static> Pipeline<T> {
    /// Starts the thread `name` that runs `stage`.
    pub fn start<S>(name: &'static str, mut stage: S, clock: Clock, exits: &Sender<&'static str>) -> io::Result<Pipeline<T>>
    where
        S: Stage<Item = T>,
    {
        let (inbox, receiver) = inbox(INBOX_ITEMS);
        let enough = Arc::new(OnceLock::new());
        let inner = Arc::clone(&enough);
        let worker = Worker::spawn(name, exits, move || run(&receiver, &mut stage, &inner, clock))?;
        Ok(Pipeline { worker, inbox, enough, clock })
    }

    /// Where sources put what they have.
    pub fn inbox(&self) -> Inbox<T> {
        self.inbox.clone()
    }

    /// Asks it to send on what it has; `mark` is dropped when that is done.
    pub fn flush(&self, mark: FlushMark, by: Instant) {
        self.inbox.flush(mark, by);
    }

    /// Closes the inbox, once all sources have let go of it, and waits until it is drained. When three quarters of the time are over, what
    /// is still in it is given up, so that what was taken out of it before can leave.
    pub fn finish(self, by: Instant) {
        let _ = self.enough.set(self.clock.instant_in(self.clock.until(by) * 3 / 4)); // nobody else sets it
        drop(self.inbox);
        if let Err(err) = self.worker.finish(by) {
            log::warn!("{err}");
        }
    }
}

fn run<S: Stage>(receiver: &Receiver<Message<S::Item>>, stage: &mut S, enough: &OnceLock<Instant>, clock: Clock) {
    while enough.get().is_none_or(|enough| !clock.until(*enough).is_zero()) {
        let due = stage.due().unwrap_or(clock.now().uptime + IDLE);
        match receiver.recv_deadline(clock.instant_at(due)) {
            Ok(Message::Item(parcel)) => stage.take(parcel, clock.now()),
            Ok(Message::Flush(mark)) => {
                stage.flush(clock.now());
                drop(mark);
            }
            Err(RecvTimeoutError::Timeout) => stage.on_due(clock.now()),
            Err(RecvTimeoutError::Disconnected) => break, // every source is gone: this is the stop signal
        }
        // A steady stream of items must not keep an old body from leaving.
        if stage.due().is_some_and(|due| due <= clock.now().uptime) {
            stage.on_due(clock.now());
        }
    }
    stage.finish(clock.now());
    // Of what is given up, each record is counted; the sources that have not let go end soon.
    while let Ok(message) = receiver.recv() {
        if let Message::Item(parcel) = message {
            stage.give_up(parcel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::inbox::channel;
    use crate::sys::ledger::Ledger;
    use crate::sys::ledger::Signal;
    use crate::sys::memory::Budget;

    /// Holds all records that it takes, and sends them when it finishes.
    struct Holding {
        held: Vec<Parcel<()>>,
        finished: Sender<usize>,
    }

    impl Stage for Holding {
        type Item = ();

        fn take(&mut self, parcel: Parcel<()>, _: Now) {
            self.held.push(parcel);
        }

        fn due(&self) -> Option<Duration> {
            None
        }

        fn flush(&mut self, _: Now) {}

        fn finish(&mut self, _: Now) {
            let _ = self.finished.try_send(self.held.len());
            self.held.drain(..).for_each(|parcel| parcel.claim.sent());
        }
    }

    #[test]
    fn a_source_that_does_not_let_go_costs_nothing_that_was_taken() {
        let (clock, ledger, budget) = (Clock::new(), Ledger::new(), Budget::new(1000));
        let (exits, _keep) = channel(4);
        let (finished, has_finished) = channel(1);
        let pipeline = Pipeline::start("holding", Holding { held: Vec::new(), finished }, clock, &exits).unwrap();
        let inbox = pipeline.inbox();
        let (is_needed, is_over) = channel::<()>(1);
        let (began, has_begun) = channel(1);
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                while is_over.recv_deadline(clock.instant_in(Duration::from_millis(1))) == Err(RecvTimeoutError::Timeout) {
                    let permit = budget.reserve(0, clock.instant_in(Duration::ZERO)).unwrap();
                    let parcel = Parcel { item: (), claim: ledger.accept(Signal::Logs, 1), permit };
                    let is_in = inbox.offer(parcel).map_err(|back| back.claim.refuse()).is_ok();
                    let _ = began.try_send(is_in); // once is enough
                }
            });
            assert!(has_begun.recv().unwrap());
            pipeline.finish(clock.instant_in(Duration::from_millis(200)));
            let found = has_finished.recv_deadline(clock.instant_in(Duration::from_secs(20)));
            drop(is_needed);
            found
        });
        assert!(0 < found.unwrap());
        let row = ledger.snapshot().rows[Signal::Logs as usize].clone();
        assert!(row.is_balanced() && row.dropped[Reason::Fault as usize].1 == 0, "{row:?}");
    }
}
