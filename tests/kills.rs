//! The program killed at random moments under load: with the journal, what was acknowledged arrives; without it, what had reached the
//! spool does.
//!
//! `KILLS=200` kills as often, `SEED=7` repeats a run's choices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a soak is asked for by variables and tells its seed")]

mod support;

use mote::spool::list::list;
use mote::sys::random::Random;
use rustix::process::Signal;
use std::collections::HashMap;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::agent::{Agent, KEY, Ledger, PATIENCE, Ports, folder, settings};
use support::fake_http::{FakeServer, Reply, Seen, dead_url};

fn kills() -> u64 {
    std::env::var("KILLS").map_or(4, |kills| kills.parse().unwrap())
}

fn random() -> Random {
    let seed = std::env::var("SEED").map_or_else(|_| Random::from_system().bits(), |seed| seed.parse().unwrap());
    println!("SEED={seed} KILLS={}", kills());
    Random::new(seed)
}

fn start(run: &Path, intake: &str, mode: &str) -> (Agent, Ports) {
    let mut env = settings();
    env.extend([
        ("DD_API_KEY", KEY.to_owned()),
        ("DD_APM_DD_URL", intake.to_owned()),
        ("DD_LOGS_CONFIG_LOGS_DD_URL", intake.to_owned()),
        ("DD_DD_URL", intake.to_owned()),
        ("DD_HEALTH_METRICS", "false".to_owned()),
        ("DD_RUN_PATH", run.to_str().unwrap().to_owned()),
        ("DD_FORWARDER_STORAGE_MODE", mode.to_owned()),
        ("DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES", "64MiB".to_owned()),
        ("DD_FORWARDER_STORAGE_MAX_DISK_RATIO", "1".to_owned()),
        ("DD_FORWARDER_BACKOFF_BASE", "0.01".to_owned()),
        ("DD_FORWARDER_BACKOFF_MAX", "0.05".to_owned()),
        ("DD_LOGS_CONFIG_BATCH_WAIT", "0.01".to_owned()),
    ]);
    let mut agent = Agent::start(&[], &env);
    let ports = agent.ready();
    (agent, ports)
}

/// Sends a request to an agent that may be killed meanwhile; whether it was acknowledged.
fn is_acknowledged(address: SocketAddr, path: &str, body: &str) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + body).as_bytes()).ok()?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // a kill may cut it
        Some(answer.starts_with(b"HTTP/1.1 200"))
    };
    answer().unwrap_or(false)
}

/// Numbered requests, and which of them were acknowledged.
#[derive(Default)]
struct Load {
    next: AtomicU64,
    acknowledged: Mutex<HashSet<u64>>,
    count: AtomicUsize,
}

impl Load {
    /// Sends until the agent is gone or has acknowledged `until` in all, one after the other.
    fn send(&self, ports: Ports, until: usize) {
        while self.count.load(SeqCst) < until {
            let number = self.next.fetch_add(1, SeqCst) + 1;
            let (address, path, body) = match number % 2 {
                0 => {
                    let span = r#""service":"s","name":"n","resource":"r","start":1700000000000000000,"duration":5"#;
                    let body = format!(r#"[[{{"trace_id":{number},"span_id":{number},{span}}}]]"#);
                    (ports.traces, "/v0.3/traces", body)
                }
                _ => {
                    let body = format!(r#"[{{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"line {number}"}}]"#);
                    (ports.communication, "/lambda/logs", body)
                }
            };
            if !is_acknowledged(address.unwrap(), path, &body) {
                return;
            }
            self.acknowledged.lock().unwrap().insert(number);
            self.count.fetch_add(1, SeqCst);
        }
    }

    /// Four threads send; the agent is killed as soon as `more` were acknowledged and some microseconds have passed.
    fn until_killed(&self, agent: Agent, ports: Ports, more: u64, random: &mut Random) -> Vec<String> {
        let until = self.count.load(SeqCst) + more as usize;
        let moment = Duration::from_micros(random.below(20_000));
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| self.send(ports, usize::MAX))));
            while self.count.load(SeqCst) < until {
                std::thread::yield_now();
            }
            mote::sys::worker::pause(moment);
            agent.send(Signal::KILL);
        });
        agent.finish().lines().map(str::to_owned).collect()
    }
}

/// The numbers in a request to the intake.
fn numbers(seen: &Seen) -> Vec<u64> {
    let of = |record: &serde_json::Value| match record["signal"].as_str()? {
        "traces" => record["trace_id"].as_str().map_or_else(|| record["trace_id"].as_u64(), |id| id.parse().ok()),
        "logs" => record["message"].as_str()?.strip_prefix("line ")?.parse().ok(),
        _ => None,
    };
    seen.records().iter().filter_map(of).collect()
}

/// Records on disk that are still to be delivered, or to be taken in.
fn unsettled(run: &Path) -> u64 {
    let segments = list(&run.join("spool")).map(|(segments, _)| segments).unwrap_or_default();
    let records = segments.iter().flat_map(|segment| &segment.records).filter(|record| !record.is_settled);
    records.map(|record| record.head.records).sum()
}

#[test]
fn with_the_journal_what_was_acknowledged_arrives_whenever_the_agent_is_killed() {
    let mut random = random();
    let run = folder("kills-journal");
    // Most of the time the intake takes everything, sometimes nothing, so that both ways through the disk are taken.
    let (takes, arrived) = (Arc::new(AtomicUsize::new(1)), Arc::new(Mutex::new(HashMap::<u64, u32>::new())));
    let (is_up, book) = (Arc::clone(&takes), Arc::clone(&arrived));
    let intake = FakeServer::start(move |seen| {
        if is_up.load(SeqCst) == 0 {
            return Reply::status(503);
        }
        for number in numbers(seen) {
            *book.lock().unwrap().entry(number).or_default() += 1;
        }
        Reply::status(202)
    });
    let load = Load::default();
    for kill in 1..=kills() {
        takes.store((random.below(4) != 0) as usize, SeqCst);
        let (agent, ports) = start(&run, &intake.url(), "journal");
        let lines = load.until_killed(agent, ports, random.below(150), &mut random);
        assert!(!lines.iter().any(|line| line.contains("panic")), "kill {kill}: {lines:#?}");
    }
    takes.store(1, SeqCst);
    let (agent, ports) = start(&run, &intake.url(), "journal");
    let acknowledged = load.acknowledged.lock().unwrap().clone();
    let missing = || {
        let arrived = arrived.lock().unwrap();
        let mut missing: Vec<u64> = acknowledged.iter().filter(|number| !arrived.contains_key(number)).copied().collect();
        missing.sort_unstable();
        missing
    };
    let by = support::wait::soon(PATIENCE);
    while !missing().is_empty() && !mote::sys::clock::Clock::new().until(by).is_zero() {
        is_acknowledged(ports.communication.unwrap(), "/lambda/flush", ""); // what was taken in leaves at once
    }
    let finished = agent.stop_and_finish();
    assert_eq!(missing(), [0; 0], "acknowledged and never delivered; {finished:#?}");
    finished.assert_clean();
    assert_eq!(unsettled(&run), 0);
    let twice = arrived.lock().unwrap().values().filter(|times| 1 < **times).count();
    println!("{} acknowledged, all delivered, {twice} of them more than once", acknowledged.len());
}

#[test]
fn what_was_delivered_before_a_kill_is_not_taken_in_again() {
    let run = folder("kills-settled");
    let intake = FakeServer::start(|_| Reply::status(202));
    let (agent, ports) = start(&run, &intake.url(), "journal");
    let load = Load::default();
    load.send(ports, 20);
    assert!(is_acknowledged(ports.communication.unwrap(), "/lambda/flush", ""));
    while 0 < unsettled(&run) {
        std::thread::yield_now(); // the journal is told a moment later
    }
    agent.send(Signal::KILL);
    assert_eq!(agent.finish().code, None);
    assert_eq!(intake.so_far().iter().flat_map(numbers).count(), 20);
    let (agent, ports) = start(&run, &intake.url(), "journal");
    assert!(is_acknowledged(ports.communication.unwrap(), "/lambda/flush", ""));
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert!(!finished.says("the journal has"), "{finished:#?}");
    assert_eq!(intake.so_far().iter().flat_map(numbers).count(), 0);
}

#[test]
fn what_a_journal_holds_is_taken_in_when_the_journal_is_switched_off() {
    let run = folder("kills-switched-off");
    let (agent, ports) = start(&run, &dead_url(), "journal");
    let load = Load::default();
    load.send(ports, 20);
    agent.send(Signal::KILL);
    agent.finish();
    let intake = FakeServer::start(|_| Reply::status(202));
    let (mut agent, ports) = start(&run, &intake.url(), "on_failure");
    let is_settled = |ledger: &Ledger| 20 <= ["traces", "logs"].iter().map(|signal| ledger.of(signal, "sent")).sum::<u64>();
    let by = support::wait::soon(PATIENCE);
    while 0 < unsettled(&run) && !mote::sys::clock::Clock::new().until(by).is_zero() {
        is_acknowledged(ports.communication.unwrap(), "/lambda/flush", "");
    }
    assert_eq!(unsettled(&run), 0, "nobody takes it in");
    agent.wait_until(is_settled);
    load.send(ports, 24);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    let mut arrived: Vec<u64> = intake.so_far().iter().flat_map(numbers).collect();
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived, (1..=24).collect::<Vec<u64>>());
}

#[test]
fn without_the_journal_what_had_reached_the_spool_arrives_and_the_next_start_says_so() {
    let mut random = random();
    let run = folder("kills-spool");
    let (load, dead) = (Load::default(), dead_url());
    let mut in_spool = 0;
    for kill in 1..=kills() {
        let (agent, ports) = start(&run, &dead, "on_failure");
        let lines = load.until_killed(agent, ports, random.below(150), &mut random);
        if 1 < kill {
            let restored = lines.iter().find(|line| line.contains("the last run ended uncleanly")).unwrap();
            assert!(in_spool == 0 || restored.contains(&format!("restored {in_spool} records")), "{in_spool}: {restored}");
        }
        in_spool = unsettled(&run);
    }
    let intake = FakeServer::start(|_| Reply::status(202));
    let (mut agent, _) = start(&run, &intake.url(), "on_failure");
    agent.wait_until(|ledger| ["traces", "logs", "stats"].iter().all(|signal| ledger.of(signal, "spool") == 0));
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    let ledger = finished.ledger();
    let restored: u64 = ["traces", "logs", "stats"].iter().map(|signal| ledger.of(signal, "restored")).sum();
    assert_eq!(restored, in_spool);
    println!("{in_spool} records had reached the spool, all delivered");
}
