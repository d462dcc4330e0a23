//! A gate between a source that cannot be interrupted and its queue: once it is closed, nothing is accepted that nobody will take out.
//!
//! A thread that reads standard input may sit in the read for ever, so it is left behind at shutdown. A flag would not do: between
//! looking at it and putting an item into the queue the queue may have been emptied for the last time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::TryLockError;

/// Open until it is closed.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<Mutex<bool>>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate { open: Arc::new(Mutex::new(true)) }
    }
}

impl Gate {
    /// Runs `accept` if the gate is open; whether it was.
    pub fn pass(&self, accept: impl FnOnce()) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open {
            accept();
        }
        *open
    }

    /// Closes the gate, running `drain` as often as needed for one who is just passing to get through.
    pub fn close(&self, mut drain: impl FnMut()) {
        loop {
            match self.open.try_lock() {
                Ok(mut open) => {
                    *open = false;
                    return;
                }
                Err(TryLockError::Poisoned(poisoned)) => {
                    *poisoned.into_inner() = false;
                    return;
                }
                Err(TryLockError::WouldBlock) => {
                    drain();
                    std::thread::yield_now();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::inbox::channel;

    #[test]
    fn what_has_passed_is_drained_and_nothing_passes_later() {
        let gate = Gate::default();
        let (sender, receiver) = channel(1);
        std::thread::scope(|scope| {
            let source = scope.spawn(|| {
                let mut passed = 0;
                while gate.pass(|| sender.send(()).expect("the receiver outlives the source")) {
                    passed += 1;
                }
                passed
            });
            let mut drained = 0;
            while drained < 10 {
                drained += receiver.try_iter().count();
            }
            gate.close(|| drained += receiver.try_iter().count());
            drained += receiver.try_iter().count();
            assert_eq!(source.join().unwrap(), drained);
        });
    }
}
