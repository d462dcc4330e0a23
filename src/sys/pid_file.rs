//! The file that names the process of a running agent.
//!
//! It is written when the agent listens, and locked from then on until the process ends, however it ends: what nobody holds was left by one
//! that was killed, and is taken over. Whoever reads a number from it may so trust that it belongs to a process that could be reached.
//! Only what holds nothing but a number is believed to be such a file; anything else is not ours to overwrite.

use crate::sys::files;
use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// A number and a line feed are shorter.
const BYTES_MAX: usize = 32;

/// Removers that come between opening and locking are few.
const TRIES_MAX: usize = 10;

/// A locked file with this process's number; it goes with this value.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

/// Why there is none.
#[derive(Debug)]
pub enum PidFileError {
    /// Another agent holds it, whose number is given if it has written it.
    Held(String),
    /// It cannot be made.
    Io(io::Error),
}

impl From<io::Error> for PidFileError {
    fn from(err: io::Error) -> PidFileError {
        PidFileError::Io(err)
    }
}

/// What a process that is gone left at `path` is removed. An error where another one holds it, or what is there is no such file.
pub fn clear(path: &Path) -> Result<(), PidFileError> {
    match lock(path, files::Presence::Required) {
        Ok(_removed) => Ok(()),
        Err(PidFileError::Io(err)) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

impl PidFile {
    /// Writes the number of this process into `path`, whose folder is made if it is not there.
    pub fn write(path: &Path) -> Result<PidFile, PidFileError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = lock(path, files::Presence::Either)?;
        file.file.set_len(0)?;
        file.file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
        Ok(file)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path); // the next start finds it stale
        }
    }
}

/// Opens and locks what is at `path`, and makes sure that it still is there then.
fn lock(path: &Path, presence: files::Presence) -> Result<PidFile, PidFileError> {
    for _ in 0..TRIES_MAX {
        let mut file = files::open_no_link(path, presence)?;
        let mut text = [0; BYTES_MAX];
        let length = file.read(&mut text)?; // of so little a part is never read
        let text = text[..length].trim_ascii();
        if length == BYTES_MAX || !text.iter().all(u8::is_ascii_digit) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no pid file").into());
        }
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => return Ok(PidFile { path: path.to_owned(), file }),
            Ok(()) => (), // its holder has just removed it
            Err(TryLockError::WouldBlock) => return Err(PidFileError::Held(String::from_utf8_lossy(text).into_owned())),
            Err(TryLockError::Error(err)) => return Err(err.into()),
        }
    }
    Err(PidFileError::Held(String::new()))
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (held, there) = (file.metadata().map(id), fs::symlink_metadata(path).map(id));
    matches!((held, there), (Ok(held), Ok(there)) if held == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mote-pid-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder.join("made/mote.pid")
    }

    fn own() -> String {
        format!("{}\n", std::process::id())
    }

    #[test]
    fn it_names_this_process_and_goes_with_the_value() {
        let path = place("own");
        clear(&path).unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_is_held_names_its_holder_and_stays() {
        let path = place("held");
        let _file = PidFile::write(&path).unwrap();
        let held = |result| matches!(result, Err(PidFileError::Held(pid)) if pid == own().trim());
        assert!(held(clear(&path)));
        assert!(held(PidFile::write(&path).map(drop)));
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
    }

    #[test]
    fn what_a_dead_process_left_is_taken_over() {
        let path = place("stale");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for left in ["4194305\n", "", "99"] {
            fs::write(&path, left).unwrap();
            clear(&path).unwrap();
            assert!(!path.exists());
            fs::write(&path, left).unwrap();
            let _file = PidFile::write(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), own());
        }
    }

    #[test]
    fn what_is_no_pid_file_is_left_alone() {
        let path = place("precious");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let target = path.with_extension("target");
        for text in ["precious", "12 34", "1\n2\n", "12345678901234567890123456789012345"] {
            fs::write(&path, text).unwrap();
            assert!(clear(&path).is_err() && PidFile::write(&path).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::rename(&path, &target).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(clear(&path).is_err() && PidFile::write(&path).is_err(), "a link may lead anywhere");
    }

    #[test]
    fn the_file_of_another_that_took_the_place_stays() {
        let path = place("successor");
        let file = PidFile::write(&path).unwrap();
        fs::rename(&path, path.with_extension("moved")).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
