//! The process's signals as values. A second SIGTERM or SIGINT ends the process at once, whatever it is doing.

use crate::sys::inbox::{Receiver, Sender, channel};
use crate::sys::process;
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

/// Requests that nobody has looked at yet.
const REQUESTS_MAX: usize = 8;

/// The process's signals.
#[derive(Debug)]
pub struct Listening {
    /// What was asked.
    pub requests: Receiver<Signal>,
    attended: Arc<AtomicBool>,
}

impl Listening {
    /// From now on somebody looks at `requests`: the next SIGTERM is a request, and only the one after it ends the process at once.
    pub fn attend(&self) {
        self.attended.store(true, SeqCst);
    }
}

/// Installs the handlers. They stay until the process ends: once installed, closing them would leave SIGTERM ignored. Until somebody
/// attends, SIGTERM ends the process at once, whatever the start waits for. What children the process has end with it.
pub fn listen(exits: &Sender<&'static str>) -> io::Result<Listening> {
    let (ending, attended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    // SIGHUP and SIGUSR1 before all others: by default they end a process, and nobody who sends them wants that.
    let mut signals = Signals::new([SIGHUP, SIGUSR1, SIGTERM, SIGINT])?;
    for signal in [SIGTERM, SIGINT] {
        // Should the children hold the end up, one more signal does without them.
        signal_hook::flag::register_conditional_shutdown(signal, ENDED_AT_ONCE, Arc::clone(&ending))?;
    }
    let (sender, receiver) = channel(REQUESTS_MAX);
    let (is_attended, mut told) = (Arc::clone(&attended), false);
    Worker::spawn("signals", exits, move || {
        for number in signals.forever() {
            let signal = match number {
                SIGHUP => Signal::Reload,
                SIGUSR1 => Signal::Report,
                _ if told || !is_attended.load(SeqCst) => {
                    ending.store(true, SeqCst);
                    process::end_groups();
                    signal_hook::low_level::exit(ENDED_AT_ONCE);
                }
                _ => Signal::Stop,
            };
            told |= signal == Signal::Stop;
            // Of the others a full queue holds enough; the last place is for the one stop there can be.
            if signal == Signal::Stop || sender.len() + 1 < REQUESTS_MAX {
                let _ = sender.try_send(signal);
            }
        }
    })?;
    Ok(Listening { requests: receiver, attended })
}
