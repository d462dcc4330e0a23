//! What is said of the records at the end and on request, and the exit code that follows from it.

use crate::errors::Exit;
use crate::errors::StartError;
use crate::main_loop::Stop;
use crate::sources::http::Refusal;
use crate::startup::further::Books;
use crate::startup::plan::Place;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Snapshot;
use crate::sys::logger;
use std::sync::Arc;

/// SIGUSR1: the ledger.
pub fn reporter<F: Fn()>(ledger: &Arc<Ledger>, further: Books, count_missed: F) -> impl FnMut() + use<F> {
    let ledger = Arc::clone(ledger);
    move || {
        count_missed();
        further.iter().for_each(|(name, ledger)| announce(name, &ledger.snapshot()));
        logger::announce(&format!("ledger: {}", ledger.snapshot()));
    }
}

/// The books of a further endpoint.
fn announce(name: &str, snapshot: &Snapshot) {
    logger::announce(&format!("ledger of {name}: {snapshot}"));
}

/// Why the agent stops, for people.
pub fn describe_stop(stop: &Stop) -> &'static str {
    match stop {
        Stop::Signal => "told to by a signal",
        Stop::Shutdown(_) => "a SHUTDOWN event came",
        Stop::EndOfEvents => "the events have ended",
        Stop::EventsBroken => "the events broke off",
        Stop::KeyAbsent => "there is no API key",
        Stop::WorkerLost(_) => "a worker is gone for good",
    }
}

/// What clients were refused was never accepted, so it is not in the ledger; they were told.
pub fn tell_refused(port: &str, counts: &[(Refusal, u64)]) {
    let refused = counts.iter().filter(|(_, count)| 0 < *count);
    let words: Vec<String> = refused.map(|(refusal, count)| format!("{}={count}", refusal.name())).collect();
    if !words.is_empty() {
        log::info!("refused on port {port}: {}", words.join(" "));
    }
}

/// Prints the ledger and chooses the exit code.
pub fn close_books(ledger: &Arc<Ledger>, further: &Books, stop: &Stop, place: Place) -> Exit {
    let snapshot = ledger.snapshot().at_end();
    debug_assert!(snapshot.is_balanced(), "{snapshot}");
    let further: Vec<Snapshot> = further
        .iter()
        .map(|(name, ledger)| {
            let snapshot = ledger.snapshot().at_end();
            debug_assert!(snapshot.is_balanced(), "{name}: {snapshot}");
            announce(name, &snapshot);
            snapshot
        })
        .collect();
    let all = || further.iter().chain([&snapshot]);
    match stop {
        Stop::KeyAbsent => log::error!("{}", StartError::NoKey),
        Stop::WorkerLost(name) => log::error!("{}", StartError::WorkerLost(name)),
        _ => (),
    }
    logger::announce(&format!("ledger: {snapshot}"));
    let spooled: u64 = all().flat_map(|snapshot| &snapshot.rows).map(|row| row.spool).sum();
    if place == Place::Lambda && 0 < spooled {
        log::warn!(
            "{spooled} records stay in the spool; they go with the sandbox unless it is on a file system that outlives it"
        );
    }
    match stop {
        _ if place == Place::Lambda => Exit::Clean, // the platform would take anything else for a crash
        Stop::KeyAbsent => Exit::Config,
        Stop::WorkerLost(_) => Exit::Fault,
        Stop::EventsBroken => Exit::Lost,
        _ if all().any(|snapshot| 0 < snapshot.lost()) => Exit::Lost,
        _ => Exit::Clean,
    }
}
