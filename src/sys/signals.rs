//! The process's signals as values. A second SIGTERM or SIGINT ends the process at once, whatever it is doing.

use crate::sys::inbox::{Receiver, Sender, channel};
use crate::sys::worker::Worker;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

/// What someone outside asks of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: drain and end.
    Stop,
    /// SIGHUP: read again what can change while running.
    Reload,
    /// SIGUSR1: print the ledger.
    Report,
}

/// The exit status of a process that was told twice to stop: 128 + SIGTERM, as a shell reports it.
const ENDED_AT_ONCE: i32 = 143;

/// The process's signals.
#[derive(Debug)]
pub struct Listening {
    /// What was asked.
    pub requests: Receiver<Signal>,
    ends_at_once: Arc<AtomicBool>,
}

impl Listening {
    /// From now on somebody looks at `requests`: the next SIGTERM is a request, and only the one after it ends the process at once.
    pub fn attend(&self) {
        self.ends_at_once.store(false, SeqCst);
    }
}

/// Installs the handlers. They stay until the process ends: once installed, closing them would leave SIGTERM ignored. Until somebody
/// attends, SIGTERM ends the process at once, whatever the start waits for.
pub fn listen(exits: &Sender<&'static str>) -> io::Result<Listening> {
    let stopping = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT] {
        // Order matters: the shutdown of an already set flag comes before the handler that sets it.
        signal_hook::flag::register_conditional_shutdown(signal, ENDED_AT_ONCE, Arc::clone(&stopping))?;
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let (sender, receiver) = channel(8);
    Worker::spawn("signals", exits, move || {
        for number in signals.forever() {
            let signal = match number {
                SIGHUP => Signal::Reload,
                SIGUSR1 => Signal::Report,
                _ => Signal::Stop,
            };
            // A full queue holds eight requests that nobody has looked at; a stop is kept in the flag in any case.
            let _ = sender.try_send(signal);
        }
    })?;
    Ok(Listening { requests: receiver, ends_at_once: stopping })
}
