//! Asks a running agent over its control socket: one request of HTTP/1.0, one answer, the end.

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// For each of sending and receiving; the agent answers from memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// More is not printed for people.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum AskError {
    /// The socket could not be used.
    Io(io::Error),
    /// The agent answered something else than 200.
    Refused(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Io(err) => write!(f, "{err}"),
            AskError::Refused(text) => write!(f, "the agent answered: {text}"),
        }
    }
}

impl std::error::Error for AskError {}

/// The answer's body to `GET target`.
pub fn ask(socket: &Path, target: &str) -> Result<Vec<u8>, AskError> {
    let answer = exchange(socket, target).map_err(AskError::Io)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, _) = text.split_once("\r\n\r\n").ok_or_else(|| AskError::Io(io::ErrorKind::UnexpectedEof.into()))?;
    let body = answer[(head.len() + 4).min(answer.len())..].to_vec();
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body),
        _ => Err(AskError::Refused(String::from_utf8_lossy(&body).trim_end().to_owned())),
    }
}

fn exchange(socket: &Path, target: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}
