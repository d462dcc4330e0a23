//! The journal: requests as they came, each on disk before it is acknowledged, and there until all that was made of it has been
//! delivered, stands in the spool, or was dropped for a reason of its own. What an earlier run left is taken in once more.
//!
//! It is a spool's folder with lanes of its own, one for each door that requests come through. Nothing is deleted to make room: a full
//! journal refuses, and the sender keeps what it has. A disk that does not work is said once, and requests are taken without a copy,
//! as if there were no journal, until it works again.

use crate::spool::disk::Disk;
use crate::spool::disk::Evict;
use crate::spool::disk::Found;
use crate::spool::disk::HEAD_BYTES;
use crate::spool::disk::KeepError;
use crate::spool::disk::Limits;
use crate::spool::folder;
use crate::spool::record;
use crate::spool::record::Head;
use crate::spool::segment::Lane;
use crate::spool::segment::Ticket;
use crate::sys::clock::Clock;
use crate::sys::clock::Now;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Signal;
use crate::sys::receipt::Desk;
use crate::sys::receipt::Receipt;
use crate::sys::worker::Worker;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::Instant;

/// Where a request came in, by its code on disk. They are no kinds of bodies and share the numbers with those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The trace agent.
    Traces = 32,
    /// The communication server.
    Communication = 33,
}

const DOORS: [(Door, &str); 2] = [(Door::Traces, "request-traces"), (Door::Communication, "request-communication")];

/// The name of a door's code in listings.
pub fn door_name(code: u8) -> Option<&'static str> {
    DOORS.iter().find(|(door, _)| *door as u8 == code).map(|(_, name)| *name)
}

/// Pause before a disk that does not work is tried again, at first and at most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A request as it came, in a run that ended before all of it was dealt with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Path, and query if there is one.
    pub target: String,
    /// The header lines that matter, none of them a secret.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

/// What is left of an earlier run.
#[derive(Debug)]
pub enum Next {
    /// This.
    Left(Left, Arc<Receipt>),
    /// Something, for which there is no memory now.
    NoRoom,
    /// Nothing any more.
    Nothing,
}

/// What became of a request that was to be entered.
#[derive(Debug)]
pub enum Entered {
    /// It is on disk, and there as long as anyone holds this.
    Kept(Arc<Receipt>),
    /// There is no room: the sender must keep it.
    Full,
    /// The disk does not work.
    Nowhere,
}

/// The journal. Connections' threads write to it, so it is behind a mutex: each has to wait for its own request to be on disk.
#[derive(Debug)]
pub struct Journal {
    book: Mutex<Book>,
    desk: Arc<Desk>,
    has_ended: AtomicBool,
    clock: Clock,
}

/// The thread that gives up what is settled.
#[derive(Debug)]
pub struct Clerk {
    worker: Worker<()>,
    bell: Sender<()>,
    journal: Arc<Journal>,
}

#[derive(Debug)]
struct Book {
    folder: PathBuf,
    limits: Limits,
    disk: Option<Disk>,
    /// The disk does not work; it is tried again then, after such a pause.
    trouble: Option<(Duration, Duration)>,
    /// Requests taken without a copy since.
    uncopied: u64,
    told_of_large: bool,
}

impl Clerk {
    /// Opens the journal in `folder` and starts the thread.
    pub fn start(folder: PathBuf, limits: Limits, clock: Clock, exits: &Sender<&'static str>) -> io::Result<Clerk> {
        let (journal, bell, rings) = Journal::open(folder, limits, clock);
        let own = Arc::clone(&journal);
        let worker = Worker::spawn("journal", exits, move || own.run(&rings))?;
        Ok(Clerk { worker, bell, journal })
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Gives up what is settled now; the rest stays for the next run.
    pub fn finish(self, by: Instant) {
        self.journal.has_ended.store(true, SeqCst);
        let _ = self.bell.try_send(()); // it rings already, or the thread is gone
        if let Err(err) = self.worker.finish(by) {
            log::warn!("{err}");
        }
    }
}

impl Journal {
    fn open(folder: PathBuf, limits: Limits, clock: Clock) -> (Arc<Journal>, Sender<()>, Receiver<()>) {
        let (bell, rings) = channel(1);
        let mut book = Book { folder, limits, disk: None, trouble: None, uncopied: 0, told_of_large: false };
        if folder::has_segments(&book.folder) {
            book.open(clock.now());
        }
        let desk = Desk::new(bell.clone());
        (Arc::new(Journal { book: Mutex::new(book), desk, has_ended: AtomicBool::new(false), clock }), bell, rings)
    }

    fn run(&self, rings: &Receiver<()>) {
        while rings.recv().is_ok() {
            self.settle();
            if self.has_ended.load(SeqCst) {
                self.settle(); // what was handed in between
                return self.lock().disk.iter().for_each(Disk::sync);
            }
        }
    }

    fn settle(&self) {
        let tickets: Vec<Ticket> = self.desk.take().into_iter().map(ticket).collect();
        if let Some(disk) = &mut self.lock().disk {
            disk.settle(tickets);
        }
    }

    /// Puts a copy on disk before the request is acknowledged.
    pub fn enter(&self, door: Door, target: String, headers: Vec<(String, String)>, body: &[u8]) -> Entered {
        let now = self.clock.now();
        let texts: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = body.len() + target.len() + texts;
        let head = Head {
            kind: door as u8,
            endpoint: 0,
            signal: Signal::Proxied as u8,
            clock_trusted: record::is_trusted(now),
            created_ms: u64::try_from(now.unix_millis()).unwrap_or_default(),
            attempts: 0,
            records: 1,
            headers,
            address: target,
        };
        let mut book = self.lock();
        if book.trouble.is_some_and(|(at, _)| now.uptime < at) {
            book.uncopied += 1;
            return Entered::Nowhere;
        }
        if book.disk.is_none() {
            book.open(now);
        }
        let is_too_large = book.limits.bytes_max < bytes as u64 + HEAD_BYTES;
        let Some(disk) = &mut book.disk else { return Entered::Nowhere };
        match disk.keep(&head, body, Evict::Nothing) {
            Ok(ticket) => {
                disk.set_taken(ticket);
                book.works();
                Entered::Kept(self.desk.receipt(place(ticket)))
            }
            // It becomes empty as the data leave; a disk that others have filled does not.
            Err(KeepError::Io(err)) if err.kind() == io::ErrorKind::FileTooLarge => book.passes_over(bytes),
            Err(KeepError::Full) if is_too_large => book.passes_over(bytes),
            Err(KeepError::Full) if 0 < disk.bytes() && disk.is_at_its_limit(bytes) => Entered::Full,
            Err(KeepError::Full) => {
                book.fails(now, &"there is no room on its disk");
                Entered::Nowhere
            }
            Err(KeepError::Io(err)) => {
                book.fails(now, &err);
                Entered::Nowhere
            }
        }
    }

    /// The newest request of an earlier run that nobody works on, if `has_room` for so many bytes. Whoever takes it in holds the receipt.
    pub fn next_left(&self, door: Door, has_room: &mut dyn FnMut(usize) -> bool) -> Next {
        self.look_for_left(door, has_room).unwrap_or(Next::Nothing)
    }

    fn look_for_left(&self, door: Door, has_room: &mut dyn FnMut(usize) -> bool) -> Option<Next> {
        let mut book = self.lock();
        let disk = book.disk.as_mut()?;
        loop {
            let (taken, entry) = disk.take_newest(door as u8)?;
            if !has_room(entry.bytes as usize) {
                disk.give_back(taken, 0);
                return Some(Next::NoRoom);
            }
            match disk.load(taken) {
                Ok(Some((head, body))) => {
                    let left = Left { target: head.address, headers: head.headers, body };
                    return Some(Next::Left(left, self.desk.receipt(place(taken))));
                }
                Ok(None) => (), // lost, which was said
                Err(err) => {
                    log::warn!("journal: a request cannot be read now and stays for the next run: {err}");
                    disk.set_taken(taken);
                }
            }
        }
    }

    /// The request could not be taken in now: it is left again.
    pub fn leave(&self, receipt: &Receipt) {
        receipt.void();
        if let Some(disk) = &mut self.lock().disk {
            disk.give_back(ticket(receipt.place()), 0);
        }
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.lock().disk.as_ref().map_or(0, Disk::bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn open(&mut self, now: Now) {
        // Requests are counted when they are taken in; these books are of copies and nobody reads them.
        let ledger = Ledger::new();
        match Disk::open(&self.folder, self.limits.clone(), value, &ledger, now) {
            Ok((disk, found)) => {
                self.disk = Some(disk);
                self.tell(&found, ledger.snapshot().lost());
                self.works();
            }
            Err(err) => self.fails(now, &err),
        }
    }

    fn tell(&self, found: &Found, too_old: u64) {
        let Found { bodies, damaged, cut, foreign, .. } = found;
        let folder = self.folder.display();
        if *found != Found::default() {
            let (requests, cut) = (bodies - too_old, cut.1);
            log::info!(
                "the journal has {requests} requests that were not dealt with; too old: {too_old}; cut off: {cut} bytes"
            );
        }
        if 0 < damaged.0 + foreign {
            log::warn!("journal: {} bytes in {folder} are damaged; {foreign} files are not the agent's", damaged.1);
        }
    }

    /// The disk works, and others go on to get their copies.
    fn passes_over(&mut self, bytes: usize) -> Entered {
        if !std::mem::replace(&mut self.told_of_large, true) {
            log::warn!("journal: requests of {bytes} bytes and more are too large for it and are taken without a copy");
        }
        Entered::Nowhere
    }

    fn works(&mut self) {
        if self.trouble.take().is_some() {
            let uncopied = std::mem::take(&mut self.uncopied);
            log::info!("journal: {} works again; {uncopied} requests were taken without a copy", self.folder.display());
        }
    }

    fn fails(&mut self, now: Now, err: &dyn fmt::Display) {
        let pause = self.trouble.map_or(RETRY_MIN, |(_, pause)| (pause * 2).min(RETRY_MAX));
        if self.trouble.is_none() {
            let folder = self.folder.display();
            log::warn!("journal: cannot write to {folder}: {err}; requests are taken without a copy");
        }
        self.trouble = Some((now.uptime + pause, pause));
        self.uncopied += 1;
    }
}

fn value(lane: Lane) -> Option<u8> {
    door_name(lane.kind).filter(|_| lane.endpoint == 0).map(|_| 1)
}

fn place(ticket: Ticket) -> u64 {
    u64::from(ticket.segment) << 32 | u64::from(ticket.offset)
}

fn ticket(place: u64) -> Ticket {
    Ticket { segment: (place >> 32) as u32, offset: place as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::ages::Ages;
    use crate::spool::disk::Fsync;
    use std::fs;
    use std::path::Path;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mote-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn open(folder: &Path) -> Arc<Journal> {
        let limits = Limits { bytes_max: 20_000, disk_ratio: 1.0, entries_max: 100, ages: Ages::none(), fsync: Fsync::Never };
        Journal::open(folder.to_path_buf(), limits, Clock::new()).0
    }

    #[track_caller]
    fn enter(journal: &Journal, body: &str) -> Arc<Receipt> {
        let headers = vec![("Content-Type".to_owned(), "x/y".to_owned())];
        match journal.enter(Door::Traces, "/path?a=b".to_owned(), headers, body.as_bytes()) {
            Entered::Kept(receipt) => receipt,
            other => panic!("{other:?}"),
        }
    }

    fn left(journal: &Journal) -> Vec<String> {
        let mut bodies = Vec::new();
        while let Next::Left(copy, receipt) = journal.next_left(Door::Traces, &mut |_| true) {
            assert_eq!((copy.target.as_str(), copy.headers[0].1.as_str()), ("/path?a=b", "x/y"));
            bodies.push(String::from_utf8(copy.body).unwrap());
            receipt.void();
        }
        bodies
    }

    #[test]
    fn what_was_not_dealt_with_is_left_for_the_next_run_newest_first() {
        let folder = folder("left");
        let journal = open(&folder);
        let receipts = ["one", "two", "three"].map(|body| enter(&journal, body));
        assert_eq!(left(&journal), [""; 0], "somebody works on them");
        let [_one, two, _three] = receipts;
        drop(two);
        journal.settle();
        drop(journal); // killed: nothing else is settled
        let journal = open(&folder);
        assert_eq!(left(&journal), ["three", "one"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_request_that_cannot_be_taken_in_is_left_again_and_a_settled_one_is_gone() {
        let folder = folder("again");
        drop(enter(&open(&folder), "one"));
        let journal = open(&folder);
        let next = |room: usize| journal.next_left(Door::Traces, &mut |bytes| bytes < room);
        assert!(matches!(next(3), Next::NoRoom), "nothing is read for which there is no memory");
        let Next::Left(_, receipt) = next(1_000) else { panic!("it is left") };
        assert!(matches!(next(1_000), Next::Nothing));
        journal.leave(&receipt);
        drop(receipt);
        journal.settle();
        assert!(matches!(next(1_000), Next::Left(..)));
        journal.settle();
        assert!(matches!(next(1_000), Next::Nothing));
        assert_eq!(journal.bytes(), 0);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing but the lock");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_journal_refuses_and_keeps_what_it_has() {
        let folder = folder("full");
        let journal = open(&folder);
        let first = enter(&journal, &"x".repeat(15_000));
        let refused = journal.enter(Door::Traces, String::new(), Vec::new(), &[b'y'; 15_000]);
        assert!(matches!(refused, Entered::Full));
        drop(first);
        journal.settle();
        drop(enter(&journal, &"z".repeat(15_000)));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_request_that_can_never_be_entered_costs_no_other_its_copy() {
        let folder = folder("large");
        let journal = open(&folder);
        let long = vec![("x".to_owned(), "y".repeat(70_000))];
        for (headers, body) in [(Vec::new(), 30_000), (long, 1)] {
            let entered = journal.enter(Door::Traces, String::new(), headers, &vec![0; body]);
            assert!(matches!(entered, Entered::Nowhere));
            drop(enter(&journal, "small"));
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn long_headers_fill_a_journal_as_well() {
        let folder = folder("headers");
        let journal = open(&folder);
        let _first = enter(&journal, &"x".repeat(15_000));
        let headers = vec![("x".to_owned(), "y".repeat(3_000))];
        let refused = journal.enter(Door::Traces, String::new(), headers, &[b'y'; 2_500]);
        assert!(matches!(refused, Entered::Full));
        drop(enter(&journal, "small"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_disk_that_does_not_work_costs_the_copy_and_nothing_else() {
        let folder = folder("file");
        fs::write(&folder, "no folder").unwrap();
        let journal = open(&folder);
        for _ in 0..2 {
            let entered = journal.enter(Door::Traces, String::new(), Vec::new(), b"body");
            assert!(matches!(entered, Entered::Nowhere));
        }
        assert_eq!(journal.lock().uncopied, 2);
        fs::remove_file(&folder).unwrap();
        journal.lock().trouble = Some((Duration::ZERO, RETRY_MIN));
        drop(enter(&journal, "body"));
        assert_eq!(journal.lock().trouble, None);
        fs::remove_dir_all(folder).unwrap();
    }
}
