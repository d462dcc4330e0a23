//! Files: small ones read with a limit, and ones of our own replaced in one step.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// The content of `path`, refused when it is longer than `bytes_max`.
pub fn read_small(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
    if bytes_max < content.len() {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
    }
    Ok(content)
}

/// Replaces `path` by `content` so that a reader, or a power cut, finds the old content or the new one and never a part: written
/// beside it, then renamed. Readable by its owner only.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = private_file(&beside)?;
    file.write_all(content)?;
    file.sync_data()?;
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

/// Makes the folder `path` and those above it if they are not there; readable by its owner only.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Bytes of the file system that holds `path`: all of them, and those that can still be had.
pub fn file_system_bytes(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize)))
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
        replace(&path, b"old").unwrap();
        replace(&path, b"new content").unwrap();
        assert_eq!(read_small(&path, 100).unwrap(), b"new content");
        assert!(!is_world_readable(&path));
    }

    #[test]
    fn longer_than_the_limit_is_an_error() {
        let path = folder("files-limit").join("long");
        replace(&path, b"12345").unwrap();
        assert_eq!(read_small(&path, 5).unwrap(), b"12345");
        assert_eq!(read_small(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
