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
use crate::sys::worker::Worker;
use std::io;
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
}

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline<T> {
    worker: Worker<()>,
    inbox: Inbox<T>,
}

impl<T: Send + 'static> Pipeline<T> {
    /// Starts the thread `name` that runs `stage`.
    pub fn start<S>(name: &'static str, mut stage: S, clock: Clock, exits: &Sender<&'static str>) -> io::Result<Pipeline<T>>
    where
        S: Stage<Item = T>,
    {
        let (inbox, receiver) = inbox(INBOX_ITEMS);
        let worker = Worker::spawn(name, exits, move || run(&receiver, &mut stage, clock))?;
        Ok(Pipeline { worker, inbox })
    }

    /// Where sources put what they have.
    pub fn inbox(&self) -> Inbox<T> {
        self.inbox.clone()
    }

    /// Asks it to send on what it has; `mark` is dropped when that is done.
    pub fn flush(&self, mark: FlushMark, by: Instant) {
        self.inbox.flush(mark, by);
    }

    /// Closes the inbox, once all sources have let go of it, and waits until it is drained.
    pub fn finish(self, by: Instant) {
        drop(self.inbox);
        if let Err(err) = self.worker.finish(by) {
            log::warn!("{err}");
        }
    }
}

fn run<S: Stage>(receiver: &Receiver<Message<S::Item>>, stage: &mut S, clock: Clock) {
    loop {
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
}
