//! What the journal gets of the configuration, and which doors it stands before.

use crate::config::Config;
use crate::config::StorageMode;
use crate::errors::StartError;
use crate::sources::http::Handler;
use crate::sources::journaled;
use crate::sources::journaled::Journaled;
use crate::spool::disk::Limits;
use crate::spool::folder;
use crate::spool::journal::Clerk;
use crate::spool::journal::Door;
use crate::startup::plan::Place;
use crate::sys::clock::Clock;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::memory::Budget;
use crate::sys::worker::Worker;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// The journal at work.
#[derive(Debug)]
pub struct Journaling {
    clerk: Clerk,
    /// New requests are entered, too; if not, it is here for what is left of a run that entered them.
    enters: bool,
    /// Told by whoever opens a door; a mutex, since the doors are opened by one who only looks at this.
    doors: Mutex<Vec<Journaled>>,
}

/// The thread that takes in what an earlier run has left.
#[derive(Debug)]
pub struct TakingIn {
    worker: Worker<()>,
    stop: Sender<()>,
}

impl Journaling {
    /// Opens it in the spool's folder, if the settings say so or there is something left in it. Inside Lambda the disk goes with the sandbox, and so would the
    /// journal.
    pub fn start(
        config: &Config,
        place: Place,
        spool: Option<&Path>,
        limits: Limits,
        clock: Clock,
        exits: &Sender<&'static str>,
    ) -> Result<Option<Journaling>, StartError> {
        let enters = config.storage_mode == StorageMode::Journal;
        let (Place::Edge, Some(spool)) = (place, spool) else {
            if enters {
                log::warn!("forwarder_storage_mode: there is no journal inside Lambda or without a spool");
            }
            return Ok(None);
        };
        if !enters && !folder::has_segments(&spool.join(folder::JOURNAL)) {
            return Ok(None);
        }
        // Copies of requests may take as much as bodies, beside them.
        let clerk = Clerk::start(spool.join(folder::JOURNAL), limits, clock, exits).map_err(StartError::System)?;
        Ok(Some(Journaling { clerk, enters, doors: Mutex::default() }))
    }

    /// The handler behind the journal.
    pub fn before(&self, door: Door, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
        let journaled = Journaled { handler: Arc::clone(&handler), journal: Arc::clone(self.clerk.journal()), door };
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).push(journaled.clone());
        if self.enters { Arc::new(journaled) } else { handler }
    }

    /// Begins to take in what an earlier run has left. All doors have been told.
    pub fn take_in(&self, budget: &Budget, clock: Clock, exits: &Sender<&'static str>) -> Result<TakingIn, StartError> {
        let (stop, stopped) = channel(1);
        let doors = std::mem::take(&mut *self.doors.lock().unwrap_or_else(PoisonError::into_inner));
        let budget = budget.clone();
        let body = move || journaled::take_in(&doors, &budget, clock, &stopped);
        Worker::spawn("journal-left", exits, body).map(|worker| TakingIn { worker, stop }).map_err(StartError::System)
    }

    /// Gives up what is settled by now.
    pub fn finish(self, by: Instant) {
        self.clerk.finish(by);
    }
}

impl TakingIn {
    /// Takes in no more, so that pipelines can end.
    pub fn stop(self, by: Instant) {
        drop(self.stop);
        if let Err(err) = self.worker.finish(by) {
            log::warn!("{err}");
        }
    }
}
