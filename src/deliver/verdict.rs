//! What to do with a body after one try. Decided without a socket. Source: the table of intake answers that the Agent's forwarder
//! follows, with three changes: a key that is refused holds the body, a 404 of the logs or metrics intake is not tried for ever, and what
//! leads elsewhere is.

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
        /// Seconds of its `Retry-After`, if it sent one.
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

#[cfg(test)]
mod tests {
    use super::*;

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
