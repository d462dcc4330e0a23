//! What may stand in a spool's folder, by name: segments, the lock, and the folders of further endpoints and of the journal.

use crate::spool::segment;
use crate::sys::files;
use crate::sys::files::Presence;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::path::Path;

/// The file whose lock keeps a second agent out.
const LOCK: &str = "lock";

/// How the names of folders begin that hold what is for further endpoints, each a spool of its own.
pub const FURTHER: &str = "endpoint-";

/// The folder of the journal, a spool of requests as they came.
pub const JOURNAL: &str = "journal";

/// Whether there is something in `folder` that [`Disk::open`] could find.
pub fn has_segments(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().and_then(segment::number_of).is_some()))
    })
}

/// The numbers of the segments in `folder`, ascending, and how many files are not ours.
pub fn segment_numbers(folder: &Path) -> io::Result<(Vec<u32>, u64)> {
    let (mut numbers, mut foreign) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        match name.to_str().and_then(segment::number_of) {
            Some(number) => numbers.push(number),
            None => foreign += u64::from(name != LOCK && !is_spool(name.as_encoded_bytes())),
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok((numbers, foreign))
}

/// Whether a folder of this name in a spool's folder is a spool of its own.
pub(super) fn is_spool(name: &[u8]) -> bool {
    name == JOURNAL.as_bytes() || name.starts_with(FURTHER.as_bytes())
}

/// Makes the folder and keeps other agents out of it.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    files::make_private_folder(folder)?;
    let path = folder.join(LOCK);
    files::append_private(&path, Presence::Either)?;
    let lock = File::open(path)?; // open for reading only, so that the file system can be made read-only meanwhile
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another agent uses it")),
        Err(TryLockError::Error(err)) => Err(err),
    }
}
