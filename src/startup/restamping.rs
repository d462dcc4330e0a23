//! Bodies that were made while the machine's clock was wrong, and what moves their stamps before they leave.

use crate::encode::compress;
use crate::encode::compress::Compressor;
use crate::encode::restamp;
use crate::encode::restamp::Form;
use crate::spool::Kind;
use crate::sys::wall_clock::Shift;

/// No body of ours is larger before compression: a single trace chunk of the largest request that is taken.
const PLAIN_BYTES_MAX: usize = 25 * 1024 * 1024;

/// As for all bodies by default.
const LEVEL: u32 = 1;

/// The body with its stamps moved; `None` where it has none of ours or cannot be read.
pub fn restamp(kind: Kind, is_compressed: bool, bytes: &[u8], shifts: &[Shift]) -> Option<Vec<u8>> {
    let form = match kind {
        Kind::Traces => Form::Traces,
        Kind::Logs => Form::Logs,
        Kind::Stats => Form::Stats,
        Kind::Series => Form::Series,
        Kind::Sketches => Form::Sketches,
        Kind::Event => Form::Event,
        Kind::Checks => Form::Checks,
        Kind::Proxied | Kind::Lineage => return None,
    };
    let time = |stamp: i64| shifts.iter().map(|shift| shift.apply(stamp)).find(|moved| *moved != stamp).unwrap_or(stamp);
    if !is_compressed {
        return restamp::restamp(form, bytes, &time);
    }
    let plain = compress::gunzip(bytes, PLAIN_BYTES_MAX)?;
    let mut body = Compressor::new(LEVEL);
    body.write(&restamp::restamp(form, &plain, &time)?);
    Some(body.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn compressed_and_plain_bodies_get_the_right_time_once() {
        let shift = |from, by| Shift { from, to: from + 100_000_000_000, by, latest: i64::MAX, seen_at: Some(Duration::ZERO) };
        let shifts = [shift(0, 1_000_000_000_000), shift(1_000_000_000_000, 5)];
        let (plain, moved) = (br#"{"date_happened":5}"#, br#"{"date_happened":1005}"#);
        assert_eq!(restamp(Kind::Event, false, plain, &shifts).as_deref(), Some(&moved[..]));
        let mut body = Compressor::new(LEVEL);
        body.write(plain);
        let body = restamp(Kind::Event, true, &body.finish(), &shifts).unwrap();
        assert_eq!(compress::gunzip(&body, 100).as_deref(), Some(&moved[..]));
        assert_eq!(compress::gunzip(&body, moved.len() - 1), None, "more than it may be");
        assert_eq!(restamp(Kind::Event, true, plain, &shifts), None);
        assert_eq!(restamp(Kind::Proxied, false, plain, &shifts), None);
    }
}
