//! What is in a spool's folder, for people to look at: read-only, also while the agent writes there.

use crate::spool::folder;
use crate::spool::journal;
use crate::spool::kind_of;
use crate::spool::record::Damage;
use crate::spool::record::Head;
use crate::spool::segment;
use crate::spool::segment::Scan;
use crate::spool::segment::Tail;
use crate::sys::ledger::Signal;
use std::io;
use std::path::Path;

/// One segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentLine {
    /// Its name in the folder.
    pub file: String,
    /// Bytes of the file, without its marks.
    pub bytes: u64,
    /// What can be read, in the order of the file.
    pub records: Vec<RecordLine>,
    /// What cannot, behind them.
    pub tail: Option<Tail>,
    /// It is of a version to come, so that nothing is known of it.
    pub is_newer: bool,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLine {
    /// Where it begins.
    pub offset: u32,
    /// Its length in the file.
    pub bytes: u64,
    /// It was dealt with and waits for its segment to be deleted.
    pub is_settled: bool,
    /// What is known of the body.
    pub head: Head,
}

impl RecordLine {
    /// Name of the kind.
    pub fn kind(&self) -> &'static str {
        kind_of(self.head.kind).map(|row| row.name).or(journal::door_name(self.head.kind)).unwrap_or("unknown")
    }

    /// Name of the signal.
    pub fn signal(&self) -> &'static str {
        Signal::ALL.get(usize::from(self.head.signal)).map_or("unknown", |signal| signal.name())
    }
}

/// All segments, oldest first, and how many files are none; then those of further endpoints and of the
/// journal, with their folder before the name.
pub fn list(path: &Path) -> io::Result<(Vec<SegmentLine>, u64)> {
    let (mut segments, mut foreign) = list_one(path)?;
    let names = std::fs::read_dir(path)?.map_while(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
    let mut further: Vec<String> = names.filter(|name| folder::is_spool(name.as_bytes())).collect();
    further.sort_unstable();
    for name in further {
        let (of_folder, others) = list_one(&path.join(&name))?;
        foreign += others;
        segments.extend(of_folder.into_iter().map(|line| SegmentLine { file: format!("{name}/{}", line.file), ..line }));
    }
    Ok((segments, foreign))
}

fn list_one(path: &Path) -> io::Result<(Vec<SegmentLine>, u64)> {
    let (numbers, mut foreign) = folder::segment_numbers(path)?;
    let mut segments = Vec::new();
    for number in numbers {
        let mut records = Vec::new();
        let scanned = segment::scan(path, number, &mut |offset, bytes, head, is_settled| {
            records.push(RecordLine { offset, bytes, is_settled, head });
            true
        });
        let (good_bytes, tail, is_newer) = match scanned {
            Ok(Scan::Read { good_bytes, tail }) => (good_bytes, tail, false),
            Ok(Scan::Damaged { bytes }) => (0, Some(Tail { damage: Damage::Changed, bytes }), false),
            Ok(Scan::Newer) => (0, None, true),
            // The agent deletes segments while we look.
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {
                foreign += 1;
                continue;
            }
        };
        let bytes = good_bytes + tail.map_or(0, |tail| tail.bytes);
        segments.push(SegmentLine { file: segment::file_name(number), bytes, records, tail, is_newer });
    }
    Ok((segments, foreign))
}
