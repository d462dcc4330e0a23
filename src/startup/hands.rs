//! How the main loop acts on the other parts: each of its hands is a closure over what it needs and nothing more.

use crate::config::Config;
use crate::main_loop::Beat;
use crate::main_loop::Hands;
use crate::main_loop::Host;
use crate::model::api_key::KeyHandle;
use crate::model::traces_item::TracesItem;
use crate::model::usage::Usage;
use crate::pipeline::logs::LogsItem;
use crate::spool::FlushUntil;
use crate::startup::deliver::Deliver;
use crate::startup::deliver::flush_queues;
use crate::startup::function;
use crate::startup::function::TELL_WAIT;
use crate::startup::function::Teller;
use crate::startup::lambda::Registered;
use crate::startup::parts::Pipelines;
use crate::startup::state::State;
use crate::sys::clock::Clock;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::memory::Budget;
use std::sync::Arc;

/// What is not of the parts.
pub struct Asked {
    /// Reads the use of the machine.
    pub measure: Option<Box<dyn FnMut() -> Usage>>,
    /// SIGUSR1: print the ledger.
    pub report: Box<dyn FnMut()>,
    /// SIGHUP: read settings again.
    pub reload: Box<dyn FnMut()>,
    /// Who wants to hear that the loop is alive.
    pub beat: Option<Beat>,
}

/// What the sandbox's return from a snapshot asks for: another look at where the key comes from.
fn restored(key: &KeyHandle) -> Box<dyn FnMut()> {
    let key = key.clone();
    Box::new(move || key.ask())
}

/// How the main loop acts.
#[expect(clippy::too_many_arguments, reason = "it touches every part, which is what it is for")]
#[inline(never)]
pub fn hands(
    pipelines: &Pipelines,
    deliver: &Deliver,
    lambda: Option<&Registered>,
    state: &State,
    ledger: &Arc<Ledger>,
    budget: &Budget,
    clock: Clock,
    asked: Asked,
    key: &KeyHandle,
    mut teller: Teller,
) -> Hands {
    let (traces, logs, metrics) = (pipelines.traces.inbox(), pipelines.logs.inbox(), pipelines.metrics.inbox());
    let (queues, resting) = (deliver.awaited_queues(), deliver.queues());
    let (span_inbox, telemetry_inbox) = (traces.clone(), logs.clone());
    let (span_ledger, budget) = (Arc::clone(ledger), budget.clone());
    let (save, go) = (state.clone(), lambda.map(|lambda| lambda.go.clone()));
    Hands {
        span: Box::new(move |item| send_span(item, &span_inbox, &span_ledger, &budget, clock)),
        telemetry: Box::new(move |parcel, by| {
            let Parcel { item, claim, permit } = parcel;
            telemetry_inbox.put(Parcel { item: LogsItem::Telemetry(item), claim, permit }, by).map_err(|back| Parcel {
                item: match back.item {
                    LogsItem::Telemetry(events) => events,
                    LogsItem::Function(..) | LogsItem::Invoked(_) | LogsItem::Rules(_) => Vec::new(),
                },
                claim: back.claim,
                permit: back.permit,
            })
        }),
        points: function::points(pipelines, ledger, clock),
        measure: asked.measure,
        invoked: Box::new(move |request_id, arn| teller.invoked(request_id, arn)),
        flush: Box::new(move |mark, by| {
            traces.flush(mark.clone(), by);
            logs.flush(mark.clone(), by);
            metrics.flush(mark, by);
        }),
        delivered: Box::new(move |by| flush_queues(&queues, FlushUntil::SettledOrPaused, by)),
        rest: Box::new(move |rests| resting.iter().for_each(|queue| queue.rest(rests))),
        next: Box::new(move || {
            if let Some(go) = &go {
                let _ = go.try_send(()); // it has been told already, or is gone
            }
        }),
        save: Box::new(move |remembered| save.save(remembered)),
        report: asked.report,
        reload: asked.reload,
        beat: asked.beat,
        restored: restored(key),
    }
}

fn send_span(item: TracesItem, inbox: &Inbox<TracesItem>, ledger: &Arc<Ledger>, budget: &Budget, clock: Clock) {
    let (spans, bytes) = match &item {
        TracesItem::Spans(payload) => (payload.spans.len(), payload.memory_bytes()),
        TracesItem::Made(payload) => (payload.spans.len(), payload.memory_bytes()),
        TracesItem::Stats(_) | TracesItem::Init(_) | TracesItem::Function(..) => (0, 0),
    };
    let claim = ledger.accept(Signal::Traces, spans as u64);
    let by = clock.instant_in(TELL_WAIT);
    match budget.reserve(bytes, by) {
        None => claim.drop_all(Reason::InboxFull),
        Some(permit) => {
            if let Err(back) = inbox.put(Parcel { item, claim, permit }, by) {
                back.claim.drop_all(Reason::InboxFull);
            }
        }
    }
}

/// Where the main loop runs.
pub fn host(config: &Config, lambda: Option<&Registered>) -> Host {
    match lambda {
        None => Host::Edge,
        Some(lambda) => Host::Lambda {
            ends: lambda.ends,
            strategy: config.flush_strategy,
            flush_timeout: config.flush_timeout,
            managed: lambda.managed,
        },
    }
}
