//! The agent's own health as metrics: every so often what the ledger, the queues and the system say, as lines of DogStatsD that take the
//! way of everybody else's.
//!
//! ```text
//! mote.records   count   signal, outcome (accepted, sent, dropped) and, of what was dropped, reason
//! mote.missed    count   signal: datagrams that the system lost before they came in
//! mote.waiting   gauge   signal: records in memory
//! ```
//! and whatever else [`Gauge`]s are read.

use crate::model::metrics_item::Datagrams;
use crate::sources::dogstatsd::Outlet;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::RecvTimeoutError;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::ledger::RowSnapshot;
use crate::sys::ledger::Signal;
use crate::sys::ledger::Snapshot;
use crate::sys::worker::Worker;
use std::fmt::Write;
use std::io;
use std::time::Duration;
use std::time::Instant;

/// Something that goes up and down.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// Its metric.
    pub name: &'static str,
    /// `key:value` with commas between them; may be empty.
    pub tags: &'static str,
    /// As it is now.
    pub value: f64,
}

/// All that is known at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The books.
    pub ledger: Snapshot,
    /// The rest.
    pub gauges: Vec<Gauge>,
}

/// The thread that looks at the clock.
#[derive(Debug)]
pub struct Health {
    worker: Worker<()>,
    _running: Sender<()>,
}

impl Health {
    /// Starts to hand a reading to `outlet` every `period`.
    pub fn start(
        period: Duration,
        outlet: Outlet,
        mut read: impl FnMut() -> Reading + Send + 'static,
        exits: &Sender<&'static str>,
    ) -> io::Result<Health> {
        let (running, stopped) = channel(1);
        let mut last = None;
        let worker = Worker::spawn("health", exits, move || report(&stopped, period, &outlet, &mut read, &mut last))?;
        Ok(Health { worker, _running: running })
    }

    /// Ends it; what has changed since the last reading is not told any more.
    pub fn stop(self, by: Instant) {
        drop(self._running);
        if let Err(err) = self.worker.finish(by) {
            log::warn!("{err}");
        }
    }
}

fn report(
    stopped: &Receiver<()>,
    period: Duration,
    outlet: &Outlet,
    read: &mut impl FnMut() -> Reading,
    last: &mut Option<Snapshot>,
) {
    while stopped.recv_deadline(outlet.clock.instant_in(period)) == Err(RecvTimeoutError::Timeout) {
        let reading = read();
        let mut batch = Datagrams::default();
        batch.push(lines(&reading, last.as_ref()).as_bytes());
        outlet.hand_on(batch);
        *last = Some(reading.ledger);
    }
}

/// What has been counted since `last`, and what is so now.
fn lines(reading: &Reading, last: Option<&Snapshot>) -> String {
    let mut text = String::new();
    let mut line = |content: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{content}"); // a String takes any text
    };
    for signal in Signal::ALL {
        let row = &reading.ledger.rows[signal as usize];
        if !row.is_used() {
            continue;
        }
        let before = last.map(|last| &last.rows[signal as usize]);
        let name = signal.name();
        let since = |count: fn(&RowSnapshot) -> u64| count(row).saturating_sub(before.map_or(0, count));
        for (outcome, records) in [("accepted", since(|row| row.accepted)), ("sent", since(|row| row.sent))] {
            line(format_args!("mote.records:{records}|c|#signal:{name},outcome:{outcome}"));
        }
        for (index, (reason, total)) in row.dropped.iter().enumerate() {
            let records = total.saturating_sub(before.map_or(0, |before| before.dropped[index].1));
            if 0 < records {
                line(format_args!("mote.records:{records}|c|#signal:{name},outcome:dropped,reason:{}", reason.name()));
            }
        }
        let missed = since(|row| row.missed);
        if 0 < missed {
            line(format_args!("mote.missed:{missed}|c|#signal:{name}"));
        }
        line(format_args!("mote.waiting:{}|g|#signal:{name}", row.memory));
    }
    for Gauge { name, tags, value } in &reading.gauges {
        let mark = if tags.is_empty() { "" } else { "|#" };
        line(format_args!("{name}:{value}|g{mark}{tags}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ledger::Ledger;
    use crate::sys::ledger::Reason;

    #[test]
    fn what_was_told_before_is_not_told_again() {
        let ledger = Ledger::new();
        let mut claim = ledger.accept(Signal::Logs, 10);
        claim.split(4).sent();
        claim.drop_some(1, Reason::TooLarge);
        let gauges = vec![
            Gauge { name: "mote.memory", tags: "", value: 1024.0 },
            Gauge { name: "mote.queue.bytes", tags: "endpoint:logs", value: 0.5 },
        ];
        let first = Reading { ledger: ledger.snapshot(), gauges: gauges.clone() };
        let expected = "mote.records:10|c|#signal:logs,outcome:accepted\n\
            mote.records:4|c|#signal:logs,outcome:sent\n\
            mote.records:1|c|#signal:logs,outcome:dropped,reason:too_large\n\
            mote.waiting:5|g|#signal:logs\n\
            mote.memory:1024|g\n\
            mote.queue.bytes:0.5|g|#endpoint:logs\n";
        assert_eq!(lines(&first, None), expected);
        claim.split(2).sent();
        ledger.set_missed(Signal::Metrics, 3);
        let second = Reading { ledger: ledger.snapshot(), gauges: Vec::new() };
        let expected = "mote.records:0|c|#signal:logs,outcome:accepted\n\
            mote.records:2|c|#signal:logs,outcome:sent\n\
            mote.waiting:3|g|#signal:logs\n\
            mote.records:0|c|#signal:metrics,outcome:accepted\n\
            mote.records:0|c|#signal:metrics,outcome:sent\n\
            mote.missed:3|c|#signal:metrics\n\
            mote.waiting:0|g|#signal:metrics\n";
        assert_eq!(lines(&second, Some(&first.ledger)), expected);
        claim.sent();
    }
}
