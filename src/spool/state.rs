//! The state file: what the agent remembers of its last run.
//!
//! ```text
//! "motestat"  8 bytes
//! version     1 byte, now 1
//! length      4 bytes, little-endian, of the content, at most 64 KiB
//! CRC-32      4 bytes, little-endian, of the content
//! content     nanoserde's binary form of [`State`]
//! ```
//!
//! nanoserde trusts the lengths inside, so the content is touched only after the CRC has been found right. The file is replaced in
//! one step. What is missing, torn or foreign is as good as no file. Old versions stay readable; `fixtures/state/` holds one each.

use crate::sys::files;
use crate::sys::files::Outlives;
use nanoserde::DeBin;
use nanoserde::SerBin;
use std::fmt;
use std::io;
use std::path::Path;

const MAGIC: &[u8; 8] = b"motestat";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8 + 1 + 4 + 4;
const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// The versions that can be read.
pub const VERSIONS: [u8; 1] = [VERSION];

/// What is kept. The first fields are those of the original extension's cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerBin, DeBin)]
pub struct State {
    /// The function, in lower case.
    pub arn: String,
    /// The latest invocation.
    pub last_request_id: String,
    /// The invocation that was the cold start.
    pub coldstart_request_id: String,
    /// The latest invocation that a log line belonged to.
    pub last_log_request_id: String,
    /// The latest invocation that ran out of memory.
    pub last_oom_request_id: String,
    /// When the latest invocation began, milliseconds since 1970; 0 for never.
    pub start_ms: i64,
    /// When it ended, milliseconds since 1970; 0 for not yet.
    pub end_ms: i64,
    /// The run that wrote this was told to stop and had drained.
    pub clean: bool,
}

/// Why a file is not used.
#[derive(Debug)]
pub enum StateError {
    /// It cannot be read; missing is the usual case.
    Io(io::Error),
    /// It is not a state file, or not one of a known version.
    Foreign,
    /// It was cut or changed.
    Torn,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Io(err) => write!(f, "{err}"),
            StateError::Foreign => write!(f, "not a state file of a known version"),
            StateError::Torn => write!(f, "cut or changed"),
        }
    }
}

/// Reads the file at `path`.
pub fn load(path: &Path) -> Result<State, StateError> {
    decode(&files::read_small(path, HEADER_BYTES + CONTENT_BYTES_MAX).map_err(StateError::Io)?)
}

/// Replaces the file at `path`.
pub fn save(path: &Path, state: &State, outlives: Outlives) -> io::Result<()> {
    files::replace(path, &encode(state), outlives)
}

fn encode(state: &State) -> Vec<u8> {
    let content = state.serialize_bin();
    let mut file = Vec::with_capacity(HEADER_BYTES + content.len());
    file.extend_from_slice(MAGIC);
    file.push(VERSION);
    file.extend_from_slice(&(content.len() as u32).to_le_bytes());
    file.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    file.extend_from_slice(&content);
    file
}

fn decode(file: &[u8]) -> Result<State, StateError> {
    let rest = file.strip_prefix(MAGIC).ok_or(StateError::Foreign)?;
    let (version, rest) = rest.split_first().ok_or(StateError::Torn)?;
    if !VERSIONS.contains(version) {
        return Err(StateError::Foreign);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(StateError::Torn)?;
    let (crc, content) = rest.split_first_chunk::<4>().ok_or(StateError::Torn)?;
    if content.len() != u32::from_le_bytes(*length) as usize || crc32fast::hash(content) != u32::from_le_bytes(*crc) {
        return Err(StateError::Torn);
    }
    State::deserialize_bin(content).map_err(|_| StateError::Torn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> State {
        State { arn: "arn:x".into(), coldstart_request_id: "r-1".into(), start_ms: -1, clean: true, ..State::default() }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        assert_eq!(decode(&encode(&sample())).unwrap(), sample());
    }

    #[test]
    fn no_cut_and_no_flipped_bit_is_mistaken_for_a_state() {
        let file = encode(&sample());
        for end in 0..file.len() {
            assert!(decode(&file[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lengths_that_lie_are_stopped_by_the_check_before_them() {
        let mut file = encode(&sample());
        let content = HEADER_BYTES;
        file[content..content + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode(&file), Err(StateError::Torn)));
    }
}
