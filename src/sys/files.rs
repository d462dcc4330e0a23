//! Files: small ones read with a limit, and ones of our own replaced in one step.

use crate::sys::worker::pause;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// How long a pipe's writer is waited for at a time.
const PIPE_PAUSE: Duration = Duration::from_millis(10);

/// How often: five seconds.
const PIPE_LOOKS: u32 = 500;

/// And where nothing else is to be done meanwhile: a minute.
const PIPE_LOOKS_AT_START: u32 = 6_000;

/// The content of `path`, refused when it is longer than `bytes_max`. A pipe may be what a shell's `<(command)` makes: its writer is
/// given five seconds. One without a writer is empty.
pub fn read_small(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    read(path, bytes_max, PIPE_LOOKS)
}

/// The same, for what is read at the start and without which nothing goes on: a pipe's writer is given a minute.
pub fn read_at_start(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    read(path, bytes_max, PIPE_LOOKS_AT_START)
}

fn read(path: &Path, bytes_max: usize, looks_max: u32) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    // Opening and reading a pipe would wait for ever.
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = fs::OpenOptions::new().read(true).custom_flags(at_once).open(path)?.take(bytes_max as u64 + 1);
    let (mut content, mut looks) = (Vec::new(), 0);
    while let Err(err) = file.read_to_end(&mut content) {
        if err.kind() != io::ErrorKind::WouldBlock {
            return Err(err);
        }
        if looks == looks_max {
            return Err(io::ErrorKind::TimedOut.into());
        }
        looks += 1;
        pause(PIPE_PAUSE);
    }
    if bytes_max < content.len() {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
    }
    Ok(content)
}

/// Makes reads of a pipe, or writes into it, fail where they would have to wait.
pub fn make_impatient(pipe: &impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK)?)
}

/// What a file must outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlives {
    /// The process: the system holds it. Nobody waits for a disk.
    Process,
    /// The power.
    Power,
}

/// Replaces `path` by `content` so that a reader, or whatever it outlives, finds the old content or the new one and never a part: written
/// beside it, then renamed. Readable by its owner only.
pub fn replace(path: &Path, content: &[u8], outlives: Outlives) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = private_file(&beside)?;
    file.write_all(content)?;
    if outlives == Outlives::Power {
        file.sync_data()?;
    }
    fs::rename(&beside, path)
}

fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Whether a file that is to be opened is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must be there.
    Required,
    /// It must not be there, and is made.
    Forbidden,
    /// It is made if it is not there.
    Either,
}

/// Opens `path` for appending, readable by its owner only.
pub fn append_private(path: &Path, presence: Presence) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.append(true).create(presence == Presence::Either).create_new(presence == Presence::Forbidden);
    options.mode(0o600).open(path)
}

/// Opens `path` for appending, or makes it, readable by its owner and group. A pipe that nobody reads is an error, and not waited for.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    fs::OpenOptions::new().append(true).create(true).custom_flags(at_once).mode(0o640).open(path)
}

/// Opens `path` for reading and writing, readable by everyone; not through a link, which may lead anywhere.
pub fn open_no_link(path: &Path, presence: Presence) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed(); // nor is anybody waited for who writes to a pipe
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(presence == Presence::Either).create_new(presence == Presence::Forbidden);
    options.custom_flags(flags).mode(0o644).open(path)
}

/// Makes the folder `path` and those above it if they are not there; readable by its owner only.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file system at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Bytes in all.
    pub bytes: u64,
    /// Those that nobody uses.
    pub unused: u64,
    /// Those of them that anyone may use.
    pub free: u64,
    /// Files that it can hold; 0 where there is no limit.
    pub files: u64,
    /// And those that it can hold besides.
    pub files_free: u64,
}

/// The file system that holds `path`.
pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    let stat = rustix::fs::statvfs(path)?;
    let [bytes, unused, free] = [stat.f_blocks, stat.f_bfree, stat.f_bavail].map(|blocks| blocks.saturating_mul(stat.f_frsize));
    Ok(FileSystem { bytes, unused, free, files: stat.f_files, files_free: stat.f_ffree })
}

/// Bytes of the file system that holds `path`: all of them, and those that can still be had.
pub fn file_system_bytes(path: &Path) -> io::Result<(u64, u64)> {
    file_system(path).map(|found| (found.bytes, found.free))
}

/// Whether `path` can be read again and again: a pipe or a device would hold the reader up, or be empty by now. So can what is not there.
pub fn is_regular(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |meta| meta.is_file())
}

/// Whether anyone but the owner and the group may read `path`.
pub fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("mote-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn replaced_file_holds_the_new_content_and_is_private() {
        let path = folder("files-replace").join("state");
        replace(&path, b"old", Outlives::Power).unwrap();
        replace(&path, b"new content", Outlives::Process).unwrap();
        assert_eq!(read_small(&path, 100).unwrap(), b"new content");
        assert!(!is_world_readable(&path));
    }

    #[test]
    fn a_pipe_holds_nobody_up() {
        let path = folder("files-pipe").join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert_eq!(read_small(&path, 100).unwrap(), b"", "nobody writes");
        // As this hand could always write more, it has no end.
        let mut both = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        both.write_all(b"words").unwrap();
        assert_eq!(read_small(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::remove_file(&path).unwrap();
    }

    /// Sparse. Cut to 32 bits its length would be within the limit.
    #[test]
    fn a_file_of_more_than_four_gigabytes_is_longer_than_any_limit() {
        let path = folder("files-long").join("sparse");
        File::create(&path).unwrap().set_len((1 << 32) + 3).unwrap();
        assert_eq!(read_small(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(append_private(&path, Presence::Required).unwrap().metadata().unwrap().len(), (1 << 32) + 3);
        let mut file = append_private(&path, Presence::Required).unwrap();
        file.write_all(b"end").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), (1 << 32) + 6, "it is appended at its end");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn longer_than_the_limit_is_an_error() {
        let path = folder("files-limit").join("long");
        replace(&path, b"12345", Outlives::Process).unwrap();
        assert_eq!(read_small(&path, 5).unwrap(), b"12345");
        assert_eq!(read_small(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
