//! Threads that receive. A source decodes what it gets, has it counted in, and hands it on; it waits or tells its client when
//! there is no room.

pub mod control_http;
pub mod dogstatsd;
pub mod events;
pub mod health;
pub mod host;
pub mod http;
pub mod journaled;
pub mod lambda_api;
pub mod lambda_http;
pub mod trace_http;
pub mod trace_proxy;
pub mod usage;

mod connections;
mod socket;

use crate::model::invocation::Event;
use crate::model::invocation::Telemetry;
use crate::model::invocation::What;
use crate::sys::inbox::FlushMark;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Signal;
use crate::sys::memory::Permit;
use crate::sys::receipt::Receipt;
use std::sync::Arc;

/// What the main loop gets: events, and batches of telemetry with their claim and memory.
pub type MainEvent = Event<Parcel<Vec<Telemetry>>, FlushMark>;

/// Counts the lines of a batch in.
fn accept(
    events: Vec<Telemetry>,
    permit: Permit,
    ledger: &Arc<Ledger>,
    receipt: Option<&Arc<Receipt>>,
) -> Parcel<Vec<Telemetry>> {
    let lines = events.iter().filter(|event| matches!(event.what, What::Line(_))).count();
    let claim: Claim = ledger.accept(Signal::Logs, lines as u64).with_receipt(receipt);
    Parcel { item: events, claim, permit }
}

/// Takes an event back that nobody will look at: what it holds was not accepted after all.
fn take_back(event: MainEvent) {
    if let Event::Telemetry(parcel) = event {
        parcel.claim.refuse();
    }
}
