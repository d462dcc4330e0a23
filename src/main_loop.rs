//! The invocation loop on the main thread: one `select!` over events, signals and the exits of workers. It owns what is known of
//! invocations and decides when data must leave; how they leave it is given as [`Hands`].

mod hands;

use crate::model::flush_strategy::FlushStrategy;
use crate::model::invocation::Event;
use crate::model::invocation::Invoke;
use crate::model::invocation::Remembered;
use crate::model::invocation::Shutdown;
use crate::model::invocation::Telemetry;
use crate::model::invocation::What;
use crate::model::traces_item::TracesItem;
use crate::process::flushes::Begin;
use crate::process::flushes::Flushes;
use crate::process::invocation::Effect;
use crate::process::invocation::Invocations;
use crate::process::invocation::unqualified;
use crate::sys::clock::Clock;
use crate::sys::clock::Elapsed;
use crate::sys::clock::Now;
use crate::sys::inbox::FlushMark;
use crate::sys::inbox::Receiver;
use crate::sys::ledger::Reason;
use crate::sys::random::Random;
use crate::sys::signals::Signal;
use crossbeam::channel::never;
use crossbeam::select;
use std::time::Duration;
use std::time::Instant;

pub use hands::Beat;
pub use hands::Ends;
pub use hands::Hands;
pub use hands::Host;
pub use hands::MainEvent;
pub use hands::Stop;
pub use hands::Take;
pub use hands::TelemetryParcel;
pub use hands::Tell;

/// How long the loop sleeps at a time when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What is left of an invocation's time when delivery ends, for the answer to `/next` to arrive before the function is stopped.
const DELIVERY_RESERVE: Duration = Duration::from_millis(100);

/// An invocation's end is not waited for beyond this before its deadline, so that a SHUTDOWN can still be received.
const DEADLINE_RESERVE: Duration = Duration::from_millis(20);

/// A deadline that passed longer ago than this stands in a recording and counts as absent.
const LONG_PAST_MS: i64 = 60_000;

/// Deadlines below this are not a time since 1970 but milliseconds from now.
const RELATIVE_BELOW_MS: i64 = 1_000_000_000_000;

/// On boards the state is saved no more often than that, to spare the flash.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// How long one offer of telemetry to a full pipeline waits.
const HOLD: Duration = Duration::from_millis(100);

/// So that a flush that has just been asked for is looked at again soon.
const MOMENT: Duration = Duration::from_millis(10);

/// While an invocation runs its use of the machine is looked at after this time, and then ever less often, so that a peak is found and
/// a long invocation costs next to nothing.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_secs(2);

/// At the end of a sandbox the platform still tells of its last invocation; the longest wait for that.
const LAST_TELEMETRY: Duration = Duration::from_millis(300);

/// The queues the loop listens to.
#[derive(Debug)]
pub struct Sources<'a> {
    /// From sources.
    pub events: &'a Receiver<MainEvent>,
    /// From the system.
    pub signals: &'a Receiver<Signal>,
    /// From workers that end.
    pub exits: &'a Receiver<&'static str>,
}

/// The loop's state.
#[derive(Debug)]
pub struct MainLoop {
    host: Host,
    clock: Clock,
    random: Random,
    invocations: Invocations,
    hands: Hands,
    flushes: Flushes,
    elapsed: Elapsed,
    /// The invocation whose end is awaited before `/next`.
    awaited: Option<Awaited>,
    /// Telemetry that the logs pipeline had no room for. While there is some, no event is taken, so sources wait or tell their
    /// clients.
    held: Option<TelemetryParcel>,
    /// When the machine is looked at next, and how long after that.
    look: Option<(Instant, Duration)>,
    /// The sandbox is taken down as soon as its last telemetry has come, or then.
    stopping: Option<(Stop, Instant)>,
    saved_at: Option<Duration>,
    shutdown_reason: String,
    /// An invocation was told of, by whomever.
    has_begun: bool,
}

#[derive(Debug)]
struct Awaited {
    request_id: String,
    /// The end is taken for granted then.
    by: Instant,
    /// When delivery must have ended.
    deadline: Option<Instant>,
}

impl MainLoop {
    /// A loop that has seen nothing.
    pub fn new(host: Host, clock: Clock, random: Random, invocations: Invocations, hands: Hands) -> MainLoop {
        let strategy = if let Host::Lambda { strategy, .. } = host { strategy } else { FlushStrategy::End };
        MainLoop {
            host,
            flushes: Flushes::new(strategy),
            elapsed: Elapsed::since(clock.now()),
            clock,
            random,
            invocations,
            hands,
            awaited: None,
            held: None,
            look: None,
            stopping: None,
            saved_at: None,
            shutdown_reason: String::new(),
            has_begun: false,
        }
    }

    /// Works until something ends it.
    pub fn run(&mut self, sources: &Sources<'_>) -> Stop {
        let (mut signals, mut exits) = (sources.signals.clone(), sources.exits.clone());
        let no_events = never();
        if matches!(self.host, Host::Lambda { .. }) {
            (self.hands.next)();
        }
        loop {
            self.hand_on_held();
            let flush_in = self.flush_beside();
            let events = if self.held.is_none() { sources.events } else { &no_events };
            let dues = [self.awaited.as_ref().map(|awaited| awaited.by), self.look.map(|(at, _)| at)];
            let due = self.stopping.as_ref().map(|(_, by)| *by).into_iter().chain(dues.into_iter().flatten()).min();
            let due = due.map_or(IDLE, |due| self.clock.until(due)).min(flush_in).min(self.beat());
            let wait = if self.held.is_none() { due } else { Duration::ZERO };
            let stop = select! {
                recv(events) -> event => event.map_or(Some(Stop::EndOfEvents), |event| self.take(event)),
                recv(signals) -> signal => match signal {
                    Ok(signal) => self.signal(signal),
                    Err(_) => { signals = never(); None } // a closed queue would be ready for ever
                },
                recv(exits) -> exit => match exit {
                    Ok(name) => worker_lost(self.host, name),
                    Err(_) => { exits = never(); None }
                },
                default(wait) => { self.awaited_too_long(); self.look(); None }
            };
            if let Some(stop) = stop.or_else(|| self.has_stopped()) {
                return stop;
            }
        }
    }

    /// Takes what is in the queue, without waiting. For the shutdown, when sources are closed.
    pub fn drain(&mut self, events: &Receiver<MainEvent>, by: Instant) {
        for event in events.try_iter() {
            while self.held.is_some() && !self.clock.until(by).is_zero() {
                self.hand_on_held();
            }
            if let Some(parcel) = self.held.take() {
                parcel.claim.drop_all(Reason::Shutdown);
            }
            match event {
                Event::Invoke(_) | Event::Telemetry(_) | Event::Started(_) | Event::Ended(_) => drop(self.take(event)),
                _ => (),
            }
        }
    }

    /// Makes the spans that are still owed and returns what should survive a restart. Telemetry that finds no room until `by` is
    /// dropped.
    pub fn finish(&mut self, by: Instant) -> Remembered {
        if let Some(parcel) = self.held.take()
            && let Err(parcel) = (self.hands.telemetry)(parcel, by)
        {
            parcel.claim.drop_all(Reason::Shutdown);
        }
        let reason = std::mem::take(&mut self.shutdown_reason);
        let effects = self.invocations.finish(&reason, &mut || self.random.id());
        self.hand_on_points();
        self.act(effects);
        self.invocations.remembered().clone()
    }

    fn take(&mut self, event: MainEvent) -> Option<Stop> {
        match event {
            Event::Invoke(invoke) => self.invoke(&invoke),
            Event::Telemetry(parcel) => self.telemetry(parcel),
            Event::Started(call) => self.invocations.started(call),
            Event::Ended(call) => {
                self.invocations.ended(call);
                self.hand_on_points();
                self.ended_without_telemetry();
            }
            Event::EndedByFlush => self.ended_without_telemetry(),
            Event::Flush(mark) => (self.hands.flush)(mark, self.clock.instant_in(Duration::from_secs(2))),
            Event::Shutdown(shutdown) => return self.shutdown(shutdown),
            Event::EndOfEvents { complete: true } => return Some(Stop::EndOfEvents),
            Event::EndOfEvents { complete: false } => return Some(Stop::EventsBroken),
            Event::KeyAbsent => match self.host {
                Host::Edge => return Some(Stop::KeyAbsent),
                Host::Lambda { .. } => log::error!("no API key: data are dropped, and the function goes on"),
            },
        }
        None
    }

    fn invoke(&mut self, invoke: &Invoke) {
        let now = self.clock.now();
        self.measure();
        self.invocations.invoke(invoke, now.unix_nanos());
        self.hand_on_points();
        self.look_after(LOOK_FIRST);
        self.has_begun = true;
        (self.hands.invoked)(Some(&invoke.request_id), &unqualified(&invoke.function_arn));
        if let Host::Lambda { ends, .. } = self.host {
            (self.hands.rest)(false);
            let left = invoke.deadline_ms.and_then(|ms| time_left(ms, now));
            let wait = left.map_or(IDLE, |left| left.saturating_sub(DEADLINE_RESERVE));
            self.awaited = Some(Awaited {
                request_id: invoke.request_id.clone(),
                by: self.clock.instant_in(wait),
                deadline: left.map(|left| self.clock.instant_in(left.saturating_sub(DELIVERY_RESERVE))),
            });
            match self.flushes.begin(self.elapsed.at(now)) {
                Begin::AwaitEnd if ends == Ends::Nobody || self.invocations.has_ended(&invoke.request_id) => {
                    self.deliver_and_ask_for_next();
                }
                Begin::AwaitEnd => (),
                Begin::FlushFirst => {
                    self.deliver();
                    (self.hands.next)();
                }
                Begin::GoOn => {
                    self.awaited = None;
                    (self.hands.save)(self.invocations.remembered());
                    (self.hands.next)();
                }
            }
        }
    }

    fn telemetry(&mut self, parcel: TelemetryParcel) {
        let mut effects = Vec::new();
        // Its telemetry may be faster than `/next`, which on managed instances tells of none at all.
        let begins = |event: &Telemetry| matches!(event.what, What::Start { .. });
        if !self.has_begun && matches!(self.host, Host::Lambda { .. }) && parcel.item.iter().any(begins) {
            self.has_begun = true;
            (self.hands.invoked)(None, "");
        }
        if parcel.item.iter().any(|event| self.is_measured(&event.what)) {
            self.measure();
        }
        for event in &parcel.item {
            if event.what == What::RestoreStart {
                (self.hands.restored)();
            }
            effects.extend(self.invocations.telemetry(event, &mut || self.random.id()));
        }
        // Before the flush that its effects may ask for, which must come behind it.
        self.held = Some(parcel);
        self.hand_on_held();
        self.hand_on_points();
        self.act(effects);
    }

    /// At which events it is worth to know what the machine uses: where an invocation ends, and where nothing else tells of its start.
    fn is_measured(&self, what: &What) -> bool {
        let Host::Lambda { managed, .. } = self.host else { return false };
        match what {
            What::RuntimeDone(_) => true,
            What::Start { .. } | What::Report { .. } => managed,
            _ => false,
        }
    }

    fn measure(&mut self) {
        if let Some(measure) = &mut self.hands.measure {
            self.invocations.measured(measure());
        }
    }

    /// Looks at the machine if it is time to.
    fn look(&mut self) {
        if let Some((at, pause)) = self.look
            && self.clock.until(at).is_zero()
        {
            self.measure();
            self.look_after((pause * 2).min(LOOK_LAST));
        }
    }

    fn look_after(&mut self, pause: Duration) {
        self.look = self.hands.measure.as_ref().map(|_| (self.clock.instant_in(pause), pause));
    }

    fn hand_on_points(&mut self) {
        let points = self.invocations.take_points();
        if !points.is_empty() {
            (self.hands.points)(points);
        }
    }

    /// The sandbox goes; what the platform still has to tell of its last invocation comes at the same time or a little later.
    fn shutdown(&mut self, shutdown: Shutdown) -> Option<Stop> {
        let now = self.clock.now();
        let left = shutdown.deadline_ms.and_then(|ms| time_left(ms, now));
        self.shutdown_reason = shutdown.reason;
        let Host::Lambda { ends, .. } = self.host else { return Some(Stop::Shutdown(left)) };
        self.invocations.shutting_down(now.unix_nanos());
        let wait = left.map_or(LAST_TELEMETRY, |left| LAST_TELEMETRY.min(left / 4));
        if ends != Ends::Platform || !self.invocations.awaits_reports() || wait.is_zero() {
            return Some(Stop::Shutdown(left));
        }
        self.stopping = Some((Stop::Shutdown(left.map(|left| left.saturating_sub(wait))), self.clock.instant_in(wait)));
        None
    }

    /// Whether nothing more is to be waited for.
    fn has_stopped(&mut self) -> Option<Stop> {
        let is_over = |(_, by): &mut (Stop, Instant)| !self.invocations.awaits_reports() || self.clock.until(*by).is_zero();
        self.stopping.take_if(is_over).map(|(stop, _)| stop)
    }

    /// Offers held telemetry for a moment; signals are looked at in between.
    fn hand_on_held(&mut self) {
        if let Some(parcel) = self.held.take() {
            self.held = (self.hands.telemetry)(parcel, self.clock.instant_in(HOLD)).err();
        }
    }

    fn act(&mut self, effects: Vec<Effect>) {
        let mut ended = Vec::new();
        for effect in effects {
            match effect {
                Effect::Span(payload) => (self.hands.span)(TracesItem::Made(payload)),
                Effect::Init(init) => (self.hands.span)(TracesItem::Init(init)),
                Effect::Ended { request_id } => ended.push(request_id),
            }
        }
        if !ended.is_empty() {
            self.look = None;
        }
        match self.host {
            Host::Edge if !ended.is_empty() => {
                let (mark, _nobody_waits) = FlushMark::new();
                (self.hands.flush)(mark, self.clock.instant_in(Duration::ZERO));
                self.save_now_and_then();
            }
            Host::Edge => (),
            Host::Lambda { .. } => {
                if self.awaited.as_ref().is_some_and(|awaited| ended.contains(&awaited.request_id)) {
                    self.deliver_and_ask_for_next();
                }
            }
        }
    }

    /// A client library says that the invocation has ended; the platform would know better, if it spoke.
    fn ended_without_telemetry(&mut self) {
        if matches!(self.host, Host::Lambda { ends: Ends::Library, .. }) && self.awaited.is_some() {
            self.deliver_and_ask_for_next();
        }
    }

    /// The deadline is near and no end was told: deliver what there is.
    fn awaited_too_long(&mut self) {
        if self.awaited.as_ref().is_some_and(|awaited| self.clock.until(awaited.by).is_zero()) {
            self.deliver_and_ask_for_next();
        }
    }

    fn deliver_and_ask_for_next(&mut self) {
        let Host::Lambda { ends, .. } = self.host else { return };
        self.look = None;
        if self.deliver() {
            (self.hands.rest)(ends == Ends::Platform); // nobody else knows that the function has ended too
            (self.hands.next)();
        }
    }

    /// Makes the data of the awaited invocation leave, and those before; whether there is one.
    fn deliver(&mut self) -> bool {
        let Host::Lambda { flush_timeout, .. } = self.host else { return false };
        let Some(awaited) = self.awaited.take() else { return false };
        self.flushes.flushed(self.elapsed.at(self.clock.now()));
        let longest = self.clock.instant_in(flush_timeout);
        let by = awaited.deadline.map_or(longest, |deadline| longest.min(deadline));
        let (mark, wait) = FlushMark::new();
        (self.hands.flush)(mark, by);
        if wait.wait(by) {
            (self.hands.delivered)(by);
        }
        (self.hands.save)(self.invocations.remembered());
        true
    }

    /// Makes data leave beside the work when that is due, and nobody waits; how long until it is.
    fn flush_beside(&mut self) -> Duration {
        let now = self.elapsed.at(self.clock.now());
        let Some(wait) = self.flushes.due_in(now) else { return IDLE };
        if wait.is_zero() {
            self.flushes.flushed(now);
            let (mark, _nobody_waits) = FlushMark::new();
            (self.hands.flush)(mark, self.clock.instant_in(Duration::ZERO));
        }
        wait.max(MOMENT)
    }

    /// Gives the sign of life when it is due; how long until the next is.
    fn beat(&mut self) -> Duration {
        let Some(beat) = &mut self.hands.beat else { return IDLE };
        let now = self.clock.now().uptime;
        if beat.due <= now {
            (beat.tell)();
            beat.due = now + beat.every;
        }
        beat.due - now
    }

    fn save_now_and_then(&mut self) {
        let now = self.clock.now().uptime;
        if self.saved_at.is_none_or(|saved| SAVE_EVERY <= now.saturating_sub(saved)) {
            self.saved_at = Some(now);
            (self.hands.save)(self.invocations.remembered());
        }
    }

    fn signal(&mut self, signal: Signal) -> Option<Stop> {
        match signal {
            Signal::Stop => return Some(Stop::Signal),
            Signal::Report => (self.hands.report)(),
            Signal::Reload => (self.hands.reload)(),
        }
        None
    }
}

/// The reader of events ends with its input. Any other worker ends only by fault: on a machine of its own the agent then stops for its
/// supervisor to start it anew, in Lambda it goes on with what is left.
fn worker_lost(host: Host, name: &'static str) -> Option<Stop> {
    match host {
        _ if matches!(name, "events" | "key" | "signals" | "journal-left") => None,
        Host::Edge => Some(Stop::WorkerLost(name)),
        Host::Lambda { .. } => None,
    }
}

/// How much time a deadline leaves: none once it has passed, and `None` for one that is long past and so no deadline at all.
fn time_left(deadline_ms: i64, now: Now) -> Option<Duration> {
    let left_ms = if deadline_ms < RELATIVE_BELOW_MS { deadline_ms } else { deadline_ms.saturating_sub(now.unix_millis()) };
    (-LONG_PAST_MS < left_ms).then(|| Duration::from_millis(left_ms.max(0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::inbox::Parcel;
    use crate::sys::inbox::channel;
    use crate::sys::ledger::Ledger;
    use crate::sys::ledger::Signal as Row;
    use crate::sys::memory::Budget;
    use crate::sys::receipt::Desk;

    /// Hands of a pipeline that takes nothing any more.
    fn full_hands() -> Hands {
        Hands {
            span: Box::new(drop),
            telemetry: Box::new(|parcel, _| Err(parcel)),
            points: Box::new(drop),
            measure: None,
            invoked: Box::new(|_, _| ()),
            flush: Box::new(|_, _| ()),
            delivered: Box::new(drop),
            rest: Box::new(drop),
            next: Box::new(|| ()),
            save: Box::new(|_| ()),
            report: Box::new(|| ()),
            reload: Box::new(|| ()),
            restored: Box::new(|| ()),
            beat: None,
        }
    }

    #[test]
    fn lines_for_which_the_shutdown_has_no_time_are_left_to_the_next_run() {
        let (clock, ledger, desk, budget) = (Clock::new(), Ledger::new(), Desk::new(channel(1).0), Budget::new(1));
        let invocations = Invocations::new(crate::process::invocation::Settings::default(), None);
        let mut main_loop = MainLoop::new(Host::Edge, clock, Random::new(7), invocations, full_hands());
        let (now, (sender, events)) = (clock.instant_in(Duration::ZERO), channel(2));
        for place in 1..=2 {
            let claim = ledger.accept(Row::Logs, 1).with_receipt(Some(&desk.receipt(place)));
            let permit = budget.reserve(0, now).unwrap();
            sender.try_send(Event::Telemetry(Parcel { item: Vec::new(), claim, permit })).unwrap();
        }
        main_loop.drain(&events, now);
        main_loop.finish(now);
        assert!(ledger.snapshot().to_string().contains("dropped=2 shutdown=2"), "{}", ledger.snapshot());
        assert_eq!(desk.take(), [0; 0], "the copies in the journal stay");
    }

    #[test]
    fn a_worker_that_died_ends_the_agent_but_inside_lambda() {
        let (ends, strategy) = (Ends::Platform, FlushStrategy::Default);
        let lambda = Host::Lambda { ends, strategy, flush_timeout: Duration::ZERO, managed: false };
        for name in ["traces", "logs", "metrics", "post-logs", "next", "communication"] {
            assert_eq!((worker_lost(Host::Edge, name), worker_lost(lambda, name)), (Some(Stop::WorkerLost(name)), None));
        }
        assert_eq!(worker_lost(Host::Edge, "events"), None);
    }

    #[test]
    fn deadlines_are_absolute_relative_or_absent() {
        let now = Now { uptime: Duration::ZERO, unix: Duration::from_millis(1_767_323_000_000) };
        let left = |ms| time_left(ms, now).map(|left| left.as_millis());
        assert_eq!(left(1_767_323_001_500), Some(1_500));
        assert_eq!(left(2_000), Some(2_000));
        assert_eq!(left(1_767_322_999_000), Some(0));
        assert_eq!(left(1_700_000_000_000), None);
    }
}
