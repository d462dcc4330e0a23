//! The spool's files: whatever happens to them, what is undamaged is found again and what is not is counted.
//!
//! `SOAK=1` tries each position and many more seeds instead of a sample.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use mote::spool::ages::Ages;
use mote::spool::disk::{Disk, Evict, Found, Fsync, KeepError, Limits};
use mote::spool::list::list;
use mote::spool::record::{self, Damage, Head};
use mote::spool::segment::{Lane, Ticket};
use mote::sys::clock::Now;
use mote::sys::ledger::{Ledger, Signal};
use mote::sys::random::Random;
use mote::sys::wall_clock::Shift;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const START_S: u64 = 1_800_000_000;
const TRACES: u8 = 1;
const LOGS: u8 = 2;

fn soak() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests")]
    std::env::var("SOAK").is_ok()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("spool-files").join(name);
    let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn at(seconds: u64) -> Now {
    Now { uptime: Duration::from_secs(seconds), unix: Duration::from_secs(START_S + seconds) }
}

fn limits() -> Limits {
    Limits { bytes_max: 1 << 20, disk_ratio: 1.0, entries_max: 10_000, ages: Ages::none(), fsync: Fsync::Never }
}

/// Logs are worth more than traces; kinds from 100 on are not known.
fn value(lane: Lane) -> Option<u8> {
    (lane.kind < 100).then_some(lane.kind)
}

struct Rig {
    disk: Disk,
    found: Found,
    ledger: Arc<Ledger>,
}

impl Rig {
    fn open(folder: &Path, limits: Limits, seconds: u64) -> Rig {
        let ledger = Ledger::new();
        let (disk, found) = Disk::open(folder, limits, value, &ledger, at(seconds)).unwrap();
        Rig { disk, found, ledger }
    }

    fn keep(&mut self, kind: u8, body: &[u8], seconds: u64) -> Result<Ticket, KeepError> {
        let signal = if kind == TRACES { Signal::Traces } else { Signal::Logs };
        let head = Head {
            kind,
            signal: signal as u8,
            records: 2,
            clock_trusted: true,
            created_ms: (START_S + seconds) * 1000,
            headers: vec![("Content-Type".into(), "x/y".into())],
            ..Head::default()
        };
        let claim = self.ledger.accept(signal, 2);
        let kept = self.disk.keep(&head, body, Evict::Oldest);
        if kept.is_ok() {
            claim.to_spool();
        } else {
            claim.refuse();
        }
        kept
    }

    /// Takes the newest record and gives its body.
    fn take(&mut self, kind: u8) -> Option<(Ticket, Vec<u8>)> {
        let (ticket, entry) = self.disk.take_newest(kind)?;
        let (head, body) = self.disk.load(ticket).unwrap()?;
        assert_eq!((head.kind, head.headers.len(), entry.records), (kind, 1, 2));
        Some((ticket, body))
    }

    /// Delivers the newest record.
    fn deliver(&mut self, kind: u8) -> Option<Vec<u8>> {
        let (ticket, body) = self.take(kind)?;
        self.ledger.from_spool(if kind == TRACES { Signal::Traces } else { Signal::Logs }, 2).sent();
        self.disk.settle(vec![ticket]);
        Some(body)
    }

    /// All bodies, newest first, kinds one after the other.
    fn bodies(&mut self) -> Vec<Vec<u8>> {
        let taken: Vec<_> =
            [TRACES, LOGS].iter().flat_map(|kind| std::iter::from_fn(|| self.take(*kind)).collect::<Vec<_>>()).collect();
        taken.iter().for_each(|(ticket, _)| assert!(self.disk.give_back(*ticket, 1)));
        taken.into_iter().map(|(_, body)| body).collect()
    }

    #[track_caller]
    fn check_books(&self) {
        let snapshot = self.ledger.snapshot();
        assert!(snapshot.is_balanced() && snapshot.is_quiet(), "{snapshot}");
        let spooled: u64 = snapshot.rows.iter().map(|row| row.spool).sum();
        assert_eq!(spooled, 2 * self.disk.waiting(&[TRACES, LOGS]) as u64, "{snapshot}");
    }
}

/// Names and contents.
type Files = Vec<(String, Vec<u8>)>;

fn files(folder: &Path) -> Files {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "lock")
        .collect();
    files.sort();
    files
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_iter().map(|(name, _)| name).collect()
}

fn write_files(folder: &Path, files: &[(String, Vec<u8>)]) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    files.iter().for_each(|(name, content)| fs::write(folder.join(name), content).unwrap());
}

#[test]
fn the_newest_of_a_kind_comes_first_and_a_restart_changes_nothing() {
    let folder = folder("order");
    let mut rig = Rig::open(&folder, limits(), 0);
    for (kind, body) in [(TRACES, "t1"), (LOGS, "l1"), (TRACES, "t2"), (LOGS, "l2"), (LOGS, "l3")] {
        rig.keep(kind, body.as_bytes(), 1).unwrap();
    }
    let expected = ["t2", "t1", "l3", "l2", "l1"].map(|body| body.as_bytes().to_vec());
    assert_eq!(rig.bodies(), expected);
    rig.check_books();
    drop(rig);
    let mut rig = Rig::open(&folder, limits(), 2);
    assert_eq!(rig.found, Found { bodies: 5, records: 10, ..Found::default() });
    assert_eq!(rig.bodies(), expected);
    rig.check_books();
}

#[test]
fn what_was_settled_stays_settled_and_an_empty_spool_leaves_no_files() {
    let folder = folder("settled");
    let mut rig = Rig::open(&folder, limits(), 0);
    for body in ["l1", "l2", "l3"] {
        rig.keep(LOGS, body.as_bytes(), 1).unwrap();
    }
    assert_eq!(rig.deliver(LOGS).unwrap(), b"l3");
    drop(rig);
    let mut rig = Rig::open(&folder, limits(), 2);
    assert_eq!(rig.bodies(), ["l2", "l1"].map(|body| body.as_bytes().to_vec()));
    rig.keep(LOGS, b"l4", 3).unwrap();
    assert_eq!(names(&folder), ["spool-00000001.done", "spool-00000001.seg"], "a segment goes on after a restart");
    while rig.deliver(LOGS).is_some() {}
    rig.check_books();
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_second_agent_is_kept_out() {
    let folder = folder("lock");
    let rig = Rig::open(&folder, limits(), 0);
    let err = Disk::open(&folder, limits(), value, &rig.ledger, at(0)).unwrap_err();
    assert_eq!(err.to_string(), "another agent uses it");
    drop(rig);
    Rig::open(&folder, limits(), 0);
}

#[test]
fn a_full_spool_gives_up_the_oldest_of_what_is_worth_least() {
    let folder = folder("full");
    let small = Limits { bytes_max: 100_000, ..limits() };
    let mut rig = Rig::open(&folder, small.clone(), 0);
    let body = [7; 10_000];
    for second in 0..4 {
        rig.keep(LOGS, &body, second).unwrap();
    }
    for second in 0..30 {
        rig.keep(TRACES, &body, second).unwrap();
        assert!(rig.disk.bytes() <= small.bytes_max);
    }
    assert_eq!(rig.disk.waiting(&[LOGS]), 4, "logs are worth more than traces");
    for second in 0..30 {
        rig.keep(LOGS, &body, second).unwrap();
        assert!(rig.disk.bytes() <= small.bytes_max);
    }
    assert_eq!(rig.disk.waiting(&[TRACES]), 0);
    assert!(matches!(rig.keep(TRACES, &body, 40), Err(KeepError::Full)), "nothing is worth as little");
    rig.check_books();
    let line = rig.ledger.snapshot().to_string();
    assert!(line.contains("spool_full=60; logs"), "all traces: {line}");
    let files: u64 = files(&folder).iter().map(|(_, content)| content.len() as u64).sum();
    assert_eq!(files, rig.disk.bytes());
}

#[test]
fn the_number_of_records_is_limited_since_their_index_is_in_memory() {
    let folder = folder("entries");
    let mut rig = Rig::open(&folder, Limits { entries_max: 50, bytes_max: 1 << 19, ..limits() }, 0);
    for second in 0..200 {
        rig.keep(LOGS, &[0; 1000], second).unwrap();
        assert!(rig.disk.waiting(&[LOGS]) <= 50);
    }
    assert!(30 < rig.disk.waiting(&[LOGS]), "only a segment at a time goes");
    rig.check_books();
}

#[test]
fn a_file_system_that_is_full_enough_takes_nothing() {
    let folder = folder("ratio");
    let mut rig = Rig::open(&folder, Limits { disk_ratio: 0.0, ..limits() }, 0);
    assert!(matches!(rig.keep(LOGS, b"l1", 0), Err(KeepError::Full)));
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn who_can_wait_makes_nothing_go() {
    let folder = folder("wait");
    let mut rig = Rig::open(&folder, Limits { bytes_max: 40_000, ..limits() }, 0);
    while rig.disk.bytes() < 30_000 {
        rig.keep(TRACES, &[0; 10_000], 0).unwrap();
    }
    let head = Head { kind: LOGS, ..Head::default() };
    assert!(matches!(rig.disk.keep(&head, &[0; 10_000], Evict::Nothing), Err(KeepError::Full)));
    assert_eq!(rig.disk.waiting(&[TRACES]), 3);
}

#[test]
fn what_the_intake_throws_away_goes_counted_and_the_rest_stays() {
    let folder = folder("age");
    let ages = Ages::none().with(Signal::Logs, Duration::from_secs(100));
    let limits = Limits { ages, ..limits() };
    let mut rig = Rig::open(&folder, limits.clone(), 0);
    for (kind, second) in [(LOGS, 0), (LOGS, 50), (TRACES, 0)] {
        rig.keep(kind, b"x", second).unwrap();
    }
    rig.disk.expire(at(100), &[]);
    assert_eq!(rig.disk.waiting(&[LOGS]), 2, "still young enough");
    rig.disk.expire(at(101), &[]);
    assert_eq!((rig.disk.waiting(&[LOGS]), rig.disk.waiting(&[TRACES])), (1, 1));
    assert!(rig.ledger.snapshot().to_string().contains("dropped=2 too_old=2"));
    rig.check_books();
    drop(rig);
    let rig = Rig::open(&folder, limits.clone(), 102);
    assert_eq!(rig.found.bodies, 2, "what was dropped does not come back");
    drop(rig);
    let rig = Rig::open(&folder, limits, 200);
    assert_eq!((rig.disk.waiting(&[LOGS]), names(&folder).len()), (0, 1));
    rig.check_books();
}

#[test]
fn a_clock_that_cannot_be_right_makes_nothing_too_old() {
    let folder = folder("clock");
    let limits = Limits { ages: Ages::all(Duration::from_secs(1)), ..limits() };
    let mut rig = Rig::open(&folder, limits, 0);
    let head = Head { kind: LOGS, created_ms: 5_000, clock_trusted: false, ..Head::default() };
    rig.disk.keep(&head, b"made in 1970", Evict::Oldest).unwrap();
    rig.disk.expire(at(1000), &[]);
    assert_eq!(rig.disk.waiting(&[LOGS]), 1, "its age is unknown");
    let head = Head { kind: LOGS, created_ms: START_S * 1000, clock_trusted: true, ..Head::default() };
    rig.disk.keep(&head, b"made now", Evict::Oldest).unwrap();
    rig.disk.expire(Now { uptime: Duration::from_secs(9), unix: Duration::from_secs(9) }, &[]);
    assert_eq!(rig.disk.waiting(&[LOGS]), 2, "the board has lost its clock");
    let nanos = |seconds: u64| (seconds * 1_000_000_000) as i64;
    let (by, latest) = (nanos(START_S + 1_000 - 6), nanos(START_S + 1_000));
    let shift = Shift { from: 0, to: nanos(1_000_000), by, latest, seen_at: Some(Duration::from_secs(6)) };
    rig.disk.expire(at(1000), &[shift]);
    assert_eq!(rig.disk.waiting(&[LOGS]), 1, "the one of 1970 was made a second ago, the other is too old");
    rig.disk.expire(at(1001), &[shift]);
    assert_eq!(rig.disk.waiting(&[LOGS]), 0);
}

#[test]
fn foreign_files_and_later_versions_are_left_alone() {
    let folder = folder("foreign");
    let mut rig = Rig::open(&folder, limits(), 0);
    rig.keep(LOGS, b"l1", 0).unwrap();
    let head = Head { kind: 200, ..Head::default() };
    rig.disk.keep(&head, b"of a kind to come", Evict::Oldest).unwrap();
    drop(rig);
    fs::write(folder.join("README"), "mine").unwrap();
    fs::write(folder.join("spool-1.seg"), "not as we write it").unwrap();
    fs::create_dir(folder.join("spool-0000000f.seg")).unwrap();
    let before = names_of_all(&folder);
    let mut rig = Rig::open(&folder, limits(), 0);
    assert_eq!((rig.found.bodies, rig.found.foreign), (1, 4));
    rig.deliver(LOGS).unwrap();
    let mut expected = before;
    expected.retain(|name| name != "spool-00000001.seg");
    assert_eq!(names_of_all(&folder), expected);
}

fn names_of_all(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn marks_without_a_segment_are_swept_up() {
    let folder = folder("orphan");
    write_files(&folder, &[("spool-00000005.done".into(), vec![1; 8])]);
    let mut rig = Rig::open(&folder, limits(), 0);
    assert_eq!(names(&folder), [""; 0]);
    rig.keep(LOGS, b"x", 0).unwrap();
    assert_eq!(names(&folder), ["spool-00000006.seg"], "a number is not used again");
}

#[test]
fn a_folder_that_vanishes_costs_what_was_in_it_and_no_more() {
    let folder = folder("vanishes");
    let mut rig = Rig::open(&folder, limits(), 0);
    rig.keep(LOGS, b"l1", 0).unwrap();
    rig.keep(TRACES, b"t1", 0).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(rig.take(TRACES), None);
    rig.keep(LOGS, b"l2", 1).unwrap();
    assert_eq!(rig.bodies(), [b"l2"]);
    assert!(rig.ledger.snapshot().to_string().contains("spool_damaged=2"));
    rig.check_books();
    drop(rig);
    assert_eq!(Rig::open(&folder, limits(), 2).found.bodies, 1);
}

/// Seconds since 1970 do not fit into 31 bits any more.
#[test]
fn what_is_kept_after_2038_has_its_age() {
    const LATER_S: u64 = 2_300_000_000 - START_S; // in 2042
    let folder = folder("after-2038");
    let limits = Limits { ages: Ages::all(Duration::from_secs(100)), ..limits() };
    let mut rig = Rig::open(&folder, limits.clone(), LATER_S);
    rig.keep(LOGS, b"old", LATER_S).unwrap();
    rig.keep(LOGS, b"young", LATER_S + 50).unwrap();
    drop(rig);
    let mut rig = Rig::open(&folder, limits, LATER_S + 100);
    assert_eq!((rig.found.bodies, rig.disk.waiting(&[LOGS])), (2, 2));
    rig.disk.expire(at(LATER_S + 101), &[]);
    assert_eq!(rig.deliver(LOGS), Some(b"young".to_vec()));
    assert_eq!(rig.deliver(LOGS), None);
    rig.check_books();
}

/// Sparse: they take no room on the disk. Where a length is cut to 32 bits the first is as long as its good part and the second empty.
#[test]
fn a_segment_of_more_than_four_gigabytes_is_read_to_its_damage_and_costs_no_memory() {
    let folder = folder("long");
    let mut rig = Rig::open(&folder, limits(), 0);
    rig.keep(LOGS, b"good", 0).unwrap();
    drop(rig);
    let [name] = &names(&folder)[..] else { panic!("one segment") };
    let (path, good) = (folder.join(name), fs::metadata(folder.join(name)).unwrap().len());
    for beyond in [1_u64 << 31, 1 << 32, (1 << 32) + 1] {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(good + beyond).unwrap();
        assert_eq!(list(&folder).unwrap().0.len(), 1);
        let rig = Rig::open(&folder, limits(), 0);
        assert_eq!((rig.found.bodies, rig.found.damaged), (1, (1, beyond)), "{beyond}");
        drop(rig);
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(good).unwrap();
    }
    let mut rig = Rig::open(&folder, limits(), 0);
    assert_eq!(rig.deliver(LOGS), Some(b"good".to_vec()));
}

#[test]
fn a_segment_that_somebody_else_cuts_is_left_and_another_begun() {
    let folder = folder("cut-while-open");
    let mut rig = Rig::open(&folder, limits(), 0);
    rig.keep(LOGS, b"l1", 0).unwrap();
    rig.keep(LOGS, b"l2", 0).unwrap();
    let path = folder.join("spool-00000001.seg");
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    assert!(rig.keep(LOGS, b"l3", 1).is_err());
    rig.keep(LOGS, b"l4", 2).unwrap();
    let read: Vec<_> = std::iter::from_fn(|| rig.deliver(LOGS)).collect();
    assert_eq!(read, [b"l4"], "the record that is cut ends the reading of what is newest");
    assert_eq!(rig.deliver(LOGS).unwrap(), b"l1");
    assert!(rig.ledger.snapshot().to_string().contains("spool_damaged=2"));
    rig.check_books();
}

#[test]
fn without_permission_nothing_is_lost_and_all_is_there_when_it_is_back() {
    let folder = folder("permission");
    let mut rig = Rig::open(&folder, limits(), 0);
    rig.keep(LOGS, b"l1", 0).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&folder).is_ok() {
        return; // root may do everything
    }
    assert!(matches!(rig.keep(LOGS, b"l2", 1), Err(KeepError::Io(_))));
    let (ticket, _) = rig.disk.take_newest(LOGS).unwrap();
    assert!(rig.disk.load(ticket).is_err());
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(rig.bodies(), [b"l1"]);
    rig.check_books();
}

#[test]
fn fsync_changes_nothing_but_time() {
    for fsync in [Fsync::Rotate, Fsync::Always] {
        let folder = folder("fsync");
        let mut rig = Rig::open(&folder, Limits { fsync, ..limits() }, 0);
        for second in 0..5 {
            rig.keep(LOGS, &[1; 9_000], second).unwrap();
        }
        rig.deliver(LOGS).unwrap();
        rig.disk.sync();
        drop(rig);
        assert_eq!(Rig::open(&folder, limits(), 9).found.bodies, 4);
    }
}

/// A spool with several segments, some records settled; and its bodies.
fn sample(name: &str) -> (PathBuf, Files, Vec<Vec<u8>>) {
    let folder = folder(name);
    let mut rig = Rig::open(&folder, Limits { bytes_max: 300_000, ..limits() }, 0);
    for index in 0..4_u8 {
        rig.keep(TRACES, &[b't', index], 0).unwrap();
        rig.keep(LOGS, &[b'l', index], 0).unwrap();
    }
    rig.deliver(LOGS).unwrap();
    rig.deliver(TRACES).unwrap();
    let bodies = rig.bodies();
    drop(rig);
    let files = files(&folder);
    assert_eq!(files.len(), 4);
    (folder, files, bodies)
}

/// What must hold when one file was damaged: the other segment is whole, of this one the first records are there, and what is not is
/// counted.
#[track_caller]
fn check_damaged(folder: &Path, files: &[(String, Vec<u8>)], damaged: &str, all: &[Vec<u8>], what: &str) {
    write_files(folder, files);
    list(folder).unwrap(); // reads the same, and does not fail either
    let mut rig = Rig::open(folder, limits(), 1);
    let bodies = rig.bodies();
    let first = if damaged.starts_with("spool-00000001") { b't' } else { b'l' };
    for kind in *b"tl" {
        let of = |bodies: &[Vec<u8>]| {
            let mut of: Vec<_> = bodies.iter().filter(|body| body[0] == kind).cloned().collect();
            of.reverse(); // the order of the file
            of
        };
        let (expected, found) = (of(all), of(&bodies));
        if kind != first {
            assert_eq!(found, expected, "{what}: the other segment");
        } else if damaged.ends_with("done") {
            let settled = vec![kind, 3];
            let again: Vec<_> = expected.iter().cloned().chain([settled]).collect();
            assert!(found == expected || found == again, "{what}: {found:?}");
        } else {
            assert!(expected.starts_with(&found), "{what}: {found:?}");
            let lost_bytes = rig.found.cut.1 + rig.found.damaged.1;
            assert!(found == expected || 0 < lost_bytes || what.starts_with("cut at a border"), "{what}: {:?}", rig.found);
        }
    }
    rig.check_books();
    // It goes on, too.
    rig.keep(LOGS, b"lx", 2).unwrap();
    assert_eq!(rig.deliver(LOGS).unwrap(), b"lx", "{what}");
}

#[test]
fn a_cut_at_any_byte_costs_the_tail_of_one_segment() {
    let (folder, files, bodies) = sample("cut");
    let step = if soak() { 1 } else { 7 };
    let borders: Vec<u64> =
        list(&folder).unwrap().0.iter().flat_map(|s| s.records.iter().map(|r| u64::from(r.offset))).collect();
    for (index, (name, content)) in files.iter().enumerate() {
        for end in (0..content.len()).step_by(step).chain([16, 20]).filter(|end| *end < content.len()) {
            let mut cut = files.clone();
            cut[index].1.truncate(end);
            let at_border = end == 0 || borders.contains(&(end as u64));
            let what = format!("cut at {} {end} of {name}", if at_border { "a border" } else { "byte" });
            check_damaged(&folder, &cut, name, &bodies, &what);
        }
    }
}

#[test]
fn a_flipped_bit_costs_the_tail_of_one_segment() {
    let (folder, files, bodies) = sample("flip");
    let step = if soak() { 1 } else { 61 };
    for (index, (name, content)) in files.iter().enumerate() {
        for bit in (0..content.len() * 8).step_by(step) {
            let mut flipped = files.clone();
            flipped[index].1[bit / 8] ^= 1 << (bit % 8);
            check_damaged(&folder, &flipped, name, &bodies, &format!("bit {bit} of {name}"));
        }
    }
}

#[test]
fn zeros_at_the_end_as_a_power_cut_leaves_them_are_damage_and_no_records() {
    let (folder, mut files, bodies) = sample("zeros");
    let (name, content) = files.iter_mut().find(|(name, _)| name.ends_with("2.seg")).unwrap();
    content.extend_from_slice(&[0; 4096]);
    let name = name.clone();
    check_damaged(&folder, &files, &name, &bodies, "zeros");
    write_files(&folder, &files);
    assert_eq!(Rig::open(&folder, limits(), 1).found.damaged, (1, 4096));
}

/// Random work against a model: a map from body to whether it waits.
#[test]
fn any_sequence_of_work_and_restarts_keeps_what_a_map_would_keep() {
    let seeds = if soak() { 0..2_000 } else { 0..40 };
    for seed in seeds {
        let mut random = Random::new(seed);
        let folder = folder("model");
        let mut rig = Rig::open(&folder, limits(), 0);
        let mut model: BTreeMap<u32, (u8, bool)> = BTreeMap::new();
        let mut taken: Vec<(Ticket, u32)> = Vec::new();
        for step in 0..60 {
            let kind = if random.below(2) == 0 { TRACES } else { LOGS };
            match random.below(10) {
                0..4 => {
                    let mut body = vec![0; random.below(9_000) as usize];
                    body.extend_from_slice(&u32::to_be_bytes(step));
                    rig.keep(kind, &body, 0).unwrap();
                    model.insert(step, (kind, true));
                }
                4..7 => {
                    let newest = model.iter().rev().find(|(_, state)| **state == (kind, true)).map(|(id, _)| *id);
                    let found = rig.take(kind).map(|(ticket, body)| (ticket, id_of(&body)));
                    assert_eq!(found.map(|(_, id)| id), newest, "seed {seed} step {step}");
                    if let Some((ticket, id)) = found {
                        model.get_mut(&id).unwrap().1 = false;
                        taken.push((ticket, id));
                    }
                }
                7 if !taken.is_empty() => {
                    let (ticket, id) = taken.swap_remove(random.below(taken.len() as u64) as usize);
                    rig.disk.settle(vec![ticket]);
                    rig.ledger.from_spool(if model[&id].0 == TRACES { Signal::Traces } else { Signal::Logs }, 2).sent();
                    model.remove(&id);
                }
                8 if !taken.is_empty() => {
                    let (ticket, id) = taken.swap_remove(random.below(taken.len() as u64) as usize);
                    assert!(rig.disk.give_back(ticket, 1));
                    model.get_mut(&id).unwrap().1 = true;
                }
                9 => {
                    drop(rig);
                    rig = Rig::open(&folder, limits(), 0);
                    taken.clear(); // what was in flight waits again
                    model.values_mut().for_each(|state| state.1 = true);
                    assert_eq!(rig.found.bodies, model.len() as u64, "seed {seed} step {step}");
                }
                _ => (),
            }
        }
        let mut ids: Vec<u32> = rig.bodies().iter().map(|body| id_of(body)).collect();
        ids.sort_unstable();
        let waiting: Vec<u32> = model.iter().filter(|(_, state)| state.1).map(|(id, _)| *id).collect();
        assert_eq!(ids, waiting, "seed {seed}");
        assert!(rig.ledger.snapshot().is_balanced());
    }
}

fn id_of(body: &[u8]) -> u32 {
    u32::from_be_bytes(*body.last_chunk().unwrap())
}

#[test]
fn a_listing_tells_what_waits_and_what_is_settled() {
    let (folder, ..) = sample("list");
    let rig = Rig::open(&folder, limits(), 0); // the agent runs
    fs::write(folder.join("other"), "x").unwrap();
    let (segments, foreign) = list(&folder).unwrap();
    let settled = |index: usize| segments[index].records.iter().map(|record| record.is_settled).collect::<Vec<_>>();
    assert_eq!((settled(0), settled(1), foreign), (vec![false, false, false, true], vec![false, false, false, true], 1));
    assert_eq!((segments[0].records[0].kind(), segments[1].records[0].signal()), ("traces", "logs"));
    drop(rig);
    let path = folder.join("spool-00000002.seg");
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    let (segments, _) = list(&folder).unwrap();
    let tail = segments[1].tail.unwrap();
    assert_eq!((segments[1].records.len(), tail.damage, segments[1].bytes), (3, Damage::Cut, length - 1));
}

fn fixture(version: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/state/v{version}/spool"))
}

#[test]
fn a_sample_of_every_version_can_still_be_read() {
    for version in record::VERSIONS {
        let folder = folder("fixture");
        write_files(&folder, &files(&fixture(version)));
        let mut rig = Rig::open(&folder, limits(), 1);
        assert_eq!(rig.found, Found { bodies: 6, records: 12, ..Found::default() }, "version {version}");
        let expected = [b"t\x02", b"t\x01", b"t\x00", b"l\x02", b"l\x01", b"l\x00"];
        assert_eq!(rig.bodies(), expected.map(|body| body.to_vec()), "version {version}");
    }
}

/// If this fails, a released format was changed: that needs a new version and a sample of it.
#[test]
fn what_is_written_today_is_the_sample_of_the_newest_version() {
    let (_, today, _) = sample("today");
    let newest = *record::VERSIONS.last().unwrap();
    assert_eq!(today, files(&fixture(newest)));
}
