//! What the spool on disk costs: `cargo bench --bench spool`. Bodies of 2 KiB, as a pipeline makes them of a few hundred lines; the file
//! system is that of the target folder.

use divan::Bencher;
use divan::counter::BytesCount;
use mote::spool::ages::Ages;
use mote::spool::disk::{Disk, Evict, Fsync, Limits};
use mote::spool::journal::{Clerk, Door, Entered};
use mote::spool::record::Head;
use mote::spool::segment::Lane;
use mote::sys::clock::Clock;
use mote::sys::inbox::channel;
use mote::sys::ledger::{Ledger, Signal};
use std::fs;
use std::path::{Path, PathBuf};

const BODIES: usize = 1_000;
const BODY_BYTES: usize = 2 * 1024;

fn main() {
    divan::main();
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-spool")).join(name);
    let _ = fs::remove_dir_all(&folder); // not there at first
    folder
}

fn open(folder: &Path, fsync: Fsync) -> Disk {
    let limits = Limits { bytes_max: 64 << 20, disk_ratio: 1.0, entries_max: 100_000, ages: Ages::none(), fsync };
    let value = |_: Lane| Some(0);
    Disk::open(folder, limits, value, &Ledger::new(), Clock::new().now()).expect("the target folder can be written").0
}

fn fill(disk: &mut Disk, bodies: usize) {
    let head = Head {
        kind: 2,
        signal: Signal::Logs as u8,
        records: 100,
        clock_trusted: true,
        created_ms: 1_800_000_000_000,
        headers: vec![("Content-Type".into(), "application/json".into()), ("Content-Encoding".into(), "gzip".into())],
        ..Head::default()
    };
    for _ in 0..bodies {
        disk.keep(&head, &[7; BODY_BYTES], Evict::Oldest).expect("there is room");
    }
}

#[divan::bench]
fn append(bencher: Bencher) {
    bencher
        .counter(BytesCount::new(BODIES * BODY_BYTES))
        .with_inputs(|| open(&folder("append"), Fsync::Rotate))
        .bench_local_values(|mut disk| fill(&mut disk, BODIES));
}

#[divan::bench(sample_count = 5)]
fn append_ten_with_fsync_always(bencher: Bencher) {
    bencher
        .counter(BytesCount::new(10 * BODY_BYTES))
        .with_inputs(|| open(&folder("always"), Fsync::Always))
        .bench_local_values(|mut disk| fill(&mut disk, 10));
}

/// What a request waits for in the mode `journal`, besides all else: it is written, and given up when its receipt is handed in.
#[divan::bench]
fn enter_journal(bencher: Bencher) {
    let limits =
        Limits { bytes_max: 64 << 20, disk_ratio: 1.0, entries_max: 100_000, ages: Ages::none(), fsync: Fsync::Rotate };
    let exits = channel(1).0;
    let clerk = Clerk::start(folder("journal"), limits, Clock::new(), &exits).expect("a thread can be started");
    let headers = || vec![("Content-Type".to_owned(), "application/msgpack".to_owned())];
    bencher.counter(BytesCount::new(BODIES * BODY_BYTES)).bench_local(|| {
        for _ in 0..BODIES {
            let entered = clerk.journal().enter(Door::Traces, "/v0.4/traces".to_owned(), headers(), &[7; BODY_BYTES]);
            assert!(matches!(entered, Entered::Kept(_)), "{entered:?}");
        }
    });
}

#[divan::bench]
fn recover(bencher: Bencher) {
    let folder = folder("recover");
    fill(&mut open(&folder, Fsync::Never), BODIES);
    bencher.counter(BytesCount::new(BODIES * BODY_BYTES)).bench_local(|| open(&folder, Fsync::Never));
}

#[divan::bench]
fn deliver(bencher: Bencher) {
    let prepared = || {
        let mut disk = open(&folder("deliver"), Fsync::Never);
        fill(&mut disk, BODIES);
        disk
    };
    bencher.counter(BytesCount::new(BODIES * BODY_BYTES)).with_inputs(prepared).bench_local_values(|mut disk| {
        while let Some((ticket, _)) = disk.take_newest(2) {
            disk.load(ticket).expect("it is there");
            disk.settle(vec![ticket]);
        }
    });
}
