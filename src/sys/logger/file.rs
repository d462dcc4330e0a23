//! The agent's own log file. Lines are collected and written in blocks, so that flash is written seldom, and never flushed to the medium by
//! us: that is the kernel's business. What is bad is written at once. A file that would become too long moves aside to `.1`, what is there
//! to `.2`, as far as asked.

use crate::sys::files;
use crate::sys::logger::outlet::Line;
use crate::sys::logger::outlet::Outlet;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::PathBuf;

/// How much is collected: a page of most flash file systems.
const BLOCK_BYTES: u64 = 4096;

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The file.
    pub path: PathBuf,
    /// How long it may become.
    pub bytes_max: u64,
    /// How many older ones stay beside it.
    pub rolls_max: u32,
}

/// The file, once it is open.
#[derive(Debug)]
pub struct LogFile {
    settings: FileSettings,
    block: Vec<u8>,
    open: Option<(File, u64)>,
}

impl LogFile {
    /// It is opened when there is something to write.
    pub fn new(settings: FileSettings) -> LogFile {
        LogFile { settings, block: Vec::new(), open: None }
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let (file, bytes) = match &mut self.open {
            Some(open) => open,
            closed => {
                let file = files::open_to_append(&self.settings.path)?;
                let bytes = file.metadata()?.len();
                closed.insert((file, bytes))
            }
        };
        if 0 < *bytes && self.settings.bytes_max < *bytes + self.block.len() as u64 {
            // In a folder where nothing can be renamed the limit counts all the same.
            if move_aside(&self.settings).is_err() {
                file.set_len(0)?;
            } else {
                *file = files::open_to_append(&self.settings.path)?;
            }
            *bytes = 0;
        }
        while !self.block.is_empty() {
            let written = file.write(&self.block)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.block.drain(..written); // what is on a full disk already is not written again
            *bytes += written as u64;
        }
        Ok(())
    }
}

fn move_aside(settings: &FileSettings) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = OsString::from(&settings.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if settings.rolls_max == 0 {
        return fs::remove_file(&settings.path);
    }
    for number in (1..settings.rolls_max).rev() {
        let _ = fs::rename(numbered(number), numbered(number + 1)); // there are not that many yet
    }
    fs::rename(&settings.path, numbered(1))
}

impl Outlet for LogFile {
    fn name(&self) -> String {
        format!("log_file {}", self.settings.path.display())
    }

    fn take(&mut self, line: &Line) -> io::Result<()> {
        let block_max = self.settings.bytes_max.min(BLOCK_BYTES); // a block is never parted
        if block_max < (self.block.len() + line.text.len() + 1) as u64 {
            self.settle()?;
        }
        self.block.extend_from_slice(line.text.as_bytes());
        self.block.push(b'\n');
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.write_out().inspect_err(|_| self.open = None)
    }

    fn reopen(&mut self) {
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;
    use std::path::Path;
    use std::time::Duration;

    fn file(name: &str, bytes_max: u64, rolls_max: u32) -> LogFile {
        let folder = std::env::temp_dir().join(format!("mote-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        LogFile::new(FileSettings { path: folder.join("mote.log"), bytes_max, rolls_max })
    }

    fn take(file: &mut LogFile, text: &str) {
        let line = Line { level: Level::Info, unix: Duration::ZERO, text: text.to_owned(), urgent: false };
        file.take(&line).unwrap();
    }

    fn read(path: &Path, suffix: &str) -> Option<String> {
        fs::read_to_string(format!("{}{suffix}", path.display())).ok()
    }

    #[test]
    fn lines_are_collected_and_written_in_a_block() {
        let mut file = file("block", 1 << 20, 1);
        let path = file.settings.path.clone();
        take(&mut file, "one");
        take(&mut file, "two");
        assert!(!path.exists(), "nothing is written for a line");
        file.settle().unwrap();
        assert_eq!(read(&path, "").unwrap(), "one\ntwo\n");
        for _ in 0..40 {
            take(&mut file, &"x".repeat(100));
        }
        assert_eq!(read(&path, "").unwrap().len(), 8, "less than a block");
        take(&mut file, &"y".repeat(100));
        assert_eq!(read(&path, "").unwrap().len(), 8 + 40 * 101, "a full block, of whole lines");
    }

    #[test]
    fn a_file_that_would_become_too_long_moves_aside_and_the_oldest_goes() {
        let mut file = file("rolls", 10, 2);
        let path = file.settings.path.clone();
        for text in ["first", "second", "third", "fourth"] {
            take(&mut file, text);
            file.settle().unwrap();
        }
        let expected = [("", Some("fourth\n")), (".1", Some("third\n")), (".2", Some("second\n")), (".3", None)];
        for (suffix, text) in expected {
            assert_eq!(read(&path, suffix).as_deref(), text, "{suffix}");
        }
    }

    #[test]
    fn no_block_is_longer_than_the_file_may_be() {
        let mut file = file("short", 10, 9);
        let path = file.settings.path.clone();
        ["1234", "5678", "abcd"].iter().for_each(|text| take(&mut file, text));
        file.settle().unwrap();
        assert_eq!((read(&path, "").unwrap(), read(&path, ".1").unwrap()), ("abcd\n".to_owned(), "1234\n5678\n".to_owned()));
    }

    #[test]
    fn without_older_ones_it_begins_anew() {
        let mut file = file("no-rolls", 10, 0);
        let path = file.settings.path.clone();
        for text in ["first", "second"] {
            take(&mut file, text);
            file.settle().unwrap();
        }
        assert_eq!((read(&path, ""), read(&path, ".1")), (Some("second\n".to_owned()), None));
    }

    #[test]
    fn a_file_from_before_goes_on_and_counts() {
        let mut file = file("before", 10, 1);
        let path = file.settings.path.clone();
        fs::write(&path, "before\n").unwrap();
        take(&mut file, "ab");
        file.settle().unwrap();
        assert_eq!(read(&path, "").unwrap(), "before\nab\n");
        take(&mut file, "c");
        file.settle().unwrap();
        assert_eq!((read(&path, "").unwrap(), read(&path, ".1").unwrap()), ("c\n".to_owned(), "before\nab\n".to_owned()));
    }

    #[test]
    fn one_that_was_moved_is_made_anew_when_asked() {
        let mut file = file("reopen", 1 << 20, 1);
        let path = file.settings.path.clone();
        take(&mut file, "one");
        file.settle().unwrap();
        fs::rename(&path, path.with_extension("old")).unwrap();
        file.reopen();
        take(&mut file, "two");
        file.settle().unwrap();
        assert_eq!(read(&path, "").unwrap(), "two\n");
    }

    /// Sparse: it takes no room on the disk.
    #[test]
    fn a_length_beyond_two_gigabytes_is_counted_as_it_is() {
        let mut file = file("long", (3 << 30) + 4, 1);
        let path = file.settings.path.clone();
        File::create(&path).unwrap().set_len(3 << 30).unwrap();
        take(&mut file, "abc");
        file.settle().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), (3 << 30) + 4, "appended, and not moved aside");
        take(&mut file, "d");
        file.settle().unwrap();
        assert_eq!(read(&path, "").unwrap(), "d\n");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn lines_wait_for_a_folder_that_is_not_there_yet() {
        let mut file = file("late", 1 << 20, 1);
        let folder = file.settings.path.parent().unwrap().join("later");
        file.settings.path = folder.join("mote.log");
        take(&mut file, "one");
        assert!(file.settle().is_err());
        fs::create_dir(&folder).unwrap();
        take(&mut file, "two");
        file.settle().unwrap();
        assert_eq!(read(&file.settings.path, "").unwrap(), "one\ntwo\n");
    }
}
