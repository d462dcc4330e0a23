//! Either server with a handler that counts bodies in a ledger, and what must hold after an attack.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use super::hostile_clients::{PATIENCE, Port, is_past, soon};
use mote::sources::http::{Handler, Head, Limits, Refusal, Request, Response, Service, blocking, tiny};
use mote::sys::inbox::channel;
use mote::sys::ledger::{Ledger, Signal};
use mote::sys::memory::Budget;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What bodies may take in all.
pub const BUDGET_BYTES: usize = 8 * 1024 * 1024;

/// What the process may take besides.
const SLACK_BYTES: usize = 4 * 1024 * 1024;

/// Time-outs short enough for a test.
pub fn short_limits() -> Limits {
    Limits {
        header_time: Duration::from_millis(400),
        body_time: Duration::from_millis(400),
        idle_time: Duration::from_millis(800),
        write_time: Duration::from_millis(400),
        overload_wait: Duration::from_millis(200),
        drain_time: Duration::from_millis(200),
        pause: Duration::from_millis(50),
        stuck_time: Duration::from_millis(2000),
        ..Limits::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Blocking,
    Tiny,
}

enum Server {
    Blocking(blocking::Server),
    Tiny(tiny::Server),
}

struct Counting(Arc<Ledger>);

impl Handler for Counting {
    fn admit(&self, head: &Head) -> Result<usize, Response> {
        if head.path == "/take" { Ok(BUDGET_BYTES) } else { Err(Response::text(404, "404 page not found")) }
    }

    fn overloaded(&self, _: &Head) -> Response {
        Response::text(429, "busy")
    }

    fn answer(&self, request: Request) -> Response {
        let claim = self.0.accept(Signal::Traces, 1);
        drop(request);
        claim.sent();
        Response::text(200, "ok")
    }
}

/// A running server under test. Stages wait for each other, since each looks at the memory of the whole process.
pub struct Stage {
    pub kind: Kind,
    pub port: Port,
    pub service: Arc<Service>,
    server: Option<Server>,
    ledger: Arc<Ledger>,
    budget: Budget,
    rss_before: Option<usize>,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    pub fn start(kind: Kind, limits: Limits) -> Stage {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (ledger, budget) = (Ledger::new(), Budget::new(BUDGET_BYTES));
        let service = Service::new(Arc::new(Counting(Arc::clone(&ledger))), budget.clone(), limits);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let exits = channel(1).0;
        let server = match kind {
            Kind::Blocking => {
                Server::Blocking(blocking::Server::start("blocking", listener, Arc::clone(&service), &exits).unwrap())
            }
            Kind::Tiny => Server::Tiny(tiny::Server::start("tiny", listener, Arc::clone(&service), &exits).unwrap()),
        };
        let port = Port { addr, path: "/take", body: "{\"some\":\"thing\"}" };
        assert!(port.serves_a_good_client());
        let rss_before = memory("VmRSS:").filter(|_| std::fs::write("/proc/self/clear_refs", "5").is_ok());
        Stage { kind, port, service, server: Some(server), ledger, budget, rss_before, _alone }
    }

    /// What the attack must not have changed.
    #[track_caller]
    pub fn check(&self) {
        assert!(self.port.serves_a_good_client(), "{:?}: a good client is served, {:?}", self.kind, self.service);
        let by = soon(PATIENCE);
        while !(self.ledger.snapshot().is_quiet() && self.budget.taken() == 0) {
            assert!(!is_past(by), "{:?}: {} bytes taken, {}", self.kind, self.budget.taken(), self.ledger.snapshot());
            std::thread::yield_now();
        }
        assert!(self.ledger.snapshot().is_balanced(), "{}", self.ledger.snapshot());
        assert_eq!(self.ledger.snapshot().lost(), 0, "{}", self.ledger.snapshot());
    }

    /// The most memory that the process has had since the stage was set is within the budget.
    #[track_caller]
    pub fn check_memory(&self) {
        let Some(growth) = self.memory_growth() else { return };
        assert!(growth <= BUDGET_BYTES + SLACK_BYTES, "{:?}: grew by {} KiB", self.kind, growth / 1024);
    }

    /// By how much the process grew at most; `None` where that cannot be told: no /proc, or the emulator's own memory in it.
    pub fn memory_growth(&self) -> Option<usize> {
        Some(memory("VmHWM:")?.saturating_sub(self.rss_before?))
    }

    pub fn accepted(&self) -> u64 {
        self.ledger.snapshot().rows[Signal::Traces as usize].accepted
    }

    pub fn refused(&self, reason: Refusal) -> u64 {
        self.service.refusals().of(reason)
    }

    /// Ends the server; everything that was accepted has been settled.
    pub fn stop(mut self) {
        let stopped = match self.server.take() {
            Some(Server::Blocking(server)) => server.stop(soon(PATIENCE)),
            Some(Server::Tiny(server)) => server.stop(soon(PATIENCE)),
            None => true,
        };
        assert!(stopped, "{:?}: {:?}", self.kind, self.service);
        assert!(self.ledger.snapshot().is_quiet() && self.ledger.snapshot().is_balanced());
    }
}

/// A line of `/proc/self/status`, in bytes. Under an emulator it would tell the emulator's own memory.
fn memory(name: &str) -> Option<usize> {
    #[expect(clippy::disallowed_methods, reason = "how the tests are run")]
    let is_emulated = std::env::var("TEST_RUNNER").is_ok_and(|runner| !runner.is_empty());
    if is_emulated {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?.parse::<usize>().ok()?;
    Some(kib * 1024)
}
