//! What to do with a body after one try. Decided without a socket. Source: the table of intake answers that the Agent's forwarder
//! follows, with three changes: a key that is refused holds the body, a 404 of the logs or metrics intake is not tried for ever, and what
//! leads elsewhere is.

use crate::sys::clock::http_date;
use crate::sys::ledger::Reason;
use std::time::Duration;

/// An intake may ask for a pause of at most that.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// One try's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The intake answered.
    Answer {
        /// HTTP status.
        status: u16,
        /// Seconds that its `Retry-After` asks for, if it sent one.
        retry_after: Option<u64>,
    },
    /// No answer came.
    NoAnswer,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The intake has it.
    Done,
    /// Try again after a pause of at least that, or one of the endpoint's own choosing.
    Retry(Option<Duration>),
    /// The key is wrong, not the body: keep it until there is another key.
    HoldForKey,
    /// It will never be taken.
    Discard(Reason),
}

/// The rule.
pub fn judge(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Answer { status: 200..=299, .. } => Verdict::Done,
        Outcome::Answer { status: 401 | 403, .. } => Verdict::HoldForKey,
        // What leads elsewhere and 407 are words of something on the way; no intake has seen the body.
        Outcome::Answer { status: 300..=399 | 407 | 408 | 429 | 500..=599, retry_after } => {
            Verdict::Retry(retry_after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)))
        }
        Outcome::Answer { status: 413, .. } => Verdict::Discard(Reason::TooLarge),
        Outcome::Answer { .. } => Verdict::Discard(Reason::Refused),
        Outcome::NoAnswer => Verdict::Retry(None),
    }
}

/// Seconds that a `Retry-After` asks for. It is a number of them or a date; that one counts from the answer's own `Date`, since the wall
/// clock here (`now`, since 1970) may be wrong.
pub fn asked_pause(text: &str, date: Option<&str>, now: Duration) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let since = date.and_then(http_date).unwrap_or(now);
        Some(http_date(text)?.saturating_sub(since).as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_until_a_date() {
        let now = Duration::from_secs(1_704_164_645); // Tue, 02 Jan 2024 03:04:05 GMT
        let until = "Tue, 02 Jan 2024 03:04:35 GMT";
        for (text, date, expected) in [
            (" 7 ", None, Some(7)),
            (until, None, Some(30)),
            (until, Some("Tue, 02 Jan 2024 03:04:25 GMT"), Some(10)),
            (until, Some("yesterday"), Some(30)),
            (until, Some("Tue, 02 Jan 2024 04:00:00 GMT"), Some(0)),
            ("-7", None, None),
            ("soon", None, None),
        ] {
            assert_eq!(asked_pause(text, date, now), expected, "{text} {date:?}");
        }
    }

    #[track_caller]
    fn check(status: u16, retry_after: Option<u64>, expected: Verdict) {
        assert_eq!(judge(Outcome::Answer { status, retry_after }), expected);
    }

    #[test]
    fn any_two_hundred_is_delivery() {
        check(202, None, Verdict::Done);
        check(200, Some(5), Verdict::Done);
    }

    #[test]
    fn trouble_that_passes_is_tried_again() {
        check(503, None, Verdict::Retry(None));
        check(407, None, Verdict::Retry(None));
        check(302, None, Verdict::Retry(None));
        check(307, Some(5), Verdict::Retry(Some(Duration::from_secs(5))));
        check(429, Some(7), Verdict::Retry(Some(Duration::from_secs(7))));
        check(429, Some(7_000), Verdict::Retry(Some(Duration::from_secs(60))));
        assert_eq!(judge(Outcome::NoAnswer), Verdict::Retry(None));
    }

    #[test]
    fn a_wrong_key_holds_the_body() {
        check(401, None, Verdict::HoldForKey);
        check(403, None, Verdict::HoldForKey);
    }

    #[test]
    fn what_will_never_be_taken_is_given_up() {
        check(400, None, Verdict::Discard(Reason::Refused));
        check(413, None, Verdict::Discard(Reason::TooLarge));
    }
}
