//! The share of its traces that each service is to keep, as tracers are told it. Written by the traces pipeline, read by every answer
//! to a tracer.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

/// What one service is to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Which service; empty together with `env` for those that are not known yet.
    pub service: String,
    /// Where it runs.
    pub env: String,
    /// From 0 to 1.
    pub rate: f64,
}

/// Rates as they are answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Rates {
    /// Changes with the body.
    pub version: String,
    /// JSON.
    pub body: String,
}

/// The body that tells tracers to keep everything.
pub const KEEP_ALL: &str = "{\"rate_by_service\":{\"service:,env:\":1}}\n";

/// The version of [`KEEP_ALL`], the same in every run.
const KEEP_ALL_VERSION: &str = "1";

/// The present rates, shared by their one writer and all answers.
///
/// A lock, because every answer reads the same present rates at its own time; a channel would deliver each set once.
#[derive(Clone, Debug)]
pub struct RatesHandle {
    shared: Arc<RwLock<Arc<Rates>>>,
    /// Tells this run's versions from those of earlier runs, which tracers may still hold.
    run: u64,
}

impl RatesHandle {
    /// Everything is kept. `run` is a number that no other run has.
    pub fn new(run: u64) -> RatesHandle {
        let rates = Rates { version: KEEP_ALL_VERSION.to_owned(), body: KEEP_ALL.to_owned() };
        RatesHandle { shared: Arc::new(RwLock::new(Arc::new(rates))), run }
    }

    /// The rates now.
    pub fn get(&self) -> Arc<Rates> {
        Arc::clone(&self.shared.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on `body` is answered; `count` is a number that this run has not given yet. The same body keeps its version.
    pub fn publish(&self, body: String, count: u64) {
        let mut rates = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if rates.body != body {
            *rates = Arc::new(Rates { version: format!("{:x}-{count:x}", self.run), body });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_changes_with_its_rates_and_only_then() {
        let (writer, text) = (RatesHandle::new(0xab), str::to_owned);
        let reader = writer.clone();
        assert_eq!((reader.get().version.as_str(), reader.get().body.as_str()), ("1", KEEP_ALL));
        writer.publish(KEEP_ALL.to_owned(), 1);
        assert_eq!(reader.get().version, "1");
        writer.publish(text("{}"), 2);
        writer.publish(text("{}"), 3);
        assert_eq!(*reader.get(), Rates { version: text("ab-2"), body: text("{}") });
    }
}
