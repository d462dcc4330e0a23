//! Invocation events from standard input or a recording: one JSON object a line, of the Extensions API or the Telemetry API.
//!
//! A line that cannot be used is a warning with its number; the rest goes on. When the agent is behind, reading waits, and with it
//! whoever writes. The thread may sit in a read for ever and is then left behind when the process ends, see `sys/gate.rs`.

use crate::decode::events as decode;
use crate::decode::events::AnyEvent;
use crate::model::invocation::Event;
use crate::sources::MainEvent;
use crate::sources::accept;
use crate::sources::take_back;
use crate::sys::clock::Clock;
use crate::sys::gate::Gate;
use crate::sys::inbox::Sender;
use crate::sys::ledger::Ledger;
use crate::sys::memory::Budget;
use crate::sys::worker::Worker;
use std::io;
use std::io::BufRead;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// A longer line is skipped. The Telemetry API's largest event is 1 MiB.
const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bad lines that are told one by one; later ones are only counted.
const WARNINGS_MAX: u64 = 100;

/// Memory that an event takes beside its line: the decoded copy and its parts.
const DECODED_FACTOR: usize = 2;

/// How long one wait for memory lasts before the gate is looked at again.
const MEMORY_WAIT: Duration = Duration::from_millis(200);

/// Where events go, and what is needed on the way.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// The main loop.
    pub events: Sender<MainEvent>,
    /// Closed at shutdown.
    pub gate: Gate,
    /// Where lines are counted in.
    pub ledger: Arc<Ledger>,
    /// Memory of what is on its way.
    pub budget: Budget,
    /// For waits.
    pub clock: Clock,
}

/// Starts the thread that reads `input` to its end.
pub fn start(input: Box<dyn BufRead + Send>, outlet: Outlet, exits: &Sender<&'static str>) -> io::Result<Worker<()>> {
    let mut reader = Reader { input, outlet, line_number: 0, bad_lines: 0 };
    Worker::spawn("events", exits, move || reader.run())
}

struct Reader {
    input: Box<dyn BufRead + Send>,
    outlet: Outlet,
    line_number: u64,
    bad_lines: u64,
}

impl Reader {
    fn run(&mut self) {
        let mut line = Vec::new();
        let mut complete = true;
        loop {
            line.clear();
            match read_line(&mut *self.input, &mut line) {
                Ok(Line::End) => break,
                Ok(Line::Whole) => self.line_number += 1,
                Ok(Line::TooLong) => {
                    self.line_number += 1;
                    self.warn(&format!("longer than {LINE_BYTES_MAX} bytes"));
                    continue;
                }
                Err(err) => {
                    log::error!("cannot read events behind line {}: {err}", self.line_number);
                    complete = false;
                    break;
                }
            }
            if !line.trim_ascii().is_empty() && !self.take(&line) {
                return; // the gate is closed
            }
        }
        if WARNINGS_MAX < self.bad_lines {
            log::warn!("{} lines of events could not be used", self.bad_lines);
        }
        self.outlet.gate.pass(|| drop(self.outlet.events.send(Event::EndOfEvents { complete })));
    }

    /// Hands the event in `line` on; whether the gate is still open.
    fn take(&mut self, line: &[u8]) -> bool {
        let text = String::from_utf8_lossy(line);
        match decode::any(text.trim()) {
            Ok(AnyEvent::Invoke(invoke)) => self.hand_on(|| Event::Invoke(invoke)),
            Ok(AnyEvent::Shutdown(shutdown)) => self.hand_on(|| Event::Shutdown(shutdown)),
            Ok(AnyEvent::Telemetry(telemetry)) => {
                let Outlet { ledger, budget, clock, .. } = self.outlet.clone();
                let bytes = (line.len() * DECODED_FACTOR).min(budget.limit());
                let permit = loop {
                    if let Some(permit) = budget.reserve(bytes, clock.instant_in(MEMORY_WAIT)) {
                        break permit;
                    }
                    if !self.outlet.gate.pass(|| ()) {
                        return false;
                    }
                };
                self.hand_on(|| Event::Telemetry(accept(vec![telemetry], permit, &ledger, None)))
            }
            Err(err) => {
                self.warn(&err.to_string());
                true
            }
        }
    }

    /// Makes the event only if the gate is open, so that nothing is counted in that nobody takes out.
    fn hand_on(&self, make: impl FnOnce() -> MainEvent) -> bool {
        let events = &self.outlet.events;
        self.outlet.gate.pass(|| {
            if let Err(unsent) = events.send(make()) {
                take_back(unsent.into_inner());
            }
        })
    }

    fn warn(&mut self, what: &str) {
        self.bad_lines += 1;
        if self.bad_lines <= WARNINGS_MAX {
            log::warn!("events line {}: {what}", self.line_number);
        }
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads one line without its end into `line`; of one that is too long nothing is kept.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    let read = input.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.ends_with(b"\n") || line.len() <= LINE_BYTES_MAX {
        return Ok(Line::Whole);
    }
    line.clear();
    input.skip_until(b'\n')?;
    Ok(Line::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::invocation::What;
    use crate::sys::inbox::channel;
    use std::io::Cursor;

    /// What the main loop gets of `input`, in words.
    fn told(input: Vec<u8>) -> (Vec<String>, Arc<Ledger>) {
        let (events, received) = channel(100);
        let ledger = Ledger::new();
        let clock = Clock::new();
        let outlet =
            Outlet { events, gate: Gate::default(), ledger: Arc::clone(&ledger), budget: Budget::new(10 << 20), clock };
        Reader { input: Box::new(Cursor::new(input)), outlet, line_number: 0, bad_lines: 0 }.run();
        let tell = |event: MainEvent| match event {
            Event::Invoke(invoke) => format!("invoke {}", invoke.request_id),
            Event::Telemetry(parcel) => {
                let words = parcel.item.iter().map(|event| match &event.what {
                    What::Line(line) => line.message.clone(),
                    other => format!("{other:?}"),
                });
                let words = words.collect();
                parcel.claim.sent();
                words
            }
            Event::EndOfEvents { complete: true } => "end".to_owned(),
            other => format!("{other:?}"),
        };
        (received.try_iter().map(tell).collect(), ledger)
    }

    #[test]
    fn good_lines_go_on_whatever_stands_between_them() {
        let mut input = br#"{"eventType":"INVOKE","requestId":"r-1"}

not json
{"eventType":"NEW"}
{"time":"1970-01-01T00:00:00Z","type":"function","record":"hello"}
"#
        .to_vec();
        input.extend(std::iter::repeat_n(b'x', LINE_BYTES_MAX + 10));
        input.extend(b"\n{\"eventType\":\"INVOKE\",\"requestId\":\"r-2\"}");
        let (told, ledger) = told(input);
        assert_eq!(told, ["invoke r-1", "hello", "invoke r-2", "end"]);
        assert!(ledger.snapshot().to_string().contains("logs accepted=1 restored=0 sent=1"));
    }

    #[test]
    fn an_event_that_nobody_takes_is_not_accepted() {
        let (events, received) = channel(1);
        drop(received);
        let ledger = Ledger::new();
        let outlet = Outlet {
            events,
            gate: Gate::default(),
            ledger: Arc::clone(&ledger),
            budget: Budget::new(1 << 20),
            clock: Clock::new(),
        };
        let line = r#"{"time":"1970-01-01T00:00:00Z","type":"function","record":"hello"}"#;
        Reader { input: Box::new(Cursor::new(line)), outlet, line_number: 0, bad_lines: 0 }.run();
        assert_eq!(ledger.snapshot().rows[crate::sys::ledger::Signal::Logs as usize].accepted, 0);
    }
}
