//! Lines that are not understood: counted by reason, and told now and then where somebody reads such lines.

use crate::decode::dogstatsd::LineError;
use std::time::Duration;

/// The least time between two lines of the log.
const PAUSE: Duration = Duration::from_secs(10);

/// As much of a bad line is shown.
const SHOWN_BYTES_MAX: usize = 200;

/// Those since the log told of them last.
#[derive(Debug, Default)]
pub struct BadLines {
    counts: [u64; LineError::ALL.len()],
    last: String,
    quiet_until: Duration,
}

impl BadLines {
    /// Counts one.
    #[inline(never)]
    pub fn add(&mut self, error: LineError, line: &[u8]) {
        self.counts[error as usize] += 1;
        if log::log_enabled!(log::Level::Debug) && self.last.is_empty() {
            self.last = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES_MAX)]).into_owned();
        }
    }

    /// Tells of them, if there are any and the log did not just do so.
    pub fn tell(&mut self, uptime: Duration) {
        if uptime < self.quiet_until || self.counts.iter().all(|count| *count == 0) {
            return;
        }
        self.quiet_until = uptime + PAUSE;
        log::debug!("dogstatsd: lines that are not understood: {}; one is {:?}", self.summary(), self.last);
        self.counts = Default::default();
        self.last.clear();
    }

    fn summary(&self) -> String {
        let counted = LineError::ALL.iter().zip(self.counts).filter(|(_, count)| *count != 0);
        counted.map(|(error, count)| format!("{count} {error}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_told_by_reason_and_not_too_often() {
        let mut lines = BadLines::default();
        lines.add(LineError::Type, b"a:1|z");
        lines.add(LineError::Value, b"a:|c");
        lines.add(LineError::Type, b"a:1|zz");
        assert_eq!(lines.summary(), "1 no value, or not a number, 2 unknown type");
        lines.tell(Duration::from_secs(1));
        assert_eq!(lines.summary(), "");
        lines.add(LineError::Rate, b"a:1|c|@");
        lines.tell(Duration::from_secs(10));
        assert_eq!(lines.summary(), "1 bad sample rate");
        lines.tell(Duration::from_secs(11));
        assert_eq!(lines.summary(), "");
    }
}
