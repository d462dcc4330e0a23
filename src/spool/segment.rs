//! One segment: a file of records of one endpoint and kind, the file of marks beside it, and the index of what is still to be
//! delivered. Knows no limit and no order; the folder is [`crate::spool::disk`]'s.

use crate::spool::record;
use crate::spool::record::Damage;
use crate::spool::record::Head;
use crate::spool::record::Opening;
use crate::sys::files;
use crate::sys::files::Presence;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufReader;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::path::PathBuf;

/// Marks are read at once; more than these are not for records that can be in the index.
const MARKS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whose records a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Which endpoint; 0 is the main one.
    pub endpoint: u8,
    /// Code of the kind.
    pub kind: u8,
}

/// Which record of which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The segment's number.
    pub segment: u32,
    /// Where the record begins.
    pub offset: u32,
}

/// A record that is still to be delivered. Kept small, since there is one for each body on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it begins.
    pub offset: u32,
    /// Its length in the file.
    pub bytes: u32,
    /// When it was made, seconds since 1970 as the clock told them then, right or not; `None` for a clock that told none.
    pub created_s: Option<NonZeroU32>,
    /// Records of the ledger that it settles.
    pub records: u32,
    /// How often it was tried.
    pub attempts: u8,
    /// Position of the signal in the ledger's list.
    pub signal: u8,
    /// Somebody tries to deliver it.
    pub taken: bool,
}

impl Entry {
    /// The entry of a record with this head.
    pub fn of(offset: u32, bytes: u64, head: &Head) -> Entry {
        Entry {
            offset,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            created_s: u32::try_from(head.created_ms / 1000).ok().and_then(NonZeroU32::new),
            records: u32::try_from(head.records).unwrap_or(u32::MAX),
            attempts: u8::try_from(head.attempts).unwrap_or(u8::MAX),
            signal: head.signal,
            taken: false,
        }
    }
}

/// What a scan finds besides records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Why reading stopped.
    pub damage: Damage,
    /// How many bytes are behind the last good record.
    pub bytes: u64,
}

/// One file.
#[derive(Debug)]
pub struct Segment {
    /// Which; numbers are never used twice in a folder that holds anything.
    pub number: u32,
    /// Whose records.
    pub lane: Lane,
    /// Records that are still to be delivered, in the order of the file.
    pub entries: Vec<Entry>,
    /// How many of them somebody tries to deliver.
    taken: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the file of marks.
    marks_bytes: u64,
    /// Nothing is appended any more.
    pub closed: bool,
}

/// The name of segment `number`.
pub fn file_name(number: u32) -> String {
    format!("spool-{number:08x}.seg")
}

/// The number of the segment with this name, or of the one with marks of this name.
pub fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_prefix("spool-")?;
    let number = number.strip_suffix(".seg").or_else(|| number.strip_suffix(".done"))?;
    // Only as we write it: eight small hexadecimal digits.
    u32::from_str_radix(number, 16).ok().filter(|parsed| format!("{parsed:08x}") == number)
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(file_name(number))
}

/// The file of marks beside it.
pub fn marks_path(folder: &Path, number: u32) -> PathBuf {
    path(folder, number).with_extension("done")
}

/// What is in a segment's file, as far as it can be read.
#[derive(Debug)]
pub enum Scan {
    /// Records were given to the visitor.
    Read {
        /// How long the part is that can be read.
        good_bytes: u64,
        /// What is behind it.
        tail: Option<Tail>,
    },
    /// Not one record can be reached.
    Damaged {
        /// How long the file is.
        bytes: u64,
    },
    /// Of a version to come, or of a kind to come.
    Newer,
}

/// Reads segment `number` and shows each record with its offset, length and head, and whether it is settled, to `visit`, which says
/// whether it knows what to do with it. Read-only.
pub fn scan(folder: &Path, number: u32, visit: &mut dyn FnMut(u32, u64, Head, bool) -> bool) -> io::Result<Scan> {
    let path = path(folder, number);
    let meta = std::fs::symlink_metadata(&path)?; // a pipe would block whoever opens it
    if !meta.is_file() {
        return Err(io::Error::other("no file"));
    }
    let bytes = meta.len();
    let file = File::open(path)?;
    let mut reader = BufReader::new(file);
    match record::read_file_header(&mut reader) {
        Opening::Known => (),
        Opening::Newer => return Ok(Scan::Newer),
        Opening::Damaged => return Ok(Scan::Damaged { bytes }),
    }
    let settled = read_marks(folder, number);
    let mut at = record::FILE_HEADER_BYTES as u64;
    loop {
        let Ok(offset) = u32::try_from(at) else { return Ok(cut_off(at, bytes, Damage::Changed)) };
        match record::read(&mut reader, bytes - at, None) {
            Ok(None) => return Ok(Scan::Read { good_bytes: at, tail: None }),
            Ok(Some((length, head))) => {
                if !visit(offset, length, head, settled.binary_search(&offset).is_ok()) {
                    return Ok(Scan::Newer);
                }
                at += length;
            }
            Err(damage) => return Ok(cut_off(at, bytes, damage)),
        }
    }
}

fn cut_off(at: u64, bytes: u64, damage: Damage) -> Scan {
    Scan::Read { good_bytes: at, tail: Some(Tail { damage, bytes: bytes - at }) }
}

fn read_marks(folder: &Path, number: u32) -> Vec<u32> {
    let marks = files::read_small(&marks_path(folder, number), MARKS_BYTES_MAX).unwrap_or_default();
    record::read_marks(number, &marks)
}

impl Segment {
    /// A file that is not there yet.
    pub fn new(number: u32, lane: Lane) -> Segment {
        Segment { number, lane, entries: Vec::new(), taken: 0, bytes: 0, marks_bytes: 0, closed: false }
    }

    /// Reads what an earlier run left. `knows` says which lanes there are. `None` for a file that belongs to a version to come.
    pub fn open(folder: &Path, number: u32, knows: &dyn Fn(Lane) -> bool) -> io::Result<Option<(Segment, Option<Tail>)>> {
        let mut segment = Segment::new(number, Lane { endpoint: 0, kind: 0 });
        let mut first = true;
        let found = scan(folder, number, &mut |offset, bytes, head, settled| {
            let lane = Lane { endpoint: head.endpoint, kind: head.kind };
            if (!first && lane != segment.lane) || !knows(lane) {
                return false;
            }
            first = false;
            segment.lane = lane;
            if !settled {
                segment.entries.push(Entry::of(offset, bytes, &head));
            }
            true
        })?;
        let (bytes, tail) = match found {
            Scan::Newer => return Ok(None),
            Scan::Damaged { bytes } => (bytes, Some(Tail { damage: Damage::Changed, bytes })),
            Scan::Read { good_bytes, tail } => (good_bytes + tail.map_or(0, |tail| tail.bytes), tail),
        };
        segment.entries.shrink_to_fit();
        segment.bytes = bytes;
        segment.closed = tail.is_some() || first;
        segment.marks_bytes = std::fs::metadata(marks_path(folder, number)).map_or(0, |meta| meta.len());
        Ok(Some((segment, tail)))
    }

    /// Somebody tries to deliver the record at this place of the index, or does no more.
    pub fn set_taken(&mut self, at: usize, taken: bool) {
        let entry = &mut self.entries[at];
        self.taken = self.taken + usize::from(taken) - usize::from(entry.taken);
        entry.taken = taken;
    }

    /// Takes a record out of the index.
    pub fn forget(&mut self, at: usize) {
        self.set_taken(at, false);
        self.entries.remove(at);
    }

    /// How many records wait for somebody to try.
    pub fn waiting(&self) -> usize {
        self.entries.len() - self.taken
    }

    /// All bytes it takes on disk.
    pub fn bytes_on_disk(&self) -> u64 {
        self.bytes + self.marks_bytes
    }

    /// Writes a record behind the others. After an error the file is as it was, or closed.
    pub fn append(&mut self, folder: &Path, frame: &[u8], body: &[u8], sync: bool) -> io::Result<u32> {
        let is_new = self.bytes == 0;
        let presence = if is_new { Presence::Forbidden } else { Presence::Required };
        let mut file = files::append_private(&path(folder, self.number), presence)?;
        let at = if is_new { record::FILE_HEADER_BYTES as u64 } else { self.bytes };
        if file.metadata()?.len() != self.bytes {
            self.closed = true; // somebody else wrote or cut; what is behind the change is found by the next scan
            return Err(io::Error::other("a segment changed under the agent"));
        }
        if let Err(err) = write(&mut file, is_new, frame, body, sync) {
            self.closed |= file.set_len(self.bytes).is_err();
            if is_new {
                let _ = std::fs::remove_file(path(folder, self.number)); // an empty file would do no harm
            }
            return Err(err);
        }
        self.bytes = at + (frame.len() + body.len()) as u64;
        u32::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
    }

    /// Reads the record at `offset`; a record that cannot be read any more is [`io::ErrorKind::InvalidData`].
    pub fn load(&self, folder: &Path, offset: u32) -> io::Result<(Head, Vec<u8>)> {
        let mut file = File::open(path(folder, self.number))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(u64::from(offset)))?;
        let mut body = Vec::new();
        match record::read(&mut BufReader::new(file), length.saturating_sub(u64::from(offset)), Some(&mut body)) {
            Ok(Some((_, head))) => Ok((head, body)),
            Ok(None) | Err(_) => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }

    /// Notes on disk that these records are settled.
    pub fn mark(&mut self, folder: &Path, offsets: &[u32], sync: bool) -> io::Result<()> {
        let mut file = files::append_private(&marks_path(folder, self.number), Presence::Either)?;
        // What a torn write left would put all later marks out of step.
        let whole = file.metadata()?.len() / record::MARK_BYTES as u64 * record::MARK_BYTES as u64;
        file.set_len(whole)?;
        let marks: Vec<u8> = offsets.iter().flat_map(|offset| record::mark(self.number, *offset)).collect();
        file.write_all(&marks)?;
        self.marks_bytes = whole + marks.len() as u64;
        if sync { file.sync_data() } else { Ok(()) }
    }

    /// Sees that what was written is on the medium.
    pub fn sync(&self, folder: &Path) -> io::Result<()> {
        OpenOptions::new().append(true).open(path(folder, self.number))?.sync_data()
    }

    /// Removes both files, the records first: marks without records settle nothing.
    pub fn remove(&self, folder: &Path) -> io::Result<()> {
        let gone = |path: PathBuf| match std::fs::remove_file(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        };
        gone(path(folder, self.number))?;
        gone(marks_path(folder, self.number))
    }
}

fn write(file: &mut File, is_new: bool, frame: &[u8], body: &[u8], sync: bool) -> io::Result<()> {
    if is_new {
        file.write_all(&record::file_header())?;
    }
    file.write_all(frame)?;
    file.write_all(body)?;
    if sync { file.sync_data() } else { Ok(()) }
}
