//! Local output (`--out`): delivered bodies are decoded back and written as one JSON object a record and line. It goes through the
//! very bodies that an intake would get, so what is shown is what would have been sent.

pub mod checks;
pub mod logs;
pub mod metrics;
mod msgpack;
pub mod protobuf;
pub mod proxied;
pub mod stats;
pub mod traces;

use flate2::read::GzDecoder;
use serde_json::Value;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

/// Which format a body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `AgentPayload` protobuf.
    Traces,
    /// JSON array.
    Logs,
    /// `StatsPayload` msgpack.
    Stats,
    /// `MetricPayload` protobuf.
    Series,
    /// `SketchPayload` protobuf.
    Sketches,
    /// One JSON object.
    Event,
    /// JSON array.
    Checks,
}

impl Format {
    fn file_name(self) -> &'static str {
        match self {
            Format::Traces => "traces.ndjson",
            Format::Logs => "logs.ndjson",
            Format::Stats => "stats.ndjson",
            Format::Series | Format::Sketches => "metrics.ndjson",
            Format::Event => "events.ndjson",
            Format::Checks => "checks.ndjson",
        }
    }
}

/// Where the lines go.
#[derive(Debug)]
pub enum Out {
    /// Standard output.
    Stdout,
    /// Appended to one file a signal in this folder.
    Folder(PathBuf),
}

impl Out {
    /// A folder that exists or can be made.
    pub fn folder(path: &Path) -> io::Result<Out> {
        std::fs::create_dir_all(path)?;
        Ok(Out::Folder(path.to_owned()))
    }

    /// Writes the records of one body, all of them in one write.
    pub fn write(&mut self, format: Format, gzipped: bool, body: &[u8]) -> io::Result<()> {
        let lines = lines(format, gzipped, body).map_err(io::Error::other)?;
        self.put(format.file_name(), &lines)
    }

    /// Writes one record.
    pub fn write_record(&mut self, file_name: &str, record: &Value) -> io::Result<()> {
        self.put(file_name, format!("{record}\n").as_bytes())
    }

    fn put(&mut self, file_name: &str, lines: &[u8]) -> io::Result<()> {
        match self {
            Out::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Out::Folder(folder) => append(&folder.join(file_name), lines),
        }
    }
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let before = file.metadata()?.len();
    // What was written of it goes again: the whole body will be tried once more.
    file.write_all(lines).inspect_err(|_| drop(file.set_len(before)))
}

/// A body of our own that cannot be read back: a fault of ours.
#[derive(Debug)]
struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an encoded body cannot be read back: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

fn lines(format: Format, gzipped: bool, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut plain = Vec::new();
    let body = if gzipped {
        GzDecoder::new(body).read_to_end(&mut plain).map_err(|err| Unreadable(err.to_string()))?;
        &plain
    } else {
        body
    };
    let mut lines = Vec::new();
    let mut each = |record: Value| {
        lines.extend_from_slice(record.to_string().as_bytes());
        lines.push(b'\n');
    };
    match format {
        Format::Traces => traces::records(body, &mut each).map_err(|err| Unreadable(err.to_string()))?,
        Format::Logs => logs::records(body, &mut each).map_err(|err| Unreadable(err.to_string()))?,
        Format::Stats => stats::records(body, &mut each).map_err(|err| Unreadable(err.to_string()))?,
        Format::Series => metrics::series(body, &mut each).map_err(|err| Unreadable(err.to_string()))?,
        Format::Sketches => metrics::sketches(body, &mut each).map_err(|err| Unreadable(err.to_string()))?,
        Format::Event => checks::event(body, &mut each).map_err(|err| Unreadable(err.to_string()))?,
        Format::Checks => checks::records(body, &mut each).map_err(|err| Unreadable(err.to_string()))?,
    }
    Ok(lines)
}
