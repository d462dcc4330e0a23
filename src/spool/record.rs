//! The format of a segment: what stands in the file and how it is read back. Knows no folder, no queue and no limit of the spool.
//!
//! ```text
//! file     "motespol"   8 bytes
//!          version      1 byte, now 1, and 3 bytes of zero
//!          CRC-32       4 bytes, little-endian, of the 12 bytes before it
//! record   length       4 bytes, little-endian, of head and body
//!          head length  4 bytes, little-endian, at most 64 KiB
//!          CRC-32       4 bytes, little-endian, of both lengths, head and body
//!          head         nanoserde's binary form of [`Head`]
//!          body         as it is sent
//! record   ...
//! marks    offset       4 bytes, little-endian: the record that begins there is settled
//!          CRC-32       4 bytes, little-endian, of the segment's number and the offset
//! ```
//!
//! Marks stand in a file of their own beside the segment, so that a segment is only ever appended to. Each is checked by itself: one
//! that is torn costs one record that is sent twice. nanoserde trusts the lengths inside a head, so a head is touched only after the
//! CRC has been found right. Old versions stay readable; `fixtures/state/` holds a sample of each.

use crate::sys::clock::Now;
use crate::sys::wall_clock::PLAUSIBLE_FROM;
use nanoserde::DeBin;
use nanoserde::SerBin;
use std::io;
use std::io::Read;

const MAGIC: &[u8; 8] = b"motespol";
const VERSION: u8 = 1;

/// The versions that can be read.
pub const VERSIONS: [u8; 1] = [VERSION];

/// Bytes before the first record.
pub const FILE_HEADER_BYTES: usize = 16;

/// Bytes of one mark.
pub const MARK_BYTES: usize = 8;

/// Bytes of a record before its head.
const FRAME_BYTES: usize = 12;

const HEAD_BYTES_MAX: usize = 64 * 1024;

/// No body is longer: a request that a client may send has at most 25 MiB.
const RECORD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is known of a body besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerBin, DeBin)]
pub struct Head {
    /// Code of its kind.
    pub kind: u8,
    /// Which endpoint it is for; 0 is the main one.
    pub endpoint: u8,
    /// Position of the signal in the ledger's list.
    pub signal: u8,
    /// The wall clock could be trusted when it was made.
    pub clock_trusted: bool,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// How often it had been tried when it was written.
    pub attempts: u32,
    /// Records of the ledger that it settles.
    pub records: u64,
    /// HTTP headers that belong to it.
    pub headers: Vec<(String, String)>,
    /// Where it goes if not where its kind says; empty for there.
    pub address: String,
}

/// Whether the wall clock can be right.
pub fn is_trusted(now: Now) -> bool {
    PLAUSIBLE_FROM <= now.unix
}

impl Head {
    /// When it was made, seconds since 1970; `None` when nobody knows.
    pub fn created_s(&self) -> Option<u32> {
        u32::try_from(self.created_ms / 1000).ok().filter(|_| self.clock_trusted)
    }
}

/// Why reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file ends inside a record, as after a kill or a power cut.
    Cut,
    /// The bytes are not those that were written.
    Changed,
}

/// The first bytes of a segment.
pub fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8] = VERSION;
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A segment that can be read.
    Known,
    /// A segment of a version to come.
    Newer,
    /// Nothing of ours, or damaged.
    Damaged,
}

/// Reads the file's header.
pub fn read_file_header(reader: &mut dyn Read) -> Opening {
    let mut header = [0; FILE_HEADER_BYTES];
    let intact = reader.read_exact(&mut header).is_ok()
        && header.starts_with(MAGIC)
        && crc32fast::hash(&header[..12]).to_le_bytes() == header[12..];
    match intact {
        false => Opening::Damaged,
        true if VERSIONS.contains(&header[8]) => Opening::Known,
        true => Opening::Newer,
    }
}

/// What stands before `body` in the file. An error when there is more than a record can hold.
pub fn frame(head: &Head, body: &[u8]) -> io::Result<Vec<u8>> {
    let head = head.serialize_bin();
    let length = head.len() as u64 + body.len() as u64;
    if HEAD_BYTES_MAX < head.len() || RECORD_BYTES_MAX < length {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut frame = Vec::with_capacity(FRAME_BYTES + head.len());
    frame.extend_from_slice(&(length as u32).to_le_bytes());
    frame.extend_from_slice(&(head.len() as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&frame);
    crc.update(&head);
    crc.update(body);
    frame.extend_from_slice(&crc.finalize().to_le_bytes());
    frame.extend_from_slice(&head);
    Ok(frame)
}

/// Reads one record of a file in which `left` bytes are left: its length in the file, its head, and its body if there is a place to
/// put it. `None` at the end.
pub fn read(reader: &mut dyn Read, left: u64, body: Option<&mut Vec<u8>>) -> Result<Option<(u64, Head)>, Damage> {
    if left == 0 {
        return Ok(None);
    }
    let mut frame = [0; FRAME_BYTES];
    reader.read_exact(&mut frame).map_err(cut_or_changed)?;
    let number = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let (length, head_length, expected) = (u64::from(number(0)), number(4) as usize, number(8));
    if HEAD_BYTES_MAX < head_length || length < head_length as u64 || RECORD_BYTES_MAX < length || head_length == 0 {
        return Err(Damage::Changed);
    }
    if left < FRAME_BYTES as u64 + length {
        return Err(Damage::Cut);
    }
    let mut head = vec![0; head_length];
    reader.read_exact(&mut head).map_err(cut_or_changed)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&frame[..8]);
    crc.update(&head);
    read_body(reader, length - head_length as u64, &mut crc, body)?;
    if crc.finalize() != expected {
        return Err(Damage::Changed);
    }
    let head = Head::deserialize_bin(&head).map_err(|_| Damage::Changed)?;
    Ok(Some((FRAME_BYTES as u64 + length, head)))
}

/// The body in small pieces, so that a scan needs no memory for bodies.
fn read_body(
    reader: &mut dyn Read,
    mut left: u64,
    crc: &mut crc32fast::Hasher,
    mut body: Option<&mut Vec<u8>>,
) -> Result<(), Damage> {
    if let Some(body) = &mut body {
        body.reserve_exact(left as usize); // no more than the file holds
    }
    let mut piece = [0; 8 * 1024];
    while 0 < left {
        let wanted = left.min(piece.len() as u64) as usize;
        reader.read_exact(&mut piece[..wanted]).map_err(cut_or_changed)?;
        crc.update(&piece[..wanted]);
        if let Some(body) = &mut body {
            body.extend_from_slice(&piece[..wanted]);
        }
        left -= wanted as u64;
    }
    Ok(())
}

fn cut_or_changed(err: io::Error) -> Damage {
    if err.kind() == io::ErrorKind::UnexpectedEof { Damage::Cut } else { Damage::Changed }
}

/// The mark that settles the record at `offset` of segment `number`.
pub fn mark(number: u32, offset: u32) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark[..4].copy_from_slice(&offset.to_le_bytes());
    mark[4..].copy_from_slice(&mark_crc(number, offset).to_le_bytes());
    mark
}

/// The offsets that the marks of segment `number` settle, sorted. What is no mark is left out.
pub fn read_marks(number: u32, marks: &[u8]) -> Vec<u32> {
    let mut offsets: Vec<u32> = marks
        .as_chunks::<MARK_BYTES>()
        .0
        .iter()
        .filter_map(|[a, b, c, d, crc @ ..]| {
            let offset = u32::from_le_bytes([*a, *b, *c, *d]);
            (mark_crc(number, offset).to_le_bytes() == *crc).then_some(offset)
        })
        .collect();
    offsets.sort_unstable();
    offsets
}

fn mark_crc(number: u32, offset: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Head { kind: 2, records: 7, created_ms: 1_800_000_000_000, clock_trusted: true, headers, ..Head::default() }
    }

    fn record() -> Vec<u8> {
        let mut record = frame(&head(), b"the body").unwrap();
        record.extend_from_slice(b"the body");
        record
    }

    fn read_whole(bytes: &[u8]) -> Result<Option<(Head, Vec<u8>)>, Damage> {
        let mut body = Vec::new();
        let found = read(&mut &bytes[..], bytes.len() as u64, Some(&mut body))?;
        Ok(found.map(|(_, head)| (head, body)))
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read_whole(&record()), Ok(Some((head(), b"the body".to_vec()))));
        assert_eq!(read_whole(&[]), Ok(None));
        assert_eq!(read_file_header(&mut &file_header()[..]), Opening::Known);
    }

    #[test]
    fn no_cut_and_no_flipped_bit_is_mistaken_for_a_record() {
        let record = record();
        for end in 1..record.len() {
            assert_eq!(read_whole(&record[..end]), Err(Damage::Cut), "cut at {end}");
        }
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_whole(&flipped).is_err(), "bit {bit}");
        }
        for bit in 0..FILE_HEADER_BYTES * 8 {
            let mut header = file_header();
            header[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_file_header(&mut &header[..]), Opening::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn a_version_to_come_is_told_from_damage() {
        let mut header = file_header();
        header[8] = VERSION + 1;
        let crc = crc32fast::hash(&header[..12]);
        header[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_file_header(&mut &header[..]), Opening::Newer);
    }

    #[test]
    fn lengths_that_lie_cost_no_memory() {
        for length in [0, RECORD_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut bad = record();
            bad[..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(read_whole(&bad), Err(Damage::Changed), "{length}");
        }
        assert!(frame(&Head { address: "x".repeat(HEAD_BYTES_MAX), ..head() }, b"").is_err());
    }

    #[test]
    fn a_damaged_mark_settles_nothing_and_hides_no_other() {
        let marks = [mark(1, 500), mark(1, 16)].concat();
        assert_eq!(read_marks(1, &marks), [16, 500]);
        assert_eq!(read_marks(2, &marks), [0_u32; 0], "marks of another segment");
        for bit in 0..MARK_BYTES * 8 {
            let mut flipped = marks.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_marks(1, &flipped), [16], "bit {bit}");
        }
        assert_eq!(read_marks(1, &marks[..MARK_BYTES + 3]), [500]);
    }
}
