//! The spool's folder: segments by endpoint and kind, what may be in them by bytes, number and age, and what goes when it is too much.
//!
//! One owner calls this, on one thread. Each kind has segments of its own, so that making room means to delete the oldest file of the
//! least valuable kind, and so that a record which must wait long does not hold on to those that expire soon. A lock on a file in the
//! folder keeps a second agent out. Nothing is made in the file system before the first record is written, and when all records are
//! settled nothing but the lock is left.
//!
//! Everything on disk is booked here as `spool` in the ledger, from the moment that a folder is opened; what is lost there too. Moving
//! a claim between memory and disk is the caller's.

mod ageing;

use crate::spool::ages::Ages;
use crate::spool::folder;
use crate::spool::record;
use crate::spool::record::Damage;
use crate::spool::record::Head;
use crate::spool::segment;
use crate::spool::segment::Entry;
use crate::spool::segment::Lane;
use crate::spool::segment::Segment;
use crate::spool::segment::Ticket;
use crate::sys::clock::Now;
use crate::sys::files;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// When what was written is made sure to be on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the system sees fit: survives a kill, not always a power cut.
    Never,
    /// When a segment is full, and at the end.
    Rotate,
    /// With each record.
    Always,
}

/// What may be in the folder.
#[derive(Clone, Debug)]
pub struct Limits {
    /// All files together.
    pub bytes_max: u64,
    /// Share of the file system that may be taken, by whomever.
    pub disk_ratio: f64,
    /// Records in the index, which is in memory.
    pub entries_max: usize,
    /// How old records may become.
    pub ages: Ages,
    /// See there.
    pub fsync: Fsync,
}

/// Bytes of the index for one record.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

/// A segment is at most this share of the limit, so that making room costs no more than that.
const SEGMENTS_SHARE: u64 = 32;

/// What stands around a body and its texts, as far as it matters whose limit was reached.
pub const HEAD_BYTES: u64 = 1024;

const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What was found when the folder was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bodies that are still to be delivered.
    pub bodies: u64,
    /// Records of the ledger in them.
    pub records: u64,
    /// Segments that are damaged, and the bytes in them that cannot be read.
    pub damaged: (u64, u64),
    /// Segments that end inside a record, and the bytes of those.
    pub cut: (u64, u64),
    /// Files that are not this version's.
    pub foreign: u64,
}

/// Why a body was not taken.
#[derive(Debug)]
pub enum KeepError {
    /// There is no room, and nothing of no more value that could go.
    Full,
    /// The file system says no.
    Io(io::Error),
}

impl From<io::Error> for KeepError {
    fn from(err: io::Error) -> KeepError {
        KeepError::Io(err)
    }
}

/// What may be deleted to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evict {
    /// The oldest of the least valuable kind.
    Oldest,
    /// The same, but only for the limits of its own: where others have filled the medium, memory comes first.
    AtLimit,
    /// Nothing: who writes can wait.
    Nothing,
}

/// An open folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    limits: Limits,
    /// The value of each lane; `None` for one that nobody knows.
    value: fn(Lane) -> Option<u8>,
    /// Numbers ascend.
    segments: Vec<Segment>,
    next_number: u32,
    /// The first number that is of this run.
    own_from: u32,
    ledger: Arc<Ledger>,
    /// A warning was given about a deletion or a mark that failed.
    complained: bool,
    _lock: File,
}

fn signal(entry: &Entry) -> Signal {
    Signal::ALL[usize::from(entry.signal).min(Signal::ALL.len() - 1)]
}

impl Disk {
    /// Opens `folder`, makes it if it is not there, and reads what an earlier run left, which is booked as restored.
    pub fn open(
        folder: &Path,
        limits: Limits,
        value: fn(Lane) -> Option<u8>,
        ledger: &Arc<Ledger>,
        now: Now,
    ) -> io::Result<(Disk, Found)> {
        let lock = folder::lock(folder)?;
        let (numbers, foreign) = folder::segment_numbers(folder)?;
        let next_number = numbers.last().map_or(1, |last| last.saturating_add(1));
        let (folder, ledger) = (folder.to_owned(), Arc::clone(ledger));
        let mut disk = Disk {
            folder,
            limits,
            value,
            segments: Vec::new(),
            next_number,
            own_from: next_number,
            ledger,
            complained: false,
            _lock: lock,
        };
        let mut found = Found { foreign, ..Found::default() };
        for number in numbers {
            disk.open_segment(number, &mut found);
        }
        disk.close_all_but_last_of_lane();
        for entry in disk.segments.iter().flat_map(|segment| &segment.entries) {
            found.bodies += 1;
            found.records += u64::from(entry.records);
            disk.ledger.restore(signal(entry), u64::from(entry.records));
        }
        disk.expire(now, &[]);
        disk.remove_empty();
        Ok((disk, found))
    }

    fn open_segment(&mut self, number: u32, found: &mut Found) {
        let value = self.value;
        let Ok(opened) = Segment::open(&self.folder, number, &|lane| value(lane).is_some()) else {
            // Marks without a segment, as a crash between two deletions leaves them, or a file that cannot be read.
            if !self.folder.join(segment::file_name(number)).exists() {
                let _ = std::fs::remove_file(segment::marks_path(&self.folder, number));
            } else {
                found.foreign += 1;
            }
            return;
        };
        let Some((segment, tail)) = opened else {
            found.foreign += 1;
            return;
        };
        if let Some(tail) = tail {
            let counts = if tail.damage == Damage::Cut { &mut found.cut } else { &mut found.damaged };
            *counts = (counts.0 + 1, counts.1 + tail.bytes);
        }
        self.segments.push(segment);
    }

    /// Only a lane's newest segment may grow, so that the order of numbers is the order of age.
    fn close_all_but_last_of_lane(&mut self) {
        let mut seen: Vec<Lane> = Vec::new();
        for segment in self.segments.iter_mut().rev() {
            segment.closed |= seen.contains(&segment.lane);
            seen.push(segment.lane);
        }
    }

    /// All files together.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes_on_disk).sum()
    }

    /// How many records of these kinds wait to be taken.
    pub fn waiting(&self, kinds: &[u8]) -> usize {
        let of_kinds = self.segments.iter().filter(|segment| kinds.contains(&segment.lane.kind));
        of_kinds.map(Segment::waiting).sum()
    }

    /// Writes a body. What had to go for it is booked.
    pub fn keep(&mut self, head: &Head, body: &[u8], evict: Evict) -> Result<Ticket, KeepError> {
        match self.write(head, body, evict) {
            Err(KeepError::Io(err)) if err.kind() == io::ErrorKind::NotFound => {
                self.begin_anew()?;
                self.write(head, body, evict)
            }
            outcome => outcome,
        }
    }

    /// Files or the whole folder have vanished while the agent runs: what was in them is lost, booked.
    fn begin_anew(&mut self) -> io::Result<()> {
        self._lock = folder::lock(&self.folder)?;
        for index in (0..self.segments.len()).rev() {
            if !self.folder.join(segment::file_name(self.segments[index].number)).exists() {
                self.lose(index, Reason::SpoolDamaged);
            }
        }
        Ok(())
    }

    fn write(&mut self, head: &Head, body: &[u8], evict: Evict) -> Result<Ticket, KeepError> {
        let frame = record::frame(head, body)?;
        let (lane, bytes) = (Lane { endpoint: head.endpoint, kind: head.kind }, (frame.len() + body.len()) as u64);
        self.make_room(bytes, lane, evict)?;
        let index = match self.open_for(lane, bytes) {
            Some(index) => index,
            None => self.begin(lane)?,
        };
        let sync = self.limits.fsync == Fsync::Always;
        let segment = &mut self.segments[index];
        let appended = segment.append(&self.folder, &frame, body, sync);
        let ticket = appended.map(|offset| {
            segment.entries.push(Entry::of(offset, bytes, head));
            Ticket { segment: segment.number, offset }
        });
        if ticket.is_err() && segment.entries.is_empty() {
            self.remove(index);
        }
        Ok(ticket?)
    }

    fn segment_bytes_max(&self) -> u64 {
        (self.limits.bytes_max / SEGMENTS_SHARE).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    }

    /// The segment to append to, if there is one with room.
    fn open_for(&mut self, lane: Lane, bytes: u64) -> Option<usize> {
        let max = self.segment_bytes_max();
        let index = self.segments.iter().rposition(|segment| segment.lane == lane && !segment.closed)?;
        let segment = &mut self.segments[index];
        if segment.bytes + bytes <= max {
            return Some(index);
        }
        segment.closed = true;
        segment.entries.shrink_to_fit();
        if self.limits.fsync != Fsync::Never {
            // The records are in the file all the same; at worst a power cut finds fewer of them.
            let _ = segment.sync(&self.folder).inspect_err(|err| log::debug!("spool: cannot sync a segment: {err}"));
        }
        None
    }

    fn begin(&mut self, lane: Lane) -> io::Result<usize> {
        let number = self.next_number;
        self.next_number = number.checked_add(1).ok_or(io::Error::from(io::ErrorKind::StorageFull))?;
        self.segments.push(Segment::new(number, lane));
        Ok(self.segments.len() - 1)
    }

    /// Deletes segments until `bytes` more fit.
    fn make_room(&mut self, bytes: u64, lane: Lane, evict: Evict) -> Result<(), KeepError> {
        let needed = bytes + record::FILE_HEADER_BYTES as u64;
        loop {
            let used = self.bytes();
            if used + needed <= self.bytes_allowed(used) && !self.has_too_many() {
                return Ok(());
            }
            let may_evict = match evict {
                Evict::Oldest => true,
                Evict::AtLimit => self.limits.bytes_max < used + needed || self.has_too_many(),
                Evict::Nothing => false,
            };
            let victim = may_evict.then(|| self.least_valuable((self.value)(lane).unwrap_or(0))).flatten();
            let Some(victim) = victim else { return Err(KeepError::Full) };
            self.lose(victim, Reason::SpoolFull);
        }
    }

    fn has_too_many(&self) -> bool {
        self.limits.entries_max <= self.segments.iter().map(|segment| segment.entries.len()).sum()
    }

    /// Whether it is by the limits of its own that so many bytes have no room, and not for want of room on the medium.
    pub fn is_at_its_limit(&self, bytes: usize) -> bool {
        self.limits.bytes_max < self.bytes() + bytes as u64 + HEAD_BYTES || self.has_too_many()
    }

    /// What all files may take: the limit, or less on a file system that is nearly full.
    fn bytes_allowed(&self, used: u64) -> u64 {
        let Ok((all, left)) = files::file_system_bytes(&self.folder) else { return self.limits.bytes_max };
        let reserved = (all as f64 * (1.0 - self.limits.disk_ratio).clamp(0.0, 1.0)) as u64;
        self.limits.bytes_max.min((used + left).saturating_sub(reserved))
    }

    /// The oldest segment of the kind that is worth least, if that is not worth more than `value`.
    fn least_valuable(&self, value: u8) -> Option<usize> {
        let worth = |segment: &Segment| (self.value)(segment.lane).unwrap_or(0);
        let candidates = self.segments.iter().enumerate().filter(|(_, segment)| worth(segment) <= value);
        candidates.min_by_key(|(_, segment)| worth(segment)).map(|(index, _)| index)
    }

    /// Deletes a segment with what is in it. Who tries to deliver one of its records holds the claim for it.
    fn lose(&mut self, index: usize, reason: Reason) {
        for entry in self.segments[index].entries.iter().filter(|entry| !entry.taken) {
            self.ledger.drop_spooled(signal(entry), u64::from(entry.records), reason);
        }
        self.remove(index);
    }

    fn remove(&mut self, index: usize) {
        let segment = self.segments.remove(index);
        complain(segment.remove(&self.folder), &mut self.complained);
    }

    fn remove_empty(&mut self) {
        for index in (0..self.segments.len()).rev() {
            if self.segments[index].entries.is_empty() {
                self.remove(index);
            }
        }
    }

    /// The newest record of `kind` that nobody has taken; it is taken now.
    pub fn take_newest(&mut self, kind: u8) -> Option<(Ticket, Entry)> {
        let mut segments = self.segments.iter_mut().rev().filter(|segment| segment.lane.kind == kind);
        let segment = segments.find(|segment| 0 < segment.waiting())?;
        let at = segment.entries.iter().rposition(|entry| !entry.taken)?;
        segment.set_taken(at, true);
        let entry = segment.entries[at];
        Some((Ticket { segment: segment.number, offset: entry.offset }, entry))
    }

    /// Reads a record that was taken. One that cannot be read any more is lost, booked, and `None`.
    pub fn load(&mut self, ticket: Ticket) -> io::Result<Option<(Head, Vec<u8>)>> {
        let Some((index, at)) = self.find(ticket) else { return Ok(None) };
        match self.segments[index].load(&self.folder, ticket.offset) {
            Ok(found) => Ok(Some(found)),
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                log::warn!("spool: a record of {} is damaged or gone", segment::file_name(ticket.segment));
                self.segments[index].set_taken(at, false);
                if err.kind() == io::ErrorKind::NotFound {
                    self.lose(index, Reason::SpoolDamaged); // the whole file is gone
                } else {
                    let entry = self.segments[index].entries[at];
                    self.ledger.drop_spooled(signal(&entry), u64::from(entry.records), Reason::SpoolDamaged);
                    self.settle(vec![ticket]);
                }
                Ok(None)
            }
            Err(err) => {
                self.segments[index].set_taken(at, false);
                Err(err)
            }
        }
    }

    /// Records that are dealt with, whatever became of them.
    pub fn settle(&mut self, mut tickets: Vec<Ticket>) {
        tickets.sort_unstable();
        for of_segment in tickets.chunk_by(|a, b| a.segment == b.segment) {
            let mut offsets = Vec::with_capacity(of_segment.len());
            for ticket in of_segment {
                let Some((index, at)) = self.find(*ticket) else { continue };
                self.segments[index].forget(at);
                offsets.push(ticket.offset);
            }
            let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == of_segment[0].segment) else {
                continue;
            };
            if !segment.entries.is_empty() && !offsets.is_empty() {
                complain(segment.mark(&self.folder, &offsets, self.limits.fsync == Fsync::Always), &mut self.complained);
            }
        }
        self.remove_empty();
    }

    /// Somebody works on a record that was written just now, so that [`Disk::take_newest`] passes it over.
    pub fn set_taken(&mut self, ticket: Ticket) {
        if let Some((index, at)) = self.find(ticket) {
            self.segments[index].set_taken(at, true);
        }
    }

    /// A record that was taken waits again. `false` when it is on disk no more.
    pub fn give_back(&mut self, ticket: Ticket, attempts: u32) -> bool {
        let Some((index, at)) = self.find(ticket) else { return false };
        let segment = &mut self.segments[index];
        segment.set_taken(at, false);
        segment.entries[at].attempts = u8::try_from(attempts).unwrap_or(u8::MAX);
        true
    }

    fn find(&self, ticket: Ticket) -> Option<(usize, usize)> {
        let index = self.segments.binary_search_by_key(&ticket.segment, |segment| segment.number).ok()?;
        let at = self.segments[index].entries.binary_search_by_key(&ticket.offset, |entry| entry.offset).ok()?;
        Some((index, at))
    }

    /// Sees at the end that everything is on the medium, unless that is not wanted.
    pub fn sync(&self) {
        if self.limits.fsync == Fsync::Never {
            return;
        }
        for segment in self.segments.iter().filter(|segment| !segment.closed) {
            let _ = segment.sync(&self.folder).inspect_err(|err| log::debug!("spool: cannot sync a segment: {err}"));
        }
    }
}

/// Says once that something settled stays on disk.
fn complain(outcome: io::Result<()>, complained: &mut bool) {
    match outcome {
        Ok(()) => *complained = false,
        Err(err) => {
            let level = if *complained { log::Level::Debug } else { log::Level::Warn };
            log::log!(level, "spool: cannot delete or mark what is settled, so that a restart may send it again: {err}");
            *complained = true;
        }
    }
}
